"""Markdown made safe: the HTML of an editor's text, and the plain text of that HTML.

Rules: pure. Every string that `to_html` returns has passed the cleaner's list of allowed tags.
"""

import html
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

# A text with more "[" than this gets no links of the form [text](address). For each "[",
# markdown-it searches the rest of the text for the end of a link. 20,000 "[" took 0.5 to
# 1.2 s, and 0.07 s without these links. Each limit below prevents another slow case. All times are
# for a text of 20,000 characters.
BRACKETS_MAX: Final = 1_000
# A limit on table cells, estimated as the number of lines times the most "|" in one line. A text
# above the limit gets no tables. markdown-it makes every row as wide as the head of the table:
# 20,000 characters made 65,000 cells (2 s, 675 KB).
CELLS_MAX: Final = 5_000
# A limit on the number of ":" and "//" in a text. Above the limit, an address that stands without
# brackets does not become a link, since the search takes time quadratic in that number. A text of
# 20,000 characters that repeats "://" took 4 s; one with 300 "://" took 0.3 s.
SCHEMES_MAX: Final = 300
# Quote and list marks (">", "-", "1.") at the start of one line. Above this limit the text gets
# neither quotes nor lists: each quote scans all lines up to its end. 20 quotes around 10,000 short
# lines took 0.7 s, 5 quotes 0.2 s.
MARKS_MAX: Final = 5
# markdown-it drops text nested deeper than this. A text that reaches the limit is parsed again
# without quotes and lists, so that no text is lost.
LEVELS_MAX: Final = 100

_TAGS: Final = {
    *("p", "br", "hr", "h4", "blockquote", "pre", "ul", "ol", "li"),
    *("a", "em", "strong", "s", "code"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
# No "nofollow": editors choose the links, so search engines may follow them.
_CLEANER: Final = nh3.Cleaner(
    tags=_TAGS,
    attributes={"a": {"href", "title"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener",
    strip_comments=True,
)
_LINK: Final = re.compile(r"(https?://|mailto:|/(?![/\\]))", re.IGNORECASE)
# A user name in an address could pass for the host, as in https://bank.example@evil.example.
# Browsers skip further slashes after the scheme, and read "\\" as "/" (URL Standard, 4.4).
_USER: Final = re.compile(r"https?:[/\\]*[^/\\?#]*@", re.IGNORECASE)
_MARKS: Final = re.compile(r"[ \t]*((?:(?:>|[-+*]|\d{1,9}[.)])[ \t]*)+)")
_MARK: Final = re.compile(r">|[-+*]|\d+[.)]")
_RULE: Final = re.compile(r"[ \t]*([-*])(?:[ \t]*\1)*[ \t]*")  # "- - -" makes an <hr>, not a list
_BLOCK_END: Final = re.compile(r"</(?:p|h4|li|pre|blockquote|t[hd])>|<[bh]r>")


def to_html(text: str) -> str:
    """Return the safe HTML of a Markdown text.

    Raw HTML is shown as text, and a picture is replaced by its alternative text. Links may go to
    http, https, mailto and paths of this site, without a user name. A text above a limit of this
    module loses the links, tables, or quotes and lists that the limit is for; its words stay. Safe
    to call from any thread.
    """
    lines = text.splitlines()
    cells = len(lines) * max((line.count("|") for line in lines), default=0)
    schemes = text.count(":") + text.count("//")
    rules = {
        "bracket_links": text.count("[") <= BRACKETS_MAX,
        "tables": cells <= CELLS_MAX,
        "addresses": schemes <= SCHEMES_MAX,
        "containers": max(map(_count_marks, lines), default=0) <= MARKS_MAX,
    }
    return _CLEANER.clean(_render(text, rules)).strip()


def plain(safe_html: str | None) -> str:
    """Return the text of HTML that `to_html` made, on one line."""
    spaced = _BLOCK_END.sub(" ", safe_html or "")
    return " ".join(html.unescape(nh3.clean(spaced, tags=set())).split())


def shorten(text: str, limit: int) -> str:
    """Return `text`, or as many whole words as fit `limit` characters and an ellipsis."""
    if len(text) <= limit:
        return text
    words, _, _ = text[:limit].rpartition(" ")
    return (words or text[: limit - 1]) + "…"


def _count_marks(line: str) -> int:
    """Return how many quote and list marks stand at the start of a line."""
    found = None if _RULE.fullmatch(line) else _MARKS.match(line)
    return len(_MARK.findall(found[1])) if found else 0


def _render(text: str, rules: dict[str, bool]) -> str:
    """Return the HTML of a text, not cleaned yet; `rules` are the arguments of `_Parser`."""
    parser, references = _parser(**rules), dict[str, Any]()
    tokens = parser.parse(text, references)
    if rules["containers"] and any(token.level >= LEVELS_MAX - 1 for token in tokens):
        return _render(text, {**rules, "containers": False})
    return str(parser.renderer.render(tokens, parser.options, references))


# -- the parser ------------------------------------------------------------------------------------

_OPTIONS: Final = {
    "html": False,
    "linkify": True,
    "typographer": False,
    "maxNesting": LEVELS_MAX,
}


class _Parser(MarkdownIt):
    """Parses Markdown without changing characters: quotation marks and addresses stay as typed."""

    def __init__(
        self, *, bracket_links: bool, tables: bool, addresses: bool, containers: bool
    ) -> None:
        super().__init__("commonmark", _OPTIONS)
        self.enable("strikethrough")
        if addresses:
            self.enable("linkify")
        if tables:
            self.enable("table")
        if not bracket_links:
            self.disable(["link", "image", "reference"])
        if not containers:
            self.disable(["blockquote", "list"])
        assert self.linkify
        # Link full addresses only: "report.md" and "e.g.it" are not links.
        self.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
        self.core.ruler.push("flatten_headings", _flatten_headings)
        self.add_render_rule("image", _image_as_text)

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 - markdown-it's name
        return link

    def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
        return bool(_LINK.match(url)) and not _USER.match(url)


@cache
def _parser(*, bracket_links: bool, tables: bool, addresses: bool, containers: bool) -> _Parser:
    return _Parser(
        bracket_links=bracket_links, tables=tables, addresses=addresses, containers=containers
    )


def _flatten_headings(state: StateCore) -> None:
    """Make each heading of a text an h4, one level below the entry's headline, which is an h3."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"


def _image_as_text(
    renderer: RendererProtocol,
    tokens: Sequence[Token],
    i: int,
    options: OptionsDict,
    env: dict[str, Any],
) -> str:
    """Return a picture's alternative text: pages may load pictures from this site only."""
    del renderer, options, env
    return html.escape(tokens[i].content)


# Load the parser's tables when this module is imported. Otherwise the first entry that a worker
# renders would wait for them, and reach the readers late.
to_html("*a* [b](/c) https://d.example")
