"""Times, entries, headers and pages as HTML: their content, and that they escape all text."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import liveblog
from liveblog.blog.model import Blog, Entry, Link, Position
from liveblog.html.entries import entry_html, entry_name, header_html
from liveblog.html.markdown import plain, to_html
from liveblog.html.pages import Pages
from liveblog.html.when import when
from liveblog.live import frame as frames

PAGES = Pages("/static/9f2c01ab")
POSITION = Position("k3xq9a", 57, "9f2c01ab")


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def blog(**fields: Any) -> Blog:
    made = {"slug": "vote", "title": "The vote", "status": "live", "offset": 9, **fields}
    return Blog(**({"timezone": "America/New_York"} | made))


def entry(number: int = 1, **fields: Any) -> Entry:
    made: dict[str, Any] = {
        "id": f"e{number:012}",
        "body": "Text.",
        "status": "published",
        "offset": number,
        "order": number,
        "published_at": ms(2024, 11, 6, 6, 57),
        "updated_at": ms(2024, 11, 6, 6, 57),
    } | fields
    made["body_html"] = to_html(made["body"]) if made["body"] else None
    return Entry(**made)


def text_of(html: str) -> str:
    return plain(re.sub(r"<template>.*?</template>", "", html, flags=re.DOTALL))


def page(*entries: Entry, **fields: Any) -> str:
    made: dict[str, Any] = {
        "blog": blog(),
        "position": POSITION,
        "entries": entries,
        "pinned": [it for it in entries if it.pinned],
        "key_events": [it for it in entries if it.key],
        "before": None,
        "older": False,
        "permalink": None,
        "public_url": "https://news.example",
    } | fields
    return PAGES.blog(article=lambda entry: entry_html(entry, made["blog"]), **made)


# -- times


@pytest.mark.parametrize(
    ("at", "zone", "language", "clock", "date"),
    [
        (ms(2024, 11, 6, 6, 57), "America/New_York", "en", "1:57 AM EST", "November 6, 2024"),
        (ms(2024, 7, 1, 5, 57), "America/New_York", "en", "1:57 AM EDT", "July 1, 2024"),
        (ms(1969, 7, 20, 20, 17), "America/New_York", "en-US", "4:17 PM EDT", "July 20, 1969"),
        (ms(2024, 7, 1, 12), "Europe/London", "en-GB", "13:00 BST", "1 July 2024"),
        (ms(2024, 7, 1, 12), "America/Sao_Paulo", "pt-BR", "09:00 UTC-3", "1 de julho de 2024"),
        (ms(2024, 7, 1, 12), "Asia/Kathmandu", "en", "5:45 PM UTC+5:45", "July 1, 2024"),
        (ms(2024, 7, 1, 12), "UTC", "fr", "12:00 UTC", "1 juillet 2024"),
        (ms(2024, 7, 1, 12), "UTC", "xx-Nowhere", "12:00 PM UTC", "July 1, 2024"),
        (ms(1, 1, 1), "America/New_York", "en", "12:00 AM UTC", "January 1, 1"),
    ],
)
def test_a_time_reads_as_is_usual_in_its_zone_and_language(
    at: int, zone: str, language: str, clock: str, date: str
) -> None:
    shown = when(at, blog(timezone=zone, language=language))
    assert (shown.clock, shown.date) == (clock, date)


def test_the_time_line_has_a_link_with_time_and_date() -> None:
    html = entry_html(entry(), blog())
    assert (
        "<p class=when><a href=/blogs/vote/entries/e000000000001>"
        '<time datetime="2024-11-06T06:57:00.000Z"'
        ' title="Wednesday, November 6, 2024, 1:57 AM EST (America/New_York)">'
        "1:57 AM EST<span class=date> · November 6, 2024</span></time></a></p>"
    ) in html


def test_a_full_time_names_the_zone_once_when_both_names_are_equal() -> None:
    shown = when(ms(2024, 7, 1, 12), blog(timezone="UTC"))
    assert shown.full == "Monday, July 1, 2024, 12:00 PM UTC"


# -- entries


def test_an_entry_escapes_every_field_that_is_not_markdown() -> None:
    bad = "<b>\"'&"
    html = entry_html(
        entry(headline=bad, byline=[bad], dateline=bad, key=True, key_title=bad, note=bad), blog()
    )
    assert "<b>" not in html
    assert "<h3 dir=auto>&lt;b&gt;&#34;&#39;&amp;</h3>" in html
    assert "data-key-title='&lt;b&gt;&#34;&#39;&amp;' aria-label='&lt;b&gt;" in html
    assert bad in text_of(html)


def test_an_entry_has_its_numbers_and_a_copy_has_no_id() -> None:
    it = entry(7, offset=9, revision=3, headline="Called")
    html = entry_html(it, blog())
    assert html.startswith(
        '<article id="e000000000007" data-offset="9" data-order="7"'
        """ data-revision="3" aria-label='Called'>"""
    )
    copy = entry_html(it, blog(), is_copy=True)
    assert copy.startswith('<article data-entry="e000000000007" data-offset="9"')
    assert " id=" not in copy


def test_an_entrys_name_is_its_first_words_or_time_without_a_headline() -> None:
    assert entry_name(entry(body="One *two*"), blog()) == "One two"
    assert entry_name(entry(body=None), blog()) == "1:57 AM EST"
    assert entry_name(entry(body="100. Spiel"), blog()) == "100. Spiel"
    assert entry_name(entry(body="1. A\n2. B"), blog()) == "1. A 2. B"


def test_direction_marks_of_a_name_are_isolated() -> None:
    turned = "\u202eGoal"
    assert entry_name(entry(headline=turned), blog()) == f"\u2068{turned}\u2069"
    assert entry_name(entry(body=turned), blog()) == f"\u2068{turned}\u2069"
    assert "<h3" not in entry_html(entry(), blog())


@pytest.mark.parametrize(
    ("body", "html"),
    [
        ("One\n\nTwo", "<p><span class=dateline>ROME</span> — One</p>\n<p>Two</p>"),
        ("- A\n- B", "<p><span class=dateline>ROME</span> — </p>\n<ul>\n<li>A</li>\n<li>B</li>"),
        ("*One*", "<p><span class=dateline>ROME</span> — <em>One</em></p>"),
    ],
)
def test_the_dateline_is_placed_before_the_first_words(body: str, html: str) -> None:
    assert html in entry_html(entry(body=body, dateline="ROME"), blog())


def test_key_and_pinned_entries_are_marked() -> None:
    html = entry_html(entry(key=True, key_title="A & B", pinned=True), blog())
    assert "data-key-title='A &amp; B'" in html
    assert " data-pinned" in html
    assert "Pinned Key event" in text_of(html.replace("</span>", "</span> "))
    plain_html = entry_html(entry(), blog())
    assert "data-key-title" not in plain_html
    assert "data-pinned" not in plain_html
    assert "<template>" not in plain_html


def test_pinned_entry_has_its_number_on_pages_and_in_frames() -> None:
    for in_frame in (False, True):
        pinned = entry_html(entry(pinned=True, pin_order=-0.5), blog(), in_frame=in_frame)
        assert " data-pinned data-pin-order=-0.5 aria-label=" in pinned
        for without in (entry(pinned=True), entry()):
            assert "data-pin-order" not in entry_html(without, blog(), in_frame=in_frame)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"note_kind": "correction", "note": "the name"}, "Correction: the name"),
        ({"note_kind": "correction"}, "Correction"),
        ({"note_kind": "update", "updated_at": ms(2024, 11, 6, 7)}, "Updated 2:00 AM EST"),
        (
            {"note_kind": "update", "updated_at": ms(2024, 11, 7, 7), "note": "more"},
            "Updated 2:00 AM EST · November 7, 2024: more",
        ),
        ({"note_kind": "update", "updated_at": ms(2024, 11, 6, 6, 56)}, "Updated 1:57 AM EST"),
        ({"status": "retracted", "note_kind": "retraction", "note": "no"}, "Retracted: no"),
        ({"status": "retracted"}, "Retracted"),
    ],
)
def test_an_entry_shows_the_note_of_its_last_edit(fields: dict[str, Any], label: str) -> None:
    html = entry_html(entry(**fields), blog())
    notes = re.findall(r"<p class=note dir=auto>(.*?)</p>", html)
    seen = [re.sub(r"<span [^>]*hidden>.*?</span>", "", note) for note in notes]
    assert [plain(note) for note in seen] == [label]
    assert ("<del>" in html) == ("status" in fields)


@pytest.mark.parametrize("kind", ["minor", None])
def test_an_entry_shows_no_note_after_a_minor_edit(kind: str | None) -> None:
    assert "note" not in entry_html(entry(note_kind=kind, revision=2, note="x"), blog())


# Characters with a meaning in HTML or JSON, and an ordinary one.
TEXTS = st.text(st.sampled_from("<>\"'&=`/ \n\\a"), max_size=8)
ENTRIES = st.builds(
    entry,
    number=st.integers(1, 9_999),
    revision=st.integers(1, 99),
    headline=st.none() | TEXTS,
    byline=st.lists(TEXTS, max_size=2),
    dateline=st.none() | TEXTS,
    body=st.none() | TEXTS | st.just('<time datetime="x" title="y"> and [a](/b "title")'),
    key=st.booleans(),
    key_title=st.none() | TEXTS,
    pinned=st.booleans(),
    status=st.sampled_from(["published", "retracted"]),
    note_kind=st.sampled_from([None, "minor", "update", "correction", "retraction"]),
    note=st.none() | TEXTS,
    updated_at=st.sampled_from([ms(2024, 11, 6, 7), ms(2024, 11, 7, 7)]),
)


def without_numbers_and_titles(html: str) -> str:
    """Return an entry's HTML without its numbers and titles; frames omit both."""
    html = re.sub(
        r'^<article id="(\w+)" data-offset="\d+" data-order="\d+" data-revision="\d+"',
        r"<article id=\1",
        html,
    )
    html = re.sub(r'<time datetime="([^"]+)" title="[^"]*">', r"<time datetime=\1>", html)
    return re.sub(r'<li data-entry="(\w+)" data-order="\d+">', r"<li data-entry=\1>", html)


