"""The bin on Valkey and Redis: what is kept, for how long, the sweep, and old tombstones."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.contents import contents
from kit.shifted import ShiftedStore, shifted_store
from kit.waiting import until
from redis.asyncio import Redis
from redis.exceptions import ClusterDownError

from liveblog.blog.model import SYSTEM, Caller
from liveblog.blog.problem import Problem
from liveblog.editors.publishing import Publishing
from liveblog.store.bin import BIN_MS, move_tombstones
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.kept import Kept, Place
from liveblog.store.nodes import Node, One

EDITOR = Caller("user:dana", "editor")
OTHER = Caller("user:kim", "contributor")
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


# -- entries that were published


async def test_published_entry_can_be_restored_for_30_days_after_its_deletion(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await deleted(publishing, status="published")
    assert await binned(store_client) == [id]
    assert await store_client.ttl(key(SLUG, "bin")) == -1
    absent, left = await lives_ms(store_client, id)
    assert absent == -2
    assert BIN_MS - 60_000 < left <= BIN_MS
    assert (await publishing.restore_entry(EDITOR, SLUG, id)).entry.body == TEXT
    assert await binned(store_client) == []
    assert await lives_ms(store_client, id) == [-2, -1]


async def test_numbers_alone_are_left_and_restore_is_410_when_30_days_are_over(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await deleted(publishing, status="published")
    deletion = await publishing.delete_entry(EDITOR, SLUG, id)
    await store_client.pexpire(key(SLUG, f"rev:{id}"), 0)
    assert TEXT not in repr(await contents(store_client))
    assert await status_of(publishing.restore_entry(EDITOR, SLUG, id)) == 410
    assert await status_of(publishing.entry(EDITOR, SLUG, id)) == 410
    assert await publishing.delete_entry(EDITOR, SLUG, id) == deletion
    assert (await publishing.bin.page(EDITOR, SLUG)).entries == []


async def test_second_deletion_does_not_keep_a_published_entry_longer(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await deleted(publishing, status="published")
    before = await store_client.zscore(key(SLUG, "bin"), id)
    await store_client.pexpire(key(SLUG, f"rev:{id}"), 60_000)
    await publishing.delete_entry(EDITOR, SLUG, id)
    assert 0 < (await lives_ms(store_client, id))[1] <= 60_000
    assert await store_client.zscore(key(SLUG, "bin"), id) == before


@pytest.mark.parametrize("fields", [*KINDS.values(), {"status": "published"}])
async def test_entry_leaves_the_bin_when_it_is_taken_down(
    publishing: Publishing, store_client: Redis, fields: dict[str, str]
) -> None:
    id = await deleted(publishing, **fields)
    await publishing.delete_entry(SYSTEM, SLUG, id, takedown=True)
    assert await binned(store_client) == []
    assert TEXT not in repr(await contents(store_client))


async def test_bin_names_an_entry_whose_text_is_damaged(
    publishing: Publishing, store_client: Redis
) -> None:
    damaged = await deleted(publishing, status="published")
    whole = await deleted(publishing)
    await store_client.lset(key(SLUG, f"rev:{damaged}"), 0, "no record")
    page = await publishing.bin.page(EDITOR, SLUG)
    assert [it.result.entry.id for it in page.entries] == [whole]
    assert page.damaged == [damaged]
    assert (await publishing.bin.page(OTHER, SLUG)).damaged == []


async def test_bin_is_read_page_by_page_past_what_the_caller_may_not_restore(
    publishing: Publishing, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.editors.bin.LIST_MAX", 2)
    own = (await publishing.create_entry(OTHER, SLUG, {"body": TEXT})).entry.id
    await publishing.delete_entry(OTHER, SLUG, own)
    ids = [await deleted(publishing) for _ in range(5)]
    assert [it.result.entry.id for it in (await publishing.bin.page(OTHER, SLUG)).entries] == [own]
    seen: list[str] = []
    before: str | None = None
    while True:
        page = await publishing.bin.page(EDITOR, SLUG, before, 2)
        seen += [it.result.entry.id for it in page.entries]
        before = page.before
        if before is None:
            break
    assert seen == [*reversed(ids), own]
    assert await status_of(publishing.bin.page(EDITOR, SLUG, "e00000000000x")) == 422


@pytest.mark.parametrize("is_tied", [False, True])
async def test_next_page_of_the_bin_is_read_when_the_last_entry_was_restored(
    publishing: Publishing, store_client: Redis, *, is_tied: bool
) -> None:
    ids = [await deleted(publishing) for _ in range(5)]
    if is_tied:
        await store_client.zadd(key(SLUG, "bin"), dict.fromkeys(ids, 1_700_000_000_000))
        ids.sort()
    page = await publishing.bin.page(EDITOR, SLUG, None, 2)
    shown = [it.result.entry.id for it in page.entries]
    for id in shown:
        await publishing.restore_entry(EDITOR, SLUG, id)
    following = await publishing.bin.page(EDITOR, SLUG, page.before, 9)
    found = [it.result.entry.id for it in following.entries]
    assert [*shown, *found] == ids[::-1]
    by_id = await publishing.bin.page(EDITOR, SLUG, found[0], 9)
    assert [it.result.entry.id for it in by_id.entries] == found[1:]


async def test_deletions_go_on_when_the_key_of_the_bin_has_another_type(
    publishing: Publishing, store_client: Redis
) -> None:
    await store_client.set(key(SLUG, "bin"), "no sorted set")
    assert (await publishing.bin.page(EDITOR, SLUG)).entries == []
    assert await store_client.exists(key(SLUG, "bin")) == 0
    await store_client.set(key(SLUG, "bin"), "no sorted set")
    id = await deleted(publishing, status="published")
    assert await binned(store_client) == [id]


# -- the sweep


async def run(steps: AsyncIterator[None]) -> None:
    async for _ in steps:
        pass


@pytest.mark.parametrize("fields", [{"status": "draft"}, {"status": "published"}])
async def test_walk_erases_expired_texts_from_the_keys_and_from_the_file(
    publishing: Publishing, store_client: Redis, fields: dict[str, str]
) -> None:
    broker = Broker(One(store_client))
    fresh = await deleted(publishing, **fields)
    await run(broker.sweep.walk())
    assert await binned(store_client) == [fresh]
    assert not await store_client.exists("lb:rewrites")
    assert TEXT in await file_of(store_client)
    before = time.time() * 1000 - BIN_MS
    await store_client.zadd(key(SLUG, "bin"), {fresh: before - 1, "foreign": before - 2})
    await run(broker.sweep.walk())
    assert await binned(store_client) == []
    assert TEXT not in repr(await contents(store_client))
    assert await store_client.exists("lb:rewrites")
    await until(lambda: is_rewritten(broker, store_client))
    assert TEXT not in await file_of(store_client)
    wanted = 404 if fields["status"] == "draft" else 410
    assert await status_of(publishing.restore_entry(EDITOR, SLUG, fresh)) == wanted


async def test_walk_erases_nothing_of_an_entry_that_an_earlier_version_restored(
    publishing: Publishing, store_client: Redis
) -> None:
    broker = Broker(One(store_client))
    id = await deleted(publishing, status="published")
    await publishing.restore_entry(EDITOR, SLUG, id)
    await publishing.edit_entry(EDITOR, SLUG, id, {"body": "Newer"}, 2)
    earlier = await store_client.llen(key(SLUG, f"rev:{id}"))
    await store_client.zadd(key(SLUG, "bin"), {id: 1})  # it does not remove the id
    await store_client.pexpire(key(SLUG, f"rev:{id}"), 60_000)
    await run(broker.sweep.walk())
    assert await binned(store_client) == []
    assert await store_client.pttl(key(SLUG, f"rev:{id}")) == -1
    assert await store_client.llen(key(SLUG, f"rev:{id}")) == earlier > 0


async def test_walk_erases_again_when_an_earlier_one_was_interrupted(
    publishing: Publishing, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(One(store_client))
    id = await deleted(publishing, status="published")
    await store_client.zadd(key(SLUG, "bin"), {id: 1})
    steps = broker.sweep.walk()
    await anext(steps)  # the texts are erased, and no rewrite is requested
    assert await binned(store_client) == [id]
    assert not await store_client.exists("lb:rewrites")
    await run(broker.sweep.walk())
    assert await binned(store_client) == []
    assert await store_client.exists("lb:rewrites")
    monkeypatch.setattr("liveblog.store.sweep.ERASED_MAX", 1)
    for _ in range(2):
        await store_client.zadd(key(SLUG, "bin"), {await deleted(publishing): 1})
    await run(broker.sweep.walk())
    assert await binned(store_client) == []


async def test_search_puts_deleted_entries_into_the_bin_that_are_not_there(
    publishing: Publishing, store_client: Redis
) -> None:
    broker = Broker(One(store_client))
    old = await deleted(publishing, status="published")  # as an earlier version deleted it
    await store_client.persist(key(SLUG, f"rev:{old}"))
    lost = await deleted(publishing)
    await store_client.pexpire(key(SLUG, f"rev:{lost}"), 60_000)
    alive = await deleted(publishing, status="published")
    await publishing.restore_entry(EDITOR, SLUG, alive)  # as an earlier version restored it
    await store_client.pexpire(key(SLUG, f"rev:{alive}"), 60_000)
    erased = await deleted(publishing, status="published")
    await publishing.delete_entry(SYSTEM, SLUG, erased, takedown=True)
    await store_client.delete(key(SLUG, "bin"))
    await run(broker.sweep.search())
    assert await binned(store_client) == [lost, old]
    assert BIN_MS - 60_000 < (await lives_ms(store_client, old))[1] <= BIN_MS
    assert 0 < (await lives_ms(store_client, lost))[1] <= 60_000
    assert (await lives_ms(store_client, alive))[1] == -1
    page = await publishing.bin.page(EDITOR, SLUG)
    assert {it.result.entry.id for it in page.entries} == {lost, old}
    soonest = min(page.entries, key=lambda it: it.erased_at)
    assert soonest.erased_at < time.time() * 1000 + 61_000
    scores = await store_client.zrange(key(SLUG, "bin"), 0, -1, withscores=True)
    await store_client.pexpire(key(SLUG, "bin"), 60_000)
    await run(broker.sweep.search())
    assert await store_client.zrange(key(SLUG, "bin"), 0, -1, withscores=True) == scores
    assert await store_client.ttl(key(SLUG, "bin")) == -1


async def file_of(client: Redis) -> str:
    """Return the content of the store's append-only files."""
    config: Any = await client.config_get("dir")
    directory = Path(config["dir"]) / "appendonlydir"
    return "".join(it.read_bytes().decode("latin-1") for it in directory.iterdir())


