"""Answers to the desk's forms: a page or a redirect for browsers, JSON for scripts.

A form is the same for both, and so are its boxes and reasons. A script sends it with
`Accept: application/json`.

Rules: no Redis, no HTML, no permissions. forms.py and reasons.py make the boxes and the sentences.
"""

from typing import Final, NamedTuple
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, is_entry_id, is_timezone
from liveblog.blog.problem import Problem
from liveblog.blog.shapes import Shape, blog_json, entry_json, saved_at
from liveblog.editors import conflicts, forms, reasons, times
from liveblog.editors.auth import site_url
from liveblog.editors.forms import Boxes, FormView
from liveblog.editors.results import BlogResult, EntryResult, SavedFirst
from liveblog.settings import Settings

# The notices that a page shows after a redirect, by the value of `done` in the page's address.
NOTICES: Final = {
    "published": "Published.",
    "scheduled": "Scheduled.",
    "draft": "Saved as a draft.",
    "submitted": "Submitted for approval.",
    "retracted": "Retracted.",
    "saved": "Saved.",
    "deleted": "Deleted.",
    "taken-down": "Taken down. Every revision was erased.",
    "restored": "Restored.",
    "moved": "Moved.",
    "unretracted": "The retraction is undone.",
    "created": "Blog created.",
    "header": "Header saved.",
    "header-restored": "Restored. Readers see this header now.",
    "headers-erased": "Erased.",
    "unaltered": "No changes.",
    "ended": "Coverage has ended.",
    "reopened": "Blog re-opened.",
}

# Statuses of problems for which no form is shown again: `Gate` shows a page.
_OF_ACCESS: Final = (401, 403, 404, 503)


class Done(NamedTuple):
    """A form that was accepted.

    `notice` is a key of NOTICES. `path` is the page that a browser shows next, `fragment` the place
    on it. `deleted` is the id of an entry whose deletion that page can undo. `twice` is a time that
    comes twice on the clock of `zone`, "" for none; `note` is any other note for a script. `zone`
    is the zone of the form, "" for the blog's.
    """

    notice: str
    path: str
    fragment: str = ""
    deleted: str = ""
    twice: str = ""
    zone: str = ""
    note: str = ""


def wants_json(request: Request) -> bool:
    """Return whether a request is a script's, which gets JSON and no page."""
    is_script: bool = getattr(request.state, "is_script", False)
    return is_script or "application/json" in request.headers.get("accept", "")


# -- accepted forms


class Answers:
    """Answers to accepted forms."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def blog(self, request: Request, at: BlogResult, done: Done) -> Response:
        """Answer to a form that created or altered a blog."""
        if not wants_json(request):
            return _redirect(done)
        blog = blog_json(at.blog, at.position, site_url(request, self._settings))
        content = {"blog": blog, "values": values(forms.header_values(at.blog))}
        return _accepted(done, content, at.status, replayed=at.replayed)

    def entry(self, request: Request, at: EntryResult, blog: Blog, done: Done) -> Response:
        """Answer to a form that created or altered an entry of a blog."""
        if not wants_json(request):
            return _redirect(done)
        content: Shape = {
            "entry": self.shape(request, at, blog),
            "values": values(forms.entry_values(at.entry, done.zone or blog.timezone)),
        }
        return _accepted(done, content, at.status, replayed=at.replayed)

    def shape(self, request: Request, at: EntryResult, blog: Blog) -> Shape:
        """Return an entry in the API's shape."""
        return entry_json(at.entry, blog.slug, at.position, site_url(request, self._settings))


def accepted(request: Request, done: Done, *, replayed: bool = False) -> Response:
    """Answer to a form that deleted an entry, took one down, or moved one."""
    return _accepted(done, {}, replayed=replayed) if wants_json(request) else _redirect(done)


