"""Load a blog from the store when the first reader or request asks for it."""

import asyncio
from collections import deque

import pytest
from kit.scene import (
    blogs,
    until_idle,
)
from kit.sources import (
    FakeReader,
    FakeStore,
    Past,
    Wire,
    make_hub,
)
from kit.virtual import in_virtual_time

from liveblog.blog.problem import StoreDown, WorkerFull
from liveblog.blog.timeline import Changes, Snapshot
from liveblog.live import loading as loadings
from liveblog.live.blog import LiveBlog
from liveblog.live.loading import Loading


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
async def test_callers_share_one_existence_read() -> None:
    """10,000 readers that join a new worker at once must not use all connections to the store."""
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
async def test_load_continues_when_one_caller_is_cancelled() -> None:
    _, hub = blogs(1)
    first, second = (asyncio.create_task(hub.live("b0")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


@in_virtual_time
async def test_subscription_is_confirmed_before_the_state_is_read() -> None:
    store, hub = blogs(1)
    store.latency_s = lambda: 0.5
    await hub.live("b0")
    assert [call.what for call in store.calls][:3] == ["exists", "follow", "load"]
    assert store.times("load", "b0")[0] >= store.times("follow", "b0")[0] + 0.5


@in_virtual_time
async def test_messages_during_a_load_are_applied_after_it() -> None:
    store, hub = blogs(1)
    past = store.pasts["b0"]
    past.publish()
    store.latency_s = lambda: 0.5
    loading = asyncio.create_task(hub.live("b0"))
    # Some changes come before the subscription is confirmed, some before the state is read, and
    # some after the read.
    for _ in range(8):
        await asyncio.sleep(0.25)
        store.announce(past.publish(), "b0")
    live = await loading
    assert live
    reader = FakeReader()
    live.join(reader, past.position)
    assert reader.kinds() == ["hello"]
    assert live.position == past.position


@in_virtual_time
async def test_messages_lost_during_a_load_are_read_after_it() -> None:
    store, hub = blogs(1)
    past = store.pasts["b0"]
    store.latency_s = lambda: 0.5
    loading = asyncio.create_task(hub.live("b0"))
    await asyncio.sleep(1.75)
    past.publish()
    live = await loading
    assert live
    await until_idle(hub)
    assert live.position == past.position


@in_virtual_time
async def test_blog_is_found_as_soon_as_it_exists() -> None:
    store, hub = blogs(0)
    for _ in range(10):
        assert await hub.live("nothing") is None
    assert store.count("load", "nothing") == store.count("follow", "nothing") == 0
    assert not store.wires[0].followed
    store.pasts["nothing"] = Past("nothing")
    assert await hub.live("nothing")


@in_virtual_time
async def test_real_blog_loads_while_many_unknown_slugs_are_read() -> None:
    store, hub = blogs(1)
    store.latency_s = lambda: 0.5
    names = [f"u{n}" for n in range(3 * loadings.LOADING_MAX)]
    *unknown, real = await asyncio.gather(*map(hub.live, [*names, "b0"]))
    assert unknown == [None] * len(names)
    assert real


@in_virtual_time
async def test_slugs_are_refused_when_too_many_are_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loadings, "WAITING_MAX", 3)
    _, hub = blogs(1)
    names = [f"u{n}" for n in range(5)]
    found = await asyncio.gather(*map(hub.live, names), return_exceptions=True)
    assert [type(it) for it in found if it] == [WorkerFull] * 2
    assert await hub.live("b0")


@in_virtual_time
async def test_all_blogs_load_when_many_are_requested_at_once() -> None:
    store, hub = blogs(10 * loadings.LOADING_MAX)
    found = await asyncio.gather(*map(hub.live, store.pasts))
    assert all(found)


@in_virtual_time
async def test_load_is_refused_when_its_turn_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loadings, "LOADING_MAX", 1)
    store, hub = blogs(2)
    store.latency_s = lambda: loadings.TURN_WITHIN_S / 3
    found = await asyncio.gather(*map(hub.live, store.pasts), return_exceptions=True)
    assert [type(it) for it in found] == [LiveBlog, WorkerFull]
    store.latency_s = lambda: 0
    assert await hub.live("b1")


@in_virtual_time
async def test_load_raises_store_down_and_succeeds_when_the_store_returns() -> None:
    store, hub = blogs(1)
    store.is_down = True
    results = await asyncio.gather(*(hub.live("b0") for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreDown] * 3
    assert not store.wires[0].followed
    store.is_down = False
    assert await hub.live("b0")


@in_virtual_time
async def test_draft_is_not_found_until_it_is_opened() -> None:
    store = FakeStore(Past("b0", status="draft"))
    hub = make_hub(store)
    assert await hub.live("b0") is None
    store.announce(store.pasts["b0"].header(status="upcoming"), "b0")
    assert await hub.live("b0")


# -- alone -----------------------------------------------------------------------------------------


class Shelf:
    """Stands for a worker's blogs; notes loaded blogs, and the messages that came during a load."""

    def __init__(self) -> None:
        self.lives: dict[str, int] = {}
        self.is_full = False

    def make_room(self) -> None:
        if self.is_full:
            raise WorkerFull("no room")

    def adopt(self, slug: str, snapshot: Snapshot, early: deque[Changes]) -> None:
        self.lives[slug] = snapshot.position.offset
        self.lives[f"{slug} early"] = len(early)


def loading_alone(*pasts: Past) -> tuple[FakeStore, Wire, Shelf, Loading]:
    store, shelf = FakeStore(*pasts), Shelf()
    wire = Wire(store)
    loading = Loading(store, wire, shelf, spawn=asyncio.create_task)
    return store, wire, shelf, loading


@in_virtual_time
async def test_load_adopts_the_state_and_the_messages_of_the_meantime() -> None:
    past = Past("b0")
    store, wire, shelf, loading = loading_alone(past)
    store.latency_s = lambda: 0.5
    task = asyncio.create_task(loading.load("b0"))
    await asyncio.sleep(2.75)  # the store has read the state, and its answer is on the way
    loading.receive("b0", past.publish())
    loading.receive("b1", past.publish())  # b1 is not being loaded, so its message is dropped
    assert await task
    assert (shelf.lives, wire.followed) == ({"b0": 1, "b0 early": 1}, {"b0"})


@in_virtual_time
async def test_load_unfollows_when_there_is_no_room() -> None:
    _, wire, shelf, loading = loading_alone(Past("b0"))
    shelf.is_full = True
    with pytest.raises(WorkerFull):
        await loading.load("b0")
    assert (shelf.lives, wire.followed) == ({}, set())
    shelf.is_full = False
    assert await loading.load("b0")
