"""Why a call cannot be answered: the caller's mistakes, and a store that cannot be asked.

Rules: imports nothing of ours.
"""

from typing import Any, Final

import msgspec


class Problem(Exception):
    """What a caller did wrong or cannot have now; the API's answer as RFC 9457 problem+json.

    `errors` are (JSON pointer, detail) pairs; `extra` are more members of the answer (412's
    `current`); `retry_after_s` becomes a Retry-After header.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        errors: list[tuple[str, str]] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail
        self.errors = errors or []
        self.extra = extra or {}
        self.retry_after_s = retry_after_s

    def to_json(self) -> dict[str, Any]:
        """Return the members of RFC 9457, section 3.1, with ours beside them."""
        return {
            "type": f"/problems/{self.name}",
            "title": self.name.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "errors": [{"pointer": p, "detail": d} for p, d in self.errors],
            **self.extra,
        }


def invalid(*errors: tuple[str, str]) -> Problem:
    """Return the 422 for fields that break a rule.

    Each error is (JSON pointer, what and which limit).

    The pointer "" is the whole body (RFC 6901, section 5).
    """
    said = "; ".join(f"{p[1:]}: {d}" if p else d for p, d in errors)
    return Problem(422, "invalid-field", said, [*errors])


def forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)


def not_found(detail: str = "There is nothing here that you may see.") -> Problem:
    return Problem(404, "not-found", detail)


def conflict(detail: str) -> Problem:
    return Problem(409, "conflict", detail)


class StoreDown(Exception):
    """The store cannot be asked now. A write that raised this may or may not have happened."""


class Damaged(StoreDown):
    """The store answers, but what it holds there makes no sense; other things can be asked for."""


# What reading damaged keys raises: a value that is missing, of another kind, too large, nested too
# deep, or not UTF-8. It is one blog's or account's trouble, and must end neither a worker nor an
# answer about the others.
NONSENSE: Final = (
    msgspec.DecodeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
    OverflowError,
)
