"""Announcements that are lost, repeated, late, or of another history: never a proof of anything."""

import random
import time
from collections.abc import Sequence
from functools import partial

import pytest
from kit.proxy import Proxy
from kit.stage import Show, Stage, repairs
from kit.waiting import SCALE, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTICED_S = 5.0


async def test_killed_pubsub_connections_lose_nothing_and_nobody_leaves(stage: Stage) -> None:
    async with stage.play("pub/sub connections killed, again and again") as show:
        for _ in range(5):
            assert show.store.client_kill_filter(_type="pubsub")
            await show.changes(4)
        show.over()
    assert show.reconnects() == 0


def unreliable(chance: random.Random) -> Sequence[float]:
    """Say when the copies of a message arrive: lost, on time, twice, late, or late and again."""
    return chance.choice(([], [0.0], [0.0, 0.0], [0.3], [0.05], [0.0, 0.7], [1.5]))


async def test_messages_lost_doubled_and_out_of_order_lose_nothing(stage: Stage) -> None:
    chance = random.Random(1)
    async with stage.play("messages lost, doubled, out of order") as show:
        for proxy in stage.proxies:
            proxy.fate = lambda _: unreliable(chance)
        await show.changes(60)
        for proxy in stage.proxies:
            proxy.fate = None
        show.over()
    assert show.reconnects() == show.resets() == 0


async def test_late_and_forged_messages_prove_nothing(stage: Stage) -> None:
    async with stage.play("late messages of an old primary, forged ones") as show:
        epoch = show.head().epoch
        for turn in range(6):
            for proxy in stage.proxies:
                for message in proxy.heard[-12:]:
                    proxy.say(message)
                    proxy.say(another_history(message, turn))
            await show.changes(4)
        show.over()
        assert show.head().epoch == epoch
    assert show.reconnects() == show.resets() == 0


def another_history(message: bytes, turn: int) -> bytes:
    """Return a message with offsets that are ahead, and checks that are wrong or missing."""
    *head, body, end = message.split(b"\r\n")
    place, _, record = body.partition(b"\n")
    epoch, first, last, previous, check = place.split(b" ")
    ahead = str(int(last) + 1 + turn).encode()
    forged = {
        0: b"%b %b %b %b %b" % (epoch, ahead, ahead, previous, check),
        1: b"%b %b %b %b %b" % (epoch, ahead, ahead, check, b"00000000"),
        2: b"%b %b %b %b %b" % (b"other1", first, last, previous, check),
        3: b"%b %b %b %b" % (epoch, first, last, previous),
        4: b"%b %b %b %b %b" % (epoch, first, ahead, previous, check),
        5: b"\xff\xfe",
    }[turn % 6]
    said = forged + b"\n" + record
    return b"\r\n".join([*head[:-1], b"$%d" % len(said), said, end])


# -- silence


async def _heard(stage: Stage, show: Show, since_s: float) -> float:
    """Return after how long all readers had the one change that was just made."""
    head = show.head()
    await until(lambda: not show.behind(head), 30)
    return time.monotonic() - since_s


def _has_heard_more(proxy: Proxy, than: int) -> bool:
    return len(proxy.heard) > than


async def test_a_silent_pubsub_is_noticed_within_5_s_on_an_idle_blog(stage: Stage) -> None:
    async with stage.play("pub/sub silent, on an idle blog") as show:
        await show.newsroom.rest()
        before = [repairs(server) for server in stage.servers]
        for proxy in stage.proxies:
            proxy.swallow_pubsub()
        began = time.monotonic()
        async with stage.servers[0].editor() as editor:
            await show.publish(editor)
        assert await _heard(stage, show, began) <= NOTICED_S * SCALE
        made = [repairs(server) - was for server, was in zip(stage.servers, before, strict=True)]
        # One for the gap; one after each subscription that was confirmed anew.
        assert all(1 <= count <= 2 for count in made), made
        show.over()
        show.newsroom.resume()
    assert show.reconnects() == 0


async def test_a_lost_message_is_noticed_at_the_next_and_repaired_once(stage: Stage) -> None:
    async with stage.play("one message lost, on a busy blog") as show:
        await show.newsroom.rest()
        await until(lambda: not show.behind())
        before = [repairs(server) for server in stage.servers]
        async with stage.servers[0].editor() as editor:
            heard = [len(proxy.heard) for proxy in stage.proxies]
            for proxy in stage.proxies:
                proxy.fate = lambda _: []
            await show.publish(editor)
            for proxy, before_it in zip(stage.proxies, heard, strict=True):
                await until(partial(_has_heard_more, proxy, before_it))
                proxy.fate = None
            began = time.monotonic()
            await show.publish(editor)
        assert await _heard(stage, show, began) <= NOTICED_S * SCALE
        made = [repairs(server) - was for server, was in zip(stage.servers, before, strict=True)]
        # One for the gap. The head check may have come between the store's change and its message.
        assert all(1 <= count <= 2 for count in made), made
        show.over()
        show.newsroom.resume()
    assert show.reconnects() == 0
