"""The append-only files before a start: cuts a damaged tail, refuses other damage.

A crash may leave an incomplete command, zeros or garbage at the end of the newest file, behind what
was on disk. A start cuts such a tail, keeps a copy, and logs what was lost. Every other damage is
refused, since a store started there would lose confirmed changes: `liveblog store repair` shows and
repairs it.

Rules: called only while no store runs on the directory, by the process with its lock.
"""

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from liveblog.blog.problem import UnusableStore
from liveblog.store import aof, kinds, known
from liveblog.store import directory as files
from liveblog.store.known import Known

# A crash leaves at most what the store wrote at once, or zeros. An entry has at most some 100 KB.
CRASH_BYTES_MAX: Final = 16 * 1_048_576
REPAIR: Final = "run `liveblog store repair`, or restore DATA_DIR from a backup"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Newest:
    """The newest append-only file: its scan, and how many bytes of it were known to be on disk."""

    path: Path
    scan: aof.Scan
    known: int

    @property
    def cut(self) -> int:
        """The bytes after the last whole command."""
        return self.scan.size - self.scan.whole

    @property
    def is_beyond_a_crash(self) -> bool:
        """Whether no crash leaves the bytes after the last whole command.

        A crash alters no bytes that were on disk, and leaves no file without a whole command where
        there were some. But a file may lose its end.
        """
        scan = self.scan
        if not self.cut:
            return False
        if not scan.whole and (self.known or scan.tail == "garbage"):
            return True
        if scan.tail == "zeros":
            return False
        is_altered = scan.tail == "garbage" and scan.whole < self.known
        return is_altered or self.cut > CRASH_BYTES_MAX

    @property
    def lost(self) -> int:
        """The number of bytes of confirmed changes that are missing."""
        return max(0, self.known - self.scan.whole)

    def since(self) -> str:
        """Return since when changes may be missing, by the times in the file or the file's own."""
        if self.scan.stamp is not None:
            return f"after {instant(self.scan.stamp)}"
        return f"of an unknown time (last written at {instant(self.path.stat().st_mtime)})"


def make_ready(directory: Path, *, trust_note: bool = True) -> bool:
    """Check the append-only files, cut a damaged tail, and log what was lost.

    With `trust_note`, bytes that the note has as whole are not read again. Return whether the
    files were changed. Raises UnusableStore for any other damage, and when a tail cannot be copied.
    """
    files.refuse_snapshot(directory)
    refuse_wrong_kinds(directory)
    note = known.read(directory)
    listed = _listed(directory, note)
    if not listed:
        return False
    paths = [files.appended(directory) / file.name for file in listed]
    has_commands = listed[-1].kind == "incr"
    for path in paths[:-1] if has_commands else paths:
        _refuse_shortened(path, note)
    if not has_commands:  # a base file has the state of all blogs, and is never cut
        return False
    newest = examined(paths[-1], note, stamp=stamp_of(paths[0]), from_note=trust_note)
    _refuse_damage(newest)
    if newest.cut:
        _cut(directory, newest)
    elif newest.lost:
        log.error(
            "append-only file %s: %d of %d bytes are missing that were on disk at %s; "
            "confirmed changes %s are lost",
            newest.path, newest.lost, newest.known, instant(note.at if note else 0), newest.since(),
        )  # fmt: skip
    if newest.cut or newest.lost:
        note_present(directory)
    return bool(newest.cut)


def refuse_wrong_kinds(directory: Path) -> None:
    """Raise UnusableStore when an append-only file is no regular file.

    A device would lose confirmed changes, and a FIFO would block the start.
    """
    appended = files.appended(directory)
    try:
        found = sorted(appended.iterdir()) if appended.is_dir() else []
    except OSError as error:
        raise unreadable(appended, error) from None
    for path in found:
        if aof.is_name(path.name):
            kinds.check(path, kinds.FILE, f"move it elsewhere, then {REPAIR}")


def note_present(directory: Path) -> None:
    """Note the present files as what is known to be on disk."""
    if note := known.taken(directory, None):
        known.write(directory, note, fsync=True)


