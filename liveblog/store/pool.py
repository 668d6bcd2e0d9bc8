"""The pool of connections to one server, which closes idle connections after a fault.

Rules: knows no keys and no blogs. The limits of every connection to the store are here.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ResponseError

SOCKET_TIMEOUT_S: Final = 2.0  # the limit for one attempt; a call makes at most two
CONNECTIONS_MAX: Final = 100  # to one server

# A note on an error reply (PEP 678): the reply of an earlier attempt was lost, and the server may
# have executed that attempt.
REPEATED: Final = "an earlier attempt of this command may have been executed"

T = TypeVar("T")


class _Retry(Retry):
    """Retries as redis-py does, and notes REPEATED on error replies to a later attempt."""

    async def call_with_retry(self, do: Any, fail: Any, *more: Any, **options: Any) -> Any:
        lost = 0

        def failed(*failure: Any) -> Any:
            nonlocal lost
            lost += 1
            return fail(*failure)

        try:
            reply = await super().call_with_retry(do, failed, *more, **options)
        except ResponseError as error:
            raise noted(error, is_repeated=lost > 0) from None
        for each in reply if isinstance(reply, list) else ():
            noted(each, is_repeated=lost > 0)
        return reply


def noted(reply: T, *, is_repeated: bool) -> T:
    """Return a reply; when it is an error and `is_repeated`, first add the note REPEATED."""
    if is_repeated and isinstance(reply, ResponseError):
        reply.add_note(REPEATED)
    return reply


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
        "retry": _Retry(ConstantBackoff(0.05), 1),
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
