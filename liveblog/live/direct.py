"""Readers of `liveblog serve`, written straight to their sockets.

A direct reader is a cursor with a file descriptor: no task, no queue, no timer. A frame is one
`write` of bytes that all readers share; what the socket does not take at once is the transport's,
and the reader is behind until that has drained.

Rules: what a reader gets is the hub's, who may come in the door's, what it sends rfc6455's to read.
Only these classes write to a descriptor.
"""

import asyncio
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import write
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from liveblog.address import counted_address
from liveblog.answer import SECURITY
from liveblog.live import frame as frames
from liveblog.live import rfc6455
from liveblog.live.blog import LiveBlog
from liveblog.live.door import (
    EVENT_HEADERS,
    GONE,
    STAY_AWAY,
    SUBPROTOCOL,
    TOO_MUCH,
    Door,
    Refusal,
    StreamRequest,
    read_request,
)
from liveblog.live.frame import Encoding, Frame, encoding_of
from liveblog.live.reader import ENDED, Reader
from liveblog.live.rfc6455 import BadHandshake

HEAD_S: Final = 5.0  # for a whole request head, from the connection's or its first byte
BODY_S: Final = 60.0  # for a whole body, from the end of its head
COPIED_BYTES_MAX: Final = 8 * 1024  # of a frame, to be one write with the answer before it
HEARD_BYTES_MAX: Final = 16 * 1024  # from one reader, between two pings; of events: in all
CLOSING_S: Final = 5.0  # for the peer to answer a close, and for the last bytes to leave
SWEEP_S: Final = 0.5

# A stream's request line: slug, transport, query, minor version.
STREAM: Final = re.compile(rb"GET /blogs/([^/? ]*)/(live|events)(?:\?([^ ]*))? HTTP/1\.([01])\r\n")

Headers = Mapping[bytes, bytes]  # names in lower case; several of one name joined with commas


class Deadlines:
    """Connections that must be done with something `seconds` after they were noted.

    One clock for all of them instead of a timer each: the oldest stand first.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._since: dict[Any, float] = {}

    def note(self, connection: Any) -> None:
        self._since.setdefault(connection, self._clock())

    def forget(self, connection: Any) -> None:
        self._since.pop(connection, None)

    def note_while(self, is_due: bool, connection: Any) -> None:
        self.note(connection) if is_due else self.forget(connection)

    def passed(self, *, all_of_them: bool = False) -> Iterator[Any]:
        """Yield and forget those whose time is over."""
        before = self._clock() - self._seconds
        for connection, since in list(self._since.items()):
            if since > before and not all_of_them:
                return
            if self._since.pop(connection, None) is not None:  # the end of another may be its own
                yield connection


@dataclass
class Lane:
    """What all connections of a worker share.

    `trusted`: addresses of proxies whose X-Forwarded-* are believed, as uvicorn takes them.
    """

    door: Door
    trusted: str = ""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.heads = Deadlines(HEAD_S, self.clock)
        self.bodies = Deadlines(BODY_S, self.clock)
        self.closing = Deadlines(CLOSING_S, self.clock)
        self._corked: list[DirectReader] = []  # whose answers are written at the end of this turn
        self._proxies = ProxyHeadersMiddleware(_nothing, self.trusted).trusted_hosts

    async def run(self) -> None:
        """Cut off who is too slow with a request, or with its end; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for late in self.heads.passed():
                late.head_is_late()
            for late in (*self.bodies.passed(), *self.closing.passed()):
                late.abort()

    def uncork_later(self, reader: "DirectReader") -> None:
        """Have a reader's answer written when all that came in this turn of the loop have joined.

        Waking a peer that sleeps on this machine (a balancer after a cut) makes a write cost 25 us,
        five times of one to a peer that is awake: so they are woken once for all.
        """
        if not self._corked:
            asyncio.get_running_loop().call_soon(self._uncork)
        self._corked.append(reader)

    def _uncork(self) -> None:
        readers, self._corked = self._corked, []
        for reader in readers:
            reader.uncork()

    def end_all(self) -> None:
        """Abort what is still closing: the server would wait for it at its own end."""
        for closing in self.closing.passed(all_of_them=True):
            closing.abort()

    def origin(
        self, transport: asyncio.Transport, headers: Headers, scheme: str
    ) -> tuple[str, str]:
        """Return scheme and counted address of who asks, as a trusted proxy names them."""
        is_forwarded = b"x-forwarded-for" in headers or b"x-forwarded-proto" in headers
        if not is_forwarded and not self.door.readers_per_address_max:
            return scheme, ""
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple | list) else ""
        if is_forwarded and host in self._proxies:
            scheme = _forwarded_scheme(headers) or scheme
            host = self._forwarded_host(headers) or host
        return scheme, counted_address(host)

    def _forwarded_host(self, headers: Headers) -> str:
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return self._proxies.get_trusted_client_address(hops)[0] if hops else ""


