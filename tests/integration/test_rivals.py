"""Five editors save the same entries and the same header at once, through the desk's own forms."""

from pathlib import Path
from typing import Any

import pytest
from kit.people import cheapen_hashes
from kit.rivals import RIVALS, Contest
from kit.servers import serving

SAVES = 20  # of each editor; `make stories` has twenty times as many


async def test_no_text_is_replaced_silently_when_five_editors_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheapen_hashes(monkeypatch)
    settings: dict[str, Any] = {"DATA_DIR": str(tmp_path / "data")}
    with serving(tmp_path / "log", **settings) as server:
        async with server.editor() as calls:
            contest = Contest(server, calls)
            await contest.run(SAVES)
    assert contest.counts["200"] == RIVALS * SAVES
    assert contest.counts["412"] > SAVES
    assert (contest.silent, contest.vanished) == ([], [])
