"""The sum of what connections hold, and the connections that end above the limit."""

from collections import Counter
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as some

from liveblog.live.backlog import Backlog

MOST = 100


class Connection:
    def __init__(self) -> None:
        self.is_over = False

    def abort(self) -> None:
        self.is_over = True


Step = tuple[int, int | None]  # a connection, and the amount that it holds; None: it is closed
STEPS = some.lists(some.tuples(some.integers(0, 5), some.none() | some.integers(0, MOST + 20)))


@given(STEPS)
def test_backlog_ends_the_longest_holding_connections_above_the_limit(steps: list[Step]) -> None:
    closed = Counter[str]()
    backlog = Backlog(MOST, "unread", closed)
    connections, held, ended = [Connection() for _ in range(6)], dict[int, int](), 0
    for number, amount in steps:
        if connections[number].is_over:
            continue
        connection = connections[number]
        transport = cast(Any, connection)
        if amount:
            backlog.note(transport, amount, connection)
            held[number] = amount
        else:
            backlog.forget(transport) if amount is None else backlog.note(transport, 0, connection)
            held.pop(number, None)
        while sum(held.values()) > MOST:
            first = next(iter(held))
            del held[first]
            ended += 1
            assert connections[first].is_over
        assert backlog.total == sum(held.values())
    assert closed["unread"] == ended == sum(it.is_over for it in connections)
