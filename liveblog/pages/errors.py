"""Answers requests that fail, with an error page for browsers or with a problem as JSON.

Rules: an answer says what the caller can do. Details of an internal error go to the log only.
"""

from collections.abc import Callable
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ExceptionHandler

from liveblog.blog.problem import Damaged, Problem, StoreDown, WorkerFull, http_error
from liveblog.html.pages import Pages, Unavailable


class ErrorHandlers:
    """Answers requests that fail with an error page or with problem+json.

    A request for a page gets an error page for the statuses 404, 410 and 503. Any other failed
    request gets problem+json, which `as_json` makes.
    """

    def __init__(self, pages: Pages, as_json: Callable[[Problem | StoreDown], Response]) -> None:
        self._pages, self._as_json = pages, as_json

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
        shown = self._page(error) if _wants_page(request) else None
        return shown or self._as_json(error)

    def _page(self, problem: Problem | StoreDown) -> Response | None:
        """Return the error page for a problem of status 404, 410 or 503; None for others."""
        status = problem.status if isinstance(problem, Problem) else 503
        if status not in (404, 410, 503):
            return None
        headers = {"cache-control": "no-store"} | ({"retry-after": "2"} if status == 503 else {})
        html = self._pages.message(status=status, why=_why(problem))
        return HTMLResponse(html, status, headers=headers)

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
        """Answer 500 to an internal error. Starlette raises the error again, and uvicorn logs it.

        uvicorn closes the connection after an error, so the answer has `Connection: close`.
        """
        detail = "Internal server error. It has been logged."
        answer = self._as_json(Problem(500, "fault", detail))
        answer.headers["connection"] = "close"
        return answer


def _why(problem: Problem | StoreDown) -> Unavailable:
    """Return the reason of a 503, in a word that selects the text of the page."""
    if isinstance(problem, WorkerFull):
        return "full"
    return "damaged" if isinstance(problem, Damaged) else "store"


def _wants_page(request: Request) -> bool:
    """Return whether the request is for a page, and not for the API, a file or a stream."""
    path = request.url.path
    return not path.startswith(("/api/", "/static/")) and not path.endswith(("/changes", "/events"))


def _path_without_slashes(request: Request) -> str | None:
    """Return the address to redirect to: the path without its trailing slashes, and the query.

    None if the path has no trailing slash, if the shorter path has no route, and for methods other
    than GET and HEAD. Starlette's own redirect is not used: it would repeat the Host header, which
    a caller chooses.
    """
    path = request.scope["path"].rstrip("/")
    if path == request.scope["path"] or request.method not in ("GET", "HEAD"):
        return None
    scope = {**request.scope, "path": path}
    if not any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
        return None
    query = request.url.query
    return quote(path) + (f"?{query}" if query else "")
