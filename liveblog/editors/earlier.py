"""The desk's page of a blog's earlier headers: restore one, erase one or all.

Rules: no Redis, no HTML in strings, no permission decided here (headers.py decides).
"""

from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from liveblog.blog.model import Blog, Caller
from liveblog.blog.problem import Problem
from liveblog.blog.shapes import saved_at
from liveblog.editors import answers, requests
from liveblog.editors.answers import Answers, Done
from liveblog.editors.forms import FormView, boxes_of, header_values, key_of, revision_of
from liveblog.editors.gate import page_response, read_form
from liveblog.editors.header_decisions import RESTORED
from liveblog.editors.publishing import Publishing
from liveblog.html.pages import Pages

HEADERS: Final = 20  # on one page; the boxes of each have up to 90 KB

SHOWN: Final = (409, 412, 422)  # statuses of problems that the page explains above its list

# The boxes of what a restoration brings back.
BOXES: Final = tuple(box for name in RESTORED for box in boxes_of(name))


class _Earlier(NamedTuple):
    """A header as the page shows it: `texts` are the contents of its boxes, by name."""

    revision: int
    saved_by: str | None
    saved_at: int
    texts: dict[str, str]


class EarlierHeaders:
    """Answers the requests for the page, and for its forms."""

    def __init__(self, publishing: Publishing, pages: Pages, answering: Answers) -> None:
        self._publishing, self._pages, self._answers = publishing, pages, answering

    async def restore(self, request: Request, caller: Caller) -> Response:
        slug, revision = request.path_params["slug"], requests.revision_in_path(request)
        boxes = await read_form(request)
        try:
            restored = await self._publishing.headers.restore(
                caller, slug, revision, key_of(boxes), revision_of(boxes)
            )
        except Problem as problem:
            return await self._rejected(request, caller, problem)
        return self._answers.blog(request, restored, _done(slug, "header-restored"))

    async def erase(self, request: Request, caller: Caller) -> Response:
        return await self._erased(request, caller, requests.revision_in_path(request))

    async def erase_all(self, request: Request, caller: Caller) -> Response:
        return await self._erased(request, caller, None)

    async def _erased(self, request: Request, caller: Caller, revision: int | None) -> Response:
        slug, boxes = request.path_params["slug"], await read_form(request)
        try:
            erased = await self._publishing.headers.erase(caller, slug, revision, key_of(boxes))
        except Problem as problem:
            return await self._rejected(request, caller, problem)
        return answers.accepted(request, _done(slug, "headers-erased"), replayed=erased.replayed)

    async def _rejected(self, request: Request, caller: Caller, problem: Problem) -> Response:
        """Show the page again with the reason; problems of access have a page of their own."""
        if problem.status not in SHOWN:
            raise problem
        form = answers.rejected_form(request, {}, problem)
        return await self.page(request, caller, form, problem.status)

    async def page(
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
            notice=answers.notice_of(request),
        )
        return page_response(html, status)


def _earlier(blog: Blog) -> _Earlier:
    values = header_values(blog)
    texts = {name: values[name] for name in BOXES if values[name]}
    return _Earlier(blog.revision, blog.saved_by, saved_at(blog), texts)


def _done(slug: str, notice: str) -> Done:
    return Done(notice, f"/desk/blogs/{slug}/header/revisions")
