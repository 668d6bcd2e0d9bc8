"""Names of a blog's keys in Redis, and the format of its records and messages.

A blog's keys share one hash tag (`lb:{slug}:…`), so all keys of a script are on one node. The JSON
of a record begins with its stamps: the fields that the store sets (offset, order, times). All other
fields follow. The store publishes a record to the workers with exactly the stored bytes.

Rules: pure, no I/O. Decoding raises one of DECODE_ERRORS for a corrupt record.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, get_args

import msgspec

from liveblog.blog.model import (
    BLOG_ID,
    COUNT_MAX,
    PUBLISHED,
    STAMPED,
    Blog,
    BlogStatus,
    DamagedBlog,
    DamagedEntry,
    Entry,
    Position,
    is_entry_id,
)
from liveblog.blog.timeline import Changes, Record

# Exceptions from decoding a corrupt record: a value is missing, of a wrong type, too large, nested
# too deep, or not UTF-8. Code catches all of them, so that one corrupt blog or account ends neither
# a worker nor a request for other blogs or accounts.
DECODE_ERRORS: Final = (
    msgspec.DecodeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
    OverflowError,
)

_CONTENT = tuple(name for name in Entry.__struct_fields__ if name not in STAMPED)
_COUNT = re.compile(rb"[1-9][0-9]{0,15}")
_POSITION = re.compile(rb"[0-9a-z]{1,16}\.[1-9][0-9]{0,15}\.[0-9a-f]{8}")
decode_entry = msgspec.json.Decoder(Entry).decode
decode_blog = msgspec.json.Decoder(Blog).decode


def key(slug: str, name: str) -> str:
    """Return the key in Redis of one part of a blog, such as "entries" or "rev:e123"."""
    return f"lb:{{{slug}}}:{name}"


def channel(slug: str) -> str:
    """Return the pub/sub channel that carries the blog's changes."""
    return key(slug, "changes")


def digest(record: bytes | None) -> str:
    """Return the SHA-1 of a record, which Lua scripts compare with the stored one; "" for None."""
    return "" if record is None else hashlib.sha1(record, usedforsecurity=False).hexdigest()


class StoredEntry(NamedTuple):
    """An entry as the store has it; a DamagedEntry when its record does not decode.

    `raw` is the record's bytes. A write succeeds only if the store still has the same bytes. None:
    the store has no record, only the id in an index.
    `revisions` is the number of earlier revisions that the store keeps.
    """

    entry: Entry
    raw: bytes | None
    revisions: int


class StoredBlog(NamedTuple):
    """A blog as the store has it, at its position; a DamagedBlog when its header does not decode.

    `raw` is the stored JSON of the blog's header: its title, status, summary and settings. None:
    the store has no header.
    """

    blog: Blog
    position: Position
    raw: bytes | None


# -- records


def decode_record(raw: bytes) -> Record:
    """Return the Blog or Entry of a record.

    Only a header's record contains `"id":"#blog"`. A text with these characters does not match,
    since JSON escapes the quotes in a text.
    """
    return decode_blog(raw) if b'"id":"#blog"' in raw else decode_entry(raw)


def decode_position(epoch: bytes, offset: bytes, check: bytes) -> Position:
    """Return the position from three fields of a blog's hash.

    Raises ValueError for a position that publish.lua never stores.
    """
    if not _POSITION.fullmatch(b"%b.%b.%b" % (epoch, offset, check)):
        raise ValueError("no position")
    return Position(epoch.decode(), int(offset), check.decode())


def decode_base(base: bytes | None, position: Position) -> int | None:
    """Return an epoch's first offset; None for one that is missing or impossible at a position."""
    found = int(base) if base and _COUNT.fullmatch(base) else 0
    return found if 1 <= found <= position.offset else None


class Damage(NamedTuple):
    """Stands for a record that does not decode; `why` has nothing of the record's content."""

    why: str


def decode_stored_blog(
    epoch: bytes | None, offset: bytes | None, check: bytes | None, header: bytes | None
) -> StoredBlog | Damage | None:
    """Return a blog from the fields of its hash. Return None when the store lacks all fields."""
    fields = (epoch, offset, check, header)
    if all(it is None for it in fields):
        return None
    if epoch is None or offset is None or check is None or header is None:
        return Damage("its hash lacks a field")
    try:
        return StoredBlog(decode_blog(header), decode_position(epoch, offset, check), header)
    except DECODE_ERRORS as error:
        return Damage(why_damaged(error))


