"""live/roster.py, a blog's readers: they follow, are behind, wait, or leave."""

import asyncio

from kit.alone import Seconds, roster_alone
from kit.scene import (
    assert_caught_up,
    make_scene,
    offsets,
    until_idle,
)
from kit.sources import (
    SLUG,
    FakeReader,
    FakeStore,
    Past,
    make_hub,
    running,
)
from kit.virtual import in_virtual_time

from liveblog.blog.model import Position
from liveblog.live.roster import SLOTS, STALLED_S


@in_virtual_time
async def test_reader_gets_no_frame_when_it_drains_after_leaving() -> None:
    scene = await make_scene()
    stalled = scene.reader(stalled=True)
    scene.announce(scene.past.publish)
    scene.live.leave(stalled)
    stalled.drain()
    assert stalled.kinds() == ["hello"]


@in_virtual_time
async def test_reader_behind_gets_no_frame_until_it_drains() -> None:
    scene = await make_scene()
    reader = scene.reader(stalled=True)
    assert (list(scene.live.roster.followers), list(scene.live.roster.behind)) == ([], [reader])
    for _ in range(3):
        scene.announce(scene.past.publish)
        await until_idle(scene.hub)
    assert reader.kinds() == ["hello"]
    reader.drain()
    assert_caught_up(reader, 4, 7)
    assert [offsets(f) for f in reader.changes()] == [[5, 6, 7]]
    assert (list(scene.live.roster.followers), list(scene.live.roster.behind)) == ([reader], [])


@in_virtual_time
async def test_drained_readers_share_one_frame_when_at_one_position() -> None:
    scene = await make_scene()
    readers = [scene.reader(stalled=True) for _ in range(5)]
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    for reader in readers:
        reader.drain()
    assert len({id(reader.raw[-1]) for reader in readers}) == 1
    late = scene.reader(scene.past.at(4))
    assert late.raw[-1] is readers[0].raw[-1]


@in_virtual_time
async def test_reader_is_aborted_when_its_socket_stalls_for_45_s() -> None:
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
async def test_longest_behind_are_aborted_when_too_many_bytes_are_held() -> None:
    past = Past()
    store = FakeStore(past)
    hub = make_hub(store, held_bytes_max=200)
    live = await hub.live(SLUG)
    assert live
    await until_idle(hub)
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


# -- alone -----------------------------------------------------------------------------------------


def test_enter_registers_a_reader_that_neither_follows_nor_waits() -> None:
    roster, _ = roster_alone()
    readers = [FakeReader() for _ in range(SLOTS + 1)]
    for reader in readers:
        roster.enter(reader, 7)
    assert roster.has(readers[0])
    assert (readers[0].offset, readers[0].follows, roster.all()) == (7, False, [])
    assert readers[0].slot == readers[SLOTS].slot
    assert len({reader.slot for reader in readers}) == SLOTS


def test_count_has_a_reader_once_when_it_waits_and_is_behind() -> None:
    roster, _ = roster_alone()
    follower, both = FakeReader(), FakeReader()
    for reader in (follower, both):
        roster.enter(reader, 1)
    roster.follow(follower)
    roster.wait(both, Position("e", 9, "00000000"), 0)
    both.fell_behind(10)
    assert roster.count() == len(roster.all()) == 2
    assert roster.verified() == [follower]


def test_drained_reader_follows_only_when_its_position_is_verified() -> None:
    roster, _ = roster_alone()
    reader = FakeReader()
    roster.enter(reader, 1)
    roster.wait(reader, Position("e", 9, "00000000"), 0)
    reader.fell_behind(10)
    reader.drained()
    assert not roster.followers
    roster.stop_waiting(reader)
    reader.fell_behind(10)
    reader.drained()
    assert (list(roster.followers), reader.follows, roster.behind) == ([reader], True, {})


def test_held_bytes_follow_the_readers_behind() -> None:
    roster, held = roster_alone()
    readers = [FakeReader(), FakeReader()]
    for reader in readers:
        roster.enter(reader, 1)
        reader.fell_behind(10)
    readers[0].fell_behind(30)  # replaces the 10 bytes that waited for this reader
    assert held.bytes == 40
    readers[0].drained()
    roster.leave(readers[1])
    assert held.bytes == 0


def test_close_and_abort_do_nothing_when_the_reader_has_left() -> None:
    roster, _ = roster_alone()
    reader = FakeReader()
    roster.enter(reader, 1)
    roster.leave(reader)
    roster.leave(reader)
    roster.close(reader, None, 4510)
    roster.abort(reader)
    assert reader.ended is None
    assert reader.roster is None


def test_abort_stalled_aborts_only_the_longest_behind() -> None:
    seconds = Seconds()
    roster, _ = roster_alone(seconds)
    early, late = FakeReader(), FakeReader()
    for reader in (early, late):
        roster.enter(reader, 1)
        reader.fell_behind(10)
        seconds.now += 1
    seconds.now = STALLED_S
    roster.abort_stalled()
    assert (early.code, late.code) == (1006, None)
