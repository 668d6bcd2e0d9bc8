"""Pastes on the desk: the answers, the limits, and turns of one call for each editor."""

import asyncio
import threading
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from liveblog.blog.fields import BODY_BYTES_MAX
from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem
from liveblog.editors import pasting, turns
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.problems import Problems
from liveblog.editors.turns import Turns
from liveblog.html.clipboard import TEXT_MAX
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts


class OneSession(Accounts):
    """Accounts with one user, dana, whose session's secret is her name."""

    def __init__(self) -> None:
        pass

    async def check_store(self) -> None:
        pass

    async def session_caller(self, secret: str) -> Caller | None:
        return Caller("user:dana", "editor") if secret == "dana" else None


def paste(session: str = "dana", **boxes: str) -> Any:
    gate = Gate(OneSession(), Settings(), Pages(), Problems(), all_bodies())
    routes = pasting.routes(gate)
    headers = {"sec-fetch-site": "same-origin"}
    cookies = {"liveblog": session} if session else {}
    with TestClient(Starlette(routes=routes), cookies=cookies, follow_redirects=False) as client:
        return client.post("/desk/paste", data=boxes, headers=headers)


def test_paste_answers_with_markdown() -> None:
    answer = paste(html="<p>a <b>b</b></p>", text="a b")
    assert (answer.status_code, answer.json()) == (200, {"markdown": "a **b**"})
    assert answer.headers["cache-control"] == "no-store"
    assert paste(text="a\tb\nc\td").json()["markdown"] == "| a | b |\n| --- | --- |\n| c | d |"
    assert paste(text="a").json() == {"markdown": "a"}


@pytest.mark.parametrize(
    ("html", "status"), [("x" * BODY_BYTES_MAX, 413), ("a " * TEXT_MAX, 422), ("<b>" * 500, 422)]
)
def test_paste_is_rejected_with_a_reason_when_it_is_too_much(html: str, status: int) -> None:
    answer = paste(html=html)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "too much to paste" in answer.json()["reason"]


def test_paste_needs_a_session() -> None:
    assert paste("", html="<p>a</p>").status_code in (303, 401)


async def test_turns_run_one_call_of_an_editor_at_a_time() -> None:
    here, go = Turns("test"), threading.Event()
    first = asyncio.create_task(here.run("dana", go.wait, 30))
    other = asyncio.create_task(here.run("zoe", lambda: "done"))
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="still running") as raised:
        await here.run("dana", lambda: None)
    assert (raised.value.status, raised.value.retry_after_s) == (429, 1)
    go.set()
    assert await first
    assert await other == "done"
    assert await here.run("dana", lambda: "again") == "again"


async def test_turns_are_503_when_too_many_editors_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "CALLERS_MAX", 1)
    here, go = Turns("test"), threading.Event()
    first = asyncio.create_task(here.run("dana", go.wait, 30))
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="Too many editors") as raised:
        await here.run("zoe", lambda: None)
    go.set()
    assert raised.value.status == 503
    assert await first
