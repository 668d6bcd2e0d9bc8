"""Real stores for tests: the embedded Valkey and Debian's Redis, one of each for a whole run."""

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


@pytest.fixture(scope="session", params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    """Which server a test runs against; a test that asks for it, or for a store, runs twice."""
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
    """An asyncio client of an empty store; it answers bytes."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        yield client


@pytest.fixture(scope="session")
def fdatasync_delay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloadable library, compiled with the machine's C compiler."""
    return preloaded("fdatasync_delay", tmp_path_factory.mktemp("preload"))


@pytest.fixture
def start_delayed(binary: Path, fdatasync_delay: Path, tmp_path: Path) -> StartDelayed:
    """Return a function that starts a `DelayedStore`, with more arguments if any."""

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
    """A durable store, as `serve` starts it, whose disk can be made slow."""
    with start_delayed() as started:
        yield started


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the embedded store, for all tests that neither stop it nor need it empty."""
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
    """A second server on the store of `site`; a test may kill it, and starts it again then."""
    log = tmp_path_factory.mktemp("twin") / "log"
    with serving(log, REDIS_URL=site.store_url, LIVEBLOG_HEARTBEAT_S="0.25") as server:
        yield server


@pytest.fixture
async def editor(site: Server) -> AsyncIterator[Editor]:
    """Somebody who writes on `site`."""
    async with site.editor() as calls:
        yield calls


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store that the test may stop and start; it does not run yet."""
    with store_process(tmp_path, binary_of("valkey")) as process:
        yield process
