"""Damaged append-only files: a start cuts a tail and logs the loss, or refuses; `store repair` repairs."""

import contextlib
import errno
import gzip
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from kit.directories import DataDirectory as Store
from kit.waiting import until_sync

from liveblog.blog.problem import UnusableStore
from liveblog.store import directory, embedded, known, salvage
from liveblog.store.directory import owner_of

FLAVOURS = ("valkey",)
BEFORE, AFTER = 100, 40  # transactions before a rewrite of the files, and after it
Damage = Callable[[Path], None]


def write(client: redis.Redis, numbers: range) -> None:
    for number in numbers:
        pipeline = client.pipeline(transaction=True)
        pipeline.set(f"a{number}", "text " * 10)
        pipeline.set(f"b{number}", number)
        pipeline.execute()


def rewrite(client: redis.Redis, directory: Path) -> None:
    client.bgrewriteaof()
    until_sync(lambda: [*directory.glob("appendonlydir/*.2.base.aof")])
    until_sync(lambda: not client.info("persistence")["aof_rewrite_in_progress"])


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data directories of a store that was stopped: `fresh`, and `rewritten` once."""
    root = tmp_path_factory.mktemp("originals")
    for name in ("fresh", "rewritten"):
        with embedded.own(root / name) as url, contextlib.closing(client_of(url)) as client:
            write(client, range(BEFORE))
            if name == "rewritten":
                rewrite(client, root / name)
                write(client, range(BEFORE, BEFORE + AFTER))
    return root


@pytest.fixture
def fresh(originals: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(originals / "fresh", tmp_path / "data")))


@pytest.fixture
def rewritten(originals: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(originals / "rewritten", tmp_path / "data")))


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def append(data: bytes) -> Damage:
    def damage(path: Path) -> None:
        with path.open("ab") as file:
            file.write(data)

    return damage


def zero_the_end(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-700, os.SEEK_END)
        file.write(bytes(700))


def overwrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"X" * 300)


def alter(pattern: bytes, becomes: bytes) -> Damage:
    """Return a damage that replaces the first match in the second half of a file."""

    def damage(path: Path) -> None:
        data = path.read_bytes()
        half = len(data) // 2
        path.write_bytes(data[:half] + re.sub(pattern, becomes, data[half:], count=1))

    return damage


# -- what a start does by itself


@pytest.mark.parametrize(
    ("damage", "left", "said"),
    [
        (halve, range(45, 55), r"\d+ of \d+ bytes cut off .*confirmed changes after \d{4}-.* lost"),
        (empty, range(1), r"\d+ of \d+ bytes are missing .*confirmed changes after \d{4}-.* lost"),
        (zero_the_end, range(90, 99), r"cut off \(zeros.*confirmed changes after .* are lost"),
        (append(bytes(5_000)), range(BEFORE, BEFORE + 1), r"5000 of \d+ bytes cut off \(zeros"),
        (append(b"\x9fgarbage"), range(BEFORE, BEFORE + 1), r"8 of \d+ bytes cut off \(garbage"),
        (append(b"*3\r\n$3\r\nSET\r\n$1\r\n"), range(BEFORE, BEFORE + 1), r"17 of .*incomplete"),
    ],
)
def test_start_cuts_a_damaged_tail_keeps_it_and_says_what_is_lost_once(
    fresh: Store, damage: Damage, left: range, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = fresh.file("1.incr.aof").read_bytes()
    damage(fresh.file("1.incr.aof"))
    damaged = fresh.file("1.incr.aof").read_bytes()
    assert fresh.transactions() in left
    [line] = [it.getMessage() for it in caplog.records if it.levelname == "ERROR"]
    assert re.search(said, line)
    assert str(fresh.file("1.incr.aof")) in line
    rest = fresh.file("1.incr.aof").read_bytes()
    assert whole.startswith(rest)
    assert b"".join(path.read_bytes() for path in fresh.kept()) == damaged[len(rest) :]
    assert all(str(path) in line for path in fresh.kept())
    caplog.clear()
    assert fresh.transactions() in left
    assert [it for it in caplog.records if it.levelname == "ERROR"] == []


def test_start_misses_changes_that_were_noted_while_the_store_ran(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner is killed, so no note is written at its end."""
    store, copy = Store(tmp_path / "data"), Store(tmp_path / "copy")
    with embedded.own(store.directory) as url, contextlib.closing(client_of(url)) as client:
        write(client, range(10))
        size = store.file("1.incr.aof").stat().st_size

        def is_noted() -> bool:
            note = known.read(store.directory)
            return note is not None and size in note.sizes.values()

        until_sync(is_noted)
        shutil.copytree(store.directory, copy.directory, ignore=lambda *_: {"store.sock"})
    empty(copy.file("1.incr.aof"))
    assert copy.transactions() == 0
    assert f"{size} of {size} bytes are missing that were on disk at" in caplog.text


