"""The world of the model-based test: two workers on one store, and visitors that always reconnect.

The rules of kit/machine.py act on it. Time is virtual, and the same steps give the same world every
time.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from kit import judge
from kit.clients import RESET, Client, Invariant, Page, Seat, hold, make_page, page_of, render
from kit.sources import SLUG, Clock, FakeStore, Past, Wire, make_hub, to_show
from kit.waiting import until
from liveblog.blog.model import BLOG_ID, Blog, Entry, Position
from liveblog.blog.problem import StoreDown
from liveblog.blog.timeline import Changes, Record
from liveblog.live import fanout as fanouts
from liveblog.live.blog import LiveBlog
from liveblog.live.roster import SLOTS

T = TypeVar("T")

WORKERS: Final = 2
VISITORS: Final = 6
LATE_S: Final = 3.0  # the longest delay of a message to a worker
OUTAGE_S: Final = 4.0  # the longest outage of the store
PINS: Final = (None, "last", 1, 0.5)  # as in `Past.pin`
POLL_S: Final = 5.0  # 10 minutes in docs/streams.md
PAGES_TRIED: Final = 10
STAY_AWAY: Final = 4504
ENDED: Final = 4510
SOON_S: Final = 8.0  # limit until readers have a change whose message reached their worker
# Limit until all readers have the newest change. Workers compare their positions with the store
# every 60 s; the limit allows two comparisons.
REST_S: Final = 150.0


def chosen(things: Sequence[T], pick: int) -> T:
    return things[pick % len(things)]


def altered(past: Past, id: str, pick: int) -> Changes:
    """Edit an entry, or pin, move or unpin it; a random number chooses."""
    if pick % 2 == 0:
        return past.edit(id)
    return past.pin(id, chosen(PINS, pick // 2))


def _alternate_turns(_: float) -> None:
    """Switch LOOK_EVERY: the fan-out yields after 1 reader in one pass, after 3 in the next."""
    fanouts.LOOK_EVERY = 4 - fanouts.LOOK_EVERY  # type: ignore[misc]  # Final for the server; the model varies it to reach more orders


class Worker:
    """A running hub; `fate` decides how the next messages reach the hub."""

    def __init__(self, store: FakeStore) -> None:
        self.hub = make_hub(store, Clock(tick_s=0.0004))
        assert isinstance(self.hub.subscriptions, Wire)
        self.wire = self.hub.subscriptions
        self.hub.on_pass = _alternate_turns
        self.wire.fate = lambda: self.fate
        self.fate = [0.0]  # delays in seconds of a message's copies; empty: the message is lost
        self.running = asyncio.create_task(self.hub.run())

    @property
    def live(self) -> LiveBlog | None:
        return self.hub.lives.get(SLUG)

    def beat(self) -> None:
        """Send all readers their heartbeats at once; a hub spreads them over an interval."""
        if self.live:
            for slot in range(SLOTS):
                self.live.beats.send(slot, None)

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.hub.close()


class Crashes(logging.Handler):
    """Collects exceptions that were only logged, or that only the event loop's handler got.

    They fail the test.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.seen.append(self.format(record))

    def note(self, _: object, context: dict[str, Any]) -> None:
        self.seen.append(str(context))


