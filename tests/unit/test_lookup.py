"""Look-ups of blogs: many share one pipeline, and a failure reaches each caller."""

import asyncio
from typing import Any, cast

import pytest
from kit.virtual import in_virtual_time
from redis.asyncio import Redis
from redis.exceptions import MovedError

from liveblog.store import lookup as lookups
from liveblog.store.lookup import Lookup
from liveblog.store.nodes import One


class Server:
    """A store that has some keys; notes the keys of each pipeline."""

    def __init__(self, *keys: str) -> None:
        self.keys = {*keys}
        self.pipelines: list[list[str]] = []
        self.failure: Exception | None = None

    def pipeline(self, *, transaction: bool) -> Any:
        assert not transaction
        return _Pipeline(self)


class _Pipeline:
    def __init__(self, server: Server) -> None:
        self._server, self._names = server, list[str]()

    def execute_command(self, _: str, name: str) -> None:
        self._names.append(name)

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        self._server.pipelines.append(self._names)
        await asyncio.sleep(0.001)
        if self._server.failure:
            raise self._server.failure
        errors = {"moved": MovedError("1 127.0.0.1:1")}
        return [errors.get(name, int(name in self._server.keys)) for name in self._names]


def lookup_at(server: Server) -> Lookup:
    nodes = One(Redis())  # connects at its first command, and so never
    nodes.node("").redis = cast(Any, server)
    return Lookup(nodes)


@in_virtual_time
async def test_lookups_at_once_share_pipelines() -> None:
    server = Server("k1", "k999")
    lookup = lookup_at(server)
    found = await asyncio.gather(*(lookup.exists(f"k{n % 1_000}") for n in range(2_000)))
    assert [n for n in range(1_000) if found[n]] == [1, 999]
    assert found[:1_000] == found[1_000:]
    sizes = [len(names) for names in server.pipelines]
    assert sum(sizes) == 1_000
    assert max(sizes) == lookups.AT_ONCE


@in_virtual_time
async def test_key_is_found_as_soon_as_it_exists() -> None:
    server = Server()
    lookup = lookup_at(server)
    assert not await lookup.exists("k")
    server.keys.add("k")
    assert await lookup.exists("k")


@in_virtual_time
async def test_flood_of_lookups_is_paced() -> None:
    server = Server()
    lookup = lookup_at(server)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(lookup.exists(str(n)) for n in range(50 * lookups.AT_ONCE)))
    assert asyncio.get_running_loop().time() - began >= 49 * lookups.PAUSE_S


@in_virtual_time
async def test_every_waiting_caller_gets_the_error_when_the_server_fails() -> None:
    server = Server()
    server.failure = ConnectionRefusedError("refused")
    lookup = lookup_at(server)
    calls = (lookup.exists(str(n)) for n in range(3 * lookups.AT_ONCE))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(it) for it in found} == {ConnectionRefusedError}
    assert len(server.pipelines) == 1
    server.failure = None
    assert not await lookup.exists("k")


@in_virtual_time
async def test_error_of_one_key_reaches_its_callers_only() -> None:
    lookup = lookup_at(Server("k"))
    found = await asyncio.gather(lookup.exists("k"), lookup.exists("moved"), return_exceptions=True)
    assert found[0] is True
    assert isinstance(found[1], MovedError)
    with pytest.raises(MovedError):
        await lookup.exists("moved")
