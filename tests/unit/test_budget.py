"""A worker's limits on the bytes that wait for readers that are behind, and on cached bytes."""

import pytest
from kit.alone import Seconds
from kit.sources import FakeReader

from liveblog.live import budget as budgets
from liveblog.live.budget import CacheBudget, HeldBytes
from liveblog.live.roster import Roster
from liveblog.live.shared import Counts


def test_held_bytes_abort_the_longest_behind_of_all_blogs() -> None:
    counts, seconds = Counts(), Seconds()
    rosters: list[Roster] = []
    held = HeldBytes(100, lambda: rosters, counts)
    rosters += [Roster(seconds, held, counts) for _ in range(2)]
    readers = [FakeReader() for _ in range(4)]
    for i, reader in enumerate(readers):
        rosters[i % 2].enter(reader, 1)
        reader.fell_behind(40)
        seconds.now += 1
    assert [reader.code for reader in readers] == [1006, 1006, None, None]
    assert (held.bytes, counts.stalled) == (80, 2)


def test_held_bytes_abort_the_reader_itself_when_its_frame_exceeds_the_limit() -> None:
    counts = Counts()
    rosters: list[Roster] = []
    held = HeldBytes(100, lambda: rosters, counts)
    rosters.append(Roster(Seconds(), held, counts))
    reader = FakeReader()
    rosters[0].enter(reader, 1)
    reader.fell_behind(101)
    assert (reader.code, held.bytes, rosters[0].count()) == (1006, 0, 0)


class Cache:
    """Stands for a blog's cache; has only a size in bytes, and the size after compression."""

    def __init__(self, budget: CacheBudget, cached_bytes: int, settled: int | None = None) -> None:
        self._budget = budget
        self.cached_bytes = cached_bytes if budget.add(self, cached_bytes) else 0
        self._settled = self.cached_bytes if settled is None else settled

    def settle(self) -> int:
        growth = self._settled - self.cached_bytes
        self.cached_bytes = self._settled
        return growth

    def evict(self) -> None:
        self._budget.bytes -= self.cached_bytes
        self.cached_bytes = 0


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> tuple[CacheBudget, list[Cache]]:
    monkeypatch.setattr(budgets, "CACHED_BYTES_MAX", 100)
    caches: list[Cache] = []
    return CacheBudget(lambda: caches), caches


def test_cache_budget_evicts_the_least_recently_used_when_full(
    budget: tuple[CacheBudget, list[Cache]],
) -> None:
    limit, caches = budget
    caches += [Cache(limit, size) for size in (30, 30, 40)]
    assert limit.used() == 100
    caches.append(Cache(limit, 10))
    assert [cache.cached_bytes for cache in caches] == [0, 30, 40, 10]
    assert limit.used() == 80


def test_cache_budget_evicts_nothing_when_compressed_pages_leave_room(
    budget: tuple[CacheBudget, list[Cache]],
) -> None:
    limit, caches = budget
    caches += [Cache(limit, 60, settled=20), Cache(limit, 40)]
    caches.append(Cache(limit, 40))
    assert [cache.cached_bytes for cache in caches] == [20, 40, 40]
    assert limit.used() == 100


def test_cache_budget_evicts_nothing_for_what_never_fits(
    budget: tuple[CacheBudget, list[Cache]],
) -> None:
    limit, caches = budget
    caches.append(Cache(limit, 60))
    assert not limit.add(caches[0], 101)
    assert limit.used() == 60
