"""Readers that wait until the store has verified their position."""

import asyncio
from collections.abc import Callable

import pytest
from kit.alone import FanoutAlone, past_of
from kit.scene import (
    assert_caught_up,
    make_scene,
    offsets,
    text,
    until_idle,
)
from kit.sources import (
    SLUG,
    FakeReader,
    running,
)
from kit.virtual import in_virtual_time
from kit.waiting import until

from liveblog.blog.model import Position

CLAIMS: dict[str, Callable[[Position], Position]] = {
    "another epoch": lambda top: top._replace(epoch="other"),
    "an offset ahead": lambda top: top._replace(offset=top.offset + 1),
    "another check": lambda top: top._replace(check="00000000"),
    "another check at an earlier offset": lambda top: Position(top.epoch, 2, "00000000"),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@in_virtual_time
async def test_waiting_reader_is_reset_when_the_store_refutes_its_position(
    claim: Callable[[Position], Position],
) -> None:
    scene = await make_scene()
    others = scene.reader()
    since = claim(scene.past.position)
    reader = scene.reader(since)
    assert [(it["t"], it["position"]) for it in reader.frames] == [("hello", text(since))]
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
async def test_waiting_reader_is_admitted_when_a_repair_proves_its_position() -> None:
    scene = await make_scene()
    scene.past.publish()  # its message is lost
    since = scene.past.position
    scene.past.publish()
    reader = scene.reader(since)
    await until_idle(scene.hub)
    await until(lambda: len(reader.frames) > 1)
    assert [(f["from"], offsets(f)) for f in reader.changes()] == [(5, [6])]


@in_virtual_time
async def test_waiting_reader_is_admitted_when_the_message_arrives() -> None:
    scene = await make_scene()
    message = scene.past.publish()
    scene.store.latency_s = lambda: 1000.0
    reader = scene.reader(scene.past.position)
    scene.live.receive(message)
    scene.announce(scene.past.publish)
    await until(lambda: len(reader.frames) > 1)
    assert_caught_up(reader, 5, 6)


@in_virtual_time
async def test_waiting_reader_is_admitted_when_its_epoch_is_a_new_rotation() -> None:
    scene = await make_scene()
    old = scene.reader()
    scene.past.rotate()
    since = scene.past.position
    scene.past.publish()
    reader = scene.reader(since)
    await until(lambda: len(reader.frames) > 1)
    assert_caught_up(reader, 5, 6)
    assert old.code == 4005
    assert reader.code is None


@in_virtual_time
async def test_waiting_reader_gets_null_beats_while_the_store_is_unreachable() -> None:
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
async def test_waiting_reader_keeps_waiting_while_the_store_lacks_the_blog() -> None:
    scene = await make_scene()
    scene.past.publish()  # lost for this worker
    reader = scene.reader(scene.past.position)
    scene.store.lacks.add(SLUG)
    async with running(scene.hub):
        await asyncio.sleep(30)
        assert reader.code is None
        assert {f["position"] for f in reader.frames if f["t"] == "beat"} == {None}
        scene.store.lacks.clear()
        scene.past.publish()
        await until(lambda: list(reader.changes()))
    assert_caught_up(reader, 5, 6)


@in_virtual_time
async def test_read_resets_no_reader_that_came_after_its_start() -> None:
    scene = await make_scene()
    scene.store.latency_s = lambda: 0.5
    scene.live.repair()
    await asyncio.sleep(0.75)  # the store's answer is made, so it lacks change 5, published next
    scene.past.publish()  # its message is lost
    reader = scene.reader(scene.past.position)
    await until_idle(scene.hub)
    assert reader.code is None
    await asyncio.sleep(3)
    assert reader.code is None
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert_caught_up(reader, 5, 6)


@in_virtual_time
async def test_waiting_reader_gets_no_frame_when_it_leaves() -> None:
    scene = await make_scene()
    reader = scene.reader(Position("forged", 5, "00000000"))
    scene.live.leave(reader)
    await asyncio.sleep(3)
    assert (reader.code, reader.kinds()) == (None, ["hello"])
    assert scene.live.roster.count() == 0


@in_virtual_time
async def test_waiting_reader_behind_is_admitted_when_it_drains() -> None:
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
    assert_caught_up(reader, 5, 6)


# -- alone -----------------------------------------------------------------------------------------


def test_admit_waiting_resets_only_readers_that_came_before_the_read() -> None:
    alone = FanoutAlone(past_of(2))
    early, late = FakeReader(), FakeReader()
    for reads_started, reader in enumerate((early, late)):
        alone.roster.enter(reader, 9)
        alone.roster.wait(reader, Position("other", 9, "00000000"), reads_started)
    alone.fanout.admit_waiting()
    assert (early.code, late.code) == (None, None)
    alone.fanout.admit_waiting(read=1)
    assert (early.code, late.code) == (4005, None)
    assert alone.roster.waiting == {late}


def test_admit_waiting_admits_a_reader_whose_position_has_become_known() -> None:
    alone = FanoutAlone(past_of(2))
    changes = alone.past.publish()
    reader = FakeReader()
    alone.roster.enter(reader, alone.past.top)
    alone.roster.wait(reader, alone.past.position, 0)
    alone.fanout.admit_waiting()
    assert not reader.follows
    alone.timeline.apply(changes)
    alone.fanout.admit_waiting()
    assert (reader.follows, reader.waits_for, alone.roster.waiting) == (True, None, set())
