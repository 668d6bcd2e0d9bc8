"""The end of a blog: its readers stay for a minute, then their streams are closed over 10 s.

Rules: no I/O, no timer: the hub calls `close_some` each second.
"""

import math
from collections.abc import Callable
from typing import Final

from liveblog.blog.timeline import Timeline
from liveblog.live.fanout import Fanout
from liveblog.live.roster import Roster

ENDED_GRACE_S: Final = 60.0  # after the end of a blog, its readers stay connected for this time
ENDED_PACE_S: Final = 10.0  # after ENDED_GRACE_S, the streams are closed, spread over this time


class Ending:
    """Notes when one blog ends, and then closes its readers' streams, a few each second."""

    def __init__(
        self, timeline: Timeline, roster: Roster, fanout: Fanout, clock: Callable[[], float]
    ) -> None:
        self._timeline, self._roster, self._fanout = timeline, roster, fanout
        self._clock = clock
        self._ended_at: float | None = None  # None: the blog has not ended, or was reopened

    def note_status(self) -> None:
        """Start the grace period when the blog has ended, stop it when the blog is reopened.

        Called after each change.
        """
        if self._timeline.blog.status != "ended":
            self._ended_at = None
        elif self._ended_at is None:
            self._ended_at = self._clock()

    def close_some(self) -> None:
        """Close a share of the readers of a blog that ended ENDED_GRACE_S ago.

        Each call closes some readers. A reader whose socket is full is closed after the reader has
        received all changes.
        """
        if self._ended_at is None or self._clock() < self._ended_at + ENDED_GRACE_S:
            return
        for reader in self._roster.behind:
            reader.leaves = True
        staying = [reader for reader in self._roster.followers if not reader.leaves]
        left_s = self._ended_at + ENDED_GRACE_S + ENDED_PACE_S - self._clock()
        for reader in staying[: math.ceil(len(staying) / max(1, left_s))]:
            reader.leaves = True
            self._fanout.catch_up(reader)
