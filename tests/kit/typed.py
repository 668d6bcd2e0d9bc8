"""Lines of an editor's text, and the characters that readers see of them.

`shown` follows the list of marks in docs/api.md, and is written apart from the renderer: it finds
the characters of a line that are marks, without HTML and markdown-it.
"""

# ruff: noqa: RUF001 - quotation marks that look like others

import re
import string
import unicodedata
from collections.abc import Iterator
from random import Random

PUNCTUATION = frozenset(string.punctuation)
WORD_END = "\u200b"  # a zero-width space
UNSEEN = f"{WORD_END}\u00ad\u200c\u200d\u200e\u200f\u202a\u202c\u2060\ufe0f\ufeff"


def escaped(text: str) -> str:
    """Return a text with a backslash before each mark of ASCII punctuation."""
    return "".join(f"\\{char}" if char in PUNCTUATION else char for char in text)


def folded(text: str) -> str:
    """Return a text with one blank for each run of blanks."""
    return " ".join(text.split())


def shown(line: str) -> str:
    """Return the characters that readers see of one line."""
    text = line.expandtabs(4)
    while len(text) - len(text.lstrip(" ")) <= 3:
        start = text.lstrip(" ").lstrip(UNSEEN)
        signs = len(start) - len(start.lstrip("#"))
        if signs in (2, 3) and start[signs : signs + 1].isspace() and start[signs:].strip("# "):
            text = start[signs:]
            break
        words = start[1:].lstrip()
        is_quote = start[:1] == ">" and start[1:2].isspace() and words.strip("> ")
        if not is_quote or is_figure(words.lstrip(UNSEEN)[:1]):
            break
        text = start[2:]
    text = text.strip(" ")
    return folded("".join(Line(text).visible()))


