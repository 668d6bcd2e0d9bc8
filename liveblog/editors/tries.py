"""Limits of tries to sign in: which counters a try needs, and which tries count.

A try counts when its password was verified and wrong. Every other try is taken back from the
counters: a right password, a try over a limit, a server too busy to verify, an unreachable store.

Rules: no HTTP, no cookies. The store counts (accounts), and verifies passwords.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown
from liveblog.store.accounts import Accounts
from liveblog.store.passwords import Place

WINDOW_S: Final = 15 * 60  # the limits below are for tries within this time

# Tries of a browser that signed in as this user before. No other limit counts them. So an editor
# can sign in, however many strangers try at the same address, for example behind one proxy.
DEVICE_TRIES_MAX: Final = 10

# Tries from one address for all names. The limit is high, because a newsroom shares one address.
ADDRESS_TRIES_MAX: Final = 50
NAME_TRIES_MAX: Final = 10  # tries from one address for one name
# Tries for one name from all addresses together. More tries mean that many addresses guess the
# password of this name, since one address makes at most NAME_TRIES_MAX tries.
NAME_TRIES_EVERYWHERE: Final = 100
# Tries from one address for a name whose password many addresses guess. Two tries are enough for a
# typing error and the right password.
GUESSED_NAME_TRIES_MAX: Final = 2


class Trying(NamedTuple):
    """A try to sign in. `device` is the browser's mark of this user, None without a valid one."""

    name: str
    address: str
    device: str | None


async def checked(accounts: Accounts, trying: Trying, password: str) -> Caller | None:
    """Verify a password within the limits; return the user, None for a wrong name or password.

    Raises Problem 429 over a limit, 503 when too many passwords wait to be verified. The place in
    that queue comes first: a try without a place costs the store nothing, however many come.
    """
    with accounts.passwords.place(trying.name if trying.device else "") as place:
        return await _checked(accounts, trying, password, place)


async def _checked(
    accounts: Accounts, trying: Trying, password: str, place: Place
) -> Caller | None:
    """Count a try, then verify its password.

    Counting comes first, which keeps many simultaneous tries within the limits. A cancelled try
    counts, since a thread may still verify its password.
    """
    counted: list[str] = []
    try:
        await _count(accounts, trying, counted)
        caller = await accounts.check_password(trying.name, password, place)
    except Exception:
        with suppress(StoreDown):
            await _take_back(accounts, counted)
        raise
    if caller:
        await _take_back(accounts, counted)
    return caller


async def _count(accounts: Accounts, trying: Trying, counted: list[str]) -> None:
    """Count a try, and add the names of its counters to `counted`. Raises Problem 429.

    Without a known device, tries from other addresses never lock an address out: otherwise anyone
    with an editor's name could lock that editor out. After NAME_TRIES_EVERYWHERE tries for one
    name, each address gets at most GUESSED_NAME_TRIES_MAX more tries in a window. An editor with
    the right password needs one try. One address alone cannot cause this limit, since an address
    gets only NAME_TRIES_MAX tries. An attacker then has 192 tries a day from each address, too few
    to guess a password of 12 characters.

    The counter of address and name comes before that of the address: tries over the narrow limit
    never use up the wide one.
    """
    name, address, device = trying
    if device:
        await _admit(accounts, f"device {device}", DEVICE_TRIES_MAX, counted)
        return
    await _admit(accounts, f"pair {address} {name}", NAME_TRIES_MAX, counted)
    await _admit(accounts, f"address {address}", ADDRESS_TRIES_MAX, counted)
    if await _wait_s(accounts, f"name {name}", NAME_TRIES_EVERYWHERE, counted):
        await _admit(accounts, f"guessed {address} {name}", GUESSED_NAME_TRIES_MAX, counted)


async def _admit(accounts: Accounts, what: str, limit: int, counted: list[str]) -> None:
    if wait_s := await _wait_s(accounts, what, limit, counted):
        detail = f"Too many tries to sign in. Try again in {wait_s} seconds."
        if not what.startswith("device"):
            detail += " A browser in which you signed in before has tries of its own."
        raise Problem(429, "too-many-tries", detail, retry_after_s=wait_s)


async def _wait_s(accounts: Accounts, what: str, limit: int, counted: list[str]) -> int:
    wait_s = await accounts.wait_s(what, limit, WINDOW_S)
    if not wait_s:
        counted.append(what)
    return wait_s


async def _take_back(accounts: Accounts, counted: Sequence[str]) -> None:
    for what in counted:
        await accounts.forget_try(what)
