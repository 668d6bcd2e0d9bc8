"""Measure the limits of the desk in a real browser against a real server; print a Markdown table.

    make desk
    make desk ARGS="--only preview,publish"

- preview: from a key press at a desk without other work until the changed preview is painted, at
  20,000 characters of prose; keys alternate between the end and the middle of the text
- publish: from Ctrl+Enter, pressed at once after the last word, to the end of the answer 201
- readers: the delay of changes to 10,000 readers beside 10 editors who type (measure/typists.py)
- axe: violations that axe-core finds in each sight of kit/desks.py, light and dark, phone and
  desktop; and pages of the desk without a sight
- screen: the form above a phone's keyboard, and the entry just published on a laptop
- size: scripts and styles as served, requests to other sites, pages without a strict policy
- texts: generated and hostile lines (measure/texts.py)

The figures of time need a machine without other work. Exits with 1 when a figure misses its limit.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from kit import desks
from kit.audits import AXE, violations
from kit.desks import BODY, Place
from kit.figure import Figure, Figures, Parts, log, main_of
from kit.servers import serving
from kit.waiting import until
from kit.weighing import zipped
from kit.windows import SCHEMES, SIZES, chromium, window
from playwright.async_api import Browser, Page, Response, expect

from measure import texts, typists

KEYS: Final = 30
PRESSES: Final = 30
LENGTH: Final = 20_000  # characters of the longest text of an entry
KEYBOARD_PX: Final = 360
PHONE: Final = {"width": 390, "height": 844}
LAPTOP: Final = {"width": 1280, "height": 800}
SENTENCE: Final = (
    "The **harbour wall** held through the first tide, but the second came an hour early, and"
    " [the road](https://example.com/road) is gone. "
)
FORM: Final = ("[name=headline]", "[name=body]", ".primary")

# The browser's own time of a key press, and the time after the frame that shows the change.
WATCH_PREVIEW: Final = """() => {
  const shown = document.querySelector('#compose .shown').shadowRoot;
  addEventListener('keydown', (event) => Object.assign(window, { pressed: event.timeStamp, painted: 0 }), true);
  const paint = () => requestAnimationFrame(() => setTimeout(() => { window.painted ||= performance.now(); }));
  new MutationObserver(paint).observe(shown, { subtree: true, childList: true, characterData: true, attributes: true });
}"""
WATCH_PRESSES: Final = """() => {
  addEventListener('keydown', (event) => { if (event.ctrlKey) window.pressed = event.timeStamp; }, true);
}"""
# The answers 201 to new entries since the last look, as the ms from the press to the answer's end.
CREATED: Final = """() => {
  const all = performance.getEntriesByType('resource');
  const made = all.filter((it) => it.name.endsWith('/entries') && it.responseStatus === 201);
  const took = made.filter((it) => it.responseEnd > window.pressed);
  return took.map((it) => it.responseEnd - window.pressed);
}"""
BOTTOMS: Final = """(selectors) => selectors.map((it) => {
  const { top, bottom } = document.querySelector(it).getBoundingClientRect();
  return top >= 0 ? bottom : Infinity;
})"""


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Browser, Place]]:
    """Start a server and a browser, and write the blogs that are looked at."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        with serving(directory / "log", DATA_DIR=str(directory / "data")) as server:
            async with server.editor() as editor, chromium() as browser:
                yield browser, await desks.prepared(server, editor)


@asynccontextmanager
async def desk(viewport: Any) -> AsyncIterator[tuple[Page, Place]]:
    """Open the desk of a blog in a browser's window."""
    async with (
        stage() as (browser, place),
        window(browser, expected=AXE, storage_state=place.admin, viewport=viewport) as page,
    ):
        await desks.to_desk(page, place)
        yield page, place


# -- times


