"""Decisions without a store: permissions, the next status, merged fields."""

import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from liveblog.blog.model import PUBLISHED, Caller, Entry, EntryStatus
from liveblog.blog.problem import Problem
from liveblog.editors import decisions
from liveblog.editors.decisions import MARKS, UNPUBLISHED, EntryPatch, entry_patch
from liveblog.html.markdown import to_html

NOW = 1_800_000_000_000
LATER, EARLIER = "2090-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
LATER_MS, EARLIER_MS = 3_786_912_000_000, 1_577_836_800_000
ID = "e000000000001"
ADMIN = Caller("user:ada", "admin")
EDITOR = Caller("user:dana", "editor")
CONTRIBUTOR = Caller("user:kim", "contributor")
STATUSES: tuple[EntryStatus, ...] = get_args(EntryStatus)


def rejected(work: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        work()
    return caught.value


def entry(status: EntryStatus = "published", **fields: Any) -> Entry:
    """Return an entry by the contributor. A published entry has an offset and `order`, both 5."""
    numbers = {"offset": 5, "order": 5, "published_at": 1} if status in PUBLISHED else {}
    given: dict[str, Any] = {"body": "Text.", "author": CONTRIBUTOR.ident, **numbers, **fields}
    return Entry(id=ID, status=status, **given)


def new(caller: Caller = EDITOR, **fields: Any) -> Entry:
    return decisions.new_entry(caller, ID, entry_patch({"body": "Text.", **fields}), NOW)


def edited(was: Entry, caller: Caller = EDITOR, **fields: Any) -> Entry:
    return decisions.edited_entry(caller, was, entry_patch(fields), NOW)


# -- a new entry


def test_new_entry_is_published_for_an_editor_and_a_draft_for_a_contributor() -> None:
    assert (new().status, new(CONTRIBUTOR).status) == ("published", "draft")
    assert (new().author, new().written_by, new().revision) == (EDITOR.ident, EDITOR.name, 1)
    wire = Caller("token:k3xq9a", "contributor", (), "The Wire")
    made = decisions.new_entry(wire, ID, {"body": "Text."}, NOW)
    assert (made.author, made.written_by) == ("token:k3xq9a", "The Wire")
    assert decisions.tombstone(made, 0, takedown=True).written_by == "The Wire"


@pytest.mark.parametrize(
    ("caller", "was", "published_at"),
    [
        (EDITOR, new(), NOW - 5),
        (ADMIN, edited(entry("draft"), status="published"), NOW - 5),
        (EDITOR, new(published_at=EARLIER), EARLIER_MS),
        (EDITOR, entry(), 1),
        (EDITOR, entry("draft"), None),
        (CONTRIBUTOR, new(), None),
    ],
)
def test_press_states_the_time_when_an_editor_publishes_an_entry_first(
    caller: Caller, was: Entry, published_at: int | None
) -> None:
    assert decisions.pressed(caller, was, NOW - 5).published_at == published_at
    assert decisions.pressed(caller, was, None) == was


def rendered(text: str) -> EntryPatch:
    return {"body": text, "body_html": to_html(text)}


NOTHING = [
    "*\u200b*",
    "[\u200b](https://x.example)",
    "| | |\n|-|-|",
    "\u200b\n\n\ufeff",
    "## \u2800",
]


@pytest.mark.parametrize("text", NOTHING)
def test_entry_is_rejected_when_it_shows_nothing(text: str) -> None:
    problem = rejected(lambda: decisions.new_entry(EDITOR, ID, rendered(text), NOW))
    assert problem.status == 422
    assert problem.errors[0][0] == "/body"
    problem = rejected(lambda: decisions.edited_entry(EDITOR, entry(), rendered(text), NOW))
    assert problem.status == 422
    named: EntryPatch = {**rendered(text), "headline": "Goal"}
    assert decisions.new_entry(EDITOR, ID, named, NOW).headline == "Goal"


@pytest.mark.parametrize("text", ["*", "```", "~~~", "![](https://x.example/a.png)", "[a](b:c)"])
def test_entry_is_accepted_when_its_body_shows_something(text: str) -> None:
    assert decisions.new_entry(EDITOR, ID, rendered(text), NOW).body == text


@pytest.mark.parametrize("status", ["draft", "submitted"])
def test_new_entry_has_the_status_that_the_caller_names(status: str) -> None:
    assert new(status=status).status == new(CONTRIBUTOR, status=status).status == status


def test_new_entry_is_scheduled_when_it_has_a_time() -> None:
    for fields in ({"publish_at": LATER}, {"publish_at": LATER, "status": "published"}):
        made = new(EDITOR, **fields)
        assert (made.status, made.publish_at) == ("scheduled", LATER_MS)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"status": "retracted"}, "/status"),
        ({"status": "scheduled"}, "/publish_at"),
        ({"status": "draft", "publish_at": LATER}, "/publish_at"),
        ({"publish_at": EARLIER}, "/publish_at"),
        ({"published_at": LATER}, "/published_at"),
        ({"body": None}, "/body"),
        ({"body": " ", "headline": ""}, "/body"),
    ],
)
def test_new_entry_is_rejected_when_its_fields_do_not_fit(fields: Any, pointer: str) -> None:
    problem = rejected(lambda: new(**fields))
    assert (problem.status, problem.errors[0][0]) == (422, pointer)


