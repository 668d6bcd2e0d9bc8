"""The directories of metrics: those of killed servers are removed, and no others."""

import os
import tempfile
from pathlib import Path

import pytest

from liveblog.commands import gathered


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def names(temporary: Path) -> set[str]:
    return {path.name.removeprefix(gathered.PREFIX) for path in temporary.iterdir()}


def test_directory_exists_while_its_server_runs(temporary: Path) -> None:
    with gathered.directory() as made:
        assert made.parent == temporary
        gathered.sweep()
        assert [*temporary.iterdir()] == [made]
    assert [*temporary.iterdir()] == []


def test_sweep_removes_the_directories_of_killed_servers_only(temporary: Path) -> None:
    for name in ("killed", "also-killed", "unlocked", "forgotten", "file"):
        path = temporary / f"{gathered.PREFIX}{name}"
        if name == "file":
            path.touch()
            continue
        path.mkdir()
        (path / "counter_12.db").touch()
        if name.endswith("killed"):
            (path / gathered.LOCK).touch()
    os.utime(temporary / f"{gathered.PREFIX}forgotten", (0, 0))
    left = temporary / "left"
    (temporary / f"{gathered.PREFIX}killed").rename(left)
    (temporary / f"{gathered.PREFIX}link").symlink_to(left)
    gathered.sweep()
    assert names(temporary) == {"unlocked", "file", "link", "left"}
    assert (left / gathered.LOCK).exists()


def test_sweep_keeps_the_directory_of_another_user(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = temporary / f"{gathered.PREFIX}other"
    path.mkdir()
    (path / gathered.LOCK).touch()
    monkeypatch.setattr("os.geteuid", lambda: 54_321)
    gathered.sweep()
    assert names(temporary) == {"other"}
