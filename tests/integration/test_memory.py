"""Pages, changes and files from memory over a real server: compressed, revalidated, never stale."""

import asyncio
import gc
import re
import threading
import types
import zlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import brotli
import httpx2
import msgspec
import pytest
import redis.asyncio
from kit.servers import Editor, Server, http
from kit.waiting import SCALE, until
from starlette.types import ASGIApp

from liveblog import answer as answers
from liveblog import app as apps
from liveblog.answer import CACHED_1_S, IMMUTABLE
from liveblog.blog.model import SYSTEM
from liveblog.editors.publishing import Publishing
from liveblog.forwarded import ForwardedHeaders
from liveblog.live import budget as budgets
from liveblog.live.hub import Hub
from liveblog.pages import page
from liveblog.settings import Settings
from liveblog.store.broker import Broker
from liveblog.store.nodes import One

SECRET = "Nobody may ever read this again"
ORIGIN = "https://news.example"  # one that `site` allows
CODINGS = ("br", "gzip", "identity")


class Got(NamedTuple):
    """An answer: the bytes as sent, and the decoded body."""

    status: int
    headers: httpx2.Headers
    raw: bytes

    @property
    def coding(self) -> str:
        return str(self.headers.get("content-encoding", "identity"))

    @property
    def text(self) -> str:
        coding = self.coding
        whole = {"br": brotli.decompress, "gzip": lambda raw: zlib.decompress(raw, wbits=31)}
        return (whole[coding](self.raw) if coding in whole else self.raw).decode()

    @property
    def etag(self) -> str:
        return str(self.headers["etag"])

    @property
    def offset(self) -> int:
        (found,) = re.findall(r'<main[^>]* data-position="[^".]*\.(\d+)', self.text)
        return int(found)


class Client:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, accept: str = "identity", **headers: str) -> Got:
        return await self.ask("GET", path, accept, **headers)

    async def get_in(self, coding: str, path: str, **headers: str) -> Got:
        """Repeat a GET until its answer has this coding: another thread compresses the answer."""

        async def coded() -> Any:
            got = await self.get(path, coding, **headers)
            return got if got.coding == coding else None

        found: Got = await until(coded)
        return found

    async def ask(self, method: str, path: str, accept: str = "identity", **headers: str) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"accept-encoding": accept, **named}
        async with self._client.stream(method, path, headers=given) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
            return Got(answer.status_code, answer.headers, raw)


@pytest.fixture
async def client(site: Server) -> AsyncIterator[Client]:
    async with http(base_url=site.url) as calls:
        yield Client(calls)


@pytest.fixture
async def blog(editor: Editor) -> Any:
    blog = await editor.blog()
    await editor.publish_many(blog["slug"], 25)
    return blog


@pytest.fixture
def path(blog: Any) -> str:
    return f"/blogs/{blog['slug']}"


async def an_older_entry(client: Client, path: str) -> str:
    found = re.search(r"before=(e[0-9a-z]{12})", (await client.get(path)).text)
    assert found
    return found[1]


async def every_path(client: Client, blog: Any, path: str) -> list[str]:
    id = await an_older_entry(client, path)
    changes = f"{path}/changes?since={blog['position']}"
    return [path, f"{path}?before={id}", f"{path}/entries/{id}", changes, "/static/js/view.js"]


# -- in every coding


async def test_cached_answer_has_a_tag_for_each_coding(
    client: Client, blog: Any, path: str
) -> None:
    for at in await every_path(client, blog, path):
        plain, *others = [await client.get_in(it, at) for it in ("identity", "br", "gzip")]
        assert {it.text for it in others} == {plain.text}
        assert len({plain.etag, *(it.etag for it in others)}) == 3
        assert all(len(it.raw) < len(plain.raw) for it in others)
        assert {it.headers["vary"].partition(",")[0] for it in (plain, *others)} == {
            "Accept-Encoding"
        }


