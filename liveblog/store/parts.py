"""The whole parts of a damaged append-only file: a repair keeps them, and skips the damage.

A transaction stays as a whole or not at all. Damage may hide the MULTI of a transaction, and only
its end is left. So the commands behind damage are left out when the next mark is an EXEC, or when
more damage comes before a mark.

Rules: reads files and changes none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from liveblog.store import aof


class Part(NamedTuple):
    """A part of a file, from `start` to `end`, that has whole commands and transactions only.

    `commands`: how many, without MULTI and EXEC. `since` and `until`: the first and the last time
    that the store noted in the part, in seconds since 1970; None when there is none.
    """

    start: int
    end: int
    commands: int
    since: int | None
    until: int | None


class Gap(NamedTuple):
    """A skipped part of a file, from `start` to `end`.

    `since` and `until` are the nearest times that the store noted before the gap and behind it.
    """

    start: int
    end: int
    since: int | None
    until: int | None


def gaps(parts: Sequence[Part], size: int, stamp: int | None = None) -> list[Gap]:
    """Return what is skipped when these parts of a file stay. `stamp`: the time before the file."""
    since, until = [stamp], list[int | None]([None])
    for part in parts:
        since.append(part.until or since[-1])
    for part in reversed(parts):
        until.append(part.since or until[-1])
    starts, ends = [*(part.start for part in parts), size], [0, *(part.end for part in parts)]
    found = map(Gap, ends, starts, since, reversed(until))
    return [gap for gap in found if gap.start < gap.end]


def whole_parts(
    file: BinaryIO, size: int, arities: Mapping[bytes, int], *, has_transactions: bool = True
) -> list[Part]:
    """Return the whole parts of the first `size` bytes of a file, in their order.

    `arities`: as in `aof.scan`. A base file has no transactions.
    """
    reading = _Reading(has_transactions)
    for step in aof.steps(file, size, arities):
        reading.take(step)
    if not reading.is_open:
        reading.settle(size)
    reading.close()
    return reading.done


@dataclass
class _Reading:
    """Collects parts from the steps through a file.

    The current part begins at `start`. It is certain up to `sure`, with `commands` commands; `more`
    commands follow. `is_open`: a transaction began at `sure`. `is_behind`: `start` is behind
    damage, and no MULTI or EXEC has followed.
    """

    has_transactions: bool
    done: list[Part] = field(default_factory=list)
    is_open: bool = False
    is_behind: bool = False
    start: int = 0
    sure: int = 0
    commands: int = 0
    more: int = 0
    since: int | None = None
    until: int | None = None

    def take(self, step: aof.Step) -> None:
        if step.name is None:
            self._take_damage(step)
        elif step.name == b"MULTI":
            self._take_multi(step)
        elif step.name == b"EXEC":
            self._take_exec(step)
        elif step.name:
            self.more += 1
        elif step.stamp is not None:
            self.since, self.until = self.since or step.stamp, step.stamp

    def _take_damage(self, step: aof.Step) -> None:
        is_unknown = self.is_behind and self.has_transactions
        if not self.is_open and not is_unknown:
            self.settle(step.start)
        self.close()
        self._begin(step.end, is_behind=True)

    def _take_multi(self, step: aof.Step) -> None:
        if self.is_open:  # the EXEC before it is lost
            self.close()
            self._begin(step.start)
        self.settle(step.start)
        self.is_open, self.is_behind = True, False

    def _take_exec(self, step: aof.Step) -> None:
        if self.is_open:
            self.settle(step.end)
            self.is_open = False
        else:  # the MULTI before it is lost
            self.close()
            self._begin(step.end)

    def settle(self, at: int) -> None:
        """Count the commands up to an offset as certain."""
        self.sure, self.commands, self.more = at, self.commands + self.more, 0

    def close(self) -> None:
        """Add what is certain of the current part, unless that is nothing."""
        if self.sure > self.start:
            part = Part(self.start, self.sure, self.commands, self.since, self.until)
            self.done.append(part)

    def _begin(self, at: int, *, is_behind: bool = False) -> None:
        self.start = self.sure = at
        self.commands = self.more = 0
        self.is_open, self.is_behind = False, is_behind
        self.since = self.until = None
