"""Erases taken-down text from the append-only files of the store's servers.

A takedown removes the text from all keys. The append-only file of a server still contains the text
until the server rewrites the file. So every takedown stores a request for a rewrite.

Rules: this module removes a request only after a rewrite that it started has succeeded, or when no
rewrite is possible.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from redis.exceptions import ResponseError

from liveblog.blog.model import new_id
from liveblog.store.client import Client
from liveblog.store.nodes import EACH_WITHIN_S, Node, Nodes
from liveblog.store.queries import queries_store
from liveblog.store.remaking import delete_others, or_remade

log = logging.getLogger(__name__)

# Two hashes, each with a field for each node's name. REWRITES has the node's open request.
# REWRITING has the request for which the node's last rewrite was started, and the server's run id
# at that time. Each hash is one key and lists all nodes. A key for each node would move to another
# node when a slot moves.
REWRITES: Final = "lb:rewrites"
REWRITING: Final = "lb:rewriting"
REPEAT_S: Final = 60.0
_FORGET: Final = """
local wanted = redis.call('HGET', KEYS[1], ARGV[1])
return wanted == ARGV[2] and redis.call('HDEL', KEYS[1], ARGV[1])
"""


@dataclass
class Eraser:
    """Requests and starts rewrites of append-only files. Each method raises StoreDown."""

    nodes: Nodes
    monotonic: Callable[[], float] = time.monotonic
    _log_at: dict[str, float] = field(default_factory=dict, init=False)

    async def request(self, slug: str, *, again: bool) -> None:
        """Request a rewrite on the server that has the blog; `rewrite_if_requested` starts it.

        With `again`, the call repeats a takedown, and an open request is not replaced. So a rewrite
        that was started for the open request still counts.
        """
        await or_remade(lambda: self._request(slug, again), self._remake)

    @queries_store
    async def _request(self, slug: str, again: bool) -> None:
        name, redis = self.nodes.node(slug).name, self.nodes.at(REWRITES)
        await (redis.hsetnx if again else redis.hset)(REWRITES, name, new_id("", 12))

    async def rewrite_if_requested(self) -> bool:
        """Start or check each requested rewrite; call this periodically.

        Return whether there was a request. A request is removed when its rewrite has succeeded, and
        the server did not restart meanwhile. A request is also removed when the server has no
        append-only file or forbids a rewrite. An unreachable server does not delay the others.
        """
        requested = await or_remade(self._requested, self._remake)
        steps = await asyncio.gather(
            *(or_remade(partial(self._step, *each), self._remake) for each in requested),
            return_exceptions=True,
        )
        for step in steps:
            if isinstance(step, BaseException):
                raise step
        return bool(steps)

    async def _remake(self) -> list[str]:
        """Delete hashes of a wrong type; request a rewrite on each server in place of lost ones."""
        deleted = await delete_others(self.nodes, {REWRITES: "hash"})
        if deleted:
            await self._request_everywhere()
        return deleted + await delete_others(self.nodes, {REWRITING: "hash"})

    @queries_store
    async def _request_everywhere(self) -> None:
        for node in self.nodes.everyone():
            await self.nodes.at(REWRITES).hset(REWRITES, node.name, new_id("", 12))

    @queries_store
    async def _requested(self) -> list[tuple[Node, bytes]]:
        """Return the servers with an open request for a rewrite, each with the request."""
        # Scheduled publications wait for this query, so the query has a time limit.
        async with asyncio.timeout(EACH_WITHIN_S):
            requests = await self.nodes.at(REWRITES).hgetall(REWRITES)
        everyone = self.nodes.everyone()
        return [(it, request) for it in everyone if (request := requests.get(it.name.encode()))]

    @queries_store
    async def _step(self, node: Node, request: bytes) -> None:
        info = await _persistence(node.redis)
        if info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"):
            return
        started = b"%b %b" % (request, str(info.get("run_id", "")).encode())
        was_started = await self.nodes.at(REWRITING).hget(REWRITING, node.name) == started
        has_ended = was_started and info.get("aof_last_bgrewrite_status") == "ok"
        if was_started and not has_ended and info:
            self._log_failure(node.name)
        if not has_ended and info.get("aof_enabled") != 0 and await _start_rewrite(node):
            await self.nodes.at(REWRITING).hset(REWRITING, node.name, started)
            # Without INFO no later call can see the result. So the started rewrite counts as done.
            if info:
                return
        await self.nodes.at(REWRITES).eval(_FORGET, 1, REWRITES, node.name, request)

    def _log_failure(self, name: str) -> None:
        """Log a failed rewrite, which is repeated each second; log it once in REPEAT_S."""
        if self.monotonic() >= self._log_at.get(name, 0.0):
            self._log_at[name] = self.monotonic() + REPEAT_S
            log.error(
                "rewrite of the store's file%s: failed, it still has erased text, retrying; "
                "the store's log has the reason, often a full disk",
                name and f" at {name}",
            )


async def _persistence(redis: Client) -> Mapping[str, object]:
    """Return INFO on a server's append-only file and its run id; {} when INFO is forbidden."""
    try:
        info: dict[str, object] = await redis.info("persistence") | await redis.info("server")
        return info
    except ResponseError as error:
        log.warning("rewrite of the store's file: end unknown, INFO is forbidden: %s", error)
        return {}


async def _start_rewrite(node: Node) -> bool:
    """Start a rewrite of a server's file, and return True.

    Return False when the server forbids it.
    """
    try:
        await node.redis.execute_command("BGREWRITEAOF")
    except ResponseError as error:
        if "in progress" in str(error):
            return True
        log.error("rewrite of the store's file: failed, it still has erased text: %s", error)
        return False
    return True
