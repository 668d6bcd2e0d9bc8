"""Attempts at a write: an attempt reads, decides and commits, and is repeated after a faster write.

Rules: knows no HTTP and no hub.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from liveblog.blog.model import DRAFTS_MAX
from liveblog.blog.problem import Problem, StoreDown, StoreRefuses, conflict, not_found
from liveblog.store.eraser import Eraser
from liveblog.store.writes import Outcome, RefusalReason, Refused, Stale

PAUSE_S: Final = 0.01  # longest random wait before the first retry; twice this before the second
# Attempts before the caller gets 503. An attempt fails when another write was faster.
TRIES_MAX: Final = 20
T = TypeVar("T")


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


async def request_erasure(eraser: Eraser, slug: str, outcome: Outcome[Any]) -> None:
    """Request that the store's file loses the text, too; the keys have lost it already."""
    try:
        await eraser.request(slug, again=outcome.is_replay)
    except StoreRefuses as refused:  # "not stored" would be wrong
        raise StoreDown(f"the text is erased, but not from the file: {refused}") from refused
