"""Tasks that run concurrently and are certain to end.

TaskGroup is not used: on Python 3.11 and 3.12, a group with a failed task does not pass a second
cancellation to its tasks. redis-py's `wait_for` can lose the first cancellation, so a worker might
never stop.

Rules: knows nothing about the work of the tasks.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

CANCEL_AGAIN_S: Final = 0.5


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run coroutines concurrently until the first ends, then stop the others.

    Raises the exception of the first.
    """
    tasks = [asyncio.create_task(part) for part in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await stop(tasks)


async def stop(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks that may use the store, and return when all have ended.

    Ignores the exceptions of the tasks: asyncio would log each one that nobody has looked at. A
    task is cancelled every CANCEL_AGAIN_S until it ends. redis-py sends with wait_for, which before
    Python 3.12 forgets a cancellation that arrives together with its result (CPython issue 86296).
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        ended, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        for task in ended:
            if not task.cancelled():
                task.exception()
