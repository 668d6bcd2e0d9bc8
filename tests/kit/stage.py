"""The stage of a fault: a store, two workers that reach it through doors on which things go wrong,
editors who never stop, and readers on both workers.

`Stage.play` runs one row of the matrix: everybody at work, the fault, everybody caught up within the
row's limit, and the judge.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from kit import matrix
from kit.audience import LANES, Audience, Lane, Viewer
from kit.judge import History, Kept, Position, judge
from kit.newsroom import Newsroom
from kit.proxy import Proxy
from kit.servers import Editor, Server, StoreProcess
from kit.waiting import SCALE, until
from kit.windows import add_editor

LONG: Final = bool(os.environ.get("CHAOS_LONG"))  # the faults' full lengths
READERS: Final = 200
HEARTBEAT_S: Final = 5.0
WARM: Final = 12  # changes before the fault
PLAY_S: Final = 180.0  # one row takes, at most
MOST: Final = 0.5  # of those who come and go join; the others find nobody there
CONVERGE_S: Final = 5.0
RECONNECT_S: Final = 15.0
SETTINGS: Final = {"LIVEBLOG_HEARTBEAT_S": f"{HEARTBEAT_S:g}", "LIVEBLOG_DRAIN_S": "2"}


def length(long_s: float, short_s: float) -> float:
    """Return how long a fault lasts: all of it in `make chaos`, less in `make test`."""
    return long_s if LONG else short_s


@dataclass
class Show:
    """One row while it is played."""

    server: Server
    blog: dict[str, Any]
    history: History
    newsroom: Newsroom
    audience: Audience
    store: redis.Redis
    within_s: float
    forfeited: list[str] = field(default_factory=list)  # the branch that an old primary took along
    over_s: float = 0.0
    _converged_s: float = 0.0
    reconnects_before: int = 0
    resets_before: int = 0

    @property
    def slug(self) -> str:
        return str(self.blog["slug"])

    @property
    def kept(self) -> Kept:
        """The blog as the store has it."""
        return Kept(self.store, self.slug)

    def head(self) -> Position:
        return self.kept.position()

    def behind(self, wanted: Position | None = None) -> list[Viewer]:
        """Return who is not on the store's history, or below a position of it; None: below its top.

        Of a position of an earlier epoch: who is below the begin of the present one.
        """
        (epoch, top, _), chain, least = self.head(), self.kept.chain(), 0
        if wanted:
            least = max(self.kept.base(), wanted.offset if wanted.epoch == epoch else 0)

        def is_there(at: Position | None) -> bool:
            return (
                at is not None
                and at.epoch == epoch
                and (least or top) <= at.offset <= len(chain)
                and chain[at.offset - 1] == at.check
            )

        return [who for who, at in self.audience.positions().items() if not is_there(at)]

    async def caught_up(self, wanted: Position | None = None, within_s: float = 10) -> None:
        """Wait until nobody is behind. Raises AssertionError that says who is, and where."""
        try:
            await until(lambda: not self.behind(wanted), within_s)
        except TimeoutError:
            late = [f"{it.number} ({it.lane}) at {it.position}" for it in self.behind(wanted)]
            said = f"{len(late)} are not where the store is, {self.head()}: {late[:5]}"
            raise AssertionError(said) from None

    async def changes(self, count: int = WARM) -> None:
        """Wait for so many more confirmed changes."""
        wanted = len(self.newsroom.acknowledged) + count
        await until(lambda: len(self.newsroom.acknowledged) >= wanted, 60)

    async def publish(self, editor: Editor) -> None:
        """Publish one entry, and note it as the newsroom does."""
        mark = f"x{len(self.newsroom.acknowledged)}-1"
        self.newsroom.note_by_hand(await editor.publish(self.slug, f"{mark} by hand."))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the store take no writes inside the block; who ends that is the block's matter."""
        self.store.client_pause(60_000, all=False)
        yield

    def turn_to(self, store: redis.Redis) -> None:
        """Judge by another store from now on: the one that took over."""
        self.store.close()
        self.store = store

    async def add_editor(self, name: str) -> None:
        await add_editor(self.server, name)

    async def converged(self) -> float:
        """Wait until all readers have what was confirmed after the fault; return how long it took."""
        if not self._converged_s:
            self.over_s = self.over_s or time.monotonic()
            await self.changes(1)
            await self.caught_up(self.head(), self.within_s + 10)
            self._converged_s = time.monotonic() - self.over_s
        return self._converged_s

    def over(self) -> None:
        """Say that the fault ends now; from here on the time to converge is taken."""
        self.over_s = time.monotonic()

    def forfeit(self) -> None:
        """Say that all that the store has now may be gone: the row's fault is that loss.

        The store takes no writes meanwhile. An editor may hear of such a change later than this.
        """
        self.history.look(self.kept)
        self.forfeited = self.history.branches[-1]

    def reconnects(self) -> int:
        return self.audience.reconnects() - self.reconnects_before

    def resets(self) -> int:
        return self.audience.resets() - self.resets_before


