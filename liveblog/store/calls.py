"""Calls of publish.lua: the key of each, and the arguments of a write.

Rules: pure, no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, NamedTuple, TypeVar

import orjson

from liveblog.blog.model import (
    BLOG_ID,
    DRAFTS_MAX,
    HEADERS_MAX,
    PUBLISHED,
    REVISIONS_MAX,
    Blog,
    DamagedBlog,
    Entry,
    Position,
    new_id,
)
from liveblog.store.bin import BIN_MS, MOVED_MAX
from liveblog.store.codec import StoredBlog, StoredEntry, blog_record, channel, digest, entry_record

REMEMBERED_S: Final = 24 * 3600  # the life of a caller's Idempotency-Key
# The life of a key that this program makes for one call. The key only guards against a command that
# `Nodes.ask` or redis-py repeats after a lost reply: each of them once, within 20 s in all.
RETRIED_S: Final = 60

R = TypeVar("R", Blog, Entry)
Arguments = Sequence[str | bytes | int]


class CallKey(NamedTuple):
    """Identifies one write call of an editor.

    The store keeps the outcome of the call under the key `idem`. `request` is a hash of the call's
    arguments. `is_repeatable` is True when the caller sent an Idempotency-Key, and so may repeat
    the call.
    """

    idem: str
    request: str
    is_repeatable: bool = True

    @property
    def ttl_s(self) -> int:
        return REMEMBERED_S if self.is_repeatable else RETRIED_S


@dataclass(frozen=True, kw_only=True)
class Write(Generic[R]):
    """Holds the arguments of one call of publish.lua.

    The comment at the top of publish.lua explains each argument.
    """

    kind: type[R]  # Blog or Entry, the type of the record
    op: Literal["create", "header", "erase", "number", "keep"]
    id: str
    seen: bytes | None
    record: dict[str, object]
    call: CallKey
    status: int = 200
    fresh: bool = False
    history: Literal["push", "pop", "remove", "erase", ""] = ""
    removed: bytes = b""  # the record that "remove" removes from the earlier revisions
    restored: bytes = b""  # the earlier revision that is restored: the write is stale without it
    published_at: int | None = None
    order: int | None = None
    listed: bool = False
    marked: bool = False
    due: int | None = None
    rotate: bool = False
    blog_status: str = ""
    makes_live: bool = False
    ends_live: bool = False  # the blog was live until this write
    reopens: bool = False  # the blog had ended before this write
    position: Position | None = None  # of the last change with an offset, when the op takes none
    revision: int = 0
    erased: int = 0

    @property
    def is_numbered(self) -> bool:
        """Whether readers see the change, which then takes the next offset."""
        return self.op not in ("keep", "erase")

    @property
    def look_at(self) -> int | None:
        """When the schedule must look at the blog after this write, 0 for now; None for never."""
        return 0 if self.reopens else self.due

    @property
    def is_announced(self) -> bool:
        """Whether the agenda or a list must have the blog before the store has this write."""
        return self.op == "create" or self.makes_live or self.look_at is not None

    def arguments(self, slug: str) -> Arguments:
        """Return the script's ARGV: name, value, name, value, …"""
        values: dict[str, str | bytes | int] = {
            "op": self.op,
            "request": self.call.request,
            "ttl_s": self.call.ttl_s,
            "id": self.id,
            "seen": digest(self.seen),
            "record": orjson.dumps(self.record),
            "epoch": new_id("", 6),
            "fresh": int(self.fresh),
            "history": self.history,
            "removed": self.removed,
            "restored": self.restored,
            "published_at": _or_empty(self.published_at),
            "order": _or_empty(self.order),
            "listed": int(self.listed),
            "marked": int(self.marked),
            "due": _or_empty(self.due),
            "rotate": int(self.rotate),
            "blog_status": self.blog_status,
            "drafts_max": DRAFTS_MAX,
            "bin_ms": BIN_MS,
            "moved_max": MOVED_MAX,
            "status": self.status,
            "position": f'"{self.position}"' if self.position else "null",
            "revision": self.revision,
            "erased": self.erased,
            "revisions_max": REVISIONS_MAX if self.kind is Entry else HEADERS_MAX,
            "channel": channel(slug),
        }
        return [part for pair in values.items() for part in pair]


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value


def blog_write(
    op: Literal["create", "header"], stored: StoredBlog | None, blog: Blog, call: CallKey
) -> Write[Blog]:
    """Return the write that replaces the stored header, and keeps it if `blog` is a new revision.

    Nothing of a damaged header is kept. A new timezone or language changes the HTML of every entry,
    so readers must start over: the write begins a new epoch.
    """
    was = stored.blog if stored else blog
    is_damaged = isinstance(was, DamagedBlog)
    is_kept = blog.revision > was.revision and not is_damaged
    return Write(
        kind=Blog,
        op=op,
        id=BLOG_ID,
        seen=stored.raw if stored else None,
        record=blog_record(blog),
        call=call,
        history="push" if is_kept else "",
        revision=blog.revision,
        blog_status=blog.status,
        makes_live=blog.status == "live" and (not stored or was.status != "live"),
        ends_live=was.status == "live" != blog.status,
        reopens=was.status == "ended" != blog.status,
        rotate=is_damaged or (blog.timezone, blog.language) != (was.timezone, was.language),
    )


def erasing_write(
    stored: StoredBlog, removed: bytes | None, erased: int, call: CallKey
) -> Write[Blog]:
    """Return the write that erases one earlier header, `removed`, or all of them for None.

    The header itself stays as it is. `erased` is the number of headers that the write erases.
    """
    return Write(
        kind=Blog,
        op="erase",
        id=BLOG_ID,
        seen=stored.raw,
        record=blog_record(stored.blog),
        call=call,
        history="erase" if removed is None else "remove",
        removed=removed or b"",
        position=stored.position,
        revision=stored.blog.revision,
        erased=erased,
    )


def entry_write(
    stored: StoredEntry | None, entry: Entry, call: CallKey, *, fresh: bool = False
) -> Write[Entry]:
    """Return the write that replaces the stored entry by `entry`.

    The write takes the next offset if readers see the change. The record of an unpublished entry
    keeps `published_at`, which an import may have stated.
    """
    is_numbered = entry.order is not None or entry.status in PUBLISHED
    is_shown = is_numbered and not entry.deleted
    kept: dict[str, object] = {} if is_numbered else {"published_at": entry.published_at}
    return Write(
        kind=Entry,
        op="number" if is_numbered else "keep",
        id=entry.id,
        seen=stored.raw if stored else None,
        record=entry_record(entry) | kept,
        call=call,
        fresh=fresh,
        published_at=entry.published_at,
        order=entry.order,
        listed=is_shown,
        marked=is_shown and (entry.key or entry.pinned),
        due=entry.publish_at if entry.status == "scheduled" and not entry.deleted else None,
        revision=entry.revision,
        erased=entry.revisions_erased,
    )


def unnumbered(write: Write[Entry], entry: Entry, position: Position | None) -> Write[Entry]:
    """Change a write of a published entry into one that takes no offset.

    Use it for a change that readers do not see, such as the takedown of an entry that was deleted
    before. The entry keeps its offset, `order`, time of publication and `position`.
    """
    numbers = {name: getattr(entry, name) for name in ("offset", "order", "published_at")}
    return replace(write, op="keep", record=entry_record(entry) | numbers, position=position)
