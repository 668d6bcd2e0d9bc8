"""The editors' pages: sign-in, the list of blogs, and one blog's desk.

Every form here is a plain HTML form that posts and redirects, so the desk works without scripts;
desk.js sends the same boxes to the API instead. What an editor wrote is never lost: a refusal shows
the page again with the text in its box and the reason beside it; when the page itself cannot be
made (store away, signed out), the text is shown alone with a button that sends it again under the
same Idempotency-Key.

Rules: no Redis, no HTML in strings, no permission decided here (publishing's). Every answer is
`no-store`.
"""

import codecs
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Caller, Entry, is_entry_id, is_timezone, new_id
from liveblog.blog.problem import Problem, StoreDown
from liveblog.clock import now_ms
from liveblog.editors import auth
from liveblog.editors.publishing import Publishing
from liveblog.html import render
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

ENTRIES: Final = 30  # on one page of the desk's timeline
HELD_MAX: Final = 300  # drafts, submissions and scheduled entries shown
FORM_BOXES_MAX: Final = 100

Form = dict[str, str]
Endpoint = Callable[[Request, Caller], Awaitable[Response]]

NOTICES: Final = {
    "published": "Published.",
    "scheduled": "Scheduled.",
    "draft": "Saved as a draft.",
    "submitted": "Submitted for approval.",
    "retracted": "Retracted.",
    "saved": "Saved.",
    "deleted": "Deleted.",
    "taken-down": "Taken down: every revision is erased.",
    "restored": "Restored.",
    "created": "The blog is made.",
    "header": "The header is saved.",
    "unaltered": "Nothing was altered.",
    "ended": "Coverage has ended.",
    "reopened": "The blog is open again.",
}

_TITLES: Final = {401: "You are signed out", 403: "Not allowed", 404: "Not found", 410: "Deleted"}
_STORE_AWAY: Final = "Nothing can be written or shown on the desk now. Readers go on reading."
_LOCAL_PATH = re.compile(r"/desk(/blogs/[a-z0-9-]+(/entries/e[0-9a-z]{12})?)?")
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?", re.ASCII)
_TEXTS: Final = ("headline", "body", "dateline", "key_title", "note_kind", "note")
_HEADER: Final = ("title", "dek", "summary", "timezone", "language", "status")
_WORDS: Final = {"body", "headline", "title"}  # a form with one of these has an editor's words
_LINKS: Final = ("full_coverage", "successor")


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it is shown: what stands in its boxes, and what was wrong with them.

    `errors` has a reason for each box, under its name; `problem` what is wrong with the whole.
    `key` is the Idempotency-Key the form is sent under: the same as long as the form is not
    accepted, so that a repetition changes nothing.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    key: str = field(default_factory=partial(new_id, "", 24))


def routes(publishing: Publishing, accounts: Accounts, settings: Settings) -> list[BaseRoute]:
    """Return the routes under /desk."""
    desk = _Desk(publishing, accounts, settings)
    blog, entry = "/desk/blogs/{slug}", "/desk/blogs/{slug}/entries/{id}"
    return [
        Route("/desk/sign-in", desk.open(desk.sign_in_page), methods=["GET"]),
        Route("/desk/sign-in", desk.open(desk.sign_in), methods=["POST"]),
        Route("/desk/sign-out", desk.open(desk.sign_out), methods=["POST"]),
        Route("/desk", desk.signed_in(desk.home), methods=["GET"]),
        Route("/desk/blogs", desk.signed_in(desk.create_blog), methods=["POST"]),
        Route(blog, desk.signed_in(desk.blog), methods=["GET"]),
        Route(f"{blog}/header", desk.signed_in(desk.edit_blog), methods=["POST"]),
        Route(f"{blog}/end", desk.signed_in(desk.end), methods=["POST"]),
        Route(f"{blog}/reopen", desk.signed_in(desk.reopen), methods=["POST"]),
        Route(f"{blog}/entries", desk.signed_in(desk.create_entry), methods=["POST"]),
        Route(entry, desk.signed_in(desk.entry), methods=["GET"]),
        Route(entry, desk.signed_in(desk.edit_entry), methods=["POST"]),
        Route(f"{entry}/delete", desk.signed_in(desk.delete_entry), methods=["POST"]),
        Route(f"{entry}/restore", desk.signed_in(desk.restore_entry), methods=["POST"]),
    ]


