"""One write: read, decide, commit; again when another write was faster.

Publishing and the services beside it write through this module. A write reads the record, decides
on that copy, and asks the store to replace exactly that copy. When another write was faster, the
store replies "stale", and the write decides again on the new copy.

Rules: knows no rule of any write.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from liveblog.blog.model import DRAFTS_MAX, Caller, Entry
from liveblog.blog.problem import Problem, conflict, not_found
from liveblog.editors.reading import Reading
from liveblog.store.codec import StoredEntry
from liveblog.store.entries import Entries
from liveblog.store.writes import (
    CallKey,
    Outcome,
    RefusalReason,
    Refused,
    Stale,
    Write,
    Writes,
)

PAUSE_S: Final = 0.01  # longest random wait before the first retry; twice this before the second
# Attempts before the caller gets 503. An attempt fails when another write was faster.
TRIES_MAX: Final = 20
T = TypeVar("T")
Decide = Callable[[StoredEntry], Awaitable[Write[Entry] | None]]


class Altering:
    """Alters entries that exist. Each call raises StoreDown when the outcome is unknown."""

    def __init__(self, reading: Reading, entries: Entries, writes: Writes) -> None:
        self._reading, self._entries, self._writes = reading, entries, writes

    async def alter(
        self,
        caller: Caller,
        slug: str,
        id: str,
        call: CallKey,
        decide: Decide,
        *,
        or_damaged: bool = False,
    ) -> Outcome[Entry]:
        """Read an entry, decide and commit; retry while other writes are faster.

        `decide` returns the write, or None to leave the entry as it is. A repeated call returns its
        first outcome without a check of the rules. The rules may forbid the call by now, but it has
        already taken effect.
        """

        async def attempt() -> Outcome[Entry]:
            stored = await self._reading.entry(caller, slug, id, or_damaged=or_damaged)
            if first := await self._writes.remembered(slug, call):
                return first
            write = await decide(stored)
            if write:
                return await self._writes.commit(slug, write)
            return await self._unchanged(slug, stored.entry)

        return await until_fresh(slug, attempt)

    async def _unchanged(self, slug: str, entry: Entry) -> Outcome[Entry]:
        [position] = await self._entries.positions(slug, [entry])
        return Outcome(
            status=200, id=entry.id, revision=entry.revision, position=position, record=entry
        )


# -- the loop --------------------------------------------------------------------------------------


async def until_fresh(slug: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `attempt`, which reads, decides and commits; retry when it raises Stale.

    Raises 503 after TRIES_MAX attempts. When the store refuses the write, raises the Problem for
    the caller.
    """
    for lost in range(TRIES_MAX):
        try:
            return await attempt()
        except Stale:
            await asyncio.sleep(random.uniform(0, PAUSE_S * (lost + 1)))  # noqa: S311 - no secret
        except Refused as refused:
            raise _problem_of(refused.why, slug) from refused
    raise Problem(503, "busy", "Others are editing this at the same time.", retry_after_s=1)


def _problem_of(refusal: RefusalReason, slug: str) -> Problem:
    """Return the problem that the caller gets when publish.lua refuses a write."""
    return {
        "other": Problem(
            422, "idempotency-key-reused", "This Idempotency-Key was used for another request."
        ),
        "ended": conflict("The blog has ended; re-open it to publish."),
        "absent": not_found("There is no such blog."),
        "exists": conflict(f"The slug {slug!r} is taken."),
        "full": conflict(f"The blog has {DRAFTS_MAX} unpublished entries, the limit."),
    }[refusal]
