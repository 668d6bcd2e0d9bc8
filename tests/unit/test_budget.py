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
    """Stands for a blog's cache; has only a size in bytes."""

    def __init__(self, cached_bytes: int) -> None:
        self.cached_bytes = cached_bytes

    def clear(self) -> None:
        self.cached_bytes = 0


def test_cache_budget_evicts_all_caches_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "CACHED_BYTES_MAX", 100)
    caches = [Cache(60), Cache(30)]
    budget = CacheBudget(lambda: caches)
    assert budget.make_room(10)
    assert budget.used() == 90
    assert budget.make_room(11)
    assert budget.used() == 0


def test_cache_budget_evicts_nothing_for_what_never_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "CACHED_BYTES_MAX", 100)
    caches = [Cache(60)]
    budget = CacheBudget(lambda: caches)
    assert not budget.make_room(101)
    assert budget.used() == 60
