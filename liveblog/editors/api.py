"""The editors' API: from HTTP to a call of `Publishing`, and back to JSON.

`_TABLE` is the whole of it: which method on which path is which call. What a call needs from a
request is checked here (headers, query, body, in that order); what it does, and who may do it, is
publishing's. Everything under /api/ is answered as JSON, paths and methods that are not there too.

Rules: no Redis, no permission, no HTML. A handler reads, asks once, and answers.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from liveblog.blog.fields import IDEMPOTENCY_KEY_MAX, decode_json
from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown, not_found
from liveblog.blog.shapes import blog_json, entry_json
from liveblog.editors.auth import caller_of, problem_response, read_body, site_url
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import LIST_MAX
from liveblog.editors.results import BlogResult, DeleteResult, EntryResult
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

LIST_DEFAULT: Final = 50

_JSON: Final = ("application/json",)
_PATCH: Final = ("application/json", "application/merge-patch+json")  # RFC 7396, section 4
_KEY: Final = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}")
_REVISION: Final = re.compile(r'"([0-9]{1,9})"', re.ASCII)
_ETAG: Final = re.compile(r'(W/)?"[!#-~\x80-\xff]*"')  # RFC 9110, section 8.8.3

# What `type` in a problem points to: name -> what it means and what to do.
PROBLEMS: Final = {
    "ambiguous-credentials": "The request names more than one caller. Send a token or a session.",
    "bad-header": "A header of the request does not have the form that the detail states.",
    "bad-parameter": "A parameter in the URL is not one of those that the detail states.",
    "broken-json": "The body is not JSON in UTF-8.",
    "busy": "Too much of this is going on at once. Repeat it after the seconds in Retry-After.",
    "conflict": "What is stored does not allow it: a name is taken, a blog has ended, a status"
    " cannot follow. The detail says which.",
    "fault": "A fault of the server's own, which is in its log.",
    "forbidden": "The caller is known and may not do this; a role or a page's origin is missing.",
    "gone": "It was here and was deleted or taken down.",
    "idempotency-key-reused": "The Idempotency-Key was used for another request in the last 24"
    " hours. Make a new key for each new request.",
    "if-match-needed": "An edit of text needs If-Match with the revision that was edited, so that"
    " nobody overwrites what they have not seen.",
    "incomplete": "The connection ended before the request did.",
    "invalid-field": "A field breaks a rule; `errors` has a pointer to each, with limit and value.",
    "method-not-allowed": "The address is right and the method is not; see the header Allow.",
    "not-found": "There is no such thing, or this caller may not see it.",
    "revision-conflict": "Somebody else saved the entry in between. `current` is their version:"
    " merge, and send again with its revision.",
    "sign-in-refused": "The name or the password is wrong.",
    "store-down": "The store cannot be reached. A write may or may not have happened: repeat it"
    " with the same Idempotency-Key.",
    "too-large": "The body has more than 1 MiB.",
    "too-many-tries": "Repeat it after the seconds in Retry-After.",
    "too-slow": "The body did not arrive in time.",
    "unauthorized": "No valid token or session came with the request.",
    "unsupported-media-type": "Send the body as application/json, not compressed.",
}


class Ask(NamedTuple):
    """One call, once it is known who asks."""

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


Handler = Callable[[Ask], Awaitable[Response]]


def routes(publishing: Publishing, accounts: Accounts, settings: Settings) -> list[BaseRoute]:
    """Return the routes of the API and of the pages that explain its problems."""
    paths = [
        Route(path, _Path(calls, publishing, accounts, settings)) for path, calls in _TABLE.items()
    ]
    return [*paths, Route("/problems/{name}", _explain)]


class _Path:
    """One path of the API: finds the call by method, and answers what goes wrong as problem+json.

    An ASGI app and not a function, since Starlette answers a function's wrong methods itself, as
    text.
    """

    def __init__(
        self,
        calls: Mapping[str, Handler],
        publishing: Publishing,
        accounts: Accounts,
        settings: Settings,
    ) -> None:
        self._calls, self._publishing = calls, publishing
        self._accounts, self._settings = accounts, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except (Problem, StoreDown) as problem:
            response = problem_response(problem)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not self._calls:
            raise not_found("The API has no such address.")
        handler = self._calls.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            return self._not_allowed(request.method)
        caller = await caller_of(request, self._accounts, self._settings)
        site = site_url(request, self._settings)
        return await handler(Ask(request, caller, self._publishing, site))

    def _not_allowed(self, method: str) -> Response:
        allowed = ", ".join(self._calls)
        problem = Problem(405, "method-not-allowed", f"{method[:20]} is not among {allowed}.")
        response = problem_response(problem)
        response.headers["Allow"] = allowed
        return response


# -- blogs


async def _blogs(ask: Ask) -> Response:
    found = await ask.publishing.blogs(ask.caller)
    return _json({"blogs": [blog_json(at.blog, at.position, ask.site) for at in found]})


async def _create_blog(ask: Ask) -> Response:
    key, fields = _idempotency_key(ask.request), await _fields(ask.request, _JSON)
    made = await ask.publishing.create_blog(ask.caller, fields, key)
    return _blog(ask, made, {"Location": f"/api/blogs/{made.blog.slug}"})


async def _get_blog(ask: Ask) -> Response:
    return _blog(ask, await ask.publishing.blog(ask.caller, ask.slug))


async def _edit_blog(ask: Ask) -> Response:
    key, fields = _idempotency_key(ask.request), await _fields(ask.request, _PATCH)
    return _blog(ask, await ask.publishing.edit_blog(ask.caller, ask.slug, fields, key))


def _blog(ask: Ask, at: BlogResult, headers: dict[str, str] | None = None) -> Response:
    content = blog_json(at.blog, at.position, ask.site)
    return _json(content, at.status, headers, replayed=at.replayed)


# -- entries


async def _entries(ask: Ask) -> Response:
    query = ask.request.query_params
    found, following = await ask.publishing.entries(
        ask.caller,
        ask.slug,
        before=query.get("before") or None,
        limit=_limit(query.get("limit") or str(LIST_DEFAULT)),
        status=query.get("status") or "published",
    )
    return _json({"entries": [_entry_json(ask, at) for at in found], "next": following})


async def _create_entry(ask: Ask) -> Response:
    key, fields = _idempotency_key(ask.request), await _fields(ask.request, _JSON)
    made = await ask.publishing.create_entry(ask.caller, ask.slug, fields, key)
    return _entry(ask, made, {"Location": f"/api/blogs/{ask.slug}/entries/{made.entry.id}"})


async def _get_entry(ask: Ask) -> Response:
    return _entry(ask, await ask.publishing.entry(ask.caller, ask.slug, ask.id))


async def _edit_entry(ask: Ask) -> Response:
    key, revision = _idempotency_key(ask.request), _if_match(ask.request)
    fields = await _fields(ask.request, _PATCH)
    try:
        edited = await ask.publishing.edit_entry(
            ask.caller, ask.slug, ask.id, fields, revision, key
        )
    except Problem as problem:
        current = problem.extra.get("current")
        if not isinstance(current, EntryResult):
            raise
        problem.extra["current"] = _entry_json(ask, current)
        return problem_response(problem)
    return _entry(ask, edited)


async def _delete_entry(ask: Ask) -> Response:
    key, takedown = _idempotency_key(ask.request), _takedown(ask.request)
    done = await ask.publishing.delete_entry(ask.caller, ask.slug, ask.id, takedown, key)
    return _json(_deleted_json(done), replayed=done.replayed)


async def _restore_entry(ask: Ask) -> Response:
    key = _idempotency_key(ask.request)
    return _entry(ask, await ask.publishing.restore_entry(ask.caller, ask.slug, ask.id, key))


def _entry(ask: Ask, at: EntryResult, headers: dict[str, str] | None = None) -> Response:
    headers = {"ETag": f'"{at.entry.revision}"', **(headers or {})}
    return _json(_entry_json(ask, at), at.status, headers, replayed=at.replayed)


def _entry_json(ask: Ask, at: EntryResult) -> dict[str, Any]:
    return entry_json(at.entry, ask.slug, at.position, ask.site)


def _deleted_json(done: DeleteResult) -> dict[str, Any]:
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


# -- what a request holds


def _idempotency_key(request: Request) -> str | None:
    """Return the caller's key for this call, None without one; 422 when it has another form."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        rule = f"1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"
        raise _bad_header(f"Idempotency-Key must be one key of {rule}, not {given[0][:80]!r}.")
    return given[0]


