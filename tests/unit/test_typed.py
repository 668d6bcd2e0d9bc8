"""Readers see every character that an editor types, except marks of the closed list."""

import html
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kit import typed

from liveblog.html.markdown import plain, to_html


def visible(text: str) -> str:
    """Return what readers see of a text: a line for each line break, without blanks that fold."""
    made = re.sub(r"\n?</?(ul|ol|table|thead|tbody|tr|blockquote|p|h4|li)>\n?", "\n", to_html(text))
    made = html.unescape(re.sub(r"<[^>]+>", "", made))
    return "\n".join(line for line in map(typed.folded, made.splitlines()) if line)


def tags(text: str) -> str:
    """Return the inline tags of a text's HTML, with the text between them."""
    return re.sub(r"</?(p|br)>|\n| rel=\"noopener\"", "", to_html(text))


AS_TYPED = [
    "Score:\nHome 1\nAway 2",
    "Final:\n3:1",
    "[Watch live]: https://video.example/live",
    "[1]: see below",
    "*",
    "**",
    "```",
    "~~~",
    "![](https://x.example/a.png)",
    "![]()",
    "[]()",
    "[sic](Paris)",
    "[Merz](CDU)",
    "[x](see above)",
    "100. Länderspiel",
    "2024. What a year",
    "16. Minute: Tor\n\n22. Minute: Gelb",
    "3. Platz",
    "1. FC Köln",
    "1. one\n1. one again",
    "2. two\n3. three",
    "------ UPDATE ------",
    "++++++ EIL ++++++",
    "====== JETZT ======",
    "***** LIVE *****",
    "- - -",
    "* * *",
    "---",
    "___",
    "f***ing w***ers",
    "s**t and b*****s",
    "5*3*2",
    "$100*2 and $50*3",
    "2**10**2",
    "a*b*c",
    "__init__",
    "_quiet_ and __loud__",
    "snake_case_name",
    r"C:\x\*.txt",
    r"D:\Users\_temp\(old)",
    r"(C:\x\*.txt)",
    r"\\server\share\*.doc",
    r"\\server",
    r"¯\_(ツ)_/¯",
    r"C:\new\table",
    "\tindented",
    "    four blanks",
    "text\n\n    four blanks after a line",
    "Labour 42%\n---",
    "Tory 31%\n===",
    "# 1 priority",
    "#1 in the charts",
    "#### four",
    "##two",
    "AT&amp;T",
    "&copy; &#42; &nbsp;",
    "> 5 %",
    ">5 %",
    ">> forwarded",
    "- 5 degrees\n- 7 degrees",
    "+ 3 seats\n+ 2 seats",
    "- 5 degrees\n- cold",
    "- one item",
    "- one\n* another",
    "-no blank\n-no blank",
    "1.no blank\n2.no blank",
    "a | b",
    "a | b\nc | d",
    "``x`` and ```y```",
    "~5 km~ and ~6 km~",
    "~~~struck~~~",
    "a~~b~~c",
    "****four****",
    "a * b * c",
    "*not closed",
    "not opened*",
    "<b>bold</b>",
    "<https://x.example>",
    "report.md, e.g.it, node.js",
    "www.",
    "a\\",
    "line\\\nbreak",
]

