"""A client written from docs/streams.md alone, and the invariants that hold for every reader.

The model-based test (kit/machine.py) checks these invariants.

Rules: `Client` uses only frames and positions. `Seat` connects a `Client` to a hub by the hub's
interface `Reader`.
"""

import asyncio
import json
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from kit import judge
from kit.sources import FakeRender, numbers_html
from liveblog.blog.model import Blog, Entry, Position
from liveblog.live.blog import LiveBlog
from liveblog.live.frame import Frame, encoding_of
from liveblog.live.reader import Reader

RESET = 4005
LOST = 1006

render = FakeRender()


class Invariant(StrEnum):
    """Names what must hold for every reader under all faults of network, store and workers."""

    STATE = "every reader's entries equal the store's state at its position"
    GROWS = "positions only grow within an epoch"
    FROM = "no frame starts ahead of its reader"
    ONCE = "no change is applied twice"
    EPOCH = "an epoch changes only with a reset"
    END = "every published change is there at the end"
    BEAT = "a heartbeat has its reader's position"
    FULL = "a full socket gets no frame"


BROKEN_BY = {
    judge.Rule.EPOCH: Invariant.EPOCH,
    judge.Rule.FROM: Invariant.FROM,
    judge.Rule.GROWS: Invariant.GROWS,
    judge.Rule.ONCE: Invariant.ONCE,
    judge.Rule.RANGE: Invariant.STATE,
    judge.Rule.ORDER: Invariant.STATE,
}


class Broken(AssertionError):
    """Reports a broken `Invariant`; `seen` is the evidence."""

    def __init__(self, invariant: Invariant, seen: object) -> None:
        super().__init__(f"{invariant}: {seen}")
        self.invariant = invariant


def hold(invariant: Invariant, holds: bool, seen: object) -> None:
    if not holds:
        raise Broken(invariant, seen)


class Page(NamedTuple):
    """The content of a page: each entry's (offset, order, HTML), and the blog's header and status.

    `order` is the offset at which the entry was first published. `pins` has the `pin_order` of each
    pinned entry, in the order of the page's list.
    """

    entries: dict[str, tuple[int, int, str]]
    header: str
    status: str
    pins: dict[str, float | None]


def make_page(entries: list[Entry], blog: Blog, html: Callable[[Entry], str]) -> Page:
    shown = {entry.id: (entry.offset or 0, entry.order or 0, html(entry)) for entry in entries}
    pinned = sorted((it for it in entries if it.pinned), key=_pin_key)
    pins = {it.id: it.pin_order for it in pinned}
    return Page(shown, render.header_html(blog), blog.status, pins)


def _pin_key(entry: Entry) -> tuple[bool, float, int]:
    """Return the sort key of a pinned entry, as docs/streams.md states the order."""
    return entry.pin_order is None, entry.pin_order or 0, -(entry.order or 0)


def page_of(live: LiveBlog) -> Page:
    """Return the content of the page that a worker serves now."""
    held = live.timeline.page(10) or live.timeline.newest(1_000)
    whole = live.timeline.newest(1_000)
    assert held == whole[:10] or held == whole
    page = make_page(whole, live.blog, live.article)
    pinned = live.timeline.marked("pinned")
    return page._replace(pins={it.id: it.pin_order for it in pinned})


