"""The order of pinned entries: by `pin_order`, an editor's number.

Entries without a number come last. Among equals the newest comes first. The browser's counterpart
is `comparePins` in static/js/timeline.js; the cases in tests/vectors/timeline.json test both.

Rules: pure.
"""

from collections.abc import Sequence
from math import ceil, floor, inf
from typing import Final

from liveblog.blog.model import PIN_ORDER_MAX, Entry

DIGITS_MAX: Final = 15  # decimal places of a number between two others; a double has no more


def rank(entry: Entry) -> tuple[float, int]:
    """Return the key by which pinned entries are sorted."""
    return inf if entry.pin_order is None else entry.pin_order, -(entry.order or 0)


def exact(number: float) -> float:
    """Return a whole number as an int, so that JSON and HTML show 2 and not 2.0."""
    return int(number) if number == floor(number) else number


def moved(pins: Sequence[Entry], id: str, before: str | None) -> dict[str, float]:
    """Return the new `pin_order` of each entry, by id, that puts one entry before another.

    `pins` are all pinned entries in their order. `before` is the id of another one, None for the
    end. The result is empty when the entry stands there already, and has one number when a number
    fits between the neighbours. Otherwise, such as between two entries without a number, entries
    are numbered from 1.
    """
    others = [it for it in pins if it.id != id]
    at = next((i for i, it in enumerate(others) if it.id == before), len(others))
    if len(pins) > at and pins[at].id == id:
        return {}
    above = others[at - 1] if at else None
    below = others[at] if at < len(others) else None
    if above is None or above.pin_order is not None:
        ends = [None if it is None else it.pin_order for it in (above, below)]
        number = between(*ends)
        if number is not None:
            return {id: number}
    return _numbered([*others[:at], *(it for it in pins if it.id == id), *others[at:]], id)


def between(above: float | None, below: float | None) -> float | None:
    """Return a short number between two others; None for `above` or `below` means no limit there.

    Return None when there is no number between them, or none up to PIN_ORDER_MAX.
    """
    if above is None and below is None:
        return 1
    if above is None or below is None:
        number = floor(above) + 1 if above is not None else ceil(below or 0) - 1
        return number if abs(number) <= PIN_ORDER_MAX else None
    middle = (above + below) / 2
    shorter = (round(middle, digits) for digits in range(DIGITS_MAX + 1))
    return next((exact(it) for it in (*shorter, middle) if above < it < below), None)


def _numbered(pins: Sequence[Entry], id: str) -> dict[str, float]:
    """Return the numbers from 1 for entries in a new order, without those that have theirs.

    The entries at the end keep no number, if they have none. The moved entry is the last item.
    """
    last = max(i for i, it in enumerate(pins) if it.id == id or it.pin_order is not None)
    numbers = {it.id: i for i, it in enumerate(pins[: last + 1], 1) if it.pin_order != i}
    return {**numbers, id: numbers.pop(id)} if id in numbers else dict(numbers)
