"""The loop that reads, decides and commits, and retries when another write came in between."""

import pytest

from liveblog.blog.problem import Problem
from liveblog.editors import altering
from liveblog.editors.altering import until_fresh
from liveblog.store.writes import RefusalReason, Refused, Stale


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(altering, "PAUSE_S", 0.0)


class Attempts:
    """Replaces a commit: the first `stale` tries fail, as if another write came in between."""

    def __init__(self, stale: int, refusal: RefusalReason | None = None) -> None:
        self.stale, self.refusal, self.made = stale, refusal, 0

    async def __call__(self) -> str:
        self.made += 1
        if self.made <= self.stale:
            raise Stale
        if self.refusal:
            raise Refused(self.refusal)
        return "done"


async def test_write_decides_again_when_another_write_was_faster() -> None:
    attempts = Attempts(stale=3)
    assert await until_fresh("council", attempts) == "done"
    assert attempts.made == 4


async def test_write_is_503_when_other_writes_are_always_faster() -> None:
    attempts = Attempts(stale=1_000)
    with pytest.raises(Problem) as caught:
        await until_fresh("council", attempts)
    assert (caught.value.status, caught.value.name, caught.value.retry_after_s) == (503, "busy", 1)
    assert attempts.made == altering.TRIES_MAX


@pytest.mark.parametrize(
    ("refusal", "status", "name"),
    [
        ("other", 422, "idempotency-key-reused"),
        ("ended", 409, "conflict"),
        ("absent", 404, "not-found"),
        ("exists", 409, "conflict"),
        ("full", 409, "conflict"),
    ],
)
async def test_refusal_becomes_a_problem_and_ends_the_loop(
    refusal: RefusalReason, status: int, name: str
) -> None:
    attempts = Attempts(1, refusal)
    with pytest.raises(Problem) as caught:
        await until_fresh("council", attempts)
    assert (caught.value.status, caught.value.name, attempts.made) == (status, name, 2)