def _if_match(request: Request) -> int | None:
    """Return the revision in If-Match, None without the header.

    An entity tag that is not a revision of ours cannot match any: 0, which no entry has. `*` and
    lists are refused: they say "whatever is there", and what must not happen is overwriting unseen.
    """
    given = ", ".join(request.headers.getlist("if-match"))
    if "if-match" not in request.headers:
        return None
    revision = _REVISION.fullmatch(given)
    if not revision and not _ETAG.fullmatch(given):
        raise _bad_header(f'If-Match must be one revision in quotes like "3", not {given[:80]!r}.')
    return int(revision[1]) if revision else 0


def _bad_header(detail: str) -> Problem:
    return Problem(422, "bad-header", detail)


def _limit(given: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", given, re.ASCII) or not 1 <= int(given) <= LIST_MAX:
        raise _bad_parameter(f"limit must be from 1 to {LIST_MAX}, not {given[:40]!r}.")
    return int(given)


def _takedown(request: Request) -> bool:
    """Say whether the entry is to be erased; a misspelt yes must not pass for a no."""
    given = request.query_params.get("takedown", "0")
    if given not in ("0", "1"):
        raise _bad_parameter(f"takedown must be 1 or 0, not {given[:40]!r}.")
    return given == "1"


def _bad_parameter(detail: str) -> Problem:
    return Problem(422, "bad-parameter", detail)


async def _fields(request: Request, media_types: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON object in the body. Raises Problem 415, 413, 400 or 422, in this order."""
    _check_media_type(request, media_types)
    fields: dict[str, Any] = decode_json(await read_body(request))
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
        raise _unsupported(f"The body must not be compressed; it says {encoding[:40]!r}.")


def _unsupported(detail: str) -> Problem:
    return Problem(415, "unsupported-media-type", detail)


# -- what an answer holds


def _json(
    content: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    replayed: bool = False,
) -> Response:
    headers = {"Cache-Control": "no-store", **(headers or {})}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(orjson.dumps(content), status, headers, "application/json")


async def _explain(request: Request) -> Response:
    """Answer what a problem's `type` points to, for people who follow it."""
    name = str(request.path_params["name"])
    if name not in PROBLEMS:
        return problem_response(not_found(f"There is no problem named {name[:80]!r}."))
    return PlainTextResponse(f"{name}\n\n{PROBLEMS[name]}\n")
