"""The condition of the store: whether it accepts writes and subscriptions, and keeps its promise.

A script checks the condition. The script writes nothing, so nothing stays in the keys, in the
append-only file or on replicas. The server still treats the script as a write, since the script
lacks the flag `no-writes`, and refuses it for every reason for which it refuses writes.

Rules: live/watch.py calls `check` periodically, and logs the results.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import ReadOnlyError, ResponseError

from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.store import promise, scripts
from liveblog.store.client import Client, Pipeline
from liveblog.store.nodes import Nodes
from liveblog.store.queries import store_errors
from liveblog.store.refusals import refusal_of

# Time before a server that forbids CONFIG is asked again. The server logs each forbidden command.
CONFIG_AGAIN_S: Final = 60.0
_SETTINGS: Final = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy")

# Every command with which the server writes, each on a key of the kind that it writes. Its fourth
# and later words only make the command complete.
_WRITES: Final = (
    *("HSET lb:{0}:blog x x", "HSET lb:{0}:entries x x", "HDEL lb:{0}:drafts x"),
    *("ZADD lb:{0}:changed 1 x", "ZADD lb:{0}:order 1 x", "ZADD lb:{0}:due 1 x"),
    *("ZREM lb:{0}:marked x", "LPUSH lb:{0}:rev:x x", "LTRIM lb:{0}:rev:x 0 1"),
    *("LPOP lb:{0}:rev:x", "DEL lb:{0}:rev:x", "SET lb:{0}:idem:x x EX 1"),
    *("EXPIRE lb:{0}:idem:x 1", "APPEND lb:{0}:chain x", "PERSIST lb:{0}:rev:x"),
    *("SET lb:{0}:bin:x x PX 1", "PEXPIRE lb:{0}:bin 1", "ZREM lb:{0}:bin x"),
    *("ZADD lb:due:{0} LT 1 x", "ZREM lb:due:{0} x", "HSET lb:due:{0}:added x 1"),
    *("HDEL lb:due:{0}:added x", "ZADD lb:blogs GT 1 x", "ZADD lb:live:{0} GT 1 x"),
    *("ZREM lb:blogs x", "ZREM lb:live:{0} x", "SET lb:sweep:x x NX EX 1", "EXPIRE lb:sweep:x 1"),
    *("HSET lb:rewrites x x", "HSETNX lb:rewrites x x", "HDEL lb:rewrites x"),
    *("HSET lb:rewriting x x", "INCR lb:rate:x", "DECR lb:rate:x", "PEXPIRE lb:rate:x 1"),
    *("SET lb:session:x x EX 1", "GETEX lb:session:x EX 1", "DEL lb:session:x"),
)
_PUBSUB: Final = ("PUBLISH lb:{0}:changes x", "SUBSCRIBE lb:{0}:changes")
_CHECK: Final = scripts.writing("check")


class Condition:
    """Checks whether the store accepts writes, and keeps why it refused at the last check.

    With `needs_disk`, settings with which a server replies to a write before the write is on disk
    count as a refusal: `LIVEBLOG_DURABILITY=disk` promises more. `now` returns monotonic seconds.
    """

    def __init__(
        self, nodes: Nodes, *, needs_disk: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._nodes, self._needs_disk, self._now = nodes, needs_disk, now
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
        pipeline.eval(_CHECK, 0, *commands(is_cluster=self._nodes.is_cluster))
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


def commands(*, is_cluster: bool) -> list[str]:
    """Return every command with which the server writes, subscribes and publishes."""
    sharded = "S" if is_cluster else ""
    return [*_WRITES, *(f"{sharded}{command}" for command in _PUBSUB)]
