"""A page that starts over after a reset: read entries are not new again, deleted ones are gone."""

import pytest
from kit.servers import Editor, Server
from kit.waiting import until
from kit.windows import (
    AT_ONCE,
    PARAGRAPHS,
    filled,
    headlines,
    hold_first,
    load_older,
    open_older,
    scroll_to,
    top,
)
from playwright.async_api import APIResponse, Page, Route, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW = "[role=feed] > article[hidden]"
GMT_ALL_YEAR = "Africa/Abidjan"


async def start_over(page: Page, editor: Editor, slug: str, zone: str = "America/New_York") -> None:
    """Reset all readers of a blog by a new time zone; wait until `page` has started over."""
    await editor.alter(slug, timezone=zone)
    name = "E" if zone == "America/New_York" else "GMT"
    await expect(page.locator("article .when").first).to_contain_text(name)
    await page.wait_for_selector("#status[data-state=live]")


async def open_at_once(page: Page, url: str) -> None:
    """Open a page whose script reconnects and loads without its random waits."""
    await page.add_init_script(AT_ONCE)
    await page.goto(url)
    await page.wait_for_selector("#status[data-state=live]")


async def test_read_entries_do_not_wait_when_older_ones_load_after_a_reset(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await start_over(reader, editor, slug)
    for number in range(3):
        await editor.publish(slug, headline=f"New {number}")
    await expect(reader.get_by_role("heading", name="New 2")).to_be_in_viewport()
    await load_older(reader, 28)
    assert await reader.locator(NEW).count() == 0
    await expect(reader.locator("#new")).to_be_hidden()


async def test_read_entries_do_not_wait_when_they_are_loaded_again_later(
    server: Server, editor: Editor, reader: Page
) -> None:
    """The second reset removes read entries, because requests for older entries fail.

    When these entries are loaded later, they must not be shown as new.
    """
    slug = await filled(editor, entries=2)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await start_over(reader, editor, slug)
    await editor.publish_many(slug, 25)
    await expect(reader.locator("[role=feed] > article")).to_have_count(27)
    await reader.route("**/*before=*", lambda route: route.fulfill(status=503, body="no"))
    await start_over(reader, editor, slug, GMT_ALL_YEAR)
    await expect(reader.locator("[role=feed] > article")).to_have_count(20)
    await reader.unroute("**/*before=*")
    await load_older(reader, 27)
    assert await reader.locator(NEW).count() == 0


async def test_unread_entries_stay_counted_when_a_second_reset_interrupts(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await load_older(reader, 25)
    await scroll_to(reader, "Entry 3")
    held = await hold_first(reader, "**/*before=*")
    await reader.context.set_offline(True)
    for number in range(25):
        await editor.publish(slug, headline=f"New {number}")
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await until(lambda: bool(held))
    await start_over(reader, editor, slug, GMT_ALL_YEAR)
    await held[0].continue_()
    await expect(reader.locator("#new")).to_have_text("25 new updates")
    await expect(reader.locator("[role=feed] > article")).to_have_count(50)


async def test_failed_older_entries_remove_nothing_when_a_second_reset_follows(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await load_older(reader, 25)
    read = await scroll_to(reader, "Entry 3")
    before = await top(read)
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await reader.route("**/*before=*", hold)
    await start_over(reader, editor, slug)
    await until(lambda: len(held) == 1)
    await start_over(reader, editor, slug, GMT_ALL_YEAR)
    await until(lambda: len(held) == 2)
    async with reader.expect_response("**/*before=*"):
        await held[0].fulfill(status=503, body="no")
    await reader.evaluate("new Promise(requestAnimationFrame)")
    assert abs(await top(read) - before) <= 1
    await held[1].continue_()
    await expect(reader.locator("[role=feed] > article")).to_have_count(25)
    assert abs(await top(read) - before) <= 1


async def test_older_entries_from_before_a_reset_change_nothing_when_late(
    server: Server, editor: Editor, reader: Page
) -> None:
    """The page must ignore the late answer, which has the epoch before the reset.

    Otherwise the page would start over, and wait without end for a page of that earlier epoch.
    """
    slug = await filled(editor, entries=25)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    held: list[tuple[Route, APIResponse]] = []

    async def hold_answer(route: Route) -> None:
        held.append((route, await route.fetch()))

    await reader.route("**/*before=*", hold_answer, times=1)
    await reader.locator("#older a").click()
    await until(lambda: bool(held))
    await start_over(reader, editor, slug)
    [(route, answer)] = held
    await route.fulfill(response=answer)
    await expect(reader.locator("[role=feed] > article")).to_have_count(25)
    await editor.publish(slug, headline="The next entry")
    await expect(reader.locator("#new")).to_have_text("1 new update")
    await expect(reader.locator("#status")).to_have_text("Live")


async def test_older_entries_of_an_ended_blog_load_when_it_was_reset(
    server: Server, editor: Editor, reader: Page
) -> None:
    """An ended blog has no stream: the page learns of the new epoch from the older entries."""
    slug = await filled(editor, entries=25)
    await editor.alter(slug, status="ended")
    requested = f"**/blogs/{slug}/changes?since=*"
    async with reader.expect_response(requested):
        await reader.goto(f"{server.url}/blogs/{slug}")
    await editor.alter(slug, timezone="America/New_York")
    await reader.locator("#older a").click()
    await expect(reader.locator("article .when").first).to_contain_text("E")
    await load_older(reader, 25)


async def test_title_and_description_lose_an_entry_when_it_is_taken_down(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    entry = await editor.publish(slug, "Libel, word by word.", headline="Smith stole it")
    await open_at_once(reader, f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    await reader.context.set_offline(True)
    await editor.delete(entry, takedown=True)
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await expect(reader.locator("article .when").first).to_contain_text("E")
    content = await reader.content()
    assert "Libel" not in content
    assert "Smith" not in content


async def test_line_and_focus_go_to_the_next_unread_when_a_reset_removes_it(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await scroll_to(reader, "Entry 5")
    entry, _ = [await editor.publish(slug, PARAGRAPHS, headline=f"News {n}") for n in range(2)]
    await expect(reader.locator("#new")).to_have_text("2 new updates")
    await reader.locator("#new").click()
    await expect(reader.get_by_role("heading", name="News 0")).to_be_focused()
    await reader.context.set_offline(True)
    await editor.delete(entry)
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await expect(reader.locator("article .when").first).to_contain_text("E")
    await expect(reader.get_by_role("heading", name="News 1")).to_be_focused()
    await expect(reader.locator("[data-unread]")).to_contain_text("News 1")


async def test_stale_entries_are_removed_when_older_ones_do_not_load_again(
    server: Server, editor: Editor, reader: Page
) -> None:
    """After a reset, the page cannot check old entries that do not load again.

    Such an entry may have been taken down, so the page must not keep it.
    """
    slug = await filled(editor, entries=25)
    entries = await editor.entries(slug)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await load_older(reader, 25)
    await scroll_to(reader, "Entry 3")
    await reader.context.set_offline(True)
    await editor.delete(entries[-2], takedown=True)
    await editor.alter(slug, timezone="America/New_York")
    await reader.route("**/*before=*", lambda route: route.fulfill(status=503, body="no"))
    await reader.context.set_offline(False)
    for name in ("Entry 1", "Entry 3"):
        await expect(reader.get_by_role("heading", name=name, exact=True)).to_have_count(0)
    await reader.unroute("**/*before=*")
    await load_older(reader, 24)
    assert await headlines(reader) == [f"Entry {n}" for n in reversed(range(25)) if n != 1]


async def test_the_text_being_read_stays_when_stale_entries_above_are_removed(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    await load_older(reader, 25)
    await reader.get_by_role("button", name="Oldest first").click()
    paragraph = await scroll_to(reader, "Entry 15")
    before = await top(paragraph)
    await reader.route("**/*before=*", lambda route: route.fulfill(status=503, body="no"))
    await start_over(reader, editor, slug)
    await expect(reader.locator("[role=feed] > article")).to_have_count(20)
    assert abs(await top(paragraph) - before) <= 1


async def test_a_permalink_page_keeps_the_text_being_read_when_it_is_reset(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=3)
    [entry, *_] = await editor.entries(slug)
    await open_at_once(reader, f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    await reader.evaluate("scrollTo(0, 0)")
    for number in range(10, 40):
        await editor.publish(slug, PARAGRAPHS, headline=f"News {number}")
    await expect(reader.locator("[role=feed] > article")).to_have_count(33)
    if await reader.locator("#new").is_visible():
        await reader.locator("#new").click()
    before = await top(await scroll_to(reader, "News 30"))
    await start_over(reader, editor, slug)
    paragraph = reader.locator("article", has_text="News 30").locator("p").last
    assert abs(await top(paragraph) - before) <= 1


async def test_the_button_leads_to_the_first_unread_when_an_older_page_was_reset(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await reader.add_init_script(AT_ONCE)
    await open_older(reader, server, editor, slug)
    for number in range(2):
        await editor.publish(slug, headline=f"Unread {number}")
    await expect(reader.locator("#new")).to_have_text("2 new updates")
    await editor.alter(slug, timezone="America/New_York")
    await expect(reader.locator("#new")).to_have_text("New updates")
    await editor.publish(slug, headline="Unread 2")
    await reader.locator("#new").click()
    await expect(reader.get_by_role("heading", name="Unread 0")).to_be_focused()
    assert reader.url == f"{server.url}/blogs/{slug}"


async def test_the_title_of_the_feed_changes_when_the_linked_entry_is_deleted(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    [entry] = await editor.entries(slug)
    await editor.publish_many(slug, 25)
    await open_at_once(reader, f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    title = reader.locator("#updates-title")
    await expect(title).to_have_text("Earlier updates")
    await reader.context.set_offline(True)
    await editor.delete(entry)
    await editor.alter(slug, timezone="America/New_York")
    await reader.context.set_offline(False)
    await expect(reader.locator("article .when").first).to_contain_text("E")
    await expect(title).to_have_text("Latest updates")


async def test_language_attributes_and_days_change_when_the_language_does(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = str((await editor.blog())["slug"])
    for day in (6, 8):
        await editor.publish(slug, published_at=f"2024-11-0{day}T10:00:00Z")
    await open_at_once(reader, f"{server.url}/blogs/{slug}")
    midnight = reader.locator("[data-day]")
    await expect(midnight).to_have_attribute("data-day", "Wednesday, November 6, 2024")
    await editor.alter(slug, language="ar")
    await expect(midnight).not_to_have_attribute("data-day", "Wednesday, November 6, 2024")
    main = reader.locator("main")
    await expect(main).to_have_attribute("lang", "ar")
    await expect(main).to_have_attribute("dir", "rtl")