# Lines of the author of these tests, as typed in news rooms.
OWN = [
    "HT: Leeds 0-0 Hull (agg. 1-2)",
    "90+4' GOOOAL!!! 3-2",
    "Rd 3: Djokovic d. Rune 6-4, 3-6, 7-6(5)",
    "-3 °C in Oslo, +12 °C in Rome",
    "± 0,5 % laut Umfrage*",
    "* Fehlertoleranz: 2,5 Prozentpunkte",
    "CDU 28,5 (+4,4) | SPD 16,4 (-9,3)",
    "Q3: $4.2bn (+7%) vs. $3.9bn est.",
    "Turnout @ 6pm: 54.3% (2019: 51.9%)",
    "Votes: 1,234,567 = 50.1%",
    "#Eilmeldung: Bahnstreik ab 22 Uhr",
    "@coastguard_north: 'All boats are in.'",
    'He said: "It\'s [the deal] dead."',
    "“We [the union] will not sign,” she said",
    "Nr. 7 -> Nr. 4 ->> Nr. 1",
    "Berlin => Hamburg <= 3 h",
    "if x < 3 && y > 4",
    "A&E waits: 4h+ (was <3h)",
    "R&D; P&L; M&A",
    "https://",
    "mail@",
    "@home",
    "file_name_v2_final.docx",
    "$HOME/.bashrc and ~/notes",
    "~ 40 Verletzte ~",
    "~~",
    "~~ ~~",
    "Kl. 3a ~ Kl. 4b",
    "1) only one point",
    "1. Mai: Demo um 10 Uhr",
    "24. Dezember geschlossen",
    "3.) Rücktritt",
    "a) erstens\nb) zweitens",
    "i. first\nii. second",
    "10. zehn\n9. neun\n8. acht",
    "No. 1\nNo. 2",
    "|| LIVE ||",
    "| Leitung gestört |",
    "> > >",
    ">:(",
    ">",
    "<3 <3 <3",
    "<!-- Notiz -->",
    "<Name> geändert",
    "[UPDATE] 14:32",
    "[14:32] [LIVE]",
    "[ ] offen\n[x] erledigt",
    "![Achtung]",
    "Grüße aus Köln! [mehr]",
    "(*) vorläufig",
    "5* hotel",
    "M*A*S*H",
    "P!nk, Ke$ha, A$AP",
    "^^ siehe oben",
    "`90s",
    "O`Neill",
    "\\o/",
    r"10\8",
    "{{name}} fehlt",
    "%s %d %(x)s",
    "3:2 n. V. (4:3 i. E.)",
    "=:-)",
    "+++ EIL +++ Kanzler tritt zurück +++",
    "+1 +1 +1",
    "--> weiter",
    "-- dpa",
    "— Gedankenstrich —",
    "...",
    "…und dann?",
    "?!?!",
    "¿Qué? ¡No!",
]

SHOWN = [
    (r"\*no mark\*", "*no mark*"),
    ("1\\. no list\n2\\. no list", "1. no list\n2. no list"),
    (r"\\ and \` and \[x\](y)", r"\ and ` and [x](y)"),
    ("[text](file:///etc/passwd)", "text"),
    ("[text](blob:https://x.example/1)", "text"),
    ("[text](//host.example)", "text"),
    ("[text](#x)", "text"),
    ("[text](images/photo.jpg) [b](../c)", "text b"),
    (r"\*\\server\*", r"*\server*"),
    (r"\\a is at \\b\.", r"\a is at \b."),
    ("[text](javascript:x) [b](data:x)", "text b"),
    ("[a [b](https://x.example) c](https://y.example)", "a b c"),
    ("[a](javascript:x) *b*", "a b"),
    ("- one\n- two", "one\ntwo"),
    ("* one\n\n* two", "one\ntwo"),
    ("1. one\n2. two\n\n3. three", "one\ntwo\nthree"),
    ("1. one\n2. two\n5. five", "one\ntwo\n5. five"),
    ("1) one\n2) two", "one\ntwo"),
    ("Now:\n- one\n- two\nEnd", "Now:\none\ntwo\nEnd"),
    ("> words\n> 5 of them\nend", "words\n5 of them\nend"),
    ("## Words\ntext", "Words\ntext"),
    ("------ UPDATE ------\n\n- one\n- two", "------ UPDATE ------\none\ntwo"),
    ("a\n\n> - one\n> - two", "a\none\ntwo"),
]

MARKED = [
    ("**Wichtig:**Text", "<strong>Wichtig:</strong>Text"),
    ("これは**重要。**です", "これは<strong>重要。</strong>です"),
    ("이것은**중요**입니다", "이것은<strong>중요</strong>입니다"),
    ("**“Quoted.”**he", "<strong>“Quoted.”</strong>he"),
    ("*„Ja!“*sagte er", "<em>„Ja!“</em>sagte er"),
    ("🎉**Tor**🎉", "🎉<strong>Tor</strong>🎉"),
    ("(*kursiv*)", "(<em>kursiv</em>)"),
    ("~~Müller~~, Meier", "<s>Müller</s>, Meier"),
    ("`*x*`", "<code>*x*</code>"),
    ("**Sternchen***", "<strong>Sternchen</strong>*"),
    ("**not *nested** right*", "<strong>not *nested</strong> right*"),
    ("x\u00a0", "x&nbsp;"),
    ("**[a](/b)**", '<strong><a href="/b">a</a></strong>'),
]

