"""The servers behind one URL: which of them has a key, and a plain client for each.

One server, one that sentinels watch over, or the primaries of a cluster. Whoever asks says what
for, in a call that can be made again: where the map of a cluster was wrong, it is read anew, and
the call made a second time.

Why not redis-py's client for clusters: its pipelines forbid EVAL and WAIT on one connection, and
its pub/sub was still being repaired in 8.1. A plain client for each node has neither trouble.

Rules: knows no blogs. Calls are repeated here, so every write that comes through must bear that:
it is idempotent, or counts one try too many. What cannot be asked leaves as the RedisError or
OSError that it is.
"""

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import ConstantBackoff, NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError, RedisError

from liveblog.store.url import Several, several
from liveblog.tasks import stop

SOCKET_TIMEOUT_S: Final = 2.0  # for one try; a call has two
CONNECTIONS_MAX: Final = 100  # to one server
SENTINEL_WITHIN_S: Final = 1.0  # then the next one is asked
LOOK_EVERY_S: Final = 0.25  # a cluster's map is read at most so often
LOOK_WITHIN_S: Final = 1.0  # what nodes say later than that is not waited for
EACH_WITHIN_S: Final = 2.0  # for one node, where several are asked at once

Address = tuple[str, int]
T = TypeVar("T")

# What a wrong map, or a server that is not the primary any more, looks like. ASK and TRYAGAIN are
# not here: while the keys of a slot are carried over one by one, only waiting helps.
_LEFT: Final = (
    MovedError,
    ClusterDownError,
    ReadOnlyError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
)


class Node:
    """One server that takes writes.

    `name` is where it is, "" where there is but one. `prefix` begins the names of channels that are
    this server's own; in a cluster it has a hash tag, which is another when slots have moved.
    """

    def __init__(self, redis: Any, name: str = "") -> None:
        self.redis = redis  # redis-py's hints make every reply str or bytes at once
        self.name = name
        self.prefix = "lb:"


class Nodes(ABC):
    """The servers that keep the blogs. A `name` is a key, or what stands in its braces."""

    is_cluster = False

    @abstractmethod
    def node(self, name: str) -> Node:
        """Return who has a name. Raises ClusterDownError when that is not known."""

    @abstractmethod
    def everyone(self) -> Sequence[Node]:
        """Return all that take writes. Raises ClusterDownError when they are not known."""

    @property
    @abstractmethod
    def map(self) -> object:
        """Return who has what, as far as it is known: another value when that has changed."""

    @abstractmethod
    async def each(
        self,
        names: Sequence[str],
        ask: Callable[[Any, Sequence[str]], Awaitable[Sequence[T | Exception]]],
    ) -> tuple[dict[str, T], str]:
        """Ask everyone at once about those of the names that they have, if any.

        `ask(redis, names)` answers in the order of its names, with an exception for a name that
        cannot be answered for. Return the answers by name, and what is wrong with names and servers
        that have none: "" when all have. Raises what one of the servers raised when none answers.
        In a cluster each has EACH_WITHIN_S.
        """

    @abstractmethod
    async def look_again(self) -> None:
        """Find out anew who has what. Raises RedisError when nobody can say."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""

    def at(self, name: str) -> Any:
        """Return the client of the server that has a name. Raises as `node` does."""
        return self.node(name).redis

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and once more if the map turns out to have changed since it began.

        Raises what the call did; when nobody can tell the map, what they said.
        """
        before = self.map
        try:
            return await call()
        except _LEFT:
            await self.look_again()
            if self.map == before:
                raise
        return await call()

    async def __aenter__(self) -> "Nodes":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def connect(url: str) -> Nodes:
    """Return the servers that a URL names; nothing is asked before the first call.

    One retry, since every write is idempotent and a pooled connection may be stale. More calls at
    once than CONNECTIONS_MAX wait for their turn, SOCKET_TIMEOUT_S at most.
    """
    named = several(url)
    if not named:
        url = url.replace("valkey://", "redis://", 1).replace("valkeys://", "rediss://", 1)
        return One(Redis.from_pool(_Pool.from_url(url, **_limits())))
    if named.kind == "cluster":
        return Cluster(named.hosts, named.is_secure, _options(named))
    return _watched(named)


def _limits() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "max_connections": CONNECTIONS_MAX,
        "timeout": SOCKET_TIMEOUT_S,
        "retry": Retry(ConstantBackoff(0.05), 1),
    }


