"""Join a page's JavaScript modules into one script without comments.

The page then needs one request and a third of the bytes. Tests load single modules. naming.py
shortens the names of variables, and terse.py leaves out signs. A minifier would save another 2 %,
but needs a build step or a dependency in each worker. Without a build step, a checkout and a wheel
serve the same bytes. A test compares what is served with the modules, by a parser. remembered.py
keeps the result.

Rules: reject JavaScript that this module cannot join. The only imports are of our modules, as
`import { name } from './file.js'`. All modules of a script share one scope, so no two of them
declare the same name.
"""

import posixpath
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from liveblog.pages import naming, styles, terse
from liveblog.pages.naming import LOWERCASE, letters, with_short_names
from liveblog.pages.remembered import remembered

READER: Final = "js/reader.js"
DESK: Final = "js/desk.js"
READER_STYLES: Final = "css/reader.css"
DESK_STYLES: Final = "css/desk.css"
_SHARED_STYLES: Final = ("css/tokens.css", "css/page.css")  # joined before each of the two
VERSION: Final = "js/version.js"
_ENTRIES: Final = {READER: "js/page.js", DESK: "js/desk/page.js"}

_IMPORT: Final = re.compile(r"^import \{[^}]*\} from '(\.{1,2}/[\w/]+\.js)';\n", re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:class|const|function|let) )", re.MULTILINE)
_LEFT: Final = re.compile(r"^(?:import|export) .*", re.MULTILINE)
_DECLARED: Final = re.compile(r"^(?:async )?(?:class|const|function|let) (\w+)", re.MULTILINE)

_STRING: Final = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_REGEX: Final = (
    r"/(?:[^/*\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])*/"
)
# A token is a gap (white space and comments), a literal or code. `literal` lists the signs and
# keywords after which a slash starts a regular expression; any other slash divides.
_TOKEN: Final = re.compile(
    rf"""
    (?P<gap> (?: \s+ | //[^\n]* | /\*.*?\*/ )+ )
    | (?P<literal> {_STRING}
        | ` (?: [^`\\$] | \\. | \$(?!{{) | \${{ (?: [^{{}}`'"] | {_STRING} )* }} )* `
        | (?: [(,=:\[!&|?{{;>+] | \b(?:return|case|typeof) ) \s* {_REGEX} )
    | (?P<code> [\w$#]+ | (?: [^\w\s$#'"`/] (?!\s*/) )+ | [^'"`] )
    """,
    re.VERBOSE | re.DOTALL,
)
# A line break after an `_OPEN` sign, or before a `_CONTINUED` sign, ends no statement, and is
# removed.
_OPEN: Final = frozenset("{([,;=?:&|<>!~*%^")
_CONTINUED: Final = frozenset(")],;=?:&|.*%^}")
_FILLED: Final = re.compile(r"(?<=\$\{)[^}]+")  # the code in a template literal
_BEFORE_SLASH: Final = re.compile(r"(?<=^[(,=:\[!&|?{;>+])\s+")
_PRIVATE: Final = re.compile(r"^#\w+$")
_WORD: Final = frozenset(f"{string.ascii_letters}{string.digits}_$#")


def with_scripts(files: Mapping[str, bytes], version: str) -> dict[str, bytes]:
    """Return the static files, and the joined scripts READER and DESK, which know their `version`.

    Styles have no comments. READER_STYLES and DESK_STYLES are joined from all style sheets of these
    pages: together they compress to less, and take one request.

    Raises ValueError as `joined` does.
    """
    files = {**files, VERSION: f"export const VERSION = '{version}';\n".encode()}
    files |= {
        name: styles.stripped(css.decode()).encode()
        for name, css in files.items()
        if name.endswith(".css")
    }
    for name in {READER_STYLES, DESK_STYLES} & files.keys():
        files[name] = b"\n".join(files[it] for it in (*_SHARED_STYLES, name))
    return {**files, **{name: _script(files, name, entry) for name, entry in _ENTRIES.items()}}


def _script(files: Mapping[str, bytes], name: str, entry: str) -> bytes:
    """Return the script `name`, from disk when its modules and this code are as they were."""
    here = Path(__file__)

    def make() -> bytes:
        return shortened(joined(files, entry), declared(files, entry)).encode()

    try:
        code = b"".join(Path(it).read_bytes() for it in (here, naming.__file__, terse.__file__))
    except OSError:  # byte code alone is installed
        return make()
    made_from = code + whole(files, entry).encode()
    return remembered(here.with_name(PurePosixPath(name).name), made_from, make)


