"""The part of a blog's state that a worker keeps in memory, at one position.

A change is a record with an offset: a `Blog` for the header, else an `Entry`. A deleted entry is a
tombstone, an `Entry` without content. The browser's counterpart is static/js/timeline.js; the cases
in tests/vectors/timeline.json test both.

Rules: no I/O, no clock, no await. `apply` only moves forward, and ignores changes applied before.
"""

from bisect import bisect_left, insort
from itertools import islice
from sys import getsizeof
from typing import Final, Literal, NamedTuple

from liveblog.blog.model import BLOG_ID, Blog, Entry, Position
from liveblog.blog.pins import rank

WINDOW: Final = 200  # how many of the newest entries stay in a worker's memory
MARKED_MAX: Final = 500  # how many of the newest pinned and key entries stay in memory
KEPT_CHANGES: Final = 1_000  # a reader that is at most this many changes behind can catch up
MISSED_MAX: Final = 200  # a reader that missed more entries than this starts over from the page
TRIM_EVERY: Final = 100  # changes between two calls of `_trim`, which visits all entries

# The memory of an entry without its long texts, but with its places in the indexes: an estimate.
ENTRY_BYTES: Final = 450
CHECK_BYTES: Final = 8

Record = Blog | Entry
Applying = Literal["applied", "ignored", "gap", "foreign"]
Standing = Literal["here", "old", "unknown"]


class Changes(NamedTuple):
    """The changes after offset `since`, up to and including `position`.

    Each record appears once, ascending by offset. A check is a fingerprint of all changes up to an
    offset. `previous` is the check at `since`; None when `apply` must not compare it. `checks` has
    the checks of the offsets since + 1 to position.offset, 8 hex digits each, without separators.
    """

    since: int
    previous: str | None
    position: Position
    checks: str
    records: list[Record]


class Moved(NamedTuple):
    """The reason why the store returned no changes to a worker that asked for those it missed.

    "absent": the store lacks the blog. store/repair.lua explains the other reasons.
    """

    why: Literal["absent", "moved", "fork", "far"]


class Heads(NamedTuple):
    """The store's position of each blog; None for a blog that the store lacks.

    `unreachable` describes the part of the store that does not answer, "" when all parts answer.
    `positions` leaves out the blogs in that part, and blogs whose keys are corrupt.
    """

    positions: dict[str, Position | None]
    unreachable: str = ""


class Snapshot(NamedTuple):
    """A blog as read from the store.

    `base` is the first offset of the epoch. `checks` has the checks of consecutive offsets, the
    last of them `position.offset`. An entry's `order` is the offset of its first publication.
    `entries` has every entry whose `order` is `window` or higher: all entries when `window` is 0.
    """

    position: Position
    base: int
    window: int
    checks: str
    blog: Blog
    entries: list[Entry]


def id_of(record: Record) -> str:
    return record.id if isinstance(record, Entry) else BLOG_ID


class _Checks:
    """The checks of consecutive offsets, 8 hex digits each in one string: it takes little memory.

    `last` is the offset of the last check.
    """

    __slots__ = ("_first", "_text")

    def __init__(self, text: str, last: int) -> None:
        self._text, self._first = text, last - len(text) // CHECK_BYTES + 1

    def get(self, offset: int) -> str | None:
        at = (offset - self._first) * CHECK_BYTES
        return self._text[at : at + CHECK_BYTES] or None if at >= 0 else None

    def __getitem__(self, offset: int) -> str:
        check = self.get(offset)
        if check is None:
            raise KeyError(offset)
        return check

    def extend(self, since: int, checks: str) -> None:
        """Put the checks of the offsets after `since` behind those up to `since`."""
        kept = (since + 1 - self._first) * CHECK_BYTES
        if kept < 0:
            self._text, self._first = checks, since + 1
        else:
            self._text = self._text[:kept] + checks

    def trim(self, floor: int) -> None:
        """Drop the checks of the offsets below `floor`."""
        if floor > self._first:
            self._text = self._text[(floor - self._first) * CHECK_BYTES :]
            self._first = floor

    def __len__(self) -> int:
        return len(self._text) // CHECK_BYTES


