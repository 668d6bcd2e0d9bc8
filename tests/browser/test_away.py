"""A reader's page that loses its connection: the status line, and catching up after the return."""

import json
import re
from functools import partial
from typing import Any

import pytest
from kit.servers import Editor, Server
from kit.waiting import until
from kit.windows import (
    AT_ONCE,
    chromium,
    filled,
    headlines,
    hide,
    hold_first,
    load_older,
    open_page,
    scroll_to,
    serve_clip,
    top,
    window,
)
from playwright.async_api import Browser, Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_WEBSOCKET = "window.WebSocket = class { constructor() { throw new Error('blocked'); } };"
NO_EVENTS = "window.EventSource = class { constructor() { throw new Error('blocked'); } };"
# Records every text of the status line since the page was loaded.
RECORD = """
window.texts = [];
addEventListener('DOMContentLoaded', () => {
  const status = document.querySelector('#status');
  const note = () => window.texts.push(status.children[0].textContent);
  note();
  new MutationObserver(note).observe(status, {subtree: true, childList: true, characterData: true});
});
"""
# A test controls the page's sockets: `isMute` drops messages, `inject` delivers a text.
HOOK = """
window.opened = 0;
const Plain = WebSocket;
window.WebSocket = class extends Plain {
  constructor(...given) {
    if (window.isBroken) throw new Error('broken');
    super(...given);
    window.opened += 1;
    window.cut = () => this.onclose({code: 1006});
  }
  set onmessage(handler) {
    super.onmessage = (event) => window.isMute || handler(event);
    window.inject = (data) => handler({data});
  }
};
"""


async def _opened(page: Page, sockets: int) -> bool:
    return bool(await page.evaluate("window.opened") == sockets)


def status(page: Page) -> Any:
    return page.locator("#status")


def state(page: Page) -> Any:
    """Return the part of the status line about the stream, without announcements of entries."""
    return page.locator("#status > span").first


# -- the transports


@pytest.mark.parametrize(
    ("blocked", "path"),
    [("", "/live"), (NO_WEBSOCKET, "/events"), (NO_WEBSOCKET + NO_EVENTS, "/changes")],
    ids=["websocket", "events", "polling"],
)
async def test_each_transport_keeps_the_page_live_without_showing_a_loss(
    server: Server, editor: Editor, reader: Page, blocked: str, path: str
) -> None:
    slug = await filled(editor, entries=1)
    requested: list[str] = []
    reader.on("request", lambda it: requested.append(it.url))
    reader.on("websocket", lambda it: requested.append(it.url))
    await reader.add_init_script(blocked)
    await reader.add_init_script(RECORD)
    await open_page(reader, server, slug)
    await editor.publish(slug, headline="Polls are open")
    await expect(reader.get_by_role("heading", name="Polls are open")).to_have_count(
        1, timeout=20_000
    )
    assert any(f"{slug}{path}?since=" in url for url in requested)
    assert set(await reader.evaluate("window.texts")) <= {"Connecting", "Live"}


# -- the status line


