"""What readers send, against `websockets` as the oracle; frames and handshakes for readers.

`LONG=1` tries 100,000 generated streams in place of some hundred (`make long`).
"""

import os
import zlib
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import masked
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from liveblog import rfc6455
from liveblog.rfc6455 import BadHandshake, Heard, accept, hear

EXAMPLES = 100_000 if os.environ.get("LONG") else 400
SIZE_MAX = 1 << 16
FILLER = b"\xff" * 70_000  # completes whatever frame an oracle is still waiting for

many = settings(max_examples=EXAMPLES, deadline=None)


# -- the oracle ------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What bytes come to: pongs, then how it ended (None: it goes on) and the reader's close."""

    pongs: bytes
    code: int | None
    echo: bytes


def ours(chunks: list[bytes], deflates: bool = False) -> tuple[Verdict, Heard]:
    pongs, rest = b"", b""
    heard = Heard(b"", None, False, b"")
    for chunk in chunks:
        heard = hear(rest + chunk, deflates)
        rest = heard.rest
        assert len(rest) <= 130
        if heard.code is not None:
            break
        pongs += heard.reply
    if heard.code is None:
        return Verdict(pongs, None, b""), heard
    ends = heard.reply.rindex(b"\x88") if not heard.is_close else _last_close(heard.reply)
    return Verdict(pongs + heard.reply[:ends], heard.code, heard.reply[ends:]), heard


def _last_close(reply: bytes) -> int:
    at = 0
    while reply[at] != 0x88:
        at += 2 + reply[at + 1]
    return at


def theirs(chunks: list[bytes], deflates: bool, filler: bytes) -> tuple[Verdict, list[Opcode]]:
    """Return the verdict of `websockets`; a message from a reader counts as refused with 1003."""
    oracle = ServerProtocol(state=State.OPEN, max_size=SIZE_MAX)
    oracle.extensions = [PerMessageDeflate(False, True, 15, 15)] if deflates else []
    for chunk in [*chunks, filler]:
        if oracle.state is State.OPEN:
            oracle.receive_data(chunk)
    pongs, kinds = b"", []
    for event in oracle.events_received():
        assert isinstance(event, Frame)
        kinds.append(event.opcode)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            return Verdict(pongs, 1003, b""), kinds
        if event.opcode is Opcode.PING:
            pongs += Frame(Opcode.PONG, event.data).serialize(mask=False)
    sent = b"".join(oracle.data_to_send())
    if oracle.state is State.OPEN:
        return Verdict(pongs, None, b""), kinds
    assert sent.startswith(pongs)
    assert oracle.close_sent
    return Verdict(pongs, int(oracle.close_sent.code), sent[len(pongs) :]), kinds


def compare(stream: bytes, cuts: list[int], deflates: bool) -> None:
    chunks = _cut(stream, cuts)
    mine, heard = ours(chunks, deflates)
    oracle, _ = theirs(chunks, deflates, FILLER if mine.code and not heard.is_close else b"")
    assert mine.pongs == oracle.pongs[: len(mine.pongs)]
    if heard.is_close:
        assert (mine.echo, mine.pongs) == (oracle.echo, oracle.pongs)
        assert mine.code == oracle.code
    elif mine.code is None:
        assert oracle == mine
    elif b"control frame too long" in mine.echo:
        # The oracle takes a short control frame with a length of more bytes than it needs, which
        # section 5.2 forbids; and it waits for a huge one before it refuses it as too big.
        assert oracle.code in (1002, 1009) or _is_padded_control(stream)
    elif mine.code == 1003:
        # A message is refused at its header; the oracle looks at its size and its compression.
        assert oracle.code in ((1002, 1003, 1007, 1009) if deflates else (1003, 1009))
    else:
        assert oracle.code == mine.code or oracle.code == 1009
    if mine.code and not heard.is_close:
        assert Close.parse(mine.echo[2:]).code == mine.code


def _is_padded_control(stream: bytes) -> bool:
    return any(first & 0x0F >= 8 and second & 0x7F >= 126 for first, second in pairwise(stream))


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in pairwise(at)] or [b""]


# -- streams ---------------------------------------------------------------------------------------


