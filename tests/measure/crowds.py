"""Crowds on plain connections: pages, publishing and health beside them, and the server's memory.

A server with one worker may open 1,024 files. Probes (a page, an API call that publishes, /healthz;
each on a new connection) measure times before a crowd comes and while the crowd is there:

- idle: 1,000 kept-alive connections that asked once each; the server closes some of them
- slow: 600 connections that send a sign-in body slowly; half announce 1 MiB, half send chunks
- unread: 150 connections that ask for 300 pages each and read nothing
- handshakes: 1,000 connections to a server with TLS; a half sends nothing, a half half a ClientHello

A client that was refused, or whose request was cut off, connects again after a random time in AGAIN_S. Times and memory may grow by half
and by a fifth; each TLS connection may take TLS_MB. NOISE_MS is added to the times, since a probe takes 1 to 5 ms on an idle server.
"""

import asyncio
import contextlib
import random
import resource
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from kit.figure import Figure
from kit.proxies import certificate
from kit.raw import client_hello, request
from kit.servers import COMMAND, TRUSTING, Server, serving, tls_settings

FILES: Final = 1_024
LIMITED: Final = ("sh", "-c", f'ulimit -n {FILES} && exec "$0" "$@"', *COMMAND)
ROUNDS: Final = 250  # probes of each kind
EVERY_S: Final = 0.02
NOISE_MS: Final = 3.0
PAUSE_S: Final = 1.0
AGAIN_S: Final = 2.0, 6.0  # before a refused client connects again; the server says Retry-After: 2
SPREAD_S: Final = 5.0  # the clients of a crowd connect over this time, not in one instant
ENTRIES: Final = 30
HELLO: Final = client_hello()
TLS_MB: Final = 0.08  # memory of a TLS connection: OpenSSL's state, and the event loop's buffers

Crowd = Callable[["Place"], Awaitable[None]]


