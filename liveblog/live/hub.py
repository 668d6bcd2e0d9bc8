"""Fan-out: bring every reader of a blog to the top.

One `Hub` per worker holds a `Live` for each blog that somebody is interested in. Changes come as
hints from pub/sub (`Hub.receive`); whatever does not fit is repaired from the store's state.

Rules: no Redis, no ASGI. Nothing awaits a reader. From deciding what a reader misses to having it
registered there is no await.
"""

import asyncio
import itertools
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeVar

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Entry, Position, is_slug
from liveblog.blog.problem import StoreDown
from liveblog.blog.timeline import Changes, Heads, Moved, Snapshot
from liveblog.clock import now_ms
from liveblog.live import frame as frames
from liveblog.live.blog import EARLY_MAX, SLOTS, Live
from liveblog.live.reader import DRAINED, RESTART_WINDOW_MS
from liveblog.tasks import stop, until_one_ends

log = logging.getLogger(__name__)
T = TypeVar("T")
# And one from whose end nothing came for all the pings of this time, or for one, when the next is
# due: with a heartbeat of 20 s, 36 to 73 s after its last sign of life.
UNHEARD_S: Final = 45.0
PING_EVERY: Final = 2  # beats: reading a pong costs more than writing the beat
HEADS_EVERY_S: Final = 2.0
UNKNOWN_KEPT_S: Final = 1.0  # "no such blog" is believed this long
UNKNOWN_MAX: Final = 10_000
ASKING_MAX: Final = 500  # names at once of which it is asked whether there is such a blog
LOADING_MAX: Final = 100  # blogs that are being loaded at once


class Source(Protocol):
    """Where blogs come from. Everything may raise StoreDown."""

    async def exists(self, slug: str) -> bool: ...
    async def load(self, slug: str) -> Snapshot | None: ...
    async def repair(self, slug: str, position: Position) -> Changes | Moved: ...
    async def rotate(self, slug: str, position: Position) -> bool: ...
    async def heads(self, slugs: list[str]) -> Heads: ...
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
    held_bytes_max: int = 256 * 1024 * 1024
    base_url: str = "http://127.0.0.1:8000"


