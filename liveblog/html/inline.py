"""One line of pasted text as Markdown: marks where they count, backslashes where text would be one.

The closed list of marks (html/markdown.py) decides where a mark counts: after which character it
opens, before which one it closes. A mark that would not count there is left out, since readers
would see it as stars.

Rules: pure. The rules of the marks themselves stand in marks.py and links.py.
"""

import re
import string
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

from liveblog.blog import visible
from liveblog.html.links import ADDRESS_MAX, linkable
from liveblog.html.marks import CODE_MAX, DRIVE_PATH, PATH_START, is_edge, is_punctuation

T = TypeVar("T")

# A word with an address, which gets no marks: a mark beside it could become part of it.
_ADDRESS: Final = re.compile(r"://|www\.|@", re.IGNORECASE)
# A Windows path, whose backslashes readers see without a second one.
_PATH: Final = re.compile(DRIVE_PATH)
_DRIVE: Final = re.compile(rf"{PATH_START}[A-Za-z](:)")
_LETTER: Final = re.compile(r"[A-Za-z](:)")
_WORD: Final = re.compile(r"\S+")
_PLAIN_ADDRESS: Final = re.compile(r"https?://[^\s<>*`\\()\[\]~|]*[\w/]", re.IGNORECASE)
_PLAIN_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ENCODED: Final = re.compile(r"[\s()<>\\|\"`*\[\]]")

# Characters that would be marks without a backslash. A star between two blanks is none.
_ESCAPED: Final = re.compile(r"`|(?<!\s)\*|\*(?!\s)|~(?=~)|(?<=~)~|\](?=[(:])")
# The first character of a line that would start a block, and the point after a list's number 1.
_STARTS: Final = re.compile(r"#(?=#{0,5}(?:\s|$))|>|[-+*](?=\s|$)|-(?=[-\s|:]*$)")
_NUMBER: Final = re.compile(r"0*1([.)])(?=\s|$)")
_RULE_ROW: Final = re.compile(r"[|:\s]*(-)[-|:\s]*")


class Style(NamedTuple):
    """The marks of a piece of text, and the address to which it links; "" for none.

    `place` is "sup", "sub", "note" for the number of a footnote, or "" (raised.py).
    """

    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False
    href: str = ""
    place: str = ""

    @property
    def marks(self) -> str:
        """The characters that open these marks."""
        return "*" * (2 * self.bold + self.italic) + "~~" * self.strike

    def common(self, other: "Style") -> "Style":
        """Return the marks that both have, and the link if both have the same."""
        return Style(
            self.bold and other.bold,
            self.italic and other.italic,
            self.strike and other.strike,
            self.code and other.code,
            self.href if self.href == other.href else "",
        )


PLAIN: Final = Style()
Run = tuple[str, Style]
_Char = tuple[str, Style, bool]  # a character, its style, and whether it needs a backslash


def line_of(runs: Sequence[Run], *, in_table: bool = False) -> str:
    """Return one line of Markdown. In a table, `|` gets a backslash."""
    whole = "".join(text for text, _ in runs)
    styles = [_linking(style) for text, style in runs for _ in text]
    start, end = len(whole) - len(whole.lstrip()), len(whole.rstrip())
    text, styles = _spaced(whole[start:end], styles[start:end])
    _leave_codes(text, styles)
    _leave_marks(text, styles)
    escapes = _escapes(text, styles, in_table=in_table)
    chars = [
        (c, style, n in escapes) for n, (c, style) in enumerate(zip(text, styles, strict=True))
    ]
    return "".join(_pieces(chars))


def _linking(style: Style) -> Style:
    """Return the style without a link that entries may not have."""
    may_link = len(style.href) <= ADDRESS_MAX and linkable(style.href)
    return style if may_link else style._replace(href="")


# -- marks -----------------------------------------------------------------------------------------


def _spaced(text: str, styles: Sequence[Style]) -> tuple[str, list[Style]]:
    """Return a line with a blank wherever struck-out text touches a letter beside it.

    A mark between two letters would not count. Without the mark, `<del>4,200</del>1,179` would
    become a figure that nobody wrote.
    """
    struck = [Style(strike=it.strike, href=it.href) for it in styles]
    chars, spaced = list[str](), list[Style]()
    for at, (char, style) in enumerate(zip(text, styles, strict=True)):
        is_inside = at > 0 and not char.isspace() and not text[at - 1].isspace()
        if is_inside and not _counts(text, struck, at):
            chars.append(" ")
            spaced.append(_between(styles[at - 1], style))
        chars.append(char)
        spaced.append(style)
    return "".join(chars), spaced


def _leave_codes(text: str, styles: list[Style]) -> None:
    """Leave only code of at most CODE_MAX characters, without one that ends code or a cell."""
    at = 0
    for is_code, group in groupby([it.code for it in styles]):
        end = at + len(list(group))
        if is_code and (end - at > CODE_MAX or {"`", "|"} & {*text[at:end]}):
            styles[at:end] = [it._replace(code=False) for it in styles[at:end]]
        at = end


def _leave_marks(text: str, styles: list[Style]) -> None:
    """Leave only marks that count where they stand; blanks get the marks of equal neighbours.

    A word in which a mark would have to open or close between two letters has only the marks of
    all its letters.
    """
    end = 0
    for word in _WORD.finditer(text):
        start, after = word.span()
        _leave_word_marks(text, styles, start, after)
        if end:
            styles[end:start] = [_between(styles[end - 1], styles[start])] * (start - end)
        end = after


