"""Writes of an editor: each is one call of publish.lua.

In one atomic step, the script compares the stored record with the record that the caller read,
numbers the change, stores the new record, and announces the change to all workers.

Rules: the only module that changes a blog for an editor. A call may run twice (`queries_store`):
the second run of the script finds the idempotency key of the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Literal, NamedTuple, Never, TypeVar, cast

import msgspec
import orjson

from liveblog.blog.model import (
    BLOG_ID,
    DRAFTS_MAX,
    PUBLISHED,
    REVISIONS_MAX,
    Blog,
    DamagedBlog,
    Entry,
    Position,
    new_id,
)
from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.store import scripts
from liveblog.store.agenda import STORED_WITHIN_MS, Agenda, clock_of
from liveblog.store.bin import BIN_MS, MOVED_MAX, move_tombstones
from liveblog.store.codec import (
    StoredBlog,
    StoredEntry,
    blog_record,
    channel,
    digest,
    entry_record,
    key,
)
from liveblog.store.condition import Condition
from liveblog.store.listing import LIVE, Listing
from liveblog.store.nodes import Nodes
from liveblog.store.queries import damaged_key, queries_store, store_errors
from liveblog.store.rebuilding import Rebuilding

REMEMBERED_S: Final = 24 * 3600  # the life of a caller's Idempotency-Key
# The life of a key that this program makes for one call. The key only guards against a command that
# `Nodes.ask` or redis-py repeats after a lost reply: each of them once, within 20 s in all.
RETRIED_S: Final = 60
REPLICA_WAIT_MS: Final = 1_000
_SCRIPT: Final = scripts.writing("publish")
# The keys of a blog that the script uses, in the order of NAMES in publish.lua. The keys `rev`,
# `idem`, `binned` and `kept` are added for each call.
_KEYS: Final = ("blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin")

R = TypeVar("R", Blog, Entry)
R_co = TypeVar("R_co", covariant=True)
Arguments = Sequence[str | bytes | int]
RefusalReason = Literal["other", "exists", "absent", "ended", "full"]


class Stale(Exception):
    """Raised when another write replaced the record after the caller had read the record.

    The caller reads the record again, and decides again what to write.
    """


class Refused(Exception):
    """Raised when publish.lua refuses a write. `why` is the reason, as the script names it."""

    def __init__(self, why: RefusalReason) -> None:
        super().__init__(why)
        self.why: Final = why


class CallKey(NamedTuple):
    """Identifies one write call of an editor.

    The store keeps the outcome of the call under the key `idem`. `request` is a hash of the call's
    arguments. `is_repeatable` is True when the caller sent an Idempotency-Key, and so may repeat
    the call.
    """

    idem: str
    request: str
    is_repeatable: bool = True

    @property
    def ttl_s(self) -> int:
        return REMEMBERED_S if self.is_repeatable else RETRIED_S


@dataclass(frozen=True, kw_only=True)
class Write(Generic[R]):
    """Holds the arguments of one call of publish.lua.

    The comment at the top of publish.lua explains each argument.
    """

    kind: type[R]  # Blog or Entry, the type of the record
    op: Literal["create", "header", "number", "keep"]
    id: str
    seen: bytes | None
    record: dict[str, object]
    call: CallKey
    status: int = 200
    fresh: bool = False
    history: Literal["push", "pop", "erase", ""] = ""
    published_at: int | None = None
    order: int | None = None
    listed: bool = False
    marked: bool = False
    due: int | None = None
    rotate: bool = False
    blog_status: str = ""
    makes_live: bool = False
    ends_live: bool = False  # the blog was live until this write
    reopens: bool = False  # the blog had ended before this write
    position: Position | None = None  # the entry's position, which the op "keep" does not change
    revision: int = 0
    erased: int = 0

    @property
    def look_at(self) -> int | None:
        """When the schedule must look at the blog after this write, 0 for now; None for never."""
        return 0 if self.reopens else self.due

    @property
    def is_announced(self) -> bool:
        """Whether the agenda or a list must have the blog before the store has this write."""
        return self.op == "create" or self.makes_live or self.look_at is not None

    def arguments(self, slug: str) -> Arguments:
        """Return the script's ARGV: name, value, name, value, …"""
        values: dict[str, str | bytes | int] = {
            "op": self.op,
            "request": self.call.request,
            "ttl_s": self.call.ttl_s,
            "id": self.id,
            "seen": digest(self.seen),
            "record": orjson.dumps(self.record),
            "epoch": new_id("", 6),
            "fresh": int(self.fresh),
            "history": self.history,
            "published_at": _or_empty(self.published_at),
            "order": _or_empty(self.order),
            "listed": int(self.listed),
            "marked": int(self.marked),
            "due": _or_empty(self.due),
            "rotate": int(self.rotate),
            "blog_status": self.blog_status,
            "drafts_max": DRAFTS_MAX,
            "bin_ms": BIN_MS,
            "moved_max": MOVED_MAX,
            "status": self.status,
            "position": f'"{self.position}"' if self.position else "null",
            "revision": self.revision,
            "erased": self.erased,
            "revisions_max": REVISIONS_MAX,
            "channel": channel(slug),
        }
        return [part for pair in values.items() for part in pair]


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value


