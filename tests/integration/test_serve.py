"""`liveblog serve` as a process: its start, its end, and what is left after a kill."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.processes import descendants, is_alive
from kit.waiting import until_sync
from websockets.sync.client import connect

COMMAND = (sys.executable, "-c", "from liveblog.commands.main import main; main()")


@dataclass
class Server:
    """Holds a `liveblog serve` that runs in a process group of its own and logs to a file."""

    process: "subprocess.Popen[str]"
    log: Path

    @property
    def address(self) -> str:
        found = re.search(r"running on (http://\S+)", self.log.read_text())
        return found[1] if found else ""

    def answers(self, path: str) -> bool:
        """Return whether a path answers 200."""
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(self.address + path, timeout=5).status == 200)
        return False

    def family(self) -> list[int]:
        """Return the processes of the server, its workers and its store included."""
        return [self.process.pid, *descendants(self.process.pid)]


@contextlib.contextmanager
def serving(directory: Path, *arguments: str, port: str = "0") -> Iterator[Server]:
    """Run `liveblog serve` until the block ends; it is ready when the block begins."""
    log = directory / "server.log"
    environ = {
        **os.environ,
        "DATA_DIR": str(directory / "data"),
        "LIVEBLOG_DRAIN_S": "0.2",
        "LIVEBLOG_DRAIN_LEAD_S": "0",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", port, *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    server = Server(process, log)
    try:
        until_sync(lambda: server.answers("/readyz") if server.address else started(server), 30)
        yield server
    finally:
        process.kill()
        process.communicate()


def started(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    return False


def until_gone(family: list[int]) -> None:
    # Wait, because Python's resource tracker process ends a moment after its parent.
    until_sync(lambda: not any(map(is_alive, family)), 5)


def command(directory: Path, *arguments: str, given: str = "") -> str:
    """Run a one-shot command beside the server and return its standard output."""
    environ = {**os.environ, "DATA_DIR": str(directory / "data")}
    done = subprocess.run(
        [*COMMAND, *arguments], input=given, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_ends_with_its_workers_and_its_store_on_sigterm(
    tmp_path: Path, workers: str
) -> None:
    with serving(tmp_path, "--workers", workers) as server:
        family = server.family()
        assert len(family) > int(workers)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        until_gone(family)
        assert server.process.stdout
        assert server.process.stdout.read() == ""
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_ends_in_order_on_ctrl_c(tmp_path: Path, workers: str) -> None:
    with serving(tmp_path, "--workers", workers) as server:
        family = server.family()
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(30) == 0
        until_gone(family)
    assert "Traceback" not in server.log.read_text()
    assert "restarting" not in server.log.read_text()


def test_server_without_workers_ends_in_order_when_its_terminal_closes(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        family = server.family()
        os.killpg(server.process.pid, signal.SIGHUP)
        assert server.process.wait(30) == 0
        until_gone(family)
    assert "Traceback" not in server.log.read_text()


def test_server_with_workers_stays_on_sighup_before_its_supervisor(
    tmp_path: Path,
) -> None:
    """SIGHUP arrives while the server still waits for the store, before it has started workers."""
    log = tmp_path / "server.log"
    environ = {**os.environ, "REDIS_URL": f"unix://{tmp_path}/none", "LIVEBLOG_DURABILITY": "disk"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--workers", "2", "--port", "0"], env=environ, stderr=output
        )
    try:

        def tries() -> int:
            return log.read_text().count("unreachable")

        until_sync(tries, 30)
        before = tries()
        process.send_signal(signal.SIGHUP)
        until_sync(lambda: tries() > before or process.poll() is not None, 30)
        assert process.poll() is None
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_server_under_nohup_stays_when_its_terminal_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "COMMAND", ("nohup", *COMMAND))
    with serving(tmp_path) as server:
        os.killpg(server.process.pid, signal.SIGHUP)
        assert server.answers("/readyz")
        server.process.terminate()
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_leaves_no_process_and_can_restart_when_it_is_killed(
    tmp_path: Path, workers: str
) -> None:
    with serving(tmp_path, "--workers", workers) as server:
        command(tmp_path, "token", "create", "wire")
        family, port = server.family(), server.address.rpartition(":")[2]
        server.process.kill()
        until_gone(family)
    with serving(tmp_path, port=port):
        assert command(tmp_path, "token", "list").startswith("wire ")


def test_commands_use_the_store_of_a_running_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        printed = command(tmp_path, "demo")
        assert re.search(r"sign in as editor with the password \S{12,}\n", printed)
        assert server.answers("/blogs/apollo-11")
        assert "password" not in command(tmp_path, "demo")


def test_server_is_refused_when_another_uses_its_directory(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        environ = {**os.environ, "DATA_DIR": str(tmp_path / "data")}
        done = subprocess.run(
            [*COMMAND, "serve", "--port", "0"], env=environ, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert str(tmp_path / "data") in done.stderr
        assert f"process {server.process.pid}" in done.stderr
        assert server.answers("/readyz")


def test_server_exits_with_1_and_leaves_no_store_when_its_port_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        other = tmp_path / "other"
        port = server.address.rpartition(":")[2]
        done = subprocess.run(
            [*COMMAND, "serve", "--port", port],
            env={**os.environ, "DATA_DIR": str(other)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 1
        assert "already in use" in done.stderr
        assert not (other / "store.sock").exists()
        assert server.answers("/readyz")


def test_log_has_no_readers_query_string(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        command(tmp_path, "demo")
        address = server.address.replace("http", "ws", 1)
        with connect(f"{address}/blogs/apollo-11/live?since=nobody.7.00000000") as reader:
            reader.recv(timeout=10)
        assert server.answers("/blogs/apollo-11?at=nobody.7.00000000")
        assert "nobody" not in server.log.read_text()
