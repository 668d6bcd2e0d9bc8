"""Decisions about a write of an entry: permission, the next status, and how fields merge.

Each function takes the stored record and the fields that the caller sent. It returns the new
record, or raises the Problem that the caller gets.

Rules: pure, no I/O, no clock: `now` is milliseconds since 1970.
"""

from collections.abc import Collection, Sequence
from typing import Final, Literal, TypedDict, TypeVar, cast

import msgspec

from liveblog.blog.fields import EntryFields, Fields, check_fields, convert
from liveblog.blog.instant import parse_time
from liveblog.blog.model import (
    PUBLISHED,
    REVISION_MAX,
    Blog,
    Caller,
    DamagedEntry,
    Entry,
    EntryStatus,
    NoteKind,
)
from liveblog.blog.pins import exact
from liveblog.blog.problem import Problem, conflict, forbidden, invalid, not_found
from liveblog.html.markdown import shows_nothing

# Fields that an edit may change without If-Match. An edit of only these makes no new revision.
MARKS: Final = {"key", "key_title", "pinned", "pin_order"}
# The revision, or any of several, that an edit may replace, as the caller states in If-Match.
Revisions = int | Sequence[int]
ANY_REVISION: Final = range(1, REVISION_MAX + 1)
_WORDS: Final = {"headline", "body"}
UNPUBLISHED: Final = ("draft", "submitted", "scheduled")
CONTRIBUTORS_STATUS: Final = ("draft", "submitted")
R = TypeVar("R", Blog, Entry)


class EntryPatch(TypedDict, total=False):
    """The checked fields that a caller sent for an entry; None removes a field's value."""

    headline: str | None
    body: str | None
    body_html: str | None  # rendered from the body; no caller sends this field
    byline: list[str] | None
    dateline: str | None
    key: bool
    key_title: str | None
    pinned: bool
    pin_order: float | None
    status: EntryStatus
    publish_at: str | None
    published_at: str | None
    note_kind: NoteKind | None
    note: str | None


def entry_patch(fields: Fields) -> EntryPatch:
    """Return the fields that a caller sent for an entry.

    Raises 422 for an unknown name, and for a type or value that blog/fields.py rejects.
    Text that is empty or only white space becomes None.
    """
    return cast(EntryPatch, check_fields(convert(dict(fields), EntryFields)))


# -- permission


def is_readable(caller: Caller, entry: Entry) -> bool:
    """Return whether the caller may read the entry.

    A contributor may read entries that were published, and the entries that this contributor
    created.
    """
    was_published = entry.order is not None
    return was_published or caller.role != "contributor" or entry.author == caller.ident


def check_owns(caller: Caller, entry: Entry, verb: Literal["edit", "delete", "restore"]) -> None:
    """Raise 403 for a contributor, unless the entry is this caller's own draft or submission."""
    if not _owns(caller, entry):
        raise forbidden(f"A contributor may {verb} only its own drafts and submissions.")


def _owns(caller: Caller, entry: Entry) -> bool:
    is_own = entry.author == caller.ident and entry.status in CONTRIBUTORS_STATUS
    return caller.role != "contributor" or is_own


def may_restore(caller: Caller, deleted: Entry, earlier: Entry | None) -> bool:
    """Return whether the caller may restore a deleted entry, and the store has its newest text."""
    is_whole = earlier is not None and earlier.revision == deleted.revision
    return is_whole and not deleted.takedown and _owns(caller, deleted)


def check_may_mark(caller: Caller) -> None:
    """Raise 403 for a contributor, who may neither pin entries nor mark key events."""
    if caller.role == "contributor":
        raise forbidden("Marking an entry as key or pinned needs the role editor.")


def check_may_take_down(caller: Caller) -> None:
    """Raise 403 unless the caller is an admin."""
    if caller.role != "admin":
        raise forbidden("A takedown needs the role admin.")


def check_not_deleted(entry: Entry) -> None:
    """Raise 410 for a tombstone."""
    if entry.deleted:
        raise gone("The entry is deleted.")


