"""Scenarios of live/door.py, which admits or refuses readers, and of live/direct.py, which sends to
them.

Both modules are real; connections are in memory (kit/memory.py), and time is virtual. Each scenario
raises `Broken` when a rule of kit/memory.py does not hold. The unit tests run the scenarios on the
code as it is; `mutants_door` runs them on seeded bugs.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from kit.memory import Broken, Kernel, Rule, Wire, hold
from kit.raw import UPGRADE, masked, request
from kit.sources import SLUG, FakeStore, Past, make_hub
from kit.virtual import in_virtual_time
from liveblog import origin
from liveblog.forwarded import Proxies
from liveblog.live import direct
from liveblog.live.direct import CLOSING_S, HEAD_S, RECEIVED_BYTES_MAX, SWEEP_S, DirectTransport
from liveblog.live.door import Door
from liveblog.live.front import Front
from liveblog.live.plain import ConnectionLimits, PlainConnections

LIVE: Final = f"/blogs/{SLUG}/live"
EVENTS: Final = f"/blogs/{SLUG}/events"
GOOD: Final = "https://good.example"
DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
PROXY: Final = "192.0.2.9"  # a trusted proxy
PING: Final = masked(0x89, b"p" * 100)


class Site:
    """Runs a worker with one blog: `Door` admits its readers, `DirectTransport` writes to them."""

    def __init__(
        self,
        readers_max: int = 0,
        readers_per_address_max: int = 0,
        limits: ConnectionLimits | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.past = Past()
        self.past.publish()
        self.store = FakeStore(self.past)
        self.hub = make_hub(self.store, loop.time)
        allowed = origin.Site(allowed=(GOOD,))
        self.door = Door(self.hub, allowed, readers_max, readers_per_address_max)
        proxies, plain = Proxies(f"127.0.0.1,{PROXY}"), PlainConnections(limits)
        self.direct = DirectTransport(self.door, proxies, loop.time, plain)
        self.kernel = Kernel()
        self.requests = 0
        self.answered: list[str] = []
        self._config = uvicorn.Config(
            self._app, interface="asgi3", lifespan="off", log_config=None, access_log=False
        )
        self.state = ServerState()
        setattr(direct, "write", self.kernel.write)  # noqa: B010 - in place of os.write

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the request's body and answer "ok": `/after/8` after 8 s, `/endless` never.

        `/early` is answered before its body is read, and `/work` 8 s after its body was read.
        """
        if scope["path"].startswith("/after/"):
            await asyncio.sleep(int(scope["path"].removeprefix("/after/")))
        while scope["path"] != "/early" and (await receive()).get("more_body"):
            pass
        if scope["path"] == "/work":
            await asyncio.sleep(8)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/endless":
            await receive()
        await send({"type": "http.response.body", "body": b"ok"})
        self.answered.append(scope["path"])

    def connect(self, data: bytes = b"", **more: Any) -> Wire:
        """Return a new connection, over which its client has sent `data`."""
        wire = Wire(self.kernel, **more)
        wire.protocol = Front(self._config, self.state, {"direct": self.direct})
        wire.protocol.connection_made(wire)
        if data:
            wire.send(data)
        return wire

    async def read(self, path: str = LIVE, headers: str = "", **more: Any) -> Wire:
        """Return a new connection, after its request for a stream was answered."""
        self.requests += 1
        wire = self.connect(request(path, headers + (UPGRADE if "/live" in path else "")), **more)
        await turns()
        return wire

    async def publish(self) -> None:
        self.store.announce(self.past.publish())
        await turns()

    def is_at_top(self, wire: Wire) -> bool:
        at = [frame["position"] for frame in wire.json() if frame["t"] in ("hello", "changes")]
        return bool(at) and at[-1] == str(self.past.position)

    def check_counts(self, count: int) -> None:
        """Check that the counts in `Door` and in the hub match `count` connected readers."""
        door = self.door
        seen = (door.count, door.readers, door.addresses, door.accepts, door.closes)
        hold(Rule.COUNT, door.count == sum(door.readers.values()) == count, seen)
        hold(Rule.COUNT, sum(door.accepts.values()) == self.requests, seen)
        hold(Rule.COUNT, sum(door.closes.values()) == self.requests - count, seen)
        if door.readers_per_address_max:
            hold(Rule.COUNT, sum(door.addresses.values()) == count, seen)
        hold(Rule.COUNT, self.hub.count() <= count, (self.hub.count(), seen))


