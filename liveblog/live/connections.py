"""The HTTP connections of `liveblog serve`: uvicorn's HTTP protocol with more limits.

`Front` (live/front.py) gives each connection whose first request is not for a stream to `Http`. A
browser or balancer may request a stream later on such a connection: then `Http` gives the
connection to a `SocketReader` or an `EventReader`.

Rules: translates the callbacks of the HTTP parser into the events of live/exchange.py, and carries
out the decisions of that module. Uses private names of uvicorn, so pyproject.toml limits the
version of uvicorn, and tests/unit/test_uvicorn.py fails when a name is missing.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from liveblog.live import rfc6455
from liveblog.live.backlog import PIPELINED_BODY_BYTES_MAX, PIPELINED_MAX, Backlog
from liveblog.live.deadlines import Deadlines
from liveblog.live.direct import HEAD_S, AppState, Connection, DirectReader
from liveblog.live.events import EventReader
from liveblog.live.exchange import (
    BODY,
    DATA,
    END,
    IDLE,
    OTHER_UPGRADE,
    PART,
    REQUEST,
    UPGRADE,
    Decision,
    Exchange,
    Incident,
    Owed,
)
from liveblog.live.flow import Flow
from liveblog.live.head import (
    EVENTS,
    INVALID,
    OTHER,
    STREAM_START,
    TOO_LONG,
    WEBSOCKET,
    Fault,
    Kind,
    fault_of,
    kind_of,
    write_head,
)
from liveblog.live.websocket import SocketReader

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn._types import ASGI3Application
    from uvicorn.server import ServerState

__all__ = ["READERS", "TOO_LATE", "Http", "hand_over"]

TOO_LATE: Final = Fault(408, f"The request head was not complete within {HEAD_S:g} s.")

READERS: Final[Mapping[Kind, type[DirectReader]]] = {
    WEBSOCKET: SocketReader,
    EVENTS: EventReader,
}


def hand_over(transport: asyncio.Transport, protocol: "DirectReader | Http", data: bytes) -> None:
    """Let another protocol take a connection, with the bytes that came before."""
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    protocol.data_received(data)


class Http(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits on requests and on answers that a client does not read.

    This class looks for a stream at the start of every request: browsers open an EventSource on a
    connection that is already open.

    Serving a cached page takes 30 us, so checks of every request must be cheap. For example, the
    length of a head that came in one read is checked only when the read is longer than the limit.
    """

    # With more than 30 attributes, Python gives each object a dictionary with keys of its own. That
    # would take 1.3 KB more, so these attributes are slots.
    __slots__ = ("_direct", "_exchange", "_fault", "_has_deadline", "_idle", "_parts", "_running")

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: AppState,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._parts = config, server_state, app_state
        self._direct = app_state["direct"]
        self._idle = self._direct.plain.idle
        self._exchange = Exchange()
        self._has_deadline = False  # whether this connection has a deadline for a head or body
        self._fault = INVALID  # the answer when the parser rejects a request
        # A cycle is uvicorn's object for one request and its answer. `_running` is the cycle whose
        # answer is being sent; uvicorn's `cycle` belongs to the last request.
        self._running: RequestResponseCycle | None = None

    # -- requests

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # loops pass a Transport; the base class's type is wider
        super().connection_made(transport)
        self.flow = Flow(transport, self._direct.arrived)
        # One unsent byte must pause writing, since the pause starts a deadline. With uvicorn's
        # default limit, 64 KiB of unsent bytes would start no deadline. A plain transport pauses
        # above `high`, so `high` is 0. A TLS transport pauses at `high`, so `high` is 1.
        transport.set_write_buffer_limits(high=int(self.scheme == "https"), low=0)

    def data_received(self, data: bytes) -> None:
        self._idle.pop(self.transport, None)
        if data.startswith(STREAM_START):
            kind = kind_of(data)
            if kind and kind is not OTHER and self._takes_over(kind, data):
                return
        exchange = self._exchange
        exchange.receive(len(data))
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self._meet(Incident.INVALID, self._fault)
        # uvicorn sets "method" in the scope when the head is complete.
        in_head = self.scope is None or "method" not in self.scope
        if in_head or exchange.unparsed_bytes or exchange.state is not IDLE or self._has_deadline:
            self._note_rest(in_head)

    def _note_rest(self, in_head: bool) -> None:
        """Set or drop deadlines of an unfinished head or body; refuse a head that is too long."""
        exchange = self._exchange
        if in_head and self.scope is not None:
            exchange.on(PART)
        if exchange.is_too_long:
            self._meet(Incident.INVALID, TOO_LONG)
        is_open, in_body = not self.transport.is_closing(), exchange.state is BODY
        if in_body and self.cycle.body and not self.cycle.response_complete:
            self.flow.pause_reading()  # until the application takes these bytes
        self._direct.bodies.note_while(is_open and in_body, self)
        self._direct.heads.note_while(is_open and exchange.awaits_head, self)
        self._has_deadline = in_body or exchange.awaits_head
        is_idle = exchange.state is IDLE and not self._has_deadline
        if is_open and is_idle and self.cycle and self.cycle.response_complete:
            # The end of a body whose answer was complete before: the client may ask again.
            self._direct.closing.forget(self)
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self._idle[self.transport] = None

    def _takes_over(self, kind: Kind, data: bytes) -> bool:
        """Let a `SocketReader` or `EventReader` take the connection.

        Return False when the connection is closing, or an earlier request is not finished.
        """
        if self.transport.is_closing():
            return False
        decision = self._meet(Incident.STREAM)
        if decision is Decision.BECOME_READER:
            _become(self, READERS[kind](*self._parts), data)
        return decision is Decision.BECOME_READER

    def _parse(self, data: bytes) -> bytes:
        """Parse bytes; return the bytes to parse next, b"" for none.

        The parser assumes that a request with an Upgrade header has no body. A server may ignore
        that header (RFC 9110, section 7.8). So when a request asks to upgrade to an unknown
        protocol, its head is parsed again without the header, and its body is read.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            method, version = self.parser.get_method(), self.parser.get_http_version()
            decision = self._meet(Incident.STOP)
            if decision is Decision.REREAD:
                lines = [line for line in self.headers if line[0] != b"upgrade"]
                # A new parser: the old one ignores all bytes after a `Connection: close` request.
                self.parser = httptools.HttpRequestParser(self)
                return write_head(method, self.url, version, lines) + rest
            if decision is Decision.BECOME_READER:
                head = write_head(method, self.url, version, self.headers)
                _become(self, SocketReader(*self._parts), head + rest)
        return b""

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio reads a bool; uvicorn declares None
        """Return whether the connection stays open for pending answers after the client's EOF.

        Over TLS asyncio cannot keep such a connection open.
        """
        return self.scheme != "https" and self._meet(Incident.EOF) is Decision.FINISH

    # -- the parser's callbacks; an exception makes the parser fail, and the client gets `_fault`

    def on_headers_complete(self) -> None:
        exchange, parser = self._exchange, self.parser
        if [name for name, _ in self.headers].count(b"host") != 1 or exchange.may_be_long:
            fault = fault_of(self.url, self.headers, parser.get_http_version())
            if fault:
                self._fault = fault
                raise _Rejected
        if self.pipeline and len(self.pipeline) >= PIPELINED_MAX:
            self._direct.plain.closed["pipelined"] += 1
            raise _Rejected
        event = REQUEST
        if parser.should_upgrade():
            if self._should_upgrade():
                event = UPGRADE
            elif parser.get_method() != b"CONNECT":
                event = OTHER_UPGRADE
        if event is not OTHER_UPGRADE:
            super().on_headers_complete()  # raises when the URL is invalid
        exchange.on(event)
        if event is REQUEST:
            self.headers = _TRAILERS
        if self.pipeline:
            self._direct.pipelined.note(self.transport, len(self.pipeline), self)

    def on_body(self, body: bytes) -> None:
        self._exchange.on(DATA)
        super().on_body(body)
        size = len(self.cycle.body)
        if self.pipeline:
            if size > PIPELINED_BODY_BYTES_MAX:
                self._direct.plain.closed["pipelined"] += 1
                raise _Rejected
            size += len(self._running.body) if self._running else 0
        self._direct.arrived.note(self.transport, size, self)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        exchange.on(END)
        if exchange.state is IDLE:
            super().on_message_complete()
            if self.cycle.body:
                arrived = self._direct.arrived
                self.loop.call_soon(_forget_taken, self.cycle, self.transport, arrived)

    # -- decisions

    def _meet(self, incident: Incident, fault: Fault = INVALID) -> Decision:
        """Carry out and return the decision of `Exchange` on an incident, such as a timeout."""
        is_full = self.transport.get_write_buffer_size() > 0
        decision = self._exchange.decide(incident, _owed(self.cycle, self._running, is_full))
        if decision is Decision.REFUSE:
            self._direct.close_with(rfc6455.refusal(*fault), self, self.transport)
        elif decision is Decision.FINISH:
            self.flow.pause_reading()
            self.shutdown()  # uvicorn closes the connection after the last answer
            if self.transport.is_closing():
                self._direct.closing.note(self)
        elif decision is Decision.CLOSE:
            self.transport.abort()  # nothing is unsent, and a TLS client could delay a `close()`
        elif decision is Decision.WAIT:
            self._direct.heads.note(self)
        return decision

    def head_is_late(self) -> None:
        self._meet(Incident.LATE, TOO_LATE)

    def abort(self) -> None:
        """Abort the connection, and free the bytes of bodies at once.

        The application learns that the client has gone, and cannot mistake a body for an empty one.
        """
        for cycle in (self._running, self.cycle, *(waiting for waiting, _ in self.pipeline)):
            if cycle:
                cycle.disconnected, cycle.body = True, bytearray()
        self.transport.abort()

    def shutdown(self) -> None:
        super().shutdown()  # closes an idle connection
        _note_closing(self, self._direct.closing)

    # -- answers

    def pause_writing(self) -> None:
        super().pause_writing()
        self._direct.undrained.note(self)
        transport = self.transport
        self._direct.unread.note(transport, transport.get_write_buffer_size(), self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._direct.undrained.forget(self)
        self._direct.unread.forget(self.transport)
        if self.timeout_keep_alive_task:
            self._idle[self.transport] = None
        _note_closing(self, self._direct.closing)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is None:
            if self.pipeline:
                self._direct.pipelined.note(self.transport, len(self.pipeline), self)
            else:
                self._direct.pipelined.forget(self.transport)
        elif self._exchange.state is BODY:
            self._direct.closing.note(self)  # for the rest of the body
        elif not self.flow.write_paused:
            self._idle[self.transport] = None
        _note_closing(self, self._direct.closing)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        running = self._running
        # uvicorn tells only the task of the last request that the client has gone.
        if running and running is not self.cycle:
            running.disconnected = True
            running.message_event.set()
        self.forget()
        self._direct.closing.forget(self)
        self._direct.plain.leave(self.transport)

    def forget(self) -> None:
        """Remove every deadline and backlog of this connection."""
        self._unset_keepalive_if_required()
        direct = self._direct
        for deadlines in (direct.heads, direct.bodies, direct.undrained):
            deadlines.forget(self)
        for backlog in (direct.unread, direct.arrived, direct.pipelined):
            if backlog.total:
                backlog.forget(self.transport)


def _become(http: Http, reader: DirectReader, data: bytes) -> None:
    http.connections.discard(http)
    http.forget()
    hand_over(http.transport, reader, data)


def _note_closing(http: Http, closing: Deadlines[Connection]) -> None:
    """Give a closing connection a deadline: a TLS client could delay the close for 30 s.

    A connection with unsent bytes has the deadline of those bytes first (`undrained`).
    """
    if http.transport.is_closing() and not http.flow.write_paused:
        closing.note(http)


def _forget_taken(
    cycle: RequestResponseCycle, transport: asyncio.Transport, arrived: Backlog
) -> None:
    """Stop counting a whole body when the application waited for it, and has it by now.

    Such an application does not call `receive` again, by which `Flow` learns of other bodies.
    """
    if not cycle.body:
        arrived.forget(transport)


def _owed(
    cycle: RequestResponseCycle | None, running: RequestResponseCycle | None, is_full: bool
) -> Owed:
    """Return the state of the answer of the last request, `cycle`.

    `running` is the request whose answer is being sent. `is_full`: bytes are unsent.
    """
    if cycle is None or cycle.response_complete:
        return Owed.BUFFER if is_full else Owed.NOTHING
    if cycle.response_started:
        return Owed.REST
    return Owed.NEXT if cycle is running and not is_full else Owed.LATER


class _Rejected(Exception):
    """Raised in a callback of the parser to reject a request head."""


class _Trailers(list[tuple[bytes, bytes]]):
    """A list that ignores added headers: no code reads trailers, the headers after a body."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        pass


_TRAILERS: Final = _Trailers()
