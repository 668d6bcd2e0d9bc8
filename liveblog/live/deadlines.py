"""Deadlines of connections, without a timer for each connection.

Rules: no I/O, no timers. The caller asks which deadlines have passed and acts on the connections.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Tells which connections are late with one step, such as sending a whole request head.

    `note` starts the time of a connection, `forget` ends it, and `passed` yields the late ones.

    All connections have the same time limit. So the order of the dictionary `_since` is the order
    of the deadlines, and no connection needs a timer.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._since: dict[T, float] = {}

    def note(self, connection: T) -> None:
        """Set a connection's deadline, unless it has one already."""
        self._since.setdefault(connection, self._clock())

    def forget(self, connection: T) -> None:
        """Drop a connection's deadline, if it has one."""
        self._since.pop(connection, None)

    def note_while(self, is_due: bool, connection: T) -> None:
        """Give a connection a deadline when `is_due`; otherwise remove its deadline."""
        self.note(connection) if is_due else self.forget(connection)

    def pop_earliest(self, older_than_s: float) -> T | None:
        """Forget and return the connection noted first, if it was noted so many seconds ago."""
        connection = next(iter(self._since), None)
        if connection is None or self._clock() - self._since[connection] < older_than_s:
            return None
        del self._since[connection]
        return connection

    def passed(self, *, all_of_them: bool = False) -> Iterator[T]:
        """Yield and forget the late connections, or `all_of_them`; the earliest deadline first."""
        before = self._clock() - self._seconds
        for connection, since in list(self._since.items()):
            if since > before and not all_of_them:
                return
            # The caller ends each connection before the next one is yielded. This may end a later
            # connection of the list, too. That connection then has no deadline and is skipped.
            if self._since.pop(connection, None) is not None:
                yield connection
