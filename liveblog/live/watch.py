"""Watch the store: whether it answers, and its position of each blog.

The comparison of positions finds changes whose messages pub/sub has lost.

Rules: one read for all blogs every HEADS_EVERY_S. Repairs nothing itself.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Literal, Protocol

from liveblog.blog.model import Position
from liveblog.blog.problem import StoreDown
from liveblog.live.source import Source

log = logging.getLogger(__name__)

HEADS_EVERY_S: Final = 2.0

StoreState = Literal["up", "down", "lacks", "unheld"]


class ComparedBlog(Protocol):
    """A blog that this worker holds."""

    @property
    def position(self) -> Position: ...
    @property
    def lost(self) -> bool: ...
    def repair(self) -> None: ...


class StoreWatch:
    """The state of the store, as of the last comparison.

    `seen`: the store has answered once since the worker started. `up`: all parts of the store
    answered the last time.
    """

    def __init__(self, source: Source, blogs: Mapping[str, ComparedBlog]) -> None:
        self._source, self._blogs = source, blogs
        self.seen = False
        self.up = False
        self._readable: dict[str, bool] = {}  # whether the last comparison read a blog's head

    async def run(self) -> None:
        """Compare every HEADS_EVERY_S; until cancelled."""
        while True:
            await self._compare_all()
            await asyncio.sleep(HEADS_EVERY_S)

    async def _compare_all(self) -> None:
        held = list(self._blogs)
        try:
            heads = await self._source.heads(held)
        except StoreDown as error:
            self._note_store(f"all of it: {error}")
            self._note_readable({})
            return
        self.seen = True
        self._note_store(heads.unreachable)
        self._note_readable({slug: slug in heads.positions for slug in held})
        for slug, head in heads.positions.items():
            self._compare(slug, head)

    def _compare(self, slug: str, head: Position | None) -> None:
        """Repair a blog when the store has another position; a lower one means a fork."""
        live = self._blogs.get(slug)
        if live and (head != live.position or live.lost):
            live.repair()

    def _note_store(self, unreachable: str) -> None:
        """Note which part of the store is unreachable, "" for none.

        Blogs in an unreachable part keep their state.
        """
        if unreachable and self.up:
            log.error("the store is unreachable: %s", unreachable)
        self.up = not unreachable

    def _note_readable(self, readable: dict[str, bool]) -> None:
        """Note which blogs the store could read; a single unreadable blog is corrupt."""
        for slug, is_readable in readable.items():
            if self.up and not is_readable and self._readable.get(slug, True):
                log.error("blog %s: its data in the store is corrupt", slug)
        self._readable = readable

    def state_of(self, slug: str) -> StoreState:
        """Return the store's state for a blog.

        "up": the store answers for it. "down": the store does not. "lacks": the store does not have
        a blog that this worker holds. "unheld": the store answers, but this worker does not hold
        the blog and cannot tell.
        """
        live = self._blogs.get(slug)
        if not live:
            return "unheld" if self.up else "down"
        # A blog that was not compared yet has the state of the whole store.
        if not self._readable.get(slug, self.up):
            return "down"
        return "lacks" if live.lost else "up"
