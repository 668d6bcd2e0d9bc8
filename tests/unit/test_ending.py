"""The end of a blog: the last changes, the grace period, the close."""

import asyncio

from kit.alone import FanoutAlone, Seconds, past_of
from kit.scene import (
    assert_caught_up,
    make_scene,
    offsets,
    until_idle,
)
from kit.sources import (
    FakeReader,
    running,
)
from kit.virtual import in_virtual_time
from kit.waiting import until

from liveblog.blog.model import Position
from liveblog.live.ending import ENDED_GRACE_S, ENDED_PACE_S, Ending
from liveblog.live.roster import SLOTS


@in_virtual_time
async def test_readers_get_the_last_changes_and_are_closed_after_a_minute() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(200)]
    async with running(scene.hub):
        await asyncio.sleep(10)
        scene.announce(scene.past.header, status="ended")
        await asyncio.sleep(30)
        scene.announce(scene.past.edit, scene.past.entries()[0].id)
        await asyncio.sleep(29.9)
        assert not any(reader.ended for reader in readers)
        for _ in range(14):
            gone = scene.live.roster.count()
            await asyncio.sleep(1)
            assert gone - scene.live.roster.count() <= 40  # paced
    for reader in readers:
        assert reader.ended == (None, 4510)
        assert [offsets(f) for f in reader.changes()] == [[5], [6]]


@in_virtual_time
async def test_readers_stay_when_the_blog_reopens_within_a_minute() -> None:
    scene = await make_scene()
    reader = scene.reader()
    async with running(scene.hub):
        scene.announce(scene.past.header, status="ended")
        await asyncio.sleep(55)
        scene.announce(scene.past.header, status="live")
        await asyncio.sleep(300)
        assert reader.code is None
        scene.announce(scene.past.header, status="ended")
        await asyncio.sleep(55)
        assert reader.code is None
        await asyncio.sleep(20)
    assert reader.code == 4510


@in_virtual_time
async def test_stalled_readers_do_not_delay_the_closing_of_others() -> None:
    scene = await make_scene()
    stalled = [scene.reader() for _ in range(10)]
    others = [scene.reader() for _ in range(100)]
    async with running(scene.hub):
        scene.announce(scene.past.header, status="ended")
        await asyncio.sleep(50)
        for reader in stalled:
            reader.stalled = True
        scene.announce(scene.past.header, title="Over")
        await asyncio.sleep(25)
        assert all(reader.code == 4510 for reader in others)
        assert not any(reader.ended for reader in stalled)
        for reader in stalled:
            reader.drain()
    assert all(reader.code == 4510 for reader in stalled)
    assert [offsets(f) for f in stalled[0].changes()] == [[5], [6]]


@in_virtual_time
async def test_last_change_is_sent_when_it_comes_just_before_the_close() -> None:
    scene = await make_scene()
    readers = [scene.reader() for _ in range(SLOTS)]
    scene.announce(scene.past.header, status="ended")
    await asyncio.sleep(60)
    scene.announce(scene.past.edit, scene.past.entries()[0].id)  # its pass has not started
    for _ in range(SLOTS):
        scene.live.ending.close_some()
    assert {reader.code for reader in readers} == {4510}
    for reader in readers:
        assert [offsets(f) for f in reader.changes()] == [[5], [6]]


@in_virtual_time
async def test_join_sends_missed_changes_and_closes_when_the_blog_has_ended() -> None:
    scene = await make_scene(status="ended")
    with_nothing_missed = scene.reader(scene.past.position)
    assert (with_nothing_missed.kinds(), with_nothing_missed.ended) == (["hello"], (None, 4510))
    without_since = scene.reader()
    assert (without_since.kinds(), without_since.code) == (["hello"], 4510)
    with_something = scene.reader(scene.past.at(2))
    assert (with_something.kinds(), with_something.code) == (["hello", "changes"], 4510)
    assert scene.reader(Position(scene.past.epoch, 0, "00000000")).code == 4005
    wrong = scene.reader(Position("forged", 1, "00000000"))
    await until(lambda: wrong.code == 4005)
    assert scene.live.roster.count() == 0


@in_virtual_time
async def test_slow_reader_is_closed_when_it_has_drained_after_the_end() -> None:
    scene = await make_scene(status="ended")
    reader = scene.reader(scene.past.at(2), stalled=True)
    assert reader.code is None
    assert reader.kinds() == ["hello"]
    reader.drained()  # the socket accepted hello, and is full again
    assert (reader.kinds(), reader.code) == (["hello", "changes"], None)
    reader.drain()
    assert reader.ended == (None, 4510)


@in_virtual_time
async def test_slow_reader_stays_when_the_blog_reopens() -> None:
    scene = await make_scene(status="ended")
    reader = scene.reader(scene.past.at(2), stalled=True)
    scene.announce(scene.past.header, status="live")
    await until_idle(scene.hub)
    reader.drain()
    assert_caught_up(reader, 2, 5)
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert_caught_up(reader, 2, 6)
    assert reader.code is None


# -- alone -----------------------------------------------------------------------------------------


def test_close_some_closes_a_share_each_second_after_the_grace_period() -> None:
    alone, seconds = FanoutAlone(past_of(1, status="ended")), Seconds()
    ending = Ending(alone.timeline, alone.roster, alone.fanout, seconds)
    readers = [FakeReader() for _ in range(100)]
    for reader in readers:
        alone.roster.enter(reader, alone.timeline.offset)
        alone.roster.follow(reader)
    ending.note_status()
    seconds.now = ENDED_GRACE_S - 0.1
    ending.close_some()
    assert alone.roster.count() == 100
    for second in range(int(ENDED_PACE_S)):
        seconds.now = ENDED_GRACE_S + second
        ending.close_some()
        assert 100 - alone.roster.count() == 10 * (second + 1)
    assert {reader.code for reader in readers} == {4510}


def test_close_some_closes_nobody_when_the_blog_has_reopened() -> None:
    alone, seconds = FanoutAlone(past_of(1, status="ended")), Seconds()
    ending = Ending(alone.timeline, alone.roster, alone.fanout, seconds)
    reader = FakeReader()
    alone.roster.enter(reader, alone.timeline.offset)
    alone.roster.follow(reader)
    ending.note_status()
    alone.timeline.apply(alone.past.header(status="live"))
    ending.note_status()
    seconds.now = 2 * ENDED_GRACE_S
    ending.close_some()
    assert reader.code is None
