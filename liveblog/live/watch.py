"""Watch the store: whether it answers, whether it accepts writes, and its position of each blog.

The comparison of positions finds changes whose messages pub/sub has lost. The check of writes finds
a store that answers and refuses writes, and its recovery, without an editor.

Rules: each blog is compared once in HEADS_EVERY_S, COMPARED_AT_ONCE blogs in one read, since one
read of thousands would delay pages. Changes no timeline, only starts repairs (live/repair.py).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.live.source import Source
from liveblog.seldom import Seldom
from liveblog.tasks import stop, until_one_ends

log = logging.getLogger(__name__)

HEADS_EVERY_S: Final = 2.0
# Operators and editors see each state within 3 s: a check takes place every CHECK_EVERY_S, a store
# that hangs is noticed CHECK_WITHIN_S later, and the desk asks once a second.
CHECK_EVERY_S: Final = 0.75
CHECK_WITHIN_S: Final = 1.0
LINES_MAX: Final = 40  # log lines a minute about a store whose state changes all the time
COMPARED_AT_ONCE: Final = 100  # blogs in one read; the worker parses the replies within 2 ms

StoreState = Literal["up", "refuses-writes", "down"]
BlogState = Literal["up", "refuses-writes", "down", "lacks", "unheld"]
STATES: Final[tuple[StoreState, ...]] = ("up", "refuses-writes", "down")


class ComparedBlog(Protocol):
    """A blog in this worker's memory, with the members that `StoreWatch` uses."""

    @property
    def position(self) -> Position: ...
    @property
    def lost(self) -> bool: ...
    def repair(self) -> None: ...


