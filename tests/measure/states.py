"""Seconds until a server shows each condition of its store, and that the condition has ended.

Each condition of kit/conditions.py is made in a real Redis and in a real Valkey, and cured. The
figures are the times until `/readyz`, `/metrics`, the answer to the desk, the log and the desk's
line in Chromium all show the condition, and until all but the log show the cured store. During each
condition an editor publishes, by the API and on the desk. The last figures count answers that deny
what was stored, answers without a 2xx or a denial when nothing was stored, and changes of the desk's
line beyond one at the start and one at the end of a condition.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from kit.conditions import (
    CONDITIONS,
    UP,
    Condition,
    Conditioned,
    conditioned,
    says_desk,
    says_log,
    says_metric,
    says_ready,
)
from kit.contents import contents
from kit.figure import Figure
from kit.servers import Editor, Server, serving
from kit.stores import FLAVOURS, binary_of
from kit.waiting import until
from kit.windows import add_editor, chromium, open_desk, window
from playwright.async_api import Page, expect

SAID_MAX_S = 3.0
WITHIN_S = 30.0
COUNT_CHANGES = """() => {
  window.observer?.disconnect();
  window.changes = 0;
  window.observer = new MutationObserver(() => { window.changes += 1; });
  window.observer.observe(document.querySelector('#store'), {childList: true});
}"""

Said = Callable[[], Any]  # a condition for `until`


class Shown(NamedTuple):
    """Holds the times until all places showed a condition and its end.

    `is_wrong`: publishing was answered wrongly. `flickers`: changes of the desk's line too many.
    """

    name: str
    begun_s: float
    ended_s: float
    is_wrong: bool
    flickers: int


async def figures() -> AsyncIterator[Figure]:
    wrong = flickers = 0
    for flavour in FLAVOURS:
        async for shown in _conditions(flavour):
            wrong += shown.is_wrong
            flickers += shown.flickers
            yield Figure(f"{flavour}, {shown.name}: shown by all", SAID_MAX_S, shown.begun_s, " s")
            yield Figure(f"{flavour}, {shown.name}: end shown", SAID_MAX_S, shown.ended_s, " s")
    yield Figure("publishing answered wrongly while a store refuses writes", 0, wrong)
    yield Figure("changes of the desk's line too many", 0, flickers)


async def _conditions(flavour: str) -> AsyncIterator[Shown]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(conditioned(folder, binary_of(flavour)))
        settings = {"REDIS_URL": store.url, "LIVEBLOG_DURABILITY": "disk"}
        server = stack.enter_context(serving(folder / "server.log", **settings))
        editor = await stack.enter_async_context(server.editor())
        browser = await stack.enter_async_context(chromium(is_shell=True))
        await add_editor(server)
        slug = str((await editor.blog())["slug"])
        page = await stack.enter_async_context(window(browser))
        await open_desk(page, server, slug)
        for condition in CONDITIONS:
            yield await _one(condition, store, server, editor, page, slug)


async def _one(
    condition: Condition,
    store: Conditioned,
    server: Server,
    editor: Editor,
    page: Page,
    slug: str,
) -> Shown:
    since = len(server.said())
    await page.evaluate(COUNT_CHANGES)
    await condition.begin(store)
    begun_s = await _seconds_until(
        lambda: says_ready(server, condition),
        lambda: says_metric(server, condition),
        lambda: says_desk(server, slug, condition),
        lambda: says_log(server, condition, since),
        lambda: _line_says(page, condition.sentence),
    )
    is_wrong = condition.is_refusal and await _is_answered_wrongly(store, editor, slug)
    await _publish_on_the_desk(page, condition)
    await condition.end(store)
    ended_s = await _seconds_until(
        lambda: says_ready(server, UP),
        lambda: says_metric(server, UP),
        lambda: says_desk(server, slug, UP),
        lambda: _line_says(page, ""),
    )
    changes = int(await page.evaluate("window.changes"))
    flickers = max(0, changes - 2 * bool(condition.sentence))
    return Shown(condition.name, begun_s, ended_s, is_wrong, flickers)


async def _seconds_until(*said: Said) -> float:
    """Return the time until the last of the places shows the state."""
    started = time.monotonic()
    await asyncio.gather(*(until(each, WITHIN_S) for each in said))
    return time.monotonic() - started


async def _publish_on_the_desk(page: Page, condition: Condition) -> None:
    """Publish by the form and wait for two more answers about the store's state.

    While the store refuses writes, the desk must say that the text is not stored.
    """
    if condition.is_refusal and condition.name != "no SUBSCRIBE":
        await page.fill("#compose [name=body]", f"Written with {condition.name}.")
        await page.click("#compose button.primary")
        await expect(page.locator("#queue")).to_contain_text("The request was not stored.")
    for _ in range(2):
        await page.wait_for_event("response", lambda it: it.url.endswith("/store"))


async def _line_says(page: Page, sentence: str) -> bool:
    line = page.locator("#store")
    if not sentence:
        return await line.is_hidden()
    return sentence in await line.inner_text()


async def _is_answered_wrongly(store: Conditioned, editor: Editor, slug: str) -> bool:
    async with store.client() as admin:
        before = await contents(admin)
        answer = await editor("POST", f"/{slug}/entries", {"body": "The council votes."})
        is_stored = await contents(admin) != before
    if answer.is_success:
        return not is_stored
    return bool(answer.json()["type"].endswith("/store-refuses")) == is_stored
