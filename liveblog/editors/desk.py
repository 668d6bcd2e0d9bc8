"""The desk: the list of blogs, one blog's desk, and the pages of its entries.

Every form is a plain HTML form that posts and redirects, so the desk works without scripts. With
scripts, the same boxes (the inputs of the form) come here, and the answer is JSON. A rejected form
is shown again, with the editor's text in its boxes and the reasons beside them.

Rules: no Redis, no HTML in strings, no permission decided here (publishing decides).
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from liveblog.blog.model import Blog, Caller, DamagedBlog, Entry
from liveblog.blog.problem import Problem
from liveblog.editors import answers, forms, retraction
from liveblog.editors.answers import (
    Answers,
    Done,
    notice_of,
    rejected_form,
    undo_of,
    wants_json,
)
from liveblog.editors.earlier import EarlierHeaders
from liveblog.editors.forms import Boxes, FormView, key_of
from liveblog.editors.gate import Gate, page_response, read_form
from liveblog.editors.header_decisions import STATES, check_is_seen
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import BLOG_STATUSES, BlogSearch
from liveblog.editors.results import BlogResult, HeaderConflict, RevisionConflict
from liveblog.html.pages import Pages
from liveblog.settings import Settings

BLOGS: Final = 50  # blogs on one page of the desk's list
ENTRIES: Final = 30  # published entries on one page of the desk
UNPUBLISHED_MAX: Final = 300  # drafts, submissions and scheduled entries on a blog's desk

# The desk's line for each key of the store that was rebuilt lately (store/rebuilding.py).
_FROM_ENTRIES: Final = "It was built again from the entries."
REBUILT: Final = {
    "blog": "blog: a new numbering began. Readers loaded the page again.",
    "chain": "chain: a new numbering began. Readers loaded the page again.",
    "entries": "entries: the published texts are lost. Each entry is named as damaged.",
    "drafts": "drafts: the unpublished texts are lost.",
    "changed": f"changed: {_FROM_ENTRIES}",
    "order": f"order: {_FROM_ENTRIES}",
    "marked": f"marked: {_FROM_ENTRIES}",
    "due": "due: it was built again from the scheduled entries.",
    "bin": "bin: deleted entries return to the bin within a day.",
    "rebuilt": "rebuilt: the list of repairs before this one is lost.",
}

_RANK: Final = {"submitted": 0, "scheduled": 1, "draft": 2}  # order of unpublished entries


def routes(
    gate: Gate,
    publishing: Publishing,
    settings: Settings,
    pages: Pages,
    now_ms: Callable[[], int],
) -> list[BaseRoute]:
    """Return the routes of blogs and entries; `now_ms` returns milliseconds since 1970."""
    answering = Answers(settings)
    earlier = EarlierHeaders(publishing, pages, answering)
    blogs = _Blogs(publishing, pages, answering, now_ms)
    entries = _Entries(publishing, pages, answering, blogs, now_ms)
    blog, entry = "/desk/blogs/{slug}", "/desk/blogs/{slug}/entries/{id}"
    return [
        gate.get("/desk", blogs.home),
        gate.post("/desk/blogs", blogs.create),
        gate.get(blog, blogs.page),
        gate.post(f"{blog}/header", blogs.edit),
        gate.get(f"{blog}/header/revisions", earlier.page),
        gate.post(f"{blog}/header/revisions/erase", earlier.erase_all),
        gate.post(f"{blog}/header/revisions/{{n}}/restore", earlier.restore),
        gate.post(f"{blog}/header/revisions/{{n}}/erase", earlier.erase),
        gate.post(f"{blog}/end", blogs.end),
        gate.post(f"{blog}/reopen", blogs.reopen),
        gate.post(f"{blog}/entries", entries.create),
        gate.get(entry, entries.show),
        gate.post(entry, entries.edit),
        gate.post(f"{entry}/delete", entries.delete),
        gate.post(f"{entry}/restore", entries.restore),
        gate.post(f"{entry}/retract", entries.retract),
    ]


class _Blogs:
    """Answers the requests for the list of blogs and for one blog's desk."""

    def __init__(
        self, publishing: Publishing, pages: Pages, answering: Answers, now_ms: Callable[[], int]
    ) -> None:
        self._publishing, self._pages, self._now_ms = publishing, pages, now_ms
        self._answers = answering

    async def home(
        self, request: Request, caller: Caller, form: FormView | None = None, status: int = 200
    ) -> Response:
        """Answer with a page of the list of blogs; `form` is the form of a new one, if rejected.

        The addresses of older blogs, and of an earlier page, keep the search.
        """
        query = request.query_params
        search = BlogSearch(query.get("q") or "", query.get("status") or "")
        before = query.get("before") or None
        found = await self._publishing.blogs(caller, before, BLOGS, search)
        html = self._pages.desk(
            "home",
            editor=caller,
            blogs=[at.blog for at in found.blogs],
            damaged=found.damaged,
            search=search,
            statuses=BLOG_STATUSES,
            newest=_list_address(search) if before else None,
            older=_list_address(search, found.next) if found.next else None,
            form=form or FormView({"timezone": "UTC", "language": "en"}),
            notice=notice_of(request),
        )
        return page_response(html, status)

    async def create(self, request: Request, caller: Caller) -> Response:
        boxes = await read_form(request)
        fields = forms.header_fields(boxes, "UTC")
        try:
            made = await self._created(caller, boxes, fields)
        except Problem as problem:
            form = rejected_form(request, boxes, problem)
            return await self.home(request, caller, form, problem.status)
        slug, twice = made.blog.slug, forms.twice_of(boxes, fields, "UTC")
        note = "" if boxes.get("slug") == slug else answers.address_of(slug)
        done = Done("created", f"/desk/blogs/{slug}", "", "", twice, made.blog.timezone, note)
        return self._answers.blog(request, made, done)

    async def _created(self, caller: Caller, boxes: Boxes, fields: dict[str, object]) -> BlogResult:
        """Create a blog; when the form has no address, at the first free one from its title.

        Raises Problem as `Publishing.create_blog` does. A form that is sent again finds the blog
        that it made, since each address is tried under the form's Idempotency-Key.
        """
        for given in [{"slug": it, **fields} for it in forms.slugs_of(boxes)] or [fields]:
            try:
                return await self._publishing.create_blog(caller, given, key_of(boxes))
            except Problem as problem:
                if problem.name != "conflict":
                    raise
        detail = "is taken. Choose another"
        raise Problem(409, "conflict", "The slug is taken.", [("/slug", detail)])

    async def page(
        self, request: Request, caller: Caller, status: int = 200, **rejected: FormView
    ) -> Response:
        """Answer with a blog's desk; the forms in `rejected` are shown again with the reasons.

        A form's name is compose, header or end. The position is read first, so that the entries
        shown are never older than the position.
        """
        slug = request.path_params["slug"]
        at = await self._publishing.blog(caller, slug, or_damaged=True)
        before = request.query_params.get("before")
        page = await self._publishing.shown(caller, slug, before, ENTRIES)
        unpublished = await self._publishing.unpublished(caller, slug)
        pins = await self._publishing.pins.all(caller, slug)
        lost = isinstance(at.blog, DamagedBlog)  # the title is then the slug
        stored = FormView(forms.header_values(replace(at.blog, title="") if lost else at.blog))
        if lost:  # the form sends the status in any case: it may be lost, too
            stored = FormView({**stored.values, "status_was": ""})
        # Each form has a key of its own: an editor may send both from one page.
        ending = FormView(stored.values)
        given = {"compose": FormView(), "header": stored, "end": ending, **rejected}
        html = self._pages.desk(
            "blog",
            editor=caller,
            blog=at.blog,
            position=at.position,
            entries=[it.entry for it in page.entries],
            before=before,
            older=page.before,
            held=_in_order(unpublished),
            pins=pins,
            damaged=[*page.damaged, *(it.id for it in unpublished if it.deleted)],
            lost_header=lost,
            rebuilt=[REBUILT[name] for name in at.rebuilt],
            notice=notice_of(request),
            undo=undo_of(request),
            now=self._now_ms(),
            **given,
        )
        return page_response(html, status)

    async def edit(self, request: Request, caller: Caller) -> Response:
        boxes, at = await read_form(request), await self._blog(request, caller)
        zone = at.blog.timezone
        fields = forms.header_fields(boxes, zone)
        if not fields:
            done = Done("unaltered", f"/desk/blogs/{at.blog.slug}")
            return self._answers.blog(request, at, done)
        # States belong to no revision: a colleague's edit of the texts is no conflict.
        seen = None if fields.keys() <= STATES else forms.revision_of(boxes)
        shown = forms.shown_states(boxes, STATES)
        return await self._save(request, caller, boxes, fields, "header", zone, seen, shown)

    async def end(self, request: Request, caller: Caller) -> Response:
        boxes, at = await read_form(request), await self._blog(request, caller)
        zone = at.blog.timezone
        given = forms.header_fields(boxes, zone)
        fields = {"status": "ended"} | {it: given[it] for it in ("successor",) if it in given}
        shown = forms.shown_states(boxes, ("successor",))
        return await self._save(request, caller, boxes, fields, "ended", zone, None, shown)

    async def reopen(self, request: Request, caller: Caller) -> Response:
        boxes = await read_form(request)
        shown: dict[str, object] = {"status": "ended"}
        fields: dict[str, object] = {"status": "live"}
        return await self._save(request, caller, boxes, fields, "reopened", "UTC", None, shown)

    async def _blog(self, request: Request, caller: Caller) -> BlogResult:
        slug = request.path_params["slug"]
        return await self._publishing.blog(caller, slug, or_damaged=True)

    async def _save(
        self,
        request: Request,
        caller: Caller,
        boxes: Boxes,
        fields: dict[str, object],
        done: str,
        zone: str,
        seen: int | None = None,
        shown: dict[str, object] | None = None,
    ) -> Response:
        slug, name = request.path_params["slug"], "header" if done == "header" else "end"
        try:
            check_is_seen(fields, seen)
            saved = await self._publishing.edit_blog(
                caller, slug, fields, key_of(boxes), seen, shown
            )
        except HeaderConflict as conflict:
            if done == "reopened":
                status = conflict.current.blog.status
                detail = f"Only an ended blog can be re-opened; this one is {status}."
                raise Problem(409, "conflict", detail) from None
            stored = forms.header_values(conflict.current.blog)
            if name == "end":  # this form sets the status, and shows none
                stored["status"] = "ended"
            merged = answers.merged_form(request, boxes, stored, {}, conflict)
            return await self.page(request, caller, conflict.status, **{name: merged})
        except Problem as problem:
            form = {name: rejected_form(request, boxes, problem, zone)}
            return await self.page(request, caller, problem.status, **form)
        twice = forms.twice_of(boxes, fields, zone)
        zone = saved.blog.timezone
        finished = Done(done, f"/desk/blogs/{slug}", twice=twice, zone=zone)
        return self._answers.blog(request, saved, finished)


