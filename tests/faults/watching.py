"""A real page in Chromium as a reader of the fault tests: does it hold what the store does?"""

from judge import entries_in
from playwright.async_api import Page
from stage import Show

ARTICLES = "all => all.map(it => [it.id, Number(it.dataset.offset)])"


async def holds_what_the_store_does(page: Page, show: Show) -> bool:
    """Say whether the feed has each living entry of its window once, as it is in the store now."""
    feed = await page.eval_on_selector_all("[role=feed] article", ARTICLES)
    lowest = int(await page.get_attribute("main", "data-lowest") or 0)
    living = [it for it in entries_in(show.store, show.slug).values() if not it.get("deleted")]
    newest_first = sorted(living, key=lambda it: -int(it["order"]))
    expected = [[it["id"], it["offset"]] for it in newest_first if it["order"] >= lowest]
    return bool(feed == expected)
