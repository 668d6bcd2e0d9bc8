"""The pages of the home page: which requests wait for which reads."""

import asyncio
from typing import Any

from kit.alone import Seconds
from kit.sources import FakeStore, make_hub
from kit.virtual import in_virtual_time
from starlette.requests import Request
from starlette.routing import Route

from liveblog.html.pages import Pages
from liveblog.pages import page
from liveblog.settings import Settings


def asked(query: str = "") -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


@in_virtual_time
async def test_home_page_is_answered_while_pages_after_invented_blogs_are_read() -> None:
    read: list[str | None] = []

    class Source(FakeStore):
        async def front(self, before: str | None, limit: int) -> Any:
            assert limit
            read.append(before)
            await asyncio.sleep(1 if before else 0.01)
            return [], None

    hub = make_hub(Source(), Seconds())
    [home, *_] = page.routes(hub, Settings(), Pages())
    assert isinstance(home, Route)
    flood = [asyncio.create_task(home.endpoint(asked(f"before=b{n}"))) for n in range(5)]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(0.1):
        first = await asyncio.gather(*(home.endpoint(asked()) for _ in range(3)))
    assert len(set(map(id, first))) == 1
    assert read == ["b0", None]  # one read of the first page, and one of the others at a time
    await asyncio.gather(*flood)
    assert len(read) == 6
