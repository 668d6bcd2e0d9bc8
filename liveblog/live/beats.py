"""Heartbeats of one blog: frames that show readers that the server is alive.

The heartbeat interval is divided into slots, and each reader belongs to one slot. A *pass* is one
round in which `Fanout` sends new changes to the readers; heartbeats wait until the pass has ended.

Rules: no I/O but `Reader.send`, and no timer: the hub's periodic task calls `send` for each slot.
"""

from collections.abc import Callable
from functools import partial

from liveblog.blog.timeline import Timeline
from liveblog.live import frame as frames
from liveblog.live.frame import Frame
from liveblog.live.reader import AnyReader
from liveblog.live.roster import Roster
from liveblog.live.shared import Counts


class Beats:
    """Sends the heartbeats of one blog; aborts readers with too many unanswered pings.

    `unheard_max` is how many pings a reader may leave unanswered.
    """

    def __init__(
        self,
        timeline: Timeline,
        roster: Roster,
        is_passing: Callable[[], bool],
        counts: Counts,
        unheard_max: int,
    ) -> None:
        self._timeline, self._roster, self._is_passing = timeline, roster, is_passing
        self._counts, self._unheard_max = counts, unheard_max
        self._late: Callable[[], None] | None = None  # the heartbeat that waits for a pass to end

    def send(self, slot: int, now: str | None, pings: bool = False) -> None:
        """Send a heartbeat to the readers of one slot.

        Only readers that have every change, or whose position is not verified yet, get the
        heartbeat. `now` is the time shown in the heartbeat. `pings` adds a ping, for readers that
        can answer pings.

        While a pass sends changes to the readers, the heartbeat waits until the pass ends or the
        next heartbeat is due. Heartbeats during the pass would delay the pass: 500 of them take
        5 ms. Readers that the pass has not reached yet lack changes, so they would get no
        heartbeat.
        """
        self.send_late()
        if self._is_passing():
            self._late = partial(self._send_now, slot, now, pings)
        else:
            self._send_now(slot, now, pings)

    def send_late(self) -> None:
        """Send the heartbeat that waits for the end of a pass, if there is one."""
        if self._late:
            send, self._late = self._late, None
            send()

    def _send_now(self, slot: int, now: str | None, pings: bool) -> None:
        followers = [r for r in self._roster.followers if r.slot == slot]
        if followers:
            at_top = frames.beat(self._timeline.position, now, pings)
            for reader in followers:
                if reader.offset == self._timeline.offset:
                    self._send(reader, at_top, pings)
        waiting = [r for r in self._roster.waiting if r.slot == slot and not r.behind]
        if waiting:
            without_position = frames.beat(None, now, pings)
            for reader in waiting:
                self._send(reader, without_position, pings)

    def _send(self, reader: AnyReader, beat: Frame, pings: bool) -> None:
        if reader.answers_pings and pings:
            reader.unheard += 1
        if reader.unheard > self._unheard_max:
            self._counts.unheard += 1
            self._roster.abort(reader)
        else:
            reader.send(beat)
