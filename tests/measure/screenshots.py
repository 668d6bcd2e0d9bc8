"""Pictures of page and desk with the sample blog: phone and desktop, light and dark; and of a page in Arabic.

make screenshots
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from kit.samples import DEMO, fill_demo, fill_football
from kit.servers import Server, serving
from kit.windows import (
    SCHEMES,
    SCREENSHOTS,
    SETTLED,
    SIZES,
    add_editor,
    chromium,
    open_desk,
    window,
)
from playwright.async_api import Browser


async def shoot(browser: Browser, server: Server, size: str, scheme: Any) -> None:
    async with window(browser, viewport=SIZES[size], color_scheme=scheme) as page:
        await page.goto(server.url + DEMO)
        await page.wait_for_selector(".when [data-share]")
        await page.screenshot(path=SCREENSHOTS / f"page-{size}-{scheme}.png")
        await open_desk(page, server, "apollo-11-quarantine")
        await page.screenshot(path=SCREENSHOTS / f"desk-{size}-{scheme}.png")


async def shoot_arabic(browser: Browser, url: str, size: str) -> None:
    async with window(browser, viewport=SIZES[size]) as page:
        await page.goto(url)
        await page.wait_for_selector(SETTLED)
        await page.screenshot(path=SCREENSHOTS / f"page-{size}-rtl.png")


async def run(server: Server) -> None:
    await fill_demo(server)
    await add_editor(server)
    async with server.editor() as editor:
        paths = await fill_football(editor, "ar")
    SCREENSHOTS.mkdir(exist_ok=True)
    async with chromium() as browser:
        for size in SIZES:
            for scheme in SCHEMES:
                await shoot(browser, server, size, scheme)
            await shoot_arabic(browser, server.url + paths["reader page"], size)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch) / "log", DATA_DIR=f"{scratch}/data") as server,
    ):
        asyncio.run(run(server))


if __name__ == "__main__":
    main()
