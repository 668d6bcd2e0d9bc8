"""A page, frame or file kept in memory: its bytes, compressed once, and its cache headers.

An `Answer` is an ASGI application for GET and HEAD. The code that makes an `Answer` decides its
content and its Cache-Control. The `Answer` chooses the coding (br, gzip or none), and decides when
a 304 suffices. An `Answer` sends the security headers by itself; `SecurityHeaders` adds them to all
other answers.

Rules: knows nothing about blogs. An answer never changes. An answer owns everything made from its
body, so evicting the answer from a cache frees every copy.
"""

import asyncio
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final, NamedTuple

import brotli
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

# A shared cache, such as a CDN, asks the server once a second whether its copy is current, for any
# number of readers. A browser asks every time, and mostly gets a 304.
CACHED_1_S: Final = "public, max-age=0, s-maxage=1"
IMMUTABLE: Final = "public, max-age=31536000, immutable"

# Inline scripts and styles are forbidden. A nonce could allow an inline script, but a nonce must
# differ in each answer, and a cached page is sent many times. The directives about trusted types
# let only morph.js make HTML from text.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types liveblog"
)
# Pages of this project use no sensor and no payment. Other features, such as full screen, keep the
# browser's defaults.
_UNUSED_FEATURES: Final = (
    "accelerometer", "camera", "display-capture", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial", "usb",
)  # fmt: skip
SECURITY: Final = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    # Other hosts of the same site may show files of this one, other sites may not.
    (b"cross-origin-resource-policy", b"same-site"),
    (b"permissions-policy", ", ".join(f"{it}=()" for it in _UNUSED_FEATURES).encode()),
]
# For one year; browsers obey it only over https (RFC 6797, section 8.1). Without includeSubDomains:
# this server does not know whether the other hosts of its domain serve https.
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")

COMPRESSED_BYTES_MIN: Final = 700  # a smaller body gains less than it costs, and fits in one packet
WAIT_S: Final = 0.25  # a body is sent plain when its compression (usually 1 ms) takes longer
ACCEPT_BYTES_MAX: Final = 256  # further bytes of an Accept-Encoding are ignored; browsers send 25

IDENTITY: Final = "identity"
# Codings in the order of preference. On the page of the sample blog (30 KB), these levels take 0.5
# ms each; brotli makes 5.7 KB of it, gzip 6.2 KB. The next better levels of brotli, 9 and 11, take
# 6 ms and 36 ms.
_COMPRESS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "br": partial(brotli.compress, quality=5),
    # wbits=31 selects the gzip format. zlib writes no timestamp, so equal bodies give equal bytes.
    "gzip": partial(zlib.compress, level=6, wbits=31),
}


def _gzip_best(body: bytes) -> bytes:
    made = zlib.compressobj(9, wbits=31, memLevel=9)
    return made.compress(body) + made.flush()


# For files, which are sent often and compressed once: brotli takes 10 ms for the reader's script
# (33 KB) and makes it 5 % smaller; gzip makes the desk's files 0.3 % smaller.
_COMPRESS_BEST: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "br": partial(brotli.compress, quality=10),
    "gzip": _gzip_best,
}
# One thread: more threads would take CPU from the event loop. asyncio's default executor is not
# used: asyncio looks up host names there, and slow look-ups could occupy all its threads.
_COMPRESSING: Final = ThreadPoolExecutor(1, thread_name_prefix="compress")

RawHeaders = list[tuple[bytes, bytes]]


class _Coded(NamedTuple):
    """The body in one coding (br, gzip or none), with its ETag and its headers."""

    tag: bytes
    headers: RawHeaders
    body: bytes


