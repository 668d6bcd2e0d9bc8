"""The primaries of a cluster: the map from slots to primaries, and a plain client for each primary.

redis-py's own client for clusters is not used. Its pipelines forbid EVAL and WAIT on one
connection, and its pub/sub was still being fixed in 8.1. A plain client for each node has neither
problem.

Rules: knows no blogs. Only `look_again` changes the map from slots to primaries.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from redis.asyncio import Connection, Redis, SSLConnection
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ClusterDownError, RedisError

from liveblog.store.client import Client
from liveblog.store.nodes import EACH_WITHIN_S, Node, Nodes, Query, Reply, answered, by_name
from liveblog.store.pool import Pool
from liveblog.tasks import stop

LOOK_EVERY_S: Final = 0.25  # least time between two reads of the map from slots to primaries
LOOK_WITHIN_S: Final = 1.0  # limit for all nodes to reply with their maps of slots

Address = tuple[str, int]
T = TypeVar("T")


class _View(NamedTuple):
    """The cluster as one node sees it.

    `epoch` is the cluster's counter of configurations, not a blog's epoch: a view with a higher
    epoch is newer. `is_ok` is False for a node that is cut off from the majority of the nodes.
    """

    is_ok: bool
    epoch: int
    slots: list[tuple[int, int, Address]]  # first slot, last slot, primary of these slots


class Cluster(Nodes):
    """Finds the primary for a key in a cluster, and queries all primaries.

    The map from slots to primaries is read from `seeds`, the nodes in the URL, and from the
    primaries of the last map.
    """

    is_cluster = True

    def __init__(self, seeds: Iterable[Address], is_secure: bool, options: dict[str, Any]) -> None:
        self._connections = SSLConnection if is_secure else Connection
        self._options = options
        self._seeds = {address: Node(self._client(address)) for address in seeds}
        self._nodes: dict[Address, Node] = {}
        # The map: slot -> its primary. A new map replaces the whole list.
        self._owners: list[Node | None] = []
        self._looking = asyncio.Lock()
        self._looked_at = -LOOK_EVERY_S

    def _client(self, address: Address) -> Redis:
        host, port = address
        pool = Pool(connection_class=self._connections, host=host, port=port, **self._options)
        return Redis.from_pool(pool)

    @property
    def map(self) -> object:
        return self._owners

    def node(self, name: str) -> Node:
        node = self._owners[key_slot(name.encode())] if self._owners else None
        if not node:
            raise ClusterDownError(f"no node of the cluster is known to have {name}")
        return node

    def everyone(self) -> Sequence[Node]:
        if not self._nodes:
            raise ClusterDownError("the nodes of the cluster are not known")
        return [*self._nodes.values()]

    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        before = self._owners
        replies = await self._at_once(names, ask)
        if by_name(replies)[1]:
            with contextlib.suppress(RedisError):
                await self.look_again()
            if self._owners is not before:
                replies = await self._at_once(names, ask)
        failed = [reply for _, reply in replies if isinstance(reply, Exception)]
        if len(failed) == len(replies):
            raise failed[0]
        return by_name(replies)

    async def _at_once(self, names: Sequence[str], ask: Query[T]) -> list[Reply[T]]:
        """Query all nodes at once, each about those of `names` that the node stores.

        Return each node's part of `names`, with the node's reply or exception.
        """
        groups: dict[Node | None, list[str]] = {node: [] for node in self.everyone()}
        for name in names:
            groups.setdefault(self._owners[key_slot(name.encode())], []).append(name)
        replies = await asyncio.gather(*(_within(node, some, ask) for node, some in groups.items()))
        return list(zip(groups.values(), replies, strict=True))

    async def look_again(self) -> None:
        """Read the newest map from slots to primaries that any node has.

        Concurrent callers share one read. Two reads are at least LOOK_EVERY_S apart: an earlier
        caller waits.
        """
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        async with self._looking:
            if self._looked_at >= asked_at:
                return
            await asyncio.sleep(self._looked_at + LOOK_EVERY_S - clock())
            self._looked_at = clock()
            await self._adopt(await self._newest())

    async def aclose(self) -> None:
        for node in [*self._seeds.values(), *self._nodes.values()]:
            await node.pool.close_all()

    async def _newest(self) -> _View:
        known = self._seeds | self._nodes
        asking = [asyncio.create_task(_view(at, node.redis)) for at, node in known.items()]
        try:
            await asyncio.wait(asking, timeout=LOOK_WITHIN_S)
        finally:
            await stop(asking)
        answers = [task.result() for task in asking if not task.cancelled()]
        views = [answer for answer in answers if isinstance(answer, _View)]
        if not views:
            reasons = "; ".join(dict.fromkeys(map(str, answers)))
            raise ClusterDownError(f"no node returned the map of the cluster: {reasons}")
        return max(views, key=lambda view: (view.is_ok, view.epoch))

    async def _adopt(self, view: _View) -> None:
        """Replace the map of slots by a node's view.

        Close the clients of servers that are primaries no longer.
        """
        addresses = {address for _, _, address in view.slots}
        gone = [self._nodes.pop(address) for address in self._nodes.keys() - addresses]
        for address in addresses - self._nodes.keys():
            self._nodes[address] = Node(self._client(address), "{}:{}".format(*address))
        owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in view.slots:
            owners[first : last + 1] = [self._nodes[address]] * (last + 1 - first)
        if owners != self._owners:
            self._owners = owners
            self._set_prefixes()
        for node in gone:
            await node.pool.close_all()

    def _set_prefixes(self) -> None:
        """Set each node's `prefix`, which begins the names of probe channels.

        A probe tests a connection to one node, so its channel must be on that node (follow.py).
        The prefix has a number as its hash tag, so that the node has the number's slot. All workers
        try the numbers in order: with the same map of slots they choose the same prefixes.
        """
        nameless = set(self._nodes.values())
        for number in itertools.count():
            owner = self._owners[key_slot(b"%d" % number)]
            if owner in nameless:
                nameless.remove(owner)
                owner.prefix = f"lb:{{{number}}}:"
            if not nameless:
                return


async def _within(
    node: Node | None, names: Sequence[str], ask: Query[T]
) -> Sequence[T | Exception] | Exception:
    """Return what a node replies within EACH_WITHIN_S, or the exception in place of a reply."""
    if not node:
        return ClusterDownError("slots that no node is known to have")
    try:
        async with asyncio.timeout(EACH_WITHIN_S):
            return answered(await ask(node.redis, names))
    except TimeoutError:
        return TimeoutError(f"a node did not answer in {EACH_WITHIN_S:g} s")
    except (RedisError, OSError) as error:
        return error


async def _view(address: Address, redis: Client) -> _View | Exception:
    """Return the cluster as a node sees it, or the exception in place of a reply."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.execute_command("CLUSTER SLOTS")
    pipeline.execute_command("CLUSTER INFO")
    try:
        slots, info = await pipeline.execute(raise_on_error=False)
    except (RedisError, OSError) as error:
        return error
    if isinstance(slots, Exception):
        return slots
    # `info` is an error when the ACL of the store's user forbids CLUSTER INFO. Without it, the view
    # counts as ok, with epoch 0.
    state = info if isinstance(info, dict) else {}
    rows = [(first, last, _address(primary, address)) for first, last, primary, *_ in slots]
    return _View(
        state.get("cluster_state", "ok") == "ok", int(state.get("cluster_current_epoch", 0)), rows
    )


def _address(primary: Sequence[Any], asked: Address) -> Address:
    """Return a primary's address from a row of the reply to CLUSTER SLOTS.

    A row without a host means that the primary is on the host of the node that replied.
    """
    host, port = primary[:2]
    return (host.decode() if host not in (None, b"", b"?") else asked[0]), int(port)
