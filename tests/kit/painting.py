"""Measure a reader's page on the screen: layout shift, movement of text being read, time to paint.

tests/browser/probe.js runs in the page and measures what the browser paints, in each animation
frame. Open pages with `watched`, which loads probe.js.
"""

import contextlib
import itertools
import json
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from playwright.async_api import Browser, Page

from kit.samples import LONG, SHORT, Changes, offset_of
from kit.servers import Editor
from kit.windows import SETTLED, window

PROBE: Final = Path(__file__).parents[1] / "browser" / "probe.js"
# Animation frames, half a second. After them, CSS transitions have ended, and scripts have written
# the times of new entries.
SETTLED_FRAMES: Final = 30
# The index, from the top, of the entry in the middle of the viewport. Changes happen above it.
READ: Final = 14
SESSION_GAP_MS: Final = 1_000.0
SESSION_MS: Final = 5_000.0


@contextlib.asynccontextmanager
async def watched(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a reader's page, live or ended, with the probe. `options` go to the browser context."""
    async with window(browser, **options) as page:
        await page.add_init_script(path=PROBE)
        await page.goto(url)
        await page.wait_for_selector(SETTLED)
        await page.evaluate("probe.frames(3)")
        yield page


# -- layout shift ----------------------------------------------------------------------------------


async def shift_on_load(page: Page) -> float:
    """Return the cumulative layout shift of a page just opened, since navigation."""
    await page.evaluate("probe.watchShifts()")
    await page.evaluate(f"probe.frames({SETTLED_FRAMES})")
    return largest_session(await page.evaluate("probe.shifts"))


async def shift_during(page: Page, act: Callable[[], Awaitable[int]]) -> float:
    """Return the sum of all layout shifts until the page shows the offset that `act` returns."""
    await page.evaluate("probe.watchShifts()")
    await page.evaluate("probe.frames(2)")
    before = len(await page.evaluate("probe.shifts"))
    await page.evaluate("n => probe.reached(n)", await act())
    await page.evaluate(f"probe.frames({SETTLED_FRAMES})")
    shifts: list[tuple[float, float]] = await page.evaluate("probe.shifts")
    return sum(value for _, value in shifts[before:])


def largest_session(shifts: list[tuple[float, float]]) -> float:
    """Return the cumulative layout shift of (ms, value) pairs, as web.dev/cls defines it.

    Gaps of 1 s divide the shifts into groups of at most 5 s. The result is the largest group's sum.
    """
    worst, total, start, last = 0.0, 0.0, 0.0, float("-inf")
    for at, value in shifts:
        if at - last >= SESSION_GAP_MS or at - start >= SESSION_MS:
            total, start = 0.0, at
        total, last = total + value, at
        worst = max(worst, total)
    return worst


async def shift_of_arrivals(page: Page, editor: Editor, slug: str, count: int = 10) -> float:
    """Return the layout shift of `count` new entries above a reader who has scrolled down."""

    async def act() -> int:
        return max([offset_of(await editor.publish(slug, SHORT)) for _ in range(count)])

    await page.evaluate(f"probe.read({READ})")
    return await shift_during(page, act)


async def shift_of_edit(page: Page, editor: Editor, entries: list[Any]) -> float:
    """Return the layout shift of an entry that grows above the viewport.

    `entries` are all entries of the blog.
    """
    await page.evaluate(f"probe.read({READ})")
    nearest, *_ = await _where(page, "above", entries)

    async def act() -> int:
        return offset_of(await editor.edit(nearest, body=LONG))

    return await shift_during(page, act)


async def _where(page: Page, place: str, entries: list[Any]) -> list[Any]:
    """Return those of `entries` that are at a place on the screen, oldest first.

    `place` names a function of probe.js: "above" finds entries above the viewport.
    """
    ids = await page.evaluate(f"probe.{place}()")
    by_id = {entry["id"]: entry for entry in entries}
    return [by_id[id] for id in reversed(ids) if id in by_id]


# -- movement --------------------------------------------------------------------------------------


class Movement(NamedTuple):
    frames: int  # animation frames in which probe.js measured where the paragraph is
    moved_px: float  # the paragraph's largest distance from its first place, CSS px
    jump_px: float  # the paragraph's largest move between two animation frames, CSS px


async def movement_by_changes(
    page: Page, editor: Editor, entries: list[Any], count: int = 50
) -> Movement:
    """Return how the text being read moves while entries above the viewport change.

    kit/samples.py makes the changes, which are of every kind. `entries` are those of the page.
    """
    await page.evaluate(f"probe.read({READ})")
    changes = Changes(editor, await _where(page, "above", entries))
    return await _movement(page, changes.make, count)


async def movement_by_edits(
    page: Page, editor: Editor, entries: list[Any], count: int = 10
) -> Movement:
    """Return how the text being read moves while the topmost visible entry above it is edited."""
    await page.evaluate(f"probe.read({READ})")
    *_, entry = await _where(page, "aboveInSight", entries)
    bodies = itertools.cycle((LONG, SHORT))

    async def edit() -> int:
        nonlocal entry
        entry = await editor.edit(entry, body=next(bodies))
        return offset_of(entry)

    return await _movement(page, edit, count)


async def _movement(page: Page, change: Callable[[], Awaitable[int]], count: int) -> Movement:
    """Make `count` changes; return how far the paragraph in the middle of the viewport moves."""
    await page.evaluate("probe.hold()")
    for _ in range(count):
        await page.evaluate("n => probe.reached(n)", await change())
    await page.evaluate(f"probe.frames({SETTLED_FRAMES})")
    found = Movement(**await page.evaluate("probe.release()"))
    assert found.frames > count, "some frames had no measurement"
    return found


# -- from the socket to the screen -----------------------------------------------------------------


class Delays(NamedTuple):
    """Median times in ms from the arrival of a new entry at the page until it is painted."""

    # From the WebSocket's event `message` to the first task after the animation frame that shows
    # the entry.
    paint_ms: float
    work_ms: float  # the main thread's CPU time meanwhile: script, style, layout and paint


async def crowd(page: Page, editor: Editor, slug: str, count: int = 500) -> int:
    """Publish `count` entries to an open page, scroll up, and return how many entries it shows."""
    made = await editor.publish_many(slug, count)
    await page.evaluate("n => probe.reached(n)", max(offset_of(it) for it in made))
    await page.evaluate("scrollTo(0, 0), probe.frames(3)")
    # Wait until no new entry is highlighted. A real page never highlights so many at once, so the
    # next measurement must not include their animations.
    await page.evaluate(
        "Promise.all(document.getAnimations().map((it) => it.finished)).then(() => 0)"
    )
    return await page.locator("[role=feed] article[id]").count()


async def delays(
    browser: Browser, page: Page, editor: Editor, slug: str, count: int = 30
) -> Delays:
    """Return the delays of new entries on a page that is scrolled to its top.

    `count` entries give `paint_ms`; `count` more, traced by the browser, give `work_ms`.
    """
    took = [await _painted(page, editor, slug) for _ in range(count)]
    await browser.start_tracing(page=page, categories=["blink.user_timing"])
    for _ in range(count):
        await _painted(page, editor, slug)
    work = busy_ms(json.loads(await browser.stop_tracing())["traceEvents"])
    assert len(work) == count
    return Delays(statistics.median(took), statistics.median(work))


async def _painted(page: Page, editor: Editor, slug: str) -> float:
    # The page waits for a promise and does not poll, so that waiting takes no CPU time.
    await page.evaluate("window.seen = probe.painted(), 0")
    await editor.publish(slug, SHORT, headline="The council votes")
    took_ms = await page.evaluate("window.seen")
    assert took_ms is not None, "the entry arrived out of sight"
    return float(took_ms)


def busy_ms(events: list[dict[str, Any]]) -> list[float]:
    """Return the main thread's CPU time in ms from each mark `arrived` to the next mark `painted`.

    probe.js sets the marks when a new entry arrives, and after the entry is painted. The thread's
    own clock (`tts`, microseconds) stops while other programs have the core. Elapsed time varies
    too much: on a busy machine it was 17 to 27 ms for the same page.
    """
    arrived, painted = (
        sorted(it["tts"] for it in events if it["name"] == name) for name in ("arrived", "painted")
    )
    return [(end - start) / 1_000 for start, end in zip(arrived, painted, strict=True)]
