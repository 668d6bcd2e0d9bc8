"""The hub: which blogs it keeps in memory, how it drains its readers, and how it closes."""

import asyncio

import pytest
from kit.scene import (
    blogs,
    make_scene,
    until_idle,
)
from kit.sources import (
    SLUG,
    FakeReader,
)
from kit.virtual import in_virtual_time

from liveblog.blog.model import Position
from liveblog.blog.problem import WorkerFull
from liveblog.live import shelf as shelves


@in_virtual_time
async def test_least_recently_used_blog_is_dropped_when_room_is_needed() -> None:
    store, hub = blogs(4, blogs_max=3)
    lives = [await hub.live(f"b{i}") for i in range(3)]
    assert lives[0]
    lives[0].join(FakeReader(), None)
    await hub.live("b1")
    assert await hub.live("b3")
    assert set(hub.lives) == {"b0", "b1", "b3"}  # b0 has a reader, b1 was used after b2
    assert store.wires[0].followed == {"b0", "b1", "b3"}
    await hub.live("b2")
    assert set(hub.lives) == {"b0", "b3", "b2"}


@in_virtual_time
async def test_dropped_blog_is_not_repaired() -> None:
    store, hub = blogs(2, blogs_max=1)
    live = await hub.live("b0")
    assert live
    await until_idle(hub)
    store.corrupt.add("b0")
    live.repair()
    await asyncio.sleep(1)
    assert await hub.live("b1")
    await asyncio.sleep(10)
    tries = store.count("repair", "b0")
    await asyncio.sleep(100)
    assert store.count("repair", "b0") == tries


@in_virtual_time
async def test_blog_is_not_dropped_while_a_reader_waits() -> None:
    store, hub = blogs(2, blogs_max=1)
    live = await hub.live("b0")
    assert live
    await until_idle(hub)
    # The store lacks the blog, so the reader waits: no read can verify its position.
    store.lacks.add("b0")
    live.join(FakeReader(), Position("other", 1, "00000000"))
    with pytest.raises(WorkerFull):
        await hub.live("b1")


@in_virtual_time
async def test_live_raises_store_down_when_all_blogs_have_readers() -> None:
    store, hub = blogs(2, blogs_max=1)
    live = await hub.live("b0")
    assert live
    reader = FakeReader()
    live.join(reader, None)
    with pytest.raises(WorkerFull):
        await hub.live("b1")
    assert store.wires[0].followed == {"b0"}
    live.leave(reader)
    await asyncio.sleep(shelves.FULL_KEPT_S)
    assert await hub.live("b1")


@in_virtual_time
async def test_live_returns_only_blogs_that_are_followed() -> None:
    store, hub = blogs(3, blogs_max=1)

    async def join(slug: str) -> str:
        try:
            live = await hub.live(slug)
        except WorkerFull:
            return "full"
        assert live
        live.join(FakeReader(), None)
        return slug

    joined = await asyncio.gather(*(join(f"b{i}") for i in range(3)))
    assert len(set(joined) - {"full"}) == 1
    assert set(hub.lives) == store.wires[0].followed == set(joined) - {"full"}
    assert hub.count() == 1


@in_virtual_time
async def test_drain_closes_all_readers_paced() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(100)]
    waiting = scene.reader(Position("forged", 5, "00000000"))
    loop = asyncio.get_running_loop()
    started = loop.time()
    draining = asyncio.create_task(scene.hub.drain(10))
    await asyncio.sleep(5)
    assert 45 <= sum(reader.code == 4001 for reader in readers) <= 55
    await draining
    assert 9 <= loop.time() - started <= 10
    assert readers[0].ended == ({"t": "bye", "after_ms": [0, 1000], "why": "restart"}, 4001)
    assert {reader.code for reader in readers} == {4001}
    # 4005 if the store rejected the waiting reader's position before the drain reached the reader.
    assert waiting.code in (4001, 4005)
    assert scene.hub.count() == 0


@in_virtual_time
async def test_drain_skips_readers_that_have_left() -> None:
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
async def test_close_cancels_all_tasks() -> None:
    scene = await make_scene()
    scene.store.is_down = True
    scene.live.repair()
    await asyncio.sleep(10)
    await scene.hub.close()
    assert not scene.hub._tasks
