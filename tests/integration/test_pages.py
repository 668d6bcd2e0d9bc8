"""Readers' pages over a real server: complete without scripts, never older than `?at=` asks for."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import redis.asyncio
from kit import forms
from kit.servers import Editor, Server, http
from kit.waiting import until
from starlette.applications import Starlette

from liveblog.blog.model import SYSTEM, Caller, Entry, new_id
from liveblog.blog.timeline import Changes
from liveblog.clock import now_ms
from liveblog.editors.publishing import Publishing
from liveblog.html import entries, markdown
from liveblog.html.pages import Pages
from liveblog.live.blog import LiveBlog
from liveblog.live.hub import Hub
from liveblog.pages import page
from liveblog.settings import Settings
from liveblog.store import calls
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.calls import CallKey, entry_write
from liveblog.store.connect import connect
from liveblog.store.nodes import One

ABSENT = "e000000000000"
SECRET = "Nobody may ever read this again"
CACHED = "public, max-age=0, s-maxage=1"


@dataclass
class Page:
    """Holds a page as a reader without scripts gets it, and finds parts of its HTML."""

    status: int
    headers: httpx2.Headers
    text: str

    @property
    def position(self) -> str:
        (found,) = re.findall(r'<main[^>]* data-position="([^"]*)"', self.text)
        return str(found)

    @property
    def feed(self) -> list[str]:
        """The ids of the entries in the feed, from top to bottom."""
        _, _, rest = self.text.partition('role="feed"')
        return re.findall(r'<article id="(e[0-9a-z]{12})"', rest)

    @property
    def orders(self) -> list[int]:
        _, _, rest = self.text.partition('role="feed"')
        return [int(order) for order in re.findall(r'<article id=[^>]* data-order="(\d+)"', rest)]

    @property
    def older(self) -> str | None:
        """The link to older entries."""
        found = re.search(r'<nav id="older".*?href="([^"]*)"', self.text, re.DOTALL)
        return html.unescape(found[1]) if found else None

    def said(self, pattern: str) -> str:
        found = re.search(pattern, self.text, re.DOTALL)
        assert found, pattern
        return html.unescape(found[1])


class Browser:
    """Gets pages as a browser without scripts, which can only follow links."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, **headers: str) -> Page:
        answer = await self._client.get(path, headers=headers)
        return Page(answer.status_code, answer.headers, answer.text)

    async def walk(self, path: str) -> list[Page]:
        """Return a page and all older pages that its links lead to."""
        pages = [await self.get(path)]
        while pages[-1].older:
            pages.append(await self.get(pages[-1].older))
            assert len(pages) < 100
        return pages


@pytest.fixture
async def browser(site: Server) -> AsyncIterator[Browser]:
    async with http(base_url=site.url) as client:
        yield Browser(client)


@pytest.fixture
async def blog(editor: Editor) -> Any:
    return await editor.blog(dek="What the council decides.")


@pytest.fixture
def path(blog: Any) -> str:
    return f"/blogs/{blog['slug']}"


@pytest.fixture
async def silent(site: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Publishing]:
    """Yield a `Publishing` on the store of `site` whose pub/sub messages reach no server."""
    monkeypatch.setattr(calls, "channel", lambda slug: f"lost:{slug}")
    async with connect(site.store_url) as client:
        yield Publishing(Broker(client), lambda: 0)


# -- contents


