"""publish.lua, repair.lua and rotate.lua on Valkey and Redis: each is one atomic step."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import pytest
from kit.contents import contents
from kit.waiting import until
from redis.asyncio import Redis

from liveblog.blog.instant import format_time
from liveblog.blog.model import SYSTEM, Blog, Entry, Position
from liveblog.blog.problem import Problem, StoreDown, StoreRefuses
from liveblog.blog.timeline import Changes, Moved
from liveblog.editors.publishing import Publishing
from liveblog.editors.results import DeleteResult, EntryResult, RevisionConflict
from liveblog.store import source
from liveblog.store.broker import Broker
from liveblog.store.calls import (
    REMEMBERED_S,
    RETRIED_S,
    CallKey,
    Write,
    entry_write,
    erasing_write,
)
from liveblog.store.codec import blog_record, channel, decode_message, entry_record, key
from liveblog.store.condition import Condition
from liveblog.store.connect import connect
from liveblog.store.nodes import Nodes, One
from liveblog.store.writes import Refused, Stale

SLUG = "council"
KEYS = ["blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin"]
SECRET = "Nobody may ever read this again"
WRONG: dict[bytes, Callable[[Redis, str], Awaitable[Any]]] = {
    b"string": lambda redis, name: redis.rpush(name, "a list"),
    b"list": lambda redis, name: redis.set(name, "a string"),
    b"hash": lambda redis, name: redis.set(name, "a string"),
    b"zset": lambda redis, name: redis.set(name, "a string"),
}
TYPES = dict(
    zip(KEYS, (b"hash", b"string", b"hash", *[b"zset"] * 3, b"hash", *[b"zset"] * 2), strict=True)
)


class Message(NamedTuple):
    """One message of a blog's channel, parsed without the code under test."""

    epoch: str
    first: int
    last: int
    previous: str
    check: str
    records: list[bytes]


def parsed(raw: bytes) -> Message:
    head, *records = raw.split(b"\n")
    epoch, first, last, previous, check = head.decode().split(" ")
    return Message(epoch, int(first), int(last), previous, check, records)


@dataclass
class Room:
    """Writes to a store with one live blog, and collects the messages of the blog's channel."""

    redis: Redis
    broker: Broker
    publishing: Publishing
    raw_messages: list[bytes]

    async def entry(self, **fields: Any) -> EntryResult:
        return await self.publishing.create_entry(SYSTEM, SLUG, {"body": "Text.", **fields})

    async def edit(
        self, at: EntryResult, revision: int | None = None, **fields: Any
    ) -> EntryResult:
        seen = revision or (None if fields.keys() <= {"pinned"} else at.entry.revision)
        return await self.publishing.edit_entry(SYSTEM, SLUG, at.entry.id, fields, seen)

    async def delete(self, at: EntryResult, *, takedown: bool = False) -> DeleteResult:
        return await self.publishing.delete_entry(SYSTEM, SLUG, at.entry.id, takedown)

    async def offset(self) -> int:
        stand = await self.broker.blogs.read(SLUG)
        assert stand
        return stand.position.offset

    async def position(self) -> Position:
        stand = await self.broker.blogs.read(SLUG)
        assert stand
        return stand.position

    async def contents(self) -> dict[str, Any]:
        """Return everything stored, but for announcements of writes (store/agenda.py)."""
        found = await contents(self.redis)
        announced = ("lb:blogs", "lb:live:", "lb:due:")
        return {name: value for name, value in found.items() if not name.startswith(announced)}

    async def messages(self, count: int) -> list[Message]:
        await until(lambda: len(self.raw_messages) >= count)
        return [parsed(raw) for raw in self.raw_messages]


async def _collect(pubsub: Any, raw_messages: list[bytes]) -> None:
    while True:
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
        if message:
            raw_messages.append(message["data"])


def redis_of(nodes: Nodes) -> Redis:
    """Return the client with all of redis-py's commands; `Client` declares only some of them."""
    return cast(Redis, nodes.at(SLUG))


