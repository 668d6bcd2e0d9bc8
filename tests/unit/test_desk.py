"""The desk's pages and forms, without scripts and without a store; a fake records the writes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Literal, cast

import pytest
from kit.forms import sent
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.testclient import TestClient

from liveblog.blog import fields
from liveblog.blog.fields import BODY_BYTES_MAX
from liveblog.blog.model import (
    SLUG_MAX,
    Blog,
    Caller,
    DamagedBlog,
    DamagedEntry,
    Entry,
    Link,
    Position,
)
from liveblog.blog.problem import Problem, StoreDown, invalid, not_found
from liveblog.editors import desk
from liveblog.editors.bodies import STRANGERS_BODY_BYTES_MAX, all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.headers import ErasedHeaders
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import BlogSearch
from liveblog.editors.results import (
    BlogResult,
    DeleteResult,
    EntryPage,
    EntryResult,
    HeaderConflict,
    RevisionConflict,
)
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store import rebuilding
from liveblog.store.accounts import Accounts
from liveblog.store.blogs import BlogPage
from liveblog.store.codec import StoredBlog
from liveblog.store.passwords import Passwords

AT = Position("k3xq9a", 7, "9f2c01ab")
ID = "e000000000001"
SITE = "http://testserver"
NOW_MS = 1_782_921_600_000  # noon of July 1, 2026, in New York
NEW_YORK = "America/New_York"
DANA = Caller("user:dana", "editor")
CLEO = Caller("user:cleo", "contributor")
BOSS = Caller("user:boss", "admin")
BLOG = Blog(slug="moon", title="The Moon", timezone=NEW_YORK, status="live")
UPCOMING = Blog(
    slug="moon",
    title="The Moon",
    timezone=NEW_YORK,
    status="upcoming",
    starts_at=1_782_921_600_000,  # noon of July 1, 2026
)
FULL = replace(
    UPCOMING,
    dek="One & two",
    summary="\nOne\n\nTwo",
    full_coverage=Link("All", "/all"),
    successor=Link("Mars", "/blogs/mars"),
)
# 1:30 in EST on November 1, 2026, an hour after 1:30 in EDT; milliseconds since 1970.
SECOND_HALF_PAST_ONE = 1_793_514_600_999
ENTRY = Entry(
    id=ID,
    headline="Lift-off",
    body="We have\nlift-off",
    body_html="<p>We have\nlift-off</p>",
    byline=["Ann One", "Bo Two"],
    status="published",
    revision=3,
    published_at=1_700_000_000_000,
    updated_at=1_700_000_000_000,
    offset=5,
    order=5,
)
DRAFT = Entry(id="e000000000002", body="Not yet", body_html="<p>Not yet</p>", author="user:cleo")


FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


class KnownAccounts(Accounts):
    """Replaces the accounts in the store: a session's secret is the user's name."""

    def __init__(self) -> None:
        self.is_store_up = True
        self.passwords = Passwords()
        self.closed: list[str] = []

    async def check_store(self) -> None:
        if not self.is_store_up:
            raise StoreDown("unreachable")

    async def session_caller(self, secret: str) -> Caller | None:
        await self.check_store()
        return {"dana": DANA, "cleo": CLEO, "boss": BOSS}.get(secret)

    async def check_password(self, name: str, password: str, *_: object) -> Caller | None:
        await self.check_store()
        return DANA if (name, password) == ("dana", "a long password") else None

    async def open_session(self, caller: Caller) -> str:
        return caller.name

    async def device_mark(self, name: str) -> str:
        return f"mark-of-{name}"

    async def close_session(self, secret: str) -> None:
        self.closed.append(secret)

    async def wait_s(self, what: str, limit: int, window_s: int) -> int:
        return 30 if "hammer" in what else 0

    async def forget_try(self, what: str) -> None:
        pass


@dataclass
class KnownPins:
    """Answers with a list of pinned entries."""

    pinned: list[Entry] = field(default_factory=list)

    async def all(self, caller: Caller, slug: str) -> list[Entry]:
        return self.pinned


class KnownHistory:
    """Answers with ENTRY as the revision that was edited."""

    async def entry(self, caller: Caller, slug: str, id: str, revision: int) -> Entry:
        if revision != ENTRY.revision:
            raise not_found()
        return ENTRY


@dataclass
class RecordingPublishing:
    """Records every write, and answers with one blog, one entry and one draft, or a problem."""

    pins: KnownPins = field(default_factory=KnownPins)
    history: KnownHistory = field(default_factory=KnownHistory)

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    seen: list[int | None] = field(default_factory=list)  # the revisions that header edits replace
    problem: Exception | None = None
    read_problem: Exception | None = None  # raised by reads
    blog_is: Blog = BLOG
    older_blog: str | None = None
    entry_is: Entry = ENTRY
    unpublished_are: list[Entry] = field(default_factory=lambda: [DRAFT])
    damaged_are: list[str] = field(default_factory=list)
    damaged_blogs: list[str] = field(default_factory=list)
    rebuilt_are: tuple[str, ...] = ()

    def _record(self, *call: Any) -> None:
        self.calls.append(call)
        if self.problem:
            raise self.problem

    async def blogs(
        self, caller: Caller, before: str | None, limit: int, search: BlogSearch
    ) -> BlogPage:
        found = [StoredBlog(self.blog_is, AT, None)] if search.finds(self.blog_is) else []
        return BlogPage(found, self.older_blog, self.damaged_blogs)

    async def blog(self, caller: Caller, slug: str, *, or_damaged: bool = False) -> BlogResult:
        if self.read_problem:
            raise self.read_problem
        return BlogResult(self.blog_is, AT, rebuilt=self.rebuilt_are)

    async def shown(self, caller: Caller, slug: str, before: Any, limit: int) -> EntryPage:
        return EntryPage([EntryResult(self.entry_is, AT)], None, self.damaged_are)

    async def unpublished(self, caller: Caller, slug: str) -> list[Entry]:
        return [*self.unpublished_are]

    async def entry(self, caller: Caller, slug: str, id: str) -> EntryResult:
        return EntryResult(self.entry_is, AT)

    async def create_blog(self, caller: Caller, fields: Any, key: Any) -> BlogResult:
        self._record("create_blog", fields, key)
        return BlogResult(self.blog_is, AT)

    async def edit_blog(
        self, caller: Caller, slug: str, fields: Any, key: Any, seen: Any, shown: Any
    ) -> BlogResult:
        self.seen.append(seen)
        self._record("edit_blog", fields, key)
        return BlogResult(self.blog_is, AT)

    @property
    def headers(self) -> "RecordingPublishing":
        return self

    async def restore(self, caller: Caller, slug: str, revision: int, key: Any, seen: Any) -> None:
        self._record("restore", revision)

    async def erase(
        self, caller: Caller, slug: str, revision: int | None, key: Any
    ) -> ErasedHeaders:
        self._record("erase", revision)
        return ErasedHeaders(1)

    async def create_entry(
        self, caller: Caller, slug: str, fields: Any, key: Any, pressed_at: Any
    ) -> EntryResult:
        self._record("create_entry", fields, key)
        return EntryResult(self.entry_is, AT, 201)

    async def edit_entry(
        self,
        caller: Caller,
        slug: str,
        id: str,
        fields: Any,
        revision: Any,
        key: Any,
        pressed_at: Any,
    ) -> EntryResult:
        self._record("edit_entry", id, fields, revision, key)
        return EntryResult(self.entry_is, AT)

    async def retract_entry(
        self, caller: Caller, slug: str, id: str, note: Any, *, undo: bool, key: Any
    ) -> EntryResult:
        self._record("retract_entry", id, note, undo, key)
        return EntryResult(self.entry_is, AT)

    async def delete_entry(
        self, caller: Caller, slug: str, id: str, takedown: bool, key: Any
    ) -> DeleteResult:
        self._record("delete_entry", id, takedown)
        return DeleteResult(id, 8, AT, takedown, 0)

    async def restore_entry(self, caller: Caller, slug: str, id: str, key: Any) -> EntryResult:
        self._record("restore_entry", id)
        return EntryResult(self.entry_is, AT)


@dataclass
class Browser:
    """A browser without scripts, signed in as dana until `sign_in` changes that."""

    client: TestClient
    publishing: RecordingPublishing
    accounts: KnownAccounts

    def sign_in(self, name: str) -> None:
        self.client.cookies.set("liveblog", name)

    def post(self, path: str, data: Any = None, **headers: Any) -> Any:
        kind = "application/x-www-form-urlencoded"
        sent = {"Sec-Fetch-Site": "same-origin", "Content-Type": kind, **headers}
        return self.client.post(path, data=data or {}, headers=sent)

    def get(self, path: str) -> Any:
        return self.client.get(path)


@pytest.fixture
def browser() -> Iterator[Browser]:
    publishing, accounts = RecordingPublishing(), KnownAccounts()
    gate = Gate(accounts, Settings(), Pages(), Problems(), all_bodies())
    calls = cast(Publishing, publishing)
    routes = [
        *gate.routes(),
        *desk.routes(gate, calls, Settings(), Pages(), lambda: NOW_MS),
    ]
    with TestClient(Starlette(routes=routes), base_url=SITE, follow_redirects=False) as client:
        found = Browser(client, publishing, accounts)
        found.sign_in("dana")
        yield found


def value_of(page: str, name: str) -> str:
    """Return the content of the first form field with a name."""
    line = re.search(rf'<input[^>]* name="{name}"[^>]* value="([^"]*)"', page)
    area = re.search(rf'<textarea[^>]* name="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    found = line or area
    assert found, name
    return unescape(found[1])


def reason_of(page: str, name: str, form: str = "compose") -> str:
    """Return the error text of a form field, whose aria-describedby must refer to the text."""
    found = re.search(rf'id="{form}-{name}-reason"[^>]*>([^<]*)<', page)
    assert found
    assert f'aria-describedby="{form}-{name}-reason' in page
    return unescape(found[1])


def start_sent(browser: Browser, **boxes: str) -> dict[str, Any]:
    """Send the form for a blog's header; return the `starts_at` fields that `Publishing` gets."""
    browser.post("/desk/blogs/moon/header", {"title": "The Moon", "revision": "1", **boxes})
    *_, fields, _ = browser.publishing.calls[-1]
    return {name: value for name, value in fields.items() if name.startswith("starts_at")}


