"""Tests of the measurements of `make page`, most on a page with one deliberate fault."""

import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from kit.audits import violations
from kit.painting import PROBE, busy_ms, delays, largest_session, watched
from kit.servers import Editor, Server
from kit.weighing import held
from kit.windows import window
from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = "This paragraph is long enough to count as the one that a reader is reading."
PAGE = f"""<!doctype html><html lang="en"><title>A page</title><style>* {{ margin: 0; overflow-anchor: none }}</style>
<main data-blog="moon" data-position="k3xq9a.7.9f2c01ab"><h1>A page</h1><div role="feed">
{"".join(f'<article id="a{n}"><p>{WORDS}</p><p>{"<br>" * 12}</p></article>' for n in range(9))}
</div></main>"""


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Yield a page without scripts, scrolled to the middle of its feed."""
    async with window(browser) as opened:
        await opened.add_init_script(path=PROBE)
        await opened.goto("about:blank")
        await opened.set_content(PAGE)
        await opened.evaluate("probe.read(5)")
        yield opened


async def test_movement_and_shift_are_found_when_an_entry_above_grows(page: Page) -> None:
    await page.evaluate("probe.watchShifts()")
    await page.evaluate("probe.hold()")
    for _ in range(2):
        await page.evaluate(
            "a1.style.paddingTop = `${(parseInt(a1.style.paddingTop) || 0) + 40}px`"
        )
        await page.evaluate("probe.frames(3)")
    found = await page.evaluate("probe.release()")
    assert (found["moved_px"], found["jump_px"]) == (80, 40)
    assert found["frames"] >= 6
    assert len(await page.evaluate("probe.shifts")) == 2


async def test_no_movement_is_found_when_the_page_corrects_it_in_the_frame(page: Page) -> None:
    await page.evaluate("probe.hold()")
    await page.evaluate("""requestAnimationFrame(() => {
        a1.style.paddingTop = '40px';
        scrollBy({ top: 40, behavior: 'instant' });
    }), probe.frames(3)""")
    assert (await page.evaluate("probe.release()"))["moved_px"] == 0


async def test_movement_is_infinite_when_the_text_being_read_is_removed(page: Page) -> None:
    await page.evaluate("probe.hold()")
    await page.evaluate("a5.remove(), probe.frames(3)")
    assert (await page.evaluate("probe.release()"))["moved_px"] == math.inf


async def test_detached_articles_are_counted_when_a_script_holds_them(page: Page) -> None:
    await page.evaluate("window.kept = [a0, a1], kept.map((it) => it.remove()), 0")
    assert (await held(page)).detached == 2
    await page.evaluate("kept = null")
    assert (await held(page)).detached == 0


async def test_heap_growth_is_found_when_a_script_holds_memory(page: Page) -> None:
    before = await held(page)
    await page.evaluate("window.kept = Array.from({ length: 1e6 }, (_, n) => n + 0.5), 0")
    assert 7 < (await held(page)).heap_mb - before.heap_mb < 20


async def test_axe_names_rule_and_element_when_a_button_has_no_name(page: Page) -> None:
    assert await violations(page) == []
    await page.evaluate("a0.append(document.createElement('button')), 0")
    (line,) = await violations(page)
    assert line.startswith("button-name: Buttons must have discernible text: button: ")


async def test_a_session_of_shifts_ends_when_a_second_is_quiet_or_after_five() -> None:
    assert largest_session([]) == 0
    assert largest_session([(0, 1), (999, 2), (1_999, 4)]) == 4
    assert largest_session([(at, 1) for at in range(0, 9_001, 900)]) == 6


async def test_busy_time_counts_the_threads_own_clock_between_marks() -> None:
    times = {"arrived": (9_000, 1_500), "painted": (11_000, 4_500), "another": (1_600, 1_600)}
    marks = [{"name": name, "ts": 0, "tts": tts} for name in times for tts in times[name]]
    assert busy_ms(marks) == [3, 2]


async def test_delays_are_long_when_a_script_blocks_the_page_before_painting(
    browser: Browser, server: Server, editor: Editor
) -> None:
    slug = (await editor.blog())["slug"]
    async with watched(browser, f"{server.url}/blogs/{slug}") as page:
        await page.evaluate("""new MutationObserver(() => {
            // A minimum of iterations keeps the CPU time high when other programs have the core.
            for (let n = 0, end = performance.now() + 60; n < 2e6 || performance.now() < end; n += 1);
        }).observe(document.querySelector('[role=feed]'), { childList: true })""")
        took = await delays(browser, page, editor, slug, count=3)
    assert took.paint_ms > 60
    assert took.work_ms > 20
