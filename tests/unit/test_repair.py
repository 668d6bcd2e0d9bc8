"""Repair: the timeline reaches the store's state whatever messages are lost."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from unittest.mock import patch

import pytest
from kit.alone import past_of
from kit.scene import (
    assert_caught_up,
    make_scene,
    offsets,
    text,
    until_idle,
)
from kit.sources import (
    SLUG,
    Clock,
    FakeReader,
    FakeStore,
    Past,
    make_hub,
    running,
)
from kit.virtual import in_virtual_time
from kit.waiting import until

from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown
from liveblog.blog.timeline import Record, Timeline
from liveblog.live import repair as repairs
from liveblog.live.repair import RETRY_S, Repair
from liveblog.live.shared import Counts


@in_virtual_time
async def test_lost_message_is_repaired_when_the_next_arrives() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.past.publish()  # its message is lost
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert [offsets(f) for f in reader.changes()] == [[5, 6]]
    assert scene.repairs() == 1


@in_virtual_time
async def test_repeated_or_late_message_starts_no_repair() -> None:
    scene = await make_scene()
    reader = scene.reader()
    message = scene.past.publish()
    late = scene.past.publish()
    for changes in (message, message, late, message, late):
        scene.live.receive(changes)
    await until_idle(scene.hub)
    assert [offsets(f) for f in reader.changes()] == [[5, 6]]
    assert not scene.repairs()


@in_virtual_time
async def test_repair_starts_after_a_subscription_or_a_corrupt_message() -> None:
    scene = await make_scene()
    scene.past.publish()
    scene.hub.resubscribed(SLUG)
    await until_idle(scene.hub)
    assert (scene.repairs(), scene.live.position) == (1, scene.past.position)
    scene.past.publish()
    scene.hub.receive(SLUG, None)
    await until_idle(scene.hub)
    assert (scene.repairs(), scene.live.position) == (2, scene.past.position)
    scene.hub.resubscribed("another")
    scene.hub.receive("another", scene.past.publish())
    assert not scene.hub._tasks


@in_virtual_time
async def test_messages_during_a_repair_are_applied_without_a_second_read() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    reader = scene.reader()
    scene.past.publish()  # its message is lost
    scene.announce(scene.past.publish)
    await asyncio.sleep(0.6)  # the answer has not arrived
    scene.announce(scene.past.publish)
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert scene.live.position == scene.past.position
    assert_caught_up(reader, 4, 8)
    assert scene.repairs() == 1


@in_virtual_time
async def test_repair_reads_again_when_more_messages_came_than_queue() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    scene.past.publish()  # its message is lost
    scene.announce(scene.past.publish)
    await asyncio.sleep(0.6)
    for _ in range(repairs.QUEUED_MAX + 1):
        scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert scene.live.position == scene.past.position
    assert scene.repairs() == 2


@in_virtual_time
async def test_repair_is_retried_until_the_store_is_reachable() -> None:
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
    assert [offsets(f) for f in reader.changes()] == [[5]]


@in_virtual_time
async def test_repair_reloads_in_the_same_epoch_when_far_behind() -> None:
    scene = await make_scene()
    edited = scene.past.entries()[0].id
    reader, stalled = scene.reader(), scene.reader(stalled=True)
    for _ in range(501):
        scene.past.edit(edited)
    scene.hub.resubscribed(SLUG)
    await until_idle(scene.hub)
    assert scene.store.count("load") == 1
    assert [offsets(f) for f in reader.changes()] == [[505]]
    stalled.drain()
    assert [f["from"] for f in stalled.changes()] == [4]


@in_virtual_time
async def test_reload_keeps_the_timeline_when_messages_overtook_it() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    messages = [scene.past.publish() for _ in range(501)]
    scene.hub.resubscribed(SLUG)
    await until(lambda: scene.store.count("load"))
    await asyncio.sleep(0.6)  # the store has read the snapshot, and its answer is on the way
    last = scene.past.publish()
    for message in (*messages, last):  # pub/sub was slow
        scene.live.receive(message)
    assert scene.live.position == scene.past.position
    reader = scene.reader(scene.past.position)
    with patch.object(scene.live.timeline, "replace") as replaced:
        await until_idle(scene.hub)
    assert not replaced.called
    assert reader.kinds() == ["hello"]
    assert reader.code is None


@in_virtual_time
async def test_reload_reads_again_for_messages_lost_meanwhile() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    scene.past.rotate()
    scene.hub.resubscribed(SLUG)
    await until(lambda: scene.store.count("load"))
    await asyncio.sleep(0.75)  # the store has read the snapshot, and its answer is on the way
    scene.past.publish()
    await until_idle(scene.hub)
    assert scene.live.position == scene.past.position


@in_virtual_time
async def test_repair_reads_again_when_the_answer_is_of_another_history() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    reader = scene.reader()
    scene.hub.resubscribed(SLUG)
    # The primary announces a change, and fails before it has replicated the change.
    scene.announce(scene.past.publish)
    scene.past.lose(1)
    scene.past.publish()
    scene.past.publish()
    await until_idle(scene.hub)
    assert scene.live.position == scene.past.position
    assert reader.code == 4005
    assert [e.id for e in scene.live.timeline.newest(9)] == [e.id for e in scene.past.entries()]


@in_virtual_time
async def test_fork_rotates_once_and_resets_the_readers_of_all_workers() -> None:
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
    # The store lost the old epoch's offset 4, so the new epoch's first change has offset 4, too.
    assert scene.past.top == 4
    assert live.position == scene.live.position == scene.past.position
    for reader in readers:
        assert reader.ended == (
            {"t": "reset", "position": text(scene.past.position), "after_ms": [0, 3000]},
            4005,
        )
    assert scene.live.roster.count() == live.roster.count() == 0


@in_virtual_time
async def test_fork_is_found_when_offsets_are_used_again() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.past.lose(1)
    scene.past.publish()
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert scene.past.top == 6
    assert reader.code == 4005
    assert scene.live.position == scene.past.position
    assert scene.store.count("rotate") == 1


@in_virtual_time
async def test_editors_rotation_resets_readers_without_another_rotation() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.announce(scene.past.rotate, timezone="Europe/Paris")
    await until_idle(scene.hub)
    assert reader.ended
    assert reader.ended[0] == {
        "t": "reset",
        "position": text(scene.past.position),
        "after_ms": [0, 3000],
    }
    assert scene.store.count("rotate") == 0
    again = scene.reader(scene.past.position)
    scene.announce(scene.past.edit, scene.past.entries()[0].id)
    await until_idle(scene.hub)
    (frame,) = again.changes()
    assert "Europe/Paris" in frame["changes"][0]["html"]


@in_virtual_time
async def test_worker_keeps_serving_when_the_store_lacks_the_blog() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.store.lacks.add(SLUG)
    async with running(scene.hub):
        await until(lambda: scene.live.lost)
        await asyncio.sleep(30)
        assert await scene.hub.live(SLUG) is scene.live
        late = scene.reader(scene.past.at(2))
        assert [offsets(f) for f in late.changes()] == [[3, 4]]
        assert "beat" in reader.kinds()
        scene.store.lacks.clear()
        scene.past.publish()  # its message is lost
        await until(lambda: not scene.live.lost)
        await asyncio.sleep(1)
    assert [offsets(f) for f in reader.changes()] == [[5]]
    assert reader.code is None


@in_virtual_time
async def test_blog_is_lost_when_it_vanishes_between_repair_and_load() -> None:
    scene = await make_scene()
    reader = scene.reader()
    scene.past.rotate()
    scene.store.latency_s = lambda: 0.5
    scene.hub.resubscribed(SLUG)
    await asyncio.sleep(0.9)  # "moved" is on its way
    scene.store.lacks.add(SLUG)
    await until_idle(scene.hub)
    assert scene.live.lost
    assert reader.code is None


@in_virtual_time
async def test_fork_is_found_when_the_store_returns_with_fewer_changes() -> None:
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


@in_virtual_time
async def test_confirm_waits_for_a_read_that_starts_after_it() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.2
    scene.live.repair()
    await asyncio.sleep(0.3)
    scene.past.publish()  # after the read under way
    await scene.live.confirm(1.0)
    assert scene.live.position == scene.past.position
    assert scene.repairs() == 2


@in_virtual_time
async def test_confirm_starts_at_most_one_read_a_second() -> None:
    scene = await make_scene()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(3):
        await scene.live.confirm(1.0)
    assert 2 <= loop.time() - started <= 2.1
    started = loop.time()
    await asyncio.gather(*(scene.live.confirm(1.0) for _ in range(20)))
    assert loop.time() - started <= 1.1
    assert scene.repairs() == 4


@in_virtual_time
async def test_confirm_raises_store_down_when_the_answer_is_late() -> None:
    scene = await make_scene()
    scene.store.is_down = True
    with pytest.raises(StoreDown):
        await scene.live.confirm(1.0)
    assert asyncio.get_running_loop().time() < 3
    assert not scene.live.repairs._confirming


@in_virtual_time
async def test_confirm_returns_when_the_store_lacks_the_blog() -> None:
    scene = await make_scene()
    scene.store.lacks.add(SLUG)
    await scene.live.confirm(1.0)
    assert scene.live.lost


@in_virtual_time
async def test_waiting_readers_start_at_most_one_read_a_second() -> None:
    scene = await make_scene()
    for i in range(100):
        scene.reader(Position(f"forged{i}", 5, "00000000"))
        await asyncio.sleep(0.05)
    times = scene.store.times("repair")
    assert 5 <= len(times) <= 6
    assert min(b - a for a, b in pairwise(times)) > 0.999
    await until(lambda: not scene.live.roster.waiting)


# -- alone -----------------------------------------------------------------------------------------


class AroundBlog:
    """Replaces the live blog of a `Repair`, and records the calls that `Repair` makes to it."""

    def __init__(self) -> None:
        self.is_held = True
        self.calls: list[object] = []

    def advanced(self, records: Iterable[Record]) -> None:
        self.calls.append([record.offset for record in records])

    def replaced(self, was: Position) -> None:
        self.calls.append(was)

    def verify_waiting(self, read: int) -> None:
        self.calls.append(read)


class RepairAlone:
    """Runs `Repair` on a timeline and a store, without the other parts of a live blog."""

    def __init__(self, past: Past) -> None:
        self.past, self.store, self.timeline = past, FakeStore(past), Timeline(past.snapshot())
        self.blog, self.tasks = AroundBlog(), set[asyncio.Task[None]]()
        self.repair = Repair(
            SLUG,
            self.timeline,
            self.store,
            self.blog,
            counts=Counts(),
            clock=Clock(),
            spawn=lambda work: self.tasks.add(asyncio.create_task(work)),
        )

    async def end(self) -> None:
        await asyncio.gather(*self.tasks)


@in_virtual_time
async def test_receive_applies_a_message_without_a_read() -> None:
    alone = RepairAlone(past_of(1))
    alone.repair.receive(alone.past.publish())
    assert (alone.blog.calls, alone.tasks) == ([[3]], set())


@in_virtual_time
async def test_read_tells_the_blog_the_changes_and_then_its_number() -> None:
    alone = RepairAlone(past_of(1))
    alone.past.publish()  # its message is lost
    alone.repair.start()
    await alone.end()
    assert alone.blog.calls == [[3], 1]
    assert alone.repair.reads_started == 1


@in_virtual_time
async def test_read_replaces_the_state_when_the_epoch_is_another() -> None:
    alone = RepairAlone(past_of(1))
    was = alone.past.position
    alone.past.rotate()
    alone.repair.start()
    await alone.end()
    assert alone.timeline.position == alone.past.position
    assert alone.blog.calls == [was, 1, 2]


@in_virtual_time
async def test_read_verifies_nobody_when_the_store_lacks_the_blog() -> None:
    alone = RepairAlone(past_of(1))
    alone.store.lacks.add(SLUG)
    alone.repair.start()
    await alone.end()
    assert (alone.blog.calls, alone.repair.lost) == ([0], True)


@in_virtual_time
async def test_failed_read_is_logged_and_not_retried_when_the_blog_was_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alone = RepairAlone(past_of(1))
    alone.store.is_down, alone.blog.is_held = True, False
    alone.repair.start()
    await alone.end()
    assert alone.store.count("repair") == 1
    wait = f"retrying in {RETRY_S[0]:.1f} s"
    assert f"blog election: repair failed, {wait}: the store is unreachable" in caplog.text