LINKED = [
    ("www.bbc.co.uk", "https://www.bbc.co.uk", "www.bbc.co.uk"),
    ("See www.x.example/a.", "https://www.x.example/a", "www.x.example/a"),
    ("desk@news.example,", "mailto:desk@news.example", "desk@news.example"),
    ("(https://x.example/a_(b))", "https://x.example/a_(b)", "https://x.example/a_(b)"),
    ("**https://x.example/a_b**", "https://x.example/a_b", "https://x.example/a_b"),
    (r"https://x.example/a\_b", "https://x.example/a_b", "https://x.example/a_b"),
    ("見て https://x.exampleを", "https://x.example", "https://x.example"),
    (
        "“https://x.example/?a=1&b=2”",
        "https://x.example/?a=1&amp;b=2",
        "https://x.example/?a=1&b=2",
    ),
    ("[t](tel:+49 30 123)", "tel:+4930123", "t"),
    ("[t](mailto:a@b.example)", "mailto:a@b.example", "t"),
    ("[t](a@b.example)", "mailto:a@b.example", "t"),
    ("[t](www.bbc.com)", "https://www.bbc.com", "t"),
    ("[t](bbc.com/news)", "https://bbc.com/news", "t"),
    ('[t](https://x.example/a"b)', "https://x.example/a%22b", "t"),
    ("[t]( https://x.example/a b )", "https://x.example/a%20b", "t"),
]


@pytest.mark.parametrize("text", [*AS_TYPED, *OWN])
def test_text_without_marks_shows_as_typed(text: str) -> None:
    lines = [typed.folded(line) for line in text.splitlines()]
    assert visible(text) == "\n".join(line for line in lines if line)


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_text_shows_without_its_marks(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(("text", "made"), MARKED)
def test_marks_become_tags_beside_punctuation_and_cjk(text: str, made: str) -> None:
    assert tags(text) == made


@pytest.mark.parametrize(("text", "href", "words"), LINKED)
def test_address_becomes_a_link(text: str, href: str, words: str) -> None:
    found = re.search(r'<a href="([^"]*)"[^>]*>(.*?)</a>', to_html(text))
    assert found
    assert (found[1], html.unescape(found[2])) == (href, words)


def compare(seed: int, count: int) -> None:
    """Compare what generated lines show with what the list of marks says."""
    lines = list(typed.lines(seed, count))
    wrong = [line for line in lines if typed.folded(visible(line)) != typed.shown(line)]
    assert [(line, visible(line), typed.shown(line)) for line in wrong[:3]] == []
    marked = [line for line in lines if re.search(r"[*~`\[\\]|^(##|>) ", line)]
    assert len(marked) > count / 2
    assert sum("<" in tags(line) for line in marked) > count / 4


def test_generated_lines_show_what_the_list_of_marks_says() -> None:
    compare(seed=2026, count=1_000)


@pytest.mark.real
def test_ten_thousand_generated_lines_show_what_the_list_says() -> None:
    compare(seed=16, count=10_000)


PIECES = [
    *(
        "*",
        "**",
        "***",
        "~~",
        "`",
        "``",
        "[",
        "]",
        "(",
        ")",
        "|",
        "-",
        ">",
        "#",
        "\\",
        "\\\\",
        "<",
        "&",
        "_",
    ),
    *(
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "- ",
        "> ",
        "1. ",
        "2. ",
        "## ",
        "| --- | --- |",
        "Tor",
        "7",
        "é",
        "は",
        "!",
    ),
    *("https://x.example/a", "www.x.example", "a@b.example", "https://a@b", ":", "/", "."),
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_letter_or_figure_of_a_text_is_lost(text: str) -> None:
    assume("](" not in text)
    shown = plain(to_html(text))
    assert re.findall(r"\w", shown) == re.findall(r"\w", text)


# A path or a shrug alone looks the same whether typed or escaped, and is taken as typed.
ALONE = re.compile(r"(?<!\S)\\[^\W_]|¯_")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"))))
def test_escaped_text_shows_as_text(text: str) -> None:
    assume(not ALONE.search(text))
    assert visible(typed.escaped(text)) == typed.folded(text)


def test_escaped_lines_show_as_text() -> None:
    texts = [*AS_TYPED, *OWN, *(text for text, _ in [*SHOWN, *MARKED]), *typed.lines(3, 300)]
    lines = [line for text in texts for line in text.splitlines()]
    wrong = [line for line in lines if visible(typed.escaped(line)) != typed.folded(line)]
    assert [line for line in wrong if not ALONE.search(line)] == []