@dataclass
class Counts:
    """What happened since the worker started."""

    deliveries: int = 0  # of `changes`
    sent_bytes: int = 0  # of these; characters where the server encodes the text itself
    repairs: int = 0
    resets: int = 0
    stalled: int = 0  # readers freed, since their sockets took nothing
    unheard: int = 0  # readers freed, since nothing came from their end


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
    now: Callable[[], int] = now_ms
    counts: Counts = field(default_factory=Counts)
    draining: bool = False
    store_seen: bool = False
    store_up: bool = False
    held_bytes: int = 0  # of frames, for all readers that are behind
    on_pass: Callable[[float], None] = lambda _: None  # told how many seconds each fan-out took

    def __post_init__(self) -> None:
        self.unheard_max = max(1, int(UNHEARD_S / self.rules.heartbeat_s / PING_EVERY))
        self.lives: OrderedDict[str, Live] = OrderedDict()  # the least recently used first
        self._asking: dict[str, asyncio.Task[bool]] = {}  # whether there is a blog
        self._loading: dict[str, asyncio.Task[Live | None]] = {}
        self._early: dict[str, deque[Changes]] = {}
        self._unknown: dict[str, float] = {}
        self._answers: dict[str, bool] = {}  # of the last comparison: could it be made for a blog
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- blogs

    def held(self, slug: str) -> Live | None:
        """Return a blog that readers may see if this worker holds it."""
        live = self.lives.get(slug)
        if not live:
            return None
        self.lives.move_to_end(slug)
        return live if live.is_open else None

    async def live(self, slug: str) -> Live | None:
        """Return a blog that readers may see, loaded on first interest; None when there is none.

        Later callers share one load. Raises StoreDown when it is not loaded and the store cannot be
        asked.
        """
        if not is_slug(slug) or (slug not in self.lives and not await self._loaded(slug)):
            return None
        if slug not in self.lives:  # it had to make room before this caller's turn came
            raise StoreDown("this worker holds as many blogs as it may")
        return self.held(slug)

    async def _loaded(self, slug: str) -> Live | None:
        if self.clock() < self._unknown.get(slug, 0):
            return None
        if slug not in self._loading and not await self._exists(slug):
            self._note_unknown(slug)  # cheaply: made-up names must not crowd out real ones
            return None
        if slug not in self._loading and slug not in self.lives:
            if len(self._loading) >= LOADING_MAX:
                raise StoreDown("too many blogs are being loaded")
            self._loading[slug] = self.spawn(self._load(slug))
        loading = self._loading.get(slug)
        return await asyncio.shield(loading) if loading else self.lives.get(slug)

    async def _exists(self, slug: str) -> bool:
        """Ask whether a blog exists, once for all callers that wait for the answer."""
        if slug not in self._asking:
            if len(self._asking) >= ASKING_MAX:
                raise StoreDown("too many blogs are asked for at once")
            asking = self._asking[slug] = self.spawn(self.source.exists(slug))
            asking.add_done_callback(lambda _: self._asking.pop(slug))
        return await asyncio.shield(self._asking[slug])

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

    # -- who is behind

    def hold(self, held_bytes: int) -> None:
        """Count bytes that wait for a reader's socket.

        When all of them are more than the limit, those who are behind for the longest go first.
        """
        self.held_bytes += held_bytes
        while self.held_bytes > self.rules.held_bytes_max:
            self._free_longest_behind()

    def _free_longest_behind(self) -> None:
        late = [live for live in self.lives.values() if live.behind]
        live = min(late, key=lambda live: next(iter(live.behind.values())))
        self.counts.stalled += 1
        live.free(next(iter(live.behind)))

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
        """Beat, compare heads, free who is stalled, close what has ended; until cancelled."""
        await until_one_ends(self._beat(), self._each_second(), self._watch())

    async def _beat(self) -> None:
        """Give each slot its beat, so that a reader's are a little less than heartbeat_s apart.

        Two steps more than slots, since a beat may be late by one.
        """
        step_s = self.rules.heartbeat_s / (SLOTS + 2)
        for beats in itertools.count():
            await asyncio.sleep(step_s)
            slot, asks = beats % SLOTS, (beats // SLOTS + 1) % PING_EVERY == 0
            now = format_time(self.now())
            for live in list(self.lives.values()):
                self._safely(live, partial(live.beat, slot, now, asks))

    async def _each_second(self) -> None:
        while True:
            await asyncio.sleep(1)
            for live in list(self.lives.values()):
                self._safely(live, live.free_stalled)
                self._safely(live, live.close_ended)

    def _safely(self, live: Live, act: Callable[[], None]) -> None:
        """Do what is done to all blogs in turn: one that fails must not end it for the others."""
        try:
            act()
        except Exception:
            log.exception("blog %s: what is done now and then failed", live.slug)

    async def _watch(self) -> None:
        """Compare the store's heads with ours, for inequality: what pub/sub lost is found here."""
        while True:
            try:
                asked = list(self.lives)
                heads = await self.source.heads(asked)
                self.store_seen = True
                self._note_store(heads.away)
                self._note_answers({slug: slug in heads.positions for slug in asked})
                for slug, head in heads.positions.items():
                    self._compare(slug, head)
            except StoreDown as error:
                self._note_store(f"all of it: {error}")
                self._note_answers({})
            await asyncio.sleep(HEADS_EVERY_S)

    def _note_store(self, away: str) -> None:
        """Note whether the whole store answered; the blogs of a part that did not stay as held."""
        if away and self.store_up:
            log.error("the store is away: %s", away)
        self.store_up = not away

    def _note_answers(self, answers: dict[str, bool]) -> None:
        """Note of which blogs the store says something; a single one it cannot read is damaged."""
        for slug, is_told in answers.items():
            if self.store_up and not is_told and self._answers.get(slug, True):
                log.error("blog %s: the store holds it in a form that cannot be read", slug)
        self._answers = answers

    def _compare(self, slug: str, head: Position | None) -> None:
        live = self.lives.get(slug)
        if live and (head != live.position or live.lost):
            live.repair()

    def store_of(self, slug: str) -> Literal["up", "down", "lacks", "unheld"]:
        """Say whether the store answers for a blog, and lacks one that this worker holds.

        "unheld": it is there, but this worker does not hold the blog and cannot say.
        """
        live = self.held(slug)
        if not live:  # nor is it told that there is a draft
            return "unheld" if self.store_up else "down"
        if not self._answers.get(slug, self.store_up):  # it may be held since the last comparison
            return "down"
        return "lacks" if live.lost else "up"

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
