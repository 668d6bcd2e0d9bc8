"""The model finds the bugs that we might have written: see mutants.py."""

import pytest
from kit.mutants import MUTANTS, ORIGINAL, Mutant, judge


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_a_mutant_dies_of_an_invariant(mutant: Mutant) -> None:
    assert judge(mutant.breaks).invariant


def test_the_code_as_it_is_breaks_no_invariant() -> None:
    assert judge(ORIGINAL).invariant is None
