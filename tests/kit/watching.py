"""A page in Chromium as a reader of the fault tests, compared with the store."""

from functools import partial

from playwright.async_api import Page

from kit.stage import RECONNECT_S, Show
from kit.waiting import until

ARTICLES = "all => all.map(it => [it.id, Number(it.dataset.offset)])"


async def holds_what_the_store_does(page: Page, show: Show) -> bool:
    """Return whether the feed has exactly the store's entries, from the page's lowest order on."""
    feed = await page.eval_on_selector_all("[role=feed] article", ARTICLES)
    lowest = int(await page.get_attribute("main", "data-lowest") or 0)
    living = [it for it in show.kept.entries().values() if not it.get("deleted")]
    newest_first = sorted(living, key=lambda it: -int(it["order"]))
    expected = [[it["id"], it["offset"]] for it in newest_first if it["order"] >= lowest]
    return bool(feed == expected)


async def stays_in_step(page: Page, show: Show) -> None:
    """Wait after the fault until a page holds the store's entries, without ever reloading."""
    await show.converged()
    await show.newsroom.rest()
    await until(partial(holds_what_the_store_does, page, show), RECONNECT_S)
    assert await page.evaluate("window.sameDocument === true")
    show.newsroom.resume()
