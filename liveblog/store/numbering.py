"""The numbering of blogs after a repair of the files: blogs with holes begin a new epoch.

A repair that skips damage can lose changes of a blog and keep later ones. The stored checks are
then too few, and readers may have seen what is lost. In a new epoch every reader loads the page
again, and the offsets go on behind the last one that was given.

Rules: called only for an embedded store without servers, so no change comes between two steps.
"""

import contextlib
import itertools
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
import redis

from liveblog.blog.model import BLOG_ID, Blog, new_id
from liveblog.store.codec import blog_record, digest, index_number, key
from liveblog.store.listing import LISTED

BATCH: Final = 500  # blogs read at once
CHECK_CHARACTERS: Final = 8
OFFSET_MAX: Final = 2**29 // CHECK_CHARACTERS - 1  # a string of Redis has at most 512 MiB
_KEY: Final = re.compile(rb"lb:\{([a-z0-9-]{1,80})\}:\w+")
_TYPES: Final = {"blog": (b"none", b"hash"), "changed": (b"none", b"zset")}


class Numbers(NamedTuple):
    """The numbering of a blog in the store; None and 0 for a missing part.

    `top`: the highest offset in the index `changed`. `wrong`: a key of a wrong type, "" for none.
    """

    epoch: bytes | None
    offset: int
    check: bytes | None
    header: bytes | None
    chain: bytes | None
    top: int
    wrong: str

    @property
    def last(self) -> int:
        """The highest offset that the blog has given, as far as the store has it."""
        return max(self.offset, len(self.chain or b"") // CHECK_CHARACTERS, self.top)

    @property
    def lost(self) -> int:
        """The number of changes whose checks are missing."""
        return self.last - len(self.chain or b"") // CHECK_CHARACTERS

    @property
    def is_whole(self) -> bool:
        """Whether the numbering has no hole."""
        chain = self.chain or b""
        return (
            None not in (self.epoch, self.header)
            and self.last == self.offset
            and len(chain) == CHECK_CHARACTERS * self.offset
            and chain[-CHECK_CHARACTERS:] == self.check
        )


@dataclass(frozen=True)
class Hole:
    """A blog whose numbering has a hole, or may have lost changes without a trace."""

    slug: str
    numbers: Numbers

    @property
    def is_repairable(self) -> bool:
        return not self.numbers.wrong and self.numbers.last <= OFFSET_MAX

    def __str__(self) -> str:
        """Return the damage and its repair as a sentence."""
        numbers = self.numbers
        if not self.is_repairable:
            why = numbers.wrong or f"its offset {numbers.last} is too high"
            return f"blog {self.slug}: cannot be repaired: {why}"
        lost = f"{numbers.lost} of {numbers.last} changes are lost" if numbers.lost else ""
        said = lost or ("changes may be lost" if numbers.is_whole else "its numbering is damaged")
        header = (
            ""
            if numbers.header
            else "; its header is lost, so it is a draft, and its slug is its title"
        )
        return f"blog {self.slug}: {said}{header}; its readers load the page again"


def slugs_in(data: bytes) -> set[str]:
    """Return the blogs whose keys are in a part of an append-only file."""
    return {found[1].decode() for found in _KEY.finditer(data)}


def examine(url: str, named: Collection[str]) -> list[Hole]:
    """Return the blogs with holes, and those of `named`, whose changes may be lost."""
    with _connected(url) as client:
        slugs, found = sorted({*_slugs(client)}), list[Hole]()
        for batch in (slugs[at : at + BATCH] for at in range(0, len(slugs), BATCH)):
            for slug, numbers in zip(batch, _numbers(client, batch), strict=True):
                if slug in named or not numbers.is_whole:
                    found.append(Hole(slug, numbers))
    return found


def repair(url: str, holes: Sequence[Hole]) -> None:
    """Begin a new epoch of each blog, with a check for each offset."""
    with _connected(url) as client:
        for hole in holes:
            if hole.is_repairable:
                _begin_epoch(client, hole.slug, hole.numbers, round(time.time() * 1_000))


@contextlib.contextmanager
def _connected(url: str) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        yield client


def _slugs(client: redis.Redis) -> Iterator[str]:
    """Yield the slugs of all blogs, also of those that lost a key; some more than once."""
    for name in ("blog", "chain", "changed"):
        for found in client.scan_iter(f"lb:{{*}}:{name}", count=1_000):
            if match := _KEY.fullmatch(found):
                yield match[1].decode()


def _numbers(client: redis.Redis, slugs: Sequence[str]) -> Iterator[Numbers]:
    """Yield the numbering of each blog, in the order of the slugs."""
    pipeline = client.pipeline(transaction=False)
    for slug in slugs:
        for name in _TYPES:
            pipeline.type(key(slug, name))
        pipeline.hmget(key(slug, "blog"), "epoch", "offset", "check", "header")
        pipeline.get(key(slug, "chain"))
        pipeline.zrevrange(key(slug, "changed"), 0, 0, withscores=True)
    replies = iter(pipeline.execute(raise_on_error=False))
    for slug in slugs:
        yield _decoded(slug, [*itertools.islice(replies, 5)])


def _decoded(slug: str, replies: Sequence[Any]) -> Numbers:
    *types, fields, chain, top = replies
    wrong = [name for name, found in zip(_TYPES, types, strict=True) if found not in _TYPES[name]]
    if wrong:
        return Numbers(None, 0, None, None, None, 0, f"{key(slug, wrong[0])} has a wrong type")
    epoch, offset, check, header = fields
    number = int(offset) if offset and re.fullmatch(rb"\d{1,15}", offset) else 0
    kept = chain if isinstance(chain, bytes) else None  # an error: a key of a wrong type
    return Numbers(epoch, number, check, header, kept, index_number(top[0][1]) if top else 0, "")


def _begin_epoch(client: redis.Redis, slug: str, numbers: Numbers, now: int) -> None:
    """Store the next change, the first one of a new epoch, as rotate.lua does."""
    epoch, offset = new_id("", 6), numbers.last + 1
    record = _header(slug, numbers.header, offset, now)
    check = digest(epoch.encode() + record)[:CHECK_CHARACTERS].encode()
    chain = (numbers.chain or b"")[: CHECK_CHARACTERS * (numbers.last - numbers.lost)]
    chain = chain.ljust(CHECK_CHARACTERS * numbers.last, b"0")  # no reader can use these checks
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
