"""The JSON shapes of blogs and entries in the API and in `as=data` streams.

Rules: pure. Absent is null, never missing.
"""

from typing import Any

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Entry, Link, Position

# -- the API's shapes ------------------------------------------------------------------------------


def blog_json(blog: Blog, position: Position, base_url: str) -> dict[str, Any]:
    """Return a blog as the API gives it.

    `base_url` is the site's address without a slash at the end.
    """
    return {
        **{name: getattr(blog, name) for name in _BLOG_SHAPE},
        "starts_at": format_time(blog.starts_at),
        "full_coverage": _link_json(blog.full_coverage),
        "successor": _link_json(blog.successor),
        "position": str(position),
        "url": f"{base_url}/blogs/{blog.slug}",
        "created_at": format_time(blog.created_at),
        "updated_at": format_time(blog.updated_at),
    }


_BLOG_SHAPE = ("slug", "title", "dek", "summary", "summary_html", "timezone", "language", "status")


def _link_json(link: Link | None) -> dict[str, str] | None:
    return {"text": link.text, "url": link.url} if link else None


def entry_json(entry: Entry, slug: str, position: Position | None, base_url: str) -> dict[str, Any]:
    """Return an entry as the API gives it.

    `position` is that of its last change, None until published.
    """
    return {
        "id": entry.id,
        "blog": slug,
        **{name: getattr(entry, name) for name in _ENTRY_SHAPE},
        "position": str(position) if position else None,
        "published_at": format_time(entry.published_at),
        "updated_at": format_time(entry.updated_at),
        "publish_at": format_time(entry.publish_at),
        "url": f"{base_url}/blogs/{slug}/entries/{entry.id}",
    }


_ENTRY_SHAPE = (
    "headline",
    "body",
    "body_html",
    "byline",
    "dateline",
    "key",
    "key_title",
    "pinned",
    "status",
    "revision",
    "offset",
    "order",
    "note_kind",
    "note",
)
