"""A store with damaged records: calls that need them are 503, and no other call fails.

Each test damages a record of one blog or account of a running server. Then the test makes every
call that could read the record. No call may be 500, and calls about other blogs must succeed. A
damaged entry takes nothing else of its blog with it, and can be deleted and taken down.
"""

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
import redis.asyncio
from kit.readers import Stream, Target, websocket
from kit.servers import Editor, Server, http
from kit.waiting import until

from liveblog.blog.model import Caller
from liveblog.clock import now_ms
from liveblog.store.accounts import Accounts
from liveblog.store.codec import key
from liveblog.store.nodes import One

NONE = b"\xff\xfe no JSON, no UTF-8"
Damage = Callable[[Any, str, str], Any]
PASSWORD = "correct horse battery"


@pytest.fixture
async def client(site: Server) -> AsyncIterator[Any]:
    """A client of the store that `site` uses."""
    async with redis.asyncio.Redis.from_url(site.store_url) as made:
        yield made


def entry_is(**fields: Any) -> Damage:
    """Return a function that sets fields of an entry to values that liveblog never writes."""

    async def damage(client: Any, slug: str, id: str) -> None:
        record = json.loads(await client.hget(key(slug, "entries"), id) or "{}")
        await client.hset(key(slug, "entries"), id, json.dumps(record | fields))

    return damage


def header_is(**fields: Any) -> Damage:
    """Return a function that sets fields of a header to values that liveblog never writes."""

    async def damage(client: Any, slug: str, _: str) -> None:
        record = json.loads(await client.hget(key(slug, "blog"), "header") or "{}")
        await client.hset(key(slug, "blog"), "header", json.dumps(record | fields))

    return damage


def command(*words: Any) -> Damage:
    """Return a function that sends a command to the store.

    In its words, KEY:name stands for a key of the blog, and ID for the entry's id.
    """

    async def damage(client: Any, slug: str, id: str) -> None:
        def meant(word: Any) -> Any:
            is_key = isinstance(word, str) and word.startswith("KEY:")
            return key(slug, word[4:].replace("ID", id)) if is_key else id if word == "ID" else word

        await client.execute_command(*map(meant, words))

    return damage


def of_a_wrong_type(name: str) -> Damage:
    async def damage(client: Any, slug: str, id: str) -> None:
        at = key(slug, name.replace("ID", id))
        await client.delete(at)
        await client.pfadd(at, "a string, but no record of ours")
        if name == "chain":
            await client.delete(at)
            await client.lpush(at, "no string")

    return damage


FAR = 9_007_199_254_740_993  # a time outside every calendar
DAMAGES: dict[str, Damage] = {
    "an entry that is no JSON": command("HSET", "KEY:entries", "ID", NONE),
    "an entry that is the header": command("HSET", "KEY:entries", "ID", b'{"id":"#blog"}'),
    "an entry that is a list": command("HSET", "KEY:entries", "ID", b"[]"),
    "an entry published in an impossible year": entry_is(published_at=FAR),
    "an entry updated in an impossible year": entry_is(updated_at=-FAR),
    "an entry scheduled in an impossible year": entry_is(publish_at=FAR),
    "an entry with an offset too large": entry_is(offset=10**15),
    "an entry with an offset below 0": entry_is(offset=-5),
    "an entry with text for an order": entry_is(order="1"),
    "an entry with another's id": entry_is(id="e000000000000"),
    "an entry with an id that is malformed": entry_is(id="../../etc"),
    "a draft that is no JSON": command("HSET", "KEY:drafts", "e00000000000d", NONE),
    "earlier revisions that are no JSON": command("LPUSH", "KEY:rev:ID", NONE),
    "a header that is no JSON": command("HSET", "KEY:blog", "header", NONE),
    "a header updated in an impossible year": header_is(updated_at=FAR),
    "a header with an unknown zone": header_is(timezone="Nowhere/At all"),
    "a header with a malformed language": header_is(language="\x00"),
    "a header with another's slug": header_is(slug="../another"),
    "no header": command("HDEL", "KEY:blog", "header"),
    "no offset": command("HDEL", "KEY:blog", "offset"),
    "an offset that is no number": command("HSET", "KEY:blog", "offset", "1.5"),
    "an offset too large": command("HSET", "KEY:blog", "offset", "9" * 30),
    "no base": command("HDEL", "KEY:blog", "base"),
    "no epoch": command("HDEL", "KEY:blog", "epoch"),
    "an epoch that is not UTF-8": command("HSET", "KEY:blog", "epoch", NONE),
    "no check": command("HDEL", "KEY:blog", "check"),
    "no chain": command("DEL", "KEY:chain"),
    "a chain that is no hex": command("SET", "KEY:chain", b"\xff" * 16),
    "a changed member without an entry": command("ZADD", "KEY:changed", "2", "e00000000000x"),
    "a changed member that is not UTF-8": command("ZADD", "KEY:changed", "2", NONE),
    "an order member without an entry": command("ZADD", "KEY:order", "9", "e00000000000x"),
    "an order that is no number": command("ZADD", "KEY:order", "inf", "ID"),
    **{
        f"{name} of a wrong type": of_a_wrong_type(name)
        for name in (
            "blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin", "rev:ID"
        )
    },
}  # fmt: skip


