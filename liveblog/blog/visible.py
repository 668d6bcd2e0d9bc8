"""Characters that nobody sees: blanks, zero-width characters and direction marks.

Rules: pure.
"""

import re
from typing import Final

# Unicode's Default_Ignorable_Code_Point, the blank of Braille, and annotation marks.
INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_INVISIBLE: Final = re.compile(f"[{INVISIBLE}]*+")
_VISIBLE: Final = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f{INVISIBLE}]")
_DIRECTION: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shows_nothing(text: str) -> bool:
    """Return whether a text has no character that a reader sees."""
    return not _VISIBLE.search(text)


def seen_from(text: str, start: int, end: int) -> int:
    """Return where the first character from `start` on is that is not INVISIBLE, or `end`."""
    found = _INVISIBLE.match(text, start, end)
    return found.end() if found else end


def seen_before(text: str, end: int) -> int:
    """Return the end of the text before `end` without the INVISIBLE characters at its end."""
    while end and _INVISIBLE.fullmatch(text, end - 1, end):
        end -= 1
    return end


def isolated(text: str) -> str:
    """Return a text whose direction marks do not turn the text around it.

    For places that have no markup, such as the title of a page.
    """
    return f"\u2068{text}\u2069" if _DIRECTION.search(text) else text
