"""A note beside the append-only files: how much of them is known to be on disk.

A file that lost its end at the border of two commands looks whole. So the owner of a store notes,
once a second while the files change, up to where each file is on disk. The next start compares.

Rules: only the process with the directory's lock writes the note. A file is noted only up to the
end of a whole command, after fdatasync. A note that cannot be read counts as no note.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from liveblog.store import aof
from liveblog.store import directory as files

NOTE_BYTES_MAX: Final = 1_048_576
NOTE_EVERY_S: Final = 1.0  # the changes of this time may get lost unnoticed with a file's end

# fdatasync leaves the times of the file to the system, and delays the store's own least. macOS has
# only fsync.
_sync: Final = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True)
class Known:
    """The note. `sizes`: the bytes of each file that are on disk, by its name.

    `manifest`: the manifest's text. `stamp`: the last time that the store noted before the end of
    its newest file, in seconds since 1970; None when there is none. `at`: the time of the note.
    """

    manifest: str
    sizes: dict[str, int]
    stamp: int | None
    at: float


def read(directory: Path) -> Known | None:
    """Return the note of a data directory; None when there is none."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, aof.Broken):
        with files.known(directory).open("rb") as file:
            note = Known(**json.loads(file.read(NOTE_BYTES_MAX)))
        aof.parse_manifest(note.manifest.encode())
        if all(isinstance(size, int) for size in note.sizes.values()):
            return note
    return None


def write(directory: Path, note: Known, *, fsync: bool) -> None:
    """Replace the note. Without `fsync`, a power failure may bring back an older note."""
    files.replace(files.known(directory), json.dumps(asdict(note)).encode(), fsync=fsync)


def forget(directory: Path) -> None:
    """Remove the note."""
    files.known(directory).unlink(missing_ok=True)


@contextlib.contextmanager
def noting(directory: Path) -> Iterator[None]:
    """Write the note once a second while the files change, and once more at the end."""
    ended = threading.Event()

    def note() -> None:
        last, seen = read(directory), _signature(directory)
        while not ended.wait(NOTE_EVERY_S):
            if (now := _signature(directory)) != seen and (fresh := taken(directory, last)):
                _write_if_possible(directory, fresh, fsync=False)
                last, seen = fresh, now

    thread = threading.Thread(target=note, name="note", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if fresh := taken(directory, read(directory)):
            _write_if_possible(directory, fresh, fsync=True)


def _write_if_possible(directory: Path, note: Known, *, fsync: bool) -> None:
    """Write the note, or leave the one before; store/disk.py says why a disk takes no bytes."""
    with contextlib.suppress(OSError):
        write(directory, note, fsync=fsync)


def _signature(directory: Path) -> list[tuple[str, int]]:
    """Return names and sizes of the append-only files, which tell whether a note is outdated."""
    with contextlib.suppress(OSError), os.scandir(files.appended(directory)) as found:
        return sorted((entry.name, entry.stat().st_size) for entry in found)
    return []


def taken(directory: Path, last: Known | None) -> Known | None:
    """Return a note of the present files; None when a file is missing or the manifest is broken.

    `last` is the note before: the newest file is read from the size noted there.
    """
    appended = files.appended(directory)
    try:
        manifest = (appended / aof.MANIFEST).read_bytes()
        listed = aof.parse_manifest(manifest)
        sizes, stamp = {it.name: (appended / it.name).stat().st_size for it in listed}, None
        if listed[-1].kind == "incr":
            found = _scanned(appended / listed[-1].name, last)
            sizes[listed[-1].name], stamp = found.whole, found.stamp
    except (OSError, aof.Broken):
        return None
    return Known(manifest.decode(), sizes, stamp, time.time())


def _scanned(path: Path, last: Known | None) -> aof.Scan:
    """Return the scan of a file from its noted end on, after fdatasync."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        _sync(file.fileno())
        start = last.sizes.get(path.name, 0) if last else 0
        if last and 0 < start <= size:
            return aof.scan(file, size, start, last.stamp)
        return aof.scan(file, size, stamp=last.stamp if last else None)
