"""The embedded store: its owner, its data after the owner's death, and durability."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast
from urllib.parse import unquote

import pytest
import redis
import redis.asyncio
from kit.processes import is_alive
from kit.stores import DelayedStore, StartDelayed
from kit.waiting import until, until_sync

from liveblog.blog.problem import UnusableStore
from liveblog.store import directory as directory_module
from liveblog.store import embedded as store
from liveblog.store.client import Client
from liveblog.store.directory import answers, owner_of
from liveblog.store.promise import Promise, inspect, judge

OWNER = Path(__file__).with_name("owner.py")


@contextlib.contextmanager
def owner_process(directory: Path, binary: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run owner.py, which owns an embedded store; the process and its group end with the block."""
    command = [sys.executable, str(OWNER), str(directory), str(binary)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_of(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout
    return process.stdout


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def pid_of(url: str) -> int:
    with contextlib.closing(client_of(url)) as client:
        return int(client.info("server")["process_id"])


def write(url: str, key: str, value: str) -> None:
    with contextlib.closing(client_of(url)) as client:
        client.set(key, value)


def read(url: str, key: str) -> object:
    with contextlib.closing(client_of(url)) as client:
        return client.get(key)


# Owning


def test_store_keeps_its_data_when_it_is_stopped_and_started(tmp_path: Path, binary: Path) -> None:
    with store.own(tmp_path, binary=binary) as url:
        write(url, "key", "value")
        pid = pid_of(url)
    assert not is_alive(pid)
    with store.own(tmp_path, binary=binary) as url:
        assert read(url, "key") == "value"


@pytest.mark.parametrize("name", ["a directory", "x" * 120, "quotes \"' %41 é", "deep/er"])
def test_data_directory_may_have_any_name(tmp_path: Path, binary: Path, name: str) -> None:
    for expected in (None, "value"):
        with store.own(tmp_path / name, binary=binary) as url:
            assert read(url, "key") == expected
            write(url, "key", "value")
            socket = Path(unquote(url.removeprefix("unix://")))
            assert len(os.fsencode(socket)) <= directory_module.SOCKET_PATH_BYTES_MAX
            assert socket.stat().st_mode & 0o077 == 0
        assert not socket.exists()


def test_store_replaces_what_has_the_name_of_its_socket(tmp_path: Path, binary: Path) -> None:
    for put in (Path.touch, os.mkfifo, lambda path: path.symlink_to(path.parent)):
        put(tmp_path / "store.sock")
        with store.own(tmp_path, binary=binary) as url:
            write(url, "key", "value")


def test_socket_outside_its_directory_is_removed_after_a_killed_owner(
    tmp_path: Path, binary: Path
) -> None:
    directory = tmp_path / ("x" * 120)
    with owner_process(directory, binary) as process:
        pid = int(lines_of(process).readline())
        socket = Path(owner_of(directory)["socket"])
    until_sync(lambda: not is_alive(pid))
    assert socket.parent.parent != directory
    with store.own(directory, binary=binary):
        assert not socket.parent.exists()


def test_second_owner_is_refused_with_the_directorys_name(tmp_path: Path, binary: Path) -> None:
    with store.own(tmp_path, binary=binary) as url:
        with pytest.raises(UnusableStore) as caught, store.own(tmp_path, binary=binary, wait_s=0):
            pass
        assert str(tmp_path) in str(caught.value)
        assert str(os.getpid()) in str(caught.value)
        write(url, "key", "still served")


async def test_owner_waits_when_a_command_uses_the_directory(tmp_path: Path, binary: Path) -> None:
    def serve() -> object:
        with store.own(tmp_path, binary=binary) as url:
            return read(url, "key")

    with store.own(tmp_path, brief=True, binary=binary) as url:
        write(url, "key", "of the command")
        server = asyncio.create_task(asyncio.to_thread(serve))
        await asyncio.sleep(0)
        assert not server.done()
    assert await server == "of the command"


async def test_store_is_restarted_when_it_is_killed(tmp_path: Path, binary: Path) -> None:
    with store.own(tmp_path, binary=binary) as url:
        write(url, "key", "value")
        pid = pid_of(url)
        os.kill(pid, signal.SIGKILL)

        def new_pid() -> int | None:
            with contextlib.suppress(redis.ConnectionError):
                return pid_of(url)
            return None

        assert await until(new_pid) != pid
        assert read(url, "key") == "value"


def test_store_is_restarted_again_when_a_restart_fails(
    tmp_path: Path, binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the store's binary the first restart fails, as it can when memory is short."""
    own, away = tmp_path / "binary", tmp_path / "away"
    shutil.copy(binary, own)
    with store.own(tmp_path / "data", binary=own) as url:
        write(url, "key", "value")
        own.rename(away)
        os.kill(pid_of(url), signal.SIGKILL)
        until_sync(lambda: "start failed" in caplog.text)
        away.rename(own)
        until_sync(lambda: answers(Path(unquote(url.removeprefix("unix://")))))
        assert read(url, "key") == "value"


def test_store_error_has_the_cause_when_the_store_cannot_start(
    tmp_path: Path, binary: Path
) -> None:
    wrong = ("--maxmemory-policy", "nonsense")
    with (
        pytest.raises(UnusableStore, match=r"(?s)did not start.*maxmemory-policy"),
        store.own(tmp_path, binary=binary, arguments=wrong),
    ):
        pass
    with (
        pytest.raises(UnusableStore, match="No such file"),
        store.own(tmp_path, binary=tmp_path / "nothing"),
    ):
        pass


def test_directory_is_refused_when_it_has_only_a_snapshot(tmp_path: Path, binary: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"REDIS0011")
    with pytest.raises(UnusableStore, match=r"dump\.rdb"), store.own(tmp_path, binary=binary):
        pass
    assert not (tmp_path / "appendonlydir").exists()


def test_directory_is_refused_when_its_manifest_is_missing(tmp_path: Path, binary: Path) -> None:
    with store.own(tmp_path, binary=binary) as url:
        write(url, "key", "value")
    manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    manifest.rename(tmp_path / "kept")
    with pytest.raises(UnusableStore, match="manifest"), store.own(tmp_path, binary=binary):
        pass
    (tmp_path / "kept").rename(manifest)
    with store.own(tmp_path, binary=binary) as url:
        assert read(url, "key") == "value"


# Owners that are killed, interrupted


def test_killed_owner_leaves_no_store_and_loses_no_acknowledged_write(
    tmp_path: Path, binary: Path
) -> None:
    with owner_process(tmp_path, binary) as process:
        lines = lines_of(process)
        pid = int(lines.readline())
        acknowledged = [int(lines.readline()) for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in lines]
    until_sync(lambda: not is_alive(pid))
    with store.own(tmp_path, binary=binary) as url:
        with contextlib.closing(client_of(url)) as client:
            found = client.mget([f"key:{number}" for number in acknowledged])
        assert found == [str(number) for number in acknowledged]


def test_ctrl_c_does_not_end_the_store_before_its_owner_has_drained(
    tmp_path: Path, binary: Path
) -> None:
    with owner_process(tmp_path, binary) as process:
        lines = lines_of(process)
        pid = int(lines.readline())
        lines.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert [line.strip() for line in lines][-1] == "drained"
        assert process.wait() == 0
    assert not is_alive(pid)


# One-shot commands


def test_command_uses_the_configured_store() -> None:
    with store.use("redis://host", Path("data")) as url:
        assert url == "redis://host"


def test_command_uses_the_store_of_a_running_server(tmp_path: Path) -> None:
    with store.own(tmp_path) as servers, store.use("", tmp_path) as url:
        assert url == servers
    with store.use("", tmp_path) as url:
        assert pid_of(url)


async def test_command_waits_when_another_command_uses_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    looks: list[Path] = []
    is_held = directory_module.is_held

    def look(lock: Path) -> bool:
        looks.append(lock)
        return is_held(lock)

    def second() -> None:
        with store.use("", tmp_path) as url:
            order.append("second")
            write(url, "key", "value")

    with store.use("", tmp_path):
        monkeypatch.setattr(directory_module, "is_held", look)
        task = asyncio.create_task(asyncio.to_thread(second))
        await until(lambda: len(looks) > 1)  # it waits
        order.append("first")
    await task
    assert order == ["first", "second"]


# The promises of a store


async def promise_of(client: redis.asyncio.Redis, durability: str) -> Promise:
    return await inspect(cast(Client, client), durability)


async def test_embedded_store_promises_disk_durability(
    store_client: redis.asyncio.Redis, flavour: str
) -> None:
    promise = await promise_of(store_client, "disk")
    assert promise.server.lower() == flavour
    assert (promise.appendonly, promise.appendfsync) == ("yes", "always")
    assert promise.policy == "noeviction"
    assert promise.version in promise.sentence
    assert "appendfsync always" in promise.sentence


@pytest.mark.parametrize(
    ("name", "value", "usual"),
    [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
    ],
)
async def test_disk_durability_is_refused_when_the_store_can_lose_writes(
    store_client: redis.asyncio.Redis, name: str, value: str, usual: str
) -> None:
    await store_client.config_set(name, value)
    try:
        with pytest.raises(UnusableStore, match=f"{name} is {value} and must be {usual}"):
            await promise_of(store_client, "disk")
        assert name in (await promise_of(store_client, "store")).sentence
    finally:
        await store_client.config_set(name, usual)


async def test_store_is_refused_when_it_evicts(store_client: redis.asyncio.Redis) -> None:
    await store_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnusableStore, match="maxmemory-policy is allkeys-lru"):
            await promise_of(store_client, "store")
    finally:
        await store_client.config_set("maxmemory-policy", "noeviction")


async def test_promise_says_what_cannot_be_read_when_config_is_forbidden(
    store_client: redis.asyncio.Redis, store_url: str
) -> None:
    await store_client.acl_setuser("guest", enabled=True, nopass=True, commands=["+info"])
    try:
        client = redis.asyncio.Redis.from_url(store_url, username="guest", password="any")
        async with client:
            promise = await promise_of(client, "disk")
    finally:
        await store_client.acl_deluser("guest")
    assert promise.appendfsync is None
    assert promise.policy == "noeviction"
    assert "cannot be read" in promise.sentence


async def test_store_is_accepted_when_info_and_config_are_forbidden(
    store_client: redis.asyncio.Redis, store_url: str
) -> None:
    await store_client.acl_setuser("guest", enabled=True, nopass=True, commands=["+ping"])
    try:
        client = redis.asyncio.Redis.from_url(store_url, username="guest", password="any")
        async with client:
            promise = await promise_of(client, "disk")
    finally:
        await store_client.acl_deluser("guest")
    assert "of unknown version: the durability settings cannot be read" in promise.sentence


async def test_promise_warns_when_the_store_has_no_replica_to_wait_for(
    store_client: redis.asyncio.Redis,
) -> None:
    assert "no change is confirmed" in (await promise_of(store_client, "replica")).warning
    assert (await promise_of(store_client, "store")).warning == ""


async def test_promise_warns_when_the_store_is_a_read_only_replica(
    store_client: redis.asyncio.Redis,
) -> None:
    await store_client.replicaof("127.0.0.1", "1")  # no server listens there
    try:
        for durability in ("store", "disk", "replica"):
            promise = await promise_of(store_client, durability)
            assert "read-only replica" in promise.warning
    finally:
        await store_client.replicaof("NO", "ONE")


def test_store_is_refused_when_its_version_is_old() -> None:
    with pytest.raises(UnusableStore, match=r"Redis 6\.2\.7; Redis 7\.0"):
        judge({"redis_version": "6.2.7"}, {}, "store")


# The meaning of durable


async def first_seen(url: str) -> tuple[float, float, float]:
    """Write and publish in one step; return the times of sending, reply, and pub/sub message."""
    async with (
        redis.asyncio.Redis.from_url(url) as client,
        redis.asyncio.Redis.from_url(url, socket_timeout=None) as other,
        other.pubsub() as pubsub,
    ):
        await pubsub.subscribe("news")
        await receive(pubsub)  # the confirmation
        received = asyncio.create_task(receive(pubsub))
        pipeline = client.pipeline(transaction=True)
        pipeline.set("key", "value")
        pipeline.publish("news", "x")
        sent = time.monotonic()
        await pipeline.execute()
        return sent, time.monotonic(), await received


async def receive(pubsub: redis.asyncio.client.PubSub) -> float:
    await until(lambda: pubsub.get_message(timeout=1))
    return time.monotonic()


async def test_reply_and_message_wait_until_the_write_is_on_disk(
    delayed_store: DelayedStore,
) -> None:
    with delayed_store.delayed():
        sent, answered, received = await first_seen(delayed_store.url)
    start, end = delayed_store.syncs(since=sent)[0]
    assert end - start >= delayed_store.delay_s
    assert end <= min(answered, received)


async def test_reply_comes_early_when_the_store_does_not_wait_for_its_disk(
    start_delayed: StartDelayed,
) -> None:
    with start_delayed(["--appendfsync", "everysec"]) as lossy:
        with lossy.delayed():
            sent, answered, received = await first_seen(lossy.url)
            _, end = (await until(lambda: lossy.syncs(since=sent)))[0]
        assert max(answered, received) < end
