"""A door to a store on which things go wrong when told to.

Workers connect to its TCP port, and it to the store's socket. What can be done to connections:
cut them, refuse them, hold what they carry, swallow it (as a network does that has forgotten them),
delay it, lose one answer, and do with pub/sub messages as `fate` says.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from kit.waiting import until

CHUNK = 65_536
MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
SHARDED = b"*3\r\n$8\r\nsmessage\r\n"

# After how many seconds each copy of a message arrives: [] never, [0, 0] twice.
Fate = Callable[[bytes], Sequence[float]]


def reply_end(data: bytes, at: int = 0) -> int:
    """Return where the RESP reply that begins at `at` ends; -1 when a part of it is missing."""
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


class Proxy:
    """One worker's door to the store, on a port of its own."""

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self.port = 0
        self.fate: Fate | None = None
        self.delay_s = 0.0
        self.answers_lost = 0
        self.heard: list[bytes] = []  # pub/sub messages, in the order in which the store sent them
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._swallows = False
        self._lose: list[bytes] = []
        self.held: list[bytes] = []  # what waits for a stall to end

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

    # -- what goes wrong

    def cut(self, *, only_pubsub: bool = False) -> int:
        """End all connections at once, with a reset; return how many."""
        cut = [link for link in self._links if link.is_pubsub or not only_pubsub]
        for link in cut:
            link.abort()
        return len(cut)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Let nobody in, as a store that is not there."""
        self._refuses = True
        self.cut()
        try:
            yield
        finally:
            self._refuses = False

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Pass nothing on; it comes later."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextlib.contextmanager
    def half_open(self) -> Iterator[None]:
        """Lose all bytes without a word; the connections of this time never work again."""
        self._swallows = True
        for link in self._links:
            link.is_dead = True
        try:
            yield
        finally:
            self._swallows = False

    def swallow_pubsub(self) -> None:
        """Have the network forget the pub/sub connections of now, without a word."""
        for link in self._links:
            link.is_dead = link.is_dead or link.is_pubsub

    def lose_next_answer(self, to: bytes) -> None:
        """Pass on the next request that has these bytes, and cut instead of passing its answer on."""
        self._lose.append(to)

    def say(self, message: bytes) -> None:
        """Send a message of the store's to whoever is subscribed."""
        for link in self._links:
            if link.is_pubsub:
                link.to_client.write(message)

    # -- connections

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, writer, up_writer)
        if self._refuses:  # since the store was asked: who comes through would stay all the time
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

    def takes(self, request: bytes) -> bool:
        """Say whether the answer to this request shall be lost; each order is carried out once."""
        found = next((part for part in self._lose if part in request), None)
        if found is None:
            return False
        self._lose.remove(found)
        return True

    @property
    def swallows(self) -> bool:
        return self._swallows

    def asks(self, part: bytes) -> bool:
        """Say whether a request with these bytes waits for a stall to end."""
        return any(part in data for data in self.held)

    async def gate(self, data: bytes) -> None:
        """Wait until data may be passed on."""
        self.held.append(data)
        await self._open.wait()
        self.held.remove(data)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)


class _Link:
    """One connection through the proxy."""

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
        """Pass on what the client asks; when it leaves, all is over."""
        async for data in self._passed(reader):
            if b"SUBSCRIBE\r\n" in data:
                self.is_pubsub = True
            self._loses_answer = self._loses_answer or self._proxy.takes(data)
            self._to_store.write(data)
        self.abort()

    async def answers(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the store says; that it left is not told through a dead link."""
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
        """Yield what comes, but for what is swallowed."""
        while data := await reader.read(CHUNK):
            await self._proxy.gate(data)
            if not self.is_dead:
                yield data

    def _messages(self, data: bytes) -> bytes:
        """Pass whole replies on, messages as `fate` says; return what is not whole yet."""
        at = 0
        while (end := reply_end(data, at)) > 0:
            self._pass(data[at:end])
            at = end
        return data[at:]

    def _pass(self, reply: bytes) -> None:
        is_message = reply.startswith((MESSAGE, SHARDED)) and b"lb:probe" not in reply
        if is_message:
            self._proxy.heard.append(reply)
        fate = self._proxy.fate
        for after_s in fate(reply) if fate and is_message else [0.0]:
            if after_s:
                asyncio.get_running_loop().call_later(after_s, self.to_client.write, reply)
            else:
                self.to_client.write(reply)
