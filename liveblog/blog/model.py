"""The things this program is about.

Blogs, entries, positions, callers, and what is wrong with input.

Everything else passes these around. Input from outside becomes `EntryFields` or `BlogFields` here,
checked against the limits below, or a `Problem` that names the field, the limit and the value.

Rules: pure, no I/O, no clock, imports nothing of ours. Times are int milliseconds since 1970 in
UTC.
"""

import ipaddress
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, UnsetType

# Limits, in code points unless the name says otherwise. Promised to editors.
TITLE_MAX: Final = 300
DEK_MAX: Final = 500
SUMMARY_MAX: Final = 20_000
BODY_MAX: Final = 20_000
HEADLINE_MAX: Final = 300
BYLINE_NAME_MAX: Final = 200
BYLINE_NAMES_MAX: Final = 10
DATELINE_MAX: Final = 100
KEY_TITLE_MAX: Final = 120
NOTE_MAX: Final = 500
LINK_TEXT_MAX: Final = 200
URL_MAX: Final = 2_048
NAME_MAX: Final = 64
SLUG_MAX: Final = 80
PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 1_024
IDEMPOTENCY_KEY_MAX: Final = 255
BODY_BYTES_MAX: Final = 1 << 20  # of a request
HTML_BYTES_MAX: Final = 160 * 1024  # made of a body or summary: a frame with it still fits 256 KiB
DRAFTS_MAX: Final = 1_000  # unpublished entries of one blog
REVISIONS_MAX: Final = 1_000
COUNT_MAX: Final = 2**53 - 1  # of what is counted: what browsers and the store's Lua can tell apart

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Inside these, every zone's local time can be computed and has a year of four digits.
TIME_MIN_MS: Final = (datetime(1000, 1, 2, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
TIME_MAX_MS: Final = (datetime(9998, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)

BLOG_ID: Final = "#blog"  # the header's id among entry ids, which cannot begin with "#"

BlogStatus = Literal["draft", "upcoming", "live", "ended"]
EntryStatus = Literal["draft", "submitted", "scheduled", "published", "retracted"]
NoteKind = Literal["minor", "update", "correction", "retraction"]
Role = Literal["admin", "editor", "contributor"]

ROLES: Final[tuple[Role, ...]] = ("admin", "editor", "contributor")
PUBLISHED: Final = ("published", "retracted")  # numbered, and in readers' sight

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]+([ ][^\s\x00-\x1f\x7f\ud800-\udfff]+)*")
_ENTRY_ID = re.compile(r"e[0-9a-z]{12}")
_POSITION = re.compile(r"([0-9a-z]{1,16})\.(0|[1-9][0-9]{0,14})\.([0-9a-f]{8})", re.ASCII)
_LANGUAGE = re.compile(
    r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-[A-Za-z0-9]{5,8})*"
)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_NO_HOST = re.compile(r"[%<>^|]")  # what no host has (URL Standard, 3.2)
_URL = re.compile(r"(https?://[^\s/\\?#]+[^\s\\]*|/(?![/\\])[^\s\\]*)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CONTROL_OR_NEWLINE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"

T = TypeVar("T")


class Problem(Exception):
    """What a caller did wrong or cannot have now; the API's answer as RFC 9457 problem+json.

    `errors` are (JSON pointer, detail) pairs; `extra` are more members of the answer (412's
    `current`); `retry_after_s` becomes a Retry-After header.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        errors: list[tuple[str, str]] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail
        self.errors = errors or []
        self.extra = extra or {}
        self.retry_after_s = retry_after_s

    def to_json(self) -> dict[str, Any]:
        """Return the members of RFC 9457, section 3.1, with ours beside them."""
        return {
            "type": f"/problems/{self.name}",
            "title": self.name.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "errors": [{"pointer": p, "detail": d} for p, d in self.errors],
            **self.extra,
        }


def invalid(*errors: tuple[str, str]) -> Problem:
    """Return the 422 for fields that break a rule.

    Each error is (JSON pointer, what and which limit).

    The pointer "" is the whole body (RFC 6901, section 5).
    """
    said = "; ".join(f"{p[1:]}: {d}" if p else d for p, d in errors)
    return Problem(422, "invalid-field", said, [*errors])


def forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)


def not_found(detail: str = "There is nothing here that you may see.") -> Problem:
    return Problem(404, "not-found", detail)


def conflict(detail: str) -> Problem:
    return Problem(409, "conflict", detail)


class StoreDown(Exception):
    """The store cannot be asked now. A write that raised this may or may not have happened."""


class Damaged(StoreDown):
    """The store answers, but what it holds there makes no sense; other things can be asked for."""


# What reading damaged keys raises: a value that is missing, of another kind, too large, nested too
# deep, or not UTF-8. It is one blog's or account's trouble, and must end neither a worker nor an
# answer about the others.
NONSENSE: Final = (
    msgspec.DecodeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
    OverflowError,
)


class Position(NamedTuple):
    """Where a reader is in a blog.

    Written `epoch.offset.check`, opaque to clients but for the offset.
    """

    epoch: str
    offset: int
    check: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}.{self.check}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """Return the position that `text` writes, None when it is malformed."""
        found = _POSITION.fullmatch(text)
        return cls(found[1], int(found[2]), found[3]) if found else None


# What is stored is checked as it is read: whatever else stands there is not ours, and could be
# neither shown nor told.
Time = Annotated[int, msgspec.Meta(ge=TIME_MIN_MS, le=TIME_MAX_MS)]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
EntryId = Annotated[str, msgspec.Meta(pattern=rf"\A{_ENTRY_ID.pattern}\Z")]


class Link(msgspec.Struct, frozen=True):
    """A link with its text, to an http(s) URL or a path on this site."""

    text: str
    url: str


class Blog(msgspec.Struct, frozen=True, kw_only=True):
    """A blog's own fields, as stored at its last change."""

    slug: str
    title: str
    dek: str | None = None
    summary: str | None = None  # Markdown
    summary_html: str | None = None  # made by render.markdown, safe
    timezone: str = "UTC"  # IANA
    language: str = "en"  # BCP 47
    status: BlogStatus = "draft"
    starts_at: Time | None = None  # shown while upcoming; nothing happens by itself then
    full_coverage: Link | None = None
    successor: Link | None = None
    created_at: Time = 0
    updated_at: Time = 0
    offset: Count = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a zone in which no time can be told."""
        if not is_timezone(self.timezone):
            raise ValueError(f"{self.timezone[:100]!r} is no time zone of the IANA database")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry as stored.

    Its current revision, or with `deleted` a tombstone that keeps only its numbers.
    """

    id: EntryId
    headline: str | None = None
    body: str | None = None  # Markdown
    body_html: str | None = None  # made by render.markdown, safe
    byline: list[str] = []
    dateline: str | None = None
    key: bool = False
    key_title: str | None = None
    pinned: bool = False
    status: EntryStatus = "draft"
    revision: Count = 1
    publish_at: Time | None = None
    note_kind: NoteKind | None = None
    note: str | None = None
    author: str | None = None  # Caller.ident of who made it
    published_at: Time | None = None
    updated_at: Time = 0
    offset: Count | None = None  # of its last change; None until published
    order: Count | None = None  # the offset of its first publication
    deleted: bool = False
    takedown: bool = False
    revisions_erased: Count = 0


# What the store itself puts into the record of a change.
STAMPED: Final = ("offset", "order", "published_at", "updated_at")


class Caller(NamedTuple):
    """Who asks: a signed-in user, a token, or this program itself."""

    ident: str  # "user:dana", "token:wire", "system:demo"
    role: Role
    blogs: tuple[str, ...] = ()  # the blogs it is bound to; none: all

    @property
    def name(self) -> str:
        return self.ident.partition(":")[2]

    def sees(self, slug: str) -> bool:
        return not self.blogs or slug in self.blogs


SYSTEM: Final = Caller("system:liveblog", "admin")


class EntryFields(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An entry's fields as a caller gave them; UNSET is "not mentioned", None is "none"."""

    headline: str | None | UnsetType = UNSET
    body: str | None | UnsetType = UNSET
    byline: list[str] | None | UnsetType = UNSET
    dateline: str | None | UnsetType = UNSET
    key: bool | UnsetType = UNSET
    key_title: str | None | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    status: EntryStatus | UnsetType = UNSET
    publish_at: str | None | UnsetType = UNSET
    published_at: str | None | UnsetType = UNSET
    note_kind: NoteKind | None | UnsetType = UNSET
    note: str | None | UnsetType = UNSET


class BlogFields(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A blog's fields as a caller gave them; UNSET is "not mentioned", None is "none"."""

    slug: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    dek: str | None | UnsetType = UNSET
    summary: str | None | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    status: BlogStatus | UnsetType = UNSET
    starts_at: str | None | UnsetType = UNSET
    full_coverage: dict[str, Any] | None | UnsetType = UNSET
    successor: dict[str, Any] | None | UnsetType = UNSET


def decode_json(body: bytes, kind: Any = dict[str, Any]) -> Any:
    """Decode and check the JSON of a request.

    400 for broken JSON or UTF-8, 422 for a field's type or name.
    """
    try:
        return msgspec.json.decode(body.decode(), type=kind)
    except msgspec.ValidationError as error:
        raise _from_msgspec(error) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Problem(400, "broken-json", f"The body is not JSON in UTF-8: {error}") from None


def convert(fields: dict[str, Any], kind: type[T]) -> T:
    """Return `fields` as `kind` (EntryFields, BlogFields), or raise 422 naming the field."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _from_msgspec(error) from None


def _from_msgspec(error: msgspec.ValidationError) -> Problem:
    """Turn "Expected `str`, got `int` - at `$.byline[0]`" into one at the pointer /byline/0."""
    detail, _, path = str(error).partition(" - at `$")
    pointer = re.sub(r"[.\[]", "/", path.rstrip("`").replace("]", "").replace("[...]", ""))
    unknown = re.search(r"unknown field `(.*)`", detail)
    return invalid((f"{pointer}/{unknown[1]}" if unknown else pointer, detail))


# -- rules of single fields: each yields what is wrong ---------------------------------------------

Errors = Iterator[tuple[str, str]]


def line(limit: int) -> Callable[[str, Any], Errors]:
    """Make a rule for text of one line, at most `limit` code points, no control characters."""
    return _text_rule(limit, _CONTROL_OR_NEWLINE, "a control character or line break")


def text(limit: int) -> Callable[[str, Any], Errors]:
    """Make a rule for text of several lines, at most `limit` code points."""
    return _text_rule(limit, _CONTROL, "a control character")


def _text_rule(limit: int, refused: re.Pattern[str], what: str) -> Callable[[str, Any], Errors]:
    def rule(pointer: str, value: Any) -> Errors:
        if len(value) > limit:
            yield pointer, f"has {len(value)} characters; the limit is {limit}"
        elif found := refused.search(value):
            yield pointer, f"has {what} (U+{ord(found[0]):04X}) at character {found.start() + 1}"

    return rule


def _slug(pointer: str, value: str) -> Errors:
    if len(value) > SLUG_MAX or not _SLUG.fullmatch(value):
        yield (
            pointer,
            f"must be 1 to {SLUG_MAX} of a-z, 0-9 and single hyphens between, not {value[:100]!r}",
        )


@cache
def _zones() -> frozenset[str]:
    # Two of them are the machine's own: browsers know neither.
    return frozenset(available_timezones()) - {"Factory", "localtime"}


def _timezone(pointer: str, value: str) -> Errors:
    if not is_timezone(value):
        yield pointer, f"is not a time zone of the IANA database: {value[:100]!r}"


def _language(pointer: str, value: str) -> Errors:
    if len(value) > 35 or not _LANGUAGE.fullmatch(value):
        yield pointer, f"is not a BCP 47 language tag: {value[:100]!r}"


def _names(pointer: str, value: list[str]) -> Errors:
    if len(value) > BYLINE_NAMES_MAX:
        yield pointer, f"has {len(value)} names; the limit is {BYLINE_NAMES_MAX}"
        return
    for i, name in enumerate(value):
        if not name.strip():
            yield f"{pointer}/{i}", "is empty"
        yield from line(BYLINE_NAME_MAX)(f"{pointer}/{i}", name)


def _instant(pointer: str, value: str) -> Errors:
    try:
        parse_time(value)
    except ValueError as error:
        yield pointer, str(error)


def _link(pointer: str, value: dict[str, Any]) -> Errors:
    for name in value.keys() - {"text", "url"}:
        yield f"{pointer}/{name}", "is an unknown field; a link has text and url"
    for name in ("text", "url"):
        if not isinstance(value.get(name), str) or not value[name].strip():
            yield f"{pointer}/{name}", "is needed, as text"
            return
    yield from line(LINK_TEXT_MAX)(f"{pointer}/text", value["text"])
    yield from line(URL_MAX)(f"{pointer}/url", value["url"])
    if not _URL.fullmatch(value["url"]):
        yield f"{pointer}/url", "must begin with https://, http:// or a single /"
    else:
        yield from _address(f"{pointer}/url", value["url"])


def _address(pointer: str, url: str) -> Errors:
    """Yield a host that cannot be, and a name before it, which hides where one goes."""
    try:
        parts = urlsplit(url)
        is_here = url.startswith("/")
        is_host = bool(parts.hostname) and not _NO_HOST.search(parts.netloc)
        is_valid = is_here or (is_host and parts.port != 0)
    except ValueError:
        is_valid = False
    if not is_valid:
        yield pointer, "is not a valid address"
    elif "@" in parts.netloc:
        yield pointer, "must have no user name"


NEVER_EMPTY: Final = ("slug", "title", "timezone", "language")

RULES: Final[dict[str, Callable[[str, Any], Errors]]] = {
    "slug": _slug,
    "title": line(TITLE_MAX),
    "dek": line(DEK_MAX),
    "summary": text(SUMMARY_MAX),
    "timezone": _timezone,
    "language": _language,
    "starts_at": _instant,
    "full_coverage": _link,
    "successor": _link,
    "headline": line(HEADLINE_MAX),
    "body": text(BODY_MAX),
    "byline": _names,
    "dateline": line(DATELINE_MAX),
    "key_title": line(KEY_TITLE_MAX),
    "note": line(NOTE_MAX),
    "publish_at": _instant,
    "published_at": _instant,
}


def check_fields(fields: EntryFields | BlogFields) -> dict[str, Any]:
    """Return the fields that were mentioned, or raise 422 with everything that is wrong with them.

    Text that is empty or only white space counts as none; other text is kept byte for byte.
    """
    given = {
        name: _none_if_blank(value)
        for name in fields.__struct_fields__
        if (value := getattr(fields, name)) is not UNSET
    }
    errors = [
        error
        for name, value in given.items()
        if value is not None and name in RULES
        for error in RULES[name](f"/{name}", value)
    ]
    errors += [
        (f"/{name}", "cannot be empty") for name in NEVER_EMPTY if given.get(name, "") is None
    ]
    if errors:
        raise invalid(*errors)
    return given


def _none_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def check_name(value: str, pointer: str = "/name") -> str:
    """Return the name of a user or token, or raise 422.

    1 to 64 visible characters with single spaces between.
    """
    if len(value) > NAME_MAX or not _NAME.fullmatch(value):
        raise invalid((pointer, f"must be 1 to {NAME_MAX} visible characters, not {value[:80]!r}"))
    return value


def is_slug(value: str) -> bool:
    return not any(_slug("", value))


def is_timezone(value: str) -> bool:
    return value in _zones()


def is_entry_id(value: str) -> bool:
    return bool(_ENTRY_ID.fullmatch(value))


def counted_address(host: str) -> str:
    """Return what a client is counted by: its IPv4 address, or the /64 that one IPv6 customer has.

    A unix socket has no address and counts as one.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host or "unix"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def new_id(prefix: str, length: int) -> str:
    """Return `prefix` and `length` random characters of 0-9a-z.

    All from one number: to ask the system for each character takes five times as long.
    """
    size = len(_ALPHABET)
    number = secrets.randbelow(size**length)
    return prefix + "".join(_ALPHABET[number // size**place % size] for place in range(length))


# Inside these, every zone's local time can be computed and has a year of four digits.

# -- times -----------------------------------------------------------------------------------------


def parse_time(value: str) -> int:
    """Return the milliseconds since 1970 of an RFC 3339 time with an offset.

    Raises ValueError with a reason fit for the caller.
    """
    if not _RFC3339.fullmatch(value):
        raise ValueError(
            "is not an RFC 3339 time with an offset such as 2026-11-22T14:05:00.000Z: "
            f"{value[:60]!r}"
        )
    try:
        at = datetime.fromisoformat(value.upper())
        ms = (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(f"is not a time that exists: {value[:60]!r}") from None
    if not TIME_MIN_MS <= ms <= TIME_MAX_MS:
        raise ValueError(f"must lie in the years 1000 to 9998: {value[:60]!r}")
    return ms


def format_time(ms: int | None) -> str | None:
    """Return an RFC 3339 time in UTC with milliseconds and Z; None for None."""
    if ms is None:
        return None
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- the API's shapes ------------------------------------------------------------------------------


def blog_json(blog: Blog, position: Position, base_url: str) -> dict[str, Any]:
    """Return a blog as the API gives it.

    `base_url` is the site's address without a slash at the end.
    """
    return {
        **{name: getattr(blog, name) for name in _BLOG_SHAPE},
        "starts_at": format_time(blog.starts_at),
        "full_coverage": _link_json(blog.full_coverage),
        "successor": _link_json(blog.successor),
        "position": str(position),
        "url": f"{base_url}/blogs/{blog.slug}",
        "created_at": format_time(blog.created_at),
        "updated_at": format_time(blog.updated_at),
    }


_BLOG_SHAPE = ("slug", "title", "dek", "summary", "summary_html", "timezone", "language", "status")


def _link_json(link: Link | None) -> dict[str, str] | None:
    return {"text": link.text, "url": link.url} if link else None


def entry_json(entry: Entry, slug: str, position: Position | None, base_url: str) -> dict[str, Any]:
    """Return an entry as the API gives it.

    `position` is that of its last change, None until published.
    """
    return {
        "id": entry.id,
        "blog": slug,
        **{name: getattr(entry, name) for name in _ENTRY_SHAPE},
        "position": str(position) if position else None,
        "published_at": format_time(entry.published_at),
        "updated_at": format_time(entry.updated_at),
        "publish_at": format_time(entry.publish_at),
        "url": f"{base_url}/blogs/{slug}/entries/{entry.id}",
    }


_ENTRY_SHAPE = (
    "headline",
    "body",
    "body_html",
    "byline",
    "dateline",
    "key",
    "key_title",
    "pinned",
    "status",
    "revision",
    "offset",
    "order",
    "note_kind",
    "note",
)
