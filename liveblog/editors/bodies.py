"""Bodies of editors' requests: read within limits on size, time and memory.

The server verifies the caller first, then reads the body. Bodies of known callers and of all others
have separate limits, so that a flood of sign-in forms cannot keep editors from publishing.

A body takes memory as its bytes arrive; an announced length reserves nothing. When the unfinished
bodies of a worker exceed a limit together, the server ends the one that started first with a 503.
Most bodies come with their heads and are never unfinished, so a slow sender ends before others.

Rules: no Redis, no permissions. Knows no fields and no forms.
"""

import asyncio
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect, Request

from liveblog.blog.fields import BODY_BYTES_MAX
from liveblog.blog.problem import Problem

BODY_WAIT_S: Final = 30.0  # longest wait for a whole request body
RETRY_AFTER_S: Final = 2

EDITORS_BYTES_MAX: Final = 64 * 1024 * 1024  # unfinished bodies of known callers in a worker
STRANGERS_BYTES_MAX: Final = 4 * 1024 * 1024  # the same of callers without a session
# Unfinished bodies of callers without a session. Each takes 20 KB beside its bytes.
STRANGERS_MAX: Final = 64
# The form of an editor whose session has expired. It has two texts of 20,000 characters (the new
# and the old one), and a character takes at most 12 bytes in a form.
STRANGERS_BODY_BYTES_MAX: Final = 512 * 1024
SIGN_IN_BODY_BYTES_MAX: Final = 8 * 1024


class _Reading:
    """A body that arrives; `limit` ends the wait for its bytes."""

    __slots__ = ("body", "is_ended", "limit")

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.body = bytearray()
        self.is_ended = False  # whether the body was ended because others need the memory
        self.limit = limit


class Bodies:
    """Reads bodies of at most `body_max` bytes; unfinished ones take at most `bytes_max` together.

    At most `count_max` bodies are unfinished at a time; 0: no limit. `held` counts their bytes.
    """

    def __init__(self, bytes_max: int, body_max: int, count_max: int = 0) -> None:
        self.held = 0
        self._bytes_max, self._body_max, self._count_max = bytes_max, body_max, count_max
        self._unfinished: dict[_Reading, None] = {}  # the first to start comes first

    async def read(self, request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
        """Return the request's body, of at most `bytes_max` bytes.

        Raises Problem: 413 as soon as the body is known to be longer, 408 after BODY_WAIT_S, 400
        when the sender disconnects, 503 when other bodies need the memory.
        """
        bytes_max = min(bytes_max, self._body_max)
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:16]) > bytes_max:
            raise _too_large(bytes_max)
        try:
            async with asyncio.timeout(BODY_WAIT_S) as limit:
                reading = _Reading(limit)
                await self._read(request, reading, bytes_max)
        except TimeoutError:
            if not reading.is_ended:
                raise _too_slow() from None
        except ClientDisconnect:
            raise Problem(400, "incomplete", "The connection ended before the body did.") from None
        if reading.is_ended:
            raise _busy()
        return bytes(reading.body)

    async def _read(self, request: Request, reading: _Reading, bytes_max: int) -> None:
        self._unfinished[reading] = None
        if 0 < self._count_max < len(self._unfinished):
            self._end_first()
        try:
            async for chunk in request.stream():
                self._take(reading, chunk)
                if len(reading.body) > bytes_max:
                    raise _too_large(bytes_max)
        finally:
            self._forget(reading)

    def _take(self, reading: _Reading, chunk: bytes) -> None:
        if reading.is_ended:  # these bytes came before `limit` ended the wait
            raise TimeoutError
        reading.body += chunk
        self.held += len(chunk)
        while self.held > self._bytes_max:
            self._end_first()

    def _end_first(self) -> None:
        """Free the body that started first, and end its wait."""
        first = next(iter(self._unfinished))
        self._forget(first)
        first.is_ended, first.body = True, bytearray()
        first.limit.reschedule(asyncio.get_running_loop().time())

    def _forget(self, reading: _Reading) -> None:
        if reading in self._unfinished:
            del self._unfinished[reading]
            self.held -= len(reading.body)  # before the body is freed


class AllBodies(NamedTuple):
    """The bodies that a worker reads, by their senders."""

    editors: Bodies  # known callers, by a session or a token
    strangers: Bodies  # all others: sign-in forms, and forms whose session has expired


def all_bodies() -> AllBodies:
    return AllBodies(
        Bodies(EDITORS_BYTES_MAX, BODY_BYTES_MAX),
        Bodies(STRANGERS_BYTES_MAX, STRANGERS_BODY_BYTES_MAX, STRANGERS_MAX),
    )


def count_in(request: Request, bodies: Bodies) -> None:
    """Choose the limits under which `bodies_of` lets a request's body be read."""
    request.state.bodies = bodies


def bodies_of(request: Request) -> Bodies:
    bodies: Bodies = request.state.bodies
    return bodies


def _too_large(bytes_max: int) -> Problem:
    return Problem(413, "too-large", f"The body is too large; the limit is {bytes_max:,} bytes.")


def _too_slow() -> Problem:
    return Problem(408, "too-slow", f"The body took longer than {BODY_WAIT_S:g} seconds.")


def _busy() -> Problem:
    detail = "Too many requests are arriving. Send this one again."
    return Problem(503, "busy", detail, retry_after_s=RETRY_AFTER_S)
