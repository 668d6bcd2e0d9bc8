"""Readers' connections, the portable lane.

WebSocket, Server-Sent Events and the cacheable `changes`.

Works on any ASGI server and in Starlette's TestClient. Who may come in is decided by one function,
`Door.refusal`; what a reader gets is the hub's. A reader here has one task and no queue: one frame
in hand at most, and while it is being sent the reader is behind.

Rules: never imports the broker. A refused reader is accepted, gets at most a `bye`, then its code,
since scripts cannot see the status of a failed handshake.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from liveblog import frame as frames
from liveblog.answer import CACHED_1_S, Answer
from liveblog.frame import Frame
from liveblog.hub import (
    DRAINED,
    NO_SUCH_BLOG,
    OVERLOAD_WINDOW_MS,
    RESET_WINDOW_MS,
    RESTART_WINDOW_MS,
    Hub,
    Live,
    Reader,
)
from liveblog.model import Position, StoreDown, counted_address, not_found

STALLED_S: Final = 45.0  # a frame that its socket does not take in this time ends the reader
CLOSE_S: Final = 5.0
ASK_S: Final = 1.0
SUBPROTOCOL: Final = "liveblog.v1"

TRY_AGAIN: Final = 1013
NO_DATA: Final = 1003
FULL: Final = 4002
TOO_SLOW: Final = 4003
TOO_MANY: Final = 4004
BAD_ORIGIN: Final = 4500

Refusal = tuple[Frame | None, int]


@dataclass
class Door:
    """Who may come in: origins, and how many readers in all and from one address (0: no limit)."""

    hub: Hub
    origins: frozenset[str] = frozenset()
    readers_max: int = 0
    readers_per_address_max: int = 0
    readers: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    def refusal(self, origin: str | None, own_origin: str, address: str) -> Refusal | None:
        """Say why a reader may not come in, as its farewell and close code; None when it may."""
        if origin and origin not in self.origins and origin != own_origin:
            return frames.bye(None, "origin"), BAD_ORIGIN
        if self.hub.draining:
            return frames.bye(RESTART_WINDOW_MS, "restart"), DRAINED
        if 0 < self.readers_max <= self.readers:
            return frames.bye(OVERLOAD_WINDOW_MS, "full"), FULL
        if 0 < self.readers_per_address_max <= self.addresses[address]:
            return frames.bye(OVERLOAD_WINDOW_MS, "address"), TOO_MANY
        return None

    def entered(self, address: str) -> None:
        self.readers += 1
        self.addresses[address] += 1

    def left(self, address: str) -> None:
        self.readers -= 1
        self.addresses[address] -= 1
        if not self.addresses[address]:
            del self.addresses[address]
        if not self.readers:
            self._empty.set()

    async def emptied(self, within_s: float) -> None:
        """Wait until all readers have left, `within_s` at most; for a hub that lets no more in."""
        self._empty.clear()
        if self.readers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._empty.wait()

    async def find(self, slug: str) -> Live | Refusal:
        """Return the blog, or why there is none to read now."""
        try:
            live = await self.hub.live(slug)
        except StoreDown:
            return frames.bye(OVERLOAD_WINDOW_MS, "store"), TRY_AGAIN
        return live or (frames.bye(None, "gone"), NO_SUCH_BLOG)


class TaskReader(Reader):
    """A reader whose socket is written by a task of its own, from one frame in hand."""

    __slots__ = ("_hand", "_last", "_wake")

    def __init__(self, *, as_data: bool) -> None:
        super().__init__(as_data=as_data)
        self._hand: Frame | None = None
        self._last: Refusal | None = None
        self._wake = asyncio.Event()

    def send(self, frame: Frame) -> None:
        self._hand, self.behind = frame, True
        self._wake.set()

    def end(self, frame: Frame | None, code: int) -> None:
        self._last = frame, code
        self._wake.set()

    async def run(self, write: Callable[[Frame], Awaitable[None]]) -> Refusal:
        """Write what comes into the hand until the end, and return how it ends.

        Raises TimeoutError when the socket does not take a frame in STALLED_S.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._hand:
                frame, self._hand = self._hand, None
                async with asyncio.timeout(STALLED_S):
                    await write(frame)
                if self.live and not self._last:
                    self.live.drained(self)
            if self._last:
                return self._last


# -- WebSocket -------------------------------------------------------------------------------------


