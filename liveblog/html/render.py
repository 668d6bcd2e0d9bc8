"""All HTML: Markdown made safe, entries, headers, readers' pages; the desk's templates use `env`.

One module, so that there is one place where text becomes markup: pages and frames show the same
bytes, and what is marked safe was made by a template that escapes or cleaned by an allow-list.

Rules: pure, no I/O after the import, no clock. An entry's HTML depends on the entry and its blog's
slug, zone and language only. Nothing else in the project marks a string safe.
"""

import html
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import nh3
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markupsafe import Markup

from liveblog.blog import instant
from liveblog.blog.model import Blog, Entry, Position

SITE_NAME: Final = "Live blogs"

# Beyond so many "[" a text gets no links made with brackets. markdown-it tries each as the start of
# one, up to the end of the text: 20,000 of them were measured at 0.5 to 1.2 s, 0.07 s without the
# rules for them. Other hostile texts of 20,000 characters: see below.
BRACKETS_MAX: Final = 1_000
# Tables: lines times the most pipes in one, beyond which a text has none. Every row is filled up to
# the width of its head: 20,000 characters could make 65,000 cells, 2 s and 675 KB.
CELLS_MAX: Final = 5_000
# ":" and "//" beyond which bare addresses are not linked: looking for them takes the square of
# their number, 20,000 characters of "://" 4 s, 300 of them 0.3 s.
SCHEMES_MAX: Final = 300
# Marks of quotes and lists at the begin of a line, beyond which a text has neither. Each quote
# looks at all lines up to its end: 20 around 10,000 short lines took 0.7 s, 5 take 0.2 s.
MARKS_MAX: Final = 5
# Levels beyond which markdown-it leaves text out; a text that gets there has no quotes and lists.
LEVELS_MAX: Final = 100

NAME_MAX: Final = 80  # characters of an entry's text that stand for a missing headline
DESCRIPTION_MAX: Final = 160  # what search engines show
# Instants whose words are kept: they were a third to a half of what a page costs, and a page shows
# the same ones again after each change. 0.6 KB each.
WHEN_KEPT: Final = 1_024

# -- Markdown --------------------------------------------------------------------------------------

