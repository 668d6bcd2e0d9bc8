"""Reads the earlier revisions of headers and entries, which publish.lua keeps in a list.

Rules: writes nothing. A damaged revision never hides the others: it is left out, and the log names
its blog.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from liveblog.blog.model import BLOG_ID, REVISION_MAX, Blog, Entry
from liveblog.blog.problem import Damaged
from liveblog.store import atomic, scripts
from liveblog.store.codec import DECODE_ERRORS, decode_blog, decode_entry, key
from liveblog.store.damage import DamageLog
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

# The most revisions that are read in one step. A revision has up to 240 KB: its text and its HTML.
REVISIONS_AT_ONCE: Final = 10
_FIND: Final = scripts.reading("revisions")
R = TypeVar("R", Blog, Entry)


class Earlier(NamedTuple, Generic[R]):
    """An earlier revision; `raw` is its record's bytes, by which a write names it."""

    record: R
    raw: bytes


@dataclass
class EarlierRevisions:
    """Reads the earlier revisions that the store has. Each method raises StoreDown."""

    nodes: Nodes
    damage: DamageLog = field(default_factory=DamageLog)

    async def headers(self, slug: str, below: int, limit: int) -> list[Earlier[Blog]]:
        """Return up to `limit` headers with revisions below a number, the newest first."""
        return await self._below(slug, BLOG_ID, below, limit, decode_blog)

    async def entries(self, slug: str, id: str, below: int, limit: int) -> list[Earlier[Entry]]:
        """Return up to `limit` revisions of an entry below a number, the newest first."""
        return await self._below(slug, id, below, limit, decode_entry)

    async def header(self, slug: str, revision: int) -> Earlier[Blog] | None:
        """Return one earlier header, None when the store does not have it."""
        return _exactly(revision, await self.headers(slug, revision + 1, 1))

    async def entry(self, slug: str, id: str, revision: int) -> Earlier[Entry] | None:
        """Return one earlier revision of an entry, None when the store does not have it."""
        return _exactly(revision, await self.entries(slug, id, revision + 1, 1))

    async def before_retraction(self, slug: str, id: str) -> Entry | None:
        """Return the newest earlier revision of an entry that was published and not retracted.

        Return None when the store does not have it.
        """
        below = REVISION_MAX + 1
        while found := await self.entries(slug, id, below, REVISIONS_AT_ONCE):
            below = found[-1].record.revision
            if was := next((it for it in found if it.record.status == "published"), None):
                return was.record
        return None

    async def last_entry(self, slug: str, id: str) -> Entry | None:
        """Return the last of an entry's earlier revisions, None when there is none.

        Raises Damaged when it does not decode: no older text may be published in its place.
        """
        raws = await self._at(slug, id, 0, 1)
        last = [self._decoded(slug, raw, decode_entry) for raw in raws]
        if None in last:
            raise Damaged(f"The newest earlier revision of entry {id} is damaged.")
        return last[0].record if last and last[0] else None

    @queries_store
    async def headers_count(self, slug: str) -> int:
        """Return how many earlier headers the store has, damaged ones included."""
        name = key(slug, f"rev:{BLOG_ID}")
        [count] = await atomic.read_each(self.nodes.at(slug), ("LLEN", name))
        return int(atomic.or_none(count) or 0)

    async def _below(
        self, slug: str, id: str, below: int, limit: int, decode: Callable[[bytes], R]
    ) -> list[Earlier[R]]:
        """Return revisions below a number; read on in the place of each damaged one."""
        step = min(limit, REVISIONS_AT_ONCE)
        place, raws = await self._find(slug, id, below, step)
        found: list[Earlier[R]] = []
        while raws:
            found += [it for raw in raws if (it := self._decoded(slug, raw, decode))]
            if len(found) >= limit or len(raws) < step:
                break
            place += len(raws)
            raws = await self._at(slug, id, place, step)
        # Another write may have moved the list between two reads.
        unique: dict[int, Earlier[R]] = {it.record.revision: it for it in found}
        return [it for number, it in unique.items() if number < below][:limit]

    def _decoded(self, slug: str, raw: bytes, decode: Callable[[bytes], R]) -> Earlier[R] | None:
        try:
            return Earlier(decode(raw), raw)
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


def _exactly(revision: int, found: list[Earlier[R]]) -> Earlier[R] | None:
    return found[0] if found and found[0].record.revision == revision else None
