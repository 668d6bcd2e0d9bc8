"""Blogs and entries that a caller may read. The caller gets 404 for all others.

Rules: writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, get_args
from unicodedata import normalize

from liveblog.blog.model import (
    Blog,
    BlogStatus,
    Caller,
    DamagedEntry,
    Entry,
    is_entry_id,
    is_slug,
)
from liveblog.blog.problem import Damaged, invalid, not_found
from liveblog.editors.decisions import is_readable
from liveblog.editors.results import EntryPage, EntryResult
from liveblog.store.blogs import BlogPage, Blogs
from liveblog.store.codec import StoredBlog, StoredEntry
from liveblog.store.entries import Entries

LIST_MAX: Final = 100
BLOGS_MAX: Final = 500  # blogs on one page of a list
BLOGS_SCANNED_MAX: Final = 2_000  # blogs read for one page of a list; takes about 0.1 s
SEARCH_MAX: Final = 200  # characters of a search
BLOG_STATUSES: Final[tuple[str, ...]] = get_args(BlogStatus)
SCANNED_MAX: Final = 2_000  # entries read for one page of a list


class Page(NamedTuple):
    """A page of a list, and the value of `before` for the next page; None on the last page.

    `damaged` has the ids of the entries that were found for this page and cannot be read.
    """

    entries: list[Entry]
    before: str | None
    damaged: list[str] = []  # noqa: RUF012 - a tuple's field; never altered


@dataclass(frozen=True)
class BlogSearch:
    """A search for blogs. Raises 422 for a longer `q`, or an unknown status.

    A blog is found when its title or slug has every word of `q`, in any case and any Unicode form,
    and it has the status; an empty value finds all blogs.
    """

    q: str = ""
    status: str = ""

    def __post_init__(self) -> None:
        if len(self.q) > SEARCH_MAX:
            raise invalid(("/q", f"has {len(self.q)} characters; the limit is {SEARCH_MAX}"))
        if self.status and self.status not in BLOG_STATUSES:
            raise invalid(("/status", f"must be one of {', '.join(BLOG_STATUSES)}"))

    def finds(self, blog: Blog) -> bool:
        """Return whether the search finds a blog."""
        if self.status and blog.status != self.status:
            return False
        text = searchable(f"{blog.title} {blog.slug}")
        return all(word in text for word in self._words)

    @cached_property
    def _words(self) -> list[str]:
        return searchable(self.q).split()


def searchable(text: str) -> str:
    """Return a text in the form in which searches compare it (Unicode, section 3.13, D146).

    A page of a search folds up to 2,000 titles, most of them in ASCII, where `lower` is enough.
    """
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKD", text).casefold())


EVERY_BLOG: Final = BlogSearch()


def _own_page(own: BlogPage, before: str | None, limit: int, search: BlogSearch) -> BlogPage | None:
    """Return a page of the caller's own blogs, None when `before` is none of them."""
    slugs = [stored.blog.slug for stored in own.blogs]
    if before and before not in slugs:
        return None
    rest = own.blogs[slugs.index(before) + 1 :] if before else own.blogs
    found = [stored for stored in rest if search.finds(stored.blog)]
    following = found[limit - 1].blog.slug if len(found) > limit else None
    return BlogPage(found[:limit], following, own.damaged)


