"""The Jinja environment of the templates, and the byte code that it stores on disk."""

from pathlib import Path

import jinja2
import pytest

from liveblog.html.entries import templates
from liveblog.html.environment import environment

GLOBALS = templates.globals


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the templates that Jinja compiles from now on."""
    names: list[str] = []
    compiles = jinja2.Environment.compile

    def compile_(self: jinja2.Environment, source: str, name: str, filename: str) -> object:
        names.append(name)
        return compiles(self, source, name, filename)

    monkeypatch.setattr(jinja2.Environment, "compile", compile_)
    return names


def test_a_template_is_compiled_once_when_environments_share_byte_code(
    tmp_path: Path, compiled: list[str]
) -> None:
    first = environment(tmp_path / "code", **GLOBALS)
    assert "reader/entry.html" in compiled
    compiled.clear()
    second = environment(tmp_path / "code", **GLOBALS)
    assert not compiled
    one, two = (it.get_template("reader/entry.html").root_render_func for it in (first, second))
    assert one is not two
    assert one.__code__ == two.__code__


def test_every_template_is_compiled_when_the_byte_code_is_torn(
    tmp_path: Path, compiled: list[str]
) -> None:
    environment(tmp_path, **GLOBALS)
    count = len(compiled)
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        path.write_bytes(path.read_bytes()[: number * 5])
    environment(tmp_path, **GLOBALS)
    assert len(compiled) == 2 * count


def test_templates_load_when_no_byte_code_can_be_written(tmp_path: Path) -> None:
    environment(tmp_path / "missing" / "code", **GLOBALS)
    assert not list(tmp_path.iterdir())
