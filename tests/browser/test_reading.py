"""A reader's page: edits in place, times, order, older entries, links and sharing."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kit.servers import Editor, Server
from kit.waiting import until
from kit.windows import (
    NO_ANSWERS,
    PARAGRAPHS,
    PLAY,
    filled,
    headlines,
    hold_first,
    load_older,
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

# -- edits


async def test_the_text_being_read_stays_in_place_when_anything_above_changes(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, summary="Short.")
    entries = await editor.entries(slug)
    await open_page(reader, server, slug)
    paragraph = await scroll_to(reader, "Entry 3")
    before = await top(paragraph)
    await editor.edit(entries[0], body=f"{PARAGRAPHS}\n\n{PARAGRAPHS}")
    await editor.edit(entries[1], body="Much shorter.")
    await editor.delete(entries[2])
    await editor.mark(entries[3], pinned=True)
    await editor.mark(entries[3], key=True, key_title="A key event")
    await editor.alter(slug, summary=PARAGRAPHS, title="Another title")
    await editor.publish(slug, PARAGRAPHS, headline="New")
    await expect(reader.locator("#new")).to_have_text("1 new update")
    await expect(reader.locator("h1")).to_have_text("Another title")
    assert abs(await top(paragraph) - before) <= 1


async def test_a_paragraph_stays_in_place_when_its_own_entry_grows_above_it(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=3)
    entry = await editor.publish(slug, f"First.\n\n{PARAGRAPHS}\n\nLast of it.", headline="Long")
    await editor.publish(slug, PARAGRAPHS, headline="Above")
    await open_page(reader, server, slug)
    paragraph = await scroll_to(reader, "Long")
    before = await top(paragraph)
    await editor.edit(entry, body=f"First.\n\n{PARAGRAPHS}\n\n{PARAGRAPHS}\n\nLast of it.")
    await expect(reader.locator("article", has_text="Long").locator("p")).to_have_count(9)
    assert abs(await top(paragraph) - before) <= 1


async def test_the_first_entry_stays_in_place_when_the_header_above_it_grows(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, summary="Short.")
    await open_page(reader, server, slug)
    await reader.locator("#status").evaluate("it => it.scrollIntoView()")  # the header is above
    paragraph = reader.locator("article p:not(.when)").first
    before = await top(paragraph)
    for summary, count in ((PARAGRAPHS, 3), ("Short again.", 1)):
        await editor.alter(slug, summary=summary)
        await expect(reader.locator(".summary p")).to_have_count(count)
        assert abs(await top(paragraph) - before) <= 1


async def test_the_text_being_read_stays_in_place_in_oldest_first_order(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    entries = await editor.entries(slug)
    await open_page(reader, server, slug)
    await reader.get_by_role("button", name="Oldest first").click()
    paragraph = await scroll_to(reader, "Entry 27")
    before = await top(paragraph)
    await editor.edit(entries[19], body=f"{PARAGRAPHS}\n\n{PARAGRAPHS}")
    await expect(reader.locator(f"#{entries[19]['id']} p")).to_have_count(7)
    await reader.locator("#older a").evaluate("it => it.click()")
    await expect(reader.locator("[role=feed] > article")).to_have_count(40)
    assert abs(await top(paragraph) - before) <= 1


async def test_a_paragraph_stays_in_place_when_edits_surround_it(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=3)
    parts = [f"Part {n} of the long report. " * 8 for n in range(8)]
    entry = await editor.publish(slug, "\n\n".join(parts), headline="Long")
    await editor.publish(slug, PARAGRAPHS, headline="Above")
    await open_page(reader, server, slug)
    paragraph = reader.locator("p", has_text="Part 5")
    await paragraph.evaluate("it => it.scrollIntoView({block: 'center'})")
    before = await top(paragraph)
    parts[6] += "A typo was corrected."
    await editor.edit(entry, body="\n\n".join([parts[0], PARAGRAPHS, *parts[1:]]))
    await expect(reader.locator("p", has_text="A typo was corrected.")).to_have_count(1)
    assert abs(await top(paragraph) - before) <= 1


async def test_the_text_being_read_stays_in_place_when_midnight_adds_dates(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await filled(editor, entries=12)
    day = (await editor.entries(slug))[0]["published_at"][:10]
    # In a window this narrow a date always takes a new line, so the dates make the entries higher.
    async with window(browser, viewport={"width": 160, "height": 640}) as page:
        await page.clock.install(time=f"{day}T23:59:00Z")
        await page.add_init_script(NO_ANSWERS)
        await page.goto(f"{server.url}/blogs/{slug}")
        when = page.locator("article .when").first
        await expect(when.locator(".date")).to_be_hidden()
        paragraph = await scroll_to(page, "Entry 3")
        before, height = await top(paragraph), await when.evaluate("it => it.offsetHeight")
        await page.clock.run_for(120_000)
        await expect(when.locator(".date")).to_be_visible()
        assert await when.evaluate("it => it.offsetHeight") > height
        assert abs(await top(paragraph) - before) <= 1


async def test_a_pinned_copy_equals_the_servers_when_an_entry_is_pinned(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=2)
    entry = (await editor.entries(slug))[0]
    await open_page(reader, server, slug)
    marked = await editor.mark(entry, pinned=True, key=True)
    await expect(reader.locator("#pinned [data-share]")).to_have_count(1)
    await editor.edit(marked, headline="Edited")
    await expect(reader.locator("#pinned h3")).to_have_text("Edited")
    live = await _text_beside(reader)
    await reader.reload()
    await reader.wait_for_selector("#status[data-state=live]")
    assert await _text_beside(reader) == live


async def _text_beside(page: Page) -> list[str]:
    """Return the text and the number of links of #pinned and of #key-events."""
    lists = page.locator("#pinned, #key-events")
    return [
        f"{await lists.nth(n).inner_text()} {await lists.nth(n).locator('a').count()}"
        for n in range(2)
    ]


