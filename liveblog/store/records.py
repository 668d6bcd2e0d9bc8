"""Records of accounts in Redis: typed JSON, outside of any blog.

Rules: every Redis error leaves here as StoreDown, and every record that does not decode as Damaged.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from liveblog.blog.problem import Damaged, StoreDown
from liveblog.store.client import Client
from liveblog.store.codec import DECODE_ERRORS
from liveblog.store.nodes import Nodes

log = logging.getLogger(__name__)

T = TypeVar("T")


class AccountRecords:
    """Calls to the server that has a key. Each method raises StoreDown when it is unreachable."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def ask(self, key: str, call: Callable[[Client], Awaitable[T]]) -> T:
        """Call a function with the client of the server that has a key, and return its result.

        The call is repeated when the map of a cluster has changed.
        """
        try:
            return await self._nodes.ask(lambda: call(self._nodes.at(key)))
        except (RedisError, OSError) as error:
            raise StoreDown(f"accounts: {error}") from error

    async def run(self, script: str, keys: tuple[str, ...], *args: str | int | bytes) -> Any:
        """Return a script's reply. All keys must have one hash tag."""
        # EVAL with the whole text: a few hundred bytes, and no NOSCRIPT after a store restart.
        return await self.ask(keys[0], lambda redis: redis.eval(script, len(keys), *keys, *args))

    async def all(self, key: str, kind: type[T]) -> tuple[list[T], list[bytes]]:
        """Return the records of a hash, and the fields of those that do not decode."""
        records = await self.ask(key, lambda redis: redis.hgetall(key))
        found, corrupt = [], []
        for field, record in records.items():
            try:
                found.append(msgspec.json.decode(record, type=kind))
            except DECODE_ERRORS:
                corrupt.append(field)
        return found, corrupt


def decode(record: bytes | str | None, kind: type[T]) -> T | None:
    """Return a record; None for None.

    Raises Damaged for a record that does not decode. The request then fails as with an unreachable
    store: a corrupt record must not look like a wrong password or an unknown token.
    """
    try:
        return None if record is None else msgspec.json.decode(record, type=kind)
    except DECODE_ERRORS as error:
        log.error("accounts: a %s does not decode: %s", kind.__name__, error)
        raise Damaged("accounts: the store returned a record that does not decode") from error