@pytest.fixture
async def room(store_url: str) -> AsyncIterator[Room]:
    async with connect(store_url) as nodes, redis_of(nodes).pubsub() as pubsub:
        raw_messages: list[bytes] = []
        publishing = Publishing(Broker(nodes), now_ms)
        await pubsub.subscribe(channel(SLUG))

        collecting = asyncio.create_task(_collect(pubsub, raw_messages))
        fields = {"slug": SLUG, "title": "Council", "status": "live"}
        await publishing.create_blog(SYSTEM, fields)
        yield Room(redis_of(nodes), Broker(nodes), publishing, raw_messages)
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def in_an_hour() -> str:
    return format_time(now_ms() + 3_600_000) or ""


# -- one atomic step


async def _numbered(room: Room) -> Write[Any]:
    """Return the write that touches the most keys: the second edit of a pinned entry."""
    at = await room.edit(await room.entry(pinned=True), body="Second.")
    stored = await room.broker.entries.stored(SLUG, at.entry.id)
    assert stored
    record = entry_record(stored.entry) | {"revision": 3}
    return Write(
        kind=Entry,
        op="number",
        id=at.entry.id,
        seen=stored.raw,
        record=record,
        call=CallKey("k", "f" * 40),
        history="push",
        order=stored.entry.order,
        listed=True,
        marked=True,
        revision=3,
    )


async def _created(room: Room) -> Write[Any]:
    record = entry_record(Entry(id="enew000000000", body="New.", status="published"))
    await room.entry(pinned=True)
    return Write(
        kind=Entry,
        op="number",
        id="enew000000000",
        seen=None,
        record=record,
        call=CallKey("k", "f" * 40),
        listed=True,
    )


async def _kept(room: Room) -> Write[Any]:
    at = await room.entry(publish_at=in_an_hour())
    stored = await room.broker.entries.stored(SLUG, at.entry.id)
    assert stored
    record = entry_record(stored.entry) | {"published_at": None, "revision": 2}
    return Write(
        kind=Entry,
        op="keep",
        id=at.entry.id,
        seen=stored.raw,
        record=record,
        call=CallKey("k", "f" * 40),
        history="push",
        due=stored.entry.publish_at,
        revision=2,
    )


async def _header(room: Room) -> Write[Any]:
    stand = await room.broker.blogs.read(SLUG)
    assert stand
    record = blog_record(stand.blog) | {"title": "Other"}
    return Write(
        kind=Blog,
        op="header",
        id="#blog",
        seen=stand.raw,
        record=record,
        call=CallKey("k", "f" * 40),
        rotate=True,
        history="push",
    )


async def _erasing(room: Room) -> Write[Any]:
    await room.publishing.edit_blog(SYSTEM, SLUG, {"title": "Other"})
    stand = await room.broker.blogs.read(SLUG)
    kept = await room.broker.revisions.header(SLUG, 1)
    assert stand
    assert kept
    return erasing_write(stand, kept.raw, 1, CallKey("k", "f" * 40))


ALWAYS = ("-hset", "-set", "-eval", "-@scripting", "-@write")
ANNOUNCED = (*ALWAYS, "-append", "-zadd", "-publish", "resetchannels")


@pytest.fixture
async def guest(room: Room) -> AsyncIterator[Callable[..., Awaitable[Broker]]]:
    """Return a function that signs in to the store as a user without some permissions."""
    async with contextlib.AsyncExitStack() as stack:

        async def sign_in(*rules: str) -> Broker:
            user = ("guest", "reset", "on", "nopass", "~*", "&*", "+@all", *rules)
            await room.redis.execute_command("ACL", "SETUSER", *user)
            path = room.redis.connection_pool.connection_kwargs["path"]
            nodes = await stack.enter_async_context(connect(f"unix://guest:x@{path}"))
            return Broker(nodes)

        yield sign_in
        await room.redis.execute_command("ACL", "DELUSER", "guest")


@pytest.mark.parametrize(
    ("prepare", "rules"),
    [
        (_numbered, (*ANNOUNCED, "-hdel", "-zrem")),
        (_header, (*ANNOUNCED, "-lpush", "-ltrim")),
        (_erasing, (*ALWAYS[1:], "-lrem")),
        (_kept, (*ALWAYS, "-zadd", "-lpush", "-ltrim")),
    ],
)
async def test_write_stores_nothing_when_the_store_forbids_a_command(
    room: Room,
    guest: Callable[..., Awaitable[Broker]],
    prepare: Callable[[Room], Awaitable[Write[Any]]],
    rules: tuple[str, ...],
) -> None:
    write, raw_messages = await prepare(room), len(room.raw_messages)
    before = await room.contents()
    for rule in rules:
        with pytest.raises(StoreRefuses):
            await (await guest(rule)).writes.commit(SLUG, write)
        assert await room.contents() == before, rule
    assert len(room.raw_messages) == raw_messages
    assert (await room.broker.writes.commit(SLUG, write)).record


