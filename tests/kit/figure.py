"""A measured figure beside its limit, the Markdown table of many, and the command that prints it."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
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


Figures = AsyncIterator[Figure]
Parts = Mapping[str, Callable[[], Figures]]


def main_of(parts: Parts, description: str | None) -> int:
    """Measure the parts that the command line names, print the table, and return the exit code."""
    return conclude(asyncio.run(_measured(parts, chosen(parts, description))))


async def _measured(parts: Parts, names: Sequence[str]) -> list[Figure]:
    figures = []
    for name in names:
        async for figure in parts[name]():
            log(figure.line())
            figures.append(figure)
    return figures


def chosen(parts: Collection[str], description: str | None) -> list[str]:
    """Return the parts that the command line names after `--only`, or all of them."""

    def names(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in parts]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is not one of {', '.join(parts)}")
        return given

    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=names, default=[*parts], help=f"of {', '.join(parts)}")
    only: list[str] = parser.parse_args().only
    return only


def log(*lines: str) -> None:
    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)


def conclude(figures: Sequence[Figure]) -> int:
    """Print the table, log each figure that misses its limit, and return the exit code."""
    print("| figure | must | measured |", "| --- | --- | --- |", sep="\n")
    print(*(figure.line() for figure in figures), sep="\n")
    missed = [f"missed: {figure.figure}" for figure in figures if not figure.is_met]
    log(*missed)
    return 1 if missed else 0


def _shown(value: float) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"
