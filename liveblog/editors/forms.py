"""The desk's forms: from boxes to the API's fields, and from entries and headers back to boxes.

A box is one input of a form. A form without scripts sends every box. A hidden box `{name}_was`
contains the value that a box showed. Only altered boxes are saved, so that a colleague's change of
another box stays.

Rules: pure. No request, no HTML, no clock.
"""

import codecs
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from typing import Final
from unicodedata import combining, normalize
from urllib.parse import parse_qsl

from liveblog.blog.fields import LINK_TEXT_MAX, NEVER_EMPTY, SEVERAL_LINES, is_idempotency_key
from liveblog.blog.instant import format_time
from liveblog.blog.model import SLUG_MAX, Blog, Entry, Link, is_timezone, new_id
from liveblog.blog.problem import Problem, invalid
from liveblog.editors import reasons, times

BOXES_MAX: Final = 100  # boxes in one form
KEY_LENGTH: Final = 24  # characters of an Idempotency-Key that this module makes
PRESSED_NOW_MS: Final = 1_000  # a shorter time between press and arrival counts as none
SLUGS_MAX: Final = 20  # addresses that are tried for a new blog
# A press that waited longer needs another press. The store remembers its key for an hour more.
PRESSED_AGO_MAX_MS: Final = 23 * 3_600_000

_TEXTS: Final = ("headline", "body", "dateline", "key_title", "note_kind", "note")
_HEADER: Final = ("title", "dek", "summary", "timezone", "language", "status")
_LINKS: Final = ("full_coverage", "successor")
REPEATED: Final = "byline"  # a form has this box several times, with one name in each
# Boxes in which an editor writes, as desk/texts.js counts them: neither ticks nor choices.
WRITTEN: Final = {
    *(*_TEXTS, *_HEADER, "slug", REPEATED, "publish_at", "starts_at"),
    *(f"{name}_{part}" for name in _LINKS for part in ("text", "url")),
} - {"note_kind", "status"}
_OF_ONE_LINE: Final = WRITTEN - {*SEVERAL_LINES}
_TICKS: Final = {"true": True, "false": False}

# The text of each box of a form, by the box's name. The texts of a repeated box are lines of one
# text: a name is one line, and may hold commas.
Boxes = dict[str, str]


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

    @property
    def byline(self) -> list[str]:
        """The names in the boxes of the byline."""
        return names_of(self.values.get(REPEATED, ""))


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

    A repeated box keeps all its texts, one in each line, but for empty ones. Browsers send line
    breaks as CRLF (HTML, "normalize newlines"). They become LF, as the store has them, and a blank
    in a box of one line. Raises Problem 400 for text that is not UTF-8 and for more than BOXES_MAX
    boxes.
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
    texts = [(name, _lines(name, value)) for name, value in boxes]
    repeated = [text for name, text in texts if name == REPEATED]
    return dict(texts) | ({REPEATED: "\n".join(filter(str.strip, repeated))} if repeated else {})


def _lines(name: str, text: str) -> str:
    """Return the text of a box with LF as its line breaks, without any if the box has one line."""
    text = re.sub(r"\r\n?", "\n", text)
    if name not in _OF_ONE_LINE or "\n" not in text:
        return text
    return " ".join(filter(None, map(str.strip, text.split("\n"))))


def names_of(byline: str) -> list[str]:
    """Return the names in a repeated box."""
    return [name.strip() for name in byline.split("\n") if name.strip()]


