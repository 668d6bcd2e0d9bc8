"""HTTP answers for problems, in the format problem+json (RFC 9457).

Rules: no Redis. The reason for an unreachable store goes to the log, never to a caller.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import orjson
from starlette.responses import Response

from liveblog.blog.problem import Damaged, Problem, StoreDown

log = logging.getLogger(__name__)

STORE_RETRY_AFTER_S: Final = 2
LOG_AGAIN_S: Final = 60.0  # time before the same reason is logged again
LOGGED_MAX: Final = 10  # different reasons logged within LOG_AGAIN_S
# Statuses of answers that may be sent before the whole body was read. The connection is closed, so
# that a slow sender does not occupy it.
UNREAD: Final = (401, 408, 413)


class Problems:
    """Makes the HTTP answers for problems; each worker has one object.

    Each reason of a StoreDown is logged once in LOG_AGAIN_S, and at most LOGGED_MAX different
    reasons in that time. Without these limits, callers that retry every few seconds would fill the
    log. `now` returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._logged: dict[str, float] = {}  # when each reason was logged

    def response(self, problem: Problem | StoreDown) -> Response:
        """Return the answer for a problem, in the form of RFC 9457. StoreDown becomes a 503."""
        if isinstance(problem, StoreDown):
            problem = self.store_down(problem)
        headers = {"Cache-Control": "no-store"}
        if problem.status in UNREAD:
            headers["Connection"] = "close"
        if problem.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="liveblog"'
        if problem.retry_after_s is not None:
            headers["Retry-After"] = str(problem.retry_after_s)
        body = orjson.dumps(problem.to_json())
        return Response(body, problem.status, headers, "application/problem+json")

    def store_down(self, error: StoreDown) -> Problem:
        """Return the problem that a caller gets for StoreDown, and log the reason."""
        self._log(str(error))
        if isinstance(error, Damaged):
            return Problem(503, "damaged", str(error))
        detail = (
            "The store is unreachable. The request may or may not have been stored. Repeat it with"
            " the same Idempotency-Key: it is stored once."
        )
        return Problem(503, "store-down", detail, retry_after_s=STORE_RETRY_AFTER_S)

    def _log(self, reason: str) -> None:
        now = self._now()
        self._logged = {it: at for it, at in self._logged.items() if now - at < LOG_AGAIN_S}
        if reason not in self._logged and len(self._logged) < LOGGED_MAX:
            self._logged[reason] = now
            log.warning("store unreachable or damaged, answering 503: %s", reason)
