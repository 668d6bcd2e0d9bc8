"""Redis pub/sub: supervised connections for the channels of the blogs that the worker has loaded.

There is one connection; in a cluster one to each node that has such a channel (sharded pub/sub).

redis-py's own pub/sub is not used: it resubscribes silently after a lost connection, and the
messages published meanwhile are lost. Here the hub reads a blog's state after each confirmed
subscription. A half-open connection gives no error. So the follower publishes a probe, an empty
message to itself, every PROBE_EVERY_S, and drops a connection on which the probe does not arrive.

Rules: passes each message to the hub at once. The store disconnects a subscriber that reads too
slowly (client-output-buffer-limit pubsub).
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import MovedError, RedisError, ResponseError

from liveblog.blog.model import new_id
from liveblog.blog.problem import StoreDown, StoreRefuses
from liveblog.blog.timeline import Changes
from liveblog.seldom import Seldom
from liveblog.store.codec import channel, decode_message
from liveblog.store.nodes import Node, Nodes
from liveblog.store.refusals import refusal_of
from liveblog.tasks import stop, until_one_ends

log = logging.getLogger(__name__)

PROBE_EVERY_S: Final = 2.0
PROBE_WITHIN_S: Final = 2.0
CONFIRM_WITHIN_S: Final = 2.0
RETRY_S: Final = (0.1, 2.0)
PLACE_AGAIN_S: Final = 0.5  # pause until the follower looks again for a channel's unknown node


class _Words(NamedTuple):
    """The commands of plain or sharded pub/sub, and the kinds of messages that the store sends."""

    subscribe: str
    unsubscribe: str
    subscribed: bytes
    unsubscribed: bytes
    message: bytes


_PLAIN: Final = _Words("SUBSCRIBE", "UNSUBSCRIBE", b"subscribe", b"unsubscribe", b"message")
_SHARDED: Final = _Words("SSUBSCRIBE", "SUNSUBSCRIBE", b"ssubscribe", b"sunsubscribe", b"smessage")


class Sink(Protocol):
    """The hub: receives the messages, and the confirmations of subscriptions."""

    def receive(self, slug: str, changes: Changes | None) -> None: ...
    def resubscribed(self, slug: str) -> None: ...


class Follower:
    """Subscribes to the channels of all blogs that the worker has loaded.

    A `Line` is one pub/sub connection to one node. `publish_probe(name)` publishes an empty message
    to a channel, to test the pub/sub connection. It uses another connection, one that commands use.
    Lines connect, and subscriptions are confirmed, only while `run` is running.
    """

    def __init__(self, nodes: Nodes, publish_probe: Callable[[str], Awaitable[None]]) -> None:
        self._nodes, self._publish_probe = nodes, publish_probe
        # slug -> a future that is done when the store has confirmed the subscription
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._slugs: dict[bytes, str] = {}
        self._places: dict[str, Line] = {}  # slug -> the connection to the channel's node
        self._lines: dict[Node, Line] = {}
        self._running: dict[Line, asyncio.Task[None]] = {}
        self._sink: Sink | None = None  # the hub, while `run` is running
        self._wake = asyncio.Event()
        self._is_unplaced = False  # True when channels may have moved to other nodes
        if not nodes.is_cluster:
            # Connect before any blog is followed, so that the first subscription is fast.
            self._line(nodes.node(""))

    # -- subscriptions

    async def follow(self, slug: str) -> None:
        """Subscribe to a blog's channel, and return when the store has confirmed the subscription.

        Raises StoreDown after CONFIRM_WITHIN_S.
        """
        if slug not in self._wanted:
            self._wanted[slug] = asyncio.get_running_loop().create_future()
            self._slugs[channel(slug).encode()] = slug
            if not await self._place(slug):
                self.place_again()
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await asyncio.shield(self._wanted[slug])
        except TimeoutError:
            raise StoreDown("the store did not confirm the subscription in time") from None

    def unfollow(self, slug: str) -> None:
        """Unsubscribe from a blog's channel. Messages that still arrive are ignored."""
        if slug in self._wanted:
            del self._wanted[slug]
            del self._slugs[channel(slug).encode()]
            if line := self._places.pop(slug, None):
                line.leave(channel(slug))

    async def _place(self, slug: str) -> bool:
        """Assign a blog's channel to the connection to its node, and subscribe to it.

        A confirmed subscription stays. Return False when no node is known to have the channel.
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
        """Keep all pub/sub connections open, until cancelled.

        When channels move to other nodes of a cluster, subscribe to them there.
        """
        self._sink = sink
        try:
            for line in self._lines.values():
                self._start(line)
            while True:
                await self._woken()
                if self._is_unplaced:
                    self._is_unplaced = False
                    await self._place_all()
        finally:
            self._sink = None
            await stop(self._running.values())

    async def _woken(self) -> None:
        """Wait until `_wake` is set or the task of a connection ends.

        Raises the exception of a failed task.
        """
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
        self._wake.set()  # wakes `run`, so that it notices when this new task ends

    def place_again(self) -> None:
        """Make `run` find the node of each channel again, and subscribe to moved channels there.

        Does nothing outside of a cluster.
        """
        if self._nodes.is_cluster:
            self._is_unplaced = True
            self._wake.set()

    async def _place_all(self) -> None:
        """Read which node has each slot, and assign each channel to the connection to its node.

        Retry later for channels that no node has. A channel without a confirmed subscription is
        subscribed to once more, even if it has not moved.
        """
        with contextlib.suppress(RedisError):
            await self._nodes.look_again()
        placed = [await self._place(slug) for slug in list(self._wanted) if slug in self._wanted]
        with contextlib.suppress(RedisError):
            await self._end_lines(set(self._lines) - set(self._nodes.everyone()))
        if not all(placed):
            asyncio.get_running_loop().call_later(PLACE_AGAIN_S, self.place_again)

    async def _end_lines(self, gone: Iterable[Node]) -> None:
        for node in gone:
            await stop([self._running.pop(self._lines.pop(node))])

    # -- called by each `Line`

    def received(self, name: bytes, body: bytes) -> None:
        """Pass a message to the hub; messages of unfollowed channels are ignored."""
        slug = self._slugs.get(name)
        if slug and self._sink:
            try:
                self._sink.receive(slug, decode_message(body))
            except Exception:  # live/watch.py finds what the blog lacks now; others go on
                log.exception("blog %s: message not applied", slug)

    def subscribed(self, line: "Line", name: bytes) -> None:
        """Note a confirmed subscription, and notify the hub, which then reads the blog's state."""
        slug = self._slugs.get(name)
        if slug and self._sink and self._places.get(slug) is line:
            if not self._wanted[slug].done():
                self._wanted[slug].set_result(None)
            try:
                self._sink.resubscribed(slug)
            except Exception:
                log.exception("blog %s: not repaired after its subscription", slug)

    def unsubscribed(self, line: "Line", name: bytes) -> bool:
        """Note an ended subscription, and return whether the connection must subscribe again.

        Two cases make this necessary. A `follow` came before the store had executed the last
        `unfollow`. Or a cluster has moved the channel to another node: the store then answers the
        new attempt with the error MOVED, which makes the follower find the channel's node.
        """
        slug = self._slugs.get(name)
        if not slug or self._places.get(slug) is not line:
            return False
        self._unconfirm(slug)
        return True

    def lost(self, line: "Line") -> None:
        """Note that a pub/sub connection is lost, with all its subscriptions."""
        for slug, place in self._places.items():
            if place is line:
                self._unconfirm(slug)
        self.place_again()

    def _unconfirm(self, slug: str) -> None:
        if self._wanted[slug].done():
            self._wanted[slug] = asyncio.get_running_loop().create_future()


