"""The primary that sentinels name, also after a failover.

Rules: knows no blogs. Each new connection, and each query to all servers, reads the primary's
address again.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from liveblog.store.nodes import One, Query
from liveblog.store.pool import Pool
from liveblog.store.url import Several

SENTINEL_WITHIN_S: Final = 1.0  # then the next sentinel is asked

T = TypeVar("T")


class Watched(One):
    """The primary that sentinels name: its connections follow a failover."""

    def __init__(self, redis: Redis, sentinels: Sentinel) -> None:
        super().__init__(redis)
        self._sentinels = sentinels

    @property
    def map(self) -> object:
        return self._node.pool.master_address

    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        # Workers query all servers every second or two. After a failover, an old primary that still
        # runs accepts writes for 10 s, until the sentinels demote it. Those writes are lost.
        with contextlib.suppress(RedisError):
            await self.look_again()
        return await super().each(names, ask)

    async def look_again(self) -> None:
        """Ask the sentinels; the pool closes idle connections to any other server."""
        await self._node.pool.get_master_address()

    async def aclose(self) -> None:
        await super().aclose()
        await self._sentinels.aclose()


class _Sentinels(Sentinel):
    """The sentinels, asked one after the other; the last that answered is asked first.

    redis-py (8.1) has a fault here: when two calls at once find the first sentinel unreachable, the
    second call drops a sentinel from the list and never restores it.
    """

    def __init__(self, hosts: Iterable[tuple[str, int]], **options: Any) -> None:
        Sentinel.__init__(self, hosts, sentinel_kwargs=options)  # untyped, which `super` hides

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address. Raises MasterNotFoundError."""
        reasons: list[str] = []
        for sentinel in list(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except RedisError as error:
                reasons.append(str(error))
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return state["ip"], state["port"]
            reasons.append("it knows no primary that is up")
        raise MasterNotFoundError(
            f"no sentinel names a primary of {service_name}: {'; '.join(reasons)}"
        )


class _PrimaryPool(SentinelConnectionPool, Pool):
    """Connections to the primary that the sentinels name when each connection is made.

    A connection whose server replies READONLY is closed, and the call fails as with a lost
    connection.
    """

    async def ensure_connection(self, connection: Any) -> None:
        """Reconnect a connection that leads to another server: the primary changed during its use.

        Raises as redis-py's method does.
        """
        if (connection.host, connection.port) != self.master_address:
            await connection.disconnect()
        await super().ensure_connection(connection)


def watched(named: Several, options: dict[str, Any]) -> Watched:
    """Return the primary of the sentinels' service.

    `options` are redis-py's, for the primary. The sentinels have logins of their own, if any:
    `sentinel_username` and `sentinel_password`.
    """
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinels = _Sentinels(
        named.hosts,
        socket_timeout=SENTINEL_WITHIN_S,
        socket_connect_timeout=SENTINEL_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
        ssl=named.is_secure,
        **own,
        **tls,
    )
    primary = sentinels.master_for(
        named.service, connection_pool_class=_PrimaryPool, ssl=named.is_secure, **options
    )
    return Watched(primary, sentinels)
