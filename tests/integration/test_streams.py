"""Streams of a real server: the same frames by WebSocket, Server-Sent Events and `changes`."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from kit.readers import (
    STREAMS,
    TRANSPORTS,
    Frame,
    Open,
    Stream,
    Target,
    changes,
    each_stream,
    each_transport,
    events,
    socket,
    websocket,
)
from kit.servers import COMMANDS, Editor, Server, StoreProcess, http, serving
from kit.waiting import SCALE, until

from liveblog.blog.instant import parse_time
from liveblog.blog.model import Position
from liveblog.clock import now_ms

HEARTBEAT_S = 0.25
LEFT_OUT = {"body", "publish_at", "summary"}


@pytest.fixture
async def blog(editor: Editor) -> Any:
    """Return a live blog that only this test uses."""
    return await editor.blog()


@pytest.fixture(scope="module", params=COMMANDS)
def server(
    request: pytest.FixtureRequest, site: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a server for each way of COMMANDS to serve readers; all must behave alike."""
    if request.param == "direct":
        yield site
        return
    with serving(
        tmp_path_factory.mktemp("streams") / "log",
        command=COMMANDS[request.param],
        REDIS_URL=site.store_url,
        PUBLIC_URL="https://live.example",
        LIVEBLOG_ALLOWED_ORIGINS="https://news.example",
        LIVEBLOG_HEARTBEAT_S=str(HEARTBEAT_S),
    ) as server:
        yield server
        assert "Traceback" not in server.said()


@pytest.fixture
def ask(server: Server, blog: Any) -> Target:
    return Target(server.url, blog["slug"])


async def page_of(ask: Target) -> str:
    async with http(base_url=ask.url) as client:
        return str((await client.get(f"/blogs/{ask.slug}")).text)


async def missed(open_stream: Open, ask: Target) -> Frame:
    """Return the frame with the changes that a reader missed."""
    async with open_stream(ask) as stream:
        while (frame := await stream.next())["t"] == "hello":
            pass
        return frame


def position(text: str) -> Position:
    parsed = Position.parse(text)
    assert parsed, text
    return parsed


# -- joining


@each_stream
@pytest.mark.parametrize("since", [None, ""])
async def test_reader_starts_from_now_when_it_has_no_since(
    editor: Editor, blog: Any, ask: Target, open_stream: Open, since: str | None
) -> None:
    entry = await editor.publish(blog["slug"])
    async with open_stream(replace(ask, since=since)) as stream:
        hello = await stream.next()
        now, version = hello.pop("now"), hello.pop("version")
        assert hello == {"t": "hello", "position": entry["position"], "heartbeat_s": HEARTBEAT_S}
        assert abs(parse_time(now) - now_ms()) < 5_000 * SCALE
        assert f'data-version="{version}"' in await page_of(ask)
        assert re.fullmatch("[0-9a-f]{8}", version)
        published = await editor.publish(blog["slug"], "Next.")
        frame = await stream.next("changes")
        assert (frame["from"], frame["position"]) == (2, published["position"])


