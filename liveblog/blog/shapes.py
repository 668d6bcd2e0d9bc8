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
    "revision",
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


def blog_json(blog: Blog, position: Position | None, base_url: str) -> Shape:
    """Return a blog in the API's shape.

    `position` is None for an earlier revision of the header. `base_url` is the site's address
    without a trailing slash, also in `entry_json`.
    """
    return {
        **{name: getattr(blog, name) for name in _BLOG_COPIED},
        "starts_at": format_time(blog.starts_at),
        "full_coverage": _link_json(blog.full_coverage),
        "successor": _link_json(blog.successor),
        "position": str(position) if position else None,
        "url": f"{base_url}/blogs/{blog.slug}",
        "created_at": format_time(blog.created_at),
        "updated_at": format_time(blog.updated_at),
    }


def _link_json(link: Link | None) -> dict[str, str] | None:
    return {"text": link.text, "url": link.url} if link else None


def revision_json(record: Blog | Entry) -> Shape:
    """Return who saved a revision of a header or an entry, and when; None for an unknown name."""
    name = "title" if isinstance(record, Blog) else "headline"
    return {
        "revision": record.revision,
        **saved_json(record),
        name: getattr(record, name),
        "status": record.status,
    }


def saved_json(record: Blog | Entry) -> Shape:
    return {"author": record.saved_by, "saved_at": format_time(saved_at(record))}


def saved_at(record: Blog | Entry) -> int:
    """Return when a revision was saved.

    For a record of an earlier version, this is the time of the last change of any kind.
    """
    return record.updated_at if record.saved_at is None else record.saved_at


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