@pytest.mark.parametrize("prepare", [_numbered, _created, _kept, _header])
async def test_write_stores_nothing_when_a_key_is_damaged_and_may_not_be_rebuilt(
    room: Room,
    guest: Callable[..., Awaitable[Broker]],
    prepare: Callable[[Room], Awaitable[Write[Any]]],
) -> None:
    write, raw_messages = await prepare(room), len(room.raw_messages)
    refused = (await guest("-del")).writes
    for name, kind in TYPES.items():
        was = await room.redis.dump(key(SLUG, name))
        await room.redis.delete(key(SLUG, name))
        await WRONG[kind](room.redis, key(SLUG, name))
        before = await room.contents()
        with pytest.raises(StoreRefuses, match=r"may not run DEL lb:\{council\}"):
            await refused.commit(SLUG, write)
        assert await room.contents() == before, name
        await room.redis.delete(key(SLUG, name))
        if was:
            await room.redis.restore(key(SLUG, name), 0, was)
    assert len(room.raw_messages) == raw_messages
    assert (await room.broker.writes.commit(SLUG, write)).record


async def test_write_stores_nothing_when_the_key_of_its_outcome_has_another_type(
    room: Room,
) -> None:
    write = await _numbered(room)
    await room.redis.rpush(key(SLUG, f"idem:{write.call.idem}"), "a list")
    before = await room.contents()
    with pytest.raises(StoreDown, match=r"key lb:\{council\}:idem:k in the store is damaged"):
        await room.broker.writes.commit(SLUG, write)
    assert await room.contents() == before


async def test_takedown_is_not_denied_when_the_request_for_its_erasure_is_refused(
    room: Room, guest: Callable[..., Awaitable[Broker]]
) -> None:
    at = await room.entry(body=SECRET)
    rules = ("resetkeys", "~lb:{*", "~lb:live:*", "~lb:blogs")  # all but lb:rewrites
    publishing = Publishing(await guest(*rules), now_ms)
    with pytest.raises(StoreDown, match="the text is erased") as caught:
        await publishing.delete_entry(SYSTEM, SLUG, at.entry.id, takedown=True)
    assert not isinstance(caught.value, StoreRefuses)
    assert await copies(room) == 0
    assert (await room.delete(at, takedown=True)).takedown


async def test_rotation_stores_nothing_when_the_store_forbids_a_command(
    room: Room, guest: Callable[..., Awaitable[Broker]]
) -> None:
    ahead = (await room.position())._replace(offset=9)
    before = await room.contents()
    for rule in ("-zadd", "-append", "-publish", "resetchannels", "-eval"):
        with pytest.raises(StoreRefuses):
            await (await guest(rule)).source.rotate(SLUG, ahead)
        assert await room.contents() == before, rule
    assert await room.broker.source.rotate(SLUG, ahead)


@pytest.mark.parametrize("rules", [(), ("-config",), ("-config", "-info")])
async def test_check_reads_the_settings_that_the_store_shows(
    room: Room, guest: Callable[..., Awaitable[Broker]], rules: tuple[str, ...]
) -> None:
    condition = Condition((await guest(*rules)).writes.nodes, needs_disk=True)
    for _ in range(2):  # a server that forbids CONFIG is asked by INFO from the second check on
        assert await condition.check() == ""
    await room.redis.config_set("maxmemory-policy", "allkeys-lru")
    warning = await condition.check()
    await room.redis.config_set("maxmemory-policy", "noeviction")
    assert ("allkeys-lru" in warning) == ("-info" not in rules)
    await room.redis.config_set("appendonly", "no")
    try:
        with pytest.raises(StoreRefuses, match="appendonly is no") if warning else nullcontext():
            await condition.check()
    finally:
        await room.redis.config_set("appendonly", "yes")
    assert (condition.refusal is not None) == bool(warning)


