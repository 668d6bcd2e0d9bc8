"""Password hashes: argon2id, off the event loop.

Rules: knows no users and no store.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from liveblog.blog.problem import Problem

AT_ONCE: Final = 2  # each takes 64 MiB and 0.1 s of several cores
WAITING_MAX: Final = 40  # about 2 s of waiting; above it: 503, try again

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Passwords:
    """Hashes and verifies passwords in threads, AT_ONCE at a time.

    Each method raises Problem 503 when WAITING_MAX passwords are waiting. A thread pool limits them
    and not a semaphore: a cancelled request releases a semaphore while its thread still works.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0

    async def digest(self, password: str) -> str:
        """Return the hash to store, in argon2's own text form."""
        return await self._work(_hasher().hash, _encoded(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Return whether `stored` is the hash of `password`.

        For None the call takes the same time, and returns False.
        """
        return await self._work(_verify, stored, _encoded(password))

    async def _work(self, job: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._waiting >= WAITING_MAX:
            raise Problem(503, "busy", "Too many people are signing in just now.", retry_after_s=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job, *args)
        finally:
            self._waiting -= 1


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()  # RFC 9106, section 4, the second recommended option: 64 MiB, 3 passes


@cache
def _decoy() -> str:
    """Return the hash that an unknown name's password is compared with."""
    return _hasher().hash(secrets.token_bytes(32))


def _verify(stored: str | None, password: bytes) -> bool:
    # Made for every name, so that the first unknown name takes no longer than a known one.
    decoy = _decoy()
    try:
        return _hasher().verify(stored or decoy, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def _encoded(password: str) -> bytes:
    return password.encode(errors="surrogatepass")  # standard input may hold bytes that are no text
