"""Every connection counts once, whatever its client does: random clients in virtual time."""

import random

import pytest
from kit.memory import Wire
from kit.raw import UPGRADE, masked, request
from kit.scenarios import EVENTS, LIVE, Site, after, play, site, turns

from liveblog.live.plain import ConnectionLimits

SENT = [
    *(request(path) for path in ("/", "/", "/", "/healthz", "/after/1", "/after/9", "/work")),
    request("/endless"),
    request("/") * 12,
    request("/").replace(b"1.1", b"1.0"),
    request("/early", "Content-Length: 5\r\n", "POST"),
    request("/", "Content-Length: 2000\r\n", "POST"),
    *(b"xx", b"xxx", b"x" * 1_000, b"\r\n", b"garbage\r\n\r\n"),
    *(request(path, UPGRADE) for path in (LIVE, LIVE, LIVE, "/blogs/none/live")),
    request(LIVE, f"Origin: https://evil.example\r\n{UPGRADE}"),
    request("/", UPGRADE.replace("websocket", "h2c", 1)),
    request(EVENTS),
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    *(masked(0x89, b"p"), masked(0x88, b"\x03\xe8")),
]
ADDRESSES = ["127.0.0.1", "203.0.113.1", "203.0.113.2"]


async def act(rng: random.Random, it: Site, wires: list[Wire]) -> None:
    """Let one client do something, or let time pass."""
    wire = rng.choice(wires[-3:])
    match rng.choices(["connect", "send", "leave", "half close", "read", "publish", "wait"],
                      [20, 50, 6, 4, 8, 5, 7])[0]:  # fmt: skip
        case "connect":
            room = rng.choice([0, 50, 300, 1 << 30])
            wires.append(
                it.connect(room=room, address=rng.choice(ADDRESSES), is_tls=rng.random() < 0.2)
            )
        case "send":
            data = rng.choice(SENT)
            cut = rng.choice([0, rng.randrange(len(data))])
            wire.send(data[:cut])
            if rng.random() < 0.5:
                await turns()
            wire.send(data[cut:])
        case "leave":
            wire.leave()
        case "half close":
            wire.half_close()
        case "read":
            wire.take(rng.choice([20, 1 << 20]))
        case "publish":
            await it.publish()
        case "wait":
            await after(rng.choice([0.1, 1, 5, 11, 31]))
    await turns()


def check(it: Site) -> None:
    plain = it.direct.plain
    assert len(plain.open) + it.door.count == len(it.kernel.open)
    assert plain.idle.keys() | plain.over.keys() <= plain.open.keys()
    assert sum(plain.addresses.values()) == sum(map(bool, plain.open.values()))


def check_nothing_is_left(it: Site) -> None:
    direct = it.direct
    plain = direct.plain
    assert [*plain.open, *plain.idle, *plain.over, *plain.addresses] == []
    assert (it.door.count, sum(it.door.readers.values()), it.state.connections) == (0, 0, set())
    assert [it.total for it in (direct.unread, direct.arrived, direct.pipelined)] == [0, 0, 0]
    deadlines = (direct.heads, direct.bodies, direct.closing, direct.undrained)
    assert [list(it.passed(all_of_them=True)) for it in deadlines] == [[]] * 4


@pytest.mark.parametrize("seed", range(80))
def test_connection_counts_once_whatever_its_client_does(seed: int) -> None:
    rng = random.Random(seed)
    limits = ConnectionLimits(
        files_max=rng.choice([0, 3, 6]), reserve=2, per_address_max=rng.choice([0, 2])
    )

    async def run() -> None:
        async with site(limits=limits, readers_max=rng.choice([0, 2])) as it:
            wires = [it.connect()]
            for _ in range(60):
                await act(rng, it, wires)
                check(it)
            for wire in wires:
                wire.leave()
            await after(120)
            check_nothing_is_left(it)

    play(run)
