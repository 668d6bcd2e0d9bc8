"""Tasks that run side by side and end for certain.

Why not a TaskGroup: on Python 3.11 and 3.12 one that is already ending because a part failed does
not pass a later cancellation on, and redis-py's `wait_for` can swallow the first: a worker that
stops would then never end.

Rules: knows nothing of what the tasks do.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

CANCEL_AGAIN_S: Final = 0.5


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all at once until one ends, stop the others, and raise what it raised.

    Not a TaskGroup: when one part has failed and the others are still ending, it forgets that it is
    cancelled itself (Python 3.11 and 3.12), and a worker that stops then never ends.
    """
    tasks = [asyncio.create_task(part) for part in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await stop(tasks)


async def stop(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks that talk to the store, and return when they have ended.

    Once is not enough: redis-py sends with wait_for, which before Python 3.12 forgets a
    cancellation that comes with its result (CPython issue 86296).
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
