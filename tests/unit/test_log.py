"""The log: one line a record, as text or JSON, and no record about a single reader."""

import json
import logging
import sys

import pytest

from liveblog import log
from liveblog.log import Json, NoSockets, Text, Tracebacks
from liveblog.settings import Settings


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


# -- tracebacks


class Log:
    """The lines that a handler with `Tracebacks` writes, on a clock of its own."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self._filter = Tracebacks(lambda: self.at_s)

    def line(
        self,
        error: Exception,
        message: str = "blog %s: failed",
        *arguments: object,
        level: int = logging.ERROR,
    ) -> str:
        """Log an exception; return the whole text, "" for a dropped record."""
        made = record(message, *(arguments or (["moon"] if "%" in message else [])))
        made.levelno, made.levelname = level, logging.getLevelName(level)
        made.exc_info = (type(error), error, error.__traceback__)
        return Text().format(made) if self._filter.filter(made) else ""


def raised(kind: type[Exception], text: str = "why") -> Exception:
    try:
        raise kind(text)
    except kind as error:
        return error


def raised_elsewhere() -> Exception:
    try:
        raise ValueError("why")
    except ValueError as error:
        return error


def test_traceback_of_one_cause_is_logged_once_a_minute() -> None:
    lines = Log()
    first, second = lines.line(raised(ValueError)), lines.line(raised(ValueError, "other\ntext"))
    assert "Traceback (most recent call last)" in first
    assert second.endswith("blog moon: failed: ValueError: other (traceback above)")
    lines.at_s = log.AGAIN_S
    assert "Traceback" in lines.line(raised(ValueError))


def test_tracebacks_of_other_types_and_places_are_logged() -> None:
    lines = Log()
    errors = (raised(ValueError), raised(KeyError), raised_elsewhere())
    assert all("Traceback" in lines.line(error) for error in errors)


def test_a_storm_of_one_cause_is_counted_and_the_count_is_logged() -> None:
    lines = Log()
    storm = [lines.line(raised(ValueError), "request %d failed", n) for n in range(1_000)]
    kept = [line for line in storm if line]
    assert len(kept) == 1 + log.SHORT_MAX
    assert kept[-1].endswith("(traceback above; more are only counted)")
    lines.at_s = log.AGAIN_S
    again = lines.line(raised(ValueError), "request %d failed", 1_000)
    assert f"request 1000 failed ({999 - log.SHORT_MAX} more before)" in again


def test_critical_record_keeps_its_traceback_amid_a_storm_of_its_cause() -> None:
    lines = Log()
    for _ in range(2 * log.SHORT_MAX):
        lines.line(raised(ValueError))
    last = lines.line(raised(ValueError), "a part failed, ending", level=logging.CRITICAL)
    assert "CRITICAL liveblog.test: a part failed, ending" in last
    assert "Traceback" in last


def test_remembered_causes_are_bounded() -> None:
    lines = Log()
    kinds = [type(f"Error{n}", (Exception,), {}) for n in range(log.CAUSES_MAX + 1)]
    for kind in kinds:
        assert "Traceback" in lines.line(raised(kind))
    assert "Traceback" in lines.line(raised(kinds[0]))  # the oldest was forgotten
    assert "Traceback" not in lines.line(raised(kinds[-1]))


def test_records_without_a_traceback_pass_unchanged() -> None:
    made = record("%d readers", 7)
    assert Tracebacks().filter(made)
    assert Text().format(made).endswith("7 readers")


def test_handler_of_the_log_limits_tracebacks(settings: Settings) -> None:
    handler = log.configuration(settings)["handlers"]["stderr"]
    named = log.configuration(settings)["filters"]
    assert {named[name]["()"] for name in handler["filters"]} == {
        "liveblog.log.NoSockets",
        "liveblog.log.Tracebacks",
    }
