"""A rewrite of the store's file that fails: repeated each second, logged once a minute."""

from typing import Any, cast

import pytest

from liveblog.store.eraser import REPEAT_S, Eraser
from liveblog.store.nodes import One


class FullDisk:
    """A store whose rewrites all fail."""

    connection_pool = None

    def __init__(self) -> None:
        self.rewrites, self.started = 0, b""

    async def hgetall(self, _: str) -> dict[bytes, bytes]:
        return {b"": b"request"}

    async def hget(self, *_: str) -> bytes:
        return self.started

    async def hset(self, _: str, __: str, started: bytes) -> None:
        self.started = started

    async def info(self, section: str) -> dict[str, object]:
        status = {"aof_last_bgrewrite_status": "err", "aof_enabled": 1}
        return {"run_id": "r"} if section == "server" else status

    async def execute_command(self, _: str) -> None:
        self.rewrites += 1


async def test_failed_rewrite_is_logged_once_a_minute_and_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    store = FullDisk()
    eraser = Eraser(One(cast(Any, store)), lambda: now[0])
    await eraser.rewrite_if_requested()
    assert caplog.records == []
    for now[0] in (1.0, 2.0, REPEAT_S, REPEAT_S + 1.0):
        await eraser.rewrite_if_requested()
    assert store.rewrites == 5
    said = "rewrite of the store's file: failed, it still has erased text, retrying"
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [said] * 2