def test_new_entry_keeps_the_instant_that_an_import_states() -> None:
    assert new(published_at=EARLIER).published_at == EARLIER_MS


# -- a stated time of publication


def stated() -> Entry:
    """Return a submission whose contributor states a time."""
    made = new(CONTRIBUTOR, status="submitted", published_at=EARLIER)
    assert (made.published_at, made.stated_at, made.asked_time) == (None, EARLIER_MS, EARLIER_MS)
    return made


def test_contributors_time_counts_when_the_publishing_editor_sends_it() -> None:
    published = edited(stated(), status="published", published_at=EARLIER)
    assert (published.published_at, published.stated_at) == (EARLIER_MS, None)


def test_contributors_time_counts_when_an_editor_sent_it_before() -> None:
    confirmed = edited(stated(), published_at=EARLIER)
    assert edited(confirmed, body="Other.", status="published").published_at == EARLIER_MS


@pytest.mark.parametrize("fields", [{}, {"body": "Other."}, {"published_at": None}])
@pytest.mark.parametrize("caller", [EDITOR, ADMIN])
def test_contributors_time_does_not_count_when_no_editor_sends_it(
    caller: Caller, fields: Any
) -> None:
    published = edited(stated(), caller, status="published", **fields)
    assert (published.published_at, published.stated_at) == (None, None)


def test_contributors_time_stays_stated_when_an_editor_edits_the_text() -> None:
    assert edited(stated(), body="Other.").asked_time == EARLIER_MS
    assert edited(stated(), status="draft").asked_time == EARLIER_MS


def test_scheduled_entry_keeps_a_time_that_the_scheduling_editor_sends() -> None:
    scheduled = edited(stated(), publish_at=LATER, published_at=EARLIER)
    assert decisions.published_entry(scheduled).published_at == EARLIER_MS
    scheduled = edited(stated(), publish_at=LATER)
    assert scheduled.asked_time == EARLIER_MS
    published = decisions.published_entry(scheduled)
    assert (published.published_at, published.stated_at) == (None, None)


def test_contributors_new_time_needs_a_new_confirmation() -> None:
    confirmed = edited(stated(), published_at=EARLIER)
    assert edited(confirmed, CONTRIBUTOR, published_at=EARLIER).published_at == EARLIER_MS
    again = edited(confirmed, CONTRIBUTOR, published_at="2021-01-01T00:00:00Z")
    assert (again.published_at, again.stated_at) == (None, 1_609_459_200_000)


def test_stated_time_is_removed_by_null_until_the_entry_is_published() -> None:
    for caller in (CONTRIBUTOR, EDITOR):
        assert edited(stated(), caller, published_at=None).asked_time is None
    assert edited(new(status="draft", published_at=EARLIER), published_at=None).asked_time is None
    assert edited(entry("published"), published_at=None).published_at == 1


def test_editors_own_time_counts_without_a_confirmation() -> None:
    draft = new(status="draft", published_at=EARLIER)
    assert (draft.published_at, draft.stated_at) == (EARLIER_MS, None)
    assert edited(draft, ADMIN, status="published").published_at == EARLIER_MS


@pytest.mark.parametrize("caller", [CONTRIBUTOR, EDITOR])
def test_stated_time_is_rejected_when_it_is_in_the_future(caller: Caller) -> None:
    problem = rejected(lambda: edited(stated(), caller, published_at=LATER))
    assert (problem.status, problem.errors[0][0]) == (422, "/published_at")


# -- what a contributor may do


@pytest.mark.parametrize(
    "fields",
    [
        {"key": True},
        {"pinned": True},
        {"pin_order": 1},
        {"status": "published"},
        {"publish_at": LATER},
    ],
)
def test_contributor_is_rejected_when_it_marks_or_publishes(fields: Any) -> None:
    assert rejected(lambda: new(CONTRIBUTOR, **fields)).status == 403


def test_byline_becomes_empty_when_the_caller_removes_it() -> None:
    assert new(byline=None).byline == []


# -- an edited entry


