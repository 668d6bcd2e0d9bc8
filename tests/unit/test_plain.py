"""Limits on plain connections: idle ones make room, a reserve stays, refused ones count."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from kit.memory import Wire
from kit.raw import UPGRADE, request
from kit.scenarios import EVENTS, LIVE, PROXY, Site, after, play, site, turns
from kit.sources import SLUG

from liveblog.live import direct
from liveblog.live.backlog import PIPELINED_BODY_BYTES_MAX, PIPELINED_MAX
from liveblog.live.direct import BODY_S, CLOSING_S, CLOSING_SHORT_S, SWEEP_S
from liveblog.live.plain import (
    ADDRESS,
    FULL,
    HEADLESS_S,
    LOG_AGAIN_S,
    SLOW_S,
    ConnectionLimits,
    PlainConnections,
)

PAGE = request("/")
HEALTH = request("/healthz")
FOR_OPERATORS = [
    request("/healthz"),
    request("/readyz?full=1"),
    request("/metrics"),
    request("/version"),
    request("/api/blogs", method="POST"),
    request(f"/api/blogs/{SLUG}/entries", method="PATCH"),
    request("/desk"),
    request("/desk/sign-in", method="POST"),
    b"GET http://live.example/desk HTTP/1.1\r\nHost: live.example\r\n\r\n",
]
FOR_READERS = [
    request("/"),
    request("/apiary"),
    request("/desks"),
    request("/blogs/api"),
    request("/?/desk"),
    request("/static/desk"),
    request("/healthz2"),
    b"GET http://live.example/ HTTP/1.1\r\nHost: live.example\r\n\r\n",
]


def limits(files: int = 4, reserve: int = 2, **more: int) -> ConnectionLimits:
    return ConnectionLimits(files_max=files, reserve=reserve, **more)


def busy(it: Site) -> Wire:
    """Return a connection whose answer takes long."""
    return it.connect(request("/after/9"))


def status(wire: Wire) -> bytes:
    return bytes(wire.received[9:12])


def scenario(body: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        play(body)

    test.__name__ = body.__name__
    return test


@scenario
async def test_longest_idle_connection_is_closed_when_a_new_one_needs_its_place() -> None:
    async with site(limits=limits()) as it:
        kept = [it.connect(PAGE) for _ in range(4)]
        await turns()
        kept[0].send(PAGE)  # now the second one is idle the longest
        await turns()
        made = it.connect(PAGE)
        await turns()
        assert status(made) == b"200"
        assert [wire.is_over for wire in kept] == [False, True, True, False]
        assert it.direct.plain.closed == {"idle": 2}
        assert len(it.direct.plain.open) == 3


@scenario
async def test_reserve_becomes_free_again_when_its_connections_are_idle() -> None:
    async with site(limits=limits(files=4, reserve=4)) as it:
        for wire in [it.connect() for _ in range(8)]:
            wire.send(HEALTH)
        await turns()
        assert len(it.direct.plain.open) == 8
        for _ in range(8):
            it.connect(HEALTH)
            await turns()
        assert len(it.direct.plain.open) <= 4


@scenario
async def test_connection_is_not_idle_when_its_answer_is_not_read() -> None:
    async with site(limits=limits(files=1)) as it:
        slow = it.connect(PAGE, room=20)
        await turns()
        refused = it.connect(PAGE)
        assert status(refused) == b"503"
        await turns()
        slow.take()
        await turns()
        assert status(it.connect(PAGE)) == b""
        await turns()
        assert slow.is_over
        assert it.direct.plain.closed == {"idle": 1}


@scenario
async def test_connection_is_idle_again_when_a_body_ends_after_its_answer() -> None:
    async with site(limits=limits(files=1)) as it:
        wire = it.connect(request("/early", "Content-Length: 2\r\n", "POST"))
        await turns()
        assert status(wire) == b"200"
        assert not it.direct.plain.idle
        wire.send(b"xx")
        assert it.direct.plain.idle
        for _ in range(3):  # longer than CLOSING_S, and each pause shorter than the keep-alive time
            await after(CLOSING_S / 2)
            wire.send(PAGE)
        await turns()
        assert wire.received.count(b" 200 ") == 4


@scenario
async def test_connection_is_cut_off_when_its_body_outlasts_the_answer() -> None:
    async with site() as it:
        wire = it.connect(request("/early", "Content-Length: 2\r\n", "POST"))
        await after(CLOSING_S)
        assert wire.is_over
        assert BODY_S > CLOSING_S


@pytest.mark.parametrize("asked", FOR_OPERATORS)
def test_operator_is_answered_from_the_reserve_when_all_places_are_busy(asked: bytes) -> None:
    async def run() -> None:
        async with site(limits=limits(files=2)) as it:
            others = [busy(it), busy(it)]
            made = it.connect()
            for i in range(len(asked)):
                made.send(asked[i : i + 1])
            await turns()
            assert status(made) == b"200"
            assert not any(wire.is_over for wire in others)

    play(run)


@pytest.mark.parametrize("asked", FOR_READERS)
def test_reader_gets_503_when_all_places_are_busy(asked: bytes) -> None:
    async def run() -> None:
        async with site(limits=limits(files=2)) as it:
            busy(it), busy(it)
            made = it.connect(asked)
            assert status(made) == b"503"
            assert b"retry-after: 2" in made.head()
            assert b"connection: close" in made.head()
            await turns()
            assert made.is_over
            assert it.direct.plain.refused == {FULL: 1}

    play(run)


@scenario
async def test_stream_is_refused_with_its_code_when_all_places_are_busy() -> None:
    async with site(limits=limits(files=2)) as it:
        busy(it), busy(it)
        assert (await it.read(LIVE)).code() == 4002
        events = await it.read(EVENTS)
        assert b'"t":"bye"' in events.received
        assert not it.door.count
        assert it.direct.plain.refused == {FULL: 2}


@scenario
async def test_reserve_makes_no_streams_when_health_is_asked_first() -> None:
    async with site(limits=limits(files=2)) as it:
        busy(it), busy(it)
        wire = it.connect(HEALTH)
        await turns()
        wire.send(request(EVENTS))
        await turns()
        assert b'"bye"' in wire.received
        assert not it.door.count


@scenario
async def test_stream_takes_a_place_of_all_connections() -> None:
    async with site(limits=limits(files=3)) as it:
        readers = [await it.read() for _ in range(2)]
        assert not it.direct.plain.open
        busy(it)
        assert status(it.connect(PAGE)) == b"503"
        await turns()
        readers[0].leave()
        await turns()
        made = it.connect(PAGE)
        await turns()
        assert status(made) == b"200"


@scenario
async def test_first_silent_connection_is_closed_when_a_new_one_needs_its_place() -> None:
    async with site(limits=limits(files=2)) as it:
        silent = [it.connect(), it.connect(b"GET /slow HT")]
        await asyncio.sleep(HEADLESS_S)
        for wire in silent:
            made = busy(it)
            await turns()
            assert wire.is_over
            assert not made.received
        assert it.direct.plain.closed == {"waiting": 2}


@scenario
async def test_refused_streams_lose_their_places_when_clients_do_not_close() -> None:
    async with site(limits=limits(files=3)) as it:
        refused = [it.connect(request("/blogs/unknown/live", UPGRADE)) for _ in range(3)]
        await turns()
        assert not any(wire.is_over for wire in refused)
        await asyncio.sleep(CLOSING_SHORT_S + SWEEP_S)
        made = it.connect(PAGE)
        await turns()
        assert status(made) == b"200"
        assert it.direct.plain.closed == {"closing": 3}


@pytest.mark.parametrize(
    ("asked", "room"), [(request("/", "Content-Length: 9\r\n", "POST"), 1_000), (PAGE, 0)]
)
def test_first_slow_connection_is_closed_when_a_new_one_needs_its_place(
    asked: bytes, room: int
) -> None:
    async def run() -> None:
        async with site(limits=limits(files=2)) as it:
            slow = [it.connect(asked, room=room) for _ in range(2)]
            await asyncio.sleep(SLOW_S - 1)
            assert status(it.connect(PAGE)) == b"503"
            await asyncio.sleep(1)
            for wire in slow:
                made = busy(it)
                await turns()
                assert wire.is_over
                assert not made.received
            assert it.direct.plain.closed == {"slow": 2}

    play(run)


@scenario
async def test_health_is_answered_when_silent_connections_take_the_reserve() -> None:
    async with site(limits=limits(files=2, reserve=2)) as it:
        for _ in range(20):
            it.connect()
        wire = it.connect(HEALTH)
        await turns()
        assert status(wire) == b"200"
        assert len(it.direct.plain.open) <= 4


@scenario
async def test_connection_is_refused_at_once_when_the_reserve_is_busy_too() -> None:
    async with site(limits=limits(files=1, reserve=1)) as it:
        busy(it)
        it.connect(request("/desk/9"))
        setattr(it.direct.heads, "_since", {})  # noqa: B010 - as if both had sent their heads
        it.direct.plain.idle.clear()
        wire = it.connect()
        assert status(wire) == b"503"
        assert it.direct.plain.refused == {FULL: 1}
        await turns()
        assert wire.is_over


@scenario
async def test_address_has_a_limit_and_refused_connections_count_until_closed() -> None:
    async with site(limits=limits(files=100, per_address_max=2)) as it:
        mine = [it.connect(PAGE, address="203.0.113.1") for _ in range(2)]
        await turns()
        stuck = it.connect(PAGE, address="203.0.113.1", room=0)
        assert it.direct.plain.refused == {ADDRESS: 1}
        assert it.direct.plain.addresses == {"203.0.113.1": 3}
        mine[0].leave()
        await turns()
        again = it.connect(HEALTH, address="203.0.113.1")  # `stuck` still has a descriptor
        assert status(again) == b"503"
        other = it.connect(PAGE, address="203.0.113.2")
        await turns()
        assert status(other) == b"200"
        await after(CLOSING_S)
        assert stuck.is_over
        last = it.connect(PAGE, address="203.0.113.1")
        await turns()
        assert status(last) == b"200"


@scenario
async def test_networks_of_one_ipv6_customer_count_as_one_address() -> None:
    async with site(limits=limits(files=100, per_address_max=1)) as it:
        it.connect(PAGE, address="2001:db8::1")
        assert status(it.connect(PAGE, address="2001:db8::2")) == b"503"
        streams = await it.read(LIVE, address="2001:db8::3")
        assert streams.code() == 4004


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", PROXY])
def test_proxy_and_this_machine_have_no_limit(address: str) -> None:
    async def run() -> None:
        async with site(limits=limits(files=100, per_address_max=1)) as it:
            for _ in range(5):
                wire = it.connect(PAGE, address=address)
                await turns()
                assert status(wire) == b"200"
            assert not it.direct.plain.addresses

    play(run)


@scenario
async def test_stream_stops_counting_as_a_plain_connection_of_its_address() -> None:
    async with site(limits=limits(files=100, per_address_max=1)) as it:
        for _ in range(3):
            reader = await it.read(LIVE, address="203.0.113.1")
            assert reader.kinds() == ["hello"]


@scenario
async def test_stream_is_not_idle_when_its_head_comes_in_pieces_later() -> None:
    async with site(limits=limits(files=2)) as it:
        wire = it.connect(PAGE)
        await turns()
        handshake = request(LIVE, UPGRADE)
        wire.send(handshake[:30])
        wire.send(handshake[30:])
        await turns()
        assert not it.direct.plain.idle
        busy(it), busy(it)  # the second one gets no place
        await asyncio.sleep(30)  # longer than the keep-alive time
        assert not wire.is_over
        assert it.door.count == 1


# -- requests in advance, answers that are not read, bodies


@scenario
async def test_connection_closes_after_its_answers_when_it_asks_for_too_many() -> None:
    async with site() as it:
        wire = it.connect(PAGE * 300)
        await turns()
        assert wire.received.count(b" 200 ") == PIPELINED_MAX + 1
        assert wire.is_over
        assert it.direct.plain.closed == {"pipelined": 1}
        assert not it.direct.pipelined.total


@scenario
async def test_client_that_reads_its_answers_may_ask_in_advance() -> None:
    async with site() as it:
        wire = it.connect(PAGE * PIPELINED_MAX)
        for _ in range(20):
            await turns()
            wire.send(PAGE * PIPELINED_MAX)
        await turns()
        assert wire.received.count(b" 200 ") == 21 * PIPELINED_MAX


@scenario
async def test_body_sent_in_advance_has_a_limit() -> None:
    async with site() as it:
        size = PIPELINED_BODY_BYTES_MAX + 1
        wire = it.connect(PAGE + request("/", f"Content-Length: {size}\r\n", "POST") + b"x" * size)
        await turns()
        assert wire.received.count(b" 200 ") == 1
        assert it.direct.plain.closed == {"pipelined": 1}
        await after(BODY_S)
        assert wire.is_over


def in_all(name: str, most: int, body: Callable[[Site], Awaitable[None]]) -> None:
    """Play a scenario with another limit of live/direct.py."""

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(direct, name, most)
            async with site() as it:
                await body(it)

    play(run)


def test_first_connections_are_cut_off_when_too_many_ask_in_advance() -> None:
    async def body(it: Site) -> None:
        wires = [it.connect(request("/after/1") * 5) for _ in range(4)]
        await turns()
        assert [wire.is_over for wire in wires] == [True, True, False, False]
        assert it.direct.pipelined.total == 8
        await after(6)
        assert [wire.received.count(b" 200 ") for wire in wires] == [0, 0, 5, 5]

    in_all("PIPELINED_IN_ALL_MAX", 10, body)


def test_first_connections_are_cut_off_when_unread_answers_take_too_much() -> None:
    async def body(it: Site) -> None:
        wires = [it.connect(PAGE, room=0) for _ in range(4)]
        await turns()
        held = it.direct.unread.total // 2
        assert [wire.is_over for wire in wires] == [True, True, False, False]
        assert held == len(wires[-1].buffer)
        wires[-1].take()
        await turns()
        assert status(wires[-1]) == b"200"
        assert it.direct.unread.total == held

    in_all("UNREAD_BYTES_MAX", 110, body)


SMALL = request("/after/1", "Content-Length: 1\r\n", "POST") + b"x"


@pytest.mark.parametrize("more", [b"", PAGE, SMALL], ids=["nothing", "a page", "a body"])
def test_body_counts_until_it_is_taken_when_more_is_sent_in_advance(more: bytes) -> None:
    async def body(it: Site) -> None:
        whole = request("/after/1", "Content-Length: 900\r\n", "POST") + b"x" * 900
        wires = [it.connect(whole + more) for _ in range(4)]
        await turns()
        assert [wire.is_over for wire in wires] == [True, True, False, False]
        await after(2)
        assert not it.direct.arrived.total

    in_all("ARRIVED_BYTES_MAX", 2_000, body)


def test_first_connections_are_cut_off_when_unread_bodies_take_too_much() -> None:
    async def body(it: Site) -> None:
        head = request("/after/1", "Content-Length: 1000\r\n", "POST")
        wires = [it.connect(head + b"x" * 900) for _ in range(4)]
        await turns()
        assert [wire.is_over for wire in wires] == [True, True, False, False]
        await after(1)
        assert not it.direct.arrived.total  # the application has taken the bytes
        for wire in wires[2:]:
            wire.send(b"x" * 100)
        await turns()
        assert [status(wire) for wire in wires[2:]] == [b"200", b"200"]

    in_all("ARRIVED_BYTES_MAX", 2_000, body)


@scenario
async def test_body_holds_no_more_bytes_when_the_application_has_taken_them() -> None:
    async with site() as it:
        wire = it.connect(request("/work", "Content-Length: 1000\r\n", "POST"))
        await turns()  # the application waits for the body
        for _ in range(2):
            wire.send(b"x" * 500)
            assert it.direct.arrived.total
            await turns()
            assert not it.direct.arrived.total
        wire.leave()


@scenario
async def test_reading_pauses_when_the_application_does_not_take_a_body() -> None:
    async with site() as it:
        wire = it.connect(request("/after/1", "Content-Length: 30000\r\n", "POST") + b"x")
        for _ in range(29):
            wire.send(b"x" * 1_000)
        assert it.direct.arrived.total == 1
        await after(1)
        wire.send(b"x" * 999)
        await turns()
        assert status(wire) == b"200"


# -- the log


def test_each_limit_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    plain = PlainConnections(limits(files=724, per_address_max=7))
    plain.report(0, 0)
    assert not caplog.messages
    plain.closed["idle"] += 3
    plain.report(1, 24)
    plain.closed["idle"] += 4
    plain.report(1 + LOG_AGAIN_S / 2, 24)
    (line,) = caplog.messages
    assert line.startswith("connections: 3 closed as idle, the longest idle first: 700 places")
    assert line.endswith("24 streams take the other open files; raise `ulimit -n`")
    plain.refused[ADDRESS] += 1
    plain.report(1 + LOG_AGAIN_S, 24)
    assert len(caplog.messages) == 3
    assert caplog.messages[1].startswith(
        "connections: 1 refused: more than LIVEBLOG_CONNECTIONS_PER"
    )
    assert caplog.messages[2].startswith("connections: 4 closed as idle")


@pytest.mark.parametrize("why", [FULL, "waiting", "idle"])
def test_log_names_the_setting_when_the_setting_is_the_limit(
    why: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = PlainConnections(limits(files=724, plain_max=50))
    plain.closed[why] += 1
    plain.report(0, 0)
    assert "50 places" in caplog.text
    assert caplog.text.endswith("were taken; the limit is LIVEBLOG_CONNECTIONS_MAX\n")
