"""The bin of deleted drafts, on Valkey and Redis: what is kept, for how long, and old tombstones."""

import time
from typing import Any

import pytest
from kit.contents import contents
from redis.asyncio import Redis
from redis.exceptions import ClusterDownError

from liveblog.blog.model import SYSTEM, Caller
from liveblog.blog.problem import Problem
from liveblog.editors.publishing import Publishing
from liveblog.store.bin import BIN_MS, move_tombstones
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.nodes import Node, One

EDITOR = Caller("user:dana", "editor")
SLUG = "council"
TEXT = "Nobody has published this"
LATER = "2090-01-01T00:00:00Z"
KINDS: dict[str, dict[str, str]] = {
    "draft": {"status": "draft"},
    "submission": {"status": "submitted"},
    "scheduled": {"publish_at": LATER},
}


@pytest.fixture
async def publishing(store_client: Redis) -> Publishing:
    made = Publishing(Broker(One(store_client)), lambda: time.time_ns() // 1_000_000)
    await made.create_blog(EDITOR, {"slug": SLUG, "title": "Council", "status": "live"})
    return made


async def deleted(publishing: Publishing, **given: str) -> str:
    """Return the id of a deleted draft that has two revisions."""
    fields = {"body": "B.", **(given or {"status": "draft"})}
    made = await publishing.create_entry(EDITOR, SLUG, fields)
    await publishing.edit_entry(EDITOR, SLUG, made.entry.id, {"body": TEXT}, 1)
    await publishing.delete_entry(EDITOR, SLUG, made.entry.id)
    return made.entry.id


async def left_by_an_earlier_version(publishing: Publishing, client: Redis) -> str:
    """Return the id of a deleted draft whose tombstone is among the drafts."""
    id = await deleted(publishing)
    record: Any = await client.get(key(SLUG, f"bin:{id}"))
    await client.delete(key(SLUG, f"bin:{id}"))
    await client.zrem(key(SLUG, "bin"), id)
    await client.hset(key(SLUG, "drafts"), id, record)
    await client.persist(key(SLUG, f"rev:{id}"))
    return id


async def binned(client: Redis) -> list[str]:
    ids: Any = await client.zrange(key(SLUG, "bin"), 0, -1)
    return [id.decode() for id in ids]


async def lives_ms(client: Redis, id: str) -> list[int]:
    """Return how long the store keeps the bin's parts of a draft: -1 without end, -2 not there."""
    return [await client.pttl(key(SLUG, name)) for name in (f"bin:{id}", f"rev:{id}")]


async def status_of(work: Any) -> int:
    with pytest.raises(Problem) as raised:
        await work
    return raised.value.status


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
async def test_deleted_draft_is_kept_for_30_days_out_of_the_way_of_drafts(
    publishing: Publishing, store_client: Redis, fields: dict[str, str]
) -> None:
    id = await deleted(publishing, **fields)
    assert await store_client.hlen(key(SLUG, "drafts")) == 0
    assert await binned(store_client) == [id]
    assert all(BIN_MS - 60_000 < left <= BIN_MS for left in await lives_ms(store_client, id))
    assert await status_of(publishing.entry(EDITOR, SLUG, id)) == 410
    restored = (await publishing.restore_entry(EDITOR, SLUG, id)).entry
    assert (restored.body, restored.revision) == (TEXT, 2)
    assert await publishing.unpublished(EDITOR, SLUG) == [restored]
    assert await binned(store_client) == []
    assert await lives_ms(store_client, id) == [-2, -1]


async def test_draft_is_not_found_when_its_30_days_are_over(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await deleted(publishing)
    for name in (f"bin:{id}", f"rev:{id}"):
        await store_client.pexpire(key(SLUG, name), 0)
    assert await status_of(publishing.entry(EDITOR, SLUG, id)) == 404
    assert await status_of(publishing.restore_entry(EDITOR, SLUG, id)) == 404
    assert TEXT not in repr(await contents(store_client))


async def test_deletion_removes_expired_ids_from_the_bin(
    publishing: Publishing, store_client: Redis
) -> None:
    fresh = await deleted(publishing)
    long_ago = time.time() * 1000 - BIN_MS - 1
    await store_client.zadd(key(SLUG, "bin"), {f"old{n}": long_ago for n in range(150)})
    # Of 150 expired ids, each deletion removes up to 100, and adds its own.
    for count in (52, 3):
        await deleted(publishing)
        assert await store_client.zcard(key(SLUG, "bin")) == count
    assert fresh in await binned(store_client)


async def test_second_deletion_does_not_keep_a_draft_longer(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await deleted(publishing)
    for name in (f"bin:{id}", f"rev:{id}"):
        await store_client.pexpire(key(SLUG, name), 60_000)
    await publishing.delete_entry(EDITOR, SLUG, id)
    assert all(0 < left <= 60_000 for left in await lives_ms(store_client, id))


@pytest.mark.parametrize("is_old", [False, True])
async def test_takedown_erases_a_draft_in_the_bin(
    publishing: Publishing, store_client: Redis, *, is_old: bool
) -> None:
    if is_old:
        id = await left_by_an_earlier_version(publishing, store_client)
    else:
        id = await deleted(publishing)
    assert (await publishing.delete_entry(SYSTEM, SLUG, id, takedown=True)).revisions_erased == 2
    assert TEXT not in repr(await contents(store_client))
    assert await store_client.hlen(key(SLUG, "drafts")) == 0
    assert await status_of(publishing.entry(EDITOR, SLUG, id)) == 410
    assert await status_of(publishing.restore_entry(EDITOR, SLUG, id)) == 410


async def test_deleted_entry_stays_restorable_when_it_was_published(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await deleted(publishing, status="published")
    assert await binned(store_client) == []
    assert await lives_ms(store_client, id) == [-2, -1]


# -- tombstones that an earlier version left among the drafts


async def test_old_tombstone_is_gone_and_restorable_as_before(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await left_by_an_earlier_version(publishing, store_client)
    assert await status_of(publishing.entry(EDITOR, SLUG, id)) == 410
    restored = (await publishing.restore_entry(EDITOR, SLUG, id)).entry
    assert restored.body == TEXT
    assert await publishing.unpublished(EDITOR, SLUG) == [restored]


async def test_old_tombstones_move_to_the_bin_when_drafts_are_listed(
    publishing: Publishing, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.store.bin.MOVED_MAX", 2)
    ids = {await left_by_an_earlier_version(publishing, store_client) for _ in range(3)}
    living = (await publishing.create_entry(EDITOR, SLUG, {"body": "L.", "status": "draft"})).entry
    for left in (1, 0):
        assert await publishing.unpublished(EDITOR, SLUG) == [living]
        assert await store_client.hlen(key(SLUG, "drafts")) == 1 + left
    assert {*await binned(store_client)} == ids
    for id in ids:
        assert all(0 < left <= BIN_MS for left in await lives_ms(store_client, id))
        assert (await publishing.restore_entry(EDITOR, SLUG, id)).entry.body == TEXT


async def test_old_tombstones_move_to_the_bin_when_a_draft_is_created(
    publishing: Publishing, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"body": 'Like "deleted":true.', "status": "draft"}
    ids = [await left_by_an_earlier_version(publishing, store_client) for _ in range(3)]
    monkeypatch.setattr("liveblog.store.calls.DRAFTS_MAX", 2)
    for _ in range(2):
        await publishing.create_entry(EDITOR, SLUG, fields)
    assert sorted(await binned(store_client)) == sorted(ids)
    assert await store_client.hlen(key(SLUG, "drafts")) == 2
    assert await status_of(publishing.create_entry(EDITOR, SLUG, fields)) == 409


async def test_drafts_are_listed_when_old_tombstones_cannot_move(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await left_by_an_earlier_version(publishing, store_client)
    await store_client.set(key(SLUG, "bin"), "not a sorted set")
    assert await publishing.unpublished(EDITOR, SLUG) == []
    assert await store_client.hexists(key(SLUG, "drafts"), id)


async def test_tombstones_stay_when_no_server_is_known_to_have_them(store_client: Redis) -> None:
    class Lost(One):
        def node(self, name: str) -> Node:
            raise ClusterDownError(f"no node of the cluster is known to have {name}")

    await move_tombstones(Lost(store_client), SLUG, [b"e00000000000x"])
