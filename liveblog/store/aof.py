"""Append-only files, read without a store: the manifest, whole commands, damage.

A store appends each command to its newest file, `*.incr.aof`, as a RESP array. The commands of one
script stand between MULTI and EXEC, and count only as a whole. A `*.base.*` file has the state at
the last rewrite. The manifest names the files in their order.

Rules: reads files and changes none. The memory that a scan takes does not grow with the file.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, NamedTuple

MANIFEST: Final = "appendonly.aof.manifest"
TEMPORARY: Final = "temp-"  # the start of the name of a file that replaces another
BLOCK_BYTES: Final = 1_048_576  # read at a time
LINE_BYTES_MAX: Final = 64  # the longest line is an annotation: `#TS:` and a number

_NAME: Final = re.compile(r"appendonly\.aof\.(\d{1,18})\.(base\.aof|base\.rdb|incr\.aof)")
_WORD: Final = re.compile(r"[A-Za-z0-9._]+")
# A bulk string has at most 512 MiB, and a command at most 1,048,576 arguments.
_HEAD: Final = re.compile(rb"\*([1-9]\d{0,6})\r\n\$([1-9]\d?)\r\n([A-Za-z]{2,24})\r\n")
_BULK: Final = re.compile(rb"\$(0|[1-9]\d{0,8})\r\n")
_START: Final = re.compile(rb"\*[1-9]\d{0,6}\r\n\$[1-9]\d?\r\n[A-Za-z]")
_STAMP: Final = re.compile(rb"#TS:(\d{1,12})")
_CUT_LINE: Final = re.compile(rb"([*$]\d*|#[\w:]*)?\r?")
_OVERLAP: Final = 32  # more than the longest match of _START

Kind = Literal["base", "incr"]
Tail = Literal["an incomplete command", "zeros", "garbage", "a command that liveblog never writes"]


class Broken(Exception):
    """A manifest cannot be read; the text gives the reason."""


class File(NamedTuple):
    """A file that a manifest names."""

    name: str
    number: int
    kind: Kind


def parse_manifest(data: bytes) -> list[File]:
    """Return the files that a store loads, in their order.

    Raises Broken, also for what a store would refuse: an empty line, or a last line without its
    line break.
    """
    *lines, rest = data.decode("utf-8", "replace").split("\n")
    if rest:
        raise Broken("its last line is cut")
    files = [file for line in lines if not line.startswith("#") and (file := _file(line))]
    if not files:
        raise Broken("it names no file")
    if any(file.kind == "base" for file in files[1:]):
        raise Broken("its base file is not the first")
    numbers = [file.number for file in files if file.kind == "incr"]
    if numbers != sorted(set(numbers)):
        raise Broken("its files are not in order")
    return files


def _file(line: str) -> File | None:
    """Return the file of a manifest's line; None for a file of an earlier rewrite (type h)."""
    words = line.split()
    is_whole = len(words) % 2 == 0 and words == _WORD.findall(line)
    fields = dict(zip(words[::2], words[1::2], strict=False))
    file = named(fields.get("file", ""))
    if not is_whole or file is None or fields.get("seq") != str(file.number):
        raise Broken(f"its line {line[:80]!r} names no append-only file")
    if fields.get("type") not in ("h", file.kind[0]):
        raise Broken(f"its line {line[:80]!r} has a wrong type")
    return None if fields["type"] == "h" else file


def named(name: str) -> File | None:
    """Return the file that a name describes; None for a name of no append-only file."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    return File(name, int(found[1]), "base" if found[2].startswith("base") else "incr")


def is_name(name: str) -> bool:
    """Return whether a store uses a name in its directory of append-only files."""
    return name == MANIFEST or name.startswith(TEMPORARY) or named(name) is not None


def manifest(files: Sequence[File]) -> bytes:
    """Return the text of a manifest that names these files."""
    lines = [f"file {file.name} seq {file.number} type {file.kind[0]}\n" for file in files]
    return "".join(lines).encode()


# -- whole commands


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of a scan.

    `whole`: the offset after the last whole command or transaction. `size`: the file's size.
    `stamp`: the last time that the store noted before `whole`, in seconds since 1970; None when
    there is none. `tail`: the kind of the bytes after `whole`; None when there are none. `next`:
    the offset at which whole commands continue after the damage; None when none follow.
    """

    whole: int
    size: int
    stamp: int | None
    tail: Tail | None = None
    next: int | None = None


