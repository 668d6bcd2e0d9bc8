"""Reasons for rejected forms: sentences for editors, without names of fields and without UTC."""

from typing import Any

import pytest

from liveblog.blog.problem import PROBLEMS, Damaged, Problem, StoreRefuses
from liveblog.editors import decisions, forms, header_decisions
from liveblog.editors.problems import Problems

NEW_YORK = "America/New_York"


def rejected_blog(**fields: Any) -> Problem:
    """Return the problem of a header with these fields."""
    with pytest.raises(Problem) as raised:
        header_decisions.blog_patch(fields)
    return raised.value


def rejected_entry(**fields: Any) -> Problem:
    with pytest.raises(Problem) as raised:
        decisions.entry_patch(fields)
    return raised.value


def rejected_press(ago_ms: str) -> Problem:
    with pytest.raises(Problem) as raised:
        forms.pressed_at({"pressed_ago_ms": ago_ms}, 0)
    return raised.value


@pytest.mark.parametrize(
    ("problem", "boxes", "reason"),
    [
        (rejected_entry(body="x" * 20_001), {}, "The text has 20,001 characters; the limit is"),
        (rejected_entry(headline="x" * 301), {}, "The headline has 301 characters; the limit is"),
        (rejected_entry(byline=["Ann", "x" * 201]), {}, "Name 2 of the byline has 201 characters"),
        (
            rejected_entry(byline=["Ann", "x" * 201]),
            {"byline": f"Ann\n{'x' * 201}"},
            f"The name “{'x' * 30}…” in the byline has 201 characters; the limit is 200.",
        ),
        (rejected_entry(headline="a\nb"), {}, "The headline must be one line."),
        (
            rejected_blog(full_coverage={"text": "A", "url": "https://a.de/ x"}),
            {},
            "The address of the link must not contain a blank.",
        ),
        (
            rejected_blog(full_coverage={"text": "A", "url": "https:\\\\a.de"}),
            {},
            "The address of the link must not contain a backslash.",
        ),
        (
            rejected_entry(published_at="yesterday"),
            {},
            "The stated time cannot be read. Give it with the offset of its zone",
        ),
        (rejected_press("abc"), {}, "The form does not say when you pressed Publish."),
        (rejected_press("99999999"), {}, "You pressed Publish more than 23 hours ago."),
        (rejected_entry(byline=["x"] * 11), {}, "The byline has 11 names; the limit is 10."),
        (rejected_blog(title=None), {}, "The title must not be empty."),
        (rejected_blog(slug="A B"), {}, "The address must be 1 to 80 characters: a-z, 0-9, and"),
        (rejected_blog(slug="2026_moon"), {}, "The address must be 1 to 80 characters: a-z, 0-9"),
        (rejected_blog(timezone="Mars/Base"), {}, "There is no such time zone. Choose one from"),
        (rejected_blog(language="english!"), {}, "Give the code of a language, such as en or"),
        (
            rejected_blog(successor={"text": "Mars", "url": "nonsense"}),
            {},
            "The address of the link must begin with https://, http:// or a single /.",
        ),
        (
            rejected_blog(full_coverage={"text": "Mars", "url": ""}),
            {},
            "The address of the link must not be empty.",
        ),
        (
            rejected_entry(publish_at="2026-03-08T02:30"),
            {"publish_at": "2026-03-08T02:30"},
            "2:30 AM on March 8, 2026 does not exist in America/New_York",
        ),
        (
            rejected_blog(starts_at="2026-03-29T02:30"),
            {"starts_at": "2026-03-29T02:30", "timezone": "Europe/Berlin"},
            "2:30 AM on March 29, 2026 does not exist in Europe/Berlin",
        ),
        (
            Problem(
                422,
                "invalid-field",
                "",
                [("/publish_at", "is in the past: 2026-07-01T16:00:00.000Z")],
            ),
            {"publish_at": "2026-07-01T12:00"},
            "12:00 PM EDT on July 1, 2026 has passed. Choose a later time.",
        ),
        (
            Problem(422, "invalid-field", "", [("/publish_at", "is needed to schedule")]),
            {"publish_at": ""},
            "Give the time to publish.",
        ),
        (
            Problem(
                422,
                "invalid-field",
                "",
                [("/body", "makes 170000 bytes of HTML; the limit is 163840")],
            ),
            {},
            "The text has too many links and marks. Shorten it.",
        ),
    ],
)
def test_reason_names_the_box_by_its_label(
    problem: Problem, boxes: dict[str, str], reason: str
) -> None:
    view = forms.rejected(boxes, problem, NEW_YORK)
    [found] = view.errors.values()
    assert found.startswith(reason)
    assert view.problem == found
    for word in ("UTC", "_at", "IANA", "RFC", "Z."):
        assert word not in found


def test_reason_of_a_form_has_those_of_its_boxes() -> None:
    view = forms.rejected({}, rejected_entry(body="x" * 20_001, headline="x" * 301))
    assert view.problem == f"{view.errors['headline']} {view.errors['body']}"


@pytest.mark.parametrize("name", PROBLEMS)
def test_reason_of_each_problem_is_a_sentence(name: str) -> None:
    reason = forms.rejected({}, Problem(422, name, "some detail")).problem
    assert reason[0].isupper()
    assert reason.endswith(".")
    assert "{" not in reason


def test_reason_says_that_nothing_was_stored_when_the_store_refuses() -> None:
    problem = Problems().store_down(StoreRefuses("memory", "OOM"), "POST")
    reason = forms.rejected({}, problem).problem
    assert "The request was not stored." in reason
    assert "its memory is full" in reason


def test_reason_says_what_is_damaged_and_where_the_text_is() -> None:
    problem = Problems().store_down(Damaged("The entry e1 is damaged. It can be deleted."), "POST")
    reason = forms.rejected({}, problem).problem
    assert reason == (
        "This cannot be saved. The entry e1 is damaged. It can be deleted. Your text is safe here."
    )


def test_reason_of_a_deleted_entry_says_where_the_text_is() -> None:
    reason = forms.rejected({}, Problem(410, "gone", "The entry is deleted.")).problem
    assert reason == "Someone deleted this entry. Your text is safe here."
    other = forms.rejected({}, Problem(410, "gone", "The entry was taken down.")).problem
    assert other == "The entry was taken down."
