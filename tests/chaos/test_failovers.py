"""A store that comes back with less than it had: another takes its place, or an old copy of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.proxy import Proxy
from kit.servers import StoreProcess, store_process
from kit.stage import RECONNECT_S, Show, Stage, doors, servers_on
from kit.stores import binary_of
from kit.waiting import until
from kit.watching import stays_in_step
from kit.windows import open_desk, open_page, window
from playwright.async_api import Browser, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

AHEAD = 12  # changes that the old primary alone has


@dataclass
class Replicas:
    """A primary, and two replicas behind links that can be cut; doors lead to the primary."""

    stores: list[StoreProcess]
    links: list[Proxy]
    doors: list[Proxy]

    @property
    def primary(self) -> StoreProcess:
        return self.stores[0]

    def client(self) -> redis.Redis:
        return self.primary.client()

    async def replicate(self) -> None:
        """Have the replicas follow the primary, and wait until they do."""
        following = zip(self.stores[1:], self.links, strict=False)
        await asyncio.gather(*(self._replicate(store, link) for store, link in following))

    async def _replicate(self, store: StoreProcess, link: Proxy) -> None:
        link.upstream = self.primary.socket
        link.cut()
        with contextlib.closing(store.client()) as client:
            await asyncio.to_thread(client.replicaof, "127.0.0.1", link.port)
            await until(partial(_is_in_step, client), 30)

    async def kill_primary(self, show: Show) -> None:
        """Kill the primary, once it is known what it alone had."""
        with contextlib.closing(self.client()) as client:
            client.client_pause(60_000, all=False)  # writes
            show.forfeit()
            self.primary.kill()

    async def promote(self) -> None:
        """Put the first replica in the primary's place; the second follows it."""
        del self.stores[0]
        with contextlib.closing(self.client()) as client:
            client.replicaof("NO", "ONE")
        for door in self.doors:
            door.upstream = self.primary.socket
            door.cut()
        await self.replicate()


def _is_in_step(client: redis.Redis) -> bool:
    return bool(client.info("replication").get("master_link_status") == "up")


@contextlib.asynccontextmanager
async def replicated(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with contextlib.AsyncExitStack() as stack:
        stores = []
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
            store = stack.enter_context(store_process(tmp_path / name, binary_of("valkey")))
            store.start()
            stores.append(store)
        links = await stack.enter_async_context(doors(stores[0]))
        entrances = await stack.enter_async_context(doors(stores[0]))
        replicas = Replicas(stores, links, entrances)
        await replicas.replicate()
        yield replicas


@contextlib.asynccontextmanager
async def staged(replicas: Replicas, logs: Path, **settings: str) -> AsyncIterator[Stage]:
    urls = [door.url for door in replicas.doors]
    async with servers_on(urls, logs, **settings) as servers:
        yield Stage(replicas.client, replicas.doors, servers)


async def test_a_replica_that_lacks_the_last_changes_takes_over_and_reuses_their_numbers(
    tmp_path: Path, browser: Browser
) -> None:
    async with (
        window(browser) as page,
        replicated(tmp_path) as replicas,
        staged(replicas, tmp_path) as stage,
    ):
        fault = "failover to a replica that lacks changes, numbers re-used"
        async with stage.play(fault, within_s=RECONNECT_S) as show:
            await open_page(page, stage.servers[0], show.slug)
            was = await _lose_changes(replicas, show)
            late = [(door, door.heard[-AHEAD:]) for door in replicas.doors]
            await replicas.promote()
            show.turn_to(replicas.client())
            await until(lambda: show.head().epoch != was.epoch)
            for door, messages in late:  # of the old primary, which were on their way for long
                door.say(b"".join(messages))
            show.over()
            await stays_in_step(page, show)
        now = show.head()
        assert now.offset > was.offset
        assert now.epoch != was.epoch
        assert show.resets()


async def _lose_changes(replicas: Replicas, show: Show) -> Any:
    """Have the primary acknowledge changes that no replica has, and die; return where it was."""
    with contextlib.ExitStack() as cut:
        for link in replicas.links:
            cut.enter_context(link.refusing())
        await show.changes(AHEAD)
        head = show.head()
        await until(lambda: not show.behind(head))
        await replicas.kill_primary(show)
    return head


async def test_only_readers_remember_the_changes_that_a_failover_lost(tmp_path: Path) -> None:
    """Every worker is started again meanwhile: none holds the lost history."""
    async with replicated(tmp_path) as replicas, staged(replicas, tmp_path) as stage:
        fault = "the same, and every worker restarted in between"
        async with stage.play(fault, within_s=RECONNECT_S) as show:
            await _lose_changes(replicas, show)
            for server in stage.servers:
                server.kill()
            await replicas.promote()
            show.turn_to(replicas.client())
            await asyncio.gather(*(asyncio.to_thread(it.start) for it in stage.servers))
            show.over()
        assert show.resets() >= len(show.audience.viewers)


async def test_with_durability_replica_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """What no replica confirmed was seen by readers, but acknowledged to nobody."""
    async with (
        replicated(tmp_path) as replicas,
        staged(replicas, tmp_path, LIVEBLOG_DURABILITY="replica") as stage,
    ):
        fault = "failover with LIVEBLOG_DURABILITY=replica"
        async with stage.play(fault, within_s=RECONNECT_S) as show:
            with contextlib.ExitStack() as cut:
                for link in replicas.links:
                    cut.enter_context(link.refusing())
                head = show.head()
                await until(lambda: show.head().offset > head.offset)
                seen = show.head()
                await until(lambda: not show.behind(seen))
                await replicas.kill_primary(show)
            show.forfeited = []
            await replicas.promote()
            show.turn_to(replicas.client())
            show.over()
        assert show.resets()


# -- emptied, and filled with an old copy


def copied(store: Any) -> dict[Any, Any]:
    """Return every key's value, all of one moment."""
    names, pipeline = store.keys("*"), store.pipeline()
    for name in names:
        pipeline.dump(name)
    return {name: value for name, value in zip(names, pipeline.execute(), strict=True) if value}


def bring_back(store: Any, copy: dict[Any, Any]) -> None:
    """Put a copy's keys in place all at once, as a store does that starts with an old file."""
    pipeline = store.pipeline()
    for name, value in copy.items():
        pipeline.restore(name, 0, value, replace=True)
    pipeline.execute()


async def test_an_emptied_store_that_gets_an_old_copy_reconciles_every_page_and_the_desk_says_so(
    stage: Stage, browser: Browser
) -> None:
    first = stage.servers[0]
    async with (
        window(browser) as page,
        window(browser) as desk,
        stage.play("store emptied, restored from an old copy", within_s=RECONNECT_S) as show,
    ):
        await show.add_editor("dana")
        await open_page(page, first, show.slug)
        await open_desk(desk, first, show.slug)
        await desk.evaluate("window.sameDocument = true")
        copy = copied(show.store)
        before = show.head()
        await show.changes(AHEAD)
        show.newsroom.patient = True
        with show.paused():
            show.forfeit()
            forget = show.store.pipeline(transaction=False)
            forget.client_unpause()
            forget.flushall()
            forget.execute()
        await expect(desk.locator("#store")).to_contain_text("no longer has this blog")
        pages = await asyncio.to_thread(first.status, f"/blogs/{show.slug}")
        assert pages == 200
        bring_back(show.store, copy)
        show.over()
        show.newsroom.patient = False
        await expect(desk.locator("#store")).to_contain_text("older state")
        await until(lambda: show.head().epoch != before.epoch)
        await stays_in_step(page, show)
        await stays_in_step(desk, show)
    assert show.resets() >= len(show.audience.viewers)
