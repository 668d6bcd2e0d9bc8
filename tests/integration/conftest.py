"""Real stores for tests: the embedded Valkey and Debian's Redis, and servers that tests share.

A test that uses a store runs twice, on Valkey and on Redis. A module with `FLAVOURS = ("valkey",)`
runs only on Valkey, because it tests neither Lua scripts nor the store's answers.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import redis
import redis.asyncio
from kit.preload import preloaded
from kit.servers import Editor, Server, StoreProcess, serving, store_process
from kit.stores import DELAY_MS, FLAVOURS, DelayedStore, StartDelayed, binary_of

from liveblog.store import embedded as store


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "flavour" in metafunc.fixturenames:
        flavours = getattr(metafunc.module, "FLAVOURS", FLAVOURS)
        metafunc.parametrize("flavour", flavours, indirect=True, scope="session")


@pytest.fixture(scope="session")
def flavour(request: pytest.FixtureRequest) -> str:
    """The store's flavour."""
    return str(request.param)


@pytest.fixture(scope="session")
def binary(flavour: str) -> Path:
    return binary_of(flavour)


@pytest.fixture(scope="session")
def running_store(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with store.own(tmp_path_factory.mktemp("store"), binary=binary) as url:
        yield url


@pytest.fixture
def store_url(running_store: str) -> str:
    """The `unix://` URL of an empty store."""
    with contextlib.closing(redis.Redis.from_url(running_store)) as client:
        client.flushall()
    return running_store


@pytest.fixture
async def store_client(store_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """An asyncio client of an empty store; its answers are bytes."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        yield client


@pytest.fixture(scope="session")
def fdatasync_delay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library that delays a store's fsyncs; return its path, for LD_PRELOAD."""
    return preloaded("fdatasync_delay", tmp_path_factory.mktemp("preload"))


@pytest.fixture
def start_delayed(binary: Path, fdatasync_delay: Path, tmp_path: Path) -> StartDelayed:
    """Return a function that starts a `DelayedStore`; its arguments are options of the store."""

    @contextlib.contextmanager
    def start(arguments: Sequence[str] = ()) -> Iterator[DelayedStore]:
        log, flag = tmp_path / "fsync.log", tmp_path / "fsync.delay"
        environ = {
            **os.environ,
            "LD_PRELOAD": str(fdatasync_delay),
            "FSYNC_LOG": str(log),
            "FSYNC_DELAY_FILE": str(flag),
            "FSYNC_DELAY_MS": str(DELAY_MS),
        }
        directory = tmp_path / "delayed"
        with store.own(directory, binary=binary, arguments=arguments, environ=environ) as url:
            yield DelayedStore(url, log, flag)

    return start


@pytest.fixture
def delayed_store(start_delayed: StartDelayed) -> Iterator[DelayedStore]:
    """A durable store, as `serve` starts one, with a disk that a test can slow down."""
    with start_delayed() as started:
        yield started


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the embedded store, for tests that neither stop it nor empty the store."""
    directory = tmp_path_factory.mktemp("site")
    with serving(
        directory / "log",
        DATA_DIR=str(directory / "data"),
        PUBLIC_URL="https://live.example",
        LIVEBLOG_ALLOWED_ORIGINS="https://news.example",
        LIVEBLOG_HEARTBEAT_S="0.25",
    ) as server:
        yield server


@pytest.fixture(scope="session")
def twin(site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second server on the store of `site`; a test that kills it starts it again."""
    log = tmp_path_factory.mktemp("twin") / "log"
    with serving(log, REDIS_URL=site.store_url, LIVEBLOG_HEARTBEAT_S="0.25") as server:
        yield server


@pytest.fixture
async def editor(site: Server) -> AsyncIterator[Editor]:
    """An editor on `site`."""
    async with site.editor() as calls:
        yield calls


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store that the test starts and stops."""
    with store_process(tmp_path, binary_of("valkey")) as process:
        yield process
