"""The judge of fault tests: it compares what readers applied with the store's history.

A `History` has the effect (`Deed`) of each offset of a blog, also of changes that the store lost. A
reader's story is the list of pages and frames that the reader applied, in order. `judge` compares
stories with the history at every step and at the end. The hub's model (kit/machine.py) and the
fault matrix (tests/chaos) call `judge`.

Rules: knows docs/streams.md and the keys of a blog in the store, and imports nothing of the server.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import redis

HEADER = "#blog"
PAGE_ENTRIES = 20


class Position(NamedTuple):
    """A parsed `epoch.offset.check`."""

    epoch: str
    offset: int
    check: str

    @classmethod
    def of(cls, text: str) -> "Position":
        epoch, offset, check = text.split(".")
        return cls(epoch, int(offset), check)


class Deed(NamedTuple):
    """The effect of one change on one entry.

    `order` is the offset at which the entry was first published. `mark` is the first word of the
    entry's text, which names its revision; None if deleted.
    """

    id: str
    order: int = 0
    mark: str | None = None


class Shown(NamedTuple):
    """An entry as a reader shows it."""

    offset: int
    order: int
    html: str


class Page(NamedTuple):
    """A page that a reader loaded. It has all entries whose `order` is in a range.

    The range is `lowest` to `below` - 1; without an upper limit when `below` is None.
    """

    position: Position
    entries: dict[str, Shown]
    lowest: int = 0
    below: int | None = None

    def has(self, order: int) -> bool:
        return order >= self.lowest and (self.below is None or order < self.below)


class Announced(NamedTuple):
    """A reset: the server announced that the reader must start over from a page."""


Step = Page | Announced | dict[str, Any]


class Store(Protocol):
    """The interface by which `judge` reads one blog of the store."""

    def position(self) -> Position: ...
    def chain(self) -> list[str]:
        """Return the checks of all offsets, from the first offset to the newest."""
        ...

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return, by entry id, the records of all entries ever published, also of deleted ones."""
        ...


class Kept:
    """Reads a blog from Redis or Valkey, by the keys that the server writes."""

    def __init__(self, client: redis.Redis, slug: str) -> None:
        self._client, self._slug = client, slug

    def _key(self, name: str) -> str:
        return f"lb:{{{self._slug}}}:{name}"

    def position(self) -> Position:
        where: Any = self._client.hmget(self._key("blog"), "epoch", "offset", "check")
        epoch, offset, check = (part.decode() for part in where)
        return Position(epoch, int(offset), check)

    def base(self) -> int:
        """Return the first offset of the epoch."""
        base: Any = self._client.hget(self._key("blog"), "base")
        return int(base)

    def chain(self) -> list[str]:
        chain: Any = self._client.get(self._key("chain")) or b""
        return [chain[at : at + 8].decode() for at in range(0, len(chain), 8)]

    def entries(self) -> dict[str, dict[str, Any]]:
        stored: Any = self._client.hgetall(self._key("entries"))
        return {id.decode(): json.loads(record) for id, record in stored.items()}


@dataclass
class History:
    """The effect (`Deed`) of every offset of a blog, on every branch of its history.

    A store that loses changes and uses their offsets again starts a new branch. `note` adds a
    change that the API confirmed. `look` adds the store's present branch; a test calls `look`
    before the store loses changes, and at the end. `between` takes a change that neither method
    added for a change of the blog's header.
    """

    slug: str
    deeds: dict[tuple[int, str], Deed] = field(default_factory=dict)
    branches: list[list[str]] = field(default_factory=list)

    def note(self, position: Position, deed: Deed) -> None:
        self.deeds[position.offset, position.check] = deed

    def look(self, store: Store) -> Position:
        """Add the store's present history as a branch, and return the store's position."""
        where, chain = store.position(), store.chain()
        self.branches.append(chain)
        for id, record in store.entries().items():
            at = record["offset"]
            known = self.deeds.get((at, chain[at - 1]))
            deed = Deed(id, record["order"], None if record.get("deleted") else mark_of(record))
            assert known in (None, deed), f"offset {at}: an editor got {known}, not {deed}"
            self.note(Position(where.epoch, at, chain[at - 1]), deed)
        return where

    def has(self, position: Position) -> bool:
        """Return whether the newest branch (see the class) contains this position."""
        return self.holds(self.branches[-1], position)

    @staticmethod
    def holds(branch: list[str], position: Position) -> bool:
        return 0 < position.offset <= len(branch) and (
            branch[position.offset - 1] == position.check
        )

    def between(self, since: int, position: Position) -> dict[str, tuple[int, Deed]]:
        """Return the last change of each entry after offset `since`, up to `position`.

        The result has (offset, deed) by entry id. The header counts as an entry.
        """
        branch = next((b for b in reversed(self.branches) if self.holds(b, position)), None)
        assert branch, f"the store was never at {position}"
        found: dict[str, tuple[int, Deed]] = {}
        for at in range(since + 1, position.offset + 1):
            deed = self.deeds.get((at, branch[at - 1]), Deed(HEADER))
            found[deed.id] = at, deed
        return found


