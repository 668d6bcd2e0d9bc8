"""A store that refuses writes, hangs or changes its settings: what a server shows, and what it answers.

`make real` measures all conditions of kit/conditions.py on Valkey and Redis, in Chromium too.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.conditions import (
    CONDITIONS,
    UP,
    Condition,
    Conditioned,
    conditioned,
    says_desk,
    says_log,
    says_metric,
    says_ready,
)
from kit.contents import contents
from kit.servers import Editor, Server, http, serving
from kit.waiting import until
from kit.windows import PASSWORD, add_editor

from liveblog.blog.instant import format_time
from liveblog.clock import now_ms

FLAVOURS = ("redis",)
NAMED = {condition.name: condition for condition in CONDITIONS}
IN_SHORT = (
    *("memory full", "no channels", "no GET", "no HMGET", "appendfsync everysec"),
    *("keys may be evicted", "stopped"),
)


@pytest.fixture(scope="module")
def store(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conditioned]:
    with conditioned(tmp_path_factory.mktemp("conditions"), binary) as made:
        yield made


@pytest.fixture(scope="module")
def server(store: Conditioned) -> Iterator[Server]:
    settings = {"REDIS_URL": store.url, "LIVEBLOG_DURABILITY": "disk"}
    with serving(store.directory / "server.log", **settings) as made:
        yield made


@pytest.fixture
async def editor(server: Server) -> AsyncIterator[Editor]:
    async with server.editor() as made:
        yield made


@pytest.fixture
async def admin(store: Conditioned) -> AsyncIterator[Any]:
    """An administrator's client of the store, on the event loop of the test."""
    async with store.client() as made:
        yield made


async def suffer(store: Conditioned, server: Server, name: str) -> Condition:
    """Bring the store into a condition, and wait until the server shows it."""
    await NAMED[name].begin(store)
    await until(lambda: says_ready(server, NAMED[name]))
    return NAMED[name]


async def recover(store: Conditioned, server: Server, condition: Condition) -> None:
    await condition.end(store)
    await until(lambda: says_ready(server, UP))


def refusals_logged(server: Server, since: int) -> int:
    return len(re.findall(r"refuses writes|refused", server.said()[since:]))


@pytest.mark.parametrize("name", IN_SHORT)
async def test_server_shows_a_condition_of_its_store_and_its_end(
    store: Conditioned, server: Server, editor: Editor, admin: Any, name: str
) -> None:
    slug, since = (await editor.blog())["slug"], len(server.said())
    condition = await suffer(store, server, name)
    await until(lambda: says_metric(server, condition) and says_desk(server, slug, condition))
    await until(lambda: says_log(server, condition, since))
    if condition.is_refusal:
        before = await contents(admin)
        answers = [editor("POST", f"/{slug}/entries", {"body": f"Number {n}."}) for n in range(30)]
        kinds = {answer.json()["type"] for answer in await asyncio.gather(*answers)}
        assert kinds == {"/problems/store-refuses"}
        assert await contents(admin) == before
        assert refusals_logged(server, since) == 1
    await recover(store, server, condition)
    await until(lambda: says_metric(server, UP) and says_desk(server, slug, UP))
    assert (await editor.publish(slug))["status"] == "published"


async def test_a_stored_call_is_never_denied_when_its_repetition_is_refused(
    store: Conditioned, server: Server, editor: Editor
) -> None:
    slug = (await editor.blog())["slug"]
    sent = {"body": "The council votes."}
    key = {"idempotency_key": "k1"}
    first = await editor("POST", f"/{slug}/entries", sent, **key)
    for name in ("memory full", "no PUBLISH", "no GET", "appendfsync everysec"):
        condition = await suffer(store, server, name)
        again = await editor("POST", f"/{slug}/entries", sent, **key)
        other = await editor("POST", f"/{slug}/entries", sent, idempotency_key="k2")
        await recover(store, server, condition)
        # The store answers a repetition when the call itself needs no forbidden command.
        assert again.is_success or again.json()["type"] == "/problems/store-down"
        assert other.json()["type"] == "/problems/store-refuses"
    again = await editor("POST", f"/{slug}/entries", sent, **key)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await editor.entries(slug)) == 1


@pytest.mark.parametrize("name", ["read-only replica", "memory full"])
async def test_signed_in_editor_reads_the_desk_when_the_store_refuses_writes(
    store: Conditioned, server: Server, editor: Editor, name: str
) -> None:
    slug = (await editor.blog())["slug"]
    form = {"name": f"dana of {slug}", "password": PASSWORD}
    await add_editor(server, form["name"])
    async with http(base_url=server.url, headers={"origin": server.url}) as browser:
        assert (await browser.post("/desk/sign-in", data=form)).status_code == 303
        condition = await suffer(store, server, name)
        desk = await browser.get(f"/desk/blogs/{slug}")
        refused = await browser.post(f"/desk/blogs/{slug}/entries", data={"body": "My words"})
        browser.cookies.clear()
        sign_in = await browser.post("/desk/sign-in", data=form)
        page = server.status(f"/blogs/{slug}")
        await recover(store, server, condition)
    assert (desk.status_code, page) == (200, 200)
    assert (refused.status_code, "My words" in refused.text) == (503, True)
    assert condition.sentence in refused.text
    assert sign_in.status_code == 503
    assert "Signing in is unavailable right now" in sign_in.text


async def test_publishing_goes_on_when_the_store_forbids_only_subscriptions(
    store: Conditioned, server: Server, editor: Editor
) -> None:
    slug = (await editor.blog())["slug"]
    since = len(server.said())
    condition = await suffer(store, server, "no SUBSCRIBE")
    await until(lambda: says_log(server, condition, since))
    scheduled = await until(lambda: schedule_soon(editor, slug))
    entry = await editor.publish(slug)

    async def all_published() -> bool:
        ids = {it["id"] for it in await editor.entries(slug)}
        return ids == {scheduled["id"], entry["id"]}

    await until(all_published)
    assert server.get(f"/desk/blogs/{slug}/store")["cause"] == "subscriptions"
    await recover(store, server, condition)


async def schedule_soon(editor: Editor, slug: str) -> Any:
    """Schedule an entry; return None when its time had passed before the call arrived."""
    fields = {"body": "Soon.", "publish_at": format_time(now_ms() + 300)}
    answer = await editor("POST", f"/{slug}/entries", fields)
    assert answer.is_success or "is in the past" in answer.text
    return answer.json() if answer.is_success else None
