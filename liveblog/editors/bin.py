"""The bin: the entries that an editor can restore, for 30 days after their deletion.

Rules: writes nothing; `Publishing.restore_entry` restores.
"""

from typing import NamedTuple

import msgspec

from liveblog.blog.model import Caller
from liveblog.blog.problem import invalid
from liveblog.editors.decisions import may_restore
from liveblog.editors.reading import LIST_MAX, SCANNED_MAX, Reading
from liveblog.editors.results import EntryResult
from liveblog.store.bin import BIN_MS, Deleted
from liveblog.store.bin import Bin as StoredBin


class Binned(NamedTuple):
    """A deleted entry with its newest text, and the position of the deletion if readers saw it.

    `deleted_at` and `erased_at`: milliseconds since 1970; the store erases the text at `erased_at`.
    """

    result: EntryResult
    deleted_at: int
    erased_at: int


class BinPage(NamedTuple):
    """A page of the bin, the `before` of the next page, and the ids of the damaged entries."""

    entries: list[Binned]
    before: str | None
    damaged: list[str]


class Bin:
    """Reads the bin of a blog. Raises StoreDown."""

    def __init__(self, reading: Reading, stored: StoredBin) -> None:
        self._reading, self._stored = reading, stored

    async def page(
        self, caller: Caller, slug: str, before: str | None = None, limit: int = LIST_MAX
    ) -> BinPage:
        """Return a page of the entries that the caller may restore, the last deletion first.

        Reads at most SCANNED_MAX entries, so a page may be short and have a next page. Raises 422
        when `before` is neither the end of an earlier page nor an entry in the bin.
        """
        await self._reading.check_blog(caller, slug)
        found: list[Deleted] = []
        read: list[Deleted] = []
        last = before
        for _ in range(0, SCANNED_MAX, LIST_MAX):
            batch = await self._stored.page(slug, last, LIST_MAX)
            if batch is None:
                raise invalid(("/before", "is no place in the bin"))
            some, last = batch
            read += some
            found += [it for it in some if may_restore(caller, it.tombstone, it.text)]
            if last is None or len(found) > limit:
                break
        if len(found) > limit:
            last = found[limit - 1].place
        damaged = [it.id for it in read if it.is_damaged and caller.role != "contributor"]
        return BinPage(await self._binned(slug, found[:limit]), last, damaged)

    async def _binned(self, slug: str, found: list[Deleted]) -> list[Binned]:
        entries = [
            msgspec.structs.replace(it.text, offset=it.tombstone.offset, order=it.tombstone.order)
            for it in found
            if it.text
        ]
        results = await self._reading.results(slug, entries)
        return [
            Binned(result, it.at, it.binned_at + BIN_MS)
            for result, it in zip(results, found, strict=True)
        ]
