"""Connections of `liveblog serve`: a front door for each, behind which readers are direct.

uvicorn makes a `Front` for every connection (its setting `http=`). From the first bytes it tells a
reader's stream from everything else: a stream becomes a `SocketReader` or an `EventReader` there
and then, the rest is uvicorn's HTTP protocol with more limits (`Http`). Upgrades that come later,
on a connection that a balancer keeps, take the same `SocketReader`.

Rules: decides "stream or not" and nothing else. Leans on names inside uvicorn, which pyproject.toml
bounds.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from liveblog.live import rfc6455
from liveblog.live.direct import HEAD_S, STREAM, EventReader, Lane, SocketReader

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
_INVALID: Final = "The request is not valid HTTP."
_HOSTS: Final = "The request must have one Host header."  # RFC 9112, section 3.2


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
    limit, in however many reads they come; what comes with the end of a head is bounded by that one
    read. Heads that came in one read are only measured when it is long. A cached page takes 30 us,
    so what is done for every request is kept short.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._lane: Lane = self.app_state["lane"]
        self._unparsed = self._read_bytes = 0
        self._in_body = False
        self._is_minded = False
        self._refusal = 400, _INVALID  # of what the parser does not take
        self._undrained: asyncio.TimerHandle | None = None
        self._drops_upgrade = False
        self._running: Any = None  # the cycle that answers; `cycle` is that of the last request

    def data_received(self, data: bytes) -> None:
        if data.startswith(_STREAM_BEGIN):
            kind = _kind_of(data)
            if kind and kind is not Http and self._is_between_requests():
                self._become(kind, data)
                return
        self._read_bytes = len(data)
        self._unparsed += self._read_bytes
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self._refuse(*self._refusal)
        if self._unparsed > HEAD_BYTES_MAX:
            self._refuse(431, _TOO_LONG)
        if self._unparsed or self._in_body or self._is_minded or "method" not in self.scope:
            self._mind()

    def _parse(self, data: bytes) -> bytes:
        """Parse what came; return what is to be parsed again.

        The parser takes every request to upgrade for one without a body. So one to what we do not
        speak is parsed a second time without its Upgrade, which may be ignored (RFC 9110, 7.8).
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._drops_upgrade:
                again = self._head(without=b"upgrade") + rest
                # Not with the same one: to that a connection that is to close is at its end.
                self.parser = httptools.HttpRequestParser(self)
                return again
            if self._should_upgrade():
                self._upgrade(rest)
            else:  # CONNECT, to what is answered already
                self._end_after_answers()
        return b""

    def _head(self, without: bytes = b"") -> bytes:
        """Return the head that was parsed last."""
        method, version = (self.parser.get_method(), self.parser.get_http_version().encode())
        lines = [b"%b: %b\r\n" % (name, it) for name, it in self.headers if name != without]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))

    # uvicorn makes a new scope when a request begins, and names its method when the head is whole.

    def _is_in_head(self) -> bool:
        return self.scope is not None and "method" not in self.scope

    def _is_between_requests(self) -> bool:
        """Say whether what comes is a new request, and everything before it answered and taken."""
        is_within = self._in_body or self._is_in_head()
        return not (is_within or self._is_answering() or self.transport.is_closing())

    def _is_answering(self) -> bool:
        is_made = self.cycle is None or self.cycle.response_complete
        return not is_made or self.transport.get_write_buffer_size() > 0

    def _become(self, kind: Kind, data: bytes) -> None:
        self.connections.discard(self)
        self._forget()
        parts = self.config, self.server_state, self.app_state
        _hand_over(self.transport, kind(*parts), data)

    def _upgrade(self, rest: bytes) -> None:
        """Upgrade, unless answers are owed, among which the frames would go."""
        if self._is_answering():
            self._end_after_answers()
        else:
            self._become(SocketReader, self._head() + rest)

    def _end_after_answers(self) -> None:
        """Take nothing more, and close when what is owed is made and has left."""
        self.flow.pause_reading()
        self.shutdown()
        if self.transport.is_closing():
            self._lane.closing.note(self)

    def eof_received(self) -> Any:
        """Answer what was asked in whole before the client ended its side (not over TLS).

        Who ends it within a request is cut off, and who reads a stream has left. True keeps the
        connection open, as asyncio has it.
        """
        is_owed = self.cycle is not None and not self.cycle.response_started
        if self._in_body or not is_owed or self.scheme == "https":
            return False
        self._end_after_answers()
        return True

    # -- how far a request is

    def on_headers_complete(self) -> None:
        if [name for name, _ in self.headers].count(b"host") != 1:
            self._check_host()
        if self._read_bytes > HEAD_BYTES_MAX or self._unparsed > HEAD_BYTES_MAX:
            self._check_size()
        upgrades = self.parser.should_upgrade()
        is_connect = upgrades and self.parser.get_method() == b"CONNECT"
        self._drops_upgrade = upgrades and not (is_connect or self._should_upgrade())
        if self._drops_upgrade:
            return
        super().on_headers_complete()  # raises for an address that is none
        self._in_body, self._unparsed = True, 0
        if not upgrades:  # which is judged by the headers again
            self.headers = _NOWHERE

    # What these raise ends the parser, and gives the client `_refusal`.

    def _check_host(self) -> None:
        """Refuse a request that names no host, or several; HTTP/1.0 may name none."""
        is_old = self.parser.get_http_version() == "1.0"
        if not is_old or any(name == b"host" for name, _ in self.headers):
            self._refusal = 400, _HOSTS
            raise _Refused

    def _check_size(self) -> None:
        """Measure a head that may be too long."""
        parts = (len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        if len(self.url) + sum(parts) > HEAD_BYTES_MAX:
            self._refusal = 431, _TOO_LONG
            raise _Refused

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._drops_upgrade:
            return
        self._in_body, self._unparsed = False, 0
        super().on_message_complete()

    def _mind(self) -> None:
        """Give what the client has begun its time."""
        is_open, in_body = not self.transport.is_closing(), self._in_body
        has_begun = not in_body and (self._unparsed > 0 or self._is_in_head())
        self._lane.bodies.note_while(is_open and in_body, self)
        self._lane.heads.note_while(is_open and has_begun, self)
        self._is_minded = in_body or has_begun

    def head_is_late(self) -> None:
        """Refuse a head that is not whole, unless an answer to one before it is still owed."""
        if self._is_answering():
            self._lane.heads.note(self)
        elif self._is_in_head():
            self._refuse(408, _TOO_LATE)
        else:
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Answer with a refusal, unless it would be a second answer, or be taken for another's."""
        if self._is_unanswered() if self._in_body else not self._is_answering():
            _refuse(self._lane, self.transport, self, status, why)
        else:
            self._end_after_answers()

    def _is_unanswered(self) -> bool:
        """Say whether the next bytes are the answer to the request whose body comes."""
        is_next = self._running is self.cycle and self.transport.get_write_buffer_size() == 0
        return is_next and not self.cycle.response_started

    def abort(self) -> None:
        self.transport.abort()

    # -- buffers

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # With the usual marks a rest of 64 KiB would start no clock. A plain transport pauses above
        # the mark, one of TLS at it.
        transport.set_write_buffer_limits(high=int(self.scheme == "https"), low=0)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._undrained = self.loop.call_later(UNDRAINED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_undrained()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running and self._running is not self.cycle:  # which alone uvicorn tells
            self._running.disconnected = True
            self._running.message_event.set()
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


class _Refused(Exception):
    """A request head is not taken."""


class _Nowhere(list[tuple[bytes, bytes]]):
    """Where trailers go, which come after the headers and are for nobody."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        pass


_NOWHERE: Final = _Nowhere()
