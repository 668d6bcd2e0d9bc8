"""Times on the clock of a zone: read, rejected when skipped, noted when they come twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveblog.blog.instant import parse_time
from liveblog.blog.model import timezones
from liveblog.editors import times

NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        ("2026-01-01T12:00", "2026-01-01T17:00:00.000Z"),
        ("2026-07-01T12:00:30.5", "2026-07-01T16:00:30.500Z"),
        ("2026-11-01T01:30", "2026-11-01T05:30:00.000Z"),  # comes twice: the first one
        ("2026-03-08T02:30", "2026-03-08T02:30"),  # skipped
        ("2026-02-30T00:00", "2026-02-30T00:00"),
        ("soon", "soon"),
        ("", ""),
    ],
)
def test_wall_clock_becomes_an_instant_when_the_zone_has_it(local: str, instant: str) -> None:
    assert times.instant_of(local, NEW_YORK) == instant


@pytest.mark.parametrize(
    ("local", "zone", "fault"),
    [
        ("2026-07-01T12:00", NEW_YORK, ""),
        ("2026-11-01T01:30", NEW_YORK, ""),
        (
            "2026-03-08T02:30",
            NEW_YORK,
            (
                "2:30 AM on March 8, 2026 does not exist in America/New_York, where clocks are set"
                " forward then. Did you mean 3:30 AM?"
            ),
        ),
        (
            "2026-10-04T02:10",
            "Australia/Lord_Howe",  # half an hour
            (
                "2:10 AM on October 4, 2026 does not exist in Australia/Lord_Howe, where clocks are set"
                " forward then. Did you mean 2:40 AM?"
            ),
        ),
        (
            "2011-12-30T12:00",
            "Pacific/Apia",  # a whole day
            (
                "12:00 PM on December 30, 2011 does not exist in Pacific/Apia, where clocks are set"
                " forward then. Did you mean 12:00 PM on December 31, 2011?"
            ),
        ),
        ("2026-02-30T12:00", "UTC", "This date or time does not exist."),
        ("2026-02-03T25:00", "UTC", "This date or time does not exist."),
        ("0000-02-03T05:00", "UTC", "This date or time does not exist."),
        ("0999-02-03T05:00", "UTC", "Give a year from 1000 to 9998."),
        ("9999-12-31T23:59", NEW_YORK, "Give a year from 1000 to 9998."),
        ("soon", "UTC", "Give a date and a time, such as 2026-07-01T12:00."),
        ("2026-07-01", "UTC", "Give a date and a time, such as 2026-07-01T12:00."),
    ],
)
def test_fault_names_what_is_wrong_with_a_time(local: str, zone: str, fault: str) -> None:
    assert times.fault_of(local, zone) == fault


def test_note_names_the_first_instant_when_a_time_comes_twice() -> None:
    note = times.twice("2026-11-01T01:30", NEW_YORK)
    assert note == (
        "1:30 AM comes twice on November 1, 2026, when clocks are set back. The first was taken:"
        " 1:30 AM EDT."
    )
    for local in ("2026-11-01T02:00", "2026-03-08T02:30", "2026-02-30T00:00", "", "soon"):
        assert times.twice(local, NEW_YORK) == ""


def test_instant_is_shown_as_local_time_of_the_blog() -> None:
    assert times.local_time(1_782_921_600_000, NEW_YORK) == "2026-07-01T12:00"
    assert times.local_time(1_782_921_630_000, NEW_YORK) == "2026-07-01T12:00:30"
    assert times.local_time(None, NEW_YORK) == ""


def test_passed_time_is_named_in_the_zone() -> None:
    reason = "12:00 PM EDT on July 1, 2026 has passed. Choose a later time."
    assert times.passed(1_782_921_600_000, NEW_YORK) == reason


@given(st.integers(0, 4_000_000_000), st.sampled_from(timezones()))
def test_every_instant_has_a_wall_clock_that_returns_it_or_the_one_before(
    at_s: int, zone: str
) -> None:
    local = times.local_time(at_s * 1_000, zone)
    assert times.fault_of(local, zone) == ""
    found_s = parse_time(times.instant_of(local, zone)) // 1_000
    assert found_s == at_s or (found_s < at_s and times.twice(local, zone))
