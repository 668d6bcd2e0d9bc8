"""Markdown becomes safe HTML, and nothing else of it reaches a page."""

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
def test_text_comes_out_as_it_went_in(text: str) -> None:
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
def test_markup_in_markdown_never_reaches_a_page(text: str) -> None:
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
        ("[m](mailto:a@b.c)", '<p><a href="mailto:a@b.c" rel="noopener">m</a></p>'),
    ],
)
def test_markdown_becomes(text: str, html: str) -> None:
    assert markdown.to_html(text) == html


def test_a_text_of_brackets_is_given_no_links_since_trying_them_all_takes_a_second() -> None:
    link = "[a](/b)"
    most = "[" * (markdown.BRACKETS_MAX - 1)
    assert "<a " in markdown.to_html(f"{link} {most}")
    assert markdown.to_html(f"{link} {most}[ *b*") == f"<p>{link} {most}[ <em>b</em></p>"


def test_a_text_of_many_nested_quotes_has_none_since_each_looks_at_all_lines_below() -> None:
    most, lazy = ">" * markdown.MARKS_MAX, "a\n" * 9
    assert markdown.to_html(f"{most}a\n{lazy}").count("<blockquote>") == markdown.MARKS_MAX
    text = markdown.to_html(f"{most}>a\n{lazy}*b*")
    assert text.startswith("<p>&gt;&gt;&gt;&gt;&gt;&gt;a\n")
    assert text.endswith("<em>b</em></p>")


def test_a_line_across_counts_as_no_list() -> None:
    assert "<li>" in markdown.to_html("- a\n\n" + "- " * (markdown.MARKS_MAX + 1))


def test_however_deep_a_list_is_none_of_its_text_is_left_out() -> None:
    for depth in (9, markdown.LEVELS_MAX // 2 - 2, markdown.LEVELS_MAX):
        text = "".join(f"{'  ' * level}- word{level}\n" for level in range(depth))
        html = markdown.to_html(text)
        assert [level for level in range(depth) if f"word{level}" not in html] == []


def test_text_is_shortened_at_a_word_and_where_there_is_none() -> None:
    assert markdown.shorten("one two three", 13) == "one two three"
    assert markdown.shorten("one two three", 10) == "one two…"
    assert markdown.shorten("今日は選挙の日です", 5) == "今日は選…"


def test_a_text_full_of_schemes_links_no_bare_addresses_and_an_ordinary_one_does() -> None:
    assert 'href="https://news.example"' in markdown.to_html("See https://news.example for more.")
    assert "<a" not in markdown.to_html("https://news.example " * 200)
    assert 'href="https://news.example"' in markdown.to_html(
        "[x](https://news.example) " + "://" * 200
    )
