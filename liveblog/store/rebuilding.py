"""Rebuilds damaged keys of a blog from its records: `rebuild.lua`, one atomic step.

Writers rebuild before they write, and readers when a key keeps them from reading. So one damaged
key takes neither its blog nor a takedown with it. The hash `rebuilt` has the names of the rebuilt
keys and the times, for the desk. rebuild.lua says what follows from what, and what is lost.

Rules: changes a blog only by rebuild.lua. `Rebuilding` knows no entries and decodes no records.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from liveblog.blog.model import new_id
from liveblog.blog.problem import Damaged, StoreDown
from liveblog.store import scripts
from liveblog.store.agenda import Agenda
from liveblog.store.codec import channel, index_number, key
from liveblog.store.damage import DamageLog
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

# The keys of a blog that rebuild.lua uses, in the order of NAMES there.
NAMES: Final = (
    *("blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin", "rebuilt"),
)
SHOWN_S: Final = 24 * 3600  # how long the desk shows that a key was rebuilt
# Readers of a blog with damage that nobody can rebuild cause at most one attempt in this time.
AGAIN_S: Final = 5.0
FRUITLESS_MAX: Final = 1_000  # blogs whose last attempt is remembered
REBUILD: Final = scripts.writing("rebuild")

P = ParamSpec("P")
T = TypeVar("T")


class Rebuilding:
    """Rebuilds blogs. `clock`: monotonic seconds."""

    def __init__(
        self,
        nodes: Nodes,
        agenda: Agenda,
        damage: DamageLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.nodes = nodes
        self._agenda, self.damage, self._clock = agenda, damage, clock
        self._fruitless: dict[str, float] = {}  # by slug: when nothing could be rebuilt

    async def rebuild(self, slug: str, *, compare: bool = False) -> list[str]:
        """Rebuild a blog, and return the names of the keys that were damaged.

        With `compare`, rebuild also indexes that lack an entry. Raises StoreDown, and StoreRefuses
        when the store refuses writes.
        """
        names = await self._run(slug, compare)
        for name in names:
            self.damage.rebuilt(slug, key(slug, name))
        if "due" in names:
            await self._agenda.add(slug, 0)
        return names

    async def reading(
        self,
        slug: str,
        read: Callable[[], Awaitable[T]],
        is_damaged: Callable[[T], bool] = lambda _: False,
        *,
        compare: bool = False,
    ) -> T:
        """Return what `read` returns; when that is damaged, rebuild the blog and read again.

        A read is damaged when it raises Damaged, or when `is_damaged` returns True. The second read
        needs no success of the attempt: another worker may have rebuilt the blog meanwhile. The
        attempt was fruitless when the second read is damaged, too; it is returned, or raises.
        """
        with suppress(Damaged):
            found = await read()
            if not is_damaged(found):
                return found
        has_tried = await self.try_to(slug, compare=compare)
        is_whole = False
        try:
            found = await read()
            is_whole = not is_damaged(found)
            return found
        finally:
            if has_tried and not is_whole:
                self.note_fruitless(slug)

    async def try_to(self, slug: str, *, compare: bool = False) -> bool:
        """Rebuild a blog for a reader, and return True.

        Return False without an attempt, while a fruitless one is noted. Raises nothing: the caller
        goes on with the damage.
        """
        if self._clock() < self._fruitless.get(slug, -AGAIN_S) + AGAIN_S:
            return False
        try:
            await self.rebuild(slug, compare=compare)
        except StoreDown as error:
            self.damage.note(slug, "a key", f"nobody can rebuild it now: {error}")
        return True

    def note_fruitless(self, slug: str) -> None:
        """Note that an attempt has not repaired a blog: `try_to` makes none in the next AGAIN_S."""
        if len(self._fruitless) >= FRUITLESS_MAX:
            self._fruitless.clear()
        self._fruitless[slug] = self._clock()

    @queries_store
    async def _run(self, slug: str, compare: bool) -> list[str]:
        keys = [key(slug, name) for name in NAMES]
        publish = "SPUBLISH" if self.nodes.is_cluster else "PUBLISH"
        more = (new_id("", 6), channel(slug), publish, SHOWN_S, int(compare))
        reply = await self.nodes.at(slug).eval(REBUILD, len(keys), *keys, *more)
        scripts.check_permitted(reply)
        return [name.decode() for name in reply[1:]]

    async def lately(self, slug: str) -> dict[str, int]:
        """Return the names of the keys that were rebuilt within SHOWN_S, and when.

        The times are milliseconds since 1970.
        """
        try:
            return await self.reading(slug, lambda: self._lately(slug))
        except Damaged:  # of the key with the names itself
            return {}

    @queries_store
    async def _lately(self, slug: str) -> dict[str, int]:
        at = key(slug, "rebuilt")
        found = await self.nodes.at(slug).hgetall(at)
        known = {name: found.get(name.encode()) for name in NAMES}
        return {name: index_number(int(at)) for name, at in known.items() if at and at.isdigit()}


class HasRebuilding(Protocol):
    """A class with `rebuilding`, which `rebuilds` needs to decorate the methods of the class."""

    @property
    def rebuilding(self) -> Rebuilding: ...


S = TypeVar("S", bound=HasRebuilding)


def rebuilds(
    method: Callable[Concatenate[S, str, P], Awaitable[T]],
) -> Callable[Concatenate[S, str, P], Coroutine[Any, Any, T]]:
    """Decorate a method that reads one blog: rebuild the blog when it raises Damaged, call again.

    The first argument of the method is the blog's slug.
    """

    @wraps(method)
    async def rebuilt(self: S, slug: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.rebuilding.reading(slug, lambda: method(self, slug, *args, **kwargs))

    return rebuilt
