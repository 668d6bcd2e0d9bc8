"""The errors by which a server refuses a write before it stores any part of the write.

Redis raises these errors before it runs a script, or at the first write of a script. A script
checks its permissions itself before its first write (scripts.py). A refusal after the first write
would leave a part of the write, so other errors count as unknown outcomes.

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
# "unknown command": the server has no EVAL or no PUBLISH, after `rename-command`.
_BY_TEXT: Final[tuple[tuple[str, RefusalCause], ...]] = (
    ("MISCONF", "disk"),
    ("NOREPLICAS", "replicas"),
    ("unknown command", "permission"),
)


def refusal_of(error: ResponseError) -> StoreRefuses | None:
    """Return the refusal that an error reply means; None when a part of a write may be stored.

    A script that is refused a permission may have written before. A repeated attempt says nothing
    about the attempt before it.
    """
    found = _by_class(error) or _by_text(error)
    if found is None or REPEATED in getattr(error, "__notes__", ()):
        return None
    is_from_script = " script: " in str(error)
    return None if is_from_script and found.cause == "permission" else found


def _by_class(error: ResponseError) -> StoreRefuses | None:
    for kind, code, cause in _BY_CLASS:
        if isinstance(error, kind):
            return StoreRefuses(cause, f"{code}{error}")
    return None


def _by_text(error: ResponseError) -> StoreRefuses | None:
    text = str(error)
    causes = (cause for start, cause in _BY_TEXT if text.startswith(start))
    return next((StoreRefuses(cause, text) for cause in causes), None)
