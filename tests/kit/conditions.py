"""The conditions that a store can get into, each made in a real store and cured again.

`CONDITIONS` has them all; `observed` and `cured` name what a server must say of each. The server
signs in to the store as the user APP, so that a test can take permissions from it.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from kit.servers import Server, StoreProcess, store_process
from kit.waiting import until

APP = ("app", "a-password")
ALL = ("~*", "&*", "+@all")


@dataclass(frozen=True)
class Conditioned:
    """A store that runs, and the user APP in it."""

    process: StoreProcess
    directory: Path

    def client(self) -> redis.asyncio.Redis:
        """Return an administrator's client; its answers are bytes."""
        return redis.asyncio.Redis.from_url(self.process.url)

    async def ask(self, *words: str) -> Any:
        """Send a command as the administrator, and return the reply."""
        async with self.client() as admin:
            return await admin.execute_command(*words)

    @property
    def url(self) -> str:
        """The URL with which the server signs in as APP."""
        return self.process.url.replace("unix://", f"unix://{APP[0]}:{APP[1]}@")

    async def allow(self, *rules: str) -> None:
        """Give APP these rules, in place of all that it had."""
        await self.ask("ACL", "SETUSER", APP[0], "reset", "on", f">{APP[1]}", *rules)


@contextlib.contextmanager
def conditioned(directory: Path, binary: Path) -> Iterator[Conditioned]:
    """Run a store with the user APP, which has all permissions at first."""
    user = ("--user", *APP[:1], "on", f">{APP[1]}", *ALL)
    with store_process(directory, binary, *user) as process:
        process.start()
        yield Conditioned(process, directory)


Act = Callable[[Conditioned], Awaitable[None]]


@dataclass(frozen=True)
class Condition:
    """A condition with what `/readyz` must say while it lasts; `why` is a part of its `why`.

    `sentence` is a part of the line that editors see, "" when they see none.
    """

    name: str
    begin: Act
    end: Act
    store: str = "refuses-writes"
    why: str = ""
    sentence: str = ""

    @property
    def is_refusal(self) -> bool:
        return self.store == "refuses-writes"


def setting(name: str, value: str, cure: str) -> tuple[Act, Act]:
    """Return the acts that set a setting of the store, and set it back."""

    async def begin(store: Conditioned) -> None:
        await store.ask("CONFIG", "SET", name, value)

    async def end(store: Conditioned) -> None:
        await store.ask("CONFIG", "SET", name, cure)

    return begin, end


def permitted(*rules: str) -> tuple[Act, Act]:
    """Return the acts that give APP only these rules, and all again."""

    async def begin(store: Conditioned) -> None:
        await store.allow(*rules)

    async def end(store: Conditioned) -> None:
        await store.allow(*ALL)

    return begin, end


def command(begins: str, ends: str) -> tuple[Act, Act]:
    async def begin(store: Conditioned) -> None:
        await store.ask(*begins.split())

    async def end(store: Conditioned) -> None:
        await store.ask(*ends.split())

    return begin, end


async def _break_snapshots(store: Conditioned) -> None:
    """Make every snapshot fail: a directory is where its file must be."""
    (store.directory / "dump.rdb" / "taken").mkdir(parents=True)
    await store.ask("CONFIG", "SET", "save", "3600 1000000")
    await _snapshot(store, "err")


async def _cure_snapshots(store: Conditioned) -> None:
    (store.directory / "dump.rdb" / "taken").rmdir()
    (store.directory / "dump.rdb").rmdir()
    await _snapshot(store, "ok")
    await store.ask("CONFIG", "SET", "save", "")


async def _snapshot(store: Conditioned, result: str) -> None:
    await store.ask("BGSAVE")

    async def ended() -> bool:
        info: dict[str, Any] = await store.ask("INFO", "persistence")
        has_ended = not info["rdb_bgsave_in_progress"]
        return has_ended and info["rdb_last_bgsave_status"] == result

    await until(ended)


async def _stop(store: Conditioned) -> None:
    assert store.process.process
    store.process.process.send_signal(signal.SIGSTOP)


async def _continue(store: Conditioned) -> None:
    assert store.process.process
    store.process.process.send_signal(signal.SIGCONT)


async def _kill(store: Conditioned) -> None:
    store.process.kill()


async def _start(store: Conditioned) -> None:
    await asyncio.to_thread(store.process.start)


