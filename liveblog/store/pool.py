"""The pool of connections to one server, which closes idle connections after a fault.

Rules: knows no keys and no blogs. The limits of every connection to the store are here.
"""

from collections.abc import Iterable
from typing import Any, Final

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

SOCKET_TIMEOUT_S: Final = 2.0  # the limit for one attempt; a call makes at most two
CONNECTIONS_MAX: Final = 100  # to one server


def limits() -> dict[str, Any]:
    """Return redis-py's options for a pool.

    A call is retried once, since an idle connection of the pool may be dead. A retry is safe, since
    every write is idempotent. When CONNECTIONS_MAX connections are in use, a call waits for one, at
    most SOCKET_TIMEOUT_S.
    """
    return {
        "protocol": 2,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "max_connections": CONNECTIONS_MAX,
        "timeout": SOCKET_TIMEOUT_S,
        "retry": Retry(ConstantBackoff(0.05), 1),
    }


def client_of(url: str) -> Redis:
    """Return a client for the server at a URL in redis-py's spelling. Opens no connection."""
    return Redis.from_pool(Pool.from_url(url, **limits()))


class _Watchful(AbstractConnection):
    """Raises ConnectionError whenever the connection is lost, and notes errors in `broke`.

    redis-py does not expect the RuntimeError that uvloop raises for a write to a closed transport
    (uvloop/handles/handle.pyx, `_ensure_alive`).
    """

    broke = False  # an error closed this connection, even if a retry then succeeded

    async def send_packed_command(self, *args: Any, **more: Any) -> None:
        try:
            await super().send_packed_command(*args, **more)
        except RuntimeError as error:
            await self.disconnect(nowait=True)
            raise exceptions.ConnectionError(f"closed while it was written to: {error}") from error

    async def disconnect(
        self,
        nowait: bool = False,
        error: Exception | None = None,
        failure_count: int | None = None,
        health_check_failed: bool = False,
    ) -> None:
        """Close the connection; after an error, without the closing handshake.

        With TLS the closing handshake waits for the server, up to SOCKET_TIMEOUT_S. redis-py would
        then raise the handshake's timeout in place of the first error.
        """
        self.broke |= error is not None
        await super().disconnect(
            nowait or error is not None, error, failure_count, health_check_failed
        )


class Pool(BlockingConnectionPool):
    """A pool that closes all idle connections when one connection breaks.

    A network that silently drops one connection usually drops all. A call on a dead connection
    waits for two timeouts. With idle connections left open, readers waited 10 s for changes after
    such a fault, and 5 s of that were these timeouts.
    """

    def __init__(self, connection_class: type = Connection, **more: Any) -> None:
        kind = type(connection_class.__name__, (_Watchful, connection_class), {})
        super().__init__(connection_class=kind, **more)

    async def release(self, connection: Any) -> None:
        """Put a connection back into the pool. If this connection broke, close all idle ones."""
        is_broken = connection.broke or not connection.is_connected
        connection.broke = False
        await super().release(connection)
        if is_broken:
            await _close(it for it in self._available_connections if it is not connection)

    async def close_all(self) -> None:
        """Close all connections without a closing handshake, those in use too."""
        await _close([*self._available_connections, *self._in_use_connections])


async def _close(connections: Iterable[AbstractConnection]) -> None:
    """Close connections without waiting for their servers, which may be unreachable."""
    for connection in list(connections):
        await connection.disconnect(nowait=True)
