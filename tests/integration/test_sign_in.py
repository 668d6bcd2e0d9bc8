"""Signing in: limits of tries, and browsers that are known to a user, on a real store."""

import asyncio
import os
from typing import Any

import httpx2
import pytest
from kit.people import Clock, cheapen_hashes
from kit.servers import Server, http
from redis.asyncio import Redis
from starlette.requests import Request

from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown
from liveblog.editors import auth, tries
from liveblog.settings import Settings
from liveblog.store import passwords
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect
from liveblog.store.nodes import One

FLAVOURS = ("valkey",)  # not on Redis: test_accounts.py has the counting script on both
PASSWORD = "correct horse battery"
WRONG = "wrong password"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
DAY_MS = 24 * 3_600 * 1_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    cheapen_hashes(monkeypatch)


@pytest.fixture
async def dana(store_client: Redis, clock: Clock, cheap_hashes: None) -> Accounts:
    """Accounts with the users dana and zoe."""
    accounts = Accounts(One(store_client), clock)
    await accounts.people.add("dana", PASSWORD)
    await accounts.people.add("zoe", PASSWORD)
    return accounts


def request(address: str = HERE, session: str = "", devices: str = "") -> Request:
    cookies = {"liveblog": session, "liveblog-device": devices}
    headers = [(b"host", b"live.example"), (b"sec-fetch-site", b"same-origin")]
    headers += [(b"cookie", f"{name}={it}".encode()) for name, it in cookies.items() if it]
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/desk/sign-in",
        "query_string": b"",
        "client": (address, 50_000),
        "headers": headers,
    }
    return Request(scope)


async def signed_in(
    accounts: Accounts, name: str = "dana", devices: str = "", session: str = ""
) -> auth.SignedIn:
    asked = request(session=session, devices=devices)
    return await auth.sign_in(asked, accounts, Settings(), name, PASSWORD)


async def sign_in(
    accounts: Accounts, address: str, password: str, name: str = "dana", devices: str = ""
) -> int:
    """Return the status of a try to sign in."""
    asked = request(address, devices=devices)
    trying = auth.sign_in(asked, accounts, Settings(), name, password)
    (done,) = await asyncio.gather(trying, return_exceptions=True)
    if isinstance(done, auth.SignedIn):
        return 200
    assert isinstance(done, Problem)
    return done.status


async def flood(accounts: Accounts) -> None:
    """Make wrong tries until the limits of HERE reject any try for dana and for unknown names."""
    for n in range(tries.ADDRESS_TRIES_MAX):
        await sign_in(accounts, HERE, WRONG, f"name{n}")
    assert await sign_in(accounts, HERE, PASSWORD) == 429


# -- sessions


async def test_sign_in_opens_a_session_and_ends_the_browsers_old_one(dana: Accounts) -> None:
    first = (await signed_in(dana)).session
    second = (await signed_in(dana, session=first)).session
    assert await dana.session_caller(first) is None
    assert await dana.session_caller(second) == Caller("user:dana", "editor")
    await auth.sign_out(request(session=second), dana, Settings())
    assert await dana.session_caller(second) is None


async def test_sign_in_and_out_are_rejected_when_another_site_posts(dana: Accounts) -> None:
    secret = (await signed_in(dana)).session
    asked = request(session=secret)
    asked.scope["headers"][1] = (b"sec-fetch-site", b"cross-site")
    for doing in (
        auth.sign_in(asked, dana, Settings(), "dana", PASSWORD),
        auth.sign_out(asked, dana, Settings()),
    ):
        with pytest.raises(Problem) as raised:
            await doing
        assert raised.value.status == 403
    assert await dana.session_caller(secret)


# -- limits without a known browser


async def test_sign_in_is_429_with_retry_after_when_tried_too_often(dana: Accounts) -> None:
    for _ in range(tries.NAME_TRIES_MAX):
        await sign_in(dana, HERE, WRONG)
    with pytest.raises(Problem) as raised:
        await signed_in(dana)
    assert raised.value.status == 429
    assert 0 < (raised.value.retry_after_s or 0) <= tries.WINDOW_S


async def test_sign_in_limits_the_tries_of_an_address_at_one_name(dana: Accounts) -> None:
    done = [await sign_in(dana, HERE, WRONG) for _ in range(12)]
    assert done == [401] * tries.NAME_TRIES_MAX + [429] * 2
    assert await sign_in(dana, HERE, PASSWORD) == 429


