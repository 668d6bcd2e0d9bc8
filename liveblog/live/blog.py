"""One blog in this worker: its timeline, its readers, and the frames they share.

Rules: no Redis, no ASGI. Nothing awaits a reader.
"""

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from liveblog.blog.model import Blog, Entry, Position
from liveblog.blog.problem import StoreDown
from liveblog.blog.timeline import Changes, Record, Snapshot, Timeline, id_of
from liveblog.live import frame as frames
from liveblog.live.frame import Encoding, Frame, Piece
from liveblog.live.reader import (
    DRAINED,
    ENDED,
    NO_SUCH_BLOG,
    RESET,
    RESET_WINDOW_MS,
    RESTART_WINDOW_MS,
    Reader,
)

if TYPE_CHECKING:
    from liveblog.live.hub import Hub

log = logging.getLogger(__name__)

SLOTS: Final = 20  # readers are spread over so many beats in one heartbeat interval
SLICE_S: Final = 0.001  # a pass yields to the event loop this often
LOOK_EVERY: Final = 16  # readers brought between two looks at the clock: 0.1 ms
STALLED_S: Final = 45.0  # a reader whose socket does not drain in this time is freed
EARLY_MAX: Final = (
    200  # messages held while a blog loads or is repaired; more only mean another repair
)
CACHED_BYTES_MAX: Final = 64 * 1024 * 1024  # frames and pages of all blogs at their present tops
RETRY_S: Final = (0.1, 2.0)  # the first and the longest wait between two tries to repair
ASK_EVERY_S: Final = 1.0  # a reader's claims cost at most one repair read of a blog in this time
ENDED_GRACE_S: Final = 60.0  # connected readers of a blog that ended stay this long
ENDED_PACE_S: Final = 10.0  # and are then closed over this time
PIECES_MAX: Final = 2_800  # encoded changes of one blog
ARTICLES_MAX: Final = 100  # rendered entries of one blog: the newest page, and a few others


