"""Request heads: their kinds, parsed and checked; deadlines."""

import pytest
from kit.raw import UPGRADE, request

from liveblog.live.deadlines import Deadlines
from liveblog.live.head import (
    BAD_HOST,
    EVENTS,
    HEAD_BYTES_MAX,
    OTHER,
    TOO_LONG,
    WEBSOCKET,
    Fault,
    Kind,
    fault_of,
    head_bytes,
    kind_of,
    read_head,
    write_head,
)
from liveblog.live.rfc6455 import BadHandshake

LIVE = request("/blogs/vote%20a/live?since=x&as=data", UPGRADE)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", None),
        (b"GET /blo", None),
        (b"GET /blogs/vote/live?since=", None),
        (LIVE[:-1], None),
        (LIVE, WEBSOCKET),
        (request("/blogs/vote/events"), EVENTS),
        (request("/blogs/vote"), OTHER),
        (request("/blogs/vote/live/x"), OTHER),
        (request("/blogs/vote/live", method="POST"), OTHER),
        (b"G\r\n", OTHER),
        (b"\x16\x03\x01", OTHER),
    ],
)
def test_kind_of_needs_more_bytes_until_they_tell(data: bytes, kind: Kind | None) -> None:
    assert kind_of(data) is kind


def test_read_head_returns_slug_query_headers_and_rest() -> None:
    head = read_head(LIVE + b"rest")
    assert (head.slug, head.query, head.rest) == ("vote a", b"since=x&as=data", b"rest")
    assert head.headers[b"upgrade"] == b"websocket"
    assert not head.is_old
    assert read_head(LIVE.replace(b"HTTP/1.1", b"HTTP/1.0")).is_old


def test_read_head_joins_headers_when_a_name_comes_twice() -> None:
    head = read_head(request("/blogs/a/live", "A: 1\r\na: 2\r\n"))
    assert head.headers[b"a"] == b"1, 2"


@pytest.mark.parametrize("data", [request("/"), request("/blogs/a/live", "Bad\x00: x\r\n")])
def test_read_head_raises_when_it_is_no_stream_or_no_http(data: bytes) -> None:
    with pytest.raises(BadHandshake):
        read_head(data)


HOST = (b"host", b"x")


@pytest.mark.parametrize(
    ("headers", "version", "fault"),
    [
        ([HOST], "1.1", None),
        ([], "1.1", BAD_HOST),
        ([], "1.0", None),
        ([HOST, HOST], "1.0", BAD_HOST),
        ([HOST, (b"a", b"b" * HEAD_BYTES_MAX)], "1.1", TOO_LONG),
    ],
)
def test_fault_of_a_head_is_its_host_or_its_length(
    headers: list[tuple[bytes, bytes]], version: str, fault: Fault | None
) -> None:
    assert fault_of(b"/", headers, version) == fault


def test_head_bytes_counts_up_to_the_end_of_the_head() -> None:
    assert head_bytes(b"GET / HTTP/1.1\r\n\r\nbody") == 14
    assert head_bytes(b"GET /") == 5


def test_written_head_is_read_as_it_was() -> None:
    again = write_head(b"GET", b"/blogs/a/live", "1.1", [HOST, (b"upgrade", b"websocket")])
    assert read_head(again).headers == {b"host": b"x", b"upgrade": b"websocket"}


# -- deadlines


def test_deadline_passes_once_when_its_time_is_over() -> None:
    now = 0.0
    deadlines = Deadlines[str](5.0, lambda: now)
    deadlines.note("first")
    now = 3.0
    deadlines.note("second")
    deadlines.note("first")  # whose time runs already
    now = 5.0
    assert list(deadlines.passed()) == ["first"]
    assert list(deadlines.passed()) == []
    assert list(deadlines.passed(all_of_them=True)) == ["second"]


def test_deadline_does_not_pass_when_another_connections_end_forgets_it() -> None:
    deadlines = Deadlines[str](0.0, lambda: 0.0)
    for connection in ("first", "second"):
        deadlines.note_while(True, connection)
    passed = deadlines.passed()
    assert next(passed) == "first"
    deadlines.note_while(False, "second")
    assert list(passed) == []
