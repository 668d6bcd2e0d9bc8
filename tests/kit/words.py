"""Check the words of code and documents against tests/words.txt, and the length of sentences.

    PYTHONPATH=tests python -m kit.words [PATH ...]

Prints `file:line: what was found: what to write instead` for each fault, and exits with 1 if any.
Without paths it checks CHECKED.

In documents (.md) everything except code is checked. Their sentences, table cells excepted, have at
most WORDS_MAX words. In Python the checker reads docstrings, comments and names of tests, and in
`liveblog/` also every string, such as log lines and error texts. It reads the comments of scripts,
styles, Lua, TOML and makefiles, and templates as a whole.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
WORD_LIST: Final = ROOT / "tests" / "words.txt"
WORDS_MAX: Final = 30  # words of a sentence in a document
NAME_MAX: Final = 72  # characters of a test's name
# The files and directories that `make lint` checks.
CHECKED: Final = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "liveblog",
    "static",
    "tests",
    "Makefile",
    "pyproject.toml",
    ".ci",
)
NOT_OURS: Final = {"node_modules", ".venv", "build", "dist", "data"}
# A statement must not start with these words, but name its subject. A question may.
CLAUSE: Final = re.compile(r"(who|whoever|whom|what|whatever)\b", re.IGNORECASE)

VERB: Final = re.compile(
    r"\b(is|are|was|were|has|have|does|do|must|may|can|cannot|will|gets?|goes|stays?)\b"
)
HOLDERS: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)  # of docstrings


class Text(NamedTuple):
    """A piece of text, and the line on which it starts.

    With `is_prose`, the checker checks its sentences too, not only its words.
    """

    line: int
    words: str
    is_prose: bool = True


class Fault(NamedTuple):
    """One finding; `where` is `file:line`."""

    where: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}: {self.advice}"


@cache
def word_list() -> list[tuple[re.Pattern[str], str]]:
    """Return each pattern of tests/words.txt with its advice."""
    lines = [it for it in WORD_LIST.read_text("utf-8").splitlines() if it and it[0] != "#"]
    pairs = [line.split("\t") for line in lines]
    return [(re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in pairs]


# -- what is prose ---------------------------------------------------------------------------------


def markdown(source: str) -> Iterator[Text]:
    """Yield the paragraphs and table rows of a document, without its code."""
    block: list[str] = []
    start, in_code = 1, False
    for number, line in enumerate([*source.splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        is_row = line.startswith("|")
        is_new = bool(re.match(r"\s*([-*]|\d+\.|#+) ", line)) or not line.strip()
        if (in_code or is_row or is_new or line.startswith("```")) and block:
            yield Text(start, " ".join(block))
            block = []
        if in_code or line.startswith("```"):
            continue
        if is_row:
            yield Text(number, _plain(line), is_prose=False)
        elif line.startswith("#"):
            yield Text(number, _plain(line.lstrip("# ")), is_prose=False)
        elif line.strip():
            start = start if block else number
            block.append(_plain(re.sub(r"^\s*([-*]|\d+\.|#+) ", "", line)).strip())


def _plain(line: str) -> str:
    """Return a line without comments and link targets, with "Code" for each code span."""
    line = re.sub(r"<!--.*?-->", "", line)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "Code", line))


def python(source: str, *, with_texts: bool = False) -> Iterator[Text]:
    """Yield docstrings, comments, names of tests; `with_texts`: also strings of 3 words or more."""
    yield from _comments(source)
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):  # functions come before their docstrings
        if isinstance(node, HOLDERS):
            docstrings.update(
                id(first.value) for first in node.body[:1] if isinstance(first, ast.Expr)
            )
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("test_"):
                yield Text(node.lineno, node.name.replace("_", " "), is_prose=False)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_text = with_texts and len(node.value.split()) >= 3
            if id(node) in docstrings or is_text:
                yield Text(node.lineno, node.value)


def _comments(source: str) -> Iterator[Text]:
    """Yield comments. Consecutive comment lines make one text."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    start, lines = 0, list[str]()
    for token in tokens:
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        stands_alone = not token.line[:column].strip()
        if lines and not (stands_alone and line == start + len(lines)):
            yield Text(start, "\n".join(lines))
            lines = []
        start = start if lines else line
        lines.append(token.string.lstrip("# "))
        if not stands_alone:
            yield Text(start, "\n".join(lines))
            lines = []
    if lines:
        yield Text(start, "\n".join(lines))


