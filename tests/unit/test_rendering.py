"""Markdown is rendered off the event loop, with limits on the HTML and on the text that waits."""

import asyncio
import threading

import pytest
from kit.waiting import until

from liveblog.blog.fields import HTML_BYTES_MAX
from liveblog.blog.problem import Problem
from liveblog.editors import rendering
from liveblog.editors.rendering import Renderer


async def test_renderer_returns_html_and_none_for_an_empty_field() -> None:
    renderer = Renderer()
    assert "<strong>" in (await renderer.html("**Vote**", "/body") or "")
    assert await renderer.html(None, "/body") is None
    assert await renderer.html("", "/body") is None


async def test_renderer_refuses_text_when_its_html_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("liveblog.html.markdown.to_html", lambda text: text * 9)
    with pytest.raises(Problem) as caught:
        await Renderer().html("ä" * 10_000, "/summary")
    [(pointer, detail)] = caught.value.errors
    assert (caught.value.status, pointer) == (422, "/summary")
    assert str(HTML_BYTES_MAX) in detail


async def test_renderer_is_busy_when_too_much_text_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(rendering, "RENDERED_AT_ONCE_MAX", 15)
    monkeypatch.setattr("liveblog.html.markdown.to_html", lambda _: str(go_on.wait(20)))
    renderer = Renderer()
    waiting = [asyncio.create_task(renderer.html("Text.", "/body")) for _ in range(4)]
    await until(waiting[3].done)
    assert [task.done() for task in waiting] == [False, False, False, True]
    with pytest.raises(Problem, match="waiting") as caught:
        await waiting[3]
    assert (caught.value.status, caught.value.name, caught.value.retry_after_s) == (503, "busy", 1)
    go_on.set()
    assert await asyncio.gather(*waiting[:3]) == ["True"] * 3
    assert await renderer.html("x" * 15, "/body")


async def test_renderer_admits_text_again_when_rendering_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> str:
        raise ValueError("a fault")

    monkeypatch.setattr(rendering, "RENDERED_AT_ONCE_MAX", 5)
    monkeypatch.setattr("liveblog.html.markdown.to_html", fail)
    renderer = Renderer()
    for _ in range(2):
        with pytest.raises(ValueError, match="a fault"):
            await renderer.html("Text.", "/body")
