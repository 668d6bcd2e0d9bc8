"""The meaning of elements and styles of pasted HTML for the text in them.

Word processors write much in styles: a bold text is a span with a font-weight, an item of Word's
lists a paragraph with `mso-list`, a quotation of Word a paragraph of the class MsoQuote. Web pages
make blocks of spans and inline text of blocks with `display`.

Rules: pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from liveblog.html.inline import Style

DEPTH_MAX: Final = 5  # lists or tables within each other; deeper ones count as this depth
BOLD_MIN: Final = 600  # the font weight from which a text is bold

Attributes = Mapping[str, str]

PARAGRAPHS: Final = {
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "blockquote", "pre"),
    *("table", "figure", "hr", "menu", "dir"),
}
LINES: Final = {
    *("div", "li", "dt", "dd", "section", "article", "header", "footer", "main", "aside", "nav"),
    *("address", "center", "figcaption", "caption", "form", "fieldset", "legend", "hgroup"),
    *("details", "summary", "dialog", "search"),
}
PROPERTIES: Final = {
    *("font-weight", "font-style", "text-decoration", "text-decoration-line", "vertical-align"),
    *("display", "visibility", "white-space", "white-space-collapse"),
    *("mso-list", "mso-hide", "mso-element"),
}
# Characters that browsers show around the text of an element.
AROUND: Final = {"q": ("“", "”"), "rt": ("(", ")")}

_HEADINGS: Final = {"h1": 2, "h2": 2, "h3": 3, "h4": 3, "h5": 3, "h6": 3}
# Word's styles, by class. Within a text, Word adds the place of the paragraph: MsoQuoteCxSpFirst.
_WORD_CLASS: Final = re.compile(r"mso(intensequote|quote|title|subtitle|heading[7-9])(?:cxsp\w+)?")
_WORD_HEADINGS: Final = {"title": 2, "subtitle": 3, "heading7": 3, "heading8": 3, "heading9": 3}
_OF_COMMENT: Final = {"msocomanchor", "msocommentreference"}  # marks of a comment in Word
_OF_FOOTNOTE: Final = {"sdfootnoteanc", "sdfootnotesym"}  # numbers of footnotes in LibreOffice
_LEVEL: Final = re.compile(r"level([0-9])")
_BLOCKS: Final = {
    *("block", "flex", "grid", "table", "list-item", "flow-root", "-webkit-box", "-webkit-flex"),
    *("table-row", "table-cell", "table-caption"),
}
_INLINE_BOXES: Final = {"inline-block", "inline-flex", "inline-grid"}
_INLINE: Final = {*_INLINE_BOXES, "inline", "contents", "none"}
_KEEPS_BREAKS: Final = {
    **dict.fromkeys(("pre", "pre-wrap", "pre-line", "break-spaces"), True),
    **dict.fromkeys(("preserve", "preserve-breaks"), True),
    **dict.fromkeys(("normal", "nowrap", "collapse", "preserve-spaces", "initial"), False),
}
_PLACES: Final = {"sup": "sup", "super": "sup", "sub": "sub"}


@dataclass(slots=True)
class OpenList:
    """An open list; `number` is that of the next item."""

    is_ordered: bool
    number: int = 1

    def next_marker(self) -> str:
        self.number += 1
        return f"{self.number - 1}." if self.is_ordered else "-"


class Context(NamedTuple):
    """The styles and places that the open elements give to the text in them."""

    tag: str = ""
    gap: int = 0  # line breaks that the element needs before and after it; -1 for a box on the line
    style: Style = Style()
    quote: bool = False
    heading: int = 0
    is_head: bool = False  # in a heading or the head of a table, which are bold in any case
    keeps_breaks: bool = False  # line feeds are line breaks
    is_hidden: bool = False
    is_marker: bool = False  # in the mark that Word writes before an item
    word_depth: int = 0  # of an item of one of Word's lists
    lists: tuple[OpenList, ...] = ()


def inside(context: Context, tag: str, given: Attributes) -> Context:
    """Return the context of the text in an element."""
    css, classes = _css(given.get("style", "")), given.get("class", "").lower().split()
    word_class = next((it[1] for name in classes if (it := _WORD_CLASS.fullmatch(name))), "")
    heading = _HEADINGS.get(tag, 0) or _WORD_HEADINGS.get(word_class, 0)
    is_head = context.is_head or bool(heading) or tag == "th"
    style = _styled(context.style, tag, given, css)
    word_list = "" if context.lists or tag != "p" else css.get("mso-list", "")
    level = _LEVEL.search(word_list)
    return context._replace(
        tag=tag,
        gap=_gap_of(tag, css.get("display", "")),
        style=style._replace(
            bold=style.bold and not is_head, place=_place(style.place, tag, classes, css)
        ),
        quote=context.quote or tag == "blockquote" or word_class.endswith("quote"),
        heading=heading or context.heading,
        is_head=is_head,
        keeps_breaks=_keeps_breaks(css, tag == "pre" or context.keeps_breaks),
        is_hidden=context.is_hidden or _is_hidden(css) or _is_comment(classes, css),
        is_marker=context.is_marker or bool(context.word_depth and css.get("mso-list") == "ignore"),
        word_depth=min(int(level[1]) or 1, DEPTH_MAX) if level else context.word_depth,
    )


def _css(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.lower().split(";"))
    return {name.strip(): value.partition("!")[0].strip() for name, _, value in pairs}


def _gap_of(tag: str, display: str) -> int:
    if tag in PARAGRAPHS:
        return 2
    if display in _INLINE_BOXES:
        return -1
    return int(display in _BLOCKS or (tag in LINES and display not in _INLINE))


def _keeps_breaks(css: Mapping[str, str], otherwise: bool) -> bool:
    value = css.get("white-space-collapse") or css.get("white-space", "")
    known = [_KEEPS_BREAKS[it] for it in value.split() if it in _KEEPS_BREAKS]
    return any(known) if known else otherwise


def _is_hidden(css: Mapping[str, str]) -> bool:
    is_shown = css.get("display") != "none" and css.get("visibility") != "hidden"
    return not is_shown or css.get("mso-hide") == "all"


def _is_comment(classes: list[str], css: Mapping[str, str]) -> bool:
    """Return whether an element is a comment in Word, which readers of the document do not see."""
    is_mark = not _OF_COMMENT.isdisjoint(classes)
    return is_mark or css.get("mso-element", "").startswith("comment")


def _styled(style: Style, tag: str, given: Attributes, css: Mapping[str, str]) -> Style:
    decoration = f"{css.get('text-decoration', '')} {css.get('text-decoration-line', '')}"
    return style._replace(
        bold=_is_bold(css.get("font-weight", ""), tag in ("b", "strong") or style.bold),
        italic=_is_italic(css.get("font-style", ""), tag in ("i", "em") or style.italic),
        strike=style.strike or tag in ("s", "strike", "del") or "line-through" in decoration,
        code=style.code or tag in ("code", "tt", "kbd", "samp"),
        href=given.get("href", "") if tag == "a" else style.href,
    )


def _place(outer: str, tag: str, classes: list[str], css: Mapping[str, str]) -> str:
    """Return where a text stands: "sup", "sub", "note" for a footnote's number, or ""."""
    if outer == "note" or not _OF_FOOTNOTE.isdisjoint(classes):
        return "note"
    return _PLACES.get(tag) or _PLACES.get(css.get("vertical-align", "")) or outer


def _is_bold(weight: str, otherwise: bool) -> bool:
    if weight.isdecimal():
        return int(weight[:4]) >= BOLD_MIN
    return {"bold": True, "bolder": True, "normal": False, "lighter": False}.get(weight, otherwise)


def _is_italic(slant: str, otherwise: bool) -> bool:
    return {"italic": True, "oblique": True, "normal": False}.get(slant, otherwise)
