"""The hub against a store that the test plays: joining, fan-out, repair, waiting, beats, the end of
a blog.

All in virtual time: what takes a minute here takes none.
"""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest.mock import call, patch

import pytest
from kit.sources import (
    SLUG,
    Clock,
    FakeReader,
    FakeRender,
    FakeStore,
    Past,
    Wire,
    make_hub,
    running,
)
from kit.virtual import in_virtual_time
from kit.waiting import until

from liveblog.answer import CACHED_1_S, Answer
from liveblog.blog import timeline as timelines
from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown
from liveblog.live import budget as budgets
from liveblog.live import cache as caches
from liveblog.live import fanout as fanouts
from liveblog.live import loading as loadings
from liveblog.live import repair as repairs
from liveblog.live import watch as watches
from liveblog.live.blog import Live
from liveblog.live.frame import MISSED_BYTES_MAX
from liveblog.live.hub import Hub
from liveblog.live.roster import SLOTS


class Scene:
    """One blog with some entries, its store, and one worker that holds it."""

    def __init__(self, store: FakeStore, hub: Hub, live: Live) -> None:
        self.store, self.hub, self.live = store, hub, live

    @property
    def past(self) -> Past:
        return self.store.pasts[SLUG]

    @property
    def wire(self) -> Wire:
        return self.store.wires[0]

    def reader(
        self, since: Position | None = None, kind: type[FakeReader] = FakeReader, **how: Any
    ) -> FakeReader:
        """Let a reader join; from now on when no position is given."""
        reader = kind(**how)
        self.live.join(reader, since)
        return reader

    def tell(self, happen: Callable[..., Any], *what: Any, **fields: Any) -> None:
        """Let something happen in the blog and be announced."""
        self.store.announce(happen(*what, **fields))

    def repairs(self) -> int:
        return self.store.count("repair")


async def make_scene(entries: int = 3, clock: Clock | None = None, **header: Any) -> Scene:
    """Return a scene whose first repair, which follows every load, is over."""
    past = Past(**header)
    for _ in range(entries):
        past.publish()
    store = FakeStore(past)
    hub = make_hub(store, clock)
    live = await hub.live(SLUG)
    assert live
    await settle(hub)
    store.calls.clear()
    return Scene(store, hub, live)


async def settle(hub: Hub) -> None:
    """Wait until the hub has nothing in hand: no pass, no load, no repair."""
    await until(lambda: not hub._tasks)


def offsets(frame: dict[str, Any]) -> list[int]:
    return [change["offset"] for change in frame["changes"]]


def text(position: Position) -> str:
    return str(position)


# -- joining ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_without_since_a_reader_is_told_where_it_is_and_nothing_more() -> None:
    scene = await make_scene()
    reader = scene.reader()
    assert reader.frames == [
        {"t": "hello", "position": text(scene.past.position), "heartbeat_s": 20}
    ]


@in_virtual_time
async def test_who_missed_nothing_gets_hello_and_nothing_more() -> None:
    scene = await make_scene()
    assert scene.reader(scene.past.position).kinds() == ["hello"]


@in_virtual_time
async def test_what_a_reader_missed_follows_hello_at_once_as_one_changes() -> None:
    scene = await make_scene()
    since = scene.past.at(2)
    reader = scene.reader(since)
    hello, missed = reader.frames
    assert hello["position"] == text(since)
    assert (missed["t"], missed["from"]) == ("changes", 2)
    assert missed["position"] == text(scene.past.position)
    assert offsets(missed) == [3, 4]
    assert missed["changes"][0]["html"].startswith("<article>")


@in_virtual_time
async def test_as_data_is_given_the_apis_shapes() -> None:
    scene = await make_scene()
    scene.past.header(title="Final results")
    await scene.hub.close()
    scene = Scene(scene.store, make_hub(scene.store), scene.live)
    live = await scene.hub.live(SLUG)
    assert live
    scene.live = live
    (missed,) = scene.reader(scene.past.at(3), as_data=True).news()
    put, header = missed["changes"]
    assert put["entry"]["position"] == text(scene.past.at(4))
    assert put["entry"]["blog"] == SLUG
    assert header["blog"]["position"] == text(scene.past.at(5))
    assert header["blog"]["title"] == "Final results"
    assert not {"body", "publish_at", "summary"} & (put["entry"].keys() | header["blog"].keys())


@in_virtual_time
async def test_a_reader_who_joins_between_two_changes_gets_the_second() -> None:
    scene = await make_scene()
    scene.tell(scene.past.publish)  # the pass has not begun
    reader = scene.reader()
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert [offsets(frame) for frame in reader.news()] == [[6]]
    assert next(reader.news())["from"] == 5


@in_virtual_time
async def test_two_hundred_missed_are_sent_and_one_more_is_a_reset() -> None:
    scene = await make_scene(entries=201)
    (missed,) = scene.reader(scene.past.at(2)).news()
    assert len(missed["changes"]) == 200
    late = scene.reader(scene.past.at(1))
    assert late.kinds() == ["hello"]
    assert late.ended == (
        {"t": "reset", "position": text(scene.past.position), "after_ms": [0, 3000]},
        4005,
    )


@in_virtual_time
async def test_more_than_256_kib_missed_is_a_reset() -> None:
    scene = await make_scene()
    since = scene.past.position
    empty = len('{"op":"put","id":"e000000000000","offset":5,"order":5,"revision":1,"new":true,')
    empty += len('"key":false,"pinned":false,"html":"<article> UTC</article>"}')
    scene.tell(scene.past.publish, headline="x" * (MISSED_BYTES_MAX - empty))
    (missed,) = scene.reader(since).news()
    assert len(json.dumps(missed["changes"][0], separators=(",", ":"))) == MISSED_BYTES_MAX
    scene.tell(scene.past.publish, headline="")
    assert scene.reader(since).code == 4005
    assert next(scene.reader(scene.past.at(5)).news())["from"] == 5


@in_virtual_time
async def test_older_than_what_is_kept_is_a_reset() -> None:
    scene = await make_scene(entries=1)
    id = scene.past.entries()[0].id
    early = scene.past.position
    for _ in range(timelines.KEPT_CHANGES + timelines.TRIM_EVERY):
        scene.tell(scene.past.edit, id)
    floor = scene.live.timeline.floor
    assert floor > early.offset
    assert scene.reader(early).code == 4005
    assert scene.reader(scene.past.at(floor - 1)).code == 4005
    assert [offsets(f) for f in scene.reader(scene.past.at(floor)).news()] == [[scene.past.top]]


@in_virtual_time
async def test_readers_at_one_position_share_one_frame() -> None:
    scene = await make_scene()
    a, b = scene.reader(scene.past.at(2)), scene.reader(scene.past.at(2))
    data = scene.reader(scene.past.at(2), as_data=True)
    assert a.raw[1] is b.raw[1]
    for reader, has, lacks in ((a, "html", "entry"), (data, "entry", "html")):
        for change in next(reader.news())["changes"]:
            assert has in change
            assert lacks not in change


