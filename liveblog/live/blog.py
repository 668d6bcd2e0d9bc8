"""One live blog in this worker: a timeline, its readers, and the parts that serve them.

`Repair` keeps the timeline at the store's state. `Roster` lists the readers. `BlogCache` makes
frames of the timeline, and `Fanout` sends these frames to the readers. `Fanout` also admits or
resets the readers whose position was unknown; a reset reader loads the page again. `Beats` sends
heartbeats. `Ending` closes the readers of an ended blog.

Rules: no Redis, no ASGI. No call waits for a reader's socket.
"""

from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, Final, Protocol
from zlib import crc32

from liveblog.answer import Answer
from liveblog.blog.model import Blog, Entry, Position
from liveblog.blog.timeline import Changes, Record, Snapshot, Timeline
from liveblog.live import frame as frames
from liveblog.live.beats import Beats
from liveblog.live.budget import CacheBudget, HeldBytes
from liveblog.live.cache import BlogCache, Render
from liveblog.live.ending import Ending
from liveblog.live.fanout import Fanout
from liveblog.live.frame import Frame
from liveblog.live.reader import DRAFT, DRAINED, RESTART_WINDOW_MS, AnyReader
from liveblog.live.repair import Repair
from liveblog.live.roster import SLOTS, Roster
from liveblog.live.shared import Counts, HubSettings
from liveblog.live.source import Source

BLOG_BYTES: Final = 7_500  # memory of a blog's parts and its subscription, without any entry


class Shared(Protocol):
    """The objects and settings that all blogs of a worker share; the hub is one implementation."""

    source: Source
    render: Render
    settings: HubSettings
    counts: Counts
    draining: bool
    held_budget: HeldBytes
    cache_budget: CacheBudget
    unheard_max: int

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds."""

    @property
    def now(self) -> Callable[[], int]:
        """Milliseconds since 1970."""

    def note_pass(self, seconds: float) -> None:
        """Record how many seconds `Fanout` took to walk over a blog's readers and send changes."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> object: ...


