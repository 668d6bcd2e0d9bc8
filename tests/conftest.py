"""Fixtures that all tests can use, and hooks that share the tests among the processes of `-n`."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from kit import matrix
from kit.sharing import APART, Sharing, in_running_order

from liveblog.settings import Settings, load, variables

ROOT = Path(__file__).parent

# The time of an example depends on the load of the machine, so examples have no deadline.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own liveblog settings from the environment."""
    for name in variables():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings() -> Settings:
    return load({})


def pytest_report_header() -> str:
    return f"cores: {os.cpu_count()}"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that seed bugs as `model`; `make check` leaves them out."""
    if item.path.stem.startswith(APART):
        item.add_marker("model")


# -- several processes (`pytest -n`)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = in_running_order(items, ROOT)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Keep the order of kit/sharing.py: xdist would start the modules with the most tests first.
    config.option.loadscopereorder = False
    return Sharing(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output; pytest-xdist sends reports as UTF-8."""
    report = yield
    escaped = [(name, text.encode("utf-8", "backslashreplace")) for name, text in report.sections]
    report.sections = [(name, text.decode()) for name, text in escaped]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the rows of the fault matrix to the process that prints them."""
    sent = getattr(session.config, "workeroutput", None)
    if sent is not None:
        sent["matrix"] = [tuple(row) for row in matrix.ROWS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    rows = getattr(node, "workeroutput", {}).get("matrix", [])
    matrix.ROWS.extend(matrix.Row(*row) for row in rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if matrix.ROWS:
        terminalreporter.section("the fault matrix")
        terminalreporter.line(matrix.table())
