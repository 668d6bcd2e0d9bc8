"""ARCHITECTURE.md is held to the code: the rules between packages, the modules, the named tests."""

import ast
import re
from pathlib import Path

import pytest

from liveblog import settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liveblog"
ROOMS = {"blog", "html", "store", "editors", "live", "pages", "commands"}
RULE = re.compile(r"^\| `(\w+)/?` \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)
MODULE = re.compile(r"^- `([\w/]+\.py)`: \S", re.MULTILINE)


def text() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text()


def rules() -> dict[str, set[str]]:
    """Return what each package may import of ours; a module at the root is a package by itself."""
    return {name: set(re.findall(r"\w+", may)) for name, may in RULE.findall(text())}


def files() -> list[Path]:
    """Return every Python file of the package that holds code."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the packages of ours that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "liveblog":
                found |= {alias.name for alias in node.names}
            elif (node.module or "").startswith("liveblog."):
                found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("liveblog.")}
    return found


def test_the_files_are_found_in_every_room() -> None:
    assert {room_of(path) for path in files()} >= ROOMS
    assert len(files()) == sum(len(list(d.glob("[!_]*.py"))) for d in [PACKAGE, *PACKAGE.iterdir()])


def test_every_module_stands_in_the_list() -> None:
    assert sorted(MODULE.findall(text())) == sorted(str(p.relative_to(PACKAGE)) for p in files())


def test_every_package_has_a_rule() -> None:
    assert set(rules()) == {room_of(path) for path in files()}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_package_may(path: Path) -> None:
    assert imports(path) <= rules()[room_of(path)] | {room_of(path)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=str)
def test_an_init_file_is_empty(path: Path) -> None:
    assert path.read_text() == ""


def test_packages_are_at_most_two_levels_deep() -> None:
    assert max(len(path.relative_to(PACKAGE).parts) for path in files()) == 2


def test_only_the_store_speaks_to_redis() -> None:
    speaking = {
        room_of(path)
        for path in files()
        if re.search(r"^\s*(from|import) redis\b", path.read_text(), re.MULTILINE)
    }
    assert speaking == {"store"}


def test_only_html_marks_text_as_safe() -> None:
    for path in files():
        if room_of(path) != "html":
            assert not re.search(r"\b(Markup|__html__)\b", path.read_text()), path
    templates = list((PACKAGE / "html" / "templates").rglob("*.html"))
    assert templates
    for path in templates:
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", path.read_text()), path


def test_every_named_test_of_the_failure_table_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text())
    assert named
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_the_readmes_settings_are_the_codes() -> None:
    assert settings.table().strip() in (ROOT / "README.md").read_text()
