"""The commands as a shell sees them: what goes to which output, and exit codes."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMAND = (sys.executable, "-c", "from liveblog.commands.main import main; main()")
PASSWORD = "correct horse battery\n"
FLAVOURS = ("valkey",)  # scripts and the store have tests of their own


def run(*arguments: str, given: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def liveblog(store_url: str) -> Run:
    """Run a command on an empty store."""

    def on_store(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return run(*arguments, given=given, REDIS_URL=store_url)

    return on_store


@pytest.fixture
def lossy(store_url: str) -> Iterator[None]:
    """Have the store write to disk only every second."""
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        client.config_set("appendfsync", "everysec")
        yield
        client.config_set("appendfsync", "always")


def test_a_created_token_is_alone_on_standard_output(liveblog: Run) -> None:
    done = liveblog(
        "token", "create", "wire", "--role", "contributor", "--blog", "a", "--blog", "b"
    )
    assert done.returncode == 0
    assert re.fullmatch(r"lbt_[A-Za-z0-9_-]{43}\n", done.stdout)
    assert done.stderr == "wire can call the API: contributor, a, b\n"
    assert liveblog("token", "list").stdout == "wire  contributor  a, b\n"


def test_a_token_name_that_is_taken_is_exit_code_1(liveblog: Run) -> None:
    assert liveblog("token", "create", "wire").returncode == 0
    done = liveblog("token", "create", "wire")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: There is already a token named 'wire'.\n"


def test_a_revoked_token_is_not_listed_and_its_name_is_free(liveblog: Run) -> None:
    liveblog("token", "create", "wire")
    assert liveblog("token", "revoke", "wire").returncode == 0
    assert liveblog("token", "list").stdout == ""
    assert liveblog("token", "revoke", "wire").returncode == 1
    assert liveblog("token", "create", "wire").returncode == 0


def test_a_users_password_is_one_line_of_standard_input(liveblog: Run) -> None:
    done = liveblog("user", "add", "dana", given=PASSWORD + "another line\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "dana can sign in: editor, all blogs\n"
    assert liveblog("user", "list").stdout == "dana  editor  all blogs\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "standard input has no line"),
        ("\n", "standard input has no line"),
        ("short\n", "5 characters"),
    ],
)
def test_a_bad_password_is_one_clear_line(liveblog: Run, given: str, said: str) -> None:
    done = liveblog("user", "add", "dana", given=given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
    assert liveblog("user", "list").stdout == ""


def test_a_disabled_user_stays_listed(liveblog: Run) -> None:
    liveblog("user", "add", "dana", given=PASSWORD)
    assert liveblog("user", "disable", "dana").returncode == 0
    assert liveblog("user", "list").stdout == "dana  editor (disabled)  all blogs\n"
    assert liveblog("user", "disable", "eve").returncode == 1


def test_a_damaged_user_is_named_beside_the_others_and_can_be_disabled(
    liveblog: Run, store_url: str
) -> None:
    dana = '{"name":"dana","role":"editor","blogs":[],"created_at":0,"password":"none"}'
    with contextlib.closing(redis.Redis.from_url(store_url)) as client:
        client.hset("lb:users", mapping={"dana": dana, "bad": b"\xff"})
    done = liveblog("user", "list")
    assert (done.returncode, done.stdout) == (1, "dana  editor  all blogs\n")
    assert done.stderr == "Error: the store holds what makes no sense as a user: 'bad'\n"
    assert liveblog("user", "disable", "bad").returncode == 0
    assert "bad   contributor (disabled)  all blogs\n" in liveblog("user", "list").stdout


def test_without_a_server_a_command_starts_the_store_briefly(tmp_path: Path) -> None:
    directory = str(tmp_path / "with a space")
    assert run("user", "add", "dana", given=PASSWORD, DATA_DIR=directory).returncode == 0
    assert run("user", "list", DATA_DIR=directory).stdout == "dana  editor  all blogs\n"


def test_a_store_that_is_away_is_one_clear_line() -> None:
    done = run("user", "list", REDIS_URL="redis://:s3cret@127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the store cannot be reached" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("serve",), ("user", "list"), ("demo",)])
def test_a_misspelt_setting_is_one_clear_line(command: tuple[str, ...]) -> None:
    done = run(*command, LIVEBLOG_DRAINS="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "Error: LIVEBLOG_DRAINS is not a setting; the nearest is LIVEBLOG_DRAIN_S\n"
    )


def test_an_option_of_serve_is_checked_like_its_variable() -> None:
    done = run("serve", "--port", "70000")
    assert done.returncode == 1
    assert done.stderr == "Error: PORT must be a whole number from 0 to 65,535, not '70000'\n"


def test_a_certificate_that_is_none_is_one_clear_line_however_many_workers(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.write_text("s3cret, and no PEM")
    tls = {"LIVEBLOG_TLS_CERT": str(file), "LIVEBLOG_TLS_KEY": str(file)}
    done = run("serve", "--port", "0", "--workers", "2", DATA_DIR=str(tmp_path / "data"), **tls)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "LIVEBLOG_TLS_CERT and LIVEBLOG_TLS_KEY hold no certificate" in done.stderr
    assert "s3cret" not in done.stderr


def test_serve_refuses_a_store_that_loses_what_was_confirmed(store_url: str, lossy: None) -> None:
    done = run("serve", "--port", "0", REDIS_URL=store_url, LIVEBLOG_DURABILITY="disk")
    assert done.returncode == 1
    assert "appendfsync is everysec and must be always" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("token", "revoke"), ("user", "disable")])
def test_a_name_that_is_no_text_is_one_clear_line(liveblog: Run, command: tuple[str, ...]) -> None:
    done = liveblog(*command, "a\udcff")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "visible characters" in done.stderr


def test_a_data_directory_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store.lock").mkdir()  # no file that anybody could open, whoever runs the tests
    done = run("user", "list", DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{tmp_path / 'store.lock'} cannot be opened" in done.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\n", "lbt_\u00e9\n".encode()], ids=repr)
def test_a_token_file_without_a_token_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    done = run("bench", "http://127.0.0.1:1", "--token-file", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {file} holds no token\n"


def test_replaying_needs_a_server_that_shows_it(tmp_path: Path) -> None:
    done = run("demo", "--replay", DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "liveblog serve" in done.stderr


def test_help_shows_every_setting() -> None:
    assert "| `LIVEBLOG_HEARTBEAT_S` | `20` s |" in run("--help").stdout
