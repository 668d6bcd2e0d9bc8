"""The comparison with the store."""

import asyncio

import pytest
from kit.scene import (
    blogs,
    make_scene,
    offsets,
    until_idle,
)
from kit.sources import (
    FakeStore,
    Past,
    running,
)
from kit.virtual import in_virtual_time
from kit.waiting import until

from liveblog.blog.model import Position
from liveblog.blog.problem import RefusalCause, StoreDown, StoreRefuses
from liveblog.blog.timeline import Heads
from liveblog.live import watch as watches
from liveblog.live.watch import StoreWatch


@in_virtual_time
async def test_lost_message_is_found_by_comparing_heads() -> None:
    scene = await make_scene()
    reader = scene.reader()
    async with running(scene.hub):
        await asyncio.sleep(2.5)
        scene.past.publish()  # its message is lost
        assert not scene.repairs()
        await asyncio.sleep(watches.HEADS_EVERY_S)
        assert [offsets(f) for f in reader.changes()] == [[5]]
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
            past.publish()  # its message is lost
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


# -- alone -----------------------------------------------------------------------------------------


class Held:
    """A live blog that has only a position, and counts the calls of `repair()`."""

    def __init__(self, position: Position, lost: bool = False) -> None:
        self.position, self.lost = position, lost
        self.repairs = 0

    def repair(self) -> None:
        self.repairs += 1


