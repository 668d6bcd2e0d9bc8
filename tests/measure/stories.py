"""Random stories of the desk, and five editors who save the same texts; print two tables.

    make stories
    PYTHONPATH=tests python -m measure.stories --count 30 --first 0

A story is a seed: kit/story.py plays it with real browsers, a real server and a real store, and
kills them. `python -m kit.playing SEED` plays one again, and prints its steps. Exits with 1 when
something is lost, published twice or overwritten silently.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from kit.figure import Figure, conclude, log
from kit.ledger import RULES
from kit.playing import lines, played, summed
from kit.rivals import Contest
from kit.seats import Told
from kit.servers import serving
from kit.story import STEPS_OF

COUNT: Final = 300
AT_ONCE: Final = 2
TOGETHER: Final = 15  # stories on one store, server and pair of browsers
SAVES: Final = 400  # of each of the five editors
CONFLICTS: Final = 200  # that the five editors meet at least
STUMBLES: Final = 10.0  # per cent of the steps
UNJUDGED: Final = 1.0  # per cent of the texts
ACTS: Final = 30  # of a step with the weight 1, in COUNT stories
# All seats have a tab in most places: 18 of 28 steps opened none. This many of 100 must open one.
RARE: Final = {"open_tab": 50}
KILLS: Final = ("server", "store", "renderer", "browser")


def played_here(seeds: Sequence[int]) -> list[Told]:
    async def collect() -> list[Told]:
        return [told async for told in played(seeds)]

    return asyncio.run(collect())


def stories(first: int, count: int) -> Iterator[Told]:
    """Play the stories in several processes; yield each group when it is done."""
    seeds = range(first, first + count)
    groups = [seeds[at : at + TOGETHER] for at in range(0, count, TOGETHER)]
    with ProcessPoolExecutor(AT_ONCE) as pool:
        for group in pool.map(played_here, groups):
            for told in group:
                if told.faults or told.stumbles:
                    log(*lines(told))
                yield told


async def contest() -> Contest:
    """Let five editors save 20 entries and a header on a server of their own."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with serving(directory / "log", DATA_DIR=str(directory / "data")) as server:
            async with server.editor() as calls:
                held = Contest(server, calls)
                await held.run(SAVES)
    return held


def acted(counts: Counter[str], count: int) -> Iterator[Figure]:
    """Yield whether the steps did something: stories that do nothing lose nothing."""
    stumbles, unjudged = counts["stumbles"] / counts["steps"], counts["unjudged"] / counts["texts"]
    yield Figure("steps without their tab", STUMBLES, 100 * stumbles, " %")
    yield Figure("texts typed, not judged", UNJUDGED, 100 * unjudged, " %")
    for name, weight in STEPS_OF.items():
        least = ACTS * weight * RARE.get(name, 100) * count // (100 * COUNT)
        done = counts[f"acts of {name}"]
        yield Figure(f"steps that did something: {name}", least, done, at_least=True)


def figures(first: int, count: int) -> Iterator[Figure]:
    started_s = time.monotonic()
    counts = summed(stories(first, count))
    took_s = time.monotonic() - started_s
    log(f"{counts['stories']} stories, seeds {first} to {first + count - 1}, in {took_s:.0f} s:")
    log(f"{counts['steps']} steps, {counts['stumbles']} of them without their tab; killed:")
    log(", ".join(f"{counts[name]} times a {name}" for name in KILLS))
    log(f"typed: {counts['characters']:,} characters; lost: {counts['lost characters']}")
    for rule, meaning in RULES.items():
        yield Figure(f"{rule}: {meaning}", 0, counts[rule])
    yield from acted(counts, count)
    held = asyncio.run(contest())
    saves = held.counts["200"]
    log(f"{saves} saves of five editors, {held.counts['412']} conflicts shown")
    yield Figure(f"silent overwrites in {saves} saves of five editors", 0, len(held.silent))
    yield Figure("saved texts that no version has", 0, len(held.vanished))
    yield Figure("conflicts shown", CONFLICTS, held.counts["412"], at_least=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=COUNT, help="the number of stories")
    given = parser.parse_args()
    return conclude(list(figures(given.first, given.count)))


if __name__ == "__main__":
    sys.exit(main())
