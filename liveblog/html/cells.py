"""Cells of a pasted table as rows of text, or nothing when the table is a page's layout.

Rules: pure.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from liveblog.html.inline import PLAIN, Run

CELLS_MAX: Final = 5_000  # of a table; the cells of a larger one become paragraphs
SPAN_MAX: Final = 100  # columns or rows of one cell
CELL_LINES_MAX: Final = 40  # lines of a cell; a table with longer cells is a page's layout

# Between the blocks of a cell stands a semicolon, unless punctuation parts them already.
_PARTED: Final = re.compile(r"[.,:;!?…\u2013\u2014/\s-]$|^[(\[\u2013\u2014/\s]")

Row = list[list[Run]]


@dataclass(slots=True)
class Block:
    """A paragraph, a heading, an item of a list or a table, and whether it is quoted.

    `heading` is the number of signs before a heading, `marker` the mark of an item: "-", or a
    number and a point. `depth` counts the lists around an item.
    """

    lines: list[list[Run]] = field(default_factory=lambda: [[]])
    quote: bool = False
    heading: int = 0
    marker: str = ""
    depth: int = 0
    rows: list[Row] = field(default_factory=list)


class Cell(NamedTuple):
    """A cell of a table, and the columns and rows that the cell covers."""

    blocks: list[Block]
    columns: int
    rows: int


def span_of(text: str) -> int:
    """Return the number of columns or rows in an attribute, at most SPAN_MAX."""
    return max(1, min(int(text), SPAN_MAX)) if re.fullmatch(r"[0-9]{1,4}", text) else 1


def grid_of(rows: Sequence[Sequence[Cell]], *, may_be_narrow: bool) -> list[Row]:
    """Return the rows of a table of data; none for a table that is a page's layout.

    A table with one column is data when it comes from a spreadsheet.
    """
    cells = [cell for row in rows for cell in row]
    width = max((sum(cell.columns for cell in row) for row in rows), default=0)
    is_small = max(len(rows) * width, sum(it.columns * it.rows for it in cells)) <= CELLS_MAX
    if not is_small or not all(map(_is_simple, cells)):
        return []
    grid = _trimmed(_spread(rows))
    is_wide = bool(grid) and (len(grid[0]) > 1 or (may_be_narrow and len(grid) > 1))
    return grid if is_wide else []


def _is_simple(cell: Cell) -> bool:
    has_table = any(it.rows for it in cell.blocks)
    return not has_table and sum(len(it.lines) for it in cell.blocks) <= CELL_LINES_MAX


def _spread(rows: Sequence[Sequence[Cell]]) -> list[Row]:
    """Return the rows with an empty cell for each further column and row of a cell."""
    grid: list[Row] = []
    hanging: dict[int, int] = {}  # by column: the rows that a cell above still covers
    for cells in rows:
        row: Row = []
        for cell in cells:
            _fill(row, hanging)
            columns = range(len(row), len(row) + cell.columns)
            row += [_text_of(cell), *([] for _ in columns[1:])]
            hanging |= dict.fromkeys(columns, cell.rows - 1)
        _fill(row, hanging)
        grid.append(row)
    return grid


def _fill(row: Row, hanging: dict[int, int]) -> None:
    """Add the cells that cells of earlier rows cover."""
    while hanging.get(len(row), 0) > 0:
        hanging[len(row)] -= 1
        row.append([])


def _text_of(cell: Cell) -> list[Run]:
    """Return the text of a cell on one line: "Start; Speech" for two items or paragraphs."""
    runs: list[Run] = []
    for block in cell.blocks:
        text = [run for line in block.lines for run in ((" ", PLAIN), *line)][1:]
        if block.marker not in ("", "-"):
            text.insert(0, (f"{block.marker} ", PLAIN))
        runs += [(_between(runs, text), PLAIN), *text] if runs else text
    return runs


def _between(left: Sequence[Run], right: Sequence[Run]) -> str:
    ends = (left[-1][0][-1:], right[0][0][:1]) if right else ("", "")
    return " " if any(map(_PARTED.search, ends)) else "; "


def _trimmed(grid: Iterable[Row]) -> list[Row]:
    """Return equally long rows, without empty rows and without empty columns at the end."""
    rows = [row for row in grid if any(row)]
    width = max((n + 1 for row in rows for n, cell in enumerate(row) if cell), default=0)
    return [[*row, *([] for _ in range(width))][:width] for row in rows]
