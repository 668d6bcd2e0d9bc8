"""Frames: the JSON that readers get, encoded once and shared by all of them.

docs/streams.md specifies the frames: `{"t":"hello"|"changes"|"beat"|"reset"|"bye", …}`. Each change
in a `changes` frame is encoded once, as a `Piece`, and a frame joins pieces. So 10,000 readers that
reconnect from the same position cost one encoding.

Rules: bytes in, bytes out; no I/O, no clock, no rendering.
"""

from functools import cached_property
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args, overload

import orjson

from liveblog.blog.model import Blog, Entry, Position
from liveblog.blog.shapes import Shape, blog_json, entry_json
from liveblog.live import rfc6455

MISSED_BYTES_MAX: Final = 256 * 1024  # readers get a `reset` instead of a longer frame
# The forms of one frame: json, text, framed, deflated, event, chunk. No form is much longer than
# json.
FORMS_MAX: Final = 6
OVERHEAD_BYTES: Final = 1_000  # memory of a frame's Python objects, without their contents

# Readers that get fields instead of HTML (`as=data`) do not get these fields of the API's JSON.
_ENTRY_LEFT_OUT = ("body", "publish_at")
_BLOG_LEFT_OUT = ("summary",)

Data = TypeVar("Data", bound=str | bytes)
TextForm = Literal["text"]
BytesForm = Literal["framed", "deflated", "event", "chunk"]


class Encoding(NamedTuple, Generic[Data]):
    """The content and the form of the frames that a reader gets.

    `as_data`: whether the content is fields instead of HTML. `name` is the form, the name of an
    attribute of `Frame`. `Data` is the type of this attribute: str for "text", else bytes.
    """

    as_data: bool
    name: TextForm | BytesForm

    def of_content(self, as_data: bool) -> "Encoding[Data]":
        """Return the encoding with the same form, for fields (`as_data`) or for HTML."""
        return _ENCODINGS[as_data, self.name]


_FORMS: Final = (*get_args(TextForm), *get_args(BytesForm))
# One object for each encoding, so that encodings can be compared by identity. The dictionary's type
# cannot express that the form determines `Data`, so only `encoding_of` and `of_content` read it.
_ENCODINGS: Final[dict[tuple[bool, str], Encoding[Any]]] = {
    (as_data, name): Encoding(as_data, name) for as_data in (False, True) for name in _FORMS
}


@overload
def encoding_of(as_data: bool, name: TextForm) -> Encoding[str]: ...
@overload
def encoding_of(as_data: bool, name: BytesForm) -> Encoding[bytes]: ...
def encoding_of(as_data: bool, name: TextForm | BytesForm) -> Encoding[str] | Encoding[bytes]:
    """Return the encoding of frames: fields or HTML (`as_data`), in the form `name`.

    Equal arguments return the same object, so that callers can compare encodings by identity.
    """
    return _ENCODINGS[as_data, name]


class Frame:
    """One frame in the forms that transports need, each made on first use.

    `position` is the id of the Server-Sent Event; None for frames that leave a reader's position
    unchanged.
    """

    def __init__(self, json: bytes, position: Position | None = None) -> None:
        self.json, self.position = json, position

    def encoded(self, encoding: Encoding[Data]) -> Data:
        """Return this frame in an encoding."""
        data: Data = getattr(self, encoding.name)
        return data

    @property
    def bytes_max(self) -> int:
        """The memory that this frame takes when all its forms are made."""
        return FORMS_MAX * len(self.json) + OVERHEAD_BYTES

    @cached_property
    def text(self) -> str:
        """The text of a WebSocket message, for ASGI servers, which add the frame's header."""
        return self.json.decode()

    @cached_property
    def framed(self) -> bytes:
        """A whole WebSocket frame."""
        return rfc6455.text(self.json)

    @cached_property
    def deflated(self) -> bytes:
        """A whole WebSocket frame for readers that negotiated compression."""
        return rfc6455.compressed_text(self.json)

    @cached_property
    def event(self) -> bytes:
        """A Server-Sent Event, with one `data` line: JSON has no raw line breaks."""
        id_line = b"id: %b\n" % str(self.position).encode() if self.position else b""
        return b"%bdata: %b\n\n" % (id_line, self.json)

    @cached_property
    def chunk(self) -> bytes:
        """The Server-Sent Event as one chunk of an HTTP/1.1 answer (RFC 9112, section 7.1)."""
        return b"%x\r\n%b\r\n" % (len(self.event), self.event)


