"""Sign-in, tokens, sessions and rate limits, in Redis. store/users.py has the users.

The store has only hashes of secrets: argon2id for passwords, SHA-256 for tokens and sessions. The
secret of a token or session is 256 random bits. Nobody can guess such a secret, so a fast hash is
enough. One command or script writes each record, so a crash leaves no incomplete user. redis-py
repeats a write whose reply was lost. The repeated write finds its own record and succeeds.

    lb:{tokens}:names       HASH    token name -> digest of its secret; "" if the name stays taken
    lb:{tokens}:secrets     HASH    digest -> JSON of the token
    lb:session:{digest}     STRING  JSON of the session; expires when idle
    lb:rate:{digest}        STRING  number of tries; expires when their window of time ends

Rules: no HTTP. editors/tries.py decides how many tries a rate limit allows.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from liveblog.blog.fields import PASSWORD_MAX, check_name
from liveblog.blog.model import Caller, Role, new_id
from liveblog.blog.problem import Damaged, StoreRefuses, conflict, not_found
from liveblog.store import devices, scripts
from liveblog.store.nodes import Nodes
from liveblog.store.passwords import Passwords, Place
from liveblog.store.records import AccountRecords, decode
from liveblog.store.users import (
    USERS,
    StoredUser,
    User,
    Users,
    check_account,
    check_blogs_exist,
)

log = logging.getLogger(__name__)

# An unused session expires after this time, which is long enough for a shift and a night.
SESSION_IDLE_S: Final = 24 * 3600
SESSION_MAX_S: Final = 14 * 24 * 3600  # the longest life of a session, however often it is used
TOKEN_ID_LENGTH: Final = 20  # random characters: no id equals another, or the name of an old token

_TOKENS: Final = ("lb:{tokens}:names", "lb:{tokens}:secrets")
_TOKEN: Final = re.compile(r"lbt_[A-Za-z0-9_-]{43}")

# Store a token under its name; return 0 when another token has the name, or the name stays taken.
# HEXISTS fails for a key of a wrong type, before the script writes. A repeated call finds its own
# digest under the name and returns 1 again.
_CREATE: Final = scripts.permitted("""
local name, digest, record = unpack(ARGV)
redis.call('HEXISTS', KEYS[2], digest)
local taken = redis.call('HGET', KEYS[1], name)
if taken and taken ~= digest then return 0 end
local commands = { { 'HSET', KEYS[2], digest, record }, { 'HSET', KEYS[1], name, digest } }
local done = 1
""")

# Remove a token. ARGV: its name, and the digest that the caller read under the name. The name stays
# taken when the token has no id, or a corrupt record: such a token's drafts belong to its name, so
# a new token of that name could read them. JSON escapes the quotes in a name, so only the field of
# an id matches. A repeated call changes nothing.
_REVOKE: Final = scripts.permitted(
    """
local name, digest = unpack(ARGV)
local has_id = string.find(redis.call('HGET', KEYS[2], digest) or '', '"id":"', 1, true)
local commands = { { 'HDEL', KEYS[2], digest } }
if redis.call('HGET', KEYS[1], name) == digest then
  commands[2] = has_id and { 'HDEL', KEYS[1], name } or { 'HSET', KEYS[1], name, '' }
end
local done = 1
""",
    frees_memory=True,
)

# Count one try within the limit and return 0; else count nothing, and return the milliseconds until
# the window of time ends. The first try starts a window of a fixed length; later tries do not
# extend the window.
_COUNT: Final = scripts.permitted("""
local stored, commands, done = redis.pcall('GET', KEYS[1]), {}, 0
local tries = not stored and 0 or (type(stored) == 'string' and tonumber(stored))
local wait = redis.call('PTTL', KEYS[1])
if not tries or wait == -1 then -- no count of ours, which always expires
  commands[1], tries, done = { 'DEL', KEYS[1] }, 0, -1
end
if tries >= tonumber(ARGV[1]) then
  return math.max(1, wait)
