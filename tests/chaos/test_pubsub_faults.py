"""Pub/sub messages that are lost, repeated, late, or do not belong to the blog's history."""

import random
import time
from collections.abc import Sequence
from functools import partial

import pytest
from kit.proxy import Proxy
from kit.stage import Show, Stage
from kit.waiting import SCALE, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTICED_S = 5.0


async def test_readers_stay_and_miss_nothing_when_pubsub_is_killed(stage: Stage) -> None:
    async with stage.play("pub/sub connections killed, again and again") as show:
        for _ in range(5):
            assert show.store.client_kill_filter(_type="pubsub")
            await show.changes(4)
        show.over()
    assert show.reconnects() == 0


def unreliable(chance: random.Random) -> Sequence[float]:
    """Return the delay of each copy of a message, in seconds; an empty list loses the message."""
    return chance.choice(([], [0.0], [0.0, 0.0], [0.3], [0.05], [0.0, 0.7], [1.5]))


async def test_readers_miss_nothing_when_messages_are_lost_or_reordered(stage: Stage) -> None:
    chance = random.Random(1)
    async with stage.play("messages lost, doubled, out of order") as show:
        for proxy in stage.proxies:
            proxy.fate = lambda _: unreliable(chance)
        await show.changes(60)
        for proxy in stage.proxies:
            proxy.fate = None
        show.over()
    assert show.reconnects() == show.resets() == 0


async def test_readers_miss_nothing_when_messages_are_late_or_forged(stage: Stage) -> None:
    async with stage.play("late messages of an old primary, forged ones") as show:
        epoch = show.head().epoch
        for turn in range(6):
            for proxy in stage.proxies:
                for message in proxy.announced[-12:]:
                    proxy.inject(message)
                    proxy.inject(another_history(message, turn))
            await show.changes(4)
        show.over()
        assert show.head().epoch == epoch
    assert show.reconnects() == show.resets() == 0


def another_history(message: bytes, turn: int) -> bytes:
    """Return a forged message; `turn` selects what is wrong: offsets, checks, epoch or all."""
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
    forged_body = forged + b"\n" + record
    return b"\r\n".join([*head[:-1], b"$%d" % len(forged_body), forged_body, end])


# -- silence


async def _caught_up_s(show: Show, since_s: float) -> float:
    """Wait until all readers have the store's last change; return the seconds since `since_s`."""
    head = show.head()
    await until(lambda: not show.behind(head), 30)
    return time.monotonic() - since_s


def _has_more(proxy: Proxy, than: int) -> bool:
    return len(proxy.announced) > than


async def test_worker_repairs_within_5_s_when_pubsub_falls_silent(stage: Stage) -> None:
    async with stage.play("pub/sub silent, on an idle blog") as show:
        await show.newsroom.rest()
        before = [proxy.repairs[show.slug] for proxy in stage.proxies]
        for proxy in stage.proxies:
            proxy.swallow_pubsub()
        began = time.monotonic()
        async with stage.servers[0].editor() as editor:
            await show.publish(editor)
        assert await _caught_up_s(show, began) <= NOTICED_S * SCALE
        made = [it.repairs[show.slug] - was for it, was in zip(stage.proxies, before, strict=True)]
        # A worker repairs the blog once for the missing change, and perhaps once more after it has
        # subscribed again.
        assert all(1 <= count <= 2 for count in made), made
        show.over()
        show.newsroom.resume()
    assert show.reconnects() == 0


async def test_worker_repairs_once_when_one_message_is_lost(stage: Stage) -> None:
    async with stage.play("one message lost, on a busy blog") as show:
        await show.newsroom.rest()
        await until(lambda: not show.behind())
        before = [proxy.repairs[show.slug] for proxy in stage.proxies]
        async with stage.servers[0].editor() as editor:
            heard = [len(proxy.announced) for proxy in stage.proxies]
            for proxy in stage.proxies:
                proxy.fate = lambda _: []
            await show.publish(editor)
            for proxy, before_it in zip(stage.proxies, heard, strict=True):
                await until(partial(_has_more, proxy, before_it))
                proxy.fate = None
            began = time.monotonic()
            await show.publish(editor)
        assert await _caught_up_s(show, began) <= NOTICED_S * SCALE
        made = [it.repairs[show.slug] - was for it, was in zip(stage.proxies, before, strict=True)]
        # A repair reads missing changes from the store. The second message shows the gap, so each
        # worker makes one repair. A worker makes another if it compared its position with the
        # store's before that message arrived.
        assert all(1 <= count <= 2 for count in made), made
        show.over()
        show.newsroom.resume()
    assert show.reconnects() == 0
