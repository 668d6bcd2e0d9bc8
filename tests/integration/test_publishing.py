"""Calls of `Publishing` on a real store: times, blank fields, restored entries, limits, erasing."""

import asyncio
import threading
import time
from typing import Any

import pytest
import redis.asyncio
from kit.contents import contents
from kit.waiting import SCALE, until

from liveblog.blog.fields import HTML_BYTES_MAX
from liveblog.blog.model import SYSTEM, Caller, DamagedEntry
from liveblog.blog.problem import Problem
from liveblog.editors import rendering
from liveblog.editors.publishing import Publishing
from liveblog.editors.results import DeleteResult
from liveblog.store.broker import Broker
from liveblog.store.eraser import Eraser
from liveblog.store.nodes import One

EDITOR = Caller("user:dana", "editor")
CONTRIBUTOR = Caller("user:kim", "contributor")
LATER = "2090-01-01T00:00:00Z"


@pytest.fixture
async def publishing(store_client: redis.asyncio.Redis) -> Publishing:
    made = Publishing(Broker(One(store_client)), lambda: time.time_ns() // 1_000_000)
    await made.create_blog(EDITOR, {"slug": "council", "title": "Council", "status": "live"})
    return made


async def listed(publishing: Publishing, caller: Caller, **page: Any) -> list[str]:
    found = await publishing.blogs(caller, **page)
    return [at.blog.slug for at in found.blogs]


async def rejected(work: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await work
    return caught.value


@pytest.mark.parametrize("name", ["title", "slug", "timezone", "language"])
@pytest.mark.parametrize("blank", ["", " "])
async def test_blog_is_422_and_hides_no_other_when_a_needed_field_is_blank(
    publishing: Publishing, name: str, blank: str
) -> None:
    fields = {"slug": "poison", "title": "T", name: blank}
    problem = await rejected(publishing.create_blog(EDITOR, fields))
    assert problem.status == 422
    assert problem.errors[0][0] == f"/{name}"
    assert await listed(publishing, EDITOR) == ["council"]


async def test_bound_caller_lists_its_blogs_when_many_others_are_newer(
    publishing: Publishing,
) -> None:
    for slug in ("one", "p-two", "q-three", "r-four"):  # perhaps two in one millisecond
        await publishing.create_blog(EDITOR, {"slug": slug, "title": "Vote"})
    bound = Caller("user:kim", "editor", ("one", "p-two", "never-made"))
    assert await listed(publishing, bound, limit=2) == ["p-two", "one"]
    assert await listed(publishing, EDITOR, limit=2) == ["r-four", "q-three"]


async def test_blog_hides_no_other_when_its_header_is_corrupt(
    publishing: Publishing, store_client: redis.asyncio.Redis
) -> None:
    await publishing.create_blog(EDITOR, {"slug": "broken", "title": "T"})
    await store_client.hset("lb:{broken}:blog", "header", '{"slug":1}')
    assert await listed(publishing, EDITOR) == ["council"]


async def test_draft_hides_no_other_when_it_is_corrupt(
    publishing: Publishing, store_client: redis.asyncio.Redis
) -> None:
    fields = {"body": "Fine.", "status": "draft"}
    fine = (await publishing.create_entry(EDITOR, "council", fields)).entry
    broken: Any = {"e00000000000d": b"{x", b"\xff": b"\xff", "e00000000000e": b"[" * 200_000}
    await store_client.hset("lb:{council}:drafts", mapping=broken)
    unpublished = await publishing.unpublished(EDITOR, "council")
    assert [it for it in unpublished if not isinstance(it, DamagedEntry)] == [fine]
    [listed], _, damaged = await publishing.entries(EDITOR, "council", status="draft")
    assert listed.entry == fine
    assert sorted(damaged) == ["e00000000000d", "e00000000000e"]


@pytest.mark.parametrize("time_", ["0001-01-01T00:00:00+14:00", "0999-12-31T00:00:00Z"])
async def test_entry_is_422_when_no_page_could_show_its_time(
    publishing: Publishing, time_: str
) -> None:
    fields = {"body": "Old.", "published_at": time_}
    assert (await rejected(publishing.create_entry(EDITOR, "council", fields))).status == 422


async def test_entry_is_422_when_no_page_could_show_its_schedule(publishing: Publishing) -> None:
    fields = {"body": "Far.", "publish_at": "9999-12-31T23:59:59Z"}
    assert (await rejected(publishing.create_entry(EDITOR, "council", fields))).status == 422


async def test_start_is_an_instant_and_stays_when_other_fields_change(
    publishing: Publishing, store_client: redis.asyncio.Redis
) -> None:
    stated = {"status": "upcoming", "starts_at": "1969-07-16T09:32:00-04:00"}
    await publishing.edit_blog(EDITOR, "council", stated)
    await publishing.edit_blog(EDITOR, "council", {"dek": "Soon.", "timezone": "Asia/Tokyo"})
    assert (await publishing.blog(EDITOR, "council")).blog.starts_at == -14_552_880_000
    assert b'"starts_at":-14552880000' in await _header(store_client)


async def test_blog_has_no_start_when_it_was_stored_before_starts_existed(
    publishing: Publishing, store_client: redis.asyncio.Redis
) -> None:
    stored = await _header(store_client)
    older = stored.replace(b'"starts_at":null,', b"")
    assert older != stored
    await store_client.hset("lb:{council}:blog", "header", older)
    assert (await publishing.blog(EDITOR, "council")).blog.starts_at is None
    await publishing.edit_blog(EDITOR, "council", {"starts_at": LATER})
    assert (await publishing.blog(EDITOR, "council")).blog.starts_at


async def _header(client: redis.asyncio.Redis) -> bytes:
    stored = await client.hget("lb:{council}:blog", "header")
    assert isinstance(stored, bytes)
    return stored


async def test_contributor_is_403_when_it_deletes_what_an_editor_scheduled(
    publishing: Publishing,
) -> None:
    made = await publishing.create_entry(
        CONTRIBUTOR, "council", {"body": "Mine.", "status": "submitted"}
    )
    id = made.entry.id
    await publishing.edit_entry(EDITOR, "council", id, {"publish_at": LATER}, 1)
    assert (await rejected(publishing.delete_entry(CONTRIBUTOR, "council", id))).status == 403
    await publishing.delete_entry(EDITOR, "council", id)
    assert (await rejected(publishing.restore_entry(CONTRIBUTOR, "council", id))).status == 403


async def test_repeated_delete_is_the_same_when_an_editor_published_meanwhile(
    publishing: Publishing,
) -> None:
    fields = {"body": "Mine.", "status": "submitted"}
    id = (await publishing.create_entry(CONTRIBUTOR, "council", fields)).entry.id

    async def delete() -> DeleteResult:
        return await publishing.delete_entry(CONTRIBUTOR, "council", id, key="once")

    first = await delete()
    await publishing.restore_entry(EDITOR, "council", id)
    await publishing.edit_entry(EDITOR, "council", id, {"status": "published"}, 1)
    assert await delete() == first._replace(replayed=True)
    assert (await publishing.entry(EDITOR, "council", id)).entry.status == "published"


async def test_restored_entry_is_a_draft_when_it_was_scheduled(publishing: Publishing) -> None:
    made = await publishing.create_entry(EDITOR, "council", {"body": "B.", "publish_at": LATER})
    await publishing.delete_entry(EDITOR, "council", made.entry.id)
    back = await publishing.restore_entry(EDITOR, "council", made.entry.id)
    assert (back.entry.status, back.entry.publish_at, back.entry.body) == ("draft", None, "B.")


async def test_edit_is_422_when_a_draft_has_a_time_and_no_time_unschedules(
    publishing: Publishing,
) -> None:
    made = await publishing.create_entry(EDITOR, "council", {"body": "B.", "publish_at": LATER})
    both = {"status": "draft", "publish_at": LATER}
    edit = publishing.edit_entry(EDITOR, "council", made.entry.id, both, 1)
    assert (await rejected(edit)).status == 422
    none = await publishing.edit_entry(EDITOR, "council", made.entry.id, {"publish_at": None}, 1)
    assert (none.entry.status, none.entry.publish_at) == ("draft", None)


async def test_entry_is_422_when_its_text_makes_too_much_html(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.html.markdown.to_html", lambda text: text * 9)
    fields = {"body": "x" * 20_000}
    problem = await rejected(publishing.create_entry(EDITOR, "council", fields))
    assert str(HTML_BYTES_MAX) in problem.errors[0][1]


async def test_entry_is_503_when_too_much_text_waits_to_be_rendered(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering a hostile text takes a third of a second; other editors' texts wait behind it."""
    go_on = threading.Event()
    monkeypatch.setattr(rendering, "RENDERED_AT_ONCE_MAX", 15)
    monkeypatch.setattr("liveblog.html.markdown.to_html", lambda _: str(go_on.wait(20 * SCALE)))
    made = [
        asyncio.create_task(publishing.create_entry(EDITOR, "council", {"body": "Text."}))
        for _ in range(5)
    ]
    await until(lambda: sum(task.done() for task in made) == 2)
    busy = [await rejected(task) for task in made if task.done()]
    assert [(it.status, it.name, it.retry_after_s) for it in busy] == [(503, "busy", 1)] * 2
    go_on.set()
    await asyncio.gather(*made, return_exceptions=True)
    assert await publishing.create_entry(EDITOR, "council", {"body": "Text."})


async def test_html_of_a_hostile_table_stays_short(
    publishing: Publishing,
) -> None:
    table = ("|" + "a|" * 1_000 + "\n|" + "-|" * 1_000 + "\n" + "a\n" * 9_000)[:20_000]
    made = await publishing.create_entry(EDITOR, "council", {"body": table})
    assert len(made.entry.body_html or "") < 100_000


async def test_list_continues_page_by_page_when_a_status_is_rare(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.editors.reading.SCANNED_MAX", 100)
    made = [await publishing.create_entry(SYSTEM, "council", {"body": "B."}) for _ in range(130)]
    await publishing.edit_entry(
        SYSTEM, "council", made[0].entry.id, {"status": "retracted", "note": "Wrong."}, 1
    )
    first, after, _ = await publishing.entries(EDITOR, "council", None, 50, "retracted")
    assert first == []
    assert after
    second, end, _ = await publishing.entries(EDITOR, "council", after, 50, "retracted")
    assert [it.entry.id for it in second] == [made[0].entry.id]
    assert end is None


async def test_list_leaves_out_an_entry_when_it_is_deleted_meanwhile(
    publishing: Publishing, store_client: redis.asyncio.Redis
) -> None:
    kept, deleted = [
        (await publishing.create_entry(EDITOR, "council", {"body": "B."})).entry.id
        for _ in range(2)
    ]
    place = await store_client.zscore("lb:{council}:order", deleted)
    assert place
    await publishing.delete_entry(EDITOR, "council", deleted)
    # Put the id back into the sorted set of entries, where a read that started before the delete
    # still finds the id.
    await store_client.zadd("lb:{council}:order", {deleted: place})
    for page, after, _ in (
        await publishing.entries(EDITOR, "council"),
        await publishing.shown(EDITOR, "council", None, 1),
    ):
        assert ([it.entry.id for it in page], after) == ([kept], None)


@pytest.mark.parametrize("status", ["published", "draft"])
async def test_edit_writes_nothing_when_it_mentions_no_fields(
    publishing: Publishing, store_client: redis.asyncio.Redis, status: str
) -> None:
    fields = {"body": "B.", "status": status}
    made = await publishing.create_entry(EDITOR, "council", fields, "made")
    before = await contents(store_client)
    id, now = made.entry.id, made._replace(status=200)
    for revision in (None, 1):
        assert await publishing.edit_entry(EDITOR, "council", id, {}, revision, "key") == now
    edit_blog = publishing.edit_blog
    assert await edit_blog(EDITOR, "council", {}, "key") == await publishing.blog(EDITOR, "council")
    assert await contents(store_client) == before


async def test_edit_is_rejected_like_any_other_when_it_mentions_no_fields(
    publishing: Publishing,
) -> None:
    id = (await publishing.create_entry(EDITOR, "council", {"body": "B."})).entry.id
    await publishing.edit_blog(EDITOR, "council", {"dek": "D."}, "key")
    await publishing.edit_entry(EDITOR, "council", id, {"pinned": True}, None, "key")
    edits: list[tuple[int, Any]] = [
        (403, publishing.edit_blog(CONTRIBUTOR, "council", {})),
        (422, publishing.edit_blog(EDITOR, "council", {}, "key")),
        (403, publishing.edit_entry(CONTRIBUTOR, "council", id, {}, 1)),
        (412, publishing.edit_entry(EDITOR, "council", id, {}, 7)),
        (422, publishing.edit_entry(EDITOR, "council", id, {}, None, "key")),
    ]
    assert [(await rejected(edit)).status for _, edit in edits] == [status for status, _ in edits]
    await publishing.delete_entry(EDITOR, "council", id)
    assert (await rejected(publishing.edit_entry(EDITOR, "council", id, {}, 1))).status == 410


async def test_call_happens_once_when_repeated_at_once_with_one_key(
    publishing: Publishing,
) -> None:
    fields = {"body": "Once."}
    calls = [publishing.create_entry(EDITOR, "council", fields, "key") for _ in range(20)]
    done = await asyncio.gather(*calls)
    assert len({it.entry.id for it in done}) == 1
    assert [it.replayed for it in done].count(False) == 1


async def test_one_key_serves_a_blog_and_its_entry_whatever_the_blog_is_called(
    publishing: Publishing,
) -> None:
    for slug in ("blogs", "create"):
        await publishing.create_blog(EDITOR, {"slug": slug, "title": "B", "status": "live"}, "key")
        made = await publishing.create_entry(EDITOR, slug, {"body": "A."}, "key")
        assert (made.status, made.replayed) == (201, False)


async def test_deleted_drafts_do_not_count_against_the_limit(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.store.calls.DRAFTS_MAX", 3)
    fields = {"body": 'Like "deleted":true in a text.', "status": "draft"}
    made = [await publishing.create_entry(EDITOR, "council", fields) for _ in range(3)]
    problem = await rejected(publishing.create_entry(EDITOR, "council", fields))
    assert problem.status == 409
    for it in made:
        await publishing.delete_entry(EDITOR, "council", it.entry.id)
    for _ in range(3):
        await publishing.create_entry(EDITOR, "council", fields)
    assert (await rejected(publishing.create_entry(EDITOR, "council", fields))).status == 409


async def test_restore_is_409_when_the_blog_has_its_limit_of_drafts(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.store.calls.DRAFTS_MAX", 2)
    fields = {"body": "B.", "status": "draft"}
    first, second = [await publishing.create_entry(EDITOR, "council", fields) for _ in range(2)]
    await publishing.delete_entry(EDITOR, "council", first.entry.id)
    third = await publishing.create_entry(EDITOR, "council", fields)
    restore = publishing.restore_entry(EDITOR, "council", first.entry.id)
    assert (await rejected(restore)).status == 409
    await publishing.edit_entry(EDITOR, "council", second.entry.id, {"body": "Better."}, 1)
    await publishing.delete_entry(EDITOR, "council", third.entry.id)
    await publishing.restore_entry(EDITOR, "council", first.entry.id)


async def test_fifty_edits_are_all_stored_when_made_at_once(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await publishing.create_entry(EDITOR, "council", {"body": "B."})).entry.id
    # A try fails only because another edit succeeds, so each of 50 edits needs at most 50 tries.
    monkeypatch.setattr("liveblog.editors.attempts.TRIES_MAX", 50)
    edits = [
        publishing.edit_entry(EDITOR, "council", id, {"pinned": bool(n % 2)}, None)
        for n in range(50)
    ]
    done = await asyncio.gather(*edits)
    assert len({it.entry.offset for it in done}) == 50


async def test_erasure_is_forgotten_only_when_its_rewrite_has_ended(
    publishing: Publishing, store_client: redis.asyncio.Redis
) -> None:
    eraser = Eraser(One(store_client))
    id = (await publishing.create_entry(EDITOR, "council", {"body": "Secret."})).entry.id
    await publishing.delete_entry(SYSTEM, "council", id, takedown=True)
    await until(eraser.rewrite_if_requested)
    assert await store_client.hget("lb:rewrites", "")
    await store_client.hset("lb:rewriting", "", b"as of a store that was killed meanwhile")
    before = (await store_client.info("persistence"))["aof_rewrites"]
    await until(lambda: _is_forgotten(eraser, store_client))
    assert (await store_client.info("persistence"))["aof_rewrites"] > before


async def test_erasure_is_forgotten_and_logged_when_the_store_forbids_rewriting(
    publishing: Publishing,
    store_client: redis.asyncio.Redis,
    store_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    everything_else = ["+@all", "-info", "-bgrewriteaof"]
    await store_client.acl_setuser(
        "guest", enabled=True, nopass=True, keys=["*"], commands=everything_else
    )
    id = (await publishing.create_entry(EDITOR, "council", {"body": "Secret."})).entry.id
    await publishing.delete_entry(SYSTEM, "council", id, takedown=True)
    try:
        client = redis.asyncio.Redis.from_url(store_url, username="guest", password="any")
        async with client:
            await until(lambda: _is_forgotten(Eraser(One(client)), store_client))
    finally:
        await store_client.acl_deluser("guest")
    assert "it still has erased text" in caplog.text


async def _is_forgotten(eraser: Eraser, client: redis.asyncio.Redis) -> bool:
    await eraser.rewrite_if_requested()
    return not await client.exists("lb:rewrites")
