"""What a 201 means on a slow disk: on it, before anybody hears of the change."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from readers import Ask, Open, Stream, each_stream
from servers import COMMAND, Server, environment, serving
from stores import DelayedStore, StartDelayed


@pytest.fixture
def server(delayed_store: DelayedStore, tmp_path: Path) -> Iterator[Server]:
    """A server whose store's disk can be made slow."""
    with serving(
        tmp_path / "server.log", REDIS_URL=delayed_store.url, LIVEBLOG_DURABILITY="disk"
    ) as started:
        yield started


@each_stream
async def test_neither_a_201_nor_a_frame_comes_before_the_change_is_on_disk(
    server: Server, delayed_store: DelayedStore, open_stream: Open
) -> None:
    async with server.editor() as editor:
        blog = await editor.blog()
        async with open_stream(Ask(server.url, blog["slug"])) as stream:
            await stream.next("hello")
            heard = asyncio.create_task(_heard(stream))
            with delayed_store.delayed():
                sent = time.monotonic()
                await editor.publish(blog["slug"])
                answered = time.monotonic()
                received = await heard
    start, end = delayed_store.syncs(since=sent)[0]
    assert end - start >= delayed_store.delay_s
    assert end <= min(answered, received)


async def _heard(stream: Stream) -> float:
    await stream.next("changes")
    return time.monotonic()


@pytest.mark.parametrize("appendfsync", ["everysec", "no"])
def test_disk_durability_refuses_to_start_on_a_store_that_loses_writes_and_names_the_setting(
    start_delayed: StartDelayed, appendfsync: str
) -> None:
    with start_delayed(["--appendfsync", appendfsync]) as lossy:
        done = subprocess.run(
            COMMAND,
            env=environment(REDIS_URL=lossy.url, LIVEBLOG_DURABILITY="disk", PORT="0"),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert f"appendfsync is {appendfsync} and must be always" in done.stderr
    assert "LIVEBLOG_DURABILITY" in done.stderr


def test_a_server_states_at_its_start_what_its_store_promises(
    start_delayed: StartDelayed, tmp_path: Path
) -> None:
    with (
        start_delayed(["--appendfsync", "everysec"]) as lossy,
        serving(tmp_path / "server.log", REDIS_URL=lossy.url) as server,
    ):
        assert "loses up to the last 2 s of changes (appendfsync everysec)" in server.said()