class _Desk:
    def __init__(self, publishing: Publishing, accounts: Accounts, settings: Settings) -> None:
        self._publishing, self._accounts, self._settings = publishing, accounts, settings

    # -- who may come in, and what they see when something is in the way

    def signed_in(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint for signed-in editors; everybody else is sent to sign in."""

        async def answer(request: Request) -> Response:
            caller = await auth.caller_of(request, self._accounts, self._settings)
            return await endpoint(request, caller)

        return self.open(answer)

    def open(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint with its problems as pages, and nothing of it in a cache."""

        async def answer(request: Request) -> Response:
            try:
                response = await endpoint(request)
            except StoreDown as error:
                response = await self._stopped(request, auth.store_down(error))
            except Problem as problem:
                response = await self._stopped(request, problem)
            response.headers["Cache-Control"] = "no-store"
            return response

        return answer

    async def _stopped(self, request: Request, problem: Problem) -> Response:
        """Answer a request that cannot get its page; shows what an editor wrote, to send again."""
        form = await self._own_form(request)
        signed_out, store_down = problem.status == 401, problem.status == 503
        if not (signed_out or store_down or form.keys() & _WORDS):
            form = {}
        if signed_out and not form:
            return _sign_in_first(request)
        title, detail = _TITLES.get(problem.status, "This did not work"), problem.detail
        if signed_out:
            detail = "Your session is over."
        if problem.name == "store-down":
            title, detail = "The store is away", _STORE_AWAY
        return _page(
            "desk/problem.html",
            problem.status,
            problem.retry_after_s,
            title=title,
            detail=_sentence(detail),
            action=request.url.path,
            form=form,
            signed_out=signed_out,
        )

    async def _own_form(self, request: Request) -> Form:
        """Return what one of our own pages sent; nothing that another site had a browser send."""
        site = request.headers.get("sec-fetch-site")
        own = auth.site_url(request, self._settings)
        is_own = site == "same-origin" if site else request.headers.get("origin") == own
        if request.method != "POST" or not is_own or request.url.path == "/desk/sign-in":
            return {}
        try:
            return await _form(request)
        except Problem:
            return {}

    # -- signing in and out

    async def sign_in_page(self, request: Request) -> Response:
        then = _local(request.query_params.get("next", ""))
        try:
            await auth.caller_of(request, self._accounts, self._settings)
        except Problem:
            return _page("desk/sign_in.html", next=then, name="", problem="")
        return RedirectResponse(then, 303)

    async def sign_in(self, request: Request) -> Response:
        form = await _form(request)
        name, password = form.get("name", "").strip(), form.get("password", "")
        then = _local(form.get("next", ""))
        try:
            secret = await auth.sign_in(request, self._accounts, self._settings, name, password)
        except Problem as problem:
            if problem.status not in (401, 429):
                raise
            why = {"next": then, "name": name, "problem": problem.detail}
            return _page("desk/sign_in.html", problem.status, problem.retry_after_s, **why)
        response = RedirectResponse(then, 303)
        auth.set_session_cookie(response, request, self._settings, secret)
        return response

    async def sign_out(self, request: Request) -> Response:
        await auth.sign_out(request, self._accounts, self._settings)
        response = RedirectResponse("/desk/sign-in", 303)
        auth.clear_session_cookie(response, request, self._settings)
        return response

    # -- blogs

    async def home(self, request: Request, caller: Caller) -> Response:
        return await self._home(request, caller)

    async def _home(
        self, request: Request, caller: Caller, form: Filled | None = None, status: int = 200
    ) -> Response:
        return _page(
            "desk/home.html",
            status,
            editor=caller,
            blogs=[at.blog for at in await self._publishing.blogs(caller)],
            form=form or Filled({"timezone": "UTC", "language": "en"}),
            notice=_notice(request),
        )

    async def create_blog(self, request: Request, caller: Caller) -> Response:
        form = await _form(request)
        try:
            made = await self._publishing.create_blog(
                caller, {"slug": form.get("slug", ""), **header_fields(form, "UTC")}, _key(form)
            )
        except Problem as problem:
            _reraise_unless_shown(problem)
            return await self._home(request, caller, refused(form, problem), problem.status)
        return _then(f"/desk/blogs/{made.blog.slug}", "created")

    async def blog(self, request: Request, caller: Caller) -> Response:
        return await self._blog(request, caller)

    async def _blog(
        self,
        request: Request,
        caller: Caller,
        status: int = 200,
        **forms: Filled,
    ) -> Response:
        """Answer with a blog's desk; `forms` (compose, header, end) are those that were refused.

        The position is read first, so that what is shown is never older than it.
        """
        slug = request.path_params["slug"]
        blog, position, *_ = await self._publishing.blog(caller, slug)
        before = request.query_params.get("before")
        entries, older = await self._timeline(caller, slug, before)
        return _page(
            "desk/blog.html",
            status,
            editor=caller,
            blog=blog,
            position=position,
            entries=entries,
            before=before,
            older=older,
            held=await self._held(caller, slug, blog),
            compose=forms.get("compose", Filled()),
            header=forms.get("header", Filled(header_values(blog))),
            end=forms.get("end", Filled(header_values(blog))),
            notice=_notice(request),
            undo=_undo(request),
            now=now_ms(),
        )

    async def _timeline(
        self, caller: Caller, slug: str, before: str | None
    ) -> tuple[list[Entry], str | None]:
        """Return what readers see, newest first, and the id before which there is more."""
        page, after = await self._publishing.shown(caller, slug, before, ENTRIES)
        return [it.entry for it in page], after

    async def _held(self, caller: Caller, slug: str, blog: Blog) -> list[dict[str, Any]]:
        """Return what readers do not see: submissions first, then the schedule, then drafts."""
        entries = await self._publishing.unpublished(caller, slug)
        rank = {"submitted": 0, "scheduled": 1, "draft": 2}
        entries.sort(key=lambda it: (rank[it.status], it.publish_at or 0))
        return [
            {"entry": it, "at": local_time(it.publish_at, blog.timezone)}
            for it in entries[:HELD_MAX]
        ]

    async def edit_blog(self, request: Request, caller: Caller) -> Response:
        form = await _form(request)
        fields = header_fields(form, await self._zone(request, caller))
        if not fields:
            return _then(f"/desk/blogs/{request.path_params['slug']}", "unaltered")
        return await self._change_blog(request, caller, form, fields, "header")

    async def end(self, request: Request, caller: Caller) -> Response:
        form = await _form(request)
        fields = {"status": "ended", **header_fields(form, await self._zone(request, caller))}
        return await self._change_blog(request, caller, form, fields, "ended")

    async def reopen(self, request: Request, caller: Caller) -> Response:
        form = await _form(request)
        return await self._change_blog(request, caller, form, {"status": "live"}, "reopened")

    async def _zone(self, request: Request, caller: Caller) -> str:
        blog = (await self._publishing.blog(caller, request.path_params["slug"])).blog
        return blog.timezone

    async def _change_blog(
        self, request: Request, caller: Caller, form: Form, fields: dict[str, Any], done: str
    ) -> Response:
        slug = request.path_params["slug"]
        try:
            await self._publishing.edit_blog(caller, slug, fields, _key(form))
        except Problem as problem:
            _reraise_unless_shown(problem)
            shown = {"end" if done == "ended" else "header": refused(form, problem)}
            return await self._blog(request, caller, problem.status, **shown)
        return _then(f"/desk/blogs/{slug}", done)

    # -- entries

    async def create_entry(self, request: Request, caller: Caller) -> Response:
        slug, form = request.path_params["slug"], await _form(request)
        blog = (await self._publishing.blog(caller, slug)).blog
        try:
            fields = entry_fields(form, blog.timezone)
            fields = {name: value for name, value in fields.items() if value not in (None, [])}
            made = await self._publishing.create_entry(caller, slug, fields, _key(form))
        except Problem as problem:
            _reraise_unless_shown(problem)
            shown = refused(form, problem)
            return await self._blog(request, caller, problem.status, compose=shown)
        return _then(f"/desk/blogs/{slug}", made.entry.status)

    async def entry(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        blog = (await self._publishing.blog(caller, slug)).blog
        entry = (await self._publishing.entry(caller, slug, id)).entry
        return self._entry(caller, blog, entry, Filled(entry_values(entry, blog.timezone)))

    def _entry(
        self,
        caller: Caller,
        blog: Blog,
        entry: Entry | None,
        form: Filled,
        theirs: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        """Answer with an entry's page.

        `entry` None: it is deleted. `theirs`: the texts that others saved meanwhile, by box.
        """
        return _page(
            "desk/entry.html",
            status,
            editor=caller,
            blog=blog,
            entry=entry,
            form=form,
            theirs=theirs or {},
        )

    async def edit_entry(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        form = await _form(request)
        blog = (await self._publishing.blog(caller, slug)).blog
        try:
            fields, revision = entry_fields(altered(form), blog.timezone), _revision(form)
            if fields.get("status") in ("draft", "submitted"):
                fields.pop("publish_at", None)  # the box still holds the time of the schedule left
            saved = await self._publishing.edit_entry(
                caller, slug, id, fields, revision, _key(form)
            )
        except Problem as problem:
            return await self._refused_edit(caller, blog, id, form, problem)
        was_moved = "status" in fields or saved.entry.status == "scheduled"
        done = saved.entry.status if was_moved else "saved"
        return _then(f"/desk/blogs/{slug}", done, fragment=id)

    async def _refused_edit(
        self, caller: Caller, blog: Blog, id: str, form: Form, problem: Problem
    ) -> Response:
        """Show again what was written: beside theirs, or alone when the entry is deleted."""
        if problem.status == 410:
            return self._entry(caller, blog, None, refused(form, problem), status=410)
        _reraise_unless_shown(problem)
        if problem.status != 412:
            entry = (await self._publishing.entry(caller, blog.slug, id)).entry
            return self._entry(caller, blog, entry, refused(form, problem), status=problem.status)
        theirs: Entry = problem.extra["current"].entry
        again = refused({**form, "revision": str(theirs.revision)}, problem)
        differing = differing_texts(form, entry_values(theirs, blog.timezone))
        return self._entry(caller, blog, theirs, again, differing, 412)

    async def delete_entry(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        form = await _form(request)
        takedown = form.get("takedown") == "1"
        await self._publishing.delete_entry(caller, slug, id, takedown, _key(form))
        if takedown:
            return _then(f"/desk/blogs/{slug}", "taken-down")
        return _then(f"/desk/blogs/{slug}", "deleted", entry=id)

    async def restore_entry(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        form = await _form(request)
        await self._publishing.restore_entry(caller, slug, id, _key(form))
        return _then(f"/desk/blogs/{slug}", "restored", fragment=id)


# -- pages and redirects ---------------------------------------------------------------------------


def _page(
    template: str, status: int = 200, retry_after_s: int | None = None, **context: Any
) -> Response:
    html = render.env.get_template(template).render(**{"editor": None, **context})
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Response(html, status, headers, "text/html")


def _then(path: str, done: str, *, entry: str = "", fragment: str = "") -> Response:
    """Redirect, so that a reload repeats nothing, to a page that says what was done."""
    query = urlencode({"done": done, **({"entry": entry} if entry else {})})
    return RedirectResponse(f"{path}?{query}{'#' + fragment if fragment else ''}", 303)


def _sign_in_first(request: Request) -> Response:
    path = request.url.path if request.method == "GET" else ""
    return RedirectResponse(f"/desk/sign-in?next={quote(_local(path))}", 303)


def _local(path: str) -> str:
    """Return the desk's page to go to after signing in; /desk for whatever is not one of them."""
    return path if _LOCAL_PATH.fullmatch(path) else "/desk"


def _notice(request: Request) -> str:
    return NOTICES.get(request.query_params.get("done", ""), "")


def _undo(request: Request) -> str:
    """Return the id of the entry whose deletion may be undone from this page, "" for none."""
    id = request.query_params.get("entry", "")
    return id if request.query_params.get("done") == "deleted" and is_entry_id(id) else ""


# -- forms -----------------------------------------------------------------------------------------


async def _form(request: Request) -> Form:
    """Return what stands in the boxes of the form that was sent; of boxes with one name, the last.

    Browsers send line breaks as CRLF (HTML, "normalize newlines"); what is stored has LF. Raises
    Problem: 413, 415, 400 for what is not such a form in UTF-8.
    """
    said = Message()
    said["content-type"] = request.headers.get("content-type", "text/plain")
    is_form = said.get_content_type() == "application/x-www-form-urlencoded"
    if not is_form or not _is_utf_8(str(said.get_content_charset("utf-8"))):
        raise Problem(415, "not-a-form", "Send application/x-www-form-urlencoded in UTF-8.")
    body = await _body_once(request)
    try:
        boxes = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FORM_BOXES_MAX,
        )
    except ValueError as error:
        raise Problem(400, "broken-form", f"The form is not in UTF-8: {error}") from None
    return {name: re.sub(r"\r\n?", "\n", value) for name, value in boxes}


def _is_utf_8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name == "utf-8"
    except LookupError:
        return False


async def _body_once(request: Request) -> bytes:
    """Return the body, read at most once: the page that repeats a form asks for it again."""
    if not hasattr(request.state, "body"):
        request.state.body = await auth.read_body(request)
    body: bytes = request.state.body
    return body


def entry_fields(form: Mapping[str, str], zone: str) -> dict[str, Any]:
    """Return an entry's fields as the API takes them, of the boxes there are; empty ones are None.

    A byline's names stand one a line or between commas. `publish_at` is the blog's wall clock.
    """
    fields: dict[str, Any] = {n: form[n] if form[n].strip() else None for n in _TEXTS if n in form}
    if "byline" in form:
        fields["byline"] = [n.strip() for n in re.split(r"[,\n]", form["byline"]) if n.strip()]
    fields |= {name: form[name] == "true" for name in ("key", "pinned") if name in form}
    return fields | _timing(form, zone)


def altered(form: Mapping[str, str]) -> Form:
    """Leave out boxes that stand as they were shown: saving must not undo what a colleague did."""
    return {name: text for name, text in form.items() if form.get(f"{name}_was") != text}


def _with_shown(values: Mapping[str, str], names: Iterable[str]) -> Form:
    """Return the values, and for `altered` what the boxes of these names show."""
    return {**values, **{f"{name}_was": values[name] for name in names}}


def _timing(form: Mapping[str, str], zone: str) -> dict[str, Any]:
    """Return the status and time asked for; with a time "publish" means "schedule"."""
    status, at = form.get("status", ""), form.get("publish_at", "")
    if not at:
        return {"status": status} if status else {}
    kept_back = {"status": status} if status in ("draft", "submitted") else {}
    return {**kept_back, "publish_at": instant_of(at, zone)}


def header_fields(form: Mapping[str, str], zone: str) -> dict[str, Any]:
    """Return a blog's fields as the API takes them, of the altered boxes; empty ones are None.

    `starts_at` is the wall clock of the zone that the form gives the blog, else of `zone`.
    """
    new = altered(form)
    fields: dict[str, Any] = {n: new[n] if new[n].strip() else None for n in _HEADER if n in new}
    for name in _LINKS:
        if new.keys() & {f"{name}_text", f"{name}_url"}:
            text, url = (form.get(f"{name}_{part}", "").strip() for part in ("text", "url"))
            fields[name] = {"text": text or url, "url": url} if text or url else None
    return fields | _start(form, zone)


def _start(form: Mapping[str, str], zone: str) -> dict[str, Any]:
    """Return the start asked for; nothing when it stands as it was shown, and its zone too.

    A box has neither milliseconds nor which of two equal hours is meant: saving the rest of the
    header must not move the start by them. A zone that does not exist is refused by itself, so
    the start is not read in it.
    """
    if "starts_at" not in form or not altered(form).keys() & {"starts_at", "timezone"}:
        return {}
    local, named = form["starts_at"].strip(), form.get("timezone", "")
    return {"starts_at": instant_of(local, named if is_timezone(named) else zone) or None}


def header_values(blog: Blog) -> Form:
    """Return what stands in the boxes of a blog's header."""
    values = {name: getattr(blog, name) or "" for name in _HEADER}
    for name in _LINKS:
        link = getattr(blog, name)
        values |= {
            f"{name}_text": link.text if link else "",
            f"{name}_url": link.url if link else "",
        }
    values["starts_at"] = local_time(blog.starts_at, blog.timezone)
    return _with_shown(values, values)


def entry_values(entry: Entry, zone: str) -> Form:
    """Return what stands in an entry's boxes.

    Its marks can be altered without a new revision; a box for a time has no milliseconds, and not
    which of two equal hours is meant.
    """
    values = {name: getattr(entry, name) or "" for name in _TEXTS}
    values |= {name: "true" if getattr(entry, name) else "false" for name in ("key", "pinned")}
    values["byline"] = ", ".join(entry.byline)
    values["publish_at"] = local_time(entry.publish_at, zone)
    values["revision"] = str(entry.revision)
    return _with_shown(values, ("key", "key_title", "pinned", "publish_at"))


def differing_texts(mine: Mapping[str, str], theirs: Mapping[str, str]) -> Form:
    """Return their texts of the boxes where mine differ."""
    names = ("headline", "body", "byline", "dateline", "key_title")
    return {name: theirs[name] for name in names if mine.get(name, "") != theirs[name]}


def refused(form: Form, problem: Problem) -> Filled:
    """Return the form as it was sent, with the problem's reasons at its boxes.

    The key stays, except when it was used for another text: then that text is stored, and sending
    this one makes another entry.
    """
    if problem.name == "idempotency-key-reused":
        known = (
            "What you sent first was stored after all. Look at it; send this text again if it is"
            " still needed."
        )
        return Filled(form, problem=known)
    errors: Form = {}
    for pointer, detail in problem.errors:
        errors.setdefault(_box_of(pointer), _sentence(detail))
    return Filled(form, errors, _sentence(problem.detail), _key(form) or new_id("", 24))


def _box_of(pointer: str) -> str:
    """Return the box that a JSON pointer means: /byline/0 byline, /successor/url successor_url."""
    _, name, *rest = (*pointer.split("/"), "")
    return f"{name}_{rest[0]}" if rest[0] in ("text", "url") else name


def _sentence(detail: str) -> str:
    text = detail[:1].upper() + detail[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _reraise_unless_shown(problem: Problem) -> None:
    """Raise again what the form's page cannot show, because the caller may not see that page."""
    if problem.status in (401, 403, 404, 503):
        raise problem


def _key(form: Mapping[str, str]) -> str | None:
    """Return the form's Idempotency-Key, None when it has none of the API's kind."""
    key = form.get("idempotency_key", "")
    return key if re.fullmatch(r"[\x21-\x7e]{1,255}", key) else None


def _revision(form: Mapping[str, str]) -> int | None:
    text = form.get("revision", "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def instant_of(local: str, zone: str) -> str:
    """Return the RFC 3339 instant of a wall clock's time in a zone; other text as it is.

    An hour that comes twice is its first; one that is skipped is read with the offset before the
    change.
    """
    if not _LOCAL_TIME.fullmatch(local):
        return local
    try:
        at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
        return format_time(round(at.timestamp() * 1000)) or local
    except (ValueError, OverflowError):
        return local


def local_time(ms: int | None, zone: str) -> str:
    """Return an instant as the box for times (datetime-local) has it, in a zone; "" for none."""
    if ms is None:
        return ""
    at = datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return f"{at:%Y-%m-%dT%H:%M:%S}" if at.second else f"{at:%Y-%m-%dT%H:%M}"
