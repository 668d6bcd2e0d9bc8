"""Fields that callers send: their types and limits, and the problem for a field that breaks one.

A request's JSON becomes `EntryFields` or `BlogFields`, or a `Problem` that names each wrong field,
its limit and its value.

Rules: pure, no I/O, no clock.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Never, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from liveblog.blog.instant import parse_time
from liveblog.blog.model import (
    PIN_ORDER_MAX,
    SLUG_MAX,
    BlogStatus,
    EntryStatus,
    NoteKind,
    is_slug,
    is_timezone,
)
from liveblog.blog.problem import Problem, invalid
from liveblog.blog.visible import shows_nothing

# Limits, in code points unless the name has another unit. docs/api.md promises them to editors.
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
PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 1_024
IDEMPOTENCY_KEY_MAX: Final = 255
# Digits of an integer in a request's JSON. No field needs more, and Python refuses 4,301 digits.
# A longer integer becomes a float, so that the problem names its field.
DIGITS_MAX: Final = 100
BODY_BYTES_MAX: Final = 1 << 20  # of a request's body
# Limit for the HTML of a body or summary. It keeps the frame with this HTML below 256 KiB.
HTML_BYTES_MAX: Final = 160 * 1024

LANGUAGE_MAX: Final = 35  # RFC 5646, section 4.4.1
_NAME = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]+([ ][^\s\x00-\x1f\x7f\ud800-\udfff]+)*")
_LANGUAGE = re.compile(
    r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-[A-Za-z0-9]{5,8})*"
)
_NO_HOST = re.compile(r"[%<>^|]")  # characters forbidden in a host (URL Standard, 3.2)
_URL = re.compile(r"https?://[^/?#]|/(?!/)", re.IGNORECASE)
_NOT_IN_URL = re.compile(r"[\s\\]")
_CONTROL = re.compile(r"[\x00\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_IDEMPOTENCY_KEY = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}")
_CONTROL_OR_NEWLINE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
# Line breaks that nobody sees as characters: Word's Shift+Enter, the end of a page, and Unicode's
# separators.
_LINE_BREAK = re.compile(r"[\x0b\x0c\u2028\u2029]")
_BLANK = re.compile(r"[\t\x0b\x0c\u2028\u2029]")
# Other control characters, which nobody sees, come with text from Word, PDF files and terminals.
# Word ends a cell with U+0007. U+001E is its hyphen at which no line ends. NUL, TAB, line feed and
# carriage return are not among them.
_UNSEEN: Final[dict[int, str | None]] = {
    **dict.fromkeys([*range(0x01, 0x09), *range(0x0E, 0x20), 0x7F]),
    0x07: " ",
    0x1E: "\u2011",
}
T = TypeVar("T")

Fields = Mapping[str, object]  # JSON members that a caller sent, unchecked


class EntryFields(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An entry's fields as a caller sent them; UNSET for a field not sent, None for null."""

    headline: str | None | UnsetType = UNSET
    body: str | None | UnsetType = UNSET
    byline: list[str] | None | UnsetType = UNSET
    dateline: str | None | UnsetType = UNSET
    key: bool | UnsetType = UNSET
    key_title: str | None | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    pin_order: float | None | UnsetType = UNSET
    status: EntryStatus | UnsetType = UNSET
    publish_at: str | None | UnsetType = UNSET
    published_at: str | None | UnsetType = UNSET
    note_kind: NoteKind | None | UnsetType = UNSET
    note: str | None | UnsetType = UNSET


