"""The keys of blogs after a repair of the files: blogs with holes begin a new epoch.

A repair that skips damage can lose changes of a blog and keep later ones. The stored checks are
then too few, and readers may have seen what is lost. In a new epoch every reader loads the page
again, and the offsets go on behind the last one that was given. rebuild.lua builds keys of a wrong
type, and indexes with numbers that no change has, so that every blog can be repaired.

Rules: called only for an embedded store without servers, so no change comes between two steps.
"""

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
import redis

from liveblog.blog.model import BLOG_ID, Blog, new_id
from liveblog.store.codec import (
    DECODE_ERRORS,
    blog_record,
    channel,
    decode_blog,
    digest,
    index_number,
    key,
)
from liveblog.store.listing import LISTED
from liveblog.store.rebuilding import NAMES, REBUILD, SHOWN_S

BATCH: Final = 500  # blogs read at once
CHECK_CHARACTERS: Final = 8
# A number that is so far above the checks is damaged, too. rebuild.lua has the same limit. Checks
# for more would take too much of the store's memory.
BEYOND_MAX: Final = 1_000_000
_KEY: Final = re.compile(rb"lb:\{([a-z0-9-]{1,80})\}:\w+")
_TYPES: Final = dict(
    zip(
        NAMES,
        ("hash", "string", "hash", "zset", "zset", "zset", "hash", "zset", "zset", "hash"),
        strict=True,
    )
)
_BY_OFFSET: Final = ("changed", "order", "marked")  # indexes whose scores are offsets
_LOST: Final = {
    "blog": "its title and settings are lost",
    "entries": "the texts of its published entries are lost, unless a backup of DATA_DIR has them",
    "drafts": "its drafts are lost, unless a backup of DATA_DIR has them",
    "bin": "its deleted entries are not in the list of the bin for a day",
    "rebuilt": "nothing else is lost",
}


class Numbers(NamedTuple):
    """The numbering of a blog in the store; None and 0 for a missing or impossible part.

    `top`: the highest possible offset in the index `changed`. `wrong`: the names of keys of a wrong
    type. `strays`: the names of indexes with impossible offsets, such as infinity.
    """

    epoch: bytes | None
    offset: int
    check: bytes | None
    base: int
    header: bytes | None
    chain: bytes | None
    top: int = 0
    wrong: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        """The highest offset that the blog has given, as far as the store has it."""
        return max(self.offset, self.checks, self.top)

    @property
    def checks(self) -> int:
        return len(self.chain or b"") // CHECK_CHARACTERS

    @property
    def limit(self) -> int:
        """The highest offset that is possible."""
        return self.checks + BEYOND_MAX

    @property
    def lost(self) -> int:
        """The number of changes whose checks are missing."""
        return self.last - self.checks

    @property
    def is_whole(self) -> bool:
        """Whether the numbering has no hole."""
        chain = self.chain or b""
        return (
            re.fullmatch(rb"[0-9a-z]{1,16}", self.epoch or b"") is not None
            and self.header is not None
            and self.last == self.offset
            and 1 <= self.base <= self.offset
            and len(chain) == CHECK_CHARACTERS * self.offset
            and chain[-CHECK_CHARACTERS:] == self.check
            and re.fullmatch(rb"[0-9a-f]+", chain) is not None
        )

    @property
    def is_header_damaged(self) -> bool:
        try:
            return self.header is not None and not decode_blog(self.header)
        except DECODE_ERRORS:
            return True


