"""Several workers on one store: a change reaches every reader, whatever is killed or lost."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from kit.processes import descendants, is_alive, workers_of
from kit.proxy import Proxy
from kit.readers import STREAMS, Frame, Open, Stream, Target, each_stream, events, websocket
from kit.servers import COMMAND, Editor, Server, StoreProcess, http, serving, store_process
from kit.stores import binary_of
from kit.waiting import SCALE, until

from liveblog import app
from liveblog.blog.model import SYSTEM, Position
from liveblog.clock import now_ms
from liveblog.editors import schedule
from liveblog.editors.publishing import Publishing
from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.drain import drain
from liveblog.live.hub import Hub
from liveblog.settings import Settings
from liveblog.store import calls
from liveblog.store.broker import Broker
from liveblog.store.connect import connect
from liveblog.store.follow import Follower, Line
from liveblog.store.nodes import Node, One

ASKED = 20  # requests that a test sends, so that each listening worker gets several
LEAD_S = f"{4 * SCALE:g}"  # how long the draining server still answers the test's requests
BYE = {"t": "bye", "after_ms": [0, 1000], "why": "restart"}


def offset(text: str) -> int:
    parsed = Position.parse(text)
    assert parsed, text
    return parsed.offset


async def caught_up(stream: Stream, to: str) -> list[Frame]:
    """Return the changes up to a position; each frame must begin where the one before ended."""
    found: list[Frame] = []
    at = None
    while at != to:
        frame = await stream.next("changes")
        assert at is None or frame["from"] == offset(at), "a frame begins where no other ended"
        at = frame["position"]
        found += frame["changes"]
    return found


# -- two servers


@each_stream
async def test_change_through_either_server_reaches_the_readers_of_both(
    site: Server, twin: Server, editor: Editor, open_stream: Open
) -> None:
    blog = await editor.blog()
    ask = Target("", blog["slug"], since=blog["position"])
    async with (
        twin.editor() as other,
        open_stream(replace(ask, url=site.url)) as here,
        open_stream(replace(ask, url=twin.url)) as there,
    ):
        for stream in (here, there):
            await stream.next("hello")
        for desk in (editor, other):
            entry = await desk.publish(blog["slug"])
            frames = [await stream.next("changes") for stream in (here, there)]
            assert [frame["position"] for frame in frames] == [entry["position"]] * 2
            assert frames[0]["changes"][0]["id"] == frames[1]["changes"][0]["id"] == entry["id"]


async def test_readers_get_exactly_what_they_missed_when_a_killed_server_restarts(
    twin: Server, editor: Editor
) -> None:
    blog = await editor.blog()
    seen = await editor.publish(blog["slug"])
    ask = Target(twin.url, blog["slug"], since=seen["position"])
    async with websocket(ask) as socket, events(ask) as stream:
        for reader in (socket, stream):
            await reader.next("hello")
        twin.kill()
        for reader in (socket, stream):
            assert (await reader.rest(), reader.code) == ([], 1006)
    missed = [await editor.publish(blog["slug"], f"Missed {number}.") for number in range(3)]
    await editor.delete(missed[1])
    last = await editor.edit(seen, body="Edited meanwhile.")
    twin.start()
    async with websocket(ask) as socket, events(ask) as stream:
        for reader in (socket, stream):
            await reader.next("hello")
            got = [(c["op"], c["id"]) for c in await caught_up(reader, last["position"])]
            assert got == [
                ("put", missed[0]["id"]),
                ("put", missed[2]["id"]),
                ("del", missed[1]["id"]),
                ("put", seen["id"]),
            ]
            assert (await reader.next("beat"))["position"] == last["position"]


@each_stream
async def test_readers_miss_nothing_and_stay_when_pubsub_connections_are_killed(
    site: Server, twin: Server, editor: Editor, open_stream: Open
) -> None:
    blog = await editor.blog()
    ask = Target("", blog["slug"], since=blog["position"])
    async with (
        connect(site.store_url) as nodes,
        open_stream(replace(ask, url=site.url)) as here,
        open_stream(replace(ask, url=twin.url)) as there,
    ):
        for stream in (here, there):
            await stream.next("hello")
        published = []
        for number in range(24):
            if number % 8 == 4:
                await until(lambda: _both_follow(nodes.at("")))
                assert await nodes.at("").execute_command("CLIENT KILL", "TYPE", "pubsub") == 2
            published.append(await editor.publish(blog["slug"], f"Entry {number}."))
        for stream in (here, there):
            got = await caught_up(stream, published[-1]["position"])
            assert [change["id"] for change in got] == [entry["id"] for entry in published]


async def _both_follow(client: Any) -> bool:
    return len(await client.client_list(_type="pubsub")) == 2


async def test_follower_stops_when_it_is_losing_its_connection(
    store_client: Any,
) -> None:
    cancelled, release = asyncio.Event(), asyncio.Event()

    async def probe(_: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await release.wait()

    running = asyncio.create_task(Follower(One(store_client), probe).run(Ignoring()))
    await until(lambda: store_client.client_kill_filter(_type="pubsub"))
    await until(cancelled.is_set)
    running.cancel()
    await asyncio.sleep(0)
    release.set()
    await until(running.done)
    assert running.cancelled()


def test_connection_raises_connection_error_when_it_was_just_closed(
    store_url: str,
) -> None:
    """uvloop raises RuntimeError, which callers would not treat as an unreachable store."""

    async def send() -> None:
        async with connect(store_url) as client:
            pool = client.node("lb:blogs").pool
            connection = pool.make_connection()
            await connection.connect()
            connection._writer.transport.abort()
            with pytest.raises(redis.exceptions.ConnectionError):
                await connection.send_command("PING")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send())


async def test_pool_closes_idle_connections_when_one_breaks(
    store_url: str,
) -> None:
    """The pool must pass `nowait`: without it, closing a TLS connection waits for a dead peer."""
    async with connect(store_url) as client:
        pool = client.node("lb:blogs").pool
        broken, idle = [await pool.get_connection() for _ in range(2)]
        await pool.release(idle)
        closed: list[bool] = []

        async def disconnect(nowait: bool = False, **_: Any) -> None:
            closed.append(nowait)

        idle.disconnect = disconnect
        await broken.disconnect(error=TimeoutError())
        await pool.release(broken)
        assert (closed, pool._in_use_connections) == ([True], set())
        del idle.disconnect


async def test_pool_closes_idle_connections_when_the_second_try_succeeds(
    store_url: str,
) -> None:
    proxy = Proxy(Path(store_url.removeprefix("unix://")))
    await proxy.start()
    async with connect(proxy.url) as nodes:
        client: Any = nodes.at("lb:blogs")
        pool = client.connection_pool
        idle, broken = [await pool.get_connection() for _ in range(2)]
        for connection in (idle, broken):
            await pool.release(connection)
        with proxy.half_open():
            pass  # both connections stay open, but the proxy drops their bytes from now on
        assert await client.ping()
        assert (idle.is_connected, broken.is_connected) == (False, True)
    await proxy.stop()


@pytest.mark.parametrize("turns", range(5))
async def test_line_can_be_cancelled_when_its_probe_arrives_in_that_moment(
    store_client: Any, turns: int
) -> None:
    probes: list[str] = []

    async def probe(name: str) -> None:
        probes.append(name)

    line = Line(Node(store_client), False, probe, Follower(One(store_client), probe))
    checking = asyncio.create_task(line._check())
    await until(lambda: probes)
    line._probed.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    checking.cancel()
    await until(checking.done, 1)
    assert checking.cancelled()


async def test_worker_ends_when_a_part_of_it_forgets_its_cancellation(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgetful(*_: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    monkeypatch.setattr(schedule, "run", forgetful)
    application = app.create_app(Settings(redis_url=store_url))
    events_in: asyncio.Queue[Any] = asyncio.Queue()
    events_out: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.ensure_future(application({"type": "lifespan"}, events_in.get, events_out.put))
    for step in ("startup", "shutdown"):
        await events_in.put({"type": f"lifespan.{step}"})
        async with asyncio.timeout(5 * SCALE):
            assert (await events_out.get())["type"] == f"lifespan.{step}.complete"
    await living


class Ignoring:
    """A sink that ignores everything."""

    def receive(self, slug: str, changes: object) -> None:
        pass

    def resubscribed(self, slug: str) -> None:
        pass


@pytest.fixture
async def silent(site: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Publishing]:
    """Yield a `Publishing` on the store of `site` whose pub/sub messages reach no server."""
    monkeypatch.setattr(calls, "channel", lambda slug: f"lost:{slug}")
    async with connect(site.store_url) as client:
        yield Publishing(Broker(client), lambda: 0)


async def test_change_is_found_in_the_store_when_its_message_is_lost(
    site: Server, editor: Editor, silent: Publishing
) -> None:
    blog = await editor.blog()
    async with websocket(Target(site.url, blog["slug"])) as stream:
        await stream.next("hello")
        lost = await silent.create_entry(SYSTEM, blog["slug"], {"body": "Lost."})
        frame = await stream.next("changes")
        assert frame["position"] == str(lost.position)


@each_stream
async def test_readers_get_both_changes_when_the_first_message_is_lost(
    site: Server, editor: Editor, silent: Publishing, open_stream: Open
) -> None:
    blog = await editor.blog()
    async with open_stream(Target(site.url, blog["slug"])) as stream:
        await stream.next("hello")
        lost = await silent.create_entry(SYSTEM, blog["slug"], {"body": "Lost."})
        entry = await editor.publish(blog["slug"])
        got = await caught_up(stream, entry["position"])
        assert [change["id"] for change in got] == [lost.entry.id, entry["id"]]


async def test_reader_ahead_of_its_server_gets_no_false_frame(
    site: Server, editor: Editor, silent: Publishing
) -> None:
    blog = await editor.blog()
    async with websocket(Target(site.url, blog["slug"])) as stream:
        await stream.next("hello")
    lost = await silent.create_entry(SYSTEM, blog["slug"], {"body": "Lost."})
    async with websocket(Target(site.url, blog["slug"], since=lost.position)) as stream:
        assert (await stream.next())["position"] == str(lost.position)
        while (beat := await stream.next("beat"))["position"] is None:
            pass
        assert beat["position"] == str(lost.position)
        entry = await editor.publish(blog["slug"])
        frame = await stream.next("changes")
        assert (frame["from"], frame["position"]) == (2, entry["position"])


# -- a store that loses changes


@pytest.fixture(scope="module")
def risky_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """A store that a test may empty and restore to an older state."""
    with store_process(tmp_path_factory.mktemp("risky"), binary_of("valkey")) as process:
        process.start()
        yield process


@pytest.fixture(scope="module")
def servers(
    risky_store: StoreProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Two servers on `risky_store`."""
    logs = tmp_path_factory.mktemp("servers")
    with (
        serving(logs / "first", REDIS_URL=risky_store.url) as first,
        serving(logs / "second", REDIS_URL=risky_store.url) as second,
    ):
        yield [first, second]


