"""Redis errors become StoreDown or Damaged, after a retry with a cluster's new slot map."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from redis import exceptions
from redis.asyncio import Redis

from liveblog.blog.problem import Damaged, StoreDown, StoreRefuses
from liveblog.seldom import Seldom
from liveblog.store import queries
from liveblog.store.nodes import One
from liveblog.store.queries import queries_store, store_errors


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("lost"),
        exceptions.TimeoutError("late"),
        exceptions.ReadOnlyError("a replica"),
        exceptions.TryAgainError("moving"),
        exceptions.ClusterDownError("down"),
        exceptions.ResponseError("OOM"),
        ConnectionRefusedError("refused"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_error_of_redis_becomes_store_down(error: Exception) -> None:
    with pytest.raises(StoreDown) as caught:
        async with store_errors():
            raise error
    assert not isinstance(caught.value, Damaged)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        msgspec.DecodeError("no JSON"),
        ValueError("no number"),
        RecursionError("nested"),
        TypeError("None"),
        exceptions.ResponseError("WRONGTYPE"),
        exceptions.ResponseError("Command # 1 (LLEN x) of pipeline caused error: WRONGTYPE"),
        exceptions.ResponseError("BROKENCHAIN lb:{council}:chain"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_record_that_does_not_decode_becomes_damaged(error: Exception) -> None:
    with pytest.raises(Damaged, match="damaged"):
        async with store_errors():
            raise error


async def test_damage_names_the_key_and_nothing_else_of_the_stores_words() -> None:
    text = "Command # 1 (LPUSH lb:{council}:rev:e1 a secret) of pipeline caused error: WRONGTYPE"
    with pytest.raises(Damaged) as caught:
        async with store_errors():
            raise exceptions.ResponseError(text)
    assert str(caught.value) == (
        "The key lb:{council}:rev:e1 in the store is damaged."
        " Remove it (DEL), or restore it from a backup."
    )


async def test_replica_without_its_primary_is_no_cluster() -> None:
    """redis-py counts MASTERDOWN among the errors of clusters."""
    with pytest.raises(StoreDown, match=r"^MASTERDOWN the server is a replica") as caught:
        async with store_errors():
            raise exceptions.MasterDownError("Link with MASTER is down")
    assert "cluster" not in str(caught.value)


class Moving(One):
    """A cluster whose slot map is `maps[0]`; `look_again()` drops it unless it is the last."""

    def __init__(self, maps: list[int]) -> None:
        super().__init__(Redis())  # connects at its first command
        self.maps = maps

    @property
    def map(self) -> object:
        return self.maps[0]

    async def look_again(self) -> None:
        self.maps = self.maps[1:] or self.maps


@dataclass
class Part:
    """Stands for a class of the broker; its only query of the store fails `failures` times."""

    nodes: Moving
    failures: int
    calls: list[str] = field(default_factory=list)

    @queries_store
    async def query(self, word: str) -> str:
        self.calls.append(word)
        if len(self.calls) <= self.failures:
            raise exceptions.MovedError("1 127.0.0.1:1")
        return word


async def test_query_runs_again_when_the_map_has_changed() -> None:
    part = Part(Moving([1, 2]), failures=1)
    assert await part.query("blog") == "blog"
    assert part.calls == ["blog"] * 2


@pytest.mark.parametrize(
    ("first", "is_certain"),
    [
        (exceptions.MovedError("1 127.0.0.1:1"), True),
        (exceptions.ReadOnlyError("a replica"), True),
        (exceptions.ConnectionError("lost"), False),
        (exceptions.TimeoutError("late"), False),
    ],
    ids=str,
)
async def test_refused_repetition_is_certain_only_when_the_first_call_was_refused(
    first: Exception, is_certain: bool
) -> None:
    errors = [exceptions.OutOfMemoryError("full"), first]

    async def call() -> None:
        raise errors.pop()

    with pytest.raises(StoreDown) as raised:
        async with store_errors():
            await Moving([1, 2]).ask(call)
    assert isinstance(raised.value, StoreRefuses) == is_certain


@pytest.mark.parametrize(("maps", "calls"), [([1, 1], 1), ([1, 2, 3], 2)])
async def test_query_is_store_down_when_the_new_map_does_not_help(
    maps: list[int], calls: int
) -> None:
    part = Part(Moving(maps), failures=9)
    with pytest.raises(StoreDown):
        await part.query("blog")
    assert len(part.calls) == calls


# -- the log


@dataclass
class Queries:
    """Queries of the store with the parameters that the package's methods have; each fails."""

    error: Exception
    nodes: One = field(default_factory=lambda: One(Redis()))

    @queries_store
    async def of_slug(self, slug: str, limit: int = 1) -> None:
        raise self.error

    @queries_store
    async def of_keys(self, script: str, keys: list[str]) -> None:
        raise self.error

    @queries_store
    async def of_counts(self, skipped: Counter[str] | None = None) -> None:
        raise self.error

    @queries_store
    async def of_name(self, name: str) -> None:
        raise self.error


CALLS: list[tuple[str, tuple[object, ...], str]] = [
    ("of_slug", ("council", 3), "blog council: "),
    ("of_keys", ("return 1", ["lb:{council}:blog"]), "blog council: "),
    ("of_keys", ("return 1", ["lb:blogs"]), ""),
    ("of_keys", ("return 1", []), ""),
    ("of_counts", (Counter(council=1),), ""),
    ("of_counts", (), ""),
    ("of_name", ("lb:rewrites",), ""),
]


@pytest.mark.parametrize(("method", "arguments", "start"), CALLS)
@pytest.mark.parametrize("error", [exceptions.ResponseError("BUSY"), ValueError("no number")])
async def test_log_names_a_blog_only_when_the_query_is_about_one(
    method: str,
    arguments: tuple[object, ...],
    start: str,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "_logged", Seldom())
    for _ in range(2):
        with pytest.raises(StoreDown):
            await getattr(Queries(error), method)(*arguments)
    said = {"BUSY": "the store answered with an error: BUSY"}
    expected = said.get(str(error), "the store has a damaged record: ValueError")
    assert set(caplog.messages) == {f"{start}{expected}"}


async def test_error_of_a_busy_store_is_logged_once_when_many_blogs_meet_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_logged", Seldom())
    for slug in ("council", "derby", "election"):
        with pytest.raises(StoreDown):
            await Queries(exceptions.ResponseError("BUSY")).of_slug(slug)
    assert len(caplog.messages) == 1


# -- queries of all servers


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([exceptions.NoPermissionError("hmget")] * 2, "hmget"),
        ([exceptions.NoPermissionError("hmget"), 2], None),
        ([exceptions.ResponseError("BUSY")] * 2, None),
        ([], None),
    ],
)
async def test_query_raises_only_when_the_server_forbids_it_for_all_names(
    replies: list[object], error: str | None
) -> None:
    async def ask(_: object, __: object) -> list[object]:
        return replies

    names = [f"b{i}" for i in range(len(replies))]
    if error:
        with pytest.raises(exceptions.NoPermissionError, match=error):
            await One(Redis()).each(names, ask)
    else:
        found, unreachable = await One(Redis()).each(names, ask)
        assert list(found.values()) == [it for it in replies if isinstance(it, int)]
        assert bool(unreachable) == any("BUSY" in str(it) for it in replies)
