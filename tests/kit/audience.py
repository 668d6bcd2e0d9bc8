"""Readers that follow docs/streams.md on bare sockets, without any of the server's code.

A `Viewer` loads the page, follows a stream (WebSocket, events or polls) from the page's position,
waits before it reconnects, and starts over after a reset. A `Window` is the range in seconds from
which a viewer draws a wait. A viewer's `story` lists the pages and frames that it applied, and
kit/judge.py checks the story. All viewers share a cache of parsed frames: the server sends the same
bytes to all.
"""

import asyncio
import contextlib
import json
import random
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from kit.judge import Announced, Page, Position, Shown, Step
from kit.raw import UPGRADE, masked, request
from kit.waiting import SCALE, length, until

Transport = Literal["socket", "events", "polls"]
Window = tuple[float, float]

# Of ten readers eight use WebSocket, one uses Server-Sent Events, and one polls.
TRANSPORTS: Final[Sequence[Transport]] = (
    *(("socket",) * 4 + ("events",)),
    *(("socket",) * 4 + ("polls",)),
)
SOON: Final[Window] = (0, 1)
RETRY: Final[Window] = (0, length(10, 3))  # seconds between connects; in a browser up to 10 s
POLL: Final[Window] = (0.2, 0.6)  # seconds between polls; in a browser 8 to 12 s
# After a stream that lasted this long, a viewer waits for SOON, else for RETRY. In a browser, the
# limit is 5 s.
STABLE_S: Final = length(5, 2)
HELLO_S: Final = 10.0 * SCALE
ANSWER_S: Final = 10.0 * SCALE
# Size of the kernel's receive buffer; asyncio buffers up to twice as much. Both are small, so that
# the server's socket is soon full when a viewer stalls.
RECEIVE_BYTES: Final = 16_384

_MAIN = re.compile(r'<main data-blog="[^"]+" data-position="([^"]+)"[^>]*>')
_BOUND = re.compile(r'data-(lowest|below)="(\d+)"')
_ARTICLE = re.compile(
    r'<article id="(e\w+)" data-offset="(\d+)" data-order="(\d+)".*?</article>', re.DOTALL
)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")

decoded: Callable[[bytes], Any] = lru_cache(maxsize=4_096)(json.loads)


@lru_cache(maxsize=256)
def read_page(html: str) -> Page:
    """Return a page's position, its entries, and the range of `order` that the page covers.

    `order` is the offset at which an entry was first published.
    """
    main = _MAIN.search(html)
    assert main, html[:500]
    feed = html[html.index('<div role="feed"') :]
    entries = {
        found[1]: Shown(int(found[2]), int(found[3]), found[0]) for found in _ARTICLE.finditer(feed)
    }
    bounds = {found[1]: int(found[2]) for found in _BOUND.finditer(main[0])}
    return Page(Position.of(main[1]), entries, bounds.get("lowest", 0), bounds.get("below"))


class Answer(NamedTuple):
    status: int
    body: bytes


