"""The WebSocket protocol as far as a reader needs it: bytes in, bytes out.

A reader may only send control frames: close, ping and pong. Any other frame ends the connection
with the code that RFC 6455 specifies. All readers share each frame that is sent. The library
`websockets` is the reference for handshakes and compression. This module calls the library where a
call is cheap; elsewhere the tests compare the two.

Rules: no I/O, no clock, no other module of the program.
"""

import binascii
import zlib
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, NegotiationError, ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Close
from websockets.headers import parse_subprotocol
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter
from websockets.utils import accept_key, apply_mask

T = TypeVar("T")

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80
RSV1: Final = 0x40  # this bit is set in a compressed message (RFC 7692, section 6)
RSV: Final = 0x70

CONTROL_BYTES_MAX: Final = 125  # the longest payload of a control frame (section 5.5)
NO_CODE: Final = 1005  # stands for a close frame without a code; never sent
ABNORMAL: Final = 1006  # stands for a connection without a close frame; never sent

# Compression blocks the event loop, so these limits bound its time (tests/measure/deflate.py).
# Level 6 reduces the frame of one entry to 0.57 of its bytes in 0.01 ms. Higher levels, more memory
# and other strategies of zlib do no better. Below DEFLATE_BYTES_MIN there is little to gain. Level
# 6 takes 1 ms for DEFLATE_WELL_BYTES_MAX and 4 ms for 256 KiB. So longer frames get level 1, which
# takes 1.4 ms at most, for a quarter more bytes.
DEFLATE_BYTES_MIN: Final = 200
DEFLATE_WELL_BYTES_MAX: Final = 64 * 1024

# All browsers send the same few handshake headers, so parsed headers are cached. Headers longer
# than CACHED_BYTES_MAX are parsed each time, which bounds the cache.
CACHED_BYTES_MAX: Final = 256
CACHED_MAX: Final = 256


# -- frames for readers ----------------------------------------------------------------------------


