"""Every page of the desk, in the states in which it shows something else, for audits in a browser.

SIGHTS has at least one state for each page; `routes_without_a_sight` names the pages that it lacks.
The pages come from the application's own routes.

Rules: a state comes from an editor's acts and a real server. Three exceptions: a store that
refuses writes is an answer of the test's, a new version is a line made visible, and the text of
damaged records is written into the store.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import redis.asyncio
from playwright.async_api import Browser, Page, Route, expect

from kit.audits import AXE
from kit.servers import Editor, Server
from kit.windows import add_editor, session, window
from liveblog.app import create_app
from liveblog.settings import Settings
from liveblog.store.codec import key

ADMIN, COLLEAGUE = "Ida Okafor", "Kim"
BODY: Final = "#compose [name=body]"
LIVE: Final = "#status[data-state=live]"
# Routes under /desk that answer scripts, and never with a page.
FOR_SCRIPTS: Final = (
    "/desk/blogs/{slug}/kept",
    "/desk/blogs/{slug}/kept/{form}/{tab}",
    "/desk/blogs/{slug}/store",
)
# Sends a form as a browser without scripts does: the page's script gets no event.
PLAINLY: Final = "it => HTMLFormElement.prototype.submit.call(it)"
FRAMES: Final = (
    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
)


class Place(NamedTuple):
    """A server with two editors' sessions, and the blogs that sights show."""

    server: Server
    editor: Editor
    admin: Any  # sessions for the option `storage_state`
    colleague: Any
    slug: str  # of a blog with more entries than a page has, pins, drafts and deletions
    ended: str
    damaged: str
    entries: list[Any]  # of `slug`, oldest first
    draft: Any

    def desk(self, slug: str = "") -> str:
        return f"{self.server.url}/desk/blogs/{slug or self.slug}"


Show = Callable[[Page, Place], Awaitable[None]]


class Sight(NamedTuple):
    """One state of a page. `show` brings an empty page of a signed-in admin into that state.

    `make desk` audits all sights; `make test` leaves out those that are not `often`.
    """

    name: str
    route: str
    show: Show
    often: bool


SIGHTS: Final[list[Sight]] = []


def sight(route: str, name: str, *, often: bool = True) -> Callable[[Show], Show]:
    def noted(show: Show) -> Show:
        SIGHTS.append(Sight(name, route, show, often))
        return show

    return noted


def page_routes() -> set[str]:
    """Return the paths under /desk that answer GET, from the routes of the application."""
    app: Any = create_app(Settings(redis_url="unix:///nowhere/store.sock"))
    while not hasattr(app, "routes"):
        app = app._app
    found = {it.path for it in app.routes if "GET" in (getattr(it, "methods", None) or ())}
    return {path for path in found if path.startswith("/desk")}


def routes_without_a_sight() -> set[str]:
    return page_routes() - {it.route for it in SIGHTS} - {*FOR_SCRIPTS}


def cookie_of(session: Any) -> dict[str, str]:
    """Return the header that carries a session."""
    [cookie] = session["cookies"]
    return {"cookie": f"{cookie['name']}={cookie['value']}"}


@asynccontextmanager
async def opened(browser: Browser, place: Place, it: Sight, **options: Any) -> AsyncIterator[Page]:
    """Open a window in which a sight is shown."""
    async with window(browser, expected=AXE, storage_state=place.admin, **options) as page:
        await it.show(page, place)
        await page.evaluate(FRAMES)
        yield page


# -- what the pages show


async def prepared(server: Server, editor: Editor) -> Place:
    """Write what the sights show into a server's store."""
    await add_editor(server, ADMIN, "admin")
    await add_editor(server, COLLEAGUE)
    slug = str((await editor.blog(title="Storm on the north coast"))["slug"])
    entries = await editor.publish_many(slug, 24)
    for entry in entries[-3:]:
        await editor.mark(entry, pinned=True)
    for entry in entries[:2]:
        await editor.delete(entry)
    for fields in ({"status": "submitted"}, {"publish_at": "2040-11-03T21:30:00Z"}):
        await editor.publish(slug, "Not published yet.", **fields)
    draft = await editor.publish(slug, "A draft.", byline=["Ana Ruiz", "Bo"], status="draft")
    await editor.alter(slug, dek="Revised once.", summary="**What we know**")
    ended = str((await editor.blog(status="ended"))["slug"])
    await editor.blog(status="upcoming", starts_at="2040-11-03T21:30:00Z")
    await editor.blog(status="draft")
    return Place(
        server,
        editor,
        await session(server, ADMIN),
        await session(server, COLLEAGUE),
        slug,
        ended,
        await _damaged(server, editor),
        entries[2:],
        draft,
    )


async def _damaged(server: Server, editor: Editor) -> str:
    """Return the slug of a blog whose header and one entry cannot be read."""
    slug = str((await editor.blog())["slug"])
    entry = await editor.publish(slug, "It will be damaged.")
    async with redis.asyncio.Redis.from_url(server.store_url) as client:
        await client.hset(key(slug, "entries"), entry["id"], "no record")
        await client.hset(key(slug, "blog"), "header", "no record")
    return slug