def _options(named: Several) -> dict[str, Any]:
    """Return our limits, and over them what login and query say, as redis-py reads them."""
    said: dict[str, Any] = {**parse_url(f"redis://{named.login}host?{named.options}")}
    del said["host"]
    return _limits() | said


class _Lost(AbstractConnection):
    """A connection whose loss is always a ConnectionError, and that knows of it.

    uvloop raises RuntimeError for a write to a transport that is closed already
    (uvloop/handles/handle.pyx, `_ensure_alive`).
    """

    broke = False  # in this call, which may have gone well at its second try

    async def send_packed_command(self, *args: Any, **more: Any) -> None:
        try:
            await super().send_packed_command(*args, **more)
        except RuntimeError as error:
            await self.disconnect(nowait=True)
            raise exceptions.ConnectionError(f"closed while it was written to: {error}") from error

    async def disconnect(
        self,
        nowait: bool = False,
        error: Exception | None = None,
        failure_count: int | None = None,
        health_check_failed: bool = False,
    ) -> None:
        """Close; after an error without a farewell.

        With TLS that would be waited for as long as for an answer, and its absence told in place of
        the error.
        """
        self.broke |= error is not None
        await super().disconnect(
            nowait or error is not None, error, failure_count, health_check_failed
        )


class _Pool(BlockingConnectionPool):
    """Connections that are all suspected when one breaks.

    A network that forgets one without a word has mostly forgotten all, and each would cost its
    caller two timeouts more: 5 of 10 s until readers had everything after such a fault.
    """

    def __init__(self, connection_class: type = Connection, **more: Any) -> None:
        kind = type(connection_class.__name__, (_Lost, connection_class), {})
        super().__init__(connection_class=kind, **more)

    async def release(self, connection: Any) -> None:
        """Take a connection back; with a broken one all idle ones are closed."""
        is_broken = connection.broke or not connection.is_connected
        connection.broke = False
        await super().release(connection)
        if is_broken:
            await _hang_up(it for it in self._available_connections if it is not connection)


async def _hang_up(connections: Iterable[Any]) -> None:
    """Close connections without waiting for their other ends, which may be gone."""
    for connection in list(connections):
        await connection.disconnect(nowait=True)


async def _leave(redis: Any) -> None:
    """Close all connections of a client, those in use too."""
    pool = redis.connection_pool
    await _hang_up([*pool._available_connections, *pool._in_use_connections])


# -- one server ------------------------------------------------------------------------------------


class One(Nodes):
    """One server: the same client for everything."""

    def __init__(self, redis: Any) -> None:
        self._node = Node(redis)

    @property
    def map(self) -> object:
        return None

    def node(self, name: str) -> Node:  # noqa: ARG002
        return self._node

    def everyone(self) -> Sequence[Node]:
        return (self._node,)

    async def each(
        self,
        names: Sequence[str],
        ask: Callable[[Any, Sequence[str]], Awaitable[Sequence[T | Exception]]],
    ) -> tuple[dict[str, T], str]:
        return _sorted([(names, await ask(self._node.redis, names))])

    async def look_again(self) -> None:
        """Do nothing: it is where the URL says."""

    async def aclose(self) -> None:
        await self._node.redis.aclose()


class Watched(One):
    """The primary that sentinels name: asked when a connection is made, and when all are asked."""

    def __init__(self, redis: Any, sentinels: Sentinel) -> None:
        super().__init__(redis)
        self._pool, self._sentinels = redis.connection_pool, sentinels

    @property
    def map(self) -> object:
        return self._pool.master_address

    async def each(
        self,
        names: Sequence[str],
        ask: Callable[[Any, Sequence[str]], Awaitable[Sequence[T | Exception]]],
    ) -> tuple[dict[str, T], str]:
        # What is asked every second or two. A primary that was put back lives on, and takes writes
        # that will be lost, for 10 s: so long sentinels wait until they make a replica of it.
        with contextlib.suppress(RedisError):
            await self.look_again()
        return await super().each(names, ask)

    async def look_again(self) -> None:
        """Ask the sentinels; idle connections to a primary that is none any more are closed."""
        await self._pool.get_master_address()

    async def aclose(self) -> None:
        await super().aclose()
        await self._sentinels.aclose()


