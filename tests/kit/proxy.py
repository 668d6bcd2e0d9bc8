"""A faulty network between a worker and its store, or between a browser and its server.

Workers connect to the proxy's TCP port, and the proxy connects to the store's socket. A browser's
proxy connects to the server's port. A test may cut connections, refuse them, stall their bytes,
drop their bytes silently (as a firewall does that has forgotten a connection), delay them, lose one
answer, and drop, repeat or delay pub/sub messages.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from kit.waiting import until

CHUNK = 65_536
MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
SHARDED = b"*3\r\n$8\r\nsmessage\r\n"

# The delay in seconds of each copy of a pub/sub message: [] loses it, [0, 0] delivers it twice.
Fate = Callable[[bytes], Sequence[float]]


def reply_end(data: bytes, at: int = 0) -> int:
    """Return the end of the RESP reply that starts at `at`; -1 when a part of it is missing."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return -1
    kind, after = data[at : at + 1], line + 2
    if kind not in b"$*":
        return after
    size = int(data[at + 1 : line])
    if kind == b"$":
        end = after + size + 2 if size >= 0 else after
        return end if end <= len(data) else -1
    for _ in range(size):
        after = reply_end(data, after)
        if after < 0:
            return -1
    return after


# The number and names of the keys of repair.lua in a request; publish.lua has more keys.
_REPAIR: Final = re.compile(
    rb"\r\n4\r\n\$\d+\r\nlb:\{([a-z0-9-]+)\}:blog\r\n\$\d+\r\nlb:\{\1\}:chain\r\n"
    rb"\$\d+\r\nlb:\{\1\}:entries\r\n\$\d+\r\nlb:\{\1\}:changed\r\n"
)
_REPAIR_BYTES_MAX: Final = 500  # four keys with a slug of 80 characters


class Proxy:
    """A proxy for all connections of one worker to the store, on a port of its own.

    `upstream` is the store's socket, or the port of a server on this machine.
    `announced` has the pub/sub messages in the order in which the store sent them; `held` has the
    bytes that wait for the end of a stall. `repairs` counts the repair reads of each blog, by slug.
    """

    def __init__(self, upstream: Path | int) -> None:
        self.upstream = upstream
        self.port = 0
        self.fate: Fate | None = None
        self.delay_s = 0.0
        self.answers_lost = 0
        self.announced: list[bytes] = []
        self.repairs: Counter[str] = Counter()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._swallows = False
        self._lose: list[bytes] = []
        self.held: list[bytes] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        await until(lambda: not self._links)

    # -- faults

    def cut(self, *, only_pubsub: bool = False) -> int:
        """Abort all TCP connections at once; return how many."""
        cut = [link for link in self._links if link.is_pubsub or not only_pubsub]
        for link in cut:
            link.abort()
        return len(cut)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Cut all connections, and refuse new ones inside the block."""
        self._refuses = True
        self.cut()
        try:
            yield
        finally:
            self._refuses = False

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Hold all bytes inside the block, and pass them on after it."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextlib.contextmanager
    def half_open(self) -> Iterator[None]:
        """Drop all bytes silently inside the block. After it, only new connections work."""
        self._swallows = True
        for link in self._links:
            link.is_dead = True
        try:
            yield
        finally:
            self._swallows = False

    def swallow_pubsub(self) -> None:
        """Silently drop all bytes of the present pub/sub connections, until these close."""
        for link in self._links:
            link.is_dead = link.is_dead or link.is_pubsub

    def lose_next_answer(self, to: bytes) -> None:
        """Pass on the next request that contains `to`, and cut the connection before its answer."""
        self._lose.append(to)

    def inject(self, message: bytes) -> None:
        """Send a pub/sub message to all subscribers, as if the store had sent it."""
        for link in self._links:
            if link.is_pubsub:
                link.to_client.write(message)

    # -- connections

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await self._open_upstream()
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, writer, up_writer)
        # `refusing` may have started during the await above, too early to cut this link.
        if self._refuses:
            link.abort()
            return
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(link.requests(reader))
                both.create_task(link.answers(up_reader))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            link.abort()

    async def _open_upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(self.upstream)
        return await asyncio.open_connection("127.0.0.1", self.upstream)

    def takes(self, request: bytes) -> bool:
        """Return True once for each `lose_next_answer` whose bytes are in the request."""
        found = next((part for part in self._lose if part in request), None)
        if found is None:
            return False
        self._lose.remove(found)
        return True

    @property
    def swallows(self) -> bool:
        return self._swallows

    def asks(self, part: bytes) -> bool:
        """Return whether a request with these bytes waits for the end of a stall."""
        return any(part in data for data in self.held)

    async def gate(self, data: bytes) -> None:
        """Wait until data may be passed on: for the end of a stall, then for `delay_s`."""
        self.held.append(data)
        await self._open.wait()
        self.held.remove(data)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)


class _Link:
    """Passes on the bytes of one connection between a worker and its store."""

    def __init__(
        self, proxy: Proxy, to_client: asyncio.StreamWriter, to_store: asyncio.StreamWriter
    ) -> None:
        self._proxy, self.to_client, self._to_store = proxy, to_client, to_store
        self.is_pubsub = False
        self.is_dead = proxy.swallows
        self._loses_answer = False

    def abort(self) -> None:
        self.to_client.transport.abort()
        self._to_store.transport.abort()

    async def requests(self, reader: asyncio.StreamReader) -> None:
        """Pass the client's requests on; close both sides when the client leaves."""
        rest = b""
        async for data in self._passed(reader):
            rest = self._count_repairs(rest + data)
            if b"SUBSCRIBE\r\n" in data:
                self.is_pubsub = True
            self._loses_answer = self._loses_answer or self._proxy.takes(data)
            self._to_store.write(data)
        self.abort()

    def _count_repairs(self, data: bytes) -> bytes:
        """Count the repair reads in requests; return the end, where one may have begun."""
        end = 0
        for found in _REPAIR.finditer(data):
            self._proxy.repairs[found[1].decode()] += 1
            end = found.end()
        return data[end:][-_REPAIR_BYTES_MAX:]

    async def answers(self, reader: asyncio.StreamReader) -> None:
        """Pass the store's answers on; close both sides when the store leaves.

        A dead connection stays open, as in a network that drops bytes silently.
        """
        rest = b""
        async for data in self._passed(reader):
            if self._loses_answer:
                self._proxy.answers_lost += 1
                self.abort()
            elif not self.is_pubsub:
                self.to_client.write(data)
            else:
                rest = self._messages(rest + data)
        if not self.is_dead:
            self.abort()

    async def _passed(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Yield the received bytes. Yield nothing on a dead connection, which drops all bytes."""
        while data := await reader.read(CHUNK):
            await self._proxy.gate(data)
            if not self.is_dead:
                yield data

    def _messages(self, data: bytes) -> bytes:
        """Pass on whole replies from `data`, and return the incomplete rest.

        `fate` decides whether and when a pub/sub message is passed on.
        """
        at = 0
        while (end := reply_end(data, at)) > 0:
            self._pass(data[at:end])
            at = end
        return data[at:]

    def _pass(self, reply: bytes) -> None:
        is_message = reply.startswith((MESSAGE, SHARDED)) and b"lb:probe" not in reply
        if is_message:
            self._proxy.announced.append(reply)
        fate = self._proxy.fate
        for after_s in fate(reply) if fate and is_message else [0.0]:
            if after_s:
                asyncio.get_running_loop().call_later(after_s, self.to_client.write, reply)
            else:
                self.to_client.write(reply)
