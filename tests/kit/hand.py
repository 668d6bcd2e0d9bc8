"""An editor at one tab of the desk: types with real keys, presses buttons, and looks at the page.

Rules: decides nothing; kit/story.py does. Reads the page and the browser's own storage, and writes
neither but by keys and buttons.
"""

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import Error, Page
from playwright.async_api import TimeoutError as Late

from kit.waiting import SCALE, until

SAID_MS: Final = 4_000 * SCALE  # until a press has shown what it did
SETTLED_MS: Final = 1_000
KEYS: Final = 1  # the last letters of a text, each with a key; each key takes CPU time

# All that an editor sees in a tab: its forms with their boxes, and the lists beside them.
LOOK: Final = """() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const text = (it) => (it && !it.hidden ? it.textContent.trim() : '');
  const boxes = (form) => all('textarea, input:not([type=hidden]):not([type=checkbox])', form)
    .filter((it) => !it.closest('.theirs')).map((it) => it.value);
  const forms = all('#compose, #header, #edit, #retract, #end, #apart form').map((form) => [
    form.id,
    {
      boxes: boxes(form),
      key: form.querySelector('[name=idempotency_key]')?.value ?? '',
      isNew: form.action.endsWith('/entries'),
      isBusy: form.hasAttribute('data-busy'),
      reasons: all('[data-reason]', form).map(text).filter(Boolean),
      canDiscard: Boolean(form.querySelector('[data-reason] button.danger')),
    },
  ]);
  return {
    isDesk: Boolean(document.querySelector('#compose')),
    isDialog: Boolean(document.querySelector('#editing')?.open),
    who: document.querySelector('main[data-editor]') ? text(document.querySelector('.who')) : '',
    asking: document.querySelector('#asking')?.hidden === false
      ? (document.querySelector('#who').hidden ? 'signing' : 'who') : '',
    forms: Object.fromEntries(forms),
    theirs: all('.theirs textarea').map((it) => it.value),
    offers: all('#offers li').map((it) => text(it.querySelector('.words'))),
    cards: all('#queue li').map((it) => text(it.querySelector('.status'))),
    notices: window.notices ?? 0,
    loaded: performance.timeOrigin,
    undos: all('#notice form').length,
    status: document.querySelector('#status')?.dataset.state ?? '',
  };
}"""

# The browser's records of a blog. To read them waits until earlier writes are on the disk.
RECORDS: Final = """async ([slug, reads]) => {
  const opening = indexedDB.open('liveblog', 1);
  const base = await new Promise((done, fail) => {
    opening.onupgradeneeded = () => opening.transaction.abort();
    opening.onsuccess = () => done(opening.result);
    opening.onerror = () => done(null);
  });
  if (!base) return [];
  const read = () => {
    const asked = base.transaction('records').objectStore('records').getAll();
    return new Promise((done) => (asked.onsuccess = () => done(asked.result)));
  };
  let all = await read();
  while ((reads -= 1)) all = await read();
  base.close();
  return all.filter((it) => it.id[1] === slug);
}"""

# Reports the texts that the page shows as another version beside a box, and counts notices.
WATCH: Final = """window.notices = 0;
new MutationObserver((changes) => {
  const isNotice = (it) => it.target.id === 'notice' && it.addedNodes.length;
  notices += changes.filter(isNotice).length;
  const texts = [...document.querySelectorAll('.theirs textarea')].map((it) => it.value);
  if (texts.length) report(texts);
}).observe(document, { childList: true, subtree: true });"""

# Opens all that is folded around a box, and returns whether the box is there.
UNFOLD: Final = """(selector) => {
  const box = document.querySelector(selector);
  for (let it = box; it; it = it.parentElement) if (it.matches('details')) it.open = true;
  return Boolean(box);
}"""

CLICK: Final = """([selector, at]) => {
  const found = [...document.querySelectorAll(selector)];
  const it = found[at % (found.length || 1)];
  it?.focus();
  it?.click();
  return found.length;
}"""

# A press has shown something: the form is free, or busy, or says why not. A form for a new entry is
# free at once, or says why not itself.
SHOWN: Final = """([id, texts, before, isNew]) => {
  const form = document.getElementById(id);
  if (!form?.isConnected || form.hasAttribute('data-busy')) return 'taken';
  const values = [...form.querySelectorAll('textarea, input')].map((it) => it.value);
  if (!values.some((it) => texts.some((text) => it.includes(text)))) return 'taken';
  if ([...form.querySelectorAll('[data-reason]')].some((it) => !it.hidden)) return 'said';
  if (isNew) return '';
  if (document.querySelector('#asking')?.hidden === false) return 'said';
  return notices > before ? 'said' : '';
}"""

