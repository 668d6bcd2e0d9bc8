"""The acts of an editor at the tabs of a story: type, send, restore, discard, delete, answer.

Rules: as in kit/seats.py.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from playwright.async_api import Error
from playwright.async_api import TimeoutError as Late

from kit.hand import SAID_MS, UNFOLD, Hand, Look, pick
from kit.ledger import Typed
from kit.seats import Seat, Seats
from kit.waiting import SCALE, until
from kit.windows import PASSWORD

KILL_MS: Final = 25  # a server dies at a random moment of this time after it got a form
HOOK_S: Final = 1.0
LATER: Final = "2099-06-01T10:00"
# Boxes to type in, by the form.
BOXES: Final = {
    "compose": ("body", "body", "headline"),
    "header": ("dek", "summary", "summary", "title"),
    "edit": ("body", "body", "headline", "note"),
    "end": ("successor_text",),
}
TYPE_IN: Final = {"compose": 6, "edit": 5, "header": 4, "end": 1}
IN_DIALOG: Final = ("edit", "retract")
TROUBLES: Final = {
    "none": 6,
    "server": 2,
    "store": 2,
    "cut": 1,
    "unanswered": 2,
    "close_tab": 1,
    "reload": 1,
    "renderer": 1,
    "type on": 2,
}


BIN: Final = "async (slug) => (await fetch(`/desk/blogs/${slug}/bin`)).text()"
UNDO: Final = "#notice [data-do=restore]"
IS_THERE: Final = "(selector) => Boolean(document.querySelector(selector))"


class Writing(Seats):
    """Adds to the tabs what editors do with texts; `entries` are the ids of two stored entries."""

    entries: Sequence[str] = ()

    # -- typing and sending

    async def type(self, seat: Seat, chance: random.Random) -> str | None:
        return await self.type_in(seat, chance, pick(chance, TYPE_IN))

    async def type_in(self, seat: Seat, chance: random.Random, form: str) -> str | None:
        """Type a new text in a form; return the form's name, None when the page lacks the form."""
        hand, look = await (self._look if form == "edit" else self._front)(seat)
        if any(it.isBusy for it in look.forms.values()):
            await hand.settled()
            hand, look = await self._look(seat)
        if form == "edit" and not (look.is_dialog and "edit" in look.forms):
            await self._front(seat)
            if not await hand.open_edit(chance.choice(self.entries), look.notices):
                return None
        return await self._type_here(seat, chance, form, chance.choice(BOXES[form]))

    async def _type_here(
        self, seat: Seat, chance: random.Random, form: str, box: str
    ) -> str | None:
        hand, look = await self._look(seat)
        place = f"{form} {box}"
        typed = self.ledger.type(chance, seat.browser, look.who, place, self.at)
        try:
            is_typed = await hand.type(form, box, typed.text, at_start=chance.random() < 0.3)
        except Error:
            self._miss(typed)  # nobody knows what the tab got of it
            raise
        if not is_typed:
            typed.is_discarded = True
        elif not await self._reached(hand, look, typed):
            self._miss(typed)
        return None if typed.is_discarded else place

    def _miss(self, typed: Typed) -> None:
        """Do not judge a text."""
        typed.is_discarded = True
        self.told.unjudged += 1

    async def _reached(self, hand: Hand, before: Look, typed: Typed) -> bool:
        """Return whether a text had a box: a dialog or a page may close just before the first key."""
        look = await hand.look()
        is_same = look.loaded == before.loaded and look.is_dialog == before.is_dialog
        return is_same or typed.mark[:-1] in str([look.boxes, await hand.records()])

    async def publish(self, seat: Seat, chance: random.Random) -> str | None:
        _, look = await self._look(seat)
        form = self._sendable(look, chance)
        if not form:
            place = await self.type(seat, chance)
            form = place.split()[0] if place else None
        trouble = pick(chance, TROUBLES)
        if form:
            await self._send(seat, chance, form, trouble)
        return f"{form}, {trouble}" if form else None

    def _sendable(self, look: Look, chance: random.Random) -> str | None:
        """Return a form that has typed texts, None without."""
        forms = [id for id in look.forms if (id in IN_DIALOG) == look.is_dialog]
        typed = [it for it in forms if self.ledger.inside(look.forms[it].boxes)]
        ready = [it for it in typed if not look.forms[it].isBusy and it != "end"]
        return chance.choice(ready) if ready else None

    async def _send(
        self, seat: Seat, chance: random.Random, form: str, trouble: str = "none", button: str = ""
    ) -> None:
        """Send a form amid trouble, and look at what the page does."""
        hand, look = await self._look(seat)
        if form not in look.forms:
            return
        shown = look.forms[form]
        pid = await self._pid(seat, hand) if trouble == "renderer" else 0
        fired = self._arm(seat, chance, trouble)
        pressed = self.ledger.press(shown.boxes, look.who, shown.key if shown.isNew else None)
        await hand.press(form, button=button)
        if trouble == "renderer":
            await self._kill_renderer(seat, hand, pid)
        elif trouble in ("close_tab", "reload"):
            await getattr(self, trouble)(seat, chance)
        else:
            if trouble == "type on" and form not in IN_DIALOG:
                await self._type_here(seat, chance, "compose", "body")
            await self._answered(hand, form, look, pressed)
            if fired:
                await self._fired(seat, fired, trouble)
            if chance.random() < 0.7:
                await hand.settled()

    async def _answered(self, hand: Hand, form: str, before: Look, pressed: list[Typed]) -> None:
        """Check that a press has freed the form, or said why not."""
        is_new, texts = before.forms[form].isNew, [it.text for it in pressed]
        if not await hand.shown(form, texts, before.notices, is_new=is_new):
            await self._blame_press(hand, form, before)

    async def _pid(self, seat: Seat, hand: Hand) -> int:
        return await self.desk.profiles[seat.browser].renderer_of(hand.page)

    async def _kill_renderer(self, seat: Seat, hand: Hand, pid: int) -> None:
        seat.hand = None
        self.told.kills["renderer"] += 1
        await self.desk.profiles[seat.browser].kill_renderer(hand.page, pid)

    async def kill_renderer(self, seat: Seat, chance: random.Random) -> str | None:
        """Kill the process of a tab right after the last key of a text."""
        hand, look = await self._look(seat)
        await hand.settled()
        look = await hand.look()
        pid = await self._pid(seat, hand)
        form = "edit" if look.is_dialog else chance.choice(("compose", "header"))
        is_typed = await self._type_blindly(seat, hand, look, form, chance)
        await self._kill_renderer(seat, hand, pid)
        return form if is_typed else None

    async def _type_blindly(
        self, seat: Seat, hand: Hand, look: Look, form: str, chance: random.Random
    ) -> bool:
        """Type a text without a look at the page afterwards."""
        box = "body" if form != "header" else "summary"
        typed = self.ledger.type(chance, seat.browser, look.who, f"{form} {box}", self.at)
        is_typed = await hand.type(form, box, typed.text)
        typed.is_discarded = not is_typed
        return is_typed

    async def _blame_press(self, hand: Hand, form: str, before: Look) -> None:
        look = await hand.look()
        is_said = look.asking or look.notices > before.notices
        self.blame("kept together" if is_said else "silent", form)

    def _arm(self, seat: Seat, chance: random.Random, trouble: str) -> asyncio.Event | None:
        """Let the next form of a browser meet trouble; return the event of its arrival."""
        wire, fired = self.desk.wires[seat.browser], asyncio.Event()
        if trouble not in ("server", "store", "cut", "unanswered"):
            return None
        after_s = chance.uniform(0, KILL_MS / 1000)

        def act() -> None:
            fired.set()
            if trouble == "cut":
                wire.cut()
            elif trouble == "unanswered":
                wire.fall_silent()
            else:
                asyncio.get_running_loop().call_later(after_s, self._kill, trouble)

        wire.on_submit(act)
        if trouble in ("server", "store"):
            self._last("killed", chance)
        return fired

    async def _fired(self, seat: Seat, fired: asyncio.Event, trouble: str) -> None:
        wire = self.desk.wires[seat.browser]
        try:
            async with asyncio.timeout(HOOK_S):
                await fired.wait()
                if trouble in ("server", "store"):
                    await until(lambda: not self.desk.is_up)
                await until(lambda: not wire.is_silent)
        except TimeoutError:  # the form did not leave the browser
            wire.forget()

    async def schedule(self, seat: Seat, chance: random.Random) -> str | None:
        """Send a new entry for a later time, which only the server can place in the blog's zone."""
        hand, _ = await self._front(seat)
        if not await self._type_here(seat, chance, "compose", "body"):
            return None
        box = "#compose [name=publish_at]"
        await hand.page.evaluate(UNFOLD, box)
        await hand.page.fill(box, LATER)
        await self._send(seat, chance, "compose")
        return "compose"

    async def save_draft(self, seat: Seat, chance: random.Random) -> str | None:
        await self._front(seat)
        if await self._type_here(seat, chance, "compose", "body"):
            await self._send(seat, chance, "compose", button="button[value=draft]")
            return ""
        return None

    async def retract(self, seat: Seat, chance: random.Random) -> str | None:
        """Retract an entry with a note, while its edit is half typed."""
        if not await self.type_in(seat, chance, "edit"):
            return None
        hand, _ = await self._look(seat)
        if not await self._type_here(seat, chance, "retract", "note"):
            await hand.click("#retract .buttons button")  # take the retraction back
            await hand.settled()
            return "taken back"
        await self._send(seat, chance, "retract", button=".buttons button")
        return "retract"

    async def end_coverage(self, seat: Seat, chance: random.Random) -> str | None:
        """End the coverage, or open it again; a header is half typed."""
        hand, look = await self._front(seat)
        await self._recover(seat.browser)
        if await hand.click("#reopen button"):
            await hand.left(look, "reopen")
            return "reopened"
        await self.type_in(seat, chance, "header")
        await self._send(seat, chance, "end", button=".buttons button")
        await hand.left(look, "end")
        return "ended"

    # -- the lists of the page

    async def restore(self, seat: Seat, chance: random.Random) -> str | None:
        """Restore a text that is offered; without any, one that a closed tab has left."""
        hand, look = await self._front(seat)
        if not look.offers:
            await self._type_here(seat, chance, "compose", "body")
            await self.close_tab(seat, chance)
            hand, look = await self._front(seat)
        if not look.offers:
            return None
        await self._recover(seat.browser)
        await hand.restore(chance.randrange(len(look.offers)), look)
        await hand.settled()
        return ""

    async def discard(self, seat: Seat, chance: random.Random) -> str | None:
        """Discard a restored text by name; without any, one that a reload restores."""
        hand, look = await self._look(seat)
        if not any(form.canDiscard for form in look.forms.values()):
            await self.type_in(seat, chance, chance.choice(("compose", "header")))
            await self._recover(seat.browser)
            await self.reload(seat, chance)
            hand, look = await self._look(seat)
        restored: list[str] = [id for id, form in look.forms.items() if form.canDiscard]
        if not restored:
            return None
        form: str = chance.choice(restored)
        self.ledger.discard(look.forms[form].boxes)
        await hand.click(f"#{form} [data-reason] button.danger")
        return form

    async def take_back(self, seat: Seat, chance: random.Random) -> str | None:
        """Take back a form that waits; without any, a new entry that waits for the network."""
        hand, look = await self._front(seat)
        if not look.cards:
            await self.go_offline(seat, chance)
            await self._send_new(seat, chance)
            look = await hand.look()
        if not look.cards:
            return None
        await hand.click("#queue [data-act=back]", chance.randrange(len(look.cards)))
        await hand.settled()
        return ""

    async def _send_new(self, seat: Seat, chance: random.Random) -> None:
        if await self._type_here(seat, chance, "compose", "body"):
            await self._send(seat, chance, "compose")

    async def escape(self, seat: Seat, chance: random.Random) -> str | None:
        """Close an edit with Escape; without any, one that is half typed."""
        hand, look = await self._look(seat)
        if not look.is_dialog and not await self.type_in(seat, chance, "edit"):
            return None
        await hand.escape()
        return ""

    async def use_theirs(self, seat: Seat, chance: random.Random) -> str | None:
        """Look at a colleague's version beside mine, and save one of them."""
        hand, look = await self._look(seat)
        if not look.theirs:
            await self._collide(seat, chance)
            hand, look = await self._look(seat)
        if not look.theirs:
            return None
        for _ in range(chance.choice((0, 1, 1, 1, 2))):
            await hand.click(".theirs button", chance.randrange(len(look.theirs)))
        form = "edit" if look.is_dialog else "header"
        await self._send(seat, chance, form)
        return form

    async def _collide(self, seat: Seat, chance: random.Random) -> None:
        """Save a form after a colleague has saved the same box of it."""
        hand, look = await self._front(seat)
        await self._recover(seat.browser)
        form, box = chance.choice((("header", "summary"), ("edit", "body")))
        id = self.entries[0] if form == "edit" else ""
        if id and not await hand.open_edit(id, look.notices):
            return
        if await self._type_here(seat, chance, form, box):
            await self._save_elsewhere(chance, f"/{self.slug}/entries/{id}" if id else "", box)
            await self._send(seat, chance, form)
            await hand.settled()

    # -- deleting

    async def delete_two(self, seat: Seat, chance: random.Random) -> str | None:
        """Delete two entries at the desk; each has an Undo of its own, and a place in the bin."""
        hand, _ = await self._front(seat)
        await self._recover(seat.browser)
        for id in self.entries:
            if not await self._delete(hand, id):
                return None
        undos = "".join(f":has([action*={id}])" for id in self.entries)
        try:
            await hand.page.wait_for_selector(f"#notice{undos}", state="attached", timeout=SAID_MS)
        except Late:
            self.blame("undo", "one Undo for two deletions")
        await self.look_into_bin(hand)
        return ""

    async def _delete(self, hand: Hand, id: str) -> bool:
        """Delete an entry at the desk; return False when the server refuses that."""
        await self.desk.calls("POST", f"/{self.slug}/entries/{id}/restore")
        at = f"#{id} [data-do=delete] button, [data-for={id}] [data-do=delete] button"
        await hand.page.wait_for_function(IS_THERE, arg=at, polling=20, timeout=SAID_MS)
        await hand.click(at)
        return await self._soon_deleted(id)

    async def look_into_bin(self, hand: Hand) -> None:
        """Check that the desk's bin has each entry that is deleted."""
        gone = [id for id in self.entries if await self.is_deleted(id)]
        page = await hand.page.evaluate(BIN, self.slug) if gone else ""
        for id in gone:
            if f'id="bin-{id}"' not in page:
                self.blame("bin", id)

    async def _soon_deleted(self, id: str) -> bool:
        try:
            return bool(await until(lambda: self.is_deleted(id), SAID_MS / 1000 / SCALE))
        except TimeoutError:
            return False

    async def is_deleted(self, id: str) -> bool:
        return (await self.desk.calls("GET", f"/{self.slug}/entries/{id}")).status_code == 410

    async def undo(self, seat: Seat, chance: random.Random) -> str | None:
        """Undo a deletion that the page shows; without any, one of a deletion now."""
        hand, look = await self._front(seat)
        if not look.undos:
            await self._recover(seat.browser)
            await self._delete(hand, chance.choice(self.entries))
            await hand.page.wait_for_selector(UNDO, state="attached", timeout=SAID_MS)
        is_there = await hand.click(f"{UNDO} button")
        return "" if is_there else None

    # -- sessions and colleagues

    async def sign_out_elsewhere(self, seat: Seat, chance: random.Random) -> str:
        """End the session of a browser on the server."""
        await self._recover()
        await self.desk.end_session(seat.browser)
        return ""

    async def other_signs_in(self, seat: Seat, chance: random.Random) -> str | None:
        """Let a colleague sign in in another tab of the browser, and send from this one."""
        await self._front(seat)
        await self._recover()
        other = "kim" if self.editors[seat.browser] == "dana" else "dana"
        await self.desk.sign_in(seat.browser, other)
        if not await self._type_here(seat, chance, "compose", "body"):
            return None
        await self._send(seat, chance, "compose")
        return other

    async def answer(self, seat: Seat, chance: random.Random) -> str | None:
        """Answer the question for a session, or who publishes; let the page ask if it does not."""
        hand, look = await self._look(seat)
        await self._recover(seat.browser)
        if not look.asking and chance.random() < 0.5:
            await self.other_signs_in(seat, chance)
        elif not look.asking:
            await self._front(seat)
            await self.sign_out_elsewhere(seat, chance)
            await self._send_new(seat, chance)
        await hand.settled()
        look = await hand.look()
        if look.asking == "who" and chance.random() < 0.4:
            name = await hand.page.inner_text("#who [data-session] >> nth=0")
            self.took_over[seat.browser].add(name)
            self.ledger.let(seat.browser, name)
            await hand.click("[data-who=session]")
        elif look.asking:
            await hand.click("#who:not([hidden]) [data-who=page]")
            await hand.sign_in(PASSWORD)
        await hand.settled()
        return look.asking or None

    async def another_saves(self, seat: Seat, chance: random.Random) -> str | None:
        """Let a colleague save an entry or the header elsewhere, on top of its newest version."""
        await self._recover()
        path = chance.choice(("", f"/{self.slug}/entries/{self.entries[0]}"))
        box = "body" if path else chance.choice(("dek", "summary"))
        is_saved = await self._save_elsewhere(chance, path, box)
        return path.rpartition("/")[2] or "header" if is_saved else None

    async def _save_elsewhere(self, chance: random.Random, path: str, box: str) -> bool:
        """Add a colleague's text to a box of an entry, or of the header for ""; tell whether it is saved."""
        path = path or f"/{self.slug}"
        answer = await self.desk.calls("GET", path)
        if answer.status_code != 200:
            return False
        typed = self.ledger.type(chance, None, "colleague", box, self.at)
        self.ledger.press([typed.text], "colleague", None)
        stored = answer.json()
        fields = {box: f"{stored[box] or ''} {typed.text}".strip()}
        saved = await self.desk.calls("PATCH", path, fields, if_match=answer.headers["etag"])
        typed.is_discarded = not saved.is_success
        return saved.is_success

    async def another_deletes(self, seat: Seat, chance: random.Random) -> str | None:
        """Let a colleague delete an entry, or restore it."""
        await self._recover()
        path = f"/{self.slug}/entries/{self.entries[1]}"
        deleted = await self.desk.calls("DELETE", path)
        if deleted.json().get("offset") and chance.random() < 0.5:
            await self.desk.calls("POST", f"{path}/restore")
            return "and restores"
        return "" if deleted.is_success else None
