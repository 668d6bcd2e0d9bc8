"""The sample coverage shows every feature, and publishing the coverage is safe to repeat."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self, cast

import pytest

from liveblog.blog.fields import BlogFields, EntryFields, check_fields, convert
from liveblog.blog.instant import parse_time
from liveblog.blog.model import Caller, Link
from liveblog.blog.problem import Problem, conflict
from liveblog.commands.story import MAIN, Step, Story, fill, replay, stories
from liveblog.editors.publishing import Publishing
from liveblog.editors.results import EntryPage
from liveblog.store.accounts import Accounts

STORY = stories()[MAIN]
ENTRIES = [step.fields for step in STORY.steps if step.is_new]
EDITS = [step for step in STORY.steps if step.entry and not step.is_new]

FIRST_DAY, LAST_DAY = (datetime(1969, 7, day, 4, tzinfo=UTC) for day in (16, 24))  # midnight, EDT
NOT_ASCII = "\u201c\u201d\u2019\u2026\u00b0\u2032"  # quotes, apostrophe, ellipsis, degree, prime


# -- the data -------------------------------------------------------------------------------------


def texts() -> Iterator[str]:
    for story in stories().values():
        for fields in (story.header, *(step.fields for step in story.steps)):
            for value in fields.values():
                links = list(value.values()) if isinstance(value, dict) else value
                yield from links if isinstance(links, list) else [str(value)]


def instants(story: Story) -> list[datetime]:
    return [
        datetime.fromtimestamp(parse_time(step.fields["published_at"]) / 1000, UTC)
        for step in story.steps
        if step.is_new
    ]


def bodies(pattern: str) -> list[str]:
    return [e["body"] for e in ENTRIES if re.search(pattern, e.get("body", ""), re.MULTILINE)]


def is_edited(**wanted: Any) -> bool:
    return any(wanted.items() <= step.fields.items() for step in EDITS)


def distance(step: Step) -> int:
    """Return how many entries are published between an entry and its edit."""
    end = STORY.steps.index(step)
    start = next(i for i, s in enumerate(STORY.steps) if s.is_new and s.entry == step.entry)
    return sum(s.is_new for s in STORY.steps[start + 1 : end])


def share_a_minute() -> bool:
    minutes = [at.replace(second=0) for at in instants(STORY)]
    return len(set(minutes)) < len(minutes)


def cross_midnight_in_new_york() -> bool:
    days = {(at - timedelta(hours=4)).date() for at in instants(STORY)}
    return len(days) > 1


FEATURES: dict[str, Callable[[], object]] = {
    "entries without a headline": lambda: [e for e in ENTRIES if "headline" not in e],
    "an entry that is only a link": lambda: bodies(r"\Ahttps://\S+\Z"),
    "two entries in one minute": share_a_minute,
    "a day boundary": cross_midnight_in_new_york,
    "an update": lambda: is_edited(note_kind="update"),
    "a correction with a note": lambda: any(
        s.fields.get("note_kind") == "correction" and s.fields.get("note") for s in EDITS
    ),
    "a minor edit": lambda: is_edited(note_kind="minor"),
    "a retraction with a note": lambda: any(
        s.fields.get("status") == "retracted" and s.fields.get("note") for s in EDITS
    ),
    "a late edit": lambda: max(map(distance, EDITS)) > 30,
    "key events with a title": lambda: [e for e in ENTRIES if e.get("key") and e["key_title"]],
    "an entry pinned from the start": lambda: [e for e in ENTRIES if e.get("pinned")],
    "a pin and an unpin": lambda: is_edited(pinned=True) and is_edited(pinned=False),
    "several datelines": lambda: len({e.get("dateline") for e in ENTRIES}) > 5,
    "bylines of one and of two": lambda: {len(e.get("byline", [])) for e in ENTRIES} == {0, 1, 2},
    "a list": lambda: bodies(r"^- "),
    "a link in the text": lambda: bodies(r"\]\(https://"),
    "a link to another blog": lambda: bodies(r"\]\(/blogs/"),
    "a quotation": lambda: bodies(r"^> "),
    "emphasis": lambda: bodies(r"\*\w"),
    "strong emphasis": lambda: bodies(r"\*\*\w"),
    "curly quotes": lambda: bodies("“.*”"),
    "straight quotes": lambda: bodies('".*\'.*"'),
    "letters beyond ASCII": lambda: bodies("[à-ÿ]"),
    "a header that moves": lambda: sum(step.entry is None for step in STORY.steps) >= 2,
    "a summary of three paragraphs": lambda: (
        len(STORY.steps[-1].fields["summary"].split("\n\n")) == 3
    ),
    "an end with a successor and full coverage": lambda: (
        STORY.steps[-1].fields.keys() >= {"successor", "full_coverage", "dek"}
        and STORY.steps[-1].fields["status"] == "ended"
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_coverage_shows_every_feature(feature: str) -> None:
    assert FEATURES[feature]()


def test_coverage_has_34_to_40_entries() -> None:
    assert 34 <= len(ENTRIES) <= 40


@pytest.mark.parametrize("slug", stories())
def test_steps_keep_to_the_limits_of_the_api(slug: str) -> None:
    story = stories()[slug]
    check_fields(convert(story.header, BlogFields))
    for step in story.steps:
        if step.entry:
            check_fields(convert(step.fields, EntryFields))
        else:
            check_fields(convert(step.fields, BlogFields))
        if step.is_new:
            assert step.fields.get("headline") or step.fields.get("body")


@pytest.mark.parametrize("slug", stories())
def test_times_ascend_within_16_to_24_july_1969_without_repetition(slug: str) -> None:
    times = instants(stories()[slug])
    assert times == sorted(set(times))
    assert times[0] > FIRST_DAY
    assert times[-1] < LAST_DAY + timedelta(days=1)


@pytest.mark.parametrize("slug", stories())
def test_edits_follow_the_publication_of_their_entry(slug: str) -> None:
    known: set[str] = set()
    for step in stories()[slug].steps:
        if step.is_new and step.entry:
            assert step.entry not in known
            known.add(step.entry)
        else:
            assert step.entry is None or step.entry in known


@pytest.mark.parametrize("slug", stories())
def test_last_step_of_a_story_shows_that_the_blog_is_complete(slug: str) -> None:
    story = stories()[slug]
    links = {"full_coverage", "successor"}
    assert story.steps[-1].entry is None
    assert story.steps[-1].fields.keys() & links
    earlier = (step for step in story.steps[:-1] if step.entry is None)
    assert not any(fields.keys() & links for fields in (story.header, *(s.fields for s in earlier)))


def test_successor_is_the_other_sample_blog_and_is_live() -> None:
    url = STORY.steps[-1].fields["successor"]["url"]
    other = stories()[url.removeprefix("/blogs/")]
    assert other.steps[-1].fields["status"] == "live"


def test_texts_hold_no_unusual_characters() -> None:
    for text in texts():
        assert text == text.strip()
        assert "  " not in text
        assert " \n" not in text
        assert text.count("“") == text.count("”")
        odd = {c for c in text if not c.isascii() and not c.isalpha() and c not in NOT_ASCII}
        assert not odd, text
        assert all(c == "\n" or c.isprintable() for c in text)


# -- publishing ----------------------------------------------------------------------------------


class Killed(Exception):
    """Simulates the end of the process."""


class Written(NamedTuple):
    """Stands for a result of `Publishing`, with an entry or a blog."""

    entry: Any = None
    blog: Any = None


class Record:
    """Holds the fields of an entry or a header as attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Book:
    """Replaces `Publishing`: keeps blogs and entries in memory, and logs every write in `calls`.

    As in `Publishing`, a second blog with the same slug is a conflict, and a call with a known
    idempotency key writes nothing. A repeated run of `demo` relies on both.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.headers: dict[str, Record] = {}
        self.entries_of: dict[str, list[Record]] = {}
        self.known: dict[tuple[str, str, str], Written] = {}
        self.writes_left: int | None = None

    def _note(self, what: str, slug: str, fields: dict[str, Any]) -> None:
        if self.writes_left == 0:
            raise Killed
        if self.writes_left is not None:
            self.writes_left -= 1
        self.calls.append((what, slug, fields))

    async def create_blog(self, caller: Caller, fields: dict[str, Any], key: str | None) -> Written:
        assert caller.role == "admin"
        slug = fields["slug"]
        if slug in self.headers:
            raise conflict("taken")
        self._note("create_blog", slug, fields)
        links = {"full_coverage": None, "successor": None}
        self.headers[slug], self.entries_of[slug] = Record(**links, **fields), []
        return Written(blog=self.headers[slug])

    async def blog(self, caller: Caller, slug: str) -> Written:
        return Written(blog=self.headers[slug])

    async def edit_blog(
        self, caller: Caller, slug: str, fields: dict[str, Any], key: str
    ) -> Written:
        if ("header", slug, key) not in self.known:
            self._note("edit_blog", slug, fields)
            links = {n: Link(**v) for n, v in fields.items() if isinstance(v, dict)}
            self.headers[slug].__dict__.update({**fields, **links})
            self.known["header", slug, key] = Written()
        return Written(blog=self.headers[slug])

    async def create_entry(
        self, caller: Caller, slug: str, fields: dict[str, Any], key: str
    ) -> Written:
        if known := self.known.get(("entry", slug, key)):
            if known.entry.deleted:
                raise Problem(410, "gone", "deleted")
            return known
        if self.headers[slug].__dict__["status"] == "ended":
            raise conflict("ended")
        self._note("create_entry", slug, fields)
        stated = fields.get("published_at")
        times = {"published_at": parse_time(stated) if stated else None}
        name = f"e{len(self.entries_of[slug])}"
        rest = {"status": "published", "revision": 1, "id": name, "deleted": False}
        entry = Record(**{**fields, **times, **rest})
        self.entries_of[slug].append(entry)
        self.known["entry", slug, key] = Written(entry)
        return Written(entry)

    async def edit_entry(
        self,
        caller: Caller,
        slug: str,
        entry_id: str,
        fields: dict[str, Any],
        revision: int | None,
        key: str,
    ) -> Written:
        entry: Any = next(e for e in self.entries_of[slug] if e.__dict__["id"] == entry_id)
        if entry.deleted:
            raise Problem(410, "gone", "deleted")
        if (entry_id, slug, key) in self.known:
            return Written(entry)
        marks_only = fields.keys() <= {"key", "key_title", "pinned"}
        if revision is None and not marks_only:
            raise Problem(428, "if-match-needed", "no revision")
        if revision not in (None, entry.revision):
            raise Problem(412, "revision-conflict", "another revision")
        self._note("edit_entry", slug, fields)
        entry.__dict__.update(fields, revision=entry.revision + (not marks_only))
        self.known[entry_id, slug, key] = Written()
        return Written(entry)

    async def entries(self, caller: Caller, slug: str, *, limit: int, status: str) -> EntryPage:
        found: list[Any] = [e for e in self.entries_of[slug] if not e.__dict__["deleted"]]
        assert len(found) <= limit
        shown: Any = [Written(e) for e in reversed(found) if e.status == status]
        return EntryPage(shown, None, [])

    def contents(self) -> dict[str, Any]:
        return {
            slug: (header.__dict__, [entry.__dict__ for entry in self.entries_of[slug]])
            for slug, header in self.headers.items()
        }


class People:
    """An `Accounts` in memory."""

    def __init__(self, *names: str) -> None:
        self.added: list[tuple[str, str, str]] = []
        self.names = list(names)

    async def users(self) -> list[str]:
        return self.names

    async def add(self, name: str, password: str, role: str, blogs: list[str]) -> None:
        assert not blogs
        self.names.append(name)
        self.added.append((name, password, role))

    @property
    def people(self) -> Self:
        return self


async def fill_into(book: Book, people: People | None = None) -> tuple[str, str] | None:
    accounts = cast(Accounts, people or People("dana"))
    return await fill(cast(Publishing, book), accounts)


async def filled() -> Book:
    book = Book()
    await fill_into(book)
    return book


async def test_fill_publishes_every_step_of_a_story() -> None:
    book = await filled()
    header, entries = book.contents()[MAIN]
    assert header["status"] == "ended"
    assert [e["published_at"] for e in entries] == [parse_time(e["published_at"]) for e in ENTRIES]
    assert [e["headline"] for e in entries if e.get("pinned")] == ["A man on the Moon"]
    assert [e["headline"] for e in entries if e["status"] == "retracted"] == [
        "Luna 15 reported down"
    ]
    assert {e["revision"] for e in entries} == {1, 2}


@pytest.mark.parametrize("keys_are_kept", [True, False])
async def test_fill_changes_nothing_when_the_blog_is_complete(keys_are_kept: bool) -> None:
    book = await filled()
    before = len(book.calls)
    if not keys_are_kept:
        book.known.clear()
    await fill_into(book)
    assert len(book.calls) == before


@pytest.mark.parametrize("keys_are_kept", [True, False])
async def test_fill_completes_a_blog_that_a_killed_run_left(keys_are_kept: bool) -> None:
    whole = await filled()
    for writes in range(len(whole.calls)):
        book = Book()
        book.writes_left = writes
        with pytest.raises(Killed):
            await fill_into(book)
        book.writes_left = None
        if not keys_are_kept:
            book.known.clear()
        await fill_into(book)
        assert book.contents() == whole.contents()


async def test_fill_keeps_editors_changes_when_it_completes_a_blog() -> None:
    book = Book()
    book.writes_left = 30
    with pytest.raises(Killed):
        await fill_into(book)
    book.writes_left = None
    deleted, altered = book.entries_of[MAIN][0], book.entries_of[MAIN][2]
    deleted.__dict__["deleted"] = True
    altered.__dict__.update(body="Ours.", revision=2)
    await fill_into(book)
    header, entries = book.contents()[MAIN]
    assert header["status"] == "ended"
    assert len(entries) == len(ENTRIES)
    assert altered.__dict__["body"] == "Ours."


async def test_fill_changes_nothing_when_a_complete_blog_was_reopened() -> None:
    book = await filled()
    book.headers[MAIN].__dict__["status"] = "live"
    before = len(book.calls)
    await fill_into(book)
    assert len(book.calls) == before


async def test_fill_creates_the_user_only_when_there_is_none() -> None:
    people = People()
    made = await fill_into(Book(), people)
    assert made
    assert people.added == [(*made, "admin")]
    assert made[0] == "editor"
    assert len(made[1]) >= 20
    assert await fill_into(Book(), people) is None
    assert len(people.added) == 1


async def test_fill_gives_each_user_another_password() -> None:
    assert await fill_into(Book(), People()) != await fill_into(Book(), People())


# -- replaying -----------------------------------------------------------------------------------


async def replay_into(book: Book) -> tuple[str, list[float], list[str]]:
    waits: list[float] = []
    lines: list[str] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    slug = await replay(cast(Publishing, book), 0.5, sleep, lines.append)
    return slug, waits, lines


async def test_replay_makes_every_change_in_order_after_a_gap() -> None:
    book = Book()
    slug, waits, lines = await replay_into(book)
    calls = [(what, fields) for what, where, fields in book.calls if where == slug]
    expected = [("create_blog", {**STORY.header, "slug": slug})]
    for step in STORY.steps:
        what = (
            "edit_blog" if step.entry is None else "create_entry" if step.is_new else "edit_entry"
        )
        fields = {name: v for name, v in step.fields.items() if name != "published_at"}
        expected.append((what, fields))
    assert calls == expected
    assert waits == [0.5] * len(STORY.steps)
    assert len(lines) == 1 + len(STORY.steps)


async def test_replay_ends_with_the_texts_of_the_filled_blog() -> None:
    book = await filled()
    slug, _, _ = await replay_into(book)
    contents = book.contents()
    for entry in (*contents[slug][1], *contents[MAIN][1]):
        del entry["published_at"]
    assert contents[slug][1] == contents[MAIN][1]
    assert contents[slug][0] == {**contents[MAIN][0], "slug": slug}


async def test_replay_numbers_its_slug_when_the_slug_is_taken() -> None:
    book = Book()
    slugs = [(await replay_into(book))[0] for _ in range(3)]
    assert slugs == ["apollo-11-replay", "apollo-11-replay-2", "apollo-11-replay-3"]


async def test_replay_publishes_its_successor_first() -> None:
    book = Book()
    slug, _, _ = await replay_into(book)
    url = book.headers[slug].__dict__["successor"].url
    assert url.removeprefix("/blogs/") in book.headers
