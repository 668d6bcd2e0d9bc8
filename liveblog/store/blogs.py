"""Blogs by slug: their headers and positions, and pages of the lists of blogs (store/listing.py).

Rules: writes nothing, but has damaged keys rebuilt (rebuilding.py).
"""

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from liveblog.blog.model import Blog
from liveblog.blog.problem import Damaged
from liveblog.store.client import Client
from liveblog.store.codec import Damage, StoredBlog, damaged_blog, decode_stored_blog, key
from liveblog.store.damage import DamageLog
from liveblog.store.listing import LISTED, LIVE, Listing
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store
from liveblog.store.rebuilding import Rebuilding

log = logging.getLogger(__name__)

BATCH: Final = 100  # blogs read at once for a page
# The remedy for a damaged header.
REWRITE: Final = (
    "Write a new header, with a title and a status: on the desk, or by PATCH of the blog."
)


class Row(NamedTuple):
    """A slug in a list; `stored` is None for a blog that is missing, corrupt or unreachable."""

    slug: str
    stored: StoredBlog | None
    is_damaged: bool = False


class BlogPage(NamedTuple):
    """A page of a list of blogs; `next` is the `before` of the next page, None on the last page.

    A page for which as many blogs were read as allowed is short or empty although it has a next
    page. `damaged` has the slugs of the blogs that were read for this page and are corrupt.
    """

    blogs: list[StoredBlog]
    next: str | None
    damaged: list[str] = []  # noqa: RUF012 - a tuple's field; never altered


Read = Callable[[int, int], Awaitable[list[Row]]]


