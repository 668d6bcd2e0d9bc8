"""Every write of an editor.

Permission, read, merge, render, and a commit that compares what was read.

The API, the desk, the schedule and the demo all come through here, so a rule stands once. A write
reads the record, decides on that copy, and asks the store to replace exactly that copy; when
another write was faster the store says "stale" and the decision is made again on the new copy.

Rules: the only caller of `Broker.commit`. Knows no HTTP and no hub.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from liveblog.blog.fields import HTML_BYTES_MAX, BlogFields, EntryFields, check_fields, convert
from liveblog.blog.instant import parse_time
from liveblog.blog.model import (
    BLOG_ID,
    DRAFTS_MAX,
    PUBLISHED,
    SYSTEM,
    Blog,
    Caller,
    Entry,
    EntryStatus,
    Link,
    Position,
    is_entry_id,
    is_slug,
    new_id,
)
from liveblog.blog.problem import Damaged, Problem, conflict, forbidden, invalid, not_found
from liveblog.html import markdown
from liveblog.store.broker import (
    Broker,
    Committed,
    Known,
    Stand,
    Stored,
    Write,
    blog_record,
    entry_record,
)

PAUSE_S: Final = 0.01  # the longest wait after the first lost race; longer after each
TRIES_MAX: Final = 20  # lost races for one record before the caller hears of it
LIST_MAX: Final = 100
BLOGS_LISTED_MAX: Final = 500  # for callers who are bound to none
SCANNED_MAX: Final = 2_000  # entries read for one page of a list
# What is in the one thread that renders and waits for it: 1,000 usual texts, or 50 of the longest,
# which are 15 s of work when they are hostile.
RENDERED_AT_ONCE_MAX: Final = 1_000_000  # characters
MARKS: Final = {
    "key",
    "key_title",
    "pinned",
}  # may be altered without If-Match, and make no new revision
UNPUBLISHED: Final = ("draft", "submitted", "scheduled")
CONTRIBUTORS_STATUS: Final = ("draft", "submitted")


class Written(NamedTuple):
    """An entry as a write or read found it.

    `position` is that of its last change, None until published.
    """

    entry: Entry
    position: Position | None
    status: int = 200
    replayed: bool = False


class BlogAt(NamedTuple):
    """A blog and its position."""

    blog: Blog
    position: Position
    status: int = 200
    replayed: bool = False


class Deleted(NamedTuple):
    """What a delete did; `offset` and `position` are None when it was never published."""

    id: str
    offset: int | None
    position: Position | None
    takedown: bool
    revisions_erased: int
    replayed: bool = False


class Call(NamedTuple):
    """One unsafe call.

    Which key it is remembered under, and the fingerprint of what it asks for.
    """

    idem: str
    request: str


class Publishing:
    """The editor's calls. `now` gives milliseconds since 1970.

    Every method raises Problem for what the caller did wrong and StoreDown when the outcome is
    unknown; repeating the call with the same `key` (an Idempotency-Key of the caller's) then makes
    it certain, and one.
    """

    def __init__(self, broker: Broker, now: Callable[[], int]) -> None:
        self._broker, self._now = broker, now

    # -- blogs

    async def blogs(self, caller: Caller) -> list[BlogAt]:
        """Return the blogs the caller may see, newest activity first.

        Of a caller who is bound to no blogs the BLOGS_LISTED_MAX with the newest activity.
        """
        stands = await self._broker.blogs(BLOGS_LISTED_MAX, caller.blogs)
        return [BlogAt(stand.blog, stand.position) for stand in stands]

    async def blog(self, caller: Caller, slug: str) -> BlogAt:
        stand = await self._stand(caller, slug)
        return BlogAt(stand.blog, stand.position)

    async def create_blog(
        self, caller: Caller, fields: dict[str, Any], key: str | None = None
    ) -> BlogAt:
        """Create a blog; its creation is its first change.

        Raises 403 for a contributor or a caller bound to blogs, 409 for a slug that is taken.
        """
        given = check_fields(convert(fields, BlogFields))
        _needed(given, "slug", "title")
        if caller.role == "contributor" or caller.blogs:
            raise forbidden("Creating a blog needs the role editor, bound to no blog.")
        slug = given["slug"]
        call = _call(caller, "POST blogs", key, fields)
        blog = _merge_blog(Blog(slug=slug, title=given["title"]), await _rendered(given, "summary"))
        write = _blog_write("create", None, blog, call)
        done = await self._broker.commit(slug, replace(write, status=201))
        if done == "exists":
            raise conflict(f"The slug {slug!r} is taken.")
        return await self._blog_result(slug, done, 201)

    async def edit_blog(
        self, caller: Caller, slug: str, fields: dict[str, Any], key: str | None = None
    ) -> BlogAt:
        """Merge `fields` into the header.

        A new zone or language begins a new epoch, since every entry's HTML changes. Without fields
        nothing is written, and the answer is the blog as it is.
        """
        given = check_fields(convert(fields, BlogFields))
        call = _call(caller, f"PATCH {slug}", key, fields)
        await self._stand(caller, slug)
        if caller.role == "contributor":
            raise forbidden("Altering a blog needs the role editor.")
        if given.get("slug", slug) != slug:
            raise invalid(("/slug", "cannot be altered; it is the blog's address"))
        merged = await _rendered(given, "summary")

        async def attempt() -> Any:
            stand = await self._stand(caller, slug)
            if not given:
                known = await self._known(slug, call, key)
                return known or BlogAt(stand.blog, stand.position)
            blog = _merge_blog(stand.blog, merged)
            write = _blog_write("header", stand, blog, call)
            return await self._broker.commit(slug, write)

        return await self._blog_result(slug, await _until_fresh(attempt))

    async def _blog_result(self, slug: str, done: Any, status: int = 200) -> BlogAt:
        if isinstance(done, BlogAt):
            return done
        if isinstance(done, Known):
            stand = await self._broker.stand(slug)
            position = Position.parse(done.position or "")
            if not stand or not position:
                raise Damaged(f"what is stored of blog {slug} makes no sense")
            return BlogAt(stand.blog, position, done.status, replayed=True)
        if isinstance(done, Committed) and isinstance(done.record, Blog) and done.position:
            return BlogAt(done.record, done.position, status)
        raise _refused(done)

    async def _stand(self, caller: Caller, slug: str) -> Stand:
        """Return the blog if the caller may see it, else raise 404."""
        stand = await self._broker.stand(slug) if is_slug(slug) and caller.sees(slug) else None
        if not stand:
            raise not_found(f"There is no blog {slug[:80]!r} that you may see.")
        return stand

    # -- reading entries

    async def entry(self, caller: Caller, slug: str, id: str) -> Written:
        """Return an entry.

        Raises 410 when it is deleted, 404 when it is unknown or another contributor's draft.
        """
        await self._stand(caller, slug)
        stored = await self._readable(caller, slug, id)
        return (await self._at(slug, [_alive(stored.entry)]))[0]

    async def entries(
        self,
        caller: Caller,
        slug: str,
        before: str | None = None,
        limit: int = 50,
        status: str = "published",
    ) -> tuple[list[Written], str | None]:
        """Return a page of entries, newest first, and the id to ask for the next one before.

        "published" and "retracted" are ordered by publication, the others by their last alteration.
        A page may have fewer than `limit` entries although there is a next one: a rare status is
        looked for in SCANNED_MAX entries at a time.
        """
        await self._stand(caller, slug)
        if status in UNPUBLISHED:
            found, last = await self._drafts_before(caller, slug, before, limit, status)
        elif status in PUBLISHED:
            found, last = await self._published_before(slug, before, limit, (status,))
        else:
            raise invalid(("/status", f"must be one of {', '.join((*UNPUBLISHED, *PUBLISHED))}"))
        return await self._at(slug, found), last

    async def shown(
        self, caller: Caller, slug: str, before: str | None, limit: int
    ) -> tuple[list[Written], str | None]:
        """Return a page of what readers see, retracted entries included, as `entries` does."""
        await self._stand(caller, slug)
        found, last = await self._published_before(slug, before, limit, PUBLISHED)
        return await self._at(slug, found), last

    async def unpublished(self, caller: Caller, slug: str) -> list[Entry]:
        """Return what is not published and the caller may read, the newest alteration first."""
        await self._stand(caller, slug)
        drafts = await self._broker.drafts(slug)
        return [draft for draft in drafts if _is_readable(caller, draft)]

    async def _published_before(
        self, slug: str, before: str | None, limit: int, statuses: tuple[str, ...]
    ) -> tuple[list[Entry], str | None]:
        order = await self._order_of(slug, before) if before else None
        found: list[Entry] = []
        for _ in range(0, SCANNED_MAX, LIST_MAX):
            batch = await self._broker.listed(slug, order, LIST_MAX)
            # One may have been deleted since its id was read.
            found += [it for it in batch if it.status in statuses and not it.deleted]
            if len(found) > limit:
                return found[:limit], found[limit - 1].id
            if len(batch) < LIST_MAX:
                return found, None
            order = batch[-1].order
        return found, batch[-1].id

    async def _order_of(self, slug: str, id: str) -> int:
        entry = await self._broker.entry(slug, id) if is_entry_id(id) else None
        if not entry or entry.order is None:
            raise invalid(("/before", "is not the id of an entry that was ever published here"))
        return entry.order

    async def _drafts_before(
        self, caller: Caller, slug: str, before: str | None, limit: int, status: str
    ) -> tuple[list[Entry], str | None]:
        drafts = [d for d in await self.unpublished(caller, slug) if d.status == status]
        if before:
            at = next((i for i, draft in enumerate(drafts) if draft.id == before), None)
            if at is None:
                raise invalid(("/before", f"is not the id of an entry that is {status} now"))
            drafts = drafts[at + 1 :]
        return drafts[:limit], drafts[limit - 1].id if len(drafts) > limit else None

    async def _readable(self, caller: Caller, slug: str, id: str) -> Stored:
        stored = await self._broker.stored(slug, id) if is_entry_id(id) else None
        if not stored or not _is_readable(caller, stored.entry):
            raise not_found(f"There is no entry {id[:40]!r} in this blog that you may see.")
        return stored

    async def _at(self, slug: str, entries: list[Entry]) -> list[Written]:
        positions = await self._broker.positions(slug, entries)
        return [Written(e, p) for e, p in zip(entries, positions, strict=True)]

    # -- writing entries

    async def create_entry(
        self, caller: Caller, slug: str, fields: dict[str, Any], key: str | None = None
    ) -> Written:
        """Publish an entry, or keep it as a draft, a submission, or scheduled by `publish_at`.

        Raises 409 when the blog has ended, 403 for what a contributor may not do.
        """
        given = check_fields(convert(fields, EntryFields))
        call = _call(caller, f"POST {slug}", key, fields)
        await self._stand(caller, slug)
        given = await _rendered(given, "body")

        async def attempt() -> Any:
            known = await self._known(slug, call, key)
            if known:
                return known
            entry = self._merged(caller, self._first(caller, given), given)
            return await self._broker.commit(
                slug, replace(_entry_write(None, entry, call, fresh=True), status=201)
            )

        return await self._result(slug, await _until_fresh(attempt), 201)

    def _first(self, caller: Caller, given: dict[str, Any]) -> Entry:
        status = _first_status(caller, given)
        return Entry(id=new_id("e", 12), author=caller.ident, status=status)

    async def edit_entry(
        self,
        caller: Caller,
        slug: str,
        id: str,
        fields: dict[str, Any],
        revision: int | None,
        key: str | None = None,
    ) -> Written:
        """Merge `fields` into an entry of which the caller saw `revision`.

        Without fields nothing is written, and the answer is the entry as it is.

        Raises 412 with `current` (a Written) when another revision is stored, 428 when `revision`
        is None and more than key, key_title and pinned is mentioned, 409 for a status that cannot
        follow, 410 when it is deleted.
        """
        given = check_fields(convert(fields, EntryFields))
        call = _call(caller, f"PATCH {slug} {id}", key, [fields, revision])
        await self._stand(caller, slug)
        given = await _rendered(given, "body")

        async def attempt() -> Any:
            stored = await self._readable(caller, slug, id)
            known = await self._known(slug, call, key)
            if known:
                return known
            current = _alive(stored.entry)
            _may_edit(caller, current)
            if revision is None and not given.keys() <= MARKS:
                raise Problem(
                    428, "if-match-needed", 'Send If-Match: "{revision}" with the one you saw.'
                )
            if revision not in (None, current.revision):
                raise await self._conflict(slug, current)
            if not given:
                return (await self._at(slug, [current]))[0]
            entry = self._merged(caller, _next_status(current, given), given)
            return await self._broker.commit(slug, self._edit(stored, entry, given, call))

        return await self._result(slug, await _until_fresh(attempt))

    def _edit(self, stored: Stored, entry: Entry, given: dict[str, Any], call: Call) -> Write:
        published_now = stored.entry.status in UNPUBLISHED and entry.status in PUBLISHED
        if given.keys() <= MARKS:
            return _entry_write(stored, entry, call)
        entry = msgspec.structs.replace(entry, revision=stored.entry.revision + 1)
        write = _entry_write(stored, entry, call, fresh=published_now)
        return replace(write, history="push")

    async def _conflict(self, slug: str, current: Entry) -> Problem:
        theirs = (await self._at(slug, [current]))[0]
        detail = f"The entry was saved by someone else: it is at revision {current.revision} now."
        return Problem(412, "revision-conflict", detail, extra={"current": theirs})

    async def delete_entry(
        self,
        caller: Caller,
        slug: str,
        id: str,
        takedown: bool = False,
        key: str | None = None,
    ) -> Deleted:
        """Remove an entry; with `takedown` also erase every revision, draft and copy of it.

        Again the same.

        Raises 403 for a takedown by other than an admin.
        """
        call = _call(caller, f"DELETE {slug} {id}", key, takedown)
        await self._stand(caller, slug)
        if takedown and caller.role != "admin":
            raise forbidden("A takedown needs the role admin.")

        async def attempt() -> Any:
            stored = await self._readable(caller, slug, id)
            known = await self._known(slug, call, key)
            if known:
                return known
            _may_remove(caller, stored.entry)
            return await self._broker.commit(
                slug, await self._removal(slug, stored, takedown, call)
            )

        done = await _until_fresh(attempt)
        if takedown:
            await self._broker.want_rewrite(slug, again=isinstance(done, Known))
        return await self._deleted(slug, id, done)

    async def _removal(self, slug: str, stored: Stored, takedown: bool, call: Call) -> Write:
        was = stored.entry
        erased = was.revisions_erased
        if takedown and not was.takedown:
            erased = stored.revisions + (not was.deleted)
        tomb = Entry(
            id=was.id,
            revision=was.revision,
            status=was.status,
            author=was.author,
            offset=was.offset,
            order=was.order,
            published_at=was.published_at,
            deleted=True,
            takedown=takedown or was.takedown,
            revisions_erased=erased,
        )
        write = _entry_write(stored, tomb, call)
        if was.deleted:  # readers see nothing of it: kept where it is, with the numbers it has
            position = (await self._broker.positions(slug, [was]))[0]
            kept = entry_record(tomb) | {"offset": was.offset, "order": was.order}
            kept["published_at"] = was.published_at
            write = replace(write, op="keep", record=kept, position=position)
        return replace(write, history="erase" if takedown else "" if was.deleted else "push")

    async def _deleted(self, slug: str, id: str, done: Any) -> Deleted:
        stored = await self._broker.stored(slug, id)
        if isinstance(done, Known):
            position = Position.parse(done.position or "")
            takedown = bool(stored and stored.entry.takedown)
            offset = position.offset if position else None
            return Deleted(id, offset, position, takedown, done.revisions_erased, replayed=True)
        if not isinstance(done, Committed) or not isinstance(done.record, Entry):
            raise _refused(done)
        tomb = done.record
        position = done.position or (await self._broker.positions(slug, [tomb]))[0]
        return Deleted(id, tomb.offset, position, tomb.takedown, tomb.revisions_erased)

    async def restore_entry(
        self, caller: Caller, slug: str, id: str, key: str | None = None
    ) -> Written:
        """Undo a delete: a new change with the old order, revision and text.

        Raises 409 when the entry is not deleted, 410 after a takedown.
        """
        call = _call(caller, f"POST {slug} {id} restore", key, None)
        await self._stand(caller, slug)

        async def attempt() -> Any:
            stored = await self._readable(caller, slug, id)
            known = await self._known(slug, call, key)
            if known:
                return known
            _may_remove(caller, stored.entry)
            if not stored.entry.deleted:
                raise conflict("The entry is not deleted.")
            earlier = await self._broker.earlier(slug, id)
            if stored.entry.takedown or not earlier:
                raise _gone("The entry was taken down; nothing of it is kept.")
            if earlier.status == "scheduled":  # its time was part of what was deleted
                earlier = msgspec.structs.replace(earlier, status="draft", publish_at=None)
            write = _entry_write(stored, earlier, call)
            return await self._broker.commit(slug, replace(write, history="pop"))

        return await self._result(slug, await _until_fresh(attempt))

    # -- the schedule

    async def publish_due(self, slug: str, id: str, now: int) -> bool:
        """Publish a scheduled entry that was due at `now`.

        Any number of workers may, it happens once.

        False when there is nothing to do: another worker was first, it was altered, or the blog has
        ended.
        """
        stored = await self._broker.stored(slug, id)
        if not stored or stored.entry.status != "scheduled" or stored.entry.deleted:
            await self._broker.unschedule(slug, id, stored.raw if stored else None)
            return False
        if (stored.entry.publish_at or 0) > now:  # put off since it was listed
            return False
        entry = msgspec.structs.replace(stored.entry, status="published", publish_at=None)
        call = _call(SYSTEM, f"due {slug}", f"due:{id}:{entry.revision}", None)
        done = await self._broker.commit(slug, _entry_write(stored, entry, call, fresh=True))
        return isinstance(done, Committed)

    # -- shared steps

    def _merged(self, caller: Caller, entry: Entry, given: dict[str, Any]) -> Entry:
        fields = {
            n: v for n, v in given.items() if n not in ("status", "published_at", "publish_at")
        }
        if "byline" in fields:
            fields["byline"] = fields["byline"] or []
        if entry.status == "scheduled" and given.get("publish_at") is not None:
            fields["publish_at"] = self._future(given["publish_at"])
        if given.get("published_at") is not None:
            fields["published_at"] = self._past(given["published_at"])
        if caller.role == "contributor" and (fields.get("key") or fields.get("pinned")):
            raise forbidden("Marking an entry as key or pinned needs the role editor.")
        merged = msgspec.structs.replace(entry, **fields)
        if not merged.headline and not merged.body:
            raise invalid(("/body", "an entry needs a headline or a body"))
        if caller.role == "contributor" and merged.status not in CONTRIBUTORS_STATUS:
            raise forbidden(
                f"A contributor may keep drafts and submit them, not set {merged.status}."
            )
        return merged

    def _future(self, value: str) -> int:
        at = parse_time(value)
        if at <= self._now():
            raise invalid(("/publish_at", f"is in the past: {value}"))
        return at

    def _past(self, value: str) -> int:
        at = parse_time(value)
        if at > self._now():
            raise invalid(("/published_at", f"is in the future: {value}"))
        return at

    async def _known(self, slug: str, call: Call, key: str | None) -> Any:
        """Return the first result of a repeated call, before its fields are judged again.

        Else None.
        """
        return await self._broker.known(slug, call.idem, call.request) if key else None

    async def _result(self, slug: str, done: Any, status: int = 200) -> Written:
        if isinstance(done, Written):
            return done
        if isinstance(done, Committed) and isinstance(done.record, Entry):
            return Written(done.record, done.position, status)
        if isinstance(done, Known):
            return await self._replay(slug, done)
        raise _refused(done)

    async def _replay(self, slug: str, known: Known) -> Written:
        stored = await self._broker.stored(slug, known.id)
        if not stored or stored.entry.deleted:
            raise _gone("This was done, and the entry was deleted since.")
        entry: Entry | None = stored.entry
        if stored.entry.revision != known.revision:
            entry = await self._broker.earlier(slug, known.id, known.revision)
        if not entry:
            raise _gone("This was done, but the text of that revision exists no more.")
        position = Position.parse(known.position or "")
        offset = position.offset if position else None
        shown = msgspec.structs.replace(entry, offset=offset) if position else entry
        return Written(shown, position, known.status, replayed=True)


# -- pure parts ------------------------------------------------------------------------------------


def _first_status(caller: Caller, given: dict[str, Any]) -> EntryStatus:
    """Return a new entry's status.

    Published unless asked otherwise, a contributor's draft, scheduled by publish_at.
    """
    scheduled = given.get("publish_at") is not None
    default: EntryStatus = "draft" if caller.role == "contributor" else "published"
    status: EntryStatus = given.get("status", "scheduled" if scheduled else default)
    if status == "retracted":
        raise invalid(("/status", "must be published, draft or submitted for a new entry"))
    if scheduled and status in CONTRIBUTORS_STATUS:
        raise invalid(("/publish_at", f"schedules, so status cannot be {status!r}"))
    if not scheduled and status == "scheduled":
        raise invalid(("/publish_at", "is needed to schedule"))
    return "scheduled" if scheduled else status


class _Markdown:
    """Rendering off the event loop, RENDERED_AT_ONCE_MAX at once.

    In one thread: more would only take more turns from the loop (they share one interpreter lock).
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="markdown")
        self._waiting = 0

    async def html(self, text: str) -> str:
        """Return a text's HTML. Raises Problem 503 when too much waits already."""
        if self._waiting + len(text) > RENDERED_AT_ONCE_MAX:
            raise Problem(503, "busy", "Too much is being written just now.", retry_after_s=1)
        self._waiting += len(text)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, markdown.to_html, text)
        finally:
            self._waiting -= len(text)


