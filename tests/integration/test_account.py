"""The page on which editors change their own password, on a real store."""

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx2
import pytest
from kit.people import Clock, cheapen_hashes
from redis.asyncio import Redis
from starlette.applications import Starlette

from liveblog.blog.model import Caller
from liveblog.editors import account, tries
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.problems import Problems
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.nodes import One

FLAVOURS = ("valkey",)  # not on Redis: test_accounts.py has the scripts on both
PRESENT, NEW = "correct horse battery", "another password"
JSON = {"accept": "application/json"}


class Desk(NamedTuple):
    """A browser in which dana is signed in, and the accounts behind the desk."""

    client: httpx2.AsyncClient
    accounts: Accounts
    session: str

    async def change(self, current: str, new: str, **headers: str) -> httpx2.Response:
        form = {"current": current, "password": new}
        if "authorization" not in headers:
            form["editor"] = "user:dana"
        return await self.client.post("/desk/password", data=form, headers=headers)


@pytest.fixture
async def desk(store_client: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    cheapen_hashes(monkeypatch)
    accounts = Accounts(One(store_client), Clock())
    await accounts.people.add("dana", PRESENT)
    session = await _session(accounts)
    parts = accounts, Settings(), Pages(), Problems()
    gate = Gate(*parts, all_bodies())
    app = Starlette(routes=[*gate.routes(), *account.routes(gate, *parts)])
    transport = httpx2.ASGITransport(app, client=("192.0.2.1", 50_000))
    headers = {"sec-fetch-site": "same-origin"}
    async with httpx2.AsyncClient(
        transport=transport,
        base_url="http://live.example",
        headers=headers,
    ) as client:
        client.cookies.set("liveblog", session, domain="live.example")
        yield Desk(client, accounts, session)


async def _session(accounts: Accounts) -> str:
    dana = await accounts.check_password("dana", PRESENT)
    assert dana
    return await accounts.open_session(dana)


def reasons(page: str) -> list[str]:
    """Return the reasons that a page shows."""
    return re.findall(r'<p class="reason[^>]*(?<!hidden)>([^<]+)</p>', page)


async def test_editor_changes_the_password_and_stays_signed_in_here_only(desk: Desk) -> None:
    elsewhere = await _session(desk.accounts)
    done = await desk.change(PRESENT, NEW)
    assert (done.status_code, done.headers["location"]) == (303, "/desk/account?done=password")
    assert [await desk.accounts.session_caller(it) for it in (desk.session, elsewhere)] == [
        None
    ] * 2
    page = await desk.client.get(done.headers["location"])
    assert (page.status_code, account.CHANGED in page.text) == (200, True)
    assert await desk.accounts.check_password("dana", PRESENT) is None
    marks = str(desk.client.cookies["liveblog-device"]).split("~")
    assert await desk.accounts.known_device("dana", marks) == marks[0]


@pytest.mark.parametrize("work", ["password", "sign-in"])
async def test_session_ends_only_when_the_store_has_room_for_the_next_one(
    desk: Desk, store_client: Redis, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    opened = desk.accounts.open_session

    async def open_while_full(caller: Caller) -> str:
        await store_client.config_set("maxmemory", 1)
        try:
            return await opened(caller)
        finally:
            await store_client.config_set("maxmemory", 0)

    monkeypatch.setattr(desk.accounts, "open_session", open_while_full)
    if work == "password":
        answer = await desk.change(PRESENT, NEW, **JSON)
        assert answer.json()["type"] == "/problems/store-down"
        assert await desk.accounts.check_password("dana", NEW)
    else:
        form = {"name": "dana", "password": PRESENT}
        answer = await desk.client.post("/desk/sign-in", data=form, headers=JSON)
        assert answer.json()["type"] == "/problems/store-refuses"
        assert await desk.accounts.session_caller(desk.session)


async def test_call_that_accepts_json_gets_json(desk: Desk) -> None:
    rejected: Any = (await desk.change("wrong", NEW, **JSON)).json()
    assert rejected["status"] == 422
    assert rejected["boxes"] == {"current": "The current password is wrong."}
    done = await desk.change(PRESENT, NEW, **JSON)
    assert (done.status_code, done.json()) == (200, {"notice": account.CHANGED, "done": "password"})
    assert (await desk.client.get("/desk/account")).status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "reason"),
    [
        ("wrong", NEW, "The current password is wrong."),
        ("", NEW, "The current password is wrong."),
        (PRESENT, "x" * 11, "The new password has 11 characters; it must have 12 to 1024."),
        (PRESENT, "x" * 1_025, "The new password has 1025 characters; it must have 12 to 1024."),
    ],
)
async def test_rejected_form_names_the_reason_and_repeats_no_password(
    desk: Desk, current: str, new: str, reason: str
) -> None:
    rejected = await desk.change(current, new)
    assert (rejected.status_code, reasons(rejected.text)) == (422, [reason])
    assert PRESENT not in rejected.text
    assert new not in rejected.text
    assert await desk.accounts.session_caller(desk.session)
    assert await desk.accounts.check_password("dana", PRESENT)


async def test_wrong_present_passwords_count_as_tries_to_sign_in(desk: Desk) -> None:
    done = [await desk.change("wrong", NEW) for _ in range(tries.NAME_TRIES_MAX + 1)]
    assert [it.status_code for it in done] == [422] * tries.NAME_TRIES_MAX + [429]
    assert int(done[-1].headers["retry-after"]) > 0
    assert (await desk.change(PRESENT, NEW)).status_code == 429


async def test_password_of_nobody_changes_without_a_session_of_this_site(desk: Desk) -> None:
    foreign = await desk.change(PRESENT, NEW, **{"sec-fetch-site": "cross-site"})
    desk.client.cookies.clear()
    stranger = await desk.change(PRESENT, NEW)
    token = await desk.accounts.create_token("wire", "admin")
    script = await desk.change(PRESENT, NEW, authorization=f"Bearer {token}")
    assert [it.status_code for it in (foreign, stranger, script)] == [403, 303, 403]
    assert stranger.headers["location"].startswith("/desk/sign-in")
    assert await desk.accounts.check_password("dana", PRESENT)
