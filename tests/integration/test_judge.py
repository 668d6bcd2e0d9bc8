"""The judge of the fault tests finds each fault that it is there for, and nothing in a clean story."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kit.judge import Announced, Deed, History, Kept, Page, Position, Shown, Step, Verdict, judge

SLUG = "election"
# What each offset did; each check is 8 times its number's last digit.
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
    """A store with one blog whose history is DEEDS."""
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


def test_a_clean_story_has_no_faults(store: redis.Redis) -> None:
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
    "a living entry is taken away, and comes again": [
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
    "a page has a smaller window than it may": [Page(at(5), {}, lowest=1_000)],
    "a page lacks an entry": [Page(at(3), {"eb": Shown(3, 3, "<p>m2-1 text</p>")}), *CLEAN[2:]],
    "a page shows what is gone": [WHOLE._replace(entries={"eb": Shown(3, 3, "<p>m2-1 text</p>")})],
    "a page shows an old text": [WHOLE._replace(entries={"ea": Shown(2, 2, "<p>m1-1 text</p>")})],
}


@pytest.mark.parametrize("story", LOST.values(), ids=LOST)
def test_what_is_lost_is_found(store: redis.Redis, story: list[Step]) -> None:
    assert judged(store, *story).lost


DOUBLED: dict[str, list[Step]] = {
    "a frame comes twice": [*CLEAN[:3], CLEAN[2], CLEAN[3]],
    "a frame begins too early": [*CLEAN[:2], frame(1, at(4), SECOND, EDITED), CLEAN[3]],
    "an id comes twice": [EMPTY, frame(1, at(4), FIRST, SECOND, EDITED), CLEAN[3]],
    "an old change comes again": [*CLEAN[:2], frame(3, at(4), SECOND, EDITED), CLEAN[3]],
}


@pytest.mark.parametrize("story", DOUBLED.values(), ids=DOUBLED)
def test_what_is_doubled_is_found(store: redis.Redis, story: list[Step]) -> None:
    assert judged(store, *story).duplicated


def test_what_is_out_of_order_is_found(store: redis.Redis) -> None:
    assert judged(store, EMPTY, frame(1, at(3), SECOND, FIRST), *CLEAN[2:]).reordered


UNANNOUNCED: dict[str, list[Step]] = {
    "a page out of the blue": [*CLEAN[:2], WHOLE],
    "a frame of another epoch": [*CLEAN[:3], frame(4, at(5, "two"), DELETED)],
}


@pytest.mark.parametrize("story", UNANNOUNCED.values(), ids=UNANNOUNCED)
def test_a_reset_that_was_not_announced_is_found(store: redis.Redis, story: list[Step]) -> None:
    assert judged(store, *story).unannounced


def test_an_acknowledged_change_that_the_store_lacks_is_found(store: redis.Redis) -> None:
    for lacking in (at(6), at(3)._replace(check="ffffffff")):
        assert judged(store, *CLEAN, acknowledged=(lacking,)).lost == 1


def test_a_publish_that_made_two_entries_is_found(store: redis.Redis) -> None:
    twin = {"offset": 3, "order": 3, "deleted": False, "body": "m1-1 text"}
    store.hset(f"lb:{{{SLUG}}}:entries", "eb", json.dumps(twin))
    history = History(SLUG)
    assert judge(history, [], Kept(store, SLUG), ()).duplicated == 1


def test_readers_of_a_lost_branch_are_judged_by_it_until_they_are_reset(
    store: redis.Redis,
) -> None:
    """Two histories with the same numbers: what was seen of the lost one was right then."""
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
