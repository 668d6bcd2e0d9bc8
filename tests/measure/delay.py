"""Measure the time from an editor's key press to the painted change in a reader's window; print a table.

    make delay

Two windows of one Chromium and one server with the embedded store run on this machine, so the figures include all but
the network. The clock starts at the key press or click at the desk, and stops when the reader's window has painted.
"""

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from kit.servers import Editor, Server, serving
from kit.waiting import until
from kit.windows import add_editor, chromium, open_desk, open_page, window
from playwright.async_api import Page, expect

TIMES = 30

# JavaScript for the present time in ms since 1970. The desk notes the time of a key press or click,
# the reader's page the time after painting.
NOW = "performance.timeOrigin + performance.now()"
WATCH_DESK = f"""for (const kind of ['keydown', 'click'])
    addEventListener(kind, () => {{ window.started = {NOW} }}, true)"""
WATCH_PAGE = f"""new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => {{
    window.painted ??= {NOW} }}))).observe(document.querySelector('main'), {{ subtree: true, childList: true }})"""


async def delay_ms(desk: Page, page: Page, act: Any) -> float:
    """Return the milliseconds from the start of `act` to its effect on the page."""
    await page.evaluate("window.painted = undefined")
    await act()
    painted = await until(lambda: page.evaluate("window.painted"))
    return float(painted) - float(await desk.evaluate("window.started"))


async def publish(desk: Page) -> None:
    await desk.press("#compose [name=body]", "Control+Enter")


async def measure(desk: Page, page: Page, editor: Editor, slug: str) -> dict[str, list[float]]:
    delays: dict[str, list[float]] = {"publish": [], "edit": [], "pin": [], "delete": []}
    for n in range(TIMES):
        await desk.fill("#compose [name=headline]", f"Entry {n}")
        await desk.fill(
            "#compose [name=body]", "The river rose above the second mark at noon. " * 8
        )
        delays["publish"].append(await delay_ms(desk, page, lambda: publish(desk)))
        await expect(desk.locator("#compose [name=body]")).to_have_value("")
        first = desk.locator("[role=feed] article").first
        await first.locator("[data-do=edit]").click()
        await desk.fill("#edit [name=headline]", f"Entry {n}, edited")
        save = desk.locator("#edit button.primary")
        delays["edit"].append(await delay_ms(desk, page, save.click))
        await expect(desk.locator("#editing")).to_be_hidden()
        pin = first.get_by_role("button", name="Pin", exact=True)
        delays["pin"].append(await delay_ms(desk, page, pin.click))
        await first.get_by_role("button", name="Unpin").wait_for()
        delete = first.locator("[data-do=delete] button")
        delays["delete"].append(await delay_ms(desk, page, delete.click))
        await expect(desk.locator("[role=feed] article")).to_have_count(0)
    return delays


def table(delays: dict[str, list[float]]) -> str:
    rows = [f"{'':10}{'median ms':>10}{'p90':>8}{'max':>8}"]
    for name, values in delays.items():
        ranked = sorted(values)
        p90 = ranked[len(ranked) * 9 // 10]
        rows.append(f"{name:10}{statistics.median(ranked):10.0f}{p90:8.0f}{ranked[-1]:8.0f}")
    return "\n".join(rows)


async def run(server: Server) -> None:
    await add_editor(server)
    async with server.editor() as editor, chromium() as browser:
        slug = (await editor.blog())["slug"]
        async with window(browser) as desk, window(browser) as page:
            await open_desk(desk, server, slug)
            await open_page(page, server, slug)
            await desk.evaluate(WATCH_DESK)
            await page.evaluate(WATCH_PAGE)
            print(table(await measure(desk, page, editor, slug)))


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch) / "log", DATA_DIR=f"{scratch}/data") as server,
    ):
        asyncio.run(run(server))


if __name__ == "__main__":
    main()
