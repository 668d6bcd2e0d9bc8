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
from kit.waiting import SCALE, until_sync
from websockets.sync.client import connect

from liveblog.store import embedded

COMMAND = (sys.executable, "-c", "from liveblog.commands.main import main; main()")
END_S = 30 * SCALE


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
def starting(directory: Path, *arguments: str, port: str = "0", **more: str) -> Iterator[Server]:
    """Run `liveblog serve` until the block ends, without waiting for its start."""
    log = directory / "server.log"
    environ = {
        **os.environ,
        "DATA_DIR": str(directory / "data"),
        "LIVEBLOG_DRAIN_S": "0.2",
        "LIVEBLOG_DRAIN_LEAD_S": "0",
        **more,
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
    try:
        yield Server(process, log)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(directory: Path, *arguments: str, port: str = "0", **more: str) -> Iterator[Server]:
    """Run `liveblog serve` until the block ends; it is ready when the block begins."""
    with starting(directory, *arguments, port=port, **more) as server:
        until_sync(lambda: is_ready(server), 30)
        yield server


def is_ready(server: Server) -> bool:
    return server.answers("/readyz") if server.address else started(server)


def started(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    return False


def until_gone(family: list[int]) -> None:
    # Wait, because Python's resource tracker process ends a moment after its parent.
    until_sync(lambda: not any(map(is_alive, family)), 5)


def command(directory: Path, *arguments: str, given: str = "", **more: str) -> str:
    """Run a one-shot command beside the server and return its standard output."""
    environ = {**os.environ, "DATA_DIR": str(directory / "data"), **more}
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
        assert server.process.wait(END_S) == 0
        until_gone(family)
        assert server.process.stdout
        assert server.process.stdout.read() == ""
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_ends_in_order_on_ctrl_c(tmp_path: Path, workers: str) -> None:
    with serving(tmp_path, "--workers", workers) as server:
        family = server.family()
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(END_S) == 0
        until_gone(family)
    assert "Traceback" not in server.log.read_text()
    assert "restarting" not in server.log.read_text()


def test_server_without_workers_ends_in_order_when_its_terminal_closes(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        family = server.family()
        os.killpg(server.process.pid, signal.SIGHUP)
        assert server.process.wait(END_S) == 0
        until_gone(family)
    assert "Traceback" not in server.log.read_text()


def handles(pid: int, number: int) -> bool:
    """Return whether a process handles a signal itself, by the kernel's account."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_and_workers_survive_each_sighup_until_they_serve(
    tmp_path: Path, workers: str
) -> None:
    with starting(tmp_path, "--workers", workers) as server:
        until_sync(lambda: handles(server.process.pid, signal.SIGHUP), 30)

        def hang_up() -> bool:
            if has_started := "startup complete" in server.log.read_text():
                return has_started
            os.killpg(server.process.pid, signal.SIGHUP)
            return started(server)

        until_sync(hang_up, 30)
        until_sync(lambda: is_ready(server), 30)
        server.process.terminate()
        assert server.process.wait(END_S) == 0
    assert "died" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("moment", ["the handler", "the store", "the port"])
def test_server_ends_with_0_on_sigterm_at_any_moment_of_its_start(
    tmp_path: Path, moment: str
) -> None:
    def is_reached(server: Server) -> bool:
        if moment == "the store":
            return (tmp_path / "data" / "store.sock").exists()
        return moment == "the handler" or bool(server.address)

    with starting(tmp_path, "--workers", "2") as server:
        until_sync(lambda: handles(server.process.pid, signal.SIGTERM), 30)
        until_sync(lambda: is_reached(server) or started(server), 30)
        family = server.family()
        server.process.terminate()
        assert server.process.wait(END_S) == 0, server.log.read_text()
        until_gone(family)
    assert "Traceback" not in server.log.read_text()


def test_server_under_nohup_stays_when_its_terminal_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "COMMAND", ("nohup", *COMMAND))
    with serving(tmp_path) as server:
        os.killpg(server.process.pid, signal.SIGHUP)
        assert server.answers("/readyz")
        server.process.terminate()
        assert server.process.wait(END_S) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_leaves_no_process_and_can_restart_when_it_is_killed(
    tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with serving(tmp_path, "--workers", workers) as server:
        command(tmp_path, "token", "create", "wire")
        family, port = server.family(), server.address.rpartition(":")[2]
        server.process.kill()
        until_gone(family)
    assert len([*temporary.glob("liveblog-metrics-*")]) == int(workers) - 1
    with serving(tmp_path, port=port):
        assert [*temporary.iterdir()] == []
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
            timeout=END_S,
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
            reader.recv(timeout=10 * SCALE)
        assert server.answers("/blogs/apollo-11?at=nobody.7.00000000")
        assert "nobody" not in server.log.read_text()


def test_every_command_runs_beside_a_kubernetes_service_of_our_name(tmp_path: Path) -> None:
    service = {"LIVEBLOG_PORT": "tcp://10.0.0.7:80", "LIVEBLOG_SERVICE_HOST": "10.0.0.7"}
    doubtful = {"LIVEBLOG_WRITE_ORIGINS": "https://cms.news.com", "public_url": "https://news.com"}
    with serving(tmp_path, **service, **doubtful) as server:
        for said in (
            "ignored, set by the platform for a service: LIVEBLOG_PORT, LIVEBLOG_SERVICE_HOST\n",
            "ignored, names of settings are upper case, with underscores: public_url\n",
            "settings: LIVEBLOG_WRITE_ORIGINS cannot be checked without PUBLIC_URL",
        ):
            assert server.log.read_text().count(said) == 1
        assert "apollo-11" in command(tmp_path, "demo", **service)
    assert "nothing to repair" in command(tmp_path, "store", "repair", **service)


def fill_up(directory: Path) -> None:
    with contextlib.suppress(OSError), (directory / "fill").open("wb", buffering=0) as fill:
        while True:
            fill.write(bytes(4_096))


def test_server_names_the_disk_when_it_takes_no_bytes(tmp_path: Path) -> None:
    """The store's own log is on the full disk, too."""
    data = tmp_path / "data"
    data.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(data)]
    if subprocess.run(size, capture_output=True).returncode:
        # Only a disk that is really full shows ENOSPC. CI runs as root, so it skips nothing.
        pytest.skip("only root may mount a small disk")
    try:
        with serving(tmp_path) as server:
            assert f"disk of {data}: only 3 MB of 3 MB are free" in server.log.read_text()
            fill_up(data)
            environ = {**os.environ, "DATA_DIR": str(data)}
            done = subprocess.run([*COMMAND, "demo"], env=environ, capture_output=True, text=True)
            assert done.returncode == 1
            full = f"embedded store: ended with 1 (No space left on device: {data})"
            until_sync(lambda: full in server.log.read_text())
            (data / "fill").unlink()
            until_sync(lambda: "/blogs/" in command(tmp_path, "demo"))
        fill_up(data)
        with embedded.own(data) as url:  # a restart can still read
            assert url
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)
