"""Marks within a line: emphasis, struck-out text, code, and the backslash that makes a mark text.

Rules: pure. Each rule is a rule of markdown-it, and replaces the rule that markdown-it has for the
same characters. A character that is no mark stays in the text as typed.
"""

import re
import string
import unicodedata
from collections import defaultdict
from typing import Final

from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token

from liveblog.blog import visible
from liveblog.html.letters import CJK

# Characters and runs of backticks in a code; a longer one is text. Without this limit, each
# backtick that nothing closes would read all of the text after it.
CODE_MAX: Final = 1_000
# A run of backticks counts as a whole. A possessive group would be shorter; Python 3.11.2 fails it.
CODE: Final = rf"`((?:[^`\n]|(?<!`)``+(?!`)){{1,{CODE_MAX}}})`(?!`)"
ESCAPE: Final = rf"\\[{re.escape(string.punctuation)}]"

IS_ESCAPED: Final = "is_escaped"  # of the whole text: a member of markdown-it's environment

_WORD_END: Final = "\u200b"
_IS_CJK: Final = re.compile(f"[{CJK}]")
# The lengths that a run of marks may have; a longer or shorter run is text.
_LENGTHS: Final = {"*": range(1, 4), "~": range(2, 3)}
_TAGS: Final = {("*", 1): "em", ("*", 2): "strong", ("~", 2): "s"}
# For the marks that a closing run still has: the lengths of opening runs that these marks close.
_OPENERS: Final = {1: (1, 3), 2: (2, 3)}
_CODE: Final = re.compile(CODE)
_ESCAPE: Final = re.compile(ESCAPE)
_ESCAPED: Final = re.compile(rf"(?:[^{re.escape(string.punctuation)}]|{ESCAPE})*")
# Where a path of Windows starts: at the start of a word, perhaps in a bracket or quotation marks.
# An apostrophe after a letter starts none.
_QUOTED: Final = r"(?:(?<=[(\[{\"“„‘‚«‹])|(?<=(?<!\w)['’”»›]))"  # noqa: RUF001 - quotation marks
_MARKED: Final = r"(?<=(?<![\w\\])[*~])"  # the same after a mark, which has no backslash
PATH_START: Final = rf"(?:(?<!\S)|{_QUOTED})"
DRIVE_PATH: Final = rf"{PATH_START}[A-Za-z]:\\\S*"
# Words with backslashes that journalists type: a path of Windows, also of a device as "\\.\COM1",
# and a shrug. After a bracket or a quotation mark, a server's name needs a share, as in
# "(\\server\share)".
_KEPT: Final = re.compile(
    rf"{DRIVE_PATH}|{_MARKED}[A-Za-z]:\\\S*|(?<!\S)\\\\(?:[^\W_]|[?.]\\)\S*"
    rf"|(?:{_QUOTED}|{_MARKED})\\\\(?:[\w.-]+|\?)\\[^\W_]\S*|¯\\_"
)


def is_punctuation(char: str) -> bool:
    """Return whether a character is punctuation or a symbol, such as an emoji."""
    return unicodedata.category(char)[0] in "PS"


def unescape(text: str) -> str:
    """Return a text without the backslashes that make marks text."""
    return _ESCAPE.sub(lambda found: found[0][1], text)


def escape(state: StateInline, silent: bool) -> bool:
    """Show ASCII punctuation after a backslash as text; a backslash in a path is text as well."""
    found = _ESCAPE.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        is_kept = state.pos in _kept(state)
        state.append_pending(found[0] if is_kept else found[0][1])
    state.pos = found.end()
    return True


def _kept(state: StateInline) -> set[int]:
    """Return the places of the backslashes that are text."""
    if state.env.get("text") is not state.src:
        is_text = state.env[IS_ESCAPED] or is_escaped(state.src)
        kept = set[int]() if is_text else _kept_places(state.src)
        state.env.update(text=state.src, kept=kept)
    found: set[int] = state.env["kept"]
    return found


def _kept_places(text: str) -> set[int]:
    """Return where a text has backslashes in paths and shrugs."""
    words = (found.span() for found in _KEPT.finditer(text))
    return {i for start, end in words for i in range(start, end) if text[i] == "\\"}


def is_escaped(text: str) -> bool:
    """Return whether every mark of a text is escaped, as converters write it.

    Escaped backslashes alone do not tell a converter from a path, and neither does the one of a
    shrug.
    """
    first = {text.index("\\", found.start()) for found in _KEPT.finditer(text)}
    escapes = {it.start() for it in _ESCAPE.finditer(text) if it[0] != r"\\"}
    return bool(escapes - first and _ESCAPED.fullmatch(text))


