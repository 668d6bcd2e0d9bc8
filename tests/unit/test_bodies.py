"""Bodies of editors' requests: their limits on size, time and memory together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from kit.virtual import in_virtual_time
from starlette.requests import Request
from starlette.types import Message

from liveblog.blog.problem import Problem
from liveblog.editors import bodies
from liveblog.editors.bodies import BODY_WAIT_S, Bodies, all_bodies

STUCK, GONE = b"(stuck)", b"(gone)"


def request(*chunks: bytes, length: str | None = None) -> Request:
    """Return a request whose body arrives in chunks; after STUCK nothing comes."""
    messages = _body(chunks)

    async def receive() -> Message:
        return await anext(messages)

    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def _body(chunks: Sequence[bytes]) -> AsyncIterator[Message]:
    for chunk in chunks:
        if chunk == GONE:
            yield {"type": "http.disconnect"}
        if chunk == STUCK:
            await asyncio.Event().wait()
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


def made(bytes_max: int = 1_000, body_max: int = 1_000, count_max: int = 0) -> Bodies:
    return Bodies(bytes_max, body_max, count_max)


async def status(reading: Any) -> int:
    """Return the status of the problem that a call raises."""
    with pytest.raises(Problem) as raised:
        await reading
    return raised.value.status


async def test_read_returns_a_body_of_the_limits_size() -> None:
    assert await made().read(request(b"12345", b"67890"), 10) == b"1234567890"
    assert await made(body_max=10).read(request(b"12345", b"67890")) == b"1234567890"


@pytest.mark.parametrize(
    ("chunks", "length"),
    [
        ([], "11"),
        ([], "9" * 5_000),
        ([b"12345", b"678901", b"never read"], None),
        ([b"12345678901"], "3"),
    ],
)
async def test_read_stops_with_413_when_the_body_is_too_long(
    chunks: list[bytes], length: str | None
) -> None:
    for one in (made(), made(body_max=10)):
        asked = request(*chunks, length=length)
        assert await status(one.read(asked, 10)) == 413
        assert one.held == 0
        if len(chunks) > 2:
            assert (await asked.receive())["body"] == b"never read"


async def test_read_raises_400_when_the_sender_disconnects() -> None:
    one = made()
    assert await status(one.read(request(b"1", GONE))) == 400
    assert one.held == 0


@in_virtual_time
async def test_read_raises_408_when_the_body_never_ends() -> None:
    one, loop = made(), asyncio.get_running_loop()
    assert await status(one.read(request(b"1", STUCK))) == 408
    assert loop.time() == pytest.approx(BODY_WAIT_S)
    assert one.held == 0


@in_virtual_time
async def test_announced_bytes_take_no_memory_until_they_arrive() -> None:
    one = made(bytes_max=1_000)
    stuck = [asyncio.create_task(one.read(request(STUCK, length="1000"))) for _ in range(9)]
    await asyncio.sleep(0.1)
    assert one.held == 0
    assert await one.read(request(b"x" * 1_000)) == b"x" * 1_000
    assert [await status(task) for task in stuck] == [408] * 9


@in_virtual_time
async def test_body_that_started_first_gets_503_when_the_memory_is_used() -> None:
    one = made(bytes_max=1_000)
    first, second, third = (
        asyncio.create_task(one.read(request(b"x" * 400, STUCK))) for _ in range(3)
    )
    await asyncio.sleep(0.1)
    assert first.done()
    assert not second.done()
    assert one.held == 800
    assert await one.read(request(b"y" * 900)) == b"y" * 900
    with pytest.raises(Problem) as raised:
        await first
    assert (raised.value.name, raised.value.retry_after_s) == ("busy", bodies.RETRY_AFTER_S)
    assert [await status(second), await status(third)] == [503, 503]
    assert one.held == 0


@in_virtual_time
async def test_bytes_are_dropped_when_they_come_after_the_body_was_ended() -> None:
    one, more = made(bytes_max=1_000), asyncio.Event()

    async def receive() -> Message:
        await more.wait()
        return {"type": "http.request", "body": b"x" * 900, "more_body": True}

    slow = asyncio.create_task(one.read(Request({"type": "http", "headers": []}, receive)))
    await asyncio.sleep(0.1)
    more.set()
    await one.read(request(b"y" * 600, b"y" * 400))
    assert await status(slow) in (413, 503)
    assert one.held == 0


@in_virtual_time
async def test_body_that_started_first_gets_503_when_too_many_are_unfinished() -> None:
    one = made(count_max=2)
    tasks = [asyncio.create_task(one.read(request(STUCK))) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert [task.done() for task in tasks] == [True, False, False]
    assert await one.read(request(b"whole")) == b"whole"
    assert [await status(task) for task in tasks] == [503, 503, 408]


@in_virtual_time
async def test_strangers_take_no_memory_from_editors() -> None:
    both = all_bodies()
    slow = [
        asyncio.create_task(both.strangers.read(request(b"x" * 500_000, STUCK))) for _ in range(60)
    ]
    await asyncio.sleep(0.1)
    assert both.strangers.held <= bodies.STRANGERS_BYTES_MAX
    megabyte = b"x" * (1 << 20)
    assert await both.editors.read(request(megabyte)) == megabyte
    assert await status(both.strangers.read(request(megabyte))) == 413
    assert {await status(task) for task in slow} == {408, 503}
