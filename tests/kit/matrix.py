"""The fault matrix: the figures of each fault, as a table in Markdown."""

from typing import Final, NamedTuple


class Row(NamedTuple):
    """The figures of one fault.

    `gone` counts acknowledged changes that were lost because the fault destroyed their store.
    """

    fault: str
    readers: int
    published: int
    acknowledged: int
    gone: int
    lost: int
    duplicated: int
    reordered: int
    unannounced: int
    reconnects: int
    converged_s: float
    within_s: float


ROWS: list[Row] = []

HEAD: Final = (
    "| fault | readers | published | acknowledged | gone with the store | lost | duplicated "
    "| reordered | unannounced resets | reconnects | converged after | limit |"
)


def table() -> str:
    """Return the rows as a table in Markdown, in the order in which their tests ran."""
    lines = [HEAD, "| --- |" + " ---: |" * (HEAD.count("|") - 2)]
    lines += [_line(row) for row in ROWS]
    return "\n".join(lines)


def _line(row: Row) -> str:
    *counts, converged_s, within_s = row
    cells = [*map(str, counts), f"{converged_s:.1f} s", f"{within_s:g} s"]
    return f"| {' | '.join(cells)} |"
