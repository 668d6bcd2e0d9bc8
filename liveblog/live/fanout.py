"""Fan-out: admits the readers of one blog, and sends them the changes in passes.

A *follower* is a reader with a verified position and room in its socket. A *pass* walks over the
followers until all of them are at the *top*, the newest offset.

Rules: no I/O but `Reader.take`, which never waits. One pass at a time for each blog.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from liveblog.blog.timeline import Timeline
from liveblog.live import frame as frames
from liveblog.live.cache import BlogCache
from liveblog.live.frame import Data, Encoding
from liveblog.live.reader import ENDED, RESET, RESET_WINDOW_MS, AnyReader
from liveblog.live.roster import Roster
from liveblog.live.shared import Counts, Spawn

SLICE_S: Final = 0.001  # sending to all readers yields to the event loop after this time
LOOK_EVERY: Final = 16  # readers served between two looks at the clock, in about 0.1 ms


class Fanout:
    """Sends the changes of one blog to its readers, in passes over these readers.

    `on_pass` gets the seconds that each walk over the followers took; `on_idle` is called when a
    pass has ended.
    """

    def __init__(
        self,
        timeline: Timeline,
        cache: BlogCache,
        roster: Roster,
        *,
        counts: Counts,
        clock: Callable[[], float],
        spawn: Spawn,
        on_pass: Callable[[float], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._timeline, self._cache, self._roster = timeline, cache, roster
        self._counts, self._clock, self._spawn = counts, clock, spawn
        self._on_pass, self._on_idle = on_pass, on_idle
        self.is_passing = False

    # -- one reader

    def admit(self, reader: AnyReader) -> None:
        """Let a reader get all new changes, and first send the missed changes in one frame.

        Does nothing while the reader's socket is full. When the socket has drained, the roster
        calls `admit` again.
        """
        if not reader.behind:
            self._roster.follow(reader)
            self.catch_up(reader)

    def catch_up(self, reader: AnyReader) -> None:
        """Send one reader the changes that it missed, as a shared frame, or send a reset."""
        if reader.offset >= self._timeline.offset:
            if reader.leaves:
                self._close_ended(reader)
            return
        frame = self._cache.frame(reader.offset, reader.encoding.as_data)
        if frame is None:
            self.reset(reader)
            return
        reader.offset = self._timeline.offset
        data = frame.encoded(reader.encoding)
        self._count(1, len(data))
        reader.take(data)
        if reader.leaves and not reader.behind:
            self._close_ended(reader)

    def admit_waiting(self, read: int = 0) -> None:
        """Admit waiting readers whose position has become known.

        A position is unknown when its epoch or check differs from the timeline's, or when the
        timeline has not reached its offset. Later messages may advance the timeline to the
        position. A repair, a read of the store (live/repair.py), may do so, too. Only a read that
        starts after the reader came can show that the position does not exist.

        `read` is the number of the read that has just ended, 0 for none. A reader is reset when the
        reader came before this read started and its position is still unknown.
        """
        for reader in list(self._roster.waiting):
            # `admit` may abort other readers of this list, when a full socket makes the worker
            # exceed the limit of unsent bytes (`HeldBytes`).
            if not self._roster.has(reader) or reader.waits_for is None:
                continue
            position, reads_started = reader.waits_for
            if self._timeline.standing(position) == "here":
                self._roster.stop_waiting(reader)
                self.admit(reader)
            elif reads_started < read:
                self.reset(reader)

    def reset(self, reader: AnyReader) -> None:
        """Close a reader's stream with a `reset`, unless the reader has left already."""
        if self._roster.has(reader):
            self._counts.resets += 1
            farewell = frames.reset(self._timeline.position, RESET_WINDOW_MS)
            self._roster.close(reader, farewell, RESET)

    def _close_ended(self, reader: AnyReader) -> None:
        """Close a reader of an ended blog, unless the blog has been reopened."""
        reader.leaves = False
        if self._timeline.blog.status == "ended":
            self._roster.close(reader, None, ENDED)

    # -- all readers

    def start(self) -> None:
        """Start a pass, unless one is running: a running pass sends the newest changes, too."""
        if not self.is_passing and self._roster.followers:
            self.is_passing = True
            self._spawn(self._pass())

    async def _pass(self) -> None:
        """Walk over the followers, the readers with room, until all of them have every change."""
        try:
            top = -1
            while top != self._timeline.offset:
                top = self._timeline.offset
                started = self._clock()
                await self._walk()
                self._on_pass(self._clock() - started)
        finally:
            self.is_passing = False
            self._on_idle()

    async def _walk(self) -> None:
        readers = iter(list(self._roster.followers))
        while self._serve_some(readers):  # noqa: ASYNC110 - lets other tasks run, waits for nothing
            await asyncio.sleep(0)

    def _serve_some(self, readers: Iterator[AnyReader]) -> bool:
        """Serve the next readers for SLICE_S; return whether there may be more.

        The hot path of the worker: two comparisons and a write for each reader. A reader at the
        same offset as the previous reader gets the same bytes, without a look-up in the cache.
        """
        clock, top = self._clock, self._timeline.offset
        until = clock() + SLICE_S
        since, encoding, taken = -1, None, 0
        shared: str | bytes = b""
        while some := list(islice(readers, LOOK_EVERY)):
            for reader in some:
                if not reader.follows:  # the reader left or fell behind meanwhile
                    continue
                if reader.offset == since and reader.encoding is encoding:
                    reader.offset = top
                    reader.take(shared)
                    taken += 1
                else:
                    if taken:
                        self._count(taken, taken * len(shared))
                    since, encoding, taken = reader.offset, reader.encoding, 0
                    self.catch_up(reader)
                    shared = self._shared(since, encoding)
                    if not shared:
                        since = -1
            if clock() >= until:
                break
        self._count(taken, taken * len(shared))
        return bool(some)

    def _shared(self, since: int, encoding: Encoding[Data]) -> Data | bytes:
        """Return the bytes or text that all readers at `since` get in an encoding.

        Empty when nothing can be shared: these readers have every change, the blog has ended, or
        the readers must be reset. Then `catch_up` serves each of them.
        """
        if since >= self._timeline.offset or self._timeline.blog.status == "ended":
            return b""
        frame = self._cache.frame(since, encoding.as_data)
        return frame.encoded(encoding) if frame else b""

    def _count(self, taken: int, taken_bytes: int) -> None:
        self._counts.deliveries += taken
        self._counts.sent_bytes += taken_bytes
