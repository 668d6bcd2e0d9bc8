"""Worker processes and their supervisor: started, replaced when they die, exchanged on SIGHUP.

uvicorn's own, but for the exchange: it replaces one worker after the other, and a reader who is
sent away from the first would often come back to the second and be sent away again.

Rules: knows no readers and no store; how a worker ends is app's matter.
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

from liveblog.app import succeeds

log = logging.getLogger(__name__)

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
START_WITHIN_S: Final = 30.0  # for the new workers to serve, else the old ones stay
LOOK_EVERY_S: Final = 0.1  # whether they do
ANSWER_WITHIN_S: Final = 1.0  # for one of them to say so


class Successor(Process):
    """A worker that is to take another's place: it listens when it has heard from the store.

    Before, it could not give the pages that the old one holds.
    """

    def target(self, sockets: list[socket] | None = None) -> None:
        """Run the worker; in its process."""
        succeeds.set()
        super().target(sockets)


class Supervisor(Multiprocess):
    """Runs `config.workers` processes; SIGHUP exchanges them, SIGTERM and SIGINT end them.

    A worker that has not ended `end_within_s` after it was told to is killed.
    """

    def __init__(self, config: Config, sockets: list[socket], end_within_s: float) -> None:
        super().__init__(config, sockets)
        self._end_within_s = end_within_s
        self._going: dict[Process, float] = {}  # told to end, and when each is killed

    def restart_all(self) -> None:
        """Start as many new workers, and send the old ones' readers away when all of them serve.

        Old and new listen on the same sockets, and the old ones stop that first: so each reader
        comes back once. For the time of a drain there are twice as many processes. When a new one
        does not serve within START_WITHIN_S, the old ones stay, and the new ones send away whom
        they have.
        """
        fresh: list[Process] = [Successor(self.config, self.sockets) for _ in self.processes]
        for process in fresh:
            process.start()
        if not self._come_to_serve(fresh):
            if not self.is_ending():
                log.error("not all new workers serve: the old ones stay")
            self._tell_to_end(fresh)
            return
        self._tell_to_end(self.processes)
        self.processes = fresh

    def _come_to_serve(self, fresh: list[Process]) -> bool:
        """Wait until all of them serve, and replace old ones that die meanwhile."""
        until = time.monotonic() + START_WITHIN_S
        while not all(it.is_ready(ANSWER_WITHIN_S) for it in fresh):
            self.keep_subprocess_alive()
            is_late = time.monotonic() >= until
            if is_late or self.is_ending() or not all(it.process.is_alive() for it in fresh):
                return False
            time.sleep(LOOK_EVERY_S)  # no event loop runs here; workers say it when they are asked
        return True

    def handle_signals(self) -> None:
        """Obey what waits: the end before all else, several exchanges as one."""
        # One by one: another may be put in between any two steps of ours.
        waiting = [self.signal_queue.pop(0) for _ in range(len(self.signal_queue))]
        ending = [number for number in waiting if number in ENDING]
        self.signal_queue[:0] = ending[:1] or dict.fromkeys(waiting)
        super().handle_signals()

    def handle_hup(self) -> None:
        """Exchange the workers, but not while those of the last exchange are still going."""
        if self._going:
            log.warning("SIGHUP: the last exchange has not ended; ask again later")
        else:
            super().handle_hup()

    def is_ending(self) -> bool:
        """Say whether all shall end, also by a signal that waits; asked during an exchange."""
        return self.should_exit.is_set() or any(it in ENDING for it in self.signal_queue)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died, and see to those that were told to end."""
        super().keep_subprocess_alive()
        now = time.monotonic()
        for process, at in list(self._going.items()):
            if now >= at or not process.process.is_alive():
                self._see_gone(process, 0)

    def terminate_all(self) -> None:
        """Tell all workers to end."""
        self._tell_to_end(self.processes)

    def join_all(self) -> None:
        """Wait until all have gone, those too that were told to before."""
        for process, at in list(self._going.items()):
            self._see_gone(process, max(0.0, at - time.monotonic()))

    def _tell_to_end(self, processes: Iterable[Process]) -> None:
        for process in processes:
            process.terminate()
            self._going[process] = time.monotonic() + self._end_within_s

    def _see_gone(self, process: Process, within_s: float) -> None:
        """Wait until a worker has ended, and kill one that does not come to it."""
        process.process.join(within_s)
        if process.process.is_alive():
            log.error("worker %s has not ended in %g s: killed", process.pid, self._end_within_s)
            process.kill()
            process.join()
        del self._going[process]
