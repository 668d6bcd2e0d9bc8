"""The HTML of entries and headers, in pages and in frames.

Rules: pure, no clock. An entry's HTML depends on the entry and its blog's slug, zone and language
only; a header's depends on the blog only. One template makes an entry for pages and for frames.
"""

from typing import Final, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from liveblog.blog import fields
from liveblog.blog.model import Blog, Entry
from liveblog.blog.visible import isolated
from liveblog.html.environment import environment, safe
from liveblog.html.markdown import HELP, plain, shorten
from liveblog.html.when import When, direction, start_of, when

NAME_MAX: Final = 80  # characters of an entry's text that replace a missing headline


def entry_html(entry: Entry, blog: Blog, *, is_copy: bool = False, in_frame: bool = False) -> str:
    """Return the <article> of a published entry; a copy in the pinned list has no id.

    An entry in a frame has no `data-offset`, `data-order` and `data-revision`, and its times have
    no `title`: the client sets them.
    """
    return _entry_template.render(
        entry=entry,
        blog=blog,
        is_copy=is_copy,
        in_frame=in_frame,
        published=when(entry.published_at or 0, blog),
        updated=_updated(entry, blog),
        body=_body(entry),
    )


def header_html(blog: Blog) -> str:
    """Return the <header> of a blog: title, dek (subtitle), status, start, summary and links.

    An upcoming blog shows "About to start" until an editor changes its status, even after its
    start.
    """
    return _header_template.render(blog=blog, summary=safe(blog.summary_html))


def entry_name(entry: Entry, blog: Blog) -> str:
    """Return an entry's headline, else the first words of its text, else its time.

    Names stand beside other words in places without markup, such as the title of a page.
    """
    words = entry.headline or shorten(plain(entry.body_html), NAME_MAX)
    return isolated(words) or when(entry.published_at or 0, blog).clock


def key_title(entry: Entry, blog: Blog) -> str:
    """Return an entry's title in the list of key events."""
    return entry.key_title or entry_name(entry, blog)


class _Updated(NamedTuple):
    at: When
    is_same_day: bool


def _updated(entry: Entry, blog: Blog) -> _Updated:
    """Return the time of the last edit, or the time of publication if that is later.

    The store's clock stamps edits. An API caller may state the time of publication, and this
    server's clock rejects a future time. When the clocks differ, the stated time can be later.
    """
    published_at = entry.published_at or 0
    at = when(max(entry.updated_at, published_at), blog)
    return _Updated(at, at.date == when(published_at, blog).date)


def _body(entry: Entry) -> Markup:
    """Return an entry's text, with its dateline (such as a place) at the start.

    The dateline starts the first paragraph. Before a text that starts with something else, such as
    a list, the dateline gets a paragraph of its own.
    """
    body = safe(entry.body_html)
    if not entry.dateline:
        return body
    dateline = safe("<span class=dateline>{}</span> — ").format(entry.dateline)
    if body.startswith("<p>"):
        return safe("<p>") + dateline + body[3:]
    return safe("<p>{}</p>\n").format(dateline) + body


templates: Final[Environment] = environment(
    direction=direction,
    entry_name=entry_name,
    fields=fields,
    key_title=key_title,
    marks_help=[(row.typed, safe(row.shown)) for row in HELP],
    start_of=start_of,
    when=when,
)
_entry_template: Final = templates.get_template("reader/entry.html")
_header_template: Final = templates.get_template("reader/header.html")