async def test_write_is_refused_when_replicas_are_missing_and_one_must_confirm_it(
    room: Room,
) -> None:
    broker = Broker(One(room.redis), wait_for_replica=True)
    write, before = await _numbered(room), await room.contents()
    await room.redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreRefuses, match="NOREPLICAS"):
            await broker.writes.commit(SLUG, write)
    finally:
        await room.redis.config_set("min-replicas-to-write", 0)
    assert await room.contents() == before


@pytest.mark.parametrize("maxmemory", [0, 1])
async def test_blog_and_entry_are_read_alike_when_the_memory_is_full(
    room: Room, maxmemory: int
) -> None:
    made = await room.entry(pinned=True)
    await room.edit(made, headline="Later")
    await room.redis.config_set("maxmemory", maxmemory)
    try:
        snapshot = await room.broker.source.load(SLUG)
        stored = await room.broker.entries.stored(SLUG, made.entry.id)
        unknown = await room.broker.entries.stored(SLUG, "e000000000000")
        absent = await room.broker.source.load("absent")
        assert stored
        [position] = await room.broker.entries.positions(SLUG, [stored.entry])
    finally:
        await room.redis.config_set("maxmemory", 0)
    assert snapshot
    assert (snapshot.position, len(snapshot.entries)) == (await room.position(), 1)
    assert (stored.entry.headline, stored.revisions) == ("Later", 1)
    assert position == snapshot.position
    assert (unknown, absent) == (None, None)


async def test_blog_is_created_when_a_key_of_its_name_has_another_type(room: Room) -> None:
    for name, kind in TYPES.items():
        await WRONG[kind](room.redis, key(f"other-{name}", name))
        await room.publishing.create_blog(SYSTEM, {"slug": f"other-{name}", "title": "Other"})
        stored = await room.broker.blogs.read(f"other-{name}")
        assert stored
        assert (stored.blog.title, stored.position.offset) == ("Other", 1), name


@pytest.mark.parametrize("revision", [2**53, 10**25, -1])
async def test_record_is_not_stored_when_it_would_not_decode(room: Room, revision: int) -> None:
    write = await _numbered(room)
    before = await room.contents()
    with pytest.raises(StoreDown):
        await room.broker.writes.commit(
            SLUG, replace(write, record=write.record | {"revision": revision})
        )
    assert await room.contents() == before


# -- numbers and checks


def verified(messages: list[Message]) -> list[str]:
    """Return each record's check by ARCHITECTURE.md's formula; fail if a message has another."""
    checks, previous, epoch = [], "", ""
    for message in messages:
        previous = previous if message.epoch == epoch else message.epoch
        epoch = message.epoch
        assert message.previous == previous
        for record in message.records:
            previous = hashlib.sha1(previous.encode() + record).hexdigest()[:8]
            checks.append(previous)
        assert message.check == previous
    return checks


async def test_check_is_the_sha1_of_the_previous_check_and_the_record(room: Room) -> None:
    first = await room.entry(body='Ärger "quoted" \\ \n שלום 👩‍👩‍👧', headline="H", byline=["Dana"])
    second = await room.edit(await room.entry(pinned=True, key=True), body="Altered.")
    await room.publishing.edit_entry(SYSTEM, SLUG, second.entry.id, {"pinned": False}, None)
    await room.publishing.edit_blog(SYSTEM, SLUG, {"timezone": "America/New_York"})
    await room.delete(first)
    await room.publishing.restore_entry(SYSTEM, SLUG, first.entry.id)
    await room.delete(second, takedown=True)
    messages = await room.messages(9)
    assert [m.first for m in messages] == [m.last for m in messages] == list(range(1, 10))
    checks = verified(messages)
    assert await room.redis.get(key(SLUG, "chain")) == "".join(checks).encode()
    position = await room.position()
    assert (position.offset, position.check) == (9, checks[-1])
    assert messages[-1].records[0] == await room.redis.hget(key(SLUG, "entries"), second.entry.id)
    for raw, message in zip(room.raw_messages, messages, strict=True):
        decoded = decode_message(raw)
        assert decoded
        assert decoded.position == Position(message.epoch, message.last, message.check)


async def test_message_is_dropped_when_its_check_does_not_fit_its_bytes(room: Room) -> None:
    await room.entry(body="True.")
    await room.messages(2)
    assert decode_message(room.raw_messages[1])
    assert decode_message(room.raw_messages[1].replace(b"True.", b"Fake.")) is None
    assert decode_message(b"") is None
    assert decode_message(b"a b c d e\n{}") is None