async def test_list_of_blogs_is_compressed_and_revalidated(editor: Editor, client: Client) -> None:
    await editor.blog(dek="What the council decides. " * 19)

    async def is_compressed() -> bool:
        whole = await client.get("/", "br")
        again = await client.get("/", "br", if_none_match=whole.etag)
        return (whole.coding, again.status) == ("br", 304)

    await until(is_compressed)


@pytest.mark.parametrize("coding", CODINGS)
async def test_cached_answer_is_a_304_when_the_client_has_it(
    client: Client, blog: Any, path: str, coding: str
) -> None:
    for at in await every_path(client, blog, path):
        whole = await client.get_in(coding, at)
        again = await client.get(at, coding, if_none_match=f'"x", W/{whole.etag}')
        assert (again.status, again.raw) == (304, b""), at
        for name in ("etag", "cache-control", "vary", "content-security-policy"):
            assert again.headers[name] == whole.headers[name]
        head = await client.ask("HEAD", at, coding)
        assert (head.status, head.raw, head.etag) == (200, b"", whole.etag)
        assert head.headers["content-length"] == str(len(whole.raw))


async def test_page_has_another_tag_when_the_blog_has_changed(
    editor: Editor, client: Client, blog: Any, path: str
) -> None:
    for coding in CODINGS:
        before = await client.get(path, coding)
        entry = await editor.publish(blog["slug"])

        async def has_come(coding: str = coding, id: str = entry["id"]) -> bool:
            return id in (await client.get(path, coding)).text

        await until(has_come)
        after = await client.get(path, coding, if_none_match=before.etag)
        assert (after.status, after.etag == before.etag) == (200, False)


async def test_page_is_never_older_than_one_served_before(
    editor: Editor, client: Client, blog: Any, path: str
) -> None:
    last, done, seen = 0, False, set()

    async def read(coding: str) -> None:
        nonlocal last
        while not done:
            known = last
            got = await client.get(path, coding)
            assert got.offset >= known
            last = max(last, got.offset)
            seen.add(got.offset)

    async with asyncio.TaskGroup() as tasks:
        for coding in CODINGS * 2:
            tasks.create_task(read(coding))
        made = [await editor.publish(blog["slug"]) for _ in range(20)]
        await until(lambda: last >= made[-1]["offset"])
        done = True
    assert len(seen) > 5


async def test_takedown_leaves_nothing_in_any_coding(
    editor: Editor, client: Client, blog: Any, path: str
) -> None:
    entry = await editor.publish(blog["slug"], SECRET)
    paths = [path, f"{path}/entries/{entry['id']}", f"{path}/changes?since={blog['position']}"]

    async def said(secret: bool) -> bool:
        texts = [(await client.get(at, coding)).text for at in paths for coding in CODINGS]
        return all((SECRET in text) == secret for text in texts)

    await until(lambda: said(True))
    await editor.delete(entry, takedown=True)
    await until(lambda: said(False))


async def test_changes_differ_by_origin_and_coding(client: Client, blog: Any, path: str) -> None:
    at = f"{path}/changes?since={blog['position']}"
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example", None), ("", None)):
        more = {"origin": origin} if origin else {}
        whole = await client.get_in("br", at, **more)
        again = await client.get(at, "br", if_none_match=whole.etag, **more)
        assert again.status == 304
        for got in (whole, again):
            assert got.headers.get("access-control-allow-origin") == allowed
            assert got.headers["vary"] == "Accept-Encoding, Origin"


# -- scripts and styles


async def test_page_loads_scripts_and_styles_under_immutable_names(
    client: Client, path: str
) -> None:
    text = (await client.get(path)).text
    links = re.findall(r'(?:href|src)="(/static/[^"]*)"', text)
    assert {".js", ".css", ".svg"} == {f".{link.rpartition('.')[2]}" for link in links}
    (version,) = {link.split("/")[2] for link in links}
    assert re.fullmatch(r"[0-9a-f]{12}", version)
    for link in links:
        got = await client.get(link, "br")
        assert (got.status, got.headers["cache-control"]) == (200, IMMUTABLE), link
        assert got.headers["x-content-type-options"] == "nosniff"
        script = got.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script == link.endswith(".js")


