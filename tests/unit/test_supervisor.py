"""The supervisor: all workers are exchanged together or not at all, and hanging ones are killed."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.supervisors.multiprocess import Process

from liveblog.commands import supervisor
from liveblog.commands.supervisor import Supervisor

Log = list[tuple[str, str]]


class Worker:
    """A worker process that only logs its calls. The workers named in `starts` serve at once."""

    log: Log
    starts: set[str]
    made = 0

    def __init__(self, *_: Any, replaces_another: bool = False) -> None:
        type(self).made += 1
        self.name = f"worker {type(self).made}"
        self.process, self.pid, self.exitcode = self, 0, -signal.SIGKILL
        self.lives = True

    def start(self) -> None:
        self._note("start")

    def is_ready(self, _: float) -> bool:
        self._note("wait")
        return self.name in self.starts

    def is_alive(self, timeout: float = 0) -> bool:
        return self.lives

    def terminate(self) -> None:
        self._note("terminate")

    def kill(self) -> None:
        self._note("kill")

    def join(self) -> None:
        self._note("join")

    def _note(self, what: str) -> None:
        self.log.append((what, self.name))


class Config:
    timeout_worker_healthcheck = 5


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that exchanges two workers, and returns the workers and the log of calls.

    Its arguments are the names of the new workers that serve, the index of an old worker that is
    dead (`dies`), and the queued signals (`waiting`). The deadlines are almost zero.
    """

    def exchange(
        *starts: str, dies: int | None = None, waiting: tuple[int, ...] = ()
    ) -> tuple[list[str], Log]:
        Worker.log, Worker.starts, Worker.made = [], set(starts), 0
        monkeypatch.setattr(supervisor, "WorkerProcess", Worker)
        for limit in ("START_WITHIN_S", "LOOK_EVERY_S"):
            monkeypatch.setattr(supervisor, limit, 0.01)
        made: Any = Supervisor.__new__(Supervisor)
        made.config, made.sockets = Config, []
        made.should_exit, made.signal_queue = threading.Event(), [*waiting]
        made.processes, made._ending, made._end_within_s = [Worker(), Worker()], {}, 1.0
        if dies is not None:
            made.processes[dies].lives = False
        made.restart_all()
        return [worker.name for worker in made.processes], Worker.log

    return exchange


def test_exchange_ends_the_old_workers_when_all_new_ones_serve(exchanged: Any) -> None:
    serving, log = exchanged("worker 3", "worker 4")
    assert serving == ["worker 3", "worker 4"]
    assert log == [
        ("start", "worker 3"),
        ("start", "worker 4"),
        ("wait", "worker 3"),
        ("wait", "worker 4"),
        ("terminate", "worker 1"),
        ("terminate", "worker 2"),
    ]


def test_exchange_keeps_the_old_workers_when_a_new_one_does_not_serve(
    exchanged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    serving, log = exchanged("worker 3")
    assert "not all new workers serve, keeping the old workers" in caplog.text
    assert serving == ["worker 1", "worker 2"]
    assert [entry for entry in log if entry[0] in ("terminate", "kill", "join")] == [
        ("terminate", "worker 3"),
        ("terminate", "worker 4"),
    ]


def test_exchange_logs_no_error_when_the_supervisor_is_ending(
    exchanged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    serving, log = exchanged(waiting=(signal.SIGTERM,))
    assert serving == ["worker 1", "worker 2"]
    assert [name for what, name in log if what == "terminate"] == ["worker 3", "worker 4"]
    assert caplog.text == ""


def test_exchange_replaces_an_old_worker_that_dies_meanwhile(
    exchanged: Any,
) -> None:
    serving, log = exchanged(dies=1)
    assert serving == ["worker 1", "worker 5"]
    assert ("start", "worker 5") in log


def supervisor_of(*waiting: int) -> Any:
    """Return a supervisor with queued signals and no workers."""
    made: Any = Supervisor.__new__(Supervisor)
    made.should_exit, made.signal_queue, made._ending = threading.Event(), [*waiting], {}
    made.exchanges = 0

    def exchange() -> None:
        made.exchanges += 1

    made.restart_all = exchange
    return made


def test_supervisor_exchanges_once_when_several_sighups_are_queued() -> None:
    made = supervisor_of(signal.SIGHUP, signal.SIGHUP, signal.SIGHUP)
    made.handle_signals()
    assert (made.exchanges, made.signal_queue) == (1, [])


def test_supervisor_ends_before_an_exchange_when_both_are_queued() -> None:
    made = supervisor_of(signal.SIGHUP, signal.SIGTERM)
    assert made.is_ending()
    made.handle_signals()
    assert (made.exchanges, made.should_exit.is_set()) == (0, True)


class Interrupted(list[int]):
    """Queued signals; SIGTERM arrives just before the supervisor writes back the sorted queue."""

    def __setitem__(self, at: Any, value: Any) -> None:
        self.append(signal.SIGTERM)
        super().__setitem__(at, value)


def test_supervisor_loses_no_signal_that_arrives_while_it_sorts_others() -> None:
    made = supervisor_of()
    made.signal_queue = Interrupted([signal.SIGHUP, signal.SIGHUP])
    made.handle_signals()
    assert (made.exchanges, made.is_ending()) == (1, True)


def test_supervisor_refuses_an_exchange_while_the_last_one_is_ending() -> None:
    made = supervisor_of(signal.SIGHUP)
    made._ending = {Worker(): 0.0}
    made.handle_signals()
    assert made.exchanges == 0


@pytest.fixture
def stuck() -> Iterator[Any]:
    """A supervisor of one worker: a process that is stopped (SIGSTOP) and handles no SIGTERM."""
    made, worker = supervisor_of(), Process.__new__(Process)
    worker.process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    worker.parent_conn, worker.child_conn = multiprocessing.Pipe()
    worker.process.start()
    assert worker.process.pid
    os.kill(worker.process.pid, signal.SIGSTOP)
    os.waitpid(worker.process.pid, os.WUNTRACED)  # until it is stopped
    made.processes, made.processes_num, made._end_within_s = [worker], 1, 0.2
    try:
        yield made
    finally:
        worker.process.kill()
        worker.process.join()


def test_supervisor_kills_a_hanging_worker_at_its_end(
    stuck: Any, caplog: pytest.LogCaptureFixture
) -> None:
    [worker] = stuck.processes
    stuck.terminate_all()
    stuck.join_all()
    assert (worker.process.exitcode, stuck._ending) == (-signal.SIGKILL, {})
    assert "not ended after 0.2 s, killed" in caplog.text


def test_supervisor_kills_a_hanging_worker_after_an_exchange(stuck: Any) -> None:
    [worker] = stuck.processes
    stuck.terminate_all()
    stuck.processes = []  # new workers have replaced it
    stuck.keep_subprocess_alive()
    assert worker.process.is_alive()
    worker.process.join(0.3)
    stuck.keep_subprocess_alive()
    assert (worker.process.exitcode, stuck._ending) == (-signal.SIGKILL, {})
