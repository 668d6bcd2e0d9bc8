"""The composed application: failing parts, error answers, headers, and its store at the start."""

import asyncio
import gc
import os
import re
import signal
import weakref
from typing import Any

import pytest
from kit.virtual import in_virtual_time
from kit.waiting import until
from starlette.testclient import TestClient

from liveblog import app, process
from liveblog.blog.problem import UnusableStore
from liveblog.commands import serve
from liveblog.html import environment
from liveblog.pages import assets
from liveblog.process import Worker
from liveblog.settings import Settings, static_dir


async def test_worker_ends_as_failed_when_a_part_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))

    async def fail() -> None:
        raise LookupError("broken")

    made = Worker()
    async with made.running(fail()):
        await until(lambda: made.has_failed)
    assert sent == [(os.getpid(), signal.SIGTERM)]


async def test_worker_has_not_failed_when_a_part_is_cancelled() -> None:
    made = Worker()
    async with made.running(asyncio.sleep(60)):
        pass
    assert not made.has_failed


def test_app_redirects_on_this_site_when_a_path_ends_with_slashes() -> None:
    made = app.create_app(Settings(redis_url="unix:///nowhere/store.sock"))
    client = TestClient(made, base_url="http://evil.example", follow_redirects=False)
    for path, place in (
        ("/desk/?next=/desk", "/desk?next=/desk"),
        ("/blogs/vote/", "/blogs/vote"),
        ("/blogs/a%0Ab//", "/blogs/a%0Ab"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, place)
        assert answer.headers["cache-control"] == "no-store"
    for path in ("/nothing/", "/blogs/vote/x/", "http://a//evil.example/", "http://a//desk/"):
        assert client.get(path).status_code == 404
    assert client.post("/desk/sign-out/").status_code == 404


async def test_serve_refuses_disk_durability_when_the_store_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "STORE_TRIES", 1)
    with pytest.raises(UnusableStore, match="appendfsync always"):
        await serve._log_promise("unix:///nowhere/store.sock", "disk")


async def test_serve_starts_with_store_durability_when_the_store_is_unreachable() -> None:
    await serve._log_promise("unix:///nowhere/store.sock", "store")


def test_every_answer_has_the_security_headers_even_after_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise LookupError("broken")

    monkeypatch.setattr("liveblog.html.pages.Pages.message", broken)
    made = app.create_app(Settings(redis_url="unix:///nowhere/store.sock"))
    client = TestClient(made, raise_server_exceptions=False)
    for path, status in (("/healthz", 200), ("/api/nothing", 404), ("/nothing", 500)):
        answer = client.get(path)
        assert answer.status_code == status
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-site"
        assert "geolocation=()" in answer.headers["permissions-policy"]
        assert "strict-transport-security" not in answer.headers
    assert answer.json()["type"] == "/problems/fault"
    assert answer.json()["detail"] == "Internal server error. It has been logged."


def test_answers_ask_browsers_to_stay_on_https_when_they_came_by_https() -> None:
    made = app.create_app(Settings(redis_url="unix:///nowhere/store.sock"))
    client = TestClient(made, base_url="https://live.example")
    style = re.findall(r'href="([^"]+\.css)"', client.get("/nothing").text)[0]
    for path in ("/healthz", "/nothing", style):
        answer = client.get(path)
        assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000"]
    known = client.get(style, headers={"if-none-match": answer.headers["etag"]})
    assert (known.status_code, known.headers["strict-transport-security"]) == (
        304,
        "max-age=31536000",
    )


@in_virtual_time
async def test_collector_frees_old_reference_cycles_every_minute() -> None:
    class Left:
        itself: "Left"

    gc.disable()  # Python's automatic collection must not free the cycle first
    try:
        left = Left()
        left.itself = left
        is_there = weakref.ref(left)
        del left
        collecting = asyncio.create_task(process.collect())
        await asyncio.sleep(process.COLLECT_EVERY_S - 1)
        assert is_there()
        await asyncio.sleep(2)
        assert not is_there()
        collecting.cancel()
    finally:
        gc.enable()


def test_data_addresses_are_reachable_and_secure_when_the_worker_serves_tls() -> None:
    settings = Settings(host="0.0.0.0", tls_cert="cert", tls_key="key")
    assert app._hub_settings(settings, "").base_url == "https://127.0.0.1:8000"


def test_the_version_is_of_templates_styles_and_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    first, files = app._release()
    assert app._release()[0] == first
    assert re.fullmatch("[0-9a-f]{8}", first)
    static, markup = assets.read(static_dir()), environment.sources()
    monkeypatch.setattr(assets, "read", lambda _: {**static, "css/page.css": b"p{}"})
    styled, other = app._release()
    monkeypatch.setattr(environment, "sources", lambda: {**markup, "reader/blog.html": b"<main>"})
    marked, _ = app._release()
    assert len({first, styled, marked}) == 3
    assert files.prefix != other.prefix