class Line:
    """The characters of a line, and which of them are hidden because they are marks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.hidden: set[int] = set()
        self.runs: list[tuple[int, int]] = []  # start and length of runs of "*" and "~"

    def visible(self) -> Iterator[str]:
        """Yield the characters that are shown."""
        self.read(0, len(self.text))
        yield from (char for i, char in enumerate(self.text) if i not in self.hidden)

    def read(self, start: int, end: int) -> None:
        """Find the marks of a part of the line."""
        outer, self.runs = self.runs, []
        i = start
        while i < end:
            i = self.step(i, end)
        self.pair(start, end)
        self.runs = outer

    def step(self, i: int, end: int) -> int:
        """Read what starts at `i`, and return where it ends."""
        char, text = self.text[i], self.text
        if char == "\\" and i + 1 < end and text[i + 1] in PUNCTUATION:
            if not self.is_path(i):
                self.hidden.add(i)
            return i + 2
        if char in "*~`":
            length = len(text[i:end]) - len(text[i:end].lstrip(char))
            if char != "`":
                self.runs.append((i, length))
            elif length == 1 and (close := self.code_end(i + 1, end)):
                self.hidden |= {i, close}
                return close + 1
            return i + length
        if char == "[" and (link := self.link(i, end)):
            return link
        if web := re.match(r"https?://[\w.-]*\w(/[\w./]*\w)?", text[i:end]):
            return i + web.end()
        return i + 1

    def is_path(self, i: int) -> bool:
        """Return whether the backslash at `i` is in a word like a path, or in a shrug."""
        text = self.text
        if text[i - 1 : i + 2] == "¯\\_":
            return True
        start = i
        while start and not text[start - 1].isspace():
            start -= 1
        word = text[start:].split()[0]
        return any(starts_path(word, at) for at in range(i - start + 1))

    def code_end(self, start: int, end: int) -> int:
        """Return where the next backtick is that stands alone, 0 for none or an empty code."""
        i = start
        while i < end:
            length = len(self.text[i:end]) - len(self.text[i:end].lstrip("`"))
            if length == 1:
                return i if self.text[start:i].strip() else 0
            i += max(length, 1)
        return 0

    def link(self, i: int, end: int) -> int:
        """Return the end of the link that starts at `i`, 0 when no link does."""
        close = self.closing(i, end)
        target = re.match(r"\((https://[\w./]+)\)", self.text[close + 1 : end]) if close else None
        if not target or not self.text[i + 1 : close].strip():
            return 0
        after = close + 1 + target.end()
        self.hidden |= {i, *range(close, after)}
        self.read(i + 1, close)
        return after

    def closing(self, i: int, end: int) -> int:
        """Return where the bracket at `i` is closed, 0 when nothing closes it."""
        depth = 0
        while i < end:
            char = self.text[i]
            if char == "\\":
                i += 1
            elif char == "`" and self.text[i - 1] != "`" and self.text[i + 1 : i + 2] != "`":
                i = self.code_end(i + 1, len(self.text)) or i
            depth += (char == "[") - (char == "]")
            if not depth:
                return i
            i += 1
        return 0

    def pair(self, start: int, end: int) -> None:
        """Hide the runs of marks that open and close each other."""
        opened: list[tuple[int, int]] = []  # the place and length of marks that may be closed
        for i, length in self.runs:
            char = self.text[i]
            if length > 3 or (char == "~" and length != 2):
                continue
            left_side, right_side = self.text[:i], self.text[i + length : end]
            before, after = (
                left_side.rstrip(UNSEEN)[-1:] or " ",
                right_side.lstrip(UNSEEN)[:1] or " ",
            )
            ends_word = WORD_END in right_side[: len(right_side) - len(right_side.lstrip(UNSEEN))]
            is_after_word = WORD_END in left_side[len(left_side.rstrip(UNSEEN)) :]
            left = length
            if not before.isspace() and (is_edge(after) or is_mark(before) or ends_word):
                left = self.close(opened, i, length)
            if left == length and (is_edge(before) or is_after_word) and not after.isspace():
                opened.append((i, length))

    def close(self, opened: list[tuple[int, int]], i: int, length: int) -> int:
        """Close what the run at `i` closes, and return how many of its marks are left."""
        left = length
        while left and (found := self.nearest(opened, self.text[i], left)) is not None:
            place, size = opened[found]
            del opened[found:]
            used = min(size, left)
            self.hidden |= {*range(place + size - used, place + size)}
            self.hidden |= {*range(i + length - left, i + length - left + used)}
            if size > used:
                opened.append((place, size - used))
            left -= used
        return left

    def nearest(self, opened: list[tuple[int, int]], char: str, left: int) -> int | None:
        """Return the nearest run that `left` closing marks may close.

        A run closes one of the same length or, one of the two being three, a shorter or longer one.
        """
        own = [n for n, (place, _) in enumerate(opened) if self.text[place] == char]
        same = [n for n in own if opened[n][1] == left]
        if left == 3 and same:
            return same[-1]
        fits = [n for n in own if opened[n][1] in (left, 3) or left == 3]
        return fits[-1] if fits else None


def starts_path(word: str, at: int) -> bool:
    """Return whether a path of Windows starts at this place of a word."""
    before, path = word[:at], word[at:]
    is_inside = (
        before[-1:] in '([{"“„‘‚«‹'
        or (before[-1:] in "'’”»›" and not re.search(r"\w.$", before))
        or (before[-1:] in "*~" and not re.search(r"[\w\\].$", before))
    )
    if before and not is_inside:
        return False
    if re.match(r"[A-Za-z]:\\", path):
        return True
    server = r"\\\\([\w.-]+|\?)\\[^\W_]" if before else r"\\\\([^\W_]|[?.]\\)"
    return bool(re.match(server, path))


def is_figure(char: str) -> bool:
    return bool(char) and unicodedata.category(char)[0] == "N"


def is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS"


def is_edge(char: str) -> bool:
    """Return whether a mark may stand beside this character, on the outside."""
    name = unicodedata.name(char, "")
    return (
        char.isspace()
        or is_mark(char)
        or name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))
    )


# -- lines as editors type them --------------------------------------------------------------------

_WORDS = (
    "Tor",
    "goal",
    "été",
    "Straße",
    "a",
    "VAR",
    "Merkel's",
    "これは",
    "重要",
    "です",
    "한국",
    "🎉",
    "क्या",
    "\u200eOK\ufeff",
    "ไป\u200b",
    "½",
)
_STARTS = ("## ", "> ", "- ", "1. ", "  ", "\t")
_PAIRS = ("*", "**", "***", "~~", "`")


def lines(seed: int, count: int) -> Iterator[str]:
    """Yield lines of words, figures, blanks and runs of punctuation; most of them have a mark."""
    random = Random(seed)
    for _ in range(count):
        start = random.choice(("", "", "", "", *_STARTS, _run(random)))
        if random.random() < 0.1:
            start = random.choice(UNSEEN) + start.replace(" ", random.choice("\u00a0\u3000"))
        blanks = random.choice((" ", " ", " ", "  ", "\t", "\u00a0", ""))
        yield start + blanks.join(_piece(random) for _ in range(random.randint(1, 7)))


def _piece(random: Random) -> str:
    word = _word(random)
    if random.random() < 0.35:
        mark: str = random.choice(_PAIRS)
        inner = random.choice((word, f"{word} {_word(random)}", word + random.choice("!?.,:")))
        after = random.choice(("", "", *"!?.,:", _word(random)))
        return f"{mark}{inner}{mark}{after}"
    if random.random() < 0.08:
        return f"[{word}](https://x.example/{random.randint(1, 9)})"
    if random.random() < 0.05:
        around: str = random.choice(("", "**", "*", "(", '"'))
        return f" {around}https://x.example/a{around.replace('(', ')')} "
    return word


def _word(random: Random) -> str:
    """Return a word or a figure, often with punctuation before, in or after it."""
    word: str = random.choice((*_WORDS, str(random.randint(0, 3000))))
    place = random.randint(0, 7)
    if place == 0:
        return _run(random) + word
    if place == 1:
        return word + _run(random)
    if place == 2:
        return word + _run(random) + random.choice(_WORDS)
    return word


def _run(random: Random) -> str:
    """Return 1 to 8 punctuation marks, often all the same."""
    count = random.randint(1, 8)
    if random.random() < 0.7:
        char: str = random.choice((*string.punctuation, *"**~`\\"))
        return char * count
    return "".join(random.choices(string.punctuation, k=count))
