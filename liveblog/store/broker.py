"""Our door to Redis for blogs: the editor's writes, and what workers read.

A blog's keys share one hash tag (`lb:{slug}:…`), so all of a script's keys are on one node. Records
are stored as the exact bytes that were announced: stamps the store gave (offset, order, times),
then the fields the editor's side made.

Rules: nothing here knows hubs, readers or HTTP. Everything that Redis cannot answer is StoreDown.
What asks the store may run twice, when a cluster turns out to be laid out otherwise (`_asking`).
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, wraps
from importlib.resources import files
from typing import Any, Concatenate, Final, Literal, NamedTuple, ParamSpec, TypeVar

import msgspec
import orjson
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from liveblog.blog.model import (
    BLOG_ID,
    DRAFTS_MAX,
    REVISIONS_MAX,
    STAMPED,
    Blog,
    Entry,
    Position,
    new_id,
)
from liveblog.blog.problem import NONSENSE, Damaged, StoreDown
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
from liveblog.store.nodes import EACH_WITHIN_S, Node, Nodes

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

BATCH: Final = 500  # records in one answer of the store, at most
REMEMBERED_S: Final = 24 * 3600  # idempotency keys
REPLICA_WAIT_MS: Final = 1_000
TOUCH_WITHIN_S: Final = 1.0  # a confirmed write does not wait longer for the list of blogs
INDEX: Final = "lb:blogs"
# By the name of the node: set while a takedown's text may still stand in its append-only file, and
# which of these its last rewrite was for, in which run of the server. Not on the node itself, whose
# keys go elsewhere with their slots.
REWRITES: Final = "lb:rewrites"
REWRITING: Final = "lb:rewriting"
REVISIONS_AT_ONCE: Final = 50
LOAD_TRIES_MAX: Final = 5
DUE_AT_ONCE: Final = 20  # scheduled entries of one blog looked at in one pass

_SCRIPTS = {
    name: files("liveblog.store").joinpath(f"{name}.lua").read_text()
    for name in ("publish", "repair", "rotate")
}
_FORGET = """
local wanted = redis.call('HGET', KEYS[1], ARGV[1])
return wanted == ARGV[2] and redis.call('HDEL', KEYS[1], ARGV[1])
"""
_UNSCHEDULE = """
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or redis.call('HGET', KEYS[2], ARGV[1])
return (stored and redis.sha1hex(stored) or '') == ARGV[2] and redis.call('ZREM', KEYS[3], ARGV[1])
"""
_KEYS = ("blog", "chain", "entries", "changed", "order", "marked", "drafts", "due")
_CONTENT = tuple(name for name in Entry.__struct_fields__ if name not in STAMPED)
_entry_of = msgspec.json.Decoder(Entry).decode
_blog_of = msgspec.json.Decoder(Blog).decode


def key(slug: str, name: str) -> str:
    return f"lb:{{{slug}}}:{name}"


def channel(slug: str) -> str:
    return key(slug, "changes")


@asynccontextmanager
async def asking() -> AsyncIterator[None]:
    """Turn whatever Redis cannot do now into StoreDown, and what makes no sense into Damaged."""
    try:
        yield
    except (AskError, ClusterDownError, ReadOnlyError, TryAgainError) as error:
        raise StoreDown(f"the store is being rearranged: {error}") from error
    except ResponseError as error:
        log.error("the store refused: %s", error)
        raise StoreDown(str(error)) from error
    except NONSENSE as error:
        log.exception("the store holds something that makes no sense")
        raise Damaged(f"what is stored makes no sense: {error!r}") from error
    except (RedisError, OSError) as error:
        raise StoreDown(f"{type(error).__name__}: {error}") from error


def _asking(
    method: "Callable[Concatenate[Broker, P], Awaitable[T]]",
) -> "Callable[Concatenate[Broker, P], Coroutine[Any, Any, T]]":
    """Have a method that asks the store run again where a cluster is laid out otherwise by now.

    What the store cannot do then either is StoreDown. Scripts that write find what they wrote the
    first time.
    """

    @wraps(method)
    async def asked(self: "Broker", /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with asking():
            return await self.nodes.ask(lambda: method(self, *args, **kwargs))

    return asked


# -- records and messages --------------------------------------------------------------------------


def decode_record(raw: bytes) -> Record:
    """Return the Blog or Entry that stored bytes are.

    JSON escapes quotes, so no text can look like the header's id.
    """
    return _blog_of(raw) if b'"id":"#blog"' in raw else _entry_of(raw)


def decode_message(raw: bytes) -> Changes | None:
    """Return what a pub/sub message says, None when it is not ours or its checks do not fit.

    `epoch first last previous check`, then one record a line.
    """
    try:
        head, *records = raw.split(b"\n")
        epoch, first, last, previous, check = head.decode("ascii").split(" ")
        checks, at = "", previous
        for record in records:
            at = hashlib.sha1(at.encode() + record, usedforsecurity=False).hexdigest()[:8]
            checks += at
        if at != check or len(records) != int(last) - int(first) + 1:
            return None
        position = Position(epoch, int(last), check)
        return Changes(
            int(first) - 1, previous, position, checks, [decode_record(r) for r in records]
        )
    except NONSENSE:
        return None


def entry_record(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _CONTENT}


def blog_record(blog: Blog) -> dict[str, Any]:
    left_out = (
        ("offset", "updated_at") if blog.created_at else ("offset", "updated_at", "created_at")
    )
    fields = {n: getattr(blog, n) for n in Blog.__struct_fields__ if n not in left_out}
    return {"id": BLOG_ID, **msgspec.to_builtins(fields)}


class Stored(NamedTuple):
    """An entry as read.

    `raw` is what a write compares with, `revisions` how many earlier ones are kept.
    """

    entry: Entry
    raw: bytes
    revisions: int


class Stand(NamedTuple):
    """A blog as read, at its position; `raw` is the header's record."""

    blog: Blog
    position: Position
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write for publish.lua, whose head explains the fields."""

    op: Literal["create", "header", "number", "keep"]
    id: str
    seen: bytes | None
    record: dict[str, Any]
    request: str
    idem: str
    status: int = 200
    fresh: bool = False
    history: Literal["push", "pop", "erase", ""] = ""
    published_at: int | None = None
    order: int | None = None
    listed: bool = False
    marked: bool = False
    due: int | None = None
    rotate: bool = False
    blog_status: str = ""  # a header's
    position: Position | None = None  # what a "keep" answers
    revision: int = 0
    erased: int = 0

    def arguments(self, slug: str) -> list[Any]:
        """Return the script's ARGV."""
        values = {
            "op": self.op,
            "request": self.request,
            "ttl_s": REMEMBERED_S,
            "id": self.id,
            "seen": _digest(self.seen),
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
            "status": self.status,
            "position": f'"{self.position}"' if self.position else "null",
            "revision": self.revision,
            "erased": self.erased,
            "revisions_max": REVISIONS_MAX,
            "channel": channel(slug),
        }
        return [part for pair in values.items() for part in pair]


