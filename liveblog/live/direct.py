"""The direct transport of `liveblog serve`: readers whose sockets this worker writes itself.

A direct reader is an offset in a blog and a file descriptor: no task, no queue, no timer. A frame
is one `write` of bytes that all readers share. Bytes that the socket does not accept at once stay
in the asyncio transport's buffer, and the reader is behind until the buffer has drained.

Rules: live/hub.py decides which frames a reader gets, live/door.py accepts or refuses readers, and
live/rfc6455.py parses the bytes of WebSocket readers. Only `DirectReader` writes to a file
descriptor.
"""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import write
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from liveblog.address import counted_address, is_local
from liveblog.forwarded import NOTHING, Forwarded, Headers, Proxies, is_forwarded, page_of
from liveblog.live import rfc6455
from liveblog.live.backlog import (
    ARRIVED_BYTES_MAX,
    PIPELINED_IN_ALL_MAX,
    UNREAD_BYTES_MAX,
    Backlog,
)
from liveblog.live.blog import LiveBlog
from liveblog.live.deadlines import Deadlines
from liveblog.live.door import (
    GONE,
    Door,
    Refusal,
    StreamRequest,
    has_missed_nothing,
    read_request,
    refusal_over,
)
from liveblog.live.frame import Encoding
from liveblog.live.head import Head, read_head
from liveblog.live.plain import ADDRESS, FULL, HEADLESS_S, SLOW_S, PlainConnections
from liveblog.live.reader import ENDED, Reader
from liveblog.live.rfc6455 import BadHandshake

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

HANDSHAKE_S: Final = 5.0  # time limit for a TLS handshake, from the accept of the connection
# The time limit for a request head starts when the client connects, by TLS after its handshake.
# `Http` (live/connections.py) starts the limit again with the first bytes of each head.
HEAD_S: Final = 5.0
BODY_S: Final = 60.0  # time limit for a request body, from the end of its head
CLOSING_S: Final = 5.0  # time for a client to read the last bytes and to answer a close frame
# The server aborts an HTTP connection whose write buffer stays full for this time. This time is
# longer than STALLED_S in live/roster.py: the roster must end a stalled reader's stream first.
UNDRAINED_S: Final = 50.0
COPIED_BYTES_MAX: Final = 8 * 1024  # `flush` does not join a longer frame with the answer's head
# A WebSocket reader may send at most this many bytes between two pings. A reader of events may send
# at most this many after its request.
RECEIVED_BYTES_MAX: Final = 16 * 1024
# The same while places run short: the last answer has left within a round trip of the client.
CLOSING_SHORT_S: Final = 0.5
SWEEP_S: Final = 0.5  # time between two checks of the deadlines

# The answers to connections over a limit (live/plain.py).
_REFUSALS: Final = {
    FULL: "The server has too many connections.",
    ADDRESS: "This address has too many connections.",
}
_RETRY_AFTER_S: Final = "2"  # the deadlines and idle connections of a full server free places soon

AppState = dict[str, "DirectTransport"]  # `create_app` puts the transport under the key "direct"


class Connection(Protocol):
    """A connection that can be aborted."""

    def abort(self) -> None: ...


class HeadConnection(Connection, Protocol):
    """A connection whose request head may be incomplete."""

    def head_is_late(self) -> None:
        """Reject a head that is incomplete after HEAD_S."""