async def one_comparison(watch: StoreWatch) -> None:
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(watches.HEADS_EVERY_S / 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@in_virtual_time
async def test_comparison_repairs_blogs_that_differ_or_are_lost() -> None:
    pasts = [Past(f"b{i}") for i in range(4)]
    held = {past.slug: Held(past.position) for past in pasts}
    pasts[1].publish()
    held["b2"].lost = True
    held["b3"].position = pasts[3].position._replace(offset=9)  # ahead of the store
    watch = StoreWatch(FakeStore(*pasts), held)
    assert (watch.seen, watch.up, watch.state_of("b0")) == (False, False, "down")
    await one_comparison(watch)
    assert [blog.repairs for blog in held.values()] == [0, 1, 1, 1]
    assert (watch.seen, watch.up) == (True, True)
    states = [watch.state_of(slug) for slug in ("b0", "b2", "other")]
    assert states == ["up", "lacks", "unheld"]


class Failing(Held):
    """A live blog whose repair fails."""

    def repair(self) -> None:
        raise KeyError(7)


@in_virtual_time
async def test_comparison_goes_on_when_it_fails_for_one_blog(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pasts = [Past(f"b{i}") for i in range(3)]
    held = {"b0": Failing(pasts[0].position, lost=True), "b1": Held(pasts[1].position, lost=True)}
    watch = StoreWatch(FakeStore(*pasts), held)
    await one_comparison(watch)
    await one_comparison(watch)
    assert held["b1"].repairs == 2
    assert [it.message for it in caplog.records] == ["blog b0: comparison failed"]


@in_virtual_time
async def test_thousands_of_blogs_are_compared_in_parts_within_one_interval() -> None:
    pasts = [Past(f"b{i}") for i in range(10 * watches.COMPARED_AT_ONCE + 1)]
    held = {past.slug: Held(past.position) for past in pasts}
    for past in pasts:
        past.publish()
    store = FakeStore(*pasts)
    running = asyncio.create_task(StoreWatch(store, held).run())
    await asyncio.sleep(watches.HEADS_EVERY_S / 2)
    assert 0 < sum(blog.repairs for blog in held.values()) < len(held)
    await asyncio.sleep(watches.HEADS_EVERY_S / 2)
    assert [blog.repairs for blog in held.values()] == [1] * len(held)
    assert store.count("heads", "") == 11
    running.cancel()


@in_virtual_time
async def test_thousands_of_blogs_are_compared_in_time_when_a_part_is_silent() -> None:
    pasts = [Past(f"b{i}") for i in range(10 * watches.COMPARED_AT_ONCE)]
    held = {past.slug: Held(past.position) for past in pasts}
    store = FakeStore(*pasts)
    watch = StoreWatch(store, held)
    running = asyncio.create_task(watch.run())
    await until(lambda: watch.up)
    store.unreachable = {"b0"}
    store.latency_s = lambda: 0.9  # the time in which the silent part should answer
    await until(lambda: not watch.up)
    for past in pasts:
        past.publish()
    await asyncio.sleep(2 * watches.HEADS_EVERY_S)
    assert [slug for slug, blog in held.items() if not blog.repairs] == ["b0"]
    running.cancel()


@in_virtual_time
async def test_unreachable_store_is_asked_as_seldom_when_thousands_are_held() -> None:
    pasts = [Past(f"b{i}") for i in range(10 * watches.COMPARED_AT_ONCE)]
    store = FakeStore(*pasts)
    watch = StoreWatch(store, {past.slug: Held(past.position) for past in pasts})
    running = asyncio.create_task(watch.run())
    await until(lambda: watch.up)
    store.is_down = True
    await until(lambda: not watch.up)
    before = store.count("heads", "")
    await asyncio.sleep(10 * watches.HEADS_EVERY_S)
    assert 5 < store.count("heads", "") - before <= 11
    store.is_down = False
    await asyncio.sleep(2 * watches.CHECK_EVERY_S)
    assert watch.up
    running.cancel()


@in_virtual_time
async def test_store_is_up_at_once_when_it_answers_again_during_a_comparison() -> None:
    class Store(FakeStore):
        compares = False

        async def heads(self, slugs: list[str]) -> Heads:
            if not self.is_down:
                return await super().heads(slugs)
            self.compares = True
            await asyncio.sleep(2 * watches.CHECK_EVERY_S)
            self.compares = False
            raise StoreDown("the connection is silent")

    store = Store(Past("b0"))
    store.is_down = True
    watch = StoreWatch(store, {"b0": Held(store.pasts["b0"].position)})
    running = asyncio.create_task(watch.run())
    await until(lambda: store.compares)
    store.is_down = False
    await asyncio.sleep(2 * watches.CHECK_EVERY_S + 0.1)
    assert watch.up
    running.cancel()


@in_virtual_time
async def test_comparison_logs_a_store_that_becomes_unreachable_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeStore(Past("b0"))
    watch = StoreWatch(store, {"b0": Held(store.pasts["b0"].position)})
    await one_comparison(watch)
    store.is_down = True
    for _ in range(2):
        await one_comparison(watch)
    assert [it for it in caplog.messages if "again" not in it] == [
        "the store is unreachable: all of it: the store is unreachable"
    ]
    assert watch.state_of("b0") == "down"


# -- refused writes


def refusing(cause: RefusalCause = "memory") -> StoreRefuses:
    return StoreRefuses(cause, f"the store's words for {cause}")


@in_virtual_time
async def test_store_refuses_writes_until_it_accepts_them_again() -> None:
    store, hub = blogs(1)
    await hub.live("b0")
    async with running(hub):
        await until(lambda: hub.store_up)
        store.refusal = refusing()
        await asyncio.sleep(watches.CHECK_EVERY_S + 0.1)
        assert (hub.store.state, hub.store_up) == ("refuses-writes", False)
        assert [hub.store_of(slug) for slug in ("b0", "other")] == ["refuses-writes"] * 2
        store.lacks.add("b0")
        await until(lambda: hub.store_of("b0") == "lacks")
        store.refusal = None
        await asyncio.sleep(watches.CHECK_EVERY_S + 0.1)
        assert hub.store_up


@in_virtual_time
@pytest.mark.parametrize("held", [0, 1])
async def test_store_that_also_forbids_reads_is_not_down(
    held: int, caplog: pytest.LogCaptureFixture
) -> None:
    store, hub = blogs(held)
    if held:
        await hub.live("b0")
    async with running(hub):
        await until(lambda: hub.store_up)
        store.refusal, store.forbids_reads = refusing("permission"), True
        await until(lambda: hub.store.state == "refuses-writes")
        await asyncio.sleep(2 * watches.HEADS_EVERY_S)
        assert [hub.store_of(slug) for slug in ("b0", "other")] == ["refuses-writes"] * 2
        store.refusal = None
        await until(lambda: hub.store_up)
    assert [it for it in caplog.messages if "again" not in it] == [
        "the store refuses writes: the store's words for permission"
    ]


@in_virtual_time
async def test_worker_has_contact_when_the_store_refuses_everything_from_its_start() -> None:
    store, hub = blogs(0)
    store.refusal, store.forbids_reads = refusing("permission"), True
    async with running(hub):
        await until(lambda: hub.store_seen)
        assert hub.store.state == "refuses-writes"


@in_virtual_time
async def test_unreachable_store_is_down_although_it_refused_writes_before() -> None:
    store, hub = blogs(0)
    store.refusal = refusing()
    async with running(hub):
        await until(lambda: hub.store.state == "refuses-writes")
        store.is_down = True
        await until(lambda: hub.store.state == "down")
        store.is_down = False
        await until(lambda: hub.store.state == "refuses-writes")


@in_virtual_time
async def test_store_that_hangs_is_down_within_two_seconds_and_up_when_it_answers() -> None:
    store, hub = blogs(1)
    await hub.live("b0")
    async with running(hub):
        await until(lambda: hub.store_up)
        store.latency_s = lambda: 30.0
        await asyncio.sleep(watches.CHECK_EVERY_S + watches.CHECK_WITHIN_S + 0.1)
        assert (hub.store.state, hub.store_of("b0")) == ("down", "down")
        store.latency_s = lambda: 0.001
        await until(lambda: hub.store_up, timeout_s=120)


@in_virtual_time
async def test_distant_store_is_up_when_its_first_answer_takes_long() -> None:
    store, hub = blogs(0)
    store.latency_s = lambda: 2 * watches.CHECK_WITHIN_S
    async with running(hub):
        await until(lambda: hub.store_up, timeout_s=30)


@in_virtual_time
async def test_state_is_logged_once_a_minute_while_it_lasts_and_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, hub = blogs(0)
    async with running(hub):
        await until(lambda: hub.store_up)
        store.refusal = refusing()
        await asyncio.sleep(100)
        store.refusal = None
        await until(lambda: hub.store_up)
        store.refusal = refusing()  # once more, within a minute
        await until(lambda: not hub.store_up)
    refused = "the store refuses writes: the store's words for memory"
    assert caplog.messages == [refused, refused, "the store is up again after 100 s", refused]


@in_virtual_time
async def test_log_is_bounded_when_the_state_changes_all_the_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, hub = blogs(0)
    async with running(hub):
        for _ in range(int(55 / watches.CHECK_EVERY_S)):  # the limit is for a minute
            store.refusal = None if store.refusal else refusing()
            await asyncio.sleep(watches.CHECK_EVERY_S + 0.01)
    assert 20 < len(caplog.messages) <= watches.LINES_MAX


@in_virtual_time
async def test_store_stays_up_and_the_log_warns_when_it_may_evict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, hub = blogs(0)
    store.warning = "the store may evict what was published"
    async with running(hub):
        await asyncio.sleep(100)
        assert (hub.store_up, hub.store.warning) == (True, store.warning)
    assert caplog.messages == [store.warning] * 2
