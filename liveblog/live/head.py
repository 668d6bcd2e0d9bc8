"""Request heads on the connections of `serve`: recognise streams, parse and check heads.

Rules: bytes in, values out; no I/O. Trusted proxies are recognised as in uvicorn. So a client has
the same scheme and address as a direct reader (live/direct.py) and in requests that uvicorn serves.
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from liveblog.live.rfc6455 import BadHandshake

HEAD_BYTES_MAX: Final = 8 * 1024
STREAM_START: Final = b"GET /blogs/"  # every request for a stream starts with this; a cheap test

# A stream's request line, with groups for slug, transport, query and HTTP minor version.
_STREAM: Final = re.compile(rb"GET /blogs/([^/? ]*)/(live|events)(?:\?([^ ]*))? HTTP/1\.([01])\r\n")

Headers = Mapping[bytes, bytes]  # names in lower case; a repeated header's values are joined


class Fault(NamedTuple):
    """Why the server rejects a request: the status and the text of its answer."""

    status: int
    why: str


TOO_LONG: Final = Fault(431, f"The request head is longer than {HEAD_BYTES_MAX} bytes.")
INVALID: Final = Fault(400, "The request is not valid HTTP.")
BAD_HOST: Final = Fault(400, "The request must have one Host header.")  # RFC 9112, section 3.2


class Kind(Enum):
    """The kind of request that a connection starts with."""

    WEBSOCKET = "a stream by WebSocket"
    EVENTS = "a stream of Server-Sent Events"
    OTHER = "any other request"

    __hash__ = object.__hash__  # hashes by identity; Enum's own hash takes 0.1 us longer


WEBSOCKET, EVENTS, OTHER = Kind  # as globals: reading `Kind.OTHER` costs 0.1 us in Python 3.11
_STREAMS: Final = {b"live": WEBSOCKET, b"events": EVENTS}


def kind_of(data: bytes) -> Kind | None:
    """Return the kind of request that `data` starts; None when more bytes are needed."""
    found = _STREAM.match(data)
    if not found:
        is_undecided = b"\r\n" not in data and data.startswith(STREAM_START[: len(data)])
        return None if is_undecided else OTHER
    return _STREAMS[found[2]] if b"\r\n\r\n" in data else None


def head_bytes(data: bytes) -> int:
    """Return how many bytes of `data` belong to the first request head, complete or not."""
    end = data.find(b"\r\n\r\n")
    return len(data) if end < 0 else end


# -- heads of any request --------------------------------------------------------------------------

Lines = Iterable[tuple[bytes, bytes]]


def fault_of(url: bytes, headers: Lines, version: str) -> Fault | None:
    """Return why a parsed head is rejected, None when it is valid.

    Header names are in lower case. HTTP/1.0 needs no Host.
    """
    lines = list(headers)
    hosts = sum(name == b"host" for name, _ in lines)
    if hosts > 1 or (hosts == 0 and version != "1.0"):
        return BAD_HOST
    size = len(url) + sum(len(name) + len(value) + len(": \r\n") for name, value in lines)
    return TOO_LONG if size > HEAD_BYTES_MAX else None


def write_head(method: bytes, url: bytes, version: str, headers: Lines) -> bytes:
    """Return a request head as bytes."""
    lines = b"".join(b"%b: %b\r\n" % line for line in headers)
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), lines)


# -- heads of streams ------------------------------------------------------------------------------


class Head(NamedTuple):
    """A complete request head for a stream."""

    slug: str
    query: bytes
    headers: Headers
    rest: bytes  # the bytes that came after the head
    is_old: bool  # whether the request is HTTP/1.0


class _Headers(dict[bytes, bytes]):
    """The headers that httptools reports by `on_header`; values of one name are joined."""

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self[name] = b"%b, %b" % (self[name], value) if name in self else value


def read_head(data: bytes) -> Head:
    """Parse a complete request head.

    Raises BadHandshake when the head is not valid HTTP, or does not ask for a stream.
    """
    found = _STREAM.match(data)
    if not found:
        raise BadHandshake("This is not the address of a stream.")
    end = data.index(b"\r\n\r\n") + 4
    headers = _Headers()
    try:
        httptools.HttpRequestParser(headers).feed_data(data[:end])
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise BadHandshake(INVALID.why) from None
    slug = unquote(found[1].decode("latin-1"))
    return Head(slug, found[3] or b"", headers, data[end:], found[4] == b"0")


# -- trusted proxies -------------------------------------------------------------------------------


class Proxies:
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto the server trusts.

    `trusted` is a list of addresses and networks, as uvicorn's `forwarded_allow_ips`.
    """

    def __init__(self, trusted: str) -> None:
        self._trusted = ProxyHeadersMiddleware(_no_application, trusted).trusted_hosts

    def trusts(self, peer: str) -> bool:
        return peer in self._trusted

    def sender(self, peer: str, headers: Headers, scheme: str) -> tuple[str, str]:
        """Return the client's scheme and address, from the proxy headers if `peer` is trusted."""
        if peer not in self._trusted:
            return scheme, peer
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        host = self._trusted.get_trusted_client_address(hops)[0] if hops else ""
        return _forwarded_scheme(headers) or scheme, host or peer


def is_forwarded(headers: Headers) -> bool:
    """Return whether a proxy has added its headers."""
    return b"x-forwarded-for" in headers or b"x-forwarded-proto" in headers


def _forwarded_scheme(headers: Headers) -> str:
    """Return the scheme in X-Forwarded-Proto; "" for none or several, like uvicorn."""
    scheme = headers.get(b"x-forwarded-proto", b"").decode("latin-1").strip()
    return {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(scheme, "")


async def _no_application(*_: object) -> None:
    """Do nothing: `Proxies` never runs the middleware, and uses only its list of addresses."""
