"""Users, tokens, sessions and rate limits, on a real store."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters
from kit.contents import contents
from kit.people import NOW, Clock, cheapen_hashes
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from liveblog.blog.model import Caller, Role
from liveblog.blog.problem import Damaged, Problem, StoreDown
from liveblog.commands import story
from liveblog.store import passwords
from liveblog.store.accounts import (
    SESSION_IDLE_S,
    SESSION_MAX_S,
    Accounts,
    DamagedAccounts,
    _rate_key,
)
from liveblog.store.nodes import One
from liveblog.store.users import BOUND_BLOGS_MAX

PASSWORD = "correct horse battery"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    cheapen_hashes(monkeypatch)


@pytest.fixture
def accounts(store_client: Redis, clock: Clock, cheap_hashes: None) -> Accounts:
    return Accounts(One(store_client), clock)


@pytest.fixture
def costly_accounts(store_client: Redis, clock: Clock) -> Accounts:
    """Accounts that hash passwords at their real cost."""
    return Accounts(One(store_client), clock)


@pytest.fixture
async def away() -> AsyncIterator[Accounts]:
    """Accounts whose store is unreachable."""
    async with Redis(unix_socket_path="/nonexistent/store", retry=Retry(NoBackoff(), 0)) as client:
        yield Accounts(One(client), Clock())


# -- users


async def test_user_signs_in_only_with_the_right_password(accounts: Accounts) -> None:
    await accounts.people.add("Dana Ruiz", PASSWORD, "editor", ["council", "council", "storm"])
    dana = Caller("user:Dana Ruiz", "editor", ("council", "storm"))
    assert await accounts.check_password("Dana Ruiz", PASSWORD) == dana
    for name, password in [
        ("Dana Ruiz", PASSWORD + " "),
        ("Dana Ruiz", ""),
        ("Dana Ruiz", PASSWORD.upper()),
        ("dana ruiz", PASSWORD),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("\udc80", PASSWORD),
        ("Dana Ruiz", "\udc80" * 12),
        ("Dana Ruiz", "x" * 100_000),
    ]:
        assert await accounts.check_password(name, password) is None


async def test_store_holds_no_secret(costly_accounts: Accounts, store_client: Redis) -> None:
    await costly_accounts.people.add("dana", PASSWORD)
    token = await costly_accounts.create_token("wire")
    session = await costly_accounts.open_session(Caller("user:dana", "editor"))
    kept = str(await contents(store_client))
    for secret in (PASSWORD, token, token.removeprefix("lbt_"), session):
        assert secret not in kept
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in kept
    assert hashlib.sha256(token.encode()).hexdigest() in kept


async def test_users_are_listed_by_name_without_passwords(accounts: Accounts) -> None:
    assert await accounts.users() == []
    await accounts.people.add("zoe", PASSWORD, "contributor", ["storm"])
    await accounts.people.add("ana", PASSWORD, "admin")
    listed = await accounts.users()
    assert [(user.name, user.role, user.blogs) for user in listed] == [
        ("ana", "admin", ()),
        ("zoe", "contributor", ("storm",)),
    ]
    assert all(user.created_at == NOW and not user.disabled for user in listed)
    assert "argon2" not in repr(listed)


async def test_user_is_refused_when_a_disabled_one_has_the_name(
    accounts: Accounts, store_client: Redis
) -> None:
    await accounts.people.add("dana", PASSWORD)
    await accounts.people.disable("dana")
    before = await contents(store_client)
    with pytest.raises(Problem) as raised:
        await accounts.people.add("dana", "another password", "admin")
    assert raised.value.status == 409
    assert await contents(store_client) == before


async def test_one_user_gets_the_name_when_many_ask_for_it_at_once(accounts: Accounts) -> None:
    passwords = [f"password number {n}" for n in range(4)]
    tries = [accounts.people.add("dana", password) for password in passwords]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Problem"] * 3 + ["User"]
    winner = next(n for n, one in enumerate(done) if not isinstance(one, Problem))
    for n, password in enumerate(passwords):
        assert bool(await accounts.check_password("dana", password)) == (n == winner)


async def test_write_counts_as_done_when_it_is_repeated_after_a_lost_reply(
    accounts: Accounts, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    once: Any = store_client.execute_command

    async def twice(*args: object, **options: object) -> object:
        """Send a write twice, as redis-py does when a connection ends before the reply."""
        if args[0] in ("HSETNX", "EVAL"):
            await once(*args, **options)
        return await once(*args, **options)

    monkeypatch.setattr(store_client, "execute_command", twice)
    await accounts.people.add("dana", PASSWORD)
    token, gone = await accounts.create_token("wire"), await accounts.create_token("agency")
    await accounts.revoke_token("agency")
    monkeypatch.undo()
    assert await accounts.check_password("dana", PASSWORD)
    assert await accounts.token_caller(token)
    assert await accounts.token_caller(gone) is None
    assert [it.name for it in await accounts.tokens()] == ["wire"]


@pytest.mark.parametrize(
    ("name", "password", "role", "blogs", "pointer"),
    [
        ("", PASSWORD, "editor", [], "/name"),
        ("d" * 65, PASSWORD, "editor", [], "/name"),
        ("two  spaces", PASSWORD, "editor", [], "/name"),
        ("line\nbreak", PASSWORD, "editor", [], "/name"),
        ("dana", "x" * 11, "editor", [], "/password"),
        ("dana", "x" * 1_025, "editor", [], "/password"),
        ("dana", PASSWORD, "owner", [], "/role"),
        ("dana", PASSWORD, "editor", ["Not A Slug"], "/blogs"),
        ("dana", PASSWORD, "editor", [f"b{n}" for n in range(BOUND_BLOGS_MAX + 1)], "/blogs"),
    ],
)
async def test_account_is_422_and_not_stored_when_it_breaks_a_rule(
    accounts: Accounts,
    store_client: Redis,
    name: str,
    password: str,
    role: Role,
    blogs: list[str],
    pointer: str,
) -> None:
    with pytest.raises(Problem) as raised:
        await accounts.people.add(name, password, role, blogs)
    assert raised.value.status == 422
    assert [where for where, _ in raised.value.errors] == [pointer]
    if pointer != "/password":
        with pytest.raises(Problem):
            await accounts.create_token(name, role, blogs)
    assert await contents(store_client) == {}


@pytest.mark.parametrize("password", ["x" * 12, "x" * 1_024, "пароль-длинный", "\U0001f511" * 12])
async def test_password_length_is_in_characters(accounts: Accounts, password: str) -> None:
    await accounts.people.add("dana", password)
    assert await accounts.check_password("dana", password)


async def test_refusal_costs_the_same_when_the_name_is_unknown(
    costly_accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await costly_accounts.people.add("dana", PASSWORD)
    await costly_accounts.people.add("gone", PASSWORD)
    await costly_accounts.people.disable("gone")
    costs: list[Parameters] = []

    class CountingHasher(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
            costs.append(extract_parameters(str(hash)))
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", CountingHasher)
    for name in ("dana", "gone", "nobody", "\udc80"):
        assert await costly_accounts.check_password(name, "wrong password") is None
    assert len(costs) == 4
    assert len(set(map(repr, costs))) == 1


async def test_password_check_is_503_when_the_queue_is_full(
    costly_accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "WAITING_MAX", 3)
    tries = [costly_accounts.check_password("nobody", PASSWORD) for _ in range(5)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    refused = [one for one in done if isinstance(one, Problem)]
    assert done.count(None) == 3
    assert [(one.status, one.name, one.retry_after_s) for one in refused] == [(503, "busy", 5)] * 2
    assert await costly_accounts.check_password("nobody", PASSWORD) is None


# -- tokens


async def test_token_is_43_characters_and_no_other_text_is_accepted(accounts: Accounts) -> None:
    secret = await accounts.create_token("wire", "contributor", ["council"])
    assert re.fullmatch(r"lbt_[A-Za-z0-9_-]{43}", secret)
    wire = await accounts.token_caller(secret)
    assert wire
    assert wire == Caller(wire.ident, "contributor", ("council",), "wire")
    assert re.fullmatch(r"token:[0-9a-z]{20}", wire.ident)
    assert wire.name == "wire"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    for wrong in ("", "lbt_", secret[:-1], secret + "=", secret.upper(), digest, "wire", "\udc80"):
        assert await accounts.token_caller(wrong) is None


async def test_tokens_are_listed_by_name_and_refused_once_revoked(accounts: Accounts) -> None:
    secrets = {name: await accounts.create_token(name) for name in ("wire", "agency")}
    assert [token.name for token in await accounts.tokens()] == ["agency", "wire"]
    await accounts.revoke_token("wire")
    assert [token.name for token in await accounts.tokens()] == ["agency"]
    assert await accounts.token_caller(secrets["wire"]) is None
    assert await accounts.token_caller(secrets["agency"])
    with pytest.raises(Problem) as raised:
        await accounts.revoke_token("wire")
    assert raised.value.status == 404
    assert await accounts.token_caller(secrets["wire"]) is None


async def test_token_is_refused_when_its_name_is_taken(
    accounts: Accounts, store_client: Redis
) -> None:
    secret = await accounts.create_token("wire", "contributor")
    caller = await accounts.token_caller(secret)
    before = await contents(store_client)
    with pytest.raises(Problem) as raised:
        await accounts.create_token("wire", "admin")
    assert raised.value.status == 409
    assert await contents(store_client) == before
    assert await accounts.token_caller(secret) == caller


async def token_of_an_earlier_version(client: Redis, name: str) -> str:
    """Store a token without an id; return its secret."""
    secret = f"lbt_{'k' * 43}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    token = {"name": name, "role": "contributor", "blogs": [], "created_at": 1}
    await client.hset("lb:{tokens}:names", name, digest)
    await client.hset("lb:{tokens}:secrets", digest, json.dumps(token, separators=(",", ":")))
    return secret


async def test_new_token_is_another_caller_when_a_revoked_one_had_its_name(
    accounts: Accounts,
) -> None:
    first, second, third = [await _given_and_revoked(accounts, "wire") for _ in range(3)]
    assert len({first.ident, second.ident, third.ident}) == 3
    assert (first.name, second.name, third.name) == ("wire",) * 3


async def _given_and_revoked(accounts: Accounts, name: str) -> Caller:
    """Return the caller of a token that is revoked by now."""
    caller = await accounts.token_caller(await accounts.create_token(name, "contributor"))
    await accounts.revoke_token(name)
    assert caller
    return caller


@pytest.mark.parametrize("name", ["wire", 'a "id":"b', "user:dana"])
async def test_token_of_an_earlier_version_keeps_its_identity_and_its_name(
    accounts: Accounts, store_client: Redis, name: str
) -> None:
    """Its drafts belong to its name: a new token of the same name could read them."""
    secret = await token_of_an_earlier_version(store_client, name)
    assert await accounts.token_caller(secret) == Caller(f"token:{name}", "contributor")
    with pytest.raises(Problem, match="There is already a token"):
        await accounts.create_token(name, "admin")
    await accounts.revoke_token(name)
    assert await accounts.token_caller(secret) is None
    before = await contents(store_client)
    with pytest.raises(Problem, match="There was a token named") as raised:
        await accounts.create_token(name, "contributor")
    assert raised.value.status == 409
    assert await contents(store_client) == before


async def test_user_and_token_may_have_the_same_name(accounts: Accounts) -> None:
    await accounts.people.add("wire", PASSWORD)
    user = await accounts.check_password("wire", PASSWORD)
    token = await accounts.token_caller(await accounts.create_token("wire"))
    assert user
    assert token
    assert (user.name, token.name) == ("wire", "wire")
    assert user.ident != token.ident


@pytest.mark.parametrize("broken", ["lb:{tokens}:names", "lb:{tokens}:secrets"])
async def test_create_token_stores_nothing_when_its_script_fails(
    accounts: Accounts, store_client: Redis, broken: str
) -> None:
    await store_client.set(broken, "not a hash")
    with pytest.raises(StoreDown):
        await accounts.create_token("wire")
    assert await store_client.keys() == [broken.encode()]


# -- sessions


async def test_session_has_its_users_present_rights(accounts: Accounts) -> None:
    await accounts.people.add("dana", PASSWORD, "contributor", ["council"])
    dana = Caller("user:dana", "contributor", ("council",))
    secret = await accounts.open_session(Caller("user:dana", "admin"))
    assert await accounts.session_caller(secret) == dana
    assert await accounts.session_caller(secret[:-1]) is None
    assert await accounts.token_caller(secret) is None


async def test_session_ends_alone_when_it_is_closed(accounts: Accounts) -> None:
    await accounts.people.add("dana", PASSWORD)
    dana = Caller("user:dana", "editor")
    one, other = await accounts.open_session(dana), await accounts.open_session(dana)
    await accounts.close_session(one)
    await accounts.close_session(one)
    assert await accounts.session_caller(one) is None
    assert await accounts.session_caller(other) == dana


async def test_disable_user_ends_all_sessions_and_the_password(accounts: Accounts) -> None:
    await accounts.people.add("dana", PASSWORD)
    await accounts.people.add("zoe", PASSWORD)
    sessions = [await accounts.open_session(Caller("user:dana", "editor")) for _ in range(2)]
    zoes = await accounts.open_session(Caller("user:zoe", "editor"))
    await accounts.people.disable("dana")
    await accounts.people.disable("dana")
    assert [await accounts.session_caller(secret) for secret in sessions] == [None, None]
    assert await accounts.check_password("dana", PASSWORD) is None
    assert await accounts.session_caller(zoes)
    assert [user.disabled for user in await accounts.users()] == [True, False]


async def test_sessions_stay_ended_when_a_disabled_user_is_enabled_again(
    accounts: Accounts,
) -> None:
    await accounts.people.add("dana", PASSWORD)
    dana = await accounts.check_password("dana", PASSWORD)
    assert dana
    old = await accounts.open_session(dana)
    await accounts.people.disable("dana")
    await accounts.people.enable("dana")
    assert await accounts.session_caller(old) is None
    again = await accounts.check_password("dana", PASSWORD)
    assert again
    assert await accounts.session_caller(await accounts.open_session(again)) == again


async def test_new_password_ends_sessions_and_the_old_password(accounts: Accounts) -> None:
    for name in ("dana", "zoe"):
        await accounts.people.add(name, PASSWORD)
    dana, zoe = [await accounts.check_password(name, PASSWORD) for name in ("dana", "zoe")]
    assert dana
    assert zoe
    old, zoes = await accounts.open_session(dana), await accounts.open_session(zoe)
    await accounts.people.set_password("dana", "another password")
    late = await accounts.open_session(dana)  # its old password was checked before the new one
    assert [await accounts.session_caller(secret) for secret in (old, late)] == [None, None]
    assert await accounts.session_caller(zoes) == zoe
    assert await accounts.check_password("dana", PASSWORD) is None
    assert await accounts.check_password("dana", "another password")


async def test_new_password_is_409_when_another_one_came_first(accounts: Accounts) -> None:
    await accounts.people.add("dana", PASSWORD)
    await accounts.people.set_password("dana", "the first password", series=0)
    with pytest.raises(Problem, match="changed elsewhere") as raised:
        await accounts.people.set_password("dana", "the second password", series=0)
    assert raised.value.status == 409
    assert await accounts.check_password("dana", "the first password")


async def test_new_role_holds_for_open_sessions_and_keeps_the_blogs(accounts: Accounts) -> None:
    await accounts.people.add("dana", PASSWORD, "contributor", ["council"])
    dana = await accounts.check_password("dana", PASSWORD)
    assert dana
    secret = await accounts.open_session(dana)
    await accounts.people.set_role("dana", "editor")
    assert await accounts.session_caller(secret) == Caller("user:dana", "editor", ("council",))
    with pytest.raises(Problem, match="role: must be one of"):
        await accounts.people.set_role("dana", "owner")  # type: ignore[arg-type]  # callers may be untyped


async def test_no_change_of_a_user_is_lost_when_several_come_at_once(accounts: Accounts) -> None:
    await accounts.people.add("dana", PASSWORD)
    await asyncio.gather(
        accounts.people.set_role("dana", "admin"),
        accounts.people.set_password("dana", "another password"),
        *(accounts.people.disable("dana") for _ in range(3)),
    )
    await accounts.people.enable("dana")
    dana = await accounts.check_password("dana", "another password")
    assert dana
    assert (dana.role, dana.series > 1) == ("admin", True)


async def test_alteration_is_404_when_the_user_is_unknown(accounts: Accounts) -> None:
    for call in (
        accounts.people.disable("nobody"),
        accounts.people.enable("nobody"),
        accounts.people.set_role("nobody", "admin"),
        accounts.people.set_password("nobody", PASSWORD),
    ):
        with pytest.raises(Problem) as raised:
            await call
        assert raised.value.status == 404


async def test_check_blogs_names_each_blog_that_does_not_exist(
    accounts: Accounts, store_client: Redis
) -> None:
    await store_client.hset("lb:{council}:blog", "record", "{}")
    await accounts.check_blogs(["council"])
    await accounts.check_blogs([])
    with pytest.raises(Problem, match="no blogs named 'storm', 'Not A Slug'") as raised:
        await accounts.check_blogs(["storm", "council", "Not A Slug", "storm"])
    assert raised.value.status == 404


async def test_corrupt_user_hides_no_other_and_can_be_disabled(
    accounts: Accounts, store_client: Redis
) -> None:
    await accounts.people.add("zoe", PASSWORD)
    await accounts.people.add("dana", PASSWORD)
    session = await accounts.open_session(Caller("user:dana", "editor"))
    await store_client.hset("lb:users", "dana", b"\xff no JSON")
    with pytest.raises(DamagedAccounts, match="'dana'") as raised:
        await accounts.users()
    assert ([user.name for user in raised.value.others], raised.value.names) == (["zoe"], ["dana"])
    await accounts.people.disable("dana")
    assert [(user.name, user.disabled) for user in await accounts.users()] == [
        ("dana", True),
        ("zoe", False),
    ]
    assert await accounts.check_password("dana", PASSWORD) is None
    assert await accounts.check_password("dana", "") is None
    with pytest.raises(Problem):
        await accounts.people.add("dana", PASSWORD)
    await accounts.people.enable("dana")
    assert await accounts.session_caller(session) is None


async def test_corrupt_token_hides_no_other_and_can_be_revoked(
    accounts: Accounts, store_client: Redis
) -> None:
    secret = await accounts.create_token("wire")
    await accounts.create_token("agency")
    await store_client.hset("lb:{tokens}:secrets", hashlib.sha256(secret.encode()).hexdigest(), "{")
    await store_client.hset("lb:{tokens}:secrets", "nobody's digest", "{")
    with pytest.raises(DamagedAccounts) as raised:
        await accounts.tokens()
    assert [token.name for token in raised.value.others] == ["agency"]
    assert raised.value.names == ["nobody's digest", "wire"]
    await accounts.revoke_token("wire")
    assert await accounts.token_caller(secret) is None
    with pytest.raises(Problem, match="There was a token named 'wire'"):
        await accounts.create_token("wire")


async def test_demo_creates_no_user_when_the_only_user_is_corrupt(
    accounts: Accounts, store_client: Redis
) -> None:
    await store_client.hset("lb:users", "dana", "{")
    with pytest.raises(StoreDown):
        await story._first_user(accounts)
    assert await store_client.hkeys("lb:users") == [b"dana"]


@pytest.mark.parametrize("damage", ["RPUSH", "SET"])
async def test_editor_is_signed_out_when_the_sessions_record_is_damaged(
    accounts: Accounts, store_client: Redis, damage: str
) -> None:
    await accounts.people.add("dana", PASSWORD)
    dana = Caller("user:dana", "editor")
    secret, other = await accounts.open_session(dana), await accounts.open_session(dana)
    name = f"lb:session:{hashlib.sha256(secret.encode()).hexdigest()}"
    assert await store_client.delete(name) == 1
    await store_client.execute_command(damage, name, "no session")
    assert await accounts.session_caller(secret) is None
    assert await accounts.session_caller(other) == dana
    await accounts.close_session(secret)
    assert await store_client.exists(name) == 0


async def test_session_expires_when_idle_and_each_use_extends_it(
    accounts: Accounts, store_client: Redis
) -> None:
    await accounts.people.add("dana", PASSWORD)
    secret = await accounts.open_session(Caller("user:dana", "editor"))
    (key,) = await store_client.keys("lb:session:*")
    assert 0 < await store_client.ttl(key) <= SESSION_IDLE_S
    await store_client.expire(key, 60)
    assert await accounts.session_caller(secret)
    assert await store_client.ttl(key) > 60


async def test_session_ends_after_its_longest_life_when_it_is_used(
    accounts: Accounts, clock: Clock
) -> None:
    await accounts.people.add("dana", PASSWORD)
    secret = await accounts.open_session(Caller("user:dana", "editor"))
    clock.ms += SESSION_MAX_S * 1000
    assert await accounts.session_caller(secret)
    clock.ms += 1
    assert await accounts.session_caller(secret) is None


# -- tries


async def test_tries_are_counted_in_windows_of_fixed_length(
    accounts: Accounts, store_client: Redis
) -> None:
    assert [await accounts.wait_s("door", 2, 60) for _ in range(2)] == [0, 0]
    assert 0 < await accounts.wait_s("door", 2, 60) <= 60
    assert await accounts.wait_s("other door", 2, 60) == 0
    (key,) = [
        key
        async for key in store_client.scan_iter("lb:rate:*")
        if await is_spent(key, store_client)
    ]
    await store_client.pexpire(key, 1_500)
    # This call must not extend the remaining wait of 1.5 s.
    assert await accounts.wait_s("door", 2, 60) in (1, 2)
    await store_client.delete(key)
    assert await accounts.wait_s("door", 2, 60) == 0


async def is_spent(key: bytes, client: Redis) -> bool:
    return int(await client.get(key) or 0) > 1


async def test_try_over_the_limit_is_not_counted(accounts: Accounts) -> None:
    for _ in range(5):
        await accounts.wait_s("door", 2, 60)
    await accounts.forget_try("door")
    assert await accounts.wait_s("door", 2, 60) == 0


async def test_try_is_allowed_again_when_one_was_forgotten(accounts: Accounts) -> None:
    await accounts.forget_try("door")
    for _ in range(5):
        assert await accounts.wait_s("door", 1, 60) == 0
        await accounts.forget_try("door")


# -- the store


async def test_accounts_raise_store_down_when_the_store_is_unreachable(away: Accounts) -> None:
    dana = Caller("user:dana", "editor")
    for asking in (
        away.check_store(),
        away.users(),
        away.tokens(),
        away.people.add("dana", PASSWORD),
        away.people.disable("dana"),
        away.people.set_password("dana", PASSWORD),
        away.check_blogs(["council"]),
        away.check_password("dana", PASSWORD),
        away.create_token("wire"),
        away.revoke_token("wire"),
        away.token_caller("lbt_"),
        away.open_session(dana),
        away.session_caller("secret"),
        away.close_session("secret"),
        away.device_mark("dana"),
        away.known_device("dana", ["mark"]),
        away.wait_s("door", 1, 1),
        away.forget_try("door"),
    ):
        with pytest.raises(StoreDown):
            await asking


@pytest.mark.parametrize(
    "words", [("SET", "x"), ("SET", "9"), ("RPUSH", "x"), ("SETEX", "60", "x")], ids=repr
)
async def test_tries_are_counted_again_when_their_key_holds_no_count(
    accounts: Accounts, store_client: Any, words: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    name = _rate_key("sign-in dana")
    await store_client.delete(name)
    await store_client.execute_command(words[0], name, *words[1:])
    await accounts.forget_try("sign-in dana")
    assert [await accounts.wait_s("sign-in dana", 2, 60) for _ in range(2)] == [0, 0]
    assert await accounts.wait_s("sign-in dana", 2, 60) > 0
    assert [name in it for it in caplog.messages] == [True]
    await accounts.forget_try("sign-in dana")
    await accounts.forget_try("sign-in dana")
    assert await accounts.wait_s("sign-in dana", 2, 60) == 0
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("name", ["lb:users", "lb:{tokens}:secrets"])
async def test_damage_of_accounts_names_the_key_and_a_backup(
    accounts: Accounts, store_client: Any, name: str
) -> None:
    await store_client.delete(name)
    await store_client.rpush(name, "of another type")
    try:
        with pytest.raises(Damaged) as damaged:
            await (accounts.users() if name == "lb:users" else accounts.tokens())
    finally:
        await store_client.delete(name)
    assert (
        str(damaged.value) == f"The key {name} in the store is damaged. Restore it from a backup."
    )
