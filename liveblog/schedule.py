"""What is done each second: publishing what falls due, and erasing for good what was taken down.

Every worker asks for what is due in all blogs by the store's clock, in one pipeline, and publishes
it with a key made of the entry and its revision: whichever worker is first, it happens once.

Rules: no clock of its own; decides nothing but when to ask.
"""

import asyncio
import logging
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
        try:
            await publish_due(broker, publishing)
            await broker.rewrite_if_wanted()
        except StoreDown as error:
            log.debug("the schedule waits for the store: %s", error)


async def publish_due(broker: Broker, publishing: Publishing) -> int:
    """Publish everything that is due now, and return how many this worker published."""
    published = 0
    for slug, id, now in await broker.due():
        try:
            published += await publishing.publish_due(slug, id, now)
        except Problem as problem:  # one entry that cannot go out must not hold the others
            log.error("blog %s: scheduled entry %s: %s", slug, id, problem)
    return published
