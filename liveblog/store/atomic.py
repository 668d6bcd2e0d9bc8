"""Reads of several keys in one atomic step.

Rules: the keys of one call have one hash tag, so they are on one server.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from redis.exceptions import OutOfMemoryError, ResponseError

from liveblog.store import scripts
from liveblog.store.client import Client, Value

_READ: Final = scripts.reading("read")

Command = tuple[str, str, *tuple[Value, ...]]  # its name, its key, its arguments


async def read(redis: Client, *commands: Command) -> list[Any]:
    """Return the replies of reading commands that run in one atomic step.

    Raises the error of a key of a wrong type.
    """
    replies = await read_each(redis, *commands)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def or_none(reply: Any) -> Any:
    """Return a reply; None in place of the error of a key of a wrong type."""
    return None if isinstance(reply, ResponseError) else reply


async def read_each(redis: Client, *commands: Command) -> list[Any]:
    """Return the replies as `read` does, with an error in place of a key of a wrong type.

    A server whose memory is full refuses every transaction, since it queues commands. It still runs
    a script that writes nothing. A transaction comes first: it needs no permission for scripts.
    """
    pipeline = redis.pipeline(transaction=True)
    for command in commands:
        pipeline.execute_command(*command)
    try:
        replies = await pipeline.execute(raise_on_error=False)
    except OutOfMemoryError:
        keys = [key for _, key, *_ in commands]
        words = [orjson.dumps([name, *map(str, more)]) for name, _, *more in commands]
        replies = await redis.eval(_READ, len(keys), *keys, *words)
    for reply in replies:
        if isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE"):
            raise reply
    return replies


def pairs(reply: Sequence[Any]) -> list[tuple[bytes, float]]:
    """Return the (member, score) pairs of a reply to a command with WITHSCORES.

    RESP3 has a list for each pair; RESP2 and scripts have members and scores in turn.
    """
    nested = (
        reply if reply and isinstance(reply[0], list) else zip(reply[::2], reply[1::2], strict=True)
    )
    return [(member, float(score)) for member, score in nested]
