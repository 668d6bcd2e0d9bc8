"""Fan-out: each pass over the readers sends them the new changes, and waits for no reader."""

import asyncio

import pytest
from kit.alone import FanoutAlone, past_of
from kit.scene import (
    assert_caught_up,
    make_scene,
    middle_of_a_pass,
    offsets,
    some_are_served,
    until_idle,
)
from kit.sources import (
    Clock,
    FakeReader,
    FakeRender,
)
from kit.virtual import in_virtual_time

from liveblog.live import fanout as fanouts
from liveblog.live.roster import SLOTS


@in_virtual_time
async def test_change_is_encoded_once_for_all_readers() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(50)]
    render = scene.hub.render
    assert isinstance(render, FakeRender)
    render.made.clear()
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert {id(reader.raw[-1]) for reader in readers} == {id(readers[0].raw[-1])}
    assert len(render.made) == 1
    assert scene.hub.counts.deliveries == 50


@in_virtual_time
async def test_changes_share_one_pass_when_they_come_together() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(3)]
    for _ in range(3):
        scene.announce(scene.past.publish)
    assert len(scene.hub._tasks) == 1
    await until_idle(scene.hub)
    assert [offsets(f) for f in readers[0].changes()] == [[5, 6, 7]]


@in_virtual_time
async def test_all_readers_reach_the_top_when_changes_come_during_a_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanouts, "LOOK_EVERY", 1)
    # The clock advances each time it is read, so sending yields to other tasks after a few readers.
    scene = await make_scene(clock=Clock(tick_s=0.0004))
    early = [scene.reader() for _ in range(60)]
    scene.announce(scene.past.publish)
    await some_are_served(early)
    assert 10 < sum(len(r.frames) > 1 for r in early) < 50
    joined = scene.reader()
    scene.announce(scene.past.publish)
    await asyncio.sleep(0)
    scene.announce(scene.past.publish)
    since_4 = scene.reader(scene.past.at(4))
    await until_idle(scene.hub)
    for reader in early:
        assert_caught_up(reader, 4, 7)
        assert 1 <= len(list(reader.changes())) <= 3
    assert_caught_up(joined, 5, 7)
    assert_caught_up(since_4, 4, 7)
    # Some readers got all changes in one frame, others in several frames.
    assert {len(list(reader.changes())) for reader in early} > {1}


@in_virtual_time
async def test_pass_yields_to_other_tasks_every_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanouts, "LOOK_EVERY", 1)
    scene = await make_scene(clock=Clock(tick_s=0.0002))
    readers = [scene.reader() for _ in range(2 * SLOTS)]
    scene.announce(scene.past.publish)
    served = 0
    while served < len(readers):
        await asyncio.sleep(0)
        before, served = served, sum(len(r.frames) > 1 for r in readers)
        assert served - before <= 1 + fanouts.SLICE_S / 0.0002


@in_virtual_time
async def test_reader_gets_no_frame_when_it_leaves_during_a_pass() -> None:
    scene, readers = await middle_of_a_pass()
    waiting = [r for r in readers if len(r.frames) == 1]
    assert len(waiting) > 10
    for reader in waiting:
        scene.live.leave(reader)
        scene.live.leave(reader)  # does nothing the second time
    await until_idle(scene.hub)
    assert all(len(r.frames) == 1 for r in waiting)
    assert scene.live.roster.count() == len(readers) - len(waiting)


@in_virtual_time
async def test_stalled_reader_delays_nobody_and_catches_up_in_one_frame() -> None:
    scene = await make_scene()
    stalled = scene.reader(stalled=True)
    others = [scene.reader() for _ in range(5)]
    for _ in range(4):
        scene.announce(scene.past.publish)
        await until_idle(scene.hub)
    assert all(len(list(other.changes())) == 4 for other in others)
    assert stalled.kinds() == ["hello"]
    stalled.drain()
    assert [(f["from"], offsets(f)) for f in stalled.changes()] == [(4, [5, 6, 7, 8])]


@in_virtual_time
async def test_stalled_reader_is_reset_when_it_missed_too_much() -> None:
    scene = await make_scene()
    stalled = scene.reader(stalled=True)
    for _ in range(201):
        scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert stalled.code is None
    stalled.drain()
    assert stalled.code == 4005
    assert scene.live.roster.count() == 0


# -- alone -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_pass_serves_readers_at_different_offsets_and_encodings() -> None:
    alone = FanoutAlone(past_of(3))
    readers = [FakeReader(), FakeReader(), FakeReader(as_data=True), FakeReader()]
    for reader, offset in zip(readers, (4, 4, 4, 2), strict=True):
        alone.roster.enter(reader, offset)
        alone.roster.follow(reader)
    alone.publish()
    assert alone.fanout.is_passing
    await alone.spawned.run()
    assert [[f["from"] for f in reader.frames] for reader in readers] == [[4], [4], [4], [2]]
    assert [reader.offset for reader in readers] == [5] * 4
    assert readers[0].raw[0] is readers[1].raw[0]
    assert alone.counts.deliveries == 4
    assert alone.counts.sent_bytes == sum(len(reader.raw[0]) for reader in readers)
    assert (alone.fanout.is_passing, alone.passes, alone.idle) == (False, [0.0], 1)


@in_virtual_time
async def test_start_starts_no_pass_when_nobody_follows() -> None:
    alone = FanoutAlone(past_of(1))
    alone.publish()
    assert not alone.spawned.work
    assert not alone.fanout.is_passing


@in_virtual_time
async def test_reader_behind_is_served_once_when_it_drains() -> None:
    alone = FanoutAlone(past_of(1))
    reader = FakeReader(stalled=True)
    alone.roster.enter(reader, 2)
    alone.fanout.admit(reader)
    for _ in range(3):
        alone.publish()
        await alone.spawned.run()
    assert [offsets(frame) for frame in reader.frames] == [[3]]
    reader.drain()
    assert [offsets(frame) for frame in reader.frames] == [[3], [4, 5]]


def test_reset_closes_a_reader_once() -> None:
    alone = FanoutAlone(past_of(1))
    reader = FakeReader()
    alone.roster.enter(reader, 1)
    alone.fanout.reset(reader)
    alone.fanout.reset(reader)
    assert (reader.code, alone.counts.resets) == (4005, 1)
