"""Browser windows for tests and measurements: a real Chromium, a real server, signed-in editors."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    async_playwright,
    expect,
)

from kit.servers import Editor, Server
from kit.waiting import SCALE
from liveblog.clock import now_ms
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect

# In a container, Chromium's sandbox lacks user namespaces, and Chromium's background services lack
# the network. These switches turn both off.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD = "correct horse battery"
WAIT_MS = 15_000 * SCALE
expect.set_options(timeout=WAIT_MS)
SETTLED = "#status:is([data-state=live], [data-state=ended])"
SIZES: dict[str, Any] = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 390, "height": 844},
}
SCHEMES: tuple[Any, ...] = ("light", "dark")
CLOSE_S = 20.0


def system_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextlib.asynccontextmanager
async def chromium(
    *, is_shell: bool = False, without: Sequence[str] = (), more: Sequence[str] = ()
) -> AsyncIterator[Browser]:
    """Yield the system's Chromium, otherwise the one of `playwright install`.

    With `is_shell`, prefer Chromium's headless shell: the same engine without the code of a user
    interface. Opening a blog's page takes 0.5 s of CPU time in the shell, 1.0 s in the whole
    browser. The shell has no back/forward cache. `without` names arguments that Playwright adds by
    default and should leave out; `more` are further arguments.
    """
    shell = shutil.which("chromium-headless-shell") if is_shell else None
    found = shell or system_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found,
            channel=None if found or is_shell else "chromium",  # else Playwright starts its shell
            args=[*ARGUMENTS, *more],
            ignore_default_args=[*without],
        )
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def window(
    browser: Browser, *, expected: str = "(?!)", **options: Any
) -> AsyncIterator[Page]:
    """Yield a page in its own browser context, so without cookies of other tests.

    Raises AssertionError at the end when a script logged an error or warning that the pattern
    `expected` does not match.
    """
    context: BrowserContext = await browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: note_complaint(message, complaints))
    try:
        yield page
    finally:
        async with asyncio.timeout(CLOSE_S):
            await context.close()
    unexpected = [it for it in complaints if not re.search(expected, it)]
    assert not unexpected, unexpected


def note_complaint(message: Any, complaints: list[str]) -> None:
    # The browser itself logs failed requests. Tests cause them on purpose, so they are no faults.
    harmless = ("net::ERR_", "WebSocket connection", "status of")
    if message.type in ("error", "warning") and not any(it in message.text for it in harmless):
        complaints.append(message.text)


async def add_editor(server: Server, name: str = "dana", role: Any = "editor") -> None:
    async with connect(server.store_url) as client:
        await Accounts(client, now_ms).people.add(name, PASSWORD, role)


async def session(server: Server, name: str) -> Any:
    """Return a session of a user, for the option `storage_state` of a window."""
    async with connect(server.store_url) as client:
        accounts = Accounts(client, now_ms)
        caller = await accounts.check_password(name, PASSWORD)
        assert caller
        secret = await accounts.open_session(caller)
    where = {"domain": "127.0.0.1", "path": "/", "expires": -1}
    how = {"httpOnly": True, "secure": False, "sameSite": "Lax"}
    return {"cookies": [{"name": "liveblog", "value": secret, **where, **how}], "origins": []}


async def sign_in(page: Page, server: Server, name: str = "dana") -> None:
    await page.goto(f"{server.url}/desk/sign-in")
    await page.fill("[name=name]", name)
    await page.fill("[name=password]", PASSWORD)
    await page.click("#sign-in button")
    await page.wait_for_url(f"{server.url}/desk")


async def open_desk(page: Page, server: Server, slug: str) -> None:
    """Sign in, open a blog's desk and wait until it is live."""
    await sign_in(page, server)
    await page.goto(f"{server.url}/desk/blogs/{slug}")
    await page.wait_for_selector("#status[data-state=live]")


