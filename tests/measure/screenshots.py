"""Take pictures of page and desk with the sample blog, and record the README's animation.

The pictures show phone and desktop, light and dark, a page in Arabic, and what docs/desk.md
explains: unsent texts, a conflict, the bin. The animation is made by
`measure.motion`. Run by `make screenshots`; `--only motion` or `--only pictures` makes a part.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from kit.samples import DEMO, fill_demo, fill_football
from kit.servers import Editor, Server, serving
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

DESK = "apollo-11-quarantine"
GAP = 16  # CSS pixels around a part of a page
HEADLINE = "Out of quarantine"
TEXT = """The crew leave the Lunar Receiving Laboratory **a day early**, doctors say.

- No sign of any illness
- A parade in New York on Wednesday"""


async def shoot(browser: Browser, server: Server, size: str, scheme: Any) -> None:
    async with window(browser, viewport=SIZES[size], color_scheme=scheme) as page:
        await page.goto(server.url + DEMO)
        await page.wait_for_selector(".when [data-share]")
        await page.screenshot(path=SCREENSHOTS / f"page-{size}-{scheme}.png")
        await open_desk(page, server, DESK)
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


async def shoot_unsent(browser: Browser, server: Server, slug: str) -> None:
    """Show the text of a closed tab, and an entry that waits for the network."""
    async with window(browser, viewport=SIZES["desktop"]) as page:
        await open_desk(page, server, slug)
        await page.fill("#compose [name=body]", "Divers reached the module at 16:58.")
        await page.close()
        other = await page.context.new_page()
        await other.goto(f"{server.url}/desk/blogs/{slug}")
        await other.wait_for_selector("#offers li")
        await page.context.set_offline(True)
        await other.fill("#compose [name=headline]", HEADLINE)
        await other.fill("#compose [name=body]", TEXT)
        await other.click("#compose button.primary")
        await other.wait_for_selector("#queue li")
        box = await other.locator(".desk-write").bounding_box()
        assert box
        shown = {"x": box["x"] - GAP, "y": box["y"], "width": box["width"] + 2 * GAP}
        clip: Any = {**shown, "height": box["height"] + GAP}
        await other.screenshot(path=SCREENSHOTS / "desk-unsent.png", clip=clip)


async def shoot_conflict(browser: Browser, server: Server, slug: str, editor: Editor) -> None:
    """Show both texts of an entry that two editors saved."""
    made = await editor.publish(slug, TEXT, headline=HEADLINE)
    async with window(browser, viewport=SIZES["desktop"]) as page:
        await open_desk(page, server, slug)
        await page.click(f"#{made['id']} [data-do=edit]")
        await page.fill("#edit [name=body]", f"{TEXT}\n\nThey leave by car.")
        await editor.edit(made, body=f"{TEXT}\n\nTheir families wait outside.")
        await page.click("#edit button.primary")
        await page.wait_for_selector("#edit .theirs")
        await page.locator("#editing").screenshot(path=SCREENSHOTS / "desk-conflict.png")
    await editor.delete(made, takedown=True)


async def shoot_bin(browser: Browser, server: Server, slug: str) -> None:
    async with window(browser, viewport={"width": 1280, "height": 480}) as page:
        await open_desk(page, server, slug)
        await page.fill("#compose [name=body]", "The crew landed on Thursday at noon.")
        await page.click("#compose button.primary")
        await page.click("article:has-text('noon') [data-do=delete] button")
        await page.wait_for_selector("#notice [data-do=restore]")
        await page.goto(f"{server.url}/desk/blogs/{slug}/bin")
        await page.screenshot(path=SCREENSHOTS / "desk-bin.png")


async def take_pictures(browser: Browser, server: Server) -> None:
    await fill_demo(server)
    SCREENSHOTS.mkdir(exist_ok=True)
    async with server.editor() as editor:
        paths = await fill_football(editor, "ar")
        await shoot_unsent(browser, server, DESK)
        await shoot_conflict(browser, server, DESK, editor)
        await shoot_bin(browser, server, DESK)
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
