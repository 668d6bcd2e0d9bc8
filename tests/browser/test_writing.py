"""The form for an entry: marks, pastes, preview, names, counts, and its place on the screen."""

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from kit.servers import Editor, Server
from kit.waiting import until
from kit.windows import hold_first, open_desk
from playwright.async_api import Locator, Page, Route, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = "#compose [name=body]"
COPY = """([html, text]) => navigator.clipboard.write([new ClipboardItem({
    'text/html': new Blob([html], { type: 'text/html' }),
    'text/plain': new Blob([text], { type: 'text/plain' }),
})])"""
# The start and the end of each request for a preview, in ms, by the page's clock.
PREVIEWS = """() => performance.getEntriesByType('resource')
    .filter((it) => it.name.endsWith('/preview')).map((it) => [it.startTime, it.responseEnd])"""
LOOKS = """it => {
    const looks = getComputedStyle(it);
    return ['color', 'fontFamily', 'fontSize', 'fontWeight', 'lineHeight', 'letterSpacing', 'margin',
        'padding', 'borderLeft', 'textDecorationLine'].map((name) => looks[name]);
}"""
REFUSE = "() => { document.execCommand = () => { throw new Error('refused'); }; }"
KEYBOARD_PX = 360


async def opened(page: Page, server: Server, editor: Editor, entries: int = 0) -> str:
    slug = str((await editor.blog())["slug"])
    for number in range(entries):
        await editor.publish(slug, "It was published before.", headline=f"Entry {number}")
    await open_desk(page, server, slug)
    return slug


async def copy(page: Page, html: str, text: str) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.evaluate(COPY, [html, text])
    await page.focus(BODY)


# -- marks


