"""What is done each second: publishing what falls due, and erasing for good what was taken down.

Every worker asks for what is due in all blogs by the store's clock, in one pipeline, and publishes
it with a key made of the entry and its revision: whichever worker is first, it happens once.

Rules: no clock of its own; decides nothing but when to ask.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from liveblog.blog.problem import Damaged, Problem, StoreDown
from liveblog.editors.publishing import Publishing
from liveblog.store.broker import DUE_AT_ONCE, Broker, Due

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0


async def run(broker: Broker, publishing: Publishing) -> None:
    """Publish what is due, until cancelled.

    While the store is away everything waits, and goes out after.
    """
    passed: Counter[str] = Counter()
    while True:
        await asyncio.sleep(EVERY_S)
        for part in (partial(publish_due, broker, publishing, passed), broker.rewrite_if_wanted):
            try:
                await part()
            except StoreDown as error:
                log.debug("the schedule waits for the store: %s", error)


async def publish_due(
    broker: Broker, publishing: Publishing, passed: Counter[str] | None = None
) -> int:
    """Publish what is due now, and return how many this worker published.

    An entry that cannot go out does not hold up the others, nor does a blog that takes no writes.
    `passed` is kept from pass to pass: how many of a blog's first ones are left out, since a whole
    page is looked at and those stay. After the last page it is the first one's turn again.
    """
    passed = Counter() if passed is None else passed
    dues = await broker.due(passed)
    published, waiting, stuck = 0, set(), Counter[str]()
    for slug, id, now in dues:
        if slug in waiting:
            continue
        try:
            published += await publishing.publish_due(slug, id, now)
        except (Problem, Damaged) as error:
            stuck[slug] += 1
            log.error("blog %s: scheduled entry %s: %s", slug, id, error)
        except StoreDown as error:
            waiting.add(slug)
            log.warning("blog %s: what is due waits for the store: %s", slug, error)
        except Exception:
            stuck[slug] += 1
            log.exception("blog %s: scheduled entry %s cannot go out", slug, id)
    _turn_pages(passed, dues, stuck)
    return published


def _turn_pages(passed: Counter[str], dues: Sequence[Due], stuck: Counter[str]) -> None:
    """Go on behind what is stuck where there may be more, else begin again."""
    looked_at = Counter(due.slug for due in dues)
    whole = [slug for slug, count in looked_at.items() if count == DUE_AT_ONCE]
    now_passed = {slug: passed[slug] + stuck[slug] for slug in whole}
    passed.clear()
    passed.update(now_passed)
