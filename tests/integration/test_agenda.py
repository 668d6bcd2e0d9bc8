"""The agenda forgets no entry, whatever the order in which writers and workers run or die.

Writers and passes of the schedule are the real ones, on a real store whose clock the test moves.
Between two commands of any of them, others run, or the task dies.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kit.shifted import ShiftedStore, shifted_store
from kit.waiting import until

from liveblog.blog.instant import format_time
from liveblog.blog.model import SYSTEM
from liveblog.blog.problem import Problem
from liveblog.editors import schedule
from liveblog.editors.publishing import Publishing
from liveblog.store import agenda, writes
from liveblog.store.agenda import SETTLED_MS, STORED_WITHIN_MS, TAGS, Agenda, Look, bucket
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.due import RETRY_MAX_MS
from liveblog.store.nodes import One
from liveblog.tasks import stop

SLUG = "council"
BEFORE_ALL_TIMES = 1  # the application's clock: no scheduled time is past


class Steps:
    """Stops each task of `tasks` before each of its commands, until `step` lets it go on."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self._stopped: dict[asyncio.Task[Any], asyncio.Future[None]] = {}
        self._news = asyncio.Event()

    async def gate(self) -> None:
        task = asyncio.current_task()
        if task and task in self.tasks:
            self._stopped[task] = asyncio.get_running_loop().create_future()
            self._news.set()
            await self._stopped[task]

    async def step(self, task: asyncio.Task[Any]) -> None:
        """Let a task send its next command, and wait until the task is at another one or ends."""
        if turn := self._stopped.pop(task, None):
            turn.set_result(None)
        while not task.done() and task not in self._stopped:
            self._news.clear()
            news = asyncio.ensure_future(self._news.wait())
            await asyncio.wait({task, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        if task.done():
            self.tasks.remove(task)

    async def kill(self, task: asyncio.Task[Any]) -> None:
        self.tasks.remove(task)
        await stop([task])


class Gated:
    """A client, or a pipeline of a client, whose commands wait for `Steps.gate`."""

    def __init__(self, real: Any, steps: Steps, *, is_pipeline: bool = False) -> None:
        self._real, self._steps, self._is_pipeline = real, steps, is_pipeline

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name == "pipeline":
            return partial(self._pipeline, found)
        is_command = name == "execute" if self._is_pipeline else callable(found)
        return self._waiting(found) if is_command else found

    def _pipeline(self, make: Any, **options: Any) -> "Gated":
        return Gated(make(**options), self._steps, is_pipeline=True)

    def _waiting(self, command: Any) -> Any:
        async def call(*words: Any, **more: Any) -> Any:
            await self._steps.gate()
            return await command(*words, **more)

        return call


@pytest.fixture(scope="module")
def shifted(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShiftedStore]:
    with shifted_store(binary, tmp_path_factory.mktemp("shifted")) as store:
        yield store


class World:
    """One blog in the store, and the tasks that write to it."""

    def __init__(self, store: ShiftedStore, client: redis.asyncio.Redis) -> None:
        self.store, self.client, self.steps = store, client, Steps()
        gated = One(cast(redis.asyncio.Redis, Gated(client, self.steps)))
        self.broker = Broker(gated)
        self.publishing = Publishing(self.broker, lambda: BEFORE_ALL_TIMES)
        self.ahead_s = 0

    async def wait(self, seconds: int) -> None:
        """Set the store's clock forward, and wait until the store has noticed."""
        self.ahead_s += seconds
        await self.store.set_forward(self.ahead_s)

    async def go_on(self, number: int, steps: int) -> None:
        tasks = self.steps.tasks
        task = tasks[number % len(tasks)] if tasks else None
        for _ in range(steps):
            if task in tasks:
                await self.steps.step(task)

    async def start(self, what: str, seconds: int) -> None:
        at = format_time(self.now_ms() + seconds * 1000)
        work: Callable[[], Awaitable[object]] = {
            "schedule": lambda: self.publishing.create_entry(
                SYSTEM, SLUG, {"headline": "Planned", "publish_at": at}
            ),
            "end": lambda: self.publishing.edit_blog(SYSTEM, SLUG, {"status": "ended"}),
            "reopen": lambda: self.publishing.edit_blog(SYSTEM, SLUG, {"status": "live"}),
            "pass": lambda: schedule.publish_due(self.broker.due, self.publishing, Counter()),
        }[what]

        async def run() -> None:
            with contextlib.suppress(Problem):  # the blog has ended
                await work()

        task = asyncio.create_task(run())
        self.steps.tasks.append(task)
        await self.steps.step(task)

    async def end(self) -> None:
        """Kill what still runs, and let the schedule run until nothing can be late."""
        for task in [*self.steps.tasks]:
            await self.steps.kill(task)
        for seconds in (0, 2, RETRY_MAX_MS // 1000, 2 * SETTLED_MS // 1000, 2):
            await self.wait(seconds)
            now = self.now_ms()
            await schedule.publish_due(self.broker.due, self.publishing)
            assert seconds <= 2 or await self.due_before(now) == []

    def now_ms(self) -> int:
        return int((time.time() + self.ahead_s) * 1000)

    async def due_before(self, at: int) -> Any:
        """Return the entries that were due before an instant, none of an ended blog."""
        status = await self.client.hget(key(SLUG, "blog"), "status")
        entries = await self.client.zrangebyscore(key(SLUG, "due"), 0, at - 1)
        return entries if status != b"ended" else []

    async def agenda(self) -> list[bytes]:
        return [name async for name in self.client.scan_iter("lb:due:*")]


@contextlib.asynccontextmanager
async def world(store: ShiftedStore) -> AsyncIterator[World]:
    async with redis.asyncio.Redis.from_url(store.url) as client:
        await client.flushall()
        made = World(store, client)
        await made.wait(0)
        fields = {"slug": SLUG, "title": "Council", "status": "live"}
        await made.publishing.create_blog(SYSTEM, fields)
        yield made


WITHIN_S = STORED_WITHIN_MS // 1000
TO_ITS_END = 99
STEPS = st.sampled_from([TO_ITS_END, TO_ITS_END, TO_ITS_END, 0, 1, 2, 3, 4, 5])
ACTIONS = st.one_of(
    st.tuples(st.just("schedule"), st.sampled_from([0, 1, 3, 100]), STEPS),
    st.tuples(st.sampled_from(["end", "reopen"]), st.just(0), STEPS),
    st.tuples(st.sampled_from(["pass"]), st.just(0), STEPS),
    st.tuples(st.sampled_from(["step", "kill"]), st.integers(0, 3), STEPS),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, WITHIN_S + 2, 2 * WITHIN_S + 2]), st.just(0)),
)