async def _statuses(site: Server, editor: Editor, slug: str, id: str) -> dict[str, int]:
    """Make every call that could read the blog or its entry, and return the status of each."""
    entry, at = f"/{slug}/entries/{id}", {"if_match": '"1"'}
    calls: list[tuple[str, str, Any]] = [
        ("GET", f"/{slug}", None),
        *(("GET", f"/{slug}/entries?status={status}", None) for status in STATUSES),
        ("GET", f"/{slug}/entries?before={id}", None),
        ("GET", entry, None),
        ("PATCH", entry, {"headline": "Another"}),
        ("PATCH", entry, {"pinned": True}),
        ("DELETE", entry, None),
        ("POST", f"{entry}/restore", None),
        ("DELETE", f"{entry}?takedown=1", None),
        ("POST", f"/{slug}/entries", {"body": "One more."}),
        ("PATCH", f"/{slug}", {"title": "Another"}),
    ]
    found: dict[str, int] = {}
    for method, path, body in calls:
        answer = await editor(method, path, body, **(at if method == "PATCH" else {}))
        found[f"{method} {path}"] = answer.status_code
    async with http(base_url=site.url) as reader:
        for path in (
            f"/blogs/{slug}", f"/blogs/{slug}?before={id}", f"/blogs/{slug}/entries/{id}",
            f"/blogs/{slug}?after={id}", f"/blogs/{slug}/changes?since=",
        ):  # fmt: skip
            answer = await reader.get(path)
            found[path] = answer.status_code
    return found


STATUSES = ("draft", "submitted", "scheduled", "published", "retracted")


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "not held"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_no_call_is_500_and_other_blogs_work_when_a_blog_is_corrupt(
    site: Server,
    editor: Editor,
    client: Any,
    damage: Damage,
    *,
    is_held: bool,
) -> None:
    bad, good = await editor.blog(), await editor.blog()
    entry = await editor.publish(bad["slug"])
    if is_held:
        assert site.status(f"/blogs/{bad['slug']}") == 200
    assert site.status(f"/blogs/{good['slug']}") == 200
    await damage(client, bad["slug"], entry["id"])
    try:
        statuses = await _statuses(site, editor, bad["slug"], entry["id"])
        assert [call for call, status in statuses.items() if status == 500] == []
        assert site.get("/readyz") == {"status": "ready", "store": "up"}
        await editor.publish(good["slug"])
        assert good["slug"] in [it["slug"] for it in (await editor.ok("GET", ""))["blogs"]]
        assert site.status(f"/blogs/{good['slug']}") == site.status("/") == 200
    finally:
        await _remove(client, bad["slug"])


async def _remove(client: Any, slug: str) -> None:
    await client.zrem("lb:blogs", slug)
    names = [name async for name in client.scan_iter(match=f"lb:{{{slug}}}:*")]
    if names:
        await client.delete(*names)


