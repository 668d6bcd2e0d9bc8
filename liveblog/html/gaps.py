"""Gaps between the words of pasted HTML that only the plain text beside it has.

The style sheet of a page, which is not on the clipboard, makes blocks of spans and of elements that
the page has defined, and keeps line feeds. The program that copied knew the styles: its plain text
has a blank or a line break there.

Both texts are read in parallel, without white space. Where they differ, the next few characters
that stand once in each show where both go on. Texts with too little in common give no gaps.

Rules: pure. The time is proportional to the length of the texts.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, takewhile
from typing import Final, NamedTuple

_GRAM: Final = 6  # characters that show where two texts go on together
_WORD: Final = re.compile(r"\S+")
_CLOSE: Final = re.compile(r"[(\[{“„‘«/].|.[)\]}”’».,:;!?…'/]")  # noqa: RUF001 - quotation marks
_BREAK: Final = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")


class Piece(NamedTuple):
    """A text between two tags.

    `is_apart` says that an element or a line break parts it from the text before. `is_inline` says
    that a style sets it on the line, as X does for a mention: Chromium's plain text has line breaks
    there, which nobody sees.
    """

    text: str
    is_apart: bool
    is_inline: bool


class Gap(NamedTuple):
    """The white space that a plain text has before a piece, or in place of its line feeds."""

    before: str = ""  # a blank, or one or two line breaks
    keeps_breaks: bool = False  # the line feeds of the piece are line breaks


NO_GAP: Final = Gap()


class _Joint(NamedTuple):
    """The place between two words of the HTML, or of two pieces that are parts of one word.

    `white` is the white space of the HTML there, `seen` that of the plain text. `ends` are the
    places in the plain text of the nearest characters of both. `is_exact` says that nothing stands
    between these in either text.
    """

    piece: int
    white: str
    is_apart: bool
    is_inside: bool  # between two words of one piece
    ends: tuple[int, int]
    is_exact: bool
    seen: str

    @property
    def is_break(self) -> bool:
        """Whether the plain text has a line break here for certain."""
        return self.is_exact and "\n" in self.seen


def gaps_of(pieces: Sequence[Piece], text: str) -> dict[int, Gap]:
    """Return the gaps that a plain text has before and in pieces, by the number of the piece."""
    plain = _Plain(text)
    shown = _folded("".join("".join(it.text.split()) for it in pieces))
    places = _places(shown, plain.chars)
    if 2 * sum(it >= 0 for it in places) <= len(plain.chars):
        return {}
    joints = list(_joints(pieces, places, plain))
    before = dict(_glued(joints))
    kept = set[int]()
    if not any(it.is_inside and it.is_break and "\n" not in it.white for it in joints):
        before |= {it.piece: it.seen for it in joints if _is_lost_break(it)}
        kept = set(_kept(joints))
    return {it: Gap(before.get(it, ""), it in kept) for it in {*before, *kept}}


def _glued(joints: Sequence[_Joint]) -> Iterator[tuple[int, str]]:
    """Yield the pieces before which white space is missing between two words.

    Between two characters of the plain text, the HTML may have pieces of its own.
    """
    for _, group in groupby(joints, key=lambda it: it.ends):
        near = list(group)
        if not any(it.white or it.is_apart for it in near):
            yield from ((it.piece, it.seen) for it in (near[0], near[-1]) if it.seen)


def _is_lost_break(joint: _Joint) -> bool:
    is_between = not joint.is_inside and not joint.is_apart
    return is_between and joint.is_break and bool(joint.white)


def _kept(joints: Sequence[_Joint]) -> Iterator[int]:
    """Yield the pieces whose line feeds are line breaks in the plain text, all and no others."""
    inside = (it for it in joints if it.is_inside)
    for piece, group in groupby(inside, key=lambda it: it.piece):
        pairs = {("\n" in _BREAK.sub("\n", it.white), it.is_break) for it in group}
        if (True, True) in pairs and all(feed == is_break for feed, is_break in pairs):
            yield piece


# -- both texts ------------------------------------------------------------------------------------


class _Plain:
    """A plain text without white space, and the white space before each of its characters."""

    def __init__(self, text: str) -> None:
        self.chars = _folded("".join(text.split()))
        self._whites, self._feeds, end = list[int](), list[int](), 0
        whites = feeds = 0
        lines = _BREAK.sub("\n", text)
        for word in _WORD.finditer(lines):
            whites += word.start() > end
            feeds += lines.count("\n", end, word.start())
            end = word.end()
            self._whites += [whites] * len(word[0])
            self._feeds += [feeds] * len(word[0])

    def between(self, start: int, end: int) -> str:
        """Return the white space between two characters: a blank, or one or two line breaks."""
        feeds = self._feeds[end] - self._feeds[start]
        is_white = self._whites[end] > self._whites[start]
        return "\n" * min(feeds, 2) or " " * is_white

    def on_line(self, start: int, end: int) -> str:
        """Return the white space between two characters of a line: a blank, or none."""
        is_close = _CLOSE.match(self.chars[start] + self.chars[end])
        return "" if is_close else self.between(start, end)[:1].replace("\n", " ")


def _folded(text: str) -> str:
    """Return a text without capitals, which styles may alter, in its length."""
    folded = text.lower()
    return folded if len(folded) == len(text) else text


def _joints(pieces: Sequence[Piece], places: Sequence[int], plain: _Plain) -> Iterator[_Joint]:
    """Yield the joints between characters that have others of the plain text around them."""
    none = len(plain.chars)
    left = list(accumulate(places, max))
    nexts = (none if it < 0 else it for it in reversed(places))
    right = list(accumulate(nexts, min))[::-1]
    for at, piece, white, is_apart, is_inline, is_inside in _parts(pieces):
        if at and left[at - 1] >= 0 and right[at] < none:
            ends = left[at - 1], right[at]
            is_exact = places[at - 1] >= 0 and places[at] == places[at - 1] + 1
            seen = plain.on_line(*ends) if is_inline else plain.between(*ends)
            yield _Joint(piece, white, is_apart, is_inside, ends, is_exact, seen)


def _parts(pieces: Sequence[Piece]) -> Iterator[tuple[int, int, str, bool, bool, bool]]:
    """Yield the place of each word among the characters, and of what a joint says of it."""
    at, white, is_apart, is_inline = 0, "", False, False
    for number, piece in enumerate(pieces):
        end = 0
        is_apart, is_inline = is_apart or piece.is_apart, is_inline or piece.is_inline
        for word in _WORD.finditer(piece.text):
            white += piece.text[end : word.start()]
            yield at, number, white, is_apart, is_inline, end > 0
            at, end = at + len(word[0]), word.end()
            white, is_apart, is_inline = "", False, False
        white += piece.text[end:]


def _places(shown: str, plain: str) -> list[int]:
    """Return the place in the plain text of each character of the shown one; -1 for none."""
    places, at, place = [-1] * len(shown), 0, 0
    anchors = _anchors(shown, plain)
    while at < len(shown) and place < len(plain):
        if shown[at] == plain[place]:
            places[at] = place
            at, place = at + 1, place + 1
        else:
            first = next(it for it in anchors if it[0] >= at and it[1] >= place)
            equal = _equal_before(shown[at : first[0]], plain[place : first[1]])
            at, place = first[0] - equal, first[1] - equal
    return places


def _anchors(shown: str, plain: str) -> Iterator[tuple[int, int]]:
    """Yield places at which both texts go on together, and their ends."""
    in_plain = _once(plain)
    yield from ((at, in_plain[it]) for it, at in _once(shown).items() if it in in_plain)
    yield len(shown), len(plain)


def _once(text: str) -> dict[str, int]:
    """Return the groups of _GRAM characters that a text has once, with their places."""
    grams = [text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)]
    counts = Counter(grams)
    return {it: at for at, it in enumerate(grams) if counts[it] == 1}


def _equal_before(left: str, right: str) -> int:
    """Return how many characters at the ends of two texts are equal."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return sum(1 for _ in takewhile(lambda it: it[0] == it[1], pairs))
