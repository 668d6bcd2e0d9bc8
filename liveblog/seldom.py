"""Limits how often the same thing is logged.

Rules: the kinds of things are constants of the program, never text from a request, so that memory
is bounded.
"""

import time
from collections.abc import Callable
from typing import Final

AGAIN_S: Final = 60.0  # the time before a line of the same kind is logged again


class Seldom:
    """Allows one line of each kind in AGAIN_S. `now` returns monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._allowed: dict[str, float] = {}  # when a line of each kind was last allowed

    def may(self, kind: str) -> bool:
        """Return whether a line of this kind may be logged now, and note that it is."""
        now = self._now()
        if now - self._allowed.get(kind, -AGAIN_S) < AGAIN_S:
            return False
        self._allowed[kind] = now
        return True
