"""The evening of an editor at the desk, with scripts and without.

`make engines` spends the same evening in Firefox and WebKitGTK.
"""

import pytest
from kit.engines import Chromium, Tab
from kit.evening import STEPS, Evening, spend
from kit.proxy import Proxy
from kit.servers import Editor, Server
from kit.windows import SIZES, sign_in, window
from playwright.async_api import Browser, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_readers_have_every_word_at_the_end_of_an_editors_evening(
    browser: Browser, server: Server, editor: Editor
) -> None:
    proxy = Proxy(server.port)
    await proxy.start()
    async with window(browser, expected=r"net::ERR_", viewport=SIZES["desktop"]) as page:
        tab = Tab(Chromium(page, browser.version))
        evening = Evening(tab, f"http://127.0.0.1:{proxy.port}", proxy, editor)
        steps = [it async for it in spend(evening)]
    await proxy.stop()
    assert [it.name for it in steps] == [*STEPS, "what readers have"]
    assert [it["body"] for it in steps[-1].seen["entries"]] == [
        "Its answer was lost.",
        "Second without a network.",
        "First without a network.",
        "After the session.",
        "Typed in the first tab.",
        "Their words. And mine.",
    ]


async def test_a_whole_evening_is_possible_without_javascript(
    browser: Browser, server: Server, editor: Editor
) -> None:
    async with window(browser, java_script_enabled=False) as page:
        notice, articles = page.locator("#notice"), page.locator("[role=feed] article")
        await sign_in(page, server)
        if not await page.is_visible("#new"):
            await page.click("summary:text('New blog')")
        await page.fill("#new [name=title]", "An evening without scripts")
        await page.select_option("#new [name=status]", "live")
        await page.click("#new .primary")
        await expect(notice).to_contain_text("Blog created.")
        slug = page.url.partition("?")[0].rpartition("/")[2]
        await page.fill("#compose [name=body]", "Published **first**.")
        await page.click("#compose .primary")
        await expect(notice).to_have_text("Published.")
        await articles.locator("+ .desk-actions a", has_text="Edit").click()
        await page.fill("#edit [name=body]", "Edited.")
        await page.select_option("#edit [name=note_kind]", "correction")
        await page.fill("#edit [name=note]", "It was wrong.")
        await page.click("#edit .primary")
        await expect(notice).to_have_text("Saved.")
        await expect(articles.locator(".note")).to_have_text("Correction: It was wrong.")
        for way in ("Undo", "Bin"):
            await page.click(".desk-actions button:text('Delete')")
            await expect(notice).to_contain_text("Deleted.")
            await expect(articles).to_have_count(0)
            if way == "Bin":
                await page.click(".row-head a:text('Bin')")
            await page.click("#bin button:text('Restore'), #notice button:text('Undo')")
            await expect(notice).to_have_text("Restored.")
            await expect(articles.locator(".body")).to_have_text("Edited.")
        await page.click("summary:text('End coverage')")
        await page.click("#end .primary")
        await expect(notice).to_have_text("Coverage has ended.")
        await page.fill("#compose [name=body]", "Too late.")
        await page.click("#compose .primary")
        await expect(page.locator("#compose > .reason.whole")).to_be_visible()
        await expect(page.locator("#compose [name=body]")).to_have_value("Too late.")
        await page.click(".who")
        await page.click("#menu button:text('Sign out')")
        await expect(page.locator("h1")).to_have_text("Sign in")
    assert (await editor.ok("GET", f"/{slug}"))["status"] == "ended"
    assert [it["body"] for it in await editor.entries(slug)] == ["Edited."]