async def test_file_of_another_release_is_the_present_one_and_not_cached(
    client: Client,
) -> None:
    for at in ("/static/js/view.js", "/static/0123456789ab/js/view.js"):
        got = await client.get(at)
        assert (got.status, got.headers["cache-control"]) == (200, CACHED_1_S)
        assert "export" in got.text
    for at in ("/static/js/nothing.js", "/static/..%2fpyproject.toml", "/static/"):
        missing = await client.get(at)
        assert (missing.status, "immutable" in str(missing.headers)) == (404, False)
    assert (await client.ask("POST", "/static/js/view.js")).status == 405


# -- page.FastPath and the cache, with the hub of the worker in this process


class Here:
    """Replaces the subscriptions to pub/sub: confirms each at once; the test delivers messages."""

    async def follow(self, slug: str) -> None:
        pass

    def unfollow(self, slug: str) -> None:
        pass


class Worker(NamedTuple):
    """Holds an application on a real store, and its hub.

    `short` answers cached pages by the shortcut `page.FastPath`; `long` is the same application
    without the shortcut.
    """

    hub: Hub
    publishing: Publishing
    short: ASGIApp
    long: ASGIApp

    async def change(self, **fields: Any) -> None:
        await self.publishing.edit_blog(SYSTEM, "council", fields)
        await self.catch_up()

    async def catch_up(self) -> None:
        live = self.hub.lives["council"]
        head = (await self.hub.source.heads(["council"])).positions["council"]
        live.repair()
        await until(lambda: live.position == head)


@pytest.fixture
async def worker(
    store_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Worker]:
    publishing = Publishing(Broker(One(store_client)), lambda: 0)
    for slug in ("council", "other"):
        await publishing.create_blog(SYSTEM, {"slug": slug, "title": "C", "status": "live"})
    await publishing.create_entry(SYSTEM, "council", {"body": SECRET * 50})
    made: list[Hub] = []

    def hub(*given: Any) -> Hub:
        made.append(Hub(given[0], Here(), *given[2:]))
        return made[0]

    monkeypatch.setattr(apps, "Hub", hub)
    monkeypatch.setattr(answers, "WAIT_S", 10)
    monkeypatch.setattr(apps, "connect", lambda url: One(store_client))
    outer = apps.create_app(Settings(redis_url="unix://"))
    assert isinstance(outer, ForwardedHeaders)
    short = outer._app
    assert isinstance(short, page.FastPath)
    yield Worker(made[0], publishing, short, short._app)
    await made[0].close()


Answered = list[dict[str, Any]]


