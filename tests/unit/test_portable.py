"""live/portable.py, the streams for any ASGI server, on an ASGI server in memory."""

import asyncio
from typing import Any

from kit.sources import SLUG, FakeStore, Past, make_hub
from kit.virtual import in_virtual_time

from liveblog.live import portable
from liveblog.live.door import GONE, Door, read_request
from liveblog.live.portable import EventStream
from liveblog.origin import Page

SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}


@in_virtual_time
async def test_event_stream_ends_its_answer_when_its_reader_takes_nothing() -> None:
    """If the application did not end its answer, the ASGI server would log an error."""
    past = Past()
    past.publish()
    door = Door(make_hub(FakeStore(past)))
    live = await door.hub.live(SLUG)
    assert live
    parts: list[Any] = []
    is_lost = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await is_lost.wait()  # a full buffer
        parts.append(message)

    async def receive() -> Any:
        return await asyncio.get_running_loop().create_future()

    stream = EventStream(door, live, read_request(SLUG, b"", {}, Page(""), ""), {})
    serving = asyncio.create_task(stream(SCOPE, receive, send))
    await asyncio.sleep(1)
    (reader,) = live.roster.behind
    live.roster.abort(reader)
    await asyncio.sleep(portable.FREED_S / 2)
    assert not serving.done()
    is_lost.set()
    await serving
    assert parts[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert door.closes == {GONE: 1}
