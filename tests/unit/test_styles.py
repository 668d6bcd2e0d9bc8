"""Styles are served without comments and blanks, and mean the same."""

import re

import pytest

from liveblog.pages import assets
from liveblog.pages.styles import stripped
from liveblog.settings import static_dir

STYLES = {
    name: content.decode()
    for name, content in assets.read(static_dir()).items()
    if name.endswith(".css")
}


@pytest.mark.parametrize("css", STYLES.values(), ids=STYLES)
def test_a_style_loses_only_comments_blanks_zeros_and_semicolons(css: str) -> None:
    short = stripped(css)
    bare = re.sub(r"(?<![\w.])0(?=\.)|/\*.*?\*/", "", css, flags=re.DOTALL)
    bare = re.sub(r"\s", "", bare).replace(";}", "}")
    assert re.sub(r"\s", "", short) == bare
    assert len(short) < len(css)
    assert stripped(short) == short


def test_a_blank_stays_where_it_separates() -> None:
    css = """
    .a :hover > b, /* one */ c { margin: -1px calc(1px + 0.5px) ; content: ' /* ; } */ ' }
    @media (min-width: 4rem) and (scripting) { d { color: red; } }
    """
    assert stripped(css) == (
        ".a :hover>b,c{margin:-1px calc(1px + .5px);content:' /* ; } */ '}"
        "@media (min-width:4rem) and (scripting){d{color:red}}"
    )
