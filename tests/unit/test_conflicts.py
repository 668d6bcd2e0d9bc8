"""Two editors' versions of one entry or header, merged box by box, without a store."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from liveblog.blog.model import Blog, Entry, Link, Position
from liveblog.editors import conflicts, forms
from liveblog.editors.conflicts import Merge
from liveblog.editors.forms import Boxes, FormView
from liveblog.editors.results import BlogResult, EntryResult, HeaderConflict, RevisionConflict

AT = Position("k3xq9a", 7, "9f2c01ab")
BLOG = Blog(slug="moon", title="The Moon", dek="Far", full_coverage=Link("All", "/all"))
ENTRY = Entry(id="e000000000001", headline="Up", body="Base", status="published", pinned=True)
BOTH = "Both versions are shown. Merge them or choose one, then save."
APART = "Their changes are in other fields and are now included here. Save again to save yours."


def header_form(mine: Boxes, stored: Blog) -> FormView:
    """Return the form after an editor altered the boxes `mine` of BLOG, and `stored` was saved."""
    boxes = {**forms.header_values(BLOG), **mine, "idempotency_key": "k1"}
    values, conflict = forms.header_values(stored), HeaderConflict(BlogResult(stored, AT))
    found = conflicts.merge(boxes, values, {})
    return conflicts.merged_form(boxes, values, found, conflict)


def entry_merge(mine: Boxes, stored: Entry, *, is_base_known: bool = True) -> Merge:
    """Merge the boxes `mine`, altered in the form of ENTRY, with those of a stored entry."""
    base = forms.entry_values(ENTRY, "UTC")
    known = base if is_base_known else {}
    return conflicts.merge(base | mine, forms.entry_values(stored, "UTC"), known)


def test_mine_stays_and_theirs_is_shown_when_both_altered_a_box() -> None:
    form = header_form({"title": "Mine", "dek": "Near"}, replace(BLOG, title="Theirs", revision=2))
    assert (form.values["title"], form.values["title_was"]) == ("Mine", "Theirs")
    assert (form.values["dek"], form.values["dek_was"]) == ("Near", "Far")
    assert form.theirs == {"title": "Theirs"}
    assert form.problem == f"Someone saved the header while you were editing it. {BOTH}"
    assert form.key == "k1"


def test_their_boxes_are_taken_when_i_did_not_alter_them() -> None:
    stored = replace(BLOG, dek="Theirs", full_coverage=None, revision=2)
    form = header_form({"title": "Mine"}, stored)
    assert form.values["dek"] == form.values["dek_was"] == "Theirs"
    assert form.theirs == {}
    assert form.problem == f"Someone saved the header while you were editing it. {APART}"
    assert forms.header_fields(form.values, "UTC") == {"title": "Mine"}


def test_zone_is_shown_when_i_altered_the_start_and_they_the_zone() -> None:
    stored = replace(BLOG, timezone="Europe/Berlin", revision=2)
    form = header_form({"starts_at": "2026-12-01T21:30"}, stored)
    assert (form.values["timezone"], form.theirs) == ("UTC", {"timezone": "Europe/Berlin"})
    assert header_form({"dek": "Near"}, stored).values["timezone"] == "Europe/Berlin"


def test_nothing_is_in_conflict_when_both_wrote_the_same() -> None:
    form = header_form({"title": "Same"}, replace(BLOG, title="Same", revision=2))
    assert form.theirs == {}
    assert forms.header_fields(form.values, "UTC") == {}


def test_form_is_based_on_the_stored_revision_after_a_conflict() -> None:
    form = header_form({"title": "Mine"}, replace(BLOG, title="Theirs", revision=5))
    assert forms.revision_of(form.values) == 5


def test_boxes_of_an_entry_are_compared_with_the_revision_that_was_edited() -> None:
    stored = replace(ENTRY, headline="Theirs", byline=["Ann"], revision=2)
    found = entry_merge({"body": "Mine"}, stored)
    assert found == Merge({"headline": "Theirs", "byline": "Ann"}, {})
    found = entry_merge({"headline": "Mine"}, stored)
    assert found == Merge({"byline": "Ann"}, {"headline": "Theirs"})


def test_their_note_is_taken_when_i_altered_none_and_shown_when_both_did() -> None:
    stored = replace(ENTRY, note_kind="correction", note="Score is 2-1", revision=2)
    found = entry_merge({"headline": "Mine"}, stored)
    assert found == Merge({"note_kind": "correction", "note": "Score is 2-1"}, {})
    found = entry_merge({"note": "Mine"}, stored)
    assert found == Merge({"note_kind": "correction"}, {"note": "Score is 2-1"})


def test_every_differing_box_is_shown_when_the_edited_revision_is_unknown() -> None:
    stored = replace(ENTRY, body="Theirs", pinned=False, revision=2)
    found = entry_merge({"headline": "Mine"}, stored, is_base_known=False)
    assert found == Merge({"pinned": "false"}, {"headline": "Up", "body": "Theirs"})


def test_form_of_an_entry_keeps_my_note_and_confirms_no_time() -> None:
    stored = replace(ENTRY, body="Theirs", note="Their note", stated_at=1_000, revision=2)
    boxes = {**forms.entry_values(ENTRY, "UTC"), "note": "Mine", "published_at": "1970"}
    values = forms.entry_values(stored, "UTC")
    conflict = RevisionConflict(EntryResult(stored, AT))
    form = conflicts.merged_form(boxes, values, conflicts.merge(boxes, values, {}), conflict)
    assert (form.values["note"], form.values["published_at"]) == ("Mine", "")
    assert form.theirs["note"] == "Their note"
    assert form.problem.startswith("Someone saved this entry while you were editing it.")


TEXTS = st.fixed_dictionaries(
    {name: st.sampled_from("ABC") for name in ("title", "dek", "summary")}
)


@given(TEXTS, TEXTS, TEXTS, st.booleans())
def test_no_text_of_either_editor_is_lost_whatever_both_altered(
    base: Boxes, mine: Boxes, theirs: Boxes, has_copies: bool
) -> None:
    shown = forms.header_values(replace(BLOG, **base))
    boxes = {**(shown if has_copies else {}), **mine}
    stored = forms.header_values(replace(BLOG, **theirs, revision=2))
    found = conflicts.merge(boxes, stored, {} if has_copies else base)
    conflict = HeaderConflict(BlogResult(replace(BLOG, revision=2), AT))
    form = conflicts.merged_form(boxes, stored, found, conflict)
    for name, text in theirs.items():
        is_mine, is_theirs = mine[name] != base[name], text != base[name]
        assert form.values[name] == (mine[name] if is_mine else text)
        assert form.theirs.get(name) == (
            text if is_mine and is_theirs and text != mine[name] else None
        )
    saved = forms.header_fields(form.values, "UTC")
    assert saved == {
        name: text for name, text in mine.items() if base[name] != text != theirs[name]
    }
