"""The readers of one blog in this worker, by state.

Three words describe a reader. A reader that *follows* gets the changes. A reader that is
*behind* has a full socket, and gets no frame until the socket drains. A reader that *waits* has a
position that the store has not verified. A waiting reader may also be behind.

Rules: no I/O; makes no frames.
"""

from collections.abc import Callable
from typing import Final

from liveblog.blog.model import Position
from liveblog.live.budget import HeldBytes
from liveblog.live.frame import Frame
from liveblog.live.reader import AnyReader
from liveblog.live.shared import Counts

SLOTS: Final = 20  # slots of the heartbeat interval; each reader gets its heartbeat in one slot
STALLED_S: Final = 45.0  # a reader whose socket does not drain in this time is aborted


class Roster:
    """Lists the readers of one blog by their state, and closes or aborts readers.

    `on_drained` gets each reader whose socket has drained and whose position is verified.
    """

    def __init__(
        self, clock: Callable[[], float], held: HeldBytes, counts: Counts, first_slot: int = 0
    ) -> None:
        self._clock, self._held, self._counts = clock, held, counts
        self.on_drained: Callable[[AnyReader], None] = self.follow
        # Readers that get the changes, in the order of joining. This is about the order of their
        # sockets in memory. With any other order each write takes 0.6 us longer (10,000 sockets,
        # loopback).
        self.followers: dict[AnyReader, None] = {}
        self.waiting: set[AnyReader] = set()
        self.behind: dict[AnyReader, float] = {}  # when each reader fell behind; the earliest first
        self._last_slot = first_slot

    def all(self) -> list[AnyReader]:
        return [*self.verified(), *self.waiting]

    def verified(self) -> list[AnyReader]:
        """Return all readers but the waiting ones, whose positions are not verified."""
        return [*self.followers, *(self.behind.keys() - self.waiting)]

    @property
    def has_readers(self) -> bool:
        return bool(self.followers or self.behind or self.waiting)

    def count(self) -> int:
        return len(self.followers) + len(self.waiting | self.behind.keys())

    def enter(self, reader: AnyReader, offset: int) -> None:
        """Register a reader at an offset; the caller then makes the reader follow or wait."""
        reader.roster, reader.offset = self, offset
        reader.slot = self._last_slot = (self._last_slot + 1) % SLOTS

    def has(self, reader: AnyReader) -> bool:
        return reader.roster is self

    def follow(self, reader: AnyReader) -> None:
        reader.follows = True
        self.followers[reader] = None

    def wait(self, reader: AnyReader, position: Position, reads_started: int) -> None:
        """Let a reader wait until the store has verified its position.

        `reads_started`: how many reads of the store live/repair.py has started. Only a later read
        can show that the position does not exist: an earlier read may have missed changes that the
        position includes.
        """
        reader.waits_for = position, reads_started
        self.waiting.add(reader)

    def stop_waiting(self, reader: AnyReader) -> None:
        reader.waits_for = None
        self.waiting.discard(reader)

    def leave(self, reader: AnyReader) -> None:
        """Remove a reader; does nothing when the reader has left already."""
        if reader.roster is self:
            reader.follows = False
            self.followers.pop(reader, None)
            self.waiting.discard(reader)
            if reader in self.behind:
                self._drop_behind(reader)
            reader.roster = None

    def close(self, reader: AnyReader, farewell: Frame | None, code: int) -> None:
        """Close a reader's stream, unless the reader has left already."""
        if reader.roster is self:
            self.leave(reader)
            reader.end(farewell, code)

    def abort(self, reader: AnyReader) -> None:
        """Abort a reader's connection, unless the reader has left already."""
        if reader.roster is self:
            self.leave(reader)
            reader.abort()

    def fell_behind(self, reader: AnyReader, held_bytes: int) -> None:
        """Note that a reader's socket is full; the reader gets no frame until the socket drains."""
        if reader in self.behind:
            self._drop_behind(reader)
        reader.follows = False
        self.followers.pop(reader, None)
        self.behind[reader] = self._clock()
        reader.held_bytes = held_bytes
        self._held.add(held_bytes)

    def drained(self, reader: AnyReader) -> None:
        """Pass a reader whose socket has drained to `on_drained`, if its position is verified."""
        if reader in self.behind:
            self._drop_behind(reader)
            if reader not in self.waiting:
                self.on_drained(reader)

    def _drop_behind(self, reader: AnyReader) -> None:
        del self.behind[reader]
        self._held.bytes -= reader.held_bytes

    def abort_stalled(self) -> None:
        """Abort the readers whose sockets have been full for STALLED_S. Called each second."""
        before = self._clock() - STALLED_S
        for reader, since in list(self.behind.items()):
            if since > before:
                return
            self._counts.stalled += 1
            self.abort(reader)