def _digest(seen: bytes | None) -> str:
    return hashlib.sha1(seen, usedforsecurity=False).hexdigest() if seen else ""


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value


class Committed(NamedTuple):
    """A write that happened: the record as stored; `position` is None when it took no offset."""

    record: Record
    position: Position | None


class Known(msgspec.Struct):
    """The first result of a call whose idempotency key is remembered."""

    status: int
    id: str
    revision: int
    position: str | None
    revisions_erased: int


Refusal = Literal["other", "exists", "absent", "stale", "ended", "full"]


class Nonsense(NamedTuple):
    """Why nothing can be said of a blog, though the server that keeps it answers."""

    why: str


class Due(NamedTuple):
    """A scheduled entry that is due at `now`, the store's time."""

    slug: str
    id: str
    now: int


@dataclass
class Broker:
    """Blogs in Redis or Valkey. All methods raise StoreDown when it cannot be asked."""

    nodes: Nodes
    wait_for_replica: bool = False

    def __post_init__(self) -> None:
        self._publish = "SPUBLISH" if self.nodes.is_cluster else "PUBLISH"

    # -- the editor's side

    async def commit(self, slug: str, write: Write) -> Committed | Known | Refusal:
        """Run publish.lua.

        With `wait_for_replica`, StoreDown ("unconfirmed") also when no replica confirmed in time.
        """
        async with asking():  # what could not be read again is never stored
            decode_record(orjson.dumps(write.record | {"id": write.id}))
        return await self._commit(slug, write)

    async def _commit(self, slug: str, write: Write) -> Committed | Known | Refusal:
        names = [*_KEYS, f"rev:{write.id}", f"idem:{write.idem}"]
        keys = [key(slug, name) for name in names]
        arguments = [*write.arguments(slug), "publish", self._publish]
        answer = await self._durably("publish", keys, arguments)
        if answer[0] == b"known":
            await self._touch(slug)  # the answer to the first call was perhaps lost before that
            async with asking():  # it may make no sense
                return msgspec.json.decode(answer[1], type=Known)
        if answer[0] != b"ok":
            refusal: Refusal = answer[0].decode()
            return refusal
        record = decode_record(answer[4])
        if write.op == "keep":
            await self._touch(slug)  # no activity, but the schedule asks only listed blogs
            return Committed(record, None)
        await self._touch(slug, record.updated_at)
        return Committed(record, Position(answer[1].decode(), int(answer[2]), answer[3].decode()))

    async def known(self, slug: str, idem: str, request: str) -> Committed | Known | Refusal | None:
        """Return the first result of a remembered call, "other" for another one under its key.

        None when it is not. The script answers, so that a WAIT covers what it remembers; "stale":
        forgotten just now.
        """
        if not await self._exists(key(slug, f"idem:{idem}")):
            return None
        nothing = Write(op="keep", id="", seen=b"-", record={}, request=request, idem=idem)
        return await self._commit(slug, nothing)

    async def _durably(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        if not self.wait_for_replica:
            return await self._run(name, keys, arguments)
        answer, confirmed = await self._run_and_wait(name, keys, arguments)
        if confirmed < 1 and answer[0] in (b"ok", b"known"):
            raise StoreDown("unconfirmed: no replica acknowledged the write in time")
        return answer

    @_asking
    async def _run(self, name: str, keys: list[str], arguments: Sequence[Any]) -> Any:
        return await self.nodes.at(keys[0]).eval(_SCRIPTS[name], len(keys), *keys, *arguments)

    @_asking
    async def _run_and_wait(self, name: str, keys: list[str], arguments: Sequence[Any]) -> Any:
        # One pipeline, so one connection: WAIT speaks of what its own connection wrote.
        pipeline = self.nodes.at(keys[0]).pipeline(transaction=False)
        pipeline.eval(_SCRIPTS[name], len(keys), *keys, *arguments)
        pipeline.execute_command("WAIT", 1, REPLICA_WAIT_MS)
        return await pipeline.execute()

    async def _touch(self, slug: str, at: int | None = None) -> None:
        """Note the activity; without `at` only that there is the blog, whose place stays.

        Best effort: the index is rebuilt at start, and the write itself is done.
        """
        try:
            async with asyncio.timeout(TOUCH_WITHIN_S):
                await self.nodes.ask(
                    lambda: self._index(slug, at) if at is not None else self._index_again(slug)
                )
        except (RedisError, OSError) as error:
            log.warning("the list of blogs was not updated: %s: %s", type(error).__name__, error)

    async def _index(self, slug: str, at: int) -> None:
        await self.nodes.at(INDEX).zadd(INDEX, {slug: at}, gt=True)

    @_asking
    async def stand(self, slug: str) -> Stand | None:
        """Return a blog's header and position; None when there is no such blog."""
        [found] = await _stands(self.nodes.at(slug), [slug])
        if isinstance(found, Exception):
            raise found
        return found

    @_asking
    async def blogs(self, limit: int = BATCH, of: Sequence[str] = ()) -> list[Stand]:
        """Return the blogs with the newest activity first, `of` these slugs if there are any.

        Those whose part of a cluster is away are left out.
        """
        slugs = await self._by_activity(of) if of else await self._slugs(limit)
        found, away = await self.nodes.each(slugs, _stands)
        if away:
            log.warning("the list of blogs has not all: %s", away)
        return [stand for slug in slugs if (stand := found.get(slug))]

    async def _by_activity(self, slugs: Sequence[str]) -> list[str]:
        scores = await self.nodes.at(INDEX).zmscore(INDEX, [*slugs])
        found = [(at, slug) for at, slug in zip(scores, slugs, strict=True) if at is not None]
        return [slug for _, slug in sorted(found, reverse=True)]

    async def _slugs(self, limit: int) -> list[str]:
        found = await self.nodes.at(INDEX).zrevrange(INDEX, 0, limit - 1)
        return [slug.decode(errors="replace") for slug in found]

    @_asking
    async def reindex(self) -> None:
        """Put blogs into the index that a lost best-effort write left out."""
        for node in self.nodes.everyone():
            async for name in node.redis.scan_iter(match="lb:{*}:blog", count=1000):
                await self._index_again(name.decode(errors="replace")[4:-6])

    async def _index_again(self, slug: str) -> None:
        """Put one blog into the index, unless it cannot be read: that must not keep others out."""
        try:
            stand = await self.stand(slug)
        except StoreDown as error:
            log.warning("blog %s is not put into the list of blogs: %s", slug, error)
            return
        if stand:
            await self._index(slug, stand.blog.updated_at)

    @_asking
    async def stored(self, slug: str, id: str) -> Stored | None:
        """Return an entry, draft or tombstone; None when the id was never used."""
        pipeline = self.nodes.at(slug).pipeline(transaction=True)
        pipeline.hget(key(slug, "entries"), id)
        pipeline.hget(key(slug, "drafts"), id)
        pipeline.llen(key(slug, f"rev:{id}"))
        entry, draft, revisions = await pipeline.execute()
        raw = entry or draft
        return Stored(_entry_of(raw), raw, revisions) if raw else None

    @_asking
    async def earlier(self, slug: str, id: str, revision: int | None = None) -> Entry | None:
        """Return an earlier revision, the latest when None; None when it is not kept."""
        for start in range(0, REVISIONS_MAX, REVISIONS_AT_ONCE):
            end = start + REVISIONS_AT_ONCE - 1
            raws = await self.nodes.at(slug).lrange(key(slug, f"rev:{id}"), start, end)
            for entry in map(_entry_of, raws):
                if revision in (None, entry.revision):
                    return entry
            if len(raws) < REVISIONS_AT_ONCE:
                break
        return None

    @_asking
    async def positions(self, slug: str, entries: Sequence[Entry]) -> list[Position | None]:
        """Return the positions of the entries' last changes, None for what was never published."""
        pipeline = self.nodes.at(slug).pipeline(transaction=True)
        pipeline.hget(key(slug, "blog"), "epoch")
        for entry in entries:
            at = (entry.offset or 1) * 8
            pipeline.getrange(key(slug, "chain"), at - 8, at - 1)
        epoch, *checks = await pipeline.execute()
        return [
            Position(epoch.decode(), entry.offset, check.decode()) if entry.offset else None
            for entry, check in zip(entries, checks, strict=True)
        ]

    @_asking
    async def listed(self, slug: str, before: int | None, limit: int) -> list[Entry]:
        """Return published entries, the highest order first, below order `before` when given."""
        top, redis = "+inf" if before is None else f"({before}", self.nodes.at(slug)
        ids = await redis.zrevrangebyscore(key(slug, "order"), top, "-inf", 0, limit)
        return await self._entries(slug, "entries", ids)

    @_asking
    async def drafts(self, slug: str) -> list[Entry]:
        """Return everything unpublished, the newest alteration first.

        Tombstones are left out, and what makes no sense: one must not hide the rest.
        """
        raws = await self.nodes.at(slug).hgetall(key(slug, "drafts"))
        drafts = [_draft(slug, id, raw) for id, raw in raws.items()]
        living = [draft for draft in drafts if draft and not draft.deleted]
        return sorted(living, key=lambda e: (e.updated_at, e.id), reverse=True)

    async def _entries(self, slug: str, name: str, ids: Sequence[bytes]) -> list[Entry]:
        found: list[Entry] = []
        for i in range(0, len(ids), BATCH):
            raws = await self.nodes.at(slug).hmget(key(slug, name), ids[i : i + BATCH])
            found += [_entry_of(raw) for raw in raws if raw]
        return found

    @_asking
    async def due(self, passed: Mapping[str, int] | None = None) -> list[Due]:
        """Return what is due by the store's clock, in all blogs that have not ended.

        In a cluster by each node's own, with which it stamps, and without blogs that are away. Of
        each blog DUE_AT_ONCE, the first due first, after as many as `passed` says of it.
        """
        ask = partial(_due, passed=passed or {})
        found, away = await self.nodes.each(await self._slugs(0), ask)
        if away:
            log.debug("the schedule of some blogs waits: %s", away)
        return [due for dues in found.values() for due in dues]

    @_asking
    async def unschedule(self, slug: str, id: str, seen: bytes | None) -> None:
        """Take an id out of the schedule if `seen`, no scheduled entry, is still its record."""
        keys = [key(slug, name) for name in ("entries", "drafts", "due")]
        await self.nodes.at(slug).eval(_UNSCHEDULE, len(keys), *keys, id, _digest(seen))

    @_asking
    async def want_rewrite(self, slug: str, *, again: bool) -> None:
        """Note that erased text must leave the append-only file; `rewrite_if_wanted` sees to it.

        Noted for the server that has the blog, whose file it is. `again`: the takedown itself was
        done before, and may have been noted then.
        """
        name, redis = self.nodes.node(slug).name, self.nodes.at(REWRITES)
        await (redis.hsetnx if again else redis.hset)(REWRITES, name, new_id("", 12))

    async def rewrite_if_wanted(self) -> bool:
        """Have each append-only file rewritten that a takedown asks for; called again and again.

        Forgotten only when a rewrite that this asked for, in the same run of the server, has ended
        well, or when the store keeps no such file or forbids asking. Says whether any was wanted.
        One server that is away does not keep the others' from being rewritten.
        """
        wanted = await self._wanted_rewrites()
        answers = await asyncio.gather(
            *(self._rewrite_on(*each) for each in wanted), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return bool(answers)

    @_asking
    async def _wanted_rewrites(self) -> list[tuple[Node, bytes]]:
        """Return the servers whose files are to be rewritten, with the marks that ask for it."""
        async with asyncio.timeout(EACH_WITHIN_S):  # the schedule waits for it
            wanted = await self.nodes.at(REWRITES).hgetall(REWRITES)
        everyone = self.nodes.everyone()
        return [(it, mark) for it in everyone if (mark := wanted.get(it.name.encode()))]

    @_asking
    async def _rewrite_on(self, node: Node, wanted: bytes) -> None:
        info = await _persistence(node.redis)
        if info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"):
            return
        asked = b"%b %b" % (wanted, str(info.get("run_id", "")).encode())
        was_asked = await self.nodes.at(REWRITING).hget(REWRITING, node.name) == asked
        has_ended = was_asked and info.get("aof_last_bgrewrite_status") == "ok"
        if not has_ended and info.get("aof_enabled") != 0 and await _rewrite(node):
            await self.nodes.at(REWRITING).hset(REWRITING, node.name, asked)
            if info:  # where it is forbidden, that it was asked for is all that can be known
                return
        await self.nodes.at(REWRITES).eval(_FORGET, 1, REWRITES, node.name, wanted)

    # -- the worker's side (the hub's `Source`)

    async def load(self, slug: str) -> Snapshot | None:
        """Return a blog as a worker holds it, one state of the store.

        None when there is no such blog.

        The ids and checks come from one step, the records in batches, and what moved meanwhile from
        a repair read. Raises StoreDown also when the blog moves too fast for that.
        """
        for _ in range(LOAD_TRIES_MAX):
            snapshot = await self._read(slug)
            if not snapshot:
                return None
            moved = await self.repair(slug, snapshot.position)
            if isinstance(moved, Changes):
                return _brought_forward(snapshot, moved)
        raise StoreDown("the blog changes faster than it can be loaded")

    async def exists(self, slug: str) -> bool:
        """Say whether there is such a blog: one cheap question before a load."""
        return await self._exists(key(slug, "blog"))

    @_asking
    async def _exists(self, name: str) -> bool:
        return bool(await self.nodes.at(name).exists(name))

    @_asking
    async def _read(self, slug: str) -> Snapshot | None:
        pipeline = self.nodes.at(slug).pipeline(transaction=True)
        pipeline.hmget(key(slug, "blog"), "epoch", "offset", "header", "base")
        pipeline.getrange(key(slug, "chain"), -8 * (KEPT_CHANGES + 1), -1)
        pipeline.zrevrange(key(slug, "order"), 0, WINDOW - 1, withscores=True)
        pipeline.zrevrange(key(slug, "marked"), 0, MARKED_MAX - 1)
        pipeline.zrevrange(key(slug, "changed"), 0, KEPT_CHANGES - 1)
        (epoch, offset, header, base), chain, listed, *ids = await pipeline.execute()
        if not epoch:
            return None
        ids.append([id for id, _ in listed])
        wanted = list({id: None for some in ids for id in some if id != BLOG_ID.encode()})
        entries = await self._entries(slug, "entries", wanted)
        top = int(offset)
        if len(chain) != 8 * min(top, KEPT_CHANGES + 1):
            raise ValueError(f"{slug} has no check for each of its {top} changes")
        position = Position(epoch.decode(), top, chain[-8:].decode())
        held = [entry for entry in entries if (entry.offset or 0) <= top]
        window = int(listed[-1][1]) if len(listed) == WINDOW else 0
        return Snapshot(position, int(base), window, chain.decode(), _blog_of(header), held)

    async def repair(self, slug: str, position: Position) -> Changes | Moved:
        """Return what a worker at `position` lacks, or why that cannot be said (see repair.lua)."""
        keys = [key(slug, name) for name in ("blog", "chain", "entries", "changed")]
        answer = await self._run("repair", keys, [*position, BATCH])
        async with asking():  # the records may make no sense
            if answer[0] != b"ok":
                return Moved(answer[0].decode())
            _, offset, checks, *raws = answer
            records = [decode_record(raw) for raw in raws]
        top = Position(position.epoch, offset, checks[-8:].decode() or position.check)
        return Changes(position.offset, position.check, top, checks.decode(), records)

    async def rotate(self, slug: str, position: Position) -> bool:
        """Begin a new epoch if the store's history still forks from `position`.

        False when it does not.
        """
        keys = [key(slug, name) for name in ("blog", "chain", "changed")]
        arguments = [*position, new_id("", 6), channel(slug), self._publish]
        return bool(await self._run("rotate", keys, arguments))

    @_asking
    async def heads(self, slugs: Sequence[str]) -> Heads:
        """Return where the store is, for each blog; None for one it lacks.

        Asks even when there are none. In a cluster every node is asked: blogs on one that gives no
        answer are left out, and `away` says why. So is a blog whose keys make no sense, but no part
        of the store is away for that.
        """
        found, away = await self.nodes.each(slugs, _heads)
        return Heads({s: head for s, head in found.items() if not isinstance(head, Nonsense)}, away)

    async def older(self, slug: str, before: int | None, limit: int) -> list[Entry]:
        """Return published entries below order `before` (None: the newest), the highest first."""
        return await self.listed(slug, before, limit)

    @_asking
    async def newer(self, slug: str, after: int, limit: int) -> list[Entry]:
        """Return the published entries just above order `after`, the lowest first."""
        redis = self.nodes.at(slug)
        ids = await redis.zrangebyscore(key(slug, "order"), f"({after}", "+inf", 0, limit)
        return await self._entries(slug, "entries", ids)

    @_asking
    async def entry(self, slug: str, id: str) -> Entry | None:
        """Return a published entry or its tombstone; None for an id that was never published."""
        raw = await self.nodes.at(slug).hget(key(slug, "entries"), id)
        return _entry_of(raw) if raw else None

    async def recent(self, limit: int) -> list[Blog]:
        """Return the blogs with the newest activity first."""
        return [stand.blog for stand in await self.blogs(limit)]

    @_asking
    async def probe(self, name: str) -> None:
        """Publish to a channel of the follower's own, over the pool that commands use."""
        await self.nodes.at(name).execute_command(self._publish, name, b"")


async def _persistence(redis: Any) -> dict[str, Any]:
    """Return what a server says of its file and its run; nothing where it forbids INFO."""
    try:
        said: dict[str, Any] = await redis.info("persistence") | await redis.info("server")
        return said
    except ResponseError as error:
        log.warning("whether a rewrite has ended cannot be read: %s", error)
        return {}


async def _rewrite(node: Node) -> bool:
    """Ask for a rewrite; False when the server forbids it."""
    try:
        await node.redis.bgrewriteaof()
    except ResponseError as error:
        if "in progress" in str(error):
            return True
        log.error("erased text stays in the store's file until its next rewrite: %s", error)
        return False
    return True


# -- what is asked of one server about several blogs; the answers in the order of the blogs


async def _stands(redis: Any, slugs: Sequence[str]) -> list[Stand | None | Exception]:
    pipeline = redis.pipeline(transaction=False)
    for slug in slugs:
        pipeline.hmget(key(slug, "blog"), "epoch", "offset", "check", "header")
    answers = await pipeline.execute(raise_on_error=False)
    return [it if isinstance(it, Exception) else _stand(*it) for it in answers]


async def _heads(redis: Any, slugs: Sequence[str]) -> list[Position | Nonsense | None | Exception]:
    heads: list[Position | Nonsense | None | Exception] = []
    if not slugs:
        await redis.ping()
    for i in range(0, len(slugs), BATCH):
        pipeline = redis.pipeline(transaction=False)
        for slug in slugs[i : i + BATCH]:
            pipeline.hmget(key(slug, "blog"), "epoch", "offset", "check")
        heads += [_head(answer) for answer in await pipeline.execute(raise_on_error=False)]
    return heads


def _head(answer: Any) -> Position | Nonsense | None | Exception:
    if isinstance(answer, Exception):
        return Nonsense(str(answer)) if str(answer).startswith("WRONGTYPE") else answer
    try:
        return _position(*answer) if any(answer) else None
    except NONSENSE as error:
        return Nonsense(str(error))


async def _due(
    redis: Any, slugs: Sequence[str], passed: Mapping[str, int]
) -> list[list[Due] | Exception]:
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for slug in slugs:
        pipeline.hget(key(slug, "blog"), "status")
        first = passed.get(slug, 0)
        pipeline.zrange(key(slug, "due"), first, first + DUE_AT_ONCE - 1, withscores=True)
    time, *answers = await pipeline.execute(raise_on_error=False)
    if isinstance(time, Exception):  # busy with a script: no part of it can be asked now
        raise time
    now = time[0] * 1000 + time[1] // 1000
    return [_due_at(now, *it) for it in zip(slugs, answers[::2], answers[1::2], strict=True)]


def _due_at(now: int, slug: str, status: Any, rows: Any) -> list[Due] | Exception:
    """Return what is due in a blog, or why one of the two answers about it is none."""
    for answer in (status, rows):
        if isinstance(answer, Exception):
            return answer
    # One that is not UTF-8 is told as it is: it can be asked for as little, and is Damaged then.
    found = [id.decode(errors="surrogateescape") for id, at in rows if at <= now]
    return [Due(slug, id, now) for id in found] if status != b"ended" else []


def _position(epoch: bytes, offset: bytes, check: bytes) -> Position:
    return Position(epoch.decode(), int(offset), check.decode())


def _stand(
    epoch: bytes | None, offset: bytes | None, check: bytes | None, header: bytes | None
) -> Stand | None:
    """Return a blog.

    None without one, and for a header that makes no sense: one must not hide the rest.
    """
    if not (epoch and offset and check and header):
        return None
    try:
        return Stand(_blog_of(header), _position(epoch, offset, check), header)
    except NONSENSE:
        log.exception("the store holds a blog that makes no sense: %.200r", header)
        return None


def _draft(slug: str, id: bytes, raw: bytes) -> Entry | None:
    """Return a draft, None for one that makes no sense."""
    try:
        return _entry_of(raw)
    except NONSENSE as error:
        log.error("blog %s: draft %r makes no sense: %r", slug, id, error)
        return None


def _brought_forward(snapshot: Snapshot, changes: Changes) -> Snapshot:
    """Return the snapshot with what changed since applied."""
    entries = {entry.id: entry for entry in snapshot.entries}
    entries |= {record.id: record for record in changes.records if isinstance(record, Entry)}
    blogs = [record for record in changes.records if isinstance(record, Blog)]
    return snapshot._replace(
        position=changes.position,
        checks=snapshot.checks + changes.checks,
        blog=blogs[-1] if blogs else snapshot.blog,
        entries=[*entries.values()],
    )