async def test_marks_are_set_by_keys_and_buttons_and_undone_by_the_browser(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    body = desk.locator(BODY)
    await body.fill("We have it")
    await body.evaluate("it => it.setSelectionRange(3, 7)")
    await body.press("Control+b")
    await expect(body).to_have_value("We **have** it")
    await desk.keyboard.press("Control+z")
    await expect(body).to_have_value("We have it")
    await body.dispatch_event("keydown", {"key": "и", "code": "KeyB", "ctrlKey": True})
    await expect(body).to_have_value("We **have** it")
    await body.dispatch_event("keydown", {"key": "x", "code": "KeyB", "ctrlKey": True})
    await expect(body).to_have_value("We **have** it")
    await desk.keyboard.press("Control+z")
    await desk.get_by_role("button", name="Quote").click()
    await expect(body).to_have_value("> We have it")
    await expect(body).to_be_focused()


async def test_the_question_mark_shows_the_keys_and_is_a_character_in_a_text(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    help_ = desk.locator("#help")
    await desk.press(BODY, "?")
    await expect(desk.locator(BODY)).to_have_value("?")
    await expect(help_).to_be_hidden()
    await desk.locator(BODY).blur()
    await desk.keyboard.press("?")
    await expect(help_).to_contain_text("Ctrl + Enter")
    await expect(help_.locator("td.body strong")).to_have_text("bold")
    await desk.keyboard.press("Escape")
    await expect(help_).to_be_hidden()


async def test_a_folded_box_opens_when_the_browser_finds_it_half_filled(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    await desk.fill(BODY, "Later.")
    await desk.click("#compose [data-chip=publish_at] summary")
    await desk.locator("#compose [name=publish_at]").press("1")
    await desk.click("#compose [data-chip=publish_at] summary")
    await expect(desk.locator("#compose [name=publish_at]")).to_be_hidden()
    await desk.click("#compose button.primary")
    await expect(desk.locator("#compose [name=publish_at]")).to_be_visible()


# -- pastes


async def test_a_paste_keeps_its_structure_and_what_is_typed_meanwhile(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    held = await hold_first(desk, "**/desk/paste")
    await copy(desk, "<p>It is <b>bold</b>.</p><ul><li>One<li>Two</ul>", "It is bold. One Two")
    await desk.keyboard.type("Before: ")
    await desk.keyboard.press("Control+v")
    await desk.keyboard.type(" After")
    await expect(desk.locator(BODY)).to_have_value("Before: It is bold. One Two After")
    await until(lambda: bool(held))
    await held[0].continue_()
    formatted = "Before: It is **bold**.\n\n- One\n- Two\n\n After"
    await expect(desk.locator(BODY)).to_have_value(formatted)
    await desk.keyboard.type("!")
    await expect(desk.locator(BODY)).to_have_value(f"{formatted}!")
    await desk.fill(BODY, "No words beside the HTML: ")
    await copy(desk, "<i>seen</i>", "")
    await desk.keyboard.press("Control+v")
    await expect(desk.locator(BODY)).to_have_value("No words beside the HTML: *seen*")
    await desk.fill(BODY, "In a line: ")
    await copy(desk, "<ul><li>One<li>Two</ul>", "One\nTwo")
    await desk.keyboard.press("Control+v")
    await expect(desk.locator(BODY)).to_have_value("In a line: \n\n- One\n- Two")
    await desk.keyboard.press("Control+a")
    await copy(desk, "<img src=x>", "")
    await desk.keyboard.press("Control+v")
    await expect(desk.locator("#compose .said")).to_have_text("Pasted without formatting.")
    await expect(desk.locator(BODY)).to_have_value("In a line: \n\n- One\n- Two")


async def test_a_paste_is_formatted_when_publish_is_pressed_at_once(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug = await opened(desk, server, editor)
    held = await hold_first(desk, "**/desk/paste")
    await copy(desk, "<p>It is <b>bold</b>.</p>", "It is bold.")
    await desk.keyboard.press("Control+v")
    await desk.keyboard.press("Control+Enter")
    await until(lambda: bool(held))
    await held[0].continue_()
    await expect(desk.locator("[role=feed] article .body b, [role=feed] strong")).to_have_text(
        "bold"
    )
    assert [it["body"] for it in await editor.entries(slug)] == ["It is **bold**."]
    held = await hold_first(desk, "**/desk/paste")
    await desk.keyboard.press("Control+v")
    await until(lambda: bool(held))
    await desk.keyboard.press("Control+Enter")
    await desk.keyboard.press("Control+Enter")
    await desk.keyboard.type("Next.")
    await expect(desk.locator("[role=feed] article")).to_have_count(2)
    await held[0].continue_()
    await expect(desk.locator("#compose .said")).to_have_text("Pasted without formatting.")
    await expect(desk.locator(BODY)).to_have_value("Next.")
    bodies = [it["body"] for it in await editor.entries(slug)]
    assert bodies == ["It is bold.", "It is **bold**."]


async def test_a_paste_breaks_no_composition_of_letters(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    body = desk.locator(BODY)
    held = await hold_first(desk, "**/desk/paste")
    await copy(desk, "<b>bold</b>", "bold")
    await desk.keyboard.press("Control+v")
    await until(lambda: bool(held))
    keys = await desk.context.new_cdp_session(desk)
    composed = {"text": "に", "selectionStart": 1, "selectionEnd": 1}
    await keys.send("Input.imeSetComposition", composed)
    await expect(body).to_have_value("boldに")
    async with desk.expect_response("**/desk/paste") as answered:
        await held[0].continue_()
    await (await answered.value).finished()
    await keys.send("Input.imeSetComposition", {**composed, "text": "にほ"})
    await expect(body).to_have_value("boldにほ")
    await keys.send("Input.insertText", {"text": "日本"})
    await expect(body).to_have_value("**bold**日本")


async def test_a_paste_is_plain_without_formatting_or_without_an_answer(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    asked: list[Route] = []

    async def refuse(route: Route) -> None:
        asked.append(route)
        await route.fulfill(status=503)

    await desk.route("**/desk/paste", refuse)
    await copy(desk, "<p>It is <b>bold</b>.</p>", "It is bold.")
    await desk.keyboard.press("Control+Shift+v")
    await expect(desk.locator(BODY)).to_have_value("It is bold.")
    assert not asked
    await desk.keyboard.press("Control+v")
    await expect(desk.locator("#compose .said")).to_have_text("Pasted without formatting.")
    await expect(desk.locator(BODY)).to_have_value("It is bold.It is bold.")


async def test_a_paste_shows_the_failure_when_the_box_refuses_the_change(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)

    async def refuse_changes(route: Route) -> None:
        await desk.evaluate(REFUSE)
        await route.continue_()

    await desk.route("**/desk/paste", refuse_changes)
    await copy(desk, "<b>bold</b>", "bold")
    await desk.keyboard.press("Control+v")
    await expect(desk.locator("#notice")).to_contain_text("refused")
    await expect(desk.locator(BODY)).to_have_value("bold")


# -- preview


async def test_the_preview_follows_the_text_with_four_requests_a_second(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    await desk.fill("#compose [name=headline]", "Lift-off")
    await desk.locator(BODY).press_sequentially("We **have** it, all in one second.", delay=30)
    shown = desk.locator("#compose .shown article")
    await expect(shown.locator("h3")).to_have_text("Lift-off")
    await expect(shown.locator(".body")).to_have_text("We have it, all in one second.")
    await expect(shown.locator("strong")).to_have_text("have")
    previews = await desk.evaluate(PREVIEWS)
    assert len(previews) > 2
    for (start, end), (next_start, _) in pairwise(previews):
        assert next_start - start > 245  # timers of a browser fire up to a few ms early
        assert next_start >= end
    await desk.fill(BODY, "x" * 20_001)
    await expect(desk.locator("#compose .why")).to_contain_text("20,000")


async def _looks_so(part: Locator, looks: Any) -> bool:
    return bool(await part.evaluate(LOOKS) == looks)


async def test_the_preview_looks_as_the_readers_page(
    server: Server, editor: Editor, desk: Page
) -> None:
    text = "We **have** [it](https://a.example).\n\n> Go.\n\n- One"
    slug = str((await editor.blog())["slug"])
    fields = {"headline": "Lift-off", "key": True, "byline": ["Ana"], "dateline": "Kourou"}
    await editor.publish(slug, text, **fields)
    reader = await desk.context.new_page()
    await reader.goto(f"{server.url}/blogs/{slug}")
    await open_desk(desk, server, slug)
    await desk.locator("[role=feed] article .desk-actions a", has_text="Edit").click()
    preview = desk.locator("dialog .shown article")
    await expect(preview.locator("h3")).to_have_text("Lift-off")
    for part in ("h3", ".byline", ".mark.key", ".dateline", "strong", ".body a", "blockquote"):
        looks = await reader.locator(f"[role=feed] article {part}").evaluate(LOOKS)
        await until(partial(_looks_so, preview.locator(part), looks))


# -- the words of the form


async def test_the_form_says_what_will_happen_and_how_much_is_left(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor)
    await desk.fill("#compose [name=headline]", "h" * 299)
    count = desk.locator("#compose .count")
    await expect(count).to_have_text("1 character left")
    await expect(count).to_have_attribute("aria-live", "polite")
    await desk.fill("#compose [name=headline]", "h" * 280)
    await expect(count).to_have_attribute("aria-live", "off")
    await desk.fill("#compose [name=headline]", "h" * 302)
    await expect(count).to_have_text("2 characters too many")
    await desk.locator("#compose summary", has_text="Later").click()
    await desk.fill("#compose [name=publish_at]", "2040-11-03T21:30")
    await expect(desk.locator("#compose .primary")).to_have_text("Schedule for 3 Nov 2040, 21:30")
    await desk.fill("#compose [name=publish_at]", "")
    await expect(desk.locator("#compose .primary")).to_have_text("Publish")


async def test_each_name_of_a_byline_has_a_box_and_is_offered_again(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug = await opened(desk, server, editor)
    await desk.fill(BODY, "Two of us.")
    await desk.locator("#compose summary", has_text="Byline").click()
    for number, name in enumerate(("Ana Ruiz", "Sammy Davis, Jr.", "Bo", "Cy", "Di")):
        await desk.locator("#compose [name=byline]").nth(number).fill(name)
    await expect(desk.locator("#compose [name=byline]")).to_have_count(6)
    await expect(desk.locator("#compose summary").first).to_have_text(
        "By Ana Ruiz, Sammy Davis, Jr., Bo, Cy, Di"
    )
    await desk.click("#compose .primary")
    await expect(desk.locator("[role=feed] article")).to_have_count(1)
    [entry] = await editor.entries(slug)
    assert entry["byline"] == ["Ana Ruiz", "Sammy Davis, Jr.", "Bo", "Cy", "Di"]
    offered = "all => all.map(it => it.value)"
    assert "Sammy Davis, Jr." in await desk.locator("#names option").evaluate_all(offered)


async def test_an_edit_opens_with_the_caret_at_the_end(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor, entries=1)
    await desk.click("[data-do=edit]")
    await expect(desk.locator("#edit [name=body]")).to_be_focused()
    await desk.keyboard.type(" And after.")
    await expect(desk.locator("#edit [name=body]")).to_have_value(
        "It was published before. And after."
    )
    await expect(desk.locator("#edit .shown .body")).to_have_text(
        "It was published before. And after."
    )


async def test_letters_stay_in_their_box_when_the_script_of_an_edit_starts_late(
    server: Server, editor: Editor, desk: Page
) -> None:
    slug = await opened(desk, server, editor)
    entry = await editor.publish(slug, "As published.")
    held = await hold_first(desk, "**/desk.js*")
    await desk.goto(f"{server.url}/desk/blogs/{slug}/entries/{entry['id']}", wait_until="commit")
    headline = desk.locator("#edit [name=headline]")
    await headline.press_sequentially("Lift")
    await until(lambda: bool(held))
    await held[0].continue_()
    await desk.wait_for_function("navigator.locks.query().then(it => it.held.length > 0)")
    await desk.keyboard.type("-off")
    await expect(headline).to_have_value("Lift-off")
    await expect(desk.locator("#edit [name=body]")).to_have_value("As published.")


# -- places on the screen


async def bottom(page: Page, selector: str) -> float:
    box = await page.locator(selector).first.bounding_box()
    assert box
    assert min(box["x"], box["y"]) >= 0
    return box["y"] + box["height"]


async def test_the_form_is_above_a_phones_keyboard_and_the_last_entry_in_sight(
    server: Server, editor: Editor, desk: Page
) -> None:
    await opened(desk, server, editor, entries=2)
    await desk.set_viewport_size({"width": 390, "height": 844 - KEYBOARD_PX})
    for selector in ("[name=headline]", "[name=body]", ".primary"):
        assert await bottom(desk, f"#compose {selector}") <= 844 - KEYBOARD_PX
    await desk.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert await bottom(desk, "#compose .primary") <= 844 - KEYBOARD_PX
    await desk.set_viewport_size({"width": 1280, "height": 800})
    await desk.evaluate("scrollTo(0, 0)")
    assert await bottom(desk, "[role=feed] article .body") <= 800


async def test_the_form_is_above_a_keyboard_that_covers_the_page(
    server: Server, editor: Editor, desk: Page
) -> None:
    """iOS does not resize the page: only the visual viewport becomes smaller."""
    await opened(desk, server, editor, entries=2)
    await desk.set_viewport_size({"width": 390, "height": 844})
    cover = """px => {
        Object.defineProperty(visualViewport, 'height', {configurable: true, get: () => innerHeight - px});
        visualViewport.dispatchEvent(new Event('resize'));
    }"""
    await desk.evaluate(cover, KEYBOARD_PX)
    for selector in ("[name=headline]", "[name=body]", ".primary"):
        assert await bottom(desk, f"#compose {selector}") <= 844 - KEYBOARD_PX
    await desk.evaluate(cover, 0)
    assert 844 - KEYBOARD_PX < await bottom(desk, "#compose .primary") <= 844
