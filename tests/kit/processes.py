"""Questions about processes, answered from Linux's /proc."""

import contextlib
import os
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """Return the pids of a process's children, their children, and so on."""
    # /proc lists children by the thread that forked them, and the embedded store is forked by a
    # second thread. So read the lists of all threads.
    children = [c for task in Path(f"/proc/{pid}/task").glob("*") for c in children_of(task)]
    return [found for child in children for found in (int(child), *descendants(int(child)))]


def children_of(task: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return (task / "children").read_text().split()
    return []


def workers_of(pid: int) -> list[int]:
    """Return the pids of a supervisor's running workers."""
    return [child for child in descendants(pid) if is_alive(child) and _is_worker(child)]


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
