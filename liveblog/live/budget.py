"""Limits on the memory that all blogs of a worker take together.

`HeldBytes` limits the frames that wait for full sockets: it aborts the readers that are behind the
longest. `CacheBudget` limits cached frames and pages: it evicts the caches of all blogs at once.

Rules: no I/O. This module counts bytes; other modules store the frames and pages.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from liveblog.live.reader import AnyReader
from liveblog.live.shared import Counts

CACHED_BYTES_MAX: Final = 64 * 1024 * 1024  # limit for the frames and pages of all blogs


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

    def clear(self) -> None: ...


class CacheBudget:
    """Limits the bytes of cached frames and pages, over all blogs of a worker."""

    def __init__(self, caches: Callable[[], Iterable[Cached]]) -> None:
        self._caches = caches

    def used(self) -> int:
        return sum(cache.cached_bytes for cache in self._caches())

    def make_room(self, size: int) -> bool:
        """Evict the caches of all blogs when `size` bytes more would exceed the limit.

        Returns False when `size` alone exceeds the limit.
        """
        if size > CACHED_BYTES_MAX:
            return False
        if self.used() + size > CACHED_BYTES_MAX:
            for cache in self._caches():
                cache.clear()
        return True
