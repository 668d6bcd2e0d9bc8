"""The model: what can happen to a blog, its store, its workers and its readers, one rule each, and
the judge that looks after every step.

hypothesis chooses the steps. Time is virtual and passes only where a rule says so.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

import sources
from clients import Client, Invariant, hold
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sources import SLUG
from virtual import VirtualLoop
from world import LATE_S, OUTAGE_S, VISITORS, WORKERS, World

from liveblog import hub as hubs
from liveblog import timeline as timelines
from liveblog.model import Entry

# Limits that a few steps reach. Heads are compared seldom, so that this does not mend at once what
# the fast path lost; a pass yields as often as it can, so that the next step finds it half done.
SMALL: Final = {
    timelines: {"KEPT_CHANGES": 6, "MISSED_MAX": 5, "TRIM_EVERY": 2},
    hubs: {"EARLY_MAX": 2, "HEADS_EVERY_S": 60.0, "LOOK_EVERY": 1, "SLICE_S": 0.0},
    sources: {"FAR": 10},
}

workers = st.sampled_from(range(WORKERS))
visitors = st.sampled_from(range(VISITORS))
few = st.sampled_from([1, 2, 3])
picks = st.sampled_from(range(8))
outages = st.sampled_from([0.05, 0.5, OUTAGE_S])


@contextmanager
def small_limits() -> Iterator[None]:
    """Lower the limits of the modules meanwhile, and keep their log from being printed."""
    log = logging.getLogger(hubs.__name__)
    patches = [mock.patch.multiple(module, **limits) for module, limits in SMALL.items()]
    for patch in patches:
        patch.start()
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = True
        for patch in patches:
            patch.stop()


class Machine(RuleBasedStateMachine):
    """A blog's life. Run it within `small_limits`."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0  # the number of the one under way
        self.is_broken = False
        self._loop = VirtualLoop()
        self.world = self._run(World)
        self._run(self.world.open)
        self.store, self.past = self.world.store, self.world.past
        self._log = logging.getLogger(hubs.__name__)
        self._log.addHandler(self.world)
        self._were: list[tuple[Client, str, int, int]] = []

    @initialize(readers=st.sampled_from([1, 3]))
    def bring_at_a_time(self, readers: int) -> None:
        hubs.LOOK_EVERY = readers  # type: ignore[misc]

    # -- editors

    @property
    def can_write(self) -> bool:
        return SLUG not in self.store.lacks

    def ids(self, *, deleted: bool = False) -> list[str]:
        entries = [r for r in self.past.state().values() if isinstance(r, Entry)]
        return [entry.id for entry in entries if entry.deleted == deleted]

    @precondition(lambda self: self.can_write)
    @rule(count=few)
    def publish(self, count: int) -> None:
        """All in one message."""
        self._run(lambda: self.store.tell(self.past.release(count)))

    @precondition(lambda self: self.can_write)
    @rule(count=few, apart_s=st.sampled_from([0.0, 0.1, 0.3]))
    def publish_apart(self, count: int, apart_s: float) -> None:
        """One message after the other."""
        self._run(lambda: self.world.publish_apart(count, apart_s))

    @precondition(lambda self: self.can_write and self.ids())
    @rule(pick=picks)
    def edit(self, pick: int) -> None:
        self._write(self.past.edit, self.ids(), pick)

    @precondition(lambda self: self.can_write and self.ids())
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        self._write(self.past.delete, self.ids(), pick)

    @precondition(lambda self: self.can_write and self.ids(deleted=True))
    @rule(pick=picks)
    def restore(self, pick: int) -> None:
        self._write(self.past.restore, self.ids(deleted=True), pick)

    @precondition(lambda self: self.can_write)
    @rule()
    def end_or_open(self) -> None:
        status = "live" if self.past.blog.status == "ended" else "ended"
        self._run(lambda: self.store.tell(self.past.header(status=status)))

    @precondition(lambda self: self.can_write)
    @rule(zone=picks)
    def change_zone(self, zone: int) -> None:
        self._run(lambda: self.store.tell(self.past.rotate(timezone=f"Zone/{zone}")))

    # -- the network between the store and a worker

    @rule(worker=workers, count=few)
    def lose(self, worker: int, count: int) -> None:
        """The next messages do not arrive."""
        self.world.workers[worker].fates.extend([[]] * count)

    @rule(worker=workers, count=few, after_s=st.sampled_from([0.0, 0.4, LATE_S]))
    def repeat(self, worker: int, count: int, after_s: float) -> None:
        """The next messages arrive twice."""
        self.world.workers[worker].fates.extend([[0.0, after_s]] * count)

    @rule(worker=workers, delays_s=st.permutations([0.05, 0.5, LATE_S, 0.0]))
    def reorder(self, worker: int, delays_s: list[float]) -> None:
        """The next messages arrive late, and later ones before them."""
        self.world.workers[worker].fates.extend([[delay_s] for delay_s in delays_s])

    @rule(worker=workers)
    def resubscribe(self, worker: int) -> None:
        self._run(lambda: self.world.workers[worker].hub.resubscribed(SLUG))

    # -- readers

    @rule(visitor=visitors)
    def join(self, visitor: int) -> None:
        self._run(self.world.visitors[visitor].join)

    @rule(visitor=visitors)
    def leave(self, visitor: int) -> None:
        self._run(self.world.visitors[visitor].leave)

    @rule(visitor=visitors)
    def cut(self, visitor: int) -> None:
        """The connection breaks; the reader comes back."""
        self._run(self.world.visitors[visitor].cut)

    @rule(visitor=visitors, slow_s=st.sampled_from([0.03, 0.8]))
    def slow_down(self, visitor: int, slow_s: float) -> None:
        self._run(lambda: self.world.visitors[visitor].slow_down(slow_s))

    @rule(visitor=visitors)
    def stall(self, visitor: int) -> None:
        """The socket is full after the next frame."""
        self._run(lambda: self.world.visitors[visitor].slow_down(None))

    @rule(visitor=visitors)
    def drain(self, visitor: int) -> None:
        self._run(lambda: self.world.visitors[visitor].slow_down(0.0))

    # -- the store

    @rule(count=few)
    def fork(self, count: int) -> None:
        """The store loses its last changes, and will use their numbers again."""
        self.past.lose(count)

    @precondition(lambda self: self.can_write)
    @rule(count=st.sampled_from([0, 2, 6]), seconds=outages)
    def flush(self, count: int, seconds: float) -> None:
        """The store lacks the blog; then it has it back, as it was some changes ago."""
        self.store.lacks.add(SLUG)
        self._loop.call_later(seconds, self.world.bring_back, count)

    @precondition(lambda self: not self.store.is_down)
    @rule(seconds=outages)
    def cut_the_store(self, seconds: float) -> None:
        """For some time no worker reaches the store, and no message a worker."""
        self.store.is_down = True
        self._loop.call_later(seconds, setattr, self.store, "is_down", False)

    @rule(latency_s=st.sampled_from([0.001, 0.1, 0.4]))
    def answer_in(self, latency_s: float) -> None:
        self.store.latency_s = lambda: latency_s

    # -- the workers

    @rule(worker=workers)
    def kill(self, worker: int) -> None:
        self._run(lambda: self.world.kill(worker))

    @rule()
    def kill_all(self) -> None:
        for worker in range(WORKERS):
            self._run(lambda worker=worker: self.world.kill(worker))  # type: ignore[misc]

    @rule(worker=workers)
    def beat(self, worker: int) -> None:
        """Every slot's heartbeat falls due, as in a pass that takes long."""
        self._run(self.world.workers[worker].beat)

    # -- time

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 4.0]))
    def wait(self, seconds: float) -> None:
        self._run(lambda: asyncio.sleep(seconds))

    @rule()
    def wait_until_quiet(self) -> None:
        self._run(lambda: asyncio.sleep(15))
        self._run(self.world.check_who_was_told)

    @rule()
    def wait_very_long(self) -> None:
        """Who is stalled is freed, who reads what has ended is sent away."""
        self._run(lambda: asyncio.sleep(75))

    # -- the judge

    @invariant()
    def judge(self) -> None:
        self._run(self._judge)
        self.steps += 1

    def _judge(self) -> None:
        self.world.check()
        self._compare_with_before()
        for client in self._clients():
            same = client.holds(self.world.page_at(client.position))
            hold(Invariant.STATE, same, (client.position, client.shown))

    def _compare_with_before(self) -> None:
        for client, epoch, offset, resets in self._were:
            if client.resets == resets:
                hold(Invariant.EPOCH, client.position.epoch == epoch, client.position)
                hold(Invariant.GROWS, client.position.offset >= offset, client.position)
        self._were = [
            (client, client.position.epoch, client.position.offset, client.resets)
            for client in self._clients()
        ]

    def _clients(self) -> list[Client]:
        return [visitor.client for visitor in self.world.visitors if visitor.client]

    def teardown(self) -> None:
        try:
            if not self.is_broken:
                self._run(self.world.heal)
                self._run(self.world.check_the_end)
                self._run(self._judge)
        finally:
            self._log.removeHandler(self.world)
            self._run(self.world.stop)
            self._loop.close()

    # -- doing it

    def _write(self, write: Callable[[str], sources.Changes], ids: list[str], pick: int) -> None:
        self._run(lambda: self.store.tell(write(ids[pick % len(ids)])))

    def _run(self, deed: Callable[[], Any]) -> Any:
        """Do something within the loop; what is under way goes on a turn or two, no more."""
        async def done() -> Any:
            result = deed()
            return await result if inspect.isawaitable(result) else result

        try:
            return self._loop.run_until_complete(done())
        except BaseException:
            self.is_broken = True
            raise