# -- signing in


def test_a_page_redirects_to_sign_in_and_back_without_a_session(browser: Browser) -> None:
    browser.client.cookies.clear()
    answer = browser.get("/desk/blogs/moon")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/desk/sign-in?next=/desk/blogs/moon",
    )
    assert 'value="/desk/blogs/moon"' in browser.get(answer.headers["location"]).text


def test_signing_in_returns_to_a_preview(browser: Browser) -> None:
    browser.client.cookies.clear()
    answer = browser.get("/desk/sign-in?next=/desk/blogs/moon/preview")
    assert 'value="/desk/blogs/moon/preview"' in answer.text


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/desk",
        "//evil.example",
        "/desk//evil.example",
        "/desk/../x",
        "/blogs/a",
    ],
)
def test_signing_in_redirects_only_to_pages_of_the_desk(browser: Browser, there: str) -> None:
    given = {"name": "dana", "password": "a long password", "next": there}
    answer = browser.post("/desk/sign-in", given)
    assert (answer.status_code, answer.headers["location"]) == (303, "/desk")
    for cookie in answer.headers.get_list("set-cookie"):
        assert all(part in cookie.lower() for part in ("httponly", "samesite=lax", "path=/"))
    assert (answer.cookies["liveblog"], answer.cookies["liveblog-device"]) == (
        "dana",
        "mark-of-dana",
    )


def test_the_sign_in_page_keeps_the_name_after_a_wrong_password(browser: Browser) -> None:
    browser.client.cookies.clear()
    answer = browser.post("/desk/sign-in", {"name": "dana", "password": "wrong"})
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert value_of(answer.text, "name") == "dana"
    assert "wrong</" not in re.sub("is wrong", "", answer.text)


