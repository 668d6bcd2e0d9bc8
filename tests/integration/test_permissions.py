"""The commands that the program needs: each is checked, and nothing else is needed.

The tests take permissions from the store's user, on Valkey and on Redis.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from kit.conditions import ALL, Conditioned, conditioned
from kit.people import cheapen_hashes
from kit.waiting import until
from redis.asyncio import Redis

from liveblog.blog.instant import format_time
from liveblog.blog.model import SYSTEM, Caller
from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.blog.timeline import Moved
from liveblog.clock import now_ms
from liveblog.editors import schedule
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import BlogSearch
from liveblog.store import rebuilding
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.commands import UNCHECKED, commands
from liveblog.store.connect import connect
from liveblog.store.follow import Follower
from liveblog.store.kept import KEPT_MAX, Kept, Place
from liveblog.store.listing import LISTED, LIVE
from liveblog.store.nodes import Nodes

ADMIN = Caller("user:ada", "admin")
SLUG = "council"
PASSWORD = "correct horse battery"
CHECKED = commands(waits=True)
NAMES = sorted({command.split()[0] for command in CHECKED})
# These modules send no commands to the store that serves the blogs; refusals.py names errors.
OTHERS = {"aof.py", "salvage.py", "sentinel.py", "commands.py", "refusals.py"}


@pytest.fixture(scope="module")
def store(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conditioned]:
    with conditioned(tmp_path_factory.mktemp("permissions"), binary) as made:
        yield made


@pytest.fixture
async def admin(store: Conditioned) -> AsyncIterator[Redis]:
    """An administrator's client of the store, which is empty."""
    async with store.client() as made:
        await made.flushall()
        await store.allow(*ALL)
        yield made


@pytest.fixture
async def nodes(store: Conditioned, admin: Redis) -> AsyncIterator[Nodes]:
    async with connect(store.url) as made:
        yield made


def pattern(name: str) -> str:
    """Return the pattern of the keys or channels that a checked command's key stands for."""
    return name.replace("{0}", "{*}").replace(":x", ":*").replace("lb:probe:*", "lb:*probe:*")


def rules_of(checked: list[str]) -> list[str]:
    """Return ACL rules that allow each command only on the keys that the check names."""
    rules = ["+eval", "+info", "+config|get", "+bgrewriteaof", "%RW~lb:*"]
    for command in checked:
        name, *more = command.lower().split()
        if "subscribe" in name or name == "publish":
            rules += [f"+{name}", f"&{pattern(more[0])}"]
        elif more and more[0].startswith("lb:"):
            rules.append(f"(+{name} %RW~{pattern(more[0])})")
        else:
            rules.append(f"+{name}")
    return rules


# -- the check finds each command that is forbidden


async def test_check_names_each_command_that_the_store_forbids(
    store: Conditioned, nodes: Nodes
) -> None:
    condition = Broker(nodes, wait_for_replica=True).condition
    for name in NAMES:
        await store.allow(*ALL, f"-{name}")
        with pytest.raises(StoreRefuses, match=rf"^NOPERM the store's user may not run {name}\b"):
            await condition.check()
        assert condition.refuses_writes == ("SUBSCRIBE" not in name), name
    await store.allow(*ALL)
    assert await condition.check() == ""


@pytest.mark.parametrize("access", ["%R", "%W"])
async def test_check_names_a_key_that_the_store_forbids(
    store: Conditioned, nodes: Nodes, access: str
) -> None:
    """Without one kind of key, or with half of its permissions, some command of it is refused."""
    keys = sorted({it.split()[1] for it in CHECKED if " lb:" in it and "SCRIBE" not in it})
    keys = [it for it in keys if "changes" not in it and "probe" not in it]
    condition = Broker(nodes).condition
    for name in keys:
        others = [f"%RW~{pattern(it)}" for it in keys if it != name]
        await store.allow(*others, f"{access}~{pattern(name)}", "&*", "+@all")
        with pytest.raises(StoreRefuses, match=rf"may not run [A-Z]+ {re.escape(name)}$"):
            await condition.check()


@pytest.mark.parametrize(
    ("channels", "refused"),
    [(["&lb:{*}:changes"], "lb:probe:x"), (["&lb:probe:*"], "lb:{0}:changes"), ([], "lb:{0}")],
)
async def test_check_names_a_channel_that_the_store_forbids(
    store: Conditioned, nodes: Nodes, channels: list[str], refused: str
) -> None:
    condition = Broker(nodes).condition
    await store.allow("~*", "+@all", *channels)
    with pytest.raises(StoreRefuses, match=re.escape(refused)):
        await condition.check()
    assert condition.refuses_writes == (refused != "lb:probe:x")


