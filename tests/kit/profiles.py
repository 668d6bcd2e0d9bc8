"""Chromium on a profile directory, which outlives its browser: stories kill renderers and browsers.

Rules: each kill is a SIGKILL of real processes. Nothing here knows the desk.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.async_api import BrowserContext, Error, Page, Playwright

from kit.processes import descendants, is_alive
from kit.waiting import SCALE, until
from kit.windows import ARGUMENTS, note_complaint, system_chromium

ACT_MS: Final = 5_000 * SCALE
CLOSE_S: Final = 5.0
CLOSED_S: Final = 0.5  # a tab closes in a tenth of this time
LEFT: Final = "/readyz"  # a tab goes on from here in its process; a new one takes CPU time to start
# A spare renderer has no tab, and takes CPU time to start.
MORE: Final = ("--disable-features=SpareRendererForSitePerProcess,Translate,PaintHolding",)
SIZE: Final[Any] = {"width": 640, "height": 480}  # painting takes CPU time
BUSY: Final = "() => { const end = performance.now() + 30; while (performance.now() < end); }"
BUSY_MAX: Final = 10


class Profile:
    """A browser's profile directory, and the browser that runs on it at present.

    `complaints` has the errors that scripts logged. All tabs of the profile share its cookies,
    IndexedDB and localStorage, also after the browser was killed and launched again. `script`
    runs in each page first; its calls of `report` reach `reported`.
    """

    def __init__(self, playwright: Playwright, directory: Path, script: str = "") -> None:
        self._playwright, self.directory, self._script = playwright, directory, script
        self.reported: Callable[[list[str]], None] = lambda _: None
        self._context: BrowserContext | None = None
        self._heard: set[Page] = set()
        self.complaints: list[str] = []

    @property
    def context(self) -> BrowserContext:
        assert self._context
        return self._context

    async def launch(self) -> None:
        shell = shutil.which("chromium-headless-shell") or system_chromium()
        self._context = await self._playwright.chromium.launch_persistent_context(
            str(self.directory), executable_path=shell, args=[*ARGUMENTS, *MORE], viewport=SIZE
        )
        self._context.set_default_timeout(ACT_MS)
        await self._context.expose_function("report", self._report)
        await self._context.add_init_script(self._script)

    def _report(self, texts: list[str]) -> None:
        self.reported(texts)

    async def open_tab(self) -> Page:
        """Return a new tab: one that was left, or the first one of a browser, which is there already."""
        free = [page for page in self.context.pages if page.url.endswith((LEFT, "about:blank"))]
        page = free[0] if free else await self.context.new_page()
        if page in self._heard:
            return page
        self._heard.add(page)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: note_complaint(message, self.complaints))
        return page

    async def close(self) -> None:
        """Close the browser; one that does not close is killed."""
        try:
            async with asyncio.timeout(CLOSE_S * SCALE):
                await self.context.close()
        except (TimeoutError, Error):
            await self.kill()

    # -- kills

    def _browser(self) -> int:
        """Return the pid of the browser. Raises StopIteration when none runs."""
        of_us = f"--user-data-dir={self.directory}".encode()
        running = [pid for pid in descendants(os.getpid()) if of_us in _arguments(pid)]
        return next(pid for pid in running if not any(b"--type=" in it for it in _arguments(pid)))

    def _renderers(self) -> list[int]:
        pids = descendants(self._browser())
        return [pid for pid in pids if any(b"--type=renderer" in it for it in _arguments(pid))]

    async def kill(self) -> None:
        """End the browser and all its processes with SIGKILL."""
        browser = self._browser()
        pids = [browser, *descendants(browser)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(is_alive(pid) for pid in pids))
        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(CLOSE_S * SCALE):
                await self.context.close()

    async def kill_renderer(self, page: Page, pid: int) -> None:
        """End the process of one tab with SIGKILL at once; the other tabs live on."""
        async with page.expect_event("crash"):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid))
        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(CLOSE_S * SCALE):
                await page.close()

    async def renderer_of(self, page: Page) -> int:
        """Return the process of a tab: the one that gets busy when the tab does."""
        pids = self._renderers()
        if len(pids) == 1:
            return pids[0]
        before = {pid: _run_ns(pid) for pid in pids}
        for _ in range(BUSY_MAX):  # another tab may be busy at the same time
            await page.evaluate(BUSY)
            *_, second, (most_ns, pid) = sorted((_run_ns(pid) - before[pid], pid) for pid in pids)
            if most_ns > 2 * second[0]:
                break
        return pid


async def close_tab(page: Page) -> None:
    """Close a tab.

    Chromium drops one of 20 requests to close a tab that is going to another page, also on pages
    without scripts. The next request succeeds.
    """
    closing = asyncio.ensure_future(page.close())
    try:
        while not (await asyncio.wait([closing], timeout=CLOSED_S))[0]:
            with contextlib.suppress(Error):
                session = await page.context.new_cdp_session(page)
                await session.send("Page.close")
        await closing
    finally:
        closing.cancel()


def _arguments(pid: int) -> list[bytes]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # Renderers write their command line again, with blanks instead of zeros.
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b" ", b"\0").split(b"\0")
    return []


def _run_ns(pid: int) -> int:
    """Return the CPU time of a process; 0 when it has ended."""
    found: list[Any] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(int((task / "schedstat").read_text().split()[0]))
    return sum(found)
