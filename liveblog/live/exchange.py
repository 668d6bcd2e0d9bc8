"""One HTTP connection as a state machine, in two tables.

`MOVES` has the next state for each event that the parser reports. `DECISIONS` has the connection's
action for each incident. An incident is any other occurrence, such as a timeout. The library h11
has similar tables.

```
IDLE        --PART-->           HEAD
IDLE, HEAD  --REQUEST-->        BODY       --END-->      IDLE
IDLE, HEAD  --UPGRADE-->        HANDSHAKE
IDLE, HEAD  --OTHER_UPGRADE-->  REREAD     --REQUEST-->  BODY
```

Rules: no I/O, no clock, no parser. `Http` in live/connections.py translates the parser's callbacks
into events and carries out the decisions.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from liveblog.live.head import HEAD_BYTES_MAX


class _Name(Enum):
    """The base of the enumerations here. Hashes by identity: Enum's hash takes 0.1 us longer."""

    __hash__ = object.__hash__


class State(_Name):
    """How much of its current request the client has sent."""

    IDLE = "between requests"
    HEAD = "within a request head"
    BODY = "within a request body"
    REREAD = "at the end of a head that is parsed again without its Upgrade"
    HANDSHAKE = "at the end of a WebSocket handshake"


class Event(_Name):
    """A report of the parser."""

    PART = "the end of a read within a request head"
    REQUEST = "the end of a head that has an answer"
    UPGRADE = "the end of a head that asks to upgrade to WebSocket"
    OTHER_UPGRADE = "the end of a head that asks to upgrade to an unknown protocol"
    DATA = "bytes of a body"
    END = "the end of a request"


class Incident(_Name):
    """Something that needs a decision, such as a timeout or a whole head for a stream."""

    INVALID = "the parser or a limit rejects what came"
    LATE = "the time for a request head is over"
    EOF = "the client ended its side"
    STOP = "the parser stopped at the end of a request to upgrade, or of a CONNECT"
    STREAM = "the bytes that came are a whole head for a stream"


class Owed(_Name):
    """The state of the answer to the last request with a complete head."""

    NOTHING = "no request, or an answer that has left"
    NEXT = "an answer whose bytes come next on the connection"
    LATER = "an answer that waits for the answers before it"
    REST = "the rest of an answer"
    BUFFER = "a complete answer that the client has not read yet"


class Decision(_Name):
    """The connection's next action."""

    REFUSE = "answer with the fault, then close"
    FINISH = "read nothing more, and close after the answers that are owed"
    CLOSE = "close without an answer"
    WAIT = "restart the deadline of the head"
    DROP = "let the transport close the connection"
    REREAD = "parse the head again without its Upgrade"
    BECOME_READER = "hand the connection over to a direct reader"
    PARSE = "let the parser have the bytes"


# The members are also globals, since reading `State.IDLE` costs 0.1 us in Python 3.11.
IDLE, HEAD, BODY, REREAD, HANDSHAKE = State
PART, REQUEST, UPGRADE, OTHER_UPGRADE, DATA, END = Event

# The states after a complete head: of a request to answer, of a WebSocket handshake, or of a
# request whose Upgrade is ignored.
_ENDS: Final = {REQUEST: BODY, UPGRADE: HANDSHAKE, OTHER_UPGRADE: REREAD}

MOVES: Final[Mapping[State, Mapping[Event, State]]] = {
    IDLE: {PART: HEAD, **_ENDS},
    HEAD: {PART: HEAD, **_ENDS},
    BODY: {DATA: BODY, END: IDLE},  # without a body, END follows REQUEST at once
    # httptools reads no body after a head with an Upgrade. When the server ignores the Upgrade, a
    # second parser reads the same head without the Upgrade. If the second parser rejects the head,
    # the connection closes: with a refusal, or after the answers to earlier requests.
    REREAD: {END: REREAD, PART: HEAD, REQUEST: BODY},
    # The server ignores a handshake that comes before the answers to earlier requests are sent.
    # httptools then parses later bytes as a new request, so the events of a head can follow.
    HANDSHAKE: {END: HANDSHAKE, PART: HEAD, **_ENDS},
}

# Events that the parser never reports in a state. A test checks that `MOVES` has all other events.
# DATA and END come only after the end of a head. A request to upgrade has no DATA. The next head
# comes only after an END. The head that is parsed again in REREAD has no Upgrade.
IMPOSSIBLE: Final[Mapping[State, frozenset[Event]]] = {
    IDLE: frozenset({DATA, END}),
    HEAD: frozenset({DATA, END}),
    BODY: frozenset({PART, *_ENDS}),
    REREAD: frozenset({DATA, UPGRADE, OTHER_UPGRADE}),
    HANDSHAKE: frozenset({DATA}),
}