class _Entries:
    """Answers the requests for the forms and pages of a blog's entries."""

    def __init__(
        self,
        publishing: Publishing,
        pages: Pages,
        answering: Answers,
        blogs: _Blogs,
        now_ms: Callable[[], int],
    ) -> None:
        self._publishing, self._pages, self._blogs = publishing, pages, blogs
        self._answers, self._now_ms = answering, now_ms

    async def create(self, request: Request, caller: Caller) -> Response:
        slug, boxes = request.path_params["slug"], await read_form(request)
        blog = await self._blog(request, caller)
        zone = forms.zone_of(boxes, blog.timezone)
        try:
            fields = forms.new_entry_fields(boxes, blog.timezone)
            retraction.check_new(fields)
            pressed_at = forms.pressed_at(boxes, self._now_ms())
            made = await self._publishing.create_entry(
                caller, slug, fields, key_of(boxes), pressed_at
            )
        except Problem as problem:
            form = rejected_form(request, {**boxes, "zone": zone}, problem, zone)
            return await self._blogs.page(request, caller, problem.status, compose=form)
        twice = forms.twice_of(boxes, fields, zone)
        done = Done(made.entry.status, f"/desk/blogs/{slug}", twice=twice, zone=zone)
        return self._answers.entry(request, made, blog, done)

    async def show(self, request: Request, caller: Caller) -> Response:
        blog = await self._blog(request, caller)
        at = await self._publishing.entry(caller, blog.slug, request.path_params["id"])
        form = FormView(forms.entry_values(at.entry, blog.timezone))
        return self._page(caller, blog, at.entry, form)

    async def edit(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        boxes = await read_form(request)
        blog = await self._blog(request, caller)
        zone = forms.zone_of(boxes, blog.timezone)
        try:
            fields = forms.edited_entry_fields(boxes, blog.timezone)
            pressed_at = forms.pressed_at(boxes, self._now_ms())
            saved = await self._publishing.edit_entry(
                caller, slug, id, fields, forms.revision_of(boxes), key_of(boxes), pressed_at
            )
        except RevisionConflict as conflict:
            return await self._conflict(request, caller, blog, boxes, conflict)
        except Problem as problem:
            return await self._rejected_edit(request, caller, blog, boxes, problem)
        has_new_status = "status" in fields or saved.entry.status == "scheduled"
        notice = saved.entry.status if has_new_status else "saved" if fields else "unaltered"
        twice = forms.twice_of(boxes, fields, zone)
        done = Done(notice, f"/desk/blogs/{slug}", fragment=id, twice=twice, zone=zone)
        return self._answers.entry(request, saved, blog, done)

    async def delete(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        boxes = await read_form(request)
        takedown = boxes.get("takedown") == "1"
        gone = await self._publishing.delete_entry(caller, slug, id, takedown, key_of(boxes))
        path = f"/desk/blogs/{slug}"
        done = Done("taken-down", path) if takedown else Done("deleted", path, deleted=id)
        return answers.accepted(request, done, replayed=gone.replayed)

    async def restore(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        boxes, blog = await read_form(request), await self._blog(request, caller)
        restored = await self._publishing.restore_entry(caller, slug, id, key_of(boxes))
        done = Done("restored", f"/desk/blogs/{slug}", fragment=id)
        return self._answers.entry(request, restored, blog, done)

    async def retract(self, request: Request, caller: Caller) -> Response:
        slug, id = request.path_params["slug"], request.path_params["id"]
        boxes, blog = await read_form(request), await self._blog(request, caller)
        undo, note = boxes.get("undo") == "1", boxes.get("note")
        try:
            saved = await self._publishing.retract_entry(
                caller, slug, id, note, undo=undo, key=key_of(boxes)
            )
        except Problem as problem:
            if problem.status != 422:
                raise
            refused = rejected_form(request, boxes, problem, blog.timezone)
            at = await self._publishing.entry(caller, slug, id)
            form = FormView(forms.entry_values(at.entry, blog.timezone))
            return self._page(
                caller, blog, at.entry, form, status=problem.status, retraction=refused
            )
        done = Done("unretracted" if undo else "retracted", f"/desk/blogs/{slug}", fragment=id)
        return self._answers.entry(request, saved, blog, done)

    async def _blog(self, request: Request, caller: Caller) -> Blog:
        slug = request.path_params["slug"]
        return (await self._publishing.blog(caller, slug, or_damaged=True)).blog

    async def _rejected_edit(
        self, request: Request, caller: Caller, blog: Blog, boxes: Boxes, problem: Problem
    ) -> Response:
        """Show a rejected form again, with its text and the reasons, also for a deleted entry."""
        zone = forms.zone_of(boxes, blog.timezone)
        form = rejected_form(request, {**boxes, "zone": zone}, problem, zone)
        if problem.status == 410:
            return self._page(caller, blog, None, form, status=410)
        id = request.path_params["id"]
        entry = (await self._publishing.entry(caller, blog.slug, id)).entry
        return self._page(caller, blog, entry, form, status=problem.status)

    async def _conflict(
        self,
        request: Request,
        caller: Caller,
        blog: Blog,
        boxes: Boxes,
        conflict: RevisionConflict,
    ) -> Response:
        """Show the editor's text again, merged with the version that another editor saved.

        A script also gets the stored entry.
        """
        theirs, seen = conflict.current.entry, forms.revision_of(boxes)
        if wants_json(request):
            conflict.extra["current"] = self._answers.shape(request, conflict.current, blog)
        zone = forms.zone_of(boxes, blog.timezone)
        stored = forms.entry_values(theirs, zone)
        base = await self._base(caller, blog.slug, theirs.id, seen, zone) if seen else {}
        form = answers.merged_form(request, boxes, stored, base, conflict)
        return self._page(caller, blog, theirs, form, 412)

    async def _base(self, caller: Caller, slug: str, id: str, revision: int, zone: str) -> Boxes:
        """Return the boxes of the edited revision, none when the store no longer has it."""
        try:
            entry = await self._publishing.history.entry(caller, slug, id, revision)
        except Problem:
            return {}
        return forms.entry_values(entry, zone)

    def _page(
        self,
        caller: Caller,
        blog: Blog,
        entry: Entry | None,
        form: FormView,
        status: int = 200,
        retraction: FormView | None = None,
    ) -> Response:
        """Answer with an entry's page.

        `entry` is None for a deleted entry. `retraction` is the form of that name, if rejected.
        """
        html = self._pages.desk(
            "entry",
            editor=caller,
            blog=blog,
            entry=entry,
            form=form,
            retraction=retraction or FormView(),
        )
        return page_response(html, status)


def _in_order(unpublished: list[Entry]) -> list[Entry]:
    """Return unpublished entries: submissions, then scheduled ones by time, then drafts.

    Damaged ones, which are marked as deleted, are left out.
    """
    living = [it for it in unpublished if not it.deleted]
    living.sort(key=lambda it: (_RANK.get(it.status, len(_RANK)), it.publish_at or 0))
    return living[:UNPUBLISHED_MAX]


def _list_address(search: BlogSearch, before: str | None = None) -> str:
    """Return the address of a page of the list of blogs."""
    values = {"q": search.q, "status": search.status, "before": before}
    query = urlencode({name: value for name, value in values.items() if value})
    return f"/desk?{query}" if query else "/desk"
