"""A client written from the contract's text alone, and a world of workers, faults and such clients
around one store.

Whatever happens to the network, the store and the workers, every client must end with the store's
state; what no server may ever send is asserted at every frame.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from sources import SLUG, Clock, FakeRender, FakeStore, Past, Wire, make_hub

from liveblog.frame import Frame, form_of
from liveblog.hub import Hub, Live, Reader
from liveblog.model import BLOG_ID, Blog, Entry, Position, StoreDown

HEARTBEAT_S = 20.0
POLL_S = 5.0  # the contract says 10 minutes
PAGES_TRIED = 10
STAY_AWAY = 4504
ENDED = 4510
RESET = 4005
LOST = 1006

render = FakeRender()


class Page(NamedTuple):
    """What a page shows: each entry's offset, order and HTML, and the header's."""

    position: Position
    entries: dict[str, tuple[int, int, str]]
    header: str
    status: str


def page_of(live: Live) -> Page:
    held = live.timeline.page(10) or live.timeline.newest(1_000)
    whole = live.timeline.newest(1_000)
    assert held == whole[:10] or held == whole
    shown = {e.id: _shown(e, live.blog) for e in whole}
    return Page(live.position, shown, render.header_html(live.blog), live.blog.status)


def _shown(entry: Entry, blog: Blog) -> tuple[int, int, str]:
    return entry.offset or 0, entry.order or 0, render.entry_html(entry, blog)


class Client:
    """What a reader's browser holds. It moves by pages and applied `changes` only."""

    def __init__(self, page: Page) -> None:
        self.replace(page)

    def replace(self, page: Page) -> None:
        self.position, self.header, self.status = page.position, page.header, page.status
        self.highest = {id: offset for id, (offset, _, _) in page.entries.items()}
        self.shown = {id: (order, html) for id, (_, order, html) in page.entries.items()}

    def accepts(self, page: Position, reset: Position) -> bool:
        if page.epoch == reset.epoch:
            return page.offset >= reset.offset
        return page.epoch != self.position.epoch

    def take(self, frame: dict[str, Any], at: Position) -> None:
        """Take a frame of a stream on which the server has brought this client to `at`."""
        if frame["t"] == "hello":
            assert frame["position"] == str(self.position)
        elif frame["t"] == "beat":
            assert frame["position"] in (None, str(at)), "a beat for who is not at that position"
        elif frame["t"] == "changes":
            self.apply(frame)

    def apply(self, frame: dict[str, Any]) -> None:
        position = Position.parse(frame["position"])
        assert position
        assert position.epoch == self.position.epoch, "another epoch without a reset"
        assert frame["from"] <= self.position.offset, "a hole"
        assert_well_formed(frame, position)
        if position.offset <= self.position.offset:
            return
        for change in frame["changes"]:
            self._apply(change)
        self.position = position

    def _apply(self, change: dict[str, Any]) -> None:
        if change["op"] == "blog":
            self.header, self.status = change["html"], change["status"]
            return
        if change["offset"] <= self.highest.get(change["id"], 0):
            return
        self.highest[change["id"]] = change["offset"]
        if change["op"] == "put":
            self.shown[change["id"]] = change["order"], change["html"]
        else:
            self.shown.pop(change["id"], None)


def assert_well_formed(frame: dict[str, Any], position: Position) -> None:
    offsets = [change["offset"] for change in frame["changes"]]
    assert offsets == sorted(set(offsets))
    assert all(frame["from"] < offset <= position.offset for offset in offsets)
    ids = [change.get("id", BLOG_ID) for change in frame["changes"]]
    assert len(ids) == len(set(ids))
    for change in frame["changes"]:
        if change["op"] == "put":
            assert change["new"] == (change["order"] > frame["from"])


class Seat(Reader):
    """A client's stream: its socket takes a frame in `slow_s`, at once when 0."""

    def __init__(self, client: Client, slow_s: float) -> None:
        super().__init__(form_of(False, "text"))
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.reset: Position | None = None
        self._client, self._slow_s = client, slow_s
        self._hand: dict[str, Any] | None = None
        self._is_cut = False

    def take(self, data: str) -> None:
        assert not self.behind
        if self._is_cut:
            return
        assert not self.ended.done()
        if self._slow_s:
            self._hand = json.loads(data)
            self.fell_behind(len(data))
            asyncio.get_running_loop().call_later(self._slow_s, self._drain)
        else:
            self._take(json.loads(data))

    def _drain(self) -> None:
        if self.ended.done() or not self._hand or not self.live:
            return
        frame, self._hand = self._hand, None
        self._take(frame)
        self.drained()

    def abort(self) -> None:
        self.cut()

    def _take(self, frame: dict[str, Any]) -> None:
        try:
            self._client.take(frame, self._client.position)
        except AssertionError as error:
            if not self.ended.done():
                self.ended.set_exception(error)

    def end(self, frame: Frame | None, code: int) -> None:
        if self.ended.done():
            return
        if self._hand:
            self._take(self._hand)
            self._hand = None
        farewell = json.loads(frame.json) if frame else {}
        if farewell.get("t") == "reset":
            self.reset = Position.parse(farewell["position"])
        if not self.ended.done():
            self.ended.set_result(code)

    def cut(self) -> None:
        """Lose the connection, and what was on its way."""
        self._is_cut = True
        if not self.ended.done():
            self.ended.set_result(LOST)


