"""The promise of one server of the store: which confirmed changes survive a crash of the server.

Rules: reads the server's settings and changes nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from liveblog.blog.problem import UnusableStore
from liveblog.store.client import Client

VERSION_MIN: Final = (7, 0)


@dataclass(frozen=True, slots=True)
class Promise:
    """One server's version and settings, and their effect on a confirmed change.

    `policy` is the server's maxmemory-policy. `appendonly`, `appendfsync` and `policy` are None
    when the server forbids CONFIG or INFO, as managed stores do. `in_cluster` is True for a node of
    a cluster. `warning` states why no change can be published at present, "" when nothing prevents
    it.
    """

    server: str
    version: str
    appendonly: str | None
    appendfsync: str | None
    policy: str | None
    in_cluster: bool
    sentence: str
    warning: str = ""


async def inspect(client: Client, durability: str) -> Promise:
    """Read one server's version and settings, and return what they promise.

    Raises UnusableStore for a version below 7.0 and for a policy that evicts keys. With durability
    "disk", also raises UnusableStore for settings with which the server replies to a write before
    the write is on disk. Settings that cannot be read pass. Raises the client's exception when the
    server is unreachable.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.info()
    pipeline.config_get("append*", "no-appendfsync-on-rewrite", "maxmemory-policy")
    # `raise_on_error=False`: a server that forbids one of the two commands still answers the other.
    answers = await pipeline.execute(raise_on_error=False)
    info, config = (answer if isinstance(answer, dict) else {} for answer in answers)
    return judge(info, config, durability)


def judge(info: Mapping[str, Any], config: Mapping[str, str], durability: str) -> Promise:
    """Return the promise of a server with these replies to INFO and CONFIG GET.

    Raises UnusableStore as `inspect` does.
    """
    server, version = _product(info)
    numbers = tuple(int(n) for n in re.findall(r"\d+", str(info.get("redis_version", "0")))[:2])
    if info and numbers < VERSION_MIN:
        raise UnusableStore(f"the store is {server} {version}; Redis 7.0 or Valkey 8 is needed")
    policy = config.get("maxmemory-policy", info.get("maxmemory_policy"))
    if why := evicts(policy):
        raise UnusableStore(why)
    if durability == "disk" and (why := loses(config)):
        raise UnusableStore(why)
    return Promise(
        server,
        version,
        appendonly=config.get("appendonly"),
        appendfsync=config.get("appendfsync"),
        policy=policy,
        in_cluster=str(info.get("cluster_enabled", "0")) == "1",
        sentence=f"The store is {server} {version}: {_durability(config, durability)}.",
        warning=_hindrance(info, durability),
    )


def _hindrance(info: Mapping[str, Any], durability: str) -> str:
    """Return why no change can be confirmed at present; "" when nothing prevents it."""
    if info.get("role") == "slave" and str(info.get("slave_read_only", "1")) == "1":
        return (
            "The store is a read-only replica: no change can be published. "
            "Set REDIS_URL to its primary."
        )
    if durability == "replica" and str(info.get("connected_slaves", "")) == "0":
        return (
            "LIVEBLOG_DURABILITY is replica, and the store has no replica: no change is confirmed "
            "until it has one."
        )
    return ""


def _product(info: Mapping[str, Any]) -> tuple[str, str]:
    """Return the server's name and version."""
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "of unknown version"))


def evicts(policy: str | None) -> str:
    """Return why a maxmemory-policy is wrong; "" for a right one, or one that cannot be read."""
    if policy in (None, "noeviction"):
        return ""
    return (
        f"the store may evict what was published: maxmemory-policy is {policy} and must be "
        "noeviction"
    )


def loses(config: Mapping[str, str]) -> str:
    """Return why a crash can lose a confirmed change under LIVEBLOG_DURABILITY=disk.

    Return "" when it cannot. Settings that cannot be read pass.
    """
    needed = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    wrong = [(name, config[name], want) for name, want in needed.items() if name in config]
    wrong = [row for row in wrong if row[1] != row[2]]
    settings = " and ".join(f"{name} is {value} and must be {want}" for name, value, want in wrong)
    return f"LIVEBLOG_DURABILITY is disk, but in the store {settings}" if wrong else ""


def _durability(config: Mapping[str, str], durability: str) -> str:
    """Return the part of `Promise.sentence` that states which changes a crash can lose."""
    replica = "a confirmed change is on a replica, and " if durability == "replica" else ""
    if "appendonly" not in config:
        return replica + "the durability settings cannot be read (CONFIG is not allowed)"
    if config["appendonly"] != "yes":
        return replica + "a crash loses changes since its last snapshot (appendonly no)"
    if config["appendfsync"] == "always" and config.get("no-appendfsync-on-rewrite") == "yes":
        return replica + (
            "a power cut while it rewrites its file loses changes (no-appendfsync-on-rewrite yes)"
        )
    return replica + {
        "always": "a confirmed change is on its disk (appendfsync always)",
        "everysec": "a power cut loses up to the last 2 s of changes (appendfsync everysec)",
    }.get(config["appendfsync"], "a power cut loses changes not yet on its disk (appendfsync no)")