class _Fault(Exception):
    """No whole command of ours begins at the offset `at`.

    `is_cut`: only the file's end is missing. `is_foreign`: another whole command begins there.
    """

    def __init__(self, at: int, is_cut: bool, is_foreign: bool = False) -> None:
        super().__init__(at)
        self.at, self.is_cut, self.is_foreign = at, is_cut, is_foreign


def scan(
    file: BinaryIO,
    size: int,
    start: int = 0,
    stamp: int | None = None,
    arities: Mapping[bytes, int] | None = None,
) -> Scan:
    """Read the first `size` bytes of a file from `start` on, where a command must begin.

    `stamp` is the last time that the store noted before `start`. `arities`: the commands that the
    file can have, in upper case, with the arity that the store's COMMAND names; None: a command
    may have any name.
    """
    window = _Window(file, size, arities)
    at = whole = start
    is_open, latest = False, stamp  # inside a transaction; the last noted time
    fault = _Fault(size, is_cut=True)  # MULTI without EXEC
    try:
        while at < size:
            at, latest, is_open = _step(window, at, latest, is_open)
            if not is_open:
                whole, stamp = at, latest
    except _Fault as found:
        fault = found
    if whole == size:
        return Scan(whole, size, stamp)
    return Scan(whole, size, stamp, _tail(window, whole, fault), _next(window, fault.at + 1))


def _step(
    window: "_Window", at: int, stamp: int | None, is_open: bool
) -> tuple[int, int | None, bool]:
    """Read an annotation or a command; return its end, the noted time, and whether MULTI is open.

    Raises _Fault.
    """
    end, name, noted = _read(window, at)
    if name == (b"MULTI" if is_open else b"EXEC"):
        raise _Fault(at, is_cut=False)
    return end, noted or stamp, name == b"MULTI" or (is_open and name != b"EXEC")


def _read(window: "_Window", at: int) -> tuple[int, bytes, int | None]:
    """Return the end of an annotation or a command, its name, and the noted time. Raises _Fault.

    An annotation has the name b"".
    """
    if window.part(at, 1) != b"#":
        return *window.command(at), None
    line = window.line(at)
    noted = _STAMP.fullmatch(line)
    return at + len(line) + 2, b"", int(noted[1]) if noted else None


class Step(NamedTuple):
    """A command, an annotation or damage, from `start` to `end`.

    `name`: the command's name; b"" for an annotation, None for damage. `stamp`: the time that the
    store noted, in seconds since 1970.
    """

    start: int
    end: int
    name: bytes | None
    stamp: int | None = None


def steps(file: BinaryIO, size: int, arities: Mapping[bytes, int]) -> Iterator[Step]:
    """Yield what the first `size` bytes of a file have. Damage ends at the next whole command."""
    window, at = _Window(file, size, arities), 0
    while at < size:
        try:
            end, name, stamp = _read(window, at)
            step = Step(at, end, name, stamp)
        except _Fault:
            step = Step(at, _next(window, at + 1) or size, None)
        yield step
        at = step.end


class _Window:
    """Reads any part of a file through one block of memory."""

    def __init__(self, file: BinaryIO, size: int, arities: Mapping[bytes, int] | None) -> None:
        self.file, self.size, self.arities = file, size, arities
        self._block, self._from = b"", 0

    def part(self, at: int, length: int) -> bytes:
        """Return the bytes from `at` on; fewer than `length` at the end of the file."""
        start = at - self._from
        if start < 0 or start + length > len(self._block):
            self._load(at)
            start = 0
        return self._block[start : start + length]

    def line(self, at: int) -> bytes:
        """Return the line at an offset without its line break. Raises _Fault."""
        found = self.part(at, min(LINE_BYTES_MAX, self.size - at))
        end = found.find(b"\r\n")
        if end < 0:
            is_last = at + len(found) == self.size
            raise _Fault(at, is_cut=is_last and bool(_CUT_LINE.fullmatch(found)))
        return found[:end]

    def command(self, at: int) -> tuple[int, bytes]:
        """Return the end of the command at an offset, and its name. Raises _Fault."""
        end, name = _command_in(self._block, at - self._from) if at >= self._from else (-1, b"")
        if end < 0 and at != self._from:
            self._load(at)
            end, name = _command_in(self._block, 0)
        end, name = (self._from + end, name) if end >= 0 else _long_command(self, at)
        if self.arities is not None and not self._is_possible(at, self.arities.get(name)):
            raise _Fault(at, is_cut=False, is_foreign=True)
        if self.part(end, 1) == b"$" and self._has_argument(end):  # more than its count says
            raise _Fault(at, is_cut=False)
        return end, name

    def _is_possible(self, at: int, arity: int | None) -> bool:
        """Return whether the command at an offset has the number of words that its arity allows.

        A negative arity is the least number.
        """
        if arity is None:
            return False
        count = int(self.line(at)[1:])
        return count == arity or (arity < 0 and count >= -arity)

    def _has_argument(self, at: int) -> bool:
        """Return whether a whole argument of a command begins at an offset."""
        bulk = _BULK.match(self.part(at, LINE_BYTES_MAX))
        return bulk is not None and self.part(at + bulk.end() + int(bulk[1]), 2) == b"\r\n"

    def _load(self, at: int) -> None:
        self.file.seek(at)
        self._block, self._from = self.file.read(min(BLOCK_BYTES, self.size - at)), at


