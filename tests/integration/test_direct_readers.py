"""Readers whose sockets `liveblog serve` writes itself (live/direct.py), byte by byte.

Tests frames, file descriptors, proxies and TLS.
"""

import asyncio
import contextlib
import json
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.direct import DIRECT, direct_server, reading
from kit.proxies import certificate as certificate_in
from kit.raw import UPGRADE, Wire, masked, request, wire
from kit.readers import Target, changes, events, websocket
from kit.servers import COMMANDS, Editor, Server, serving, tls_settings
from kit.waiting import until

from liveblog.live import direct


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


# -- frames from readers


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
    server: Server, live: str, what: str
) -> None:
    data, code = WRONG[what]
    async with reading(server, live) as made:
        await made.send(data)
        assert await made.close_code() == code


async def test_reader_gets_its_code_when_it_sends_a_megabyte(server: Server, live: str) -> None:
    async with reading(server, live) as made:
        await made.send(b"\x82\xff" + (1 << 20).to_bytes(8, "big") + b"mask" + b"x" * (1 << 20))
        assert await made.close_code() == 1003


async def test_pong_has_the_payload_of_its_ping_when_it_comes_in_pieces(
    server: Server, live: str
) -> None:
    async with reading(server, live) as made:
        data = masked(0x89, b"a") + masked(0x8A) + masked(0x89, b"b" * 125)
        for at in range(0, len(data), 7):
            await made.send(data[at : at + 7])
        assert await made.frame_of(0x8A) == b"a"
        assert await made.frame_of(0x8A) == b"b" * 125


async def test_reader_gets_1008_when_it_floods_with_pings(server: Server, live: str) -> None:
    async with reading(server, live) as made:
        for _ in range(10):
            await made.send(masked(0x89, b"a" * 100) * 100)
        assert await made.close_code() == 1008


async def test_ping_limit_starts_over_when_a_ping_was_answered(server: Server, live: str) -> None:
    async with reading(server, live) as made:
        for _ in range(4):
            await made.send(masked(0x89, b"a" * 100) * 100)
            for _ in range(100):
                assert await made.frame_of(0x8A) == b"a" * 100
            await made.frame_of(0x89)
            await made.send(masked(0x8A))


async def test_beat_carries_a_ping(server: Server, live: str) -> None:
    async with reading(server, live) as made:
        assert json.loads(await made.frame_of(0x81))["t"] == "beat"
        assert await made.frame_of(0x89) == b""


async def test_event_reader_is_cut_off_when_it_sends_without_end(server: Server, blog: Any) -> None:
    async with wire(server.url, request(f"/blogs/{blog['slug']}/events")) as made:
        assert b" 200 " in await made.head()
        await made.send(b"x" * direct.RECEIVED_BYTES_MAX)
        assert b"hello" in await made.reader.readuntil(b"\n\n")
        await made.send(b"x")
        await made.rest()


async def test_readers_go_on_when_another_sends_garbage(
    server: Server, editor: Editor, blog: Any, live: str
) -> None:
    async with reading(server, live) as honest:
        for seed in range(60):
            data = bytes((seed * 37 + i * i * 11) % 256 for i in range(200))
            async with reading(server, live) as made:
                await made.send(data)
                await made.rest()
        published = await editor.publish(blog["slug"])
        while (frame := json.loads(await honest.frame_of(0x81)))["t"] != "changes":
            pass
        assert frame["position"] == published["position"]


def _asked(blog: Any, token: str) -> list[bytes]:
    """Return requests of all kinds, valid and broken, for `_ask_somehow` to choose from."""
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
    """Send some requests in pieces, sometimes with a byte altered; then leave in a random way."""
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
    server: Server, site: Server, editor: Editor, blog: Any, live: str
) -> None:
    asked, chance = _asked(await editor.blog(), await site.token()), random.Random(1)
    async with reading(server, live) as honest:

        async def many() -> None:
            for _ in range(100):
                await _ask_somehow(server.url, asked, chance)

        await asyncio.gather(*(many() for _ in range(10)))
        published = await editor.publish(blog["slug"])
        while (frame := json.loads(await honest.frame_of(0x81)))["t"] != "changes":
            pass
        assert frame["position"] == published["position"]
    await until(lambda: _are_all_gone(server))


