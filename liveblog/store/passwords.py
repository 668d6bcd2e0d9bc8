"""Password hashes: argon2id, off the event loop.

Rules: knows no store, and of users only that their calls take turns.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from itertools import count
from queue import PriorityQueue
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from liveblog.blog.problem import Problem

AT_ONCE: Final = 2  # hashes computed at once; each takes 64 MiB, and 0.1 s on several cores
WAITING_MAX: Final = 40  # unfinished calls, about 2 s of work; a further call fails with 503
KNOWN_MAX: Final = 40  # the same of known browsers, which have a share of the queue for themselves
# The same of one user, so that the browsers of one account cannot fill the share. A call above one
# of these two limits counts in WAITING_MAX.
KNOWN_USER_MAX: Final = 4

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Place(NamedTuple):
    """A place in the queue. `user`: the user of a known browser, "" in the share of all others."""

    user: str


class Passwords:
    """Hashes and verifies passwords in threads, AT_ONCE at a time.

    Known browsers come first, so a flood of other calls delays each of them by one hash. Each
    method raises Problem 503 when the queue is full. The limit AT_ONCE is the size of the thread
    pool. A semaphore would not do: a cancelled request would release the semaphore while its thread
    still works.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        # The jobs that wait: those of known browsers first, then the oldest. Each call puts its job
        # here, and one run of `_next` into the pool.
        self._jobs: PriorityQueue[tuple[bool, int, Future[Any], Callable[[], Any]]]
        self._jobs, self._numbers = PriorityQueue(), count()
        self._taken: Counter[str] = Counter()  # places by `Place.user`

    @contextmanager
    def place(self, known: str = "") -> Iterator[Place]:
        """Hold a place in the queue during a `with` block. `known`: the user of a known browser.

        Raises Problem 503 when the queue is full.
        """
        user = known if self._has_room(known) else ""
        if not user and self._taken[""] >= WAITING_MAX:
            raise Problem(503, "busy", "Too many people are signing in just now.", retry_after_s=5)
        self._taken[user] += 1
        try:
            yield Place(user)
        finally:
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]

    def _has_room(self, known: str) -> bool:
        in_all = self._taken.total() - self._taken[""]
        return self._taken[known] < KNOWN_USER_MAX and in_all < KNOWN_MAX

    async def digest(self, password: str) -> str:
        """Return the hash to store, with its parameters and salt, as argon2 writes it."""
        with self.place() as place:
            return await self._work(place, _hasher().hash, _encoded(password))

    async def verify(self, stored: str | None, password: str, place: Place | None = None) -> bool:
        """Return whether `stored` is the hash of `password`.

        When `stored` is None, as for an unknown user, the call takes the same time and returns
        False. So an attacker cannot learn which users exist. Takes a place of the others' share
        when the caller holds none.
        """
        with nullcontext(place) if place else self.place() as held:
            return await self._work(held, _verify, stored, _encoded(password))

    async def _work(self, place: Place, job: Callable[[*Ts], T], *args: *Ts) -> T:
        done: Future[T] = Future()
        self._jobs.put((not place.user, next(self._numbers), done, partial(job, *args)))
        self._pool.submit(self._next)
        return await asyncio.wrap_future(done)

    def _next(self) -> None:
        """Do the first job, in a thread; a job whose caller was cancelled is not done."""
        _, _, done, job = self._jobs.get_nowait()
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(job())
            except BaseException as error:  # as in a ThreadPoolExecutor, the caller gets the error
                done.set_exception(error)


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
