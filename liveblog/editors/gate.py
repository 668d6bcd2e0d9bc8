"""The gate of the desk: admits signed-in editors, and shows problems as pages, or JSON to scripts.

An editor's text is never lost. While the store is unreachable, or after the session expired, the
problem's page contains the text. A button there sends the text again, under its Idempotency-Key.
The same holds for a page that was made for another editor than the one who is signed in now.

Rules: no Redis, no HTML in strings, no permission to write (publishing decides that). Every answer
is `no-store`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from liveblog.blog.fields import BODY_BYTES_MAX
from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown, invalid
from liveblog.editors import answers, auth, forms, owner, reasons
from liveblog.editors.answers import wants_json
from liveblog.editors.bodies import SIGN_IN_BODY_BYTES_MAX, AllBodies, bodies_of, count_in
from liveblog.editors.forms import Boxes
from liveblog.editors.problems import Problems
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

Endpoint = Callable[[Request], Awaitable[Response]]
EditorEndpoint = Callable[[Request, Caller], Awaitable[Response]]

_TITLES: Final = {
    401: "You are signed out",
    403: "Not allowed",
    404: "Not found",
    410: "Deleted",
    413: "Too long to send",
}
OTHER_EDITOR: Final = "Someone else is signed in"
UNREAD: Final = (408, 413, 503)  # statuses of problems for which a body was not read
UNAVAILABLE_SIGN_IN: Final = "Signing in is unavailable right now"
UNAFFECTED: Final = "Readers are not affected."
SIGN_IN: Final = "/desk/sign-in"
ACCOUNT_FORM: Final = "/desk/password"
_DESK_PATH: Final = re.compile(
    r"/desk(/account|/blogs/[a-z0-9-]+(/bin|/preview|/entries/e[0-9a-z]{12}|/header/revisions)?)?"
)


class Gate:
    """Makes the desk's routes, and answers the requests for signing in and out."""

    def __init__(
        self,
        accounts: Accounts,
        settings: Settings,
        pages: Pages,
        problems: Problems,
        bodies: AllBodies,
    ) -> None:
        self._accounts, self._settings = accounts, settings
        self._pages, self._problems, self._bodies = pages, problems, bodies

    # -- routes

    def routes(self) -> list[BaseRoute]:
        """Return the routes for signing in and out."""
        return [
            Route(SIGN_IN, self._open(self._sign_in_page), methods=["GET"]),
            Route(SIGN_IN, self._open(self._sign_in), methods=["POST"]),
            Route("/desk/sign-out", self._open(self._sign_out), methods=["POST"]),
        ]

    def get(self, path: str, endpoint: EditorEndpoint) -> Route:
        """Return the route of a page for editors."""
        return Route(path, self._signed_in(endpoint), methods=["GET"])

    def post(self, path: str, endpoint: EditorEndpoint) -> Route:
        """Return the route of a form."""
        return Route(path, self._signed_in(endpoint), methods=["POST"])

    def script(self, method: str, path: str, endpoint: EditorEndpoint) -> Route:
        """Return the route of a call of the desk's scripts, which is answered in JSON only."""
        admitted = self._signed_in(endpoint)

        async def answer(request: Request) -> Response:
            request.state.is_script = True
            return await admitted(request)

        return Route(path, answer, methods=[method])

    # -- admission

    def _signed_in(self, endpoint: EditorEndpoint) -> Endpoint:
        """Return an endpoint that admits signed-in editors, and sends everyone else to sign in.

        Rejects what a page sends that was made for another editor (owner.py).
        """

        async def answer(request: Request) -> Response:
            caller = await auth.caller_of(request, self._accounts, self._settings)
            count_in(request, self._bodies.editors)
            request.state.caller = caller
            owner.check_header(request, caller)
            return await endpoint(request, caller)

        return self._open(answer)

    def _open(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint that admits everyone, shows problems as pages and forbids caching."""

        async def answer(request: Request) -> Response:
            count_in(request, self._bodies.strangers)
            try:
                response = await endpoint(request)
            except StoreDown as error:
                problem = self._problems.store_down(error, request.method)
                response = await self._problem(request, problem)
            except Problem as problem:
                response = await self._problem(request, problem)
            response.headers["Cache-Control"] = "no-store"
            return response

        return answer

    # -- signing in and out

    async def _sign_in_page(self, request: Request) -> Response:
        path = _desk_path(request.query_params.get("next", ""))
        try:
            await auth.caller_of(request, self._accounts, self._settings)
        except Problem:
            return self._sign_in_form(path)
        return RedirectResponse(path, 303)

    async def _sign_in(self, request: Request) -> Response:
        auth.warn_of_ignored_proxy(request)
        boxes = await read_form(request, SIGN_IN_BODY_BYTES_MAX)
        name, password = boxes.get("name", "").strip(), boxes.get("password", "")
        path = _desk_path(boxes.get("next", ""))
        try:
            _check_given(name, password)
            signed_in = await auth.sign_in(request, self._accounts, self._settings, name, password)
        except Problem as problem:
            view = forms.rejected(boxes, problem)
            answers.explain(problem, view)
            if problem.status not in (401, 422, 429) or wants_json(request):
                raise
            return self._sign_in_form(path, name, problem, view.problem)
        response = _signed_in(request, signed_in.caller, path)
        auth.set_cookies(response, request, self._settings, signed_in)
        return response

    async def _sign_out(self, request: Request) -> Response:
        await auth.sign_out(request, self._accounts, self._settings)
        response = RedirectResponse(SIGN_IN, 303)
        auth.clear_session_cookie(response, request, self._settings)
        return response

    def _sign_in_form(
        self, path: str, name: str = "", problem: Problem | None = None, reason: str = ""
    ) -> Response:
        html = self._pages.desk("sign_in", editor=None, next=path, name=name, problem=reason)
        return page_response(html, problem.status if problem else 200, problem)

    # -- problems

    async def _problem(self, request: Request, problem: Problem) -> Response:
        """Answer a script with JSON, and a browser with a page."""
        if wants_json(request):
            return self._problems.response(answers.for_script(problem), request.method)
        return await self._problem_page(request, problem)

    async def _problem_page(self, request: Request, problem: Problem) -> Response:
        """Answer with the problem's page, which contains the editor's text to send again.

        The page repeats the form only if the same form may succeed later, or if the editor wrote a
        text. When the server has not read the form, the page explains where the text is.
        """
        boxes, is_unread = await self._own_form(request), False
        if isinstance(boxes, Problem):
            is_unread = boxes.status in UNREAD
            if problem.status == 401 and is_unread:
                problem = boxes  # a redirect to sign in would lose the text silently
            boxes = {}
        signed_out, is_others = problem.status == 401, problem.name == "other-editor"
        may_succeed = problem.status in (401, 503) or is_others
        if not may_succeed and not forms.has_words(boxes):
            boxes = {}
        if signed_out and not boxes:
            return _redirect_to_sign_in(request)
        title, detail = _title_and_detail(problem, request.url.path)
        caller: Caller | None = getattr(request.state, "caller", None)
        if is_others and caller and boxes:
            boxes = {**boxes, "editor": caller.ident}
        if problem.name == "store-down" and boxes:
            boxes = {**boxes, owner.TRIED: "1"}
        html = self._pages.desk(
            "problem",
            editor=None,
            title=title,
            detail=detail,
            action=request.url.path,
            again=_desk_path(request.url.path),
            form=forms.pairs(boxes),
            is_unread=is_unread,
            signed_out=signed_out,
            other=caller if is_others else None,
        )
        return page_response(html, problem.status, problem)

    async def _own_form(self, request: Request) -> Boxes | Problem:
        """Return the boxes (input names and texts) of the form that a page of this site sent.

        Return no boxes for a form of another site, and none for a form that contains a password.
        Return the problem of a form that cannot be read.
        """
        is_own = auth.is_own_page(request, self._settings)
        if request.method != "POST" or not is_own or request.url.path in (SIGN_IN, ACCOUNT_FORM):
            return {}
        try:
            return await _boxes(request)
        except Problem as problem:
            return problem


def page_response(html: str, status: int = 200, problem: Problem | None = None) -> Response:
    """Return the HTTP answer that contains a page, with the problem's Retry-After if any."""
    headers = {}
    if problem and problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return Response(html, status, headers, "text/html")


async def read_form(request: Request, bytes_max: int = BODY_BYTES_MAX) -> Boxes:
    """Return the boxes of the form that the request contains.

    Raises Problem: 415, what `Bodies.read` raises, 400 for a body that is not a form in UTF-8, 409
    for a form on a page that was made for another editor.
    """
    boxes = await _boxes(request, bytes_max)
    owner.check_box(request, boxes)
    return boxes


async def _boxes(request: Request, bytes_max: int = BODY_BYTES_MAX) -> Boxes:
    forms.check_form_type(request.headers.get("content-type", "text/plain"))
    return forms.decode(await _body_once(request, bytes_max))


async def _body_once(request: Request, bytes_max: int) -> bytes:
    """Return the request's body; a second call, for a problem's page, returns the same body.

    After the first call failed, a second one raises the same problem, and does not wait again.
    """
    if not hasattr(request.state, "body"):
        try:
            request.state.body = await bodies_of(request).read(request, bytes_max)
        except Problem as problem:
            request.state.body = problem
    body: bytes | Problem = request.state.body
    if isinstance(body, Problem):
        raise body
    return body


def _title_and_detail(problem: Problem, path: str) -> tuple[str, str]:
    if problem.status == 401:
        return _TITLES[401], "Your session has expired."
    if problem.name == "other-editor":
        return OTHER_EDITOR, str(problem.extra["reason"])
    if problem.name == "store-down":
        detail = "The desk cannot load or save anything at the moment."
        return reasons.UNAVAILABLE, f"{detail} {UNAFFECTED}"
    if problem.name == "store-refuses":
        title = UNAVAILABLE_SIGN_IN if path == SIGN_IN else reasons.UNAVAILABLE
        return title, f"{problem.detail} {UNAFFECTED}"
    return _TITLES.get(problem.status, "The request failed"), reasons.sentence(problem.detail)


def _check_given(name: str, password: str) -> None:
    """Raise Problem 422 for an empty name or password."""
    given = {"/name": name, "/password": password}
    if missing := [(box, "must not be empty") for box, text in given.items() if not text]:
        raise invalid(*missing)


def _signed_in(request: Request, caller: Caller, path: str) -> Response:
    """Answer to a browser with a redirect, to a script with the editor who has signed in."""
    if not wants_json(request):
        return RedirectResponse(path, 303)
    editor = {"editor": caller.ident, "name": caller.name, "role": caller.role}
    return Response(orjson.dumps(editor), media_type="application/json")


def _redirect_to_sign_in(request: Request) -> Response:
    path = request.url.path if request.method == "GET" else ""
    return RedirectResponse(f"{SIGN_IN}?next={quote(_desk_path(path))}", 303)


def _desk_path(path: str) -> str:
    """Return the page to open after signing in: `path` if it is a desk page, else "/desk"."""
    return path if _DESK_PATH.fullmatch(path) else "/desk"
