"""The uvicorn server that `serve` makes, and the names of uvicorn's that the program depends on."""

import inspect
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from liveblog import app
from liveblog.commands.server import ACCEPTS, attach, config_of, listeners
from liveblog.process import Worker
from liveblog.settings import Settings


class Listening:
    """A listening socket of the event loop's, that counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def server_of(settings: Settings) -> uvicorn.Server:
    return uvicorn.Server(config_of(settings))


def test_worker_closes_the_listening_sockets_of_its_own_server() -> None:
    server, other = server_of(Settings()), server_of(Settings())
    worker = attach(server)
    attach(other)
    server.servers, other.servers = [Listening(), Listening()], [Listening()]  # type: ignore[list-item]
    worker.stop_listening()
    assert [it.closed for it in server.servers + other.servers] == [1, 1, 0]  # type: ignore[attr-defined]


def test_application_gets_the_worker_of_the_server_that_runs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Worker] = []

    def create_app(_: Settings, worker: Worker) -> Any:
        given.append(worker)
        return Starlette()

    monkeypatch.setattr(app, "create_app", create_app)
    server = server_of(Settings())
    worker = attach(server, replaces_another=True)
    server.config.load()
    assert given == [worker]
    assert worker.replaces_another


def test_server_exits_with_3_when_the_application_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def create_app(*_: Any) -> Any:
        raise LookupError("broken")

    monkeypatch.setattr(app, "create_app", create_app)
    server = server_of(Settings())
    attach(server)
    with pytest.raises(SystemExit) as raised:
        server.config.load()
    assert raised.value.code == uvicorn.config.STARTUP_FAILURE


def test_listeners_are_one_bound_socket_under_many_descriptors() -> None:
    bound = listeners(config_of(Settings(port=0)), 65_536)
    try:
        assert len({it.fileno() for it in bound}) == ACCEPTS
        assert len({it.getsockname() for it in bound}) == 1
    finally:
        for it in bound:
            it.close()


def test_uvicorn_has_the_names_that_the_supervisor_overrides_and_calls() -> None:
    """If uvicorn renamed a method, uvicorn's exchange of workers would silently replace ours."""
    for name in (
        *("init_processes", "restart_all", "handle_signals", "handle_hup", "handle_ttin"),
        *("keep_subprocess_alive", "terminate_all", "join_all", "run"),
    ):
        assert callable(getattr(Multiprocess, name)), name
    for name in ("target", "start", "is_ready", "is_alive", "terminate", "kill", "join"):
        assert callable(getattr(Process, name)), name
    assert isinstance(inspect.getattr_static(Process, "server"), property)
    made = inspect.getsource(Multiprocess.__init__)
    for name in ("config", "sockets", "processes_num", "processes", "should_exit", "signal_queue"):
        assert f"self.{name}" in made, name
    assert "self.servers" in inspect.getsource(uvicorn.Server.startup)