# The tab has an id that it holds, and the page is live. Then the script reads what it kept.
STARTED: Final = """async () => {
  const { held } = await navigator.locks.query();
  const id = `liveblog tab ${sessionStorage.getItem('liveblog tab')}`;
  const isLive = document.querySelector('#status:is([data-state=live], [data-state=ended])');
  return Boolean(isLive) && held.some((it) => it.name === id);
}"""
READS: Final = 6  # the script reads what it kept once for each form, and a few times before

# Nothing of this tab is on its way to a server that answers.
SETTLED: Final = """() => !document.querySelector('#queue li, [data-busy]')
  || document.querySelector('#asking')?.hidden === false"""

# A tab has gone to another page, or says why it stays.
# A form that was stored, and stays, gets another key.
LEFT: Final = """([loaded, id, key]) => performance.timeOrigin !== loaded
  || document.querySelector('#asking')?.hidden === false
  || Boolean(document.querySelector(`#${id} [data-reason]:not([hidden])`))
  || Boolean(key && document.querySelector(`#${id} [name=idempotency_key]`)?.value !== key)"""
DESTROYED: Final = "Execution context was destroyed"  # the tab went to another page meanwhile

EDIT_OPENED: Final = """(before) => {
  if (document.querySelector('#editing')?.open && document.querySelector('#edit')) return 'open';
  if (document.querySelector('#asking')?.hidden === false) return 'said';
  return notices > before ? 'said' : '';
}"""


# A text was restored, or the page says why not. A dialog that opens later would take the next keys.
RESTORED: Final = """([words, before, aparts]) => {
  const lines = [...document.querySelectorAll('#offers li .words')];
  return document.querySelector('#editing')?.open || notices > before
    || document.querySelector('#asking')?.hidden === false
    || document.querySelectorAll('#apart form').length > aparts
    || !lines.some((it) => it.textContent.trim() === words);
}"""

RESTORE: Final = """(words) => {
  const lines = [...document.querySelectorAll('#offers li')];
  const line = lines.find((it) => it.querySelector('.words').textContent.trim() === words);
  line?.querySelector('[data-act=restore]').click();
}"""


@dataclass
class Form:
    """A form as the page shows it; `boxes` are the texts in its boxes."""

    boxes: list[str]
    key: str
    isNew: bool  # noqa: N815 - named by the script
    isBusy: bool  # noqa: N815
    reasons: list[str]
    canDiscard: bool  # noqa: N815


class Look:
    """All that an editor sees in a tab, see LOOK."""

    def __init__(self, seen: dict[str, Any]) -> None:
        self.is_desk, self.is_dialog = bool(seen["isDesk"]), bool(seen["isDialog"])
        self.who, self.asking = str(seen["who"]), str(seen["asking"])
        self.forms = {id: Form(**form) for id, form in seen["forms"].items()}
        self.theirs: list[str] = seen["theirs"]
        self.offers: list[str] = seen["offers"]
        self.cards: list[str] = seen["cards"]
        self.notices, self.undos = int(seen["notices"]), int(seen["undos"])
        self.status, self.loaded = str(seen["status"]), float(seen["loaded"])

    @property
    def boxes(self) -> list[str]:
        return [text for form in self.forms.values() for text in form.boxes]