def _frame(first: int, is_masked: bool, length: int, payload: bytes, key: bytes) -> bytes:
    """Return a frame whose header may say anything."""
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
anything = st.builds(
    _frame,
    st.integers(0, 255),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([0, 0, 126, 127]),
    st.one_of(st.binary(max_size=140), st.binary(min_size=126, max_size=300)),
    keys,
)
frames = st.lists(st.one_of(valid, valid, valid, closing, anything), max_size=6).map(b"".join)


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
def test_what_a_reader_sends_means_what_it_means_to_websockets(
    stream: bytes, cuts: list[int], deflates: bool
) -> None:
    compare(stream, cuts, deflates)


@given(streams, cuts, st.booleans())
def test_however_the_bytes_are_cut_they_mean_the_same(
    stream: bytes, cuts: list[int], deflates: bool
) -> None:
    assert ours(_cut(stream, cuts), deflates)[0] == ours([stream], deflates)[0]
    assert ours([bytes((byte,)) for byte in stream], deflates)[0] == ours([stream], deflates)[0]


@given(frames)
def test_after_the_end_nothing_more_is_read(stream: bytes) -> None:
    heard = hear(masked(0x88, b"\x03\xe8") + stream)
    assert heard == Heard(b"\x88\x02\x03\xe8", 1000, True, b"")


RULES = {
    "a ping is answered with its payload": (masked(0x89, b"hi"), b"\x8a\x02hi", None),
    "a pong is a sign of life": (masked(0x8A, b"hi"), b"", None),
    "an empty close is answered with one": (masked(0x88), b"\x88\x00", 1005),
    "a text is refused": (masked(0x81, b"hi"), b"", 1003),
    "a fragment is refused": (masked(0x01, b"hi"), b"", 1003),
    "a continuation breaks the protocol": (masked(0x80), b"", 1002),
    "an unmasked frame breaks the protocol": (b"\x89\x00", b"", 1002),
    "a length of 126 in a control frame breaks it": (b"\x89\xfe", b"", 1002),
    "a close of one byte breaks it": (masked(0x88, b"x"), b"", 1002),
    "a code that is never sent breaks it": (masked(0x88, b"\x03\xee"), b"", 1002),
    "a reason that is not UTF-8": (masked(0x88, b"\x03\xe8\xff"), b"", 1007),
    "RSV1 on a control frame breaks it": (masked(0xC9), b"", 1002),
    "RSV2 on a text breaks it": (masked(0xA1), b"", 1002),
    "RSV1 on a text without compression breaks it": (masked(0xC1), b"", 1002),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_the_protocol(rule: str) -> None:
    data, reply, code = RULES[rule]
    heard = hear(data)
    assert heard.code == code
    if reply or code is None:
        assert heard.reply == reply


def test_a_compressed_text_is_refused_as_a_text_where_compression_was_negotiated() -> None:
    assert hear(masked(0xC1), True).code == 1003
    assert hear(masked(0xC9), True).code == 1002


def test_pongs_that_are_owed_come_before_the_close() -> None:
    heard = hear(masked(0x89, b"a") + masked(0x81))
    assert heard.reply.startswith(b"\x8a\x01a\x88")


# -- frames for readers ----------------------------------------------------------------------------


@given(st.text(max_size=300).map(str.encode))
def test_a_text_frame_is_what_websockets_makes(payload: bytes) -> None:
    assert rfc6455.text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_lengths_take_their_shortest_form(size: int) -> None:
    payload = b"x" * size
    assert rfc6455.text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def _inflate(frame: bytes) -> tuple[bool, bytes]:
    head = 2 + {126: 2, 127: 8}.get(frame[1], 0)
    payload = frame[head:]
    if not frame[0] & 0x40:
        return False, payload
    return True, zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


@given(st.text("abcdefgh <>/=", min_size=100, max_size=3_000).map(str.encode))
def test_a_compressed_frame_inflates_to_the_same_text_without_context(payload: bytes) -> None:
    for _ in range(2):
        is_packed, text = _inflate(rfc6455.compressed_text(payload))
        assert text == payload
        assert is_packed or len(payload) < 400


def test_websockets_reads_a_compressed_frame() -> None:
    payload = b"The river rose above the second mark at noon. " * 20
    packed = rfc6455.compressed_text(payload)
    assert len(packed) < len(payload) / 5
    extension = PerMessageDeflate(True, False, 15, 15)
    size = int.from_bytes(packed[2:4], "big") if packed[1] == 126 else packed[1]
    frame = Frame(Opcode.TEXT, packed[-size:], rsv1=True)
    for _ in range(2):
        assert extension.decode(frame).data == payload


def test_small_and_incompressible_texts_go_plain() -> None:
    small = b"x" * (rfc6455.DEFLATE_BYTES_MIN - 1)
    assert rfc6455.compressed_text(small) == rfc6455.text(small)
    noise = os.urandom(1_000)
    assert rfc6455.compressed_text(noise) == rfc6455.text(noise)
    long = b"entry text " * 30_000
    assert _inflate(rfc6455.compressed_text(long)) == (True, long)


def test_control_frames_have_their_limits() -> None:
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


def _accepted(headers: dict[str, str]) -> bytes | str:
    try:
        return accept({n.encode(): v.encode() for n, v in headers.items()}, "liveblog.v1").answer
    except BadHandshake as error:
        return str(error)


values = {
    "upgrade": ["websocket", "WebSocket", "h2c", "", "websocket, h2c"],
    "connection": ["Upgrade", "upgrade", "keep-alive, Upgrade", "close", "", "Upgrade, x"],
    "sec-websocket-key": [GOOD["sec-websocket-key"], "c2hvcnQ=", "!", "", "A" * 24, "a,b"],
    "sec-websocket-version": ["13", "8", "", "13, 8"],
    "sec-websocket-protocol": ["liveblog.v1", "x, liveblog.v1", "x", "Liveblog.V1"],
    "sec-websocket-extensions": [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; unknown=1",
        "x-other, permessage-deflate",
        "",
        ";",
    ],
}
handshakes = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(given) for name, given in values.items()}
)


