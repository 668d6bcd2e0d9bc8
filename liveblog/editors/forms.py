"""The desk's forms: from boxes to the API's fields, and from entries and headers back to boxes.

A box is one input of a form. A form without scripts sends every box. A hidden box `{name}_was`
contains the value that a box showed. Only altered boxes are saved, so that a colleague's change of
another box stays.

Rules: pure. No request, no HTML, no clock.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from functools import partial
from typing import Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Entry, is_timezone, new_id
from liveblog.blog.problem import Problem

BOXES_MAX: Final = 100  # boxes in one form
KEY_LENGTH: Final = 24  # characters of an Idempotency-Key that this module makes

REUSED: Final = (
    "Your first text was stored after all. Check it, and send this text again if it is still"
    " needed."
)

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")  # the API's rule for an Idempotency-Key
_TEXTS: Final = ("headline", "body", "dateline", "key_title", "note_kind", "note")
_COMPARED: Final = ("headline", "body", "byline", "dateline", "key_title")
_HEADER: Final = ("title", "dek", "summary", "timezone", "language", "status")
_LINKS: Final = ("full_coverage", "successor")
_WRITTEN: Final = {"body", "headline", "title"}  # boxes that hold an editor's own words

Boxes = dict[str, str]  # the text of each box of a form, by the box's name


@dataclass(frozen=True, slots=True)
class FormView:
    """A form as a page shows it: the contents of its boxes, and the reasons if it was rejected.

    `errors` maps a box's name to its reason; `problem` is the reason for the whole form. `theirs`
    has another editor's texts of the boxes that both altered (conflicts.py). `key` is
    the Idempotency-Key. The key stays the same until the form is accepted, so that a form that is
    sent twice is applied once.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    key: str = field(default_factory=partial(new_id, "", KEY_LENGTH))
    theirs: Mapping[str, str] = field(default_factory=dict)


# -- reading a form --------------------------------------------------------------------------------


def check_form_type(content_type: str) -> None:
    """Raise Problem 415 unless a Content-Type is that of a form in UTF-8."""
    header = Message()
    header["content-type"] = content_type
    is_form = header.get_content_type() == "application/x-www-form-urlencoded"
    if not is_form or not _is_utf_8(str(header.get_content_charset("utf-8"))):
        raise Problem(415, "not-a-form", "Send application/x-www-form-urlencoded in UTF-8.")


def _is_utf_8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name == "utf-8"
    except LookupError:
        return False


def decode(body: bytes) -> Boxes:
    """Return the boxes of a form, by name; of several boxes with one name, the last counts.

    Browsers send line breaks as CRLF (HTML, "normalize newlines"). They become LF, as the store has
    them. Raises Problem 400 for text that is not UTF-8 and for more than BOXES_MAX boxes.
    """
    try:
        boxes = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=BOXES_MAX,
        )
    except ValueError as error:
        detail = f"The form is not UTF-8, or has more than {BOXES_MAX} fields: {error}"
        raise Problem(400, "broken-form", detail) from None
    return {name: re.sub(r"\r\n?", "\n", value) for name, value in boxes}


def has_words(boxes: Mapping[str, str]) -> bool:
    """Return whether a form has a box in which an editor writes: body, headline or title."""
    return bool(boxes.keys() & _WRITTEN)


def key_of(boxes: Mapping[str, str]) -> str | None:
    """Return a form's Idempotency-Key, None without a valid key."""
    key = boxes.get("idempotency_key", "")
    return key if _KEY.fullmatch(key) else None


