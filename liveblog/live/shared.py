"""The settings and counters that all blogs of one worker share.

Rules: plain values, no behaviour.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

Spawn = Callable[[Coroutine[Any, Any, None]], object]  # runs a coroutine as a task of the hub


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """The settings of a hub.

    `base_url` is the site's address, for links in frames that have fields instead of HTML.
    `version` names the markup, styles and scripts of this release.
    """

    heartbeat_s: float = 20.0
    blogs_bytes_max: int = 256 * 1024 * 1024
    blogs_max: int = 0  # 0: only `blogs_bytes_max` limits the blogs
    held_bytes_max: int = 256 * 1024 * 1024
    base_url: str = "http://127.0.0.1:8000"
    version: str = ""


@dataclass
class Counts:
    """Counts of events since the worker started."""

    deliveries: int = 0  # `changes` frames sent to readers
    sent_bytes: int = 0  # bytes of all sent `changes` frames; characters, if a frame is a str
    repairs: int = 0
    resets: int = 0
    stalled: int = 0  # readers aborted because their sockets stayed full
    unheard: int = 0  # readers aborted because their pings stayed unanswered
