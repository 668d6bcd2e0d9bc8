"""With LIVEBLOG_DURABILITY=disk, a change is on a slow disk before its 201 and its frames."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.readers import Stream, Target, events, websocket
from kit.servers import COMMAND, Server, environment, serving
from kit.stores import DelayedStore, StartDelayed
from kit.waiting import SCALE, until


@pytest.fixture
def server(delayed_store: DelayedStore, tmp_path: Path) -> Iterator[Server]:
    """A server with a store whose disk a test can make slow."""
    with serving(
        tmp_path / "server.log", REDIS_URL=delayed_store.url, LIVEBLOG_DURABILITY="disk"
    ) as started:
        yield started


async def test_neither_a_201_nor_a_frame_comes_before_the_change_is_on_disk(
    server: Server, delayed_store: DelayedStore
) -> None:
    async with server.editor() as editor:
        blog = await editor.blog()
        target = Target(server.url, blog["slug"])
        async with websocket(target) as socket, events(target) as stream:
            arrivals = [asyncio.create_task(_arrival(reader)) for reader in (socket, stream)]
            await until(lambda: socket.ids and stream.ids)
            with delayed_store.delayed():
                sent = time.monotonic()
                await editor.publish(blog["slug"])
                answered = time.monotonic()
                received = await asyncio.gather(*arrivals)
    start, end = delayed_store.syncs(since=sent)[0]
    assert end - start >= delayed_store.delay_s
    assert end <= min(answered, *received)


async def _arrival(stream: Stream) -> float:
    await stream.next("hello")
    await stream.next("changes")
    return time.monotonic()


def test_server_does_not_start_when_a_disk_durable_store_loses_writes(
    start_delayed: StartDelayed,
) -> None:
    with start_delayed(["--appendfsync", "everysec"]) as lossy:
        done = subprocess.run(
            COMMAND,
            env=environment(REDIS_URL=lossy.url, LIVEBLOG_DURABILITY="disk", PORT="0"),
            capture_output=True,
            text=True,
            timeout=30 * SCALE,
        )
    assert done.returncode == 1
    assert "appendfsync is everysec and must be always" in done.stderr
    assert "LIVEBLOG_DURABILITY" in done.stderr
