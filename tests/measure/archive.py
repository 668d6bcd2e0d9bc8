"""An archive of many blogs: an idle worker, its pages and its start cost the same as with few.

Two stores have FEW and BLOGS ended blogs with two entries each, written by the program's own writer, and a live blog.
Every hundredth blog is live too, with an entry scheduled for a later year. Each store has a server with one
worker and default settings; all figures are of one run.

- Start: the time from the start of the process until `/readyz` is 200, the longest of STARTS.
- Idle: the CPU time of each worker over SECONDS without requests. The sweep of a store that was never swept runs.
- Pages: REQUESTS requests for the live blog's page and as many for the home page of each server, in turn, at an even
  pace over SECONDS.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
from kit.figure import Figure
from kit.processes import cpu_s
from kit.servers import Server, StoreProcess, http, store_process
from kit.stores import binary_of

from liveblog.blog.model import Blog, BlogStatus, Entry, new_id
from liveblog.commands.load import percentile
from liveblog.html.markdown import to_html
from liveblog.store.broker import Broker
from liveblog.store.calls import CallKey, blog_write, entry_write
from liveblog.store.connect import connect

BLOGS: Final = int(os.environ.get("ARCHIVE_BLOGS", "20000"))
FEW: Final = 10
ENTRIES: Final = 2
SCHEDULED_EVERY: Final = 100  # blogs
SCHEDULED_FOR: Final = 3_786_912_000_000  # 2090
SECONDS: Final = float(os.environ.get("ARCHIVE_SECONDS", "60"))
REQUESTS: Final = int(os.environ.get("ARCHIVE_REQUESTS", "2000"))
STARTS: Final = 3
AT_ONCE: Final = 16  # writes of the archive
TEXT: Final = "The council votes at nine, and the chair has asked all members to be there in time. "
PATHS: Final = ("/blogs/today", "/")


class Site(NamedTuple):
    """A store with a number of blogs, and the server on it."""

    blogs: int
    store: StoreProcess
    server: Server


async def figures() -> AsyncIterator[Figure]:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        few, many = [stack.enter_context(site(Path(scratch), count)) for count in (FEW, BLOGS)]
        for it in (few, many):
            await write(it)
        base, value = (max(started_s(it.server) for _ in range(STARTS)) for it in (few, many))
        yield Figure(
            f"start of a worker with {BLOGS:,} blogs ({FEW}: {base:.2f} s)", 2, value, " s"
        )
        async for figure in _running(few, many):
            yield figure


async def _running(few: Site, many: Site) -> AsyncIterator[Figure]:
    for it in (few, many):  # loads the live blog, and both pages
        [it.server.text(path) for path in PATHS]
    idle = await idle_percent(few, many)
    yield Figure(
        f"idle CPU of a worker with {BLOGS:,} blogs ({FEW}: {idle[0]:.2f} %)",
        1.5 * idle[0] + 1,
        idle[1],
        " %",
    )
    times = await asked(few, many)
    for path, what in zip(PATHS, ("page", "home page"), strict=True):
        base, value = (percentile(sorted(times[it.blogs, path]), 0.99) for it in (few, many))
        yield Figure(
            f"{what} p99 with {BLOGS:,} blogs ({FEW}: {base:.2f} ms)",
            1.5 * base + 3,
            value,
            " ms",
        )


@contextmanager
def site(scratch: Path, blogs: int) -> Iterator[Site]:
    """Run a store, and yield it with a server that does not run yet."""
    directory = scratch / str(blogs)
    directory.mkdir()
    with store_process(directory, binary_of("valkey"), "--appendfsync", "no") as store:
        store.start()
        server = Server(scratch / f"{blogs}.log", REDIS_URL=store.url)
        try:
            yield Site(blogs, store, server)
        finally:
            server.kill()


# -- the archive


async def write(it: Site) -> None:
    """Write the ended blogs, and a live one last, as publishing does."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with connect(it.store.url) as nodes:
        broker = Broker(nodes)

        async def one(number: int) -> None:
            async with gate:
                await _write_blog(broker, f"archive-{number}", number % SCHEDULED_EVERY == 0)

        await asyncio.gather(*(one(number) for number in range(it.blogs)))
        today = Blog(slug="today", title="Today", status="live")
        await broker.writes.commit("today", blog_write("create", None, today, _call()))
        for _ in range(20):
            await broker.writes.commit("today", entry_write(None, _entry(), _call()))


async def _write_blog(broker: Broker, slug: str, has_scheduled: bool) -> None:
    """Write a blog; a live one when it has a scheduled entry: an ended one would have no look."""
    status: BlogStatus = "live" if has_scheduled else "ended"
    blog = Blog(slug=slug, title=f"What happened in {slug}", dek=TEXT, status=status)
    await broker.writes.commit(slug, blog_write("create", None, blog, _call()))
    entries = [_entry() for _ in range(ENTRIES)]
    if has_scheduled:
        entries.append(_entry(status="scheduled", publish_at=SCHEDULED_FOR))
    for entry in entries:
        await broker.writes.commit(slug, entry_write(None, entry, _call()))


def _entry(**fields: Any) -> Entry:
    html = to_html(TEXT)
    return Entry(id=new_id("e", 12), body=TEXT, body_html=html, **{"status": "published", **fields})


def _call() -> CallKey:
    return CallKey(new_id("", 32), "0" * 40, is_repeatable=False)


# -- figures


def started_s(server: Server) -> float:
    """Start the server, again when it runs, and return the seconds until it is ready."""
    if server.process:
        server.stop()
    began = time.monotonic()
    server.start()
    return time.monotonic() - began


async def idle_percent(*sites: Site) -> list[float]:
    """Return the share of a core that each worker uses without requests."""
    before = [cpu_s(it.server.pid) for it in sites]
    await asyncio.sleep(SECONDS)
    after = [cpu_s(it.server.pid) for it in sites]
    return [100 * (end - start) / SECONDS for start, end in zip(before, after, strict=True)]


async def asked(*sites: Site) -> dict[tuple[int, str], list[float]]:
    """Request each page of each server REQUESTS times in turn; return the ms, by blogs and path."""
    times: dict[tuple[int, str], list[float]] = {(s.blogs, p): [] for s in sites for p in PATHS}
    turns = [(it, path) for it in sites for path in PATHS] * REQUESTS
    began = time.monotonic()
    async with http() as client:
        for number, (it, path) in enumerate(turns):
            due = began + SECONDS * number / len(turns)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            times[it.blogs, path].append(await _ms(client, it.server.url + path))
    return times


async def _ms(client: httpx2.AsyncClient, url: str) -> float:
    began = time.perf_counter()
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    return 1_000 * (time.perf_counter() - began)
