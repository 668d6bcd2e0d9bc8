"""Decisions about a retraction and its undo, without a store."""

from typing import Any

import pytest
from msgspec.structs import replace

from liveblog.blog.model import Entry, EntryStatus
from liveblog.blog.problem import Problem
from liveblog.editors import retraction
from liveblog.editors.decisions import entry_patch

CORRECTED = Entry(
    id="e000000000001",
    headline="One dead",
    body="Text.",
    key=True,
    pinned=True,
    pin_order=2,
    status="published",
    revision=4,
    note_kind="correction",
    note="Two, not one.",
    order=3,
    offset=9,
)


def retracted(entry: Entry = CORRECTED, note: str | None = "It was another day.") -> Entry:
    return retraction.retracted(entry, entry_patch(retraction.fields(note)))


def test_retraction_has_its_own_note_and_alters_nothing_else() -> None:
    assert retracted() == replace(
        CORRECTED,
        status="retracted",
        note_kind="retraction",
        note="It was another day.",
        revision=5,
    )
    assert retracted(note=" ").note is None


def test_undo_brings_back_the_note_from_before_the_retraction() -> None:
    edited = replace(retracted(), body="Edited since.", revision=6)
    assert retraction.undone(edited, CORRECTED) == replace(
        CORRECTED, body="Edited since.", revision=7
    )
    unknown = retraction.undone(edited, None)
    assert (unknown.status, unknown.note_kind, unknown.note) == ("published", None, None)


@pytest.mark.parametrize("status", ["draft", "submitted", "scheduled"])
def test_retraction_is_409_when_the_entry_is_not_published(status: EntryStatus) -> None:
    assert status_of(lambda: retracted(replace(CORRECTED, status=status))) == 409


def test_undo_is_409_when_the_entry_is_not_retracted() -> None:
    assert status_of(lambda: retraction.undone(CORRECTED, CORRECTED)) == 409


def test_note_of_a_retraction_is_422_when_it_is_too_long() -> None:
    with pytest.raises(Problem) as caught:
        retracted(note="x" * 501)
    assert caught.value.errors == [("/note", "has 501 characters; the limit is 500")]


def status_of(work: Any) -> int:
    with pytest.raises(Problem) as caught:
        work()
    return caught.value.status
