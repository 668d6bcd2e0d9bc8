"""One part of the hub (roster, cache or fan-out) without the others, for unit tests.

Rules: nothing runs by itself. A test runs the coroutines in `Spawned`, and sets the time in
`Seconds`.
"""

from collections.abc import Coroutine
from typing import Any

from kit.sources import SLUG, FakeRender, Past
from liveblog.blog.timeline import Timeline
from liveblog.live.budget import CacheBudget, HeldBytes
from liveblog.live.cache import BlogCache
from liveblog.live.fanout import Fanout
from liveblog.live.roster import Roster
from liveblog.live.shared import Counts, HubSettings


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Spawned:
    """Collects the coroutines that the tested part starts; `run` runs them to their end."""

    def __init__(self) -> None:
        self.work: list[Coroutine[Any, Any, None]] = []

    def __call__(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(work)

    async def run(self) -> None:
        while self.work:
            await self.work.pop(0)


def past_of(entries: int, **header: Any) -> Past:
    past = Past(**header)
    for _ in range(entries):
        past.publish()
    return past


def roster_alone(
    clock: Seconds | None = None, held_bytes_max: int = 1_000
) -> tuple[Roster, HeldBytes]:
    """Return a roster (the readers of one blog), and the limit on the bytes that wait for them."""
    counts = Counts()
    held = HeldBytes(held_bytes_max, lambda: [roster], counts)
    roster = Roster(clock or Seconds(), held, counts)
    return roster, held


def cache_alone(timeline: Timeline) -> tuple[BlogCache, FakeRender]:
    """Return a blog's cache of frames and HTML, and its fake renderer, which lists its calls."""
    render = FakeRender()
    cache = BlogCache(SLUG, timeline, render, HubSettings(), CacheBudget(lambda: [cache]))
    return cache, render


class FanoutAlone:
    """The fan-out, which sends a blog's changes to its readers, without the rest of the hub.

    It has a real timeline, a real cache and a real roster (the list of readers).
    """

    def __init__(self, past: Past) -> None:
        self.past, self.timeline = past, Timeline(past.snapshot())
        self.roster, _ = roster_alone()
        self.clock, self.spawned, self.counts = Seconds(), Spawned(), Counts()
        self.cache, _ = cache_alone(self.timeline)
        self.passes: list[float] = []
        self.idle = 0
        self.fanout = Fanout(
            self.timeline,
            self.cache,
            self.roster,
            counts=self.counts,
            clock=self.clock,
            spawn=self.spawned,
            on_pass=self.passes.append,
            on_idle=self._note_idle,
        )
        self.roster.on_drained = self.fanout.admit

    def _note_idle(self) -> None:
        self.idle += 1

    def publish(self) -> None:
        """Apply a change to the timeline, and start to send it to the readers."""
        changes = self.past.publish()
        assert self.timeline.apply(changes) == "applied"
        self.cache.drop(changes.records)
        self.fanout.start()
