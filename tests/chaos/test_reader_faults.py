"""Readers' faults: some stall, all lose their connections at once, and many come and go."""

import asyncio
import random

import pytest
from kit.audience import STABLE_S
from kit.servers import StoreProcess
from kit.stage import RECONNECT_S, Stage, gauge
from kit.trouble import Trouble
from kit.waiting import length, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_stalled_readers_catch_up_and_delay_no_other_reader(stage: Stage) -> None:
    async with stage.play("20 % of the readers stall") as show:
        stalled = [viewer for viewer in show.audience.viewers if viewer.number % 10 in (0, 4)]
        others = set(show.audience.viewers) - set(stalled)
        for viewer in stalled:
            viewer.stall()
        show.newsroom.text = "the council votes at nine, and says so at length. " * 100
        await show.changes(60)
        head = show.head()
        await until(lambda: not others.intersection(show.behind(head)), 2)
        counted = [gauge(server, "liveblog_readers_behind") for server in stage.servers]
        assert sum(counted) == len(stalled) == 40
        for viewer in stalled:
            viewer.read_on()
        show.over()
    assert show.reconnects() == show.resets() == 0


async def test_readers_reconnect_when_all_sockets_are_cut_at_once(
    stage: Stage,
) -> None:
    async with stage.play("all sockets cut at once", within_s=RECONNECT_S) as show:
        # A reader reconnects within 1 s if its stream was open for STABLE_S, and later if not.
        await asyncio.sleep(STABLE_S)
        cut = [viewer for viewer in show.audience.viewers if viewer.cut()]
        show.over()
    assert show.reconnects() == len(cut)


async def test_passing_readers_miss_nothing_amid_random_faults(
    stage: Stage, store: StoreProcess
) -> None:
    trouble = Trouble(stage, store, random.Random(3), every_s=length(2, 0.2))
    fault = "50 readers a second come and go, faults at random"
    async with stage.play(fault, within_s=RECONNECT_S) as show:
        async with asyncio.TaskGroup() as work:
            work.create_task(show.audience.churn(50, length(30, 9)))
            work.create_task(trouble.make(show, length(30, 9)))
        show.over()