def test_restart_of_a_killed_store_cuts_an_incomplete_command(
    fresh: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with embedded.own(fresh.directory) as url, contextlib.closing(client_of(url)) as client:
        pid = client.info("server")["process_id"]
        append(b"*3\r\n$3\r\nSET\r\n")(fresh.file("1.incr.aof"))
        os.kill(pid, 9)
        until_sync(lambda: "13 of" in caplog.text)

        def answers() -> bool:
            with contextlib.suppress(redis.ConnectionError):
                return bool(client.ping())
            return False

        until_sync(answers)
        assert client.dbsize() == 2 * BEFORE


# -- what a start refuses, and what a repair leaves


@pytest.mark.parametrize(
    ("name", "damage", "left"),
    [
        ("1.incr.aof", overwrite_the_middle, range(45, 55)),
        ("1.incr.aof", alter(rb"\$50\r\n", b"$5000000\r\n"), range(45, 55)),
        ("1.incr.aof", alter(rb"SET", b"SXT"), range(45, 55)),
        ("1.incr.aof", Path.unlink, range(1)),
        ("1.base.aof", Path.unlink, range(BEFORE, BEFORE + 1)),
        ("manifest", Path.unlink, range(BEFORE, BEFORE + 1)),
        ("manifest", append(b"\xff\x00"), range(BEFORE, BEFORE + 1)),
        ("manifest", halve, range(BEFORE, BEFORE + 1)),
        ("manifest", append(b"\r\n"), range(BEFORE, BEFORE + 1)),
    ],
)
def test_start_refuses_other_damage_and_a_repair_leaves_the_state_before_it(
    fresh: Store, name: str, damage: Damage, left: range
) -> None:
    damage(fresh.file(name))
    with pytest.raises(UnusableStore, match="liveblog store repair") as caught:
        fresh.transactions()
    # The store tells of some damage itself, and names the file without its directory.
    assert "appendonly.aof." in str(caught.value)
    assert "check-aof" not in str(caught.value)
    code, said = fresh.repair("--yes")
    assert (code, "the store starts" in said) == (0, True), said
    assert (salvage.UNDONE in said) == (name == "1.incr.aof"), said
    assert str(fresh.file(name)) in said
    assert fresh.transactions() in left


@pytest.mark.parametrize(
    ("name", "damage", "keys"),
    [
        ("2.base.aof", halve, range(150, 250)),
        ("2.base.aof", empty, range(2 * AFTER, 2 * AFTER + 1)),
        ("2.base.aof", overwrite_the_middle, range(260, 280)),
        ("2.base.aof", append(bytes(99)), range(280, 281)),
        ("2.base.aof", Path.unlink, range(2 * AFTER, 2 * AFTER + 1)),
    ],
)
def test_repair_keeps_each_whole_command_of_a_damaged_base_file(
    rewritten: Store, name: str, damage: Damage, keys: range
) -> None:
    damage(rewritten.file(name))
    with pytest.raises(UnusableStore, match=r"2\.base\.aof.*liveblog store repair"):
        rewritten.transactions()
    code, said = rewritten.repair("--yes")
    assert code == 0, said
    with embedded.own(rewritten.directory) as url, contextlib.closing(client_of(url)) as client:
        assert client.dbsize() in keys


@pytest.fixture
def old_format(tmp_path: Path) -> Store:
    """A data directory whose base file is a snapshot in the store's own format."""
    store, preamble = Store(tmp_path / "data"), ("--aof-use-rdb-preamble", "yes")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(embedded.own(store.directory, arguments=preamble))
        client = stack.enter_context(contextlib.closing(client_of(url)))
        write(client, range(BEFORE))
        client.bgrewriteaof()
        until_sync(lambda: store.file("2.base.rdb").exists())
        until_sync(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    return store


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("2.incr.aof", Path.unlink, "2.incr.aof is missing"),
        ("2.base.rdb", append(bytes(99)), "99 of"),
        ("2.base.rdb", append(b"*1\r\n$5\r\nMULTI\r\n"), "15 of"),
    ],
)
def test_repair_keeps_a_base_file_in_the_old_format(
    old_format: Store, name: str, damage: Damage, said: str
) -> None:
    base = old_format.file("2.base.rdb").read_bytes()
    damage(old_format.file(name))
    with pytest.raises(UnusableStore, match="liveblog store repair"):
        old_format.transactions()
    code, printed = old_format.repair("--yes")
    assert (code, said in printed) == (0, True), printed
    assert old_format.file("2.base.rdb").read_bytes() == base
    assert old_format.transactions() == BEFORE


