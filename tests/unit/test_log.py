"""The log: one line a record, as text or JSON, and no record about a single reader."""

import json
import logging
import sys

import pytest

from liveblog.log import Json, NoSockets, Text


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("liveblog.test")
    made = logger.makeRecord("liveblog.test", 20, "f", 1, message, arguments, None, extra=extra)
    made.created = 1_700_000_000.25
    return made


def test_text_line_starts_with_the_instant_in_utc() -> None:
    line = Text().format(record("%d readers", 7))
    assert line == "2023-11-14T22:13:20.250Z INFO liveblog.test: 7 readers"


def test_json_line_has_the_extra_members_beside_the_message() -> None:
    line = json.loads(Json().format(record("%d readers", 7, blog="é", count=3)))
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "liveblog.test",
        "message": "7 readers",
        "blog": "é",
        "count": 3,
    }


def test_json_line_stays_one_line_when_it_has_an_exception() -> None:
    made = record("failed")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = Json().format(made)
    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("message", "is_kept"),
    [
        ('%s - "WebSocket %s" [accepted]', False),
        ("connection open", False),
        ("Invalid UTF-8 sequence received from client.", False),
        ("Uvicorn running on %s", True),
        ("the connection to the store is lost", True),
    ],
)
def test_filter_drops_records_about_a_single_socket(message: str, is_kept: bool) -> None:
    assert NoSockets().filter(record(message)) is is_kept
