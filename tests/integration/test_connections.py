"""Direct connections of `liveblog serve`, byte by byte: heads, frames, upgrades, limits, ends."""

import asyncio
import contextlib
import json
import random
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from kit.raw import UPGRADE, Wire, masked, request, wire
from kit.readers import Target, changes, events, websocket
from kit.servers import LANES, Editor, Server, free_port, serving
from kit.sources import SLUG, FakeStore, Past, make_hub
from kit.waiting import until

from liveblog.live import direct
from liveblog.live.connections import Front, SocketReader
from liveblog.live.deadlines import Deadlines
from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.frame import Frame

DIRECT = ["direct", "direct on asyncio"]


@pytest.fixture(scope="module", params=DIRECT)
def lane(
    request: pytest.FixtureRequest, site: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server on each event loop, with short heartbeats; nothing may leave a traceback in its log."""
    with serving(
        tmp_path_factory.mktemp("lane") / "log",
        command=LANES[request.param],
        REDIS_URL=site.store_url,
        LIVEBLOG_HEARTBEAT_S="0.25",
    ) as server:
        yield server
        assert "Traceback" not in server.said()


@pytest.fixture
async def blog(editor: Editor) -> Any:
    return await editor.blog()


@pytest.fixture
def live(blog: Any) -> str:
    """The path of the blog's stream."""
    return f"/blogs/{blog['slug']}/live"


@contextlib.asynccontextmanager
async def reading(server: Server, path: str, headers: str = "") -> AsyncIterator[Wire]:
    """Yield a reader that has heard `hello`."""
    async with wire(server.url, request(path, UPGRADE + headers)) as made:
        assert b" 101 " in await made.head()
        assert json.loads(await made.frame_of(0x81))["t"] == "hello"
        yield made


# -- heads


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
    lane: Server, live: str, what: str
) -> None:
    headers, reason = BAD_HANDSHAKES[what]
    async with wire(lane.url, request(live, headers)) as made:
        head, _, body = (await made.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert reason.encode() in body
        assert (b"sec-websocket-version: 13" in head) == ("version" in what)


PATHS = {"a stream": "/blogs/x/live?x=", "a page": "/blogs/x?x=", "an address": "/?x="}


@pytest.mark.parametrize("what", PATHS)
@pytest.mark.parametrize("cut", [0, 1_000])
async def test_first_head_gets_431_when_it_is_over_8_kib(lane: Server, what: str, cut: int) -> None:
    data = request(PATHS[what], "Cookie: " + "a" * 9_000 + "\r\n")
    async with wire(lane.url, data[:cut]) as made:
        await made.send(data[cut:])
        assert (await made.rest()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("cut", [0, 1_000])
async def test_later_head_gets_431_when_it_is_over_8_kib(lane: Server, cut: int) -> None:
    async with wire(lane.url, request("/healthz")) as made:
        assert b" 200 " in await made.head()
        await made.reader.readexactly(len(b'{"status":"ok"}'))
        data = request("/", "Cookie: " + "a" * 9_000 + "\r\n")
        await made.send(data[:cut])
        await made.send(data[cut:])
        assert (await made.rest()).startswith(b"HTTP/1.1 431 ")


async def test_head_gets_431_at_8_kib_when_it_has_no_end(lane: Server) -> None:
    for begin in (b"GET /blogs/x/live HTTP/1.1\r\nA: ", b"GET /blogs/", b"GET / HTTP/1.1\r\nA: "):
        async with wire(lane.url, begin) as made:
            await made.send(b"a" * 9_000)
            assert (await made.rest()).startswith(b"HTTP/1.1 431 ")


async def test_head_limit_starts_over_when_a_request_is_complete(lane: Server) -> None:
    asked = request("/healthz", f"Cookie: {'a' * 800}\r\nContent-Length: 9000\r\n")
    async with wire(lane.url) as made:
        for _ in range(12):
            await made.send(asked + b"x" * 9_000)
            assert b" 200 " in await made.head()
            await made.reader.readexactly(len(b'{"status":"ok"}'))


async def test_long_head_closes_after_the_answers_when_it_is_pipelined(
    lane: Server,
) -> None:
    long = request("/healthz", "Cookie: " + "a" * 20_000 + "\r\n")
    async with wire(lane.url, request("/healthz") + long) as made:
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
async def test_connection_is_cut_off_when_a_part_has_no_end(lane: Server, what: str) -> None:
    async with wire(lane.url, ENDLESS[what]) as made:
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                await asyncio.sleep(0.02)  # so that it comes in several pieces
                await made.send(b"a" * 1_000)
        await made.rest()


async def test_connection_closes_without_a_word_when_nothing_is_asked(
    lane: Server,
) -> None:
    async def rest(first: bytes) -> bytes:
        async with wire(lane.url, first) as made:
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


async def test_head_gets_408_after_5_s_when_it_comes_byte_by_byte(lane: Server) -> None:
    loop = asyncio.get_running_loop()

    async def dribble(begin: bytes) -> tuple[bytes, float]:
        started = loop.time()
        async with wire(lane.url, begin) as made:
            reading = asyncio.create_task(made.rest())
            with contextlib.suppress(ConnectionError):
                while not reading.done():
                    await made.send(b"a")
                    await asyncio.wait({reading}, timeout=0.25)
            return await reading, loop.time() - started

    for answer, took_s in await asyncio.gather(*map(dribble, DRIBBLES.values())):
        assert b" 408 " in answer
        assert took_s > 4.5


async def test_stream_opens_when_its_head_comes_in_pieces(lane: Server, live: str) -> None:
    data = request(live, UPGRADE)
    async with wire(lane.url) as made:
        for i in range(len(data)):
            await made.send(data[i : i + 1])
            await asyncio.sleep(0)
        assert b" 101 " in await made.head()
        assert json.loads(await made.frame_of(0x81))["t"] == "hello"


@pytest.mark.parametrize("cut", [0, 60])
async def test_upgrade_makes_a_direct_reader_when_the_connection_was_kept(
    lane: Server, editor: Editor, blog: Any, live: str, cut: int
) -> None:
    async with wire(lane.url, request("/healthz")) as made:
        assert b" 200 " in await made.head()
        await made.reader.readexactly(len(b'{"status":"ok"}'))
        data = request(live, UPGRADE + "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        await made.send(data[:cut])
        await asyncio.sleep(0.05)  # so that the halves arrive apart; either way must do
        await made.send(data[cut:])
        head = await made.head()
        assert b" 101 " in head
        assert b"server_no_context_takeover" in head  # uvicorn's own protocol does not offer it
        await made.frame_of(0x81)
        await editor.publish(blog["slug"], "word " * 100)
        await made.frame_of(0xC1)


async def test_handshake_is_ignored_when_answers_are_owed(
    lane: Server, live: str
) -> None:
    owed, frame = request("/healthz"), masked(0x89, b"early")
    async with wire(lane.url, owed + owed + request(live, UPGRADE) + frame) as made:
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
    lane: Server, site: Server, blog: Any, kind: str
) -> None:
    asking = "Connection: Upgrade\r\nUpgrade: h2c\r\n"
    length, body = BODIES[kind]
    async with wire(lane.url, request("/healthz", asking + length, "POST") + body) as made:
        await made.send(request("/healthz", "Connection: close\r\n"))
        answers = await made.rest()
        assert (answers.count(b"HTTP/1.1 405 "), answers.count(b"HTTP/1.1 200 ")) == (1, 1)
        assert b"version" not in answers
    entry = b'{"body":"By curl --http2."}'
    given = f"Content-Type: application/json\r\nAuthorization: Bearer {await site.token()}\r\n"
    length = f"Content-Length: {len(entry)}\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n"
    post = request(f"/api/blogs/{blog['slug']}/entries", given + length, "POST") + entry
    async with wire(lane.url, post) as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 201 ")


async def test_broken_body_is_refused_only_when_no_answer_has_started(lane: Server) -> None:
    """Else the refusal would be taken for the answer to an earlier request, or be a second one."""
    chunked = request("/healthz", "Transfer-Encoding: chunked\r\n", "POST")
    async with wire(lane.url, request("/healthz") + chunked + b"zz\r\n") as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 200 ")
    async with wire(lane.url, chunked) as made:
        assert b" 405 " in await made.head()
        await made.send(b"zz\r\n")
        assert b"HTTP/1.1" not in await made.rest()


@pytest.mark.parametrize("count", [1, 5])
async def test_upgrade_is_ignored_when_its_protocol_is_unknown(
    lane: Server, count: int
) -> None:
    asked = request("/healthz", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")
    last = request("/healthz", "Connection: close\r\n")
    async with wire(lane.url, asked * count + last) as made:
        answers = await made.rest()
        assert answers.count(b"HTTP/1.1 200 ") == answers.count(b'{"status":"ok"}') == count + 1


async def test_ping_is_answered_when_it_comes_with_the_end_of_the_handshake(
    lane: Server, live: str
) -> None:
    handshake = request(live, UPGRADE)
    for cut in (60, len(handshake) - 2):
        async with wire(lane.url, request("/healthz")) as made:
            assert b" 200 " in await made.head()
            await made.reader.readexactly(len(b'{"status":"ok"}'))
            await made.send(handshake[:cut])
            await asyncio.sleep(0.05)  # so that the pieces arrive apart; either way must do
            await made.send(handshake[cut:] + masked(0x89, b"early"))
            assert b" 101 " in await made.head()
            assert await made.frame_of(0x8A) == b"early"


@pytest.mark.parametrize("cut", [0, 60])
async def test_handshake_gets_400_when_it_is_http_1_0(lane: Server, live: str, cut: int) -> None:
    handshake = request(live, UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(lane.url, request("/healthz") if cut else b"") as made:
        if cut:
            await made.head()
            await made.reader.readexactly(len(b'{"status":"ok"}'))
        await made.send(handshake[:cut])
        await asyncio.sleep(0.05)  # so that the pieces arrive apart; either way must do
        await made.send(handshake[cut:])
        answer = await made.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"HTTP/1.1" in answer.partition(b"\r\n\r\n")[2]


async def test_events_have_no_chunks_when_the_request_is_http_1_0(
    lane: Server, editor: Editor, blog: Any
) -> None:
    """As nginx asks for them, unless it is told to speak HTTP/1.1."""
    asked = request(f"/blogs/{blog['slug']}/events").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(lane.url, asked.replace(b"Host: 127.0.0.1\r\n", b"")) as made:
        head = await made.head()
        assert b" 200 " in head
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        await editor.publish(blog["slug"], "As it is.")
        hello = await made.reader.readuntil(b"\n\n")
        assert b'data: {"t":"hello"' in hello
        assert hello.startswith(b"id: ")
        changes = await made.reader.readuntil(b"\n\n")
        assert b'data: {"t":"changes"' in changes
        await editor.alter(blog["slug"], status="draft")
        rest = await made.rest()
        assert b'"t":"bye"' in rest
        assert rest.endswith(b"}\n\n")


@pytest.mark.parametrize("path", ["/", "/api/blogs", "/blogs/x/changes"])
async def test_request_gets_400_when_it_has_no_host_or_two(lane: Server, path: str) -> None:
    one = request(path)
    without = one.replace(b"Host: 127.0.0.1\r\n", b"")
    for data in (without, request(path, "Host: other\r\n")):
        async with wire(lane.url, data) as made:
            answer = await made.rest()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"Host" in answer.partition(b"\r\n\r\n")[2]
    async with wire(lane.url, without.replace(b"HTTP/1.1", b"HTTP/1.0")) as made:
        assert not (await made.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/", "/blogs/x/events"])
async def test_http_1_0_request_gets_400_when_it_has_two_hosts(lane: Server, path: str) -> None:
    two = request(path, "Host: other\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(lane.url, two) as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 400 ")


async def test_half_closed_client_is_answered_when_its_request_is_whole(
    lane: Server, blog: Any, site: Server
) -> None:
    body = b'{"body":"Sent, and the line closed."}'
    token = await site.token()
    head = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    path = f"/api/blogs/{blog['slug']}/entries"
    asked = request(path, f"{head}Content-Length: {len(body)}\r\n", "POST") + body
    async with wire(lane.url, request("/healthz") + asked) as made:
        made.writer.write_eof()
        answers = await made.rest()
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 201 " in answers


async def test_half_closed_client_is_cut_off_when_its_request_is_not_whole(
    lane: Server, editor: Editor, blog: Any, site: Server
) -> None:
    given = f"Content-Type: application/json\r\nAuthorization: Bearer {await site.token()}\r\n"
    length, body = "Content-Length: 13\r\n", b'{"body":"x"}'  # a byte is missing
    post = request(f"/api/blogs/{blog['slug']}/entries", given + length, "POST") + body
    for asked in (post, request("/healthz")[:-2]):
        async with wire(lane.url, asked) as made:
            made.writer.write_eof()
            assert await made.rest() == b""
    assert not (await editor.ok("GET", f"/{blog['slug']}/entries"))["entries"]


async def test_events_are_direct_when_the_connection_was_kept(lane: Server, blog: Any) -> None:
    async with wire(lane.url, request("/healthz")) as made:
        await made.head()
        await made.reader.readexactly(len(b'{"status":"ok"}'))
        await made.send(request(f"/blogs/{blog['slug']}/events"))
        head = await made.head()
        assert b"connection: close" in head  # which only the direct ones say
        assert b"content-security-policy" in head
        assert b"date: " in head


async def test_other_requests_are_answered_as_by_uvicorn(lane: Server) -> None:
    for data in (b"NONSENSE\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET /blogs/x/live HTTP/9\r\n\r\n"):
        async with wire(lane.url, data + b"\r\n\r\n") as made:
            assert (await made.rest()).startswith(b"HTTP/1.1 400 ")
    for line in (b"CONNECT a:1 HTTP/1.1", b"GET http://[ HTTP/1.1"):
        async with wire(lane.url, line + b"\r\nHost: a\r\n\r\n") as made:
            assert (await made.rest()).startswith(b"HTTP/1.1 400 ")
    async with wire(lane.url, request("/", method="HEAD")) as made:
        assert b" 200 " in await made.head()
    for kept in range(3):
        async with wire(lane.url, request("/healthz") * (kept + 1)) as made:
            for _ in range(kept + 1):
                assert b" 200 " in await made.head()
                await made.reader.readexactly(len(b'{"status":"ok"}'))


# -- what readers send


WRONG = {
    "a text": (masked(0x81, b"hi"), 1003),
    "an empty text": (masked(0x81), 1003),
    "a binary": (masked(0x82, b"hi"), 1003),
    "a fragment": (masked(0x01, b"hi"), 1003),
    "a huge text, only its header": (b"\x81\xff\x00\x00\x00\x00\x7f\xff\xff\xff", 1003),
    "a continuation": (masked(0x80, b"hi"), 1002),
    "an unmasked ping": (b"\x89\x00", 1002),
    "a reserved opcode": (masked(0x83), 1002),
    "a reserved bit": (masked(0xA9), 1002),
    "a long ping": (b"\x89\xfe\x00\x7e", 1002),
    "a fragmented ping": (masked(0x09), 1002),
    "a close of one byte": (masked(0x88, b"x"), 1002),
    "a close with a forbidden code": (masked(0x88, b"\x03\xed"), 1002),
    "a close that is not UTF-8": (masked(0x88, b"\x03\xe8\xff"), 1007),
    "a close": (masked(0x88, b"\x03\xe8bye"), 1000),
}


@pytest.mark.parametrize("what", WRONG)
async def test_reader_gets_the_right_code_when_it_breaks_the_protocol(
    lane: Server, live: str, what: str
) -> None:
    data, code = WRONG[what]
    async with reading(lane, live) as made:
        await made.send(data)
        assert await made.close_code() == code


async def test_reader_gets_its_code_when_it_sends_a_megabyte(lane: Server, live: str) -> None:
    async with reading(lane, live) as made:
        await made.send(b"\x82\xff" + (1 << 20).to_bytes(8, "big") + b"mask" + b"x" * (1 << 20))
        assert await made.close_code() == 1003


async def test_pong_has_the_payload_of_its_ping_when_it_comes_in_pieces(
    lane: Server, live: str
) -> None:
    async with reading(lane, live) as made:
        data = masked(0x89, b"a") + masked(0x8A) + masked(0x89, b"b" * 125)
        for at in range(0, len(data), 7):
            await made.send(data[at : at + 7])
        assert await made.frame_of(0x8A) == b"a"
        assert await made.frame_of(0x8A) == b"b" * 125


async def test_reader_gets_1008_when_it_floods_with_pings(lane: Server, live: str) -> None:
    async with reading(lane, live) as made:
        for _ in range(10):
            await made.send(masked(0x89, b"a" * 100) * 100)
        assert await made.close_code() == 1008


async def test_ping_limit_starts_over_when_a_ping_was_answered(
    lane: Server, live: str
) -> None:
    async with reading(lane, live) as made:
        for _ in range(4):
            await made.send(masked(0x89, b"a" * 100) * 100)
            for _ in range(100):
                assert await made.frame_of(0x8A) == b"a" * 100
            await made.frame_of(0x89)
            await made.send(masked(0x8A))


async def test_beat_carries_a_ping(lane: Server, live: str) -> None:
    async with reading(lane, live) as made:
        assert json.loads(await made.frame_of(0x81))["t"] == "beat"
        assert await made.frame_of(0x89) == b""


async def test_event_reader_is_cut_off_when_it_sends_without_end(
    lane: Server, blog: Any
) -> None:
    async with wire(lane.url, request(f"/blogs/{blog['slug']}/events")) as made:
        assert b" 200 " in await made.head()
        await made.send(b"x" * direct.RECEIVED_BYTES_MAX)
        assert b"hello" in await made.reader.readuntil(b"\n\n")
        await made.send(b"x")
        await made.rest()


async def test_readers_go_on_when_another_sends_garbage(
    lane: Server, editor: Editor, blog: Any, live: str
) -> None:
    async with reading(lane, live) as honest:
        for seed in range(60):
            data = bytes((seed * 37 + i * i * 11) % 256 for i in range(200))
            async with reading(lane, live) as made:
                await made.send(data)
                await made.rest()
        published = await editor.publish(blog["slug"])
        while (frame := json.loads(await honest.frame_of(0x81)))["t"] != "changes":
            pass
        assert frame["position"] == published["position"]


def _asked(blog: Any, token: str) -> list[bytes]:
    """Return requests of all kinds, whole and broken, which may follow each other."""
    at, entry = f"/blogs/{blog['slug']}", b'{"body":"x"}'
    may = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    post = request(f"/api{at}/entries", f"{may}Content-Length: {len(entry)}\r\n", "POST") + entry
    events = request(f"{at}/events")
    return [
        *(request(path) for path in ("/", "/healthz", at, f"{at}/changes", "/desk/", "/nothing")),
        *(events, b"\r\n" + events, events.replace(b"1.1", b"1.0", 1)),
        request(f"{at}/live", UPGRADE) + masked(0x89, b"hi") + masked(0x8A),
        *(request(f"{at}/live?since=x", UPGRADE), request("/blogs/nothing/live", UPGRADE)),
        *(post, post[:-1], post.replace(b'"x"', b"x")),
        request("/healthz", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        request("/", "Transfer-Encoding: chunked\r\n", "POST") + b"1\r\nx\r\n0\r\nA: b\r\n\r\n",
        *(
            request("/", "Host: other\r\n"),
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02",
        ),
        request("/", "X: " + "a" * 9_000 + "\r\n"),
        *(masked(0x81, b"hi"), masked(0x88, b"\x03\xe8")),
    ]


async def _ask_somehow(url: str, asked: list[bytes], chance: random.Random) -> None:
    """Send some of it in pieces, a byte of it altered, and end the connection in some way."""
    data = bytearray(b"".join(chance.choices(asked, k=chance.choice((1, 1, 2, 3, 6)))))
    if chance.random() < 0.25:
        data[chance.randrange(len(data))] = chance.randrange(256)
    size = chance.choice((7, 60, 500, len(data)))
    async with wire(url) as made:
        with contextlib.suppress(OSError, TimeoutError):
            for at in range(0, len(data), size):
                await made.send(bytes(data[at : at + size]))
            end = chance.choice(("take some", "half-close", "reset", "leave"))
            if end == "half-close":
                made.writer.write_eof()
            if end == "reset":
                made.writer.transport.abort()
            elif end != "leave":
                async with asyncio.timeout(chance.choice((0.01, 0.1))):
                    await made.reader.read(1 << 20)


async def test_readers_go_on_when_clients_ask_and_leave_in_any_way(
    lane: Server, site: Server, editor: Editor, blog: Any, live: str
) -> None:
    asked, chance = _asked(await editor.blog(), await site.token()), random.Random(1)
    async with reading(lane, live) as honest:

        async def many() -> None:
            for _ in range(100):
                await _ask_somehow(lane.url, asked, chance)

        await asyncio.gather(*(many() for _ in range(10)))
        published = await editor.publish(blog["slug"])
        while (frame := json.loads(await honest.frame_of(0x81)))["t"] != "changes":
            pass
        assert frame["position"] == published["position"]
    await until(lambda: _are_all_gone(lane))


async def _are_all_gone(server: Server) -> bool:
    async with wire(server.url, request("/metrics", "Connection: close\r\n")) as made:
        counted = re.findall(rb"\nliveblog_readers\{[^}]*\} (\S+)", await made.rest())
        return len(counted) == 2 and not any(map(float, counted))


# -- compression


async def test_compressed_frame_is_shared_and_small_frames_are_plain(
    lane: Server, editor: Editor, blog: Any, live: str
) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with reading(lane, live, offer) as one, reading(lane, live, offer) as two:
        await editor.publish(blog["slug"], "The river rose above the second mark at noon. " * 20)
        packed = await one.frame_of(0xC1)
        assert packed == await two.frame_of(0xC1)
        assert len(packed) < 900
    async with websocket(Target(lane.url, blog["slug"], since=blog["position"])) as stream:
        await stream.next("hello")
        assert (await stream.next("changes"))["from"] == 1


# -- slow readers


async def test_stalled_reader_gets_one_frame_to_the_top_when_it_reads_again(
    lane: Server, editor: Editor, blog: Any, live: str
) -> None:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stalled.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stalled, ("127.0.0.1", int(lane.url.rpartition(":")[2])))
    await loop.sock_sendall(stalled, request(f"{live}?since={blog['position']}", UPGRADE))
    async with reading(lane, live) as quick:
        entry = await editor.publish(blog["slug"], "first")
        for i in range(24):
            entry = await editor.edit(entry, body=f"revision {i} " + "word " * 3_000)
        at = 1
        while at < 26:
            frame = json.loads(await quick.frame_of(0x81))
            at = int(frame["position"].split(".")[1]) if frame["t"] == "changes" else at
    reader, writer = await asyncio.open_connection(sock=stalled)
    slow, at, count = Wire(reader, writer), 1, 0
    assert b" 101 " in await slow.head()
    while at < 26:
        frame = json.loads(await slow.frame_of(0x81))
        if frame["t"] == "changes":
            assert frame["from"] == at
            at, count = int(frame["position"].split(".")[1]), count + 1
    assert count < 25
    writer.close()


# -- descriptors


async def test_frame_reaches_no_stranger_when_a_descriptor_is_reused(
    lane: Server, editor: Editor
) -> None:
    """Readers of one blog come and go while others ask for something else: numbers are given again.

    What a stranger gets is one HTTP answer and nothing of the blog's.
    """
    blog = await editor.blog()
    path = f"/blogs/{blog['slug']}/live"
    done = asyncio.Event()

    async def come_and_go(i: int) -> None:
        while not done.is_set():
            async with wire(lane.url, request(path, UPGRADE)) as made:
                assert b" 101 " in await made.head()
                if i % 2:  # a reset, in place of an orderly end
                    raw = made.writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await asyncio.sleep(0)

    async def stranger() -> None:
        while not done.is_set():
            async with wire(lane.url, request("/healthz", "Connection: close\r\n")) as made:
                answer = await made.rest()
                assert answer.startswith(b"HTTP/1.1 200 OK")
                assert answer.endswith(b'\r\n\r\n{"status":"ok"}')

    async def publish() -> None:
        entry = await editor.publish(blog["slug"])
        for i in range(60):
            entry = await editor.edit(entry, body=f"revision {i}")
        done.set()

    await asyncio.gather(publish(), *map(come_and_go, range(30)), *(stranger() for _ in range(10)))


# -- who asks


async def test_readers_count_by_forwarded_address_when_the_proxy_is_trusted(
    site: Server, editor: Editor, tmp_path: Path
) -> None:
    blog = await editor.blog()
    with serving(
        tmp_path / "log", REDIS_URL=site.store_url, LIVEBLOG_READERS_PER_ADDRESS_MAX="1"
    ) as server:
        ask = Target(server.url, blog["slug"])

        async def kind(address: str, forwarded: str) -> str:
            headers = {"x-forwarded-for": forwarded}
            asked = Target(ask.url, ask.slug, headers=headers, address=address)
            stream = await stack.enter_async_context(websocket(asked))
            return str((await stream.next())["t"])

        async with contextlib.AsyncExitStack() as stack:
            assert await kind("127.0.0.1", "203.0.113.1") == "hello"
            assert await kind("127.0.0.1", "203.0.113.2") == "hello"
            assert await kind("127.0.0.1", "198.51.100.1, 203.0.113.2") == "bye"
            assert await kind("127.0.0.2", "203.0.113.3") == "hello"  # no proxy that is trusted
            assert await kind("127.0.0.2", "203.0.113.4") == "bye"


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    files = ["-keyout", str(directory / "key"), "-out", str(directory / "cert")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return directory


@pytest.mark.parametrize("loop", DIRECT)
async def test_streams_and_pages_work_when_the_worker_serves_tls(
    site: Server, editor: Editor, tmp_path: Path, certificate: Path, loop: str
) -> None:
    blog = await editor.blog()
    with serving(
        tmp_path / "log",
        command=LANES[loop],
        REDIS_URL=site.store_url,
        LIVEBLOG_TLS_CERT=str(certificate / "cert"),
        LIVEBLOG_TLS_KEY=str(certificate / "key"),
    ) as server:
        path = f"/blogs/{blog['slug']}/live?since={blog['position']}"
        origin = f"Origin: {server.url}\r\n".replace(server.url, "https://127.0.0.1")
        async with wire(server.url, request(path, UPGRADE + origin)) as made:
            assert b" 101 " in await made.head()
            entry = await editor.publish(blog["slug"])
            for i in range(40):
                entry = await editor.edit(entry, body=f"revision {i} " + "word " * 3_000)
            at = 1
            while at < 42:
                frame = json.loads(await made.frame_of(0x81))
                assert frame["t"] in ("hello", "changes", "beat")
                if frame["t"] == "changes":
                    assert frame["from"] == at
                    at = int(frame["position"].split(".")[1])
            await made.send(masked(0x81, b"hi"))
            assert await made.close_code() == 1003
        async with wire(server.url, request("/", "Connection: close\r\n")) as made:
            assert (await made.rest()).startswith(b"HTTP/1.1 200 ")
        async with wire(server.url, request(f"/blogs/{blog['slug']}/events")) as made:
            assert b" 200 " in await made.head()


# -- in one process, with the limits in reach


PAGE_BYTES = 16 * 1024 * 1024


class App:
    """An application: `/page` is long, `/short` not, `/body` waits for one, `/` does not end."""

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
    """A server in a process whose signals are pytest's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def small(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[uvicorn.Server, DirectTransport, str]]:
    """A server with direct connections in this process, and what it is made of."""
    monkeypatch.setattr(direct, "UNDRAINED_S", 0.5)
    monkeypatch.setattr(direct, "CLOSING_S", 0.5)
    monkeypatch.setattr(direct, "BODY_S", 0.5)
    past = Past()
    past.publish()
    hub = make_hub(FakeStore(past))
    lane = DirectTransport(Door(hub))
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
    monkeypatch.setattr("uvicorn.lifespan.off.LifespanOff.__init__", _with_state(lane))
    tasks = [asyncio.create_task(work) for work in (server.serve(), lane.run(), hub.run())]
    await until(lambda: server.started)
    yield server, lane, f"http://127.0.0.1:{config.port}"
    server.should_exit = True
    await tasks[0]
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    await hub.close()


def _with_state(lane: DirectTransport) -> Any:
    def init(self: Any, _: Any) -> None:
        self.should_exit, self.state = False, {"direct": lane}

    return init


async def _behind(lane: DirectTransport) -> SocketReader:
    """Return the one reader there is, when so much was written that its socket is full."""
    await until(lambda: lane.door.hub.count() == 1)
    (reader,) = lane.door.hub.lives[SLUG].followers
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
    """Of a page whose answer is made, and waits for a peer that reads slowly."""
    server, lane, url = small
    lane.undrained = Deadlines(30, lane.clock)
    lane.closing = Deadlines(30, lane.clock)
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
    else:  # by the application, in its turn
        assert after.startswith(b"\r\n0\r\n\r\nHTTP/1.1 200 ")
    assert not lane.door.hub.count()


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
    _, lane, url = small

    async def fault(_: str) -> Any:
        raise ValueError("a fault")

    monkeypatch.setattr(lane.door.hub, "live", fault)
    async with wire(url, request("/blogs/other/live", UPGRADE)) as made:
        assert b" 101 " in await made.head()
        assert json.loads(await made.frame_of(0x81))["t"] == "bye"
        assert await made.close_code() == 1011
    await until(lambda: lane.door.count == 0)


async def test_reader_gets_the_last_pong_only_when_it_is_behind(small: Any) -> None:
    _, lane, url = small
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE), limit=1_000) as made:
        reader = await _behind(lane)
        await made.send(masked(0x89, b"first") + masked(0x89, b"last"))
        await until(lambda: reader._pong)
        await made.head()
        assert await made.frame_of(0x8A) == b"last"


async def test_long_frame_is_shared_when_many_readers_reconnect(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lane, url = small
    written: list[list[bytes]] = []
    uncork = SocketReader.uncork

    def look(self: SocketReader) -> None:
        written.append(list(self._corked or ()))
        uncork(self)

    monkeypatch.setattr(SocketReader, "uncork", look)
    live = await lane.door.hub.live(SLUG)
    assert live
    monkeypatch.setattr(live, "_make_frame", lambda *_: Frame(b"x" * 100_000))
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
    _, lane, url = small
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE)) as made:
        await made.head()
        await until(lambda: lane.door.count == 1)
        await lane.door.hub.drain(0)
        assert (await made.rest())[-2:] == (4001).to_bytes(2, "big")
        await until(lambda: lane.door.count == 0)
    assert lane.door.closes == {4001: 1}


async def test_reader_holds_no_task_no_timer_and_no_uvicorn_connection(
    small: Any,
) -> None:
    server, lane, url = small
    tasks = len(asyncio.all_tasks())
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE)) as made:
        await made.head()
        await until(lambda: lane.door.hub.count() == 1)
        await until(lambda: len(asyncio.all_tasks()) == tasks)
        assert not server.server_state.connections
        (reader,) = lane.door.hub.lives[SLUG].followers
        assert not hasattr(reader, "__dict__")
    await until(lambda: lane.door.hub.count() == 0)
    assert lane.door.closes == {1006: 1}


async def test_descriptor_is_open_when_connection_lost_is_called(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `DirectReader` relies on: only after `connection_lost` may the number be another's."""
    _, lane, url = small
    seen: list[bool] = []
    lost = SocketReader.connection_lost

    def look(self: SocketReader, exc: Exception | None) -> None:
        raw = self._transport.get_extra_info("socket")
        seen.append(raw is not None and raw.fileno() >= 0)
        lost(self, exc)

    monkeypatch.setattr(SocketReader, "connection_lost", look)
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE)) as made:
        await made.head()
        await until(lambda: lane.door.count == 1)
    await until(lambda: lane.door.count == 0)
    assert seen == [True]


async def test_reader_leaves_no_traceback_when_it_is_behind_and_rude(
    small: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A pong is owed, the close waits behind a full socket, and then the reader reads on."""
    _, lane, url = small
    async with wire(url, request(f"/blogs/{SLUG}/live", UPGRADE), limit=1) as made:
        reader = await _behind(lane)
        await made.send(masked(0x89, b"owed"))
        await until(lambda: reader._pong)
        await made.send(masked(0x81))
        await until(lambda: reader.is_ending)
        await made.rest()
    await until(lambda: lane.door.count == 0)
    assert not [record for record in caplog.records if record.exc_info]


async def test_door_counts_accepts_and_closes(small: Any) -> None:
    _, lane, url = small
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
    await until(lambda: lane.door.count == 0)
    assert lane.door.accepts == {"accepted": 1, "handshake": 1, "gone": 1, "origin": 1}
    assert lane.door.closes == {1001: 1, 4504: 1, 4500: 1}


async def test_transports_give_the_same_changes(lane: Server, editor: Editor, blog: Any) -> None:
    ask = Target(lane.url, blog["slug"], since=blog["position"])
    await editor.publish(blog["slug"])
    told = []
    for open_stream in (websocket, events, changes):
        async with open_stream(ask) as stream:
            while (frame := await stream.next())["t"] == "hello":
                pass
            told.append(frame)
    assert told[0] == told[1] == told[2]
