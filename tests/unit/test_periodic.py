"""Periodic tasks, over blogs that the test defines."""

import asyncio
from collections import Counter

import pytest
from kit.alone import Seconds
from kit.virtual import in_virtual_time

from liveblog.live import periodic
from liveblog.live.periodic import PING_EVERY, PeriodicTasks, unheard_max
from liveblog.live.roster import SLOTS

HEARTBEAT_S = 22.0  # one second a step


class Blog:
    """Replaces a live blog and its parts `beats`, `roster` and `ending`; counts their calls."""

    def __init__(self, *, fails: bool = False) -> None:
        self.beats = self.roster = self.ending = self
        self.sent: list[tuple[int, str | None, bool]] = []
        self.calls = Counter[str]()
        self._fails = fails

    def send(self, slot: int, now: str | None, pings: bool = False) -> None:
        self.sent.append((slot, now, pings))

    def abort_stalled(self) -> None:
        self.calls["abort_stalled"] += 1
        if self._fails:
            raise ValueError("a fault")

    def close_some(self) -> None:
        self.calls["close_some"] += 1


async def run_for(seconds: float, *blogs: Blog) -> None:
    tasks_of = PeriodicTasks(
        {f"b{i}": blog for i, blog in enumerate(blogs)}, HEARTBEAT_S, lambda: 0, Seconds()
    )
    tasks = [asyncio.create_task(tasks_of.beat()), asyncio.create_task(tasks_of.tick())]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@in_virtual_time
async def test_beat_visits_every_slot_and_pings_every_other_round() -> None:
    blog = Blog()
    await run_for(2 * SLOTS + 0.5, blog)
    assert [slot for slot, _, _ in blog.sent] == [*range(SLOTS)] * 2
    assert [pings for _, _, pings in blog.sent] == [False] * SLOTS + [True] * SLOTS
    assert {now for _, now, _ in blog.sent} == {"1970-01-01T00:00:00.000Z"}
    assert PING_EVERY == 2


@in_virtual_time
async def test_tick_goes_on_for_all_blogs_when_a_task_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty, sound = Blog(fails=True), Blog()
    await run_for(3.5, faulty, sound)
    for blog in (faulty, sound):
        assert blog.calls == {"abort_stalled": 3, "close_some": 3}
    assert caplog.messages == ["blog b0: periodic task failed"] * 3


@in_virtual_time
async def test_visit_of_many_blogs_lets_other_work_run() -> None:
    class Slow(Seconds):
        def __call__(self) -> float:
            self.now += periodic.SLICE_S / 4
            return self.now

    seen: list[str] = []

    async def other_work() -> None:
        while True:
            await asyncio.sleep(periodic.PAUSE_S * 0.75)
            seen.append("other")

    other = asyncio.create_task(other_work())
    blogs = {str(n): n for n in range(12)}
    await periodic.in_slices(blogs, lambda slug, _: seen.append(slug), Slow())
    other.cancel()
    assert seen[4] == seen[9] == "other"
    assert [it for it in seen if it != "other"] == list(blogs)


@pytest.mark.parametrize(("heartbeat_s", "pings"), [(20.0, 1), (5.0, 4), (60.0, 1)])
def test_unheard_max_covers_45_s_of_pings(heartbeat_s: float, pings: int) -> None:
    assert unheard_max(heartbeat_s) == pings
