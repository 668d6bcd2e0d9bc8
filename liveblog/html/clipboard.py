"""HTML of the clipboard as blocks: paragraphs, headings, items of lists, quotes and tables.

nh3 parses the HTML as browsers do, and keeps the elements and properties that have a meaning here
(elements.py).

Line breaks are counted as in the HTML standard's "inner text": a paragraph needs an empty line
around it, a `div` a line of its own, and each `br` adds one, as does a line feed where the style
`white-space` keeps line feeds. Those at the edge of a block, which browsers show, are mostly the
lines of the HTML and count as none. The style sheet of the page may part more words. Only the plain
text of the clipboard has these gaps (gaps.py): then the reader below reads the HTML a second time.

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
from liveblog.html.elements import (
    AROUND,
    DEPTH_MAX,
    LINES,
    PARAGRAPHS,
    PROPERTIES,
    Attributes,
    Context,
    OpenList,
    inside,
)
from liveblog.html.gaps import NO_GAP, Gap, Piece, gaps_of
from liveblog.html.inline import Run
from liveblog.html.nesting import check_tags

TEXT_MAX: Final = 100_000  # characters; a longer text fits no entry

_TAGS: Final = {
    *PARAGRAPHS,
    *LINES,
    *AROUND,
    *("a", "b", "strong", "i", "em", "s", "strike", "del", "code", "tt", "kbd", "samp", "span"),
    *("br", "img", "sup", "sub", "thead", "tbody", "tfoot", "tr", "td", "th"),
    # Without a meaning here, but with a text of their own beside that of others.
    *("u", "ins", "small", "big", "mark", "font", "label", "time", "abbr", "cite", "dfn", "var"),
    *("bdi", "bdo", "data", "output", "picture", "ruby"),
}
_UNSEEN: Final = {
    *("script", "style", "title", "template", "noscript", "svg", "math", "iframe", "object"),
    *("button", "select", "textarea", "rp"),
}
_ATTRIBUTES: Final = {
    "*": {"style", "class", "data-stringify-type", "data-stringify-emoji"},
    "a": {"href"},
    "ol": {"start"},
    "li": {"value", "aria-level", "data-aria-level", "data-stringify-indent"},
    "table": {"role"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "img": {"alt"},
}
_CUSTOM: Final = re.compile(r"<([a-z][a-z0-9]*-[a-z0-9-]*)", re.IGNORECASE)
_SPREADSHEET: Final = re.compile(
    r"google-sheets|office:excel|Excel\.Sheet|<colgroup", re.IGNORECASE
)
_BLANKS: Final = re.compile(r"[ \t\n\r\f]+")
# Programs write a no-break space where a blank would be lost. It stays where it binds: within
# numbers, and beside French punctuation.
_LOOSE_SPACE: Final = re.compile(r"(?<![«\d])\xa0(?![»:;!?%€\d])")
_BREAK: Final = re.compile("[\x0b\u2028\u2029]")
_KEPT_BREAK: Final = re.compile("\r\n?|[\n\x0b\u2028\u2029]")
# A number as entries have it, or another mark: "1.2", "(3)", "a)", "iv.".
_NUMBERED: Final = re.compile(
    r"([0-9]{1,4})[.)]|\(?[0-9]{1,4}(?:\.[0-9]{1,4})*[.)]?|\(?[a-z]{1,5}[.)]", re.IGNORECASE
)


def blocks_of(html: str, text: str) -> list[Block]:
    """Return the blocks that HTML of the clipboard shows; `text` is the plain text beside it.

    Raises Problem 422 for HTML with more tags, deeper elements or a longer text than the limits.
    """
    check_tags(html)
    is_spreadsheet, cleaned = bool(_SPREADSHEET.search(html)), _cleaned(html)
    reader = _read(cleaned, {}, is_spreadsheet)
    if gaps := gaps_of(reader.pieces, text[: 2 * TEXT_MAX]):
        reader = _read(cleaned, gaps, is_spreadsheet)
    return reader.blocks


def _cleaned(html: str) -> str:
    """Return well-formed HTML. Elements that a page has defined stay: their styles matter."""
    return nh3.clean(
        html,
        tags=_TAGS | {name.lower() for name in _CUSTOM.findall(html)},
        clean_content_tags=_UNSEEN,
        attributes=_ATTRIBUTES,
        filter_style_properties=PROPERTIES,
        url_schemes={"http", "https", "mailto", "tel"},
        url_relative="deny",
        link_rel=None,
    )


def _read(html: str, gaps: Mapping[int, Gap], is_spreadsheet: bool) -> "_Reader":
    reader = _Reader(gaps, is_spreadsheet)
    reader.feed(html)
    reader.close()
    return reader


@dataclass(slots=True)
class _Table:
    """An open table; `outside` are the blocks around the table, while a cell is open."""

    is_layout: bool = False
    rows: list[list[Cell]] = field(default_factory=list)
    outside: list[Block] | None = None
    span: tuple[int, ...] = (1, 1)


class _Item(NamedTuple):
    """An item that has no text yet. Word's items have their mark in the text: `marker` is ""."""

    depth: int
    marker: str = ""