@dataclass
class Blogs:
    """Reads blogs and lists of blogs. Each method raises StoreDown."""

    nodes: Nodes
    listing: Listing
    rebuilding: Rebuilding
    damage: DamageLog = field(default_factory=DamageLog)

    async def read(self, slug: str, *, or_damaged: bool = False) -> StoredBlog | None:
        """Return the blog with this slug; None when the store lacks the blog.

        Rebuilds damaged keys. With `or_damaged`, return a DamagedBlog for a header that does not
        decode; else raise Damaged for it.
        """
        found = await self.rebuilding.reading(
            slug, lambda: self._read(slug), lambda it: not isinstance(it, StoredBlog)
        )
        if not isinstance(found, Damage):
            return found
        self.damage.note(slug, "its header", found.why)
        if or_damaged:
            return await self._damaged(slug)
        raise Damaged(f"The header of the blog {slug} is damaged. {REWRITE}")

    @queries_store
    async def _read(self, slug: str) -> StoredBlog | Damage | None:
        [found] = await _read_blogs(self.nodes.at(slug), [slug])
        if isinstance(found, Exception):
            raise found
        return found

    @queries_store
    async def _damaged(self, slug: str) -> StoredBlog:
        names = ("epoch", "offset", "check", "header", "status")
        *fields, status = await self.nodes.at(slug).hmget(key(slug, "blog"), names)
        return damaged_blog(slug, fields, status)

    async def these(self, slugs: Sequence[str]) -> BlogPage:
        """Return all listed blogs that have these slugs, the newest activity first."""
        times = await self.listing.times(LISTED, slugs)
        newest = sorted(times, key=lambda slug: (times[slug], slug), reverse=True)
        rows = await self._rows(newest)
        damaged = [row.slug for row in rows if row.is_damaged]
        return BlogPage([row.stored for row in rows if row.stored], None, damaged)

    async def page(
        self,
        before: str | None,
        limit: int,
        wanted: Callable[[Blog], bool],
        most: int | None = None,
        *,
        is_live: bool = False,
    ) -> BlogPage | None:
        """Return a page of the blogs that `wanted` accepts, the newest activity first.

        The page begins after the blog `before`. None when no blog with this slug is listed. Reads
        at most `most` blogs if given; with `is_live`, only the blogs that may be live.
        """
        name = LIVE if is_live else LISTED
        rank = await self.listing.rank_after(name, before) if before else 0
        if rank is None:
            return None
        return await scan(lambda at, size: self._ranked(name, at, size), wanted, rank, limit, most)

    async def front(self, before: str | None, limit: int) -> BlogPage | None:
        """Return a page of the home page: first the live blogs, then the others, no drafts.

        None when `before` is not the slug of a listed blog, or of a draft: readers must not learn
        that a draft exists. For the same reason `next` is never the slug of a draft, so this reads
        past all drafts that are newer than the last blog of the page.
        """
        if before and await self._is_draft(before):
            return None
        if before and not await self.listing.times(LIVE, [before]):
            return await self._others(before, limit)
        live = await self.page(before, limit, _is_live, is_live=True)
        if not live or live.next:
            return live
        room = limit - len(live.blogs)
        others = await self._others(None, max(room, 1))
        if not room and others:
            has_more = others.blogs or others.next
            return live._replace(next=live.blogs[-1].blog.slug if has_more else None)
        return BlogPage([*live.blogs, *others.blogs], others.next) if others else live

    async def _is_draft(self, slug: str) -> bool:
        [row] = await self._rows([slug])
        return row.stored is not None and not _is_public(row.stored.blog)

    async def _others(self, before: str | None, limit: int) -> BlogPage | None:
        """Return a page of the blogs that are neither drafts nor in the set of live blogs."""
        rank = await self.listing.rank_after(LISTED, before) if before else 0
        if rank is None:
            return None
        return await scan(self._not_in_live, _is_public, rank, limit)

    async def _not_in_live(self, rank: int, size: int) -> list[Row]:
        rows = await self._ranked(LISTED, rank, size)
        live = [row.slug for row in rows if row.stored and _is_live(row.stored.blog)]
        shown = await self.listing.times(LIVE, live)
        return [Row(row.slug, None) if row.slug in shown else row for row in rows]

    async def _ranked(self, name: str, rank: int, size: int) -> list[Row]:
        return await self._rows(await self.listing.slugs(name, rank, size))

    @queries_store
    async def _rows(self, slugs: Sequence[str]) -> list[Row]:
        """Return a row for each slug. Log blogs on an unreachable node of a cluster."""
        if not slugs:
            return []
        found, unreachable = await self.nodes.each(slugs, _read_blogs)
        if unreachable:
            log.warning("list of blogs is incomplete: %s", unreachable)
        for slug, blog in found.items():
            if isinstance(blog, Damage):
                self.damage.note(slug, "its header", blog.why)
        return [_row(slug, found.get(slug)) for slug in slugs]


def _row(slug: str, found: StoredBlog | Damage | None) -> Row:
    is_damaged = isinstance(found, Damage)
    return Row(slug, found if isinstance(found, StoredBlog) else None, is_damaged)


async def scan(
    read: Read, wanted: Callable[[Blog], bool], rank: int, limit: int, most: int | None = None
) -> BlogPage:
    """Return up to `limit` wanted blogs of a list from `rank` on; read at most `most` blogs.

    The next page begins after the last wanted blog, or after the last one that was read.

    A blog that moves up meanwhile pushes others down, so a batch may repeat blogs.
    """
    found: dict[str, StoredBlog] = {}
    damaged: dict[str, None] = {}
    last, end, size = None, rank + (most or sys.maxsize), min(limit + 1, BATCH)
    while rank < end:
        size = min(size, end - rank)
        rows = await read(rank, size)
        for slug, stored, is_damaged in rows:
            if is_damaged:
                damaged[slug] = None
            if stored and slug not in found and wanted(stored.blog):
                if len(found) == limit:
                    return BlogPage([*found.values()], next(reversed(found)), [*damaged])
                found[slug] = stored
            last = slug
        if len(rows) < size:
            return BlogPage([*found.values()], None, [*damaged])
        rank, size = rank + size, BATCH
    return BlogPage([*found.values()], last, [*damaged])


def _is_live(blog: Blog) -> bool:
    return blog.status == "live"


def _is_public(blog: Blog) -> bool:
    return blog.status != "draft"


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
