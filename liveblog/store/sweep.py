"""The sweep: slowly completes the agenda, the sets of blogs and the bins, and empties the bins.

Writers keep agenda and sets complete (store/agenda.py, store/listing.py), and put deleted entries
into the bin. The sweep is for data of older versions, for writers of an older version during a
deploy, for a damaged or restored store, and for a failover of one node of a cluster that lost
changes. A walk also erases the text of entries whose time in the bin is over (store/bin.py).

One worker at a time sweeps: a key that expires names the worker that has the turn. A walk over all
listed blogs begins WALK_EVERY_S after the last one ended. A search for unlisted blogs, which reads
the name of every key, begins a day after the last one. A start of a worker costs nothing.

Rules: reads at most STEP blogs, or SCANNED key names, in PAUSE_S.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from liveblog.blog.model import is_entry_id, is_slug, new_id
from liveblog.blog.problem import StoreDown
from liveblog.store import scripts
from liveblog.store.agenda import Agenda
from liveblog.store.bin import BIN_MS, EXPIRED_MAX, Bin
from liveblog.store.blogs import Blogs
from liveblog.store.client import Client
from liveblog.store.codec import StoredBlog, index_number, key
from liveblog.store.eraser import Eraser
from liveblog.store.listing import LISTED, Listing
from liveblog.store.nodes import Node, Nodes
from liveblog.store.queries import queries_store
from liveblog.store.remaking import SEARCH, WALK

log = logging.getLogger(__name__)

STEP: Final = 100
PAUSE_S: Final = 1.0
SCANNED: Final = 500
ASK_EVERY_S: Final = 10.0  # time between two tries of a worker to get a turn
LEASE_S: Final = 30  # a turn whose worker died ends after this time
WALK_EVERY_S: Final = 600
SEARCH_EVERY_S: Final = 24 * 3600
ERASED_MAX: Final = 10_000  # entries whose text one walk erases; the next walk erases more
_FOUND: Final = re.compile(r"lb:\{([a-z0-9-]+)\}:(?:blog|rev:(e[0-9a-z]+))")
# A turn always expires. A key without an expiry, of any type, is none.
_BEGIN: Final = scripts.permitted("""
local commands, done = {}, 0
local is_foreign = redis.call('TTL', KEYS[1]) == -1
if is_foreign then
  commands[1] = { 'DEL', KEYS[1] }
