"""The errors by which a server refuses a command, so that certainly no part of a write is stored.

Redis raises these errors before it runs a script, or at the first write of a script. A script that
writes more than once checks its permissions itself before its first write (scripts.py). So when it
fails for a missing permission, it failed at a read, and has written nothing. Other errors count as
unknown outcomes.

Rules: pure; raises nothing.
"""

from typing import Final

from redis.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from liveblog.blog.problem import RefusalCause, StoreRefuses
from liveblog.store.pool import REPEATED

# redis-py removes the code of the error from the text of these classes.
_BY_CLASS: Final[tuple[tuple[type[ResponseError], str, RefusalCause], ...]] = (
    (OutOfMemoryError, "OOM ", "memory"),
    (ReadOnlyError, "READONLY ", "read-only"),
    (NoPermissionError, "NOPERM ", "permission"),
)
_BY_TEXT: Final[tuple[tuple[str, RefusalCause], ...]] = (
    ("MISCONF", "disk"),
    ("NOREPLICAS", "replicas"),
    # The server has no such command, after `rename-command`.
    ("unknown command", "permission"),
    ("Unknown Redis command called from script", "permission"),
    ("Unknown command called from script", "permission"),
    # The user lacks a permission that a script needs, in the words of Redis 7.0 and of later ones.
    ("The user executing the script can't", "permission"),
    ("ACL failure in script", "permission"),
    # The user may not run EXEC, or MULTI: our transactions only read.
    ("Transaction discarded because of: NOPERM", "permission"),
    ("EXEC without MULTI", "permission"),
)
# redis-py puts the command before the error of a pipeline.
_OF_PIPELINE: Final = " of pipeline caused error: "


def refusal_of(error: ResponseError) -> StoreRefuses | None:
    """Return the refusal that an error reply means; None when a part of a write may be stored.

    A repeated attempt says nothing about the attempt before it.
    """
    if REPEATED in getattr(error, "__notes__", ()):
        return None
    return _by_class(error) or _by_text(error)


def _by_class(error: ResponseError) -> StoreRefuses | None:
    for kind, code, cause in _BY_CLASS:
        if isinstance(error, kind):
            return StoreRefuses(cause, f"{code}{error}")
    return None


def _by_text(error: ResponseError) -> StoreRefuses | None:
    text = str(error).rpartition(_OF_PIPELINE)[2]
    causes = (cause for start, cause in _BY_TEXT if text.startswith(start))
    return next((StoreRefuses(cause, text) for cause in causes), None)
