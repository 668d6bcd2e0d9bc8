"""The desk's forms on a real store: JSON for scripts, pages without scripts, bad input."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx2
import pytest
from kit.forms import sent
from kit.people import Clock, cheapen_hashes
from redis.asyncio import Redis
from starlette.applications import Starlette

from liveblog.blog.instant import format_time, parse_time
from liveblog.blog.model import SYSTEM
from liveblog.clock import now_ms
from liveblog.editors import desk, previews
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.previews import Previews
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.nodes import One

FLAVOURS = ("valkey",)  # not on Redis: the scripts have tests of their own
BLOG, ENTRIES = "/desk/blogs/moon", "/desk/blogs/moon/entries"
PASSWORD = "correct horse battery"
NEW_YORK = "America/New_York"
TWICE, SKIPPED = "2099-11-01T01:30", "2099-03-08T02:30"


@dataclass
class Desk:
    """A browser, and the blog `moon` behind it; `who` is the user who is signed in."""

    client: httpx2.AsyncClient
    publishing: Publishing
    accounts: Accounts
    sessions: dict[str, str] = field(default_factory=dict)

    async def sign_in(self, name: str) -> None:
        if name not in self.sessions:
            caller = await self.accounts.check_password(name, PASSWORD)
            assert caller
            self.sessions[name] = await self.accounts.open_session(caller)
        self.client.cookies.set("liveblog", self.sessions[name], domain="live.example")

    async def send(self, path: str, **boxes: Any) -> httpx2.Response:
        """Send a form as a script does."""
        kind = "application/x-www-form-urlencoded"
        headers = {"accept": "application/json", "content-type": kind}
        return await self.client.post(path, data=boxes, headers=headers)

    async def done(self, path: str, **boxes: Any) -> Any:
        """Send a form as a script does, and return the content of a 2xx."""
        answer = await self.send(path, **boxes)
        assert answer.is_success, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    async def rejected(self, path: str, expected: int, **boxes: Any) -> Any:
        """Send a form as a script does, and return the problem, of an expected status."""
        answer = await self.send(path, **boxes)
        assert answer.status_code == expected, answer.text
        content = answer.json()
        assert content["status"] == expected
        assert content["reason"][-1] in ".?"
        return content

    async def post(self, path: str, **boxes: Any) -> httpx2.Response:
        """Send a form as a browser without scripts does."""
        return await self.client.post(path, data=boxes)

    async def page(self, path: str) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def stored(self) -> list[Any]:
        page = await self.publishing.entries(SYSTEM, "moon")
        return [it.entry for it in page.entries]


@pytest.fixture
async def at(store_client: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    cheapen_hashes(monkeypatch)
    broker, accounts = Broker(One(store_client)), Accounts(One(store_client), Clock())
    await accounts.people.add("dana", PASSWORD)
    await accounts.people.add("Zoë", PASSWORD, "admin")
    await accounts.people.add("cleo", PASSWORD, "contributor")
    publishing = Publishing(broker, now_ms)
    gate, pages = Gate(accounts, Settings(), Pages(), Problems(), all_bodies()), Pages()
    previewing = Previews(publishing, broker.source.load, now_ms)
    app = Starlette(
        routes=[
            *gate.routes(),
            *desk.routes(gate, publishing, Settings(), pages, now_ms),
            *previews.routes(gate, previewing, publishing, pages),
        ]
    )
    fields = {"slug": "moon", "title": "The Moon", "timezone": NEW_YORK, "status": "live"}
    await publishing.create_blog(SYSTEM, fields)
    transport = httpx2.ASGITransport(app, client=("192.0.2.1", 50_000))
    headers = {"sec-fetch-site": "same-origin"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://live.example", headers=headers
    ) as client:
        found = Desk(client, publishing, accounts)
        await found.sign_in("dana")
        yield found


def reasons(page: str) -> list[str]:
    """Return the reasons that a page shows."""
    found = re.findall(r'<p class="reason[^>]*(?<! hidden)>([^<]+)</p>', page)
    return [unescape(it) for it in found]


# -- JSON for scripts


async def test_script_gets_what_its_form_made(at: Desk) -> None:
    made = await at.done(ENTRIES, body="One", status="published", idempotency_key="k1")
    assert (made["notice"], made["note"], made["blog"]) == ("Published.", None, None)
    assert made["entry"]["url"].endswith(f"/blogs/moon/entries/{made['entry']['id']}")
    assert made["entry"]["body_html"] == "<p>One</p>"
    assert (made["values"]["body"], made["values"]["revision"]) == ("One", "1")
    again = await at.send(ENTRIES, body="One", status="published", idempotency_key="k1")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json()["entry"]["id"] == made["entry"]["id"]
    assert len(await at.stored()) == 1


async def test_script_edits_deletes_and_restores_an_entry(at: Desk) -> None:
    made = await at.done(ENTRIES, body="One", status="draft")
    path = f"{ENTRIES}/{made['entry']['id']}"
    saved = await at.done(path, **{**made["values"], "body": "Two"})
    assert (saved["notice"], saved["entry"]["revision"]) == ("Saved.", 2)
    live = await at.done(path, **{**saved["values"], "status": "published"})
    assert (live["notice"], live["entry"]["status"]) == ("Published.", "published")
    gone = await at.done(f"{path}/delete")
    assert gone == {
        "notice": "Deleted.",
        "note": None,
        "entry": None,
        "blog": None,
        "values": None,
    }
    late = await at.rejected(path, 410, **{**saved["values"], "body": "Three"})
    assert late["reason"] == "Someone deleted this entry. Your text is safe here."
    back = await at.done(f"{path}/restore")
    assert (back["notice"], back["entry"]["body"]) == ("Restored.", "Two")
    assert (await at.rejected(f"{path}/restore", 409))["reason"] == "The entry is not deleted."


async def test_script_saves_the_header_ends_and_reopens(at: Desk) -> None:
    saved = await at.done(f"{BLOG}/header", title="Mars", dek="Red", revision="1")
    assert (saved["notice"], saved["blog"]["title"]) == ("Header saved.", "Mars")
    values = saved["values"]
    assert (values["title"], values["title_was"]) == ("Mars", "Mars")
    assert (await at.done(f"{BLOG}/header", **values))["notice"] == "No changes."
    ended = await at.done(f"{BLOG}/end", successor_url="/blogs/mars")
    assert (ended["notice"], ended["blog"]["status"]) == ("Coverage has ended.", "ended")
    rejected = await at.rejected(ENTRIES, 409, body="Late")
    assert rejected["reason"] == "The blog has ended; re-open it to publish."
    reopened = await at.done(f"{BLOG}/reopen")
    assert (reopened["notice"], reopened["blog"]["status"]) == ("Blog re-opened.", "live")


async def test_only_an_ended_blog_is_reopened(at: Desk) -> None:
    await at.publishing.edit_blog(SYSTEM, "moon", {"status": "draft"})
    rejected = await at.rejected(f"{BLOG}/reopen", 409)
    assert rejected["reason"] == "Only an ended blog can be re-opened; this one is draft."
    assert (await at.publishing.blog(SYSTEM, "moon")).blog.status == "draft"


async def test_script_gets_the_stored_boxes_after_a_conflict(at: Desk) -> None:
    made = await at.done(ENTRIES, body="One", byline=["Ann", "Davis, Jr."])
    path = f"{ENTRIES}/{made['entry']['id']}"
    await at.done(path, **{**made["values"], "body": "Theirs"})
    rejected = await at.rejected(path, 412, **{**made["values"], "body": "Mine"})
    assert (rejected["type"], rejected["boxes"]) == ("/problems/revision-conflict", {})
    assert "Both versions are shown." in rejected["reason"]
    assert (rejected["both"], rejected["taken"]) == ({"body": "Theirs"}, {})
    assert (rejected["values"]["body"], rejected["values"]["revision"]) == ("Theirs", "2")
    assert rejected["values"]["byline"] == ["Ann", "Davis, Jr."]
    assert rejected["saved_at"] == rejected["current"]["updated_at"]
    apart = await at.rejected(path, 412, **{**made["values"], "byline": ["Bo"]})
    assert (apart["both"], apart["taken"]) == ({}, {"body": "Theirs"})
    assert "are now included here" in apart["reason"]
    note = {"note_kind": "correction", "note": "Not two"}
    await at.done(path, **{**rejected["values"], **note})
    noted = await at.rejected(path, 412, **{**rejected["values"], "headline": "Mine"})
    assert (noted["both"], noted["taken"]) == ({}, note)
    assert (await at.stored())[0].body == "Theirs"


async def test_script_gets_json_when_it_is_signed_out_and_signs_in(at: Desk) -> None:
    at.client.cookies.clear()
    rejected = await at.rejected(ENTRIES, 401, body="Mine")
    assert rejected["type"] == "/problems/signed-out"
    wrong = await at.rejected("/desk/sign-in", 401, name="dana", password="wrong")
    assert wrong["reason"] == "The name or the password is wrong."
    empty = await at.rejected("/desk/sign-in", 422, name="", password="")
    assert empty["boxes"] == {
        "name": "The name must not be empty.",
        "password": "The password must not be empty.",
    }
    signed_in = await at.done("/desk/sign-in", name="dana", password=PASSWORD)
    assert signed_in == {"editor": "user:dana", "name": "dana", "role": "editor"}
    assert (await at.done(ENTRIES, body="Mine"))["notice"] == "Published."


# -- the editor for whom a page was made


async def test_form_stores_nothing_when_another_editor_has_signed_in(at: Desk) -> None:
    made = await at.done(ENTRIES, body="One", editor="user:dana")
    entry = f"{ENTRIES}/{made['entry']['id']}"
    await at.sign_in("Zoë")
    for path in (ENTRIES, entry, f"{entry}/delete", f"{BLOG}/header", f"{BLOG}/end", "/desk/blogs"):
        rejected = await at.rejected(path, 409, body="Mine", title="T", editor="user:dana")
        assert rejected["type"] == "/problems/other-editor"
        assert rejected["editor"] == {"ident": "user:Zoë", "name": "Zoë"}
        assert "opened by dana. You are signed in as Zoë now" in rejected["reason"]
    assert [it.body for it in await at.stored()] == ["One"]
    assert (await at.done(ENTRIES, body="Two", editor="user:Zoë"))["notice"] == "Published."


@pytest.mark.parametrize("path", [ENTRIES, f"{BLOG}/preview", BLOG])
async def test_header_names_the_editor_percent_encoded(at: Desk, path: str) -> None:
    await at.sign_in("Zoë")
    call = at.client.get if path == BLOG else at.client.post
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    answers = [
        await call(path, headers={**headers, "liveblog-editor": made_for})
        for made_for in ("user:dana", "user%3Adana", "user:Zo%C3%AB", "user%3AZo%C3%AB")
    ]
    assert [it.status_code == 409 for it in answers] == [True, True, False, False]


async def test_page_shows_the_text_again_when_another_editor_has_signed_in(at: Desk) -> None:
    boxes = sent(await at.page(BLOG), "compose")
    assert boxes["editor"] == "user:dana"
    await at.sign_in("Zoë")
    written = {"body": "My words", "headline": "Mine", "byline": ["Ann", "Davis, Jr."]}
    answer = await at.post(ENTRIES, **{**boxes, **written, "status": "published"})
    assert answer.status_code == 409
    assert "This page was opened by dana. You are signed in as Zoë now." in answer.text
    assert await at.stored() == []
    again = sent(answer.text, "again")
    assert (again["editor"], again["byline"]) == ("user:Zoë", written["byline"])
    assert (await at.post(ENTRIES, **again)).status_code == 303
    [entry] = await at.stored()
    assert (entry.body, entry.headline, entry.byline) == ("My words", "Mine", written["byline"])


async def test_every_form_of_the_desk_names_its_editor(at: Desk) -> None:
    await at.sign_in("Zoë")
    made = await at.done(ENTRIES, body="One")
    await at.done(ENTRIES, body="Two", status="draft")
    for path in (BLOG, f"{ENTRIES}/{made['entry']['id']}", "/desk"):
        page = await at.page(path)
        assert 'data-editor="user:Zoë"' in page
        forms = re.findall(r'<form[^>]* method="post".*?</form>', page, re.DOTALL)
        unnamed = [it for it in forms if 'name="editor" value="user:Zoë"' not in it]
        actions = [re.findall(r'action="([^"]*)"', it) for it in unnamed]
        assert actions == [["/desk/sign-out"], ["/desk/sign-in"]]


# -- times


async def test_time_is_read_on_the_clock_of_the_blog(at: Desk) -> None:
    soon = await at.done(ENTRIES, body="Soon", publish_at="2099-07-01T12:00")
    assert (soon["notice"], soon["note"]) == ("Scheduled.", None)
    assert soon["entry"]["publish_at"] == "2099-07-01T16:00:00.000Z"
    assert soon["values"]["publish_at"] == "2099-07-01T12:00"
    twice = await at.done(ENTRIES, body="Soon", publish_at=TWICE)
    assert twice["entry"]["publish_at"] == "2099-11-01T05:30:00.000Z"
    assert "The first was taken: 1:30 AM EDT." in twice["note"]
    answer = await at.post(ENTRIES, body="Soon", publish_at=TWICE)
    page = await at.page(answer.headers["location"])
    assert f"Scheduled. {twice['note']}" in page


@pytest.mark.parametrize(
    ("boxes", "name", "reason"),
    [
        ({"publish_at": SKIPPED}, "publish_at", "2:30 AM on March 8, 2099 does not exist in Am"),
        ({"publish_at": "2020-07-01T12:00"}, "publish_at", "12:00 PM EDT on July 1, 2020 has pass"),
        ({"publish_at": "soon"}, "publish_at", "Give a date and a time, such as"),
        ({"body": "x" * 20_001}, "body", "The text has 20,001 characters; the limit is 20,000."),
        ({"body": " "}, "body", "Write a headline or a text that shows something."),
        ({"byline": ["Ann", "x" * 201]}, "byline", "The name “xxxxxx"),
        ({"pinned": "1"}, "pinned", "The pin must be true or false."),
        ({"note_kind": "retraction"}, "note_kind", "Publish the entry first."),
        ({"pressed_ago_ms": "82800001"}, "pressed_ago_ms", "You pressed Publish more than 23"),
    ],
)
async def test_bad_input_gets_its_reason_and_the_text_stays(
    at: Desk, boxes: dict[str, Any], name: str, reason: str
) -> None:
    given = {"body": "Words", "byline": ["Ann", "Bo"], "publish_at": "", **boxes}
    rejected = await at.rejected(ENTRIES, 422, **given)
    assert [*rejected["boxes"]] == [name]
    assert rejected["boxes"][name].startswith(reason)
    assert rejected["reason"] == rejected["boxes"][name]
    answer = await at.post(ENTRIES, **given, status="published")
    assert answer.status_code == 422
    assert rejected["reason"] in reasons(answer.text)
    kept = sent(answer.text, "compose")
    assert kept["body"] == given["body"]
    assert kept["byline"][:2] == given["byline"]
    assert kept["publish_at"] == given["publish_at"]
    assert await at.stored() == []


@pytest.mark.parametrize(
    ("boxes", "name", "reason"),
    [
        ({"timezone": "Mars/Base"}, "timezone", "There is no such time zone."),
        ({"starts_at": "2099-03-29T02:30", "timezone": "Europe/Berlin"}, "starts_at", "2:30 AM on"),
        ({"title": ""}, "title", "The title must not be empty."),
        ({"title": "x" * 301}, "title", "The title has 301 characters; the limit is 300."),
        ({"successor_url": "nonsense"}, "successor_url", "The address of the link must begin"),
        ({"language": "english!"}, "language", "Give the code of a language"),
    ],
)
async def test_bad_header_gets_its_reason_and_the_text_stays(
    at: Desk, boxes: dict[str, str], name: str, reason: str
) -> None:
    shown = sent(await at.page(BLOG), "header")
    given = {**shown, "summary": "My words", **boxes}
    rejected = await at.rejected(f"{BLOG}/header", 422, **given)
    assert [*rejected["boxes"]] == [name]
    assert rejected["boxes"][name].startswith(reason)
    answer = await at.post(f"{BLOG}/header", **given)
    assert answer.status_code == 422
    assert rejected["boxes"][name] in reasons(answer.text)
    kept = sent(answer.text, "header")
    assert (kept["summary"], kept[name]) == ("My words", boxes[name])
    assert (await at.publishing.blog(SYSTEM, "moon")).blog.summary is None


async def test_delayed_press_is_the_time_of_publication(at: Desk) -> None:
    pressed = now_ms() - 3_600_000
    sending = {"body": "One", "status": "published", "idempotency_key": "k1"}
    made = await at.done(ENTRIES, **sending, pressed_ago_ms="3600000")
    published = parse_time(made["entry"]["published_at"])
    assert pressed <= published <= now_ms() - 3_600_000
    again = await at.done(ENTRIES, **sending, pressed_ago_ms="3605000")
    assert again["entry"]["published_at"] == format_time(published)
    path = f"{ENTRIES}/{made['entry']['id']}"
    edited = await at.done(path, **{**made["values"], "body": "Two"}, pressed_ago_ms="60000")
    assert edited["entry"]["published_at"] == format_time(published)
    draft = await at.done(ENTRIES, body="Three", status="draft", pressed_ago_ms="3600000")
    assert draft["entry"]["published_at"] is None
    path = f"{ENTRIES}/{draft['entry']['id']}"
    boxes = {**draft["values"], "status": "published"}
    live = await at.done(path, **boxes, pressed_ago_ms="3600000")
    assert abs(parse_time(live["entry"]["published_at"]) - pressed) < 600_000


async def test_delayed_press_of_a_contributor_states_no_time(at: Desk) -> None:
    await at.sign_in("cleo")
    made = await at.done(ENTRIES, body="One", status="submitted", pressed_ago_ms="3600000")
    assert made["entry"]["published_at"] is None


# -- new blogs, lists of zones, whole previews


async def test_new_blog_gets_its_address_from_the_title(at: Desk) -> None:
    boxes = {"title": "The Moön", "slug": "", "timezone": "UTC", "language": "en"}
    first = await at.done("/desk/blogs", **boxes, idempotency_key="k1")
    assert first["blog"]["slug"] == "the-moon"
    assert first["note"] == "Its address is /blogs/the-moon."
    second = await at.done("/desk/blogs", **boxes, idempotency_key="k2")
    again = await at.done("/desk/blogs", **boxes, idempotency_key="k2")
    assert [it["blog"]["slug"] for it in (second, again)] == ["the-moon-2"] * 2
    answer = await at.post("/desk/blogs", **boxes)
    assert answer.headers["location"] == "/desk/blogs/the-moon-3?done=created"
    page = await at.page(answer.headers["location"])
    assert "Blog created. Its address is /blogs/the-moon-3." in page
    taken = await at.rejected("/desk/blogs", 409, **{**boxes, "slug": "moon"})
    assert taken["boxes"] == {"slug": "The address is taken. Choose another."}
    none = await at.rejected("/desk/blogs", 422, **{**boxes, "title": "月"})
    assert none["boxes"]["slug"].startswith("The address cannot be made from this title.")
    wrong = {**boxes, "title": "月", "timezone": "Mars/Base", "language": ""}
    every = await at.rejected("/desk/blogs", 422, **wrong)
    assert {*every["boxes"]} == {"slug", "timezone", "language"}
    empty = await at.rejected("/desk/blogs", 422, **{**boxes, "title": " "})
    assert empty["boxes"] == {"title": "The title must not be empty."}


@pytest.mark.parametrize("path", ["/desk", BLOG])
async def test_zone_box_has_a_list_of_all_zones(at: Desk, path: str) -> None:
    page = await at.page(path)
    assert 'list="zones"' in page
    listed = re.findall(r'<datalist id="zones">(.*?)</datalist>', page, re.DOTALL)
    assert len(listed) == 1
    names = re.findall(r'value="([^"]+)"', listed[0])
    assert len(names) > 400
    assert {"UTC", "Europe/Berlin", NEW_YORK} <= {*names}


async def test_preview_shows_a_whole_draft_blog_without_a_stream(at: Desk) -> None:
    fields = {"slug": "mars", "title": "Mars", "dek": "Red", "summary": "*Soon*"}
    await at.publishing.create_blog(SYSTEM, fields)
    texts = [f"Text {n}" for n in range(25)]
    for text in texts:
        await at.publishing.create_entry(SYSTEM, "mars", {"body": text, "key": text == "Text 3"})
    pinned = {"body": "Pinned <b>", "pinned": True}
    await at.publishing.create_entry(SYSTEM, "mars", pinned)
    await at.publishing.create_entry(SYSTEM, "mars", {"body": "Hidden", "status": "draft"})
    desk = await at.page("/desk/blogs/mars")
    assert '<a href="/desk/blogs/mars/preview">Preview the page</a>' in desk
    page = await at.page("/desk/blogs/mars/preview")
    assert all(f"<p>{text}</p>" in page for text in texts)
    assert page.count("Pinned &lt;b&gt;") >= 2
    assert "<em>Soon</em>" in page
    assert "Hidden" not in page
    assert '<meta name="robots" content="noindex">' in page
    assert "<script" not in page
    assert "Draft" not in page
    at.client.cookies.clear()
    assert (await at.client.get("/desk/blogs/mars/preview")).status_code == 303


async def test_preview_is_404_for_a_blog_that_the_editor_may_not_see(at: Desk) -> None:
    await at.accounts.people.add("bo", PASSWORD, "editor", ["moon"])
    await at.publishing.create_blog(SYSTEM, {"slug": "mars", "title": "Mars"})
    await at.sign_in("bo")
    answers = [await at.client.get(f"/desk/blogs/{it}/preview") for it in ("moon", "mars", "x")]
    assert [it.status_code for it in answers] == [200, 404, 404]


# -- bad input of every form


def technical(reason: str) -> list[str]:
    """Return the words of a reason that editors do not use: names of fields, zones and formats."""
    words = reason.replace(NEW_YORK, "")
    return re.findall(r"\b\w*_\w*\b|\bUTC\b|\bIANA\b|\bRFC\b|\bBCP\b|\d\dZ\b", words)


async def reason_at_its_box(at: Desk, path: str, page: str, form: str, **boxes: str) -> str:
    """Send a form as scripts do and as browsers do, and return the reason that both get.

    The reason must stand at the first of `boxes`, and all of them must keep their texts.
    """
    name = next(iter(boxes))
    given = {**sent(await at.page(page), form), **boxes}
    by_script = await at.send(path, **given)
    assert by_script.status_code == 422, by_script.text
    content = by_script.json()
    assert [*content["boxes"]] == [name]
    answer = await at.post(path, **given)
    assert answer.status_code == 422
    assert content["boxes"][name] in reasons(answer.text)
    kept = sent(answer.text, form)
    assert {it: kept[it] for it in boxes} == boxes
    assert not technical(content["reason"])
    return str(content["boxes"][name])


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ({"headline": "x" * 301}, "The headline has 301 characters; the limit is 300."),
        ({"dateline": "x" * 101}, "The dateline has 101 characters; the limit is 100."),
        ({"key_title": "x" * 121}, "The key event title has 121 characters; the limit is 120."),
        ({"body": "x" * 20_001}, "The text has 20,001 characters; the limit is 20,000."),
        ({"body": "\u200b"}, "Write a headline or a text that shows something."),
        ({"publish_at": SKIPPED}, "2:30 AM on March 8, 2099 does not exist in America/New_York,"),
        ({"publish_at": "2020-07-01T12:00"}, "12:00 PM EDT on July 1, 2020 has passed."),
    ],
)
async def test_bad_entry_and_bad_edit_of_a_draft_get_their_reasons_and_stay(
    at: Desk, boxes: dict[str, str], reason: str
) -> None:
    draft = await at.done(ENTRIES, body="One", status="draft")
    edit = f"{ENTRIES}/{draft['entry']['id']}"
    words = {"body": "My words", "dateline": "KIEL"}
    given = {**boxes, **{name: text for name, text in words.items() if name not in boxes}}
    assert (await reason_at_its_box(at, ENTRIES, BLOG, "compose", **given)).startswith(reason)
    assert (await reason_at_its_box(at, edit, edit, "edit", **given)).startswith(reason)
    assert await at.stored() == []


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ({"dek": "x" * 501}, "The dek has 501 characters; the limit is 500."),
        ({"summary": "x" * 20_001}, "The summary has 20,001 characters; the limit is 20,000."),
        ({"full_coverage_url": "x y", "full_coverage_text": "All"}, "The address of the link must"),
        ({"successor_text": "x" * 201, "successor_url": "/b"}, "The link text has 201 characters"),
        ({"starts_at": "soon"}, "Give a date and a time, such as"),
        ({"starts_at": SKIPPED}, "2:30 AM on March 8, 2099 does not exist in America/New_York,"),
    ],
)
async def test_bad_boxes_of_a_header_get_their_reasons_and_stay(
    at: Desk, boxes: dict[str, str], reason: str
) -> None:
    given = {**boxes, "title": "My title"}
    assert (await reason_at_its_box(at, f"{BLOG}/header", BLOG, "header", **given)).startswith(
        reason
    )
    assert (await at.publishing.blog(SYSTEM, "moon")).blog.title == "The Moon"


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ({"title": ""}, "The title must not be empty."),
        ({"title": "x" * 301}, "The title has 301 characters; the limit is 300."),
        ({"slug": "A b"}, "The address must be 1 to 80 characters"),
        ({"timezone": "Mars/Base"}, "There is no such time zone."),
        ({"starts_at": SKIPPED, "timezone": NEW_YORK}, "2:30 AM on March 8, 2099 does not exist"),
        ({"language": "english!"}, "Give the code of a language"),
    ],
)
async def test_bad_boxes_of_a_new_blog_get_their_reasons_and_stay(
    at: Desk, boxes: dict[str, str], reason: str
) -> None:
    given = {**boxes, "dek": "My words"}
    if "title" not in boxes:
        given["title"] = "Mars"
    assert (await reason_at_its_box(at, "/desk/blogs", "/desk", "new", **given)).startswith(reason)


async def test_every_bad_box_of_a_header_has_its_reason_at_once(at: Desk) -> None:
    bad = {"title": " ", "dek": "x" * 501, "language": "", "timezone": "Mars/Base"}
    found = await at.rejected(f"{BLOG}/header", 422, revision="1", **bad)
    assert found["boxes"].keys() == bad.keys()
    assert found["boxes"]["title"] == "The title must not be empty."
    made = await at.rejected("/desk/blogs", 422, **{**bad, "slug": "A b"})
    assert made["boxes"].keys() == {*bad, "slug"}


async def test_bad_note_and_bad_successor_get_their_reasons_and_stay(at: Desk) -> None:
    made = await at.done(ENTRIES, body="One")
    page, long = f"{ENTRIES}/{made['entry']['id']}", "x" * 501
    for path, form in ((page, "edit"), (f"{page}/retract", "retract")):
        reason = await reason_at_its_box(at, path, page, form, note=long)
        assert reason == "The note for readers has 501 characters; the limit is 500."
    links = {"successor_url": "nonsense", "successor_text": "Mars"}
    reason = await reason_at_its_box(at, f"{BLOG}/end", BLOG, "end", **links)
    assert reason.startswith("The address of the link must begin with")
    assert (await at.stored())[0].status == "published"


async def test_form_of_an_expired_session_is_sent_after_a_new_sign_in(at: Desk) -> None:
    given = {**sent(await at.page(BLOG), "compose"), "body": "My words", "headline": "Mine"}
    at.client.cookies.clear()
    answer = await at.post(ENTRIES, **given, status="published")
    assert answer.status_code == 401
    assert "Your session has expired." in answer.text
    assert await at.stored() == []
    await at.sign_in("dana")
    assert (await at.post(ENTRIES, **sent(answer.text, "again"))).status_code == 303
    [entry] = await at.stored()
    assert (entry.body, entry.headline, entry.status) == ("My words", "Mine", "published")