@in_virtual_time
async def test_what_is_too_much_is_found_out_once() -> None:
    scene = await make_scene(entries=201)
    render = scene.hub.render
    assert isinstance(render, FakeRender)
    timeline = scene.live.timeline
    with patch.object(timeline, "changes", wraps=timeline.changes) as tried:
        for _ in range(3):
            assert scene.reader(scene.past.at(1)).code == 4005
    assert tried.mock_calls == [call(1)]


# -- bringing everybody to the top -----------------------------------------------------------------


@in_virtual_time
async def test_a_change_is_encoded_once_and_the_same_bytes_go_to_everybody() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(50)]
    render = scene.hub.render
    assert isinstance(render, FakeRender)
    render.made.clear()
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert {id(reader.raw[-1]) for reader in readers} == {id(readers[0].raw[-1])}
    assert len(render.made) == 1
    assert scene.hub.counts.deliveries == 50


@in_virtual_time
async def test_an_entry_is_rendered_once_for_frames_and_pages_until_it_changes() -> None:
    scene = await make_scene()
    render, live = scene.hub.render, scene.live
    assert isinstance(render, FakeRender)
    render.made.clear()
    entry = live.timeline.newest(1)[0]
    live.frame(1, as_data=False)
    made = list(render.made)
    live.article(entry)
    assert render.made == made
    scene.tell(scene.past.edit, entry.id, headline="new")
    edited = live.timeline.newest(1)[0]
    assert "new" in live.article(edited)
    assert "new" not in live.article(entry)  # one that is not held is not taken for the one that is
    assert "new" in live.article(edited)
    assert render.made == [*made, entry.id, entry.id]
    scene.tell(scene.past.delete, entry.id)
    assert live.cache._articles.keys().isdisjoint({entry.id})


@in_virtual_time
async def test_so_many_rendered_entries_of_a_blog_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "ARTICLES_MAX", 2)
    scene = await make_scene()
    for _ in range(5):
        scene.tell(scene.past.publish)
        for entry in scene.live.timeline.newest(20):
            assert scene.live.article(entry)
            assert len(scene.live.cache._articles) <= 2


@in_virtual_time
async def test_after_a_change_nothing_encoded_before_it_is_given_out() -> None:
    scene = await make_scene()
    id = scene.past.entries()[0].id
    since = scene.past.at(2)
    scene.reader(since)
    scene.live.keep("page", Answer(b"a page", "text/html", CACHED_1_S))
    scene.tell(scene.past.delete, id)
    assert scene.live.kept("page") is None
    (missed,) = scene.reader(since).news()
    assert [(c["op"], c["offset"]) for c in missed["changes"]] == [("put", 3), ("del", 5)]
    scene.tell(scene.past.restore, id)
    scene.tell(scene.past.edit, id, headline="new")
    (missed,) = scene.reader(since).news()
    assert "new" in missed["changes"][1]["html"]


@in_virtual_time
async def test_the_cache_is_bounded_and_what_it_held_before_a_change_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await make_scene()
    monkeypatch.setattr(budgets, "CACHED_BYTES_MAX", 4_000)
    for _ in range(3):
        for since in (3, 2, 1):
            made = scene.live.frame(since, as_data=False)
            assert made
            kept = scene.live.frame(since, as_data=False) is made
            assert kept == (made.bytes_max <= 4_000)
            assert scene.hub.cache_budget.used() <= 4_000
        scene.tell(scene.past.edit, scene.past.entries()[0].id)
        assert scene.hub.cache_budget.used() == 0


@in_virtual_time
async def test_one_pass_at_a_time_brings_the_readers_of_a_blog() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(3)]
    for _ in range(3):
        scene.tell(scene.past.publish)
    assert len(scene.hub._tasks) == 1
    await settle(scene.hub)
    assert [offsets(f) for f in readers[0].news()] == [[5, 6, 7]]


@in_virtual_time
async def test_a_change_during_a_pass_raises_the_top_and_everybody_gets_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanouts, "LOOK_EVERY", 1)
    scene = await make_scene(clock=Clock(tick_s=0.0004))  # a pass yields every other reader
    early = [scene.reader() for _ in range(60)]
    scene.tell(scene.past.publish)
    await some_are_brought(early)
    assert 10 < sum(len(r.frames) > 1 for r in early) < 50
    joined = scene.reader()
    scene.tell(scene.past.publish)
    await asyncio.sleep(0)
    scene.tell(scene.past.publish)
    since_4 = scene.reader(scene.past.at(4))
    await settle(scene.hub)
    for reader in early:
        assert_brought(reader, 4, 7)
        assert 1 <= len(list(reader.news())) <= 3
    assert_brought(joined, 5, 7)
    assert_brought(since_4, 4, 7)
    assert {len(list(reader.news())) for reader in early} > {1}  # some were brought in one frame


async def some_are_brought(readers: list[FakeReader]) -> None:
    """Wait for the middle of a pass, turn by turn of the loop."""
    while sum(len(reader.frames) > 1 for reader in readers) < 20:  # noqa: ASYNC110
        await asyncio.sleep(0)  # any event to wait for would come after the pass


async def in_the_middle_of_a_pass() -> tuple[Scene, list[FakeReader]]:
    """Return ten readers of each slot, of whom some are brought to the top already."""
    scene = await make_scene(clock=Clock(tick_s=0.0004))
    readers = [scene.reader() for _ in range(10 * SLOTS)]
    scene.tell(scene.past.publish)
    await some_are_brought(readers)
    return scene, readers


def assert_brought(reader: FakeReader, start: int, top: int) -> None:
    """Expect frames that join without a hole or an overlap from `start` to `top`."""
    at = start
    for frame in reader.news():
        position = Position.parse(frame["position"])
        assert position
        assert frame["from"] == at
        assert offsets(frame) == list(range(at + 1, position.offset + 1))
        at = position.offset
    assert at == reader.offset == top


@in_virtual_time
async def test_a_pass_lets_others_run_about_every_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanouts, "LOOK_EVERY", 1)
    scene = await make_scene(clock=Clock(tick_s=0.0002))
    readers = [scene.reader() for _ in range(2 * SLOTS)]
    scene.tell(scene.past.publish)
    brought = 0
    while brought < len(readers):
        await asyncio.sleep(0)
        before, brought = brought, sum(len(r.frames) > 1 for r in readers)
        assert brought - before <= 1 + fanouts.SLICE_S / 0.0002


@in_virtual_time
async def test_who_leaves_during_a_pass_gets_nothing_more() -> None:
    scene, readers = await in_the_middle_of_a_pass()
    waiting = [r for r in readers if len(r.frames) == 1]
    assert len(waiting) > 10
    for reader in waiting:
        scene.live.leave(reader)
        scene.live.leave(reader)  # again is nothing
    await settle(scene.hub)
    assert all(len(r.frames) == 1 for r in waiting)
    assert scene.live.roster.count() == len(readers) - len(waiting)