async def act(made: World, what: str, number: int, steps: int) -> None:
    tasks = made.steps.tasks
    if what == "step":
        await made.go_on(number, steps)
    elif what == "wait":
        await made.wait(number)
    elif what != "kill":
        await made.start(what, number)
        await made.go_on(-1, steps)
    elif tasks:
        await made.steps.kill(tasks[number % len(tasks)])


@settings(
    max_examples=1_000 if os.environ.get("LONG") else 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=st.lists(ACTIONS, min_size=8, max_size=40))
@example(  # the look at an entry is over when its blog is re-opened
    actions=[
        ("schedule", 1, TO_ITS_END),
        ("end", 0, TO_ITS_END),
        ("wait", 2 * WITHIN_S + 2, 0),
        ("pass", 0, TO_ITS_END),
        ("reopen", 0, TO_ITS_END),
    ]
)
def test_no_entry_is_forgotten_when_writers_and_workers_interleave_and_die(
    shifted: ShiftedStore, actions: list[tuple[str, int, int]]
) -> None:
    async def run() -> None:
        async with world(shifted) as made:
            for action in actions:
                await act(made, *action)
            await made.end()
            assert await made.agenda() == []

    asyncio.run(run())


# -- one rule at a time


async def look(client: redis.asyncio.Redis) -> tuple[Agenda, Look]:
    """Return an agenda, and its look at a blog that was added two minutes ago."""
    made = Agenda(One(client))
    await made.add(SLUG, 0)
    [found] = await until(lambda: looks(made))
    name = f"lb:due:{{{TAGS[bucket(SLUG)]}}}"
    early = found.at - 2 * SETTLED_MS
    await client.zadd(name, {SLUG: early})
    await client.hset(f"{name}:added", SLUG, early)
    return made, found._replace(at=early)


async def test_look_is_replaced_by_the_next_one_and_removed_when_there_is_none(
    store_client: redis.asyncio.Redis,
) -> None:
    held, first = await look(store_client)
    assert await held.settle(first, first.read + 1)
    [second] = await until(lambda: looks(held))
    assert second.at == first.read + 1
    assert await held.settle(second, None)
    assert await store_client.keys("lb:due:*") == []


async def looks(held: Agenda) -> list[Look]:
    return (await held.read())[0]


async def test_look_stays_when_a_writer_was_added_less_than_a_minute_ago(
    store_client: redis.asyncio.Redis,
) -> None:
    held, first = await look(store_client)
    await held.add(SLUG, first.read + 60_000)
    assert not await held.settle(first, None)
    assert [it.at for it in await looks(held)] == [first.at]


async def test_look_stays_when_another_worker_settled_it_meanwhile(
    store_client: redis.asyncio.Redis,
) -> None:
    held, first = await look(store_client)
    assert await held.settle(first, first.read + 1)
    assert not await held.settle(first, first.read + 60_000)
    assert [it.at for it in await until(lambda: looks(held))] == [first.read + 1]


async def test_other_blogs_are_settled_when_a_scheduled_time_is_infinite(
    store_client: redis.asyncio.Redis,
) -> None:
    broker = Broker(One(store_client))
    held, first = await look(store_client)
    for slug in (SLUG, "damaged"):
        await store_client.hset(key(slug, "blog"), "status", "live")
    await store_client.zadd(key("damaged", "due"), {"e00000000000x": float("inf")})
    await broker.due.settle([first, Look("damaged", first.at, first.read)])
    assert await looks(held) == []


async def test_write_is_stale_when_it_arrives_too_long_after_its_announcement(
    store_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(One(store_client))
    publishing = Publishing(broker, lambda: BEFORE_ALL_TIMES)
    await publishing.create_blog(SYSTEM, {"slug": SLUG, "title": "Council", "status": "live"})
    planned = {"headline": "Planned", "publish_at": "2090-01-01T00:00:00Z"}
    behind = [0, STORED_WITHIN_MS + 1]  # ms by which the second and the first write are late

    async def clock_of(client: Any) -> int:
        return await agenda.clock_of(client) - behind.pop()

    monkeypatch.setattr(writes, "clock_of", clock_of)
    made = await publishing.create_entry(SYSTEM, SLUG, planned)
    assert made.entry.status == "scheduled"
    assert behind == []
