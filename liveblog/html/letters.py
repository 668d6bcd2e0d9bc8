"""Letters by script, signs and characters that nobody sees: parts of regular expressions.

The letters of `re` lack the marks that stand on letters, such as the vowel signs of Hindi.

Rules: pure. LETTER and CJK_LETTER match one character; the others are contents of classes.
"""

import unicodedata
from collections.abc import Collection
from itertools import chain, groupby
from typing import Final

from liveblog.blog.visible import INVISIBLE


def _class(categories: Collection[str], *blocks: range) -> str:
    """Return the characters of some categories of Unicode as ranges of a class."""
    found = (it for it in chain(*blocks) if unicodedata.category(chr(it)) in categories)
    runs = (list(run) for _, run in groupby(enumerate(found), lambda it: it[1] - it[0]))
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)


# Scripts that are written without blanks between words, so that a mark may stand between letters.
CJK: Final = (
    "\u1100-\u11ff\u2e80-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f"
    "\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
# Characters that nobody sees and that stand between letters of one word, as in Persian.
JOINERS: Final = "\u00ad\u200c\u200d\u2060"
EMOJI: Final = _class(("So",), range(0x2190, 0x2C00), range(0x1F000, 0x1FB00))
# With the marks of the first plane: a class with others takes six times as long.
_MARKS: Final = _class(
    ("Mn", "Mc"), range(0x300, 0x3100), range(0xA000, 0xAC00), range(0xFB00, 0x10000)
)
LETTERS: Final = rf"\w{_MARKS}"

# A letter, figure or underscore outside of CJK, and one of CJK.
LETTER: Final = rf"(?:(?![{CJK}{INVISIBLE}])[{LETTERS}])"
CJK_LETTER: Final = rf"(?:(?=[{CJK}])[{LETTERS}])"
# A blank or a character that nobody sees.
UNSEEN: Final = rf"\s{INVISIBLE}"
