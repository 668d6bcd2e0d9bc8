"""Every reader ends with the store's state, whatever happened: clients of the contract in a world
of faults."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from clients import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources import SLUG
from virtual import in_virtual_time
from waiting import until

from liveblog.model import Entry

# After how many seconds a message arrives at a worker: once, twice, or never.
FATES: Sequence[Sequence[float]] = ([0.0], [0.0], [0.05], [0.5], [0.0, 0.4], [3.0], [])


class Script:
    """What happens in a world, one deed a line. Deeds that make no sense at the moment do
    nothing."""

    def __init__(self, world: World) -> None:
        self.world, self.past, self.store = world, world.past, world.store

    async def do(self, deed: str, pick: int) -> None:
        done: Awaitable[None] | None = getattr(self, deed)(pick)
        if done:
            await done
        self.world.check()

    def _tell(self, happen: Callable[..., Any], *what: Any, **fields: Any) -> None:
        if SLUG not in self.store.lacks:
            self.store.tell(happen(*what, **fields))

    def _id(self, pick: int, *, deleted: bool = False) -> str | None:
        entries = [r for r in self.past.state().values() if isinstance(r, Entry)]
        ids = [entry.id for entry in entries if entry.deleted == deleted]
        return ids[pick % len(ids)] if ids else None

    # -- editors

    def publish(self, _: int) -> None:
        self._tell(self.past.publish)

    def release(self, pick: int) -> None:
        self._tell(self.past.release, 1 + pick % 4)

    def edit(self, pick: int) -> None:
        if id := self._id(pick):
            self._tell(self.past.edit, id)

    def delete(self, pick: int) -> None:
        if id := self._id(pick):
            self._tell(self.past.delete, id)

    def restore(self, pick: int) -> None:
        if id := self._id(pick, deleted=True):
            self._tell(self.past.restore, id)

    def end_or_open(self, _: int) -> None:
        status = "live" if self.past.blog.status == "ended" else "ended"
        self._tell(self.past.header, status=status)

    def rezone(self, pick: int) -> None:
        self._tell(self.past.rotate, timezone=f"Zone/{pick}")

    # -- the network

    def message_fates(self, pick: int) -> None:
        for i, wire in enumerate(self.store.wires):
            fate = FATES[(pick + i * (1 + pick // len(FATES))) % len(FATES)]
            wire.fate = lambda fate=fate: fate  # type: ignore[misc]

    def cut_a_client(self, pick: int) -> None:
        seat = self.world.seats[pick % len(self.world.seats)]
        if seat:
            seat.cut()

    def resubscribe(self, pick: int) -> None:
        self.world.hubs[pick % 2].resubscribed(SLUG)

    # -- the store and the workers

    def cut_the_store(self, _: int) -> None:
        self.store.is_down = not self.store.is_down

    def lose_the_blog(self, _: int) -> None:
        self.store.lacks ^= {SLUG}

    def lose_changes(self, pick: int) -> None:
        self.past.lose(1 + pick % 5)

    def kill_a_worker(self, pick: int) -> Awaitable[None]:
        return self.world.kill(pick % 2)

    # -- time

    def wait_a_little(self, pick: int) -> Awaitable[None]:
        return asyncio.sleep([0.0, 0.001, 0.01, 0.1][pick % 4])

    def wait_longer(self, pick: int) -> Awaitable[None]:
        return asyncio.sleep([0.5, 1.0, 2.5, 4.0][pick % 4])

    def wait_very_long(self, _: int) -> Awaitable[None]:
        return asyncio.sleep(75)


EDITORS = ["publish", "release", "edit", "delete", "restore"]
ALL = [name for name in vars(Script) if not name.startswith("_") and name != "do"]


def scripts(deeds: list[str], size: int) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(deeds), st.integers(0, 30)), max_size=size)


async def play(script: list[tuple[str, int]], latency_s: float, seed: int) -> None:
    world = World(seed, latency_s, slowness=[0.0, 0.0, 0.03, 0.8])
    world.start()
    try:
        played = Script(world)
        for deed, pick in script:
            await played.do(deed, pick)
        world.heal()
        await until(world.is_at_rest, timeout_s=300)
        await asyncio.sleep(30)  # and it stays so
        assert world.is_at_rest()
        world.assert_all_hold_the_stores_state()
    finally:
        await world.stop()


latencies = st.sampled_from([0.001, 0.1, 0.4])


@given(scripts([*EDITORS, *ALL], size=40), latencies, st.integers(0, 1000))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_reader_ends_with_the_stores_state(
    script: list[tuple[str, int]], latency_s: float, seed: int
) -> None:
    in_virtual_time(play)(script, latency_s, seed)
