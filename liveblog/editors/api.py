"""The editors' JSON API: from an HTTP request to a call of `Publishing`, and back to JSON.

`_TABLE` maps each path and method to its handler. A handler checks the request's headers, query and
body, in this order; `Publishing` checks the permission and makes the change. Every answer under
/api/ is JSON, also for an unknown path or method.

Rules: no Redis, no permission checks, no HTML. A handler makes one call of `Publishing`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Caller, Entry
from liveblog.blog.problem import PROBLEMS, Problem, StoreDown, not_found
from liveblog.blog.shapes import Shape, blog_json, entry_json, revision_json, saved_json
from liveblog.editors import cors, requests
from liveblog.editors.auth import caller_of, site_url
from liveblog.editors.bin import Binned
from liveblog.editors.bodies import Bodies, count_in
from liveblog.editors.decisions import Revisions
from liveblog.editors.history import REVISIONS_AT_ONCE, RevisionPage
from liveblog.editors.previews import Previews
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import BLOGS_MAX, LIST_MAX, BlogSearch
from liveblog.editors.results import (
    BlogResult,
    DeleteResult,
    EntryResult,
    HeaderConflict,
    RevisionConflict,
)
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

LIST_DEFAULT: Final = 50

# Cache-Control of answers to editors. A proxy that compresses an answer would alter its tag, and
# no-transform forbids this (RFC 9111, section 5.2.2.6).
PRIVATE: Final = "no-store, no-transform"


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

    @property
    def revision(self) -> int:
        return requests.revision_in_path(self.request)

    @property
    def key(self) -> str | None:
        return requests.idempotency_key(self.request)

    @property
    def seen(self) -> Revisions | None:
        return requests.if_match(self.request)

    @property
    def page(self) -> tuple[int | None, int]:
        """The revision before which a page of revisions begins, and the length of the page."""
        query = self.request.query_params
        limit = requests.limit(query, LIST_DEFAULT, REVISIONS_AT_ONCE)
        return requests.revision_before(query), limit


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
        fields = await requests.fields(call.request, requests.JSON)
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
        limit=requests.limit(query, BLOGS_MAX, BLOGS_MAX),
        search=BlogSearch(query.get("q") or "", query.get("status") or ""),
    )
    blogs = [blog_json(at.blog, at.position, call.site) for at in page.blogs]
    return _json({"blogs": blogs, "next": page.next, "damaged": page.damaged})


async def _create_blog(call: Call) -> Response:
    key, fields = call.key, await requests.fields(call.request, requests.JSON)
    made = await call.publishing.create_blog(call.caller, fields, key)
    return _blog(call, made, {"Location": f"/api/blogs/{made.blog.slug}"})


async def _get_blog(call: Call) -> Response:
    return _blog(call, await call.publishing.blog(call.caller, call.slug))


async def _edit_blog(call: Call) -> Response:
    key, seen = call.key, call.seen
    fields = await requests.fields(call.request, requests.PATCH)
    edit = call.publishing.edit_blog(call.caller, call.slug, fields, key, seen)
    return await _saved_blog(call, edit)


async def _headers(call: Call) -> Response:
    page = await call.publishing.history.headers(call.caller, call.slug, *call.page)
    return _revisions_json(page)


async def _header(call: Call) -> Response:
    blog = await call.publishing.history.header(call.caller, call.slug, call.revision)
    return _json(blog_json(blog, None, call.site) | saved_json(blog))


async def _restore_header(call: Call) -> Response:
    restore = call.publishing.headers.restore
    restored = restore(call.caller, call.slug, call.revision, call.key, call.seen)
    return await _saved_blog(call, restored)


async def _erase_header(call: Call) -> Response:
    return await _erased(call, call.revision)


async def _erase_headers(call: Call) -> Response:
    return await _erased(call, None)


async def _erased(call: Call, revision: int | None) -> Response:
    done = await call.publishing.headers.erase(call.caller, call.slug, revision, call.key)
    return _json({"revisions_erased": done.revisions_erased}, replayed=done.replayed)


async def _saved_blog(call: Call, work: Awaitable[BlogResult]) -> Response:
    """Answer with the blog that a write of its header returns; a 412 has the stored one."""
    try:
        return _blog(call, await work)
    except HeaderConflict as conflict:
        current = conflict.current
        conflict.extra["current"] = blog_json(current.blog, current.position, call.site)
        raise


def _blog(call: Call, at: BlogResult, headers: dict[str, str] | None = None) -> Response:
    headers = {"ETag": f'"{at.blog.revision}"', **(headers or {})}
    content = blog_json(at.blog, at.position, call.site)
    return _json(content, at.status, headers, replayed=at.replayed)


# -- entries


async def _entries(call: Call) -> Response:
    query = call.request.query_params
    page = await call.publishing.entries(
        call.caller,
        call.slug,
        before=query.get("before") or None,
        limit=requests.limit(query, LIST_DEFAULT, LIST_MAX),
        status=query.get("status") or "published",
    )
    shown = [_entry_json(call, at) for at in page.entries]
    return _json({"entries": shown, "next": page.before, "damaged": page.damaged})


async def _create_entry(call: Call) -> Response:
    key, fields = call.key, await requests.fields(call.request, requests.JSON)
    made = await call.publishing.create_entry(call.caller, call.slug, fields, key)
    return _entry(call, made, {"Location": f"/api/blogs/{call.slug}/entries/{made.entry.id}"})


async def _get_entry(call: Call) -> Response:
    return _entry(call, await call.publishing.entry(call.caller, call.slug, call.id))


async def _edit_entry(call: Call) -> Response:
    key, seen = call.key, call.seen
    fields = await requests.fields(call.request, requests.PATCH)
    edit = call.publishing.edit_entry(call.caller, call.slug, call.id, fields, seen, key)
    return await _saved_entry(call, edit)


async def _delete_entry(call: Call) -> Response:
    key, takedown = call.key, requests.takedown(call.request)
    done = await call.publishing.delete_entry(call.caller, call.slug, call.id, takedown, key)
    return _json(_deleted_json(done), replayed=done.replayed)


async def _bin(call: Call) -> Response:
    query = call.request.query_params
    page = await call.publishing.bin.page(
        call.caller,
        call.slug,
        before=query.get("before") or None,
        limit=requests.limit(query, LIST_DEFAULT, LIST_MAX),
    )
    shown = [_binned_json(call, it) for it in page.entries]
    return _json({"entries": shown, "next": page.before, "damaged": page.damaged})


def _binned_json(call: Call, it: Binned) -> Shape:
    times = {"deleted_at": format_time(it.deleted_at), "erased_at": format_time(it.erased_at)}
    return {**_entry_json(call, it.result), **times}


async def _restore_entry(call: Call) -> Response:
    key = call.key
    return _entry(call, await call.publishing.restore_entry(call.caller, call.slug, call.id, key))


async def _revisions(call: Call) -> Response:
    page = await call.publishing.history.entries(call.caller, call.slug, call.id, *call.page)
    return _revisions_json(page)


async def _revision(call: Call) -> Response:
    history, revision = call.publishing.history, call.revision
    entry = await history.entry(call.caller, call.slug, call.id, revision)
    return _json(entry_json(entry, call.slug, None, call.site) | saved_json(entry))


async def _restore_revision(call: Call) -> Response:
    restore = call.publishing.restore_revision
    restored = restore(call.caller, call.slug, call.id, call.revision, call.seen, call.key)
    return await _saved_entry(call, restored)


async def _saved_entry(call: Call, work: Awaitable[EntryResult]) -> Response:
    """Answer with the entry that an edit returns; a 412 has the stored one."""
    try:
        return _entry(call, await work)
    except RevisionConflict as conflict:
        conflict.extra["current"] = _entry_json(call, conflict.current)
        raise


def _entry(call: Call, at: EntryResult, headers: dict[str, str] | None = None) -> Response:
    headers = {"ETag": f'"{at.entry.revision}"', **(headers or {})}
    return _json(_entry_json(call, at), at.status, headers, replayed=at.replayed)


def _entry_json(call: Call, at: EntryResult) -> Shape:
    return entry_json(at.entry, call.slug, at.position, call.site)


def _revisions_json(page: RevisionPage[Blog] | RevisionPage[Entry]) -> Response:
    revisions = [revision_json(it) for it in page.revisions]
    return _json({"revisions": revisions, "next": page.next})


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
    "/api/blogs/{slug}/revisions": {"GET": _headers, "DELETE": _erase_headers},
    "/api/blogs/{slug}/revisions/{n}": {"GET": _header, "DELETE": _erase_header},
    "/api/blogs/{slug}/revisions/{n}/restore": {"POST": _restore_header},
    "/api/blogs/{slug}/bin": {"GET": _bin},
    "/api/blogs/{slug}/entries": {"GET": _entries, "POST": _create_entry},
    "/api/blogs/{slug}/entries/{id}": {
        "GET": _get_entry,
        "PATCH": _edit_entry,
        "DELETE": _delete_entry,
    },
    "/api/blogs/{slug}/entries/{id}/restore": {"POST": _restore_entry},
    "/api/blogs/{slug}/entries/{id}/revisions": {"GET": _revisions},
    "/api/blogs/{slug}/entries/{id}/revisions/{n}": {"GET": _revision},
    "/api/blogs/{slug}/entries/{id}/revisions/{n}/restore": {"POST": _restore_revision},
    "/api": {},
    "/api/{path:path}": {},
}


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