def _command_in(block: bytes, at: int) -> tuple[int, bytes]:
    """Return the end of a command and its name; -1 when the block has no whole command there."""
    head = _HEAD.match(block, at)
    if not head or len(head[3]) != int(head[2]):
        return -1, b""
    at = head.end()
    for _ in range(int(head[1]) - 1):
        bulk = _BULK.match(block, at)
        if not bulk:
            return -1, b""
        at = bulk.end() + int(bulk[1]) + 2
        if block[at - 2 : at] != b"\r\n":
            return -1, b""
    return at, head[3].upper()


def _long_command(window: _Window, start: int) -> tuple[int, bytes]:
    """Return the end of a command that is longer than a block, and its name.

    Raises _Fault when no whole command is there.
    """
    line = window.line(start)
    count = re.fullmatch(rb"\*([1-9]\d{0,6})", line)
    at, name = start + len(line) + 2, b""
    for n in range(int(count[1]) if count else 0):
        line = window.line(at)
        bulk = re.fullmatch(rb"\$(0|[1-9]\d{0,8})", line)
        if not bulk:
            raise _Fault(start, is_cut=False)
        begin = at + len(line) + 2
        at = begin + int(bulk[1]) + 2
        if at > window.size:
            raise _Fault(start, is_cut=True)
        if window.part(at - 2, 2) != b"\r\n":
            raise _Fault(start, is_cut=False)
        name = name if n else window.part(begin, min(int(bulk[1]), 32))
    if not re.fullmatch(rb"[A-Za-z]{2,24}", name):
        raise _Fault(start, is_cut=False)
    return at, name.upper()


def first_stamp(file: BinaryIO) -> int | None:
    """Return the time that the store noted at a file's start; None when there is none."""
    found = _STAMP.match(file.read(LINE_BYTES_MAX))
    return int(found[1]) if found else None


# -- damage


def _tail(window: _Window, whole: int, fault: _Fault) -> Tail:
    if fault.is_cut:
        return "an incomplete command"
    if fault.is_foreign:
        return "a command that liveblog never writes"
    return "zeros" if _ends_with_zeros(window, whole) else "garbage"


def _ends_with_zeros(window: _Window, whole: int) -> bool:
    """Return whether nothing but zeros is behind the last whole command and the start of another.

    A file system leaves zeros where a file grew before its bytes were on the disk.
    """
    end = window.size
    while end > whole:
        start = max(whole, end - BLOCK_BYTES)
        if data := window.part(start, end - start).rstrip(b"\0"):
            end = start + len(data)
            break
        end = start
    if end == window.size:
        return False
    before = scan(window.file, end, whole, arities=window.arities)
    return before.tail in (None, "an incomplete command")


def _next(window: _Window, at: int) -> int | None:
    """Return the offset of the next whole command; None when no whole command follows.

    Text of editors never looks like a command: it is stored as JSON, without line breaks.
    """
    while at < window.size:
        block = window.part(at, BLOCK_BYTES)
        for found in _START.finditer(block):
            with contextlib.suppress(_Fault):
                window.command(at + found.start())
                return at + found.start()
        at += max(1, len(block) - _OVERLAP) if len(block) == BLOCK_BYTES else len(block)
    return None
