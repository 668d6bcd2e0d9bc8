"""The bin: deleted drafts, which the store keeps for BIN_MS and no list reads.

A tombstone is one key that expires, and the draft's revisions expire with it. So the store erases
them by itself, also in a blog that nobody writes to. The sorted set `bin` has the ids by time of
deletion; a deletion removes up to 100 expired ids from the set.

Rules: publish.lua puts drafts into the bin and takes them out. This module only moves tombstones
that an earlier version left among the living drafts.
"""

import logging
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from liveblog.store import scripts
from liveblog.store.client import Client
from liveblog.store.codec import key
from liveblog.store.nodes import Nodes

log = logging.getLogger(__name__)

BIN_MS: Final = 30 * 24 * 3_600 * 1_000
# The most tombstones that one call moves: about 10 ms of the store's time.
MOVED_MAX: Final = 500

# ZADD comes first: it fails for a key of a wrong type, before the script has written.
_MOVE: Final = scripts.permitted("""
local record, time = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('TIME')
if not record or not string.find(record, '"deleted":true', 1, true) then return 0 end
local commands = {
  { 'ZADD', KEYS[2], time[1] .. '000', ARGV[1] },
  { 'PEXPIRE', KEYS[2], ARGV[2] },
  { 'SET', KEYS[3], record, 'PX', ARGV[2] },
  { 'PEXPIRE', KEYS[4], ARGV[2] },
  { 'HDEL', KEYS[1], ARGV[1] },
}
local done = 1
""")


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
