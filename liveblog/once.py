"""Texts that are logged once a minute, however often their cause occurs.

Callers that retry every few seconds, or a store that refuses every write, would fill the log.

Rules: logs nothing itself.
"""

import time
from collections.abc import Callable
from typing import Final

AGAIN_S: Final = 60.0  # time before the same text is logged again
TEXTS_MAX: Final = 10  # the usual limit of different texts logged within AGAIN_S


class OnceAMinute:
    """Decides whether to log a text: once in AGAIN_S, and `texts_max` different texts in that time.

    `now` returns monotonic seconds.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, texts_max: int = TEXTS_MAX
    ) -> None:
        self._now, self._texts_max = now, texts_max
        self._logged: dict[str, float] = {}  # when each text was logged

    def is_due(self, text: str) -> bool:
        """Return whether to log `text` now; the caller logs it then."""
        now = self._now()
        self._logged = {it: at for it, at in self._logged.items() if now - at < AGAIN_S}
        if text in self._logged or len(self._logged) >= self._texts_max:
            return False
        self._logged[text] = now
        return True
