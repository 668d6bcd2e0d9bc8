"""The stage of a fault: a store, two servers behind faulty networks, busy editors, and readers.

`Stage.play` runs one row of the fault matrix: editors publish and readers follow, the fault
happens, all readers catch up within the row's limit, and kit/judge.py compares what they applied
with the store.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from kit import matrix
from kit.audience import TRANSPORTS, Audience, Transport, Viewer
from kit.judge import History, Kept, Position, judge
from kit.newsroom import Newsroom
from kit.proxy import Proxy
from kit.servers import Editor, Server, StoreProcess
from kit.waiting import SCALE, until
from kit.windows import add_editor

READERS: Final = 200
HEARTBEAT_S: Final = 5.0
WARM: Final = 12  # changes before the fault
PLAY_S: Final = 180.0  # the deadline of a row; the longest row takes 60 s
JOINED_MIN: Final = 0.5  # the share of `Audience.left` that must join before they leave
CONVERGE_S: Final = 5.0
RECONNECT_S: Final = 15.0  # readers reconnect within 10 s, and then catch up
SETTINGS: Final = {"LIVEBLOG_HEARTBEAT_S": f"{HEARTBEAT_S:g}", "LIVEBLOG_DRAIN_S": "2"}


@dataclass
class Show:
    """Watches one row of the fault matrix: waits for editors and readers, and counts reconnects.

    `forfeited` is the history that the fault loses on purpose: the check of each of its offsets.
    `over_s` is the monotonic time at which the fault ended.
    """

    server: Server
    blog: dict[str, Any]
    history: History
    newsroom: Newsroom
    audience: Audience
    store: redis.Redis
    within_s: float
    forfeited: list[str] = field(default_factory=list)
    over_s: float = 0.0
    _converged_s: float = 0.0
    reconnects_before: int = 0
    resets_before: int = 0

    @property
    def slug(self) -> str:
        return str(self.blog["slug"])

    @property
    def kept(self) -> Kept:
        """The blog in the store, for kit/judge.py."""
        return Kept(self.store, self.slug)

    def head(self) -> Position:
        return self.kept.position()

    def behind(self, wanted: Position | None = None) -> list[Viewer]:
        """Return the readers that have not reached position `wanted` in the store's history.

        None means the store's newest position. When `wanted` has an earlier epoch, readers must
        have reached the first offset of the present epoch.
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

        return [it for it, at in self.audience.positions().items() if not is_there(at)]

    async def caught_up(self, wanted: Position | None = None, within_s: float = 10) -> None:
        """Wait until no reader is behind. Raises AssertionError with those that are."""
        try:
            await until(lambda: not self.behind(wanted), within_s)
        except TimeoutError:
            late = [f"{it.number} ({it.transport}) at {it.position}" for it in self.behind(wanted)]
            problem = f"{len(late)} readers are not at {self.head()}: {late[:5]}"
            raise AssertionError(problem) from None

    async def changes(self, count: int = WARM) -> None:
        """Wait until `count` changes have been confirmed to editors since this call."""
        wanted = len(self.newsroom.acknowledged) + count
        await until(lambda: len(self.newsroom.acknowledged) >= wanted, 60)

    async def publish(self, editor: Editor) -> None:
        """Publish one entry, and note it in the newsroom's history."""
        mark = f"x{len(self.newsroom.acknowledged)}-1"
        self.newsroom.note_by_hand(await editor.publish(self.slug, f"{mark} by hand."))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the store delay all writes for 60 s. The block should end this pause earlier."""
        self.store.client_pause(60_000, all=False)
        yield

    def turn_to(self, store: redis.Redis) -> None:
        """Compare readers from now on with `store`, which took over from the present store."""
        self.store.close()
        self.store = store

    async def add_editor(self, name: str) -> None:
        await add_editor(self.server, name)

    async def converged(self) -> float:
        """Wait until all readers have a change confirmed after the fault.

        Return the seconds since the fault ended.
        """
        if not self._converged_s:
            self.over_s = self.over_s or time.monotonic()
            await self.changes(1)
            await self.caught_up(self.head(), self.within_s + 10)
            self._converged_s = time.monotonic() - self.over_s
        return self._converged_s

    def over(self) -> None:
        """Note that the fault ends now. The time to converge counts from here."""
        self.over_s = time.monotonic()

    def forfeit(self) -> None:
        """Note that the fault loses the store's present changes on purpose.

        Call this while the store accepts no writes, so that it has every change that will be lost.
        The editors' list may lack some: an answer may arrive after the loss.
        """
        self.history.look(self.kept)
        self.forfeited = self.history.branches[-1]

    def reconnects(self) -> int:
        return self.audience.reconnects() - self.reconnects_before

    def resets(self) -> int:
        return self.audience.resets() - self.resets_before


@dataclass
class Stage:
    """Runs rows of the fault matrix on servers that reach one store through proxies.

    `client` returns a client of the store itself, without a proxy. Readers and editors use `urls`,
    by default the URLs of the servers.
    """

    client: Callable[[], redis.Redis]
    proxies: list[Proxy]
    servers: list[Server]
    urls: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def half_open(self) -> Iterator[None]:
        """Drop all bytes to and from the store silently, also of connections made in the block."""
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
        transports: Sequence[Transport] = TRANSPORTS,
    ) -> AsyncIterator[Show]:
        """Run one row of the fault matrix; the block causes the fault.

        Within `within_s` after the block, every reader must have a change that was made after the
        fault. Once the editors have stopped, every reader must reach the store's position. Then
        kit/judge.py compares all readers with the store, and the row is added to the matrix.

        Editors write to the servers `desks`, by default to those of the readers.
        """
        urls = self.urls or [server.url for server in self.servers]
        async with asyncio.timeout(PLAY_S * SCALE), contextlib.AsyncExitStack() as stack:
            store = stack.enter_context(contextlib.closing(self.client()))
            calls = await stack.enter_async_context(self.servers[0].editor())
            blog = await calls.blog(title=fault)
            history = History(blog["slug"])
            token = await self.servers[0].token()
            newsroom = await stack.enter_async_context(Newsroom(desks or urls, token, history))
            audience = await stack.enter_async_context(
                Audience(readers, urls, blog["slug"], transports)
            )
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
        assert came >= len(left) * JOINED_MIN, f"{came} of {len(left)} passing readers joined"
        assert converged_s <= within_s * SCALE, (
            f"converged after {converged_s:.1f} s, not {within_s:g}"
        )


def gauge(server: Server, name: str) -> int:
    """Return a number from a server's metrics."""
    found = re.search(rf"^{name} (\S+)$", server.text("/metrics"), re.MULTILINE)
    assert found, name
    return int(float(found[1]))


@contextlib.asynccontextmanager
async def servers_on(
    urls: Sequence[str], logs: Path, *arguments: str, **settings: str
) -> AsyncIterator[list[Server]]:
    """Run a server for each URL of a store until the block ends, and stop each with SIGTERM.

    Threads start and stop them, because their proxies run in this thread's event loop.
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
async def proxies_of(store: StoreProcess, count: int = 2) -> AsyncIterator[list[Proxy]]:
    """Run proxies between a store and its servers until the block ends."""
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
    """Yield a stage on a running store, with two servers that reach it through a proxy each."""
    async with (
        proxies_of(store) as proxies,
        servers_on([proxy.url for proxy in proxies], logs, **settings) as servers,
    ):
        yield Stage(store.client, proxies, servers)
