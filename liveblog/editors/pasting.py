"""`POST /desk/paste`: what a program put on the clipboard, as Markdown in JSON.

Rules: no Redis. html/paste.py converts, in a thread: a long HTML takes a second.
"""

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem
from liveblog.editors.gate import Gate, read_form
from liveblog.editors.turns import Turns
from liveblog.html.paste import to_markdown

_REASONS = {
    422: "This is too much to paste at once. Paste a part of it, or paste it without formatting.",
    413: "This is too much to paste at once. Paste a part of it, or paste it without formatting.",
    429: "Your last paste is still being read. Paste again in a moment.",
}


def routes(gate: Gate) -> list[BaseRoute]:
    """Return the route of pastes. The form has the boxes `html` and `text`."""
    turns = Turns("paste")

    async def paste(request: Request, caller: Caller) -> Response:
        try:
            boxes = await read_form(request)
            html, text = boxes.get("html", ""), boxes.get("text", "")
            markdown = await turns.run(caller.ident, to_markdown, html, text)
        except Problem as problem:
            reason = _REASONS.get(problem.status, "Pasting failed. Paste again.")
            problem.extra = {"reason": reason, "boxes": {}, **problem.extra}
            raise
        return Response(orjson.dumps({"markdown": markdown}), media_type="application/json")

    return [gate.script("POST", "/desk/paste", paste)]
