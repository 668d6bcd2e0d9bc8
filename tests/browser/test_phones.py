"""Pages on phones, with wrong clocks, and during deploys: unlocking, relative times, new releases."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from kit.proxy import Proxy
from kit.servers import Editor, Server
from kit.waiting import until
from kit.windows import (
    AT_ONCE,
    PLAY,
    filled,
    hide,
    open_desk,
    open_page,
    scroll_to,
    serve_clip,
    sign_in,
    top,
    window,
)
from playwright.async_api import Browser, Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Lists the page's WebSockets, in the order of opening.
SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    window.sockets.push(this);
  }
};
"""
OPEN, CLOSED = "it => it.readyState < 2", "it => it.readyState >= 2"
TRY_MS = 1_500


def state(page: Page) -> Any:
    return page.locator("#status > span").first


async def count(page: Page, which: str) -> int:
    return int(await page.evaluate(f"window.sockets.filter({which}).length"))


# -- unlocking


@pytest_asyncio.fixture(loop_scope="session")
async def network(server: Server) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def phone(reader: Page, network: Proxy, editor: Editor) -> Page:
    """Return a live page whose clock the test can set; `slug` is its blog."""
    await reader.add_init_script(SOCKETS)
    await reader.clock.install()
    slug = await filled(editor, entries=1)
    await reader.goto(f"http://127.0.0.1:{network.port}/blogs/{slug}")
    await reader.wait_for_selector("#status[data-state=live]")
    return reader


def slug_of(page: Page) -> str:
    return page.url.rpartition("/")[2]


async def test_a_dead_stream_is_replaced_when_the_phone_is_unlocked(
    phone: Page, network: Proxy, editor: Editor
) -> None:
    """The first try after the unlock hangs, since the network returns later."""
    await hide(phone, is_hidden=True)
    with network.half_open():
        await phone.clock.fast_forward(3_000)  # more than half a heartbeat of 2 s
        await hide(phone, is_hidden=False)
        await expect(state(phone)).to_have_text("Connecting")
        assert await count(phone, OPEN) == 2
        await editor.publish(slug_of(phone), headline="Meanwhile")
    await phone.clock.run_for(TRY_MS)
    await expect(phone.get_by_role("heading", name="Meanwhile")).to_have_count(1)
    await expect(state(phone)).to_have_text("Live")
    await until(lambda: _has_one(phone))
    assert await count(phone, CLOSED) >= 2  # the dead connection, and the try that hung


async def test_a_stream_is_replaced_when_a_laptop_wakes_with_the_page_in_sight(
    phone: Page, network: Proxy, editor: Editor
) -> None:
    with network.half_open():
        await editor.publish(slug_of(phone), headline="During the sleep")
    await phone.clock.fast_forward(3_600_000)
    await expect(phone.get_by_role("heading", name="During the sleep")).to_have_count(1)
    await expect(state(phone)).to_have_text("Live")
    await until(lambda: _has_one(phone))


async def _has_one(page: Page) -> bool:
    return await count(page, OPEN) == 1


# -- clocks and zones


@pytest.mark.parametrize("hours", [3, -3])
async def test_times_are_right_from_the_first_frame_when_the_clock_is_wrong(
    server: Server, editor: Editor, reader: Page, hours: int
) -> None:
    slug = await filled(editor, entries=1)
    shift = f"const real = Date.now; Date.now = () => real() + {hours} * 3_600_000;"
    await reader.add_init_script(shift)
    await open_page(reader, server, slug)
    assert (await reader.locator("article .when").inner_text()).startswith("now / ")


async def test_a_reader_is_offered_no_own_time_when_the_browser_knows_no_zone(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1, timezone="America/New_York")
    await reader.add_init_script("""
      localStorage.setItem('liveblog:zone', 'true');
      const { resolvedOptions } = Intl.DateTimeFormat.prototype;
      Intl.DateTimeFormat.prototype.resolvedOptions = function () {
        return { ...resolvedOptions.call(this), timeZone: 'Etc/Unknown' };
      };
    """)
    await open_page(reader, server, slug)
    await expect(reader.locator("#zone")).to_be_hidden()
    await expect(reader.locator("article .when")).to_have_text(re.compile(r"now / .* E[DS]T"))
    await expect(reader.locator("article .date")).to_be_hidden()


# -- deploys

OLD = "00000000"
LOADED_AGAIN = "() => !window.sameDocument"


