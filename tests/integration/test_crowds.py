"""A server that may open few files, beside more connections than it has files."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from kit.processes import TURN, has_accepted
from kit.raw import UPGRADE, Wire, request, wire
from kit.servers import COMMAND, Editor, Server, serving
from kit.waiting import until

from liveblog.editors.bodies import SIGN_IN_BODY_BYTES_MAX, STRANGERS_MAX
from liveblog.live.backlog import PIPELINED_MAX
from liveblog.process import divided
from liveblog.tasks import stop

FILES = 128
CROWD = 200
LIMITED = ("sh", "-c", f'ulimit -n {FILES} && exec "$0" "$@"', *COMMAND)
FORM = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def server(site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("crowds") / "log"
    with serving(log, command=LIMITED, REDIS_URL=site.store_url) as made:
        yield made
        assert "Traceback" not in made.said()
        assert "Too many open files" not in made.said()


@pytest.fixture
async def blog(editor: Editor) -> Any:
    return await editor.blog()


@contextlib.asynccontextmanager
async def crowd(server: Server, first: bytes, count: int = CROWD) -> AsyncIterator[list[Wire]]:
    """Connect clients that send the bytes `first`, one after the other."""
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for number in range(1, count + 1):
            opened.append(await stack.enter_async_context(wire(server.url, first)))
            if number % TURN == 0 or number == count:
                await until(lambda: has_accepted(server.pid, server.port))
        yield opened


async def ask(server: Server, path: str, headers: str = "", body: bytes = b"") -> bytes:
    """Return the whole answer to a request on a new connection."""
    more = f"{headers}Connection: close\r\n"
    if body:
        more += f"Content-Length: {len(body)}\r\n"
    async with wire(server.url, request(path, more, "POST" if body else "GET") + body) as made:
        return await made.rest()


async def publish(server: Server, slug: str) -> bytes:
    headers = f"Authorization: Bearer {await server.token()}\r\nContent-Type: application/json\r\n"
    return await ask(server, f"/api/blogs/{slug}/entries", headers, b'{"body":"Still here."}')


async def check_operators(server: Server, slug: str) -> None:
    """Check that health, desk and API answer."""
    for path in ("/healthz", "/readyz", "/desk/sign-in"):
        assert (await ask(server, path)).startswith(b"HTTP/1.1 200 "), path
    assert (await publish(server, slug)).startswith(b"HTTP/1.1 201 ")


def metric(server: Server, name: str) -> int:
    found = re.search(
        rf"^liveblog_{re.escape(name)} ([0-9.]+)$", server.text("/metrics"), re.MULTILINE
    )
    return int(float(found[1])) if found else 0


async def test_pages_publishing_and_health_go_on_beside_idle_connections(
    server: Server, blog: Any
) -> None:
    before = metric(server, 'connections_closed_total{why="idle"}')
    async with crowd(server, request("/healthz")) as kept:
        for made in kept[-10:]:
            assert b" 200 " in await made.head()
        await check_operators(server, blog["slug"])
        page = await ask(server, f"/blogs/{blog['slug']}")
        assert page.startswith(b"HTTP/1.1 200 ")
        assert b"Still here." in page
        assert metric(server, "connections") <= divided(FILES).connections + 1
        assert metric(server, 'connections_closed_total{why="idle"}') - before >= CROWD - FILES
        assert b'{"status":"ok"}' in await kept[0].rest()  # the first was closed, without an error
    await until(lambda: "closed as idle, the longest idle first" in server.said())
    assert "raise `ulimit -n`" in server.said()


@pytest.mark.parametrize("first", [b"", b"GET /blogs/", b"GET / HTTP/1.1\r\nHost: x\r\nCookie: "])
async def test_operators_are_answered_beside_connections_without_a_request(
    server: Server, blog: Any, first: bytes
) -> None:
    async with crowd(server, first):
        await check_operators(server, blog["slug"])

        async def page() -> bool:
            return (await ask(server, "/")).startswith(b"HTTP/1.1 200 ")

        await until(page)  # when a silent connection has had its second


async def test_reserve_answers_operators_when_all_places_are_busy(
    server: Server, blog: Any
) -> None:
    slug = blog["slug"]
    # Before the end of these forms the server asks no store, whose connections would take files.
    slow = request("/desk/sign-in", FORM + CHUNKED, "POST") + b"5\r\nname=\r\n"
    room = divided(FILES).connections
    async with crowd(server, slow, room):
        await until(lambda: metric(server, "connections") > room)
        # First, because a slow body loses its place after SLOW_S.
        page = await ask(server, f"/blogs/{slug}")
        assert page.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 2" in page
        async with wire(server.url, request(f"/blogs/{slug}/live", UPGRADE)) as reader:
            assert b" 101 " in await reader.head()
            await reader.frame_of(0x81)
            assert await reader.close_code() == 4002
        await check_operators(server, slug)
        assert metric(server, 'connections_refused_total{why="full"}') >= 2
    await until(lambda: "refused:" in server.said())


async def test_connection_gets_a_few_answers_when_it_asks_300_times_in_advance(
    server: Server, blog: Any
) -> None:
    async with wire(server.url, request(f"/blogs/{blog['slug']}") * 300) as made:
        answer = await made.rest()
    assert answer.count(b"HTTP/1.1 200 ") == PIPELINED_MAX + 1


@pytest.mark.parametrize("framing", ["a length", "chunks"])
async def test_sign_in_gets_413_when_its_form_is_over_8_kb(server: Server, framing: str) -> None:
    size = SIGN_IN_BODY_BYTES_MAX + 1
    if framing == "a length":
        asked = request("/desk/sign-in", f"{FORM}Content-Length: {size}\r\n", "POST")
    else:
        chunk = b"%x\r\n" % size + b"a" * size + b"\r\n"
        asked = request("/desk/sign-in", FORM + CHUNKED, "POST") + chunk
    async with wire(server.url, asked) as made:
        assert b" 413 " in await made.head()


@pytest.mark.parametrize("path", ["/desk/sign-in", "/desk/blogs/moon/entries"])
async def test_sign_in_is_answered_beside_slow_forms(site: Server, path: str) -> None:
    slow, over = request(path, FORM + CHUNKED, "POST") + b"5\r\nname=\r\n", 2
    async with crowd(site, slow, STRANGERS_MAX + over) as forms, all_heads(forms) as heads:
        # Forms are read in the order in which the store answers about their senders.
        await until(lambda: len(answered(heads)) >= over)
        answer = await ask(site, "/desk/sign-in", FORM, b"name=dana&password=not-this-one")
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert len(answered(heads)) <= over + 1  # the form that was answered took a place, too
        for head in answered(heads):
            assert b" 503 " in head
            assert b"retry-after" in head


@contextlib.asynccontextmanager
async def all_heads(wires: list[Wire]) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Read the next answer of each connection, at once, until the block ends."""
    heads = [asyncio.create_task(it.head()) for it in wires]
    try:
        yield heads
    finally:
        await stop(heads)


def answered(heads: list[asyncio.Task[bytes]]) -> list[bytes]:
    return [it.result() for it in heads if it.done()]


async def test_stranger_gets_401_before_its_body_is_read(site: Server) -> None:
    asked = request("/api/blogs", "Content-Length: 1000000\r\nAuthorization: Bearer no\r\n", "POST")
    async with wire(site.url, asked) as made:
        assert (await made.rest()).startswith(b"HTTP/1.1 401 ")
