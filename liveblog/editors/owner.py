"""The editor for whom a page of the desk was made, who may not be the one who is signed in by now.

Every form and every call of a script names its editor. When another editor has signed in since,
nothing is stored, and the editor decides. A call that names none counts as the session's own: a
script without a page of ours sends it.

Rules: no Redis, no HTML.
"""

from typing import Final
from urllib.parse import unquote

from starlette.requests import Request

from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem
from liveblog.editors.forms import Boxes
from liveblog.editors.reasons import SAFE

EDITOR: Final = "liveblog-editor"  # the header that says for which editor a script's page was made
TRIED: Final = "tried"  # the box of a form that was sent before, with an unknown end


def check_header(request: Request, caller: Caller) -> None:
    """Raise Problem 409 when a script's page was made for another editor than the caller.

    Scripts send the header percent-encoded: a name may have characters that no header takes.
    """
    made_for = request.headers.get(EDITOR)
    if made_for is not None and unquote(made_for) != caller.ident:
        raise other_editor(unquote(made_for), caller)


def check_box(request: Request, boxes: Boxes) -> None:
    """Raise Problem 409 when a form's page was made for another editor than the caller."""
    caller: Caller | None = getattr(request.state, "caller", None)
    made_for = boxes.get("editor")
    if caller and made_for not in (None, caller.ident):
        raise other_editor(made_for or "", caller, tried=bool(boxes.get(TRIED)))


def other_editor(made_for: str, caller: Caller, *, tried: bool = False) -> Problem:
    """Return the problem of a page that was made for another editor than the caller.

    `tried`: the same form was sent before, and nobody knows whether it was stored. Sent under
    another name it would be stored once more, since an Idempotency-Key counts for one editor.
    """
    name = made_for.partition(":")[2][:80] or "another editor"
    saved = f"An earlier try may have been stored under {name}. Look at the blog first."
    reason = (
        f"This page was opened by {name}. You are signed in as {caller.name} now."
        f" {saved if tried else 'This try saved nothing.'} {SAFE}"
    )
    editor = {"ident": caller.ident, "name": caller.name}
    extra: dict[str, object] = {"editor": editor, "reason": reason, "boxes": {}}
    detail = "The page was made for another editor than the session's. Nothing was stored."
    return Problem(409, "other-editor", detail, extra=extra)
