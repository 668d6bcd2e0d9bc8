"""Following Redis pub/sub: one supervised connection that carries every loaded blog's channel.

redis-py subscribes again silently after a lost connection, and what was published meanwhile is
gone. So the connection is ours: subscriptions are altered only here, each confirmation makes the
hub read the state, and a probe that we publish ourselves shows every PROBE_EVERY_S that messages
arrive at all (a half-open connection gives no error).

Rules: never fans out, only hands over; a task that reads too slowly is cut off by the store
(client-output-buffer-limit pubsub).
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from liveblog.broker import channel, decode_message
from liveblog.model import StoreDown, new_id
from liveblog.tasks import until_one_ends
from liveblog.timeline import Changes

log = logging.getLogger(__name__)

PROBE_EVERY_S: Final = 2.0
PROBE_WITHIN_S: Final = 2.0
CONFIRM_WITHIN_S: Final = 2.0
RETRY_S: Final = (0.1, 2.0)


class Sink(Protocol):
    """Who is told: the hub."""

    def receive(self, slug: str, changes: Changes | None) -> None: ...
    def resubscribed(self, slug: str) -> None: ...


class Follower:
    """One pub/sub connection.

    `publish_probe(name)` publishes to a channel over the command pool.
    """

    def __init__(self, redis: Redis, publish_probe: Callable[[str], Awaitable[None]]) -> None:
        self._pool: Any = redis.connection_pool  # untyped in redis-py
        self._publish_probe = publish_probe
        self._probe = f"lb:probe:{new_id('', 12)}"
        self._probed = asyncio.Event()
        self._wanted: dict[str, asyncio.Future[None]] = {}  # slug -> done when confirmed
        self._slugs: dict[bytes, str] = {}
        self._leaving: set[asyncio.Task[None]] = set()  # a task without a reference may vanish
        self._connection: Any = None

    # -- subscriptions

    async def follow(self, slug: str) -> None:
        """Subscribe, and return when the store has confirmed it.

        Raises StoreDown after CONFIRM_WITHIN_S.
        """
        if slug not in self._wanted:
            self._wanted[slug] = asyncio.get_running_loop().create_future()
            self._slugs[channel(slug).encode()] = slug
            await self._command("SUBSCRIBE", channel(slug))
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
            leaving = asyncio.create_task(self._command("UNSUBSCRIBE", channel(slug)))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _command(self, *words: str) -> None:
        """Send, when connected; else the next session subscribes to everything wanted."""
        if self._connection:
            try:
                await self._connection.send_command(*words)
            except (RedisError, OSError):
                log.debug("the pub/sub connection was lost while sending %s", words[0])

    # -- the session

    async def run(self, sink: Sink) -> None:
        """Keep a session up; until cancelled."""
        wait_s = RETRY_S[0]
        while True:
            try:
                await self._session(sink)
            except (RedisError, OSError, StoreDown) as error:
                log.warning("pub/sub: connecting again after: %s", error)
            if self._probed.is_set():
                wait_s = RETRY_S[0]
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S[1], wait_s * 2)

    async def _session(self, sink: Sink) -> None:
        connection = self._pool.make_connection()
        self._probed.clear()
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                await connection.connect()
            self._connection = (
                connection  # before the list is made, so that no follow() falls between
            )
            channels = [self._probe, *(channel(slug) for slug in self._wanted)]
            await connection.send_command("SUBSCRIBE", *channels)
            await until_one_ends(self._read(connection, sink), self._check())
        finally:
            self._connection = None
            self._unconfirm()
            await connection.disconnect(nowait=True)

    def _unconfirm(self) -> None:
        for slug, confirmed in self._wanted.items():
            if confirmed.done():
                self._wanted[slug] = asyncio.get_running_loop().create_future()

    async def _read(self, connection: Any, sink: Sink) -> None:
        while True:
            kind, name, body = await connection.read_response(timeout=math.inf)
            if name == self._probe.encode():
                self._probed.set()
                continue
            slug = self._slugs.get(name)
            if slug and kind == b"message":
                sink.receive(slug, decode_message(body))
            elif slug and kind == b"subscribe":
                self._confirm(slug)
                sink.resubscribed(slug)
            elif slug and kind == b"unsubscribe":
                # An earlier `unfollow` was overtaken by a `follow` on its way: wanted after all.
                await connection.send_command("SUBSCRIBE", name)

    def _confirm(self, slug: str) -> None:
        if not self._wanted[slug].done():
            self._wanted[slug].set_result(None)

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
