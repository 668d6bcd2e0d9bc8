"""Run kit/scenarios.py on live/door.py (admits readers) and live/direct.py (writes to them)."""

from collections.abc import Awaitable, Callable

import pytest
from kit.scenarios import SCENARIOS, play


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario_keeps_every_rule(scenario: Callable[[], Awaitable[None]]) -> None:
    play(scenario)
