"""What every test has: an environment without the settings of whoever runs the tests."""

import os

import pytest

from liveblog.settings import Settings, load, variables


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings() -> Settings:
    return load({})


def pytest_report_header() -> str:
    return f"cores: {os.cpu_count()}"
