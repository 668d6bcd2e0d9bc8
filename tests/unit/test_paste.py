"""Pasted HTML and cells as Markdown: clipboards of real programs, and texts that look like marks."""

import html as entities
import re
import tomllib
from pathlib import Path
from typing import Any

import nh3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liveblog.blog.problem import Problem
from liveblog.html import clipboard, elements, nesting
from liveblog.html.markdown import plain, to_html
from liveblog.html.paste import to_markdown

VECTORS = Path(__file__).parents[1] / "vectors" / "clipboard.toml"
PAYLOADS: list[dict[str, Any]] = tomllib.loads(VECTORS.read_text())["payload"]
UNSEEN = {"script", "style", "title"}


def words(html: str) -> list[str]:
    """Return the words that HTML shows, as an oracle that knows no blocks and no marks."""
    spaced = re.sub(r"<(?:br|/?(?:p|div|li|td|th|h[1-6]|blockquote|caption))\b", r" \g<0>", html)
    text = entities.unescape(nh3.clean(spaced, tags=set(), clean_content_tags=UNSEEN))
    return text.split()


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda it: it["program"])
def test_clipboard_of_a_program_becomes_markdown_with_its_structure(
    payload: dict[str, Any],
) -> None:
    pasted = to_markdown(payload.get("html", ""), payload.get("text", ""))
    assert pasted == payload["markdown"].removeprefix("\n")


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda it: it["program"])
def test_readers_see_the_words_and_the_structure_that_were_pasted(payload: dict[str, Any]) -> None:
    shown = to_html(to_markdown(payload.get("html", ""), payload.get("text", "")))
    pasted = payload.get("html") or entities.escape(payload["text"].replace('"', ""))
    expected = " ".join(words(pasted)).replace(payload.get("hidden", ""), "")
    assert " ".join(words(shown)) == payload.get("shows", " ".join(expected.split()))
    keeps = payload["keeps"]
    assert {it: len(re.findall(rf"<{it}[ >]", shown)) for it in keeps} == keeps


def test_payloads_are_at_least_25() -> None:
    assert len(PAYLOADS) >= 25


@pytest.mark.parametrize("text", ["\u200b- a", "\ufeff## a", "\u200e> a", "\u200b1. a", "a*C:\\"])
def test_text_is_no_mark_behind_characters_that_nobody_sees(text: str) -> None:
    shown = to_html(to_markdown(f"<p>{entities.escape(text)}<p>{text.replace('1', '2')}", ""))
    assert text in entities.unescape(shown)


def test_plain_text_stays_as_it_is() -> None:
    assert to_markdown("", "*a*\r\n# b\x0bc") == "*a*\n# b\nc"
    assert to_markdown(" <p> </p>", "a") == "a"
    assert to_markdown("", "\tIndented\tone\n\tIndented\ttwo") == "\tIndented\tone\n\tIndented\ttwo"


