"""The timeline, tested with the test cases of the browser's timeline, and with whole histories."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.sources import Past

from liveblog.blog import timeline as timelines
from liveblog.blog.model import BLOG_ID, Blog, Entry, Position
from liveblog.blog.timeline import Changes, Record, Snapshot, Timeline, id_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "timeline.json").read_text())

# -- the vectors -----------------------------------------------------------------------------------


def invented_check(epoch: str, offset: int) -> str:
    return hashlib.sha1(f"{epoch}.{offset}".encode()).hexdigest()[:8]


class Vector:
    """Holds a case of tests/vectors/timeline.json as objects; invents checks it does not state."""

    def __init__(self, case: dict[str, Any]) -> None:
        self._stated: dict[tuple[str, int], str] = {}
        texts = [case["start"]["position"]]
        texts += [step["frame"]["position"] for step in case["steps"] if "frame" in step]
        for text in texts:
            position = parse(text)
            self._stated.setdefault((position.epoch, position.offset), position.check)
        self.timeline = Timeline(self._snapshot(**case["start"]))

    def _checks(self, epoch: str, first: int, last: Position) -> str:
        """Return the joined checks of offsets `first` to `last`; invent those the case lacks."""
        offsets = range(first, last.offset)
        known = [self._stated.get((epoch, n)) or invented_check(epoch, n) for n in offsets]
        return "".join([*known, last.check])

    def _snapshot(self, position: str, changes: list[dict[str, Any]]) -> Snapshot:
        records = [record_of(change) for change in changes]
        blog = next(record for record in reversed(records) if isinstance(record, Blog))
        entries = [record for record in records if isinstance(record, Entry)]
        top = parse(position)
        return Snapshot(top, 0, 0, self._checks(top.epoch, 0, top), blog, entries)

    def changes(self, frame: dict[str, Any]) -> Changes:
        to = parse(frame["position"])
        records = [record_of(change) for change in frame["changes"]]
        checks = self._checks(to.epoch, frame["from"] + 1, to)
        return Changes(frame["from"], None, to, checks, records)


def parse(text: str) -> Position:
    position = Position.parse(text)
    assert position
    return position


def record_of(change: dict[str, Any]) -> Record:
    if change["op"] == "blog":
        return Blog(slug="s", title="t", status=change["status"], offset=change["offset"])
    numbers = {name: change[name] for name in ("id", "offset")}
    if change["op"] == "del":
        return Entry(**numbers, order=orders[change["id"]], deleted=True)
    orders[change["id"]] = change["order"]
    marks = {name: change[name] for name in ("order", "revision", "key", "pinned")}
    return Entry(**numbers, **marks, pin_order=change.get("pin_order"), status="published")


# The offset of each entry's first publication (`order`), by id. A deleted entry in the store has
# an order, but a `del` in the test cases states none.
orders: dict[str, int] = {}


def brief(records: list[Record] | None) -> str | list[list[Any]]:
    if records is None:
        return "reset"
    return [[op_of(record), id_of(record), record.offset] for record in records]


def op_of(record: Record) -> str:
    if isinstance(record, Blog):
        return "blog"
    return "del" if record.deleted else "put"


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: str(case["name"]))
def test_timeline_agrees_with_the_shared_vectors(case: dict[str, Any]) -> None:
    orders.clear()
    for change in everything(case):
        if change["op"] == "put":
            orders[change["id"]] = change["order"]
        elif change["op"] == "del":
            # A deletion states no order. Use its offset, unless a `put` of the entry states one.
            orders.setdefault(change["id"], change["offset"])
    vector = Vector(case)
    for step in case["steps"]:
        if "since" in step:
            assert brief(vector.timeline.changes(step["since"])) == step["gives"]
        else:
            assert vector.timeline.apply(vector.changes(step["frame"])) == step["outcome"]
    held = vector.timeline
    assert str(held.position) == case["end"]["position"]
    assert [[e.id, e.offset, e.order] for e in held.newest(1000)] == case["end"]["entries"]
    assert held.blog.offset == case["end"]["blog"]
    wanted = case["end"].get("pinned", [])
    assert [it.id for it in held.marked("pinned")] == wanted


def everything(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from case["start"]["changes"]
    for step in case["steps"]:
        yield from step.get("frame", {}).get("changes", [])


# -- comparing with a whole history ----------------------------------------------------------------


@contextmanager
def limits(sizes: dict[str, int]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in sizes.items():
            stack.enter_context(patch.object(timelines, name, value))
        yield


# Limits so small that a short history reaches all of them, and the real limits.
SMALL = {"WINDOW": 3, "MARKED_MAX": 2, "KEPT_CHANGES": 6, "MISSED_MAX": 4, "TRIM_EVERY": 2}
ROOMY = {name: getattr(timelines, name) for name in SMALL}


def assert_is(held: Timeline, past: Past) -> None:
    """Compare everything that a timeline returns with the whole history at its offset."""
    top = held.offset
    assert held.position == past.at(top)
    assert held.blog == past.state(top)[BLOG_ID]
    shown = past.entries(top)
    for limit in (1, 2, 3, 5, 50):
        for before in (None, *(entry.order for entry in shown)):
            page = held.page(limit, before)
            below = [e for e in shown if before is None or (e.order or 0) < before]
            assert page is None or page == below[:limit]
    newest = min(timelines.WINDOW, len(shown))
    if not any(deleted_within_window(past, top)):
        assert held.page(newest) == shown[:newest] or not newest
    assert_marked(held, shown)
    for since in range(held.floor, top + 1):
        assert_missed(held, past, since)
    assert held.changes(held.floor - 1) is None
    assert held.changes(top + 1) is None


def deleted_within_window(past: Past, top: int) -> Iterator[bool]:
    yield from (isinstance(r, Entry) and r.deleted for r in past.log[:top])


def assert_marked(held: Timeline, shown: list[Entry]) -> None:
    """Expect the newest MARKED_MAX key and pinned entries in order; older ones may be missing."""
    marked = [e for e in shown if e.key or e.pinned][: timelines.MARKED_MAX]
    assert [e for e in held.marked("key") if e in marked] == [e for e in marked if e.key]
    pinned = sorted((e for e in marked if e.pinned), key=by_pin)
    assert [e for e in held.marked("pinned") if e in marked] == pinned
    assert all(e in shown and e.key for e in held.marked("key"))
    assert all(e in shown and e.pinned for e in held.marked("pinned"))


def by_pin(entry: Entry) -> tuple[bool, float, int]:
    """Return the sort key of a pinned entry, as docs/streams.md states the order."""
    return entry.pin_order is None, entry.pin_order or 0, -(entry.order or 0)


def assert_missed(held: Timeline, past: Past, since: int) -> None:
    missed = held.changes(since)
    wanted = past.changes(since, held.offset).records
    entries = sum(isinstance(record, Entry) for record in wanted)
    assert missed == (wanted if entries <= timelines.MISSED_MAX else None)


# -- histories -------------------------------------------------------------------------------------

Happening = Callable[[Past, int], Any]


def one_of(choose: Callable[[Past], list[str]], act: Callable[[Past, str], Any]) -> Happening:
    """Return a step: it calls `act` with an id from `choose`, or does nothing if there is none."""

    def happen(past: Past, pick: int) -> None:
        ids = choose(past)
        if ids:
            act(past, ids[pick % len(ids)])

    return happen


def living(past: Past) -> list[str]:
    return [entry.id for entry in past.entries()]


def dead(past: Past) -> list[str]:
    return [id_of(r) for r in past.state().values() if isinstance(r, Entry) and r.deleted]


def pinned(past: Past) -> list[str]:
    return [entry.id for entry in past.entries() if entry.pinned]


def moved_to(number: int) -> Callable[[Past, str], Any]:
    """Return a step that gives a pin a number; equal numbers occur, and 0 stands for none."""
    return lambda past, id: past.pin(id, number / 2 if number else "last")


HAPPENINGS: dict[str, Happening] = {
    "publish": lambda past, _: past.publish(),
    "publish more": lambda past, _: past.publish(),
    "edit": one_of(living, lambda past, id: past.edit(id)),
    "pin": one_of(living, lambda past, id: past.pin(id, None if past.entry(id).pinned else "last")),
    "move a pin": lambda past, pick: one_of(pinned, moved_to(pick % 4))(past, pick // 4),
    "key": one_of(living, lambda past, id: past.edit(id, key=not past.entry(id).key)),
    "delete": one_of(living, lambda past, id: past.delete(id)),
    "restore": one_of(dead, lambda past, id: past.restore(id)),
    "header": lambda past, pick: past.header(title=f"t{pick}"),
}
happenings = st.tuples(st.sampled_from(sorted(HAPPENINGS)), st.integers(0, 30))


def make_past(history: list[tuple[str, int]]) -> Past:
    past = Past()
    for name, pick in history:
        HAPPENINGS[name](past, pick)
    return past


@given(st.lists(happenings, max_size=40), st.integers(1, 41))
def test_timeline_equals_the_state_when_loaded_at_any_position(
    history: list[tuple[str, int]], top: int
) -> None:
    past = make_past(history)
    for sizes in (SMALL, ROOMY):
        with limits(sizes):
            assert_is(Timeline(past.snapshot(min(top, past.top))), past)


deliveries = st.lists(
    st.one_of(
        happenings,
        st.tuples(
            st.just("message"), st.integers(0, 100)
        ),  # any message, at any time: in order, late, twice or never
        st.tuples(st.just("next message"), st.integers(0, 5)),
        st.tuples(st.just("release"), st.integers(0, 100)),  # one message of several changes
        st.tuples(st.just("read"), st.just(0)),  # a repair read…
        st.tuples(st.just("answer"), st.integers(0, 100)),  # the answer to a read, at any time
    ),
    max_size=60,
)


class Delivery:
    """Simulates a worker, its store, and a network that repeats, drops and reorders messages."""

    def __init__(self) -> None:
        self.past = Past()
        self.held = Timeline(self.past.snapshot())
        self.answers: list[Changes] = []

    def happen(self, name: str, pick: int) -> None:
        past, held = self.past, self.held
        if name == "message" and past.top > 1:
            self.take(past.message(*[2 + pick % (past.top - 1)] * 2))
        elif name == "next message" and held.offset < past.top:
            at = min(past.top, held.offset + 1 + pick // 3)  # sometimes one too far
            self.take(past.message(at, at))
        elif name == "release" and past.top > 1:
            first = 2 + pick % (past.top - 1)
            self.take(past.message(first, min(past.top, first + pick % 4)))
        elif name == "read":
            self.answers.append(past.changes(held.offset))
        elif name == "answer" and self.answers:
            self.take(self.answers[pick % len(self.answers)])
        elif name in HAPPENINGS:
            HAPPENINGS[name](past, pick)

    def take(self, changes: Changes) -> None:
        held, offset = self.held, self.held.offset
        outcome = held.apply(changes)
        fits = changes.since <= offset < changes.position.offset
        assert (outcome == "applied") == fits
        assert held.offset == (changes.position.offset if fits else offset)
        assert_is(held, self.past)
        assert held.apply(changes) == (
            "ignored" if held.offset >= changes.position.offset else "gap"
        )


@given(deliveries)
@settings(max_examples=150)
@example(
    [
        *[("publish", 0)] * 13,
        ("read", 0),
        *[("next message", 0)] * 12,
        ("answer", 0),  # reaches below the floor
    ]
)
def test_timeline_converges_when_messages_repeat_drop_and_reorder(
    steps: list[tuple[str, int]],
) -> None:
    for sizes in (SMALL, ROOMY):
        with limits(sizes):
            delivery = Delivery()
            for name, pick in steps:
                delivery.happen(name, pick)
            delivery.take(delivery.past.changes(delivery.held.offset))
            assert delivery.held.offset == delivery.past.top


@given(st.lists(happenings, max_size=40))
def test_changes_lead_to_the_top_from_every_offset(
    history: list[tuple[str, int]],
) -> None:
    past = make_past(history)
    held = Timeline(past.snapshot())
    for since in range(held.floor, past.top + 1):
        missed = held.changes(since)
        assert missed is not None
        offsets = [record.offset or 0 for record in missed]
        assert offsets == sorted(set(offsets))
        assert all(since < offset <= past.top for offset in offsets)
        assert len({id_of(record) for record in missed}) == len(missed)
        assert {**past.state(since), **{id_of(r): r for r in missed}} == past.state()


# -- rules, one by one -----------------------------------------------------------------------------


def published(count: int, **fields: Any) -> Past:
    past = Past()
    for _ in range(count):
        past.publish(**fields)
    return past


def test_apply_returns_gap_when_the_message_is_of_another_history() -> None:
    past = published(3)
    held = Timeline(past.snapshot())
    past.lose(1)
    past.publish()
    assert held.apply(past.publish()) == "gap"
    assert held.offset == 4


def test_apply_returns_gap_when_the_first_change_is_of_another_history() -> None:
    past = published(3)
    held = Timeline(past.snapshot())
    past.lose(2)
    message = past.release(4)
    before = held.position, held.newest(10)
    assert held.apply(message) == "gap"
    assert (held.position, held.newest(10)) == before


def test_apply_returns_gap_when_a_fork_has_overtaken_the_repair_read() -> None:
    past = published(2)
    held = Timeline(past.snapshot())
    at = held.offset
    assert held.apply(past.publish()) == "applied"
    # The store loses the applied change and gets two others. The answer to the read has these two,
    # so its offset is higher, but it does not continue what the timeline has.
    past.lose(1)
    past.publish()
    past.publish()
    assert held.apply(past.changes(at)) == "gap"


def test_apply_returns_foreign_when_the_epoch_is_another() -> None:
    past = published(3)
    held = Timeline(past.snapshot())
    rotation = past.rotate()
    assert held.apply(rotation) == "foreign"
    assert held.apply(past.message(past.top, past.top)) == "foreign"
    past.lose(1)
    assert held.position == past.position


def test_changes_start_no_lower_than_the_rotation() -> None:
    past = published(5)
    past.rotate()
    past.publish()
    held = Timeline(past.snapshot())
    assert held.floor == past.top - 1
    assert held.standing(past.at(past.top - 1)) == "here"
    assert held.standing(past.at(past.top - 2)) == "unknown"
    assert held.standing(Position(past.epoch, past.top - 2, past.checks[-3])) == "old"
    assert len(held.newest(10)) == 6
    for entry in past.entries():
        assert held.get(entry.id) == entry


def test_trim_keeps_the_floor_at_the_start_of_the_epoch() -> None:
    past = published(5)
    past.rotate()
    held = Timeline(past.snapshot())
    for _ in range(timelines.TRIM_EVERY + 1):
        held.apply(past.publish())
    assert held.floor == 7


def test_standing_returns_here_old_or_unknown() -> None:
    with limits({**SMALL, "KEPT_CHANGES": 3}):
        past = published(9)
        held = Timeline(past.snapshot())
        assert held.floor == 7
        assert [held.standing(past.at(n)) for n in (1, 6, 7, 10)] == ["old", "old", "here", "here"]
        top = past.position
        assert held.standing(top._replace(check="00000000")) == "unknown"
        assert held.standing(top._replace(offset=11)) == "unknown"
        assert held.standing(top._replace(epoch="other")) == "unknown"
        assert held.standing(Position("other", 1, top.check)) == "unknown"
        assert held.standing(Position(top.epoch, 0, "00000000")) == "old"


def test_changes_returns_none_when_more_than_200_entries_are_missed() -> None:
    past = published(timelines.MISSED_MAX + 1)
    held = Timeline(past.snapshot())
    missed = held.changes(2)
    assert missed is not None
    assert len(missed) == timelines.MISSED_MAX == 200
    assert held.changes(1) is None


def test_changes_does_not_count_the_header_as_an_entry() -> None:
    past = published(timelines.MISSED_MAX)
    past.header(status="ended")
    missed = Timeline(past.snapshot()).changes(1)
    assert missed is not None
    assert len(missed) == timelines.MISSED_MAX + 1


def test_changes_has_an_entry_once_when_it_was_edited_999_times() -> None:
    past = published(1)
    held = Timeline(past.snapshot())
    id = past.entries()[0].id
    for _ in range(999):
        held.apply(past.edit(id))
    assert held.changes(2) == [past.entry(id)]


@pytest.mark.parametrize("kept", [timelines.KEPT_CHANGES, timelines.KEPT_CHANGES - 1])
def test_changes_reaches_back_1000_offsets_after_a_load(kept: int) -> None:
    past = published(1)
    id = past.entries()[0].id
    for _ in range(kept - 1):
        past.edit(id)
    assert past.top == kept + 1
    held = Timeline(past.snapshot())
    assert held.floor == 1
    assert held.changes(1) == [past.entry(id)]
    past.edit(id)
    past.edit(id)
    held = Timeline(past.snapshot())
    assert held.floor == max(1, past.top - timelines.KEPT_CHANGES)


def test_trim_raises_the_floor_and_drops_what_is_below() -> None:
    past = published(10)
    held = Timeline(past.snapshot())
    for _ in range(timelines.KEPT_CHANGES + 3 * timelines.TRIM_EVERY):
        held.apply(past.publish())
        kept = held.offset - held.floor
        assert kept <= timelines.KEPT_CHANGES + timelines.TRIM_EVERY
        assert kept >= min(timelines.KEPT_CHANGES, held.offset - 1)
        held.check(held.floor)
        with pytest.raises(KeyError):
            held.check(held.floor - timelines.TRIM_EVERY)
    assert held.get(past.entries()[-1].id) is None


def test_page_returns_none_when_it_reaches_below_the_window() -> None:
    past = published(timelines.WINDOW + 50)
    held = Timeline(past.snapshot())
    shown = past.entries()
    assert held.page(timelines.WINDOW) == shown[: timelines.WINDOW]
    assert held.page(timelines.WINDOW + 1) is None
    assert held.page(20, before=shown[100].order) == shown[101:121]
    last = shown[timelines.WINDOW - 1].order
    assert held.page(1, before=last) is None


@pytest.mark.parametrize("mark", ["key", "pinned"])
def test_page_leaves_out_marked_entries_below_the_window(
    mark: Literal["key", "pinned"],
) -> None:
    with limits(SMALL):
        past = Past()
        past.publish(**{mark: True})
        for _ in range(9):
            past.publish()
        held = Timeline(past.snapshot())
        assert held.marked(mark) == past.entries()[-1:]
        assert held.page(3) == past.entries()[:3]
        assert held.page(4) is None
        assert held.page(1, before=past.entries()[2].order) is None


def test_page_returns_none_when_deletions_shorten_a_full_window() -> None:
    with limits(SMALL):
        past = published(10)
        held = Timeline(past.snapshot())
        held.apply(past.delete(past.entries()[0].id))
        assert held.page(2) == past.entries()[:2]
        assert held.page(3) is None


def test_page_has_an_end_when_all_entries_are_held() -> None:
    past = published(3)
    held = Timeline(past.snapshot())
    assert held.page(20) == past.entries()
    assert held.page(20, before=past.entries()[-1].order) == []


def test_restored_entry_returns_to_its_old_place() -> None:
    past = published(3)
    held = Timeline(past.snapshot())
    first, second, third = past.entries()
    held.apply(past.delete(second.id))
    assert held.newest(10) == [first, third]
    tomb = held.get(second.id)
    assert tomb
    assert tomb.deleted
    held.apply(past.restore(second.id))
    assert [e.order for e in held.newest(10)] == [first.order, second.order, third.order]
    assert held.changes(4) == [past.entry(second.id)]


def test_tombstone_stays_until_the_floor_passes_it() -> None:
    with limits(SMALL):
        past = published(3)
        held = Timeline(past.snapshot())
        id = past.entries()[0].id
        held.apply(past.delete(id))
        while held.floor < 5:
            assert held.get(id)
            held.apply(past.header())
        assert held.get(id) is None


def test_trim_drops_an_old_entry_when_its_pin_is_removed() -> None:
    with limits(SMALL):
        past = Past()
        past.publish(pinned=True)
        for _ in range(9):
            past.publish()
        held = Timeline(past.snapshot())
        id = past.entries()[-1].id
        held.apply(past.edit(id, pinned=False))
        assert held.marked("pinned") == []
        while held.floor < (past.entry(id).offset or 0):
            held.apply(past.header())
        held.apply(past.header())
        held.apply(past.header())
        assert held.get(id) is None


def test_position_of_returns_none_when_the_check_is_not_held() -> None:
    with limits(SMALL):
        past = published(10)
        held = Timeline(past.snapshot())
        assert held.position_of(past.entries()[0]) == past.position
        old = past.entries()[-1]
        assert held.position_of(old) is None


def test_replace_takes_the_state_of_another_epoch() -> None:
    past = published(3)
    held = Timeline(past.snapshot())
    past.lose(2)
    past.rotate()
    past.publish()
    held.replace(past.snapshot())
    assert_is(held, past)
    assert held.standing(past.position) == "here"
    assert [entry.id for entry in held.newest(10)] == [entry.id for entry in past.entries()]
