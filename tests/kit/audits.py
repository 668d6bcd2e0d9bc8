"""Audit a page with axe-core (accessibility) and Lighthouse (also speed, SEO and best practices).

axe-core and Lighthouse come from npm (`make tests/browser/node_modules/.installed`).
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page

from kit.windows import ARGUMENTS, SETTLED, SIZES, window

MODULES: Final = Path(__file__).parents[1] / "browser" / "node_modules"
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
CATEGORIES: Final = ("performance", "accessibility", "best-practices", "seo")
# axe applies styles of its own to read those of a shadow tree. The page forbids this, and logs it.
AXE: Final = "Applying inline style"
LIGHTHOUSE_S: Final = 120.0  # the deadline of one run, which usually takes 13 s

# axe disables some rules by default, and a tag does not enable these. `target-size`, a rule of
# WCAG 2.2 AA, is one of them, so the call names it.
_RUN = f"""axe.run(document, {{
    runOnly: {[*TAGS]}, resultTypes: ['violations'], rules: {{ 'target-size': {{ enabled: true }} }},
}}).then(({{ violations }}) => violations)"""


async def barriers(browser: Browser, url: str, scheme: Any) -> list[str]:
    """Return what axe-core finds on a page in a colour scheme, on a phone and on a desktop."""
    found = []
    for name, viewport in SIZES.items():
        async with window(browser, viewport=viewport, color_scheme=scheme) as page:
            await page.goto(url)
            if await page.locator("#status").count():
                await page.wait_for_selector(SETTLED)
            found += [f"{name}: {line}" for line in await violations(page)]
    return found


async def violations(page: Page) -> list[str]:
    """Return a line for each violation of WCAG 2.2 A and AA, and of axe's best practice.

    axe runs in an isolated world, as browser extensions do. There axe sees the page's document, and
    the page's Content Security Policy does not block axe.
    """
    session = await page.context.new_cdp_session(page)
    try:
        tree = await session.send("Page.getFrameTree")
        world = await session.send(
            "Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"]}
        )
        answer = await session.send(
            "Runtime.evaluate",
            {
                "expression": f"{_axe()}\n;{_RUN}",
                "contextId": world["executionContextId"],
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
    finally:
        await session.detach()
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return [_line(rule, node) for rule in answer["result"]["value"] for node in rule["nodes"]]


@cache
def _axe() -> str:
    return (MODULES / "axe-core" / "axe.min.js").read_text("utf-8")


def _line(rule: dict[str, Any], node: dict[str, Any]) -> str:
    summary = " ".join(node["failureSummary"].split())
    return f"{rule['id']}: {rule['help']}: {' '.join(map(str, node['target']))}: {summary}"


async def lighthouse(url: str, chrome: str) -> dict[str, float]:
    """Run Lighthouse for a simulated phone on a slow network; return scores of 0 to 100.

    `chrome` is the path of the browser.
    """
    command = [
        "node",
        str(MODULES / "lighthouse" / "cli" / "index.js"),
        url,
        "--quiet",
        "--output=json",
        f"--only-categories={','.join(CATEGORIES)}",
        f"--chrome-flags=--headless=new {' '.join(ARGUMENTS)}",
    ]
    try:
        output = await _output(command, CHROME_PATH=chrome)
    except AssertionError as error:
        # Lighthouse asks for a second run when its recording of the page lacks the start.
        if "run Lighthouse again" not in str(error):
            raise
        output = await _output(command, CHROME_PATH=chrome)
    report = json.loads(output)
    assert "runtimeError" not in report, report["runtimeError"]
    return {name: 100 * report["categories"][name]["score"] for name in CATEGORIES}


async def _output(command: list[str], **environ: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with _ending(process), asyncio.timeout(LIGHTHOUSE_S):
        output, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode(errors="replace")[-3_000:]
    return output


@contextlib.asynccontextmanager
async def _ending(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # on SIGINT, Lighthouse ends its browser too
            await process.wait()
