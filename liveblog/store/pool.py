"""The connections to one server, and what the program does when one of them breaks.

Rules: knows no keys and no blogs. Every limit of a connection to the store is named here.
"""

from collections.abc import Iterable
from typing import Any, Final

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

SOCKET_TIMEOUT_S: Final = 2.0  # for one try; a call has two
CONNECTIONS_MAX: Final = 100  # to one server


def limits() -> dict[str, Any]:
    """Return redis-py's options for a pool.

    A call is retried once: every write is idempotent, and a pooled connection may be stale. Calls
    above CONNECTIONS_MAX wait for a connection, SOCKET_TIMEOUT_S at most.
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
    """Return the client of the server at a URL of redis-py's. Opens no connection."""
    return Redis.from_pool(Pool.from_url(url, **limits()))


class _Watchful(AbstractConnection):
    """A connection that raises ConnectionError for every kind of loss, and notes the loss.

    uvloop raises RuntimeError for a write to a transport that is closed already
    (uvloop/handles/handle.pyx, `_ensure_alive`).
    """

    broke = False  # whether an error closed the connection, even if a retry then succeeded

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

        With TLS the handshake waits for the other end, up to SOCKET_TIMEOUT_S. redis-py would then
        raise the handshake's timeout in place of the error.
        """
        self.broke |= error is not None
        await super().disconnect(
            nowait or error is not None, error, failure_count, health_check_failed
        )


class Pool(BlockingConnectionPool):
    """A pool that closes all idle connections when one connection breaks.

    A network that silently drops one connection usually drops all, and each dead connection costs
    its caller two timeouts. These were 5 of the 10 s that readers waited after such a fault.
    """

    def __init__(self, connection_class: type = Connection, **more: Any) -> None:
        kind = type(connection_class.__name__, (_Watchful, connection_class), {})
        super().__init__(connection_class=kind, **more)

    async def release(self, connection: Any) -> None:
        """Put a connection back; close all idle ones if this connection broke."""
        is_broken = connection.broke or not connection.is_connected
        connection.broke = False
        await super().release(connection)
        if is_broken:
            await _close(it for it in self._available_connections if it is not connection)

    async def close_all(self) -> None:
        """Close all connections without a closing handshake, those in use too."""
        await _close([*self._available_connections, *self._in_use_connections])


async def _close(connections: Iterable[AbstractConnection]) -> None:
    """Close connections without waiting for their other ends, which may be gone."""
    for connection in list(connections):
        await connection.disconnect(nowait=True)