def _forwarded_scheme(headers: Headers) -> str:
    """Return the scheme that the proxy names, "" for none, or several: as uvicorn reads it."""
    scheme = headers.get(b"x-forwarded-proto", b"").decode("latin-1").strip()
    return {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(scheme, "")


async def _nothing(*_: Any) -> None:
    """Be the application of a middleware of which only the list of trusted addresses is used."""


# -- requests --------------------------------------------------------------------------------------


class Head(NamedTuple):
    """A complete request head for a stream; names of headers are in lower case."""

    slug: str
    query: bytes
    headers: Headers
    rest: bytes  # what came after it
    is_old: bool  # HTTP/1.0


class _Headers(dict[bytes, bytes]):
    """Headers as httptools finds them, several of one name joined."""

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self[name] = b"%b, %b" % (self[name], value) if name in self else value


def read_head(data: bytes) -> Head:
    """Parse a complete request head.

    Raises BadHandshake when it is not one of HTTP, or not for a stream.
    """
    found = STREAM.match(data)
    if not found:
        raise BadHandshake("This is not the address of a stream.")
    ends = data.index(b"\r\n\r\n") + 4
    headers = _Headers()
    try:
        httptools.HttpRequestParser(headers).feed_data(data[:ends])
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise BadHandshake("The request is not valid HTTP.") from None
    slug = unquote(found[1].decode("latin-1"))
    return Head(slug, found[3] or b"", headers, data[ends:], found[4] == b"0")


# -- readers ---------------------------------------------------------------------------------------


class DirectReader(Reader[bytes], asyncio.Protocol):
    """A reader whose frames are written straight to its socket.

    Its first `data_received` is given a whole request head. uvicorn's `ws=` calls it before it
    makes this the transport's protocol, and the front door does the same.

    The descriptor is a number that the kernel gives to the next connection once it is closed.
    asyncio and uvloop close it only after `connection_lost`, where it is dropped here; it is
    dropped earlier by everything that ends the connection.
    """

    transport_name: ClassVar[str]
    forms: ClassVar[
        Sequence[Encoding[bytes]]
    ]  # that it may take; the first unless the handshake says else

    __slots__ = (
        "_address",  # what it is counted by; None: not counted
        "_begun",
        "_corked",  # what is written at the end of the loop's turn, in order; None: no more
        "_fd",  # -1: not writable directly (TLS, not begun, ending)
        "_is_ending",
        "_is_tls",
        "_lane",
        "_transport",
    )

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:  # noqa: ARG002
        super().__init__(self.forms[0])
        self._lane: Lane = app_state["lane"]
        self._address: str | None = None
        self._corked: list[bytes] | None = []
        self._begun = self._is_ending = False
        self._fd = -1

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        # With the usual marks a small rest would neither pause nor resume anything. A plain
        # transport pauses above the mark, one of TLS at it.
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=int(self._is_tls), low=0)

    # -- coming in

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._hear(data)
            return
        self._begun = True
        try:
            head = read_head(data)
            self._corked = self._welcome(head)
        except BadHandshake as error:
            self._turn_away(error)
            return
        self._enter(head)
        if head.rest:
            self._hear(head.rest)

    def _turn_away(self, error: BadHandshake) -> None:
        """Answer what is no handshake; there was no stream, so none is counted as closed."""
        self._is_ending = True
        self._lane.door.accepts["handshake"] += 1
        self._lane.closing.note(self)
        self._transport.write(error.answer)
        self._transport.close()

    def _enter(self, head: Head) -> None:
        lane, door = self._lane, self._lane.door
        scheme = "https" if self._is_tls else "http"
        scheme, address = lane.origin(self._transport, head.headers, scheme)
        ask = read_request(head.slug, head.query, head.headers, scheme, address)
        refusal = door.refusal(ask)
        if refusal:
            self._refuse(refusal)
            lane.uncork_later(self)
            return
        door.entered(self.transport_name, address)
        self._address, self.encoding = address, self.encoding.of_content(ask.as_data)
        live = door.hub.held(ask.slug)
        if live:
            self._join(live, ask)
            lane.uncork_later(self)
        else:
            door.hub.spawn(self._find(ask))

    async def _find(self, ask: StreamRequest) -> None:
        """Join a blog that this worker does not hold yet; who is answered has joined."""
        found = await self._lane.door.find(ask.slug)
        if self._is_ending or self._transport.is_closing():
            return
        if isinstance(found, Refusal):
            self._refuse(found)
        else:
            self._join(found, ask)
        self.uncork()

    def _refuse(self, refusal: Refusal) -> None:
        self._lane.door.accepts[refusal.why] += 1
        self.end(refusal.farewell, refusal.code)

    def _join(self, live: LiveBlog, ask: StreamRequest) -> None:
        self._lane.door.accepts["accepted"] += 1
        self._lane.door.join(self, live, ask)

    @abstractmethod
    def _welcome(self, head: Head) -> list[bytes]:
        """Return what the answer begins with, and choose the form of frames.

        Raises BadHandshake.
        """

    @abstractmethod
    def _hear(self, data: bytes) -> None:
        """Take what the reader sends."""

    # -- frames

    def take(self, data: bytes) -> None:
        if self._fd < 0:
            self._say(data)
            return
        try:
            sent = write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # gone; the loop will say so, too
            self.abort()
            return
        if sent < len(data):
            self._transport.write(memoryview(data)[sent:])

    def _say(self, data: bytes) -> None:
        """Write through the transport, or with everything else at the end of the loop's turn."""
        if self._corked is None:
            self._transport.write(data)
        else:
            self._corked.append(data)

    def uncork(self) -> None:
        """Write what there is to say so far, in one piece if it is short, and the rest as it comes.

        A long frame is what many share who come back after a cut: a copy of it for each would be
        held for all that do not read.
        """
        said = self._corked
        if not said or self._transport.is_closing():
            return
        self._corked = None
        if not self._is_ending and not self._is_tls:
            self._fd = self._transport.get_extra_info("socket").fileno()
        if len(said[-1]) > COPIED_BYTES_MAX:
            self._transport.writelines(said)
        else:
            self._transport.write(b"".join(said))

    def pause_writing(self) -> None:
        self.fell_behind(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.drained()

    # -- the end

    def _left(self, code: int) -> None:
        """Leave the blog, write to the descriptor no more, and have the code counted, once."""
        self._fd = -1
        if not self._is_ending:
            self._is_ending = True
            self._lane.door.closes[code] += 1
            self._lane.closing.note(self)
            if self.live:
                self.live.leave(self)

    def abort(self) -> None:
        self._left(GONE)
        self._transport.abort()

    def eof_received(self) -> None:
        """Let the transport close; at once when it would wait for a buffer that does not drain."""
        self._left(GONE)
        if self.behind:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._left(GONE)
        self._lane.closing.forget(self)
        if self._address is not None:
            self._lane.door.left(self.transport_name, self._address)


class SocketReader(DirectReader):
    """A reader by WebSocket (RFC 6455)."""

    transport_name = "websocket"
    forms = encoding_of(False, "framed"), encoding_of(False, "deflated")
    answers_pings = True

    __slots__ = (
        "_heard_bytes",  # since it was last asked for a sign of life
        "_is_deaf",  # what it sends is not looked at any more
        "_pong",  # owed to who is behind: the last only, as section 5.5.3 allows
        "_rest",  # of what it sent, the part that is no whole frame yet
    )

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._heard_bytes = 0
        self._is_deaf = False
        self._pong = self._rest = b""

    def _welcome(self, head: Head) -> list[bytes]:
        if head.is_old:  # RFC 6455, section 4.2.1
            raise BadHandshake("A WebSocket needs HTTP/1.1.")
        accepted = rfc6455.accept(head.headers, SUBPROTOCOL)
        self.encoding = self.forms[accepted.deflates]
        return [accepted.answer]

    def _hear(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self.unheard:
            self.unheard = self._heard_bytes = 0
        left = HEARD_BYTES_MAX - self._heard_bytes
        self._heard_bytes += len(data)
        heard = rfc6455.hear(self._rest + data[:left], self.encoding.name == "deflated")
        self._rest = heard.rest
        if heard.code is not None:
            self._end_as_heard(heard)
        elif len(data) > left:
            self._end_as_heard(_TOO_MUCH)
        elif heard.replies:
            self._reply(heard.replies)

    def _reply(self, pongs: list[bytes]) -> None:
        if self.behind or not (self.live or self._is_ending):  # or its blog is looked up
            self._pong = pongs[-1]
        else:
            self._say(b"".join(pongs))

    def _end_as_heard(self, heard: rfc6455.Heard) -> None:
        """End what the reader closed, or broke the protocol in (section 7.1.7)."""
        self._is_deaf = True
        if not self._is_ending:
            self._say(b"".join(heard.replies))
            self._left(heard.code or GONE)
        self.uncork()
        if heard.is_close or not self._transport.can_write_eof():
            self._transport.close()
        else:
            # Closing with unread bytes in the kernel would reset the connection, and the code with
            # it: the reader is given time to take it and close.
            self._transport.write_eof()

    def uncork(self) -> None:
        super().uncork()
        self._pay_pong()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pay_pong()

    def _pay_pong(self) -> None:
        if self._pong and not self._is_ending and not self.behind:
            pong, self._pong = self._pong, b""
            self._transport.write(pong)

    def end(self, frame: Frame | None, code: int) -> None:
        """Say farewell and start the closing handshake (section 7.1.2)."""
        last = frame.encoded(self.encoding) if frame else b""
        self._say(last + rfc6455.close(code))
        self._left(code)


_TOO_MUCH: Final = rfc6455.Heard(
    [rfc6455.close(TOO_MUCH, "too many control frames")], TOO_MUCH, False, b""
)


class EventReader(DirectReader):
    """A reader of Server-Sent Events, in the chunks of one HTTP/1.1 answer.

    In HTTP/1.0 there are no chunks; so nginx asks unless it is told otherwise.
    """

    transport_name = "events"
    forms = encoding_of(False, "chunk"), encoding_of(False, "event")

    __slots__ = (
        "_default_headers",
        "_head",  # of the answer, until it is known that there is something to say
        "_heard_bytes",
    )

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state)
        self._head = b""
        self._heard_bytes = 0
        self._default_headers: list[tuple[bytes, bytes]] = server_state.default_headers

    def _welcome(self, head: Head) -> list[bytes]:
        if not head.is_old or b"host" in head.headers:
            rfc6455.need_host(head.headers)
        self.encoding = self.forms[head.is_old]
        origin = head.headers.get(b"origin", b"").decode("latin-1")
        cors = self._lane.door.cors(origin)
        framing = _CLOSING if head.is_old else _CHUNKED
        self._head = self._answer_of(200, {**EVENT_HEADERS, **cors, **framing})
        return []

    def _answer_of(self, status: int, headers: dict[str, str]) -> bytes:
        lines = [b"%b: %b\r\n" % pair for pair in (*self._default_headers, *SECURITY)]
        lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items()]
        return STATUS_LINE[status] + b"".join(lines) + b"\r\n"

    def _join(self, live: LiveBlog, ask: StreamRequest) -> None:
        is_over = live.blog.status == "ended" and not ask.is_malformed
        if is_over and ask.since in (None, live.position):
            self._stay_away()
            return
        self._corked, self._head = [self._head], b""
        super()._join(live, ask)

    def _hear(self, data: bytes) -> None:
        """Take nothing: a request that follows is not answered on this connection."""
        self._heard_bytes += len(data)
        if self._heard_bytes > HEARD_BYTES_MAX:
            self.abort()

    def end(self, frame: Frame | None, code: int) -> None:
        if self._head and code in STAY_AWAY:
            self._stay_away()
            return
        if code == ENDED:
            frame = frames.bye(None, "ended")
        last = frame.encoded(self.encoding) if frame else b""
        self._say(self._head + last + (_LAST_CHUNK if self.encoding.name == "chunk" else b""))
        self._close(code)

    def _stay_away(self) -> None:
        """Answer 204, which EventSource takes as the end."""
        self._say(self._answer_of(204, _STAY_AWAY))
        self._close(ENDED)

    def _close(self, code: int) -> None:
        self._left(code)
        self.uncork()
        self._transport.close()


_CLOSING: Final = {"connection": "close"}
_CHUNKED: Final = {"transfer-encoding": "chunked", **_CLOSING}
_STAY_AWAY: Final = {"cache-control": "no-store", **_CLOSING}
_LAST_CHUNK: Final = b"0\r\n\r\n"
