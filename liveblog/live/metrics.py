"""The counters of live/hub.py and live/door.py in Prometheus' format: `GET /metrics`.

Code that runs for every reader counts in plain integers of `Hub` and `Door`, which is cheap.
`Metrics` copies them into the metrics of `prometheus_client` once a second and at each scrape.

Several workers write their metrics to files in one directory, so that any worker can answer with
the metrics of all. This is the multiprocess mode of `prometheus_client`, which reads the variable
`PROMETHEUS_MULTIPROC_DIR` at import. After a worker has ended, its files of counters and histograms
stay until the server ends, so that no total falls.

Rules: no label holds text that a reader or an editor chose; every label has few values.
"""

import asyncio
import contextlib
import os
import re
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
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from liveblog.live.door import Door
from liveblog.live.hub import Hub

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

    def __init__(self, door: Door) -> None:
        self._door, self._copied = door, dict[tuple[str, str], int]()
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
        while True:
            self._copy()
            await asyncio.sleep(FLUSH_S)

    def text(self) -> bytes:
        """Return the metrics of all workers; those of other workers may be FLUSH_S old."""
        self._copy()
        directory = os.environ.get(DIRECTORY)
        if not directory:
            return generate_latest(self._registry)
        _forget_the_dead(Path(directory))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, directory)
        return generate_latest(registry)

    def _copy(self) -> None:
        hub, door = self._door.hub, self._door
        for name, text, value in _gauges(hub):
            self._gauge(name, text).set(value)
        for transport, count in _by_label(door.readers, _TRANSPORTS).items():
            self._gauge("readers", "Readers now", "transport").labels(transport).set(count)
        for name, text, total in _totals(hub):
            self._count(name, text, {"": total})
        self._count("freed", "Readers aborted, by reason", _freed(hub), "why")
        self._count("accepts", "Requests for a stream", _by_label(door.accepts, _RESULTS), "result")
        self._count("closes", "Ends of streams", _by_label(door.closes, _CODES), "code")

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
        ("store_up", "Whether all of the store answered the last read", hub.store_up),
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


def _forget_the_dead(directory: Path) -> None:
    """Remove the gauges of workers that have ended; their counters stay in the totals."""
    pids = {int(found[1]) for file in directory.iterdir() if (found := _LIVE.fullmatch(file.name))}
    for pid in pids:
        if not _is_running(pid):
            # Another worker's scrape may remove the same files at this moment. The next scrape
            # removes the remaining files.
            with contextlib.suppress(FileNotFoundError):
                mark_process_dead(pid, str(directory))


_LIVE: Final = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
