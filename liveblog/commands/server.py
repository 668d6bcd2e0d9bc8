"""The uvicorn server in this process, and the application that it runs.

Rules: everything that we ask of uvicorn's server object is in this module.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from liveblog.log import configuration
from liveblog.process import Worker
from liveblog.settings import Settings
from liveblog.store.embedded import die_with

GRACE_S: Final = 10  # for running requests, after the readers have left
KEEP_ALIVE_S: Final = 95  # longer than balancers' 60 to 90 s; if shorter, a balancer answers 502
BACKLOG: Final = 4_096
# libuv accepts one connection for each listening descriptor in each turn of its loop. With one
# descriptor, readers that reconnect after a cut would take a turn each. So the one socket has this
# many descriptors.
ACCEPTS: Final = 16
STARTUP_FAILURE: Final = uvicorn.config.STARTUP_FAILURE  # a supervisor restarts no such worker

log = logging.getLogger(__name__)


def config_of(chosen: Settings) -> uvicorn.Config:
    """Return the configuration of every server, for `attach`."""
    return uvicorn.Config("", **options(chosen))  # `attach` sets the application


def options(chosen: Settings) -> dict[str, Any]:
    """Return uvicorn's options."""
    return {
        "factory": True,
        "host": chosen.host,
        "port": chosen.port,
        "workers": chosen.web_concurrency,
        "loop": "auto",
        "http": "liveblog.live.connections:Front",
        "ws": "liveblog.live.connections:SocketReader",
        "ssl_certfile": chosen.tls_cert or None,
        "ssl_keyfile": chosen.tls_key or None,
        "lifespan": "on",
        "log_config": configuration(chosen),
        "access_log": False,
        "proxy_headers": True,
        "forwarded_allow_ips": chosen.forwarded_allow_ips,
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": GRACE_S,
    }


def listeners(config: uvicorn.Config, send_buffer_bytes: int) -> list[socket.socket]:
    """Return ACCEPTS descriptors of one bound socket.

    Accepted connections inherit the socket's send buffer. Without our limit the kernel buffers 2 to
    4 MB for a reader that does not read (loopback, Linux 6.1), which no limit of ours counts.
    """
    listener = config.bind_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    return [listener, *(listener.dup() for _ in range(ACCEPTS - 1))]


def attach(server: uvicorn.Server, *, replaces_another: bool = False) -> Worker:
    """Have a server run the application, and return the worker that the application knows."""
    worker = Worker(partial(_stop_listening, server), replaces_another)
    server.config.app = partial(_application, worker)
    return worker


def _stop_listening(server: uvicorn.Server) -> None:
    """Close a server's listening sockets: reconnecting readers reach another worker."""
    for listening in server.servers:
        listening.close()


def _application(worker: Worker) -> ASGIApp:
    """Make the application; uvicorn's factory, called in the process that serves.

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


def obey_supervisor() -> None:
    """Ignore the terminal's signals, and end this worker when the supervisor is killed.

    Ctrl-C and a closed terminal signal every process. The supervisor signals the workers itself,
    and a second signal would end a worker's drain. A worker that outlived its supervisor would keep
    the port.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        _end_with(parent.pid, parent.join)


def _end_with(parent_pid: int, wait: Callable[[], object]) -> None:
    """End this process at once when its parent dies."""
    if sys.platform == "linux":
        die_with(parent_pid, signal.SIGKILL)
        return

    def follow() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=follow, name="supervisor", daemon=True).start()
