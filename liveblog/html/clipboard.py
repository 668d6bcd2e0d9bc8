"""HTML of the clipboard as blocks: paragraphs, headings, items of lists, quotes and tables.

nh3 parses the HTML as browsers do, and keeps the elements and properties that have a meaning here.
Word processors write much of it in styles: a bold text is a span with a font-weight, an item of
Word's lists a paragraph with `mso-list`.

Line breaks are counted as in the HTML standard's "inner text": a paragraph needs an empty line
around it, a `div` a line of its own, and each `br` adds one.

Rules: pure. Each limit, here and in nesting.py, keeps the time proportional to the length of the
HTML.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final, NamedTuple

import nh3

from liveblog.blog.problem import invalid
from liveblog.html.cells import Block, Cell, grid_of, span_of
from liveblog.html.inline import Run, Style
from liveblog.html.nesting import check_tags

DEPTH_MAX: Final = 6  # lists or tables within each other; deeper ones count as this depth
TEXT_MAX: Final = 100_000  # characters; a longer text fits no entry
BOLD_MIN: Final = 600  # the font weight from which a text is bold

Attributes = Mapping[str, str]

_PARAGRAPHS: Final = {
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "blockquote", "pre"),
    *("table", "figure", "hr"),
}
_LINES: Final = {
    *("div", "li", "dt", "dd", "section", "article", "header", "footer", "main", "aside", "nav"),
    *("address", "center", "figcaption", "caption", "form", "fieldset"),
}
_INLINE: Final = {
    *("a", "b", "strong", "i", "em", "s", "strike", "del", "code", "tt", "kbd", "samp", "span"),
    *("br", "img"),
}
_HEADINGS: Final = {"h1": 2, "h2": 2, "h3": 3, "h4": 3, "h5": 3, "h6": 3}
_CELLS: Final = {"thead", "tbody", "tfoot", "tr", "td", "th"}
_PROPERTIES: Final = {
    *("font-weight", "font-style", "text-decoration", "text-decoration-line"),
    *("display", "visibility", "mso-list", "mso-hide", "mso-element"),
}
_CLEANER: Final = nh3.Cleaner(
    tags=_PARAGRAPHS | _LINES | _INLINE | _CELLS,
    clean_content_tags={
        *("script", "style", "title", "template", "noscript", "svg", "math", "iframe", "object"),
        *("button", "select", "textarea"),
    },
    attributes={
        "*": {"style", "class", "data-stringify-type", "data-stringify-emoji"},
        "a": {"href"},
        "ol": {"start"},
        "li": {"value", "aria-level", "data-aria-level", "data-stringify-indent"},
        "td": {"colspan", "rowspan"},
        "th": {"colspan", "rowspan"},
        "img": {"alt"},
    },
    filter_style_properties=_PROPERTIES,
    url_schemes={"http", "https", "mailto", "tel"},
    url_relative="deny",
    link_rel=None,
)
_SPREADSHEET: Final = re.compile(
    r"google-sheets|office:excel|Excel\.Sheet|<colgroup", re.IGNORECASE
)
_BLANKS: Final = re.compile(r"[ \t\n\r\f]+")
# Programs write a no-break space where a blank would be lost. It stays where it binds: within
# numbers, and beside French punctuation.
_LOOSE_SPACE: Final = re.compile(r"(?<![«\d])\xa0(?![»:;!?%€\d])")
_BREAK: Final = re.compile("[\x0b\u2028\u2029]")
_PRE_BREAK: Final = re.compile("\r\n?|[\n\x0b\u2028\u2029]")
_NUMBERED: Final = re.compile(r"\s*\(?([0-9]{1,4}|[a-z]{1,5})[.)]\s*", re.IGNORECASE)
_LEVEL: Final = re.compile(r"level([0-9])")
_OF_COMMENT: Final = ("msocomanchor", "msocommentreference")  # Word's marks of a comment, by class


def blocks_of(html: str) -> list[Block]:
    """Return the blocks that HTML of the clipboard shows.

    Raises Problem 422 for HTML with more tags, deeper elements or a longer text than the limits.
    """
    check_tags(html)
    reader = _Reader(is_spreadsheet=bool(_SPREADSHEET.search(html)))
    reader.feed(_CLEANER.clean(html))
    reader.close()
    return reader.blocks


@dataclass(slots=True)
class _List:
    """An open list, or all of Word's lists of one depth; `number` is that of the next item."""

    is_ordered: bool
    number: int = 1

    def next_marker(self) -> str:
        self.number += 1
        return f"{self.number - 1}." if self.is_ordered else "-"


@dataclass(slots=True)
class _Table:
    """An open table; `outside` are the blocks around the table, while a cell is open."""

    rows: list[list[Cell]] = field(default_factory=list)
    outside: list[Block] | None = None
    span: tuple[int, ...] = (1, 1)


