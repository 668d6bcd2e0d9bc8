"""One entry to many readers: publish at a rate, and measure cost, delay and losses.

`measure.bench` and `measure.compare` share the measurement `FanOut`. The measured server (the
subject) runs on core 0, its readers and the publisher on core 1.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from measure.subjects import Readers, Subject, log

SETTLE_S: Final = 1.5
NEVER: Final = ("failed", "closed", "repeated", "disordered", "unchained")
# Counts that must be 0 after a burst. Order is not checked: the calls of a burst overlap, so the
# server may get the entries in any order. fanload.c finds repeats only in ordered entries.
NEVER_IN_BURSTS: Final = ("failed", "closed", "unchained")

Round = dict[str, float]


def settle() -> None:
    """Wait until a server has finished starting, or connecting readers, before its counters are read.

    The remaining work (garbage collection, memory given back, acknowledgements of the last
    handshakes) shows in no metric, and must not count as a cost of the measurement that follows.
    """
    time.sleep(SETTLE_S)  # there is no condition to wait for: nothing shows the end of that work


def publish(subject: Subject, entries: int, rate: float) -> None:
    """Publish entries one after the other, `rate` of them a second."""
    started = time.perf_counter()
    for i in range(entries):
        # The rate is a part of what is measured, so the pause is not a wait for a condition.
        time.sleep(max(0, started + i / rate - time.perf_counter()))
        subject.publish()


def publish_bursts(subject: Subject, bursts: int, changes: int, within_s: float) -> None:
    """Publish `bursts` bursts; each has `changes` overlapping calls within `within_s` seconds."""
    with ThreadPoolExecutor(changes) as pool:
        for _ in range(bursts):
            started = time.perf_counter()
            calls = []
            for i in range(changes):
                time.sleep(max(0, started + i * within_s / changes - time.perf_counter()))
                calls.append(pool.submit(subject.publish))
            for call in calls:
                call.result()
            settle()


class FanOut:
    """Publishes to all readers of a server and measures the costs; `wrong` lists losses."""

    def __init__(self, readers: int, entries: int, rate: float) -> None:
        self.readers, self.entries, self.rate = readers, entries, rate
        self.wrong: list[str] = []

    def run(self, subject: Subject, *more: Any, readers: int = 0) -> Round:
        """Connect readers, publish at the rate, and return the round's figures.

        `more` are options of fanload.c, which plays the readers. `readers`, unless 0, replaces the
        number of readers.
        """
        return self._round(subject, readers or self.readers, self.entries, more)

    def run_bursts(self, subject: Subject, bursts: int, changes: int, within_s: float) -> Round:
        """Connect readers, publish bursts of changes, and return the round's figures."""
        return self._round(subject, self.readers, bursts * changes, (), (bursts, changes, within_s))

    def _round(
        self,
        subject: Subject,
        readers: int,
        entries: int,
        more: tuple[Any, ...],
        burst: tuple[int, int, float] | None = None,
    ) -> Round:
        with subject:
            settle()
            rss, cpu = subject.rss_kb(), subject.cpu_us()
            with Readers(subject, readers, "-e", entries, *more) as load:
                settle()
                rss_ready, cpu_ready = subject.rss_kb(), subject.cpu_us()
                if burst:
                    publish_bursts(subject, *burst)
                else:
                    publish(subject, entries, self.rate)
                got = load.result()
            cpu_done = subject.cpu_us()
        self.judge(subject.name, got, readers, entries, NEVER_IN_BURSTS if burst else NEVER)
        return {
            "accepts_per_s": load.ready["accepts_per_s"],
            "accept_us": (cpu_ready - cpu) / readers,
            "kb_per_reader": (rss_ready - rss) / readers,
            "us_per_delivery": (cpu_done - cpu_ready) / max(1, got["delivered"]),
            "p50_ms": got.get("p50_ms", 0),
            "p99_ms": got.get("p99_ms", 0),
            "bytes_per_frame": got["bytes"] / max(1, got["frames"]),
            "changes_per_frame": got["delivered"] / max(1, got["frames"]),
        }

    def memory(self, subject: Subject) -> Round:
        """Connect readers, then as many again, and return the memory of each of the second group.

        The first group also fills memory that the start left free. A build that only starts with
        other modules leaves more or less of it, up to 50 bytes for each of 10,000 readers.
        """
        with subject, Readers(subject, self.readers):
            settle()
            rss = subject.rss_kb()
            with Readers(subject, self.readers):
                settle()
                return {"kb_per_reader": (subject.rss_kb() - rss) / self.readers}

    def judge(
        self,
        name: str,
        got: Round,
        readers: int,
        entries: int,
        never: tuple[str, ...] = NEVER,
    ) -> None:
        """Add `got` to `wrong` if a reader lost an entry, got one twice or got two out of order."""
        is_whole = got["least"] == got["most"] == entries and got["open"] == readers
        if not is_whole or any(got[key] for key in never):
            self.wrong.append(f"{name}: {got}")
            log(f"LOST {name}: {got}")


def shown(figures: Round) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())
