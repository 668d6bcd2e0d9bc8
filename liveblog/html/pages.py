"""Whole pages: the home page, blogs and error pages for readers, and the desk's pages.

Rules: pure, no clock. A page depends on its arguments only.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from markupsafe import Markup

from liveblog.blog.model import Blog, Entry, Position, timezones
from liveblog.html.entries import entry_html, entry_name, header_html, templates
from liveblog.html.environment import safe
from liveblog.html.markdown import plain, shorten

SITE_NAME: Final = "Live blogs"
DESCRIPTION_MAX: Final = 160  # characters that search engines show

# Title and text of the readers' error pages, by HTTP status.
_MESSAGES: Final = {
    404: ("Not found", "There is nothing at this address. Check the address for typing errors."),
    410: ("This entry was removed", "It was published here and removed later."),
    503: ("Please try again shortly", "This page cannot be shown at the moment."),
}
Unavailable = Literal["store", "full", "damaged"]  # the reason of a 503
_UNAVAILABLE: Final[dict[Unavailable, tuple[str, str]]] = {
    "store": _MESSAGES[503],
    "full": ("Very busy right now", "Too many people are reading. Please try again in a minute."),
    "damaged": ("This page cannot be shown", "Part of this coverage is damaged. Please try later."),
}


class _Head(NamedTuple):
    """A page's title, description and address for browsers and search engines.

    `canonical` is an absolute address, "" when the site's address is unknown.
    """

    title: str
    description: str
    canonical: str


class Pages:
    """Renders pages.

    The addresses of their scripts and styles start with `static_prefix`. Pages with a script state
    their `version`, which names the release's markup, styles and scripts.
    """

    def __init__(self, static_prefix: str = "/static", version: str = "") -> None:
        self._static, self._version = static_prefix, version

    def home(
        self,
        *,
        blogs: Sequence[Blog],
        before: str | None = None,
        older: str | None = None,
        public_url: str,
    ) -> str:
        """Return a page of the list of blogs, in the order given.

        `before` is the slug after which the page begins, None for the first page. `older` is the
        same for the next page, None for none. `public_url` is the site's address without a trailing
        slash, "" if unknown; also in `blog`.
        """
        title = f"{SITE_NAME} · earlier coverage" if before else SITE_NAME
        url = f"{public_url}/?before={before}" if before else f"{public_url}/"
        head = _Head(title, "Live and recent coverage.", url if public_url else "")
        return self._render("reader/home.html", head=head, blogs=blogs, before=before, older=older)

    def blog(
        self,
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
        is_preview: bool = False,
    ) -> str:
        """Return a blog's page: the newest entries, older ones, or those around a linked entry.

        `entries` and `key_events` are newest first, `pinned` in the order of `pins.rank`. `before`
        is the entry directly above `entries`, even if deleted; None if `entries` include the
        newest. `older` is true if the blog has entries below them. `permalink` is the linked entry,
        which is one of `entries`. `article` returns the `entry_html` of an entry of this blog; a
        worker passes a function that caches the HTML. `is_preview`: the page is for editors,
        without a stream.
        """
        return self._render(
            "desk/preview.html" if is_preview else "reader/blog.html",
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
            article=lambda entry: safe(article(entry)),
        )

    def message(self, *, status: int, blog: Blog | None = None, why: Unavailable = "store") -> str:
        """Return the error page for a 404, 410 or 503, with a link to `blog` if given."""
        title, note = _UNAVAILABLE[why] if status == 503 else _MESSAGES[status]
        head = _Head(title, note, "")
        return self._render("reader/message.html", head=head, note=note, blog=blog)

    def desk(self, template: str, /, **context: Any) -> str:
        """Return a page of the desk: `templates/desk/{template}.html`, rendered with `context`."""
        return self._render(f"desk/{template}.html", timezones=timezones, **context)

    def _render(self, template: str, /, **context: Any) -> str:
        return templates.get_template(template).render(
            static=self._static,
            version=self._version,
            site_name=SITE_NAME,
            entry_html=_safe_entry,
            header_html=_safe_header,
            **context,
        )


def _safe_entry(entry: Entry, blog: Blog, *, is_copy: bool = False) -> Markup:
    return safe(entry_html(entry, blog, is_copy=is_copy))


def _safe_header(blog: Blog) -> Markup:
    return safe(header_html(blog))


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