async def to_desk(page: Page, place: Place) -> None:
    await page.goto(place.desk())
    await page.wait_for_selector(LIVE)


async def send_plainly(page: Page, form: str) -> None:
    async with page.expect_navigation():
        await page.locator(form).evaluate(PLAINLY)


async def unfold(page: Page, selector: str) -> None:
    for summary in await page.locator(selector).all():
        await summary.click()


async def send(page: Page, form: str, **boxes: str) -> None:
    """Fill the boxes of a form, and press its main button."""
    for name, text in boxes.items():
        await page.fill(f"#{form} [name={name}]", text)
    await page.click(f"#{form} button.primary")


async def seen(page: Page, *selectors: str) -> None:
    for selector in selectors:
        await expect(page.locator(selector).first).to_be_visible()


# -- sights


@sight("/desk/sign-in", "sign-in, rejected")
async def sign_in(page: Page, place: Place) -> None:
    await page.context.clear_cookies()
    await page.goto(f"{place.server.url}/desk/sign-in")
    await send(page, "sign-in", name="nobody", password="wrong horse battery")
    await seen(page, "#sign-in-reason")


@sight("/desk", "blogs, a new one rejected")
async def home(page: Page, place: Place) -> None:
    await page.goto(f"{place.server.url}/desk")
    await page.click(".panel summary")
    await send(page, "new", title="A title", timezone="Mars/Base")
    await seen(page, "#new [data-reason=timezone]", "#damaged")


@sight("/desk/account", "account, rejected")
async def account(page: Page, place: Place) -> None:
    await page.goto(f"{place.server.url}/desk/account")
    await send(page, "account", current="wrong horse battery", password="another horse battery")
    await seen(page, "#account .reason:not([hidden])")


@sight("/desk/blogs/{slug}", "a blog, all boxes open")
async def boxes(page: Page, place: Place) -> None:
    await to_desk(page, place)
    await unfold(page, "#compose summary, .desk-side .panel summary")
    await page.check("#compose [name=key][type=checkbox]")
    await page.fill("#compose [name=headline]", "h" * 301)
    if not await page.locator("#compose .preview").is_visible():
        await page.click("#compose [data-preview]")
    await seen(page, "#compose .why", "#compose .count", "#pins .grip", "#held li")


@sight("/desk/blogs/{slug}", "a blog, its keys and marks", often=False)
async def keys(page: Page, place: Place) -> None:
    await to_desk(page, place)
    await page.get_by_role("button", name="Keys and marks").click()
    await seen(page, "#help td.body")


@sight("/desk/blogs/{slug}", "a blog, unsent texts and a sign-in in place")
async def unsent(page: Page, place: Place) -> None:
    await to_desk(page, place)
    await page.fill(BODY, "Left over.")
    await page.evaluate("sessionStorage.clear()")  # the next page is another tab
    await to_desk(page, place)
    await seen(page, "#offers li")
    await page.click("[role=feed] [data-do=delete] button")
    await seen(page, "#notice [data-do=restore]")
    await page.fill("#compose [name=headline]", "h" * 301)
    await page.press(BODY, "Control+Enter")
    await seen(page, "#apart .reason:not([hidden])")
    await page.context.clear_cookies()
    await page.fill(BODY, "Waits for a session.")
    await page.press(BODY, "Control+Enter")
    await seen(page, "#signing", "#queue li")
    await page.fill("#signing-password", "wrong horse battery")
    await page.press("#signing-password", "Enter")
    await seen(page, "#signing .reason:not([hidden])")
    await page.locator("#version").evaluate("it => { it.hidden = false }")
    await _undelete(page, place)


async def _undelete(page: Page, place: Place) -> None:
    """Bring the entry back that a sight deleted, so that the sight can be shown again."""
    action = await page.locator("#notice form").get_attribute("action")
    found = re.search(r"entries/(\w+)", action or "")
    assert found
    await place.editor.restore({"blog": place.slug, "id": found[1]})


@sight("/desk/blogs/{slug}", "a blog, another editor and a store that refuses")
async def another(page: Page, place: Place) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(json={"store": "refuses-writes", "why": "its memory is full"})

    await page.route("**/store", refuse)
    await to_desk(page, place)
    await page.context.add_cookies(place.colleague["cookies"])
    await page.fill(BODY, "Whose words?")
    await page.press(BODY, "Control+Enter")
    await seen(page, "#who", "#store")
    await page.click(".who")
    await seen(page, "#menu")


@sight("/desk/blogs/{slug}", "a blog, a conflict in the edit")
async def conflict(page: Page, place: Place) -> None:
    await to_desk(page, place)
    entry = await place.editor.publish(place.slug, "The first text.", headline="Before")
    await page.click(f"#{entry['id']} [data-do=edit]")
    await page.fill("#edit [name=body]", "My version.")
    await place.editor.edit(entry, body="Their version.")
    await page.press("#edit [name=body]", "Control+Enter")
    await seen(page, "#edit .theirs textarea")


