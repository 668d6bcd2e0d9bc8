"""ARCHITECTURE.md is held to the code."""

import ast
import re
from pathlib import Path

import pytest

from liveblog import settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liveblog"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)


def table() -> dict[str, set[str]]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return {name: set(re.findall(r"\w+", may)) for name, may in ROW.findall(text)}


def imports(path: Path) -> set[str]:
    """Return our modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "liveblog":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("liveblog."):
            found.add(str(node.module).removeprefix("liveblog."))
        elif isinstance(node, ast.Import):
            found |= {
                a.name.removeprefix("liveblog.")
                for a in node.names
                if a.name.startswith("liveblog.")
            }
    return found & set(modules())


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def test_every_module_stands_in_the_table() -> None:
    assert sorted(table()) == modules()


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    assert imports(PACKAGE / f"{module}.py") <= table()[module]


def test_only_the_doors_speak_to_redis() -> None:
    speaking = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if re.search(r"^\s*(from|import) redis\b", path.read_text(), re.MULTILINE)
    }
    assert speaking <= {"nodes", "broker", "follow", "accounts"}


def test_only_render_marks_text_as_safe() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.stem != "render":
            assert not re.search(r"\b(Markup|__html__)\b", path.read_text()), path
    for path in (PACKAGE / "templates").glob("*.html"):
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", path.read_text()), path


def test_every_named_test_of_the_failure_table_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_the_readmes_settings_are_the_codes() -> None:
    assert settings.table().strip() in (ROOT / "README.md").read_text()