async def is_rewritten(broker: Broker, client: Redis) -> bool:
    await broker.eraser.rewrite_if_requested()
    return not await client.exists("lb:rewrites")


@pytest.fixture(scope="module")
def shifted(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShiftedStore]:
    with shifted_store(binary, tmp_path_factory.mktemp("shifted")) as store:
        yield store


async def test_nothing_of_a_text_is_left_when_its_30_days_are_over(shifted: ShiftedStore) -> None:
    day_s, binned_s = 24 * 3_600, BIN_MS // 1_000
    text = Kept({"body": TEXT}, typed_at=1)
    async with Redis.from_url(shifted.url) as client:
        broker = Broker(One(client))
        publishing = Publishing(broker, lambda: time.time_ns() // 1_000_000)
        await publishing.create_blog(EDITOR, {"slug": SLUG, "title": "Council", "status": "live"})
        ids = [await deleted(publishing, status=it) for it in ("published", "draft")]
        places = [Place(SLUG, EDITOR.ident, id, "a" * 16) for id in ids]
        await shifted.set_forward(binned_s - day_s)
        await run(broker.sweep.walk())
        page = await publishing.bin.page(EDITOR, SLUG)
        assert {it.result.entry.body for it in page.entries} == {TEXT}
        assert [await broker.kept.keep(it, text) for it in places] == [True, True]
        lives = [await client.pttl(it.keys()[0]) for it in places]
        assert all(0 < it <= day_s * 1_000 for it in lives)
        await shifted.set_forward(binned_s + 60)
        await run(broker.sweep.walk())
        assert TEXT not in repr(await contents(client))
        assert [await broker.kept.keep(it, text) for it in places] == [False, False]
        restored = [await status_of(publishing.restore_entry(EDITOR, SLUG, it)) for it in ids]
        assert restored == [410, 404]
        await until(lambda: is_rewritten(broker, client))
        assert TEXT not in await file_of(client)


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