KEPT = '<div style="white-space: pre-wrap">'


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        (f"{KEPT}a\nb\n\nc</div>", "a\nb\n\nc"),
        ('<p style="white-space: preserve nowrap">a\r\nb</p>', "a\nb"),
        (f"{KEPT}<span>a</span><span>\n\n</span><b>b</b></div>", "a\n\n**b**"),
        (f'{KEPT}a\n<span style="white-space: normal">b\nc</span></div>', "a\nb c"),
        ('<p style="white-space-collapse: preserve-spaces">a\nb</p>', "a b"),
        (f"{KEPT}\n  <div>a</div>\n\n  <div>\n    b\n  </div>\n  <p>c\n</p>\n</div>", "a\nb\n\nc"),
        (
            f"<table>{KEPT}\n<tr>\n<td>\na\nb</td>\n<td>c</td></tr></table>",
            "| a b | c |\n| --- | --- |",
        ),
        (f"{KEPT}a<span>&nbsp;</span>b\n&nbsp;\nc</div>", "a b\n\nc"),
    ],
)
def test_line_feeds_are_line_breaks_when_the_style_keeps_them(html: str, markdown: str) -> None:
    assert to_markdown(html, "") == markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ('<span style="display:block">a</span><span style="display:flex">b</span>c', "a\nb\nc"),
        ('<x-a style="display: grid !important">a</x-a>b<X-A>c</X-A>', "a\nbc"),
        ('a <div style="display:inline">b</div> c<div style="display: none">d</div>', "a b c"),
        ("<details><summary>a</summary>b</details>c", "a\nb\nc"),
        ("<form><fieldset><legend>a</legend>b</fieldset></form>", "a\nb"),
    ],
)
def test_blocks_are_lines_by_their_element_or_their_style(html: str, markdown: str) -> None:
    assert to_markdown(html, "") == markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<blockquote><p>300 dead<p>he said</blockquote>a", "300 dead\n\nhe said\n\na"),
        ("<blockquote>2026 is near.</blockquote>", "2026 is near."),
        ("<blockquote><b>5</b> goals</blockquote>", "> **5** goals"),
        ("<blockquote><ol><li>a<li>b</ol>c</blockquote>", "1. a\n2. b\n\nc"),
        ("<blockquote><ul><li>a<li>b</ul>c</blockquote>", "> - a\n> - b\n>\n> c"),
        ("<blockquote>a<p>5 b<ul><li>6 c<li>d</ul></blockquote>", "> a\n>\n> 5 b\n>\n> 6 c\n> d"),
        ("<ul><li>12 dead<li>more</ul>", "12 dead\nmore"),
        ("<ul><li>a</ul>b", "a\n\nb"),
        ("<ul><li>a<br>b</ul><ol><li>c</ol>", "a\nb\n\n1. c"),
        ("<ul><li>9 a<ul><li>b<li>c</ul><li>d</ul>", "9 a\n- b\n- c\nd"),
        ("<ul><li>a<ul><li>9 b<ul><li>c<li>d</ul></ul><li>e</ul>", "- a\n  9 b\n  - c\n  - d\n- e"),
        ("<ol start=9><li>a<li>b<ul><li>c<li>d</ul></ol>", "9. a\n10. b\n- c\n- d"),
        ("<ul><ul><li>a</ul><li>b</ul>", "- a\n- b"),
        ("<blockquote><ul><li>a</ul></blockquote><ul><li>b</ul>", "> a\n\nb"),
    ],
)
def test_readers_see_no_marks_of_what_is_no_quote_and_no_list(html: str, markdown: str) -> None:
    assert to_markdown(html, "") == markdown
    assert not re.search(r">(?:-|&gt;) ?", to_html(markdown))


def test_lists_keep_their_marks_from_readers_when_they_are_deep() -> None:
    depth = elements.DEPTH_MAX + 2
    html = "<ul><li>a<li>b" * depth + "</ul>" * depth
    shown = to_html(to_markdown(f"<blockquote>{html}</blockquote>", ""))
    assert shown.count("<ul>") == elements.DEPTH_MAX
    assert words(shown) == ["a", "b"] * depth


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("<ul><li>a<li>b</ul>", "a; b"),
        ("<ol><li>a<li>b</ol>", "1\\. a; 2. b"),
        ("a<br>b<br>c<div>d</div>e", "a b c d e"),
        ("<p>a.<p>b<p>(c)<p>d", "a. b (c); d"),
        ("a<blockquote>b</blockquote>", "a; b"),
        ("<h3>a</h3>" + "b<br>" * 30, "a; " + " ".join("b" * 30)),
    ],
)
def test_a_cell_with_blocks_becomes_one_line(cell: str, text: str) -> None:
    pasted = to_markdown(f"<table><tr><td>{cell}<td>x<tr><td>y<td>z</table>", "")
    assert pasted == f"| {text} | x |\n| --- | --- |\n| y | z |"


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td><p>a<p>b</table>",
        "<table><tr><td><table><tr><td>a</table><td>b</table>",
        "<table role=presentation><tr><td>a<td>b</table>",
    ],
)
def test_a_table_for_layout_becomes_paragraphs(html: str) -> None:
    assert to_markdown(html, "") == "a\n\nb"


