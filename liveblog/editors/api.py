"""The editors' JSON API: from an HTTP request to a call of `Publishing`, and back to JSON.

`_TABLE` maps each path and method to its handler. A handler checks the request's headers, query and
body, in this order; `Publishing` checks the permission and makes the change. Every answer under
/api/ is JSON, also for an unknown path or method.

Rules: no Redis, no permission checks, no HTML. A handler makes one call of `Publishing`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from liveblog.blog.fields import IDEMPOTENCY_KEY_MAX, decode_json
from liveblog.blog.instant import format_time
from liveblog.blog.model import Caller
from liveblog.blog.problem import PROBLEMS, Problem, StoreDown, not_found
from liveblog.blog.shapes import Shape, blog_json, entry_json
from liveblog.editors import cors
from liveblog.editors.auth import caller_of, site_url
from liveblog.editors.bin import Binned
from liveblog.editors.bodies import Bodies, bodies_of, count_in
from liveblog.editors.decisions import ANY_REVISION, Revisions
from liveblog.editors.previews import Previews
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import BLOGS_MAX, LIST_MAX, BlogSearch
from liveblog.editors.results import BlogResult, DeleteResult, EntryResult, RevisionConflict
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

LIST_DEFAULT: Final = 50
IF_MATCH_MAX: Final = 50  # tags in one If-Match

# Cache-Control of answers to editors. A proxy that compresses an answer would alter its tag, and
# no-transform forbids this (RFC 9111, section 5.2.2.6).
PRIVATE: Final = "no-store, no-transform"
_JSON: Final = ("application/json",)
_PATCH: Final = ("application/json", "application/merge-patch+json")  # RFC 7396, section 4
_KEY: Final = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}")
_ETAG: Final = re.compile(r'(?:W/)?"([!#-~\x80-\xff]*)"')  # RFC 9110, section 8.8.3
_ETAGS: Final = re.compile(rf"(?:[ \t,]*{_ETAG.pattern}[ \t]*(?:,|$))+[ \t,]*")
# Proxies that compress an answer append a suffix to its tag: Apache "-gzip" or "--gzip", others
# ";gzip"; likewise for br, zstd and deflate. nginx appends none and adds W/.
_TAG_SUFFIX: Final = re.compile(r"(?:--?|;)(?:gzip|br|zstd|deflate)$")
_REVISION: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class Call(NamedTuple):
    """One API request of an authenticated caller; `site` is this site's address."""

    request: Request
    caller: Caller
    publishing: Publishing
    site: str

    @property
    def slug(self) -> str:
        return str(self.request.path_params["slug"])

    @property
    def id(self) -> str:
        return str(self.request.path_params["id"])


Handler = Callable[[Call], Awaitable[Response]]


def routes(
    publishing: Publishing,
    accounts: Accounts,
    settings: Settings,
    problems: Problems,
    bodies: Bodies,
    previews: Previews,
) -> list[BaseRoute]:
    """Return the routes of the API, and of the pages that explain its problems (RFC 9457)."""

    async def preview(call: Call) -> Response:
        fields = await _fields(call.request, _JSON)
        return _json({"html": await previews.html(call.caller, call.slug, fields)})

    async def explain(request: Request) -> Response:
        return _explanation(str(request.path_params["name"]), problems)

    table: dict[str, dict[str, Handler]]
    table = {"/api/blogs/{slug}/preview": {"POST": preview}, **_TABLE}
    paths = [
        Route(path, _Path(handlers, publishing, accounts, settings, problems, bodies))
        for path, handlers in table.items()
    ]
    return [*paths, Route("/problems/{name}", explain)]


