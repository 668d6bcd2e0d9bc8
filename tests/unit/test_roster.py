"""The roster: readers that follow, are behind, wait, or leave."""

import asyncio

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
    assert [offsets(f) for f in reader.news()] == [[5, 6, 7]]
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
