"""Whole parts of damaged append-only files: commands behind damage stay, transactions as a whole."""

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveblog.store.parts import gaps, whole_parts

MULTI, EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"
STAMPS = [b"#TS:1796041240\r\n", b"#TS:1796041250\r\n", b"#TS:1796041260\r\n"]
ARITIES = {b"SET": -1, b"MULTI": 1, b"EXEC": 1}
BAD = b"*3\r\n$3\r\nS\0T\r\n"


def one(number: int) -> bytes:
    text = b"%d" % number
    return b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(text), text)


def left(data: bytes, **more: bool) -> bytes:
    """Return what is left of a file."""
    found = whole_parts(io.BytesIO(data), len(data), ARITIES, **more)
    return b"".join(data[part.start : part.end] for part in found)


def spans_of(texts: list[bytes], start: int = 0) -> list[range]:
    """Return where each text is when they stand one behind the other."""
    ends = list(itertools.accumulate(map(len, texts), initial=start))
    return [range(*pair) for pair in itertools.pairwise(ends)]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0), st.integers(1, 60)), max_size=3),
    st.sampled_from([b"\0", b"X", b"\r", b"$", b"*"]),
)
def test_each_transaction_stays_whole_or_not_at_all(
    sizes: list[int], damage: list[tuple[int, int]], byte: bytes
) -> None:
    """Each unit is a transaction of some commands, or one command (size 0)."""
    units = [[MULTI, *[one(n)] * n, EXEC] if n else [one(7)] for n in sizes]
    data = bytearray(b"".join(map(b"".join, units)))
    touched = set[int]()
    for at, length in damage:
        hit = range(at % len(data), min(at % len(data) + length, len(data)))
        data[hit.start : hit.stop] = byte * len(hit)
        touched |= {*hit}
    found = whole_parts(io.BytesIO(data), len(data), ARITIES)
    stays = {at for part in found for at in range(part.start, part.end)}
    for size, unit, span in zip(sizes, units, spans_of([*map(b"".join, units)]), strict=True):
        kept = [stays.issuperset(it) for it in spans_of(unit, span.start)]
        assert all(kept) or not any(kept)
        assert all(kept) or not size or touched & {*span}


@pytest.mark.parametrize(
    ("data", "stays"),
    [
        (one(1) + BAD + one(2), one(1) + one(2)),
        (one(1) + BAD + MULTI + one(2) + EXEC, one(1) + MULTI + one(2) + EXEC),
        (one(1) + BAD + one(2) + EXEC + one(3), one(1) + one(3)),
        (one(1) + BAD + one(2) + MULTI + one(3) + EXEC, one(1) + one(2) + MULTI + one(3) + EXEC),
        (MULTI + one(1) + BAD + one(2) + EXEC + one(3), one(3)),
        (MULTI + one(1) + BAD + one(2) + BAD + one(3) + EXEC + one(4), one(4)),
        (MULTI + one(1) + MULTI + one(2) + EXEC, MULTI + one(2) + EXEC),
        (MULTI + one(1) + EXEC + one(2) + EXEC + one(3), MULTI + one(1) + EXEC + one(3)),
        (one(1) + BAD + MULTI + one(2), one(1)),
        (one(1) + bytes(500) + one(2) + bytes(99), one(1)),
        (BAD, b""),
        (b"", b""),
    ],
)
def test_commands_stay_when_no_transaction_can_have_lost_its_start(
    data: bytes, stays: bytes
) -> None:
    assert left(data) == stays


def test_base_file_keeps_commands_between_two_damages() -> None:
    assert left(one(1) + BAD + one(2) + BAD + one(3), has_transactions=False) == b"".join(
        map(one, (1, 2, 3))
    )


def test_gaps_name_the_bytes_and_the_times_around_them() -> None:
    before, after = STAMPS[0] + one(1) + STAMPS[1] + one(2), STAMPS[2] + MULTI + one(3) + EXEC
    data = before + BAD + b"garbage" + one(4) + EXEC + after + b"end"
    found = whole_parts(io.BytesIO(data), len(data), ARITIES)
    assert [part.commands for part in found] == [2, 1]
    start = len(data) - len(after) - 3
    assert gaps(found, len(data)) == [
        (len(before), start, 1796041250, 1796041260),
        (len(data) - 3, len(data), 1796041260, None),
    ]
    assert gaps([], 7, 12) == [(0, 7, 12, None)]


def test_gaps_take_the_times_of_distant_parts_when_near_ones_have_none() -> None:
    data = STAMPS[0] + one(1) + BAD + MULTI + one(2) + EXEC + BAD + MULTI + one(3) + EXEC
    found = whole_parts(io.BytesIO(data + STAMPS[1]), len(data + STAMPS[1]), ARITIES)
    first, second = gaps(found, len(data + STAMPS[1]))
    assert first[2:] == second[2:] == (1796041240, 1796041250)
