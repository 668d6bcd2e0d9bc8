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

AT_ONCE: Final = 2  # hashes computed at once; each takes 64 MiB, and 0.1 s on several cores
WAITING_MAX: Final = 40  # unfinished calls, about 2 s of work; a further call fails with 503

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Passwords:
    """Hashes and verifies passwords in threads, AT_ONCE at a time.

    Each method raises Problem 503 when WAITING_MAX calls have not ended. The limit AT_ONCE is the
    size of the thread pool. A semaphore would not do: a cancelled request would release the
    semaphore while its thread still works.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0

    async def digest(self, password: str) -> str:
        """Return the hash to store, with its parameters and salt, as argon2 writes it."""
        return await self._work(_hasher().hash, _encoded(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Return whether `stored` is the hash of `password`.

        When `stored` is None, as for an unknown user, the call takes the same time and returns
        False. So an attacker cannot learn which users exist.
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
    return PasswordHasher()  # its defaults: RFC 9106, section 4, second option (64 MiB, 3 passes)


@cache
def _decoy() -> str:
    """Return the hash of random bytes, against which a password for an unknown name is verified."""
    return _hasher().hash(secrets.token_bytes(32))


def _verify(stored: str | None, password: bytes) -> bool:
    # `_decoy` is called for known names too. Otherwise the first unknown name would take longer,
    # which an attacker could measure.
    decoy = _decoy()
    try:
        return _hasher().verify(stored or decoy, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def _encoded(password: str) -> bytes:
    # A password may have lone surrogates, for which `encode` would raise UnicodeEncodeError.
    return password.encode(errors="surrogatepass")
