"""Times, zones and languages: the text of an instant in a blog's zone and language.

Rules: pure, no clock.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

from liveblog.blog import instant
from liveblog.blog.model import Blog

# Instants whose texts are cached, 0.6 KB each. Formatting took a third to a half of the time to
# render a page, and a page shows the same instants again after each change.
CACHED_MAX: Final = 1_024

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class When(NamedTuple):
    """An instant as people read it in a blog's zone and language."""

    iso: str  # 2024-11-06T06:57:00.000Z
    clock: str  # 1:57 AM EST
    date: str  # November 6, 2024
    full: str  # Wednesday, November 6, 2024, 1:57 AM EST (America/New_York)


def when(ms: int, blog: Blog) -> When:
    """Return the texts of an instant in a blog's zone and language.

    `ms` is milliseconds since 1970. The zone's abbreviation is the one valid at that instant, such
    as EST or EDT.
    """
    return when_in(ms, blog.timezone, blog.language)


def start_of(blog: Blog) -> When | None:
    """Return an upcoming blog's start; None if no start is stated, and for any other blog."""
    if blog.status != "upcoming" or blog.starts_at is None:
        return None
    return when(blog.starts_at, blog)


def direction(language: str) -> str:
    """Return the direction in which a BCP 47 language is written, "rtl" or "ltr"."""
    return str(_locale(language).text_direction)


@lru_cache(maxsize=CACHED_MAX)
def when_in(ms: int, timezone: str, language: str = "en") -> When:
    """Return the texts of an instant as `when` does, in a zone and a language."""
    locale, local = _locale(language), _local(ms, ZoneInfo(timezone))
    time = format_time(local, "short", tzinfo=local.tzinfo, locale=locale)
    clock = _plain_spaces(f"{time} {_zone_name(local)}")
    date = _plain_spaces(format_date(local.date(), "long", locale=locale))
    day = _plain_spaces(format_date(local.date(), "full", locale=locale))
    zone = "" if clock.endswith(f" {timezone}") else f" ({timezone})"
    return When(instant.format_time(ms) or "", clock, date, f"{day}, {clock}{zone}")


def _local(ms: int, zone: tzinfo) -> datetime:
    """Return the instant in a zone; in UTC if the local time would leave the years 1 to 9999."""
    at = _EPOCH + timedelta(milliseconds=ms)
    try:
        return at.astimezone(zone)
    except OverflowError:
        return at


def _zone_name(at: datetime) -> str:
    """Return a zone's abbreviation, "EDT"; its offset if it has none, "UTC-3" or "UTC+5:30"."""
    name = at.tzname() or ""
    if name.isalpha():
        return name
    minutes = (at.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}"


def _plain_spaces(text: str) -> str:
    """Replace narrow and no-break spaces by plain ones, which readers type to search the page."""
    return text.replace("\u202f", " ").replace("\xa0", " ")


@lru_cache(maxsize=256)
def _locale(language: str) -> Locale:
    """Return the locale of a BCP 47 language "de-AT", else of its part "de", else English."""
    for tag in (language, language.partition("-")[0]):
        try:
            return Locale.parse(tag, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")


# Load a locale when this module is imported. Otherwise the first entry that a worker renders would
# wait for it, and reach the readers late.
when_in(0, "UTC")
