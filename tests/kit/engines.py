"""Browsers of three engines, used by real keys and clicks: Chromium, Firefox ESR, WebKitGTK.

Chromium is driven by Playwright, Firefox by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/)
and WebKitGTK by WebDriver (https://w3c.github.io/webdriver/). A `Driver` is what all three have in
common: addresses, expressions, keys and clicks. `Tab` has the actions of an editor, made of these.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import httpx2
from playwright.async_api import Error, Page
from websockets.asyncio.client import ClientConnection, connect

from kit.servers import ending_with_us, free_port
from kit.waiting import SCALE, until
from kit.windows import SIZES, chromium, system_chromium, window

START_S = 30.0
STOP_S = 10.0
ANSWER_S = 30.0
WAIT_S = 20.0
Chord = Sequence[str]  # keys that are pressed together, by their names in Playwright

# WebDriver, section "Keyboard actions": keys that are no characters.
KEYS: Final = {
    "Shift": "\ue008",
    "Control": "\ue009",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "End": "\ue010",
    "Home": "\ue011",
    "ArrowLeft": "\ue012",
}


class Failed(Exception):
    """The browser rejected a command. An expression also fails while a page is being left."""


class Driver(Protocol):
    name: str

    async def goto(self, url: str) -> None:
        """Open an address, and wait until the page has loaded. Raises Failed."""

    async def evaluate(self, expression: str) -> Any:
        """Return the JSON value of an expression in the page, or of its promise. Raises Failed."""

    async def press(self, chords: Sequence[Chord]) -> None:
        """Press and release chords, one after the other. Raises Failed."""

    async def click_at(self, x: int, y: int) -> None:
        """Click at a place in the window, in CSS pixels. Raises Failed."""

    async def open_tab(self) -> None:
        """Open another tab of the same browser, which all calls go to until `close_tab`."""

    async def close_tab(self) -> None:
        """Close the tab that `open_tab` opened, and return to the one before it."""


def _as_json(expression: str) -> str:
    """Return an expression whose value is a promise of the JSON of `expression`."""
    return f"(async () => JSON.stringify((await ({expression})) ?? null))()"


# -- Chromium


class Chromium:
    def __init__(self, page: Page, version: str) -> None:
        self.name = f"Chromium {version.split('.', maxsplit=1)[0]}"
        self._pages = [page]

    @property
    def _page(self) -> Page:
        return self._pages[-1]

    async def goto(self, url: str) -> None:
        await self._page.goto(url)

    async def evaluate(self, expression: str) -> Any:
        try:
            return json.loads(await self._page.evaluate(_as_json(expression)))
        except Error as error:
            raise Failed(str(error)) from None

    async def press(self, chords: Sequence[Chord]) -> None:
        for chord in chords:
            if len(chord) == 1 and len(chord[0]) == 1:
                await self._page.keyboard.type(chord[0])
            else:
                await self._page.keyboard.press("+".join(chord))

    async def click_at(self, x: int, y: int) -> None:
        await self._page.mouse.click(x, y)

    async def open_tab(self) -> None:
        self._pages.append(await self._page.context.new_page())

    async def close_tab(self) -> None:
        await self._pages.pop().close()
        await self._page.bring_to_front()


@contextlib.asynccontextmanager
async def in_chromium(scratch: Path) -> AsyncIterator[Driver]:
    async with (
        chromium(is_shell=True) as browser,
        window(browser, expected=r"net::ERR_", viewport=SIZES["desktop"]) as page,
    ):
        yield Chromium(page, browser.version)


# -- WebDriver: the actions of Firefox and WebKitGTK


class _Actor:
    """Presses and clicks by WebDriver's actions, which WebDriver BiDi has too."""

    async def perform(self, source: dict[str, Any]) -> None:
        raise NotImplementedError

    async def press(self, chords: Sequence[Chord]) -> None:
        actions = []
        for chord in chords:
            keys = [KEYS.get(key, key) for key in chord]
            actions += [{"type": "keyDown", "value": key} for key in keys]
            actions += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        await self.perform({"type": "key", "id": "keyboard", "actions": actions})

    async def click_at(self, x: int, y: int) -> None:
        move = {"type": "pointerMove", "x": x, "y": y, "origin": "viewport"}
        buttons = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        mouse = {"parameters": {"pointerType": "mouse"}, "actions": [move, *buttons]}
        await self.perform({"type": "pointer", "id": "mouse", **mouse})


@contextlib.contextmanager
def _running(log: Path, *command: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, and end the whole group after the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=ending_with_us(),  # noqa: PLW1509 - safe: die_with takes no locks
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)


