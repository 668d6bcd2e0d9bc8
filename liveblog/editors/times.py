"""Times of the desk's forms: the wall clock in a blog's zone, and instants.

A clock skips an hour when it is set forward, and shows an hour twice when it is set back. A skipped
time is rejected; of a time that comes twice, the first instant is taken, and a note names it.

Rules: pure, no clock.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from liveblog.blog.instant import TIME_MAX_MS, TIME_MIN_MS, format_time
from liveblog.html.when import when_in

_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?", re.ASCII)
EXAMPLE: Final = "2026-07-01T12:00"


def instant_of(local: str, zone: str) -> str:
    """Return the RFC 3339 instant of a wall-clock time, the first one of a time that comes twice.

    Return any other text, and a time that the clock skips, unchanged: the API rejects it beside the
    errors of other fields, and `fault_of` has the reason.
    """
    try:
        at = _read(local)
        return local if at is None or _is_skipped(at, zone) else _instant(at, zone)
    except (ValueError, OverflowError):
        return local


def fault_of(local: str, zone: str) -> str:
    """Return why a text is no time on the clock of a zone, as a sentence; "" for a time."""
    try:
        at = _read(local)
        if at is None:
            return f"Give a date and a time, such as {EXAMPLE}."
        if not _is_skipped(at, zone):
            ms = round(at.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)
            is_known = TIME_MIN_MS <= ms <= TIME_MAX_MS
            return "" if is_known else "Give a year from 1000 to 9998."
        later = at + _step(at, zone)
        day = "" if later.date() == at.date() else f" on {_date(later)}"
        return (
            f"{_clock(at)} on {_date(at)} does not exist in {zone}, where clocks are set forward"
            f" then. Did you mean {_clock(later)}{day}?"
        )
    except ValueError:
        return "This date or time does not exist."
    except OverflowError:
        return "Give a year from 1000 to 9998."


def twice(local: str, zone: str) -> str:
    """Return the note for a time that comes twice: which instant was taken; "" for other texts."""
    try:
        at = _read(local)
        if at is None or _step(at, zone) >= timedelta():
            return ""
        first = when_in(round(at.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000), zone)
    except (ValueError, OverflowError):
        return ""
    return (
        f"{_clock(at)} comes twice on {_date(at)}, when clocks are set back. The first was taken:"
        f" {first.clock}."
    )


def passed(ms: int, zone: str) -> str:
    """Return the reason for an instant in the past, in a zone's time."""
    at = when_in(ms, zone)
    return f"{at.clock} on {at.date} has passed. Choose a later time."


def local_time(ms: int | None, zone: str) -> str:
    """Return an instant as the text of a datetime-local box, in a zone; "" for None."""
    if ms is None:
        return ""
    at = datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return f"{at:%Y-%m-%dT%H:%M:%S}" if at.second else f"{at:%Y-%m-%dT%H:%M}"


def _read(local: str) -> datetime | None:
    """Return the time in a box, without a zone; None for other text.

    Raises ValueError for a day or time that no calendar has.
    """
    return datetime.fromisoformat(local) if _LOCAL_TIME.fullmatch(local) else None


def _instant(at: datetime, zone: str) -> str:
    return format_time(round(at.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)) or ""


def _is_skipped(at: datetime, zone: str) -> bool:
    return _step(at, zone) > timedelta()


def _step(at: datetime, zone: str) -> timedelta:
    """Return how far clocks are set forward at a local time; below zero when they are set back.

    Zero for every time that comes exactly once (PEP 495: `fold` chooses between two offsets).
    """
    before, after = (at.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1))
    return (after or timedelta()) - (before or timedelta())


def _clock(at: datetime) -> str:
    return f"{at:%I:%M %p}".lstrip("0")


def _date(at: datetime) -> str:
    return f"{at:%B} {at.day}, {at.year}"
