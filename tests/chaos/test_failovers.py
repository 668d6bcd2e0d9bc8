"""Stores that lose changes: a replica that lacks them takes over, or an old copy is restored."""

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
from kit.stage import RECONNECT_S, Show, Stage, proxies_of, servers_on
from kit.stores import binary_of
from kit.waiting import until
from kit.watching import stays_in_step
from kit.windows import open_desk, open_page, window
from playwright.async_api import Browser, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

AHEAD = 12  # changes that only the old primary has


@dataclass
class Replicas:
    """A primary store and two replicas.

    Replicas connect to the primary through `links`, liveblog servers through `proxies`.
    """

    stores: list[StoreProcess]
    links: list[Proxy]
    proxies: list[Proxy]

    @property
    def primary(self) -> StoreProcess:
        return self.stores[0]

    def client(self) -> redis.Redis:
        return self.primary.client()

    async def replicate(self) -> None:
        """Make the replicas follow the primary, and wait until they have all its data."""
        following = zip(self.stores[1:], self.links, strict=False)
        await asyncio.gather(*(self._replicate(store, link) for store, link in following))

    async def _replicate(self, store: StoreProcess, link: Proxy) -> None:
        link.upstream = self.primary.socket
        link.cut()
        with contextlib.closing(store.client()) as client:
            await asyncio.to_thread(client.replicaof, "127.0.0.1", link.port)
            await until(partial(_is_in_step, client), 30)

    async def kill_primary(self, show: Show) -> None:
        """Note the changes that only the primary has, and kill the primary."""
        with contextlib.closing(self.client()) as client:
            client.client_pause(60_000, all=False)  # only writes
            show.forfeit()
            self.primary.kill()

    async def promote(self) -> None:
        """Promote the first replica; the second replica follows it."""
        del self.stores[0]
        with contextlib.closing(self.client()) as client:
            client.replicaof("NO", "ONE")
        for proxy in self.proxies:
            proxy.upstream = self.primary.socket
            proxy.cut()
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
        links = await stack.enter_async_context(proxies_of(stores[0]))
        proxies = await stack.enter_async_context(proxies_of(stores[0]))
        replicas = Replicas(stores, links, proxies)
        await replicas.replicate()
        yield replicas


@contextlib.asynccontextmanager
async def staged(replicas: Replicas, logs: Path, **settings: str) -> AsyncIterator[Stage]:
    urls = [proxy.url for proxy in replicas.proxies]
    async with servers_on(urls, logs, **settings) as servers:
        yield Stage(replicas.client, replicas.proxies, servers)


async def test_readers_start_over_when_a_replica_reuses_lost_offsets(
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
            late = [(proxy, proxy.announced[-AHEAD:]) for proxy in replicas.proxies]
            await replicas.promote()
            show.turn_to(replicas.client())
            await until(lambda: show.head().epoch != was.epoch)
            for proxy, messages in late:  # the old primary's messages arrive only now
                proxy.inject(b"".join(messages))
            show.over()
            await stays_in_step(page, show)
        now = show.head()
        assert now.offset > was.offset
        assert now.epoch != was.epoch
        assert show.resets()


async def _lose_changes(replicas: Replicas, show: Show) -> Any:
    """Make changes that no replica gets, and kill the primary; return the blog's last position."""
    with contextlib.ExitStack() as cut:
        for link in replicas.links:
            cut.enter_context(link.refusing())
        await show.changes(AHEAD)
        head = show.head()
        await until(lambda: not show.behind(head))
        await replicas.kill_primary(show)
    return head


async def test_readers_start_over_when_workers_forgot_the_lost_changes(tmp_path: Path) -> None:
    """All workers restart during the failover, so only readers still have the lost changes."""
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


async def test_failover_loses_no_acknowledged_change_with_durability_replica(
    tmp_path: Path,
) -> None:
    """With this setting an editor gets an acknowledgement only after a replica has the change.

    Readers may have seen changes that no replica had, so they start over.
    """
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


# -- a store that lost its data and got an old copy back


def copied(store: Any) -> dict[Any, Any]:
    """Return the result of Redis's DUMP for every key, read in one transaction."""
    names, pipeline = store.keys("*"), store.pipeline()
    for name in names:
        pipeline.dump(name)
    return {name: value for name, value in zip(names, pipeline.execute(), strict=True) if value}


def restore(store: Any, copy: dict[Any, Any]) -> None:
    """Restore a copy's keys in one transaction, like a store that starts with an old file."""
    pipeline = store.pipeline()
    for name, value in copy.items():
        pipeline.restore(name, 0, value, replace=True)
    pipeline.execute()


async def test_pages_and_desk_reconcile_when_a_store_restores_an_old_copy(
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
        restore(show.store, copy)
        show.over()
        await expect(desk.locator("#store")).to_contain_text("older version")
        await until(lambda: show.head().epoch != before.epoch)
        # Until here the newsroom repeats every failed call: while the store was empty, servers
        # answered 401, and such an answer can arrive late.
        show.newsroom.patient = False
        await stays_in_step(page, show)
        await stays_in_step(desk, show)
    assert show.resets() >= len(show.audience.viewers)
