"""Values that callers send: positions, names, times, and every limit at its edge."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from liveblog.blog import fields, instant, model
from liveblog.blog.fields import (
    BlogFields,
    EntryFields,
    check_fields,
    check_name,
    convert,
    decode_json,
)
from liveblog.blog.instant import format_time, parse_time
from liveblog.blog.model import Blog, Caller, Position, is_entry_id, is_slug, new_id
from liveblog.blog.problem import Problem
from liveblog.blog.shapes import blog_json
from liveblog.blog.visible import shows_nothing


def check(**fields: Any) -> dict[str, Any]:
    """Check fields as an entry's, or as a blog's if entries do not have the first field."""
    if next(iter(fields)) in EntryFields.__struct_fields__:
        return check_fields(convert(fields, EntryFields))
    return check_fields(convert(fields, BlogFields))


def rejected(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        check(**fields)
    assert caught.value.status == 422
    return caught.value.errors


# -- positions and names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["k3xq9a.57.9f2c01ab", "k.0.00000000", "0123456789abcdef.999999999999999.ffffffff"]
)
def test_a_position_survives_parsing_and_writing(text: str) -> None:
    position = Position.parse(text)
    assert position
    assert str(position) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k3xq9a",
        "k3xq9a.57",
        "k3xq9a.57.9f2c01a",
        "k3xq9a.57.9f2c01abc",
        "k3xq9a.57.9F2C01AB",
        "K3XQ9A.57.9f2c01ab",
        "k3xq9a.057.9f2c01ab",
        "k3xq9a.-1.9f2c01ab",
        "k3xq9a.1000000000000000.9f2c01ab",
        "0123456789abcdefg.1.9f2c01ab",
        ".57.9f2c01ab",
        "k3xq9a..9f2c01ab",
        " k3xq9a.57.9f2c01ab",
        "k3xq9a.57.9f2c01ab\n",
        "k3xq9a.\u0665\u0667.9f2c01ab",
        "k3xq9a.57.9f2c01ab.1",
    ],
)
def test_position_parse_returns_none_for_malformed_text(text: str) -> None:
    assert Position.parse(text) is None


def test_a_positions_second_part_is_the_offset() -> None:
    assert Position.parse("k3xq9a.57.9f2c01ab") == Position("k3xq9a", 57, "9f2c01ab")


@pytest.mark.parametrize("slug", ["a", "0", "election-2026", "a-b-c", "x" * 80])
def test_a_slug_has_lower_case_letters_digits_and_single_hyphens(slug: str) -> None:
    assert is_slug(slug)
    assert check(slug=slug) == {"slug": slug}


@pytest.mark.parametrize(
    "slug",
    ["-a", "a-", "a--b", "A", "a_b", "a b", "é", "x" * 81, "a\n", "\u0661", "a/b", "a.b"],
)
def test_a_slug_is_rejected_when_it_has_another_form(slug: str) -> None:
    assert not is_slug(slug)
    ((pointer, detail),) = rejected(slug=slug)
    assert pointer == "/slug"
    assert "1 to 80" in detail


def test_an_entry_id_is_e_and_12_lower_case_letters_or_digits() -> None:
    assert is_entry_id("e0123456789az")
    for id in ("e0123456789a", "e0123456789abc", "x0123456789ab", "e0123456789aB", "#blog", ""):
        assert not is_entry_id(id)
    assert all(is_entry_id(new_id("e", 12)) for _ in range(100))
    assert len({new_id("e", 12) for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["dana", "Dana Scully", "Ünal", "x" * 64, "a b c", "dana@desk"])
def test_a_name_has_visible_characters_and_single_spaces(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a  b", "a\tb", "a\nb", "a\x00b", "x" * 65])
def test_a_name_is_rejected_when_it_has_another_form(name: str) -> None:
    with pytest.raises(Problem) as caught:
        check_name(name, "/user")
    assert caught.value.errors[0][0] == "/user"


def test_a_caller_sees_all_blogs_unless_restricted_to_some() -> None:
    assert Caller("user:dana", "editor").sees("anything")
    bound = Caller("token:wire", "editor", ("a", "b"))
    assert (bound.sees("a"), bound.sees("c"), bound.name) == (True, False, "wire")


# -- limits ----------------------------------------------------------------------------------------

LIMITS = {
    "title": 300,
    "dek": 500,
    "summary": 20_000,
    "body": 20_000,
    "headline": 300,
    "dateline": 100,
    "key_title": 120,
    "note": 500,
}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items(), ids=LIMITS)
def test_text_is_rejected_when_it_exceeds_its_limit(name: str, limit: int) -> None:
    for character in ("x", "é", "👩"):
        assert check(**{name: character * limit}) == {name: character * limit}
    ((pointer, detail),) = rejected(**{name: "x" * (limit + 1)})
    assert pointer == f"/{name}"
    assert str(limit) in detail
    assert str(limit + 1) in detail


def test_a_byline_has_at_most_10_names_of_200_characters() -> None:
    names = ["x" * 200] * 10
    assert check(byline=names) == {"byline": names}
    assert rejected(byline=["x"] * 11) == [("/byline", "has 11 names; the limit is 10")]
    assert [pointer for pointer, _ in rejected(byline=["a", "x" * 201])] == ["/byline/1"]
    assert rejected(byline=["a", " ", "b"]) == [("/byline/1", "is empty")]
    assert [pointer for pointer, _ in rejected(byline=["a\nb"])] == ["/byline/0"]


@pytest.mark.parametrize("name", ["full_coverage", "successor"])
def test_a_link_has_a_text_and_a_url_of_limited_length(name: str) -> None:
    url = "https://" + "x" * (2048 - 8)
    link = {"text": "x" * 200, "url": url}
    assert check(**{name: link}) == {name: link}
    assert rejected(**{name: {**link, "text": "x" * 201}})[0][0] == f"/{name}/text"
    assert rejected(**{name: {**link, "url": url + "x"}})[0][0] == f"/{name}/url"
    assert rejected(**{name: {"text": "a"}})[0][0] == f"/{name}/url"
    assert rejected(**{name: {"url": url}})[0][0] == f"/{name}/text"
    assert rejected(**{name: {**link, "rel": "x"}})[0][0] == f"/{name}/rel"
    assert rejected(**{name: {"text": 1, "url": url}})[0][0] == f"/{name}/text"
    assert check(**{name: None}) == {name: None}


@pytest.mark.parametrize("url", ["https://a", "http://a.test/b?c#d", "HTTPS://a", "/", "/blogs/b"])
def test_a_link_goes_to_http_or_a_path_of_this_site(url: str) -> None:
    assert check(successor={"text": "a", "url": url})


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:,",
        "ftp://a",
        "//evil.test",
        "/\\evil.test",
        "\\",
        "a",
        "https:",
        "https:///a",
        "https:\\\\a",
        "https://a\\b",
        "https://a b",
        "https://a\tb",
        " https://a",
    ],
)
def test_a_link_is_rejected_when_it_goes_elsewhere(url: str) -> None:
    assert rejected(successor={"text": "a", "url": url})[0][0] == "/successor/url"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"])
def test_a_time_zone_is_a_name_of_the_iana_database(zone: str) -> None:
    assert check(timezone=zone) == {"timezone": zone}


@pytest.mark.parametrize(
    "zone", ["Mars/Phobos", "EDT!", "../UTC", "/etc/localtime", "utc", "+01:00"]
)
def test_a_time_zone_is_rejected_when_iana_does_not_list_it(zone: str) -> None:
    assert rejected(timezone=zone)[0][0] == "/timezone"


@pytest.mark.parametrize("language", ["en", "de-AT", "zh-Hant-TW", "es-419", "sl-nedis"])
def test_a_language_is_a_bcp_47_tag(language: str) -> None:
    assert check(language=language) == {"language": language}


@pytest.mark.parametrize("language", ["english", "e", "en_US", "en-", "en-USA", "x" * 36])
def test_a_language_is_rejected_when_it_is_not_a_bcp_47_tag(language: str) -> None:
    assert rejected(language=language)[0][0] == "/language"


# -- text ------------------------------------------------------------------------------------------


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], include_characters="\t\n\r"),
        min_size=1,
        max_size=300,
    )
)
def test_text_stays_the_same_byte_for_byte(text: str) -> None:
    kept = check(body=text)["body"]
    assert kept == (None if shows_nothing(text) else text)


def test_body_keeps_its_blanks_and_a_line_loses_those_at_its_ends() -> None:
    assert check(headline="  a  b\n") == {"headline": "a  b"}
    assert check(headline="a\u00a0") == {"headline": "a\u00a0"}
    assert check(byline=[" Ada ", "Sammy Davis, Jr.\t"]) == {"byline": ["Ada", "Sammy Davis, Jr."]}
    assert check(successor={"text": " Next\n", "url": "/b"}) == {
        "successor": {"text": "Next", "url": "/b"}
    }
    assert check(body="\n# a\n\n  b\r\n") == {"body": "\n# a\n\n  b\r\n"}


@pytest.mark.parametrize("invisible", ["\x0b", "\x0c", "\u2028", "\u2029"])
def test_invisible_line_breaks_become_line_feeds_or_blanks(invisible: str) -> None:
    text = f"a{invisible}b{invisible}"
    assert check(headline=text, dateline=text) == {"headline": "a b", "dateline": "a b"}
    assert check(title=text, dek=text, summary=text) == {
        "title": "a b",
        "dek": "a b",
        "summary": "a\nb\n",
    }
    assert check(body=text) == {"body": "a\nb\n"}


def test_hyphens_of_word_become_visible_or_disappear() -> None:
    text = "E\x1eMail, Donau\x1fdampf"
    assert check(body=text, headline=text) == dict.fromkeys(
        ("body", "headline"), "E\u2011Mail, Donaudampf"
    )
    assert check(byline=["A\x1eB"], note="\x1f") == {"byline": ["A\u2011B"], "note": None}


@pytest.mark.parametrize("number", [1, 2, 3, 8, 0x0E, 0x13, 0x15, 0x1B, 0x1C, 0x1D, 0x1F, 0x7F])
def test_control_characters_that_nobody_sees_disappear(number: int) -> None:
    text = f"{chr(number)}co{chr(number)}operate{chr(number)}"
    for name, limit in LIMITS.items():
        assert check(**{name: text}) == {name: "cooperate"}
        assert check(**{name: "a" * limit + chr(number)}) == {name: "a" * limit}
    assert check(byline=[text]) == {"byline": ["cooperate"]}
    assert check(successor={"text": text, "url": "/b"}) == {
        "successor": {"text": "cooperate", "url": "/b"}
    }


def test_end_of_a_cell_in_word_becomes_a_blank() -> None:
    assert check(body="a\x07b\x07", headline="a\x07b\x07") == {"body": "a b ", "headline": "a b"}


def test_tab_of_a_line_becomes_a_blank() -> None:
    for name in LIMITS.keys() - {"body", "summary"}:
        assert check(**{name: "\ta\tb\t"}) == {name: "a b"}
    assert check(byline=["a\tb"]) == {"byline": ["a b"]}


@pytest.mark.parametrize("character", ["\n", "\r"])
def test_only_body_and_summary_may_have_several_lines(character: str) -> None:
    for name in LIMITS:
        if name in ("body", "summary"):
            assert check(**{name: f"a{character}b"})
        else:
            assert rejected(**{name: f"a{character}b"})[0][0] == f"/{name}"
            assert check(**{name: f"{character}a b{character}"}) == {name: "a b"}


@pytest.mark.parametrize(
    "nothing",
    ["", " ", "\n\t ", "\u00a0", "\u2003", "\u200b", "\u202e\u2066", "\ufeff \u2800", "\u3164\x0b"],
)
def test_text_becomes_none_when_it_shows_nothing(nothing: str) -> None:
    assert check(headline=nothing, body=nothing) == {"headline": None, "body": None}
    assert rejected(title=nothing) == [("/title", "must not be empty")]
    assert rejected(byline=[nothing]) == [("/byline/0", "is empty")]


@pytest.mark.parametrize("text", ["\u200bX", "\u202e!", "\u0600", "👩\u200d🚀", "-"])
def test_text_with_one_visible_character_stays(text: str) -> None:
    assert check(headline=text, body=text) == {"headline": text, "body": text}


@pytest.mark.parametrize("blank", ["", " ", "\n"])
@pytest.mark.parametrize("name", ["slug", "title", "timezone", "language"])
def test_a_required_field_of_a_blog_is_rejected_when_empty(name: str, blank: str) -> None:
    assert rejected(**{name: blank})[0][0] == f"/{name}"


@pytest.mark.parametrize("character", ["\x00", "\ud800", chr(0xDFFF)])
def test_text_is_rejected_with_nul_or_surrogates(character: str) -> None:
    for name in LIMITS:
        ((pointer, detail),) = rejected(**{name: f"ab{character}"})
        assert pointer == f"/{name}"
        assert f"U+{ord(character):04X}" in detail
        assert "character 3" in detail


def test_fields_not_sent_are_left_out_and_null_stays_none() -> None:
    assert check(headline=None) == {"headline": None}
    assert check_fields(convert({}, EntryFields)) == {}
    assert check(key=False, pinned=True) == {"key": False, "pinned": True}


def test_a_problem_names_every_wrong_field() -> None:
    found = rejected(headline="x" * 301, dateline="a\x00b", publish_at="tomorrow", body="fine")
    assert [pointer for pointer, _ in found] == ["/headline", "/dateline", "/publish_at"]


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a':1}",
        b'{"a":1}x',
        b"\xff",
        b'{"a":"\xc3"}',
        b'{"a":NaN}',
        b'{"a":' * 100_000,
        b'{"a":1,"a":1}',
        b'{"a":{"b":[{"c":1,"d":2,"c":3}]}}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
    ],
)
def test_decode_json_raises_400_for_broken_json(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        decode_json(body)
    assert (caught.value.status, caught.value.name) == (400, "broken-json")


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b'{"headlin":"a"}', "/headlin", "is an unknown field"),
        (b'{"headline":1}', "/headline", "must be a string or null, not an integer"),
        (b'{"byline":"a"}', "/byline", "must be a list or null, not a string"),
        (b'{"byline":["a",2]}', "/byline/1", "must be a string, not an integer"),
        (b'{"status":"gone"}', "/status", "has an unknown value: 'gone'"),
        (b'{"key":"yes"}', "/key", "must be true or false, not a string"),
        (b'{"key":null}', "/key", "must be true or false, not null"),
        (b'{"key":1.5}', "/key", "must be true or false, not a number"),
        (b'{"pin_order":"1"}', "/pin_order", "must be a number or null, not a string"),
        (b'{"pin_order":true}', "/pin_order", "must be a number or null, not true or false"),
        (b'{"pin_order":[1]}', "/pin_order", "must be a number or null, not a list"),
        (
            b'{"headline":%b}' % (b"1" * 5_000),
            "/headline",
            "must be a string or null, not a number",
        ),
        (b'{"byline":["a",-%b]}' % (b"1" * 5_000), "/byline/1", "must be a string, not a number"),
        (b'{"headline":1e999999}', "/headline", "must be a string or null, not a number"),
        (b"[]", "", "must be an object, not a list"),
        (b'"a"', "", "must be an object, not a string"),
        (b"null", "", "must be an object, not null"),
    ],
)
def test_a_wrong_type_or_unknown_field_is_422_with_a_pointer(
    body: bytes, pointer: str, detail: str
) -> None:
    with pytest.raises(Problem) as caught:
        convert(decode_json(body), EntryFields)
    assert caught.value.status == 422
    assert caught.value.errors == [(pointer, detail)]


def test_decode_json_skips_a_byte_order_mark() -> None:
    assert decode_json(b'\xef\xbb\xbf{"a":"\xef\xbb\xbfb"}') == {"a": "\ufeffb"}


@given(
    st.dictionaries(
        st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
    )
)
def test_decode_json_returns_what_another_encoder_wrote(fields: dict[str, Any]) -> None:
    assert decode_json(json.dumps(fields).encode()) == fields
    assert decode_json(orjson.dumps(fields)) == fields


def test_a_problem_has_the_members_of_rfc_9457() -> None:
    problem = Problem(412, "revision-conflict", "Saved.", [("/a", "b")], extra={"current": {}})
    assert problem.to_json() == {
        "type": "/problems/revision-conflict",
        "title": "Revision conflict",
        "status": 412,
        "detail": "Saved.",
        "errors": [{"pointer": "/a", "detail": "b"}],
        "current": {},
    }


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-22T14:05:00.000Z", 1_795_356_300_000),
        ("2026-11-22T14:05:00Z", 1_795_356_300_000),
        ("2026-11-22T09:05:00-05:00", 1_795_356_300_000),
        ("2026-11-22t14:05:00.1z", 1_795_356_300_100),
        ("2026-11-22 14:05:00.123456789Z", 1_795_356_300_123),
        ("2026-11-22T14:05:00.9999+00:00", 1_795_356_300_999),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ],
)
def test_a_time_is_rfc_3339_with_an_offset(text: str, ms: int) -> None:
    assert parse_time(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T14:05:00",
        "2026-11-22",
        "2026-11-22T14:05Z",
        "2026-11-22T14:05:00+0100",
        "2026-11-22T14:05:00,5Z",
        "2026-11-22T14:05:00.Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-22T25:00:00Z",
        "2026-11-22T14:60:00Z",
        "2026-11-22T14:05:00+24:00",
        "0000-01-01T00:00:00Z",
        "1795356300",
        "20261122T140500Z",
        "\u0662\u0660\u0662\u0666-11-22T14:05:00Z",
        "",
    ],
)
def test_a_time_is_rejected_when_it_is_not_rfc_3339(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|does not exist"):
        parse_time(text)
    for name in ("publish_at", "published_at"):
        assert rejected(**{name: text or "x"})[0][0] == f"/{name}"


def test_a_time_is_written_in_utc_with_milliseconds_and_z() -> None:
    assert format_time(1_795_356_300_007) == "2026-11-22T14:05:00.007Z"
    assert format_time(-1) == "1969-12-31T23:59:59.999Z"
    assert format_time(None) is None


@given(st.integers(instant.TIME_MIN_MS, instant.TIME_MAX_MS))
@example(instant.TIME_MIN_MS)
@example(instant.TIME_MAX_MS)
def test_parse_time_reads_every_time_that_format_time_writes(ms: int) -> None:
    assert parse_time(format_time(ms) or "") == ms


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+01:00",  # the year 0 in UTC
        "9999-12-31T23:59:59-01:00",  # the year 10000 in UTC
        "0999-12-31T23:59:59Z",
        "9999-01-01T00:00:00Z",
    ],
)
def test_a_time_is_rejected_when_some_zone_cannot_show_it(text: str) -> None:
    for name in ("publish_at", "published_at", "starts_at"):
        ((pointer, detail),) = rejected(**{name: text})
        assert pointer == f"/{name}"
        assert text in detail


@pytest.mark.parametrize("text", ["soon", "2026-06-01T19:30", "2026-06-01", "2026-02-30T00:00:00Z"])
def test_a_start_is_rejected_when_it_is_not_an_instant(text: str) -> None:
    assert check(starts_at="2026-06-01T19:30:00+01:00")
    assert check(starts_at=None) == check(starts_at=" ") == {"starts_at": None}
    ((pointer, detail),) = rejected(starts_at=text)
    assert pointer == "/starts_at"
    assert text in detail


def test_blog_json_gives_a_start_in_utc_or_null() -> None:
    at = Position("k3xq9a", 57, "9f2c01ab")
    blog = Blog(slug="vote", title="The vote", timezone="Europe/London", starts_at=0)
    assert blog_json(blog, at, "")["starts_at"] == "1970-01-01T00:00:00.000Z"
    assert blog_json(Blog(slug="vote", title="The vote"), at, "")["starts_at"] is None


def test_the_limits_are_the_documented_ones() -> None:
    assert {name: getattr(fields, f"{name.upper()}_MAX") for name in LIMITS} == LIMITS
    assert (model.SLUG_MAX, fields.NAME_MAX, fields.URL_MAX) == (80, 64, 2_048)
    assert (fields.LINK_TEXT_MAX, fields.BYLINE_NAME_MAX, fields.BYLINE_NAMES_MAX) == (200, 200, 10)
    assert (fields.PASSWORD_MIN, fields.PASSWORD_MAX) == (12, 1_024)
    assert (fields.IDEMPOTENCY_KEY_MAX, fields.BODY_BYTES_MAX) == (255, 1 << 20)
