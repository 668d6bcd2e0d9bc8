"""A live blog: the frames of a joining reader, and the reasons to refuse one."""

import asyncio
import json

from kit.alone import Seconds, Spawned, past_of
from kit.scene import (
    Scene,
    make_scene,
    offsets,
    text,
    until_idle,
)
from kit.sources import (
    SLUG,
    FakeReader,
    FakeRender,
    FakeStore,
    Past,
    make_hub,
    running,
)
from kit.virtual import in_virtual_time

from liveblog.blog import timeline as timelines
from liveblog.blog.model import Position
from liveblog.live.blog import LiveBlog
from liveblog.live.budget import CacheBudget, HeldBytes
from liveblog.live.cache import Render
from liveblog.live.frame import MISSED_BYTES_MAX
from liveblog.live.shared import Counts, HubSettings
from liveblog.live.source import Source


@in_virtual_time
async def test_weight_has_the_changes_encoded_for_a_reader_of_an_old_position() -> None:
    scene = await make_scene(entries=50)
    hub = scene.hub
    async with running(hub):
        await asyncio.sleep(1.5)
        before = hub.shelf.bytes - hub.cache_budget.bytes
        scene.reader(scene.past.at(1))
        await asyncio.sleep(1.5)
        weight = hub.shelf.bytes - hub.cache_budget.bytes
    assert weight - before == scene.live.cache.pieces_bytes() > 0


@in_virtual_time
async def test_join_sends_only_hello_when_no_since_is_given() -> None:
    scene = await make_scene()
    reader = scene.reader()
    (hello,) = reader.frames
    assert (hello["t"], hello["position"]) == ("hello", text(scene.past.position))
    assert hello["heartbeat_s"] == 20


@in_virtual_time
async def test_join_sends_only_hello_when_nothing_was_missed() -> None:
    scene = await make_scene()
    assert scene.reader(scene.past.position).kinds() == ["hello"]


@in_virtual_time
async def test_join_sends_hello_and_one_changes_when_changes_were_missed() -> None:
    scene = await make_scene()
    since = scene.past.at(2)
    reader = scene.reader(since)
    hello, missed = reader.frames
    assert hello["position"] == text(since)
    assert (missed["t"], missed["from"]) == ("changes", 2)
    assert missed["position"] == text(scene.past.position)
    assert offsets(missed) == [3, 4]
    assert missed["changes"][0]["html"].startswith("<article>")


@in_virtual_time
async def test_join_sends_the_apis_shapes_when_as_data() -> None:
    scene = await make_scene()
    scene.past.header(title="Final results")
    await scene.hub.close()
    scene = Scene(scene.store, make_hub(scene.store), scene.live)
    live = await scene.hub.live(SLUG)
    assert live
    scene.live = live
    (missed,) = scene.reader(scene.past.at(3), as_data=True).changes()
    put, header = missed["changes"]
    assert put["entry"]["position"] == text(scene.past.at(4))
    assert put["entry"]["blog"] == SLUG
    assert header["blog"]["position"] == text(scene.past.at(5))
    assert header["blog"]["title"] == "Final results"
    assert not {"body", "publish_at", "summary"} & (put["entry"].keys() | header["blog"].keys())


@in_virtual_time
async def test_join_between_two_changes_gets_the_second() -> None:
    scene = await make_scene()
    scene.announce(scene.past.publish)  # no pass has started
    reader = scene.reader()
    scene.announce(scene.past.publish)
    await until_idle(scene.hub)
    assert [offsets(frame) for frame in reader.changes()] == [[6]]
    assert next(reader.changes())["from"] == 5


@in_virtual_time
async def test_join_resets_when_more_than_200_entries_were_missed() -> None:
    scene = await make_scene(entries=201)
    (missed,) = scene.reader(scene.past.at(2)).changes()
    assert len(missed["changes"]) == 200
    late = scene.reader(scene.past.at(1))
    assert late.kinds() == ["hello"]
    assert late.ended == (
        {"t": "reset", "position": text(scene.past.position), "after_ms": [0, 3000]},
        4005,
    )


@in_virtual_time
async def test_join_resets_when_more_than_256_kib_were_missed() -> None:
    scene = await make_scene()
    since = scene.past.position
    empty = len('{"op":"put","id":"e000000000000","offset":5,"order":5,"revision":1,"new":true,')
    empty += len('"key":false,"pinned":false,"html":"<article> UTC</article>"}')
    scene.announce(scene.past.publish, headline="x" * (MISSED_BYTES_MAX - empty))
    (missed,) = scene.reader(since).changes()
    assert len(json.dumps(missed["changes"][0], separators=(",", ":"))) == MISSED_BYTES_MAX
    scene.announce(scene.past.publish, headline="")
    assert scene.reader(since).code == 4005
    assert next(scene.reader(scene.past.at(5)).changes())["from"] == 5


