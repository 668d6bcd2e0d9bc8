"""One random story of the desk, and the judgement of what it left.

A story has 8 to 20 steps in three tabs of two browsers. Its seed decides each step. At the end
everything works again, and kit/ledger.py judges what is stored, what the boxes have and what the
desk offers.
"""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from playwright.async_api import Error

from kit.hand import Hand, Look, pick
from kit.ledger import judge
from kit.newsdesk import ODD_ZONE, Newsdesk
from kit.profiles import LEFT
from kit.remains import offered, read_store
from kit.seats import Seat, Told
from kit.waiting import until
from kit.writing import Writing

STEPS: Final = (8, 20)
DRAIN_S: Final = 20.0  # until the queue has sent everything, when everything works again
OFFERS_S: Final = 3.0  # until the page shows what is left over
STEPS_OF: Final = {
    "type": 12,
    "publish": 8,
    "reload": 2,
    "close_tab": 2,
    "open_tab": 2,
    "escape": 2,
    "back": 2,
    "sign_out_elsewhere": 1,
    "other_signs_in": 1,
    "kill_server": 1,
    "kill_store": 1,
    "cut_network": 1,
    "go_offline": 2,
    "another_saves": 3,
    "another_deletes": 1,
    "kill_renderer": 2,
    "kill_browser": 1,
    "restore": 2,
    "discard": 1,
    "take_back": 1,
    "use_theirs": 2,
    "answer": 2,
    "delete_two": 1,
    "undo": 1,
    "retract": 1,
    "schedule": 1,
    "save_draft": 1,
    "end_coverage": 1,
}


Act = Callable[[Seat, random.Random], Awaitable[str | None]]


