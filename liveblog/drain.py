"""The drain: send the readers to other workers before this process ends.

Without the drain, uvicorn closes all WebSockets at once with 1012. uvicorn also waits, without a
limit, for Server-Sent Events to end, before it ends the application's lifespan.

Rules: a signal handler only starts the drain; everything else happens in the event loop.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from liveblog.live.direct import DirectTransport

FAREWELL_S: Final = 2.0  # time for the last readers to receive their `bye`

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def draining_first(
    direct: DirectTransport, lead_s: float, window_s: float, stop_listening: Callable[[], None]
) -> Iterator[None]:
    """Drain on the first SIGTERM or SIGINT, then call the server's handler of that signal.

    A second signal goes to the server's handler at once. Does nothing outside the main
    thread, where servers set no handlers. The other arguments are passed to `drain`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, hub = asyncio.get_running_loop(), direct.door.hub
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_signal(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if hub.draining or not callable(handler):
            _call(handler, number, frame)
            return
        hub.draining = True
        end = lambda: _call(handler, number, frame)  # noqa: E731
        loop.call_soon_threadsafe(hub.spawn, drain(direct, lead_s, window_s, stop_listening, end))

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call(handler: object, number: int, frame: FrameType | None) -> None:
    """Call a signal's handler; SIG_DFL, SIG_IGN and None are not callable."""
    if callable(handler):
        handler(number, frame)


async def drain(
    direct: DirectTransport,
    lead_s: float,
    window_s: float,
    stop_listening: Callable[[], None],
    end: Callable[[], None],
) -> None:
    """Close all readers with a `bye` over `window_s` seconds, then call `end`.

    First the server still listens for `lead_s` seconds, so that balancers notice the drain. Then
    `stop_listening` is called, and reconnecting readers reach another worker. `end` is called when
    all readers have left: the server would close them with its own code instead of a `bye`.
    """
    try:
        await asyncio.sleep(lead_s)
        stop_listening()
        await direct.door.hub.drain(window_s)
        await direct.door.emptied(FAREWELL_S)
    finally:
        direct.end_all()
        end()
