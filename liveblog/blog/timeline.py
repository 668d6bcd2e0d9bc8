"""A blog's state at a position: what the store knows, as far as a worker holds it.

Pure: bytes and sockets are elsewhere. A change is a record (`Blog` for the header, else `Entry`,
which may be a tombstone) that carries its own offset. The twin in the browser is
static/js/timeline.js; both are held to tests/vectors/timeline.json.

Rules: no I/O, no clock, no await. `apply` goes forwards only; applying twice is applying once.
"""

from bisect import bisect_left, insort
from itertools import islice
from typing import Final, Literal, NamedTuple

from liveblog.blog.model import BLOG_ID, Blog, Entry, Position

WINDOW: Final = 200  # the newest entries that a worker holds
MARKED_MAX: Final = 500  # pinned and key entries held beyond the window, newest first
KEPT_CHANGES: Final = 1_000  # offsets below the top that can be caught up from
MISSED_MAX: Final = 200  # more missed than this: start over from the page
TRIM_EVERY: Final = 100  # changes between two clean-ups, each O(held)

Record = Blog | Entry
Outcome = Literal["applied", "ignored", "gap", "foreign"]
Standing = Literal["here", "old", "ask"]


class Changes(NamedTuple):
    """What changed after offset `since`, up to and with `position`.

    Each record once, ascending by offset.

    `previous` is the check at `since`, None when whoever made this has compared it; `checks` are
    those of the offsets since + 1 to position.offset, 8 hex digits each, without separators.
    """

    since: int
    previous: str | None
    position: Position
    checks: str
    records: list[Record]


class Moved(NamedTuple):
    """Why a repair read gave no changes.

    "absent": the store lacks the blog; the rest: see repair.lua.
    """

    why: Literal["absent", "moved", "fork", "far"]


class Heads(NamedTuple):
    """Where the store is, by blog; None for one it lacks.

    `away` says what is wrong with a part of the store that does not answer, "" when all does. The
    blogs that are kept there are not among `positions`, nor is one whose keys are damaged.
    """

    positions: dict[str, Position | None]
    away: str = ""


class Snapshot(NamedTuple):
    """A blog as loaded: `base` is its epoch's first offset, `checks` end with that of `position`.

    `window` is the order from which on every entry is among `entries`; 0 when all of the blog's
    are.
    """

    position: Position
    base: int
    window: int
    checks: str
    blog: Blog
    entries: list[Entry]


def id_of(record: Record) -> str:
    return record.id if isinstance(record, Entry) else BLOG_ID