class World:
    """Runs the store, its workers and their visitors, and checks the invariants."""

    def __init__(self) -> None:
        fanouts.LOOK_EVERY = 1  # type: ignore[misc]  # Final for the server; the model varies it to reach more orders
        self.store = FakeStore(Past())
        self.past = self.store.pasts[SLUG]
        self.past.release(3)
        self.workers = [Worker(self.store) for _ in range(WORKERS)]
        self.visitors = [Visitor(self, number) for number in range(VISITORS)]
        self.crashes = Crashes()
        self._pages: dict[Position, Page] = {}

    async def open(self) -> None:
        """Let the first visitors join; the others join in later steps."""
        for visitor in self.visitors[:5]:
            visitor.join()
        await asyncio.sleep(2)

    def page_at(self, position: Position) -> Page:
        """Return the content of a page at a position, also of a lost history."""
        hold(Invariant.STATE, position in self.past.logs, f"{position} never was")
        if position not in self._pages:
            state = self.past.ever(position)
            blog = state[BLOG_ID]
            assert isinstance(blog, Blog)
            self._pages[position] = make_page(
                to_show(state), blog, lambda entry: render.entry_html(entry, blog)
            )
        return self._pages[position]

    async def kill(self, which: int) -> None:
        """Kill a worker, and start another in its place."""
        worker = self.workers[which]
        self.workers[which] = Worker(self.store)
        self.store.wires.remove(worker.wire)
        for visitor in self.visitors:
            if visitor.sits_at(worker):
                visitor.cut()
        await worker.stop()

    def present(self) -> list["Visitor"]:
        return [visitor for visitor in self.visitors if visitor.is_here]

    def absent(self) -> list["Visitor"]:
        return [visitor for visitor in self.visitors if not visitor.is_here]

    def slow(self) -> list["Visitor"]:
        return [visitor for visitor in self.visitors if visitor.slow_s != 0]

    def restore(self, count: int) -> None:
        """Restore the blog in the store, without its last changes.

        No message announces the older state, so `check_informed_readers` must not expect it.
        """
        self.past.lose(count)
        self.store.lacks.discard(SLUG)
        for worker in self.workers:
            worker.wire.announced = None

    async def send(self, worker: int, fates: list[list[float]], pick: int, apart_s: float) -> None:
        """Make as many changes as `fates` has items, `apart_s` seconds apart.

        Each item lists when copies of the change's message reach `worker`: a delay in seconds for
        each copy; an empty list loses the message. `pick` is a random number that chooses the kind
        of change (publish, edit, pin or delete) and its entry.
        """
        for i, fate in enumerate(fates):
            if i:
                await asyncio.sleep(apart_s)
            self.workers[worker].fate = fate
            self.store.announce(self._change(pick + i))
            self.workers[worker].fate = [0.0]

    def _change(self, pick: int) -> Changes:
        ids = self.past.ids()
        changes: list[Callable[[], Changes]] = [self.past.publish]
        changes += [partial(altered, self.past, id, pick) for id in ids]
        changes += [partial(self.past.delete, id) for id in ids[:2]]
        return chosen(changes, pick)()

    async def beat(self, worker: int) -> None:
        self.store.announce(self.past.publish())
        await asyncio.sleep(0)
        self.workers[worker].beat()

    # -- checks

    def check(self) -> None:
        """Raise any broken invariant that a visitor found, and any exception of a task."""
        assert not self.crashes.seen, self.crashes.seen
        for visitor in self.visitors:
            visitor.check()
        for worker in self.workers:
            if worker.running.done():
                worker.running.result()

    def check_informed_readers(self) -> None:
        """Expect readers to have the newest change SOON_S after its message reached their worker.

        Readers must not have to wait until the worker compares its position with the store. Only
        after a lost history or a restored blog may they wait for this comparison.
        """
        before = asyncio.get_running_loop().time() - SOON_S
        for worker in self.workers:
            top, arrived_at_s = worker.wire.announced or (None, 0)
            if top == self.past.position and arrived_at_s <= before and self._can_catch_up(worker):
                self._check_at_top(worker, self.past.position)

    def _can_catch_up(self, worker: Worker) -> bool:
        """Return whether the worker can catch up without a reset of its readers.

        Its position must be in the store's present history, and the store must have the blog.
        """
        live = worker.live
        return live is not None and not live.lost and self.past.has(live.position)

    def _check_at_top(self, worker: Worker, top: Position) -> None:
        for visitor in self.visitors:
            if visitor.sits_at(worker) and visitor.client and visitor.slow_s is not None:
                at = visitor.client.position
                hold(
                    Invariant.END,
                    at == top,
                    f"the message of {top} has arrived, a reader is left at {at}",
                )

    # -- the end

    async def heal(self) -> None:
        """Let all visitors join, and accept frames at once. Outages end by themselves."""
        for visitor in self.visitors:
            visitor.slow_down(0.0)
            visitor.join()

    async def check_the_end(self) -> None:
        """Expect all visitors to reach the store's state, and to stay there.

        First wait for delayed messages, which may belong to a history that is lost by now.
        """
        await asyncio.sleep(LATE_S + OUTAGE_S + SOON_S)
        self.check_informed_readers()
        with suppress(TimeoutError):
            await until(self._is_at_rest, REST_S)
        await asyncio.sleep(30)
        top = self.past.position
        for visitor in self.visitors:
            at = visitor.client and visitor.client.position
            hold(Invariant.END, at == top, f"a reader is left at {at}, the store is at {top}")
        stories = [visitor.client.story for visitor in self.visitors if visitor.client]
        verdict = judge.judge(history_of(self.past), stories, Remembered(self.past), ())
        hold(Invariant.STATE, verdict.is_clean, verdict.because)

    def _is_at_rest(self) -> bool:
        self.check()
        top = self.past.position
        held = [worker.live.position for worker in self.workers if worker.live]
        seen = [visitor.client and visitor.client.position for visitor in self.visitors]
        return all(position == top for position in [*held, *seen])

    async def stop(self) -> None:
        for visitor in self.visitors:
            await visitor.leave()
        for worker in self.workers:
            await worker.stop()