async def test_readers_are_reset_when_the_store_is_restored_from_an_old_copy(
    servers: list[Server], risky_store: StoreProcess
) -> None:
    first, second = servers
    async with first.editor() as editor, contextlib.AsyncExitStack() as stack:
        blog = await editor.blog()
        await editor.publish(blog["slug"], "In the copy.")
        with contextlib.closing(risky_store.client()) as client:
            copy = dumped(client)
            lost = await editor.publish(blog["slug"], "Lost with the store.")
            ask = Target("", blog["slug"], since=lost["position"])
            streams = [
                await stack.enter_async_context(open_stream(replace(ask, url=server.url)))
                for server in servers
                for open_stream in STREAMS.values()
            ]
            for stream in streams:
                await stream.next("hello")
            client.flushall()
            await until(lambda: "missing in" in first.said() and "missing in" in second.said())
            for server in servers:
                async with http() as browser:
                    page = await browser.get(f"{server.url}/blogs/{blog['slug']}")
                assert (page.status_code, lost["id"] in page.text) == (200, True)
            for name, value in copy.items():
                client.restore(name, 0, value)
        resets = [(await stream.next("reset"))["position"] for stream in streams]
        assert len(set(resets)) == 1
        reset = Position.parse(resets[0])
        seen = Position.parse(lost["position"])
        assert reset
        assert seen
        assert (reset.offset, reset.epoch != seen.epoch) == (3, True)
        entry = await editor.publish(blog["slug"], "After.")
        assert entry["offset"] == 4
        for server in servers:
            async with websocket(Target(server.url, blog["slug"], since=resets[0])) as stream:
                await stream.next("hello")
                assert (await stream.next("changes"))["position"] == entry["position"]