def test_message_is_dropped_when_it_is_nested_too_deep() -> None:
    record = b'{"id":"#blog","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    check = hashlib.sha1(b"abcdefgh" + record).hexdigest()[:8]
    assert decode_message(b"k 2 2 abcdefgh %b\n%b" % (check.encode(), record)) is None


async def test_numbering_has_no_holes_when_writers_are_concurrent(
    room: Room, store_url: str
) -> None:
    async with connect(store_url) as other:
        publishings = [room.publishing, Publishing(Broker(other), now_ms)]

        async def write(number: int) -> None:
            mine = publishings[number % 2]
            at = await mine.create_entry(SYSTEM, SLUG, {"body": f"Entry {number}."})
            if number % 3 == 0:
                await mine.edit_entry(SYSTEM, SLUG, at.entry.id, {"body": "Edited."}, 1)
            if number % 3 == 1:
                await mine.delete_entry(SYSTEM, SLUG, at.entry.id)

        await asyncio.gather(*(write(number) for number in range(60)))
    messages = await room.messages(101)
    assert [m.first for m in messages] == list(range(1, 102))
    assert await room.redis.get(key(SLUG, "chain")) == "".join(verified(messages)).encode()
    changed = await room.redis.zrange(key(SLUG, "changed"), 0, -1, withscores=True)
    assert len(changed) == 61
    assert len(await room.broker.entries.below(SLUG, None, 100)) == 40


async def test_one_edit_of_a_revision_wins_when_many_are_concurrent(room: Room) -> None:
    at = await room.entry()

    async def edit(number: int, revision: int) -> EntryResult | Problem:
        try:
            return await room.edit(at, revision, body=f"By writer {number}.")
        except Problem as problem:
            return problem

    for revision in (1, 2, 3):
        done = await asyncio.gather(*(edit(number, revision) for number in range(50)))
        won = [result for result in done if isinstance(result, EntryResult)]
        lost = [result for result in done if isinstance(result, RevisionConflict)]
        assert [w.entry.revision for w in won] == [revision + 1]
        assert len(lost) == 49
        assert {conflict.current.entry.body for conflict in lost} == {won[0].entry.body}
    assert await room.offset() == 5


async def test_drafts_take_no_offset_and_are_not_announced(room: Room) -> None:
    draft = await room.entry(status="draft")
    await room.edit(draft, body="Better.")
    scheduled = await room.entry(publish_at=in_an_hour())
    done = await room.delete(scheduled)
    assert (done.offset, done.position) == (None, None)
    assert await room.offset() == 1
    published = await room.edit(draft, revision=2, status="published")
    assert (published.entry.offset, published.entry.order, published.entry.revision) == (2, 2, 3)
    assert [m.first for m in await room.messages(2)] == [1, 2]


async def test_epoch_begins_at_the_next_offset_when_zone_or_language_change(room: Room) -> None:
    at = await room.entry()
    epochs = [(await room.position()).epoch]
    for fields in ({"timezone": "Asia/Tokyo"}, {"language": "de"}):
        changed = await room.publishing.edit_blog(SYSTEM, SLUG, fields)
        epochs.append(changed.position.epoch)
    await room.publishing.edit_blog(SYSTEM, SLUG, {"title": "Same epoch"})
    await room.publishing.edit_blog(SYSTEM, SLUG, {"timezone": "Asia/Tokyo"})
    assert len(set(epochs)) == 3
    assert (await room.position())[:2] == (epochs[-1], 6)
    stored = await room.broker.entries.stored(SLUG, at.entry.id)
    assert stored
    assert (stored.entry.offset, stored.entry.order) == (2, 2)
    assert [m.epoch for m in await room.messages(6)] == [
        epochs[0],
        epochs[0],
        epochs[1],
        *[epochs[2]] * 3,
    ]


async def test_write_is_404_and_stores_nothing_when_the_blog_is_absent(room: Room) -> None:
    before = await room.contents()
    entry = Entry(id="enew000000000", body="New.", status="published")
    with pytest.raises(Refused, match="absent"):
        await room.broker.writes.commit("absent", entry_write(None, entry, CallKey("k", "f" * 40)))
    with pytest.raises(Problem) as caught:
        await room.publishing.create_entry(SYSTEM, "absent", {"body": "Text."})
    assert caught.value.status == 404
    assert await room.contents() == before


