"""A soak: readers come and go, editors write, and random faults happen for minutes or hours.

    make soak ARGS="--minutes 10"

Two workers share a store. The soak is a sequence of acts: 20 s of faults, each time in a new blog.
At an act's end kit/judge.py compares what each reader got with the store. Then all readers leave,
and the soak reads the workers' memory and number of file descriptors. The first acts are a warm-up,
in which the workers' caches fill. Prints a table.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kit import matrix
from kit.servers import Server, StoreProcess, store_process
from kit.stage import RECONNECT_S, Stage, stage_on
from kit.stores import binary_of
from kit.trouble import Trouble
from kit.waiting import until

CHURN_PER_S: Final = 50.0
ACT_S: Final = 20.0
READERS: Final = 100  # for the whole act
WARM_UP: Final = 6  # acts
LOSSES: Final = ("lost", "duplicated", "reordered", "unannounced")
SLOPE_MB_MAX: Final = 1.0  # per 10 minutes
CLOSED_WITHIN_S: Final = 10.0  # an idle connection is closed after 5 to 5.5 s
# Workers keep only two blogs, since blogs of earlier acts in memory would look like a leak.
SETTINGS: Final = {"LIVEBLOG_BLOGS_MAX": "2"}


@dataclass
class Sample:
    """The workers' memory and open file descriptors after an act, when no reader is connected."""

    at_s: float
    memory_mb: float
    descriptors: list[int]


@dataclass
class Soak:
    stage: Stage
    store: StoreProcess
    trouble: Trouble
    began_s: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)

    def age_s(self) -> float:
        return time.monotonic() - self.began_s

    async def act(self) -> None:
        name = f"act {len(self.samples) + 1}"
        async with self.stage.play(name, readers=READERS, within_s=RECONNECT_S) as show:
            async with asyncio.TaskGroup() as work:
                work.create_task(show.audience.churn(CHURN_PER_S, ACT_S))
                work.create_task(self.trouble.make(show, ACT_S))
            show.over()
        await until(lambda: not any(_readers(server) for server in self.stage.servers), 30)
        descriptors = await self._descriptors()
        memory_mb = sum(resident_mb(server.pid) for server in self.stage.servers)
        self.samples.append(Sample(self.age_s(), memory_mb, descriptors))

    async def _descriptors(self) -> list[int]:
        """Return each worker's number of descriptors, once idle connections are closed."""

        def count() -> list[int]:
            return [_own_descriptors(it, self.stage) for it in range(len(self.stage.servers))]

        if self.samples:
            with contextlib.suppress(TimeoutError):
                await until(lambda: count() == self.samples[0].descriptors, CLOSED_WITHIN_S)
        return count()

    def slope_mb(self) -> float:
        """Return the growth of the workers' memory in MB per 10 minutes, without the warm-up."""
        steady = self.samples[WARM_UP:]
        times = [sample.at_s / 600 for sample in steady]
        return statistics.linear_regression(times, [it.memory_mb for it in steady]).slope

    def is_good(self) -> bool:
        """Return whether nothing was lost, and memory and descriptors did not grow."""
        lost = [getattr(row, name) for row in matrix.ROWS for name in LOSSES]
        same = {tuple(it.descriptors) for it in self.samples[WARM_UP:]}
        return not any(lost) and len(same) == 1 and self.slope_mb() <= SLOPE_MB_MAX


def _readers(server: Server) -> int:
    text = server.text("/metrics")
    lines = [line for line in text.splitlines() if line.startswith("liveblog_readers{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _own_descriptors(number: int, stage: Stage) -> int:
    """Return how many files a worker has open besides its connections to the store.

    The number of these connections varies: a worker keeps up to CONNECTIONS_MAX of them, also those
    that the store has closed. So they say nothing about a leak.
    """
    pid = stage.servers[number].pid
    links: list[str] = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            links.append(str(file.readlink()))
    to_store = _sockets_to(stage.proxies[number].port)
    return sum(link not in to_store for link in links)


def _sockets_to(port: int) -> set[str]:
    """Return the sockets that are connected to a port, by their names in /proc/PID/fd."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}


async def run(minutes: float, seed: int) -> Soak:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with store_process(directory, binary_of("valkey")) as store:
            store.start()
            async with stage_on(store, directory, **SETTINGS) as stage:
                soak = Soak(stage, store, Trouble(stage, store, random.Random(seed)))
                while soak.age_s() < minutes * 60 or len(soak.samples) < WARM_UP + 2:
                    await soak.act()
                    _say(soak)
                return soak


def _say(soak: Soak) -> None:
    sample, row = soak.samples[-1], matrix.ROWS[-1]
    print(
        f"{sample.at_s:5.0f} s  {row.readers} readers, {row.acknowledged} changes, "
        f"{sample.memory_mb:.1f} MB, descriptors {sample.descriptors}",
        flush=True,
    )


def report(soak: Soak) -> str:
    rows = matrix.ROWS
    steady = soak.samples[WARM_UP:]
    exact = {tuple(sample.descriptors) for sample in steady}
    figures = {
        "time": f"{soak.age_s() / 60:.1f} minutes",
        "readers": f"{sum(row.readers for row in rows):,}",
        "changes acknowledged": f"{sum(row.acknowledged for row in rows):,}",
        "lost, duplicated, reordered, unannounced resets": ", ".join(
            str(sum(getattr(row, name) for row in rows)) for name in LOSSES
        ),
        "memory of both workers after warm-up, then at the end": (
            f"{steady[0].memory_mb:.1f} MB, {steady[-1].memory_mb:.1f} MB"
        ),
        "memory slope (must: <= 1 MB in 10 minutes)": f"{soak.slope_mb():.2f} MB in 10 minutes",
        "descriptors between acts, besides connections to the store": " or ".join(
            str(list(it)) for it in sorted(exact)
        ),
    }
    lines = ["| figure | value |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in figures.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description="Readers come and go amid random faults.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    soak = asyncio.run(run(asked.minutes, asked.seed))
    print(report(soak))
    raise SystemExit(not soak.is_good())


if __name__ == "__main__":
    main()
