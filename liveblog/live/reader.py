"""A reader: where it is, and whether its socket is full. Transports subclass `Reader`.

Rules: no I/O.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

from liveblog.blog.model import Position
from liveblog.live.frame import Encoding, Frame

if TYPE_CHECKING:
    from liveblog.live.blog import Live

RESET_WINDOW_MS: Final = (0, 3_000)
RESTART_WINDOW_MS: Final = (0, 1_000)
OVERLOAD_WINDOW_MS: Final = (0, 20_000)
DRAINED: Final = 4001
RESET: Final = 4005
NO_SUCH_BLOG: Final = 4504
ENDED: Final = 4510


class Reader(ABC):
    """A cursor: where a reader is, and whether its socket is full. Transports subclass it.

    `send`, `end` and `abort` are plain calls that never wait and never raise; after `end` or
    `abort` nothing more comes. A reader that took a frame which its socket did not calls
    `fell_behind`, and `drained` when it can take the next. Only the hub moves `offset`.
    """

    answers_pings: ClassVar = False  # whether silence means that nobody is there

    __slots__ = (
        "behind",
        "encoding",
        "follows",
        "held_bytes",
        "leaves",
        "live",
        "offset",
        "slot",
        "unheard",
        "waits_for",
    )

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.offset = 0
        self.follows = False  # to be brought forward: of the blog, judged, not behind
        self.behind = False
        self.held_bytes = 0  # of a frame, for its socket, while behind
        self.unheard = 0  # pings since the last sign of life
        # A position that the store has not judged yet, and how many repairs had begun.
        self.waits_for: tuple[Position, int] | None = None
        self.live: Live | None = None
        self.slot = 0
        self.leaves = False  # joined a blog that has ended: goes when it has what it missed

    def send(self, frame: Frame) -> None:
        """Take one frame; called only when not `behind`."""
        self.take(frame.encoded(self.encoding))

    @abstractmethod
    def take(self, data: Any) -> None:
        """Take what `Frame.encoded` made of a frame in this reader's encoding."""

    @abstractmethod
    def end(self, frame: Frame | None, code: int) -> None:
        """Take at most one last frame after what is in hand, then close (RFC 6455, section 7.4)."""

    @abstractmethod
    def abort(self) -> None:
        """Free the connection at once; its peer takes nothing, or is not there any more."""

    def fell_behind(self, held_bytes: int) -> None:
        """Say that the socket is full: so much of a frame still waits for it."""
        self.behind = True
        if self.live:
            self.live.fell_behind(self, held_bytes)

    def drained(self) -> None:
        """Say that the next frame can be taken: one to the top follows, if this is below it."""
        self.behind = False
        if self.live:
            self.live.drained(self)
