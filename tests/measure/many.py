"""Many blogs in one worker: all are served, and none makes the others slow.

A server with default settings and one worker holds 10 blogs with a reader each, and answers 2,000 requests for
their pages. Then BLOGS blogs get a reader each, all at once, as after a deploy. Each page is requested once; then
another 2,000 requests go to random blogs. All requests come at the same pace from the same process.

Memory per blog is the growth of the worker's memory from the state with 10 blogs, with every page requested.
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import redis.asyncio
from kit.bulk import copy_blog
from kit.crowd import Crowd, crowd
from kit.figure import Figure
from kit.raw import Wire, request, wire
from kit.servers import Server, serving

BLOGS: Final = int(os.environ.get("MANY_BLOGS", "5000"))
FEW: Final = 10
ENTRIES: Final = 20
REQUESTS: Final = 2_000
PACE_S: Final = 0.015  # between two requests for pages
QUIET_S: Final = 3.0  # after the readers have joined: repairs and the first comparison end
TEXT: Final = (
    "The council votes at nine, and the chair has asked all members to be there in time. " * 3
)


async def figures() -> AsyncIterator[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with serving(place / "log", DATA_DIR=str(place / "data")) as server:
            slugs = await _written(server)
            with crowd(server.port) as readers:
                async for figure in _measured(server, slugs, readers):
                    yield figure


async def _written(server: Server) -> list[str]:
    """Write BLOGS blogs of ENTRIES entries, and return their slugs."""
    async with server.editor() as editor:
        original = (await editor.blog())["slug"]
        for number in range(ENTRIES):
            await editor.publish(original, f"Number {number}. {TEXT}", headline=f"Entry {number}")
    slugs = [f"many-{number}" for number in range(BLOGS)]
    async with redis.asyncio.Redis.from_url(server.store_url) as client:
        await copy_blog(client, original, slugs)
    return slugs


async def _measured(server: Server, slugs: Sequence[str], readers: Crowd) -> AsyncIterator[Figure]:
    async with wire(server.url) as connection:
        few, many = slugs[:FEW], slugs[FEW:]
        await readers.join(few)
        await _served(connection, few)
        before_s = await _p99_s(connection, few)
        before_kb = _rss_kb(server.pid)
        await readers.join(many)
        yield Figure(
            "blogs that got a reader's `hello`", BLOGS, readers.first["hello"], at_least=True
        )
        served = await _served(connection, slugs)
        yield Figure("blogs whose page was served", BLOGS, served, at_least=True)
        await asyncio.sleep(QUIET_S)
        after_s = await _p99_s(connection, slugs)
        each_kb = (_rss_kb(server.pid) - before_kb) / len(many)
        yield Figure("memory per held blog with its reader", 40, each_kb, " KB")
        limit_ms = 1_000 * 1.5 * before_s + 3
        yield Figure(f"page p99 with {BLOGS} blogs", limit_ms, 1_000 * after_s, " ms")
        lost = readers.first.total() - readers.first["hello"] + await readers.closed()
        yield Figure("readers that were refused or lost", 0, lost)


async def _served(connection: Wire, slugs: Sequence[str]) -> int:
    """Request each blog's page once, and return how many answers were the page."""
    return sum([await _status(connection, slug) == 200 for slug in slugs])


async def _p99_s(connection: Wire, slugs: Sequence[str]) -> float:
    """Request REQUESTS pages of random blogs at an even pace; return the 99th percentile."""
    chosen, times = random.Random(1), []
    began = time.perf_counter()
    for number in range(REQUESTS):
        await asyncio.sleep(began + number * PACE_S - time.perf_counter())
        asked = time.perf_counter()
        assert await _status(connection, chosen.choice(slugs)) == 200
        times.append(time.perf_counter() - asked)
    return sorted(times)[int(0.99 * len(times))]


async def _status(connection: Wire, slug: str) -> int:
    await connection.send(request(f"/blogs/{slug}", "Accept-Encoding: gzip\r\n"))
    head = (await connection.head()).lower()
    length = int(head.partition(b"content-length:")[2].split()[0])
    await connection.reader.readexactly(length)
    return int(head.split()[1])


def _rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
