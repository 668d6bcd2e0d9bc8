"""The store's faults: connections cut, stalled or half open, answers lost, the store killed."""

import asyncio
from functools import partial

import httpx2
import pytest
from kit.servers import StoreProcess, http
from kit.stage import Show, Stage
from kit.waiting import length, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLISH = b":idem:"  # part of a Redis key's name; only commands for editors' writes contain it


async def assert_reading_continues(stage: Stage, show: Show) -> None:
    """Expect both servers to report `degraded`, to serve pages, and to answer writes with 503."""
    await asyncio.gather(*(_reading_continues(server.url, show.slug) for server in stage.servers))


async def _reading_continues(url: str, slug: str) -> None:
    async with http(base_url=url) as browser:
        await until(partial(_is_degraded, browser))
        page = await browser.get(f"/blogs/{slug}")
        changes = await browser.get(f"/blogs/{slug}/changes")
        assert (page.status_code, changes.status_code) == (200, 200)
        headers = {"authorization": f"Bearer lbt_{'x' * 43}"}
        path = f"/api/blogs/{slug}/entries"
        write = await browser.post(path, json={"body": "x"}, headers=headers)
        assert (write.status_code, bool(write.headers["retry-after"])) == (503, True)


async def _is_degraded(browser: httpx2.AsyncClient) -> bool:
    ready = await browser.get("/readyz")
    assert ready.status_code == 200
    return bool(ready.json() == {"status": "degraded", "store": "down"})


async def test_readers_stay_when_store_connections_are_cut(stage: Stage) -> None:
    async with stage.play("store connections cut, again and again") as show:
        for _ in range(5):
            for proxy in stage.proxies:
                proxy.cut()
            await show.changes(4)
        show.over()
    assert show.reconnects() == 0


async def test_reading_continues_when_the_store_is_unreachable(stage: Stage) -> None:
    async with stage.play("store unreachable") as show:
        first, second = stage.proxies
        with first.refusing(), second.refusing():
            await assert_reading_continues(stage, show)
            await asyncio.sleep(length(10, 1))
        show.over()
    assert show.reconnects() == 0
    assert show.newsroom.unsure


async def test_readers_stay_when_the_store_is_stopped(stage: Stage, store: StoreProcess) -> None:
    async with stage.play("store stands still") as show:
        with store.stopped():
            await assert_reading_continues(stage, show)
            await asyncio.sleep(length(10, 1))
        show.over()
    assert show.reconnects() == 0


async def test_readers_stay_when_store_connections_are_half_open(stage: Stage) -> None:
    async with stage.play("store connections half open") as show:
        with stage.half_open():
            await asyncio.sleep(length(30, 5))
        show.over()
    assert show.reconnects() == 0


async def test_readers_miss_nothing_when_the_store_is_300_ms_distant(stage: Stage) -> None:
    async with stage.play("store 300 ms distant") as show:
        for proxy in stage.proxies:
            proxy.delay_s = 0.15
        await show.changes(6)
        for proxy in stage.proxies:
            proxy.delay_s = 0.0
        show.over()
    assert show.reconnects() == 0


async def test_publish_makes_one_entry_when_its_answer_is_lost(stage: Stage) -> None:
    async with stage.play("answers to writes lost after they were carried out") as show:
        lost = sum(proxy.answers_lost for proxy in stage.proxies)
        for _ in range(4):
            for proxy in stage.proxies:
                for _ in range(2):  # the server retries a call to the store once: lose both answers
                    proxy.lose_next_answer(PUBLISH)
            await show.changes(8)
        lost = sum(proxy.answers_lost for proxy in stage.proxies) - lost
        show.over()
    assert lost >= 8
    assert show.newsroom.unsure
    assert show.reconnects() == 0


async def test_store_has_all_acknowledged_changes_when_killed_and_restarted(
    stage: Stage, store: StoreProcess
) -> None:
    async with stage.play("store killed, started with its file") as show:
        for _ in range(2):
            store.kill()
            await asyncio.sleep(length(3, 0.5))
            await asyncio.to_thread(store.start)
            await show.changes(4)
        show.over()
    assert show.reconnects() == 0
