"""The direct transport of `liveblog serve`: readers whose sockets this worker writes itself.

A direct reader is a cursor with a file descriptor: no task, no queue, no timer. A frame is one
`write` of bytes that all readers share. Bytes that the socket does not take at once stay in the
asyncio transport's buffer, and the reader is behind until the buffer has drained.

Rules: `hub` decides which frames a reader gets, `door` admits readers, `rfc6455` reads their bytes.
Only readers write to a descriptor.
"""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import write
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from liveblog.address import counted_address
from liveblog.live.blog import LiveBlog
from liveblog.live.deadlines import Deadlines
from liveblog.live.door import GONE, Door, Refusal, StreamRequest, has_missed_nothing, read_request
from liveblog.live.frame import Encoding
from liveblog.live.head import Head, Headers, Proxies, is_forwarded, read_head
from liveblog.live.reader import ENDED, Reader
from liveblog.live.rfc6455 import BadHandshake

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

HEAD_S: Final = 5.0  # for a whole request head, from the connection's or its first byte
BODY_S: Final = 60.0  # for a whole body, from the end of its head
CLOSING_S: Final = 5.0  # for the peer to answer a close, and for the last bytes to leave
UNDRAINED_S: Final = 50.0  # for a buffer of HTTP; the hub's STALLED_S and its farewell come first
COPIED_BYTES_MAX: Final = 8 * 1024  # of a frame, to be one write with the answer before it
RECEIVED_BYTES_MAX: Final = 16 * 1024  # from one reader, between two pings; of events: in all
SWEEP_S: Final = 0.5  # between two looks at the deadlines

AppState = dict[str, "DirectTransport"]  # the lifespan's state, under the key "direct"


class Connection(Protocol):
    """A connection that can be cut off."""

    def abort(self) -> None: ...


class HeadConnection(Connection, Protocol):
    """A connection that may owe the rest of a request head."""

    def head_is_late(self) -> None:
        """Act on a head that is not whole within HEAD_S."""


@dataclass
class DirectTransport:
    """The parts that all connections of a worker share: the door, deadlines, trusted proxies.

    `trusted`: the proxies whose X-Forwarded-* headers count, in uvicorn's notation.
    """

    door: Door
    trusted: str = ""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.heads = Deadlines[HeadConnection](HEAD_S, self.clock)
        self.bodies = Deadlines[Connection](BODY_S, self.clock)
        self.closing = Deadlines[Connection](CLOSING_S, self.clock)
        self.undrained = Deadlines[Connection](UNDRAINED_S, self.clock)
        self._corked: list[DirectReader] = []  # readers to uncork at the end of this loop turn
        self._proxies = Proxies(self.trusted)

    async def run(self) -> None:
        """Cut off clients that miss a deadline; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for late in self.heads.passed():
                late.head_is_late()
            for deadlines in (self.bodies, self.closing, self.undrained):
                for connection in deadlines.passed():
                    connection.abort()

    def close_with(
        self, answer: bytes, connection: Connection, transport: asyncio.Transport
    ) -> None:
        """Write a connection's last answer and close; abort when CLOSING_S does not suffice."""
        if not transport.is_closing():
            self.closing.note(connection)
            transport.write(answer)
            transport.close()

    def end_all(self) -> None:
        """Abort what is still closing: the server would wait for it at its own end."""
        for connection in self.closing.passed(all_of_them=True):
            connection.abort()

    # -- admission

    def admit(self, reader: "DirectReader", head: Head, transport: asyncio.Transport) -> None:
        """Let the door judge a reader whose handshake is valid, and join it to its blog.

        A blog that this worker does not hold yet is looked up by a task of its own.
        """
        scheme, address = self._sender(head.headers, transport, reader.is_tls)
        request = read_request(head.slug, head.query, head.headers, scheme, address)
        found: Refusal | LiveBlog | None = self.door.refusal(request)
        if not found:
            self.door.count_in(reader.transport_name, address)
            reader.address = address
            reader.encoding = reader.encoding.of_content(request.as_data)
            found = self.door.hub.held(request.slug)
        if found:
            self._answer(reader, found, request)
            self._uncork_later(reader)
        else:
            self.door.hub.spawn(self._find(reader, request, transport))

    async def _find(
        self, reader: "DirectReader", request: StreamRequest, transport: asyncio.Transport
    ) -> None:
        found = await self.door.find(request.slug)
        if not (reader.is_ending or transport.is_closing()):
            self._answer(reader, found, request)
            reader.uncork()

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

    def _sender(
        self, headers: Headers, transport: asyncio.Transport, is_tls: bool
    ) -> tuple[str, str]:
        """Return scheme and counted address of the client; "" where nobody counts addresses."""
        scheme = "https" if is_tls else "http"
        forwarded = is_forwarded(headers)
        if not forwarded and not self.door.readers_per_address_max:
            return scheme, ""
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple | list) else ""
        if forwarded:
            scheme, host = self._proxies.sender(host, headers, scheme)
        return scheme, counted_address(host)

    def _uncork_later(self, reader: "DirectReader") -> None:
        """Write a reader's answer when all readers of this turn of the event loop have joined.

        A write that wakes a sleeping peer on this machine (a balancer after a cut) costs 25 us,
        five times as much as a write to a peer that is awake. So a peer is woken once for all of
        its readers.
        """
        if not self._corked:
            asyncio.get_running_loop().call_soon(self._uncork)
        self._corked.append(reader)

    def _uncork(self) -> None:
        readers, self._corked = self._corked, []
        for reader in readers:
            reader.uncork()


