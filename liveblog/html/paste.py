"""Pasted text as Markdown: the structure of HTML or of a spreadsheet's cells, with our marks only.

Everything that is no mark gets a backslash where it would be read as one, so that readers see the
text that was pasted.

Rules: pure. The result is text; nothing of the pasted HTML ever reaches a page.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Final

from liveblog.html.cells import Block, Row
from liveblog.html.clipboard import blocks_of
from liveblog.html.inline import PLAIN, line_of

_BREAK: Final = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")


def to_markdown(html: str, text: str) -> str:
    """Return the Markdown of what a program put on the clipboard, as HTML and as plain text.

    Without HTML, a spreadsheet's cells in `text`, with tabs between them, become a table. Any other
    text stays as it is. Raises Problem 422 for HTML beyond a limit of html/clipboard.py. Safe to
    call from any thread.
    """
    if blocks := blocks_of(html):
        return write(blocks)
    lines = _BREAK.sub("\n", text)
    return _table(rows) if (rows := _cells(lines)) else lines


def _cells(text: str) -> list[Row]:
    """Return the rows of tab-separated cells; none for a text that is something else.

    Spreadsheets put a cell with a line break into double quotes.
    """
    if "\t" not in text:
        return []
    try:
        lines = (f"{line}\n" for line in text.rstrip("\n").split("\n"))
        rows = list(csv.reader(lines, delimiter="\t"))
    except csv.Error:
        return []
    is_even = len({len(row) for row in rows}) == 1
    is_indented = not any(row and row[0] for row in rows)
    if not is_even or is_indented:
        return []
    return [[[(" ".join(it.split()), PLAIN)] for it in row] for row in rows]


# -- writing ---------------------------------------------------------------------------------------


def write(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown, with an empty line between two that are no items of one list."""
    parts, widths = list[str](), list[int]()
    before: Block | None = None
    for block in list(_without_lone_items(blocks)):
        if not (text := _written(block, widths)):
            continue
        if before:
            parts.append(_separator(before, block))
        parts.append(text)
        before = block
    return "".join(parts)


def _without_lone_items(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield the blocks; an item that is alone in its list becomes lines of the item around it.

    One item alone is no list by the closed list of marks.
    """
    outer: list[Block] = []  # by depth: the last item yielded
    for block, after in zip(blocks, (*blocks[1:], Block()), strict=True):
        del outer[max(0, block.depth) :]
        has_sibling = len(outer) == block.depth or after.depth >= block.depth
        if block.depth > 1 and len(outer) == block.depth - 1 and not has_sibling:
            outer[-1].lines += block.lines
            continue
        if block.depth:
            outer += [block] * (block.depth - len(outer))
            outer[block.depth - 1] = block
        yield block


def _separator(before: Block, block: Block) -> str:
    if _continues(before, block):
        return "\n"
    return "\n>\n" if before.quote and block.quote else "\n\n"


def _continues(before: Block, block: Block) -> bool:
    """Return whether a block is an item of the list to which the block before belongs."""
    if not (before.marker and block.marker) or before.quote != block.quote:
        return False
    return block.depth > 1 or before.depth > 1 or _is_next(before.marker, block.marker)


def _is_next(before: str, marker: str) -> bool:
    is_number = (before != "-", marker != "-")
    return is_number == (False, False) or (all(is_number) and marker != "1.")


def _written(block: Block, widths: list[int]) -> str:
    """Return a block as Markdown; `widths` has the widths of the marks of the items around it."""
    if block.rows:
        return _table(block.rows)
    lines = [line for line in map(line_of, block.lines) if line]
    if block.heading:
        lines = [f"{'#' * block.heading} {' '.join(lines)}"] if lines else []
    elif block.marker and lines:
        lines = list(_item(block, lines, widths))
    if not block.marker:
        widths.clear()
    return "\n".join(f"> {line}" if block.quote else line for line in lines)


def _item(block: Block, lines: Sequence[str], widths: list[int]) -> Iterator[str]:
    """Yield the lines of an item, indented below the text of the item around it."""
    del widths[block.depth - 1 :]
    indent = " " * sum(widths)
    widths.append(len(block.marker) + 1)
    yield f"{indent}{block.marker} {lines[0]}"
    for line in lines[1:]:
        yield f"{indent}{' ' * widths[-1]}{line}"


def _table(rows: Sequence[Row]) -> str:
    first, *rest = ([line_of(cell, in_table=True) for cell in row] for row in rows)
    lines = [first, ["---"] * len(first), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
