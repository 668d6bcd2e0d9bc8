"""Watch whether the store answers; compare each blog's position in the store and in this worker.

The comparison finds changes whose messages pub/sub has lost.

Rules: each blog is compared once in HEADS_EVERY_S, COMPARED_AT_ONCE blogs in one read, since one
read of thousands would delay pages. Changes no timeline, only starts repairs (live/repair.py).
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
COMPARED_AT_ONCE: Final = 100  # blogs in one read; the worker parses the replies within 2 ms

StoreState = Literal["up", "down", "lacks", "unheld"]


class ComparedBlog(Protocol):
    """A blog in this worker's memory, with the members that `StoreWatch` uses."""

    @property
    def position(self) -> Position: ...
    @property
    def lost(self) -> bool: ...
    def repair(self) -> None: ...


class StoreWatch:
    """Compares all blogs with the store, and keeps what the last comparison showed.

    `seen`: the store has answered once since the worker started. `up`: all parts of the store
    answered the last comparison.
    """

    def __init__(self, source: Source, blogs: Mapping[str, ComparedBlog]) -> None:
        self._source, self._blogs = source, blogs
        self.seen = False
        self.up = False
        # By slug: whether the last comparison could read the blog in the store.
        self._readable: dict[str, bool] = {}

    async def run(self) -> None:
        """Compare each blog with the store once in HEADS_EVERY_S seconds; until cancelled.

        A round reads the blogs in parts, at even intervals. Without blogs, a round is one read,
        which shows whether the store answers.
        """
        while True:
            held = list(self._blogs)
            starts = range(0, len(held) or 1, COMPARED_AT_ONCE)
            for start in starts:
                await self._compare_some(held[start : start + COMPARED_AT_ONCE])
                await asyncio.sleep(HEADS_EVERY_S / len(starts))
            self._readable = {s: it for s, it in self._readable.items() if s in self._blogs}

    async def _compare_some(self, held: list[str]) -> None:
        try:
            heads = await self._source.heads(held)
        except StoreDown as error:
            self._note_store(f"all of it: {error}")
            self._readable.clear()
            return
        self.seen = True
        self._note_store(heads.unreachable)
        self._note_readable({slug: slug in heads.positions for slug in held})
        for slug, head in heads.positions.items():
            self._compare(slug, head)

    def _compare(self, slug: str, head: Position | None) -> None:
        """Repair a blog whose position in the store, `head`, differs from this worker's position.

        A lower position in the store differs, too: the store has lost changes, and the repair
        starts a new epoch. Also repair a blog that was missing in the store.
        """
        live = self._blogs.get(slug)
        if live and (head != live.position or live.lost):
            live.repair()

    def _note_store(self, unreachable: str) -> None:
        """Note which part of the store is unreachable, "" for none, and log a new failure."""
        if unreachable and self.up:
            log.error("the store is unreachable: %s", unreachable)
        self.up = not unreachable

    def _note_readable(self, readable: dict[str, bool]) -> None:
        """Note which blogs the store could read.

        When the whole store answers, an unreadable blog is corrupt, and this is logged.
        """
        for slug, is_readable in readable.items():
            if self.up and not is_readable and self._readable.get(slug, True):
                log.error("blog %s: its data in the store is corrupt", slug)
        self._readable |= readable

    def state_of(self, slug: str) -> StoreState:
        """Return the store's state for a blog.

        "up": the store can read the blog. "down": the store cannot. "lacks": this worker has the
        blog in memory, but the store does not have the blog. "unheld": the store answers, but the
        blog is not in this worker's memory, so the worker does not compare it.
        """
        live = self._blogs.get(slug)
        if not live:
            return "unheld" if self.up else "down"
        # A blog that was not in the last comparison gets the state of the whole store.
        if not self._readable.get(slug, self.up):
            return "down"
        return "lacks" if live.lost else "up"
