"""Metrics files of workers that have ended: removed, and their counts stay in the totals."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from liveblog.live import retired

DEAD = 2**30  # more than any kernel gives


def worker(directory: Path, pid: int, count: float) -> None:
    """Write the files of a worker that counted `count` requests."""
    for kind, names in {
        "counter": ["total"],
        "histogram": ["seconds_sum", "seconds_bucket"],
        "gauge_livesum": ["readers"],
    }.items():
        made = MmapedDict(str(directory / f"{kind}_{pid}.db"))
        for name in names:
            labels = {"le": "+Inf"} if name.endswith("bucket") else {}
            metric = name.partition("_")[0]
            made.write_value(
                mmap_key(metric, name, [*labels], [*labels.values()], "help"), count, 0
            )
        made.close()


def scraped(directory: Path) -> str:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    return generate_latest(registry).decode()


def test_counts_of_many_ended_workers_stay_in_few_files(tmp_path: Path) -> None:
    for turn in range(20):
        worker(tmp_path, DEAD + turn, turn)
        retired.sweep(tmp_path)
        assert f"total {sum(range(turn + 1))}.0" in scraped(tmp_path)
        assert f'seconds_bucket{{le="+Inf"}} {sum(range(turn + 1))}.0' in scraped(tmp_path)
        assert "readers" not in scraped(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"counter_0.db", "histogram_0.db"}


def test_files_of_running_workers_stay(tmp_path: Path) -> None:
    worker(tmp_path, 1, 5)
    worker(tmp_path, DEAD, 2)
    before = scraped(tmp_path)
    retired.sweep(tmp_path)
    assert (tmp_path / "counter_1.db").exists()
    assert "total 7.0" in scraped(tmp_path)
    assert "readers 7.0" in before
    assert "readers 5.0" in scraped(tmp_path)


def test_sweeps_of_several_workers_count_no_dead_one_twice(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for turn in range(50):
            worker(tmp_path, DEAD + turn, 1)
            list(threads.map(lambda _: retired.sweep(tmp_path), range(8)))
    assert "total 50.0" in scraped(tmp_path)


def test_sweep_survives_a_file_that_a_killed_worker_left_corrupt(tmp_path: Path) -> None:
    worker(tmp_path, DEAD, 3)
    (tmp_path / f"counter_{DEAD + 1}.db").write_bytes(b"\xff\x00\x00\x00" + b"\x7f" * 300)
    (tmp_path / f"counter_{DEAD + 2}.db").write_bytes(b"")
    retired.sweep(tmp_path)
    assert "total 3.0" in scraped(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"counter_0.db", "histogram_0.db"}
