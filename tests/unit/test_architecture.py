"""ARCHITECTURE.md agrees with the code: packages, modules, functions, limits and tests."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from liveblog.settings import variables

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liveblog"
ROOMS = {"blog", "html", "store", "editors", "live", "pages", "commands"}
RULE = re.compile(r"^\| `(\w+)/?` \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
MODULE = re.compile(r"^- `([\w/]+\.py)`: \S", re.MULTILINE)


def text() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text()


def rules() -> dict[str, set[str]]:
    """Return the table of ARCHITECTURE.md: what each package and root module may import."""
    return {name: set(re.findall(r"\w+", may)) for name, may in RULE.findall(text())}


def files() -> list[Path]:
    """Return every Python file of the package except the empty `__init__.py` files."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the packages of liveblog that a file imports, also inside functions."""
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


# -- names in backticks ----------------------------------------------------------------------------


class Names:
    """Collects the names that the package defines.

    `functions` has bare names, and names with their class or module: `join`, `Live.join`,
    `page.routes`. `constants` has the names that modules assign outside of functions and
    classes.
    """

    def __init__(self) -> None:
        self.functions: set[str] = set()
        self.classes: dict[str, list[str]] = {}  # name -> names of its bases
        self.constants: set[str] = set()
        for path in files():
            self._read(path.stem, ast.parse(path.read_text()))

    def _read(self, module: str, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = [it.id for it in node.bases if isinstance(it, ast.Name)]
                self._note(node.name, node.body)
        self._note(module, tree.body)
        for statement in tree.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
            self.constants |= {it.id for it in targets if isinstance(it, ast.Name)}

    def _note(self, holder: str, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions |= {node.name, f"{holder}.{node.name}"}

    def has_function(self, name: str) -> bool:
        """Return whether the package defines the function; a method may be inherited."""
        if name in self.functions:
            return True
        holder, _, method = name.rpartition(".")
        return any(self.has_function(f"{base}.{method}") for base in self.classes.get(holder, []))


@cache
def names() -> Names:
    return Names()


def spans() -> list[str]:
    """Return the texts in backticks in ARCHITECTURE.md, outside of code blocks."""
    return SPAN.findall(re.sub(r"```.*?```", "", text(), flags=re.DOTALL))


def test_every_named_function_exists() -> None:
    named = {span[:-2] for span in spans() if re.fullmatch(r"[A-Za-z_][\w.]*\(\)", span)}
    assert len(named) > 30
    assert {name for name in named if not names().has_function(name)} == set()


def test_every_named_class_exists() -> None:
    named = {span for span in spans() if re.fullmatch(r"[A-Z][a-z]\w*", span)}
    assert len(named) > 10
    assert named - names().classes.keys() == set()


def test_every_named_constant_exists_and_its_limit_is_stated() -> None:
    named = {span for span in spans() if re.fullmatch(r"[A-Z][A-Z_]+", span)}
    assert named - names().constants - set(variables()) == set()
    stated = {
        name: re.search(rf"\| ([\d,]+)( KiB)?[^|]*\| `{name}` in `([\w/]+)\.py`", text())
        for name in ("KEPT_CHANGES", "MISSED_MAX", "MISSED_BYTES_MAX")
    }
    for name, found in stated.items():
        assert found, f"the table of limits lacks {name}"
        module = importlib.import_module(f"liveblog.{found[3].replace('/', '.')}")
        scale = 1024 if found[2] else 1
        assert getattr(module, name) == int(found[1].replace(",", "")) * scale


def test_every_named_file_exists() -> None:
    places = (PACKAGE, PACKAGE / "store", ROOT, ROOT / "static" / "js")
    named = {s for s in spans() if re.fullmatch(r"[\w/.]+(/|\.(py|js|lua|md))", s)}
    assert len(named) > 50
    missing = {s for s in named if not any((place / s).exists() for place in places)}
    assert missing == set()


def test_every_script_of_the_page_and_the_desk_is_listed() -> None:
    scripts = ROOT / "static" / "js"
    listed = re.findall(r"^- `([\w/]+\.js)`: \S", text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(p.relative_to(scripts)) for p in scripts.rglob("*.js"))


def test_the_questions_of_a_newcomer_have_an_answer_and_its_link_leads_there() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text(), re.MULTILINE)
    }
    links = set(re.findall(r"\]\(#([\w-]+)\)", text()))
    assert len(links) >= 5
    assert links - headings == set()
