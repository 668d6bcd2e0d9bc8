"""Figures and names that stand in the server's code and in the desk's scripts: they agree."""

import re
from pathlib import Path

import pytest

from liveblog.blog.fields import BlogFields, EntryFields
from liveblog.editors import forms
from liveblog.editors import kept as calls
from liveblog.store import kept

LINKS = ("full_coverage", "successor")
SCRIPTS = Path(__file__).parents[2] / "static/js/desk"


def stated(script: str, name: str) -> str:
    """Return what a script writes after `const NAME =`."""
    text = (SCRIPTS / script).read_text()
    [value] = re.findall(rf"^(?:export )?const {name} = (.+);$", text, re.MULTILINE)
    return str(value)


def product(text: str) -> int:
    """Return a figure that a script writes as a product, such as 23 * 3_600_000."""
    whole = 1
    for part in text.split("*"):
        whole *= int(part)
    return whole


def test_script_and_server_agree_how_long_a_press_may_wait() -> None:
    assert product(stated("queue.js", "PRESS_MS")) == forms.PRESSED_AGO_MAX_MS


def test_script_and_server_agree_how_large_a_kept_text_may_be() -> None:
    assert product(stated("keep.js", "COPY_BYTES_MAX")) == calls.KEPT_BYTES_MAX


@pytest.mark.parametrize(
    ("form", "is_kept"),
    [*((it, True) for it in (*kept.FORMS, "e0123456789az")), ("end", False), ("e1", False)],
)
def test_script_copies_the_forms_that_the_server_keeps(form: str, is_kept: bool) -> None:
    copied = stated("keep.js", "COPIED").strip("/")
    assert bool(re.search(copied, form)) is is_kept


def test_script_and_server_agree_which_boxes_have_words() -> None:
    wordless = re.compile(stated("texts.js", "WORDLESS").strip("/"))
    links = {f"{name}_{part}" for name in LINKS for part in ("text", "url")}
    boxes = {*(EntryFields.__struct_fields__ + BlogFields.__struct_fields__), *links}
    boxes -= {*LINKS, "pin_order"}  # no box has these names
    assert {it for it in boxes if not wordless.search(it)} == forms.WRITTEN
    assert not {"zone", "revision", "title_was"} & forms.WRITTEN
