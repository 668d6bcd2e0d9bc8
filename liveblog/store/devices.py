"""Marks of known browsers: a browser that signed in as a user keeps a mark of that user.

A mark is `{nonce}.{seconds}.{mac}`: random characters, the time of its making, and an HMAC of both
and the user's name. The key is the user's password hash. So the store keeps nothing for a mark, no
mark shows a name, and a new password makes all marks of its user void. A request with marks costs
one read of the user, however many marks it has: less than the count of its try.

Rules: pure, but for the random nonce. Knows no store and no HTTP.
"""

import hashlib
import hmac
import re
from typing import Final

from liveblog.blog.model import new_id

DEVICE_S: Final = 180 * 24 * 3_600  # the life of a mark; each sign-in starts a new one
_MARK: Final = re.compile(r"[0-9a-z]{16}\.[0-9]{1,11}\.[0-9a-f]{32}", re.ASCII)


def new_mark(password_hash: str, name: str, now_ms: int) -> str:
    """Return a mark of the user with this name and password hash."""
    made = f"{new_id('', 16)}.{now_ms // 1_000}"
    return f"{made}.{_mac(password_hash, name, made)}"


def is_mark(text: str) -> bool:
    """Return whether a text has the form of a mark; it may still be forged or expired."""
    return bool(_MARK.fullmatch(text))


def is_valid(mark: str, password_hash: str, name: str, now_ms: int) -> bool:
    """Return whether a mark is one of the user with this name and password hash, and not expired.

    Without a password hash, as for a disabled user, no mark is valid.
    """
    if not is_mark(mark):
        return False
    made, _, mac = mark.rpartition(".")
    age_s = now_ms // 1_000 - int(made.partition(".")[2])
    # Compared without a password hash too: an unknown name must not take less time.
    is_genuine = hmac.compare_digest(mac, _mac(password_hash, name, made))
    return is_genuine and bool(password_hash) and age_s <= DEVICE_S


def _mac(password_hash: str, name: str, made: str) -> str:
    text = f"device {made} {name}".encode(errors="surrogatepass")
    return hmac.new(password_hash.encode(), text, hashlib.sha256).hexdigest()[:32]