class Line:
    """Keeps one pub/sub connection to one node open, and subscribes to its channels there."""

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
        # Running tasks. asyncio has only weak references to tasks, so without this set Python could
        # delete a task before its end.
        self._leaving: set[asyncio.Task[None]] = set()
        self._connection: AbstractConnection | None = None
        self._logged = Seldom()

    async def join(self, name: str) -> None:
        """Add a channel to this connection, and subscribe to it."""
        self._channels[name] = None
        await self._command(self._words.subscribe, name)

    def leave(self, name: str) -> None:
        """Remove a channel from this connection, and unsubscribe from it."""
        self._channels.pop(name, None)
        leaving = asyncio.create_task(self._command(self._words.unsubscribe, name))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _command(self, *words: str) -> None:
        """Send a command when connected. A new connection subscribes to all channels by itself."""
        if self._connection:
            try:
                await self._connection.send_command(*words)
            except (RedisError, OSError):
                log.debug("pub/sub: connection lost while sending %s", words[0])

    async def run(self) -> None:
        """Stay connected until cancelled: reconnect after each lost connection."""
        wait_s = RETRY_S[0]
        while True:
            try:
                await self._session()
            except (RedisError, OSError, StoreDown) as error:
                self._log_loss(error)
            if self._probed.is_set():
                wait_s = RETRY_S[0]
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S[1], wait_s * 2)

    def _log_loss(self, error: Exception) -> None:
        """Log why the connection is lost. live/watch.py logs a store that refuses subscriptions."""
        if isinstance(error, ResponseError) and refusal_of(error):
            return
        text = str(error) or type(error).__name__
        if self._logged.may(text):
            log.warning("pub/sub: connection lost, reconnecting: %s", text)

    async def _session(self) -> None:
        connection: AbstractConnection = self._node.pool.make_connection()
        self._probed.clear()
        # A probe is an empty message that `_check` publishes to test this connection. In a cluster
        # the slot of its channel is on this node. When the slot moves, probes no longer arrive, and
        # `run` reconnects.
        self._probe = f"{self._node.prefix}probe:{self._id}"
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await connection.connect()
            # Set before `_channels` is read. A later `join` then finds the connection, so no
            # channel is left without a subscription.
            self._connection = connection
            await self._subscribe(connection, [self._probe, *self._channels])
            await until_one_ends(self._read(connection), self._check())
        finally:
            self._connection = None
            self._follower.lost(self)
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: AbstractConnection, names: list[str]) -> None:
        """Subscribe to all channels with one command; in a cluster, with one for each channel.

        In a cluster one command cannot name channels of different slots.
        """
        for some in [[name] for name in names] if self._is_sharded else [names]:
            await connection.send_command(self._words.subscribe, *some)

    async def _read(self, connection: AbstractConnection) -> None:
        words, follower = self._words, self._follower
        while True:
            try:
                kind, name, body = await connection.read_response(timeout=math.inf)
            except MovedError:
                follower.place_again()
                continue
            if name == self._probe.encode():
                self._probed.set()
            elif kind == words.message:
                follower.received(name, body)
            elif kind == words.subscribed:
                follower.subscribed(self, name)
            elif kind == words.unsubscribed and follower.unsubscribed(self, name):
                await connection.send_command(words.subscribe, name)

    async def _check(self) -> None:
        """Publish empty messages (probes), and expect each on this connection, until cancelled.

        Raises TimeoutError when a probe does not arrive within PROBE_WITHIN_S; `run` then
        reconnects.
        """
        while True:
            self._probed.clear()
            try:
                await self._publish_probe(self._probe)
            except StoreRefuses:  # the connection is kept: no message can arrive that it would miss
                await asyncio.sleep(PROBE_EVERY_S)
                continue
            try:
                # `asyncio.wait_for` is not used: it can swallow a cancellation, as `tasks.stop`
                # explains.
                async with asyncio.timeout(PROBE_WITHIN_S):
                    await self._probed.wait()
            except TimeoutError:
                raise TimeoutError("a probe did not arrive, so the connection is dead") from None
            await asyncio.sleep(PROBE_EVERY_S)
