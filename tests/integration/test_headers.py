"""Headers and their revisions on a real store, and the earlier revisions of entries."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from kit.contents import contents
from redis.asyncio import Redis

from liveblog.blog.model import BLOG_ID, Blog, Caller
from liveblog.blog.problem import Problem
from liveblog.editors.publishing import Publishing
from liveblog.editors.rendering import Renderer
from liveblog.editors.results import HeaderConflict, RevisionConflict
from liveblog.store import calls
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.nodes import One

SLUG = "council"
ADMIN = Caller("user:ada", "admin")
EDITOR = Caller("user:dana", "editor")
CONTRIBUTOR = Caller("user:kim", "contributor")
EARLIER = key(SLUG, f"rev:{BLOG_ID}")


@pytest.fixture
async def publishing(store_client: Redis) -> Publishing:
    made = Publishing(Broker(One(store_client)), lambda: time.time_ns() // 1_000_000)
    await made.create_blog(EDITOR, {"slug": SLUG, "title": "Title 1", "status": "live"})
    return made


async def rejected(work: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await work
    return caught.value


async def saved(publishing: Publishing, fields: dict[str, Any], **more: Any) -> Blog:
    return (await publishing.edit_blog(EDITOR, SLUG, fields, **more)).blog


async def save_titles(publishing: Publishing, last: int) -> None:
    """Save the revisions 2 to `last`, each with a title that has its number."""
    for number in range(2, last + 1):
        assert (await saved(publishing, {"title": f"Title {number}"})).revision == number


async def header(publishing: Publishing) -> Blog:
    return (await publishing.blog(EDITOR, SLUG)).blog


async def history(publishing: Publishing, limit: int = 7) -> list[Blog]:
    """Return all revisions of the header, read page by page."""
    found: list[Blog] = []
    before = None
    while True:
        page = await publishing.history.headers(EDITOR, SLUG, before, limit)
        found += page.revisions
        before = page.next
        if before is None:
            return found


def numbers(headers: list[Blog]) -> list[int]:
    return [it.revision for it in headers]


# -- revisions


async def test_header_stored_without_a_revision_has_1(
    publishing: Publishing, store_client: Redis
) -> None:
    older = orjson.loads(await store_client.hget(key(SLUG, "blog"), "header") or b"")
    for name in ("revision", "saved_by", "saved_at"):
        del older[name]
    await store_client.hset(key(SLUG, "blog"), "header", orjson.dumps(older))
    assert (await header(publishing)).revision == 1
    assert (await rejected(saved(publishing, {"title": "B"}, seen=2))).status == 412
    assert (await saved(publishing, {"title": "B"}, seen=1)).revision == 2
    assert numbers(await history(publishing)) == [2, 1]
    restored = await publishing.headers.restore(EDITOR, SLUG, 1)
    assert (restored.blog.title, restored.blog.revision) == ("Title 1", 3)


async def test_states_alone_make_no_revision_and_undo_no_edit(publishing: Publishing) -> None:
    before = await saved(publishing, {"title": "Mine"})
    link = {"text": "Next", "url": "/next"}
    for fields in ({"status": "ended"}, {"status": "live"}, {"successor": link}, {"slug": SLUG}):
        now = await saved(publishing, fields)
        told = (now.title, now.revision, now.saved_by, now.saved_at)
        assert told == ("Mine", 2, "dana", before.saved_at)
        assert (await header(publishing)) == now
    assert numbers(await history(publishing)) == [2, 1]
    assert now.updated_at >= before.updated_at


async def test_revision_tells_who_saved_it_and_when(publishing: Publishing) -> None:
    first = await header(publishing)
    await publishing.edit_blog(ADMIN, SLUG, {"dek": "D."})
    await saved(publishing, {"status": "ended"})
    now, earlier = await history(publishing)
    assert (now.saved_by, earlier.saved_by) == ("ada", "dana")
    assert earlier.saved_at == first.saved_at == first.updated_at
    assert now.saved_at
    assert first.saved_at
    assert first.saved_at <= now.saved_at <= now.updated_at


async def test_conflict_has_the_stored_header_and_stores_nothing(
    publishing: Publishing, store_client: Redis
) -> None:
    await saved(publishing, {"title": "Theirs"}, seen=1)
    before = await contents(store_client)
    for seen in (1, 3, [1, 3], []):
        problem = await rejected(saved(publishing, {"title": "Mine"}, seen=seen))
        assert isinstance(problem, HeaderConflict)
        assert (problem.status, problem.current.blog.title) == (412, "Theirs")
    assert (await rejected(saved(publishing, {"status": "ended"}, seen=1))).status == 412
    assert await contents(store_client) == before
    assert (await saved(publishing, {"title": "Mine"}, seen=[1, 2])).revision == 3


async def test_repeated_call_returns_the_header_that_the_first_made(
    publishing: Publishing,
) -> None:
    fields = {"title": "Mine"}
    first = await publishing.edit_blog(EDITOR, SLUG, fields, "k1", 1)
    await saved(publishing, {"title": "Theirs"})
    again = await publishing.edit_blog(EDITOR, SLUG, fields, "k1", 1)
    assert (again.replayed, again.blog, again.position) == (True, first.blog, first.position)
    await publishing.headers.erase(ADMIN, SLUG)
    assert (await rejected(publishing.edit_blog(EDITOR, SLUG, fields, "k1", 1))).status == 410
    other = publishing.edit_blog(EDITOR, SLUG, fields, "k1", 3)
    assert (await rejected(other)).name == "idempotency-key-reused"


# -- five editors


TEXTS = ("title", "dek", "summary", "language", "full_coverage")


def value_of(name: str, mark: str) -> Any:
    """Return a value of a field that has `mark`, which no other edit writes."""
    if name == "full_coverage":
        return {"text": mark, "url": f"/{mark}"}
    return f"x{mark}" if name == "title" else mark if name != "language" else f"en-{mark:0>8}"


def texts_of(blog: Blog) -> dict[str, Any]:
    link = blog.full_coverage
    texts = {name: getattr(blog, name) for name in TEXTS[:-1]}
    return {**texts, "full_coverage": {"text": link.text, "url": link.url} if link else None}


class Newsroom:
    """Editors who save one header at random, and what the store confirmed to them."""

    def __init__(self, publishing: Publishing, seed: int) -> None:
        self.publishing, self.random = publishing, random.Random(seed)
        self.saved: dict[int, tuple[Blog, dict[str, Any]]] = {}  # by the revision made
        self.conflicts = 0
        self.states: dict[str, Any] = {}

    async def edit(self, name: str, steps: int) -> None:
        """Save one or two fields of the header as it was read, or restore an earlier one."""
        caller = Caller(f"user:{name}", "editor")
        for step in range(steps):
            seen = (await self.publishing.blog(caller, SLUG)).blog
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)  # the editor types
            try:
                await self.write(caller, seen, f"{name}{step}")
            except HeaderConflict as conflict:
                self.conflicts += conflict.current.blog.revision > seen.revision

    async def write(self, caller: Caller, seen: Blog, mark: str) -> None:
        if seen.revision > 3 and self.random.random() < 0.2:
            wanted = self.random.randrange(1, seen.revision)
            earlier = await self.publishing.history.header(caller, SLUG, wanted)
            fields = texts_of(earlier)
            headers = self.publishing.headers
            made = (await headers.restore(caller, SLUG, wanted, None, seen.revision)).blog
        else:
            names = self.random.sample(TEXTS, self.random.randint(1, 2))
            fields = {name: value_of(name, mark) for name in names}
            edited = await self.publishing.edit_blog(caller, SLUG, fields, None, seen.revision)
            made = edited.blog
        assert made.revision not in self.saved, "two edits made the same revision"
        self.saved[made.revision] = (seen, fields)

    async def change_states(self, steps: int) -> None:
        """End, re-open and name successors, without a look at the header."""
        for step in range(steps):
            link = {"text": f"Next {step}", "url": f"/next-{step}"}
            name, value = self.random.choice(
                [("status", "ended"), ("status", "live"), ("successor", link)]
            )
            self.states[name] = value
            await self.publishing.edit_blog(ADMIN, SLUG, {name: value})


@pytest.mark.parametrize("seed", range(3))
async def test_no_edit_is_lost_when_five_editors_save_one_header(
    publishing: Publishing, seed: int
) -> None:
    room = Newsroom(publishing, seed)
    editors = [room.edit(name, 12) for name in "abcde"]
    await asyncio.gather(*editors, room.change_states(12))
    kept = {it.revision: it for it in await history(publishing)}
    assert kept.keys() == {1, *room.saved}, "a confirmed revision is missing"
    for revision, (seen, fields) in room.saved.items():
        assert seen.revision == revision - 1, "an editor replaced a header without having seen it"
        assert texts_of(seen) == texts_of(kept[revision - 1])
        assert texts_of(kept[revision]) == texts_of(seen) | fields
    now = await header(publishing)
    states = {"status": now.status, "successor": now.successor}
    successor = room.states.get("successor")
    assert states["status"] == room.states.get("status", "live")
    assert (now.successor.url if now.successor else None) == (successor or {}).get("url")
    assert room.conflicts > 0
    assert len(room.saved) > 10


# -- restored and erased


async def test_header_is_restored_as_a_new_revision_and_keeps_the_states(
    publishing: Publishing,
) -> None:
    first = {"title": "A", "dek": "D.", "summary": "*S.*", "timezone": "Asia/Tokyo"}
    await saved(publishing, first)
    await saved(publishing, {"title": "B", "dek": None, "summary": None, "timezone": "UTC"})
    await saved(publishing, {"status": "ended", "successor": {"text": "N", "url": "/n"}})
    epoch = (await publishing.blog(EDITOR, SLUG)).position.epoch
    at = await publishing.headers.restore(ADMIN, SLUG, 2, "k1", 3)
    now = at.blog
    assert (now.title, now.dek, now.summary_html) == ("A", "D.", "<p><em>S.</em></p>")
    assert (now.revision, now.saved_by, now.status) == (4, "ada", "ended")
    assert now.successor
    assert at.position.epoch != epoch, "another time zone alters the HTML of every entry"
    assert numbers(await history(publishing)) == [4, 3, 2, 1]
    again = await publishing.headers.restore(ADMIN, SLUG, 2, "k1", 3)
    assert (again.replayed, again.blog) == (True, now)


async def test_header_is_not_restored_without_the_right_to_or_over_a_newer_one(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 3)
    restore, before = publishing.headers.restore, await contents(store_client)
    assert (await rejected(restore(CONTRIBUTOR, SLUG, 1))).status == 403
    assert (await rejected(restore(EDITOR, SLUG, 3))).status == 409
    assert (await rejected(restore(EDITOR, SLUG, 4))).status == 404
    assert (await rejected(restore(EDITOR, SLUG, 0))).status == 404
    assert isinstance(await rejected(restore(EDITOR, SLUG, 1, None, 2)), HeaderConflict)
    assert (await rejected(restore(EDITOR, "other", 1))).status == 404
    assert await contents(store_client) == before


async def test_erased_header_is_nowhere_in_the_store(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 5)
    blog, erase = await publishing.blog(EDITOR, SLUG), publishing.headers.erase
    assert (await erase(ADMIN, SLUG, 2, "k1")) == (1, False)
    assert (await erase(ADMIN, SLUG, 2, "k1")) == (1, True)
    assert (await erase(ADMIN, SLUG, 2)) == (0, False)
    assert b"Title 2" not in repr(await contents(store_client)).encode()
    assert numbers(await history(publishing, limit=1)) == [5, 4, 3, 1]
    assert (await rejected(publishing.history.header(EDITOR, SLUG, 2))).status == 404
    assert (await rejected(publishing.headers.restore(EDITOR, SLUG, 2))).status == 404
    assert (await erase(ADMIN, SLUG, None, "k2")) == (3, False)
    assert (await erase(ADMIN, SLUG, None, "k2")) == (3, True)
    stored = repr(await contents(store_client))
    assert [n for n in range(1, 6) if f"Title {n}" in stored] == [5]
    assert await publishing.blog(EDITOR, SLUG) == blog, "erasing is no change for readers"
    assert await store_client.hlen("lb:rewrites") == 1
    assert (await saved(publishing, {"title": "Title 6"})).revision == 6
    assert numbers(await history(publishing)) == [6, 5]


async def test_headers_are_erased_by_admins_alone_and_the_newest_never(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 3)
    erase, before = publishing.headers.erase, await contents(store_client)
    for caller in (EDITOR, CONTRIBUTOR):
        assert (await rejected(erase(caller, SLUG, 1))).status == 403
        assert (await rejected(erase(caller, SLUG))).status == 403
    assert (await rejected(erase(ADMIN, SLUG, 3))).status == 409
    assert (await rejected(erase(ADMIN, SLUG, 4))).status == 404
    assert await contents(store_client) == before


class Before(Renderer):
    """Renders a text only after a call of somebody else."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._call = call

    async def html(self, text: str | None, pointer: str) -> str | None:
        await self._call()
        return await super().html(text, pointer)


