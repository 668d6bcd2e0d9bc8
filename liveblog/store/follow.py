"""Following Redis pub/sub: supervised connections that carry the loaded blogs' channels.

One connection, or in a cluster one to each node that has such channels (sharded pub/sub). redis-py
subscribes again silently after a lost connection, and what was published meanwhile is gone. So the
connections are ours: subscriptions are altered only here, each confirmation makes the hub read the
state, and a probe that we publish ourselves shows every PROBE_EVERY_S that messages arrive at all
(a half-open connection gives no error).

Rules: never fans out, only hands over; a task that reads too slowly is cut off by the store
(client-output-buffer-limit pubsub).
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from redis.exceptions import MovedError, RedisError

from liveblog.blog.model import new_id
from liveblog.blog.problem import StoreDown
from liveblog.blog.timeline import Changes
from liveblog.store.codec import channel, decode_message
from liveblog.store.nodes import Node, Nodes
from liveblog.tasks import stop, until_one_ends

log = logging.getLogger(__name__)

PROBE_EVERY_S: Final = 2.0
PROBE_WITHIN_S: Final = 2.0
CONFIRM_WITHIN_S: Final = 2.0
RETRY_S: Final = (0.1, 2.0)
PLACE_AGAIN_S: Final = 0.5  # until channels that no node had are looked for once more


class _Words(NamedTuple):
    """How a kind of pub/sub is spoken: two commands, and what the store sends."""

    subscribe: str
    unsubscribe: str
    subscribed: bytes
    unsubscribed: bytes
    message: bytes


_PLAIN: Final = _Words("SUBSCRIBE", "UNSUBSCRIBE", b"subscribe", b"unsubscribe", b"message")
_SHARDED: Final = _Words("SSUBSCRIBE", "SUNSUBSCRIBE", b"ssubscribe", b"sunsubscribe", b"smessage")


class Sink(Protocol):
    """Who is told: the hub."""

    def receive(self, slug: str, changes: Changes | None) -> None: ...
    def resubscribed(self, slug: str) -> None: ...


class Follower:
    """The channels of all loaded blogs, and the lines that carry them.

    `publish_probe(name)` publishes to a channel over the command pool. Nothing is confirmed unless
    `run` is running.
    """

    def __init__(self, nodes: Nodes, publish_probe: Callable[[str], Awaitable[None]]) -> None:
        self._nodes, self._publish_probe = nodes, publish_probe
        self._wanted: dict[str, asyncio.Future[None]] = {}  # slug -> done when confirmed
        self._slugs: dict[bytes, str] = {}
        self._places: dict[str, Line] = {}  # slug -> the line that is to carry its channel
        self._lines: dict[Node, Line] = {}
        self._running: dict[Line, asyncio.Task[None]] = {}
        self._sink: Sink | None = None  # while running
        self._wake = asyncio.Event()
        self._unsettled = False  # channels may be elsewhere by now
        if not nodes.is_cluster:
            self._line(nodes.node(""))  # kept up without channels too: the first need not wait

    # -- subscriptions

    async def follow(self, slug: str) -> None:
        """Subscribe, and return when the store has confirmed it.

        Raises StoreDown after CONFIRM_WITHIN_S.
        """
        if slug not in self._wanted:
            self._wanted[slug] = asyncio.get_running_loop().create_future()
            self._slugs[channel(slug).encode()] = slug
            if not await self._place(slug):
                self.unsettle()
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await asyncio.shield(self._wanted[slug])
        except TimeoutError:
            raise StoreDown("the store did not confirm the subscription in time") from None

    def unfollow(self, slug: str) -> None:
        """Unsubscribe. Messages that still come are ignored."""
        if slug in self._wanted:
            del self._wanted[slug]
            del self._slugs[channel(slug).encode()]
            if line := self._places.pop(slug, None):
                line.leave(channel(slug))

    async def _place(self, slug: str) -> bool:
        """Have the line to the node that has a channel carry it, if none does or another did.

        False when no node is known to have it.
        """
        try:
            line = self._line(self._nodes.node(slug))
        except RedisError:
            return False
        before = self._places.get(slug)
        if before is not line:
            self._unconfirm(slug)
            self._places[slug] = line
            if before:
                before.leave(channel(slug))
        if not self._wanted[slug].done():
            await line.join(channel(slug))
        return True

    # -- running

    async def run(self, sink: Sink) -> None:
        """Keep the lines up, and each channel on the one that can carry it; until cancelled."""
        self._sink = sink
        try:
            for line in self._lines.values():
                self._start(line)
            while True:
                await self._woken()
                if self._unsettled:
                    self._unsettled = False
                    await self._settle()
        finally:
            self._sink = None
            await stop(self._running.values())

    async def _woken(self) -> None:
        """Return when there is something to do; raise what a line failed with, if one did."""
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait(
                [waking, *self._running.values()], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waking.cancel()
        self._wake.clear()
        for task in self._running.values():
            if task.done():
                task.result()

    def _line(self, node: Node) -> "Line":
        if node not in self._lines:
            line = self._lines[node] = Line(node, self._nodes.is_cluster, self._publish_probe, self)
            if self._sink:
                self._start(line)
        return self._lines[node]

    def _start(self, line: "Line") -> None:
        self._running[line] = asyncio.create_task(line.run())
        self._wake.set()  # `run` waits for this one too from now on

    def unsettle(self) -> None:
        """Have it looked up where the channels are; in a cluster they move."""
        if self._nodes.is_cluster:
            self._unsettled = True
            self._wake.set()

    async def _settle(self) -> None:
        """Place all channels by a new map, and again later those that nobody has.

        Where a channel has not moved and is unconfirmed, it is subscribed to once more.
        """
        with contextlib.suppress(RedisError):
            await self._nodes.look_again()
        placed = [await self._place(slug) for slug in list(self._wanted) if slug in self._wanted]
        with contextlib.suppress(RedisError):
            await self._end_lines(set(self._lines) - set(self._nodes.everyone()))
        if not all(placed):
            asyncio.get_running_loop().call_later(PLACE_AGAIN_S, self.unsettle)

    async def _end_lines(self, gone: Iterable[Node]) -> None:
        for node in gone:
            await stop([self._running.pop(self._lines.pop(node))])

    # -- what lines tell

    def heard(self, name: bytes, body: bytes) -> None:
        """Hand a message over."""
        slug = self._slugs.get(name)
        if slug and self._sink:
            self._sink.receive(slug, decode_message(body))

    def subscribed(self, line: "Line", name: bytes) -> None:
        """Note that the store has confirmed a subscription; the state is read after each."""
        slug = self._slugs.get(name)
        if slug and self._sink and self._places.get(slug) is line:
            if not self._wanted[slug].done():
                self._wanted[slug].set_result(None)
            self._sink.resubscribed(slug)

    def unsubscribed(self, line: "Line", name: bytes) -> bool:
        """Say whether a channel that the store has dropped is wanted after all.

        An earlier `unfollow` was overtaken by a `follow` on its way; or a cluster has moved it, and
        will say so to who subscribes again.
        """
        slug = self._slugs.get(name)
        if not slug or self._places.get(slug) is not line:
            return False
        self._unconfirm(slug)
        return True

    def lost(self, line: "Line") -> None:
        """Note that nothing is subscribed to on a line any more."""
        for slug, place in self._places.items():
            if place is line:
                self._unconfirm(slug)
        self.unsettle()

    def _unconfirm(self, slug: str) -> None:
        if self._wanted[slug].done():
            self._wanted[slug] = asyncio.get_running_loop().create_future()


class Line:
    """One supervised connection to one node, and the channels that it is to carry."""

    def __init__(
        self,
        node: Node,
        is_sharded: bool,
        publish_probe: Callable[[str], Awaitable[None]],
        follower: Follower,
    ) -> None:
        self._node, self._follower = node, follower
        self._publish_probe = publish_probe
        self._is_sharded = is_sharded
        self._words = _SHARDED if is_sharded else _PLAIN
        self._channels: dict[str, None] = {}
        self._id = new_id("", 12)
        self._probe = ""
        self._probed = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()  # a task without a reference may vanish
        self._connection: Any = None

    async def join(self, name: str) -> None:
        """Carry a channel from now on."""
        self._channels[name] = None
        await self._command(self._words.subscribe, name)

    def leave(self, name: str) -> None:
        """Carry a channel no longer."""
        self._channels.pop(name, None)
        leaving = asyncio.create_task(self._command(self._words.unsubscribe, name))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _command(self, *words: str) -> None:
        """Send, when connected; else the next session subscribes to everything wanted."""
        if self._connection:
            try:
                await self._connection.send_command(*words)
            except (RedisError, OSError):
                log.debug("a pub/sub connection was lost while sending %s", words[0])

    async def run(self) -> None:
        """Keep a session up; until cancelled."""
        wait_s = RETRY_S[0]
        while True:
            try:
                await self._session()
            except (RedisError, OSError, StoreDown) as error:
                log.warning("pub/sub: connecting again after: %s", error)
            if self._probed.is_set():
                wait_s = RETRY_S[0]
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S[1], wait_s * 2)

    async def _session(self) -> None:
        connection = self._node.redis.connection_pool.make_connection()
        self._probed.clear()
        # In a cluster its slot is the node's own, so that it proves this very connection. By the
        # present map: a slot that moves takes the probe away, and so ends the session.
        self._probe = f"{self._node.prefix}probe:{self._id}"
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await connection.connect()
            # Before the list is made, so that no `join` falls between.
            self._connection = connection
            await self._subscribe(connection, [self._probe, *self._channels])
            await until_one_ends(self._read(connection), self._check())
        finally:
            self._connection = None
            self._follower.lost(self)
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: Any, names: list[str]) -> None:
        """Send one command; in a cluster one for each channel, since their slots differ."""
        for some in [[name] for name in names] if self._is_sharded else [names]:
            await connection.send_command(self._words.subscribe, *some)

    async def _read(self, connection: Any) -> None:
        words, told = self._words, self._follower
        while True:
            try:
                kind, name, body = await connection.read_response(timeout=math.inf)
            except MovedError:
                told.unsettle()
                continue
            if name == self._probe.encode():
                self._probed.set()
            elif kind == words.message:
                told.heard(name, body)
            elif kind == words.subscribed:
                told.subscribed(self, name)
            elif kind == words.unsubscribed and told.unsubscribed(self, name):
                await connection.send_command(words.subscribe, name)

    async def _check(self) -> None:
        """Publish a probe and expect it on the pub/sub connection.

        The end of the session when it does not come.
        """
        while True:
            self._probed.clear()
            await self._publish_probe(self._probe)
            try:
                # Not wait_for, see `stop`.
                async with asyncio.timeout(PROBE_WITHIN_S):
                    await self._probed.wait()
            except TimeoutError:
                raise TimeoutError("a probe did not come back; the connection is dead") from None
            await asyncio.sleep(PROBE_EVERY_S)