@dataclass
class DirectTransport:
    """Admits connections and direct readers of a worker, and ends those that miss a deadline.

    `door` accepts or refuses readers, and counts them (live/door.py). The headers of `proxies` are
    believed. `plain` counts the connections that are not streams (live/plain.py).
    """

    door: Door
    proxies: Proxies = field(default_factory=lambda: Proxies(""))
    clock: Callable[[], float] = time.monotonic
    plain: PlainConnections = field(default_factory=PlainConnections)

    def __post_init__(self) -> None:
        self.handshakes = Deadlines[Connection](HANDSHAKE_S, self.clock)
        self.heads = Deadlines[HeadConnection](HEAD_S, self.clock)
        self.bodies = Deadlines[Connection](BODY_S, self.clock)
        self.closing = Deadlines[Connection](CLOSING_S, self.clock)
        self.undrained = Deadlines[Connection](UNDRAINED_S, self.clock)
        closed = self.plain.closed
        self.unread = Backlog(UNREAD_BYTES_MAX, "unread", closed)
        self.arrived = Backlog(ARRIVED_BYTES_MAX, "arrived", closed)
        self.pipelined = Backlog(PIPELINED_IN_ALL_MAX, "pipelined", closed)
        self._delayed: list[DirectReader] = []  # readers to flush when the event loop turn ends

    async def run(self) -> None:
        """Abort connections that miss a deadline; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for late in self.heads.passed():
                late.head_is_late()
            for deadlines in (self.handshakes, self.bodies, self.closing, self.undrained):
                for connection in deadlines.passed():
                    connection.abort()
            if self.plain.is_short(self.door.count):
                self._cut_off_closing()
            self.plain.report(self.clock(), self.door.count)

    def _cut_off_closing(self) -> None:
        """Abort connections that got their last answer, and whose clients do not close them."""
        while connection := self.closing.pop_earliest(CLOSING_SHORT_S):
            self.plain.closed["closing"] += 1
            connection.abort()

    def close_with(
        self, answer: bytes, connection: Connection, transport: asyncio.Transport
    ) -> None:
        """Write a connection's last answer and close; abort when this takes CLOSING_S."""
        if not transport.is_closing():
            self.closing.note(connection)
            transport.write(answer)
            transport.close()

    def end_all(self) -> None:
        """Abort the connections that are still closing, since a stopping server waits for them."""
        for connection in self.closing.passed(all_of_them=True):
            connection.abort()

    # -- new connections

    def enter(self, transport: asyncio.Transport) -> bool:
        """Count a new connection; with too many, close another one, or restrict this one.

        Return False when the caller must refuse the connection.
        """
        plain = self.plain
        address = self._counted(transport) if plain.limits.per_address_max else ""
        is_over = plain.enter(transport, address, self.door.count)
        return not is_over or self._makes_room(transport)

    def _makes_room(self, transport: asyncio.Transport) -> bool:
        """Close idle connections or a slow one. Return False when a new one has no place at all.

        When none can be closed, the new connection may only use the reserve.
        """
        plain = self.plain
        if plain.close_idle():
            return True
        is_full = plain.is_reserve_taken(self.door.count)
        has_closed = self._close_slow(is_full=is_full)
        if is_full or not has_closed:
            plain.over.setdefault(transport, FULL)
        return has_closed or not is_full

    def _close_slow(self, *, is_full: bool) -> bool:
        """Close the connection that has been slow the longest. Return False when none is slow."""
        for why, deadlines, slow_s in (
            ("closing", self.closing, 0 if is_full else CLOSING_SHORT_S),
            ("handshake", self.handshakes, 0 if is_full else HEADLESS_S),
            ("waiting", self.heads, 0 if is_full else HEADLESS_S),
            ("slow", self.undrained, SLOW_S),
            ("slow", self.bodies, SLOW_S),
        ):
            connection = deadlines.pop_earliest(slow_s)
            if connection:
                self.plain.closed[why] += 1
                connection.abort()
                return True
        return False

    def _counted(self, transport: asyncio.Transport) -> str:
        """Return the address under which a connection counts; "" for a proxy or this machine."""
        host = _peer(transport)
        return "" if is_local(host) or self.proxies.trusts(host) else counted_address(host)

    def refuse(self, why: str, connection: Connection, transport: asyncio.Transport) -> None:
        """Answer 503 to a connection over a limit, and close the connection."""
        self.plain.refused[why] += 1
        answer = rfc6455.refusal(503, _REFUSALS[why], retry_after=_RETRY_AFTER_S)
        self.close_with(answer, connection, transport)

    # -- admission

    def admit(self, reader: "DirectReader", head: Head, transport: asyncio.Transport) -> None:
        """Join a reader with a valid handshake to its blog, or refuse the reader.

        `Door` (live/door.py) decides. A blog that is not in this worker's memory yet is loaded in a
        separate task.
        """
        forwarded, address = self._sender(head.headers, transport)
        page = page_of(head.headers, forwarded)
        request = read_request(head.slug, head.query, head.headers, page, address)
        found: Refusal | LiveBlog | None = self._refusal(request, transport)
        if not found:
            self.door.count_in(reader.transport_name, address)
            self.plain.leave(transport)
            reader.address = address
            reader.encoding = reader.encoding.of_content(request.as_data)
            found = self.door.hub.held(request.slug)
        if found:
            self._answer(reader, found, request)
            self._flush_later(reader)
        else:
            self.door.hub.spawn(self._find(reader, request, transport))

    def _refusal(self, request: StreamRequest, transport: asyncio.Transport) -> Refusal | None:
        why = self.plain.over.get(transport) if self.plain.over else None
        if why is None:
            return self.door.refusal(request)
        self.plain.refused[why] += 1
        return refusal_over(why)

    async def _find(
        self, reader: "DirectReader", request: StreamRequest, transport: asyncio.Transport
    ) -> None:
        found = await self.door.find(request.slug)
        if not (reader.is_ending or transport.is_closing()):
            self._answer(reader, found, request)
            reader.flush()

    def _answer(
        self, reader: "DirectReader", found: LiveBlog | Refusal, request: StreamRequest
    ) -> None:
        if isinstance(found, Refusal):
            self.door.accepts[found.why] += 1
            reader.end(found.farewell, found.code)
            return
        self.door.accepts["accepted"] += 1
        if not reader.has_close_codes and has_missed_nothing(found, request):
            reader.end(None, ENDED)
        else:
            self.door.join(reader, found, request)

    def _sender(self, headers: Headers, transport: asyncio.Transport) -> tuple[Forwarded, str]:
        """Return the facts in proxies' headers, and the address that the limit of readers counts.

        The address is "" when the request has no proxy headers and no limit per address is set.
        """
        is_told = is_forwarded(headers)
        if not is_told and not self.door.readers_per_address_max:
            return NOTHING, ""
        host = _peer(transport)
        forwarded = self.proxies.read(host, headers) if is_told else NOTHING
        return forwarded, counted_address(forwarded.address or host)

    def _flush_later(self, reader: "DirectReader") -> None:
        """Write a reader's answer at the end of this turn of the event loop.

        After a network failure, many readers reconnect through one load balancer. When the
        balancer's process on this machine sleeps, a write also wakes the process and takes 25 us
        instead of 5 us. When all answers are written together, only the first write is slow.
        """
        if not self._delayed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._delayed.append(reader)

    def _flush(self) -> None:
        readers, self._delayed = self._delayed, []
        for reader in readers:
            reader.flush()


