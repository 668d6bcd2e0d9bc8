"""Markdown made safe: the HTML of an editor's text, and the plain text of that HTML.

The marks are a closed list; docs/api.md has it. All else is text, and shows as typed.

Rules: pure. Every string that `to_html` returns has passed the cleaner's list of allowed tags.
"""

import html
import re
from typing import Final, NamedTuple

import nh3
from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType

from liveblog.blog import visible
from liveblog.html import lines, links, marks

_TAGS: Final = {
    *("p", "br", "h4", "blockquote", "ul", "ol", "li"),
    *("a", "em", "strong", "s", "code"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
# No "nofollow": editors choose the links, so search engines may follow them.
_CLEANER: Final = nh3.Cleaner(
    tags=_TAGS,
    attributes={"a": {"href"}},
    url_schemes={"http", "https", "mailto", "tel"},
    link_rel="noopener",
    strip_comments=True,
)
_BLOCK_END: Final = re.compile(r"</(?:p|h4|li|pre|blockquote|t[hd])>|<[bh]r>")
_BETWEEN_TAGS: Final = re.compile(r"(?:^|(?<=>))[^<]+")
_LIST_TAG: Final = re.compile(r'<[uo]l(?: start="(?P<start>\d+)")?[^>]*>|<li>|</[uo]l>')


def to_html(text: str) -> str:
    """Return the safe HTML of a text with marks. Safe to call from any thread."""
    environment = {marks.IS_ESCAPED: marks.is_escaped(text)}
    return _CLEANER.clean(str(_PARSER.render(text, environment))).strip("\n")


def plain(safe_html: str | None) -> str:
    """Return the text of HTML that `to_html` made, on one line, with the numbers of its lists."""
    spaced = _BLOCK_END.sub(" ", _numbered(safe_html or ""))
    return " ".join(html.unescape(nh3.clean(spaced, tags=set())).split())


def shows_nothing(safe_html: str) -> bool:
    """Return whether readers see nothing of HTML that `to_html` made."""
    texts = _BETWEEN_TAGS.finditer(safe_html)
    return all(visible.shows_nothing(html.unescape(found[0])) for found in texts)


def shorten(text: str, limit: int) -> str:
    """Return `text`, or as many whole words as fit `limit` characters and an ellipsis."""
    if len(text) <= limit:
        return text
    words, _, _ = text[:limit].rpartition(" ")
    return (words or text[: limit - 1]) + "…"


def _numbered(safe_html: str) -> str:
    """Return HTML with each number that a list shows before the item's words."""
    numbers: list[int | None] = []

    def with_number(found: re.Match[str]) -> str:
        tag = found[0]
        if tag.startswith("</"):
            del numbers[-1:]
        elif tag != "<li>":
            numbers.append(int(found["start"] or 1) if tag.startswith("<ol") else None)
        elif numbers and numbers[-1] is not None:
            numbers[-1] += 1
            return f"<li>{numbers[-1] - 1}. "
        return tag

    return _LIST_TAG.sub(with_number, safe_html)


# -- the parser ------------------------------------------------------------------------------------

_OPTIONS: Final = {"html": False, "linkify": False, "typographer": False, "breaks": True}
# The rules that end a paragraph without an empty line.
_INTERRUPTING: Final[RuleOptionsType] = {"alt": ["paragraph"]}


class _Parser(MarkdownIt):
    """Parses the closed list of marks: rules of our own replace all that markdown-it has."""

    def __init__(self) -> None:
        super().__init__("zero", {**_OPTIONS, "maxNesting": 100})
        block, inline = self.block.ruler, self.inline.ruler
        block.at("table", lines.table, _INTERRUPTING)
        block.at("blockquote", lines.quote, _INTERRUPTING)
        block.at("list", lines.list_of_items, _INTERRUPTING)
        block.at("heading", lines.heading, _INTERRUPTING)
        block.at("paragraph", lines.paragraph)
        inline.at("linkify", links.address)
        inline.at("escape", marks.escape)
        inline.at("backticks", marks.code)
        inline.at("emphasis", marks.delimit)
        inline.at("link", links.link)
        self.inline.ruler2.at("balance_pairs", marks.pair)
        self.inline.terminator_re = links.STARTS
        self.enable(["table", "blockquote", "list", "heading", "linkify", "newline", "escape"])
        self.enable(["backticks", "emphasis", "link", "balance_pairs"])
        self.inline.ruler2.disable(["emphasis", "strikethrough"])


_PARSER: Final = _Parser()


class Help(NamedTuple):
    """One row of the desk's help: what an editor types, and the safe HTML that readers get."""

    typed: str
    shown: str


_TYPED: Final = (
    "*emphasis*",
    "**bold**",
    "~~struck out~~",
    "`code`",
    "[Text](https://example.com)",
    "www.example.com",
    "## Heading",
    "- One\n- Two",
    "1. One\n2. Two",
    "> Quoted words",
    "| Team | Points |\n| --- | --- |\n| Home | 3 |",
    r"\*no mark\*",
)
HELP: Final = tuple(Help(typed, to_html(typed)) for typed in _TYPED)
