"""Reads blogs from Redis for the hub of a worker.

Rules: writes nothing, except that `rotate` begins a new epoch when the store's history differs from
the changes that a worker has applied (a fork), as after a restored backup. Damaged keys are rebuilt
(rebuilding.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from liveblog.blog.model import BLOG_ID, Blog, DamagedEntry, Entry, Position, new_id
from liveblog.blog.problem import Damaged, StoreDown
from liveblog.blog.timeline import (
    KEPT_CHANGES,
    MARKED_MAX,
    WINDOW,
    Changes,
    Heads,
    Moved,
    Record,
    Snapshot,
)
from liveblog.store import atomic, scripts
from liveblog.store.agenda import clock_of
from liveblog.store.blogs import Blogs
from liveblog.store.client import Client
from liveblog.store.codec import (
    DECODE_ERRORS,
    Damage,
    channel,
    decode_base,
    decode_blog,
    decode_position,
    decode_published,
    decode_stored_blog,
    differs,
    entry_id,
    index_number,
    key,
    why_damaged,
)
from liveblog.store.condition import Condition
from liveblog.store.entries import BATCH, Entries, Listed
from liveblog.store.lookup import Lookup
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store, store_errors
from liveblog.store.rebuilding import Rebuilding, rebuilds

LOAD_TRIES_MAX: Final = 5
_CHECKS: Final = re.compile(rb"(?:[0-9a-f]{8})+")
_REPAIR: Final = scripts.reading("repair")
_ROTATE: Final = scripts.writing("rotate")
_NO_BYLINE: Final[list[str]] = []  # shared: an empty list of its own takes 56 bytes in each entry


class _Found(NamedTuple):
    """A blog as read at first: without the changes that are made meanwhile.

    `is_damaged`: the chain or an index is damaged, or an index lacks an entry of the snapshot.
    """

    snapshot: Snapshot
    is_damaged: bool


@dataclass
class StoreSource:
    """Implements the hub's protocol `Source`. Each method raises StoreDown."""

    nodes: Nodes
    blogs: Blogs
    entries: Entries
    condition: Condition
    rebuilding: Rebuilding

    async def check_writes(self) -> str:
        """Return a warning about the store, "" for none, when it accepts writes.

        Raises StoreRefuses when the store refuses writes or subscriptions.
        """
        return await self.condition.check()

    def __post_init__(self) -> None:
        self.lookup = Lookup(self.nodes)

    async def load(self, slug: str, held: Blog | None = None) -> Snapshot | None:
        """Return the part of a blog that a worker keeps, at one position; None for an unknown blog.

        One transaction reads the ids and the checks, and batches of queries then read the records.
        `repair` then adds the changes that were made meanwhile. Also raises StoreDown when the blog
        changes faster than the records can be read.

        `held`, the worker's own header if any, takes the place of one that does not decode.
        Damaged keys are rebuilt. When the store refuses that, return what the other keys have.
        """
        for _ in range(LOAD_TRIES_MAX):
            found = await self.rebuilding.reading(
                slug,
                lambda: self._read(slug, held),
                lambda it: it is not None and it.is_damaged,
                compare=True,
            )
            if not found:
                return None
            changes = await self.repair(slug, found.snapshot.position)
            if isinstance(changes, Changes):
                snapshot = brought_forward(found.snapshot, changes)
                self.entries.damage.entries(slug, snapshot.entries)
                return snapshot
        raise StoreDown("the blog changes faster than it can be loaded")

    @queries_store
    async def exists(self, slug: str) -> bool:
        """Return whether the store has this blog. This query is much cheaper than `load`."""
        return await self.lookup.exists(key(slug, "blog"))

    @queries_store
    async def _read(self, slug: str, held: Blog | None) -> _Found | None:
        header, *replies = await atomic.read_each(
            self.nodes.at(slug),
            ("HMGET", key(slug, "blog"), "epoch", "offset", "check", "header", "base"),
            ("GETRANGE", key(slug, "chain"), -8 * (KEPT_CHANGES + 1), -1),
            ("ZREVRANGE", key(slug, "order"), 0, WINDOW - 1, "WITHSCORES"),
            ("ZREVRANGE", key(slug, "marked"), 0, MARKED_MAX - 1, "WITHSCORES"),
            ("ZREVRANGE", key(slug, "changed"), 0, KEPT_CHANGES - 1, "WITHSCORES"),
        )
        chain, *indexes = map(atomic.or_none, replies)
        listed, marked, changed = (atomic.pairs(it or []) for it in indexes)
        if isinstance(header, Exception):
            raise header
        stored = self._stored(slug, header, held)
        if not stored:
            return None
        blog, position = stored
        base = decode_base(header[-1], position)
        checks = _checks(chain, position)
        entries = await self._entries(slug, position.offset, [*listed, *marked], changed)
        window = index_number(listed[-1][1]) if len(listed) == WINDOW else 0
        is_damaged = (
            not (base and checks)
            or None in indexes
            or [index_number(offset) for _, offset in changed[:1]] != [position.offset]
            or any(not entry_id(id) for id, _ in changed if id != BLOG_ID.encode())
            or differs(entries)
            or _lacks(listed, [it for it in entries if (it.order or 0) >= window])
            or _lacks(marked, [it for it in entries if it.key or it.pinned])
        )
        kept = checks or position.check
        snapshot = Snapshot(position, base or position.offset, window, kept, blog, entries)
        return _Found(snapshot, is_damaged)

    def _stored(
        self, slug: str, fields: Sequence[bytes | None], held: Blog | None
    ) -> tuple[Blog, Position] | None:
        """Return header and position; None for an unknown blog. Raises Damaged."""
        parts = fields[:4]
        stored = decode_stored_blog(*parts)
        if not stored:
            return None
        if isinstance(stored, Damage):
            error = self._damaged(slug, stored.why)
            epoch, offset, check, _ = parts
            if not held or epoch is None or offset is None or check is None:
                raise error
            return held, decode_position(epoch, offset, check)
        return stored.blog, stored.position

    def _damaged(self, slug: str, why: str) -> Damaged:
        """Log that a blog's header or chain is damaged, and return the error to raise."""
        self.entries.damage.note(slug, "its header", why)
        return Damaged(f"The header of the blog {slug} is damaged.")

    async def _entries(self, slug: str, top: int, listed: Listed, changed: Listed) -> list[Entry]:
        """Return the entries of indexes that were read when the blog was at offset `top`."""
        orders: dict[str, int | None] = dict.fromkeys(_ids(changed))
        found = await self.entries.by_id(slug, orders | _ids(listed))
        # An entry above `top` has changed since. `repair` returns it.
        return [shown(entry) for entry in found if (entry.offset or 0) <= top]

    async def repair(self, slug: str, position: Position) -> Changes | Moved:
        """Return the changes after a worker's position, or why repair.lua cannot return them.

        A damaged header is left out: a worker that has an earlier one goes on with it.
        """
        found = await self.rebuilding.reading(
            slug,
            lambda: self._repair(slug, position),
            lambda it: isinstance(it, Changes) and differs(it.records),
            compare=True,
        )
        if isinstance(found, Changes):
            self.entries.damage.entries(slug, found.records)
        return found

    async def _repair(self, slug: str, position: Position) -> Changes | Moved:
        keys = [key(slug, name) for name in ("blog", "chain", "entries", "changed")]
        status, *rest = await self._run(slug, _REPAIR, keys, position, BATCH)
        async with store_errors():  # raises Damaged for checks that do not decode
            if status != b"ok":
                return Moved(status.decode())
            offset, checks, *changed = rest
            top = Position(position.epoch, offset, checks[-8:].decode() or position.check)
            decoded = checks.decode()
            if checks and not _CHECKS.fullmatch(checks):
                raise ValueError("no checks")
        triples = zip(changed[::3], changed[1::3], changed[2::3], strict=True)
        records = [it for triple in triples if (it := self._record(slug, *triple))]
        return Changes(position.offset, position.check, top, decoded, records)

    def _record(self, slug: str, member: bytes, score: bytes, raw: bytes | None) -> Record | None:
        """Return a changed record; None for a damaged header and for what is no id of an entry."""
        if member == BLOG_ID.encode():
            return self._header(slug, raw)
        id = entry_id(member)
        if not id:
            self.entries.damage.members(slug, "changed", [member])
            return None
        return decode_published(raw, id, index_number(float(score)))

    def _header(self, slug: str, raw: bytes | None) -> Blog | None:
        try:
            return decode_blog(raw or b"")
        except DECODE_ERRORS as error:
            self.entries.damage.note(slug, "its header", why_damaged(error))
            return None

    @rebuilds
    async def rotate(self, slug: str, position: Position) -> bool:
        """Begin a new epoch if the stored history differs from the worker's at `position`.

        Return whether a new epoch began: False when another worker began one before. Raises
        StoreRefuses when the store's user may not write.
        """
        keys = [key(slug, name) for name in ("blog", "chain", "changed")]
        publish = "SPUBLISH" if self.nodes.is_cluster else "PUBLISH"
        more = new_id("", 6), channel(slug), publish
        reply = await self._run(slug, _ROTATE, keys, position, *more)
        scripts.check_permitted(reply)
        return bool(reply)

    @queries_store
    async def _run(
        self, slug: str, script: str, keys: list[str], position: Position, *more: str | int
    ) -> Any:
        redis = self.nodes.at(slug)
        return await redis.eval(script, len(keys), *keys, *position, *more)

    @queries_store
    async def heads(self, slugs: Sequence[str]) -> Heads:
        """Return each blog's position in the store; None for a blog that the store lacks.

        Queries every node of a cluster, also without slugs, to learn whether each node answers. The
        result's `unreachable` has the errors of the nodes that do not answer. Leaves out blogs on
        these nodes, and corrupt blogs.
        """
        found, unreachable = await self.nodes.each(slugs, _read_heads)
        positions = {s: head for s, head in found.items() if not isinstance(head, Damage)}
        return Heads(positions, unreachable)

    async def older(self, slug: str, before: int | None, limit: int) -> list[Entry]:
        """Return up to `limit` entries first published before offset `before`, the newest first.

        When `before` is None, return the newest entries.
        """
        return await self.entries.below(slug, before, limit)

    async def newer(self, slug: str, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries first published after offset `after`, the oldest first."""
        return await self.entries.above(slug, after, limit)

    async def entry(self, slug: str, id: str) -> Entry | None:
        """Return a published entry, or a deleted one's tombstone; None if never published."""
        return await self.entries.published(slug, id)

    async def front(self, before: str | None, limit: int) -> tuple[list[Blog], str | None] | None:
        """Return a page of the home page, and the `before` of the next page (`Blogs.front`)."""
        page = await self.blogs.front(before, limit)
        return ([stored.blog for stored in page.blogs], page.next) if page else None

    @queries_store
    async def probe(self, name: str) -> None:
        """Publish an empty message to a channel, by which `Follower` tests a pub/sub connection."""
        publish = "SPUBLISH" if self.nodes.is_cluster else "PUBLISH"
        await self.nodes.at(name).execute_command(publish, name, b"")


async def _read_heads(
    redis: Client, slugs: Sequence[str]
) -> list[Position | Damage | None | Exception]:
    """Return a position for each slug, in the same order; all blogs are on this one server."""
    heads: list[Position | Damage | None | Exception] = []
    if not slugs:
        await clock_of(redis)  # MISCONF refuses PING
    for i in range(0, len(slugs), BATCH):
        pipeline = redis.pipeline(transaction=False)
        for slug in slugs[i : i + BATCH]:
            pipeline.hmget(key(slug, "blog"), "epoch", "offset", "check")
        heads += [_head(reply) for reply in await pipeline.execute(raise_on_error=False)]
    return heads


def _head(reply: list[bytes] | Exception) -> Position | Damage | None | Exception:
    """Return the position in a reply, or the error. Return None for a blog that does not exist."""
    if isinstance(reply, Exception):
        return Damage(str(reply)) if str(reply).startswith("WRONGTYPE") else reply
    try:
        return _position(*reply) if any(reply) else None
    except DECODE_ERRORS as error:
        return Damage(why_damaged(error))


def _position(epoch: bytes, offset: bytes, check: bytes) -> Position:
    """Return a position that may be impossible: it differs from the worker's, which then reads."""
    return Position(epoch.decode(), int(offset), check.decode())


def _checks(chain: bytes | None, position: Position) -> str:
    """Return the newest checks of a chain; "" unless it has one for each change."""
    length = 8 * min(position.offset, KEPT_CHANGES + 1)
    is_intact = chain and len(chain) == length and _CHECKS.fullmatch(chain)
    checks = chain.decode() if chain and is_intact else ""
    return checks if checks.endswith(position.check) else ""


def _lacks(listed: Listed, entries: Sequence[Entry]) -> bool:
    """Return whether an index lacks an entry that readers see, or has a member that is no id.

    `listed` are the index's newest members, MARKED_MAX at most.
    """
    ids = _ids(listed)
    lowest = min(ids.values(), default=0) if len(listed) >= MARKED_MAX else 0
    shown = (it for it in entries if not it.deleted and (it.order or 0) >= lowest)
    return len(ids) < len(listed) or any(it.id not in ids for it in shown)


def _ids(listed: Listed) -> dict[str, int]:
    return {id: index_number(score) for it, score in listed if (id := entry_id(it))}


def shown(entry: Entry) -> Entry:
    """Return an entry without its Markdown, its author and who saved it: readers never get them.

    They would be a third of the memory that a worker needs for a blog.
    """
    if isinstance(entry, DamagedEntry):
        return entry
    byline = entry.byline or _NO_BYLINE
    unread = {"body": None, "author": None, "author_name": None, "saved_by": None, "saved_at": None}
    return msgspec.structs.replace(entry, byline=byline, **unread)


def brought_forward(snapshot: Snapshot, changes: Changes) -> Snapshot:
    """Return the snapshot with later changes applied."""
    entries = {entry.id: entry for entry in snapshot.entries}
    entries |= {record.id: record for record in changes.records if isinstance(record, Entry)}
    blogs = [record for record in changes.records if isinstance(record, Blog)]
    return snapshot._replace(
        position=changes.position,
        checks=snapshot.checks + changes.checks,
        blog=blogs[-1] if blogs else snapshot.blog,
        entries=[*entries.values()],
    )
