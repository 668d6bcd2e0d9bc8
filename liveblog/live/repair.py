"""Repair: keep one timeline at the state of the store.

Messages may be lost or come twice; only the stored state is the truth. A message that continues the
timeline is applied, an old message is ignored. Any other message starts a repair read, which asks
the store for the changes since the timeline's position. Comparisons with the store, confirmed
subscriptions and readers with an unknown position start a repair read, too.

Rules: one repair read at a time for each blog. Within an epoch the timeline only moves forward.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.blog.timeline import Changes, Record, Snapshot, Timeline
from liveblog.live.shared import Counts, Spawn
from liveblog.live.source import Source

log = logging.getLogger(__name__)

QUEUED_MAX: Final = 200  # messages queued during a load or repair; a full queue starts a repair
RETRY_S: Final = (0.1, 2.0)  # the first and the longest wait before a failed repair is retried
REQUEST_EVERY_S: Final = 1.0  # least time between two repair reads that `request` starts


class RepairedBlog(Protocol):
    """The blog that the timeline belongs to; the blog reacts to the results of repairs."""

    @property
    def is_held(self) -> bool:
        """Whether the blog is still in memory; if not, a failed repair is not retried."""

    def advanced(self, records: Iterable[Record]) -> None:
        """Evict outdated frames, and start to send changes that the timeline has applied."""

    def replaced(self, was: Position) -> None:
        """Evict everything made from the old state, after a repair replaced the timeline's state.

        `was` is the old position. Readers are reset when the new history does not contain `was`.
        """

    def verify_waiting(self, read: int) -> None:
        """Admit or reset the readers with an unverified position, after a repair read.

        `read` is the number of the read. Readers that came before this read started are reset if
        their position is still unknown. 0: reset no reader.
        """


class Repair:
    """Applies the messages of one blog to its timeline, and reads the store after a gap.

    `lost`: the last repair read did not find the blog in the store. Repair reads are numbered from
    1; `reads_started` is the number of the newest read.
    """

    def __init__(
        self,
        slug: str,
        timeline: Timeline,
        source: Source,
        blog: RepairedBlog,
        *,
        counts: Counts,
        clock: Callable[[], float],
        spawn: Spawn,
    ) -> None:
        self._slug, self._timeline, self._source, self._blog = slug, timeline, source, blog
        self._counts, self._clock, self._spawn = counts, clock, spawn
        self.lost = False
        self.reads_started = 0
        self._queue: deque[Changes] = deque(maxlen=QUEUED_MAX)
        self._is_wanted = False
        self._is_running = False
        self._requested_at = -REQUEST_EVERY_S
        self._request_timer: asyncio.TimerHandle | None = None
        # For each call of `confirm`: how many repair reads had started before the call.
        self._confirming: dict[asyncio.Future[None], int] = {}

    # -- messages

    def receive(self, changes: Changes) -> None:
        """Apply a message from pub/sub, or repair when it does not continue the timeline.

        A message that is not ahead of the timeline is ignored.
        """
        if self._apply(changes):
            return
        if self._is_running:
            self._queue.append(changes)
        else:
            self.start()

    def _apply(self, changes: Changes) -> bool:
        """Apply changes or ignore old ones; return False when they do not fit the timeline."""
        outcome = self._timeline.apply(changes)
        if outcome == "applied":
            self._blog.advanced(changes.records)
        return outcome in ("applied", "ignored")

    # -- reads

    def start(self) -> None:
        """Start a repair read; while a read is running, start another one after it."""
        self._is_wanted = True
        if not self._is_running:
            self._is_running = True
            self._spawn(self._run())

    async def _run(self) -> None:
        wait_s = RETRY_S[0]
        try:
            while self._is_wanted:
                self._is_wanted = False
                self.reads_started += 1
                read = self.reads_started
                try:
                    await self._read()
                    wait_s = RETRY_S[0]
                except Exception as error:  # retry after any error: the timeline may lack changes
                    self._log_failure(error, wait_s)
                    self._is_wanted = self._blog.is_held
                    await asyncio.sleep(wait_s)
                    wait_s = min(RETRY_S[1], wait_s * 2)
                else:
                    self._finish(read)
        finally:
            self._is_running = False

    def _log_failure(self, error: Exception, wait_s: float) -> None:
        if isinstance(error, StoreRefuses):  # live/watch.py logs it once a minute
            return
        write = log.warning if isinstance(error, StoreDown) else log.exception
        write("blog %s: repair failed, retrying in %.1f s: %s", self._slug, wait_s, error)

    async def _read(self) -> None:
        position = self._timeline.position
        self._counts.repairs += 1
        answer = await self._source.repair(self._slug, position)
        if isinstance(answer, Changes):
            self._note_lost(False)
            if not self._apply(answer):
                self._is_wanted = True
            self._apply_queue()
        elif answer.why == "absent":
            self._note_lost(True)
        else:
            if answer.why == "fork":
                await self._rotate(position)
            await self._reload()

    async def _rotate(self, position: Position) -> None:
        rotated = await self._source.rotate(self._slug, position)
        log.error(
            "blog %s: the store's history forks from %s; rotated: %s", self._slug, position, rotated
        )

    async def _reload(self) -> None:
        snapshot = await self._source.load(self._slug, self._timeline.blog)
        if not snapshot:
            self._note_lost(True)
            return
        self._note_lost(False)
        self._replace(snapshot)
        self._is_wanted = True  # read again: changes may have come while the snapshot was read
        self._apply_queue()

    def _replace(self, snapshot: Snapshot) -> None:
        """Replace the timeline's state by the snapshot.

        Within an epoch this happens only when the snapshot is ahead of the timeline.
        """
        was, now = self._timeline.position, snapshot.position
        if now.epoch != was.epoch or now.offset > was.offset:
            self._timeline.replace(snapshot)
            self._blog.replaced(was)

    def _apply_queue(self) -> None:
        queued, is_full = list(self._queue), len(self._queue) == QUEUED_MAX
        self._queue.clear()
        for changes in queued:
            if not self._apply(changes):
                self._is_wanted = True
        self._is_wanted |= is_full

    def _note_lost(self, lost: bool) -> None:
        if lost and not self.lost:
            log.error(
                "blog %s: missing in the store; serving the state in this worker's memory",
                self._slug,
            )
        self.lost = lost

    def _finish(self, read: int) -> None:
        """Release the callers of `confirm`, and admit or reset the readers that wait for this read.

        When the store lacks the blog, no reader is reset. The blog may come back with a longer
        history than the timeline's, and a reader's position may be in that history.
        """
        self._blog.verify_waiting(0 if self.lost else read)
        for future, reads_started in self._confirming.items():
            if reads_started < read and not future.done():
                future.set_result(None)

    # -- requests

    def request(self) -> None:
        """Start a repair read that verifies a position, at most one in REQUEST_EVERY_S."""
        if not self._request_timer:
            loop = asyncio.get_running_loop()
            self._request_timer = loop.call_later(self._wait_for_turn_s(), self._start_requested)

    def _wait_for_turn_s(self) -> float:
        return max(0.0, self._requested_at + REQUEST_EVERY_S - self._clock())

    def _start_requested(self) -> None:
        self._request_timer = None
        self._requested_at = self._clock()
        self.start()

    async def confirm(self, timeout_s: float) -> None:
        """Wait until a repair read that starts after this call has ended.

        The read brings the timeline to the store's state, so that a position can be verified.

        Raises StoreDown after `timeout_s`. This time does not include the wait before the read: at
        most one requested read starts in REQUEST_EVERY_S.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._confirming[future] = self.reads_started
        self.request()
        try:
            async with asyncio.timeout(timeout_s + self._wait_for_turn_s()):
                await future
        except TimeoutError:
            raise StoreDown("the store did not answer in time") from None
        finally:
            del self._confirming[future]
