"""Measure the server under ordinary proxies, stores, phones and archives; print a Markdown table.

    make real
    make real ARGS="--only states,unlock"

Each part starts its own servers. Exits with 1 when a figure misses its limit. The module of each part describes its
figures and their measurement.
"""

import sys
from typing import Final

from kit.figure import Parts, main_of

from measure import archive, crowds, flood, many, proxies, states, texts, unlock

PARTS: Final[Parts] = {
    "proxies": proxies.figures,
    "states": states.figures,
    "archive": archive.figures,
    "many": many.figures,
    "crowds": crowds.figures,
    "flood": flood.figures,
    "unlock": unlock.figures,
    "texts": texts.figures,
}


if __name__ == "__main__":
    sys.exit(main_of(PARTS, __doc__))