def check_may_edit(caller: Caller, entry: Entry) -> None:
    """Raise 410 for a tombstone, 403 for a contributor as `check_owns` does."""
    check_not_deleted(entry)
    check_owns(caller, entry, "edit")


def check_is_earlier(record: Blog | Entry, revision: int) -> None:
    """Raise 409 when a revision is the newest one; 404 when there was no such revision."""
    if revision == record.revision:
        raise conflict(f"Revision {revision} is the newest one.")
    if not 1 <= revision <= record.revision:
        raise not_found(f"There is no revision {revision}.")


def may_replace(seen: Revisions | None, revision: int) -> bool:
    """Return whether an edit may replace a revision; without If-Match, the newest one."""
    return seen in (None, revision) or (not isinstance(seen, int) and revision in seen)


def check_if_match(seen: Revisions | None, mentioned: Collection[str]) -> None:
    """Raise 428 when an edit needs If-Match and the caller sent none.

    Every edit needs If-Match, unless the fields in it are all in MARKS.
    """
    if seen is None and not set(mentioned) <= MARKS:
        raise Problem(
            428, "if-match-needed", 'Send If-Match: "{revision}" with the revision you saw.'
        )


def gone(detail: str) -> Problem:
    """Return the Problem with status 410 for an entry that was deleted or taken down."""
    return Problem(410, "gone", detail)


# -- entries


def new_entry(caller: Caller, id: str, patch: EntryPatch, now: int) -> Entry:
    """Return the first revision of an entry that the caller creates.

    Raises 422 for the status retracted, for a status that does not fit `publish_at`, and as
    `_merged` does. Raises 403 when a contributor sets key, pinned or a status other than draft and
    submitted.
    """
    status = _first_status(caller, patch)
    entry = Entry(id=id, author=caller.ident, author_name=caller.label, status=status)
    made = _merged(caller, entry, patch, now, must_show=True)
    return msgspec.structs.replace(made, saved_by=caller.name)


def edited_entry(caller: Caller, entry: Entry, patch: EntryPatch, now: int) -> Entry:
    """Return the entry with the patch's fields.

    The result is a new revision, unless all the fields are in MARKS.

    Raises 409 when the entry's status cannot change to the requested one, 422 as `_next_status` and
    `_merged` do, and 403 as `_merged` does.
    """
    must_show = _must_show(entry, patch)
    edited = _merged(caller, _next_status(entry, patch), patch, now, must_show=must_show)
    return edited if patch.keys() <= MARKS else next_revision(caller, edited)


def next_revision(caller: Caller, record: R) -> R:
    """Return a record as a new revision of the caller's; the store sets the time."""
    return msgspec.structs.replace(
        record, revision=record.revision + 1, saved_by=caller.name, saved_at=None
    )


def words_of(entry: Entry, earlier: Entry) -> EntryPatch:
    """Return the patch that restores the words of an earlier revision of an entry.

    Status, time, key and pin stay as they are. The note for readers belongs to the words, but that
    of a retraction belongs to the status.
    """
    patch: EntryPatch = {
        "headline": earlier.headline,
        "body": earlier.body,
        "byline": earlier.byline,
        "dateline": earlier.dateline,
    }
    if (entry.status == "retracted") == (earlier.status == "retracted"):
        patch |= {"note_kind": earlier.note_kind, "note": earlier.note}
    return patch


def pressed(caller: Caller, entry: Entry, at: int | None) -> Entry:
    """Return an entry that is published now with the time at which an editor pressed Publish.

    The press came earlier than the call when the browser could not send it. A contributor's press
    publishes nothing. A stated time comes first, and an entry that readers have keeps its time.
    `at` None: the entry gets the time of the call.
    """
    if at is None or entry.status != "published" or caller.role == "contributor":
        return entry
    if entry.published_at is not None:
        return entry
    return msgspec.structs.replace(entry, published_at=at)