# Damages of one entry's record, or of what the indexes have of it.
ENTRY_DAMAGES: dict[str, Damage] = {
    "no JSON": command("HSET", "KEY:entries", "ID", NONE),
    "empty": command("HSET", "KEY:entries", "ID", b""),
    "truncated": command(
        "HSET", "KEY:entries", "ID", b'{"updated_at":1764500000000,"offset":3,"ord'
    ),
    "nested too deep": command("HSET", "KEY:entries", "ID", b'{"x":' + b"[" * 10_000),
    "a field of a wrong type": entry_is(headline=["x"]),
    "text that is not UTF-8": command(
        "HSET", "KEY:entries", "ID", b'{"id":"e00000000000x","body":"\xff"}'
    ),
    "another's id": entry_is(id="e000000000000"),
    "another offset": entry_is(offset=1),
    "an offset too large": entry_is(offset=10**12),
    "another order": entry_is(order=1),
    "published and a draft": entry_is(status="draft"),
    "published and scheduled": entry_is(status="scheduled"),
    "missing": command("HDEL", "KEY:entries", "ID"),
    "missing from the index by change": command("ZREM", "KEY:changed", "ID"),
    "listed at infinity": command("ZADD", "KEY:order", "inf", "ID"),
}
STILL_READABLE = ("missing from the index by change", "another order", "listed at infinity")


@pytest.mark.parametrize("name", ENTRY_DAMAGES)
async def test_damaged_entry_alone_is_missing_until_it_is_removed(
    site: Server, editor: Editor, client: Any, name: str
) -> None:
    number = [*ENTRY_DAMAGES].index(name)
    takedown, is_held = number % 2 == 0, number % 3 == 0
    slug = (await editor.blog())["slug"]
    first, bad, last = [await editor.publish(slug, f"Number {n}.") for n in "123"]
    if is_held:
        assert site.status(f"/blogs/{slug}") == 200
    await ENTRY_DAMAGES[name](client, slug, bad["id"])
    listed = await editor.ok("GET", f"/{slug}/entries")
    if name not in STILL_READABLE:
        assert [it["id"] for it in listed["entries"]] == [last["id"], first["id"]]
        assert listed["damaged"] == [bad["id"]]
        for method, body in (("GET", None), ("PATCH", {"pinned": True})):
            answer = await editor(method, f"/{slug}/entries/{bad['id']}", body)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/damaged")
            assert bad["id"] in answer.json()["detail"]
        assert f"blog {slug}: entry {bad['id']} is damaged" in site.said()
        if not is_held:
            assert _shown(site, slug) == [last["id"], first["id"]]
    async with websocket(Target(site.url, slug)) as stream:
        since = await stream.get()
        removed = await editor.delete(bad, takedown=takedown)
        assert removed["takedown"] is takedown
        changes = (await _next_changes(stream))["changes"]
        assert [(it["op"], it["id"]) for it in changes] == [("del", bad["id"])]
        another = await editor.publish(slug, "One more.")
        assert another["offset"] == int(since["position"].split(".")[1]) + 2
        assert (await _next_changes(stream))["position"] == another["position"]
    assert _shown(site, slug) == [another["id"], last["id"], first["id"]]
    assert (await editor.ok("GET", f"/{slug}/entries"))["damaged"] == []
    assert site.status(f"/blogs/{slug}/entries/{bad['id']}") == 410


async def test_damage_of_a_change_reaches_readers_as_a_deletion(
    site: Server, editor: Editor, client: Any
) -> None:
    """A worker that repairs its state over a damaged record goes on from the right position."""
    slug = (await editor.blog())["slug"]
    entry = await editor.publish(slug)
    async with websocket(Target(site.url, slug, entry["position"])) as stream:
        await stream.get()
        edited = await _unannounced_edit(client, slug, entry["id"])
        changes = await _next_changes(stream)
        assert changes["position"].split(".")[1] == str(edited)
        assert [(it["op"], it["offset"]) for it in changes["changes"]] == [("del", edited)]
        later = await editor.publish(slug, "Later.")
        assert (await _next_changes(stream))["position"] == later["position"]


