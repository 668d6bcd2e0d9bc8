"""The portable transport: WebSocket, Server-Sent Events and `changes` on any ASGI server.

This transport also works in Starlette's TestClient. Under `liveblog serve`, live/front.py
handles streams before they reach these endpoints. live/door.py accepts or refuses readers, the hub
decides which frames a reader gets. A portable reader has one task and no queue. At most one frame
is pending, and the reader counts as behind until the server has sent this frame.

Rules: never imports the broker. Pings, compression and limits of what readers send are left to the
ASGI server.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from liveblog.address import counted_address
from liveblog.answer import CACHED_1_S, Answer, raw_headers
from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown, not_found
from liveblog.forwarded import page_of_scope
from liveblog.live import frame as frames
from liveblog.live.blog import LiveBlog
from liveblog.live.door import (
    EVENT_HEADERS,
    GONE,
    NO_DATA,
    STAY_AWAY,
    STAY_AWAY_HEADERS,
    SUBPROTOCOL,
    TOO_SLOW,
    Door,
    Refusal,
    StreamRequest,
    has_missed_nothing,
    last_event,
    read_request,
    read_since,
)
from liveblog.live.frame import Data, Encoding, Frame, encoding_of
from liveblog.live.reader import RESET_WINDOW_MS, Reader

CLOSE_S: Final = 5.0  # time limit for sending the last frame and the close code of a WebSocket
FREED_S: Final = 10.0  # time limit for the ASGI server to end a stalled reader's answer
CONFIRM_S: Final = 1.0  # time limit for the store to verify a position before `changes` answers

T = TypeVar("T")
End = tuple[Frame | None, int]  # the last frame and the close code


class TaskReader(Reader[Data]):
    """A reader with one task, `run`, which sends the reader's frames one at a time."""

    __slots__ = ("_last", "_next", "_wake", "_writing")  # `_next`: the frame to send next

    def __init__(self, encoding: Encoding[Data]) -> None:
        super().__init__(encoding)
        self._next: Data | None = None
        self._last: End | None = None
        self._wake = asyncio.Event()
        self._writing = asyncio.timeout(None)

    def take(self, data: Data) -> None:
        self._next = data
        self.fell_behind(len(data))
        self._wake.set()

    def end(self, frame: Frame | None, code: int) -> None:
        self._last = frame, code
        self._wake.set()

    def abort(self) -> None:
        """Drop the pending frame. If a frame is being sent, `run` raises TimeoutError."""
        self._next = None
        self.end(None, TOO_SLOW)
        with contextlib.suppress(RuntimeError):  # raised when no frame is being sent
            self._writing.reschedule(asyncio.get_running_loop().time())

    async def run(self, write: Callable[[Data], Awaitable[None]]) -> End:
        """Send frames with `write` until `end` is called; return the last frame and close code.

        Raises TimeoutError when the hub aborts the reader while `write` runs.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._next:
                data, self._next = self._next, None
                self._writing = asyncio.timeout(None)
                async with self._writing:
                    await write(data)
                self.drained()
            if self._last:
                return self._last


# -- WebSocket -------------------------------------------------------------------------------------


class SocketEndpoint:
    """The endpoint `GET /blogs/{slug}/live`: a blog's frames by WebSocket."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        # Both errors mean that the reader is gone or does not answer the close. No reaction is
        # necessary: the reader reconnects with the last position that it received.
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            await self._serve(socket, _stream_request(socket))

    async def _serve(self, socket: WebSocket, request: StreamRequest) -> None:
        refusal = self._door.refusal(request)
        if refusal:
            await self._refuse(socket, refusal)
            return
        self._door.count_in("websocket", request.address)
        try:
            await self._join(socket, request)
        finally:
            self._door.count_out("websocket", request.address)

    async def _join(self, socket: WebSocket, request: StreamRequest) -> None:
        found = await self._door.find(request.slug)
        if isinstance(found, Refusal):
            await self._refuse(socket, found)
            return
        reader = TaskReader[str](encoding_of(request.as_data, "text"))
        self._door.accepts["accepted"] += 1
        self._door.join(reader, found, request)
        try:
            last, code = await _stream(socket, reader)
            self._door.closes[code] += 1
            await _close(socket, last, code)
        finally:
            found.leave(reader)

    async def _refuse(self, socket: WebSocket, refusal: Refusal) -> None:
        self._door.accepts[refusal.why] += 1
        self._door.closes[refusal.code] += 1
        await _close(socket, refusal.farewell, refusal.code)