class Place:
    """A server with a live blog; `asks` has the probes' requests by name."""

    def __init__(self, server: Server, slug: str, token: str) -> None:
        self.server, self.slug = server, slug
        entry = b'{"body":"One more entry."}'
        head = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        path = f"/api/blogs/{slug}/entries"
        post = request(path, f"{head}Content-Length: {len(entry)}\r\n", "POST") + entry
        self.asks = {
            "page": request(f"/blogs/{slug}", "Connection: close\r\n"),
            "publishing": post,
            "health": request("/healthz", "Connection: close\r\n"),
        }

    async def connect(
        self, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context)

    async def probe(self, name: str) -> float:
        """Return the milliseconds of one request on a new connection."""
        started = time.perf_counter()
        is_tls = self.server.url.startswith("https:")
        reader, writer = await self.connect(TRUSTING if is_tls else None)
        writer.write(self.asks[name])
        answer = await reader.read()
        writer.close()
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")), answer[:200]
        return (time.perf_counter() - started) * 1_000

    async def times(self) -> dict[str, float]:
        """Return the 99th percentile of each probe, in milliseconds."""
        found: dict[str, list[float]] = {name: [] for name in self.asks}
        for _ in range(ROUNDS):
            for name, times in found.items():
                times.append(await self.probe(name))
            await asyncio.sleep(EVERY_S)  # the rate is a part of what is measured
        return {name: sorted(times)[len(times) * 99 // 100] for name, times in found.items()}

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    async def top_rss_mb(self) -> float:
        """Return the most memory seen until the task is cancelled."""
        top = 0.0
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                top = max(top, self.rss_mb())
                await asyncio.sleep(0.05)  # the rate of samples
        return top


# -- crowds


async def _again(client: Callable[[], Awaitable[None]], after_s: float) -> None:
    """Let a client of a crowd connect, and again whenever the server has ended its connection."""
    await asyncio.sleep(after_s)
    while True:
        with contextlib.suppress(OSError):
            await client()
        await asyncio.sleep(
            random.uniform(*AGAIN_S)
        )  # the crowd's rate is a part of what is measured


async def _idle(place: Place) -> None:
    reader, writer = await place.connect()
    with contextlib.closing(writer):
        writer.write(request("/healthz"))
        if await reader.read(1):
            await asyncio.Event().wait()  # this client has asked once


async def _slow(place: Place, framing: str, piece: bytes) -> None:
    reader, writer = await place.connect()
    ended = asyncio.create_task(_ended(reader))
    with contextlib.closing(writer):
        kind = "Content-Type: application/x-www-form-urlencoded\r\n"
        writer.write(request("/desk/sign-in", f"{kind}{framing}\r\n", "POST"))
        while not ended.done():
            writer.write(piece)
            await asyncio.wait({ended}, timeout=0.5)  # the rate is a part of what is measured


async def _ended(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        await reader.read()


async def _slow_announced(place: Place) -> None:
    await _slow(place, "Content-Length: 1048576", b"name=" + b"a" * 59)


async def _slow_chunks(place: Place) -> None:
    await _slow(place, "Transfer-Encoding: chunked", b"40\r\n" + b"a" * 64 + b"\r\n")


async def _unread(place: Place) -> None:
    reader, writer = await place.connect()
    with contextlib.closing(writer):
        writer.write(request(f"/blogs/{place.slug}") * 300)
        # StreamReader stops reading the socket after twice its limit of 64 KiB.
        while not reader.at_eof() and not reader.exception():  # noqa: ASYNC110 - a reader has no event for its end
            await asyncio.sleep(PAUSE_S)


async def _unfinished(place: Place, first: bytes) -> None:
    reader, writer = await place.connect()
    with contextlib.closing(writer):
        writer.write(first)
        await reader.read()


async def _silent(place: Place) -> None:
    await _unfinished(place, b"")


async def _half_hello(place: Place) -> None:
    await _unfinished(place, HELLO[: len(HELLO) // 2])


@contextlib.asynccontextmanager
async def crowd(place: Place, count: int, *kinds: Crowd) -> AsyncIterator[None]:
    """Keep `count` clients connected during the block, of each kind as many."""
    clients = [partial(kinds[i % len(kinds)], place) for i in range(count)]
    tasks = [
        asyncio.create_task(_again(client, SPREAD_S * i / count))
        for i, client in enumerate(clients)
    ]
    try:
        await asyncio.sleep(SPREAD_S + 1)  # all have connected, and the first limits have acted
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- the figures


@contextlib.asynccontextmanager
async def limited_server(*, is_tls: bool) -> AsyncIterator[Place]:
    """Yield a server that may open FILES files, with a blog of ENTRIES entries, warmed up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the crowds are in this process
    with tempfile.TemporaryDirectory() as directory:
        log, data = Path(directory) / "log", str(Path(directory) / "data")
        tls = tls_settings(certificate(Path(directory))) if is_tls else {}
        with serving(log, command=LIMITED, DATA_DIR=data, **tls) as server:
            async with server.editor() as editor:
                blog = await editor.blog()
                await editor.publish_many(blog["slug"], ENTRIES)
            place = Place(server, blog["slug"], await server.token())
            await place.times()
            yield place


async def beside(name: str, count: int, *kinds: Crowd) -> AsyncIterator[Figure]:
    """Measure the probes and the memory before a crowd and beside it."""
    async with limited_server(is_tls=_silent in kinds) as place:
        before, rss = await place.times(), place.rss_mb()
        top = asyncio.create_task(place.top_rss_mb())
        async with crowd(place, count, *kinds):
            during = await place.times()
        top.cancel()
        for what, time_ms in before.items():
            must = time_ms * 1.5 + NOISE_MS
            yield Figure(f"{what} beside {count:,} {name}, p99", must, during[what], " ms")
        must = rss + TLS_MB * count if _silent in kinds else rss * 1.2
        yield Figure(f"memory beside {count:,} {name}", must, await top, " MB")


async def figures(
    idle: int = 1_000, slow: int = 600, unread: int = 150, handshakes: int = 1_000
) -> AsyncIterator[Figure]:
    """Measure each crowd beside a server of its own."""
    crowds: dict[str, tuple[int, *tuple[Crowd, ...]]] = {
        "idle connections": (idle, _idle),
        "slow sign-in bodies": (slow, _slow_announced, _slow_chunks),
        "connections with 300 unread answers": (unread, _unread),
        "unfinished TLS handshakes": (handshakes, _silent, _half_hello),
    }
    for name, (count, *kinds) in crowds.items():
        async for figure in beside(name, count, *kinds):
            yield figure
