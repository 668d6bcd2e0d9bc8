"""Reads the entries of one blog from the store: by id, by order, and all drafts.

An entry's `order` is the offset of its first publication; it sorts the entries of a page.

Rules: writes nothing, but moves tombstones of an earlier version into the bin (bin.py), and has
damaged keys rebuilt (rebuilding.py). One damaged record never hides the others: a `DamagedEntry`
takes its place, and the log names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from liveblog.blog.model import DamagedEntry, Entry, Position, is_entry_id
from liveblog.blog.pins import rank
from liveblog.blog.problem import Damaged
from liveblog.blog.timeline import MARKED_MAX
from liveblog.store import atomic
from liveblog.store.bin import move_tombstones
from liveblog.store.client import Client
from liveblog.store.codec import (
    StoredEntry,
    decode_draft,
    decode_published,
    differs,
    entry_id,
    index_number,
    key,
)
from liveblog.store.damage import DamageLog
from liveblog.store.nodes import Nodes
from liveblog.store.queries import damaged_key, queries_store
from liveblog.store.rebuilding import Rebuilding, rebuilds

BATCH: Final = 500  # the most records in one reply of the store
Listed = list[tuple[bytes, float]]  # members of an index, and their scores


@dataclass
class Entries:
    """Reads entries. Each method raises StoreDown, and Damaged for a key of a wrong type."""

    nodes: Nodes
    rebuilding: Rebuilding
    damage: DamageLog = field(default_factory=DamageLog)

    async def stored(self, slug: str, id: str) -> StoredEntry | None:
        """Return an entry: published, a draft, or the tombstone of a deleted one.

        Return a DamagedEntry for a record that is missing or does not decode. Return None for an id
        that was never used, and for a draft that the bin no longer has. Raises Damaged for a member
        of an index that is no id of an entry.
        """
        if not is_entry_id(id):
            raise Damaged("It is no id of an entry.")
        stored, _ = await self.rebuilding.reading(
            slug, lambda: self._stored(slug, id), lambda it: it[1], compare=True
        )
        if stored:
            self.damage.entries(slug, [stored.entry])
        return stored

    @queries_store
    async def _stored(self, slug: str, id: str) -> tuple[StoredEntry | None, bool]:
        """Return an entry, and whether its parts contradict each other."""
        found = await _read_parts(self.nodes.at(slug), slug, id)
        raw, draft, binned, offset, order, revisions = found
        unpublished = draft or binned
        if raw is None and unpublished is not None:
            entry = decode_draft(unpublished, id)
        elif raw is None and offset is None and order is None:
            if revisions == 0:
                return None, False
            entry = DamagedEntry(id=id)  # a deleted draft whose tombstone is lost
        else:
            entry = decode_published(raw, id, _number(offset), _number(order))
            if isinstance(entry, DamagedEntry) and entry.offset is not None:
                # No index has the order of a deleted entry. An order is never above the offset.
                order = min(entry.order or entry.offset, entry.offset)
                entry = msgspec.structs.replace(entry, order=order)
        stored = StoredEntry(entry, unpublished if raw is None else raw, revisions or 0)
        is_twice = None not in (raw, draft) and not isinstance(entry, DamagedEntry)
        return stored, is_twice or differs([entry])

    @rebuilds
    @queries_store
    async def published(self, slug: str, id: str) -> Entry | None:
        """Return a published entry, or a deleted one's tombstone; None if never published.

        Return a DamagedEntry for a record that does not decode.
        """
        raw = await self.nodes.at(slug).hget(key(slug, "entries"), id)
        if raw is None:
            return None
        entry = decode_published(raw, id)
        if isinstance(entry, DamagedEntry):
            stored = await self.stored(slug, id)
            return stored.entry if stored else None
        return entry

    @rebuilds
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
        if any(len(it) != 8 for it, entry in zip(checks, entries, strict=True) if entry.offset):
            raise damaged_key(key(slug, "chain"))
        return [
            Position(epoch.decode(), entry.offset, check.decode()) if entry.offset else None
            for entry, check in zip(entries, checks, strict=True)
        ]

    async def below(self, slug: str, order: int | None, limit: int) -> list[Entry]:
        """Return up to `limit` entries first published before offset `order`, the newest first.

        When `order` is None, return the newest entries.
        """
        found = await self.rebuilding.reading(
            slug,
            lambda: self.rebuilding.reading(
                slug,
                lambda: self._below(slug, order, limit),
                lambda them: not them and order is None,  # the index may be lost
            ),
            differs,
            compare=True,
        )
        self.damage.entries(slug, found)
        return found

    @queries_store
    async def _below(self, slug: str, order: int | None, limit: int) -> list[Entry]:
        top, redis = "+inf" if order is None else f"({order}", self.nodes.at(slug)
        listed = await redis.zrevrangebyscore(
            key(slug, "order"), top, "-inf", 0, limit, withscores=True
        )
        return await self.listed(slug, listed)

    async def above(self, slug: str, order: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries first published after offset `order`, the oldest first."""
        found = await self.rebuilding.reading(
            slug, lambda: self._above(slug, order, limit), differs, compare=True
        )
        self.damage.entries(slug, found)
        return found

    @queries_store
    async def _above(self, slug: str, order: int, limit: int) -> list[Entry]:
        redis = self.nodes.at(slug)
        listed = await redis.zrangebyscore(
            key(slug, "order"), f"({order}", "+inf", 0, limit, withscores=True
        )
        return await self.listed(slug, listed)

    async def pinned(self, slug: str) -> list[Entry]:
        """Return the pinned entries that readers see, in the order of `pins.rank`.

        As in a worker's timeline, they are among the newest MARKED_MAX pinned and key entries.
        """
        found = await self.rebuilding.reading(
            slug, lambda: self._marked(slug), differs, compare=True
        )
        self.damage.entries(slug, found)
        return sorted((it for it in found if it.pinned and not it.deleted), key=rank)

    @queries_store
    async def _marked(self, slug: str) -> list[Entry]:
        words = ("ZREVRANGE", key(slug, "marked"), 0, MARKED_MAX - 1, "WITHSCORES")
        return await self.listed(slug, atomic.pairs(*await atomic.read(self.nodes.at(slug), words)))

    async def drafts(self, slug: str) -> list[Entry]:
        """Return every entry that is not published, the newest edit first.

        Moves the tombstones that an earlier version left among the drafts, and leaves them out.
        Damaged entries come last.
        """
        found, _ = await self.rebuilding.reading(
            slug, lambda: self._drafts_and_due(slug), lambda it: it[1], compare=True
        )
        self.damage.entries(slug, found)
        return found

    async def _drafts_and_due(self, slug: str) -> tuple[list[Entry], bool]:
        """Return the drafts, and whether the schedule or a published entry contradicts one."""
        found = await self._drafts(slug)
        scheduled = {it.id: it.publish_at for it in found if it.status == "scheduled"}
        due = await self._due(slug) if scheduled else {}
        return found, differs(found) or any(due.get(id) != at for id, at in scheduled.items())

    @queries_store
    async def _due(self, slug: str) -> dict[str, float]:
        rows = await self.nodes.at(slug).zrangebyscore(
            key(slug, "due"), "-inf", "+inf", 0, -1, withscores=True
        )
        return {member.decode(errors="replace"): at for member, at in rows}

    @queries_store
    async def _drafts(self, slug: str) -> list[Entry]:
        raws = await self.nodes.at(slug).hgetall(key(slug, "drafts"))
        drafts = {id: decode_draft(raw, id) for it, raw in raws.items() if (id := entry_id(it))}
        self.damage.members(slug, "drafts", [it for it in raws if not entry_id(it)])
        living = [it for it in drafts.values() if not it.deleted or isinstance(it, DamagedEntry)]
        if len(living) < len(drafts):
            kept = {it.id for it in living}
            await move_tombstones(self.nodes, slug, [id.encode() for id in drafts.keys() - kept])
        return sorted(living, key=lambda e: (e.updated_at, e.id), reverse=True)

    async def listed(self, slug: str, listed: Listed) -> list[Entry]:
        """Return the entries of an index by order, a DamagedEntry for each damaged record.

        Raises RedisError. Call it only from methods with `@queries_store`, which translates errors.
        """
        orders = {id: index_number(score) for it, score in listed if (id := entry_id(it))}
        self.damage.members(slug, "order", [it for it, _ in listed if not entry_id(it)])
        return await self.by_id(slug, orders)

    async def by_id(self, slug: str, orders: Mapping[str, int | None]) -> list[Entry]:
        """Return published entries, a DamagedEntry for each damaged record.

        `orders`: the ids, with the order of each in the index, None if that was not read. Raises
        RedisError. Call it only from methods with `@queries_store`, which translates errors.
        """
        found: list[Entry] = []
        ids = [*orders]
        for i in range(0, len(ids), BATCH):
            some = ids[i : i + BATCH]
            # One step, since a record must be compared with the index of the same moment.
            both = await atomic.read_each(
                self.nodes.at(slug),
                ("HMGET", key(slug, "entries"), *some),
                ("ZMSCORE", key(slug, "changed"), *some),
            )
            raws, scores = both
            if isinstance(raws, Exception):
                raise raws
            if isinstance(scores, Exception):  # the records have these numbers, too
                self.damage.note(slug, "index changed", "its key is of a wrong type")
                scores = [None] * len(some)
            found += [
                decode_published(raw, id, _number(score), orders[id])
                for id, raw, score in zip(some, raws, scores, strict=True)
            ]
        return found


async def _read_parts(redis: Client, slug: str, id: str) -> list[Any]:
    """Return the records of an entry in `entries`, `drafts` and the bin, its scores, its revisions.

    The scores are in the indexes `changed` and `order`. A tombstone of a wrong type counts as none.
    The number of revisions is None for a list of a wrong type. A deletion removes such a key.
    """
    parts = await atomic.read_each(
        redis,
        ("HGET", key(slug, "entries"), id),
        ("HGET", key(slug, "drafts"), id),
        ("GET", key(slug, f"bin:{id}")),
        ("ZSCORE", key(slug, "changed"), id),
        ("ZSCORE", key(slug, "order"), id),
        ("LLEN", key(slug, f"rev:{id}")),
    )
    record, draft, binned, *scores, revisions = parts
    for part in (record, draft, *scores):
        if isinstance(part, Exception):
            raise part
    return [record, draft, atomic.or_none(binned), *scores, atomic.or_none(revisions)]


def _number(score: float | bytes | None) -> int | None:
    return None if score is None else index_number(float(score))
