"""The states of an HTTP connection: the tables of live/exchange.py cover each parser event."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from liveblog.live.exchange import (
    BODY,
    DATA,
    DECISIONS,
    END,
    HANDSHAKE,
    HEAD,
    IDLE,
    IMPOSSIBLE,
    MOVES,
    OTHER_UPGRADE,
    PART,
    REQUEST,
    REREAD,
    UPGRADE,
    Decision,
    Event,
    Exchange,
    Incident,
    Owed,
    State,
)
from liveblog.live.head import HEAD_BYTES_MAX

NEVER = {  # an incident (timeout, stop …), and a state where it cannot happen
    (Incident.LATE, BODY),  # in BODY the request head has already arrived
    (Incident.STOP, HEAD),  # the parser stops only after a whole request
    (Incident.STOP, BODY),
}


@pytest.mark.parametrize("state", State)
def test_table_has_each_event_or_calls_it_impossible(state: State) -> None:
    assert MOVES[state].keys() | IMPOSSIBLE[state] == set(Event)
    assert not MOVES[state].keys() & IMPOSSIBLE[state]


@pytest.mark.parametrize("state", State)
def test_exchange_raises_when_an_event_is_impossible(state: State) -> None:
    for event in IMPOSSIBLE[state]:
        exchange = Exchange()
        exchange.state = state
        with pytest.raises(KeyError):
            exchange.on(event)


def test_table_reaches_every_state_from_idle() -> None:
    reached, last = {IDLE}, set[State]()
    while reached != last:
        last = set(reached)
        reached |= {state for known in last for state in MOVES[known].values()}
    assert reached == set(State)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("incident", Incident)
def test_table_decides_each_incident_unless_it_cannot_happen(
    incident: Incident, state: State
) -> None:
    if (incident, state) in NEVER:
        assert state not in DECISIONS[incident]
    else:
        assert DECISIONS[incident][state].keys() == set(Owed)


def decide(state: State, incident: Incident, owed: Owed) -> Decision:
    exchange = Exchange()
    exchange.state = state
    return exchange.decide(incident, owed)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("incident", Incident)
def test_connection_is_handed_over_only_when_nothing_is_owed(
    incident: Incident, state: State
) -> None:
    for owed, decision in DECISIONS[incident].get(state, {}).items():
        if decision is Decision.BECOME_READER:
            assert (owed, state) in ((Owed.NOTHING, IDLE), (Owed.NOTHING, HANDSHAKE))


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("incident", Incident)
def test_refusal_never_goes_among_other_answers(incident: Incident, state: State) -> None:
    for owed, decision in DECISIONS[incident].get(state, {}).items():
        if decision is Decision.REFUSE:
            assert owed is (Owed.NEXT if state is BODY else Owed.NOTHING)


@pytest.mark.parametrize("owed", Owed)
def test_late_head_waits_while_an_answer_is_owed(owed: Owed) -> None:
    wanted = Decision.REFUSE if owed is Owed.NOTHING else Decision.WAIT
    assert decide(HEAD, Incident.LATE, owed) is wanted


def test_idle_connection_closes_without_a_word_when_only_empty_lines_came() -> None:
    assert decide(IDLE, Incident.LATE, Owed.NOTHING) is Decision.CLOSE


@pytest.mark.parametrize("owed", Owed)
def test_half_closed_client_is_answered_until_its_answer_has_started(owed: Owed) -> None:
    wanted = Decision.FINISH if owed in (Owed.NEXT, Owed.LATER) else Decision.DROP
    assert decide(IDLE, Incident.EOF, owed) is wanted
    assert decide(BODY, Incident.EOF, owed) is Decision.DROP


def test_stream_is_parsed_when_it_comes_behind_an_answer_that_has_not_left() -> None:
    assert decide(IDLE, Incident.STREAM, Owed.BUFFER) is Decision.PARSE
    assert decide(IDLE, Incident.STREAM, Owed.NOTHING) is Decision.BECOME_READER


# -- limits


def test_head_without_an_end_is_too_long_when_it_passes_the_limit() -> None:
    exchange = Exchange()
    exchange.receive(HEAD_BYTES_MAX)
    assert not exchange.is_too_long
    exchange.on(PART)
    exchange.receive(1)
    assert exchange.is_too_long


@pytest.mark.parametrize("event", [REQUEST, UPGRADE, OTHER_UPGRADE])
def test_end_of_a_head_gives_the_next_bytes_the_whole_limit(event: Event) -> None:
    exchange = Exchange()
    exchange.receive(HEAD_BYTES_MAX)
    exchange.on(event)
    exchange.receive(HEAD_BYTES_MAX)
    assert not exchange.is_too_long


def test_exchange_asks_for_a_measurement_when_a_read_or_their_sum_is_long() -> None:
    exchange = Exchange()
    exchange.receive(HEAD_BYTES_MAX)
    assert not exchange.may_be_long
    exchange.receive(1)
    assert exchange.may_be_long
    exchange.on(REQUEST)
    exchange.receive(1)
    assert not exchange.may_be_long
    exchange.receive(HEAD_BYTES_MAX + 1)
    assert exchange.may_be_long


def test_exchange_awaits_a_head_when_a_part_or_empty_lines_came() -> None:
    exchange = Exchange()
    assert not exchange.awaits_head
    exchange.receive(2)  # an empty line
    assert exchange.awaits_head
    exchange.on(PART)
    assert exchange.awaits_head
    exchange.on(REQUEST)
    exchange.receive(5)
    assert not exchange.awaits_head


# -- the parser, as `connections.Http` uses it


class Parsed:
    """Feeds bytes to the parser httptools and turns its callbacks into events, without uvicorn."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.parser = httptools.HttpRequestParser(self)
        self.upgrade = b""
        self.in_head = False
        self.stops: list[State] = []

    def feed(self, data: bytes) -> None:
        self.exchange.receive(len(data))
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.stops.append(self.exchange.state)
        if self.in_head:
            self.exchange.on(PART)

    def on_message_begin(self) -> None:
        self.upgrade, self.in_head = b"", True

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"upgrade":
            self.upgrade = value

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            event = UPGRADE if self.upgrade == b"websocket" else OTHER_UPGRADE
        else:
            event = REQUEST
        self.exchange.on(event)

    def on_body(self, _: bytes) -> None:
        self.exchange.on(DATA)

    def on_message_complete(self) -> None:
        self.exchange.on(END)


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n",
]
LAST = {
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n": IDLE,
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n": HANDSHAKE,
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3"
    b"\r\n\r\n": REREAD,
}


@given(
    st.lists(st.sampled_from(REQUESTS), max_size=4),
    st.sampled_from(list(LAST)),
    st.lists(st.integers(1, 40), max_size=30),
)
@example(REQUESTS, next(iter(LAST)), [1] * 300)
def test_parser_reports_only_possible_events_in_whatever_pieces_bytes_come(
    requests: list[bytes], last: bytes, sizes: list[int]
) -> None:
    parsed, data = Parsed(), b"".join([*requests, last])
    for size in [*sizes, len(data)]:
        parsed.feed(data[:size])
        data = data[size:]
    assert parsed.stops == [LAST[last]]
    assert parsed.exchange.state is LAST[last]
    assert parsed.exchange.unparsed_bytes == 0