@pytest.mark.parametrize(("was", "then"), [*itertools.product(STATUSES, STATUSES)])
def test_status_follows_only_inside_its_family(was: EntryStatus, then: EntryStatus) -> None:
    family = PUBLISHED if was in PUBLISHED else (*UNPUBLISHED, "published")
    before = entry(was, publish_at=LATER_MS)
    if then in family:
        after = edited(before, status=then)
        assert (after.status, after.publish_at) == (
            then,
            LATER_MS if then == "scheduled" else None,
        )
    else:
        assert rejected(lambda: edited(before, status=then)).status == 409


def test_time_schedules_a_draft_and_its_removal_unschedules() -> None:
    scheduled = edited(entry("draft"), publish_at=LATER)
    assert (scheduled.status, scheduled.publish_at) == ("scheduled", LATER_MS)
    draft = edited(scheduled, publish_at=None)
    assert (draft.status, draft.publish_at) == ("draft", None)


@pytest.mark.parametrize(
    ("was", "fields"),
    [
        ("published", {"publish_at": LATER}),
        ("scheduled", {"publish_at": LATER, "status": "draft"}),
        ("draft", {"status": "scheduled"}),
    ],
)
def test_schedule_is_rejected_when_it_does_not_fit_the_status(was: Any, fields: Any) -> None:
    problem = rejected(lambda: edited(entry(was), **fields))
    assert (problem.status, problem.errors[0][0]) == (422, "/publish_at")


def test_revision_grows_when_more_than_marks_change() -> None:
    assert edited(entry(revision=3), body="New.").revision == 4
    assert edited(entry(revision=3), body="New.", pinned=True).revision == 4
    moved = {"pinned": True, "pin_order": 2}
    for marks in ({"pinned": True}, {"key": True, "key_title": "Vote"}, moved):
        assert edited(entry(revision=3), **marks).revision == 3


def test_older_entry_that_shows_nothing_can_be_marked_and_retracted() -> None:
    was = entry(**rendered(NOTHING[0]))
    assert edited(was, pinned=True, key=True).pinned
    assert edited(was, note_kind="correction", note="N").note == "N"
    retracted = edited(was, status="retracted", note_kind="retraction", note="N")
    assert (retracted.status, edited(retracted, status="published").status) == (
        "retracted",
        "published",
    )
    draft = replace(was, status="draft", order=None)
    for problem in (
        rejected(lambda: edited(was, headline=None)),
        rejected(lambda: edited(draft, status="published")),
        rejected(lambda: edited(draft, publish_at=LATER)),
        rejected(lambda: decisions.edited_entry(EDITOR, was, rendered(NOTHING[1]), NOW)),
    ):
        assert [pointer for pointer, _ in problem.errors] == ["/body"]


def test_pinned_entry_has_a_number_until_it_is_unpinned() -> None:
    pinned = edited(entry(), pinned=True, pin_order=2.0)
    assert (pinned.pin_order, type(pinned.pin_order)) == (2, int)
    assert edited(pinned, pin_order=-0.5).pin_order == -0.5
    assert edited(pinned, key=True).pin_order == 2
    assert edited(pinned, pin_order=None) == replace(pinned, pin_order=None)
    assert edited(pinned, pinned=False) == replace(pinned, pinned=False, pin_order=None)
    assert new(pinned=True, pin_order=3, status="draft").pin_order == 3


@pytest.mark.parametrize("fields", [{"pin_order": 1}, {"pin_order": 1, "pinned": False}])
def test_pin_order_is_422_when_the_entry_is_not_pinned(fields: Any) -> None:
    problem = rejected(lambda: edited(entry(pinned="pinned" in fields), **fields))
    assert (problem.status, problem.errors[0][0]) == (422, "/pin_order")
    assert edited(entry(), pin_order=None).pin_order is None


def test_edit_keeps_what_the_caller_does_not_mention() -> None:
    was = entry(headline="H", note="N", byline=["Dana"])
    after = edited(was, headline=None)
    assert after == replace(was, headline=None, revision=2, saved_by=EDITOR.name)


# -- who may


@pytest.mark.parametrize("status", STATUSES)
def test_contributor_alters_only_its_own_drafts_and_submissions(status: EntryStatus) -> None:
    own, others = entry(status), entry(status, author=EDITOR.ident)
    decisions.check_owns(EDITOR, others, "edit")
    problem = rejected(lambda: decisions.check_owns(CONTRIBUTOR, others, "delete"))
    assert (problem.status, "may delete only" in problem.detail) == (403, True)
    if status in ("draft", "submitted"):
        decisions.check_owns(CONTRIBUTOR, own, "restore")
    else:
        assert rejected(lambda: decisions.check_owns(CONTRIBUTOR, own, "edit")).status == 403


def test_contributor_reads_what_is_published_and_its_own() -> None:
    others = entry("draft", author=EDITOR.ident)
    assert decisions.is_readable(EDITOR, others)
    assert not decisions.is_readable(CONTRIBUTOR, others)
    assert decisions.is_readable(CONTRIBUTOR, entry("draft"))
    assert decisions.is_readable(CONTRIBUTOR, entry("retracted", author=EDITOR.ident))


