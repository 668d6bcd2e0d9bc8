"""The lists of blogs, and the sweep that completes them and the agenda, on Valkey and on Redis."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis.asyncio
from kit.waiting import until

from liveblog.blog.model import SYSTEM
from liveblog.editors import schedule
from liveblog.editors.publishing import Publishing
from liveblog.store import blogs, sweep
from liveblog.store.agenda import SETTLED_MS, TAGS, _keys, bucket
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.listing import LISTED, LIVE
from liveblog.store.nodes import One

SLUG = "council"


@pytest.fixture
async def broker(store_client: redis.asyncio.Redis) -> Broker:
    """Return a broker on a store with one live blog."""
    made = Broker(One(store_client))
    made.sweep.pause_s = 0
    await publishing(made).create_blog(SYSTEM, {"slug": SLUG, "title": "C", "status": "live"})
    return made


def publishing(broker: Broker) -> Publishing:
    return Publishing(broker, lambda: 1)


async def create(broker: Broker, *slugs: str, status: str = "ended") -> None:
    for slug in slugs:
        fields = {"slug": slug, "title": slug, "status": status}
        await publishing(broker).create_blog(SYSTEM, fields)


async def age(client: Any, name: str) -> None:
    """Make all times of a list two minutes older."""
    for slug, at in await client.zrange(name, 0, -1, withscores=True):
        await client.zadd(name, {slug: at - 2 * SETTLED_MS})


async def walk(broker: Broker) -> None:
    async for _ in broker.sweep.walk():
        pass


async def front(
    broker: Broker, before: str | None = None, limit: int = 50
) -> tuple[list[str], Any]:
    page = await broker.blogs.front(before, limit)
    assert page
    return [stored.blog.slug for stored in page.blogs], page.next


# -- the home page


async def test_live_blogs_come_first_on_the_home_page_when_others_are_newer(
    broker: Broker,
) -> None:
    await create(broker, "hidden", status="draft")
    await create(broker, "over", "done")
    await create(broker, "later", status="upcoming")
    assert await front(broker) == ([SLUG, "later", "done", "over"], None)
    assert await front(broker, limit=1) == ([SLUG], SLUG)
    assert await front(broker, SLUG, 2) == (["later", "done"], "done")
    assert await front(broker, "done", 2) == (["over"], None)
    for before in ("unknown", "hidden"):  # a draft looks as if it did not exist
        assert await broker.blogs.front(before, 2) is None


async def test_home_pages_follow_each_other_when_live_ones_and_drafts_are_between(
    broker: Broker,
) -> None:
    order = ("ended", "draft", "live", "upcoming", "live", "draft", "ended", "live")
    for n, status in enumerate(order):
        await create(broker, f"b{n}", status=status)
    whole, _ = await front(broker)
    assert whole == ["b7", "b4", "b2", SLUG, "b6", "b3", "b0"]
    for limit in range(1, 8):
        slugs, before = await front(broker, limit=limit)
        while before:
            assert before in whole, "a page leads to a draft"
            more, before = await front(broker, before, limit)
            slugs += more
        assert slugs == whole


async def test_home_page_reads_on_when_many_drafts_are_newer(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blogs, "BATCH", 3)
    await create(broker, "over")
    await create(broker, *(f"d{n}" for n in range(4)), status="draft")
    assert await front(broker) == ([SLUG, "over"], None)


async def test_live_blog_is_on_the_home_page_when_the_live_set_lacks_it(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    await create(broker, "over")
    await store_client.delete(LIVE)
    assert await front(broker) == (["over", SLUG], None)
    await walk(broker)
    assert await front(broker) == ([SLUG, "over"], None)


async def test_ended_blog_leaves_the_live_ones_and_returns_when_it_is_reopened(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    await create(broker, "other", status="live")
    await publishing(broker).edit_blog(SYSTEM, SLUG, {"status": "ended"})
    assert await store_client.zrange(LIVE, 0, -1) == [b"other"]
    assert await front(broker) == (["other", SLUG], None)
    await publishing(broker).edit_blog(SYSTEM, SLUG, {"status": "live"})
    assert await front(broker) == ([SLUG, "other"], None)


async def test_ended_blog_stays_in_the_live_set_until_no_writer_can_follow(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    await create(broker, "over")
    listing = broker.writes.listing
    await listing.announce("over", is_new=False, is_live=True)
    earlier = (await listing.times(LIVE, ["over"]))["over"] - 1
    await listing.touch("over", 1, left=earlier)  # another writer has announced it since
    await walk(broker)
    assert await store_client.zcard(LIVE) == 2
    assert await front(broker) == ([SLUG, "over"], None)
    await age(store_client, LIVE)
    await walk(broker)
    assert await store_client.zrange(LIVE, 0, -1) == [SLUG.encode()]


# -- the list of all blogs


async def test_new_blog_is_listed_when_its_time_cannot_be_updated(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(broker.writes.listing, "_touch", fail)
    await create(broker, "new", status="live")
    assert await front(broker) == (["new", SLUG], None)


async def test_taken_slug_keeps_its_place_when_another_creation_is_rejected(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    before = await store_client.zscore(LISTED, SLUG)
    with pytest.raises(Exception, match="is taken"):
        await create(broker, SLUG, status="live")
    assert await store_client.zscore(LISTED, SLUG) == before


async def test_listed_slug_is_removed_when_it_has_no_blog_for_a_minute(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    await store_client.zadd(LISTED, {"lost": time.time() * 1000})
    assert await front(broker) == ([SLUG], None)
    await walk(broker)
    assert await store_client.zscore(LISTED, "lost") is not None
    await age(store_client, LISTED)
    await walk(broker)
    assert await store_client.zrange(LISTED, 0, -1) == [SLUG.encode()]


# -- the sweep


async def test_walk_adds_scheduled_entries_when_an_older_version_stored_them(
    broker: Broker, store_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "STEP", 2)
    await create(broker, *(f"b{n}" for n in range(4)))
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    fields = {"headline": "Planned", "publish_at": soon}
    made = await publishing(broker).create_entry(SYSTEM, SLUG, fields)
    for name in await store_client.keys("lb:due:*"):
        await store_client.delete(name)

    async def is_published() -> bool:
        await schedule.publish_due(broker.due, publishing(broker))
        return bool(await store_client.hexists(key(SLUG, "entries"), made.entry.id))

    assert not await is_published()
    await walk(broker)
    await until(is_published)


async def test_one_worker_sweeps_at_a_time_and_none_soon_after(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    other = Broker(One(store_client)).sweep
    other.pause_s = 0
    taken: list[str] = []

    async def steps(name: str) -> Any:
        taken.append(name)
        yield
        await other.take_turn("lb:sweep:test", steps("during"), 60)
        yield

    await broker.sweep.take_turn("lb:sweep:test", steps("first"), 60)
    await other.take_turn("lb:sweep:test", steps("after"), 60)
    assert taken == ["first"]
    assert 30 < await store_client.ttl("lb:sweep:test") <= 60
    await store_client.delete("lb:sweep:test")
    await other.take_turn("lb:sweep:test", steps("later"), 60)
    assert taken == ["first", "later"]


async def test_search_lists_the_blogs_that_the_list_lacks(
    broker: Broker, store_client: redis.asyncio.Redis
) -> None:
    await create(broker, "one", "two")
    place = await store_client.zscore(LISTED, "two")
    await store_client.zrem(LISTED, "one", SLUG)
    async for _ in broker.sweep.search():
        pass
    assert set(await store_client.zrange(LISTED, 0, -1)) == {b"one", b"two", SLUG.encode()}
    assert await store_client.zscore(LISTED, "two") == place


# -- shared keys of another type

SHARED = {
    LISTED: "zset",
    LIVE: "zset",
    "lb:rewrites": "hash",
    "lb:rewriting": "hash",
    **dict.fromkeys(_keys(TAGS[bucket(SLUG)])[:1], "zset"),
    **dict.fromkeys(_keys(TAGS[bucket(SLUG)])[1:], "hash"),
}


@pytest.mark.parametrize("name", SHARED)
async def test_all_work_goes_on_when_a_shared_key_has_another_type(
    broker: Broker, store_client: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry = (await publishing(broker).create_entry(SYSTEM, SLUG, {"body": "One."})).entry
    await create(broker, "older")

    async def damage() -> None:
        await store_client.delete(name)
        await store_client.sadd(name, "of another type")

    for work in (
        lambda: publishing(broker).blogs(SYSTEM),
        lambda: broker.blogs.front(None, 50),
        lambda: create(broker, "newer"),
        lambda: publishing(broker).create_entry(
            SYSTEM, SLUG, {"body": "Two.", "publish_at": "2100-01-01T00:00:00Z"}
        ),
        lambda: publishing(broker).delete_entry(SYSTEM, SLUG, entry.id, takedown=True),
        lambda: schedule.publish_due(broker.due, publishing(broker)),
        broker.eraser.rewrite_if_requested,
        lambda: walk(broker),
    ):
        await damage()
        await work()
    await broker.eraser.request(SLUG, again=False)

    async def is_whole() -> bool:  # `lb:rewriting` is not read while a rewrite is running
        await broker.eraser.rewrite_if_requested()
        return await store_client.type(name) in (SHARED[name].encode(), b"none")

    await until(is_whole)
    assert any(f"key {name} was of a wrong type" in it for it in caplog.messages)
    async for _ in broker.sweep.search():
        pass
    await walk(broker)
    assert {"older", SLUG} <= {
        it.blog.slug for it in (await publishing(broker).blogs(SYSTEM)).blogs
    }
    assert SLUG in (await front(broker))[0]


async def test_lost_requests_for_a_rewrite_are_repeated(broker: Broker, store_client: Any) -> None:
    await store_client.delete("lb:rewrites")
    await store_client.set("lb:rewrites", "of another type")
    assert await broker.eraser.rewrite_if_requested()


@pytest.mark.parametrize("name", ["lb:sweep:walk", "lb:sweep:search"])
@pytest.mark.parametrize("words", [("SET", "x"), ("RPUSH", "x"), ("HSET", "x", "y")])
async def test_sweep_takes_a_turn_when_its_key_is_none_of_a_worker(
    broker: Broker, store_client: Any, name: str, words: tuple[str, ...]
) -> None:
    await store_client.delete(name)
    await store_client.execute_command(words[0], name, *words[1:])
    taken = []

    async def steps() -> Any:
        taken.append(1)
        yield

    await broker.sweep.take_turn(name, steps(), 60)
    assert taken


async def test_foreign_members_of_the_agenda_are_removed(broker: Broker, store_client: Any) -> None:
    name = _keys(TAGS[0])[0]
    await store_client.zadd(name, {b"\xff\xfe": 1, "No slug": 1})
    assert (await broker.due.read()).looks == []
    assert await store_client.exists(name) == 0
