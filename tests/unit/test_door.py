"""The door: which pages may stream, what is logged, and what their scripts may read."""

import pytest
from kit.sources import FakeStore, make_hub

from liveblog.live.door import BAD_ORIGIN, Door, read_request
from liveblog.origin import Page, Site
from liveblog.seldom import Seldom

SITE = Site("https://live.example", ("https://*.news.example", "null"))


async def test_refused_origins_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    door = Door(make_hub(FakeStore()), SITE, refusals=Seldom(lambda: 0.0))
    for origin in ("https://evil.example", "https://other.example"):
        refused = door.refusal(read_request("a", b"", {}, Page(origin, "", ("inner:8000",)), ""))
        assert refused
        assert refused.code == BAD_ORIGIN
    [line] = caplog.messages
    assert line == (
        "stream refused: origin 'https://evil.example' is none of 'inner:8000',"
        " 'https://live.example'; set PUBLIC_URL if it is this site's own address,"
        " or LIVEBLOG_ALLOWED_ORIGINS if it is another site's"
    )


async def test_scripts_of_listed_origins_read_answers() -> None:
    door = Door(make_hub(FakeStore()), SITE)
    for origin in ("https://live.example", "https://sport.news.example", "null"):
        assert door.cors(origin) == {"vary": "Origin", "access-control-allow-origin": origin}
    for origin in ("", "https://news.example", "http://live.example", "*"):
        assert door.cors(origin) == {"vary": "Origin"}
    assert Door(door.hub).cors("null") == {}
