"""Marks at the start of lines: headings, quotes, lists, tables; all other lines are paragraphs.

Rules: pure. Each rule is a rule of markdown-it, and replaces the rule that markdown-it has. A line
indented by four columns starts a paragraph, nothing else.
"""

import re
import unicodedata
from typing import Final, NamedTuple

from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.list import markTightParagraphs

from liveblog.blog import visible

# Levels of quotes and lists within each other: a quote is one level, a list is two. Deeper marks
# are text. Each quote reads all lines up to its end: 20 quotes around 10,000 lines took 0.7 s.
LEVELS_MAX: Final = 10
# Cells of one table. Further rows are text: a cell takes a hundred times the time of a character.
CELLS_MAX: Final = 5_000
INDENT_MAX: Final = 3  # columns before a mark
ITEM_INDENT: Final = 2  # columns, from a list's mark, of further lines of an item

# A blank after a mark may be of any kind, such as a no-break one.
_HEADING: Final = re.compile(r"#{2,3}\s++(?=.*\S)(.+)")
_QUOTE: Final = re.compile(r">\s++(?=.*[^\s>])")
_QUOTED: Final = re.compile(r">(?:\s|$)")
_BULLET: Final = re.compile(r"(?P<kind>[-*+])\s++(?=.*[^\s*+-])")
_NUMBER: Final = re.compile(r"(?P<number>[1-9][0-9]{0,8})(?P<kind>[.)])\s++(?=\S)")
_RULE_CELL: Final = re.compile(r"[ \t]*:?-+:?[ \t]*")
_CELL_END: Final = re.compile(r"(?<!\\)\|")


def _start(state: StateBlock, line: int) -> int:
    """Return where a line starts in the text, after blanks and characters that nobody sees."""
    indented = state.bMarks[line] + state.tShift[line]
    return visible.seen_from(state.src, indented, state.eMarks[line])


def _line(state: StateBlock, line: int) -> str:
    """Return a line without the blanks at its ends."""
    return state.src[_start(state, line) : state.eMarks[line]].rstrip(" \t")


def _has_figure(text: str, start: int) -> bool:
    """Return whether the first character that readers see is a figure, such as "7" or "½"."""
    first = visible.seen_from(text, start, len(text))
    return unicodedata.category(text[first : first + 1] or " ")[0] == "N"


def _may_start(state: StateBlock, line: int) -> bool:
    """Return whether a mark may start this line."""
    indent = state.sCount[line] - state.blkIndent
    return 0 <= indent <= INDENT_MAX and state.level < LEVELS_MAX


def _push_inline(state: StateBlock, name: str, tag: str, text: str, line: int) -> None:
    """Push a block with the marks within a text."""
    state.push(f"{name}_open", tag, 1).map = [line, line + 1]
    token = state.push("inline", "", 0)
    token.content, token.map, token.children = text, [line, line + 1], []
    state.push(f"{name}_close", tag, -1)


def paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Make a paragraph of the lines up to an empty line or a line that starts something else."""
    del silent
    rules = state.md.block.ruler.getRules("paragraph")
    line = start + 1
    while line < end and not state.isEmpty(line):
        if any(rule(state, line, end, True) for rule in rules):
            break
        line += 1
    text = state.getLines(start, line, state.blkIndent, False).strip(" \t\n")
    state.line = line
    _push_inline(state, "paragraph", "p", text, start)
    return True


def heading(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Make a heading of "##" or "###", a blank and words.

    Each heading is an h4, one level below the entry's headline, which is an h3.
    """
    del end
    found = _HEADING.fullmatch(_line(state, start)) if _may_start(state, start) else None
    if found and not silent:
        state.line = start + 1
        _push_inline(state, "heading", "h4", found[1], start)
    return found is not None


# -- quotes ----------------------------------------------------------------------------------------


