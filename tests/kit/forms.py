"""The desk's forms as a browser without scripts sends them."""

import re
from html import unescape
from typing import Any


def sent(page: str, form: str) -> dict[str, Any]:
    """Return the fields that a browser submits when an editor leaves a form unchanged.

    `form` is the form's id in the HTML `page`. Checkboxes count as not ticked. Line breaks are CRLF
    (HTML, "normalize newlines"). The byline is the list of the texts in its boxes.
    """
    _, _, rest = page.partition(f'<form id="{form}"')
    inside = rest.partition("</form>")[0]
    lines = re.findall(r'<input[^>]* name="([^"]*)"[^>]* value="([^"]*)"', inside)
    areas = re.findall(r'<textarea[^>]* name="([^"]*)"[^>]*>\n(.*?)</textarea>', inside, re.DOTALL)
    chosen = r'<select[^>]* name="([^"]*)"(?:(?!</select>).)*? value="([^"]*)" selected'
    choices = re.findall(chosen, inside, re.DOTALL)
    boxes = [*lines, *areas, *choices]
    texts = [(name, unescape(value).replace("\n", "\r\n")) for name, value in boxes]
    bylines = [text for name, text in texts if name == "byline"]
    return dict(texts) | ({"byline": bylines} if bylines else {})
