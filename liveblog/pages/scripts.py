"""One script made of the reader's modules, minified: what a phone on a train loads.

The modules are written and tested one by one, and the desk loads them so. Joined they are half as
large on the way, and one request instead of nine. There is no build step: it is done at the start.

Rules: joins modules as ours are written, and nothing else. They import only each other, by name, in
one statement a module; none declares a name that another one has, since all are one scope then. It
is a function's, whose names are nobody else's, so that the minifier makes them short.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

try:
    import minify
except ImportError:  # there is no wheel for Apple's processors: the script is served as written
    minify = None

READER: Final = "js/reader.js"

_IMPORT: Final = re.compile(r"^import \{[^}]*\} from '\./(\w+\.js)';\n", re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:class|const|function) )", re.MULTILINE)
_LEFT: Final = re.compile(r"^(?:import|export) .*", re.MULTILINE)
_DECLARED: Final = re.compile(r"^(?:async )?(?:class|const|function|let) (\w+)", re.MULTILINE)


def with_reader(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the static files with READER, the reader's modules as one. Raises as `joined` does."""
    return {**files, READER: joined(files, "js/page.js")}


def joined(files: Mapping[str, bytes], entry: str) -> bytes:
    """Return a module with all that it imports as one script.

    `entry` is its path in `files`. Raises ValueError for an import or export of another form, and
    for a name that two of the modules declare.
    """
    modules: dict[str, str] = {}
    _collect(files, entry, modules)
    whole = "\n".join(("(() => {", *modules.values(), "})();"))
    if left := _LEFT.search(whole):
        raise ValueError(f"{entry}: cannot be joined: {left[0]}")
    names = _DECLARED.findall(whole)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{entry}: declared in two modules: {', '.join(twice)}")
    return (minify.string("application/javascript", whole) if minify else whole).encode()


def _collect(files: Mapping[str, bytes], path: str, modules: dict[str, str]) -> None:
    """Add a module behind those that it imports."""
    text = files[path].decode()
    modules[path] = ""  # where two import each other, one of them is first
    for name in _IMPORT.findall(text):
        other = str(PurePosixPath(path).with_name(name))
        if other not in modules:
            _collect(files, other, modules)
    del modules[path]
    modules[path] = _EXPORT.sub("", _IMPORT.sub("", text))
