"""One pass of editors/schedule.py over due entries, which the test lists in place of a store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from liveblog.blog.problem import Damaged, StoreDown, conflict
from liveblog.editors import schedule
from liveblog.editors.publishing import Publishing
from liveblog.store.agenda import Look
from liveblog.store.due import DUE_AT_ONCE, Due, DueEntries, Found


class Listed:
    """Replaces the store's list of due entries; lists at most DUE_AT_ONCE of each blog.

    `settled` has the blogs that the last pass settled.
    """

    def __init__(self, **ids: list[str]) -> None:
        self.ids = ids
        self.settled: list[str] = []

    async def read(self, skipped: Mapping[str, int]) -> Found:
        entries = [
            Due(slug, id, 1)
            for slug, ids in self.ids.items()
            for id in ids[skipped[slug] : skipped[slug] + DUE_AT_ONCE]
        ]
        return Found([Look(slug, 1, 1) for slug in self.ids], entries)

    async def settle(self, looks: Sequence[Look]) -> None:
        self.settled = [look.slug for look in looks]


class Noted:
    """Replaces `Publishing`: notes the ids of entries to publish, and fails for some of them."""

    def __init__(self, listed: Listed, failures: dict[str, Exception] | None = None) -> None:
        self.listed, self.failures = listed, failures or {}
        self.tried: list[str] = []

    async def publish_due(self, slug: str, id: str, _: int) -> bool:
        self.tried.append(id)
        if id in self.failures:
            raise self.failures[id]
        self.listed.ids[slug].remove(id)
        return True


async def run(publishing: Noted, skipped: Counter[str] | None = None) -> int:
    due = cast(DueEntries, publishing.listed)
    return await schedule.publish_due(due, cast(Publishing, publishing), skipped)


async def test_pass_publishes_the_other_entries_when_some_fail() -> None:
    failures = {"a": conflict("ended"), "b": Damaged("corrupt"), "c": TypeError("a fault")}
    publishing = Noted(Listed(vote=["a", "b", "c", "d"]), failures)
    assert await run(publishing) == 1
    assert publishing.tried == ["a", "b", "c", "d"]


async def test_pass_leaves_a_blog_but_no_other_when_it_takes_no_writes() -> None:
    listed = Listed(vote=["a", "b"], moon=["c"])
    publishing = Noted(listed, {"a": StoreDown("moving")})
    assert await run(publishing) == 1
    assert publishing.tried == ["a", "c"]
    assert listed.ids == {"vote": ["a", "b"], "moon": []}


async def test_pass_skips_a_full_page_of_stuck_entries_and_then_starts_again() -> None:
    stuck = [f"s{n}" for n in range(DUE_AT_ONCE)]
    failures: dict[str, Exception] = {id: Damaged("corrupt") for id in stuck}
    publishing = Noted(Listed(vote=[*stuck, "fine"]), failures)
    skipped: Counter[str] = Counter()
    assert await run(publishing, skipped) == 0
    assert publishing.listed.settled == []
    assert await run(publishing, skipped) == 1
    assert skipped["vote"] == 0
    assert publishing.listed.settled == ["vote"]
    del failures["s0"]
    assert await run(publishing, skipped) == 1
    assert publishing.tried[-DUE_AT_ONCE:] == stuck