async def test_sign_in_limits_the_tries_of_an_address_at_all_names(dana: Accounts) -> None:
    for n in range(tries.ADDRESS_TRIES_MAX):
        assert await sign_in(dana, HERE, WRONG, f"name{n}") == 401
    assert await sign_in(dana, HERE, WRONG, "another") == 429
    assert await sign_in(dana, HERE, PASSWORD) == 429
    assert await sign_in(dana, ELSEWHERE, PASSWORD) == 200


async def test_sign_in_works_when_another_address_was_rejected(dana: Accounts) -> None:
    for n in range(tries.NAME_TRIES_EVERYWHERE * 2):
        await sign_in(dana, f"198.51.100.{n % 250}", WRONG)
    assert await sign_in(dana, HERE, PASSWORD) == 200
    assert [await sign_in(dana, HERE, "a slip") for _ in range(2)] == [401, 401]


async def test_sign_in_allows_fewer_tries_when_many_addresses_guess_a_name(dana: Accounts) -> None:
    for n in range(tries.NAME_TRIES_EVERYWHERE):
        assert await sign_in(dana, f"198.51.100.{n}", WRONG) == 401
    done = [await sign_in(dana, "203.0.113.9", WRONG) for _ in range(4)]
    assert done == [401] * tries.GUESSED_NAME_TRIES_MAX + [429] * 2
    assert await sign_in(dana, "203.0.113.9", WRONG, "zoe") == 401


async def test_sign_in_counts_one_address_once_among_those_that_guess_a_name(
    dana: Accounts,
) -> None:
    for _ in range(tries.NAME_TRIES_EVERYWHERE * 2):
        await sign_in(dana, "198.51.100.1", WRONG)
    assert [await sign_in(dana, HERE, WRONG) for _ in range(9)] == [401] * 9


async def test_sign_in_counts_the_ipv6_addresses_of_one_network_as_one(dana: Accounts) -> None:
    done = [await sign_in(dana, f"2001:db8::{n}", WRONG) for n in range(12)]
    assert done == [401] * tries.NAME_TRIES_MAX + [429] * 2


async def test_sign_in_lifts_no_limit_of_an_address_when_another_user_signs_in(
    dana: Accounts,
) -> None:
    for _ in range(tries.NAME_TRIES_MAX):
        await sign_in(dana, HERE, WRONG)
    assert await sign_in(dana, HERE, PASSWORD, "zoe") == 200
    assert await sign_in(dana, HERE, PASSWORD) == 429


# -- which tries count


async def counts(client: Redis) -> list[int]:
    names = [name async for name in client.scan_iter("lb:rate:*")]
    return sorted([int(await client.get(name) or 0) for name in names], reverse=True)


async def test_sign_in_counts_no_try_when_the_password_is_right(
    dana: Accounts, store_client: Redis
) -> None:
    for _ in range(tries.ADDRESS_TRIES_MAX + 5):
        assert await sign_in(dana, HERE, PASSWORD) == 200
    assert set(await counts(store_client)) == {0}


async def test_sign_in_counts_concurrent_tries_before_it_verifies_any(
    dana: Accounts, store_client: Redis
) -> None:
    done = await asyncio.gather(*(sign_in(dana, HERE, WRONG) for _ in range(30)))
    assert done.count(401) == tries.NAME_TRIES_MAX
    assert await counts(store_client) == [tries.NAME_TRIES_MAX] * 3


async def test_sign_in_counts_no_rejected_try_against_other_names(dana: Accounts) -> None:
    for _ in range(tries.ADDRESS_TRIES_MAX * 2):
        await sign_in(dana, HERE, WRONG)
    assert await sign_in(dana, HERE, PASSWORD, "zoe") == 200


