"""What the whole program does when a part of it fails."""

import asyncio
import gc
import os
import signal
import weakref
from typing import Any

import pytest
from kit.virtual import in_virtual_time
from starlette.testclient import TestClient

from liveblog import app
from liveblog.commands import main as cli
from liveblog.settings import Settings
from liveblog.store import embedded as store


async def test_a_part_that_must_always_run_and_fails_ends_the_worker_as_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))

    async def fail() -> None:
        raise LookupError("broken")

    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    app._end_if_failed(task)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert app.failed.is_set()
    app.failed.clear()


async def test_a_part_that_is_cancelled_has_not_failed() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await asyncio.wait({task})
    app._end_if_failed(task)
    assert not app.failed.is_set()


def test_an_address_with_a_slash_too_many_leads_to_the_right_one_on_this_site() -> None:
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


async def test_with_disk_durability_a_store_that_cannot_be_seen_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "STORE_TRIES", 1)
    with pytest.raises(store.StoreError, match="appendfsync always"):
        await cli._state_promise("unix:///nowhere/store.sock", "disk")


async def test_with_store_durability_serving_begins_before_the_store_is_there() -> None:
    await cli._state_promise("unix:///nowhere/store.sock", "store")


def test_every_answer_has_the_security_headers_that_of_a_fault_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(**_: Any) -> str:
        raise LookupError("broken")

    monkeypatch.setattr("liveblog.html.render.message_html", broken)
    made = app.create_app(Settings(redis_url="unix:///nowhere/store.sock"))
    client = TestClient(made, raise_server_exceptions=False)
    for path, status in (("/healthz", 200), ("/api/nothing", 404), ("/nothing", 500)):
        answer = client.get(path)
        assert answer.status_code == status
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["type"] == "/problems/fault"


@in_virtual_time
async def test_what_failures_leave_in_cycles_is_freed_also_when_it_is_old() -> None:
    class Left:
        itself: "Left"

    gc.disable()  # the collector itself would come to it in many minutes
    try:
        left = Left()
        left.itself = left
        is_there = weakref.ref(left)
        del left
        collecting = asyncio.create_task(app._collect())
        await asyncio.sleep(app.COLLECT_EVERY_S - 1)
        assert is_there()
        await asyncio.sleep(2)
        assert not is_there()
        collecting.cancel()
    finally:
        gc.enable()


def test_data_addresses_are_reachable_and_secure_when_the_worker_serves_tls() -> None:
    settings = Settings(host="0.0.0.0", tls_cert="cert", tls_key="key")
    assert app._rules(settings).base_url == "https://127.0.0.1:8000"