def test_too_many_tries_are_429_with_retry_after(browser: Browser) -> None:
    answer = browser.post("/desk/sign-in", {"name": "hammer", "password": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")


def test_a_page_of_another_site_cannot_sign_in_or_out(browser: Browser) -> None:
    given = {"name": "dana", "password": "a long password"}
    assert browser.post("/desk/sign-in", given, **FOREIGN).status_code == 403
    assert browser.post("/desk/sign-out", **FOREIGN).status_code == 403
    assert browser.accounts.closed == []


def test_signing_out_ends_the_session(browser: Browser) -> None:
    answer = browser.post("/desk/sign-out")
    assert (answer.status_code, browser.accounts.closed) == (303, ["dana"])
    assert "max-age=0" in answer.headers["set-cookie"].lower()


UNSAFE = (
    "/desk/blogs",
    "/desk/blogs/moon/header",
    "/desk/blogs/moon/end",
    "/desk/blogs/moon/reopen",
    "/desk/blogs/moon/entries",
    f"/desk/blogs/moon/entries/{ID}",
    f"/desk/blogs/moon/entries/{ID}/delete",
    f"/desk/blogs/moon/entries/{ID}/restore",
    "/desk/blogs/moon/header/revisions/1/restore",
    "/desk/blogs/moon/header/revisions/1/erase",
    "/desk/blogs/moon/header/revisions/erase",
    f"/desk/blogs/moon/entries/{ID}/retract",
)


@pytest.mark.parametrize("path", UNSAFE)
def test_a_form_is_rejected_from_a_page_of_another_site(browser: Browser, path: str) -> None:
    answer = browser.post(path, {"body": "theirs"}, **FOREIGN)
    assert answer.status_code == 403
    assert "theirs" not in answer.text
    assert browser.publishing.calls == []


@pytest.mark.parametrize("path", ["/desk", "/desk/sign-in", "/desk/blogs/moon", *UNSAFE])
def test_every_answer_of_the_desk_is_no_store(browser: Browser, path: str) -> None:
    answer = browser.post(path) if path in UNSAFE else browser.get(path)
    assert answer.headers["cache-control"] == "no-store"


def test_pages_have_no_inline_script_or_style(browser: Browser) -> None:
    for path in ("/desk", "/desk/sign-in", "/desk/blogs/moon", f"/desk/blogs/moon/entries/{ID}"):
        page = browser.get(path).text
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", page)


# -- writing


def test_the_form_publishes_and_redirects_so_a_reload_is_harmless(browser: Browser) -> None:
    given = {
        "headline": "",
        "body": "One\r\n\r\n“Two”",
        "byline": ["Ann One", "Davis, Jr.", ""],
        "dateline": "",
        "key": "false",
        "pinned": "true",
        "status": "published",
        "publish_at": "",
        "idempotency_key": "k1",
    }
    answer = browser.post("/desk/blogs/moon/entries", given)
    fields = {
        "body": "One\n\n“Two”",
        "byline": ["Ann One", "Davis, Jr."],
        "key": False,
        "pinned": True,
        "status": "published",
    }
    assert browser.publishing.calls == [("create_entry", fields, "k1")]
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/desk/blogs/moon?done=published",
    )
    assert "Published." in browser.get(answer.headers["location"]).text


def test_a_form_with_only_a_text_publishes(browser: Browser) -> None:
    assert browser.post("/desk/blogs/moon/entries", {"body": "Text"}).status_code == 303
    assert browser.publishing.calls == [("create_entry", {"body": "Text"}, None)]


def test_publishing_with_a_time_schedules_in_the_blogs_zone(browser: Browser) -> None:
    given = {"body": "x", "status": "published", "publish_at": "2026-07-01T12:00"}
    browser.post("/desk/blogs/moon/entries", given)
    assert browser.publishing.calls[0][1] == {"body": "x", "publish_at": "2026-07-01T16:00:00.000Z"}


def test_a_rejected_form_keeps_text_and_key_with_reasons_at_its_boxes(browser: Browser) -> None:
    browser.publishing.problem = invalid(("/body", "has 20001 characters; the limit is 20000"))
    text = "\n“First” line break & <b>stays</b>"
    given = {"body": text, "byline": ["Ann, Jr.", "Bo"], "pinned": "true", "idempotency_key": "k1"}
    answer = browser.post("/desk/blogs/moon/entries", given)
    assert answer.status_code == 422
    assert reason_of(answer.text, "body") == "The text has 20,001 characters; the limit is 20,000."
    assert value_of(answer.text, "body") == text
    assert sent(answer.text, "compose")["byline"] == ["Ann, Jr.", "Bo", "", ""]
    assert value_of(answer.text, "idempotency_key") == "k1"
    assert re.search(r'<textarea id="compose-body"[^>]*aria-invalid="true"', answer.text)
    assert re.search(r'type="checkbox"[^>]*id="compose-pinned"[^>]* checked', answer.text)


def test_a_form_gets_a_new_key_when_its_key_was_used(browser: Browser) -> None:
    browser.publishing.problem = Problem(422, "idempotency-key-reused", "used")
    given = {"body": "second", "idempotency_key": "k1"}
    page = browser.post("/desk/blogs/moon/entries", given).text
    assert "Your first text was stored after all" in page
    assert value_of(page, "body") == "second"
    assert value_of(page, "idempotency_key") not in ("", "k1")


def test_the_page_keeps_text_and_key_when_the_store_is_unreachable(browser: Browser) -> None:
    browser.publishing.read_problem = StoreDown("unreachable")
    given = {"body": "My <words>", "headline": "Mine", "idempotency_key": "k1"}
    answer = browser.post("/desk/blogs/moon/entries", given)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert 'action="/desk/blogs/moon/entries"' in answer.text
    assert [value_of(answer.text, name) for name in given] == [*given.values()]


def test_form_says_that_an_earlier_try_may_be_stored_under_another_name(browser: Browser) -> None:
    path, written = "/desk/blogs/moon/entries", {"body": "My words", "editor": "user:dana"}
    browser.publishing.problem = StoreDown("the connection ended after the commit")
    down = browser.post(path, written)
    assert down.status_code == 503
    browser.sign_in("boss")
    answer = browser.post(path, sent(down.text, "again"))
    assert answer.status_code == 409
    assert "An earlier try may have been stored under dana. Look at the blog first." in answer.text
    assert "saved nothing" not in answer.text
    first = browser.post(path, written)
    assert "This try saved nothing." in first.text
    assert "earlier try" not in first.text


def test_page_shows_the_note_of_a_retraction_that_was_refused(browser: Browser) -> None:
    note, path = "We were <wrong>", f"/desk/blogs/moon/entries/{ID}/retract"
    for problem in (Problem(409, "conflict", "No."), Problem(410, "gone", "The entry is deleted.")):
        browser.publishing.problem = problem
        answer = browser.post(path, {"note": note, "idempotency_key": "k1"})
        assert answer.status_code == problem.status
        assert sent(answer.text, "again") == {"note": note, "idempotency_key": "k1"}
        assert 'for="again-note">Note for readers<' in answer.text


def test_page_sends_an_emptied_text_again_as_empty(browser: Browser) -> None:
    browser.publishing.problem = StoreDown("unreachable")
    given = {"body": "", "headline": "Mine", "editor": "user:dana", "revision": "3"}
    answer = browser.post(f"/desk/blogs/moon/entries/{ID}", given)
    assert sent(answer.text, "again") == {**given, "tried": "1"}


def test_the_page_keeps_a_text_that_was_sent_after_signing_out(browser: Browser) -> None:
    browser.sign_in("nobody")
    answer = browser.post("/desk/blogs/moon/entries", {"body": "My words"})
    assert answer.status_code == 401
    assert value_of(answer.text, "body") == "My words"
    assert 'href="/desk/sign-in"' in answer.text


def test_page_names_an_unread_text_when_the_session_has_expired(browser: Browser) -> None:
    """A redirect to sign in would lose the text silently."""
    browser.client.cookies.clear()
    text = "x" * STRANGERS_BODY_BYTES_MAX
    answer = browser.post("/desk/blogs/moon/entries", {"body": text})
    assert answer.status_code == 413
    assert f"{STRANGERS_BODY_BYTES_MAX:,} bytes" in answer.text
    assert "Go back in your browser" in answer.text


def test_page_says_where_a_text_is_that_was_too_long_to_be_read(browser: Browser) -> None:
    answer = browser.post("/desk/blogs/moon/entries", {"body": "x" * BODY_BYTES_MAX})
    assert (answer.status_code, "<h1>Too long to send</h1>" in answer.text) == (413, True)
    assert "The server has not read your text, and saved nothing." in answer.text
    assert 'href="/desk/blogs/moon/entries"' not in answer.text  # no page is at that address
    browser.publishing.read_problem = StoreDown("unreachable")
    assert "has not read your text" not in browser.get("/desk/blogs/moon").text


def test_a_sign_in_form_is_at_most_8_kb(browser: Browser) -> None:
    browser.client.cookies.clear()
    answer = browser.post("/desk/sign-in", {"name": "dana", "password": "x" * 8_192})
    assert answer.status_code == 413
    assert (
        browser.post("/desk/sign-in", {"name": "x" * 64, "password": "x" * 1_024}).status_code
        == 401
    )


@pytest.mark.parametrize("path", ["/desk", "/desk/sign-in", "/desk/blogs/moon"])
def test_every_page_is_503_when_the_store_is_unreachable(browser: Browser, path: str) -> None:
    browser.accounts.is_store_up = False
    browser.client.cookies.clear()
    assert browser.get(path).status_code == 503


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"body=%FF", "application/x-www-form-urlencoded", 400),
        (b"body=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 101), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"a=1", "application/x-www-form-urlencoded; charset=utf-16", 415),
        (b"a=1", "application/x-www-form-urlencoded; charset = utf-16", 415),
        (b"a=1", "application/x-www-form-urlencoded; charset=nothing", 415),
        (b"body=" + b"x" * (1 << 20), "application/x-www-form-urlencoded", 413),
    ],
)
def test_a_body_is_rejected_when_it_is_not_a_form(
    browser: Browser, body: bytes, kind: str, status: int
) -> None:
    headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin"}
    answer = browser.client.post("/desk/blogs/moon/entries", content=body, headers=headers)
    assert answer.status_code == status
    assert browser.publishing.calls == []