def test_takedown_needs_the_role_admin() -> None:
    decisions.check_may_take_down(ADMIN)
    for caller in (EDITOR, CONTRIBUTOR):
        assert rejected(lambda it=caller: decisions.check_may_take_down(it)).status == 403  # type: ignore[misc]


def test_edit_without_if_match_is_428_when_it_mentions_more_than_marks() -> None:
    decisions.check_if_match(None, MARKS)
    decisions.check_if_match(None, [])
    decisions.check_if_match(1, ["body"])
    assert rejected(lambda: decisions.check_if_match(None, ["body", "key"])).status == 428


def test_deleted_entry_is_410_and_a_living_one_is_not_restored() -> None:
    decisions.check_not_deleted(entry())
    decisions.check_restorable(entry(deleted=True))
    assert rejected(lambda: decisions.check_not_deleted(entry(deleted=True))).status == 410
    assert rejected(lambda: decisions.check_restorable(entry())).status == 409


# -- deleting and restoring


def test_tombstone_keeps_numbers_and_no_text() -> None:
    was = entry(headline="H", note="N", byline=["Dana"], dateline="Bonn", key_title="K", key=True)
    tomb = decisions.tombstone(was, 4, takedown=False)
    assert tomb == Entry(
        id=ID,
        status="published",
        author=was.author,
        revision=was.revision,
        offset=5,
        order=5,
        published_at=1,
        deleted=True,
    )


def test_takedown_counts_the_revisions_that_it_erases_once() -> None:
    living, deleted = entry(), decisions.tombstone(entry(), 4, takedown=False)
    assert decisions.tombstone(living, 4, takedown=True).revisions_erased == 5
    erased = decisions.tombstone(deleted, 4, takedown=True)
    assert (erased.revisions_erased, erased.takedown) == (4, True)
    for takedown in (True, False):
        assert decisions.tombstone(erased, 0, takedown=takedown) == erased


def test_restored_entry_is_the_latest_kept_revision() -> None:
    tomb = decisions.tombstone(entry(), 0, takedown=False)
    assert decisions.restored_entry(tomb, entry()) == entry()
    back = decisions.restored_entry(tomb, entry("scheduled", publish_at=LATER_MS))
    assert (back.status, back.publish_at) == ("draft", None)


def test_restore_is_410_when_nothing_is_kept() -> None:
    erased = decisions.tombstone(entry(), 0, takedown=True)
    assert rejected(lambda: decisions.restored_entry(erased, entry())).status == 410
    deleted = decisions.tombstone(entry(), 0, takedown=False)
    assert rejected(lambda: decisions.restored_entry(deleted, None)).status == 410


def test_published_entry_has_no_time_left() -> None:
    due = decisions.published_entry(entry("scheduled", publish_at=EARLIER_MS))
    assert (due.status, due.publish_at) == ("published", None)


# -- revisions


def test_revision_has_the_name_of_its_editor_and_a_mark_alone_leaves_it() -> None:
    was = entry(saved_by="kim", saved_at=7)
    saved = edited(was, body="New.")
    assert (saved.revision, saved.saved_by, saved.saved_at) == (2, EDITOR.name, None)
    marked = edited(was, pinned=True)
    assert (marked.revision, marked.saved_by, marked.saved_at) == (1, "kim", 7)
    assert new().saved_by == EDITOR.name


def test_restored_words_leave_status_time_key_and_pin_as_they_are() -> None:
    now = entry(headline="B", body="B.", key=True, pinned=True, publish_at=None, note="Oops")
    earlier = entry("draft", headline="A", body=None, byline=["Ann"], note=None, key_title="K")
    patch = decisions.words_of(now, earlier)
    assert patch == {
        "headline": "A",
        "body": None,
        "byline": ["Ann"],
        "dateline": None,
        "note_kind": None,
        "note": None,
    }


@pytest.mark.parametrize("was", [True, False])
def test_restored_words_leave_the_note_of_a_retraction(was: bool) -> None:
    now = entry("retracted" if was else "published", note="Wrong", note_kind="retraction")
    earlier = entry("published" if was else "retracted", note="Old", note_kind="correction")
    assert not decisions.words_of(now, earlier).keys() & {"note", "note_kind"}


def test_only_earlier_revisions_can_be_restored_or_erased() -> None:
    now = entry(revision=3)
    decisions.check_is_earlier(now, 2)
    assert rejected(lambda: decisions.check_is_earlier(now, 3)).status == 409
    assert rejected(lambda: decisions.check_is_earlier(now, 4)).status == 404
    assert rejected(lambda: decisions.check_is_earlier(now, 0)).status == 404
