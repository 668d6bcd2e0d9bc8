"""Readers' connections on any ASGI server: WebSocket, Server-Sent Events, the cacheable `changes`.

The portable lane, which also works in Starlette's TestClient; `liveblog serve` takes streams off
its sockets in `connections` before they come here. Who may come in is the door's to say; what a
reader gets is the hub's. A reader here has one task and no queue: one frame in hand at most, and
while it is being sent the reader is behind.

Rules: never imports the broker. Pings, compression and limits of what readers send are the ASGI
server's.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from liveblog.address import counted_address
from liveblog.answer import CACHED_1_S, Answer
from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown, not_found
from liveblog.live import frame as frames
from liveblog.live.blog import LiveBlog
from liveblog.live.door import (
    EVENT_HEADERS,
    GONE,
    NO_DATA,
    STAY_AWAY,
    SUBPROTOCOL,
    TOO_SLOW,
    Door,
    Refusal,
    StreamRequest,
    read_request,
)
from liveblog.live.frame import Data, Encoding, Frame, encoding_of
from liveblog.live.reader import ENDED, RESET_WINDOW_MS, Reader

CLOSE_S: Final = 5.0
FREED_S: Final = 10.0  # for a server to give up the connection of who takes nothing
ASK_S: Final = 1.0

End = tuple[Frame | None, int]  # the last frame and the close code


class TaskReader(Reader[Data]):
    """A reader whose socket is written by a task of its own, from one frame in hand."""

    __slots__ = ("_hand", "_last", "_wake", "_writing")

    def __init__(self, encoding: Encoding[Data]) -> None:
        super().__init__(encoding)
        self._hand: Data | None = None
        self._last: End | None = None
        self._wake = asyncio.Event()
        self._writing = asyncio.timeout(None)

    def take(self, data: Data) -> None:
        self._hand = data
        self.fell_behind(len(data))
        self._wake.set()

    def end(self, frame: Frame | None, code: int) -> None:
        self._last = frame, code
        self._wake.set()

    def abort(self) -> None:
        """Give up the frame in hand, also when it is being written; `run` raises TimeoutError."""
        self._hand = None
        self.end(None, TOO_SLOW)
        with contextlib.suppress(RuntimeError):  # nothing is being written
            self._writing.reschedule(asyncio.get_running_loop().time())

    async def run(self, write: Callable[[Data], Awaitable[None]]) -> End:
        """Write what comes into the hand until the end, and return how it ends.

        Raises TimeoutError when the hub gave the reader up.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._hand:
                data, self._hand = self._hand, None
                self._writing = asyncio.timeout(None)
                async with self._writing:
                    await write(data)
                self.drained()
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
            await self._serve(socket, _ask(socket))

    async def _serve(self, socket: WebSocket, ask: StreamRequest) -> None:
        refusal = self._door.refusal(ask)
        if refusal:
            await self._refuse(socket, refusal)
            return
        self._door.entered("websocket", ask.address)
        try:
            await self._join(socket, ask)
        finally:
            self._door.left("websocket", ask.address)

    async def _join(self, socket: WebSocket, ask: StreamRequest) -> None:
        found = await self._door.find(ask.slug)
        if isinstance(found, Refusal):
            await self._refuse(socket, found)
            return
        reader = TaskReader(encoding_of(ask.as_data, "text"))
        self._door.accepts["accepted"] += 1
        self._door.join(reader, found, ask)
        try:
            last, code = await _talk(socket, reader)
            self._door.closes[code] += 1
            await _farewell(socket, last, code)
        finally:
            found.leave(reader)

    async def _refuse(self, socket: WebSocket, refusal: Refusal) -> None:
        self._door.accepts[refusal.why] += 1
        self._door.closes[refusal.code] += 1
        await _farewell(socket, refusal.farewell, refusal.code)


async def _talk(socket: WebSocket, reader: TaskReader[str]) -> End:
    """Write to a reader until it ends, or leaves, or speaks (readers send nothing)."""

    async def write(text: str) -> None:
        await _send(socket, text)

    writing = asyncio.create_task(reader.run(write))
    listening = asyncio.create_task(socket.receive())
    try:
        await asyncio.wait({writing, listening}, return_when=asyncio.FIRST_COMPLETED)
        return _outcome(writing) if writing.done() else _outcome_of_speech(listening)
    finally:
        await _cancel(writing, listening)  # before the farewell: two must not write


def _outcome(writing: "asyncio.Task[End]") -> End:
    error = writing.exception()
    if isinstance(error, TimeoutError):
        return None, TOO_SLOW
    if isinstance(error, WebSocketDisconnect):
        return None, GONE
    return writing.result()