@dataclass
class Stage:
    """A store, its doors and the servers behind them. `urls`: what readers and editors are given."""

    client: Callable[[], redis.Redis]  # speaks to the store itself, past the doors
    proxies: list[Proxy]
    servers: list[Server]
    urls: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def half_open(self) -> Iterator[None]:
        """Have the network forget all connections to the store, and those made inside the block."""
        with contextlib.ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy.half_open())
            yield

    @contextlib.asynccontextmanager
    async def play(
        self,
        fault: str,
        *,
        within_s: float = CONVERGE_S,
        readers: int = READERS,
        desks: Sequence[str] = (),
        lanes: Sequence[Lane] = LANES,
    ) -> AsyncIterator[Show]:
        """Play one row; its block is the fault.

        After it every reader must reach, within `within_s` of the fault's end, where the store was
        then; and when the editors have stopped, where it is. Then the judge is asked, and the row
        kept for the matrix. `desks`: the servers that the editors write to, if not the readers'.
        """
        urls = self.urls or [server.url for server in self.servers]
        async with asyncio.timeout(PLAY_S * SCALE), contextlib.AsyncExitStack() as stack:
            store = stack.enter_context(contextlib.closing(self.client()))
            calls = await stack.enter_async_context(self.servers[0].editor())
            blog = await calls.blog(title=fault)
            history = History(blog["slug"])
            token = await self.servers[0].token()
            newsroom = await stack.enter_async_context(Newsroom(desks or urls, token, history))
            audience = await stack.enter_async_context(Audience(readers, urls, blog["slug"], lanes))
            show = Show(self.servers[0], blog, history, newsroom, audience, store, within_s)
            await show.changes()
            show.reconnects_before = audience.reconnects()
            show.resets_before = audience.resets()
            yield show
            converged_s = await show.converged()
            await show.changes(3)
            await newsroom.close()
            await show.caught_up(None, within_s)
            self._judge(fault, show, converged_s, within_s)

    def _judge(self, fault: str, show: Show, converged_s: float, within_s: float) -> None:
        acknowledged = show.newsroom.acknowledged
        forfeited = [it for it in acknowledged if show.history.holds(show.forfeited, it)]
        owed = [it for it in acknowledged if it not in forfeited]
        stories = [viewer.story for viewer in show.audience.viewers]
        left = [viewer.story for viewer in show.audience.left]
        verdict = judge(show.history, stories, show.kept, owed, left)
        gone = sum(not show.history.has(it) for it in forfeited)
        row = matrix.Row(
            fault,
            readers=len(stories) + len(left),
            published=show.newsroom.published,
            acknowledged=len(acknowledged),
            gone=gone,
            lost=verdict.lost,
            duplicated=verdict.duplicated,
            reordered=verdict.reordered,
            unannounced=verdict.unannounced,
            reconnects=show.reconnects(),
            converged_s=converged_s,
            within_s=within_s,
        )
        matrix.ROWS.append(row)
        assert verdict.is_clean, "\n".join(verdict.because)
        if not show.forfeited:
            assert not show.newsroom.refused, show.newsroom.refused
        came = sum(bool(viewer.joins) for viewer in show.audience.left)
        assert came >= len(left) * MOST, f"of {len(left)} who came and went, {came} joined"
        assert converged_s <= within_s * SCALE, (
            f"converged after {converged_s:.1f} s, not {within_s:g}"
        )


def gauge(server: Server, name: str) -> int:
    """Return a number from a server's metrics."""
    found = re.search(rf"^{name} (\S+)$", server.text("/metrics"), re.MULTILINE)
    assert found, name
    return int(float(found[1]))


def repairs(server: Server) -> int:
    """Return how many repair reads a server has made since it started."""
    return gauge(server, "liveblog_repairs_total")


@contextlib.asynccontextmanager
async def servers_on(
    urls: Sequence[str], logs: Path, *arguments: str, **settings: str
) -> AsyncIterator[list[Server]]:
    """Run a server for each URL of a store, until the block ends; all of them stop as asked then.

    Started and stopped in threads, since their doors to the store are in this one.
    """
    made = [
        Server(logs / f"server-{number}", *arguments, REDIS_URL=url, **{**SETTINGS, **settings})
        for number, url in enumerate(urls)
    ]
    try:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in made))
        yield made
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in made))
    finally:
        for server in made:
            server.kill()


@contextlib.asynccontextmanager
async def doors(store: StoreProcess, count: int = 2) -> AsyncIterator[list[Proxy]]:
    """Open doors to a store."""
    proxies = [Proxy(store.socket) for _ in range(count)]
    for proxy in proxies:
        await proxy.start()
    try:
        yield proxies
    finally:
        for proxy in proxies:
            await proxy.stop()


@contextlib.asynccontextmanager
async def stage_on(store: StoreProcess, logs: Path, **settings: str) -> AsyncIterator[Stage]:
    """Yield a stage on a store that runs: two servers of one worker, each with its own door."""
    async with (
        doors(store) as proxies,
        servers_on([proxy.url for proxy in proxies], logs, **settings) as servers,
    ):
        yield Stage(store.client, proxies, servers)
