"""Take pictures of page and desk with the sample blog, and record the README's animation.

The pictures show phone and desktop, light and dark, and a page in Arabic. The animation is made by
`measure.motion`. Run by `make screenshots`; `--only motion` or `--only pictures` makes a part.
"""

import argparse
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

from measure import motion

HEADLINE = "Out of quarantine"
TEXT = """The crew leave the Lunar Receiving Laboratory **a day early**, doctors say.

- No sign of any illness
- A parade in New York on Wednesday"""


async def shoot(browser: Browser, server: Server, size: str, scheme: Any) -> None:
    async with window(browser, viewport=SIZES[size], color_scheme=scheme) as page:
        await page.goto(server.url + DEMO)
        await page.wait_for_selector(".when [data-share]")
        await page.screenshot(path=SCREENSHOTS / f"page-{size}-{scheme}.png")
        await open_desk(page, server, "apollo-11-quarantine")
        await page.fill("#compose [name=headline]", HEADLINE)
        await page.fill("#compose [name=body]", TEXT)
        if size == "desktop":
            await page.wait_for_selector("#compose .shown li")
        await page.screenshot(path=SCREENSHOTS / f"desk-{size}-{scheme}.png")


async def shoot_arabic(browser: Browser, url: str, size: str) -> None:
    async with window(browser, viewport=SIZES[size]) as page:
        await page.goto(url)
        await page.wait_for_selector(SETTLED)
        await page.screenshot(path=SCREENSHOTS / f"page-{size}-rtl.png")


async def take_pictures(browser: Browser, server: Server) -> None:
    await fill_demo(server)
    async with server.editor() as editor:
        paths = await fill_football(editor, "ar")
    SCREENSHOTS.mkdir(exist_ok=True)
    for size in SIZES:
        for scheme in SCHEMES:
            await shoot(browser, server, size, scheme)
        await shoot_arabic(browser, server.url + paths["reader page"], size)


async def run(server: Server, data_dir: str, only: str | None) -> None:
    await add_editor(server)
    async with chromium() as browser:
        if only != "pictures":
            await motion.record(browser, server, data_dir)
        if only != "motion":
            await take_pictures(browser, server)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of README and docs.")
    parser.add_argument("--only", choices=("motion", "pictures"), help="make a part")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = f"{scratch}/data"
        with serving(Path(scratch) / "log", DATA_DIR=data_dir) as server:
            asyncio.run(run(server, data_dir, only))


if __name__ == "__main__":
    main()
