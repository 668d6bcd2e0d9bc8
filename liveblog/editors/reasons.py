"""Reasons: why the server rejected a form of the desk, in sentences for editors.

A problem's detail is written for scripts: it names fields, and instants in UTC. A reason names the
box by its label, and states times in the form's zone.

Rules: pure. Every reason says what the editor can do, unless that is plain.
"""

import re
from collections.abc import Mapping
from typing import Final

from liveblog.blog.instant import parse_time
from liveblog.blog.problem import Problem
from liveblog.editors import times
from liveblog.editors.results import SavedFirst

REUSED: Final = (
    "Your first text was stored after all. Check it, and send this text again if it is still"
    " needed."
)
SAFE: Final = "Your text is safe here."
UNAVAILABLE: Final = "Publishing is unavailable right now"
SIGNED_OUT: Final = f"You are signed out. {SAFE} Sign in, then send it again."

NAME_SHOWN: Final = 30  # characters of a rejected name in its reason

# The names of boxes at the start of a sentence.
_SUBJECTS: Final = {
    "slug": "The address",
    "body": "The text",
    "timezone": "The time zone",
    "starts_at": "The start",
    "full_coverage": "The link to the full coverage",
    "full_coverage_text": "The link text",
    "full_coverage_url": "The address of the link",
    "successor": "The link to the successor",
    "successor_text": "The link text",
    "successor_url": "The address of the link",
    "key_title": "The key event title",
    "publish_at": "The time to publish",
    "published_at": "The stated time",
    "note": "The note for readers",
    "note_kind": "The kind of the edit",
    "key": "The mark as a key event",
    "pinned": "The pin",
}

# Sentences in place of a detail of a box that begins with these words.
_SENTENCES: Final = {
    ("body", "an entry needs"): "Write a headline or a text that shows something.",
    ("slug", "must not be empty"): "The address cannot be made from this title. Write one with a-z,"
    " 0-9 and hyphens.",
    ("timezone", "must be a time zone"): "There is no such time zone. Choose one from the list,"
    " such as Europe/Berlin.",
    ("language", "must be a BCP 47"): "Give the code of a language, such as en or pt-BR.",
    ("publish_at", "schedules, so"): "A draft has no time to publish. Remove the time, or schedule"
    " the entry.",
    ("publish_at", "is needed"): "Give the time to publish.",
    ("publish_at", "cannot schedule"): "This entry is published already, so it has no time to"
    " publish.",
    (
        "pressed_ago_ms",
        "must be",
    ): "The form does not say when you pressed Publish. Press it again.",
    (
        "pressed_ago_ms",
        "is ",
    ): "You pressed Publish more than 23 hours ago. Press it again if this is"
    " still to be published.",
    ("zone", "is unknown"): "The time zone of this form is unknown. The time is shown in the blog's"
    " time zone now. Check it, then send it again.",
    ("published_at", "is in the future"): "The stated time is in the future.",
    (
        "published_at",
        "must be an RFC 3339",
    ): "The stated time cannot be read. Give it with the offset"
    " of its zone, such as 2026-11-22T14:05+01:00.",
    ("note_kind", "is retraction"): "Publish the entry first. Then retract it with Retract.",
}

# Words of details, and what editors read in their place.
_WORDS: Final = (
    (r"must be a string(?: that is not empty|, not null)|is needed", "must not be empty"),
    (r"(true or false), not a string", r"\1"),
    (r"has a [^;]*\(U\+000A\)[^;]*", "must be one line"),
    (r"makes \d+ bytes of HTML; the limit is \d+", "has too many links and marks. Shorten it"),
)
_NUMBER: Final = re.compile(r"(?<=has )\d{4,}|(?<=limit is )\d{4,}")
_PAST: Final = re.compile(r"is in the past: (.*)")