end
if is_foreign or redis.call('EXISTS', KEYS[1]) == 0 then
  commands[#commands + 1] = { 'SET', KEYS[1], ARGV[1], 'EX', ARGV[2] }
  done = 1
end
""")
_EXTEND: Final = """
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class _State(NamedTuple):
    """A blog's status, "" for a blog that does not exist, and the time of its first due entry.

    `expired`: some of the entries whose time in the bin is over.
    """

    status: str
    due: int | None
    expired: Sequence[bytes]


@dataclass
class Sweep:
    """Completes the agenda, the sets of blogs and the bins, and empties the bins.

    `pause_s` is the time between two steps.
    """

    nodes: Nodes
    blogs: Blogs
    listing: Listing
    agenda: Agenda
    bin: Bin
    eraser: Eraser
    pause_s: float = PAUSE_S
    _worker: str = field(default_factory=lambda: new_id("", 12))

    async def run(self) -> None:
        """Sweep whenever this worker gets a turn, until cancelled."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                await self.take_turn(WALK, self.walk(), WALK_EVERY_S)
                await self.take_turn(SEARCH, self.search(), SEARCH_EVERY_S)
            except StoreDown as error:
                log.debug("sweep: stopped, trying again: %s", error)
            except Exception:
                log.exception("sweep: stopped, trying again")

    async def take_turn(self, name: str, steps: AsyncIterator[None], every_s: int) -> None:
        """Take all steps, unless another worker has the turn or had it less than `every_s` ago."""
        if not await self._begin(name):
            return
        async for _ in steps:
            await asyncio.sleep(self.pause_s)
            if not await self._extend(name, LEASE_S):
                return
        await self._extend(name, every_s)

    async def walk(self) -> AsyncIterator[None]:
        """Complete the agenda and the set of live blogs from all listed blogs, the newest first.

        A blog that moves up during the walk is left out. It is as good as seen: the write that
        moved the blog has announced it.

        Also erase the text of entries whose time in the bin is over. At the end of the walk, each
        server that had one is asked once to rewrite its append-only file.
        """
        rank, erased = 0, dict[str, list[str]]()
        while slugs := await self.listing.slugs(LISTED, rank, STEP):
            rank += len(slugs) - await self._complete(slugs, erased)
            yield
        for slug, ids in erased.items():
            await self.eraser.request(slug, again=False)
            await self.bin.forget(slug, ids)

    async def search(self) -> AsyncIterator[None]:
        """List all unlisted blogs, and put deleted entries into the bin that are not there.

        Read the names of all keys, and at most STEP blogs in a step.
        """
        for node in await self._everyone():
            cursor = -1
            while cursor:
                cursor, names = await self._scanned(node.redis, max(cursor, 0))
                found = [it for name in names if (it := _FOUND.fullmatch(name)) and is_slug(it[1])]
                revised = [(it[1], it[2]) for it in found if it[2] and is_entry_id(it[2])]
                await self.bin.adopt(node.redis, revised)
                slugs = [it[1] for it in found if not it[2]]
                for i in range(0, max(len(slugs), 1), STEP):
                    await self._list(slugs[i : i + STEP])
                    yield

    async def _complete(self, slugs: Sequence[str], erased: dict[str, list[str]]) -> int:
        """Complete the sets for these blogs, and return how many slugs had no blog to list.

        Erase what is expired in their bins, and add it to `erased`.
        """
        read = await self.listing.now()
        states = await self._states(slugs, read - BIN_MS)
        for slug, (status, due, expired) in states.items():
            if due is not None and status not in ("ended", ""):
                await self.agenda.add(slug, due)
            if expired and sum(map(len, erased.values())) < ERASED_MAX:
                ids = await self.bin.erase(slug, expired)
                erased |= {slug: ids} if ids else {}
        return await self.listing.tidy(read, {slug: it.status for slug, it in states.items()})

    async def _list(self, slugs: Sequence[str]) -> None:
        listed = await self.listing.times(LISTED, slugs)
        for slug in slugs:
            if slug not in listed and (stored := await self._read(slug)):
                await self.listing.add(slug, stored.blog.updated_at)

    async def _read(self, slug: str) -> StoredBlog | None:
        try:
            return await self.blogs.read(slug)
        except StoreDown as error:
            log.warning("blog %s: not put into the list of blogs: %s", slug, error)
            return None

    @queries_store
    async def _states(self, slugs: Sequence[str], before: int) -> dict[str, _State]:
        states, unreachable = await self.nodes.each(slugs, partial(_read_states, before=before))
        if unreachable:
            log.debug("sweep: some blogs not read: %s", unreachable)
        return states

    @queries_store
    async def _everyone(self) -> Sequence[Node]:
        return self.nodes.everyone()

    @queries_store
    async def _scanned(self, redis: Client, cursor: int) -> tuple[int, list[str]]:
        """Return the next cursor, 0 at the end, and the names of the next SCANNED keys of blogs."""
        command = ("SCAN", cursor, "MATCH", "lb:{*}:*", "COUNT", SCANNED)
        cursor, names = await redis.execute_command(*command)
        return int(cursor), [name.decode(errors="replace") for name in names]

    @queries_store
    async def _begin(self, name: str) -> bool:
        reply = await self.nodes.at(name).eval(_BEGIN, 1, name, self._worker, LEASE_S)
        scripts.check_permitted(reply)
        return bool(reply)

    @queries_store
    async def _extend(self, name: str, seconds: int) -> bool:
        """Keep the turn for some seconds from now; return False when another worker has it."""
        return bool(await self.nodes.at(name).eval(_EXTEND, 1, name, self._worker, seconds))


async def _read_states(
    redis: Client, slugs: Sequence[str], before: int
) -> list[_State | Exception]:
    """Return a state for each slug, in the same order; all blogs are on this one server.

    An entry is expired when it was deleted `before` this time.
    """
    pipeline = redis.pipeline(transaction=False)
    for slug in slugs:
        pipeline.hmget(key(slug, "blog"), "status", "epoch")
        pipeline.zrange(key(slug, "due"), 0, 0, withscores=True)
        pipeline.zrangebyscore(key(slug, "bin"), "-inf", before, 0, EXPIRED_MAX)
    replies = await pipeline.execute(raise_on_error=False)
    return [_state(*it) for it in zip(replies[::3], replies[1::3], replies[2::3], strict=True)]


def _state(
    fields: list[bytes | None] | Exception,
    rows: list[tuple[bytes, float]] | Exception,
    expired: list[bytes] | Exception,
) -> _State | Exception:
    """Return the state of one blog, or the error that came in place of a reply.

    A blog whose status is lost counts as a draft: the desk's list must name it. An unreadable bin
    counts as empty: a deletion rebuilds it.
    """
    if isinstance(fields, Exception):
        return fields
    if isinstance(rows, Exception):
        return rows
    due = index_number(rows[0][1]) if rows else None
    status, epoch = fields
    known = (status or (b"draft" if epoch else b"")).decode(errors="replace")
    return _State(known, due, [] if isinstance(expired, Exception) else expired)