@dataclass(frozen=True)
class Hole:
    """A blog with damaged keys, with a hole in its numbering, or with changes lost without a trace.

    `is_named`: bytes of the files that name the blog were skipped.
    """

    slug: str
    numbers: Numbers
    is_named: bool

    @property
    def needs_epoch(self) -> bool:
        return self.is_named or not self.numbers.is_whole

    @property
    def is_repairable(self) -> bool:
        """Whether a repair changes the blog: nobody but an editor can write a header."""
        return self.needs_epoch or self.is_deleting

    @property
    def is_deleting(self) -> bool:
        """Whether a repair deletes a key, with whatever is in it."""
        return bool(self.numbers.wrong or self.numbers.strays)

    def __str__(self) -> str:
        """Return the damage and its repair as a sentence."""
        return f"blog {self.slug}: {'; '.join([*self._of_keys(), *self._of_numbers()])}"

    def _of_keys(self) -> Iterator[str]:
        for name in self.numbers.wrong:
            lost = _LOST.get(name, "the key is built from the entries")
            yield f"{key(self.slug, name)} has a wrong type and is deleted: {lost}"
        for name in self.numbers.strays:
            yield f"{key(self.slug, name)} has offsets that no change has, which are corrected"
        if self.numbers.is_header_damaged:
            yield "its header is damaged: an editor writes a new one on the blog's desk"

    def _of_numbers(self) -> Iterator[str]:
        numbers = self.numbers
        if not self.needs_epoch:
            return
        lost = f"{numbers.lost} of {numbers.last} changes are lost" if numbers.lost else ""
        yield lost or ("changes may be lost" if numbers.is_whole else "its numbering is damaged")
        if numbers.header is None:
            yield "its header is lost, so it is a draft, and its slug is its title"
        yield "its readers load the page again"


def slugs_in(data: bytes) -> set[str]:
    """Return the blogs whose keys are in a part of an append-only file."""
    return {found[1].decode() for found in _KEY.finditer(data)}


def examine(url: str, named: Collection[str]) -> list[Hole]:
    """Return the blogs with damage, and those of `named`, whose changes may be lost."""
    with _connected(url) as client:
        slugs, found = sorted({*_slugs(client)}), list[Hole]()
        for batch in (slugs[at : at + BATCH] for at in range(0, len(slugs), BATCH)):
            for slug, numbers in zip(batch, _numbers(client, batch), strict=True):
                hole = Hole(slug, numbers, slug in named)
                if hole.is_repairable or numbers.is_header_damaged:
                    found.append(hole)
    return found


def repair(url: str, holes: Sequence[Hole]) -> None:
    """Build the damaged keys of each blog, and begin a new epoch, with a check for each offset."""
    with _connected(url) as client:
        for hole in holes:
            numbers = hole.numbers
            if hole.is_deleting:
                _rebuild(client, hole)
                [numbers] = _numbers(client, [hole.slug])
            if hole.is_named or not numbers.is_whole:
                _begin_epoch(client, hole.slug, numbers, round(time.time() * 1_000))


@contextlib.contextmanager
def _connected(url: str) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        yield client


def _slugs(client: redis.Redis) -> Iterator[str]:
    """Yield the slugs of all blogs, also of those that lost a key; some more than once."""
    for name in ("blog", "chain", "changed", "entries"):
        for found in client.scan_iter(f"lb:{{*}}:{name}", count=1_000):
            if match := _KEY.fullmatch(found):
                yield match[1].decode()


def _numbers(client: redis.Redis, slugs: Sequence[str]) -> Iterator[Numbers]:
    """Yield the numbering of each blog, in the order of the slugs."""
    replies = _replies(client, slugs, _read_numbers)
    found = [_decoded(reply) for reply in replies]

    def read_indexes(pipeline: Any, slug: str) -> None:
        limit = limits[slug]
        pipeline.zrevrangebyscore(key(slug, "changed"), limit, 0, 0, 1, withscores=True)
        for name in _BY_OFFSET:
            pipeline.zcount(key(slug, name), f"({limit}", "+inf")
            pipeline.zcount(key(slug, name), "-inf", "(0")

    limits = {slug: numbers.limit for slug, numbers in zip(slugs, found, strict=True)}
    for numbers, (top, *counts) in zip(found, _replies(client, slugs, read_indexes), strict=True):
        strays = [
            name
            for name, *many in zip(_BY_OFFSET, counts[::2], counts[1::2], strict=True)
            if name not in numbers.wrong and any(many)
        ]
        has_top = "changed" not in numbers.wrong and top
        highest = index_number(top[0][1]) if has_top else 0
        yield numbers._replace(top=highest, strays=tuple(strays))