def prose(length: int) -> str:
    """Return paragraphs of five sentences, `length` characters in all."""
    paragraphs = f"{(SENTENCE * 5).strip()}\n\n" * (length // len(SENTENCE) + 1)
    return paragraphs[: length - 1] + "."


async def by_preview() -> Figures:
    async with desk(LAPTOP) as (page, _):
        text = prose(LENGTH - KEYS)
        async with page.expect_response(is_copy):
            await page.fill(BODY, text)
        await expect(page.locator("#compose .shown p").last).to_be_visible()
        await page.evaluate(WATCH_PREVIEW)
        took = [await _preview_ms(page, (0, len(text) // 2)[n % 2]) for n in range(KEYS)]
    yield Figure(f"key press to preview at {LENGTH:,} characters, median", 100, median(took), " ms")
    yield Figure("the same, 90 % are below", 200, p90(took), " ms")


def is_copy(answer: Response) -> bool:
    """Return whether this is the last request after a pause: the server's copy of a text."""
    return answer.request.method == "PUT" and "/kept/" in answer.url


async def _preview_ms(page: Page, from_end: int) -> float:
    """Press a key at a place of the text, and return how long the preview took to show it."""
    place = "(it, from) => it.setSelectionRange(it.value.length - from, it.value.length - from)"
    await page.locator(BODY).evaluate(place, from_end)
    async with page.expect_response(is_copy):  # afterwards the desk has no work
        await page.keyboard.press("x")
        painted = await until(lambda: page.evaluate("window.painted"))
    return float(painted) - float(await page.evaluate("window.pressed"))


async def by_publish() -> Figures:
    async with desk(LAPTOP) as (page, _):
        await page.evaluate(WATCH_PRESSES)
        took = [await _publish_ms(page, number) for number in range(PRESSES)]
    yield Figure("Ctrl+Enter to the answer 201, median", 50, median(took), " ms")
    yield Figure("the same, 90 % are below", 100, p90(took), " ms")


async def _publish_ms(page: Page, number: int) -> float:
    await page.fill("#compose [name=headline]", f"Entry {number}")
    await page.fill(BODY, prose(500))
    await page.focus(BODY)
    await page.keyboard.type(" And now.", delay=20)
    await page.evaluate("performance.clearResourceTimings()")
    await page.keyboard.press("Control+Enter")
    [took] = await until(lambda: page.evaluate(CREATED))
    await expect(page.locator("[role=feed] article h3").first).to_have_text(f"Entry {number}")
    return float(took)


def median(times: list[float]) -> float:
    return statistics.median(times)


def p90(times: list[float]) -> float:
    return sorted(times)[len(times) * 9 // 10]


# -- pages


async def by_axe() -> Figures:
    missing = desks.routes_without_a_sight()
    log(*sorted(missing))
    yield Figure("pages of the desk without a sight for axe-core", 0, len(missing))
    async with stage() as (browser, place):
        for it in desks.SIGHTS:
            found = await _barriers(browser, place, it)
            log(*found)
            yield Figure(f"axe-core, violations, {it.name}", 0, len(found))


async def _barriers(browser: Browser, place: Place, it: desks.Sight) -> list[str]:
    """Return what axe-core finds in a sight, in each size and colour scheme."""
    found = []
    for name, viewport in SIZES.items():
        async with desks.opened(browser, place, it, viewport=viewport) as page:
            for scheme in SCHEMES:
                await page.emulate_media(color_scheme=scheme)
                await page.evaluate(desks.FRAMES)
                found += [f"{name}, {scheme}: {line}" for line in await violations(page)]
    return found


async def by_screen() -> Figures:
    async with desk(PHONE) as (page, _):
        height = PHONE["height"] - KEYBOARD_PX
        await page.set_viewport_size({"width": PHONE["width"], "height": height})
        await page.focus(BODY)
        bottoms = await page.evaluate(BOTTOMS, [f"#compose {it}" for it in FORM])
        seen = sum(bottom <= height for bottom in bottoms)
        name = f"headline, text and Publish above a keyboard of {KEYBOARD_PX} px"
        yield Figure(f"{name}, 390 x 844", 3, seen, at_least=True)
    async with desk(LAPTOP) as (page, _):
        await page.fill(BODY, prose(500))
        await page.fill("#compose [name=headline]", "Just published")
        await page.press(BODY, "Control+Enter")
        article = page.locator("[role=feed] article").first
        await expect(article.locator("h3")).to_have_text("Just published")
        [bottom] = await page.evaluate(BOTTOMS, ["[role=feed] article .body"])
        in_sight = int(bottom <= LAPTOP["height"])
        yield Figure("entry just published in sight, 1280 x 800", 1, in_sight, at_least=True)


# -- files and policies


async def by_size() -> Figures:
    asked: dict[str, set[str]] = {}
    lax: list[str] = []

    def note(answer: Response) -> None:
        is_readers = answer.frame.url.endswith("/preview")  # the reader's page, with its styles
        kind = "of a reader's page" if is_readers else answer.request.resource_type
        asked.setdefault(kind, set()).add(answer.url)
        if answer.request.resource_type == "document" and not is_strict(answer):
            lax.append(answer.url)

    async with stage() as (browser, place):
        for it in desks.SIGHTS:
            async with window(browser, expected=AXE, storage_state=place.admin) as page:
                page.on("response", note)
                await it.show(page, place)
        files = asked["script"] | asked["stylesheet"]
        sizes = await asyncio.gather(*(asyncio.to_thread(zipped, url) for url in files))
        urls = set[str]().union(*asked.values())
        foreign = [url for url in urls if not url.startswith((f"{place.server.url}/", "data:"))]
    log(*lax, *foreign)
    yield Figure("scripts and styles of all pages of the desk, gzip", 32_768, sum(sizes), " B")
    yield Figure("requests of the desk to other sites", 0, len(foreign))
    yield Figure("answers without a strict policy with Trusted Types", 0, len(lax))


def is_strict(page: Response) -> bool:
    """Return whether a page may run only scripts and styles of its own, and no text as markup."""
    policy = page.headers.get("content-security-policy", "")
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";") if rule.strip()}
    is_own = rules.get("script-src") == rules.get("style-src") == ["'self'"]
    is_closed = rules.get("default-src") == ["'none'"] and rules.get("base-uri") == ["'none'"]
    return is_own and is_closed and rules.get("require-trusted-types-for") == ["'script'"]


PARTS: Final[Parts] = {
    "preview": by_preview,
    "publish": by_publish,
    "readers": typists.figures,
    "axe": by_axe,
    "screen": by_screen,
    "size": by_size,
    "texts": texts.figures,
}


if __name__ == "__main__":
    sys.exit(main_of(PARTS, __doc__))
