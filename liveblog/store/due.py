"""Scheduled entries that are due, by the store's clock.

Rules: publishes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from liveblog.store.blogs import Blogs
from liveblog.store.client import Client
from liveblog.store.codec import digest, key
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

log = logging.getLogger(__name__)

DUE_AT_ONCE: Final = 20  # the most due entries of one blog in one reply
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


@dataclass
class DueEntries:
    """Reads due entries from the store, and unschedules entries. Each method raises StoreDown."""

    nodes: Nodes
    blogs: Blogs

    @queries_store
    async def read(self, skipped: Mapping[str, int] | None = None) -> list[Due]:
        """Return the due entries of all blogs that have not ended, at most DUE_AT_ONCE of each.

        The entries of a blog are in the order of their times. The first `skipped[slug]` of them are
        left out: the caller could not publish them before. In a cluster each node's own clock
        decides, since that clock also stamps changes. Blogs on an unreachable node are left out.
        """
        read = partial(_read_due, skipped=skipped or {})
        found, unreachable = await self.nodes.each(await self.blogs.slugs(0), read)
        if unreachable:
            log.debug("due entries of some blogs not read: %s", unreachable)
        return [due for dues in found.values() for due in dues]

    @queries_store
    async def unschedule(self, slug: str, id: str, seen: bytes | None) -> None:
        """Remove an id from the schedule, unless the stored record has changed.

        `seen` is the record that the caller read; None when the caller found no record.
        """
        keys = [key(slug, name) for name in ("entries", "drafts", f"bin:{id}", "due")]
        await self.nodes.at(slug).eval(_UNSCHEDULE, len(keys), *keys, id, digest(seen))


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
    # A corrupt id, not UTF-8, keeps its bytes. No entry has such an id: the attempt to publish the
    # entry logs Damaged, and the other due entries are published.
    found = [id.decode(errors="surrogateescape") for id, at in rows if at <= now]
    return [Due(slug, id, now) for id in found] if status != b"ended" else []
