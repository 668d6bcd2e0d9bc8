"""A conflict of two editors' headers, box by box: mine stays in its box, theirs is shown beside it.

Rules: pure. No text of either editor is dropped.
"""

from dataclasses import replace
from typing import Final

from liveblog.editors.forms import Boxes, FormView, header_values, rejected
from liveblog.editors.results import HeaderConflict

BOTH: Final = (
    "Someone saved the header while you were editing it. Both versions are shown. Merge them or"
    " choose one, then save."
)
APART: Final = (
    "Someone saved the header while you were editing it. Their changes are in other fields and are"
    " now included here. Save again to save yours."
)


def header_conflict(boxes: Boxes, conflict: HeaderConflict) -> FormView:
    """Return the form of a header that a colleague saved first, ready to be saved again.

    A box that this editor altered keeps its text. Any other box gets the stored one, so that saving
    again undoes nothing. The form is now based on the stored revision.
    """
    stored = header_values(conflict.current.blog)
    names = [name for name in stored if f"{name}_was" in stored]
    mine = {it: boxes[it] for it in names if it in boxes and boxes[it] != boxes.get(f"{it}_was")}
    theirs = {
        name: stored[name]
        for name, text in mine.items()
        if stored[name] not in (text, boxes.get(f"{name}_was"))
    }
    form = rejected({**boxes, **stored, **mine}, conflict)
    return replace(form, problem=BOTH if theirs else APART, theirs=theirs)