async def test_creation_is_409_when_the_blog_exists(room: Room) -> None:
    before = await room.contents()
    with pytest.raises(Problem) as caught:
        await room.publishing.create_blog(SYSTEM, {"slug": SLUG, "title": "Again"})
    assert caught.value.status == 409
    assert await room.contents() == before


async def test_ended_blog_takes_edits_but_no_new_entries(room: Room) -> None:
    at, draft = await room.entry(), await room.entry(status="draft")
    await room.publishing.edit_blog(SYSTEM, SLUG, {"status": "ended"})
    for refused in (
        room.entry(),
        room.entry(status="draft"),
        room.edit(draft, status="published"),
    ):
        with pytest.raises(Problem) as caught:
            await refused
        assert caught.value.status == 409
    assert (await room.edit(at, body="Corrected.")).entry.offset == 4
    await room.delete(at)
    await room.publishing.restore_entry(SYSTEM, SLUG, at.entry.id)
    await room.publishing.edit_blog(SYSTEM, SLUG, {"status": "live"})
    assert (await room.edit(draft, status="published")).entry.offset == 8


# -- repeated calls


async def test_call_has_one_result_when_repeated_at_once(room: Room) -> None:
    calls = [
        room.publishing.create_entry(SYSTEM, SLUG, {"body": "Once."}, "key") for _ in range(20)
    ]
    done = await asyncio.gather(*calls)
    assert len({(w.entry.id, w.position, w.status) for w in done}) == 1
    assert sorted(w.replayed for w in done) == [False] + [True] * 19
    assert await room.offset() == 2


async def test_store_remembers_a_callers_key_for_a_day_without_its_text(room: Room) -> None:
    await room.publishing.create_entry(SYSTEM, SLUG, {"body": SECRET}, "key")
    names = [name async for name in room.redis.scan_iter(match="lb:*:idem:*")]
    lives_s = sorted([await room.redis.ttl(name) for name in names])
    assert 0 < lives_s[0] <= RETRIED_S  # of the key that created the blog
    assert 86_000 < lives_s[1] <= REMEMBERED_S == 86_400
    assert len(names) == 2
    for name in names:
        assert SECRET not in repr(await room.redis.get(name))


async def test_store_remembers_a_servers_own_key_for_a_minute(room: Room) -> None:
    made = await room.entry()
    await room.edit(made, body="Altered.")
    await room.publishing.edit_blog(SYSTEM, SLUG, {"dek": "D."})
    await room.delete(await room.entry(status="draft"))
    await room.publishing.restore_entry(SYSTEM, SLUG, (await room.delete(made)).id)
    names = [name async for name in room.redis.scan_iter(match="lb:*:idem:*")]
    assert len(names) == 8
    assert all([0 < await room.redis.ttl(name) <= RETRIED_S for name in names])


async def test_call_is_422_when_its_key_was_used_for_another_request(room: Room) -> None:
    await room.publishing.create_entry(SYSTEM, SLUG, {"body": "Once."}, "key")
    before = await room.contents()
    with pytest.raises(Problem) as caught:
        await room.publishing.create_entry(SYSTEM, SLUG, {"body": "Twice."}, "key")
    assert (caught.value.status, caught.value.name) == (422, "idempotency-key-reused")
    assert await room.contents() == before


async def test_repeated_call_returns_its_revision_when_it_was_edited_since(room: Room) -> None:
    async def call() -> EntryResult:
        return await room.publishing.create_entry(SYSTEM, SLUG, {"body": "First."}, "key")

    first = await call()
    await room.edit(first, body="Second.")
    again = await call()
    assert again == first._replace(replayed=True)
    assert (await room.offset(), again.entry.body, again.status) == (3, "First.", 201)


@pytest.mark.parametrize("takedown", [False, True])
async def test_repeated_call_is_410_when_its_entry_was_deleted_since(
    room: Room, takedown: bool
) -> None:
    async def call() -> EntryResult:
        return await room.publishing.create_entry(SYSTEM, SLUG, {"body": SECRET}, "key")

    await room.delete(await call(), takedown=takedown)
    with pytest.raises(Problem) as caught:
        await call()
    assert caught.value.status == 410
    assert SECRET not in caught.value.detail


