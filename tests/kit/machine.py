"""The model-based test: hypothesis chooses what happens to a blog, its workers and its readers.

Each rule is one kind of event, such as an edit, a lost message or a cut connection. The invariants
are checked after each step. Time is virtual and passes only in the rules that wait.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, Final
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit import sources
from kit.clients import Client, Invariant, hold
from kit.sources import SLUG
from kit.virtual import VirtualLoop
from kit.world import LATE_S, OUTAGE_S, WORKERS, World, altered, chosen
from liveblog.blog import timeline as timelines
from liveblog.blog.timeline import Changes
from liveblog.live import fanout as fanouts
from liveblog.live import loading as loadings
from liveblog.live import repair as repairs
from liveblog.live import watch as watches

LOG: Final = logging.getLogger("liveblog.live")

# Limits of the server, so low that a few steps reach them. Workers compare their positions with the
# store only every 60 s, because a comparison hides the effect of a lost message. A check of writes
# starts a comparison when the store answers again, so checks are as rare. The fan-out yields to the
# loop as often as possible, so that steps happen while only some readers have a change.
SMALL: Final[dict[ModuleType, dict[str, Any]]] = {
    timelines: {"KEPT_CHANGES": 6, "MISSED_MAX": 5, "TRIM_EVERY": 2},
    fanouts: {"LOOK_EVERY": 1, "SLICE_S": 0.0},
    repairs: {"QUEUED_MAX": 2},
    loadings: {"QUEUED_MAX": 2},
    watches: {"HEADS_EVERY_S": 60.0, "CHECK_EVERY_S": 60.0},
    sources: {"FAR": 10},
}

workers = st.sampled_from(range(WORKERS))
few = st.sampled_from([1, 2, 3])
picks = st.sampled_from(range(8))
pauses = st.sampled_from([0.0, 0.5, 1.5])  # times the store's latency; a read takes 2 latencies
latencies = st.sampled_from([0.001, 0.1, 0.4])
outages = st.sampled_from([0.05, 0.5, OUTAGE_S])


@contextmanager
def small_limits() -> Iterator[None]:
    """Lower the limits of the modules, and silence their log, until the block ends."""
    patches = [mock.patch.multiple(module, **limits) for module, limits in SMALL.items()]
    for patch in patches:
        patch.start()
    LOG.propagate = False
    try:
        yield
    finally:
        LOG.propagate = True
        for patch in patches:
            patch.stop()


class Machine(RuleBasedStateMachine):
    """Runs the steps that hypothesis chooses on one blog. Run it within `small_limits`."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 1
        self.is_broken = False
        self._loop = VirtualLoop()
        self.world: World = self._run(World)
        self.store, self.past = self.world.store, self.world.past
        self._loop.set_exception_handler(self.world.crashes.note)
        LOG.addHandler(self.world.crashes)
        self._run(self.world.open)
        self._were: list[tuple[Client, str, int, int]] = []

    @initialize(latency_s=latencies)
    def start_with(self, latency_s: float) -> None:
        self.answer_in(latency_s)

    # -- editors

    @property
    def can_write(self) -> bool:
        return SLUG not in self.store.lacks

    @precondition(lambda self: self.can_write)
    @rule(count=few)
    def publish(self, count: int) -> None:
        """Publish entries, and announce them in one pub/sub message."""
        self._run(lambda: self.store.announce(self.past.release(count)))

    @precondition(lambda self: self.can_write)
    @rule(pick=picks, count=few, apart=pauses)
    def change_some(self, pick: int, count: int, apart: float) -> None:
        """Make changes, each with a pub/sub message of its own."""
        self._send(0, [[0.0]] * (count + 1), pick, apart)

    @precondition(lambda self: self.can_write and self.past.ids())
    @rule(pick=picks)
    def edit(self, pick: int) -> None:
        """Edit, pin, move or unpin an entry."""
        self._write(lambda id: altered(self.past, id, pick), self.past.ids(), pick)

    @precondition(lambda self: self.can_write and self.past.ids())
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        self._write(self.past.delete, self.past.ids(), pick)

    @precondition(lambda self: self.can_write and self.past.ids(deleted=True))
    @rule(pick=picks)
    def restore(self, pick: int) -> None:
        self._write(self.past.restore, self.past.ids(deleted=True), pick)

    @precondition(lambda self: self.can_write)
    @rule(status=st.sampled_from(["live", "ended"]))
    def end_or_open(self, status: str) -> None:
        self._run(lambda: self.store.announce(self.past.header(status=status)))

    @precondition(lambda self: self.can_write)
    @rule(zone=picks)
    def change_zone(self, zone: int) -> None:
        self._run(lambda: self.store.announce(self.past.rotate(timezone=f"Etc/GMT+{zone}")))

    # -- the network between the store and a worker

    @precondition(lambda self: self.can_write)
    @rule(worker=workers, pick=picks, arrive=st.lists(st.booleans(), max_size=5), apart=pauses)
    def lose(self, worker: int, pick: int, arrive: list[bool], apart: float) -> None:
        """Make changes; some of their messages are lost, the first one always."""
        self._send(worker, [[], *[[0.0] if it else [] for it in arrive]], pick, apart)

    @precondition(lambda self: self.can_write)
    @rule(worker=workers, pick=picks, again_s=st.sampled_from([0.0, 0.4, LATE_S]))
    def repeat(self, worker: int, pick: int, again_s: float) -> None:
        """Make a change whose message arrives twice."""
        self._send(worker, [[0.0, again_s]], pick)

    @precondition(lambda self: self.can_write)
    @rule(worker=workers, pick=picks, delays_s=st.permutations([0.0, 0.05, 0.5, LATE_S]))
    def reorder(self, worker: int, pick: int, delays_s: list[float]) -> None:
        """Make changes whose messages arrive late and in another order."""
        self._send(worker, [[delay_s] for delay_s in delays_s], pick)

    def _send(self, worker: int, fates: list[list[float]], pick: int, apart: float = 0.0) -> None:
        """Make one change for each of `fates`; a fate delays the change's message to one worker.

        A fate lists the delay in seconds of each copy of the message; an empty list loses it.
        """
        apart_s = apart * self.store.latency_s()
        self._run(lambda: self.world.send(worker, fates, pick, apart_s))

    @rule(worker=workers)
    def resubscribe(self, worker: int) -> None:
        self._run(lambda: self.world.workers[worker].hub.resubscribed(SLUG))

    # -- readers

    @precondition(lambda self: self.world.absent())
    @rule(pick=picks)
    def join(self, pick: int) -> None:
        self._run(lambda: chosen(self.world.absent(), pick).join())

    @precondition(lambda self: self.world.present())
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        self._run(lambda: chosen(self.world.present(), pick).leave())

    @precondition(lambda self: self.world.present())
    @rule(pick=picks)
    def cut(self, pick: int) -> None:
        """Cut a reader's connection; the reader reconnects."""
        self._run(lambda: chosen(self.world.present(), pick).cut())

    @precondition(lambda self: self.world.present())
    @rule(pick=picks, slow_s=st.sampled_from([0.03, 0.8]))
    def slow_down(self, pick: int, slow_s: float) -> None:
        self._run(lambda: chosen(self.world.present(), pick).slow_down(slow_s))

    @precondition(lambda self: self.world.present())
    @rule(pick=picks)
    def stall(self, pick: int) -> None:
        """Make the socket of a reader full after its next frame, until `drain`."""
        self._run(lambda: chosen(self.world.present(), pick).slow_down(None))

    @precondition(lambda self: self.world.slow())
    @rule(pick=picks)
    def drain(self, pick: int) -> None:
        self._run(lambda: chosen(self.world.slow(), pick).slow_down(0.0))

    # -- the store

    @rule(count=few)
    def fork(self, count: int) -> None:
        """Let the store lose its last changes; their offsets will be used again."""
        self.past.lose(count)

    @precondition(lambda self: self.can_write)
    @rule(count=st.sampled_from([0, 2, 6]), seconds=outages)
    def flush(self, count: int, seconds: float) -> None:
        """Let the store lose the blog, and restore an older state of it after some seconds."""
        self.store.lacks.add(SLUG)
        self._loop.call_later(seconds, self.world.restore, count)

    @precondition(lambda self: self.can_write and not self.store.is_down)
    @rule(seconds=outages, worker=workers, pick=picks, lost=st.booleans())
    def cut_the_store(self, seconds: float, worker: int, pick: int, lost: bool) -> None:
        """Cut all workers from the store and its pub/sub for some seconds.

        With `lost`, a message is lost first, so that the cut interrupts the repair of this loss.
        """
        if lost:
            self._send(worker, [[], [0.0]], pick)
        self.store.is_down = True
        self._loop.call_later(seconds, setattr, self.store, "is_down", False)

    @rule(latency_s=latencies)
    def answer_in(self, latency_s: float) -> None:
        self.store.latency_s = lambda: latency_s

    # -- the workers

    @rule(which=st.sampled_from([[0], [1], [0, 1]]))
    def kill(self, which: list[int]) -> None:
        for worker in which:
            self._run(partial(self.world.kill, worker))

    @precondition(lambda self: self.can_write)
    @rule(worker=workers)
    def beat(self, worker: int) -> None:
        """Send all heartbeats while only some readers have a new change, as on a busy worker."""
        self._run(lambda: self.world.beat(worker))

    # -- time

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 4.0]))
    def wait(self, seconds: float) -> None:
        self._run(lambda: asyncio.sleep(seconds))

    # hypothesis prefers the rule whose name sorts first among rules without arguments. Keep this
    # name first, so that the check in this rule runs often.
    @rule()
    def wait_until_quiet(self) -> None:
        self._run(lambda: asyncio.sleep(15))
        self._run(self.world.check_informed_readers)

    @rule()
    def wait_very_long(self) -> None:
        """Wait until stalled readers are aborted and readers of an ended blog are closed."""
        self._run(lambda: asyncio.sleep(75))

    # -- the judge

    @invariant()
    def judge(self) -> None:
        self._run(self._judge)
        self.step += 1

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
            LOG.removeHandler(self.world.crashes)
            self._run(self.world.stop)
            self._loop.close()

    # -- doing it

    def _write(self, write: Callable[[str], Changes], ids: list[str], pick: int) -> None:
        self._run(lambda: self.store.announce(write(chosen(ids, pick))))

    def _run(self, act: Callable[[], Any]) -> Any:
        """Run `act` in the event loop, and return its result; other tasks run until `act` ends."""

        async def done() -> Any:
            result = act()
            return await result if inspect.isawaitable(result) else result

        try:
            return self._loop.run_until_complete(done())
        except BaseException:
            self.is_broken = True
            raise