async def test_nothing_moves_sideways_when_the_first_key_event_arrives(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await filled(editor)
    entry = (await editor.entries(slug))[0]
    async with window(browser, viewport={"width": 1280, "height": 900}) as page:
        await open_page(page, server, slug)
        paragraph = await scroll_to(page, "Entry 3")
        box = "it => { const {x, width} = it.getBoundingClientRect(); return [x, width]; }"
        before = await paragraph.evaluate(box)
        for is_key in (True, False):
            await editor.mark(entry, key=is_key)
            await expect(page.locator("#key-events li")).to_have_count(int(is_key))
            assert await paragraph.evaluate(box) == before
        await editor.mark(entry, key=True)
        await page.reload()
        await expect(page.locator("#key-events li")).to_have_count(1)
        wide = await paragraph.evaluate(box)
        assert wide != before
        await editor.mark(entry, key=False)
        await expect(page.locator("#key-events li")).to_have_count(0)
        assert await paragraph.evaluate(box) == wide


async def test_key_events_scroll_away_when_they_have_no_column(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await filled(editor)
    entry = (await editor.entries(slug))[0]
    async with window(browser, viewport={"width": 1280, "height": 900}) as page:
        await open_page(page, server, slug)
        await editor.mark(entry, key=True)
        await expect(page.locator("#key-events li")).to_be_in_viewport()
        await scroll_to(page, "Entry 3")
        await expect(page.locator("#key-events")).not_to_be_in_viewport()


async def test_the_text_being_read_stays_in_place_when_a_key_event_arrives(
    server: Server, editor: Editor, browser: Browser
) -> None:
    """The key events stand in a column beside the feed, and the column reaches below the text.

    A new key event moves the column's lines, and the page must not scroll to keep them in place.
    """
    slug = await filled(editor)
    for entry in await editor.entries(slug):
        await editor.mark(entry, key=True, key_title="A key event of more than one line. " * 3)
    async with window(browser, viewport={"width": 1280, "height": 720}) as page:
        await open_page(page, server, slug)
        paragraph = await scroll_to(page, "Entry 3")
        before = await top(paragraph)
        await editor.publish(slug, headline="New", key=True)
        await expect(page.locator("#key-events li")).to_have_count(9)
        assert abs(await top(paragraph) - before) <= 1


MORPH = """async ([before, after]) => {
  const {morph, parseHtml} = await import('/static/js/morph.js');
  const place = document.body.appendChild(document.createElement('div'));
  place.append(parseHtml(before));
  const video = place.querySelector('video');
  video.muted = true;
  await video.play();
  const fresh = place.cloneNode();
  fresh.append(parseHtml(after));
  morph(place, fresh);
  const now = place.querySelector('video');
  return [now === video, !video.paused, place.innerHTML === after];
}"""
VIDEO = '<video src="/static/clip.webm" loop=""></video>'


@pytest.mark.parametrize(
    "after",
    [
        f"<p>One.</p>\n<p>New.</p>\n{VIDEO}\n<p>Two, edited.</p>",
        f"{VIDEO}\n<p>Two.</p>",
        f"<p>New.</p>\n{VIDEO}",
        f"<h4>All</h4>\n<ul><li>new</li></ul>\n{VIDEO}<p>One.</p>\n<p>Two.</p>\n<p>Three.</p>",
        f"<p>One.</p>{VIDEO}",
    ],
)
async def test_a_video_plays_on_when_the_text_around_it_is_edited(
    server: Server, reader: Page, after: str
) -> None:
    await serve_clip(reader)
    await reader.goto(server.url)  # the home page has no script that could alter the video
    before = f"<p>One.</p>\n{VIDEO}\n<p>Two.</p>"
    assert await reader.evaluate(MORPH, [before, after]) == [True] * 3


async def test_a_video_plays_on_when_another_entry_is_edited(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=2)
    entries = await editor.entries(slug)
    await serve_clip(reader)
    await open_page(reader, server, slug)
    await reader.locator(f"#{entries[1]['id']} .body").evaluate(PLAY)
    await editor.edit(entries[0], body="Shorter.")
    await editor.delete(entries[0])
    await expect(reader.locator("article")).to_have_count(1)
    assert await reader.evaluate("!document.querySelector('video').paused")


async def test_an_edit_gets_a_label_unless_it_is_minor(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=3)
    minor, update, correction = await editor.entries(slug)
    await open_page(reader, server, slug)
    await editor.edit(minor, body="A comma, moved.", note_kind="minor")
    await editor.edit(update, body="More of it.", note_kind="update")
    await editor.edit(correction, body="Right.", note_kind="correction", note="It was Tuesday.")
    label = reader.locator(f"#{correction['id']} .note")
    await expect(label).to_have_text("Correction: It was Tuesday.")
    await expect(reader.locator(f"#{update['id']} .note")).to_contain_text("Updated")
    await expect(reader.locator(f"#{minor['id']} .body")).to_have_text("A comma, moved.")
    await expect(reader.locator(f"#{minor['id']} .note")).to_have_count(0)


async def test_a_deleted_entry_disappears_and_a_retracted_one_is_struck_through(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=2)
    marks: dict[str, Any] = {"key": True, "pinned": True}
    deleted = await editor.publish(slug, headline="To be deleted", **marks)
    retracted = await editor.publish(slug, headline="To be retracted", **marks)
    await open_page(reader, server, slug)
    await expect(reader.get_by_text("To be deleted")).to_have_count(3)
    await editor.delete(deleted)
    await editor.edit(retracted, status="retracted", note="We had it from one source.")
    await expect(reader.get_by_text("To be deleted")).to_have_count(0)
    article = reader.locator(f"#{retracted['id']}")
    await expect(article.locator("del h3")).to_have_text("To be retracted")
    await expect(article.locator(".note")).to_have_text("Retracted: We had it from one source.")


HOLD = """
window.held = [];
window.isHolding = false;
const Plain = WebSocket;
window.WebSocket = class extends Plain {
  set onmessage(handler) {
    super.onmessage = (event) => {
      const isHeld = window.isHolding && event.data.includes('"changes"');
      if (isHeld) window.heldTo = JSON.parse(event.data).changes.at(-1).offset;
      if (isHeld) window.held.push(() => handler(event));
      else handler(event);
    };
  }
};
"""
RELEASE = """async () => {
  const feed = document.querySelector('[role=feed]');
  const counts = [feed.children.length];
  for (const hand of window.held) hand();
  for (let frame = 0; frame < 10; frame += 1) {
    await new Promise(requestAnimationFrame);
    counts.push(feed.children.length);
  }
  return [...new Set(counts)];
}"""


async def test_a_burst_of_fifty_changes_is_painted_once(
    server: Server, editor: Editor, reader: Page
) -> None:
    """HOLD keeps messages back. RELEASE delivers them at once, and counts entries in each paint."""
    slug = await filled(editor, entries=2)
    await reader.add_init_script(HOLD)
    await open_page(reader, server, slug)
    await reader.evaluate("window.isHolding = true")
    last = [await editor.publish(slug, headline=f"New {n}") for n in range(50)][-1]
    await until(lambda: _is_held(reader, last["offset"]))
    assert await reader.evaluate(RELEASE) == [2, 52]


async def _is_held(page: Page, offset: int) -> bool:
    return bool(await page.evaluate("window.heldTo") == offset)


# -- times


async def times_of(page: Page, headline: str) -> str:
    """Return the visible times of an entry."""
    line = page.locator("article", has_text=headline).locator("p.when")
    return str(await line.evaluate("it => it.innerText")).split("\n")[0].replace("\u202f", " ")


async def with_times(editor: Editor, zone: str, *instants: str) -> str:
    """Return the slug of a blog in a zone, with one entry for each past instant."""
    slug = str((await editor.blog(timezone=zone))["slug"])
    for instant in instants:
        await editor.publish(slug, headline=f"At {instant}", published_at=instant)
    return slug


async def test_each_time_is_in_the_blogs_zone_with_the_abbreviation_of_that_day(
    server: Server, editor: Editor, browser: Browser
) -> None:
    """When clocks change, 1:30 AM comes twice, and only EDT or EST tells which one is meant."""
    expected = {
        "2025-03-09T06:59:00Z": "1:59 AM EST · March 9, 2025",
        "2025-03-09T07:00:00Z": "3:00 AM EDT · March 9, 2025",
        "2025-11-02T05:30:00Z": "1:30 AM EDT · November 2, 2025",
        "2025-11-02T06:30:00Z": "1:30 AM EST · November 2, 2025",
    }
    slug = await with_times(editor, "America/New_York", *expected)
    async with window(browser, timezone_id="Asia/Tokyo") as page:
        await open_page(page, server, slug)
        for instant, text in expected.items():
            before, _, after = (await times_of(page, instant)).partition(" / ")
            assert after.startswith(text)
            assert before.endswith("ago")


async def test_times_are_in_the_readers_zone_when_they_choose_it(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await with_times(editor, "America/New_York", "2025-11-02T05:30:00Z")
    async with window(browser, timezone_id="Europe/London") as page:
        await open_page(page, server, slug)
        await page.get_by_role("button", name="My time").click()
        assert " / 5:30 AM GMT · November 2, 2025" in await times_of(page, "At 2025")
        late = await editor.publish(slug, headline="Later", published_at="2025-06-01T12:00:00Z")
        await expect(page.locator(f"#{late['id']}")).to_have_count(1)
        assert " / 1:00 PM GMT+1 · June 1, 2025" in await times_of(page, "Later")
        await page.reload()
        await page.wait_for_selector("#status[data-state=live]")
        assert " / 5:30 AM GMT" in await times_of(page, "At 2025")
        await page.get_by_role("button", name="Blog time").click()
        assert " / 1:30 AM EDT · November 2, 2025" in await times_of(page, "At 2025")
        await page.reload()
        await page.wait_for_selector("#status[data-state=live]")
        assert " / 1:30 AM EDT" in await times_of(page, "At 2025")


def zone_where_it_is(hour: int) -> str:
    """Return a zone without summer time in which the current hour is `hour`."""
    ahead = (hour - datetime.now(UTC).hour + 12) % 24 - 12
    return f"Etc/GMT{-ahead:+}"  # in these names "+" is west of Greenwich


async def test_an_updates_time_has_a_date_when_the_entrys_day_is_another(
    server: Server, editor: Editor, browser: Browser
) -> None:
    """The entry is 12 hours older than its update.

    Both are on one day in the blog's zone, but on two days in the reader's zone.
    """
    then = (datetime.now(UTC) - timedelta(hours=12)).strftime("%Y-%m-%dT%H:%M:%SZ")
    slug = str((await editor.blog(timezone=zone_where_it_is(20)))["slug"])
    entry = await editor.publish(slug, published_at=then)
    await editor.edit(entry, body="Counted again.", note_kind="update")
    async with window(browser, timezone_id=zone_where_it_is(1)) as page:
        await open_page(page, server, slug)
        date = page.locator(".note .date")
        await expect(date).to_be_hidden()
        await page.get_by_role("button", name="My time").click()
        await expect(date).to_be_visible()
        await page.get_by_role("button", name="Blog time").click()
        await expect(date).to_be_hidden()


@pytest.mark.parametrize("zone", ["Europe/London", "Africa/Lagos", "America/Phoenix"])
async def test_readers_can_choose_their_zone_when_it_differs_in_some_season(
    server: Server, editor: Editor, browser: Browser, zone: str
) -> None:
    slug = await with_times(editor, "Europe/Paris", "2025-06-01T12:00:00Z")
    async with window(browser, timezone_id=zone) as page:
        await open_page(page, server, slug)
        await expect(page.get_by_role("button", name="My time")).to_be_visible()


async def test_readers_can_choose_blog_time_when_they_chose_theirs_elsewhere(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await with_times(editor, "Europe/Paris", "2025-06-01T12:00:00Z")
    async with window(browser, timezone_id="Europe/Berlin") as page:
        await page.goto(f"{server.url}/blogs/{slug}")
        await page.evaluate("localStorage.setItem('liveblog:zone', 'true')")
        await page.reload()
        await page.get_by_role("button", name="Blog time").click()
        await expect(page.get_by_role("button", name="My time")).to_be_hidden()


async def test_no_zone_is_offered_when_the_reader_is_in_the_blogs_zone(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await with_times(editor, "Europe/Paris")
    async with window(browser, timezone_id="Europe/Berlin") as page:
        await open_page(page, server, slug)
        await expect(page.get_by_role("button", name="My time")).to_be_hidden()


async def test_midnight_in_the_shown_zone_separates_entries_of_two_days(
    server: Server, editor: Editor, browser: Browser
) -> None:
    instants = ("2025-06-01T21:30:00Z", "2025-06-01T22:30:00Z", "2025-06-02T23:30:00Z")
    slug = await with_times(editor, "UTC", *instants)
    async with window(browser, timezone_id="Europe/Paris") as page:
        await open_page(page, server, slug)
        days = "all => all.map(it => it.dataset.day ?? '')"
        assert await page.eval_on_selector_all("[role=feed] article", days) == [
            "", "Sunday, June 1, 2025", "",
        ]  # fmt: skip
        await page.get_by_role("button", name="My time").click()
        assert await page.eval_on_selector_all("[role=feed] article", days) == [
            "", "Monday, June 2, 2025", "Sunday, June 1, 2025",
        ]  # fmt: skip
        await page.get_by_role("button", name="Oldest first").click()
        assert await page.eval_on_selector_all("[role=feed] article", days) == [
            "", "Monday, June 2, 2025", "Tuesday, June 3, 2025",
        ]  # fmt: skip


async def test_todays_date_is_hidden_when_a_wrong_clock_was_corrected(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = str((await editor.blog(timezone=zone_where_it_is(12)))["slug"])
    await editor.publish(slug, headline="Just now")
    await reader.clock.install(time="2031-05-05T12:00:00Z")
    await open_page(reader, server, slug)
    assert (await times_of(reader, "Just now")).startswith("now / ")
    await expect(reader.locator("article .date").first).to_be_hidden()


# -- order, older entries, links


async def test_the_order_is_remembered_when_a_reader_chooses_it(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=3)
    await open_page(reader, server, slug)
    await reader.get_by_role("button", name="Oldest first").click()
    assert await headlines(reader) == ["Entry 0", "Entry 1", "Entry 2"]
    await reader.reload()
    await reader.wait_for_selector("#status[data-state=live]")
    assert await headlines(reader) == ["Entry 0", "Entry 1", "Entry 2"]
    await reader.get_by_role("button", name="Newest first").click()
    assert await headlines(reader) == ["Entry 2", "Entry 1", "Entry 0"]
    await editor.publish(slug, headline="New")
    await expect(reader.locator(".fresh")).to_have_count(1)
    # The class `fresh` highlights a new entry. A change of the order would play that animation
    # again if the class stayed.
    await expect(reader.locator(".fresh")).to_have_count(0)


async def test_the_text_being_read_stays_in_place_when_older_entries_load(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    await open_page(reader, server, slug)
    paragraph = await scroll_to(reader, "Entry 25")
    before = await top(paragraph)
    for count in (40, 45):
        await reader.locator("#older a").evaluate("it => it.click()")
        await expect(reader.locator("[role=feed] > article")).to_have_count(count)
    assert await top(paragraph) == before
    assert await headlines(reader) == [f"Entry {n}" for n in reversed(range(45))]
    await expect(reader.locator("#older")).to_be_hidden()
    assert await reader.evaluate("window.sameDocument")


async def test_a_message_offers_another_try_when_older_entries_do_not_load(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_page(reader, server, slug)
    await reader.context.set_offline(True)
    await reader.locator("#older a").click()
    again = reader.get_by_role("link", name="Older updates could not be loaded. Try again")
    await expect(again).to_have_count(1)
    await reader.context.set_offline(False)
    await again.click()
    await expect(reader.locator("[role=feed] > article")).to_have_count(25)
    assert await reader.evaluate("window.sameDocument")


async def test_the_lists_get_changes_that_older_entries_brought_while_paused(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    oldest = (await editor.entries(slug))[-1]
    await open_page(reader, server, slug)
    await reader.get_by_role("button", name="Pause live updates").click()
    await editor.mark(oldest, pinned=True, key=True)
    await load_older(reader, 25)
    await reader.get_by_role("button", name="Resume live updates").click()
    await expect(reader.locator("#pinned article")).to_have_count(1)
    await expect(reader.locator("#key-events li")).to_have_count(1)


async def test_older_entries_load_when_the_blog_changes_meanwhile(
    server: Server, editor: Editor, reader: Page
) -> None:
    """An entry changes after the server has rendered it in a page of older entries.

    The reader gets the change before that page, and so requests the page again.
    """
    slug = await filled(editor, entries=25)
    oldest = (await editor.entries(slug))[-1]
    await open_page(reader, server, slug)
    asked: list[str] = []

    async def slowly(route: Any) -> None:
        asked.append(route.request.url)
        answer = await route.fetch()
        if len(asked) == 1:
            entry = await editor.edit(oldest, headline="Edited meanwhile")
            await until(lambda: _is_at_offset(reader, entry["offset"]))
        await route.fulfill(response=answer)

    await reader.route("**/*before=*", slowly)
    await reader.locator("#older a").click()
    await expect(reader.get_by_role("heading", name="Edited meanwhile")).to_have_count(1)
    await expect(reader.locator("[role=feed] > article")).to_have_count(25)
    assert len(asked) == 2


async def _is_at_offset(page: Page, offset: int) -> bool:
    position = await page.get_attribute("main", "data-position")
    return int(str(position).split(".")[1]) >= offset


async def test_the_focus_goes_to_the_first_older_entry_when_loaded_by_keyboard(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    await open_page(reader, server, slug)
    for first in (24, 4):
        await reader.locator("#older a").focus()
        await reader.keyboard.press("Enter")
        heading = reader.get_by_role("heading", name=f"Entry {first}", exact=True)
        await expect(heading).to_be_focused()


async def test_older_entries_load_once_when_requested_twice_at_once(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    await open_page(reader, server, slug)
    asked: list[str] = []
    reader.on("request", lambda it: asked.append(it.url))
    held = await hold_first(reader, "**/*before=*")
    await reader.locator("#older a").dblclick()
    await until(lambda: bool(held))
    await held[0].continue_()
    await expect(reader.locator("[role=feed] > article")).to_have_count(40)
    assert len([url for url in asked if "before=" in url]) == 1
    assert await reader.evaluate("window.sameDocument")


async def test_older_entries_change_live_when_they_are_loaded(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    oldest, other = (await editor.entries(slug))[-2:]
    await open_page(reader, server, slug)
    await load_older(reader, 25)
    await editor.edit(oldest, headline="Edited late")
    await editor.delete(other)
    await expect(reader.get_by_role("heading", name="Edited late")).to_have_count(1)
    await expect(reader.locator("[role=feed] > article")).to_have_count(24)


async def test_the_back_button_restores_the_place_among_older_entries(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    await open_page(reader, server, slug)
    await load_older(reader, 40, 45)
    paragraph = await scroll_to(reader, "Entry 3")
    before = await top(paragraph)
    await reader.goto(f"{server.url}/")
    await reader.go_back()
    await expect(reader.locator("[role=feed] > article")).to_have_count(45)
    await until(lambda: _is_at(reader, "Entry 3", before))


async def test_the_back_button_restores_the_place_when_opened_at_the_unread(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=45)
    await open_older(reader, server, editor, slug)
    await editor.publish(slug, headline="New")
    await reader.locator("#new").click()
    await expect(reader.get_by_role("heading", name="New")).to_be_focused()
    await load_older(reader, 40, 46)
    before = await top(await scroll_to(reader, "Entry 3"))
    await reader.goto(f"{server.url}/")
    await reader.go_back()
    await expect(reader.locator("[role=feed] > article")).to_have_count(46)
    await until(lambda: _is_at(reader, "Entry 3", before))


async def test_a_reloaded_page_is_at_the_top_when_the_reader_was_there(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await open_page(reader, server, slug)
    await reader.get_by_role("button", name="Pause live updates").click()
    for number in range(2):
        await editor.publish(slug, PARAGRAPHS, headline=f"New {number}")
    await reader.reload()
    await reader.wait_for_selector("#status[data-state=live]")
    await expect(reader.locator("[role=feed] > article")).to_have_count(27)
    assert await reader.evaluate("scrollY") == 0


async def _is_at(page: Page, headline: str, at: float) -> bool:
    paragraph = page.locator("article", has_text=headline).locator("p").last
    return abs(await top(paragraph) - at) <= 1


async def test_a_reloaded_page_restores_the_place_when_entries_came_above(
    server: Server, editor: Editor, reader: Page
) -> None:
    """Phones reload a tab that was hidden for a while; the reader must find the same text."""
    slug = await read_below(reader, server, editor)
    paragraph = reader.locator("article", has_text="Entry 5").locator("p").last
    before = await top(paragraph)
    for number in range(3):
        await editor.publish(slug, PARAGRAPHS, headline=f"New {number}")
    await expect(reader.locator("#new")).to_have_text("3 new updates")
    for _ in range(2):
        await reader.reload()
        await reader.wait_for_selector("#status[data-state=live]")
        await until(lambda: _is_in_place(paragraph, before))
    await reader.evaluate("scrollTo(0, 10)")
    await editor.publish(slug, PARAGRAPHS, headline="New 3")
    await expect(reader.get_by_role("heading", name="New 3")).to_have_count(1)
    await reader.reload()
    await reader.wait_for_selector("#status[data-state=live]")
    await expect(reader.get_by_role("heading", name="New 3")).to_be_in_viewport()


async def test_the_back_button_restores_the_place_after_a_key_event_and_reload(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    await editor.mark((await editor.entries(slug))[0], key=True, key_title="The first")
    await open_page(reader, server, slug)
    before = await top(await scroll_to(reader, "Entry 3"))
    await reader.reload()
    await reader.wait_for_selector("#status[data-state=live]")
    await reader.locator("#key-events a").dispatch_event(
        "click"
    )  # Playwright's `click()` scrolls to the link first, and the place would be lost
    await expect(reader.get_by_role("heading", name="Entry 7")).to_be_in_viewport()
    await reader.go_back()
    await until(lambda: _is_at(reader, "Entry 3", before))


async def test_a_reloaded_page_restores_the_place_when_the_entry_is_deleted(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=30)
    await open_page(reader, server, slug)
    await load_older(reader, 30)
    await scroll_to(reader, "Entry 6")
    at = await reader.evaluate("scrollY")
    await reader.evaluate("dispatchEvent(new Event('pagehide'))")  # this closes the stream
    for entry in (await editor.entries(slug))[22:25]:
        await editor.delete(entry)
    await reader.reload()
    await expect(reader.locator("[role=feed] > article")).to_have_count(27)
    await until(lambda: _is_scrolled_to(reader, at))


async def _is_scrolled_to(page: Page, place: float) -> bool:
    return abs(float(await page.evaluate("scrollY")) - place) <= 1


async def _is_in_place(paragraph: Locator, place: float) -> bool:
    return abs(await top(paragraph) - place) <= 1


async def test_a_copied_address_leads_to_its_entry_when_it_is_an_older_one(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = str((await editor.blog())["slug"])
    entry = await editor.publish(slug, headline="Long ago", key=True)
    await open_page(reader, server, slug)
    await reader.locator("#key-events").get_by_role("link", name="Long ago").click()
    copied = reader.url
    await editor.publish_many(slug, 20)
    await reader.goto("about:blank")
    await reader.goto(copied)
    await reader.wait_for_url(f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    await expect(reader.get_by_role("heading", name="Long ago")).to_be_in_viewport()


async def test_a_link_in_an_entry_leads_to_another_when_that_is_not_loaded(
    server: Server, editor: Editor, reader: Page
) -> None:
    """The link has this page's address and the entry's id as fragment.

    So the browser loads nothing, and the script must open the entry's own page.
    """
    slug = str((await editor.blog())["slug"])
    entry = await editor.publish(slug, headline="Long ago")
    await editor.publish_many(slug, 20)
    address = f"{server.url}/blogs/{slug}#{entry['id']}"
    await editor.publish(slug, f"As [we reported]({address}).")
    await open_page(reader, server, slug)
    await reader.get_by_role("link", name="we reported").click()
    await reader.wait_for_url(f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    await expect(reader.get_by_role("heading", name="Long ago")).to_be_in_viewport()


async def test_a_key_event_leads_to_its_entry_when_loaded_or_not(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = str((await editor.blog())["slug"])
    await editor.publish(slug, PARAGRAPHS, headline="Long ago", key=True)
    for number in range(25):
        await editor.publish(slug, PARAGRAPHS, headline=f"Entry {number}", key=number == 10)
    await open_page(reader, server, slug)
    events = reader.locator("#key-events")
    await events.get_by_role("link", name="Entry 10").click()
    await expect(reader.get_by_role("heading", name="Entry 10")).to_be_in_viewport()
    assert await reader.evaluate("window.sameDocument")
    await events.get_by_role("link", name="Long ago").click()
    await reader.wait_for_url("**/entries/*")
    await expect(reader.get_by_role("heading", name="Long ago")).to_be_in_viewport()


async def test_a_key_event_leads_to_its_entry_when_that_is_waiting(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await read_below(reader, server, editor)
    await editor.publish(slug, headline="The count has started", key=True)
    await expect(reader.locator("#new")).to_have_text("1 new update")
    link = reader.locator("#key-events").get_by_role("link", name="The count has started")
    await link.evaluate("it => it.click()")
    await expect(reader.get_by_role("heading", name="The count has started")).to_be_in_viewport()
    await expect(reader.locator("#new")).to_be_hidden()


async def test_a_permalink_opens_at_its_entry_and_highlights_it(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor)
    entry = (await editor.entries(slug))[4]
    await reader.goto(f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    article = reader.locator(f"#{entry['id']}")
    await expect(article).to_have_class("linked")
    await until(lambda: _is_clear(article))
    await editor.edit(entry, headline="Edited meanwhile")
    await expect(reader.get_by_role("heading", name="Edited meanwhile")).to_have_count(1)
    await expect(article).to_have_class("linked")


async def _is_clear(article: Locator) -> bool:
    return 48 <= await top(article) <= 200


async def test_nothing_of_an_entry_stays_on_its_page_when_it_is_taken_down(
    server: Server, editor: Editor, reader: Page
) -> None:
    """A permalink's title is the entry's headline and the blog's title; a takedown removes the first.

    The headline here contains the blog's old title, which a script might mistake for the second.
    """
    slug = await filled(editor, entries=1)
    entry = await editor.publish(slug, "Libel, word by word.", headline="Council libels Smith")
    await reader.goto(f"{server.url}/blogs/{slug}/entries/{entry['id']}")
    await reader.wait_for_selector("#status[data-state=live]")
    await editor.alter(slug, title="Town hall")
    await expect(reader).to_have_title("Council libels Smith · Town hall")
    await editor.delete(entry, takedown=True)
    await expect(reader).to_have_title("Town hall")
    assert "ibel" not in await reader.content()


SHARE = "navigator.share = async (what) => { window.shared = what; };"


async def test_sharing_uses_the_systems_dialog_when_there_is_one(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await reader.add_init_script(SHARE)
    await open_page(reader, server, slug)
    await reader.get_by_role("button", name="Share").click()
    assert await reader.evaluate("window.shared.url") == f"{server.url}/blogs/{slug}"
    await reader.locator("article").get_by_role("link", name="Share").click()
    assert "/entries/e" in await reader.evaluate("window.shared.url")


async def test_sharing_copies_the_link_when_the_system_has_no_dialog(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=1)
    await reader.add_init_script("delete Navigator.prototype.share")
    await open_page(reader, server, slug)
    await reader.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await reader.get_by_role("button", name="Share").click()
    await expect(reader.get_by_role("button", name="Link copied")).to_have_count(1)
    copied = await reader.evaluate("navigator.clipboard.readText()")
    assert copied == f"{server.url}/blogs/{slug}"


# -- before coverage, and drafts


async def test_an_upcoming_blog_shows_its_start_and_counts_down(
    server: Server, editor: Editor, browser: Browser, reader: Page
) -> None:
    fields = {"status": "upcoming", "timezone": "America/New_York"}
    slug = str((await editor.blog(**fields, starts_at="2030-06-01T18:00:00Z"))["slug"])
    async with window(browser) as page:
        await page.clock.install(time="2030-06-01T15:30:00Z")
        await page.add_init_script(NO_ANSWERS)
        await page.goto(f"{server.url}/blogs/{slug}")
        starts = page.locator(".starts")
        await expect(starts).to_contain_text("About to start: 2:00")
        await expect(starts).to_contain_text("EDT")
        await expect(starts.locator(".countdown")).to_have_text("(in 2 hours)")
        await expect(starts.locator(".date")).to_be_hidden()
    await open_page(reader, server, slug)
    await expect(reader.locator("#status")).to_have_text("Waiting for coverage to begin")


async def test_the_countdown_counts_seconds_and_is_empty_after_the_start(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = str((await editor.blog(status="upcoming", starts_at="2030-06-01T18:00:00Z"))["slug"])
    async with window(browser) as page:
        await page.add_init_script(NO_ANSWERS)
        await page.clock.install(time="2030-06-01T17:58:30Z")
        await page.goto(f"{server.url}/blogs/{slug}")
        left = page.locator(".countdown")
        await expect(left).to_have_text("(in 1 minute)")
        await page.clock.run_for(60_000)
        await expect(left).to_have_text(re.compile(r"\(in \d\d seconds\)"))
        await page.clock.run_for(60_000)
        await expect(left).to_have_text("")


async def test_a_blog_is_not_found_and_its_readers_leave_when_it_is_a_draft(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = str((await editor.blog(status="draft"))["slug"])
    answer = await reader.goto(f"{server.url}/blogs/{slug}")
    assert answer
    assert answer.status == 404
    await editor.alter(slug, status="live")
    await open_page(reader, server, slug)
    await editor.alter(slug, status="draft")
    await expect(reader.locator("#status")).to_have_text("No live updates, reload the page")


# -- accessibility


@pytest.mark.parametrize("width", [320, 640])  # 640: 1280 at 200 %
async def test_nothing_is_cut_off_when_the_window_is_narrow(
    server: Server, editor: Editor, browser: Browser, width: int
) -> None:
    long = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
    slug = await filled(editor, entries=2, title=long, dek=f"https://{'long' * 30}.example")
    body = f"{long}\n\n| a | {long} |\n| --- | --- |\n| 1 | 2 |\n\n    {long * 3}"
    await editor.publish(slug, body, headline=long, key=True, pinned=True, dateline=long)
    async with window(browser, viewport={"width": width, "height": 640}) as page:
        await open_page(page, server, slug)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_every_target_is_at_least_24_pixels_high_and_wide(
    server: Server, editor: Editor, browser: Browser
) -> None:
    """WCAG 2.2, criterion 2.5.8, requires this of all targets but links within a sentence."""
    slug = await filled(editor, entries=25)
    await editor.publish(slug, headline="A key event", key=True, pinned=True)
    async with window(browser, viewport={"width": 390, "height": 844}) as page:
        await open_page(page, server, slug)
        small = await page.eval_on_selector_all(
            "button, a",
            "all => all.filter(it => it.checkVisibility() && !it.closest('.body, .hint'))"
            ".map(it => [it.innerText, it.getBoundingClientRect()])"
            ".filter(([, {width, height}]) => width < 24 || height < 24)"
            ".map(([text, {width, height}]) => `${text}: ${width} x ${height}`)",
        )
        assert small == []


async def test_every_control_is_reached_and_outlined_by_keyboard(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    await editor.publish(slug, headline="A key event", key=True)
    await open_page(reader, server, slug)
    wanted = await reader.eval_on_selector_all(
        "button, a", "all => all.filter(it => it.checkVisibility()).length"
    )
    outlines: list[str] = []
    for _ in range(wanted):
        await reader.keyboard.press("Tab")
        outlines.append(
            await reader.evaluate(
                "(() => { const it = document.activeElement; window.reached ??= new Set();"
                " window.reached.add(it); return getComputedStyle(it).outlineStyle; })()"
            )
        )
    assert await reader.evaluate("window.reached.size") == wanted
    assert set(outlines) == {"solid"}


async def test_nothing_moves_when_the_reader_prefers_reduced_motion(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await filled(editor, entries=1)
    async with window(browser, reduced_motion="reduce") as page:
        await open_page(page, server, slug)
        entry = await editor.publish(slug, headline="New")
        article = page.locator(f"#{entry['id']}")
        await expect(article).to_have_class("fresh")
        assert await article.evaluate("it => it.getAnimations().length") == 0


async def test_a_printed_page_has_the_text_and_no_buttons(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=2)
    await open_page(reader, server, slug)
    await reader.emulate_media(media="print")
    assert await reader.locator("button:visible, [data-share]:visible").count() == 0
    await expect(reader.get_by_role("heading", name="Entry 1")).to_be_visible()


async def test_all_entries_and_a_refresh_link_are_there_without_scripts(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = await filled(editor, entries=45)
    async with window(browser, java_script_enabled=False) as page:
        await page.goto(f"{server.url}/blogs/{slug}")
        await expect(page.get_by_role("link", name="Refresh this page")).to_be_visible()
        assert await page.locator("button:visible").count() == 0
        read = await page.locator("article h3").all_inner_texts()
        while await page.get_by_role("link", name="Older updates").count():
            await page.get_by_role("link", name="Older updates").click()
            read += await page.locator("article h3").all_inner_texts()
        assert read == [f"Entry {n}" for n in reversed(range(45))]


async def test_a_page_has_one_script_one_timer_no_cookie_and_no_third_party(
    server: Server, editor: Editor, reader: Page
) -> None:
    slug = await filled(editor, entries=25)
    asked: list[str] = []
    reader.on("request", lambda it: asked.append(it.url))
    await reader.add_init_script(
        "window.timers = 0; const plain = setInterval;"
        "window.setInterval = (...given) => { window.timers += 1; return plain(...given); };"
    )
    await open_page(reader, server, slug)
    await load_older(reader, 25)
    assert [url for url in asked if not url.startswith(f"{server.url}/")] == []
    assert len([url for url in asked if url.endswith(".js")]) == 1
    assert await reader.context.cookies() == []
    assert await reader.evaluate("window.timers") == 1


@pytest.mark.parametrize(
    "act",
    [
        "document.body.innerHTML = '<p>x'",
        "document.body.setAttribute('onclick', 'x')",
        "document.createElement('script').src = 'https://other.example/x.js'",
        "trustedTypes.createPolicy('liveblog', {})",
    ],
)
async def test_the_browser_blocks_markup_and_scripts_outside_the_pages_policy(
    server: Server, editor: Editor, browser: Browser, act: str
) -> None:
    slug = await filled(editor, entries=1)
    async with window(browser, expected="Content Security Policy|Trusted") as page:
        await open_page(page, server, slug)
        tried = (
            f"() => {{ try {{ {act}; return 'done'; }} catch (error) {{ return error.name; }} }}"
        )
        assert await page.evaluate(tried) == "TypeError"
