"""The desk's page of a blog's earlier headers: restore one, erase one or all.

Rules: no Redis, no HTML in strings, no permission decided here (headers.py decides).
"""

from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from liveblog.blog.model import Blog, Caller
from liveblog.blog.problem import Problem
from liveblog.blog.shapes import saved_at
from liveblog.editors import requests
from liveblog.editors.forms import FormView, header_values, key_of, rejected, revision_of
from liveblog.editors.gate import page_response, read_form
from liveblog.editors.publishing import Publishing
from liveblog.html.pages import Pages

HEADERS: Final = 20  # on one page; the boxes of each have up to 90 KB

NOTICES: Final = {
    "restored": "Restored. Readers see this header now.",
    "erased": "Erased.",
}
SHOWN: Final = (409, 412, 422)  # statuses of problems that the page explains above its list

# The boxes of a header, without those that a restoration leaves as they are.
TEXTS: Final = (
    "title",
    "dek",
    "summary",
    "timezone",
    "language",
    "starts_at",
    "full_coverage_text",
    "full_coverage_url",
)


class _Earlier(NamedTuple):
    """A header as the page shows it: `texts` are the contents of its boxes, by name."""

    revision: int
    saved_by: str | None
    saved_at: int
    texts: dict[str, str]


class EarlierHeaders:
    """Answers the requests for the page, and for its forms."""

    def __init__(self, publishing: Publishing, pages: Pages) -> None:
        self._publishing, self._pages = publishing, pages

    async def show(self, request: Request, caller: Caller) -> Response:
        return await self._page(request, caller)

    async def restore(self, request: Request, caller: Caller) -> Response:
        slug, revision = request.path_params["slug"], requests.revision_in_path(request)
        boxes = await read_form(request)
        try:
            await self._publishing.headers.restore(
                caller, slug, revision, key_of(boxes), revision_of(boxes)
            )
        except Problem as problem:
            return await self._rejected(request, caller, problem)
        return _done(slug, "restored")

    async def erase(self, request: Request, caller: Caller) -> Response:
        return await self._erased(request, caller, requests.revision_in_path(request))

    async def erase_all(self, request: Request, caller: Caller) -> Response:
        return await self._erased(request, caller, None)

    async def _erased(self, request: Request, caller: Caller, revision: int | None) -> Response:
        slug, boxes = request.path_params["slug"], await read_form(request)
        try:
            await self._publishing.headers.erase(caller, slug, revision, key_of(boxes))
        except Problem as problem:
            return await self._rejected(request, caller, problem)
        return _done(slug, "erased")

    async def _rejected(self, request: Request, caller: Caller, problem: Problem) -> Response:
        """Show the page again with the reason; problems of access have a page of their own."""
        if problem.status not in SHOWN:
            raise problem
        return await self._page(request, caller, rejected({}, problem), problem.status)

    async def _page(
        self, request: Request, caller: Caller, form: FormView | None = None, status: int = 200
    ) -> Response:
        """Answer with a page of headers, the stored one first; `form` has the reason, if any."""
        slug, query = request.path_params["slug"], request.query_params
        before = requests.revision_before(query)
        at = await self._publishing.blog(caller, slug, or_damaged=True)
        page = await self._publishing.history.headers(caller, slug, before, HEADERS)
        html = self._pages.desk(
            "revisions",
            editor=caller,
            blog=at.blog,
            headers=[_earlier(it) for it in page.revisions],
            before=before,
            older=page.next,
            form=form or FormView(),
            notice=NOTICES.get(query.get("done", ""), ""),
        )
        return page_response(html, status)


def _earlier(blog: Blog) -> _Earlier:
    values = header_values(blog)
    texts = {name: values[name] for name in TEXTS if values[name]}
    return _Earlier(blog.revision, blog.saved_by, saved_at(blog), texts)


def _done(slug: str, done: str) -> Response:
    return RedirectResponse(f"/desk/blogs/{slug}/header/revisions?done={done}", 303)