@in_virtual_time
async def test_nobody_waits_for_a_stalled_reader_which_catches_up_in_one_frame() -> None:
    scene = await make_scene()
    stalled = scene.reader(stalled=True)
    others = [scene.reader() for _ in range(5)]
    for _ in range(4):
        scene.tell(scene.past.publish)
        await settle(scene.hub)
    assert all(len(list(other.news())) == 4 for other in others)
    assert stalled.kinds() == ["hello"]
    stalled.drain()
    assert [(f["from"], offsets(f)) for f in stalled.news()] == [(4, [5, 6, 7, 8])]


@in_virtual_time
async def test_a_stalled_reader_who_missed_too_much_is_reset_when_it_drains() -> None:
    scene = await make_scene()
    stalled = scene.reader(stalled=True)
    for _ in range(201):
        scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert stalled.code is None
    stalled.drain()
    assert stalled.code == 4005
    assert scene.live.roster.count() == 0


@in_virtual_time
async def test_a_reader_who_drains_after_leaving_gets_nothing() -> None:
    scene = await make_scene()
    stalled = scene.reader(stalled=True)
    scene.tell(scene.past.publish)
    scene.live.leave(stalled)
    stalled.drain()
    assert stalled.kinds() == ["hello"]


# -- what messages cannot tell ---------------------------------------------------------------------


@in_virtual_time
async def test_a_message_that_was_lost_is_made_good_by_the_next_one() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.past.publish()  # lost
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert [offsets(f) for f in reader.news()] == [[5, 6]]
    assert scene.repairs() == 1


@in_virtual_time
async def test_a_message_that_was_lost_is_found_by_comparing_heads() -> None:
    scene = await make_scene()
    reader = scene.reader()
    async with running(scene.hub):
        await asyncio.sleep(2.5)
        scene.past.publish()  # lost
        assert not scene.repairs()
        await asyncio.sleep(watches.HEADS_EVERY_S)
        assert [offsets(f) for f in reader.news()] == [[5]]
        await asyncio.sleep(10 * watches.HEADS_EVERY_S)
    assert scene.repairs() == 1


@in_virtual_time
async def test_a_repeated_or_late_message_costs_nothing() -> None:
    scene = await make_scene()
    reader = scene.reader()
    message = scene.past.publish()
    late = scene.past.publish()
    for changes in (message, message, late, message, late):
        scene.live.receive(changes)
    await settle(scene.hub)
    assert [offsets(f) for f in reader.news()] == [[5, 6]]
    assert not scene.repairs()


@in_virtual_time
async def test_after_every_subscription_and_every_senseless_message_the_state_is_read() -> None:
    scene = await make_scene()
    scene.past.publish()
    scene.hub.resubscribed(SLUG)
    await settle(scene.hub)
    assert (scene.repairs(), scene.live.position) == (1, scene.past.position)
    scene.past.publish()
    scene.hub.receive(SLUG, None)
    await settle(scene.hub)
    assert (scene.repairs(), scene.live.position) == (2, scene.past.position)
    scene.hub.resubscribed("another")
    scene.hub.receive("another", scene.past.publish())
    assert not scene.hub._tasks


@in_virtual_time
async def test_messages_during_a_repair_are_applied_after_it_and_no_second_read_begins() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    reader = scene.reader()
    scene.past.publish()  # lost
    scene.tell(scene.past.publish)
    await asyncio.sleep(0.6)  # the store has read, the answer is on its way
    scene.tell(scene.past.publish)
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert scene.live.position == scene.past.position
    assert_brought(reader, 4, 8)
    assert scene.repairs() == 1


@in_virtual_time
async def test_more_messages_during_a_repair_than_are_held_only_mean_another_repair() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    scene.past.publish()  # lost
    scene.tell(scene.past.publish)
    await asyncio.sleep(0.6)
    for _ in range(repairs.QUEUED_MAX + 1):
        scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert scene.live.position == scene.past.position
    assert scene.repairs() == 2


@in_virtual_time
async def test_a_repair_is_tried_until_the_store_is_back() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.store.is_down = True
    scene.past.publish()
    scene.live.repair()
    await asyncio.sleep(60)
    assert 20 < scene.repairs() < 60
    assert reader.kinds() == ["hello"]
    scene.store.is_down = False
    await asyncio.sleep(2.1)
    assert [offsets(f) for f in reader.news()] == [[5]]


@in_virtual_time
async def test_a_longer_absence_than_a_repair_tells_is_a_reload_in_the_same_epoch() -> None:
    scene = await make_scene()
    edited = scene.past.entries()[0].id
    reader, stalled = scene.reader(), scene.reader(stalled=True)
    for _ in range(501):
        scene.past.edit(edited)
    scene.hub.resubscribed(SLUG)
    await settle(scene.hub)
    assert scene.store.count("load") == 1
    assert [offsets(f) for f in reader.news()] == [[505]]
    stalled.drain()
    assert [f["from"] for f in stalled.news()] == [4]


@in_virtual_time
async def test_a_reload_that_messages_have_overtaken_does_not_take_the_timeline_back() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    messages = [scene.past.publish() for _ in range(501)]
    scene.hub.resubscribed(SLUG)
    await until(lambda: scene.store.count("load"))
    await asyncio.sleep(0.6)  # the snapshot is read, and on its way
    last = scene.past.publish()
    for message in (*messages, last):  # pub/sub was only slow
        scene.live.receive(message)
    assert scene.live.position == scene.past.position
    reader = scene.reader(scene.past.position)
    with patch.object(scene.live.timeline, "replace") as replaced:
        await settle(scene.hub)
    assert not replaced.called
    assert reader.kinds() == ["hello"]
    assert reader.code is None


@in_virtual_time
async def test_what_pub_sub_lost_while_a_blog_was_loaded_again_is_read_after_it() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    scene.past.rotate()
    scene.hub.resubscribed(SLUG)
    await until(lambda: scene.store.count("load"))
    await asyncio.sleep(0.75)  # the snapshot is read, and on its way
    scene.past.publish()
    await settle(scene.hub)
    assert scene.live.position == scene.past.position


@in_virtual_time
async def test_an_answer_of_another_history_than_the_message_before_it_is_asked_for_again() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    reader = scene.reader()
    scene.hub.resubscribed(SLUG)
    scene.tell(scene.past.publish)  # of a primary that fails before anything is copied
    scene.past.lose(1)
    scene.past.publish()
    scene.past.publish()
    await settle(scene.hub)
    assert scene.live.position == scene.past.position
    assert reader.code == 4005
    assert [e.id for e in scene.live.timeline.newest(9)] == [e.id for e in scene.past.entries()]


# -- forks, rotations, a lost store ----------------------------------------------------------------


