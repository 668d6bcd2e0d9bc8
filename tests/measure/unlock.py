"""Measure how soon a reader's page is live again after a phone was locked on a network without packets.

A page in Chromium reaches its server through a proxy. Each round hides the page, and the proxy swallows all packets
for OUTAGE_S: the page's connection is dead from then on, and new ones hang. The page becomes visible up to EARLY_S
before the network returns. An entry is published at the network's return. The delay ends when the status line says
"Live" and the page shows the entry.

The heartbeat is short, so that each outage is longer than half of it. Pages keep a stream that was silent for less.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from kit.figure import Figure
from kit.proxy import Proxy
from kit.servers import Editor, serving
from kit.windows import chromium, hide, window
from playwright.async_api import Page

TIMES: Final = 20
OUTAGE_S: Final = 3.0
EARLY_S: Final = 1.5
HEARTBEAT_S: Final = "2"
LIVE = """headline => document.querySelector('#status').dataset.state === 'live' &&
    [...document.querySelectorAll('[role=feed] h3')].some((it) => it.textContent === headline)"""


async def figures() -> AsyncIterator[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        settings = {"DATA_DIR": f"{directory}/data", "LIVEBLOG_HEARTBEAT_S": HEARTBEAT_S}
        with serving(Path(directory) / "log", **settings) as server:
            async with server.editor() as editor:
                delays = await measure(Proxy(server.port), editor)
    p95 = statistics.quantiles(delays, n=20, method="inclusive")[-1]
    yield Figure(f"unlock after 3 s of swallowed packets, {len(delays)} times, p95", 2, p95, " s")
    yield Figure("the same, at most", 3, max(delays), " s")


async def measure(network: Proxy, editor: Editor) -> list[float]:
    """Return the delay of each round, in seconds."""
    slug = (await editor.blog())["slug"]
    await network.start()
    try:
        async with chromium() as browser, window(browser) as page:
            await page.goto(f"http://127.0.0.1:{network.port}/blogs/{slug}")
            await page.wait_for_selector("#status[data-state=live]")
            return [await unlock(page, network, editor, slug, n) for n in range(TIMES)]
    finally:
        await network.stop()


async def unlock(page: Page, network: Proxy, editor: Editor, slug: str, number: int) -> float:
    early_s = random.uniform(0, EARLY_S)
    await hide(page, is_hidden=True)
    with network.half_open():
        await asyncio.sleep(OUTAGE_S - early_s)
        await hide(page, is_hidden=False)
        await asyncio.sleep(early_s)
    start = time.monotonic()
    await editor.publish(slug, headline=f"Entry {number}")
    await page.wait_for_function(LIVE, arg=f"Entry {number}", polling=20)
    return time.monotonic() - start
