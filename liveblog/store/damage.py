"""Logs damaged records of the store: each names its blog and its entry, once a minute.

Rules: nothing of a record's content goes to the log.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from liveblog.blog.model import DamagedEntry, Entry

log = logging.getLogger(__name__)

LOG_AGAIN_S: Final = 60.0
NOTED_MAX: Final = 1_000  # records whose last log line is remembered; beyond it, none is logged


class DamageLog:
    """Remembers which records were logged in the last LOG_AGAIN_S. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[tuple[str, str], float] = {}

    def entries(self, slug: str, found: Iterable[Entry]) -> None:
        """Log each damaged entry among those that were read."""
        for entry in found:
            if isinstance(entry, DamagedEntry):
                self.note(slug, f"entry {entry.id}", "its record is missing or does not decode")

    def members(self, slug: str, index: str, found: Sequence[bytes]) -> None:
        """Log the members of an index that are no ids of entries."""
        if found:
            self.note(slug, f"index {index}", f"{len(found)} of its members are no ids of entries")

    def note(self, slug: str, what: str, why: str) -> None:
        """Log that a part of a blog is damaged, unless the log has said so a short time ago."""
        now = self._clock()
        if len(self._logged) >= NOTED_MAX or now >= self._logged.get((slug, what), now):
            self._logged = {it: at for it, at in self._logged.items() if at > now}
        if (slug, what) not in self._logged and len(self._logged) < NOTED_MAX:
            self._logged[slug, what] = now + LOG_AGAIN_S
            log.error("blog %s: %s is damaged in the store: %s", slug, what, why)
