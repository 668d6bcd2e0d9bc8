"""Texts that the desk shows with and without scripts are the same."""

from pathlib import Path

import pytest

from liveblog.editors import answers, forms, reasons
from liveblog.settings import static_dir

TEMPLATES = Path(forms.__file__).parents[1] / "html" / "templates" / "desk"


def scripts() -> str:
    """Return the desk's modules, with strings that are split over lines joined."""
    paths = (Path(static_dir()) / "js" / "desk").glob("*.js")
    text = " ".join(" ".join(path.read_text().split()) for path in paths)
    return text.replace("' + '", "")


SHARED = {
    reasons.REUSED,
    *(answers.NOTICES[name] for name in ("published", "scheduled", "draft", "submitted")),
    *(answers.NOTICES[name] for name in ("retracted", "unaltered", "header", "deleted")),
}


@pytest.mark.parametrize("text", sorted(SHARED))
def test_a_notice_is_the_same_with_and_without_scripts(text: str) -> None:
    assert text in scripts()


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("problem.html", "Your text is safe here. "),
        ("problem.html", "Try again: it will not be published twice."),
        ("entry.html", ", their version"),
        ("entry.html", "Publish as a new entry"),
    ],
)
def test_a_label_is_the_same_with_and_without_scripts(template: str, text: str) -> None:
    assert text in (TEMPLATES / template).read_text()
    assert text in scripts()