def mark_of(record: dict[str, Any]) -> str:
    """Return the mark of an entry, the first word of its text.

    Tests write marks such as `m7-2`: revision 2 of the entry that an editor's call m7 published.
    """
    return str(record["body"]).split()[0]


class Rule(Enum):
    """A rule that a `changes` frame can break.

    The first part of a value names the count of `Verdict` that then grows.
    """

    EPOCH = "unannounced", "an epoch changes only with a reset"
    FROM = "lost", "a frame starts at its reader's offset or below"
    GROWS = "duplicated", "a position only grows"
    ONCE = "duplicated", "no change is applied twice"
    RANGE = "duplicated", "no change is ahead of its frame's position"
    ORDER = "reordered", "changes are sorted by offset"


def broken_rules(at: Position, frame: dict[str, Any]) -> Iterator[tuple[Rule, str]]:
    """Yield the rules that a frame breaks for a reader at a position, each with the evidence."""
    to, since = Position.of(frame["position"]), frame["from"]
    if to.epoch != at.epoch:
        yield Rule.EPOCH, f"a frame of {to}"
        return
    if since > at.offset:
        yield Rule.FROM, f"a frame from {since}"
    if to.offset < at.offset:
        yield Rule.GROWS, f"a frame from {since} to {to.offset}"
    yield from _broken_by_changes(at, to, frame["changes"])


def _broken_by_changes(
    at: Position, to: Position, changes: list[dict[str, Any]]
) -> Iterator[tuple[Rule, str]]:
    offsets = [change["offset"] for change in changes]
    ids = [change.get("id", HEADER) for change in changes]
    if offsets and min(offsets) <= at.offset:
        yield Rule.ONCE, f"offsets {offsets} at {at.offset}"
    if offsets and max(offsets) > to.offset:
        yield Rule.RANGE, f"offsets {offsets} in a frame to {to.offset}"
    if offsets != sorted(offsets):
        yield Rule.ORDER, f"offsets {offsets}"
    if len(ids) != len(set(ids)) or len(offsets) != len(set(offsets)):
        yield Rule.ONCE, f"an id or offset twice among {list(zip(ids, offsets, strict=True))}"


@dataclass
class Verdict:
    """Counts of readers' wrong steps by kind; `because` describes the first 20."""

    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unannounced: int = 0
    because: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.unannounced)

    def find(self, what: str, because: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.because) < 20:
            self.because.append(f"{what}: {because}")


def judge(
    history: History,
    stories: Sequence[Sequence[Step]],
    store: Store,
    acknowledged: Iterable[Position],
    left: Sequence[Sequence[Step]] = (),
) -> Verdict:
    """Compare readers' stories with the store; every story must end at the store's position.

    `left` are the stories of readers that left earlier, at any position. Every `acknowledged`
    position must be in the store's history.
    """
    verdict = Verdict()
    final = history.look(store)
    between = lru_cache(maxsize=None)(history.between)
    for number, story in enumerate(stories):
        _Reading(f"reader {number}", between, verdict).follow(story, final)
    for number, story in enumerate(left):
        _Reading(f"passing reader {number}", between, verdict).follow(story, None)
    for position in acknowledged:
        if not history.has(position):
            verdict.find("lost", f"the store lacks {position}, which was acknowledged")
    _find_twins(store, verdict)
    return verdict


def _find_twins(store: Store, verdict: Verdict) -> None:
    """Count marks of more than one entry: an editor repeated a call, and each call published."""
    marks = [
        mark_of(record).partition("-")[0]
        for record in store.entries().values()
        if not record.get("deleted")
    ]
    for mark in {mark for mark in marks if marks.count(mark) > 1}:
        verdict.find("duplicated", f"{mark} was published twice")


