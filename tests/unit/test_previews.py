"""Previews on the desk: the boxes of its forms as readers would see them, and the reasons."""

import asyncio
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from liveblog.blog.model import Blog, Caller, Entry, Position
from liveblog.blog.problem import Problem, not_found
from liveblog.blog.timeline import Snapshot
from liveblog.editors import previews
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.previews import Previews
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.editors.results import BlogResult
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

BLOG = Blog(slug="moon", title="The Moon", dek="Old dek", timezone="Europe/Berlin", status="live")
NOW_MS = 1_782_921_600_000


class Sessions(Accounts):
    """Accounts in which a session's secret is the user's name: dana edits, cleo contributes."""

    def __init__(self) -> None:
        pass

    async def session_caller(self, secret: str) -> Caller | None:
        role: Any = {"dana": "editor", "cleo": "contributor"}[secret]
        return Caller(f"user:{secret}", role)


class OneBlog:
    """Publishing with the blog `moon` alone, which fails at every write."""

    async def blog(self, caller: Caller, slug: str) -> BlogResult:
        if slug != "moon":
            raise not_found()
        return BlogResult(BLOG, Position("k3xq9a", 7, "9f2c01ab"))


async def nothing(slug: str) -> None:
    """Return no blog: these previews need none."""


def preview(who: str = "dana", slug: str = "moon", **boxes: str) -> Any:
    publishing = cast(Publishing, OneBlog())
    gate = Gate(Sessions(), Settings(), Pages(), Problems(), all_bodies())
    made = Previews(publishing, nothing, lambda: NOW_MS)
    routes = previews.routes(gate, made, publishing, Pages())
    headers = {"sec-fetch-site": "same-origin"}
    with TestClient(Starlette(routes=routes), cookies={"liveblog": who}) as client:
        return client.post(f"/desk/blogs/{slug}/preview", data=boxes, headers=headers)


def test_preview_shows_the_composers_boxes_as_an_entry() -> None:
    boxes = {"headline": "Lift-off", "body": "We **have** it", "byline": "Ann", "key": "true"}
    answer = preview(kind="entry", idempotency_key="k", **boxes)
    html = answer.json()["html"]
    assert answer.status_code == 200
    assert html.startswith("<article")
    assert "<strong>have</strong>" in html
    assert "Key event" in html


def test_preview_shows_a_scheduled_and_a_retracted_entry() -> None:
    later = preview(kind="entry", body="Soon", publish_at="2099-01-01T12:00").json()["html"]
    assert "Soon" in later
    gone = preview(kind="entry", body="Gone", status="retracted", note="Wrong").json()["html"]
    assert "<strong>Retracted</strong>" in gone


def test_preview_shows_the_altered_boxes_of_the_header() -> None:
    boxes = {"title": "Mars", "title_was": "The Moon", "dek": "Old", "dek_was": "Old"}
    html = preview(kind="header", **boxes).json()["html"]
    assert "Mars" in html
    assert "Old dek" in html


@pytest.mark.parametrize(
    ("boxes", "status", "box"),
    [
        ({"kind": "entry"}, 422, "body"),
        ({"kind": "entry", "body": "x" * 20_001}, 422, "body"),
        ({"kind": "header", "title": "", "title_was": "x"}, 422, "title"),
        ({"kind": "other", "body": "x"}, 422, "kind"),
        ({"kind": "header", "dek": "x", "who": "cleo"}, 403, ""),
        ({"kind": "entry", "body": "x", "slug": "mars"}, 404, ""),
    ],
)
def test_preview_is_rejected_with_the_reasons(boxes: dict[str, str], status: int, box: str) -> None:
    answer = preview(**boxes)
    assert (answer.status_code, [*answer.json()["boxes"]]) == (status, [box] if box else [])
    assert answer.json()["reason"].endswith(".")


async def test_whole_preview_is_429_while_another_one_is_loaded_or_rendered() -> None:
    loads: list[str] = []

    async def load(slug: str) -> Snapshot:
        loads.append(slug)
        await asyncio.sleep(0)
        entries = [Entry(id=f"e{n:012d}", body_html=f"<p>{n}</p>", order=n) for n in range(1, 99)]
        return Snapshot(Position("k3xq9a", 7, "9f2c01ab"), 7, 0, "9f2c01ab", BLOG, entries)

    previewing = Previews(cast(Publishing, OneBlog()), load, lambda: NOW_MS)
    calls = [previewing.whole(Caller(who, "editor"), "moon", Pages()) for who in ("a", "a", "b")]
    first, second, other = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, str)
    assert "<p>98</p>" in first
    assert isinstance(second, Problem)
    assert (second.status, second.retry_after_s) == (429, 1)
    assert other == first
    assert len(loads) == 2