class Release:
    """Replaces the version in copies of a page, as if servers of an old release sent them.

    The first copies, at most `copies`, are old. `fetched` counts the copies that scripts requested.
    """

    def __init__(self, copies: int) -> None:
        self.copies, self.fetched = copies, 0

    async def answer(self, route: Any) -> None:
        answer = await route.fetch()
        text = await answer.text()
        if self.copies:
            text = re.sub(r'data-version="\w+"', f'data-version="{OLD}"', text)
        self.copies = max(0, self.copies - 1)
        await route.fulfill(response=answer, body=text)
        self.fetched += route.request.resource_type == "fetch"


async def open_old(page: Page, server: Server, slug: str, copies: int) -> Release:
    """Open a page of an old release, with a clock that the test can set."""
    release = Release(copies)
    await page.add_init_script(AT_ONCE)
    await page.clock.install()
    await page.route(f"**/blogs/{slug}*", release.answer)
    await open_page(page, server, slug)
    return release


async def _is_loaded_again(page: Page) -> bool:
    return bool(await page.evaluate(LOADED_AGAIN))


async def test_a_hidden_page_changes_once_to_a_new_release_and_keeps_its_place(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=8)
    release = await open_old(reader, server, slug, copies=1)
    before = await top(await scroll_to(reader, "Entry 3"))
    await hide(reader, is_hidden=True)
    await reader.wait_for_function(LOADED_AGAIN)
    await reader.wait_for_selector("#status[data-state=live]")
    paragraph = reader.locator("article", has_text="Entry 3").locator("p").last
    await until(lambda: _is_at(paragraph, before))
    assert await reader.get_attribute("main", "data-version") != OLD
    await reader.evaluate("window.sameDocument = true")
    await hide(reader, is_hidden=True)
    await reader.clock.run_for(3_000)
    assert (release.fetched, await _is_loaded_again(reader)) == (1, False)


async def _is_at(element: Any, y: float) -> bool:
    return abs(await top(element) - y) <= 1


async def test_a_page_stays_while_a_fetched_copy_has_its_old_version(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    release = await open_old(reader, server, slug, copies=99)
    await hide(reader, is_hidden=True)
    await until(lambda: release.fetched)
    await reader.clock.run_for(60_000)
    assert (release.fetched, await _is_loaded_again(reader)) == (1, False)
    await reader.clock.fast_forward(300_000)
    await until(lambda: release.fetched == 2)
    assert not await _is_loaded_again(reader)


async def test_a_page_in_sight_changes_after_a_minute_without_input_and_playback(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await serve_clip(reader)
    release = await open_old(reader, server, slug, copies=1)
    await reader.locator("article").evaluate(PLAY)
    await reader.clock.run_for(61_000)
    await reader.evaluate("document.querySelector('video').pause()")
    await reader.keyboard.press("Shift")
    await reader.clock.run_for(58_000)
    assert release.fetched == 0
    await reader.clock.run_for(4_000)
    await reader.wait_for_function(LOADED_AGAIN)


async def test_a_paused_page_stays_when_there_is_a_new_release(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    release = await open_old(reader, server, slug, copies=1)
    await reader.get_by_role("button", name="Pause live updates").click()
    await hide(reader, is_hidden=True)
    await reader.clock.run_for(10_000)
    assert release.fetched == 0


async def test_the_desk_offers_a_new_release_and_never_loads_by_itself(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug = await filled(editor, entries=1)
    release = Release(copies=1)
    await sign_in(desk, server)
    await desk.route(f"**/desk/blogs/{slug}", release.answer)
    await desk.goto(f"{server.url}/desk/blogs/{slug}")
    await desk.evaluate("window.sameDocument = true")
    await desk.fill("#compose [name=body]", "Half a sentence")
    offer = desk.get_by_text("A new version of this page is ready")
    await expect(offer).to_be_visible()
    assert not await _is_loaded_again(desk)
    await desk.get_by_role("link", name="Reload").click()
    await expect(offer).to_be_hidden()
    await expect(desk.locator("#compose [name=body]")).to_have_value("Half a sentence")


async def test_the_desk_warns_of_lost_changes_again_when_the_store_is_back(
    browser: Browser, server: Server, editor: Editor
) -> None:
    slug = await filled(editor, entries=1)
    states = ["older", "down", "up"]

    async def answer(route: Any) -> None:
        await route.fulfill(json={"store": states[0]})

    async with window(browser) as desk:
        await desk.route("**/store", answer)
        await desk.clock.install()
        await open_desk(desk, server, slug)
        for shown in ("older version", "unavailable", "older version"):
            await desk.clock.run_for(3_000)
            await expect(desk.locator("#store")).to_contain_text(shown)
            states[:-1] = states[1:-1]
