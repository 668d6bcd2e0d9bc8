"""A scene for tests of the hub: one blog with some entries, its store, and one worker."""

import asyncio
from collections.abc import Callable
from typing import Any

from kit.sources import (
    SLUG,
    Clock,
    FakeReader,
    FakeStore,
    Past,
    Wire,
    make_hub,
)
from kit.waiting import until
from liveblog.blog.model import Position
from liveblog.blog.timeline import Changes
from liveblog.live.blog import LiveBlog
from liveblog.live.hub import Hub
from liveblog.live.roster import SLOTS


class Scene:
    """One blog with some entries, its store, and one worker that has loaded the blog."""

    def __init__(self, store: FakeStore, hub: Hub, live: LiveBlog) -> None:
        self.store, self.hub, self.live = store, hub, live

    @property
    def past(self) -> Past:
        return self.store.pasts[SLUG]

    @property
    def wire(self) -> Wire:
        return self.store.wires[0]

    def reader(
        self, since: Position | None = None, kind: type[FakeReader] = FakeReader, **how: Any
    ) -> FakeReader:
        """Return a reader that joined at position `since`; None: at the newest change."""
        reader = kind(**how)
        self.live.join(reader, since)
        return reader

    def announce(self, change: Callable[..., Changes], *given: Any, **fields: Any) -> None:
        """Make a change in the blog, and announce it to the worker."""
        self.store.announce(change(*given, **fields))

    def repairs(self) -> int:
        return self.store.count("repair")


async def make_scene(entries: int = 3, clock: Clock | None = None, **header: Any) -> Scene:
    """Return a scene after the worker has loaded the blog.

    A worker reads missed changes once after every load; this first read is over, too.
    """
    past = Past(**header)
    for _ in range(entries):
        past.publish()
    store = FakeStore(past)
    hub = make_hub(store, clock)
    live = await hub.live(SLUG)
    assert live
    await until_idle(hub)
    store.calls.clear()
    return Scene(store, hub, live)


async def until_idle(hub: Hub) -> None:
    """Wait until the hub runs no task: no load, no repair, and no sending to readers."""
    await until(lambda: not hub._tasks)


def offsets(frame: dict[str, Any]) -> list[int]:
    return [change["offset"] for change in frame["changes"]]


def text(position: Position) -> str:
    return str(position)


async def some_are_served(readers: list[FakeReader]) -> None:
    """Wait, turn by turn of the loop, until 20 readers have the new change."""
    while sum(len(reader.frames) > 1 for reader in readers) < 20:  # noqa: ASYNC110
        await asyncio.sleep(0)  # a poll: the hub signals nothing in the middle of a pass


async def middle_of_a_pass() -> tuple[Scene, list[FakeReader]]:
    """Return a scene and its readers at a moment when only some readers have a new change.

    Heartbeats are sent to one slot of readers after the other; each slot has ten readers.
    """
    scene = await make_scene(clock=Clock(tick_s=0.0004))
    readers = [scene.reader() for _ in range(10 * SLOTS)]
    scene.announce(scene.past.publish)
    await some_are_served(readers)
    return scene, readers


def assert_caught_up(reader: FakeReader, start: int, top: int) -> None:
    """Expect that a reader's frames lead from `start` to `top` without a gap or an overlap."""
    at = start
    for frame in reader.changes():
        position = Position.parse(frame["position"])
        assert position
        assert frame["from"] == at
        assert offsets(frame) == list(range(at + 1, position.offset + 1))
        at = position.offset
    assert at == reader.offset == top


def blogs(count: int, **settings: Any) -> tuple[FakeStore, Hub]:
    """Return a store with blogs b0, b1, …, and a hub that has loaded none of them."""
    store = FakeStore(*(Past(f"b{i}") for i in range(count)))
    return store, make_hub(store, **settings)
