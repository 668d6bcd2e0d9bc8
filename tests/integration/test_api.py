"""The editors' API as docs/api.md defines it: every call, every rejection, every permission."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import orjson
import pytest
from kit.contents import contents
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette

from liveblog.blog.fields import BODY_BYTES_MAX
from liveblog.blog.instant import format_time, parse_time
from liveblog.blog.model import Caller, Role
from liveblog.blog.problem import PROBLEMS
from liveblog.editors import api, reading
from liveblog.editors.bodies import all_bodies
from liveblog.editors.previews import Previews
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.html.entries import entry_html
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.nodes import One

SITE: Final = "https://live.example"
CMS: Final = "https://cms.live.example"  # another site whose pages may write
SETTINGS: Final = Settings(public_url=SITE, write_origins=(CMS,))
ABSENT: Final = "e000000000000"


def _names(text: str) -> set[str]:
    return set(text.split())


BLOG_FIELDS: Final = _names(
    "slug title dek summary summary_html timezone language status starts_at full_coverage "
    "successor revision position url created_at updated_at"
)
ENTRY_FIELDS: Final = _names(
    "id blog headline body body_html byline dateline key key_title pinned pin_order status "
    "revision offset order position published_at updated_at publish_at note_kind note url"
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# pytest computes parameters when it collects the tests, minutes before the tests run. A time in a
# year is in the future at both moments.
NEXT_YEAR_H: Final = 24 * 365


def hours_from_now(hours: float) -> str:
    return str(format_time(now_ms() + round(hours * 3_600_000)))


@dataclass
class ApiCalls:
    """Calls the API as a caller of any role; paths are relative to /api/blogs."""

    client: httpx2.AsyncClient
    accounts: Accounts
    redis: Redis
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def token(self, who: str) -> str:
        """Return a token, created at first use.

        `who` is a role, or a role and the only blog that the token may use: "editor council".
        """
        if who not in self.tokens:
            role, _, slug = who.partition(" ")
            self.tokens[who] = await self.accounts.create_token(who, _role(role), slug.split())
        return self.tokens[who]

    async def __call__(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        *,
        who: str | None = "admin",
        headers: dict[str, str] | None = None,
        content: Any = None,
    ) -> httpx2.Response:
        sent = {"content-type": "application/json"} if body is not None or content else {}
        if who is not None:
            sent["authorization"] = f"Bearer {await self.token(who)}"
        sent |= headers or {}
        return await self.client.request(
            method,
            f"/api/blogs{path.format(**self.ids)}",
            content=orjson.dumps(body) if body is not None else content,
            headers={n.encode(): v.encode("latin-1") for n, v in sent.items() if v},
        )

    async def ok(self, method: str, path: str = "", body: Any = None, **more: Any) -> Any:
        answer = await self(method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    async def entry(self, slug: str = "council", who: str = "admin", **fields: Any) -> Any:
        body = {"body": "The council votes at nine.", **fields}
        return await self.ok("POST", f"/{slug}/entries", body, who=who)

    async def stored(self) -> dict[str, Any]:
        return await contents(self.redis)


def _role(name: str) -> Role:
    roles: dict[str, Role] = {"admin": "admin", "editor": "editor", "contributor": "contributor"}
    return roles[name]


def api_calls(redis: Redis) -> ApiCalls:
    accounts = Accounts(One(redis), now_ms)
    broker = Broker(One(redis))
    publishing = Publishing(broker, now_ms)
    bodies = all_bodies().editors
    previews = Previews(publishing, broker.source.load, now_ms)
    app = Starlette(routes=api.routes(publishing, accounts, SETTINGS, Problems(), bodies, previews))
    transport = httpx2.ASGITransport(app, client=("192.0.2.1", 50_000))
    client = httpx2.AsyncClient(transport=transport, base_url=SITE)
    return ApiCalls(client, accounts, redis)


@pytest.fixture
async def call(store_client: Redis) -> AsyncIterator[ApiCalls]:
    """The API over a store with one live blog, `council`."""
    it = api_calls(store_client)
    async with it.client:
        council = {"slug": "council", "title": "Council meets", "status": "live"}
        await it.ok("POST", "", council)
        yield it


@pytest.fixture
async def world(call: ApiCalls) -> ApiCalls:
    """The API over a store with a live and an ended blog.

    `ids` has a published, a deleted, an erased and a draft entry, and `late`, the ended blog's.
    """
    await call.ok("POST", "", {"slug": "ended", "title": "It was", "status": "live"})
    call.ids["late"] = (await call.entry("ended"))["id"]
    await call.ok("PATCH", "/ended", {"status": "ended"})
    call.ids["entry"] = (await call.entry())["id"]
    for name in ("deleted", "erased"):
        call.ids[name] = (await call.entry())["id"]
        takedown = "?takedown=1" if name == "erased" else ""
        await call.ok("DELETE", f"/council/entries/{{{name}}}{takedown}")
    call.ids["draft"] = (await call.entry(status="draft"))["id"]
    used = {"idempotency-key": "used"}
    await call.ok("POST", "/council/entries", {"body": "First."}, headers=used)
    for who in ("admin", "editor", "contributor", "editor ended", "editor council"):
        await call.token(who)
    return call


# -- every rejection


@dataclass(frozen=True)
class Row:
    """Holds a request that the API must reject, and the answer that the test expects."""

    status: int
    problem: str
    method: str
    path: str
    body: Any = None
    who: str | None = "admin"
    headers: dict[str, str] = field(default_factory=dict)
    content: Any = None
    pointer: str | None = None
    says: str = ""

    def __str__(self) -> str:
        shown = self.content if self.body is None else self.body
        why = self.pointer or str(self.headers or shown or "")[:40]
        return f"{self.status} {self.problem} {self.method} {self.path} {why}"


ENTRIES: Final = "/council/entries"
ENTRY: Final = "/council/entries/{entry}"
TEXT: Final = {"body": "Text."}
SEEN: Final = {"if-match": '"1"'}


def bad_entry(pointer: str, value: Any, says: str = "", **more: Any) -> Row:
    body = {**TEXT, pointer.split("/")[1]: value, **more}
    return Row(422, "invalid-field", "POST", ENTRIES, body, pointer=pointer, says=says)


def bad_blog(pointer: str, value: Any, says: str = "") -> Row:
    body = {"slug": "new", "title": "New", pointer.split("/")[1]: value}
    return Row(422, "invalid-field", "POST", "", body, pointer=pointer, says=says)


def broken(content: bytes) -> Row:
    return Row(400, "broken-json", "POST", ENTRIES, content=content)


def unsupported(method: str, path: str, **headers: str) -> Row:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Row(415, "unsupported-media-type", method, path, TEXT, headers={**SEEN, **given})


def bad_key(key: str) -> Row:
    return Row(422, "bad-header", "POST", ENTRIES, TEXT, headers={"idempotency-key": key})


def bad_if_match(value: str) -> Row:
    return Row(422, "bad-header", "PATCH", ENTRY, TEXT, headers={"if-match": value})


def bad_query(query: str, says: str) -> Row:
    return Row(422, "bad-parameter", "GET", f"{ENTRIES}?{query}", says=says)


async def megabytes() -> AsyncIterator[bytes]:
    for _ in range(17):
        yield b" " * (BODY_BYTES_MAX // 16)


REJECTED: Final = [
    broken(b'{"body":'),
    broken(b'{"body":"\xff"}'),
    broken(b'\xef\xbb\xbf\xef\xbb\xbf{"body":"Text."}'),
    broken(b'{"body":"Text.","body":"Text."}'),
    broken(b'{"body":"Text.","\\ud800":1}'),
    broken(b'{"body":"\\ud800"}'),
    broken(b"{body: 1}"),
    broken(b'{"body":"a"} {}'),
    broken(b'{"body":' + b"[" * 100_000),
    Row(400, "broken-json", "POST", ENTRIES, headers={"content-type": "application/json"}),
    Row(400, "ambiguous-credentials", "GET", "", headers={"cookie": "__Host-liveblog=x"}),
    Row(401, "unauthorized", "GET", "", who=None),
    Row(401, "unauthorized", "POST", ENTRIES, TEXT, who=None),
    Row(401, "unauthorized", "POST", ENTRIES, TEXT, headers={"authorization": "Bearer lbt_no"}),
    Row(401, "unauthorized", "POST", ENTRIES, TEXT, headers={"authorization": "Basic Og=="}),
    Row(401, "unauthorized", "GET", "", who=None, headers={"cookie": "__Host-liveblog=x"}),
    Row(403, "forbidden", "POST", ENTRIES, {**TEXT, "status": "published"}, "contributor"),
    Row(
        403,
        "forbidden",
        "POST",
        ENTRIES,
        {**TEXT, "publish_at": hours_from_now(NEXT_YEAR_H)},
        "contributor",
    ),
    Row(403, "forbidden", "POST", ENTRIES, {**TEXT, "key": True}, "contributor"),
    Row(403, "forbidden", "PATCH", ENTRY, TEXT, "contributor", SEEN),
    Row(403, "forbidden", "DELETE", ENTRY, who="contributor"),
    Row(403, "forbidden", "PATCH", "/council", {"title": "Mine"}, "contributor"),
    Row(403, "forbidden", "POST", "", {"slug": "new", "title": "New"}, "contributor"),
    Row(403, "forbidden", "DELETE", "/council/revisions", who="editor"),
    Row(403, "forbidden", "POST", f"{ENTRY}/revisions/1/restore", who="contributor"),
    Row(403, "forbidden", "POST", "", {"slug": "new", "title": "New"}, "editor council"),
    Row(403, "forbidden", "DELETE", f"{ENTRY}?takedown=1", who="editor"),
    Row(404, "not-found", "GET", "/nothing"),
    Row(404, "not-found", "GET", "/Not%20A%20Slug"),
    Row(404, "not-found", "PATCH", "/nothing", {"title": "New"}),
    Row(404, "not-found", "POST", "/nothing/entries", TEXT),
    Row(404, "not-found", "GET", "/nothing/entries"),
    Row(404, "not-found", "GET", "/council", who="editor ended"),
    Row(404, "not-found", "PATCH", "/council", {"title": "New"}, "editor ended"),
    Row(404, "not-found", "POST", ENTRIES, TEXT, "editor ended"),
    Row(404, "not-found", "GET", f"{ENTRIES}/{ABSENT}"),
    Row(404, "not-found", "GET", f"{ENTRIES}/x"),
    Row(404, "not-found", "GET", "/ended/entries/{entry}"),
    Row(404, "not-found", "PATCH", f"{ENTRIES}/{ABSENT}", TEXT, headers=SEEN),
    Row(404, "not-found", "DELETE", f"{ENTRIES}/{ABSENT}"),
    Row(404, "not-found", "POST", f"{ENTRIES}/{ABSENT}/restore"),
    Row(404, "not-found", "GET", f"{ENTRIES}/{{draft}}", who="contributor"),
    Row(404, "not-found", "PATCH", f"{ENTRIES}/{{draft}}", TEXT, "contributor", SEEN),
    Row(404, "not-found", "GET", "/council/nothing", who=None),
    Row(404, "not-found", "GET", "/council/revisions", who="editor ended"),
    Row(404, "not-found", "GET", f"{ENTRY}/revisions/1", who="editor ended"),
    Row(404, "not-found", "GET", "/council/revisions/0"),
    Row(404, "not-found", "GET", "/council/revisions/one"),
    Row(404, "not-found", "GET", f"/council/revisions/{'1' * 10}"),
    Row(404, "not-found", "GET", f"{ENTRY}/revisions/2"),
    Row(404, "not-found", "POST", f"{ENTRY}/revisions/-1/restore"),
    Row(404, "not-found", "GET", f"{ENTRIES}/{{draft}}/revisions", who="contributor"),
    Row(404, "not-found", "POST", "/", TEXT),
    Row(405, "method-not-allowed", "DELETE", "/council", who=None),
    Row(405, "method-not-allowed", "PUT", ENTRY, TEXT),
    Row(405, "method-not-allowed", "GET", f"{ENTRY}/restore"),
    Row(405, "method-not-allowed", "OPTIONS", ""),
    Row(405, "method-not-allowed", "DELETE", f"{ENTRY}/revisions/1"),
    Row(409, "conflict", "POST", "", {"slug": "council", "title": "Again"}),
    Row(409, "conflict", "POST", "/ended/entries", TEXT),
    Row(409, "conflict", "POST", "/ended/entries", TEXT, headers={"idempotency-key": "k"}),
    Row(409, "conflict", "PATCH", ENTRY, {"status": "draft"}, headers=SEEN),
    Row(409, "conflict", "PATCH", f"{ENTRIES}/{{draft}}", {"status": "retracted"}, headers=SEEN),
    Row(409, "conflict", "POST", f"{ENTRY}/restore"),
    Row(409, "conflict", "POST", f"{ENTRY}/revisions/1/restore"),
    Row(409, "conflict", "POST", "/council/revisions/1/restore"),
    Row(410, "gone", "GET", f"{ENTRIES}/{{deleted}}"),
    Row(410, "gone", "GET", f"{ENTRIES}/{{erased}}"),
    Row(410, "gone", "PATCH", f"{ENTRIES}/{{deleted}}", TEXT, headers=SEEN),
    Row(410, "gone", "POST", f"{ENTRIES}/{{erased}}/restore"),
    Row(410, "gone", "GET", f"{ENTRIES}/{{deleted}}/revisions"),
    Row(410, "gone", "GET", f"{ENTRIES}/{{erased}}/revisions/1"),
    Row(412, "revision-conflict", "PATCH", ENTRY, TEXT, headers={"if-match": '"2"'}),
    Row(412, "revision-conflict", "PATCH", ENTRY, TEXT, headers={"if-match": '"other"'}),
    Row(412, "revision-conflict", "PATCH", ENTRY, TEXT, headers={"if-match": '"2", W/"3-gzip"'}),
    Row(412, "revision-conflict", "PATCH", ENTRY, {"key": True}, headers={"if-match": '"2"'}),
    Row(412, "revision-conflict", "PATCH", "/council", {"title": "B"}, headers={"if-match": '"2"'}),
    Row(
        412,
        "revision-conflict",
        "PATCH",
        "/council",
        {"status": "ended"},
        headers={"if-match": '"2"'},
    ),
    Row(
        412,
        "revision-conflict",
        "POST",
        "/council/revisions/1/restore",
        headers={"if-match": '"2"'},
    ),
    Row(
        412,
        "revision-conflict",
        "POST",
        f"{ENTRY}/revisions/1/restore",
        headers={"if-match": '"2"'},
    ),
    Row(413, "too-large", "POST", ENTRIES, {"body": "x" * BODY_BYTES_MAX}),
    Row(413, "too-large", "POST", "", content=b" " * (BODY_BYTES_MAX + 1)),
    Row(413, "too-large", "PATCH", ENTRY, content=megabytes, headers=SEEN),
    unsupported("POST", ENTRIES, content_type=""),
    unsupported("POST", ENTRIES, content_type="text/plain"),
    unsupported("POST", ENTRIES, content_type="application/x-www-form-urlencoded"),
    unsupported("POST", ENTRIES, content_type="application/jsonp"),
    unsupported("POST", ENTRIES, content_type="application/merge-patch+json"),
    unsupported("POST", ENTRIES, content_type="application/json; charset=latin-1"),
    unsupported("POST", ENTRIES, content_encoding="gzip"),
    unsupported("PATCH", ENTRY, content_type="application/json-patch+json"),
    unsupported("PATCH", "/council", content_type="multipart/form-data"),
    unsupported("POST", "", content_type="text/json"),
    # 422: an entry's fields
    Row(422, "invalid-field", "POST", ENTRIES, {}, pointer="/body"),
    bad_entry("/body", ""),
    bad_entry("/body", " \n\t "),
    bad_entry("/body", "*\u200b*", "shows something"),
    bad_entry("/body", None),
    bad_entry("/body", "x" * 20_001, "has 20001 characters; the limit is 20000"),
    bad_entry("/body", "bell\x00", "U+0000"),
    bad_entry("/body", 7),
    bad_entry("/headline", "x" * 301, "has 301 characters; the limit is 300"),
    bad_entry("/headline", "two\nlines", "U+000A"),
    bad_entry("/byline", [f"Name {n}" for n in range(11)], "has 11 names; the limit is 10"),
    bad_entry("/byline/1", ["Dana", "x" * 201], "has 201 characters; the limit is 200"),
    bad_entry("/byline/0", [" "]),
    bad_entry("/byline/0", [7]),
    bad_entry("/byline", "Dana"),
    bad_entry("/dateline", "x" * 101, "has 101 characters; the limit is 100"),
    bad_entry("/key", "yes"),
    bad_entry("/key_title", "x" * 121, "has 121 characters; the limit is 120"),
    bad_entry("/pinned", None),
    bad_entry("/pin_order", 1, "only for a pinned entry"),
    bad_entry("/pin_order", "1", pinned=True),
    bad_entry("/pin_order", 1_000_000_001, "from -1,000,000,000 to 1,000,000,000", pinned=True),
    bad_entry("/pin_order", -1e300, "not -1e+300", pinned=True),
    Row(422, "invalid-field", "PATCH", ENTRY, {"pin_order": 1}, pointer="/pin_order"),
    Row(422, "bad-parameter", "GET", "/council/bin?limit=0"),
    Row(422, "invalid-field", "GET", "/council/bin?before={entry}", pointer="/before"),
    bad_entry("/status", "live"),
    bad_entry("/status", "retracted"),
    bad_entry("/note_kind", "major"),
    bad_entry("/note", "x" * 501, "has 501 characters; the limit is 500"),
    bad_entry("/publish_at", "2999-01-01T00:00:00", "2999-01-01T00:00:00"),
    bad_entry("/publish_at", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
    bad_entry("/publish_at", "tomorrow", "tomorrow"),
    bad_entry("/publish_at", hours_from_now(NEXT_YEAR_H), status="draft"),
    bad_entry("/published_at", hours_from_now(NEXT_YEAR_H)),
    bad_entry("/published_at", "2020-02-30T00:00:00Z", "2020-02-30T00:00:00Z"),
    bad_entry("/published_at", "2020-01-01"),
    bad_entry("/mood", "good"),
    bad_entry("/id", "e000000000000"),
    bad_entry("/revision", 7),
    Row(422, "invalid-field", "PATCH", ENTRY, {"body": ""}, headers=SEEN, pointer="/body"),
    Row(422, "invalid-field", "PATCH", ENTRY, {"body": 1}, headers=SEEN, pointer="/body"),
    Row(422, "invalid-field", "POST", ENTRIES, [], pointer=""),
    Row(422, "invalid-field", "POST", ENTRIES, "text", pointer=""),
    # 422: a blog's fields
    Row(422, "invalid-field", "POST", "", {"title": "New"}, pointer="/slug"),
    Row(422, "invalid-field", "POST", "", {"slug": "new"}, pointer="/title"),
    bad_blog("/slug", "New"),
    bad_blog("/slug", "a--b"),
    bad_blog("/slug", "-a"),
    bad_blog("/slug", "a" * 81),
    bad_blog("/slug", ""),
    bad_blog("/slug", "..%2f"),
    bad_blog("/title", "x" * 301, "has 301 characters; the limit is 300"),
    bad_blog("/title", " "),
    bad_blog("/dek", "x" * 501, "has 501 characters; the limit is 500"),
    bad_blog("/summary", "x" * 20_001, "has 20001 characters; the limit is 20000"),
    bad_blog("/timezone", "Mars/Base", "Mars/Base"),
    bad_blog("/language", "english!", "english!"),
    bad_blog("/status", "open"),
    bad_blog("/starts_at", "soon", "soon"),
    bad_blog("/starts_at", "2026-06-01T19:30", "with an offset"),
    bad_blog("/starts_at", "2026-02-30T19:30:00Z", "2026-02-30T19:30:00Z"),
    bad_blog("/starts_at", "9999-01-01T00:00:00Z", "1000 to 9998"),
    bad_blog("/starts_at", 1_780_338_600_000),
    bad_blog("/full_coverage/text", {"text": "x" * 201, "url": "/x"}, "the limit is 200"),
    bad_blog("/full_coverage/url", {"text": "All", "url": "/" + "x" * 2_048}, "the limit is 2048"),
    bad_blog("/successor/url", {"text": "Next", "url": "javascript:alert(1)"}),
    bad_blog("/successor/url", {"text": "Next", "url": "//evil.example"}),
    bad_blog("/successor/url", {"text": "Next", "url": "http://[::1"}, "not a valid address"),
    bad_blog("/successor/url", {"text": "Next", "url": "https://a.b:port/"}, "not a valid address"),
    *(
        bad_blog("/successor/url", {"text": "Next", "url": url}, "not a valid address")
        for url in ("https://a<b/", "https://:80/", "https://bank%40evil.example/", "https://a|b")
    ),
    bad_blog("/successor/url", {"text": "Next", "url": "https://bank@evil.example"}, "user name"),
    bad_blog("/successor/url", {"text": "Next"}),
    bad_blog("/successor/rel", {"text": "Next", "url": "/x", "rel": "next"}),
    bad_blog("/successor", "/x"),
    bad_blog("/position", "k3xq9a.57.9f2c01ab"),
    Row(422, "invalid-field", "PATCH", "/council", {"title": None}, pointer="/title"),
    Row(422, "invalid-field", "PATCH", "/council", {"starts_at": "soon"}, pointer="/starts_at"),
    Row(422, "invalid-field", "PATCH", "/council", {"slug": "other"}, pointer="/slug"),
    Row(422, "invalid-field", "PATCH", "/council", {"timezone": "Nowhere"}, pointer="/timezone"),
    # 422: headers and parameters
    bad_key("two words"),
    bad_key("k" * 256),
    bad_key("caf\xe9"),
    bad_key("tab\tbed"),
    bad_if_match("1"),
    bad_if_match('"1" "2"'),
    bad_if_match('*, "1"'),
    bad_if_match(", ".join(['"2"'] * 51)),
    bad_if_match('"1'),
    Row(
        422,
        "idempotency-key-reused",
        "POST",
        ENTRIES,
        {"body": "Second."},
        headers={"idempotency-key": "used"},
    ),
    Row(422, "bad-header", "PATCH", "/council", {"title": "B"}, headers={"if-match": "1"}),
    Row(422, "bad-header", "DELETE", "/council/revisions", headers={"idempotency-key": "a b"}),
    Row(422, "bad-parameter", "GET", "/council/revisions?limit=101", says="1 to 100"),
    Row(422, "bad-parameter", "GET", "/council/revisions?before=-1", says="-1"),
    Row(422, "bad-parameter", "GET", f"{ENTRY}/revisions?before=x", says="number of a revision"),
    bad_query("limit=0", "1 to 100"),
    bad_query("limit=101", "101"),
    bad_query("limit=-1", "-1"),
    bad_query("limit=ten", "ten"),
    bad_query("limit=1e1", "1e1"),
    Row(422, "invalid-field", "GET", f"{ENTRIES}?before={ABSENT}", pointer="/before"),
    Row(422, "invalid-field", "GET", f"{ENTRIES}?before=x", pointer="/before"),
    Row(422, "invalid-field", "GET", f"{ENTRIES}?before={{draft}}", pointer="/before"),
    Row(422, "invalid-field", "GET", f"{ENTRIES}?status=deleted", pointer="/status"),
    Row(422, "bad-parameter", "GET", "?limit=501"),
    Row(422, "invalid-field", "GET", "?before=never-made", pointer="/before"),
    Row(422, "invalid-field", "GET", "?before=ended", who="editor council", pointer="/before"),
    Row(422, "invalid-field", "GET", f"?q={'x' * 201}", pointer="/q"),
    Row(422, "invalid-field", "GET", "?status=over", pointer="/status"),
    Row(422, "bad-parameter", "DELETE", f"{ENTRY}?takedown=true"),
    Row(428, "if-match-needed", "PATCH", ENTRY, TEXT),
    Row(428, "if-match-needed", "PATCH", ENTRY, {"pinned": True, "status": "retracted"}),
]


@pytest.mark.parametrize("row", REJECTED, ids=str)
async def test_a_rejected_call_names_its_reason_and_stores_nothing(
    world: ApiCalls, row: Row
) -> None:
    before = await world.stored()
    content = row.content() if callable(row.content) else row.content
    answer = await world(
        row.method, row.path, row.body, who=row.who, headers=row.headers, content=content
    )
    assert answer.status_code == row.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    problem = answer.json()
    assert problem["type"] == f"/problems/{row.problem}"
    assert problem["status"] == row.status
    assert problem["title"]
    assert row.says in problem["detail"]
    if row.pointer:
        assert row.pointer in [error["pointer"] for error in problem["errors"]]
        assert all(error["detail"] for error in problem["errors"])
    assert await world.stored() == before


async def test_a_problem_lists_every_wrong_field_of_the_request(call: ApiCalls) -> None:
    wrong = {"headline": "x" * 301, "dateline": "x" * 101, "byline": ["", "x" * 201]}
    answer = await call("POST", ENTRIES, wrong)
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers == ["/headline", "/byline/0", "/byline/1", "/dateline"]


async def test_a_revision_conflict_has_the_current_version(world: ApiCalls) -> None:
    theirs = await world.ok("PATCH", ENTRY, {"headline": "Theirs"}, headers=SEEN)
    answer = await world("PATCH", ENTRY, {"headline": "Mine"}, headers=SEEN)
    assert answer.status_code == 412
    assert answer.json()["current"] == theirs
    assert set(theirs) == ENTRY_FIELDS


async def test_405_names_the_allowed_methods(call: ApiCalls) -> None:
    assert (await call("PUT")).headers["allow"] == "GET, POST"
    assert (await call("PUT", f"{ENTRIES}/x")).headers["allow"] == "GET, PATCH, DELETE"


async def test_401_names_the_way_to_authenticate(call: ApiCalls) -> None:
    answer = await call("GET", who=None)
    assert answer.headers["www-authenticate"] == 'Bearer realm="liveblog"'


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/users", "/api/blogs/", "/api//blogs"])
async def test_an_unknown_path_of_the_api_is_404_as_json(call: ApiCalls, path: str) -> None:
    answer = await call.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_every_problem_name_has_a_page_that_explains_it(call: ApiCalls) -> None:
    for name in {row.problem for row in REJECTED} | set(PROBLEMS):
        page = await call.client.get(f"/problems/{name}")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/plain")
        assert page.text.startswith(f"{name}\n")
    assert (await call.client.get("/problems/none")).status_code == 404


async def test_a_revoked_token_is_401_at_once(call: ApiCalls) -> None:
    await call.ok("GET", who="editor")
    await call.accounts.revoke_token("editor")
    assert (await call("GET", who="editor")).status_code == 401


CALLS: Final = [
    ("GET", "", None),
    ("POST", "", {"slug": "new", "title": "New"}),
    ("GET", "/council", None),
    ("PATCH", "/council", {"title": "New"}),
    ("GET", ENTRIES, None),
    ("GET", "/council/bin", None),
    ("POST", ENTRIES, TEXT),
    ("GET", f"{ENTRIES}/{ABSENT}", None),
    ("PATCH", f"{ENTRIES}/{ABSENT}", TEXT),
    ("DELETE", f"{ENTRIES}/{ABSENT}", None),
    ("POST", f"{ENTRIES}/{ABSENT}/restore", None),
    ("GET", "/council/revisions", None),
    ("POST", "/council/revisions/1/restore", None),
    ("DELETE", "/council/revisions", None),
    ("GET", f"{ENTRIES}/{ABSENT}/revisions", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize(
    "credential",
    [
        {"authorization": "Bearer lbt_x"},
        {"cookie": "__Host-liveblog=x", "sec-fetch-site": "same-origin"},
        {},
    ],
)
async def test_every_call_is_503_not_401_when_the_store_is_unreachable(
    method: str, path: str, body: Any, credential: dict[str, str]
) -> None:
    async with Redis(unix_socket_path="/nonexistent/store", retry=Retry(NoBackoff(), 0)) as redis:
        call = api_calls(redis)
        async with call.client:
            answer = await call(method, path, body, who=None, headers=credential)
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/store-down"
    assert int(answer.headers["retry-after"]) > 0


# -- every call


async def test_a_blog_is_created_read_edited_and_listed(call: ApiCalls) -> None:
    answer = await call(
        "POST", "", {"slug": "storm", "title": "Storm", "timezone": "America/Bogota"}
    )
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/blogs/storm"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert set(made) == BLOG_FIELDS
    assert made["status"] == "draft"
    assert made["url"] == f"{SITE}/blogs/storm"
    assert made["position"].split(".")[1] == "1"
    assert await call.ok("GET", "/storm") == made
    fields = {
        "status": "live",
        "dek": "It is here.",
        "summary": "It *is* here.",
        "full_coverage": {"text": "All of it", "url": "https://news.example/storm"},
    }
    patch = {"content-type": "application/merge-patch+json"}
    altered = await call.ok("PATCH", "/storm", fields, headers=patch)
    assert altered == made | fields | {
        "summary_html": altered["summary_html"],
        "revision": 2,
        "position": altered["position"],
        "updated_at": altered["updated_at"],
    }
    assert "<em>is</em>" in altered["summary_html"]
    cleared = await call.ok("PATCH", "/storm", {"dek": None, "full_coverage": None})
    assert (cleared["dek"], cleared["full_coverage"]) == (None, None)
    assert [blog["slug"] for blog in (await call.ok("GET"))["blogs"]] == ["storm", "council"]


async def test_a_headers_revisions_are_read_restored_and_erased(call: ApiCalls) -> None:
    made = await call("GET", "/council")
    assert (made.headers["etag"], made.json()["revision"]) == ('"1"', 1)
    edited = await call("PATCH", "/council", {"title": "libel"}, who="editor", headers=SEEN)
    assert (edited.status_code, edited.headers["etag"]) == (200, '"2"')
    late = await call("PATCH", "/council", {"dek": "Late."}, headers=SEEN)
    assert (late.status_code, late.json()["current"]) == (412, edited.json())
    state = await call("PATCH", "/council", {"status": "ended"}, headers={"if-match": 'W/"2-gzip"'})
    assert (state.headers["etag"], state.json()["status"]) == ('"2"', "ended")
    page = await call.ok("GET", "/council/revisions?limit=1")
    assert page["next"] == 2
    assert page["revisions"] == [
        {
            "revision": 2,
            "author": "editor",
            "saved_at": edited.json()["updated_at"],
            "title": "libel",
            "status": "ended",
        }
    ]
    rest = await call.ok("GET", "/council/revisions?before=2")
    assert [it["title"] for it in rest["revisions"]] == ["Council meets"]
    assert rest["next"] is None
    first = await call.ok("GET", "/council/revisions/1", who="contributor")
    assert set(first) == BLOG_FIELDS | {"author", "saved_at"}
    assert (first["title"], first["author"], first["position"]) == ("Council meets", "admin", None)
    key = {"idempotency-key": "k1", "if-match": '"2"'}
    restored = await call("POST", "/council/revisions/1/restore", who="editor", headers=key)
    assert (restored.headers["etag"], restored.json()["title"]) == ('"3"', "Council meets")
    again = await call("POST", "/council/revisions/1/restore", who="editor", headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == restored.json()
    assert await call.ok("DELETE", "/council/revisions/2") == {"revisions_erased": 1}
    assert "libel" not in str(await call.stored())
    assert await call.ok("DELETE", "/council/revisions/2") == {"revisions_erased": 0}
    key = {"idempotency-key": "k2"}
    erased = await call("DELETE", "/council/revisions", headers=key)
    assert (erased.status_code, erased.json()) == (200, {"revisions_erased": 1})
    again = await call("DELETE", "/council/revisions", headers=key)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", erased.json())
    assert await call.ok("GET", "/council") == restored.json()


async def test_an_entrys_revisions_are_read_and_restored(call: ApiCalls) -> None:
    made = await call.entry(headline="Vote")
    at = f"{ENTRIES}/{made['id']}"
    edited = await call.ok("PATCH", at, {"headline": "Libel"}, who="editor", headers=SEEN)
    page = await call.ok("GET", f"{at}/revisions")
    assert [(it["revision"], it["author"], it["headline"]) for it in page["revisions"]] == [
        (2, "editor", "Libel"),
        (1, "admin", "Vote"),
    ]
    assert page["revisions"][0]["saved_at"] == edited["updated_at"]
    first = await call.ok("GET", f"{at}/revisions/1")
    assert first == made | {
        "position": None,
        "author": "admin",
        "saved_at": made["updated_at"],
    }
    late = await call("POST", f"{at}/revisions/1/restore", headers=SEEN)
    assert (late.status_code, late.json()["current"]) == (412, edited)
    restored = await call("POST", f"{at}/revisions/1/restore", headers={"if-match": '"2"'})
    assert (restored.headers["etag"], restored.json()["headline"]) == ('"3"', "Vote")
    await call.ok("DELETE", f"{at}?takedown=1")
    assert (await call("GET", f"{at}/revisions")).status_code == 410
    assert "Libel" not in str(await call.stored())


async def test_a_start_is_set_edited_and_cleared(call: ApiCalls) -> None:
    """A `starts_at` in the past is accepted, because an editor may enter it late."""
    blog = {"slug": "storm", "title": "Storm", "status": "upcoming"}
    made = await call.ok("POST", "", {**blog, "starts_at": "2020-06-01T19:30:00+01:00"})
    assert made["starts_at"] == "2020-06-01T18:30:00.000Z"
    assert await call.ok("GET", "/storm") == made
    altered = await call.ok("PATCH", "/storm", {"starts_at": "2090-12-01T19:30:00.5Z"})
    assert altered["starts_at"] == "2090-12-01T19:30:00.500Z"
    live = await call.ok("PATCH", "/storm", {"status": "live"})
    assert live["starts_at"] == altered["starts_at"]
    assert (await call.ok("PATCH", "/storm", {"starts_at": None}))["starts_at"] is None
    assert (await call.ok("GET", "/council"))["starts_at"] is None


async def test_an_entry_is_published_read_edited_deleted_and_restored(call: ApiCalls) -> None:
    answer = await call("POST", ENTRIES, {"headline": "Vote", "body": "*Nine* to two."})
    made = answer.json()
    at = f"{ENTRIES}/{made['id']}"
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"/api/blogs{at}"
    assert set(made) == ENTRY_FIELDS
    assert (made["status"], made["revision"], made["offset"], made["order"]) == (
        "published",
        1,
        2,
        2,
    )
    assert made["position"].split(".")[1] == "2"
    assert made["url"] == f"{SITE}/blogs{at}"
    read = await call("GET", at)
    assert (read.json(), read.headers["etag"]) == (made, '"1"')

    answer = await call("PATCH", at, {"body": "*Ten* to two."}, headers=SEEN)
    edited = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (edited["revision"], edited["offset"], edited["order"]) == (2, 3, 2)
    assert edited["published_at"] == made["published_at"]
    marked = await call.ok("PATCH", at, {"key": True, "key_title": "The vote"})
    assert (marked["revision"], marked["offset"], marked["key"]) == (2, 4, True)

    gone = await call.ok("DELETE", at)
    assert set(gone) == {"id", "offset", "position", "takedown", "revisions_erased"}
    assert (gone["offset"], gone["takedown"], gone["revisions_erased"]) == (5, False, 0)
    assert await call.ok("DELETE", at) == gone
    restored = await call.ok("POST", f"{at}/restore")
    assert (restored["offset"], restored["order"], restored["body"]) == (6, 2, "*Ten* to two.")
    assert (await call("HEAD", at)).headers["etag"] == f'"{restored["revision"]}"'


async def test_a_takedown_counts_the_erased_revisions(call: ApiCalls) -> None:
    made = await call.entry(body="first libel")
    at = f"{ENTRIES}/{made['id']}"
    await call.ok("PATCH", at, {"body": "second libel"}, headers=SEEN)
    erased = await call.ok("DELETE", f"{at}?takedown=1")
    assert (erased["takedown"], erased["revisions_erased"]) == (True, 2)
    assert await call.ok("DELETE", f"{at}?takedown=1") == erased
    assert "libel" not in str(await call.stored())


async def test_deleting_an_unpublished_entry_takes_no_offset(call: ApiCalls) -> None:
    draft = await call.entry(status="draft", body="libel")
    at, before = f"{ENTRIES}/{draft['id']}", await call.ok("GET", "/council")
    gone = await call.ok("DELETE", at)
    assert (gone["offset"], gone["position"]) == (None, None)
    assert (await call("GET", at)).status_code == 410
    assert await call.ok("POST", f"{at}/restore") == draft | {
        "updated_at": (await call.ok("GET", at))["updated_at"]
    }
    erased = await call.ok("DELETE", f"{at}?takedown=1")
    assert (erased["offset"], erased["takedown"], erased["revisions_erased"]) == (None, True, 1)
    assert "libel" not in str(await call.stored())
    assert await call.ok("GET", "/council") == before


async def test_unknown_parameters_are_ignored(call: ApiCalls) -> None:
    made = await call.entry()
    gone = await call.ok("DELETE", f"{ENTRIES}/{made['id']}?reason=typo&takedown=0")
    assert gone["takedown"] is False


async def test_a_draft_takes_no_offset_until_it_is_published(call: ApiCalls) -> None:
    draft = await call.entry(status="draft")
    assert (draft["offset"], draft["order"], draft["position"]) == (None, None, None)
    at = f"{ENTRIES}/{draft['id']}"
    at_time = hours_from_now(1)
    scheduled = await call.ok(
        "PATCH", at, {"status": "scheduled", "publish_at": at_time}, headers=SEEN
    )
    assert (scheduled["status"], scheduled["publish_at"]) == ("scheduled", at_time)
    shown = await call.ok("PATCH", at, {"status": "published"}, headers={"if-match": '"2"'})
    assert (shown["status"], shown["offset"], shown["publish_at"]) == ("published", 2, None)


async def all_blogs(call: ApiCalls, query: str, **more: Any) -> list[list[str]]:
    """Return the slugs on each page of the list of blogs."""
    pages: list[list[str]] = []
    before = ""
    while not pages or before:
        found = await call.ok("GET", f"?{query}&before={before}", **more)
        pages.append([blog["slug"] for blog in found["blogs"]])
        before = found["next"]
    return pages


async def test_blogs_are_listed_by_pages_newest_activity_first(call: ApiCalls) -> None:
    for n in range(4):
        await call.ok("POST", "", {"slug": f"b{n}", "title": f"Blog {n}"})
    await call.entry("council")
    pages = [["council", "b3"], ["b2", "b1"], ["b0"]]
    assert await all_blogs(call, "limit=2") == pages
    assert await all_blogs(call, "limit=5") == [[slug for page in pages for slug in page]]
    bound = [["council"]]
    assert await all_blogs(call, "limit=1", who="editor council") == bound


async def test_blogs_are_searched_by_words_and_status(
    call: ApiCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug, title, status in [
        ("storm-one", "Storm Ágnes", "live"),
        ("storm-two", "The second STORM", "ended"),
        ("vote", "A vote on storms", "draft"),
        ("quiet", "Quiet", "ended"),
    ]:
        await call.ok("POST", "", {"slug": slug, "title": title, "status": status})
    assert await all_blogs(call, "q=storm") == [["vote", "storm-two", "storm-one"]]
    assert await all_blogs(call, "q=SECOND%20two") == [["storm-two"]]
    assert await all_blogs(call, "q=%C3%81GNES") == [["storm-one"]]
    assert await all_blogs(call, "q=A%CC%81gnes") == [["storm-one"]]
    assert await all_blogs(call, "q=storm&status=ended") == [["storm-two"]]
    assert await all_blogs(call, "status=live") == [["storm-one", "council"]]
    assert await all_blogs(call, "status=live&limit=1") == [["storm-one"], ["council"]]
    assert await all_blogs(call, "q=flood") == [[]]
    monkeypatch.setattr(reading, "BLOGS_SCANNED_MAX", 2)
    assert await all_blogs(call, "q=council") == [[], [], ["council"]]


async def test_entries_are_listed_by_pages_newest_first(call: ApiCalls) -> None:
    made = [(await call.entry(body=f"Entry {n}."))["id"] for n in range(5)]
    draft = (await call.entry(status="draft"))["id"]
    first = await call.ok("GET", f"{ENTRIES}?limit=2")
    assert [entry["id"] for entry in first["entries"]] == [made[4], made[3]]
    rest = await call.ok("GET", f"{ENTRIES}?limit=100&before={first['next']}&status=&colour=blue")
    assert [entry["id"] for entry in rest["entries"]] == [made[2], made[1], made[0]]
    assert rest["next"] is None
    drafts = await call.ok("GET", f"{ENTRIES}?status=draft")
    assert [entry["id"] for entry in drafts["entries"]] == [draft]
    assert all(set(entry) == ENTRY_FIELDS for entry in first["entries"])


ROUND_TRIPS: Final = [
    "Plain.",
    "  leading and trailing  \n\n",
    "Zeilen\r\nund\rZeilen\n\tTab",
    "caf\u00e9 and cafe\u0301",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202bRTL\u202c",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \ufe0f \ufeff \u00a0",
    "<script>alert(1)</script> & </textarea> \"quotes\" 'too' \\ back \\u0041 %00 {{ 7*7 }}",
    '"id":"#blog"',
    "\U0001f5f3" * 20_000,
    "x" * 20_000,
    "\u0085 next line, \u00ad soft hyphen, \ufffd, \U0010ffff",
]


@pytest.mark.parametrize("text", ROUND_TRIPS, ids=range(len(ROUND_TRIPS)))
async def test_text_is_returned_byte_for_byte(call: ApiCalls, text: str) -> None:
    made = await call.entry(body=text)
    assert made["body"] == text
    at = f"{ENTRIES}/{made['id']}"
    assert (await call.ok("GET", at))["body"] == text
    edited = await call.ok("PATCH", at, {"body": text, "headline": "H"}, headers=SEEN)
    assert edited["body"] == text
    assert (await call.ok("GET", ENTRIES))["entries"][0]["body"] == text
    assert (await call.ok("PATCH", "/council", {"summary": text}))["summary"] == text


async def test_texts_are_accepted_up_to_their_limits(call: ApiCalls) -> None:
    at_limits: dict[str, Any] = {
        "headline": "\U0001f5f3" * 300,
        "body": "x" * 20_000,
        "byline": ["x" * 200] * 10,
        "dateline": "x" * 100,
        "key_title": "x" * 120,
        "note": "x" * 500,
        "note_kind": "correction",
    }
    made = await call.entry(**at_limits)
    assert {name: made[name] for name in at_limits} == at_limits
    blog = {"slug": "a" * 80, "title": "x" * 300, "dek": "x" * 500, "summary": "x" * 20_000}
    link = {"text": "x" * 200, "url": "/" + "x" * 2_047}
    made = await call.ok("POST", "", {**blog, "full_coverage": link, "successor": link})
    assert made["successor"] == link


# -- the order of pinned entries, and the bin


async def test_moving_a_pin_is_one_change_without_if_match_and_revision(call: ApiCalls) -> None:
    one = await call.entry(pinned=True)
    assert (one["pinned"], one["pin_order"]) == (True, None)
    at = f"{ENTRIES}/{one['id']}"
    moved = await call.ok("PATCH", at, {"pin_order": 2.0})
    assert (repr(moved["pin_order"]), moved["revision"]) == ("2", 1)
    assert moved["offset"] == one["offset"] + 1
    again = await call.ok("PATCH", at, {"pin_order": -0.5})
    assert (again["pin_order"], again["revision"]) == (-0.5, 1)
    assert await call.ok("GET", at) == again
    unpinned = await call.ok("PATCH", at, {"pinned": False})
    assert (unpinned["pinned"], unpinned["pin_order"]) == (False, None)


async def test_bin_lists_what_can_be_restored_the_last_deletion_first(call: ApiCalls) -> None:
    made = [
        await call.entry(headline="First"),
        await call.entry(headline="Draft", status="draft"),
        await call.entry(headline="Last", pinned=True, pin_order=2),
        await call.entry(headline="Taken down"),
    ]
    for it in made:
        await call.ok("DELETE", f"{ENTRIES}/{it['id']}")
    await call.ok("DELETE", f"{ENTRIES}/{made.pop()['id']}?takedown=1")
    binned = await call.ok("GET", "/council/bin")
    assert [it["headline"] for it in binned["entries"]] == ["Last", "Draft", "First"]
    assert (binned["next"], binned["damaged"]) == (None, [])
    last = binned["entries"][0]
    kept = parse_time(last["erased_at"]) - parse_time(last["deleted_at"])
    assert kept == 30 * 24 * 3_600_000
    assert {name: last[name] for name in made[2]} == {
        **made[2],
        "offset": 6,
        "position": last["position"],
    }
    assert last.keys() - made[2].keys() == {"deleted_at", "erased_at"}
    first = await call.ok("GET", "/council/bin?limit=2")
    assert len(first["entries"]) == 2
    assert first["next"].endswith(f".{made[1]['id']}")
    rest = await call.ok("GET", f"/council/bin?limit=2&before={first['next']}")
    assert [it["id"] for it in rest["entries"]] == [made[0]["id"]]
    back = await call.ok("POST", f"{ENTRIES}/{made[2]['id']}/restore")
    assert (back["pinned"], back["pin_order"]) == (True, 2)
    assert len((await call.ok("GET", "/council/bin"))["entries"]) == 2


async def test_contributor_finds_only_its_own_drafts_in_the_bin(call: ApiCalls) -> None:
    own = await call.entry(who="contributor")
    for it in (own, await call.entry(status="draft"), await call.entry()):
        await call.ok("DELETE", f"{ENTRIES}/{it['id']}")
    found = await call.ok("GET", "/council/bin?limit=1", who="contributor")
    assert [it["id"] for it in found["entries"]] == [own["id"]]


# -- repeated calls


REPEATED: Final[list[tuple[str, str, Any]]] = [
    ("POST", "", {"slug": "new", "title": "New"}),
    ("PATCH", "/council", {"title": "Other"}),
    ("POST", ENTRIES, TEXT),
    ("POST", ENTRIES, {**TEXT, "status": "draft"}),
    ("PATCH", ENTRY, TEXT),
    ("PATCH", ENTRY, {"pinned": True, "pin_order": 1.5}),
    ("DELETE", ENTRY, None),
    ("DELETE", f"{ENTRY}?takedown=1", None),
    ("POST", f"{ENTRIES}/{{deleted}}/restore", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REPEATED)
async def test_a_call_repeated_under_its_key_is_executed_once(
    world: ApiCalls, method: str, path: str, body: Any
) -> None:
    headers = {"idempotency-key": "!~" * 127 + "k"}
    if method == "PATCH" and path == ENTRY and body == TEXT:
        headers |= SEEN
    first = await world(method, path, body, headers=headers)
    stored = await world.stored()
    again = await world(method, path, body, headers=headers)
    assert first.is_success, first.text
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.status_code == first.status_code
    assert again.headers.get("etag") == first.headers.get("etag")
    assert again.json() == first.json()
    assert await world.stored() == stored


async def test_a_key_stays_known_after_the_blog_ended_and_a_takedown(call: ApiCalls) -> None:
    headers = {"idempotency-key": "once"}
    first = await call.ok("POST", ENTRIES, TEXT, headers=headers)
    await call.ok("PATCH", "/council", {"status": "ended"})
    again = await call("POST", ENTRIES, TEXT, headers=headers)
    assert (again.status_code, again.json()) == (201, first)
    await call.ok("DELETE", f"{ENTRIES}/{first['id']}?takedown=1")
    erased = await call("POST", ENTRIES, TEXT, headers=headers)
    assert (erased.status_code, erased.json()["type"]) == (410, "/problems/gone")


async def test_two_callers_with_one_key_do_not_share_it(call: ApiCalls) -> None:
    headers = {"idempotency-key": "same"}
    first = await call.ok("POST", ENTRIES, TEXT, headers=headers)
    other = await call("POST", ENTRIES, {"body": "Other."}, who="editor", headers=headers)
    assert other.status_code == 201
    assert other.json()["id"] != first["id"]


# -- the desk's session


async def test_a_session_may_write_only_from_our_own_pages(call: ApiCalls) -> None:
    await call.accounts.people.add("dana", "correct horse battery")
    secret = await call.accounts.open_session(Caller("user:dana", "editor"))
    cookie = {"cookie": f"__Host-liveblog={secret}"}
    own, foreign = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "cross-site"}
    assert (await call("GET", ENTRIES, who=None, headers=cookie)).status_code == 200
    for said, status in [({}, 403), (foreign, 403), (own, 201), ({"origin": SITE}, 201)]:
        before = await call.ok("GET", "/council")
        answer = await call("POST", ENTRIES, TEXT, who=None, headers=cookie | said)
        assert answer.status_code == status
        assert (await call.ok("GET", "/council") == before) == (status == 403)
    await call.accounts.people.disable("dana")
    assert (await call("GET", ENTRIES, who=None, headers=cookie)).status_code == 401


PREFLIGHT: Final = {"access-control-request-method": "PATCH"}


@pytest.mark.parametrize(
    ("path", "methods"),
    [("", "GET, POST"), (f"{ENTRIES}/{ABSENT}", "GET, PATCH, DELETE"), ("x", "")],
)
async def test_a_preflight_is_answered_with_credentials_for_a_writing_origin(
    call: ApiCalls, path: str, methods: str
) -> None:
    answer = await call("OPTIONS", path, who=None, headers={"origin": CMS, **PREFLIGHT})
    got = answer.headers
    assert (answer.status_code, answer.content) == (204, b"")
    assert got["access-control-allow-origin"] == CMS
    assert got["access-control-allow-credentials"] == "true"
    assert got["access-control-allow-methods"] == methods
    allowed = "content-type, if-match, idempotency-key, authorization"
    assert got["access-control-allow-headers"] == allowed
    assert int(got["access-control-max-age"]) > 0
    assert got["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", [SITE, "https://evil.example", "null", "http://cms.live.example"]
)
async def test_a_preflight_is_rejected_for_another_origin(call: ApiCalls, origin: str) -> None:
    answer = await call("OPTIONS", who=None, headers={"origin": origin, **PREFLIGHT})
    assert answer.status_code == 403
    assert "LIVEBLOG_WRITE_ORIGINS" in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers
    assert (await call("OPTIONS", who=None, headers={"origin": CMS})).status_code == 405


async def test_scripts_of_a_writing_origin_read_every_answer(call: ApiCalls) -> None:
    await call.accounts.people.add("dana", "correct horse battery")
    secret = await call.accounts.open_session(Caller("user:dana", "editor"))
    page = {"origin": CMS, "sec-fetch-site": "same-site"}
    session = {"cookie": f"__Host-liveblog={secret}", **page}
    made = await call("POST", ENTRIES, TEXT, who=None, headers=session)
    missing = await call("GET", f"{ENTRIES}/{ABSENT}", who=None, headers=session)
    stranger = await call("GET", who=None, headers=page)
    assert [it.status_code for it in (made, missing, stranger)] == [201, 404, 401]
    for answer in (made, missing, stranger):
        assert answer.headers["access-control-allow-origin"] == CMS
        assert answer.headers["access-control-allow-credentials"] == "true"
        exposed = answer.headers["access-control-expose-headers"]
        assert exposed == "etag, location, idempotency-replayed, retry-after"
        assert answer.headers["vary"] == "Origin"
    other = await call("GET", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "Origin"


# -- permissions

Try = Callable[[ApiCalls, str], Awaitable[httpx2.Response]]


async def own_draft(call: ApiCalls, who: str) -> str:
    """Return the path of a draft that `who` wrote, or an admin if `who` may not create drafts."""
    answer = await call("POST", ENTRIES, {**TEXT, "status": "draft"}, who=who)
    made = answer.json() if answer.is_success else await call.entry(status="draft")
    return f"{ENTRIES}/{made['id']}"


async def others(call: ApiCalls, status: str = "draft") -> str:
    return f"{ENTRIES}/{(await call.entry(status=status))['id']}"


async def _read_blog(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", "/council", who=who)


async def _edit_blog(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("PATCH", "/council", {"dek": who}, who=who)


async def _create_blog(call: ApiCalls, who: str) -> httpx2.Response:
    slug = who.replace(" ", "-")
    return await call("POST", "", {"slug": f"by-{slug}", "title": "New"}, who=who)


async def _publish(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("POST", ENTRIES, {**TEXT, "status": "published"}, who=who)


async def _schedule(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("POST", ENTRIES, {**TEXT, "publish_at": hours_from_now(1)}, who=who)


async def _draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("POST", ENTRIES, {**TEXT, "status": "draft"}, who=who)


async def _submit(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("POST", ENTRIES, {**TEXT, "status": "submitted"}, who=who)


async def _list_published(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", ENTRIES, who=who)


async def _list_drafts(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", f"{ENTRIES}?status=draft", who=who)


async def _read_published(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", await others(call, "published"), who=who)


async def _read_own_draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", await own_draft(call, who), who=who)


async def _read_others_draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", await others(call), who=who)


async def _edit_own_draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("PATCH", await own_draft(call, who), TEXT, who=who, headers=SEEN)


async def _edit_others_draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("PATCH", await others(call), TEXT, who=who, headers=SEEN)


async def _publish_own_draft(call: ApiCalls, who: str) -> httpx2.Response:
    at = await own_draft(call, who)
    return await call("PATCH", at, {"status": "published"}, who=who, headers=SEEN)


async def _edit_published(call: ApiCalls, who: str) -> httpx2.Response:
    at = await others(call, "published")
    return await call("PATCH", at, TEXT, who=who, headers=SEEN)


async def _pin(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("PATCH", await others(call, "published"), {"pinned": True}, who=who)


async def _move_a_pin(call: ApiCalls, who: str) -> httpx2.Response:
    at = await others(call, "published")
    await call.ok("PATCH", at, {"pinned": True})
    return await call("PATCH", at, {"pin_order": 2}, who=who)


async def _list_the_bin(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("GET", "/council/bin", who=who)


async def _delete_own_draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("DELETE", await own_draft(call, who), who=who)


async def _delete_others_draft(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("DELETE", await others(call), who=who)


async def _delete_published(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("DELETE", await others(call, "published"), who=who)


async def _restore_published(call: ApiCalls, who: str) -> httpx2.Response:
    at = await others(call, "published")
    await call.ok("DELETE", at)
    return await call("POST", f"{at}/restore", who=who)


async def _take_down(call: ApiCalls, who: str) -> httpx2.Response:
    return await call("DELETE", f"{await others(call, 'published')}?takedown=1", who=who)


# The status of each call for an admin, an editor and a contributor who may use all blogs. The test
# below derives the statuses of callers restricted to one blog.
PERMISSIONS: Final[dict[Try, tuple[int, int, int]]] = {
    _read_blog: (200, 200, 200),
    _edit_blog: (200, 200, 403),
    _create_blog: (201, 201, 403),
    _publish: (201, 201, 403),
    _schedule: (201, 201, 403),
    _draft: (201, 201, 201),
    _submit: (201, 201, 201),
    _list_published: (200, 200, 200),
    _list_drafts: (200, 200, 200),
    _read_published: (200, 200, 200),
    _read_own_draft: (200, 200, 200),
    _read_others_draft: (200, 200, 404),
    _edit_own_draft: (200, 200, 200),
    _edit_others_draft: (200, 200, 404),
    _publish_own_draft: (200, 200, 403),
    _edit_published: (200, 200, 403),
    _pin: (200, 200, 403),
    _move_a_pin: (200, 200, 403),
    _list_the_bin: (200, 200, 200),
    _delete_own_draft: (200, 200, 200),
    _delete_others_draft: (200, 200, 404),
    _delete_published: (200, 200, 403),
    _restore_published: (200, 200, 403),
    _take_down: (200, 403, 403),
}
ROLES: Final = ("admin", "editor", "contributor")


@pytest.mark.parametrize("attempt", PERMISSIONS, ids=lambda attempt: attempt.__name__[1:])
async def test_a_call_is_allowed_by_role_and_blogs_of_the_caller(
    call: ApiCalls, attempt: Try
) -> None:
    expected: dict[str, int] = {}
    for role, status in zip(ROLES, PERMISSIONS[attempt], strict=True):
        bound = 403 if attempt is _create_blog else status
        elsewhere = 403 if attempt is _create_blog else 404
        expected |= {role: status, f"{role} council": bound, f"{role} elsewhere": elsewhere}
    found = {who: (await attempt(call, who)).status_code for who in expected}
    assert found == expected


async def test_a_restricted_caller_sees_only_its_blogs(call: ApiCalls) -> None:
    await call.ok("POST", "", {"slug": "storm", "title": "Storm"})
    for who, slugs in [
        ("editor", ["storm", "council"]),
        ("contributor", ["storm", "council"]),
        ("editor council", ["council"]),
        ("contributor storm", ["storm"]),
        ("editor elsewhere", []),
    ]:
        listed = await call.ok("GET", who=who)
        assert [blog["slug"] for blog in listed["blogs"]] == slugs


async def test_a_contributor_lists_only_its_own_drafts(call: ApiCalls) -> None:
    theirs = await call.entry(status="draft")
    own = await call.entry(who="contributor")
    assert own["status"] == "draft"
    for who, seen in [
        ("contributor", [own]),
        ("editor", [own, theirs]),
        ("contributor council", []),
    ]:
        listed = await call.ok("GET", f"{ENTRIES}?status=draft", who=who)
        assert {entry["id"] for entry in listed["entries"]} == {entry["id"] for entry in seen}


@pytest.mark.parametrize(
    "given",
    [
        'W/"1"',
        '"1-gzip"',
        '"1--gzip"',
        '"1;gzip"',
        'W/"1-br"',
        '"1-zstd"',
        '"7", "1"',
        'W/"other,1" ,W/"1-gzip"',
        "*",
    ],
)
async def test_an_edit_succeeds_when_a_proxy_altered_its_tag(call: ApiCalls, given: str) -> None:
    at = f"{ENTRIES}/{(await call.entry())['id']}"
    headers = {"if-match": given, "idempotency-key": "k"}
    edited = await call.ok("PATCH", at, TEXT, headers=headers)
    assert edited["revision"] == 2
    assert await call.ok("PATCH", at, TEXT, headers=headers) == edited


async def test_a_new_token_has_nothing_of_a_revoked_one_with_its_name(
    call: ApiCalls,
) -> None:
    async def send(path: str, method: str = "POST", body: Any = None, **headers: str) -> Any:
        return await call(method, path, body, who="contributor", headers=headers)

    key = {"idempotency-key": "one"}
    first = (await send(ENTRIES, body=TEXT, **key)).json()
    assert (await send(ENTRIES, body=TEXT, **key)).json()["id"] == first["id"]
    await call.accounts.revoke_token("contributor")
    del call.tokens["contributor"]
    at = f"{ENTRIES}/{first['id']}"
    assert (await send(at, "GET")).status_code == 404
    assert (await send(at, "DELETE")).status_code == 404
    assert (await send(f"{ENTRIES}?status=draft", "GET")).json()["entries"] == []
    second = await send(ENTRIES, body=TEXT, **key)
    assert second.json()["id"] != first["id"]
    assert "idempotency-replayed" not in second.headers


@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_contributors_published_at_counts_when_an_editor_sends_it(
    call: ApiCalls, *, is_sent: bool
) -> None:
    then = "2020-01-01T00:00:00.123Z"
    made = await call.entry(who="contributor", status="submitted", published_at=then)
    at = f"{ENTRIES}/{made['id']}"
    shown = await call.ok("GET", at, who="editor")
    [listed] = (await call.ok("GET", f"{ENTRIES}?status=submitted"))["entries"]
    assert made["published_at"] == shown["published_at"] == listed["published_at"] == then
    patch = {"status": "published", **({"published_at": then} if is_sent else {})}
    published = await call.ok("PATCH", at, patch, who="editor", headers=SEEN)
    assert (published["published_at"] == then) == is_sent
    assert is_sent or published["published_at"] == published["updated_at"]
    assert await call.ok("GET", at) == published


async def test_a_contributor_cannot_edit_its_entry_once_published(call: ApiCalls) -> None:
    at = f"{ENTRIES}/{(await call.entry(who='contributor', status='submitted'))['id']}"
    await call.ok("PATCH", at, {"status": "published"}, who="editor", headers=SEEN)
    seen = {"if-match": '"2"'}
    assert (await call("GET", at, who="contributor")).status_code == 200
    assert (await call("PATCH", at, TEXT, who="contributor", headers=seen)).status_code == 403
    assert (await call("DELETE", at, who="contributor")).status_code == 403


# -- previews


async def test_preview_is_the_html_of_the_published_entry_and_stores_nothing(
    call: ApiCalls,
) -> None:
    fields: dict[str, Any] = {
        "headline": "Vote",
        "body": "**Nine** to four.",
        "byline": ["Ann"],
        "key": True,
        "published_at": "2026-01-02T03:04:05.000Z",
    }
    before = await call.stored()
    shown = (await call.ok("POST", "/council/preview", {"kind": "entry", **fields}))["html"]
    scheduled = {"kind": "entry", **fields, "publish_at": "2099-01-01T00:00:00Z"}
    for body in (scheduled, {"kind": "entry", **fields, "status": "draft"}):
        assert len((await call.ok("POST", "/council/preview", body))["html"]) == len(shown)
    assert await call.stored() == before
    made = await call.entry(**fields)
    broker = Broker(One(call.redis))
    entry, blog = (
        await broker.entries.stored("council", made["id"]),
        await broker.blogs.read("council"),
    )
    assert entry
    assert blog
    numbers = re.compile(r' data-(offset|order|revision)="[0-9]+"|e[0-9a-z]{12}')
    assert numbers.sub("", shown) == numbers.sub("", entry_html(entry.entry, blog.blog))


async def test_preview_of_a_header_merges_the_fields(call: ApiCalls) -> None:
    fields = {"kind": "header", "dek": "At nine", "summary": "**Live** from the hall"}
    html = (await call.ok("POST", "/council/preview", fields))["html"]
    assert "At nine" in html
    assert "<strong>Live</strong>" in html
    assert (await call.ok("GET", "/council"))["dek"] is None


@pytest.mark.parametrize(
    ("who", "path", "fields", "status"),
    [
        ("editor", "/council/preview", {"kind": "other"}, 422),
        ("editor", "/council/preview", {}, 422),
        ("editor", "/council/preview", {"kind": "entry"}, 422),
        ("editor", "/council/preview", {"kind": "entry", "body": "x" * 20_001}, 422),
        ("editor", "/council/preview", {"kind": "entry", "bodi": "x"}, 422),
        ("editor", "/council/preview", {"kind": "header", "timezone": "Mars"}, 422),
        ("contributor", "/council/preview", {"kind": "header", "dek": "x"}, 403),
        ("contributor", "/council/preview", {"kind": "entry", "body": "x"}, 200),
        ("editor council", "/council/preview", {"kind": "entry", "body": "x"}, 200),
        ("editor storm", "/council/preview", {"kind": "entry", "body": "x"}, 404),
        ("editor", "/nothing/preview", {"kind": "entry", "body": "x"}, 404),
    ],
)
async def test_preview_is_rejected_as_the_write_would_be(
    call: ApiCalls, who: str, path: str, fields: dict[str, Any], status: int
) -> None:
    await call.token(who)
    before = await call.stored()
    assert (await call("POST", path, fields, who=who)).status_code == status
    assert await call.stored() == before
