"""The space on a directory's disk: warnings, and why a disk takes no bytes.

Rules: knows directories only. A warning is repeated once an hour while its cause lasts.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from liveblog.store import directory as files

FREE_BYTES_MIN: Final = 1_000_000_000
FREE_SHARE_MIN: Final = 0.05
FREE_FILES_MIN: Final = 1_000  # a rewrite of the append-only file needs new files
CHECK_EVERY_S: Final = 60.0
REPEAT_S: Final = 3_600.0
PROBE_BYTES: Final = 1_048_576  # more than one change of a blog

log = logging.getLogger(__name__)


@contextlib.contextmanager
def watching(directory: Path) -> Iterator[None]:
    """Check the space of a directory's disk now and once a minute, during a `with` block."""
    disk, ended = Disk(directory), threading.Event()

    def watch() -> None:
        while not ended.wait(CHECK_EVERY_S):
            disk.check()

    disk.check()
    thread = threading.Thread(target=watch, name="disk", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class Disk:
    """Warns when the disk of a directory has little space."""

    directory: Path
    monotonic: Callable[[], float] = time.monotonic
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    _warned: float | None = field(default=None, init=False)

    def check(self) -> None:
        """Log a warning for little space, again after REPEAT_S, and a line when it has ended."""
        shortage = self._shortage()
        if not shortage:
            if self._warned is not None:
                log.info("disk of %s: has enough space again", self.directory)
            self._warned = None
        elif self._warned is None or self.monotonic() >= self._warned + REPEAT_S:
            self._warned = self.monotonic()
            log.warning("disk of %s: %s", self.directory, shortage)

    def _shortage(self) -> str:
        try:
            found = self.statvfs(self.directory)
        except OSError as error:
            return f"free space is unknown: {error.strerror}"
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if not free:
            return "No space left on device"
        if free < FREE_BYTES_MIN or free < FREE_SHARE_MIN * total:
            return f"only {free / 1e6:,.0f} MB of {total / 1e6:,.0f} MB are free"
        if found.f_files and found.f_favail < FREE_FILES_MIN:
            return f"only {found.f_favail:,} more files can be created (inodes)"
        return ""


def refusal(directory: Path) -> str:
    """Return why a directory takes no bytes, with the path; "" when it takes them."""
    probe = files.probe(directory)
    try:
        with files.open_private(probe, "wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{error.strerror}: {directory}"
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return ""
