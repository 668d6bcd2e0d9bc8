"""The desk's page of a blog's earlier headers, and two editors' header forms, without scripts."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx2
import pytest
from kit.forms import sent
from kit.people import cheapen_hashes
from redis.asyncio import Redis
from starlette.applications import Starlette

from liveblog.blog.model import SYSTEM, Blog, Link, Role
from liveblog.editors import desk, earlier
from liveblog.editors.answers import NOTICES
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.nodes import One

FLAVOURS = ("valkey",)  # not on Redis: test_headers.py has the script on both
DESK = "/desk/blogs/council"
PAGE = f"{DESK}/header/revisions"
PASSWORD = "correct horse battery"
ROLES: dict[str, Role] = {"ada": "admin", "dana": "editor", "kim": "contributor"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Browser:
    """A browser without scripts; `sign_in` says as whom it sends the next requests."""

    client: httpx2.AsyncClient
    publishing: Publishing
    sessions: dict[str, str]

    def sign_in(self, name: str) -> None:
        self.client.cookies.set("liveblog", self.sessions[name], domain="live.example")

    async def get(self, path: str) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(self, path: str, boxes: dict[str, str] | None = None) -> httpx2.Response:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return await self.client.post(path, data=boxes or {}, headers=kind)

    async def header(self) -> Blog:
        return (await self.publishing.blog(SYSTEM, "council")).blog


@pytest.fixture
async def browser(store_client: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    cheapen_hashes(monkeypatch)
    accounts, publishing = (
        Accounts(One(store_client), now_ms),
        Publishing(Broker(One(store_client)), now_ms),
    )
    fields = {"slug": "council", "title": "Title 1", "dek": "First", "status": "live"}
    await publishing.create_blog(SYSTEM, fields)
    sessions = {}
    for name, role in ROLES.items():
        await accounts.people.add(name, PASSWORD, role)
        caller = await accounts.check_password(name, PASSWORD)
        assert caller
        sessions[name] = await accounts.open_session(caller)
    gate = Gate(accounts, Settings(), Pages(), Problems(), all_bodies())
    routes = [*gate.routes(), *desk.routes(gate, publishing, Settings(), Pages(), now_ms)]
    transport = httpx2.ASGITransport(Starlette(routes=routes), client=("192.0.2.1", 50_000))
    headers = {"sec-fetch-site": "same-origin"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://live.example", headers=headers
    ) as client:
        made = Browser(client, publishing, sessions)
        made.sign_in("dana")
        yield made


def reasons(page: str) -> list[str]:
    """Return the reasons that a page shows."""
    return re.findall(r'<p class="reason[^>]*(?<!hidden)>([^<]+)</p>', page)


def shown(page: str) -> list[tuple[int, str]]:
    """Return the revision and the title of each header on the page."""
    found = re.findall(r'<input id="title-(\d+)" value="([^"]*)"', page)
    return [(int(revision), unescape(title)) for revision, title in found]


async def save_titles(browser: Browser, *titles: str) -> None:
    for title in titles:
        await browser.publishing.edit_blog(SYSTEM, "council", {"title": title})


# -- two editors


async def test_second_form_gets_both_headers_when_two_editors_save(browser: Browser) -> None:
    forms = [sent(await browser.get(DESK), "header") for _ in range(2)]
    theirs, mine = forms[0] | {"title": "Theirs"}, forms[1] | {"title": "Mine", "summary": "S."}
    assert (await browser.post(f"{DESK}/header", theirs)).status_code == 303
    conflict = await browser.post(f"{DESK}/header", mine)
    assert conflict.status_code == 412
    assert (await browser.header()).title == "Theirs"
    assert "Theirs</textarea>" in conflict.text
    again = sent(conflict.text, "header")
    assert (again["title"], again["summary"], again["revision"]) == ("Mine", "S.", "2")
    assert (await browser.post(f"{DESK}/header", again)).status_code == 303
    merged = await browser.header()
    assert (merged.title, merged.summary, merged.dek) == ("Mine", "S.", "First")
    assert [it[1] for it in shown(await browser.get(PAGE))] == ["Mine", "Theirs", "Title 1"]


async def test_ended_coverage_keeps_the_header_that_a_colleague_saved(browser: Browser) -> None:
    page = await browser.get(DESK)
    await save_titles(browser, "Theirs")
    assert (await browser.post(f"{DESK}/end", sent(page, "end"))).status_code == 303
    by_status = sent(await browser.get(DESK), "header") | {"status": "upcoming", "title": "Theirs"}
    assert (await browser.post(f"{DESK}/header", by_status)).status_code == 303
    now = await browser.header()
    assert (now.title, now.status, now.revision) == ("Theirs", "upcoming", 2)


async def test_states_that_a_colleague_saved_are_shown_before_they_are_replaced(
    browser: Browser,
) -> None:
    page, other = await browser.get(DESK), await browser.get(DESK)
    theirs = sent(other, "header") | {"successor_text": "Theirs", "successor_url": "/blogs/theirs"}
    assert (await browser.post(f"{DESK}/header", theirs)).status_code == 303
    mine = {"successor_text": "Mine", "successor_url": "/blogs/mine"}
    for form, path in (("header", "header"), ("end", "end")):
        conflict = await browser.post(f"{DESK}/{path}", sent(page, form) | mine)
        assert conflict.status_code == 412
        assert "/blogs/theirs</textarea>" in conflict.text
        now = await browser.header()
        assert (now.successor, now.status) == (Link("Theirs", "/blogs/theirs"), "live")
        again = sent(conflict.text, form)
        assert (again["successor_text"], again["successor_url"]) == ("Mine", "/blogs/mine")
    assert (await browser.post(f"{DESK}/end", again)).status_code == 303
    now = await browser.header()
    assert (now.successor, now.status, now.revision) == (Link("Mine", "/blogs/mine"), "ended", 1)
    live = sent(page, "header") | {"status": "upcoming"}
    conflict = await browser.post(f"{DESK}/header", live)
    assert (conflict.status_code, (await browser.header()).status) == (412, "ended")
    assert "Ended</textarea>" in conflict.text


async def test_half_of_a_link_is_not_replaced_by_the_half_of_an_older_form(
    browser: Browser,
) -> None:
    await browser.publishing.edit_blog(
        SYSTEM, "council", {"successor": {"text": "Next", "url": "/blogs/next"}}
    )
    theirs, mine = [sent(await browser.get(DESK), "header") for _ in range(2)]
    assert (await browser.post(f"{DESK}/header", theirs | {"successor_text": "New"})).is_redirect
    conflict = await browser.post(f"{DESK}/header", mine | {"successor_url": "/blogs/new"})
    again = sent(conflict.text, "header")
    assert (again["successor_text"], again["successor_url"]) == ("New", "/blogs/new")
    assert (await browser.post(f"{DESK}/header", again)).is_redirect
    assert (await browser.header()).successor == Link("New", "/blogs/new")


async def test_no_words_of_a_successor_are_lost_when_five_editors_add_to_them(
    browser: Browser,
) -> None:
    async def add(mark: str) -> int:
        """Add a mark to the link's text, again when another one was saved; return how often."""
        for tries in itertools.count(1):
            boxes = sent(await browser.get(DESK), "header")
            text = f"{boxes['successor_text']} {mark}".strip()
            link = {"successor_text": text, "successor_url": "/blogs/next"}
            answer = await browser.post(f"{DESK}/header", boxes | link)
            if answer.is_redirect:
                return tries
            assert answer.status_code == 412
        raise AssertionError

    marks = [f"m{number}" for number in range(5)]
    tries = await asyncio.gather(*map(add, marks))
    successor = (await browser.header()).successor
    assert successor
    assert {*successor.text.split()} == {*marks}
    assert sum(tries) > len(marks)


