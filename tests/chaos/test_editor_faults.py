"""Editors' faults: one publish request sent many times, and two edits of one revision."""

import asyncio
from typing import Any

import httpx2
import pytest
from kit.servers import http
from kit.stage import Show, Stage
from kit.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 40


async def headers_of(stage: Stage) -> dict[str, str]:
    return {"authorization": f"Bearer {await stage.servers[0].token()}"}


async def tried(call: Any) -> httpx2.Response | None:
    """Await a call and return its answer; None when its outcome is unknown."""
    try:
        answer: httpx2.Response = await call
    except httpx2.HTTPError:
        return None
    return None if answer.status_code == 503 else answer


async def test_publish_makes_one_entry_when_sent_40_times_with_one_key(stage: Stage) -> None:
    async with stage.play("one publish sent 40 times at once with one key") as show:
        headers = await headers_of(stage)
        lost = sum(proxy.answers_lost for proxy in stage.proxies)
        async with http(headers=headers) as client:
            for number in range(5):
                answers = await storm(stage, show, client, number)
                first = answers[0].json()
                assert {answer.json()["position"] for answer in answers} == {first["position"]}
                replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
                # The header marks the answer to a repeated call. Only the first answer lacks
                # the header, and the first answer may have been lost.
                assert replayed.count(None) <= 1
                show.newsroom.note_by_hand(first)
        assert sum(proxy.answers_lost for proxy in stage.proxies) - lost >= 5
        show.over()
        await show.converged()
        bodies = [record.get("body") or "" for record in show.kept.entries().values()]
        made = [body for body in bodies if body.startswith("storm")]
        assert len(made) == len(set(made)) == 5
    assert show.reconnects() == 0


async def storm(
    stage: Stage, show: Show, client: httpx2.AsyncClient, number: int
) -> list[httpx2.Response]:
    """Send one publish request 40 times with one key; return the answers that arrived.

    Meanwhile the proxies lose some of the store's answers, and cut all connections to the store.
    """
    body = {"body": f"storm{number}-1 the same."}
    key = {"idempotency-key": f"{show.slug}-{number}"}
    lost = [proxy.answers_lost for proxy in stage.proxies]
    for proxy in stage.proxies:
        for _ in range(2):  # the server retries a call to the store once: lose both answers
            proxy.lose_next_answer(body["body"].encode())
    sent = [
        asyncio.create_task(
            tried(
                client.post(
                    f"{stage.servers[turn % 2].url}/api/blogs/{show.slug}/entries",
                    json=body,
                    headers=key,
                )
            )
        )
        for turn in range(AT_ONCE)
    ]
    await until(lambda: [proxy.answers_lost for proxy in stage.proxies] != lost)
    for proxy in stage.proxies:
        proxy.cut()
    known = [answer for answer in await asyncio.gather(*sent) if answer]
    assert known
    assert all(answer.status_code == 201 for answer in known)
    return known


async def test_editor_gets_the_others_text_when_two_save_one_revision(
    stage: Stage,
) -> None:
    async with stage.play("two editors save the same revision") as show:
        headers = await headers_of(stage)
        async with http(headers=headers) as client, stage.servers[0].editor() as editor:
            entry = await editor.publish(show.slug, "shared-0 to begin with.")
            show.newsroom.note_by_hand(entry)
            for number in range(1, 16):
                entry = await both_save(stage, show, client, entry, number)
        show.over()
    assert show.reconnects() == 0


async def both_save(
    stage: Stage, show: Show, client: httpx2.AsyncClient, entry: Any, number: int
) -> Any:
    """Edit one revision through both servers at once; return the entry of the edit that won."""

    def save(turn: int) -> Any:
        server = stage.servers[turn]
        path = f"{server.url}/api/blogs/{show.slug}/entries/{entry['id']}"
        body = {"body": f"shared-{number}.{turn} of two."}
        return client.patch(path, json=body, headers={"if-match": f'"{entry["revision"]}"'})

    answers = await asyncio.gather(save(0), save(1))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    done = next(answer.json() for answer in answers if answer.is_success)
    refused = next(answer.json() for answer in answers if not answer.is_success)
    assert refused["current"]["body"] == done["body"]
    assert done["revision"] == entry["revision"] + 1
    show.newsroom.note_by_hand(done)
    return done
