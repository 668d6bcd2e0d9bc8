"""Earlier revisions of headers and entries, as far as the caller may read them.

Rules: writes nothing.
"""

from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from liveblog.blog.model import Blog, Caller, DamagedBlog, Entry
from liveblog.blog.problem import Problem, not_found
from liveblog.editors import decisions
from liveblog.editors.reading import Reading
from liveblog.store.revisions import Earlier, EarlierRevisions

REVISIONS_AT_ONCE: Final = 100  # on one page of a list
R = TypeVar("R", Blog, Entry)


class RevisionPage(NamedTuple, Generic[R]):
    """A page of revisions, the newest first; `next` is the `before` of the next page, or None."""

    revisions: list[R]
    next: int | None


class History:
    """Reads the revisions of headers and entries. Each method raises StoreDown.

    Raises 404 for blogs and entries that the caller may not see, 410 for a deleted entry.
    """

    def __init__(self, reading: Reading, earlier: EarlierRevisions) -> None:
        self._reading, self._earlier = reading, earlier

    async def headers(
        self, caller: Caller, slug: str, before: int | None = None, limit: int = 50
    ) -> RevisionPage[Blog]:
        """Return a page of headers: the stored one, then earlier ones, below revision `before`.

        A damaged header is left out.
        """
        blog = (await self._reading.blog(caller, slug, or_damaged=True)).blog
        below = _below(before, blog)
        is_shown = below > blog.revision and not isinstance(blog, DamagedBlog)
        newest = [blog] if is_shown else []
        earlier = await self._earlier.headers(slug, below - len(newest), limit + 1 - len(newest))
        return _page([*newest, *_records(earlier)], limit)

    async def header(self, caller: Caller, slug: str, revision: int) -> Blog:
        """Return one revision of a header.

        Raises 404 when the store does not have it; a damaged header is none.
        """
        blog = (await self._reading.blog(caller, slug, or_damaged=True)).blog
        if blog.revision == revision and not isinstance(blog, DamagedBlog):
            return blog
        return (await self.earlier_header(slug, revision)).record

    async def earlier_header(self, slug: str, revision: int) -> Earlier[Blog]:
        """Return an earlier header, for a caller that may see the blog.

        Raises 404 as `header` does.
        """
        earlier = await self._earlier.header(slug, revision)
        if not earlier:
            raise _not_found(revision)
        return earlier

    async def entries(
        self, caller: Caller, slug: str, id: str, before: int | None = None, limit: int = 50
    ) -> RevisionPage[Entry]:
        """Return a page of an entry's revisions as `headers` does.

        A contributor gets no revision that was not published, except of its own entries. So a page
        may be shorter than `limit` although there is a next one.
        """
        entry = await self._entry(caller, slug, id)
        below = _below(before, entry)
        newest = [entry] if below > entry.revision else []
        more = limit + 1 - len(newest)
        earlier = await self._earlier.entries(slug, id, below - len(newest), more)
        page = _page([*newest, *_records(earlier)], limit)
        readable = [it for it in page.revisions if decisions.is_readable(caller, it)]
        return RevisionPage(readable, page.next)

    async def entry(self, caller: Caller, slug: str, id: str, revision: int) -> Entry:
        """Return one revision of an entry.

        Raises 404 when the store does not have it, or the caller may not read it.
        """
        entry = await self._entry(caller, slug, id)
        if entry.revision == revision:
            return entry
        return await self.earlier_entry(caller, slug, id, revision)

    async def earlier_entry(self, caller: Caller, slug: str, id: str, revision: int) -> Entry:
        """Return an earlier revision, for a caller that may see the entry.

        Raises 404 as `entry` does.
        """
        earlier = await self._earlier.entry(slug, id, revision)
        if not earlier or not decisions.is_readable(caller, earlier.record):
            raise _not_found(revision)
        return earlier.record

    async def _entry(self, caller: Caller, slug: str, id: str) -> Entry:
        await self._reading.check_blog(caller, slug)
        entry = (await self._reading.entry(caller, slug, id)).entry
        decisions.check_not_deleted(entry)
        return entry


def _below(before: int | None, newest: Blog | Entry) -> int:
    """Return the number below which a page has revisions; the newest may be among them."""
    return newest.revision + 1 if before is None else min(before, newest.revision + 1)


def _records(earlier: Sequence[Earlier[R]]) -> list[R]:
    return [it.record for it in earlier]


def _page(found: list[R], limit: int) -> RevisionPage[R]:
    page = found[:limit]
    return RevisionPage(page, page[-1].revision if len(found) > limit else None)


def _not_found(revision: int) -> Problem:
    return not_found(f"The store has no revision {revision}.")
