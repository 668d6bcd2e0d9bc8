"""The schedule: every second, each worker publishes due entries and erases taken-down text.

A worker reads from the agenda which blogs to look at, and the due entries of these blogs, by the
store's clock. All workers use the same idempotency key for one revision of an entry, so only the
first of them publishes the entry.

Rules: the store's clock alone decides which entries are due.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from liveblog.blog.problem import Damaged, Problem, StoreDown, StoreRefuses
from liveblog.editors.publishing import Publishing
from liveblog.seldom import Seldom
from liveblog.store.broker import Broker
from liveblog.store.due import DUE_AT_ONCE, Due, DueEntries

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
_logged: Final = Seldom(things_max=100)


async def run(broker: Broker, publishing: Publishing) -> None:
    """Publish due entries and run requested erasures, until cancelled.

    While the store is unreachable or refuses writes, entries stay scheduled. The server publishes
    overdue entries when the store accepts writes again.
    """
    skipped: Counter[str] = Counter()
    failed = Seldom()
    publish = partial(publish_due, broker.due, publishing, skipped)
    while True:
        await asyncio.sleep(EVERY_S)
        if broker.condition.refuses_writes:
            continue
        for task in (publish, broker.eraser.rewrite_if_requested):
            try:
                await task()
            except StoreDown as error:
                log.debug("schedule: skipped a pass, the store is unreachable: %s", error)
            except Exception as error:  # the next pass may publish other entries
                if failed.may(repr(error)):
                    log.exception("schedule: a pass failed, trying again")


async def publish_due(
    due: DueEntries, publishing: Publishing, skipped: Counter[str] | None = None
) -> int:
    """Publish the entries that are due now, and return how many this worker published.

    An entry that cannot be published, or a blog that rejects writes, does not delay other entries.
    One call is a pass: it reads a page of at most DUE_AT_ONCE due entries of each blog. Entries
    that cannot be published stay due, and could fill the page in every pass. `skipped` counts such
    entries of each blog; the next pass skips them, and reads the next page. Callers keep `skipped`
    between passes. After the last page, a pass starts at the first entry again.
    """
    skipped = Counter() if skipped is None else skipped
    looks, entries = await due.read(skipped)
    published, blocked, stuck = 0, set(), Counter[str]()
    for slug, id, now in entries:
        if slug in blocked:
            continue
        try:
            published += await publishing.publish_due(slug, id, now)
        except (Problem, Damaged) as error:
            stuck[slug] += 1
            if _logged.may(f"{slug} {id} {error}"):
                named = ascii(id)[1:-1]  # a foreign member may not be UTF-8
                log.error("blog %s: scheduled entry %s not published: %s", slug, named, error)
        except StoreRefuses:  # live/watch.py logs it once a minute
            blocked.add(slug)
        except StoreDown as error:
            blocked.add(slug)
            log.warning("blog %s: due entries not published, retrying: %s", slug, error)
        except Exception as error:
            stuck[slug] += 1
            if _logged.may(f"{slug} {id} {error!r}"):
                log.exception("blog %s: scheduled entry %s not published", slug, id)
    _turn_pages(skipped, entries, stuck)
    # A blog with a full page keeps its look, so that the next pass reads the next page.
    await due.settle([look for look in looks if look.slug not in skipped])
    return published


def _turn_pages(skipped: Counter[str], entries: Sequence[Due], stuck: Counter[str]) -> None:
    """Update `skipped`, the number of due entries of each blog that the next pass skips.

    After a full page, the next pass also skips the entries of this page that could not be
    published; `stuck` counts them. A page that is not full is the last page of its blog, so the
    next pass skips no entry of that blog.
    """
    read = Counter(due.slug for due in entries)
    full = [slug for slug, count in read.items() if count == DUE_AT_ONCE]
    now_skipped = {slug: skipped[slug] + stuck[slug] for slug in full}
    skipped.clear()
    skipped.update(now_skipped)
