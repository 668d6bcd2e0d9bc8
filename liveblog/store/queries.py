"""Translates errors of Redis, and retries a query once when keys have moved to other servers.

Rules: all errors of queries about blogs are translated here, to StoreDown or Damaged.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from liveblog.blog.problem import Damaged, StoreDown
from liveblog.store.codec import DECODE_ERRORS, why_damaged
from liveblog.store.nodes import Nodes

log = logging.getLogger(__name__)

# Errors of commands and scripts that a damaged key causes, and not the state of the store.
_OF_DAMAGE = ("WRONGTYPE", "BROKENCHAIN", "BROKENHEADER")
P = ParamSpec("P")
T = TypeVar("T")


class HasNodes(Protocol):
    """A class with `nodes`, which `queries_store` needs to decorate the methods of the class."""

    @property
    def nodes(self) -> Nodes: ...


S = TypeVar("S", bound=HasNodes)


@asynccontextmanager
async def store_errors(about: object = "") -> AsyncIterator[None]:
    """Raise StoreDown in place of an error of Redis, and Damaged for a corrupt record.

    The log names `about`, such as the slug of the blog.
    """
    try:
        yield
    except (AskError, ClusterDownError, ReadOnlyError, TryAgainError) as error:
        raise StoreDown(f"the cluster is moving slots or changing primaries: {error}") from error
    except ResponseError as error:
        log.error("the store refused a command about %.100s: %s", about, error)
        if any(it in str(error) for it in _OF_DAMAGE):
            raise Damaged(f"A key of this blog in the store is damaged: {error}") from error
        raise StoreDown(str(error)) from error
    except DECODE_ERRORS as error:
        log.error("the store has a damaged record of %.100s: %s", about, why_damaged(error))
        raise Damaged("A record of this blog in the store is damaged.") from error
    except (RedisError, OSError) as error:
        raise StoreDown(f"{type(error).__name__}: {error}") from error


def queries_store(
    method: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Decorate a method that sends commands: retry it once when keys have moved to other servers.

    The method must be safe to run twice. publish.lua is safe: its second run finds the
    idempotency key that the first run stored. Raises StoreDown and Damaged as `store_errors` does.
    """

    @wraps(method)
    async def queried(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with store_errors(args[0] if args else ""):
            return await self.nodes.ask(lambda: method(self, *args, **kwargs))

    return queried