async def test_erased_header_is_not_restored_when_both_are_done_at_once(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 3)
    headers = publishing.headers
    headers._renderer = Before(lambda: headers.erase(ADMIN, SLUG, 2))
    assert (await rejected(headers.restore(EDITOR, SLUG, 2))).status == 404
    assert "Title 2" not in repr(await contents(store_client))
    headers._renderer = Before(lambda: headers.erase(ADMIN, SLUG))
    assert (await rejected(headers.restore(EDITOR, SLUG, 1))).status == 404
    assert "Title 1" not in repr(await contents(store_client))
    assert numbers(await history(publishing)) == [3]


async def test_oldest_headers_go_when_there_are_more_than_the_limit(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "HEADERS_MAX", 5)
    await save_titles(publishing, 9)
    assert numbers(await history(publishing, limit=2)) == [9, 8, 7, 6, 5, 4]


# -- damage


async def test_headers_are_listed_beside_damaged_ones_and_gaps(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 12)
    for place in (1, 2, 3, 9):  # the revisions 10, 9, 8 and 2
        await store_client.lset(EARLIER, place, "{x" if place != 3 else '{"revision":8,"title":0}')
    await publishing.headers.erase(ADMIN, SLUG, 6)
    for limit in (1, 2, 3, 50):
        assert numbers(await history(publishing, limit)) == [12, 11, 7, 5, 4, 3, 1]
    for revision in (11, 7, 3, 1):
        found = await publishing.history.header(EDITOR, SLUG, revision)
        assert found.title == f"Title {revision}"
    for revision in (10, 6, 2):
        assert (await rejected(publishing.history.header(EDITOR, SLUG, revision))).status == 404