# -- Firefox

# Firefox sets the other preferences for tests itself, because it is driven.
PREFERENCES: Final = {"datareporting.policy.dataSubmissionEnabled": False}


class Firefox(_Actor):
    """Sends one command at a time, and drops the events between a command and its answer."""

    def __init__(self, socket: ClientConnection) -> None:
        self.name = ""
        self._socket, self._number = socket, 0
        self._contexts: list[str] = []

    @property
    def _context(self) -> str:
        return self._contexts[-1]

    async def start(self) -> None:
        found = (await self._ask("session.new", capabilities={}))["capabilities"]
        self.name = f"Firefox {found['browserVersion'].split('.')[0]}"
        self._contexts = [(await self._ask("browsingContext.getTree"))["contexts"][0]["context"]]
        await self._set_size()

    async def _set_size(self) -> None:
        size = SIZES["desktop"]
        await self._ask("browsingContext.setViewport", context=self._context, viewport=size)

    async def open_tab(self) -> None:
        made = await self._ask("browsingContext.create", type="tab")
        self._contexts.append(made["context"])
        await self._set_size()

    async def close_tab(self) -> None:
        await self._ask("browsingContext.close", context=self._contexts.pop())
        await self._ask("browsingContext.activate", context=self._context)

    async def _ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        await self._socket.send(json.dumps(command))
        answer: dict[str, Any] = {}
        while answer.get("id") != self._number:
            answer = json.loads(await self._socket.recv())
        if answer["type"] == "error":
            raise Failed(f"{method}: {answer['error']}: {answer['message']}")
        return answer["result"]

    async def goto(self, url: str) -> None:
        await self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        answer = await self._ask(
            "script.evaluate",
            expression=_as_json(expression),
            target={"context": self._context},
            awaitPromise=True,
            userActivation=False,
        )
        if answer["type"] == "exception":
            raise Failed(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    async def perform(self, source: dict[str, Any]) -> None:
        await self._ask("input.performActions", context=self._context, actions=[source])


@contextlib.asynccontextmanager
async def in_firefox(scratch: Path) -> AsyncIterator[Driver]:
    profile = scratch / "profile"
    profile.mkdir()
    lines = (f"user_pref({json.dumps(it)}, {json.dumps(v)});\n" for it, v in PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    started = profile / "WebDriverBiDiServer.json"
    command = ["firefox-esr", "--headless", "--remote-debugging-port", "0", "--profile"]
    # As root, Firefox refuses the home directory of another user.
    with _running(scratch / "log", *command, str(profile), HOME=str(scratch)):
        await until(lambda: started.exists() and started.stat().st_size > 0, START_S)
        at = json.loads(started.read_text())
        address = f"ws://{at['ws_host']}:{at['ws_port']}/session"
        async with connect(address, max_size=None, open_timeout=START_S * SCALE) as socket:
            driver = Firefox(socket)
            await driver.start()
            yield driver


# -- WebKitGTK

WEBKIT: Final = {
    "webkitgtk:browserOptions": {"args": ["--automation"]},
    "pageLoadStrategy": "normal",
}


class WebKit(_Actor):
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.name = ""
        self._client, self._session = client, ""

    async def start(self) -> None:
        made = await self._ask("POST", "", {"capabilities": {"alwaysMatch": WEBKIT}})
        self.name = f"WebKitGTK {made['capabilities']['browserVersion']}"
        self._session = f"/{made['sessionId']}"
        size = {**SIZES["desktop"], "x": 0, "y": 0}
        await self._ask("POST", "/window/rect", size)

    async def stop(self) -> None:
        await self._ask("DELETE", "")

    async def open_tab(self) -> None:
        # WebKitWebDriver 2.50 crashes at the first click in a new tab, but not in a new window.
        made = await self._ask("POST", "/window/new", {"type": "window"})
        await self._ask("POST", "/window", {"handle": made["handle"]})

    async def close_tab(self) -> None:
        left = await self._ask("DELETE", "/window")
        await self._ask("POST", "/window", {"handle": left[0]})

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        address = f"/session{self._session}{path}"
        answer = await self._client.request(method, address, json=body)
        value = answer.json()["value"]
        if answer.is_error:
            raise Failed(f"{path}: {value['error']}: {value['message']}")
        return value

    async def goto(self, url: str) -> None:
        await self._ask("POST", "/url", {"url": url})

    async def evaluate(self, expression: str) -> Any:
        script = f"{_as_json(expression)}.then(arguments[0], (it) => arguments[0](`!${{it}}`))"
        answer = await self._ask("POST", "/execute/async", {"script": script, "args": []})
        if answer.startswith("!"):
            raise Failed(answer[1:])
        return json.loads(answer)

    async def perform(self, source: dict[str, Any]) -> None:
        await self._ask("POST", "/actions", {"actions": [source]})


@contextlib.asynccontextmanager
async def in_webkit(scratch: Path) -> AsyncIterator[Driver]:
    port, log = free_port(), scratch / "log"
    environ = {"HOME": str(scratch), "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
    with (
        _display(log) as display,
        _running(log, "WebKitWebDriver", f"--port={port}", DISPLAY=display, **environ),
    ):
        base, timeout = f"http://127.0.0.1:{port}", ANSWER_S * SCALE
        async with httpx2.AsyncClient(base_url=base, timeout=timeout) as client:
            await until(lambda: _answers(client), START_S)
            driver = WebKit(client)
            await driver.start()
            try:
                yield driver
            finally:
                await driver.stop()


async def _answers(client: httpx2.AsyncClient) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return (await client.get("/status")).is_success
    return False


@contextlib.contextmanager
def _display(log: Path) -> Iterator[str]:
    """Run an X server on a free display, and yield the display's name."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1600x1200x24", "-nolisten", "tcp"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            preexec_fn=ending_with_us(),  # noqa: PLW1509 - safe: die_with takes no locks
        )
    assert process.stdout
    with process, process.stdout as said:
        try:
            yield f":{said.readline().decode().strip()}"
        finally:
            process.terminate()


# -- the engines of this machine

Start = Callable[[Path], AbstractAsyncContextManager[Driver]]
ENGINES: Final[dict[str, tuple[Start, Sequence[str]]]] = {
    "chromium": (in_chromium, ()),
    "firefox": (in_firefox, ("firefox-esr",)),
    "webkit": (in_webkit, ("WebKitWebDriver", "Xvfb")),
}


def missing(engine: str) -> list[str]:
    """Return the programs that an engine needs and this machine lacks."""
    if engine == "chromium" and not system_chromium():
        return ["chromium"]
    return [program for program in ENGINES[engine][1] if not shutil.which(program)]


# -- what an editor does

# An element counts only when it rests, and when a click would reach it.
PLACE: Final = """async (selector, words) => {
    const it = [...document.querySelectorAll(selector)].find(
        (it) => it.checkVisibility() && it.textContent.includes(words));
    if (!it) return null;
    it.scrollIntoView({ block: 'center', behavior: 'instant' });
    const before = it.getBoundingClientRect();
    await new Promise((done) => setTimeout(done, 50));
    const { left, top, width, height } = it.getBoundingClientRect();
    if (left !== before.left || top !== before.top) return null;
    const [x, y] = [Math.round(left + width / 2), Math.round(top + height / 2)];
    return it.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
}"""
SHOWN: Final = """[document.body.innerText, `focus: ${document.activeElement.id}`,
    ...[...document.querySelectorAll('textarea, input:not([type=hidden])')]
        .filter((it) => it.value).map((it) => `${it.id}: ${it.value}`)].join('\\n')"""


class Tab:
    """A tab with an editor in front. Each wait for what the page should show ends after WAIT_S."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.goto = driver.goto

    async def call(self, function: str, *arguments: Any) -> Any:
        """Call a function in the page with arguments that JSON has. Raises Failed."""
        return await self.driver.evaluate(f"({function})(...{json.dumps(arguments)})")

    async def wait(self, function: str, *arguments: Any) -> Any:
        """Return the first true value of a function. Raises AssertionError with what is shown."""

        async def value() -> Any:
            with contextlib.suppress(Failed):
                return await self.call(function, *arguments)

        try:
            return await until(value, WAIT_S)
        except TimeoutError:
            shown = await self.driver.evaluate(SHOWN)
            raise AssertionError(f"not so: {function} {arguments}; the page:\n{shown}") from None

    async def click(self, selector: str, words: str = "") -> None:
        """Click on the first element in sight that matches a selector and contains `words`."""
        x, y = await self.wait(PLACE, selector, words)
        await self.driver.click_at(x, y)

    async def type(self, text: str) -> None:
        """Type a text, key by key."""
        await self.driver.press([["Enter"] if it == "\n" else [it] for it in text])

    async def press(self, *keys: str) -> None:
        """Press keys together."""
        await self.driver.press([keys])

    async def fill(self, selector: str, text: str) -> None:
        """Click on a box, and type at the end of its text."""
        await self.click(selector)
        await self.press("Control", "End")
        await self.type(text)
