"""Nothing that an editor typed at the desk is lost, and nothing is published twice."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from kit.servers import Editor, Server
from kit.waiting import until
from kit.windows import PASSWORD, add_editor, hold_first, open_desk, sign_in, window
from playwright.async_api import Browser, BrowserContext, Error, Page, Route, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = "#compose [name=body]"
HEADLINE = "#compose [name=headline]"
OFFERS = "#offers li"
CARDS = "#queue li"


@pytest_asyncio.fixture(loop_scope="session")
async def slug(editor: Editor) -> str:
    return str((await editor.blog())["slug"])


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, server: Server, slug: str) -> AsyncIterator[Page]:
    async with window(browser) as opened:
        await open_desk(opened, server, slug)
        yield opened


async def other_tab(context: BrowserContext, server: Server, slug: str) -> Page:
    tab = await context.new_page()
    await tab.goto(f"{server.url}/desk/blogs/{slug}")
    await tab.wait_for_selector("#status[data-state=live]")
    return tab


async def look(tab: Page) -> None:
    """Let a page do what it does when its tab is shown again."""
    await tab.evaluate("document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))")


async def texts(editor: Editor, slug: str) -> list[str]:
    """Return the texts of the published entries, the oldest first."""
    return [it["body"] for it in reversed(await editor.entries(slug))]


async def test_each_tab_keeps_its_text_when_tabs_open_and_close(
    server: Server, slug: str, page: Page
) -> None:
    await page.fill(BODY, "Typed in the first tab.")
    second = await other_tab(page.context, server, slug)
    await expect(second.locator(BODY)).to_have_value("")
    await expect(second.locator("#offers")).to_be_hidden()
    await second.fill(BODY, "Typed in the second tab.")
    await page.reload()
    await expect(page.locator(BODY)).to_have_value("Typed in the first tab.")
    await page.close()
    await look(second)
    await expect(second.locator(OFFERS)).to_contain_text("Typed in the first tab.")
    await expect(second.locator(OFFERS)).to_contain_text(re.compile(r"Unsent text from \d\d:\d\d"))
    await second.click("[data-act=restore]")
    apart = second.locator("#apart form [name=body]")
    await expect(apart).to_have_value("Typed in the first tab.")
    await expect(second.locator(BODY)).to_have_value("Typed in the second tab.")
    await second.close()
    third = await other_tab(page.context, server, slug)
    await expect(third.locator(OFFERS)).to_have_count(2)
    await third.locator(OFFERS, has_text="first").locator("[data-act=discard]").click()
    await third.click("[data-act=restore]")
    await expect(third.locator(BODY)).to_have_value("Typed in the second tab.")
    await expect(third.locator("#offers")).to_be_hidden()


async def test_a_duplicated_tab_gets_an_id_of_its_own_without_locks(
    server: Server, slug: str, page: Page
) -> None:
    await page.context.add_init_script("delete Navigator.prototype.locks")
    await page.reload()
    await page.fill(BODY, "Typed in the first tab.")
    async with page.expect_popup() as opening:
        await page.evaluate("window.open(location.href)")
    copy = await opening.value
    await copy.wait_for_selector("#status[data-state=live]")
    stored = "sessionStorage.getItem('liveblog tab')"
    await until(lambda: _differs(page, copy, stored))
    await copy.fill(BODY, "Typed in its copy.")
    await page.reload()
    await expect(page.locator(BODY)).to_have_value("Typed in the first tab.")


async def _differs(one: Page, other: Page, expression: str) -> bool:
    return bool(await one.evaluate(expression) != await other.evaluate(expression))


async def test_a_byline_stays_with_its_text_when_the_entry_before_had_it(
    server: Server, editor: Editor, slug: str, page: Page
) -> None:
    names = page.locator("#compose [name=byline]")
    await page.click("#compose [data-chip=byline] summary")
    await page.fill("#compose [name=byline] >> nth=0", "Ann Lee")
    await page.fill(BODY, "The first.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator(CARDS)).to_have_count(0)
    await expect(page.locator("[role=feed] article")).to_have_count(1)
    await page.fill(BODY, "By Ann, too.")
    await page.reload()
    await expect(page.locator(BODY)).to_have_value("By Ann, too.")
    await expect(names.first).to_have_value("Ann Lee")
    other = await other_tab(page.context, server, slug)
    await other.fill(BODY, "By nobody.")
    await other.close()
    await page.press(BODY, "Control+Enter")
    await look(page)
    await page.click("[data-act=restore]")
    await expect(page.locator(BODY)).to_have_value("By nobody.")
    await expect(names.first).to_have_value("")
    await page.press(BODY, "Control+Enter")
    await until(lambda: _has(editor, slug, ["The first.", "By Ann, too.", "By nobody."]))
    bylines = [it["byline"] for it in reversed(await editor.entries(slug))]
    assert bylines == [["Ann Lee"], ["Ann Lee"], []]


async def test_a_kept_time_stays_in_its_zone_when_the_blog_gets_another(
    editor: Editor, slug: str, page: Page
) -> None:
    chip = page.locator("#compose [data-chip=publish_at]")
    await page.fill(BODY, "At noon in London.")
    await chip.locator("summary").click()
    await page.fill("#compose [name=publish_at]", "2040-01-03T12:00")
    await editor.alter(slug, timezone="Asia/Tokyo")
    await page.reload()
    await expect(chip.locator(".hint")).to_have_text("time in UTC")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("#held li")).to_have_count(1)
    [entry] = (await editor.ok("GET", f"/{slug}/entries?status=scheduled"))["entries"]
    assert entry["publish_at"] == "2040-01-03T12:00:00.000Z"
    await page.reload()
    await expect(chip.locator(".hint")).to_have_text("time in Asia/Tokyo")


SLOW_LOCKS = """
const request = LockManager.prototype.request;
const waited = new Promise((done) => (window.release = done));
LockManager.prototype.request = async function (...all) {
  await waited;
  return request.apply(this, all);
};
"""


async def test_letters_typed_while_the_page_starts_replace_no_kept_text(page: Page) -> None:
    await page.fill(BODY, "Kept before.")
    await page.context.add_init_script(SLOW_LOCKS)
    await page.reload()
    await page.fill(BODY, "Typed early.")
    await page.evaluate("release()")
    await expect(page.locator(BODY)).to_have_value("Kept before.")
    await expect(page.locator(OFFERS)).to_contain_text("Typed early.")


async def test_an_edit_opened_while_the_page_starts_replaces_no_kept_text(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await _edited(editor, slug, page)
    body = page.locator("#edit [name=body]")
    await page.context.add_init_script(SLOW_LOCKS)
    await page.reload()
    await page.click(f"#{entry['id']} [data-do=edit]")
    await body.fill("Typed early.")
    await page.evaluate("release()")
    await expect(body).to_have_value("Mine.")
    await expect(page.locator(OFFERS)).to_contain_text("Typed early.")


async def test_letters_typed_while_the_page_starts_are_offered_after_a_reload(
    page: Page,
) -> None:
    await page.add_init_script(SLOW_LOCKS)
    await page.reload()
    await page.fill(BODY, "Typed early.")
    await page.reload()
    await page.evaluate("release()")
    await expect(page.locator(OFFERS)).to_contain_text("Typed early.")
    await page.click("[data-act=restore]")
    await expect(page.locator(BODY)).to_have_value("Typed early.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("[role=feed] article .body")).to_have_text("Typed early.")
    await expect(page.locator("#offers")).to_be_hidden()


async def test_all_forms_keep_their_text_when_left_in_every_way(
    server: Server, editor: Editor, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "Stored.")
    await page.fill(BODY, "A new entry.")
    await page.click("#header-panel summary")
    await page.fill("#header [name=dek]", "A new dek.")
    await page.click(f"#{entry['id']} [data-do=edit]")
    await page.fill("#edit [name=body]", "An edit.")
    await page.keyboard.press("Escape")
    await expect(page.locator(OFFERS)).to_contain_text("An edit.")
    await page.reload()
    await expect(page.locator(BODY)).to_have_value("A new entry.")
    await page.goto(f"{server.url}/desk")
    await page.go_back()
    await expect(page.locator(BODY)).to_have_value("A new entry.")
    await expect(page.locator("#header [name=dek]")).to_have_value("A new dek.")
    await page.click(f"#{entry['id']} [data-do=edit]")
    await expect(page.locator("#edit [name=body]")).to_have_value("An edit.")
    await page.click("#edit [data-reason=''] button")
    await expect(page.locator("#edit [name=body]")).to_have_value("Stored.")
    await page.keyboard.press("Escape")
    await expect(page.locator("#offers")).to_be_hidden()


async def test_an_entrys_own_page_keeps_its_text_and_saves_it(
    server: Server, editor: Editor, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "Stored.")
    await page.goto(f"{server.url}/desk/blogs/{slug}/entries/{entry['id']}")
    await page.fill("#edit [name=body]", "Edited on its page.")
    await page.reload()
    await expect(page.locator("#edit [name=body]")).to_have_value("Edited on its page.")
    await expect(page.locator("#edit .reason.quiet")).to_contain_text("was restored")
    await page.click("#edit button.primary")
    await page.wait_for_url(f"{server.url}/desk/blogs/{slug}")
    assert await texts(editor, slug) == ["Edited on its page."]


async def test_letters_arrive_in_the_composer_when_an_edit_was_closed(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "Stored.")
    await page.focus(BODY)
    # A script's click moves no focus.
    await page.locator(f"#{entry['id']} [data-do=edit]").evaluate("it => it.click()")
    await expect(page.locator("#edit [name=body]")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator("#editing")).to_be_empty()
    await expect(page.locator(BODY)).to_be_focused()
    await page.keyboard.type("Typed.")
    await expect(page.locator(BODY)).to_have_value("Typed.")


async def test_each_of_two_deletions_has_an_undo_of_its_own(
    editor: Editor, slug: str, page: Page
) -> None:
    for text in ("One", "Two"):
        entry = await editor.publish(slug, text)
        await page.click(f"#{entry['id']} [data-do=delete] button")
        await expect(page.locator(f"#{entry['id']}")).to_have_count(0)
    undo = page.locator("#notice [data-do=restore] button")
    await expect(undo).to_have_count(2)
    await undo.first.click()
    await expect(undo).to_have_count(1)
    await undo.first.click()
    await expect(undo).to_have_count(0)
    await until(lambda: _has(editor, slug, ["One", "Two"]))


async def test_all_characters_are_offered_when_the_renderer_is_killed(
    server: Server, slug: str, page: Page
) -> None:
    await page.focus(BODY)
    await page.keyboard.type("Every single character.")
    with contextlib.suppress(Error):
        await page.goto("chrome://crash")
    tab = await other_tab(page.context, server, slug)
    await tab.click("[data-act=restore]")
    await expect(tab.locator(BODY)).to_have_value("Every single character.")


async def test_a_half_written_header_stays_when_coverage_ends(slug: str, page: Page) -> None:
    await page.click("#header-panel summary")
    await page.fill("#header [name=summary]", "Half a summ")
    await page.click("#end-panel summary")
    await page.click("#end button")
    await expect(page.locator("#reopen")).to_be_visible()
    await expect(page.locator("#header [name=summary]")).to_have_value("Half a summ")
    await page.click("#header button.primary")
    await expect(page.locator("#notice")).to_contain_text("Header saved")
    await expect(page.locator("#reopen")).to_be_visible()


async def test_entries_are_sent_once_in_order_when_the_network_is_back(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.context.set_offline(True)
    for text in ("First", "Second", "Third"):
        await page.fill(BODY, text)
        await page.press(BODY, "Control+Enter")
        await expect(page.locator(BODY)).to_have_value("")
    await expect(page.locator(CARDS)).to_have_count(3)
    await expect(page.locator(CARDS).first).to_contain_text("Waiting for the network")
    await page.locator(CARDS, has_text="Second").locator("[data-act=back]").click()
    await expect(page.locator(BODY)).to_have_value("Second")
    await page.context.set_offline(False)
    await expect(page.locator("#queue")).to_be_hidden()
    assert await texts(editor, slug) == ["First", "Third"]


async def test_a_rejected_entry_steps_aside_and_the_next_is_published(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.fill(HEADLINE, "h" * 301)
    await page.fill(BODY, "Rejected at first.")
    await page.press(BODY, "Control+Enter")
    await page.fill(BODY, "Published meanwhile.")
    await page.press(BODY, "Control+Enter")
    apart = page.locator("#apart .apart")
    await expect(apart.locator("[data-reason=headline]")).to_contain_text("300")
    await expect(apart.locator("[name=body]")).to_have_value("Rejected at first.")
    await apart.locator("[name=headline]").fill("Short")
    await apart.locator("[name=headline]").press("Control+Enter")
    await expect(apart).to_have_count(0)
    await expect(page.locator(BODY)).to_be_focused()
    await until(lambda: _has(editor, slug, ["Published meanwhile.", "Rejected at first."]))


async def _has(editor: Editor, slug: str, wanted: list[str]) -> bool:
    return await texts(editor, slug) == wanted


async def test_nothing_is_published_under_another_name_without_a_choice(
    browser: Browser, server: Server, editor: Editor, slug: str, page: Page
) -> None:
    await page.fill(BODY, "Whose words?")
    await until(lambda: _kept(page, slug))
    await add_editor(server, "kim")
    await sign_in_as(page, "kim")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("#who")).to_contain_text("kim has signed in")
    assert await texts(editor, slug) == []
    await page.click("[data-who=session]")
    await until(lambda: _has(editor, slug, ["Whose words?"]))
    await expect(page.locator("#asking")).to_be_hidden()
    async with window(browser) as other:
        await sign_in(other, server)
        await until(lambda: _keeps_nothing(other, slug))


async def _keeps_nothing(page: Page, slug: str) -> bool:
    return not await _kept(page, slug)


async def test_another_name_sends_nothing_that_may_be_published_already(
    server: Server, editor: Editor, slug: str, page: Page
) -> None:
    await add_editor(server, "lee")
    lee = await other_tab(page.context, server, slug)  # to become lee's own page

    lost: list[Route] = []

    async def lose_answer(route: Route) -> None:
        if lost:
            return await route.continue_()
        lost.append(route)
        await route.fetch()
        await sign_in_as(lee, "lee")
        return await route.abort("connectionreset")

    await page.route("**/entries", lose_answer)
    await page.fill(BODY, "Published once.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("#who")).to_contain_text("lee has signed in")
    await lee.reload()
    await page.click("[data-who=session]")
    await expect(page.locator(CARDS)).to_contain_text("may be published already")
    assert await texts(editor, slug) == ["Published once."]
    await sign_in_as(page, "dana")
    await page.click(f"{CARDS} [data-act=press]")
    await expect(page.locator("#who")).to_contain_text("dana has signed in")
    await all_told(page, lee)
    await expect(lee.locator("#asking")).to_be_hidden()


async def slow_answer(page: Page) -> asyncio.Event:
    """Hold back the answer to the first entry until the returned event is set."""
    answered = asyncio.Event()

    async def hold(route: Route) -> None:
        answer = await route.fetch()
        await answered.wait()
        await route.fulfill(response=answer)

    await page.route("**/entries", hold, times=1)
    await page.fill(BODY, "Stored once.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator(CARDS)).to_contain_text("Publishing")
    return answered


async def test_another_name_does_not_send_what_is_being_sent(
    server: Server, editor: Editor, slug: str, page: Page
) -> None:
    await add_editor(server, "eve")
    answered = await slow_answer(page)
    await until(lambda: _has(editor, slug, ["Stored once."]))
    await sign_in_as(page, "eve")
    await page.fill(BODY, "Typed meanwhile.")
    await page.click("[data-who=session]")
    await expect(page.locator(CARDS)).to_contain_text("may be published already")
    answered.set()
    await expect(page.locator(CARDS)).to_have_count(0)
    assert await texts(editor, slug) == ["Stored once."]


async def test_a_text_that_was_taken_back_says_when_it_is_stored(
    editor: Editor, slug: str, page: Page
) -> None:
    answered = await slow_answer(page)
    await page.click(f"{CARDS} [data-act=back]")
    reason = page.locator("#compose [data-reason='']")
    await expect(reason).to_contain_text("may be published already")
    await expect(page.locator(BODY)).to_have_value("Stored once.")
    answered.set()
    await expect(reason).to_contain_text("stored after all")
    await page.fill(BODY, "")
    await page.fill(BODY, "Another text.")
    await page.press(BODY, "Control+Enter")
    await until(lambda: _has(editor, slug, ["Stored once.", "Another text."]))


async def all_told(page: Page, other: Page) -> None:
    """Wait until another tab has got all messages of a page."""
    channel = "new BroadcastChannel('liveblog desk')"
    told = f"void (window.told = new Promise(done => ({channel}).onmessage = it => it.data.last && done()))"
    await other.evaluate(told)
    await page.evaluate(f"{channel}.postMessage({{last: true}})")
    await other.evaluate("told")


async def sign_in_as(page: Page, name: str) -> None:
    """Sign in as another editor, as in another tab of the same browser."""
    await page.evaluate(
        "values => fetch('/desk/sign-in', {method: 'POST', body: new URLSearchParams(values)})",
        {"name": name, "password": PASSWORD},
    )


async def test_an_edit_can_be_saved_again_when_another_tab_sent_it_unheard(
    server: Server, editor: Editor, slug: str, page: Page
) -> None:
    await _edited(editor, slug, page)
    other = await other_tab(page.context, server, slug)
    await other.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
    await page.route("**/entries/*", lambda route: route.abort())
    await page.click("#edit button.primary")
    await expect(page.locator("#edit[data-busy]")).to_have_count(1)
    await expect(page.locator(CARDS)).to_have_count(1)
    await look(other)
    await until(lambda: _has(editor, slug, ["Mine."]))
    await look(page)
    await expect(page.locator("#edit[data-busy]")).to_have_count(0)


async def test_the_same_entry_is_sent_when_the_editor_signs_in_in_place(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.context.clear_cookies()
    await page.fill(BODY, "Sent after all.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("#signing [name=name]")).to_have_value("dana")
    password = page.locator("#signing [name=password]")
    await password.focus()
    async with page.expect_response("**/entries"):
        await page.evaluate("window.dispatchEvent(new Event('online'))")
    await page.evaluate("navigator.locks?.query()")  # the page asks it before it asks for a session
    await expect(password).to_be_focused()
    await page.fill("#signing [name=password]", "wrong horse battery")
    await page.press("#signing [name=password]", "Enter")
    await expect(page.locator("#signing [data-reason='']")).not_to_be_empty()
    await page.fill("#signing [name=password]", PASSWORD)
    await page.press("#signing [name=password]", "Enter")
    await expect(page.locator("#asking")).to_be_hidden()
    await until(lambda: _has(editor, slug, ["Sent after all."]))


async def test_my_version_is_offered_when_theirs_was_saved_instead(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "The first text.", headline="Before")
    await page.click(f"#{entry['id']} [data-do=edit]")
    await page.fill("#edit [name=body]", "My version.")
    await editor.edit(entry, body="Their version.", headline="After")
    await page.press("#edit [name=body]", "Control+Enter")
    theirs = page.locator("#edit .theirs")
    await expect(theirs.locator("textarea")).to_have_value("Their version.")
    await expect(page.locator("#edit [name=headline]")).to_have_value("After")
    await page.type("#edit [name=body]", " And more.")
    await theirs.locator("button").click()
    await expect(page.locator("#edit [name=body]")).to_have_value("Their version.")
    await expect(theirs.locator("textarea")).to_have_value("My version. And more.")
    await page.press("#edit [name=body]", "Control+Enter")
    await expect(page.locator("#editing")).to_be_hidden()
    await expect(page.locator(OFFERS)).to_contain_text(["My version. And more."])
    await page.reload()
    await page.click("[data-act=restore]")
    await expect(page.locator("#edit [name=body]")).to_have_value("My version. And more.")


async def test_a_conflict_is_shown_again_when_its_form_was_left(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "The first text.")
    edit, body, theirs = f"#{entry['id']} [data-do=edit]", "#edit [name=body]", ".theirs textarea"
    await page.click(edit)
    await page.fill(body, "My version.")
    await editor.edit(entry, body="Their version.")
    for _ in range(2):
        await page.press(body, "Control+Enter")
        await expect(page.locator(theirs)).to_have_value("Their version.")
        await expect(page.locator(body)).to_have_value("My version.")
        await page.keyboard.press("Escape")
        await page.reload()
        await page.click(edit)
        await expect(page.locator(body)).to_have_value("My version.")
        await expect(page.locator(OFFERS)).to_have_count(1)
    await expect(page.locator(OFFERS)).to_contain_text("Edit: Their version.")
    assert await texts(editor, slug) == ["Their version."]
    await page.press(body, "Control+Enter")
    await expect(page.locator(theirs)).to_have_value("Their version.")
    await page.press(body, "Control+Enter")
    await expect(page.locator("#editing")).to_be_hidden()
    assert await texts(editor, slug) == ["My version."]


# Restores the first text that is offered. Reads of the storage wait for `release`, but for the first.
RESTORE_SLOWLY = """
window.reads = 0;
const getAll = IDBObjectStore.prototype.getAll;
const waited = new Promise((done) => (window.release = done));
IDBObjectStore.prototype.getAll = function (...all) {
  const [asked, shown] = [getAll.apply(this, all), {}];
  const wait = (window.reads += 1) === 1 ? Promise.resolve() : waited;
  asked.onsuccess = () => wait.then(() => ((shown.result = asked.result), shown.onsuccess()));
  return shown;
};
document.querySelector('[data-act=restore]').click();
"""


async def test_letters_typed_while_a_text_is_restored_are_offered(
    server: Server, slug: str, page: Page
) -> None:
    other = await other_tab(page.context, server, slug)
    await other.fill(BODY, "Typed in a closed tab.")
    await other.close()
    await look(page)
    await expect(page.locator(OFFERS)).to_have_count(1)
    await page.evaluate(RESTORE_SLOWLY)
    await until(lambda: page.evaluate("reads > 1"))
    await page.fill(BODY, "Typed meanwhile.")
    await page.evaluate("release()")
    await expect(page.locator(BODY)).to_have_value("Typed in a closed tab.")
    await expect(page.locator(OFFERS)).to_contain_text(["Typed meanwhile."])


async def test_a_headers_conflict_is_shown_again_when_the_page_was_left(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.click("#header-panel summary")
    await page.fill("#header [name=dek]", "My dek.")
    await editor.alter(slug, dek="Their dek.")
    for _ in range(2):
        await page.click("#header button.primary")
        await expect(page.locator("#header .theirs textarea")).to_have_value("Their dek.")
        await page.reload()
        await expect(page.locator("#header [name=dek]")).to_have_value("My dek.")
    await page.click("#header button.primary")
    await page.click("#header .theirs button")
    await expect(page.locator("#header [name=dek]")).to_have_value("Their dek.")
    await page.click("#header button.primary")
    await expect(page.locator(".theirs")).to_have_count(0)
    await expect(page.locator(OFFERS).first).to_contain_text("My dek.")


async def test_letters_arrive_in_the_box_when_a_conflict_is_shown(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await _edited(editor, slug, page)
    await editor.edit(entry, body="Theirs.")
    await page.focus("#edit [name=body]")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#edit .theirs textarea")).to_have_value("Theirs.")
    await expect(page.locator("#edit [name=body]")).to_be_focused()
    await page.keyboard.type(" More.")
    await expect(page.locator("#edit [name=body]")).to_have_value("Mine. More.")


async def test_enter_in_a_box_of_one_line_ends_no_coverage(page: Page) -> None:
    await page.click("#end-panel summary")
    await page.fill("#end [name=successor_text]", "Elsewhere")
    await page.press("#end [name=successor_text]", "Enter")
    await page.fill(BODY, "Still live.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("[role=feed] article .body")).to_have_text("Still live.")
    await expect(page.locator("#end [name=successor_text]")).to_have_value("Elsewhere")


async def test_a_session_is_asked_for_in_place_when_edit_meets_its_end(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "Stored.")
    await page.wait_for_selector(f"#{entry['id']} [data-do=edit]")
    await page.context.clear_cookies()
    await page.click(f"#{entry['id']} [data-do=edit]")
    await expect(page.locator("#asking")).to_be_visible()


async def test_a_dialog_stays_when_a_slow_answer_is_about_another_entry(
    editor: Editor, slug: str, page: Page
) -> None:
    first, second = [await editor.publish(slug, f"Entry {n}.") for n in "12"]
    body = page.locator("#edit [name=body]")
    await expect(page.locator(f"#{second['id']}")).to_be_visible()
    deleting = await hold_first(page, f"**/entries/{first['id']}/delete")
    editing = await hold_first(page, f"**/desk/blogs/{slug}/entries/{first['id']}")
    await page.click(f"#{first['id']} [data-do=delete] button")
    await page.click(f"#{first['id']} [data-do=edit]")
    await until(lambda: bool(editing and deleting))
    await page.click(f"#{second['id']} [data-do=edit]")
    await expect(body).to_have_value("Entry 2.")
    await body.press_sequentially(" Mine.")
    for held in (editing, deleting):
        async with page.expect_response(held[0].request.url) as answered:
            await held[0].continue_()
        await (await answered.value).finished()
    await expect(page.locator("#notice [data-do=restore]")).to_have_count(1)
    await expect(body).to_be_focused()
    await expect(body).to_have_value("Entry 2. Mine.")


async def test_a_failure_of_the_script_is_shown_and_the_text_stays(
    browser: Browser, server: Server, slug: str
) -> None:
    async with window(browser, expected="no luck") as page:
        await open_desk(page, server, slug)
        await page.fill(BODY, "Still here.")
        await page.evaluate(
            "void (String.prototype.padStart = () => { throw new Error('no luck'); })"
        )
        await page.press(BODY, "Control+Enter")
        await expect(page.locator("#notice")).to_contain_text("no luck")
        await expect(page.locator(BODY)).to_have_value("Still here.")


@pytest.mark.parametrize(
    "script",
    [
        "Object.defineProperty(window, 'indexedDB', {value: null});",
        "IDBFactory.prototype.open = () => ({});",
    ],
    ids=["missing", "silent"],
)
async def test_entries_are_sent_when_the_browsers_storage_never_answers(
    browser: Browser, server: Server, editor: Editor, slug: str, script: str
) -> None:
    async with window(browser) as page:
        await page.add_init_script(script)
        await open_desk(page, server, slug)
        await expect(page.locator("#compose .unkept")).to_be_visible()
        await page.fill(BODY, "Published all the same.")
        await page.press(BODY, "Control+Enter")
        await until(lambda: _has(editor, slug, ["Published all the same."]))


# The storage opens when the test calls `openStorage`. It has what the tab kept before.
LATE = """
const open = IDBFactory.prototype.open;
window.openStorage = () => {};
IDBFactory.prototype.open = function (...all) {
  const asked = {};
  window.openStorage = () => {
    const opening = open.apply(this, all);
    opening.onupgradeneeded = () => ((asked.result = opening.result), asked.onupgradeneeded());
    opening.onsuccess = () => ((asked.result = opening.result), asked.onsuccess());
  };
  return asked;
};
"""


async def test_texts_stay_noted_until_a_late_storage_opens(page: Page) -> None:
    await page.fill(BODY, "Kept before.")
    await until(lambda: page.evaluate(TEXTS))
    await page.context.add_init_script(LATE)
    await page.reload()
    await expect(page.locator("#compose .unkept")).to_be_visible()
    await page.fill(BODY, "Typed without storage.")
    await page.reload()
    await expect(page.locator("#compose .unkept")).to_be_visible()
    await page.fill(BODY, "Typed while it was late.")
    await page.evaluate("openStorage()")
    offers = page.locator("#offers .words")
    await expect(offers).to_have_text(["Typed without storage.", "Kept before."])
    await page.type(BODY, " And after.")
    await expect(page.locator(".unkept")).to_have_count(0)
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("[role=feed] article .body")).to_have_text(
        "Typed while it was late. And after."
    )
    await expect(offers).to_have_text(["Typed without storage.", "Kept before."])


# Closes the connections to the storage, as WebKit does in the background.
CLOSE_BASES = """
const open = IDBFactory.prototype.open;
const bases = [];
window.closeBases = () => bases.splice(0).forEach((it) => it.close());
IDBFactory.prototype.open = function (...all) {
  const opening = open.apply(this, all);
  opening.addEventListener('success', () => bases.push(opening.result));
  return opening;
};
"""


async def test_texts_are_kept_when_the_browser_closed_its_storage_meanwhile(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.context.add_init_script(CLOSE_BASES)
    await page.reload()
    await page.wait_for_selector("#status[data-state=live]")
    await page.evaluate("closeBases()")
    await page.fill(BODY, "Typed after that.")
    await page.reload()
    await expect(page.locator(BODY)).to_have_value("Typed after that.")
    await page.wait_for_selector("#status[data-state=live]")
    await page.evaluate("closeBases()")
    await page.press(BODY, "Control+Enter")
    await until(lambda: _has(editor, slug, ["Typed after that."]))
    await expect(page.locator(".unkept")).to_have_count(0)


# The texts that the browser has stored.
TEXTS = """async () => {
  const resultOf = (asked) => new Promise((done) => (asked.onsuccess = () => done(asked.result)));
  const base = await resultOf(indexedDB.open('liveblog', 1));
  const all = await resultOf(base.transaction('records').objectStore('records').getAll());
  base.close();
  return all.filter((it) => it.id[2] === 'text').length;
}"""


async def test_an_edit_is_shown_from_the_server_when_the_browser_lost_its_texts(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await _edited(editor, slug, page)
    await until(lambda: _kept(page, slug))
    await page.keyboard.press("Escape")
    await page.goto("about:blank")
    await page.go_back(wait_until="commit")
    await page.evaluate("indexedDB.deleteDatabase('liveblog')")
    await page.reload()
    await expect(page.locator(OFFERS)).to_contain_text("Typed in another browser")
    await page.click(f"#{entry['id']} [data-do=edit]")
    await expect(page.locator("#edit [name=body]")).to_have_value("Mine.")
    await expect(page.locator(OFFERS)).to_have_count(0)


async def test_no_text_is_kept_when_the_letters_after_a_press_were_removed(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await _edited(editor, slug, page)
    held = await hold_first(page, f"**/entries/{entry['id']}")
    body = page.locator("#edit [name=body]")
    await body.press("Control+Enter")
    await until(lambda: bool(held))
    await body.press("x")
    await body.press("Backspace")
    await held[0].continue_()
    await expect(page.locator("#editing")).to_be_hidden()
    await expect(page.locator("[role=feed] article .body")).to_have_text("Mine.")
    await until(lambda: _records_nothing(page))


async def _records_nothing(page: Page) -> bool:
    return not await page.evaluate(TEXTS)


async def test_the_server_keeps_a_text_that_was_typed_before_signing_in_again(
    slug: str, page: Page
) -> None:
    await page.context.clear_cookies()
    await page.fill(BODY, "Typed without a session.")
    await page.fill("#signing [name=password]", PASSWORD)
    await page.press("#signing [name=password]", "Enter")
    await expect(page.locator("#asking")).to_be_hidden()
    await until(lambda: _kept(page, slug))


async def test_no_text_is_offered_that_was_sent_by_signing_in_again(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.fill(BODY, "Left over.")
    await page.reload()
    await page.click("#compose .reason button")
    await page.click("#notice button")
    await page.fill(BODY, "Typed meanwhile.")
    await page.click("[data-act=restore]")
    await expect(page.locator("#apart [name=body]")).to_have_value("Left over.")
    await page.context.clear_cookies()
    await page.press("#apart [name=body]", "Control+Enter")
    await page.fill("#signing [name=password]", PASSWORD)
    await page.press("#signing [name=password]", "Enter")
    await until(lambda: _has(editor, slug, ["Left over."]))
    await expect(page.locator("#queue")).to_be_hidden()
    await page.reload()
    await expect(page.locator(BODY)).to_have_value("Typed meanwhile.")
    await expect(page.locator("#offers")).to_be_hidden()


async def test_a_discarded_text_is_offered_again_by_undo(page: Page) -> None:
    undo = page.locator("#notice button")
    await page.fill(BODY, "Discarded by a slip.")
    await page.reload()
    await page.click("#compose .reason button")
    await expect(page.locator(BODY)).to_have_value("")
    await undo.click()
    await expect(undo).to_have_count(0)
    await page.get_by_role("button", name="Discard: Discarded by a slip.").click()
    await expect(page.locator("#offers")).to_be_hidden()
    await undo.click()
    await page.get_by_role("button", name="Restore: Discarded by a slip.").click()
    await expect(page.locator(BODY)).to_have_value("Discarded by a slip.")
    await expect(page.locator("#offers")).to_be_hidden()


async def test_a_text_is_offered_on_the_editors_other_machine(
    browser: Browser, server: Server, slug: str, page: Page
) -> None:
    await page.fill(BODY, "Typed at home.")
    await until(lambda: _kept(page, slug))
    async with window(browser) as other:
        await open_desk(other, server, slug)
        await expect(other.locator(OFFERS)).to_contain_text("New entry · Typed in another browser")
        await other.click("[data-act=restore]")
        await expect(other.locator(BODY)).to_have_value("Typed at home.")
        await other.press(BODY, "Control+Enter")
        await expect(other.locator("[role=feed] article .body")).to_have_text("Typed at home.")
    await page.press(BODY, "Control+Enter")
    await expect(page.locator("#queue")).to_be_hidden()
    await expect(page.locator("[role=feed] article")).to_have_count(1)


async def _edited(editor: Editor, slug: str, page: Page) -> Any:
    """Publish an entry, open its form, and type there; return the entry."""
    entry = await editor.publish(slug, "Stored.")
    await page.click(f"#{entry['id']} [data-do=edit]")
    await page.fill("#edit [name=body]", "Mine.")
    await expect(page.locator("#editing")).to_have_attribute("data-shown", entry["id"])
    return entry


async def _kept(page: Page, slug: str) -> list[Any]:
    ask = "slug => fetch(`/desk/blogs/${slug}/kept`).then(it => it.json()).then(it => it.kept)"
    found: list[Any] = await page.evaluate(ask, slug)
    return found


# Presses the second Restore in the moment in which the first one fills the dialog, which closes.
RESTORE_TWICE = """() => {
  const [first, second] = document.querySelectorAll('#offers [data-act=restore]');
  const onFilled = ({ target }) => {
    if (target.id !== 'edit') return;
    removeEventListener('filled', onFilled);
    document.querySelector('#editing').close();
    second.click();
  };
  addEventListener('filled', onFilled);
  first.click();
}"""


async def test_no_text_is_lost_when_two_are_restored_at_once(
    editor: Editor, server: Server, slug: str, page: Page
) -> None:
    entry = await editor.publish(slug, "Stored.")
    second = await other_tab(page.context, server, slug)
    for tab, text in ((page, "First."), (second, "Second.")):
        await tab.click(f"#{entry['id']} [data-do=edit]")
        await tab.fill("#edit [name=body]", text)
    await page.reload()
    await second.close()
    await look(page)
    await expect(page.locator(OFFERS)).to_contain_text(["Second.", "First."])
    await page.evaluate(RESTORE_TWICE)
    await expect(page.locator("#editing")).to_be_hidden()
    await expect(page.locator(OFFERS)).to_contain_text(["Second.", "First."])
    await page.locator(OFFERS, has_text="First").locator("[data-act=restore]").click()
    await expect(page.locator("#edit [name=body]")).to_have_value("First.")
    await expect(page.locator(OFFERS)).to_contain_text(["Second."])


async def test_a_header_shows_both_versions_when_two_editors_save_it(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.click("#header-panel summary")
    await page.fill("#header [name=dek]", "My dek.")
    await page.fill("#header [name=full_coverage_url]", "https://mine.example")
    await page.select_option("#header [name=status]", "upcoming")
    await editor.alter(slug, dek="Their dek.", summary="Their summary.", status="ended")
    await page.click("#header button.primary")
    theirs = page.locator("#header .theirs textarea")
    await expect(theirs.first).to_have_value("Their dek.")
    await expect(theirs.last).to_have_value("Ended")
    await expect(page.locator("#header [name=dek]")).to_have_value("My dek.")
    await expect(page.locator("#header [name=full_coverage_url]")).to_have_value(
        "https://mine.example"
    )
    await expect(page.locator("#header [name=summary]")).to_have_value("Their summary.")


async def test_a_rejected_header_is_shown_when_its_page_was_left_before(
    editor: Editor, slug: str, page: Page
) -> None:
    await page.route("**/header", lambda route: route.abort())
    await page.click("#header-panel summary")
    await page.fill("#header [name=summary]", "Mine.")
    await page.press("#header [name=summary]", "Control+Enter")
    await expect(page.locator(CARDS)).to_have_count(1)
    await editor.alter(slug, summary="Theirs.")
    await page.reload()
    await page.unroute("**/header")
    await look(page)
    await expect(page.locator("#header [name=summary]")).to_have_value("Mine.")
    await expect(page.locator(CARDS)).to_have_count(0)


async def test_an_entry_is_not_called_deleted_when_the_feed_got_shorter(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await _edited(editor, slug, page)
    async with page.expect_response(lambda it: it.url.endswith(f"/entries/{entry['id']}")):
        await page.evaluate(f"document.getElementById('{entry['id']}').remove()")
    await expect(page.locator("#edit button.primary")).to_have_text("Save")
    await page.click("#edit button.primary")
    await expect(page.locator("#notice")).to_contain_text("Saved.")
    assert await texts(editor, slug) == ["Mine."]


async def test_a_colleagues_edit_is_shown_when_a_deleted_entry_came_back(
    editor: Editor, slug: str, page: Page
) -> None:
    entry = await _edited(editor, slug, page)
    await editor.delete(entry)
    await expect(page.locator("#edit [data-reason='']")).to_contain_text("deleted this entry")
    await page.fill("#edit [name=body]", "Mine, and more.")
    await page.keyboard.press("Escape")
    await editor.edit(await editor.restore(entry), body="Theirs.")
    await page.reload()
    await page.click(f"#{entry['id']} [data-do=edit]")
    await expect(page.locator("#edit [name=body]")).to_have_value("Mine, and more.")
    await page.click("#edit button.primary")
    await expect(page.locator("#edit .theirs textarea")).to_have_value("Theirs.")
    assert await texts(editor, slug) == ["Theirs."]


async def _reject_without_scripts(page: Page, url: str) -> None:
    """Send a form that is rejected from a page without scripts; the answer has scripts."""
    await page.context.route("**/*.js", lambda route: route.fulfill(content_type="text/javascript"))
    await page.goto(url)
    await page.fill(BODY, "Typed without scripts.")
    await page.fill(HEADLINE, "x" * 301)
    await page.context.unroute("**/*.js")
    await page.click("#compose button.primary")


async def test_a_form_rejected_without_scripts_is_kept_when_they_run(
    server: Server, slug: str, page: Page
) -> None:
    await _reject_without_scripts(page, f"{server.url}/desk/blogs/{slug}")
    await expect(page.locator("#status[data-state=live]")).to_be_visible()
    await page.goto(f"{server.url}/desk")
    await page.goto(f"{server.url}/desk/blogs/{slug}")
    await expect(page.locator(BODY)).to_have_value("Typed without scripts.")

    await page.click("#compose [data-reason=''] button")
    await expect(page.locator(BODY)).to_have_value("")


async def test_discard_empties_a_form_that_was_rejected_without_scripts(
    server: Server, slug: str, page: Page
) -> None:
    await _reject_without_scripts(page, f"{server.url}/desk/blogs/{slug}")
    await until(lambda: _kept(page, slug))
    await page.reload()
    await page.click("#compose [data-reason=''] button")
    await page.wait_for_url(f"{server.url}/desk/blogs/{slug}")
    await expect(page.locator(BODY)).to_have_value("")
    await expect(page.locator("#offers")).to_be_hidden()


async def test_a_note_stays_when_its_entry_was_retracted_or_deleted(
    editor: Editor, slug: str, page: Page
) -> None:
    retracted = await editor.publish(slug, "To be retracted.")
    deleted = await editor.publish(slug, "To be deleted.")
    words = page.locator(".theirs textarea")
    await page.click(f"#{retracted['id']} [data-do=edit]")
    await page.click("#retract-panel summary")
    await page.fill("#retract [name=note]", "Why it was wrong.")
    await page.keyboard.press("Escape")
    await page.click(f"#{deleted['id']} [data-do=edit]")
    await page.select_option("#edit [name=note_kind]", "correction")
    await page.fill("#edit [name=note]", "What was wrong.")
    await page.fill("#edit [name=body]", "Better.")
    await editor.edit(retracted, status="retracted", note_kind="retraction", note="Theirs.")
    await editor.delete(deleted)
    await page.click("#edit button.primary")
    apart = page.locator("#apart form")
    await expect(apart.locator("[name=body]")).to_have_value("Better.")
    await expect(apart.locator("[name=body]")).to_be_focused()
    await expect(words).to_have_value("What was wrong.")
    for kind, note in (("Edit", "What was wrong."), ("Retraction", "Why it was wrong.")):
        await page.reload()
        offer = page.locator(OFFERS, has_text=kind)
        await offer.locator("[data-act=restore]").click()
        await expect(words).to_have_value(note)
        await expect(offer).to_have_count(1)


async def test_a_new_blog_is_sent_again_when_altered_after_a_lost_answer(
    server: Server, editor: Editor, page: Page
) -> None:
    await page.goto(f"{server.url}/desk")
    await page.locator("summary", has_text="New blog").click()
    await page.fill("#new [name=title]", "Lost answer")
    lost: list[Route] = []

    async def lose_answer(route: Route) -> None:
        if lost:
            return await route.continue_()
        lost.append(route)
        await route.fetch()
        return await route.abort("connectionreset")

    await page.route("**/desk/blogs", lose_answer)
    await page.click("#new .primary")
    await expect(page.locator("#new-reason")).to_contain_text("did not answer")
    await page.fill("#new [name=dek]", "Altered.")
    await page.click("#new .primary")
    await expect(page.locator("#new-reason")).to_contain_text("was stored after all")
    await page.click("#new .primary")
    await page.wait_for_url("**/desk/blogs/lost-answer-*")
