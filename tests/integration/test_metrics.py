"""`/metrics` of one worker and of several, as Prometheus reads them."""

import contextlib
import os
import re
import signal
from collections.abc import Awaitable
from pathlib import Path

import httpx2
import pytest
from kit.processes import open_files
from kit.raw import UPGRADE, masked, request, wire
from kit.readers import Target, events, websocket
from kit.servers import Server, http, serving
from kit.waiting import until
from prometheus_client.parser import text_string_to_metric_families


async def scrape(server: Server) -> dict[str, float]:
    async with http() as client:
        answer = await client.get(f"{server.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return _samples(answer)


def _samples(answer: httpx2.Response) -> dict[str, float]:
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_metrics_count_readers_deliveries_accepts_and_closes(
    tmp_path: Path, workers: str
) -> None:
    with serving(tmp_path / "log", "--workers", workers, DATA_DIR=str(tmp_path / "data")) as server:
        async with server.editor() as editor, contextlib.AsyncExitStack() as stack:
            blog = await editor.blog()
            ask = Target(server.url, blog["slug"])
            streams = [
                await stack.enter_async_context(open_stream(ask))
                for open_stream in (websocket, websocket, websocket, events)
            ]
            for stream in streams:
                await stream.next("hello")
            await editor.publish(blog["slug"])
            for stream in streams:
                await stream.next("changes")
            path = f"/blogs/{blog['slug']}/live"
            async with wire(server.url, request(path, UPGRADE)) as made:
                await made.frame_of(0x81) if await made.head() else None
                await made.send(masked(0x81, b"hi"))
                assert await made.close_code() == 1003
            async with wire(server.url, request(path, UPGRADE)) as made:
                await made.frame_of(0x81) if await made.head() else None
                await made.send(masked(0x88, (3333).to_bytes(2, "big")))
                assert await made.close_code() == 3333
            async with websocket(Target(server.url, "nothing-here")) as stream:
                await stream.rest()

            expected = {
                "liveblog_readers websocket": 3,
                "liveblog_readers events": 1,
                "liveblog_readers_behind": 0,
                "liveblog_deliveries_total": 4,
                "liveblog_accepts_total accepted": 6,
                "liveblog_accepts_total unknown": 1,
                "liveblog_closes_total 1003": 1,
                "liveblog_closes_total other": 1,
                "liveblog_closes_total 4006": 1,
                "liveblog_store_up": 1,
            }
            found: dict[str, float] = {}

            # A scrape reaches one worker. The other worker publishes its counts only once a second.
            async def all_counted() -> bool:
                found.update(await scrape(server))
                return {name: found.get(name) for name in expected} == expected

            try:
                await until(all_counted)
            except TimeoutError:
                assert {name: found.get(name) for name in expected} == expected
            assert found["liveblog_sent_bytes_total"] > 1_000
            assert found["liveblog_fanout_seconds_count"] >= 1


async def test_metrics_drop_the_readers_of_a_killed_worker(tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--workers", "2", DATA_DIR=str(tmp_path / "data")) as server:
        async with server.editor() as editor, contextlib.AsyncExitStack() as stack:
            blog = await editor.blog()
            for _ in range(12):
                stream = await stack.enter_async_context(
                    websocket(Target(server.url, blog["slug"]))
                )
                await stream.next("hello")

            async def readers() -> float:
                return (await scrape(server)).get("liveblog_readers websocket", 0)

            await until(lambda: _equals(readers(), 12))
            pids = {
                int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", server.said())
            }
            # Kill the worker with the most descriptors: it has readers, the other may have none.
            busiest = max(pids, key=open_files)
            os.kill(busiest, signal.SIGKILL)
            await until(lambda: _below(readers(), 12))
            accepted = (await scrape(server))["liveblog_accepts_total accepted"]
            assert accepted == 12  # counted streams stay counted


async def _equals(value: Awaitable[float], expected: float) -> bool:
    return await value == expected


async def _below(value: Awaitable[float], expected: float) -> bool:
    return await value < expected