class _Reader(HTMLParser):
    """Collects blocks from HTML that nh3 has made well-formed.

    `_gap` is the number of line breaks before the next text: two or more begin a new block.
    `_is_edge` says whether there was no text since a block began or ended. `pieces` are the texts
    that were read; `gaps` has by number what stands before or in a piece in the plain text.
    """

    def __init__(self, gaps: Mapping[int, Gap], is_spreadsheet: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.pieces: list[Piece] = []
        self._gaps, self._is_spreadsheet = gaps, is_spreadsheet
        self._gap, self._is_edge, self._is_inline, self._length = 2, True, False, 0
        self._context, self._outer = Context(), list[Context]()
        self._item: _Item | None = None
        self._word_mark = ""
        self._tables: list[_Table] = []

    # -- elements

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("br", "hr", "img"):
            self._void(tag, given)
            return
        self._outer.append(self._context)
        self._context = inside(self._context, tag, given)
        self._need(self._context.gap)
        if given.get("data-stringify-type") == "paragraph-break":  # Slack's empty line
            self._need(2)
        if start := getattr(self, f"_start_{tag}", None):
            start(given)
        if tag in AROUND:
            self.handle_data(AROUND[tag][0], is_added=True)
        if self._context.word_depth > self._outer[-1].word_depth:
            self._item, self._word_mark = _Item(self._context.word_depth), ""

    def handle_endtag(self, tag: str) -> None:
        if not self._outer:  # of an element without an end, such as </br>
            return
        if tag in AROUND:
            self.handle_data(AROUND[tag][1], is_added=True)
        if end := getattr(self, f"_end_{tag}", None):
            end()
        gap, self._context = self._context.gap, self._outer.pop()
        self._need(gap)

    def _void(self, tag: str, given: Attributes) -> None:
        if tag == "br" and not self._context.is_hidden:
            self._gap += 1
        elif tag == "hr":
            self._need(2)
        elif alt := _emoji(given):
            self.handle_data(alt)

    def _need(self, gap: int) -> None:
        self._gap = max(self._gap, gap)
        self._is_edge = self._is_edge or gap > 0
        self._is_inline = self._is_inline or gap < 0

    # -- lists

    def _start_ul(self, given: Attributes, *, is_ordered: bool = False) -> None:
        start = _number(given.get("start", ""), 1)
        opened = OpenList(is_ordered, start)
        self._context = self._context._replace(lists=(*self._context.lists, opened)[:DEPTH_MAX])

    def _start_ol(self, given: Attributes) -> None:
        self._start_ul(given, is_ordered=True)

    def _start_li(self, given: Attributes) -> None:
        self._need(2)
        lists = self._context.lists or (OpenList(is_ordered=False),)
        lists[-1].number = _number(given.get("value", ""), lists[-1].number)
        self._item = _Item(_depth(given, len(lists)), lists[-1].next_marker())

    def _end_li(self) -> None:
        self._item = None
        self._need(2)

    # -- tables

    def _start_table(self, given: Attributes) -> None:
        if self._tables:
            self._tables[-1].is_layout = True
        if len(self._tables) < DEPTH_MAX:
            self._tables.append(_Table(is_layout=given.get("role") in ("presentation", "none")))
        else:
            self._context = self._context._replace(tag="div")

    def _end_table(self) -> None:
        if self._context.tag != "table":
            return
        table = self._tables.pop()
        rows = grid_of(table.rows, may_be_narrow=self._is_spreadsheet)
        if rows and not table.is_layout:
            self.blocks.append(Block(rows=rows))
            return
        for block in (it for row in table.rows for cell in row for it in cell.blocks):
            block.quote |= self._context.quote
            self.blocks.append(block)

    def _start_tr(self, _: Attributes) -> None:
        if self._tables and self._tables[-1].outside is None:
            self._tables[-1].rows.append([])

    def _start_td(self, given: Attributes) -> None:
        table = self._tables[-1] if self._tables else _Table(outside=[])
        if table.outside is not None:  # a cell of a table that is too deep
            self._context = self._context._replace(tag="div")
            return
        table.outside, self.blocks = self.blocks, []
        self._need(2)
        table.span = tuple(span_of(given.get(name, "")) for name in ("colspan", "rowspan"))
        self._context = self._context._replace(lists=(), quote=False, heading=0)

    def _end_td(self) -> None:
        if self._context.tag == "div":
            return
        table = self._tables[-1]
        table.rows = table.rows or [[]]
        table.rows[-1].append(Cell(self.blocks, *table.span))
        self.blocks, table.outside = table.outside or [], None
        self._item = None
        self._need(2)

    _start_th, _end_th = _start_td, _end_td

    # -- text

    def handle_data(self, data: str, *, is_added: bool = False) -> None:
        """Add what stands between two tags, or what browsers add and no plain text has."""
        if self._context.is_hidden:
            return
        if self._context.is_marker:
            self._word_mark += data
            return
        gap = self._gaps.get(len(self.pieces), NO_GAP)
        is_apart = self._gap > 0 or self._item is not None
        self.pieces.append(Piece("" if is_added else data, is_apart, self._is_inline))
        self._is_inline = False
        self._need(gap.before.count("\n"))
        self._add(f" {data}" if gap.before == " " else data, keeps_breaks=gap.keeps_breaks)

    def _add(self, data: str, *, keeps_breaks: bool = False) -> None:
        """Add text, with line breaks where it has them."""
        keeps_breaks = keeps_breaks or self._context.keeps_breaks
        if keeps_breaks and self._is_edge:
            data = data.lstrip(" \t\r\n\f")
        breaks = _KEPT_BREAK if keeps_breaks else _BREAK
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
            self._gap, self._is_edge = 0, False

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
            block.marker = self._item.marker or _word_marker(self._word_mark)
        self._item = None
        self.blocks.append(block)
        return block


def _word_marker(mark: str) -> str:
    """Return the mark of an item of Word's lists: Word's own if it has a figure or a letter."""
    if found := _NUMBERED.fullmatch(mark.strip()):
        return f"{int(found[1])}." if found[1] else found[0]
    return "-"


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