@in_virtual_time
async def test_join_resets_when_since_is_below_the_floor() -> None:
    scene = await make_scene(entries=1)
    id = scene.past.entries()[0].id
    early = scene.past.position
    for _ in range(timelines.KEPT_CHANGES + timelines.TRIM_EVERY):
        scene.announce(scene.past.edit, id)
    floor = scene.live.timeline.floor
    assert floor > early.offset
    assert scene.reader(early).code == 4005
    assert scene.reader(scene.past.at(floor - 1)).code == 4005
    assert [offsets(f) for f in scene.reader(scene.past.at(floor)).changes()] == [[scene.past.top]]


@in_virtual_time
async def test_readers_share_one_frame_when_they_join_at_one_position() -> None:
    scene = await make_scene()
    a, b = scene.reader(scene.past.at(2)), scene.reader(scene.past.at(2))
    data = scene.reader(scene.past.at(2), as_data=True)
    assert a.raw[1] is b.raw[1]
    for reader, has, lacks in ((a, "html", "entry"), (data, "entry", "html")):
        for change in next(reader.changes())["changes"]:
            assert has in change
            assert lacks not in change


@in_virtual_time
async def test_join_leaves_nothing_behind_when_hello_aborts_the_reader() -> None:
    past = Past()
    past.publish()
    hub = make_hub(FakeStore(past), held_bytes_max=10)
    live = await hub.live(SLUG)
    assert live
    await until_idle(hub)
    reader = FakeReader(stalled=True)
    live.join(reader, past.position._replace(epoch="other"))
    assert reader.code == 1006
    assert (live.roster.count(), live.roster.waiting, hub.held_budget.bytes) == (0, set(), 0)


@in_virtual_time
async def test_readers_are_closed_for_good_when_the_blog_becomes_a_draft() -> None:
    scene = await make_scene()
    readers = [scene.reader(), scene.reader(stalled=True)]
    scene.store.latency_s = lambda: 5.0
    waiting = scene.reader(Position("forged", 5, "00000000"))
    scene.announce(scene.past.header, status="draft", title="Not to be seen")
    await asyncio.sleep(1)
    for reader in (*readers, waiting):
        assert reader.ended == ({"t": "bye", "after_ms": None, "why": "gone"}, 4504)
        assert reader.kinds() == ["hello"]
    assert await scene.hub.live(SLUG) is None
    late = FakeReader()
    scene.live.join(late, None)
    assert (late.kinds(), late.code) == ([], 4504)
    scene.announce(scene.past.header, status="live")
    assert await scene.hub.live(SLUG) is scene.live


@in_virtual_time
async def test_waiting_reader_never_sees_the_change_that_makes_a_draft() -> None:
    scene = await make_scene()
    message = scene.past.header(status="draft", title="Not to be seen")
    # This worker does not know the position yet: the reader got it from a worker that is ahead.
    reader = scene.reader(scene.past.position)
    early = scene.reader(scene.past.at(2))
    scene.live.receive(message)
    await asyncio.sleep(3)
    for closed in (reader, early):
        assert closed.code == 4504
    assert reader.kinds() == ["hello"]


@in_virtual_time
async def test_join_sends_bye_when_the_worker_drains() -> None:
    scene = await make_scene()
    scene.hub.draining = True
    reader = scene.reader()
    assert reader.kinds() == []
    assert reader.ended == ({"t": "bye", "after_ms": [0, 1000], "why": "restart"}, 4001)
    assert scene.hub.count() == 0


# -- alone -----------------------------------------------------------------------------------------


class OneBlogWorker(Spawned):
    """Replaces the hub: gives a live blog the source, limits and tasks of its worker."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.render: Render = FakeRender()
        self.settings, self.counts, self.clock = HubSettings(), Counts(), Seconds()
        self.draining = False
        self.held_budget = HeldBytes(1_000, list, self.counts)
        self.cache_budget = CacheBudget(list)
        self.unheard_max = 1
        self.now = lambda: 0
        self.passes = 0
        self.spawn = self.__call__

    def note_pass(self, seconds: float) -> None:
        self.passes += 1


@in_virtual_time
async def test_live_blog_serves_its_readers_without_a_hub() -> None:
    past = past_of(2)
    worker = OneBlogWorker(FakeStore(past))
    live = LiveBlog(worker, SLUG, past.snapshot())
    reader = FakeReader()
    live.join(reader, past.at(2))
    live.receive(past.publish())
    await worker.run()
    assert [offsets(frame) for frame in reader.changes()] == [[3], [4]]
    assert (worker.passes, worker.counts.deliveries) == (1, 2)
    live.leave(reader)
    assert live.roster.count() == 0
    assert not live.lost