def word_item(mark: str, text: str, level: int = 1) -> str:
    ignored = f"<span style='mso-list:Ignore'>{mark}<span>&nbsp;&nbsp; </span></span>"
    return f"<p class=MsoListParagraph style='mso-list:l0 level{level} lfo1'>{ignored}{text}</p>"


@pytest.mark.parametrize(
    ("marks", "markdown"),
    [
        (("1)", "2)"), "1. x\n2. x"),
        (("a)", "b)"), "a) x\nb) x"),
        (("iv.", "v."), "iv. x\nv. x"),
        (("(1)", "(2)"), "(1) x\n(2) x"),
        (("1.1", "1.2."), "1.1 x\n1.2. x"),
        (("o", "§"), "- x\n- x"),
    ],
)
def test_items_of_word_keep_their_figures_and_letters(
    marks: tuple[str, ...], markdown: str
) -> None:
    assert to_markdown("".join(word_item(it, "x") for it in marks), "") == markdown


def test_items_of_word_stay_in_their_item_when_they_have_letters() -> None:
    html = word_item("1.", "x") + word_item("a.", "y", 2) + word_item("2.", "z")
    assert to_markdown(html, "") == "1. x\n   a. y\n2. z"
    assert to_html("1. x\n   a. y\n2. z").count("<li>") == 2


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            "10<sup>6</sup> or 10<sup>-3</sup>, 2<sup>n</sup>, 10<sup>1,5</sup>",
            "10⁶ or 10⁻³, 2ⁿ, 10^1,5",
        ),
        ("CO<sub>2</sub>, <sup>14</sup>C, v<sub>max</sub>", "CO₂, ¹⁴C, vmax"),
        (
            "5<sup>1</sup>/<sub>2</sub> or <b>3<sup>1</sup>\u2044<sub>4</sub></b>",
            "5 1/2 or **3 1\u20444**",
        ),
        ("m<sup>2</sup> (a+b)<sup>2</sup> 1<sup>st</sup> XX<sup>e</sup>", "m² (a+b)² 1st XXe"),
        (
            "Ende<sup>1</sup>, the end.<sup>[2]</sup> More<sup>3, 4</sup>",
            "Ende [1], the end. [2] More [3, 4]",
        ),
        ("1<span style='vertical-align: super'>6</span> <sup><b>2</b>3</sup>", "1⁶ ²³"),
        ("in<sup><a class=sdfootnoteanc><sup>1</sup></a></sup>", "in [1]"),
        ("Er sagte: <q>Ja</q>.", "Er sagte: “Ja”."),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>", "漢(かん)字(じ)"),
    ],
)
def test_text_beside_the_line_stays_apart_from_the_text_on_it(html: str, text: str) -> None:
    assert to_markdown(f"<p>{html}</p>", "") == text


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ('"Yes"\tshe\n"No"\the', '| "Yes" | she |\n| --- | --- |\n| "No" | he |'),
        ('"Yes\tb\nc\td', '| "Yes | b |\n| --- | --- |\n| c | d |'),
        ('a\t"b\nc"\td', "| a | b c | d |\n| --- | --- | --- |"),
        ('"a ""b"""\tc\n""\td', '| a "b" | c |\n| --- | --- |\n| "" | d |'),
        ("Name:\tMax", "Name:\tMax"),
        ("a\tb\tc\n", "| a | b | c |\n| --- | --- | --- |"),
        ("a\tb\n\nc\td", "a\tb\n\nc\td"),
        ('"a\tb"\n"c\td"', '"a\tb"\n"c\td"'),
    ],
)
def test_cells_in_plain_text_lose_only_the_marks_of_spreadsheets(text: str, markdown: str) -> None:
    assert to_markdown("", text) == markdown