@pytest.mark.parametrize("is_known", [False, True])
async def test_sign_in_counts_no_try_when_the_server_was_too_busy(
    dana: Accounts, store_client: Redis, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    devices = (await signed_in(dana)).devices if is_known else ""
    with monkeypatch.context() as busy:
        busy.setattr(passwords, "WAITING_MAX", 0)
        busy.setattr(passwords, "KNOWN_MAX", 0)
        for _ in range(tries.ADDRESS_TRIES_MAX + 5):
            assert await sign_in(dana, HERE, PASSWORD, devices=devices) == 503
    assert not any(await counts(store_client))
    assert await sign_in(dana, HERE, PASSWORD, devices=devices) == 200


async def test_sign_in_counts_no_try_when_the_store_fails_meanwhile(
    dana: Accounts, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StoreDown("unreachable")

    monkeypatch.setattr(dana, "check_password", fail)
    for _ in range(3):
        with pytest.raises(StoreDown):
            await signed_in(dana)
    assert set(await counts(store_client)) == {0}


# -- known browsers


async def test_known_browser_signs_in_whatever_others_tried_from_its_address(
    dana: Accounts,
) -> None:
    known = (await signed_in(dana)).devices
    await flood(dana)
    assert await sign_in(dana, HERE, PASSWORD, devices=known) == 200
    assert await sign_in(dana, ELSEWHERE, PASSWORD, devices=known) == 200
    assert await sign_in(dana, HERE, PASSWORD, "zoe", known) == 429


async def test_known_browser_signs_in_when_many_addresses_guess_the_name(dana: Accounts) -> None:
    known = (await signed_in(dana)).devices
    for n in range(tries.NAME_TRIES_EVERYWHERE):
        await sign_in(dana, f"198.51.100.{n}", WRONG)
    for _ in range(tries.GUESSED_NAME_TRIES_MAX):
        await sign_in(dana, HERE, WRONG)
    assert await sign_in(dana, HERE, PASSWORD) == 429
    assert await sign_in(dana, HERE, PASSWORD, devices=known) == 200


async def test_known_browser_signs_in_when_strangers_fill_the_queue(
    dana: Accounts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = (await signed_in(dana)).devices
    clock.ms += 181 * DAY_MS
    known, others = [(await signed_in(dana, name)).devices for name in ("dana", "zoe")]
    forged = known[:-1] + ("1" if known.endswith("0") else "0")
    monkeypatch.setattr(passwords, "WAITING_MAX", 0)
    for cookie in ("", expired, others, forged, "~".join([forged] * 8)):
        assert await sign_in(dana, HERE, PASSWORD, devices=cookie) == 503
    assert await sign_in(dana, HERE, PASSWORD, "zoe", known) == 503
    for cookie in (known, f"{others}~{known}"):
        assert await sign_in(dana, HERE, PASSWORD, devices=cookie) == 200


async def test_rejected_strangers_cost_the_store_nothing_when_the_queue_is_full(
    dana: Accounts, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "WAITING_MAX", 0)
    before: Any = await store_client.info("stats")
    assert [await sign_in(dana, HERE, WRONG, f"name{n}") for n in range(20)] == [503] * 20
    after: Any = await store_client.info("stats")
    assert after["total_commands_processed"] - before["total_commands_processed"] == 1


async def test_known_browser_has_ten_tries_of_its_own(dana: Accounts) -> None:
    known, other = [(await signed_in(dana)).devices for _ in range(2)]
    done = [await sign_in(dana, f"198.51.100.{n}", WRONG, devices=known) for n in range(12)]
    assert done == [401] * tries.DEVICE_TRIES_MAX + [429] * 2
    assert await sign_in(dana, HERE, PASSWORD, devices=known) == 429
    assert await sign_in(dana, HERE, PASSWORD, devices=other) == 200
    assert await sign_in(dana, HERE, PASSWORD) == 200


async def test_tries_of_a_known_browser_count_when_they_are_concurrent(dana: Accounts) -> None:
    known = (await signed_in(dana)).devices
    wrong = (sign_in(dana, HERE, WRONG, devices=known) for _ in range(30))
    assert (await asyncio.gather(*wrong)).count(401) == tries.DEVICE_TRIES_MAX


async def test_several_editors_can_share_a_known_browser(dana: Accounts) -> None:
    shared = await signed_in(dana, "zoe", (await signed_in(dana)).devices)
    await flood(dana)
    for name in ("dana", "zoe"):
        assert await sign_in(dana, HERE, PASSWORD, name, shared.devices) == 200


async def test_device_cookie_keeps_the_marks_of_the_newest_eight_users(dana: Accounts) -> None:
    cookie = (await signed_in(dana)).devices
    again = (await signed_in(dana, devices=cookie)).devices
    assert again != cookie
    assert len(again) == len(cookie)  # the new mark is in the place of the old one
    for n in range(auth.DEVICES_MAX):
        await dana.people.add(f"user{n}", PASSWORD)
        cookie = (await signed_in(dana, f"user{n}", cookie)).devices
    assert len(cookie.split("~")) == auth.DEVICES_MAX
    assert await dana.known_device("user0", cookie.split("~"))
    assert await dana.known_device("dana", cookie.split("~")) is None


@pytest.mark.parametrize("age_days", [180, 181])
async def test_browser_is_known_for_180_days(dana: Accounts, clock: Clock, age_days: int) -> None:
    marks = (await signed_in(dana)).devices.split("~")
    clock.ms += age_days * DAY_MS
    assert bool(await dana.known_device("dana", marks)) == (age_days == 180)


async def test_browser_is_unknown_after_a_new_password_and_when_disabled(dana: Accounts) -> None:
    marks = (await signed_in(dana)).devices.split("~")
    assert await dana.known_device("dana", marks) == marks[0]
    await dana.people.set_password("dana", "another password")
    assert await dana.known_device("dana", marks) is None
    marks = [await dana.device_mark("dana")]
    assert await dana.known_device("dana", marks) == marks[0]
    await dana.people.disable("dana")
    assert await dana.known_device("dana", marks) is None


async def test_forged_marks_cost_one_read_of_the_store(dana: Accounts, store_client: Redis) -> None:
    forged = [f"{n:016}.1.{'0' * 32}" for n in range(900)]
    await store_client.config_resetstat()
    assert await dana.known_device("dana", forged) is None
    stats: Any = await store_client.info("commandstats")
    calls = {name: it["calls"] for name, it in stats.items() if "config" not in name}
    assert calls == {"cmdstat_hget": 1}


@pytest.mark.parametrize("cookie", ["", "~", "x" * 7_000, "\x7f", "~".join(["a.1.b"] * 900)])
async def test_forged_device_cookie_makes_no_browser_known(dana: Accounts, cookie: str) -> None:
    await flood(dana)
    assert await sign_in(dana, HERE, PASSWORD, devices=cookie) == 429


async def test_store_holds_nothing_of_a_device_cookie(dana: Accounts, store_client: Redis) -> None:
    before = {name async for name in store_client.scan_iter()}
    mark = (await signed_in(dana)).devices
    await sign_in(dana, HERE, WRONG, devices=mark)
    added = {name async for name in store_client.scan_iter()} - before
    assert {name.split(b":")[1] for name in added} == {b"session", b"rate"}
    assert mark.encode() not in b" ".join(added)


# -- through a server


async def test_known_browser_signs_in_behind_an_untrusted_proxy(
    site: Server,
) -> None:
    """All clients of a proxy that is not trusted have its address, 127.0.0.9."""
    name = f"dana-{os.urandom(4).hex()}"
    async with connect(site.store_url) as nodes:
        await Accounts(nodes, Clock()).people.add(name, PASSWORD)
    async with http("127.0.0.9", base_url=site.url) as proxy:
        first = await _posted(proxy, name, PASSWORD)
        assert first.status_code == 303
        too_long = "x" * 1_025  # wrong without a hash, which takes 0.2 s
        wrong = [await _posted(proxy, name, too_long) for _ in range(tries.NAME_TRIES_MAX + 1)]
        assert [it.status_code for it in wrong] == [401] * tries.NAME_TRIES_MAX + [429]
        assert (await _posted(proxy, name, PASSWORD)).status_code == 429
        mark = first.cookies["__Host-liveblog-device"]
        cookie = {"cookie": f"__Host-liveblog-device={mark}"}
        assert (await _posted(proxy, name, PASSWORD, cookie)).status_code == 303
    lines = [line for line in site.said().splitlines() if "sign-in: X-Forwarded-For or" in line]
    assert 1 <= len(lines) <= 2  # a line a minute, and the tries may take longer on a slow machine
    assert "127.0.0.9" in lines[0]
    assert "FORWARDED_ALLOW_IPS" in lines[0]


async def _posted(
    proxy: httpx2.AsyncClient, name: str, password: str, more: dict[str, str] | None = None
) -> httpx2.Response:
    form = {"name": name, "password": password}
    headers = {"origin": "https://live.example", "x-forwarded-for": "203.0.113.9", **(more or {})}
    return await proxy.post("/desk/sign-in", data=form, headers=headers)