def quote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Quote the lines from ">", a blank and words on; ">" before a figure is "greater than"."""
    line = _line(state, start)
    found = _QUOTE.match(line) if _may_start(state, start) else None
    if not found or _has_figure(line, found.end()):
        return False
    if not silent:
        last = _last_quoted(state, start, end)
        state.push("blockquote_open", "blockquote", 1).map = [start, last + 1]
        _quote_lines(state, start, last + 1)
        state.push("blockquote_close", "blockquote", -1)
    return True


def _last_quoted(state: StateBlock, start: int, end: int) -> int:
    """Return the last line of a quote; an empty line within the quote has a ">" alone."""
    last = line = start
    while line < end and _may_start(state, line) and _QUOTED.match(_line(state, line)):
        last = line if _line(state, line) != ">" else last
        line += 1
    return last


def _quote_lines(state: StateBlock, start: int, end: int) -> None:
    """Parse lines without the ">" before them."""
    marks = (state.bMarks, state.tShift, state.sCount, state.bsCount)
    saved = [it[start:end] for it in marks]
    outer = state.blkIndent, state.lineMax
    for line in range(start, end):
        after = _start(state, line) + 1
        text = state.src[after + 1 : state.eMarks[line]]
        blanks = text[: len(text) - len(text.lstrip(" \t"))]
        state.bMarks[line], state.tShift[line] = min(after + 1, state.eMarks[line]), len(blanks)
        state.sCount[line], state.bsCount[line] = len(blanks.expandtabs(4)), 0
    state.blkIndent, state.lineMax = 0, end
    state.md.block.tokenize(state, start, end)
    state.blkIndent, state.lineMax = outer
    for it, old in zip(marks, saved, strict=True):
        it[start:end] = old
    state.line = end


# -- lists -----------------------------------------------------------------------------------------


class _Mark(NamedTuple):
    """The mark of one item of a list."""

    kind: str  # "-", "*", "+", or what stands after the number: "." or ")"
    number: int  # 0 for a bullet
    words: int  # where the item's words start in the text

    def follows(self, first: "_Mark", count: int) -> bool:
        """Return whether this is the mark of the next item after `count` items."""
        number = first.number + count if first.number else 0
        return self.kind == first.kind and self.number == number


class _List(NamedTuple):
    items: list[tuple[int, int]]  # the first line and the start of the words of each item
    end: int  # the line after the last one with words


def list_of_items(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Make a list of two or more items with one mark, or with numbers from 1 up by one."""
    first = _mark(state, start) if _may_start(state, start) else None
    refused: set[int] = state.env.setdefault("no_list", set())
    if not first or first.number > 1 or start in refused:
        return False
    found = _items(state, first, start, end)
    has_figure = not first.number and any(_has_figure(state.src, words) for _, words in found.items)
    if has_figure or len(found.items) < 2:
        refused.update(line for line, _ in found.items)
        return False
    if not silent:
        _push_list(state, first, found)
    return True


def _mark(state: StateBlock, line: int) -> _Mark | None:
    text = _line(state, line)
    found = _BULLET.match(text) or _NUMBER.match(text)
    if not found:
        return None
    number = int(found.groupdict().get("number") or 0)
    return _Mark(found["kind"], number, _start(state, line) + found.end())


def _items(state: StateBlock, first: _Mark, start: int, end: int) -> _List:
    """Return the items of the list that starts here; only indented lines may stand between."""
    items, after = [(start, first.words)], start + 1
    for line in range(start + 1, end):
        if state.isEmpty(line):
            continue
        if state.sCount[line] - state.sCount[start] < ITEM_INDENT:
            mark = _mark(state, line) if state.sCount[line] >= state.blkIndent else None
            if not mark or not mark.follows(first, len(items)):
                break
            items.append((line, mark.words))
        after = line + 1
    return _List(items, after)


