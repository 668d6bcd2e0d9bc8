"""Paths of the embedded store with something of a wrong kind: one sentence names it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from liveblog.blog.problem import UnusableStore
from liveblog.store import access, inspection
from liveblog.store import directory as files

Put = Callable[[Path], None]


def link(target: str) -> Put:
    return lambda path: path.symlink_to(target)


PUTS: dict[str, tuple[Put, str]] = {
    "directory": (Path.mkdir, "a directory"),
    "file": (Path.touch, "a regular file"),
    "fifo": (os.mkfifo, "a FIFO"),
    "device": (link("/dev/null"), "a character device"),
    "dangling": (link("nothing-here"), "a symbolic link to nothing (nothing-here)"),
    "loop": (lambda path: path.symlink_to(path.name), "a symbolic link to itself"),
}
FILES = ["file", "link to a file"]
NOT_FILES = [name for name in PUTS if name != "file"]
NOT_DIRECTORIES = [name for name in PUTS if name != "directory"]


def refuses(call: Callable[[], object], path: Path, kind: str, remedy: str) -> None:
    with pytest.raises(UnusableStore) as caught:
        call()
    assert str(caught.value).startswith(f"{path} is {PUTS[kind][1]}, not a ")
    assert remedy in str(caught.value)


@pytest.mark.parametrize("inside", ["", "below", "below/deeper"])
@pytest.mark.parametrize("kind", NOT_DIRECTORIES)
def test_data_directory_is_refused_when_it_or_a_parent_is_none(
    kind: str, inside: str, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    PUTS[kind][0](path)
    refuses(lambda: files.prepared(path / inside), path, kind, "set DATA_DIR to a directory")


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize(
    "name", ["lock", "log", "log.1", "known", "known.new", "probe", "repair", "repair.new"]
)
def test_data_directory_is_refused_when_a_file_of_ours_is_none(
    name: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"store.{name}"
    PUTS[kind][0](path)
    refuses(lambda: files.prepared(tmp_path), path, kind, "move it elsewhere")


@pytest.mark.parametrize("kind", NOT_DIRECTORIES)
@pytest.mark.parametrize("name", ["appendonlydir", "damaged"])
def test_data_directory_is_refused_when_a_directory_of_ours_is_none(
    name: str, kind: str, tmp_path: Path
) -> None:
    PUTS[kind][0](tmp_path / name)
    refuses(lambda: files.prepared(tmp_path), tmp_path / name, kind, "move it elsewhere")


def test_data_directory_is_refused_when_its_socket_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "store.sock").mkdir()
    with pytest.raises(UnusableStore, match=r"store\.sock is a directory, not a socket; move it"):
        files.prepared(tmp_path)


def test_data_directory_and_its_files_may_be_links_to_right_kinds(tmp_path: Path) -> None:
    real, elsewhere = tmp_path / "real", tmp_path / "elsewhere"
    (real / "x").mkdir(parents=True)
    elsewhere.touch()
    (real / "store.log").symlink_to(elsewhere)
    (real / "appendonlydir").symlink_to(real / "x")
    (tmp_path / "data").symlink_to(real)
    assert files.prepared(tmp_path / "data") == tmp_path / "data"


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize(
    "name", ["manifest", "1.base.aof", "2.base.rdb", "1.incr.aof", "7.incr.aof"]
)
def test_start_is_refused_when_an_append_file_is_no_regular_file(
    name: str, kind: str, tmp_path: Path
) -> None:
    """A store would confirm changes that no disk has."""
    appended = tmp_path / "appendonlydir"
    appended.mkdir()
    manifest = appended / "appendonly.aof.manifest"
    manifest.write_text("file appendonly.aof.1.base.aof seq 1 type b\n")
    path = appended / f"appendonly.aof.{name}"
    path.unlink(missing_ok=True)
    PUTS[kind][0](path)
    refuses(lambda: inspection.make_ready(tmp_path), path, kind, "`liveblog store repair`")


def test_other_names_beside_append_files_may_be_of_any_kind(tmp_path: Path) -> None:
    appended = tmp_path / "appendonlydir"
    (appended / "lost+found").mkdir(parents=True)
    (appended / "backup").symlink_to("/dev/null")
    assert inspection.make_ready(tmp_path) is False
    shutil.rmtree(appended)
    assert inspection.make_ready(tmp_path) is False


# -- modes and owners


@pytest.mark.parametrize(
    ("mode", "rights"),
    [
        (0o755, "read and enter"),
        (0o777, "read and write and enter"),
        (0o702, "write"),
        (0o1777, "read and write and enter"),
        (0o730, "write and enter"),
        (0o701, "enter"),
        (0o744, "read"),
    ],
)
def test_log_says_what_other_users_may_do_with_the_directory(
    mode: int, rights: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(mode)
    access.tighten(tmp_path)
    [line] = caplog.messages
    assert line.startswith(f"DATA_DIR {tmp_path}: other users may {rights} it (mode {mode:o}); ")


def test_log_has_no_warning_for_a_private_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o700)
    access.tighten(tmp_path)
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["", "store.lock", "appendonlydir", "appendonlydir/file"])
def test_log_names_the_first_path_that_belongs_to_another_user(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "appendonlydir").mkdir(mode=0o700)
    for file in ("store.lock", "appendonlydir/file"):
        (tmp_path / file).touch(0o600)
    others, stat = (tmp_path / name).stat().st_ino, Path.stat

    def stat_of_another(path: Path, **more: bool) -> os.stat_result:
        found = stat(path, **more)
        if found.st_ino != others:
            return found
        fields = [*found]
        fields[4] = 54_321  # st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", stat_of_another)
    access.tighten(tmp_path)
    [line] = caplog.messages
    assert line.startswith(f"DATA_DIR: {tmp_path / name} belongs to user 54321, but liveblog runs ")
