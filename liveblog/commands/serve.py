"""The command `liveblog serve`: checks the store, then runs one server or several workers.

Rules: this module imports slow modules inside functions only: the docstring of commands/main.py has
the reason. `server` configures uvicorn; `supervisor` runs the worker processes.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from liveblog import settings
from liveblog.blog.problem import StoreDown, UnusableStore
from liveblog.log import configure_logging
from liveblog.process import raise_file_limit
from liveblog.settings import Settings, SettingsError
from liveblog.store import directory, disk, embedded

if TYPE_CHECKING:
    import socket

    import uvicorn

    from liveblog.store.nodes import Nodes
    from liveblog.store.promise import Promise

LAST_S: Final = 5  # the time for a worker to send the last `bye` frames and to stop its tasks
STORE_TRIES: Final = 30  # attempts, a second apart, to reach a store and verify its settings

log = logging.getLogger(__name__)


@click.command()
@click.option("--host", help="Address to listen on; overrides HOST.")
@click.option("--port", help="Port to listen on; overrides PORT.")
@click.option("--workers", help="Worker processes; overrides WEB_CONCURRENCY.")
def serve(host: str | None, port: str | None, workers: str | None) -> None:
    """Serve readers and editors until SIGTERM or Ctrl-C.

    Without REDIS_URL, also run an embedded store in DATA_DIR.
    """
    given = {"HOST": host, "PORT": port, "WEB_CONCURRENCY": workers}
    # Each worker process reads its settings from the environment, so the command's options are
    # written into the environment.
    os.environ.update({name: text for name, text in given.items() if text is not None})
    _handle_signals()
    chosen = settings.load(os.environ)
    configure_logging(chosen)
    settings.log_ignored(os.environ)
    settings.log_doubts(chosen)
    _check_certificate(chosen)
    raise_file_limit()
    with contextlib.ExitStack() as stack:
        url = chosen.redis_url or stack.enter_context(_own(chosen.data_dir))
        if not chosen.redis_url:
            os.environ.update({"REDIS_URL": url, "LIVEBLOG_DURABILITY": chosen.durability})
        asyncio.run(_log_promise(url, chosen.durability))
        raise SystemExit(_run(chosen))


@contextlib.contextmanager
def _own(data_dir: Path) -> Iterator[str]:
    """Run the embedded store and watch its disk during a `with` block; yield the store's URL."""
    with disk.watching(directory.prepared(data_dir)), embedded.own(data_dir) as url:
        yield url


# -- signals while uvicorn does not run, and the certificate


def _handle_signals() -> None:
    """Handle SIGTERM and SIGHUP while uvicorn does not: before its start and after its end.

    SIGTERM raises SystemExit, so that an embedded store is stopped. SIGHUP comes from a closed
    terminal or an operator, and ends no server that does not serve yet: `_serve_here` and the
    supervisor handle it. Under `nohup` SIGHUP stays ignored.
    """
    signal.signal(signal.SIGTERM, _exit)
    _on_hangup(_nothing)


def _on_hangup(handler: "Callable[[int, object], None]") -> None:
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def _exit(number: int, frame: object) -> None:  # noqa: ARG001 - as signal.signal calls it
    raise SystemExit(0)


def _nothing(number: int, frame: object) -> None:
    """Ignore a signal in this process only: a child process would inherit SIG_IGN."""


def _check_certificate(chosen: Settings) -> None:
    """Raise SettingsError for a certificate that no worker could serve with.

    The supervisor would restart the failing worker without end.
    """
    if not chosen.tls_cert:
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chosen.tls_cert, chosen.tls_key)
    except OSError as error:  # ssl.SSLError is a subclass
        raise SettingsError(
            "LIVEBLOG_TLS_CERT and LIVEBLOG_TLS_KEY hold no certificate with its key (PEM): "
            f"{error.strerror}"
        ) from None


# -- the durability that the store promises


