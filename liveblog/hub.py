"""Fan-out: bring every reader of a blog to the top.

One `Hub` per worker holds a `Live` for each blog that somebody is interested in: its timeline, its
readers and the frames they share. Changes come as hints from pub/sub (`Hub.receive`); whatever does
not fit is repaired from the store's state. Readers are cursors: an offset and a flag, brought
forward by a pass over all of them.

Rules: no Redis, no ASGI. Nothing awaits a reader. From deciding what a reader misses to having it
registered there is no await. Applying a change, and clearing what was encoded before it, is one
`def`.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from liveblog import frame as frames
from liveblog.frame import Frame, Piece
from liveblog.model import Blog, Entry, Position, StoreDown, format_time, is_slug
from liveblog.tasks import stop, until_one_ends
from liveblog.timeline import Changes, Moved, Record, Snapshot, Timeline, id_of

log = logging.getLogger(__name__)

T = TypeVar("T")

SLOTS: Final = 20  # readers are spread over so many beats in one heartbeat interval
SLICE_S: Final = 0.001  # a pass yields to the event loop this often
EARLY_MAX: Final = (
    200  # messages held while a blog loads or is repaired; more only mean another repair
)
CACHED_BYTES_MAX: Final = 64 * 1024 * 1024  # frames and pages of all blogs at their present tops
RETRY_S: Final = (0.1, 2.0)  # the first and the longest wait between two tries to repair
ASK_EVERY_S: Final = 1.0  # a reader's claims cost at most one repair read of a blog in this time
HEADS_EVERY_S: Final = 2.0
ENDED_GRACE_S: Final = 60.0  # connected readers of a blog that ended stay this long
ENDED_PACE_S: Final = 10.0  # and are then closed over this time
UNKNOWN_KEPT_S: Final = 1.0  # "no such blog" is believed this long
UNKNOWN_MAX: Final = 10_000
LOADING_MAX: Final = 100  # blogs that are being loaded at once
PIECES_MAX: Final = 2_800  # encoded changes of one blog
ARTICLES_MAX: Final = 100  # rendered entries of one blog: the newest page, and a few others

RESET_WINDOW_MS: Final = (0, 3_000)
RESTART_WINDOW_MS: Final = (0, 1_000)
OVERLOAD_WINDOW_MS: Final = (0, 20_000)

DRAINED: Final = 4001
RESET: Final = 4005
NO_SUCH_BLOG: Final = 4504
ENDED: Final = 4510


class Reader(ABC):
    """A cursor: where a reader is, and whether its socket is full. Transports subclass it.

    `send` and `end` are plain calls that never wait and never raise; after `end` nothing more
    comes. A reader that cannot take more sets `behind` and calls `Live.drained` when it can again.
    Only the hub moves `offset`.
    """

    __slots__ = ("as_data", "behind", "leaves", "live", "offset", "slot", "waits_for")

    def __init__(self, *, as_data: bool) -> None:
        self.as_data = as_data
        self.offset = 0
        self.behind = False
        self.waits_for: tuple[Position, int] | None = (
            None  # until the store has judged its position
        )
        self.live: Live | None = None
        self.slot = 0
        self.leaves = False  # joined a blog that has ended: goes when it has what it missed

    @abstractmethod
    def send(self, frame: Frame) -> None:
        """Take one frame; called only when not `behind`."""

    @abstractmethod
    def end(self, frame: Frame | None, code: int) -> None:
        """Take at most one last frame after what is in hand, then close (RFC 6455, section 7.4)."""


class Source(Protocol):
    """Where blogs come from. Everything may raise StoreDown."""

    async def exists(self, slug: str) -> bool: ...
    async def load(self, slug: str) -> Snapshot | None: ...
    async def repair(self, slug: str, position: Position) -> Changes | Moved: ...
    async def rotate(self, slug: str, position: Position) -> bool: ...
    async def heads(self, slugs: list[str]) -> dict[str, Position | None]: ...
    async def older(self, slug: str, before: int | None, limit: int) -> list[Entry]: ...
    async def newer(self, slug: str, after: int, limit: int) -> list[Entry]: ...
    async def entry(self, slug: str, id: str) -> Entry | None: ...
    async def recent(self, limit: int) -> list[Blog]: ...


class Subscriptions(Protocol):
    """Who hears of a blog's changes.

    `follow` returns when the store confirmed it, or raises StoreDown.
    """

    async def follow(self, slug: str) -> None: ...
    def unfollow(self, slug: str) -> None: ...


class Render(Protocol):
    """How entries and headers become HTML."""

    def entry_html(self, entry: Entry, blog: Blog) -> str: ...
    def header_html(self, blog: Blog) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a hub is told by the settings. `base_url` is the site's address, for `as=data`."""

    heartbeat_s: float = 20.0
    blogs_max: int = 200
    base_url: str = "http://127.0.0.1:8000"


