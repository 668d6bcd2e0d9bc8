"""The store's side of the matrix: cut, stalled, forgotten by the network, killed, its answers lost."""

import asyncio
from functools import partial

import httpx2
import pytest
from kit.servers import StoreProcess, http
from kit.stage import Show, Stage, length
from kit.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLISH = b":idem:"  # which only the script of an editor's write has among its keys


async def assert_reading_goes_on(stage: Stage, show: Show) -> None:
    """Both servers say that the store is away, and give the page; a write is 503, to try again."""
    await asyncio.gather(*(_reading_goes_on(server.url, show.slug) for server in stage.servers))


async def _reading_goes_on(url: str, slug: str) -> None:
    async with http(base_url=url) as browser:
        await until(partial(_says_degraded, browser))
        page = await browser.get(f"/blogs/{slug}")
        changes = await browser.get(f"/blogs/{slug}/changes")
        assert (page.status_code, changes.status_code) == (200, 200)
        headers = {"authorization": f"Bearer lbt_{'x' * 43}"}
        path = f"/api/blogs/{slug}/entries"
        write = await browser.post(path, json={"body": "x"}, headers=headers)
        assert (write.status_code, bool(write.headers["retry-after"])) == (503, True)


async def _says_degraded(browser: httpx2.AsyncClient) -> bool:
    ready = await browser.get("/readyz")
    assert ready.status_code == 200
    return bool(ready.json() == {"status": "degraded", "store": "down"})


async def test_cut_store_connections_lose_nothing_and_nobody_leaves(stage: Stage) -> None:
    async with stage.play("store connections cut, again and again") as show:
        for _ in range(5):
            for proxy in stage.proxies:
                proxy.cut()
            await show.changes(4)
        show.over()
    assert show.reconnects() == 0


async def test_while_the_store_is_unreachable_reading_goes_on_and_writes_wait(stage: Stage) -> None:
    async with stage.play("store unreachable") as show:
        first, second = stage.proxies
        with first.refusing(), second.refusing():
            await assert_reading_goes_on(stage, show)
            await asyncio.sleep(length(10, 1))
        show.over()
    assert show.reconnects() == 0
    assert show.newsroom.unsure


async def test_a_store_that_stands_still_loses_nothing_and_nobody_leaves(
    stage: Stage, store: StoreProcess
) -> None:
    async with stage.play("store stands still") as show:
        with store.stopped():
            await assert_reading_goes_on(stage, show)
            await asyncio.sleep(length(10, 1))
        show.over()
    assert show.reconnects() == 0


async def test_a_network_that_forgets_the_stores_connections_loses_nothing(stage: Stage) -> None:
    async with stage.play("store connections half open") as show:
        with stage.half_open():
            await asyncio.sleep(length(30, 5))
        show.over()
    assert show.reconnects() == 0


async def test_a_slow_network_to_the_store_loses_nothing(stage: Stage) -> None:
    async with stage.play("store 300 ms away") as show:
        for proxy in stage.proxies:
            proxy.delay_s = 0.15
        await show.changes(6)
        for proxy in stage.proxies:
            proxy.delay_s = 0.0
        show.over()
    assert show.reconnects() == 0


async def test_a_publish_whose_answer_is_lost_makes_one_entry(stage: Stage) -> None:
    async with stage.play("answers to writes lost after they were carried out") as show:
        lost = sum(proxy.answers_lost for proxy in stage.proxies)
        for _ in range(4):
            for proxy in stage.proxies:
                for _ in range(2):  # the second try's too
                    proxy.lose_next_answer(PUBLISH)
            await show.changes(8)
        lost = sum(proxy.answers_lost for proxy in stage.proxies) - lost
        show.over()
    assert lost >= 8
    assert show.newsroom.unsure
    assert show.reconnects() == 0


async def test_a_store_killed_and_started_with_its_file_has_everything_acknowledged(
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