class SocketEndpoint:
    """`GET /blogs/{slug}/live`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        # Gone, or deaf to the close: what it was owed, it asks for when it comes back.
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            await self._serve(socket)

    async def _serve(self, socket: WebSocket) -> None:
        address = _address(socket)
        refusal = self._door.refusal(socket.headers.get("origin"), _own_origin(socket), address)
        if refusal:
            await _farewell(socket, *refusal)
            return
        self._door.entered(address)
        try:
            await self._join(socket)
        finally:
            self._door.left(address)

    async def _join(self, socket: WebSocket) -> None:
        found = await self._door.find(socket.path_params["slug"])
        if not isinstance(found, Live):
            await _farewell(socket, *found)
            return
        since, malformed = _since(socket.query_params.get("since"))
        if malformed:
            await _farewell(socket, frames.reset(found.position, RESET_WINDOW_MS), 4005)
            return
        reader = TaskReader(as_data=_as_data(socket))
        found.join(reader, since)
        try:
            await _talk(socket, reader)
        finally:
            found.leave(reader)


async def _talk(socket: WebSocket, reader: TaskReader) -> None:
    """Write to a reader until it ends, or leaves, or speaks (readers send nothing)."""

    async def write(frame: Frame) -> None:
        await _send(socket, frame)

    writing = asyncio.create_task(reader.run(write))
    listening = asyncio.create_task(socket.receive())
    try:
        await asyncio.wait({writing, listening}, return_when=asyncio.FIRST_COMPLETED)
        last = _outcome(writing) if writing.done() else _outcome_of_speech(listening)
    finally:
        await _cancel(writing, listening)  # before the farewell: two must not write
    await _farewell(socket, *last)


def _outcome(writing: "asyncio.Task[Refusal]") -> Refusal:
    if isinstance(writing.exception(), TimeoutError):
        return None, TOO_SLOW
    return writing.result()


def _outcome_of_speech(listening: "asyncio.Task[Any]") -> Refusal:
    if listening.result()["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    return None, NO_DATA


async def _send(socket: WebSocket, frame: Frame) -> None:
    """Send one frame. Raises WebSocketDisconnect when the reader has gone."""
    try:
        await socket.send_text(frame.text)
    except RuntimeError:  # uvicorn's answer when the reader's close was faster
        raise WebSocketDisconnect from None


async def _farewell(socket: WebSocket, frame: Frame | None, code: int) -> None:
    async with asyncio.timeout(CLOSE_S):
        if frame:
            await _send(socket, frame)
        with contextlib.suppress(RuntimeError):  # closed by the reader meanwhile
            await socket.close(code)


# -- Server-Sent Events ----------------------------------------------------------------------------


class EventStream(Response):
    """`GET /blogs/{slug}/events`: joins when it is sent, so that no change falls between.

    There are no codes here: `bye` and the end of the response, and 204 for "stay away".
    """

    def __init__(self, door: Door, request: Request, live: Live, since: Position | None) -> None:
        self._door, self._request, self._live, self._since = door, request, live, since
        self.background = None

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async def write_bytes(data: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        async def write(frame: Frame) -> None:
            await write_bytes(frame.event)

        reader = TaskReader(as_data=_as_data(self._request))
        self._live.join(reader, self._since)
        try:
            headers = _raw({**_EVENT_HEADERS, **_cors(self._door, self._request)})
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            last, code = await _until_gone(reader.run(write), receive)
            last = last or (frames.bye(None, "ended") if code == 4510 else None)
            await write_bytes(last.event if last else b"", more=False)
        except (TimeoutError, OSError, _Gone):
            pass  # stalled or gone; uvicorn closes what is not finished
        finally:
            self._live.leave(reader)


_EVENT_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would hold events back
}


class _Gone(Exception):
    """The browser closed the connection."""


async def _until_gone(work: Any, receive: Receive) -> Any:
    """Return what `work` returns. Raises _Gone when the client disconnects first."""
    working, listening = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _Gone
        return working.result()
    finally:
        await _cancel(working, listening)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class EventsEndpoint:
    """Admission to an event stream.

    An ASGI app, so that a reader is counted from before its first wait to its end.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        address = _address(request)
        refusal = self._door.refusal(request.headers.get("origin"), _own_origin(request), address)
        if refusal:
            await self._refused(request, *refusal)(scope, receive, send)
            return
        self._door.entered(address)
        try:
            response = await self._admitted(request)
            await response(scope, receive, send)
        finally:
            self._door.left(address)

    async def _admitted(self, request: Request) -> Response:
        found = await self._door.find(request.path_params["slug"])
        if not isinstance(found, Live):
            return self._refused(request, *found)
        given = request.headers.get("last-event-id") or request.query_params.get("since")
        since, malformed = _since(given)
        if malformed:
            return self._once(request, frames.reset(found.position, RESET_WINDOW_MS))
        if found.blog.status == "ended" and (since is None or since == found.position):
            return _stay_away()
        if request.method == "HEAD":  # Starlette lets it in with GET
            return Response(headers=_EVENT_HEADERS)
        return EventStream(self._door, request, found, since)

    def _refused(self, request: Request, farewell: Frame | None, code: int) -> Response:
        if code in (BAD_ORIGIN, NO_SUCH_BLOG) or not farewell:
            return _stay_away()
        return self._once(request, farewell)

    def _once(self, request: Request, frame: Frame) -> Response:
        headers = {**_EVENT_HEADERS, **_cors(self._door, request)}
        return Response(frame.event, headers=headers)