async def test_revisions_are_read_a_few_at_a_time(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save_titles(publishing, 25)
    steps: list[int] = []
    earlier = publishing.history._earlier
    for name in ("_find", "_at"):
        read = getattr(earlier, name)

        async def counted(*given: Any, read: Any = read) -> Any:
            steps.append(given[-1])
            return await read(*given)

        monkeypatch.setattr(earlier, name, counted)
    assert numbers(await history(publishing, limit=100)) == [*range(25, 0, -1)]
    assert max(steps) <= 10


async def test_header_is_saved_when_the_list_of_earlier_ones_is_of_a_wrong_type(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 2)
    for next_ in (3, 4):
        await store_client.delete(EARLIER)
        await store_client.set(EARLIER, "damage")
        assert numbers(await history(publishing)) == [next_ - 1]
        if next_ == 3:
            await saved(publishing, {"title": "Title 3"})
        else:
            assert await publishing.headers.erase(ADMIN, SLUG) == (0, False)
    assert not await store_client.exists(EARLIER)


async def test_damaged_header_is_restored_and_never_listed(
    publishing: Publishing, store_client: Redis
) -> None:
    await save_titles(publishing, 3)
    offset = (await publishing.blog(EDITOR, SLUG)).position.offset
    await store_client.hset(key(SLUG, "blog"), "header", "{x")
    assert numbers(await history(publishing)) == [2, 1]
    restored = (await publishing.headers.restore(EDITOR, SLUG, 2, None, 3)).blog
    assert (restored.title, restored.status, restored.revision) == ("Title 2", "live", offset + 1)
    assert numbers(await history(publishing)) == [offset + 1, 2, 1]
    assert (await rejected(saved(publishing, {"title": "B"}, seen=3))).status == 412


@pytest.mark.parametrize("broken", ["{x", None])
async def test_earlier_headers_are_read_and_erased_while_the_header_is_damaged(
    publishing: Publishing, store_client: Redis, broken: str | None
) -> None:
    await save_titles(publishing, 4)
    if broken:
        await store_client.hset(key(SLUG, "blog"), "header", broken)
    else:
        await store_client.hdel(key(SLUG, "blog"), "header")
    before = await store_client.hgetall(key(SLUG, "blog"))
    assert (await publishing.history.header(EDITOR, SLUG, 2)).title == "Title 2"
    assert (await rejected(publishing.history.header(EDITOR, SLUG, 4))).status == 404
    assert await publishing.headers.erase(ADMIN, SLUG, 2, "k1") == (1, False)
    assert await publishing.headers.erase(ADMIN, SLUG, 2, "k1") == (1, True)
    assert numbers(await history(publishing)) == [3, 1]
    assert await publishing.headers.erase(ADMIN, SLUG) == (2, False)
    assert await store_client.hgetall(key(SLUG, "blog")) == before
    assert "Title 2" not in repr(await contents(store_client))


# -- entries


async def entry(publishing: Publishing, caller: Caller = EDITOR, **fields: Any) -> str:
    made = await publishing.create_entry(caller, SLUG, {"body": "Text 1", **fields})
    return made.entry.id


async def test_entry_gets_back_the_words_of_an_earlier_revision(publishing: Publishing) -> None:
    id = await entry(publishing, headline="Head 1", byline=["Ann", "Davis, Jr."])
    edit: dict[str, Any] = {
        "body": "Text 2",
        "headline": None,
        "byline": [],
        "note_kind": "correction",
        "note": "N",
    }
    await publishing.edit_entry(ADMIN, SLUG, id, edit, 1)
    await publishing.edit_entry(ADMIN, SLUG, id, {"pinned": True}, None)
    page = await publishing.history.entries(EDITOR, SLUG, id)
    assert [(it.revision, it.body, it.saved_by) for it in page.revisions] == [
        (2, "Text 2", "ada"),
        (1, "Text 1", "dana"),
    ]
    conflict = await rejected(publishing.restore_revision(EDITOR, SLUG, id, 1, 1))
    assert isinstance(conflict, RevisionConflict)
    restored = (await publishing.restore_revision(EDITOR, SLUG, id, 1, 2, "k1")).entry
    words = (restored.headline, restored.body, restored.byline, restored.note)
    assert words == ("Head 1", "Text 1", ["Ann", "Davis, Jr."], None)
    assert (restored.revision, restored.pinned, restored.saved_by) == (3, True, "dana")
    again = await publishing.restore_revision(EDITOR, SLUG, id, 1, 2, "k1")
    assert (again.replayed, again.entry) == (True, restored)
    assert (await rejected(publishing.restore_revision(EDITOR, SLUG, id, 3))).status == 409
    assert (await rejected(publishing.restore_revision(EDITOR, SLUG, id, 4))).status == 404


async def test_words_of_an_entry_are_not_restored_when_it_is_taken_down_meanwhile(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await entry(publishing)
    await publishing.edit_entry(EDITOR, SLUG, id, {"body": "Text 2"}, 1)
    publishing._renderer = Before(lambda: publishing.delete_entry(ADMIN, SLUG, id, takedown=True))
    assert (await rejected(publishing.restore_revision(EDITOR, SLUG, id, 1))).status == 410
    assert "Text 1" not in repr(await contents(store_client))


async def test_takedown_erases_the_revisions_that_are_listed(
    publishing: Publishing, store_client: Redis
) -> None:
    id = await entry(publishing)
    for number in (2, 3):
        await publishing.edit_entry(EDITOR, SLUG, id, {"body": f"Text {number}"}, number - 1)
    await publishing.delete_entry(EDITOR, SLUG, id)
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: publishing.history.entries(EDITOR, SLUG, id),
        lambda: publishing.history.entry(EDITOR, SLUG, id, 2),
        lambda: publishing.restore_revision(EDITOR, SLUG, id, 2),
    ]
    assert [(await rejected(call())).status for call in attempts] == [410] * 3
    assert (await publishing.delete_entry(ADMIN, SLUG, id, takedown=True)).revisions_erased == 3
    assert [(await rejected(call())).status for call in attempts] == [410] * 3
    assert "Text " not in repr(await contents(store_client))


async def test_contributor_gets_no_revision_that_was_never_published(
    publishing: Publishing,
) -> None:
    id = await entry(publishing, status="draft", body="Secret")
    await publishing.edit_entry(EDITOR, SLUG, id, {"body": "Said", "status": "published"}, 1)
    await publishing.edit_entry(EDITOR, SLUG, id, {"body": "Said again"}, 2)
    read = publishing.history
    page = await read.entries(CONTRIBUTOR, SLUG, id)
    assert [it.body for it in page.revisions] == ["Said again", "Said"]
    assert (await rejected(read.entry(CONTRIBUTOR, SLUG, id, 1))).status == 404
    assert (await read.entry(CONTRIBUTOR, SLUG, id, 2)).body == "Said"
    assert (await rejected(publishing.restore_revision(CONTRIBUTOR, SLUG, id, 2))).status == 403
    own = await entry(publishing, CONTRIBUTOR, status="draft", body="Mine 1")
    await publishing.edit_entry(CONTRIBUTOR, SLUG, own, {"body": "Mine 2"}, 1)
    assert (await publishing.restore_revision(CONTRIBUTOR, SLUG, own, 1)).entry.body == "Mine 1"
    assert len((await read.entries(CONTRIBUTOR, SLUG, own)).revisions) == 3


async def test_mark_of_an_entry_leaves_who_saved_it_and_when(publishing: Publishing) -> None:
    id = await entry(publishing)
    first = (await publishing.entry(EDITOR, SLUG, id)).entry
    assert first.saved_at == first.updated_at
    await publishing.edit_entry(ADMIN, SLUG, id, {"key": True}, None)
    await publishing.delete_entry(ADMIN, SLUG, id)
    await publishing.restore_entry(ADMIN, SLUG, id)
    now = (await publishing.entry(EDITOR, SLUG, id)).entry
    assert (now.saved_by, now.saved_at) == ("dana", first.saved_at)
    assert now.saved_at
    assert now.updated_at >= now.saved_at