class DirectReader(Reader[bytes], asyncio.Protocol):
    """A reader whose frames are written straight to its socket.

    The first `data_received` is given a whole request head. uvicorn's `ws=` calls it before it
    makes this the transport's protocol, and `connections` does the same.

    The kernel gives the number of a closed descriptor to the next connection. asyncio and uvloop
    close a descriptor only after `connection_lost`, so `connection_lost` drops the number here;
    everything that ends the connection drops it earlier.
    """

    transport_name: ClassVar[str]
    has_close_codes: ClassVar[bool]
    # The encodings that this reader may have, the first unless the handshake asks for another.
    forms: ClassVar[Sequence[Encoding[bytes]]]

    __slots__ = (
        "_begun",  # the request head was read
        "_corked",  # bytes to be written at the end of the loop's turn, in order; None: uncorked
        "_direct",
        "_fd",  # -1: not writable directly (TLS, corked, ending)
        "_transport",
        "address",  # that the door counts this reader by; None: not counted
        "is_ending",  # the reader has left its blog, and its close is counted
        "is_tls",
    )

    def __init__(
        self,
        config: "Config",  # noqa: ARG002 - as uvicorn calls its protocol classes
        server_state: "ServerState",  # noqa: ARG002 - likewise
        app_state: AppState,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(self.forms[0])
        self._direct = app_state["direct"]
        self.address: str | None = None
        self._corked: list[bytes] | None = []
        self._begun = self.is_ending = False
        self._fd = -1

    # -- the request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower
        self._transport = transport
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        # With asyncio's usual marks a small rest would neither pause nor resume anything. A plain
        # transport pauses above the mark, a TLS transport at the mark.
        transport.set_write_buffer_limits(high=int(self.is_tls), low=0)

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._receive(data)
            return
        self._begun = True
        try:
            head = read_head(data)
            self._corked = [self._answer(head)]
        except BadHandshake as error:
            # There was no stream, so no close is counted.
            self.is_ending = True
            self._direct.door.accepts["handshake"] += 1
            self._direct.close_with(error.answer, self, self._transport)
            return
        self._direct.admit(self, head, self._transport)
        if head.rest:
            self._receive(head.rest)

    @abstractmethod
    def _answer(self, head: Head) -> bytes:
        """Return the head of the answer, and choose the form of frames.

        Raises BadHandshake.
        """

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Take bytes that the reader sends after its request head."""

    # -- frames

    def take(self, data: bytes) -> None:
        if self._fd < 0:
            self._write(data)
            return
        try:
            sent = write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the peer has gone; `connection_lost` follows
            self.abort()
            return
        if sent < len(data):
            self._transport.write(memoryview(data)[sent:])

    def _write(self, data: bytes) -> None:
        """Write through the transport; while corked, at the end of the loop's turn."""
        if self._corked is None:
            self._transport.write(data)
        else:
            self._corked.append(data)

    def uncork(self) -> None:
        """Write the corked bytes, in one piece if they are short, and all later ones at once.

        Many readers who reconnect after a cut share one long frame. A copy for each of them would
        be held for every reader that does not read.
        """
        corked = self._corked
        if not corked or self._transport.is_closing():
            return
        self._corked = None
        if not self.is_ending and not self.is_tls:
            self._fd = self._transport.get_extra_info("socket").fileno()
        if len(corked[-1]) > COPIED_BYTES_MAX:
            self._transport.writelines(corked)
        else:
            self._transport.write(b"".join(corked))

    def pause_writing(self) -> None:
        self.fell_behind(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.drained()

    # -- the end

    def _leave(self, code: int) -> None:
        """Leave the blog, drop the descriptor, and count the close code, once."""
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
        """Let the transport close; abort where a full buffer would delay the close."""
        self._leave(GONE)
        if self.behind:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._leave(GONE)
        self._direct.closing.forget(self)
        if self.address is not None:
            self._direct.door.count_out(self.transport_name, self.address)