def blog_write(
    op: Literal["create", "header"], stored: StoredBlog | None, blog: Blog, call: CallKey
) -> Write[Blog]:
    """Return the write that replaces the stored header.

    A new timezone or language changes the HTML of every entry, so readers must start over: the
    write begins a new epoch.
    """
    was = stored.blog if stored else blog
    return Write(
        kind=Blog,
        op=op,
        id=BLOG_ID,
        seen=stored.raw if stored else None,
        record=blog_record(blog),
        call=call,
        blog_status=blog.status,
        makes_live=blog.status == "live" and (not stored or was.status != "live"),
        ends_live=was.status == "live" != blog.status,
        reopens=was.status == "ended" != blog.status,
        rotate=isinstance(was, DamagedBlog)
        or (blog.timezone, blog.language) != (was.timezone, was.language),
    )


def entry_write(
    stored: StoredEntry | None, entry: Entry, call: CallKey, *, fresh: bool = False
) -> Write[Entry]:
    """Return the write that replaces the stored entry by `entry`.

    The write takes the next offset if readers see the change. The record of an unpublished entry
    keeps `published_at`, which an import may have stated.
    """
    is_numbered = entry.order is not None or entry.status in PUBLISHED
    is_shown = is_numbered and not entry.deleted
    kept: dict[str, object] = {} if is_numbered else {"published_at": entry.published_at}
    return Write(
        kind=Entry,
        op="number" if is_numbered else "keep",
        id=entry.id,
        seen=stored.raw if stored else None,
        record=entry_record(entry) | kept,
        call=call,
        fresh=fresh,
        published_at=entry.published_at,
        order=entry.order,
        listed=is_shown,
        marked=is_shown and (entry.key or entry.pinned),
        due=entry.publish_at if entry.status == "scheduled" and not entry.deleted else None,
        revision=entry.revision,
        erased=entry.revisions_erased,
    )


def unnumbered(write: Write[Entry], entry: Entry, position: Position | None) -> Write[Entry]:
    """Change a write of a published entry into one that takes no offset.

    Use it for a change that readers do not see, such as the takedown of an entry that was deleted
    before. The entry keeps its offset, `order`, time of publication and `position`.
    """
    numbers = {name: getattr(entry, name) for name in ("offset", "order", "published_at")}
    return replace(write, op="keep", record=entry_record(entry) | numbers, position=position)


