"""Readers of a blog as the contract describes their browsers: on bare sockets, by none of our code.

A `Viewer` opens the page, follows a stream (WebSocket, events or polls) from the page's position,
comes back as it is told to, and starts over when it is reset. What it applied is its `story`, which
the judge reads. Frames are parsed once for all of them, since the server sends all the same bytes.
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
from kit.waiting import until

Lane = Literal["socket", "events", "polls"]
Window = tuple[float, float]

# Of ten readers; one in ten polls, one takes events.
LANES: Final[Sequence[Lane]] = ("socket",) * 4 + ("events",) + ("socket",) * 4 + ("polls",)
SOON: Final[Window] = (0, 1)
RETRY: Final[Window] = (0, 10)
POLL: Final[Window] = (0.2, 0.6)  # a browser's are 8 to 12 s apart
STABLE_S: Final = 5.0
HELLO_S: Final = 10.0
ANSWER_S: Final = 10.0
CUT: Final = 1006
RECEIVE_BYTES: Final = 16_384  # kernel buffer, and twice as much of our own

_MAIN = re.compile(r'<main data-blog="[^"]+" data-position="([^"]+)"[^>]*>')
_BOUND = re.compile(r'data-(lowest|below)="(\d+)"')
_ARTICLE = re.compile(
    r'<article id="(e\w+)" data-offset="(\d+)" data-order="(\d+)".*?</article>', re.DOTALL
)

decoded: Callable[[bytes], Any] = lru_cache(maxsize=4_096)(json.loads)


@lru_cache(maxsize=256)
def read_page(html: str) -> Page:
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
    """An open connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> int:
        """Read an answer's head and return its status."""
        async with asyncio.timeout(ANSWER_S):
            return int((await self.reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])


class Viewer:
    """One reader. `urls` are the servers behind a balancer: a try goes to one that is there.

    `pages`: where its pages come from, when not from there. `opens`: a page that a cache gave it.
    `query`: what the page's address asks for, as `before=e…` of an older page. `lane`: how it
    follows.
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
        lane: Lane = "socket",
    ) -> None:
        self.urls, self.slug = list(urls), slug
        self._pages, self._opens, self._query = list(pages or urls), opens, query
        self.lane: Lane = lane
        self.story: list[Step] = []
        self.position: Position | None = None
        self.joins = 0
        self.byes: list[float] = []  # when it was sent away
        self.is_on = False  # a stream that has said hello
        self.resets = 0
        self.number = number
        self._random = random.Random(number)
        self._wire: Wire | None = None
        self._reads = asyncio.Event()
        self._reads.set()
        self._silence_s = HELLO_S
        self._bye: Window | None = None

    # -- what is done to it

    def stall(self) -> None:
        """Read nothing more of the stream."""
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    def cut(self) -> bool:
        """Lose the connection, as a network that goes away; False when there was none."""
        if self._wire:
            self._wire.writer.transport.abort()
        return self._wire is not None

    # -- its life

    async def live(self) -> None:
        """Read and follow, until cancelled."""
        if self._opens:
            self._take_page(self._opens)
        else:
            await self._open("")
        while True:
            window = await self._follow()
            await asyncio.sleep(self._random.uniform(*window))

    async def _open(self, at: str, accepts: Callable[[Position], bool] = lambda _: True) -> None:
        """Take the page, when there is one that will do."""
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
        """Follow one stream to its end, and return the window for the wait after it."""
        loop = asyncio.get_running_loop()
        opened, joins = loop.time(), self.joins
        self._silence_s, self._bye = HELLO_S, None
        try:
            frames = {"socket": self._socket, "events": self._events, "polls": self._poll}
            async for frame in frames[self.lane]():
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
        """Take a frame; a window: the stream is over for this reader."""
        match frame["t"]:
            case "hello":
                assert Position.of(frame["position"]) == self.position, (frame, self.position)
                self.joins += 1
                self.is_on = True
                self._silence_s = 2 * frame["heartbeat_s"]
            case "changes":
                return self._apply(frame)
            case "beat" if frame["position"]:
                assert Position.of(frame["position"]) == self.position, (frame, self.position)
            case "reset":
                await asyncio.sleep(self._random.uniform(*_window(frame)))
                await self._start_over(Position.of(frame["position"]))
                return 0, 0
            case "bye":
                assert frame["after_ms"], f"told to stay away: {frame}"
                self.byes.append(asyncio.get_running_loop().time())
                self._bye = _window(frame)
        return None

    def _apply(self, frame: dict[str, Any]) -> Window | None:
        """Apply `changes`. What is wrong with them is the judge's to say."""
        self.story.append(frame)
        self.position = Position.of(frame["position"])
        return None

    # -- transports

    async def _connect(self, urls: list[str]) -> Wire:
        """Connect to a server that is there: the first time by its number, then to any."""
        turn = (
            self.number + self.number // 10 if not self.joins else self._random.randrange(len(urls))
        )
        for url in urls[turn % len(urls) :] + urls[: turn % len(urls)]:
            with contextlib.suppress(OSError):
                return await _dial(url)
        raise ConnectionRefusedError(f"none of {urls} is there")

    async def _get(self, path: str, urls: list[str]) -> Answer:
        wire = await self._connect(urls)
        try:
            ask = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
            wire.writer.write(ask.encode())
            status = await wire.head()
            async with asyncio.timeout(ANSWER_S):
                return Answer(status, await wire.reader.read())
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
        """Ask again and again; a reader who polls joins with each answer."""
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
        """Await a part of the stream; silence is the stream's end, unless it is ours."""
        try:
            await self._reads.wait()
            async with asyncio.timeout(self._silence_s):
                return await reading
        finally:
            reading.close()