# -- the page


async def test_page_lists_headers_and_restores_one(browser: Browser) -> None:
    await save_titles(browser, "<Title 2>")
    page = await browser.get(PAGE)
    assert shown(page) == [(2, "<Title 2>"), (1, "Title 1")]
    assert "<Title 2>" not in page
    assert PAGE in await browser.get(DESK)
    form = sent(page, "restore-1")
    assert (form["editor"], form["revision"]) == ("user:dana", "2")
    assert not sent(page, "restore-2")
    done = await browser.post(f"{PAGE}/1/restore", form)
    assert done.headers["location"] == f"{PAGE}?done=header-restored"
    assert NOTICES["header-restored"] in await browser.get(done.headers["location"])
    assert (await browser.header()).title == "Title 1"
    assert (await browser.header()).saved_by == "dana"
    assert (await browser.post(f"{PAGE}/1/restore", form)).status_code == 303
    assert (await browser.header()).revision == 3, "a form that is sent twice is applied once"


async def test_header_is_not_restored_over_one_that_the_editor_has_not_seen(
    browser: Browser,
) -> None:
    await save_titles(browser, "Title 2")
    form = sent(await browser.get(PAGE), "restore-1")
    await save_titles(browser, "Theirs")
    rejected = await browser.post(f"{PAGE}/1/restore", form)
    assert rejected.status_code == 412
    [reason] = reasons(rejected.text)
    assert reason.startswith("Someone saved the header while you were editing it.")
    assert shown(rejected.text)[0] == (3, "Theirs")
    again = sent(rejected.text, "restore-1")
    assert (await browser.post(f"{PAGE}/1/restore", again)).status_code == 303
    assert (await browser.header()).title == "Title 1"