@each_stream
async def test_reader_gets_hello_at_its_position_then_missed_changes(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    since = blog["position"]
    entry = await editor.publish(blog["slug"])
    async with open_stream(replace(ask, since=since)) as stream:
        assert (await stream.next("hello"))["position"] == since
        frame = await stream.next("changes")
        assert (frame["from"], frame["position"]) == (1, entry["position"])
    async with open_stream(replace(ask, since=entry["position"])) as stream:
        assert (await stream.next("hello"))["position"] == entry["position"]
        beat = await stream.next("beat")
        assert beat["position"] == entry["position"]


@each_transport
async def test_missed_changes_hold_each_entry_once_by_offset(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    slug = blog["slug"]
    old = await editor.publish(slug, "Old.")
    since = old["position"]
    first, second = await editor.publish(slug, "First."), await editor.publish(slug, "Second.")
    first = await editor.edit(first, body="First, edited.", key=True)
    await editor.delete(second)
    await editor.alter(slug, title="Other")
    old = await editor.mark(old, pinned=True)
    frame = await missed(open_stream, replace(ask, since=since))
    assert (frame["t"], frame["from"], frame["position"]) == ("changes", 2, old["position"])
    put, gone, header, marked = frame["changes"]
    assert put.pop("html").startswith("<article ")
    assert put == {
        "op": "put",
        "id": first["id"],
        "offset": 5,
        "order": 3,
        "revision": 2,
        "new": True,
        "key": True,
        "pinned": False,
    }
    assert gone == {"op": "del", "id": second["id"], "offset": 6}
    assert header.pop("html").startswith("<header")
    assert header == {"op": "blog", "offset": 7, "status": "live"}
    assert (marked["id"], marked["offset"], marked["new"]) == (old["id"], 8, False)
    assert marked["pinned"] is True


@each_transport
async def test_as_data_gives_the_shapes_of_the_api(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    since = blog["position"]
    entry = await editor.publish(blog["slug"], "Some *text*.", byline=["Dana"])
    header = await editor.alter(blog["slug"], summary="So far.", status="live")
    frame = await missed(open_stream, replace(ask, since=since, as_data=True))
    put, head = frame["changes"]
    assert set(put) == {"op", "id", "offset", "order", "revision", "new", "key", "pinned", "entry"}
    for shown, shape in ((put["entry"], entry), (head["blog"], header)):
        assert shown == {name: value for name, value in shape.items() if name not in LEFT_OUT}
    assert set(head) == {"op", "offset", "status", "blog"}
    assert head["blog"]["revision"] == 2


@each_transport
async def test_changes_is_empty_when_nothing_was_missed(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    entry = await editor.publish(blog["slug"])
    async with open_stream(replace(ask, since=entry["position"])) as stream:
        frame = await stream.next()
        if open_stream is changes:
            assert (frame["changes"], frame["from"]) == ([], 2)
            assert frame["position"] == entry["position"]
        else:
            assert (frame["t"], frame["position"]) == ("hello", entry["position"])
            assert (await stream.next("beat"))["position"] == entry["position"]


async def test_reader_is_reset_when_it_missed_more_than_200_entries(
    editor: Editor, blog: Any, ask: Target
) -> None:
    entries = await editor.publish_many(blog["slug"], 201)
    now = entries[-1]["position"]
    for open_stream in TRANSPORTS.values():
        frame = await missed(open_stream, replace(ask, since=entries[0]["position"]))
        assert len(frame["changes"]) == 200
        frame = await missed(open_stream, replace(ask, since=blog["position"]))
        assert frame == {"t": "reset", "position": now, "after_ms": [0, 3000]}


async def test_reader_is_reset_when_it_missed_more_than_256_kib(
    editor: Editor, blog: Any, ask: Target
) -> None:
    texts = ["word " * 4_000] * 14
    entries = [await editor.publish(blog["slug"], text) for text in texts]
    for open_stream in TRANSPORTS.values():
        frame = await missed(open_stream, replace(ask, since=entries[1]["position"]))
        assert len(frame["changes"]) == 12
        assert (await missed(open_stream, replace(ask, since=blog["position"])))["t"] == "reset"


# -- since


MALFORMED = ["x", "a.1", "a.01.00000000", "A.1.00000000", "a.1.0000000g", "😀"]


@each_transport
async def test_reader_is_reset_without_hello_when_its_since_is_malformed(
    blog: Any, ask: Target, open_stream: Open
) -> None:
    for since in MALFORMED:
        async with open_stream(replace(ask, since=since)) as stream:
            frame = await stream.get()
            assert frame == {"t": "reset", "position": blog["position"], "after_ms": [0, 3000]}
            assert await stream.rest() == []
            assert stream.code == (4005 if open_stream is websocket else 200)


@each_transport
@pytest.mark.parametrize("what", ["foreign", "ahead", "forged"])
async def test_reader_alone_is_reset_when_the_store_lacks_its_position(
    editor: Editor, blog: Any, ask: Target, open_stream: Open, what: str
) -> None:
    entry = await editor.publish(blog["slug"])
    now = position(entry["position"])
    since = {
        "foreign": now._replace(epoch="other"),
        "ahead": now._replace(offset=1_000),
        "forged": now._replace(check="00000000"),
    }[what]
    async with websocket(replace(ask, since=entry["position"])) as other:
        await other.next("hello")
        async with open_stream(replace(ask, since=since)) as stream:
            if open_stream is not changes:
                assert (await stream.next())["position"] == str(since)
            assert await stream.rest() == [
                {"t": "reset", "position": entry["position"], "after_ms": [0, 3000]}
            ]
            assert stream.code == (4005 if open_stream is websocket else 200)
        published = await editor.publish(blog["slug"])
        assert (await other.next("changes"))["position"] == published["position"]


@each_stream
async def test_readers_are_reset_when_the_timezone_changes(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    async with open_stream(ask) as stream:
        await stream.next("hello")
        altered = await editor.alter(blog["slug"], timezone="Asia/Tokyo")
        assert (await stream.next("reset"))["position"] == altered["position"]
        assert await stream.rest() == []
        assert stream.code == (4005 if open_stream is websocket else 200)
    frame = await missed(open_stream, replace(ask, since=blog["position"]))
    assert frame["t"] == "reset"


# -- while open


@each_stream
async def test_reader_gets_every_change_as_it_is_made(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    slug = blog["slug"]
    async with open_stream(replace(ask, since=blog["position"])) as stream:
        await stream.next("hello")
        entry = await editor.publish(slug)
        entry = await editor.edit(entry, body="Edited.")
        entry = await editor.edit(entry, status="retracted", note="Wrong.", note_kind="retraction")
        gone = await editor.delete(entry)
        back = await editor.restore(entry)
        head = await editor.alter(slug, status="upcoming")
        at, ops = 1, []
        while at < 7:
            frame = await stream.next("changes")
            assert frame["from"] == at
            at = position(frame["position"]).offset
            ops += [(c["op"], c["offset"]) for c in frame["changes"]]
        assert frame["position"] == head["position"]
        assert [offset for _, offset in ops] == sorted({offset for _, offset in ops})
        assert ops[-1] == ("blog", 7)
        assert (gone["offset"], back["offset"], back["order"]) == (5, 6, 2)


@each_stream
async def test_reader_gets_nothing_when_a_draft_is_saved(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    async with open_stream(ask) as stream:
        await stream.next("hello")
        await editor.publish(blog["slug"], "A secret plan.", status="draft")
        entry = await editor.publish(blog["slug"])
        frame = await stream.next("changes")
        assert [change["id"] for change in frame["changes"]] == [entry["id"]]


@each_stream
async def test_beat_carries_the_position_in_every_heartbeat(
    blog: Any, ask: Target, open_stream: Open
) -> None:
    async with open_stream(ask) as stream:
        await stream.next("hello")
        for _ in range(2):
            frame = await stream.get(within_s=20 * HEARTBEAT_S)  # without the setting: 20 s
            assert frame["t"] == "beat"
            assert frame["position"] == blog["position"]
            assert frame["now"].endswith("Z")


@each_stream
async def test_readers_of_both_forms_get_a_new_start_time(
    editor: Editor, server: Server, open_stream: Open
) -> None:
    blog = await editor.blog(status="upcoming", timezone="Europe/London")
    ask = Target(server.url, blog["slug"])
    async with open_stream(ask) as html, open_stream(replace(ask, as_data=True)) as data:
        await html.next("hello")
        await data.next("hello")
        await editor.alter(blog["slug"], starts_at="2090-06-01T19:30:00+01:00")
        (as_html,) = (await html.next("changes"))["changes"]
        (as_data,) = (await data.next("changes"))["changes"]
        assert '<time datetime="2090-06-01T18:30:00.000Z"' in as_html["html"]
        assert ">7:30 PM BST<" in as_html["html"]
        assert as_data["blog"]["starts_at"] == "2090-06-01T18:30:00.000Z"
        await editor.alter(blog["slug"], status="live")
        (as_html,) = (await html.next("changes"))["changes"]
        (as_data,) = (await data.next("changes"))["changes"]
        assert "starts" not in as_html["html"]
        assert as_data["blog"]["starts_at"] == "2090-06-01T18:30:00.000Z"


@each_stream
async def test_readers_of_both_forms_share_one_blog(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    async with open_stream(ask) as html, open_stream(replace(ask, as_data=True)) as data:
        await html.next("hello")
        await data.next("hello")
        entry = await editor.publish(blog["slug"])
        (as_html,) = (await html.next("changes"))["changes"]
        (as_data,) = (await data.next("changes"))["changes"]
        assert (as_html["id"], as_data["id"]) == (entry["id"], entry["id"])
        assert "entry" not in as_html
        assert "html" not in as_data


# -- blogs that readers cannot open


@each_transport
async def test_reader_is_sent_away_for_long_when_the_blog_is_unknown(
    server: Server, open_stream: Open
) -> None:
    for slug in ("never-heard-of", "A", "a%20b", "%7B%7D", "%00", "a" * 81):
        await _no_such_blog(Target(server.url, slug), open_stream)


@each_transport
async def test_reader_is_sent_away_for_long_when_the_blog_is_a_draft(
    editor: Editor, server: Server, open_stream: Open
) -> None:
    blog = await editor.blog(status="draft")
    await _no_such_blog(Target(server.url, blog["slug"]), open_stream)


async def _no_such_blog(ask: Target, open_stream: Open) -> None:
    """Expect that a reader is sent away for a while: the blog may be created or opened yet."""
    async with open_stream(ask) as stream:
        frames = await stream.rest()
    if open_stream in (websocket, events):
        assert frames == [{"t": "bye", "after_ms": [30_000, 60_000], "why": "unknown"}]
        assert stream.code == (4006 if open_stream is websocket else 200)
    else:
        assert (frames, stream.code) == ([], 404)


@each_stream
async def test_reader_finds_a_blog_within_100_ms_of_its_creation(
    editor: Editor, server: Server, open_stream: Open
) -> None:
    slug = f"made-{os.urandom(5).hex()}"
    async with open_stream(Target(server.url, slug)) as stream:
        assert [frame["t"] for frame in await stream.rest()] == ["bye"]
    assert server.status(f"/blogs/{slug}") == 404
    await editor.ok("POST", "", {"slug": slug, "title": "Made", "status": "live"})
    async with open_stream(Target(server.url, slug)) as stream:
        assert (await stream.get())["t"] == "hello"
    assert server.status(f"/blogs/{slug}") == 200


async def test_reason_is_named_when_a_worker_is_full_of_blogs_with_readers(
    editor: Editor, site: Server, blog: Any, tmp_path: Path
) -> None:
    other = await editor.blog()
    settings = {"REDIS_URL": site.store_url, "LIVEBLOG_BLOGS_MAX": "1"}
    with serving(tmp_path / "log", **settings) as server:
        async with websocket(Target(server.url, blog["slug"])) as stream:
            assert (await stream.get())["t"] == "hello"
            async with websocket(Target(server.url, other["slug"])) as refused:
                [bye] = await refused.rest()
                assert (bye["after_ms"], bye["why"], refused.code) == ([0, 20_000], "full", 4002)
            answer = server.get(f"/blogs/{other['slug']}/changes")
            assert (answer["type"], answer["status"]) == ("/problems/worker-full", 503)
            async with http(base_url=server.url) as client:
                page = await client.get(f"/blogs/{other['slug']}")
            assert (page.status_code, "Very busy right now" in page.text) == (503, True)
            assert "worker full" in server.said()
            assert "LIVEBLOG_BLOGS_MAX" in server.said()
        await until(lambda: server.status(f"/blogs/{other['slug']}") == 200)


@each_stream
async def test_readers_are_sent_away_when_the_blog_becomes_a_draft(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    async with open_stream(ask) as stream:
        await stream.next("hello")
        await editor.alter(blog["slug"], status="draft")
        assert await stream.rest() == [{"t": "bye", "after_ms": None, "why": "gone"}]
        assert stream.code == (4504 if open_stream is websocket else 200)
    async with open_stream(ask) as stream:
        code = 4504 if open_stream is websocket else 204
        assert ([frame["after_ms"] for frame in await stream.rest()], stream.code) == (
            [None] if open_stream is websocket else [],
            code,
        )
    await editor.alter(blog["slug"], status="live")
    async with open_stream(ask) as stream:
        await stream.next("hello")


@each_stream
async def test_reader_of_an_ended_blog_gets_what_it_missed_then_4510(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    since = blog["position"]
    await editor.publish(blog["slug"])
    ended = await editor.alter(blog["slug"], status="ended")
    async with open_stream(replace(ask, since=since)) as stream:
        hello, frame, *farewell = await stream.rest()
        assert hello["position"] == since
        assert [c["op"] for c in frame["changes"]] == ["put", "blog"]
        assert frame["position"] == ended["position"]
        if open_stream is websocket:
            assert (farewell, stream.code) == ([], 4510)
        else:
            assert [f["after_ms"] for f in farewell] == [None]
    for nothing_missed in (ended["position"], None):
        async with open_stream(replace(ask, since=nothing_missed)) as stream:
            given = [frame["t"] for frame in await stream.rest()]
            assert stream.code == (4510 if open_stream is websocket else 204)
            assert given == (["hello"] if open_stream is websocket else [])


@each_stream
async def test_reader_of_an_ended_blog_is_reset_when_its_epoch_is_another(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    ended = await editor.alter(blog["slug"], status="ended")
    since = position(ended["position"])._replace(epoch="other")
    async with open_stream(replace(ask, since=since)) as stream:
        assert [frame["t"] for frame in await stream.rest()] == ["hello", "reset"]


@each_stream
async def test_connected_readers_get_later_changes_when_the_blog_has_ended(
    editor: Editor, blog: Any, ask: Target, open_stream: Open
) -> None:
    entry = await editor.publish(blog["slug"])
    async with open_stream(replace(ask, since=entry["position"])) as stream:
        await stream.next("hello")
        await editor.alter(blog["slug"], status="ended")
        assert (await stream.next("changes"))["changes"][0]["status"] == "ended"
        await editor.edit(entry, body="Corrected.")
        assert (await stream.next("changes"))["changes"][0]["revision"] == 2
        await editor.alter(blog["slug"], status="live")
        assert (await stream.next("changes"))["changes"][0]["status"] == "live"


async def test_changes_are_answered_when_the_blog_has_ended(
    editor: Editor, blog: Any, ask: Target
) -> None:
    await editor.alter(blog["slug"], status="ended")
    async with changes(replace(ask, since=blog["position"])) as stream:
        assert (await stream.next("changes"))["changes"][0]["status"] == "ended"


# -- each transport's own


async def test_subprotocol_is_accepted_only_when_it_is_offered(blog: Any, ask: Target) -> None:
    for offered, taken in ((["liveblog.v1"], "liveblog.v1"), (["x", "liveblog.v1"], "liveblog.v1")):
        async with websocket(ask, offered) as stream:
            await stream.next("hello")
            assert stream.subprotocol == taken
    for others in (None, ["liveblog.v2"]):
        async with websocket(ask, others) as stream:
            await stream.next("hello")
            assert stream.subprotocol is None


@pytest.mark.parametrize("said", ["hello", b"hello", ""])
async def test_reader_gets_1003_when_it_sends_a_message(ask: Target, said: str | bytes) -> None:
    async with socket(ask) as connection:
        await connection.recv()
        await connection.send(said)
        await connection.wait_closed()
        assert connection.close_code == 1003


async def test_ping_of_a_reader_is_answered(ask: Target) -> None:
    async with socket(ask) as connection:
        async with asyncio.timeout(5 * SCALE):
            await (await connection.ping())


@each_stream
async def test_reader_is_admitted_when_its_origin_is_ours_or_allowed(
    server: Server, ask: Target, open_stream: Open
) -> None:
    own = (server.url, server.url.replace("http:", "https:"), "https://live.example")
    for origin in (None, *own, "http://live.example", "https://news.example"):
        async with open_stream(replace(ask, origin=origin)) as stream:
            await stream.next("hello")
            if open_stream is events:
                is_listed = origin if origin and "https" in origin and "example" in origin else None
                assert stream.headers.get("access-control-allow-origin") == is_listed


@each_stream
async def test_reader_is_sent_away_when_its_origin_is_foreign(
    ask: Target, open_stream: Open
) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        async with open_stream(replace(ask, origin=origin)) as stream:
            frames = await stream.rest()
        if open_stream is websocket:
            assert frames == [{"t": "bye", "after_ms": None, "why": "origin"}]
            assert stream.code == 4500
        else:
            assert (frames, stream.code) == ([], 204)


async def test_event_has_an_id_only_when_it_is_hello_or_changes(
    editor: Editor, blog: Any, ask: Target
) -> None:
    async with events(replace(ask, since=blog["position"])) as stream:
        await stream.next("hello")
        await editor.publish(blog["slug"])
        frame = await stream.next("changes")
        while (await stream.get())["t"] != "beat":
            pass
        beats = stream.ids[1:-1] if len(stream.ids) > 3 else []
        assert stream.ids[0] == blog["position"]
        assert frame["position"] in stream.ids
        assert stream.ids[-1] is None
        assert set(beats) <= {None, frame["position"]}
    async with events(replace(ask, since="malformed")) as stream:
        await stream.get()
        assert stream.ids == [None]


async def test_last_event_id_wins_over_since(editor: Editor, blog: Any, ask: Target) -> None:
    first = await editor.publish(blog["slug"])
    second = await editor.publish(blog["slug"])
    again = replace(ask, since=blog["position"], headers={"last-event-id": first["position"]})
    async with events(again) as stream:
        assert (await stream.next("hello"))["position"] == first["position"]
        frame = await stream.next("changes")
        assert (frame["from"], frame["position"]) == (2, second["position"])


async def test_event_stream_forbids_caches_and_buffering(ask: Target) -> None:
    async with events(ask) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"


async def test_changes_are_cacheable_for_a_second(ask: Target) -> None:
    async with changes(ask) as stream:
        assert stream.headers["cache-control"] == "public, max-age=0, s-maxage=1"
        assert stream.headers["content-type"] == "application/json"
        assert "origin" in stream.headers["vary"].lower()


# -- limits


@pytest.fixture(scope="module", params=["direct", "portable"])
def small(
    request: pytest.FixtureRequest, site: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a server that admits at most two readers from one address, and three in all."""
    with serving(
        tmp_path_factory.mktemp("small") / "log",
        command=COMMANDS[request.param],
        REDIS_URL=site.store_url,
        LIVEBLOG_READERS_MAX="3",
        LIVEBLOG_READERS_PER_ADDRESS_MAX="2",
    ) as server:
        yield server


@each_stream
async def test_readers_are_asked_to_reconnect_when_a_limit_is_reached(
    small: Server, blog: Any, open_stream: Open
) -> None:
    ask = Target(small.url, blog["slug"])
    async with contextlib.AsyncExitStack() as stack:

        async def enter(address: str) -> Stream:
            return await stack.enter_async_context(open_stream(replace(ask, address=address)))

        async def refused(address: str) -> tuple[list[Frame], int]:
            async with open_stream(replace(ask, address=address)) as stream:
                return await stream.rest(), stream.code

        for address in ("127.0.0.1", "127.0.0.1"):
            await (await enter(address)).next("hello")
        frames, code = await refused("127.0.0.1")
        assert frames == [{"t": "bye", "after_ms": [0, 20_000], "why": "address"}]
        assert code == (4004 if open_stream is websocket else 200)
        await (await enter("127.0.0.2")).next("hello")
        frames, code = await refused("127.0.0.3")
        assert frames == [{"t": "bye", "after_ms": [0, 20_000], "why": "full"}]
        assert code == (4002 if open_stream is websocket else 200)

    await until(lambda: _is_admitted(open_stream, ask))


@each_stream
async def test_readers_count_while_their_blog_is_loading(
    small: Server, editor: Editor, blog: Any, open_stream: Open
) -> None:
    all_have_joined = asyncio.Barrier(8)

    async def first() -> str:
        async with open_stream(Target(small.url, blog["slug"])) as stream:
            frame = await stream.next()
            await all_have_joined.wait()
            return str(frame["t"])

    other = await editor.blog()
    await until(lambda: _is_admitted(open_stream, Target(small.url, other["slug"])))
    frames = await asyncio.gather(*(first() for _ in range(8)))
    assert sorted(frames) == ["bye"] * 6 + ["hello"] * 2


async def _is_admitted(open_stream: Open, ask: Target) -> bool:
    async with open_stream(ask) as stream:
        return bool((await stream.next())["t"] == "hello")


# -- an unreachable store


@pytest.fixture
def running_own_store(own_store: StoreProcess) -> StoreProcess:
    own_store.start()
    return own_store


@pytest.fixture(params=["direct", "portable"])
def alone(
    request: pytest.FixtureRequest, own_store: StoreProcess, tmp_path: Path
) -> Iterator[Server]:
    """Yield a server on a store that may be unreachable when the server starts."""
    with serving(
        tmp_path / "server.log",
        path="/healthz",
        command=COMMANDS[request.param],
        REDIS_URL=own_store.url,
        LIVEBLOG_HEARTBEAT_S=str(HEARTBEAT_S),
    ) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with http() as one:
        yield one


async def test_blog_is_never_unknown_when_the_store_is_unreachable(
    own_store: StoreProcess, alone: Server, client: httpx2.AsyncClient
) -> None:
    assert (await client.get(f"{alone.url}/readyz")).json() == {
        "status": "starting",
        "store": "down",
    }
    assert alone.status("/readyz") == 503
    ask = Target(alone.url, "council")

    async def farewell(transport: str) -> tuple[list[Frame], int]:
        async with TRANSPORTS[transport](ask) as stream:
            return await stream.rest(), stream.code

    reading = asyncio.create_task(client.get(f"{alone.url}/blogs/council"))
    given = await asyncio.gather(*map(farewell, TRANSPORTS))
    page = await reading
    bye = {"t": "bye", "after_ms": [0, 20_000], "why": "store"}
    assert given == [([bye], 1013), ([bye], 200), ([], 503)]
    assert page.status_code == 503
    assert page.headers["retry-after"].isdigit()
    assert page.headers["cache-control"] == "no-store"
    own_store.start()
    await until(lambda: alone.status("/readyz") == 200)
    async with alone.editor() as editor:
        blog = await editor.blog()
    async with websocket(Target(alone.url, blog["slug"])) as stream:
        await stream.next("hello")


async def test_reading_goes_on_when_the_store_is_unreachable(
    running_own_store: StoreProcess, alone: Server, client: httpx2.AsyncClient
) -> None:
    await until(lambda: alone.status("/readyz") == 200)
    async with contextlib.AsyncExitStack() as stack:
        editor = await stack.enter_async_context(alone.editor())
        blog = await editor.blog()
        entry = await editor.publish(blog["slug"])
        ask = Target(alone.url, blog["slug"], since=entry["position"])
        streams = [await stack.enter_async_context(s(ask)) for s in STREAMS.values()]
        for stream in streams:
            await stream.next("hello")
        foreign = replace(ask, since="other.7.00000000")
        running_own_store.kill()
        await until(lambda: alone.get("/readyz") == {"status": "degraded", "store": "down"})
        assert alone.status("/readyz") == 200

        pages = f"{alone.url}/blogs/{blog['slug']}"
        for path in ("", f"/entries/{entry['id']}"):
            page = await client.get(pages + path)
            assert (page.status_code, entry["id"] in page.text) == (200, True)
        late = await missed(changes, replace(ask, since=blog["position"]))
        assert late["position"] == entry["position"]
        answers = await asyncio.gather(
            editor("POST", f"/{blog['slug']}/entries", {"body": "Later."}),
            client.get(foreign.path("changes")),
            client.get(f"{pages}?at=other.7.00000000"),
        )
        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["retry-after"].isdigit()
            assert "no-store" in answer.headers["cache-control"]
        waiting = [await stack.enter_async_context(s(foreign)) for s in STREAMS.values()]
        for stream in waiting:
            assert (await stream.get())["position"] == "other.7.00000000"
            beat = await stream.get()
            assert (beat["t"], beat["position"]) == ("beat", None)
        for stream in streams:
            assert (await stream.get())["t"] == "beat"

        running_own_store.start()
        for stream in waiting:
            frames = await stream.rest()
            assert [frame["t"] for frame in frames] == ["reset"]
        published = await until(lambda: _published(editor, blog["slug"]))
        for stream in streams:
            assert (await stream.next("changes"))["position"] == published["position"]
        await until(lambda: alone.get("/readyz") == {"status": "ready", "store": "up"})


async def _published(editor: Editor, slug: str) -> Any:
    answer = await editor("POST", f"/{slug}/entries", {"body": "Back."})
    return answer.json() if answer.is_success else None