class _Remembered(msgspec.Struct):
    """The outcome that publish.lua stores under an idempotency key."""

    status: int
    id: str
    revision: int
    position: str | None
    revisions_erased: int


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[R_co]):
    """The effect of a call on one record. A repeated call returns the effect of the first call.

    `record` is the record as stored; None for a repeated call, since the store does not keep texts
    under an idempotency key. `position` is the position of the record's last change that has an
    offset; None when no change of the record has one.
    """

    status: int
    id: str
    revision: int
    position: Position | None
    revisions_erased: int = 0
    record: R_co | None = None

    @property
    def is_replay(self) -> bool:
        """Return whether this is the outcome of a repeated call, which changed nothing."""
        return self.record is None


@dataclass
class Writes:
    """Calls publish.lua to change blogs.

    Each method raises StoreDown when the write may or may not be stored, and StoreRefuses when
    certainly no part of the call is stored, by no earlier attempt either.

    With `wait_for_replica`, methods also raise StoreDown when no replica confirms the write within
    REPLICA_WAIT_MS.
    """

    nodes: Nodes
    listing: Listing
    agenda: Agenda
    condition: Condition
    rebuilding: Rebuilding
    wait_for_replica: bool = False

    async def commit(self, slug: str, write: Write[R]) -> Outcome[R]:
        """Run publish.lua. Raises Stale, and Refused with the reason that the script returns."""
        # A record that does not decode raises Damaged here, before the script stores the record.
        async with store_errors():
            _decode(orjson.dumps(write.record | {"id": write.id}), write.kind)
        return await self._commit(slug, write)

    async def remembered(self, slug: str, call: CallKey) -> Outcome[Never] | None:
        """Return the outcome of the first call under this key; None when there was no such call.

        Raises Refused("other") when the key was used for another request. publish.lua reads the
        outcome, since a plain GET is no write, and WAIT confirms only writes. The script also sets
        the key's expiry, which is a write: a replica that confirms it has the outcome too.
        """
        if not call.is_repeatable or not await self._may_be_stored(slug, call):
            return None
        # No record has the hash of `seen`. So if the key has expired since `_exists`, the script
        # writes nothing and returns "stale".
        probe = Write(kind=Entry, op="keep", id="", seen=b"-", record={}, call=call)
        try:
            return cast(Outcome[Never], await self._commit(slug, probe))
        except Stale:
            return None

    async def _commit(self, slug: str, write: Write[R]) -> Outcome[R]:
        own = f"rev:{write.id}", f"idem:{write.call.idem}", f"bin:{write.id}", f"kept-of:{write.id}"
        keys = [key(slug, it) for it in _KEYS + own]
        publish = "SPUBLISH" if self.nodes.is_cluster else "PUBLISH"
        left = await self._live_time(slug) if write.ends_live else None
        try:
            expires = await self._announce(slug, write) if write.is_announced else ""
            arguments = [*write.arguments(slug), "expires", expires, "publish", publish]
            status, *rest = await self._accepted(slug, keys, arguments)
        except StoreRefuses as refused:
            if await self._may_be_stored(slug, write.call):
                raise StoreDown(f"{refused}; an earlier attempt may be stored") from refused
            raise
        if status == b"known":
            return await _first_outcome(rest[0])
        if status == b"stale":
            raise Stale
        if status != b"ok":
            raise Refused(status.decode())
        *committed, tombstones = rest
        if tombstones:
            await move_tombstones(self.nodes, slug, tombstones)
        return await self._committed(slug, write, left, *committed)

    async def _may_be_stored(self, slug: str, call: CallKey) -> bool:
        """Return whether an earlier attempt may have stored the outcome of a call.

        Return True for a repeatable call when the store forbids to look.
        """
        try:
            return await self._exists(key(slug, f"idem:{call.idem}"))
        except StoreRefuses:
            return call.is_repeatable

    async def _committed(
        self,
        slug: str,
        write: Write[R],
        left: float | None,
        epoch: bytes,
        offset: int,
        check: bytes,
        raw: bytes,
    ) -> Outcome[R]:
        record = _decode(raw, write.kind)
        is_numbered = write.op != "keep"
        if is_numbered:
            at, is_live = record.updated_at, write.makes_live
            await self.listing.touch(slug, at, is_live=is_live, left=left)
        position = Position(epoch.decode(), int(offset), check.decode())
        return Outcome(
            status=write.status,
            id=write.id,
            revision=write.revision,
            position=position if is_numbered else write.position,
            revisions_erased=write.erased,
            record=record,
        )

    async def _announce(self, slug: str, write: Write[R]) -> int:
        """Add the blog to the agenda and the lists, as the write makes necessary.

        Return the time after which publish.lua rejects the write as stale, by the clock of the
        blog's server. store/agenda.py explains the order of these steps.
        """
        asked = await self._time(slug)
        if write.look_at is not None:
            await self.agenda.add(slug, write.look_at)
        # A slug that is taken keeps its place in the list: publish.lua rejects the write.
        is_new = write.op == "create" and not await self._exists(key(slug, "blog"))
        is_live = write.makes_live and (is_new or write.op == "header")
        await self.listing.announce(slug, is_new=is_new, is_live=is_live)
        return asked + STORED_WITHIN_MS

    async def _live_time(self, slug: str) -> float | None:
        return (await self.listing.times(LIVE, [slug])).get(slug)

    @queries_store
    async def _time(self, slug: str) -> int:
        return await clock_of(self.nodes.at(slug))

    @queries_store
    async def _exists(self, name: str) -> bool:
        return bool(await self.nodes.at(name).exists(name))

    async def _accepted(self, slug: str, keys: list[str], arguments: Arguments) -> Any:
        """Run the script as `_durably` does, again after a damaged key was rebuilt.

        Raises StoreRefuses when the store refuses the write, or what rebuilds the key.
        """
        self.condition.check_durable()
        reply = await self._durably(keys, arguments)
        if reply[0] == b"damaged":
            await self.rebuilding.rebuild(slug, compare=True)
            reply = await self._durably(keys, [*arguments, "rebuilt", 1])
        if reply[0] == b"damaged":
            raise damaged_key(reply[1].decode(errors="replace"))
        scripts.check_permitted(reply)
        return reply

    async def _durably(self, keys: list[str], arguments: Arguments) -> Any:
        """Run the script. With `wait_for_replica` raise StoreDown when no replica confirms it."""
        if not self.wait_for_replica:
            return await self._run(keys, arguments)
        reply, confirmed = await self._run_and_wait(keys, arguments)
        if confirmed < 1 and reply[0] in (b"ok", b"known"):
            raise StoreDown("unconfirmed: no replica acknowledged the write in time")
        return reply

    @queries_store
    async def _run(self, keys: list[str], arguments: Arguments) -> Any:
        return await self.nodes.at(keys[0]).eval(_SCRIPT, len(keys), *keys, *arguments)

    @queries_store
    async def _run_and_wait(self, keys: list[str], arguments: Arguments) -> Any:
        # One pipeline, since WAIT covers only writes on its own connection.
        pipeline = self.nodes.at(keys[0]).pipeline(transaction=False)
        pipeline.eval(_SCRIPT, len(keys), *keys, *arguments)
        pipeline.execute_command("WAIT", 1, REPLICA_WAIT_MS)
        # redis-py would raise the error of a pipeline with another text.
        replies = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


def _decode(raw: bytes, kind: type[R]) -> R:
    return msgspec.json.decode(raw, type=kind)


async def _first_outcome(raw: bytes) -> Outcome[Never]:
    """Decode the outcome that publish.lua stored. Raises Damaged for a corrupt one."""
    async with store_errors():
        first = msgspec.json.decode(raw, type=_Remembered)
    return Outcome(
        status=first.status,
        id=first.id,
        revision=first.revision,
        position=Position.parse(first.position or ""),
        revisions_erased=first.revisions_erased,
    )