async def _stream(socket: WebSocket, reader: TaskReader[str]) -> End:
    """Send a reader's frames until the stream ends, or the reader leaves.

    A message from the reader ends the stream, too: readers must not send messages.
    """

    async def write(text: str) -> None:
        await _send(socket, text)

    writing = asyncio.create_task(reader.run(write))
    listening = asyncio.create_task(socket.receive())
    try:
        await asyncio.wait({writing, listening}, return_when=asyncio.FIRST_COMPLETED)
        return _outcome(writing) if writing.done() else _outcome_of_message(listening)
    finally:
        await _cancel(writing, listening)  # `_close` writes next, and only one task may write


def _outcome(writing: "asyncio.Task[End]") -> End:
    error = writing.exception()
    if isinstance(error, TimeoutError):
        return None, TOO_SLOW
    if isinstance(error, WebSocketDisconnect):
        return None, GONE
    return writing.result()


def _outcome_of_message(listening: "asyncio.Task[Message]") -> End:
    message = listening.result()
    is_end = message["type"] == "websocket.disconnect"
    return None, message.get("code", GONE) if is_end else NO_DATA


async def _send(socket: WebSocket, text: str) -> None:
    """Send one frame. Raises WebSocketDisconnect when the reader has gone."""
    try:
        await socket.send_text(text)
    except RuntimeError:  # raised by uvicorn when the reader has closed meanwhile
        raise WebSocketDisconnect from None


async def _close(socket: WebSocket, frame: Frame | None, code: int) -> None:
    """Send the last frame and the close code, unless the reader has gone."""
    if socket.client_state is not WebSocketState.CONNECTED or code == GONE:
        return
    async with asyncio.timeout(CLOSE_S):
        if frame:
            await _send(socket, frame.text)
        with contextlib.suppress(RuntimeError):  # closed by the reader meanwhile
            await socket.close(code)


# -- Server-Sent Events ----------------------------------------------------------------------------


class EventStream(Response):
    """The answer to `GET /blogs/{slug}/events`.

    The reader joins when the server starts to send the answer, so that it misses no change.
    """

    def __init__(
        self, door: Door, live: LiveBlog, request: StreamRequest, headers: Mapping[str, str]
    ) -> None:
        self._door, self._live, self._request = door, live, request
        self._head = headers
        self.background = None

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        reader = TaskReader[bytes](encoding_of(self._request.as_data, "event"))
        self._door.join(reader, self._live, self._request)
        try:
            headers = raw_headers(self._head)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            last, code = await _until_gone(reader.run(write), receive)
            self._door.closes[code] += 1
            last = last_event(last, code)
            await write(last.event if last else b"", more=False)
        except (TimeoutError, OSError, _Gone):  # the reader stalled, or has gone
            self._door.closes[GONE] += 1
            # End the answer, since a server logs an unfinished answer as the application's error.
            # The call needs a limit: uvicorn blocks until a stalled reader's connection ends.
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(FREED_S):
                    await write(b"", more=False)
        finally:
            self._live.leave(reader)


class _Gone(Exception):
    """The reader closed the connection."""


