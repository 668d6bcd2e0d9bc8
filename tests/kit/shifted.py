"""A store whose clock a test sets forward."""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kit.preload import preloaded
from liveblog.store import embedded


class ShiftedStore(NamedTuple):
    url: str
    shift: Path

    def set_forward(self, seconds: int) -> None:
        """Let the store's clock be this much ahead of the machine's."""
        with self.shift.open("r+b") as file:  # a truncated file would end the store by SIGBUS
            file.write(struct.pack("q", seconds))


@contextlib.contextmanager
def shifted_store(binary: Path, directory: Path) -> Iterator[ShiftedStore]:
    shift = directory / "shift"
    shift.write_bytes(struct.pack("q", 0))
    environ = {
        **os.environ,
        "LD_PRELOAD": str(preloaded("clock_shift", directory)),
        "CLOCK_SHIFT_FILE": str(shift),
    }
    with embedded.own(directory / "data", binary=binary, environ=environ) as url:
        yield ShiftedStore(url, shift)
