"""One WebSocket reader on each of many blogs, in a process of its own.

A reader never reconnects, so that each `bye` counts. Readers answer pings, as a browser does.
"""

import asyncio
import contextlib
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

from kit.raw import UPGRADE, masked, request
from kit.waiting import SCALE
from liveblog.process import raise_file_limit

AT_ONCE: Final = 400  # handshakes under way; more would overflow the server's listen queue
FIRST_FRAME_S: Final = 60.0 * SCALE
PING: Final = b"\x89\x00"  # a whole ping without a payload; the server sends one after a beat
PONG: Final = masked(0x8A)


@dataclass
class Crowd:
    """Readers in another process. `first` counts their first frames: "hello", "bye", "none"."""

    _pipe: Connection
    first: Counter[str] = field(default_factory=Counter)

    async def join(self, slugs: Sequence[str]) -> None:
        """Add a reader on each of these blogs, and wait until each has its first frame."""
        self._pipe.send(list(slugs))
        self.first += await asyncio.to_thread(self._pipe.recv)

    async def closed(self) -> int:
        """Return how many readers that got a `hello` have lost their connection since."""
        self._pipe.send([])
        return int(await asyncio.to_thread(self._pipe.recv))


@contextlib.contextmanager
def crowd(port: int) -> Iterator[Crowd]:
    """Run the process of the readers of a server on this machine until the block ends."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(theirs, port))
    process.start()
    try:
        yield Crowd(ours)
    finally:
        process.terminate()
        process.join()


def _run(pipe: Connection, port: int) -> None:
    raise_file_limit()
    with contextlib.suppress(EOFError):
        asyncio.run(_serve(pipe, port))


async def _serve(pipe: Connection, port: int) -> None:
    gate, readers = asyncio.Semaphore(AT_ONCE), list[_Reader]()
    while True:
        slugs = await asyncio.to_thread(pipe.recv)
        if not slugs:
            pipe.send(sum(reader.is_lost for reader in readers))
            continue
        added = await asyncio.gather(*(_joined(gate, port, slug) for slug in slugs))
        readers += added
        pipe.send(Counter(reader.kind for reader in added))


async def _joined(gate: asyncio.Semaphore, port: int, slug: str) -> "_Reader":
    async with gate:
        loop = asyncio.get_running_loop()
        _, reader = await loop.create_connection(lambda: _Reader(slug), "127.0.0.1", port)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_FRAME_S):
            await reader.has_first.wait()
    return reader


class _Reader(asyncio.Protocol):
    def __init__(self, slug: str) -> None:
        self._slug, self._received = slug, b""
        self.kind = "none"  # of the first frame
        self.is_lost = False
        self.has_first = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(request(f"/blogs/{self._slug}/live", UPGRADE))

    def data_received(self, data: bytes) -> None:
        if data.endswith(PING):
            self._transport.write(PONG)
        if self.kind == "none":
            self._received += data
            kinds = (it for it in ("hello", "bye") if b'{"t":"%b"' % it.encode() in self._received)
            self.kind = next(kinds, "none")
            if self.kind != "none":
                self._received = b""
                self.has_first.set()

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = self.kind == "hello"
        self.has_first.set()
