"""Cached pages a second, compared with the least that an ASGI application can do, as a table.

    PYTHONPATH=tests python -m measure.cached_page [--seconds 3] [--rounds 5] [--connections 32]

`bare` is an ASGI function that answers each request with the page's bytes and headers, on uvicorn
with the options of `serve`. Both servers run on core 0, the load (this process) on core 1. Rounds
alternate, and the ratio is that of the medians.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import uvicorn
import uvloop
from kit.servers import Server, free_port, http, serving
from kit.waiting import until

from liveblog.clock import now_ms
from liveblog.commands.server import options as uvicorn_options
from liveblog.commands.story import MAIN, fill
from liveblog.editors.publishing import Publishing
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.connect import connect

CODINGS = ("br", "gzip", "identity")
SERVERS_CORE, LOAD_CORE = 0, 1


# -- the bare ASGI function, in a process of its own


def serve_bare(port: int, url: str, coding: str) -> None:
    """Answer every request with the headers and bytes of `url`."""
    headers, body = _answer(url, coding)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    settings = Settings(port=port, log_level="warning")
    plain = {"lifespan": "off", "factory": False, "http": "httptools", "ws": "none"}
    options = {**uvicorn_options(settings), **plain}
    uvicorn.run(application, **options)


def _answer(url: str, coding: str) -> tuple[Any, bytes]:
    with httpx2.stream("GET", url, headers={"accept-encoding": coding}) as answer:
        body = b"".join(answer.iter_raw())
        return [pair for pair in answer.headers.raw if pair[0].lower() != b"date"], body


@contextlib.contextmanager
def bare(page: str, coding: str) -> Iterator[str]:
    """Run the bare ASGI function in another process, and yield its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, "--bare", str(port), page, coding])
    try:
        os.sched_setaffinity(process.pid, {SERVERS_CORE})
        yield f"http://127.0.0.1:{port}/blogs/{MAIN}"
    finally:
        process.terminate()
        process.wait()


# -- load


class Connection(asyncio.Protocol):
    """A connection that requests the page again as soon as the last byte has arrived."""

    def __init__(self, request: bytes) -> None:
        self._request, self._left, self.count = request, 0, 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.ask()

    def ask(self) -> None:
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._left:  # the head arrives whole, because it is smaller than a packet
            head, _, data = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            self._left = int(head.lower().partition(b"content-length:")[2].split()[0])
        self._left -= len(data)
        if not self._left:
            self.count += 1
            self.ask()


@contextlib.asynccontextmanager
async def asking(url: str, coding: str, connections: int) -> AsyncIterator[list[Connection]]:
    address = urlsplit(url)
    request = (
        f"GET {address.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: {coding}\r\n"
        "Accept: text/html\r\nAccept-Language: en\r\nUser-Agent: load\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: Connection(request), address.hostname or "", address.port or 80
        )
        for _ in range(connections)
    ]
    try:
        yield [connection for _, connection in made]
    finally:
        for transport, _ in made:
            transport.abort()


async def pages_a_second(url: str, coding: str, connections: int, seconds: float) -> float:
    async with asking(url, coding, connections) as asked:
        await until(lambda: all(connection.count > 5 for connection in asked))
        before, began = sum(it.count for it in asked), time.perf_counter()
        await asyncio.sleep(seconds)  # the length of a measurement
        return (sum(it.count for it in asked) - before) / (time.perf_counter() - began)


# -- the comparison


async def fill_sample(server: Server) -> None:
    async with connect(server.store_url) as store:
        await fill(Publishing(Broker(store), lambda: 0), Accounts(store, now_ms))


async def is_answering(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        async with http() as client:
            return (await client.get(url)).status_code == 200
    return False


async def compare(ours: str, coding: str, chosen: argparse.Namespace) -> str:
    """Measure liveblog and the bare function in turn, and return a row of the table."""
    with bare(ours, coding) as floor:
        await until(lambda: is_answering(floor))
        rates: dict[str, list[float]] = {floor: [], ours: []}
        for _ in range(chosen.rounds):
            for url, found in rates.items():
                load = pages_a_second(url, coding, chosen.connections, chosen.seconds)
                found.append(await load)
    least, own = (statistics.median(found) for found in rates.values())
    return f"{coding:16}{least:10,.0f}{own:10,.0f}{own / least:8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {SERVERS_CORE})  # which the servers inherit
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(Path(directory) / "log", DATA_DIR=directory) as server,
    ):
        os.sched_setaffinity(0, {LOAD_CORE})
        asyncio.run(fill_sample(server))
        print(f"{'pages a second':16}{'bare':>10}{'ours':>10}{'ratio':>8}")
        for coding in CODINGS:
            print(uvloop.run(compare(f"{server.url}/blogs/{MAIN}", coding, chosen)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        serve_bare(int(sys.argv[2]), *sys.argv[3:])
    else:
        main()