@pytest.mark.parametrize("said", ["", ";", "; charset=utf8", '; charset="UTF-8"; x=y'])
def test_a_form_may_state_that_it_is_utf_8(browser: Browser, said: str) -> None:
    kind = f"application/x-www-form-urlencoded{said}"
    headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin"}
    browser.client.post("/desk/blogs/moon/entries", content=b"body=%C3%A9", headers=headers)
    ((*_, fields, _),) = browser.publishing.calls
    assert fields["body"] == "é"


# -- editing


def test_an_entry_is_shown_in_boxes_and_saved_on_its_revision(browser: Browser) -> None:
    page = browser.get(f"/desk/blogs/moon/entries/{ID}").text
    assert value_of(page, "body") == ENTRY.body
    assert sent(page, "edit")["byline"] == ["Ann One", "Bo Two", "", ""]
    given = {"body": "New", "revision": value_of(page, "revision"), "idempotency_key": "k2"}
    answer = browser.post(f"/desk/blogs/moon/entries/{ID}", given)
    assert browser.publishing.calls == [("edit_entry", ID, {"body": "New"}, 3, "k2")]
    assert answer.headers["location"] == f"/desk/blogs/moon?done=saved#{ID}"


def test_an_edit_sends_only_the_marks_that_were_altered(browser: Browser) -> None:
    given = {"body": "x", "revision": "3"}
    marks = {"key": "true", "key_was": "true", "pinned": "false", "pinned_was": "true"}
    browser.post(f"/desk/blogs/moon/entries/{ID}", given | marks)
    assert browser.publishing.calls[0][2] == {"body": "x", "pinned": False}


def test_an_edit_after_a_conflict_keeps_a_colleagues_marks(
    browser: Browser,
) -> None:
    path = f"/desk/blogs/moon/entries/{ID}"
    given = sent(browser.get(path).text, "edit") | {"body": "Mine"}
    theirs = replace(ENTRY, body="Theirs", revision=4, pinned=True, key=True, key_title="Up")
    browser.publishing.problem = RevisionConflict(EntryResult(theirs, AT))
    again = sent(browser.post(path, given).text, "edit")
    ticked = again | {"pinned": "true", "key": "true"}  # as the page shows the boxes
    browser.post(path, ticked)
    browser.post(path, ticked | {"pinned": "false"})
    marks = [
        {name: call[2][name] for name in ("pinned", "key", "key_title") if name in call[2]}
        for call in browser.publishing.calls
    ]
    assert marks == [{}, {}, {"pinned": False}]


@pytest.mark.parametrize("at", [SECOND_HALF_PAST_ONE, 1_782_921_600_000])
def test_an_edit_keeps_the_seconds_of_a_schedule_left_as_shown(browser: Browser, at: int) -> None:
    browser.publishing.entry_is = replace(ENTRY, status="scheduled", publish_at=at)
    path = f"/desk/blogs/moon/entries/{ID}"
    boxes = sent(browser.get(path).text, "edit")
    browser.publishing.blog_is = replace(BLOG, timezone="Europe/London")
    browser.post(path, boxes)
    browser.post(path, boxes | {"publish_at": "2026-12-01T12:00"})
    browser.post(path, boxes | {"publish_at": "2026-12-01T12:00", "zone": ""})
    first, second, third = [call[2] for call in browser.publishing.calls]
    assert "publish_at" not in first
    assert second["publish_at"] == "2026-12-01T17:00:00.000Z"  # in the zone that the form showed
    assert third["publish_at"] == "2026-12-01T12:00:00.000Z"


def test_time_is_read_in_the_zone_that_its_form_showed(browser: Browser) -> None:
    path = "/desk/blogs/moon/entries"
    boxes = sent(browser.get("/desk/blogs/moon").text, "compose") | {"body": "x"}
    assert boxes["zone"] == NEW_YORK
    browser.publishing.blog_is = replace(BLOG, timezone="Europe/London")
    answer = browser.post(path, boxes | {"publish_at": " 2026-11-01T01:30 "})
    assert browser.publishing.calls[-1][1]["publish_at"] == "2026-11-01T05:30:00.000Z"
    page = browser.get(answer.headers["location"]).text
    assert "comes twice on November 1, 2026" in page
    assert "1:30 AM EDT" in page
    browser.publishing.problem = invalid(("/publish_at", "must be an RFC 3339 time"))
    page = browser.post(path, boxes | {"publish_at": "2026-03-08T02:30"}).text
    assert f"does not exist in {NEW_YORK}" in reason_of(page, "publish_at")
    assert value_of(page, "zone") == NEW_YORK
    assert f"time in {NEW_YORK}" in page