class Answer:
    """The HTTP answer with one body: 200, or 304 to a client that has the body already.

    The first request for a coding (br or gzip) starts the compression, once, in a thread. Requests
    during the compression wait for the same result, at most WAIT_S. `headers` are sent as well,
    with Accept-Encoding added to Vary. `bytes_max` is the most memory that the answer can take. A
    file is compressed for longer.
    """

    def __init__(
        self,
        body: bytes,
        content_type: str,
        cache_control: str,
        headers: Mapping[str, str] | None = None,
        *,
        is_file: bool = False,
    ) -> None:
        more = {"vary": "", **(headers or {})}
        more["vary"] = ", ".join(filter(None, ("Accept-Encoding", more["vary"])))
        self._size = len(body)
        self._name = sha256(body).hexdigest()[:32]
        # The headers of every answer, also of a 304.
        self._always = [*raw_headers({"cache-control": cache_control, **more}), *SECURITY]
        self._content_type = content_type
        self._is_file = is_file
        self._is_small = len(body) < COMPRESSED_BYTES_MIN
        self._coded = {IDENTITY: self._in(IDENTITY, body)}
        self._making: dict[str, asyncio.Future[bytes | None]] = {}

    @property
    def body(self) -> bytes:
        return self._plain().body

    @property
    def bytes_max(self) -> int:
        """The memory of the body and of a copy for each coding; no copy is larger than the body."""
        return self._size * (1 if self._is_small else 1 + len(_COMPRESS))

    @property
    def bytes_likely(self) -> int:
        """The memory of the body and its copies, as far as known.

        A coding that was not requested yet is taken to be as large as the one that was.
        """
        made = [len(it.body) for name, it in self._coded.items() if name != IDENTITY]
        plain = self._size if IDENTITY in self._coded else 0
        return plain + len(_COMPRESS) * max(made) if made else self.bytes_max

    def pack(self) -> None:
        """Drop the plain body if a gzip copy has its content; it is made again when needed.

        A page of 30 KB takes 6 KB then, and clients that accept no coding are few.
        """
        made = self._making.get("gzip")
        if "gzip" in self._coded and made and made.result():
            self._coded.pop(IDENTITY, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        coding = IDENTITY if self._is_small else best_coding(_given(scope, b"accept-encoding"))
        coded = self._coded.get(coding)
        has = _given(scope, b"if-none-match")
        tag = coded.tag if coded else self._tag(coding)
        if has and _names(has, tag):  # no compression is needed for a 304
            await _send(send, 304, _secured([(b"etag", tag), *self._always], scope))
            return
        coded = coded or await self._compressed(coding)
        body = b"" if scope["method"] == "HEAD" else coded.body
        await _send(send, 200, _secured(coded.headers, scope), body)

    async def _compressed(self, coding: str) -> _Coded:
        """Return the body in a coding; plain when compression fails, takes long or saves nothing.

        If a waiting request is cancelled, the compression continues for the other requests:
        `asyncio.wait` does not cancel the future.
        """
        if coding == IDENTITY:  # the plain body of a packed answer
            return self._plain()
        if coding not in self._making:
            loop = asyncio.get_running_loop()
            self._making[coding] = loop.run_in_executor(_COMPRESSING, self._smaller, coding)
        making = self._making[coding]
        if not making.done():
            await asyncio.wait([making], timeout=WAIT_S)
        if not making.done():
            return self._plain()
        if coding not in self._coded:
            made = making.result()
            self._coded[coding] = self._in(coding, made) if made else self._plain()
        return self._coded[coding]

    def _smaller(self, coding: str) -> bytes | None:
        """Return the compressed body; None when compression fails or saves nothing."""
        body = self.body
        try:
            made = (_COMPRESS_BEST if self._is_file else _COMPRESS)[coding](body)
        except Exception:
            log.exception("answer of %d bytes: compression with %s failed", len(body), coding)
            return None
        return made if len(made) < len(body) else None

    def _plain(self) -> _Coded:
        """Return the body without a coding; a packed answer makes it from its gzip copy."""
        kept = self._coded.get(IDENTITY)
        return kept or self._in(IDENTITY, zlib.decompress(self._coded["gzip"].body, wbits=31))

    def _in(self, coding: str, body: bytes) -> _Coded:
        encoding = {} if coding == IDENTITY else {"content-encoding": coding}
        about = {"content-type": self._content_type, "content-length": str(len(body)), **encoding}
        tag = self._tag(coding)
        return _Coded(tag, [*raw_headers(about), (b"etag", tag), *self._always], body)

    def _tag(self, coding: str) -> bytes:
        """Return the strong ETag, a different one for each coding (RFC 9110, section 8.8.1)."""
        suffix = "" if coding == IDENTITY else f"-{coding}"
        return f'"{self._name}{suffix}"'.encode()


# -- request headers -------------------------------------------------------------------------------

_CODING: Final = re.compile(rb"\s*([\w*-]+)\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?", re.IGNORECASE)
# The q of identity when the client does not mention identity. The lowest q that accepts a coding is
# 0.001, so identity is the last choice.
_UNMENTIONED: Final = 0.0001


def _given(scope: Scope, name: bytes) -> bytes:
    """Return a header's value, all its lines joined with commas; empty when there is none."""
    return b",".join([value for key, value in scope["headers"] if key == name])


def best_coding(accepted: bytes) -> str:
    """Return the coding with the highest q in an Accept-Encoding; among equals, br before gzip.

    Returns identity, the plain body, when the client accepts no coding at all: a page helps more
    than an error, and RFC 9110, section 12.5.3, leaves the choice to the server. Malformed parts
    are ignored.
    """
    return _best_coding(accepted[:ACCEPT_BYTES_MAX])


@lru_cache(maxsize=256)
def _best_coding(accepted: bytes) -> str:
    given = dict(_weights(accepted.split(b",")))
    rest = given.get("*", 0.0)
    weights = {coding: given.get(coding, rest) for coding in _COMPRESS}
    weights[IDENTITY] = given.get(IDENTITY, given.get("*", _UNMENTIONED))
    best = max(weights, key=weights.__getitem__)  # of equal weights, the first
    return best if weights[best] else IDENTITY


def _weights(parts: Iterable[bytes]) -> Iterator[tuple[str, float]]:
    for part in parts:
        found = _CODING.fullmatch(part)
        if found:
            yield found[1].decode().lower(), float(found[2] or 1)


def _names(has: bytes, tag: bytes) -> bool:
    """Return whether an If-None-Match names a tag, weak or not (RFC 9110, section 13.1.2).

    A tag starts and ends with a quote and contains no other quote, so a plain search in the header
    finds whole tags only.
    """
    return tag in has or has.strip() == b"*"


# -- ASGI ------------------------------------------------------------------------------------------


def raw_headers(headers: Mapping[str, str]) -> RawHeaders:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _secured(headers: RawHeaders, scope: Scope) -> RawHeaders:
    """Return headers of an answer, with HSTS over https; `headers` itself stays the same."""
    return [*headers, HSTS] if scope.get("scheme") == "https" else headers


async def _send(send: Send, status: int, headers: RawHeaders, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class SecurityHeaders:
    """Adds the security headers that an answer does not have yet.

    Wraps the whole Starlette application: a middleware of Starlette does not see Starlette's
    answers to internal errors.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])  # copied below: other answers may share this list
                present = {name for name, _ in own}
                wanted = _secured(SECURITY, scope)
                message["headers"] = [*own, *(it for it in wanted if it[0] not in present)]
            await send(message)

        if scope["type"] == "lifespan":
            scope.setdefault("state", {})  # Starlette needs `state`; some servers do not pass it
        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
