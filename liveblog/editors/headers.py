"""Every write of a blog's header: created, edited, restored, and earlier headers erased.

A header has a revision like an entry. The states of a blog (its status and its successor) belong to
the header's record, but to no revision: they can be changed while a colleague edits the texts, and
a restored header leaves them as they are.

Rules: knows no HTTP and no hub. The steps of a write are those of publishing.py.
"""

from dataclasses import replace
from typing import NamedTuple

from liveblog.blog.fields import Fields
from liveblog.blog.model import Blog, Caller, DamagedBlog
from liveblog.editors import decisions, header_decisions
from liveblog.editors.attempts import Attempts
from liveblog.editors.calls import call_key, replaced
from liveblog.editors.decisions import Revisions
from liveblog.editors.header_decisions import BlogPatch, blog_patch
from liveblog.editors.history import History
from liveblog.editors.reading import Reading
from liveblog.editors.rendering import Renderer
from liveblog.editors.results import BlogResult, HeaderConflict, Results
from liveblog.store.calls import Write, blog_write, erasing_write
from liveblog.store.codec import StoredBlog
from liveblog.store.revisions import EarlierRevisions


class ErasedHeaders(NamedTuple):
    """The result of erasing earlier headers: how many this call, or its first run, erased."""

    revisions_erased: int
    replayed: bool = False


class Headers:
    """Performs editors' writes of headers, with the promises of `Publishing`."""

    def __init__(
        self,
        reading: Reading,
        history: History,
        renderer: Renderer,
        attempts: Attempts,
        results: Results,
        earlier: EarlierRevisions,
    ) -> None:
        self._reading, self._history, self._renderer = reading, history, renderer
        self._attempts, self._results, self._earlier = attempts, results, earlier

    async def create(self, caller: Caller, fields: Fields, key: str | None = None) -> BlogResult:
        """Create a blog. The creation counts as the first change of the blog.

        Raises 403 for a contributor or a caller that is restricted to certain blogs, 409 for a slug
        that is taken.
        """
        patch = blog_patch(fields)
        header_decisions.check_may_create_blog(caller, patch)
        call = call_key(caller, "create", key, dict(fields))
        await self._render(patch)
        slug = patch["slug"]
        blog = Blog(slug=slug, title=patch["title"], saved_by=caller.name)
        write = blog_write("create", None, header_decisions.merge_blog(blog, patch), call)
        outcome = await self._attempts.new(slug, call, lambda: replace(write, status=201))
        return await self._results.blog(slug, outcome)

    async def edit(
        self,
        caller: Caller,
        slug: str,
        fields: Fields,
        key: str | None = None,
        seen: Revisions | None = None,
        shown: Fields | None = None,
    ) -> BlogResult:
        """Merge `fields` into a header; `seen` are the revisions that the edit may replace.

        States have no revision: `shown` has those that the caller was shown, by name, as far as the
        edit may replace no others.

        A new time zone or language changes every entry's HTML. Such an edit starts a new epoch, so
        that readers start over from the page. With a title, the edit also replaces a damaged
        header. Without fields nothing is written.

        Raises HeaderConflict when another revision is stored, unless `seen` is None, and when the
        edit would replace another state than the one in `shown`.
        """
        patch = blog_patch(fields)
        call = call_key(caller, f"PATCH {slug}", key, [dict(fields), replaced(seen)])
        await self._reading.check_blog(caller, slug)
        header_decisions.check_may_edit_blog(caller, slug, patch)
        await self._render(patch)

        async def decide(stored: StoredBlog) -> Write[Blog] | None:
            _check_seen(stored, seen)
            if not patch:
                return None
            blog = header_decisions.edited_blog(caller, stored.blog, patch)
            _check_shown(stored, blog, shown or {})
            return blog_write("header", stored, blog, call)

        is_whole = "title" in patch
        outcome = await self._attempts.header(caller, slug, call, decide, or_damaged=is_whole)
        return await self._results.blog(slug, outcome)

    async def restore(
        self,
        caller: Caller,
        slug: str,
        revision: int,
        key: str | None = None,
        seen: Revisions | None = None,
    ) -> BlogResult:
        """Store the texts and settings of an earlier header as a new revision.

        Status and successor stay. `seen` counts as in `edit`. Raises 404 when the store does not
        have the earlier header, 409 when it is the newest one.
        """
        what = f"POST {slug} revisions {revision} restore"
        call = call_key(caller, what, key, replaced(seen))
        await self._reading.check_blog(caller, slug)
        header_decisions.check_may_edit_blog(caller, slug, {})

        async def decide(stored: StoredBlog) -> Write[Blog]:
            _check_seen(stored, seen)
            decisions.check_is_earlier(stored.blog, revision)
            earlier, raw = await self._history.earlier_header(slug, revision)
            html = await self._renderer.html(earlier.summary, "/summary")
            blog = header_decisions.restored_blog(caller, stored.blog, earlier, html)
            return replace(blog_write("header", stored, blog, call), restored=raw)

        outcome = await self._attempts.header(caller, slug, call, decide, or_damaged=True)
        return await self._results.blog(slug, outcome)

    async def erase(
        self, caller: Caller, slug: str, revision: int | None = None, key: str | None = None
    ) -> ErasedHeaders:
        """Erase an earlier header, or all of them for None; also from the store's file.

        Raises 403 unless the caller is an admin, 409 for the newest header. A header that the store
        no longer has counts as erased.
        """
        call = call_key(caller, f"DELETE {slug} revisions {revision}", key, None)
        await self._reading.check_blog(caller, slug)
        header_decisions.check_may_erase_headers(caller)

        async def decide(stored: StoredBlog) -> Write[Blog] | None:
            if revision is None:
                count = await self._earlier.headers_count(slug)
                return erasing_write(stored, None, count, call)
            decisions.check_is_earlier(stored.blog, revision)
            earlier = await self._earlier.header(slug, revision)
            return erasing_write(stored, earlier.raw, 1, call) if earlier else None

        outcome = await self._attempts.header(caller, slug, call, decide, or_damaged=True)
        await self._attempts.erase_from_file(slug, outcome)
        return ErasedHeaders(outcome.revisions_erased, outcome.is_replay)

    async def _render(self, patch: BlogPatch) -> None:
        """Put the summary's HTML into the patch. Raises 422 and 503 as `Renderer.html` does."""
        if "summary" in patch:
            patch["summary_html"] = await self._renderer.html(patch["summary"], "/summary")


def _check_seen(stored: StoredBlog, seen: Revisions | None) -> None:
    """Raise HeaderConflict unless the stored header may be replaced, as a damaged one always may.

    Nobody has seen a damaged header, and nothing of it could be lost.
    """
    is_damaged = isinstance(stored.blog, DamagedBlog)
    if not is_damaged and not decisions.may_replace(seen, stored.blog.revision):
        raise HeaderConflict(BlogResult(stored.blog, stored.position))


def _check_shown(stored: StoredBlog, edited: Blog, shown: Fields) -> None:
    """Raise HeaderConflict when an edit replaces a state that its editor was not shown."""
    now = {name: getattr(stored.blog, name) for name in shown}
    unseen = [it for it in shown if now[it] not in (shown[it], getattr(edited, it))]
    if unseen and not isinstance(stored.blog, DamagedBlog):
        raise HeaderConflict(BlogResult(stored.blog, stored.position))
