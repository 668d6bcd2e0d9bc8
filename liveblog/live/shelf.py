"""The blogs in the memory of one worker, within two limits: by bytes and by number.

A blog with readers stays in memory. Of the other blogs, the least recently used is dropped first
when room is needed. A blog's size is an estimate: `weight()` adds up the texts of its records. Each
second `run` weighs the blogs that have changed, so that a change costs nothing on its way to the
readers. The frames and pages of all blogs count, too; `CacheBudget` evicts them.

Rules: no Redis, makes no frames. Never drops a blog with readers.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from liveblog.blog.problem import WorkerFull
from liveblog.live.budget import CacheBudget
from liveblog.live.periodic import in_slices
from liveblog.live.roster import Roster
from liveblog.seldom import Seldom

log = logging.getLogger(__name__)

WEIGH_EVERY_S: Final = 1.0
NEARLY_FULL: Final = 0.8  # the part of a limit from which on a warning is logged
# When all blogs have readers, a search for one to drop visits all of them in vain. For this time
# after such a search, other blogs are refused without a search.
FULL_KEPT_S: Final = 0.1
MB: Final = 1024 * 1024


class Weighed(Protocol):
    """A blog in memory, with the members that `Shelf` uses."""

    @property
    def roster(self) -> Roster: ...
    @property
    def made_of(self) -> object:
        """Return a value that differs when the blog's size may have changed."""

    def weight(self) -> int:
        """Return the blog's size in bytes, without its cached frames and pages."""

    def dropped(self) -> None:
        """Note that the blog is no longer in memory, and free its cached frames and pages."""


B = TypeVar("B", bound=Weighed)


class Shelf(Generic[B]):
    """Holds blogs by slug. `lives` has the least recently used first.

    `bytes_max` limits the bytes of all blogs and of `caches`. `blogs_max` limits the number of
    blogs; 0: no limit. `on_drop` gets the slug of each dropped blog. `clock` returns monotonic
    seconds.
    """

    def __init__(
        self,
        bytes_max: int,
        blogs_max: int,
        caches: CacheBudget,
        *,
        on_drop: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.bytes_max, self._blogs_max = bytes_max, blogs_max
        self._caches, self._on_drop, self._clock = caches, on_drop, clock
        self.lives: OrderedDict[str, B] = OrderedDict()
        # Each blog's `made_of` when it was weighed, and its bytes.
        self._weights: dict[str, tuple[object, int]] = {}
        self._blogs_bytes = self._needed_bytes = self._needed_blogs = 0
        self._full_until = -math.inf
        self._logged = Seldom(clock)

    @property
    def bytes(self) -> int:
        """The bytes of all blogs, with their cached frames and pages."""
        return self._blogs_bytes + self._caches.bytes

    # -- room

    def add(self, slug: str, blog: B) -> None:
        """Hold a blog. Raises WorkerFull when there is no room for it."""
        weight = blog.weight()
        self.make_room(weight)
        self.lives[slug] = blog
        self._weights[slug] = blog.made_of, weight
        self._blogs_bytes += weight

    def make_room(self, size: int = 0) -> None:
        """Drop blogs without readers until one more blog of this size fits.

        Then evict cached frames and pages. Raises WorkerFull when that is not enough.
        """
        if self._has_room(size):
            return
        if self._clock() >= self._full_until:
            self._search_room(size)
        if not self._has_room(size):
            self._log(logging.ERROR, "worker full, refusing further blogs")
            raise WorkerFull("This worker holds as many blogs as it may, all with readers.")

    def _search_room(self, size: int) -> None:
        self._drop_idle(size)
        self._caches.shrink(max(0, self.bytes_max - self._blogs_bytes - size))
        # Only a search in vain sets this time: refused requests must not put off the next search.
        if not self._has_room(size):
            self._full_until = self._clock() + FULL_KEPT_S

    def _has_room(self, size: int) -> bool:
        has_place = not self._blogs_max or len(self.lives) < self._blogs_max
        return has_place and self.bytes + size <= self.bytes_max

    def _drop_idle(self, size: int) -> None:
        """Drop blogs without readers until one more blog of this size fits.

        A blog with readers is in use now. So it becomes the most recently used, and the next search
        does not visit it again before the others.
        """
        for _ in range(len(self.lives)):
            if self._has_room(size):
                return
            slug, blog = next(iter(self.lives.items()))
            if blog.roster.has_readers:
                self.lives.move_to_end(slug)
            else:
                self.drop(slug)

    def drop(self, slug: str) -> None:
        """Drop a blog from memory."""
        self.lives.pop(slug).dropped()
        self._blogs_bytes -= self._weights.pop(slug)[1]
        self._on_drop(slug)

    # -- each second

    async def run(self) -> None:
        """Weigh changed blogs, and drop unused ones above the limit; until cancelled."""
        while True:
            await asyncio.sleep(WEIGH_EVERY_S)
            await self._weigh_all()
            if self.bytes > self.bytes_max:
                self._drop_idle(0)
            self._warn_when_nearly_full()

    async def _weigh_all(self) -> None:
        self._needed_bytes = self._needed_blogs = 0
        await in_slices(self.lives, self._weigh, self._clock)

    def _weigh(self, slug: str, blog: B) -> None:
        if slug not in self._weights:  # dropped since this round began
            return
        made_of, weight = self._weights[slug]
        if blog.made_of != made_of:
            self._blogs_bytes -= weight
            weight = blog.weight()
            self._blogs_bytes += weight
            self._weights[slug] = blog.made_of, weight
        if blog.roster.has_readers:
            self._needed_bytes += weight
            self._needed_blogs += 1

    # -- the log

    def _warn_when_nearly_full(self) -> None:
        """Log a warning before blogs with readers fill a limit; other blogs only use spare room."""
        if (
            self._needed_bytes > NEARLY_FULL * self.bytes_max
            or 0 < NEARLY_FULL * self._blogs_max < self._needed_blogs
        ):
            self._log(logging.WARNING, "worker nearly full")

    def _log(self, level: int, what: str) -> None:
        if not self._logged.may(what):
            return
        by_number = f", limit {self._blogs_max} (LIVEBLOG_BLOGS_MAX)" if self._blogs_max else ""
        log.log(
            level,
            "%s: %d blogs%s; %d of %d MB (LIVEBLOG_BLOGS_BYTES_MAX), %d MB of it with readers",
            *(what, len(self.lives), by_number, self.bytes // MB, self.bytes_max // MB),
            self._needed_bytes // MB,
        )