class _Sentinels(Sentinel):
    """The sentinels, asked one after the other; who has answered is the first next time.

    Not as redis-py does it (8.1): there, of two calls at once that find the first one away, the
    second loses one of the list for ever.
    """

    def __init__(self, hosts: Iterable[Address], **options: Any) -> None:
        Sentinel.__init__(self, hosts, sentinel_kwargs=options)  # untyped, which `super` hides

    async def discover_master(self, service_name: str) -> Address:
        """Return where the primary is. Raises MasterNotFoundError."""
        said: list[str] = []
        for sentinel in list(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except RedisError as error:
                said.append(str(error))
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return state["ip"], state["port"]
            said.append("it knows of none that is up")
        raise MasterNotFoundError(
            f"no sentinel names a primary of {service_name}: {'; '.join(said)}"
        )


class _WatchedPool(SentinelConnectionPool, _Pool):
    """Connections to the primary that the sentinels name when each is made.

    One whose server says READONLY is closed, and the call fails as with a lost connection.
    """

    async def ensure_connection(self, connection: Any) -> None:
        """Connect anew what leads to another server: it was in use when the primary changed."""
        if (connection.host, connection.port) != self.master_address:
            await connection.disconnect()
        await super().ensure_connection(connection)


def _watched(named: Several) -> Watched:
    """Return the primary of the sentinels' service.

    The sentinels have logins of their own, if any: `sentinel_username` and `sentinel_password`.
    """
    options = _options(named)
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinels = _Sentinels(
        named.hosts,
        socket_timeout=SENTINEL_WITHIN_S,
        socket_connect_timeout=SENTINEL_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
        ssl=named.is_secure,
        **own,
        **tls,
    )
    primary = sentinels.master_for(
        named.service, connection_pool_class=_WatchedPool, ssl=named.is_secure, **options
    )
    return Watched(primary, sentinels)


# -- a cluster -------------------------------------------------------------------------------------


class _View(NamedTuple):
    """How one node sees the cluster.

    A later epoch knows more; a node that is cut off from most others says that its state is not ok.
    """

    is_ok: bool
    epoch: int
    slots: list[tuple[int, int, Address]]  # first, last, who has them


class Cluster(Nodes):
    """The primaries of a cluster.

    `seeds` are asked for the map as well as whoever is in it.
    """

    is_cluster = True

    def __init__(self, seeds: Iterable[Address], is_secure: bool, options: dict[str, Any]) -> None:
        self._connections = SSLConnection if is_secure else Connection
        self._options = options
        self._seeds = {address: self._client(address) for address in seeds}
        self._nodes: dict[Address, Node] = {}
        self._owners: list[Node | None] = []  # by slot; replaced when it is another
        self._looking = asyncio.Lock()
        self._looked_at = -LOOK_EVERY_S

    def _client(self, address: Address) -> Redis:
        host, port = address
        pool = _Pool(connection_class=self._connections, host=host, port=port, **self._options)
        return Redis.from_pool(pool)

    @property
    def map(self) -> object:
        return self._owners

    def node(self, name: str) -> Node:
        node = self._owners[key_slot(name.encode())] if self._owners else None
        if not node:
            raise ClusterDownError(f"no node of the cluster is known to have {name}")
        return node

    def everyone(self) -> Sequence[Node]:
        if not self._nodes:
            raise ClusterDownError("the nodes of the cluster are not known")
        return [*self._nodes.values()]

    async def each(
        self,
        names: Sequence[str],
        ask: Callable[[Any, Sequence[str]], Awaitable[Sequence[T | Exception]]],
    ) -> tuple[dict[str, T], str]:
        before = self._owners
        answered = await self._at_once(names, ask)
        if _sorted(answered)[1]:
            with contextlib.suppress(RedisError):
                await self.look_again()
            if self._owners is not before:
                answered = await self._at_once(names, ask)
        failed = [answer for _, answer in answered if isinstance(answer, Exception)]
        if len(failed) == len(answered):
            raise failed[0]
        return _sorted(answered)

    async def _at_once(
        self,
        names: Sequence[str],
        ask: Callable[[Any, Sequence[str]], Awaitable[Sequence[T | Exception]]],
    ) -> list[tuple[list[str], Sequence[T | Exception] | Exception]]:
        """Return each node's answer, or what it raised, with the names it was asked about."""
        groups: dict[Node | None, list[str]] = {node: [] for node in self.everyone()}
        for name in names:
            groups.setdefault(self._owners[key_slot(name.encode())], []).append(name)
        answers = await asyncio.gather(*(_within(node, some, ask) for node, some in groups.items()))
        return list(zip(groups.values(), answers, strict=True))

    async def look_again(self) -> None:
        """Read the map, from whoever has the newest; who asks meanwhile shares that.

        At most every LOOK_EVERY_S: who comes earlier waits.
        """
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        async with self._looking:
            if self._looked_at >= asked_at:
                return
            await asyncio.sleep(self._looked_at + LOOK_EVERY_S - clock())
            self._looked_at = clock()
            await self._take(await self._newest())

    async def aclose(self) -> None:
        for redis in [*self._seeds.values(), *(node.redis for node in self._nodes.values())]:
            await _leave(redis)

    async def _newest(self) -> _View:
        known = self._seeds | {address: node.redis for address, node in self._nodes.items()}
        asking = [asyncio.create_task(_view(*each)) for each in known.items()]
        try:
            await asyncio.wait(asking, timeout=LOOK_WITHIN_S)
        finally:
            await stop(asking)
        answers = [task.result() for task in asking if not task.cancelled()]
        views = [answer for answer in answers if isinstance(answer, _View)]
        if not views:
            said = "; ".join(dict.fromkeys(map(str, answers)))
            raise ClusterDownError(f"no node tells how the cluster is laid out: {said}")
        return max(views, key=lambda view: (view.is_ok, view.epoch))

    async def _take(self, view: _View) -> None:
        """Make a view the map, and close the clients of those who are not in it any more."""
        addresses = {address for _, _, address in view.slots}
        gone = [self._nodes.pop(address) for address in self._nodes.keys() - addresses]
        for address in addresses - self._nodes.keys():
            self._nodes[address] = Node(self._client(address), "{}:{}".format(*address))
        owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in view.slots:
            owners[first : last + 1] = [self._nodes[address]] * (last + 1 - first)
        if owners != self._owners:
            self._owners = owners
            self._name_nodes()
        for node in gone:
            await _leave(node.redis)

    def _name_nodes(self) -> None:
        """Give each node a prefix whose slot it has, the same in every worker."""
        nameless = set(self._nodes.values())
        for number in itertools.count():
            owner = self._owners[key_slot(b"%d" % number)]
            if owner in nameless:
                nameless.remove(owner)
                owner.prefix = f"lb:{{{number}}}:"
            if not nameless:
                return


def _sorted(
    answered: Iterable[tuple[Sequence[str], Sequence[T | Exception] | Exception]],
) -> tuple[dict[str, T], str]:
    """Return the answers by name, and in words the exceptions among them."""
    found: dict[str, T] = {}
    errors: list[Exception] = []
    for names, answers in answered:
        if isinstance(answers, Exception):
            errors.append(answers)
            continue
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Exception):
                errors.append(answer)
            else:
                found[name] = answer
    return found, "; ".join(dict.fromkeys(f"{type(e).__name__}: {e}" for e in errors))