async def open_page(page: Page, server: Server, slug: str) -> None:
    """Open a reader's page and wait until it is live.

    `window.sameDocument` shows tests later whether the page was reloaded.
    """
    await page.goto(f"{server.url}/blogs/{slug}")
    await page.wait_for_selector("#status[data-state=live]")
    await page.evaluate("window.sameDocument = true")


async def headlines(page: Page) -> list[str]:
    """Return the feed's headlines from the top."""
    texts: list[str] = await page.eval_on_selector_all(
        "[role=feed] article", "all => all.map(it => it.querySelector('h3')?.innerText ?? '')"
    )
    return texts


SCREENSHOTS = Path(__file__).parents[1] / "browser" / "screenshots"
CLIP = Path(__file__).parents[1] / "browser" / "clip.webm"


# -- readers' actions

PARAGRAPHS = "\n\n".join(
    f"What a reader may be in the middle of, part {n}. " * 10 for n in range(3)
)


async def filled(editor: Editor, entries: int = 8, **fields: Any) -> str:
    """Create a blog with more entries than fit a window, and return its slug.

    Entries are called "Entry 0" to, by default, "Entry 7", which is the newest.
    """
    slug = str((await editor.blog(**fields))["slug"])
    for number in range(entries):
        await editor.publish(slug, PARAGRAPHS, headline=f"Entry {number}")
    return slug


async def scroll_to(page: Page, headline: str) -> Locator:
    """Scroll an entry's text to the middle of the window; return its last paragraph, now there."""
    paragraph = page.locator("article", has_text=headline).locator("p").last
    await paragraph.evaluate("it => it.scrollIntoView({block: 'center'})")
    return paragraph


async def top(element: Locator) -> float:
    return float(await element.evaluate("it => it.getBoundingClientRect().top"))


async def hide(page: Page, *, is_hidden: bool) -> None:
    """Make the page believe that its tab is hidden, or visible again."""
    await page.evaluate(
        "is => { Object.defineProperty(document, 'hidden', {configurable: true, get: () => is});"
        " document.dispatchEvent(new Event('visibilitychange', {bubbles: true})); }",
        is_hidden,
    )


async def serve_clip(page: Page) -> None:
    """Answer the page's requests for /static/clip.webm with the video of the tests, CLIP."""

    async def answer(route: Route) -> None:
        await route.fulfill(path=CLIP, content_type="video/webm")

    await page.route("**/static/clip.webm", answer)


AT_ONCE = "Math.random = () => 0;"  # makes the page's random waits as short as possible

# Cuts the page off from the server: a heartbeat would correct the clock that a test has set.
NO_ANSWERS = "delete window.WebSocket; delete window.EventSource; window.fetch = () => new Promise(() => {});"

PLAY = """async place => {
  const video = document.createElement('video');
  Object.assign(video, {src: '/static/clip.webm', muted: true, loop: true, width: 160, height: 90});
  place.append(video);
  await video.play();
}"""


async def read_below(page: Page, server: Server, editor: Editor) -> str:
    """Open a page of 8 entries and scroll to the third from the top; return the blog's slug."""
    slug = await filled(editor)
    await open_page(page, server, slug)
    await scroll_to(page, "Entry 5")
    return slug


async def open_older(page: Page, server: Server, editor: Editor, slug: str) -> None:
    """Open the page of entries older than the 21 newest, and wait until it is live."""
    entries = await editor.entries(slug)
    await page.goto(f"{server.url}/blogs/{slug}?before={entries[20]['id']}")
    await page.wait_for_selector("#status[data-state=live]")


async def hold_first(page: Page, pattern: str) -> list[Route]:
    """Hold the first request whose URL matches a pattern.

    The returned list is empty until the page makes the request.
    """
    held: list[Route] = []

    async def hold(route: Route) -> None:
        if held:
            await route.continue_()
        else:
            held.append(route)

    await page.route(pattern, hold)
    return held


async def load_older(page: Page, *counts: int) -> None:
    """Load older entries once for each of `counts`; the feed must then have that many entries."""
    for count in counts:
        await page.locator("#older a").click()
        await expect(page.locator("[role=feed] > article")).to_have_count(count)
