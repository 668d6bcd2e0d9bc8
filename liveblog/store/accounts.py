"""Who may write: users, tokens, sessions and counted tries, in Redis.

Secrets are kept only as what proves them: passwords as argon2id, tokens and sessions as the
SHA-256 of 256 random bits (nothing to guess, so nothing to slow down). Every record is written in
one command or one script, so there is never half a user; a write that redis-py repeats after a lost
answer finds its own record and counts as done.

    lb:users                HASH    name -> JSON of the user, with the password's hash
    lb:{tokens}:names       HASH    token name -> digest of its secret
    lb:{tokens}:secrets     HASH    digest -> JSON of the token
    lb:session:{digest}     STRING  JSON of the session; expires when idle
    lb:rate:{digest}        STRING  tries in the running window; expires with it

Rules: one of the modules that know Redis. No HTTP and no policy: how many tries are allowed is
auth's matter. Every Redis error leaves here as StoreDown, from one place, where a cluster is asked
again when it turns out to be laid out otherwise.
"""

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final, TypeVar, TypeVarTuple

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from redis.exceptions import RedisError

from liveblog.blog.fields import PASSWORD_MAX, PASSWORD_MIN, check_name
from liveblog.blog.model import ROLES, Caller, Role, is_slug
from liveblog.blog.problem import (
    NONSENSE,
    Damaged,
    Problem,
    StoreDown,
    conflict,
    invalid,
    not_found,
)
from liveblog.store.nodes import Nodes

log = logging.getLogger(__name__)

SESSION_IDLE_S: Final = 24 * 3600  # unused for so long, a session is over: a shift and a night
SESSION_MAX_S: Final = 14 * 24 * 3600  # and in any case after two weeks
BOUND_BLOGS_MAX: Final = 100  # how many blogs one user or token can be bound to
PASSWORDS_AT_ONCE: Final = 2  # 64 MiB and 0.1 s of several cores each
PASSWORDS_WAITING_MAX: Final = 40  # about 2 s of waiting; beyond it: 503, try again

_USERS: Final = "lb:users"
_TOKENS: Final = ("lb:{tokens}:names", "lb:{tokens}:secrets")
_TOKEN: Final = re.compile(r"lbt_[A-Za-z0-9_-]{43}")

T = TypeVar("T")
Listed = TypeVar("Listed", "User", "Token")
Ts = TypeVarTuple("Ts")

# Keep a token under its name unless another has it. HEXISTS comes first so that a key of a wrong
# type stops the script before its first write: scripts do not roll back. A repeated call finds its
# own digest and says yes again.
_CREATE: Final = """
local name, digest, record = ARGV[1], ARGV[2], ARGV[3]
redis.call('HEXISTS', KEYS[2], digest)
local taken = redis.call('HGET', KEYS[1], name)
if taken and taken ~= digest then return 0 end
redis.call('HSET', KEYS[2], digest, record)
redis.call('HSET', KEYS[1], name, digest)
return 1
"""

# Forget a token by the digest that was read for its name. A repeated call finds nothing and changes
# nothing, also when somebody has taken the name in between.
_REVOKE: Final = """
local name, digest = ARGV[1], ARGV[2]
redis.call('HDEL', KEYS[2], digest)
if redis.call('HGET', KEYS[1], name) == digest then redis.call('HDEL', KEYS[1], name) end
return 1
"""

# Count one try. Answers 0 within the limit, else the milliseconds until the window ends. The window
# is fixed at its first try: who goes on trying does not make it longer.
_COUNT: Final = """
local tries = redis.call('INCR', KEYS[1])
if tries == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if tries <= tonumber(ARGV[1]) then return 0 end
return math.max(1, redis.call('PTTL', KEYS[1]))
"""

_FORGET: Final = """
if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('DECR', KEYS[1]) end
return 0
"""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person who signs in with a password. `created_at` is in milliseconds since 1970."""

    name: str
    role: Role
    blogs: tuple[str, ...]
    created_at: int
    disabled: bool = False


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A script's right to call the API, without its secret."""

    name: str
    role: Role
    blogs: tuple[str, ...]
    created_at: int