@dataclass
class Counts:
    """What happened since the worker started."""

    deliveries: int = 0
    repairs: int = 0
    resets: int = 0


class Live:
    """One blog in this worker."""

    def __init__(self, hub: "Hub", slug: str, snapshot: Snapshot) -> None:
        self.hub, self.slug = hub, slug
        self.timeline = Timeline(snapshot)
        self.slots: list[set[Reader]] = [set() for _ in range(SLOTS)]
        self.waiting: set[Reader] = set()
        self.ended_at: float | None = None
        self.lost = False  # the store lacks this blog now
        self._cache: dict[Hashable, Any] = {}  # of the present top only: frames and pages
        self.cached_bytes = 0
        self._pieces: dict[tuple[str, bool], Piece] = {}
        self._articles: dict[str, str] = {}  # the HTML of entries as they are now, by id
        self._held: deque[Changes] = deque(maxlen=EARLY_MAX)
        self._passing = False
        self._repair_wanted = False
        self._repairing = False
        self._repairs_begun = 0
        self._asked_at = -ASK_EVERY_S
        self._ask_timer: asyncio.TimerHandle | None = None
        self._settled: dict[
            asyncio.Future[None], int
        ] = {}  # who confirms, and how many repairs had begun
        self._joined = 0
        self._note_status()

    # -- readers

    @property
    def blog(self) -> Blog:
        return self.timeline.blog

    @property
    def position(self) -> Position:
        return self.timeline.position

    @property
    def is_open(self) -> bool:
        """Whether readers may see the blog at all."""
        return self.blog.status != "draft"

    def readers(self) -> Iterator[Reader]:
        for slot in self.slots:
            yield from list(slot)
        yield from list(self.waiting)

    def count(self) -> int:
        return sum(map(len, self.slots)) + len(self.waiting)

    def join(self, reader: Reader, since: Position | None) -> None:
        """Register a reader, say hello, and send what it missed after `since`; None: from now on.

        Atomic: no change can come between what it is told and its registration.
        """
        standing = self.timeline.standing(since) if since else "here"
        at = since or self.position
        reader.live, reader.offset = self, at.offset
        reader.slot = self._joined = (self._joined + 1) % SLOTS
        if self.hub.draining:
            reader.end(frames.bye(RESTART_WINDOW_MS, "restart"), DRAINED)
            return
        if not self.is_open:
            reader.end(frames.bye(None, "gone"), NO_SUCH_BLOG)
            return
        reader.leaves = self.blog.status == "ended"
        reader.send(frames.hello(at, self.hub.rules.heartbeat_s))
        if standing == "ask":
            reader.waits_for = (at, self._repairs_begun)
            self.waiting.add(reader)
            self._ask()
        elif standing == "old":
            self._reset(reader)
        else:
            self._admit(reader)

    def _admit(self, reader: Reader) -> None:
        self.slots[reader.slot].add(reader)
        if not reader.behind:
            self._bring(reader)

    def leave(self, reader: Reader) -> None:
        """Forget a reader. Again is nothing."""
        self.slots[reader.slot].discard(reader)
        self.waiting.discard(reader)

    def dismiss(self, reader: Reader, farewell: Frame | None, code: int) -> None:
        """Send a reader away, unless it has gone already."""
        if reader in self.slots[reader.slot] or reader in self.waiting:
            self.leave(reader)
            reader.end(farewell, code)

    def drained(self, reader: Reader) -> None:
        """Say that a reader can take frames again: it gets one frame to the top, if it is below."""
        reader.behind = False
        if reader in self.slots[reader.slot]:
            self._bring(reader)

    def frame(self, since: int, as_data: bool) -> Frame | None:
        """Return the `changes` from offset `since` to the top, encoded once.

        None when that is too much (reset).
        """
        if (since, as_data) in self._cache:
            cached: Frame | None = self._cache[since, as_data]
            return cached
        made = self._make_frame(since, as_data)
        self.keep((since, as_data), made, len(made.json) if made else 0)
        return made

    def kept(self, key: Hashable) -> Any:
        """Return what was kept of the present top under a key, None when nothing was."""
        return self._cache.get(key)

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep something of `size` bytes until the next change, or while there is room."""
        if size > CACHED_BYTES_MAX:
            return
        if self.hub.cached_bytes() + size > CACHED_BYTES_MAX:
            self.hub.forget_cached()
        self._cache[key] = value
        self.cached_bytes += size

    def forget_cached(self) -> None:
        """Drop what was made of the present top; it is made again when it is asked for."""
        self._cache.clear()
        self.cached_bytes = 0

    def _make_frame(self, since: int, as_data: bool) -> Frame | None:
        missed = self.timeline.changes(since)
        if missed is None:
            return None
        pieces = [self._piece(record, as_data) for record in missed]
        return frames.changes(since, self.position, pieces)

    def _piece(self, record: Record, as_data: bool) -> Piece:
        key = (record.id if isinstance(record, Entry) else "", as_data)
        if key not in self._pieces:
            self._pieces[key] = self._encode_safely(record, as_data)
        return self._pieces[key]

    def _encode_safely(self, record: Record, as_data: bool) -> Piece:
        """Encode one change.

        What cannot be shown is left out, so that nothing else waits for it.
        """
        try:
            return self._encode(record, as_data)
        except Exception:
            log.exception("blog %s: a change cannot be shown: %s", self.slug, id_of(record))
            if isinstance(record, Blog):
                return frames.header(record)
            return frames.delete(record)

    def _encode(self, record: Record, as_data: bool) -> Piece:
        base_url = self.hub.rules.base_url
        if isinstance(record, Blog):
            if as_data:
                return frames.header(
                    record, blog=frames.blog_data(record, self._at(record), base_url)
                )
            return frames.header(record, html=self.hub.render.header_html(record))
        if record.deleted:
            return frames.delete(record)
        if as_data:
            position = self.timeline.position_of(record)
            return frames.put(
                record, entry=frames.entry_data(record, self.slug, position, base_url)
            )
        return frames.put(record, html=self.article(record))

    def article(self, entry: Entry) -> str:
        """Return an entry's HTML, made once for frames and pages until the entry changes.

        Of one that is not held as it is (read from the store, for one page) nothing is kept.
        """
        if self.timeline.get(entry.id) is not entry:
            return self.hub.render.entry_html(entry, self.blog)
        if entry.id not in self._articles:
            if len(self._articles) >= ARTICLES_MAX:
                self._articles.clear()
            self._articles[entry.id] = self.hub.render.entry_html(entry, self.blog)
        return self._articles[entry.id]

    def _at(self, blog: Blog) -> Position:
        return Position(self.timeline.epoch, blog.offset, self.timeline.check(blog.offset))

    # -- changes

    def receive(self, changes: Changes) -> None:
        """Take a hint from pub/sub.

        The next change is applied, an old one ignored, anything else repaired.
        """
        if self._apply(changes):
            return
        if self._repairing:
            self._held.append(changes)
        else:
            self.repair()

    def _apply(self, changes: Changes) -> bool:
        """Apply what comes next; False when only the store's state can say what `changes` mean."""
        outcome = self.timeline.apply(changes)
        if outcome == "applied":
            self._advanced(changes.records)
        return outcome in ("applied", "ignored")

    def _advanced(self, records: Iterable[Record]) -> None:
        """Clear what was made of the old top and start bringing the readers to the new one."""
        self._forget(records)
        self._note_status()
        if not self.is_open:
            self._close_all(frames.bye(None, "gone"), NO_SUCH_BLOG)
            return
        self._settle()
        if not self._passing and self.count():
            self._passing = True
            self.hub.spawn(self._pass())

    def _forget(self, records: Iterable[Record]) -> None:
        self.forget_cached()
        for record in records:
            self._articles.pop(id_of(record), None)
            for as_data in (False, True):
                self._pieces.pop((record.id if isinstance(record, Entry) else "", as_data), None)
        if len(self._pieces) > PIECES_MAX:
            self._pieces.clear()

    def _note_status(self) -> None:
        if self.blog.status != "ended":
            self.ended_at = None
        elif self.ended_at is None:
            self.ended_at = self.hub.clock()

    async def _pass(self) -> None:
        """Walk the readers until all that can be are at the top; yields every SLICE_S.

        One at a time per blog.
        """
        try:
            top = -1
            while top != self.timeline.offset:
                top = self.timeline.offset
                await self._walk()
        finally:
            self._passing = False

    async def _walk(self) -> None:
        until = self.hub.clock() + SLICE_S
        for slot in self.slots:
            for reader in list(slot):
                if not reader.behind and reader in slot:
                    self._bring(reader)
                if self.hub.clock() >= until:
                    await asyncio.sleep(0)
                    until = self.hub.clock() + SLICE_S

    def _bring(self, reader: Reader) -> None:
        """Bring one registered reader to the top, with the shared frame or a reset."""
        if reader.offset >= self.timeline.offset:
            if reader.leaves:
                self._close(reader)
            return
        frame = self.frame(reader.offset, reader.as_data)
        if frame is None:
            self._reset(reader)
            return
        reader.offset = self.timeline.offset
        self.hub.counts.deliveries += 1
        reader.send(frame)
        if reader.leaves and not reader.behind:
            self._close(reader)

    def _close(self, reader: Reader) -> None:
        """Send a reader of an ended blog away, unless it has been opened again."""
        if self.blog.status == "ended":
            self.leave(reader)
            reader.end(None, ENDED)
        reader.leaves = False

    def _reset(self, reader: Reader) -> None:
        self.leave(reader)
        self.hub.counts.resets += 1
        reader.end(frames.reset(self.position, RESET_WINDOW_MS), RESET)

    def _close_all(self, farewell: Frame | None, code: int) -> None:
        for reader in self.readers():
            self.leave(reader)
            reader.end(farewell, code)

    # -- repair: the state is the truth, messages are hints

    def repair(self) -> None:
        """Have the store's state read and applied; one read at a time per blog."""
        self._repair_wanted = True
        if not self._repairing:
            self._repairing = True
            self.hub.spawn(self._repair())

    async def _repair(self) -> None:
        wait_s = RETRY_S[0]
        try:
            while self._repair_wanted:
                self._repair_wanted = False
                self._repairs_begun += 1
                begun = self._repairs_begun
                try:
                    await self._repair_once()
                    wait_s = RETRY_S[0]
                except Exception as error:  # whatever it is, the blog must not stay as it is
                    said = log.warning if isinstance(error, StoreDown) else log.exception
                    said("blog %s: a repair is tried again after: %s", self.slug, error)
                    self._repair_wanted = True
                    await asyncio.sleep(wait_s)
                    wait_s = min(RETRY_S[1], wait_s * 2)
                else:
                    self._repaired(begun)
        finally:
            self._repairing = False

    async def _repair_once(self) -> None:
        source, position = self.hub.source, self.position
        self.hub.counts.repairs += 1
        answer = await source.repair(self.slug, position)
        if isinstance(answer, Changes):
            self._absorb(answer)
        elif answer.why == "absent":
            self._note_lost(True)
        else:
            if answer.why == "fork":
                rotated = await source.rotate(self.slug, position)
                log.error(
                    "blog %s: the store's history forks from %s; rotated: %s",
                    self.slug,
                    position,
                    rotated,
                )
            snapshot = await source.load(self.slug)
            if snapshot:
                self._reload(snapshot)
            else:
                self._note_lost(True)

    def _note_lost(self, lost: bool) -> None:
        if lost and not self.lost:
            log.error("blog %s: the store lacks it; serving what this worker holds", self.slug)
        self.lost = lost

    def _absorb(self, changes: Changes) -> None:
        """Apply what a repair read gave, forwards only, then what arrived meanwhile."""
        self._note_lost(False)
        if not self._apply(changes):
            self._repair_wanted = True
        self._apply_held()

    def _apply_held(self) -> None:
        held, full = list(self._held), len(self._held) == EARLY_MAX
        self._held.clear()
        for changes in held:
            if not self._apply(changes):
                self._repair_wanted = True
        self._repair_wanted |= full

    def _reload(self, snapshot: Snapshot) -> None:
        """Take another state in place of the present one; readers who cannot follow are reset.

        Forwards only: one of this epoch that messages have overtaken meanwhile is left alone.
        """
        self._note_lost(False)
        was, now = self.position, snapshot.position
        if now.epoch != was.epoch or now.offset > was.offset:
            self.timeline = Timeline(snapshot)
            self._pieces.clear()
            self._articles.clear()
            if self.timeline.standing(was) == "ask":  # another history
                for slot in self.slots:
                    for reader in list(slot):
                        self._reset(reader)
            self._advanced([])
        self._repair_wanted = True  # what moved while the snapshot was read
        self._apply_held()

    def _repaired(self, begun: int) -> None:
        """Judge the readers and callers whose question is older than the read numbered `begun`.

        A store that lacks the blog judges nobody: what it knows when it is back may be more than
        what is held here.
        """
        self._settle(0 if self.lost else begun)
        for future, asked in self._settled.items():
            if asked < begun and not future.done():
                future.set_result(None)

    def _settle(self, begun: int = 0) -> None:
        """Let waiting readers on whose position is known by now.

        Reset those whom a repair read has judged.
        """
        for reader in list(self.waiting):
            position, asked = reader.waits_for or (self.position, 0)
            standing = self.timeline.standing(position)
            if standing == "here":
                self.waiting.discard(reader)
                reader.waits_for = None
                self._admit(reader)
            elif asked < begun:
                self._reset(reader)

    def _ask(self) -> None:
        """Repair on behalf of a reader's claim, at most once in ASK_EVERY_S."""
        if self._ask_timer:
            return
        wait_s = self._asked_at + ASK_EVERY_S - self.hub.clock()
        self._ask_timer = asyncio.get_running_loop().call_later(max(0.0, wait_s), self._ask_now)

    def _ask_now(self) -> None:
        self._ask_timer = None
        self._asked_at = self.hub.clock()
        self.repair()

    async def confirm(self, timeout_s: float) -> None:
        """Wait for a repair read that begins after now, at most one a second per blog.

        Raises StoreDown when it has not ended in `timeout_s` more than it may have to wait for its
        turn.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled[future] = self._repairs_begun
        self._ask()
        turn_s = max(0.0, self._asked_at + ASK_EVERY_S - self.hub.clock())
        try:
            async with asyncio.timeout(timeout_s + turn_s):
                await future
        except TimeoutError:
            raise StoreDown("the store did not answer in time") from None
        finally:
            del self._settled[future]

    # -- time passing

    def beat(self, slot: int, now: str | None) -> None:
        """Send a heartbeat to one slot's readers at the top, and proof of life to who waits."""
        if self.slots[slot]:
            shared = frames.beat(self.position, now)
            for reader in list(self.slots[slot]):
                if not reader.behind and reader.offset == self.timeline.offset:
                    reader.send(shared)
        for reader in [r for r in self.waiting if r.slot == slot and not r.behind]:
            reader.send(frames.beat(None, now))

    def close_ended(self) -> None:
        """Send away a share of the readers of a blog that ended ENDED_GRACE_S ago.

        Called each second.

        Each goes when it is at the top: who is behind, when it has drained and has what it missed.
        """
        if self.ended_at is None or self.hub.clock() < self.ended_at + ENDED_GRACE_S:
            return
        share = max(1, SLOTS // int(ENDED_PACE_S))
        staying = [slot for slot in self.slots if not all(reader.leaves for reader in slot)]
        for slot in staying[:share]:
            for reader in list(slot):
                reader.leaves = True
                if not reader.behind:
                    self._bring(reader)


@dataclass
class Hub:
    """All blogs of this worker.

    `clock` is monotonic seconds, `now` milliseconds since 1970. `run` must be running for anything
    to move by itself.
    """

    source: Source
    subscriptions: Subscriptions
    render: Render
    rules: Rules = field(default_factory=Rules)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    counts: Counts = field(default_factory=Counts)
    draining: bool = False
    store_seen: bool = False
    store_up: bool = False

    def __post_init__(self) -> None:
        self.lives: OrderedDict[str, Live] = OrderedDict()  # the least recently used first
        self._loading: dict[str, asyncio.Task[Live | None]] = {}
        self._early: dict[str, deque[Changes]] = {}
        self._unknown: dict[str, float] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slot = 0

    # -- blogs

    async def live(self, slug: str) -> Live | None:
        """Return a blog that readers may see, loaded on first interest; None when there is none.

        Later callers share one load. Raises StoreDown when it is not loaded and the store cannot be
        asked.
        """
        if not is_slug(slug) or (slug not in self.lives and not await self._loaded(slug)):
            return None
        live = self.lives.get(slug)
        if not live:  # it had to make room before this caller's turn came
            raise StoreDown("this worker holds as many blogs as it may")
        self.lives.move_to_end(slug)
        return live if live.is_open else None

    async def _loaded(self, slug: str) -> Live | None:
        if self.clock() < self._unknown.get(slug, 0):
            return None
        if slug not in self._loading and not await self.source.exists(slug):
            self._note_unknown(slug)  # cheaply: made-up names must not crowd out real ones
            return None
        if slug not in self._loading and slug not in self.lives:
            if len(self._loading) >= LOADING_MAX:
                raise StoreDown("too many blogs are being loaded")
            self._loading[slug] = self.spawn(self._load(slug))
        loading = self._loading.get(slug)
        return await asyncio.shield(loading) if loading else self.lives.get(slug)

    async def _load(self, slug: str) -> Live | None:
        """Subscribe, wait for the confirmation, load, merge what arrived meanwhile."""
        self._early[slug] = deque(maxlen=EARLY_MAX)
        try:
            self._make_room()
            await self.subscriptions.follow(slug)
            snapshot = await self.source.load(slug)
            if not snapshot:
                self._note_unknown(slug)
                return None
            return self._adopt(slug, snapshot)
        finally:
            del self._early[slug]
            del self._loading[slug]
            if slug not in self.lives:
                self.subscriptions.unfollow(slug)

    def _adopt(self, slug: str, snapshot: Snapshot) -> Live:
        self._make_room()
        live = self.lives[slug] = Live(self, slug, snapshot)
        for changes in self._early[slug]:
            live.receive(changes)
        live.repair()
        return live

    def _note_unknown(self, slug: str) -> None:
        if len(self._unknown) >= UNKNOWN_MAX:
            self._unknown.clear()
        self._unknown[slug] = self.clock() + UNKNOWN_KEPT_S

    def _make_room(self) -> None:
        """Drop the least recently used blogs without readers until one more fits."""
        for slug in [slug for slug, live in self.lives.items() if not live.count()]:
            if len(self.lives) < self.rules.blogs_max:
                return
            del self.lives[slug]
            self.subscriptions.unfollow(slug)
        if len(self.lives) >= self.rules.blogs_max:
            raise StoreDown("this worker holds as many blogs as it may, all with readers")

    # -- what the follower calls

    def receive(self, slug: str, changes: Changes | None) -> None:
        """Take a message of a blog's channel.

        None is one that made no sense, so the state is read.
        """
        live = self.lives.get(slug)
        if live:
            live.receive(changes) if changes else live.repair()
        elif changes and slug in self._early:
            self._early[slug].append(changes)

    def resubscribed(self, slug: str) -> None:
        """Read the state after every confirmed subscription.

        What was published before it is not coming.
        """
        if slug in self.lives:
            self.lives[slug].repair()

    # -- running

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as a task of the hub's, which ends with it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, StoreDown):  # which who waits for the task is told
            log.error("a task of the hub failed", exc_info=error)

    async def run(self) -> None:
        """Beat, compare heads, close the readers of what has ended; until cancelled."""
        await until_one_ends(self._beat(), self._close_ended(), self._watch())

    async def _beat(self) -> None:
        """Give each slot its beat, so that a reader's are a little less than heartbeat_s apart."""
        step_s = self.rules.heartbeat_s / (SLOTS + 1)
        while True:
            await asyncio.sleep(step_s)
            self._slot = (self._slot + 1) % SLOTS
            now = format_time(self.now())
            for live in list(self.lives.values()):
                live.beat(self._slot, now)

    async def _close_ended(self) -> None:
        while True:
            await asyncio.sleep(1)
            for live in list(self.lives.values()):
                live.close_ended()

    async def _watch(self) -> None:
        """Compare the store's heads with ours, for inequality: what pub/sub lost is found here."""
        while True:
            try:
                heads = await self.source.heads(list(self.lives))
                self.store_seen = self.store_up = True
                for slug, head in heads.items():
                    self._compare(slug, head)
            except StoreDown as error:
                if self.store_up:
                    log.error("the store is away: %s", error)
                self.store_up = False
            await asyncio.sleep(HEADS_EVERY_S)

    def _compare(self, slug: str, head: Position | None) -> None:
        live = self.lives.get(slug)
        if live and (head != live.position or live.lost):
            live.repair()

    # -- the end

    def count(self) -> int:
        return sum(live.count() for live in self.lives.values())

    def cached_bytes(self) -> int:
        return sum(live.cached_bytes for live in self.lives.values())

    def forget_cached(self) -> None:
        for live in self.lives.values():
            live.forget_cached()

    async def drain(self, seconds: float) -> None:
        """Send every reader away, to come back elsewhere, paced over `seconds`.

        New ones are refused at once.
        """
        self.draining = True
        readers = [reader for live in self.lives.values() for reader in live.readers()]
        farewell = frames.bye(RESTART_WINDOW_MS, "restart")
        started = self.clock()
        for i, reader in enumerate(readers):
            ahead_s = started + seconds * i / len(readers) - self.clock()
            if ahead_s > 0.005:
                await asyncio.sleep(ahead_s)
            if reader.live:
                reader.live.dismiss(reader, farewell, DRAINED)

    async def close(self) -> None:
        """Cancel what is still running."""
        await stop(self._tasks)