@in_virtual_time
async def test_a_fork_rotates_once_and_resets_the_readers_of_every_worker() -> None:
    scene = await make_scene()
    other = make_hub(scene.store)
    live = await other.live(SLUG)
    assert live
    readers = [scene.reader(), scene.reader(stalled=True), FakeReader()]
    live.join(readers[2], None)
    before = scene.past.epoch
    scene.past.lose(1)
    async with running(scene.hub, other):
        await until(lambda: all(reader.ended for reader in readers))
        await asyncio.sleep(5)
    assert scene.past.epoch != before
    assert scene.past.top == 4  # three were left, and the rotation is a change
    assert live.position == scene.live.position == scene.past.position
    for reader in readers:
        assert reader.ended == (
            {"t": "reset", "position": text(scene.past.position), "after_ms": [0, 3000]},
            4005,
        )
    assert scene.live.roster.count() == live.roster.count() == 0


@in_virtual_time
async def test_numbers_that_are_given_a_second_time_are_a_fork() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.past.lose(1)
    scene.past.publish()
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert scene.past.top == 6
    assert reader.code == 4005
    assert scene.live.position == scene.past.position
    assert scene.store.count("rotate") == 1


@in_virtual_time
async def test_a_rotation_that_an_editor_caused_resets_readers_and_rotates_nothing() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.tell(scene.past.rotate, timezone="Europe/Paris")
    await settle(scene.hub)
    assert reader.ended
    assert reader.ended[0] == {
        "t": "reset",
        "position": text(scene.past.position),
        "after_ms": [0, 3000],
    }
    assert scene.store.count("rotate") == 0
    again = scene.reader(scene.past.position)
    scene.tell(scene.past.edit, scene.past.entries()[0].id)
    await settle(scene.hub)
    (frame,) = again.news()
    assert "Europe/Paris" in frame["changes"][0]["html"]


@in_virtual_time
async def test_nothing_rendered_before_a_new_zone_is_given_out_after_it() -> None:
    scene = await make_scene()
    scene.reader(scene.past.at(1))  # all is encoded
    scene.tell(scene.past.rotate, timezone="Europe/Paris")
    id = scene.past.entries()[0].id
    since = scene.past.position
    scene.tell(scene.past.edit, id, revision=1)
    await settle(scene.hub)
    (frame,) = scene.reader(since).news()
    assert "Europe/Paris" in frame["changes"][0]["html"]


@in_virtual_time
async def test_a_store_that_lacks_the_blog_is_lost_and_the_worker_keeps_serving() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.store.lacks.add(SLUG)
    async with running(scene.hub):
        await until(lambda: scene.live.lost)
        await asyncio.sleep(30)
        assert await scene.hub.live(SLUG) is scene.live
        late = scene.reader(scene.past.at(2))
        assert [offsets(f) for f in late.news()] == [[3, 4]]
        assert "beat" in reader.kinds()
        scene.store.lacks.clear()
        scene.past.publish()  # its message is lost
        await until(lambda: not scene.live.lost)
        await asyncio.sleep(1)
    assert [offsets(f) for f in reader.news()] == [[5]]
    assert reader.code is None


@in_virtual_time
async def test_a_store_that_loses_the_blog_between_two_questions_is_lost_too() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.past.rotate()
    scene.store.latency_s = lambda: 0.5
    scene.hub.resubscribed(SLUG)
    await asyncio.sleep(0.9)  # "moved" is on its way
    scene.store.lacks.add(SLUG)
    await settle(scene.hub)
    assert scene.live.lost
    assert reader.code is None


@in_virtual_time
async def test_a_store_that_comes_back_with_less_is_a_fork() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.store.lacks.add(SLUG)
    async with running(scene.hub):
        await until(lambda: scene.live.lost)
        scene.past.lose(2)
        scene.store.lacks.clear()
        await until(lambda: reader.ended)
    assert scene.live.position == scene.past.position
    assert not scene.live.lost


# -- readers who wait for the store ----------------------------------------------------------------

