"""Browser windows for tests and for the commands beside them: a real Chromium, a real server, people who sign in."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from servers import Server

from liveblog.accounts import Accounts
from liveblog.nodes import connect

# Containers have no user namespaces for Chromium's sandbox, and no network for its own errands.
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
WAIT_MS = 15_000
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
async def chromium() -> AsyncIterator[Browser]:
    """Yield the system's Chromium, else the one that `playwright install` brought."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=system_chromium(), args=[*ARGUMENTS]
        )
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def window(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """Yield a page in a context of its own. Whatever its scripts complain about fails the block."""
    context: BrowserContext = await browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: _note(said, complaints))
    try:
        yield page
    finally:
        async with asyncio.timeout(CLOSE_S):
            await context.close()
    assert not complaints


def _note(said: Any, complaints: list[str]) -> None:
    # A server that is down on purpose, and a refused answer, are logged by the browser itself.
    harmless = ("ERR_CONNECTION", "WebSocket connection", "status of")
    if said.type in ("error", "warning") and not any(it in said.text for it in harmless):
        complaints.append(said.text)


async def add_editor(server: Server, name: str = "dana", role: Any = "editor") -> None:
    async with connect(server.store_url) as client:
        await Accounts(client).add_user(name, PASSWORD, role)


async def sign_in(page: Page, server: Server, name: str = "dana") -> None:
    await page.goto(f"{server.url}/desk/sign-in")
    await page.fill("[name=name]", name)
    await page.fill("[name=password]", PASSWORD)
    await page.click("#sign-in button")
    await page.wait_for_url(f"{server.url}/desk")


async def open_desk(page: Page, server: Server, slug: str) -> None:
    """Sign in and open a blog's desk, live."""
    await sign_in(page, server)
    await page.goto(f"{server.url}/desk/blogs/{slug}")
    await page.wait_for_selector("#status[data-state=live]")


async def open_page(page: Page, server: Server, slug: str) -> None:
    """Open a reader's page, live; a mark on the window shows later that it was never loaded again."""
    await page.goto(f"{server.url}/blogs/{slug}")
    await page.wait_for_selector("#status[data-state=live]")
    await page.evaluate("window.sameDocument = true")


async def headlines(page: Page) -> list[str]:
    """Return the feed's headlines from the top."""
    texts: list[str] = await page.eval_on_selector_all(
        "[role=feed] article", "all => all.map(it => it.querySelector('h3')?.innerText ?? '')"
    )
    return texts


SCREENSHOTS = Path(__file__).parent / "browser" / "screenshots"
