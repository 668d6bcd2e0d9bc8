"""The seeded bugs of `kit/mutants_desk.py` still fit the code; `make mutants` plays stories on them."""

import pytest
from kit.ledger import RULES
from kit.mutants_desk import BUGS, ROOT, Bug, changed


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.breaks)
def test_seeded_bug_of_the_desk_fits_the_code(bug: Bug) -> None:
    texts = {it.file: (ROOT / it.file).read_text() for it in bug.changes}
    for change in bug.changes:
        texts[change.file] = changed(texts[change.file], change)
    assert set(bug.rules) <= set(RULES)
    assert all(text != (ROOT / file).read_text() for file, text in texts.items())