async def ask(
    app: ASGIApp, path: str, method: str, query: bytes, headers: dict[str, str]
) -> Answered:
    sent: Answered = []

    async def send(message: Any) -> None:
        sent.append({**message, "headers": sorted(message.get("headers", []))})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
        "headers": raw, "scheme": "http", "server": ("test", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


async def test_short_way_gives_exactly_what_routing_gives(worker: Worker) -> None:
    first = await ask(worker.short, "/blogs/council", "GET", b"", {})
    tag = dict(first[0]["headers"])[b"etag"].decode()
    position, asked = worker.hub.lives["council"].position, 0
    for path in ("/blogs/council", "/blogs/council/", "/blogs/none", "/blogs/", "/", "council"):
        for method in ("GET", "HEAD", "POST"):
            for query in (b"", f"at={position}".encode(), b"before=x", b"x"):
                for headers in (
                    {"accept-encoding": "br"}, {"accept-encoding": "gzip"}, {}, {"if-none-match": tag},
                    {"if-none-match": tag, "accept-encoding": "br"}, {"origin": ORIGIN, "host": "evil.example"},
                ):  # fmt: skip
                    short = await ask(worker.short, path, method, query, headers)
                    assert short == await ask(worker.long, path, method, query, headers)
                    asked += short[0]["status"] == 200
    assert asked > 12


async def test_short_way_makes_a_blog_the_most_recently_used(worker: Worker) -> None:
    for slug in ("council", "other", "council"):
        await ask(worker.short, f"/blogs/{slug}", "GET", b"", {})
        assert list(worker.hub.lives)[-1] == slug


async def test_short_way_is_not_taken_when_the_blog_has_gone(worker: Worker) -> None:
    async def status() -> int:
        (start, _) = await ask(worker.short, "/blogs/council", "GET", b"", {})
        return int(start["status"])

    assert [await status(), await status()] == [200, 200]
    await worker.change(status="draft")
    assert [await status(), await status()] == [404, 404]
    await worker.change(status="live")
    assert await status() == 200
    worker.hub.shelf.drop("council")  # to make room for others
    assert await status() == 200


async def test_compressed_bytes_count_before_they_are_made(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for coding in CODINGS:
        await ask(worker.short, "/blogs/council", "GET", b"", {"accept-encoding": coding})
    live = worker.hub.lives["council"]
    kept = live.kept(page.NEWEST)
    assert kept
    articles = live.cache._articles.bytes
    assert worker.hub.cache_budget.used() == kept.bytes_max + articles
    assert kept.bytes_max >= 3 * len(kept.body)
    # The page alone leaves no room for another one, but its packed copies do.
    monkeypatch.setattr(budgets, "CACHED_BYTES_MAX", kept.bytes_likely + articles + kept.bytes_max)
    await ask(worker.short, "/blogs/other", "GET", b"", {})
    assert live.kept(page.NEWEST) is kept
    assert (len(kept._coded), live.cache._articles.bytes) == (2, 0)
    worker.hub.cache_budget.shrink(worker.hub.cache_budget.used() - 1)
    assert live.kept(page.NEWEST) is None


async def test_change_evicts_every_copy_when_a_compression_is_late(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, late = threading.Event(), threading.Event()

    def compress(body: bytes) -> bytes:
        begun.set()
        late.wait(10 * SCALE)
        return body[:1]

    monkeypatch.setattr(answers, "_COMPRESS", {"br": compress})
    get = ask(worker.short, "/blogs/council", "GET", b"", {"accept-encoding": "br"})
    asking = asyncio.create_task(get)
    await until(begun.is_set)
    live = worker.hub.lives["council"]
    (entry,) = live.timeline.newest(1)
    assert live.kept(page.NEWEST)
    assert live.cache._articles
    await worker.publishing.delete_entry(SYSTEM, "council", entry.id, takedown=True)
    await worker.catch_up()
    for _ in range(2):
        assert live.kept(page.NEWEST) is None
        assert (live.cache._articles.bytes, live.cache.cached_bytes) == (0, 0)
        late.set()
        await asking


SKIPPED = (types.ModuleType, types.CodeType, type, asyncio.AbstractEventLoop)


def texts_of(root: object) -> list[str]:
    """Return every text that is reachable from an object of the program, but for its code."""
    seen, found, left = set[int](), list[str](), [root]
    while left:
        it = left.pop()
        if id(it) in seen or isinstance(it, SKIPPED):
            continue
        seen.add(id(it))
        if isinstance(it, str | bytes | bytearray):
            found.append(it if isinstance(it, str) else it.decode("latin-1"))
        elif isinstance(it, msgspec.Struct):  # the collector does not know what it refers to
            left += msgspec.structs.astuple(it)
        elif isinstance(it, types.FunctionType):
            left += [it.__closure__, it.__defaults__]
        else:
            left += gc.get_referents(it)
    return found


async def test_worker_has_nothing_of_a_text_when_its_entry_is_deleted(worker: Worker) -> None:
    await ask(worker.short, "/blogs/council", "GET", b"", {})
    (entry,) = worker.hub.lives["council"].timeline.newest(1)
    paths = "/blogs/council", f"/blogs/council/entries/{entry.id}"

    def has_text() -> bool:
        return any(SECRET in it for it in texts_of(worker.hub.lives["council"]))

    for path in paths:
        await ask(worker.short, path, "GET", b"", {})
    assert has_text()
    await worker.publishing.delete_entry(SYSTEM, "council", entry.id)
    await worker.catch_up()
    assert not has_text()
    for path in paths:
        await ask(worker.short, path, "GET", b"", {})
    assert not has_text()
