"""Pasted text as Markdown: the structure of HTML or of a spreadsheet's cells, with our marks only.

Everything that is no mark gets a backslash where it would be read as one, so that readers see the
text that was pasted.

Rules: pure. The result is text; nothing of the pasted HTML ever reaches a page.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock

from liveblog.html import lines as rules
from liveblog.html.cells import Block, Row
from liveblog.html.clipboard import blocks_of
from liveblog.html.inline import PLAIN, Run, line_of
from liveblog.html.raised import on_line

READ_MAX: Final = 80  # characters of an item from which its list is judged

_PARSER: Final = MarkdownIt()
_BREAK: Final = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*+"')
# A cell, in quotation marks if they end it, and what follows it.
_CELL: Final = re.compile(rf"({_QUOTED.pattern}(?=[\t\n])|[^\t\n]*)([\t\n])")


def to_markdown(html: str, text: str) -> str:
    """Return the Markdown of what a program put on the clipboard, as HTML and as plain text.

    The structure is that of the HTML; words and lines are apart where they are so in `text`.
    Without HTML, a spreadsheet's cells in `text`, with tabs between them, become a table. Any other
    text stays as it is. Raises Problem 422 for HTML beyond a limit of html/clipboard.py. Safe to
    call from any thread.
    """
    if blocks := blocks_of(html, text):
        return write(blocks)
    lines = _BREAK.sub("\n", text)
    return _table(rows) if (rows := _cells(lines)) else lines


def _cells(text: str) -> list[Row]:
    """Return the rows of tab-separated cells; none for a text that is something else."""
    if "\t" not in text:
        return []
    rows, row = list[list[str]](), list[str]()
    for cell in _CELL.finditer(text.rstrip("\n") + "\n"):
        row.append(_unquoted(cell[1]))
        if cell[2] == "\n":
            rows.append(row)
            row = []
    is_even = len({len(row) for row in rows}) == 1
    is_indented = not any(row[0] for row in rows)
    is_small = len(rows[0]) < 2 or (len(rows), len(rows[0])) == (1, 2)
    if not is_even or is_indented or is_small:
        return []
    return [[[(" ".join(it.split()), PLAIN)] for it in row] for row in rows]


def _unquoted(cell: str) -> str:
    """Return a cell without the quotation marks that a spreadsheet puts around line breaks."""
    is_quoted = _QUOTED.fullmatch(cell) and re.search(r"[\t\n]|\"\"", cell[1:-1])
    return cell[1:-1].replace('""', '"') if is_quoted else cell


# -- writing ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Part:
    """A block as lines of Markdown, without the mark of an item and without those of a quote."""

    lines: list[str]
    quote: bool = False
    marker: str = ""
    depth: int = 0
    indent: int = 0  # of the lines of its item that follow, and of the items within it


def write(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown, with an empty line between two that are no items of one list."""
    parts = [it for it in map(_part, blocks) if it.lines]
    _mark_items(parts)
    groups = groupby(parts, key=lambda it: it.quote)
    texts = ((is_quote, _joined(list(group))) for is_quote, group in groups)
    return "\n\n".join(_quoted(text) if is_quote else text for is_quote, text in texts)


def _part(block: Block) -> _Part:
    if block.rows:
        return _Part([_table(block.rows)])
    lines = [line for line in map(_line, block.lines) if line]
    if block.heading and lines:
        lines = [f"{'#' * block.heading} {' '.join(lines)}"]
    return _Part(lines, block.quote, block.marker, block.depth)


def _line(runs: Sequence[Run], *, in_table: bool = False) -> str:
    return line_of(on_line(runs), in_table=in_table)


def _table(rows: Sequence[Row]) -> str:
    first, *rest = ([_line(cell, in_table=True) for cell in row] for row in rows)
    lines = [first, ["---"] * len(first), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _quoted(text: str) -> str:
    """Return a text with the marks of a quote, unless readers would see the marks."""
    lines = text.split("\n")
    if not _is_read(rules.quote, f"> {lines[0]}"):
        return text
    return "\n".join(f"> {line}" if line else ">" for line in lines)


# -- lists -----------------------------------------------------------------------------------------


def _mark_items(parts: Sequence[_Part]) -> None:
    """Take the bullets of items that are no list by the closed list of marks, and set the indents.

    Each depth has one open list; some programs leave depths out, which then count as one.
    """
    open_: list[list[_Part]] = []
    for part in (*parts, _Part([])):
        while open_ and _ends_list(open_, part):
            _close(open_.pop())
        if open_ and open_[-1][-1].depth >= part.depth:
            open_[-1].append(part)
        elif part.depth:
            open_.append([part])


def _ends_list(open_: Sequence[Sequence[_Part]], part: _Part) -> bool:
    """Return whether the innermost open list ends before a part."""
    last = open_[-1][-1]
    if last.quote != part.quote or not part.depth:
        return True
    is_of_outer = len(open_) > 1 and open_[-2][-1].depth >= part.depth
    is_within = last.depth < part.depth
    return is_of_outer or not (is_within or _is_next(last.marker, part.marker))


def _close(items: Sequence[_Part]) -> None:
    """Set the marks and indents of the items of a list."""
    text = "\n".join(f"{it.marker} {it.lines[0][:READ_MAX]}" for it in items)
    is_list = _is_read(rules.list_of_items, text)
    for it in items:
        it.indent = len(it.marker) + 1 if is_list else 0
        it.marker = it.marker if is_list or it.marker != "-" else ""


def _is_next(before: str, marker: str) -> bool:
    are_bullets = (before in ("", "-"), marker in ("", "-"))
    return are_bullets == (True, True) or (not any(are_bullets) and marker != "1.")


def _joined(parts: Sequence[_Part]) -> str:
    """Return parts as one text; each item is indented below the text of the item around it."""
    texts, outer = list[str](), list[_Part]()
    for before, part in pairwise((_Part([]), *parts)):
        while outer and outer[-1].depth >= part.depth:
            outer.pop()
        indent = " " * sum(it.indent for it in outer)
        first = f"{part.marker} {part.lines[0]}" if part.marker else part.lines[0]
        rest = (f"{indent}{' ' * part.indent}{line}" for line in part.lines[1:])
        texts += [_separator(before, part), "\n".join((f"{indent}{first}", *rest))]
        outer.append(part)
    return "".join(texts[1:])


def _separator(before: _Part, part: _Part) -> str:
    is_deep = max(before.depth, part.depth) > 1
    is_item = before.depth and part.depth
    return "\n" if is_item and (is_deep or _is_next(before.marker, part.marker)) else "\n\n"


def _is_read(rule: Callable[[StateBlock, int, int, bool], bool], text: str) -> bool:
    """Return whether the renderer reads a text as its rule says: as a quote or a list."""
    state = StateBlock(text, _PARSER, {}, [])
    return rule(state, 0, state.lineMax, True)
