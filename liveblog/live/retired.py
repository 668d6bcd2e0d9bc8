"""The metrics files of workers that have ended: added up in one file of each kind, and removed.

A worker's counts must stay in the totals after its end, since no total may fall. Without this
module, each exchange of the workers would leave two files for each, and a scrape would read them
all. Gauges of a worker that has ended are removed.

Rules: several workers sweep and scrape one directory. A sweep holds the directory's lock alone, and
a scrape shares the lock, so a scrape never sees a count twice.
"""

import contextlib
import logging
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

NOBODY: Final = 0  # no worker has this process number; it stands in the name of a file of totals

_OF_WORKER: Final = re.compile(r"(counter|histogram|gauge_live[a-z]*)_([1-9]\d*)\.db")

log = logging.getLogger(__name__)


def sweep(directory: Path) -> None:
    """Add the counts of ended workers to the files of totals, and remove these workers' files."""
    with locked(directory, alone=True):
        found = [it for path in directory.iterdir() if (it := _OF_WORKER.fullmatch(path.name))]
        ended = {pid for pid in {int(it[2]) for it in found} if not _is_running(pid)}
        for kind in {it[1] for it in found}:
            paths = [directory / it[0] for it in found if it[1] == kind and int(it[2]) in ended]
            if paths and not kind.startswith("gauge"):
                _add(directory / f"{kind}_{NOBODY}.db", paths)
            for path in paths:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(directory: Path, *, alone: bool = False) -> Iterator[None]:
    """Lock a directory of metrics during a `with` block; with `alone`, no other lock is shared."""
    import fcntl  # imported here: Windows lacks fcntl, and has no supervisor

    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _add(total: Path, paths: list[Path]) -> None:
    """Replace a file of totals by the sum of it and of other files, in one step."""
    sums: Counter[str] = Counter()
    for path in [total, *paths]:
        # A worker that was killed while it wrote can leave a key that cannot be read. The
        # values before that key count.
        try:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
                sums[key] += value
        except FileNotFoundError:
            continue
        except (RuntimeError, ValueError, struct.error):
            log.warning("metrics: %s cannot be read to its end", path)
    fresh = total.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    made = MmapedDict(str(fresh))
    for key, value in sums.items():
        made.write_value(key, value, 0.0)
    made.close()
    fresh.replace(total)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
