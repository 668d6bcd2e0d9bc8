"""Readers whose position the store has not verified yet.

A reader may come with a position that this worker cannot verify: another epoch, an offset ahead of
the top, or another check. The reader waits for a repair read that starts after its arrival. Until
then a message may prove the position right, but nothing can refute it.

Rules: no I/O; reads nothing from the store.
"""

from liveblog.blog.timeline import Timeline
from liveblog.live.fanout import Fanout
from liveblog.live.roster import Roster


class WaitingReaders:
    """The waiting readers in a blog's roster."""

    def __init__(self, timeline: Timeline, roster: Roster, fanout: Fanout) -> None:
        self._timeline, self._roster, self._fanout = timeline, roster, fanout

    def recheck(self, read: int = 0) -> None:
        """Admit waiting readers whose position has become known.

        `read` is the number of the last repair read that ended: a reader that came before this read
        started and whose position is still unknown is reset. 0: no read has ended, reset nobody.
        """
        for reader in list(self._roster.waiting):
            # Admitting one reader may abort another, when too many bytes are held.
            if not self._roster.has(reader) or reader.waits_for is None:
                continue
            position, reads_started = reader.waits_for
            if self._timeline.standing(position) == "here":
                self._roster.stop_waiting(reader)
                self._fanout.admit(reader)
            elif reads_started < read:
                self._fanout.reset(reader)
