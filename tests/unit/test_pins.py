"""The order of pinned entries: numbers between others, and moves."""

import math

from hypothesis import given
from hypothesis import strategies as st

from liveblog.blog.model import PIN_ORDER_MAX, Entry
from liveblog.blog.pins import between, exact, moved, rank

NUMBERS = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.floats(-2, 2),
    st.sampled_from([-PIN_ORDER_MAX, PIN_ORDER_MAX, 0.1, 0.1 + 2**-55, 5e-324]),
)


def entry(order: int, pin_order: float | None = None) -> Entry:
    return Entry(id=f"e{order:012d}", order=order, pinned=True, pin_order=pin_order)


def pins_of(*numbers: float | None) -> list[Entry]:
    return sorted((entry(i, it) for i, it in enumerate(numbers, 1)), key=rank)


def numbered(pins: list[Entry], numbers: dict[str, float]) -> list[Entry]:
    """Return the pins in their order after a move."""
    return sorted((entry(it.order or 0, numbers.get(it.id, it.pin_order)) for it in pins), key=rank)


def test_pins_are_sorted_by_number_then_newest_first_with_none_last() -> None:
    pins = pins_of(None, 2, 1.5, None, 1.5, -1)
    assert [it.order for it in pins] == [6, 5, 3, 2, 4, 1]


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.integers(0, 7), st.integers(0, 8))
def test_moved_entry_stands_where_it_was_put_and_the_others_keep_their_order(
    numbers: list[float | None], which: int, place: int
) -> None:
    pins = pins_of(*numbers)
    id = pins[which % len(pins)].id
    others = [it.id for it in pins if it.id != id]
    at = place % len(pins)
    before = others[at] if at < len(others) else None
    changes = moved(pins, id, before)
    wanted = [*others[:at], id, *others[at:]]
    assert [it.id for it in numbered(pins, changes)] == wanted
    assert not changes or wanted != [it.id for it in pins]
    assert all(abs(it) <= PIN_ORDER_MAX for it in changes.values())


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8, unique=True), st.data())
def test_move_is_one_change_when_every_entry_has_its_own_number(
    numbers: list[int], data: st.DataObject
) -> None:
    pins = pins_of(*numbers)
    for _ in range(20):
        id = data.draw(st.sampled_from([it.id for it in pins]))
        before = data.draw(st.sampled_from([None, *(it.id for it in pins if it.id != id)]))
        changes = moved(pins, id, before)
        assert changes.keys() <= {id}
        pins = numbered(pins, changes)


def test_move_is_one_change_when_it_goes_to_the_top_without_numbers() -> None:
    pins = pins_of(None, None, None)
    assert moved(pins, pins[2].id, pins[0].id) == {pins[2].id: 1}


def test_entries_above_get_numbers_when_they_have_none() -> None:
    pins = pins_of(None, None, None, None)
    first, second, third, last = (it.id for it in pins)
    assert moved(pins, last, third) == {first: 1, second: 2, last: 3}


def test_entries_get_numbers_from_1_when_no_number_fits_between_two() -> None:
    pins = pins_of(5, 5, 7, None)
    second, first, third, last = (it.id for it in pins)
    assert [second, first] == [pins[0].id, pins[1].id]
    assert moved(pins, third, first) == {second: 1, third: 2, first: 3}
    assert moved(pins, last, first) == {second: 1, first: 3, third: 4, last: 2}


def test_nothing_changes_when_an_entry_stays_at_its_place() -> None:
    pins = pins_of(1, 2, None)
    assert moved(pins, pins[0].id, pins[1].id) == {}
    assert moved(pins, pins[2].id, None) == {}


@given(NUMBERS, NUMBERS)
def test_number_between_two_others_is_strictly_between(
    above: float | None, below: float | None
) -> None:
    number = between(above, below)
    if number is not None:
        assert (-math.inf if above is None else above) < number
        assert number < (math.inf if below is None else below)


def test_numbers_between_others_are_short_and_whole_when_they_can_be() -> None:
    assert [between(1, 4), between(1, 2), between(1.25, 2.5), between(None, 1)] == [2, 1.5, 2, 0]
    assert [between(2.5, None), between(None, None), between(1, 1)] == [3, 1, None]
    assert between(PIN_ORDER_MAX, None) is None
    assert [repr(exact(it)) for it in (2.0, -0.0, 0.5)] == ["2", "0", "0.5"]