class Hand:
    """Acts on one tab. Each method raises playwright's Error when the tab does not take part."""

    def __init__(self, page: Page, slug: str) -> None:
        self.page, self._slug = page, slug

    # -- the page

    async def go(self, path: str) -> bool:
        """Open a page of the desk; return whether it is the desk of the blog."""
        await self.page.goto(path, wait_until="commit")
        return await self.arrived()

    async def arrived(self) -> bool:
        """Wait until the page has loaded, and its script runs; return whether it is a blog's."""
        await self.page.wait_for_load_state("domcontentloaded")
        if not await self._read("Boolean(document.querySelector('#compose'))"):
            return False
        await self.page.wait_for_function(STARTED, polling=20)
        await self._read_kept()
        return True

    async def _read_kept(self) -> None:
        """Wait until the script has read what it kept, and shows it: reads come in turn."""
        await self.records(READS)

    async def left(self, before: Look, form: str) -> None:
        """Wait until the tab has gone to another page after a press in a form, if it does."""
        with contextlib.suppress(Late):
            key = before.forms[form].key if form in before.forms else ""
            arguments = [before.loaded, form, key]
            await self.page.wait_for_function(LEFT, arg=arguments, polling=20, timeout=SAID_MS)
        await self.arrived()

    async def _read(self, script: str, argument: object = None) -> Any:
        """Return what a script reads; of the next page when the tab goes there meanwhile."""
        while True:
            try:
                return await self.page.evaluate(script, argument)
            except Error as error:
                if DESTROYED not in str(error):
                    raise
                await self.page.wait_for_load_state("domcontentloaded")

    async def look(self) -> Look:
        return Look(await self._read(LOOK))

    async def records(self, reads: int = 1) -> list[dict[str, Any]]:
        """Return what the browser has stored, when all writes before are on the disk."""
        found: list[dict[str, Any]] = await self._read(RECORDS, [self._slug, reads])
        return found

    async def show_again(self) -> None:
        """Let the page do what it does when its tab is shown, and when the network is back."""
        await self.page.evaluate(
            "() => { document.dispatchEvent(new Event('visibilitychange', {bubbles: true}));"
            " dispatchEvent(new Event('online')); }"
        )

    # -- keys and buttons

    async def type(self, form: str, name: str, text: str, *, at_start: bool = False) -> bool:
        """Type a text at the end of a box, or at its start; return whether the box is there."""
        selector = f"#{form} [name={name}]:not([type=hidden])"
        if not await self.page.evaluate(UNFOLD, selector):
            return False
        await self.page.bring_to_front()  # Chromium drops letters of a tab behind another
        await self.page.focus(selector)
        keys = self.page.keyboard
        await keys.press("Control+Home" if at_start else "Control+End")
        whole = f"{text} " if at_start else f" {text}"
        await keys.insert_text(whole[:-KEYS])  # as an input method does: fewer events
        await keys.type(whole[-KEYS:])
        return True

    async def press(self, form: str, *, button: str = "") -> None:
        """Send a form: with the keys, or by a button of it."""
        if button:
            await self.click(f"#{form} {button}")
            return
        box = f"#{form} :is(textarea, input:not([type=hidden]))"
        await self.page.evaluate(UNFOLD, box)
        await self.page.bring_to_front()
        await self.page.focus(box)
        await self.page.keyboard.press("Control+Enter")

    async def shown(self, form: str, texts: Sequence[str], before: int, *, is_new: bool) -> str:
        """Return what a press showed: "taken", "said" why not, or "" for nothing at all.

        `before` is the count of notices before the press.
        A tab that left its page meanwhile has taken the form.
        """
        try:
            arguments = [form, [*texts], before, is_new]
            found = await self.page.wait_for_function(
                SHOWN, arg=arguments, polling=20, timeout=SAID_MS
            )
            return str(await found.json_value())
        except Late:
            return ""
        except Error:
            return "taken"

    async def settled(self) -> None:
        """Wait a moment for the answers to what was sent."""
        with contextlib.suppress(Error):
            await self.page.wait_for_function(SETTLED, polling=20, timeout=SETTLED_MS)

    async def click(self, selector: str, at: int = 0) -> bool:
        """Press a button, the one with this number if there are several; return whether any is."""
        return bool(await self.page.evaluate(CLICK, [selector, at]))

    async def escape(self) -> None:
        await self.page.keyboard.press("Escape")

    async def close_dialog(self) -> None:
        await self.escape()
        await self.page.wait_for_function("() => !document.querySelector('#editing')?.open")

    async def open_edit(self, id: str, before: int) -> bool:
        """Open the form that edits an entry; return whether it is there."""
        at = f"#{id} [data-do=edit], [data-for={id}] [data-do=edit]"
        if not await self.click(at):
            return False
        found = await self.page.wait_for_function(
            EDIT_OPENED, arg=before, polling=20, timeout=SAID_MS
        )
        await self._read_kept()
        return bool(await found.json_value() == "open")

    async def sign_in(self, password: str) -> None:
        """Sign in in place, in the form that the page shows."""
        await self.page.fill("#signing [name=password]", password)
        await self.page.press("#signing [name=password]", "Enter")
        await self.page.wait_for_selector("#asking", state="hidden")

    async def restore(self, at: int, before: Look) -> None:
        """Press the button of the offer with this number, and wait until the page has shown more."""
        await self.click("#offers [data-act=restore]", at)
        aparts = len([id for id in before.forms if id.startswith("apart")])
        with contextlib.suppress(Late):
            arguments = [before.offers[at], before.notices, aparts]
            await self.page.wait_for_function(RESTORED, arg=arguments, polling=20, timeout=SAID_MS)
        await self._read_kept()

    async def restores(self, words: str) -> bool:
        """Restore the offer with these words; return whether the page shows them then: in a box,
        or beside the boxes when the form has none for them.

        A second press follows: the first one may be on a list that is older than its texts.
        """

        async def found() -> bool:
            look = await self.look()
            return any(words.rstrip("…") in it for it in [*look.boxes, *look.theirs])

        for _ in range(2):
            await self.page.evaluate(RESTORE, words)
            with contextlib.suppress(TimeoutError):
                return await until(found, SAID_MS / 1000 / SCALE)
        return False

    async def back(self, away: str) -> None:
        """Leave for another page, then go back."""
        await self.page.goto(away, wait_until="commit")
        await self.page.go_back(wait_until="commit")


def pick(chance: random.Random, weights: dict[str, int]) -> str:
    """Return one of the names, at random, as often as its weight says."""
    return chance.choices([*weights], [*weights.values()])[0]
