"""kit/scenarios.py finds the seeded bugs of kit/mutants_door.py in live/door.py and direct.py."""

import subprocess
import sys

from kit.mutants import ROOT
from kit.mutants_door import MUTANTS


def test_scenarios_find_every_seeded_bug_and_no_other() -> None:
    """Run the scenarios in a new process, which must seed a bug before it imports the program."""
    command = [sys.executable, "-m", "kit.mutants_door"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1 + len(MUTANTS)
    assert "survives" not in done.stdout
