"""The answers to requests that fail: a page for browsers, a problem as JSON for everything else.

Rules: an answer says what the caller can do. Details of an internal error go to the log only.
"""

from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ExceptionHandler

from liveblog.blog.problem import Problem, StoreDown, http_error
from liveblog.editors.problems import Problems
from liveblog.html.pages import Pages
from liveblog.pages import page


class Errors:
    """The error handlers: browsers get a page, other clients problem+json."""

    def __init__(self, pages: Pages, problems: Problems) -> None:
        self._pages, self._problems = pages, problems

    @property
    def handlers(self) -> dict[type[Exception], ExceptionHandler]:
        """Return the handlers in the form that Starlette expects."""
        return {
            Problem: self._on_problem,
            StoreDown: self._on_problem,
            HTTPException: self._on_http_error,
            Exception: self._on_fault,
        }

    async def _on_problem(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem | StoreDown)
        shown = page.problem_page(self._pages, error) if page.wants_page(request) else None
        return shown or self._problems.response(error)

    async def _on_http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = _path_without_slashes(request) if error.status_code == 404 else None
        if path:
            return RedirectResponse(path, headers={"cache-control": "no-store"})
        answer = await self._on_problem(request, http_error(error.status_code, error.detail))
        for header, value in (error.headers or {}).items():
            answer.headers[header] = value
        return answer

    async def _on_fault(self, _: Request, __: Exception) -> Response:
        """Answer 500 to an internal error. Starlette raises it again, and the server logs it.

        uvicorn closes the connection after an error, so the answer has `Connection: close`.
        """
        detail = "Internal server error. It has been logged."
        answer = self._problems.response(Problem(500, "fault", detail))
        answer.headers["connection"] = "close"
        return answer


def _path_without_slashes(request: Request) -> str | None:
    """Return the request's path and query without trailing slashes.

    None for a path without trailing slashes, for a shorter path without a route, and for methods
    other than GET and HEAD.
    Starlette's own redirect would repeat the Host header, which a caller chooses.
    """
    path = request.scope["path"].rstrip("/")
    if path == request.scope["path"] or request.method not in ("GET", "HEAD"):
        return None
    scope = {**request.scope, "path": path}
    if not any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
        return None
    query = request.url.query
    return quote(path) + (f"?{query}" if query else "")
