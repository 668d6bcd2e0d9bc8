"""Looks up which blogs exist: concurrent look-ups share one pipeline to each server.

Anyone may ask for invented slugs, so a look-up must be cheap for the worker and for the store. And
a blog must be found as soon as it exists, so no answer is kept: a reader that asked too early finds
the blog at its next try.

Rules: reads only. At most one pipeline at a time to each server, and AT_ONCE look-ups in each.
"""

import asyncio
from typing import Final

from liveblog.store.client import Client
from liveblog.store.nodes import Node, Nodes

AT_ONCE: Final = 200  # look-ups in one pipeline; the worker parses their replies within 2 ms
# Time between two pipelines to a server: a server gets at most 20,000 look-ups a second.
PAUSE_S: Final = 0.01


class Lookup:
    """Asks the store's servers whether keys exist."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._queues: dict[Node, _Queue] = {}

    async def exists(self, name: str) -> bool:
        """Return whether a key exists. Raises RedisError and OSError."""
        node = self._nodes.node(name)
        if node not in self._queues:
            self._queues = {
                it: self._queues[it] for it in self._nodes.everyone() if it in self._queues
            }
            self._queues[node] = _Queue(node.redis)
        return await self._queues[node].exists(name)


class _Queue:
    """The look-ups at one server. Callers that ask for the same key share its look-up."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._running: asyncio.Task[None] | None = None

    async def exists(self, name: str) -> bool:
        if name not in self._waiting:
            self._waiting[name] = asyncio.get_running_loop().create_future()
        if not self._running:
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(self._waiting[name])

    async def _run(self) -> None:
        """Look up waiting keys until there are none."""
        try:
            while self._waiting:
                some = dict(list(self._waiting.items())[:AT_ONCE])
                self._waiting = {n: it for n, it in self._waiting.items() if n not in some}
                await self._look_up(some)
                await asyncio.sleep(PAUSE_S)
        finally:
            self._running = None

    async def _look_up(self, some: dict[str, asyncio.Future[bool]]) -> None:
        """Look up keys. When the server does not answer, fail the keys that still wait, too."""
        pipeline = self._redis.pipeline(transaction=False)
        for name in some:
            pipeline.execute_command("EXISTS", name)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # each caller gets the error, of any kind
            some, self._waiting = {**some, **self._waiting}, {}
            replies = [error] * len(some)
        for future, reply in zip(some.values(), replies, strict=True):
            _answer(future, reply)


def _answer(future: "asyncio.Future[bool]", reply: object) -> None:
    if isinstance(reply, Exception):
        future.set_exception(reply)
        future.exception()  # a caller that was cancelled does not retrieve the exception
    else:
        future.set_result(bool(reply))
