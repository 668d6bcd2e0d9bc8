"""Random faults between workers and their store, and between workers and readers.

Every fault ends by itself and leaves the servers and networks as they were. No fault ends a worker,
so that a long test can watch a worker's memory over many faults.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from kit.processes import frozen
from kit.proxy import Proxy
from kit.servers import StoreProcess
from kit.stage import Show, Stage

EVERY_S: Final = 2.0
UNRELIABLE: Final[Sequence[Sequence[float]]] = ([], [0.0], [0.0, 0.0], [0.3], [0.05], [0.0, 0.7])


class Trouble:
    """Causes faults of a `Stage`, one after the other, with a pause of `every_s` after each."""

    def __init__(
        self, stage: Stage, store: StoreProcess, chance: random.Random, every_s: float = EVERY_S
    ) -> None:
        self._stage, self._store, self._chance, self._every_s = stage, store, chance, every_s
        self._left: list[str] = []
        self._faults = [name for name in vars(Trouble) if not name.startswith(("_", "make"))]

    async def make(self, show: Show, seconds: float) -> None:
        """Cause one fault after the other for `seconds`; the last fault may end later."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while loop.time() < end_s:
            await getattr(self, self._next())(show)
            await asyncio.sleep(self._every_s)

    def _next(self) -> str:
        """Return the next fault. All faults come once, in random order, before one repeats."""
        if not self._left:
            self._left = self._chance.sample(self._faults, len(self._faults))
        return self._left.pop()

    def _proxy(self) -> Proxy:
        return self._chance.choice(self._stage.proxies)

    async def cut(self, _: Show) -> None:
        self._proxy().cut()

    async def cut_pubsub(self, _: Show) -> None:
        self._proxy().cut(only_pubsub=True)

    async def forget_pubsub(self, _: Show) -> None:
        self._proxy().swallow_pubsub()

    async def refuse(self, _: Show) -> None:
        with self._proxy().refusing():
            await asyncio.sleep(1)

    async def stall(self, _: Show) -> None:
        with self._proxy().stalled():
            await asyncio.sleep(1)

    async def forget(self, _: Show) -> None:
        with self._proxy().half_open():
            await asyncio.sleep(1)

    async def lose_an_answer(self, _: Show) -> None:
        self._proxy().lose_next_answer(b":idem:")

    async def garble_messages(self, _: Show) -> None:
        proxy = self._proxy()
        proxy.fate = lambda _: self._chance.choice(UNRELIABLE)
        await asyncio.sleep(2)
        proxy.fate = None

    async def stop_the_store(self, _: Show) -> None:
        with self._store.stopped():
            await asyncio.sleep(1)

    async def kill_the_store(self, _: Show) -> None:
        self._store.kill()
        await asyncio.to_thread(self._store.start)

    async def stop_a_worker(self, _: Show) -> None:
        with frozen(self._chance.choice(self._stage.servers).pid):
            await asyncio.sleep(1)

    async def cut_readers(self, show: Show) -> None:
        for viewer in self._chance.sample(show.audience.viewers, 20):
            viewer.cut()

    async def stall_readers(self, show: Show) -> None:
        stalled = self._chance.sample(show.audience.viewers, 20)
        for viewer in stalled:
            viewer.stall()
        await asyncio.sleep(2)
        for viewer in stalled:
            viewer.read_on()