async def test_the_status_line_counts_down_to_the_next_try_when_cut(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await reader.add_init_script(f"{HOOK} Math.random = () => 0.8;")
    await open_page(reader, server, slug)
    await reader.evaluate("window.isBroken = true; window.cut()")
    await expect(status(reader)).to_have_attribute("data-state", "lost")
    await expect(status(reader)).to_have_text(re.compile("^Connection lost, retrying in [678] s$"))
    await expect(status(reader)).to_have_text(re.compile("^Connection lost, retrying in [2345] s$"))
    await editor.publish(slug, headline="Meanwhile")
    await reader.evaluate("window.isBroken = false")
    await hide(reader, is_hidden=False)  # a visible page reconnects at once
    await expect(state(reader)).to_have_text("Live")
    await expect(reader.get_by_role("heading", name="Meanwhile")).to_have_count(1)
    assert await reader.evaluate("window.sameDocument")


async def test_a_page_reconnects_at_once_when_the_network_is_back(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await open_page(reader, server, slug)
    await reader.context.set_offline(True)
    await expect(status(reader)).to_have_text("You are offline")
    await expect(status(reader)).to_have_attribute("data-state", "offline")
    await editor.publish(slug, headline="Meanwhile")
    await reader.context.set_offline(False)
    await expect(state(reader)).to_have_text("Live")
    await expect(reader.get_by_role("heading", name="Meanwhile")).to_have_count(1)


async def test_a_page_reconnects_when_two_heartbeats_are_missing(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await reader.add_init_script(HOOK + AT_ONCE)
    await open_page(reader, server, slug)
    await reader.evaluate("window.isMute = true")
    await editor.publish(slug, headline="Unheard")
    await until(lambda: _opened(reader, 2))
    await reader.evaluate("window.isMute = false; window.cut()")
    await expect(reader.get_by_role("heading", name="Unheard")).to_have_count(1)
    await expect(state(reader)).to_have_text("Live")


async def test_a_page_catches_up_when_it_returns_from_the_back_forward_cache(
    server: Server, editor: Editor
) -> None:
    slug = await filled(editor, entries=2)
    without = ["--disable-back-forward-cache"]
    async with chromium(without=without) as browser, window(browser) as page:
        await open_page(page, server, slug)
        await page.evaluate(
            "() => addEventListener('pageshow', (event) => { window.isKept = event.persisted; })"
        )
        await page.goto(f"{server.url}/")
        await editor.publish(slug, headline="Meanwhile")
        await page.go_back(wait_until="commit")
        await expect(page.get_by_role("heading", name="Meanwhile")).to_have_count(1)
        await expect(state(page)).to_have_text("Live")
        assert await page.evaluate("window.isKept && window.sameDocument")


async def test_a_reader_can_pause_and_resume_by_keyboard(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await open_page(reader, server, slug)
    button = reader.get_by_role("button", name="Pause live updates")
    await button.focus()
    await reader.keyboard.press("Enter")
    await expect(status(reader)).to_have_text("Paused")
    await expect(status(reader)).to_have_attribute("data-state", "paused")
    await editor.publish(slug, headline="Meanwhile")
    await hide(reader, is_hidden=False)
    await expect(status(reader)).to_have_text("Paused")
    await expect(reader.get_by_role("heading", name="Meanwhile")).to_have_count(0)
    await reader.keyboard.press("Enter")
    await expect(reader.get_by_role("button", name="Pause live updates")).to_have_count(1)
    await expect(state(reader)).to_have_text("Live")
    await expect(reader.get_by_role("heading", name="Meanwhile")).to_have_count(1)


# -- a reset, and the end of coverage


async def test_a_reset_replaces_only_changed_entries_and_keeps_the_place(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    entries = await editor.entries(slug)
    await open_page(reader, server, slug)
    await load_older(reader, 40, 45)
    paragraph = await scroll_to(reader, "Entry 10")
    before = await top(paragraph)
    await reader.context.set_offline(True)
    await editor.delete(entries[40])
    await editor.edit(entries[1], headline="Edited meanwhile")
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await expect(reader.get_by_role("heading", name="Edited meanwhile")).to_have_count(1)
    await expect(reader.locator("[role=feed] > article")).to_have_count(44)
    await expect(reader.locator("article .when").first).to_contain_text("E")
    await until(lambda: _is_steady(reader, "Entry 10", before))
    assert await reader.evaluate("window.sameDocument")


async def _is_steady(page: Page, headline: str, at: float) -> bool:
    paragraph = page.locator("article", has_text=headline).locator("p").last
    return abs(await top(paragraph) - at) <= 1


async def test_missed_entries_wait_and_are_counted_when_a_reset_brings_them(
    server: Server, editor: Editor, reader: Page
) -> None:
    """The page loaded for the reset has 20 of the 45 missed entries; the script loads the rest."""
    slug = await filled(editor, entries=25)
    await open_page(reader, server, slug)
    await load_older(reader, 25)
    paragraph = await scroll_to(reader, "Entry 3")
    before = await top(paragraph)
    await reader.context.set_offline(True)
    for number in range(45):
        await editor.publish(slug, headline=f"New {number}")
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await expect(reader.locator("[role=feed] > article")).to_have_count(70)
    await expect(reader.locator("#new")).to_have_text("45 new updates")
    await until(lambda: _is_steady(reader, "Entry 3", before))
    await reader.locator("#new").click()
    await expect(reader.get_by_role("heading", name="New 0", exact=True)).to_be_focused()
    await expect(reader.locator("[data-unread]")).to_contain_text("New 0")


async def test_a_reset_stops_no_video_and_removes_no_node(
    server: Server, editor: Editor, reader: Page
) -> None:
    """The test adds one video to every copy of the page that the server sends.

    The copy loaded after the reset has the same video, so the script must keep the playing one.
    """
    slug = await filled(editor, entries=3)
    await serve_clip(reader)

    async def with_video(route: Any) -> None:
        answer = await route.fetch()
        video = '<video src="/static/clip.webm" muted loop></video>'
        await route.fulfill(
            response=answer, body=(await answer.text()).replace("<p>What", f"{video}<p>What", 1)
        )

    await reader.route(f"**/blogs/{slug}*", with_video)
    await open_page(reader, server, slug)
    await reader.evaluate("() => document.querySelector('video').play()")
    gone = "new MutationObserver((all) => { window.gone.push(...all.flatMap((it) =>"
    gone += " [...it.removedNodes].filter((node) => node.nodeType === 1).map((node) => node.nodeName))); })"
    await reader.evaluate(
        f"() => {{ window.gone = []; {gone}.observe(document.querySelector('[role=feed]'),"
        " {childList: true, subtree: true}); }"
    )
    await editor.alter(slug, timezone="America/New_York")
    await expect(reader.locator("article .when").first).to_contain_text("E")
    assert await reader.evaluate("!document.querySelector('video').paused")
    assert await reader.evaluate("window.gone") == []


async def test_older_entries_leave_no_gap_when_a_reset_comes_while_they_load(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_page(reader, server, slug)
    held = await hold_first(reader, "**/*before=*")
    await reader.locator("#older a").click()
    await until(lambda: bool(held))
    await reader.context.set_offline(True)
    for number in range(45):
        await editor.publish(slug, headline=f"New {number}")
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await expect(reader.locator("#older a")).to_have_count(1)
    await until(lambda: _has(reader, "New 44"))
    await held[0].continue_()
    await until(lambda: _has_all(reader))
    expected = [f"New {n}" for n in reversed(range(45))]
    expected += [f"Entry {n}" for n in reversed(range(25))]
    await until(lambda: _reads(reader, expected))


async def _has_all(page: Page) -> bool:
    """Request older entries, or return True when all are loaded."""
    ask = "() => { const it = document.querySelector('#older a'); it?.click(); return !it; }"
    return bool(await page.evaluate(ask))


async def _has(page: Page, headline: str) -> bool:
    return headline in await headlines(page)


async def _reads(page: Page, expected: list[str]) -> bool:
    """Return whether the feed has exactly these headlines in order.

    Hidden entries, which wait behind the button, count too.
    """
    found = await page.eval_on_selector_all(
        "[role=feed] article h3", "all => all.map(it => it.textContent)"
    )
    return bool(found == expected)


async def test_late_corrections_arrive_without_a_stream_when_coverage_has_ended(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=2)
    entry = (await editor.entries(slug))[0]
    successor = {"text": "The next day", "url": "https://live.example/next"}
    await editor.alter(slug, status="ended", successor=successor)
    await reader.add_init_script(HOOK)
    await reader.goto(f"{server.url}/blogs/{slug}")
    await expect(status(reader)).to_have_text("Coverage has ended")
    await expect(status(reader)).to_have_attribute("data-state", "ended")
    await expect(reader.get_by_role("link", name="The next day")).to_have_count(1)
    await expect(reader.get_by_role("button", name="Pause live updates")).to_be_hidden()
    await editor.edit(entry, body="Corrected.", note_kind="correction", note="Late.")
    await until(lambda: _seen(reader, "Correction: Late."))
    assert await reader.evaluate("window.opened") == 0
    await editor.alter(slug, status="live", successor=None)
    await until(lambda: _seen(reader, "Live"))
    await editor.publish(slug, headline="Once more")
    await expect(reader.get_by_role("heading", name="Once more")).to_have_count(1)


async def _seen(page: Page, text: str) -> bool:
    """Make the page visible again; return whether it shows `text`."""
    await hide(page, is_hidden=False)
    return await page.get_by_text(text, exact=True).count() > 0


# -- invalid frames

PUT = {"op": "put", "id": "e00000000000a", "order": 90, "offset": 90}
ARTICLE = '<article id="e00000000000a" data-offset="90" data-order="90">Half'


def frame(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"t": "changes", "from": 0, "position": "EPOCH.99.00000000", "changes": [*changes]}


GARBAGE: dict[str, Any] = {
    "no JSON": '{"t":"changes"',
    "a frame of an unknown type": {"t": "news"},
    "a change of an unknown kind": frame({**PUT, "op": "move", "html": ARTICLE}),
    "an entry without html": frame(PUT),
    "html of no entry": frame({**PUT, "html": "<p>Half</p>"}),
    "html of another entry": frame({**PUT, "html": ARTICLE.replace("0000a", "0000b")}),
    "html of two entries": frame({**PUT, "html": f"{ARTICLE}</article>{ARTICLE}"}),
    "html with a script": frame({**PUT, "html": f"{ARTICLE}<script>window.isOwned=1</script>"}),
    "html with a script's address": frame(
        {**PUT, "html": f'{ARTICLE}<a href=" javascript:isOwned=1">x</a>'}
    ),
    "html with a frame": frame({**PUT, "html": f"{ARTICLE}<iframe srcdoc=x></iframe>"}),
    "html with a form": frame({**PUT, "html": f"{ARTICLE}<form name=querySelector></form>"}),
    "html with another base": frame({**PUT, "html": f"{ARTICLE}<base href=https://x.example>"}),
    "html with a handler": frame({**PUT, "html": f"{ARTICLE}<img src=x onerror=isOwned=1>"}),
    "html with a handler in a template": frame(
        {**PUT, "html": f"{ARTICLE}<template><b onclick=isOwned=1>x</b></template>"}
    ),
    "an offset from the future": frame({**PUT, "offset": 100, "html": ARTICLE}),
    "a position that is garbage": {**frame(), "position": "\u0000"},
    "a good change and a bad one": frame(
        {**PUT, "html": f"{ARTICLE}</article>"}, {**PUT, "id": "e00000000000b", "html": "x"}
    ),
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
async def test_a_page_warns_and_catches_up_when_a_frame_is_invalid(
    browser: Browser, server: Server, editor: Editor, sent: Any
) -> None:
    slug = await filled(editor, entries=1)
    warnings: list[str] = []
    async with window(browser, expected="frame rejected|inline event handler") as page:
        page.on("console", lambda it: warnings.append(it.text))
        await page.add_init_script(HOOK + AT_ONCE)
        await open_page(page, server, slug)
        epoch = await page.evaluate("document.querySelector('main').dataset.position.split('.')[0]")
        text = sent if isinstance(sent, str) else json.dumps(sent)
        for opened in (2, 3):
            await page.evaluate("text => window.inject(text)", text.replace("EPOCH", epoch))
            await until(partial(_opened, page, opened))
            await page.wait_for_selector("#status[data-state=live]")
        await editor.publish(slug, headline="The next entry")
        await expect(page.get_by_role("heading", name="The next entry")).to_have_count(1)
        assert await headlines(page) == ["The next entry", "Entry 0"]
        assert await page.evaluate("window.isOwned") is None
        assert len([it for it in warnings if "frame rejected" in it]) == 1
