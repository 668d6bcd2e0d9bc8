"""Limits how often the same thing is logged.

Callers that retry every few seconds, or a store that refuses every write, would fill the log.

Rules: logs nothing itself.
"""

import time
from collections.abc import Callable
from typing import Final

AGAIN_S: Final = 60.0  # time before the same thing is logged again
THINGS_MAX: Final = 10  # the usual limit of different things logged within AGAIN_S


class Seldom:
    """Allows a thing once in AGAIN_S, and `things_max` different things in that time.

    A thing is any text, such as the kind of a line or the reason of a failure. `now` returns
    monotonic seconds.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, things_max: int = THINGS_MAX
    ) -> None:
        self._now, self._things_max = now, things_max
        self._allowed: dict[str, float] = {}  # when each thing was last allowed

    def may(self, thing: str) -> bool:
        """Return whether `thing` may be logged now, and note that it is."""
        now = self._now()
        if len(self._allowed) >= self._things_max or thing in self._allowed:
            self._allowed = {it: at for it, at in self._allowed.items() if now - at < AGAIN_S}
        if thing in self._allowed or len(self._allowed) >= self._things_max:
            return False
        self._allowed[thing] = now
        return True
