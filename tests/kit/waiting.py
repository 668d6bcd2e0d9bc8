"""Waiting in tests: for a condition, with a deadline, never for a length of time."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

# A slow machine multiplies every deadline by setting this; nothing waits longer than it must.
SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))

T = TypeVar("T")


@overload
async def until(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], timeout_s: float = ...) -> T: ...


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Return the condition's first true value. Raises TimeoutError after the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s * SCALE
    async with asyncio.timeout_at(deadline):
        # The clock as well: before Python 3.12 redis-py may forget that it was cancelled.
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