class Remembered:
    """Gives kit/judge.py a blog's present state, by the interface `judge.Store`."""

    def __init__(self, past: Past) -> None:
        self._past = past

    def position(self) -> judge.Position:
        return judge.Position(*self._past.position)

    def chain(self) -> list[str]:
        return self._past.checks

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return the entries for the judge; as "body" their headlines, the only text of FakeRender."""
        entries = [it for it in self._past.state().values() if isinstance(it, Entry)]
        return {
            it.id: {
                "offset": it.offset,
                "order": it.order,
                "deleted": it.deleted,
                "body": it.headline,
            }
            for it in entries
        }


def history_of(past: Past) -> judge.History:
    """Return a blog's history for kit/judge.py, also the branches that the store has lost."""
    history = judge.History(past.slug)
    checks = {id(log[-1]): position.check for position, log in past.logs.items()}
    for position, log in past.logs.items():
        history.note(judge.Position(*position), _deed(log[-1]))
        history.branches.append([checks[id(record)] for record in log])
    return history


def _deed(record: Record) -> judge.Deed:
    if isinstance(record, Blog):
        return judge.Deed(judge.HEADER)
    return judge.Deed(record.id, record.order or 0, None if record.deleted else record.headline)


class Visitor:
    """A reader's browser, which reconnects from its own position until it leaves."""

    def __init__(self, world: World, number: int) -> None:
        self.client: Client | None = None
        self.slow_s: float | None = 0.0  # seconds until its socket accepts a frame; None: never
        self._world, self._number = world, number
        self._seat: Seat | None = None
        self._random = random.Random(number)
        self._task: asyncio.Task[None] | None = None

    @property
    def is_here(self) -> bool:
        return self._task is not None

    def sits_at(self, worker: Worker) -> bool:
        return bool(worker.live and self._seat and worker.live.roster.has(self._seat))

    def join(self) -> None:
        """Connect, from the visitor's last position if there is one, else with a page."""
        if not self._task:
            self._task = asyncio.create_task(self._live())

    async def leave(self) -> None:
        self.cut()
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def cut(self) -> None:
        if self._seat:
            self._seat.cut()

    def slow_down(self, slow_s: float | None) -> None:
        self.slow_s = slow_s
        if self._seat:
            self._seat.slow_down(slow_s)

    def check(self) -> None:
        if self.client and self.client.broken:
            raise self.client.broken
        if self._task and self._task.done():
            self._task.result()

    # -- streams and pages

    async def _live(self) -> None:
        if not self.client:
            self.client = Client(*await self._page())
        while True:
            code, reset = await self._sit(self.client)
            assert code != STAY_AWAY
            if code == RESET and reset:
                await self._start_over(self.client, reset)
            elif code == ENDED:
                await self._poll(self.client)

    async def _sit(self, client: Client) -> tuple[int, Position | None]:
        await asyncio.sleep(self._random.random())
        try:
            live = await self._any_live()
        except StoreDown:
            return 1013, None
        seat = self._seat = Seat(self._number, client, self.slow_s)
        live.join(seat, client.position)
        try:
            return await seat.ended, seat.reset
        finally:
            seat.cut()
            live.leave(seat)

    async def _any_live(self) -> LiveBlog:
        # Three of four visitors join the first worker, so that its fan-out needs several turns of
        # the loop.
        worker = self._world.workers[self._random.random() < 0.25]
        try:
            live = await worker.hub.live(SLUG)
        except asyncio.CancelledError:
            if not self._task or worker in self._world.workers:
                raise  # this visitor left
            raise StoreDown("the worker was killed") from None
        if not live or worker not in self._world.workers:  # no `live`: the store lacks the blog
            raise StoreDown("there is no blog, or the worker was killed")
        return live

    async def _page(self, at: Position | None = None) -> tuple[Position, Page]:
        """Fetch a page, and check that it shows the blog's state at its position.

        When the worker has not reached position `at` yet, the worker asks the store first.
        """
        while True:
            try:
                live = await self._any_live()
                if at and (at.epoch != live.position.epoch or at.offset > live.position.offset):
                    await live.confirm(1.0)
            except StoreDown:
                await asyncio.sleep(self._random.random())
                continue
            position, page = live.position, page_of(live)
            hold(Invariant.STATE, page == self._world.page_at(position), f"a page of {position}")
            return position, page

    async def _start_over(self, client: Client, reset: Position) -> None:
        """Start over from a page that `Client.accepts`; after PAGES_TRIED pages, from any page.

        A store may begin a new epoch, announce it in a reset, lose it, and return to the client's
        epoch. The client then accepts no page at all, so the number of tries needs a limit.
        """
        for _ in range(PAGES_TRIED):
            await asyncio.sleep(3 * self._random.random())
            position, page = await self._page(reset)
            if client.accepts(position, reset):
                break
        client.start_over(position, page)

    async def _poll(self, client: Client) -> None:
        """Poll an ended blog every POLL_S, until an editor has reopened it."""
        while client.status == "ended":
            await asyncio.sleep(POLL_S)
            try:
                live = await self._any_live()
                if live.timeline.standing(client.position) == "unknown":
                    await live.confirm(1.0)
            except StoreDown:
                continue
            here = live.timeline.standing(client.position) == "here"
            frame = live.frame(client.position.offset, as_data=False) if here else None
            if frame:
                client.take(json.loads(frame.json))
            else:
                await self._start_over(client, live.position)
