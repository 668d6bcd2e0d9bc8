"""The desk without scripts on a real store: moves of pins, the bin's page, a retraction's form."""

import re
from collections.abc import AsyncIterator, Sequence
from html import unescape
from typing import Any, NamedTuple

import httpx2
import pytest
from kit.contents import contents
from kit.forms import sent
from kit.people import cheapen_hashes
from redis.asyncio import Redis
from starlette.applications import Starlette

from liveblog.blog.model import Caller, Role
from liveblog.blog.problem import Problem
from liveblog.clock import now_ms
from liveblog.editors import desk, upkeep
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.nodes import One

FLAVOURS = ("valkey",)  # not on Redis: test_bin.py has the scripts on both
BOSS = Caller("user:boss", "admin")
FORM = "application/x-www-form-urlencoded"
PASSWORD = "correct horse battery"
PATH = "/desk/blogs/council"


class Desk(NamedTuple):
    """A browser without scripts, and the calls behind the desk."""

    client: httpx2.AsyncClient
    accounts: Accounts
    publishing: Publishing

    async def sign_in(self, name: str, role: Role = "editor", blogs: Sequence[str] = ()) -> None:
        await self.accounts.people.add(name, PASSWORD, role, blogs)
        caller = await self.accounts.check_password(name, PASSWORD)
        assert caller
        session = await self.accounts.open_session(caller)
        self.client.cookies.set("liveblog", session, domain="live.example")

    async def page(self, path: str = PATH) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def press(self, page: str, action: str, button: str) -> httpx2.Response:
        """Send the form with this action and button, as it is on the page."""
        forms = re.findall(
            r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', page, re.DOTALL
        )
        inside = next(it for at, it in forms if at == action and f">{button}" in it)
        boxes = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', inside))
        return await self.client.post(action, data=boxes)

    async def publish(self, **fields: Any) -> str:
        given = {"body": "Text.", **fields}
        return (await self.publishing.create_entry(BOSS, "council", given)).entry.id


@pytest.fixture
async def browser(store_client: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    cheapen_hashes(monkeypatch)
    nodes = One(store_client)
    accounts, publishing = Accounts(nodes, now_ms), Publishing(Broker(nodes), now_ms)
    await publishing.create_blog(BOSS, {"slug": "council", "title": "Council", "status": "live"})
    gate, pages = Gate(accounts, Settings(), Pages(), Problems(), all_bodies()), Pages()
    routes = [
        *desk.routes(gate, publishing, Settings(), pages, now_ms),
        *upkeep.routes(gate, publishing, pages),
    ]
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(Starlette(routes=routes), client=("192.0.2.1", 50_000)),
        base_url="http://live.example",
        headers={"sec-fetch-site": "same-origin", "content-type": FORM},
    ) as client:
        made = Desk(client, accounts, publishing)
        await made.sign_in("dana")
        yield made


def pinned(page: str) -> list[str]:
    """Return the names in the list of pinned entries."""
    section = page.partition('id="pins"')[2].partition("</section>")[0]
    return [unescape(it) for it in re.findall(r'class="words"[^>]*>([^<]*)<', section)]


async def test_buttons_move_pinned_entries_up_and_down(browser: Desk) -> None:
    ids = {name: await browser.publish(headline=name, pinned=True) for name in "ABCD"}
    assert pinned(await browser.page()) == [*"DCBA"]

    async def press(name: str, button: str) -> list[str]:
        at = f"{PATH}/entries/{ids[name]}/move"
        done = await browser.press(await browser.page(), at, button)
        assert done.headers["location"] == f"{PATH}?done=moved#pin-{ids[name]}"
        return pinned(await browser.page(done.headers["location"]))

    assert await press("B", "Up") == [*"DBCA"]
    assert await press("D", "Down") == [*"BDCA"]
    assert await press("D", "Up") == [*"DBCA"]
    assert await press("C", "Down") == [*"DBAC"]
    before = (await browser.publishing.blog(BOSS, "council")).position.offset
    assert await press("C", "Up") == [*"DBCA"]
    after = await browser.publishing.blog(BOSS, "council")
    assert after.position.offset == before + 1
    revisions = [await browser.publishing.entry(BOSS, "council", id) for id in ids.values()]
    assert {it.entry.revision for it in revisions} == {1}


