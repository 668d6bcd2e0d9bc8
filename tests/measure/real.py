"""Measure the server under ordinary proxies, stores, phones and archives; print a Markdown table.

    make real
    make real ARGS="--only states,unlock"

Each part starts its own servers. Exits with 1 when a figure misses its limit. The module of each part describes its
figures and their measurement.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

from kit.figure import Figure, chosen, conclude, log

from measure import archive, crowds, flood, many, proxies, states, texts, unlock

Figures = AsyncIterator[Figure]

PARTS: dict[str, Callable[[], Figures]] = {
    "proxies": proxies.figures,
    "states": states.figures,
    "archive": archive.figures,
    "many": many.figures,
    "crowds": crowds.figures,
    "flood": flood.figures,
    "unlock": unlock.figures,
    "texts": texts.figures,
}


async def measure(names: list[str]) -> list[Figure]:
    figures = []
    for name in names:
        async for figure in PARTS[name]():
            log(figure.line())
            figures.append(figure)
    return figures


def main() -> int:
    return conclude(asyncio.run(measure(chosen(PARTS, __doc__))))


if __name__ == "__main__":
    sys.exit(main())
