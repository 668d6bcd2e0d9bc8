"""The door admits readers, refuses them with a reason, and counts them.

The direct and the portable transport both ask the door about origin, limits, blog and position, so
a reader gets the same answer from every server.

Rules: never imports the broker, no sockets, no ASGI messages. To refuse a reader, the server first
accepts the connection, then sends at most a `bye` and a close code. The reason is that scripts
cannot see the status of a failed handshake.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from liveblog.address import IGNORED, is_ignored
from liveblog.blog.model import Position
from liveblog.blog.problem import Damaged, StoreDown, WorkerFull
from liveblog.forwarded import hops_of
from liveblog.live import frame as frames
from liveblog.live.blog import LiveBlog
from liveblog.live.frame import Frame
from liveblog.live.hub import Hub
from liveblog.live.reader import (
    DRAFT,
    DRAINED,
    ENDED,
    NO_SUCH_BLOG,
    OVERLOAD_WINDOW_MS,
    RESET,
    RESET_WINDOW_MS,
    RESTART_WINDOW_MS,
    UNKNOWN_WINDOW_MS,
    AnyReader,
)
from liveblog.origin import Page, Site, refusal
from liveblog.seldom import Seldom

log = logging.getLogger(__name__)

SUBPROTOCOL: Final = "liveblog.v1"

# The close codes that live/reader.py does not define (RFC 6455, section 7.4, docs/streams.md).
NO_DATA: Final = 1003
GONE: Final = 1006
TOO_MUCH: Final = 1008
FAULT: Final = 1011
TRY_AGAIN: Final = 1013
FULL: Final = 4002
TOO_SLOW: Final = 4003
TOO_MANY: Final = 4004
BAD_ORIGIN: Final = 4500

# Server-Sent Events have no close codes. Instead of these codes, a refused reader of events gets
# the status 204, which stops an EventSource from reconnecting.
STAY_AWAY: Final = (BAD_ORIGIN, DRAFT, ENDED)
STAY_AWAY_HEADERS: Final = {"cache-control": "no-store"}  # a cached 204 would stop other readers

EVENT_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # tells nginx not to buffer the events
}


class StreamRequest(NamedTuple):
    """A reader's request for a stream.

    `since` None: only later changes. `is_malformed`: the text of the position does not parse.
    `page`: the page that sent the request. `address` identifies the client whose readers are
    counted; "" when readers are not counted.
    """

    slug: str
    since: Position | None
    is_malformed: bool
    as_data: bool
    page: Page
    address: str
    headers: Mapping[bytes, bytes]


class Refusal(NamedTuple):
    """The last frame and the close code of a refused reader, and the reason's name in metrics."""

    farewell: Frame | None
    code: int
    why: str


def read_request(
    slug: str, query: bytes, headers: Mapping[bytes, bytes], page: Page, address: str
) -> StreamRequest:
    """Build a reader's request from its URL and headers; header names are in lower case.

    The header `Last-Event-ID` has priority over `since` in the query string.
    """
    fields = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}
    last = headers.get(b"last-event-id")
    since, is_malformed = read_since(last.decode("latin-1") if last else fields.get("since"))
    return StreamRequest(
        slug, since, is_malformed, fields.get("as") == "data", page, address, headers
    )


def read_since(text: str | None) -> tuple[Position | None, bool]:
    """Return the position in the text of `since`, and whether the text is malformed.

    The position is None when the text is missing, empty or malformed.
    """
    if not text:
        return None, False
    position = Position.parse(text)
    return position, position is None


# -- Server-Sent Events, which have no close codes


def has_missed_nothing(live: LiveBlog, request: StreamRequest) -> bool:
    """Return whether the blog has ended and the reader has missed nothing.

    Then a request for events is answered with 204, which stops an EventSource from reconnecting.
    """
    is_at_top = not request.is_malformed and request.since in (None, live.position)
    return live.blog.status == "ended" and is_at_top


def last_event(frame: Frame | None, code: int) -> Frame | None:
    """Return the last frame of a stream of events, None for no frame.

    `frame` and `code` would end a WebSocket. Events have no close codes, so the end of a blog needs
    a `bye` frame instead of the code ENDED.
    """
    return frames.bye(None, "ended") if code == ENDED else frame


# -- the door


