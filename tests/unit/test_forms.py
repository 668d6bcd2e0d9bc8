"""The desk's forms alone: boxes become fields of the API, and stored values become boxes."""

import pytest
from msgspec.structs import replace

from liveblog.blog.model import Blog, Entry, Link
from liveblog.blog.problem import Problem, invalid
from liveblog.editors import decisions, forms, header_decisions, reasons

NEW_YORK = "America/New_York"
ENTRY = Entry(id="e000000000001", headline="Lift-off", body="Text", byline=["Ann", "Bo"], key=True)


# -- reading a form


@pytest.mark.parametrize("charset", ["", "; charset=utf8", '; charset="UTF-8"; x=y'])
def test_a_form_type_is_accepted_in_utf_8(charset: str) -> None:
    forms.check_form_type(f"application/x-www-form-urlencoded{charset}")


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded; charset=utf-16"]
)
def test_a_form_type_is_415_when_it_is_another(content_type: str) -> None:
    with pytest.raises(Problem) as raised:
        forms.check_form_type(content_type)
    assert (raised.value.status, raised.value.name) == (415, "not-a-form")


def test_decode_returns_the_last_box_of_a_name_with_line_feeds() -> None:
    assert forms.decode(b"key=false&key=true&body=a%0D%0Ab%0Dc&note=") == {
        "key": "true",
        "body": "a\nb\nc",
        "note": "",
    }


def test_decode_keeps_each_name_of_a_byline_whole() -> None:
    boxes = forms.decode(b"byline=Sammy+Davis%2C+Jr.&byline=&byline=+Bo&body=x")
    assert forms.entry_fields(boxes, "UTC")["byline"] == ["Sammy Davis, Jr.", "Bo"]
    assert forms.pairs(boxes) == [("body", "x"), ("byline", "Sammy Davis, Jr."), ("byline", "Bo")]
    assert forms.entry_fields(forms.decode(b"byline=+&byline="), "UTC") == {"byline": []}


def test_decode_makes_a_blank_of_line_breaks_in_boxes_of_one_line() -> None:
    dek = b"dek=+One%0D%0A%0D%0A+two%0D&title=a%0Db&successor_url=%0A/mars%0A"
    assert forms.decode(dek) == {"dek": "One two", "title": "a b", "successor_url": "/mars"}
    names = forms.decode(b"byline=Ann%0ALee&byline=+%0A+&byline=Bo")
    assert forms.names_of(names["byline"]) == ["Ann Lee", "Bo"]
    assert forms.decode(b"summary=a%0Ab%0A&password=a%0Ab") == {
        "summary": "a\nb\n",
        "password": "a\nb",
    }


@pytest.mark.parametrize("body", [b"body=%FF", b"body=\xff", b"&".join([b"a=1"] * 101)])
def test_decode_raises_400_when_the_form_is_broken(body: bytes) -> None:
    with pytest.raises(Problem) as raised:
        forms.decode(body)
    assert (raised.value.status, raised.value.name) == (400, "broken-form")


@pytest.mark.parametrize(
    ("key", "found"), [("k1", "k1"), ("", None), ("two words", None), ("k" * 256, None)]
)
def test_a_key_is_none_when_the_api_would_reject_it(key: str, found: str | None) -> None:
    assert forms.key_of({"idempotency_key": key}) == found


@pytest.mark.parametrize(("text", "revision"), [("3", 3), ("", None), ("-1", None), ("x", None)])
def test_a_revision_is_none_when_it_is_not_a_number(text: str, revision: int | None) -> None:
    assert forms.revision_of({"revision": text}) == revision


# -- from boxes to fields


def test_a_new_entrys_fields_leave_out_empty_boxes() -> None:
    boxes = {"headline": " ", "body": "Text", "byline": "", "key": "false", "publish_at": ""}
    assert forms.new_entry_fields(boxes, "UTC") == {"body": "Text", "key": False}


def test_edited_fields_are_those_of_the_altered_boxes() -> None:
    boxes = forms.entry_values(ENTRY, "UTC") | {"body": "New", "pinned": "true"}
    fields = forms.edited_entry_fields(boxes, "UTC")
    assert not fields.keys() & {"key", "key_title", "publish_at"}
    assert (fields["body"], fields["pinned"]) == ("New", True)


STATED = replace(ENTRY, stated_at=1_577_836_800_123)
CONFIRMED = replace(ENTRY, published_at=1_577_836_800_123)
INSTANT = "2020-01-01T00:00:00.123Z"


@pytest.mark.parametrize(
    ("entry", "ticked", "fields"),
    [
        (STATED, "", {}),
        (STATED, INSTANT, {"published_at": INSTANT}),
        (CONFIRMED, INSTANT, {}),
        (CONFIRMED, "", {"published_at": None}),
    ],
)
def test_edited_fields_have_the_stated_time_when_its_box_was_altered(
    entry: Entry, ticked: str, fields: dict[str, str | None]
) -> None:
    boxes = forms.entry_values(entry, NEW_YORK) | {"published_at": ticked}
    found = forms.edited_entry_fields(boxes, NEW_YORK)
    assert {name: found[name] for name in found if name == "published_at"} == fields


def test_entry_values_have_no_stated_time_without_one_and_once_published() -> None:
    for entry in (ENTRY, replace(CONFIRMED, order=5)):
        assert "published_at" not in forms.entry_values(entry, NEW_YORK)


@pytest.mark.parametrize("status", ["draft", "submitted"])
def test_edited_fields_leave_out_the_schedule_of_a_draft(status: str) -> None:
    boxes = {"status": status, "publish_at": "2026-07-01T12:00"}
    assert forms.edited_entry_fields(boxes, "UTC") == {"status": status}


