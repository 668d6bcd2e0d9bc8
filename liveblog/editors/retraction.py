"""Decisions about a retraction and its undo: they alter status and note, and nothing else.

Rules: pure, no I/O, no clock.
"""

import msgspec

from liveblog.blog.fields import Fields
from liveblog.blog.model import PUBLISHED, Caller, Entry
from liveblog.blog.problem import conflict, invalid
from liveblog.editors.decisions import EntryPatch, next_revision


def check_new(fields: Fields) -> None:
    """Raise 422 for a new entry that the desk would mark as a retraction."""
    if fields.get("note_kind") == "retraction":
        raise invalid(("/note_kind", "is retraction only for an entry that is retracted"))


def fields(note: str | None) -> dict[str, object]:
    """Return the fields that a retraction sets, as a caller would send them."""
    return {"status": "retracted", "note_kind": "retraction", "note": note}


def retracted(caller: Caller, entry: Entry, patch: EntryPatch) -> Entry:
    """Return the entry with a patch that is made from `fields`, and else as it is.

    Raises 409 for an entry that is not published.
    """
    if entry.status not in PUBLISHED:
        raise conflict("Only a published entry can be retracted.")
    return next_revision(caller, msgspec.structs.replace(entry, **patch))


def undone(caller: Caller, entry: Entry, was: Entry | None) -> Entry:
    """Return a retracted entry as published again, with the note of the revision `was`.

    `was` is the newest revision before the retraction, None when there is none. Raises 409 when
    the entry is not retracted.
    """
    if entry.status != "retracted":
        raise conflict("The entry is not retracted.")
    undone = msgspec.structs.replace(
        entry,
        status="published",
        note_kind=was.note_kind if was else None,
        note=was.note if was else None,
    )
    return next_revision(caller, undone)
