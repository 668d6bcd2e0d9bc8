"""The JSON shapes of blogs and entries, in the API and in streams with `as=data`.

A stream with `as=data` has an entry's fields in place of its HTML.

Rules: pure. Every field is always present; an absent value is null.
"""

from typing import Final, TypeAlias

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Entry, Link, Position

Shape: TypeAlias = dict[str, object]  # a JSON object of the API

_BLOG_COPIED: Final = (
    "slug",
    "title",
    "dek",
    "summary",
    "summary_html",
    "timezone",
    "language",
    "status",
)
_ENTRY_COPIED: Final = (
    "headline",
    "body",
    "body_html",
    "byline",
    "dateline",
    "key",
    "key_title",
    "pinned",
    "pin_order",
    "status",
    "revision",
    "offset",
    "order",
    "note_kind",
    "note",
)


def blog_json(blog: Blog, position: Position, base_url: str) -> Shape:
    """Return a blog in the API's shape.

    `base_url` is the site's address without a trailing slash, also in `entry_json`.
    """
    return {
        **{name: getattr(blog, name) for name in _BLOG_COPIED},
        "starts_at": format_time(blog.starts_at),
        "full_coverage": _link_json(blog.full_coverage),
        "successor": _link_json(blog.successor),
        "position": str(position),
        "url": f"{base_url}/blogs/{blog.slug}",
        "created_at": format_time(blog.created_at),
        "updated_at": format_time(blog.updated_at),
    }


def _link_json(link: Link | None) -> dict[str, str] | None:
    return {"text": link.text, "url": link.url} if link else None


def entry_json(entry: Entry, slug: str, position: Position | None, base_url: str) -> Shape:
    """Return an entry in the API's shape.

    `position` is the position of the entry's last change, None for an unpublished entry.
    """
    return {
        "id": entry.id,
        "blog": slug,
        **{name: getattr(entry, name) for name in _ENTRY_COPIED},
        "position": str(position) if position else None,
        "published_at": format_time(entry.published_at) or format_time(entry.stated_at),
        "updated_at": format_time(entry.updated_at),
        "publish_at": format_time(entry.publish_at),
        "url": f"{base_url}/blogs/{slug}/entries/{entry.id}",
    }
