"""The environment of the templates, and the byte code that it stores."""

import stat
import sys
from pathlib import Path

import jinja2
import pytest

from liveblog.html import environment as module
from liveblog.html.entries import templates
from liveblog.html.environment import environment

GLOBALS = templates.globals


@pytest.fixture(autouse=True)
def _writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store byte code even if PYTHONDONTWRITEBYTECODE is set."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


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
        code = path.read_bytes()
        path.write_bytes(code[: len(code) * number // count])
    environment(tmp_path, **GLOBALS)
    assert len(compiled) == 2 * count


def test_templates_are_compiled_again_when_jinja_or_an_option_changes(
    tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, **GLOBALS)
    count = len(compiled)
    monkeypatch.setattr(jinja2, "__version__", "99.0")
    environment(tmp_path, **GLOBALS)
    monkeypatch.setitem(module.OPTIONS, "trim_blocks", False)
    environment(tmp_path, **GLOBALS)
    assert len(compiled) == 3 * count
    assert len(list(tmp_path.iterdir())) == count  # new byte code replaces the old


def test_byte_code_may_be_read_by_every_user(tmp_path: Path) -> None:
    environment(tmp_path, **GLOBALS)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_templates_load_when_no_byte_code_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    environment(file / "code", **GLOBALS)
    assert [*tmp_path.iterdir()] == [file]


def test_no_byte_code_is_written_when_python_writes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    environment(tmp_path / "code", **GLOBALS)
    assert not list(tmp_path.iterdir())