def _listed(directory: Path, note: Known | None) -> list[aof.File]:
    """Return the files that the store will load; none in a new directory. Raises UnusableStore."""
    appended = files.appended(directory)
    path = appended / aof.MANIFEST
    try:
        listed = aof.parse_manifest(path.read_bytes())
    except FileNotFoundError:
        if not has_data(appended) and not (note and any(note.sizes.values())):
            return []
        raise UnusableStore(
            f"{path} is missing: a store started there would be empty and then overwrite the data; "
            f"{REPAIR}"
        ) from None
    except aof.Broken as error:
        raise UnusableStore(f"{path} cannot be used: {error}; {REPAIR}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    for file in listed:
        if not (appended / file.name).exists():
            raise UnusableStore(f"{appended / file.name} is missing; {REPAIR}")
    if left_out := unnamed(appended, listed):
        raise UnusableStore(f"{path} does not name {left_out[0]}, which is newer; {REPAIR}")
    return listed


def unnamed(appended: Path, listed: Sequence[aof.File]) -> list[str]:
    """Return files of commands that are newer than those of a manifest, which it must have named.

    The store names a new file before it writes the first command into the file.
    """
    newest = max((file.number for file in listed if file.kind == "incr"), default=0)
    return sorted(
        path.name
        for path in appended.iterdir()
        if (file := aof.named(path.name)) and file.kind == "incr" and file.number > newest
        and path.stat().st_size
    )  # fmt: skip


def has_data(appended: Path) -> bool:
    """Return whether a directory has append-only files."""
    return appended.is_dir() and any(aof.named(path.name) for path in appended.iterdir())


def unreadable(path: Path, error: OSError) -> UnusableStore:
    """Return the error for a file that the system does not let us read."""
    return UnusableStore(
        f"{path} cannot be read: {error.strerror}; give the files of DATA_DIR to the user that "
        f"runs liveblog, or {REPAIR}"
    )


def _refuse_shortened(path: Path, note: Known | None) -> None:
    """Raise UnusableStore for an older file that lost bytes: the newer files continue it."""
    size, was = path.stat().st_size, note.sizes.get(path.name, 0) if note else 0
    if size < was:
        raise UnusableStore(
            f"{path} has {size} bytes and had {was} at {instant(note.at if note else 0)}: "
            f"confirmed changes may be lost; {REPAIR}"
        )
    if not size and path.suffix == ".rdb":  # the store would load it as an empty one
        raise UnusableStore(f"{path} is empty: confirmed changes may be lost; {REPAIR}")


def stamp_of(path: Path) -> int | None:
    """Return the time that the store noted at the start of a file; None when there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return aof.first_stamp(file)
    return None


def examined(
    path: Path,
    note: Known | None,
    *,
    stamp: int | None,
    from_note: bool = False,
    arities: Mapping[bytes, int] | None = None,
) -> Newest:
    """Return the scan of the newest file. Raises UnusableStore when it cannot be read.

    `stamp` is the time of the file before. With `from_note`, the bytes that the note has as whole
    are not read again, unless what follows them is no command. `arities`: as in `aof.scan`.
    """
    was = note.sizes.get(path.name, 0) if note else 0
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if note and from_note and 0 < was <= size:
                scan = aof.scan(file, size, was, note.stamp)
                if scan.whole > was or scan.whole == size:
                    return Newest(path, scan, was)
            return Newest(path, aof.scan(file, size, stamp=stamp, arities=arities), was)
    except OSError as error:
        raise unreadable(path, error) from None


def _refuse_damage(newest: Newest) -> None:
    """Raise UnusableStore for damage that no crash leaves, or with whole commands behind it."""
    scan = newest.scan
    if scan.next is not None:
        raise UnusableStore(
            f"{newest.path} is damaged from byte {scan.whole} to {scan.next} of {scan.size}, and "
            f"whole commands follow; changes {newest.since()} are affected; {REPAIR}"
        )
    if newest.is_beyond_a_crash:
        was = f", and {newest.known} bytes of it were on disk" if newest.known else ""
        raise UnusableStore(
            f"{newest.path} is damaged from byte {scan.whole} of {scan.size} on ({scan.tail}), as "
            f"by no crash{was}; changes {newest.since()} are affected; {REPAIR}"
        )


def _cut(directory: Path, newest: Newest) -> None:
    """Cut the tail of the newest file, after a copy. Raises UnusableStore when there is no copy."""
    try:
        copy = files.keep(directory, newest.path, newest.scan.whole)
        truncate(newest.path, newest.scan.whole)
    except OSError as error:
        raise UnusableStore(
            f"{newest.path} ends with {newest.scan.tail} and cannot be cut: {error.strerror}: "
            f"{error.filename}"
        ) from None
    log.error(
        "append-only file %s: %d of %d bytes cut off (%s, after the last whole command at byte "
        "%d); %s; a copy is in %s, and may have text that was taken down: delete it after use",
        newest.path, newest.cut, newest.scan.size, newest.scan.tail, newest.scan.whole,
        _loss(newest), copy,
    )  # fmt: skip


def _loss(newest: Newest) -> str:
    if newest.lost:
        return f"{newest.lost} bytes of confirmed changes {newest.since()} are lost"
    return f"changes {newest.since()} may be lost"


def truncate(path: Path, size: int) -> None:
    """Cut a file to a size, and flush the file to the disk. Raises OSError."""
    os.truncate(path, size)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def instant(seconds: float) -> str:
    """Return an instant in the form of a log line."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
