"""Limits and deadlines, made small, of the connections of `liveblog serve`, in this process."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from kit.raw import UPGRADE, masked, request, wire
from kit.servers import free_port
from kit.sources import SLUG, FakeStore, Past, make_hub
from kit.waiting import until

from liveblog.live import direct
from liveblog.live.deadlines import Deadlines
from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.frame import Frame
from liveblog.live.front import Front
from liveblog.live.websocket import SocketReader

PAGE_BYTES = 16 * 1024 * 1024


class App:
    """Sends 16 MiB for `/page`, 10 bytes for `/short`, and for `/` bytes until the client leaves.

    For `/body`, the application reads the request's body, then answers as for `/page`.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/body":
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/":
            size = 10 if scope["path"] == "/short" else PAGE_BYTES
            await send({"type": "http.response.body", "body": b"x" * size})
            return
        await receive()
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await asyncio.sleep(0)


class Unsignalled(uvicorn.Server):
    """Runs uvicorn in the process of pytest, and leaves the handling of signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def small(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[uvicorn.Server, DirectTransport, str]]:
    """Yield a server in this process, its transport (live/direct.py), and its address."""
    monkeypatch.setattr(direct, "UNDRAINED_S", 0.5)
    monkeypatch.setattr(direct, "CLOSING_S", 0.5)
    monkeypatch.setattr(direct, "BODY_S", 0.5)
    past = Past()
    past.publish()
    hub = make_hub(FakeStore(past))
    shared = DirectTransport(Door(hub))
    config = uvicorn.Config(
        App(),
        port=free_port(),
        http=Front,
        ws=SocketReader,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = Unsignalled(config)
    monkeypatch.setattr("uvicorn.lifespan.off.LifespanOff.__init__", _with_state(shared))
    tasks = [asyncio.create_task(work) for work in (server.serve(), shared.run(), hub.run())]
    await until(lambda: server.started)
    yield server, shared, f"http://127.0.0.1:{config.port}"
    server.should_exit = True
    await tasks[0]
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    await hub.close()


def _with_state(shared: DirectTransport) -> Any:
    def init(self: Any, _: Any) -> None:
        self.should_exit, self.state = False, {"direct": shared}

    return init


async def _behind(shared: DirectTransport) -> SocketReader:
    """Return the only reader, once writes have filled its socket."""
    await until(lambda: shared.door.hub.count() == 1)
    (reader,) = shared.door.hub.lives[SLUG].roster.followers
    assert isinstance(reader, SocketReader)
    while not reader.behind:
        reader._write(b"\x81\x7e\x80\x00" + b"x" * 32_768)
        await asyncio.sleep(0)
    return reader


async def test_connection_is_freed_when_its_client_takes_nothing(small: Any) -> None:
    server, _, url = small
    async with wire(url, request("/"), limit=1):
        await until(lambda: server.server_state.connections)
        await until(lambda: not server.server_state.connections)


@pytest.mark.parametrize("stream", ["live", "events"])
async def test_stream_never_goes_among_the_bytes_of_a_page(
    small: Any, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks for the stream while the server still has bytes of the page to send."""
    server, shared, url = small
    shared.undrained = Deadlines(30, shared.clock)
    shared.closing = Deadlines(30, shared.clock)
    async with wire(url, request("/page"), limit=65_536) as made:
        await until(lambda: server.server_state.connections)
        (kept,) = server.server_state.connections
        await until(lambda: kept.cycle and kept.cycle.response_complete)
        assert kept.transport.get_write_buffer_size()
        await made.send(request(f"/blogs/{SLUG}/{stream}", UPGRADE if stream == "live" else ""))
        answer = await made.rest()
    page, _, after = answer.partition(b"x" * PAGE_BYTES)
    assert page.startswith(b"HTTP/1.1 200 ")
    if stream == "live":
        assert after == b"\r\n0\r\n\r\n"
    else:  # Starlette serves the second request, an event stream, after the page
        assert after.startswith(b"\r\n0\r\n\r\nHTTP/1.1 200 ")
    assert not shared.door.hub.count()


async def test_connection_is_freed_when_a_short_rest_is_not_taken(small: Any) -> None:
    server, _, url = small
    async with wire(url, request("/short"), limit=1):
        await until(lambda: server.server_state.connections)
        (kept,) = server.server_state.connections
        await until(lambda: kept.cycle and kept.cycle.response_complete)
        while not kept.transport.get_write_buffer_size():
            kept.transport.write(b"x" * 16_384)
            await asyncio.sleep(0)
        kept.transport.close()
        assert kept.transport.get_write_buffer_size() <= 16_384
        await until(lambda: not server.server_state.connections)