_FORBIDDEN = "its access rules forbid them"
CONDITIONS = (
    Condition("memory full", *setting("maxmemory", "1", "0"), why="OOM", sentence="memory is full"),
    Condition(
        "snapshots fail", _break_snapshots, _cure_snapshots, why="MISCONF", sentence="its disk"
    ),
    Condition(
        "read-only replica",
        *command("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        why="READONLY",
        sentence="read-only copy",
    ),
    Condition(
        "too few replicas",
        *setting("min-replicas-to-write", "1", "0"),
        why="NOREPLICAS",
        sentence="too few of its copies",
    ),
    Condition("no channels", *permitted("~*", "+@all"), why="PUBLISH lb:", sentence=_FORBIDDEN),
    Condition("no PUBLISH", *permitted(*ALL, "-publish"), why="PUBLISH lb:", sentence=_FORBIDDEN),
    Condition(
        "no SUBSCRIBE",
        *permitted(*ALL, "-subscribe"),
        why="SUBSCRIBE lb:",
        sentence="forbids subscriptions",
    ),
    Condition("no scripts", *permitted(*ALL, "-@scripting"), why="NOPERM", sentence=_FORBIDDEN),
    Condition("no writes", *permitted(*ALL, "-@write"), why="HSET lb:", sentence=_FORBIDDEN),
    Condition("no TIME", *permitted(*ALL, "-time"), why="run TIME", sentence=_FORBIDDEN),
    Condition("no GET", *permitted(*ALL, "-get"), why="run GET lb:", sentence=_FORBIDDEN),
    Condition("no HMGET", *permitted(*ALL, "-hmget"), why="run HMGET lb:", sentence=_FORBIDDEN),
    Condition("no reads", *permitted(*ALL, "-@read"), why="run HGET lb:", sentence=_FORBIDDEN),
    Condition("write-only keys", *permitted("%W~*", "&*", "+@all"), why="lb:", sentence=_FORBIDDEN),
    Condition("read-only keys", *permitted("%R~*", "&*", "+@all"), why="lb:", sentence=_FORBIDDEN),
    Condition("no SET", *permitted(*ALL, "-set"), why="SET lb:", sentence=_FORBIDDEN),
    Condition(
        "appendfsync everysec",
        *setting("appendfsync", "everysec", "always"),
        why="appendfsync is everysec",
        sentence="each change to its disk at once",
    ),
    Condition(
        "keys may be evicted",
        *setting("maxmemory-policy", "allkeys-lru", "noeviction"),
        store="up",
        why="maxmemory-policy is allkeys-lru",
    ),
    Condition("stopped", _stop, _continue, store="down", sentence="unavailable right now"),
    Condition("killed", _kill, _start, store="down", sentence="unavailable right now"),
)


# -- what a server says


def says_ready(server: Server, condition: Condition) -> bool:
    """Return whether /readyz says what it must."""
    answer = server.get("/readyz")
    status = "ready" if condition.store == "up" else "degraded"
    is_named = condition.why in answer.get("why", "") and bool(condition.why) == ("why" in answer)
    return (answer["status"], answer["store"]) == (status, condition.store) and is_named


def says_metric(server: Server, condition: Condition) -> bool:
    lines = server.text("/metrics").splitlines()
    state = f'liveblog_store_state{{state="{condition.store}"}} 1.0'
    evicts = f"liveblog_store_evicts {float(condition.name == 'keys may be evicted')}"
    return state in lines and evicts in lines


def says_desk(server: Server, slug: str, condition: Condition) -> bool:
    """Return whether the answer from which the desk makes its line is right.

    "unheld": the store is up, and the worker does not hold the blog.
    """
    answer = server.get(f"/desk/blogs/{slug}/store")
    why = condition.sentence if condition.is_refusal else ""
    store = "up" if answer["store"] == "unheld" else answer["store"]
    return bool(store == condition.store and why in answer.get("why", ""))


def says_log(server: Server, condition: Condition, since: int) -> bool:
    """Return whether the log from character `since` on names the condition."""
    text = server.said()[since:]
    refused = "subscriptions" if condition.sentence == "forbids subscriptions" else "writes"
    name = {
        "refuses-writes": f"the store refuses {refused}: ",
        "down": "the store is unreachable: ",
    }
    return any(
        name.get(condition.store, "") in line and condition.why in line
        for line in text.splitlines()
    )


UP = Condition("up", _start, _start, store="up")
