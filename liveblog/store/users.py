"""Records of users, in Redis: read, added, and altered without the loss of another change.

    lb:users    HASH    name -> JSON of the user, with the password's hash

Rules: no sessions and no tokens (accounts.py has them).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from liveblog.blog.fields import PASSWORD_MAX, PASSWORD_MIN, check_name
from liveblog.blog.model import ROLES, Caller, Role, is_slug
from liveblog.blog.problem import Damaged, conflict, invalid, not_found
from liveblog.store import scripts
from liveblog.store.codec import key
from liveblog.store.passwords import Passwords
from liveblog.store.records import AccountRecords, decode

USERS: Final = "lb:users"
BOUND_BLOGS_MAX: Final = 100  # a user or token can be restricted to at most this many blogs
# Attempts to alter a user. An attempt fails when another change of the same user was faster.
TRIES_MAX: Final = 10

# Replace a user's record and return 1; return 0 when another record than the one that was read is
# stored. A repeated call finds its own record and returns 1 again.
_REPLACE: Final = scripts.permitted("""
local name, seen, record = unpack(ARGV)
local stored = redis.call('HGET', KEYS[1], name)
if stored == record then return 1 end
if stored ~= seen then return 0 end
local commands = { { 'HSET', KEYS[1], name, record } }
local done = 1
""")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person who signs in with a password. `created_at` is in milliseconds since 1970."""

    name: str
    role: Role
    blogs: tuple[str, ...]
    created_at: int
    disabled: bool = False


class StoredUser(User, frozen=True, kw_only=True):
    """A user with the hash of the password: argon2id, as the library writes it.

    Sessions of an earlier series are void. A new password and a disabling start the next series.
    """

    password: str
    series: int = 0

    @property
    def caller(self) -> Caller:
        return Caller(f"user:{self.name}", self.role, self.blogs, series=self.series)


class Users:
    """Reads, adds and alters users.

    Every method raises StoreDown when the store is unreachable, and Damaged for a corrupt record.
    A method that writes raises StoreRefuses when the store refuses it, and Problem: 422 for a bad
    value, 404 for an unknown user, 409 when other changes of the same user were faster.
    """

    def __init__(
        self, records: AccountRecords, passwords: Passwords, now: Callable[[], int]
    ) -> None:
        self._records, self._passwords, self._now = records, passwords, now

    async def add(
        self, name: str, password: str, role: Role = "editor", blogs: Iterable[str] = ()
    ) -> User:
        """Store a new user and return it. Raises Problem 409 when the name is taken."""
        bound = check_account(name, role, blogs)
        check_new_password(password)
        user = StoredUser(
            name=name,
            role=role,
            blogs=bound,
            created_at=self._now(),
            password=await self._passwords.digest(password),
        )
        record = msgspec.json.encode(user)
        is_new = await self._records.ask(USERS, lambda redis: redis.hsetnx(USERS, name, record))
        # After a lost reply redis-py repeats HSETNX, which then finds the record of the first call.
        if not is_new and await self.stored(name) != user:
            raise conflict(f"There is already a user named {name!r}.")
        return msgspec.json.decode(record, type=User)

    async def stored(self, name: str) -> StoredUser | None:
        return decode(await self._raw(name), StoredUser)

    async def set_password(self, name: str, password: str, series: int | None = None) -> StoredUser:
        """Store a new password, and end the user's sessions and the marks of known browsers.

        With `series`, raise Problem 409 when that is no longer the series of the user's sessions.
        """
        check_new_password(password)
        hashed = await self._passwords.digest(password)

        def change(user: StoredUser) -> StoredUser:
            if series not in (None, user.series):
                raise conflict("Your password was changed elsewhere. Sign in again.")
            return replace(user, password=hashed, series=user.series + 1)

        return await self._alter(name, change)

    async def set_role(self, name: str, role: Role) -> None:
        """Store a new role, which the user's sessions have at once."""
        check_account(name, role, ())
        await self._alter(name, lambda user: replace(user, role=role))

    async def enable(self, name: str) -> None:
        """Admit a disabled user again. The sessions from before the disabling stay ended."""
        await self._alter(name, lambda user: replace(user, disabled=False))

    async def disable(self, name: str) -> None:
        """Reject a user from now on and end all the user's sessions.

        A corrupt record is replaced by a disabled user without rights. If the record were removed,
        a new user of that name would get the old user's sessions.
        """

        def change(user: StoredUser) -> StoredUser:
            return replace(user, disabled=True, series=user.series + 1)

        await self._alter(name, change, self._without_rights)

    async def _alter(
        self,
        name: str,
        change: Callable[[StoredUser], StoredUser],
        repaired: Callable[[str], StoredUser] | None = None,
    ) -> StoredUser:
        """Replace a user's record by the changed one; `repaired` returns one for a corrupt one."""
        check_name(name)
        for _ in range(TRIES_MAX):
            raw = await self._raw(name)
            if raw is None:
                raise not_found(f"There is no user named {name!r}.")
            user = change(_decoded(raw, name, repaired))
            record = msgspec.json.encode(user)
            if await self._records.run(_REPLACE, (USERS,), name, raw, record):
                return user
        raise conflict(f"Other changes of the user {name!r} were faster. Try again.")

    async def _raw(self, name: str) -> bytes | None:
        # A typed name may contain a lone surrogate, which UTF-8 cannot encode. `surrogatepass`
        # raises no error for such a name, and no stored name equals the result.
        field = name.encode(errors="surrogatepass")
        return await self._records.ask(USERS, lambda redis: redis.hget(USERS, field))

    def _without_rights(self, name: str) -> StoredUser:
        # The series of the lost record is unknown. No session has a series as high as the time.
        now = self._now()
        return StoredUser(
            name=name, role="contributor", blogs=(), created_at=now, password="", series=now
        )


