"""Blogs, entries, positions and callers: the values that all other modules pass around.

Rules: pure, no clock; no I/O except one read of the list of time zones in the package `tzdata`.
"""

import re
import secrets
from functools import cache
from importlib import resources
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from liveblog.blog.instant import TIME_MAX_MS, TIME_MIN_MS

SLUG_MAX: Final = 80
DRAFTS_MAX: Final = 1_000  # unpublished entries of one blog
REVISIONS_MAX: Final = 1_000
PIN_ORDER_MAX: Final = 1_000_000_000  # and -PIN_ORDER_MAX at least
COUNT_MAX: Final = 2**53 - 1  # browsers and the store's Lua use doubles, exact up to this number
BLOG_ID: Final = "#blog"  # the id of the blog's own record, its header; no entry's id has a "#"
BlogStatus = Literal["draft", "upcoming", "live", "ended"]
EntryStatus = Literal["draft", "submitted", "scheduled", "published", "retracted"]
NoteKind = Literal["minor", "update", "correction", "retraction"]
Role = Literal["admin", "editor", "contributor"]
ROLES: Final[tuple[Role, ...]] = ("admin", "editor", "contributor")
PUBLISHED: Final = ("published", "retracted")  # statuses of entries that readers see
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ENTRY_ID = re.compile(r"e[0-9a-z]{12}")
_POSITION = re.compile(r"([0-9a-z]{1,16})\.(0|[1-9][0-9]{0,14})\.([0-9a-f]{8})", re.ASCII)
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class Position(NamedTuple):
    """A reader's position in a blog, written `epoch.offset.check`.

    Clients compare epochs and offsets; only the server compares checks.
    """

    epoch: str
    offset: int
    check: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}.{self.check}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """Return the position in `text`, None for malformed text."""
        found = _POSITION.fullmatch(text)
        return cls(found[1], int(found[2]), found[3]) if found else None


# Records are checked as they are read from the store. A value outside these limits comes from
# another program or from corruption, and could not be shown or sent.
Time = Annotated[int, msgspec.Meta(ge=TIME_MIN_MS, le=TIME_MAX_MS)]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
_PinLimits = msgspec.Meta(ge=-PIN_ORDER_MAX, le=PIN_ORDER_MAX)
PinOrder = Annotated[int, _PinLimits] | Annotated[float, _PinLimits]
EntryId = Annotated[str, msgspec.Meta(pattern=rf"\A{_ENTRY_ID.pattern}\Z")]


class Link(msgspec.Struct, frozen=True):
    """A link with its text, to an http(s) URL or a path on this site."""

    text: str
    url: str


class Blog(msgspec.Struct, frozen=True, kw_only=True):
    """A blog's header and settings, as stored at its last change."""

    slug: str
    title: str
    dek: str | None = None
    summary: str | None = None  # Markdown
    summary_html: str | None = None  # safe, made by markdown.to_html
    timezone: str = "UTC"  # IANA
    language: str = "en"  # BCP 47
    status: BlogStatus = "draft"
    starts_at: Time | None = None  # shown while the blog is upcoming; does not make it live
    full_coverage: Link | None = None
    successor: Link | None = None
    created_at: Time = 0
    updated_at: Time = 0
    offset: Count = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown time zone."""
        if not is_timezone(self.timezone):
            raise ValueError(f"{self.timezone[:100]!r} is not a time zone of the IANA database")


class DamagedBlog(Blog, frozen=True, kw_only=True):
    """Stands for a blog whose header in the store does not decode.

    Only its slug and its status are known; the title is the slug. An editor can write a new header.
    """


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry's current revision, as stored; a tombstone (no text) if `deleted` is True."""

    id: EntryId
    headline: str | None = None
    body: str | None = None  # Markdown
    body_html: str | None = None  # safe, made by markdown.to_html
    byline: list[str] = []
    dateline: str | None = None
    key: bool = False
    key_title: str | None = None
    pinned: bool = False
    pin_order: PinOrder | None = None  # sorts pinned entries; None for an unpinned entry
    status: EntryStatus = "draft"
    revision: Count = 1
    publish_at: Time | None = None
    note_kind: NoteKind | None = None
    note: str | None = None
    author: str | None = None  # `ident` of the Caller that created the entry
    author_name: str | None = None  # the author's name, if `author` does not contain it
    published_at: Time | None = None  # before publication: the time that an editor stated
    stated_at: Time | None = None  # the time that a contributor stated and no editor confirmed
    updated_at: Time = 0
    offset: Count | None = None  # offset of the last change; None until published
    order: Count | None = None  # the offset at which the entry was first published
    deleted: bool = False
    takedown: bool = False
    revisions_erased: Count = 0

    @property
    def asked_time(self) -> int | None:
        """The time of publication that somebody stated for an unpublished entry."""
        if self.order is not None:
            return None
        return self.stated_at if self.published_at is None else self.published_at

    @property
    def written_by(self) -> str:
        """The author's name, as editors see it; "" when the author is unknown."""
        return self.author_name or (self.author or "").partition(":")[2]


class DamagedEntry(Entry, frozen=True, kw_only=True, gc=False):
    """Stands for an entry whose record in the store does not decode.

    To readers the entry is deleted. Only the values in the store's indexes are known: id, `offset`
    and `order`. No record is ever decoded as, or encoded from, this type. `differs`: the record
    decodes, and contradicts the store's indexes. rebuild.lua then corrects the indexes.
    """

    deleted: bool = True
    differs: bool = False


# Fields of an entry's record that publish.lua sets when it stores the record.
STAMPED: Final = ("offset", "order", "published_at", "updated_at")


class Caller(NamedTuple):
    """The caller of a write or read: a signed-in user, a token, or this program itself."""

    ident: str  # "user:dana", "token:k3xq9a…", "system:demo"; no two callers ever share one
    role: Role
    blogs: tuple[str, ...] = ()  # slugs that the caller is restricted to; empty for all blogs
    label: str | None = None  # the name that editors see, if `ident` does not contain it
    series: int = 0  # of a user's sessions: a session of an earlier series is void

    @property
    def name(self) -> str:
        return self.label or self.ident.partition(":")[2]

    def sees(self, slug: str) -> bool:
        return not self.blogs or slug in self.blogs


SYSTEM: Final = Caller("system:liveblog", "admin")


@cache
def _zones() -> frozenset[str]:
    # Read the list of the package tzdata. `zoneinfo.available_timezones` takes 30 ms, since it also
    # searches the machine's directories. It would also return "localtime", unknown to browsers.
    names = resources.files("tzdata").joinpath("zones").read_text("ascii").split()
    return frozenset(names) - {"Factory"}


def is_slug(value: str) -> bool:
    return len(value) <= SLUG_MAX and bool(_SLUG.fullmatch(value))


def is_timezone(value: str) -> bool:
    return value in _zones()


@cache
def timezones() -> tuple[str, ...]:
    """Return the names of all time zones, for editors to choose from."""
    return tuple(sorted(_zones()))


def is_entry_id(value: str) -> bool:
    return bool(_ENTRY_ID.fullmatch(value))


def new_id(prefix: str, length: int) -> str:
    """Return `prefix` and `length` random characters of 0-9a-z.

    All characters come from one random number, since a system call for each would take five times
    as long.
    """
    size = len(_ALPHABET)
    number = secrets.randbelow(size**length)
    return prefix + "".join(_ALPHABET[number // size**place % size] for place in range(length))