class Live:
    """One blog in this worker."""

    def __init__(self, hub: "Hub", slug: str, snapshot: Snapshot) -> None:
        self.hub, self.slug = hub, slug
        self.timeline = Timeline(snapshot)
        # Who can be brought forward; who waits for the store's judgement; who is behind and since
        # when, the longest first. A reader may be in the last two at once. The first is in the
        # order of joining, which is about that of the sockets in memory: to walk them in any other
        # makes each write 0.6 us dearer (10,000 sockets, loopback).
        self.followers: dict[Reader, None] = {}
        self.waiting: set[Reader] = set()
        self.behind: dict[Reader, float] = {}
        self.ended_at: float | None = None
        self.lost = False  # the store lacks this blog now
        self._cache: dict[Hashable, Any] = {}  # of the present top only: frames and pages
        self.cached_bytes = 0
        self._pieces: dict[tuple[str, bool], Piece] = {}
        self._articles: dict[str, str] = {}  # the HTML of entries as they are now, by id
        self._held: deque[Changes] = deque(maxlen=EARLY_MAX)
        self._passing = False
        self._late_beat: Callable[[], None] | None = None  # it waits for the pass to end
        self._repair_wanted = False
        self._repairing = False
        self._repairs_begun = 0
        self._asked_at = -ASK_EVERY_S
        self._ask_timer: asyncio.TimerHandle | None = None
        self._settled: dict[
            asyncio.Future[None], int
        ] = {}  # who confirms, and how many repairs had begun
        self._joined = 0
        self._note_status()

    # -- readers

    @property
    def blog(self) -> Blog:
        return self.timeline.blog

    @property
    def position(self) -> Position:
        return self.timeline.position

    @property
    def is_open(self) -> bool:
        """Whether readers may see the blog at all."""
        return self.blog.status != "draft"

    def readers(self) -> list[Reader]:
        return [*self._judged(), *self.waiting]

    def _judged(self) -> list[Reader]:
        """Return the readers in this history; those who wait may be in another."""
        return [*self.followers, *(self.behind.keys() - self.waiting)]

    def count(self) -> int:
        return len(self.followers) + len(self.waiting | self.behind.keys())

    def join(self, reader: Reader, since: Position | None) -> None:
        """Register a reader, say hello, and send what it missed after `since`; None: from now on.

        Atomic: no change can come between what it is told and its registration.
        """
        standing = self.timeline.standing(since) if since else "here"
        at = since or self.position
        if self.hub.draining:
            reader.end(frames.bye(RESTART_WINDOW_MS, "restart"), DRAINED)
            return
        if not self.is_open:
            reader.end(frames.bye(None, "gone"), NO_SUCH_BLOG)
            return
        reader.live, reader.offset = self, at.offset
        reader.slot = self._joined = (self._joined + 1) % SLOTS
        reader.leaves = self.blog.status == "ended"
        reader.send(self._hello(at))
        if reader.live is not self:  # freed at once: too much was held for others already
            return
        if standing == "ask":
            reader.waits_for = (at, self._repairs_begun)
            self.waiting.add(reader)
            self._ask()
        elif standing == "old":
            self._reset(reader)
        else:
            self._admit(reader)

    def _hello(self, at: Position) -> Frame:
        """Return the greeting of who joins at a position, encoded once: most join at the top."""
        hello: Frame | None = self._cache.get(at)
        if not hello:
            hello = frames.hello(at, self.hub.rules.heartbeat_s)
            if self.timeline.standing(at) == "here":  # what is only claimed must not fill the cache
                self.keep(at, hello, hello.bytes_max)
        return hello

    def _admit(self, reader: Reader) -> None:
        """Let a reader follow: now, or when it has drained."""
        if not reader.behind:
            reader.follows = True
            self.followers[reader] = None
            self._bring(reader)

    def leave(self, reader: Reader) -> None:
        """Forget a reader. Again is nothing."""
        if reader.live is self:
            reader.follows = False
            self.followers.pop(reader, None)
            self.waiting.discard(reader)
            self._let_go(reader)
            reader.live = None

    def dismiss(self, reader: Reader, farewell: Frame | None, code: int) -> None:
        """Send a reader away, unless it has gone already."""
        if reader.live is self:
            self.leave(reader)
            reader.end(farewell, code)

    def free(self, reader: Reader) -> None:
        """Abort a reader's connection, unless it has gone already."""
        if reader.live is self:
            self.leave(reader)
            reader.abort()

    def fell_behind(self, reader: Reader, held_bytes: int) -> None:
        """Put a reader aside, where it costs nothing per change, until it has drained."""
        self._let_go(reader)
        reader.follows = False
        self.followers.pop(reader, None)
        self.behind[reader] = self.hub.clock()
        reader.held_bytes = held_bytes
        self.hub.hold(held_bytes)

    def _let_go(self, reader: Reader) -> None:
        """Forget that a reader is behind, and what is held for it."""
        if self.behind.pop(reader, None) is not None:
            self.hub.held_bytes -= reader.held_bytes

    def drained(self, reader: Reader) -> None:
        """Take a reader back among those that follow, with one frame to the top if it is below."""
        if reader in self.behind:
            self._let_go(reader)
            if reader not in self.waiting:
                self._admit(reader)

    def frame(self, since: int, as_data: bool) -> Frame | None:
        """Return the `changes` from offset `since` to the top, encoded once.

        None when that is too much (reset).
        """
        if (since, as_data) in self._cache:
            cached: Frame | None = self._cache[since, as_data]
            return cached
        made = self._make_frame(since, as_data)
        self.keep((since, as_data), made, made.bytes_max if made else 0)
        return made

    def kept(self, key: Hashable) -> Any:
        """Return what was kept of the present top under a key, None when nothing was."""
        return self._cache.get(key)

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep something of `size` bytes until the next change, or while there is room."""
        if size > CACHED_BYTES_MAX:
            return
        if self.hub.cached_bytes() + size > CACHED_BYTES_MAX:
            self.hub.forget_cached()
        self._cache[key] = value
        self.cached_bytes += size

    def forget_cached(self) -> None:
        """Drop what was made of the present top; it is made again when it is asked for."""
        self._cache.clear()
        self.cached_bytes = 0

    def _make_frame(self, since: int, as_data: bool) -> Frame | None:
        missed = self.timeline.changes(since)
        if missed is None:
            return None
        pieces = [self._piece(record, as_data) for record in missed]
        return frames.changes(since, self.position, pieces)

    def _piece(self, record: Record, as_data: bool) -> Piece:
        key = (record.id if isinstance(record, Entry) else "", as_data)
        if key not in self._pieces:
            self._pieces[key] = self._encode_safely(record, as_data)
        return self._pieces[key]

    def _encode_safely(self, record: Record, as_data: bool) -> Piece:
        """Encode one change.

        What cannot be shown is left out, so that nothing else waits for it.
        """
        try:
            return self._encode(record, as_data)
        except Exception:
            log.exception("blog %s: a change cannot be shown: %s", self.slug, id_of(record))
            if isinstance(record, Blog):
                return frames.header(record)
            return frames.delete(record)

    def _encode(self, record: Record, as_data: bool) -> Piece:
        base_url = self.hub.rules.base_url
        if isinstance(record, Blog):
            if as_data:
                return frames.header(
                    record, blog=frames.blog_data(record, self._at(record), base_url)
                )
            return frames.header(record, html=self.hub.render.header_html(record))
        if record.deleted:
            return frames.delete(record)
        if as_data:
            position = self.timeline.position_of(record)
            return frames.put(
                record, entry=frames.entry_data(record, self.slug, position, base_url)
            )
        return frames.put(record, html=self.article(record))

    def article(self, entry: Entry) -> str:
        """Return an entry's HTML, made once for frames and pages until the entry changes.

        Of one that is not held as it is (read from the store, for one page) nothing is kept.
        """
        if self.timeline.get(entry.id) is not entry:
            return self.hub.render.entry_html(entry, self.blog)
        if entry.id not in self._articles:
            if len(self._articles) >= ARTICLES_MAX:
                self._articles.clear()
            self._articles[entry.id] = self.hub.render.entry_html(entry, self.blog)
        return self._articles[entry.id]

    def _at(self, blog: Blog) -> Position:
        return Position(self.timeline.epoch, blog.offset, self.timeline.check(blog.offset))

    # -- changes

    def receive(self, changes: Changes) -> None:
        """Take a hint from pub/sub.

        The next change is applied, an old one ignored, anything else repaired.
        """
        if self._apply(changes):
            return
        if self._repairing:
            self._held.append(changes)
        else:
            self.repair()

    def _apply(self, changes: Changes) -> bool:
        """Apply what comes next; False when only the store's state can say what `changes` mean."""
        outcome = self.timeline.apply(changes)
        if outcome == "applied":
            self._advanced(changes.records)
        return outcome in ("applied", "ignored")

    def _advanced(self, records: Iterable[Record]) -> None:
        """Clear what was made of the old top and start bringing the readers to the new one."""
        self._forget(records)
        self._note_status()
        if not self.is_open:
            self._close_all(frames.bye(None, "gone"), NO_SUCH_BLOG)
            return
        self._settle()
        if not self._passing and self.followers:
            self._passing = True
            self.hub.spawn(self._pass())

    def _forget(self, records: Iterable[Record]) -> None:
        self.forget_cached()
        for record in records:
            self._articles.pop(id_of(record), None)
            for as_data in (False, True):
                self._pieces.pop((record.id if isinstance(record, Entry) else "", as_data), None)
        if len(self._pieces) > PIECES_MAX:
            self._pieces.clear()

    def _note_status(self) -> None:
        if self.blog.status != "ended":
            self.ended_at = None
        elif self.ended_at is None:
            self.ended_at = self.hub.clock()

    async def _pass(self) -> None:
        """Walk the readers until all that can be are at the top; one walk at a time per blog."""
        try:
            top = -1
            while top != self.timeline.offset:
                top = self.timeline.offset
                started = self.hub.clock()
                await self._walk()
                self.hub.on_pass(self.hub.clock() - started)
        finally:
            self._passing = False
            self._beat_late()

    async def _walk(self) -> None:
        readers = iter(list(self.followers))
        while self._bring_some(readers):  # noqa: ASYNC110 - lets others run, waits for nothing
            await asyncio.sleep(0)

    def _bring_some(self, readers: Iterator[Reader]) -> bool:
        """Bring the next readers to the top, for SLICE_S; say whether there may be more.

        A worker spends its time here: two comparisons and a write per reader. Who is where the one
        before was gets the same frame without another look-up.
        """
        clock, top = self.hub.clock, self.timeline.offset
        until = clock() + SLICE_S
        since, encoding, shared, taken = -1, None, b"", 0
        while some := list(itertools.islice(readers, LOOK_EVERY)):
            for reader in some:
                if not reader.follows:  # left, or fell behind, since the list was made
                    continue
                if reader.offset == since and reader.encoding is encoding:
                    reader.offset = top
                    reader.take(shared)
                    taken += 1
                else:
                    if taken:
                        self._count(taken, taken * len(shared))
                    since, encoding, taken = reader.offset, reader.encoding, 0
                    self._bring(reader)
                    shared = self._shared(since, encoding)
                    if not shared:
                        since = -1
            if clock() >= until:
                break
        self._count(taken, taken * len(shared))
        return bool(some)

    def _count(self, taken: int, taken_bytes: int) -> None:
        self.hub.counts.deliveries += taken
        self.hub.counts.sent_bytes += taken_bytes

    def _shared(self, since: int, encoding: Encoding) -> Any:
        """Return what all at `since` get; nothing where each must be looked at by itself."""
        if since >= self.timeline.offset or self.blog.status == "ended":
            return b""
        frame = self.frame(since, encoding.as_data)
        return frame.encoded(encoding) if frame else b""

    def _bring(self, reader: Reader) -> None:
        """Bring one registered reader to the top, with the shared frame or a reset."""
        if reader.offset >= self.timeline.offset:
            if reader.leaves:
                self._close(reader)
            return
        frame = self.frame(reader.offset, reader.encoding.as_data)
        if frame is None:
            self._reset(reader)
            return
        reader.offset = self.timeline.offset
        data = frame.encoded(reader.encoding)
        self._count(1, len(data))
        reader.take(data)
        if reader.leaves and not reader.behind:
            self._close(reader)

    def _close(self, reader: Reader) -> None:
        """Send a reader of an ended blog away, unless it has been opened again."""
        reader.leaves = False
        if self.blog.status == "ended":
            self.dismiss(reader, None, ENDED)

    def _reset(self, reader: Reader) -> None:
        if reader.live is not self:
            return
        self.leave(reader)
        self.hub.counts.resets += 1
        reader.end(frames.reset(self.position, RESET_WINDOW_MS), RESET)

    def _close_all(self, farewell: Frame | None, code: int) -> None:
        for reader in self.readers():
            self.dismiss(reader, farewell, code)

    # -- repair: the state is the truth, messages are hints

    def repair(self) -> None:
        """Have the store's state read and applied; one read at a time per blog."""
        self._repair_wanted = True
        if not self._repairing:
            self._repairing = True
            self.hub.spawn(self._repair())

    async def _repair(self) -> None:
        wait_s = RETRY_S[0]
        try:
            while self._repair_wanted:
                self._repair_wanted = False
                self._repairs_begun += 1
                begun = self._repairs_begun
                try:
                    await self._repair_once()
                    wait_s = RETRY_S[0]
                except Exception as error:  # whatever it is, what is held must not stay as it is
                    said = log.warning if isinstance(error, StoreDown) else log.exception
                    said("blog %s: a repair is tried again after: %s", self.slug, error)
                    self._repair_wanted = self.hub.lives.get(self.slug) is self
                    await asyncio.sleep(wait_s)
                    wait_s = min(RETRY_S[1], wait_s * 2)
                else:
                    self._repaired(begun)
        finally:
            self._repairing = False

    async def _repair_once(self) -> None:
        source, position = self.hub.source, self.position
        self.hub.counts.repairs += 1
        answer = await source.repair(self.slug, position)
        if isinstance(answer, Changes):
            self._absorb(answer)
        elif answer.why == "absent":
            self._note_lost(True)
        else:
            if answer.why == "fork":
                rotated = await source.rotate(self.slug, position)
                log.error(
                    "blog %s: the store's history forks from %s; rotated: %s",
                    self.slug,
                    position,
                    rotated,
                )
            snapshot = await source.load(self.slug)
            if snapshot:
                self._reload(snapshot)
            else:
                self._note_lost(True)

    def _note_lost(self, lost: bool) -> None:
        if lost and not self.lost:
            log.error("blog %s: the store lacks it; serving what this worker holds", self.slug)
        self.lost = lost

    def _absorb(self, changes: Changes) -> None:
        """Apply what a repair read gave, forwards only, then what arrived meanwhile."""
        self._note_lost(False)
        if not self._apply(changes):
            self._repair_wanted = True
        self._apply_held()

    def _apply_held(self) -> None:
        held, full = list(self._held), len(self._held) == EARLY_MAX
        self._held.clear()
        for changes in held:
            if not self._apply(changes):
                self._repair_wanted = True
        self._repair_wanted |= full

    def _reload(self, snapshot: Snapshot) -> None:
        """Take another state in place of the present one; readers who cannot follow are reset.

        Forwards only: one of this epoch that messages have overtaken meanwhile is left alone.
        """
        self._note_lost(False)
        was, now = self.position, snapshot.position
        if now.epoch != was.epoch or now.offset > was.offset:
            self.timeline = Timeline(snapshot)
            self._pieces.clear()
            self._articles.clear()
            if self.timeline.standing(was) == "ask":  # another history
                for reader in self._judged():
                    self._reset(reader)
            self._advanced([])
        self._repair_wanted = True  # what moved while the snapshot was read
        self._apply_held()

    def _repaired(self, begun: int) -> None:
        """Judge the readers and callers whose question is older than the read numbered `begun`.

        A store that lacks the blog judges nobody: what it knows when it is back may be more than
        what is held here.
        """
        self._settle(0 if self.lost else begun)
        for future, asked in self._settled.items():
            if asked < begun and not future.done():
                future.set_result(None)

    def _settle(self, begun: int = 0) -> None:
        """Let waiting readers on whose position is known by now.

        Reset those whom a repair read has judged.
        """
        for reader in list(self.waiting):
            if reader.live is not self:  # freed for one before it
                continue
            position, asked = reader.waits_for or (self.position, 0)
            standing = self.timeline.standing(position)
            if standing == "here":
                self.waiting.discard(reader)
                reader.waits_for = None
                self._admit(reader)
            elif asked < begun:
                self._reset(reader)

    def _ask(self) -> None:
        """Repair on behalf of a reader's claim, at most once in ASK_EVERY_S."""
        if self._ask_timer:
            return
        wait_s = self._asked_at + ASK_EVERY_S - self.hub.clock()
        self._ask_timer = asyncio.get_running_loop().call_later(max(0.0, wait_s), self._ask_now)

    def _ask_now(self) -> None:
        self._ask_timer = None
        self._asked_at = self.hub.clock()
        self.repair()

    async def confirm(self, timeout_s: float) -> None:
        """Wait for a repair read that begins after now, at most one a second per blog.

        Raises StoreDown when it has not ended in `timeout_s` more than it may have to wait for its
        turn.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled[future] = self._repairs_begun
        self._ask()
        turn_s = max(0.0, self._asked_at + ASK_EVERY_S - self.hub.clock())
        try:
            async with asyncio.timeout(timeout_s + turn_s):
                await future
        except TimeoutError:
            raise StoreDown("the store did not answer in time") from None
        finally:
            del self._settled[future]

    # -- time passing

    def beat(self, slot: int, now: str | None, asks: bool = False) -> None:
        """Send a heartbeat to one slot's readers at the top, and proof of life to who waits.

        `asks`: for a sign of life, too, from those who can give one. During a pass it waits for the
        end, or for the next beat: 500 readers' beats take 5 ms, and not all are at the top then.
        """
        self._beat_late()
        if self._passing:
            self._late_beat = partial(self._beat_now, slot, now, asks)
        else:
            self._beat_now(slot, now, asks)

    def _beat_late(self) -> None:
        if self._late_beat:
            send, self._late_beat = self._late_beat, None
            send()

    def _beat_now(self, slot: int, now: str | None, asks: bool) -> None:
        shared, alive = frames.beat(self.position, now, asks), frames.beat(None, now, asks)
        for reader in [reader for reader in self.followers if reader.slot == slot]:
            if reader.offset == self.timeline.offset:
                self._beat(reader, shared, asks)
        for reader in [r for r in self.waiting if r.slot == slot and not r.behind]:
            self._beat(reader, alive, asks)

    def _beat(self, reader: Reader, beat: Frame, asks: bool) -> None:
        if reader.answers_pings and asks:
            reader.unheard += 1
        if reader.unheard > self.hub.unheard_max:
            self.hub.counts.unheard += 1
            self.free(reader)
        else:
            reader.send(beat)

    def free_stalled(self) -> None:
        """Free the readers whose sockets took nothing for STALLED_S. Called each second."""
        before = self.hub.clock() - STALLED_S
        for reader, since in list(self.behind.items()):
            if since > before:
                return
            self.hub.counts.stalled += 1
            self.free(reader)

    def close_ended(self) -> None:
        """Send away a share of the readers of a blog that ended ENDED_GRACE_S ago.

        Called each second.

        Each goes when it is at the top: who is behind, when it has drained and has what it missed.
        """
        if self.ended_at is None or self.hub.clock() < self.ended_at + ENDED_GRACE_S:
            return
        for reader in self.behind:
            reader.leaves = True
        staying = [reader for reader in self.followers if not reader.leaves]
        left_s = self.ended_at + ENDED_GRACE_S + ENDED_PACE_S - self.hub.clock()
        for reader in staying[: math.ceil(len(staying) / max(1, left_s))]:
            reader.leaves = True
            self._bring(reader)
