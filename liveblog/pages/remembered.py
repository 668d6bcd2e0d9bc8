"""Joined scripts on disk: only the first start after a change makes them, in 0.15 s of CPU time.

They are stored as Python stores compiled modules: in `__pycache__`, in the directory of
PYTHONPYCACHEPREFIX, or nowhere under PYTHONDONTWRITEBYTECODE. Each file names what the script was
made from, and has a hash of the script, so an outdated or damaged one is made again.

Rules: a script from a file has the same bytes as one that is made.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

_HASH_BYTES: Final = 32


def remembered(source: Path, made_from: bytes, make: Callable[[], bytes]) -> bytes:
    """Return what `make` returns, from the file for `source` if that was made from these bytes."""
    key, path = sha256(made_from).digest(), Path(f"{cache_from_source(str(source))}.script")
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    script = stored[2 * _HASH_BYTES :]
    if stored[: 2 * _HASH_BYTES] == key + sha256(script).digest():
        return script
    script = make()
    if not sys.dont_write_bytecode:
        _write(path, key + sha256(script).digest() + script)
    return script


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once; write nothing where this process may not write."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.chmod(0o644)  # as Python's byte code: a server of another user may read it
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
