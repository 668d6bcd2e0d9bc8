"""The interface between a hub and the store: reads of blogs, and subscriptions to their changes.

Rules: Protocols only. `store/` implements them; tests implement them in memory.
"""

from typing import Protocol

from liveblog.blog.model import Blog, Entry, Position
from liveblog.blog.timeline import Changes, Heads, Moved, Snapshot


class Source(Protocol):
    """Reads blogs from the store. Every method may raise StoreDown.

    `load` takes the header `held` in place of a damaged one. `check_writes` returns a warning about
    the store's settings, "" for none. It raises StoreRefuses when the store refuses writes or
    subscriptions.
    """

    async def exists(self, slug: str) -> bool: ...
    async def load(self, slug: str, held: Blog | None = None) -> Snapshot | None: ...
    async def repair(self, slug: str, position: Position) -> Changes | Moved: ...
    async def rotate(self, slug: str, position: Position) -> bool: ...
    async def heads(self, slugs: list[str]) -> Heads: ...
    async def check_writes(self) -> str: ...
    async def older(self, slug: str, before: int | None, limit: int) -> list[Entry]: ...
    async def newer(self, slug: str, after: int, limit: int) -> list[Entry]: ...
    async def entry(self, slug: str, id: str) -> Entry | None: ...
    async def front(
        self, before: str | None, limit: int
    ) -> tuple[list[Blog], str | None] | None: ...


class Subscriptions(Protocol):
    """Subscribes to the channels of blogs in the store, and unsubscribes.

    `follow` returns when the store has confirmed the subscription, or raises StoreDown.
    """

    async def follow(self, slug: str) -> None: ...
    def unfollow(self, slug: str) -> None: ...
