"""Logs damaged records of the store: each names its blog and its entry, once a minute.

Rules: nothing of a record's content goes to the log.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from liveblog.blog.model import DamagedEntry
from liveblog.blog.timeline import Record
from liveblog.seldom import Seldom

log = logging.getLogger(__name__)

NOTED_MAX: Final = 1_000  # records logged in a minute


class DamageLog:
    """Remembers which records were logged in the last minute. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._seldom = Seldom(clock, NOTED_MAX)

    def entries(self, slug: str, found: Iterable[Record]) -> None:
        """Log each damaged entry among those that were read."""
        for entry in found:
            if isinstance(entry, DamagedEntry):
                self.note(slug, f"entry {entry.id}", "its record is missing or does not decode")

    def members(self, slug: str, index: str, found: Sequence[bytes]) -> None:
        """Log the members of an index that are no ids of entries."""
        if found:
            self.note(slug, f"index {index}", f"{len(found)} of its members are no ids of entries")

    def rebuilt(self, slug: str, name: str) -> None:
        """Log that a damaged key was rebuilt: each time, since each has changed the store."""
        log.error("blog %s: key %s was damaged in the store, and has been rebuilt", slug, name)

    def note(self, slug: str, what: str, why: str) -> None:
        """Log that a part of a blog is damaged, unless the log had this line within a minute."""
        if self._seldom.may(f"{slug} {what}"):
            log.error("blog %s: %s is damaged in the store: %s", slug, what, why)
