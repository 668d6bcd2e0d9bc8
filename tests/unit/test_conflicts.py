"""Two editors' headers, box by box, without a store."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from liveblog.blog.model import Blog, Link, Position
from liveblog.editors import forms
from liveblog.editors.conflicts import APART, BOTH, header_conflict
from liveblog.editors.forms import Boxes, FormView
from liveblog.editors.results import BlogResult, HeaderConflict

AT = Position("k3xq9a", 7, "9f2c01ab")
BLOG = Blog(slug="moon", title="The Moon", dek="Far", full_coverage=Link("All", "/all"))


def conflict(mine: Boxes, stored: Blog) -> FormView:
    """Return the form after an editor altered the boxes `mine` of BLOG, and `stored` was saved."""
    boxes = {**forms.header_values(BLOG), **mine, "idempotency_key": "k1"}
    return header_conflict(boxes, HeaderConflict(BlogResult(stored, AT)))


def test_mine_stays_and_theirs_is_shown_when_both_altered_a_box() -> None:
    form = conflict({"title": "Mine", "dek": "Near"}, replace(BLOG, title="Theirs", revision=2))
    assert (form.values["title"], form.values["title_was"]) == ("Mine", "Theirs")
    assert (form.values["dek"], form.values["dek_was"]) == ("Near", "Far")
    assert form.theirs == {"title": "Theirs"}
    assert (form.problem, form.key) == (BOTH, "k1")


def test_their_boxes_are_taken_when_i_did_not_alter_them() -> None:
    stored = replace(BLOG, dek="Theirs", full_coverage=None, revision=2)
    form = conflict({"title": "Mine"}, stored)
    assert form.values["dek"] == form.values["dek_was"] == "Theirs"
    assert (form.theirs, form.problem) == ({}, APART)
    assert forms.header_fields(form.values, "UTC") == {"title": "Mine"}


def test_nothing_is_in_conflict_when_both_wrote_the_same() -> None:
    form = conflict({"title": "Same"}, replace(BLOG, title="Same", revision=2))
    assert (form.theirs, form.problem) == ({}, APART)
    assert forms.header_fields(form.values, "UTC") == {}


def test_form_is_based_on_the_stored_revision_after_a_conflict() -> None:
    form = conflict({"title": "Mine"}, replace(BLOG, title="Theirs", revision=5))
    assert forms.revision_of(form.values) == 5


TEXTS = st.fixed_dictionaries(
    {name: st.sampled_from("ABC") for name in ("title", "dek", "summary")}
)


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_of_either_editor_is_lost_whatever_both_altered(
    base: Boxes, mine: Boxes, theirs: Boxes
) -> None:
    boxes = forms.header_values(replace(BLOG, **base)) | mine
    stored = replace(BLOG, **theirs, revision=2)
    form = header_conflict(boxes, HeaderConflict(BlogResult(stored, AT)))
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
