"""HTTP answers for problems, in the format problem+json (RFC 9457).

Rules: no Redis. The store's own words go to the log, never to a caller.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import orjson
from starlette.responses import Response

from liveblog.blog.problem import Damaged, Problem, StoreDown, StoreRefuses
from liveblog.seldom import Seldom

log = logging.getLogger(__name__)

STORE_RETRY_AFTER_S: Final = 2
NOTICED_WITHIN_S: Final = 3.0
# Statuses of answers that may be sent before the whole body was read. The connection is closed, so
# that a slow sender does not occupy it.
CLOSING: Final = (401, 408, 413)


class Problems:
    """Makes the HTTP answers for problems; each worker has one object.

    Each reason of a StoreDown is logged once a minute. `is_known` returns whether the server logs
    already that the store refuses writes (live/watch.py). A refusal is logged here when the server
    does not notice it within NOTICED_WITHIN_S, as when the store forbids the keys of one blog.
    `now` returns monotonic seconds.
    """

    def __init__(
        self,
        is_known: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_known, self._now, self._logged = is_known, now, Seldom(now)
        self._unnoticed_since_s: float | None = None

    def response(self, problem: Problem | StoreDown, method: str = "POST") -> Response:
        """Return the answer for a problem, in the form of RFC 9457. StoreDown becomes a 503.

        `method` is the request's method.
        """
        if isinstance(problem, StoreDown):
            problem = self.store_down(problem, method)
        headers = {"Cache-Control": "no-store"}
        if problem.status in CLOSING:
            headers["Connection"] = "close"
        if problem.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="liveblog"'
        if problem.retry_after_s is not None:
            headers["Retry-After"] = str(problem.retry_after_s)
        body = orjson.dumps(problem.to_json())
        return Response(body, problem.status, headers, "application/problem+json")

    def store_down(self, error: StoreDown, method: str) -> Problem:
        """Return the problem that a caller gets for StoreDown, and log the reason."""
        if isinstance(error, StoreRefuses):
            return self._refusal(error, method)
        if isinstance(error, Damaged):
            self._log("store has damaged records, answering 503: %s", error)
            return Problem(503, "damaged", str(error))
        self._log("store unreachable, answering 503: %s", error)
        detail = (
            "The store is unreachable. The request may or may not have been stored. Repeat it with"
            " the same Idempotency-Key: it is stored once."
        )
        return Problem(503, "store-down", detail, retry_after_s=STORE_RETRY_AFTER_S)

    def _refusal(self, error: StoreRefuses, method: str) -> Problem:
        if self._is_unnoticed():
            self._log("store refuses writes, answering 503: %s", error)
        detail = f"The request was not stored. The store refuses writes: {error.reason}."
        if method in ("GET", "HEAD"):  # it stores nothing in any case
            detail = f"The store refuses the commands of this request: {error.reason}."
        return Problem(503, "store-refuses", detail, retry_after_s=STORE_RETRY_AFTER_S)

    def _is_unnoticed(self) -> bool:
        """Return whether the server has not noticed for a while that the store refuses writes."""
        if self._is_known():
            self._unnoticed_since_s = None
            return False
        if self._unnoticed_since_s is None:
            self._unnoticed_since_s = self._now()
        return self._now() - self._unnoticed_since_s >= NOTICED_WITHIN_S

    def _log(self, text: str, error: StoreDown) -> None:
        if self._logged.may(str(error)):
            log.warning(text, error)
