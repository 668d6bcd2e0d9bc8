"""A tenth of the random stories of the desk: no text is lost, and nothing is published twice."""

import pytest
from kit.playing import lines, played

GROUPS = 2  # each starts a server and browsers, in a process of its own
STORIES = 30
SHORT = (8, 8)  # `make stories` plays stories of up to 20 steps


@pytest.mark.parametrize("group", range(GROUPS))
async def test_no_text_is_lost_or_published_twice_when_parts_are_killed(group: int) -> None:
    seeds = range(group, STORIES, GROUPS)
    told = [it async for it in played(seeds, steps=SHORT)]
    assert len(told) == len(seeds)
    assert [line for it in told if it.faults for line in lines(it)] == []
    steps, stumbles = sum(len(it.steps) for it in told), sum(len(it.stumbles) for it in told)
    assert stumbles <= steps / 10, [it.stumbles for it in told]