@dataclass
class Door:
    """Admits readers from pages of allowed origins, up to two limits; 0 means no limit.

    One limit is for all readers, the other for the readers of each client address.
    """

    hub: Hub
    site: Site = Site()
    readers_max: int = 0
    readers_per_address_max: int = 0
    readers: Counter[str] = field(default_factory=Counter)  # connected readers, by transport
    addresses: Counter[str] = field(default_factory=Counter)
    accepts: Counter[str] = field(default_factory=Counter)  # requests for a stream, by result
    closes: Counter[int] = field(default_factory=Counter)  # ended streams, by close code
    count: int = 0
    refusals: Seldom = field(default_factory=Seldom)  # limits the log lines about origins, proxies
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    # -- admission

    def refusal(self, request: StreamRequest) -> Refusal | None:
        """Return the door's refusal of a reader; None when the door admits the reader."""
        if not self.site.may_stream(request.page):
            self._log(request.page)
            return _refusal(None, BAD_ORIGIN, "origin")
        if self.hub.draining:
            return _refusal(RESTART_WINDOW_MS, DRAINED, "restart")
        if 0 < self.readers_max <= self.count:
            return _refusal(OVERLOAD_WINDOW_MS, FULL, "full")
        if 0 < self.readers_per_address_max <= self.addresses[request.address]:
            self._warn_of_ignored_proxy(request)
            return _refusal(OVERLOAD_WINDOW_MS, TOO_MANY, "address")
        return None

    def _warn_of_ignored_proxy(self, request: StreamRequest) -> None:
        if is_ignored(hops_of(request.headers), request.address) and self.refusals.may("proxy"):
            log.warning(IGNORED, "readers refused", request.address)

    def cors(self, origin: str) -> dict[str, str]:
        """Return headers that let scripts of an allowed origin read an answer.

        `Vary` makes caches keep one answer for each origin.
        """
        if not self.site.allowed and not self.site.public_url:
            return {}
        allowed = {"access-control-allow-origin": origin} if self.site.reads(origin) else {}
        return {"vary": "Origin", **allowed}

    def _log(self, page: Page) -> None:
        if self.refusals.may("stream"):
            log.warning("stream refused: %s", refusal(page, self.site, "LIVEBLOG_ALLOWED_ORIGINS"))

    async def find(self, slug: str) -> LiveBlog | Refusal:
        """Return a blog, after loading the blog if necessary, or the refusal of the reader.

        An internal error becomes a refusal too: the waiting reader must get an answer.
        """
        try:
            live = await self.hub.live(slug)
        except WorkerFull:
            return _refusal(OVERLOAD_WINDOW_MS, FULL, "full")
        except Damaged:
            return _refusal(UNKNOWN_WINDOW_MS, TRY_AGAIN, "damaged")
        except StoreDown:
            return _refusal(OVERLOAD_WINDOW_MS, TRY_AGAIN, "store")
        except Exception:
            log.exception("blog %s: loading failed", slug)
            return _refusal(OVERLOAD_WINDOW_MS, FAULT, "fault")
        return live or self._without_blog(slug)

    def _without_blog(self, slug: str) -> Refusal:
        """Return the refusal for a blog that does not exist, or that readers may not see.

        A blog that was never open must look as if it did not exist. Both may open at any time.
        """
        if self.hub.was_closed(slug):
            return _refusal(None, DRAFT, "gone")
        return _refusal(UNKNOWN_WINDOW_MS, NO_SUCH_BLOG, "unknown")

    def join(self, reader: AnyReader, live: LiveBlog, request: StreamRequest) -> None:
        """Join a reader to its blog, or reset the reader when its position is malformed."""
        if request.is_malformed:
            reader.end(frames.reset(live.position, RESET_WINDOW_MS), RESET)
        else:
            live.join(reader, request.since)

    # -- the number of readers

    def count_in(self, transport: str, address: str) -> None:
        """Count a connected reader, until `count_out` is called with the same arguments."""
        self.count += 1
        self.readers[transport] += 1
        if self.readers_per_address_max:
            self.addresses[address] += 1

    def count_out(self, transport: str, address: str) -> None:
        self.count -= 1
        self.readers[transport] -= 1
        if self.readers_per_address_max:
            self.addresses[address] -= 1
            if not self.addresses[address]:
                del self.addresses[address]
        if not self.count:
            self._empty.set()

    async def emptied(self, within_s: float) -> None:
        """Wait until all readers have left, at most `within_s` seconds.

        Call it only while the hub drains: otherwise new readers may join.
        """
        self._empty.clear()
        if self.count:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._empty.wait()


def refusal_over(why: str) -> Refusal:
    """Return the refusal of a reader whose connection exceeds a limit: "full" or "address"."""
    return _refusal(OVERLOAD_WINDOW_MS, TOO_MANY if why == "address" else FULL, why)


def _refusal(after_ms: tuple[int, int] | None, code: int, why: str) -> Refusal:
    return Refusal(frames.bye(after_ms, why), code, why)
