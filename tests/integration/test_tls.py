"""TLS of `liveblog serve`: connections count from their accept on, whatever their clients send."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from kit.processes import TURN, frozen, has_accepted
from kit.proxies import certificate as certificate_in
from kit.raw import Wire, client_hello, request, wire
from kit.servers import COMMAND, Editor, Server, serving, tls_settings
from kit.sources import FakeStore, Past, make_hub
from kit.waiting import until
from uvicorn.server import ServerState

from liveblog.live import direct
from liveblog.live.direct import CLOSING_S, HANDSHAKE_S, HEAD_S, SWEEP_S, DirectTransport
from liveblog.live.door import Door
from liveblog.live.plain import HEADLESS_S, ConnectionLimits, PlainConnections
from liveblog.live.tls import TlsFront, hello_length
from liveblog.process import divided

FILES = 128
CROWD = 200
PAGE = request("/", "Connection: close\r\n")


HELLO = client_hello()
SILENT = {"nothing": b"", "one byte": HELLO[:1], "half a ClientHello": HELLO[: len(HELLO) // 2]}
NO_TLS = {"plain HTTP": PAGE, "garbage": b"\x00" * 300, "an alert": b"\x15\x03\x01\x00\x02\x02\x28"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_in(tmp_path_factory.mktemp("tls"))


# -- one listening socket in this process, on each event loop


class Site:
    """Listens with `TlsFront`; `now` is the time of its deadlines."""

    def __init__(self, certificate: Path, limits: ConnectionLimits) -> None:
        past = Past()
        past.publish()
        self.now = 0.0
        self.hub = make_hub(FakeStore(past))
        plain = PlainConnections(limits)
        self.direct = DirectTransport(Door(self.hub), clock=lambda: self.now, plain=plain)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate / "cert", certificate / "key")
        self.config = uvicorn.Config(
            self._app, interface="asgi3", lifespan="off", log_config=None, access_log=False
        )
        self.faults: list[dict[str, Any]] = []
        self.port = 0

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["scheme"][-2:].encode()})

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Site"]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, fault: self.faults.append(fault))
        parts = self.context, self.config, ServerState(), {"direct": self.direct}
        server = await loop.create_server(partial(TlsFront, *parts), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        sweep = asyncio.create_task(self.direct.run())
        try:
            yield self
        finally:
            server.close()
            sweep.cancel()
            await self.hub.close()
        assert self.faults == []

    def plainly(self, first: bytes = b"") -> contextlib.AbstractAsyncContextManager[Wire]:
        """Connect without TLS."""
        return wire(f"http://127.0.0.1:{self.port}", first)

    def securely(self, first: bytes = b"") -> contextlib.AbstractAsyncContextManager[Wire]:
        return wire(f"https://127.0.0.1:{self.port}", first)

    async def counts(self, count: int) -> None:
        """Wait until so many connections count."""
        await until(lambda: len(self.direct.plain.open) == count)

    async def check_nothing_is_left(self) -> None:
        await self.counts(0)
        plain, shared = self.direct.plain, self.direct
        assert [*plain.idle, *plain.over, *plain.addresses] == []
        for deadlines in (shared.handshakes, shared.heads, shared.closing):
            assert list(deadlines.passed(all_of_them=True)) == []


Play = Callable[..., None]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(
    request: pytest.FixtureRequest, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Play:
    """Run a scenario with a `Site`, whose clients count under their address."""
    monkeypatch.setattr(direct, "is_local", lambda _: False)
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

    def run(scenario: Callable[[Site], Awaitable[None]], **limits: int) -> None:
        async def main() -> None:
            site = Site(certificate, ConnectionLimits(**{"per_address_max": 90, **limits}))
            async with site.listening():
                await scenario(site)
                await site.check_nothing_is_left()

        with asyncio.Runner(loop_factory=loops[request.param]) as runner:
            runner.run(main())

    return run


@pytest.mark.parametrize("first", SILENT.values(), ids=SILENT)
def test_unfinished_handshake_counts_until_it_is_dropped(play: Play, first: bytes) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly(first) as one, site.plainly(first) as other:
            await site.counts(2)
            assert site.direct.plain.addresses == {"127.0.0.1": 2}
            site.now = HANDSHAKE_S
            assert await one.rest() == await other.rest() == b""

    play(scenario)


def test_handshake_is_dropped_when_its_bytes_come_one_a_second(play: Play) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly() as made:
            await site.counts(1)
            for byte in HELLO[: int(HANDSHAKE_S)]:
                await made.send(bytes([byte]))
                site.now += 1
            assert await made.rest() == b""

    play(scenario)


@pytest.mark.parametrize("first", NO_TLS.values(), ids=NO_TLS)
def test_connection_is_closed_at_once_when_its_client_speaks_no_tls(
    play: Play, first: bytes
) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly(first) as made:
            assert b"HTTP" not in await made.rest()

    play(scenario)


def record(payload: bytes) -> bytes:
    return b"\x16\x03\x01" + len(payload).to_bytes(2, "big") + payload


LONG = b"\x01\x01\xff\xff\x03\x03" + bytes(4_000)  # of a ClientHello of 128 KiB
TOO_LONG = {
    "one record": record(LONG),
    "bytes apart": b"".join(record(LONG[n : n + 1]) for n in range(6)) + record(LONG[6:]),
    "empty records": record(b"") * 20,
    "beyond the limit": record(b"\x01\x00\x40\x01" + bytes(4_000)),
}


@pytest.mark.parametrize("first", TOO_LONG.values(), ids=TOO_LONG)
def test_handshake_is_aborted_when_its_first_message_is_too_long(play: Play, first: bytes) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly(first) as made:
            assert await made.rest() == b""
        assert site.now == 0.0

    play(scenario)


@pytest.mark.parametrize("size", [1, 3, 200])
def test_handshake_goes_on_when_its_first_bytes_come_in_parts(play: Play, size: int) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly() as made:
            for at in range(0, len(HELLO), size):
                await made.send(HELLO[at : at + size])
                await asyncio.sleep(0)
            assert (await made.reader.readexactly(1)) == b"\x16"  # the server's part

    play(scenario)


def test_length_of_a_hello_is_the_same_in_any_records() -> None:
    message = HELLO[5:]
    length = len(message) - 4
    for at in range(1, len(message)):
        data = record(message[:at]) + record(message[at:])
        assert hello_length(data) == length
        assert {hello_length(data[:end]) for end in range(20)} <= {None, length}
    assert hello_length(PAGE) == hello_length(b"\x80\x2e\x01\x03\x01") == 0


def test_connection_counts_once_before_and_after_its_handshake(play: Play) -> None:
    async def scenario(site: Site) -> None:
        async with site.securely() as made:
            await until(lambda: not list(site.direct.handshakes.passed()))
            await site.counts(1)
            await made.send(PAGE)
            assert (await made.rest()).endswith(b"\r\n\r\nps")  # of https

    play(scenario)


def test_silent_client_gets_the_time_of_a_head_after_its_handshake(play: Play) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly() as silent, site.securely() as made:
            await made.send(b"GET")
            await until(lambda: bool(site.direct.heads._since))
            site.now = HANDSHAKE_S
            assert await silent.rest() == b""
            assert b" 408 " in await made.head()

    play(scenario)


def test_connection_over_the_limit_of_its_address_gets_503(play: Play) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly():
            await site.counts(1)
            async with site.securely(PAGE) as made:
                assert b" 503 " in await made.head()
        assert site.direct.plain.refused == {"address": 1}

    play(scenario, per_address_max=1)


def test_unfinished_handshakes_lose_their_places_before_others(play: Play) -> None:
    async def scenario(site: Site) -> None:
        async with site.plainly() as silent, site.securely(b"GET") as slow:
            await until(lambda: bool(site.direct.heads._since))
            site.now = HEADLESS_S
            async with site.securely(PAGE) as made:
                assert b" 200 " in await made.head()
                assert await silent.rest() == b""
            await slow.send(PAGE.removeprefix(b"GET"))
            assert b" 200 " in await slow.head()
        assert site.direct.plain.closed == {"handshake": 1}

    play(scenario, files_max=2, reserve=1)


def test_connection_is_aborted_when_no_place_is_left_for_its_handshake(play: Play) -> None:
    async def scenario(site: Site) -> None:
        async with site.securely(PAGE.replace(b"close", b"keep-alive")) as kept:
            assert b" 200 " in await kept.head()
            site.direct.plain.idle.clear()  # as if it was busy
            async with site.plainly(HELLO) as made:
                assert await made.rest() == b""
        assert site.direct.plain.refused == {"full": 1}

    play(scenario, files_max=1, reserve=0)


ENDS = {
    "no request": (b"", HEAD_S),
    "an empty line": (b"\r\n", HEAD_S),
    "the last answer": (PAGE, 0),
}


@pytest.mark.parametrize(("sent", "after_s"), ENDS.values(), ids=ENDS)
def test_closed_connection_loses_its_place_when_its_client_does_not_close(
    play: Play, sent: bytes, after_s: float
) -> None:
    async def scenario(site: Site) -> None:
        async with site.securely() as kept:
            heads = site.direct.heads
            await until(lambda: bool(heads._since))
            kept.writer.transport.pause_reading()  # type: ignore[attr-defined]  # never sees the end
            await kept.send(sent)
            await until(lambda: bool(heads._since) == bool(after_s))
            site.now += after_s
            await asyncio.sleep(2 * SWEEP_S)
            site.now += CLOSING_S
            await site.counts(0)
            kept.writer.transport.abort()

    play(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_connections_count_once_whatever_their_clients_do(play: Play, seed: int) -> None:
    rng = random.Random(seed)

    async def client(site: Site) -> None:
        first = rng.choice([*SILENT.values(), *NO_TLS.values(), HELLO, HELLO[:-1]])
        connect = rng.choice([partial(site.plainly, first), partial(site.securely, PAGE)])
        with contextlib.suppress(OSError):
            async with connect() as made:
                await site.counts(len(site.direct.plain.open))
                match rng.randrange(3):
                    case 0:
                        made.writer.transport.abort()
                    case 1:
                        await made.send(PAGE)

    async def scenario(site: Site) -> None:
        for _ in range(4):
            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(client(site))
            site.now += rng.choice([0, HEADLESS_S])

    play(scenario, files_max=6, reserve=rng.choice([0, 2]), per_address_max=rng.choice([0, 3]))


# -- a whole server that may open few files


@pytest.fixture(scope="module")
def server(
    site: Server, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("tls") / "log"
    limited = ("sh", "-c", f'ulimit -n {FILES} && exec "$0" "$@"', *COMMAND)
    tls = tls_settings(certificate)
    with serving(log, command=limited, REDIS_URL=site.store_url, **tls) as made:
        yield made
        assert "Traceback" not in made.said()
        assert "Too many open files" not in made.said()


async def status(server: Server, path: str, method: str = "GET", more: str = "") -> int:
    asked = request(path, f"{more}Connection: close\r\n", method)
    async with wire(server.url, asked) as made:
        return int((await made.head())[9:12])


@pytest.mark.parametrize("first", [*SILENT.values(), PAGE], ids=[*SILENT, "plain HTTP"])
async def test_operators_are_answered_beside_unfinished_handshakes(
    server: Server, editor: Editor, first: bytes
) -> None:
    blog = await editor.blog()
    entries = f"/api/blogs/{blog['slug']}/entries"
    body = '{"body":"Still here."}'
    post = f"Authorization: Bearer {await server.token()}\r\nContent-Type: application/json\r\n"
    async with contextlib.AsyncExitStack() as stack:
        for number in range(CROWD):
            plain = server.url.replace("https:", "http:")
            await stack.enter_async_context(wire(plain, first))
            if number % TURN == 0:
                await until(lambda: has_accepted(server.pid, server.port))
        await until(lambda: has_accepted(server.pid, server.port))
        for path in ("/healthz", "/readyz", "/desk/sign-in"):
            assert await status(server, path) == 200, path
        asked = request(entries, f"{post}Content-Length: {len(body)}\r\n", "POST") + body.encode()
        async with wire(server.url, asked) as made:
            assert b" 201 " in await made.head()

        async def page() -> bool:
            return await status(server, f"/blogs/{blog['slug']}") == 200

        await until(page)  # when a silent connection has had its second
    if first != PAGE:
        await until(lambda: "closed during the TLS handshake" in server.said())
    count = server.text("/metrics").partition("\nliveblog_connections ")[2].split("\n")[0]
    assert float(count) <= divided(FILES).connections + 1


async def test_operators_are_answered_again_after_a_crowd_in_one_turn(server: Server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        with frozen(server.pid):
            for _ in range(CROWD):
                plain = server.url.replace("https:", "http:")
                await stack.enter_async_context(wire(plain))
        await until(lambda: has_accepted(server.pid, server.port))
        for path in ("/healthz", "/readyz", "/desk/sign-in"):
            assert await status(server, path) == 200, path
