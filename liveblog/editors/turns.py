"""Turns: one call of an editor at a time, and a limit on the calls of all editors that wait.

Rules: knows no HTTP, and not what the calls do.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar, TypeVarTuple

from liveblog.blog.problem import Problem

CALLERS_MAX: Final = 50  # editors whose calls wait for the thread or run; a further call gets 503
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Turns:
    """Runs calls in one thread, of each editor one at a time.

    A second thread would only delay the event loop more: all threads share one interpreter lock.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._callers: set[str] = set()

    @contextmanager
    def turn(self, caller: str) -> Iterator[None]:
        """Admit a caller to what precedes its call in the thread. Raises Problem as `run` does."""
        self._admit(caller)
        try:
            yield
        finally:
            self._callers.discard(caller)

    def _admit(self, caller: str) -> None:
        if caller in self._callers:
            raise _busy(429, "Your last call is still running.")
        if len(self._callers) >= CALLERS_MAX:
            raise _busy(503, "Too many editors are waiting for this.")
        self._callers.add(caller)

    async def run(self, caller: str, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return the result of a call in the thread; `caller` is the editor's `ident`.

        Raises Problem: 429 while another call of this editor runs, 503 when too many editors wait.
        A call whose request was cancelled still counts until the thread has ended it.
        """
        self._admit(caller)
        done = self._pool.submit(call, *args)
        loop = asyncio.get_running_loop()
        done.add_done_callback(lambda _: loop.call_soon_threadsafe(self._callers.discard, caller))
        return await asyncio.wrap_future(done)


def _busy(status: int, detail: str) -> Problem:
    return Problem(status, "busy", detail, retry_after_s=1)