class Wire(NamedTuple):
    """One TCP connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> int:
        """Read the status line and the headers of an answer, and return the status."""
        return _status(await self._head())

    async def answer(self) -> Answer:
        """Read an answer. Raises EOFError when the server ended before all of the body came."""
        head = await self._head()
        found = _LENGTH.search(head)
        async with asyncio.timeout(ANSWER_S):
            body = self.reader.readexactly(int(found[1])) if found else self.reader.read()
            return Answer(_status(head), await body)

    async def _head(self) -> bytes:
        async with asyncio.timeout(ANSWER_S):
            return await self.reader.readuntil(b"\r\n\r\n")


def _status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


class Viewer:
    """Acts as one reader: loads pages, follows streams, reconnects, and keeps its `story`.

    `urls` are the servers behind a balancer; each connection goes to a server that accepts it.
    `pages` are the servers that send its pages, by default `urls`. `opens` is a page from a cache,
    which the viewer takes instead of loading one. `query` is the page's query, for example
    `before=e…` for an older page.
    """

    def __init__(
        self,
        number: int,
        urls: Sequence[str],
        slug: str,
        *,
        pages: Sequence[str] = (),
        opens: Page | None = None,
        query: str = "",
        transport: Transport = "socket",
    ) -> None:
        self.urls, self.slug = list(urls), slug
        self._pages, self._opens, self._query = list(pages or urls), opens, query
        self.transport: Transport = transport
        self.story: list[Step] = []
        self.position: Position | None = None
        self.joins = 0
        self.byes: list[float] = []  # the event loop's time at each `bye`
        self.is_on = False  # True from the `hello` of a stream to its end
        self.resets = 0
        self.number = number
        self._random = random.Random(number)
        self._wire: Wire | None = None
        self._reads = asyncio.Event()
        self._reads.set()
        self._silence_s = HELLO_S
        self._bye: Window | None = None

    # -- faults

    def stall(self) -> None:
        """Stop reading the stream, until `read_on`."""
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    def cut(self) -> bool:
        """Abort the TCP connection; return False when there is none."""
        if self._wire:
            self._wire.writer.transport.abort()
        return self._wire is not None

    # -- following

    async def live(self) -> None:
        """Load the page and follow the blog, until cancelled."""
        if self._opens:
            self._take_page(self._opens)
        else:
            await self._open("")
        while True:
            window = await self._follow()
            await asyncio.sleep(self._random.uniform(*window))

    async def _open(self, at: str, accepts: Callable[[Position], bool] = lambda _: True) -> None:
        """Load the page again and again, until `accepts` returns True for its position."""
        asked = "&".join(part for part in (self._query, at) if part)
        while True:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                answer = await self._get(f"/blogs/{self.slug}?{asked}", self._pages)
                if answer.status == 200:
                    page = read_page(answer.body.decode())
                    if accepts(page.position):
                        return self._take_page(page)
            await asyncio.sleep(self._random.uniform(*SOON))

    def _take_page(self, page: Page) -> None:
        self.story.append(page)
        self.position = page.position

    async def _start_over(self, reset: Position) -> None:
        held = self.position
        self.story.append(Announced())
        self.resets += 1

        def accepts(page: Position) -> bool:
            if page.epoch == reset.epoch:
                return page.offset >= reset.offset
            return held is None or page.epoch != held.epoch

        await self._open(f"at={_text(reset)}", accepts)

    async def _follow(self) -> Window:
        """Follow one stream to its end; return the range of the wait before the next stream."""
        loop = asyncio.get_running_loop()
        opened, joins = loop.time(), self.joins
        self._silence_s, self._bye = HELLO_S, None
        try:
            frames = {"socket": self._socket, "events": self._events, "polls": self._poll}
            async for frame in frames[self.transport]():
                over = await self._take(frame)
                if over:
                    return over
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            self.is_on = False
        if self._bye:
            return self._bye
        was_stable = self.joins > joins and loop.time() - opened >= STABLE_S
        return SOON if was_stable else RETRY

    async def _take(self, frame: dict[str, Any]) -> Window | None:
        """Apply a frame.

        A `reset` ends the stream: then return the range of the wait before the next stream. Return
        None after other frames.
        """
        match frame["t"]:
            case "hello":
                assert Position.of(frame["position"]) == self.position, (frame, self.position)
                self.joins += 1
                self.is_on = True
                self._silence_s = 2 * frame["heartbeat_s"] * SCALE
            case "changes":
                return self._apply(frame)
            case "beat" if frame["position"]:
                assert Position.of(frame["position"]) == self.position, (frame, self.position)
            case "reset":
                await asyncio.sleep(self._random.uniform(*_window(frame)))
                await self._start_over(Position.of(frame["position"]))
                return 0, 0
            case "bye":
                assert frame["after_ms"], f"a bye without a window: {frame}"
                self.byes.append(asyncio.get_running_loop().time())
                self._bye = _window(frame)
        return None

    def _apply(self, frame: dict[str, Any]) -> Window | None:
        """Apply a `changes` frame unverified; kit/judge.py verifies the whole story later."""
        self.story.append(frame)
        self.position = Position.of(frame["position"])
        return None

    # -- transports

    async def _connect(self, urls: list[str]) -> Wire:
        """Connect to one of `urls`. When that server refuses the connection, try the next ones.

        Before its first join, the viewer's number chooses the server, so that viewers are spread
        evenly. Later the choice is random.
        """
        turn = (
            self.number + self.number // 10 if not self.joins else self._random.randrange(len(urls))
        )
        for url in urls[turn % len(urls) :] + urls[: turn % len(urls)]:
            with contextlib.suppress(OSError):
                return await _dial(url)
        raise ConnectionRefusedError(f"none of {urls} accepts a connection")

    async def _get(self, path: str, urls: list[str]) -> Answer:
        wire = await self._connect(urls)
        try:
            ask = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
            wire.writer.write(ask.encode())
            return await wire.answer()
        finally:
            wire.writer.transport.abort()

    @contextlib.asynccontextmanager
    async def _stream(self, path: str, headers: str, version: str) -> AsyncIterator[Wire]:
        self._wire = await self._connect(self.urls)
        try:
            ask = request(f"{path}?since={_text(self.position)}", headers)
            self._wire.writer.write(ask.replace(b"HTTP/1.1", version.encode(), 1))
            yield self._wire
        finally:
            self._wire.writer.transport.abort()
            self._wire = None

    async def _socket(self) -> AsyncIterator[dict[str, Any]]:
        async with self._stream(f"/blogs/{self.slug}/live", UPGRADE, "HTTP/1.1") as wire:
            assert await wire.head() == 101
            while True:
                first, payload = await self._read(_frame(wire.reader))
                if first == 0x81:
                    yield decoded(payload)
                elif first == 0x89:
                    wire.writer.write(masked(0x8A, payload))
                elif first == 0x88:
                    wire.writer.write(masked(0x88, payload[:2]))
                    return

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        async with self._stream(f"/blogs/{self.slug}/events", "", "HTTP/1.0") as wire:
            if await wire.head() != 200:
                return
            rest = b""
            while data := await self._read(wire.reader.read(RECEIVE_BYTES)):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: "):
                        yield decoded(line[6:])

    async def _poll(self) -> AsyncIterator[dict[str, Any]]:
        """Poll the path `changes` until a status is not 200; the first 200 counts as the join."""
        while True:
            path = f"/blogs/{self.slug}/changes?since={_text(self.position)}"
            answer = await self._get(path, self.urls)
            if answer.status != 200:
                return
            self.joins += not self.joins
            self.is_on = True
            yield decoded(answer.body)
            await asyncio.sleep(self._random.uniform(*POLL))
            await self._reads.wait()

    async def _read(self, reading: Any) -> Any:
        """Wait while the viewer is stalled, then read a part of the stream.

        Raises TimeoutError when nothing arrives for `_silence_s` seconds.
        """
        try:
            await self._reads.wait()
            async with asyncio.timeout(self._silence_s):
                return await reading
        finally:
            reading.close()


async def _dial(url: str) -> Wire:
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
    except BaseException:
        connection.close()
        raise
    return Wire(*await asyncio.open_connection(sock=connection, limit=RECEIVE_BYTES))


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the first byte and the payload of a server's frame (RFC 6455, section 5.2)."""
    first, size = await reader.readexactly(2)
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return first, await reader.readexactly(size)