def remove_the_multi(path: Path) -> None:
    """Remove a MULTI in the second half of a file, and no other byte."""
    alter(rb"\*1\r\n\$5\r\nMULTI\r\n", b"")(path)


def remove_the_exec(path: Path) -> None:
    alter(rb"\*1\r\n\$4\r\nEXEC\r\n", b"")(path)


def damage_twice(path: Path) -> None:
    overwrite_the_middle(path)
    alter(rb"EXEC", b"EX\0C")(path)


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (overwrite_the_middle, range(BEFORE - 4, BEFORE - 1)),
        (alter(rb"\$50\r\n", b"$5000000\r\n"), range(BEFORE - 1, BEFORE)),
        (alter(rb"\*3", b"*2"), range(BEFORE - 1, BEFORE)),
        (alter(rb"SET", b"SXT"), range(BEFORE - 1, BEFORE)),
        (remove_the_multi, range(BEFORE - 1, BEFORE)),
        (remove_the_exec, range(BEFORE - 1, BEFORE)),
        (damage_twice, range(BEFORE - 6, BEFORE - 2)),
        (append(bytes(500)), range(BEFORE, BEFORE + 1)),
    ],
)
def test_repair_with_skip_keeps_each_whole_transaction(
    fresh: Store, damage: Damage, left: range
) -> None:
    path = fresh.file("1.incr.aof")
    damage(path)
    before = path.read_bytes()
    code, said = fresh.repair("--skip", "--yes")
    assert (code, "the store starts" in said) == (0, True), said
    skipped = [(int(it[1]), int(it[2])) for it in re.finditer(r"bytes (\d+) to (\d+) of", said)]
    at, rest = 0, b""
    for start, end in skipped:
        rest, at = rest + before[at:start], end
    assert path.read_bytes() == rest + before[at:]
    assert fresh.kept()[0].read_bytes() == before
    count = fresh.transactions()
    assert count in left
    commands = re.search(r"(\d+) commands stay, (\d+) of them behind damage", said)
    assert commands
    assert int(commands[1]) == 2 * count + 1  # with the SELECT at the file's start


def command(*words: str) -> bytes:
    bulks = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{bulks}".encode()


def insert(*words: str) -> Damage:
    """Return a damage that inserts a whole command before a transaction in the second half."""
    return alter(rb"(\*1\r\n\$5\r\nMULTI)", command(*words) + rb"\1")


