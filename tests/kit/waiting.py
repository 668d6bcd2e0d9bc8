"""Waiting in tests: for a condition with a deadline, never for a fixed time."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

# A busy machine needs longer deadlines. A condition that becomes true ends the wait at once, so a
# large scale costs a passing test nothing.
SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))
CHAOS_LONG = bool(os.environ.get("CHAOS_LONG"))  # set by `make chaos`

T = TypeVar("T")


def length(long_s: float, short_s: float) -> float:
    """Return the length of a fault: `long_s` in `make chaos`, else `short_s`."""
    return long_s if CHAOS_LONG else short_s


@overload
async def until(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], timeout_s: float = ...) -> T: ...


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Return the condition's first true value. Raises TimeoutError after the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s * SCALE
    async with asyncio.timeout_at(deadline):
        # `while` checks the deadline, too: redis-py swallows the cancellation by asyncio.timeout_at
        # before Python 3.12.
        while loop.time() < deadline:
            value = condition()
            value = await value if isinstance(value, Awaitable) else value
            if value:
                return value
            await asyncio.sleep(0.01)
    raise TimeoutError(f"not within {timeout_s * SCALE:g} s: {condition}")


def until_sync(condition: Callable[[], T], timeout_s: float = 10.0) -> T:
    """Return the condition's first true value, outside an event loop. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s * SCALE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s * SCALE:g} s: {condition}")
        threading.Event().wait(0.01)
    return value
