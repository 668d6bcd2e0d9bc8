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
from functools import partial
from types import FrameType
from typing import Final

from liveblog.live.direct import DirectTransport

FAREWELL_S: Final = 2.0  # time limit for readers to leave after the last `bye`

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def draining_first(
    direct: DirectTransport, lead_s: float, window_s: float, stop_listening: Callable[[], None]
) -> Iterator[None]:
    """Drain on the first SIGTERM or SIGINT, then call the server's handler of that signal.

    A second signal goes to the server's handler at once. A signal for which the server has no
    handler is left alone. Outside the main thread this does nothing, since servers install no
    handlers there. `lead_s`, `window_s` and `stop_listening` are passed to `drain`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, hub = asyncio.get_running_loop(), direct.door.hub
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        end = partial(before[signal.Signals(number)], number, frame)
        if hub.draining:
            end()
            return
        hub.draining = True
        loop.call_soon_threadsafe(hub.spawn, drain(direct, lead_s, window_s, stop_listening, end))

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def drain(
    direct: DirectTransport,
    lead_s: float,
    window_s: float,
    stop_listening: Callable[[], None],
    end: Callable[[], None],
) -> None:
    """Close all readers with a `bye` over `window_s` seconds, then call `end`.

    First the server still listens for `lead_s` seconds, so that balancers notice the drain. Then
    `stop_listening` is called, and reconnecting readers reach another worker. `end` stops the
    server. It is called when all readers have left, at most FAREWELL_S after the last `bye`. An
    earlier call would close the remaining readers with the server's code, without a `bye`.
    """
    try:
        await asyncio.sleep(lead_s)
        stop_listening()
        await direct.door.hub.drain(window_s)
        await direct.door.emptied(FAREWELL_S)
    finally:
        direct.end_all()
        end()
