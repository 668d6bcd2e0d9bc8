"""Workers' faults: killed, stopped, drained or exchanged; clocks set wrong; a power cut."""

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
from kit.preload import preloaded
from kit.processes import descendants, frozen, is_alive, open_files, workers_of
from kit.servers import Server, StoreProcess, free_port, store_process
from kit.stage import RECONNECT_S, SETTINGS, Stage, proxies_of, servers_on, stage_on
from kit.stores import binary_of
from kit.waiting import SCALE, until, until_sync
from kit.watching import stays_in_step
from kit.windows import open_page, window
from playwright.async_api import Browser
from redis.backoff import NoBackoff
from redis.retry import Retry

pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAIN_S = float(SETTINGS["LIVEBLOG_DRAIN_S"])


@contextlib.asynccontextmanager
async def two_workers(store: StoreProcess, logs: Path) -> AsyncIterator[Stage]:
    """Yield a stage (kit/stage.py) with one server of two workers."""
    async with (
        proxies_of(store, 1) as [proxy],
        servers_on([proxy.url], logs, "--workers", "2") as servers,
    ):
        yield Stage(store.client, [proxy], servers)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def workers(
    store: StoreProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with two_workers(store, tmp_path_factory.mktemp("workers")) as stage:
        yield stage


# -- killed


async def test_readers_miss_nothing_when_a_worker_is_killed(
    workers: Stage, browser: Browser
) -> None:
    server = workers.servers[0]
    async with (
        window(browser) as page,
        workers.play("worker killed", within_s=RECONNECT_S) as show,
    ):
        await open_page(page, server, show.slug)
        before = workers_of(server.pid)
        # One worker may have accepted all readers: the kernel chooses. Kill one that has some.
        os.kill(max(before, key=open_files), signal.SIGKILL)
        show.over()
        await until(lambda: len(set(workers_of(server.pid)) - set(before)) == 1, 20)
        await stays_in_step(page, show)
    assert 0 < show.reconnects() <= len(show.audience.viewers)


async def test_workers_exit_and_readers_reconnect_when_supervisor_is_killed(
    workers: Stage, browser: Browser
) -> None:
    server = workers.servers[0]
    async with (
        window(browser) as page,
        workers.play("supervisor killed, started again", within_s=RECONNECT_S) as show,
    ):
        await open_page(page, server, show.slug)
        children = descendants(server.pid)
        server.kill()
        await until(lambda: not any(is_alive(child) for child in children))
        await asyncio.to_thread(server.start)
        show.over()
        await stays_in_step(page, show)
    assert show.reconnects() <= len(show.audience.viewers)


async def test_embedded_store_loses_nothing_when_its_owner_is_killed(
    tmp_path: Path,
) -> None:
    settings = {**SETTINGS, "DATA_DIR": str(tmp_path / "data")}
    server = Server(tmp_path / "log", "--workers", "2", **settings)
    await asyncio.to_thread(server.start)

    def client() -> redis.Redis:
        return redis.Redis.from_url(server.store_url, retry=Retry(NoBackoff(), 0))

    try:
        stage = Stage(client, [], [server])
        fault = "owner of the embedded store killed, started again"
        async with stage.play(fault, within_s=RECONNECT_S) as show:
            server.kill()
            await asyncio.to_thread(server.start)
            show.turn_to(client())
            show.over()
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()


# -- drained and exchanged


async def test_server_spreads_its_readers_over_the_drain_when_stopped(
    stage: Stage,
) -> None:
    server = stage.servers[0]
    async with stage.play("SIGTERM, drained", within_s=RECONNECT_S) as show:
        await show.changes(20)
        server.terminate()
        assert await asyncio.to_thread(server.wait) == 0
        show.over()
        byes = sorted(at_s for viewer in show.audience.viewers for at_s in viewer.byes)
        assert DRAIN_S * 0.5 <= byes[-1] - byes[0] <= DRAIN_S * 1.5 * SCALE
        assert not server.status("/readyz")
        await asyncio.to_thread(server.start)
    assert show.reconnects() == len(byes)


async def test_request_is_answered_when_its_server_is_stopped_meanwhile(
    store: StoreProcess, tmp_path: Path
) -> None:
    async with proxies_of(store, 1) as [proxy], servers_on([proxy.url], tmp_path) as [server]:
        async with server.editor() as editor:
            blog = await editor.blog()
            with proxy.stalled():
                publishing = asyncio.create_task(editor.publish(blog["slug"]))
                await until(lambda: proxy.asks(b"lb:{tokens}"))
                server.terminate()
                await until(lambda: not server.status("/readyz"))
            assert (await publishing)["offset"] == 2
        assert await asyncio.to_thread(server.wait) == 0


async def test_each_reader_reconnects_once_when_sighup_exchanges_workers(
    workers: Stage,
) -> None:
    server = workers.servers[0]
    async with workers.play(
        "SIGHUP, workers exchanged", within_s=RECONNECT_S, transports=("socket", "events")
    ) as show:
        old = set(workers_of(server.pid))
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: not old & set(workers_of(server.pid)), 30)
        show.over()
    assert len(workers_of(server.pid)) == 2
    viewers = show.audience.viewers
    assert [(len(viewer.byes), viewer.joins) for viewer in viewers] == [(1, 2)] * len(viewers)


