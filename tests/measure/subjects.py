"""Servers to measure on core 0 (floor.c, nginx with nchan, and liveblog), and readers on core 1.

liveblog's embedded store moves to core 1, because in production it runs on another machine. CPU is
the user and system time of the serving processes from /proc; memory is their resident set.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from kit.servers import free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NCHAN = Path("/usr/share/nginx/modules/ngx_nchan_module.so")
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024
WORDS = "The river rose above the second mark at noon and the council opened the school hall. "
# Bytes added to the text for nchan and floor.c: their frames must be as long as liveblog's, 1.1 KB.
# 370 bytes more made a delivery of floor.c 13 % more expensive on one machine, 1 % on another.
ENVELOPE = 460
START_S = 20.0


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def text(size: int) -> str:
    """Return a text with its time of creation, from which fanload.c computes the delay."""
    return f"lbns{time.time_ns()} " + (WORDS * (size // len(WORDS) + 1))[:size]


def pinned(core: int, command: list[Any], **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], text=True, **more)


class Subject(ABC):
    """Runs a server to be measured, on a free port, while its `with` block runs."""

    name = ""
    path = "/live"

    def __init__(self, body: int = 600, **settings: str) -> None:
        self.body, self.settings = body, settings
        self.port = free_port()
        self.scratch = Path(tempfile.mkdtemp(prefix="bench-"))
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Any:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    @abstractmethod
    def start(self) -> None:
        """Start the server, and return once it answers."""

    @abstractmethod
    def publish(self) -> None:
        """Send one text to all readers."""

    def _spawn(self, command: list[Any], **more: Any) -> None:
        with (self.scratch / "log").open("ab") as log:
            self.process = pinned(0, command, stdout=log, stderr=log, **more)

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def wait_for(self, path: str) -> None:
        self._until(lambda: self.request("GET", path)[0] < 500)

    def wait_for_port(self, pause_s: float = 0.1) -> None:
        """Wait until the port accepts connections; try every `pause_s` seconds."""

        def listens() -> bool:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

        self._until(listens, pause_s)

    def _until(self, answers: Callable[[], bool], pause_s: float = 0.1) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if answers():
                    return
            time.sleep(pause_s)  # this program has no event loop that could be blocked
        log = (self.scratch / "log").read_text()
        raise SystemExit(f"{self.name} does not answer:\n{log[-2000:]}")

    # -- costs

    def pids(self) -> Iterator[int]:
        """Yield the pids of the server's processes without its store; move the store to core 1."""
        assert self.process
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(stat.parent.name))
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            todo += children.get(pid, [])
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text()
                if "valkey" in name or "redis" in name:
                    os.sched_setaffinity(pid, {1})
                else:
                    yield pid

    def cpu_us(self) -> float:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total * TICK_US

    def rss_kb(self) -> float:
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB
        return total