CLAIMS: dict[str, Callable[[Position], Position]] = {
    "another epoch": lambda top: top._replace(epoch="other"),
    "an offset ahead": lambda top: top._replace(offset=top.offset + 1),
    "another check": lambda top: top._replace(check="00000000"),
    "another check at an earlier offset": lambda top: Position(top.epoch, 2, "00000000"),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@in_virtual_time
async def test_who_claims_what_the_store_denies_gets_hello_and_then_a_reset(
    claim: Callable[[Position], Position],
) -> None:
    scene = await make_scene()
    others = scene.reader()
    since = claim(scene.past.position)
    reader = scene.reader(since)
    assert reader.frames == [{"t": "hello", "position": text(since), "heartbeat_s": 20}]
    await until(lambda: reader.ended)
    assert reader.kinds() == ["hello"]
    assert reader.ended
    assert reader.ended[0] == {
        "t": "reset",
        "position": text(scene.past.position),
        "after_ms": [0, 3000],
    }
    assert scene.repairs() == 1
    assert scene.store.count("rotate") == 0
    assert others.code is None


@in_virtual_time
async def test_who_is_ahead_of_a_worker_that_lost_a_message_gets_the_rest() -> None:
    scene = await make_scene()
    scene.past.publish()  # lost
    since = scene.past.position
    scene.past.publish()
    reader = scene.reader(since)
    await settle(scene.hub)
    await until(lambda: len(reader.frames) > 1)
    assert [(f["from"], offsets(f)) for f in reader.news()] == [(5, [6])]


@in_virtual_time
async def test_who_is_ahead_is_let_on_by_the_message_itself() -> None:
    scene = await make_scene()
    message = scene.past.publish()
    scene.store.latency_s = lambda: 1000.0
    reader = scene.reader(scene.past.position)
    scene.live.receive(message)
    scene.tell(scene.past.publish)
    await until(lambda: len(reader.frames) > 1)
    assert_brought(reader, 5, 6)


@in_virtual_time
async def test_who_comes_with_the_epoch_of_a_rotation_not_yet_heard_of_gets_on() -> None:
    scene = await make_scene()
    old = scene.reader()
    scene.past.rotate()
    since = scene.past.position
    scene.past.publish()
    reader = scene.reader(since)
    await until(lambda: len(reader.frames) > 1)
    assert_brought(reader, 5, 6)
    assert old.code == 4005
    assert reader.code is None


@in_virtual_time
async def test_while_the_store_is_away_who_must_be_judged_waits_with_null_beats() -> None:
    scene = await make_scene()
    scene.store.is_down = True
    readers = [scene.reader(claim(scene.past.position)) for claim in CLAIMS.values()]
    async with running(scene.hub):
        await asyncio.sleep(120)
        for reader in readers:
            hello, *beats = reader.frames
            assert hello["t"] == "hello"
            assert len(beats) >= 6
            assert {(beat["t"], beat["position"]) for beat in beats} == {("beat", None)}
            assert reader.code is None
        scene.store.is_down = False
        await until(lambda: all(reader.code == 4005 for reader in readers))
    assert scene.live.roster.count() == 0


@in_virtual_time
async def test_while_the_store_lacks_the_blog_nobody_is_judged() -> None:
    scene = await make_scene()
    scene.past.publish()  # lost to this worker, known to another
    reader = scene.reader(scene.past.position)
    scene.store.lacks.add(SLUG)
    async with running(scene.hub):
        await asyncio.sleep(30)
        assert reader.code is None
        assert {f["position"] for f in reader.frames if f["t"] == "beat"} == {None}
        scene.store.lacks.clear()
        scene.past.publish()
        await until(lambda: list(reader.news()))
    assert_brought(reader, 5, 6)


@in_virtual_time
async def test_a_read_that_began_before_a_reader_came_does_not_judge_it() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    scene.live.repair()
    await asyncio.sleep(0.75)  # the store has answered: no fifth change
    scene.past.publish()  # lost
    reader = scene.reader(scene.past.position)
    await settle(scene.hub)
    assert reader.code is None
    await asyncio.sleep(3)
    assert reader.code is None
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert_brought(reader, 5, 6)


@in_virtual_time
async def test_readers_claims_cost_at_most_one_repair_read_a_second() -> None:
    scene = await make_scene()
    for i in range(100):
        scene.reader(Position(f"forged{i}", 5, "00000000"))
        await asyncio.sleep(0.05)
    times = scene.store.times("repair")
    assert 5 <= len(times) <= 6
    assert min(b - a for a, b in pairwise(times)) > 0.999
    await until(lambda: not scene.live.roster.waiting)


@in_virtual_time
async def test_who_leaves_while_waiting_is_forgotten() -> None:
    scene = await make_scene()
    reader = scene.reader(Position("forged", 5, "00000000"))
    scene.live.leave(reader)
    await asyncio.sleep(3)
    assert (reader.code, reader.kinds()) == (None, ["hello"])
    assert scene.live.roster.count() == 0


@in_virtual_time
async def test_a_waiting_reader_whose_socket_is_full_gets_on_when_it_drains() -> None:
    scene = await make_scene()
    scene.past.publish()
    reader = scene.reader(scene.past.position, stalled=True)
    scene.past.publish()
    scene.store.is_down = True
    async with running(scene.hub):
        await asyncio.sleep(20)
        scene.store.is_down = False
        await asyncio.sleep(20)
    assert reader.kinds() == ["hello"]
    reader.drain()
    assert_brought(reader, 5, 6)


# -- callers who wait for the store ----------------------------------------------------------------


@in_virtual_time
async def test_confirm_waits_for_a_read_that_begins_after_it() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.2
    scene.live.repair()
    await asyncio.sleep(0.3)
    scene.past.publish()  # too late for the read under way
    await scene.live.confirm(1.0)
    assert scene.live.position == scene.past.position
    assert scene.repairs() == 2


@in_virtual_time
async def test_confirm_costs_at_most_one_read_a_second_and_waits_for_its_turn() -> None:
    scene = await make_scene()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(3):
        await scene.live.confirm(1.0)
    assert 2 <= loop.time() - begun <= 2.1
    begun = loop.time()
    await asyncio.gather(*(scene.live.confirm(1.0) for _ in range(20)))
    assert loop.time() - begun <= 1.1
    assert scene.repairs() == 4


@in_virtual_time
async def test_confirm_fails_when_the_store_does_not_answer_in_time_and_leaves_nothing_behind() -> (
    None
):
    scene = await make_scene()
    scene.store.is_down = True
    with pytest.raises(StoreDown):
        await scene.live.confirm(1.0)
    assert asyncio.get_running_loop().time() < 3
    assert not scene.live.repairs._confirming


@in_virtual_time
async def test_confirm_of_a_blog_that_the_store_lacks_ends() -> None:
    scene = await make_scene()
    scene.store.lacks.add(SLUG)
    await scene.live.confirm(1.0)
    assert scene.live.lost


# -- beats -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_who_is_at_the_top_hears_something_at_least_every_heartbeat() -> None:
    scene = await make_scene()
    readers = []
    for _ in range(2 * SLOTS):
        readers.append(scene.reader())
        await asyncio.sleep(0.37)
    heard: dict[int, list[float]] = {i: [] for i in range(len(readers))}
    async with running(scene.hub):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 200:
            await asyncio.sleep(0.1)
            for i, reader in enumerate(readers):
                if len(reader.frames) > len(heard[i]) + 1:
                    heard[i].append(loop.time())
    for times in heard.values():
        gaps = [b - a for a, b in pairwise([begun, *times])]
        assert max(gaps) <= 20
        assert min(gaps[1:]) >= 18  # and not much more often
    (beat,) = {json.dumps(f) for f in readers[0].frames[-1:]}
    assert json.loads(beat)["position"] == text(scene.past.position)
    assert json.loads(beat)["now"].startswith("1970-01-01T00:0")


@in_virtual_time
async def test_no_beat_for_who_is_below_the_top_or_stalled() -> None:
    scene = await make_scene()
    behind, below, top = scene.reader(stalled=True), scene.reader(), scene.reader()
    scene.live.timeline.apply(scene.past.publish())  # the pass has not come to them
    top.offset = scene.past.top
    for slot in range(SLOTS):
        scene.live.beats.send(slot, "2026-11-22T14:05:00.000Z")
    assert (behind.kinds(), below.kinds()) == (["hello"], ["hello"])
    assert top.frames[1:] == [
        {"t": "beat", "position": text(scene.past.position), "now": "2026-11-22T14:05:00.000Z"}
    ]


@in_virtual_time
async def test_a_beat_during_a_pass_comes_when_all_are_at_the_top() -> None:
    scene, readers = await in_the_middle_of_a_pass()
    scene.live.beats.send(0, None)
    assert all("beat" not in reader.kinds() for reader in readers)
    await settle(scene.hub)
    beaten = [reader for reader in readers if "beat" in reader.kinds()]
    assert [reader.kinds() for reader in beaten] == [["hello", "changes", "beat"]] * 10


@in_virtual_time
async def test_a_beat_waits_for_the_next_one_at_most_however_long_a_pass_takes() -> None:
    scene, readers = await in_the_middle_of_a_pass()
    brought = [reader for reader in readers if "changes" in reader.kinds()]
    first, second = (next(r for r in brought if r.slot == slot) for slot in (1, 2))
    scene.live.beats.send(1, None)
    scene.live.beats.send(2, None)
    assert [reader.kinds()[2:] for reader in (first, second)] == [["beat"], []]
    scene.live.beats.send(3, None)
    assert second.kinds()[2:] == ["beat"]
    await settle(scene.hub)
    assert [reader.kinds()[2:] for reader in (first, second)] == [["beat"], ["beat"]]


@in_virtual_time
async def test_beats_are_spread_over_the_interval() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(5 * SLOTS)]
    for slot in range(SLOTS):
        scene.live.beats.send(slot, None)
        assert sum(len(reader.frames) > 1 for reader in readers) == 5 * (slot + 1)