async def test_a_page_states_its_position_and_its_entries_numbers(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    assert (await browser.get(path)).position == blog["position"]
    first = await editor.publish(blog["slug"])
    second = await editor.publish(blog["slug"])
    first = await editor.edit(first, body="Edited.")
    shown = await browser.get(path)
    assert shown.position == first["position"]
    assert shown.feed == [second["id"], first["id"]]
    numbers = shown.said(f'<article id="{first["id"]}"([^>]*)>')
    for attribute in ('data-offset="4"', 'data-order="2"', 'data-revision="2"'):
        assert attribute in numbers
    assert shown.said(r'id="status"[^>]* data-state="(\w+)"') == "lost"
    await editor.alter(blog["slug"], status="ended")
    assert (await browser.get(path)).said(r'id="status"[^>]* data-state="(\w+)"') == "ended"


async def test_a_page_has_the_documented_headers(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    entry = await editor.publish(blog["slug"])
    for at in ("/", path, f"{path}?before={entry['id']}", f"{path}/entries/{entry['id']}"):
        shown = await browser.get(at)
        assert shown.status == 200
        assert shown.headers["cache-control"] == CACHED
        assert shown.headers["content-type"] == "text/html; charset=utf-8"
    for at in ("/", path, f"{path}/changes", f"{path}/entries/{ABSENT}", "/nowhere", "/healthz"):
        headers = (await browser.get(at)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "strict-origin-when-cross-origin"


async def test_a_page_has_no_inline_script_or_style(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    await editor.publish(blog["slug"], "**Bold** https://example.org", key=True, pinned=True)
    for at in ("/", path):
        text = (await browser.get(at)).text
        assert re.findall(r"<script(?![^>]* src=)[^>]*>", text) == []
        assert re.findall(r"<style|\sstyle=|\son\w+=", text) == []


async def test_a_page_does_not_depend_on_the_host_or_the_reader(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    await editor.publish(blog["slug"])
    plain = await browser.get(path)
    other = await browser.get(path, host="evil.example", cookie="liveblog=x", accept_language="de")
    assert other.text == plain.text
    assert "evil.example" not in other.text
    assert "https://live.example/blogs/" in plain.text


async def test_the_home_page_lists_the_newest_activity_first_and_no_drafts(
    editor: Editor, browser: Browser
) -> None:
    first, second = await editor.blog(title="First"), await editor.blog(title="Second")
    draft = await editor.blog(title="Draft", status="draft")
    await editor.publish(first["slug"])

    async def listed() -> Any:
        text = (await browser.get("/")).text
        slugs = list(dict.fromkeys(re.findall(r'href="/blogs/([a-z0-9-]+)"', text)))
        assert draft["slug"] not in slugs
        return slugs[:2] == [first["slug"], second["slug"]]

    await until(listed)


async def home_pages(browser: Browser) -> list[str]:
    """Return the home page, and all pages to which it leads."""
    pages, path = [], "/"
    while path:
        pages.append((await browser.get(path)).text)
        link = re.search(r'<nav id="older"[^>]*><a href="([^"]+)"', pages[-1])
        path = link[1] if link else ""
    return pages


async def test_home_pages_show_each_public_blog_once_with_the_live_ones_first(
    editor: Editor, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        (await editor.blog(status=status))["slug"] for status in ("live", "ended", "upcoming") * 17
    ]
    pages: list[str] = []
    slugs: list[str] = []

    async def all_are_listed() -> bool:  # a page is cached for some seconds
        pages[:] = await home_pages(browser)
        slugs[:] = [it for text in pages for it in re.findall(r'href="/blogs/([a-z0-9-]+)"', text)]
        return set(made) <= set(slugs)

    await until(all_are_listed)
    shown = [found for text in pages for found in re.findall(r'<li data-status="(\w+)"', text)]
    assert len(pages) > 1
    assert len(slugs) == len(set(slugs))
    assert shown == sorted(shown, key=lambda status: status != "live")


async def test_home_page_is_404_when_no_blog_has_the_slug_in_before(browser: Browser) -> None:
    for slug in ("never-made", "Not a slug", ""):
        assert (await browser.get(f"/?before={slug}")).status == 404


@pytest.mark.parametrize(
    ("instant", "said"),
    [
        ("2026-06-01T18:30:00Z", "7:30 PM BST · June 1, 2026"),
        ("2026-12-01T19:30:00Z", "7:30 PM GMT · December 1, 2026"),
    ],
)
async def test_an_upcoming_blog_shows_its_start_until_it_is_live(
    editor: Editor, browser: Browser, instant: str, said: str
) -> None:
    fields = {"status": "upcoming", "timezone": "Europe/London", "starts_at": instant}
    slug = (await editor.blog(**fields))["slug"]
    starts = r'<p class="starts">(.*?)</p>'

    async def is_listed() -> bool:
        listed = f'{starts}\n<h2 dir="auto"><a href="/blogs/{slug}">'
        found = [re.search(listed, text) for text in await home_pages(browser)]
        return any(said in markdown.plain(match[1]) for match in found if match)

    shown = await browser.get(f"/blogs/{slug}")
    assert markdown.plain(shown.said(starts)) == f"About to start: {said}"
    await until(is_listed)
    live = await editor.alter(slug, status="live")
    assert "About to start" not in (await browser.get(f"/blogs/{slug}?at={live['position']}")).text


@dataclass
class Desk:
    """Sends the desk's form for a blog's header (title, start and more), without scripts."""

    client: httpx2.AsyncClient
    path: str

    async def boxes(self) -> dict[str, str]:
        """Return the present contents of the form's fields, by name."""
        return forms.sent((await self.client.get(self.path)).text, "header")

    async def send(self, **altered: str) -> dict[str, str]:
        """Send the form with some fields altered; return all fields that were sent."""
        sent = await self.boxes() | altered
        answer = await self.client.post(f"{self.path}/header", data=sent)
        assert answer.status_code == 303, answer.text
        return sent


@pytest.fixture
async def desk(site: Server, editor: Editor) -> AsyncIterator[Desk]:
    blog = await editor.blog(status="upcoming", timezone="Europe/London")
    name = f"dana-{blog['slug']}"
    async with connect(site.store_url) as client:
        accounts = Accounts(client, now_ms)
        await accounts.people.add(name, "a long password")
        secret = await accounts.open_session(Caller(f"user:{name}", "editor"))
    headers = {"cookie": f"__Host-liveblog={secret}", "sec-fetch-site": "same-origin"}
    async with http(base_url=site.url, headers=headers) as client:
        yield Desk(client, f"/desk/blogs/{blog['slug']}")


async def test_a_start_set_on_the_desk_is_shown_on_the_page(
    editor: Editor, browser: Browser, desk: Desk
) -> None:
    slug = desk.path.rpartition("/")[2]

    async def says(clock: str) -> bool:
        return clock in (await browser.get(f"/blogs/{slug}")).text

    sent = await desk.send(starts_at="2026-12-01T19:30")
    await until(lambda: says(">7:30 PM GMT<"))
    assert (await desk.boxes())["starts_at"] == "2026-12-01T19:30"
    await desk.send(timezone="America/New_York")
    await until(lambda: says(">7:30 PM EST<"))
    await desk.send(timezone="Europe/Paris", starts_at="2026-06-01T20:00")
    await until(lambda: says(">8:00 PM CEST<"))
    await editor.alter(slug, starts_at="2026-10-25T01:30:00.999Z")  # 2:30, second occurrence
    assert (await desk.boxes())["starts_at"] == "2026-10-25T02:30"
    await desk.send()
    assert (await desk.send(**sent)) == sent  # a known key: executed once
    assert (await editor.ok("GET", f"/{slug}"))["starts_at"] == "2026-10-25T01:30:00.999Z"
    await desk.send(starts_at="")
    assert (await editor.ok("GET", f"/{slug}"))["starts_at"] is None


async def test_an_old_form_of_the_header_is_shown_again_with_a_colleagues_changes(
    editor: Editor, desk: Desk
) -> None:
    slug = desk.path.rpartition("/")[2]
    old = await desk.boxes()
    theirs = {"status": "ended", "title": "The last night", "timezone": "Europe/Paris"}
    before = await editor.alter(slug, **theirs)
    refused = await desk.client.post(f"{desk.path}/header", data=old | {"dek": "Mine"})
    assert refused.status_code == 412
    await desk.send(**forms.sent(refused.text, "header"))
    after = await editor.ok("GET", f"/{slug}")
    assert {name: after[name] for name in theirs} == theirs
    epochs = {blog["position"].partition(".")[0] for blog in (before, after)}
    assert (after["dek"], len(epochs)) == ("Mine", 1)


async def test_the_desk_keeps_a_text_and_previews_the_blog(desk: Desk) -> None:
    text = {"values": {"body": "x" * 60_000}, "base": None, "key": "k1", "typed_at": 7}
    at = f"{desk.path}/kept/new/{'a' * 16}"
    assert (await desk.client.put(at, json=text)).status_code == 204
    assert (await desk.client.get(at)).json() == text
    assert (await desk.client.delete(f"{at}?typed_at=7")).status_code == 204
    assert (await desk.client.get(f"{desk.path}/kept")).json() == {"kept": []}
    assert "Back to the desk" in (await desk.client.get(f"{desk.path}/preview")).text


async def test_a_blog_is_404_when_it_is_unknown_or_a_draft(
    editor: Editor, browser: Browser
) -> None:
    draft = await editor.blog(status="draft")
    entry = await editor.publish(draft["slug"])
    for at in ("never-heard-of", "A", "a%20b", "%00", draft["slug"]):
        for rest in ("", f"/entries/{entry['id']}", f"?before={entry['id']}", "?at=a.1.00000000"):
            shown = await browser.get(f"/blogs/{at}{rest}")
            assert (shown.status, shown.headers["cache-control"]) == (404, "no-store"), at
    await editor.alter(draft["slug"], status="live")
    await until(lambda: _is_shown(browser, draft["slug"]))
    await editor.alter(draft["slug"], status="draft")
    await until(lambda: _is_gone(browser, draft["slug"]))


async def _is_shown(browser: Browser, slug: str) -> bool:
    return (await browser.get(f"/blogs/{slug}")).status == 200


async def _is_gone(browser: Browser, slug: str) -> bool:
    return (await browser.get(f"/blogs/{slug}")).status == 404


# -- at


@pytest.mark.parametrize("rest", ["", "/entries/{id}", "?before={other}"])
async def test_a_page_is_not_older_than_the_position_in_at(
    editor: Editor, browser: Browser, blog: Any, path: str, silent: Publishing, rest: str
) -> None:
    entry, other = await editor.publish(blog["slug"]), await editor.publish(blog["slug"])
    rest = rest.format(id=entry["id"], other=other["id"])
    assert (await browser.get(path + rest)).position == other["position"]
    fields = {"body": "Edited in silence."}
    lost = await silent.edit_entry(SYSTEM, blog["slug"], entry["id"], fields, 1)
    asked = f"{path}{rest}{'&' if '?' in rest else '?'}at={lost.position}"
    shown = await browser.get(asked)
    assert (shown.status, shown.position) == (200, str(lost.position))
    assert "Edited in silence." in shown.text


@pytest.mark.parametrize("at", ["other.1.00000000", "{epoch}.999.00000000", "x", "", "{position}"])
async def test_at_is_ignored_when_unknown_malformed_or_behind(
    editor: Editor, browser: Browser, blog: Any, path: str, at: str
) -> None:
    entry = await editor.publish(blog["slug"])
    epoch = blog["position"].partition(".")[0]
    shown = await browser.get(f"{path}?at={at.format(epoch=epoch, position=blog['position'])}")
    assert (shown.status, shown.position) == (200, entry["position"])


@pytest.mark.parametrize("rest", ["?at=", "/changes?since="])
async def test_a_page_is_404_at_the_change_that_made_the_blog_a_draft(
    browser: Browser, blog: Any, path: str, silent: Publishing, rest: str
) -> None:
    assert (await browser.get(path)).status == 200
    lost = await silent.edit_blog(SYSTEM, blog["slug"], {"status": "draft", "title": SECRET})
    shown = await browser.get(f"{path}{rest}{lost.position}")
    assert shown.status == 404
    assert SECRET not in shown.text


# -- older pages


async def test_links_lead_to_every_older_entry_once_in_order(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    made = await editor.publish_many(blog["slug"], 45)
    pages = await browser.walk(path)
    assert [len(shown.feed) for shown in pages] == [20, 20, 5]
    ids = [id for shown in pages for id in shown.feed]
    assert ids == [entry["id"] for entry in reversed(made)]
    assert len({shown.position for shown in pages}) == 1
    await editor.delete(made[0])
    for entry in made[1:6]:
        await editor.delete(entry)
    assert [len(shown.feed) for shown in await browser.walk(path)] == [20, 19]


async def test_an_older_page_stays_the_same_when_entries_are_added(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    made = await editor.publish_many(blog["slug"], 30)
    older = (await browser.get(path)).older
    assert older
    before = (await browser.get(older)).feed
    assert before == [entry["id"] for entry in reversed(made[:10])]
    await editor.publish_many(blog["slug"], 5)
    await editor.delete(made[10])  # the linked entry
    await editor.delete(made[25])
    await editor.restore(made[25])
    assert (await browser.get(older)).feed == before


@pytest.mark.parametrize("takedown", [False, True])
async def test_before_accepts_the_id_of_a_deleted_or_taken_down_entry(
    editor: Editor, browser: Browser, blog: Any, path: str, takedown: bool
) -> None:
    first, second, third = [await editor.publish(blog["slug"]) for _ in range(3)]
    await editor.delete(second, takedown=takedown)
    await editor.delete(third, takedown=takedown)
    assert (await browser.get(f"{path}?before={second['id']}")).feed == [first["id"]]
    assert (await browser.get(f"{path}?before={third['id']}")).feed == [first["id"]]


async def test_before_and_permalinks_are_404_for_unpublished_entries(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    draft = await editor.publish(blog["slug"], SECRET, status="draft")
    elsewhere = await editor.publish((await editor.blog())["slug"])
    erased = await editor.publish(blog["slug"], SECRET, status="draft")
    await editor.delete(erased, takedown=True)
    for id in (draft["id"], erased["id"], elsewhere["id"], ABSENT, "x", "%23blog", ""):
        shown = await browser.get(f"{path}?before={id}")
        assert (shown.status, SECRET in shown.text) == (404, False), id
        assert (await browser.get(f"{path}/entries/{id}")).status == 404, id


# -- permalinks


async def test_a_permalink_is_the_page_with_the_entry_under_its_own_title(
    editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    made = await editor.publish_many(blog["slug"], 30)
    entry = await editor.edit(made[3], headline="Vote & count", body="They *count* again.")
    newest = await editor.edit(made[29], headline="The newest")
    assert (await browser.get(f"{path}/entries/{newest['id']}")).feed == (
        await browser.get(path)
    ).feed
    shown = await browser.get(f"{path}/entries/{entry['id']}")
    assert shown.status == 200
    assert shown.feed == [e["id"] for e in reversed(made[:8])]
    assert shown.said("<title>(.*?)</title>").startswith("Vote & count")
    assert shown.said(r'name="description" content="([^"]*)"') == "They count again."
    assert shown.said(r'rel="canonical" href="([^"]*)"') == entry["url"]
    assert shown.older is None
    assert shown.position == newest["position"]


@pytest.mark.parametrize("takedown", [False, True])
async def test_a_permalink_is_410_with_a_note_when_the_entry_was_deleted(
    editor: Editor, browser: Browser, blog: Any, path: str, takedown: bool
) -> None:
    entry = await editor.publish(blog["slug"], SECRET)
    await editor.delete(entry, takedown=takedown)
    at = f"{path}/entries/{entry['id']}"
    await until(lambda: _is_status(browser, at, 410))
    shown = await browser.get(at)
    assert "removed later" in shown.text
    assert SECRET not in shown.text
    assert SECRET not in (await browser.get(path)).text
    if not takedown:
        await editor.restore(entry)
        await until(lambda: _is_status(browser, at, 200))


async def _is_status(browser: Browser, at: str, status: int) -> bool:
    return (await browser.get(at)).status == status


# -- a long blog


async def publish_fast(store: Any, slug: str, count: int) -> list[Entry]:
    """Publish with the store's script alone, without the reads that the API does."""
    broker, gate = Broker(store), asyncio.Semaphore(50)

    async def one(number: int) -> Entry:
        id = new_id("e", 12)
        html = f"<p>No. {number}</p>"
        entry = Entry(id=id, body=f"No. {number}", body_html=html, status="published")
        write = entry_write(None, entry, CallKey(id, "f" * 40))
        async with gate:
            made = (await broker.writes.commit(slug, write)).record
        assert made
        return made

    made = await asyncio.gather(*(one(number) for number in range(count)))
    return sorted(made, key=lambda entry: entry.order or 0)


async def test_links_find_1000_entries_when_most_newest_ones_are_deleted(
    site: Server, twin: Server, editor: Editor, browser: Browser, blog: Any, path: str
) -> None:
    assert (await browser.get(path)).feed == []
    async with connect(site.store_url) as store:
        made = await publish_fast(store, blog["slug"], 1_000)
        publishing = Publishing(Broker(store), lambda: 0)
        gone = [*made[-190:-5], *made[500:510]]
        gate = asyncio.Semaphore(20)

        async def delete(entry: Entry) -> None:
            async with gate:
                await publishing.delete_entry(SYSTEM, blog["slug"], entry.id)

        await asyncio.gather(*map(delete, gone))
    left = [entry.id for entry in reversed(made) if entry not in gone]
    last = await editor.alter(blog["slug"], title="Long")
    async with http(base_url=twin.url) as client:
        for reader in (browser, Browser(client)):
            pages = await reader.walk(f"{path}?at={last['position']}")
            assert [id for shown in pages for id in shown.feed] == left
            assert {len(shown.feed) for shown in pages[:-1]} == {20}
            assert {shown.position for shown in pages} == {last["position"]}
            middle = await reader.get(f"{path}/entries/{made[300].id}")
            assert middle.feed == [e.id for e in reversed(made[285:305])]
            shown = await reader.get(f"{path}?before={made[-100].id}")
            assert shown.feed == left[5:25]


# -- a worker's cache


class Here:
    """Replaces the subscriptions to pub/sub: confirms each at once; the test delivers messages."""

    async def follow(self, slug: str) -> None:
        pass

    def unfollow(self, slug: str) -> None:
        pass


@dataclass
class Worker:
    """Publishes to a real store, and gets readers' pages from a hub in this process."""

    client: httpx2.AsyncClient
    hub: Hub
    broker: Broker
    publishing: Publishing
    slug: str = "council"

    @property
    def live(self) -> LiveBlog:
        return self.hub.lives[self.slug]

    async def publish(self, body: str = "Text.") -> str:
        fields = {"body": body}
        return (await self.publishing.create_entry(SYSTEM, self.slug, fields)).entry.id

    async def catch_up(self) -> None:
        answer = await self.broker.source.repair(self.slug, self.live.position)
        assert isinstance(answer, Changes)
        self.live.receive(answer)

    async def get(self, rest: str = "") -> httpx2.Response:
        return await self.client.get(f"/blogs/{self.slug}{rest}")


@pytest.fixture
async def worker(store_client: redis.asyncio.Redis) -> AsyncIterator[Worker]:
    broker = Broker(One(store_client))
    publishing = Publishing(broker, lambda: 0)
    await publishing.create_blog(SYSTEM, {"slug": "council", "title": "C", "status": "live"})
    hub = Hub(broker.source, Here(), entries, now_ms)
    app = Starlette(routes=page.routes(hub, Settings(), Pages()))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Worker(client, hub, broker, publishing)
    await hub.close()


async def test_a_permalink_shows_no_text_taken_down_while_it_is_read(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await worker.publish(SECRET), *[await worker.publish() for _ in range(25)]]
    assert (await worker.get()).status_code == 200
    newer = worker.broker.source.newer

    async def taken_down_meanwhile(slug: str, after: int, limit: int) -> list[Entry]:
        found = await newer(slug, after, limit)
        await worker.publishing.delete_entry(SYSTEM, slug, ids[0], takedown=True)
        await worker.catch_up()
        return found

    monkeypatch.setattr(worker.broker.source, "newer", taken_down_meanwhile)
    for _ in range(2):
        answer = await worker.get(f"/entries/{ids[0]}")
        assert (answer.status_code, SECRET in answer.text) == (410, False)


async def test_a_page_shows_one_position_when_the_blog_changes_meanwhile(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await worker.publish() for _ in range(30)]
    assert (await worker.get()).status_code == 200
    newer, moves = worker.broker.source.newer, [1, 2, 3]

    async def edited_meanwhile(slug: str, after: int, limit: int) -> list[Entry]:
        found = await newer(slug, after, limit)
        if moves:
            revision = moves.pop(0)
            fields = {"body": f"Edit no. {revision}."}
            await worker.publishing.edit_entry(SYSTEM, slug, ids[0], fields, revision)
            await worker.catch_up()
        return found

    monkeypatch.setattr(worker.broker.source, "newer", edited_meanwhile)
    answer = await worker.get(f"/entries/{ids[0]}")
    assert str(worker.live.position) in answer.text
    assert "Edit no. 3." in answer.text


async def test_the_newest_page_is_rendered_once_per_change(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await worker.publish() for _ in range(6)]
    made: list[Any] = []

    def blog(pages: Pages, **given: Any) -> str:
        made.append(given["before"])
        return render(pages, **given)

    render = Pages.blog
    monkeypatch.setattr(Pages, "blog", blog)
    for id in ids:
        assert (await worker.get(f"/entries/{id}")).status_code == 200
    made.clear()
    for _ in range(3):
        assert (await worker.get()).status_code == 200
    assert len(made) == 1
    await worker.publish()
    await worker.catch_up()
    await worker.get()
    assert len(made) == 2
