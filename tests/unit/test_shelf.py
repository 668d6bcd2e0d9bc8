"""Which blogs a worker keeps in memory, and what the log says before and at the limit."""

import asyncio

import pytest
from kit.alone import Seconds
from kit.virtual import in_virtual_time

from liveblog.blog.problem import WorkerFull
from liveblog.live import shelf as shelves
from liveblog.live.budget import CacheBudget
from liveblog.live.shelf import MB, Shelf
from liveblog.seldom import AGAIN_S


class _Roster:
    has_readers = False


class Blog:
    """Stands for a live blog; has a size, an offset and perhaps readers."""

    def __init__(self, size: int, *, has_readers: bool = False) -> None:
        self.size, self.weighed = size, 0
        self.roster = _Roster()
        self.roster.has_readers = has_readers
        self.is_dropped = False

    @property
    def made_of(self) -> object:
        return self.size

    def weight(self) -> int:
        self.weighed += 1
        return self.size

    def dropped(self) -> None:
        self.is_dropped = True

    def grow(self, size: int) -> None:
        self.size = size


def shelf_of(
    bytes_max: int = 100, blogs_max: int = 0, caches: CacheBudget | None = None
) -> tuple[Shelf[Blog], list[str], Seconds]:
    dropped: list[str] = []
    clock = Seconds()
    caches = caches or CacheBudget(list)
    return Shelf(bytes_max, blogs_max, caches, on_drop=dropped.append, clock=clock), dropped, clock


def test_blog_without_readers_is_dropped_when_its_bytes_are_needed() -> None:
    shelf, dropped, _ = shelf_of()
    first, second = Blog(40, has_readers=True), Blog(40)
    shelf.add("first", first)
    shelf.add("second", second)
    shelf.add("third", Blog(40))
    assert ([*shelf.lives], dropped, shelf.bytes) == (["first", "third"], ["second"], 80)
    assert (first.is_dropped, second.is_dropped) == (False, True)


def test_search_visits_no_blog_with_readers_twice_when_others_can_be_dropped() -> None:
    visits = 0

    class Roster:
        @property
        def has_readers(self) -> bool:
            nonlocal visits
            visits += 1
            return True

    shelf, dropped, _ = shelf_of(bytes_max=100)
    for number in range(50):
        shelf.add(str(number), Blog(1))
        shelf.lives[str(number)].roster = Roster()  # type: ignore[assignment]
    for number in range(100):
        shelf.add(f"page {number}", Blog(1))
    assert dropped == [f"page {number}" for number in range(50)]
    assert visits <= 2 * 50


def test_any_number_of_blogs_is_held_when_only_bytes_limit_them() -> None:
    shelf, dropped, _ = shelf_of(bytes_max=1_000)
    for number in range(1_000):
        shelf.add(str(number), Blog(1, has_readers=True))
    assert (len(shelf.lives), dropped) == (1_000, [])


def test_blog_is_refused_when_others_have_readers(caplog: pytest.LogCaptureFixture) -> None:
    shelf, _, clock = shelf_of()
    held = Blog(90, has_readers=True)
    shelf.add("held", held)
    for _ in range(2):
        with pytest.raises(WorkerFull):
            shelf.add("other", Blog(20))
    assert len(caplog.messages) == 1
    assert "LIVEBLOG_BLOGS_BYTES_MAX" in caplog.text
    held.roster.has_readers = False
    clock.now += shelves.FULL_KEPT_S / 2
    with pytest.raises(WorkerFull):  # and the next search is not put off
        shelf.add("other", Blog(20))
    clock.now += shelves.FULL_KEPT_S / 2
    shelf.add("other", Blog(90))
    shelf.add("third", Blog(90))
    assert [*shelf.lives] == ["third"]


def test_pages_are_evicted_before_a_blog_is_refused() -> None:
    class Cache:
        cached_bytes = 50

        def settle(self) -> int:
            return 0

        def evict(self) -> None:
            caches.bytes -= self.cached_bytes
            self.cached_bytes = 0

    cache = Cache()
    caches = CacheBudget(lambda: [cache])
    caches.add(cache, 50)
    shelf, _, _ = shelf_of(caches=caches)
    shelf.add("held", Blog(40, has_readers=True))
    shelf.add("other", Blog(40, has_readers=True))
    assert (shelf.bytes, cache.cached_bytes) == (80, 0)


@in_virtual_time
async def test_only_changed_blogs_are_weighed_each_second() -> None:
    shelf, dropped, _ = shelf_of()
    still, growing = Blog(30), Blog(30, has_readers=True)
    shelf.add("still", still)
    shelf.add("growing", growing)
    growing.grow(50)
    running = asyncio.create_task(shelf.run())
    await asyncio.sleep(3.5)
    assert (still.weighed, growing.weighed, shelf.bytes) == (1, 2, 80)
    growing.grow(90)
    await asyncio.sleep(1)
    running.cancel()
    assert (dropped, shelf.bytes) == (["still"], 90)


@pytest.mark.parametrize(("bytes_max", "blogs_max"), [(10 * MB, 0), (100 * MB, 10)])
@in_virtual_time
async def test_log_warns_once_a_minute_when_readers_need_most_of_a_limit(
    caplog: pytest.LogCaptureFixture, bytes_max: int, blogs_max: int
) -> None:
    shelf, _, clock = shelf_of(bytes_max, blogs_max)
    lives = [Blog(MB, has_readers=number < 8) for number in range(10)]
    for number, live in enumerate(lives):
        shelf.add(str(number), live)
    running = asyncio.create_task(shelf.run())
    await asyncio.sleep(5)
    assert caplog.messages == []  # blogs without readers only use spare room
    lives[8].roster.has_readers = True
    await asyncio.sleep(5)
    clock.now += AGAIN_S
    await asyncio.sleep(5)
    running.cancel()
    assert len(caplog.messages) == 2
    assert "LIVEBLOG_BLOGS" in caplog.text


@in_virtual_time
async def test_log_says_that_blogs_are_refused_although_it_warned_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf, _, _ = shelf_of(10 * MB)
    shelf.add("held", Blog(9 * MB, has_readers=True))
    running = asyncio.create_task(shelf.run())
    await asyncio.sleep(2)
    with pytest.raises(WorkerFull):
        shelf.add("other", Blog(2 * MB))
    running.cancel()
    said = [message.partition(":")[0] for message in caplog.messages]
    assert said == ["worker nearly full", "worker full, refusing further blogs"]
