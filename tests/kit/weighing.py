"""The cost of a reader's page in bytes and memory, and its content without scripts."""

import gzip
import re
import urllib.request
from typing import Any, Final, NamedTuple

from playwright.async_api import Browser, CDPSession, Page

from kit.windows import SETTLED, window

# Counts articles that scripts still reference, although no document and no template has them.
# `this` lists the heap's elements, but also their prototypes, which the first filter removes.
_DETACHED = """function () {
    const kept = new Set([...document.querySelectorAll('template')].map((it) => it.content));
    const elements = this.filter((it) => !Object.hasOwn(it, 'constructor'));
    return elements.filter((it) => it.localName === 'article' && !it.isConnected
        && !kept.has(it.getRootNode())).length;
}"""
MB: Final = 1_000_000


class Held(NamedTuple):
    """The memory of a page after garbage collection."""

    heap_mb: float  # memory of scripts and of the document's objects
    detached: int  # removed articles that are still in memory


async def held(page: Page) -> Held:
    session = await page.context.new_cdp_session(page)
    try:
        detached = await _detached(session)
        await session.send("HeapProfiler.collectGarbage")
        usage = await session.send("Runtime.getHeapUsage")
    finally:
        await session.detach()
    parts = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
    return Held(sum(usage[part] for part in parts) / MB, detached)


async def _detached(session: CDPSession) -> int:
    """Return how many removed articles are still in memory.

    The browser collects garbage before it counts.
    """
    prototype = await session.send(
        "Runtime.evaluate", {"expression": "HTMLElement.prototype", "objectGroup": "held"}
    )
    found = await session.send(
        "Runtime.queryObjects",
        {"prototypeObjectId": prototype["result"]["objectId"], "objectGroup": "held"},
    )
    counted = await session.send(
        "Runtime.callFunctionOn",
        {
            "objectId": found["objects"]["objectId"],
            "functionDeclaration": _DETACHED,
            "returnByValue": True,
        },
    )
    await session.send("Runtime.releaseObjectGroup", {"objectGroup": "held"})
    assert "exceptionDetails" not in counted, counted["exceptionDetails"]
    return int(counted["result"]["value"])


# -- bytes -----------------------------------------------------------------------------------------


class Weight(NamedTuple):
    """Bytes sent, without headers; each file is compressed separately with gzip."""

    scripts: int
    styles: int


async def weigh(browser: Browser, url: str) -> Weight:
    """Return the compressed bytes of the scripts and styles that a page loads until it is live."""
    asked: dict[str, set[str]] = {"script": set(), "stylesheet": set()}
    async with window(browser) as page:
        page.on("request", lambda it: asked.get(it.resource_type, set()).add(it.url))
        await page.goto(url)
        await page.wait_for_selector(SETTLED)
    return Weight(*(sum(map(zipped, urls)) for urls in asked.values()))


def zipped(url: str) -> int:
    request = urllib.request.Request(url, headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        content = answer.read()
        assert answer.headers["content-encoding"] == "gzip", url
    assert gzip.decompress(content)
    return len(content)


# -- without scripts -------------------------------------------------------------------------------


class Plain(NamedTuple):
    """The content for a reader whose browser runs no scripts."""

    ids: set[str]  # of entries
    says_how_to_refresh: bool


async def read_plainly(browser: Browser, url: str) -> Plain:
    """Read a blog from its newest page to its oldest by the links "Older updates"."""
    async with window(browser, java_script_enabled=False) as page:
        await page.goto(url)
        hint = page.get_by_text(re.compile("reload|refresh", re.IGNORECASE))
        is_told = await hint.filter(visible=True).count() > 0
        return Plain(await _all_ids(page), is_told)


async def _all_ids(page: Page) -> set[str]:
    ids = await _visible_ids(page)
    older = page.get_by_role("link", name="Older updates")
    while await older.count():
        await older.click()
        fresh = await _visible_ids(page) - ids
        assert fresh, f"nothing new at {page.url}"
        ids |= fresh
    return ids


async def _visible_ids(page: Page) -> set[str]:
    articles: Any = page.locator("[role=feed] article[id]").filter(visible=True)
    return set(await articles.evaluate_all("all => all.map(it => it.id)"))
