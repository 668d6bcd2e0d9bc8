"""The process of a worker: its endless tasks, garbage collection, and the limit of open files.

`liveblog serve` passes a `Worker` to `create_app`, with facts that only the server knows: how to
stop listening, and whether to wait for the store. Under other ASGI servers the defaults apply.

Rules: one worker for each process. Knows no readers and no requests.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from liveblog.tasks import stop

YOUNG_MAX: Final = 20_000  # new objects between two collections; the default of Python 3.11 is 700
# Failures leave reference cycles in the collector's oldest generation. Python alone
# collects that generation once in many minutes; a worker grew by 2 MB in 10 minutes of failures.
COLLECT_EVERY_S: Final = 60.0
CONTACT_EVERY_S: Final = 0.05  # time between two checks whether the store has answered
KEPT_FILES: Final = 500  # open files reserved for everything but readers
READERS_MIN: Final = 100  # readers admitted even if the limit of open files is lower
# Of KEPT_FILES, the open files that are no clients' connections: up to 100 connections to one store
# server, 16 listening sockets, 20 files of the process, connections accepted in one turn.
OWN_FILES: Final = 200
# Of KEPT_FILES, the connections that only requests for health, desk and API may use.
RESERVED_FILES: Final = 100

log = logging.getLogger(__name__)


def _keep_listening() -> None:
    """Do nothing: only `liveblog serve` lets the application close the listening sockets."""


@dataclass(eq=False)
class Worker:
    """Runs the endless tasks of a worker in this process; ends the process when a task fails.

    `stop_listening` closes the server's listening sockets. `replaces_another`: the process replaces
    a running worker, and listens only after the store has answered. `has_failed`: a coroutine of
    `running` failed.
    """

    stop_listening: Callable[[], None] = _keep_listening
    replaces_another: bool = False
    has_failed: bool = False

    @contextlib.asynccontextmanager
    async def running(self, *parts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run coroutines such as `Hub.run` as tasks; end the process when one of them fails.

        Also exempts all present objects from garbage collection, which saves 20 ms in each full
        collection. Young objects are collected less often: a reader that has left is in no
        reference cycle and needs no collection.
        """
        tasks = [asyncio.create_task(part) for part in parts]
        for task in tasks:
            task.add_done_callback(self._end_if_failed)
        gc.freeze()
        gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
        try:
            yield
        finally:
            await stop(tasks)

    def _end_if_failed(self, task: "asyncio.Task[Any]") -> None:
        """End the process when a task has failed; the supervisor starts another process."""
        if not task.cancelled() and task.exception():
            log.critical("worker: a part failed, ending", exc_info=task.exception())
            self.has_failed = True
            os.kill(os.getpid(), signal.SIGTERM)


async def collect() -> None:
    """Collect garbage in all generations every COLLECT_EVERY_S, until cancelled."""
    while True:
        await asyncio.sleep(COLLECT_EVERY_S)
        gc.collect()


async def first_contact(has_contact: Callable[[], bool]) -> None:
    """Wait until the store has answered once. Call only in the main thread.

    Until then, SIGTERM ends the process at once: the server does not listen yet and has no readers.
    With uvicorn's handler of SIGTERM, the process would go on waiting for the store.
    """
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while not has_contact():  # noqa: ASYNC110 - the hub has no event to wait for
        await asyncio.sleep(CONTACT_EVERY_S)
    signal.signal(signal.SIGTERM, before)


# -- the limit of open files: each connection is an open file


def raise_file_limit() -> None:
    """Raise this process' limit of open files to the highest value that the system allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class FileShares(NamedTuple):
    """How clients may use the open files that the limit allows; 0 means that there is no limit.

    `readers`: streams. `connections`: streams and all other connections. `reserve`: connections
    beyond these, for health, desk and API.
    """

    readers: int
    connections: int
    reserve: int


def file_shares() -> FileShares:
    """Return how the limit of open files of this process is divided."""
    try:
        import resource
    except ImportError:
        return divided(0)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return divided(0 if soft == resource.RLIM_INFINITY else soft)


def divided(limit: int) -> FileShares:
    """Divide a limit of open files; 0 means that there is no limit.

    With the usual limit of 1,024, there are 524 readers at most. Together with other connections
    there are 724, so 200 others have a place beside all readers. A low limit is divided by shares.
    """
    if not limit:
        return FileShares(0, 0, RESERVED_FILES)
    reserve = min(RESERVED_FILES, limit // 8)
    connections = limit - min(OWN_FILES, limit // 2) - reserve
    return FileShares(max(READERS_MIN, limit - KEPT_FILES), connections, reserve)
