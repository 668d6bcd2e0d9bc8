"""The texts that the editors of a story typed, and the rules that they must keep at the end.

Each typed text is a mark that no other text has, and some signs that are easily lost or altered.

Rules: pure. No browser, no server, no store.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

TAILS: Final = (
    *("100. Tor!", "**Nein**", "5 < 6 & 7", "C:\\x\\*.txt", "`a` ~b~", "日本。", "“gut” — ja"),
    *("f***ing", "#1", "1 * 2 * 3", "Zoë's", "&amp;", "[x](y", "a_b__c", "50 %", "> so"),
)


class Fault(NamedTuple):
    """A promise that a story broke; `rule` is one of RULES, `characters` are those concerned."""

    rule: str
    what: str
    characters: int = 0


RULES: Final = {
    "lost": "neither stored, nor in its box, nor offered to the same editor in the same profile",
    "twice": "in more entries than were sent",
    "unpressed": "stored, but no press sent it",
    "overwritten": "replaced in the newest version; nobody was shown it",
    "other name": "stored under a name that the page did not show",
    "unsent": "still unsent when everything works again",
    "silent": "a press did nothing and said nothing",
    "kept together": "the form for new entries is not free after a press",
    "undo": "a deletion has no undo of its own",
    "bin": "a deleted entry is not in the bin",
    "script": "a script failed",
    "broken": "the story did not come to its end",
}


@dataclass
class Typed:
    """A text that was typed once, in one form of one browser; `browser` is None for the API.

    `keys` are the keys under which it was sent as a new entry; `names` are the editors whose names
    the page showed at a press.
    """

    text: str
    browser: int | None
    editor: str
    box: str
    step: int
    keys: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    is_pressed: bool = False
    is_discarded: bool = False
    is_shown: bool = False

    @property
    def mark(self) -> str:
        return self.text.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.text!r} of step {self.step}, {self.editor}, {self.box}"


class Ledger:
    """Notes what happens to the typed texts of one story."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.texts: list[Typed] = []

    def type(
        self, chance: random.Random, browser: int | None, editor: str, box: str, step: int
    ) -> Typed:
        """Return a new text to type."""
        mark = f"q{self._seed}w{len(self.texts)}z"
        typed = Typed(f"{mark} {chance.choice(TAILS)}", browser, editor, box, step)
        self.texts.append(typed)
        return typed

    def inside(self, values: Iterable[str]) -> list[Typed]:
        """Return the texts that are in these boxes, as they were typed."""
        joined = "\0".join(values)
        return [it for it in self.texts if it.text in joined]

    def press(self, values: Iterable[str], name: str, key: str | None) -> list[Typed]:
        """Note that a form was sent; `key` is None unless it makes a new entry."""
        pressed = self.inside(values)
        for it in pressed:
            it.is_pressed = True
            it.names.add(name)
            it.keys |= {key} if key else set()
        return pressed

    def show(self, values: Iterable[str]) -> None:
        """Note that an editor was shown another version."""
        for it in self.inside(values):
            it.is_shown = True

    def discard(self, values: Iterable[str]) -> None:
        for it in self.inside(values):
            it.is_discarded = True

    def let(self, browser: int, name: str) -> None:
        """Note that an editor chose to publish this browser's texts under another name."""
        for it in self.texts:
            if it.browser == browser:
                it.names.add(name)

    @property
    def characters(self) -> int:
        return sum(len(it.text) for it in self.texts)


class Stored(NamedTuple):
    """The store's texts at the end: of entries with all their fields, of headers with theirs.

    The newest version of each is in `newest`, earlier ones are in `earlier`. `authors` maps the id
    of an entry to the editor who saved its first revision.
    """

    entries: Sequence[Mapping[str, Any]]
    newest: Sequence[str]
    earlier: Sequence[str]
    authors: Mapping[str, str]


def words_of(record: object) -> list[str]:
    """Return all texts in a record of JSON, and in the records inside it."""
    if isinstance(record, str):
        return [record]
    if isinstance(record, Mapping):
        return [text for it in record.values() for text in words_of(it)]
    if isinstance(record, Sequence):
        return [text for it in record for text in words_of(it)]
    return []


def judge(ledger: Ledger, stored: Stored, offered: Mapping[int, Sequence[str]]) -> list[Fault]:
    """Return what a story broke; `offered` has the texts that each browser shows or offers."""
    newest, earlier = "\0".join(stored.newest), "\0".join(stored.earlier)
    shown = {number: "\0".join(texts) for number, texts in offered.items()}
    found: list[Fault] = []
    for it in ledger.texts:
        is_newest, was_stored = it.text in newest, it.text in earlier
        is_offered = it.browser is not None and it.text in shown[it.browser]
        if not (is_newest or was_stored or is_offered or it.is_discarded):
            found.append(Fault("lost", str(it), len(it.text)))
        if is_newest and not it.is_pressed:
            found.append(Fault("unpressed", str(it)))
        is_replaced = was_stored and not is_newest and not it.box.endswith("note")
        if is_replaced and not (it.is_shown or is_offered or it.is_discarded):
            found.append(Fault("overwritten", str(it)))
    return [*found, *_of_entries(ledger, stored)]


def _sent(typed: Typed) -> int:
    """Return in how many entries a text may be.

    An editor's form for a deleted entry has a colleague's text, too. Its press makes another entry.
    """
    is_colleagues = typed.browser is None
    return max(1, len(typed.keys) + is_colleagues)


def _of_entries(ledger: Ledger, stored: Stored) -> list[Fault]:
    """Return the texts that are in too many entries, or under a wrong name."""
    counts: Counter[str] = Counter()
    wrong: list[Fault] = []
    for entry in stored.entries:
        author = stored.authors.get(entry["id"])
        for it in ledger.inside(words_of(entry)):
            counts[it.text] += 1
            is_wrong = author and author not in it.names
            if it.keys and it.box.startswith("compose") and is_wrong:
                wrong.append(Fault("other name", f"{it} by {author}"))
    twice = [it for it in ledger.texts if counts[it.text] > _sent(it)]
    return [*(Fault("twice", str(it)) for it in twice), *wrong]
