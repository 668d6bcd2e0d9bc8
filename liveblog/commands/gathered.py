"""The directory in which the workers of one server gather their metrics.

A killed server leaves its directory behind. The server has a lock on a file in the directory, and
the kernel releases the lock at the server's end. So each start removes the directories without a
lock.

Rules: removes only directories of this user.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PREFIX: Final = "liveblog-metrics-"
LOCK: Final = "server.lock"
UNLOCKED_S: Final = 86_400.0  # the age at which a directory without a lock file is removed


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """Yield a new directory for the metrics of this server's workers, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as made:
        lock = Path(made) / LOCK
        fd = os.open(lock.with_suffix(".new"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            lock.with_suffix(".new").rename(lock)  # `sweep` never sees the file without its lock
            yield Path(made)
        finally:
            os.close(fd)


def sweep() -> None:
    """Remove the directories of servers that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, or removed meanwhile
            _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Remove a directory of this user whose server has ended. Raises OSError while it runs."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    if not (path / LOCK).exists():  # being made, or of a version that had no lock
        if time.time() - found.st_mtime > UNLOCKED_S:
            shutil.rmtree(path)
        return
    fd = os.open(path / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(fd)
