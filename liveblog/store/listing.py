"""Two sorted sets of all blogs by activity: the list of blogs, and the live ones among them.

Both map a slug to the time of the last activity in milliseconds. In a cluster they may be on
another node than a blog, so no script changes a blog and the sets in one step. A writer therefore
adds a new or live blog before publish.lua stores it (`announce`), and sets the exact time
afterwards (`touch`). A reader of the sets checks each blog's own record, so a needless slug shows
nothing.

A slug is removed in two ways. The writer that ends a live blog removes it from the live ones if its
time is the one from before the write: a writer that makes the blog live again first sets another
time. The sweep removes slugs whose time is so old that no announced write can follow (`tidy`).

Rules: reads no blog.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from liveblog.store import scripts
from liveblog.store.agenda import SETTLED_MS, clock_of
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store
from liveblog.store.remaking import remakes

log = logging.getLogger(__name__)

LISTED: Final = "lb:blogs"
LIVE: Final = f"lb:live:{{{LISTED}}}"  # the hash tag puts both sets on one node
TOUCH_WITHIN_S: Final = 1.0  # a confirmed write waits at most this long to update the sets

_ANNOUNCE: Final = scripts.permitted("""
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local commands = {}
for i, name in ipairs(KEYS) do
  commands[i] = { 'ZADD', name, 'GT', now, ARGV[1] }
end
local done = 1
""")
_LEAVE: Final = """
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
return at and tonumber(at) == tonumber(ARGV[2]) and redis.call('ZREM', KEYS[1], ARGV[1])
"""
# ARGV: before, and a slug and a status for each blog; the status "" for a blog that does not exist.
_TIDY: Final = scripts.permitted("""
local before, commands, done = tonumber(ARGV[1]), {}, 0
for i = 2, #ARGV, 2 do
  local slug, status = ARGV[i], ARGV[i + 1]
  local listed, live = redis.call('ZSCORE', KEYS[1], slug), redis.call('ZSCORE', KEYS[2], slug)
  if status == 'live' then
    if listed and not live then
      commands[#commands + 1] = { 'ZADD', KEYS[2], listed, slug }
    end
  elseif live and tonumber(live) < before then
    commands[#commands + 1] = { 'ZREM', KEYS[2], slug }
  end
  if status == '' and listed and tonumber(listed) < before then
    commands[#commands + 1] = { 'ZREM', KEYS[1], slug }
    done = done + 1
  end
end
""")


def _kinds(*_: object, **__: object) -> Mapping[str, str]:
    return {LISTED: "zset", LIVE: "zset"}


@dataclass
class Listing:
    """Reads and changes the sets. Each method but `touch` raises StoreDown."""

    nodes: Nodes

    @remakes(_kinds)
    @queries_store
    async def announce(self, slug: str, *, is_new: bool, is_live: bool) -> None:
        """Add a blog that a write is about to create or to make live, with the present time."""
        keys = [name for name, wanted in ((LISTED, is_new), (LIVE, is_live)) if wanted]
        if keys:
            reply = await self.nodes.at(LISTED).eval(_ANNOUNCE, len(keys), *keys, slug)
            scripts.check_permitted(reply)

    async def touch(
        self, slug: str, at: int, *, is_live: bool = False, left: float | None = None
    ) -> None:
        """Set a blog's time of activity to `at`, in milliseconds since 1970; a later time stays.

        With `is_live`, the blog is live since this write. `left` is the time that the set of live
        blogs had for a blog that is no longer live since this write. Raises nothing: the caller's
        write is stored already.
        """
        try:
            async with asyncio.timeout(TOUCH_WITHIN_S):
                await self.nodes.ask(lambda: self._touch(slug, at, is_live, left))
        except (RedisError, OSError) as error:
            log.warning(
                "blog %s: list of blogs not updated: %s: %s", slug, type(error).__name__, error
            )

    async def _touch(self, slug: str, at: int, is_live: bool, left: float | None) -> None:
        pipeline = self.nodes.at(LISTED).pipeline(transaction=False)
        pipeline.zadd(LISTED, {slug: at}, gt=True)
        if left is None:
            pipeline.zadd(LIVE, {slug: at}, gt=True, xx=not is_live)
        else:
            pipeline.eval(_LEAVE, 1, LIVE, slug, left)
        await pipeline.execute()

    @remakes(_kinds)
    @queries_store
    async def slugs(self, name: str, rank: int, limit: int) -> list[str]:
        """Return up to `limit` slugs of a set from a rank on, the newest activity first."""
        found = await self.nodes.at(name).zrevrange(name, rank, rank + limit - 1)
        return [slug.decode(errors="replace") for slug in found]

    @remakes(_kinds)
    @queries_store
    async def times(self, name: str, slugs: Sequence[str]) -> dict[str, float]:
        """Return the time of activity of each of these slugs that the set has."""
        scores = await self.nodes.at(name).zmscore(name, [*slugs]) if slugs else []
        pairs = zip(slugs, scores, strict=True)
        return {slug: score for slug, score in pairs if score is not None}

    @remakes(_kinds)
    @queries_store
    async def rank_after(self, name: str, slug: str) -> int | None:
        """Return the rank of the first slug of a set after `slug`; None for an unlisted slug.

        A slug that only the list has gets the rank of its time in the set LIVE.
        """
        redis = self.nodes.at(name)
        rank = await redis.execute_command("ZREVRANK", name, slug)
        if rank is not None:
            return int(rank) + 1
        [at] = await redis.zmscore(LISTED, [slug])
        if at is None:
            return None
        return int(await redis.execute_command("ZCOUNT", name, f"({at:.0f}", "+inf"))

    @queries_store
    async def now(self) -> int:
        """Return the time of the server with the sets, in milliseconds since 1970."""
        return await clock_of(self.nodes.at(LISTED))

    @remakes(_kinds)
    @queries_store
    async def tidy(self, read: int, statuses: Mapping[str, str]) -> int:
        """Add live blogs to LIVE and remove others from it; return how many blogs were unlisted.

        `statuses` has the status of each blog, "" for a blog that does not exist, as the store had
        it at or after `read`. A slug with newer activity than SETTLED_MS before `read` stays.
        """
        words = [word for pair in statuses.items() for word in pair]
        redis, before = self.nodes.at(LISTED), read - SETTLED_MS
        reply = await redis.eval(_TIDY, 2, LISTED, LIVE, before, *words)
        scripts.check_permitted(reply)
        return int(reply)

    @remakes(_kinds)
    @queries_store
    async def add(self, slug: str, at: int) -> None:
        """Add a blog that the list lacks."""
        await self.nodes.at(LISTED).zadd(LISTED, {slug: at}, gt=True)
