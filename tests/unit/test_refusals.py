"""Which errors of the store mean "not stored", and which commands the check of writes covers."""

import re
from importlib.resources import files
from typing import Any

import pytest
from redis import exceptions
from redis.backoff import NoBackoff

from liveblog.store.condition import commands
from liveblog.store.pool import _Retry
from liveblog.store.refusals import refusal_of

OOM = "command not allowed when used memory > 'maxmemory'."
ERRORS = [
    (exceptions.OutOfMemoryError(OOM), "memory"),
    (exceptions.OutOfMemoryError(f"{OOM} script: on @user_script:1."), "memory"),
    (exceptions.ReadOnlyError("You can't write against a read only replica."), "read-only"),
    (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left"), "disk"),
    (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "replicas"),
    (exceptions.NoPermissionError("this user has no permissions to run 'eval'"), "permission"),
    (exceptions.ResponseError("unknown command 'EVAL', with args"), "permission"),
    # A script may have written before one of its commands was forbidden.
    (exceptions.NoPermissionError("no permissions to run 'set' script: on @user_script:2."), None),
    (exceptions.ResponseError("ACL failure in script: script: on @user_script:2."), None),
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


def test_check_covers_every_command_with_which_the_store_package_writes() -> None:
    """Commands are quoted in scripts, and methods of a client or a pipeline in Python."""
    sources = [it for it in files("liveblog.store").iterdir() if it.name.endswith((".py", ".lua"))]
    text = "\n".join(it.read_text() for it in sources if it.name != "condition.py")
    found = re.findall(r"""["']([A-Z]+)["']|(?:redis|pipeline)\.([a-z]+)\b""", text)
    words = {(quoted or method).upper().replace("DELETE", "DEL") for quoted, method in found}
    checked = {it.split()[0] for it in commands(is_cluster=False)}
    assert checked - {"PUBLISH", "SUBSCRIBE"} == words & {*WRITING.split()}


def test_check_asks_about_sharded_channels_in_a_cluster() -> None:
    names = {it.split()[0] for it in commands(is_cluster=True)}
    assert {"SPUBLISH", "SSUBSCRIBE"} <= names
    assert not {"PUBLISH", "SUBSCRIBE"} & names
