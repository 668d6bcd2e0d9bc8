"""The evening of an editor at the desk: one script of steps for every engine of a browser.

An editor named dana signs in, creates a blog, writes, pastes, publishes, edits, meets a colleague's
edit, restores an entry from the bin, schedules one, uses two tabs, goes on without a session and
without a network, and ends coverage.
Every key and click is real. Each step returns what the desk shows then; all engines must show the
same. The network is a proxy between browser and server.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from kit.engines import Tab
from kit.proxy import Proxy
from kit.servers import Editor
from kit.windows import PASSWORD

BODY: Final = "#compose [name=body]"
EDIT: Final = "#edit [name=body]"
TITLE: Final = "Election night in Zürich"
HEADLINE: Final = "Polls close: “too close to call”"
FIGURES: Final = "First figures:\nReds 31.5 %\nBlues 27.9 %\n\nTurnout is high"
AGENCY: Final = """<!doctype html><title>Agency</title><p>The <b>council</b> meets <i>tonight</i>, says the
<a href="https://example.com/news">agency</a>:</p><ul><li>One seat is open</li><li>Two parties want it</li></ul>
<table><tr><th>Ward</th><th>Reds</th></tr><tr><td>North</td><td>1,204</td></tr></table>"""

VALUE: Final = "(selector) => document.querySelector(selector)?.value"
HAS_VALUE: Final = "(selector, text) => document.querySelector(selector)?.value === text"
SHOWS: Final = """(selector, text) => {
    const it = document.querySelector(selector);
    return it?.checkVisibility() && it.innerText.includes(text);
}"""
HIDDEN: Final = "(selector) => !document.querySelector(selector)?.checkVisibility()"
LINES: Final = """(selector) => [...document.querySelectorAll(selector)]
    .filter((it) => it.checkVisibility()).map((it) => it.innerText.replace(/\\s+/g, ' ').trim())"""
FEED: Final = """() => [...document.querySelectorAll('[role=feed] article')].map((it) => [
    it.querySelector('h3')?.textContent ?? '', it.querySelector('.body').innerHTML,
    ...[...it.querySelectorAll('.note')].map((note) => note.textContent)])"""
FEED_HAS: Final = """(count, text) => {
    const all = [...document.querySelectorAll('[role=feed] article')];
    return all.length === count && all.some((it) => it.innerText.includes(text));
}"""
STATE: Final = "(state) => document.querySelector('#status')?.dataset.state === state"
PREVIEW: Final = """(form, text) => {
    const body = document.querySelector(`${form} .shown`)?.shadowRoot?.querySelector('.body');
    return body?.textContent.includes(text) && body.innerHTML;
}"""
FOCUS: Final = "() => document.activeElement?.name ?? ''"
IN_DIALOG: Final = "() => document.activeElement.matches('dialog [name=body]')"
# Which key undoes is up to the program around an engine; WebKitGTK's test browser has none.
UNDO: Final = "() => document.execCommand('undo')"
SELECT: Final = "(all) => (getSelection().selectAllChildren(document.body), true)"
SET_TIME: Final = """(local) => {
    const box = document.querySelector('#compose [name=publish_at]');
    box.value = local;
    box.dispatchEvent(new Event('input', { bubbles: true }));
}"""
ZONE: Final = "Asia/Tokyo"  # of the blog; no other zone in this evening is the same
LATER: Final = "2040-11-03T21:30"
SENT: Final = "() => document.querySelector('#queue').hidden"

Seen = dict[str, Any]


@dataclass
class Evening:
    """`url` leads through `proxy`. `editor` is a colleague, who uses the API."""

    tab: Tab
    url: str
    proxy: Proxy
    editor: Editor
    slug: str = ""

    @property
    def path(self) -> str:
        return f"/desk/blogs/{self.slug}"

    async def lines(self, selector: str) -> Any:
        """Return the texts in sight of all elements that match a selector."""
        return await self.tab.call(LINES, selector)

    async def noticed(self, notice: str, count: int, text: str) -> Seen:
        """Wait for a notice, and until the feed has `count` entries, one with a text.

        Then nothing is being sent. Return the notice and the feed.
        """
        await self.tab.wait(SHOWS, "#notice", notice)
        await self.tab.wait(FEED_HAS, count, text)
        await self.tab.wait(SENT)
        return {"notice": await self.lines("#notice p"), "feed": await self.tab.call(FEED)}


async def sign_in(evening: Evening) -> Seen:
    tab = evening.tab
    await tab.goto(f"{evening.url}/desk")
    asked = await evening.lines("h1, label")
    await tab.fill("[name=name]", "dana")
    await tab.fill("[name=password]", PASSWORD)
    await tab.press("Enter")
    await tab.wait("() => location.pathname === '/desk' && document.querySelector('.who') !== null")
    return {"asked": asked, "who": await evening.lines(".who, h1")}


async def create_blog(evening: Evening) -> Seen:
    tab = evening.tab
    if await tab.call(HIDDEN, "#new [name=title]"):
        await tab.click("summary", "New blog")
    await tab.fill("#new [name=title]", TITLE)
    await tab.click("#new [name=timezone]")
    await tab.press("Control", "a")
    await tab.type(ZONE)
    await tab.call("() => document.querySelector('#new [name=status]').focus()")
    await tab.type("Live")
    await tab.wait(HAS_VALUE, "#new [name=status]", "live")
    await tab.click("#new .primary")
    await tab.wait(STATE, "live")
    await tab.wait(SHOWS, "#notice", "created")
    evening.slug = (await tab.call("() => location.pathname")).split("/")[-1]
    return {"desk": await evening.lines("#notice, h1, h2"), "slug": evening.slug}


async def write(evening: Evening) -> Seen:
    """Type by keys alone, undo a mark, reload in the middle, and go on."""
    tab = evening.tab
    await tab.fill("#compose [name=headline]", HEADLINE)
    await tab.press("Enter")
    focus = await tab.call(FOCUS)
    await tab.type(FIGURES)
    await tab.press("Shift", "Control", "ArrowLeft")
    await tab.press("Control", "b")
    marked = await tab.call(VALUE, BODY)
    await tab.wait(UNDO)
    undone = await tab.call(VALUE, BODY)
    await tab.press("Control", "b")
    await tab.press("Control", "End")
    await tab.type(".")
    shown = await tab.wait(PREVIEW, "#compose", "high.")
    await tab.goto(evening.url + evening.path)
    await tab.wait(HAS_VALUE, BODY, f"{FIGURES.removesuffix('high')}**high**.")
    await tab.wait(STATE, "live")
    reloaded = await tab.call(VALUE, "#compose [name=headline]")
    return {
        "focus": focus,
        "marked": marked,
        "undone": undone,
        "preview": shown,
        "reloaded": reloaded,
    }


async def paste(evening: Evening) -> Seen:
    """Copy from another page, paste below the text, which the desk has kept meanwhile."""
    tab = evening.tab
    await tab.goto(f"data:text/html;charset=utf-8,{quote(AGENCY)}")
    await tab.wait(SELECT)
    await tab.press("Control", "c")
    await tab.goto(evening.url + evening.path)
    await tab.wait(STATE, "live")
    await tab.wait(f"() => ({VALUE})({BODY!r})?.includes('high')")
    await tab.fill(BODY, "\n\n")
    await tab.press("Control", "v")
    await tab.wait(f"() => ({VALUE})({BODY!r}).includes('1,204')")
    await tab.wait(f"() => ({VALUE})({BODY!r}).includes('**council**')")
    return {"text": await tab.call(VALUE, BODY), "said": await evening.lines("#compose .said")}


async def publish(evening: Evening) -> Seen:
    tab = evening.tab
    await tab.press("Control", "Enter")
    seen = await evening.noticed("Published.", 1, "Turnout")
    boxes = [await tab.call(VALUE, f"#compose [name={it}]") for it in ("headline", "body")]
    return {**seen, "boxes": boxes, "focus": await tab.call(FOCUS)}


async def edit(evening: Evening) -> Seen:
    """Update the entry, with a note for readers. Escape keeps what is typed."""
    tab = evening.tab
    await tab.click("article a", "Edit")
    await tab.wait(IN_DIALOG)
    opened = await tab.call("() => document.activeElement.selectionStart")
    await tab.type("\n\nPolls closed at 9 p.m.")
    await tab.press("Escape")
    await tab.wait(SHOWS, "#offers", "Edit")
    await tab.click("article a", "Edit")
    await tab.wait(f"() => ({VALUE})({EDIT!r})?.endsWith('9 p.m.')")
    await tab.call("() => document.querySelector('#edit [name=note_kind]').focus()")
    await tab.type("An")
    await tab.wait(HAS_VALUE, "#edit [name=note_kind]", "update")
    await tab.fill("#edit [name=note]", "Polls are closed.")
    await tab.click("#edit .primary")
    await tab.wait(HIDDEN, "#editing")
    return {"caret": opened, **await evening.noticed("Saved.", 1, "Polls are closed.")}


async def conflict(evening: Evening) -> Seen:
    """Save what a colleague has saved: see both, keep theirs, find mine among the unsent texts."""
    tab = evening.tab
    await tab.click("article a", "Edit")
    await tab.wait(IN_DIALOG)
    await tab.type("\n\nMy last words.")
    [entry] = await evening.editor.entries(evening.slug)
    await evening.editor.edit(entry, body="Their words.")
    await tab.press("Control", "Enter")
    await tab.wait(HAS_VALUE, "#edit .theirs textarea", "Their words.")
    both = await evening.lines("#edit .reason, #edit .theirs")
    mine = await tab.call(VALUE, EDIT)
    await tab.click("#edit .theirs button")
    await tab.wait(HAS_VALUE, EDIT, "Their words.")
    await tab.click(EDIT)
    await tab.press("Control", "End")
    await tab.type(" And mine.")
    await tab.press("Control", "Enter")
    await tab.wait(HIDDEN, "#editing")
    seen = await evening.noticed("Saved.", 1, "Their words. And mine.")
    offers = await tab.wait(f"() => ({LINES})('#offers li')[0]")
    await tab.click("#offers [data-act=discard]")
    await tab.wait(HIDDEN, "#offers")
    return {**seen, "both": both, "mine": mine, "offers": offers}


async def restore(evening: Evening) -> Seen:
    """Delete and undo, delete and restore from the bin."""
    tab = evening.tab
    await tab.click("article button", "Delete")
    await tab.wait(SHOWS, "#notice", "Deleted")
    await tab.wait("() => !document.querySelector('[role=feed] article')")
    await tab.click("#notice form button", "Undo")
    undone = await evening.noticed("Restored.", 1, "Their words.")
    await tab.click("article button", "Delete")
    await tab.wait("() => !document.querySelector('[role=feed] article')")
    await tab.click("a", "Bin")
    await tab.wait(SHOWS, "#bin", "Polls close")
    binned = await evening.lines("h1, #bin .words, #bin button")
    await tab.click("#bin button", "Restore")
    await tab.wait(STATE, "live")
    return {
        "undone": undone,
        "bin": binned,
        **await evening.noticed("Restored.", 1, "Their words."),
    }


async def schedule(evening: Evening) -> Seen:
    """Schedule an entry. Each engine has other keys for the parts of a time, so a script sets it."""
    tab = evening.tab
    await tab.fill(BODY, "Late news.")
    await tab.click("#compose summary", "Later")
    await tab.call(SET_TIME, LATER)
    button = await evening.lines("#compose .primary")
    await tab.click("#compose .primary")
    await tab.wait(SHOWS, "#held", "Late news.")
    await tab.wait(SENT)
    held = await evening.lines("#held .status, #held .words")
    await _check_time(evening)
    return {"button": button, "held": held, "then": await evening.lines("#compose .primary")}


async def _check_time(evening: Evening) -> None:
    """Check that the scheduled entry has the time of the box, in the zone of the blog."""
    blog = await evening.editor.ok("GET", f"/{evening.slug}")
    page = await evening.editor.ok("GET", f"/{evening.slug}/entries?status=scheduled")
    [at] = [datetime.fromisoformat(it["publish_at"]) for it in page["entries"]]
    local = at.astimezone(ZoneInfo(blog["timezone"]))
    assert [f"{local:%Y-%m-%dT%H:%M}", blog["timezone"]] == [LATER, ZONE], at


async def use_two_tabs(evening: Evening) -> Seen:
    """Type in two tabs and close one. Each keeps its text; that of the closed one is offered."""
    tab = evening.tab
    await tab.fill(BODY, "Typed in the first tab.")
    await tab.driver.open_tab()
    await tab.goto(evening.url + evening.path)
    await tab.wait(STATE, "live")
    second = [await tab.call(VALUE, BODY), await evening.lines("#offers li")]
    await tab.fill(BODY, "Typed in the second tab.")
    await tab.driver.close_tab()
    await tab.goto(evening.url + evening.path)
    await tab.wait(SHOWS, "#offers", "second tab")
    first = [await tab.call(VALUE, BODY), await evening.lines("#offers li")]
    await tab.click("#offers [data-act=discard]")
    await tab.wait(HIDDEN, "#offers")
    await tab.click(BODY)
    await tab.press("Control", "Enter")
    seen = await evening.noticed("Published.", 2, "Typed in the first tab.")
    return {"second": second, "first": first, **seen}


async def sign_in_again(evening: Evening) -> Seen:
    """Publish after another tab has ended the session, and sign in below the form."""
    tab = evening.tab
    await tab.call("() => fetch('/desk/sign-out', { method: 'POST' }).then(() => true)")
    await tab.fill(BODY, "After the session.")
    await tab.press("Control", "Enter")
    await tab.wait(SHOWS, "#asking", "signed out")
    asked = await evening.lines("#asking p, #asking label")
    name = await tab.call(VALUE, "#signing-name")
    await tab.fill("#signing-password", PASSWORD)
    await tab.press("Enter")
    seen = await evening.noticed("Published.", 3, "After the session.")
    return {"asked": asked, "name": name, **seen}


async def go_offline(evening: Evening) -> Seen:
    """Publish twice without a network, then once with an answer that is lost."""
    tab = evening.tab
    with evening.proxy.refusing():
        for text in ("First without a network.", "Second without a network."):
            await tab.fill(BODY, text)
            await tab.press("Control", "Enter")
            await tab.wait(HAS_VALUE, BODY, "")
        lost = await tab.wait("() => document.querySelector('#status').dataset.state !== 'live'")
        waiting = await tab.wait(
            f"() => (it => it.length === 2 && it[0].includes('no answer') && it)(({LINES})('#queue li'))"
        )
    seen = await evening.noticed("Published.", 5, "Second without a network.")
    await tab.wait(STATE, "live")
    evening.proxy.lose_next_answer(f"POST {evening.path}/entries ".encode())
    await tab.fill(BODY, "Its answer was lost.")
    await tab.press("Control", "Enter")
    again = await evening.noticed("Published.", 6, "Its answer was lost.")
    assert evening.proxy.answers_lost, "no answer was lost"
    return {"lost": lost, "waiting": waiting, "back": seen, "again": again["feed"]}


async def end(evening: Evening) -> Seen:
    tab = evening.tab
    await tab.click("summary", "End coverage")
    await tab.click("#end button")
    await tab.wait(SHOWS, "#reopen", "Re-open")
    ended = await evening.lines("#notice p, #status, .desk-write > .hint, #reopen button")
    await tab.goto(f"{evening.url}/blogs/{evening.slug}")
    await tab.wait(STATE, "ended")
    page = await evening.lines("h1, #status, [role=feed] h3, [role=feed] .body, [role=feed] .note")
    return {"desk": ended, "page": page}


async def sign_out(evening: Evening) -> Seen:
    tab = evening.tab
    await tab.goto(f"{evening.url}/desk")
    await tab.click(".who")
    menu = await evening.lines("#menu a, #menu button")
    await tab.click("#menu button", "Sign out")
    await tab.wait("() => location.pathname === '/desk/sign-in'")
    return {"menu": menu}


STEPS: Final[dict[str, Callable[[Evening], Awaitable[Seen]]]] = {
    "sign in": sign_in,
    "create a blog": create_blog,
    "write, undo, reload": write,
    "paste": paste,
    "publish": publish,
    "edit": edit,
    "conflict": conflict,
    "bin": restore,
    "schedule": schedule,
    "two tabs": use_two_tabs,
    "sign in again": sign_in_again,
    "offline": go_offline,
    "end": end,
    "sign out": sign_out,
}


class Step(NamedTuple):
    name: str
    seen: Any  # by the names of its parts


async def spend(evening: Evening) -> AsyncIterator[Step]:
    """Yield each step with what it showed, at last what readers have. Stops when a step fails."""
    for name, step in STEPS.items():
        yield Step(name, _comparable(await step(evening)))
    yield Step("what readers have", _comparable(await _stored(evening)))


FIELDS: Final = ("headline", "body", "body_html", "status", "revision", "note_kind", "note")


async def _stored(evening: Evening) -> Seen:
    blog = await evening.editor.ok("GET", f"/{evening.slug}")
    entries = await evening.editor.entries(evening.slug)
    return {
        "blog": [blog["title"], blog["status"], blog["revision"]],
        "entries": [{name: entry[name] for name in FIELDS} for entry in entries],
    }


def _comparable(seen: Any) -> Any:
    """Return what is seen without times and ids, which are different each evening."""
    if isinstance(seen, dict):
        return {name: _comparable(it) for name, it in seen.items()}
    if isinstance(seen, list):
        return [_comparable(it) for it in seen]
    if not isinstance(seen, str):
        return seen
    return re.sub(r"\be[0-9a-z]{12}\b", "ID", re.sub(r"\b\d{1,2}:\d\d\b", "00:00", seen))
