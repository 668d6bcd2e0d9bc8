"""The servers behind one URL, and the map that shows which server has a key.

This interface is the same for one server, for the primary that sentinels name, and for a cluster.
`Nodes.ask` repeats a call that failed because keys have moved to other servers.

Rules: knows no blogs. Since `ask` repeats calls, every write must be idempotent. The only
exception is a rate limit, which may count one try twice. Raises RedisError and OSError unchanged.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.exceptions import (
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)

from liveblog.store.client import Client
from liveblog.store.pool import noted

EACH_WITHIN_S: Final = 2.0  # the limit for one server's reply, in a query of all servers

T = TypeVar("T")
Query = Callable[[Client, Sequence[str]], Awaitable[Sequence[T | Exception]]]

# Errors after which `ask` reads again which server has a key: the known server may be wrong, or no
# longer a primary. ASK and TRYAGAIN are left out: a server replies with them while a slot's keys
# move to another node, and the map stays the same until all keys have moved.
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

    `name` is the server's address, or "" outside of a cluster. `prefix` begins the name of a probe
    channel, which must be on this server: a probe tests a connection to it (follow.py). In a
    cluster the prefix has a hash tag, which may change when slots move.
    """

    def __init__(self, redis: Redis, name: str = "") -> None:
        self.redis = cast(Client, redis)
        self.pool: Any = redis.connection_pool  # redis-py has types for only half of the methods
        self.name = name
        self.prefix = "lb:"


class Nodes(ABC):
    """Finds the server of the store that has a key, and queries all servers.

    Methods find a server by a `name`: a key, or only the hash tag of a key, such as a blog's slug.
    """

    is_cluster = False

    @abstractmethod
    def node(self, name: str) -> Node:
        """Return the server that has the key `name`, or the keys with this hash tag.

        Raises ClusterDownError when no such server is known.
        """

    @abstractmethod
    def everyone(self) -> Sequence[Node]:
        """Return all servers that accept writes. Raises ClusterDownError when none is known."""

    @property
    @abstractmethod
    def map(self) -> object:
        """The map that shows which server has a key. A changed map is unequal to the one before."""

    @abstractmethod
    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        """Query all servers at once, each about those of `names` that the server has.

        A server that has none of the names is queried too, with an empty list.

        `ask(client, names)` returns replies in the order of its names, and an exception in place of
        each missing reply. Return the replies by name, and the text of all errors ("" when there
        are none). In a cluster each server must reply within EACH_WITHIN_S. Raises one server's
        error when no server replies. A server that forbids the query does not reply to it.
        """

    @abstractmethod
    async def look_again(self) -> None:
        """Read again which server has which keys. Raises RedisError when no server knows this."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""

    def at(self, name: str) -> Client:
        """Return the client of the server that `node` returns. Raises as `node` does."""
        return self.node(name).redis

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call. After an error in _WRONG_MAP, read again which server has which keys.

        When keys have moved, repeat the call once. Raises the call's own exception, or the one of
        `look_again`. An error reply to the repeated call is noted as REPEATED (pool.py), unless
        a server refused the first call.
        """
        before = self.map
        try:
            return await call()
        except _WRONG_MAP as error:
            is_refused = isinstance(error, ResponseError)
            await self.look_again()
            if self.map == before:
                raise
        try:
            return await call()
        except ResponseError as error:
            raise noted(error, is_repeated=not is_refused) from None

    async def __aenter__(self) -> "Nodes":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def answered(replies: Sequence[T | Exception]) -> Sequence[T | Exception]:
    """Return one server's replies. Raises NoPermissionError when all of them are that error.

    Such a server forbids the query itself. A list without its blogs would look complete.
    """
    errors = [reply for reply in replies if isinstance(reply, NoPermissionError)]
    if errors and len(errors) == len(replies):
        raise errors[0]
    return replies


Reply = tuple[Sequence[str], Sequence[T | Exception] | Exception]


def by_name(replies: Iterable[Reply[T]]) -> tuple[dict[str, T], str]:
    """Return the replies by name, and the text of all exceptions among the replies.

    Each item of `replies` has the names that one server was asked about, and the server's reply or
    exception. The text leaves out what a server forbids: the server answers, and live/watch.py logs
    its refusal.
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
    unanswered = [it for it in errors if not isinstance(it, NoPermissionError)]
    return found, "; ".join(dict.fromkeys(f"{type(e).__name__}: {e}" for e in unanswered))


class One(Nodes):
    """A store of one server, which has every key."""

    def __init__(self, redis: Redis) -> None:
        self._redis, self._node = redis, Node(redis)

    @property
    def map(self) -> object:
        return None

    def node(self, name: str) -> Node:  # noqa: ARG002 - one server has every key
        return self._node

    def everyone(self) -> Sequence[Node]:
        return (self._node,)

    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        return by_name([(names, answered(await ask(self._node.redis, names)))])

    async def look_again(self) -> None:
        """Do nothing: the server's address never changes."""

    async def aclose(self) -> None:
        await self._redis.aclose()
