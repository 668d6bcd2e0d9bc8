"""Pictures of page and desk with the sample blog: phone and desktop, light and dark.

make screenshots
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser
from servers import Server, serving
from windows import SCREENSHOTS, add_editor, chromium, open_desk, window

from liveblog.accounts import Accounts
from liveblog.broker import Broker
from liveblog.demo import fill
from liveblog.nodes import connect
from liveblog.publishing import Publishing

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


async def fill_sample(server: Server) -> None:
    async with connect(server.store_url) as client:
        await fill(Publishing(Broker(client), lambda: 4_000_000_000_000), Accounts(client))


async def shoot(browser: Browser, server: Server, size: str, scheme: Any) -> None:
    width, height = SIZES[size]
    look: dict[str, Any] = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    async with window(browser, **look) as page:
        await page.goto(f"{server.url}/blogs/apollo-11")
        await page.wait_for_selector(".when [data-share]")
        await page.screenshot(path=SCREENSHOTS / f"page-{size}-{scheme}.png")
        await open_desk(page, server, "apollo-11-quarantine")
        await page.screenshot(path=SCREENSHOTS / f"desk-{size}-{scheme}.png")


async def run(server: Server) -> None:
    await fill_sample(server)
    await add_editor(server)
    SCREENSHOTS.mkdir(exist_ok=True)
    async with chromium() as browser:
        for size in SIZES:
            for scheme in ("light", "dark"):
                await shoot(browser, server, size, scheme)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch) / "log", DATA_DIR=f"{scratch}/data") as server,
    ):
        asyncio.run(run(server))


if __name__ == "__main__":
    main()