def test_time_is_rejected_when_the_zone_of_its_form_is_unknown(browser: Browser) -> None:
    boxes = {"body": "x", "publish_at": "2026-07-02T12:00", "zone": "Mars/Base"}
    page = browser.post("/desk/blogs/moon/entries", boxes)
    assert page.status_code == 422
    assert "The time zone of this form is unknown." in page.text
    assert (value_of(page.text, "body"), value_of(page.text, "zone")) == ("x", NEW_YORK)
    assert browser.publishing.calls == []
    del boxes["publish_at"]
    assert browser.post("/desk/blogs/moon/entries", boxes).status_code == 303


def test_conflict_compares_times_in_the_zone_of_the_form(browser: Browser) -> None:
    scheduled = replace(ENTRY, status="scheduled", publish_at=SECOND_HALF_PAST_ONE)
    browser.publishing.entry_is = scheduled
    path = f"/desk/blogs/moon/entries/{ID}"
    boxes = sent(browser.get(path).text, "edit") | {"body": "Mine"}
    browser.publishing.blog_is = replace(BLOG, timezone="Europe/London")
    theirs = replace(scheduled, headline="Theirs", revision=4)
    browser.publishing.problem = RevisionConflict(EntryResult(theirs, AT))
    page = browser.post(path, boxes).text
    assert "theirs-publish_at" not in page
    assert (value_of(page, "publish_at"), value_of(page, "zone")) == (boxes["publish_at"], NEW_YORK)


def test_edit_of_a_draft_says_that_a_time_schedules_it(browser: Browser) -> None:
    path = f"/desk/blogs/moon/entries/{ID}"
    browser.publishing.entry_is = replace(ENTRY, status="draft")
    page = browser.get(path).text
    assert f"time in {NEW_YORK}; saved with a time, the entry is scheduled" in page
    assert '<button class="primary" data-timed="Save and schedule for">Save</button>' in page
    browser.publishing.entry_is = ENTRY
    assert '<button class="primary">Save</button>' in browser.get(path).text


def test_a_pin_needs_no_revision(browser: Browser) -> None:
    browser.post(f"/desk/blogs/moon/entries/{ID}", {"pinned": "true"})
    assert browser.publishing.calls == [("edit_entry", ID, {"pinned": True}, None, None)]


def test_a_conflict_shows_both_texts_and_the_newer_revision(browser: Browser) -> None:
    theirs = replace(ENTRY, body="Theirs", headline="Their headline", revision=4)
    browser.publishing.problem = RevisionConflict(EntryResult(theirs, AT))
    path = f"/desk/blogs/moon/entries/{ID}"
    answer = browser.post(path, sent(browser.get(path).text, "edit") | {"body": "Mine"})
    assert answer.status_code == 412
    assert re.search(r'id="theirs-body"[^>]*readonly>\nTheirs</textarea>', answer.text)
    assert "theirs-headline" not in answer.text
    assert value_of(answer.text, "body") == "Mine"
    assert value_of(answer.text, "headline") == "Their headline"
    assert value_of(answer.text, "revision") == "4"


