"""A measured figure beside its limit, and the Markdown table of many."""

from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """A line of the table. `must` is the upper limit of `value`, or with `at_least` the lower."""

    figure: str
    must: float
    value: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.must if self.at_least else self.value <= self.must

    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        must = f"{sign} {_shown(self.must)}{self.unit}" if self.must or self.at_least else "0"
        return f"| {self.figure} | {must} | {_shown(self.value)}{self.unit} |"


def table(figures: Sequence[Figure]) -> str:
    head = ["| figure | must | measured |", "| --- | --- | --- |"]
    return "\n".join([*head, *(figure.line() for figure in figures)])


def missed(figures: Sequence[Figure]) -> list[str]:
    """Return a line for each figure that misses its limit."""
    return [f"missed: {figure.figure}" for figure in figures if not figure.is_met]


def _shown(value: float) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"
