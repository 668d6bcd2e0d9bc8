"""The bin: deleted entries, whose text the store keeps for BIN_MS.

The text of a deleted entry is in its list of revisions, which expires after BIN_MS. So the store
erases the text by itself, also in a blog that nobody writes to. The tombstone of an entry that was
published stays in `entries`, with its numbers. The tombstone of a draft is one key that expires,
too. The sorted set `bin` has the ids by time of deletion, but for entries that were taken down.

The append-only file still has an expired text. So the sweep asks the bin for expired ids, requests
a rewrite of the file (eraser.py), and removes the ids afterwards.

Rules: publish.lua puts entries into the bin and takes them out. This module adds only those that an
earlier version deleted, and those whose place in the set is lost.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from liveblog.blog.model import DamagedEntry, Entry
from liveblog.store import atomic, scripts
from liveblog.store.client import Client
from liveblog.store.codec import (
    DECODE_ERRORS,
    decode_draft,
    decode_entry,
    decode_published,
    entry_id,
    index_number,
    key,
)
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store
from liveblog.store.rebuilding import Rebuilding, rebuilds

log = logging.getLogger(__name__)

BIN_MS: Final = 30 * 24 * 3_600 * 1_000
# The most tombstones that one call moves: about 10 ms of the store's time.
MOVED_MAX: Final = 500
EXPIRED_MAX: Final = 500  # ids of one blog that one walk of the sweep erases
_PLACE: Final = re.compile(r"([0-9]{1,16})\.(.+)", re.ASCII)  # in the bin: a time and an id

# ZADD comes first: it fails for a key of a wrong type, before the script has written.
_MOVE: Final = scripts.permitted("""
local record, time = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('TIME')
if not record or not string.find(record, '"deleted":true', 1, true) then return 0 end
local commands = {
  { 'ZADD', KEYS[2], time[1] .. '000', ARGV[1] },
  { 'PERSIST', KEYS[2] },
  { 'SET', KEYS[3], record, 'PX', ARGV[2] },
  { 'PEXPIRE', KEYS[4], ARGV[2] },
  { 'HDEL', KEYS[1], ARGV[1] },
}
local done = 1
""")
# KEYS: bin, entries, drafts, then two keys for each id. ARGV: BIN_MS, the ids. Erases what is still
# there of expired entries, and returns their ids. The server's own clock decides. A worker of an
# earlier version restores a published entry and leaves its id in the bin: that id is only removed.
_ERASE: Final = scripts.permitted("""
local time, commands, done = redis.call('TIME'), {}, {}
local before = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  local record = redis.call('HGET', KEYS[2], ARGV[i]) or redis.call('HGET', KEYS[3], ARGV[i])
  if record and not string.find(record, '"deleted":true', 1, true) then
    commands[#commands + 1] = { 'ZREM', KEYS[1], ARGV[i] }
    commands[#commands + 1] = { 'PERSIST', KEYS[2 * i] }
  elseif at and tonumber(at) <= before then
    commands[#commands + 1] = { 'DEL', KEYS[2 * i] }
    commands[#commands + 1] = { 'DEL', KEYS[2 * i + 1] }
    done[#done + 1] = ARGV[i]
  end
end
""")
# KEYS: entries, bin, the draft's tombstone, the revisions. ARGV: the id, BIN_MS. An entry that an
# earlier version deleted has no time to live: its 30 days begin now. Another one has lost its place
# in the set, and goes on with what is left of its time. The set of an earlier version expires.
_ADOPT: Final = scripts.permitted("""
local record = redis.call('HGET', KEYS[1], ARGV[1]) or redis.call('GET', KEYS[3])
if not record then return 0 end
local left, time = redis.call('PTTL', KEYS[4]), redis.call('TIME')
local function has(text) return string.find(record, text, 1, true) end
local commands, done = {}, 0
if not has('"deleted":true') then
  if left >= 0 then commands = { { 'PERSIST', KEYS[4] } } end
elseif not has('"takedown":true') and left ~= -2 then
  if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    local kept = left >= 0 and left or tonumber(ARGV[2])
    local at = time[1] * 1000 + math.floor(time[2] / 1000) + kept - ARGV[2]
    commands = {
      { 'ZADD', KEYS[2], string.format('%.0f', at), ARGV[1] },
      { 'PEXPIRE', KEYS[4], string.format('%.0f', kept) },
    }
    done = 1
  end
  if redis.call('PTTL', KEYS[2]) >= 0 then
    commands[#commands + 1] = { 'PERSIST', KEYS[2] }
  end
end
""")


class Deleted(NamedTuple):
    """A deleted entry: its tombstone and its newest text.

    `text` is None when it is no longer kept, or `is_damaged`: it does not decode. `at` is the time
    of the deletion and `binned_at` the time from which BIN_MS counts, in milliseconds since 1970.
    """

    id: str
    at: int
    binned_at: int
    tombstone: Entry
    text: Entry | None
    is_damaged: bool

    @property
    def place(self) -> str:
        """Where the next page begins when this is the last entry of a page."""
        return f"{self.binned_at}.{self.id}"


@dataclass
class Bin:
    """Reads and empties the bins of blogs. Each method raises StoreDown."""

    nodes: Nodes
    rebuilding: Rebuilding

    @rebuilds
    @queries_store
    async def page(
        self, slug: str, before: str | None, limit: int
    ) -> tuple[list[Deleted], str | None] | None:
        """Return up to `limit` entries of a blog's bin, the last deletion first.

        With `before`, a time and an id, return those that follow it, whether or not it is still
        there; an id alone must be there, else return None. Return also the `before` of the next
        page, None at the end.
        """
        redis, name = self.nodes.at(slug), key(slug, "bin")
        start = 0
        if before is not None:
            place = _PLACE.fullmatch(before) or await _place_of(redis, name, before)
            if not place:
                return None
            start = await _count_until(redis, name, place[1], place[2])
        words = ("ZREVRANGE", name, start, start + limit - 1, "WITHSCORES")
        rows = atomic.pairs(*await atomic.read(redis, words))
        times = {id: index_number(at) for member, at in rows if (id := entry_id(member))}
        following = _place(*rows[-1]) if len(rows) == limit else None
        return await _read(redis, slug, times) if times else [], following

    @queries_store
    async def erase(self, slug: str, members: Sequence[bytes]) -> list[str]:
        """Erase expired entries from the keys, and return the ids of those that are expired.

        Most of it has expired by itself. The ids stay in the bin, until `forget`. Members that are
        no ids of entries are removed.
        """
        ids = [id for it in members if (id := entry_id(it))]
        if len(ids) < len(members):
            foreign = [it for it in members if not entry_id(it)]
            await self.nodes.at(slug).zrem(key(slug, "bin"), *foreign)
        parts = [key(slug, name) for id in ids for name in (f"rev:{id}", f"bin:{id}")]
        keys = [*(key(slug, it) for it in ("bin", "entries", "drafts")), *parts]
        reply = await self.nodes.at(slug).eval(_ERASE, len(keys), *keys, BIN_MS, *ids)
        scripts.check_permitted(reply)
        return [id.decode() for id in reply]

    @queries_store
    async def forget(self, slug: str, ids: Sequence[str]) -> None:
        """Remove erased entries from the bin, after a rewrite of the file was requested."""
        await self.nodes.at(slug).zrem(key(slug, "bin"), *ids)

    @queries_store
    async def adopt(self, redis: Client, found: Sequence[tuple[str, str]]) -> None:
        """Put deleted entries into the bin that are not there.

        `found` has the slug and the id of entries that have revisions, all on one server. An entry
        that cannot be read is left out.
        """
        pipeline = redis.pipeline(transaction=False)
        for slug, id in found:
            keys = [key(slug, name) for name in ("entries", "bin", f"bin:{id}", f"rev:{id}")]
            pipeline.eval(_ADOPT, len(keys), *keys, id, BIN_MS)
        for reply in await pipeline.execute(raise_on_error=False):
            if isinstance(reply, Exception):
                log.info("bin: a deleted entry is left out for now: %s", reply)
            else:
                scripts.check_permitted(reply)


async def _place_of(redis: Client, name: str, id: str) -> re.Match[str] | None:
    score = await redis.execute_command("ZSCORE", name, id)
    return None if score is None else _PLACE.fullmatch(_place(id.encode(), score))


def _place(member: bytes, at: float) -> str:
    return f"{index_number(at)}.{member.decode(errors='replace')}"


async def _count_until(redis: Client, name: str, at: str, id: str) -> int:
    """Return how many members the bin has up to a place in it, the last deletion first."""
    later, same = await atomic.read_each(
        redis, ("ZCOUNT", name, f"({at}", "+inf"), ("ZRANGEBYSCORE", name, at, at)
    )
    at_once = [it for it in atomic.or_none(same) or [] if it >= id.encode()]
    return int(atomic.or_none(later) or 0) + len(at_once)


async def _read(redis: Client, slug: str, times: dict[str, int]) -> list[Deleted]:
    """Read deleted entries in one step; leave out those that were restored or erased meanwhile."""
    records, *parts = await atomic.read_each(
        redis,
        ("HMGET", key(slug, "entries"), *times),
        *(("GET", key(slug, f"bin:{id}")) for id in times),
        *(("LRANGE", key(slug, f"rev:{id}"), 0, 0) for id in times),
    )
    drafts, revisions = parts[: len(times)], parts[len(times) :]
    read = zip(
        times, atomic.or_none(records) or [None] * len(times), drafts, revisions, strict=True
    )
    found = [
        _deleted(id, times[id], raw, atomic.or_none(draft), atomic.or_none(texts) or [])
        for id, raw, draft, texts in read
    ]
    return [it for it in found if it.tombstone.deleted]


def _deleted(
    id: str, at: int, raw: bytes | None, draft: bytes | None, texts: Sequence[bytes]
) -> Deleted:
    if raw is None and draft is not None:
        tombstone = decode_draft(draft, id)
    else:
        tombstone = decode_published(raw, id)
    text = _text(texts[0]) if texts else None
    is_damaged = bool(texts) and (text is None or isinstance(tombstone, DamagedEntry))
    deleted_at = min(at, tombstone.updated_at or at)
    return Deleted(id, deleted_at, at, tombstone, text, is_damaged)


def _text(raw: bytes) -> Entry | None:
    try:
        return decode_entry(raw)
    except DECODE_ERRORS:
        return None


async def move_tombstones(nodes: Nodes, slug: str, ids: Sequence[bytes]) -> None:
    """Move the first MOVED_MAX of these tombstones out of `drafts`, each in one atomic step.

    Raises nothing: the caller's read or write has succeeded, and a later one finds the rest.
    """
    try:
        await _move(nodes.at(slug), slug, ids[:MOVED_MAX])
    except (RedisError, OSError) as error:
        log.info("blog %s: deleted drafts stay among the drafts for now: %s", slug, error)


async def _move(redis: Client, slug: str, ids: Sequence[bytes]) -> None:
    pipeline = redis.pipeline(transaction=False)
    for id in ids:
        own = id.decode(errors="replace")
        keys = [key(slug, name) for name in ("drafts", "bin", f"bin:{own}", f"rev:{own}")]
        pipeline.eval(_MOVE, len(keys), *keys, id, BIN_MS)
    await pipeline.execute()
