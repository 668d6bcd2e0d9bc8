"""Superscripts and subscripts as text on the line: 10⁶, CO₂, 5 1/2, and a footnote's number as [1].

Without them, `10<sup>6</sup>` would become a figure that nobody wrote.

Rules: pure.
"""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby
from typing import Final

from liveblog.html.inline import Run, Style

_FIGURES: Final = "0123456789+-\u2212\u2013=()"
_CHARS: Final = {
    "sup": dict(zip(f"{_FIGURES}n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁼⁽⁾ⁿ", strict=True)),
    "sub": dict(zip(_FIGURES, "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₌₍₎", strict=True)),
}
_NOTE: Final = re.compile(r"[\[(]?([0-9]{1,3}(?:[,;] ?[0-9]{1,3})*)[\])]?")
# The end of a text before the number of a footnote. After a unit or a formula, a number is a power.
_NOTED: Final = re.compile(r"(?:[^\W\d_]{4}|[^\W\d_][.,;:!?…\"”“\u2019»]{1,2})$")
_REACH: Final = 4  # characters that _NOTED matches at most

_Group = tuple[str, list[Run]]  # a place, and the runs there


def on_line(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of a line with each superscript and subscript as text."""
    groups = [(key, list(it)) for key, it in groupby(runs, key=lambda run: run[1].place)]
    fractions, line, before = set(_fractions(groups)), list[Run](), ""
    for number, (place, group) in enumerate(groups):
        write = _fraction if number in fractions else _written
        text = write(place, _text(group), before)
        style = reduce(Style.common, (style for _, style in group))
        line += [(text, style._replace(place=""))] if place else group
        before = (before + text)[-_REACH:]
    return line


def _text(group: Sequence[Run]) -> str:
    return "".join(text for text, _ in group)


def _fractions(groups: Sequence[_Group]) -> Iterator[int]:
    """Yield the places of raised and lowered figures with a stroke between them."""
    for at in range(len(groups) - 2):
        (above, top), (_, stroke), (below, bottom) = groups[at : at + 3]
        is_split = (above, below) == ("sup", "sub") and _text(stroke) in ("/", "\u2044")
        if is_split and _text(top).isdecimal() and _text(bottom).isdecimal():
            yield from (at, at + 2)


def _fraction(place: str, text: str, before: str) -> str:
    return f" {text}" if place == "sup" and before[-1:].isdigit() else text


def _written(place: str, text: str, before: str) -> str:
    """Return the text of a place, after the text before it on the line."""
    if not place:
        return text
    note, chars = _NOTE.fullmatch(text.strip()), _CHARS.get(place, {})
    if note and (place == "note" or (place == "sup" and _NOTED.search(before))):
        return _note(text.replace(note[0], f"[{note[1]}]"), before)
    if all(it in chars for it in text.strip()):
        return "".join(chars.get(it, it) for it in text)
    is_glued = before[-1:].isdigit() and text[:1].isdigit()
    return f"{'^' if place == 'sup' else '_'}{text}" if is_glued else text


def _note(text: str, before: str) -> str:
    """Return the number of a footnote, apart from the word before or from the footnote's text."""
    if not before:
        return f"{text} "
    return text if before[-1].isspace() else f" {text}"