class _Context(NamedTuple):
    """The styles and places that the open elements give to the text in them."""

    tag: str = ""
    style: Style = Style()
    quote: bool = False
    heading: int = 0
    is_head: bool = False  # in a heading or the head of a table, which are bold in any case
    is_pre: bool = False
    is_hidden: bool = False
    is_marker: bool = False  # in the mark that Word writes before an item
    word_depth: int = 0  # of an item of one of Word's lists
    lists: tuple[_List, ...] = ()


class _Item(NamedTuple):
    """An item that has no text yet. Word's items have their mark in the text: `marker` is ""."""

    depth: int
    marker: str = ""


class _Reader(HTMLParser):
    """Collects blocks from HTML that nh3 has made well-formed.

    `_gap` is the number of line breaks before the next text: two or more begin a new block.
    """

    def __init__(self, *, is_spreadsheet: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._is_spreadsheet = is_spreadsheet
        self._gap, self._length = 2, 0
        self._context, self._outer = _Context(), list[_Context]()
        self._item: _Item | None = None
        self._word_mark = ""
        self._word_lists: dict[int, _List] = {}
        self._tables: list[_Table] = []

    # -- elements

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("br", "hr", "img"):
            self._void(tag, given)
            return
        self._need(_gap_of(tag))
        self._outer.append(self._context)
        self._context = _inside(self._context, tag, given)
        if given.get("data-stringify-type") == "paragraph-break":  # Slack's empty line
            self._need(2)
        if start := getattr(self, f"_start_{tag}", None):
            start(given)
        if self._context.word_depth > self._outer[-1].word_depth:
            self._item, self._word_mark = _Item(self._context.word_depth), ""

    def handle_endtag(self, tag: str) -> None:
        if not self._outer:  # of an element without an end, such as </br>
            return
        if end := getattr(self, f"_end_{tag}", None):
            end()
        self._context = self._outer.pop()
        self._need(_gap_of(tag))

    def _void(self, tag: str, given: Attributes) -> None:
        if tag == "br" and not self._context.is_hidden:
            self._gap += 1
        elif tag == "hr":
            self._need(2)
        elif alt := _emoji(given):
            self.handle_data(alt)

    def _need(self, gap: int) -> None:
        self._gap = max(self._gap, gap)

    # -- lists

    def _start_ul(self, given: Attributes, *, is_ordered: bool = False) -> None:
        start = _number(given.get("start", ""), 1)
        opened = _List(is_ordered, start)
        self._context = self._context._replace(lists=(*self._context.lists, opened)[:DEPTH_MAX])

    def _start_ol(self, given: Attributes) -> None:
        self._start_ul(given, is_ordered=True)

    def _start_li(self, given: Attributes) -> None:
        self._need(2)
        lists = self._context.lists or (_List(is_ordered=False),)
        lists[-1].number = _number(given.get("value", ""), lists[-1].number)
        self._item = _Item(_depth(given, len(lists)), lists[-1].next_marker())

    def _end_li(self) -> None:
        self._item = None
        self._need(2)

    # -- tables

    def _start_table(self, _: Attributes) -> None:
        if len(self._tables) < DEPTH_MAX:
            self._tables.append(_Table())
        else:
            self._context = self._context._replace(tag="div")

    def _end_table(self) -> None:
        if self._context.tag != "table":
            return
        table = self._tables.pop()
        if rows := grid_of(table.rows, may_be_narrow=self._is_spreadsheet):
            self.blocks.append(Block(rows=rows))
            return
        for block in (it for row in table.rows for cell in row for it in cell.blocks):
            block.quote |= self._context.quote
            self.blocks.append(block)

    def _start_tr(self, _: Attributes) -> None:
        if self._tables and self._tables[-1].outside is None:
            self._tables[-1].rows.append([])

    def _start_td(self, given: Attributes) -> None:
        table = self._tables[-1] if self._tables else _Table([], [])
        if table.outside is not None:  # a cell of a table that is too deep
            self._context = self._context._replace(tag="div")
            return
        table.outside, self.blocks, self._gap = self.blocks, [], 2
        table.span = tuple(span_of(given.get(name, "")) for name in ("colspan", "rowspan"))
        self._context = self._context._replace(lists=(), quote=False, heading=0)

    def _end_td(self) -> None:
        if self._context.tag == "div":
            return
        table = self._tables[-1]
        table.rows = table.rows or [[]]
        table.rows[-1].append(Cell(self.blocks, *table.span))
        self.blocks, table.outside = table.outside or [], None
        self._item, self._gap = None, 2

    _start_th, _end_th = _start_td, _end_td

    # -- text

    def handle_data(self, data: str) -> None:
        if self._context.is_hidden:
            return
        if self._context.is_marker:
            self._word_mark += data
            return
        breaks = _PRE_BREAK if self._context.is_pre else _BREAK
        for number, part in enumerate(breaks.split(data)):
            self._gap += bool(number)
            self._text(_LOOSE_SPACE.sub(" ", part))

    def _text(self, text: str) -> None:
        """Add text to the present line; blanks at its start are none."""
        folded = _BLANKS.sub(" ", text)
        if self._gap and not folded.strip():
            self._gap += "\xa0" in text
            return
        self._length += len(folded)
        if self._length > TEXT_MAX:
            raise invalid(("/html", f"has a text of more than {TEXT_MAX} characters"))
        if folded:
            self._line().append((folded, self._context.style))
            self._gap = 0

    def _line(self) -> list[Run]:
        """Return the line to which the next text belongs; begins a new one, or a new block."""
        block = self.blocks[-1] if self.blocks else None
        is_inside = bool(block and block.marker and self._context.lists and not self._item)
        if block is None or self._item or block.rows or (self._gap > 1 and not is_inside):
            block = self._new_block()
        elif self._gap:
            block.lines.append([])
        return block.lines[-1]

    def _new_block(self) -> Block:
        block = Block(quote=self._context.quote, heading=self._context.heading)
        if self._item and not block.heading:
            block.depth = self._item.depth
            block.marker = self._item.marker or self._word_marker(self._item.depth)
        self._item = None
        self.blocks.append(block)
        return block

    def _word_marker(self, depth: int) -> str:
        """Return the mark of an item of Word's lists, from the mark that Word wrote."""
        found = _NUMBERED.fullmatch(self._word_mark)
        listed = self._word_lists.setdefault(depth, _List(is_ordered=True))
        if not found:
            return "-"
        if found[1].isdecimal():
            listed.number = int(found[1])
        elif found[1].lower() in ("a", "i"):
            listed.number = 1
        return listed.next_marker()


# -- elements and their styles ---------------------------------------------------------------------


def _inside(context: _Context, tag: str, given: Attributes) -> _Context:
    """Return the context of the text in an element."""
    css = _css(given.get("style", ""))
    style = _styled(context.style, tag, given, css)
    is_head = context.is_head or tag in _HEADINGS or tag == "th"
    word_list = "" if context.lists or tag != "p" else css.get("mso-list", "")
    level = _LEVEL.search(word_list)
    return context._replace(
        tag=tag,
        style=style._replace(bold=style.bold and not is_head),
        quote=context.quote or tag == "blockquote",
        heading=_HEADINGS.get(tag, context.heading),
        is_head=is_head,
        is_pre=context.is_pre or tag == "pre",
        is_hidden=context.is_hidden or _is_hidden(css) or _is_comment(given, css),
        is_marker=context.is_marker or bool(context.word_depth and css.get("mso-list") == "ignore"),
        word_depth=min(int(level[1]) or 1, DEPTH_MAX) if level else context.word_depth,
    )


def _css(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.lower().split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _is_hidden(css: Mapping[str, str]) -> bool:
    is_shown = css.get("display") != "none" and css.get("visibility") != "hidden"
    return not is_shown or css.get("mso-hide") == "all"


def _is_comment(given: Attributes, css: Mapping[str, str]) -> bool:
    """Return whether an element is a comment in Word, which readers of the document do not see."""
    is_mark = given.get("class", "").lower() in _OF_COMMENT
    return is_mark or css.get("mso-element", "").startswith("comment")


def _styled(style: Style, tag: str, given: Attributes, css: Mapping[str, str]) -> Style:
    decoration = f"{css.get('text-decoration', '')} {css.get('text-decoration-line', '')}"
    return Style(
        bold=_is_bold(css.get("font-weight", ""), tag in ("b", "strong") or style.bold),
        italic=_is_italic(css.get("font-style", ""), tag in ("i", "em") or style.italic),
        strike=style.strike or tag in ("s", "strike", "del") or "line-through" in decoration,
        code=style.code or tag in ("code", "tt", "kbd", "samp"),
        href=given.get("href", "") if tag == "a" else style.href,
    )


def _is_bold(weight: str, otherwise: bool) -> bool:
    if weight.isdecimal():
        return int(weight[:4]) >= BOLD_MIN
    return {"bold": True, "bolder": True, "normal": False, "lighter": False}.get(weight, otherwise)


def _is_italic(slant: str, otherwise: bool) -> bool:
    return {"italic": True, "oblique": True, "normal": False}.get(slant, otherwise)


def _gap_of(tag: str) -> int:
    """Return the line breaks that an element needs before and after it."""
    return 2 if tag in _PARAGRAPHS else int(tag in _LINES)


def _depth(given: Attributes, around: int) -> int:
    """Return the depth of an item, which some programs write as an attribute."""
    levels = (_number(given.get(name, ""), 1) for name in ("aria-level", "data-aria-level"))
    indent = _number(given.get("data-stringify-indent", ""), 0) + 1
    return min(max(around, indent, *levels), DEPTH_MAX)


def _number(text: str, otherwise: int) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text) else otherwise


def _emoji(given: Attributes) -> str:
    """Return the alternative text of a picture that stands for a character; "" for any other."""
    alt = given.get("alt", "")
    is_emoji = "data-stringify-emoji" in given or "emoji" in given.get("class", "")
    return alt if is_emoji or not re.search(r"[ -~]", alt) else ""
