"""A store with pub/sub in memory, for tests of the hub.

A test can make the store lose changes, become unreachable, or lose, repeat and delay messages.

`Past` is one blog's whole history, and computes every answer in the simplest way. Tests compare the
program's answers with those of `Past`. `FakeStore` and `Wire` connect a `Past` to a hub.
"""

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, NamedTuple

import msgspec

from liveblog.blog import timeline as timelines
from liveblog.blog.model import BLOG_ID, Blog, Entry, Position
from liveblog.blog.problem import Damaged, StoreDown, StoreRefuses
from liveblog.blog.timeline import Changes, Heads, Moved, Record, Snapshot, id_of
from liveblog.live.frame import Frame, encoding_of
from liveblog.live.hub import Hub
from liveblog.live.reader import Reader
from liveblog.live.shared import HubSettings

SLUG: Final = "election"
FOR_PAGES: Final = "only pages call this"
FAR: Final = 500  # a worker that misses more changes gets `Moved("far")`, not the changes

# Makes every record, id and epoch different, also those written after the store lost changes.
_serial = itertools.count(1)


class Past:
    """The whole history of a blog: the record with offset n is log[n - 1]."""

    def __init__(self, slug: str = SLUG, **header: Any) -> None:
        self.slug = slug
        self.log: list[Record] = []
        self.checks: list[str] = []
        self.logs: dict[Position, list[Record]] = {}  # by the log's last position
        self.eras = [(1, _epoch())]  # (first offset, epoch)
        self._write(Blog(slug=slug, **{"title": "Election night", "status": "live", **header}))

    # -- state

    @property
    def top(self) -> int:
        return len(self.log)

    @property
    def epoch(self) -> str:
        return self.eras[-1][1]

    @property
    def position(self) -> Position:
        return self.at(self.top)

    def at(self, offset: int) -> Position:
        epoch = next(epoch for base, epoch in reversed(self.eras) if base <= offset)
        return Position(epoch, offset, self.checks[offset - 1])

    def has(self, position: Position) -> bool:
        return position.offset <= self.top and self.at(position.offset) == position

    def state(self, top: int | None = None) -> dict[str, Record]:
        """Return the last record of every id up to an offset, ascending by offset."""
        return _last(self.log[:top])

    def ever(self, position: Position) -> dict[str, Record]:
        """Return the state at a position of this history, or of a lost history."""
        return _last(self.logs[position])

    def entries(self, top: int | None = None) -> list[Entry]:
        return to_show(self.state(top))

    def ids(self, *, deleted: bool = False) -> list[str]:
        entries = [record for record in self.state().values() if isinstance(record, Entry)]
        return [entry.id for entry in entries if entry.deleted == deleted]

    def entry(self, id: str) -> Entry:
        record = self.state()[id]
        assert isinstance(record, Entry)
        return record

    @property
    def blog(self) -> Blog:
        record = self.state()[BLOG_ID]
        assert isinstance(record, Blog)
        return record

    # -- answers

    def message(self, first: int, last: int) -> Changes:
        """Return the pub/sub message of the changes from `first` to `last`."""
        seed = dict(self.eras).get(first)
        previous = seed or self.checks[first - 2]
        checks = "".join(self.checks[first - 1 : last])
        return Changes(first - 1, previous, self.at(last), checks, self.log[first - 1 : last])

    def changes(self, since: int, top: int | None = None) -> Changes:
        """Return the changes that a worker at offset `since` misses when the store is at `top`."""
        top = self.top if top is None else top
        records = [r for r in self.state(top).values() if (r.offset or 0) > since]
        checks = "".join(self.checks[since:top])
        return Changes(since, self.checks[since - 1], self.at(top), checks, records)

    def snapshot(self, top: int | None = None) -> Snapshot:
        """Return what a worker loads when the store is at `top`.

        The limits are those of the module `timeline`, which some tests lower.
        """
        top = self.top if top is None else top
        base = max(base for base, _ in self.eras if base <= top)
        shown = self.entries(top)
        state = list(self.state(top).values())
        listed = shown[: timelines.WINDOW]
        marked = [e for e in shown if e.key or e.pinned][: timelines.MARKED_MAX]
        recent = state[-timelines.KEPT_CHANGES :]
        wanted = {id_of(record) for record in [*listed, *marked, *recent]}
        entries = [r for r in state if isinstance(r, Entry) and r.id in wanted]
        window = listed[-1].order or 0 if len(listed) == timelines.WINDOW else 0
        checks = "".join(self.checks[:top][-timelines.KEPT_CHANGES - 1 :])
        blog = self.state(top)[BLOG_ID]
        assert isinstance(blog, Blog)
        return Snapshot(self.at(top), base, window, checks, blog, entries)

    # -- changes: each method makes one, and returns its pub/sub message

    def publish(self, **fields: Any) -> Changes:
        serial = next(_serial)
        fields = {"headline": f"h{serial}", "status": "published", **fields}
        return self._write(Entry(id=f"e{serial:012d}", order=self.top + 1, **fields))

    def release(self, count: int) -> Changes:
        """Publish several entries at once: one message."""
        first = self.top + 1
        for _ in range(count):
            self.publish()
        return self.message(first, self.top)

    def edit(self, id: str, **fields: Any) -> Changes:
        was = self.entry(id)
        fields = {"headline": f"h{next(_serial)}", "revision": was.revision + 1, **fields}
        return self._write(msgspec.structs.replace(was, **fields))

    def pin(self, id: str, number: float | Literal["last"] | None) -> Changes:
        """Pin an entry with this `pin_order`, "last" for none; None unpins. Makes no revision."""
        pin_order = number if isinstance(number, int | float) else None
        pinned = number is not None
        was = self.entry(id)
        return self._write(msgspec.structs.replace(was, pinned=pinned, pin_order=pin_order))

    def delete(self, id: str) -> Changes:
        was = self.entry(id)
        tomb = Entry(id=id, order=was.order, revision=was.revision, status=was.status, deleted=True)
        return self._write(tomb)

    def restore(self, id: str) -> Changes:
        """Restore a deleted entry with its old order and text."""
        kept = [r for r in self.log if isinstance(r, Entry) and r.id == id and not r.deleted]
        return self._write(kept[-1])

    def header(self, **fields: Any) -> Changes:
        return self._write(msgspec.structs.replace(self.blog, **fields))

    def rotate(self, **fields: Any) -> Changes:
        """Start a new epoch; its first change is the header."""
        self.eras.append((self.top + 1, _epoch()))
        return self.header(**fields)

    def lose(self, count: int) -> None:
        """Lose `count` changes, as a failover or an old backup does; the first change stays."""
        keep = max(1, self.top - count)
        del self.log[keep:], self.checks[keep:]
        self.eras = [era for era in self.eras if era[0] <= keep]

    def _write(self, record: Record) -> Changes:
        offset = self.top + 1
        record = msgspec.structs.replace(record, offset=offset, updated_at=next(_serial))
        previous = dict(self.eras).get(offset) or self.checks[-1]
        digest = hashlib.sha1(previous.encode() + msgspec.json.encode(record)).hexdigest()
        self.log.append(record)
        self.checks.append(digest[:8])
        self.logs[self.position] = self.log.copy()
        return self.message(offset, offset)