def _matches(pattern: str) -> Callable[[str], Iterator[Text]]:
    """Return a function that yields the texts that a pattern finds in a source."""
    compiled = re.compile(pattern, re.DOTALL | re.MULTILINE)

    def texts(source: str) -> Iterator[Text]:
        for found in compiled.finditer(source):
            words = re.sub(r"(?m)^\s*(//|#|--|\*) ?", " ", found[0])
            yield Text(source.count("\n", 0, found.start()) + 1, words)

    return texts


_STRINGS: Final = r"|'[^'\n]*\w \w[^'\n]*'"
READERS: Final[dict[str, Callable[[str], Iterator[Text]]]] = {
    ".md": markdown,
    ".py": python,
    ".js": _matches(r"/\*.*?\*/|(?:^\s*//[^\n]*\n)+|(?<=[;,{(] )//[^\n]*" + _STRINGS),
    ".css": _matches(r"/\*.*?\*/"),
    ".lua": _matches(r"(?:^\s*--[^\n]*\n)+"),
    ".html": _matches(r"[^\n]+"),
    ".toml": _matches(r"(?:^\s*#[^\n]*\n)+|(?<=\S )# [^\n]*"),
    "": _matches(r"(?:^\s*#[^\n]*\n)+"),  # Makefile, .ci/run
}


# -- what is wrong ---------------------------------------------------------------------------------


def faults(path: Path) -> Iterator[Fault]:
    """Yield what is wrong with the words of one file."""
    source = path.read_text("utf-8")
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    is_ours = "liveblog" in shown.parts[:1]
    texts = python(source, with_texts=is_ours) if path.suffix == ".py" else _read(path, source)
    for text in texts:
        for line, found, advice in _faults_of(text, is_document=path.suffix == ".md"):
            yield Fault(f"{shown}:{line}", found, advice)
    if path.suffix == ".py":
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", source, re.MULTILINE):
            if len(name) > NAME_MAX:
                line = source[: source.index(f"def {name}(")].count("\n") + 1
                yield Fault(f"{shown}:{line}", name, f"a test's name has {NAME_MAX} characters")


def _read(path: Path, source: str) -> Iterator[Text]:
    return READERS[path.suffix](source)


def _faults_of(text: Text, *, is_document: bool) -> Iterator[tuple[int, str, str]]:
    for pattern, advice in word_list():
        for found in pattern.finditer(text.words):
            line = text.line + text.words.count("\n", 0, found.start())
            yield line, " ".join(found[0].split())[:60], advice
    for sentence in sentences(text.words) if text.is_prose else ():
        if any(CLAUSE.match(clause) for clause in _clauses(sentence)):
            yield text.line, sentence[:60], "name the subject: a reader, an editor, a worker"
        count = len(sentence.split())
        if is_document and count > WORDS_MAX:
            advice = f"{count} words; a sentence has at most {WORDS_MAX}"
            yield text.line, sentence[:60], advice


def _clauses(sentence: str) -> list[str]:
    """Return the clauses of a sentence that must not start with a word of CLAUSE.

    Return the first clause, and each clause after a colon or semicolon with two verbs of VERB. With
    one verb ("what it does"), such a clause is a label; with two ("what it does is wrong"), a
    statement. Return none of a question.
    """
    if sentence.endswith("?"):
        return []
    first, *others = re.split(r"[:;] ", sentence)
    return [first, *(clause for clause in others if len(VERB.findall(clause)) > 1)]


def sentences(words: str) -> Iterator[str]:
    """Yield the sentences of a text. A colon or semicolon does not end a sentence."""
    for sentence in re.split(
        r"(?<!\be\.g)(?<!\bi\.e)(?<=[.!?])[\"')*]*\s+", " ".join(words.split())
    ):
        yield sentence.strip()


# -- running ---------------------------------------------------------------------------------------


def files(roots: Iterable[str]) -> list[Path]:
    """Return all files below `roots` that the checker can read."""
    found: list[Path] = []
    for root in roots:
        path = ROOT / root
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [it for it in inside if it.is_file() and _is_ours(it)]
    return found


def _is_ours(path: Path) -> bool:
    is_named = path.suffix in READERS and (path.suffix or path.name in ("Makefile", "run"))
    return bool(is_named) and not NOT_OURS & set(path.parts)


def main(roots: list[str]) -> int:
    found = [str(fault) for path in files(roots or CHECKED) for fault in faults(path)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
