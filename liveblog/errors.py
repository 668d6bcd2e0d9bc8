"""The answers to requests that fail: a page for browsers, a problem as JSON for everything else.

Rules: an answer says what the caller can do. Details of a fault of ours go to the log only.
"""

from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ExceptionHandler

from liveblog.blog.problem import Problem, StoreDown
from liveblog.editors import auth
from liveblog.pages import page


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem | StoreDown)
    shown = page.problem_page(error) if page.wants_page(request) else None
    return shown or auth.problem_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = _path_without_slashes(request) if error.status_code == 404 else None
    if path:
        return RedirectResponse(path, headers={"cache-control": "no-store"})
    name = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
    answer = await _on_problem(request, Problem(error.status_code, name, error.detail))
    for header, value in (error.headers or {}).items():
        answer.headers[header] = value
    return answer


def _path_without_slashes(request: Request) -> str | None:
    """Return the request's path and query without the slashes at the path's end.

    None when the path has none, when no route has the shorter path, and for unsafe methods.
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


async def _on_fault(_: Request, __: Exception) -> Response:
    """Answer for a fault of ours. Starlette re-raises it, and the server logs the traceback.

    uvicorn closes the connection after a fault, so a caller that would reuse it must know.
    """
    detail = "Internal server error. It has been logged."
    answer = auth.problem_response(Problem(500, "fault", detail))
    answer.headers["connection"] = "close"
    return answer


HANDLERS: Final[dict[type[Exception], ExceptionHandler]] = {
    Problem: _on_problem,
    StoreDown: _on_problem,
    HTTPException: _on_http_error,
    Exception: _on_fault,
}