def _stay_away() -> Response:
    """Answer 204, which EventSource takes as the end.

    Kept by no cache, since it is for this reader now.
    """
    return Response(status_code=204, headers={"cache-control": "no-store"})


# -- changes ---------------------------------------------------------------------------------------


class ChangesEndpoint:
    """`GET /blogs/{slug}/changes`.

    One `changes` or `reset` frame, which a cache may keep for a second.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer:
        live = await self._door.hub.live(request.path_params["slug"])
        if not live:
            raise not_found("There is no such blog.")
        since, malformed = _since(request.query_params.get("since"))
        frame = None if malformed else await self._frame(live, since, _as_data(request))
        cors = _cors(self._door, request)
        if not frame:
            return _as_json(frames.reset(live.position, RESET_WINDOW_MS), cors)
        key = (frame, cors.get("access-control-allow-origin"))
        kept: Answer | None = live.kept(key)
        if not kept:
            kept = _as_json(frame, cors)
            live.keep(key, kept, kept.bytes_max)
        return kept

    async def _frame(self, live: Live, since: Position | None, as_data: bool) -> Frame | None:
        if since is None:
            return live.frame(live.timeline.offset, as_data)
        if live.timeline.standing(since) == "ask":
            await live.confirm(ASK_S)
            if live.lost:  # it judges nobody
                raise StoreDown("the store lacks this blog now")
            if not live.is_open:
                raise not_found("There is no such blog.")
        if live.timeline.standing(since) != "here":
            return None
        return live.frame(since.offset, as_data)


def _as_json(frame: Frame, cors: dict[str, str]) -> Answer:
    return Answer(frame.json, "application/json", CACHED_1_S, cors)


# -- what a request says ---------------------------------------------------------------------------


def _since(text: str | None) -> tuple[Position | None, bool]:
    """Return the position given, and whether it was malformed."""
    if not text:
        return None, False
    position = Position.parse(text)
    return position, position is None


def _as_data(connection: HTTPConnection) -> bool:
    return connection.query_params.get("as") == "data"


def _address(connection: HTTPConnection) -> str:
    return counted_address(connection.client.host if connection.client else "")


def _own_origin(connection: HTTPConnection) -> str:
    url = connection.url
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    return f"{scheme}://{url.netloc}"


def _cors(door: Door, request: Request) -> dict[str, str]:
    """Let the scripts of allowed origins read; for caches the answer then depends on the origin."""
    if not door.origins:
        return {}
    origin = request.headers.get("origin")
    allowed = {"access-control-allow-origin": origin} if origin in door.origins and origin else {}
    return {"vary": "Origin", **allowed}


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def routes(door: Door) -> list[BaseRoute]:
    """Return the readers' three transports."""
    return [
        WebSocketRoute("/blogs/{slug}/live", _socket(door)),
        Route("/blogs/{slug}/events", EventsEndpoint(door), methods=["GET"]),
        Route("/blogs/{slug}/changes", _http(ChangesEndpoint(door))),
    ]


def _socket(door: Door) -> Callable[[WebSocket], Awaitable[None]]:
    endpoint = SocketEndpoint(door)

    async def live(socket: WebSocket) -> None:
        await endpoint(socket)

    return live


def _http(endpoint: ChangesEndpoint) -> Callable[[Request], Awaitable[Answer]]:
    async def respond(request: Request) -> Answer:
        return await endpoint(request)

    return respond
