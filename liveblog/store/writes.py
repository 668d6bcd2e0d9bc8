"""Writes of an editor: each is one call of publish.lua.

In one atomic step, the script compares the stored record with the record that the caller read,
numbers the change, stores the new record, and announces the change to all workers.

Rules: the only module that changes a blog for an editor. A call may run twice (`queries_store`):
the second run of the script finds the idempotency key of the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final, Generic, Literal, NamedTuple, Never, TypeVar, cast

import msgspec
import orjson

from liveblog.blog.model import (
    BLOG_ID,
    DRAFTS_MAX,
    PUBLISHED,
    REVISIONS_MAX,
    Blog,
    Entry,
    Position,
    new_id,
)
from liveblog.blog.problem import StoreDown
from liveblog.store.bin import BIN_MS, MOVED_MAX, move_tombstones
from liveblog.store.blogs import Blogs
from liveblog.store.codec import (
    StoredBlog,
    StoredEntry,
    blog_record,
    channel,
    digest,
    entry_record,
    key,
)
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store, store_errors

REMEMBERED_S: Final = 24 * 3600  # the life of a caller's Idempotency-Key
# The life of a key that this program makes for one call. The key only guards against a command that
# `Nodes.ask` or redis-py repeats after a lost reply: each of them once, within 20 s in all.
RETRIED_S: Final = 60
REPLICA_WAIT_MS: Final = 1_000
_SCRIPT: Final = files("liveblog.store").joinpath("publish.lua").read_text()
# The keys of a blog that the script uses, in the order of NAMES in publish.lua. The keys `rev`,
# `idem` and `binned` are added for each call.
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
    position: Position | None = None  # the entry's position, which the op "keep" does not change
    revision: int = 0
    erased: int = 0

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
        rotate=(blog.timezone, blog.language) != (was.timezone, was.language),
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

    Each method raises StoreDown when the write may or may not be stored.

    With `wait_for_replica`, methods also raise StoreDown when no replica confirms the write within
    REPLICA_WAIT_MS.
    """

    nodes: Nodes
    blogs: Blogs
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
        if not call.is_repeatable or not await self._exists(key(slug, f"idem:{call.idem}")):
            return None
        # No record has the hash of `seen`. So if the key has expired since `_exists`, the script
        # writes nothing and returns "stale".
        probe = Write(kind=Entry, op="keep", id="", seen=b"-", record={}, call=call)
        try:
            return cast(Outcome[Never], await self._commit(slug, probe))
        except Stale:
            return None

    async def _commit(self, slug: str, write: Write[R]) -> Outcome[R]:
        names = [*_KEYS, f"rev:{write.id}", f"idem:{write.call.idem}", f"bin:{write.id}"]
        keys = [key(slug, name) for name in names]
        publish = "SPUBLISH" if self.nodes.is_cluster else "PUBLISH"
        status, *rest = await self._durably(keys, [*write.arguments(slug), "publish", publish])
        if status == b"known":
            await self.blogs.touch(slug)  # the first call may have crashed before this step
            return await _first_outcome(rest[0])
        if status == b"stale":
            raise Stale
        if status != b"ok":
            raise Refused(status.decode())
        *committed, tombstones = rest
        if tombstones:
            await move_tombstones(self.nodes, slug, tombstones)
        return await self._committed(slug, write, *committed)

    async def _committed(
        self, slug: str, write: Write[R], epoch: bytes, offset: int, check: bytes, raw: bytes
    ) -> Outcome[R]:
        record = _decode(raw, write.kind)
        is_numbered = write.op != "keep"
        # A write that readers do not see leaves the blog's time in the list of blogs unchanged. But
        # the blog must be in the list, where the schedule looks for due entries.
        await self.blogs.touch(slug, record.updated_at if is_numbered else None)
        position = Position(epoch.decode(), int(offset), check.decode())
        return Outcome(
            status=write.status,
            id=write.id,
            revision=write.revision,
            position=position if is_numbered else write.position,
            revisions_erased=write.erased,
            record=record,
        )

    @queries_store
    async def _exists(self, name: str) -> bool:
        return bool(await self.nodes.at(name).exists(name))

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
        return await pipeline.execute()


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
