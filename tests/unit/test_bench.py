"""The counts of `liveblog bench`: frames lost, repeated or skipped, and their delays."""

import json
from typing import Any

import pytest

from liveblog.commands.load import (
    MARK,
    BenchError,
    LoadReader,
    Result,
    Tally,
    checked_url,
    percentile,
)

NOW = 1_764_000_000.0


def changes(since: int, top: int, **entry: Any) -> str:
    shown = {"headline": f"{MARK}{NOW - 0.25:.6f}", "updated_at": "2025-11-24T16:00:00Z", **entry}
    put = {"op": "put", "offset": top, "new": True, "entry": shown}
    return json.dumps({"t": "changes", "from": since, "position": f"e.{top}.x", "changes": [put]})


@pytest.fixture
def reader() -> LoadReader:
    made = LoadReader(Tally(), clock=lambda: NOW)
    made.receive('{"t": "hello", "position": "e.3.x", "heartbeat_s": 20}')
    return made


def test_reader_counts_a_frame_that_follows_with_its_delay_from_the_mark(
    reader: LoadReader,
) -> None:
    reader.receive(changes(3, 4))
    tally = reader._tally
    assert (tally.delivered, tally.repeated, tally.skipped) == (1, 0, 0)
    assert tally.delays_ms == pytest.approx([250.0])
    assert reader.position == "e.4.x"


def test_delay_is_from_the_servers_time_when_an_entry_has_no_mark(reader: LoadReader) -> None:
    reader.receive(changes(3, 4, headline=None, updated_at="2025-11-24T15:59:59.000Z"))
    assert reader._tally.delays_ms == pytest.approx([1_000.0])


def test_reader_counts_repeated_and_skipped_frames(reader: LoadReader) -> None:
    reader.receive(changes(3, 4))
    reader.receive(changes(3, 4))
    assert reader._tally.repeated == 1
    reader.receive(changes(5, 6))
    assert reader._tally.skipped == 1


def test_reader_starts_from_now_after_a_reset(reader: LoadReader) -> None:
    reader.receive('{"t": "reset", "position": "f.9.x", "after_ms": [0, 3000]}')
    assert (reader._tally.resets, reader.position) == (1, "")


def test_percentile_is_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0


def test_result_is_whole_only_when_every_entry_arrived_once() -> None:
    assert Result(1, 1, 1.0, Tally(delivered=1), 0).is_whole
    for tally, lost in ((Tally(), 1), (Tally(repeated=1), 0), (Tally(skipped=1), 0)):
        assert not Result(1, 1, 1.0, tally, lost).is_whole


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://"])
def test_checked_url_rejects_a_text_that_is_no_address(url: str) -> None:
    with pytest.raises(BenchError, match="must be like"):
        checked_url(url)


def test_reader_counts_as_failed_once_until_it_connects() -> None:
    tally = Tally()
    reader = LoadReader(tally)
    reader.connected(False)
    reader.connected(False)
    assert tally.failed == 1
    reader.connected(True)
    assert tally.failed == 0
