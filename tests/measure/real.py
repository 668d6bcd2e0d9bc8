"""Measure the server under ordinary proxies, stores, phones and archives; print a Markdown table.

    make real
    make real ARGS="--only states,unlock"

Each part starts its own servers. Exits with 1 when a figure misses its limit. The module of each part describes its
figures and their measurement.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable

from kit.figure import Figure, missed, table

from measure import archive, crowds, many, proxies, states, unlock

Figures = AsyncIterator[Figure]

PARTS: dict[str, Callable[[], Figures]] = {
    "proxies": proxies.figures,
    "states": states.figures,
    "archive": archive.figures,
    "many": many.figures,
    "crowds": crowds.figures,
    "unlock": unlock.figures,
}


async def measure(names: list[str]) -> list[Figure]:
    figures = []
    for name in names:
        async for figure in PARTS[name]():
            log(figure.line())
            figures.append(figure)
    return figures


def log(*lines: str) -> None:
    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is not one of {', '.join(PARTS)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=_names, default=[*PARTS], help=f"of {', '.join(PARTS)}")
    figures = asyncio.run(measure(parser.parse_args().only))
    print(table(figures))
    log(*missed(figures))
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