def _push_list(state: StateBlock, first: _Mark, found: _List) -> None:
    name, tag = ("ordered_list", "ol") if first.number else ("bullet_list", "ul")
    start, position = found.items[0][0], len(state.tokens)
    state.push(f"{name}_open", tag, 1).map = [start, found.end]
    ends = [*(line for line, _ in found.items[1:]), found.end]
    indent = state.sCount[start] + ITEM_INDENT
    for (line, words), end in zip(found.items, ends, strict=True):
        _push_item(state, line, end, words, indent)
    state.push(f"{name}_close", tag, -1)
    if not any(state.isEmpty(line) for line in range(start, found.end)):
        markTightParagraphs(state, position)
    state.line = found.end


def _push_item(state: StateBlock, start: int, end: int, words: int, indent: int) -> None:
    """Parse the lines of an item; its first one without the mark."""
    state.push("list_item_open", "li", 1).map = [start, end]
    saved = state.bMarks[start], state.tShift[start], state.sCount[start]
    outer = state.blkIndent, state.lineMax
    state.bMarks[start], state.tShift[start], state.sCount[start] = words, 0, indent
    state.blkIndent, state.lineMax = indent, end
    state.md.block.tokenize(state, start, end)
    state.blkIndent, state.lineMax = outer
    state.bMarks[start], state.tShift[start], state.sCount[start] = saved
    state.push("list_item_close", "li", -1)


# -- tables ----------------------------------------------------------------------------------------


def table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Make a table of a row, a rule row with as many cells, and the rows after it.

    Below other rows, which so have no rule row, a row of dashes is one of them.
    """
    if start + 1 >= end or not _may_start(state, start) or not _may_start(state, start + 1):
        return False
    if silent and _cells(_line(state, start - 1)):  # a row of a paragraph without a rule row
        return False
    rule = _cells(_line(state, start + 1))
    if not rule or not all(_RULE_CELL.fullmatch(cell) for cell in rule):
        return False
    head = _cells(_line(state, start))
    if len(head) != len(rule):
        return False
    if not silent:
        _push_table(state, head, start, end)
    return True


def _cells(line: str) -> list[str]:
    """Return the cells of a row; none for a line without "|"."""
    cells = _CELL_END.split(line)
    if len(cells) < 2:
        return []
    outer = [i for i in (0, len(cells) - 1) if not cells[i].strip()]
    inner = [cell.strip(" \t") for i, cell in enumerate(cells) if i not in outer]
    return inner or [""]


def _push_table(state: StateBlock, head: list[str], start: int, end: int) -> None:
    state.push("table_open", "table", 1)
    _push_rows(state, "thead", "th", [(start, head)])
    rows, count, line = list[tuple[int, list[str]]](), len(head), start + 2
    while line < end and not state.isEmpty(line) and count <= CELLS_MAX:
        text = _line(state, line)
        cells = _cells(text)
        if not cells:
            break
        rows.append((line, cells if len(cells) <= len(head) else _fitted(text, cells, len(head))))
        count, line = count + len(cells), line + 1
    if rows:
        _push_rows(state, "tbody", "td", rows)
    state.push("table_close", "table", -1)
    state.line = line


def _fitted(line: str, cells: list[str], columns: int) -> list[str]:
    """Return the cells of a row with too many; the last column has the rest as typed."""
    splits = columns - 1 + (not _CELL_END.split(line, maxsplit=1)[0].strip())
    rest = _CELL_END.split(line, splits)[-1] if splits else line  # without a limit, 0 splits all
    if not _CELL_END.split(rest)[-1].strip():
        rest = rest.rstrip()[:-1]
    return [*cells[: columns - 1], rest.strip(" \t")]


def _push_rows(state: StateBlock, group: str, tag: str, rows: list[tuple[int, list[str]]]) -> None:
    state.push(f"{group}_open", group, 1)
    for line, cells in rows:
        state.push("tr_open", "tr", 1)
        for cell in cells:
            _push_inline(state, tag, tag, cell, line)
        state.push("tr_close", "tr", -1)
    state.push(f"{group}_close", group, -1)
