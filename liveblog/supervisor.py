"""Worker processes and their supervisor: started, replaced when they die, exchanged on SIGHUP.

uvicorn's own, but for the exchange: it replaces one worker after the other, and a reader who is
sent away from the first would often come back to the second and be sent away again.

Rules: knows no readers and no store; how a worker ends is app's matter.
"""

import logging

from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

log = logging.getLogger(__name__)


class Supervisor(Multiprocess):
    """Runs `config.workers` processes; SIGHUP exchanges them, SIGTERM and SIGINT end them."""

    def restart_all(self) -> None:
        """Start as many new workers, and send the old ones' readers away when all of them serve.

        Old and new listen on the same sockets, and the old ones stop that first: so each reader
        comes back once. For the time of a drain there are twice as many processes. When a new one
        does not serve within `timeout_worker_healthcheck`, the old ones stay.
        """
        fresh = [Process(self.config, self.sockets) for _ in self.processes]
        for process in fresh:
            process.start()
        if all(self._serves(process) for process in fresh):
            gone, self.processes = self.processes, fresh
        else:
            log.error("a new worker does not serve: the old ones stay")
            gone = fresh
        for process in gone:
            process.terminate()
        for process in gone:
            process.join()

    def _serves(self, process: Process) -> bool:
        return process.wait_until_ready(self.config.timeout_worker_healthcheck, self.should_exit)
