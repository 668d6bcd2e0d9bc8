"""New entries on an open page: shown if their place is in sight, else hidden behind a button."""

import re
from typing import Any

import pytest
from kit.servers import Editor, Server
from kit.windows import (
    PARAGRAPHS,
    PLAY,
    filled,
    headlines,
    hide,
    open_older,
    open_page,
    read_below,
    scroll_to,
    serve_clip,
    top,
    window,
)
from playwright.async_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


def button(page: Page) -> Locator:
    return page.locator("#new")


async def icon(page: Page) -> str:
    return str(await page.get_attribute("link[rel=icon]", "href"))


async def test_a_new_entry_appears_at_once_when_the_reader_is_at_the_top(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_page(reader, server, slug)
    entry = await editor.publish(slug, headline="Polls are open")
    await expect(reader.locator("article").first).to_contain_text("Polls are open")
    await expect(reader.locator(f"#{entry['id']}")).to_have_class("fresh")
    await expect(button(reader)).to_be_hidden()
    assert await reader.title() == "Council"
    assert await reader.evaluate("document.activeElement === document.body")


async def test_new_entries_wait_and_are_counted_when_the_reader_reads_others(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_page(reader, server, slug)
    plain = await icon(reader)
    paragraph = await scroll_to(reader, "Entry 5")
    before = await top(paragraph)
    for number in range(3):
        await editor.publish(slug, headline=f"New {number}")
        await expect(button(reader)).to_have_text(f"{number + 1} new update{'s' if number else ''}")
    await expect(reader).to_have_title("(3) Council")
    assert (await icon(reader)) == plain.replace(".svg", "-new.svg")
    assert (await reader.request.get(server.url + await icon(reader))).ok
    assert await top(paragraph) == before
    await expect(reader.locator("article", has_text="New 1")).to_be_hidden()


async def test_the_button_reveals_the_first_unread_entry_and_draws_the_line(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_page(reader, server, slug)
    plain = await icon(reader)
    await scroll_to(reader, "Entry 5")
    for number in range(3):
        await editor.publish(slug, PARAGRAPHS, headline=f"New {number}")
    await expect(button(reader)).to_have_text("3 new updates")
    await reader.evaluate("scrollTo(0, 0)")  # scrolling reveals nothing
    await expect(reader.locator("article", has_text="New 0")).to_be_hidden()
    await button(reader).focus()
    await reader.keyboard.press("Enter")
    heading = reader.get_by_role("heading", name="New 0")
    await expect(heading).to_be_focused()
    await expect(heading).to_be_in_viewport()
    assert await top(heading) > 40  # clear of the button
    divider = reader.locator("[data-unread]")
    await expect(divider).to_contain_text("New 0")
    drawn = await divider.evaluate("it => getComputedStyle(it, '::after').content")
    assert drawn == '"New since you left"'
    await expect(button(reader)).to_be_hidden()
    await expect(reader).to_have_title("Council")
    assert await icon(reader) == plain
    assert (await headlines(reader))[:4] == ["New 2", "New 1", "New 0", "Entry 7"]


async def test_the_count_stays_right_when_waiting_entries_change(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    made = [await editor.publish(slug, headline=f"New {n}") for n in range(3)]
    await expect(button(reader)).to_have_text("3 new updates")
    edited = await editor.edit(made[0], headline="New 0, edited")
    await editor.edit(edited, note_kind="correction", note="It was the other one.")
    await editor.delete(made[1])
    await expect(button(reader)).to_have_text("2 new updates")
    await editor.restore(made[1])
    await editor.delete(made[2])
    await expect(button(reader)).to_have_text("1 new update")
    await button(reader).click()
    await expect(reader.get_by_role("heading", name="New 0, edited")).to_be_focused()
    assert (await headlines(reader))[:3] == ["New 1", "New 0, edited", "Entry 7"]


async def test_a_waiting_entry_shows_its_retraction_when_revealed(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    entry = await editor.publish(slug, headline="Too early")
    await expect(button(reader)).to_have_text("1 new update")
    await editor.edit(entry, status="retracted", note="It is not official.")
    await expect(reader.locator(f"#{entry['id']} del")).to_have_count(1)
    await expect(reader.locator(f"#{entry['id']}")).to_be_hidden()
    await button(reader).click()
    await expect(reader.locator(f"#{entry['id']} .note")).to_be_visible()


async def read_news(page: Page, server: Server, editor: Editor) -> tuple[str, Any]:
    """Publish an entry "News" and click the button that leads to it; return slug and entry."""
    slug = await read_below(page, server, editor)
    entry = await editor.publish(slug, PARAGRAPHS, headline="News")
    await button(page).click()
    await expect(page.get_by_role("heading", name="News")).to_be_focused()
    return slug, entry


async def test_the_focus_on_the_first_unread_entry_survives_edits_and_a_reset(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug, entry = await read_news(reader, server, editor)
    await editor.edit(entry, headline="News, corrected", note_kind="update")
    await expect(reader.get_by_role("heading", name="News, corrected")).to_be_focused()
    await editor.alter(slug, timezone="America/New_York")
    await expect(reader.locator("article .when").first).to_contain_text("E")
    await expect(reader.get_by_role("heading", name="News, corrected")).to_be_focused()
    await expect(reader.locator("[data-unread]")).to_contain_text("News, corrected")


async def test_the_focus_stays_in_an_entry_when_it_is_retracted(
    server: Server, editor: Editor, reader: Page
) -> None:
    _, entry = await read_news(reader, server, editor)
    await editor.edit(entry, status="retracted", note="It was not so.")
    await expect(reader.locator("[data-retracted]")).to_have_count(1)
    await expect(reader.get_by_role("heading", name="News")).to_be_focused()


async def test_the_focus_skips_waiting_entries_when_its_entry_is_deleted(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug, entry = await read_news(reader, server, editor)
    await scroll_to(reader, "Entry 6")
    await editor.publish(slug, headline="Later")
    await expect(button(reader)).to_be_visible()
    await editor.delete(entry)
    await expect(reader.get_by_role("heading", name="Entry 7")).to_be_focused()
    assert await reader.locator("[data-unread][hidden]").count() == 0


async def test_the_focus_skips_an_entry_that_arrives_with_the_deletion(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug, entry = await read_news(reader, server, editor)
    await scroll_to(reader, "Entry 6")
    await reader.evaluate("dispatchEvent(new Event('pagehide'))")
    await editor.publish(slug, headline="Later")
    await editor.delete(entry)
    await reader.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    await expect(reader.get_by_role("heading", name="Entry 7")).to_be_focused()
    await expect(button(reader)).to_be_visible()
    assert await reader.locator("[data-unread][hidden]").count() == 0


async def test_line_and_focus_go_to_the_next_unread_when_the_first_is_deleted(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    made = [await editor.publish(slug, headline=f"New {n}") for n in range(2)]
    await expect(button(reader)).to_have_text("2 new updates")
    await button(reader).click()
    await expect(reader.get_by_role("heading", name="New 0")).to_be_focused()
    await editor.delete(made[0])
    await expect(reader.get_by_role("heading", name="New 1")).to_be_focused()
    await expect(reader.locator("[data-unread]")).to_contain_text("New 1")


async def test_midnight_is_marked_when_waiting_entries_are_revealed(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    for day in ("2025-06-01", "2025-06-02"):
        await editor.publish(slug, headline=day, published_at=f"{day}T12:00:00Z")
    await expect(button(reader)).to_have_text("2 new updates")
    await button(reader).click()
    marked = reader.locator("article", has_text="2025-06-01")
    await expect(marked).to_have_attribute("data-day", "Sunday, June 1, 2025")


async def test_a_waiting_entry_appears_when_a_link_to_it_is_followed(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    entry = await editor.publish(slug, headline="News")
    await expect(button(reader)).to_have_text("1 new update")
    await reader.evaluate("id => { location.hash = id; }", entry["id"])
    await expect(reader.get_by_role("heading", name="News")).to_be_in_viewport()
    await expect(button(reader)).to_be_hidden()


async def test_the_button_disappears_when_all_waiting_entries_are_deleted(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    entry = await editor.publish(slug, headline="A slip")
    await expect(button(reader)).to_have_text("1 new update")
    await editor.delete(entry)
    await expect(button(reader)).to_be_hidden()
    await expect(reader).to_have_title("Council")


async def test_new_entries_wait_when_the_tab_is_hidden(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_page(reader, server, slug)
    await hide(reader, is_hidden=True)
    await editor.publish(slug, headline="While away")
    await expect(reader).to_have_title("(1) Council")
    await hide(reader, is_hidden=False)
    await expect(button(reader)).to_have_text("1 new update")
    await button(reader).click()
    await expect(reader.get_by_role("heading", name="While away")).to_be_focused()


async def test_new_entries_wait_when_a_video_plays(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await serve_clip(reader)
    await open_page(reader, server, slug)
    await reader.locator("article .body").evaluate(PLAY)
    await editor.publish(slug, headline="During the video")
    await expect(button(reader)).to_have_text("1 new update")
    await expect(reader.locator("article", has_text="During the video")).to_be_hidden()
    await reader.evaluate("document.querySelector('video').pause()")
    await button(reader).click()
    await reader.evaluate("scrollTo(0, 0)")
    await editor.publish(slug, headline="After it")
    await expect(reader.locator("article", has_text="After it")).to_be_visible()
    await expect(button(reader)).to_be_hidden()


async def test_the_button_opens_the_live_page_when_this_one_shows_older_entries(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_older(reader, server, editor, slug)
    made = [await editor.publish(slug, PARAGRAPHS, headline=f"New {n}") for n in range(25)]
    await expect(button(reader)).to_have_text("25 new updates")
    await editor.delete(made[0])
    await expect(button(reader)).to_have_text("24 new updates")
    await expect(reader).to_have_title(re.compile(r"^\(24\) "))
    await button(reader).click()
    await reader.wait_for_url(f"{server.url}/blogs/{slug}")
    await expect(reader.get_by_role("heading", name="New 1", exact=True)).to_be_focused()
    await expect(reader.locator("[data-unread]")).to_contain_text("New 1")
    assert (await headlines(reader))[22:25] == ["New 2", "New 1", "Entry 24"]


async def test_an_unread_link_leads_to_the_next_entry_when_its_own_is_deleted(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=2)
    made = [await editor.publish(slug, headline=f"New {n}") for n in range(2)]
    await editor.delete(made[0])
    await reader.goto(f"{server.url}/blogs/{slug}#unread-{made[0]['order']}")
    await expect(reader.get_by_role("heading", name="New 1")).to_be_focused()
    await expect(reader).to_have_url(f"{server.url}/blogs/{slug}")


async def test_the_button_has_no_number_when_an_older_page_was_reset(
    server: Server, editor: Editor, reader: Page
) -> None:
    """The page with older entries (?before=…) does not load the newest entries after a reset.

    So the page cannot know how many entries are new.
    """
    slug = await filled(editor, entries=25)
    await open_older(reader, server, editor, slug)
    await editor.publish(slug, headline="New")
    await expect(button(reader)).to_have_text("1 new update")
    await editor.alter(slug, timezone="America/New_York")
    await expect(button(reader)).to_have_text("New updates")
    await button(reader).click()
    await reader.wait_for_url(lambda url: "before" not in url)
    await expect(reader.get_by_role("heading", name="New")).to_be_visible()


async def test_the_button_opens_the_live_page_when_this_one_is_a_permalink(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=30)
    oldest = (await editor.entries(slug))[-1]
    await reader.goto(f"{server.url}/blogs/{slug}/entries/{oldest['id']}")
    await reader.wait_for_selector("#status[data-state=live]")
    await editor.publish(slug, headline="The latest")
    await expect(button(reader)).to_have_text("1 new update")
    await button(reader).click()
    await expect(reader.get_by_role("heading", name="The latest")).to_be_focused()


async def test_the_title_of_an_entrys_page_changes_when_its_headline_does(
    server: Server, editor: Editor, reader: Page
) -> None:
    blog = await editor.blog(title="A night  of results")
    entry = await editor.publish(blog["slug"], headline="Smith stole it")
    await reader.goto(f"{server.url}/blogs/{blog['slug']}/entries/{entry['id']}")
    await expect(reader).to_have_title("Smith stole it · A night of results")
    await editor.edit(entry, headline="Police question a man", note_kind="correction", note="x")
    await expect(reader).to_have_title("Police question a man · A night of results")
    await hide(reader, is_hidden=True)
    await editor.publish(blog["slug"])
    await expect(reader).to_have_title("(1) Police question a man · A night of results")


async def test_the_note_that_there_are_no_entries_goes_when_the_first_one_waits(
    server: Server, editor: Editor, reader: Page
) -> None:
    blog = await editor.blog()
    await open_page(reader, server, blog["slug"])
    await expect(reader.locator("#empty")).to_be_visible()
    await hide(reader, is_hidden=True)
    await editor.publish(blog["slug"])
    await expect(button(reader)).to_have_text("1 new update")
    await expect(reader.locator("#empty")).to_be_hidden()


async def test_new_entries_reach_the_document_when_the_tab_is_hidden(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_page(reader, server, slug)
    await hide(reader, is_hidden=True)
    await reader.evaluate("window.requestAnimationFrame = () => 0")
    await editor.publish(slug)
    await expect(reader).to_have_title(re.compile(r"^\(1\) "))


async def test_a_page_ignores_garbage_when_address_or_storage_has_it(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await reader.goto(f"{server.url}/blogs/{slug}")
    for garbage in ("not json", '{"lowest": {}}', "[]", '"x"'):
        await reader.evaluate(
            "text => { for (const name of ['order', 'zone', location.pathname])"
            " for (const store of [localStorage, sessionStorage])"
            " store.setItem(`liveblog:${name}`, text); }",
            garbage,
        )
        for behind in (
            "#unread-",
            "#unread-99999999999999999",
            "#unread-1e3",
            "?at=x.y#%00",
            "#ex",
        ):
            await reader.goto(f"{server.url}/blogs/{slug}{behind}")
            await reader.reload()
            await reader.wait_for_selector("#status[data-state=live]")
            assert await headlines(reader) == ["Entry 0"]


# Stops the page's clocks and its timer; `pass_ms` moves the clocks and runs the timer.
STANDS_STILL = """
const [start_ms, here_ms] = [Date.now(), performance.now()];
Object.assign(window, { passed_ms: 0, set_ms: 0 });
Date.now = () => start_ms + window.set_ms + window.passed_ms;
performance.now = () => here_ms + window.passed_ms;
window.setInterval = (tick) => { window.tick = tick; return 1; };
"""


async def pass_ms(page: Page, ms: int) -> None:
    await page.evaluate("ms => { window.passed_ms += ms; window.tick(); }", ms)


async def test_new_entries_are_announced_as_a_count_at_most_every_ten_seconds(
    browser: Browser, server: Server, editor: Editor
) -> None:
    slug = await filled(editor)
    async with window(browser) as page:
        await page.add_init_script(STANDS_STILL)
        await open_page(page, server, slug)
        line = page.locator("#status span").last
        await editor.publish(slug, headline="New 0")
        await expect(page.locator("article")).to_have_count(9)
        await pass_ms(page, 1_000)
        await expect(line).to_have_text("1 new update")
        made = [await editor.publish(slug, headline=f"New {number}") for number in (1, 2, 3)]
        await expect(page.locator("article")).to_have_count(12)
        await editor.delete(made[0])
        await expect(page.locator("article")).to_have_count(11)
        await pass_ms(page, 4_000)
        await expect(line).to_have_text("1 new update")
        await pass_ms(page, 4_000)
        await expect(line).to_have_text("")
        await pass_ms(page, 2_500)
        await expect(line).to_have_text("2 new updates")
    assert await is_polite(server, slug, browser)


async def test_times_and_announcements_go_on_when_the_clock_is_set_back(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await reader.add_init_script(STANDS_STILL)
    await open_page(reader, server, slug)
    line = reader.locator("#status span").last
    await editor.publish(slug, headline="New 0")
    await expect(reader.locator("article")).to_have_count(2)
    await pass_ms(reader, 1_000)
    await expect(line).to_have_text("1 new update")
    await reader.evaluate("window.set_ms = -3_600_000")
    when = reader.locator("article .when").first
    await when.evaluate("it => it.firstChild.data = 'not written again'")
    await pass_ms(reader, 31_000)
    await expect(line).to_have_text("")
    await expect(when).not_to_contain_text("not written again")


async def is_polite(server: Server, slug: str, browser: Browser) -> bool:
    """Return whether the only region that screen readers announce is #status, outside the feed."""
    async with window(browser) as page:
        await open_page(page, server, slug)
        regions = "[role=status], [role=alert], [aria-live], output"
        found = page.locator(regions)
        assert await page.locator(f"[role=feed] :is({regions})").count() == 0
        return await found.count() == 1 and await found.get_attribute("id") == "status"


async def test_new_entries_appear_in_oldest_first_order_when_the_end_is_in_sight(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await open_page(reader, server, slug)
    await reader.get_by_role("button", name="Oldest first").click()
    await editor.publish(slug, PARAGRAPHS, headline="Out of sight")
    await expect(button(reader)).to_have_text("1 new update")
    await button(reader).click()
    await expect(reader.get_by_role("heading", name="Out of sight")).to_be_focused()
    await reader.evaluate("scrollTo(0, document.body.scrollHeight)")
    await editor.publish(slug, headline="In sight")
    await expect(reader.locator("article").last).to_contain_text("In sight")
    await expect(reader.locator("article").last).to_be_visible()
    assert (await headlines(reader))[-3:] == ["Entry 7", "Out of sight", "In sight"]
