"""A reader: its position in a blog, and whether its socket is full.

Rules: no I/O. Transports subclass `Reader`; only the parts of a `LiveBlog` (live/blog.py) change a
reader's offset.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias

from liveblog.blog.model import Position
from liveblog.live.frame import Data, Encoding, Frame

RESET_WINDOW_MS: Final = (0, 3_000)
RESTART_WINDOW_MS: Final = (0, 1_000)
OVERLOAD_WINDOW_MS: Final = (0, 20_000)
UNKNOWN_WINDOW_MS: Final = (30_000, 60_000)
DRAINED: Final = 4001
RESET: Final = 4005
NO_SUCH_BLOG: Final = 4006  # it may be created yet
DRAFT: Final = 4504  # the blog was set back to draft
ENDED: Final = 4510


class JoinedRoster(Protocol):
    """The roster, the collection of a blog's readers, with the methods that a reader calls."""

    def leave(self, reader: "AnyReader") -> None: ...
    def close(self, reader: "AnyReader", farewell: Frame | None, code: int) -> None: ...
    def fell_behind(self, reader: "AnyReader", held_bytes: int) -> None: ...
    def drained(self, reader: "AnyReader") -> None: ...


class Reader(ABC, Generic[Data]):
    """One connected reader: the offset up to which it has a blog's changes, and its socket's state.

    Each transport has a subclass that writes frames to the socket.

    `Data` is the type of an encoded frame: str where the ASGI server encodes WebSocket text, else
    bytes. `send`, `end` and `abort` are plain calls that never wait and never raise; no frame
    follows an `end` or an `abort`. A transport calls `fell_behind` when the socket has not accepted
    the whole frame, and `drained` when the socket can accept the next frame.
    """

    answers_pings: ClassVar = False  # whether the server aborts a reader that answers no pings

    __slots__ = (
        "behind",
        "encoding",
        "follows",
        "held_bytes",
        "leaves",
        "offset",
        "roster",
        "slot",
        "unheard",
        "waits_for",
    )

    def __init__(self, encoding: Encoding[Data]) -> None:
        self.encoding = encoding
        self.offset = 0
        self.follows = False  # whether `Fanout` sends this reader every new change
        self.behind = False  # whether the socket is full
        self.held_bytes = 0  # bytes of a frame that the full socket has not accepted
        self.unheard = 0  # pings since the reader's last answer
        # The reader's unverified position, and how many reads of the store live/repair.py had
        # started when the reader came. None: the position is verified.
        self.waits_for: tuple[Position, int] | None = None
        self.roster: JoinedRoster | None = None
        self.slot = 0
        self.leaves = False  # whether to close an ended blog's stream after the last change

    def send(self, frame: Frame) -> None:
        """Write one frame; called only when the reader is not `behind`."""
        self.take(frame.encoded(self.encoding))

    @abstractmethod
    def take(self, data: Data) -> None:
        """Write one frame that `Frame.encoded` made in this reader's encoding."""

    @abstractmethod
    def end(self, frame: Frame | None, code: int) -> None:
        """Write at most one last frame after the pending one, then close.

        `code` is a close code (RFC 6455, section 7.4).
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection at once, with all pending bytes."""

    def fell_behind(self, held_bytes: int) -> None:
        """Note that the socket is full and that `held_bytes` of a frame are pending."""
        self.behind = True
        if self.roster:
            self.roster.fell_behind(self, held_bytes)

    def drained(self) -> None:
        """Note that the socket is writable; the reader gets the changes it missed in one frame."""
        self.behind = False
        if self.roster:
            self.roster.drained(self)


# A blog has readers of text and readers of bytes. Each reader gets frames in its own encoding only,
# which the type of a mixed collection cannot express.
AnyReader: TypeAlias = Reader[Any]
