"""Questions about processes, answered from Linux's /proc."""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

# A connection that a server closed for another one frees its file in the next turn of the event loop.
# So one turn can accept only some connections more than there are places; the loop resets all others.
TURN = 20
_LISTENING = "0A"  # the state of a socket in /proc/net/tcp


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


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def unaccepted(port: int) -> int:
    """Return how many connections to a listening port its process has not accepted yet."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    waiting = (it[4] for it in sockets if it[1].endswith(f":{port:04X}") and it[3] == _LISTENING)
    return sum(int(queues.partition(":")[2], 16) for queues in waiting)


def has_accepted(pid: int, port: int) -> bool:
    """Return whether no connection waits to be accepted, and a server has files for TURN more."""
    files_max, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return not unaccepted(port) and open_files(pid) <= files_max - TURN


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process inside the block, with SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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
