"""The agenda's buckets, and the time of a blog's next look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from liveblog.store.agenda import BUCKETS, TAGS, bucket
from liveblog.store.due import RETRY_MAX_MS, RETRY_MIN_MS, State, following

NOW = 1_796_000_000_000
TIMES = st.none() | st.integers(NOW + 1, NOW + 10**9)
PAST = st.none() | st.integers(0, NOW)


def test_each_bucket_has_a_tag_whose_slot_is_among_its_own() -> None:
    assert [bucket(tag) for tag in TAGS] == list(range(BUCKETS))
    width = 16384 // BUCKETS
    assert all(key_slot(tag.encode()) // width == n for n, tag in enumerate(TAGS))


@pytest.mark.parametrize("status", [b"ended", None])
@given(PAST, TIMES)
def test_next_look_is_none_when_the_blog_has_ended_or_is_missing(
    status: bytes | None, overdue: int | None, upcoming: int | None
) -> None:
    assert following(NOW, State(status, overdue, upcoming)) is None


@given(PAST, TIMES)
def test_next_look_is_later_than_now_and_never_after_the_next_entry(
    overdue: int | None, upcoming: int | None
) -> None:
    at = following(NOW, State(b"live", overdue, upcoming))
    if overdue is None and upcoming is None:
        assert at is None
        return
    assert at is not None
    assert NOW < at <= min(upcoming or at, at)
    if overdue is not None:
        assert at <= NOW + RETRY_MAX_MS


def test_retries_of_a_stuck_entry_become_rarer_up_to_a_limit() -> None:
    ages = (0, 4_000, 20_000, 10**9)
    waits = [(following(NOW, State(b"live", NOW - age, None)) or 0) - NOW for age in ages]
    assert waits == [RETRY_MIN_MS, 2_000, 10_000, RETRY_MAX_MS]