class StoreWatch:
    """Compares all blogs with the store, checks the store, and keeps what both showed.

    `seen`: the store has answered once since the worker started. `state` and `refusal`: the state
    of the store as a whole, and why it refuses writes. `warning`: a setting with which the store
    could lose changes later. `now` returns monotonic seconds.
    """

    def __init__(
        self,
        source: Source,
        blogs: Mapping[str, ComparedBlog],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._blogs = source, blogs
        self.seen = False
        self.state: StoreState = "down"
        self.refusal: StoreRefuses | None = None
        self.warning = ""
        # Why the last comparison and the last check did not reach the whole store, "" when they
        # did; None before the first.
        self._unread: str | None = None
        self._unchecked: str | None = None
        # By slug: whether the last comparison could read the blog in the store.
        self._readable: dict[str, bool] = {}
        self._answers_again = asyncio.Event()
        self._journal = _Journal(now)
        self._failed = Seldom(now)

    @property
    def up(self) -> bool:
        return self.state == "up"

    async def run(self) -> None:
        """Compare all blogs with the store and check the store, periodically; until cancelled."""
        await until_one_ends(self._keep_comparing(), self._keep_checking())

    # -- the check of writes

    async def _keep_checking(self) -> None:
        while True:
            await self._check()
            await asyncio.sleep(CHECK_EVERY_S)

    async def _check(self) -> None:
        """Ask whether the store accepts writes; note the store as down while the check takes long.

        A slow check goes on. The connection to a distant store may take seconds to open, so a check
        that gives up would never find such a store up.
        """
        check = asyncio.create_task(self._source.check_writes())
        try:
            done, _ = await asyncio.wait({check}, timeout=CHECK_WITHIN_S)
            if not done:
                self._note_check(f"no answer within {CHECK_WITHIN_S:g} s")
            self.warning = await check
            self._note_check("")
        except StoreRefuses as refusal:
            self.seen = True
            self._note_check("", refusal)
        except StoreDown as error:
            self._note_check(str(error))
        finally:
            await stop([check])

    def _note_check(self, unchecked: str, refusal: StoreRefuses | None = None) -> None:
        if self._unchecked and not unchecked:
            self._answers_again.set()
        self._unchecked, self.refusal = unchecked, refusal
        self._note_state()

    def _note_state(self) -> None:
        """Derive the state from the last comparison and the last check, and log it."""
        if unreachable := self._unread or self._unchecked:
            self.state = "down"
            self._journal.note("down", f"the store is unreachable: {unreachable}")
        elif self.refusal:
            self.state = "refuses-writes"
            cause = self.refusal.cause
            refused = "subscriptions" if cause == "subscriptions" else "writes"
            self._journal.note(cause, f"the store refuses {refused}: {self.refusal}")
        elif None not in (self._unread, self._unchecked):
            self.state = "up"
            self._journal.note_up()
        if self.warning:
            self._journal.warn(self.warning)

    # -- the comparison of blogs

    async def _keep_comparing(self) -> None:
        """Compare each blog with the store once in HEADS_EVERY_S seconds.

        A round reads the blogs in parts, at even intervals. Without blogs, a round is one read,
        which shows whether the store answers. While a part of the store is unreachable, a round is
        one read, too: each read waits for that part, and many reads would delay the other blogs.
        """
        while True:
            held = list(self._blogs)
            size = len(held) if self._unread else COMPARED_AT_ONCE
            starts = range(0, len(held) or 1, size or 1)
            for start in starts:
                await self._compare_some(held[start : start + size])
                if self._unread:
                    await self._pause(HEADS_EVERY_S)
                    break
                await self._pause(HEADS_EVERY_S / len(starts))
            self._readable = {s: it for s, it in self._readable.items() if s in self._blogs}

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the store answers again.

        When the store has answered again since the last pause, this does not wait at all.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._answers_again.wait()
        self._answers_again.clear()

    async def _compare_some(self, held: list[str]) -> None:
        try:
            heads = await self._source.heads(held)
        except StoreDown as error:
            is_refused = isinstance(error, StoreRefuses)  # then the check of writes shows why
            self._note_comparison("" if is_refused else f"all of it: {error}")
            self._readable.clear()
            return
        self.seen = True
        self._note_comparison(heads.unreachable)
        self._note_readable({slug: slug in heads.positions for slug in held})
        for slug, head in heads.positions.items():
            try:
                self._compare(slug, head)
            except Exception:  # one blog must not keep the others from being compared
                if self._failed.may(slug):
                    log.exception("blog %s: comparison failed", slug)

    def _compare(self, slug: str, head: Position | None) -> None:
        """Repair a blog whose position in the store, `head`, differs from this worker's position.

        A lower position in the store differs, too: the store has lost changes, and the repair
        starts a new epoch. Also repair a blog that was missing in the store.
        """
        live = self._blogs.get(slug)
        if live and (head != live.position or live.lost):
            live.repair()

    def _note_comparison(self, unread: str) -> None:
        self._unread = unread
        self._note_state()

    def _note_readable(self, readable: dict[str, bool]) -> None:
        """Note which blogs the store could read.

        When the whole store answers and refuses nothing, an unreadable blog is corrupt, and this is
        logged.
        """
        answers = not self._unread and not self.refusal
        for slug, is_readable in readable.items():
            if answers and not is_readable and self._readable.get(slug, True):
                log.error("blog %s: its data in the store is corrupt", slug)
        self._readable |= readable

    # -- the states

    def state_of(self, slug: str) -> BlogState:
        """Return the store's state for a blog.

        "up": the store can read the blog, and accepts writes. "refuses-writes": the store can only
        read the blog. "down": the store cannot. "lacks": this worker has the blog in memory, but
        the store does not have the blog. "unheld": the store accepts writes, but the blog is not in
        this worker's memory, so the worker does not compare it.
        """
        live = self._blogs.get(slug)
        if not live:
            return "unheld" if self.up else self.state
        if self._is_unreachable(slug):
            return "down"
        if live.lost:
            return "lacks"
        return "refuses-writes" if self.refusal else "up"

    def _is_unreachable(self, slug: str) -> bool:
        """Return whether the store cannot read a blog.

        When the last comparison reached only a part of the store, it alone shows which blogs the
        other parts have. A blog that was not in it gets the state of the whole store. When all
        parts answer and the store refuses commands, it may have refused to read the blog.
        """
        if self.refusal and not self._unread:
            return False
        is_partly_read = bool(self._unread) and any(self._readable.values())
        if self._unchecked and not is_partly_read:
            return True
        return not self._readable.get(slug, self.state != "down")


class _Journal:
    """Logs each state of the store: when it begins, once a minute while it lasts, when it ends.

    A store that fails again and again gives at most LINES_MAX lines a minute.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._logged = now, Seldom(now, LINES_MAX)
        self._outages = 0
        self._since_s: float | None = None  # since when the store is not up; None while it is

    def note(self, cause: str, text: str) -> None:
        """Note that the store is not up; `text` names the state."""
        if self._since_s is None:
            self._since_s, self._outages = self._now(), self._outages + 1
        if self._logged.may(f"{self._outages} {cause}"):
            log.error("%s", text)

    def note_up(self) -> None:
        if self._since_s is not None and self._logged.may(f"{self._outages} up"):
            log.warning("the store is up again after %.0f s", self._now() - self._since_s)
        self._since_s = None

    def warn(self, text: str) -> None:
        if self._logged.may(text):
            log.warning("%s", text)
