"""Calls of the API from pages of other origins (CORS), with an editor's session.

Only the origins of LIVEBLOG_WRITE_ORIGINS get an answer that their scripts can read. A call with a
token from a page of another site fails in the browser, since the browser asks here first.
"""

from collections.abc import Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from liveblog.editors.auth import foreign_page
from liveblog.forwarded import page_of_scope
from liveblog.origin import Site
from liveblog.settings import Settings

HEADERS: Final = "content-type, if-match, idempotency-key, authorization"
EXPOSED: Final = "etag, location, idempotency-replayed, retry-after"
PREFLIGHT_MAX_AGE_S: Final = 600  # Chromium keeps the answer to a preflight for at most two hours


def is_preflight(request: Request) -> bool:
    """Return whether a browser asks if a page of another origin may call (Fetch, section 4.8)."""
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


def preflight(request: Request, settings: Settings, methods: Iterable[str]) -> Response:
    """Answer a preflight; `methods` are those of the path. Raises Problem 403 for other origins."""
    page = page_of_scope(request.scope)
    if not settings.site.is_writer(page.origin):
        raise foreign_page(page, settings)
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
        "Cache-Control": "no-store",
    }
    return Response(status_code=204, headers=headers)


def add_headers(response: Response, request: Request, site: Site) -> None:
    """Let scripts of an allowed origin read an answer, which `Vary` keeps apart in caches."""
    if not site.writers:
        return
    response.headers.add_vary_header("Origin")
    origin = request.headers.get("origin", "")
    if site.is_writer(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