class _Path:
    """Answers one path of the API: calls the handler of the method, and reports problems as JSON.

    This is an ASGI app and not a function. For a function, Starlette itself would reject a wrong
    method, with an answer in plain text.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        publishing: Publishing,
        accounts: Accounts,
        settings: Settings,
        problems: Problems,
        bodies: Bodies,
    ) -> None:
        self._handlers, self._publishing, self._bodies = handlers, publishing, bodies
        self._accounts, self._settings, self._problems = accounts, settings, problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except (Problem, StoreDown) as problem:
            response = self._problems.response(problem, request.method)
        response.headers["Cache-Control"] = PRIVATE
        cors.add_headers(response, request, self._settings.site)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if cors.is_preflight(request):
            return cors.preflight(request, self._settings, self._handlers)
        if not self._handlers:
            raise not_found("The API has no such path.")
        handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            return self._not_allowed(request.method)
        caller = await caller_of(request, self._accounts, self._settings)
        count_in(request, self._bodies)
        site = site_url(request, self._settings)
        return await handler(Call(request, caller, self._publishing, site))

    def _not_allowed(self, method: str) -> Response:
        allowed = ", ".join(self._handlers)
        detail = f"{method[:20]} is not allowed here; allowed: {allowed}."
        response = self._problems.response(Problem(405, "method-not-allowed", detail))
        response.headers["Allow"] = allowed
        return response


# -- blogs


async def _blogs(call: Call) -> Response:
    query = call.request.query_params
    page = await call.publishing.blogs(
        call.caller,
        before=query.get("before") or None,
        limit=_limit(query.get("limit") or str(BLOGS_MAX), BLOGS_MAX),
        search=BlogSearch(query.get("q") or "", query.get("status") or ""),
    )
    blogs = [blog_json(at.blog, at.position, call.site) for at in page.blogs]
    return _json({"blogs": blogs, "next": page.next, "damaged": page.damaged})


async def _create_blog(call: Call) -> Response:
    key, fields = _idempotency_key(call.request), await _fields(call.request, _JSON)
    made = await call.publishing.create_blog(call.caller, fields, key)
    return _blog(call, made, {"Location": f"/api/blogs/{made.blog.slug}"})


async def _get_blog(call: Call) -> Response:
    return _blog(call, await call.publishing.blog(call.caller, call.slug))


async def _edit_blog(call: Call) -> Response:
    key, fields = _idempotency_key(call.request), await _fields(call.request, _PATCH)
    return _blog(call, await call.publishing.edit_blog(call.caller, call.slug, fields, key))


def _blog(call: Call, at: BlogResult, headers: dict[str, str] | None = None) -> Response:
    content = blog_json(at.blog, at.position, call.site)
    return _json(content, at.status, headers, replayed=at.replayed)


# -- entries


async def _entries(call: Call) -> Response:
    query = call.request.query_params
    page = await call.publishing.entries(
        call.caller,
        call.slug,
        before=query.get("before") or None,
        limit=_limit(query.get("limit") or str(LIST_DEFAULT), LIST_MAX),
        status=query.get("status") or "published",
    )
    shown = [_entry_json(call, at) for at in page.entries]
    return _json({"entries": shown, "next": page.before, "damaged": page.damaged})


async def _create_entry(call: Call) -> Response:
    key, fields = _idempotency_key(call.request), await _fields(call.request, _JSON)
    made = await call.publishing.create_entry(call.caller, call.slug, fields, key)
    return _entry(call, made, {"Location": f"/api/blogs/{call.slug}/entries/{made.entry.id}"})


async def _get_entry(call: Call) -> Response:
    return _entry(call, await call.publishing.entry(call.caller, call.slug, call.id))


async def _edit_entry(call: Call) -> Response:
    key, seen = _idempotency_key(call.request), _if_match(call.request)
    fields = await _fields(call.request, _PATCH)
    try:
        edited = await call.publishing.edit_entry(
            call.caller, call.slug, call.id, fields, seen, key
        )
    except RevisionConflict as conflict:
        conflict.extra["current"] = _entry_json(call, conflict.current)
        raise
    return _entry(call, edited)


async def _delete_entry(call: Call) -> Response:
    key, takedown = _idempotency_key(call.request), _takedown(call.request)
    done = await call.publishing.delete_entry(call.caller, call.slug, call.id, takedown, key)
    return _json(_deleted_json(done), replayed=done.replayed)


async def _bin(call: Call) -> Response:
    query = call.request.query_params
    page = await call.publishing.bin.page(
        call.caller,
        call.slug,
        before=query.get("before") or None,
        limit=_limit(query.get("limit") or str(LIST_DEFAULT), LIST_MAX),
    )
    shown = [_binned_json(call, it) for it in page.entries]
    return _json({"entries": shown, "next": page.before, "damaged": page.damaged})


def _binned_json(call: Call, it: Binned) -> Shape:
    times = {"deleted_at": format_time(it.deleted_at), "erased_at": format_time(it.erased_at)}
    return {**_entry_json(call, it.result), **times}


async def _restore_entry(call: Call) -> Response:
    key = _idempotency_key(call.request)
    return _entry(call, await call.publishing.restore_entry(call.caller, call.slug, call.id, key))


def _entry(call: Call, at: EntryResult, headers: dict[str, str] | None = None) -> Response:
    headers = {"ETag": f'"{at.entry.revision}"', **(headers or {})}
    return _json(_entry_json(call, at), at.status, headers, replayed=at.replayed)


def _entry_json(call: Call, at: EntryResult) -> Shape:
    return entry_json(at.entry, call.slug, at.position, call.site)


def _deleted_json(done: DeleteResult) -> Shape:
    return {
        "id": done.id,
        "offset": done.offset,
        "position": str(done.position) if done.position else None,
        "takedown": done.takedown,
        "revisions_erased": done.revisions_erased,
    }


_TABLE: Final[dict[str, dict[str, Handler]]] = {
    "/api/blogs": {"GET": _blogs, "POST": _create_blog},
    "/api/blogs/{slug}": {"GET": _get_blog, "PATCH": _edit_blog},
    "/api/blogs/{slug}/bin": {"GET": _bin},
    "/api/blogs/{slug}/entries": {"GET": _entries, "POST": _create_entry},
    "/api/blogs/{slug}/entries/{id}": {
        "GET": _get_entry,
        "PATCH": _edit_entry,
        "DELETE": _delete_entry,
    },
    "/api/blogs/{slug}/entries/{id}/restore": {"POST": _restore_entry},
    "/api": {},
    "/api/{path:path}": {},
}


# -- requests


def _idempotency_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key, None without one.

    Raises Problem 422 for an invalid key.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        rule = f"1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"
        raise _bad_header(f"Idempotency-Key must be one key of {rule}, not {given[0][:80]!r}.")
    return given[0]


def _if_match(request: Request) -> Revisions | None:
    """Return the revisions in If-Match, None without the header.

    Looser than RFC 9110, section 13.1.1: a weak tag counts as the strong one, and so does a tag
    with the suffix of a coding, because proxies that compress an answer alter its tag. A tag that
    is no revision number matches no entry. `*` matches every revision.
    """
    if "if-match" not in request.headers:
        return None
    given = ", ".join(request.headers.getlist("if-match"))
    if given.strip() == "*":
        return ANY_REVISION
    tags = _ETAG.findall(given) if _ETAGS.fullmatch(given) else []
    if not 1 <= len(tags) <= IF_MATCH_MAX:
        rule = f'* or 1 to {IF_MATCH_MAX} revisions in quotes like "3"'
        raise _bad_header(f"If-Match must be {rule}, not {given[:80]!r}.")
    names = [_TAG_SUFFIX.sub("", tag) for tag in tags]
    revisions = [int(name) for name in names if _REVISION.fullmatch(name)]
    return revisions[0] if len(revisions) == 1 else revisions


def _bad_header(detail: str) -> Problem:
    return Problem(422, "bad-header", detail)


def _limit(given: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", given, re.ASCII) or not 1 <= int(given) <= most:
        raise _bad_parameter(f"limit must be from 1 to {most}, not {given[:40]!r}.")
    return int(given)


def _takedown(request: Request) -> bool:
    """Return whether the request asks for a takedown.

    A `takedown` parameter other than 0 or 1 is rejected, so that a typing error has no effect.
    """
    given = request.query_params.get("takedown", "0")
    if given not in ("0", "1"):
        raise _bad_parameter(f"takedown must be 1 or 0, not {given[:40]!r}.")
    return given == "1"


def _bad_parameter(detail: str) -> Problem:
    return Problem(422, "bad-parameter", detail)


async def _fields(request: Request, media_types: tuple[str, ...]) -> dict[str, object]:
    """Return the JSON object in the body.

    Raises Problem: 415 for another media type, what `Bodies.read` raises, 400 for broken JSON, 422
    when the JSON is no object.
    """
    _check_media_type(request, media_types)
    fields: dict[str, object] = decode_json(await bodies_of(request).read(request))
    return fields


def _check_media_type(request: Request, media_types: tuple[str, ...]) -> None:
    given = request.headers.get("content-type", "")
    name, _, parameters = given.partition(";")
    encoding = request.headers.get("content-encoding", "identity")
    charset = re.search(r'charset\s*=\s*"?([^\s";]*)', parameters, re.IGNORECASE)
    if name.strip().lower() not in media_types:
        raise _unsupported(f"Content-Type must be {' or '.join(media_types)}, not {given[:80]!r}.")
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise _unsupported(f"The charset must be utf-8, not {charset[1][:40]!r}.")
    if encoding.lower() != "identity":
        raise _unsupported(f"The body must not be compressed; it is in {encoding[:40]!r}.")


def _unsupported(detail: str) -> Problem:
    return Problem(415, "unsupported-media-type", detail)


# -- answers


def _json(
    content: object,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    replayed: bool = False,
) -> Response:
    headers = {**(headers or {}), **({"Idempotency-Replayed": "true"} if replayed else {})}
    return Response(orjson.dumps(content), status, headers, "application/json")


def _explanation(name: str, problems: Problems) -> Response:
    """Return the page that explains a problem. The `type` of a problem+json answer links here."""
    if name not in PROBLEMS:
        return problems.response(not_found(f"There is no problem named {name[:80]!r}."))
    return PlainTextResponse(f"{name}\n\n{PROBLEMS[name]}\n")