class LiveBlog:
    """Serves one blog in this worker, by calls to the parts that the module docstring names.

    Pages and transports use `blog`, `position`, `timeline`, `join`, `leave`, `frame`, `article`,
    `kept`, `keep` and `confirm`. The hub calls `receive` and `repair`. The hub's periodic tasks
    call `beats`, `roster` and `ending`.
    """

    def __init__(self, shared: Shared, slug: str, snapshot: Snapshot) -> None:
        self._shared, self.slug, self.source = shared, slug, shared.source
        self.is_held = True  # False after the worker has dropped this blog from memory
        counts, clock, spawn = shared.counts, shared.clock, shared.spawn
        self.timeline = timeline = Timeline(snapshot)
        self.cache = BlogCache(slug, timeline, shared.render, shared.settings, shared.cache_budget)
        # Blogs start at different slots: otherwise the only readers of thousands of blogs would all
        # get their heartbeats in the same step.
        first_slot = crc32(slug.encode()) % SLOTS
        self.roster = roster = Roster(clock, shared.held_budget, counts, first_slot)
        self.fanout = Fanout(
            timeline,
            self.cache,
            roster,
            counts=counts,
            clock=clock,
            spawn=spawn,
            on_pass=shared.note_pass,
            on_idle=lambda: self.beats.send_late(),  # noqa: PLW0108 - `self.beats` is assigned later
        )
        roster.on_drained = self.fanout.admit
        self.beats = Beats(
            timeline, roster, lambda: self.fanout.is_passing, counts, shared.unheard_max
        )
        self.ending = Ending(timeline, roster, self.fanout, clock)
        self.repairs = Repair(
            slug, timeline, shared.source, self, counts=counts, clock=clock, spawn=spawn
        )
        self.ending.note_status()
        self.was_open = self.is_open  # whether readers could ever see the blog in this worker

    # -- state

    @property
    def blog(self) -> Blog:
        return self.timeline.blog

    @property
    def position(self) -> Position:
        return self.timeline.position

    @property
    def is_open(self) -> bool:
        """Whether readers may see the blog."""
        return self.blog.status != "draft"

    @property
    def lost(self) -> bool:
        """Whether the store lacked the blog when live/repair.py last read the store."""
        return self.repairs.lost

    # -- memory

    @property
    def made_of(self) -> object:
        """Return what `weight` depends on: readers of old positions add encoded changes, too."""
        return self.timeline.offset, len(self.cache.pieces)

    def weight(self) -> int:
        """Return about how many bytes the blog takes, without cached frames and pages."""
        return BLOG_BYTES + self.timeline.weight() + self.cache.pieces_bytes()

    def dropped(self) -> None:
        """Note that the worker has dropped this blog from memory, and free its caches."""
        self.is_held = False
        self.cache.close()

    # -- readers

    def join(self, reader: AnyReader, since: Position | None) -> None:
        """Register a reader, and send `hello` and the changes after position `since`.

        `since` None: the reader gets only later changes. This method does not await, so no change
        can arrive after the registration and before the first frame.
        """
        standing = self.timeline.standing(since) if since else "here"
        at = since or self.position
        if self._shared.draining:
            reader.end(frames.bye(RESTART_WINDOW_MS, "restart"), DRAINED)
            return
        if not self.is_open:
            reader.end(frames.bye(None, "gone"), DRAFT)
            return
        self.roster.enter(reader, at.offset)
        reader.leaves = self.blog.status == "ended"
        reader.send(self.cache.hello(at, self._shared.now()))
        if not self.roster.has(reader):  # `send` aborted the reader: too many unsent bytes
            return
        if standing == "unknown":
            self.roster.wait(reader, at, self.repairs.reads_started)
            self.repairs.request()
        elif standing == "old":
            self.fanout.reset(reader)
        else:
            self.fanout.admit(reader)

    def leave(self, reader: AnyReader) -> None:
        """Remove a reader; does nothing when the reader has left already."""
        self.roster.leave(reader)

    # -- frames, pages

    def frame(self, since: int, as_data: bool) -> Frame | None:
        """Return the `changes` frame from offset `since` to now.

        None when the reader must load the page again: too much has changed since then.
        """
        return self.cache.frame(since, as_data)

    def article(self, entry: Entry) -> str:
        """Return an entry's HTML for pages."""
        return self.cache.article(entry)

    def kept(self, key: Hashable) -> Answer | None:
        """Return the HTTP answer that `keep` cached under a key since the last change, or None."""
        return self.cache.kept(key)

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Cache an HTTP answer that shows the current state; the next change evicts the answer."""
        self.cache.keep(key, answer)

    # -- changes

    def receive(self, changes: Changes) -> None:
        """Apply changes from pub/sub; start a repair when they do not continue the timeline."""
        self.repairs.receive(changes)

    def repair(self) -> None:
        """Start a repair read, which asks the store for the changes that the timeline lacks."""
        self.repairs.start()

    async def confirm(self, timeout_s: float) -> None:
        """Wait until a repair read that starts after this call has ended.

        The read brings the timeline to the store's state. Raises StoreDown after a timeout.
        """
        await self.repairs.confirm(timeout_s)

    def advanced(self, records: Iterable[Record]) -> None:
        """React to new changes: evict outdated frames, and start to send the changes to readers."""
        self.cache.drop(records)
        self.ending.note_status()
        self.was_open |= self.is_open
        if not self.is_open:
            for reader in self.roster.all():
                self.roster.close(reader, frames.bye(None, "gone"), DRAFT)
            return
        self.fanout.admit_waiting()
        self.fanout.start()

    def replaced(self, was: Position) -> None:
        """React to a replaced state: evict everything that was made from the old state.

        `was` is the position of the old state. When the history of the new state does not contain
        `was`, reset the readers that had a verified position: their pages show the old history.
        """
        self.cache.drop_all()
        if self.timeline.standing(was) == "unknown":  # another history
            for reader in self.roster.verified():
                self.fanout.reset(reader)
        self.advanced([])

    def verify_waiting(self, read: int) -> None:
        """Admit or reset readers with an unverified position, after a repair has read the store.

        `read` is the number of this read; `Fanout.admit_waiting` explains when a reader is reset.
        """
        self.fanout.admit_waiting(read)
