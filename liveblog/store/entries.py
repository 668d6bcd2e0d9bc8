"""Reads the entries of one blog from the store: by id, by order, and all drafts.

An entry's `order` is the offset of its first publication; it sorts the entries of a page.

Rules: writes nothing, but moves tombstones of an earlier version into the bin (bin.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liveblog.blog.model import REVISIONS_MAX, Entry, Position
from liveblog.store import atomic
from liveblog.store.bin import move_tombstones
from liveblog.store.codec import StoredEntry, decode_draft, decode_entry, key
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

BATCH: Final = 500  # the most records in one reply of the store
REVISIONS_AT_ONCE: Final = 50


@dataclass
class Entries:
    """Reads entries. Each method raises StoreDown, and Damaged for a corrupt record."""

    nodes: Nodes

    @queries_store
    async def stored(self, slug: str, id: str) -> StoredEntry | None:
        """Return an entry: published, a draft, or the tombstone of a deleted one.

        Return None for an id that was never used, and for a draft that the bin no longer has.
        """
        entry, draft, binned, revisions = await atomic.read(
            self.nodes.at(slug),
            ("HGET", key(slug, "entries"), id),
            ("HGET", key(slug, "drafts"), id),
            ("GET", key(slug, f"bin:{id}")),
            ("LLEN", key(slug, f"rev:{id}")),
        )
        raw = entry or draft or binned
        return StoredEntry(decode_entry(raw), raw, revisions) if raw else None

    @queries_store
    async def published(self, slug: str, id: str) -> Entry | None:
        """Return a published entry, or a deleted one's tombstone; None if never published."""
        raw = await self.nodes.at(slug).hget(key(slug, "entries"), id)
        return decode_entry(raw) if raw else None

    @queries_store
    async def earlier(self, slug: str, id: str, revision: int | None = None) -> Entry | None:
        """Return an earlier revision of an entry. Without `revision`, return the newest of them.

        Return None when the store does not keep that revision.
        """
        for start in range(0, REVISIONS_MAX, REVISIONS_AT_ONCE):
            end = start + REVISIONS_AT_ONCE - 1
            raws = await self.nodes.at(slug).lrange(key(slug, f"rev:{id}"), start, end)
            for entry in map(decode_entry, raws):
                if revision in (None, entry.revision):
                    return entry
            if len(raws) < REVISIONS_AT_ONCE:
                break
        return None

    @queries_store
    async def positions(self, slug: str, entries: Sequence[Entry]) -> list[Position | None]:
        """Return the position of each entry's last change.

        Return None for an entry that was never published.
        """
        ends = [(entry.offset or 1) * 8 for entry in entries]
        epoch, *checks = await atomic.read(
            self.nodes.at(slug),
            ("HGET", key(slug, "blog"), "epoch"),
            *(("GETRANGE", key(slug, "chain"), end - 8, end - 1) for end in ends),
        )
        return [
            Position(epoch.decode(), entry.offset, check.decode()) if entry.offset else None
            for entry, check in zip(entries, checks, strict=True)
        ]

    @queries_store
    async def below(self, slug: str, order: int | None, limit: int) -> list[Entry]:
        """Return up to `limit` entries first published before offset `order`, the newest first.

        When `order` is None, return the newest entries.
        """
        top, redis = "+inf" if order is None else f"({order}", self.nodes.at(slug)
        ids = await redis.zrevrangebyscore(key(slug, "order"), top, "-inf", 0, limit)
        return await self.by_id(slug, ids)

    @queries_store
    async def above(self, slug: str, order: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries first published after offset `order`, the oldest first."""
        redis = self.nodes.at(slug)
        ids = await redis.zrangebyscore(key(slug, "order"), f"({order}", "+inf", 0, limit)
        return await self.by_id(slug, ids)

    @queries_store
    async def drafts(self, slug: str) -> list[Entry]:
        """Return every entry that is not published, the newest edit first.

        Leaves out corrupt records. Moves the tombstones that an earlier version left among the
        drafts.
        """
        raws = await self.nodes.at(slug).hgetall(key(slug, "drafts"))
        drafts = {id: decode_draft(slug, id, raw) for id, raw in raws.items()}
        if tombstones := [id for id, draft in drafts.items() if draft and draft.deleted]:
            await move_tombstones(self.nodes, slug, tombstones)
        living = [draft for draft in drafts.values() if draft and not draft.deleted]
        return sorted(living, key=lambda e: (e.updated_at, e.id), reverse=True)

    async def by_id(self, slug: str, ids: Sequence[bytes]) -> list[Entry]:
        """Return the published entries with these ids, in the order of `ids`, without unknown ids.

        Raises RedisError. Call it only from methods with `@queries_store`, which translates errors.
        """
        found: list[Entry] = []
        for i in range(0, len(ids), BATCH):
            raws = await self.nodes.at(slug).hmget(key(slug, "entries"), ids[i : i + BATCH])
            found += [decode_entry(raw) for raw in raws if raw]
        return found
