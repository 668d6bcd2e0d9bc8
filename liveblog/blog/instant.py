"""Instants: milliseconds since 1970 in UTC, written as RFC 3339 for callers.

Rules: pure, no clock.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Between these limits every zone's local time can be computed and has a year of four digits.
TIME_MIN_MS: Final = (datetime(1000, 1, 2, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
TIME_MAX_MS: Final = (datetime(9998, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def parse_time(value: str) -> int:
    """Return an RFC 3339 time, which must have a UTC offset, as milliseconds since 1970.

    Raises ValueError with a detail for the caller: the rule and the value.
    """
    if not _RFC3339.fullmatch(value):
        rule = "an RFC 3339 time with an offset, such as 2026-11-22T14:05:00.000Z"
        raise ValueError(f"must be {rule}, not {value[:60]!r}")
    try:
        at = datetime.fromisoformat(value.upper())
        ms = (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(f"is a time that does not exist: {value[:60]!r}") from None
    if not TIME_MIN_MS <= ms <= TIME_MAX_MS:
        raise ValueError(f"must be in the years 1000 to 9998, not {value[:60]!r}")
    return ms


def format_time(ms: int | None) -> str | None:
    """Return an RFC 3339 time in UTC with milliseconds and Z; None for None."""
    if ms is None:
        return None
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
