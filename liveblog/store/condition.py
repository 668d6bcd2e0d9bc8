"""The condition of the store: whether it accepts writes and subscriptions, and keeps its promise.

A script checks the condition. The script writes nothing, so nothing stays in the keys, in the
append-only file or on replicas. The server still treats the script as a write, since the script
lacks the flag `no-writes`, and refuses it for every reason for which it refuses writes. The script
also asks whether the store's user may run each command of the program, the reading ones too: a
write reads before it writes.

Rules: live/watch.py calls `check` periodically, and logs the results.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import ReadOnlyError, ResponseError

from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.store import promise, scripts
from liveblog.store.client import Client, Pipeline
from liveblog.store.commands import commands
from liveblog.store.nodes import Nodes
from liveblog.store.queries import store_errors
from liveblog.store.refusals import refusal_of

# Time before a server that forbids CONFIG is asked again. The server logs each forbidden command.
CONFIG_AGAIN_S: Final = 60.0
_SETTINGS: Final = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy")

_CHECK: Final = scripts.writing("check")


class Condition:
    """Checks whether the store accepts writes, and keeps why it refused at the last check.

    With `needs_disk`, settings with which a server replies to a write before the write is on disk
    count as a refusal: `LIVEBLOG_DURABILITY=disk` promises more. With `needs_replica`, the store's
    user needs the permission to wait for replicas. `now` returns monotonic seconds.
    """

    def __init__(
        self,
        nodes: Nodes,
        *,
        needs_disk: bool = False,
        needs_replica: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._needs_disk, self._now = nodes, needs_disk, now
        self._commands = "\n".join(commands(is_cluster=nodes.is_cluster, waits=needs_replica))
        self.refusal: StoreRefuses | None = None
        self._config_again_at: dict[Client, float] = {}

    @property
    def refuses_writes(self) -> bool:
        """Whether the last check showed that writes fail; not when only subscriptions do."""
        return self.refusal is not None and self.refusal.cause != "subscriptions"

    def check_durable(self) -> None:
        """Raise StoreRefuses when the last check showed that confirmed writes can be lost."""
        if self.refusal and self.refusal.cause == "durability":
            raise StoreRefuses("durability", str(self.refusal))

    async def check(self) -> str:
        """Return a warning about the store's settings, "" for none, when it accepts writes.

        Raises StoreRefuses when a server refuses writes or subscriptions, and StoreDown when a
        server does not answer. A refusal stays noted until a check without it.
        """
        try:
            async with store_errors():
                warning = await self._nodes.ask(self._check_all)
        except StoreRefuses as refusal:
            self.refusal = refusal
            raise
        self.refusal = None
        return warning

    async def _check_all(self) -> str:
        """Check all servers at once, and return a warning. Raises the error of one of them."""
        replies: dict[Client, str | Exception] = {}

        async def check(redis: Client, _: Sequence[str]) -> list[Exception]:
            replies[redis] = await self._check(redis)
            return []

        _, unreachable = await self._nodes.each([], check)
        if unreachable:
            raise StoreDown(unreachable)
        refused = [it for it in replies.values() if isinstance(it, Exception)]
        if refused:
            # A former primary is read-only: `Nodes.ask` looks for the new one after this error.
            raise min(refused, key=lambda it: not isinstance(it, ReadOnlyError))
        return next((it for it in replies.values() if isinstance(it, str) and it), "")

    async def _check(self, redis: Client) -> str | Exception:
        """Return the warning about one server; in its place the error by which it refuses writes.

        Raises RedisError and OSError when the server does not answer.
        """
        pipeline = redis.pipeline(transaction=False)
        pipeline.eval(_CHECK, 0, self._commands)
        self._ask_settings(redis, pipeline)
        reply, settings = await pipeline.execute(raise_on_error=False)
        if isinstance(settings, ResponseError):
            self._config_again_at[redis] = self._now() + CONFIG_AGAIN_S
        if isinstance(reply, ResponseError):
            is_moved = isinstance(reply, ReadOnlyError)
            return reply if is_moved else refusal_of(reply) or StoreDown(str(reply))
        try:
            scripts.check_permitted(reply)
            return self._judged(settings if isinstance(settings, dict) else {})
        except StoreRefuses as refusal:
            return refusal

    def _ask_settings(self, redis: Client, pipeline: Pipeline) -> None:
        """Ask a server for its settings; by INFO, which has fewer, when it forbids CONFIG."""
        if self._now() >= self._config_again_at.get(redis, 0.0):
            pipeline.config_get(*_SETTINGS)
        else:
            pipeline.execute_command("INFO", "memory", "persistence")

    def _judged(self, found: Mapping[str, Any]) -> str:
        """Return the warning about settings. Raises StoreRefuses when they break the promise."""
        settings = {"appendonly": "no"} if found.get("aof_enabled") == 0 else found
        if self._needs_disk and (why := promise.loses(settings)):
            raise StoreRefuses("durability", why)
        return promise.evicts(found.get("maxmemory-policy", found.get("maxmemory_policy")))
