"""Redis errors become StoreDown or Damaged, after a retry with a cluster's new slot map."""

from dataclasses import dataclass, field

import msgspec
import pytest
from redis import exceptions
from redis.asyncio import Redis

from liveblog.blog.problem import Damaged, StoreDown, StoreRefuses
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