class BlogFields(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A blog's fields as a caller sent them; UNSET for a field not sent, None for null."""

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


def decode_json(body: bytes) -> dict[str, Any]:
    """Return a request's JSON object; a byte order mark before it is skipped.

    Raises Problem: 400 for broken JSON or UTF-8, or when an object has a name twice (RFC 8259,
    section 4: receivers disagree on which value counts); 422 for any other value than an object.
    """
    try:
        value = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Problem(400, "broken-json", f"The body is not valid JSON in UTF-8: {error}") from None
    return convert(value, dict[str, Any])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the JSON object of these pairs. Raises ValueError for a repeated or broken name."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        _check_text(name)
        if name in found:
            raise ValueError(f"the name {name[:80]!r} appears twice")
        if isinstance(value, str):
            _check_text(value)
        found[name] = value
    return found


def _check_text(text: str) -> None:
    """Raise ValueError for half of a surrogate pair, which no UTF-8 text can contain."""
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("a string has half of a surrogate pair")


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= DIGITS_MAX else float(digits)


def _no_constant(name: str) -> Never:
    """Raise ValueError for NaN or Infinity, which Python accepts and JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def convert(fields: Any, kind: type[T]) -> T:
    """Return `fields` as `kind`, such as EntryFields or BlogFields.

    Raises Problem 422, naming the field, for a wrong type or an unknown field.
    """
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _from_msgspec(error) from None


def _from_msgspec(error: msgspec.ValidationError) -> Problem:
    """Return the Problem 422 for a wrong type or an unknown field that msgspec found.

    msgspec's path `$.byline[0]` becomes the JSON pointer /byline/0.
    """
    message, _, path = str(error).partition(" - at `$")
    pointer = re.sub(r"[.\[]", "/", path.rstrip("`").replace("]", "").replace("[...]", ""))
    if unknown := re.search(r"unknown field `(.*)`", message):
        return invalid((f"{pointer}/{unknown[1]}", "is an unknown field"))
    if types := re.fullmatch(r"Expected `(.*)`, got `(.*)`", message):
        expected, given = (_type_names(types[n]) for n in (1, 2))
        return invalid((pointer, f"must be {expected}, not {given}"))
    if value := re.fullmatch(r"Invalid enum value (.*)", message):
        return invalid((pointer, f"has an unknown value: {value[1][:100]}"))
    return invalid((pointer, message))


_TYPE_NAMES: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "an integer",
    "object": "an object",
    "str": "a string",
}


def _type_names(types: str) -> str:
    """Return msgspec's "str | null" as "a string or null"."""
    return " or ".join(_TYPE_NAMES.get(name, name) for name in types.split(" | "))


# -- rules: each checks one field, and yields (JSON pointer, detail) for every fault ---------------

Errors = Iterator[tuple[str, str]]


def _line(limit: int) -> Callable[[str, Any], Errors]:
    """Return a rule for one line: at most `limit` code points, no control characters."""
    return _text_rule(limit, _CONTROL_OR_NEWLINE, "a control character or line break")


def _text(limit: int) -> Callable[[str, Any], Errors]:
    """Return a rule for text of several lines: at most `limit` code points."""
    return _text_rule(limit, _CONTROL, "a control character")


def _text_rule(limit: int, forbidden: re.Pattern[str], what: str) -> Callable[[str, Any], Errors]:
    def rule(pointer: str, value: Any) -> Errors:
        if len(value) > limit:
            yield pointer, f"has {len(value)} characters; the limit is {limit}"
        elif found := forbidden.search(value):
            yield pointer, f"has {what} (U+{ord(found[0]):04X}) at character {found.start() + 1}"

    return rule


def _slug(pointer: str, value: str) -> Errors:
    if not is_slug(value):
        rule = f"1 to {SLUG_MAX} characters: a-z, 0-9, and single hyphens between them"
        yield pointer, f"must be {rule}, not {value[:100]!r}"


def _timezone(pointer: str, value: str) -> Errors:
    if not is_timezone(value):
        yield pointer, f"must be a time zone of the IANA database, not {value[:100]!r}"


def _language(pointer: str, value: str) -> Errors:
    if len(value) > LANGUAGE_MAX or not _LANGUAGE.fullmatch(value):
        yield pointer, f"must be a BCP 47 language tag, such as en or pt-BR, not {value[:100]!r}"


def _names(pointer: str, value: list[str]) -> Errors:
    if len(value) > BYLINE_NAMES_MAX:
        yield pointer, f"has {len(value)} names; the limit is {BYLINE_NAMES_MAX}"
        return
    for i, name in enumerate(value):
        if shows_nothing(name):
            yield f"{pointer}/{i}", "is empty"
        yield from _line(BYLINE_NAME_MAX)(f"{pointer}/{i}", name)


def _instant(pointer: str, value: str) -> Errors:
    try:
        parse_time(value)
    except ValueError as error:
        yield pointer, str(error)


def _pin_order(pointer: str, value: float) -> Errors:
    if not abs(value) <= PIN_ORDER_MAX:
        limits = f"{-PIN_ORDER_MAX:,} to {PIN_ORDER_MAX:,}"
        yield pointer, f"must be a number from {limits}, not {value!r}"


def _link(pointer: str, value: dict[str, Any]) -> Errors:
    for name in value.keys() - {"text", "url"}:
        yield f"{pointer}/{name}", "is an unknown field; a link has only text and url"
    for name in ("text", "url"):
        if not isinstance(value.get(name), str) or shows_nothing(value[name]):
            yield f"{pointer}/{name}", "must be a string that is not empty"
            return
    yield from _line(LINK_TEXT_MAX)(f"{pointer}/text", value["text"])
    yield from _line(URL_MAX)(f"{pointer}/url", value["url"])
    if found := _NOT_IN_URL.search(value["url"]):
        what = "backslash" if found[0] == "\\" else "blank"
        yield f"{pointer}/url", f"must not contain a {what}"
    elif not _URL.match(value["url"]):
        yield f"{pointer}/url", "must begin with https://, http:// or a single /"
    else:
        yield from _address(f"{pointer}/url", value["url"])


def _address(pointer: str, url: str) -> Errors:
    """Yield the faults of a URL: an invalid host, or a user name.

    A user name could pass for the host, as in https://bank.example@evil.example.
    """
    try:
        parts = urlsplit(url)
        is_local = url.startswith("/")
        is_host = bool(parts.hostname) and not _NO_HOST.search(parts.netloc)
        is_valid = is_local or (is_host and parts.port != 0)
    except ValueError:
        is_valid = False
    if not is_valid:
        yield pointer, "is not a valid address"
    elif "@" in parts.netloc:
        yield pointer, "must not contain a user name"


SEVERAL_LINES: Final = ("body", "summary")
ONE_LINE: Final = ("title", "dek", "headline", "dateline", "key_title", "note")
NEVER_EMPTY: Final = ("slug", "title", "timezone", "language")
RULES: Final[dict[str, Callable[[str, Any], Errors]]] = {
    "slug": _slug,
    "title": _line(TITLE_MAX),
    "dek": _line(DEK_MAX),
    "summary": _text(SUMMARY_MAX),
    "timezone": _timezone,
    "language": _language,
    "starts_at": _instant,
    "full_coverage": _link,
    "successor": _link,
    "headline": _line(HEADLINE_MAX),
    "body": _text(BODY_MAX),
    "byline": _names,
    "dateline": _line(DATELINE_MAX),
    "key_title": _line(KEY_TITLE_MAX),
    "pin_order": _pin_order,
    "note": _line(NOTE_MAX),
    "publish_at": _instant,
    "published_at": _instant,
}


def check_fields(fields: EntryFields | BlogFields) -> dict[str, Any]:
    """Return the fields that the caller sent, by name.

    Text that shows nothing becomes None. Raises Problem 422 with every fault of every field.
    """
    given = {
        name: _cleaned(name, value)
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
        (f"/{name}", "must not be empty") for name in NEVER_EMPTY if given.get(name, "") is None
    ]
    if errors:
        raise invalid(*errors)
    return given


def _cleaned(name: str, value: Any) -> Any:
    """Return a field's value without characters that nobody sees and nobody meant to type."""
    if isinstance(value, list):
        return [_one_line(it) for it in value]
    if isinstance(value, dict):
        return {n: _one_line(it) if n == "text" else it for n, it in value.items()}
    if not isinstance(value, str):
        return value
    if name in SEVERAL_LINES:
        value = _LINE_BREAK.sub("\n", value.translate(_UNSEEN))
    elif name in ONE_LINE:
        value = _one_line(value)
    return None if shows_nothing(value) else value


def _one_line(value: Any) -> Any:
    """Return a text without blanks at its ends, with a blank for each TAB and unseen line break.

    Any other value is returned as it is. A line feed inside the text stays, and is a fault.
    """
    if not isinstance(value, str):
        return value
    return _BLANK.sub(" ", value.translate(_UNSEEN)).strip(" \r\n")


def is_idempotency_key(text: str) -> bool:
    """Return whether a text is 1 to IDEMPOTENCY_KEY_MAX visible ASCII characters."""
    return bool(_IDEMPOTENCY_KEY.fullmatch(text))


def check_name(value: str, pointer: str = "/name") -> str:
    """Return the name of a user or token: 1 to 64 visible characters and single spaces.

    Raises Problem 422 for any other name.
    """
    if len(value) > NAME_MAX or not _NAME.fullmatch(value):
        rule = f"1 to {NAME_MAX} visible characters, with single spaces between them"
        raise invalid((pointer, f"must be {rule}, not {value[:80]!r}"))
    return value