async def test_first_and_last_pin_have_one_button_and_a_single_one_none(browser: Desk) -> None:
    await browser.publish(headline="A", pinned=True)
    assert "/move" not in await browser.page()
    await browser.publish(headline="B", pinned=True)
    page = await browser.page()
    assert (page.count(">Up<"), page.count(">Down<")) == (1, 1)


async def test_move_is_rejected_when_the_entry_is_not_pinned(browser: Desk) -> None:
    one, two = await browser.publish(pinned=True), await browser.publish()
    for id, before in ((two, one), (one, two), (one, "nothing")):
        rejected = await browser.client.post(f"{PATH}/entries/{id}/move", data={"before": before})
        assert rejected.status_code == 409
        assert "no longer pinned" in rejected.text
    await browser.publish(pinned=True)
    await browser.sign_in("kim", "contributor")
    assert "/move" not in await browser.page()
    for pin in await browser.publishing.pins.all(BOSS, "council"):
        at = f"{PATH}/entries/{pin.id}/move"
        assert (await browser.client.post(at, data={"before": ""})).status_code == 403


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_move_is_409_when_the_entry_is_unpinned_or_deleted_meanwhile(
    browser: Desk, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    one, two = await browser.publish(pinned=True), await browser.publish(pinned=True)
    edit = browser.publishing.edit_entry

    async def edit_later(*args: Any) -> Any:
        if is_deleted:
            await browser.publishing.delete_entry(BOSS, "council", one)
        else:
            await edit(BOSS, "council", one, {"pinned": False}, None)
        return await edit(*args)

    monkeypatch.setattr(browser.publishing.pins, "_edit", edit_later)
    at = f"{PATH}/entries/{one}/move"
    rejected = await browser.client.post(at, data={"before": two})
    assert rejected.status_code == 409
    assert "no longer pinned" in rejected.text
    assert [it.id for it in await browser.publishing.pins.all(BOSS, "council")] == [two]


async def test_move_names_another_problem_than_a_lost_pin_as_it_is(
    browser: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await browser.publish(pinned=True), await browser.publish(pinned=True)
    edit = browser.publishing.edit_entry

    async def edit_wrongly(caller: Any, slug: str, id: str, fields: Any, seen: Any) -> Any:
        return await edit(caller, slug, id, {**fields, "dateline": "x" * 101}, 1)

    monkeypatch.setattr(browser.publishing.pins, "_edit", edit_wrongly)
    rejected = await browser.client.post(f"{PATH}/entries/{one}/move", data={"before": two})
    assert rejected.status_code == 422
    assert "no longer pinned" not in rejected.text


async def test_restoring_from_the_bin_twice_is_one_restoration(browser: Desk) -> None:
    id = await browser.publish(headline="A")
    await browser.publishing.delete_entry(BOSS, "council", id)
    page, at = await browser.page(f"{PATH}/bin"), f"{PATH}/entries/{id}/restore"
    answers = [await browser.press(page, at, "Restore") for _ in range(2)]
    assert [it.status_code for it in answers] == [303, 303]
    assert (await browser.publishing.entry(BOSS, "council", id)).entry.headline == "A"


CALLS: list[tuple[str, dict[str, str]]] = [
    ("/header", {"dek": "Mine", "revision": "1"}),
    ("/end", {}),
    ("/reopen", {}),
    ("/header/revisions/1/restore", {}),
    ("/header/revisions/1/erase", {}),
    ("/header/revisions/erase", {}),
    ("/entries", {"body": "Mine", "status": "published"}),
    ("/entries/PUBLISHED", {"body": "Mine", "revision": "1"}),
    ("/entries/PUBLISHED", {"pinned": "false"}),
    ("/entries/PUBLISHED/delete", {}),
    ("/entries/PUBLISHED/delete", {"takedown": "1"}),
    ("/entries/PUBLISHED/retract", {"note": "Mine"}),
    ("/entries/PUBLISHED/retract", {"undo": "1"}),
    ("/entries/PUBLISHED/move", {"before": ""}),
    ("/entries/DELETED/restore", {}),
    ("/entries/DRAFT", {"body": "Mine", "revision": "1"}),
    ("/entries/DRAFT/delete", {}),
]


@pytest.mark.parametrize(
    ("role", "blogs", "denied"),
    [("contributor", [], len(CALLS)), ("editor", ["other"], len(CALLS)), ("editor", [], 3)],
)
async def test_call_alters_nothing_when_role_or_blog_does_not_allow_it(
    browser: Desk, store_client: Redis, role: Role, blogs: list[str], denied: int
) -> None:
    await browser.publishing.create_blog(BOSS, {"slug": "other", "title": "Other"})
    await browser.publishing.edit_blog(BOSS, "council", {"dek": "Second"})
    ids = {
        "PUBLISHED": await browser.publish(pinned=True),
        "DELETED": await browser.publish(),
        "DRAFT": await browser.publish(status="draft"),
    }
    await browser.publishing.delete_entry(BOSS, "council", ids["DELETED"])
    await browser.sign_in("kim", role, blogs)
    before, counted = await contents(store_client), 0
    for asked, boxes in CALLS:
        path = re.sub("[A-Z]+", lambda name: ids[name[0]], asked)
        is_admins = path.endswith("erase") or "takedown" in boxes
        if denied < len(CALLS) and not is_admins:
            continue
        answer = await browser.client.post(PATH + path, data=boxes)
        is_hidden = blogs or "DRAFT" in asked
        assert answer.status_code == (404 if is_hidden else 403), asked
        counted += 1
    assert counted == denied
    assert await contents(store_client) == before


async def test_bin_shows_deleted_entries_with_their_words_and_restores_them(browser: Desk) -> None:
    assert f'<a href="{PATH}/bin">Bin</a>' in await browser.page()
    assert "Nothing was deleted in the last 30 days." in await browser.page(f"{PATH}/bin")
    one = await browser.publish(headline="<b>One</b>")
    two = await browser.publish(headline="Two", status="draft")
    for id in (one, two):
        await browser.publishing.delete_entry(BOSS, "council", id)
    page = await browser.page(f"{PATH}/bin")
    assert re.findall(r'class="words"[^>]*>([^<]*)<', page) == ["Two", "&lt;b&gt;One&lt;/b&gt;"]
    assert page.count("Not published") == 1
    assert "Take down" not in page
    done = await browser.press(page, f"{PATH}/entries/{one}/restore", "Restore")
    assert done.headers["location"] == f"{PATH}?done=restored#{one}"
    page = await browser.page(f"{PATH}/bin")
    assert re.findall(r'class="words"[^>]*>([^<]*)<', page) == ["Two"]
    await browser.sign_in("boss", "admin")
    done = await browser.press(
        await browser.page(f"{PATH}/bin"), f"{PATH}/entries/{two}/delete", "Take down"
    )
    assert done.headers["location"] == f"{PATH}?done=taken-down"
    assert "Nothing was deleted" in await browser.page(f"{PATH}/bin")


async def test_bin_has_pages(browser: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LIST_MAX", 2)
    for name in ("One", "Two", "Three"):
        id = await browser.publish(headline=name)
        await browser.publishing.delete_entry(BOSS, "council", id)
    page = await browser.page(f"{PATH}/bin")
    older = re.search(r'href="([^"]*)">Deleted earlier<', page)
    assert older
    rest = await browser.page(older[1])
    assert re.findall(r'class="words"[^>]*>([^<]*)<', rest) == ["One"]
    assert f'<a href="{PATH}/bin">Newest deletions</a>' in rest


async def test_retraction_keeps_a_colleagues_edit_and_saves_nothing_half_typed(
    browser: Desk,
) -> None:
    id = await browser.publish(headline="Old")
    fields = {"note_kind": "correction", "note": "Two, not one."}
    await browser.publishing.edit_entry(BOSS, "council", id, fields, 1)
    page = await browser.page(f"{PATH}/entries/{id}")
    assert 'value="retracted"' not in page
    form = sent(page, "retract") | {"note": "It was another day."}
    assert form.keys() == {"note", "editor", "idempotency_key"}
    assert sent(page, "edit")["note"] == "Two, not one."
    await browser.publishing.edit_entry(BOSS, "council", id, {"headline": "Colleague's"}, 2)
    done = await browser.client.post(f"{PATH}/entries/{id}/retract", data=form)
    assert done.headers["location"] == f"{PATH}?done=retracted#{id}"
    entry = (await browser.publishing.entry(BOSS, "council", id)).entry
    assert (entry.status, entry.note_kind, entry.note) == (
        "retracted",
        "retraction",
        "It was another day.",
    )
    assert (entry.headline, entry.revision) == ("Colleague's", 4)
    again = await browser.client.post(f"{PATH}/entries/{id}/retract", data=form)
    assert again.status_code == 303
    assert (await browser.publishing.entry(BOSS, "council", id)).entry == entry
    undo = sent(await browser.page(f"{PATH}/entries/{id}"), "retract")
    assert undo["undo"] == "1"
    done = await browser.client.post(f"{PATH}/entries/{id}/retract", data=undo)
    assert done.headers["location"] == f"{PATH}?done=unretracted#{id}"
    entry = (await browser.publishing.entry(BOSS, "council", id)).entry
    assert (entry.status, entry.headline, entry.revision) == ("published", "Colleague's", 5)
    assert (entry.note_kind, entry.note) == ("correction", "Two, not one.")


async def test_retraction_is_shown_again_with_its_note_when_the_note_is_too_long(
    browser: Desk,
) -> None:
    id = await browser.publish()
    note = "Long. " * 100
    rejected = await browser.client.post(f"{PATH}/entries/{id}/retract", data={"note": note})
    assert rejected.status_code == 422
    assert sent(rejected.text, "retract")["note"] == note
    assert "599 characters; the limit is 500." in unescape(rejected.text)
    assert '<details class="panel" id="retract-panel" open>' in rejected.text
    assert (await browser.publishing.entry(BOSS, "council", id)).entry.revision == 1


async def test_retraction_is_rejected_when_status_or_role_does_not_allow_it(browser: Desk) -> None:
    draft = await browser.publish(status="draft")
    published = await browser.publish()
    gone = await browser.publish()
    await browser.publishing.delete_entry(BOSS, "council", gone)
    for id, boxes, status, reason in (
        (draft, {"note": "N"}, 409, "Only a published entry can be retracted."),
        (published, {"undo": "1"}, 409, "The entry is not retracted."),
        (gone, {"note": "N"}, 410, "The entry is deleted."),
    ):
        rejected = await browser.client.post(f"{PATH}/entries/{id}/retract", data=boxes)
        assert rejected.status_code == status, id
        assert f'<p role="alert">{reason}</p>' in rejected.text
    await browser.sign_in("kim", "contributor")
    page = await browser.page(f"{PATH}/entries/{published}")
    assert "/retract" not in page
    rejected = await browser.client.post(f"{PATH}/entries/{published}/retract", data={"note": "N"})
    assert rejected.status_code == 403
    with pytest.raises(Problem):
        await browser.publishing.retract_entry(BOSS, "elsewhere", published, None)
