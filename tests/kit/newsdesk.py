"""A store, a server and two browsers for stories of the desk, and all that can break between them.

The first browser is dana's. The second is dana's other machine, or kim's. Each browser reaches the
server through a proxy of its own.
"""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from playwright.async_api import async_playwright

from kit.hand import WATCH
from kit.profiles import Profile
from kit.proxy import Proxy
from kit.servers import COMMAND, Editor, Server, StoreProcess
from kit.stores import binary_of
from kit.waiting import until
from kit.windows import add_editor
from liveblog.clock import now_ms
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect

PEOPLE: Final = ("dana", "kim")
# The forms whose texts are kept: not a preview, and no button of an entry.
SUBMITS: Final = re.compile(
    rb"POST /desk/blogs/[^/ ]+/(header|end|entries(/e[0-9a-z]{12}(/retract)?)?) "
)
SILENT_S: Final = 0.6  # longer than the browser takes to give up
ODD_ZONE: Final = "America/Coyhaique"  # newer than many browsers; those of a story lack it
LACK_ZONE: Final = """
Intl.DateTimeFormat = new Proxy(Intl.DateTimeFormat, {
  construct(of, given, as) {
    if (given[1]?.timeZone === 'ZONE') throw new RangeError('Invalid time zone: ZONE');
    return Reflect.construct(of, given, as);
  },
});""".replace("ZONE", ODD_ZONE)
RUN: Final = "from liveblog.commands.main import main; main()"


class Wire(Proxy):
    """A browser's network, which can act on the next form that the browser sends."""

    def __init__(self, upstream: Path | int) -> None:
        super().__init__(upstream)
        self._on_submit: Callable[[], None] | None = None
        self.is_silent = False

    def on_submit(self, act: Callable[[], None]) -> None:
        """Call `act` once, just before the next form is passed on to the server."""
        self._on_submit = act

    def forget(self) -> None:
        """Act on no form."""
        self._on_submit = None
        self._refuses = self.is_silent = False

    def fall_silent(self) -> None:
        """Lose the answers to forms, and refuse connections, for a while.

        Chromium sends a form again by itself when a used connection ends: on another one that is
        open, then on a new one. The script learns only of a failure of the last.
        """
        self._refuses = self.is_silent = True
        asyncio.get_running_loop().call_later(SILENT_S, self.forget)

    def takes(self, request: bytes) -> bool:
        if not SUBMITS.search(request):
            return super().takes(request)
        if self._on_submit:
            act, self._on_submit = self._on_submit, None
            act()
        return self.is_silent or super().takes(request)


class Newsdesk:
    """The parts of a story. They live on from one story to the next; each story has a blog."""

    def __init__(
        self, store: StoreProcess, server: Server, wires: list[Wire], profiles: list[Profile]
    ) -> None:
        self._store, self._server = store, server
        self.wires, self.profiles = wires, profiles
        self.is_store_up = self.is_server_up = True
        self.calls: Editor = None  # type: ignore[assignment]  # set before the first story
        self._sessions: dict[str, str] = {}

    @property
    def is_up(self) -> bool:
        return self.is_store_up and self.is_server_up

    def url(self, number: int) -> str:
        """Return the address of the server for the browser with this number."""
        return f"http://127.0.0.1:{self.wires[number].port}"

    # -- kills

    def kill_server(self) -> None:
        self.is_server_up = False
        self._server.kill()

    def kill_store(self) -> None:
        self.is_store_up = False
        self._store.kill()

    async def start(self) -> None:
        """Start what was killed, on the same data and ports."""
        if not self.is_store_up:
            await asyncio.to_thread(self._store.start)
            self.is_store_up = True
        if not self.is_server_up:
            await asyncio.to_thread(self._server.start)
            self.is_server_up = True
        await until(self._is_ready)

    async def _is_ready(self) -> bool:
        """Return whether the server has found the store again."""
        answer = await self.calls.client.get("/readyz")
        return bool(answer.json().get("store") == "up")

    # -- sessions

    async def _session(self, name: str) -> str:
        """Return the secret of a session that is open."""
        async with connect(self._store.url) as client:
            accounts = Accounts(client, now_ms)
            secret = self._sessions.get(name)
            if not secret or not await accounts.session_caller(secret):
                user = await accounts.people.stored(name)
                assert user
                secret = self._sessions[name] = await accounts.open_session(user.caller)
        return secret

    async def sign_in(self, number: int, name: str) -> None:
        """Give a browser a session of an editor, as signing in in another tab does."""
        cookie = {"name": "liveblog", "value": await self._session(name), "url": self.url(number)}
        await self.profiles[number].context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict of Playwright

    async def end_session(self, number: int) -> None:
        """End the session of a browser on the server; the browser keeps its cookie."""
        cookies = await self.profiles[number].context.cookies(self.url(number))
        async with connect(self._store.url) as client:
            for cookie in cookies:
                if cookie["name"] == "liveblog":
                    await Accounts(client, now_ms).close_session(cookie["value"])


def command_of(tree: Path) -> Sequence[str]:
    """Return the command that serves from a copy of the checkout."""
    return (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tree)!r}); {RUN}", "serve")


@contextlib.asynccontextmanager
async def newsdesk(directory: Path, tree: Path | None = None) -> AsyncIterator[Newsdesk]:
    """Yield a newsdesk on empty data; `tree` is the copy of the checkout that its server runs."""
    async with contextlib.AsyncExitStack() as stack:
        store = StoreProcess(_made(directory / "store"), binary_of("valkey"))
        stack.callback(store.kill)
        store.start()
        settings: dict[str, Any] = {"REDIS_URL": store.url, "LIVEBLOG_HEARTBEAT_S": "2"}
        command = command_of(tree) if tree else COMMAND
        server = Server(directory / "log", command=command, **settings)
        stack.callback(server.kill)
        server.start()
        for name in PEOPLE:
            await add_editor(server, name)
        playwright = await stack.enter_async_context(async_playwright())
        wires = [Wire(server.port) for _ in range(2)]
        profiles = [
            Profile(playwright, directory / f"profile-{n}", WATCH + LACK_ZONE) for n in range(2)
        ]
        for wire, profile in zip(wires, profiles, strict=True):
            await wire.start()
            stack.push_async_callback(wire.stop)
            await profile.launch()
            stack.push_async_callback(profile.close)
        desk = Newsdesk(store, server, wires, profiles)
        desk.calls = await stack.enter_async_context(server.editor())
        yield desk


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