# -- behind ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_reader_that_is_behind_is_not_looked_at_until_it_drains() -> None:
    scene = await make_scene()
    reader = scene.reader(stalled=True)
    assert (list(scene.live.roster.followers), list(scene.live.roster.behind)) == ([], [reader])
    for _ in range(3):
        scene.tell(scene.past.publish)
        await settle(scene.hub)
    assert reader.kinds() == ["hello"]
    reader.drain()
    assert_brought(reader, 4, 7)
    assert [offsets(f) for f in reader.news()] == [[5, 6, 7]]
    assert (list(scene.live.roster.followers), list(scene.live.roster.behind)) == ([reader], [])


@in_virtual_time
async def test_who_returns_to_the_same_position_shares_one_encoding() -> None:
    scene = await make_scene()
    readers = [scene.reader(stalled=True) for _ in range(5)]
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    for reader in readers:
        reader.drain()
    assert len({id(reader.raw[-1]) for reader in readers}) == 1
    late = scene.reader(scene.past.at(4))
    assert late.raw[-1] is readers[0].raw[-1]


@in_virtual_time
async def test_a_reader_whose_socket_takes_nothing_for_45_s_is_freed() -> None:
    scene = await make_scene()
    stalled, slow = scene.reader(stalled=True), scene.reader(stalled=True)
    async with running(scene.hub):
        await asyncio.sleep(30)
        slow.drain()
        await asyncio.sleep(10)
        assert stalled.code is None
        await asyncio.sleep(7)
        assert [stalled.code, slow.code] == [1006, None]
    assert scene.live.roster.count() == 1
    assert (scene.hub.held_budget.bytes, scene.hub.counts.stalled) == (0, 1)


@in_virtual_time
async def test_over_the_limit_of_held_bytes_the_longest_behind_go_first() -> None:
    past = Past()
    store = FakeStore(past)
    hub = make_hub(store, held_bytes_max=200)
    live = await hub.live(SLUG)
    assert live
    await settle(hub)
    readers = []
    for _ in range(4):
        readers.append(FakeReader(stalled=True))
        live.join(readers[-1], None)
        await asyncio.sleep(1)
        assert hub.held_budget.bytes <= 200
    hello = len(readers[0].raw[0])
    kept = 200 // hello
    assert [r.code for r in readers] == [1006] * (4 - kept) + [None] * kept
    for reader in readers[-kept:]:
        reader.drain()
    assert hub.held_budget.bytes == 0


async def test_positions_that_are_only_claimed_do_not_fill_the_cache() -> None:
    scene = await make_scene()
    scene.reader()
    before = scene.hub.cache_budget.used()
    for offset in range(20):
        scene.live.join(FakeReader(), Position("other", offset, "c" * 8))
    assert scene.hub.cache_budget.used() == before


@in_virtual_time
async def test_a_reader_freed_at_its_very_hello_waits_for_nothing() -> None:
    past = Past()
    past.publish()
    hub = make_hub(FakeStore(past), held_bytes_max=10)
    live = await hub.live(SLUG)
    assert live
    await settle(hub)
    reader = FakeReader(stalled=True)
    live.join(reader, past.position._replace(epoch="other"))
    assert reader.code == 1006
    assert (live.roster.count(), live.roster.waiting, hub.held_budget.bytes) == (0, set(), 0)


class AnsweringReader(FakeReader):
    answers_pings = True


@in_virtual_time
async def test_a_reader_from_whose_end_nothing_comes_is_freed_and_one_that_answers_stays() -> None:
    scene = await make_scene()
    dead, alive = scene.reader(kind=AnsweringReader), scene.reader(kind=AnsweringReader)
    deaf = scene.reader()
    async with running(scene.hub):
        for seconds in range(81):
            alive.unheard = 0
            assert dead.code is None or seconds >= 40
            await asyncio.sleep(1)
    assert (dead.code, alive.code, deaf.code) == (1006, None, None)
    assert scene.hub.counts.unheard == 1


# -- the end of a blog -----------------------------------------------------------------------------


@in_virtual_time
async def test_readers_of_a_blog_that_ends_get_the_last_changes_and_leave_after_a_minute() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(200)]
    async with running(scene.hub):
        await asyncio.sleep(10)
        scene.tell(scene.past.header, status="ended")
        await asyncio.sleep(30)
        scene.tell(scene.past.edit, scene.past.entries()[0].id)
        await asyncio.sleep(29.9)
        assert not any(reader.ended for reader in readers)
        for _ in range(14):
            gone = scene.live.roster.count()
            await asyncio.sleep(1)
            assert gone - scene.live.roster.count() <= 40  # paced
    for reader in readers:
        assert reader.ended == (None, 4510)
        assert [offsets(f) for f in reader.news()] == [[5], [6]]


@in_virtual_time
async def test_opening_again_within_the_minute_keeps_the_readers() -> None:
    scene = await make_scene()
    reader = scene.reader()
    async with running(scene.hub):
        scene.tell(scene.past.header, status="ended")
        await asyncio.sleep(55)
        scene.tell(scene.past.header, status="live")
        await asyncio.sleep(300)
        assert reader.code is None
        scene.tell(scene.past.header, status="ended")
        await asyncio.sleep(55)
        assert reader.code is None
        await asyncio.sleep(20)
    assert reader.code == 4510


@in_virtual_time
async def test_stalled_readers_do_not_keep_the_others_of_an_ended_blog() -> None:
    scene = await make_scene()
    stalled = [scene.reader() for _ in range(10)]
    others = [scene.reader() for _ in range(100)]
    async with running(scene.hub):
        scene.tell(scene.past.header, status="ended")
        await asyncio.sleep(50)
        for reader in stalled:
            reader.stalled = True
        scene.tell(scene.past.header, title="Over")
        await asyncio.sleep(25)
        assert all(reader.code == 4510 for reader in others)
        assert not any(reader.ended for reader in stalled)
        for reader in stalled:
            reader.drain()
    assert all(reader.code == 4510 for reader in stalled)
    assert [offsets(f) for f in stalled[0].news()] == [[5], [6]]


@in_virtual_time
async def test_a_change_just_before_the_close_of_an_ended_blog_is_still_sent() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(SLOTS)]
    scene.tell(scene.past.header, status="ended")
    await asyncio.sleep(60)
    scene.tell(scene.past.edit, scene.past.entries()[0].id)  # its pass has not begun
    for _ in range(SLOTS):
        scene.live.ending.close_some()
    assert {reader.code for reader in readers} == {4510}
    for reader in readers:
        assert [offsets(f) for f in reader.news()] == [[5], [6]]


