"""Problems: the reasons for which a call fails, and the meaning of each problem's name.

Rules: imports nothing of ours.
"""

from typing import Final, Literal

# Each problem's name, with its meaning and its remedy. The `type` of an answer links to this text.
# A test fails when the code raises a name that is missing here.
PROBLEMS: Final = {
    "ambiguous-credentials": "The request has more than one credential. Send a token or a session"
    " cookie.",
    "bad-header": "A header of the request does not have the form that the detail states.",
    "bad-parameter": "A parameter in the URL does not have a value that the detail allows.",
    "broken-form": "The form is not valid UTF-8, or has too many fields.",
    "broken-json": "The body is not valid JSON in UTF-8, or an object in it has a name twice.",
    "busy": "The server is doing too much of this right now. Repeat the request after the seconds"
    " in Retry-After.",
    "conflict": "The stored state does not allow this: a name is taken, a blog has ended, or a"
    " status cannot follow another. The detail names the reason.",
    "damaged": "A record in the store is damaged, so this call cannot be answered. Repeating the"
    " call does not help. The detail and the server's log name the record. An entry that is damaged"
    " can be deleted or taken down.",
    "fault": "Internal server error. The server has logged it.",
    "forbidden": "The caller is known but may not do this: the role or the page's origin does not"
    " allow it.",
    "gone": "The entry was deleted or taken down.",
    "http": "The server cannot answer this kind of request. The status names the reason.",
    "idempotency-key-reused": "The Idempotency-Key was used for another request in the last 24"
    " hours. Make a new key for each new request.",
    "if-match-needed": "An edit of text needs If-Match with the revision that was edited, so that"
    " no editor overwrites an unseen revision.",
    "incomplete": "The connection ended before the request was complete.",
    "invalid-field": "A field breaks a rule. `errors` has a pointer to each field, with limit and"
    " value.",
    "method-not-allowed": "The address exists, but not with this method. The header Allow lists its"
    " methods.",
    "not-a-form": "The body is not a form in UTF-8. Send application/x-www-form-urlencoded.",
    "not-found": "There is nothing at this address, or this caller may not see it.",
    "other-editor": "The desk's page was made for another editor than the one who is signed in now."
    " Nothing was stored. `editor` is the one who is signed in: ask who publishes, and send again"
    " for that editor.",
    "revision-conflict": "Another editor saved the entry first. `current` is their version: merge,"
    " and send again with its revision.",
    "sign-in-refused": "The name or the password is wrong.",
    "signed-out": "The session has expired or was ended. Nothing was stored. Sign in, and send"
    " again.",
    "store-down": "The store is unreachable. A write may or may not have been stored. Repeat it"
    " with the same Idempotency-Key: it is stored once.",
    "store-refuses": "The store answers and refuses writes, for the reason in the detail. The"
    " request was not stored. Repeat it later with the same Idempotency-Key.",
    "too-large": "The body has more bytes than the detail allows.",
    "too-many-tries": "There were too many tries to sign in. Repeat the request after the seconds"
    " in Retry-After.",
    "too-slow": "The body did not arrive in time.",
    "unauthorized": "The request has no valid token or session.",
    "worker-full": "This server process holds as many blogs as it may, all with readers, or too"
    " many blogs are being loaded. Repeat the request after the seconds in Retry-After.",
    "unsupported-media-type": "Send the body as application/json, not compressed.",
}

_OF_STATUS: Final = {404: "not-found", 405: "method-not-allowed"}


class Problem(Exception):
    """The reason why a call failed, which the caller gets as problem+json (RFC 9457).

    `name` is a key of PROBLEMS. `errors` are (JSON pointer, detail) pairs. `extra` are more members
    of the answer: a 412 has the stored entry as `current`. `retry_after_s` becomes a Retry-After
    header.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        errors: list[tuple[str, str]] | None = None,
        *,
        extra: dict[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail
        self.errors = errors or []
        self.extra = extra or {}
        self.retry_after_s = retry_after_s

    def to_json(self) -> dict[str, object]:
        """Return the members that RFC 9457, section 3.1, defines, then `errors` and `extra`."""
        return {
            "type": f"/problems/{self.name}",
            "title": self.name.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "errors": [{"pointer": p, "detail": d} for p, d in self.errors],
            **self.extra,
        }


def invalid(*errors: tuple[str, str]) -> Problem:
    """Return the Problem 422 for fields with invalid values.

    Each error is (JSON pointer, detail); the detail continues a sentence that starts with the
    field's name, and names the limit. The pointer "" is the whole body (RFC 6901, section 5).
    """
    detail = "; ".join(f"{p[1:]}: {d}" if p else d for p, d in errors)
    return Problem(422, "invalid-field", detail, [*errors])


def forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)


def not_found(detail: str = "There is nothing at this address that you may see.") -> Problem:
    return Problem(404, "not-found", detail)


def conflict(detail: str) -> Problem:
    return Problem(409, "conflict", detail)


class WorkerFull(Problem):
    """The 503 for a blog that this worker does not hold and has no room for."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "worker-full", detail, retry_after_s=5)


def http_error(status: int, detail: str) -> Problem:
    """Return the problem for an error that the web framework raised."""
    return Problem(status, _OF_STATUS.get(status, "http"), detail)


class StoreDown(Exception):
    """The store is unreachable. A write that raised this may or may not have been stored."""


# Why a store refuses writes, in words for editors that continue "The store refuses writes: ".
# "subscriptions": writes are accepted, but workers cannot follow changes; readers get them late.
RefusalCause = Literal[
    "memory", "disk", "read-only", "replicas", "permission", "durability", "subscriptions"
]
REFUSALS: Final[dict[RefusalCause, str]] = {
    "memory": "its memory is full",
    "disk": "it cannot save to its disk",
    "read-only": "it is a read-only copy at present",
    "replicas": "too few of its copies are connected",
    "permission": "its access rules forbid them",
    "durability": "it does not save each change to its disk at once",
    "subscriptions": "it forbids subscriptions",
}


class StoreRefuses(StoreDown):
    """The store answered and refused a write before it stored any part of the write.

    The text has the store's own words, for operators. `reason` has words for editors.
    """

    def __init__(self, cause: RefusalCause, why: str) -> None:
        super().__init__(why)
        self.cause = cause

    @property
    def reason(self) -> str:
        return REFUSALS[self.cause]


class Damaged(StoreDown):
    """A record in the store is damaged. Other records of the store may still be readable.

    The text is shown to the caller: it names the record, and has nothing of its content.
    """


class UnusableStore(Exception):
    """The store cannot be started or must not be used; the text names the cause and the remedy."""
