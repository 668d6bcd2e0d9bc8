"""Limits on what the HTTP connections of a worker hold in memory for slow clients.

Three backlogs: bytes of answers that clients do not read, bytes of request bodies that the
application has not read yet, and requests that wait for the answers before them (pipelining).

Rules: no I/O, no clock. live/connections.py reports the amounts, and is aborted above the limits.
"""

from asyncio import WriteTransport
from collections import Counter
from typing import Final, Protocol

# Above this, the server aborts the connections whose sockets have been full the longest. The kernel
# holds another LIVEBLOG_SEND_BUFFER_BYTES for each.
UNREAD_BYTES_MAX: Final = 64 * 1024 * 1024
# A body waits here while the server verifies the caller. Then editors/bodies.py counts the body.
ARRIVED_BYTES_MAX: Final = 4 * 1024 * 1024
# Requests that one connection may send ahead of their answers. Browsers and balancers send none.
# After these, the server reads nothing more, answers, and closes (RFC 9112, section 9.3.2).
PIPELINED_MAX: Final = 8
PIPELINED_BODY_BYTES_MAX: Final = 4 * 1024  # the body of a request that is sent ahead
PIPELINED_IN_ALL_MAX: Final = 4_000  # requests sent ahead in a worker; each takes 2 KB


class Abortable(Protocol):
    """A connection that can be aborted."""

    def abort(self) -> None: ...


class Backlog:
    """Amounts that connections hold, and a limit on their sum.

    A connection is named by its transport. Above the limit, the connections that have held
    something the longest are aborted, and counted in `closed` under the name `why`.
    """

    def __init__(self, most: int, why: str, closed: Counter[str]) -> None:
        self.total = 0
        self._most, self._why, self._closed = most, why, closed
        # The connection that has held something the longest comes first. No amount is 0.
        self._amounts: dict[WriteTransport, tuple[int, Abortable]] = {}

    def note(self, transport: WriteTransport, amount: int, connection: Abortable) -> None:
        """Set the amount that a connection holds."""
        if not amount:
            self.forget(transport)
            return
        before = self._amounts.get(transport)
        self.total += amount - (before[0] if before else 0)
        self._amounts[transport] = amount, connection
        while self.total > self._most:
            self._abort_first()

    def forget(self, transport: WriteTransport) -> None:
        """Set the amount of a connection to nothing."""
        found = self._amounts.pop(transport, None)
        if found:
            self.total -= found[0]

    def _abort_first(self) -> None:
        transport, (_, connection) = next(iter(self._amounts.items()))
        self.forget(transport)
        self._closed[self._why] += 1
        connection.abort()