def _decoded(raw: bytes, name: str, repaired: Callable[[str], StoredUser] | None) -> StoredUser:
    try:
        user = decode(raw, StoredUser)
    except Damaged:
        if repaired is None:
            raise
        user = repaired(name)
    assert user
    return user


def check_account(name: str, role: str, blogs: Iterable[str]) -> tuple[str, ...]:
    """Check an account's name, role and slugs of blogs; return the slugs without repeats.

    Raises Problem 422 for a bad name, role or slug.
    """
    check_name(name)
    bound = tuple(dict.fromkeys(blogs))
    if role not in ROLES:
        raise invalid(("/role", f"must be one of {', '.join(ROLES)}, not {role[:80]!r}"))
    if len(bound) > BOUND_BLOGS_MAX:
        raise invalid(("/blogs", f"has {len(bound)} blogs; the limit is {BOUND_BLOGS_MAX}"))
    if bad := [slug for slug in bound if not is_slug(slug)]:
        raise invalid(("/blogs", f"has a text that is no blog's slug: {bad[0][:100]!r}"))
    return bound


def check_new_password(password: str) -> None:
    """Raise Problem 422 for a password that is too short or too long."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        reason = f"has {len(password)} characters; it must have {PASSWORD_MIN} to {PASSWORD_MAX}"
        raise invalid(("/password", reason))


async def check_blogs_exist(records: AccountRecords, blogs: Sequence[str]) -> None:
    """Raise Problem 404, which names the blogs of these slugs that do not exist."""
    missing = [slug for slug in dict.fromkeys(blogs) if not await _exists(records, slug)]
    if missing:
        what = "is no blog" if len(missing) == 1 else "are no blogs"
        raise not_found(f"There {what} named {', '.join(map(repr, missing))}.")


async def _exists(records: AccountRecords, slug: str) -> bool:
    name = key(slug, "blog")
    return bool(is_slug(slug) and await records.ask(name, lambda redis: redis.exists(name)))
