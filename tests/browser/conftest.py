"""One Chromium and one server for all browser tests; each test has its own windows and blog."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from kit.servers import Editor, Server, serving
from kit.windows import add_editor, chromium, window
from playwright.async_api import Browser, Page


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium(is_shell=True) as started:
        yield started


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("browser")
    settings: dict[str, Any] = {"DATA_DIR": str(directory / "data"), "LIVEBLOG_HEARTBEAT_S": "2"}
    with serving(directory / "log", **settings) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(running: Server) -> Server:
    """Return the running server, with an account for an editor named dana."""
    await add_editor(running)
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def editor(server: Server) -> AsyncIterator[Editor]:
    async with server.editor() as calls:
        yield calls


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser: Browser) -> AsyncIterator[Page]:
    async with window(browser) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def reader(browser: Browser) -> AsyncIterator[Page]:
    async with window(browser) as page:
        yield page


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"
