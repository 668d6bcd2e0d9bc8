"""Frames, compared byte for byte with docs/streams.md."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from liveblog.blog.model import Blog, Entry, Position
from liveblog.live import frame as frames
from liveblog.live.frame import MISSED_BYTES_MAX, BytesForm, Frame, Piece, encoding_of

AT_57 = Position("k3xq9a", 57, "9f2c01ab")
AT_60 = Position("k3xq9a", 60, "1d40e2b7")
BASE_URL = "https://news.example"

ENTRY = Entry(
    id="e0123456789ab",
    headline="Polls close",
    body="Polls *close*",
    body_html="<p>Polls <em>close</em></p>",
    byline=["Dana"],
    status="published",
    published_at=1_795_356_300_000,
    updated_at=1_795_356_300_001,
    offset=58,
    order=58,
)
BLOG = Blog(
    slug="election",
    title="Election night",
    summary="*So far*",
    summary_html="<p><em>So far</em></p>",
    status="live",
    starts_at=1_795_356_300_000,
    offset=60,
)


NOW = "2026-11-22T14:05:00.000Z"


def test_hello_has_position_heartbeat_time_and_version() -> None:
    frame = frames.hello(AT_57, 20.0, NOW, "9f2c01ab")
    assert frame.json == (
        b'{"t":"hello","position":"k3xq9a.57.9f2c01ab","heartbeat_s":20,'
        b'"now":"2026-11-22T14:05:00.000Z","version":"9f2c01ab"}'
    )
    assert b'"heartbeat_s":0.25,' in frames.hello(AT_57, 0.25, NOW, "").json


def test_changes_joins_put_del_and_blog() -> None:
    pieces = [
        frames.put(ENTRY, html='<article class="entry">é\n</article>'),
        frames.delete(Entry(id="eba9876543210", offset=59, order=12, deleted=True)),
        frames.header(BLOG, html="<header></header>"),
    ]
    frame = frames.changes(57, AT_60, pieces)
    assert frame
    assert frame.json.decode() == (
        '{"t":"changes","from":57,"position":"k3xq9a.60.1d40e2b7","changes":['
        '{"op":"put","id":"e0123456789ab","offset":58,"order":58,"revision":1,"new":true,'
        '"key":false,"pinned":false,"html":"<article class=\\"entry\\">é\\n</article>"},'
        '{"op":"del","id":"eba9876543210","offset":59},'
        '{"op":"blog","offset":60,"status":"live","html":"<header></header>"}]}'
    )


def test_beat_has_position_or_null() -> None:
    frame = frames.beat(AT_60, "2026-11-22T14:05:00.000Z")
    assert frame.json == (
        b'{"t":"beat","position":"k3xq9a.60.1d40e2b7","now":"2026-11-22T14:05:00.000Z"}'
    )
    waiting = frames.beat(None, "2026-11-22T14:05:00.000Z")
    assert waiting.json == b'{"t":"beat","position":null,"now":"2026-11-22T14:05:00.000Z"}'


def test_reset_has_position_and_window() -> None:
    frame = frames.reset(Position("z81m2c", 4, "77aa03f1"), (0, 3000))
    assert frame.json == b'{"t":"reset","position":"z81m2c.4.77aa03f1","after_ms":[0,3000]}'


def test_bye_has_window_and_reason() -> None:
    frame = frames.bye((0, 1000), "restart")
    assert frame.json == b'{"t":"bye","after_ms":[0,1000],"why":"restart"}'
    assert frames.bye(None, "gone").json == b'{"t":"bye","after_ms":null,"why":"gone"}'


def test_put_is_new_when_the_reader_is_below_its_first_publication() -> None:
    edited = Entry(id="e0123456789ab", status="published", offset=60, order=58, revision=2)
    piece = frames.put(edited, html="")
    assert b'"revision":2,"new":true,' in piece.encoded(57)
    assert b'"revision":2,"new":false,' in piece.encoded(58)


def test_event_has_one_data_line_and_an_id_for_hello_and_changes() -> None:
    changes = frames.changes(57, AT_60, [frames.put(ENTRY, html="a\r\nb\u2028c\rd")])
    assert changes
    assert changes.event == b"id: k3xq9a.60.1d40e2b7\ndata: %b\n\n" % changes.json
    assert frames.hello(AT_57, 20, NOW, "").event.startswith(b"id: k3xq9a.57.9f2c01ab\ndata: {")
    for frame in (
        frames.beat(AT_60, None),
        frames.reset(AT_60, (0, 3000)),
        frames.bye(None, "gone"),
    ):
        assert frame.event == b"data: %b\n\n" % frame.json
    for line in changes.event.split(b"\n")[:-2]:
        assert b"\r" not in line


def test_text_equals_json() -> None:
    assert Frame('{"é":1}'.encode()).text == '{"é":1}'


def test_changes_is_empty_when_nothing_was_missed() -> None:
    frame = frames.changes(60, AT_60, [])
    assert frame
    assert frame.json == (b'{"t":"changes","from":60,"position":"k3xq9a.60.1d40e2b7","changes":[]}')


def test_changes_returns_none_when_longer_than_256_kib() -> None:
    half = MISSED_BYTES_MAX // 2
    assert MISSED_BYTES_MAX == 262_144
    assert frames.changes(57, AT_60, [Piece(b"x" * half), Piece(b"x" * half)])
    assert frames.changes(57, AT_60, [Piece(b"x" * half), Piece(b"x" * (half + 1))]) is None


def test_as_data_has_the_apis_shapes_without_editors_fields() -> None:
    entry = frames.entry_data(ENTRY, "election", AT_57, BASE_URL)
    assert entry == {
        "id": "e0123456789ab",
        "blog": "election",
        "headline": "Polls close",
        "body_html": "<p>Polls <em>close</em></p>",
        "byline": ["Dana"],
        "dateline": None,
        "key": False,
        "key_title": None,
        "pinned": False,
        "pin_order": None,
        "status": "published",
        "revision": 1,
        "offset": 58,
        "order": 58,
        "position": "k3xq9a.57.9f2c01ab",
        "published_at": "2026-11-22T14:05:00.000Z",
        "updated_at": "2026-11-22T14:05:00.001Z",
        "note_kind": None,
        "note": None,
        "url": "https://news.example/blogs/election/entries/e0123456789ab",
    }
    blog = frames.blog_data(BLOG, AT_60, BASE_URL)
    assert "summary" not in blog
    assert blog["summary_html"] == "<p><em>So far</em></p>"
    assert blog["starts_at"] == "2026-11-22T14:05:00.000Z"
    assert blog["position"] == "k3xq9a.60.1d40e2b7"
    piece = frames.put(ENTRY, entry=entry).encoded(0)
    assert json.loads(piece)["entry"] == entry
    assert b'"new":true,"key":false,"pinned":false,"entry":{"id":' in piece


@pytest.mark.parametrize(("number", "shown"), [(2, b"2"), (-0.5, b"-0.5"), (None, b"null")])
def test_put_has_pin_order_only_when_the_entry_is_pinned(
    number: float | None, shown: bytes
) -> None:
    piece = frames.put(replace(ENTRY, pinned=True, pin_order=number), html="<article>").encoded(0)
    assert b'"key":false,"pinned":true,"pin_order":%b,"html":' % shown in piece
    assert b"pin_order" not in frames.put(ENTRY, html="<article>").encoded(0)


@given(st.text(), st.booleans(), st.integers(0, 100))
def test_put_keeps_any_text_unchanged(text: str, key: bool, since: int) -> None:
    entry = Entry(id="e0123456789ab", status="published", offset=58, order=50, key=key)
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(TypeError):  # a lone surrogate, which the API never accepts
            frames.put(entry, html=text)
        return
    frame = frames.changes(since, AT_60, [frames.put(entry, html=text)])
    assert frame
    (change,) = json.loads(frame.json)["changes"]
    assert (change["html"], change["key"], change["new"]) == (text, key, since < 50)


@pytest.mark.parametrize("name", ["framed", "deflated", "event", "chunk"])
def test_encoding_selects_the_attribute_of_a_frame(name: BytesForm) -> None:
    frame = Frame(b'{"t":"beat"}')
    assert frame.encoded(encoding_of(False, name)) is getattr(frame, name)
    assert frame.encoded(encoding_of(False, "text")) == '{"t":"beat"}'


def test_encoding_is_one_object_for_each_content_and_form() -> None:
    assert encoding_of(True, "event") is encoding_of(True, "event")
    assert encoding_of(False, "event").of_content(True) is encoding_of(True, "event")
