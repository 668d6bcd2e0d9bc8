"""Decisions about a blog's header: permission, how fields merge, and what makes a revision.

Each function takes the stored blog and the fields that the caller sent. It returns the new blog, or
raises the Problem that the caller gets.

Rules: pure, no I/O, no clock.
"""

from collections.abc import Collection
from typing import Final, TypedDict, cast

import msgspec

from liveblog.blog.fields import BlogFields, Fields, check_fields, convert
from liveblog.blog.instant import parse_time
from liveblog.blog.model import Blog, BlogStatus, Caller, DamagedBlog, Link
from liveblog.blog.problem import Problem, forbidden, invalid
from liveblog.editors.decisions import next_revision

# Fields of a blog that belong to no revision of its header; the slug cannot change.
STATES: Final = {"slug", "status", "successor"}
# Fields that a restoration takes from an earlier header, in the order of the desk's page.
RESTORED: Final = (
    "title",
    "dek",
    "summary",
    "timezone",
    "language",
    "starts_at",
    "full_coverage",
)


class BlogPatch(TypedDict, total=False):
    """The checked fields that a caller sent for a blog; None removes a field's value."""

    slug: str
    title: str
    dek: str | None
    summary: str | None
    summary_html: str | None  # rendered from the summary; no caller sends this field
    timezone: str
    language: str
    status: BlogStatus
    starts_at: str | None
    full_coverage: dict[str, str] | None
    successor: dict[str, str] | None


def blog_patch(fields: Fields) -> BlogPatch:
    """Return the fields that a caller sent for a blog.

    Raises 422 for an unknown name, and for a type or value that blog/fields.py rejects.
    Text that is empty or only white space becomes None.
    """
    return cast(BlogPatch, check_fields(convert(dict(fields), BlogFields)))


def check_may_create_blog(caller: Caller, patch: BlogPatch) -> None:
    """Raise 422 without slug or title, 403 for a caller that may not create blogs.

    Contributors and callers that are restricted to certain blogs may not create blogs.
    """
    missing = [name for name in ("slug", "title") if name not in patch]
    if missing:
        raise invalid(*((f"/{name}", "is needed") for name in missing))
    if caller.role == "contributor" or caller.blogs:
        raise forbidden("Creating a blog needs the role editor, bound to no blog.")


def check_may_edit_blog(caller: Caller, slug: str, patch: BlogPatch) -> None:
    """Raise 403 for a contributor, 422 when the patch changes the slug."""
    if caller.role == "contributor":
        raise forbidden("Editing a blog needs the role editor.")
    if patch.get("slug", slug) != slug:
        raise invalid(("/slug", "cannot be changed; it is the blog's address"))


def check_is_seen(fields: Collection[str], seen: int | None) -> None:
    """Raise 428 for a form of more than states that does not say which revision was edited."""
    if seen is None and not set(fields) <= STATES:
        raise Problem(428, "if-match-needed", "Send the revision that you edited.")


def _check_status_is_known(blog: Blog, patch: BlogPatch) -> None:
    """Raise 422 when a new header must have a status: a damaged one has taken the status with it.

    A blog whose status is lost is kept as a draft, and a live one must not stay that by an
    oversight.
    """
    if isinstance(blog, DamagedBlog) and blog.status == "draft" and "status" not in patch:
        detail = "is required: the damaged header no longer says whether readers see the blog"
        raise invalid(("/status", detail))


def merge_blog(blog: Blog, patch: BlogPatch) -> Blog:
    """Return the blog with the patch's fields. Raises 422 when a lost status is missing."""
    _check_status_is_known(blog, patch)
    fields: dict[str, object] = {**patch}
    links = {"full_coverage": patch.get("full_coverage"), "successor": patch.get("successor")}
    fields |= {name: Link(**link) for name, link in links.items() if link}
    starts_at = patch.get("starts_at")
    if starts_at is not None:
        fields["starts_at"] = parse_time(starts_at)
    return msgspec.structs.replace(blog, **fields)


def edited_blog(caller: Caller, blog: Blog, patch: BlogPatch) -> Blog:
    """Return the blog with the patch's fields.

    The result is a new revision, unless all the fields are in STATES (slug, status, successor). A
    damaged header always gets a new revision. Raises 422 as `merge_blog` does.
    """
    merged = merge_blog(blog, patch)
    if patch.keys() <= STATES and not isinstance(blog, DamagedBlog):
        return merged
    return next_revision(caller, merged)


def restored_blog(caller: Caller, blog: Blog, earlier: Blog, summary_html: str | None) -> Blog:
    """Return a new revision with the texts and settings of an earlier header.

    Status and successor stay as they are: an old header must not re-open a blog. `summary_html` is
    the earlier summary as it is rendered now. Raises 422 when the status is lost.
    """
    _check_status_is_known(blog, {})
    texts: dict[str, object] = {name: getattr(earlier, name) for name in RESTORED}
    merged = msgspec.structs.replace(blog, **texts, summary_html=summary_html)
    return next_revision(caller, merged)


def check_may_erase_headers(caller: Caller) -> None:
    """Raise 403 unless the caller is an admin."""
    if caller.role != "admin":
        raise forbidden("Erasing earlier headers needs the role admin.")
