"""What is done each second: publishing what falls due, and erasing for good what was taken down.

Every worker asks for what is due in all blogs by the store's clock, in one pipeline, and publishes
it with a key made of the entry and its revision: whichever worker is first, it happens once.

Rules: no clock of its own; decides nothing but when to ask.
"""

import asyncio
import logging
from functools import partial
from typing import Final

from liveblog.broker import Broker
from liveblog.model import Problem, StoreDown
from liveblog.publishing import Publishing

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0


async def run(broker: Broker, publishing: Publishing) -> None:
    """Publish what is due, until cancelled.

    While the store is away everything waits, and goes out after.
    """
    while True:
        await asyncio.sleep(EVERY_S)
        for part in (partial(publish_due, broker, publishing), broker.rewrite_if_wanted):
            try:
                await part()
            except StoreDown as error:
                log.debug("the schedule waits for the store: %s", error)


async def publish_due(broker: Broker, publishing: Publishing) -> int:
    """Publish everything that is due now, and return how many this worker published.

    An entry that cannot go out does not hold up the others, nor does a blog that takes no writes.
    """
    published, waiting = 0, set()
    for slug, id, now in await broker.due():
        if slug in waiting:
            continue
        try:
            published += await publishing.publish_due(slug, id, now)
        except Problem as problem:
            log.error("blog %s: scheduled entry %s: %s", slug, id, problem)
        except StoreDown as error:
            waiting.add(slug)
            log.warning("blog %s: what is due waits for the store: %s", slug, error)
        except Exception:
            log.exception("blog %s: scheduled entry %s cannot go out", slug, id)
    return published
