"""The data directory of an embedded store: its lock file, its log, its socket.

The owner is the process that starts and stops the store. The owner locks the lock file, and the
store's process inherits the lock, so the file is locked while either process lives. The file
contains a note: the owner's process id and the path of the socket.

Rules: all names of files in a data directory are in this module, but for those of append-only files
(store/aof.py). Every file is for this user alone. No process is started here.
"""

import contextlib
import itertools
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from liveblog.blog.problem import UnusableStore
from liveblog.store import kinds

# A socket's path (sockaddr_un) has at most 104 bytes on macOS and 108 on Linux, including the final
# zero byte.
SOCKET_PATH_BYTES_MAX: Final = 103
LOCK_WAIT_S: Final = 5.0  # a command such as `liveblog user add` releases the lock within this time
POLL_S: Final = 0.02
OTHERS: Final = 0o077  # the mode bits of all users but the owner

_LOCK: Final = "store.lock"
_SOCKET: Final = "store.sock"
_LOG: Final = "store.log"
_KNOWN: Final = "store.known"
_PROBE: Final = "store.probe"
_REPAIR: Final = "store.repair"  # while a repair is not finished
_FRESH: Final = ".new"  # the end of the name of a file that replaces another
_APPENDED: Final = "appendonlydir"
_DAMAGED: Final = "damaged"
_SINGLE: Final = "appendonly.aof"  # the append-only file of a store before 7.0
_SNAPSHOT: Final = "dump.rdb"
_FILES: Final = (
    *(_LOCK, _LOG, f"{_LOG}.1", _KNOWN, f"{_KNOWN}{_FRESH}", _PROBE, _SINGLE, _SNAPSHOT),
    *(_REPAIR, f"{_REPAIR}{_FRESH}"),
)
_TEMPORARY: Final = "liveblog-"

_replacing = threading.Lock()  # the file under the temporary name belongs to one thread


def prepared(data_dir: Path) -> Path:
    """Return the absolute path of a data directory, created when it is missing.

    Raises UnusableStore when the directory cannot be created, when something of a wrong kind has
    one of its names, and on Windows.
    """
    if sys.platform == "win32":
        raise UnusableStore("there is no embedded store on Windows; set REDIS_URL")
    directory = data_dir.absolute()
    for path in reversed([directory, *directory.parents]):
        kinds.check(path, kinds.DIRECTORY, "set DATA_DIR to a directory")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableStore(f"DATA_DIR {directory} cannot be created: {error.strerror}") from None
    _refuse_wrong_kinds(directory)
    return directory


def _refuse_wrong_kinds(directory: Path) -> None:
    """Raise UnusableStore for a name of ours with something of another kind.

    The store replaces everything but a directory by its socket.
    """
    for name in (_APPENDED, _DAMAGED):
        kinds.check(directory / name, kinds.DIRECTORY)
    for name in _FILES:
        kinds.check(directory / name, kinds.FILE)
    path = directory / _SOCKET
    if path.is_dir() and not path.is_symlink():
        raise UnusableStore(f"{path} is a directory, not a socket; move it elsewhere")


def appended(directory: Path) -> Path:
    """Return the directory of the append-only files."""
    return directory / _APPENDED


def known(directory: Path) -> Path:
    """Return the path of the note of what is on disk (store/known.py)."""
    return directory / _KNOWN


def probe(directory: Path) -> Path:
    """Return the path of the file with which store/disk.py tries to write."""
    return directory / _PROBE


def ours(directory: Path) -> list[Path]:
    """Return all paths in a data directory that belong to the store."""
    return [*directory.glob("store.*"), *_tree(appended(directory)), *_tree(_damaged(directory))]


def _tree(directory: Path) -> list[Path]:
    """Return a directory and its files; only the directory when another user's mode hides them."""
    if not directory.is_dir():
        return []
    with contextlib.suppress(PermissionError):
        return [directory, *directory.iterdir()]
    return [directory]


# -- writing


