"""Measure the limits of the reader's page in a real browser against a real server; print a Markdown table.

    make page
    make page ARGS="--only axe,memory"

Needs Chromium and Node, as the tests do; all figures take about four minutes. Exits with 1 when a figure misses its
limit. The functions in audits.py, painting.py and weighing.py describe each figure and its measurement.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kit.audits import CATEGORIES, barriers, lighthouse
from kit.figure import Figure, Figures, chosen, conclude, log
from kit.painting import (
    Movement,
    crowd,
    delays,
    movement_by_changes,
    movement_by_edits,
    shift_of_arrivals,
    shift_of_edit,
    shift_on_load,
    watched,
)
from kit.samples import DEMO, LANGUAGES, SHORT, SIGHTS, Changes, fill_demo, fill_football
from kit.servers import Editor, Server, serving
from kit.weighing import held, read_plainly, weigh
from kit.windows import SCHEMES, SIZES, chromium, system_chromium
from playwright.async_api import Browser, Page

RUNS = 5  # of Lighthouse
CHANGES = 2_000
WARM = 200  # changes that are made before memory is measured the first time
WRITERS = 4


class Stage(NamedTuple):
    """Holds the browser, server and editor that every measurement uses."""

    browser: Browser
    server: Server
    editor: Editor


async def by_lighthouse(stage: Stage) -> Figures:
    chrome = system_chromium() or stage.browser.browser_type.executable_path
    runs = [await lighthouse(stage.server.url + DEMO, chrome) for _ in range(RUNS)]
    for name in CATEGORIES:
        must = 95 if name == "performance" else 100
        score = statistics.median(run[name] for run in runs)
        yield Figure(f"Lighthouse, {name}, median of {RUNS}", must, score, at_least=True)


async def by_axe(stage: Stage) -> Figures:
    paths = {language: await fill_football(stage.editor, language) for language in LANGUAGES}
    found: dict[str, list[str]] = {kind: [] for kind, _ in SIGHTS}
    for (kind, language), scheme in itertools.product(SIGHTS, SCHEMES):
        url = stage.server.url + paths[language][kind]
        found[kind] += await barriers(stage.browser, url, scheme)
    for kind, lines in found.items():
        log(*lines)
        yield Figure(f"axe-core, violations, {kind}", 0, len(lines))


async def by_shift(stage: Stage) -> Figures:
    for name, viewport in SIZES.items():
        async with watched(stage.browser, stage.server.url + DEMO, viewport=viewport) as page:
            shift = await shift_on_load(page)
        yield Figure(f"layout shift on load, {name}", 0.01, shift)
    arrivals, edits = [], []
    for viewport in SIZES.values():
        blog = await _blog_to_read(stage)
        async with watched(stage.browser, blog.url, viewport=viewport) as page:
            edits.append(await shift_of_edit(page, stage.editor, blog.entries))
            arrivals.append(await shift_of_arrivals(page, stage.editor, blog.slug))
    yield Figure("layout shift of 10 arrivals, scrolled away", 0, max(arrivals))
    yield Figure("layout shift of an edit above", 0, max(edits))


class Blog(NamedTuple):
    slug: str
    url: str
    entries: list[Any]  # by order


async def _blog_to_read(stage: Stage) -> Blog:
    """Publish 20 entries in a new blog."""
    slug = (await stage.editor.blog())["slug"]
    body = f"{SHORT}\n\n{SHORT}"
    entries = [await stage.editor.publish(slug, body, headline=f"Entry {n}") for n in range(20)]
    return Blog(slug, f"{stage.server.url}/blogs/{slug}", entries)


async def by_movement(stage: Stage) -> Figures:
    for name, is_anchored in {"": True, ", browser's anchoring off": False}.items():
        moved = [await _movements(stage, it, is_anchored) for it in SIZES.values()]
        changes, edits = zip(*moved, strict=True)
        far, jump = max(it.moved_px for it in changes), max(it.jump_px for it in changes)
        yield Figure(f"movement of the text being read, 50 changes above{name}", 1, far, " px")
        yield Figure(f"the same, from one frame to the next{name}", 1, jump, " px")
        far = max(it.moved_px for it in edits)
        yield Figure(f"the same, 10 edits in sight above that text{name}", 1, far, " px")


async def _movements(stage: Stage, viewport: Any, is_anchored: bool) -> tuple[Movement, Movement]:
    found = []
    for by in (movement_by_changes, movement_by_edits):
        blog = await _blog_to_read(stage)
        async with watched(stage.browser, blog.url, viewport=viewport) as page:
            if not is_anchored:
                await page.evaluate("probe.withoutAnchoring()")
            found.append(await by(page, stage.editor, blog.entries))
    return found[0], found[1]


async def by_paint(stage: Stage) -> Figures:
    slug = (await stage.editor.blog())["slug"]
    async with watched(stage.browser, f"{stage.server.url}/blogs/{slug}") as page:
        count = await crowd(page, stage.editor, slug)
        took = await delays(stage.browser, page, stage.editor, slug)
    on = f"on a page of {count} entries, median"
    yield Figure("entries on the page for the next two figures", 500, count, at_least=True)
    yield Figure(f"socket message to painted entry, {on}", 33, took.paint_ms, " ms")
    yield Figure(f"CPU time of the main thread in it, {on}", 8, took.work_ms, " ms")


async def by_memory(stage: Stage) -> Figures:
    blog = await _blog_to_read(stage)
    more = await stage.editor.publish_many(blog.slug, 5 * WRITERS)
    own = [blog.entries[n::WRITERS] + more[n::WRITERS] for n in range(WRITERS)]
    writers = [Changes(stage.editor, entries) for entries in own]
    async with watched(stage.browser, blog.url) as page:
        await _make(page, writers, WARM)
        before = await held(page)
        await _make(page, writers, CHANGES - WARM)
        after = await held(page)
    growth = after.heap_mb - before.heap_mb
    yield Figure(f"heap growth, {WARM} to {CHANGES:,} changes", 5, growth, " MB")
    yield Figure(f"detached articles after {CHANGES:,} changes", 0, after.detached)


async def _make(page: Page, writers: list[Changes], count: int) -> None:
    """Let the writers make `count` changes in all; wait until the page shows the last one."""
    each = count // len(writers)
    offsets = await asyncio.gather(*(writer.make_many(each) for writer in writers))
    await page.evaluate("n => probe.reached(n)", max(offsets))


async def by_plain(stage: Stage) -> Figures:
    slug = (await stage.editor.blog())["slug"]
    entries = await stage.editor.publish_many(slug, 45)
    plain = await read_plainly(stage.browser, f"{stage.server.url}/blogs/{slug}")
    found = len(plain.ids & {entry["id"] for entry in entries})
    yield Figure("without scripts: entries that can be read, of 45", 45, found, at_least=True)
    hint = int(plain.says_how_to_refresh)
    yield Figure("without scripts: says how to refresh", 1, hint, at_least=True)


async def by_size(stage: Stage) -> Figures:
    weight = await weigh(stage.browser, stage.server.url + DEMO)
    yield Figure("scripts, gzip", 14_000, weight.scripts, " B")
    yield Figure("styles, gzip", 6_144, weight.styles, " B")


ALL: dict[str, Callable[[Stage], Figures]] = {
    "lighthouse": by_lighthouse,
    "axe": by_axe,
    "shift": by_shift,
    "movement": by_movement,
    "paint": by_paint,
    "memory": by_memory,
    "plain": by_plain,
    "size": by_size,
}


async def measure(server: Server, names: list[str]) -> list[Figure]:
    await fill_demo(server)
    figures = []
    async with server.editor() as editor, chromium() as browser:
        for name in names:
            async for figure in ALL[name](Stage(browser, server, editor)):
                log(figure.line())
                figures.append(figure)
    return figures


def main() -> int:
    names = chosen(ALL, __doc__)
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch) / "log", DATA_DIR=f"{scratch}/data") as server,
    ):
        figures = asyncio.run(measure(server, names))
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