_MARKDOWN: Final = _Markdown()


async def _rendered(given: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the fields with the HTML of the Markdown one, made in a thread.

    Hostile text takes long.

    Raises 422 when it makes more than HTML_BYTES_MAX, 503 when too much waits.
    """
    if name not in given:
        return given
    html = await _MARKDOWN.html(given[name]) if given[name] else None
    size = len(html.encode()) if html else 0
    if size > HTML_BYTES_MAX:
        raise invalid((f"/{name}", f"makes {size} bytes of HTML; the limit is {HTML_BYTES_MAX}"))
    return given | {f"{name}_html": html}


async def _until_fresh(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a read-decide-commit while others are faster, TRIES_MAX times at most."""
    for lost in range(TRIES_MAX):
        done = await attempt()
        if done != "stale":
            return done
        await asyncio.sleep(random.uniform(0, PAUSE_S * (lost + 1)))  # noqa: S311 - no secret
    raise Problem(503, "busy", "Others are altering this at the same time.", retry_after_s=1)


def _call(caller: Caller, what: str, key: str | None, asked: Any) -> Call:
    """Name the call.

    Without a key of the caller's one is made, so that a retry of our own cannot write twice.
    """
    scope = f"{caller.ident}\n{what}\n{key or new_id('', 24)}"
    asked_bytes = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    return Call(
        hashlib.sha256(scope.encode()).hexdigest()[:32],
        hashlib.sha1(asked_bytes, usedforsecurity=False).hexdigest(),
    )


def _blog_write(op: Any, stand: Stand | None, blog: Blog, call: Call) -> Write:
    was = stand.blog if stand else blog
    return Write(
        op=op,
        id=BLOG_ID,
        seen=stand.raw if stand else None,
        record=blog_record(blog),
        idem=call.idem,
        request=call.request,
        blog_status=blog.status,
        rotate=(blog.timezone, blog.language) != (was.timezone, was.language),
    )


def _entry_write(stored: Stored | None, entry: Entry, call: Call, *, fresh: bool = False) -> Write:
    """Return the write of `entry` over `stored`.

    Numbered when readers see it, kept aside when not.
    """
    seen = entry.order is not None or entry.status in PUBLISHED
    shown = seen and not entry.deleted
    return Write(
        op="number" if seen else "keep",
        id=entry.id,
        seen=stored.raw if stored else None,
        record=entry_record(entry) if seen else _aside(entry),
        idem=call.idem,
        request=call.request,
        fresh=fresh,
        published_at=entry.published_at,
        order=entry.order,
        listed=shown,
        marked=shown and (entry.key or entry.pinned),
        due=entry.publish_at if entry.status == "scheduled" and not entry.deleted else None,
        revision=entry.revision,
        erased=entry.revisions_erased,
    )


def _aside(entry: Entry) -> dict[str, Any]:
    """Return the record of what is not published.

    It keeps the instant that an import stated for later.
    """
    return entry_record(entry) | {"published_at": entry.published_at}


def _merge_blog(blog: Blog, given: dict[str, Any]) -> Blog:
    fields = dict(given)
    for name in ("full_coverage", "successor"):
        if fields.get(name):
            fields[name] = Link(**fields[name])
    if fields.get("starts_at") is not None:
        fields["starts_at"] = parse_time(fields["starts_at"])
    return msgspec.structs.replace(blog, **fields)


def _next_status(entry: Entry, given: dict[str, Any]) -> Entry:
    """Return the entry with the status that `given` asks for, or raise 409 when it cannot follow.

    Draft, submitted and scheduled change into each other or to published; published to retracted
    and back.
    """
    status = given.get("status", entry.status)
    if given.get("publish_at") is not None:
        if entry.status in PUBLISHED:
            raise invalid(("/publish_at", "cannot schedule what is published"))
        if given.get("status") in CONTRIBUTORS_STATUS:
            raise invalid(("/publish_at", f"schedules, so status cannot be {status!r}"))
        status = "scheduled"
    elif "publish_at" in given and status == "scheduled":
        status = "draft"  # no time any more
    family = PUBLISHED if entry.status in PUBLISHED else (*UNPUBLISHED, "published")
    if status is None or status not in family:
        raise conflict(f"An entry that is {entry.status} cannot become {status}.")
    if status == "scheduled" and given.get("publish_at") is None and entry.publish_at is None:
        raise invalid(("/publish_at", "is needed to schedule"))
    publish_at = entry.publish_at if status == "scheduled" else None
    return msgspec.structs.replace(entry, status=status, publish_at=publish_at)


def _is_readable(caller: Caller, entry: Entry) -> bool:
    """Say whether the caller may know of the entry.

    A contributor sees what is published, and what it made.
    """
    seen = entry.order is not None or caller.role != "contributor"
    return seen or entry.author == caller.ident


def _may_edit(caller: Caller, entry: Entry) -> None:
    own = entry.author == caller.ident and entry.status in CONTRIBUTORS_STATUS
    if caller.role == "contributor" and not own:
        raise forbidden("A contributor may edit its own drafts and submissions.")


def _may_remove(caller: Caller, entry: Entry) -> None:
    own = entry.author == caller.ident and entry.status in CONTRIBUTORS_STATUS
    if caller.role == "contributor" and not own:
        raise forbidden("A contributor may delete and restore its own drafts and submissions.")


def _alive(entry: Entry) -> Entry:
    if entry.deleted:
        raise _gone("The entry is deleted.")
    return entry


def _gone(detail: str) -> Problem:
    return Problem(410, "gone", detail)


def _needed(given: dict[str, Any], *names: str) -> None:
    missing = [(f"/{name}", "is needed") for name in names if given.get(name) is None]
    if missing:
        raise invalid(*missing)


def _refused(done: Any) -> Problem:
    """Return the problem for a refusal of publish.lua."""
    return {
        "other": Problem(
            422, "idempotency-key-reused", "This Idempotency-Key was used for another request."
        ),
        "ended": conflict("The blog has ended; re-open it to publish."),
        "absent": not_found("There is no such blog."),
        "exists": conflict("That exists already."),
        "stale": conflict("That was altered meanwhile."),
        "full": conflict(f"The blog has {DRAFTS_MAX} unpublished entries, the limit."),
    }[done]
