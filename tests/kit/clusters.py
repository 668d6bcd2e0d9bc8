"""Stores of several servers for tests: a cluster, and a primary watched by sentinels.

Every server is a child process that runs the installed Valkey binary, on a free port of 127.0.0.1
and in its own directory. Timeouts are short: a cluster detects a dead node within NODE_TIMEOUT_MS.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.retry import Retry

from kit import servers
from kit.servers import ending_with_us
from kit.waiting import SCALE, until_sync
from liveblog.store import embedded as store

NODE_TIMEOUT_MS = round(1_000 * SCALE)
SENTINEL_DOWN_MS = round(500 * SCALE)
FAILOVER_MS = round(3_000 * SCALE)
BUS_OFFSET = 10_000  # a node listens for other nodes on its port plus this number
SERVICE = "live"

_DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
_CLUSTERED = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
    *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
    *("--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0"),
)


def free_port() -> int:
    """Return a free port for a node. Its port for other nodes, BUS_OFFSET higher, is free too."""
    while True:
        port = servers.free_port()
        with contextlib.suppress(OSError, OverflowError):
            servers.reserve(port + BUS_OFFSET)
            return port


class Process:
    """Runs one server: a cluster's node, a primary, a replica or a sentinel. Tests may kill it."""

    def __init__(
        self, directory: Path, *arguments: str, config: str = "", binary: Path | None = None
    ) -> None:
        self.port = free_port()
        self._directory = directory
        directory.mkdir(parents=True)
        given = [str(directory / "config")] if config else []
        (directory / "config").write_text(config)
        self._command = [str(binary or store.find_binary()), *given, "--port", str(self.port)]
        self._command += ["--bind", "127.0.0.1", "--dir", str(directory), *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "log").open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=ending_with_us(),  # noqa: PLW1509 - safe: die_with takes no locks
            )
        until_sync(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.ask("PING"))
        return False

    def ask(self, *words: Any) -> Any:
        """Send one command, and return its reply as bytes."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*words)

    def client(self) -> redis.Redis:
        """Return a client that does not retry."""
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """Kill the server. Its files keep all bytes; only a power cut could lose some."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Stop the server's process, so that it answers nothing and keeps its connections open."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def id(self) -> str:
        """The id by which the cluster's commands name this node."""
        return str(self.ask("CLUSTER MYID").decode())

    def info(self, section: str) -> Any:
        with contextlib.closing(self.client()) as client:
            return client.info(section)

    def is_in_step(self) -> bool:
        """Return whether the server is a replica whose connection to its primary is up."""
        return bool(self.info("replication").get("master_link_status") == "up")

    def is_used(self) -> bool:
        """Return whether redis-py, liveblog's client, has connections for commands to this server.

        The connection of this query itself does not count.
        """
        with contextlib.closing(self.client()) as client:
            others: Any = client.client_list(_type="normal")
            own = client.client_id()
        return any(it.get("lib-name") == "redis-py" and int(it["id"]) != own for it in others)

    def follows(self, primary: "Process") -> bool:
        """Return whether the server is a replica whose connection to this primary is up."""
        with contextlib.suppress(
            redis.RedisError
        ):  # a server that becomes a replica cuts its connections
            reply = self.info("replication")
            return reply.get("master_port") == primary.port and self.is_in_step()
        return False

    def files(self) -> str:
        """Return the text of the server's append-only files.

        The server may rewrite its files at any moment: when one has gone, read all of them again.
        """
        while True:
            parts = self._directory.glob("appendonlydir/*.aof")
            with contextlib.suppress(FileNotFoundError):
                return "".join(part.read_text("latin-1") for part in parts)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class Cluster:
    """Runs three primaries that share all hash slots, and a replica of the second.

    By the hash slots of their keys, the users and the list of blogs are on the first primary, and
    the tokens are on the last.
    """

    def __init__(self, directory: Path) -> None:
        self.primaries = [
            Process(directory / f"primary{n}", *_DURABLE, *_CLUSTERED) for n in range(3)
        ]
        self.replicated = self.primaries[1]
        self.replica = Process(directory / "replica", *_DURABLE, *_CLUSTERED)
        self.all = [*self.primaries, self.replica]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.address for node in self.all)}"

    def start(self) -> None:
        for node in self.all:
            node.start()
        share = REDIS_CLUSTER_HASH_SLOTS // len(self.primaries) + 1
        for i, node in enumerate(self.primaries):
            last = min(share * (i + 1), REDIS_CLUSTER_HASH_SLOTS) - 1
            node.ask("CLUSTER ADDSLOTSRANGE", share * i, last)
            node.ask("CLUSTER SET-CONFIG-EPOCH", i + 1)
        for node in self.all[1:]:
            self.primaries[0].ask("CLUSTER MEET", "127.0.0.1", node.port)
        until_sync(lambda: all(self._is_whole(node) for node in self.all))
        self.replica.ask("CLUSTER REPLICATE", self.replicated.id)
        until_sync(lambda: all(self._knows_replica(node) for node in self.all))
        until_sync(self.replica.is_in_step)

    def _is_whole(self, node: Process) -> bool:
        reply = node.ask("CLUSTER INFO")
        is_ok = reply["cluster_state"] == "ok"
        return is_ok and int(reply["cluster_known_nodes"]) == len(self.all)

    def _knows_replica(self, node: Process) -> bool:
        return any(len(row) > 3 for row in node.ask("CLUSTER SLOTS"))

    def owner(self, slug: str) -> Process:
        """Return the node that stores a blog. A running node's map of slots says which."""
        slot, asked = key_slot(slug.encode()), self._alive()
        for first, last, (_, port, *_), *_ in asked.ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.all if node.port == port)
        raise AssertionError(f"no node has slot {slot}")

    def _alive(self) -> Process:
        return next(node for node in reversed(self.all) if node.is_running)

    def slug_on(self, node: Process) -> str:
        """Return a new slug; the cluster would store its blog on this node."""
        while True:
            slug = f"blog-{os.urandom(5).hex()}"
            if self.owner(slug) is node:
                return slug

    def move(self, slug: str, to: Process) -> None:
        """Move a blog's slot to another node."""
        with self.moving(slug, to):
            pass

    @contextlib.contextmanager
    def moving(self, slug: str, to: Process) -> Iterator[None]:
        """Move a blog's slot key by key; inside the block half of the keys have moved."""
        slot, source = key_slot(slug.encode()), self.owner(slug)
        to.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", to.id)
        half = int(source.ask("CLUSTER COUNTKEYSINSLOT", slot)) // 2
        self._carry(slot, source, to, down_to=half)
        yield
        self._carry(slot, source, to, down_to=0)
        for node in (to, source):
            node.ask("CLUSTER SETSLOT", slot, "NODE", to.id)

    def move_whole(self, slug: str, to: Process) -> None:
        """Move a blog's slot as a whole, which Valkey can do since 9.0."""
        slot, source = key_slot(slug.encode()), self.owner(slug)
        source.ask("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to.id)
        until_sync(lambda: self.owner(slug) is to)

    def _carry(self, slot: int, source: Process, to: Process, down_to: int) -> None:
        while int(source.ask("CLUSTER COUNTKEYSINSLOT", slot)) > down_to:
            [name] = source.ask("CLUSTER GETKEYSINSLOT", slot, 1)
            source.ask("MIGRATE", "127.0.0.1", to.port, name, 0, 5_000)


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Run a cluster until the block ends."""
    made = Cluster(directory)
    with ended(made.all):
        made.start()
        yield made


class Watched:
    """Runs a primary, two replicas, and three sentinels, which replace a dead primary."""

    def __init__(self, directory: Path) -> None:
        self.primary = Process(directory / "primary", *_DURABLE)
        follows = ("--replicaof", f"127.0.0.1 {self.primary.port}")
        self.replicas = [
            Process(
                directory / f"replica{n}", *_DURABLE, *follows, "--repl-diskless-sync-delay", "0"
            )
            for n in range(2)
        ]
        config = f"""
            sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} 2
            sentinel down-after-milliseconds {SERVICE} {SENTINEL_DOWN_MS}
            sentinel failover-timeout {SERVICE} {FAILOVER_MS}
        """
        self.sentinels = [
            Process(directory / f"sentinel{n}", "--sentinel", config=config) for n in range(3)
        ]
        self._stores = [self.primary, *self.replicas]
        self.all = [*self._stores, *self.sentinels]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(it.address for it in self.sentinels)}/{SERVICE}"

    def start(self) -> None:
        for process in (self.primary, *self.replicas):
            process.start()
        until_sync(lambda: all(replica.is_in_step() for replica in self.replicas))
        for sentinel in self.sentinels:
            sentinel.start()
        until_sync(lambda: all(self._sees_all(it) for it in self.sentinels), 30)

    def present(self) -> Process:
        """Return the primary that the sentinels name at present."""
        with contextlib.closing(self._sentinel().client()) as client:
            reply: Any = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(it for it in self._stores if it.port == reply[1])

    def _sentinel(self) -> Process:
        return next(it for it in self.sentinels if it.is_running)

    def followers_of(self, primary: Process) -> list[Process]:
        """Return the replicas that follow a primary."""
        others = [it for it in self._stores if it is not primary and it.is_running]
        return [it for it in others if it.follows(primary)]

    def _sees_all(self, sentinel: Process) -> bool:
        with contextlib.closing(sentinel.client()) as client:
            reply: Any = client.sentinel_master(SERVICE)
        return (reply["num-slaves"], reply["num-other-sentinels"]) == (2, 2)


@contextlib.contextmanager
def watched(directory: Path) -> Iterator[Watched]:
    """Run a primary, replicas and sentinels until the block ends."""
    made = Watched(directory)
    with ended(made.all):
        made.start()
        yield made


@contextlib.contextmanager
def ended(processes: Sequence[Process]) -> Iterator[None]:
    """Kill the processes when the block ends."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
