"""Loading: read a blog from the store when a first reader asks for it.

The order is subscribe, wait for the confirmation, read the state, apply the messages that arrived
meanwhile. In this order no change can be missed between the state and the subscription.

Rules: concurrent requests for one blog share each read. LOADING_MAX blogs are loaded at a time, and
the others wait for their turn: after a deploy, readers of thousands of blogs come at once. "No such
blog" is never cached, so that a blog is found as soon as it exists.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Container, Coroutine, Sized
from typing import Any, Final, Protocol

from liveblog.blog.problem import WorkerFull
from liveblog.blog.timeline import Changes, Snapshot
from liveblog.live.repair import QUEUED_MAX
from liveblog.live.source import Source, Subscriptions

LOADING_MAX: Final = 50  # concurrent loads; the store's other connections stay free for editors
WAITING_MAX: Final = 20_000  # blogs that are looked up, and blogs that wait to be loaded
# The longest wait for the turn. On one core, 5,000 blogs are loaded in 10 s.
TURN_WITHIN_S: Final = 60.0


class HeldBlogs(Protocol):
    """The blogs in a worker's memory, as `Loading` uses them; the hub implements this Protocol."""

    @property
    def lives(self) -> Container[str]:
        """The slugs of the loaded blogs."""

    def make_room(self) -> None:
        """Drop unused blogs until one more fits. Raises WorkerFull when that is impossible."""

    def adopt(self, slug: str, snapshot: Snapshot, early: deque[Changes]) -> None:
        """Add a loaded blog; `early` are the messages that arrived while it was loaded.

        Raises WorkerFull when there is no room for a blog of this size.
        """


class Loading:
    """Loads blogs into one worker. `spawn` runs a coroutine as a task that ends with the hub."""

    def __init__(
        self,
        source: Source,
        subscriptions: Subscriptions,
        blogs: HeldBlogs,
        *,
        spawn: Callable[[Coroutine[Any, Any, bool]], "asyncio.Task[bool]"],
    ) -> None:
        self._source, self._subscriptions, self._blogs = source, subscriptions, blogs
        self._spawn = spawn
        self._turns = asyncio.Semaphore(LOADING_MAX)
        self._probes: dict[str, asyncio.Task[bool]] = {}  # by slug: whether the blog exists
        self._loads: dict[str, asyncio.Task[bool]] = {}
        self._early: dict[str, deque[Changes]] = {}

    async def load(self, slug: str) -> bool:
        """Load a blog; return False when there is none.

        Later callers share the load. Raises StoreDown when the store does not answer, and
        WorkerFull when the worker has no room or too many blogs wait to be loaded.
        """
        # A cheap read before the expensive load: requests for invented slugs must not wait for a
        # turn, or take one.
        if slug not in self._loads and not await self._exists(slug):
            return False
        if slug not in self._loads and slug not in self._blogs.lives:
            _check_room(self._loads)
            self._loads[slug] = self._spawn(self._load_in_turn(slug))
        loading = self._loads.get(slug)
        return await asyncio.shield(loading) if loading else slug in self._blogs.lives

    def receive(self, slug: str, changes: Changes) -> None:
        """Queue a message of a blog that is being loaded; drop a message of any other."""
        if slug in self._early:
            self._early[slug].append(changes)

    async def _exists(self, slug: str) -> bool:
        """Return whether the store has a blog; all callers that wait share one read."""
        if slug not in self._probes:
            _check_room(self._probes)
            probe = self._probes[slug] = self._spawn(self._source.exists(slug))
            probe.add_done_callback(lambda _: self._probes.pop(slug))
        return await asyncio.shield(self._probes[slug])

    async def _load_in_turn(self, slug: str) -> bool:
        try:
            await self._wait_for_turn()
            try:
                return await self._load(slug)
            finally:
                self._turns.release()
        finally:
            del self._loads[slug]

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(TURN_WITHIN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise WorkerFull("Too many blogs are being loaded.") from None

    async def _load(self, slug: str) -> bool:
        self._early[slug] = deque(maxlen=QUEUED_MAX)
        try:
            self._blogs.make_room()
            await self._subscriptions.follow(slug)
            snapshot = await self._source.load(slug)
            if not snapshot:
                return False
            self._blogs.adopt(slug, snapshot, self._early[slug])
            return True
        finally:
            del self._early[slug]
            if slug not in self._blogs.lives:
                self._subscriptions.unfollow(slug)


def _check_room(waiting: Sized) -> None:
    """Raise WorkerFull when WAITING_MAX blogs wait already."""
    if len(waiting) >= WAITING_MAX:
        raise WorkerFull("Too many blogs are being loaded.")