# -- the check leaves no command out


async def test_check_covers_the_commands_that_the_package_sends(admin: Redis) -> None:
    """Commands are quoted in scripts, and methods of a client or a pipeline in Python."""
    sources = [it for it in files("liveblog.store").iterdir() if it.name not in OTHERS]
    text = "\n".join(it.read_text() for it in sources if it.name.endswith((".py", ".lua")))
    quoted = re.findall(r"""["']([A-Z]+)[ "']""", text)
    methods = re.findall(r"(?:redis|pipeline|\bat\(\w+\))\.([a-z]+)\(", text)
    known = {it.decode().upper() for it in await admin.execute_command("COMMAND LIST")}
    words = {it.upper().replace("DELETE", "DEL") for it in [*quoted, *methods]}
    sent = words & known | {"MULTI", "EXEC", "CONFIG", "HSETNX"}
    checked = {it.split()[0] for each in (True, False) for it in commands(is_cluster=each)}
    assert sent == checked | {"WAIT"} | UNCHECKED


async def test_user_who_may_run_only_the_checked_commands_can_do_everything(
    store: Conditioned, admin: Redis, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheapen_hashes(monkeypatch)
    await store.allow(*rules_of(commands()))
    await admin.execute_command("ACL", "LOG", "RESET")
    broker = Broker(nodes)
    assert await broker.condition.check() == ""
    await _write(broker, admin)
    await _rebuild(broker, admin)
    await _schedule(broker)
    await _read(broker)
    await _follow(broker, nodes)
    await _sweep(broker, admin)
    await _keep(broker)
    await _use_accounts(Accounts(nodes, now_ms))
    denied = await admin.acl_log()
    # redis-py names itself when it connects, and goes on when it may not.
    assert {(it["reason"], it["object"]) for it in denied} <= {("command", "client|setinfo")}


async def _write(broker: Broker, admin: Redis) -> None:
    publishing = Publishing(broker, now_ms)
    await publishing.create_blog(ADMIN, {"slug": SLUG, "title": "Council", "status": "live"})
    for takedown in (False, True):
        for fields in ({"body": "A."}, {"body": "A.", "status": "draft"}):
            made = await publishing.create_entry(ADMIN, SLUG, fields, "k" + str((takedown, fields)))
            await publishing.create_entry(ADMIN, SLUG, fields, "k" + str((takedown, fields)))
            id = made.entry.id
            await publishing.edit_entry(ADMIN, SLUG, id, {"body": "B."}, 1)
            await publishing.edit_entry(ADMIN, SLUG, id, {"pinned": takedown}, None)
            await publishing.delete_entry(ADMIN, SLUG, id, takedown)
            if not takedown:
                await publishing.bin.page(ADMIN, SLUG)
                await publishing.restore_entry(ADMIN, SLUG, id)
                if "status" not in fields:
                    await publishing.retract_entry(ADMIN, SLUG, id, "Wrong.")
                    await publishing.retract_entry(ADMIN, SLUG, id, None, undo=True)
    await broker.eraser.rewrite_if_requested()
    await publishing.edit_blog(ADMIN, SLUG, {"status": "ended"}, None)
    await publishing.edit_blog(ADMIN, SLUG, {"status": "live"}, None)
    for title in "BCD":
        await publishing.edit_blog(ADMIN, SLUG, {"title": title})
    await publishing.history.headers(ADMIN, SLUG)
    await publishing.headers.restore(ADMIN, SLUG, 2)
    await publishing.headers.erase(ADMIN, SLUG, 2)
    await publishing.headers.erase(ADMIN, SLUG)


async def _rebuild(broker: Broker, admin: Redis) -> None:
    """Write beside one damaged key after another, but for those that have the records."""
    for name in rebuilding.NAMES:
        if name not in ("blog", "entries", "drafts"):
            await admin.delete(key(SLUG, name))
            await admin.lpush(key(SLUG, name), "damage")
            await Publishing(broker, now_ms).create_entry(ADMIN, SLUG, {"body": "A.", "key": True})
    assert list(await broker.rebuilding.lately(SLUG)) == ["rebuilt"]


async def _schedule(broker: Broker) -> None:
    soon = {"body": "Soon.", "publish_at": format_time(now_ms() + 100)}
    # With the clock of 1970, the time is not past when a busy machine needs longer than this.
    made = await Publishing(broker, lambda: 0).create_entry(ADMIN, SLUG, soon)
    publishing = Publishing(broker, now_ms)

    async def is_published() -> bool:
        await schedule.publish_due(broker.due, publishing)
        return (await publishing.entry(ADMIN, SLUG, made.entry.id)).entry.status == "published"

    await until(is_published)
    await broker.due.unschedule(SLUG, made.entry.id, None)


async def _read(broker: Broker) -> None:
    publishing, source = Publishing(broker, now_ms), broker.source
    snapshot = await source.load(SLUG)
    assert snapshot
    await source.exists(SLUG)
    await source.heads([SLUG])
    await source.heads([])
    await source.front(None, 10)
    await source.front(SLUG, 10)
    await source.older(SLUG, None, 10)
    await source.newer(SLUG, 0, 10)
    for entry in await source.older(SLUG, None, 10):
        await source.entry(SLUG, entry.id)
        await publishing.entry(ADMIN, SLUG, entry.id)
        await broker.revisions.entry(SLUG, entry.id, 1)
        await broker.revisions.last_entry(SLUG, entry.id)
    await publishing.blogs(ADMIN, None, 10, BlogSearch())
    await publishing.blogs(Caller("user:dana", "editor", (SLUG,)), None, 10, BlogSearch())
    await publishing.unpublished(ADMIN, SLUG)
    await publishing.pins.all(ADMIN, SLUG)
    await publishing.entries(ADMIN, SLUG, None, 10, "draft")
    await publishing.shown(ADMIN, SLUG, None, 10)


async def _follow(broker: Broker, nodes: Nodes) -> None:
    """Follow and leave a blog; begin a new epoch, as after a restored backup."""

    class Sink:
        def receive(self, slug: str, changes: Any) -> None: ...
        def resubscribed(self, slug: str) -> None: ...

    follower = Follower(nodes, broker.source.probe)
    running = asyncio.create_task(follower.run(Sink()))
    await follower.follow(SLUG)
    follower.unfollow(SLUG)
    await follower.follow(SLUG)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    stored = await broker.blogs.read(SLUG)
    assert stored
    ahead = stored.position._replace(offset=stored.position.offset + 1)
    assert isinstance(await broker.source.repair(SLUG, ahead), Moved)
    assert await broker.source.rotate(SLUG, ahead)


async def _sweep(broker: Broker, admin: Redis) -> None:
    """Sweep beside a listed blog that is gone, one that is unlisted, and old tombstones."""
    publishing = Publishing(broker, now_ms)
    deleted, expired, alive = [
        (await publishing.create_entry(ADMIN, SLUG, {"body": "A."})).entry.id for _ in range(3)
    ]
    for id in (deleted, expired, alive):
        await publishing.delete_entry(ADMIN, SLUG, id)
    await publishing.bin.page(ADMIN, SLUG, deleted)
    await publishing.restore_entry(ADMIN, SLUG, alive)
    await publishing.edit_entry(ADMIN, SLUG, alive, {"body": "B."}, 1)
    await admin.pexpire(key(SLUG, f"rev:{alive}"), 60_000)
    await admin.zrem(key(SLUG, "bin"), deleted)
    await admin.zadd(key(SLUG, "bin"), {expired: 1, "foreign": 1})
    await admin.zadd(LISTED, {"gone": 1})
    await admin.zadd(LIVE, {"gone": 1})
    await admin.zrem(LIVE, SLUG)
    await admin.hset(key(SLUG, "drafts"), "e" + "0" * 12, '{"id":"e000000000000","deleted":true}')
    await broker.blogs.listing.rank_after(LIVE, SLUG)
    broker.sweep.pause_s = 0
    for name, steps in (("x:walk", broker.sweep.walk()), ("x:search", broker.sweep.search())):
        await broker.sweep.take_turn(f"lb:sweep:{name}", steps, 60)
    await admin.zrem(LISTED, SLUG)
    await broker.sweep.take_turn("lb:sweep:again", broker.sweep.search(), 60)
    await broker.entries.drafts(SLUG)


async def _keep(broker: Broker) -> None:
    """Keep, read, drop and evict texts, also one for an entry that is taken down."""
    publishing, editor = Publishing(broker, now_ms), ADMIN.ident
    made = await publishing.create_entry(ADMIN, SLUG, {"body": "A."})
    for n in range(KEPT_MAX + 1):
        place = Place(SLUG, editor, made.entry.id if n else "new", f"{n:016}")
        assert await broker.kept.keep(place, Kept({"body": "B."}, n))
    assert len(await broker.kept.all(SLUG, editor)) == KEPT_MAX
    assert await broker.kept.one(place)
    await broker.kept.drop(place, KEPT_MAX)
    await publishing.delete_entry(ADMIN, SLUG, made.entry.id, takedown=True)
    assert await broker.kept.all(SLUG, editor) == []


async def _use_accounts(accounts: Accounts) -> None:
    await accounts.check_store()
    await accounts.people.add("dana", PASSWORD)
    caller = await accounts.check_password("dana", PASSWORD)
    assert caller
    secret = await accounts.open_session(caller)
    assert await accounts.session_caller(secret)
    await accounts.close_session(secret)
    assert [await accounts.wait_s("dana", 1, 60) for _ in range(2)] == [0, 60]
    await accounts.forget_try("dana")
    await accounts.people.disable("dana")
    await accounts.check_blogs([SLUG])
    await accounts.users()
    token = await accounts.create_token("desk")
    assert await accounts.token_caller(token)
    await accounts.tokens()
    await accounts.revoke_token("desk")


# -- what a call says when a read is forbidden


@pytest.mark.parametrize("name", ["GET", "TIME", "GETRANGE", "TYPE", "STRLEN", "HMGET"])
async def test_publishing_is_refused_and_stores_nothing_when_a_read_is_forbidden(
    store: Conditioned, admin: Redis, nodes: Nodes, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    publishing = Publishing(Broker(nodes), now_ms)
    await publishing.create_blog(SYSTEM, {"slug": SLUG, "title": "Council", "status": "live"})
    changes = await admin.hgetall(key(SLUG, "entries"))
    await store.allow(*ALL, f"-{name}")
    for _ in range(3):
        with pytest.raises(StoreRefuses) as refused:
            await publishing.create_entry(ADMIN, SLUG, {"body": "A."})
        assert refused.value.cause == "permission"
    assert await admin.hgetall(key(SLUG, "entries")) == changes
    assert [it for it in caplog.records if it.name.startswith("liveblog")] == []


async def test_repeated_call_is_never_denied_when_a_read_is_forbidden(
    store: Conditioned, admin: Redis, nodes: Nodes
) -> None:
    publishing = Publishing(Broker(nodes), now_ms)
    await publishing.create_blog(SYSTEM, {"slug": SLUG, "title": "Council", "status": "live"})
    await publishing.create_entry(ADMIN, SLUG, {"body": "A."}, "k1")
    for rules in (["-get"], ["-type"], ["-exists", "-get"], ["-eval"], ["-zscore"], ["-hget"]):
        await store.allow(*ALL, *rules)
        with pytest.raises(StoreDown) as refused:
            await publishing.create_entry(ADMIN, SLUG, {"body": "A."}, "k1")
        assert not isinstance(refused.value, StoreRefuses), rules


async def test_lists_fail_when_the_store_forbids_to_read_blogs(
    store: Conditioned, admin: Redis, nodes: Nodes
) -> None:
    broker = Broker(nodes)
    fields = {"slug": SLUG, "title": "Council", "status": "live"}
    await Publishing(broker, now_ms).create_blog(SYSTEM, fields)
    await store.allow(*ALL, "-hmget")
    for read in (broker.source.front(None, 10), broker.source.heads([SLUG])):
        with pytest.raises(StoreRefuses):
            await read


async def test_counter_gets_its_end_when_the_store_forbids_to_set_it(
    store: Conditioned, admin: Redis, nodes: Nodes
) -> None:
    """A counter without an end would lock out its name forever."""
    accounts = Accounts(nodes, now_ms)
    await store.allow(*ALL, "-pexpire")
    with contextlib.suppress(StoreRefuses):
        await accounts.wait_s("dana", 1, 60)
    assert await admin.keys("lb:rate:*") == []


async def test_token_is_revoked_when_the_memory_is_full(
    store: Conditioned, admin: Redis, nodes: Nodes
) -> None:
    accounts = Accounts(nodes, now_ms)
    secret = await accounts.create_token("desk")
    await admin.config_set("maxmemory", 1)
    try:
        await accounts.revoke_token("desk")
        assert await accounts.token_caller(secret) is None
    finally:
        await admin.config_set("maxmemory", 0)