@pytest.mark.parametrize("skip", [(), ("--skip",)])
@pytest.mark.parametrize(
    "damage",
    [
        insert("HSET"),
        append(command("HSET")),
        append(command("DEBUG", "SEGFAULT")),
        insert("EXPIRE", "a0"),
    ],
)
def test_repair_cuts_a_whole_command_that_no_store_of_ours_appends(
    fresh: Store, damage: Damage, skip: tuple[str, ...]
) -> None:
    path = fresh.file("1.incr.aof")
    damage(path)
    is_last = path.read_bytes().endswith((command("HSET"), command("DEBUG", "SEGFAULT")))
    with pytest.raises(UnusableStore, match="liveblog store repair"):
        fresh.transactions()
    code, said = fresh.repair("--yes", *skip)
    assert (code, "the store starts" in said) == (0, True), said
    whole = range(BEFORE, BEFORE + 1)
    assert fresh.transactions() in (whole if is_last or skip else range(45, 55))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (insert("SELECT", "7"), "select: DB index"),
        (insert("LPUSH", "a0", "x"), "lpush: WRONGTYPE"),
        (insert("ZADD", "scores", "high", "x"), "zadd: value is not a valid float"),
        (insert("HSET", "fields", "a", "1", "b"), "hset: wrong number of arguments"),
        (insert("SET", "a0", "x", "EX", "soon"), "set: value is not an integer"),
    ],
)
def test_start_refuses_a_command_that_fails_and_a_repair_leaves_it_out(
    fresh: Store, damage: Damage, said: str
) -> None:
    path = fresh.file("1.incr.aof")
    damage(path)
    before = path.read_bytes()
    with pytest.raises(UnusableStore, match=re.escape(said)) as caught:
        fresh.transactions()
    assert "liveblog store repair" in str(caught.value)
    assert fresh.repair(answer="n\n")[0] == 1
    assert path.read_bytes() == before
    code, printed = fresh.repair("--yes")
    assert (code, said in printed, "the store starts" in printed) == (0, True, True), printed
    assert before in [kept.read_bytes() for kept in fresh.kept()]
    assert fresh.transactions() == BEFORE
    assert fresh.repair() == (0, "nothing to repair: the store starts\n")


def alter_whole(change: Callable[[bytes], bytes]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


def claim_a_length(data: bytes) -> bytes:
    """Let one command have all bytes, and more."""
    return b"*1\r\n$500000\r\n" + data.replace(b"*", b"+")


def garble_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700] + b"\x9f" * 699 + b"\0")


@pytest.mark.parametrize(
    ("damage", "said", "left"),
    [
        (alter_whole(gzip.compress), "garbage", range(1)),
        (alter_whole(lambda data: data.replace(b"\r\n", b"\n")), "garbage", range(1)),
        (alter_whole(lambda data: bytes(len(data))), "zeros", range(1)),
        (alter_whole(lambda data: data[::-1]), "garbage", range(1)),
        (alter_whole(claim_a_length), "an incomplete command", range(1)),
        (garble_the_end, "garbage", range(90, 99)),
    ],
)
def test_start_refuses_a_tail_that_no_crash_leaves(
    fresh: Store, damage: Damage, said: str, left: range
) -> None:
    path = fresh.file("1.incr.aof")
    damage(path)
    before = path.read_bytes()
    with pytest.raises(UnusableStore, match=rf"\({said}.*as by no crash,.*liveblog store repair"):
        fresh.transactions()
    assert path.read_bytes() == before
    code, printed = fresh.repair("--yes")
    assert (code, "the store starts" in printed) == (0, True), printed
    assert fresh.kept()[0].read_bytes() == before
    assert fresh.transactions() in left


def test_start_refuses_a_file_of_garbage_without_a_note(fresh: Store) -> None:
    known.forget(fresh.directory)
    alter_whole(gzip.compress)(fresh.file("1.incr.aof"))
    with pytest.raises(UnusableStore, match="as by no crash;"):
        fresh.transactions()


def split(store: Store, at: int) -> None:
    """Let a second file continue the first one, from a transaction on."""
    first, second = store.file("1.incr.aof"), store.file("2.incr.aof")
    data = first.read_bytes()
    border = data.index(b"*1\r\n$5\r\nMULTI", at)
    first.write_bytes(data[:border])
    second.write_bytes(data[border:])
    with store.file("manifest").open("ab") as manifest:
        manifest.write(f"file {second.name} seq 2 type i\n".encode())
    known.forget(store.directory)