def _outcome_of_speech(listening: "asyncio.Task[Any]") -> End:
    said = listening.result()
    return None, said.get("code", GONE) if said["type"] == "websocket.disconnect" else NO_DATA


async def _send(socket: WebSocket, text: str) -> None:
    """Send one frame. Raises WebSocketDisconnect when the reader has gone."""
    try:
        await socket.send_text(text)
    except RuntimeError:  # uvicorn's answer when the reader's close was faster
        raise WebSocketDisconnect from None


async def _farewell(socket: WebSocket, frame: Frame | None, code: int) -> None:
    """Say the last; to who has gone already, nothing."""
    if socket.client_state is not WebSocketState.CONNECTED or code == GONE:
        return
    async with asyncio.timeout(CLOSE_S):
        if frame:
            await _send(socket, frame.text)
        with contextlib.suppress(RuntimeError):  # closed by the reader meanwhile
            await socket.close(code)


# -- Server-Sent Events ----------------------------------------------------------------------------


class EventStream(Response):
    """`GET /blogs/{slug}/events`: joins when it is sent, so that no change falls between.

    There are no codes here: `bye` and the end of the response, and 204 for "stay away".
    """

    def __init__(self, door: Door, request: Request, live: LiveBlog, ask: StreamRequest) -> None:
        self._door, self._request, self._live, self._ask = door, request, live, ask
        self.background = None

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        reader = TaskReader(encoding_of(self._ask.as_data, "event"))
        self._live.join(reader, self._ask.since)
        try:
            headers = _raw({**EVENT_HEADERS, **_cors(self._door, self._request)})
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            last, code = await _until_gone(reader.run(write), receive)
            self._door.closes[code] += 1
            last = last or (frames.bye(None, "ended") if code == ENDED else None)
            await write(last.event if last else b"", more=False)
        except (TimeoutError, OSError, _Gone):  # stalled, or gone
            self._door.closes[GONE] += 1
            # A server logs an answer that is left open as a fault of ours. One that has given the
            # connection up by now, as `connections.Http` does, takes this end; uvicorn alone waits.
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(FREED_S):
                    await write(b"", more=False)
        finally:
            self._live.leave(reader)


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
        ask = _ask(request)
        refusal = self._door.refusal(ask)
        if refusal:
            await self._refused(request, refusal)(scope, receive, send)
            return
        self._door.entered("events", ask.address)
        try:
            response = await self._admitted(request, ask)
            await response(scope, receive, send)
        finally:
            self._door.left("events", ask.address)

    async def _admitted(self, request: Request, ask: StreamRequest) -> Response:
        found = await self._door.find(ask.slug)
        if isinstance(found, Refusal):
            return self._refused(request, found)
        if request.method == "HEAD":  # Starlette lets it in with GET
            return Response(headers=EVENT_HEADERS)
        self._door.accepts["accepted"] += 1
        if ask.is_malformed:
            return self._once(request, frames.reset(found.position, RESET_WINDOW_MS))
        if found.blog.status == "ended" and ask.since in (None, found.position):
            return _stay_away()
        return EventStream(self._door, request, found, ask)

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        self._door.accepts[refusal.why] += 1
        if refusal.code in STAY_AWAY or not refusal.farewell:
            return _stay_away()
        return self._once(request, refusal.farewell)

    def _once(self, request: Request, frame: Frame) -> Response:
        headers = {**EVENT_HEADERS, **_cors(self._door, request)}
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
        kept = live.kept(key)
        if not kept:
            kept = _as_json(frame, cors)
            live.keep(key, kept)
        return kept

    async def _frame(self, live: LiveBlog, since: Position | None, as_data: bool) -> Frame | None:
        if since is None:
            return live.frame(live.timeline.offset, as_data)
        if live.timeline.standing(since) == "unknown":
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


def _ask(connection: HTTPConnection) -> StreamRequest:
    """Return what a stream's request says, from the address that a trusted proxy names."""
    scope = connection.scope
    scheme = scope["scheme"].replace("ws", "http")
    address = counted_address(connection.client.host if connection.client else "")
    slug = connection.path_params["slug"]
    return read_request(slug, scope["query_string"], dict(scope["headers"]), scheme, address)


def _since(text: str | None) -> tuple[Position | None, bool]:
    """Return the position given, and whether it was malformed."""
    if not text:
        return None, False
    position = Position.parse(text)
    return position, position is None


def _as_data(connection: HTTPConnection) -> bool:
    return connection.query_params.get("as") == "data"


def _cors(door: Door, request: Request) -> dict[str, str]:
    return door.cors(request.headers.get("origin", ""))


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
