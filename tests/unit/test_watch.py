"""The comparison with the store."""

import asyncio

from kit.scene import (
    blogs,
    make_scene,
    offsets,
    until_idle,
)
from kit.sources import (
    running,
)
from kit.virtual import in_virtual_time
from kit.waiting import until

from liveblog.live import watch as watches


@in_virtual_time
async def test_lost_message_is_found_by_comparing_heads() -> None:
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
async def test_store_is_up_or_down_after_each_comparison() -> None:
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
async def test_blogs_are_compared_while_a_part_of_the_store_is_unreachable() -> None:
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
        await until_idle(hub)
        assert all(live.position == store.pasts[live.slug].position for live in lives if live)
