"""Kept texts: limits, order, erasure by a takedown, and the calls of the desk's scripts."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import orjson
import pytest
from kit.people import Clock, cheapen_hashes
from redis.asyncio import Redis
from starlette.applications import Starlette

from liveblog.blog.model import SYSTEM
from liveblog.blog.problem import StoreRefuses
from liveblog.clock import now_ms
from liveblog.editors import kept
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.kept import KEPT_MAX, KEPT_MS, Kept, KeptText, KeptTexts, Place
from liveblog.store.nodes import One

SLUG = "moon"
TAB, OTHER_TAB = "a" * 16, "b" * 16
DANA, ZOE = "user:dana", "user:Zoë"
PASSWORD = "correct horse battery"
SECRET = "A secret that must not stay"


def text(body: str, typed_at: int, base: int | None = None) -> Kept:
    return Kept({"body": body, "byline": ["Ann", "Davis, Jr."]}, typed_at, base, "k1")


def place(form: str = "new", tab: str = TAB, editor: str = DANA) -> Place:
    return Place(SLUG, editor, form, tab)


@pytest.fixture
async def broker(store_client: Redis) -> Broker:
    """A broker whose store has the blog `moon`."""
    made = Broker(One(store_client))
    await Publishing(made, now_ms).create_blog(SYSTEM, {"slug": SLUG, "title": "The Moon"})
    return made


@pytest.fixture
def texts(broker: Broker) -> KeptTexts:
    return broker.kept


async def entry(broker: Broker, **fields: object) -> str:
    """Return the id of a new entry."""
    made = await Publishing(broker, now_ms).create_entry(SYSTEM, SLUG, {"body": "A", **fields})
    return made.entry.id


async def remains(store: Redis) -> list[str]:
    """Return the keys of all kept texts and of their indexes."""
    return sorted([it.decode() async for it in store.scan_iter("lb:{moon}:kept*")])


# -- the store


async def test_text_is_kept_for_its_tab_and_editor_alone(texts: KeptTexts) -> None:
    assert await texts.keep(place(), text("One", 5))
    assert await texts.one(place()) == text("One", 5)
    for other in (place("header"), place(tab=OTHER_TAB), place(editor=ZOE)):
        assert await texts.one(other) is None
    assert await texts.all(SLUG, ZOE) == []
    assert await texts.all("mars", DANA) == []


async def test_older_text_changes_nothing_and_drops_nothing(texts: KeptTexts) -> None:
    await texts.keep(place(), text("New", 9))
    assert await texts.keep(place(), text("Old", 8))
    await texts.drop(place(), 8)
    assert await texts.one(place()) == text("New", 9)
    await texts.keep(place(), text("Same time", 9))
    assert await texts.one(place()) == text("Same time", 9)
    await texts.drop(place(), 9)
    assert await texts.one(place()) is None
    assert await texts.all(SLUG, DANA) == []


@pytest.mark.parametrize("is_known", [True, False])
async def test_text_that_was_dropped_is_not_kept_again_by_a_late_call(
    texts: KeptTexts, *, is_known: bool
) -> None:
    if is_known:
        await texts.keep(place(), text("Sent", 5))
    await texts.drop(place(), 7)
    for late in (5, 6, 7):
        assert await texts.keep(place(), text("Late", late))
        assert await texts.one(place()) is None
    assert await texts.all(SLUG, DANA) == []
    await texts.keep(place(), text("Newer", 8))
    assert await texts.all(SLUG, DANA) == [KeptText("new", TAB, text("Newer", 8))]


async def test_list_of_texts_is_short_when_a_client_drops_in_invented_tabs(
    texts: KeptTexts, store_client: Redis
) -> None:
    for n in range(2 * KEPT_MAX):
        await texts.drop(place(tab=f"{n:016}"), n)
    [by] = await remains(store_client)
    assert await store_client.zcard(by) == KEPT_MAX
    assert 0 < await store_client.pttl(by) <= KEPT_MS
    for n in range(KEPT_MAX):
        await texts.keep(place(tab=f"{n:016}"), text("Text", 100 + n))
    assert len(await texts.all(SLUG, DANA)) == KEPT_MAX


async def test_foreign_members_hide_and_harm_no_text(
    broker: Broker, texts: KeptTexts, store_client: Redis
) -> None:
    id = await entry(broker)
    await texts.keep(place(id), text("One", 5))
    [by] = [it for it in await remains(store_client) if "kept-by" in it]
    for member in (b"foreign", b"new.a.b", b".x", b"\xff"):
        await store_client.zadd(by, {member: 9})
    assert [it.form for it in await texts.all(SLUG, DANA)] == [id]
    for n in range(KEPT_MAX):
        await texts.keep(place(tab=f"{n:016}"), text("Text", 100 + n))
    await texts.keep(place(id), text("One", 200))
    others = f"lb:{{{SLUG}}}:entries", f"lb:{{{SLUG}}}:blog"
    await store_client.sadd(f"lb:{{{SLUG}}}:kept-of:{id}", *others)
    await Publishing(broker, now_ms).delete_entry(SYSTEM, SLUG, id, takedown=True)
    assert await store_client.exists(*others) == 2
    assert id not in [it.form for it in await texts.all(SLUG, DANA)]


async def test_newest_texts_are_kept_when_there_are_too_many(
    texts: KeptTexts, store_client: Redis
) -> None:
    tabs = [f"{n:016}" for n in range(KEPT_MAX + 2)]
    for n, tab in enumerate(tabs):
        await texts.keep(place(tab=tab), text(f"Text {n}", 100 + n))
    await texts.keep(place(editor=ZOE), text("Hers", 1))
    found = await texts.all(SLUG, DANA)
    assert [it.tab for it in found] == tabs[:1:-1]
    assert [it.kept.values["body"] for it in found[:2]] == ["Text 21", "Text 20"]
    assert len(await remains(store_client)) == KEPT_MAX + 1 + 2
    assert await texts.keep(place("header", tab=tabs[0]), text("Older than all, sent late", 101))
    assert await texts.all(SLUG, DANA) == found
    assert len(await remains(store_client)) == KEPT_MAX + 1 + 2
    assert await texts.keep(place("header", tab=tabs[0]), text("Not the oldest", 103))
    assert (await texts.all(SLUG, DANA))[-1] == KeptText(
        "header", tabs[0], text("Not the oldest", 103)
    )
    assert len(await remains(store_client)) == KEPT_MAX + 1 + 2


async def test_text_expires_seven_days_after_it_was_kept(
    texts: KeptTexts, broker: Broker, store_client: Redis
) -> None:
    await texts.keep(place(await entry(broker)), text("One", 5))
    names = await remains(store_client)
    assert len(names) == 3
    for name in names:
        assert KEPT_MS - 60_000 < await store_client.pttl(name) <= KEPT_MS


async def test_list_of_an_entrys_texts_is_short_when_a_client_invents_tabs(
    texts: KeptTexts, broker: Broker, store_client: Redis
) -> None:
    id = await entry(broker)
    for n in range(3 * KEPT_MAX):
        await texts.keep(place(id, f"{n:016}"), text("Text", 100 + n))
    assert await store_client.scard(f"lb:{{{SLUG}}}:kept-of:{id}") == KEPT_MAX


async def test_texts_are_kept_in_the_place_of_those_that_a_takedown_erased(
    texts: KeptTexts, broker: Broker
) -> None:
    id = await entry(broker)
    tabs = [f"{n:016}" for n in range(KEPT_MAX)]
    for n, tab in enumerate(tabs):
        await texts.keep(place(id if n else "new", tab), text("Text", n))
    await Publishing(broker, now_ms).delete_entry(SYSTEM, SLUG, id, takedown=True)
    await texts.keep(place(tab=OTHER_TAB), text("Newer", 100))
    assert [it.tab for it in await texts.all(SLUG, DANA)] == [OTHER_TAB, tabs[0]]


async def test_text_is_refused_and_the_last_one_stays_when_the_store_is_full(
    texts: KeptTexts, store_client: Redis
) -> None:
    await texts.keep(place(), text("One", 5))
    await store_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreRefuses):
            await texts.keep(place(), text("Two", 6))
        assert [it.kept.values["body"] for it in await texts.all(SLUG, DANA)] == ["One"]
        await texts.drop(place(), 5)
        assert await texts.all(SLUG, DANA) == []
    finally:
        await store_client.config_set("maxmemory", 0)


async def test_text_is_kept_when_a_later_one_of_its_tab_has_expired(
    texts: KeptTexts, store_client: Redis
) -> None:
    await texts.keep(place(), text("By a clock of next year", 10**13))
    [name] = [it for it in await remains(store_client) if "kept-by" not in it]
    await store_client.delete(name)
    await texts.keep(place(), text("Newer", 5))
    assert await texts.one(place()) == text("Newer", 5)


@pytest.mark.parametrize("status", ["published", "draft"])
async def test_takedown_erases_the_texts_kept_for_its_entry(
    broker: Broker, texts: KeptTexts, store_client: Redis, status: str
) -> None:
    id, other = await entry(broker, status=status), await entry(broker)
    for editor, tab in ((DANA, TAB), (DANA, OTHER_TAB), (ZOE, TAB)):
        await texts.keep(place(id, tab, editor), text(SECRET, 5))
    await texts.keep(place(other), text("Other", 5))
    await Publishing(broker, now_ms).delete_entry(SYSTEM, SLUG, id)
    assert await texts.one(place(id)) == text(SECRET, 5)
    await Publishing(broker, now_ms).delete_entry(SYSTEM, SLUG, id, takedown=True)
    kept_for = [it for it in await remains(store_client) if id in it]
    assert kept_for == []
    assert [it.form for it in await texts.all(SLUG, DANA)] == [other]
    assert await texts.keep(place(id), text(SECRET, 6)) is False
    assert [it for it in await remains(store_client) if id in it] == []


async def test_takedown_succeeds_when_the_index_of_kept_texts_is_damaged(
    broker: Broker, store_client: Redis
) -> None:
    id = await entry(broker)
    await store_client.set(f"lb:{{moon}}:kept-of:{id}", "damage")
    gone = await Publishing(broker, now_ms).delete_entry(SYSTEM, SLUG, id, takedown=True)
    assert gone.takedown
    assert await remains(store_client) == []


async def test_text_is_not_kept_for_an_entry_that_never_was(texts: KeptTexts) -> None:
    assert await texts.keep(place("e" + "0" * 12), text("One", 5)) is False
    assert await texts.all(SLUG, DANA) == []


async def test_corrupt_text_hides_no_other(texts: KeptTexts, store_client: Redis) -> None:
    await texts.keep(place("header"), text("Whole", 5))
    await texts.keep(place(), text("Damaged", 6))
    [damaged] = [it for it in await remains(store_client) if ":kept:new" in it]
    await store_client.set(damaged, "{")
    assert [it.form for it in await texts.all(SLUG, DANA)] == ["header"]
    assert await texts.one(place()) is None


async def test_texts_are_kept_and_dropped_when_keys_have_another_type(
    texts: KeptTexts, broker: Broker, store_client: Redis
) -> None:
    id = await entry(broker)
    for work in ("keep", "list", "drop"):
        await texts.keep(place(id), text("Earlier", 4))
        for name in await remains(store_client):
            await store_client.delete(name)
            await store_client.hset(name, "another", "type")
        if work == "keep":
            await texts.keep(place(id), text("One", 5))
            assert [it.kept.values["body"] for it in await texts.all(SLUG, DANA)] == ["One"]
        elif work == "list":
            assert await texts.all(SLUG, DANA) == []
            assert await texts.one(place(id)) is None
        else:
            await texts.drop(place(id), 5)
            assert [it for it in await remains(store_client) if "kept-by" not in it] == []
            assert await texts.all(SLUG, DANA) == []


# -- the calls


class Desk(NamedTuple):
    """A browser in which dana is signed in, and its blogs."""

    client: httpx2.AsyncClient
    accounts: Accounts
    broker: Broker

    async def put(self, path: str, content: Any, **headers: str) -> httpx2.Response:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        return await self.client.put(f"/desk/blogs/{path}", content=body, headers=headers)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(f"/desk/blogs/{path}", headers=headers)

    async def delete(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.delete(f"/desk/blogs/{path}", headers=headers)


@pytest.fixture
async def at(
    broker: Broker, store_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    cheapen_hashes(monkeypatch)
    accounts = Accounts(One(store_client), Clock())
    await accounts.people.add("dana", PASSWORD, "editor", [SLUG])
    publishing = Publishing(broker, now_ms)
    await publishing.create_blog(SYSTEM, {"slug": "mars", "title": "Mars"})
    gate = Gate(accounts, Settings(), Pages(), Problems(), all_bodies())
    app = Starlette(routes=kept.routes(gate, broker.kept, publishing))
    caller = await accounts.check_password("dana", PASSWORD)
    assert caller
    transport = httpx2.ASGITransport(app, client=("192.0.2.1", 50_000))
    headers = {"sec-fetch-site": "same-origin"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://live.example", headers=headers
    ) as client:
        session = await accounts.open_session(caller)
        client.cookies.set("liveblog", session, domain="live.example")
        yield Desk(client, accounts, broker)


SENT: dict[str, Any] = {
    "values": {"body": "One", "byline": ["Ann", "Davis, Jr."]},
    "base": None,
    "key": "k1",
    "typed_at": 7,
}
AT = f"{SLUG}/kept/new/{TAB}"


async def test_script_keeps_reads_lists_and_drops_a_text(at: Desk) -> None:
    kept = await at.put(AT, SENT, **{"liveblog-editor": "user%3Adana"})
    assert (kept.status_code, kept.content) == (204, b"")
    id = await entry(at.broker)
    later = {**SENT, "base": 3, "typed_at": 8}
    assert (await at.put(f"{SLUG}/kept/{id}/{TAB}", later)).status_code == 204
    found = await at.get(AT)
    assert (found.json(), found.headers["cache-control"]) == (SENT, "no-store")
    listed = (await at.get(f"{SLUG}/kept")).json()
    assert listed == {
        "kept": [{"form": id, "tab": TAB, **later}, {"form": "new", "tab": TAB, **SENT}]
    }
    assert (await at.delete(f"{AT}?typed_at=6")).status_code == 204
    assert (await at.get(AT)).status_code == 200
    assert (await at.delete(f"{AT}?typed_at=7")).status_code == 204
    assert (await at.get(AT)).status_code == 404


@pytest.mark.parametrize("kept_key", ["k1", ""])
async def test_another_editors_text_is_dropped_only_with_its_key(at: Desk, kept_key: str) -> None:
    await at.broker.kept.keep(place(editor=ZOE), Kept({"body": "Zoë's"}, 7, None, kept_key))
    path = f"{AT}?typed_at=7&editor={quote(ZOE)}"
    wrong: list[dict[str, str]] = [{}, *({"liveblog-key": key} for key in ("", "k2", "K1"))]
    for headers in wrong:
        assert (await at.delete(path, **headers)).status_code == 204
        assert await at.broker.kept.one(place(editor=ZOE))
    assert (await at.delete(f"{path}&key=k1")).status_code == 204  # a key in the address is none
    assert await at.broker.kept.one(place(editor=ZOE))
    assert (await at.delete(path, **{"liveblog-key": "k1"})).status_code == 204
    assert (await at.broker.kept.one(place(editor=ZOE)) is None) is bool(kept_key)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b'{"values":{"body":"\\ud800"},"typed_at":1}', 400),
        (b"[" * 100_000, 413),
        (b"[" * 60_000, 422),
        ([], 422),
        ({**SENT, "values": {"body": 1}}, 422),
        ({**SENT, "typed_at": -1}, 422),
        ({**SENT, "typed_at": 1e300}, 422),
        ({**SENT, "key": "k" * 256}, 422),
        ({**SENT, "who": "dana"}, 422),
        ({"values": {}}, 422),
        ({**SENT, "values": {"body": "x" * 65_536}}, 413),
        ({**SENT, "values": {"body": "x" * 65_000}}, 204),
    ],
)
async def test_text_is_rejected_when_it_is_no_text(at: Desk, content: Any, status: int) -> None:
    answer = await at.put(AT, content)
    assert answer.status_code == status, answer.text
    if status != 204:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"]
        assert (await at.get(AT)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"{SLUG}/kept/other/{TAB}",
        f"{SLUG}/kept/new/{'A' * 16}",
        f"{SLUG}/kept/new/{'a' * 15}",
        f"mars/kept/new/{TAB}",
        f"nowhere/kept/new/{TAB}",
    ],
)
async def test_place_is_404_when_there_is_no_such_form_tab_or_blog(at: Desk, path: str) -> None:
    answers = [await at.put(path, SENT), await at.get(path), await at.delete(f"{path}?typed_at=1")]
    assert [it.status_code for it in answers] == [404] * 3
    assert (await at.get("mars/kept")).status_code == 404


@pytest.mark.parametrize("typed_at", ["", "?typed_at=", "?typed_at=x", "?typed_at=9" + "9" * 15])
async def test_drop_is_rejected_when_it_does_not_say_what_it_saw(at: Desk, typed_at: str) -> None:
    assert (await at.delete(f"{AT}{typed_at}")).status_code == 422


async def test_text_is_410_when_its_entry_was_taken_down(at: Desk) -> None:
    id = await entry(at.broker)
    await Publishing(at.broker, now_ms).delete_entry(SYSTEM, SLUG, id, takedown=True)
    assert (await at.put(f"{SLUG}/kept/{id}/{TAB}", SENT)).status_code == 410


async def test_text_is_410_when_a_contributor_may_not_see_its_entry(at: Desk) -> None:
    id = await entry(at.broker, status="draft")
    await at.accounts.people.add("kim", PASSWORD, role="contributor")
    caller = await at.accounts.check_password("kim", PASSWORD)
    assert caller
    at.client.cookies.set("liveblog", await at.accounts.open_session(caller), domain="live.example")
    for form in (id, "e000000000000"):
        assert (await at.put(f"{SLUG}/kept/{form}/{TAB}", SENT)).status_code == 410
    assert (await at.put(f"{SLUG}/kept/new/{TAB}", SENT)).status_code == 204
    own = await Publishing(at.broker, now_ms).create_entry(caller, SLUG, {"body": "Own"})
    await Publishing(at.broker, now_ms).delete_entry(SYSTEM, SLUG, own.entry.id)
    place = f"{SLUG}/kept/{own.entry.id}/{TAB}"
    assert (await at.put(place, SENT)).status_code == 204
    await Publishing(at.broker, now_ms).delete_entry(SYSTEM, SLUG, own.entry.id, takedown=True)
    assert (await at.put(place, SENT)).status_code == 410


async def test_texts_belong_to_the_editor_of_the_page_and_the_session(at: Desk) -> None:
    await at.put(AT, SENT)
    await at.accounts.people.add("Zoë", PASSWORD)
    caller = await at.accounts.check_password("Zoë", PASSWORD)
    assert caller
    session = await at.accounts.open_session(caller)
    at.client.cookies.set("liveblog", session, domain="live.example")
    assert (await at.get(AT)).status_code == 404
    for made_for in (
        await at.put(AT, SENT, **{"liveblog-editor": "user:dana"}),
        await at.get(f"{SLUG}/kept", **{"liveblog-editor": "user:dana"}),
        await at.delete(f"{AT}?typed_at=9", **{"liveblog-editor": "user:dana"}),
    ):
        assert made_for.status_code == 409
        assert made_for.json()["type"] == "/problems/other-editor"
    at.client.cookies.clear()
    signed_out = await at.put(AT, SENT)
    assert (signed_out.status_code, signed_out.json()["type"]) == (401, "/problems/signed-out")
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    at.client.cookies.set("liveblog", session, domain="live.example")
    assert (await at.put(AT, SENT, **foreign)).status_code == 403
