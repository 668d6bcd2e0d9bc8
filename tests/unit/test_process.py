"""How a worker divides its limit of open files."""

from hypothesis import given
from hypothesis import strategies as some

from liveblog.process import KEPT_FILES, OWN_FILES, READERS_MIN, divided


@given(some.integers(1, 2_000_000))
def test_shares_stay_within_the_limit(limit: int) -> None:
    shares = divided(limit)
    own = limit - shares.connections - shares.reserve
    assert own >= min(OWN_FILES, limit // 2)
    assert shares.connections >= limit // 4
    assert shares.readers >= READERS_MIN


@given(some.integers(KEPT_FILES + READERS_MIN, 2_000_000))
def test_other_connections_have_200_places_beside_all_readers(limit: int) -> None:
    shares = divided(limit)
    assert shares.readers == limit - KEPT_FILES
    assert shares.connections - shares.readers >= 200
    assert shares.reserve > 50


def test_the_usual_limit_of_1024_is_divided_as_documented() -> None:
    assert divided(1_024) == (524, 724, 100)


def test_there_is_no_limit_without_a_limit_of_files() -> None:
    readers, connections, reserve = divided(0)
    assert readers == connections == 0
    assert reserve
