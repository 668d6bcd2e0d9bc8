"""Counters and gauges as Prometheus reads them, of one worker and of several."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.sources import FakeStore, make_hub
from kit.virtual import in_virtual_time
from prometheus_client.parser import text_string_to_metric_families

from liveblog.live import metrics as module
from liveblog.live.door import Door
from liveblog.live.metrics import DIRECTORY, Metrics
from liveblog.live.plain import PlainConnections

PROGRAM = Path(__file__).parents[1] / "kit" / "counting.py"


def samples(text: bytes | str) -> dict[str, float]:
    """Return each sample's value; a key is the name (less `liveblog_`), then the label values."""
    text = text if isinstance(text, str) else text.decode()
    return {
        " ".join([sample.name.removeprefix("liveblog_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def made() -> tuple[Door, Metrics]:
    door = Door(make_hub(FakeStore()))
    return door, Metrics(door, PlainConnections())


# -- one worker ------------------------------------------------------------------------------------


def test_scrape_shows_every_count_under_its_name() -> None:
    door, metrics = made()
    counts = door.hub.counts
    counts.deliveries, counts.sent_bytes, counts.repairs, counts.resets = 7, 900, 3, 2
    counts.stalled, counts.unheard = 5, 6
    door.hub.held_budget.bytes, door.hub.store.state = 64, "up"
    door.readers.update(websocket=4, events=1)
    door.accepts.update(accepted=8, origin=9)
    door.closes.update({1003: 10, 4002: 11})
    found = samples(metrics.text())
    expected = {
        "deliveries_total": 7,
        "sent_bytes_total": 900,
        "repairs_total": 3,
        "resets_total": 2,
        "freed_total stalled": 5,
        "freed_total unheard": 6,
        "held_bytes": 64,
        "cached_bytes": 0,
        "store_up": 1,
        "store_state up": 1,
        "store_state down": 0,
        "store_state refuses-writes": 0,
        "store_evicts": 0,
        "blogs": 0,
        "readers_behind": 0,
        "readers websocket": 4,
        "readers events": 1,
        "accepts_total accepted": 8,
        "accepts_total origin": 9,
        "closes_total 1003": 10,
        "closes_total 4002": 11,
    }
    assert {name: found[name] for name in expected} == expected


def test_scrape_shows_totals_when_it_is_repeated() -> None:
    door, metrics = made()
    for total in (2, 2, 5):
        door.hub.counts.deliveries = total
        door.accepts["accepted"] = total
        for _ in range(2):
            found = samples(metrics.text())
            assert (found["deliveries_total"], found["accepts_total accepted"]) == (total, total)


def test_number_is_a_gauge_when_it_can_fall() -> None:
    door, metrics = made()
    for readers in (4, 1, 0):
        door.readers["websocket"] = door.hub.held_budget.bytes = readers
        found = samples(metrics.text())
        assert (found["readers websocket"], found["held_bytes"]) == (readers, readers)


def test_series_is_zero_when_nothing_was_counted() -> None:
    """Prometheus's `rate` misses the first count of a series that did not start at zero."""
    found = samples(made()[1].text())
    for name in ("readers websocket", "readers events", "accepts_total store", "closes_total 4002"):
        assert found[name] == 0


def test_histogram_observes_each_pass_once() -> None:
    door, metrics = made()
    for seconds in (0.0005, 0.02, 9.0):
        door.hub.on_pass(seconds)
    found = samples(metrics.text())
    assert found["fanout_seconds_count"] == 3
    assert found["fanout_seconds_sum"] == pytest.approx(9.0205)
    assert found["fanout_seconds_bucket 0.001"] == 1
    assert found["fanout_seconds_bucket 2.5"] == 2
    assert found["fanout_seconds_bucket +Inf"] == 3


def test_reader_makes_no_series_when_it_sends_a_new_code() -> None:
    door, metrics = made()
    before = samples(metrics.text()).keys()
    door.closes.update(dict.fromkeys(range(3000, 5000), 1))
    door.accepts.update({"made up": 2, "another": 3})
    found = samples(metrics.text())
    assert found.keys() - before == {"closes_total other", "accepts_total other"}
    assert found["accepts_total other"] == 5
    assert sum(v for n, v in found.items() if n.startswith("closes_total")) == 2000


def test_metric_name_ends_in_its_unit() -> None:
    for family in text_string_to_metric_families(made()[1].text().decode()):
        assert family.name.startswith("liveblog_")
        assert family.documentation
        assert family.type in ("gauge", "counter", "histogram")
        units = {"held_bytes", "cached_bytes", "sent_bytes", "fanout_seconds"}
        units |= {"blogs_bytes", "blogs_limit_bytes"}
        assert family.name.endswith(("_bytes", "_seconds")) == (
            family.name.removeprefix("liveblog_") in units
        )


@in_virtual_time
async def test_counts_are_copied_each_second_when_nothing_scrapes() -> None:
    door, metrics = made()
    task = asyncio.create_task(metrics.run())
    await asyncio.sleep(0.5)
    door.hub.counts.deliveries = 4
    await asyncio.sleep(module.FLUSH_S)
    assert metrics._counters["deliveries"]._value.get() == 4
    task.cancel()


# -- several workers -------------------------------------------------------------------------------


class Worker:
    """A process that counts."""

    def __init__(self, directory: Path, program: list[str] | None = None) -> None:
        paths = [str(PROGRAM.parents[2]), str(PROGRAM.parents[1])]
        self.process = subprocess.Popen(
            [sys.executable, *(program or [str(PROGRAM)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, DIRECTORY: str(directory), "PYTHONPATH": os.pathsep.join(paths)},
        )

    def _ask(self, line: Any) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return str(json.loads(self.process.stdout.readline()))

    def count(self, **told: float) -> None:
        assert self._ask(told) == "counted"

    def scrape(self) -> dict[str, float]:
        return samples(self._ask(None))

    def kill(self) -> None:
        """Kill the process, and wait until it has gone."""
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.process.communicate()


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    workers: list[Worker] = []

    def started(program: list[str] | None = None) -> Worker:
        workers.append(Worker(tmp_path, program))
        return workers[-1]

    yield started
    for worker in workers:
        if worker.process.poll() is None:
            worker.close()


def test_any_worker_answers_for_all_workers(start: Start) -> None:
    one, other = start(), start()
    one.count(readers=3, deliveries=5, seconds=0.002, store_up=True)
    other.count(readers=4, deliveries=6, seconds=0.2, store_up=True)
    for worker in (one, other):
        found = worker.scrape()
        assert found["readers websocket"] == 7
        assert found["deliveries_total"] == 11
        assert found["fanout_seconds_count"] == 2
        assert found["fanout_seconds_bucket 0.0025"] == 1
        assert found["store_up"] == 1
        assert not [name for name in found if str(worker.process.pid) in name]


def test_store_is_up_when_every_worker_reaches_it(start: Start) -> None:
    one, other = start(), start()
    one.count(store_up=True)
    other.count(store_up=False)
    assert one.scrape()["store_up"] == 0
    other.count(store_up=True)
    assert one.scrape()["store_up"] == 1


def test_killed_worker_keeps_its_counters_and_loses_its_gauges(start: Start) -> None:
    one, other = start(), start()
    one.count(readers=3, deliveries=5, store_up=True)
    other.count(readers=4, deliveries=6)
    assert one.scrape()["store_up"] == 0
    other.kill()
    found = one.scrape()
    assert found["readers websocket"] == 3
    assert found["store_up"] == 1
    assert found["deliveries_total"] == 11


def test_worker_starts_at_zero_when_it_has_a_dead_ones_number(start: Start, tmp_path: Path) -> None:
    """In a container a new worker can get the pid of a dead one.

    Scrapes then keep the dead worker's file, so the new worker must set the gauges in it to zero.
    """
    dead = start()
    dead.count(readers=9, deliveries=5)
    dead.kill()
    for file in tmp_path.glob(f"*_{dead.process.pid}.db"):
        file.rename(file.with_name(file.name.replace(str(dead.process.pid), "NUMBER")))
    renamed = (
        "import os, pathlib, runpy\n"
        f"for file in pathlib.Path({str(tmp_path)!r}).glob('*_NUMBER.db'):\n"
        "    file.rename(str(file).replace('NUMBER', str(os.getpid())))\n"
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
    )
    heir = start(["-c", renamed])
    found = heir.scrape()
    assert found["readers websocket"] == 0
    assert found["deliveries_total"] == 5