class Story(Writing):
    """Plays one story on a newsdesk."""

    def __init__(self, desk: Newsdesk, seed: int, steps: tuple[int, int] = STEPS) -> None:
        super().__init__(desk, seed)
        self._count = self.chance.randint(*steps)
        self.doing = "the start"

    async def play(self) -> Told:
        await self._begin()
        for number in range(self._count):
            self.at, chance = number, random.Random(f"{self.seed} {number}")
            await self._step(pick(chance, STEPS_OF), chance)
        self.at, self.doing = self._count, "the end"
        await self._end()
        return self.told

    async def _begin(self) -> None:
        await self._recover()
        calls = self.desk.calls
        zone = self.chance.choice(("Europe/Berlin", ODD_ZONE))
        self.slug = str((await calls.blog(timezone=zone))["slug"])
        entries = [await calls.publish(self.slug, f"Stored {number}.") for number in range(2)]
        self.entries = [it["id"] for it in entries]
        for number, profile in enumerate(self.desk.profiles):
            profile.complaints.clear()
            profile.reported = self.ledger.show
            await self.desk.sign_in(number, self.editors[number])

    async def _step(self, name: str, chance: random.Random) -> None:
        seat = chance.choice(self.seats)
        for what in [what for what, at in self._over.items() if at <= self.at]:
            await self._stop(what)
        act: Act = getattr(self, name)
        self.doing = f"{self.seats.index(seat)}:{name}"
        try:
            more = await act(seat, chance)
            self.told.acts[name] += more is not None
            self._tell(seat, f"({name})" if more is None else f"{name} {more}".strip())
        except Error as error:
            self._tell(seat, f"{name}!")
            self.told.stumbles.append(f"{self.at} {name}: {str(error)[:200]}")

    def _tell(self, seat: Seat, what: str) -> None:
        self.told.steps.append(f"{self.seats.index(seat)}:{what}")

    # -- the end

    async def _end(self) -> None:
        """Let everything work again, and judge what is left."""
        await self._recover()
        await self.desk.calls.alter(self.slug, status="live")
        for wire in self.desk.wires:
            wire.forget()
        left: dict[int, list[str]] = {}
        for browser, editor in enumerate(self.editors):
            names = {it.editor for it in self.ledger.texts if it.browser == browser}
            left[browser] = []
            for name in sorted({editor, *names, *self.took_over[browser]} if names else ()):
                left[browser] += await self._left_in(browser, name)
        stored = await read_store(self.desk.calls, self.slug)
        self.told.faults += judge(self.ledger, stored, left)
        self.told.characters = self.ledger.characters
        self.told.texts = len(self.ledger.texts)
        for profile in self.desk.profiles:
            for it in profile.complaints:
                self.blame("script", it)
        for seat in self.seats:
            await self._leave(seat)

    async def _leave(self, seat: Seat) -> None:
        """Leave the desk; again when the page itself goes to another one at the same moment."""
        away = f"{self.desk.url(seat.browser)}{LEFT}"
        while seat.hand and not seat.hand.page.url.endswith(LEFT):
            with contextlib.suppress(Error):
                await seat.hand.page.goto(away)

    async def _left_in(self, browser: int, name: str) -> list[str]:
        """Return the texts that a browser shows or offers to an editor in one tab."""
        hand = await self._last_tab(browser, name)
        look = await self._drained(hand, f"user:{name}")
        if look.cards:
            self.blame("unsent", f"{name}: {look.cards}")
        await self.look_into_bin(hand)
        texts = await self._offered(hand, f"user:{name}")
        await self._restore_some(hand)
        return texts

    async def _offered(self, hand: Hand, ident: str) -> list[str]:
        """Return the texts that a page shows or offers, when the copies of the server are there."""

        async def read() -> tuple[list[str], list[str]]:
            records = [it for it in await hand.records() if it["id"][0] == ident]
            return offered(await hand.look(), records)

        async def all_shown() -> list[str]:
            shown, hidden = await read()
            return [] if self.ledger.inside(hidden) else [*shown, ""]

        try:
            return await until(all_shown, OFFERS_S)
        except TimeoutError:
            return (await read())[0]

    async def _last_tab(self, browser: int, name: str) -> Hand:
        """Leave the desk in all tabs of a browser but one, and show it there to an editor.

        A tab that left has no text in use, as one that was closed; the next story goes on in it.
        A tab that shows it already goes on, unless a tab was killed: only a page that is loaded
        completes the writes of killed tabs.
        """
        seats = [it for it in self.seats if it.browser == browser]
        last = next((it for it in seats if it.hand), seats[0])
        for seat in seats:
            if seat is not last:
                await self._leave(seat)
                seat.hand = None
        await self.desk.sign_in(browser, name)
        if not last.hand:
            last.hand = Hand(await self.desk.profiles[browser].open_tab(), self.slug)
        look = await last.hand.look()
        is_same = look.is_desk and look.who == name and not (look.is_dialog or look.asking)
        if is_same and not self.told.kills["renderer"]:
            await last.hand.show_again()
        else:
            await last.hand.go(self._path(last))
        return last.hand

    async def _drained(self, hand: Hand, ident: str) -> Look:
        """Wait until the queue has sent everything. Entries of an ended blog wait for a press.

        A page that has just started may not show yet what it sends.
        """

        async def is_drained() -> bool:
            look = await hand.look()
            sent = [it for it in await hand.records() if it["id"][0] == ident and _is_sent(it)]
            if not (look.cards or sent):
                return True
            waiting = [n for n, card in enumerate(look.cards) if "ended" in card]
            if waiting:  # coverage may have ended in the same queue
                await self.desk.calls.alter(self.slug, status="live")
            for number in waiting[:1]:
                await hand.click("#queue li [data-act=press]", number)
            await hand.show_again()
            await hand.settled()
            return False

        with contextlib.suppress(TimeoutError):
            await until(is_drained, DRAIN_S)
        return await hand.look()

    async def _restore_some(self, hand: Hand) -> None:
        """Check that the first and the last offer bring back their words."""
        offers = (await hand.look()).offers
        for words in {offers[0], offers[-1]} if offers else ():
            if not await hand.restores(words):
                self.blame("lost", f"an offer did not bring back {words!r}")
            if (await hand.look()).is_dialog:
                await hand.close_dialog()


def _is_sent(record: dict[str, Any]) -> bool:
    return bool(record["id"][2] == "sent")
