"""The primary that sentinels name, and its successor after a failover.

Rules: knows no blogs. Each new connection, and each query to all servers, asks the sentinels for
the primary's address.
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

SENTINEL_WITHIN_S: Final = 1.0  # the limit for one sentinel; afterwards the next one is asked

T = TypeVar("T")


class Watched(One):
    """Connects to the primary that sentinels name; after a failover, to the new primary."""

    def __init__(self, redis: Redis, sentinels: Sentinel) -> None:
        super().__init__(redis)
        self._sentinels = sentinels

    @property
    def map(self) -> object:
        return self._node.pool.master_address

    async def each(self, names: Sequence[str], ask: Query[T]) -> tuple[dict[str, T], str]:
        # After a failover, an old primary that still runs accepts writes for 10 s, until the
        # sentinels demote it. Those writes are lost. Workers call `each` every second or two, so
        # the sentinels are asked here too: workers then find the new primary earlier.
        with contextlib.suppress(RedisError):
            await self.look_again()
        return await super().each(names, ask)

    async def look_again(self) -> None:
        """Ask the sentinels for the primary.

        After a change the pool closes its idle connections.
        """
        await self._node.pool.get_master_address()

    async def aclose(self) -> None:
        await super().aclose()
        await self._sentinels.aclose()


class _Sentinels(Sentinel):
    """Asks the sentinels one after the other, first the one that answered last.

    This class replaces a method of redis-py (8.1) that has a fault. When two concurrent calls find
    the first sentinel unreachable, the second call loses a sentinel from the list.
    """

    def __init__(self, hosts: Iterable[tuple[str, int]], **options: Any) -> None:
        # mypy would reject this untyped call through `super`.
        Sentinel.__init__(self, hosts, sentinel_kwargs=options)

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address. Raises MasterNotFoundError when no sentinel names one."""
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
    """A pool whose new connections lead to the primary that the sentinels name at that time.

    READONLY in a reply means that the server is no longer the primary. redis-py then closes the
    connection and raises ConnectionError.
    """

    async def ensure_connection(self, connection: Any) -> None:
        """Reconnect a connection that was in use during a failover and leads to the old primary.

        Raises as redis-py's method does.
        """
        if (connection.host, connection.port) != self.master_address:
            await connection.disconnect()
        await super().ensure_connection(connection)


def watched(named: Several, options: dict[str, Any]) -> Watched:
    """Return the primary that the sentinels of a URL name.

    `options` are redis-py's, for connections to the primary. Their `sentinel_username` and
    `sentinel_password` are for connections to the sentinels.
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
