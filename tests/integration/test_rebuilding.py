"""Each key of a blog damaged in each way, and each operation on it: whole success, or no change.

The table has every key and every field that a write or a read uses. After an operation, an audit
compares the numbering and all indexes with the records.
"""

import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
import pytest
from kit.alone import Seconds
from kit.contents import contents
from kit.waiting import until
from redis.asyncio import Redis

from liveblog.blog.instant import format_time
from liveblog.blog.model import SYSTEM, DamagedEntry, Entry
from liveblog.blog.problem import Damaged, Problem, StoreDown
from liveblog.blog.timeline import Changes, Moved, Timeline
from liveblog.editors.publishing import Publishing
from liveblog.editors.schedule import publish_due
from liveblog.store import source
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.connect import connect
from liveblog.store.rebuilding import AGAIN_S, Rebuilding

SLUG = "council"
SECRET = "Nobody may ever read this again"
NONE = b"\xff\xfe no JSON, no UTF-8"
Dump = dict[bytes, tuple[int, bytes]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def in_an_hour() -> str:
    return format_time(now_ms() + 3_600_000) or ""


@dataclass
class Room:
    """A blog with entries of every kind, and the names by which the tests know them."""

    redis: Redis
    broker: Broker
    publishing: Publishing
    ids: dict[str, str]
    dumped: Dump

    async def restore(self) -> None:
        """Put every key of the store back as it was before the first damage."""
        pipeline = self.redis.pipeline()
        pipeline.flushall()
        for name, (ttl_ms, value) in self.dumped.items():
            pipeline.restore(name, max(ttl_ms, 0), value)
        await pipeline.execute()
        self.broker = Broker(self.broker.writes.nodes)  # one that remembers no damage
        self.publishing = Publishing(self.broker, now_ms)

    async def add(self, name: str, **fields: Any) -> None:
        fields = {"body": f"{SECRET}: {name}.", **fields}
        made = await self.publishing.create_entry(SYSTEM, SLUG, fields)
        self.ids[name] = made.entry.id

    async def delete(self, name: str, *, takedown: bool = False) -> Any:
        return await self.publishing.delete_entry(SYSTEM, SLUG, self.ids[name], takedown)

    async def edit(self, name: str, **fields: Any) -> Any:
        seen = None if fields.keys() <= {"pinned"} else range(1, 100)
        return await self.publishing.edit_entry(SYSTEM, SLUG, self.ids[name], fields, seen)


async def _filled(redis: Redis, broker: Broker) -> Room:
    room = Room(redis, broker, Publishing(broker, now_ms), {}, {})
    fields = {"slug": SLUG, "title": "Council", "status": "live"}
    await room.publishing.create_blog(SYSTEM, fields)
    for name in ("plain", "edited", "deleted"):
        await room.add(name)
    await room.add("pinned", pinned=True)
    await room.edit("edited", body=f"{SECRET}: again.")
    await room.delete("deleted")
    await room.add("draft", status="draft")
    await room.add("binned", status="draft")
    await room.add("scheduled", publish_at=in_an_hour())
    await room.delete("binned")
    async for name in redis.scan_iter():
        room.dumped[name] = await redis.pttl(name), await redis.dump(name) or b""
    return room


_dumped: dict[str, tuple[Dump, dict[str, str]]] = {}  # by the store's URL: a filled store


@pytest.fixture
async def room(store_url: str) -> AsyncIterator[Room]:
    async with connect(store_url) as nodes:
        redis, broker = cast(Redis, nodes.at(SLUG)), Broker(nodes)
        if store_url not in _dumped:
            filled = await _filled(redis, broker)
            _dumped[store_url] = filled.dumped, filled.ids
        dumped, ids = _dumped[store_url]
        yield Room(redis, broker, Publishing(broker, now_ms), {**ids}, dumped)


# -- damages

Damage = Callable[[Room], Awaitable[Any]]


def of_type(name: str, *words: str) -> Damage:
    async def damage(room: Room) -> None:
        at = key(SLUG, name.format(**room.ids))
        await room.redis.delete(at)
        await room.redis.execute_command(words[0], at, *words[1:])

    return damage


def field(name: str, value: Any) -> Damage:
    """Return a function that sets a field of the blog's hash; None removes the field."""

    async def damage(room: Room) -> None:
        at = key(SLUG, "blog")
        await (room.redis.hdel(at, name) if value is None else room.redis.hset(at, name, value))

    return damage


def command(*words: Any) -> Damage:
    """Return a function that sends a command; KEY:name is a key of the blog, {name} an id."""

    async def damage(room: Room) -> None:
        meant = [it.format(**room.ids) if isinstance(it, str) else it for it in words]
        names = [
            key(SLUG, it[4:]) if isinstance(it, str) and it.startswith("KEY:") else it
            for it in meant
        ]
        await room.redis.execute_command(*names)

    return damage


KEYS = ("blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin")
OTHER_TYPES = (("SET", "a string"), ("RPUSH", "a list"), ("SADD", "a set"), ("XADD", "*", "a", "b"))
# Damages after which the records of all entries are still there.
OF_INDEXES: dict[str, Damage] = {
    **{
        f"{name} is of another type ({words[0]})": of_type(name, *words)
        for n, name in enumerate(KEYS)
        if name not in ("blog", "entries", "drafts")
        for words in (OTHER_TYPES[1 + n % 3], OTHER_TYPES[0])
        if (name, words[0]) != ("chain", "SET")
    },
    **{f"{name} is missing": command("DEL", f"KEY:{name}") for name in KEYS[1:2] + KEYS[3:6]},
    "due is missing": command("DEL", "KEY:due"),
    "bin is missing": command("DEL", "KEY:bin"),
    "chain is short by a change": command("SET", "KEY:chain", "0123456789abcdef"),
    "chain is short by some characters": command("SET", "KEY:chain", "0123456789a"),
    "chain is too long": command("APPEND", "KEY:chain", "0123abcd" * 40),
    "chain is garbage": command("SETRANGE", "KEY:chain", 0, b"\xff" * 8 * 8),
    "chain ends in garbage": command("SETRANGE", "KEY:chain", 7 * 8, b"\xff" * 8),
    "chain has another end": command("SETRANGE", "KEY:chain", 7 * 8, b"0" * 8),
    "order has a member that is no id": command("ZADD", "KEY:order", 3, NONE),
    "marked has a member that is no id": command("ZADD", "KEY:marked", 3, NONE),
    "due has a member that is no id": command("ZADD", "KEY:due", 3, NONE),
    "changed has a member that is no id": command("ZADD", "KEY:changed", 3, NONE),
    "bin has a member that is no id": command("ZADD", "KEY:bin", 3, NONE),
    **{f"{it} is missing": field(it, None) for it in ("offset", "epoch", "check", "base")},
    **{
        f"offset is {value!r}": field("offset", value)
        for value in ("", "1.5", "abc", "-3", "2", "9", "9" * 30, "1000000000000", "nan", NONE)
    },
    **{f"epoch is {it!r}": field("epoch", it) for it in ("", "A B", NONE, "x" * 99)},
    **{f"check is {it!r}": field("check", it) for it in ("", "00000000", NONE)},
    **{f"base is {it!r}": field("base", it) for it in ("", "0", "9", "999", "9" * 20, "x", NONE)},
    **{f"offset is {it!r}": field("offset", it) for it in ("+7", " 7", "07", "7_", "\u0667")},
    "status is missing": field("status", None),
    "status is garbage": field("status", NONE),
    "the tombstone of a draft is of another type": of_type("bin:{binned}", "RPUSH", "x"),
    "revisions are of another type": of_type("rev:{edited}", "SET", "x"),
}
# Damages that lose a header or records.
OF_RECORDS: dict[str, Damage] = {
    "header is garbage": field("header", NONE),
    "header is empty": field("header", ""),
    "header is cut": field("header", b'{"updated_at":1764500000000,"off'),
    "header is missing": field("header", None),
    "blog is of another type": of_type("blog", "SET", "x"),
    "blog is missing": command("DEL", "KEY:blog"),
    "header and offset are garbage": command("HSET", "KEY:blog", "header", NONE, "offset", "x"),
    "entries is of another type": of_type("entries", "SET", "x"),
    "entries is missing": command("DEL", "KEY:entries"),
    "drafts is of another type": of_type("drafts", "RPUSH", "x"),
    "drafts is missing": command("DEL", "KEY:drafts"),
}

# -- operations

OPERATIONS: dict[str, Callable[[Room], Awaitable[Any]]] = {
    "publish": lambda room: room.add("new"),
    "publish pinned": lambda room: room.add("new", pinned=True),
    "edit": lambda room: room.edit("edited", body="Third."),
    "pin": lambda room: room.edit("plain", pinned=True),
    "unpin": lambda room: room.edit("pinned", pinned=False),
    "retract": lambda room: room.edit("plain", status="retracted"),
    "delete": lambda room: room.delete("edited"),
    "take down": lambda room: room.delete("pinned", takedown=True),
    "take down an edited one": lambda room: room.delete("edited", takedown=True),
    "take down a deleted one": lambda room: room.delete("deleted", takedown=True),
    "restore": lambda room: room.publishing.restore_entry(SYSTEM, SLUG, room.ids["deleted"]),
    "header": lambda room: room.publishing.edit_blog(
        SYSTEM, SLUG, {"title": "Other", "status": "live"}
    ),
    "end": lambda room: room.publishing.edit_blog(SYSTEM, SLUG, {"status": "ended"}),
    "save a draft": lambda room: room.add("new", status="draft"),
    "schedule": lambda room: room.add("new", publish_at=in_an_hour()),
    "publish a draft": lambda room: room.edit("draft", status="published"),
    "delete a draft": lambda room: room.delete("draft"),
    "take down a scheduled one": lambda room: room.delete("scheduled", takedown=True),
    "take down a binned one": lambda room: room.delete("binned", takedown=True),
}
REMOVED = {
    "delete": "edited",
    "take down": "pinned",
    "take down an edited one": "edited",
    "take down a deleted one": "deleted",
    "take down a scheduled one": "scheduled",
    "take down a binned one": "binned",
}


def some_operations(number: int) -> list[str]:
    """Return 3 of the operations, so that neighbouring damages share none; all in `make stories`."""
    names = [*OPERATIONS]
    if os.environ.get("LONG"):
        return names
    return [names[(number * 3 + it) % len(names)] for it in range(3)]


@pytest.mark.parametrize("name", OF_INDEXES)
async def test_write_succeeds_whole_when_a_key_is_damaged_that_records_have(
    room: Room, name: str
) -> None:
    await _each_succeeds(room, name, some_operations([*OF_INDEXES].index(name)))


@pytest.mark.parametrize("name", OF_RECORDS)
async def test_write_succeeds_whole_or_changes_nothing_when_records_are_lost(
    room: Room, name: str
) -> None:
    await _each_succeeds_or_changes_nothing(room, name, some_operations([*OF_RECORDS].index(name)))


async def _each_succeeds(room: Room, name: str, operations: Sequence[str]) -> None:
    for operation in operations:
        run = OPERATIONS[operation]
        await room.restore()
        await OF_INDEXES[name](room)
        error = await error_of(run(room))
        assert error is None, (operation, error)
        assert await room.broker.source.load(SLUG)
        await room.publishing.unpublished(SYSTEM, SLUG)
        await audit(room, operation)
        shown = {"plain", "pinned", "edited"} - {REMOVED.get(operation)}
        listed = {it.id for it in await room.broker.entries.below(SLUG, None, 50)}
        assert {room.ids[it] for it in shown} <= listed, operation
        marked = await room.redis.zrange(key(SLUG, "marked"), 0, -1)
        is_pinned = operation not in ("unpin", "take down")
        assert (room.ids["pinned"].encode() in marked) is is_pinned, operation


async def _each_succeeds_or_changes_nothing(
    room: Room, name: str, operations: Sequence[str]
) -> None:
    for operation in operations:
        run = OPERATIONS[operation]
        await room.restore()
        await OF_RECORDS[name](room)
        await room.broker.blogs.read(SLUG, or_damaged=True)  # rebuilds the numbering
        before = await contents(room.redis)
        error = await error_of(run(room))
        if error:
            assert is_refusal(error), (operation, error)
            assert operation not in REMOVED or name.startswith("drafts"), (operation, error)
            after = await contents(room.redis)
            rebuilt = await room.broker.rebuilding.lately(SLUG)
            assert rebuilt or after == before, operation
        else:
            await audit(room, operation)
        if operation in REMOVED and name.startswith(("header", "blog")):
            assert await copies(room, REMOVED[operation]) == 0 or operation == "delete"


async def error_of(work: Awaitable[Any]) -> Problem | StoreDown | None:
    try:
        await work
    except (Problem, StoreDown) as error:
        return error
    return None


def is_refusal(error: Exception) -> bool:
    """Return whether the error tells the editor what is damaged or gone."""
    return isinstance(error, Damaged) or getattr(error, "status", 0) in (404, 410)


async def copies(room: Room, name: str) -> int:
    found = repr(await contents(room.redis)).count(f"{SECRET}: {name}.")
    return found + (name == "edited") * repr(await contents(room.redis)).count(f"{SECRET}: again.")


async def audit(room: Room, operation: str) -> None:
    """Compare the numbering and all indexes with the records; fail when a part is missing."""
    names = ("entries", "drafts", "changed", "order", "marked", "due")
    pipeline = room.redis.pipeline()
    for name in names:
        at = key(SLUG, name)
        _ = (
            pipeline.hgetall(at)
            if name in names[:2]
            else pipeline.zrange(at, 0, -1, withscores=True)
        )
    pipeline.hgetall(key(SLUG, "blog"))
    pipeline.get(key(SLUG, "chain"))
    entries, drafts, *indexes, blog, chain = await pipeline.execute()
    due_rows = [row for row in indexes.pop() if row[0] != NONE]  # the schedule skips such a member
    indexes.append(due_rows)
    changed, order, marked, due = ({id.decode(): int(n) for id, n in rows} for rows in indexes)
    offset = int(blog[b"offset"])
    assert re.fullmatch(rb"([0-9a-f]{8})+", chain), operation
    assert (len(chain), blog[b"check"]) == (offset * 8, chain[-8:]), operation
    assert 1 <= int(blog[b"base"]) <= offset, operation
    assert max(changed.values()) <= offset, operation
    records = [orjson.loads(it) for it in entries.values()]
    known = {it["id"] for it in records}
    assert {it["id"]: it["offset"] for it in records} == {
        id: n for id, n in changed.items() if id in known
    }, operation
    shown = {it["id"]: it["order"] for it in records if not it["deleted"]}
    assert shown == {id: n for id, n in order.items() if id in known}, operation
    pinned = {it["id"]: it["order"] for it in records if it["id"] in shown and it["pinned"]}
    assert pinned == {id: n for id, n in marked.items() if id in known}, operation
    later = [it for it in map(orjson.loads, drafts.values()) if it["status"] == "scheduled"]
    assert {it["id"]: it["publish_at"] for it in later if not it["deleted"]} == {
        id: n for id, n in due.items() if id in {draft["id"] for draft in later}
    }, operation


# -- reads


@pytest.mark.parametrize("name", OF_INDEXES)
async def test_worker_loads_all_entries_when_a_key_is_damaged(room: Room, name: str) -> None:
    await room.restore()
    await OF_INDEXES[name](room)
    await _loads_all(room)


async def _loads_all(room: Room) -> None:
    snapshot = await room.broker.source.load(SLUG)
    assert snapshot
    shown = {it.id for it in snapshot.entries if not it.deleted}
    assert shown == {room.ids[it] for it in ("plain", "edited", "pinned")}
    assert snapshot.checks.endswith(snapshot.position.check)
    assert Timeline(snapshot).position == snapshot.position
    assert await room.broker.source.repair(SLUG, snapshot.position) == Changes(
        snapshot.position.offset, snapshot.position.check, snapshot.position, "", []
    )


async def test_worker_loads_all_entries_when_an_offset_is_impossible(
    room: Room,
) -> None:
    await room.restore()
    await room.redis.zadd(key(SLUG, "changed"), {room.ids["pinned"]: "inf"})
    await _loads_all(room)
    assert [*await room.broker.rebuilding.lately(SLUG)] == ["changed"]
    await audit(room, "none")


@pytest.mark.parametrize("name", ["order", "marked", "changed", "chain"])
async def test_worker_loads_all_entries_when_the_store_refuses_to_rebuild(
    room: Room, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Any:
        raise StoreDown("a copy that is read-only")

    await room.restore()
    await of_type(name, "SADD", "x")(room)
    monkeypatch.setattr(room.broker.rebuilding, "_run", refuse)
    await _loads_all(room)


@pytest.mark.parametrize("name", ["order", "marked", "changed", "chain", "entries"])
async def test_worker_reads_the_whole_blog_when_another_rebuilds_it_first(
    room: Room, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.restore()
    await of_type(name, "SADD", "x")(room)
    rebuilding = room.broker.rebuilding
    run = rebuilding._run

    async def be_second(slug: str, compare: bool) -> list[str]:
        assert await run(slug, compare)
        return await run(slug, compare)

    monkeypatch.setattr(rebuilding, "_run", be_second)
    monkeypatch.setattr(rebuilding, "note_fruitless", pytest.fail)
    monkeypatch.setattr(source, "KEPT_CHANGES", 1)  # a load needs each index
    if name == "entries":
        assert await room.broker.entries.published(SLUG, room.ids["plain"]) is None
    else:
        await _loads_all(room)


async def test_worker_goes_on_with_its_header_when_the_stored_one_is_damaged(room: Room) -> None:
    await room.restore()
    held = await room.broker.source.load(SLUG)
    assert held
    await OF_RECORDS["header and offset are garbage"](room)
    await room.delete("pinned", takedown=True)
    assert await room.broker.source.repair(SLUG, held.position) == Moved("moved")
    with pytest.raises(Damaged, match="header of the blog council is damaged"):
        await room.broker.source.load(SLUG)
    now = await room.broker.source.load(SLUG, held.blog)
    assert now
    assert now.blog == held.blog
    assert room.ids["pinned"] not in {it.id for it in now.entries if not it.deleted}


async def test_worker_loads_the_blog_when_the_index_of_changes_lacks_the_newest(
    room: Room,
) -> None:
    await room.restore()
    snapshot = await room.broker.source.load(SLUG)
    assert snapshot
    await room.add("new")
    await room.redis.zrem(key(SLUG, "changed"), room.ids["new"])
    assert await room.broker.source.repair(SLUG, snapshot.position) == Moved("far")


async def test_worker_loads_a_deletion_when_the_index_of_changes_lacks_it(room: Room) -> None:
    await room.restore()
    await room.delete("plain")
    await room.redis.zrem(key(SLUG, "changed"), room.ids["plain"])
    snapshot = await room.broker.source.load(SLUG)
    assert snapshot
    assert room.ids["plain"] in {it.id for it in snapshot.entries if it.deleted}
    assert [*await room.broker.rebuilding.lately(SLUG)] == ["changed"]


@pytest.mark.parametrize("operation", ["publish", "pin", "schedule"])
async def test_write_compares_no_records_when_an_index_is_rightly_empty(
    room: Room, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.restore()
    await room.edit("pinned", pinned=False)
    await room.delete("scheduled")
    for name in ("plain", "edited", "pinned") if operation == "publish" else ():
        await room.delete(name)
    compared = list[str]()

    async def rebuild(slug: str, *, compare: bool = False) -> list[str]:
        compared.append(slug)
        return []

    with monkeypatch.context() as patched:
        patched.setattr(room.broker.rebuilding, "rebuild", rebuild)
        await OPERATIONS[operation](room)
    assert not compared
    await audit(room, operation)
    # The index has a member now, so the store notices the loss of the index.
    lost = {"publish": "order", "pin": "marked", "schedule": "due"}[operation]
    await room.redis.delete(key(SLUG, lost))
    await OPERATIONS[operation.replace("pin", "publish pinned")](room)
    assert [*await room.broker.rebuilding.lately(SLUG)] == [lost]
    await audit(room, operation)


SCORES = (1, 2.5, 1000, "inf", "-inf")
READS: dict[str, Callable[[Room, str], Awaitable[Any]]] = {
    "a list": lambda room, _: room.broker.entries.below(SLUG, None, 50),
    "an entry": lambda room, name: room.broker.entries.stored(SLUG, room.ids[name]),
    "a worker": lambda room, _: room.broker.source.load(SLUG),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("index", ["changed", "order", "marked"])
@pytest.mark.parametrize("name", ["pinned", "plain"])
async def test_entry_is_whole_when_an_index_has_another_number_for_it(
    room: Room, name: str, index: str, score: float
) -> None:
    for read in READS if index != "marked" else ["a worker"]:
        await room.restore()
        await room.redis.zadd(key(SLUG, index), {room.ids[name]: score})
        await READS[read](room, name)
        await _loads_all(room)
        stored = await room.broker.entries.stored(SLUG, room.ids[name])
        assert stored
        assert not stored.entry.deleted, read
        listed = [it.id for it in await room.broker.entries.below(SLUG, None, 50)]
        assert listed == [room.ids[it] for it in ("pinned", "edited", "plain")], read
        await audit(room, read)


async def test_worker_repairs_an_entry_when_an_index_has_another_number_for_it(room: Room) -> None:
    await room.restore()
    held = await room.broker.source.load(SLUG)
    assert held
    await room.edit("edited", body="Third.")
    await room.add("new")
    await room.redis.zadd(key(SLUG, "changed"), {room.ids["edited"]: held.position.offset + 2})
    found = await room.broker.source.repair(SLUG, held.position)
    assert isinstance(found, Changes)
    offsets = {it.id: it.offset for it in found.records if isinstance(it, Entry)}
    assert offsets == {
        room.ids["edited"]: held.position.offset + 1,
        room.ids["new"]: held.position.offset + 2,
    }
    assert not any(it.deleted for it in found.records if isinstance(it, Entry))


async def test_new_epoch_begins_when_no_record_has_the_newest_offset(room: Room) -> None:
    await room.restore()
    before = await room.broker.source.load(SLUG)
    assert before
    await room.add("new")
    await room.redis.hdel(key(SLUG, "entries"), room.ids["new"])
    await room.redis.zrem(key(SLUG, "changed"), room.ids["new"])
    after = await room.broker.source.load(SLUG)
    assert after
    assert after.position.epoch != before.position.epoch
    assert after.position.offset == before.position.offset + 2
    assert after.checks.endswith(after.position.check)


@pytest.mark.parametrize("at", [1, 2.5, 10**15, "inf"])
async def test_schedule_has_an_entrys_own_time_when_its_index_had_another(
    room: Room, at: float
) -> None:
    await room.restore()
    await room.redis.zadd(key(SLUG, "due"), {room.ids["scheduled"]: at})
    await room.publishing.unpublished(SYSTEM, SLUG)
    await audit(room, "none")


@pytest.mark.parametrize("status", ["published", "retracted", "draft", "scheduled"])
async def test_published_entry_is_no_draft_when_a_copy_is_among_the_drafts(
    room: Room, status: str
) -> None:
    await room.restore()
    id = room.ids["plain"]
    record = cast(bytes, await room.redis.hget(key(SLUG, "entries"), id))
    copy = record.replace(b'"status":"published"', b'"status":"%b"' % status.encode())
    await room.redis.hset(key(SLUG, "drafts"), id, copy)
    unpublished = await room.publishing.unpublished(SYSTEM, SLUG)
    assert (id in {it.id for it in unpublished}) is (status in ("draft", "scheduled"))
    stored = await room.broker.entries.stored(SLUG, id)
    assert stored
    assert stored.entry.status == "published"
    assert id not in {it.id for it in await room.publishing.unpublished(SYSTEM, SLUG)}
    await audit(room, "none")


async def test_published_record_without_its_entry_is_a_damaged_draft(room: Room) -> None:
    await room.restore()
    id = room.ids["draft"]
    record = cast(bytes, await room.redis.hget(key(SLUG, "drafts"), id))
    copy = record.replace(b'"status":"draft"', b'"status":"published"')
    await room.redis.hset(key(SLUG, "drafts"), id, copy)
    found = {it.id: it for it in await room.publishing.unpublished(SYSTEM, SLUG)}
    assert isinstance(found[id], DamagedEntry)
    await room.delete("draft")
    assert id not in {it.id for it in await room.publishing.unpublished(SYSTEM, SLUG)}


async def test_new_epoch_begins_above_all_records_when_indexes_are_short(
    room: Room,
) -> None:
    await room.restore()
    newest = max(it.offset or 0 for it in await room.broker.entries.below(SLUG, None, 50))
    await room.redis.zremrangebyscore(key(SLUG, "changed"), 4, "+inf")
    await room.redis.zremrangebyscore(key(SLUG, "order"), 4, "+inf")
    await room.redis.set(key(SLUG, "chain"), "0123abcd" * 3)
    await room.redis.hset(key(SLUG, "blog"), "offset", "x")
    stored = await room.broker.blogs.read(SLUG)
    assert stored
    assert stored.position.offset > newest
    await _loads_all(room)


async def test_scheduled_entry_is_published_when_the_schedule_was_lost(room: Room) -> None:
    await room.restore()
    at, id = key(SLUG, "drafts"), room.ids["scheduled"]
    record = orjson.loads(await room.redis.hget(at, id) or b"")
    await room.redis.hset(at, id, orjson.dumps(record | {"publish_at": now_ms() - 1_000}))
    await room.redis.delete(key(SLUG, "due"))
    await room.redis.rpush(key(SLUG, "due"), "of another type")
    await room.broker.writes.agenda.add(SLUG, 0)

    async def is_published() -> bool:
        return await publish_due(room.broker.due, room.publishing) == 1

    await until(is_published)


# -- a damaged header


@pytest.mark.parametrize("name", [it for it in OF_RECORDS if it.startswith(("header", "blog"))])
async def test_new_header_takes_the_place_of_a_damaged_one(room: Room, name: str) -> None:
    await room.restore()
    await OF_RECORDS[name](room)
    with pytest.raises(Damaged, match="Write a new header"):
        await room.publishing.edit_blog(SYSTEM, SLUG, {"dek": "No title."})
    stored = await room.broker.blogs.read(SLUG, or_damaged=True)
    assert stored
    if stored.blog.status == "draft":  # the status is lost, too
        with pytest.raises(Problem, match="status: is required") as lost:
            await room.publishing.edit_blog(SYSTEM, SLUG, {"title": "Council again"})
        assert [at for at, _ in lost.value.errors] == ["/status"]
    fields = {"title": "Council again", "status": "live"}
    made = await room.publishing.edit_blog(SYSTEM, SLUG, fields)
    assert (made.blog.title, made.blog.created_at > 0) == ("Council again", True)
    await _loads_all(room)
    page = await room.publishing.blogs(SYSTEM)
    assert ([it.blog.title for it in page.blogs], page.damaged) == (["Council again"], [])


async def test_list_names_a_blog_whose_header_is_damaged(room: Room) -> None:
    for name in ("header is garbage", "blog is of another type"):
        await room.restore()
        await OF_RECORDS[name](room)
        for caller in (SYSTEM, SYSTEM._replace(blogs=(SLUG,))):
            assert (await room.publishing.blogs(caller)).damaged == [SLUG]


async def test_readers_cause_one_attempt_in_5_s_when_nothing_can_be_rebuilt(store_url: str) -> None:
    clock = Seconds()
    async with connect(store_url) as nodes:
        broker = Broker(nodes)
        rebuilding = Rebuilding(nodes, broker.writes.agenda, broker.entries.damage, clock)
        await Publishing(broker, now_ms).create_blog(SYSTEM, {"slug": SLUG, "title": "Council"})
        at = key(SLUG, "marked")
        assert await broker.blogs.read(SLUG)
        redis = cast(Redis, nodes.at(SLUG))

        async def reading(*, is_damaged: bool) -> None:
            await rebuilding.reading(SLUG, wait, lambda _: is_damaged)

        async def wait() -> None:
            return None

        async def is_mended() -> bool:
            return await redis.type(at) != b"string"

        await redis.set(at, "of another type")
        await reading(is_damaged=True)
        assert await is_mended()
        await redis.set(at, "of another type")
        await reading(is_damaged=True)
        assert not await is_mended()
        clock.now += AGAIN_S - 1
        await reading(is_damaged=True)  # no attempt: the time goes on from the last one
        clock.now += 1
        await reading(is_damaged=True)
        assert await is_mended()
        assert [*await rebuilding.lately(SLUG)] == ["marked"]


async def test_names_of_rebuilt_keys_are_rebuilt_too(room: Room) -> None:
    await room.restore()
    await room.redis.set(key(SLUG, "rebuilt"), "of another type")
    assert (await room.publishing.blog(SYSTEM, SLUG, or_damaged=True)).rebuilt == ("rebuilt",)