def _when_nothing_is_owed(then: Decision, other: Decision) -> Mapping[Owed, Decision]:
    return {owed: then if owed is Owed.NOTHING else other for owed in Owed}


def _always(decision: Decision) -> Mapping[Owed, Decision]:
    return dict.fromkeys(Owed, decision)


# While an earlier answer is owed, the connection closes without a refusal: a client would mistake
# the refusal for that answer.
_REFUSE: Final = _when_nothing_is_owed(Decision.REFUSE, Decision.FINISH)
# A refusal during a body is the answer to that body's request. So a refusal is sent only when no
# answer to the request has started and no earlier answer is pending.
_REFUSE_BODY: Final = {**_always(Decision.FINISH), Owed.NEXT: Decision.REFUSE}
# A client that stops sending (EOF) after a whole request still gets the answer. When the answer has
# started, the client is considered gone: readers of streams leave in this way.
_ANSWER_FIRST: Final = {
    **_always(Decision.DROP),
    Owed.NEXT: Decision.FINISH,
    Owed.LATER: Decision.FINISH,
}

DECISIONS: Final[Mapping[Incident, Mapping[State, Mapping[Owed, Decision]]]] = {
    Incident.INVALID: {
        IDLE: _REFUSE,
        HEAD: _REFUSE,
        BODY: _REFUSE_BODY,
        REREAD: _REFUSE,
        HANDSHAKE: _REFUSE,
    },
    Incident.LATE: {  # BODY has no entry: no head is awaited during a body
        # In IDLE only empty lines came. No request needs an answer, so the connection closes.
        IDLE: _when_nothing_is_owed(Decision.CLOSE, Decision.WAIT),
        HEAD: _when_nothing_is_owed(Decision.REFUSE, Decision.WAIT),
        REREAD: _when_nothing_is_owed(Decision.CLOSE, Decision.WAIT),
        HANDSHAKE: _when_nothing_is_owed(Decision.CLOSE, Decision.WAIT),
    },
    Incident.EOF: {
        IDLE: _ANSWER_FIRST,
        HEAD: _ANSWER_FIRST,
        BODY: _always(Decision.DROP),
        REREAD: _ANSWER_FIRST,
        HANDSHAKE: _ANSWER_FIRST,
    },
    Incident.STOP: {  # HEAD and BODY have no entries: the parser stops only after END
        # In IDLE only a CONNECT stops the parser. The server answers the request, then closes.
        IDLE: _always(Decision.FINISH),
        REREAD: _always(Decision.REREAD),
        # A reader's frames must not come between the answers to earlier requests.
        HANDSHAKE: _when_nothing_is_owed(Decision.BECOME_READER, Decision.FINISH),
    },
    Incident.STREAM: {
        IDLE: _when_nothing_is_owed(Decision.BECOME_READER, Decision.PARSE),
        HEAD: _always(Decision.PARSE),
        BODY: _always(Decision.PARSE),
        REREAD: _always(Decision.PARSE),
        HANDSHAKE: _always(Decision.PARSE),
    },
}


class Exchange:
    """Tracks the requests of one connection, and decides what to do on each incident.

    `unparsed_bytes` counts the bytes since the parser last reported progress: the end of a head, a
    part of a body or the end of a request. So one limit covers heads, trailers and chunk lengths
    that come in many reads. After a report of progress, the remaining bytes of the same read are
    not counted; the size of a read limits these bytes.
    """

    __slots__ = ("may_be_long", "state", "unparsed_bytes")

    def __init__(self) -> None:
        self.state = IDLE
        self.unparsed_bytes = 0
        self.may_be_long = False  # whether a head that ends in the latest read may be too long

    def receive(self, size: int) -> None:
        """Count a read of `size` bytes; called before the parser gets the bytes."""
        self.unparsed_bytes += size
        self.may_be_long = size > HEAD_BYTES_MAX or self.unparsed_bytes > HEAD_BYTES_MAX

    def on(self, event: Event) -> None:
        """Change the state by an event of the parser. Raises KeyError for an impossible event."""
        self.state = MOVES[self.state][event]
        if event is not PART:
            self.unparsed_bytes = 0

    @property
    def is_too_long(self) -> bool:
        """Whether an unfinished head, trailer or chunk length is longer than HEAD_BYTES_MAX."""
        return self.unparsed_bytes > HEAD_BYTES_MAX

    @property
    def awaits_head(self) -> bool:
        """Whether a head has started and is not complete; empty lines count as its start."""
        return self.state is not BODY and (self.state is HEAD or self.unparsed_bytes > 0)

    def decide(self, incident: Incident, owed: Owed) -> Decision:
        """Return the decision about an incident. Raises KeyError when `DECISIONS` has none."""
        return DECISIONS[incident][self.state][owed]
