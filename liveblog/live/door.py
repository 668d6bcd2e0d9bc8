"""The readers' door: who may come in, in which form, and how many there are.

Both lanes ask here, so origin, limits, blog and position are judged by one function each, and a
reader gets the same answer whichever server carries it.

Rules: never imports the broker, no sockets, no ASGI messages. A refused reader is accepted, gets at
most a `bye`, then its code, since scripts cannot see the status of a failed handshake.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown
from liveblog.live import frame as frames
from liveblog.live.blog import LiveBlog
from liveblog.live.frame import Frame
from liveblog.live.hub import Hub
from liveblog.live.reader import (
    DRAINED,
    NO_SUCH_BLOG,
    OVERLOAD_WINDOW_MS,
    RESET,
    RESET_WINDOW_MS,
    RESTART_WINDOW_MS,
    AnyReader,
)

log = logging.getLogger(__name__)

SUBPROTOCOL: Final = "liveblog.v1"

# Close codes besides the hub's (RFC 6455, section 7.4, and the contract).
NO_DATA: Final = 1003
GONE: Final = 1006
TOO_MUCH: Final = 1008
FAULT: Final = 1011
TRY_AGAIN: Final = 1013
FULL: Final = 4002
TOO_SLOW: Final = 4003
TOO_MANY: Final = 4004
BAD_ORIGIN: Final = 4500

STAY_AWAY: Final = (BAD_ORIGIN, NO_SUCH_BLOG)

# Of every stream of events; nginx would hold them back.
EVENT_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class StreamRequest(NamedTuple):
    """What a reader's request says.

    `since` None: from now on. `is_malformed`: a position was given, and is none. `address` is what
    the reader is counted by, "" where nobody counts.
    """

    slug: str
    since: Position | None
    is_malformed: bool
    as_data: bool
    origin: str | None
    own_origin: str
    address: str


class Refusal(NamedTuple):
    """Why a reader is sent away: its farewell and close code, and a word for the metrics."""

    farewell: Frame | None
    code: int
    why: str


def read_request(
    slug: str, query: bytes, headers: Mapping[bytes, bytes], scheme: str, address: str
) -> StreamRequest:
    """Read a reader's request from its parts; header names are in lower case.

    `Last-Event-ID` wins over `since`.
    """
    asked = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}
    last = headers.get(b"last-event-id")
    text = last.decode("latin-1") if last else asked.get("since", "")
    since = Position.parse(text) if text else None
    origin = headers.get(b"origin")
    host = headers.get(b"host", b"").decode("latin-1")
    return StreamRequest(
        slug,
        since,
        bool(text) and since is None,
        asked.get("as") == "data",
        origin.decode("latin-1") if origin is not None else None,
        f"{scheme}://{host}",
        address,
    )


@dataclass
class Door:
    """Who may come in: origins, and how many readers in all and from one address (0: no limit)."""

    hub: Hub
    origins: frozenset[str] = frozenset()
    readers_max: int = 0
    readers_per_address_max: int = 0
    readers: Counter[str] = field(default_factory=Counter)  # by transport
    addresses: Counter[str] = field(default_factory=Counter)
    accepts: Counter[str] = field(default_factory=Counter)  # by result
    closes: Counter[int] = field(default_factory=Counter)  # by code; a stream of events has none
    count: int = 0
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    # -- who may come in

    def refusal(self, ask: StreamRequest) -> Refusal | None:
        """Say why a reader may not come in; None when it may."""
        if ask.origin and ask.origin not in self.origins and ask.origin != ask.own_origin:
            return _refusal(None, BAD_ORIGIN, "origin")
        if self.hub.draining:
            return _refusal(RESTART_WINDOW_MS, DRAINED, "restart")
        if 0 < self.readers_max <= self.count:
            return _refusal(OVERLOAD_WINDOW_MS, FULL, "full")
        if 0 < self.readers_per_address_max <= self.addresses[ask.address]:
            return _refusal(OVERLOAD_WINDOW_MS, TOO_MANY, "address")
        return None

    def cors(self, origin: str) -> dict[str, str]:
        """Return headers that let the scripts of allowed origins read an answer.

        For caches the answer then depends on the origin.
        """
        if not self.origins:
            return {}
        allowed = {"access-control-allow-origin": origin} if origin in self.origins else {}
        return {"vary": "Origin", **allowed}

    async def find(self, slug: str) -> LiveBlog | Refusal:
        """Return the blog, loaded on first interest, or why there is none to read now.

        A fault of ours is one such reason: who waits must not be left without an answer.
        """
        try:
            live = await self.hub.live(slug)
        except StoreDown:
            return _refusal(OVERLOAD_WINDOW_MS, TRY_AGAIN, "store")
        except Exception:
            log.exception("blog %s cannot be loaded", slug)
            return _refusal(OVERLOAD_WINDOW_MS, FAULT, "fault")
        return live or _refusal(None, NO_SUCH_BLOG, "gone")

    def join(self, reader: AnyReader, live: LiveBlog, ask: StreamRequest) -> None:
        """Let a reader in, or reset it at once when what it gave as its position is none."""
        if ask.is_malformed:
            reader.end(frames.reset(live.position, RESET_WINDOW_MS), RESET)
        else:
            live.join(reader, ask.since)

    # -- who is in

    def entered(self, transport: str, address: str) -> None:
        self.count += 1
        self.readers[transport] += 1
        if self.readers_per_address_max:
            self.addresses[address] += 1

    def left(self, transport: str, address: str) -> None:
        self.count -= 1
        self.readers[transport] -= 1
        if self.readers_per_address_max:
            self.addresses[address] -= 1
            if not self.addresses[address]:
                del self.addresses[address]
        if not self.count:
            self._empty.set()

    async def emptied(self, within_s: float) -> None:
        """Wait until all readers have left, `within_s` at most; for a hub that lets no more in."""
        self._empty.clear()
        if self.count:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._empty.wait()


def _refusal(after_ms: tuple[int, int] | None, code: int, why: str) -> Refusal:
    return Refusal(frames.bye(after_ms, why), code, why)
