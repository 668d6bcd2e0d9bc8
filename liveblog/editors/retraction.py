"""Decisions about a retraction and its undo: they alter status and note, and nothing else.

Rules: pure, no I/O, no clock.
"""

import msgspec

from liveblog.blog.model import PUBLISHED, Entry
from liveblog.blog.problem import conflict
from liveblog.editors.decisions import EntryPatch


def fields(note: str | None) -> dict[str, object]:
    """Return the fields that a retraction sets, as a caller would send them."""
    return {"status": "retracted", "note_kind": "retraction", "note": note}


def retracted(entry: Entry, patch: EntryPatch) -> Entry:
    """Return the entry with a patch that is made from `fields`, and else as it is.

    Raises 409 for an entry that is not published.
    """
    if entry.status not in PUBLISHED:
        raise conflict("Only a published entry can be retracted.")
    return msgspec.structs.replace(entry, **patch, revision=entry.revision + 1)


def undone(entry: Entry, was: Entry | None) -> Entry:
    """Return a retracted entry as published again, with the note of the revision `was`.

    `was` is the newest revision before the retraction, None when it is not kept. Raises 409 when
    the entry is not retracted.
    """
    if entry.status != "retracted":
        raise conflict("The entry is not retracted.")
    return msgspec.structs.replace(
        entry,
        status="published",
        note_kind=was.note_kind if was else None,
        note=was.note if was else None,
        revision=entry.revision + 1,
    )
