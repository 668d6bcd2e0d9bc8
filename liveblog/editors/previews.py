"""Previews: an entry, a header or a whole blog as readers would see it. Nothing is stored.

Previews are rendered in threads of their own, so that none delays an entry that is being published,
or a reader: a whole blog takes up to 0.1 s.

Rules: no Redis. decisions.py checks fields and permissions, as for a write; html/ makes the markup.
"""

from collections.abc import Awaitable, Callable

import orjson
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from liveblog.blog.fields import Fields
from liveblog.blog.model import Blog, Caller, new_id
from liveblog.blog.problem import Problem, invalid, not_found
from liveblog.blog.timeline import WINDOW, Snapshot, Timeline
from liveblog.editors import decisions, forms, header_decisions
from liveblog.editors.answers import explain
from liveblog.editors.gate import Gate, page_response, read_form
from liveblog.editors.publishing import Publishing
from liveblog.editors.rendering import html_of
from liveblog.editors.turns import Turns
from liveblog.html.entries import entry_html, header_html
from liveblog.html.pages import Pages

Load = Callable[[str], Awaitable[Snapshot | None]]


class Previews:
    """Renders previews, for each editor one at a time.

    `load` returns a blog as readers' pages get it; `now` returns milliseconds since 1970.
    """

    def __init__(self, publishing: Publishing, load: Load, now: Callable[[], int]) -> None:
        self._publishing, self._load, self._now = publishing, load, now
        self._turns, self._whole = Turns("preview"), Turns("whole preview")

    async def html(self, caller: Caller, slug: str, fields: Fields) -> str:
        """Return the HTML of a preview. `kind` among the fields is "entry" or "header".

        Raises Problem: 404 for a blog that the caller may not see, 403 and 422 as the write of the
        same fields would, 429 while another preview of the caller is rendered.
        """
        blog = (await self._publishing.blog(caller, slug)).blog
        given = {name: value for name, value in fields.items() if name != "kind"}
        if fields.get("kind") == "entry":
            return await self._entry(caller, blog, given)
        if fields.get("kind") == "header":
            return await self._header(caller, blog, given)
        raise invalid(("/kind", "must be entry or header"))

    async def whole(self, caller: Caller, slug: str, pages: Pages) -> str:
        """Return the page of a blog with its newest entries, a draft as if it were live.

        Raises Problem: 404 for a blog that the caller may not see, 429 while another page is loaded
        or rendered for the caller.
        """
        await self._publishing.blog(caller, slug)
        with self._whole.turn(caller.ident):  # a snapshot has up to some megabytes
            snapshot = await self._load(slug)
        if not snapshot:
            raise not_found()
        return await self._whole.run(caller.ident, _page, pages, snapshot)

    async def _entry(self, caller: Caller, blog: Blog, fields: Fields) -> str:
        """Return an entry's article as it is shown when it is published now."""
        patch = decisions.entry_patch(fields)
        is_retracted = patch.pop("status", None) == "retracted"
        patch.pop("publish_at", None)
        if text := patch.get("body"):
            patch["body_html"] = await self._turns.run(caller.ident, html_of, text, "/body")
        now, id = self._now(), new_id("e", 12)
        entry = decisions.new_entry(caller, id, patch, now)
        shown = replace(
            entry,
            status="retracted" if is_retracted else "published",
            published_at=entry.published_at or entry.stated_at or now,
            updated_at=now,
            offset=blog.offset + 1,
            order=blog.offset + 1,
        )
        return entry_html(shown, blog)

    async def _header(self, caller: Caller, blog: Blog, fields: Fields) -> str:
        patch = header_decisions.blog_patch(fields)
        header_decisions.check_may_edit_blog(caller, blog.slug, patch)
        if text := patch.get("summary"):
            patch["summary_html"] = await self._turns.run(caller.ident, html_of, text, "/summary")
        elif "summary" in patch:
            patch["summary_html"] = None
        return header_html(header_decisions.merge_blog(blog, patch))


def _page(pages: Pages, snapshot: Snapshot) -> str:
    timeline = Timeline(snapshot)
    blog = timeline.blog
    shown = replace(blog, status="live" if blog.status == "draft" else blog.status)
    return pages.blog(
        blog=shown,
        position=timeline.position,
        entries=timeline.newest(WINDOW),
        pinned=timeline.marked("pinned"),
        key_events=timeline.marked("key"),
        before=None,
        older=False,
        permalink=None,
        public_url="",
        article=lambda entry: entry_html(entry, shown),
        is_preview=True,
    )


def routes(gate: Gate, previews: Previews, publishing: Publishing, pages: Pages) -> list[BaseRoute]:
    """Return the routes of the desk's previews. The form has the boxes of the desk and `kind`."""

    async def preview(request: Request, caller: Caller) -> Response:
        boxes, slug = await read_form(request), request.path_params["slug"]
        zone = (await publishing.blog(caller, slug)).blog.timezone
        try:
            html = await previews.html(caller, slug, _fields(boxes, zone))
        except Problem as problem:
            explain(problem, forms.rejected(boxes, problem, zone))
            raise
        return Response(orjson.dumps({"html": html}), media_type="application/json")

    async def whole(request: Request, caller: Caller) -> Response:
        return page_response(await previews.whole(caller, request.path_params["slug"], pages))

    path = "/desk/blogs/{slug}/preview"
    return [
        gate.get(path, whole),
        gate.script("POST", path, preview),
    ]


def _fields(boxes: forms.Boxes, zone: str) -> Fields:
    kind = boxes.get("kind", "")
    if kind == "header":
        return {**forms.header_fields(boxes, zone), "kind": kind}
    return {**forms.new_entry_fields(boxes, zone), "kind": kind}
