"""Every figure of the fan-out engine in one run, as a table of limit, aim and measurement.

    make bench                       all figures, in about 25 minutes
    make bench ARGS="--only against,idle --readers 2000 --rounds 1"

One worker runs on core 0, readers and publisher on core 1, all on 127.0.0.1. Compared servers take
turns, and a ratio divides the medians of their rounds. Needs Linux, two cores, cc and `ss`. The
rows of nchan, a push module of nginx, need Debian's nginx and libnginx-mod-nchan. Exits with 1 when
a reader lost, repeated or reordered an entry.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from measure.fanout import FanOut, publish, settle, shown
from measure.subjects import KINDS, Liveblog, Readers, Subject, has_nchan, log, pinned

UNTIL_S = 30.0


class Row(NamedTuple):
    """One row of the table. `value` must be at most `must`, and should be at most `aim`."""

    figure: str
    must: float | None
    aim: float | None
    value: float | None
    unit: str = ""
    at_least: bool = False  # `must` and `aim` are lower limits

    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.must is None:
            return ""
        if self.aim is not None and self._meets(self.aim):
            return "aim"
        return "must" if self._meets(self.must) else "MISSED"

    def _meets(self, limit: float) -> bool:
        assert self.value is not None
        return self.value >= limit if self.at_least else self.value <= limit

    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        limits = [f"{sign} {_shown(x)}{self.unit}" if x is not None else "" for x in self[1:3]]
        value = f"{_shown(self.value)}{self.unit}" if self.value is not None else ""
        return f"| {self.figure} | {limits[0]} | {limits[1]} | {value} | {self.verdict()} |"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


class Bench:
    """The measurements; each yields rows."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.fan_out = FanOut(args.readers, args.entries, args.rate)

    @property
    def wrong(self) -> list[str]:
        return self.fan_out.wrong

    def run(self, names: list[str], rows: list[Row]) -> None:
        """Run measurements by name, and append each row as soon as it is measured."""
        for name in names:
            log(f"-- {name}")
            for row in ALL[name](self):
                rows.append(row)
                log(row.line())

    # -- side by side

    def against(self) -> Iterator[Row]:
        """Compare liveblog with floor.c (a minimal server) and nginx's nchan, in turns."""
        names = ["floor", *(["nchan"] if has_nchan() else []), "liveblog", "deflate"]
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(self.args.rounds):
            for name in names:
                kind = KINDS.get(name, Liveblog)
                more = ["-z"] if name == "deflate" else []
                row = self.fan_out.run(kind(), *more)
                rounds[name].append(row)
                log(f"round {number + 1} {name:9} {shown(row)}")
        median = {
            name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            for name, rows in rounds.items()
        }
        yield from self._ratios(median)

    def _ratios(self, median: dict[str, dict[str, float]]) -> Iterator[Row]:
        ours, floor, nchan = median["liveblog"], median["floor"], median.get("nchan")

        def ratio(key: str, other: dict[str, float] | None) -> float | None:
            return ours[key] / other[key] if other else None

        memory = max(ours["kb_per_reader"], median["deflate"]["kb_per_reader"])
        yield Row("CPU per delivery, against nchan", 1.0, 0.9, ratio("us_per_delivery", nchan))
        yield Row(
            "CPU per delivery, against the C floor", 1.3, 1.15, ratio("us_per_delivery", floor)
        )
        yield Row("CPU per delivery", None, None, ours["us_per_delivery"], " us")
        yield Row("resident memory per reader, compressed or not", 3, 2, memory, " KB")
        accepts = ratio("accepts_per_s", floor)
        yield Row("accepts per second, against the floor", 0.5, 0.8, accepts, at_least=True)
        yield Row("accepts per second", None, None, ours["accepts_per_s"])
        yield Row("p99 from publish to reader, against nchan", 1.1, 1.0, ratio("p99_ms", nchan))
        yield Row("p99 from publish to reader", None, None, ours["p99_ms"], " ms")

    # -- stalled readers

    def stalled(self) -> Iterator[Row]:
        """Compare runs in which a fifth of the readers stall with runs in which none does."""
        rounds: dict[float, list[dict[str, float]]] = {0.0: [], 0.2: []}
        for _ in range(self.args.rounds):
            for share, rows in rounds.items():
                rows.append(self._with_stalled(int(self.args.readers * share)))
                log(f"{share:.0%} stalled: {rows[-1]}")
        none, some = (
            {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            for rows in rounds.values()
        )
        count = int(self.args.readers * 0.2)
        held = (some["rss_kb"] - none["rss_kb"]) / count
        yield Row(
            "20 % stalled: share of them counted as behind",
            1,
            None,
            some["behind"] / count,
            at_least=True,
        )
        yield Row(
            "20 % stalled: the others' p99, against none",
            1.2,
            1.05,
            some["p99_ms"] / none["p99_ms"],
        )
        yield Row("20 % stalled: process memory per stalled reader", 10, 4, held, " KB")
        yield Row(
            "20 % stalled: kernel send buffer each, largest", 128, None, some["buffer_kib"], " KiB"
        )

    def _with_stalled(self, count: int) -> dict[str, float]:
        entries, rate = self.args.stalled_entries, 10.0
        with Liveblog(body=1_000) as subject:
            more = ["-S", count] if count else []
            with Readers(subject, self.args.readers, *more, stay_s=entries / rate + 60) as load:
                settle()
                rss = subject.rss_kb()
                publish(subject, entries, rate)
                settle()
                row = {
                    "rss_kb": subject.rss_kb() - rss,
                    "behind": subject.metric("liveblog_readers_behind"),
                    "buffer_kib": _largest_send_buffer(subject.port) / 1024,
                }
                load.resume()
                _until(lambda: _is_drained(subject))
                got = load.stop()
        # A close with 4005 (reset) is no loss: the reader had missed more than 200 entries.
        is_whole = (
            got["bottom"] == got["top"] and got["closed"] == got.get("close_4005", 0) <= count
        )
        if not is_whole or got["unchained"] or got["repeated"] or got["disordered"]:
            self.wrong.append(f"stalled: {got}")
            log(f"LOST stalled: {got}")
        return {**row, "p99_ms": got["p99_ms"]}

    # -- pages under load

    def pages(self) -> Iterator[Row]:
        """Load the page 25 times a second over new connections, while readers get entries."""
        with Liveblog() as subject:
            waits = self._pages_during(subject, "/blogs/bench")
        yield Row("page load p99 while 4 entries a second go to all", 15, 8, _p99(waits), " ms")
        yield Row("page load median then", None, None, statistics.median(waits), " ms")

    def _pages_during(self, subject: Subject, path: str) -> list[float]:
        seconds = self.args.page_seconds
        with Readers(subject, self.args.readers, stay_s=seconds + 60) as load:
            settle()
            client = [
                sys.executable,
                Path(__file__).with_name("page_client.py"),
                subject.port,
                path,
                seconds,
            ]
            with pinned(1, ["nice", "-n", "-10", *client], stdout=subprocess.PIPE) as loading:
                publish(subject, int(seconds * 4), rate=4)
                out = loading.communicate()[0]
            got = load.stop()
        self.fan_out.judge(subject.name, got, self.args.readers, int(seconds * 4))
        return [float(line) for line in out.split()]

    def cached(self) -> Iterator[Row]:
        """Compare a cached page with a bare ASGI function that returns the same bytes."""
        command = [sys.executable, "-m", "measure.cached_page"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        log(done.stdout)
        ratios = [float(line.split()[-1]) for line in done.stdout.splitlines()[1:]]
        figure = "cached page per second, against a bare ASGI function"
        yield Row(figure, 0.8, None, min(ratios), at_least=True)

    # -- idle readers, bytes on the wire, and costs at several numbers of readers

    def idle(self) -> Iterator[Row]:
        """Measure the CPU of readers while nothing is published."""
        seconds = self.args.idle_seconds
        with (
            Liveblog() as subject,
            Readers(subject, self.args.readers, stay_s=seconds + 60) as load,
        ):
            settle()
            cpu = subject.cpu_us()
            time.sleep(seconds)  # the length of the measurement
            percent = (subject.cpu_us() - cpu) / seconds / 1e4
            load.stop()
        yield Row("idle CPU, heartbeats and pings included", 2, None, percent, " %")

    def wire(self) -> Iterator[Row]:
        """Publish the sample blog's entries, and compare each frame's sizes, compressed and plain."""
        with Liveblog() as subject:
            subject.command("demo")
            entries = subject.call("GET", "/api/blogs/apollo-11/entries?limit=100")["entries"]
            ratios = asyncio.run(_wire_ratios(subject, entries))
        yield Row("bytes on the wire, compressed, median", 0.6, 0.5, statistics.median(ratios))

    def sizes(self) -> Iterator[Row]:
        """Compare the CPU per delivery at different numbers of readers."""
        found: dict[int, list[float]] = {1_000: [], 5_000: [], 18_000: []}
        for _ in range(self.args.rounds):
            for readers, costs in found.items():
                row = self.fan_out.run(Liveblog(), readers=readers)
                costs.append(row["us_per_delivery"])
                log(f"{readers} readers: {costs[-1]:.2f} us per delivery")
        few, some, many = (statistics.median(costs) for costs in found.values())
        # An entry has a fixed cost, and a cost for each reader. The difference between the costs
        # per delivery at 1,000 and at 5,000 readers yields the fixed cost.
        fixed_ms = (few - some) / (1 / 1_000 - 1 / 5_000) / 1_000
        yield Row("CPU per delivery at 18,000 readers, against 5,000", 1.25, 1.1, many / some)
        yield Row("the same, the other way", 1.25, 1.1, some / many)
        yield Row("CPU per delivery at 5,000 readers", None, None, some, " us")
        yield Row("CPU per delivery at 18,000 readers", None, None, many, " us")
        yield Row("fixed CPU per entry, from 1,000 readers", None, None, fixed_ms, " ms")


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + UNTIL_S
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("the stalled readers did not catch up")
        time.sleep(0.1)  # this program has no event loop that could be blocked


def _is_drained(subject: Liveblog) -> bool:
    """Return whether no reader is behind, and the kernel buffers of both sides are empty."""
    if subject.metric("liveblog_readers_behind"):
        return False
    ends = f"( sport = :{subject.port} or dport = :{subject.port} )"
    lines = _ss("-tnH", ends).splitlines()
    return not any(int(queued) for line in lines for queued in line.split()[:2])


def _ss(options: str, ends: str) -> str:
    command = ["ss", options, "state", "established", ends]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _largest_send_buffer(port: int) -> float:
    """Return the largest send buffer in bytes of a server's sockets (`tb` of `ss`)."""
    found = re.findall(r"\btb(\d+)", _ss("-tmnH", f"sport = :{port}"))
    return max((float(size) for size in found), default=0)


async def _wire_ratios(subject: Liveblog, entries: list[dict[str, Any]]) -> list[float]:
    from kit.raw import UPGRADE, request, wire

    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    url, ratios = f"http://127.0.0.1:{subject.port}", []
    fields = ("headline", "body", "byline", "dateline", "key", "key_title")
    async with (
        wire(url, request(subject.path, UPGRADE)) as plain,
        wire(url, request(subject.path, UPGRADE + offer)) as packed,
    ):
        for reader in (plain, packed):
            await reader.head()
            await reader.frame_of(0x81)
        for entry in entries:
            body = {name: entry[name] for name in fields if entry[name]}
            await asyncio.to_thread(subject.call, "POST", "/api/blogs/bench/entries", body)
            ratios.append(await _size(packed) / await _size(plain))
    return ratios


async def _size(reader: Any) -> int:
    """Return the size of the next `changes` frame's payload: bytes as sent, maybe compressed."""
    while True:
        first, payload = await reader.frame()
        if first == 0xC1 or (first == 0x81 and b'"changes"' in payload[:20]):
            return len(payload)


ALL: dict[str, Callable[[Bench], Iterator[Row]]] = {
    name: getattr(Bench, name)
    for name in ("against", "stalled", "pages", "cached", "idle", "wire", "sizes")
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ALL), help="measurements, comma-separated")
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2, help="entries a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stalled-entries", type=int, default=300)
    parser.add_argument("--page-seconds", type=float, default=40)
    parser.add_argument("--idle-seconds", type=float, default=60)
    args = parser.parse_args()
    bench = Bench(args)
    rows: list[Row] = []
    try:
        bench.run(args.only.split(","), rows)
    finally:  # also after an error or Ctrl-C
        _print_table(bench, rows)
    return 1 if bench.wrong else 0


def _print_table(bench: Bench, rows: list[Row]) -> None:
    lost = Row("lost, repeated, out of order: rounds with any", 0, None, float(len(bench.wrong)))
    print("\n| figure | must | aim | measured | |\n| --- | --- | --- | --- | --- |")
    for row in [*rows, lost]:
        print(row.line())


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
