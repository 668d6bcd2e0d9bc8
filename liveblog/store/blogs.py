"""Blogs by slug: their headers, their positions, and the list of all blogs by activity.

The list (INDEX) is one sorted set: slug -> time of the last activity. In a cluster the list may be
on another node than a blog, so no script writes both in one step. After a crash between the two
writes the list may lack the blog; `rebuild_index` adds missing blogs.

Rules: reads blogs and writes the list, never a blog.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.exceptions import RedisError

from liveblog.blog.problem import Damaged, StoreDown
from liveblog.store.client import Client
from liveblog.store.codec import Damage, StoredBlog, decode_stored_blog, key
from liveblog.store.damage import DamageLog
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

log = logging.getLogger(__name__)

INDEX: Final = "lb:blogs"
TOUCH_WITHIN_S: Final = 1.0  # a confirmed write waits at most this long to update the list of blogs
LISTED_MAX: Final = 500


@dataclass
class Blogs:
    """Reads blogs, and updates the list of blogs. Each method but `touch` raises StoreDown."""

    nodes: Nodes
    damage: DamageLog = field(default_factory=DamageLog)

    @queries_store
    async def read(self, slug: str) -> StoredBlog | None:
        """Return the blog with this slug; None when the store lacks the blog.

        Raises Damaged when its header does not decode.
        """
        [found] = await _read_blogs(self.nodes.at(slug), [slug])
        if isinstance(found, Exception):
            raise found
        if isinstance(found, Damage):
            self.damage.note(slug, "its header", found.why)
            raise Damaged(f"The header of the blog {slug} is damaged.")
        return found

    @queries_store
    async def recent(self, limit: int = LISTED_MAX, of: Sequence[str] = ()) -> list[StoredBlog]:
        """Return up to `limit` blogs, the newest activity first.

        With `of`, return all blogs of the list that have these slugs, without a limit. Leaves out
        corrupt blogs, and blogs on an unreachable node of a cluster.
        """
        slugs = await self._by_activity(of) if of else await self.slugs(limit)
        found, unreachable = await self.nodes.each(slugs, _read_blogs)
        if unreachable:
            log.warning("list of blogs is incomplete: %s", unreachable)
        for slug, blog in found.items():
            if isinstance(blog, Damage):
                self.damage.note(slug, "its header", blog.why)
        return [it for slug in slugs if isinstance(it := found.get(slug), StoredBlog)]

    async def slugs(self, limit: int) -> list[str]:
        """Return the slugs with the newest activity first; all of them when `limit` is 0.

        Raises RedisError. Call it only from methods with `@queries_store`, which translates errors.
        """
        found = await self.nodes.at(INDEX).zrevrange(INDEX, 0, limit - 1)
        return [slug.decode(errors="replace") for slug in found]

    async def _by_activity(self, slugs: Sequence[str]) -> list[str]:
        scores = await self.nodes.at(INDEX).zmscore(INDEX, [*slugs])
        found = [(at, slug) for at, slug in zip(scores, slugs, strict=True) if at is not None]
        return [slug for _, slug in sorted(found, reverse=True)]

    async def touch(self, slug: str, at: int | None = None) -> None:
        """Set a blog's time in the list to `at`, in milliseconds since 1970; a later time stays.

        Without `at`, use the time of the header's last change. Raises nothing: the caller's write
        is stored already, and the next start of a server adds a blog that the list lacks.
        """
        try:
            async with asyncio.timeout(TOUCH_WITHIN_S):
                await self.nodes.ask(
                    lambda: self._list(slug, at) if at is not None else self._list_again(slug)
                )
        except (RedisError, OSError) as error:
            log.warning(
                "blog %s: list of blogs not updated: %s: %s", slug, type(error).__name__, error
            )

    @queries_store
    async def rebuild_index(self) -> None:
        """Put every blog that the list lacks into the list."""
        for node in self.nodes.everyone():
            async for name in node.redis.scan_iter(match="lb:{*}:blog", count=1000):
                await self._list_again(name.decode(errors="replace")[4:-6])

    async def _list(self, slug: str, at: int) -> None:
        await self.nodes.at(INDEX).zadd(INDEX, {slug: at}, gt=True)

    async def _list_again(self, slug: str) -> None:
        """Put a blog into the list with the time of its header's last change.

        Log an unreadable blog.
        """
        try:
            stored = await self.read(slug)
        except StoreDown as error:
            log.warning("blog %s: not put into the list of blogs: %s", slug, error)
            return
        if stored:
            await self._list(slug, stored.blog.updated_at)


async def _read_blogs(
    redis: Client, slugs: Sequence[str]
) -> list[StoredBlog | Damage | None | Exception]:
    """Return a blog for each slug, in the same order; all blogs are on this one server."""
    pipeline = redis.pipeline(transaction=False)
    for slug in slugs:
        pipeline.hmget(key(slug, "blog"), "epoch", "offset", "check", "header")
    replies = await pipeline.execute(raise_on_error=False)
    return [_decoded(reply) for reply in replies]


def _decoded(reply: Sequence[bytes | None] | Exception) -> StoredBlog | Damage | None | Exception:
    """Return the blog in a reply, or the error of a server that does not answer."""
    if isinstance(reply, Exception):
        is_damage = str(reply).startswith("WRONGTYPE")
        return Damage("its key is of a wrong type") if is_damage else reply
    return decode_stored_blog(*reply)