def damaged_blog(slug: str, fields: Sequence[bytes | None], status: bytes | None) -> StoredBlog:
    """Return a blog whose header is damaged, from the fields of its hash.

    Raises one of DECODE_ERRORS when its position does not decode, either.
    """
    epoch, offset, check, header = fields
    statuses: tuple[BlogStatus, ...] = get_args(BlogStatus)
    known = next((it for it in statuses if it.encode() == status), statuses[0])
    position = decode_position(epoch or b"", offset or b"", check or b"")
    blog = DamagedBlog(slug=slug, title=slug, status=known, revision=position.offset)
    return StoredBlog(blog, position, header)


def decode_published(
    raw: bytes | None, id: str, offset: int | None = None, order: int | None = None
) -> Entry:
    """Return an entry that was published; a DamagedEntry unless the record fits its indexes.

    `offset` and `order` are the values in the store's indexes. None: not read, or not in the index.
    """
    entry = _decoded(raw)
    is_whole = (
        entry is not None
        and entry.id == id
        and entry.offset is not None
        and entry.order is not None
        and entry.status in PUBLISHED
    )
    if entry and is_whole and offset in (None, entry.offset) and order in (None, entry.order):
        return entry
    return DamagedEntry(id=id, offset=offset, order=order, status="published", differs=is_whole)


def decode_draft(raw: bytes, id: str) -> Entry:
    """Return an unpublished entry; a DamagedEntry when its record is none of this entry."""
    entry = _decoded(raw)
    if entry and entry.id == id and entry.status not in PUBLISHED:
        return entry
    return DamagedEntry(id=id, differs=bool(entry and entry.id == id))


def differs(entries: Iterable[object]) -> bool:
    """Return whether the record of one of these entries contradicts the store's indexes."""
    return any(isinstance(it, DamagedEntry) and it.differs for it in entries)


def _decoded(raw: bytes | None) -> Entry | None:
    try:
        return None if raw is None else decode_entry(raw)
    except DECODE_ERRORS:
        return None


def entry_id(member: bytes) -> str | None:
    """Return the entry id in a member of an index; None for a member that is no such id."""
    id = member.decode("ascii", errors="replace")
    return id if is_entry_id(id) else None


def index_number(score: float) -> int:
    """Return the offset or order in an index's score; 0 or COUNT_MAX for what is no such number."""
    number = int(max(0, min(score, COUNT_MAX)))
    return number if number == score or score >= COUNT_MAX else 0


def why_damaged(error: Exception) -> str:
    """Return why a record does not decode, without anything of its content.

    Most errors quote a value of the record, so only the value's place is named.
    """
    place = str(error).rpartition(" - at ")[2] if " - at " in str(error) else ""
    return f"{type(error).__name__} {place}".rstrip()


def entry_record(entry: Entry) -> dict[str, object]:
    """Return the fields of an entry's record that the store does not set itself.

    The store sets `saved_at` when it stores a revision; later records of the revision repeat it.
    """
    saved = {"saved_at": entry.saved_at} if entry.saved_at else {}
    return {name: getattr(entry, name) for name in _CONTENT} | saved


def blog_record(blog: Blog) -> dict[str, object]:
    """Return the fields of a header's record that the store does not set itself.

    The store sets `created_at` when it creates the blog, and `saved_at` when it stores a revision;
    later records repeat the values.
    """
    repeated = ("created_at", "saved_at")
    stamped = {"offset", "updated_at", *(name for name in repeated if not getattr(blog, name))}
    fields = {n: getattr(blog, n) for n in Blog.__struct_fields__ if n not in stamped}
    return {"id": BLOG_ID, **msgspec.to_builtins(fields)}


# -- messages


def decode_message(raw: bytes) -> Changes | None:
    """Return the changes in a pub/sub message; None for one that is malformed or fails its checks.

    The first line is `epoch first last previous check`: the offsets of the first and last change,
    and the checks before the first and after the last. Each further line is a record.
    """
    try:
        head, *records = raw.split(b"\n")
        epoch, first, last, previous, check = head.decode("ascii").split(" ")
        checks = _chained(previous, records)
        if (checks[-8:] or previous) != check or len(records) != int(last) - int(first) + 1:
            return None
        position = Position(epoch, int(last), check)
        return Changes(
            int(first) - 1, previous, position, checks, [decode_record(r) for r in records]
        )
    except DECODE_ERRORS:
        return None


def _chained(previous: str, records: list[bytes]) -> str:
    """Return the checks of consecutive records, 8 hex digits each and joined.

    A check is a hash of the check before it and the record. `previous` is the check before the
    first record.
    """
    checks = ""
    for record in records:
        hashed = hashlib.sha1(previous.encode() + record, usedforsecurity=False)
        previous = hashed.hexdigest()[:8]
        checks += previous
    return checks
