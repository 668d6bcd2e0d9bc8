"""Scheduled entries that are due, by the store's clock.

The agenda (store/agenda.py) names the blogs to look at; this module reads their due entries.

Rules: publishes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from liveblog.blog.model import is_entry_id
from liveblog.store.agenda import Agenda, Look
from liveblog.store.client import Client
from liveblog.store.codec import digest, index_number, key
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store
from liveblog.store.rebuilding import Rebuilding, rebuilds

log = logging.getLogger(__name__)

DUE_AT_ONCE: Final = 20  # the most due entries of one blog in one reply
RETRY_MIN_MS: Final = 1_000
# An entry that was not published is tried again after half of the time for which it is overdue, but
# within 30 s, so that its blog goes on soon after a long failure.
RETRY_MAX_MS: Final = 30_000
_UNSCHEDULE: Final = """
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or redis.call('HGET', KEYS[2], ARGV[1])
stored = stored or redis.call('GET', KEYS[3])
return (stored and redis.sha1hex(stored) or '') == ARGV[2] and redis.call('ZREM', KEYS[4], ARGV[1])
"""


class Due(NamedTuple):
    """A scheduled entry that is due at `now`, milliseconds since 1970 by the store's clock."""

    slug: str
    id: str
    now: int

    @property
    def is_entry(self) -> bool:
        """Whether `id` may be an entry's; otherwise it is a foreign member of the index."""
        return is_entry_id(self.id)


class Found(NamedTuple):
    """The looks of one pass of the schedule, and the due entries of their blogs."""

    looks: list[Look]
    entries: list[Due]


class State(NamedTuple):
    """The schedule of a blog at an instant; the times are None for no such entry.

    `overdue` is the latest time among the due entries, `upcoming` the earliest among the others.
    """

    status: bytes | None
    overdue: int | None
    upcoming: int | None


# A key of a wrong type counts as an entry that is overdue since 1970: it is tried again seldom.
DAMAGED: Final = State(b"", 0, None)


@dataclass
class DueEntries:
    """Reads due entries from the store, and unschedules entries. Each method raises StoreDown."""

    nodes: Nodes
    agenda: Agenda
    rebuilding: Rebuilding

    @queries_store
    async def read(self, skipped: Mapping[str, int] | None = None) -> Found:
        """Return the due entries of all blogs that have not ended, at most DUE_AT_ONCE of each.

        The entries of a blog are in the order of their times. The first `skipped[slug]` of them are
        left out: the caller could not publish them before. In a cluster each node's own clock
        decides, since that clock also stamps changes. Blogs on an unreachable node are left out.
        """
        looks, unreachable = await self.agenda.read()
        found: dict[str, list[Due]] = {}
        if looks:
            read = partial(_read_due, skipped=skipped or {})
            found, lost = await self.nodes.each([look.slug for look in looks], read)
            unreachable = unreachable or lost
            await self._remove_foreign(found)
        if unreachable:
            log.debug("due entries of some blogs not read: %s", unreachable)
        return Found(looks, [due for dues in found.values() for due in dues])

    async def _remove_foreign(self, found: Mapping[str, list[Due]]) -> None:
        """Have members removed that are no ids of entries; log those that stay once a minute."""
        for slug, dues in found.items():
            foreign = [it.id.encode(errors="surrogateescape") for it in dues if not it.is_entry]
            self.rebuilding.damage.members(slug, "due", foreign)
            if foreign and await self.rebuilding.try_to(slug, compare=True):
                self.rebuilding.note_fruitless(slug)

    async def settle(self, looks: Sequence[Look]) -> None:
        """Set the time of the next look at each blog; call this after a pass.

        A blog on an unreachable node keeps its look, and the next pass looks at the blog again.
        """
        if not looks:
            return
        states = await self._states(looks)
        for look in looks:
            if state := states.get(look.slug):
                if state == DAMAGED:
                    await self.rebuilding.try_to(look.slug)
                await self.agenda.settle(look, following(look.read, state))

    @queries_store
    async def _states(self, looks: Sequence[Look]) -> dict[str, State]:
        reads = {look.slug: look.read for look in looks}
        states, _ = await self.nodes.each([*reads], partial(_read_states, reads=reads))
        return states

    @rebuilds
    @queries_store
    async def unschedule(self, slug: str, id: str, seen: bytes | None) -> None:
        """Remove an id from the schedule, unless the stored record has changed.

        `seen` is the record that the caller read; None when the caller found no record.
        """
        keys = [key(slug, name) for name in ("entries", "drafts", f"bin:{id}", "due")]
        await self.nodes.at(slug).eval(_UNSCHEDULE, len(keys), *keys, id, digest(seen))


