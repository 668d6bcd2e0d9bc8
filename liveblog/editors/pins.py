"""The order of a blog's pinned entries: read, and altered by one move at a time.

A move alters the number of the moved entry alone, so it is one change for readers. Only when no
number fits between its neighbours, the entries get numbers from 1, with a change for each.

Rules: writes only through `edit`, which checks the permission.
"""

from collections.abc import Awaitable
from typing import Final, Protocol

from liveblog.blog.fields import Fields
from liveblog.blog.model import Caller, Entry
from liveblog.blog.pins import moved
from liveblog.blog.problem import Problem, conflict
from liveblog.editors.decisions import Revisions, check_may_mark
from liveblog.editors.reading import Reading
from liveblog.editors.results import EntryResult
from liveblog.store.entries import Entries

_UNPINNED: Final = "The entry, or the entry below its new place, is no longer pinned."


class Edit(Protocol):
    """Merges fields into an entry, as `Publishing.edit_entry` does."""

    def __call__(
        self,
        caller: Caller,
        slug: str,
        id: str,
        fields: Fields,
        seen: Revisions | None,
    ) -> Awaitable[EntryResult]: ...


class Pins:
    """Reads and moves the pinned entries of a blog. Each method raises StoreDown."""

    def __init__(self, reading: Reading, entries: Entries, edit: Edit) -> None:
        self._reading, self._entries, self._edit = reading, entries, edit

    async def all(self, caller: Caller, slug: str) -> list[Entry]:
        """Return the pinned entries that readers see, in their order."""
        await self._reading.check_blog(caller, slug)
        return await self._entries.pinned(slug)

    async def move(self, caller: Caller, slug: str, id: str, before: str | None) -> None:
        """Move a pinned entry before another one; with None to the end.

        A repeated call needs no key: the entry stands there already, and nothing changes. Raises
        409 when one of the two is not pinned, also by a write meanwhile, and 403 for a contributor.
        """
        pins = await self.all(caller, slug)
        check_may_mark(caller)
        if not {id, before} <= {None, *(it.id for it in pins)}:
            raise conflict(_UNPINNED)
        for each, number in moved(pins, id, before).items():
            try:
                await self._edit(caller, slug, each, {"pin_order": number}, None)
            except Problem as problem:
                pointers = [pointer for pointer, _ in problem.errors]
                if problem.status != 410 and pointers != ["/pin_order"]:
                    raise
                raise conflict(_UNPINNED) from problem
