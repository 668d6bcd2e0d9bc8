"""The results of editors' calls, and the problem for an edit of an outdated revision.

In each result, `replayed` is True for a repeated call: only the first call changed something.

Rules: writes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import msgspec

from liveblog.blog.model import Blog, DamagedEntry, Entry, Position
from liveblog.blog.problem import Damaged, Problem, StoreDown, StoreRefuses
from liveblog.editors.decisions import gone
from liveblog.store.blogs import Blogs
from liveblog.store.entries import Entries
from liveblog.store.revisions import EarlierRevisions
from liveblog.store.writes import Outcome


class BlogResult(NamedTuple):
    """A blog and its position; `status` is the status of the HTTP answer.

    `rebuilt` has the names of the keys that were rebuilt lately, if they were asked for.
    """

    blog: Blog
    position: Position
    status: int = 200
    replayed: bool = False
    rebuilt: tuple[str, ...] = ()


class EntryResult(NamedTuple):
    """An entry and the position of its last change, None until the entry is published."""

    entry: Entry
    position: Position | None
    status: int = 200
    replayed: bool = False


class EntryPage(NamedTuple):
    """A page of a list, the `before` of the next page, and the ids of the damaged entries."""

    entries: list[EntryResult]
    before: str | None
    damaged: list[str]


class SavedFirst(Problem):
    """The 412 for an edit of a revision that is not the stored one; `record` is the stored one.

    `sentence` is the reason for the editor.
    """

    def __init__(self, what: Literal["entry", "header"], record: Entry | Blog) -> None:
        detail = f"The {what} was saved by someone else: it is at revision {record.revision} now."
        super().__init__(412, "revision-conflict", detail)
        text = "this entry" if what == "entry" else "the header"
        self.sentence = f"Someone saved {text} while you were editing it."
        self.record = record


class RevisionConflict(SavedFirst):
    """The 412 for an edit of an entry; `current` is the stored one."""

    def __init__(self, current: EntryResult) -> None:
        super().__init__("entry", current.entry)
        self.current = current


class HeaderConflict(SavedFirst):
    """The 412 for an edit of a header; `current` is the stored one."""

    def __init__(self, current: BlogResult) -> None:
        super().__init__("header", current.blog)
        self.current = current


class DeleteResult(NamedTuple):
    """The result of a delete; `offset` and `position` are None if the entry was never published."""

    id: str
    offset: int | None
    position: Position | None
    takedown: bool
    revisions_erased: int
    replayed: bool = False


class Results:
    """Turns the store's outcomes into results for callers.

    The store remembers the outcome of a call without the entry's texts. For a repeated call, the
    methods read the texts from the stored entry or blog. They raise StoreDown while the store is
    unreachable.
    """

    def __init__(self, blogs: Blogs, entries: Entries, earlier: EarlierRevisions) -> None:
        self._blogs, self._entries, self._earlier = blogs, entries, earlier

    async def blog(self, slug: str, outcome: Outcome[Blog]) -> BlogResult:
        """Return the blog as the call left it.

        For a repeated call, return the header's revision that the first call made, or left as it
        was. Raises 410 when the store no longer keeps it.
        """
        if outcome.record and outcome.position:
            return BlogResult(outcome.record, outcome.position, outcome.status)
        with _of_stored_call():
            blog = await self._header(slug, outcome.revision)
        if not outcome.position:
            raise Damaged(f"The header of the blog {slug} is damaged.")
        return BlogResult(blog, outcome.position, outcome.status, replayed=True)

    async def _header(self, slug: str, revision: int) -> Blog:
        stored = await self._blogs.read(slug)
        if not stored:
            raise Damaged(f"The header of the blog {slug} is damaged.")
        if revision in (0, stored.blog.revision):  # 0 in the outcomes of an earlier version
            return stored.blog
        earlier = await self._earlier.header(slug, revision)
        if not earlier:
            raise gone("The first call succeeded, but that header is no longer stored.")
        return earlier.record

    async def entry(self, slug: str, outcome: Outcome[Entry]) -> EntryResult:
        """Return the entry as the call left it.

        Raises 410 for a repeated call when the store no longer keeps the revision that the first
        call made.
        """
        if outcome.record:
            return EntryResult(outcome.record, outcome.position, outcome.status)
        with _of_stored_call():
            entry = await self._revision(slug, outcome.id, outcome.revision)
        if outcome.position:
            entry = msgspec.structs.replace(entry, offset=outcome.position.offset)
        return EntryResult(entry, outcome.position, outcome.status, replayed=True)

    async def _revision(self, slug: str, id: str, revision: int) -> Entry:
        stored = await self._entries.stored(slug, id)
        if stored and isinstance(stored.entry, DamagedEntry):
            raise Damaged(f"The entry {id} is damaged. It can be deleted or taken down.")
        if not stored or stored.entry.deleted:
            raise gone("The first call succeeded, but the entry was deleted later.")
        if stored.entry.revision == revision:
            return stored.entry
        earlier = await self._earlier.entry(slug, id, revision)
        if not earlier:
            raise gone("The first call succeeded, but that text is no longer stored.")
        return earlier.record

    async def delete(self, slug: str, outcome: Outcome[Entry]) -> DeleteResult:
        """Return the result of a delete; `takedown` is True if the entry is taken down by now."""
        tomb = outcome.record
        if not tomb:
            with _of_stored_call():
                stored = await self._entries.stored(slug, outcome.id)
            tomb = stored.entry if stored else None
        return DeleteResult(
            outcome.id,
            outcome.position.offset if outcome.position else None,
            outcome.position,
            bool(tomb and tomb.takedown),
            outcome.revisions_erased,
            outcome.is_replay,
        )


@contextmanager
def _of_stored_call() -> Iterator[None]:
    """Raise StoreDown when the store forbids a read: "not stored" would be wrong."""
    try:
        yield
    except StoreRefuses as refused:
        raise StoreDown(f"the call is stored, its answer is refused: {refused}") from refused
