"""A store whose clock a test sets forward."""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from redis.asyncio import Redis

from kit.preload import preloaded
from kit.waiting import until
from liveblog.clock import now_ms
from liveblog.store import embedded
from liveblog.store.agenda import clock_of
from liveblog.store.client import Client


class ShiftedStore(NamedTuple):
    url: str
    shift: Path

    async def set_forward(self, seconds: int) -> None:
        """Let the store's clock be this much ahead of the machine's; wait until the store knows."""
        with self.shift.open("r+b") as file:  # a truncated file would end the store by SIGBUS
            file.write(struct.pack("q", seconds))
        async with Redis.from_url(self.url) as client:
            await until(lambda: _is_ahead(client, seconds))


async def _is_ahead(client: Redis, seconds: int) -> bool:
    at = await clock_of(cast(Client, client))
    return abs(at - now_ms() - seconds * 1_000) < 500


@contextlib.contextmanager
def shifted_store(binary: Path, directory: Path) -> Iterator[ShiftedStore]:
    shift = directory / "shift"
    shift.write_bytes(struct.pack("q", 0))
    environ = {
        **os.environ,
        "LD_PRELOAD": str(preloaded("clock_shift", directory)),
        "CLOCK_SHIFT_FILE": str(shift),
    }
    with embedded.own(directory / "data", binary=binary, environ=environ) as url:
        yield ShiftedStore(url, shift)
