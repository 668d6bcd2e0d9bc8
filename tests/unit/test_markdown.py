"""Markdown becomes safe HTML; a hostile text may lose its formatting, but never a word."""

import re

import pytest

from liveblog.html import lines, markdown


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
    assert {name for name, _ in tags} <= {"p", "a", "em", "br"}
    for _, attributes in tags:
        assert re.fullmatch(
            r'( (href="(https://|/%5C)[^"]*"|title="[^"]*"|rel="noopener"))*', attributes
        )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** ~~d~~ `e`", "<p>a <em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>"),
        ("## One\n### Two", "<h4>One</h4>\n<h4>Two</h4>"),
        ("1. x\n2. y", "<ol>\n<li>x</li>\n<li>y</li>\n</ol>"),
        ("- x\n- y\nz", "<ul>\n<li>x</li>\n<li>y</li>\n</ul>\n<p>z</p>"),
        ("> a\n>\n> b\nc", "<blockquote>\n<p>a</p>\n<p>b</p>\n</blockquote>\n<p>c</p>"),
        ("***a** b*", "<p><em><strong>a</strong> b</em></p>"),
        ("*a **b***", "<p><em>a <strong>b</strong></em></p>"),
        ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
        ("~~a **b** c~~", "<p><s>a <strong>b</strong> c</s></p>"),
        ("[a](/blogs/b)", '<p><a href="/blogs/b" rel="noopener">a</a></p>'),
        ("[a](tel:+49 30 1)", '<p><a href="tel:+49301" rel="noopener">a</a></p>'),
        ("[a](x.example/b)", '<p><a href="https://x.example/b" rel="noopener">a</a></p>'),
        (
            "[a](<https://x.example/(b>)",
            '<p><a href="https://x.example/(b" rel="noopener">a</a></p>',
        ),
        (
            "[a](https://x.example/b_(c))",
            '<p><a href="https://x.example/b_(c)" rel="noopener">a</a></p>',
        ),
        ('[a](/b "c")', '<p>[a](/b "c")</p>'),
        ('[a](file:///b "c")', '<p>[a](file:///b "c")</p>'),
        ("report.md e.g.it a@b.c", "<p>report.md e.g.it a@b.c</p>"),
        (
            "https://x.example",
            '<p><a href="https://x.example" rel="noopener">https://x.example</a></p>',
        ),
        ("[a](https://b.example@e.example)", "<p>a</p>"),
        ("[a](HTTP://b:c@e.example/x)", "<p>a</p>"),
        ("[a](https:///b@e.example)", "<p>a</p>"),
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


@pytest.mark.parametrize(
    ("row", "last"),
    [
        ("1|2|3", "2|3"),
        ("|1|2|3", "2|3"),
        ("1|2|3|", "2|3"),
        (" | 1 |2  |3| ", "2  |3"),
        ("|1|2||", "2|"),
        (r"|1|2\|2|3|", "2|2|3"),
    ],
)
def test_row_with_too_many_cells_shows_its_rest_as_typed(row: str, last: str) -> None:
    assert f"<td>{last}</td>\n</tr>" in markdown.to_html(f"|a|b|\n|-|-|\n{row}")


def test_row_of_one_column_shows_all_cells_as_typed() -> None:
    assert "<td>1|2|3</td>" in markdown.to_html("a|\n-|\n1|2|3")


def test_further_cells_of_a_row_stay_in_its_last_column() -> None:
    html = markdown.to_html("| a | b |\n|---|--:|\n| 1 | 2 | 3 |\n| 4 |\nend")
    assert "<th>a</th>\n<th>b</th>" in html
    assert "<td>1</td>\n<td>2 | 3</td>\n</tr>\n<tr>\n<td>4</td>" in html
    assert html.endswith("<p>end</p>")


def test_rows_beyond_the_limit_of_cells_stay_as_text() -> None:
    html = markdown.to_html("|a|b|\n|-|-|\n" + "|1|2|\n" * (lines.CELLS_MAX // 2 + 9))
    assert html.count("<td>") <= lines.CELLS_MAX + 2
    assert html.endswith("|1|2|</p>")


def test_quotes_and_lists_nested_too_deep_stay_as_text() -> None:
    html = markdown.to_html("> " * (lines.LEVELS_MAX + 3) + "a")
    assert html.count("<blockquote>") == lines.LEVELS_MAX
    assert "&gt; &gt; &gt; a" in html
    for depth in (4, lines.LEVELS_MAX, 99):
        words = [f"{'  ' * i}- word{i}\n{'  ' * i}- more{i}\n" for i in range(depth)]
        html = markdown.to_html("".join(words))
        assert [i for i in range(depth) if not {f"word{i}", f"more{i}"} & set(words_of(html))] == []


def words_of(html: str) -> list[str]:
    return re.findall(r"\w+", html)


def test_label_has_the_numbers_that_a_list_shows() -> None:
    assert markdown.plain(markdown.to_html("1. one\n2. two\n   - a\n   - b")) == (
        "1. one 2. two a b"
    )
    # Stored by an earlier version.
    assert markdown.plain('<ol start="100">\n<li>Länderspiel</li>\n</ol>') == "100. Länderspiel"


def test_help_shows_what_each_mark_makes() -> None:
    assert all(row.shown == markdown.to_html(row.typed) for row in markdown.HELP)
    tags = {tag for row in markdown.HELP for tag in re.findall(r"<(\w+)", row.shown)}
    assert tags >= {"em", "strong", "s", "code", "a", "h4", "ul", "ol", "blockquote", "table"}


def test_shorten_cuts_at_a_word_or_inside_one_without_spaces() -> None:
    assert markdown.shorten("one two three", 13) == "one two three"
    assert markdown.shorten("one two three", 10) == "one two…"
    assert markdown.shorten("今日は選挙の日です", 5) == "今日は選…"