class Piece(NamedTuple):
    """One change as a JSON object, in two parts.

    `encoded` writes the member `new` between `head` and `tail`. `new` tells the reader whether the
    entry was first published after the reader's offset. `order` is the offset of that publication.
    Order 0: the change has no `new`, and `head` is the whole object.
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


def put(entry: Entry, /, **content: object) -> Piece:
    """Encode an entry's current state; `content` is `html`, or `entry` (the entry's fields)."""
    head = {
        "op": "put",
        "id": entry.id,
        "offset": entry.offset,
        "order": entry.order,
        "revision": entry.revision,
    }
    marks: dict[str, object] = {"key": entry.key, "pinned": entry.pinned}
    if entry.pinned:
        marks["pin_order"] = entry.pin_order
    tail = {**marks, **content}
    return Piece(orjson.dumps(head)[:-1], entry.order or 0, b"," + orjson.dumps(tail)[1:])


def delete(entry: Entry) -> Piece:
    return Piece(orjson.dumps({"op": "del", "id": entry.id, "offset": entry.offset}))


def header(blog: Blog, /, **content: object) -> Piece:
    """Encode a blog's header and status; `content` is `html`, or `blog` (the blog's fields)."""
    return Piece(
        orjson.dumps({"op": "blog", "offset": blog.offset, "status": blog.status, **content})
    )


def entry_data(entry: Entry, slug: str, position: Position | None, base_url: str) -> Shape:
    """Return the fields of an entry for readers that get fields instead of HTML (`as=data`)."""
    shape = entry_json(entry, slug, position, base_url)
    return {name: value for name, value in shape.items() if name not in _ENTRY_LEFT_OUT}


def blog_data(blog: Blog, position: Position, base_url: str) -> Shape:
    """Return the fields of a blog for readers that get fields instead of HTML (`as=data`)."""
    shape = blog_json(blog, position, base_url)
    return {name: value for name, value in shape.items() if name not in _BLOG_LEFT_OUT}


def changes(since: int, position: Position, pieces: list[Piece]) -> Frame | None:
    """Join encoded changes, ascending by offset, into the frame from `since` to `position`.

    None when the changes are longer than MISSED_BYTES_MAX.
    """
    parts = [piece.encoded(since) for piece in pieces]
    if sum(map(len, parts)) > MISSED_BYTES_MAX:
        return None
    return Frame(
        b'{"t":"changes","from":%d,"position":"%b","changes":[%b]}'
        % (since, str(position).encode(), b",".join(parts)),
        position,
    )


def hello(position: Position, heartbeat_s: float, now: str | None, version: str) -> Frame:
    """Encode a `hello`.

    `now` is the server's time, `version` names the release's markup, styles and scripts.
    """
    shown = int(heartbeat_s) if heartbeat_s == int(heartbeat_s) else heartbeat_s
    about = {"t": "hello", "position": str(position), "heartbeat_s": shown}
    return Frame(orjson.dumps({**about, "now": now, "version": version}), position)


class _PingingBeat(Frame):
    """A heartbeat with a WebSocket ping in the same bytes.

    The beat shows the reader's page that the server is alive; the pong shows the server that the
    reader's browser is alive.
    """

    @cached_property
    def framed(self) -> bytes:
        return rfc6455.text(self.json) + rfc6455.ping()

    @property
    def deflated(self) -> bytes:
        return self.framed  # a heartbeat is too short to compress


def beat(position: Position | None, now: str | None, pings: bool = False) -> Frame:
    """Encode a heartbeat; `pings` adds a WebSocket ping.

    `position` None: for a reader whose position the store has not verified.
    """
    shown = str(position) if position else None
    kind = _PingingBeat if pings else Frame
    return kind(orjson.dumps({"t": "beat", "position": shown, "now": now}))


def reset(position: Position, after_ms: tuple[int, int]) -> Frame:
    return Frame(orjson.dumps({"t": "reset", "position": str(position), "after_ms": after_ms}))


def bye(after_ms: tuple[int, int] | None, why: str) -> Frame:
    """Encode a `bye`. The reader reconnects after a random wait in `after_ms`; None: never."""
    return Frame(orjson.dumps({"t": "bye", "after_ms": after_ms, "why": why}))