async def _dial(url: str) -> Wire:
    parts = urlsplit(url)
    door = socket.socket()
    door.setblocking(False)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    try:
        await asyncio.get_running_loop().sock_connect(door, (parts.hostname, parts.port))
    except BaseException:
        door.close()
        raise
    return Wire(*await asyncio.open_connection(sock=door, limit=RECEIVE_BYTES))


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return a server's frame (RFC 6455, section 5.2): its first byte and its payload."""
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
    """Many viewers at once."""

    def __init__(
        self, count: int, urls: Sequence[str], slug: str, lanes: Sequence[Lane] = LANES
    ) -> None:
        self._count, self._urls, self._slug, self._lanes = count, urls, slug, lanes
        self.viewers: list[Viewer] = []
        self.left: list[Viewer] = []  # who came and went
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Audience":
        await self.admit(self._count)
        return self

    async def admit(
        self,
        count: int,
        urls: Sequence[str] = (),
        lanes: Sequence[Lane] = (),
        **more: Any,
    ) -> list[Viewer]:
        """Let more viewers in, and return them when all have joined a stream."""
        first = len(self.viewers)
        late = [
            self._viewer(number, urls or self._urls, lanes or self._lanes, **more)
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
        self, number: int, urls: Sequence[str], lanes: Sequence[Lane], **more: Any
    ) -> Viewer:
        return Viewer(number, urls, self._slug, lane=lanes[number % len(lanes)], **more)

    async def churn(self, per_s: float, seconds: float) -> None:
        """Have viewers come all the time, so many a second, and go again after a few seconds."""
        async with asyncio.TaskGroup() as passing:
            for turn in range(int(per_s * seconds)):
                viewer = self._viewer(len(self.left), self._urls, self._lanes)
                self.left.append(viewer)
                passing.create_task(_pass_by(viewer, 1 + turn % 4))
                await asyncio.sleep(1 / per_s)

    def _alive(self) -> Sequence[Viewer]:
        """Return all viewers. Raises what one of them found impossible."""
        for task in self._tasks:
            if task.done():
                task.result()
        return self.viewers

    def reconnects(self) -> int:
        return sum(max(0, viewer.joins - 1) for viewer in self.viewers)

    def resets(self) -> int:
        return sum(viewer.resets for viewer in self.viewers)

    def positions(self) -> dict[Viewer, Position | None]:
        """Return where everybody is."""
        return {viewer: viewer.position for viewer in self._alive()}


async def _pass_by(viewer: Viewer, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await viewer.live()