@given(handshakes, st.sets(st.sampled_from(list(GOOD)), max_size=1))
def test_a_handshake_is_accepted_as_websockets_accepts_it(
    given_headers: dict[str, str], missing: set[str]
) -> None:
    headers = {**GOOD, **given_headers}
    for name in missing - {"host"}:
        headers.pop(name, None)
    oracle = ServerProtocol(
        extensions=[rfc6455._SharedDeflate(server_no_context_takeover=True)],
        subprotocols=[Subprotocol("liveblog.v1")],
        # Another subprotocol is no reason for websockets' default to refuse, nor for us.
        select_subprotocol=lambda _, offered: next(
            (s for s in offered if s == "liveblog.v1"), None
        ),
    )
    response = oracle.accept(Request("/", Headers(headers)))
    answer = _accepted(headers)
    if response.status_code != 101:
        assert isinstance(answer, str)
        return
    assert isinstance(answer, bytes), answer
    shown = dict(line.split(": ", 1) for line in answer.decode().strip().split("\r\n")[1:])
    expected = {n.lower(): value for n, value in response.headers.items() if n != "date"}
    assert {name.lower(): value for name, value in shown.items()} == expected


REFUSED: dict[str, dict[str, Any]] = {
    "no host": {"host": None},
    "two hosts": {"host": "a, b"},
    "a body": {"content-length": "3"},
    "a chunked body": {"transfer-encoding": "chunked"},
}


@pytest.mark.parametrize("what", REFUSED)
def test_stricter_than_websockets_which_leaves_this_to_the_http_server(what: str) -> None:
    changed: dict[str, Any] = {**GOOD, **REFUSED[what]}
    assert isinstance(_accepted({n: v for n, v in changed.items() if v is not None}), str)


@pytest.mark.parametrize("bits", ["9", "14"])
def test_an_offer_with_a_smaller_window_gets_no_compression_and_the_next_may(bits: str) -> None:
    small = f"permessage-deflate; server_max_window_bits={bits}"
    given_headers = {n.encode(): v.encode() for n, v in GOOD.items()}
    for offer, deflates in ((small, False), (f"{small}, permessage-deflate", True)):
        accepted = accept({**given_headers, b"sec-websocket-extensions": offer.encode()}, "x")
        assert accepted.deflates is deflates
        assert (b"Extensions" in accepted.answer) is deflates


def test_a_refusal_is_a_plain_answer_that_ends_the_connection() -> None:
    answer = rfc6455.refusal(431, "Too long.", retry_after="5")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"connection: close" in head
    assert b"retry-after: 5" in head
    assert b"content-length: %d" % len(body) in head
