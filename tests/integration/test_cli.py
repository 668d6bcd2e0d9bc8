"""The commands as a shell sees them: standard output, standard error and exit codes."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from argon2 import PasswordHasher
from kit.forked import Forked, forked

from liveblog.settings import variables

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMAND = (sys.executable, "-c", "from liveblog.commands.main import main; main()")
PASSWORD = "correct horse battery\n"
FLAVOURS = ("valkey",)  # not on Redis: other tests cover what Redis may do differently


def run(*arguments: str, given: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    with forked(tmp_path_factory.mktemp("commands")) as made:
        yield made


@pytest.fixture
def liveblog(store_url: str, commands: Forked, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a `liveblog` command on an empty store."""
    monkeypatch.setenv("REDIS_URL", store_url)
    return commands.run


@pytest.fixture
def lossy(store_url: str) -> Iterator[None]:
    """Make the store able to lose confirmed changes: it writes to disk only every second."""
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        client.config_set("appendfsync", "everysec")
        yield
        client.config_set("appendfsync", "always")


@pytest.fixture
def blogs(store_url: str) -> None:
    """Store the headers of the blogs a and b, as far as a command looks at them."""
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        for slug in ("a", "b"):
            client.hset(f"lb:{{{slug}}}:blog", "record", "{}")


def test_token_create_prints_only_the_secret_on_standard_output(liveblog: Run, blogs: None) -> None:
    done = liveblog(
        "token", "create", "wire", "--role", "contributor", "--blog", "a", "--blog", "b"
    )
    assert done.returncode == 0
    assert re.fullmatch(r"lbt_[A-Za-z0-9_-]{43}\n", done.stdout)
    assert done.stderr == "wire can call the API: contributor, a, b\n"
    assert liveblog("token", "list").stdout == "wire  contributor  a, b\n"


def test_token_create_exits_with_1_when_the_name_is_taken(liveblog: Run) -> None:
    assert liveblog("token", "create", "wire").returncode == 0
    done = liveblog("token", "create", "wire")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: There is already a token named 'wire'.\n"


def test_token_revoke_unlists_the_token_and_frees_its_name(liveblog: Run) -> None:
    first = liveblog("token", "create", "wire")
    assert liveblog("token", "revoke", "wire").returncode == 0
    assert liveblog("token", "list").stdout == ""
    assert liveblog("token", "revoke", "wire").returncode == 1
    again = liveblog("token", "create", "wire")
    assert again.returncode == 0
    assert again.stdout != first.stdout