def values(boxes: Boxes) -> dict[str, str | list[str]]:
    """Return the boxes of a form as scripts get them: a repeated box has a list of texts."""
    repeated = boxes.get(forms.REPEATED)
    return {**boxes, **({forms.REPEATED: forms.names_of(repeated)} if repeated is not None else {})}


def _accepted(done: Done, content: Shape, status: int = 200, *, replayed: bool = False) -> Response:
    whole = {
        "notice": NOTICES[done.notice],
        "note": f"{done.note} {times.twice(done.twice, done.zone)}".strip() or None,
        "entry": None,
        "blog": None,
        "values": None,
        **content,
    }
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return Response(orjson.dumps(whole), status, headers, "application/json")


def _redirect(done: Done) -> Response:
    """Redirect to a page that shows the notice; reloading the page sends no form again."""
    marks = {"done": done.notice, "entry": done.deleted, "twice": done.twice}
    marks["zone"] = done.zone if done.twice else ""
    query = urlencode({name: value for name, value in marks.items() if value})
    fragment = f"#{done.fragment}" if done.fragment else ""
    return RedirectResponse(f"{done.path}?{query}{fragment}", 303)


def notice_of(request: Request) -> str:
    """Return the notice on the page after a redirect, "" for none."""
    query = request.query_params
    notice = NOTICES.get(query.get("done", ""), "")
    if query.get("done") == "created" and "slug" in request.path_params:
        notice += f" {address_of(request.path_params['slug'])}"
    zone = query.get("zone", "")
    twice = times.twice(query.get("twice", ""), zone) if is_timezone(zone) else ""
    return f"{notice} {twice}" if notice and twice else notice


def address_of(slug: str) -> str:
    """Return the note that names the address of a blog."""
    return f"Its address is /blogs/{slug}."


def undo_of(request: Request) -> str:
    """Return the id of the entry whose deletion a page can undo, "" for none."""
    id = request.query_params.get("entry", "")
    return id if request.query_params.get("done") == "deleted" and is_entry_id(id) else ""


# -- rejected forms


def rejected_form(request: Request, boxes: Boxes, problem: Problem, zone: str = "UTC") -> FormView:
    """Return a rejected form, to be shown again with its text and the reasons.

    Raises the problem, with its reasons, when no page shows the form again: a script sent it, or
    the problem is one of access.
    """
    return _shown_again(request, problem, forms.rejected(boxes, problem, zone))


def merged_form(
    request: Request, boxes: Boxes, stored: Boxes, base: Boxes, conflict: SavedFirst
) -> FormView:
    """Return the form of an editor who saved later, merged with what is stored (conflicts.py).

    `stored` are the boxes of the stored record, `base` those of the revision that was edited, as
    far as they are known. Raises the conflict, with both versions, for a script.
    """
    found = conflicts.merge(boxes, stored, base)
    conflict.extra |= {
        "values": values(stored),
        "taken": values(found.taken),
        "both": values(found.both),
        "saved_by": conflict.record.saved_by,
        "saved_at": format_time(saved_at(conflict.record)),
    }
    view = conflicts.merged_form(boxes, stored, found, conflict)
    return _shown_again(request, conflict, view)


def _shown_again(request: Request, problem: Problem, view: FormView) -> FormView:
    explain(problem, view)
    if wants_json(request) or problem.status in _OF_ACCESS:
        raise problem
    return view


def explain(problem: Problem, view: FormView) -> None:
    """Add to a problem the reasons that a script shows: one for the form, one for each box."""
    problem.extra |= {"reason": view.problem, "boxes": dict(view.errors)}


def for_script(problem: Problem) -> Problem:
    """Return a problem as a script of the desk gets it, with its reasons."""
    if problem.name == "unauthorized":
        problem = Problem(401, "signed-out", "The session has expired.")
    if "reason" not in problem.extra:
        errors = reasons.of_boxes(problem, {}, {})
        problem.extra |= {"reason": reasons.of_form(problem, errors), "boxes": errors}
    return problem
