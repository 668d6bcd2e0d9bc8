"""The agenda: when the schedule must look at a blog next, for all blogs with scheduled entries.

The agenda is a sorted set: slug -> instant in milliseconds. An idle archive has an empty agenda, so
a pass of the schedule costs the same for 10 blogs and for 20,000. The set is cut into BUCKETS parts
by the hash slots of the slugs, and each part has its key in the middle of its own slots. A node of
a cluster has ranges of slots, so a blog and its part are on one node, except at a range's edge.

A blog and its part of the agenda are two keys, which no script changes in one step. These rules
keep an entry from being forgotten:

1. A writer adds the instant before publish.lua stores the entry, and `add` notes the time.
   publish.lua rejects the write when it arrives more than STORED_WITHIN_MS later.
2. `settle` moves an instant only to a state of the blog that was read after all writes that were
   added earlier: it changes nothing when the last `add` is less than SETTLED_MS older than `read`.
3. `settle` also changes nothing when another worker has settled the blog meanwhile: the instant
   must still be the one that was read. A settled instant is always later than all instants before.

So a killed writer leaves at most a needless look, and a killed worker leaves the instant in place.

Rules: reads no blog.
"""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from liveblog.blog.model import is_slug
from liveblog.store import scripts
from liveblog.store.client import Client
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store
from liveblog.store.remaking import delete_others, remakes

BUCKETS: Final = 32
LOOKS_MAX: Final = 100  # instants read from one bucket in a pass; the others follow in later passes
STORED_WITHIN_MS: Final = 30_000  # publish.lua rejects a write that arrives later than this
SETTLED_MS: Final = 2 * STORED_WITHIN_MS  # the rest is for the time between two reads of a clock

_ADD: Final = scripts.permitted("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = string.format('%.0f', math.max(now, tonumber(ARGV[2])))
local commands = {
  { 'ZADD', KEYS[1], 'LT', at, ARGV[1] },
  { 'HSET', KEYS[2], ARGV[1], string.format('%.0f', now) },
}
local done = 1
""")
_SETTLE: Final = scripts.permitted("""
local slug, seen, read, following, settled_ms = unpack(ARGV)
local at, added = redis.call('ZSCORE', KEYS[1], slug), redis.call('HGET', KEYS[2], slug)
if not at or tonumber(at) ~= tonumber(seen) then
  return 0
end
if added and tonumber(added) + tonumber(settled_ms) > tonumber(read) then
  return 0
end
local commands = {
  following == '' and { 'ZREM', KEYS[1], slug } or { 'ZADD', KEYS[1], following, slug },
  { 'HDEL', KEYS[2], slug },
}
local done = 1
""")


class Look(NamedTuple):
    """A blog that the schedule must look at since `at`; `read` is when the agenda was read.

    Both are milliseconds since 1970 by the clock of the server that has this part of the agenda.
    """

    slug: str
    at: int
    read: int


def bucket(name: str) -> int:
    """Return the number of the bucket for a slug, by the slug's hash slot."""
    return key_slot(name.encode()) * BUCKETS // REDIS_CLUSTER_HASH_SLOTS


def _tags() -> tuple[str, ...]:
    """Return a hash tag for each bucket: a number whose hash slot is in the bucket."""
    tags: dict[int, str] = {}
    for number in map(str, itertools.count()):
        tags.setdefault(bucket(number), number)
        if len(tags) == BUCKETS:
            return tuple(tags[each] for each in range(BUCKETS))
    raise AssertionError("the numbers never end")


TAGS: Final = _tags()


def _keys(tag: str) -> tuple[str, str]:
    """Return the keys of a bucket: the instants, and the times of the last `add`."""
    return f"lb:due:{{{tag}}}", f"lb:due:{{{tag}}}:added"


_INSTANTS: Final = [_keys(tag)[0] for tag in TAGS]


def _kinds(tag: str) -> dict[str, str]:
    """Return the types of a bucket's keys."""
    return dict(zip(_keys(tag), ("zset", "hash"), strict=True))


@dataclass
class Agenda:
    """Reads and changes the agenda. Each method raises StoreDown."""

    nodes: Nodes

    @remakes(lambda slug, *_: _kinds(TAGS[bucket(slug)]))
    @queries_store
    async def add(self, slug: str, at: int) -> None:
        """Have the schedule look at a blog at `at`, or now when `at` is past.

        An earlier instant of the blog stays, so that a write that is never stored postpones
        nothing.
        """
        tag = TAGS[bucket(slug)]
        reply = await self.nodes.at(tag).eval(_ADD, 2, *_keys(tag), slug, at)
        scripts.check_permitted(reply)

    async def read(self) -> tuple[list[Look], str]:
        """Return up to LOOKS_MAX looks of each bucket, and the errors of unreachable nodes.

        Raises RedisError. Call it only from methods with `@queries_store`, which translates errors.
        """
        if not self.nodes.is_cluster and not await self.nodes.at(TAGS[0]).exists(*_INSTANTS):
            return [], ""  # without this, a worker without readers used a third of its CPU here
        found, unreachable = await self.nodes.each(TAGS, _read_looks)
        if "WRONGTYPE" in unreachable:
            for tag in set(TAGS) - found.keys():
                await delete_others(self.nodes, _kinds(tag))
        return [look for looks in found.values() for look in looks], unreachable

    @remakes(lambda look, *_: _kinds(TAGS[bucket(look.slug)]))
    @queries_store
    async def settle(self, look: Look, following: int | None) -> bool:
        """Replace a look by the next one; None when the blog has no scheduled entries.

        `following` must be later than `look.read`, and the blog must have been read after it.
        Return whether the agenda changed; otherwise the schedule looks at the blog again.
        """
        tag = TAGS[bucket(look.slug)]
        then = "" if following is None else following
        arguments = (look.slug, look.at, look.read, then, SETTLED_MS)
        reply = await self.nodes.at(tag).eval(_SETTLE, 2, *_keys(tag), *arguments)
        scripts.check_permitted(reply)
        return bool(reply)


async def _read_looks(redis: Client, tags: Sequence[str]) -> list[list[Look] | Exception]:
    """Return the looks of each bucket, in the same order; all buckets are on this one server."""
    now = await clock_of(redis)
    pipeline = redis.pipeline(transaction=False)
    for tag in tags:
        pipeline.zrangebyscore(_keys(tag)[0], 0, now, 0, LOOKS_MAX, withscores=True)
    replies = await pipeline.execute(raise_on_error=False)
    await _remove_foreign(redis, zip(tags, replies, strict=True))
    return [it if isinstance(it, Exception) else _looks(it, now) for it in replies]


def _looks(rows: Sequence[tuple[bytes, float]], now: int) -> list[Look]:
    found = ((member.decode(errors="replace"), int(at)) for member, at in rows)
    return [Look(slug, at, now) for slug, at in found if is_slug(slug)]


async def _remove_foreign(redis: Client, replies: Iterable[tuple[str, Any]]) -> None:
    """Remove members that are no slugs, if the store allows it: no blog would ever settle them."""
    foreign = [
        (tag, member)
        for tag, rows in replies
        for member, _ in (() if isinstance(rows, Exception) else rows)
        if not is_slug(member.decode(errors="replace"))
    ]
    for tag, member in foreign:
        with suppress(ResponseError):
            await redis.execute_command("ZREM", _keys(tag)[0], member)


async def clock_of(redis: Client) -> int:
    """Return a server's time in milliseconds since 1970."""
    seconds, micros = await redis.execute_command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000