def test_user_add_reads_the_password_from_one_line_of_standard_input(liveblog: Run) -> None:
    done = liveblog("user", "add", "dana", given=PASSWORD + "another line\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "dana can sign in: editor, all blogs\n"
    assert liveblog("user", "list").stdout == "dana  editor  all blogs\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "standard input has no line"),
        ("\n", "standard input has no line"),
        ("short\n", "5 characters"),
    ],
)
def test_user_add_prints_one_line_when_the_password_is_invalid(
    liveblog: Run, given: str, message: str
) -> None:
    done = liveblog("user", "add", "dana", given=given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr
    assert liveblog("user", "list").stdout == ""


def test_user_list_shows_disabled_users(liveblog: Run) -> None:
    liveblog("user", "add", "dana", given=PASSWORD)
    assert liveblog("user", "disable", "dana").returncode == 0
    assert liveblog("user", "list").stdout == "dana  editor (disabled)  all blogs\n"
    assert liveblog("user", "disable", "eve").returncode == 1


@pytest.mark.parametrize("command", [("user", "add"), ("token", "create")])
def test_account_is_refused_when_one_of_its_blogs_does_not_exist(
    liveblog: Run, blogs: None, command: tuple[str, str]
) -> None:
    bound = ("--blog", "a", "--blog", "storm", "--blog", "b")
    done = liveblog(*command, "dana", *bound, given=PASSWORD)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: There is no blog named 'storm'.\n"
    assert liveblog(command[0], "list").stdout == ""


def test_user_gets_a_new_password_another_role_and_is_enabled_again(
    liveblog: Run, store_url: str
) -> None:
    liveblog("user", "add", "dana", given=PASSWORD)
    liveblog("user", "disable", "dana")
    for command, given in (
        (("enable", "dana"), ""),
        (("password", "dana"), "another password\n"),
        (("role", "dana", "admin"), ""),
    ):
        done = liveblog("user", *command, given=given)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert liveblog("user", "list").stdout == "dana  admin  all blogs\n"
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        record = json.loads(client.hget("lb:users", "dana") or "")
    assert PasswordHasher().verify(record["password"], "another password")


@pytest.mark.parametrize("command", [("enable",), ("password",), ("role", "admin")])
def test_user_command_prints_one_line_when_the_user_is_unknown(
    liveblog: Run, command: tuple[str, ...]
) -> None:
    done = liveblog("user", command[0], "eve", *command[1:], given=PASSWORD)
    assert (done.returncode, done.stderr) == (1, "Error: There is no user named 'eve'.\n")


def test_user_list_names_a_corrupt_user_who_can_be_disabled(liveblog: Run, store_url: str) -> None:
    dana = '{"name":"dana","role":"editor","blogs":[],"created_at":0,"password":"none"}'
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        client.hset("lb:users", mapping={"dana": dana, "bad": b"\xff"})
    done = liveblog("user", "list")
    assert (done.returncode, done.stdout) == (1, "dana  editor  all blogs\n")
    assert done.stderr == "Error: the store returned a user that does not decode: 'bad'\n"
    assert liveblog("user", "disable", "bad").returncode == 0
    assert "bad   contributor (disabled)  all blogs\n" in liveblog("user", "list").stdout


def test_command_starts_the_store_briefly_when_no_server_runs(tmp_path: Path) -> None:
    directory = str(tmp_path / "with a space")
    assert run("user", "add", "dana", given=PASSWORD, DATA_DIR=directory).returncode == 0
    assert run("user", "list", DATA_DIR=directory).stdout == "dana  editor  all blogs\n"


def test_command_prints_one_line_when_the_store_is_unreachable() -> None:
    done = run("user", "list", REDIS_URL="redis://:s3cret@127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the store is unreachable" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("serve",), ("user", "list"), ("demo",)])
def test_command_prints_one_line_when_a_setting_is_misspelt(command: tuple[str, ...]) -> None:
    done = run(*command, LIVEBLOG_DRAINS="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "Error: LIVEBLOG_DRAINS is not a setting; the nearest is LIVEBLOG_DRAIN_S\n"
    )


def test_serve_checks_an_option_like_its_variable() -> None:
    done = run("serve", "--port", "70000")
    assert done.returncode == 1
    assert done.stderr == "Error: PORT must be a whole number from 0 to 65,535, not '70000'\n"


def test_serve_prints_one_line_when_the_certificate_is_invalid(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.write_text("s3cret, and no PEM")
    tls = {"LIVEBLOG_TLS_CERT": str(file), "LIVEBLOG_TLS_KEY": str(file)}
    done = run("serve", "--port", "0", "--workers", "2", DATA_DIR=str(tmp_path / "data"), **tls)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "LIVEBLOG_TLS_CERT and LIVEBLOG_TLS_KEY hold no certificate" in done.stderr
    assert "s3cret" not in done.stderr


def test_serve_refuses_a_store_that_can_lose_confirmed_changes(store_url: str, lossy: None) -> None:
    done = run("serve", "--port", "0", REDIS_URL=store_url, LIVEBLOG_DURABILITY="disk")
    assert done.returncode == 1
    assert "appendfsync is everysec and must be always" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("token", "revoke"), ("user", "disable")])
def test_command_prints_one_line_when_a_name_is_no_text(
    liveblog: Run, command: tuple[str, ...]
) -> None:
    done = liveblog(*command, "a\udcff")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "visible characters" in done.stderr


def test_command_prints_one_line_when_data_dir_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "store.lock").mkdir()
    done = run("user", "list", DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{tmp_path / 'store.lock'} is a directory, not a regular file" in done.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\n", "lbt_\u00e9\n".encode()], ids=repr)
def test_bench_prints_one_line_when_the_token_file_has_no_token(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    done = run("bench", "http://127.0.0.1:1", "--token-file", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {file} has no token in its first line\n"


def test_demo_replay_exits_with_1_when_no_server_runs(tmp_path: Path) -> None:
    done = run("demo", "--replay", DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "liveblog serve" in done.stderr


def test_help_shows_every_setting_as_plain_text() -> None:
    shown = run("--help").stdout
    assert all(name in shown for name in variables())
    assert "default: 20 s" in shown
    assert not re.search(r"\| |`LIVEBLOG", shown)