end
commands[#commands + 1] = { 'INCR', KEYS[1] }
if tries == 0 then commands[#commands + 1] = { 'PEXPIRE', KEYS[1], ARGV[2] } end
""")

_FORGET: Final = """
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' and (tonumber(stored) or 0) > 0 then redis.call('DECR', KEYS[1]) end
return 0
"""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token, with which a script calls the API. The token's secret is left out.

    Drafts and idempotency keys belong to the token's `id`, so that a later token of the same name
    gets none of them. `id` is None for a token of an earlier version, whose drafts belong to its
    name.
    """

    name: str
    role: Role
    blogs: tuple[str, ...]
    created_at: int
    id: str | None = None


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    user: str
    opened_at: int
    series: int = 0  # of the user (StoredUser) at the sign-in


class DamagedAccounts(Damaged):
    """Raised when some accounts of a list are corrupt.

    `names` has the names of the corrupt accounts, `others` has the intact accounts.
    """

    def __init__(self, kind: str, names: Sequence[str], others: Sequence[User | Token]) -> None:
        shown = ", ".join(map(repr, names))
        super().__init__(f"the store returned a {kind} that does not decode: {shown}")
        self.names, self.others = names, others


class Accounts:
    """Checks users, creates, reads and ends tokens and sessions in the store, and counts tries.

    Every method raises StoreDown when the store is unreachable, and Damaged for a corrupt record.
    A method that writes raises StoreRefuses when the store refuses it.
    `now` returns milliseconds since 1970. `passwords` has the queue of password checks, `people`
    adds and alters users.
    """

    def __init__(self, nodes: Nodes, now: Callable[[], int]) -> None:
        self._records = AccountRecords(nodes)
        self._now = now
        self.passwords = Passwords()
        self.people = Users(self._records, self.passwords, now)

    async def check_store(self) -> None:
        """Raise StoreDown when the server that has the users is unreachable."""
        await self._records.ask(USERS, lambda redis: redis.exists(USERS))

    # -- users

    async def users(self) -> list[User]:
        """Return all users by name, without their passwords.

        Raises DamagedAccounts, which has the intact users, when some records are corrupt.
        """
        users, corrupt = await self._records.all(USERS, User)
        users.sort(key=lambda user: user.name)
        if corrupt:
            raise DamagedAccounts("user", sorted(map(_shown, corrupt)), users)
        return users

    async def check_blogs(self, blogs: Sequence[str]) -> None:
        """Raise Problem 404, which names the blogs of these slugs that do not exist."""
        await check_blogs_exist(self._records, blogs)

    async def check_password(
        self, name: str, password: str, place: Place | None = None
    ) -> Caller | None:
        """Return the user who signs in; None for a wrong name or password or a disabled user.

        Each case takes the same time, so that an attacker cannot learn which names exist.
        `place` is one in the queue of `passwords`; without it, this raises Problem 503 when the
        queue is full.
        """
        if len(password) > PASSWORD_MAX:
            return None
        found = await self.people.stored(name)
        user = None if found is None or found.disabled else found
        stored = user.password if user else None
        is_right = await self.passwords.verify(stored, password, place)
        return user.caller if user and is_right else None

    async def device_mark(self, name: str) -> str:
        """Return a new mark for a browser that has signed in as this user (store/devices.py)."""
        return devices.new_mark(_device_key(await self.people.stored(name)), name, self._now())

    async def known_device(self, name: str, marks: Sequence[str]) -> str | None:
        """Return the first of a browser's marks that is this user's; None for none.

        All marks of a user are void after a new password, and while the user is disabled.
        """
        if not marks:
            return None
        device_key, now = _device_key(await self.people.stored(name)), self._now()
        return next((it for it in marks if devices.is_valid(it, device_key, name, now)), None)

    # -- tokens

    async def create_token(
        self, name: str, role: Role = "editor", blogs: Iterable[str] = ()
    ) -> str:
        """Return the secret of a new token: "lbt_" and 43 characters. No later call returns it.

        Raises Problem: 422 for a bad name, role or slug, 409 when another token has the name, or a
        revoked token of an earlier version had it.
        """
        bound = check_account(name, role, blogs)
        secret = f"lbt_{secrets.token_urlsafe(32)}"
        id = new_id("", TOKEN_ID_LENGTH)
        token = Token(name=name, role=role, blogs=bound, created_at=self._now(), id=id)
        record = msgspec.json.encode(token)
        if await self._records.run(_CREATE, _TOKENS, name, _digest(secret), record):
            return secret
        if await self._token_digest(name):
            raise conflict(f"There is already a token named {name!r}.")
        raise conflict(
            f"There was a token named {name!r}. Choose another name: with this one the new token "
            "could read the drafts of the revoked one."
        )

    async def tokens(self) -> list[Token]:
        """Return all tokens by name, without their secrets.

        Raises DamagedAccounts, which has the intact tokens, when some records are corrupt. The
        error lists a corrupt token by its name, or by the hash of its secret when no name is known.
        """
        tokens, corrupt = await self._records.all(_TOKENS[1], Token)
        tokens.sort(key=lambda token: token.name)
        if corrupt:
            digests = await self._records.ask(_TOKENS[0], lambda redis: redis.hgetall(_TOKENS[0]))
            names = {digest: name for name, digest in digests.items()}
            shown = sorted(_shown(names.get(digest, digest)) for digest in corrupt)
            raise DamagedAccounts("token", shown, tokens)
        return tokens

    async def revoke_token(self, name: str) -> None:
        """Reject a token from now on.

        Raises Problem: 422 for a bad name, 404 for an unknown or revoked token.
        """
        check_name(name)
        digest = await self._token_digest(name)
        if not digest:
            raise not_found(f"There is no token named {name!r}.")
        await self._records.run(_REVOKE, _TOKENS, name, digest)

    async def _token_digest(self, name: str) -> bytes | None:
        """Return the hash of a token's secret; b"" for a revoked token, None for an unknown one."""
        return await self._records.ask(_TOKENS[0], lambda redis: redis.hget(_TOKENS[0], name))

    async def token_caller(self, secret: str) -> Caller | None:
        """Return the caller of the token that has this secret, None when no token has it.

        Queries the store even for a text that cannot be a secret. So every call raises StoreDown
        while the store is unreachable, whatever the text.
        """
        digest = _digest(secret)
        raw = await self._records.ask(_TOKENS[1], lambda redis: redis.hget(_TOKENS[1], digest))
        token = decode(raw, Token) if _TOKEN.fullmatch(secret) else None
        return _token_caller(token) if token else None

    # -- sessions

    async def open_session(self, caller: Caller) -> str:
        """Return the secret of a new session of this user, 43 characters for a cookie.

        The session is void when the user got a new password after the check that found `caller`.
        """
        secret = secrets.token_urlsafe(32)
        session = _Session(user=caller.name, opened_at=self._now(), series=caller.series)
        key, record = _session_key(secret), msgspec.json.encode(session)
        await self._records.ask(key, lambda redis: redis.set(key, record, ex=SESSION_IDLE_S))
        return secret

    async def session_caller(self, secret: str) -> Caller | None:
        """Return the user of a session, with the user's present role and blogs.

        Return None when the session is unknown, was closed, was idle for SESSION_IDLE_S or is older
        than SESSION_MAX_S. Return None also when its user is disabled or got a new password since.
        Each use restarts the idle time, except while the store refuses writes: editors can still
        read.
        """
        session = await self._session(secret)
        if session is None or self._now() - session.opened_at > SESSION_MAX_S * 1000:
            return None
        user = await self.people.stored(session.user)
        is_valid = user and not user.disabled and user.series == session.series
        return user.caller if user and is_valid else None

    async def _session(self, secret: str) -> _Session | None:
        """Return a session's record; None for a damaged one, whose editor can sign in again."""
        try:
            return decode(await _touched(self._records, _session_key(secret)), _Session)
        except Damaged:
            return None

    async def close_session(self, secret: str) -> None:
        """End a session; an unknown session is no error."""
        key = _session_key(secret)
        await self._records.ask(key, lambda redis: redis.delete(key))

    # -- rate limits

    async def wait_s(self, what: str, limit: int, window_s: int) -> int:
        """Count one try of `what` and return 0, or return the seconds to wait for the next try.

        `what` names a counter, such as the sign-ins from one address. A window of time allows
        `limit` tries; a try over the limit is not counted. The first try starts a window of
        `window_s` seconds, and later tries do not extend the window.
        """
        name = _rate_key(what)
        wait_ms = int(await self._records.run(_COUNT, (name,), limit, window_s * 1000))
        if wait_ms < 0:
            log.error("key %s was no count of tries in the store: deleted, it is made again", name)
        return max(0, -(-wait_ms // 1000))

    async def forget_try(self, what: str) -> None:
        """Subtract one try from the count of `what`, for example because the sign-in succeeded."""
        await self._records.run(_FORGET, (_rate_key(what),))


async def _touched(records: AccountRecords, key: str) -> bytes | None:
    """Return a session's record, and restart its idle time if the store accepts the write."""
    try:
        raw: bytes | None = await records.ask(
            key, lambda redis: redis.execute_command("GETEX", key, "EX", SESSION_IDLE_S)
        )
    except StoreRefuses:
        raw = await records.ask(key, lambda redis: redis.execute_command("GET", key))
    return raw


def _device_key(user: StoredUser | None) -> str:
    """Return the key of a user's marks; "" for an unknown or disabled user."""
    return user.password if user and not user.disabled else ""


def _token_caller(token: Token) -> Caller:
    if token.id is None:
        return Caller(f"token:{token.name}", token.role, token.blogs)
    return Caller(f"token:{token.id}", token.role, token.blogs, token.name)


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _session_key(secret: str) -> str:
    return f"lb:session:{_digest(secret)}"


def _rate_key(what: str) -> str:
    # Hashed, since `what` may contain a name that a caller typed, of any length.
    return f"lb:rate:{_digest(what)[:32]}"