def tombstone(entry: Entry, revisions: int, *, takedown: bool) -> Entry:
    """Return the tombstone, the record that replaces a deleted entry and has none of its text.

    `revisions` is the number of earlier revisions that the store keeps. A second takedown does not
    change `revisions_erased`, the number of revisions that the first one erased.
    """
    erased, is_damaged = entry.revisions_erased, isinstance(entry, DamagedEntry)
    if takedown and not entry.takedown:
        erased = revisions + (not entry.deleted or is_damaged)
    return Entry(
        id=entry.id,
        # No earlier revision has the number of a damaged one: an older text is not restored.
        revision=revisions + 1 if is_damaged else entry.revision,
        status=entry.status,
        author=entry.author,
        author_name=entry.author_name,
        offset=entry.offset,
        order=entry.order,
        published_at=entry.published_at,
        deleted=True,
        takedown=takedown or entry.takedown,
        revisions_erased=erased,
    )


def check_restorable(entry: Entry) -> None:
    """Raise 409 when the entry is not deleted."""
    if not entry.deleted:
        raise conflict("The entry is not deleted.")


def restored_entry(deleted: Entry, earlier: Entry | None) -> Entry:
    """Return the last earlier revision of a deleted entry, to replace the tombstone.

    A scheduled entry becomes a draft, since the deletion removed the entry from the schedule.
    Raises 410 when the store has no such revision: after a takedown, 30 days after the deletion,
    and when its record was damaged.
    """
    if deleted.takedown:
        raise gone("The entry was taken down; nothing of it is stored.")
    if not earlier:
        reason = "it was deleted more than 30 days ago, or damaged before the deletion"
        raise gone(f"The entry's text is no longer stored: {reason}.")
    if earlier.revision != deleted.revision:
        raise gone("The entry's newest text was damaged before the deletion, and is lost.")
    if earlier.status != "scheduled":
        return earlier
    return msgspec.structs.replace(earlier, status="draft", publish_at=None)


def published_entry(entry: Entry) -> Entry:
    """Return a scheduled entry as published."""
    return msgspec.structs.replace(entry, status="published", publish_at=None, stated_at=None)


# -- statuses and fields


def _first_status(caller: Caller, patch: EntryPatch) -> EntryStatus:
    """Return a new entry's status: published, unless the caller asks for another status.

    A contributor's entry is a draft by default. An entry with `publish_at` is scheduled.
    """
    is_scheduled = patch.get("publish_at") is not None
    default: EntryStatus = "draft" if caller.role == "contributor" else "published"
    status = patch.get("status", "scheduled" if is_scheduled else default)
    if status == "retracted":
        raise invalid(("/status", "must be published, draft or submitted for a new entry"))
    if is_scheduled and status in CONTRIBUTORS_STATUS:
        raise invalid(("/publish_at", f"schedules, so status cannot be {status!r}"))
    if not is_scheduled and status == "scheduled":
        raise invalid(("/publish_at", "is needed to schedule"))
    return "scheduled" if is_scheduled else status


def _next_status(entry: Entry, patch: EntryPatch) -> Entry:
    """Return the entry with the status that the patch asks for.

    Draft, submitted and scheduled may change into each other and to published. Published may change
    to retracted and back. Raises 409 for any other change of the status, and 422 when `publish_at`
    is missing or does not fit the status.
    """
    status = _asked_status(entry, patch)
    family = PUBLISHED if entry.status in PUBLISHED else (*UNPUBLISHED, "published")
    if status not in family:
        raise conflict(f"An entry that is {entry.status} cannot become {status}.")
    if status == "scheduled" and patch.get("publish_at") is None and entry.publish_at is None:
        raise invalid(("/publish_at", "is needed to schedule"))
    publish_at = entry.publish_at if status == "scheduled" else None
    return msgspec.structs.replace(entry, status=status, publish_at=publish_at)


def _asked_status(entry: Entry, patch: EntryPatch) -> EntryStatus:
    status = patch.get("status", entry.status)
    if patch.get("publish_at") is not None:
        if entry.status in PUBLISHED:
            raise invalid(("/publish_at", "cannot schedule what is published"))
        if patch.get("status") in CONTRIBUTORS_STATUS:
            raise invalid(("/publish_at", f"schedules, so status cannot be {status!r}"))
        return "scheduled"
    if "publish_at" in patch and status == "scheduled":
        return "draft"  # the caller removed the time
    return status