class Reading:
    """Reads what a caller may read. Each method raises StoreDown while the store is unreachable."""

    def __init__(self, blogs: Blogs, entries: Entries) -> None:
        self._blogs, self._entries = blogs, entries

    async def blogs(
        self, caller: Caller, before: str | None, limit: int, search: BlogSearch
    ) -> BlogPage:
        """Return a page of the blogs that the caller may see, newest activity first.

        The page begins after the blog `before`. Reads at most BLOGS_SCANNED_MAX blogs. A page of a
        search may therefore be short or empty, and still have a next page. Raises 422 when `before`
        is not the slug of a blog that the caller may see.
        """
        if caller.blogs:
            own = await self._blogs.these(caller.blogs)
            page = _own_page(own, before, limit, search)
        else:
            is_live = search.status == "live"
            page = await self._blogs.page(
                before, limit, search.finds, BLOGS_SCANNED_MAX, is_live=is_live
            )
        if page is None:
            raise invalid(("/before", "is not the slug of a blog that you may see"))
        return page

    async def blog(self, caller: Caller, slug: str, *, or_damaged: bool = False) -> StoredBlog:
        """Return a blog. Raises 404 when it does not exist or the caller may not see it.

        With `or_damaged`, return a DamagedBlog, too; else raise Damaged for it.
        """
        stored = None
        if is_slug(slug) and caller.sees(slug):
            stored = await self._blogs.read(slug, or_damaged=or_damaged)
        if not stored:
            raise not_found(f"There is no blog {slug[:80]!r} that you may see.")
        return stored

    async def check_blog(self, caller: Caller, slug: str) -> None:
        """Raise 404 as `blog` does. The blog's header may be damaged."""
        await self.blog(caller, slug, or_damaged=True)

    async def entry(
        self, caller: Caller, slug: str, id: str, *, or_damaged: bool = False
    ) -> StoredEntry:
        """Return the record of an entry: published, unpublished, or the tombstone of a deleted one.

        Raises 404 when it does not exist. A contributor gets 404 for another author's unpublished
        entry. With `or_damaged`, return a DamagedEntry, too; else raise Damaged for it.
        """
        stored = await self._entries.stored(slug, id) if is_entry_id(id) else None
        if not stored or not is_readable(caller, stored.entry):
            raise not_found(f"There is no entry {id[:40]!r} in this blog that you may see.")
        if isinstance(stored.entry, DamagedEntry) and not or_damaged:
            raise Damaged(f"The entry {id} is damaged. It can be deleted or taken down.")
        return stored

    async def results(self, slug: str, entries: Sequence[Entry]) -> list[EntryResult]:
        """Return each entry with the position of its last change."""
        positions = await self._entries.positions(slug, entries)
        return [EntryResult(e, p) for e, p in zip(entries, positions, strict=True)]

    async def page(self, slug: str, page: Page) -> EntryPage:
        return EntryPage(await self.results(slug, page.entries), page.before, page.damaged)

    async def published(
        self, slug: str, before: str | None, limit: int, statuses: Sequence[str]
    ) -> Page:
        """Return a page of published entries with one of these statuses, newest first.

        Reads at most SCANNED_MAX entries. A page of a rare status may therefore be short or empty,
        and still have a next page. Raises 422 when `before` is not the id of an entry that was
        published.
        """
        order = await self._order_of(slug, before) if before else None
        found: list[Entry] = []
        read: list[Entry] = []
        for _ in range(0, SCANNED_MAX, LIST_MAX):
            batch = await self._entries.below(slug, order, LIST_MAX)
            read += batch
            # An entry may have been deleted since its id was read.
            found += [it for it in batch if it.status in statuses and not it.deleted]
            if len(found) > limit:
                last = found[limit - 1]
                return Page(found[:limit], last.id, _damaged(read, last.order))
            if len(batch) < LIST_MAX:
                return Page(found, None, _damaged(read))
            order = batch[-1].order
        return Page(found, batch[-1].id, _damaged(read))

    async def _order_of(self, slug: str, id: str) -> int:
        entry = await self._entries.published(slug, id) if is_entry_id(id) else None
        if not entry or entry.order is None:
            raise invalid(("/before", "is not the id of an entry that was ever published here"))
        return entry.order

    async def drafts(self, caller: Caller, slug: str) -> list[Entry]:
        """Return the unpublished entries that the caller may read, the newest edit first.

        Damaged ones come last; only callers that may read everybody's drafts get them.
        """
        drafts = await self._entries.drafts(slug)
        return [draft for draft in drafts if is_readable(caller, draft)]

    async def drafts_page(
        self, caller: Caller, slug: str, before: str | None, limit: int, status: str
    ) -> Page:
        """Return a page of the unpublished entries that have one status.

        Raises 422 when `before` is not the id of an unpublished entry with this status.
        """
        everyone = await self.drafts(caller, slug)
        drafts = [it for it in everyone if it.status == status and not it.deleted]
        if before:
            at = next((i for i, draft in enumerate(drafts) if draft.id == before), None)
            if at is None:
                raise invalid(("/before", f"is not the id of an entry that is {status} now"))
            drafts = drafts[at + 1 :]
        following = drafts[limit - 1].id if len(drafts) > limit else None
        return Page(drafts[:limit], following, _damaged(everyone))


def _damaged(read: Sequence[Entry], down_to: int | None = None) -> list[str]:
    """Return the ids of the damaged entries; with `down_to`, only of those at or above this order.

    The others are found again for the next page.
    """
    lowest = down_to or 0
    return [it.id for it in read if isinstance(it, DamagedEntry) and (it.order or 0) >= lowest]