async def _log_promise(url: str, durability: str) -> None:
    """Log which confirmed changes survive a crash of the store.

    Raises UnusableStore for an old version, for settings that could lose changes, and for a cluster
    when REDIS_URL does not begin with redis+cluster://. With durability `disk` the store's settings
    must be verified: retry an unreachable store once a second, STORE_TRIES times.
    Otherwise the server starts even when the store is unreachable.
    """
    from liveblog.store.connect import connect
    from liveblog.store.queries import store_errors

    async with connect(url) as nodes:
        for tries_left in reversed(range(STORE_TRIES if durability == "disk" else 1)):
            try:
                async with store_errors():
                    _log_promises(await nodes.ask(lambda: _promises(nodes, durability)))
                    return
            except StoreDown as error:
                log.warning("store: unreachable: %s", error)
            if tries_left:
                await asyncio.sleep(1)
    if durability == "disk":
        raise UnusableStore(
            "LIVEBLOG_DURABILITY is disk, but the store is unreachable, so its appendfsync always "
            "cannot be verified"
        )


async def _promises(nodes: "Nodes", durability: str) -> "list[Promise]":
    """Return, for each store server that accepts writes, which changes survive its crash."""
    from liveblog.store.promise import inspect

    promises = [await inspect(node.redis, durability) for node in nodes.everyone()]
    if any(promise.in_cluster for promise in promises) and not nodes.is_cluster:
        raise UnusableStore(
            "the store is a node of a cluster; REDIS_URL must begin with redis+cluster://"
        )
    return promises


def _log_promises(promises: "Sequence[Promise]") -> None:
    """Log each server's promise (what survives its crash) and warning; log equal texts once."""
    for sentence in dict.fromkeys(promise.sentence for promise in promises):
        log.info("%s", sentence)
    for warning in dict.fromkeys(promise.warning for promise in promises if promise.warning):
        log.warning("%s", warning)


# -- the server


def _run(chosen: Settings) -> int:
    """Serve until a signal ends the server, and return the exit code."""
    from liveblog.commands import gathered
    from liveblog.commands.server import config_of, listeners

    gathered.sweep()
    config = config_of(chosen)
    try:
        bound = listeners(config, chosen.send_buffer_bytes)
    except SystemExit:  # uvicorn raises SystemExit when the port is taken, and has logged it
        return 1
    if config.workers > 1:
        _supervise(config, bound, chosen)
        return 0
    return _serve_here(config, bound)


def _serve_here(config: "uvicorn.Config", bound: "list[socket.socket]") -> int:
    """Run the server in this process, and return the exit code.

    The code is 1 when the server did not start, or when a task failed that must always run.
    """
    import uvicorn

    from liveblog.commands.server import attach

    server = uvicorn.Server(config)
    worker = attach(server)

    def hang_up(number: int, frame: object) -> None:  # noqa: ARG001 - as signal.signal calls it
        """End as with SIGTERM: the default action would send no `bye` to readers."""
        if server.started:
            signal.raise_signal(signal.SIGTERM)

    _on_hangup(hang_up)
    code = 0
    try:
        server.run(sockets=bound)
        code = 0 if server.started else 1
    except SystemExit as stop:  # raised by `_exit`: at its end uvicorn repeats a SIGTERM
        code = 1 if stop.code else 0
    except KeyboardInterrupt:  # likewise for SIGINT
        pass
    return 1 if worker.has_failed else code


def _supervise(config: "uvicorn.Config", bound: "list[socket.socket]", chosen: Settings) -> None:
    """Run the worker processes.

    Each worker writes its metrics into a shared directory. So any worker can answer a request for
    the metrics of all workers.
    """
    from liveblog.commands import gathered
    from liveblog.commands.server import GRACE_S
    from liveblog.commands.supervisor import Supervisor

    end_within_s = chosen.drain_lead_s + chosen.drain_s + GRACE_S + LAST_S
    with gathered.directory() as metrics:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        with disk.watching(metrics):
            Supervisor(config, bound, end_within_s).run()