def _read_numbers(pipeline: Any, slug: str) -> None:
    for name in _TYPES:
        pipeline.type(key(slug, name))
    pipeline.hmget(key(slug, "blog"), "epoch", "offset", "check", "base", "header")
    pipeline.get(key(slug, "chain"))


def _replies(
    client: redis.Redis, slugs: Sequence[str], ask: Callable[[Any, str], None]
) -> list[list[Any]]:
    """Ask about each blog in one round trip, and return the replies for each.

    A reply is an error when the key has a wrong type.
    """
    pipeline, ends = client.pipeline(transaction=False), [0]
    for slug in slugs:
        ask(pipeline, slug)
        ends.append(len(pipeline))
    replies = pipeline.execute(raise_on_error=False)
    return [replies[start:end] for start, end in itertools.pairwise(ends)]


def _decoded(replies: Sequence[Any]) -> Numbers:
    *types, fields, chain = replies
    wrong = tuple(
        name
        for (name, wanted), found in zip(_TYPES.items(), types, strict=True)
        if found.decode() not in ("none", wanted)
    )
    epoch, offset, check, base, header = [None] * 5 if "blog" in wrong else fields
    kept = None if "chain" in wrong else chain
    found = Numbers(epoch, _number(offset), check, _number(base), header, kept, wrong=wrong)
    return found if found.offset <= found.limit else found._replace(offset=0)


def _number(field: bytes | None) -> int:
    return int(field) if field and re.fullmatch(rb"[1-9]\d{0,14}", field) else 0


def _rebuild(client: redis.Redis, hole: Hole) -> None:
    """Remove impossible offsets and keys of a wrong type, and build the keys from the records."""
    slug, limit = hole.slug, hole.numbers.limit
    for name in hole.numbers.strays:
        client.zremrangebyscore(key(slug, name), f"({limit}", "+inf")
        client.zremrangebyscore(key(slug, name), "-inf", "(0")
    keys = [key(slug, name) for name in NAMES]
    more = (new_id("", 6), channel(slug), "PUBLISH", SHOWN_S, 1)
    client.eval(REBUILD, len(keys), *keys, *more)


def _begin_epoch(client: redis.Redis, slug: str, numbers: Numbers, now: int) -> None:
    """Store the next change, the first one of a new epoch, as rotate.lua does."""
    epoch, offset = new_id("", 6), numbers.last + 1
    record = _header(slug, numbers.header, offset, now)
    check = digest(epoch.encode() + record)[:CHECK_CHARACTERS].encode()
    chain = (numbers.chain or b"")[: CHECK_CHARACTERS * (numbers.last - numbers.lost)]
    # No reader can use these checks.
    chain = re.sub(rb"[^0-9a-f]", b"0", chain).ljust(CHECK_CHARACTERS * numbers.last, b"0")
    fields: Any = {
        "epoch": epoch, "offset": offset, "check": check, "base": offset, "header": record,
    }  # fmt: skip
    step = client.pipeline(transaction=True)
    if numbers.header is None:
        fields["status"] = "draft"
        step.zadd(LISTED, {slug: now})
    step.hset(key(slug, "blog"), mapping=fields)
    step.set(key(slug, "chain"), chain + check)
    step.zadd(key(slug, "changed"), {BLOG_ID: offset})
    step.execute()


def _header(slug: str, header: bytes | None, offset: int, now: int) -> bytes:
    """Return a header's record with a new offset; that of a draft without a header."""
    if header is not None:
        return re.sub(rb'"offset":\d+', b'"offset":%d' % offset, header, count=1)
    blog = Blog(slug=slug, title=slug, created_at=now)
    return orjson.dumps({"updated_at": now, "offset": offset, **blog_record(blog)})