def replace(path: Path, data: bytes, *, fsync: bool = True) -> None:
    """Replace a file in one step. Raises OSError; the old file is then unchanged."""
    fresh = path.with_name(f"{path.name}{_FRESH}")
    with _replacing:
        with open_private(fresh, "wb") as file:
            file.write(data)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    if fsync:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flush the names of a directory's files to the disk."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file to write, with mode 0600 when it is new. Raises OSError."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


# -- copies of damaged parts


def keep(directory: Path, path: Path, start: int = 0) -> Path:
    """Copy a file from an offset on to the directory of damaged files, and return the copy's path.

    The copy is on disk when this function returns. Raises OSError.
    """
    kept = _damaged(directory)
    kept.mkdir(mode=0o700, exist_ok=True)
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    copy = next(
        free
        for n in itertools.count(1)
        if not (free := kept / f"{when}-{n}-{path.name}.from-{start}").exists()
    )
    try:
        with path.open("rb") as source, open_private(copy, "xb") as target:
            source.seek(start)
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:  # most often a full disk
        copy.unlink(missing_ok=True)
        error.filename = error.filename or str(copy)
        raise
    sync_directory(kept)
    return copy


def _damaged(directory: Path) -> Path:
    return directory / _DAMAGED


# -- the note of a repair that is not finished


def note_repair(directory: Path, slugs: Collection[str]) -> None:
    """Note that a repair changes the files, and which blogs may have lost changes."""
    replace(directory / _REPAIR, json.dumps(sorted(slugs)).encode())


