"""The tabs of a story, in two browsers, and the outages that last for some steps.

Rules: kills are real. No step waits for a fixed time.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

from kit.hand import Hand, Look
from kit.ledger import Fault, Ledger
from kit.newsdesk import Newsdesk
from kit.profiles import close_tab


@dataclass
class Seat:
    """A place for a tab in one of the browsers; `hand` is None while no tab is open there."""

    browser: int
    hand: Hand | None = None


@dataclass
class Told:
    """The steps of a story, and the rules that it broke. `acts` counts the steps that did something,
    by their names; `stumbles` are steps that a tab did not take part in. Of its `texts`, nobody knows
    what became of the `unjudged` ones.

    A story that `is_broken` did not come to its end.
    """

    seed: int
    steps: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    unjudged: int = 0
    characters: int = 0
    faults: list[Fault] = field(default_factory=list)
    stumbles: list[str] = field(default_factory=list)
    is_broken: bool = False


class Seats:
    """Two tabs of dana's browser, and one of dana's other machine or of kim's.

    `seed` decides all choices. Steps are the methods that take a seat and a chance. They return more
    about what they did, None when they did nothing.
    """

    def __init__(self, desk: Newsdesk, seed: int) -> None:
        self.desk, self.seed = desk, seed
        self.chance = random.Random(seed)
        self.editors = ("dana", self.chance.choice(("dana", "kim")))
        self.seats = [Seat(0), Seat(0), Seat(1)]
        self.ledger = Ledger(seed)
        self.took_over: dict[int, set[str]] = {0: set(), 1: set()}
        self.slug = ""
        self.at = 0
        self.told = Told(seed)
        self._over: dict[str, int] = {}  # the step at which an outage ends, by its name

    def blame(self, rule: str, what: str) -> None:
        self.told.faults.append(Fault(rule, f"step {self.at}: {what}"))

    # -- outages

    def _last(self, what: str, chance: random.Random) -> None:
        """Let an outage last for some steps."""
        self._over[what] = self.at + chance.randint(1, 4)

    async def _stop(self, what: str) -> None:
        """End an outage: start the killed processes, or let a browser be online."""
        self._over.pop(what, None)
        if what == "killed":
            await self.desk.start()
        else:
            await self.desk.profiles[int(what)].context.set_offline(False)

    async def _recover(self, browser: int | None = None) -> None:
        """End the outages that keep a browser, or all of them, from the server."""
        if not self.desk.is_up:
            await self._stop("killed")
        for what in [it for it in self._over if browser is None or it == str(browser)]:
            await self._stop(what)

    def _kill(self, what: str) -> None:
        self.told.kills[what] += 1
        if what == "server" and self.desk.is_server_up:
            self.desk.kill_server()
        elif what == "store" and self.desk.is_store_up:
            self.desk.kill_store()

    async def kill_server(self, seat: Seat, chance: random.Random) -> str:
        self._kill("server")
        self._last("killed", chance)
        return ""

    async def kill_store(self, seat: Seat, chance: random.Random) -> str:
        self._kill("store")
        self._last("killed", chance)
        return ""

    async def cut_network(self, seat: Seat, chance: random.Random) -> str | None:
        return "" if self.desk.wires[seat.browser].cut() else None

    async def go_offline(self, seat: Seat, chance: random.Random) -> str:
        await self.desk.profiles[seat.browser].context.set_offline(True)
        self._last(str(seat.browser), chance)
        return ""

    # -- tabs

    def _path(self, seat: Seat, more: str = "") -> str:
        return f"{self.desk.url(seat.browser)}/desk/blogs/{self.slug}{more}"

    async def _look(self, seat: Seat) -> tuple[Hand, Look]:
        """Return the tab of a seat with the desk in it; open both when they are not there."""
        if seat.hand:
            look = await seat.hand.look()
            if look.is_desk:
                return seat.hand, look
        await self._recover(seat.browser)
        profile = self.desk.profiles[seat.browser]
        if not seat.hand:
            seat.hand = Hand(await profile.open_tab(), self.slug)
        if not await seat.hand.go(self._path(seat)):
            await self.desk.sign_in(seat.browser, self.editors[seat.browser])
            await seat.hand.go(self._path(seat))
        return seat.hand, await seat.hand.look()

    async def _front(self, seat: Seat) -> tuple[Hand, Look]:
        """Return the tab of a seat, without a dialog in front of the desk."""
        hand, look = await self._look(seat)
        if look.is_dialog:
            await hand.close_dialog()
            look = await hand.look()
        return hand, look

    async def open_tab(self, seat: Seat, chance: random.Random) -> str | None:
        closed = next((it for it in self.seats if not it.hand), None)
        await self._look(closed or seat)
        return "" if closed else None

    async def close_tab(self, seat: Seat, chance: random.Random) -> str | None:
        if not seat.hand:
            return None
        await close_tab(seat.hand.page)
        seat.hand = None
        return ""

    async def reload(self, seat: Seat, chance: random.Random) -> str:
        hand, _ = await self._look(seat)
        await hand.page.reload(wait_until="commit")
        await hand.arrived()
        return ""

    async def back(self, seat: Seat, chance: random.Random) -> str:
        hand, _ = await self._look(seat)
        await self._recover(seat.browser)
        await hand.back(f"{self.desk.url(seat.browser)}/desk")
        await hand.arrived()
        return ""

    async def kill_browser(self, seat: Seat, chance: random.Random) -> str:
        """Kill a browser, when the last letters are on the disk, which takes milliseconds."""
        await self._write_out(seat.browser)
        self.told.kills["browser"] += 1
        profile = self.desk.profiles[seat.browser]
        await profile.kill()
        self._over.pop(str(seat.browser), None)
        for it in self.seats:
            it.hand = None if it.browser == seat.browser else it.hand
        await profile.launch()
        await self._recover(seat.browser)
        await self.desk.sign_in(seat.browser, self.editors[seat.browser])
        return ""

    async def _write_out(self, browser: int) -> None:
        for seat in self.seats:
            if seat.browser == browser and seat.hand and (await seat.hand.look()).is_desk:
                await seat.hand.records()