def pairs(boxes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the name and text of each box of a form, also of each repeated one."""
    repeated = [(REPEATED, name) for name in names_of(boxes.get(REPEATED, ""))]
    return [*((name, text) for name, text in boxes.items() if name != REPEATED), *repeated]


def has_words(boxes: Mapping[str, str]) -> bool:
    """Return whether a form has words in a box in which an editor writes."""
    return any(boxes.get(name) for name in WRITTEN)


def key_of(boxes: Mapping[str, str]) -> str | None:
    """Return a form's Idempotency-Key, None without a valid key."""
    key = boxes.get("idempotency_key", "")
    return key if is_idempotency_key(key) else None


def revision_of(boxes: Mapping[str, str]) -> int | None:
    """Return the revision that the editor edited, None without a valid number."""
    text = boxes.get("revision", "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def pressed_at(boxes: Mapping[str, str], now: int) -> int | None:
    """Return when the editor pressed Publish, None for now; `now` is milliseconds since 1970.

    Raises Problem 422 for a press that is too long ago: the news may be old.
    """
    ago = boxes.get("pressed_ago_ms", "")
    if ago and not re.fullmatch(r"[0-9]{1,12}", ago, re.ASCII):
        raise invalid(("/pressed_ago_ms", f"must be a number of milliseconds, not {ago[:40]!r}"))
    if int(ago or 0) > PRESSED_AGO_MAX_MS:
        raise invalid(("/pressed_ago_ms", f"is {ago}; the limit is {PRESSED_AGO_MAX_MS}"))
    return now - int(ago) if int(ago or 0) >= PRESSED_NOW_MS else None


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

    `publish_at` is local time in the zone that the form showed; in `zone` if the form names none.
    Raises Problem 422 for a time in an unknown zone.
    """
    fields: dict[str, object] = {n: _text_or_none(boxes[n]) for n in _TEXTS if n in boxes}
    if "byline" in boxes:
        fields["byline"] = names_of(boxes["byline"])
    ticks = {name: boxes[name] for name in ("key", "pinned") if name in boxes}
    fields |= {name: _TICKS.get(text, text) for name, text in ticks.items()}  # others are rejected
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
    status, at = boxes.get("status", ""), boxes.get("publish_at", "").strip()
    if not at:
        return {"status": status} if status else {}
    if not is_timezone(boxes.get("zone") or zone):
        raise invalid(("/zone", "is unknown"))
    unpublished = {"status": status} if status in ("draft", "submitted") else {}
    return {**unpublished, "publish_at": times.instant_of(at, zone_of(boxes, zone))}


def zone_of(boxes: Mapping[str, str], zone: str) -> str:
    """Return the zone in which an entry's form showed times; `zone` if the form names none.

    A form can be sent long after it was loaded, when the blog may have another zone.
    """
    named = boxes.get("zone", "")
    return named if is_timezone(named) else zone


def boxes_of(name: str) -> tuple[str, ...]:
    """Return the boxes of a header's field: two for a link, its text and its address."""
    return (f"{name}_text", f"{name}_url") if name in _LINKS else (name,)


def header_fields(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return a blog's fields for the API, from the altered boxes; None for an empty box.

    `starts_at` is local time in the form's own time zone; in `zone` if the form has no valid zone.
    """
    new = altered(boxes)
    fields: dict[str, object] = {n: _text_or_none(new[n]) for n in _HEADER if n in new}
    # As a text, an empty one gets its reason beside those of the other boxes.
    fields |= {name: new[name].strip() for name in NEVER_EMPTY if name in fields}
    for name in _LINKS:
        if new.keys() & {*boxes_of(name)}:
            text, url = (boxes.get(box, "").strip() for box in boxes_of(name))
            shown = url if len(url) <= LINK_TEXT_MAX else f"{url[: LINK_TEXT_MAX - 1]}…"
            fields[name] = {"text": text or shown, "url": url} if text or url else None
    return fields | _start(boxes, zone)


def shown_states(boxes: Mapping[str, str], names: Collection[str]) -> dict[str, object]:
    """Return the states of a blog that a form showed at first, as far as its boxes have them."""
    copies = {name: boxes.get(f"{name}_was") for name in ("status", *boxes_of("successor"))}
    states: dict[str, object] = {}
    if "status" in names and copies["status"] is not None:
        states["status"] = copies["status"]
    text, url = (copies[box] for box in boxes_of("successor"))
    if "successor" in names and text is not None and url is not None:
        states["successor"] = Link(text, url) if url else None
    return states


def _start(boxes: Mapping[str, str], zone: str) -> dict[str, object]:
    """Return `starts_at` if the editor altered the start or the zone; else no field.

    An unaltered start stays as the store has it, because the box can be less exact: the box has no
    milliseconds, and its hour may occur twice when clocks change. If the form's zone is unknown,
    the start is read in `zone`, and the API rejects the form.
    """
    if "starts_at" not in boxes or not altered(boxes).keys() & {"starts_at", "timezone"}:
        return {}
    local = boxes["starts_at"].strip()
    return {"starts_at": times.instant_of(local, _start_zone(boxes, zone)) or None}


def _start_zone(boxes: Mapping[str, str], zone: str) -> str:
    """Return the zone of a form's start: the form's own, `zone` if that is unknown."""
    named = boxes.get("timezone", "")
    return named if is_timezone(named) else zone


def twice_of(boxes: Mapping[str, str], fields: Mapping[str, object], zone: str) -> str:
    """Return the time among a form's fields that comes twice on the clock, "" for none."""
    zones = time_zones(boxes, zone)
    given = [(boxes[box].strip(), its) for box, its in zones.items() if box in fields]
    return next((local for local, its in given if times.twice(local, its)), "")


def time_zones(boxes: Mapping[str, str], zone: str) -> dict[str, str]:
    """Return the zone of each box of a form that takes a wall-clock time."""
    zones = {"publish_at": zone_of(boxes, zone), "starts_at": _start_zone(boxes, zone)}
    return {box: zones[box] for box in zones if box in boxes}


def slugs_of(boxes: Mapping[str, str]) -> list[str]:
    """Return the address in the form of a new blog; addresses from the title when it is empty.

    These are moon, moon-2 and so on: letters of the title without accents, figures, and hyphens.
    The only one is "" for a title without any of them. There is none without a title.
    """
    title, slug = boxes.get("title", ""), boxes.get("slug", "").strip()
    letters = "".join(it for it in normalize("NFKD", title) if not combining(it)).lower()
    plain = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")
    if slug or not plain:
        return [slug] if slug or title.strip() else []
    ends = ["", *(f"-{number}" for number in range(2, SLUGS_MAX + 1))]
    return [f"{plain[: SLUG_MAX - len(end)].strip('-')}{end}" for end in ends]


# -- from stored values to boxes -------------------------------------------------------------------


def header_values(blog: Blog) -> Boxes:
    """Return the contents of the boxes of a blog's header."""
    values = {name: getattr(blog, name) or "" for name in _HEADER}
    for name in _LINKS:
        link = getattr(blog, name) or Link("", "")
        values |= zip(boxes_of(name), (link.text, link.url), strict=True)
    values["starts_at"] = times.local_time(blog.starts_at, blog.timezone)
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
    values[REPEATED] = "\n".join(entry.byline)
    values |= {"publish_at": times.local_time(entry.publish_at, zone), "zone": zone}
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


# -- a rejected form -------------------------------------------------------------------------------


def rejected(boxes: Boxes, problem: Problem, zone: str = "UTC") -> FormView:
    """Return the form as the editor sent it, with the problem's reasons at its boxes.

    `zone` is the blog's time zone. The form keeps its Idempotency-Key, so that a repeated form is
    applied once. If the store has already applied an earlier text with this key, the form gets a
    new key. Sent again, the form then makes a second entry.
    """
    errors = reasons.of_boxes(problem, boxes, time_zones(boxes, zone))
    reused = problem.name == "idempotency-key-reused"
    key = (None if reused else key_of(boxes)) or new_id("", KEY_LENGTH)
    return FormView(boxes, errors, reasons.of_form(problem, errors), key)
