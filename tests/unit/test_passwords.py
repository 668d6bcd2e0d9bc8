"""The queue of password checks: shares of known browsers and of all others, and their order."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from kit.waiting import until

from liveblog.blog.problem import Problem
from liveblog.store import passwords
from liveblog.store.passwords import KNOWN_MAX, KNOWN_USER_MAX, WAITING_MAX, Passwords


class Hasher:
    """Stands in for the hash: one at a time, which waits for `go`; `done` has the passwords."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.done: list[str] = []

    def verify(self, _: str | None, password: bytes) -> bool:
        self.done.append(password.decode())
        return self.go.wait(60)


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hasher]:
    hasher = Hasher()
    monkeypatch.setattr(passwords, "AT_ONCE", 1)
    monkeypatch.setattr(passwords, "_verify", hasher.verify)
    yield hasher
    hasher.go.set()


Verify = Callable[..., "asyncio.Task[bool]"]


@pytest.fixture
def verify(hasher: Hasher) -> Verify:
    """Start a check of a password, for a known browser of a user if given."""
    queue = Passwords()

    async def check(password: str, known: str) -> bool:
        with queue.place(known) as place:
            return await queue.verify(None, password, place)

    return lambda password, known="": asyncio.create_task(check(password, known))


async def test_known_browsers_come_first_and_each_share_in_its_order(
    hasher: Hasher, verify: Verify
) -> None:
    running = verify("running")
    await until(lambda: hasher.done)
    waiting = [verify(f"stranger {n}") for n in range(3)]
    waiting += [verify("dana 1", "dana"), verify("zoe", "zoe"), verify("dana 2", "dana")]
    await asyncio.sleep(0)
    hasher.go.set()
    assert all(await asyncio.gather(running, *waiting))
    known = ["dana 1", "zoe", "dana 2"]
    assert hasher.done == ["running", *known, "stranger 0", "stranger 1", "stranger 2"]


async def test_check_is_left_out_when_its_caller_has_gone(hasher: Hasher, verify: Verify) -> None:
    running = verify("running")
    await until(lambda: hasher.done)
    gone, other = verify("gone", "dana"), verify("other")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    hasher.go.set()
    await asyncio.gather(running, other)
    assert hasher.done == ["running", "other"]


async def test_caller_gets_the_error_of_its_check(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(passwords, "_verify", fail)
    for known in ("dana", ""):
        with pytest.raises(MemoryError):
            await verify("any", known)


def admitted(places: ExitStack, queue: Passwords, known: str, count: int) -> list[str]:
    """Take as many of `count` places as there are; return the share of each."""
    taken = []
    for _ in range(count):
        with suppress(Problem):
            taken.append(places.enter_context(queue.place(known)).user)
    return taken


def test_strangers_leave_the_share_of_known_browsers_free() -> None:
    queue = Passwords()
    with ExitStack() as places:
        assert admitted(places, queue, "", WAITING_MAX + 5) == [""] * WAITING_MAX
        assert admitted(places, queue, "dana", KNOWN_USER_MAX + 5) == ["dana"] * KNOWN_USER_MAX
        assert admitted(places, queue, "zoe", 1) == ["zoe"]
    with queue.place() as place:
        assert place.user == ""


def test_one_user_cannot_fill_the_share_of_known_browsers() -> None:
    queue = Passwords()
    with ExitStack() as places:
        taken = admitted(places, queue, "dana", 200)
        assert taken == ["dana"] * KNOWN_USER_MAX + [""] * WAITING_MAX
        assert admitted(places, queue, "zoe", 1) == ["zoe"]


def test_share_of_known_browsers_is_limited_for_all_users_together() -> None:
    queue = Passwords()
    with ExitStack() as places:
        users = [f"user{n}" for n in range(KNOWN_MAX + WAITING_MAX + 5)]
        taken = [admitted(places, queue, user, 1) for user in users]
        assert taken == [[it] for it in users[:KNOWN_MAX]] + [[""]] * WAITING_MAX + [[]] * 5
    assert admitted(ExitStack(), queue, "dana", 1) == ["dana"]