def _peer(transport: asyncio.Transport) -> str:
    """Return the address of a connection's other end, "" for a unix socket."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple | list) else ""


class DirectReader(Reader[bytes], asyncio.Protocol):
    """A reader whose frames are written straight to its socket.

    The first `data_received` must get a whole request head. `Front` (live/front.py) and `Http`
    (live/connections.py) collect the head before they hand a connection over.

    The kernel gives the number of a closed descriptor to the next connection, so a late write could
    reach another client. asyncio and uvloop close a descriptor only after `connection_lost`. So
    `connection_lost` sets `_fd` to -1, unless the worker ended the connection and set it before.
    """

    transport_name: ClassVar[str]
    has_close_codes: ClassVar[bool]
    # The encodings of this transport; the first is used unless the request head selects another.
    forms: ClassVar[Sequence[Encoding[bytes]]]

    __slots__ = (
        "_begun",  # the request head was read
        "_delayed",  # bytes for `flush` to write, in order; None after `flush`: write at once
        "_direct",
        # The socket's descriptor. -1 with TLS, before `flush` and after `_leave`: then asyncio's
        # transport writes.
        "_fd",
        "_transport",
        "address",  # the address under which the door counts this reader; None: not counted
        "is_ending",  # whether the reader has left its blog, and its close is counted
        "is_tls",
    )

    def __init__(
        self,
        config: "Config",  # noqa: ARG002 - uvicorn's signature
        server_state: "ServerState",  # noqa: ARG002 - uvicorn's signature
        app_state: AppState,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(self.forms[0])
        self._direct = app_state["direct"]
        self.address: str | None = None
        self._delayed: list[bytes] | None = []
        self._begun = self.is_ending = False
        self._fd = -1

    # -- the request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # loops pass a Transport; the base class's type is wider
        self._transport = transport
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        # One unsent byte must call `pause_writing`, since the reader is behind from then on. The
        # default limits of asyncio are higher. A plain transport pauses above `high`, so `high` is
        # 0. A TLS transport pauses at `high`, so `high` is 1.
        transport.set_write_buffer_limits(high=int(self.is_tls), low=0)

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._receive(data)
            return
        self._begun = True
        try:
            head = read_head(data)
            self._delayed = [self._answer(head)]
        except BadHandshake as error:
            # `is_ending` keeps `_leave` from counting a closed stream: no stream has started.
            self.is_ending = True
            self._direct.door.accepts["handshake"] += 1
            self._direct.close_with(error.answer, self, self._transport)
            return
        self._direct.admit(self, head, self._transport)
        if head.rest:
            self._receive(head.rest)

    @abstractmethod
    def _answer(self, head: Head) -> bytes:
        """Return the head of the HTTP answer, and choose the encoding of this reader's frames.

        Raises BadHandshake.
        """

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Handle bytes that the reader sends after its request head."""

    # -- frames

    def take(self, data: bytes) -> None:
        if self._fd < 0:
            self._write(data)
            return
        try:
            sent = write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the peer is gone; `connection_lost` follows
            self.abort()
            return
        if sent < len(data):
            self._transport.write(memoryview(data)[sent:])

    def _write(self, data: bytes) -> None:
        """Write bytes at once; before the first `flush`, queue them behind the answer's head."""
        if self._delayed is None:
            self._transport.write(data)
        else:
            self._delayed.append(data)

    def flush(self) -> None:
        """Write the queued bytes, first the head of the HTTP answer, and queue no more bytes.

        Short bytes are joined for one write. A long frame is not joined with the head. Many readers
        that reconnect after a network failure share one such frame, and joining would copy the
        frame for each reader.
        """
        delayed = self._delayed
        if not delayed or self._transport.is_closing():
            return
        self._delayed = None
        if not self.is_ending and not self.is_tls:
            self._fd = self._transport.get_extra_info("socket").fileno()
        if len(delayed[-1]) > COPIED_BYTES_MAX:
            self._transport.writelines(delayed)
        else:
            self._transport.write(b"".join(delayed))

    def pause_writing(self) -> None:
        self.fell_behind(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.drained()

    # -- the end

    def _leave(self, code: int) -> None:
        """Leave the blog and stop writing to the descriptor; the first call counts `code`."""
        self._fd = -1
        if not self.is_ending:
            self.is_ending = True
            self._direct.door.closes[code] += 1
            self._direct.closing.note(self)
            if self.roster:
                self.roster.leave(self)

    def abort(self) -> None:
        self._leave(GONE)
        self._transport.abort()

    def eof_received(self) -> None:
        """Let asyncio close the connection after the client's EOF; abort if bytes are unsent."""
        self._leave(GONE)
        if self.behind:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._leave(GONE)
        self._direct.closing.forget(self)
        self._direct.plain.leave(self._transport)
        if self.address is not None:
            self._direct.door.count_out(self.transport_name, self.address)
