"""Short names for the variables of a script.

A variable of the whole script gets the same name everywhere: a capital letter when it is used most,
otherwise two letters, first a small one. A constant with a number or a string becomes its value,
which compresses better than a name. Another variable becomes one letter in all of a unit: a
function, a method, or another statement of the script. So this module finds no scopes. It finds the
brackets, and from them whether a word names a variable, a member, or both, as in `{ name }`.

Rules: pure. Shorten only what the script declares: the browser's names are fixed.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from string import ascii_letters, ascii_uppercase
from typing import Final, Literal

_RESERVED: Final = frozenset(
    re.findall(
        r"\w+",
        "arguments async await break case catch class const continue default delete do else export"
        " extends false finally for from function get if import in instanceof let new null of"
        " return set static super switch this throw true try typeof undefined var void while yield",
    )
)
_HEADS: Final = frozenset(("for", "if", "switch", "while"))  # before brackets without parameters
_BEFORE_BLOCK: Final = frozenset(
    (")", "=>", ";", "}", "{", "else", "try", "finally", "do", "catch")
)
_BEFORE_MEMBER: Final = frozenset(("{", "}", ";", "async", "get", "set", "static"))  # of a class
_START: Final = ["(", "(", ")", "=>", "{"]  # of a script, before its first statement
_CONTINUES: Final = frozenset(("catch", "else", "finally", "in", "instanceof", "of", "while"))
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
# A word, a literal, white space, or a sign. A token may be a sign and a regular expression.
_PART: Final = re.compile(r"""[\w$#]+|['"`].*|\s+|/.+|=>|\.\.\.|\?\.|.""", re.DOTALL)
_VALUE: Final = re.compile(r"""[\d.]+|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_NAME: Final = re.compile(r"[A-Za-z_$][\w$]*")
# The code in a template literal; a string, or a name that is no member, in this code.
_FILLED: Final = re.compile(r"\$\{[^}]*\}")
_USED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?<!(?<!\.\.)\.)\b[A-Za-z_]\w*""")

# The letters that scripts have most come first: compressed, they take the fewest bits. The desk's
# script is 80 B smaller than with the order of the alphabet, and again 170 B smaller because they
# also come first in names of two letters.
LOWERCASE: Final = "oetnraislcdumpfhbgyvwkxjqz"

Role = Literal["variable", "both", "other"]


def with_short_names(tokens: Sequence[str], shared: Collection[str]) -> list[str]:
    """Return the parts of a stripped script, with short names.

    `shared` are the names that all of it declares. Where they name a constant with a number or a
    string, this value stands instead.
    """
    script = _Script(tokens)
    values = script.constants()
    named = [it for it in shared if it not in values]
    words = script.words(0, len(script.parts))
    free = (it for it in letters(ascii_uppercase, LOWERCASE) if it not in words)
    counts = Counter(script.parts)
    often = sorted(named, key=lambda it: -counts[it])[: len(ascii_uppercase)]
    ordered = sorted(named, key=lambda it: it not in often)
    names = dict(zip(ordered, free, strict=False))
    for start, end in script.units():
        if not script.constant(start, end)[0]:
            script.shorten(start, end, {**names, **values})
    return script.written


class _Script:
    """The tokens of a script without gaps, and the brackets around each of them."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.parts: list[str] = []
        self.written: list[str] = []  # the parts with short names, and the gaps after them
        self._gaps: dict[int, str] = {}
        for token in tokens:
            for part in [token] if token.isalnum() else _PART.findall(token):
                self._add(part)
        self.parts.append("")
        self._around: list[int] = []  # the bracket around each part, -1 for none
        self._closing: dict[int, int] = {}
        self._kinds: dict[int, str] = {}  # of braces
        self._match()

    def _add(self, part: str) -> None:
        if part.isspace():
            self._gaps[len(self.parts) - 1] = part
        else:
            self.parts.append(part)

    def _match(self) -> None:
        stack = [-1]
        for at, part in enumerate(self.parts):
            if part in (")", "]", "}"):
                self._closing[stack.pop()] = at
            self._around.append(stack[-1])
            if part in _OPEN:
                stack.append(at)
            if part == "{":
                self._kinds[at] = self._kind(at)
        self._opening = {end: start for start, end in self._closing.items()}

    def _kind(self, at: int) -> str:
        """Return whether a brace opens a class, a block or an object."""
        before = self.parts[at - 1]
        if self.parts[at - 2] == "class" or self.parts[at - 4 : at - 3] == ["class"]:
            return "class"
        return "block" if before in _BEFORE_BLOCK or at == 0 else "object"

    # -- units

    def units(self) -> Iterator[tuple[int, int]]:
        start = 0
        for at in range(len(self.parts)):
            if self._ends_unit(at):
                yield start, at + 1
                start = at + 1
        yield start, len(self.parts)

    def _ends_unit(self, at: int) -> bool:
        around = self._around[at]
        if at + 1 == len(_START) and self.parts[: at + 1] == _START:
            return True
        if around >= 0 and self._kinds.get(around) != "class" and self._around[around] > 0:
            return False
        part, after = self.parts[at], self.parts[at + 1 : at + 2]
        if part == ";":
            return True
        is_next = bool(after and (_NAME.fullmatch(after[0]) or after[0].startswith("#")))
        return part == "}" and is_next and after[0] not in _CONTINUES

    def constants(self) -> dict[str, str]:
        """Return the values of constants that have a number or a string, as written."""
        found = [self.constant(*it) for it in self.units()]
        return {name: value for name, value in found if name}

    def constant(self, start: int, end: int) -> tuple[str, str]:
        """Return the name and the value of the constant that a unit is, or no name.

        Its name is in capitals, as no other variable's name is.
        """
        match self.parts[start:end]:
            case ["const", name, "=", *parts, ";"]:
                value = "".join(parts)
                return (name if name.isupper() and _VALUE.fullmatch(value) else ""), value
        return "", ""

    # -- roles

    def role(self, at: int) -> Role:
        """Return whether a word names a variable, a member, or a variable and a member at once."""
        before, after = self.parts[at - 1], self.parts[at + 1]
        kind = self._kinds.get(self._around[at])
        is_flag = len(before) > 1 and before[0] == "/"  # of a regular expression
        is_first = before in _BEFORE_MEMBER or "\n" in self._gaps.get(at - 1, "")
        if is_flag or before in (".", "?.") or (kind == "class" and is_first):
            return "other"
        if kind != "object" or before not in ("{", ",", "get", "set", "async"):
            return "variable"
        if after == ":" or (after == "(" and self.parts[self._closing[at + 1] + 1] == "{"):
            return "other"
        return "both" if after in (",", "}", "=") else "variable"

    def _declared(self, start: int, end: int) -> Iterator[str]:
        for at in range(start, end):
            part, after = self.parts[at], self.parts[at + 1 : at + 2]
            if part in ("const", "let", "function") and after:
                yield from self._bound(at + 1)
            elif part == "=>" or (part == "{" and self._has_parameters(at)):
                yield from self._bound(self._opening.get(at - 1, at - 1))

    def _has_parameters(self, brace: int) -> bool:
        before = self.parts[self._opening.get(brace - 1, 0) - 1]
        return self.parts[brace - 1] == ")" and before not in _HEADS and before[-1:].isalnum()

    def _bound(self, at: int) -> Iterator[str]:
        """Return the names that a name, a pattern or a list of parameters declares."""
        default = None  # the bracket around a default value
        for place in range(at, self._closing.get(at, at) + 1):
            part = self.parts[place]
            if default is not None:
                is_end = part == "," and self._around[place] == default
                if not is_end and place != self._closing[default]:
                    continue
                default = None
            if part == "=":
                default = self._around[place]
            elif _NAME.fullmatch(part) and self.role(place) != "other":
                yield part

    # -- new names

    def words(self, start: int, end: int) -> set[str]:
        parts = self.parts[start:end]
        return set(parts).union(*(_NAME.findall(part) for part in parts if part[:1] == "`"))

    def shorten(self, start: int, end: int, shared: dict[str, str]) -> None:
        names = set(self._declared(start, end)) - _RESERVED - shared.keys()
        own = self._given(start, end, names)
        given = {**shared, **own} if own else shared
        for at, part in enumerate(self.parts[start:end], start):
            is_named = part in given or part[:1] == "`"
            self.written.append(self._renamed(at, given) if is_named else part)
            if at in self._gaps:
                self.written.append(self._gaps[at])

    def _given(self, start: int, end: int, names: Collection[str]) -> dict[str, str]:
        """Return a letter for each name, in the order of the text."""
        parts = self.parts[start:end]
        taken = self.words(start, end) - set(names) | _RESERVED
        order = dict.fromkeys(part for part in parts if part in names)
        free = (it for it in letters(LOWERCASE, ascii_uppercase) if it not in taken)
        return dict(zip(order, free, strict=False))

    def _renamed(self, at: int, given: Mapping[str, str]) -> str:
        def short(found: re.Match[str]) -> str:
            return given.get(found[0], found[0])

        part = self.parts[at]
        if part.startswith("`"):
            return _FILLED.sub(lambda code: _USED.sub(short, code[0]), part)
        role = self.role(at)
        if role == "other":
            return part
        return given[part] if role == "variable" else f"{part}:{given[part]}"


def letters(singles: str, firsts: str) -> Iterator[str]:
    """Return names: each of the letters `singles`, then two letters, one of `firsts` and any."""
    yield from singles
    yield from map("".join, product(firsts, ascii_letters))
