"""Worker processes and their supervisor, which starts them and replaces workers that died.

An exchange (on SIGHUP) replaces all workers: the supervisor starts new workers, waits until all of
them serve, and then ends the old workers. uvicorn's own supervisor replaces one worker after the
other, so many readers would reconnect from one old worker to another old worker, and reconnect
again later.

Rules: this module knows no readers and no store. live/drain.py disconnects the readers of a worker
that ends.
"""

import logging
import signal
import time
from collections.abc import Iterable
from socket import socket
from typing import Final

from uvicorn import Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from liveblog.commands.server import (
    STARTUP_FAILURE,
    attach,
    blocked_signals,
    obey_supervisor,
)

log = logging.getLogger(__name__)

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
START_WITHIN_S: Final = 30.0  # limit for new workers to serve; if one is late, the old ones stay
LOOK_EVERY_S: Final = 0.1  # the pause between two checks whether the new workers serve
ANSWER_WITHIN_S: Final = 1.0  # the time in which a worker must answer whether it serves


class WorkerProcess(Process):
    """The process of one worker: makes a uvicorn server and sets the server's application.

    With `replaces_another` the worker listens only after its first contact with the store. While
    the store is unreachable, the old worker serves blogs from memory. A new worker has no blogs in
    memory, and could serve nothing.
    """

    def __init__(
        self, config: Config, sockets: list[socket], *, replaces_another: bool = False
    ) -> None:
        self._replaces_another = replaces_another
        super().__init__(config, sockets)

    def target(self, sockets: list[socket] | None = None) -> None:
        """Run the worker. uvicorn calls this method in the worker's process."""
        obey_supervisor()
        attach(self.server, replaces_another=self._replaces_another)
        super().target(sockets)


class Supervisor(Multiprocess):
    """Runs `config.workers` processes; SIGHUP exchanges them, SIGTERM and SIGINT end them.

    A worker that still runs `end_within_s` seconds after its SIGTERM is killed.
    """

    def __init__(self, config: Config, sockets: list[socket], end_within_s: float) -> None:
        super().__init__(config, sockets)
        self._end_within_s = end_within_s
        # For each worker that got SIGTERM, the time of `monotonic` at which the worker is killed.
        self._ending: dict[Process, float] = {}

    def init_processes(self) -> None:
        """Start the workers."""
        self.processes += [self._started() for _ in range(self.processes_num)]

    def _started(self, *, replaces_another: bool = False) -> Process:
        process = WorkerProcess(self.config, self.sockets, replaces_another=replaces_another)
        with blocked_signals():  # the worker inherits this, until `obey_supervisor`
            process.start()
        return process

    # -- the exchange

    def restart_all(self) -> None:
        """Start a new worker for each old one, and end the old workers when all new ones serve.

        Old and new workers listen on the same sockets. The old workers stop listening before they
        disconnect a reader, so each reader reconnects once, to a new worker. Until the old workers
        have ended, there are twice as many processes. When a new worker does not serve within
        START_WITHIN_S, the old workers stay and the new ones end.
        """
        fresh = [self._started(replaces_another=True) for _ in self.processes]
        if not self._all_serve(fresh):
            if not self.is_ending():
                log.error("exchange: not all new workers serve, keeping the old workers")
            self._terminate(fresh)
            return
        self._terminate(self.processes)
        self.processes = fresh

    def _all_serve(self, fresh: list[Process]) -> bool:
        """Wait until all new workers serve, and replace old workers that die meanwhile.

        Return False when a new worker died or is late, or when the supervisor must end.
        """
        until = time.monotonic() + START_WITHIN_S
        while not all(it.is_ready(ANSWER_WITHIN_S) for it in fresh):
            self.keep_subprocess_alive()
            is_late = time.monotonic() >= until
            if is_late or self.is_ending() or not all(it.process.is_alive() for it in fresh):
                return False
            # Ask repeatedly: no event loop runs here, and no worker reports that it serves.
            time.sleep(LOOK_EVERY_S)
        return True

    # -- signals

    def handle_signals(self) -> None:
        """Handle each kind of queued signal once; a SIGTERM or SIGINT cancels all other kinds."""
        # Pop the signals one by one, so that a signal that arrives meanwhile stays in the queue.
        waiting = [self.signal_queue.pop(0) for _ in range(len(self.signal_queue))]
        ending = [number for number in waiting if number in ENDING]
        self.signal_queue[:0] = ending[:1] or dict.fromkeys(waiting)
        super().handle_signals()

    def handle_hup(self) -> None:
        """Exchange the workers, unless old workers of the last exchange still run."""
        if self._ending:
            log.warning("exchange: refused, the workers of the last exchange have not ended")
        else:
            super().handle_hup()

    def handle_ttin(self) -> None:
        """Start one more worker."""
        self.processes_num += 1
        self.processes.append(self._started())

    def is_ending(self) -> bool:
        """Return whether a signal has ended the supervisor or is queued to end it."""
        return self.should_exit.is_set() or any(it in ENDING for it in self.signal_queue)

    # -- dead and ending workers

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or do not answer, and kill workers that end too slowly.

        A worker that fails at its start ends the supervisor: the next worker would fail too.
        """
        for n, process in enumerate(self.processes):
            if self.should_exit.is_set():
                break
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:
                log.error("worker %s: start failed, ending", process.pid)
                self.should_exit.set()
                break
            log.warning("worker %s: died, starting another", process.pid)
            self.processes[n] = self._started()
        now = time.monotonic()
        for process, at in list(self._ending.items()):
            if now >= at or not process.process.is_alive():
                self._reap(process, 0)

    def terminate_all(self) -> None:
        """Send SIGTERM to all workers."""
        self._terminate(self.processes)

    def join_all(self) -> None:
        """Wait until all workers that got SIGTERM have ended; kill those over their time limit."""
        for process, at in list(self._ending.items()):
            self._reap(process, max(0.0, at - time.monotonic()))

    def _terminate(self, processes: Iterable[Process]) -> None:
        for process in processes:
            process.terminate()
            self._ending[process] = time.monotonic() + self._end_within_s

    def _reap(self, process: Process, within_s: float) -> None:
        """Wait until a worker has ended, and kill a worker that does not end in time."""
        process.process.join(within_s)
        if process.process.is_alive():
            log.error("worker %s: not ended after %g s, killed", process.pid, self._end_within_s)
            process.kill()
            process.join()
        del self._ending[process]