@pytest.mark.parametrize(
    "html",
    [
        "<b>" * (nesting.NESTED_MAX + 1),
        "<ul><li>" * (nesting.NESTED_MAX + 1),
        "<p>" * (nesting.TAGS_MAX + 1),
        "a " * clipboard.TEXT_MAX,
    ],
)
def test_html_beyond_a_limit_is_refused(html: str) -> None:
    with pytest.raises(Problem, match=r"more than|deeper than") as raised:
        to_markdown(html, "")
    assert raised.value.status == 422


def depth_of(html: str) -> int:
    """Return how deep elements are nested in HTML that nh3 has made well-formed."""
    depth = deepest = 0
    for end in re.findall(r"<(/?)b>", nh3.clean(html, tags={"b"}, attributes={"*": set()})):
        depth += -1 if end else 1
        deepest = max(deepest, depth)
    return deepest


@pytest.mark.parametrize(
    "piece",
    [
        "<b></i>",
        '<b title="</b>">',
        "<b title = '</b>'>",
        "<b><!-- </b> -->",
        "<b></ b>",
        "<b><?x </b>",
        '<b a="b">x</B title=">">' + "<b></i>",
        '<b ="><b>',
        '<b a"><b b">',
        '<b a=b"><b c="d">',
        "<!--><b><!---><b>",
        "<b><style></b></style>",
        "<b><style><i x='</style><b>'></style>",
        "<b><title></b></TITLE >",
        "<svg><style><b></style>",
        "<svg></svg><b><style></b></style>",
        "<b><svg><![CDATA[ > </b> ]]></svg>",
        "<svg><p></p></svg><b><style></styles></b></style>",
    ],
)
def test_html_is_refused_when_ends_only_seem_to_close_what_is_open(piece: str) -> None:
    html = piece * 30_000
    assert depth_of(piece * (nesting.NESTED_MAX + 1)) > nesting.NESTED_MAX
    with pytest.raises(Problem, match="nested deeper than"):
        to_markdown(html, "")


@pytest.mark.parametrize("start", ["<template><col><style></template>", "<select><style></select>"])
def test_html_is_refused_when_a_parser_may_ignore_a_style(start: str) -> None:
    with pytest.raises(Problem, match="nested deeper than"):
        to_markdown(start + "<div>" * 30_000, "")


def test_comments_and_attributes_nest_nothing() -> None:
    word = "<!--[if gte mso 9]><xml>" + "<w:LsdException/>" * 400 + "</xml><![endif]-->"
    html = f'{word}<p title="{"<b>" * 400}">a</p>' + "<!--<b>-->" * 400 + "<b>c</b>"
    assert to_markdown(html, "") == "a\n\n**c**"


def test_tags_in_styles_and_titles_nest_nothing() -> None:
    style = f"<style>{'<b>' * 400}</style><title>{'<b>' * 400}</title>"
    assert to_markdown(f"{style}<p>a", "") == "a"
    cdata = "<svg><style><![CDATA[a > b]]></style></svg>" * 400
    assert to_markdown(f"{cdata}<p>a", "") == "a"


def test_elements_without_an_end_count_as_ended() -> None:
    assert to_markdown("<p>a<p>b" * 500, "").count("\n\n") == 999


def test_deep_tables_and_lists_keep_their_text() -> None:
    depth = 2 * elements.DEPTH_MAX
    for start, end in (("<table><tr><td>x", "</td></tr></table>"), ("<ul><li>x", "</li></ul>")):
        pasted = to_markdown(start * depth + end * depth, "")
        assert pasted.count("x") == depth


# -- what only the plain text has ------------------------------------------------------------------

REDDIT = "<shreddit-p>First line</shreddit-p><shreddit-p>Second <b>bo</b>ld</shreddit-p>"
LINES = "First line\nSecond bold"
BOX = 'style="display: inline-flex"'
FLEX = '<div style="display:flex"><span>a</span><span>b</span></div>'


