"""Translates errors of Redis, and retries a query once when keys have moved to other servers.

Rules: all errors of queries are translated here, to StoreDown, StoreRefuses or Damaged.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from liveblog.blog.problem import Damaged, StoreDown
from liveblog.seldom import Seldom
from liveblog.store.codec import DECODE_ERRORS
from liveblog.store.nodes import Nodes
from liveblog.store.refusals import refusal_of

log = logging.getLogger(__name__)
_logged: Final = Seldom()

P = ParamSpec("P")
T = TypeVar("T")


class HasNodes(Protocol):
    """A class with `nodes`, which `queries_store` needs to decorate the methods of the class."""

    @property
    def nodes(self) -> Nodes: ...


S = TypeVar("S", bound=HasNodes)


@asynccontextmanager
async def store_errors() -> AsyncIterator[None]:
    """Raise StoreDown in place of an error of Redis, and Damaged for a corrupt record.

    Raises StoreRefuses, a StoreDown, for a write of which certainly no part is stored.
    """
    try:
        yield
    except (AskError, ClusterDownError, TryAgainError) as error:
        raise StoreDown(f"the cluster is moving slots or changing primaries: {error}") from error
    except ResponseError as error:
        raise _meaning_of(error) from error
    except DECODE_ERRORS as error:
        log.exception("the store returned a corrupt record")
        raise Damaged(f"the store returned a corrupt record: {error!r}") from error
    except (RedisError, OSError) as error:
        raise StoreDown(f"{type(error).__name__}: {error}") from error


def _meaning_of(error: ResponseError) -> StoreDown:
    """Return the exception for an error reply. Log an unexpected one, but no refusal.

    live/watch.py logs refusals once a minute; each editor's retry would log one here.
    """
    if refusal := refusal_of(error):
        return refusal
    if _logged.may(str(error)):
        log.error("the store refused a command: %s", error)
    return StoreDown(str(error))


def queries_store(
    method: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Decorate a method that sends commands: retry it once when keys have moved to other servers.

    The method must be safe to run twice. publish.lua is safe: its second run finds the
    idempotency key that the first run stored. Raises exceptions as `store_errors` does.
    """

    @wraps(method)
    async def queried(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with store_errors():
            return await self.nodes.ask(lambda: method(self, *args, **kwargs))

    return queried
