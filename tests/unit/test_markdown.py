"""Markdown becomes safe HTML; a hostile text may lose its formatting, but never a word."""

import re

import pytest

from liveblog.html import markdown


@pytest.mark.parametrize(
    "text",
    [
        "\"straight\" and 'straight', “curly” and ‘curly’, -- ... (c)",  # noqa: RUF001
        "AT&T, 1 < 2 > 0, a & b &",
        "مرحبا بالعالم and English",
        "👩‍🚀 🎉 é e\u0301 \u200f",
        "https://example.com/%D0%BF?a=1&b=%22",
    ],
)
def test_plain_text_stays_the_same_in_html(text: str) -> None:
    assert markdown.plain(markdown.to_html(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<iframe src=//evil.example></iframe>",
        "<style>*{}</style><svg/onload=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,x)",
        "[a](vbscript:x) [b](//evil.example) [c](/\\evil.example) [d](ftp://x.example)",
        "<javascript:alert(1)>",
        "![x](javascript:alert(1))",
        '[a](https://x.example "><script>alert(1)</script>")',
        "```html onclick=x\n<script>\n```",
        "[a]: javascript:alert(1)\n\n[a]",
    ],
)
def test_hostile_markup_never_reaches_the_html(text: str) -> None:
    html = markdown.to_html(text)
    tags = re.findall(r"<(\w+)((?:[^>\"]|\"[^\"]*\")*)>", html)
    assert {name for name, _ in tags} <= {"p", "a", "code", "pre", "em"}
    for _, attributes in tags:
        assert re.fullmatch(
            r'( (href="(https://|/%5C)[^"]*"|title="[^"]*"|rel="noopener"))*', attributes
        )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** ~~d~~ `e`", "<p>a <em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>"),
        ("# One\n\nTwo\n---", "<h4>One</h4>\n<h4>Two</h4>"),
        ("3. x", '<ol start="3">\n<li>x</li>\n</ol>'),
        ("![a *map*](https://x.example/m.png)", "<p>a *map*</p>"),
        ("[a](/blogs/b)", '<p><a href="/blogs/b" rel="noopener">a</a></p>'),
        ("report.md e.g.it a@b.c", "<p>report.md e.g.it a@b.c</p>"),
        (
            "https://x.example",
            '<p><a href="https://x.example" rel="noopener">https://x.example</a></p>',
        ),
        ("[a](https://b.example@e.example)", "<p>[a](https://b.example@e.example)</p>"),
        ("[a](HTTP://b:c@e.example/x)", "<p>[a](HTTP://b:c@e.example/x)</p>"),
        ("[a](https:///b@e.example)", "<p>[a](https:///b@e.example)</p>"),
        ("<https://b@e.example>", "<p>&lt;https://b@e.example&gt;</p>"),
        ("https://b.example@e.example", "<p>https://b.example@e.example</p>"),
        (
            "[a](https://m.example/@b)",
            '<p><a href="https://m.example/@b" rel="noopener">a</a></p>',
        ),
        ("[m](mailto:a@b.c)", '<p><a href="mailto:a@b.c" rel="noopener">m</a></p>'),
    ],
)
def test_markdown_becomes_this_html(text: str, html: str) -> None:
    assert markdown.to_html(text) == html


def test_a_text_gets_no_links_when_it_has_too_many_brackets() -> None:
    link = "[a](/b)"
    most = "[" * (markdown.BRACKETS_MAX - 1)
    assert "<a " in markdown.to_html(f"{link} {most}")
    assert markdown.to_html(f"{link} {most}[ *b*") == f"<p>{link} {most}[ <em>b</em></p>"


def test_a_text_gets_no_quotes_when_they_are_nested_too_deep() -> None:
    most, lazy = ">" * markdown.MARKS_MAX, "a\n" * 9
    assert markdown.to_html(f"{most}a\n{lazy}").count("<blockquote>") == markdown.MARKS_MAX
    text = markdown.to_html(f"{most}>a\n{lazy}*b*")
    assert text.startswith("<p>&gt;&gt;&gt;&gt;&gt;&gt;a\n")
    assert text.endswith("<em>b</em></p>")


def test_a_horizontal_rule_does_not_count_as_a_list() -> None:
    assert "<li>" in markdown.to_html("- a\n\n" + "- " * (markdown.MARKS_MAX + 1))


def test_a_deep_list_loses_none_of_its_text() -> None:
    for depth in (9, markdown.LEVELS_MAX // 2 - 2, markdown.LEVELS_MAX):
        text = "".join(f"{'  ' * level}- word{level}\n" for level in range(depth))
        html = markdown.to_html(text)
        assert [level for level in range(depth) if f"word{level}" not in html] == []


def test_shorten_cuts_at_a_word_or_inside_one_without_spaces() -> None:
    assert markdown.shorten("one two three", 13) == "one two three"
    assert markdown.shorten("one two three", 10) == "one two…"
    assert markdown.shorten("今日は選挙の日です", 5) == "今日は選…"


def test_bare_addresses_are_not_linked_when_there_are_too_many() -> None:
    assert 'href="https://news.example"' in markdown.to_html("See https://news.example for more.")
    assert "<a" not in markdown.to_html("https://news.example " * 200)
    assert 'href="https://news.example"' in markdown.to_html(
        "[x](https://news.example) " + "://" * 200
    )