async def _until_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Return the result of `work`. Raises _Gone when the reader disconnects first."""
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
    """The endpoint `GET /blogs/{slug}/events`: a blog's frames as Server-Sent Events.

    This is an ASGI application instead of a function that returns a response. So a reader is
    counted from before the first await until the last byte of the answer.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive)
        request = _stream_request(http)
        refusal = self._door.refusal(request)
        if refusal:
            await self._refused(http, refusal)(scope, receive, send)
            return
        self._door.count_in("events", request.address)
        try:
            response = await self._admitted(http, request)
            await response(scope, receive, send)
        finally:
            self._door.count_out("events", request.address)

    async def _admitted(self, http: Request, request: StreamRequest) -> Response:
        found = await self._door.find(request.slug)
        if isinstance(found, Refusal):
            return self._refused(http, found)
        if http.method == "HEAD":  # Starlette routes HEAD like GET
            return Response(headers=EVENT_HEADERS)
        self._door.accepts["accepted"] += 1
        if has_missed_nothing(found, request):
            return _stay_away()
        return EventStream(self._door, found, request, self._headers(http))

    def _refused(self, http: Request, refusal: Refusal) -> Response:
        self._door.accepts[refusal.why] += 1
        if refusal.code in STAY_AWAY or not refusal.farewell:
            return _stay_away()
        return Response(refusal.farewell.event, headers=self._headers(http))

    def _headers(self, http: Request) -> dict[str, str]:
        return {**EVENT_HEADERS, **_cors(self._door, http)}


def _stay_away() -> Response:
    """Return a 204, which stops an EventSource from reconnecting."""
    return Response(status_code=204, headers=STAY_AWAY_HEADERS)


# -- changes ---------------------------------------------------------------------------------------


class ChangesEndpoint:
    """`GET /blogs/{slug}/changes`: one `changes` or `reset` frame, cacheable for a second."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer:
        live = await self._door.hub.live(request.path_params["slug"])
        if not live:
            raise not_found("There is no such blog.")
        since, is_malformed = read_since(request.query_params.get("since"))
        frame = None if is_malformed else await self._frame(live, since, _as_data(request))
        cors = _cors(self._door, request)
        if not frame:
            return _as_json(frames.reset(live.position, RESET_WINDOW_MS), cors)
        origin = cors.get("access-control-allow-origin")
        kept = live.kept((frame, origin))
        if not kept:
            kept = _as_json(frame, cors)
            # A wildcard has any number of origins, whose answers would evict those of all blogs.
            if origin is None or origin in self._door.site.named:
                live.keep((frame, origin), kept)
        return kept

    async def _frame(self, live: LiveBlog, since: Position | None, as_data: bool) -> Frame | None:
        """Return the changes after `since`, None for a reset.

        Raises StoreDown when the store could not verify `since`, and Problem (404) when the blog
        was closed to readers meanwhile.
        """
        if since is None:
            return live.frame(live.timeline.offset, as_data)
        if live.timeline.standing(since) == "unknown":
            await live.confirm(CONFIRM_S)
            if live.lost:  # without the blog, the store cannot verify `since`
                raise StoreDown("the store lacks this blog now")
            if not live.is_open:
                raise not_found("There is no such blog.")
        if live.timeline.standing(since) != "here":
            return None
        return live.frame(since.offset, as_data)


def _as_json(frame: Frame, cors: dict[str, str]) -> Answer:
    return Answer(frame.json, "application/json", CACHED_1_S, cors)


# -- requests --------------------------------------------------------------------------------------


def _stream_request(connection: HTTPConnection) -> StreamRequest:
    scope = connection.scope
    address = counted_address(connection.client.host if connection.client else "")
    slug = connection.path_params["slug"]
    headers, page = dict(scope["headers"]), page_of_scope(scope)
    return read_request(slug, scope["query_string"], headers, page, address)


def _as_data(connection: HTTPConnection) -> bool:
    return connection.query_params.get("as") == "data"


def _cors(door: Door, request: Request) -> dict[str, str]:
    return door.cors(request.headers.get("origin", ""))


def routes(door: Door) -> list[BaseRoute]:
    """Return the routes of the WebSocket, of Server-Sent Events and of `changes`."""
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