def code(state: StateInline, silent: bool) -> bool:
    """Show the text between two single backticks of a line as code."""
    if state.src[state.pos] != "`":
        return False
    end = _run_end(state)
    is_single = end == state.pos + 1
    found = _CODE.match(state.src, state.pos, state.posMax) if is_single else None
    if not found or not found[1].strip():
        return _text(state, end)
    if not silent:
        token = state.push("code_inline", "code", 0)
        token.content = found[1]
    state.pos = found.end()
    return True


def _run_end(state: StateInline) -> int:
    """Return where the run of equal characters at the present place ends."""
    pos, char = state.pos, state.src[state.pos]
    while pos < state.posMax and state.src[pos] == char:
        pos += 1
    return pos


def _text(state: StateInline, end: int) -> bool:
    """Show the characters up to `end` as text."""
    state.append_pending(state.src[state.pos : end])
    state.pos = end
    return True


# -- emphasis and struck-out text ------------------------------------------------------------------


def delimit(state: StateInline, silent: bool) -> bool:
    """Note a run of "*" or "~" that may open or close; every other run is text."""
    marker = state.src[state.pos]
    if silent or marker not in _LENGTHS:
        return False
    end = _run_end(state)
    opens, closes = _flanks(state, end)
    length = end - state.pos
    if length not in _LENGTHS[marker] or not (opens or closes):
        return _text(state, end)
    for _ in range(length):
        state.push("text", "", 0).content = marker
    run = Delimiter(ord(marker), length, len(state.tokens) - length, 0, opens, closes)
    state.delimiters.append(run)
    state.pos = end
    return True


def _flanks(state: StateInline, end: int) -> tuple[bool, bool]:
    """Return whether the run of marks up to `end` may open, and whether it may close.

    A run opens after the start, a blank, punctuation or CJK, before a character that is not blank.
    A run closes after a character that is not blank, before the end, a blank, punctuation or CJK,
    and after punctuation before every character. Characters that nobody sees do not count, but a
    zero-width space, which ends words in Thai and Khmer, is a blank at the outer side.
    """
    text, start = state.src, state.pos
    last = visible.seen_before(text, start)
    first = visible.seen_from(text, end, state.posMax)
    before = text[last - 1] if last else " "
    after = text[first] if first < state.posMax else " "
    opens = (is_edge(before) or _WORD_END in text[last:start]) and not after.isspace()
    is_end = is_edge(after) or _WORD_END in text[end:first] or is_punctuation(before)
    return opens, is_end and not before.isspace()


def is_edge(char: str) -> bool:
    """Return whether a mark may have this character at its outer side."""
    return char.isspace() or is_punctuation(char) or bool(_IS_CJK.match(char))


def pair(state: StateInline) -> None:
    """Make tags of the runs of marks that open and close each other."""
    _pair(state.tokens, state.delimiters)
    for meta in state.tokens_meta:
        if meta and "delimiters" in meta:
            _pair(state.tokens, meta["delimiters"])


def _pair(tokens: list[Token], runs: list[Delimiter]) -> None:
    """Pair each run that closes with the nearest fitting run that opens.

    A run of three marks is one of two and one of one. Runs between the two of a pair are text.
    `Delimiter.end` counts the marks of an opening run that are closed.
    """
    waiting: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        left = run.length
        while run.close and left and (found := _opener(waiting, run.marker, left)):
            opener, size = runs[found[0]], found[1]
            _wrap(tokens, opener, run.token + run.length - left, size)
            left -= size
            _forget_from(waiting, found[0])
            if opener.end < opener.length:
                waiting[run.marker, opener.length - opener.end].append(found[0])
        if run.open and left == run.length:
            waiting[run.marker, left].append(i)


def _opener(
    waiting: dict[tuple[int, int], list[int]], marker: int, left: int
) -> tuple[int, int] | None:
    """Return the run that `left` closing marks close, and how many marks of it."""
    if left == 3 and waiting[marker, 3]:
        return waiting[marker, 3][-1], 2
    sizes = (1, 2) if left == 3 else (left,)
    found = [
        (waiting[marker, length][-1], size)
        for size in sizes
        for length in _OPENERS[size]
        if waiting[marker, length]
    ]
    return max(found, default=None)


def _forget_from(waiting: dict[tuple[int, int], list[int]], first: int) -> None:
    """Forget the opening runs from `first` on: a pair encloses them."""
    for stack in waiting.values():
        while stack and stack[-1] >= first:
            stack.pop()


def _wrap(tokens: list[Token], opener: Delimiter, close: int, size: int) -> None:
    """Make tags of the last `size` marks of a run that opens and of those at `close`."""
    opener.end += size
    start = opener.token + opener.length - opener.end
    for token in (*tokens[start : start + size], *tokens[close : close + size]):
        token.content = ""
    tag = _TAGS[chr(opener.marker), size]
    first, last = tokens[start], tokens[close]
    first.type, first.tag, first.nesting = f"{tag}_open", tag, 1
    last.type, last.tag, last.nesting = f"{tag}_close", tag, -1
