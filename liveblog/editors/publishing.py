"""Every call of an editor: permission, read, merge, render, and a compare-and-set commit.

The API, the desk, the schedule and the demo all call this module, so each rule exists once. A write
reads the record, decides on that copy, and asks the store to replace exactly that copy. When
another write was faster, the store replies "stale", and the write decides again on the new copy.

Rules: the only caller of `Writes.commit`. Knows no HTTP and no hub.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, Literal, TypeVar

from liveblog.blog.model import (
    BLOG_ID,
    DRAFTS_MAX,
    PUBLISHED,
    SYSTEM,
    Blog,
    Caller,
    DamagedEntry,
    Entry,
    new_id,
)
from liveblog.blog.problem import (
    Damaged,
    Problem,
    StoreDown,
    StoreRefuses,
    conflict,
    invalid,
    not_found,
)
from liveblog.editors import decisions
from liveblog.editors.calls import call_key, replaced
from liveblog.editors.decisions import MARKS, UNPUBLISHED, EntryPatch, Revisions
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
    RefusalReason,
    Refused,
    Stale,
    Write,
    blog_write,
    entry_write,
    unnumbered,
)

PAUSE_S: Final = 0.01  # longest random wait before the first retry; twice this before the second
# Attempts before the caller gets 503. An attempt fails when another write was faster.
TRIES_MAX: Final = 20
T = TypeVar("T")
Fields = Mapping[str, object]  # JSON members that a caller sent
Decide = Callable[[StoredEntry], Awaitable[Write[Entry] | None]]


class Publishing:
    """Performs editors' calls: reads, creates and alters blogs and entries.

    `now` returns milliseconds since 1970.

    Each call raises Problem for a mistake of the caller, and StoreDown when the outcome is unknown.
    A caller then repeats the call with the same `key` (its Idempotency-Key): it takes effect once.
    """

    def __init__(self, broker: Broker, now: Callable[[], int]) -> None:
        self._writes, self._entries = broker.writes, broker.entries
        self._due, self._eraser, self._rebuilding = broker.due, broker.eraser, broker.rebuilding
        self._reading = Reading(broker.blogs, broker.entries)
        self._results = Results(broker.blogs, broker.entries)
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
        and `fields` has more than key, key_title and pinned. Raises 409 when the entry's status
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

        outcome = await self._alter(caller, slug, id, call, decide)
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

        outcome = await self._alter(caller, slug, id, call, decide, or_damaged=True)
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

        Raises 409 when the entry is not deleted, 410 after a takedown.
        """
        call = call_key(caller, f"POST {slug} {id} restore", key, None)
        await self._reading.check_blog(caller, slug)

        async def decide(stored: StoredEntry) -> Write[Entry]:
            decisions.check_owns(caller, stored.entry, "restore")
            decisions.check_restorable(stored.entry)
            earlier = await self._entries.earlier(slug, id)
            entry = decisions.restored_entry(stored.entry, earlier)
            return replace(entry_write(stored, entry, call), history="pop")

        outcome = await self._alter(caller, slug, id, call, decide)
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

    async def _alter(
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


# -- the loop --------------------------------------------------------------------------------------


async def until_fresh(slug: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `attempt`, which reads, decides and commits; retry when it raises Stale.

    Raises 503 after TRIES_MAX attempts. When the store refuses the write, raises the Problem for
    the caller.
    """
    for lost in range(TRIES_MAX):
        try:
            return await attempt()
        except Stale:
            await asyncio.sleep(random.uniform(0, PAUSE_S * (lost + 1)))  # noqa: S311 - no secret
        except Refused as refused:
            raise _problem_of(refused.why, slug) from refused
    raise Problem(503, "busy", "Others are editing this at the same time.", retry_after_s=1)


def _problem_of(refusal: RefusalReason, slug: str) -> Problem:
    """Return the problem that the caller gets when publish.lua refuses a write."""
    return {
        "other": Problem(
            422, "idempotency-key-reused", "This Idempotency-Key was used for another request."
        ),
        "ended": conflict("The blog has ended; re-open it to publish."),
        "absent": not_found("There is no such blog."),
        "exists": conflict(f"The slug {slug!r} is taken."),
        "full": conflict(f"The blog has {DRAFTS_MAX} unpublished entries, the limit."),
    }[refusal]


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
