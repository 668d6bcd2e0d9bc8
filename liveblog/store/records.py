"""Reads and writes the records of accounts in Redis, which are typed JSON.

Rules: raises StoreDown or StoreRefuses in place of every error of Redis, and Damaged for a record
that does not decode.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from liveblog.blog.problem import Damaged
from liveblog.store import scripts
from liveblog.store.client import Client
from liveblog.store.codec import DECODE_ERRORS
from liveblog.store.nodes import Nodes
from liveblog.store.queries import store_errors

log = logging.getLogger(__name__)

T = TypeVar("T")


class AccountRecords:
    """Sends commands to the server that has a key.

    Each method raises StoreDown for errors of Redis, and StoreRefuses for a refused write.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def ask(self, key: str, call: Callable[[Client], Awaitable[T]]) -> T:
        """Pass `call` the client of the server that stores `key`, and return the call's result.

        Repeat the call once when it fails and keys have moved to other servers.
        """
        async with store_errors(name=key):
            return await self._nodes.ask(lambda: call(self._nodes.at(key)))

    async def run(self, script: str, keys: tuple[str, ...], *args: str | int | bytes) -> Any:
        """Return a script's reply. All keys must have one hash tag, and so be on one server."""
        # EVAL sends the whole script, only a few hundred bytes. EVALSHA would fail with NOSCRIPT
        # after a restart of the store.
        reply = await self.ask(keys[0], lambda redis: redis.eval(script, len(keys), *keys, *args))
        scripts.check_permitted(reply)
        return reply

    async def all(self, key: str, kind: type[T]) -> tuple[list[T], list[bytes]]:
        """Return all records of a hash that decode, and the field names of the corrupt ones."""
        records = await self.ask(key, lambda redis: redis.hgetall(key))
        found, corrupt = [], []
        for field, record in records.items():
            try:
                found.append(msgspec.json.decode(record, type=kind))
            except DECODE_ERRORS:
                corrupt.append(field)
        return found, corrupt


def decode(record: bytes | str | None, kind: type[T]) -> T | None:
    """Decode a record; return None when there is no record.

    Raises Damaged for a record that does not decode, so that the request fails with an error of the
    store. With None instead, the caller would report a wrong password or an unknown token.
    """
    try:
        return None if record is None else msgspec.json.decode(record, type=kind)
    except DECODE_ERRORS as error:
        log.error("accounts: a %s does not decode: %s", kind.__name__, error)
        raise Damaged("The record of this account is damaged.") from error
