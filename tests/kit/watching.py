"""Compares a reader's page in Chromium with the store, during and after a fault."""

from functools import partial

from playwright.async_api import Page

from kit.stage import RECONNECT_S, Show
from kit.waiting import until

ARTICLES = "all => all.map(it => [it.id, Number(it.dataset.offset)])"


async def holds_what_the_store_does(page: Page, show: Show) -> bool:
    """Return whether the page shows exactly the store's entries.

    Entries older than the page's range are left out: their `order`, the offset at which they were
    first published, is below `data-lowest`.
    """
    feed = await page.eval_on_selector_all("[role=feed] article", ARTICLES)
    lowest = int(await page.get_attribute("main", "data-lowest") or 0)
    living = [it for it in show.kept.entries().values() if not it.get("deleted")]
    newest_first = sorted(living, key=lambda it: -int(it["order"]))
    expected = [[it["id"], it["offset"]] for it in newest_first if it["order"] >= lowest]
    return bool(feed == expected)


async def stays_in_step(page: Page, show: Show) -> None:
    """Wait after the fault until a page shows the store's entries.

    Fails when the page was reloaded. Editors pause meanwhile.
    """
    await show.converged()
    await show.newsroom.rest()
    await until(partial(holds_what_the_store_does, page, show), RECONNECT_S)
    assert await page.evaluate("window.sameDocument === true")
    show.newsroom.resume()
