"""`make compare`: alternating rounds, medians of ratios, and how a build is started."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from measure.compare import Comparison, Figure, build_at
from measure.fanout import FanOut
from measure.subjects import ROOT, Subject

COST = Figure("CPU per delivery", "cost", 1.03)
RATE = Figure("time per accept", "rate", 1.03, inverse=True)


@pytest.fixture
def compared() -> Comparison:
    """Return a comparison of two programs after three rounds; the second is slow in one round."""
    ours, theirs = iter([2.0, 3.0, 4.0]), iter([2.0, 2.0, 100.0])
    played: dict[str, Iterator[float]] = {"after": ours, "before": theirs}

    def play(subject: Subject) -> dict[str, float]:
        value = next(played[cast(str, subject)])
        return {"cost": value, "rate": 1 / value}

    names: Any = {"after": lambda: "after", "before": lambda: "before"}
    comparison = Comparison(names, 3, play)
    comparison.run("two builds")
    return comparison


def test_comparison_returns_the_median_of_each_rounds_ratio(compared: Comparison) -> None:
    assert compared.median_ratio(COST, "before") == 1.0
    assert compared.median_ratio(RATE, "before") == 1.0


def test_table_says_missed_when_a_ratio_is_over_its_limit(compared: Comparison) -> None:
    compared.rows["before"] = [{"cost": 1.0}] * 3
    assert list(compared.table([COST], "before")) == [
        "| CPU per delivery, against before | <= 1.03 | 3.000 | MISSED |"
    ]


def test_build_of_a_directory_runs_that_directorys_code(tmp_path: Path) -> None:
    (tmp_path / "liveblog").mkdir()
    (tmp_path / "liveblog/__init__.py").touch()
    (tmp_path / "liveblog/older.py").write_text("def main() -> None:\n    print('older')\n")
    project = '[project.scripts]\nliveblog = "liveblog.older:main"\n'
    (tmp_path / "pyproject.toml").write_text(project)
    build = build_at(str(tmp_path), tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(build.directory)}
    done = subprocess.run(build.command(), cwd=ROOT, env=environment, capture_output=True)
    assert done.stdout == b"older\n", done.stderr


@pytest.mark.parametrize("wrong", ["repeated", "disordered", "unchained", "failed", "closed"])
def test_fan_out_notes_a_round_when_a_reader_lost_something(wrong: str) -> None:
    fan_out = FanOut(readers=2, entries=3, rate=1)
    got = {"least": 3.0, "most": 3.0, "open": 2.0}
    counts = dict.fromkeys(("repeated", "disordered", "unchained", "failed", "closed"), 0.0)
    fan_out.judge("liveblog", {**got, **counts}, 2, 3)
    assert not fan_out.wrong
    fan_out.judge("liveblog", {**got, **counts, wrong: 1.0}, 2, 3)
    assert len(fan_out.wrong) == 1