def unfinished_repair(directory: Path) -> list[str] | None:
    """Return the blogs that the last repair noted; None when it was finished."""
    try:
        found = json.loads((directory / _REPAIR).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def forget_repair(directory: Path) -> None:
    """Note that the last repair was finished."""
    (directory / _REPAIR).unlink(missing_ok=True)
    sync_directory(directory)


def refuse_unfinished_repair(directory: Path) -> None:
    """Raise UnusableStore after a repair that was interrupted: blogs may have holes."""
    if unfinished_repair(directory) is not None:
        raise UnusableStore(
            f"the last repair of {directory} was interrupted; run `liveblog store repair` again"
        )


# -- the lock file, and the owner's note in it


@contextlib.contextmanager
def locked(directory: Path, wait_s: float) -> Iterator[int]:
    """Lock the directory during a `with` block, and yield the descriptor of the lock file.

    If the last process with the lock was killed, remove the note and the socket that it left.
    Raises UnusableStore when another process still has the lock after `wait_s`.
    """
    path = directory / _LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnusableStore(f"{path} cannot be opened: {error.strerror}") from None
    try:
        deadline = time.monotonic() + wait_s
        while not _try_lock(fd, path):
            if time.monotonic() > deadline:
                raise UnusableStore(_in_use(directory, owner_of(directory)))
            # A loop, since flock(2) waits without a limit or not at all. No event loop runs in this
            # thread, so sleeping blocks none.
            time.sleep(POLL_S)
        _clear_traces(directory, fd)
        yield fd
    finally:
        # The lock file is not deleted: another process may have opened it to wait for the lock.
        os.close(fd)


def _try_lock(fd: int, path: Path) -> bool:
    import fcntl  # imported here: Windows lacks fcntl, but must be able to import this module

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UnusableStore(f"{path} cannot be locked: {error.strerror}") from None
    return True


def _in_use(directory: Path, owner: Mapping[str, Any]) -> str:
    process = f"process {owner['pid']}" if "pid" in owner else "another process"
    return (
        f"the store in {directory} is in use by {process}, or by the store that process left "
        "behind; stop that process, or set DATA_DIR to another directory"
    )


def note_owner(lock_fd: int, path: Path, brief: bool) -> None:
    """Write the owner's note into the lock file: this process, and the path of the socket.

    With `brief`, the store runs for one command only. Other processes then wait for the lock
    instead of using the store. Raises UnusableStore.
    """
    forget_owner(lock_fd)
    note = json.dumps({"pid": os.getpid(), "socket": str(path), "brief": brief}).encode()
    try:
        os.pwrite(lock_fd, note, 0)
    except OSError as error:  # a full disk
        raise UnusableStore(f"the lock file cannot be written: {error.strerror}") from None


def forget_owner(lock_fd: int) -> None:
    """Remove the owner's note from the lock file.

    The file keeps its size, so that the next note needs no space on a full disk.
    """
    with contextlib.suppress(OSError):
        os.pwrite(lock_fd, b" " * os.fstat(lock_fd).st_size, 0)


def owner_of(directory: Path) -> dict[str, Any]:
    """Return the owner's note in the lock file: `pid`, `socket`, `brief`.

    Return an empty dict when the file has no note, as while a store starts.
    """
    try:
        note = json.loads((directory / _LOCK).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _clear_traces(directory: Path, lock_fd: int) -> None:
    """Remove a killed owner's note from the lock file, and its temporary directory with the socket.

    A socket in the data directory is not removed here: the next store replaces it.
    """
    left = Path(str(owner_of(directory).get("socket", "")))
    forget_owner(lock_fd)
    if left.parent.name.startswith(_TEMPORARY):
        with contextlib.suppress(OSError):
            left.unlink(missing_ok=True)
            left.parent.rmdir()


def owners_socket(directory: Path) -> Path | None:
    """Return the socket of a running server's store; None when no process has the lock.

    Waits until one-shot commands end and until a starting store answers. Raises UnusableStore after
    LOCK_WAIT_S.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while is_held(directory / _LOCK):
        owner = owner_of(directory)
        path = Path(str(owner.get("socket", "")))
        if owner and not owner.get("brief") and answers(path):
            return path
        if time.monotonic() > deadline:
            raise UnusableStore(f"{_in_use(directory, owner)} (the store does not answer)")
        # A loop, since another process changes the file. No event loop runs in this thread, so
        # sleeping blocks none.
        time.sleep(POLL_S)
    return None


def is_held(lock: Path) -> bool:
    """Return whether a process has locked this lock file.

    Raises UnusableStore when the file cannot be opened.
    """
    try:
        with lock.open("rb") as file:
            return not _try_lock(file.fileno(), lock)
    except FileNotFoundError:
        return False
    except OSError as error:  # usually permission denied: the file is another user's
        raise UnusableStore(f"{lock} cannot be opened: {error.strerror}") from None


# -- data, log and socket


def refuse_snapshot(directory: Path) -> None:
    """Raise UnusableStore for a dump.rdb alone: a new store would not load it, and start empty."""
    if appended(directory).exists() or (directory / _SINGLE).exists():
        return
    if (directory / _SNAPSHOT).exists():
        raise UnusableStore(
            f"{directory} has a dump.rdb but no append-only file: a store started there would be "
            f"empty; run `valkey-server --dir '{directory}'`, then `valkey-cli config set "
            "appendonly yes` and `valkey-cli shutdown save`, or move dump.rdb elsewhere"
        )


def log_path(directory: Path) -> Path:
    """Return the path of the log of the store's last start."""
    return directory / _LOG


def fresh_log(directory: Path) -> Path:
    """Return the path of the store's log; the previous start's log becomes `store.log.1`."""
    path = log_path(directory)
    with contextlib.suppress(FileNotFoundError):
        path.replace(directory / f"{_LOG}.1")
    open_private(path, "wb").close()
    return path


@contextlib.contextmanager
def socket_path(directory: Path) -> Iterator[Path]:
    """Yield a path for the store's socket, and remove the socket at the end.

    The path is in the data directory, or in a temporary directory when that path is too long.
    """
    path = directory / _SOCKET
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
        return
    parent = tempfile.gettempdir()
    is_short = len(os.fsencode(parent)) <= SOCKET_PATH_BYTES_MAX - 40
    made = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent if is_short else "/tmp"))  # noqa: S108 - mkdtemp makes it private
    try:
        yield made / _SOCKET
    finally:
        shutil.rmtree(made, ignore_errors=True)


def answers(path: Path) -> bool:
    """Return whether a store answers PING at a socket.

    A store that is still loading its data answers with an error, so return False.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
