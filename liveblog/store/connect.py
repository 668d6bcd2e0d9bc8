"""Connects to the servers of a URL: one server, the primary that sentinels name, or a cluster.

Rules: opens no connection. A client connects when its first command is sent.
"""

from typing import Any

from redis.asyncio.connection import parse_url

from liveblog.store.cluster import Cluster
from liveblog.store.nodes import Nodes, One
from liveblog.store.pool import client_of, limits
from liveblog.store.sentinel import watched
from liveblog.store.url import Several, several


def connect(url: str) -> Nodes:
    """Return the servers that a URL names. Raises ValueError for a malformed URL."""
    named = several(url)
    if not named:
        url = url.replace("valkey://", "redis://", 1).replace("valkeys://", "rediss://", 1)
        return One(client_of(url))
    if named.kind == "cluster":
        return Cluster(named.hosts, named.is_secure, _options(named))
    return watched(named, _options(named))


def _options(named: Several) -> dict[str, Any]:
    """Return redis-py's options: our limits, unless the URL sets them, and the URL's login."""
    given: dict[str, Any] = {**parse_url(f"redis://{named.login}host?{named.options}")}
    del given["host"]
    return limits() | given