# Reasons for a whole form, by the problem's name.
_WHOLE: Final = {
    "busy": "The server is busy right now. {safe} Send it again in a moment.",
    "broken-form": "The form arrived damaged. {safe} Send it again.",
    "damaged": "This cannot be saved. {detail} {safe}",
    "idempotency-key-reused": REUSED,
    "if-match-needed": "This page does not say which version you edited. {safe} Open it again.",
    "incomplete": "The connection ended too early. {safe} Send it again.",
    "store-down": f"{UNAVAILABLE}, so it is unknown whether this was saved. {{safe}} Try again: it"
    " will not be published twice.",
    "too-large": "This is too long to send. {safe} Shorten it, then send it again.",
    "too-slow": "The connection is too slow. {safe} Send it again.",
    "unauthorized": SIGNED_OUT,
}


def sentence(detail: str) -> str:
    """Return a problem's detail as a sentence: a capital first, a full stop last."""
    text = detail[:1].upper() + detail[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def of_boxes(
    problem: Problem, boxes: Mapping[str, str], zones: Mapping[str, str]
) -> dict[str, str]:
    """Return the first reason of each rejected box, by the box's name.

    `boxes` has the texts as the editor sent them; `zones` has the zone of each box with a time.
    """
    found: dict[str, str] = {}
    for pointer, detail in problem.errors:
        box = _box_of(pointer)
        reason = _of_time(detail, boxes.get(box, ""), zones[box]) if box in zones else ""
        found.setdefault(box, reason or _of_box(box, pointer, detail, boxes.get(box, "")))
    return found


def of_form(problem: Problem, of_boxes: Mapping[str, str]) -> str:
    """Return the reason for a whole form: those of its boxes, else one for the problem's name."""
    if problem.errors:
        return " ".join(dict.fromkeys(of_boxes.values()))
    if problem.name == "store-refuses":
        return f"{UNAVAILABLE}. {SAFE} {sentence(problem.detail)}"
    if isinstance(problem, SavedFirst):
        return f"{problem.sentence} {SAFE}"
    if problem.name == "gone" and "is deleted" in problem.detail:
        return f"Someone deleted this entry. {SAFE}"
    known = _WHOLE.get(problem.name)
    return (
        known.format(safe=SAFE, detail=sentence(problem.detail))
        if known
        else sentence(problem.detail)
    )


def _of_time(detail: str, text: str, zone: str) -> str:
    """Return the reason for a wall-clock time, "" for a detail that concerns no text of a time."""
    if past := _PAST.fullmatch(detail):
        return times.passed(parse_time(past[1]), zone)
    return times.fault_of(text, zone) if text else ""


def _of_box(box: str, pointer: str, detail: str, text: str) -> str:
    for (name, start), words in _SENTENCES.items():
        if name == box and detail.startswith(start):
            return words
    for pattern, words in _WORDS:
        detail = re.sub(pattern, words, detail)
    detail = _NUMBER.sub(lambda found: f"{int(found[0]):,}", detail)
    subject = _SUBJECTS.get(box, f"The {box.replace('_', ' ')}" if box else "")
    if number := re.fullmatch(r"/byline/(\d+)", pointer):
        subject = _name_of_byline(int(number[1]), text)
    return sentence(f"{subject} {detail}".strip())


def _name_of_byline(index: int, text: str) -> str:
    """Return the words for a name: its start, since empty boxes before it have no number.

    `text` has one name in each line.
    """
    names = [it.strip() for it in text.split("\n") if it.strip()]
    if index >= len(names):
        return f"Name {index + 1} of the byline"
    name = names[index]
    return (
        f"The name “{name if len(name) <= NAME_SHOWN else f'{name[:NAME_SHOWN]}…'}” in the byline"
    )


def _box_of(pointer: str) -> str:
    """Return the name of the box that a JSON pointer belongs to.

    /byline/0 belongs to the box byline, and /successor/url to the box successor_url.
    """
    _, name, part, *_ = *pointer.split("/"), "", ""
    return f"{name}_{part}" if part in ("text", "url") else name