@in_virtual_time
async def test_who_joins_an_ended_blog_gets_hello_what_it_missed_and_leaves() -> None:
    scene = await make_scene(status="ended")
    with_nothing_missed = scene.reader(scene.past.position)
    assert (with_nothing_missed.kinds(), with_nothing_missed.ended) == (["hello"], (None, 4510))
    without_since = scene.reader()
    assert (without_since.kinds(), without_since.code) == (["hello"], 4510)
    with_something = scene.reader(scene.past.at(2))
    assert (with_something.kinds(), with_something.code) == (["hello", "changes"], 4510)
    assert scene.reader(Position(scene.past.epoch, 0, "00000000")).code == 4005
    wrong = scene.reader(Position("forged", 1, "00000000"))
    await until(lambda: wrong.code == 4005)
    assert scene.live.roster.count() == 0


@in_virtual_time
async def test_a_slow_reader_of_an_ended_blog_leaves_when_it_has_taken_what_it_missed() -> None:
    scene = await make_scene(status="ended")
    reader = scene.reader(scene.past.at(2), stalled=True)
    assert reader.code is None
    assert reader.kinds() == ["hello"]
    reader.drained()  # its socket took hello, and is full of what it missed now
    assert (reader.kinds(), reader.code) == (["hello", "changes"], None)
    reader.drain()
    assert reader.ended == (None, 4510)


@in_virtual_time
async def test_a_slow_reader_of_a_blog_that_is_opened_again_stays() -> None:
    scene = await make_scene(status="ended")
    reader = scene.reader(scene.past.at(2), stalled=True)
    scene.tell(scene.past.header, status="live")
    await settle(scene.hub)
    reader.drain()
    assert_brought(reader, 2, 5)
    scene.tell(scene.past.publish)
    await settle(scene.hub)
    assert_brought(reader, 2, 6)
    assert reader.code is None


@in_virtual_time
async def test_a_blog_set_back_to_draft_sends_everybody_away_for_good() -> None:
    scene = await make_scene()
    readers = [scene.reader(), scene.reader(stalled=True)]
    scene.store.latency_s = lambda: 5.0
    waiting = scene.reader(Position("forged", 5, "00000000"))
    scene.tell(scene.past.header, status="draft", title="Not to be seen")
    await asyncio.sleep(1)
    for reader in (*readers, waiting):
        assert reader.ended == ({"t": "bye", "after_ms": None, "why": "gone"}, 4504)
        assert reader.kinds() == ["hello"]
    assert await scene.hub.live(SLUG) is None
    late = FakeReader()
    scene.live.join(late, None)
    assert (late.kinds(), late.code) == ([], 4504)
    scene.tell(scene.past.header, status="live")
    assert await scene.hub.live(SLUG) is scene.live


@in_virtual_time
async def test_who_waited_for_a_change_that_makes_the_blog_a_draft_never_sees_it() -> None:
    scene = await make_scene()
    message = scene.past.header(status="draft", title="Not to be seen")
    reader = scene.reader(scene.past.position)  # of a worker that had it already
    early = scene.reader(scene.past.at(2))
    scene.live.receive(message)
    await asyncio.sleep(3)
    for gone in (reader, early):
        assert gone.code == 4504
    assert reader.kinds() == ["hello"]


# -- which blogs are held --------------------------------------------------------------------------


def blogs(count: int, **rules: Any) -> tuple[FakeStore, Hub]:
    store = FakeStore(*(Past(f"b{i}") for i in range(count)))
    return store, make_hub(store, **rules)


@in_virtual_time
async def test_callers_share_one_load() -> None:
    store, hub = blogs(1)
    found = await asyncio.gather(*(hub.live("b0") for _ in range(20)))
    assert found[0]
    assert set(found) == {found[0]}
    assert (store.count("follow", "b0"), store.count("load", "b0")) == (1, 1)
    assert await hub.live("b0") is found[0]
    assert store.count("load", "b0") == 1


