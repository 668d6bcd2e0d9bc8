"""The desk's forms as a browser without scripts sends them."""

import re
from html import unescape


def sent(page: str, form: str) -> dict[str, str]:
    """Return the fields that a browser submits when an editor leaves a form unchanged.

    `form` is the form's id in the HTML `page`. Checkboxes count as not ticked. Line breaks are CRLF
    (HTML, "normalize newlines").
    """
    _, _, rest = page.partition(f'<form id="{form}"')
    inside = rest.partition("</form>")[0]
    lines = re.findall(r'<input[^>]* name="([^"]*)"[^>]* value="([^"]*)"', inside)
    areas = re.findall(r'<textarea[^>]* name="([^"]*)"[^>]*>\n(.*?)</textarea>', inside, re.DOTALL)
    chosen = r'<select[^>]* name="([^"]*)"(?:(?!</select>).)*? value="([^"]*)" selected'
    choices = re.findall(chosen, inside, re.DOTALL)
    boxes = [*lines, *areas, *choices]
    return {name: unescape(value).replace("\n", "\r\n") for name, value in boxes}