def joined(files: Mapping[str, bytes], entry: str) -> str:
    """Return a module and all modules that it imports as one script, without comments.

    `entry` is the module's path in `files`. Raises ValueError for imports and exports in an unknown
    syntax, and for a name that two of the modules declare.
    """
    text = whole(files, entry)
    if left := _LEFT.search(text):
        raise ValueError(f"{entry}: cannot be joined: {left[0]}")
    names = declared(files, entry)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{entry}: declared in two modules: {', '.join(twice)}")
    return stripped(text)


def declared(files: Mapping[str, bytes], entry: str) -> list[str]:
    """Return the names that a module and all modules that it imports declare."""
    return _DECLARED.findall(whole(files, entry))


def whole(files: Mapping[str, bytes], entry: str) -> str:
    """Return a module and all modules that it imports as one script, as written."""
    modules: dict[str, str] = {}
    _collect(files, entry, modules)
    return "\n".join(("(() => {", *modules.values(), "})();"))


def _collect(files: Mapping[str, bytes], path: str, modules: dict[str, str]) -> None:
    """Add a module to `modules`, after the modules that it imports."""
    text = files[path].decode()
    modules[path] = ""  # marks the module as visited: two modules may import each other
    for name in _IMPORT.findall(text):
        other = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        if other not in modules:
            _collect(files, other, modules)
    del modules[path]
    modules[path] = _EXPORT.sub("", _IMPORT.sub("", text))


def stripped(text: str) -> str:
    """Return a script without its comments, its indentation and the white space it does not need.

    Strings, templates and regular expressions stay as they are. A slash after `)` or `}` counts as
    a division. Raises ValueError for a literal without an end, for a template literal with braces
    or another template in its `${}`, and for a regular expression after a comment.
    """
    parts = [""]
    gap = ""
    at = 0
    for found in _TOKEN.finditer(text):
        if found.start() != at or (found[0] == "/" and parts[-1][-1:] in _OPEN):
            break
        at = found.end()
        if found["gap"]:
            gap = found["gap"]
            continue
        if gap:
            if parts[-1].endswith((",", ";")) and found[0][0] in ")]}":
                parts[-1] = parts[-1][:-1]  # the end of the list or block is enough
            parts.append(_between(parts[-1][-1:], gap, found[0][0]))
            gap = ""
        parts.append(_tight(found[0]) if found["literal"] else found[0])
    if at != len(text):
        raise ValueError(f"cannot be stripped: {text[at : at + 60]!r}")
    return "".join(parts)


def _tight(literal: str) -> str:
    """Return a literal without the white space in the code of a template, or before a slash."""
    if literal[0] == "`":
        return _FILLED.sub(lambda code: stripped(code[0]), literal)
    return _BEFORE_SLASH.sub("", literal)


def shortened(text: str, names: Iterable[str]) -> str:
    """Return a stripped script with short names for private members and for all variables.

    `names` are the variables that the modules declare. Our statements end with a semicolon or a
    block.
    """
    tokens = [found[0] for found in _TOKEN.finditer(text)]
    return terse.terse(with_short_names([*_with_short_members(tokens)], dict.fromkeys(names)))


def _with_short_members(tokens: Iterable[str]) -> Iterator[str]:
    """Yield tokens with short names for private members: each class has names of its own.

    Numbers lose the underscores between their digits.
    """
    given: dict[str, str] = {}
    free = letters(LOWERCASE, LOWERCASE)
    for part in tokens:
        if part == "class":
            given, free = {}, letters(LOWERCASE, LOWERCASE)
        if _PRIVATE.match(part) and part not in given:
            given[part] = f"#{next(free)}"
        yield part.replace("_", "") if part[0].isdigit() else given.get(part, part)


def _between(before: str, gap: str, after: str) -> str:
    """Return the white space that must stay between two characters of a script.

    `gap` is the white space and the comments that stand between them now.
    """
    has_break = "\n" in gap
    if before in _WORD and after in _WORD:
        return "\n" if has_break else " "
    if has_break and before and not (before in _OPEN or after in _CONTINUED):
        return "\n"
    return " " if before == after and before in "+-/" else ""