NGINX = """
worker_processes 1;
daemon off;
user root;
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    upstream liveblog {{
        least_conn;
        {servers}
    }}
    map $http_upgrade $wanted {{ default upgrade; "" close; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://liveblog;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $wanted;
            proxy_read_timeout 60s;
            proxy_buffering off;
        }}
    }}
}}
"""


@contextlib.contextmanager
def balanced(ports: list[int], directory: Path) -> Iterator[str]:
    """Run nginx in front of servers on these ports, and yield nginx's URL."""
    directory.mkdir()
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{it} max_fails=0;" for it in ports)
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, servers=servers, port=port))
    found = shutil.which("nginx")
    assert found, "nginx is needed; on Debian: apt-get install nginx"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([found, "-c", config, "-p", directory], stderr=log, stdout=log)
    try:
        until_sync((directory / "pid").exists)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10 * SCALE)


@pytest.mark.real
async def test_each_reader_moves_once_when_servers_restart_behind_nginx(
    store: StoreProcess, tmp_path: Path
) -> None:
    """New servers start, then the old ones stop one by one.

    `least_conn` makes nginx choose the server with the fewest connections, which is a new one. So
    no reader reconnects to the other old server, and none moves twice.
    """
    async with proxies_of(store, 1) as [proxy]:
        spare = [Server(tmp_path / f"new-{n}", REDIS_URL=proxy.url, **SETTINGS) for n in range(2)]
        async with servers_on([proxy.url] * 2, tmp_path) as servers:
            ports = [server.port for server in (*servers, *spare)]
            with balanced(ports, tmp_path / "nginx") as url:
                stage = Stage(store.client, [proxy], servers, [url])
                fault = "rolling restart of two servers behind nginx"
                # Editors bypass nginx, since `least_conn` would count their connections as readers.
                desks = [server.url for server in (*servers, *spare)]
                async with stage.play(
                    fault, within_s=RECONNECT_S, desks=desks, transports=("socket", "events")
                ) as show:
                    await asyncio.gather(*(asyncio.to_thread(new.start) for new in spare))
                    for old in servers:
                        old.terminate()
                        assert await asyncio.to_thread(old.wait) == 0
                        await until(lambda: all(it.is_on for it in show.audience.viewers), 20)
                    show.over()
        for server in spare:
            await asyncio.to_thread(server.stop)
    assert [viewer.joins for viewer in show.audience.viewers] == [2] * 200


# -- time


async def test_readers_stay_when_a_worker_is_stopped_for_2_s(stage: Stage) -> None:
    async with stage.play("worker stands still for 2 s") as show:
        with frozen(stage.servers[0].pid):
            await asyncio.sleep(2)
        show.over()
    assert show.reconnects() == 0


async def test_readers_stay_when_the_clock_is_set_forward_and_back(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    library = preloaded("clock_shift", tmp_path_factory.mktemp("preload"))
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("q", 0))
    environ = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(shift)}
    binary = binary_of("valkey")
    with store_process(tmp_path, binary, environ=environ) as store:
        store.start()
        async with (
            stage_on(store, tmp_path, **environ) as stage,
            stage.play("clock set an hour forward, then two back") as show,
        ):
            for hours in (1, -1):
                # In place: a process that reads its mapping of an emptied file gets SIGBUS.
                with shift.open("r+b") as file:
                    file.write(struct.pack("q", hours * 3600))
                await show.changes(8)
            shown = [record["updated_at"] for record in show.kept.entries().values()]
            # More than an hour, in ms; a smaller difference means that the clock was not shifted.
            assert max(shown) - min(shown) > 3_600_000
            show.over()
    assert show.reconnects() == 0


async def test_unsynced_changes_are_neither_acknowledged_nor_seen_at_power_cut(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    library = preloaded("fdatasync_delay", tmp_path_factory.mktemp("preload"))
    log, flag = tmp_path / "fsyncs", tmp_path / "delay"
    environ = {
        "LD_PRELOAD": str(library),
        "FSYNC_LOG": str(log),
        "FSYNC_DELAY_FILE": str(flag),
        "FSYNC_DELAY_MS": "20000",
    }
    with store_process(tmp_path, binary_of("valkey"), environ=environ) as store:
        store.start()
        file = next((tmp_path / "appendonlydir").glob("*.incr.aof"))
        async with (
            stage_on(store, tmp_path) as stage,
            stage.play("power cut while the disk writes") as show,
        ):
            flag.touch()
            await until(lambda: file.stat().st_size > on_disk(log))
            store.kill()
            os.truncate(file, on_disk(log))
            flag.unlink()
            await asyncio.to_thread(store.start)
            show.over()
    assert show.reconnects() == show.resets() == 0


def on_disk(log: Path) -> int:
    """Return how many bytes of the store's file are surely on disk.

    This is the length at the start of the last finished fsync, which tests/kit/fdatasync_delay.c
    logs.
    """
    return int(log.read_text().splitlines()[-1].split()[2])