class _StoredUser(User, frozen=True, kw_only=True):
    password: str  # argon2id, in its own text form


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    user: str
    opened_at: int


class DamagedAccounts(Damaged):
    """Some of a list make no sense: `names` are theirs, and `others` are those that do, by name."""

    def __init__(self, said: str, names: Sequence[str], others: Sequence[User | Token]) -> None:
        super().__init__(said)
        self.names, self.others = names, others


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Accounts:
    """The users, tokens, sessions and counted tries in one store.

    Every method raises StoreDown when the store cannot be asked. `now` gives milliseconds since
    1970.
    """

    def __init__(self, nodes: Nodes, now: Callable[[], int] = _wall_clock_ms) -> None:
        self._nodes = nodes
        self._now = now
        self._passwords = _Passwords()

    async def check_store(self) -> None:
        """Ask whoever keeps the users for a sign of life; raises StoreDown."""
        await self._ask(_USERS, lambda redis: redis.ping())

    # -- users

    async def add_user(
        self, name: str, password: str, role: Role = "editor", blogs: Iterable[str] = ()
    ) -> User:
        """Keep a new user, whole or not at all.

        Raises Problem: 422 for a bad name, password, role or slug, 409 when the name is taken.
        """
        bound = _check_account(name, role, blogs)
        _check_new_password(password)
        user = _StoredUser(
            name=name,
            role=role,
            blogs=bound,
            created_at=self._now(),
            password=await self._passwords.digest(password),
        )
        record = msgspec.json.encode(user)
        is_new = await self._ask(_USERS, lambda redis: redis.hsetnx(_USERS, name, record))
        # When redis-py repeated a write whose answer was lost, the record there is our own.
        if not is_new and await self._user(name) != user:
            raise conflict(f"There is already a user named {name!r}.")
        return msgspec.json.decode(record, type=User)

    async def users(self) -> list[User]:
        """Return all users by name, without their passwords.

        Raises DamagedAccounts, with the others, when some make no sense.
        """
        return await self._all(_USERS, User)

    async def disable_user(self, name: str) -> None:
        """Refuse this user from now on and end all their sessions.

        Raises Problem: 422 for a bad name, 404 for an unknown one. Sessions end because each use of
        one looks at its user. Nothing else changes a stored user and no user is ever enabled again,
        so a plain HSET overwrites nothing and no session comes back. One whose record makes no
        sense stays, too, as a user without rights: were the name free, who takes it would have the
        old sessions.
        """
        check_name(name)
        try:
            user = await self._user(name)
        except Damaged:
            user = self._nobody_named(name)
        if user is None:
            raise not_found(f"There is no user named {name!r}.")
        record = msgspec.json.encode(msgspec.structs.replace(user, disabled=True))
        await self._ask(_USERS, lambda redis: redis.hset(_USERS, name, record))

    async def check_password(self, name: str, password: str) -> Caller | None:
        """Return who signs in, None for a wrong name or password or a disabled user.

        Costs the same in each case, so that the time taken tells nobody which names exist.
        Raises Problem 503 when too many are waiting to be checked.
        """
        if len(password) > PASSWORD_MAX:
            return None
        found = await self._user(name)
        user = None if found is None or found.disabled else found
        is_right = await self._passwords.verify(user.password if user else None, password)
        return _user_caller(user) if user and is_right else None

    def _nobody_named(self, name: str) -> _StoredUser:
        return _StoredUser(
            name=name, role="contributor", blogs=(), created_at=self._now(), password=""
        )

    async def _user(self, name: str) -> _StoredUser | None:
        # A lone surrogate is in no stored name; encoded this way it is no error and finds nobody.
        key = name.encode(errors="surrogatepass")
        return _decode(await self._ask(_USERS, lambda redis: redis.hget(_USERS, key)), _StoredUser)

    # -- tokens

    async def create_token(
        self, name: str, role: Role = "editor", blogs: Iterable[str] = ()
    ) -> str:
        """Return the secret of a new token: "lbt_" and 43 characters, not to be had again.

        Raises Problem: 422 for a bad name, role or slug, 409 when the name is taken.
        """
        bound = _check_account(name, role, blogs)
        secret = f"lbt_{secrets.token_urlsafe(32)}"
        token = Token(name=name, role=role, blogs=bound, created_at=self._now())
        record = msgspec.json.encode(token)
        if not await self._run(_CREATE, _TOKENS, name, _digest(secret), record):
            raise conflict(f"There is already a token named {name!r}.")
        return secret

    async def tokens(self) -> list[Token]:
        """Return all tokens by name, without their secrets.

        Raises DamagedAccounts, with the others, when some make no sense; what has no name is named
        by its digest.
        """
        digests = await self._ask(_TOKENS[0], lambda redis: redis.hgetall(_TOKENS[0]))
        return await self._all(
            _TOKENS[1], Token, {digest: name for name, digest in digests.items()}
        )

    async def revoke_token(self, name: str) -> None:
        """Refuse this token from now on; its name is free again.

        Raises Problem: 422 for a bad name, 404 for an unknown one.
        """
        check_name(name)
        digest = await self._ask(_TOKENS[0], lambda redis: redis.hget(_TOKENS[0], name))
        if digest is None:
            raise not_found(f"There is no token named {name!r}.")
        await self._run(_REVOKE, _TOKENS, name, digest)

    async def token_caller(self, secret: str) -> Caller | None:
        """Return whose token this is, None when it is nobody's.

        Text that cannot be a token is looked up all the same: while the store is away nobody is
        told that there is no such token.
        """
        digest = _digest(secret)
        raw = await self._ask(_TOKENS[1], lambda redis: redis.hget(_TOKENS[1], digest))
        token = _decode(raw, Token) if _TOKEN.fullmatch(secret) else None
        return Caller(f"token:{token.name}", token.role, token.blogs) if token else None

    # -- sessions

    async def open_session(self, caller: Caller) -> str:
        """Return the secret of a new session of this user, 43 characters for a cookie."""
        secret = secrets.token_urlsafe(32)
        session = _Session(user=caller.name, opened_at=self._now())
        key, record = _session_key(secret), msgspec.json.encode(session)
        await self._ask(key, lambda redis: redis.set(key, record, ex=SESSION_IDLE_S))
        return secret

    async def session_caller(self, secret: str) -> Caller | None:
        """Return whose session this is, with the role and blogs the user has now.

        None when it is unknown, was closed, was idle for SESSION_IDLE_S, is older than
        SESSION_MAX_S, or its user is disabled. Each use starts the idle time anew.
        """
        key = _session_key(secret)
        raw = await self._ask(key, lambda redis: redis.getex(key, ex=SESSION_IDLE_S))
        session = _decode(raw, _Session)
        if session is None or self._now() - session.opened_at > SESSION_MAX_S * 1000:
            return None
        user = await self._user(session.user)
        return _user_caller(user) if user and not user.disabled else None

    async def close_session(self, secret: str) -> None:
        """End a session; one that is over already is no error."""
        key = _session_key(secret)
        await self._ask(key, lambda redis: redis.delete(key))

    # -- counted tries

    async def wait_s(self, what: str, limit: int, window_s: int) -> int:
        """Count one try of `what`; return 0 when it is allowed, else the seconds to wait.

        `limit` tries are allowed in a window, which begins with its first try and has a fixed
        length, whatever is tried in it.
        """
        wait_ms = await self._run(_COUNT, (_rate_key(what),), limit, window_s * 1000)
        return -(-int(wait_ms) // 1000)

    async def forget_try(self, what: str) -> None:
        """Take one counted try of `what` back."""
        await self._run(_FORGET, (_rate_key(what),))

    # -- the store

    async def _all(
        self, key: str, kind: type[Listed], names: Mapping[bytes, bytes] | None = None
    ) -> list[Listed]:
        """Return all accounts of a kind; `names` are those of the damaged, by their fields."""
        records = await self._ask(key, lambda redis: redis.hgetall(key))
        found, damaged = [], []
        for field, record in records.items():
            try:
                found.append(msgspec.json.decode(record, type=kind))
            except NONSENSE:
                damaged.append((names or {}).get(field, field).decode(errors="backslashreplace"))
        found.sort(key=lambda account: account.name)
        if damaged:
            said = f"the store holds what makes no sense as a {kind.__name__.lower()}: "
            raise DamagedAccounts(
                said + ", ".join(map(repr, sorted(damaged))), sorted(damaged), found
            )
        return found

    async def _run(self, script: str, keys: tuple[str, ...], *args: str | int | bytes) -> Any:
        # The whole text each time: a few hundred bytes, and no NOSCRIPT after a store restart.
        return await self._ask(keys[0], lambda redis: redis.eval(script, len(keys), *keys, *args))

    async def _ask(self, key: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """Await the answer of whoever has a key; the one place where errors become StoreDown."""
        try:
            return await self._nodes.ask(lambda: call(self._nodes.at(key)))
        except (RedisError, OSError) as error:
            raise StoreDown(f"accounts: {error}") from error


class _Passwords:
    """Argon2id off the event loop, PASSWORDS_AT_ONCE at a time.

    A pool of its own and not a semaphore: a cancelled request gives a semaphore back while its
    thread still works.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(PASSWORDS_AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0

    async def digest(self, password: str) -> str:
        return await self._work(_hasher().hash, _password_bytes(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Say whether `stored` is the hash of `password`; None costs as much and never is."""
        return await self._work(_verify, stored, _password_bytes(password))

    async def _work(self, job: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._waiting >= PASSWORDS_WAITING_MAX:
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
def _nobody() -> str:
    return _hasher().hash(secrets.token_bytes(32))


def _verify(stored: str | None, password: bytes) -> bool:
    nobody = _nobody()  # made even where it is not needed: the first unknown name takes no longer
    try:
        return _hasher().verify(stored or nobody, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def _password_bytes(password: str) -> bytes:
    return password.encode(errors="surrogatepass")  # standard input may hold bytes that are no text


def _check_account(name: str, role: str, blogs: Iterable[str]) -> tuple[str, ...]:
    """Return the blogs, each once, or raise 422 for what is wrong with a user or token."""
    check_name(name)
    bound = tuple(dict.fromkeys(blogs))
    if role not in ROLES:
        raise invalid(("/role", f"must be one of {', '.join(ROLES)}, not {role[:80]!r}"))
    if len(bound) > BOUND_BLOGS_MAX:
        raise invalid(("/blogs", f"has {len(bound)} blogs; the limit is {BOUND_BLOGS_MAX}"))
    if bad := [slug for slug in bound if not is_slug(slug)]:
        raise invalid(("/blogs", f"has what is not a blog's slug: {bad[0][:100]!r}"))
    return bound


def _check_new_password(password: str) -> None:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        said = f"has {len(password)} characters; it must have {PASSWORD_MIN} to {PASSWORD_MAX}"
        raise invalid(("/password", said))


def _user_caller(user: User) -> Caller:
    return Caller(f"user:{user.name}", user.role, user.blogs)


def _decode(record: bytes | str | None, kind: type[T]) -> T | None:
    """Return what a record says; a damaged one is nobody's no, but a store that is down."""
    try:
        return None if record is None else msgspec.json.decode(record, type=kind)
    except NONSENSE as error:
        log.error("the store holds a %s that makes no sense: %s", kind.__name__, error)
        raise Damaged("accounts: what is stored makes no sense") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _session_key(secret: str) -> str:
    return f"lb:session:{_digest(secret)}"


def _rate_key(what: str) -> str:
    # Hashed: a name that somebody typed is as long as they like.
    return f"lb:rate:{_digest(what)[:32]}"