class Client:
    """Does what a reader's browser does: keeps a position and entries, and applies frames to them.

    `broken` keeps the first broken invariant: the hub calls `take`, so an exception in `take` would
    not reach the test.
    """

    def __init__(self, position: Position, page: Page) -> None:
        self.broken: Broken | None = None
        self.resets = 0
        self.story: list[judge.Step] = []
        self._show(position, page)

    def start_over(self, position: Position, page: Page) -> None:
        """Replace the position and the entries with those of a page, after a reset."""
        self.resets += 1
        self.story.append(judge.Announced())
        self._show(position, page)

    def _show(self, position: Position, page: Page) -> None:
        self.position, self.header, self.status = position, page.header, page.status
        entries = {id: judge.Shown(*shown) for id, shown in page.entries.items()}
        self.story.append(judge.Page(judge.Position(*position), entries))
        self.highest = {id: offset for id, (offset, _, _) in page.entries.items()}
        self.shown = {id: (order, html) for id, (_, order, html) in page.entries.items()}
        self.pins = dict(page.pins)
        hold(Invariant.STATE, self.pinned == [*page.pins], (position, page.pins))

    @property
    def pinned(self) -> list[str]:
        """The ids of the pinned entries, in the order in which a browser shows them."""

        def rank(id: str) -> tuple[float, int]:
            number = self.pins[id]
            return math.inf if number is None else number, -self.shown[id][0]

        return sorted(self.pins, key=rank)

    def accepts(self, page: Position, reset: Position) -> bool:
        """Return whether the client may start over from a page at position `page`.

        In the reset's epoch, the page must have reached the reset's offset. A page of another epoch
        must not be of the client's present epoch, because such a page is older than the reset.
        """
        if page.epoch == reset.epoch:
            return page.offset >= reset.offset
        return page.epoch != self.position.epoch

    def take(self, frame: dict[str, Any]) -> None:
        try:
            self._take(frame)
        except Broken as error:
            self.broken = self.broken or error

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["t"] == "hello":
            assert frame["position"] == str(self.position)
        elif frame["t"] == "beat":
            at = frame["position"]
            hold(Invariant.BEAT, at in (None, str(self.position)), (at, self.position))
        elif frame["t"] == "changes":
            self._apply(frame)

    def _apply(self, frame: dict[str, Any]) -> None:
        self.story.append(frame)
        mine, position = self.position, Position.parse(frame["position"])
        assert position
        for rule, _ in judge.broken_rules(judge.Position(*mine), frame):
            raise Broken(BROKEN_BY[rule], (mine, frame))
        assert_hints_are_right(frame)
        for change in frame["changes"]:
            self._change(change)
        self.position = position

    def _change(self, change: dict[str, Any]) -> None:
        if change["op"] == "blog":
            self.header, self.status = change["html"], change["status"]
        elif change["offset"] > self.highest.get(change["id"], 0):
            self.highest[change["id"]] = change["offset"]
            self._show_entry(change)

    def _show_entry(self, change: dict[str, Any]) -> None:
        self.pins.pop(change["id"], None)
        if change.get("pinned"):
            self.pins[change["id"]] = change["pin_order"]
        if change["op"] == "put":
            self.shown[change["id"]] = change["order"], completed(change)
        else:
            self.shown.pop(change["id"], None)

    def holds(self, page: Page) -> bool:
        """Return whether the browser shows the content of a page."""
        shown = {id: (order, html) for id, (_, order, html) in page.entries.items()}
        mine = self.shown, self.header, self.status, self.pins, self.pinned
        return mine == (shown, page.header, page.status, page.pins, [*page.pins])


def completed(put: dict[str, Any]) -> str:
    """Return the HTML of a `put` change, with the attributes that its client must add.

    A page's HTML has these attributes. A frame's HTML leaves them out.
    """
    numbers = numbers_html(put["offset"], put["order"], put["revision"])
    return str(put["html"]).replace("<article", f"<article{numbers}", 1)


def assert_hints_are_right(frame: dict[str, Any]) -> None:
    for change in frame["changes"]:
        if change["op"] == "put":
            assert change["new"] == (change["order"] > frame["from"])


class Seat(Reader[str]):
    """One connection of a client to a hub, with a fake socket.

    The socket accepts a frame after `slow_s` seconds: 0 means at once, None never.
    """

    def __init__(self, number: int, client: Client, slow_s: float | None) -> None:
        super().__init__(encoding_of(False, "text"))
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.reset: Position | None = None
        self._slow_s = slow_s
        self._number, self._client = number, client
        self._pending: dict[str, Any] | None = None
        self._is_cut = False

    def __hash__(self) -> int:
        """Return the same hash in every run, so that loops over a set of seats do not vary."""
        return self._number

    def take(self, data: str) -> None:
        frame = json.loads(data)
        if self.behind:
            self._client.broken = Broken(Invariant.FULL, frame)
        if self._is_cut:
            return
        assert not self.ended.done()
        if self._slow_s == 0:
            self._client.take(frame)
            return
        self._pending = frame
        self.fell_behind(len(data))
        self.slow_down(self._slow_s)

    def slow_down(self, slow_s: float | None) -> None:
        """From now on accept a frame, also the pending one, after `slow_s` seconds; None: never."""
        self._slow_s = slow_s
        if slow_s is not None:
            asyncio.get_running_loop().call_later(slow_s, self._drain)

    def _drain(self) -> None:
        if self._pending and self.roster:
            self._take_pending()
            self.drained()

    def _take_pending(self) -> None:
        frame, self._pending = self._pending, None
        if frame:
            self._client.take(frame)

    def abort(self) -> None:
        self.cut()

    def end(self, frame: Frame | None, code: int) -> None:
        if self.ended.done():
            return
        self._take_pending()
        farewell = json.loads(frame.json) if frame else {}
        if farewell.get("t") == "reset":
            self.reset = Position.parse(farewell["position"])
        self.ended.set_result(code)

    def cut(self) -> None:
        """Lose the connection, and the pending frame."""
        self._is_cut, self._pending = True, None
        if not self.ended.done():
            self.ended.set_result(LOST)