async def turns() -> None:
    """Let 20 ms of virtual time pass: enough for the store's answers and the work after them."""
    await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def site(
    readers_max: int = 0,
    readers_per_address_max: int = 0,
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[Site]:
    """Yield a site, with the task that closes connections at their deadlines."""
    made = Site(readers_max, readers_per_address_max, limits)
    sweeping = asyncio.create_task(made.direct.run())
    try:
        await made.hub.live(SLUG)
        yield made
    finally:
        sweeping.cancel()
        await made.hub.close()
    failed = not sweeping.cancelled() and sweeping.done() and sweeping.exception()
    hold(Rule.FREED, not failed, failed)


async def after(seconds: float) -> None:
    await asyncio.sleep(seconds + 2 * SWEEP_S)


# -- the door


async def readers_follow_the_blog() -> None:
    async with site() as it:
        readers = [await it.read(headers=more) for more in ("", f"Origin: {GOOD}\r\n")]
        since = f"{LIVE}?since={it.past.position}"
        await it.publish()
        readers += [await it.read(since), await it.read(is_tls=True)]
        for wire in readers:
            hold(Rule.ANSWER, b" 101 " in wire.head(), wire.head())
            hold(Rule.FRAMES, it.is_at_top(wire), wire.kinds())
        hold(Rule.FRAMES, readers[2].kinds() == ["hello", "changes"], readers[2].kinds())
        await it.publish()
        for wire in readers:
            hold(Rule.FRAMES, it.is_at_top(wire), wire.kinds())
        it.check_counts(4)
        for wire in readers:
            wire.leave()
        await turns()
        it.check_counts(0)


async def refused_readers_get_their_code() -> None:
    async with site(readers_max=2, readers_per_address_max=1) as it:
        evil = await it.read(headers="Origin: https://evil.example\r\n")
        hold(Rule.CODE, evil.code() == 4500, evil.frames())
        first = await it.read(headers="X-Forwarded-For: 203.0.113.1\r\n")
        same = await it.read(headers="X-Forwarded-For: 203.0.113.1\r\n")
        hold(Rule.LIMIT, same.code() == 4004, same.frames())
        other = await it.read(headers="X-Forwarded-For: 203.0.113.2\r\n")
        hold(Rule.FRAMES, other.kinds() == ["hello"], other.frames())
        third = await it.read(headers="X-Forwarded-For: 203.0.113.3\r\n")
        hold(Rule.LIMIT, third.code() == 4002, third.frames())
        it.check_counts(2)
        first.leave()
        await turns()
        again = await it.read(headers="X-Forwarded-For: 203.0.113.1\r\n")
        hold(Rule.COUNT, again.code() is None, again.frames())
        for wire in (other, again):
            wire.leave()
        await turns()
        it.check_counts(0)


async def event_streams_say_what_codes_say() -> None:
    async with site() as it:
        evil = await it.read(EVENTS, "Origin: https://evil.example\r\n")
        hold(Rule.ANSWER, evil.head().startswith(b"HTTP/1.1 204 "), evil.head())
        good = await it.read(EVENTS, f"Origin: {GOOD}\r\n")
        hold(Rule.ANSWER, f"access-control-allow-origin: {GOOD}".encode() in good.head())
        since = it.past.position
        it.store.announce(it.past.header(status="ended"))
        await turns()
        over = await it.read(f"{EVENTS}?since={it.past.position}")
        hold(Rule.ANSWER, over.head().startswith(b"HTTP/1.1 204 "), over.head())
        missed = await it.read(f"{EVENTS}?since={since}")
        told = [b'"t":"hello"' in missed.body(), b'"t":"changes"' in missed.body()]
        hold(Rule.FRAMES, told == [True, True], missed.body())
        hold(Rule.CODE, missed.body().endswith(b'"ended"}\n\n\r\n0\r\n\r\n'), missed.body()[-60:])
        last = await it.read(f"{EVENTS}?since={since}", f"Last-Event-ID: {it.past.position}\r\n")
        hold(Rule.ANSWER, last.head().startswith(b"HTTP/1.1 204 "), last.head())
        socket = await it.read(f"{LIVE}?since={since}")
        hold(Rule.FRAMES, socket.kinds() == ["hello", "changes"], socket.kinds())
        hold(Rule.CODE, socket.code() == 4510, socket.frames())
        old = it.connect(request(EVENTS).replace(b"HTTP/1.1", b"HTTP/1.0"))
        it.requests += 1
        await turns()
        hold(Rule.ANSWER, b"chunked" not in old.head(), old.head())
        good.leave()
        await after(CLOSING_S)
        it.check_counts(0)


async def old_event_streams_have_no_chunks() -> None:
    async with site() as it:
        wire = it.connect(request(EVENTS).replace(b"HTTP/1.1", b"HTTP/1.0"))
        await it.publish()
        hold(Rule.ANSWER, wire.body().startswith(b"id: "), wire.body()[:20])


async def malformed_positions_are_reset_at_once() -> None:
    async with site() as it:
        wire = await it.read(f"{LIVE}?since=nonsense")
        hold(Rule.FRAMES, wire.kinds() == ["reset"], wire.kinds())
        hold(Rule.CODE, wire.code() == 4005, wire.frames())


async def draining_workers_send_readers_elsewhere() -> None:
    async with site() as it:
        readers = [await it.read(), await it.read(), await it.read(EVENTS)]
        emptied = asyncio.create_task(it.door.emptied(600))
        await it.hub.drain(0)
        late = await it.read()
        hold(Rule.COUNT, it.door.accepts["restart"] == 1, it.door.accepts)
        for wire in (*readers[:2], late):
            hold(Rule.CODE, wire.code() == 4001, wire.frames())
        started = asyncio.get_running_loop().time()
        hold(Rule.COUNT, not emptied.done(), "emptied before the readers had left")
        await after(CLOSING_S)
        hold(Rule.FREED, not it.kernel.open, it.kernel.open)
        await emptied
        took_s = asyncio.get_running_loop().time() - started
        hold(Rule.COUNT, took_s < 60, "not emptied when the readers had left")
        it.check_counts(0)


async def readers_wait_for_a_blog_that_loads() -> None:
    async with site() as it:
        other = Past("other")
        it.store.pasts["other"] = other
        wire = await it.read("/blogs/other/live")
        hold(Rule.FRAMES, wire.kinds() == ["hello"], wire.frames())
        it.store.latency_s = lambda: 0.3
        it.store.pasts["third"] = Past("third")
        early = it.connect(request("/blogs/third/live", UPGRADE) + masked(0x89, b"early"))
        gone = it.connect(request("/blogs/third/live", UPGRADE))
        rude = it.connect(request("/blogs/third/live", UPGRADE) + masked(0x81, b"hi"))
        # `Door` accepts only `early`: `gone` leaves before the blog has loaded, and `rude` sends
        # text, which a reader must not send.
        it.requests += 1
        gone.leave()
        await after(10)
        hold(Rule.FRAMES, early.kinds() == ["hello"], early.frames())
        hold(Rule.ANSWER, (0x8A, b"early") in early.frames(), early.frames())
        hold(Rule.CODE, rude.code() == 1003, rude.frames())
        hold(Rule.COUNT, it.door.count == it.hub.count() == 2, (it.door.count, it.hub.count()))


async def readers_of_one_turn_are_all_answered() -> None:
    async with site() as it:
        wires = [it.connect(request(LIVE, UPGRADE)) for _ in range(3)]
        await turns()
        hold(Rule.ANSWER, all(wire.kinds() == ["hello"] for wire in wires), wires[-1].received)


async def faults_of_loading_are_answered() -> None:
    async with site() as it:

        async def fault(_: str) -> Any:
            raise ValueError("a fault")

        setattr(it.hub, "live", fault)  # noqa: B010
        wire = await it.read("/blogs/other/live")
        hold(Rule.CODE, wire.code() == 1011, wire.received)


# -- frames and descriptors


async def no_frame_reaches_a_stranger() -> None:
    """A connection ends, and a stranger's connection gets its file descriptor.

    The reader's next frame must not be written to that descriptor.
    """
    async with site() as it:
        for end in ("leave", "half_close", "close"):
            reader, other = await it.read(), await it.read()
            number = next(n for n, wire in it.kernel.open.items() if wire is reader)
            if end == "close":
                reader.send(masked(0x88, b"\x03\xe8"))
            else:
                getattr(reader, end)()
            await turns()
            stranger = it.connect()
            hold(Rule.FREED, it.kernel.open[number] is stranger, it.kernel.open)
            await it.publish()
            hold(Rule.STRANGER, not stranger.received, stranger.received)
            hold(Rule.FRAMES, it.is_at_top(other), other.kinds())
            for wire in (other, stranger):
                wire.leave()
            await turns()


async def frames_stop_when_a_reader_ends_itself() -> None:
    """A reader that broke the protocol gets no more frames while its connection closes."""
    async with site() as it:
        reader = await it.read()
        reader.send(masked(0x81, b"hi"))
        await it.publish()
        reader.send(masked(0x89, b"late"))
        await it.publish()
        hold(Rule.CODE, reader.code() == 1003, reader.frames())
        hold(Rule.COUNT, it.hub.count() == 0, it.hub.count())
        await after(CLOSING_S)
        hold(Rule.FREED, not it.kernel.open, it.kernel.open)
        it.check_counts(0)


async def stalled_readers_get_one_frame_to_the_top() -> None:
    async with site() as it:
        for is_tls in (False, True):
            slow, quick = await it.read(is_tls=is_tls), await it.read()
            slow.room = 30  # bytes; the next frame is longer and fills the socket
            for _ in range(5):
                await it.publish()
                hold(Rule.FRAMES, it.is_at_top(quick), quick.kinds())
            slow.send(masked(0x89, b"first") + masked(0x89, b"last"))
            hold(Rule.FRAMES, len(slow.frames()) == 1, slow.frames())
            slow.take()
            await turns()
            hold(Rule.FRAMES, slow.kinds() == ["hello", "changes", "changes"], slow.kinds())
            hold(Rule.FRAMES, it.is_at_top(slow), slow.json())
            pongs = [payload for first, payload in slow.frames() if first == 0x8A]
            hold(Rule.ANSWER, pongs == [b"last"], pongs)


async def only_readers_that_asked_get_compressed_frames() -> None:
    async with site() as it:
        plain, packed = await it.read(), await it.read(headers=DEFLATE)
        it.store.announce(it.past.publish(headline="word " * 200))
        await turns()
        firsts = [[first for first, _ in wire.frames()] for wire in (plain, packed)]
        hold(Rule.FRAMES, firsts == [[0x81, 0x81], [0x81, 0xC1]], firsts)


# -- bytes from readers


async def readers_end_with_the_right_code() -> None:
    async with site() as it:
        for data, code in (
            (masked(0x81, b"hi"), 1003),
            (b"\x89\x01a", 1002),
            (masked(0x88, b"\x03\xe8"), 1000),
            (PING * (RECEIVED_BYTES_MAX // len(PING) + 1), 1008),
        ):
            wire = await it.read()
            wire.send(data)
            await turns()
            hold(Rule.CODE, wire.code() == code, wire.frames()[-1])
            hold(Rule.CODE, it.door.closes == {code: 1}, it.door.closes)
            it.door.closes.clear()
            wire.leave()
            await turns()


async def pings_in_pieces_are_answered() -> None:
    async with site() as it:
        wire = await it.read()
        data = masked(0x89, b"a") + masked(0x8A) + masked(0x89, b"b" * 125)
        for at in range(0, len(data), 7):
            wire.send(data[at : at + 7])
        pongs = [payload for first, payload in wire.frames() if first == 0x8A]
        hold(Rule.ANSWER, pongs == [b"a", b"b" * 125], pongs)
        reader = wire.protocol
        # The limit on received bytes applies between two heartbeats. Setting `unheard`
        # simulates a heartbeat, so the reader may send 10 KiB four times.
        for _ in range(4):
            reader.unheard = 1
            wire.send(PING * 100)
        hold(Rule.LIMIT, wire.code() is None, wire.frames()[-1])


# -- requests


async def late_heads_are_refused() -> None:
    async with site() as it:
        silent, stream = it.connect(), it.connect(b"GET /blogs/x/live HTTP/1.1\r\nHost: x\r\n")
        page, slow = it.connect(b"GET / HTTP/1.1\r\nHo"), it.connect(request("/after/8") + b"GET /")
        body = it.connect(request("/", "Content-Length: 10\r\n", "POST") + b"x")
        await after(HEAD_S)
        hold(Rule.ANSWER, not silent.received, silent.received)
        for wire in (stream, page):
            hold(Rule.ANSWER, wire.head().startswith(b"HTTP/1.1 408 "), wire.head())
        hold(Rule.FREED, list(it.kernel.open.values()) == [slow, body], it.kernel.open)
        await after(direct.BODY_S)
        answers = [slow.received.count(b" %d " % status) for status in (200, 408)]
        hold(Rule.ANSWER, answers == [1, 1], slow.received)
        hold(Rule.FREED, not it.kernel.open, it.kernel.open)


async def answers_come_in_order_and_streams_never_among_them() -> None:
    async with site() as it:
        live = request(LIVE, UPGRADE)
        for rest in (
            live,
            live + masked(0x89),
            request("/", "Host: again\r\n"),
            b"NONSENSE\r\n\r\n",
        ):
            wire = it.connect(request("/after/1") + request("/") + rest)
            await after(2)
            answers = wire.received.count(b"HTTP/1.1 200 "), wire.received.count(b"HTTP/1.1")
            hold(Rule.ANSWER, answers == (2, 2), wire.received)
            hold(Rule.FREED, wire.is_over, wire.received)
        waits = it.connect(request("/"), room=10)
        await turns()
        waits.send(live)
        await turns()
        waits.take()
        await turns()
        hold(Rule.ANSWER, b" 101 " not in waits.received, waits.received)
        kept = it.connect(request("/"))
        await turns()
        kept.send(live[:60])
        kept.send(live[60:] + masked(0x89, b"early"))
        await turns()
        hold(Rule.ANSWER, b" 101 " in kept.received, kept.received)
        hold(Rule.COUNT, it.door.count == 1, it.door.count)


async def bodies_are_bodies() -> None:
    async with site() as it:
        h2c, size = "Connection: Upgrade\r\nUpgrade: h2c\r\n", 40_000
        long = request("/", f"Content-Length: {size}\r\n", "POST")
        for head in (long, request("/", f"{h2c}Content-Length: {size}\r\n", "POST")):
            wire = it.connect(head)
            for _ in range(size // 4_000):
                wire.send(b"x" * 4_000)
                await turns()  # the application takes these bytes, and the server reads more
            hold(Rule.ANSWER, wire.received.count(b"HTTP/1.1 200 ") == 1, wire.received)
            wire.send(request("/"))
            await turns()
            hold(Rule.ANSWER, wire.received.count(b"HTTP/1.1") == 2, wire.received)
        endless = it.connect(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(9):
            endless.send(b"x" * 1_000)
        hold(Rule.LIMIT, endless.head().startswith(b"HTTP/1.1 431 "), endless.received)


async def half_closed_clients_are_answered_when_they_asked_in_whole() -> None:
    async with site() as it:
        for asked, answers in (
            (request("/after/1") * 2, 2),
            (request("/after/1"), 1),
            (b"GET /", 0),
        ):
            wire = it.connect(asked)
            await turns()
            wire.half_close()
            await after(3)
            hold(Rule.ANSWER, wire.received.count(b"HTTP/1.1 200 ") == answers, wire.received)
            hold(Rule.FREED, wire.is_over, wire.received)


async def tasks_end_when_their_client_leaves() -> None:
    async with site() as it:
        wire = it.connect(request("/endless") + request("/"))
        await turns()
        wire.leave()
        await turns()
        hold(Rule.FREED, not it.state.tasks, it.state.tasks)


SCENARIOS: Final[list[Callable[[], Awaitable[None]]]] = [
    readers_follow_the_blog,
    refused_readers_get_their_code,
    event_streams_say_what_codes_say,
    old_event_streams_have_no_chunks,
    malformed_positions_are_reset_at_once,
    draining_workers_send_readers_elsewhere,
    readers_wait_for_a_blog_that_loads,
    readers_of_one_turn_are_all_answered,
    faults_of_loading_are_answered,
    no_frame_reaches_a_stranger,
    frames_stop_when_a_reader_ends_itself,
    stalled_readers_get_one_frame_to_the_top,
    only_readers_that_asked_get_compressed_frames,
    readers_end_with_the_right_code,
    pings_in_pieces_are_answered,
    late_heads_are_refused,
    answers_come_in_order_and_streams_never_among_them,
    bodies_are_bodies,
    half_closed_clients_are_answered_when_they_asked_in_whole,
    tasks_end_when_their_client_leaves,
]


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in virtual time. Raises Broken when a connection breaks a `Rule`."""

    async def run() -> None:
        await scenario()

    try:
        in_virtual_time(run)()
    except AssertionError as error:
        if isinstance(error, Broken):
            raise
        cause = error.__cause__  # raised in a callback, or in a task that nothing awaited
        raise cause if isinstance(cause, Broken) else Broken(Rule.QUIET, cause) from cause
    finally:
        setattr(direct, "write", os.write)  # noqa: B010