def to_show(state: dict[str, Record]) -> list[Entry]:
    """Return the entries that a page shows, newest first."""
    entries = [r for r in state.values() if isinstance(r, Entry) and not r.deleted]
    return sorted(entries, key=lambda entry: entry.order or 0, reverse=True)


def _last(log: list[Record]) -> dict[str, Record]:
    last = {id_of(record): record for record in log}
    return dict(sorted(last.items(), key=lambda item: item[1].offset or 0))


def _epoch() -> str:
    return f"epoch{next(_serial)}"


class Call(NamedTuple):
    """One call of the store, and its time."""

    what: str
    slug: str
    at_s: float


class FakeStore:
    """Implements `Source`, by which a hub reads the store.

    A call waits twice for `latency_s`, and reads the state in between.
    """

    def __init__(self, *pasts: Past) -> None:
        self.pasts = {past.slug: past for past in pasts}
        self.wires: list[Wire] = []
        self.calls: list[Call] = []
        self.is_down = False
        self.refusal: StoreRefuses | None = None  # why the store refuses writes
        self.forbids_reads = False  # reads are refused for that reason, too
        self.warning = ""
        self.lacks: set[str] = set()
        self.corrupt: set[str] = set()
        self.unreachable: set[str] = set()  # slugs in a part of the store that does not answer
        self.latency_s: Callable[[], float] = lambda: 0.001
        self._repairing: set[str] = set()

    def count(self, what: str, slug: str = SLUG) -> int:
        return len(self.times(what, slug))

    def times(self, what: str, slug: str = SLUG) -> list[float]:
        return [call.at_s for call in self.calls if (call.what, call.slug) == (what, slug)]

    def announce(self, changes: Changes, slug: str = SLUG) -> Changes:
        """Publish a message to every worker that follows the blog."""
        for wire in self.wires:
            wire.deliver(slug, changes)
        return changes

    @asynccontextmanager
    async def call(self, what: str, slug: str = "") -> AsyncIterator[Past | None]:
        self.calls.append(Call(what, slug, asyncio.get_running_loop().time()))
        await asyncio.sleep(self.latency_s())
        self._answer(slug)
        yield None if slug in self.lacks else self.pasts.get(slug)
        await asyncio.sleep(self.latency_s())
        self._answer(slug)

    def _answer(self, slug: str) -> None:
        if self.is_down:
            raise StoreDown("the store is unreachable")
        if self.forbids_reads and self.refusal:
            raise self.refusal
        if slug in self.corrupt:
            raise Damaged("the data is corrupt")

    async def exists(self, slug: str) -> bool:
        async with self.call("exists", slug) as past:
            return past is not None

    async def load(self, slug: str, held: Blog | None = None) -> Snapshot | None:
        async with self.call("load", slug) as past:
            return past.snapshot() if past else None

    async def repair(self, slug: str, position: Position) -> Changes | Moved:
        alone = len(self.wires) == 1
        assert not alone or slug not in self._repairing, "two repair reads of a blog at a time"
        self._repairing.add(slug)
        try:
            async with self.call("repair", slug) as past:
                return _repair(past, position)
        finally:
            self._repairing.discard(slug)

    async def rotate(self, slug: str, position: Position) -> bool:
        async with self.call("rotate", slug) as past:
            if not past or _repair(past, position) != Moved("fork"):
                return False
            self.announce(past.rotate(), slug)
            return True

    async def heads(self, slugs: list[str]) -> Heads:
        async with self.call("heads"):
            reached = [slug for slug in slugs if slug not in self.unreachable]
            held = {slug: self.pasts[slug] for slug in reached if slug not in self.lacks}
            heads = {slug: held[slug].position if slug in held else None for slug in reached}
            return Heads(heads, ", ".join(self.unreachable))

    async def check_writes(self) -> str:
        async with self.call("check_writes"):
            if self.refusal:
                raise self.refusal
            return self.warning

    async def older(self, slug: str, before: int | None, limit: int) -> list[Entry]:
        raise AssertionError(FOR_PAGES)

    async def newer(self, slug: str, after: int, limit: int) -> list[Entry]:
        raise AssertionError(FOR_PAGES)

    async def entry(self, slug: str, id: str) -> Entry | None:
        raise AssertionError(FOR_PAGES)

    async def front(self, before: str | None, limit: int) -> tuple[list[Blog], str | None] | None:
        raise AssertionError(FOR_PAGES)


