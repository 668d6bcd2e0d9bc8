"""A script with fewer signs that means the same.

Brackets that change nothing are left out, and declarations that follow each other become one. A
minifier finds both with a parser; for our scripts, the signs beside a bracket suffice.

Rules: pure. Only for stripped scripts in which each statement ends with a semicolon or a block.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

_OPEN: Final = frozenset("([{")
_CLOSED: Final = frozenset(")]}")
_BEFORE_NAME: Final = frozenset((*"([{;=,:!&|?+-*%<>", "=>", "..."))
_NAME: Final = re.compile(r"[A-Za-z_$][\w$.]*")
# Between these signs is one whole expression, unless the first belongs to an operator.
_BEFORE_VALUE: Final = frozenset((*"([=,:?", "=>", "..."))
_AFTER_VALUE: Final = frozenset(")],:;}")
_OPERATORS: Final = frozenset(("==", "!=", "<=", ">=", "??"))
_NO_VALUE: Final = frozenset(("{", "class", "function"))  # may start a block or a declaration


def terse(parts: Sequence[str]) -> str:
    """Return a script with fewer signs; `parts` are its words, signs, literals and gaps.

    `const` becomes `let`, which compresses better: a script without an assignment to a constant
    does the same with both. Line breaks after brackets end no statement.
    """
    breakless = (
        it for before, it in pairwise(("", *parts)) if it != "\n" or before not in (")", "}")
    )
    script = _joined("let" if it == "const" else it for it in breakless)
    ends = _ends(script)
    for start in [it for it in ends if script[it] == "(" and _is_needless(script, ends, it)]:
        script[start] = script[ends[start]] = ""
    return "".join(script)


def _joined(parts: Iterable[str]) -> list[str]:
    """Return a script in which declarations that follow each other are one."""
    script = [""]
    declares = [False]  # for each open bracket, whether the statement in it is a declaration
    for part in parts:
        if part == " " and script[-1] == ",":
            continue  # stood after `let`
        if part == "let" and script[-1] == ";" and declares[-1]:
            script[-1] = ","
            continue
        if script[-1] in ("", ";", "{", "}"):  # a brace may be in a declaration
            declares[-1] = part == "let" or (declares[-1] and script[-1] == "}")
        if part in _OPEN:
            declares.append(False)
        elif part in _CLOSED:
            declares.pop()
        script.append(part)
    return [*script, ""]


def _ends(script: Sequence[str]) -> dict[int, int]:
    """Return the place of the end of each bracket, by the place of its start."""
    ends: dict[int, int] = {}
    open_now: list[int] = []
    for at, part in enumerate(script):
        if part in _OPEN:
            open_now.append(at)
        elif part in _CLOSED:
            ends[open_now.pop()] = at
    return ends


def _is_needless(script: Sequence[str], ends: Mapping[int, int], start: int) -> bool:
    """Return whether a script means the same without the brackets at `start`."""
    before, after = script[start - 1], script[ends[start] + 1]
    inner = [*_inner(script, ends, start)]
    if not inner:
        return script[start - 3 : start - 1] == ["new", " "] and after not in (".", "?.", "(", "[")
    if after == "=>":
        return len(inner) == 1 and not before[-1:].isalnum()
    if before in _BEFORE_NAME and not after[:1].isalnum() and _NAME.fullmatch("".join(inner)):
        return True
    is_value = before in _BEFORE_VALUE and script[start - 2] + before not in _OPERATORS
    return is_value and after in _AFTER_VALUE and "," not in inner and inner[0] not in _NO_VALUE


def _inner(script: Sequence[str], ends: Mapping[int, int], start: int) -> Iterator[str]:
    """Yield what is in brackets, without what is in brackets there."""
    at = start + 1
    while at < ends[start]:
        yield script[at]
        at = ends.get(at, at + 1)
