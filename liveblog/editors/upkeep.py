"""The desk's upkeep of a blog's entries: the page of the bin, and moves of pinned entries.

Rules: no Redis, no HTML in strings, no permission decided here (publishing decides).
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from liveblog.blog.model import Caller
from liveblog.editors import answers
from liveblog.editors.forms import FormView
from liveblog.editors.gate import Gate, page_response, read_form
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import LIST_MAX
from liveblog.html.pages import Pages

_BLOG = "/desk/blogs/{slug}"


def routes(gate: Gate, publishing: Publishing, pages: Pages) -> list[BaseRoute]:
    """Return the routes of the bin's page, and of the buttons that move pinned entries."""

    async def show(request: Request, caller: Caller) -> Response:
        slug = request.path_params["slug"]
        before = request.query_params.get("before") or None
        page = await publishing.bin.page(caller, slug, before, LIST_MAX)
        blog = (await publishing.blog(caller, slug, or_damaged=True)).blog
        key = FormView().key
        html = pages.desk("bin", editor=caller, blog=blog, bin=page, before=before, key=key)
        return page_response(html)

    async def move(request: Request, caller: Caller) -> Response:
        """Move an entry before the one in the box `before`, which is empty for the end."""
        slug, id = request.path_params["slug"], request.path_params["id"]
        boxes = await read_form(request)
        await publishing.pins.move(caller, slug, id, boxes.get("before") or None)
        done = answers.Done("moved", f"/desk/blogs/{slug}", fragment=f"pin-{id}")
        return answers.accepted(request, done)

    return [
        gate.get(f"{_BLOG}/bin", show),
        gate.post(f"{_BLOG}/entries/{{id}}/move", move),
    ]