class Timeline:
    """The newest entries, everything pinned or key, and what changed lately, at one position.

    `floor` is the oldest offset that `changes` can start from. Entries are held in their current
    state only, so nothing here can bring deleted text back.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.replace(snapshot)

    def replace(self, snapshot: Snapshot) -> None:
        """Replace the whole state by a snapshot of any epoch and offset."""
        self.epoch, self.offset, _ = snapshot.position
        self.blog = snapshot.blog
        held_checks = len(snapshot.checks) // 8
        self.floor = max(snapshot.base, self.offset - min(KEPT_CHANGES, held_checks - 1))
        first = self.offset - held_checks + 1
        self._checks = {first + i: snapshot.checks[8 * i : 8 * i + 8] for i in range(held_checks)}
        self._base = snapshot.base
        self.window = snapshot.window  # the order from which on all entries are held; 0: all
        self._records: dict[str, Entry] = {}
        self._recent: dict[
            str, int
        ] = {}  # id -> offset of its last change, ascending, all above the floor
        self._orders: list[int] = []  # of the entries to show, ascending
        self._by_order: dict[int, str] = {}
        self._trim_at = self.offset + TRIM_EVERY
        records: list[Record] = [*snapshot.entries, snapshot.blog]
        for record in sorted(records, key=lambda r: r.offset or 0):
            self._put(record)
        self._trim()

    # -- reading

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset, self.check(self.offset))

    def check(self, offset: int) -> str:
        """Return the check at an offset from the floor to the top.

        Raises KeyError below the floor.
        """
        return self._checks[offset]

    def position_of(self, entry: Entry) -> Position | None:
        """Return the position of an entry's last change, None where its check is not held."""
        check = self._checks.get(entry.offset or 0)
        return Position(self.epoch, entry.offset or 0, check) if check else None

    def get(self, id: str) -> Entry | None:
        """Return an entry or its tombstone.

        None when it is not held (it may exist in the store).
        """
        return self._records.get(id)

    def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        """Return up to `limit` entries, the highest order first, below order `before` if given."""
        end = len(self._orders) if before is None else bisect_left(self._orders, before)
        return [self._at(order) for order in reversed(self._orders[max(0, end - limit) : end])]

    def page(self, limit: int, before: int | None = None) -> list[Entry] | None:
        """Return what `newest` does, None when entries would belong to it that are not held."""
        found = self.newest(limit, before)
        whole = not self.window or (len(found) == limit and (found[-1].order or 0) >= self.window)
        return found if whole else None

    def marked(self, mark: Literal["key", "pinned"], limit: int = MARKED_MAX) -> list[Entry]:
        """Return the entries to show that are key, or pinned, newest first."""
        shown = (self._at(order) for order in reversed(self._orders))
        return list(islice((entry for entry in shown if getattr(entry, mark)), limit))

    def standing(self, position: Position) -> Standing:
        """Say what a reader's position is to this worker.

        "here": in this history, `changes` can tell what it misses. "old": older than what is kept.
        "ask": another epoch, ahead, or another check; only the store can say who is right.
        """
        if position.epoch != self.epoch or position.offset > self.offset:
            return "ask"
        if position.offset < self.floor:
            return "old"
        return "here" if self._checks[position.offset] == position.check else "ask"

    def changes(self, since: int) -> list[Record] | None:
        """Return what changed after `since`, each record once as it is now, ascending by offset.

        None ("reset") below the floor, ahead of the top, or when it is more than MISSED_MAX
        entries; the header does not count.
        """
        if not self.floor <= since <= self.offset:
            return None
        missed: list[Record] = []
        entries = 0
        for id, offset in reversed(self._recent.items()):
            if offset <= since:
                break
            entries += id != BLOG_ID
            if entries > MISSED_MAX:
                return None
            missed.append(self.blog if id == BLOG_ID else self._records[id])
        return missed[::-1]

    # -- applying

    def apply(self, changes: Changes) -> Outcome:
        """Go forward to the position of `changes`.

        Returns "applied"; "ignored" when it is not ahead; "gap" when it begins above the top or on
        another history; "foreign" when it is of another epoch. Only "applied" alters anything.
        """
        if changes.position.epoch != self.epoch:
            return "foreign"
        if changes.position.offset <= self.offset:
            return "ignored"
        if changes.since > self.offset or not self._continues(changes):
            return "gap"
        for record in changes.records:
            if (record.offset or 0) > self.offset:  # the others are part of this state already
                self._put(record)
        for i in range(changes.position.offset - changes.since):
            self._checks[changes.since + 1 + i] = changes.checks[8 * i : 8 * i + 8]
        self.offset = changes.position.offset
        if self.offset >= self._trim_at:
            self._trim()
        return "applied"

    def _continues(self, changes: Changes) -> bool:
        """Say whether the history of `changes` is the one held.

        Its check at our top is ours, and covers all before.
        """
        known = self.offset - changes.since
        theirs = changes.checks[8 * known - 8 : 8 * known] if known else changes.previous
        return theirs in (None, self._checks[self.offset])

    def _put(self, record: Record) -> None:
        id = id_of(record)
        self._recent.pop(id, None)
        self._recent[id] = record.offset or 0
        if isinstance(record, Blog):
            self.blog = record
        else:
            self._records[id] = record
            self._list(record)

    def _list(self, entry: Entry) -> None:
        order = entry.order or 0
        listed = order in self._by_order
        if entry.deleted and listed:
            del self._by_order[order]
            del self._orders[bisect_left(self._orders, order)]
        elif not entry.deleted and not listed:
            self._by_order[order] = entry.id
            insort(self._orders, order)

    def _at(self, order: int) -> Entry:
        return self._records[self._by_order[order]]

    def _marked_orders(self) -> list[int]:
        """Return the newest MARKED_MAX orders of pinned and key entries, as a load brings."""
        marked = (order for order in reversed(self._orders) if _is_marked(self._at(order)))
        return list(islice(marked, MARKED_MAX))

    def _trim(self) -> None:
        """Forget what is neither in the window, nor marked, nor changed above the floor."""
        self._trim_at = self.offset + TRIM_EVERY
        self.floor = max(self.floor, self._base, self.offset - KEPT_CHANGES)
        self._checks = {n: check for n, check in self._checks.items() if n >= self.floor}
        self._recent = {id: n for id, n in self._recent.items() if n > self.floor}
        if len(self._orders) > WINDOW:
            self.window = max(self.window, self._orders[-WINDOW])
        window = set(self._orders[-WINDOW:])
        window.update(self._marked_orders())
        gone = [
            entry
            for entry in self._records.values()
            if entry.id not in self._recent and (entry.deleted or entry.order not in window)
        ]
        for entry in gone:
            del self._records[entry.id]
            if self._by_order.pop(entry.order or 0, None):
                del self._orders[bisect_left(self._orders, entry.order or 0)]


def _is_marked(entry: Entry) -> bool:
    return entry.key or entry.pinned
