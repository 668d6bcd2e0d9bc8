"""Attempts at a write: each reads, decides and commits, and the next one follows a faster write.

Every write of an editor goes through here, after its fields are checked and rendered:

1. Read the record that the write replaces. Raises 404 when the caller may not see it.
2. Return the outcome of the first call when this one repeats it: no rule is checked again.
3. `decide` on that copy: permission, the next status, merged fields. Raises the caller's Problem.
4. Commit: the store replaces exactly that copy, or answers "stale", and the next attempt reads.

Rules: knows no rule of any write; publishing.py and headers.py decide. The only caller of
`Writes.commit`, with `Publishing.publish_due`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from liveblog.blog.model import BLOG_ID, DRAFTS_MAX, Blog, Caller, Entry
from liveblog.blog.problem import Problem, StoreDown, StoreRefuses, conflict, not_found
from liveblog.editors.reading import Reading
from liveblog.store.broker import Broker
from liveblog.store.calls import CallKey, R, Write
from liveblog.store.codec import StoredBlog, StoredEntry
from liveblog.store.writes import Outcome, RefusalReason, Refused, Stale

PAUSE_S: Final = 0.01  # longest random wait before the first retry; twice this before the second
# Attempts before the caller gets 503. An attempt fails when another write was faster.
TRIES_MAX: Final = 20
S = TypeVar("S", StoredBlog, StoredEntry)
T = TypeVar("T")


class Attempts:
    """Commits writes of editors.

    Each method raises StoreDown when the outcome is unknown, 503 when other writes were always
    faster, and the Problem for what the store refuses. `decide` returns None to leave the record as
    it is.
    """

    def __init__(self, broker: Broker, reading: Reading) -> None:
        self._reading, self._entries = reading, broker.entries
        self._writes, self._eraser = broker.writes, broker.eraser

    async def new(self, slug: str, call: CallKey, compose: Callable[[], Write[R]]) -> Outcome[R]:
        """Commit a write of a new blog or entry, which `compose` returns for each attempt."""

        async def attempt() -> Outcome[R]:
            if first := await self._writes.remembered(slug, call):
                return first
            return await self._writes.commit(slug, compose())

        return await until_fresh(slug, attempt)

    async def header(
        self,
        caller: Caller,
        slug: str,
        call: CallKey,
        decide: Callable[[StoredBlog], Awaitable[Write[Blog] | None]],
        *,
        or_damaged: bool = False,
    ) -> Outcome[Blog]:
        """Alter the header of a blog. With `or_damaged`, `decide` gets a damaged one, too."""

        async def attempt() -> Outcome[Blog]:
            stored = await self._reading.blog(caller, slug, or_damaged=or_damaged)
            return await self._decided(slug, call, stored, decide) or _unaltered_header(stored)

        return await until_fresh(slug, attempt)

    async def entry(
        self,
        caller: Caller,
        slug: str,
        id: str,
        call: CallKey,
        decide: Callable[[StoredEntry], Awaitable[Write[Entry] | None]],
        *,
        or_damaged: bool = False,
    ) -> Outcome[Entry]:
        """Alter an entry that exists. With `or_damaged`, `decide` gets a damaged one, too."""

        async def attempt() -> Outcome[Entry]:
            stored = await self._reading.entry(caller, slug, id, or_damaged=or_damaged)
            outcome = await self._decided(slug, call, stored, decide)
            return outcome or await self._unaltered_entry(slug, stored.entry)

        return await until_fresh(slug, attempt)

    async def _decided(
        self,
        slug: str,
        call: CallKey,
        stored: S,
        decide: Callable[[S], Awaitable[Write[R] | None]],
    ) -> Outcome[R] | None:
        """Decide on a record and commit; return None when the record is to stay as it is."""
        if first := await self._writes.remembered(slug, call):
            return first
        write = await decide(stored)
        return await self._writes.commit(slug, write) if write else None

    async def _unaltered_entry(self, slug: str, entry: Entry) -> Outcome[Entry]:
        [position] = await self._entries.positions(slug, [entry])
        return Outcome(
            status=200, id=entry.id, revision=entry.revision, position=position, record=entry
        )

    async def erase_from_file(self, slug: str, outcome: Outcome[Any]) -> None:
        """Let the store's file lose the text of an erasing write; the keys have lost it already."""
        try:
            await self._eraser.request(slug, again=outcome.is_replay)
        except StoreRefuses as refused:  # "not stored" would be wrong
            raise StoreDown(f"the text is erased, but not from the file: {refused}") from refused


async def until_fresh(slug: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of an attempt; make the next one when it raises Stale.

    Raises 503 after TRIES_MAX attempts, and the caller's Problem when the store refuses the write.
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


def _unaltered_header(stored: StoredBlog) -> Outcome[Blog]:
    blog = stored.blog
    return Outcome(
        status=200, id=BLOG_ID, revision=blog.revision, position=stored.position, record=blog
    )