class World:
    """Two workers on one store, and clients that come back whatever happens to them."""

    def __init__(self, seed: int, latency_s: float, slowness: Sequence[float]) -> None:
        self.random = random.Random(seed)
        self.store = FakeStore(Past())
        self.store.latency_s = lambda: latency_s
        self.past = self.store.pasts[SLUG]
        self.past.release(3)
        self.hubs: list[Hub] = []
        self.seats: list[Seat | None] = [None] * len(slowness)
        self.clients: list[Client | None] = [None] * len(slowness)
        self._slowness = slowness
        self._tasks: list[asyncio.Task[None]] = []
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for _ in range(2):
            self._start_worker()
        self._tasks = [asyncio.create_task(self._live(i)) for i in range(len(self.clients))]

    def _start_worker(self) -> None:
        hub = make_hub(self.store, Clock(tick_s=0.0004), heartbeat_s=HEARTBEAT_S)
        self.hubs.append(hub)
        self._running.append(asyncio.create_task(hub.run()))

    async def stop(self) -> None:
        for task in (*self._tasks, *self._running):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._running, return_exceptions=True)
        for hub in self.hubs:
            await hub.close()

    async def kill(self, which: int) -> None:
        """Kill a worker; another is started in its place."""
        hub = self.hubs.pop(which)
        running = self._running.pop(which)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        wire = hub.subscriptions
        assert isinstance(wire, Wire)
        self.store.wires.remove(wire)
        for seat in self.seats:
            if seat and seat.live and seat.live.hub is hub:
                seat.cut()
        await hub.close()
        self._start_worker()

    def check(self) -> None:
        """Raise what a task raised."""
        for task in (*self._tasks, *self._running):
            if task.done() and not task.cancelled():
                task.result()

    # -- one client's life

    async def _live(self, i: int) -> None:
        page = await self._page()
        client = self.clients[i] = Client(page)
        while True:
            code, reset = await self._sit(i, client)
            if code == RESET and reset:
                await self._start_over(client, reset)
            elif code == ENDED:
                await self._poll(client)
            assert code != STAY_AWAY

    async def _sit(self, i: int, client: Client) -> tuple[int, Position | None]:
        await asyncio.sleep(self.random.random())
        try:
            live = await self._any_live()
        except StoreDown:
            return 1013, None
        seat = self.seats[i] = Seat(client, self._slowness[i])
        live.join(seat, client.position)
        try:
            return await seat.ended, seat.reset
        finally:
            live.leave(seat)

    async def _any_live(self) -> Live:
        hub = self.random.choice(self.hubs)
        try:
            live = await hub.live(SLUG)
        except asyncio.CancelledError:
            if hub in self.hubs:
                raise  # this client's task ends
            raise StoreDown("the worker was killed") from None
        if not live:  # this worker began while the store had lost the blog
            raise StoreDown("404 while the store lacks the blog")
        return live

    async def _page(self, at: Position | None = None) -> Page:
        while True:
            try:
                live = await self._any_live()
                if at and (at.epoch != live.position.epoch or at.offset > live.position.offset):
                    await live.confirm(1.0)
            except StoreDown:
                await asyncio.sleep(self.random.random())
            else:
                return self._checked(page_of(live))

    def _checked(self, page: Page) -> Page:
        """A page is always the blog's state at some position."""
        at = page.position
        if at.offset <= self.past.top and self.past.at(at.offset) == at:
            assert page.entries == self.entries(at.offset)
        return page

    def entries(self, top: int | None = None) -> dict[str, tuple[int, int, str]]:
        blog = self.past.state(top)[BLOG_ID]
        assert isinstance(blog, Blog)
        return {entry.id: _shown(entry, blog) for entry in self.past.entries(top)}

    async def _start_over(self, client: Client, reset: Position) -> None:
        """Take a page that the contract accepts; any, when it has not come for long.

        A store that loses its own rotation goes back to the epoch held: the contract's rule alone
        would never end.
        """
        for _ in range(PAGES_TRIED):
            await asyncio.sleep(3 * self.random.random())
            page = await self._page(reset)
            if client.accepts(page.position, reset):
                break
        client.replace(page)

    async def _poll(self, client: Client) -> None:
        """Ask for `changes` until one says that the blog is open again."""
        while client.status == "ended":
            await asyncio.sleep(POLL_S)
            try:
                live = await self._any_live()
                if live.timeline.standing(client.position) == "ask":
                    await live.confirm(1.0)
            except StoreDown:
                continue
            here = live.timeline.standing(client.position) == "here"
            frame = live.frame(client.position.offset, as_data=False) if here else None
            if frame:
                client.apply(json.loads(frame.json))
            else:
                await self._start_over(client, live.position)

    # -- the end

    def heal(self) -> None:
        """End all faults."""
        self.store.is_down = False
        self.store.lacks.clear()
        for wire in self.store.wires:
            wire.fate = lambda: [0.0]

    def is_at_rest(self) -> bool:
        self.check()
        top = self.past.position
        return all(client and client.position == top for client in self.clients)

    def assert_all_hold_the_stores_state(self) -> None:
        wanted = {id: (order, html) for id, (_, order, html) in self.entries().items()}
        for client in self.clients:
            assert client
            assert client.shown == wanted
            assert client.header == render.header_html(self.past.blog)
            assert client.status == self.past.blog.status
