"""Every call of an editor: permission, read, merge, render, and a compare-and-set commit.

The API, the desk, the schedule and the demo all call this module, so each rule exists once. Each
write of an entry has the same steps: check the fields, hide other people's blogs, render, and then
decide and commit in one attempt, or in several when other writes are faster (attempts.py).

Rules: knows no HTTP and no hub.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from liveblog.blog.fields import Fields
from liveblog.blog.model import PUBLISHED, SYSTEM, Caller, DamagedEntry, Entry, new_id
from liveblog.blog.problem import Damaged, invalid
from liveblog.editors import decisions, retraction
from liveblog.editors.attempts import Attempts
from liveblog.editors.bin import Bin
from liveblog.editors.calls import call_key, replaced
from liveblog.editors.decisions import MARKS, UNPUBLISHED, EntryPatch, Revisions
from liveblog.editors.headers import Headers
from liveblog.editors.history import History
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
from liveblog.store.calls import CallKey, Write, entry_write, unnumbered
from liveblog.store.codec import StoredEntry
from liveblog.store.writes import Refused, Stale

Decide = Callable[[StoredEntry], Awaitable[Write[Entry] | None]]


class Publishing:
    """Performs editors' calls: reads, creates and alters blogs and entries.

    `history` has earlier revisions, `headers` the writes of headers; the most frequent of them,
    `create_blog` and `edit_blog`, are also here. `pins` has the calls about the order of pinned
    entries, `bin` those about deleted entries. `now` returns milliseconds since 1970.

    Each call raises Problem for a mistake of the caller, and StoreDown when the outcome is unknown.
    A caller then repeats the call with the same `key` (its Idempotency-Key): it takes effect once.
    """

    def __init__(self, broker: Broker, now: Callable[[], int]) -> None:
        self._writes, self._entries = broker.writes, broker.entries
        self._due, self._rebuilding, self._earlier = broker.due, broker.rebuilding, broker.revisions
        self._reading = Reading(broker.blogs, broker.entries)
        self._results = Results(broker.blogs, broker.entries, broker.revisions)
        self._attempts = Attempts(broker, self._reading)
        self.pins = Pins(self._reading, broker.entries, self.edit_entry)
        self.bin = Bin(self._reading, broker.bin)
        self._renderer = Renderer()
        self.history = History(self._reading, broker.revisions)
        shared = self._reading, self.history, self._renderer, self._attempts, self._results
        self.headers = Headers(*shared, broker.revisions)
        self.create_blog, self.edit_blog = self.headers.create, self.headers.edit
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

        def compose() -> Write[Entry]:
            entry = decisions.new_entry(caller, new_id("e", 12), patch, self._now())
            entry = decisions.pressed(caller, entry, pressed_at)
            return replace(entry_write(None, entry, call, fresh=True), status=201)

        return await self._results.entry(slug, await self._attempts.new(slug, call, compose))

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
        and `fields` has more than MARKS. Raises 409 when the entry's status cannot change to the
        requested one, 410 when the entry is deleted.
        """
        patch = decisions.entry_patch(fields)
        call = call_key(caller, f"PATCH {slug} {id}", key, [dict(fields), replaced(seen)])
        await self._reading.check_blog(caller, slug)
        await self._render(patch)

        async def decide(stored: StoredEntry) -> Write[Entry] | None:
            decisions.check_may_edit(caller, stored.entry)
            decisions.check_if_match(seen, patch)
            await self._check_seen(slug, stored.entry, seen)
            if not patch:
                return None
            entry = decisions.edited_entry(caller, stored.entry, patch, self._now())
            return _edit_write(stored, decisions.pressed(caller, entry, pressed_at), patch, call)

        return await self._altered(caller, slug, id, call, decide)

    async def restore_revision(
        self,
        caller: Caller,
        slug: str,
        id: str,
        revision: int,
        seen: Revisions | None = None,
        key: str | None = None,
    ) -> EntryResult:
        """Store the words of an earlier revision as a new one; `seen` as in `edit_entry`, optional.

        Raises 404 when the store does not have the revision, 409 when it is the newest one, and
        what `edit_entry` raises for the same words.
        """
        what = f"POST {slug} {id} revisions {revision} restore"
        call = call_key(caller, what, key, replaced(seen))
        await self._reading.check_blog(caller, slug)

        async def decide(stored: StoredEntry) -> Write[Entry]:
            decisions.check_may_edit(caller, stored.entry)
            await self._check_seen(slug, stored.entry, seen)
            decisions.check_is_earlier(stored.entry, revision)
            earlier = await self.history.earlier_entry(caller, slug, id, revision)
            patch = decisions.words_of(stored.entry, earlier)
            await self._render(patch)
            entry = decisions.edited_entry(caller, stored.entry, patch, self._now())
            return _edit_write(stored, entry, patch, call)

        return await self._altered(caller, slug, id, call, decide)

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
            decisions.check_may_edit(caller, stored.entry)
            if undo:
                was = await self._earlier.before_retraction(slug, id)
                entry = retraction.undone(caller, stored.entry, was)
            else:
                entry = retraction.retracted(caller, stored.entry, patch)
            return replace(entry_write(stored, entry, call), history="push")

        return await self._altered(caller, slug, id, call, decide)

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

        outcome = await self._attempts.entry(caller, slug, id, call, decide, or_damaged=True)
        if takedown:
            await self._attempts.erase_from_file(slug, outcome)
        return await self._results.delete(slug, outcome)

    async def restore_entry(
        self, caller: Caller, slug: str, id: str, key: str | None = None
    ) -> EntryResult:
        """Undo a deletion with a new change.

        The entry gets back its text, its revision and its `order`, and so its place in the blog.

        Raises 409 when the entry is not deleted, 410 after a takedown and when its text is no
        longer stored, 30 days after the deletion.
        """
        call = call_key(caller, f"POST {slug} {id} restore", key, None)
        await self._reading.check_blog(caller, slug)

        async def decide(stored: StoredEntry) -> Write[Entry]:
            decisions.check_owns(caller, stored.entry, "restore")
            decisions.check_restorable(stored.entry)
            earlier = await self._earlier.last_entry(slug, id)
            entry = decisions.restored_entry(stored.entry, earlier)
            return replace(entry_write(stored, entry, call), history="pop")

        return await self._altered(caller, slug, id, call, decide)

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

    async def _altered(
        self, caller: Caller, slug: str, id: str, call: CallKey, decide: Decide
    ) -> EntryResult:
        outcome = await self._attempts.entry(caller, slug, id, call, decide)
        return await self._results.entry(slug, outcome)

    async def _check_seen(self, slug: str, current: Entry, seen: Revisions | None) -> None:
        """Raise RevisionConflict unless the caller saw the stored revision, or sent no If-Match."""
        if not decisions.may_replace(seen, current.revision):
            [theirs] = await self._reading.results(slug, [current])
            raise RevisionConflict(theirs)

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
