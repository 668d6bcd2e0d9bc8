"""Space on a disk: a warning before it ends, once an hour, and the reason when it has ended."""

import errno
import logging
import os
from pathlib import Path

import pytest

from liveblog.store import disk

GB = 1_000_000_000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def statvfs(free: int, total: int, files: int = 1_000_000) -> os.statvfs_result:
    return os.statvfs_result((1, 1, total, free, free, files, files, files, 0, 255))


@pytest.mark.parametrize(
    ("free", "total", "files", "said"),
    [
        (2 * GB, 20 * GB, 1_000_000, ""),
        (999_999_999, 5 * GB, 1_000_000, "only 1,000 MB of 5,000 MB are free"),
        (2 * GB, 100 * GB, 1_000_000, "only 2,000 MB of 100,000 MB are free"),
        (2 * GB, 20 * GB, 10, "only 10 more files"),
        (0, 20 * GB, 1_000_000, "No space left on device"),
    ],
)
def test_disk_warns_with_the_path_when_little_is_free(
    free: int, total: int, files: int, said: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    disk.Disk(tmp_path, statvfs=lambda _: statvfs(free, total, files)).check()
    assert said in caplog.text
    assert bool(caplog.records) == bool(said)
    assert all(str(tmp_path) in record.getMessage() for record in caplog.records)


def test_disk_warns_once_an_hour_and_says_when_it_has_space_again(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    clock, free = Clock(), [GB // 2]
    checked = disk.Disk(tmp_path, clock, lambda _: statvfs(free[0], 5 * GB))
    for clock.now in (0.0, 60.0, 3_599.0, 3_600.0):
        checked.check()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    free[0] = 3 * GB
    checked.check()
    checked.check()
    assert [record.levelname for record in caplog.records][2:] == ["INFO"]


def test_refusal_names_the_reason_and_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk.refusal(tmp_path) == ""
    assert [*tmp_path.iterdir()] == []
    assert disk.refusal(tmp_path / "gone") == f"No such file or directory: {tmp_path / 'gone'}"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert disk.refusal(tmp_path) == f"No space left on device: {tmp_path}"
    assert [*tmp_path.iterdir()] == []
