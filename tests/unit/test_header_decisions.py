"""Decisions about a header without a store: permissions, merged fields, revisions."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from liveblog.blog.model import Blog, Caller, DamagedBlog, Link
from liveblog.blog.problem import Problem
from liveblog.editors import header_decisions
from liveblog.editors.header_decisions import STATES, BlogPatch, blog_patch

LATER, LATER_MS = "2090-01-01T00:00:00Z", 3_786_912_000_000
ADMIN = Caller("user:ada", "admin")
EDITOR = Caller("user:dana", "editor")
CONTRIBUTOR = Caller("user:kim", "contributor")
# A blog whose header another editor saved, and a value of each field for a patch.
BLOG = Blog(slug="council", title="Council", revision=4, saved_by="ada", saved_at=7)
VALUES: dict[str, Any] = {
    "slug": "council",
    "title": "New",
    "dek": "D.",
    "summary": "S.",
    "timezone": "Asia/Tokyo",
    "language": "de",
    "status": "ended",
    "starts_at": LATER,
    "full_coverage": {"text": "All", "url": "/all"},
    "successor": {"text": "Next", "url": "/next"},
}


def rejected(work: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        work()
    return caught.value


def test_blog_needs_slug_and_title() -> None:
    problem = rejected(
        lambda: header_decisions.check_may_create_blog(EDITOR, blog_patch({"dek": "D."}))
    )
    assert [pointer for pointer, _ in problem.errors] == ["/slug", "/title"]


@pytest.mark.parametrize("caller", [CONTRIBUTOR, EDITOR._replace(blogs=("council",))])
def test_blog_is_not_created_by_a_contributor_or_a_bound_caller(caller: Caller) -> None:
    patch = blog_patch({"slug": "council", "title": "Council"})
    header_decisions.check_may_create_blog(EDITOR, patch)
    assert rejected(lambda: header_decisions.check_may_create_blog(caller, patch)).status == 403


def test_blog_edit_is_rejected_for_a_contributor_and_for_another_slug() -> None:
    patch = blog_patch({"slug": "council", "title": "New"})
    header_decisions.check_may_edit_blog(EDITOR, "council", patch)
    assert (
        rejected(lambda: header_decisions.check_may_edit_blog(CONTRIBUTOR, "council", patch)).status
        == 403
    )
    assert (
        rejected(lambda: header_decisions.check_may_edit_blog(EDITOR, "vote", patch)).status == 422
    )


def test_blog_merges_links_and_instants_and_keeps_the_rest() -> None:
    blog = Blog(slug="council", title="Council", dek="D.", successor=Link("Next", "/next"))
    link = {"text": "All", "url": "https://news.example/all"}
    fields = {"full_coverage": link, "successor": None, "starts_at": LATER}
    merged = header_decisions.merge_blog(blog, blog_patch(fields))
    assert merged == replace(blog, full_coverage=Link(**link), successor=None, starts_at=LATER_MS)


# -- revisions


def test_values_of_the_tests_name_every_field() -> None:
    assert VALUES.keys() == BlogPatch.__annotations__.keys() - {"summary_html"}


@pytest.mark.parametrize("name", VALUES)
def test_header_gets_a_revision_unless_only_a_state_changes(name: str) -> None:
    patch = blog_patch({name: VALUES[name]})
    edited = header_decisions.edited_blog(EDITOR, BLOG, patch)
    saved = (edited.revision, edited.saved_by, edited.saved_at)
    assert saved == ((4, "ada", 7) if name in STATES else (5, "dana", None))
    with_title = blog_patch({name: VALUES[name], "title": "New"})
    assert header_decisions.edited_blog(EDITOR, BLOG, with_title).revision == 5


def test_restored_header_leaves_the_states_as_they_are() -> None:
    now = replace(BLOG, status="ended", successor=Link("Next", "/next"))
    earlier = Blog(
        slug="council",
        title="Old",
        dek="Old dek",
        summary="Old summary",
        summary_html="<p>as rendered then",
        timezone="Asia/Tokyo",
        language="de",
        status="live",
        starts_at=5,
        full_coverage=Link("All", "/all"),
        created_at=1,
        saved_by="ada",
    )
    restored = header_decisions.restored_blog(EDITOR, now, earlier, "<p>as rendered now")
    states = {"status": "ended", "successor": Link("Next", "/next"), "created_at": 0}
    made = {"revision": 5, "saved_by": "dana", "saved_at": None}
    assert restored == replace(earlier, **states, **made, summary_html="<p>as rendered now")


def test_new_header_in_place_of_a_damaged_one_has_a_higher_revision() -> None:
    damaged = DamagedBlog(slug="council", title="council", status="live", revision=9)
    for fields in ({"title": "New"}, {"status": "ended"}):
        edited = header_decisions.edited_blog(EDITOR, damaged, blog_patch(fields))
        assert edited.revision == 10
    assert header_decisions.restored_blog(EDITOR, damaged, BLOG, None).revision == 10


def test_header_is_not_restored_when_the_blogs_status_is_lost() -> None:
    lost = DamagedBlog(slug="council", title="council", revision=9)
    problem = rejected(lambda: header_decisions.restored_blog(EDITOR, lost, BLOG, None))
    assert [pointer for pointer, _ in problem.errors] == ["/status"]


@pytest.mark.parametrize("caller", [EDITOR, CONTRIBUTOR])
def test_earlier_headers_are_erased_by_admins_alone(caller: Caller) -> None:
    header_decisions.check_may_erase_headers(ADMIN)
    assert rejected(lambda: header_decisions.check_may_erase_headers(caller)).status == 403
