"""A conflict of two editors who saved the same entry or header, merged box by box.

A box that one of them altered has that editor's text. A box that both altered keeps the text of the
editor who saves later, and the other text is shown beside it. Pages and scripts get the same merge.

Rules: pure. No text of either editor is dropped.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from liveblog.editors.forms import Boxes, FormView, rejected
from liveblog.editors.results import SavedFirst

_BOTH: Final = "Both versions are shown. Merge them or choose one, then save."
_APART: Final = (
    "Their changes are in other fields and are now included here. Save again to save yours."
)
# Boxes whose texts are not merged: they say what the form is based on. The note for readers is
# merged like any other box: the last one stays until an editor alters it knowingly.
_OF_FORM: Final = ("revision", "published_at", "zone")


class Merge(NamedTuple):
    """The stored texts of the boxes in which two editors' versions differ.

    `taken` has the boxes that only the other editor altered, `both` those that both altered.
    """

    taken: Boxes
    both: Boxes


def merge(mine: Mapping[str, str], stored: Mapping[str, str], base: Mapping[str, str]) -> Merge:
    """Merge the boxes of a form with the stored ones.

    A box was altered when its text differs from what it showed at first. The form states this in
    `{name}_was`, or `base` does. When neither does, the box counts as altered by both editors.
    An editor who altered a blog's start meant it in the zone of the form.
    """
    shown = {name: mine.get(f"{name}_was", base.get(name)) for name in stored}
    altered = {name for name in stored if mine.get(name) != shown[name]}
    altered |= {"timezone"} if "starts_at" in altered else set()
    differing = [
        it for it in stored if not _is_of_form(it) and mine.get(it) not in (None, stored[it])
    ]
    taken = {it: stored[it] for it in differing if it not in altered}
    both = {it: stored[it] for it in differing if it in altered and stored[it] != shown[it]}
    return Merge(taken, both)


def _is_of_form(name: str) -> bool:
    return name in _OF_FORM or name.endswith("_was")


def merged_form(boxes: Boxes, stored: Boxes, found: Merge, conflict: SavedFirst) -> FormView:
    """Return the form of the editor who saved later, ready to be saved again.

    The form is now based on the stored revision: saving it again undoes nothing.
    """
    fresh = {name: text for name, text in stored.items() if _is_of_form(name)}
    whole = {**stored, **boxes, **fresh, **found.taken}
    sentence = f"{conflict.sentence} {_BOTH if found.both else _APART}"
    return replace(rejected(whole, conflict), problem=sentence, theirs=found.both)