@pytest.mark.parametrize(
    ("html", "text", "markdown"),
    [
        (REDDIT, LINES, LINES),
        (REDDIT, "First line\r\n\r\nSecond bold\r\n", "First line\n\nSecond bold"),
        (REDDIT.replace("</shreddit-p><", "</shreddit-p>\n  <"), "First line\nSecond bold", LINES),
        (f"<shreddit-post>{REDDIT}</shreddit-post>", "FIRST LINE\nSECOND BOLD", LINES),
        (FLEX, "a\nb", "a\nb"),
        (FLEX, "a b", "a b"),
        (FLEX, "a\t b", "a b"),
        (FLEX.replace("span>", "label>"), "a\n\nb", "a\n\nb"),
        ("<ul><li><i>a</i><b>b</b><li>c</ul>", "a\n\nb\nc", "- *a*\n  **b**\n- c"),
        ("<h2><span>a</span><span>b</span></h2>c", "a\nb\n\nc", "## a b\n\nc"),
        (
            "<table><tr><td><i>a</i><i>b</i><td>c<tr><td>d<td>e</table>",
            "a\nb\tc\nd\te",
            "| *a b* | c |\n| --- | --- |\n| d | e |",
        ),
        ("<a>Ann</a><s-r>verified</s-r><a>said</a>", "Ann\nsaid", "Ann\nverified\nsaid"),
        (
            f"via (<div {BOX}>@ann</div>), <i {BOX}>a</i><i {BOX}>b</i>\n<x-p>c</x-p>",
            "via (\n@ann\n), \na\nb\nc",
            "via (@ann), *a b* c",
        ),
        ("<x-i>apples</x-i><x-i>cherries</x-i>", "• apples\n• cherries", "apples\ncherries"),
        ("<span>Line 1\nLine 2\n\nEnd</span>", "Line 1\nLine 2\n\nEnd", "Line 1\nLine 2\n\nEnd"),
        ("<p>one<button>x</button> two\nend</p>", "one\nx\ntwo\nend", "one two\nend"),
        (
            "<i>Weather</i> <a>first</a><a>second</a> <i>hidden</i> <a>on weather</a>",
            "first\nsecond on weather",
            "*Weather* first\nsecond *hidden* on weather",
        ),
        ("<x-p>a </x-p><x-p>b</x-p>", "a\nb", "a\nb"),
        ("<p>a b\n<b>c</b>\nd\ne</p>", "a b\nc\nd\ne", "a b\n**c**\nd\ne"),
        ("<p>a\nb</p><p>c\nd</p>", "a b\n\nc\nd", "a b\n\nc\nd"),
    ],
)
def test_words_and_lines_stay_apart_as_in_the_plain_text(
    html: str, text: str, markdown: str
) -> None:
    assert to_markdown(html, text) == markdown


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (REDDIT, ""),
        (REDDIT, "First lineSecond bold"),
        (REDDIT, "Something else\nthat was\non the clipboard before,\nwith a first line"),
        ("<p>Some <b>text</b> of a mail\nwith lines</p>", "Some\ntext of a mail\nwith\nlines"),
        ("<p>Some text\nof a mail</p><p>with lines", "Some text\nof a mail\n\nwith\nlines"),
        ("<p>shown<i>hidden</i></p><p>text", "shown\ntext"),
        ("<p>Some text\nwith source\nlines</p>", "Some text with source\nlines"),
        ("<p>Some text\nof <b>source</b>\nlines</p>", "Some text of source lines"),
        ("<ol><li>one<li>t<b>w</b>o</ol>", " 1. one\n 2. two"),
        ("a<img alt='a tree'><br>b<p>c", "a\na tree\nb\n\nc"),
        ("<p>sh<b>o</b>wn <i>hid</i><i>den</i> text</p>", "shown text"),
        ("<p>x<sup>2</sup> and <q>y</q>es</p>", "x2 and yes"),
    ],
)
def test_html_alone_counts_where_the_plain_text_says_nothing_else(html: str, text: str) -> None:
    assert to_markdown(html, text) == to_markdown(html, "")


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "Wort", "1.", "•", "\n", " ", "\n\n", "\xa0"]))


