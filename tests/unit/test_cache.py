"""The cache of a blog: makes each frame and article once, and drops those that a change alters."""

import json
from typing import Any
from unittest.mock import call, patch

import pytest
from kit.alone import cache_alone, past_of
from kit.scene import make_scene, until_idle
from kit.sources import FakeReader, FakeRender
from kit.virtual import in_virtual_time

from liveblog.answer import CACHED_1_S, Answer
from liveblog.blog.model import Position
from liveblog.blog.timeline import Timeline
from liveblog.live import budget as budgets
from liveblog.live import cache as caches


@in_virtual_time
async def test_frame_is_computed_once_when_too_much_was_missed() -> None:
    scene = await make_scene(entries=201)
    render = scene.hub.render
    assert isinstance(render, FakeRender)
    timeline = scene.live.timeline
    with patch.object(timeline, "changes", wraps=timeline.changes) as tried:
        for _ in range(3):
            assert scene.reader(scene.past.at(1)).code == 4005
    assert tried.mock_calls == [call(1)]


@in_virtual_time
async def test_article_is_rendered_once_for_pages_and_once_for_frames() -> None:
    scene = await make_scene()
    render, live = scene.hub.render, scene.live
    assert isinstance(render, FakeRender)
    render.made.clear()
    entry = live.timeline.newest(1)[0]
    for _ in range(2):
        live.frame(1, as_data=False)
        live.article(entry)
    made = list(render.made)
    assert made.count(entry.id) == 2
    scene.announce(scene.past.edit, entry.id, headline="new")
    edited = live.timeline.newest(1)[0]
    assert "new" in live.article(edited)
    assert "new" not in live.article(entry)  # an old state's article is made, but not cached
    assert "new" in live.article(edited)
    assert render.made == [*made, entry.id, entry.id]
    scene.announce(scene.past.delete, entry.id)
    assert live.cache._articles.get(entry.id) is None


@in_virtual_time
async def test_articles_are_evicted_when_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caches, "ARTICLES_MAX", 2)
    scene = await make_scene()
    for _ in range(5):
        scene.announce(scene.past.publish)
        for entry in scene.live.timeline.newest(20):
            assert scene.live.article(entry)
            assert len(scene.live.cache._articles) <= 2


@in_virtual_time
async def test_change_evicts_everything_made_of_the_old_top() -> None:
    scene = await make_scene()
    id = scene.past.entries()[0].id
    since = scene.past.at(2)
    scene.reader(since)
    scene.live.keep("page", Answer(b"a page", "text/html", CACHED_1_S))
    scene.announce(scene.past.delete, id)
    assert scene.live.kept("page") is None
    (missed,) = scene.reader(since).changes()
    assert [(c["op"], c["offset"]) for c in missed["changes"]] == [("put", 3), ("del", 5)]
    scene.announce(scene.past.restore, id)
    scene.announce(scene.past.edit, id, headline="new")
    (missed,) = scene.reader(since).changes()
    assert "new" in missed["changes"][1]["html"]


@in_virtual_time
async def test_cache_stays_below_its_limit_and_a_change_empties_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await make_scene()
    monkeypatch.setattr(budgets, "CACHED_BYTES_MAX", 4_000)
    for _ in range(3):
        for since in (3, 2, 1):
            made = scene.live.frame(since, as_data=False)
            assert made
            kept = scene.live.frame(since, as_data=False) is made
            assert kept == (made.bytes_max <= 4_000)
            assert scene.hub.cache_budget.used() <= 4_000
        scene.announce(scene.past.edit, scene.past.entries()[0].id)
        assert scene.hub.cache_budget.used() == 0


def test_hello_states_the_time_and_is_encoded_once_in_100_ms() -> None:
    past = past_of(2)
    cache, _ = cache_alone(Timeline(past.snapshot()))
    frames = [cache.hello(past.position, now_ms) for now_ms in (5_000, 5_099, 5_100, 4_000)]
    stated = [json.loads(frame.json)["now"] for frame in frames]
    assert stated == [
        f"1970-01-01T00:00:0{second}Z" for second in ("5.000", "5.000", "5.100", "4.000")
    ]
    assert frames[0] is frames[1]
    assert cache.cached_bytes == frames[0].bytes_max  # the later frames replaced the first
    assert cache.hello(past.at(1), 5_000) is not cache.hello(past.position, 5_000)


async def test_hello_is_not_cached_when_the_position_is_forged() -> None:
    scene = await make_scene()
    scene.reader()
    before = scene.hub.cache_budget.used()
    for offset in range(20):
        scene.live.join(FakeReader(), Position("other", offset, "c" * 8))
    assert scene.hub.cache_budget.used() == before


@in_virtual_time
async def test_new_time_zone_evicts_all_rendered_entries() -> None:
    scene = await make_scene()
    scene.reader(scene.past.at(1))  # encodes all entries
    scene.announce(scene.past.rotate, timezone="Europe/Paris")
    id = scene.past.entries()[0].id
    since = scene.past.position
    scene.announce(scene.past.edit, id, revision=1)
    await until_idle(scene.hub)
    (frame,) = scene.reader(since).changes()
    assert "Europe/Paris" in frame["changes"][0]["html"]


# -- alone -----------------------------------------------------------------------------------------


def test_frame_is_the_same_object_until_the_next_change() -> None:
    past = past_of(3)
    timeline = Timeline(past.snapshot())
    cache, render = cache_alone(timeline)
    frame = cache.frame(1, as_data=False)
    assert frame
    assert cache.frame(1, as_data=False) is frame
    assert cache.cached_bytes == frame.bytes_max
    made = len(render.made)
    changes = past.publish()
    timeline.apply(changes)
    cache.drop(changes.records)
    assert cache.cached_bytes == 0
    assert cache.frame(1, as_data=False) is not frame
    assert len(render.made) == made + 1  # the new entry; the older ones are encoded already


def test_change_that_cannot_be_rendered_is_encoded_as_a_deletion(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    past = past_of(2)
    cache, render = cache_alone(Timeline(past.snapshot()))

    def fail(*_: Any) -> str:
        raise ValueError("no template")

    monkeypatch.setattr(render, "entry_html", fail)
    frame = cache.frame(1, as_data=False)
    assert frame
    assert [change["op"] for change in json.loads(frame.json)["changes"]] == ["del", "del"]
    assert "blog election: encoding a change failed: " in caplog.text


@pytest.mark.parametrize(("letter", "size"), [("a", 1), ("ж", 2), ("\N{GRINNING FACE}", 4)])
def test_article_counts_with_the_memory_of_its_letters(
    monkeypatch: pytest.MonkeyPatch, letter: str, size: int
) -> None:
    past = past_of(1)
    timeline = Timeline(past.snapshot())
    cache, render = cache_alone(timeline)
    monkeypatch.setattr(render, "entry_html", lambda *_: letter * 1_000)
    entry = timeline.newest(1)[0]
    cache.article(entry)
    assert size * 1_000 < cache.cached_bytes < size * 1_000 + 100
    cache.drop([entry])
    assert cache.cached_bytes == 0


def test_drop_all_evicts_articles_and_encoded_changes() -> None:
    past = past_of(1)
    timeline = Timeline(past.snapshot())
    cache, render = cache_alone(timeline)
    entry = timeline.newest(1)[0]
    for _ in range(2):
        cache.frame(1, as_data=False)
        cache.article(entry)
    assert render.made == [entry.id] * 2
    cache.drop_all()
    cache.frame(1, as_data=False)
    cache.article(entry)
    assert render.made == [entry.id] * 4
