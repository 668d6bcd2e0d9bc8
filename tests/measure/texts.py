"""Texts of editors: what generated lines show, and the time that hostile texts take to render.

- Lines: LINES generated lines whose visible text differs from what the list of marks says.
- Hostile: the CPU time of the slowest of TEXTS texts of the greatest length, each one or two random sequences of marks,
  repeated. The worker renders one text at a time.
"""

import html
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from random import Random
from typing import Final

from kit import typed
from kit.figure import Figure

from liveblog.blog.fields import BODY_MAX
from liveblog.html.markdown import to_html

LINES: Final = int(os.environ.get("TEXTS_LINES", "10000"))
TEXTS: Final = int(os.environ.get("TEXTS_HOSTILE", "1000"))
SEED: Final = 16
SLOWEST_S: Final = 0.5
PIECES: Final = (
    *(
        "[",
        "]",
        "(",
        ")",
        "](",
        "[a](",
        "`",
        "``",
        "*",
        "**",
        "***",
        "~~",
        "\\",
        "\\\\",
        "|",
        "|-",
        "<",
        '"',
    ),
    *(
        "\n",
        "\n\n",
        "> ",
        "- ",
        "1. ",
        "## ",
        "  ",
        "\t",
        "a",
        "a ",
        "5",
        "é",
        "は",
        "。",
        ".",
        ":",
        "/",
        "_",
        "-",
    ),
    *("https://", "x.example", "www.", "@", "a@b.example", "tel:", "C:\\", "¯\\_"),
    *("\u200b", "\u2060", "\u00a0", "'", "u\u0308", "例.", "👍", "؟", "a@", "½"),
)


async def figures() -> AsyncIterator[Figure]:
    lines = typed.lines(SEED, LINES)
    yield Figure(
        f"of {LINES:,} generated lines, those that show something else", 0, sum(map(differs, lines))
    )
    slowest_s = max(map(render_s, islice(hostile(Random(SEED)), TEXTS)))
    yield Figure(
        f"slowest of {TEXTS:,} hostile texts of {BODY_MAX:,} characters", SLOWEST_S, slowest_s, " s"
    )


def differs(line: str) -> bool:
    """Return whether readers see something else of a line than the list of marks says."""
    visible = html.unescape(re.sub(r"<[^>]+>", "", to_html(line)))
    return typed.folded(visible) != typed.shown(line)


def hostile(random: Random) -> Iterator[str]:
    """Yield texts of one or two repeated sequences of marks."""
    while True:
        parts = [
            "".join(random.choices(PIECES, k=random.randint(1, 6)))
            for _ in range(random.randint(1, 2))
        ]
        length = BODY_MAX // len(parts)
        yield "".join((part * length)[:length] for part in parts)


def render_s(text: str) -> float:
    start = time.process_time()
    to_html(text)
    return time.process_time() - start