class Timeline:
    """Keeps a blog's newest, pinned and key entries, and its recent changes, at one position.

    `floor` is the lowest offset from which `changes` can bring a reader up to date. An entry's
    `order` is the offset of its first publication. The timeline has every entry whose `order` is
    `window` or higher: all entries when `window` is 0. It has only the current state of each entry,
    so it cannot restore deleted text.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.replace(snapshot)

    def replace(self, snapshot: Snapshot) -> None:
        """Replace the whole state by a snapshot of any epoch and offset.

        Raises ValueError, and changes nothing, for a snapshot whose numbers contradict each other.
        """
        top, held_checks = snapshot.position.offset, len(snapshot.checks) // 8
        floor = max(snapshot.base, top - min(KEPT_CHANGES, held_checks - 1))
        if floor > top:
            raise ValueError("the snapshot has no check of its own offset, or an impossible base")
        self.epoch, self.offset, self.floor = snapshot.position.epoch, top, floor
        self.blog = snapshot.blog
        self._checks = _Checks(snapshot.checks, self.offset)
        self._note_position()
        self._base = snapshot.base
        self.window = snapshot.window
        self._records: dict[str, Entry] = {}
        # The id of each record that changed after `floor` -> the offset of its last change. The
        # items are in the order of these offsets.
        self._recent: dict[str, int] = {}
        self._orders: list[int] = []  # `order` of each entry that is not deleted, ascending
        self._by_order: dict[int, str] = {}
        self._trim_at = self.offset + TRIM_EVERY
        records: list[Record] = [*snapshot.entries, snapshot.blog]
        for record in sorted(records, key=lambda r: r.offset or 0):
            self._put(record)
        self._trim()

    # -- reading

    def weight(self) -> int:
        """Return about how many bytes of memory the entries and checks take."""
        texts = sum(_text_bytes(entry) for entry in self._records.values())
        return texts + ENTRY_BYTES * len(self._records) + CHECK_BYTES * len(self._checks)

    def _note_position(self) -> None:
        """Set `position`, which every joining reader reads: once a change, not once a reader."""
        self.position = Position(self.epoch, self.offset, self.check(self.offset))

    def check(self, offset: int) -> str:
        """Return the check at an offset from `floor` to the timeline's own offset.

        Raises KeyError for an offset below `floor`.
        """
        return self._checks[offset]

    def position_of(self, entry: Entry) -> Position | None:
        """Return the position of an entry's last change; None when its check is no longer kept."""
        check = self._checks.get(entry.offset or 0)
        return Position(self.epoch, entry.offset or 0, check) if check else None

    def get(self, id: str) -> Entry | None:
        """Return an entry; for a deleted entry its tombstone, which has no content.

        Return None when the entry is not in the timeline; the store may still have the entry.
        """
        return self._records.get(id)

    def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        """Return the newest `limit` entries, the newest first, without deleted ones.

        With `before`, an offset, return only entries that were first published below this offset.
        """
        end = len(self._orders) if before is None else bisect_left(self._orders, before)
        return [self._at(order) for order in reversed(self._orders[max(0, end - limit) : end])]

    def page(self, limit: int, before: int | None = None) -> list[Entry] | None:
        """Return the entries that `newest` returns; None when the worker lacks some of them."""
        found = self.newest(limit, before)
        whole = not self.window or (len(found) == limit and (found[-1].order or 0) >= self.window)
        return found if whole else None

    def marked(self, mark: Literal["key", "pinned"], limit: int = MARKED_MAX) -> list[Entry]:
        """Return up to `limit` entries marked as `mark`, without deleted ones.

        Key entries are newest first; pinned ones have the order of `pins.rank`.
        """
        shown = (self._at(order) for order in reversed(self._orders))
        found = (entry for entry in shown if getattr(entry, mark))
        return sorted(found, key=rank)[:limit] if mark == "pinned" else list(islice(found, limit))

    def standing(self, position: Position) -> Standing:
        """Compare a reader's position with this timeline.

        "here": the position is in this history, so `changes` accepts the position's offset. "old":
        the offset is below `floor`. "unknown": the position has another epoch, another check, or an
        offset that the timeline has not reached; only the store can verify such a position.
        """
        if position.epoch != self.epoch or position.offset > self.offset:
            return "unknown"
        if position.offset < self.floor:
            return "old"
        return "here" if self._checks[position.offset] == position.check else "unknown"

    def changes(self, since: int) -> list[Record] | None:
        """Return the records changed after `since`, ascending by offset, in their current state.

        Return None when the reader must start over: `since` is below `floor` or ahead of the
        timeline, or more than MISSED_MAX entries changed.
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

    def apply(self, changes: Changes) -> Applying:
        """Move the timeline forward to the position of `changes`.

        Returns "applied"; "ignored" when the timeline has already reached that position; "gap" when
        the changes start after the timeline's offset or belong to another history; "foreign" when
        they have another epoch. Only "applied" alters the timeline.
        """
        if changes.position.epoch != self.epoch:
            return "foreign"
        if changes.position.offset <= self.offset:
            return "ignored"
        if changes.since > self.offset or not self._continues(changes):
            return "gap"
        for record in changes.records:
            if (record.offset or 0) > self.offset:  # older records are in the timeline already
                self._put(record)
        self._checks.extend(changes.since, changes.checks)
        self.offset = changes.position.offset
        self._note_position()
        if self.offset >= self._trim_at:
            self._trim()
        return "applied"

    def _continues(self, changes: Changes) -> bool:
        """Return whether `changes` belong to the history of this timeline.

        They do when `changes` have the same check at the timeline's offset as the timeline. A check
        is the fingerprint of all changes up to its offset, so equal checks mean equal histories.
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
            was = self._records.get(id)
            if was and was.order != record.order:  # one of the two records is damaged
                self._unlist(was.order or 0)
            self._records[id] = record
            self._list(record)

    def _list(self, entry: Entry) -> None:
        order = entry.order or 0
        if entry.deleted:
            self._unlist(order)
        elif order not in self._by_order:
            self._by_order[order] = entry.id
            insort(self._orders, order)

    def _unlist(self, order: int) -> None:
        if self._by_order.pop(order, None):
            del self._orders[bisect_left(self._orders, order)]

    def _at(self, order: int) -> Entry:
        return self._records[self._by_order[order]]

    def _marked_orders(self) -> list[int]:
        """Return the `order` of each of the newest MARKED_MAX pinned and key entries."""
        marked = (order for order in reversed(self._orders) if _is_marked(self._at(order)))
        return list(islice(marked, MARKED_MAX))

    def _trim(self) -> None:
        """Raise `floor`, and drop the entries and checks that are no longer needed.

        Keeps the newest WINDOW entries, the newest MARKED_MAX pinned and key entries, and the
        entries that changed after `floor`.
        """
        self._trim_at = self.offset + TRIM_EVERY
        self.floor = max(self.floor, self._base, self.offset - KEPT_CHANGES)
        self._checks.trim(self.floor)
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
            self._unlist(entry.order or 0)


def _text_bytes(entry: Entry) -> int:
    """Return the memory of an entry's long texts: 1, 2 or 4 bytes for each character."""
    return getsizeof(entry.body) + getsizeof(entry.body_html)


def _is_marked(entry: Entry) -> bool:
    return entry.key or entry.pinned