def _window(frame: dict[str, Any]) -> Window:
    low, high = frame["after_ms"]
    return low / 1000, high / 1000


def _text(position: Position | None) -> str:
    assert position
    return f"{position.epoch}.{position.offset}.{position.check}"


class Audience:
    """Starts and ends many viewers of one blog. `left` lists those that `churn` ended."""

    def __init__(
        self,
        count: int,
        urls: Sequence[str],
        slug: str,
        transports: Sequence[Transport] = TRANSPORTS,
    ) -> None:
        self._count, self._urls, self._slug = count, urls, slug
        self._transports = transports
        self.viewers: list[Viewer] = []
        self.left: list[Viewer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Audience":
        await self.admit(self._count)
        return self

    async def admit(
        self,
        count: int,
        urls: Sequence[str] = (),
        transports: Sequence[Transport] = (),
        **more: Any,
    ) -> list[Viewer]:
        """Start more viewers, and return them once all have joined a stream."""
        first = len(self.viewers)
        late = [
            self._viewer(number, urls or self._urls, transports or self._transports, **more)
            for number in range(first, first + count)
        ]
        self.viewers += late
        self._tasks += [asyncio.create_task(viewer.live()) for viewer in late]
        await until(lambda: self._alive() and all(viewer.joins for viewer in late), 30)
        return late

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _viewer(
        self, number: int, urls: Sequence[str], transports: Sequence[Transport], **more: Any
    ) -> Viewer:
        transport = transports[number % len(transports)]
        return Viewer(number, urls, self._slug, transport=transport, **more)

    async def churn(self, per_s: float, seconds: float) -> None:
        """Start `per_s` viewers a second; each leaves after 1 to 4 s."""
        async with asyncio.TaskGroup() as passing:
            for turn in range(int(per_s * seconds)):
                viewer = self._viewer(len(self.left), self._urls, self._transports)
                self.left.append(viewer)
                passing.create_task(_pass_by(viewer, 1 + turn % 4))
                await asyncio.sleep(1 / per_s)

    def _alive(self) -> Sequence[Viewer]:
        """Return all viewers. Raises the exception of a viewer that failed."""
        for task in self._tasks:
            if task.done():
                task.result()
        return self.viewers

    def reconnects(self) -> int:
        return sum(max(0, viewer.joins - 1) for viewer in self.viewers)

    def resets(self) -> int:
        return sum(viewer.resets for viewer in self.viewers)

    def positions(self) -> dict[Viewer, Position | None]:
        """Return the position of each viewer."""
        return {viewer: viewer.position for viewer in self._alive()}


async def _pass_by(viewer: Viewer, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await viewer.live()