class _Reading:
    """Checks one reader's story, step by step from its first page."""

    def __init__(self, name: str, between: Any, verdict: Verdict) -> None:
        self._name, self._between, self._verdict = name, between, verdict
        self._at: Position | None = None
        self._held: dict[str, Shown] = {}
        self._page: Page | None = None
        self._may_jump = True

    def _find(self, what: str, because: str) -> None:
        self._verdict.find(what, f"{self._name} at {self._at}: {because}")

    def follow(self, story: Sequence[Step], final: Position | None) -> None:
        for step in story:
            if isinstance(step, Announced):
                self._may_jump = True
            elif isinstance(step, Page):
                self._open(step)
            else:
                self._apply(step, Position.of(step["position"]))
        if final and self._at != final:
            self._find("lost", f"the story ends before the store's {final}")
        self._compare()

    def _open(self, page: Page) -> None:
        if not self._may_jump:
            self._find("unannounced", f"a page of {page.position} without a reset")
        self._at, self._held, self._page = page.position, dict(page.entries), page
        self._may_jump = False
        self._compare()
        self._check_window(page)

    def _check_window(self, page: Page) -> None:
        """Count a loss when a page of the newest entries is not full, though the blog has more."""
        deeds = self._between(0, page.position).values()
        living = sum(bool(deed.mark) for _, deed in deeds)
        if page.below is None and len(page.entries) < min(PAGE_ENTRIES, living):
            self._find("lost", f"a page of {len(page.entries)} entries, of {living}")

    def _compare(self) -> None:
        """Compare the entries that the reader shows with the history at its position."""
        if not self._at or not self._page:
            return
        deeds = self._between(0, self._at).items()
        state = {id: it for id, it in deeds if id != HEADER and self._page.has(it[1].order)}
        living = {id for id, (_, deed) in state.items() if deed.mark}
        for id in living - self._held.keys():
            self._find("lost", f"{id} is missing")
        for id, shown in self._held.items():
            if id not in living:
                self._find("lost", f"{id} is shown, but deleted")
            elif not _is(shown, state[id]):
                self._find("lost", f"{id} is shown at offset {shown.offset}, not {state[id]}")

    def _apply(self, frame: dict[str, Any], to: Position) -> None:
        assert self._at
        for rule, evidence in broken_rules(self._at, frame):
            self._find(rule.value[0], evidence)
        if to.epoch != self._at.epoch:
            return
        if frame["from"] < self._at.offset:
            self._find("duplicated", f"a frame from {frame['from']} to {to.offset}")
        self._compare_changes(frame, to)
        for change in frame["changes"]:
            self._put(change)
        self._at = to

    def _compare_changes(self, frame: dict[str, Any], to: Position) -> None:
        """Compare a frame's changes with the history from the frame's `from` to its position."""
        got = [(change.get("id", HEADER), change["offset"]) for change in frame["changes"]]
        expected = self._between(frame["from"], to)
        for id in expected.keys() - dict(got).keys():
            self._find("lost", f"{id} of {expected[id]} is not in the frame to {to}")
        for (id, offset), change in zip(got, frame["changes"], strict=True):
            if id not in expected or expected[id][0] != offset:
                self._find("duplicated", f"{id} of {offset} in the frame to {to}")
            elif not _matches(change, expected[id][1]):
                self._find("lost", f"{change} does not match {expected[id]}")

    def _put(self, change: dict[str, Any]) -> None:
        assert self._page
        if change["op"] == "put" and self._page.has(change["order"]):
            shown = Shown(change["offset"], change["order"], change["html"])
            self._held[change["id"]] = shown
        elif change["op"] == "del":
            self._held.pop(change["id"], None)


def _matches(change: dict[str, Any], deed: Deed) -> bool:
    """Return whether a change in a frame has the kind, text and order of the history's `deed`."""
    if deed.id == HEADER:
        return bool(change["op"] == "blog")
    if not deed.mark:
        return bool(change["op"] == "del")
    is_text = change["op"] == "put" and f"{deed.mark} " in change["html"]
    return is_text and bool(change["order"] == deed.order)


def _is(shown: Shown, expected: tuple[int, Deed]) -> bool:
    at, deed = expected
    return shown.offset == at and shown.order == deed.order and f"{deed.mark} " in shown.html
