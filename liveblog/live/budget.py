"""Limits on the memory that all blogs of a worker take together.

`HeldBytes` limits the frames that wait for full sockets: it aborts the readers that are behind the
longest. `CacheBudget` limits cached frames and pages: it evicts those of the least recently used
blogs.

Rules: no I/O. This module counts bytes; other modules store the frames and pages.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from liveblog.live.reader import AnyReader
from liveblog.live.shared import Counts

CACHED_BYTES_MAX: Final = 48 * 1024 * 1024  # limit for the frames and pages of all blogs


class ReadersBehind(Protocol):
    """The part of a blog's roster that `HeldBytes` uses.

    `behind` has the readers whose sockets are full, and when each socket became full. The socket
    that became full first comes first.
    """

    behind: dict[AnyReader, float]

    def abort(self, reader: AnyReader) -> None: ...


class HeldBytes:
    """Counts the bytes that wait for full sockets of all blogs; aborts readers above the limit.

    `rosters` returns one roster, the collection of readers, for each blog. A roster calls `add`
    when a socket is full, and subtracts from `bytes` when the socket has drained.
    """

    def __init__(
        self, bytes_max: int, rosters: Callable[[], Iterable[ReadersBehind]], counts: Counts
    ) -> None:
        self._bytes_max, self._rosters, self._counts = bytes_max, rosters, counts
        self.bytes = 0

    def add(self, held_bytes: int) -> None:
        """Count more bytes that wait for a socket.

        Above the limit, abort the readers that are behind the longest.
        """
        self.bytes += held_bytes
        while self.bytes > self._bytes_max:
            self._abort_longest_behind()

    def _abort_longest_behind(self) -> None:
        full = [roster for roster in self._rosters() if roster.behind]
        roster = min(full, key=lambda roster: next(iter(roster.behind.values())))
        self._counts.stalled += 1
        roster.abort(next(iter(roster.behind)))


class Cached(Protocol):
    """The part of a blog's cache that `CacheBudget` uses."""

    cached_bytes: int

    def settle(self) -> int:
        """Count the bytes of pages again, now that they are compressed; return the difference."""

    def evict(self) -> None: ...


class CacheBudget:
    """Limits the bytes of cached frames and pages, over all blogs of a worker.

    `caches` returns one cache for each blog, the least recently used first. A cache adds to `bytes`
    with `add`, and subtracts from `bytes` itself. A page is counted with its largest size until the
    first shortage of room, and then with the size that it has.
    """

    def __init__(self, caches: Callable[[], Iterable[Cached]]) -> None:
        self._caches = caches
        self.bytes = 0
        self._unsettled: set[Cached] = set()

    def used(self) -> int:
        return self.bytes

    def add(self, cache: Cached, size: int) -> bool:
        """Count bytes that a cache is about to keep; return False when they exceed the limit."""
        if size > CACHED_BYTES_MAX:
            return False
        if self.bytes + size > CACHED_BYTES_MAX:
            self._settle()
        if self.bytes + size > CACHED_BYTES_MAX:
            # More than necessary, so that the next calls need not search.
            self.shrink(min(CACHED_BYTES_MAX - size, CACHED_BYTES_MAX * 3 // 4))
        self._unsettled.add(cache)
        self.bytes += size
        return True

    def shrink(self, goal: int) -> None:
        """Evict the frames and pages of blogs until at most `goal` bytes are left."""
        if self.bytes > goal:
            for cache in self._caches():
                if cache.cached_bytes:
                    cache.evict()
                if self.bytes <= goal:
                    return

    def forget(self, cache: Cached) -> None:
        """Forget the cache of a blog that was dropped from memory."""
        self._unsettled.discard(cache)

    def _settle(self) -> None:
        unsettled, self._unsettled = self._unsettled, set()
        for cache in unsettled:
            self.bytes += cache.settle()
