"""Readers converge on the stored state under loss, duplication, reordering, forks and crashes.

`LONG=1` tries 10,000 random sequences of faults in place of some hundred (`make stories`).
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from kit.machine import Machine, small_limits

pytestmark = pytest.mark.model

# test_mutants.py tries 200 more on the unchanged code, always the same.
EXAMPLES = 10_000 if os.environ.get("LONG") else 60

many = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_readers_converge_on_the_stored_state_under_all_faults() -> None:
    with small_limits():
        run_state_machine_as_test(Machine, settings=many)
