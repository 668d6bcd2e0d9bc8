"""A primary watched by sentinels: it dies or is deposed, and a replica takes its place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from kit.clusters import SERVICE, Watched, watched
from kit.readers import Stream, Target, websocket
from kit.servers import Editor, Server, serving
from kit.waiting import until
from redis.asyncio.sentinel import MasterNotFoundError

from liveblog.blog.model import SYSTEM
from liveblog.blog.problem import StoreDown
from liveblog.editors.publishing import Publishing
from liveblog.store.broker import Broker
from liveblog.store.connect import connect

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary, two replicas and three sentinels; tests may make a replica the primary."""
    with watched(tmp_path_factory.mktemp("watched") / "nodes") as made:
        yield made


@pytest.fixture(scope="module")
def servers(group: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two servers with replica durability."""
    logs = tmp_path_factory.mktemp("servers")
    more = {"REDIS_URL": group.url, "LIVEBLOG_DURABILITY": "replica"}
    with serving(logs / "first", **more) as one, serving(logs / "second", **more) as two:
        yield [one, two]


@pytest.fixture
async def editor(group: Watched, servers: list[Server]) -> AsyncIterator[Editor]:
    """Yield an editor, once both replicas follow the primary."""
    await until(lambda: len(group.followers_of(group.present())) == 2, 30)
    async with servers[0].editor() as calls:
        yield calls


class Calls:
    """Publishes entries; repeats each call with the same idempotency key until it succeeds."""

    def __init__(self, editor: Editor, slug: str) -> None:
        self.confirmed: list[Any] = []
        self.refused = 0
        self._editor, self._path = editor, f"/{slug}/entries"

    async def publish(self) -> None:
        await until(self._once, 30)

    async def _once(self) -> bool:
        key = f"entry-{len(self.confirmed)}"
        answer = await self._editor("POST", self._path, {"body": key}, idempotency_key=key)
        assert answer.status_code in (200, 201, 503), answer.text
        if answer.is_success:
            self.confirmed.append(answer.json())
        self.refused += not answer.is_success
        return answer.is_success


async def got_all(stream: Stream, entries: Sequence[Any]) -> None:
    """Read frames until the last of these entries; none may be missing or repeated."""
    ids: list[str] = []
    while entries[-1]["id"] not in ids:
        ids += [change["id"] for change in (await stream.next("changes"))["changes"]]
    assert ids == [entry["id"] for entry in entries]


@contextlib.asynccontextmanager
async def followed(servers: list[Server], blog: Any) -> AsyncIterator[list[Stream]]:
    """Yield a reader on each server."""
    async with contextlib.AsyncExitStack() as stack:
        asks = [Target(server.url, blog["slug"], since=blog["position"]) for server in servers]
        streams = [await stack.enter_async_context(websocket(ask)) for ask in asks]
        for stream in streams:
            await stream.next("hello")
        yield streams


async def test_server_logs_what_the_primary_promises(servers: list[Server]) -> None:
    text = servers[0].said()
    assert "a confirmed change is on a replica, and a confirmed change is on its disk" in text


async def test_deposed_primary_is_left_at_once_and_refuses_no_write(
    group: Watched, servers: list[Server], editor: Editor
) -> None:
    blog = await editor.blog()
    calls, before = Calls(editor, blog["slug"]), group.present()
    async with followed(servers, blog) as streams:
        await calls.publish()
        group.sentinels[0].ask("SENTINEL FAILOVER", SERVICE)
        await until(lambda: group.present() is not before, 30)
        await until(lambda: not before.is_used(), 5)
        # The old primary still accepts writes for 10 s. A server that used it would lose them.
        assert before.info("replication")["role"] == "master"
        for _ in range(3):
            await calls.publish()
        await until(lambda: before in group.followers_of(group.present()), 30)
        for _ in range(3):
            await calls.publish()
        for stream in streams:
            await got_all(stream, calls.confirmed)
    assert "the store refused" not in servers[0].said() + servers[1].said()


async def test_primary_is_found_with_one_sentinel_and_kept_with_none(
    group: Watched,
) -> None:
    first, second, third = group.sentinels
    first.kill()
    second.kill()
    try:
        async with connect(group.url) as nodes:
            await asyncio.gather(*(nodes.look_again() for _ in range(20)))
            assert await nodes.at("").execute_command("PING")
            first.start()
            third.kill()
            await nodes.look_again()
            first.kill()
            with pytest.raises(MasterNotFoundError, match="no sentinel names a primary of live"):
                await nodes.look_again()
            assert not (await Broker(nodes).source.heads([])).unreachable
    finally:
        for sentinel in group.sentinels:
            if not sentinel.is_running:
                sentinel.start()


async def test_url_has_one_login_for_the_store_and_one_for_the_sentinels(
    group: Watched,
) -> None:
    group.present().ask("ACL", "SETUSER", "live", "on", ">p@ss", "~*", "&*", "+@all")
    for sentinel in group.sentinels:
        sentinel.ask("ACL", "SETUSER", "seer", "on", ">s@@n", "+@all")
    url = group.url.replace("://", "://live:p%40ss@")
    url += "?sentinel_username=seer&sentinel_password=s%40%40n"
    async with connect(url) as nodes:
        assert await nodes.at("").execute_command("ACL WHOAMI") == "live"
        users = ["user=seer" in str(it.ask("CLIENT", "LIST")) for it in group.sentinels]
        assert any(users)


async def test_calls_wait_when_there_are_more_than_connections(
    group: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveblog.store.pool.CONNECTIONS_MAX", 3)
    async with connect(group.url) as nodes:
        await asyncio.gather(*(nodes.at("").execute_command("PING") for _ in range(20)))
        assert len(nodes.node("").pool._available_connections) <= 3


async def test_server_that_accepts_no_writes_counts_as_unreachable(
    group: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    [replica, *_] = group.followers_of(group.present())
    async with connect(f"redis://{replica.address}") as nodes:
        publishing = Publishing(Broker(nodes), lambda: 0)
        with pytest.raises(StoreDown):
            await publishing.create_blog(SYSTEM, {"slug": "council", "title": "Council"})
    assert "refused" not in caplog.text


async def test_no_confirmed_change_is_lost_when_the_primary_dies(
    group: Watched, servers: list[Server], editor: Editor
) -> None:
    blog = await editor.blog()
    calls, dying = Calls(editor, blog["slug"]), group.present()
    async with followed(servers, blog) as streams:
        for number in range(12):
            if number == 4:
                dying.kill()
            await calls.publish()
        for stream in streams:
            await got_all(stream, calls.confirmed)
    assert calls.refused
    assert [entry["offset"] for entry in calls.confirmed] == list(range(2, 14))
    await until(lambda: servers[0].get("/readyz")["status"] == "ready")
