"""Periodic tasks of all blogs: heartbeats, aborting stalled readers, closing ended blogs.

Rules: no I/O except the writes of readers. A failure in one blog does not stop the task for the
others.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Final, ParamSpec, Protocol, TypeVar

from liveblog.blog.instant import format_time
from liveblog.live.roster import SLOTS

log = logging.getLogger(__name__)

# A reader may leave pings unanswered for about this time. `unheard_max` converts the time into a
# number of pings, at least one. The server aborts the reader when the next ping is due. With a
# heartbeat of 20 s, this is 36 to 73 s after the reader's last answer.
UNHEARD_S: Final = 45.0
# Visiting all blogs yields to the event loop after this time, for PAUSE_S. A page takes several
# turns of the event loop, so without the pause it would wait for several slices.
SLICE_S: Final = 0.0005
PAUSE_S: Final = 0.002
PING_EVERY: Final = 2  # one beat in two has a ping: reading a pong costs more than writing a beat


B = TypeVar("B")
P = ParamSpec("P")


async def in_slices(
    blogs: Mapping[str, B], visit: Callable[[str, B], None], clock: Callable[[], float]
) -> None:
    """Call `visit` for each blog, and pause for other work of the event loop every SLICE_S.

    An exception about one blog is logged, and the other blogs are visited.

    With thousands of blogs, one visit of all would delay a page by tens of milliseconds.
    """
    until = clock() + SLICE_S
    for slug, blog in list(blogs.items()):
        _run(slug, visit, slug, blog)
        if clock() >= until:
            await asyncio.sleep(PAUSE_S)
            until = clock() + SLICE_S


def unheard_max(heartbeat_s: float) -> int:
    """Return how many pings of a reader may stay unanswered."""
    return max(1, int(UNHEARD_S / heartbeat_s / PING_EVERY))


class _Beats(Protocol):
    def send(self, slot: int, now: str | None, pings: bool = False) -> None: ...


class _Roster(Protocol):
    def abort_stalled(self) -> None: ...


class _Ending(Protocol):
    def close_some(self) -> None: ...


class Ticked(Protocol):
    """The parts of a `LiveBlog` that the periodic tasks call."""

    @property
    def beats(self) -> _Beats: ...
    @property
    def roster(self) -> _Roster: ...
    @property
    def ending(self) -> _Ending: ...


class PeriodicTasks:
    """Runs the periodic tasks of a worker.

    `now` returns milliseconds since 1970, `clock` monotonic seconds.
    """

    def __init__(
        self,
        blogs: Mapping[str, Ticked],
        heartbeat_s: float,
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._blogs, self._heartbeat_s, self._now, self._clock = blogs, heartbeat_s, now, clock

    async def beat(self) -> None:
        """Send heartbeats, to the readers of one slot in each step; until cancelled.

        Every reader has one of SLOTS slots. A step takes heartbeat_s / (SLOTS + 2). So a beat that
        is one step late still comes within heartbeat_s of the beat before.
        """
        step_s = self._heartbeat_s / (SLOTS + 2)
        for beats in itertools.count():
            await asyncio.sleep(step_s)
            slot, pings = beats % SLOTS, (beats // SLOTS + 1) % PING_EVERY == 0
            await self._beat(slot, format_time(self._now()), pings)

    async def _beat(self, slot: int, now: str | None, pings: bool) -> None:
        def send(_: str, live: Ticked) -> None:
            live.beats.send(slot, now, pings)

        await in_slices(self._blogs, send, self._clock)

    async def tick(self) -> None:
        """Abort stalled readers and close ended blogs, each second; until cancelled."""
        while True:
            await asyncio.sleep(1)
            await in_slices(self._blogs, _tick, self._clock)


def _tick(slug: str, live: Ticked) -> None:
    _run(slug, live.roster.abort_stalled)
    _run(slug, live.ending.close_some)


def _run(slug: str, task: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        task(*args, **kwargs)
    except Exception:
        log.exception("blog %s: periodic task failed", slug)