class Floor(Subject):
    name = "floor"

    def start(self) -> None:
        self._spawn([compiled("floor"), self.port])
        self.wait_for_port()  # floor.c answers no plain GET

    def publish(self) -> None:  # in one packet: floor.c reads a request with one read()
        body = json.dumps({"html": text(self.body + ENVELOPE)})
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(
                f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            connection.recv(4096)


class Nchan(Subject):
    name = "nchan"

    def start(self) -> None:
        configuration = (HERE / "nchan.conf").read_text().replace("8110", str(self.port))
        (self.scratch / "nchan.conf").write_text(configuration)
        self._spawn(["nginx", "-p", self.scratch, "-e", "nchan.err", "-c", "nchan.conf"])
        self.wait_for("/")

    def publish(self) -> None:
        self.request("POST", "/publish", {"html": text(self.body + ENVELOPE)})


class Build(NamedTuple):
    """A checkout of any version of liveblog; `python` must have that version's packages."""

    directory: Path
    python: Path = Path(sys.executable)

    def command(self) -> list[str]:
        """Return the command line of `liveblog`; -P keeps the working directory's modules out."""
        project = tomllib.loads((self.directory / "pyproject.toml").read_text())["project"]
        module, _, function = project["scripts"]["liveblog"].partition(":")
        return [str(self.python), "-P", "-c", f"from {module} import {function}; {function}()"]


class Liveblog(Subject):
    name, path = "liveblog", "/blogs/bench/live"

    def __init__(self, body: int = 600, build: Build = Build(ROOT), **settings: str) -> None:  # noqa: B008 - a constant
        super().__init__(body, **settings)
        self._build = build

    def start(self) -> None:
        self._serve()
        self.wait_for("/readyz")
        token = self.command("token", "create", "bench", "--role", "admin").strip()
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.call("POST", "/api/blogs", {"slug": "bench", "title": "Bench", "status": "live"})

    def _serve(self) -> None:
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(self._build.directory),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(self.scratch / "data"),
            "LOG_LEVEL": "warning",
            "LIVEBLOG_DRAIN_S": "0",
            **self.settings,
        }
        self.environment.pop("REDIS_URL", None)
        self._spawn([*self._build.command(), "serve"], env=self.environment)

    def command(self, *arguments: str) -> str:
        command = [*self._build.command(), *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.request(method, path, body, **self.headers)
        if status >= 300:
            raise SystemExit(f"{method} {path} answered {status}: {answer[:300]!r}")
        return json.loads(answer)

    def publish(self) -> None:
        self.call(
            "POST", "/api/blogs/bench/entries", {"headline": "Bench", "body": text(self.body)}
        )

    def metric(self, name: str) -> float:
        page = self.request("GET", "/metrics")[1].decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0


class Start(Liveblog):
    """Measures `start_s`: the time until liveblog listens, with an empty embedded store."""

    def start(self) -> None:
        began = time.perf_counter()
        self._serve()
        self.wait_for_port(pause_s=0.002)
        self.start_s = time.perf_counter() - began


KINDS: dict[str, type[Subject]] = {kind.name: kind for kind in (Floor, Nchan, Liveblog)}


def has_nchan() -> bool:
    return bool(shutil.which("nginx")) and NCHAN.exists()


@cache
def _workshop() -> "tempfile.TemporaryDirectory[str]":
    """Return a directory for compiled programs, removed at this process's end."""
    return tempfile.TemporaryDirectory(prefix="bench-cc-")


@cache
def compiled(name: str) -> Path:
    """Compile the C file `name` beside this module, once, and return the program."""
    program = Path(_workshop().name) / name
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare"]
    subprocess.run(["cc", *flags, "-o", program, HERE / f"{name}.c"], check=True)
    return program


class Readers:
    """Runs fanload.c, which plays many readers of a server, while the `with` block runs.

    fanload.c runs on core 1 and exits after `stay_s`. `ready` has the figures that fanload.c
    printed once all readers were connected.
    """

    def __init__(self, subject: Subject, count: int, *more: Any, stay_s: float = 60) -> None:
        self._command = [compiled("fanload"), "-p", subject.port, "-u", subject.path, "-n", count]
        self._command += ["-i", 4, "-d", stay_s, *more]

    def __enter__(self) -> "Readers":
        pipe = subprocess.PIPE
        self.process = pinned(1, self._command, stdout=pipe, stderr=pipe)
        assert self.process.stderr
        self.ready: dict[str, float] = {}
        for line in self.process.stderr:
            if line.startswith("READY"):
                self.ready = _pairs(line)
                return self
        raise SystemExit("fanload ended before its readers were connected")

    def result(self) -> dict[str, float]:
        """Wait until fanload.c has ended, and return the figures that it printed."""
        return _pairs(self.process.communicate()[0])

    def stop(self) -> dict[str, float]:
        self.process.send_signal(signal.SIGTERM)
        return self.result()

    def resume(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def _pairs(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(\w+)=([-\d.]+)", line)}