@pytest.mark.parametrize(("ago", "at"), [("", None), ("999", None), ("1000", 8_000), ("8999", 1)])
def test_press_is_now_when_it_was_less_than_a_second_ago(ago: str, at: int | None) -> None:
    assert forms.pressed_at({"pressed_ago_ms": ago}, 9_000) == at
    assert forms.pressed_at({}, 9_000) is None


@pytest.mark.parametrize("ago", ["82800001", "-5", "1e3", "soon"])
def test_press_is_rejected_when_it_was_too_long_ago_or_is_no_number(ago: str) -> None:
    assert forms.pressed_at({"pressed_ago_ms": "82800000"}, 90_000_000) == 7_200_000
    with pytest.raises(Problem) as raised:
        forms.pressed_at({"pressed_ago_ms": ago}, 0)
    assert [pointer for pointer, _ in raised.value.errors] == ["/pressed_ago_ms"]


@pytest.mark.parametrize(
    ("title", "slug", "found"),
    [
        ("Über den Mönch's „Mond“: 2. Landung!", "", "uber-den-monch-s-mond-2-landung"),
        ("The Moon", " own ", "own"),
        ("月面着陸", "", ""),
        ("x" * 90, "", "x" * 80),
        ("a" * 79 + " b", "", "a" * 79),
    ],
)
def test_slug_comes_from_the_title_when_its_box_is_empty(title: str, slug: str, found: str) -> None:
    slugs = forms.slugs_of({"title": title, "slug": slug})
    assert slugs[0] == found
    if not slug and found:
        assert slugs[1:3] == [f"{found[:78].strip('-')}-2", f"{found[:78].strip('-')}-3"]
        assert len(slugs) == forms.SLUGS_MAX


def test_no_slug_is_made_when_the_title_is_empty() -> None:
    assert forms.slugs_of({"title": " ", "slug": " "}) == []


@pytest.mark.parametrize(
    ("boxes", "noted"),
    [
        ({"publish_at": "2026-11-01T01:30"}, True),
        ({"publish_at": "2026-11-01T01:30", "publish_at_was": "2026-11-01T01:30"}, False),
        ({"publish_at": "2026-11-01T01:30", "status": "draft"}, False),
        ({"publish_at": "2026-11-01T02:30"}, False),
        ({"body": "x"}, False),
    ],
)
def test_note_names_a_time_that_comes_twice_when_it_was_altered(
    boxes: dict[str, str], noted: bool
) -> None:
    fields = forms.edited_entry_fields(boxes, NEW_YORK)
    noticed = boxes["publish_at"] if noted else ""
    assert forms.twice_of(boxes, fields, NEW_YORK) == noticed


def test_entry_fields_schedule_when_a_time_is_given() -> None:
    boxes = {"status": "published", "publish_at": "2026-07-01T12:00"}
    assert forms.entry_fields(boxes, NEW_YORK) == {"publish_at": "2026-07-01T16:00:00.000Z"}


def test_header_fields_use_the_address_as_a_missing_link_text() -> None:
    boxes = {"successor_text": "", "successor_url": " /blogs/mars "}
    link = {"text": "/blogs/mars", "url": "/blogs/mars"}
    assert forms.header_fields(boxes, "UTC") == {"successor": link}


def test_header_fields_shorten_a_long_address_as_a_missing_link_text() -> None:
    url = f"https://a.example/{'x' * 2_000}"
    fields = forms.header_fields({"successor_text": "", "successor_url": url}, "UTC")
    assert header_decisions.blog_patch(fields) == fields
    assert fields == {"successor": {"text": f"{url[:199]}…", "url": url}}


def test_tick_is_rejected_when_its_value_is_not_the_forms() -> None:
    assert forms.entry_fields({"key": "true", "pinned": "false"}, "UTC") == {
        "key": True,
        "pinned": False,
    }
    with pytest.raises(Problem) as raised:
        decisions.entry_patch(forms.entry_fields({"key": "on", "body": "x"}, "UTC"))
    reason = "The mark as a key event must be true or false."
    assert forms.rejected({"key": "on"}, raised.value).errors == {"key": reason}


def test_header_fields_are_empty_when_every_box_is_as_shown() -> None:
    blog = Blog(slug="moon", title="The Moon", starts_at=999, successor=Link("Mars", "/mars"))
    assert forms.header_fields(forms.header_values(blog), blog.timezone) == {}


# -- rejected forms


@pytest.mark.parametrize(
    ("pointer", "box"),
    [("/body", "body"), ("/byline/0", "byline"), ("/successor/url", "successor_url")],
)
def test_a_rejected_form_has_the_first_reason_of_each_box(pointer: str, box: str) -> None:
    problem = invalid((pointer, "is wrong"), (pointer, "is very wrong"))
    shown = forms.rejected({"body": "Text", "idempotency_key": "k1"}, problem)
    assert (shown.values["body"], shown.key) == ("Text", "k1")
    assert [*shown.errors] == [box]
    assert shown.errors[box].endswith(" is wrong.")
    assert shown.problem == shown.errors[box]


def test_a_rejected_form_gets_a_new_key_when_its_key_was_used() -> None:
    problem = Problem(422, "idempotency-key-reused", "Used.")
    shown = forms.rejected({"idempotency_key": "k1"}, problem)
    assert (shown.problem, shown.errors) == (reasons.REUSED, {})
    assert len(shown.key) == forms.KEY_LENGTH