def test_conflict_shows_their_boxes_in_the_words_of_the_form(browser: Browser) -> None:
    marks = {"pinned": True, "key": False, "note_kind": "correction", "note": "Score is 2-1"}
    theirs = replace(ENTRY, revision=4, **cast(Any, marks))
    browser.publishing.problem = RevisionConflict(EntryResult(theirs, AT))
    path = f"/desk/blogs/moon/entries/{ID}"
    mine = {"pinned": "false", "pinned_was": "", "note_kind": "update", "note": "Mine"}
    page = browser.post(path, sent(browser.get(path).text, "edit") | mine).text
    shown = re.findall(r'<textarea id="theirs-(\w+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert dict(shown) == {"pinned": "Yes", "note_kind": "A correction", "note": "Score is 2-1"}
    assert (value_of(page, "note"), sent(page, "edit")["note_kind"]) == ("Mine", "update")


def test_edit_offers_the_mark_of_a_retraction_only_when_retracted(browser: Browser) -> None:
    path = f"/desk/blogs/moon/entries/{ID}"
    assert '<option value="retraction"' not in browser.get(path).text
    browser.publishing.entry_is = replace(ENTRY, status="retracted", note_kind="retraction")
    assert sent(browser.get(path).text, "edit")["note_kind"] == "retraction"


def test_a_text_can_become_a_new_entry_when_its_entry_was_deleted(browser: Browser) -> None:
    browser.publishing.problem = Problem(410, "gone", "The entry is deleted.")
    answer = browser.post(f"/desk/blogs/moon/entries/{ID}", {"body": "Mine", "revision": "3"})
    assert answer.status_code == 410
    assert value_of(answer.text, "body") == "Mine"
    assert 'action="/desk/blogs/moon/entries"' in answer.text


def test_a_deletion_can_be_undone_on_the_next_page(browser: Browser) -> None:
    answer = browser.post(f"/desk/blogs/moon/entries/{ID}/delete")
    page = browser.get(answer.headers["location"]).text
    undo = f"/desk/blogs/moon/entries/{ID}/restore"
    assert "<p>Deleted.</p>" in page
    assert f'action="{undo}"' in page
    assert browser.post(undo).status_code == 303
    assert [call[0] for call in browser.publishing.calls] == ["delete_entry", "restore_entry"]


def test_a_takedown_is_offered_only_to_admins(browser: Browser) -> None:
    path = f"/desk/blogs/moon/entries/{ID}"
    assert "takedown" not in browser.get(path).text
    browser.sign_in("boss")
    assert "takedown" in browser.get(path).text
    browser.post(f"{path}/delete", {"takedown": "1"})
    assert browser.publishing.calls == [("delete_entry", ID, True)]


# -- the blog


def test_creating_a_blog_redirects_to_its_desk(browser: Browser) -> None:
    given = {"slug": "moon", "title": "The Moon", "dek": "", "status": "live"}
    answer = browser.post("/desk/blogs", given)
    fields = {"slug": "moon", "title": "The Moon", "dek": None, "status": "live"}
    assert browser.publishing.calls == [("create_blog", fields, None)]
    assert answer.headers["location"] == "/desk/blogs/moon?done=created"


def test_a_header_is_saved_with_its_links(browser: Browser) -> None:
    given = {
        "title": "The Moon",
        "summary": "One\r\nTwo",
        "full_coverage_text": "",
        "full_coverage_url": " /all ",
        "successor_text": "",
        "successor_url": "",
        "revision": "1",
    }
    browser.post("/desk/blogs/moon/header", given)
    fields = {
        "title": "The Moon",
        "summary": "One\nTwo",
        "full_coverage": {"text": "/all", "url": "/all"},
        "successor": None,
    }
    assert browser.publishing.calls == [("edit_blog", fields, None)]


@pytest.mark.parametrize(
    ("boxes", "fields"),
    [
        ({"dek": "Three"}, {"dek": "Three"}),
        ({"dek": "", "summary": "One\r\nTwo"}, {"dek": None, "summary": "One\nTwo"}),
        ({"successor_text": "Venus"}, {"successor": {"text": "Venus", "url": "/blogs/mars"}}),
        ({"status": "live"}, {"status": "live"}),
        ({"language": "de"}, {"language": "de"}),
    ],
)
def test_a_header_form_sends_only_altered_boxes_also_when_sent_again(
    browser: Browser, boxes: dict[str, str], fields: dict[str, Any]
) -> None:
    browser.publishing.blog_is, path = FULL, "/desk/blogs/moon/header"
    page = browser.get("/desk/blogs/moon").text
    browser.publishing.blog_is = replace(FULL, title="Theirs", status="ended")
    browser.publishing.problem = invalid(("/dek", "is rejected"))
    again = browser.post(path, sent(page, "header") | boxes).text
    browser.post(path, sent(again, "header"))
    assert [call[1] for call in browser.publishing.calls] == [fields, fields]


@pytest.mark.parametrize(
    ("path", "boxes", "seen"),
    [
        ("header", {"dek": "Three"}, 4),
        ("header", {"status": "ended", "dek": "Three"}, 4),
        ("header", {"status": "ended"}, None),
        ("header", {"successor_text": "Venus"}, None),
        ("end", {"successor_text": "Venus"}, None),
        ("reopen", {}, None),
    ],
)
def test_a_header_form_names_its_revision_unless_only_a_state_changes(
    browser: Browser, path: str, boxes: dict[str, str], seen: int | None
) -> None:
    browser.publishing.blog_is = replace(FULL, revision=4)
    page = browser.get("/desk/blogs/moon").text
    browser.publishing.blog_is = replace(FULL, revision=5)
    form = {} if path == "reopen" else sent(page, path)
    browser.post(f"/desk/blogs/moon/{path}", form | boxes)
    assert browser.publishing.seen == [seen]


def test_a_header_form_is_rejected_when_it_does_not_name_its_revision(browser: Browser) -> None:
    for given in ({"dek": "My dek"}, {"dek": "My dek", "revision": "x"}):
        answer = browser.post("/desk/blogs/moon/header", given)
        assert answer.status_code == 428
        assert value_of(answer.text, "dek") == "My dek"
        assert "This page does not say which version you edited." in answer.text
    assert browser.publishing.calls == []


def test_ending_coverage_saves_no_other_box_of_the_header(browser: Browser) -> None:
    given = {"title": "Mine", "dek": "Mine", "status": "draft", "starts_at": "", "language": "de"}
    browser.post("/desk/blogs/moon/end", {**given, "successor_url": "/b"})
    successor = {"text": "/b", "url": "/b"}
    assert browser.publishing.calls[0][1] == {"status": "ended", "successor": successor}


def test_a_header_conflict_shows_both_versions_and_can_be_saved(browser: Browser) -> None:
    browser.publishing.blog_is = FULL
    page = browser.get("/desk/blogs/moon").text
    theirs = replace(FULL, title="Theirs", dek="Theirs too", revision=2)
    browser.publishing.problem = HeaderConflict(BlogResult(theirs, AT))
    browser.publishing.blog_is = theirs
    form = sent(page, "header") | {"title": "<Mine>"}
    answer = browser.post("/desk/blogs/moon/header", form)
    assert answer.status_code == 412
    assert value_of(answer.text, "title") == "<Mine>"
    assert value_of(answer.text, "dek") == "Theirs too"
    assert re.search(r'<textarea id="theirs-title"[^>]* readonly>\nTheirs</textarea>', answer.text)
    assert 'id="theirs-dek"' not in answer.text
    assert "Both versions are shown." in answer.text
    assert re.search(r'<details[^>]*id="header-panel" open>', answer.text)
    browser.publishing.problem = None
    browser.post("/desk/blogs/moon/header", sent(answer.text, "header"))
    assert browser.publishing.calls[-1][1] == {"title": "<Mine>"}
    assert browser.publishing.seen == [1, 2]


def test_a_header_is_not_saved_when_no_box_was_altered(browser: Browser) -> None:
    browser.publishing.blog_is = FULL
    boxes = sent(browser.get("/desk/blogs/moon").text, "header")
    assert boxes["summary"] == "\r\nOne\r\n\r\nTwo"
    answer = browser.post("/desk/blogs/moon/header", boxes)
    assert "No changes." in browser.get(answer.headers["location"]).text
    assert browser.publishing.calls == []


def test_a_start_is_shown_and_read_in_the_blogs_zone(
    browser: Browser,
) -> None:
    browser.publishing.blog_is = UPCOMING
    page = browser.get("/desk/blogs/moon").text
    assert re.search(r'<input id="header-starts_at"[^>]* type="datetime-local"', page)
    assert value_of(page, "starts_at") == "2026-07-01T12:00"
    noon = {"starts_at": "2026-12-01T17:00:00.000Z"}
    assert start_sent(browser, starts_at="2026-12-01T12:00") == noon
    assert start_sent(browser, starts_at="2026-12-01T12:00", timezone=NEW_YORK) == noon
    assert start_sent(browser, starts_at=" ", timezone=NEW_YORK) == {"starts_at": None}


@pytest.mark.parametrize("at", [1_782_921_600_000, SECOND_HALF_PAST_ONE, None])
def test_a_start_left_as_shown_keeps_its_seconds(browser: Browser, at: int | None) -> None:
    browser.publishing.blog_is = replace(UPCOMING, starts_at=at)
    page = browser.get("/desk/blogs/moon").text
    names = ("starts_at", "starts_at_was", "timezone", "timezone_was")
    boxes = {name: value_of(page, name) for name in names}
    assert start_sent(browser, **boxes) == {}
    cleared = {"starts_at": None} if at else {}
    assert start_sent(browser, **boxes | {"starts_at": ""}) == cleared


def test_a_start_moves_to_the_new_zone_when_only_the_zone_was_altered(
    browser: Browser,
) -> None:
    browser.publishing.blog_is = UPCOMING
    page = browser.get("/desk/blogs/moon").text
    boxes = {name: value_of(page, name) for name in ("starts_at", "starts_at_was", "timezone_was")}
    sent = start_sent(browser, **boxes, timezone="Europe/London")
    assert sent == {"starts_at": "2026-07-01T11:00:00.000Z"}


@pytest.mark.parametrize("zone", ["Mars/Base", "../UTC", "America", "/etc/localtime", "\0", ""])
def test_an_unknown_zone_is_rejected_and_the_start_stays_in_its_box(
    browser: Browser, zone: str
) -> None:
    browser.publishing.blog_is = UPCOMING
    browser.publishing.problem = invalid(("/timezone", "is not a time zone"))
    given = {"starts_at": "2026-12-01T12:00", "timezone": zone, "revision": "1"}
    page = browser.post("/desk/blogs/moon/header", given).text
    assert browser.publishing.calls[0][1]["starts_at"] == "2026-12-01T17:00:00.000Z"
    assert value_of(page, "starts_at") == "2026-12-01T12:00"
    assert reason_of(page, "timezone", "header") == "The time zone is not a time zone."


def test_a_wrong_start_has_its_reason_at_its_box(browser: Browser) -> None:
    browser.publishing.problem = invalid(("/starts_at", "is not a time that exists"))
    given = {"starts_at": "2026-02-30T12:00", "revision": "1"}
    answer = browser.post("/desk/blogs/moon/header", given)
    assert browser.publishing.calls[0][1] == {"starts_at": "2026-02-30T12:00"}
    assert answer.status_code == 422
    assert reason_of(answer.text, "starts_at", "header") == "This date or time does not exist."
    assert value_of(answer.text, "starts_at") == "2026-02-30T12:00"
    assert re.search(r'<details[^>]*id="header-panel" open>', answer.text)


def test_the_list_of_blogs_is_searched_and_its_links_keep_the_search(browser: Browser) -> None:
    browser.publishing.older_blog = "earlier"
    page = browser.get("/desk?q=moon&status=live&before=later").text
    assert '<a href="/desk/blogs/moon">' in page
    assert 'name="q" type="search" value="moon"' in page
    assert '<option value="live" selected>' in page
    assert '<a href="/desk?q=moon&amp;status=live">Newest blogs</a>' in page
    older = '<a href="/desk?q=moon&amp;status=live&amp;before=earlier">Search older blogs</a>'
    assert older in page
    assert "No blogs found here." in browser.get("/desk?q=%3Cmars%3E").text
    assert browser.get("/desk?status=over").status_code == 422


@pytest.mark.parametrize(
    ("zone", "instant"),
    [(NEW_YORK, "2026-06-01T23:30:00.000Z"), ("", "2026-06-01T19:30:00.000Z")],
)
def test_a_new_blogs_start_is_read_in_the_zone_of_its_form(
    browser: Browser, zone: str, instant: str
) -> None:
    assert 'name="starts_at"' in browser.get("/desk").text
    given = {"slug": "moon", "title": "The Moon", "starts_at": "2026-06-01T19:30", "timezone": zone}
    browser.post("/desk/blogs", given)
    assert browser.publishing.calls[0][1]["starts_at"] == instant


def test_coverage_ends_in_one_step_with_its_successor_and_reopens(browser: Browser) -> None:
    given = {"successor_text": "Mars", "successor_url": "/blogs/mars"}
    assert browser.post("/desk/blogs/moon/end", given).status_code == 303
    assert browser.post("/desk/blogs/moon/reopen").status_code == 303
    successor = {"text": "Mars", "url": "/blogs/mars"}
    assert [call[1] for call in browser.publishing.calls] == [
        {"status": "ended", "successor": successor},
        {"status": "live"},
    ]


def test_ending_coverage_keeps_the_successor_that_was_shown(browser: Browser) -> None:
    browser.publishing.blog_is = FULL
    boxes = sent(browser.get("/desk/blogs/moon").text, "end")
    browser.post("/desk/blogs/moon/end", boxes)
    assert browser.publishing.calls[0][1] == {"status": "ended"}


def test_a_wrong_link_has_its_reason_at_its_box(browser: Browser) -> None:
    browser.publishing.problem = invalid(("/successor/url", "must begin with https://"))
    page = browser.post("/desk/blogs/moon/end", {"successor_url": "nonsense"}).text
    assert re.search(r'id="end-successor_url"[^>]*aria-invalid="true"', page)
    assert re.search(r'<details[^>]*id="end-panel" open>', page)


def test_an_ended_blog_offers_to_reopen_and_not_to_end(browser: Browser) -> None:
    link = Link("Mars", "/blogs/mars")
    browser.publishing.blog_is = Blog(slug="moon", title="M", status="ended", successor=link)
    page = browser.get("/desk/blogs/moon").text
    assert 'id="reopen"' in page
    assert 'id="end"' not in page


@pytest.mark.parametrize(
    ("at", "label"),
    [
        (NOW_MS - 1, "Overdue since 11:59 AM EDT"),
        (NOW_MS, "Scheduled for 12:00 PM EDT"),
    ],
)
def test_a_scheduled_entry_is_overdue_when_its_time_has_passed(
    browser: Browser, at: int, label: str
) -> None:
    browser.publishing.unpublished_are = [replace(DRAFT, status="scheduled", publish_at=at)]
    assert label in browser.get("/desk/blogs/moon").text


@pytest.mark.parametrize(
    ("author", "author_name", "shown"),
    [
        ("token:0123456789abcdefghij", "The Wire", "Draft · The Wire</p>"),
        ("token:wire", None, "Draft · wire</p>"),
        ("user:cleo", None, "Draft · cleo</p>"),
        (None, None, "Draft</p>"),
    ],
)
def test_a_draft_shows_its_authors_readable_name(
    browser: Browser, author: str | None, author_name: str | None, shown: str
) -> None:
    draft = replace(DRAFT, author=author, author_name=author_name)
    browser.publishing.unpublished_are = [draft]
    page = browser.get("/desk/blogs/moon").text
    assert shown in page
    assert "0123456789abcdefghij" not in page


STATED = replace(DRAFT, stated_at=SECOND_HALF_PAST_ONE)
INSTANT = "2026-11-01T06:30:00.999Z"


@pytest.mark.parametrize(
    ("draft", "label"),
    [
        (STATED, "cleo · Time stated: 1:30 AM EST · November 1, 2026, not confirmed</p>"),
        (
            replace(DRAFT, published_at=SECOND_HALF_PAST_ONE),
            "cleo · Time stated: 1:30 AM EST · November 1, 2026</p>",
        ),
    ],
)
def test_the_list_of_drafts_shows_a_stated_time(browser: Browser, draft: Entry, label: str) -> None:
    browser.publishing.unpublished_are = [draft]
    assert label in browser.get("/desk/blogs/moon").text


@pytest.mark.parametrize(("ticked", "confirmed"), [("", {}), (INSTANT, {"published_at": INSTANT})])
def test_a_form_sends_a_contributors_time_when_the_editor_ticks_it(
    browser: Browser, ticked: str, confirmed: dict[str, str]
) -> None:
    browser.publishing.entry_is = STATED
    page = browser.get(f"/desk/blogs/moon/entries/{ID}").text
    assert "Show readers the stated time: 1:30 AM EST · November 1, 2026, not the" in page
    [box] = re.findall(r'<input type="checkbox" value="([^"]*)" id="edit-published_at"[^>]*>', page)
    assert box == INSTANT
    boxes = {**sent(page, "edit"), "status": "published"}
    assert boxes["published_at"] == ""
    browser.post(f"/desk/blogs/moon/entries/{ID}", boxes | {"published_at": ticked})
    *_, fields, _, _ = browser.publishing.calls[-1]
    assert {name: fields[name] for name in fields if name == "published_at"} == confirmed
    assert fields["status"] == "published"


def test_a_confirmed_time_is_ticked_and_a_contributor_has_no_box(browser: Browser) -> None:
    browser.publishing.entry_is = replace(DRAFT, published_at=SECOND_HALF_PAST_ONE)
    at = f"/desk/blogs/moon/entries/{ID}"
    assert re.search(r'id="edit-published_at"[^>]* checked>', browser.get(at).text)
    browser.sign_in("cleo")
    assert "edit-published_at" not in browser.get(at).text


def test_a_conflict_shows_the_stated_time_of_the_newer_revision(browser: Browser) -> None:
    browser.publishing.entry_is = STATED
    at = f"/desk/blogs/moon/entries/{ID}"
    boxes = {**sent(browser.get(at).text, "edit"), "published_at": INSTANT}
    newer = replace(STATED, stated_at=1_782_921_600_000, revision=2)
    browser.publishing.problem = RevisionConflict(EntryResult(newer, None))
    page = browser.post(at, boxes).text
    assert 'value="2026-07-01T16:00:00.000Z" id="edit-published_at"' in page
    assert not re.search(r'id="edit-published_at"[^>]* checked>', page)


def test_list_names_the_blogs_whose_headers_are_damaged(browser: Browser) -> None:
    assert 'id="damaged"' not in browser.get("/desk").text
    browser.publishing.damaged_blogs = ["lost", "other"]
    page = browser.get("/desk").text
    assert "The headers of 2 blogs cannot be read" in page
    assert '<a href="/desk/blogs/lost">lost</a>' in page


def test_desk_of_a_damaged_header_asks_for_a_new_one_and_has_everything_else(
    browser: Browser,
) -> None:
    browser.publishing.blog_is = DamagedBlog(slug="moon", title="moon", status="live")
    page = browser.get("/desk/blogs/moon").text
    assert 'id="lost-header"' in page
    assert '<details class="panel" id="header-panel" open>' in page
    assert re.search(r'name="title"[^>]* value=""', page)
    assert f'action="/desk/blogs/moon/entries/{ID}/delete"' in page


@pytest.mark.parametrize("status", ["draft", "live"])
def test_desk_sends_the_status_of_a_damaged_header_in_any_case(
    browser: Browser, status: Literal["draft", "live"]
) -> None:
    browser.publishing.blog_is = DamagedBlog(slug="moon", title="moon", status=status)
    page = browser.get("/desk/blogs/moon").text
    assert 'name="status_was" value=""' in page
    assert f'<option value="{status}" selected>' in page


def test_desk_names_each_key_that_was_rebuilt(browser: Browser) -> None:
    browser.publishing.rebuilt_are = rebuilding.NAMES
    page = browser.get("/desk/blogs/moon").text
    for name in rebuilding.NAMES:
        assert f"<li>{name}: " in page


def test_damaged_entries_are_named_with_what_the_role_may_do(browser: Browser) -> None:
    assert "cannot be read" not in browser.get("/desk/blogs/moon").text
    browser.publishing.unpublished_are = [DRAFT, DamagedEntry(id="e00000000000d")]
    browser.publishing.damaged_are = ["e00000000000p"]
    page = browser.get("/desk/blogs/moon").text
    assert "2 entries cannot be read" in page
    for id in ("e00000000000d", "e00000000000p"):
        assert f"/desk/blogs/moon/entries/{id}/delete" in page
    browser.sign_in("cleo")
    assert "e00000000000p/delete" not in browser.get("/desk/blogs/moon").text


def test_a_contributor_sees_only_the_buttons_of_the_role(browser: Browser) -> None:
    browser.sign_in("cleo")
    page = browser.get("/desk/blogs/moon").text
    assert "Submit for approval" in page
    for absent in ('name="pinned"', 'id="header"', 'id="end"', ">Publish<", "publish_at"):
        assert absent not in page
    assert 'id="new"' not in browser.get("/desk").text


def test_a_retracted_entry_stays_in_the_list(browser: Browser) -> None:
    browser.publishing.entry_is = Entry(**{**_fields(ENTRY), "status": "retracted"})
    page = browser.get("/desk/blogs/moon").text
    assert "data-retracted" in page
    assert "Undo the retraction" in browser.get(f"/desk/blogs/moon/entries/{ID}").text


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


def test_each_page_with_a_byline_offers_known_names(browser: Browser) -> None:
    for path in ("/desk/blogs/moon", f"/desk/blogs/moon/entries/{ID}"):
        page = browser.get(path).text
        assert 'list="names"' in page
        assert page.count('<datalist id="names">') == 1
        assert page.index('<datalist id="names">') > page.index('id="edit-panel"' * (ID in path))


def test_boxes_of_titles_and_notes_name_their_limits(browser: Browser) -> None:
    page = browser.get("/desk").text
    assert re.search(rf'id="new-title"[^>]* data-limit="{fields.TITLE_MAX}"', page)
    assert re.search(rf'id="new-dek"[^>]* data-limit="{fields.DEK_MAX}"', page)
    assert re.search(rf'id="new-slug"[^>]* data-limit="{SLUG_MAX}"', page)
    assert re.search(rf'id="new-language"[^>]* data-limit="{fields.LANGUAGE_MAX}"', page)
    page = browser.get("/desk/blogs/moon").text
    assert re.search(rf'id="header-full_coverage_url"[^>]* data-limit="{fields.URL_MAX}"', page)
    page = browser.get(f"/desk/blogs/moon/entries/{ID}").text
    assert re.search(rf'id="retract-note"[^>]* data-limit="{fields.NOTE_MAX}"', page)
