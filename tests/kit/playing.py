"""Plays stories of the desk one after the other on one newsdesk, and sums up what they broke.

    PYTHONPATH=tests python -m kit.playing SEED ...

plays the stories with these seeds, and prints each step.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Final

from kit.ledger import Fault
from kit.newsdesk import newsdesk
from kit.seats import Told
from kit.story import STEPS, Story
from kit.waiting import SCALE

STORY_S: Final = 90.0  # no story takes as long; one that hangs is a fault


async def played(
    seeds: Iterable[int], tree: Path | None = None, steps: tuple[int, int] = STEPS
) -> AsyncGenerator[Told]:
    """Play the stories with these seeds; `tree` is the copy of the checkout that is served.

    The stories share a store, a server and two browsers. After a story that did not come to its
    end, they get new ones.
    """
    left = list(seeds)
    while left:
        with tempfile.TemporaryDirectory(prefix="stories-") as directory:
            async with newsdesk(Path(directory), tree) as desk:
                while left:
                    story = Story(desk, left.pop(0), steps)
                    yield await _told(story)
                    if story.told.is_broken:
                        break


async def _told(story: Story) -> Told:
    try:
        async with asyncio.timeout(STORY_S * SCALE):
            return await story.play()
    except (Exception, TimeoutError) as error:
        story.told.is_broken = True
        story.told.faults.append(Fault("broken", f"step {story.at} {story.doing}: {error!r:.300}"))
        return story.told


def summed(told: Iterable[Told]) -> Counter[str]:
    """Return the counts of all stories, by the names of a table's columns."""
    counts: Counter[str] = Counter()
    for it in told:
        counts.update(it.kills)
        counts.update({f"acts of {name}": count for name, count in it.acts.items()})
        counts.update(fault.rule for fault in it.faults)
        counts["lost characters"] += sum(f.characters for f in it.faults if f.rule == "lost")
        counts["stories"] += 1
        counts["steps"] += len(it.steps)
        counts["characters"] += it.characters
        counts["stumbles"] += len(it.stumbles)
        counts["texts"] += it.texts
        counts["unjudged"] += it.unjudged
    return counts


def lines(told: Told) -> list[str]:
    """Return what a story was: its seed, its steps, and what it broke."""
    head = f"seed {told.seed}: {len(told.faults)} faults in {len(told.steps)} steps"
    faults = [f"    {fault.rule}: {fault.what}" for fault in told.faults]
    stumbles = [f"    stumbled: {it}" for it in told.stumbles]
    return [head, f"    {', '.join(told.steps)}", *faults, *stumbles]


async def main(seeds: Iterable[int]) -> int:
    faults = 0
    async for told in played(seeds):
        faults += len(told.faults)
        print(*lines(told), sep="\n", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(map(int, sys.argv[1:]))))
