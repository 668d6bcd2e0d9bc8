"""Readers whose positions are stale, ahead of their server, or forged."""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence

import httpx2
import pytest
from kit.audience import Transport, read_page
from kit.judge import Page
from kit.readers import Target, websocket
from kit.servers import http
from kit.stage import RECONNECT_S, Show, Stage
from kit.waiting import length

from liveblog.live.watch import HEADS_EVERY_S

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 40
STREAMS: Sequence[Transport] = ("socket", "events")  # a poll would get 503


async def test_reader_misses_nothing_when_ahead_of_its_server(stage: Stage) -> None:
    """The page comes from one server, the stream from another that cannot reach the store.

    The second server lacks changes that the page has. It must send no reset for that reason.
    """
    ahead, late = stage.servers
    fault = "page from one server, stream on one that is behind"
    # RECONNECT_S, because a polling reader gets 503 and retries only after up to 10 s.
    async with stage.play(fault, within_s=RECONNECT_S, desks=[ahead.url]) as show:
        with stage.proxies[1].half_open():
            await show.changes(10)
            await show.audience.admit(40, [late.url], STREAMS, pages=[ahead.url])
            await show.changes(5)
            assert show.resets() == 0
        show.over()
    assert show.resets() == 0


async def test_page_catches_up_when_a_cache_serves_an_old_one(stage: Stage) -> None:
    async with stage.play("pages and older pages from a cache that is behind") as show:
        async with http(base_url=stage.servers[0].url) as browser:
            await show.changes(25)
            newest = await fetched(browser, show, "")
            oldest_shown = min(newest.entries, key=lambda id: newest.entries[id].order)
            query = f"before={oldest_shown}"
            older = await fetched(browser, show, f"?{query}")
            await show.changes(30)
        assert older.below == newest.lowest
        await show.audience.admit(40, opens=newest)
        await show.audience.admit(40, opens=older, query=query)
        show.over()
    assert show.resets() == 0


async def fetched(browser: httpx2.AsyncClient, show: Show, query: str) -> Page:
    answer = await browser.get(f"/blogs/{show.slug}{query}")
    return read_page(answer.text)


async def test_forged_positions_cost_one_store_read_a_second(stage: Stage) -> None:
    chance = random.Random(2)
    async with stage.play("a storm of forged and stale positions") as show:
        epoch = show.head().epoch
        before = [proxy.repairs[show.slug] for proxy in stage.proxies]
        began = time.monotonic()
        gate = asyncio.Semaphore(AT_ONCE)
        urls = [server.url for server in stage.servers]
        async with asyncio.TaskGroup() as storm:
            for _ in range(int(length(2_000, 400))):
                await gate.acquire()
                ask = Target(chance.choice(urls), show.slug, since=forged(show, chance))
                storm.create_task(refused(ask)).add_done_callback(lambda _: gate.release())
        took_s = time.monotonic() - began
        # A comparison with the store may see a change before its message arrives, and starts a read.
        reads_max = took_s + took_s / HEADS_EVERY_S + 2
        for proxy, was in zip(stage.proxies, before, strict=True):
            assert 1 <= proxy.repairs[show.slug] - was <= reads_max
        show.over()
        assert show.head().epoch == epoch
    assert show.reconnects() == show.resets() == 0


def forged(show: Show, chance: random.Random) -> str:
    epoch, offset, check = show.head()
    return chance.choice(
        (
            f"{epoch}.{offset}.00000000",
            f"{epoch}.{offset + 5}.{check}",
            f"{epoch}.{2**53}.{check}",
            f"zzzzzz.{offset}.{check}",
            f"{epoch}.1.ffffffff",
            f"{epoch}.{offset}",
            "'; DROP TABLE--",
            "9" * 300,
        )
    )


async def refused(ask: Target) -> None:
    """Open a stream with a forged position, and expect a reset and no changes."""
    async with websocket(ask) as stream:
        with contextlib.suppress(EOFError):
            while (frame := await stream.get())["t"] != "reset":
                assert frame["t"] == "hello" or frame["position"] is None, frame
            await stream.get()
        assert stream.code == 4005
