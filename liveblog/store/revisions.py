"""Reads the earlier revisions of headers and entries, which publish.lua keeps in a list.

Rules: writes nothing. A damaged revision never hides the others: it is left out, and the log names
its blog.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from liveblog.blog.model import BLOG_ID, Blog, Entry
from liveblog.store import atomic, scripts
from liveblog.store.codec import DECODE_ERRORS, decode_blog, decode_entry, key
from liveblog.store.damage import DamageLog
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

_FIND: Final = scripts.reading("revisions")
R = TypeVar("R", Blog, Entry)


class Kept(NamedTuple, Generic[R]):
    """An earlier revision; `raw` is its record's bytes, by which a write can erase it."""

    record: R
    raw: bytes


@dataclass
class KeptRevisions:
    """Reads earlier revisions. Each method raises StoreDown."""

    nodes: Nodes
    damage: DamageLog = field(default_factory=DamageLog)

    async def headers(self, slug: str, below: int, limit: int) -> list[Kept[Blog]]:
        """Return up to `limit` headers with revisions below a number, the newest first."""
        return await self._below(slug, BLOG_ID, below, limit, decode_blog)

    async def entries(self, slug: str, id: str, below: int, limit: int) -> list[Kept[Entry]]:
        """Return up to `limit` revisions of an entry below a number, the newest first."""
        return await self._below(slug, id, below, limit, decode_entry)

    async def header(self, slug: str, revision: int) -> Kept[Blog] | None:
        """Return one earlier header, None when the store does not keep it."""
        return _exactly(revision, await self.headers(slug, revision + 1, 1))

    async def entry(self, slug: str, id: str, revision: int) -> Kept[Entry] | None:
        """Return one earlier revision of an entry, None when the store does not keep it."""
        return _exactly(revision, await self.entries(slug, id, revision + 1, 1))

    @queries_store
    async def headers_count(self, slug: str) -> int:
        """Return how many earlier headers the store keeps, damaged ones included."""
        name = key(slug, f"rev:{BLOG_ID}")
        [count] = await atomic.read_each(self.nodes.at(slug), ("LLEN", name))
        return int(atomic.or_none(count) or 0)

    async def _below(
        self, slug: str, id: str, below: int, limit: int, decode: Callable[[bytes], R]
    ) -> list[Kept[R]]:
        """Return revisions below a number; read on in the place of each damaged one."""
        place, raws = await self._find(slug, id, below, limit)
        found: list[Kept[R]] = []
        while raws:
            found += [it for raw in raws if (it := self._decoded(slug, raw, decode))]
            if len(found) >= limit or len(raws) < limit:
                break
            place += len(raws)
            raws = await self._at(slug, id, place, limit)
        # Another write may have moved the list between two reads.
        unique: dict[int, Kept[R]] = {it.record.revision: it for it in found}
        return [it for number, it in unique.items() if number < below][:limit]

    def _decoded(self, slug: str, raw: bytes, decode: Callable[[bytes], R]) -> Kept[R] | None:
        try:
            return Kept(decode(raw), raw)
        except DECODE_ERRORS:
            self.damage.note(slug, "an earlier revision", "it does not decode")
            return None

    @queries_store
    async def _find(self, slug: str, id: str, below: int, limit: int) -> tuple[int, list[bytes]]:
        name = key(slug, f"rev:{id}")
        place, *raws = await self.nodes.at(slug).eval(_FIND, 1, name, below, limit)
        return place, raws

    @queries_store
    async def _at(self, slug: str, id: str, place: int, limit: int) -> list[bytes]:
        redis = self.nodes.at(slug)
        return await redis.lrange(key(slug, f"rev:{id}"), place, place + limit - 1)


def _exactly(revision: int, found: list[Kept[R]]) -> Kept[R] | None:
    return found[0] if found and found[0].record.revision == revision else None