async def _within(
    node: Node | None,
    names: Sequence[str],
    ask: Callable[[Any, Sequence[str]], Awaitable[Sequence[T | Exception]]],
) -> Sequence[T | Exception] | Exception:
    """Return what a node answers in EACH_WITHIN_S, or why it does not."""
    if not node:
        return ClusterDownError("slots that no node is known to have")
    try:
        async with asyncio.timeout(EACH_WITHIN_S):
            return await ask(node.redis, names)
    except TimeoutError:
        return TimeoutError(f"a node did not answer in {EACH_WITHIN_S:g} s")
    except (RedisError, OSError) as error:
        return error


async def _view(address: Address, redis: Any) -> _View | Exception:
    """Return how a node sees the cluster, or why it does not say."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.execute_command("CLUSTER SLOTS")
    pipeline.execute_command("CLUSTER INFO")
    try:
        slots, info = await pipeline.execute(raise_on_error=False)
    except (RedisError, OSError) as error:
        return error
    if isinstance(slots, Exception):
        return slots
    said = info if isinstance(info, dict) else {}  # where it is forbidden
    rows = [(first, last, _address(primary, address)) for first, last, primary, *_ in slots]
    return _View(
        said.get("cluster_state", "ok") == "ok", int(said.get("cluster_current_epoch", 0)), rows
    )


def _address(primary: Sequence[Any], asked: Address) -> Address:
    """Return where a primary is; one without a known host is on that of who was asked."""
    host, port = primary[:2]
    return (host.decode() if host not in (None, b"", b"?") else asked[0]), int(port)