def _repair(past: Past | None, position: Position) -> Changes | Moved:
    if not past:
        return Moved("absent")
    if past.epoch != position.epoch:
        return Moved("moved")
    if position.offset > past.top or past.checks[position.offset - 1] != position.check:
        return Moved("fork")
    if past.top - position.offset > FAR:
        return Moved("far")
    return past.changes(position.offset)


class Wire:
    """Implements `Subscriptions`, by which a worker gets pub/sub messages.

    `fate` returns for each message the delays in seconds after which it arrives: once, several
    times, or never.
    """

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.followed: set[str] = set()
        self.fate: Callable[[], Sequence[float]] = lambda: [0.0]
        self.hub: Hub | None = None
        self.announced: tuple[Position, float] | None = None  # last message: position, arrival
        store.wires.append(self)

    async def follow(self, slug: str) -> None:
        async with self._store.call("follow", slug):
            self.followed.add(slug)

    def unfollow(self, slug: str) -> None:
        self.followed.discard(slug)

    def deliver(self, slug: str, changes: Changes) -> None:
        for delay_s in [] if self._store.is_down else self.fate():
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._arrive, slug, changes)
            else:
                self._arrive(slug, changes)

    def _arrive(self, slug: str, changes: Changes) -> None:
        if self.hub and slug in self.followed:
            if changes.position == self._store.pasts[slug].position:
                self.announced = changes.position, asyncio.get_running_loop().time()
            self.hub.receive(slug, changes)


