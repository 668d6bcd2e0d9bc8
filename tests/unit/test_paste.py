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
from liveblog.html import clipboard, nesting
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
    depth = 2 * clipboard.DEPTH_MAX
    for start, end in (("<table><tr><td>x", "</td></tr></table>"), ("<ul><li>x", "</li></ul>")):
        pasted = to_markdown(start * depth + end * depth, "")
        assert pasted.count("x") == depth


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
