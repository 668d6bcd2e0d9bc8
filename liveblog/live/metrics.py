"""The counters of hub, door and plain connections in Prometheus' format: `GET /metrics`.

Code that runs for every reader counts in plain integers of `Hub` and `Door`, which is cheap.
`Metrics` copies them into the metrics of `prometheus_client` once a second and at each scrape.

Several workers write their metrics to files in one directory, so that any worker can answer with
the metrics of all. This is the multiprocess mode of `prometheus_client`, which reads the variable
`PROMETHEUS_MULTIPROC_DIR` at import. live/retired.py sweeps the files of workers that have ended,
at the start of each worker and at each scrape; their counts stay in the totals.

Rules: no label holds text that a reader or an editor chose; every label has few values.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from liveblog.live import retired
from liveblog.live.door import Door
from liveblog.live.hub import Hub
from liveblog.live.plain import CLOSED, REFUSED, PlainConnections
from liveblog.live.watch import STATES

Label = TypeVar("Label", str, int)

FLUSH_S: Final = 1.0
DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FANOUT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# A worker exports these labels from the start, with the value zero. Otherwise Prometheus' `rate`
# would miss the first count, and the worker would show the gauges of a dead worker that had the
# same process number. The counts of all other labels are summed as "other". RFC 6455, section
# 7.4.1, and docs/streams.md explain the codes.
_TRANSPORTS: Final = ("websocket", "events")
_RESULTS: Final = (
    *("accepted", "origin", "restart", "full", "address", "store", "damaged", "unknown", "gone"),
    *("fault", "handshake"),
)
_CODES: Final = (
    *(1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013),
    *(4001, 4002, 4003, 4004, 4005, 4006, 4500, 4504, 4510),
)

# `prometheus_client` adds the creation time of each counter as a metric. That would double the
# number of series, and with several workers the time is unknown.
disable_created_metrics()


class Metrics:
    """Copies the counts of one worker into metrics, and writes the metrics of all workers as text.

    Each process makes one `Metrics` before it has readers. The coroutine `run` runs as a task while
    the worker serves. `text` returns the body of the answer to `GET /metrics`.
    """

    def __init__(self, door: Door, plain: PlainConnections) -> None:
        self._door, self._plain = door, plain
        self._copied = dict[tuple[str, str], int]()
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._fanout = Histogram(
            "liveblog_fanout_seconds",
            "Time from the first to the last reader of a change, waits for other work included",
            registry=self._registry,
            buckets=FANOUT_BUCKETS_S,
        )
        door.hub.on_pass = self._fanout.observe

    async def run(self) -> None:
        """Copy the counts every FLUSH_S, for scrapes of other workers; until cancelled."""
        if directory := os.environ.get(DIRECTORY):
            retired.sweep(Path(directory))
        while True:
            self._copy()
            await asyncio.sleep(FLUSH_S)

    def text(self) -> bytes:
        """Return the metrics of all workers; those of other workers may be FLUSH_S old."""
        self._copy()
        directory = os.environ.get(DIRECTORY)
        if not directory:
            return generate_latest(self._registry)
        retired.sweep(Path(directory))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, directory)
        with retired.locked(Path(directory)):
            return generate_latest(registry)

    def _copy(self) -> None:
        hub, door = self._door.hub, self._door
        for name, text, value in _gauges(hub):
            self._gauge(name, text).set(value)
        self._copy_plain()
        for transport, count in _by_label(door.readers, _TRANSPORTS).items():
            self._gauge("readers", "Readers now", "transport").labels(transport).set(count)
        for state in STATES:
            gauge = self._gauge("store_state", "Workers by the state of the store", "state")
            gauge.labels(state).set(hub.store.state == state)
        for name, text, total in _totals(hub):
            self._count(name, text, {"": total})
        self._count("freed", "Readers aborted, by reason", _freed(hub), "why")
        self._count("accepts", "Requests for a stream", _by_label(door.accepts, _RESULTS), "result")
        self._count("closes", "Ends of streams", _by_label(door.closes, _CODES), "code")

    def _copy_plain(self) -> None:
        plain, connections = self._plain, "Connections that are not streams"
        self._gauge("connections", f"{connections}, now").set(len(plain.open))
        self._gauge("connections_idle", f"{connections}, without a request").set(len(plain.idle))
        refused, closed = _by_label(plain.refused, REFUSED), _by_label(plain.closed, CLOSED)
        self._count("connections_refused", "Connections refused, by limit", refused, "why")
        self._count("connections_closed", "Connections closed early, by reason", closed, "why")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        if name not in self._gauges:
            mode: Literal["livemin", "livesum"] = "livemin" if name == "store_up" else "livesum"
            self._gauges[name] = Gauge(
                f"liveblog_{name}", text, labels, registry=self._registry, multiprocess_mode=mode
            )
        return self._gauges[name]

    def _count(self, name: str, text: str, totals: Mapping[str, int], *labels: str) -> None:
        """Increase a counter by the growth of each total since the last call."""
        if name not in self._counters:
            self._counters[name] = Counter(
                f"liveblog_{name}_total", text, labels, registry=self._registry
            )
        counter = self._counters[name]
        for label, total in totals.items():
            more = total - self._copied.get((name, label), 0)
            (counter.labels(label) if labels else counter).inc(more)
            self._copied[name, label] = total


def _gauges(hub: Hub) -> list[tuple[str, str, float]]:
    behind = sum(len(live.roster.behind) for live in hub.lives.values())
    return [
        ("readers_behind", "Readers whose sockets are full", behind),
        (
            "held_bytes",
            "Bytes of frames that wait for the sockets of readers behind",
            hub.held_budget.bytes,
        ),
        ("cached_bytes", "Bytes of frames and pages cached", hub.cache_budget.used()),
        ("blogs", "Blogs held", len(hub.lives)),
        ("blogs_bytes", "Bytes of blogs held, with frames and pages", hub.shelf.bytes),
        ("blogs_limit_bytes", "Limit of the bytes of blogs held", hub.shelf.bytes_max),
        ("store_up", "Whether all of the store answers and accepts writes", hub.store_up),
        ("store_evicts", "Workers whose store may evict blogs", bool(hub.store.warning)),
    ]


def _totals(hub: Hub) -> list[tuple[str, str, int]]:
    counts = hub.counts
    return [
        ("deliveries", "Changes frames sent to readers", counts.deliveries),
        ("sent_bytes", "Bytes of changes frames sent to readers", counts.sent_bytes),
        ("repairs", "Reads of the store's state after a gap", counts.repairs),
        ("resets", "Readers sent a reset", counts.resets),
    ]


def _freed(hub: Hub) -> dict[str, int]:
    return {"stalled": hub.counts.stalled, "unheard": hub.counts.unheard}


def _by_label(counts: Mapping[Label, int], known: Sequence[Label]) -> dict[str, int]:
    """Return counts by label; "other" sums unknown labels: readers may send any close code."""
    shown = {str(label): counts.get(label, 0) for label in known}
    if others := sum(count for label, count in counts.items() if label not in known):
        shown["other"] = others
    return shown