@given(WORDS, WORDS)
@settings(max_examples=60, deadline=None)
def test_any_plain_text_keeps_the_words_of_the_html(shown: list[str], words: list[str]) -> None:
    html = "".join(f"<x-y>{it}</x-y>" for it in shown)
    pasted = to_markdown(html, "".join(words))
    if "".join(shown).strip():
        assert "".join(plain(to_html(pasted)).split()) == "".join("".join(shown).split())


@given(WORDS)
@settings(max_examples=60, deadline=None)
def test_words_are_those_of_the_plain_text_without_its_white_space(words: list[str]) -> None:
    text = "".join(words)
    html = "".join(f"<x-y>{it}</x-y>" for it in words if it.strip())
    assert plain(to_html(to_markdown(html, text))).split() == text.split()


# -- any text is shown as it was -------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *"*`~[]()<>#+-.!|:=&\\/'\"",
        "**",
        "***",
        "~~",
        "```",
        "](",
        "1.",
        "a",
        "b c",
        "Wort",
        " ",
        "。",
    ]
)
TAGS = st.sampled_from(["b", "i", "s", "span", "em", "code", 'a href="https://example.com/"'])
RUNS = st.lists(st.tuples(st.lists(TAGS, max_size=3), st.lists(PIECES, max_size=6)), max_size=6)


def written(tags: list[str], pieces: list[str]) -> str:
    start = "".join(f"<{it}>" for it in tags)
    end = "".join(f"</{it.split()[0]}>" for it in reversed(tags))
    return f"{start}{entities.escape(''.join(pieces))}{end}"


@given(RUNS)
@example([(["b"], ["a"]), (["i"], ["b"]), (["b"], ["*"])])
@example([(["b"], ["a", " "]), (["b", "i"], ["b"]), (["b"], [" ", "c"])])
@example([(["b"], ["a", " "]), (["b", 'a href="https://example.com/"'], ["b"]), (["b"], [" c"])])
@example([(["code"], ["a", " "]), (["b", "code"], ["b"])])
@example([(["code"], ["`", "a"]), (["b"], ["*"])])
@example([(["code"], ["a" * 1_001]), (["b"], ["*"])])
@example([([], ["*"]), (['a href="https://example.com/"'], ["a", ":", "*"])])
@example([([], ["*"]), (['a href="https://example.com/"'], ["a", ":", "\\", "*"])])
@settings(max_examples=300, deadline=None)
def test_any_text_with_marks_is_shown_as_it_was(runs: list[tuple[list[str], list[str]]]) -> None:
    text = "".join("".join(pieces) for _, pieces in runs)
    html = "".join(written(*it) for it in runs)
    shown = plain(to_html(to_markdown(f"<p>{html}</p>", ""))).split()
    assert "".join(shown) == "".join(text.split())
    if not any("s" in tags for tags, _ in runs):  # struck-out text gets blanks at its ends
        assert shown == text.split()


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<del>4,200</del><ins>1,179</ins> people", "~~4,200~~ 1,179 people"),
        ("2<s>5</s>6", "2 ~~5~~ 6"),
        ("<s><b>4,200</b></s><b>1,179</b>", "**~~4,200~~** **1,179**"),
        ("(<s>x</s>), <s>10%</s>20%", "(~~x~~), ~~10%~~20%"),
        (
            "<s>https://x.example/a</s>https://y.example",
            "~~https://x.example/a~~ https://y.example",
        ),
        ("<s>a@x.example</s>, b", "~~a@x.example~~, b"),
        ("<b>Wich</b>tig", "Wichtig"),
        ("<b>a <i>b</i> c</b>", "**a** ***b*** **c**"),
        ('<b>a <a href="https://x.example">b</a> c</b>', "**a** [**b**](https://x.example) **c**"),
    ],
)
def test_marks_are_written_where_they_count(html: str, markdown: str) -> None:
    assert to_markdown(f"<p>{html}</p>", "") == markdown