async def test_tasks_end_when_the_client_of_several_answers_leaves(
    small: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, _, url = small
    async with wire(url, request("/") + request("/page")) as made:
        await made.head()
        (kept,) = server.server_state.connections
        await until(lambda: kept.pipeline)
        made.writer.transport.abort()
    await until(lambda: not server.server_state.tasks)
    assert not [record for record in caplog.records if record.exc_info]


async def test_connection_is_cut_off_when_its_body_does_not_come(small: Any) -> None:
    _, _, url = small
    head = request("/body", "Content-Length: 10\r\n", "POST")
    async with wire(url, head + b"x") as made:
        assert await made.rest() == b""


async def test_reader_gets_1011_when_loading_its_blog_raises(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shared, url = small

    async def fault(_: str) -> Any:
        raise ValueError("a fault")

    monkeypatch.setattr(shared.door.hub, "live", fault)
    async with wire(url, request("/blogs/other/live", UPGRADE)) as made:
        assert b" 101 " in await made.head()
        assert json.loads(await made.frame_of(0x81))["t"] == "bye"
        assert await made.close_code() == 1011
    await until(lambda: shared.door.count == 0)


async def test_reader_gets_the_last_pong_only_when_it_is_behind(small: Any) -> None:
    _, shared, url = small
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE), limit=1_000) as made:
        reader = await _behind(shared)
        await made.send(masked(0x89, b"first") + masked(0x89, b"last"))
        await until(lambda: reader._pong)
        await made.head()
        assert await made.frame_of(0x8A) == b"last"


async def test_long_frame_is_shared_when_many_readers_reconnect(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shared, url = small
    written: list[list[bytes]] = []
    flush = SocketReader.flush

    def look(self: SocketReader) -> None:
        written.append(list(self._delayed or ()))
        flush(self)

    monkeypatch.setattr(SocketReader, "flush", look)
    live = await shared.door.hub.live(SLUG)
    assert live
    monkeypatch.setattr(live.cache, "_make_frame", lambda *_: Frame(b"x" * 100_000))
    since = live.position._replace(offset=0)
    monkeypatch.setattr(live.timeline, "standing", lambda _: "here")
    for _ in range(2):
        async with wire(url, request(f"/blogs/{SLUG}/live?since={since}", UPGRADE)) as made:
            await made.head()
            assert len(await made.frame_of(0x81)) < 200
            assert len(await made.frame_of(0x81)) == 100_000
    first, second = written
    assert first[-1] is second[-1]


async def test_reader_is_freed_when_it_does_not_answer_a_close(small: Any) -> None:
    _, shared, url = small
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE)) as made:
        await made.head()
        await until(lambda: shared.door.count == 1)
        await shared.door.hub.drain(0)
        assert (await made.rest())[-2:] == (4001).to_bytes(2, "big")
        await until(lambda: shared.door.count == 0)
    assert shared.door.closes == {4001: 1}


async def test_reader_holds_no_task_no_timer_and_no_uvicorn_connection(
    small: Any,
) -> None:
    server, shared, url = small
    tasks = len(asyncio.all_tasks())
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE)) as made:
        await made.head()
        await until(lambda: shared.door.hub.count() == 1)
        await until(lambda: len(asyncio.all_tasks()) == tasks)
        assert not server.server_state.connections
        (reader,) = shared.door.hub.lives[SLUG].roster.followers
        assert not hasattr(reader, "__dict__")
    await until(lambda: shared.door.hub.count() == 0)
    assert shared.door.closes == {1006: 1}


async def test_descriptor_is_open_when_connection_lost_is_called(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives the number of an open descriptor to no other connection.

    So `DirectReader` can still write to its descriptor without reaching another client.
    """
    _, shared, url = small
    seen: list[bool] = []
    lost = SocketReader.connection_lost

    def look(self: SocketReader, exc: Exception | None) -> None:
        raw = self._transport.get_extra_info("socket")
        seen.append(raw is not None and raw.fileno() >= 0)
        lost(self, exc)

    monkeypatch.setattr(SocketReader, "connection_lost", look)
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE)) as made:
        await made.head()
        await until(lambda: shared.door.count == 1)
    await until(lambda: shared.door.count == 0)
    assert seen == [True]


async def test_reader_leaves_no_traceback_when_it_is_behind_and_rude(
    small: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The reader's socket is full when the reader sends a ping and a message, which is forbidden.

    The pong and the close frame must wait until the reader reads.
    """
    _, shared, url = small
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE), limit=1) as made:
        reader = await _behind(shared)
        await made.send(masked(0x89, b"owed"))
        await until(lambda: reader._pong)
        await made.send(masked(0x81))
        await until(lambda: reader.is_ending)
        # Enlarge the client's buffer of 1 byte (`limit=1`), so that `rest()` is fast.
        setattr(made.reader, "_limit", 65_536)  # noqa: B010 - a private attribute
        await made.rest()
    await until(lambda: shared.door.count == 0)
    assert not [record for record in caplog.records if record.exc_info]


async def test_door_counts_accepts_and_closes(small: Any) -> None:
    _, shared, url = small
    for path, headers, awaited in (
        (f"/blogs/{SLUG}/live", UPGRADE, 0x81),
        (f"/blogs/{SLUG}/live", "", None),
        ("/blogs/other/live", UPGRADE, 0x88),
        (f"/blogs/{SLUG}/live", UPGRADE + "Origin: http://evil.example\r\n", 0x88),
    ):
        async with wire(url, request(path, headers)) as made:
            await made.head()
            if awaited:
                await made.frame_of(awaited)
            await made.send(masked(0x88, b"\x03\xe9"))
            await made.rest()
    await until(lambda: shared.door.count == 0)
    assert shared.door.accepts == {"accepted": 1, "handshake": 1, "unknown": 1, "origin": 1}
    assert shared.door.closes == {1001: 1, 4006: 1, 4500: 1}
