"""Connections of `liveblog serve`: a front door for each, behind which readers are direct.

uvicorn makes a `Front` for every connection (its setting `http=`). From the first bytes it tells a
reader's stream from everything else: a stream becomes a `SocketReader` or an `EventReader` there
and then, the rest is uvicorn's HTTP protocol with two limits more (`Http`). Upgrades that uvicorn
finds later, on a connection that a balancer keeps, take the same `SocketReader` (`ws=`).

Rules: decides "stream or not" and nothing else. Leans on names inside uvicorn, which pyproject.toml
bounds.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from liveblog import rfc6455
from liveblog.direct import HEAD_S, STREAM, EventReader, Lane, SocketReader

__all__ = ["Front", "Http", "SocketReader"]  # what uvicorn is given

HEAD_BYTES_MAX: Final = 8 * 1024
UNDRAINED_S: Final = 50.0  # for a buffer of HTTP; the hub's STALLED_S and its farewell come first

_STREAM_BEGIN: Final = b"GET /blogs/"

Kind = Callable[..., asyncio.Protocol]  # called as uvicorn calls its protocol classes


def _kind_of(data: bytes) -> Kind | None:
    """Say whose connection this is, from its first bytes; None while they do not tell."""
    found = STREAM.match(data)
    if not found:
        is_open = b"\r\n" not in data and data.startswith(_STREAM_BEGIN[: len(data)])
        return None if is_open else Http
    if b"\r\n\r\n" not in data:
        return None
    return SocketReader if found[2] == b"live" else EventReader


class Front(asyncio.Protocol):
    """What every connection begins as, until its first bytes say what it is."""

    __slots__ = ("_data", "_lane", "_parts", "_transport")

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._parts = config, server_state, app_state
        self._lane: Lane = app_state["lane"]
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._lane.heads.note(self)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        kind = _kind_of(self._data)
        if len(self._data) > HEAD_BYTES_MAX and _head_bytes(self._data) > HEAD_BYTES_MAX:
            self._refuse(431, _TOO_LONG)
        elif kind:
            self._lane.heads.forget(self)
            _hand_over(self._transport, kind(*self._parts), self._data)

    def head_is_late(self) -> None:
        """Refuse what was begun; in a connection opened ahead of time an answer would confuse."""
        if self._data:
            self._refuse(408, _TOO_LATE)
        else:
            self._transport.close()

    def _refuse(self, status: int, why: str) -> None:
        self._lane.heads.forget(self)
        _refuse(self._lane, self._transport, self, status, why)

    def abort(self) -> None:
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._lane.heads.forget(self)
        self._lane.closing.forget(self)


_TOO_LONG: Final = f"The request head is longer than {HEAD_BYTES_MAX} bytes."
_TOO_LATE: Final = f"The request head was not complete within {HEAD_S:g} s."


def _head_bytes(data: bytes) -> int:
    """Return the length of the head that `data` begins with, as far as it is there."""
    ends = data.find(b"\r\n\r\n")
    return len(data) if ends < 0 else ends


def _refuse(
    lane: Lane, transport: asyncio.Transport, connection: Any, status: int, why: str
) -> None:
    """Answer a head that is refused, and end the connection when that has left."""
    if not transport.is_closing():
        lane.closing.note(connection)
        transport.write(rfc6455.refusal(status, why))
        transport.close()


def _hand_over(transport: asyncio.Transport, protocol: Any, data: bytes) -> None:
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    protocol.data_received(data)


class Http(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits for what a client sends and for what it does not take.

    It looks for streams again where a request begins: browsers open an EventSource on a connection
    they already have.

    `_unparsed` is how many bytes came since the parser last got on: to the end of a head, to a
    piece of a body, to the end of a request. So heads, trailers and the lengths of chunks have one
    limit, in however many pieces they come.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._lane: Lane = self.app_state["lane"]
        self._unparsed = 0
        self._head_bytes = 0  # of the present request, as far as its lines are whole
        self._part: Literal["", "head", "body"] = ""  # of a request that is not whole
        self._undrained: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if data.startswith(_STREAM_BEGIN) and self._is_between_requests():
            kind = _kind_of(data)
            if kind and kind is not Http:
                self._become(kind, data)
                return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES_MAX:
            self._refuse(431, _TOO_LONG)
        self._mind()

    def _is_between_requests(self) -> bool:
        """Say whether what comes is a new request, and everything before it answered and taken."""
        return not (self._part or self._is_answering() or self.transport.is_closing())

    def _is_answering(self) -> bool:
        is_made = self.cycle is None or self.cycle.response_complete
        return not is_made or self.transport.get_write_buffer_size() > 0

    def _become(self, kind: Kind, data: bytes) -> None:
        self.connections.discard(self)
        self._forget()
        parts = self.config, self.server_state, self.app_state
        _hand_over(self.transport, kind(*parts), data)

    def handle_websocket_upgrade(self) -> None:
        """Upgrade, unless answers are owed, among which the frames would go: then end it all."""
        if self._is_answering():
            self._lane.closing.note(self)
            self.transport.close()
        else:
            self._forget()
            super().handle_websocket_upgrade()

    # -- how far a request is

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part, self._head_bytes = "head", 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(name, value)
        if self._part == "head":  # trailers are for nobody
            super().on_header(name, value)

    def _count_head(self, *parts: bytes) -> None:
        """Count parts of a head. Raises _TooLong, which uvicorn takes as a malformed request."""
        self._head_bytes += sum(map(len, parts)) + len(": \r\n")
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _TooLong

    def on_headers_complete(self) -> None:
        self._part, self._unparsed = "body", 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part, self._unparsed = "", 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._mind()

    def _mind(self) -> None:
        """Give what the client has begun its time: a body at once, a head when it is its turn."""
        is_open, has_begun = not self.transport.is_closing(), self._part == "head" or self._unparsed
        in_body = self._part == "body"
        waits_for_head = bool(has_begun) and not in_body and not self._is_answering()
        self._lane.bodies.note_while(is_open and in_body, self)
        self._lane.heads.note_while(is_open and waits_for_head, self)

    def head_is_late(self) -> None:
        if self._part:
            self._refuse(408, _TOO_LATE)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431, _TOO_LONG)
        else:
            super().send_400_response(msg)

    def _refuse(self, status: int, why: str) -> None:
        _refuse(self._lane, self.transport, self, status, why)

    def abort(self) -> None:
        self.transport.abort()

    # -- buffers

    def pause_writing(self) -> None:
        super().pause_writing()
        self._undrained = self.loop.call_later(UNDRAINED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_undrained()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()
        self._lane.closing.forget(self)

    def _forget(self) -> None:
        """Stop every clock of this connection's."""
        self._unset_keepalive_if_required()
        self._forget_undrained()
        self._lane.heads.forget(self)
        self._lane.bodies.forget(self)

    def _forget_undrained(self) -> None:
        if self._undrained:
            self._undrained.cancel()
            self._undrained = None


class _TooLong(Exception):
    """A request head is over its limit."""
