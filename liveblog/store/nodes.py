"""The servers behind one URL, and which of them has a key.

One server, a sentinels' primary and a cluster share this interface. `Nodes.ask` repeats a call that
failed because the map of the servers had changed.

Rules: knows no blogs. Since `ask` repeats calls, every write must tolerate a repetition: the write
is idempotent, or at worst counts one try too many. Raises RedisError and OSError unchanged.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError

from liveblog.store.client import Client

EACH_WITHIN_S: Final = 2.0  # for one server's reply, where several are queried at once

T = TypeVar("T")
Query = Callable[[Client, Sequence[str]], Awaitable[Sequence[T | Exception]]]

# The errors of a wrong map, and of a server that is no longer the primary. ASK and TRYAGAIN are not
# here: while a slot's keys move one by one, only waiting helps.
_WRONG_MAP: Final = (
    MovedError,
    ClusterDownError,
    ReadOnlyError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
)


class Node:
    """One server that accepts writes, its client and the pool of the client's connections.

    `name` is the server's address, "" where there is only one server. `prefix` starts the names of
    the server's own channels. In a cluster it has a hash tag, which changes when slots move.
    """

    def __init__(self, redis: Redis, name: str = "") -> None:
        self.redis = cast(Client, redis)
        self.pool: Any = redis.connection_pool  # redis-py's types omit half of its methods
        self.name = name
        self.prefix = "lb:"


class Nodes(ABC):
    """The servers that keep the blogs. A `name` is a key, or the text inside a key's braces."""

    is_cluster = False

    @abstractmethod
    def node(self, name: str) -> Node:
        """Return the server that has a name. Raises ClusterDownError when none is known."""

    @abstractmethod
    def everyone(self) -> Sequence[Node]:
        """Return all servers that accept writes. Raises ClusterDownError when none is known."""

    @property
    @abstractmethod
    def map(self) -> object:
        """The known map of the servers. Compares unequal to an earlier map after each change."""

    @abstractmethod
    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        """Query all servers at once, each about its own names; a server without names too.

        `ask(client, names)` returns replies in the order of its names, and an exception in place of
        each missing reply. Return the replies by name, and the text of all errors, "" without
        errors. In a cluster each server has EACH_WITHIN_S. Raises one server's error when no server
        replies.
        """

    @abstractmethod
    async def look_again(self) -> None:
        """Read the map again. Raises RedisError when no server knows the map."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""

    def at(self, name: str) -> Client:
        """Return the client of the server that has a name. Raises as `node` does."""
        return self.node(name).redis

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call, and repeat the call once if the map has changed since its start.

        Raises the call's own exception, or RedisError when the map cannot be read.
        """
        before = self.map
        try:
            return await call()
        except _WRONG_MAP:
            await self.look_again()
            if self.map == before:
                raise
        return await call()

    async def __aenter__(self) -> "Nodes":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


Reply = tuple[Sequence[str], Sequence[T | Exception] | Exception]


def by_name(replies: Iterable[Reply[T]]) -> tuple[dict[str, T], str]:
    """Return the replies by name, and the text of all exceptions among the replies.

    Each item of `replies` has the names of one query, and one server's reply or exception.
    """
    found: dict[str, T] = {}
    errors: list[Exception] = []
    for names, reply in replies:
        if isinstance(reply, Exception):
            errors.append(reply)
            continue
        for name, value in zip(names, reply, strict=True):
            if isinstance(value, Exception):
                errors.append(value)
            else:
                found[name] = value
    return found, "; ".join(dict.fromkeys(f"{type(e).__name__}: {e}" for e in errors))


class One(Nodes):
    """One server: the same client for every name."""

    def __init__(self, redis: Redis) -> None:
        self._redis, self._node = redis, Node(redis)

    @property
    def map(self) -> object:
        return None

    def node(self, name: str) -> Node:  # noqa: ARG002 - one server has every name
        return self._node

    def everyone(self) -> Sequence[Node]:
        return (self._node,)

    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        return by_name([(names, await ask(self._node.redis, names))])

    async def look_again(self) -> None:
        """Do nothing: the server's address is in the URL."""

    async def aclose(self) -> None:
        await self._redis.aclose()
