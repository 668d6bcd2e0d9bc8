"""Limits on pasted HTML: the number of its tags, and how deep its elements are nested.

A parser walks through the open elements for each tag. Deep HTML so takes a time that grows with the
square of its length. In case of doubt, the depth found here is greater than the parser's.

Rules: pure.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from liveblog.blog.problem import invalid

TAGS_MAX: Final = 60_000  # HTML with more tags has no text that fits an entry
NESTED_MAX: Final = 200

_CDATA: Final = "<![CDATA["
# Elements whose content is text in HTML, and has tags in SVG and MathML.
_RAW: Final = {
    *("style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript"),
}
# Elements in which a parser may find tags in such an element: SVG and MathML, and the places where
# it ignores the element itself.
_FOREIGN: Final = {"svg", "math", "template", "select"}
_UNSEEN: Final = r"\]\]>|<!--(?:-?>|.*?(?:--!?>|\Z))|<(?:[!?]|/(?![a-zA-Z]))[^>]*+"
_ATTRIBUTE: Final = (
    r"""[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+"""
    r"""(?:[ \t\n\f\r]*+=[ \t\n\f\r]*+(?:"[^"]*+"|'[^']*+'|(?!["'])[^ \t\n\f\r>]++))?+"""
)
# A tag, or else a comment, which has no name: neither has tags in it, whatever it looks like.
_TAG: Final = re.compile(
    rf"{_UNSEEN}|<(/?)([a-zA-Z][^ \t\n\f\r/>]*+)(?:[ \t\n\f\r/]++|{_ATTRIBUTE})*+",
    re.DOTALL,
)
_RAW_END: Final = {it: re.compile(rf"</{it}(?=[ \t\n\f\r/>])", re.IGNORECASE) for it in _RAW}
_ENDLESS: Final = {
    *("p", "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "option"),
    *("br", "hr", "img", "meta", "link", "col", "input", "wbr", "area", "base", "source"),
}


def check_tags(html: str) -> None:
    """Raise Problem 422 for too many tags, or too many elements that are open at once.

    Elements that end by themselves count as ended. The end of an element that is not open ends no
    other one, and neither does an end that may be text: the depth is then rather too great.
    """
    depth, open_ = 0, Counter[str]()
    for number, (name, alters_by) in enumerate(_steps(html)):
        if number == TAGS_MAX:
            raise invalid(("/html", f"has more than {TAGS_MAX} tags"))
        step = max(alters_by, -min(1, open_[name]))
        open_[name] += step
        depth += step
        if depth > NESTED_MAX:
            raise invalid(("/html", f"has elements nested deeper than {NESTED_MAX}"))


def _steps(html: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each tag, and by how much it alters the depth: 1, 0 or -1.

    The content of an element such as style is text, and has no tags. After an element of _FOREIGN
    it may be either: there only the starts in it count.
    """
    at, raw, may_be_foreign = 0, "", False
    while tag := _TAG.search(html, at):
        at, is_end, name = tag.end(), bool(tag[1]), (tag[2] or "br").lower()
        may_be_foreign = may_be_foreign or name in _FOREIGN
        is_text = is_end and raw not in ("", name)
        yield name, 0 if name in _ENDLESS or is_text else -1 if is_end else 1
        if may_be_foreign:
            raw = _raw_after(tag[0], name, raw)
        elif name in _RAW and not is_end:
            end = _RAW_END[name].search(html, at)
            at = end.start() if end else len(html)


def _raw_after(tag: str, name: str, raw: str) -> str:
    """Return what may contain only text after a tag: a name of _RAW, _CDATA, or "" for neither."""
    if raw:
        is_end = tag == "]]>" if raw == _CDATA else tag.startswith("</") and name == raw
        return "" if is_end else raw
    if tag.startswith(_CDATA):
        return "" if tag.endswith("]]") else _CDATA
    return name if name in _RAW and not tag.startswith("</") else ""
