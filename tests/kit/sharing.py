"""Which tests share a process when several processes run the suite (pytest-xdist).

Tests of one module run in one process, because they share servers and stores. The fault matrix
runs in one process as a whole: each of its rows keeps half a core busy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

# The directories with the longest modules start first, so that no process waits for another at
# the end of the run.
ORDER: Final = ("chaos", "browser", "integration", "unit")
TOGETHER: Final = ("chaos",)
# Modules whose names start with this: their tests share no servers, and each test takes seconds.
APART: Final = ("test_mutants", "test_stories")


def in_running_order(items: Sequence[pytest.Item], root: Path) -> list[pytest.Item]:
    """Return the tests sorted by directory; in each directory, those marked `model` come first."""

    def rank(item: pytest.Item) -> tuple[int, bool]:
        directory = item.path.relative_to(root).parts[0]
        place = ORDER.index(directory) if directory in ORDER else len(ORDER)
        return place, item.get_closest_marker("model") is None

    return sorted(items, key=rank)


class Sharing(LoadScopeScheduling):  # type: ignore[misc]  # the base class is Any to mypy: pytest-xdist has no types
    """Give a process a whole module, a whole directory of TOGETHER, or one test of APART."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the group of tests that run in one process."""
        module = nodeid.partition("::")[0]
        parts = Path(module).parts
        if parts[-1].startswith(APART):
            return nodeid
        return next((name for name in TOGETHER if name in parts), module)
