"""Scheduled entries: published when they fall due, once, by the first worker that tries."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from kit.proxy import Proxy
from kit.readers import Target, websocket
from kit.servers import Editor, Server
from kit.waiting import until

from liveblog.blog.model import SYSTEM
from liveblog.blog.problem import Problem, StoreDown
from liveblog.editors import schedule
from liveblog.editors.calls import call_key
from liveblog.editors.publishing import Publishing
from liveblog.store.broker import Broker
from liveblog.store.calls import RETRIED_S
from liveblog.store.codec import key
from liveblog.store.connect import connect
from liveblog.store.due import DUE_AT_ONCE
from liveblog.store.nodes import One

SLUG = "council"
SOON_S = 0.3
CALL_S = 2.0  # entries are scheduled this far ahead, so that the call returns before they are due


def in_seconds(seconds: float) -> str:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds")


def slow_clock() -> int:
    """Return the time a minute ago, in ms. With this clock no scheduled time is in the past."""
    return time.time_ns() // 1_000_000 - 60_000


async def is_published(editor: Editor, entry: Any) -> Any:
    found = await editor.ok("GET", f"/{entry['blog']}/entries/{entry['id']}")
    return found if found["status"] == "published" else None


async def published(editor: Editor, entry: Any) -> Any:
    return await until(lambda: is_published(editor, entry))


# -- two servers


async def test_scheduled_entry_is_published_once_when_there_are_many_workers(
    site: Server, twin: Server, editor: Editor
) -> None:
    blog = await editor.blog()
    async with (
        websocket(Target(site.url, blog["slug"])) as here,
        websocket(Target(twin.url, blog["slug"])) as there,
    ):
        for stream in (here, there):
            await stream.next("hello")
        made = [
            await editor.publish(blog["slug"], f"Planned {n}.", publish_at=in_seconds(CALL_S))
            for n in range(5)
        ]
        assert {(e["status"], e["offset"], e["position"]) for e in made} == {
            ("scheduled", None, None)
        }
        done = [await published(editor, entry) for entry in made]
        assert sorted(e["offset"] for e in done) == [2, 3, 4, 5, 6]
        assert all(e["published_at"] >= m["publish_at"] for e, m in zip(done, made, strict=True))
        assert {(e["publish_at"], e["revision"]) for e in done} == {(None, 1)}
        last = await editor.publish(blog["slug"], "Written by hand.")
        assert last["offset"] == 7
        for stream in (here, there):
            ids: list[str] = []
            while last["id"] not in ids:
                ids += [change["id"] for change in (await stream.next("changes"))["changes"]]
            assert sorted(ids) == sorted(e["id"] for e in [*made, last])


async def test_scheduled_entry_waits_when_its_blog_has_ended(
    editor: Editor,
) -> None:
    ended, other = await editor.blog(), await editor.blog()
    planned = await editor.publish(ended["slug"], "Planned.", publish_at=in_seconds(3_600))
    await editor.alter(ended["slug"], status="ended")
    planned = await editor.edit(planned, publish_at=in_seconds(CALL_S))
    later = await editor.publish(other["slug"], "Later.", publish_at=in_seconds(CALL_S))
    await published(editor, later)
    overdue = await editor.ok("GET", f"/{ended['slug']}/entries/{planned['id']}")
    assert (overdue["status"], overdue["offset"]) == ("scheduled", None)
    assert overdue["publish_at"] == planned["publish_at"]
    await editor.alter(ended["slug"], status="live")
    assert (await published(editor, planned))["offset"] == 4


# -- one pass over due entries, on Valkey and on Redis


@pytest.fixture
async def desk(store_client: redis.asyncio.Redis) -> tuple[Broker, Publishing]:
    """Return a broker and a `Publishing` on a store with one live blog."""
    broker = Broker(One(store_client))
    publishing = Publishing(broker, slow_clock)
    fields = {"slug": SLUG, "title": "Council", "status": "live"}
    await publishing.create_blog(SYSTEM, fields)
    return broker, publishing


async def planned(publishing: Publishing, seconds: float = 0.3) -> str:
    fields = {"body": "Planned.", "publish_at": in_seconds(seconds)}
    return (await publishing.create_entry(SYSTEM, SLUG, fields)).entry.id


async def due(broker: Broker, *ids: str) -> bool:
    return {due.id for due in (await broker.due.read()).entries} >= set(ids)


async def test_entry_is_published_by_one_pass_when_many_run_at_once(
    desk: tuple[Broker, Publishing], store_client: redis.asyncio.Redis
) -> None:
    broker, publishing = desk
    ids = [await planned(publishing) for _ in range(3)]
    later = await planned(publishing, 3_600)
    await until(lambda: due(broker, *ids))
    done = await asyncio.gather(*(schedule.publish_due(broker.due, publishing) for _ in range(8)))
    assert sum(done) == 3
    assert {e.id for e in await broker.entries.below(SLUG, None, 10)} == set(ids)
    assert (await broker.due.read()).entries == []
    assert [e.id for e in await broker.entries.drafts(SLUG)] == [later]
    keys = [name async for name in store_client.scan_iter(match="lb:*:idem:*")]
    assert len(keys) > 3
    assert all([0 < await store_client.ttl(name) <= RETRIED_S for name in keys])


async def test_entry_is_not_published_when_deleted_postponed_or_a_draft(
    desk: tuple[Broker, Publishing],
) -> None:
    broker, publishing = desk
    deleted, postponed, draft, unaltered = [await planned(publishing) for _ in range(4)]
    await publishing.delete_entry(SYSTEM, SLUG, deleted)
    fields: dict[str, Any] = {"publish_at": in_seconds(3_600)}
    await publishing.edit_entry(SYSTEM, SLUG, postponed, fields, 1)
    await publishing.edit_entry(SYSTEM, SLUG, draft, {"status": "draft"}, 1)
    await until(lambda: due(broker, unaltered))
    assert await schedule.publish_due(broker.due, publishing) == 1
    assert [e.id for e in await broker.entries.below(SLUG, None, 10)] == [unaltered]
    restored = await publishing.restore_entry(SYSTEM, SLUG, deleted)
    assert (restored.entry.status, restored.entry.publish_at) == ("draft", None)
    assert await schedule.publish_due(broker.due, publishing) == 0


async def test_entry_is_not_published_when_postponed_after_it_was_listed(
    desk: tuple[Broker, Publishing],
) -> None:
    broker, publishing = desk
    id = await planned(publishing)
    await until(lambda: due(broker, id))
    [listed] = (await broker.due.read()).entries
    await publishing.edit_entry(SYSTEM, SLUG, id, {"publish_at": in_seconds(3_600)}, 1)
    assert not await publishing.publish_due(*listed)
    assert await broker.entries.below(SLUG, None, 10) == []


@pytest.mark.parametrize("why", [Problem(422, "invalid-field", "Refused."), TypeError("A bug.")])
async def test_stuck_entry_does_not_hold_up_the_others(
    desk: tuple[Broker, Publishing], monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    broker, publishing = desk
    stuck, fine = await planned(publishing), await planned(publishing)
    await until(lambda: due(broker, stuck, fine))
    publish = publishing.publish_due

    async def refuse(slug: str, id: str, now: int) -> bool:
        if id == stuck:
            raise why
        return await publish(slug, id, now)

    monkeypatch.setattr(publishing, "publish_due", refuse)
    assert await schedule.publish_due(broker.due, publishing) == 1
    assert [e.id for e in await broker.entries.below(SLUG, None, 10)] == [fine]


async def slugs(broker: Broker) -> list[str]:
    page = await broker.blogs.front(None, 50)
    return [stored.blog.slug for stored in page.blogs] if page else []


async def sweep(broker: Broker) -> None:
    for steps in (broker.sweep.walk(), broker.sweep.search()):
        async for _ in steps:
            pass


def _as_stored(**fields: Any) -> bytes:
    return json.dumps({"id": "e000000000000", "status": "scheduled", **fields}).encode()


@pytest.mark.parametrize(
    "record",
    [b"{broken", b"[]", _as_stored(revision=10**25), b"[" * 200_000],
    ids=["no JSON", "a list", "a revision too large", "nested too deep"],
)
async def test_corrupt_scheduled_entry_does_not_hold_up_the_others(
    desk: tuple[Broker, Publishing], store_client: redis.asyncio.Redis, record: bytes
) -> None:
    broker, publishing = desk
    damaged, fine = await planned(publishing), await planned(publishing)
    await store_client.hset(key(SLUG, "drafts"), damaged, record)
    await until(lambda: due(broker, damaged, fine))
    assert await schedule.publish_due(broker.due, publishing) == 1
    assert [e.id for e in await broker.entries.below(SLUG, None, 10)] == [fine]


async def test_full_page_of_corrupt_entries_does_not_hold_up_the_others(
    desk: tuple[Broker, Publishing], store_client: redis.asyncio.Redis
) -> None:
    broker, publishing = desk
    broken, fine = await planned(publishing), await planned(publishing)
    await until(lambda: due(broker, broken, fine))
    record: Any = await store_client.hget(key(SLUG, "drafts"), broken)
    ids = [*(f"e{n:012d}" for n in range(DUE_AT_ONCE - 1)), broken]
    await store_client.hset(key(SLUG, "drafts"), mapping=dict.fromkeys(ids, b"{broken"))
    await store_client.zadd(key(SLUG, "due"), {**dict.fromkeys(ids, 1), b"\xff\xfe": 2})
    skipped: Counter[str] = Counter()
    done = [await schedule.publish_due(broker.due, publishing, skipped) for _ in range(2)]
    assert done == [0, 1]
    await store_client.hset(key(SLUG, "drafts"), broken, record)
    assert await schedule.publish_due(broker.due, publishing, skipped) == 1
    assert {e.id for e in await broker.entries.below(SLUG, None, 10)} == {broken, fine}


async def test_due_id_is_forgotten_when_it_has_no_scheduled_entry(
    desk: tuple[Broker, Publishing], store_client: redis.asyncio.Redis
) -> None:
    broker, publishing = desk
    fine = await planned(publishing)
    await until(lambda: due(broker, fine))
    orphans = dict.fromkeys((f"e{n:012d}" for n in range(DUE_AT_ONCE)), 1)
    await store_client.zadd(key(SLUG, "due"), orphans)
    assert [await schedule.publish_due(broker.due, publishing) for _ in range(2)] == [0, 1]
    assert await store_client.zcard(key(SLUG, "due")) == 0


async def test_due_id_stays_when_its_entry_was_scheduled_since_the_read(
    desk: tuple[Broker, Publishing],
) -> None:
    broker, publishing = desk
    id = (await publishing.create_entry(SYSTEM, SLUG, {"body": "B.", "status": "draft"})).entry.id
    draft = await broker.entries.stored(SLUG, id)
    assert draft
    await publishing.edit_entry(SYSTEM, SLUG, id, {"publish_at": in_seconds(SOON_S)}, 1)
    await broker.due.unschedule(SLUG, id, draft.raw)
    await broker.due.unschedule(SLUG, id, None)
    await until(lambda: due(broker, id))


async def test_due_entries_are_published_in_the_next_pass_when_there_are_many(
    desk: tuple[Broker, Publishing], store_client: redis.asyncio.Redis
) -> None:
    broker, publishing = desk
    ids = [await planned(publishing) for _ in range(25)]
    await until(lambda: _is_past(store_client, ids[-1]))
    done = [await schedule.publish_due(broker.due, publishing) for _ in range(3)]
    assert done == [20, 5, 0]


async def _is_past(client: Any, id: str) -> bool:
    seconds, micros = await client.time()
    score = await client.zscore(key(SLUG, "due"), id)
    return bool(score < seconds * 1000 + micros // 1000)


async def test_blog_is_listed_when_the_reply_to_its_creation_was_lost(
    store_url: str,
) -> None:
    proxy = Proxy(Path(store_url.removeprefix("unix://")))
    await proxy.start()
    async with connect(proxy.url) as nodes:
        broker = Broker(nodes)
        publishing = Publishing(broker, slow_clock)
        proxy.lose_next_answer(b":idem:")
        await publishing.create_blog(SYSTEM, {"slug": SLUG, "title": "Council", "status": "live"})
        assert proxy.answers_lost == 1
        [listed] = (await publishing.blogs(SYSTEM)).blogs
        assert listed.blog.slug == SLUG
        id = await planned(publishing)
        await until(lambda: due(broker, id))
    await proxy.stop()


async def test_scheduled_entry_is_due_when_the_list_lacks_its_blog(
    desk: tuple[Broker, Publishing], store_client: redis.asyncio.Redis
) -> None:
    broker, publishing = desk
    await store_client.delete("lb:blogs")
    id = await planned(publishing)
    await until(lambda: due(broker, id))


async def test_blog_that_takes_no_writes_holds_up_neither_others_nor_a_rewrite(
    store_client: redis.asyncio.Redis,
) -> None:
    broker = Broker(One(store_client))
    publishing = Publishing(broker, slow_clock)
    due: dict[str, str] = {}
    for slug in ("bad", "good"):
        await publishing.create_blog(SYSTEM, {"slug": slug, "title": slug, "status": "live"})
        fields = {"body": "Planned.", "publish_at": in_seconds(SOON_S)}
        due[slug] = (await publishing.create_entry(SYSTEM, slug, fields)).entry.id
    await broker.eraser.request("good", again=False)
    idem = call_key(SYSTEM, "due bad", f"due:{due['bad']}:1", None).idem
    await store_client.rpush(key("bad", f"idem:{idem}"), "of a wrong type")
    running = asyncio.create_task(schedule.run(broker, publishing))
    try:
        await until(lambda: store_client.hexists(key("good", "entries"), due["good"]))
        await until(lambda: _is_rewritten(store_client))
    finally:
        running.cancel()
    assert await store_client.hexists(key("bad", "drafts"), due["bad"])


async def _is_rewritten(client: redis.asyncio.Redis) -> bool:
    return not await client.exists("lb:rewrites")


async def test_blog_hides_no_other_when_its_key_has_the_wrong_type(
    store_client: redis.asyncio.Redis,
) -> None:
    broker = Broker(One(store_client))
    publishing = Publishing(broker, slow_clock)
    for slug in ("bad", "good"):
        await publishing.create_blog(SYSTEM, {"slug": slug, "title": slug, "status": "live"})
    await store_client.delete(key("bad", "blog"))
    await store_client.set(key("bad", "blog"), "of a wrong type")
    heads = await broker.source.heads(["bad", "good"])
    assert (list(heads.positions), heads.unreachable) == (["good"], "")
    assert await slugs(broker) == ["good"]
    assert (await broker.due.read()).entries == []


@pytest.mark.parametrize("member", [b"\xff\xfe", b"x", b"e123"])
async def test_foreign_member_of_the_schedule_is_removed_and_the_others_go_out(
    desk: tuple[Broker, Publishing],
    store_client: redis.asyncio.Redis,
    caplog: pytest.LogCaptureFixture,
    member: bytes,
) -> None:
    broker, publishing = desk
    fine = await planned(publishing)
    await until(lambda: due(broker, fine))
    await store_client.zadd(key(SLUG, "due"), {member: 1})
    assert await schedule.publish_due(broker.due, publishing) == 1
    assert await store_client.exists(key(SLUG, "due")) == 0
    caplog.clear()
    await schedule.publish_due(broker.due, publishing)
    assert caplog.messages == []


async def test_foreign_member_is_logged_once_a_minute_while_nobody_can_remove_it(
    desk: tuple[Broker, Publishing],
    store_client: redis.asyncio.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: Any) -> Any:
        raise StoreDown("a copy that is read-only")

    broker, publishing = desk
    await planned(publishing)
    monkeypatch.setattr(broker.due.rebuilding, "_run", refuse)
    await store_client.zadd(key(SLUG, "due"), {b"\xfe": 1})
    for _ in range(3):
        await schedule.publish_due(broker.due, publishing)
    assert len(caplog.messages) == len(set(caplog.messages)) <= 3


DAMAGE: dict[str, list[tuple[Any, ...]]] = {
    "an offset that is no number": [("HSET", key("bad", "blog"), "offset", "1.5")],
    "an epoch that is not UTF-8": [("HSET", key("bad", "blog"), "epoch", b"\xff\xfe")],
    "no offset": [("HDEL", key("bad", "blog"), "offset")],
    "no chain": [("DEL", key("bad", "chain"))],
    "a due entry that is not UTF-8": [("ZADD", key("bad", "due"), "1", b"\xff\xfe")],
    "a slug that is not UTF-8": [("ZADD", "lb:blogs", "1", b"\xff\xfe")],
    "a key that is not UTF-8": [("HSET", b"lb:{\xff\xfe}:blog", "epoch", "x")],
}


@pytest.mark.parametrize("commands", DAMAGE.values(), ids=DAMAGE)
async def test_corrupt_blog_ends_no_query_about_the_others(
    store_client: redis.asyncio.Redis, commands: list[tuple[Any, ...]]
) -> None:
    broker = Broker(One(store_client))
    publishing = Publishing(broker, slow_clock)
    for slug in ("bad", "good"):
        await publishing.create_blog(SYSTEM, {"slug": slug, "title": slug, "status": "live"})
    for command in commands:
        await store_client.execute_command(*command)
    await sweep(broker)
    await broker.due.read()
    assert "good" in (await broker.source.heads(["bad", "good"])).positions
    assert "good" in await slugs(broker)
    assert await broker.source.load("good")
    for query in (broker.source.load, broker.blogs.read):
        with contextlib.suppress(StoreDown):
            await query("bad")