@given(ENTRIES)
def test_a_frame_has_a_pages_html_without_numbers_and_titles(it: Entry) -> None:
    html, framed = entry_html(it, blog()), entry_html(it, blog(), in_frame=True)
    assert framed == without_numbers_and_titles(html)
    if "[a](" not in (it.body or ""):
        for said in ("data-offset", "data-order", "data-revision", "title="):
            assert said not in framed.replace("data-key-title=", "")


def test_the_frame_of_a_short_entry_has_at_most_1100_bytes() -> None:
    """The entry is as long as those that `make compare` publishes to measure the fan-out."""
    it = entry(10, headline="Bench", body="lbns1732000000000000000 " + "words" * 120)
    html = entry_html(it, blog(slug="bench", timezone="UTC"), in_frame=True)
    frame = frames.changes(9, Position("k3xq9a", 10, "9f2c01ab"), [frames.put(it, html=html)])
    assert frame
    assert len(frame.framed) <= 1_100


class Attributes(HTMLParser):
    """The attributes of every element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@given(ENTRIES)
def test_an_entrys_texts_end_no_attribute(it: Entry) -> None:
    allowed = {"id", "class", "dir", "href", "datetime", "hidden", "rel", "title", "aria-label"}
    for framed in (True, False):
        (_, article), *rest = Attributes(entry_html(it, blog(), in_frame=framed)).seen
        assert article["id"] == it.id
        assert article["aria-label"] == entry_name(it, blog())
        assert ("data-key-title" in article) == it.key
        for tag, attributes in rest:
            assert attributes.keys() <= allowed | {"data-entry", "data-order"}, tag
            assert None not in {attributes.get(name, "") for name in ("class", "href", "datetime")}


# -- headers


def test_a_header_has_status_title_dek_summary_and_link() -> None:
    html = header_html(
        blog(
            dek="Who & why",
            summary_html=to_html("**Now**"),
            full_coverage=Link("All of it", "https://x.example/?a&b"),
        )
    )
    assert html.startswith('<header class="blog" data-offset="9" data-status="live">')
    assert text_of(html) == "Live coverage The vote Who & why Now All of it"
    assert 'href="https://x.example/?a&amp;b"' in html


def test_a_header_names_the_successor_only_when_the_blog_ended() -> None:
    successor = Link("Next day", "/blogs/next")
    ended = header_html(blog(status="ended", successor=successor))
    assert "Coverage has ended" in ended
    assert '<a href="/blogs/next" dir="auto">Next day</a>' in ended
    assert "Next day" not in header_html(blog(successor=successor))


@pytest.mark.parametrize(
    ("at", "zone", "clock", "date", "full"),
    [
        (
            ms(2026, 6, 1, 18, 30),
            "Europe/London",
            "7:30 PM BST",
            "June 1, 2026",
            "Monday, June 1, 2026, 7:30 PM BST (Europe/London)",
        ),
        (
            ms(2026, 12, 1, 19, 30),
            "Europe/London",
            "7:30 PM GMT",
            "December 1, 2026",
            "Tuesday, December 1, 2026, 7:30 PM GMT (Europe/London)",
        ),
        (
            ms(1970, 1, 1),  # 0 is a valid start
            "America/New_York",
            "7:00 PM EST",
            "December 31, 1969",
            "Wednesday, December 31, 1969, 7:00 PM EST (America/New_York)",
        ),
    ],
)
def test_an_upcoming_blog_shows_its_start_in_the_zones_time_on_that_day(
    at: int, zone: str, clock: str, date: str, full: str
) -> None:
    html = header_html(blog(status="upcoming", starts_at=at, timezone=zone))
    iso = f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M}:00.000Z"
    assert (
        f'<p class="starts">About to start: <time datetime="{iso}" title="{full}">{clock}'
        f"<span class=date> · {date}</span></time>"
        '<span class="countdown" aria-hidden="true"></span></p>'
    ) in html
    assert text_of(html) == f"Upcoming About to start: {clock} · {date} The vote"


def test_a_start_is_written_in_the_blogs_language() -> None:
    at, fields = ms(2026, 6, 1, 18, 30), {"timezone": "Europe/Berlin", "language": "de"}
    html = header_html(blog(status="upcoming", starts_at=at, **fields))
    assert "About to start: 20:30 CEST · 1. Juni 2026" in text_of(html)


def test_an_upcoming_blog_shows_no_start_when_it_has_none() -> None:
    assert text_of(header_html(blog(status="upcoming"))) == "Upcoming The vote"


@pytest.mark.parametrize("status", ["draft", "live", "ended"])
def test_a_blog_shows_no_start_when_it_is_not_upcoming(status: str) -> None:
    it = blog(status=status, starts_at=ms(2026, 6, 1, 18, 30))
    for html in (header_html(it), PAGES.home(blogs=[it], public_url="")):
        assert "About to start" not in html
        assert "2026" not in html


# -- pages


def test_a_page_states_the_position_it_was_rendered_at() -> None:
    html = page(entry(2), entry(1))
    assert (
        '<main data-blog="vote" data-position="k3xq9a.57.9f2c01ab" data-version="" data-language="en"'
        ' data-zone="America/New_York" lang="en" dir="ltr">'
    ) in html
    assert re.findall(r'<article id="(\w+)"', html) == ["e000000000002", "e000000000001"]
    assert '<nav id="older" aria-label="Older updates" hidden>' in html
    assert '<p id="newest" hidden>' in html


def test_a_page_links_to_older_entries_when_there_are_some() -> None:
    html = page(entry(2), entry(1), older=True)
    assert 'href="/blogs/vote?before=e000000000001"' in html
    assert 'data-lowest="1"' in html


def test_an_older_page_links_to_the_newest() -> None:
    html = page(entry(2), before=entry(5, deleted=True, body=None))
    assert 'data-below="5"' in html
    assert '<p id="newest"><a href="/blogs/vote">Newest updates</a></p>' in html
    assert "<title>The vote · earlier updates</title>" in html
    assert 'rel="canonical" href="https://news.example/blogs/vote?before=e000000000005"' in html


def test_a_permalink_page_has_its_own_title_description_and_address() -> None:
    linked = entry(2, headline="Called", body="It is *done*.")
    html = page(entry(3), linked, permalink=linked)
    assert "<title>Called · The vote</title>" in html
    assert '<meta name="description" content="It is done.">' in html
    assert 'href="https://news.example/blogs/vote/entries/e000000000002"' in html
    assert 'data-permalink="e000000000002"' in html


def test_pinned_and_key_lists_repeat_no_id_of_the_feed() -> None:
    html = page(entry(3, key=True, key_title="Won"), entry(2, pinned=True))
    elsewhere = page(entry(3), key_events=[entry(1, key=True)], pinned=[entry(2, pinned=True)])
    assert '<li data-entry="e000000000003" data-order="3"><a href=#e000000000003>' in html
    assert "<a href=/blogs/vote/entries/e000000000001>" in elsewhere
    assert '<article data-entry="e000000000002"' in elsewhere
    for it in (html, elsewhere):
        ids = re.findall(r'\sid="([^"]+)"', it)
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("language", "direction"), [("en", "ltr"), ("ar", "rtl"), ("he-IL", "rtl")]
)
def test_a_page_has_the_language_and_direction_of_its_blog(language: str, direction: str) -> None:
    html = page(entry(), blog=blog(language=language))
    assert f'<html lang="{language}" dir="{direction}">' in html


@pytest.mark.parametrize(
    ("status", "state"), [("live", "lost"), ("upcoming", "lost"), ("ended", "ended")]
)
def test_a_page_states_no_connection_before_its_script_connects(status: str, state: str) -> None:
    assert f'dir="auto" data-state="{state}"' in page(blog=blog(status=status))


def test_pages_load_scripts_and_styles_from_their_own_prefix() -> None:
    mine, other = (Pages(f"/static/{version}") for version in ("a1", "b2"))
    for pages, prefix in ((mine, "a1"), (other, "b2"), (mine, "a1")):
        found = re.findall(r'(?:src|href)="/static/(\w+)/', pages.home(blogs=[], public_url=""))
        assert set(found) == {prefix}


def test_only_the_environment_marks_strings_as_safe() -> None:
    sources = {path.name: path.read_text() for path in Path(liveblog.__path__[0]).rglob("*.py")}
    assert [name for name, text in sources.items() if "Markup(" in text] == ["environment.py"]


def test_no_page_has_an_inline_script_or_style() -> None:
    pages = [
        page(entry(1, key=True, pinned=True)),
        PAGES.home(blogs=[blog()], public_url=""),
        PAGES.message(status=404),
    ]
    for html in pages:
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=)", html)


def test_the_home_page_lists_blogs_in_the_order_given() -> None:
    blogs = [blog(slug="b", title="B", dek="x"), blog(slug="a", title="A", status="ended")]
    html = PAGES.home(blogs=blogs, public_url="https://news.example")
    assert re.findall(r'href="/blogs/(\w)"', html) == ["b", "a"]
    assert "There is no coverage yet." in PAGES.home(blogs=[], public_url="")


def test_the_home_page_links_to_earlier_blogs_and_back() -> None:
    first = PAGES.home(blogs=[blog()], older="b", public_url="https://news.example")
    assert '<a href="/?before=b">' in first
    later = PAGES.home(blogs=[blog()], before="b", public_url="https://news.example")
    assert '<a href="/">Newest coverage</a>' in later
    assert 'href="https://news.example/?before=b"' in later
    assert "?before" not in later.partition("<main")[2]


def test_a_page_has_no_canonical_link_when_the_address_is_unknown() -> None:
    assert "canonical" not in PAGES.home(blogs=[], public_url="")
    for more in ({}, {"before": entry(5)}, {"permalink": entry(1)}):
        assert "canonical" not in page(entry(1), public_url="", **more)


def test_the_home_page_shows_the_start_of_upcoming_blogs() -> None:
    upcoming = {"status": "upcoming", "timezone": "Europe/London", "language": "en-GB"}
    blogs = [blog(title="A", starts_at=ms(2026, 12, 1, 19, 30), **upcoming), blog(title="B")]
    html = PAGES.home(blogs=[*blogs, blog(title="C", **upcoming)], public_url="")
    said = "Upcoming About to start: 19:30 GMT · 1 December 2026 A Live B Upcoming C"
    assert said in text_of(html)


@pytest.mark.parametrize("status", [404, 410, 503])
def test_a_message_page_has_a_note_and_a_link(status: int) -> None:
    html = PAGES.message(status=status, blog=blog() if status == 410 else None)
    assert ('href="/blogs/vote"' in html) == (status == 410)
    assert '<meta name="robots" content="noindex">' in html
    assert "canonical" not in html