async def test_admin_erases_one_header_and_then_all(browser: Browser) -> None:
    await save_titles(browser, "Title 2", "Title 3", "Title 4")
    browser.sign_in("ada")
    done = await browser.post(f"{PAGE}/2/erase", sent(await browser.get(PAGE), "erase-2"))
    assert done.headers["location"] == f"{PAGE}?done=headers-erased"
    page = await browser.get(done.headers["location"])
    assert [it[0] for it in shown(page)] == [4, 3, 1]
    assert NOTICES["headers-erased"] in page
    assert (await browser.post(f"{PAGE}/erase", sent(page, "erase"))).status_code == 303
    assert [it[0] for it in shown(await browser.get(PAGE))] == [4]
    assert reasons((await browser.post(f"{PAGE}/4/erase")).text) == [
        "Revision 4 is the newest one."
    ]


@pytest.mark.parametrize(
    ("name", "restores", "erases"), [("ada", 303, 303), ("dana", 303, 403), ("kim", 403, 403)]
)
async def test_page_offers_and_allows_what_the_role_may_do(
    browser: Browser, name: str, restores: int, erases: int
) -> None:
    await save_titles(browser, "Title 2")
    browser.sign_in(name)
    page = await browser.get(PAGE)
    assert ('id="restore-1"' in page) == (restores == 303)
    assert ('id="erase-1"' in page, 'id="erase"' in page) == (erases == 303,) * 2
    statuses = [
        (await browser.post(PAGE + path)).status_code
        for path in ("/1/restore", "/1/erase", "/erase")
    ]
    assert statuses == [restores, erases, erases]


async def test_page_leads_to_older_headers(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "HEADERS", 2)
    await save_titles(browser, "Title 2", "Title 3")
    page = await browser.get(PAGE)
    assert [it[0] for it in shown(page)] == [3, 2]
    [older] = re.findall(r'href="([^"]*before=[^"]*)"', page)
    page = await browser.get(older)
    assert [it[0] for it in shown(page)] == [1]
    assert "before=" not in page


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "?before=x", 422),
        ("POST", "/9/restore", 404),
        ("POST", "/x/restore", 404),
        ("POST", "/x/erase", 404),
    ],
)
async def test_request_of_a_revision_that_is_none_is_a_page_with_the_reason(
    browser: Browser, method: str, path: str, status: int
) -> None:
    browser.sign_in("ada")
    post: Any = browser.post
    answer = await (browser.client.get(PAGE + path) if method == "GET" else post(PAGE + path))
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "text/html; charset=utf-8",
    )


async def test_signing_in_leads_back_to_the_page(browser: Browser) -> None:
    browser.client.cookies.clear()
    away = await browser.client.get(PAGE)
    assert away.headers["location"] == f"/desk/sign-in?next={PAGE}"
    page = await browser.get(away.headers["location"])
    assert f'value="{PAGE}"' in page
