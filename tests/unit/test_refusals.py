"""Which errors of the store mean "not stored", and that no script writes a part of its commands."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from redis import exceptions
from redis.backoff import NoBackoff

from liveblog.store.commands import commands, is_for_subscriptions
from liveblog.store.pool import _Retry
from liveblog.store.refusals import refusal_of
from liveblog.store.scripts import permitted

OOM = "command not allowed when used memory > 'maxmemory'."
ERRORS = [
    (exceptions.OutOfMemoryError(OOM), "memory"),
    (exceptions.OutOfMemoryError(f"{OOM} script: on @user_script:1."), "memory"),
    (exceptions.ReadOnlyError("You can't write against a read only replica."), "read-only"),
    (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left"), "disk"),
    (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "replicas"),
    (exceptions.NoPermissionError("this user has no permissions to run 'eval'"), "permission"),
    (exceptions.ResponseError("unknown command 'EVAL', with args"), "permission"),
    (exceptions.ResponseError("Unknown Redis command called from script"), "permission"),
    (exceptions.ResponseError("Unknown command called from script script: on @u:1."), "permission"),
    # A script asks for the permissions of its writes, so it was forbidden a read before them.
    (exceptions.NoPermissionError("may not run 'get' script: on @user_script:2."), "permission"),
    (exceptions.ResponseError("ACL failure in script: script: on @user_script:2."), "permission"),
    (exceptions.ResponseError("The user executing the script can't access"), "permission"),
    (exceptions.ExecAbortError("Transaction discarded because of: NOPERM"), "permission"),
    (exceptions.ResponseError("EXEC without MULTI"), "permission"),
    (exceptions.ResponseError("Command # 2 (GET x) of pipeline caused error: MISCONF"), "disk"),
    (exceptions.ResponseError("Command # 2 (SET x MISCONF) of pipeline caused error: ERR"), None),
    (exceptions.ResponseError("WRONGTYPE Operation against a key"), None),
    (exceptions.ResponseError("BUSY Redis is busy running a script."), None),
    (exceptions.MasterDownError("Link with MASTER is down"), None),
]


def cause_of(error: exceptions.ResponseError) -> str | None:
    refusal = refusal_of(error)
    return refusal.cause if refusal else None


@pytest.mark.parametrize(("error", "cause"), ERRORS, ids=lambda it: str(it)[:30])
def test_error_is_a_refusal_only_when_nothing_can_be_stored(
    error: exceptions.ResponseError, cause: str | None
) -> None:
    assert cause_of(error) == cause


@pytest.mark.parametrize("code", ["OOM", "READONLY", "NOPERM"])
def test_refusal_keeps_the_code_that_redis_py_removes(code: str) -> None:
    kinds = {"OOM": exceptions.OutOfMemoryError, "READONLY": exceptions.ReadOnlyError}
    refusal = refusal_of(kinds.get(code, exceptions.NoPermissionError)("in other words"))
    assert str(refusal) == f"{code} in other words"


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("in_pipeline", [False, True])
async def test_refusal_is_unknown_when_an_earlier_attempt_lost_its_reply(
    lost: int, in_pipeline: bool
) -> None:
    replies: list[Exception] = [exceptions.ConnectionError("lost")] * lost
    replies.append(exceptions.OutOfMemoryError(OOM))

    async def attempt() -> Any:
        reply = replies.pop(0)
        if in_pipeline and isinstance(reply, exceptions.ResponseError):
            return [reply]
        raise reply

    async def fail(*_: object) -> None:
        """Do nothing, where redis-py closes the connection."""

    try:
        [error] = await _Retry(NoBackoff(), 1).call_with_retry(attempt, fail)
    except exceptions.OutOfMemoryError as raised:
        error = raised
    assert cause_of(error) == (None if lost else "memory")


# Those of Redis' commands that write and that a program like ours could use.
WRITING = """
    APPEND COPY DECR DECRBY DEL EXPIRE EXPIREAT GETDEL GETEX GETSET HDEL HINCRBY HSET HSETNX INCR
    INCRBY LINSERT LMOVE LPOP LPUSH LREM LSET LTRIM MSET PERSIST PEXPIRE PEXPIREAT PSETEX RENAME RPOP
    RPUSH SADD SET SETEX SETNX SETRANGE SPOP SREM UNLINK XADD XDEL XTRIM ZADD ZINCRBY ZPOPMAX ZPOPMIN
    ZREM ZREMRANGEBYRANK ZREMRANGEBYSCORE
"""


def scripts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each script: the files, and the texts in Python modules."""
    for module in files("liveblog.store").iterdir():
        if module.name.endswith(".lua"):
            yield module.name, module.read_text()
        elif module.name.endswith(".py"):
            texts = re.findall(r'"""(.*?)"""', module.read_text(), re.DOTALL)
            yield from ((f"{module.name}-{i}", it) for i, it in enumerate(texts) if "KEYS" in it)


@pytest.mark.parametrize(("name", "text"), [*scripts()], ids=lambda it: it[:12])
def test_script_writes_once_at_most_without_asking_for_its_permissions(
    name: str, text: str
) -> None:
    """All further writes are among its `commands`, which run when the user may run all of them."""
    called = re.findall(r"""redis\.call\(["'](\w+)""", text)
    assert len([it for it in called if it in WRITING.split()]) <= 1, name


def test_script_asks_for_the_permissions_of_all_its_commands() -> None:
    text = permitted("local commands, done = {}, 2")
    assert text.startswith("#!lua\n")
    asked, run = text.index("forbidden(commands)\n"), text.index("redis.call(unpack(words))\n")
    assert asked < run < text.index("return done\n")
    assert text.endswith("\nreturn run_if_permitted(commands, done)\n")
    freeing = permitted("local commands, done = {}, 2", frees_memory=True)
    assert freeing.startswith("#!lua flags=allow-oom\n")


# -- the commands that the check covers


def test_commands_ask_about_sharded_channels_only_in_a_cluster() -> None:
    alone, clustered = (
        {it.split()[0] for it in commands(is_cluster=each)} for each in (False, True)
    )
    assert clustered - alone == {"SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "CLUSTER"}
    assert alone - clustered == {"PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"}


def test_commands_ask_about_waiting_only_when_the_program_waits() -> None:
    assert set(commands(waits=True)) - set(commands()) == {"WAIT 1 1"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("SUBSCRIBE lb:{0}:changes", True),
        ("SUNSUBSCRIBE lb:{0}:changes", True),
        ("PUBLISH lb:probe:x x", True),
        ("SPUBLISH lb:{0}:probe:x x", True),
        ("PUBLISH lb:{0}:changes x", False),
        ("GET lb:{0}:idem:x", False),
        ("TIME", False),
    ],
)
def test_command_is_for_subscriptions_when_no_write_needs_it(command: str, expected: bool) -> None:
    assert is_for_subscriptions(command) == expected
