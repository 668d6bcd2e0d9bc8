"""kit/judge.py compares readers with the store: it reports every fault and no false one."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kit.judge import Announced, Deed, History, Kept, Page, Position, Shown, Step, Verdict, judge

FLAVOURS = ("valkey",)  # not on Redis: HSET, SET and reads work the same there
SLUG = "election"
# The change at each offset: the entry's id, the offset of its first publication (`order`), and its
# text, None if deleted. In these positions the check is the offset's last digit, eight times.
DEEDS = {2: ("ea", 2, "m1-1"), 3: ("eb", 3, "m2-1"), 4: ("ea", 2, "m1-2"), 5: ("eb", 3, None)}


def at(offset: int, epoch: str = "one") -> Position:
    return Position(epoch, offset, str(offset % 10) * 8)


def put(id: str, offset: int, order: int, mark: str) -> dict[str, Any]:
    html = f"<p>{mark} text</p>"
    return {"op": "put", "id": id, "offset": offset, "order": order, "html": html}


FIRST = put("ea", 2, 2, "m1-1")
SECOND = put("eb", 3, 3, "m2-1")
EDITED = put("ea", 4, 2, "m1-2")
DELETED = {"op": "del", "id": "eb", "offset": 5}


def frame(since: int, to: Position, *changes: dict[str, Any]) -> dict[str, Any]:
    position = f"{to.epoch}.{to.offset}.{to.check}"
    return {"t": "changes", "from": since, "position": position, "changes": list(changes)}


EMPTY = Page(at(1), {})
WHOLE = Page(at(5), {"ea": Shown(4, 2, "<p>m1-2 text</p>")})
CLEAN: list[Step] = [
    EMPTY,
    frame(1, at(3), FIRST, SECOND),
    frame(3, at(4), EDITED),
    frame(4, at(5), DELETED),
]


@pytest.fixture
def store(store_url: str) -> Iterator[redis.Redis]:
    """A store with one blog, whose changes are DEEDS."""
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        write(client)
        yield client


def write(client: redis.Redis) -> None:
    key = f"lb:{{{SLUG}}}:"
    client.hset(f"{key}blog", mapping={"epoch": "one", "offset": 5, "check": at(5).check})
    client.set(f"{key}chain", "".join(at(offset).check for offset in range(1, 6)))
    for offset, (id, order, mark) in DEEDS.items():
        record = {"offset": offset, "order": order, "deleted": not mark, "body": f"{mark} text"}
        client.hset(f"{key}entries", id, json.dumps(record))


def judged(store: redis.Redis, *story: Step, acknowledged: tuple[Position, ...] = ()) -> Verdict:
    history = History(SLUG)
    for offset, (id, order, mark) in DEEDS.items():
        history.note(at(offset), Deed(id, order, mark))
    return judge(history, [story], Kept(store, SLUG), acknowledged)


def test_judge_finds_nothing_when_a_story_is_clean(store: redis.Redis) -> None:
    for story in (
        CLEAN,
        [WHOLE],
        [EMPTY, frame(1, at(5), EDITED, DELETED)],
        [*CLEAN[:2], Announced(), WHOLE],
        [*CLEAN, frame(5, at(5))],
    ):
        verdict = judged(store, *story, acknowledged=(at(2), at(5)))
        assert verdict.is_clean, verdict.because


LOST: dict[str, list[Step]] = {
    "an entry is left out": [EMPTY, frame(1, at(3), FIRST), *CLEAN[2:]],
    "a deletion is left out": [*CLEAN[:3], frame(4, at(5))],
    "a frame is left out": [*CLEAN[:2], CLEAN[3]],
    "the last frame is left out": CLEAN[:3],
    "an old text is sent": [*CLEAN[:2], frame(3, at(4), EDITED | {"html": "<p>m1-1 text</p>"})],
    "an old text is sent, and the new one later": [
        EMPTY,
        frame(1, at(3), FIRST | {"html": "<p>m0-1 text</p>"}, SECOND),
        *CLEAN[2:],
    ],
    "a published entry is removed, and put back later": [
        EMPTY,
        frame(1, at(3), {"op": "del", "id": "ea", "offset": 2}, SECOND),
        *CLEAN[2:],
    ],
    "an entry comes with another order": [
        *CLEAN[:2],
        frame(3, at(4), EDITED | {"order": 9}),
        CLEAN[3],
    ],
    "a page has another order": [WHOLE._replace(entries={"ea": Shown(4, 9, "<p>m1-2 text</p>")})],
    "a page's window is too small": [Page(at(5), {}, lowest=1_000)],
    "a page lacks an entry": [Page(at(3), {"eb": Shown(3, 3, "<p>m2-1 text</p>")}), *CLEAN[2:]],
    "a page shows a deleted entry": [
        WHOLE._replace(entries={"eb": Shown(3, 3, "<p>m2-1 text</p>")})
    ],
    "a page shows an old text": [WHOLE._replace(entries={"ea": Shown(2, 2, "<p>m1-1 text</p>")})],
}


@pytest.mark.parametrize("story", LOST.values(), ids=LOST)
def test_judge_finds_what_a_story_lost(store: redis.Redis, story: list[Step]) -> None:
    assert judged(store, *story).lost


DOUBLED: dict[str, list[Step]] = {
    "a frame comes twice": [*CLEAN[:3], CLEAN[2], CLEAN[3]],
    "a frame starts too early": [*CLEAN[:2], frame(1, at(4), SECOND, EDITED), CLEAN[3]],
    "an id comes twice": [EMPTY, frame(1, at(4), FIRST, SECOND, EDITED), CLEAN[3]],
    "an old change comes again": [*CLEAN[:2], frame(3, at(4), SECOND, EDITED), CLEAN[3]],
}


@pytest.mark.parametrize("story", DOUBLED.values(), ids=DOUBLED)
def test_judge_finds_what_a_story_has_twice(store: redis.Redis, story: list[Step]) -> None:
    assert judged(store, *story).duplicated


def test_judge_finds_changes_when_they_are_out_of_order(store: redis.Redis) -> None:
    assert judged(store, EMPTY, frame(1, at(3), SECOND, FIRST), *CLEAN[2:]).reordered


UNANNOUNCED: dict[str, list[Step]] = {
    "a page without a reset": [*CLEAN[:2], WHOLE],
    "a frame of another epoch": [*CLEAN[:3], frame(4, at(5, "two"), DELETED)],
}


@pytest.mark.parametrize("story", UNANNOUNCED.values(), ids=UNANNOUNCED)
def test_judge_finds_a_reset_when_it_was_not_announced(
    store: redis.Redis, story: list[Step]
) -> None:
    assert judged(store, *story).unannounced


def test_judge_finds_an_acknowledged_change_when_the_store_lacks_it(store: redis.Redis) -> None:
    for lacking in (at(6), at(3)._replace(check="ffffffff")):
        assert judged(store, *CLEAN, acknowledged=(lacking,)).lost == 1


def test_judge_finds_two_entries_when_one_publish_made_both(store: redis.Redis) -> None:
    twin = {"offset": 3, "order": 3, "deleted": False, "body": "m1-1 text"}
    store.hset(f"lb:{{{SLUG}}}:entries", "eb", json.dumps(twin))
    history = History(SLUG)
    assert judge(history, [], Kept(store, SLUG), ()).duplicated == 1


def test_judge_compares_readers_with_their_branch_until_a_reset(
    store: redis.Redis,
) -> None:
    """The store loses changes that a reader has.

    The judge accepts these changes on a page until the reader gets a reset. A page that keeps them
    counts as `lost`, and a page that drops them without a reset as `unannounced`.
    """
    history = History(SLUG)
    for offset, (id, order, mark) in DEEDS.items():
        history.note(at(offset), Deed(id, order, mark))
    kept = Kept(store, SLUG)
    history.look(kept)
    chain = "".join(at(offset).check for offset in (1, 2, 3)) + "ffffffff"
    key = f"lb:{{{SLUG}}}:"
    store.set(f"{key}chain", chain)
    store.hset(f"{key}blog", mapping={"offset": 4, "check": "ffffffff"})
    other = {"offset": 4, "order": 3, "deleted": False, "body": "m2-2 text"}
    store.hset(f"{key}entries", "eb", json.dumps(other))
    first = {"offset": 2, "order": 2, "deleted": False, "body": "m1-1 text"}
    store.hset(f"{key}entries", "ea", json.dumps(first))
    now = Page(
        Position("one", 4, "ffffffff"),
        {"ea": Shown(2, 2, "<p>m1-1 text</p>"), "eb": Shown(4, 3, "<p>m2-2 text</p>")},
    )
    assert judge(history, [[*CLEAN[:3], Announced(), now]], kept, ()).is_clean
    assert judge(history, [[*CLEAN[:3], now]], kept, ()).unannounced
    assert judge(history, [CLEAN], kept, ()).lost
