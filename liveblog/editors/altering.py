"""Alters an entry that exists: read, decide, commit; again when another write was faster.

Rules: knows no rule of any write; publishing.py decides.
"""

from collections.abc import Awaitable, Callable

from liveblog.blog.model import Caller, Entry
from liveblog.editors.attempts import until_fresh
from liveblog.editors.reading import Reading
from liveblog.store.calls import CallKey, Write
from liveblog.store.codec import StoredEntry
from liveblog.store.entries import Entries
from liveblog.store.writes import Outcome, Writes

Decide = Callable[[StoredEntry], Awaitable[Write[Entry] | None]]


class Altering:
    """Alters entries that exist. Each call raises StoreDown when the outcome is unknown."""

    def __init__(self, reading: Reading, entries: Entries, writes: Writes) -> None:
        self._reading, self._entries, self._writes = reading, entries, writes

    async def alter(
        self,
        caller: Caller,
        slug: str,
        id: str,
        call: CallKey,
        decide: Decide,
        *,
        or_damaged: bool = False,
    ) -> Outcome[Entry]:
        """Read an entry, decide and commit; retry while other writes are faster.

        `decide` returns the write, or None to leave the entry as it is. A repeated call returns its
        first outcome without a check of the rules. The rules may forbid the call by now, but it has
        already taken effect.
        """

        async def attempt() -> Outcome[Entry]:
            stored = await self._reading.entry(caller, slug, id, or_damaged=or_damaged)
            if first := await self._writes.remembered(slug, call):
                return first
            write = await decide(stored)
            if write:
                return await self._writes.commit(slug, write)
            return await self._unchanged(slug, stored.entry)

        return await until_fresh(slug, attempt)

    async def _unchanged(self, slug: str, entry: Entry) -> Outcome[Entry]:
        [position] = await self._entries.positions(slug, [entry])
        return Outcome(
            status=200, id=entry.id, revision=entry.revision, position=position, record=entry
        )