@pytest.mark.parametrize(
    ("damage", "left"),
    [(overwrite_the_middle, range(94, 99)), (Path.unlink, range(45, 55)), (halve, range(70, 80))],
)
def test_repair_with_skip_keeps_newer_files(fresh: Store, damage: Damage, left: range) -> None:
    split(fresh, fresh.file("1.incr.aof").stat().st_size // 2)
    assert fresh.transactions() == BEFORE
    damage(fresh.file("1.incr.aof"))
    newer = fresh.file("2.incr.aof").read_bytes()
    code, said = fresh.repair("--skip", "--yes")
    assert (code, "left out" in said) == (0, False), said
    assert said.count(salvage.UNDONE) == 1, said
    assert fresh.file("2.incr.aof").read_bytes().startswith(newer)
    assert fresh.transactions() in left


def test_repair_names_the_option_that_keeps_what_follows(fresh: Store) -> None:
    overwrite_the_middle(fresh.file("1.incr.aof"))
    before = fresh.file("1.incr.aof").read_bytes()
    code, said = fresh.repair(answer="n\n")
    assert (code, "`liveblog store repair --skip`" in said) == (1, True)
    assert fresh.repair("--skip", answer="n\n")[0] == 1
    assert fresh.file("1.incr.aof").read_bytes() == before


def test_start_is_refused_until_an_interrupted_repair_is_repeated(fresh: Store) -> None:
    directory.note_repair(fresh.directory, ["council"])
    with pytest.raises(UnusableStore, match=r"interrupted; run `liveblog store repair` again"):
        fresh.transactions()
    assert fresh.repair()[0] == 0
    assert fresh.transactions() == BEFORE


def test_repair_changes_nothing_unless_the_answer_is_yes(fresh: Store) -> None:
    fresh.file("manifest").unlink()
    before = {path: path.read_bytes() for path in fresh.file("").parent.iterdir()}
    assert fresh.repair(answer="n\n")[0] == fresh.repair()[0] == 1
    assert {path: path.read_bytes() for path in fresh.file("").parent.iterdir()} == before
    assert fresh.repair(answer="y\n")[0] == 0
    assert fresh.repair() == (0, "nothing to repair: the store starts\n")


def test_repair_names_the_copies_and_the_bytes_and_warns_of_text_taken_down(fresh: Store) -> None:
    damaged = fresh.file("1.incr.aof")
    overwrite_the_middle(damaged)
    before = damaged.read_bytes()
    _, said = fresh.repair("--yes")
    found = re.search(
        r"garbage at byte (\d+): (\d+) of (\d+) bytes are cut off; changes after", said
    )
    assert found, said
    assert int(found[1]) + int(found[2]) == int(found[3]) == len(before)
    assert damaged.read_bytes() == before[: int(found[1])]
    [copy] = fresh.kept()
    assert str(copy) in said
    assert "taken down" in said
    assert copy.read_bytes() == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_repair_is_refused_beside_a_running_server(
    fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "LOCK_WAIT_S", 0.0)
    with embedded.own(fresh.directory):
        until_sync(lambda: owner_of(fresh.directory))
        code, said = fresh.repair("--yes")
    assert (code, f"process {os.getpid()}" in said) == (1, True)


def test_repair_needs_a_data_directory_and_no_redis_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = Store(tmp_path / "none").repair()
    assert (code, "does not exist" in said) == (1, True)
    monkeypatch.setenv("REDIS_URL", "redis://host")
    code, said = Store(tmp_path).repair()
    assert (code, "REDIS_URL" in said) == (1, True)


# -- modes


def test_files_are_private_and_the_log_warns_when_the_directory_is_open(
    fresh: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for path in [fresh.directory, *fresh.directory.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = os.umask(0)
    try:
        with embedded.own(fresh.directory) as url, contextlib.closing(client_of(url)) as client:
            rewrite(client, fresh.directory)
            modes = {
                path.name: stat.S_IMODE(path.lstat().st_mode) & 0o077
                for path in fresh.directory.rglob("*")
            }
    finally:
        os.umask(before)
    assert {name for name, mode in modes.items() if mode} == set()
    assert {"store.log", "store.lock", "appendonlydir", "appendonly.aof.2.base.aof"} <= set(modes)
    assert stat.S_IMODE(fresh.directory.stat().st_mode) == 0o755
    assert (
        f"DATA_DIR {fresh.directory}: other users may read and enter it (mode 755)" in caplog.text
    )


def test_nothing_is_cut_when_no_copy_can_be_kept(
    fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    append(b"garbage")(fresh.file("1.incr.aof"))
    before = fresh.file("1.incr.aof").read_bytes()
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UnusableStore, match=r"cannot be cut: No space left on device: .*/damaged/"):
        fresh.transactions()
    code, said = fresh.repair("--yes")
    assert (code, "No space left on device: " in said) == (1, True)
    assert (fresh.file("1.incr.aof").read_bytes(), fresh.kept()) == (before, [])
