"""Readers for tests: each transport behind one small interface.

A `Stream` returns the frames in order, as decoded JSON. When the connection has ended, its `code`
is the close code of a WebSocket or the status of an HTTP answer.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from kit.servers import TRUSTING, http
from kit.waiting import SCALE

FRAME_S = 10.0

Frame = dict[str, Any]


class Event(NamedTuple):
    """A received frame, and the id of its Server-Sent Event, or None."""

    id: str | None
    frame: Frame


class Stream:
    """An open stream; its methods fail the test at their deadline."""

    def __init__(self, frames: "AsyncIterator[Event]") -> None:
        self._frames = frames
        self.code = 0  # after the end: WebSocket close code, or status of the HTTP answer
        self.subprotocol: str | None = None
        self.status = 0  # of the HTTP answer
        self.headers: dict[str, str] = {}
        self.ids: list[str | None] = []

    async def get(self, within_s: float = FRAME_S) -> Frame:
        """Return the next frame. Raises EOFError when the stream has ended."""
        async with asyncio.timeout(within_s * SCALE):
            event = await anext(self._frames, None)
        if event is None:
            raise EOFError(self.code)
        self.ids.append(event.id)
        return event.frame

    async def next(self, *kinds: str, within_s: float = FRAME_S) -> Frame:
        """Return the next frame; fail when `kinds` is given and lacks the frame's kind.

        Heartbeats are skipped, unless `kinds` has "beat".
        """
        async with asyncio.timeout(within_s * SCALE):
            while True:
                frame = await self.get(within_s)
                if frame["t"] != "beat" or "beat" in kinds:
                    assert not kinds or frame["t"] in kinds, frame
                    return frame

    async def rest(self, within_s: float = FRAME_S) -> list[Frame]:
        """Return all frames except heartbeats, until the stream ends.

        Raises TimeoutError when the stream does not end in time.
        """
        found: list[Frame] = []
        async with asyncio.timeout(within_s * SCALE):
            with contextlib.suppress(EOFError):
                while True:
                    found.append(await self.next())
        return found


@dataclass
class Target:
    """The parts of a reader's request; `address` is the local address of its connection."""

    url: str
    slug: str
    since: Any = None
    as_data: bool = False
    origin: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    def path(self, transport: str) -> str:
        since = {"since": self.since} if self.since is not None else {}
        query = urlencode(since | ({"as": "data"} if self.as_data else {}))
        return f"{self.url}/blogs/{self.slug}/{transport}{'?' if query else ''}{query}"

    def all_headers(self) -> dict[str, str]:
        return {**self.headers, **({"origin": self.origin} if self.origin else {})}


@contextlib.asynccontextmanager
async def socket(target: Target, subprotocols: list[str] | None = None) -> AsyncIterator[Any]:
    """Yield a bare WebSocket connection of the `websockets` package."""
    async with connect(
        target.path("live").replace("http", "ws", 1),
        ssl=TRUSTING if target.url.startswith("https:") else None,
        origin=Origin(target.origin) if target.origin else None,
        additional_headers=target.headers,
        subprotocols=[Subprotocol(name) for name in subprotocols] if subprotocols else None,
        local_addr=(target.address, 0),
        open_timeout=FRAME_S * SCALE,
        close_timeout=2,
        max_size=None,
        proxy=None,
    ) as connection:
        yield connection


@contextlib.asynccontextmanager
async def websocket(target: Target, subprotocols: list[str] | None = None) -> AsyncIterator[Stream]:
    async with socket(target, subprotocols) as connection:

        async def frames() -> AsyncIterator[Event]:
            try:
                while True:
                    yield Event(None, json.loads(await connection.recv()))
            except ConnectionClosed as closed:
                stream.code = closed.rcvd.code if closed.rcvd else 1006

        stream = Stream(frames())
        stream.status, stream.subprotocol = 101, connection.subprotocol
        yield stream


@contextlib.asynccontextmanager
async def events(target: Target) -> AsyncIterator[Stream]:
    """Open a stream of Server-Sent Events.

    Its `code` is the HTTP status, where 204 means "do not reconnect"; 1006 when the server aborted
    the connection.
    """
    async with (
        http(target.address) as client,
        client.stream("GET", target.path("events"), headers=target.all_headers()) as answer,
    ):

        async def frames() -> AsyncIterator[Event]:
            id: str | None = None
            try:
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        id = value
                    elif name == "data":
                        yield Event(id, json.loads(value))
                        id = None
            except httpx2.RemoteProtocolError:  # the server aborted the connection
                stream.code = 1006
            else:
                stream.code = answer.status_code

        stream = Stream(frames())
        stream.status, stream.headers = answer.status_code, dict(answer.headers)
        yield stream


@contextlib.asynccontextmanager
async def changes(target: Target) -> AsyncIterator[Stream]:
    """Poll the path `changes` once, and yield a stream that has the answer as its only frame."""
    async with http(target.address) as client:
        answer = await client.get(target.path("changes"), headers=target.all_headers())

    async def frames() -> AsyncIterator[Event]:
        if answer.status_code == 200:
            yield Event(None, answer.json())
        stream.code = answer.status_code

    stream = Stream(frames())
    stream.status, stream.headers = answer.status_code, dict(answer.headers)
    yield stream


Open = Callable[[Target], contextlib.AbstractAsyncContextManager[Stream]]

STREAMS = {"websocket": websocket, "events": events}
TRANSPORTS: dict[str, Open] = {**STREAMS, "changes": changes}

each_stream = pytest.mark.parametrize("open_stream", STREAMS.values(), ids=STREAMS)
each_transport = pytest.mark.parametrize("open_stream", TRANSPORTS.values(), ids=TRANSPORTS)