async def test_fork_under_the_same_numbers_is_detected(
    servers: list[Server], risky_store: StoreProcess
) -> None:
    first, second = servers
    async with first.editor() as editor:
        blog = await editor.blog()
        with contextlib.closing(risky_store.client()) as client:
            copy = dumped(client)
            lost = await editor.publish(blog["slug"], "Lost with the store.")
            async with websocket(Target(first.url, blog["slug"], since=lost["position"])) as stream:
                await stream.next("hello")
                client.flushall()
                for name, value in copy.items():
                    client.restore(name, 0, value)
                async with second.editor() as other:
                    await other.publish(blog["slug"], "Another with the same number.")
                reset = await stream.next("reset")
        async with http() as browser:
            page = await browser.get(f"{first.url}/blogs/{blog['slug']}?at={reset['position']}")
        assert "Another with the same number." in page.text
        assert "Lost with the store." not in page.text


def dumped(client: redis.Redis) -> dict[Any, Any]:
    names: Any = client.keys("*")
    return {name: client.dump(name) for name in names}


# -- the workers of one server


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers and its embedded store."""
    directory = tmp_path_factory.mktemp("workers")
    data = str(directory / "data")
    with serving(
        directory / "log", "--workers", "2", DATA_DIR=data, LIVEBLOG_DRAIN_S="0.3"
    ) as server:
        yield server


@pytest.fixture
def many(two_workers: Server) -> Server:
    """The server of `two_workers`, started again when an earlier test stopped it."""
    if two_workers.process and two_workers.process.poll() is not None:
        two_workers.start()
    return two_workers


async def test_both_workers_send_changes_and_a_farewell_on_sigterm(
    many: Server,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        editor = await stack.enter_async_context(many.editor())
        blog = await editor.blog()
        ask = Target(many.url, blog["slug"], since=blog["position"])
        streams = [
            await stack.enter_async_context(open_stream(ask))
            for _ in range(8)
            for open_stream in (websocket, events)
        ]
        for stream in streams:
            await stream.next("hello")
        entry = await editor.publish(blog["slug"])
        for stream in streams:
            assert (await stream.next("changes"))["position"] == entry["position"]
        children = descendants(many.pid)
        many.terminate()
        for stream, code in zip(streams, [4001, 200] * 8, strict=True):
            assert await stream.rest() == [BYE]
            assert stream.code == code
    assert many.wait() == 0
    await until(lambda: not any(is_alive(child) for child in children))


async def test_worker_is_replaced_and_its_readers_reconnect_when_it_is_killed(
    many: Server,
) -> None:
    async with many.editor() as editor:
        blog = await editor.blog()
        children = workers_of(many.pid)
        assert len(children) == 2
        async with websocket(Target(many.url, blog["slug"])) as stream:
            await stream.next("hello")
            for child in children:
                os.kill(child, signal.SIGKILL)
            assert await stream.rest() == []
        await until(lambda: len(set(workers_of(many.pid)) - set(children)) == 2, 20)
        entry = await until(lambda: _published(many, blog["slug"]))
        async with websocket(Target(many.url, blog["slug"], since=blog["position"])) as stream:
            await stream.next("hello")
            assert (await stream.next("changes"))["position"] == entry["position"]


async def _published(server: Server, slug: str) -> Any:
    async with server.editor() as editor:
        with contextlib.suppress(Exception):
            return await editor.publish(slug)
    return None


async def test_exchange_waits_until_the_new_workers_have_reached_the_store(
    own_store: StoreProcess, tmp_path: Path
) -> None:
    """The old workers serve pages from memory; a new worker needs the store for its first page."""
    own_store.start()
    with serving(tmp_path / "log", "--workers", "2", REDIS_URL=own_store.url) as server:
        async with server.editor() as editor:
            blog = await editor.blog()
        path, old = f"/blogs/{blog['slug']}", set(workers_of(server.pid))
        await until(lambda: _listening(server) == 2)
        async with websocket(Target(server.url, blog["slug"])) as stream:
            await stream.next("hello")
            with own_store.stopped():
                os.kill(server.pid, signal.SIGHUP)
                await until(lambda: _have_begun(server, 4), 20)
                assert old <= set(workers_of(server.pid))
                assert {server.status("/readyz") for _ in range(ASKED)} <= {200, 503}
                assert _listening(server) == 2
            assert await stream.rest(30) == [BYE]
        await until(lambda: server.status(path) == 200)
        await until(lambda: not old & set(workers_of(server.pid)))


async def test_server_ends_at_once_when_new_workers_wait_for_the_store(
    own_store: StoreProcess, tmp_path: Path
) -> None:
    own_store.start()
    with (
        serving(tmp_path / "log", "--workers", "2", REDIS_URL=own_store.url) as server,
        own_store.stopped(),
    ):
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: _have_begun(server, 4), 20)
        server.terminate()
        assert await asyncio.to_thread(server.wait) == 0
        assert "not ended after" not in server.said()


def _listening(server: Server) -> int:
    return server.said().count("Application startup complete")


def _have_begun(server: Server, workers: int) -> bool:
    return server.said().count("Waiting for application startup") == workers


async def test_server_is_not_ready_and_refuses_readers_when_it_drains(
    site: Server, editor: Editor, tmp_path: Path
) -> None:
    blog = await editor.blog()
    with serving(
        tmp_path / "log", REDIS_URL=site.store_url, LIVEBLOG_DRAIN_LEAD_S=LEAD_S
    ) as server:
        ask = Target(server.url, blog["slug"])
        async with websocket(ask) as stream:
            await stream.next("hello")
            server.terminate()
            await until(lambda: server.status("/readyz") == 503)
            assert server.get("/readyz")["status"] == "draining"
            async with websocket(ask) as late, events(ask) as late_too:
                assert (await late.rest(), late.code) == ([BYE], 4001)
                assert (await late_too.rest(), late_too.code) == ([BYE], 200)
            async with http() as browser:
                assert (await browser.get(f"{server.url}/blogs/{blog['slug']}")).is_success
            assert (await stream.rest(), stream.code) == ([BYE], 4001)
        assert await asyncio.to_thread(server.wait) == 0


async def test_server_stops_listening_when_it_sends_readers_away(
    site: Server, editor: Editor, tmp_path: Path
) -> None:
    """A reader who reconnects at once must reach another worker."""
    blog = await editor.blog()
    with serving(tmp_path / "log", REDIS_URL=site.store_url, LIVEBLOG_DRAIN_S="2") as server:
        ask = Target(server.url, blog["slug"])
        async with websocket(ask) as first, websocket(ask) as second:
            for stream in (first, second):
                await stream.next("hello")
            server.terminate()
            assert await first.rest() == [BYE]
            with pytest.raises(OSError, match="Connect call failed"):
                async with websocket(ask):
                    pass
            assert (await second.rest(), second.code) == ([BYE], 4001)
        assert await asyncio.to_thread(server.wait) == 0


async def test_serve_raises_the_file_limit_to_the_systems_maximum(
    site: Server, tmp_path: Path
) -> None:
    command = ("sh", "-c", 'ulimit -Sn 600; exec "$@"', "sh", *COMMAND)
    with serving(tmp_path / "log", command=command, REDIS_URL=site.store_url) as server:
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        assert soft == hard


async def test_every_reader_gets_a_farewell_before_the_server_ends(
    site: Server, editor: Editor, tmp_path: Path
) -> None:
    blog = await editor.blog()
    with serving(tmp_path / "log", REDIS_URL=site.store_url) as server:
        ask = Target(server.url, blog["slug"])
        async with contextlib.AsyncExitStack() as stack:
            opened = [open_stream(ask) for open_stream in (websocket, events) * 40]
            streams = [await stack.enter_async_context(stream) for stream in opened]
            for stream in streams:
                await stream.next("hello")
            server.terminate()
            farewells = await asyncio.gather(*(stream.rest() for stream in streams))
            assert farewells == [[BYE]] * 80
            assert {stream.code for stream in streams} == {4001, 200}
        assert await asyncio.to_thread(server.wait) == 0


async def test_drain_ends_when_its_readers_have_left() -> None:
    hub = Hub(Unused(), Unused(), Unused(), now_ms)
    door, ended = Door(hub), asyncio.Event()
    door.count_in("websocket", "")
    deaf = asyncio.Event()
    work = drain(DirectTransport(door), 0, 0, deaf.set, ended.set)
    drained = asyncio.create_task(work)
    await until(lambda: hub.draining)
    assert deaf.is_set()
    for _ in range(20):
        await asyncio.sleep(0)
        assert not ended.is_set()
    door.count_out("websocket", "")
    await drained
    assert ended.is_set()


class Unused:
    """Stands for a part of a hub that the test must not use: each call of a method fails."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> None:
            raise AssertionError(name)

        return fail
