"""Loading: read a blog from the store when a first reader asks for it.

The order is subscribe, wait for the confirmation, read the state, apply the messages that arrived
meanwhile. In this order no change can be missed between the state and the subscription.

Rules: concurrent requests for one blog share each read, and the number of reads is limited.
Requests for a slug without a blog cost one small read a second.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Container, Coroutine
from typing import Any, Final, Protocol

from liveblog.blog.problem import StoreDown
from liveblog.blog.timeline import Changes, Snapshot
from liveblog.live.repair import QUEUED_MAX
from liveblog.live.source import Source, Subscriptions

UNKNOWN_KEPT_S: Final = 1.0  # "no such blog" is cached this long
UNKNOWN_MAX: Final = 10_000  # slugs cached as unknown
PROBES_MAX: Final = 500  # concurrent reads that ask the store whether a blog exists
LOADING_MAX: Final = 100  # concurrent loads


class HeldBlogs(Protocol):
    """The blogs in a worker's memory, as `Loading` uses them; the hub implements this Protocol."""

    @property
    def lives(self) -> Container[str]:
        """The slugs of the loaded blogs."""

    def make_room(self) -> None:
        """Drop unused blogs until one more fits. Raises StoreDown when that is impossible."""

    def adopt(self, slug: str, snapshot: Snapshot, early: deque[Changes]) -> None:
        """Add a loaded blog; `early` are the messages that arrived while it was loaded."""


class Loading:
    """Loads blogs into one worker. `spawn` runs a coroutine as a task that ends with the hub."""

    def __init__(
        self,
        source: Source,
        subscriptions: Subscriptions,
        blogs: HeldBlogs,
        *,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, bool]], "asyncio.Task[bool]"],
    ) -> None:
        self._source, self._subscriptions, self._blogs = source, subscriptions, blogs
        self._clock, self._spawn = clock, spawn
        self._probes: dict[str, asyncio.Task[bool]] = {}  # by slug: whether the blog exists
        self._loads: dict[str, asyncio.Task[bool]] = {}
        self._early: dict[str, deque[Changes]] = {}
        self._unknown: dict[str, float] = {}  # by slug: until when "no such blog" is cached

    async def load(self, slug: str) -> bool:
        """Load a blog; return False when there is none.

        Later callers share the load. Raises StoreDown when the store does not answer, when too many
        blogs are being loaded, or when the worker has no room.
        """
        if self._clock() < self._unknown.get(slug, 0):
            return False
        # A cheap read before the expensive load: requests for invented slugs must not use up
        # LOADING_MAX.
        if slug not in self._loads and not await self._exists(slug):
            self._note_unknown(slug)
            return False
        if slug not in self._loads and slug not in self._blogs.lives:
            if len(self._loads) >= LOADING_MAX:
                raise StoreDown("too many blogs are being loaded")
            self._loads[slug] = self._spawn(self._load(slug))
        loading = self._loads.get(slug)
        return await asyncio.shield(loading) if loading else slug in self._blogs.lives

    def receive(self, slug: str, changes: Changes) -> None:
        """Queue a message of a blog that is being loaded; drop a message of any other."""
        if slug in self._early:
            self._early[slug].append(changes)

    async def _exists(self, slug: str) -> bool:
        """Return whether the store has a blog; all callers that wait share one read."""
        if slug not in self._probes:
            if len(self._probes) >= PROBES_MAX:
                raise StoreDown("too many blogs are being looked up")
            probe = self._probes[slug] = self._spawn(self._source.exists(slug))
            probe.add_done_callback(lambda _: self._probes.pop(slug))
        return await asyncio.shield(self._probes[slug])

    async def _load(self, slug: str) -> bool:
        self._early[slug] = deque(maxlen=QUEUED_MAX)
        try:
            self._blogs.make_room()
            await self._subscriptions.follow(slug)
            snapshot = await self._source.load(slug)
            if not snapshot:
                self._note_unknown(slug)
                return False
            self._blogs.adopt(slug, snapshot, self._early[slug])
            return True
        finally:
            del self._early[slug]
            del self._loads[slug]
            if slug not in self._blogs.lives:
                self._subscriptions.unfollow(slug)

    def _note_unknown(self, slug: str) -> None:
        if len(self._unknown) >= UNKNOWN_MAX:
            self._unknown.clear()
        self._unknown[slug] = self._clock() + UNKNOWN_KEPT_S