@sight("/desk/blogs/{slug}", "earlier entries of a blog, nothing kept", often=False)
async def older(page: Page, place: Place) -> None:
    await page.add_init_script("Object.defineProperty(window, 'indexedDB', {value: null})")
    await page.goto(f"{place.desk()}?before={place.entries[-1]['id']}")
    await page.wait_for_selector(LIVE)
    await seen(page, "#compose .unkept", "#newest")


@sight("/desk/blogs/{slug}", "an ended blog", often=False)
async def ended(page: Page, place: Place) -> None:
    await page.goto(place.desk(place.ended))
    await unfold(page, ".desk-side .panel summary")
    await seen(page, "#reopen button")


@sight("/desk/blogs/{slug}", "a damaged blog")
async def damaged(page: Page, place: Place) -> None:
    await page.goto(place.desk(place.damaged))
    await seen(page, "#lost-header", "#damaged")


@sight("/desk/blogs/{slug}", "a header's conflict, without scripts")
async def header_conflict(page: Page, place: Place) -> None:
    await to_desk(page, place)
    await page.click("#header-panel summary")
    await page.fill("#header [name=dek]", "My dek.")
    await place.editor.alter(place.slug, dek=f"Their dek {os.urandom(4).hex()}.")
    await send_plainly(page, "#header")
    await seen(page, "#header .conflict .theirs")


@sight("/desk/blogs/{slug}/entries/{id}", "an entry, rejected, its panels open")
async def entry(page: Page, place: Place) -> None:
    await page.goto(f"{place.desk()}/entries/{place.entries[0]['id']}")
    await page.fill("#edit [name=headline]", "h" * 301)
    await page.click("#edit .primary")
    await seen(page, "#edit [data-reason=headline]:not([hidden])")
    await unfold(page, "#edit-panel > .panel summary, #edit summary")


@sight("/desk/blogs/{slug}/entries/{id}", "a draft's conflict, without scripts")
async def entry_conflict(page: Page, place: Place) -> None:
    draft = await place.editor.publish(place.slug, "First.", status="draft", byline=["Ana"])
    await page.goto(f"{place.desk()}/entries/{draft['id']}")
    await page.fill("#edit [name=body]", "Mine.")
    await place.editor.edit(draft, body="Theirs.", byline=["Bo"])
    await send_plainly(page, "#edit")
    await seen(page, "#edit .conflict .theirs")


@sight(
    "/desk/blogs/{slug}/entries/{id}", "an entry, deleted meanwhile, without scripts", often=False
)
async def entry_deleted(page: Page, place: Place) -> None:
    draft = await place.editor.publish(place.slug, "First.", status="draft")
    await page.goto(f"{place.desk()}/entries/{draft['id']}")
    await place.editor.delete(draft)
    await page.fill("#edit [name=body]", "Mine.")
    await send_plainly(page, "#edit")
    await expect(page.locator("#edit-title")).to_have_text("Deleted while you were editing")


@sight("/desk/blogs/{slug}/entries/{id}", "a retracted entry", often=False)
async def retracted(page: Page, place: Place) -> None:
    entry = await place.editor.publish(place.slug, "It was wrong.")
    await place.editor.edit(entry, status="retracted", note="A false account.")
    await page.goto(f"{place.desk()}/entries/{entry['id']}")
    await seen(page, "#retract button")


@sight("/desk/blogs/{slug}/bin", "the bin")
async def bin_(page: Page, place: Place) -> None:
    await page.goto(f"{place.desk()}/bin")
    await unfold(page, "#bin summary")
    await seen(page, "#bin .danger")


@sight("/desk/blogs/{slug}/header/revisions", "earlier headers")
async def headers(page: Page, place: Place) -> None:
    await page.goto(f"{place.desk()}/header/revisions")
    await unfold(page, ".panel summary")
    await seen(page, "#erase .danger")


@sight("/desk/blogs/{slug}/preview", "the preview of a blog")
async def preview(page: Page, place: Place) -> None:
    await page.goto(f"{place.desk()}/preview")
    await seen(page, "[role=feed] article")


@sight("/desk/blogs/{slug}", "a problem: someone else is signed in")
async def other_editor(page: Page, place: Place) -> None:
    await to_desk(page, place)
    await page.fill(BODY, "Whose words?")
    await page.context.add_cookies(place.colleague["cookies"])
    await send_plainly(page, "#compose")
    await expect(page.locator("h1")).to_have_text("Someone else is signed in")


@sight("/desk/blogs/{slug}", "a problem: signed out", often=False)
async def signed_out(page: Page, place: Place) -> None:
    await to_desk(page, place)
    await page.fill(BODY, "My words.")
    await page.context.clear_cookies()
    await send_plainly(page, "#compose")
    await expect(page.locator("h1")).to_have_text("You are signed out")


@sight("/desk/blogs/{slug}", "a problem: no such blog", often=False)
async def unknown(page: Page, place: Place) -> None:
    await page.goto(place.desk("no-such-blog"))
    await expect(page.locator("h1")).to_have_text("Not found")
