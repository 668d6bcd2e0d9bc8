"""What every test has: an environment without the settings of whoever runs the tests."""

import os

import hypothesis
import pytest

from liveblog.settings import Settings, load, variables

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings() -> Settings:
    return load({})


def pytest_report_header() -> str:
    return f"cores: {os.cpu_count()}"
