"""Every write of a blog's header: created, edited, restored, and earlier headers erased.

A header has a revision like an entry. The states of a blog (its status and its successor) belong to
the header's record, but to no revision: they can be changed while a colleague edits the texts, and
a restored header leaves them as they are.

Rules: knows no HTTP and no hub. Commits as publishing.py does.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from liveblog.blog.model import BLOG_ID, Blog, Caller, DamagedBlog
from liveblog.editors import decisions, header_decisions
from liveblog.editors.attempts import request_erasure, until_fresh
from liveblog.editors.calls import call_key, replaced
from liveblog.editors.decisions import Revisions
from liveblog.editors.header_decisions import blog_patch
from liveblog.editors.history import History
from liveblog.editors.reading import Reading
from liveblog.editors.rendering import Renderer
from liveblog.editors.results import BlogResult, HeaderConflict, Results
from liveblog.store.broker import Broker
from liveblog.store.calls import CallKey, blog_write, erasing_write
from liveblog.store.codec import StoredBlog
from liveblog.store.writes import Outcome

Fields = Mapping[str, object]  # JSON members that a caller sent
Decide = Callable[[StoredBlog], Awaitable[Blog | None]]


class ErasedHeaders(NamedTuple):
    """The result of erasing earlier headers: how many this call, or its first run, erased."""

    revisions_erased: int
    replayed: bool = False


class Headers:
    """Performs editors' writes of headers, with the promises of `Publishing`."""

    def __init__(
        self, broker: Broker, reading: Reading, history: History, renderer: Renderer
    ) -> None:
        self._writes, self._eraser, self._kept = broker.writes, broker.eraser, broker.revisions
        self._reading, self._history, self._renderer = reading, history, renderer
        self._results = Results(broker.blogs, broker.entries, broker.revisions)

    async def create(self, caller: Caller, fields: Fields, key: str | None = None) -> BlogResult:
        """Create a blog. The creation counts as the first change of the blog.

        Raises 403 for a contributor or a caller that is restricted to certain blogs, 409 for a slug
        that is taken.
        """
        patch = blog_patch(fields)
        header_decisions.check_may_create_blog(caller, patch)
        call = call_key(caller, "POST blogs", key, dict(fields))
        if "summary" in patch:
            patch["summary_html"] = await self._renderer.html(patch["summary"], "/summary")
        slug = patch["slug"]
        blog = Blog(slug=slug, title=patch["title"], saved_by=caller.name)
        write = blog_write("create", None, header_decisions.merge_blog(blog, patch), call)
        outcome = await until_fresh(
            slug, lambda: self._writes.commit(slug, replace(write, status=201))
        )
        return await self._results.blog(slug, outcome)

    async def edit(
        self,
        caller: Caller,
        slug: str,
        fields: Fields,
        key: str | None = None,
        seen: Revisions | None = None,
    ) -> BlogResult:
        """Merge `fields` into a header; `seen` are the revisions that the edit may replace.

        A new time zone or language changes every entry's HTML. Such an edit starts a new epoch, so
        that readers start over from the page. With a title, the edit also replaces a damaged
        header. Without fields nothing is written.

        Raises HeaderConflict when another revision is stored; never when `seen` is None.
        """
        patch = blog_patch(fields)
        call = call_key(caller, f"PATCH {slug}", key, [dict(fields), replaced(seen)])
        await self._reading.check_blog(caller, slug)
        header_decisions.check_may_edit_blog(caller, slug, patch)
        if "summary" in patch:
            patch["summary_html"] = await self._renderer.html(patch["summary"], "/summary")

        async def decide(stored: StoredBlog) -> Blog | None:
            return header_decisions.edited_blog(caller, stored.blog, patch) if patch else None

        is_whole = "title" in patch
        return await self._alter(caller, slug, call, seen, decide, or_damaged=is_whole)

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
        keep the earlier header, 409 when it is the newest one.
        """
        what = f"POST {slug} revisions {revision} restore"
        call = call_key(caller, what, key, replaced(seen))
        await self._reading.check_blog(caller, slug)
        header_decisions.check_may_edit_blog(caller, slug, {})

        async def decide(stored: StoredBlog) -> Blog:
            decisions.check_is_earlier(stored.blog, revision)
            earlier = await self._history.earlier_header(slug, revision)
            html = await self._renderer.html(earlier.summary, "/summary")
            return header_decisions.restored_blog(caller, stored.blog, earlier, html)

        return await self._alter(caller, slug, call, seen, decide, or_damaged=True)

    async def erase(
        self, caller: Caller, slug: str, revision: int | None = None, key: str | None = None
    ) -> ErasedHeaders:
        """Erase an earlier header, or all of them for None; also from the store's file.

        Raises 403 unless the caller is an admin, 409 for the newest header. A header that is not
        kept counts as erased.
        """
        call = call_key(caller, f"DELETE {slug} revisions {revision}", key, None)
        await self._reading.check_blog(caller, slug)
        header_decisions.check_may_erase_headers(caller)

        async def attempt() -> Outcome[Blog]:
            stored = await self._reading.blog(caller, slug)
            if first := await self._writes.remembered(slug, call):
                return first
            if revision is not None:
                decisions.check_is_earlier(stored.blog, revision)
            return await self._erased(slug, stored, revision, call)

        outcome = await until_fresh(slug, attempt)
        await request_erasure(self._eraser, slug, outcome)
        return ErasedHeaders(outcome.revisions_erased, outcome.is_replay)

    async def _erased(
        self, slug: str, stored: StoredBlog, revision: int | None, call: CallKey
    ) -> Outcome[Blog]:
        if revision is None:
            count = await self._kept.headers_count(slug)
            write = erasing_write(stored, None, count, call)
        elif kept := await self._kept.header(slug, revision):
            write = erasing_write(stored, kept.raw, 1, call)
        else:
            return _unchanged(stored)
        return await self._writes.commit(slug, write)

    async def _alter(
        self,
        caller: Caller,
        slug: str,
        call: CallKey,
        seen: Revisions | None,
        decide: Decide,
        *,
        or_damaged: bool,
    ) -> BlogResult:
        """Read a header, decide and commit; retry while other writes are faster.

        `decide` returns the new header, or None to leave the header as it is. A repeated call
        returns its first outcome without a check of the rules.
        """

        async def attempt() -> Outcome[Blog]:
            stored = await self._reading.blog(caller, slug, or_damaged=or_damaged)
            if first := await self._writes.remembered(slug, call):
                return first
            _check_seen(stored, seen)
            blog = await decide(stored)
            if blog is None:
                return _unchanged(stored)
            return await self._writes.commit(slug, blog_write("header", stored, blog, call))

        return await self._results.blog(slug, await until_fresh(slug, attempt))


def _check_seen(stored: StoredBlog, seen: Revisions | None) -> None:
    """Raise HeaderConflict unless the stored header may be replaced, as a damaged one always may.

    Nobody has seen a damaged header, and nothing of it could be lost.
    """
    is_damaged = isinstance(stored.blog, DamagedBlog)
    if not is_damaged and not decisions.may_replace(seen, stored.blog.revision):
        raise HeaderConflict(BlogResult(stored.blog, stored.position))


def _unchanged(stored: StoredBlog) -> Outcome[Blog]:
    blog = stored.blog
    return Outcome(
        status=200, id=BLOG_ID, revision=blog.revision, position=stored.position, record=blog
    )
