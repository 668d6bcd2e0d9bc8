"""Two windows: an editor's actions at the desk appear on the reader's page without a reload."""

from pathlib import Path
from typing import Any

import pytest
from kit.servers import Editor, Server, StoreProcess, serving, store_process
from kit.waiting import until
from kit.windows import add_editor, headlines, open_desk, open_page, sign_in, window
from playwright.async_api import Browser, Page, expect

from liveblog.store import embedded as store

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def is_same_document(page: Page) -> bool:
    return bool(await page.evaluate("window.sameDocument === true"))


async def test_an_entry_appears_on_the_open_page_when_published_by_keyboard(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await desk.fill("#compose [name=headline]", "Polls are open")
    await desk.fill("#compose [name=body]", "Lines *around the block* in three “safe” states.")
    await desk.press("#compose [name=body]", "Control+Enter")
    article = reader.locator("[role=feed] article")
    await expect(article.locator("h3")).to_have_text("Polls are open")
    await expect(article.locator(".body em")).to_have_text("around the block")
    await expect(article.locator(".when")).to_contain_text("now / ")
    await expect(desk.locator("#compose [name=body]")).to_have_value("")
    await expect(desk.locator("#compose [name=headline]")).to_have_value("")
    await expect(desk.locator("[role=feed] article h3")).to_have_text("Polls are open")
    assert await is_same_document(reader)


async def test_each_entry_offers_its_link_when_it_arrives_or_changes(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    first = await editor.publish(slug, headline="There already")
    await open_page(reader, server, slug)
    await reader.context.grant_permissions(["clipboard-read", "clipboard-write"])
    later = await editor.publish(slug, headline="Come later")
    await editor.edit(first, headline="Changed later")
    await expect(reader.locator("article h3").last).to_have_text("Changed later")
    for entry in (first, later):
        share = reader.locator(f"#{entry['id']}").get_by_role("link", name="Share")
        await share.click()
        await expect(reader.get_by_role("link", name="Link copied")).to_have_count(1)
        copied = await reader.evaluate("navigator.clipboard.readText()")
        assert copied == f"{server.url}/blogs/{slug}/entries/{entry['id']}"
        await expect(share).to_have_count(1)


async def test_an_edit_changes_the_entry_in_place(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    first = await editor.publish(slug, headline="First")
    await editor.publish(slug, headline="Second")
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await desk.click(f"#{first['id']} [data-do=edit]")
    await desk.fill("#edit [name=headline]", "First, corrected")
    await desk.press("#edit [name=headline]", "Control+Enter")
    await expect(reader.locator(f"#{first['id']} h3")).to_have_text("First, corrected")
    assert await headlines(reader) == ["Second", "First, corrected"]
    assert await is_same_document(reader)


async def test_a_deleted_entry_returns_to_its_place_when_the_deletion_is_undone(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    entries = [await editor.publish(slug, headline=name) for name in ("One", "Two", "Three")]
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await desk.click(f"#{entries[1]['id']} [data-do=delete] button")
    await expect(reader.locator("[role=feed] article")).to_have_count(2)
    assert await headlines(reader) == ["Three", "One"]
    await desk.click("#notice [data-do=restore] button")
    await expect(reader.locator("[role=feed] article")).to_have_count(3)
    assert await headlines(reader) == ["Three", "Two", "One"]
    assert await is_same_document(reader)


async def test_pinned_entries_and_key_events_appear_and_disappear(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    entry = await editor.publish(slug, headline="The mayor resigns")
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await expect(reader.locator("#pinned")).to_be_hidden()
    actions = desk.locator(f"#{entry['id']}")
    await actions.get_by_role("button", name="Pin", exact=True).click()
    await expect(reader.locator("#pinned article")).to_contain_text("The mayor resigns")
    await actions.get_by_role("button", name="Key", exact=True).click()
    await expect(reader.locator("#key-events li")).to_contain_text("The mayor resigns")
    await actions.get_by_role("button", name="Unpin").click()
    await expect(reader.locator("#pinned")).to_be_hidden()
    assert await reader.locator(f"#{entry['id']}").count() == 1
    assert await is_same_document(reader)


# Returns the name, attributes and texts of each element in the feed, the pinned entries and the key
# events. It leaves out the class that plays an animation. It leaves out the link of a key event,
# because the server may not know whether the page has the entry.
ELEMENTS = """() => {
  const isKept = (node, name) => name === 'class' ? !['', 'fresh'].includes(node.className)
    : name !== 'href' || !node.closest('#key-events');
  const attributesOf = (node) => node.getAttributeNames().filter((it) => isKept(node, it)).sort()
    .map((it) => [it, node.getAttribute(it)]);
  const read = (node) => node.nodeType === 3 ? node.data
    : [node.nodeName, attributesOf(node), [...node.childNodes].map(read)];
  const lists = ['[role=feed]', '#pinned [data-list]', '#key-events [data-list]'];
  return lists.map((list) => [...document.querySelector(list).children].map(read));
}"""


async def test_an_entrys_elements_are_those_of_a_new_page_after_every_change(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog(timezone="America/New_York"))["slug"]
    await open_page(reader, server, slug)

    async def has_a_new_pages_elements(changed: Any) -> None:
        position = changed["position"]
        await expect(reader.locator("main")).to_have_attribute("data-position", position)
        await open_page(desk, server, slug)
        shown, new = [await page.evaluate(ELEMENTS) for page in (reader, desk)]
        assert shown == new
        assert "(America/New_York)" in str(shown[0])

    for number in range(3):
        pin: Any = {"pinned": number < 2, "pin_order": 2 if number == 1 else None}
        one = await editor.publish(slug, headline=f'"Entry" {number}', byline=["A. O'Hara"], **pin)
        await has_a_new_pages_elements(one)
    edits: tuple[dict[str, Any], ...] = (
        *({"pinned": True, "pin_order": it} for it in (3, 1, 2, None, -0.5)),
        {"pinned": False},
        {"headline": "Edited", "note_kind": "minor"},
        {"body": "Corrected.", "note_kind": "correction", "note": "the name"},
        {"pinned": True},
        {"key": True, "key_title": "It's a key event"},
        {"body": "Updated.", "note_kind": "update", "note": "more"},
        {"status": "retracted", "note": "wrong"},
    )
    for fields in edits:
        one = await editor.edit(one, **fields)
        await has_a_new_pages_elements(one)
    assert await is_same_document(reader)


async def test_an_open_page_shows_when_coverage_ends_and_reopens(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    await editor.publish(slug, headline="Last words")
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await desk.click("#end-panel summary")
    await desk.fill("#end [name=successor_text]", "The night continues")
    await desk.fill("#end [name=successor_url]", "https://news.example/night")
    await desk.click("#end button")
    await expect(reader.locator("#status")).to_have_attribute("data-state", "ended")
    await expect(reader.locator("#status")).to_contain_text("Coverage has ended")
    await expect(reader.get_by_role("link", name="The night continues")).to_be_visible()
    await desk.click("#reopen button")
    await expect(reader.locator("#status")).to_have_attribute("data-state", "live")
    await expect(desk.locator("#end-panel")).to_be_visible()
    assert await is_same_document(reader)


async def test_an_open_page_shows_changes_of_the_header(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await desk.click("#header-panel summary")
    await desk.fill("#header [name=title]", "Council, night two")
    await desk.fill("#header [name=summary]", "What **we** know.")
    await desk.click("#header button.primary")
    await expect(reader.locator("h1")).to_have_text("Council, night two")
    await expect(reader.locator(".summary strong")).to_have_text("we")
    assert await is_same_document(reader)


async def test_the_desk_shows_both_texts_when_two_editors_save_one_entry(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug = (await editor.blog())["slug"]
    entry = await editor.publish(slug, "The text both saw.")
    await open_desk(desk, server, slug)
    await desk.click(f"#{entry['id']} [data-do=edit]")
    await desk.fill("#edit [name=body]", "What Dana wrote.")
    await editor.edit(entry, body="What Kim wrote.")
    await desk.press("#edit [name=body]", "Control+Enter")
    await expect(desk.locator("#editing .theirs textarea")).to_have_value("What Kim wrote.")
    await expect(desk.locator("#edit [name=body]")).to_have_value("What Dana wrote.")
    await desk.press("#edit [name=body]", "Control+Enter")
    await expect(desk.locator(f"#{entry['id']} .body")).to_have_text("What Dana wrote.")


async def test_the_desk_confirms_a_contributors_time_only_by_a_tick(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug, then = (await editor.blog())["slug"], "2020-01-01T00:00:00.123Z"
    async with server.editor("contributor") as contributor:
        ticked, plain = [await contributor.publish(slug, published_at=then) for _ in range(2)]
    await open_desk(desk, server, slug)
    for entry in (ticked, plain):
        held = desk.locator(f"#held-{entry['id']}")
        await expect(held).to_contain_text("January 1, 2020, not confirmed")
        await held.get_by_role("link", name="Edit").click()
        if entry is ticked:
            await desk.get_by_label("Show readers the stated time: 12:00").check()
        await desk.locator("#edit").get_by_role("button", name="Publish").click()
        await expect(desk.locator(f"#{entry['id']}")).to_be_visible()
    shown = {it["id"]: it["published_at"] for it in await editor.entries(slug)}
    assert shown[ticked["id"]] == then
    assert shown[plain["id"]] > then


async def test_reading_and_publishing_work_without_javascript(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = (await editor.blog())["slug"]
    for n in range(25):
        await editor.publish(slug, headline=f"Entry {n}")
    async with window(browser, java_script_enabled=False) as page:
        await sign_in(page, server)
        await page.goto(f"{server.url}/desk/blogs/{slug}")
        await page.fill("#compose [name=headline]", "Without a script")
        await page.fill("#compose [name=body]", "It works.")
        await page.click("#compose button.primary")
        await expect(page.locator("#notice")).to_contain_text("Published")
        await page.goto(f"{server.url}/blogs/{slug}")
        await expect(page.locator("[role=feed] article h3").first).to_have_text("Without a script")
        await expect(page.locator("[role=feed] article")).to_have_count(20)
        await page.click("#older a")
        await expect(page.locator("[role=feed] article h3").last).to_have_text("Entry 0")
        await page.locator("[role=feed] article .when a").last.click()
        await expect(page.locator("[role=feed] article h3", has_text="Entry 0")).to_have_count(1)


async def test_a_rejected_form_keeps_text_and_gives_reasons_without_javascript(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = (await editor.blog())["slug"]
    async with window(browser, java_script_enabled=False) as page:
        await sign_in(page, server)
        await page.goto(f"{server.url}/desk/blogs/{slug}")
        await page.fill("#compose [name=headline]", "h" * 301)
        await page.fill("#compose [name=body]", "Kept as it is.")
        await page.click("#compose button.primary")
        await expect(page.locator("[data-reason=headline]")).to_contain_text("300")
        await expect(page.locator("#compose [name=body]")).to_have_value("Kept as it is.")


async def test_a_rejected_entry_keeps_its_text_and_shows_the_reason(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug = (await editor.blog())["slug"]
    await open_desk(desk, server, slug)
    await desk.fill("#compose [name=headline]", "A headline")
    await desk.fill("#compose [name=body]", "b" * 20_001)
    await desk.press("#compose [name=body]", "Control+Enter")
    await expect(desk.locator("#apart [data-reason=body]")).to_contain_text("20,000")
    await expect(desk.locator("#apart [name=headline]")).to_have_value("A headline")
    assert len(await desk.input_value("#apart [name=body]")) == 20_001


async def test_markup_in_an_editors_text_never_runs(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    await open_page(reader, server, slug)
    hostile = '<img src=x onerror="window.ran=1"><script>window.ran=1</script> [x](javascript:window.ran=1)'
    await editor.publish(slug, hostile, headline="<b onclick=window.ran=1>Bold</b>")
    await expect(reader.locator("[role=feed] article h3")).to_have_text(
        "<b onclick=window.ran=1>Bold</b>"
    )
    assert await reader.evaluate("window.ran") is None
    assert await reader.locator("[role=feed] article .body img, [role=feed] script").count() == 0


async def test_a_page_catches_up_in_order_when_its_server_was_killed(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    with store_process(tmp_path / "store", store.find_binary()) as process:
        process.start()
        with serving(tmp_path / "other", REDIS_URL=process.url) as other:
            await _killed_and_back(browser, tmp_path, process, other)


async def _killed_and_back(
    browser: Browser, tmp_path: Path, process: StoreProcess, other: Server
) -> None:
    async with other.editor() as editor, window(browser) as page:
        slug = (await editor.blog())["slug"]
        await editor.publish(slug, headline="Before")
        mine = Server(tmp_path / "mine", REDIS_URL=process.url)
        mine.start()
        try:
            await open_page(page, mine, slug)
            mine.kill()
            await page.wait_for_selector("#status[data-state=lost]")
            for name in ("One", "Two", "Three"):
                await editor.publish(slug, headline=name)
            mine.start()
            await page.wait_for_selector("#status[data-state=live]", timeout=40_000)
            await until(lambda: _has(page, ["Three", "Two", "One", "Before"]))
            assert await is_same_document(page)
        finally:
            mine.stop()


async def _has(page: Page, names: list[str]) -> bool:
    return await headlines(page) == names


async def test_publishing_makes_one_entry_when_the_store_was_unreachable(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    with store_process(tmp_path / "store", store.find_binary()) as process:
        process.start()
        with serving(tmp_path / "log", REDIS_URL=process.url) as server:
            await add_editor(server)
            async with server.editor() as editor, window(browser) as desk, window(browser) as page:
                slug = (await editor.blog())["slug"]
                await open_desk(desk, server, slug)
                await open_page(page, server, slug)
                process.kill()
                await expect(desk.locator("#store")).to_contain_text("unavailable", timeout=30_000)
                await desk.fill("#compose [name=body]", "Written while the store was unreachable.")
                await desk.press("#compose [name=body]", "Control+Enter")
                await expect(desk.locator("#compose [name=body]")).to_have_value("")
                await expect(desk.locator("#queue li")).to_contain_text("sends this text again")
                process.start()
                await expect(desk.locator("#queue")).to_be_hidden(timeout=30_000)
                await expect(page.locator("[role=feed] article")).to_have_count(1, timeout=30_000)


async def test_the_desk_warns_of_no_loss_when_only_the_time_zone_changes(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    """A new time zone starts a new epoch, as a loss of changes does, but nothing is lost."""
    slug = (await editor.blog())["slug"]
    await editor.publish(slug, headline="Seen in two zones")
    await open_desk(desk, server, slug)
    await editor.alter(slug, timezone="America/New_York")
    await expect(desk.locator("main")).to_have_attribute("data-zone", "America/New_York")
    await expect(desk.locator("#status")).to_have_attribute("data-state", "live")
    await expect(desk.locator("#store")).to_be_hidden()