async def test_store_does_not_remember_a_refused_call(room: Room) -> None:
    at = await room.entry()
    request = {"body": "Edited."}
    with pytest.raises(Problem) as caught:
        await room.publishing.edit_entry(SYSTEM, SLUG, at.entry.id, request, 7, "key")
    assert caught.value.status == 412
    edited = await room.publishing.edit_entry(SYSTEM, SLUG, at.entry.id, request, 1, "key")
    assert (edited.entry.revision, edited.replayed) == (2, False)


async def test_script_finds_a_repeated_call_before_it_compares(room: Room) -> None:
    write = await _created(room)
    writes = room.broker.writes
    assert (await writes.commit(SLUG, write)).record
    offset = await room.offset()
    first = await writes.commit(SLUG, write)
    assert (first.is_replay, first.id, first.status) == (True, write.id, 200)
    assert first.position == await room.position()
    with pytest.raises(Refused, match="other"):
        await writes.commit(SLUG, replace(write, call=CallKey("k", "0" * 40)))
    with pytest.raises(Stale):
        await writes.commit(SLUG, replace(write, call=CallKey("new", "f" * 40)))
    assert await room.offset() == offset


# -- deletions and takedowns


async def test_takedown_leaves_no_copy_in_any_key(room: Room) -> None:
    publishing = room.publishing
    at = await publishing.create_entry(SYSTEM, SLUG, {"body": SECRET, "headline": SECRET}, "first")
    fields = {"body": f"{SECRET}!", "byline": [SECRET], "note": SECRET, "key_title": SECRET}
    await publishing.edit_entry(SYSTEM, SLUG, at.entry.id, fields, 1, "second")
    await room.edit(at, pinned=True)
    await room.delete(at)
    await publishing.restore_entry(SYSTEM, SLUG, at.entry.id)
    assert await copies(room) > 0
    done = await room.delete(at, takedown=True)
    assert (done.revisions_erased, done.takedown) == (2, True)
    assert await copies(room) == 0
    again = await room.delete(at, takedown=True)
    assert again == done
    with pytest.raises(Problem) as caught:
        await publishing.restore_entry(SYSTEM, SLUG, at.entry.id)
    assert caught.value.status == 410


async def test_takedown_erases_deleted_entries_and_drafts(room: Room) -> None:
    deleted = await room.entry(body=SECRET)
    tombstone = await room.delete(deleted)
    draft = await room.entry(body=SECRET, status="draft")
    await room.edit(draft, body=f"{SECRET}!")
    scheduled = await room.entry(body=SECRET, publish_at=in_an_hour())
    offset = await room.offset()
    done = [await room.delete(at, takedown=True) for at in (deleted, draft, scheduled)]
    assert [d.revisions_erased for d in done] == [1, 2, 1]
    assert [d.offset for d in done] == [tombstone.offset, None, None]
    assert done[0].position == tombstone.position
    assert await room.offset() == offset
    assert await copies(room) == 0
    assert await room.redis.zcard(key(SLUG, "due")) == 0


async def copies(room: Room) -> int:
    """Return how many values in the store hold the secret text."""
    found = 0
    async for name in room.redis.scan_iter():
        found += SECRET.encode() in repr(await _value(room.redis, name)).encode()
    return found


async def _value(redis: Redis, name: bytes) -> Any:
    kind = await redis.type(name)
    if kind == b"hash":
        return await redis.hgetall(name)
    if kind == b"list":
        return await redis.lrange(name, 0, -1)
    return await (redis.get(name) if kind == b"string" else redis.zrange(name, 0, -1))


async def test_restored_entry_is_a_new_change_with_its_old_order_and_text(room: Room) -> None:
    at = await room.edit(await room.entry(body="First."), body="Second.")
    await room.entry()
    await room.delete(at)
    assert (await room.broker.entries.stored(SLUG, at.entry.id) or at).entry.body is None
    restored = await room.publishing.restore_entry(SYSTEM, SLUG, at.entry.id)
    entry = restored.entry
    assert (entry.order, entry.offset, entry.revision, entry.body) == (2, 6, 2, "Second.")
    assert entry.published_at == at.entry.published_at
    listed = await room.broker.entries.below(SLUG, None, 10)
    assert [e.order for e in listed] == [4, 2]


