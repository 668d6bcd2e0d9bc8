"""Pins in an order of their own, the bin and a retraction, at the desk and on an open page."""

import pytest
from kit.audits import AXE, violations
from kit.servers import Editor, Server
from kit.windows import SCHEMES, open_desk, open_page, window
from playwright.async_api import Browser, Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_moved_pins_move_on_open_pages_and_at_the_desk(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    pins = [await editor.publish(slug, headline=name, pinned=True) for name in "ABC"]
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)

    async def is_everywhere(*names: str) -> None:
        await expect(reader.locator("#pinned h3")).to_have_text(names)
        await expect(desk.locator("#pins .words")).to_have_text(names)

    await is_everywhere(*"CBA")
    await editor.mark(pins[0], pin_order=1)
    await is_everywhere(*"ACB")
    up = desk.locator(f"#pin-{pins[1]['id']}").get_by_role("button", name="Up")
    await up.press("Enter")
    await expect(desk.locator("#notice")).to_have_text("Moved.")
    await is_everywhere(*"ABC")
    await expect(up).to_be_focused()
    await up.press("Enter")
    await is_everywhere(*"BAC")
    row = desk.locator("#pins .words")
    grip = desk.locator(f"#pin-{pins[2]['id']} .grip")
    await grip.drag_to(row.get_by_text("B"), target_position={"x": 5, "y": 2})
    await is_everywhere(*"CBA")
    await grip.press("ArrowDown")
    await grip.press("ArrowDown")
    await is_everywhere(*"BAC")
    await expect(grip).to_be_focused()
    await editor.mark(pins[1], pinned=False)
    await is_everywhere(*"AC")
    await desk.evaluate("document.querySelector('#pins [name=before]').value = 'e000000000000'")
    await desk.locator("#pins form button").first.click()
    await expect(desk.locator("#notice")).to_contain_text("no longer pinned")
    await editor.mark(pins[1], pinned=True, pin_order=5)
    # A new zone resets all readers. The page that they fetch has the moves made meanwhile.
    await editor.alter(slug, timezone="Europe/Rome")
    await editor.mark(pins[0], pin_order=None)
    await editor.mark(pins[2], pin_order=-100)
    await is_everywhere(*"CBA")
    assert await reader.evaluate("window.sameDocument") is True
    assert await reader.locator("#pinned article").count() == 3


async def test_bin_and_retraction_break_no_rule_of_accessibility(
    server: Server, editor: Editor, browser: Browser
) -> None:
    slug = (await editor.blog())["slug"]
    await editor.delete(await editor.publish(slug, headline="Deleted"))
    pins = [await editor.publish(slug, headline=name, pinned=True) for name in "ABC"]
    path = f"{server.url}/desk/blogs/{slug}"
    async with window(browser, expected=AXE) as desk:
        await open_desk(desk, server, slug)
        for at in (f"{path}/bin", f"{path}/entries/{pins[0]['id']}"):
            await desk.goto(at)
            await desk.evaluate(
                "document.querySelectorAll('details').forEach((it) => (it.open = true))"
            )
            for scheme in SCHEMES:
                await desk.emulate_media(color_scheme=scheme)
                assert await violations(desk) == [], (at, scheme)


async def test_retraction_in_the_dialog_keeps_what_is_half_typed(
    server: Server, editor: Editor, desk: Page, reader: Page
) -> None:
    slug = (await editor.blog())["slug"]
    entry = await editor.publish(slug, headline="Said")
    await open_desk(desk, server, slug)
    await open_page(reader, server, slug)
    await desk.click(f"#{entry['id']} [data-do=edit]")
    await desk.fill("#edit [name=headline]", "Half-typed")
    await desk.click("#retract-panel summary")
    await desk.fill("#retract [name=note]", "It was another day.")
    await desk.click("#retract button")
    await expect(desk.locator("#notice")).to_contain_text("Retracted.")
    await expect(reader.locator("del h3")).to_have_text("Said")
    await expect(reader.locator(".note")).to_have_text("Retracted: It was another day.")
    await desk.click(f"#{entry['id']} [data-do=edit]")
    await expect(desk.locator("#edit [name=headline]")).to_have_value("Half-typed")