def _frame(first: int, payload: bytes) -> bytes:
    """Return an unmasked frame, its length in the shortest of the three forms (section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 0x10000:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def text(payload: bytes) -> bytes:
    """Return a text message in one frame; `payload` is UTF-8."""
    return _frame(FIN | TEXT, payload)


def compressed_text(payload: bytes) -> bytes:
    """Return a text message for readers that negotiated compression; plain when plain is shorter.

    Each message is compressed by itself (`server_no_context_takeover`), so that one frame serves
    all readers. The tail 00 00 ff ff is left out (RFC 7692, section 7.2.1).
    """
    if len(payload) < DEFLATE_BYTES_MIN:
        return text(payload)
    level = 6 if len(payload) <= DEFLATE_WELL_BYTES_MAX else 1
    deflater = zlib.compressobj(level, wbits=-15)
    packed = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    if len(packed) - 4 >= len(payload):
        return text(payload)
    return _frame(FIN | RSV1 | TEXT, packed[:-4])


def ping(payload: bytes = b"") -> bytes:
    """Return a ping. Raises ValueError for more than CONTROL_BYTES_MAX bytes."""
    return _control(PING, payload)


def pong(payload: bytes = b"") -> bytes:
    """Return a pong, which answers a ping with the same payload (section 5.5.3)."""
    return _control(PONG, payload)


def close(code: int, reason: str = "") -> bytes:
    """Return a close frame. Raises ValueError for a code that must not be sent."""
    if code in (NO_CODE, ABNORMAL, 1015):
        raise ValueError(f"{code} must not be sent (RFC 6455, section 7.4.1)")
    return _control(CLOSE, code.to_bytes(2, "big") + reason.encode())


def _control(opcode: int, payload: bytes) -> bytes:
    if len(payload) > CONTROL_BYTES_MAX:
        raise ValueError(f"a control frame holds {CONTROL_BYTES_MAX} bytes, not {len(payload)}")
    return _frame(FIN | opcode, payload)


# -- frames from readers ---------------------------------------------------------------------------


class Received(NamedTuple):
    """The reaction to bytes from a reader.

    `replies`: the frames to write, if any. `code`: the close code, None while the connection stays
    open. With a code, the last of `replies` is the close frame, and later bytes are ignored.
    `is_close`: the reader sent a close frame. Then `code` is the reader's code, NO_CODE for none.
    `rest`: the start of an incomplete frame; the caller puts these bytes before the next bytes.
    """

    replies: list[bytes]
    code: int | None
    is_close: bool
    rest: bytes


class _Violation(Exception):
    """The reader broke the protocol; `args` are the close code and the reason."""


def receive(data: bytes, deflates: bool = False) -> Received:
    """Read the frames that a reader sent, and return the reaction (section 5).

    `deflates`: compression was negotiated. The first two bytes of a header suffice to reject a
    forbidden frame. So `rest` is always the start of a control frame, and at most 130 bytes: one
    less than the longest control frame. A control frame whose length is written in a longer form
    (section 5.2) is rejected as too long.
    """
    replies: list[bytes] = []
    at = 0
    try:
        while frame := _next(data, at, deflates):
            opcode, payload, at = frame
            if opcode == PING:
                replies.append(pong(payload))
            elif opcode == CLOSE:
                code = _close_code(payload)
                return Received([*replies, _control(CLOSE, payload)], code, True, b"")
    except _Violation as error:
        code, reason = error.args
        return Received([*replies, close(code, reason)], code, False, b"")
    return Received(replies, None, False, data[at:] if at else data)


def _next(data: bytes, at: int, deflates: bool) -> tuple[int, bytes, int] | None:
    """Return opcode and payload of the frame at index `at`, and the index of the next frame.

    None when the frame is incomplete. Raises _Violation for a frame that a reader must not send.
    """
    if len(data) - at < 2:
        return None
    first, second = data[at], data[at + 1]
    opcode, size = first & 0x0F, second & 0x7F
    _check_header(first, second, opcode, deflates)
    begins = at + 6
    if len(data) < begins + size:
        return None
    payload = data[begins : begins + size]
    if size:
        payload = apply_mask(payload, data[at + 2 : begins])
    return opcode, payload, begins + size


def _check_header(first: int, second: int, opcode: int, deflates: bool) -> None:
    """Raise _Violation unless these two bytes start a control frame that a reader may send."""
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise _Violation(1002, "invalid opcode")
    if not second & 0x80:
        raise _Violation(1002, "incorrect masking")
    is_data = opcode in (TEXT, BINARY)
    if first & (RSV & ~RSV1 if is_data and deflates else RSV):
        raise _Violation(1002, "reserved bits must be 0")
    if is_data:
        raise _Violation(1003, "readers send nothing")
    if opcode == CONTINUATION:
        raise _Violation(1002, "unexpected continuation frame")
    if second & 0x7F > CONTROL_BYTES_MAX:
        raise _Violation(1002, "control frame too long")
    if not first & FIN:
        raise _Violation(1002, "fragmented control frame")


def _close_code(payload: bytes) -> int:
    """Return the code in a close frame. Raises _Violation for an invalid one (section 7.4)."""
    if not payload:
        return NO_CODE
    try:
        return int(Close.parse(payload).code)
    except UnicodeDecodeError:
        raise _Violation(1007, "the reason is not UTF-8") from None
    except ProtocolError as error:
        raise _Violation(1002, str(error)) from None


# -- the handshake ---------------------------------------------------------------------------------


class BadHandshake(Exception):
    """A request is not a valid opening handshake. `answer` is the HTTP answer to it."""

    def __init__(self, why: str, **headers: str) -> None:
        super().__init__(why)
        self.answer = refusal(400, why, **headers)


class Accepted(NamedTuple):
    """The answer to a handshake; `deflates`: messages may be compressed."""

    answer: bytes
    deflates: bool


def accept(headers: Mapping[bytes, bytes], subprotocol: str) -> Accepted:
    """Return the answer to the opening handshake of a GET by HTTP/1.1 (section 4.2).

    Names of headers are in lower case, several of one name joined with commas. `subprotocol` is
    accepted when the reader offers it. Two checks go beyond section 4.2.1: a request must have one
    Host, and no body, since no code would read a body. The header `Connection` may have other
    values besides `Upgrade`.

    Raises BadHandshake.
    """
    _check(headers)
    chosen = b""
    if subprotocol in _read(_subprotocols, headers.get(b"sec-websocket-protocol"), _NONE):
        chosen = b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode()
    offered = headers.get(b"sec-websocket-extensions")
    extensions, deflates = _read(_extensions, offered, (b"", False))
    key = accept_key(headers[b"sec-websocket-key"].decode()).encode()
    return Accepted(_SWITCHING % (key, chosen, extensions), deflates)


_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b%b\r\n"
)


def need_host(headers: Mapping[bytes, bytes]) -> None:
    """Raise BadHandshake unless there is exactly one Host header (RFC 9112, section 3.2)."""
    if b"," in headers.get(b"host", b","):
        raise BadHandshake("A request needs one Host.")


def _check(headers: Mapping[bytes, bytes]) -> None:
    need_host(headers)
    if headers.get(b"upgrade", b"").lower() != b"websocket":
        raise BadHandshake("A handshake needs Upgrade: websocket.")
    connection = headers.get(b"connection", b"").lower()
    if connection != b"upgrade" and b"upgrade" not in map(bytes.strip, connection.split(b",")):
        raise BadHandshake("A handshake needs Connection: Upgrade.")
    if headers.get(b"sec-websocket-version") != b"13":
        raise BadHandshake(
            "A handshake needs Sec-WebSocket-Version: 13.", sec_websocket_version="13"
        )
    if not _is_key(headers.get(b"sec-websocket-key", b"")):
        raise BadHandshake("A handshake needs one Sec-WebSocket-Key, 16 bytes in base64.")
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        raise BadHandshake("A handshake has no body.")


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        return False


class _SharedDeflate(ServerPerMessageDeflateFactory):
    """Accepts an offer of compression only if the reader can read the shared compressed frames."""

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        for name, value in params:
            if name == "server_max_window_bits" and value != "15":
                raise NegotiationError("frames are compressed with a window of 15 bits")
        return super().process_request_params(params, accepted_extensions)


_reference: Final = ServerProtocol(extensions=[_SharedDeflate(server_no_context_takeover=True)])


def _read(reading: Callable[[bytes], T], offered: bytes | None, nothing: T) -> T:
    """Return a header's value parsed by `reading`; `nothing` when the request lacks the header.

    Raises BadHandshake.
    """
    if offered is None:
        return nothing
    try:
        short = len(offered) <= CACHED_BYTES_MAX
        return _cached(reading, offered) if short else reading(offered)
    except InvalidHandshake as error:
        raise BadHandshake(f"The handshake cannot be read: {error}.") from None


@lru_cache(CACHED_MAX)
def _cached(reading: Callable[[bytes], T], offered: bytes) -> T:
    return reading(offered)


_NONE: Final[Sequence[str]] = ()


def _subprotocols(offered: bytes) -> Sequence[str]:
    return parse_subprotocol(offered.decode("latin-1"))


def _extensions(offered: bytes) -> tuple[bytes, bool]:
    """Return the header line that answers an offer of compression, and whether to compress.

    The line is empty when the offer is not accepted.
    """
    headers = Headers({"Sec-WebSocket-Extensions": offered.decode("latin-1")})
    answer, accepted = _reference.process_extensions(headers)
    line = b"Sec-WebSocket-Extensions: %b\r\n" % answer.encode() if answer else b""
    return line, bool(accepted)


def refusal(status: int, why: str, **headers: str) -> bytes:
    """Return the HTTP answer that refuses a request and announces that the connection closes."""
    body = f"{why}\n".encode()
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    shown |= {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "connection": "close",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode() + body
