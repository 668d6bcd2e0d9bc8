"""The plain connections of `serve`, all that are not streams: counted, limited, and made room for.

A connection counts from its accept until it is closed. A refused connection counts, too, since its
descriptor stays open until then. A stream stops counting here once the door counts the
stream (live/door.py). A reader that the door refuses still counts here.

When plain connections and streams together take all descriptors but a reserve, the server closes
the connection that has been idle the longest, else one that is slow. Without such a connection,
only requests for the addresses of operators and editors (`OPERATORS`) may use the reserve. Others
get a 503.

Rules: decides and counts; `DirectTransport` (live/direct.py) accepts, answers and closes. No clock.
"""

import logging
import re
from asyncio import Transport
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Final

log = logging.getLogger(__name__)

# Plain connections of a worker, unless LIVEBLOG_CONNECTIONS_MAX is set. An idle one takes 8 KB, so
# this many take 80 MB. More clients than this only lose idle connections, and connect again.
PLAIN_MAX: Final = 10_000
# When descriptors run short, a connection without a request head, or with an unfinished TLS
# handshake, loses its place after this time. A client is one round trip away from the next step.
HEADLESS_S: Final = 1.0
# Likewise a connection that has not sent its body, or not read its answer, after this time.
SLOW_S: Final = 10.0
IDLE_CLOSED: Final = 2  # idle connections closed for a new one that has no place
LOG_AGAIN_S: Final = 60.0  # time before the same limit is logged again

FULL: Final = "full"  # the limit of all connections
ADDRESS: Final = "address"  # the limit of connections from one address

# Request lines that may use the reserve of descriptors: health, metrics, the API and the desk.
OPERATORS: Final = re.compile(
    rb"[A-Z]+ (?:https?://[^/ ]*)?/(?:healthz|readyz|version|metrics|api|desk)[/? ]"
)

# The reasons by which connections are counted: refused, and closed before their time.
REFUSED: Final = (FULL, ADDRESS)
CLOSED: Final = (
    *("idle", "handshake", "waiting", "closing", "slow"),
    *("unread", "arrived", "pipelined"),
)
_SAID: Final[Mapping[str, str]] = {
    FULL: "refused: {room} places for connections that are not streams were taken; {cure}",
    ADDRESS: "refused: more than LIVEBLOG_CONNECTIONS_PER_ADDRESS_MAX ({per_address}) from one"
    " address",
    "idle": "closed as idle, the longest idle first: {room} places were taken; {cure}",
    "handshake": "closed during the TLS handshake: {room} places were taken; {cure}",
    "waiting": "closed without a request: {room} places were taken; {cure}",
    "closing": "cut off after their last answer: {room} places were taken; {cure}",
    "slow": "closed as slow with a body or an answer: {room} places were taken; {cure}",
    "unread": "aborted with unread answers: UNREAD_BYTES_MAX",
    "arrived": "aborted with unread request bodies: ARRIVED_BYTES_MAX",
    "pipelined": "ended after too many requests in advance: PIPELINED_MAX",
}


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """The limits of a worker's connections.

    `plain_max`: connections that are not streams. `files_max`: all connections that the limit of
    open files allows, without the reserve; 0: no limit. `reserve`: connections beyond these limits
    for operators and editors. `per_address_max`: plain connections from one address; 0: no limit.
    """

    plain_max: int = PLAIN_MAX
    files_max: int = 0
    reserve: int = 100
    per_address_max: int = 0


class PlainConnections:
    """Counts the plain connections of a worker, and knows which are idle and which are too many.

    `open` maps a connection's transport to the address under which it counts, "" for none. `idle`
    has the transports that wait for their next request, the longest idle first. `over` has those
    that exceed a limit: they may not become streams. `refused` and `closed` count, by reason.
    """

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self._plain_max = self.limits.plain_max
        self._files_max = self.limits.files_max or inf
        self.open: dict[Transport, str] = {}
        self.idle: dict[Transport, None] = {}
        self.over: dict[Transport, str] = {}
        self.addresses = Counter[str]()
        self.refused = Counter[str]()
        self.closed = Counter[str]()
        self._logged: dict[str, tuple[int, float]] = {}  # the count and the time of the last line

    def enter(self, transport: Transport, address: str, readers: int) -> bool:
        """Count a new connection. Return whether it has no place while there are `readers` streams.

        A connection over the limit of its `address` is noted in `over`.
        """
        self.open[transport] = address
        if address:
            self.addresses[address] += 1
            if self.addresses[address] > self.limits.per_address_max:
                self.over[transport] = ADDRESS
        count = len(self.open)
        return count > self._plain_max or count + readers > self._files_max

    def rename(self, before: Transport, after: Transport) -> None:
        """Count a connection by another transport from now on: the one inside its TLS."""
        self.open[after] = self.open.pop(before)
        if before in self.over:
            self.over[after] = self.over.pop(before)

    def leave(self, transport: Transport) -> None:
        """Forget a connection that is closed, or that the door counts from now on."""
        address = self.open.pop(transport, None)
        self.idle.pop(transport, None)
        if address:
            self.addresses[address] -= 1
            if not self.addresses[address]:
                del self.addresses[address]
        if self.over:
            self.over.pop(transport, None)

    def room(self, readers: int) -> int:
        """Return how many plain connections the worker may have beside so many streams."""
        return int(max(0, min(self._plain_max, self._files_max - readers)))

    def is_short(self, readers: int) -> bool:
        """Return whether a new connection would have no place beside so many streams."""
        return len(self.open) >= self.room(readers)

    def is_reserve_taken(self, readers: int) -> bool:
        return len(self.open) > self.room(readers) + self.limits.reserve

    def close_idle(self) -> bool:
        """Close the connections that have been idle the longest. Return False when none is idle.

        Two are closed for each new connection, so that a reserve that was used becomes free again.
        """
        closing = list(islice(self.idle, IDLE_CLOSED))
        for transport in closing:
            del self.idle[transport]
            self.closed["idle"] += 1
            transport.abort()  # nothing is unsent, and a TLS client could delay a `close()`
        return bool(closing)

    def report(self, now: float, readers: int) -> None:
        """Log which limits were reached since the last line, each at most once in LOG_AGAIN_S."""
        for why, count in (self.refused + self.closed).items():
            before, since = self._logged.get(why, (0, now - LOG_AGAIN_S))
            if count > before and now - since >= LOG_AGAIN_S:
                self._logged[why] = count, now
                log.warning("connections: %d %s", count - before, self._text(why, readers))

    def _text(self, why: str, readers: int) -> str:
        limits, room = self.limits, self.room(readers)
        is_by_setting = room == limits.plain_max
        cure = (
            "the limit is LIVEBLOG_CONNECTIONS_MAX"
            if is_by_setting
            else f"{readers} streams take the other open files; raise `ulimit -n`"
        )
        return _SAID[why].format(room=room, cure=cure, per_address=limits.per_address_max)


def is_for_operators(data: bytes) -> bool:
    """Return whether a request line may use the reserve of descriptors."""
    return OPERATORS.match(data) is not None