async def _next_changes(stream: Stream) -> dict[str, Any]:
    while (frame := await stream.get())["t"] != "changes":
        pass
    return frame


async def _unannounced_edit(client: Any, slug: str, id: str) -> int:
    """Store a damaged record as the blog's next change, without a message; return its offset."""
    offset = int(await client.hget(key(slug, "blog"), "offset")) + 1
    await client.hset(key(slug, "entries"), id, NONE)
    await client.zadd(key(slug, "changed"), {id: offset})
    await client.append(key(slug, "chain"), "0123abcd")
    await client.hset(key(slug, "blog"), mapping={"offset": offset, "check": "0123abcd"})
    return offset


def _shown(site: Server, slug: str) -> list[str]:
    return re.findall(r'<article id="(e\w+)"', site.text(f"/blogs/{slug}"))


async def test_older_text_is_not_restored_when_the_newest_was_damaged(
    editor: Editor, client: Any
) -> None:
    slug = (await editor.blog())["slug"]
    for fields in ({}, {"body": "Second."}):
        entry = await editor.publish(slug, "First.")
        entry = await editor.edit(entry, **fields) if fields else entry
        await client.hset(key(slug, "entries"), entry["id"], NONE)
        await editor.delete(entry)
        refused = await editor("POST", f"/{slug}/entries/{entry['id']}/restore")
        assert (refused.status_code, "damaged" in refused.json()["detail"]) == (410, True)
    assert await editor.entries(slug) == []


async def test_older_pages_go_on_below_a_damaged_entry(
    site: Server, editor: Editor, client: Any
) -> None:
    slug = (await editor.blog())["slug"]
    made = await editor.publish_many(slug, 230)  # more than a worker keeps
    await client.hset(key(slug, "entries"), made[10]["id"], NONE)
    ids: list[str] = []
    before = made[25]["id"]
    for _ in range(2):
        page = site.text(f"/blogs/{slug}?before={before}")
        found = re.findall(r'<article id="(e\w+)"', page)
        ids, before = ids + found, found[-1]
    assert ids == [it["id"] for n, it in reversed([*enumerate(made)][:25]) if n != 10]
    assert site.status(f"/blogs/{slug}/entries/{made[10]['id']}") == 503
    assert site.status(f"/blogs/{slug}?before={made[10]['id']}") == 200


async def test_damaged_draft_is_named_and_deleted(
    site: Server, editor: Editor, client: Any
) -> None:
    slug = (await editor.blog())["slug"]
    good = await editor.publish(slug, "Kept.", status="draft")
    bad = await editor.publish(slug, "Lost.", status="draft")
    await client.hset(key(slug, "drafts"), bad["id"], b"{")
    listed = await editor.ok("GET", f"/{slug}/entries?status=draft")
    assert [it["id"] for it in listed["entries"]] == [good["id"]]
    assert listed["damaged"] == [bad["id"]]
    assert (await editor.delete(bad))["position"] is None
    assert (await editor.ok("GET", f"/{slug}/entries?status=draft"))["damaged"] == []


async def test_entry_is_deleted_when_its_revisions_are_damaged(
    site: Server, editor: Editor, client: Any
) -> None:
    slug = (await editor.blog())["slug"]
    entry = await editor.edit(await editor.publish(slug), body="Second.")
    await client.delete(key(slug, f"rev:{entry['id']}"))
    await client.set(key(slug, f"rev:{entry['id']}"), "of a wrong type")
    assert (await editor.ok("GET", f"/{slug}/entries/{entry['id']}"))["body"] == "Second."
    await editor.delete(entry)
    assert (await editor.restore(entry))["body"] == "Second."
    await editor.delete(entry)
    await client.lset(key(slug, f"rev:{entry['id']}"), 0, NONE)
    refused = await editor("POST", f"/{slug}/entries/{entry['id']}/restore")
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/damaged")
    assert (await editor.delete(entry, takedown=True))["takedown"]
    assert not await client.exists(key(slug, f"rev:{entry['id']}"))