@in_virtual_time
async def test_callers_share_one_question_whether_there_is_a_blog() -> None:
    """10,000 readers who come to a new worker at once would take all connections to the store."""
    store, hub = blogs(1)
    for slug in ("b0", "nothing"):
        await asyncio.gather(*(hub.live(slug) for _ in range(20)))
        assert store.count("exists", slug) == 1
    store.is_down = True
    down = await asyncio.gather(*(hub.live("other") for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in down] == [StoreDown] * 3
    store.is_down = False
    assert await hub.live("other") is None


@in_virtual_time
async def test_one_caller_who_goes_away_does_not_end_the_others_load() -> None:
    _, hub = blogs(1)
    first, second = (asyncio.create_task(hub.live("b0")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


@in_virtual_time
async def test_the_subscription_is_confirmed_before_the_blog_is_read() -> None:
    store, hub = blogs(1)
    store.latency_s = lambda: 0.5
    await hub.live("b0")
    assert [call.what for call in store.calls][:3] == ["exists", "follow", "load"]
    assert store.times("load", "b0")[0] >= store.times("follow", "b0")[0] + 0.5


@in_virtual_time
async def test_what_is_published_while_a_blog_loads_is_merged() -> None:
    store, hub = blogs(1)
    past = store.pasts["b0"]
    past.publish()
    store.latency_s = lambda: 0.5
    loading = asyncio.create_task(hub.live("b0"))
    for _ in range(8):  # before the confirmation, between, and after the state was read
        await asyncio.sleep(0.25)
        store.announce(past.publish(), "b0")
    live = await loading
    assert live
    reader = FakeReader()
    live.join(reader, past.position)
    assert reader.kinds() == ["hello"]
    assert live.position == past.position


@in_virtual_time
async def test_what_pub_sub_lost_while_a_blog_loads_is_read_after_it() -> None:
    store, hub = blogs(1)
    past = store.pasts["b0"]
    store.latency_s = lambda: 0.5
    loading = asyncio.create_task(hub.live("b0"))
    await asyncio.sleep(1.75)
    past.publish()
    live = await loading
    assert live
    await settle(hub)
    assert live.position == past.position


@in_virtual_time
async def test_an_unknown_blog_is_asked_for_once_a_second_and_not_followed() -> None:
    store, hub = blogs(0)
    for _ in range(10):
        assert await hub.live("nothing") is None
    assert store.count("exists", "nothing") == 1
    assert store.count("load", "nothing") == store.count("follow", "nothing") == 0
    assert not store.wires[0].followed
    store.pasts["nothing"] = Past("nothing")
    await asyncio.sleep(1)
    assert await hub.live("nothing")


@in_virtual_time
async def test_made_up_names_do_not_crowd_out_a_blog_that_is_there() -> None:
    store, hub = blogs(1)
    store.latency_s = lambda: 0.5
    names = [f"u{n}" for n in range(3 * loadings.LOADING_MAX)]
    *unknown, real = await asyncio.gather(*map(hub.live, [*names, "b0"]))
    assert unknown == [None] * len(names)
    assert real


@in_virtual_time
async def test_made_up_names_do_not_take_all_connections_to_the_store() -> None:
    """Editors' calls and the probes of pub/sub wait for the same ones."""
    store, hub = blogs(1)
    store.latency_s = lambda: 0.5
    names = [f"u{n}" for n in range(loadings.PROBES_MAX + 2)]
    found = await asyncio.gather(*map(hub.live, names), return_exceptions=True)
    assert [type(it) for it in found if it] == [StoreDown] * 2
    assert sum(call.what == "exists" for call in store.calls) == loadings.PROBES_MAX
    assert await hub.live("b0")


@in_virtual_time
async def test_a_blog_that_cannot_be_loaded_is_store_down_and_tried_again() -> None:
    store, hub = blogs(1)
    store.is_down = True
    results = await asyncio.gather(*(hub.live("b0") for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreDown] * 3
    assert not store.wires[0].followed
    store.is_down = False
    assert await hub.live("b0")


@in_virtual_time
async def test_a_draft_is_no_blog_for_readers_until_it_is_opened() -> None:
    store = FakeStore(Past("b0", status="draft"))
    hub = make_hub(store)
    assert await hub.live("b0") is None
    store.announce(store.pasts["b0"].header(status="upcoming"), "b0")
    assert await hub.live("b0")


@in_virtual_time
async def test_the_least_recently_used_blog_without_readers_makes_room() -> None:
    store, hub = blogs(4, blogs_max=3)
    lives = [await hub.live(f"b{i}") for i in range(3)]
    assert lives[0]
    lives[0].join(FakeReader(), None)
    await hub.live("b1")
    assert await hub.live("b3")
    assert list(hub.lives) == ["b0", "b1", "b3"]  # b0 has a reader, b1 was asked for later than b2
    assert store.wires[0].followed == {"b0", "b1", "b3"}
    await hub.live("b2")
    assert set(hub.lives) == {"b0", "b3", "b2"}


@in_virtual_time
async def test_a_blog_that_made_room_is_not_read_any_more() -> None:
    store, hub = blogs(2, blogs_max=1)
    live = await hub.live("b0")
    assert live
    await settle(hub)
    store.corrupt.add("b0")
    live.repair()
    await asyncio.sleep(1)
    assert await hub.live("b1")
    await asyncio.sleep(10)
    tries = store.count("repair", "b0")
    await asyncio.sleep(100)
    assert store.count("repair", "b0") == tries


@in_virtual_time
async def test_a_waiting_reader_keeps_its_blog() -> None:
    store, hub = blogs(2, blogs_max=1)
    live = await hub.live("b0")
    assert live
    await settle(hub)
    store.lacks.add("b0")  # nobody is judged
    live.join(FakeReader(), Position("other", 1, "00000000"))
    with pytest.raises(StoreDown):
        await hub.live("b1")


@in_virtual_time
async def test_a_worker_full_of_blogs_with_readers_takes_no_other() -> None:
    store, hub = blogs(2, blogs_max=1)
    live = await hub.live("b0")
    assert live
    reader = FakeReader()
    live.join(reader, None)
    with pytest.raises(StoreDown):
        await hub.live("b1")
    assert store.wires[0].followed == {"b0"}
    live.leave(reader)
    assert await hub.live("b1")


@in_virtual_time
async def test_a_blog_that_is_given_out_is_one_that_hears_of_changes() -> None:
    store, hub = blogs(3, blogs_max=1)

    async def join(slug: str) -> str:
        try:
            live = await hub.live(slug)
        except StoreDown:
            return "down"
        assert live
        live.join(FakeReader(), None)
        return slug

    joined = await asyncio.gather(*(join(f"b{i}") for i in range(3)))
    assert len(set(joined) - {"down"}) == 1
    assert set(hub.lives) == store.wires[0].followed == set(joined) - {"down"}
    assert hub.count() == 1


# -- going away ------------------------------------------------------------------------------------


@in_virtual_time
async def test_draining_sends_everybody_away_paced() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(100)]
    waiting = scene.reader(Position("forged", 5, "00000000"))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    draining = asyncio.create_task(scene.hub.drain(10))
    await asyncio.sleep(5)
    assert 45 <= sum(reader.code == 4001 for reader in readers) <= 55
    await draining
    assert 9 <= loop.time() - begun <= 10
    assert readers[0].ended == ({"t": "bye", "after_ms": [0, 1000], "why": "restart"}, 4001)
    assert {reader.code for reader in readers} == {4001}
    assert waiting.code in (4001, 4005)  # the store may have judged it meanwhile
    assert scene.hub.count() == 0


@in_virtual_time
async def test_who_left_while_the_worker_drains_is_not_sent_away() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(10)]
    draining = asyncio.create_task(scene.hub.drain(10))
    await asyncio.sleep(5.5)
    scene.live.leave(readers[-1])
    scene.past.rotate()
    scene.hub.resubscribed(SLUG)
    await draining
    assert readers[-1].ended is None
    assert [reader.code for reader in readers[:6]] == [4001] * 6
    assert [reader.code for reader in readers[6:9]] == [4005] * 3


@in_virtual_time
async def test_who_was_let_in_before_draining_and_joins_after_is_sent_away() -> None:
    scene = await make_scene()
    scene.hub.draining = True
    reader = scene.reader()
    assert reader.kinds() == []
    assert reader.ended == ({"t": "bye", "after_ms": [0, 1000], "why": "restart"}, 4001)
    assert scene.hub.count() == 0


@in_virtual_time
async def test_the_store_is_seen_coming_and_going() -> None:
    store, hub = blogs(0)
    store.is_down = True
    async with running(hub):
        await asyncio.sleep(1)
        assert (hub.store_seen, hub.store_up) == (False, False)
        store.is_down = False
        await until(lambda: hub.store_seen and hub.store_up)
        store.is_down = True
        await until(lambda: not hub.store_up)
        assert hub.store_seen


@in_virtual_time
async def test_while_a_part_of_the_store_is_away_the_blogs_of_the_others_are_compared() -> None:
    store, hub = blogs(2)
    lives = [await hub.live(f"b{i}") for i in range(2)]
    async with running(hub):
        await until(lambda: hub.store_up)
        store.unreachable = {"b0"}
        await until(lambda: not hub.store_up)
        for past in store.pasts.values():
            past.publish()  # lost
        await asyncio.sleep(2 * watches.HEADS_EVERY_S)
        assert [live.position == store.pasts[live.slug].position for live in lives if live] == [
            False,
            True,
        ]
        assert [hub.store_of(slug) for slug in ("b0", "b1", "other")] == ["down", "up", "down"]
        store.unreachable.clear()
        await until(lambda: hub.store_up)
        assert [hub.store_of(slug) for slug in ("b0", "b1", "other")] == ["up", "up", "unheld"]
        store.lacks.add("b1")
        await until(lambda: hub.store_of("b1") == "lacks")
        store.lacks.clear()
        await settle(hub)
        assert all(live.position == store.pasts[live.slug].position for live in lives if live)


@in_virtual_time
async def test_closing_ends_every_task() -> None:
    scene = await make_scene()
    scene.store.is_down = True
    scene.live.repair()
    await asyncio.sleep(10)
    await scene.hub.close()
    assert not scene.hub._tasks