_TAGS: Final = {
    *("p", "br", "hr", "h4", "blockquote", "pre", "ul", "ol", "li"),
    *("a", "em", "strong", "s", "code"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
# Links stand in editors' texts, so search engines may follow them.
_CLEANER: Final = nh3.Cleaner(
    tags=_TAGS,
    attributes={"a": {"href", "title"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener",
    strip_comments=True,
)
_LINK: Final = re.compile(r"(https?://|mailto:|/(?![/\\]))", re.IGNORECASE)
_MARKS: Final = re.compile(r"[ \t]*((?:(?:>|[-+*]|\d{1,9}[.)])[ \t]*)+)")
_MARK: Final = re.compile(r">|[-+*]|\d+[.)]")
_RULE: Final = re.compile(r"[ \t]*([-*])(?:[ \t]*\1)*[ \t]*")  # a line across, no list
_BLOCK_END: Final = re.compile(r"</(?:p|h4|li|pre|blockquote|t[hd])>|<[bh]r>")


def _flatten_headings(state: StateCore) -> None:
    """Give all headings of a text one level, below that of the entry's own headline (h3)."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"


def _image_as_text(
    renderer: RendererProtocol, tokens: Sequence[Token], i: int, options: Any, env: Any
) -> str:
    """Show a picture's alternative text: pages may load pictures from this site only."""
    del renderer, options, env
    return html.escape(tokens[i].content)


_OPTIONS: Final = {
    "html": False,
    "linkify": True,
    "typographer": False,
    "maxNesting": LEVELS_MAX,
}


class _Parser(MarkdownIt):
    """Markdown that leaves text as it is: no typographer, no prettier addresses."""

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
        # Only full addresses: "report.md" and "e.g.it" are no links.
        self.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
        self.core.ruler.push("flatten_headings", _flatten_headings)
        self.add_render_rule("image", _image_as_text)

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        return link

    def validateLink(self, url: str) -> bool:  # noqa: N802
        return bool(_LINK.match(url))


@cache
def _parser(*, links: bool, tables: bool, addresses: bool, containers: bool) -> _Parser:
    return _Parser(bracket_links=links, tables=tables, addresses=addresses, containers=containers)


def markdown(text: str) -> str:
    """Return the safe HTML of a text in Markdown.

    Raw HTML in it is shown as text; links go to http, https, mailto and paths of this site;
    pictures become their alternative text. With more than BRACKETS_MAX opening brackets, brackets
    make no links; a text that could have more than CELLS_MAX cells has no tables; one with more
    than MARKS_MAX marks before a line's text, or LEVELS_MAX levels, has no quotes and lists. May
    run in any thread.
    """
    lines = text.splitlines()
    cells = len(lines) * max((line.count("|") for line in lines), default=0)
    schemes = text.count(":") + text.count("//")
    rules = {
        "links": text.count("[") <= BRACKETS_MAX,
        "tables": cells <= CELLS_MAX,
        "addresses": schemes <= SCHEMES_MAX,
        "containers": max(map(_marks, lines), default=0) <= MARKS_MAX,
    }
    return _CLEANER.clean(_rendered(text, rules)).strip()


def _marks(line: str) -> int:
    """Return how many quotes and lists a line says that it begins in or goes on with."""
    found = None if _RULE.fullmatch(line) else _MARKS.match(line)
    return len(_MARK.findall(found[1])) if found else 0


def _rendered(text: str, rules: dict[str, bool]) -> str:
    parser, made = _parser(**rules), dict[str, Any]()
    tokens = parser.parse(text, made)
    if rules["containers"] and any(token.level >= LEVELS_MAX - 1 for token in tokens):
        return _rendered(text, {**rules, "containers": False})
    return str(parser.renderer.render(tokens, parser.options, made))


def plain(safe_html: str | None) -> str:
    """Return the text of what `markdown` made, in one line."""
    spaced = _BLOCK_END.sub(" ", safe_html or "")
    return " ".join(html.unescape(nh3.clean(spaced, tags=set())).split())


def shorten(text: str, limit: int) -> str:
    """Return the text, or its first whole words in `limit` characters with an ellipsis."""
    if len(text) <= limit:
        return text
    words, _, _ = text[:limit].rpartition(" ")
    return (words or text[: limit - 1]) + "…"


# -- times and languages ---------------------------------------------------------------------------

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class When(NamedTuple):
    """An instant as people read it in a blog's zone and language."""

    iso: str  # 2024-11-06T06:57:00.000Z
    clock: str  # 1:57 AM EST
    date: str  # November 6, 2024
    full: str  # Wednesday, November 6, 2024, 1:57 AM EST (America/New_York)


def when(ms: int, blog: Blog) -> When:
    """Return how an instant reads in a blog, with the zone's abbreviation valid at that instant."""
    return _when(ms, blog.timezone, blog.language)


@lru_cache(maxsize=WHEN_KEPT)
def _when(ms: int, timezone: str, language: str) -> When:
    locale, local = _locale(language), _local(ms, ZoneInfo(timezone))
    time = format_time(local, "short", tzinfo=local.tzinfo, locale=locale)
    clock = _plain_spaces(f"{time} {_zone_name(local)}")
    date = _plain_spaces(format_date(local.date(), "long", locale=locale))
    day = _plain_spaces(format_date(local.date(), "full", locale=locale))
    zone = "" if clock.endswith(f" {timezone}") else f" ({timezone})"
    return When(instant.format_time(ms) or "", clock, date, f"{day}, {clock}{zone}")


def _local(ms: int, zone: tzinfo) -> datetime:
    """Return the instant in a zone; in UTC where that would leave the years 1 to 9999."""
    at = _EPOCH + timedelta(milliseconds=ms)
    try:
        return at.astimezone(zone)
    except OverflowError:
        return at


def _zone_name(at: datetime) -> str:
    """Return "EDT"; for zones without letters the offset, as "UTC-3" or "UTC+5:30"."""
    name = at.tzname() or ""
    if name.isalpha():
        return name
    minutes = (at.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}"


def _plain_spaces(text: str) -> str:
    """Replace the narrow and the no-break space, which people can neither search nor type."""
    return text.replace("\u202f", " ").replace("\xa0", " ")


@lru_cache(maxsize=256)
def _locale(language: str) -> Locale:
    """Return what is known of a BCP 47 language, else of its first part, else of English."""
    for tag in (language, language.partition("-")[0]):
        try:
            return Locale.parse(tag, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")


def direction(language: str) -> str:
    """Return "rtl" or "ltr", the direction in which a language is written."""
    return str(_locale(language).text_direction)


# -- entries and headers ---------------------------------------------------------------------------

env: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def _safe(made: str | None) -> Markup:
    """Mark as safe what `markdown` or a template of this module has made, and nothing else."""
    return Markup(made or "")  # noqa: S704


def entry_html(entry: Entry, blog: Blog, *, is_copy: bool = False) -> str:
    """Return the <article> of a published entry; a copy (among the pinned ones) carries no id."""
    return _entry_template.render(
        entry=entry,
        blog=blog,
        is_copy=is_copy,
        published=when(entry.published_at or 0, blog),
        updated=_updated(entry, blog),
        body=_body(entry),
    )


def header_html(blog: Blog) -> str:
    """Return the <header> of a blog: title, dek, status, start, summary, where else to read.

    It depends on the blog only: once its time has come it goes on saying "about to start", until
    an editor gives the blog another status.
    """
    return _header_template.render(blog=blog, summary=_safe(blog.summary_html))


def starts_of(blog: Blog) -> When | None:
    """Return when an upcoming blog starts; None when nobody said, and for any other blog."""
    if blog.status != "upcoming" or blog.starts_at is None:
        return None
    return when(blog.starts_at, blog)


def entry_name(entry: Entry, blog: Blog) -> str:
    """Return what to call an entry: its headline, its first words, or its time."""
    if entry.headline:
        return entry.headline
    words = shorten(plain(entry.body_html), NAME_MAX)
    return words or when(entry.published_at or 0, blog).clock


def key_title(entry: Entry, blog: Blog) -> str:
    """Return how an entry stands in the list of key events."""
    return entry.key_title or entry_name(entry, blog)


class _Updated(NamedTuple):
    at: When
    is_same_day: bool


def _updated(entry: Entry, blog: Blog) -> _Updated:
    """Return the time of the last edit: never before publication, whatever imports claim."""
    published_at = entry.published_at or 0
    at = when(max(entry.updated_at, published_at), blog)
    return _Updated(at, at.date == when(published_at, blog).date)


def _body(entry: Entry) -> Markup:
    """Return the text with the dateline before its first words, or alone before a list."""
    body = _safe(entry.body_html)
    if not entry.dateline:
        return body
    dateline = Markup('<span class="dateline">{}</span> — ').format(entry.dateline)
    if body.startswith("<p>"):
        return Markup("<p>") + dateline + body[3:]
    return Markup("<p>{}</p>\n").format(dateline) + body


# What templates may call, and where scripts and styles are.
env.globals.update(
    static="/static",
    site_name=SITE_NAME,
    entry_html=lambda *args, **kwargs: _safe(entry_html(*args, **kwargs)),
    header_html=lambda blog: _safe(header_html(blog)),
    entry_name=entry_name,
    key_title=key_title,
    starts_of=starts_of,
    when=when,
    direction=direction,
)


def link_static(prefix: str) -> None:
    """Have all pages made from now on load scripts and styles from `{prefix}/js/…`."""
    env.globals["static"] = prefix


# All are compiled now, 0.1 s together: else the first reader of each page would wait for it.
for _name in env.list_templates():
    env.get_template(_name)
_entry_template: Final = env.get_template("reader/entry.html")
_header_template: Final = env.get_template("reader/header.html")
# And what the first text and the first time would load, 20 ms: the first entry would come late.
markdown("*a* [b](/c) https://d.example")
when(0, Blog(slug="", title=""))


# -- pages -----------------------------------------------------------------------------------------


class _Head(NamedTuple):
    """What a page says of itself to browsers and search engines.

    `canonical` is its address; "" where the site's is not known: a relative one says nothing.
    """

    title: str
    description: str
    canonical: str


def home_html(*, blogs: Sequence[Blog], public_url: str) -> str:
    """Return the list of blogs, in the order given.

    `public_url` is the site's address without a slash at the end, here and below.
    """
    head = _Head(SITE_NAME, "Live and recent coverage.", f"{public_url}/" if public_url else "")
    return env.get_template("reader/home.html").render(head=head, blogs=blogs)


def blog_html(
    *,
    blog: Blog,
    position: Position,
    entries: Sequence[Entry],
    pinned: Sequence[Entry],
    key_events: Sequence[Entry],
    before: Entry | None,
    older: bool,
    permalink: Entry | None,
    public_url: str,
    article: Callable[[Entry], str],
) -> str:
    """Return a reader's page: the newest entries, older ones, or those around a linked one.

    `entries`, `pinned` and `key_events` are newest first. `before` is the entry (or tombstone) that
    all of `entries` are older than; None when they reach up to the newest. `older`: there are
    entries below them. `permalink` is one of `entries`. `article` returns what `entry_html` does
    for an entry of this blog, which a worker need not make anew for each page.
    """
    return env.get_template("reader/blog.html").render(
        head=_blog_head(blog, before, permalink, public_url),
        blog=blog,
        position=position,
        entries=entries,
        pinned=pinned,
        key_events=key_events,
        shown={entry.id for entry in entries},
        before=before,
        older=older,
        permalink=permalink,
        article=lambda entry: _safe(article(entry)),
    )


def _blog_head(blog: Blog, before: Entry | None, permalink: Entry | None, public_url: str) -> _Head:
    url = f"{public_url}/blogs/{blog.slug}"
    about = blog.dek or shorten(plain(blog.summary_html), DESCRIPTION_MAX) or blog.title
    if permalink:
        text = shorten(plain(permalink.body_html), DESCRIPTION_MAX) or about
        name = entry_name(permalink, blog)
        head = _Head(f"{name} · {blog.title}", text, f"{url}/entries/{permalink.id}")
    elif before:
        title = f"{blog.title} · earlier updates"
        head = _Head(title, f"Earlier updates: {about}", f"{url}?before={before.id}")
    else:
        head = _Head(blog.title, about, url)
    return head if public_url else head._replace(canonical="")


# What a page that is not there says instead: title and note.
_MESSAGES: Final = {
    404: ("Not found", "There is nothing at this address. It may have been mistyped."),
    410: ("This entry is gone", "It was published here and has been removed since."),
    503: ("Please try again shortly", "This page cannot be shown at the moment."),
}


def message_html(*, status: int, blog: Blog | None = None) -> str:
    """Return the plain page of a 404, 410 or 503, with a link to the blog when there is one."""
    title, note = _MESSAGES[status]
    head = _Head(title, note, "")
    return env.get_template("reader/message.html").render(head=head, note=note, blog=blog)
