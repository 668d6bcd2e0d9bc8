"""Requests on the connections of `liveblog serve`, byte by byte: heads, bodies, upgrades, ends."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from kit.direct import DIRECT, direct_server
from kit.raw import UPGRADE, masked, request, wire
from kit.servers import Editor, Server


@pytest.fixture(scope="module", params=DIRECT)
def server(
    request: pytest.FixtureRequest, site: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a server with short heartbeats, once on asyncio and once on uvloop."""
    with direct_server(tmp_path_factory.mktemp("direct") / "log", request.param, site) as made:
        yield made


@pytest.fixture
async def blog(editor: Editor) -> Any:
    return await editor.blog()


@pytest.fixture
def live(blog: Any) -> str:
    """Return the path of the blog's stream."""
    return f"/blogs/{blog['slug']}/live"


BAD_HANDSHAKES = {
    "no upgrade": ("", "Upgrade"),
    "another upgrade": (UPGRADE.replace("websocket", "h2c", 1), "Upgrade"),
    "no connection": (UPGRADE.replace("Connection: Upgrade\r\n", ""), "Connection"),
    "no version": (UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", ""), "Version"),
    "an old version": (UPGRADE.replace("13", "8", 1), "Version"),
    "no key": (UPGRADE.replace("Sec-WebSocket-Key", "X"), "Key"),
    "a short key": (UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "Key"),
    "two keys": (UPGRADE + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Key"),
    "two hosts": (UPGRADE + "Host: other\r\n", "Host"),
    "a body": (UPGRADE + "Content-Length: 5\r\n", "body"),
    "a bad extension": (UPGRADE + "Sec-WebSocket-Extensions: ;;\r\n", "Extensions"),
    "a bad header": (UPGRADE + "Bad Header\x00: x\r\n", "HTTP"),
}


@pytest.mark.parametrize("what", BAD_HANDSHAKES)
async def test_handshake_gets_400_with_a_reason_when_it_is_invalid(
    server: Server, live: str, what: str
) -> None:
    headers, reason = BAD_HANDSHAKES[what]
    async with wire(server.url, request(live, headers)) as made:
        head, _, body = (await made.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert reason.encode() in body
        assert (b"sec-websocket-version: 13" in head) == ("version" in what)


PATHS = {"a stream": "/blogs/x/live?x=", "a page": "/blogs/x?x=", "an address": "/?x="}


@pytest.mark.parametrize("what", PATHS)
@pytest.mark.parametrize("cut", [0, 1_000])
async def test_first_head_gets_431_when_it_is_over_8_kib(
    server: Server, what: str, cut: int
) -> None:
    data = request(PATHS[what], "Cookie: " + "a" * 9_000 + "\r\n")
    async with wire(server.url, data[:cut]) as made:
        await made.send(data[cut:])
        assert (await made.rest()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("cut", [0, 1_000])
async def test_later_head_gets_431_when_it_is_over_8_kib(server: Server, cut: int) -> None:
    async with wire(server.url, request("/healthz")) as made:
        assert b" 200 " in await made.head()
        await made.reader.readexactly(len(b'{"status":"ok"}'))
        data = request("/", "Cookie: " + "a" * 9_000 + "\r\n")
        await made.send(data[:cut])
        await made.send(data[cut:])
        assert (await made.rest()).startswith(b"HTTP/1.1 431 ")


async def test_head_gets_431_at_8_kib_when_it_has_no_end(server: Server) -> None:
    for start in (b"GET /blogs/x/live HTTP/1.1\r\nA: ", b"GET /blogs/", b"GET / HTTP/1.1\r\nA: "):
        async with wire(server.url, start) as made:
            await made.send(b"a" * 9_000)
            assert (await made.rest()).startswith(b"HTTP/1.1 431 ")


async def test_head_limit_starts_over_when_a_request_is_complete(server: Server) -> None:
    asked = request("/healthz", f"Cookie: {'a' * 800}\r\nContent-Length: 9000\r\n")
    async with wire(server.url) as made:
        for _ in range(12):
            await made.send(asked + b"x" * 9_000)
            assert b" 200 " in await made.head()
            await made.reader.readexactly(len(b'{"status":"ok"}'))


async def test_long_head_closes_after_the_answers_when_it_is_pipelined(
    server: Server,
) -> None:
    long = request("/healthz", "Cookie: " + "a" * 20_000 + "\r\n")
    async with wire(server.url, request("/healthz") + long) as made:
        answer = await made.rest()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b'{"status":"ok"}')


CHUNKED = request("/healthz", "Transfer-Encoding: chunked\r\n", "POST")
ENDLESS = {
    "trailers": CHUNKED + b"0\r\n" + b"a:\r\n" * 5_000,
    "a trailer": CHUNKED + b"0\r\na: " + b"a" * 20_000,
    "an extension of a chunk": CHUNKED + b"1;a=" + b"a" * 20_000,
    "a target": b"GET /" + b"a" * 20_000,
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_connection_is_cut_off_when_a_part_has_no_end(server: Server, what: str) -> None:
    async with wire(server.url, ENDLESS[what]) as made:
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                await asyncio.sleep(0.02)  # so that the server reads several pieces
                await made.send(b"a" * 1_000)
        await made.rest()


async def test_connection_closes_without_a_word_when_nothing_is_asked(
    server: Server,
) -> None:
    async def rest(first: bytes) -> bytes:
        async with wire(server.url, first) as made:
            if first.startswith(b"GET"):
                await made.head()
                await made.reader.readexactly(len(b'{"status":"ok"}'))
                await made.send(b"\r\n")
            return await made.rest()

    firsts = (b"", b"\r\n", request("/healthz") + b"\r\n")
    assert await asyncio.gather(*map(rest, firsts)) == [b""] * 3


DRIBBLES = {
    "a stream": b"GET /blogs/x/live HTTP/1.1\r\nHost: x\r\n",
    "a page": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "a later request": request("/healthz") + b"GET /",
}


async def test_head_gets_408_after_5_s_when_it_comes_byte_by_byte(server: Server) -> None:
    loop = asyncio.get_running_loop()

    async def dribble(start: bytes) -> tuple[bytes, float]:
        started = loop.time()
        async with wire(server.url, start) as made:
            reading = asyncio.create_task(made.rest())
            with contextlib.suppress(ConnectionError):
                while not reading.done():
                    await made.send(b"a")
                    await asyncio.wait({reading}, timeout=0.25)
            return await reading, loop.time() - started

    for answer, took_s in await asyncio.gather(*map(dribble, DRIBBLES.values())):
        assert b" 408 " in answer
        assert took_s > 4.5


async def test_stream_opens_when_its_head_comes_in_pieces(server: Server, live: str) -> None:
    data = request(live, UPGRADE)
    async with wire(server.url) as made:
        for i in range(len(data)):
            await made.send(data[i : i + 1])
            await asyncio.sleep(0)
        assert b" 101 " in await made.head()
        assert json.loads(await made.frame_of(0x81))["t"] == "hello"


@pytest.mark.parametrize("cut", [0, 60])
async def test_upgrade_makes_a_direct_reader_when_the_connection_was_kept(
    server: Server, editor: Editor, blog: Any, live: str, cut: int
) -> None:
    async with wire(server.url, request("/healthz")) as made:
        assert b" 200 " in await made.head()
        await made.reader.readexactly(len(b'{"status":"ok"}'))
        data = request(live, UPGRADE + "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        await made.send(data[:cut])
        # The pause usually splits the server's read in two. The answer must not depend on that.
        await asyncio.sleep(0.05)
        await made.send(data[cut:])
        head = await made.head()
        assert b" 101 " in head
        assert b"server_no_context_takeover" in head  # uvicorn does not offer this
        await made.frame_of(0x81)
        await editor.publish(blog["slug"], "word " * 100)
        await made.frame_of(0xC1)


async def test_handshake_is_ignored_when_answers_are_owed(server: Server, live: str) -> None:
    owed, frame = request("/healthz"), masked(0x89, b"early")
    async with wire(server.url, owed + owed + request(live, UPGRADE) + frame) as made:
        answers = await made.rest()
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert answers.count(b'{"status":"ok"}') == 2
        assert b" 101 " not in answers


BODY = b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BODIES = {
    "a length": (f"Content-Length: {len(BODY)}\r\n", BODY),
    "chunks": ("Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_body_is_no_request_when_its_head_asks_to_upgrade(
    server: Server, site: Server, blog: Any, kind: str
) -> None:
    asking = "Connection: Upgrade\r\nUpgrade: h2c\r\n"
    length, body = BODIES[kind]
    async with wire(server.url, request("/healthz", asking + length, "POST") + body) as made:
        await made.send(request("/healthz", "Connection: close\r\n"))
        answers = await made.rest()
        assert (answers.count(b"HTTP/1.1 405 "), answers.count(b"HTTP/1.1 200 ")) == (1, 1)
        assert b"version" not in answers
    entry = b'{"body":"By curl --http2."}'
    given = f"Content-Type: application/json\r\nAuthorization: Bearer {await site.token()}\r\n"
    length = f"Content-Length: {len(entry)}\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n"
    post = request(f"/api/blogs/{blog['slug']}/entries", given + length, "POST") + entry
    async with wire(server.url, post) as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 201 ")


async def test_broken_body_is_refused_only_when_no_answer_has_started(server: Server) -> None:
    """A 400 must neither precede an earlier request's answer nor follow the request's own answer.

    In either case the client would assign the 400 to the wrong request.
    """
    chunked = request("/healthz", "Transfer-Encoding: chunked\r\n", "POST")
    async with wire(server.url, request("/healthz") + chunked + b"zz\r\n") as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 200 ")
    async with wire(server.url, chunked) as made:
        assert b" 405 " in await made.head()
        await made.send(b"zz\r\n")
        assert b"HTTP/1.1" not in await made.rest()


@pytest.mark.parametrize("count", [1, 5])
async def test_upgrade_is_ignored_when_its_protocol_is_unknown(server: Server, count: int) -> None:
    asked = request("/healthz", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")
    last = request("/healthz", "Connection: close\r\n")
    async with wire(server.url, asked * count + last) as made:
        answers = await made.rest()
        assert answers.count(b"HTTP/1.1 200 ") == answers.count(b'{"status":"ok"}') == count + 1


async def test_ping_is_answered_when_it_comes_with_the_end_of_the_handshake(
    server: Server, live: str
) -> None:
    handshake = request(live, UPGRADE)
    for cut in (60, len(handshake) - 2):
        async with wire(server.url, request("/healthz")) as made:
            assert b" 200 " in await made.head()
            await made.reader.readexactly(len(b'{"status":"ok"}'))
            await made.send(handshake[:cut])
            # The pause usually splits the server's read in two. The answer must not depend on that.
            await asyncio.sleep(0.05)
            await made.send(handshake[cut:] + masked(0x89, b"early"))
            assert b" 101 " in await made.head()
            assert await made.frame_of(0x8A) == b"early"


@pytest.mark.parametrize("cut", [0, 60])
async def test_handshake_gets_400_when_it_is_http_1_0(server: Server, live: str, cut: int) -> None:
    handshake = request(live, UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(server.url, request("/healthz") if cut else b"") as made:
        if cut:
            await made.head()
            await made.reader.readexactly(len(b'{"status":"ok"}'))
        await made.send(handshake[:cut])
        # The pause usually splits the server's read in two. The answer must not depend on that.
        await asyncio.sleep(0.05)
        await made.send(handshake[cut:])
        answer = await made.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"HTTP/1.1" in answer.partition(b"\r\n\r\n")[2]


async def test_events_have_no_chunks_when_the_request_is_http_1_0(
    server: Server, editor: Editor, blog: Any
) -> None:
    """nginx uses HTTP/1.0 by default."""
    asked = request(f"/blogs/{blog['slug']}/events").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(server.url, asked.replace(b"Host: 127.0.0.1\r\n", b"")) as made:
        head = await made.head()
        assert b" 200 " in head
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        await editor.publish(blog["slug"], "As it is.")
        hello = await made.reader.readuntil(b"\n\n")
        assert b'data: {"t":"hello"' in hello
        assert hello.startswith(b"id: ")
        while b'data: {"t":"changes"' not in (event := await made.reader.readuntil(b"\n\n")):
            assert b'data: {"t":"beat"' in event  # a beat may come before the change
        await editor.alter(blog["slug"], status="draft")
        rest = await made.rest()
        assert b'"t":"bye"' in rest
        assert rest.endswith(b"}\n\n")


@pytest.mark.parametrize("path", ["/", "/api/blogs", "/blogs/x/changes"])
async def test_request_gets_400_when_it_has_no_host_or_two(server: Server, path: str) -> None:
    one = request(path)
    without = one.replace(b"Host: 127.0.0.1\r\n", b"")
    for data in (without, request(path, "Host: other\r\n")):
        async with wire(server.url, data) as made:
            answer = await made.rest()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"Host" in answer.partition(b"\r\n\r\n")[2]
    async with wire(server.url, without.replace(b"HTTP/1.1", b"HTTP/1.0")) as made:
        assert not (await made.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/", "/blogs/x/events"])
async def test_http_1_0_request_gets_400_when_it_has_two_hosts(server: Server, path: str) -> None:
    two = request(path, "Host: other\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(server.url, two) as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 400 ")


async def test_half_closed_client_is_answered_when_its_request_is_whole(
    server: Server, blog: Any, site: Server
) -> None:
    body = b'{"body":"Sent, and the line closed."}'
    token = await site.token()
    head = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    path = f"/api/blogs/{blog['slug']}/entries"
    asked = request(path, f"{head}Content-Length: {len(body)}\r\n", "POST") + body
    async with wire(server.url, request("/healthz") + asked) as made:
        made.writer.write_eof()
        answers = await made.rest()
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 201 " in answers


async def test_half_closed_client_is_cut_off_when_its_request_is_not_whole(
    server: Server, editor: Editor, blog: Any, site: Server
) -> None:
    given = f"Content-Type: application/json\r\nAuthorization: Bearer {await site.token()}\r\n"
    length, body = "Content-Length: 13\r\n", b'{"body":"x"}'  # a byte is missing
    post = request(f"/api/blogs/{blog['slug']}/entries", given + length, "POST") + body
    for asked in (post, request("/healthz")[:-2]):
        async with wire(server.url, asked) as made:
            made.writer.write_eof()
            assert await made.rest() == b""
    assert not (await editor.ok("GET", f"/{blog['slug']}/entries"))["entries"]


async def test_events_are_direct_when_the_connection_was_kept(server: Server, blog: Any) -> None:
    async with wire(server.url, request("/healthz")) as made:
        await made.head()
        await made.reader.readexactly(len(b'{"status":"ok"}'))
        await made.send(request(f"/blogs/{blog['slug']}/events"))
        head = await made.head()
        # Of all streams, only those of live/direct.py have `connection: close`.
        assert b"connection: close" in head
        assert b"content-security-policy" in head
        assert b"date: " in head


async def test_other_requests_are_answered_as_by_uvicorn(server: Server) -> None:
    for data in (b"NONSENSE\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET /blogs/x/live HTTP/9\r\n\r\n"):
        async with wire(server.url, data + b"\r\n\r\n") as made:
            assert (await made.rest()).startswith(b"HTTP/1.1 400 ")
    for line in (b"CONNECT a:1 HTTP/1.1", b"GET http://[ HTTP/1.1"):
        async with wire(server.url, line + b"\r\nHost: a\r\n\r\n") as made:
            assert (await made.rest()).startswith(b"HTTP/1.1 400 ")
    async with wire(server.url, request("/", method="HEAD")) as made:
        assert b" 200 " in await made.head()
    for kept in range(3):
        async with wire(server.url, request("/healthz") * (kept + 1)) as made:
            for _ in range(kept + 1):
                assert b" 200 " in await made.head()
                await made.reader.readexactly(len(b'{"status":"ok"}'))
