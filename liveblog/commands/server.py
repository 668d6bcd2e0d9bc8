"""The uvicorn server in this process, and the application that it runs.

Rules: every use of uvicorn's server object is in this module.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from ssl import SSLContext
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from liveblog.log import configuration
from liveblog.process import Worker
from liveblog.settings import Settings
from liveblog.store.embedded import die_with

GRACE_S: Final = 10  # the time for running requests to end after the last reader has disconnected
# Idle connections stay open longer than the 60 to 90 s of load balancers. A balancer that reuses a
# connection just closed by the server answers 502.
KEEP_ALIVE_S: Final = 95
BACKLOG: Final = 4_096
# The number of descriptors of the one listening socket. libuv accepts one connection for each
# descriptor in each turn of the event loop. With one descriptor, many readers that reconnect at
# once would need one turn each.
ACCEPTS: Final = 16
FRONT: Final = "liveblog.live.front:Front"  # the protocol of each new connection
TLS_FRONT: Final = "liveblog.live.tls:TlsFront"
TERMINAL: Final = (
    signal.SIGINT,
    signal.SIGHUP,
)  # Ctrl-C and a closed terminal signal all processes
# The exit code of a worker that the supervisor does not restart; the supervisor ends instead.
STARTUP_FAILURE: Final = uvicorn.config.STARTUP_FAILURE

log = logging.getLogger(__name__)


class _Config(uvicorn.Config):
    """uvicorn's configuration, for a server that accepts plain connections.

    live/tls.py counts each connection, and then starts TLS.
    """

    def load(self) -> None:
        super().load()
        if self.ssl:
            self._start_tls_later(self.ssl)

    def _start_tls_later(self, context: SSLContext) -> None:
        front: Any = self.http_protocol_class  # TlsFront; its first parameter is the context
        self.http_protocol_class = partial(front, context)  # type: ignore[assignment]  # uvicorn only calls it
        self.ssl = None


def config_of(chosen: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration, without an application."""
    return _Config("", **options(chosen))  # `attach` sets the application


def options(chosen: Settings) -> dict[str, Any]:
    """Return uvicorn's options."""
    return {
        "factory": True,
        "host": chosen.host,
        "port": chosen.port,
        "workers": chosen.web_concurrency,
        "loop": "auto",
        "http": TLS_FRONT if chosen.tls_cert else FRONT,
        "ws": "liveblog.live.websocket:SocketReader",
        "ssl_certfile": chosen.tls_cert or None,
        "ssl_keyfile": chosen.tls_key or None,
        "lifespan": "on",
        "log_config": configuration(chosen),
        "access_log": False,
        "proxy_headers": False,  # liveblog/forwarded.py reads them, also for streams
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": GRACE_S,
    }


def listeners(config: uvicorn.Config, send_buffer_bytes: int) -> list[socket.socket]:
    """Return ACCEPTS descriptors of one bound socket.

    Accepted connections inherit the socket's send buffer of `send_buffer_bytes`. With its default
    size, the kernel buffers 2 to 4 MB for a reader that does not read (loopback, Linux 6.1). No
    other limit counts the bytes in the kernel's buffers.
    """
    listener = config.bind_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    return [listener, *(listener.dup() for _ in range(ACCEPTS - 1))]


def attach(server: uvicorn.Server, *, replaces_another: bool = False) -> Worker:
    """Set the application that `server` runs, and return its Worker (liveblog/process.py).

    With `replaces_another`, the server listens only after the store has answered.
    """
    worker = Worker(partial(_stop_listening, server), replaces_another)
    server.config.app = partial(_application, worker)
    return worker


def _stop_listening(server: uvicorn.Server) -> None:
    """Close a server's listening sockets, so that reconnecting readers reach another worker."""
    for listening in server.servers:
        listening.close()


def _application(worker: Worker) -> ASGIApp:
    """Return the application. uvicorn calls this factory in the worker's process.

    Raises SystemExit(STARTUP_FAILURE) when the application cannot be made. After any other exit
    code the supervisor would restart the worker without end.
    """
    from liveblog.app import create_app
    from liveblog.settings import load

    try:
        return create_app(load(os.environ), worker)
    except Exception:
        log.exception("worker: the application cannot be made")
        raise SystemExit(STARTUP_FAILURE) from None


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Block the terminal's signals during a `with` block; they are delivered at its end.

    A process that starts in the block has the signals blocked. Otherwise a signal could end the
    process before its first line of Python.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_supervisor() -> None:
    """Ignore the terminal's signals, and end this worker when the supervisor is killed.

    Ctrl-C and a closed terminal signal every process, but the supervisor signals the workers
    itself. A second signal would end a worker before it has disconnected its readers. A worker that
    outlives its supervisor would keep the port in use.
    """
    for number in TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        _end_with(parent.pid, parent.join)


def _end_with(parent_pid: int, wait: Callable[[], object]) -> None:
    """End this process at once when its parent dies; `wait` returns when the parent has ended."""
    if sys.platform == "linux":
        die_with(parent_pid, signal.SIGKILL)
        return

    def follow() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=follow, name="supervisor", daemon=True).start()
