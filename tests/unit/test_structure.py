"""Modules, classes and functions of the package stay small, and read no private names of others."""

import ast
import re
from functools import cache
from pathlib import Path

import kit
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liveblog"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by the module's dotted name."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return {name: ast.parse(path.read_text()) for name, path in zip(names, paths, strict=True)}


def lines_of(function: Function) -> int:
    """Return the lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or 0) - docstring.lineno + 1)


def bare_name(base: ast.expr) -> str:
    """Return the bare name of a base class: `Reader` for `reader.Reader[bytes]`."""
    return ast.unparse(base).partition("[")[0].rpartition(".")[2]


@cache
def classes() -> dict[str, ast.ClassDef]:
    nodes = (node for tree in modules().values() for node in ast.walk(tree))
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def methods_of(name: str) -> set[str]:
    """Return the names of a class's methods, also of those inherited from our own classes."""
    if name not in classes():
        return set()
    node = classes()[name]
    own = {it.name for it in node.body if isinstance(it, Function)}
    return own.union(*(methods_of(bare_name(base)) for base in node.bases))


def imports_of(tree: ast.Module) -> set[str]:
    """Return our modules that a module imports: at its top, in functions and for types."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{it.name}" for it in node.names)}
        elif isinstance(node, ast.Import):
            found |= {it.name for it in node.names}
    return found & modules().keys()


def text_of(name: str) -> str:
    return (ROOT / f"{name.replace('.', '/')}.py").read_text()


@pytest.mark.parametrize("name", modules())
def test_a_module_has_at_most_450_lines(name: str) -> None:
    assert len(text_of(name).splitlines()) <= 450


def test_a_class_has_at_most_20_methods_with_those_it_inherits() -> None:
    counts = {name: len(methods_of(name)) for name in classes()}
    assert max(counts.values()) > 15, "too few methods are found"
    assert {name: count for name, count in counts.items() if count > 20} == {}


def test_functions_are_short_in_the_median_and_have_at_most_45_lines() -> None:
    nodes = (node for tree in modules().values() for node in ast.walk(tree))
    lengths = sorted(lines_of(node) for node in nodes if isinstance(node, Function))
    assert len(lengths) > 1_000, "too few functions are found"
    assert lengths[len(lengths) // 2] <= 7
    assert lengths[len(lengths) * 9 // 10] <= 16
    assert lengths[-1] <= 45


def test_no_module_imports_itself_through_others() -> None:
    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in sorted(imports_of(modules()[name])):
                walk(other, (*path, name))
            done.add(name)

    done: set[str] = set()
    for name in modules():
        walk(name, ())
    assert len(imports_of(modules()["liveblog.app"])) > 10, "too few imports are found"


@pytest.mark.parametrize("name", modules())
def test_a_module_reads_no_private_name_of_another_object(name: str) -> None:
    owners = {"self", "cls", "super()"}
    private = re.compile(r"_[a-z]\w*")
    allowed = {"_replace", "_exit"}  # NamedTuple._replace and os._exit are public
    read = [
        ast.unparse(node)
        for node in ast.walk(modules()[name])
        if isinstance(node, ast.Attribute)
        and private.fullmatch(node.attr)
        and node.attr not in allowed
        and ast.unparse(node.value) not in owners
    ]
    assert read == []


@pytest.mark.parametrize("name", modules())
def test_every_exception_from_lint_and_types_has_its_reason(name: str) -> None:
    text = text_of(name)
    assert re.findall(r".*# noqa(?:: [A-Z]+\d+)?$", text, re.MULTILINE) == []
    assert re.findall(r".*# type: ignore(?:\[[\w-]+\])?$", text, re.MULTILINE) == []


def test_every_helper_of_the_tests_is_described() -> None:
    files = {path.stem for path in (ROOT / "tests" / "kit").glob("[!_]*.py")}
    assert set(re.findall(r"`(\w+)`", str(kit.__doc__))) == files
