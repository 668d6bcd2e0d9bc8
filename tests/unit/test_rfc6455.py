"""Frames from readers, with `websockets` as the oracle; frames and handshakes for readers.

`LONG=1` tries 100,000 generated streams in place of some hundred (`make stories`).
"""

import os
import zlib
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.raw import masked
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from liveblog.live import rfc6455
from liveblog.live.rfc6455 import Accepted, BadHandshake, Received, accept, receive

EXAMPLES = 100_000 if os.environ.get("LONG") else 400
READ_MAX = 200  # bytes of a payload that the oracle waits for; a control frame has at most 125
FILLER = b"\xff" * (READ_MAX + 14)  # ends any frame that the oracle still waits for

many = settings(max_examples=EXAMPLES, deadline=None)
fewer = settings(max_examples=max(100, EXAMPLES // 10), deadline=None)


# -- the oracle ------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """The state of a connection after bytes from a reader.

    `pongs` are the bytes of all pongs. `code` is the close code, None while the connection is open.
    `echo` is the answer to the reader's own close frame, None without such a frame.
    """

    pongs: bytes
    code: int | None = None
    echo: bytes | None = None


def ours(chunks: list[bytes], deflates: bool) -> Verdict:
    pongs, rest = b"", b""
    for chunk in chunks:
        received = receive(rest + chunk, deflates)
        rest = received.rest
        assert len(rest) <= 130
        if received.code is not None:
            return _ended(pongs, received)
        pongs += b"".join(received.replies)
    return Verdict(pongs)


def _ended(pongs: bytes, received: Received) -> Verdict:
    assert received.code is not None
    *owed, last = received.replies
    pongs += b"".join(owed)
    if received.is_close:
        return Verdict(pongs, received.code, last)
    assert last[1] == len(last) - 2
    assert Close.parse(last[2:]).code == received.code
    return Verdict(pongs, received.code)


class _AsItIs:
    """Replaces the decompression of messages, because the tests compare only frame headers."""

    unconsumed_tail = b""

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        return data


def oracle_of(deflates: bool) -> ServerProtocol:
    """Return an open connection of websockets.

    The connection waits for only READ_MAX bytes of a payload. So a test can declare a length of
    gigabytes and need not send them.
    """
    oracle = ServerProtocol(state=State.OPEN, max_size=None)
    read = oracle.reader.read_exact
    oracle.reader.read_exact = lambda n: read(min(n, READ_MAX))  # type: ignore[method-assign]
    if deflates:
        extension = PerMessageDeflate(False, True, 15, 15)
        extension.decoder = _AsItIs()  # type: ignore[assignment]
        oracle.extensions = [extension]
    return oracle


def theirs(chunks: list[bytes], deflates: bool) -> Verdict:
    """Return the verdict of `websockets`, adapted where our server differs on purpose.

    Our server closes with 1003 at the first message. It closes with 1002 at a control frame whose
    length has more bytes than necessary (RFC 6455, section 5.2), which `websockets` accepts.
    """
    oracle, stream = oracle_of(deflates), b"".join(chunks)
    for chunk in chunks:
        oracle.receive_data(chunk)
    pongs, at = b"", 0
    for event in oracle.events_received():
        assert isinstance(event, Frame)
        if _is_padded(stream[at:]):
            return Verdict(pongs, 1002)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            return Verdict(pongs, 1003)
        if event.opcode is Opcode.PING:
            pongs += Frame(Opcode.PONG, event.data).serialize(mask=False)
        at += 6 + len(event.data)
    sent = b"".join(oracle.data_to_send())
    assert sent.startswith(pongs)
    if _is_padded(stream[at:]) and oracle.parser_exc:
        return Verdict(pongs, 1002)
    if oracle.parser_exc:
        assert oracle.close_sent
        return Verdict(pongs, oracle.close_sent.code)
    if oracle.close_rcvd:
        return Verdict(pongs, oracle.close_rcvd.code, sent[len(pongs) :])
    assert sent == pongs
    return Verdict(pongs)


def _is_padded(frame: bytes) -> bool:
    return len(frame) > 1 and frame[0] & 0x08 > 0 and frame[1] & 0x7F > 125


def compare(chunks: list[bytes], deflates: bool) -> Verdict:
    """Expect our verdict to equal that of `websockets`, and return it.

    We reject a frame at its header. `websockets` needs the payload as well, so FILLER follows.
    """
    mine = ours(chunks, deflates)
    is_refused = mine.code is not None and mine.echo is None
    assert mine == theirs([*chunks, FILLER] if is_refused else chunks, deflates)
    return mine


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in pairwise(at)] or [b""]


# -- streams ---------------------------------------------------------------------------------------


def _frame(first: int, is_masked: bool, length: int, payload: bytes, key: bytes) -> bytes:
    """Return a frame.

    `length` 126 or 127 forces a length field of 2 or 8 bytes, even where RFC 6455 demands a
    shorter one.
    """
    size = len(payload)
    form = 127 if length == 127 or size > 65_535 else 126 if length == 126 or size > 125 else size
    head = bytes((first, (0x80 if is_masked else 0) | form))
    head += size.to_bytes({126: 2, 127: 8}[form], "big") if form > 125 else b""
    body = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload)) if is_masked else payload
    return head + (key if is_masked else b"") + body


keys = st.binary(min_size=4, max_size=4)
closes = st.one_of(
    st.just(b""),
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason.encode()[:123],
        st.sampled_from([1000, 1001, 1003, 1011, 3000, 4999, 1004, 1005, 1006, 1015, 999, 5000, 0]),
        st.text(max_size=20),
    ),
    st.binary(min_size=1, max_size=125),
)
valid = st.one_of(
    st.builds(lambda p, k: masked(0x89, p, k), st.binary(max_size=125), keys),
    st.builds(lambda p, k: masked(0x8A, p, k), st.binary(max_size=125), keys),
)
closing = st.builds(lambda p, k: masked(0x88, p, k), closes, keys)
payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([123, 124, 125, 126, 127]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.binary(max_size=300),
)
# Control frames; some have invalid bits, no mask, or a length field that is too long.
nearly = st.builds(
    _frame,
    st.sampled_from(
        [first | opcode for first in (0x80, 0x00, 0xC0, 0xA0, 0x90) for opcode in (8, 9, 10)]
    ),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([0, 0, 0, 126, 127]),
    payloads,
    keys,
)
anything = st.builds(
    _frame, st.integers(0, 255), st.booleans(), st.sampled_from([0, 126, 127]), payloads, keys
)
frames = st.lists(st.one_of(valid, valid, valid, closing, nearly, anything), max_size=6).map(
    b"".join
)


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    stream = bytearray(draw(frames) or b"\x89\x80mask")
    for _ in range(draw(st.integers(1, 3))):
        stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    return bytes(stream)


streams = st.one_of(frames, frames, corrupted(), st.binary(max_size=60))
cuts = st.lists(st.integers(0, 2_000), max_size=6)


@many
@given(streams, cuts, st.booleans())
def test_receive_agrees_with_websockets_on_any_stream(
    stream: bytes, cuts: list[int], deflates: bool
) -> None:
    compare(_cut(stream, cuts), deflates)


@pytest.mark.parametrize("deflates", [False, True])
@pytest.mark.parametrize("second", [0x00, 0x7D, 0x7E, 0x80, 0x81, 0xFD, 0xFE, 0xFF])
def test_receive_judges_a_frame_when_two_bytes_have_come(second: int, deflates: bool) -> None:
    for first in range(256):
        verdict = compare([bytes((first, second))], deflates)
        is_control = first in (0x88, 0x89, 0x8A) and 0x80 <= second <= 0xFD
        assert (verdict.code is None) is is_control


@fewer
@given(streams, cuts, st.booleans())
def test_receive_has_one_result_however_bytes_are_cut(
    stream: bytes, cuts: list[int], deflates: bool
) -> None:
    whole = ours([stream], deflates)
    assert ours(_cut(stream, cuts), deflates) == whole
    assert ours([bytes((byte,)) for byte in stream], deflates) == whole


@fewer
@given(frames)
def test_receive_ignores_bytes_when_the_stream_has_ended(stream: bytes) -> None:
    received = receive(masked(0x88, b"\x03\xe8") + stream)
    assert received == Received([b"\x88\x02\x03\xe8"], 1000, True, b"")
    received = receive(masked(0x81, b"hi") + stream)
    assert (received.code, received.is_close, received.rest) == (1003, False, b"")


def test_receive_keeps_at_most_a_control_frame_less_one_byte() -> None:
    longest = masked(0x89, b"x" * 125)
    assert receive(longest[:-1]) == Received([], None, False, longest[:-1])
    assert len(longest) == 131
    assert receive(longest).replies == [b"\x8a\x7d" + b"x" * 125]


RULES = {
    "a ping is answered with its payload": (masked(0x89, b"hi"), b"\x8a\x02hi", None),
    "a pong is a sign of life": (masked(0x8A, b"hi"), b"", None),
    "an empty close is answered with one": (masked(0x88), b"\x88\x00", 1005),
    "a text is refused": (masked(0x81, b"hi"), b"", 1003),
    "a fragment is refused": (masked(0x01, b"hi"), b"", 1003),
    "a continuation breaks the protocol": (masked(0x80), b"", 1002),
    "an unmasked frame breaks the protocol": (b"\x89\x00", b"", 1002),
    "a length of 126 in a control frame breaks it": (b"\x89\xfe", b"", 1002),
    "a fragment of a ping breaks it": (masked(0x09, b"hi"), b"", 1002),
    "a reserved opcode breaks it": (masked(0x83), b"", 1002),
    "a reserved control opcode breaks it": (masked(0x8B), b"", 1002),
    "a message is refused whatever length it says": (b"\x82\xff" + b"\x7f" * 8, b"", 1003),
    "a close is echoed with its reason": (
        masked(0x88, b"\x0f\xa0bye"),
        b"\x88\x05\x0f\xa0bye",
        4000,
    ),
    "a close of one byte breaks it": (masked(0x88, b"x"), b"", 1002),
    "a code that is never sent breaks it": (masked(0x88, b"\x03\xee"), b"", 1002),
    "a reason that is not UTF-8": (masked(0x88, b"\x03\xe8\xff"), b"", 1007),
    "RSV1 on a control frame breaks it": (masked(0xC9), b"", 1002),
    "RSV2 on a text breaks it": (masked(0xA1), b"", 1002),
    "RSV1 on a text without compression breaks it": (masked(0xC1), b"", 1002),
}


@pytest.mark.parametrize("rule", RULES)
def test_receive_closes_with_the_code_of_the_broken_rule(rule: str) -> None:
    data, reply, code = RULES[rule]
    received = receive(data)
    assert received.code == code
    if reply or code is None:
        assert b"".join(received.replies) == reply
    else:
        assert Close.parse(received.replies[-1][2:]).code == code


def test_compressed_text_is_rejected_as_text_when_compression_is_on() -> None:
    assert receive(masked(0xC1), True).code == 1003
    assert receive(masked(0xC9), True).code == 1002


def test_pongs_come_before_the_close_when_both_are_due() -> None:
    received = receive(masked(0x89, b"a") + masked(0x81))
    assert received.replies[0] == b"\x8a\x01a"
    assert received.replies[1].startswith(b"\x88")


# -- frames for readers ----------------------------------------------------------------------------


@given(st.text(max_size=300).map(str.encode))
def test_text_frame_equals_that_of_websockets(payload: bytes) -> None:
    assert rfc6455.text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frame_has_the_shortest_form_of_its_length(size: int) -> None:
    payload = b"x" * size
    assert rfc6455.text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def _inflate(frame: bytes) -> tuple[bool, bytes]:
    head = 2 + {126: 2, 127: 8}.get(frame[1], 0)
    payload = frame[head:]
    if not frame[0] & 0x40:
        return False, payload
    # Senders remove these four bytes, receivers append them (RFC 7692, sections 7.2.1 and 7.2.2).
    assert not payload.endswith(b"\x00\x00\xff\xff")
    inflater = zlib.decompressobj(-15)
    text = inflater.decompress(payload + b"\x00\x00\xff\xff")
    assert not inflater.unused_data
    return True, text


@given(st.text("abcdefgh <>/=", min_size=100, max_size=3_000).map(str.encode))
def test_compressed_frame_inflates_when_there_is_no_context(payload: bytes) -> None:
    for _ in range(2):
        is_packed, text = _inflate(rfc6455.compressed_text(payload))
        assert text == payload
        assert is_packed or len(payload) < 400


@given(
    st.lists(st.sampled_from([*(b"The river rose %d. " % n for n in range(40))]), max_size=9_000)
)
@settings(max_examples=30, deadline=None)
def test_compressed_frame_is_read_by_websockets(words: list[bytes]) -> None:
    payload = b"The river rose above the second mark at noon. " * 20 + b"".join(words)
    client = ClientProtocol(parse_uri("ws://live.example/"), state=State.OPEN, max_size=None)
    client.extensions = [PerMessageDeflate(True, False, 15, 15)]
    for _ in range(2):
        client.receive_data(rfc6455.compressed_text(payload))
    assert [frame.data for frame in client.events_received()] == [payload, payload]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "size", [rfc6455.DEFLATE_WELL_BYTES_MAX, rfc6455.DEFLATE_WELL_BYTES_MAX + 1]
)
def test_compressed_frame_is_a_third_on_both_sides_of_the_level_limit(size: int) -> None:
    payload = b"".join(b'<p class="entry">The river rose %d.</p>' % n for n in range(3_000))[:size]
    packed = rfc6455.compressed_text(payload)
    assert _inflate(packed) == (True, payload)
    assert len(packed) < size / 3


def test_frame_is_plain_when_its_text_is_small_or_incompressible() -> None:
    small = b"x" * (rfc6455.DEFLATE_BYTES_MIN - 1)
    assert rfc6455.compressed_text(small) == rfc6455.text(small)
    noise = os.urandom(1_000)
    assert rfc6455.compressed_text(noise) == rfc6455.text(noise)
    long = b"entry text " * 30_000
    assert _inflate(rfc6455.compressed_text(long)) == (True, long)


def test_control_frame_raises_when_it_breaks_a_limit() -> None:
    assert rfc6455.ping(b"x") == b"\x89\x01x"
    assert rfc6455.close(4001, "bye") == b"\x88\x05\x0f\xa1bye"
    for code in (1005, 1006, 1015):
        with pytest.raises(ValueError, match="must not be sent"):
            rfc6455.close(code)
    with pytest.raises(ValueError, match="125"):
        rfc6455.pong(b"x" * 126)


# -- the handshake ---------------------------------------------------------------------------------

GOOD = {
    "host": "live.example",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


Pairs = list[tuple[str, str]]  # header lines in order; a name may occur twice

values = {
    "upgrade": ["websocket", "WebSocket", "WEBSOCKET", "h2c", "", "websocket, h2c"],
    "connection": ["Upgrade", "uPgrade", "keep-alive, Upgrade", "close", "Upgrade, x", "upgraded"],
    "sec-websocket-key": [
        *(GOOD["sec-websocket-key"], "c2hvcnQ=", "!", "", "A" * 24, "a,b"),
        *(
            "AAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA===",
            "\xe9" * 24,
        ),
        *(
            "AAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAA=A",
            "AAAAAAAAAAA AAAAAAAAAAA==",
            "-_AAAAAAAAAAAAAAAAAAAA==",
        ),
    ],
    "sec-websocket-version": ["13", "8", "", "13, 8", "013", "14"],
    "sec-websocket-protocol": [
        *("liveblog.v1", "x, liveblog.v1", "x", "Liveblog.V1", "liveblog.v1,x,", "liveblog.v12"),
        *("", "a b", "liveblog.v1;q=1", '"liveblog.v1"', "x," * 200 + "liveblog.v1"),
    ],
    "sec-websocket-extensions": [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=15",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1, permessage-deflate",
        "permessage-deflate; unknown=1",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "x-other, permessage-deflate",
        "x-other; a=1, " * 40 + "permessage-deflate",
        *("", ";", "permessage-deflate;", "a b", "Permessage-Deflate", 'x; y="z'),
    ],
}


def headers_of(**changed: str | None) -> Pairs:
    """Return a good handshake with some headers changed; None leaves a header out."""
    given = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return [(name, value) for name, value in given.items() if value is not None]


def joined(pairs: Pairs) -> dict[bytes, bytes]:
    """Return headers as `read_head` does."""
    found: dict[bytes, bytes] = {}
    for name, value in pairs:
        key, line = name.lower().encode(), value.encode("latin-1")
        found[key] = b"%b, %b" % (found[key], line) if key in found else line
    return found


def _answer(pairs: Pairs) -> Accepted | None:
    try:
        return accept(joined(pairs), "liveblog.v1")
    except BadHandshake:
        return None


def _shown(answer: bytes) -> dict[str, str]:
    lines = answer.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert lines[-2:] == ["", ""]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:-2])}


def _oracle_answer(pairs: Pairs) -> tuple[dict[str, str], bool] | None:
    """Return the headers of websockets' answer and whether it compresses; None when it refuses."""
    oracle = ServerProtocol(
        extensions=[rfc6455._SharedDeflate(server_no_context_takeover=True)],
        subprotocols=[Subprotocol("liveblog.v1")],
        # By default websockets refuses readers that offer only unknown subprotocols; we admit them.
        select_subprotocol=lambda _, offered: next(
            (s for s in offered if s == "liveblog.v1"), None
        ),
    )
    headers = Headers()
    for name, value in pairs:
        headers[name] = value
    response = oracle.accept(Request("/", headers))
    if response.status_code != 101:
        return None
    shown = {name.lower(): value for name, value in response.headers.items() if name != "date"}
    return shown, bool(oracle.extensions)


@st.composite
def handshakes(draw: st.DrawFn) -> Pairs:
    """Return a good handshake after some changes: headers replaced, doubled, added or dropped."""
    pairs = headers_of()
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(list(values)))
        pair = (draw(st.sampled_from([name, name.title()])), draw(st.sampled_from(values[name])))
        is_empty = not pair[1] or (name, "") in [
            (n.lower(), v) for n, v in pairs
        ]  # see the looser ones below
        if is_empty or draw(st.integers(0, 3)):  # else it is doubled
            pairs = [other for other in pairs if other[0].lower() != name]
        if draw(st.integers(0, 5)):  # else it is dropped
            pairs.append(pair)
    return draw(st.permutations(pairs))


@settings(max_examples=max(400, EXAMPLES // 10), deadline=None)
@given(handshakes())
def test_handshake_is_answered_as_by_websockets(pairs: Pairs) -> None:
    answer, oracle = _answer(pairs), _oracle_answer(pairs)
    if oracle is None or answer is None:
        assert (oracle, answer) == (None, None)
    else:
        assert (_shown(answer.answer), answer.deflates) == oracle


@pytest.mark.parametrize("name", values)
def test_header_is_judged_as_by_websockets_when_doubled_or_missing(name: str) -> None:
    rest = [pair for pair in headers_of() if pair[0] != name]
    for value in values[name]:
        for pairs in ([(name, value)], [(name, value)] * 2, []):
            answer, oracle = _answer(rest + pairs), _oracle_answer(rest + pairs)
            assert (answer and _shown(answer.answer)) == (oracle and oracle[0]), value


def test_answer_names_the_version_when_the_handshake_has_another() -> None:
    for version in ("8", None):
        with pytest.raises(BadHandshake, match="Sec-WebSocket-Version") as caught:
            accept(joined(headers_of(sec_websocket_version=version)), "liveblog.v1")
        assert b"\r\nsec-websocket-version: 13\r\n" in caught.value.answer


@pytest.mark.parametrize("value", ['"x", upgrade', "upgrade, @@", ", upgrade"])
def test_connection_header_may_name_more_than_the_upgrade(value: str) -> None:
    assert _answer(headers_of(connection=value))
    assert value == ", upgrade" or not _oracle_answer(headers_of(connection=value))


@pytest.mark.parametrize("name", ["sec-websocket-protocol", "sec-websocket-extensions"])
def test_empty_header_beside_another_is_accepted(name: str) -> None:
    """Headers of one name form a list; its empty elements are ignored (RFC 9110, section 5.6.1)."""
    given = {"sec-websocket-protocol": "liveblog.v1", "sec-websocket-extensions": "x"}[name]
    assert _answer([*headers_of(), (name, given), (name, "")])
    assert not _oracle_answer([*headers_of(), (name, given), (name, "")])
    assert _oracle_answer([*headers_of(), (name, f"{given}, ")])


def test_offer_is_cached_unless_it_is_long() -> None:
    rfc6455._cached.cache_clear()
    for offer in ("permessage-deflate", "permessage-deflate, " * 100 + "x"):
        for _ in range(2):
            answer = _answer(headers_of(sec_websocket_extensions=offer))
            assert answer
            assert answer.deflates
    info = rfc6455._cached.cache_info()
    assert (info.hits, info.currsize) == (1, 1)
    assert info.maxsize == rfc6455.CACHED_MAX


def test_refusal_is_utf_8_when_its_reason_has_any_characters() -> None:
    with pytest.raises(BadHandshake) as caught:
        accept(joined(headers_of(sec_websocket_extensions="x;\xe9")), "liveblog.v1")
    assert caught.value.answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    head, _, body = caught.value.answer.partition(b"\r\n\r\n")
    assert "\xe9" in body.decode()
    assert b"content-length: %d\r\n" % len(body) in head


STRICTER: dict[str, dict[str, str | None]] = {
    "no host": {"host": None},
    "two hosts": {"host": "a, b"},
    "a body": {"content_length": "3"},
    "a chunked body": {"transfer_encoding": "chunked"},
}


@pytest.mark.parametrize("what", STRICTER)
def test_handshake_is_rejected_when_it_has_a_body_or_two_hosts(what: str) -> None:
    assert not _answer(headers_of(**STRICTER[what]))
    assert _oracle_answer(headers_of(**STRICTER[what]))


@pytest.mark.parametrize("bits", ["9", "14"])
def test_offer_is_skipped_when_its_window_is_smaller(bits: str) -> None:
    small = f"permessage-deflate; server_max_window_bits={bits}"
    for offer, deflates in ((small, False), (f"{small}, permessage-deflate", True)):
        answer = _answer(headers_of(sec_websocket_extensions=offer))
        assert answer
        assert answer.deflates is deflates
        assert ("sec-websocket-extensions" in _shown(answer.answer)) is deflates


def test_refusal_is_a_text_answer_that_closes_the_connection() -> None:
    answer = rfc6455.refusal(431, "Too long.", retry_after="5")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"connection: close" in head
    assert b"retry-after: 5" in head
    assert b"content-length: %d" % len(body) in head