async def test_header_of_a_held_blog_stays_when_it_is_damaged(
    site: Server, editor: Editor, client: Any
) -> None:
    blog = await editor.blog()
    slug = blog["slug"]
    assert site.status(f"/blogs/{slug}") == 200
    await client.hset(key(slug, "blog"), "header", NONE)
    try:
        refused = await editor("GET", f"/{slug}")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/damaged")
        assert slug in refused.json()["detail"]
        assert site.status(f"/blogs/{slug}") == 200
        await until(lambda: f"blog {slug}: its header is damaged" in site.said())
    finally:
        await _remove(client, slug)


# Damages of a blog's keys: which key the log and the desk name, and what readers get of a takedown.
KEY_DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "order": (of_a_wrong_type("order"), "order", "changes"),
    "marked": (of_a_wrong_type("marked"), "marked", "changes"),
    "changed": (command("DEL", "KEY:changed"), "changed", "changes"),
    "chain": (command("SET", "KEY:chain", "0123456789abcdef"), "chain", "reset"),
    "offset": (command("HSET", "KEY:blog", "offset", "9" * 30), "blog", "reset"),
    "base": (command("HSET", "KEY:blog", "base", "99999999"), "blog", "reset"),
    "score": (command("ZADD", "KEY:changed", "inf", "ID"), "changed", "changes"),
    "header": (command("HSET", "KEY:blog", "header", NONE), "", "changes"),
    "blog": (of_a_wrong_type("blog"), "blog", "reset"),
}


@pytest.mark.parametrize("name", KEY_DAMAGES)
async def test_takedown_reaches_readers_when_a_key_of_the_blog_is_damaged(
    site: Server, editor: Editor, client: Any, name: str
) -> None:
    damage, named, frame = KEY_DAMAGES[name]
    slug = (await editor.blog())["slug"]
    bad, kept = [await editor.publish(slug, f"Number {n}.", pinned=True) for n in "12"]
    async with websocket(Target(site.url, slug)) as stream:
        await stream.get()
        await damage(client, slug, bad["id"])
        assert (await editor.delete(bad, takedown=True))["takedown"]
        while (got := await stream.get())["t"] not in ("changes", "reset"):
            pass
        assert got["t"] == frame
    await until(lambda: _shown(site, slug) == [kept["id"]])
    assert [it["id"] for it in await editor.entries(slug)] == [kept["id"]]
    assert await client.lrange(key(slug, f"rev:{bad['id']}"), 0, -1) == []
    if named:
        line = f"blog {slug}: key {key(slug, named)} was damaged"
        assert site.said().count(line) == 1
    desk = await _desk(site, client, f"/desk/blogs/{slug}")
    assert f"<li>{named}: " in desk if named else 'id="lost-header"' in desk
    assert ('id="lost-header"' in desk) == (name in ("header", "blog"))
    listed = await _desk(site, client, "/desk")
    assert (f'<a href="/desk/blogs/{slug}">{slug}</a>' in listed) == (name in ("header", "blog"))
    await _remove(client, slug)


async def _desk(site: Server, client: Any, path: str) -> str:
    """Return a page of the desk, as an admin gets it."""
    accounts = Accounts(One(client), now_ms)
    name = "boss-of-damages"
    if not await client.hexists("lb:users", name):
        await accounts.people.add(name, PASSWORD, "admin")
    session = await accounts.open_session(Caller(f"user:{name}", "admin"))
    async with http(base_url=site.url, headers={"cookie": f"__Host-liveblog={session}"}) as caller:
        return str((await caller.get(path)).text)


@pytest.mark.parametrize("name", [it for it in KEY_DAMAGES if it not in ("header", "blog")])
async def test_page_has_every_entry_when_a_key_of_the_blog_is_damaged(
    site: Server, editor: Editor, client: Any, name: str
) -> None:
    slug = (await editor.blog())["slug"]
    made = [await editor.publish(slug, f"Number {n}.") for n in "123"]
    await KEY_DAMAGES[name][0](client, slug, made[0]["id"])
    assert _shown(site, slug) == [it["id"] for it in reversed(made)]
    listed = await editor.ok("GET", f"/{slug}/entries")
    assert [it["id"] for it in listed["entries"]] == [it["id"] for it in reversed(made)]


