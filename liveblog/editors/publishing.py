"""Every call of an editor: permission, read, merge, render, and a compare-and-set commit.

The API, the desk, the schedule and the demo all call this module, so each rule exists once.
altering.py repeats a write when another one was faster.

Rules: with altering.py, the only caller of `Writes.commit`. Knows no HTTP and no hub.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from liveblog.blog.model import (
    BLOG_ID,
    PUBLISHED,
    SYSTEM,
    Blog,
    Caller,
    DamagedEntry,
    Entry,
    new_id,
)
from liveblog.blog.problem import Damaged, StoreDown, StoreRefuses, invalid
from liveblog.editors import decisions, retraction
from liveblog.editors.altering import Altering, until_fresh
from liveblog.editors.bin import Bin
from liveblog.editors.calls import call_key, replaced
from liveblog.editors.decisions import MARKS, UNPUBLISHED, EntryPatch, Revisions
from liveblog.editors.pins import Pins
from liveblog.editors.reading import EVERY_BLOG, BlogSearch, Reading
from liveblog.editors.rendering import Renderer
from liveblog.editors.results import (
    BlogResult,
    DeleteResult,
    EntryPage,
    EntryResult,
    Results,
    RevisionConflict,
)
from liveblog.store.blogs import BlogPage
from liveblog.store.broker import Broker
from liveblog.store.codec import StoredBlog, StoredEntry
from liveblog.store.writes import (
    CallKey,
    Outcome,
    Refused,
    Stale,
    Write,
    blog_write,
    entry_write,
    unnumbered,
)

Fields = Mapping[str, object]  # JSON members that a caller sent


class Publishing:
    """Performs editors' calls: reads, creates and alters blogs and entries.

    `now` returns milliseconds since 1970. `pins` has the calls about the order of pinned entries,
    `bin` those about deleted entries.

    Each call raises Problem for a mistake of the caller, and StoreDown when the outcome is unknown.
    A caller then repeats the call with the same `key` (its Idempotency-Key): it takes effect once.
    """

    def __init__(self, broker: Broker, now: Callable[[], int]) -> None:
        self._writes, self._entries = broker.writes, broker.entries
        self._due, self._eraser, self._rebuilding = broker.due, broker.eraser, broker.rebuilding
        self._reading = Reading(broker.blogs, broker.entries)
        self._results = Results(broker.blogs, broker.entries)
        self._altering = Altering(self._reading, broker.entries, broker.writes)
        self.pins = Pins(self._reading, broker.entries, self.edit_entry)
        self.bin = Bin(self._reading, broker.bin)
        self._renderer = Renderer()
        self._now = now

    # -- reading

    async def blogs(
        self,
        caller: Caller,
        before: str | None = None,
        limit: int = 50,
        search: BlogSearch = EVERY_BLOG,
    ) -> BlogPage:
        """Return a page of the blogs that the caller may see (`Reading.blogs`)."""
        return await self._reading.blogs(caller, before, limit, search)

    async def blog(self, caller: Caller, slug: str, *, or_damaged: bool = False) -> BlogResult:
        """Return a blog. Raises 404 when it does not exist or the caller may not see it.

        With `or_damaged`, return also a DamagedBlog, and the keys that were rebuilt.
        """
        stored = await self._reading.blog(caller, slug, or_damaged=or_damaged)
        rebuilt = await self._rebuilding.lately(slug) if or_damaged else ()
        return BlogResult(stored.blog, stored.position, rebuilt=tuple(rebuilt))

    async def entry(self, caller: Caller, slug: str, id: str) -> EntryResult:
        """Return an entry.

        Raises 410 when it is deleted, 404 when it does not exist. A contributor gets 404 for
        another author's unpublished entry.
        """
        await self._reading.check_blog(caller, slug)
        entry = (await self._reading.entry(caller, slug, id)).entry
        decisions.check_not_deleted(entry)
        return (await self._reading.results(slug, [entry]))[0]

    async def entries(
        self,
        caller: Caller,
        slug: str,
        before: str | None = None,
        limit: int = 50,
        status: str = "published",
    ) -> EntryPage:
        """Return a page of entries, newest first, and the id for `before` of the next page.

        Published and retracted entries are ordered by publication, others by their last edit. A
        page may be shorter than `limit` although there is a next page (see `Reading.published`).
        """
        await self._reading.check_blog(caller, slug)
        if status in UNPUBLISHED:
            page = await self._reading.drafts_page(caller, slug, before, limit, status)
        elif status in PUBLISHED:
            page = await self._reading.published(slug, before, limit, (status,))
        else:
            raise invalid(("/status", f"must be one of {', '.join((*UNPUBLISHED, *PUBLISHED))}"))
        return await self._reading.page(slug, page)

    async def shown(self, caller: Caller, slug: str, before: str | None, limit: int) -> EntryPage:
        """Return a page as `entries` does, but with published and retracted entries together."""
        await self._reading.check_blog(caller, slug)
        page = await self._reading.published(slug, before, limit, PUBLISHED)
        return await self._reading.page(slug, page)

    async def unpublished(self, caller: Caller, slug: str) -> list[Entry]:
        """Return the unpublished entries that the caller may read, the newest edit first."""
        await self._reading.check_blog(caller, slug)
        return await self._reading.drafts(caller, slug)

    # -- writing blogs

    async def create_blog(
        self, caller: Caller, fields: Fields, key: str | None = None
    ) -> BlogResult:
        """Create a blog. The creation counts as the first change of the blog.

        Raises 403 for a contributor or a caller restricted to certain blogs, 409 for a taken slug.
        """
        patch = decisions.blog_patch(fields)
        decisions.check_may_create_blog(caller, patch)
        call = call_key(caller, "POST blogs", key, dict(fields))
        if "summary" in patch:
            patch["summary_html"] = await self._renderer.html(patch["summary"], "/summary")
        slug = patch["slug"]
        blog = decisions.merge_blog(Blog(slug=slug, title=patch["title"]), patch)
        write = replace(blog_write("create", None, blog, call), status=201)
        outcome = await until_fresh(slug, lambda: self._writes.commit(slug, write))
        return await self._results.blog(slug, outcome)

    async def edit_blog(
        self, caller: Caller, slug: str, fields: Fields, key: str | None = None
    ) -> BlogResult:
        """Merge `fields` into a blog's header.

        A new time zone or language changes every entry's HTML. Such an edit starts a new epoch, so
        that readers start over from the page. With a title, the edit also replaces a damaged
        header. Without fields nothing is written.
        """
        patch = decisions.blog_patch(fields)
        call = call_key(caller, f"PATCH {slug}", key, dict(fields))
        await self._reading.check_blog(caller, slug)
        decisions.check_may_edit_blog(caller, slug, patch)
        if "summary" in patch:
            patch["summary_html"] = await self._renderer.html(patch["summary"], "/summary")

        async def attempt() -> Outcome[Blog]:
            stored = await self._reading.blog(caller, slug, or_damaged="title" in patch)
            if patch:
                blog = decisions.merge_blog(stored.blog, patch)
                return await self._writes.commit(slug, blog_write("header", stored, blog, call))
            return await self._writes.remembered(slug, call) or _unchanged_blog(stored)

        return await self._results.blog(slug, await until_fresh(slug, attempt))

    # -- writing entries

    async def create_entry(
        self,
        caller: Caller,
        slug: str,
        fields: Fields,
        key: str | None = None,
        pressed_at: int | None = None,
    ) -> EntryResult:
        """Publish a new entry, or store it as a draft, a submission or a scheduled entry.

        An entry with `publish_at` is scheduled. `pressed_at` is the time of a delayed press
        (`decisions.pressed`). Raises 409 when the blog has ended or has DRAFTS_MAX unpublished
        entries, 403 when a contributor sets key, pinned or a status but draft and submitted.
        """
        patch = decisions.entry_patch(fields)
        call = call_key(caller, f"POST {slug}", key, dict(fields))
        await self._reading.check_blog(caller, slug)
        await self._render(patch)

        async def attempt() -> Outcome[Entry]:
            if first := await self._writes.remembered(slug, call):
                return first
            entry = decisions.new_entry(caller, new_id("e", 12), patch, self._now())
            entry = decisions.pressed(caller, entry, pressed_at)
            write = entry_write(None, entry, call, fresh=True)
            return await self._writes.commit(slug, replace(write, status=201))

        return await self._results.entry(slug, await until_fresh(slug, attempt))

    async def edit_entry(
        self,
        caller: Caller,
        slug: str,
        id: str,
        fields: Fields,
        seen: Revisions | None,
        key: str | None = None,
        pressed_at: int | None = None,
    ) -> EntryResult:
        """Merge `fields` into an entry; `seen` are the revisions that the edit may replace.

        Without fields nothing is written, and the result is the entry as it is.

        Raises RevisionConflict when another revision is stored. Raises 428 when `seen` is None
        and `fields` has more than MARKS. Raises 409 when the entry's status
        cannot change to the requested one, 410 when the entry is deleted.
        """
        patch = decisions.entry_patch(fields)
        call = call_key(caller, f"PATCH {slug} {id}", key, [dict(fields), replaced(seen)])
        await self._reading.check_blog(caller, slug)
        await self._render(patch)

        async def decide(stored: StoredEntry) -> Write[Entry] | None:
            current = stored.entry
            decisions.check_not_deleted(current)
            decisions.check_owns(caller, current, "edit")
            decisions.check_if_match(seen, patch)
            if not decisions.may_replace(seen, current.revision):
                [theirs] = await self._reading.results(slug, [current])
                raise RevisionConflict(theirs)
            if not patch:
                return None
            entry = decisions.edited_entry(caller, current, patch, self._now())
            return _edit_write(stored, decisions.pressed(caller, entry, pressed_at), patch, call)

        outcome = await self._altering.alter(caller, slug, id, call, decide)
        return await self._results.entry(slug, outcome)

    async def retract_entry(
        self,
        caller: Caller,
        slug: str,
        id: str,
        note: str | None,
        *,
        undo: bool = False,
        key: str | None = None,
    ) -> EntryResult:
        """Retract a published entry with a note for readers; with `undo`, take that back.

        The call alters status and note of the newest revision, and nothing else of it, so it needs
        no revision from the caller. An undo brings back the note from before the retraction.

        Raises 409 for an unpublished entry, and for an undo when the entry is not retracted.
        """
        patch = decisions.entry_patch({} if undo else retraction.fields(note))
        call = call_key(caller, f"POST {slug} {id} retract", key, [patch, undo])
        await self._reading.check_blog(caller, slug)

        async def decide(stored: StoredEntry) -> Write[Entry]:
            decisions.check_not_deleted(stored.entry)
            decisions.check_owns(caller, stored.entry, "edit")
            if undo:
                was = await self._entries.before_retraction(slug, id)
                entry = retraction.undone(stored.entry, was)
            else:
                entry = retraction.retracted(stored.entry, patch)
            return replace(entry_write(stored, entry, call), history="push")

        outcome = await self._altering.alter(caller, slug, id, call, decide)
        return await self._results.entry(slug, outcome)

    async def delete_entry(
        self, caller: Caller, slug: str, id: str, takedown: bool = False, key: str | None = None
    ) -> DeleteResult:
        """Remove an entry; with `takedown` also erase every revision, draft and copy of it.

        Deleting a deleted entry returns the same result. Raises 403 for a takedown unless the
        caller is an admin.
        """
        call = call_key(caller, f"DELETE {slug} {id}", key, takedown)
        await self._reading.check_blog(caller, slug)
        if takedown:
            decisions.check_may_take_down(caller)

        async def decide(stored: StoredEntry) -> Write[Entry]:
            decisions.check_owns(caller, stored.entry, "delete")
            return await self._delete_write(slug, stored, takedown, call)

        outcome = await self._altering.alter(caller, slug, id, call, decide, or_damaged=True)
        if takedown:
            await self._request_erasure(slug, outcome)
        return await self._results.delete(slug, outcome)

    async def _request_erasure(self, slug: str, outcome: Outcome[Entry]) -> None:
        """Request that the store's file loses the text, too; the takedown is stored already."""
        try:
            await self._eraser.request(slug, again=outcome.is_replay)
        except StoreRefuses as refused:  # "not stored" would be wrong
            raise StoreDown(f"the takedown is stored, its erasure refused: {refused}") from refused

    async def restore_entry(
        self, caller: Caller, slug: str, id: str, key: str | None = None
    ) -> EntryResult:
        """Undo a deletion with a new change.

        The entry gets back its text, its revision and its `order`, and so its place in the blog.

        Raises 409 when the entry is not deleted, 410 after a takedown and when its text is no
        longer kept, 30 days after the deletion.
        """
        call = call_key(caller, f"POST {slug} {id} restore", key, None)
        await self._reading.check_blog(caller, slug)

        async def decide(stored: StoredEntry) -> Write[Entry]:
            decisions.check_owns(caller, stored.entry, "restore")
            decisions.check_restorable(stored.entry)
            earlier = await self._entries.earlier(slug, id)
            entry = decisions.restored_entry(stored.entry, earlier)
            return replace(entry_write(stored, entry, call), history="pop")

        outcome = await self._altering.alter(caller, slug, id, call, decide)
        return await self._results.entry(slug, outcome)

    async def publish_due(self, slug: str, id: str, now: int) -> bool:
        """Publish a scheduled entry that was due at `now`; return whether this call published it.

        All workers call this for a due entry; the entry is published once. The call publishes
        nothing when another worker was first, the entry was edited, or the blog has ended.
        """
        stored = await self._entries.stored(slug, id)
        if stored and isinstance(stored.entry, DamagedEntry):
            raise Damaged(f"The entry {id} is damaged.")
        if not stored or stored.entry.status != "scheduled" or stored.entry.deleted:
            await self._due.unschedule(slug, id, stored.raw if stored else None)
            return False
        # An editor may have postponed the entry after the schedule was read.
        if (stored.entry.publish_at or 0) > now:
            return False
        entry = decisions.published_entry(stored.entry)
        # One key for all workers. A worker that comes later than the key lives gets Stale: the
        # record that it read is no longer stored.
        call = call_key(SYSTEM, f"due {slug}", f"due:{id}:{entry.revision}", None)
        call = call._replace(is_repeatable=False)
        try:
            outcome = await self._writes.commit(slug, entry_write(stored, entry, call, fresh=True))
        except (Stale, Refused):
            return False
        return not outcome.is_replay

    # -- shared steps

    async def _render(self, patch: EntryPatch) -> None:
        """Put the body's HTML into the patch. Raises 422 and 503 as `Renderer.html` does."""
        if "body" in patch:
            patch["body_html"] = await self._renderer.html(patch["body"], "/body")

    async def _delete_write(
        self, slug: str, stored: StoredEntry, takedown: bool, call: CallKey
    ) -> Write[Entry]:
        was = stored.entry
        tomb = decisions.tombstone(was, stored.revisions, takedown=takedown)
        history: Literal["push", "erase", ""] = "erase" if takedown else "push"
        write = entry_write(stored, tomb, call)
        if isinstance(was, DamagedEntry):
            history = "erase" if takedown else ""  # no revision: the record cannot be restored
        elif was.deleted:
            [position] = await self._entries.positions(slug, [was])
            write = unnumbered(write, tomb, position)
            history = "erase" if takedown else ""
        return replace(write, history=history)


def _edit_write(
    stored: StoredEntry, entry: Entry, patch: EntryPatch, call: CallKey
) -> Write[Entry]:
    """Return the write that stores an edit.

    If the edit makes a new revision, the write also keeps the earlier revision.
    """
    if patch.keys() <= MARKS:
        return entry_write(stored, entry, call)
    is_published_now = stored.entry.status in UNPUBLISHED and entry.status in PUBLISHED
    return replace(entry_write(stored, entry, call, fresh=is_published_now), history="push")


def _unchanged_blog(stored: StoredBlog) -> Outcome[Blog]:
    return Outcome(status=200, id=BLOG_ID, revision=0, position=stored.position, record=stored.blog)
