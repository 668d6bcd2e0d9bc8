"""The model-based test finds each mutant (seeded bug) of `kit/mutants.py`."""

import pytest
from kit.mutants import MUTANTS, ORIGINAL, Mutant, judge


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_mutant_breaks_an_invariant(mutant: Mutant) -> None:
    assert judge(mutant.breaks).invariant


def test_unchanged_code_breaks_no_invariant() -> None:
    assert judge(ORIGINAL).invariant is None