async def test_delete_takes_one_offset_when_repeated_without_a_key(room: Room) -> None:
    at = await room.entry()
    first, second = await room.delete(at), await room.delete(at)
    assert first == second
    assert await room.offset() == 3


# -- repair and rotate


async def test_repair_read_returns_each_changed_record_once_as_it_is_now(
    room: Room,
) -> None:
    at = await room.entry()
    since = await room.position()
    edited = await room.edit(await room.edit(at, body="2"), revision=2, body="3")
    other = await room.entry()
    await room.delete(other)
    await room.publishing.edit_blog(SYSTEM, SLUG, {"title": "New"})
    answer = await room.broker.source.repair(SLUG, since)
    assert isinstance(answer, Changes)
    assert answer.position == await room.position()
    assert answer.since == since.offset
    chain: Any = await room.redis.get(key(SLUG, "chain"))
    assert answer.checks == chain[8 * since.offset :].decode()
    first, second, third = answer.records
    assert first == edited.entry
    assert isinstance(second, Entry)
    assert (second.id, second.deleted) == (other.entry.id, True)
    assert isinstance(third, Blog)
    assert (third.title, third.offset) == ("New", 7)


async def test_repair_read_returns_why_when_it_cannot_tell_the_changes(room: Room) -> None:
    await room.entry()
    at = await room.position()
    assert isinstance(await room.broker.source.repair(SLUG, at), Changes)
    refused: list[tuple[Position, Literal["moved", "fork"]]] = [
        (at._replace(epoch="other"), "moved"),
        (at._replace(offset=3), "fork"),
        (at._replace(check="00000000"), "fork"),
        (at._replace(offset=1), "fork"),
    ]
    for position, why in refused:
        assert await room.broker.source.repair(SLUG, position) == Moved(why), position
    assert await room.broker.source.repair("absent", at) == Moved("absent")


async def test_repair_read_is_far_when_too_many_changes_are_missing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BATCH", 5)
    at = await room.position()
    for _ in range(5):
        await room.entry()
    assert isinstance(await room.broker.source.repair(SLUG, at), Changes)
    await room.entry()
    assert await room.broker.source.repair(SLUG, at) == Moved("far")


async def test_rotation_happens_once_and_only_when_there_is_a_fork(room: Room) -> None:
    await room.entry()
    at = await room.position()
    before = await room.contents()
    for position in (at, at._replace(epoch="other", offset=9)):
        assert not await room.broker.source.rotate(SLUG, position)
    assert await room.contents() == before
    forked = at._replace(check="00000000")
    done = await asyncio.gather(*(room.broker.source.rotate(SLUG, forked) for _ in range(5)))
    assert sorted(done) == [False] * 4 + [True]
    now = await room.position()
    assert now.offset == at.offset + 1
    assert now.epoch != at.epoch
    assert await room.redis.hget(key(SLUG, "blog"), "base") == str(now.offset).encode()
    messages = await room.messages(3)
    assert verified(messages)[-1] == now.check
    assert messages[-1].previous == now.epoch
    stand = await room.broker.blogs.read(SLUG)
    assert stand
    assert stand.raw == messages[-1].records[0]
    assert (await room.entry()).entry.offset == now.offset + 1


async def test_rotation_begins_an_epoch_when_a_key_is_damaged(room: Room) -> None:
    for name in ("chain", "changed"):
        await room.entry()
        forked = (await room.position())._replace(check="00000000")
        await room.redis.delete(key(SLUG, name))
        await WRONG[TYPES[name]](room.redis, key(SLUG, name))
        await room.broker.source.rotate(SLUG, forked)
        now = await room.position()
        assert (now.epoch != forked.epoch, now.offset > forked.offset) == (True, True), name
        assert await room.broker.source.repair(SLUG, now) == Changes(
            now.offset, now.check, now, "", []
        )


# -- connections


async def test_calls_wait_when_there_are_more_than_connections(
    room: Room, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.store.pool.CONNECTIONS_MAX", 3)
    async with connect(store_url) as nodes:
        publishing = Publishing(Broker(nodes), now_ms)
        calls = [publishing.create_entry(SYSTEM, SLUG, {"body": "Text."}) for _ in range(20)]
        made = await asyncio.gather(*calls)
    assert sorted(at.entry.offset or 0 for at in made) == list(range(2, 22))
