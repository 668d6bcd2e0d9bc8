"""The stores that tests run against, and a store whose disk a test can slow down."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from liveblog.store import embedded as store

FLAVOURS = ("valkey", "redis")
DELAY_MS = 300


def binary_of(flavour: str) -> Path:
    """Return the server binary of a flavour, "valkey" or "redis".

    Raises AssertionError when Redis is not installed.
    """
    if flavour == "valkey":
        return store.find_binary()
    found = shutil.which("redis-server")
    assert found, "redis-server is needed; on Debian: apt-get install redis-server"
    return Path(found)


@dataclass(frozen=True)
class DelayedStore:
    """A store with a disk that a test can slow down; it logs its fsyncs (see fdatasync_delay.c)."""

    url: str
    _log: Path
    _delay_file: Path
    delay_s: float = DELAY_MS / 1000

    @contextlib.contextmanager
    def delayed(self) -> Iterator[None]:
        """Make every fsync take `delay_s` longer inside the block."""
        self._delay_file.touch()
        try:
            yield
        finally:
            self._delay_file.unlink()

    def syncs(self, since: float = 0.0) -> list[tuple[float, float]]:
        """Return (start, end) of the finished fsyncs that started at or after `since`.

        Times are those of `time.monotonic()`.
        """
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        pairs = [(float(a), float(b)) for a, b, _ in (line.split() for line in lines)]
        return [pair for pair in pairs if pair[0] >= since]


StartDelayed = Callable[..., AbstractContextManager[DelayedStore]]
