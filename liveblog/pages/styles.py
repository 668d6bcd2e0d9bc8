"""Styles without comments and without the white space that they do not need.

Rules: pure. Strings stay as they are, so that every rule means the same.
"""

import re
from typing import Final

_STRING: Final = r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_GAP: Final = re.compile(rf"{_STRING}|(?:\s|/\*.*?\*/)+", re.DOTALL)
# A blank beside these signs separates nothing. One before a colon may: `a :hover` is not `a:hover`.
_ZERO: Final = r"(?<![\w.])0(?=\.\d)"  # `.5rem` is `0.5rem`
_SIGN: Final = re.compile(
    rf"{_STRING}| ?;? ?(?P<end>\}}) ?| ?(?P<sign>[{{;,>]) ?|(?P<colon>:) |{_ZERO}"
)


def stripped(css: str) -> str:
    """Return a style sheet that means the same in fewer characters."""
    spaced = _GAP.sub(lambda found: found["string"] or " ", css)
    return _SIGN.sub(lambda found: "".join(it or "" for it in found.groups()), spaced).strip()
