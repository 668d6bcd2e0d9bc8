"""Fixtures: one store, one stage (kit/stage.py) and one browser for all tests of this folder.

A test that would leave the store or the stage broken starts its own.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from kit.servers import StoreProcess, store_process
from kit.stage import Stage, stage_on
from kit.stores import binary_of
from kit.windows import chromium
from playwright.async_api import Browser


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Yield a running, durable store that a test may stop, kill and start again."""
    with store_process(tmp_path_factory.mktemp("store"), binary_of("valkey")) as process:
        process.start()
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(
    store: StoreProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with stage_on(store, tmp_path_factory.mktemp("servers")) as stage:
        yield stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium(is_shell=True) as started:
        yield started
