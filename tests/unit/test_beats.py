"""Heartbeats: which readers get them and when; readers that answer no pings are dropped."""

import asyncio
import json
from collections import Counter
from itertools import pairwise

from kit.alone import past_of, roster_alone
from kit.scene import (
    blogs,
    make_scene,
    middle_of_a_pass,
    text,
    until_idle,
)
from kit.sources import (
    FakeReader,
    running,
)
from kit.virtual import in_virtual_time

from liveblog.blog.timeline import Timeline
from liveblog.live.beats import Beats
from liveblog.live.roster import SLOTS
from liveblog.live.shared import Counts


class AnsweringReader(FakeReader):
    answers_pings = True


@in_virtual_time
async def test_reader_at_the_top_gets_a_beat_every_heartbeat() -> None:
    scene = await make_scene()
    readers = []
    for _ in range(2 * SLOTS):
        readers.append(scene.reader())
        await asyncio.sleep(0.37)
    beats_at: dict[int, list[float]] = {i: [] for i in range(len(readers))}
    async with running(scene.hub):
        loop = asyncio.get_running_loop()
        started = loop.time()
        while loop.time() < started + 200:
            await asyncio.sleep(0.1)
            for i, reader in enumerate(readers):
                if len(reader.frames) > len(beats_at[i]) + 1:
                    beats_at[i].append(loop.time())
    for times in beats_at.values():
        gaps = [b - a for a, b in pairwise([started, *times])]
        assert max(gaps) <= 20
        assert min(gaps[1:]) >= 18  # not much more often than every 20 s: beats cost traffic
    (beat,) = {json.dumps(f) for f in readers[0].frames[-1:]}
    assert json.loads(beat)["position"] == text(scene.past.position)
    assert json.loads(beat)["now"].startswith("1970-01-01T00:0")


@in_virtual_time
async def test_beat_skips_readers_below_the_top_or_behind() -> None:
    scene = await make_scene()
    behind, below, top = scene.reader(stalled=True), scene.reader(), scene.reader()
    scene.live.timeline.apply(scene.past.publish())  # no pass has served them
    top.offset = scene.past.top
    for slot in range(SLOTS):
        scene.live.beats.send(slot, "2026-11-22T14:05:00.000Z")
    assert (behind.kinds(), below.kinds()) == (["hello"], ["hello"])
    assert top.frames[1:] == [
        {"t": "beat", "position": text(scene.past.position), "now": "2026-11-22T14:05:00.000Z"}
    ]


@in_virtual_time
async def test_beat_is_delayed_until_the_pass_ends() -> None:
    scene, readers = await middle_of_a_pass()
    scene.live.beats.send(0, None)
    assert all("beat" not in reader.kinds() for reader in readers)
    await until_idle(scene.hub)
    beaten = [reader for reader in readers if "beat" in reader.kinds()]
    assert [reader.kinds() for reader in beaten] == [["hello", "changes", "beat"]] * 10


@in_virtual_time
async def test_delayed_beat_is_sent_when_the_next_is_due() -> None:
    scene, readers = await middle_of_a_pass()
    served = [reader for reader in readers if "changes" in reader.kinds()]
    first, second = (next(r for r in served if r.slot == slot) for slot in (1, 2))
    scene.live.beats.send(1, None)
    scene.live.beats.send(2, None)
    assert [reader.kinds()[2:] for reader in (first, second)] == [["beat"], []]
    scene.live.beats.send(3, None)
    assert second.kinds()[2:] == ["beat"]
    await until_idle(scene.hub)
    assert [reader.kinds()[2:] for reader in (first, second)] == [["beat"], ["beat"]]


@in_virtual_time
async def test_beats_are_spread_over_the_interval() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(5 * SLOTS)]
    for slot in range(SLOTS):
        scene.live.beats.send(slot, None)
        assert sum(len(reader.frames) > 1 for reader in readers) == 5 * (slot + 1)


@in_virtual_time
async def test_only_readers_of_many_blogs_are_spread_over_the_interval() -> None:
    _, hub = blogs(10 * SLOTS)
    readers = [FakeReader() for _ in range(10 * SLOTS)]
    for number, reader in enumerate(readers):
        live = await hub.live(f"b{number}")
        assert live
        live.join(reader, None)
    assert max(Counter(reader.slot for reader in readers).values()) < 30


@in_virtual_time
async def test_reader_is_aborted_when_it_answers_no_pings() -> None:
    scene = await make_scene()
    dead, alive = scene.reader(kind=AnsweringReader), scene.reader(kind=AnsweringReader)
    deaf = scene.reader()
    async with running(scene.hub):
        for seconds in range(81):
            alive.unheard = 0
            assert dead.code is None or seconds >= 40
            await asyncio.sleep(1)
    assert (dead.code, alive.code, deaf.code) == (1006, None, None)
    assert scene.hub.counts.unheard == 1


# -- alone -----------------------------------------------------------------------------------------


def test_beat_waits_for_the_pass_and_shows_the_top_at_that_time() -> None:
    past = past_of(1)
    timeline = Timeline(past.snapshot())
    roster, _ = roster_alone()
    beats = Beats(timeline, roster, lambda: True, Counts(), unheard_max=1)
    reader = FakeReader()
    roster.enter(reader, timeline.offset)
    roster.follow(reader)
    beats.send(reader.slot, None)
    assert reader.frames == []
    timeline.apply(past.publish())
    reader.offset = timeline.offset
    beats.send_late()
    beats.send_late()
    assert [frame["position"] for frame in reader.frames] == [text(past.position)]


def test_beat_aborts_a_reader_when_too_many_pings_are_unanswered() -> None:
    timeline = Timeline(past_of(1).snapshot())
    roster, _ = roster_alone()
    counts = Counts()
    beats = Beats(timeline, roster, lambda: False, counts, unheard_max=2)
    reader = AnsweringReader()
    roster.enter(reader, timeline.offset)
    roster.follow(reader)
    for _ in range(2):
        beats.send(reader.slot, None, pings=True)
        beats.send(reader.slot, None)
    assert (reader.code, len(reader.frames), reader.unheard) == (None, 4, 2)
    beats.send(reader.slot, None, pings=True)
    assert (reader.code, counts.unheard) == (1006, 1)