def _between(left: Style, right: Style) -> Style:
    """Return the style of blanks, at which no mark may open or close, and no code may end."""
    common = left.common(right)
    is_same = left.marks == right.marks and left.href == right.href
    return common if is_same else Style(href=common.href)


def _leave_word_marks(text: str, styles: list[Style], start: int, end: int) -> None:
    inside = styles[start:end]
    if _ADDRESS.search(text, start, end) or _PATH.search(text, start, end):
        is_path = _PATH.search(text, start, end)
        styles[start:end] = [Style(strike=it.strike and not is_path, href=it.href) for it in inside]
    elif not all(_counts(text, styles, at) for at in range(start + 1, end)):
        common = inside[0]
        for style in inside:
            common = common.common(style._replace(href=common.href, code=common.code))
        kept = (it._replace(bold=common.bold, italic=common.italic) for it in inside)
        styles[start:end] = [it._replace(strike=common.strike) for it in kept]


def _counts(text: str, styles: Sequence[Style], at: int) -> bool:
    """Return whether the marks that open or close before a character inside a word count."""
    left, right = styles[at - 1], styles[at]
    if left is right or left.marks == right.marks or left.href != right.href:
        return True
    if left.marks and right.marks:
        return False
    if right.marks:
        return left.code or is_edge(text[at - 1])
    return left.code or right.code or is_edge(text[at]) or is_punctuation(text[at - 1])


# -- backslashes -----------------------------------------------------------------------------------


def _escapes(text: str, styles: Sequence[Style], *, in_table: bool) -> set[int]:
    """Return the places of the characters that need a backslash before them."""
    found, raw = {it.start() for it in _ESCAPED.finditer(text)}, set[int]()
    found |= {n for n, c in enumerate(text) if c in "[]" and styles[n].href}
    found |= {n for n, c in enumerate(text[:-1]) if c == "!" and styles[n + 1].href}
    found |= set(_starts(text))
    if any(style.marks for style in styles):  # a character beside a mark would lengthen it
        found |= {n for n, c in enumerate(text) if c in "*~"}
    for path in _PATH.finditer(text):
        inside = {n for n in range(*path.span()) if not _is_after_backslash(text, n)}
        if inside & found:  # a backslash before the colon, so that this is no path to readers
            found.add(path.start() + 1)
        else:
            raw |= set(range(*path.span()))
    found |= {n for n, c in enumerate(text) if c == "\\" and _is_escape(text, styles, n)}
    found -= raw
    # A backslash after a letter and a colon would make a path of them, also after a link's bracket.
    drives = (it for at in _link_starts(styles) if (it := _LETTER.match(text, at)))
    found |= {it.start(1) for it in (*_DRIVE.finditer(text), *drives) if it.end(1) in found}
    if in_table:
        found |= {n for n, c in enumerate(text) if c == "|"}
    return found


def _link_starts(styles: Sequence[Style]) -> Iterator[int]:
    before = ""
    for at, style in enumerate(styles):
        if style.href not in ("", before):
            yield at
        before = style.href


def _is_after_backslash(text: str, at: int) -> bool:
    return text[at - 1 : at] == "\\" and text[at - 2 : at - 1] != "\\"


def _is_escape(text: str, styles: Sequence[Style], at: int) -> bool:
    """Return whether a backslash would be one before the next character, or before a mark."""
    is_last = at + 1 == len(text) or styles[at + 1] != styles[at]
    return is_last or text[at + 1] in string.punctuation


def _starts(text: str) -> Iterator[int]:
    start = visible.seen_from(text, 0, len(text))
    if _STARTS.match(text, start):
        yield start
    if number := _NUMBER.match(text, start):
        yield number.start(1)
    if row := _RULE_ROW.fullmatch(text, start):
        yield row.start(1)


# -- writing ---------------------------------------------------------------------------------------


def _pieces(chars: Sequence[_Char]) -> Iterator[str]:
    at = 0
    for href, group in _grouped(chars, lambda it: it[1].href):
        around = _shown(chars[at - 1 : at]) + _shown(chars[at + len(group) :][:1])
        at += len(group)
        yield _linked(href, group, around) if href else _marked(group)


def _linked(href: str, chars: Sequence[_Char], around: str) -> str:
    """Return a link; an address alone if the link's text is its address and nothing touches it."""
    text = _shown(chars)
    is_address = text == href and _PLAIN_ADDRESS.fullmatch(text)
    is_mail = f"mailto:{text}" == href and _PLAIN_MAIL.fullmatch(text)
    if (is_address or is_mail) and not around.strip():
        return text
    return f"[{_marked(chars)}]({_ENCODED.sub(lambda it: quote(it[0], safe=''), href)})"


def _marked(chars: Sequence[_Char]) -> str:
    parts = _grouped(chars, lambda it: it[1].marks)
    return "".join(f"{marks}{_coded(group)}{marks[::-1]}" for marks, group in parts)


def _coded(chars: Sequence[_Char]) -> str:
    parts = _grouped(chars, lambda it: it[1].code)
    return "".join(f"`{_shown(it)}`" if is_code else _escaped(it) for is_code, it in parts)


def _escaped(chars: Sequence[_Char]) -> str:
    return "".join(f"\\{c}" if needs_backslash else c for c, _, needs_backslash in chars)


def _shown(chars: Sequence[_Char]) -> str:
    return "".join(c for c, _, _ in chars)


def _grouped(chars: Sequence[_Char], key: Callable[[_Char], T]) -> Iterator[tuple[T, list[_Char]]]:
    return ((value, list(group)) for value, group in groupby(chars, key))
