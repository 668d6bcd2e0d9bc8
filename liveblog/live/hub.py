"""The hub: all live blogs of one worker.

Changes arrive as messages from pub/sub (`Hub.receive`) and go to the `LiveBlog` of their blog.
`Loading` loads a blog when a first reader asks for it. `StoreWatch` compares all blogs with the
store, since pub/sub may lose messages.

Rules: no Redis, no ASGI. No call waits for a reader's socket. A reader is registered and its missed
changes are determined without an await in between, so that no change is lost.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from liveblog.blog.model import is_slug
from liveblog.blog.problem import Problem, StoreDown, WorkerFull
from liveblog.blog.timeline import Changes, Snapshot
from liveblog.live import frame as frames
from liveblog.live.blog import LiveBlog
from liveblog.live.budget import CacheBudget, HeldBytes
from liveblog.live.cache import Render
from liveblog.live.loading import Loading
from liveblog.live.periodic import PeriodicTasks, unheard_max
from liveblog.live.reader import DRAINED, RESTART_WINDOW_MS
from liveblog.live.shared import Counts, HubSettings
from liveblog.live.shelf import Shelf
from liveblog.live.source import Source, Subscriptions
from liveblog.live.watch import BlogState, StoreWatch
from liveblog.tasks import stop, until_one_ends

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Hub:
    """Loads the blogs of this worker, passes messages to them, and drops unused blogs.

    `clock` returns monotonic seconds, `now` milliseconds since 1970. The coroutine `run` must be
    running, for heartbeats, comparisons with the store and time limits.
    """

    source: Source
    subscriptions: Subscriptions
    render: Render
    now: Callable[[], int]
    settings: HubSettings = field(default_factory=HubSettings)
    clock: Callable[[], float] = time.monotonic
    counts: Counts = field(default_factory=Counts)
    draining: bool = False
    # Gets how many seconds each walk over the readers of a blog took (live/fanout.py).
    on_pass: Callable[[float], None] = lambda _: None

    def __post_init__(self) -> None:
        self.unheard_max = unheard_max(self.settings.heartbeat_s)
        self.held_budget = HeldBytes(
            self.settings.held_bytes_max,
            lambda: [live.roster for live in self.lives.values()],
            self.counts,
        )
        self.cache_budget = CacheBudget(lambda: [live.cache for live in self.lives.values()])
        self.shelf = Shelf[LiveBlog](
            self.settings.blogs_bytes_max,
            self.settings.blogs_max,
            self.cache_budget,
            on_drop=self.subscriptions.unfollow,
            clock=self.clock,
        )
        self.lives = self.shelf.lives
        self.store = StoreWatch(self.source, self.lives, self.clock)
        self._loading = Loading(self.source, self.subscriptions, self, spawn=self.spawn)
        self._periodic = PeriodicTasks(self.lives, self.settings.heartbeat_s, self.now, self.clock)
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- blogs

    def held(self, slug: str) -> LiveBlog | None:
        """Return a blog from this worker's memory; None when missing or closed to readers."""
        live = self.lives.get(slug)
        if not live:
            return None
        self.lives.move_to_end(slug)
        return live if live.is_open else None

    async def live(self, slug: str) -> LiveBlog | None:
        """Return a blog that readers may see, None when there is none; load the blog if necessary.

        Raises StoreDown when the store cannot be asked, and WorkerFull when there is no room.
        """
        if not is_slug(slug) or (slug not in self.lives and not await self._loading.load(slug)):
            return None
        if slug not in self.lives:  # `make_room` dropped the blog before this coroutine resumed
            raise WorkerFull("This worker holds as many blogs as it may.")
        return self.held(slug)

    def was_closed(self, slug: str) -> bool:
        """Return whether readers saw this blog here before an editor set it back to draft.

        Readers must not learn that any other draft exists.
        """
        live = self.lives.get(slug)
        return bool(live and live.was_open and not live.is_open)

    def make_room(self) -> None:
        """Drop unused blogs until there is room for one more. Raises WorkerFull."""
        self.shelf.make_room()

    def adopt(self, slug: str, snapshot: Snapshot, early: deque[Changes]) -> None:
        """Add a loaded blog, and apply the messages that arrived during the load.

        Raises WorkerFull when there is no room for a blog of this size.
        """
        live = LiveBlog(self, slug, snapshot)
        self.shelf.add(slug, live)
        for changes in early:
            live.receive(changes)
        live.repair()

    # -- messages from the store

    def receive(self, slug: str, changes: Changes | None) -> None:
        """Apply a message of a blog's channel; None: a corrupt message, which starts a repair."""
        live = self.lives.get(slug)
        if live:
            live.receive(changes) if changes else live.repair()
        elif changes:
            self._loading.receive(slug, changes)

    def resubscribed(self, slug: str) -> None:
        """Repair a blog when its subscription is confirmed: earlier messages may be lost."""
        if slug in self.lives:
            self.lives[slug].repair()

    # -- the store

    @property
    def store_seen(self) -> bool:
        return self.store.seen

    @property
    def store_up(self) -> bool:
        return self.store.up

    def store_of(self, slug: str) -> BlogState:
        """Return whether the store can read and write a blog, as `StoreWatch.state_of` does.

        A draft gets the same state as a blog that is not in this worker's memory. Anyone may ask,
        so the answer must not show that a draft exists.
        """
        if self.held(slug):
            return self.store.state_of(slug)
        return "unheld" if self.store.up else self.store.state

    # -- running

    def note_pass(self, seconds: float) -> None:
        """Report to `on_pass` how many seconds one walk over a blog's readers took."""
        self.on_pass(seconds)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as a task that `close` cancels."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, StoreDown | Problem):  # the task's callers handle these
            log.error("a task of the hub failed", exc_info=error)

    async def run(self) -> None:
        """Send heartbeats, compare with the store, enforce time limits; until cancelled."""
        await until_one_ends(
            self._periodic.beat(), self._periodic.tick(), self.store.run(), self.shelf.run()
        )

    # -- the end

    def count(self) -> int:
        """Return the number of readers."""
        return sum(live.roster.count() for live in self.lives.values())

    async def drain(self, seconds: float) -> None:
        """Close every reader with a `bye` that asks it to reconnect, paced over `seconds`.

        New readers are refused from now on.
        """
        self.draining = True
        readers = [reader for live in self.lives.values() for reader in live.roster.all()]
        farewell = frames.bye(RESTART_WINDOW_MS, "restart")
        started = self.clock()
        for i, reader in enumerate(readers):
            ahead_s = started + seconds * i / len(readers) - self.clock()
            if ahead_s > 0.005:
                await asyncio.sleep(ahead_s)
            if reader.roster:
                reader.roster.close(reader, farewell, DRAINED)

    async def close(self) -> None:
        """Cancel the tasks that are still running."""
        await stop(self._tasks)