def following(now: int, state: State) -> int | None:
    """Return when to look at a blog after `now`; None for never.

    Entries of an ended blog stay scheduled. The writer that re-opens the blog adds the next look.
    """
    if state.status in (b"ended", None):
        return None
    times = [] if state.upcoming is None else [state.upcoming]
    if state.overdue is not None:
        times.append(now + min(max((now - state.overdue) // 2, RETRY_MIN_MS), RETRY_MAX_MS))
    return min(times, default=None)


async def _read_due(
    redis: Client, slugs: Sequence[str], skipped: Mapping[str, int]
) -> list[list[Due] | Exception]:
    """Return the due entries for each slug, in the same order; all blogs are on this one server."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for slug in slugs:
        pipeline.hget(key(slug, "blog"), "status")
        first = skipped.get(slug, 0)
        pipeline.zrange(key(slug, "due"), first, first + DUE_AT_ONCE - 1, withscores=True)
    time, *replies = await pipeline.execute(raise_on_error=False)
    if isinstance(time, Exception):  # while a long script blocks the server, each reply is an error
        raise time
    now = time[0] * 1000 + time[1] // 1000
    return [_due_in(now, *it) for it in zip(slugs, replies[::2], replies[1::2], strict=True)]


def _due_in(
    now: int,
    slug: str,
    status: bytes | None | Exception,
    rows: list[tuple[bytes, float]] | Exception,
) -> list[Due] | Exception:
    """Return the due entries of one blog, or the error that came in place of a reply."""
    if isinstance(status, Exception):
        return status
    if isinstance(rows, Exception):
        return rows
    # A foreign member, which may not be UTF-8, keeps its bytes. The schedule skips it.
    found = [id.decode(errors="surrogateescape") for id, at in rows if at <= now]
    return [Due(slug, id, now) for id in found] if status != b"ended" else []


async def _read_states(
    redis: Client, slugs: Sequence[str], reads: Mapping[str, int]
) -> list[State | Exception]:
    """Return the schedule of each blog as seen at `reads[slug]`; all are on this one server."""
    pipeline = redis.pipeline(transaction=False)
    for slug in slugs:
        at, due = reads[slug], key(slug, "due")
        pipeline.hget(key(slug, "blog"), "status")
        pipeline.zrevrangebyscore(due, at, "-inf", 0, 1, withscores=True)
        pipeline.zrangebyscore(due, f"({at}", "+inf", 0, 1, withscores=True)
    replies = await pipeline.execute(raise_on_error=False)
    return [_state(replies[i : i + 3]) for i in range(0, len(replies), 3)]


def _state(replies: Sequence[Any]) -> State | Exception:
    """Return the schedule of one blog, or the error that came in place of a reply."""
    error = next((it for it in replies if isinstance(it, Exception)), None)
    if error:
        return DAMAGED if str(error).startswith("WRONGTYPE") else error
    status, overdue, upcoming = replies
    return State(status, _first_time(overdue), _first_time(upcoming))


def _first_time(rows: Sequence[tuple[bytes, float]]) -> int | None:
    return index_number(rows[0][1]) if rows else None
