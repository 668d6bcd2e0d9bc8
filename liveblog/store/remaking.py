"""Makes shared keys again: lists, plans and counters of which the blogs themselves are the truth.

Another program, or a damaged store, may put a key of another type in the place of one of them. No
command of ours succeeds on it, and nothing of ours is in it. So the caller that meets it deletes
it, and calls again. The sweep then begins at once, and completes the new key from the blogs.

Rules: never for accounts, which nobody can make again, and never for a blog's keys (rebuilding.py).
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from liveblog.blog.problem import Damaged
from liveblog.store import scripts
from liveblog.store.nodes import Nodes
from liveblog.store.queries import HasNodes, store_errors

log = logging.getLogger(__name__)

WALK: Final = "lb:sweep:walk"
SEARCH: Final = "lb:sweep:search"
# KEYS: keys of one node. ARGV: the type of each.
_DELETE: Final = scripts.permitted(
    """
local commands, done = {}, {}
for i, name in ipairs(KEYS) do
  local kind = redis.call('TYPE', name).ok
  if kind ~= 'none' and kind ~= ARGV[i] then
    commands[#commands + 1] = { 'DEL', name }
    done[#done + 1] = name
  end
end
""",
    frees_memory=True,
)

P = ParamSpec("P")
S = TypeVar("S", bound=HasNodes)
T = TypeVar("T")


async def delete_others(nodes: Nodes, kinds: Mapping[str, str]) -> list[str]:
    """Delete the keys that have another type than in `kinds`, and return their names.

    All keys must be on one node. Raises StoreDown.
    """
    async with store_errors():
        names = [*kinds]
        reply = await nodes.at(names[0]).eval(_DELETE, len(names), *names, *kinds.values())
        scripts.check_permitted(reply)
        deleted = [name.decode() for name in reply]
        if deleted:
            for turn in (WALK, SEARCH):
                await nodes.at(turn).delete(turn)
    for name in deleted:
        log.error("key %s was of a wrong type in the store: deleted, it is made again", name)
    return deleted


async def or_remade(call: Callable[[], Awaitable[T]], delete: Callable[[], Awaitable[object]]) -> T:
    """Return what `call` returns; when it raises Damaged, call `delete`, and then `call` again.

    Raises the first exception when `delete` returns a false value: it found nothing to delete.
    """
    try:
        return await call()
    except Damaged:
        if not await delete():
            raise
    return await call()


def remakes(
    kinds: Callable[..., Mapping[str, str]],
) -> Callable[
    [Callable[Concatenate[S, P], Awaitable[T]]],
    Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
]:
    """Decorate a method: delete its keys of a wrong type when it raises Damaged, and call again.

    `kinds` returns the types of the method's keys for the method's arguments.
    """

    def decorate(
        method: Callable[Concatenate[S, P], Awaitable[T]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        @wraps(method)
        async def called(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await or_remade(
                lambda: method(self, *args, **kwargs),
                lambda: delete_others(self.nodes, kinds(*args, **kwargs)),
            )

        return called

    return decorate
