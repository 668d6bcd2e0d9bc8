"""Append-only files: whole commands are found behind any cut, and kinds of damage are distinguished."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveblog.store import aof

WORDS = st.lists(st.binary(max_size=40), min_size=1, max_size=4)
MULTI, EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"
STAMP = b"#TS:1796041240\r\n"


def command(*words: bytes) -> bytes:
    bulks = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), bulks)


def scan(data: bytes, start: int = 0, **more: object) -> aof.Scan:
    return aof.scan(io.BytesIO(data), len(data), start, **more)  # type: ignore[arg-type] # tests pass arities


def unit(words: list[bytes], count: int) -> bytes:
    """Return a whole unit of a file: one command, or a transaction of `count` commands."""
    one = command(b"SET", *words)
    return one if count == 0 else MULTI + one * count + EXEC


UNITS = st.lists(st.builds(unit, WORDS, st.integers(0, 3)), min_size=1, max_size=6)


@given(UNITS, st.data())
def test_scan_finds_the_last_whole_unit_when_a_file_is_cut_anywhere(
    units: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(units)
    size = data.draw(st.integers(0, len(text)))
    ends = [sum(map(len, units[:n])) for n in range(len(units) + 1)]
    whole = max(end for end in ends if end <= size)
    found = scan(text[:size])
    assert (found.whole, found.size) == (whole, size)
    assert found.tail == (None if size == whole else "an incomplete command")


@given(UNITS, st.integers(1, 3_000), st.data())
def test_scan_resumes_from_any_whole_unit(
    units: list[bytes], zeros: int, data: st.DataObject
) -> None:
    text = b"".join(units)
    start = sum(map(len, units[: data.draw(st.integers(0, len(units)))]))
    assert scan(text + bytes(zeros), start).whole == len(text)
    assert scan(text + bytes(zeros), start).tail == "zeros"


@pytest.mark.parametrize("block", [16, 64, 1_000])
def test_scan_reads_commands_that_are_longer_than_a_block(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aof, "BLOCK_BYTES", max(block, aof.LINE_BYTES_MAX))
    text = (STAMP + MULTI + command(b"HSET", b"k", b"x" * 5_000, b"\r\n*1\r\n") + EXEC) * 3
    assert scan(text) == aof.Scan(len(text), len(text), 1796041240)
    cut = scan(text[:-30])
    assert (cut.whole, cut.tail, cut.next) == (
        len(text) * 2 // 3 + len(STAMP),
        "an incomplete command",
        None,
    )


def test_scan_returns_the_last_time_before_the_damage() -> None:
    later = b"#TS:1796041999\r\n"
    found = scan(STAMP + command(b"SET", b"a", b"1") + later + b"garbage")
    assert found.stamp == 1796041999
    assert scan(MULTI + later + command(b"SET", b"a", b"1"), stamp=7).stamp == 7


@pytest.mark.parametrize("tail", [b"garbage", b"*3\r\n$3\r\nSEX", b"$3\r\n", b"#TS:1\n\n", EXEC])
def test_scan_calls_a_tail_garbage_when_no_command_begins_with_it(tail: bytes) -> None:
    whole = command(b"SET", b"a", b"1")
    found = scan(whole + tail + b"!" * 70)
    assert (found.whole, found.tail, found.next) == (len(whole), "garbage", None)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (bytes(99), "zeros"),
        (bytes(3_000_000), "zeros"),
        (b"*3\r\n$3\r\nSET\r\n$50\r\nab" + bytes(99), "zeros"),
        (MULTI + bytes(99), "zeros"),
        (MULTI + command(b"SET", b"b", b"2")[:-9] + bytes(99), "zeros"),
        (b"garbage" + bytes(99), "garbage"),
        (bytes(99) + b"x", "garbage"),
        (bytes(99) + b"x" + bytes(99), "garbage"),
        (b"\x1f\x8b" * 99 + b"\0", "garbage"),
    ],
)
def test_scan_calls_a_tail_zeros_when_only_zeros_end_it(tail: bytes, said: str) -> None:
    assert scan(command(b"SET", b"a", b"1") + tail).tail == said


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"$4\r\nkey5", b"XXXXXXXX"),
        (b"$4\r\nkey5", b"$9999999\r\nkey5"),
        (b"$4\r\nkey5", b"$1\r\nkey5"),
        (b"*3\r\n$3\r\nSET\r\n$4\r\nkey5", bytes(20)),
        (b"$3\r\nSET\r\n$4\r\nkey5", b"$3\r\nS\0T\r\n$4\r\nkey5"),
    ],
)
def test_scan_finds_whole_commands_behind_damage(was: bytes, becomes: bytes) -> None:
    units = [command(b"SET", b"key%d" % n, b"value") for n in range(10)]
    text = b"".join(units)
    assert was in text
    found = scan(text.replace(was, becomes))
    assert found.whole == sum(map(len, units[:5]))
    assert found.next == len(text.replace(was, becomes)) - sum(map(len, units[6:]))


def test_scan_rejects_an_unknown_command_when_it_knows_the_names() -> None:
    first, second = command(b"set", b"a", b"1"), command(b"sxt", b"a", b"1")
    assert scan(first + second + first).tail is None
    found = scan(first + second + first, arities={b"SET": -3})
    assert (found.whole, found.next) == (len(first), len(first + second))


def test_scan_rejects_a_command_with_more_arguments_than_its_count() -> None:
    first, second = command(b"SET", b"a", b"1"), command(b"SET", b"b", b"2")
    found = scan(first + second.replace(b"*3", b"*2") + first)
    assert (found.whole, found.tail, found.next) == (len(first), "garbage", len(first + second))


def test_manifest_is_read_as_it_is_written() -> None:
    files = [
        aof.File("appendonly.aof.2.base.rdb", 2, "base"),
        aof.File("appendonly.aof.3.incr.aof", 3, "incr"),
    ]
    history = b"file appendonly.aof.1.base.aof seq 1 type h\n# a comment\n"
    assert aof.parse_manifest(history + aof.manifest(files)) == files


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"file appendonly.aof.1.incr.aof seq 2 type i\n",
        b"file appendonly.aof.1.incr.aof seq 1 type b\n",
        b"file ../../etc/passwd seq 1 type i\n",
        b"file appendonly.aof.1.incr.aof seq",
        b"file appendonly.aof.1.incr.aof seq 1 type i",
        b"file appendonly.aof.1.incr.aof seq 1 type i\n\r\n",
        b"file appendonly.aof.1.incr.aof seq 1 type i\n\nfile appendonly.aof.2.incr.aof seq 2 type i\n",
        b'file appendonly.aof.1.incr.aof seq 1 type i "\n',
        b"file appendonly.aof.1.incr.aof seq 1 type i x\n",
        b"file appendonly.aof.2.incr.aof seq 2 type i\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
        b"file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.1.base.aof seq 1 type b\n",
    ],
)
def test_manifest_is_refused_when_it_names_no_files_in_order(text: bytes) -> None:
    with pytest.raises(aof.Broken):
        aof.parse_manifest(text)