async def test_repeated_call_is_503_when_its_remembered_outcome_is_corrupt(
    editor: Editor, client: Any
) -> None:
    blog = await editor.blog()
    named = {"idempotency_key": f"key-{os.urandom(4).hex()}"}
    path, body = f"/{blog['slug']}/entries", {"body": "Once."}
    before = await _remembered(client, blog["slug"])
    await editor.ok("POST", path, body, **named)
    [idem] = await _remembered(client, blog["slug"]) - before
    request = (await client.get(idem))[:41]
    for result in (NONE, b"{}", b'{"status":"x"}', b""):
        await client.set(idem, request + result)
        assert (await editor("POST", path, body, **named)).status_code == 503


async def test_repeated_creation_is_503_when_the_header_is_corrupt(
    editor: Editor, client: Any
) -> None:
    slug = f"council-{os.urandom(4).hex()}"
    call, named = ("POST", "", {"slug": slug, "title": "Council"}), {"idempotency_key": slug}
    await editor.ok(*call, **named)
    await client.hset(key(slug, "blog"), "header", NONE)
    try:
        assert (await editor(*call, **named)).status_code == 503
    finally:
        await _remove(client, slug)


async def _remembered(client: Any, slug: str) -> set[bytes]:
    return {name async for name in client.scan_iter(match=f"lb:{{{slug}}}:idem:*")}


NESTED = b'{"x":' + b"[" * 10_000


@pytest.mark.parametrize(
    "record",
    [NONE, b"{}", b'{"name":1}', b"[]", pytest.param(NESTED, id="nested too deep")],
    ids=repr,
)
async def test_account_is_503_and_no_other_is_when_it_is_corrupt(
    site: Server, editor: Editor, client: Any, record: bytes
) -> None:
    name = f"dana-{os.urandom(4).hex()}"
    accounts = Accounts(One(client), now_ms)
    token = await accounts.create_token(name)
    await accounts.people.add(name, PASSWORD)
    session = await accounts.open_session(Caller(f"user:{name}", "editor"))
    digest = await client.hget("lb:{tokens}:names", name)
    kept = await client.hget("lb:{tokens}:secrets", digest), await client.hget("lb:users", name)
    await client.hset("lb:{tokens}:secrets", digest, record)
    await client.hset("lb:users", name, record)
    try:
        async with http(base_url=site.url) as caller:
            bearer = {"authorization": f"Bearer {token}"}
            assert (await caller.get("/api/blogs", headers=bearer)).status_code == 503
            signed = await _sign_in(caller, name)
            assert signed.status_code == 503
            cookie = {"cookie": f"__Host-liveblog={session}"}
            assert (await caller.get("/desk", headers=cookie)).status_code == 503
        await editor.ok("GET", "")
    finally:
        await client.hset("lb:{tokens}:secrets", digest, kept[0])
        await client.hset("lb:users", name, kept[1])


async def _sign_in(caller: httpx2.AsyncClient, name: str) -> httpx2.Response:
    form = {"name": name, "password": PASSWORD}
    return await caller.post(
        "/desk/sign-in", data=form, headers={"origin": str(caller.base_url).rstrip("/")}
    )


async def test_server_stays_ready_when_a_blog_cannot_be_read(
    site: Server, editor: Editor, client: Any
) -> None:
    blog, other = await editor.blog(), await editor.blog()
    for slug in (blog["slug"], other["slug"]):
        assert site.status(f"/blogs/{slug}") == 200
    await client.delete(key(blog["slug"], "blog"))
    await client.set(key(blog["slug"], "blog"), "of a wrong type")
    try:
        await until(lambda: _store_of(site, blog["slug"], "down"))
        assert site.get("/readyz") == {"status": "ready", "store": "up"}
        assert await _store_of(site, other["slug"], "up")
    finally:
        await _remove(client, blog["slug"])


async def _store_of(site: Server, slug: str, state: str) -> bool:
    return bool(site.get(f"/desk/blogs/{slug}/store") == {"store": state})