def _merged(caller: Caller, entry: Entry, patch: EntryPatch, now: int, *, must_show: bool) -> Entry:
    """Return the entry with the patch's fields; `entry` already has its next status.

    An entry that is not pinned loses its `pin_order`.

    Raises 422 for an entry that shows nothing, if it `must_show` something. Raises 422 for a
    `publish_at` in the past, for a `published_at` in the future, and for a `pin_order` of an entry
    that is not pinned. Raises 403 when a contributor sets key, pinned, pin_order or a status other
    than draft and submitted.
    """
    fields = _content(entry, patch, now) | _time(caller, entry, patch, now)
    merged = msgspec.structs.replace(entry, **fields)
    if not merged.pinned:
        merged = msgspec.structs.replace(merged, pin_order=None)
    is_marked = patch.get("key") or patch.get("pinned") or patch.get("pin_order") is not None
    if is_marked:
        check_may_mark(caller)
    if patch.get("pin_order") is not None and not merged.pinned:
        raise invalid(("/pin_order", "is only for a pinned entry; send pinned: true with it"))
    if must_show and _is_empty(merged):
        raise invalid(("/body", "an entry needs a headline or a body that shows something"))
    if caller.role == "contributor" and merged.status not in CONTRIBUTORS_STATUS:
        raise forbidden(f"A contributor may keep drafts and submit them, not set {merged.status}.")
    return merged


def _must_show(entry: Entry, patch: EntryPatch) -> bool:
    """Return whether an edit is rejected when the edited entry shows nothing.

    A stored entry may be older than this rule. While its words stay, an editor can still mark it,
    and retract it when it is published.
    """
    publishes = entry.status in UNPUBLISHED and bool(patch.keys() & {"status", "publish_at"})
    return publishes or bool(patch.keys() & _WORDS)


def _is_empty(entry: Entry) -> bool:
    """Return whether an entry has no headline, and no body of which readers see anything."""
    if entry.headline:
        return False
    return not entry.body or (entry.body_html is not None and shows_nothing(entry.body_html))


def _content(entry: Entry, patch: EntryPatch, now: int) -> dict[str, object]:
    """Return the entry fields that the patch replaces, with times as milliseconds since 1970."""
    times = ("status", "published_at", "publish_at")
    fields: dict[str, object] = {n: v for n, v in patch.items() if n not in times}
    if "byline" in patch:
        fields["byline"] = patch["byline"] or []
    pin_order = patch.get("pin_order")
    if pin_order is not None:
        fields["pin_order"] = exact(pin_order)
    publish_at = patch.get("publish_at")
    if entry.status == "scheduled" and publish_at is not None:
        fields["publish_at"] = _future(publish_at, now)
    return fields


def _time(caller: Caller, entry: Entry, patch: EntryPatch, now: int) -> dict[str, object]:
    """Return the stated times after the patch; `entry` already has its next status.

    Readers see a time that a contributor stated only if an editor confirms it, by sending
    `published_at` with it. An editor who publishes without `published_at` publishes it with the
    present time.
    """
    value = patch.get("published_at")
    at = None if value is None else _past(value, now)
    if caller.role == "contributor" and at not in (None, entry.published_at):
        return {"published_at": None, "stated_at": at}
    times: dict[str, object] = {"stated_at": None} if entry.status in PUBLISHED else {}
    if at is None and ("published_at" not in patch or entry.order is not None):
        return times
    return times | {"published_at": at, "stated_at": None}


def _future(value: str, now: int) -> int:
    at = parse_time(value)
    if at <= now:
        raise invalid(("/publish_at", f"is in the past: {value}"))
    return at


def _past(value: str, now: int) -> int:
    at = parse_time(value)
    if at > now:
        raise invalid(("/published_at", f"is in the future: {value}"))
    return at