def numbers_html(offset: int | None, order: int | None, revision: int) -> str:
    """Return an entry's numbers as HTML attributes. A page has them, a frame leaves them out."""
    return f' data-offset="{offset}" data-order="{order}" data-revision="{revision}"'


class FakeRender:
    """Renders HTML that shows which fields it was made from. `made` lists the rendered ids."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def entry_html(self, entry: Entry, blog: Blog, *, in_frame: bool = False) -> str:
        self.made.append(entry.id)
        numbers = "" if in_frame else numbers_html(entry.offset, entry.order, entry.revision)
        return f"<article{numbers}>{entry.headline} {blog.timezone}</article>"

    def header_html(self, blog: Blog) -> str:
        self.made.append(BLOG_ID)
        return f"<header>{blog.title} {blog.updated_at}</header>"


class FakeReader(Reader[str]):
    """A reader that keeps its frames. While `stalled` its socket is full after each frame."""

    def __init__(self, *, as_data: bool = False, stalled: bool = False) -> None:
        super().__init__(encoding_of(as_data, "text"))
        self.frames: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.stalled = stalled
        self.ended: tuple[dict[str, Any] | None, int] | None = None

    def take(self, data: str) -> None:
        assert not self.behind, "a frame for a reader whose socket is full"
        assert not self.ended, "a frame after the end"
        self.raw.append(data)
        self.frames.append(json.loads(data))
        if self.stalled:
            self.fell_behind(len(data))

    def end(self, frame: Frame | None, code: int) -> None:
        assert not self.ended, "an end after the end"
        self.ended = json.loads(frame.json) if frame else None, code

    def abort(self) -> None:
        self.end(None, 1006)

    def drain(self) -> None:
        self.stalled = False
        self.drained()

    def kinds(self) -> list[str]:
        return [frame["t"] for frame in self.frames]

    def changes(self) -> Iterator[dict[str, Any]]:
        """Yield the `changes` frames."""
        return (frame for frame in self.frames if frame["t"] == "changes")

    @property
    def code(self) -> int | None:
        return self.ended[1] if self.ended else None


class Clock:
    """The loop's virtual time. Each call adds `tick_s`, so that long work takes virtual time."""

    def __init__(self, tick_s: float = 0.0) -> None:
        self.tick_s, self._spent_s = tick_s, 0.0

    def __call__(self) -> float:
        self._spent_s += self.tick_s
        return asyncio.get_running_loop().time() + self._spent_s


def make_hub(store: FakeStore, clock: Callable[[], float] | None = None, **settings: Any) -> Hub:
    """Return a hub on `store`, with its own `Wire` for pub/sub messages.

    Only `running` starts the hub's periodic tasks.
    """
    wire = Wire(store)
    clock = clock or Clock()
    hub = Hub(
        store,
        wire,
        FakeRender(),
        lambda: int(clock() * 1000),
        HubSettings(**settings),
        clock=clock,
    )
    wire.hub = hub
    return hub


@asynccontextmanager
async def running(*hubs: Hub) -> AsyncIterator[None]:
    """Run the periodic tasks of hubs until the block ends."""
    tasks = [asyncio.create_task(hub.run()) for hub in hubs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for hub in hubs:
            await hub.close()
    for how in ended:
        if not isinstance(how, asyncio.CancelledError):
            raise AssertionError("a hub stopped before the test did") from how
