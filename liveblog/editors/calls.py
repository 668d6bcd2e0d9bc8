"""The keys of editors' calls, by which the store recognises a repeated call.

Rules: pure.
"""

import hashlib

import orjson

from liveblog.blog.model import Caller, new_id
from liveblog.editors.decisions import Revisions
from liveblog.store.calls import CallKey


def call_key(caller: Caller, what: str, key: str | None, asked: object) -> CallKey:
    """Return the key by which the store recognises a repeated call.

    The key has a hash of the caller, the call's name and its Idempotency-Key, and a hash of the
    call's arguments. A call without an Idempotency-Key gets a random one, so that a retry by this
    program cannot write twice.
    """
    scope = f"{caller.ident}\n{what}\n{key or new_id('', 24)}"
    asked_bytes = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    return CallKey(
        hashlib.sha256(scope.encode()).hexdigest()[:32],
        hashlib.sha1(asked_bytes, usedforsecurity=False).hexdigest(),
        is_repeatable=bool(key),
    )


def replaced(seen: Revisions | None) -> object:
    """Return what the hash of a call contains for If-Match."""
    return "*" if isinstance(seen, range) else seen
