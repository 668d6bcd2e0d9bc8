"""Translates errors of Redis, and retries a query once when keys have moved to other servers.

Rules: all errors of queries are translated here, to StoreDown, StoreRefuses or Damaged.
"""

import inspect
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from liveblog.blog.problem import Damaged, StoreDown
from liveblog.seldom import Seldom
from liveblog.store.codec import DECODE_ERRORS, why_damaged
from liveblog.store.nodes import Nodes
from liveblog.store.refusals import refusal_of

log = logging.getLogger(__name__)
_logged: Final = Seldom()

# Errors of commands and scripts that a damaged key causes, and not the state of the store.
_OF_DAMAGE = ("WRONGTYPE", "BROKENCHAIN", "BROKENHEADER")
_KEY: Final = re.compile(r"lb:[^\s()]+")  # in the text of an error, which callers never get whole
_OF_PEOPLE: Final = ("lb:users", "lb:{tokens}:")
_OF_BLOG: Final = re.compile(r"lb:\{([^}]+)\}:")
P = ParamSpec("P")
T = TypeVar("T")


class HasNodes(Protocol):
    """A class with `nodes`, which `queries_store` needs to decorate the methods of the class."""

    @property
    def nodes(self) -> Nodes: ...


S = TypeVar("S", bound=HasNodes)


@asynccontextmanager
async def store_errors(slug: str = "", name: str = "") -> AsyncIterator[None]:
    """Raise StoreDown in place of an error of Redis, and Damaged for a corrupt record.

    Raises StoreRefuses, a StoreDown, for a refused read, and for a write of which certainly no part
    is stored. The log names the blog when `slug` is given. `name`: the only key of all commands, ""
    when there are several.
    """
    try:
        yield
    except MasterDownError as error:  # redis-py counts it among the errors of clusters
        raise StoreDown(
            f"MASTERDOWN the server is a replica without its primary: {error}"
        ) from error
    except (AskError, ClusterDownError, TryAgainError) as error:
        raise StoreDown(f"the cluster is moving slots or changing primaries: {error}") from error
    except ResponseError as error:
        raise _meaning_of(error, slug, name) from error
    except DECODE_ERRORS as error:
        log.error("%sthe store has a damaged record: %s", _named(slug), why_damaged(error))
        raise Damaged("A record of this blog in the store is damaged.") from error
    except (RedisError, OSError) as error:
        raise StoreDown(f"{type(error).__name__}: {error}") from error


def _meaning_of(error: ResponseError, slug: str, name: str) -> StoreDown:
    """Return the exception for an error reply. Log an unexpected one, but no refusal.

    live/watch.py logs refusals once a minute; each editor's retry would log one here.
    """
    if refusal := refusal_of(error):
        return refusal
    if _logged.may(f"{name} {error}"):
        at = f"key {name}: " if name else _named(slug)
        log.error("%sthe store answered with an error: %s", at, error)
    if any(it in str(error) for it in _OF_DAMAGE):
        named = _KEY.search(str(error))
        return damaged_key(named[0] if named else name)
    return StoreDown(str(error))


def _blog_of(names: Sequence[str], arguments: Sequence[Any]) -> str:
    """Return the slug among a method's arguments: as `slug`, or in `keys`; "" for no blog."""
    given = dict(zip(names, arguments, strict=False))
    in_key = _OF_BLOG.match(given["keys"][0]) if given.get("keys") else None
    return in_key[1] if in_key else str(given.get("slug", ""))


def _named(slug: str) -> str:
    """Return the start of a log line about a blog; "" when the line is about no blog."""
    return f"blog {slug}: " if slug else ""


def damaged_key(name: str) -> Damaged:
    """Return the error for a key that nobody can rebuild; "" when the name is unknown."""
    at = f"The key {name}" if name else "A key"
    remedy = "Restore it from a backup"
    if not name.startswith(_OF_PEOPLE):  # without it, nobody could sign in
        remedy = "Remove it (DEL), or restore it from a backup"
    return Damaged(f"{at} in the store is damaged. {remedy}.")


def queries_store(
    method: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Decorate a method that sends commands: retry it once when keys have moved to other servers.

    The method must be safe to run twice. publish.lua is safe: its second run finds the
    idempotency key that the first run stored. Raises exceptions as `store_errors` does. The log
    names the blog of a method with a parameter `slug`, or with the `keys` of a blog.
    """
    names = [*inspect.signature(method).parameters][1:]

    @wraps(method)
    async def queried(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with store_errors(_blog_of(names, args)):
            return await self.nodes.ask(lambda: method(self, *args, **kwargs))

    return queried
