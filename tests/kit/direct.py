"""Servers and readers for tests of the bytes that live/direct.py writes to readers' sockets."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from kit.raw import UPGRADE, Wire, request, wire
from kit.servers import COMMANDS, Server, serving

DIRECT = ["direct", "direct on asyncio"]


@contextlib.contextmanager
def direct_server(log: Path, kind: str, site: Server) -> Iterator[Server]:
    """Yield a server of one of the kinds in DIRECT, with short heartbeats.

    The server uses the store of another server, `site`. Its log must have no traceback at the end.
    """
    command, store = COMMANDS[kind], site.store_url
    with serving(log, command=command, REDIS_URL=store, LIVEBLOG_HEARTBEAT_S="0.25") as server:
        yield server
        assert "Traceback" not in server.said()


@contextlib.asynccontextmanager
async def reading(server: Server, path: str, headers: str = "") -> AsyncIterator[Wire]:
    """Yield a reader that has received `hello`."""
    async with wire(server.url, request(path, UPGRADE + headers)) as made:
        assert b" 101 " in await made.head()
        assert json.loads(await made.frame_of(0x81))["t"] == "hello"
        yield made
