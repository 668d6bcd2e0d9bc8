"""Frames: the JSON that readers get, encoded once and shared by all of them.

`{"t":"hello"|"changes"|"beat"|"reset"|"bye", …}` as the contract has it. The parts of a `changes`
frame are made once per entry and joined, since 10,000 readers who come back to the same position
must cost one encoding.

Rules: bytes in, bytes out; no I/O, no clock. HTML comes in ready made.
"""

from functools import cached_property, lru_cache
from typing import Any, Final, Literal, NamedTuple

import orjson

from liveblog.blog.model import Blog, Entry, Position
from liveblog.blog.shapes import blog_json, entry_json
from liveblog.live import rfc6455

MISSED_BYTES_MAX: Final = 256 * 1024  # a longer `changes` is a `reset`
FORMS_MAX: Final = 6  # of one frame, none longer: JSON, text, framed, deflated, event, chunk
OVERHEAD_BYTES: Final = 1_000  # of the objects around them

# What `as=data` leaves out of the API's shapes.
_ENTRY_LEFT_OUT = ("body", "publish_at")
_BLOG_LEFT_OUT = ("summary",)


class Encoding(NamedTuple):
    """How a reader gets its frames: with which content, and as which attribute of a Frame."""

    as_data: bool
    name: Literal["text", "framed", "deflated", "event", "chunk"]


# One object each, so that to compare two is to compare identities.
encoding_of: Final = lru_cache(maxsize=16)(Encoding)


class Frame:
    """One frame in the forms that transports need, each made on first use.

    `position` is the SSE event id; None for frames that move nobody.
    """

    def __init__(self, json: bytes, position: Position | None = None) -> None:
        self.json, self.position = json, position

    def encoded(self, encoding: Encoding) -> Any:
        """Return this frame as a reader of that encoding takes it: bytes, or str for "text"."""
        return getattr(self, encoding.name)

    @property
    def bytes_max(self) -> int:
        """The memory that this frame may come to take."""
        return FORMS_MAX * len(self.json) + OVERHEAD_BYTES

    @cached_property
    def text(self) -> str:
        """The payload of a WebSocket text frame, for servers that frame it themselves."""
        return self.json.decode()

    @cached_property
    def framed(self) -> bytes:
        """A whole WebSocket frame."""
        return rfc6455.text(self.json)

    @cached_property
    def deflated(self) -> bytes:
        """A whole WebSocket frame for who negotiated compression."""
        return rfc6455.compressed_text(self.json)

    @cached_property
    def event(self) -> bytes:
        """A Server-Sent Event. JSON has no raw line breaks, so it is one `data` line."""
        id_line = b"id: %b\n" % str(self.position).encode() if self.position else b""
        return b"%bdata: %b\n\n" % (id_line, self.json)

    @cached_property
    def chunk(self) -> bytes:
        """That event as one chunk of an HTTP/1.1 answer (RFC 9112, section 7.1)."""
        return b"%x\r\n%b\r\n" % (len(self.event), self.event)


class Piece(NamedTuple):
    """One change, encoded.

    `order` is an entry's, between whose halves `new` is written; 0 when there is no `new`.
    """

    head: bytes
    order: int = 0
    tail: bytes = b""

    def encoded(self, since: int) -> bytes:
        if not self.order:
            return self.head
        return b'%b,"new":%b%b' % (
            self.head,
            b"true" if self.order > since else b"false",
            self.tail,
        )


def put(entry: Entry, /, **content: Any) -> Piece:
    """Encode an entry's present state; `content` is html=… or entry=…."""
    head = {
        "op": "put",
        "id": entry.id,
        "offset": entry.offset,
        "order": entry.order,
        "revision": entry.revision,
    }
    tail = {"key": entry.key, "pinned": entry.pinned, **content}
    return Piece(orjson.dumps(head)[:-1], entry.order or 0, b"," + orjson.dumps(tail)[1:])


def delete(entry: Entry) -> Piece:
    return Piece(orjson.dumps({"op": "del", "id": entry.id, "offset": entry.offset}))


def header(blog: Blog, /, **content: Any) -> Piece:
    """Encode the blog's header and status; `content` is html=… or blog=…."""
    return Piece(
        orjson.dumps({"op": "blog", "offset": blog.offset, "status": blog.status, **content})
    )


def entry_data(entry: Entry, slug: str, position: Position | None, base_url: str) -> dict[str, Any]:
    """Return what `as=data` shows of an entry."""
    shape = entry_json(entry, slug, position, base_url)
    return {name: value for name, value in shape.items() if name not in _ENTRY_LEFT_OUT}


def blog_data(blog: Blog, position: Position, base_url: str) -> dict[str, Any]:
    """Return what `as=data` shows of a blog."""
    shape = blog_json(blog, position, base_url)
    return {name: value for name, value in shape.items() if name not in _BLOG_LEFT_OUT}


def changes(since: int, position: Position, pieces: list[Piece]) -> Frame | None:
    """Join pieces, ascending by offset, into what a reader at `since` misses.

    None when it is too much.
    """
    parts = [piece.encoded(since) for piece in pieces]
    if sum(map(len, parts)) > MISSED_BYTES_MAX:
        return None
    return Frame(
        b'{"t":"changes","from":%d,"position":"%b","changes":[%b]}'
        % (since, str(position).encode(), b",".join(parts)),
        position,
    )


def hello(position: Position, heartbeat_s: float) -> Frame:
    shown = int(heartbeat_s) if heartbeat_s == int(heartbeat_s) else heartbeat_s
    json = orjson.dumps({"t": "hello", "position": str(position), "heartbeat_s": shown})
    return Frame(json, position)


class _Asking(Frame):
    """A heartbeat with a WebSocket ping in the same bytes.

    The beat tells the reader's page that the server is there, the pong tells the server that the
    reader's end is.
    """

    @cached_property
    def framed(self) -> bytes:
        return rfc6455.text(self.json) + rfc6455.ping()

    @property
    def deflated(self) -> bytes:
        return self.framed  # too short to shrink


def beat(position: Position | None, now: str | None, asks: bool = False) -> Frame:
    """Encode a heartbeat; `asks`: for a sign of life.

    `position` None is proof of life only, to a reader who waits for the store.
    """
    shown = str(position) if position else None
    kind = _Asking if asks else Frame
    return kind(orjson.dumps({"t": "beat", "position": shown, "now": now}))


def reset(position: Position, after_ms: tuple[int, int]) -> Frame:
    return Frame(orjson.dumps({"t": "reset", "position": str(position), "after_ms": after_ms}))


def bye(after_ms: tuple[int, int] | None, why: str) -> Frame:
    """Encode a farewell: come back after a random wait in the window, or with None stay away."""
    return Frame(orjson.dumps({"t": "bye", "after_ms": after_ms, "why": why}))