def revision_of(boxes: Mapping[str, str]) -> int | None:
    """Return the revision that the editor edited, None without a valid number."""
    text = boxes.get("revision", "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def altered(boxes: Mapping[str, str]) -> Boxes:
    """Return the boxes that the editor altered: those that differ from their `{name}_was`."""
    return {name: text for name, text in boxes.items() if boxes.get(f"{name}_was") != text}


# -- from boxes to fields --------------------------------------------------------------------------


def new_entry_fields(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return a new entry's fields for the API, without the empty ones."""
    fields = entry_fields(boxes, zone)
    return {name: value for name, value in fields.items() if value not in (None, [])}


def edited_entry_fields(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return an entry's fields for the API, from the altered boxes.

    A scheduled entry that becomes a draft or a submission loses its time, even when the form's box
    still has the time.
    """
    fields = entry_fields(altered(boxes), zone)
    if fields.get("status") in ("draft", "submitted"):
        fields.pop("publish_at", None)
    return fields


def entry_fields(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return an entry's fields for the API, from the given boxes; None for an empty box.

    Commas or line breaks separate the names of a byline. `publish_at` is local time in `zone`.
    """
    fields: dict[str, object] = {n: _text_or_none(boxes[n]) for n in _TEXTS if n in boxes}
    if "byline" in boxes:
        fields["byline"] = [n.strip() for n in re.split(r"[,\n]", boxes["byline"]) if n.strip()]
    fields |= {name: boxes[name] == "true" for name in ("key", "pinned") if name in boxes}
    if "published_at" in boxes:
        fields["published_at"] = boxes["published_at"] or None
    return fields | _timing(boxes, zone)


def _text_or_none(text: str) -> str | None:
    return text if text.strip() else None


def _timing(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return an entry's `status` and `publish_at` for the API.

    A form with a time schedules the entry, so the status `published` is left out. The statuses
    draft and submitted stay: `edited_entry_fields` then removes the time, and for a new entry the
    API rejects the form.
    """
    status, at = boxes.get("status", ""), boxes.get("publish_at", "")
    if not at:
        return {"status": status} if status else {}
    unpublished = {"status": status} if status in ("draft", "submitted") else {}
    return {**unpublished, "publish_at": instant_of(at, zone)}


def header_fields(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return a blog's fields for the API, from the altered boxes; None for an empty box.

    `starts_at` is local time in the form's own time zone; in `zone` if the form has no valid zone.
    """
    new = altered(boxes)
    fields: dict[str, object] = {n: _text_or_none(new[n]) for n in _HEADER if n in new}
    for name in _LINKS:
        if new.keys() & {f"{name}_text", f"{name}_url"}:
            text, url = (boxes.get(f"{name}_{part}", "").strip() for part in ("text", "url"))
            fields[name] = {"text": text or url, "url": url} if text or url else None
    return fields | _start(boxes, zone)


def _start(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return `starts_at` if the editor altered the start or the zone; else no field.

    An unaltered start stays as the store has it, because the box can be less exact: the box has no
    milliseconds, and its hour may occur twice when clocks change. If the form's zone is unknown,
    the start is read in `zone`, and the API rejects the form.
    """
    if "starts_at" not in boxes or not altered(boxes).keys() & {"starts_at", "timezone"}:
        return {}
    local, named = boxes["starts_at"].strip(), boxes.get("timezone", "")
    return {"starts_at": instant_of(local, named if is_timezone(named) else zone) or None}


# -- from stored values to boxes -------------------------------------------------------------------


def header_values(blog: Blog) -> Boxes:
    """Return the contents of the boxes of a blog's header."""
    values = {name: getattr(blog, name) or "" for name in _HEADER}
    for name in _LINKS:
        link = getattr(blog, name)
        values |= {
            f"{name}_text": link.text if link else "",
            f"{name}_url": link.url if link else "",
        }
    values["starts_at"] = local_time(blog.starts_at, blog.timezone)
    return {**_with_shown(values, values), "revision": str(blog.revision)}


def entry_values(entry: Entry, zone: str) -> Boxes:
    """Return the contents of an entry's boxes.

    The boxes key, key_title, pinned and publish_at also have a copy `{name}_was`, so that only
    altered ones are saved. A colleague's change of key, key_title or pinned makes no new revision.
    So no conflict would show that the form undoes such a change. The copy of publish_at keeps the
    form from cutting the stored time, because the box has no milliseconds.
    """
    values = {name: getattr(entry, name) or "" for name in _TEXTS}
    values |= {name: "true" if getattr(entry, name) else "false" for name in ("key", "pinned")}
    values["byline"] = ", ".join(entry.byline)
    values["publish_at"] = local_time(entry.publish_at, zone)
    values["revision"] = str(entry.revision)
    shown = _with_shown(values, ("key", "key_title", "pinned", "publish_at"))
    return {**shown, **time_values(entry)}


def time_values(entry: Entry) -> Boxes:
    """Return the contents of the box by which an editor confirms the stated time of an entry.

    The box is empty until an editor has confirmed the time. There is no box without such a time.
    """
    if entry.asked_time is None:
        return {}
    return _with_shown({"published_at": format_time(entry.published_at) or ""}, ["published_at"])


def _with_shown(values: Mapping[str, str], names: Iterable[str]) -> Boxes:
    """Return the values and, for each of the names, a copy of its value as `{name}_was`.

    The form sends the copies back. `altered` compares each box with its copy.
    """
    return {**values, **{f"{name}_was": values[name] for name in names}}


def differing_texts(mine: Mapping[str, str], theirs: Mapping[str, str]) -> Boxes:
    """Return another editor's texts, `theirs`, for the boxes whose text in `mine` differs."""
    return {name: theirs[name] for name in _COMPARED if mine.get(name, "") != theirs[name]}


# -- a rejected form -------------------------------------------------------------------------------


def rejected(boxes: Boxes, problem: Problem) -> FormView:
    """Return the form as the editor sent it, with the problem's reasons at its boxes.

    The form keeps its Idempotency-Key, so that a repeated form is applied once. If the store has
    already applied an earlier text with this key, the form gets a new key. Sent again, the form
    then makes a second entry.
    """
    if problem.name == "idempotency-key-reused":
        return FormView(boxes, problem=REUSED)
    errors: Boxes = {}
    for pointer, detail in problem.errors:
        errors.setdefault(_box_of(pointer), sentence(detail))
    key = key_of(boxes) or new_id("", KEY_LENGTH)
    return FormView(boxes, errors, sentence(problem.detail), key)


def _box_of(pointer: str) -> str:
    """Return the name of the box that a JSON pointer belongs to.

    /byline/0 belongs to the box byline, and /successor/url to the box successor_url.
    """
    _, name, *rest = (*pointer.split("/"), "")
    return f"{name}_{rest[0]}" if rest[0] in ("text", "url") else name


def sentence(detail: str) -> str:
    """Return a problem's detail as a sentence: a capital first, a full stop last."""
    text = detail[:1].upper() + detail[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


# -- times -----------------------------------------------------------------------------------------


def instant_of(local: str, zone: str) -> str:
    """Return the RFC 3339 instant of a local time in a zone; any other text unchanged.

    A local time that occurs twice means its first occurrence. A local time that clocks skip is read
    with the offset before the change.
    """
    if not _LOCAL_TIME.fullmatch(local):
        return local
    try:
        at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
        return format_time(round(at.timestamp() * 1000)) or local
    except (ValueError, OverflowError):
        return local


def local_time(ms: int | None, zone: str) -> str:
    """Return an instant as the text of a datetime-local box, in a zone; "" for None."""
    if ms is None:
        return ""
    at = datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return f"{at:%Y-%m-%dT%H:%M:%S}" if at.second else f"{at:%Y-%m-%dT%H:%M}"