async def _are_all_gone(server: Server) -> bool:
    async with wire(server.url, request("/metrics", "Connection: close\r\n")) as made:
        counted = re.findall(rb"\nliveblog_readers\{[^}]*\} (\S+)", await made.rest())
        return len(counted) == 2 and not any(map(float, counted))


# -- compression


async def test_compressed_frame_is_shared_and_small_frames_are_plain(
    server: Server, editor: Editor, blog: Any, live: str
) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with reading(server, live, offer) as one, reading(server, live, offer) as two:
        await editor.publish(blog["slug"], "The river rose above the second mark at noon. " * 20)
        packed = await one.frame_of(0xC1)
        assert packed == await two.frame_of(0xC1)
        assert len(packed) < 900
    async with websocket(Target(server.url, blog["slug"], since=blog["position"])) as stream:
        await stream.next("hello")
        assert (await stream.next("changes"))["from"] == 1


# -- slow readers


async def test_stalled_reader_gets_one_frame_to_the_top_when_it_reads_again(
    server: Server, editor: Editor, blog: Any, live: str
) -> None:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stalled.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stalled, ("127.0.0.1", int(server.url.rpartition(":")[2])))
    await loop.sock_sendall(stalled, request(f"{live}?since={blog['position']}", UPGRADE))
    async with reading(server, live) as quick:
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
    server: Server, editor: Editor
) -> None:
    """Readers of one blog connect and leave while strangers ask for `/healthz`.

    The kernel gives a reader's descriptor number to the next stranger. A stranger must get one HTTP
    answer and no frame.
    """
    blog = await editor.blog()
    path = f"/blogs/{blog['slug']}/live"
    done = asyncio.Event()

    async def come_and_go(i: int) -> None:
        while not done.is_set():
            async with wire(server.url, request(path, UPGRADE)) as made:
                assert b" 101 " in await made.head()
                if i % 2:  # a TCP reset, in place of an orderly end
                    raw = made.writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await asyncio.sleep(0)

    async def stranger() -> None:
        while not done.is_set():
            async with wire(server.url, request("/healthz", "Connection: close\r\n")) as made:
                answer = await made.rest()
                assert answer.startswith(b"HTTP/1.1 200 OK")
                assert answer.endswith(b'\r\n\r\n{"status":"ok"}')

    async def publish() -> None:
        entry = await editor.publish(blog["slug"])
        for i in range(60):
            entry = await editor.edit(entry, body=f"revision {i}")
        done.set()

    await asyncio.gather(publish(), *map(come_and_go, range(30)), *(stranger() for _ in range(10)))


# -- trusted proxies


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
            assert "FORWARDED_ALLOW_IPS" not in server.said()
            assert await kind("127.0.0.2", "203.0.113.3") == "hello"  # no proxy that is trusted
            for _ in range(2):
                assert await kind("127.0.0.2", "203.0.113.4") == "bye"
        [line] = [line for line in server.said().splitlines() if "X-Forwarded-For" in line]
        assert "readers refused: X-Forwarded-For or Forwarded from 127.0.0.2 was ignored" in line
        assert "add it to FORWARDED_ALLOW_IPS" in line


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_in(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("loop", DIRECT)
async def test_streams_and_pages_work_when_the_worker_serves_tls(
    site: Server, editor: Editor, tmp_path: Path, certificate: Path, loop: str
) -> None:
    blog = await editor.blog()
    with serving(
        tmp_path / "log",
        command=COMMANDS[loop],
        REDIS_URL=site.store_url,
        **tls_settings(certificate),
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


async def test_transports_give_the_same_changes(server: Server, editor: Editor, blog: Any) -> None:
    ask = Target(server.url, blog["slug"], since=blog["position"])
    await editor.publish(blog["slug"])
    given = []
    for open_stream in (websocket, events, changes):
        async with open_stream(ask) as stream:
            while (frame := await stream.next())["t"] == "hello":
                pass
            given.append(frame)
    assert given[0] == given[1] == given[2]
