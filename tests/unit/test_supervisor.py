"""Workers are exchanged as a whole, or not at all."""

from collections.abc import Iterator
from typing import Any

import pytest

from liveblog import supervisor
from liveblog.supervisor import Supervisor

Log = list[tuple[str, str]]


class Worker:
    """A process that is only noted; `starts` says of each new one whether it comes to serve."""

    log: Log
    starts: Iterator[bool]
    made: int

    def __init__(self, *_: Any) -> None:
        type(self).made += 1
        self.name = f"worker {type(self).made}"

    def start(self) -> None:
        self._note("start")

    def wait_until_ready(self, *_: Any) -> bool:
        self._note("wait")
        return next(self.starts)

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
    """Return a function that exchanges two workers, and gives who serves then and what was done."""

    def exchange(*starts: bool) -> tuple[list[str], Log]:
        Worker.log, Worker.starts, Worker.made = [], iter(starts), 0
        monkeypatch.setattr(supervisor, "Process", Worker)
        made: Any = Supervisor.__new__(Supervisor)
        made.config, made.sockets, made.should_exit = Config, [], None
        made.processes, made._going = [Worker(), Worker()], []
        made.restart_all()
        return [worker.name for worker in made.processes], Worker.log

    return exchange


def test_the_old_workers_are_sent_away_when_all_new_ones_serve(exchanged: Any) -> None:
    serving, log = exchanged(True, True)
    assert serving == ["worker 3", "worker 4"]
    assert log == [
        ("start", "worker 3"),
        ("start", "worker 4"),
        ("wait", "worker 3"),
        ("wait", "worker 4"),
        ("terminate", "worker 1"),
        ("terminate", "worker 2"),
    ]


def test_when_a_new_worker_does_not_serve_the_old_ones_stay(exchanged: Any) -> None:
    serving, log = exchanged(True, False)
    assert serving == ["worker 1", "worker 2"]
    assert [entry for entry in log if entry[0] in ("terminate", "kill", "join")] == [
        ("kill", "worker 3"),
        ("join", "worker 3"),
        ("kill", "worker 4"),
        ("join", "worker 4"),
    ]
