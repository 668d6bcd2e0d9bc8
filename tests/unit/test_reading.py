"""Permissions to read, and results of repeated calls, with entries in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from liveblog.blog.model import PUBLISHED, Blog, Caller, Entry, EntryStatus, Position
from liveblog.blog.problem import Damaged, Problem
from liveblog.editors import reading
from liveblog.editors.reading import BlogSearch, Reading
from liveblog.editors.results import BlogResult, EntryResult, Results
from liveblog.store.blogs import Blogs
from liveblog.store.codec import StoredBlog, StoredEntry
from liveblog.store.entries import Entries
from liveblog.store.revisions import Earlier, EarlierRevisions
from liveblog.store.writes import Outcome

SLUG = "council"
EDITOR = Caller("user:dana", "editor")
CONTRIBUTOR = Caller("user:kim", "contributor")
AT = Position("k1", 9, "0123abcd")


def entry(number: int, status: EntryStatus = "published", **fields: object) -> Entry:
    """Return an entry with `number` in its id; if published, also as its offset and `order`."""
    made = Entry(id=f"e{number:012d}", status=status, body="Text.", author=EDITOR.ident)
    if status in PUBLISHED:
        made = replace(made, order=number, offset=number)
    return replace(made, **fields)


class HeldBlogs:
    """One blog in memory; the store has lost the blog when `held` is None."""

    def __init__(self) -> None:
        self.held: StoredBlog | None = StoredBlog(Blog(slug=SLUG, title="Council"), AT, b"raw")

    async def read(self, slug: str, *, or_damaged: bool = False) -> StoredBlog | None:
        return self.held if slug == SLUG else None


class HeldEntries:
    """Entries in memory."""

    def __init__(self, *entries: Entry) -> None:
        self.held = {it.id: it for it in entries}

    async def stored(self, _: str, id: str) -> StoredEntry | None:
        found = self.held.get(id)
        return StoredEntry(found, b"raw", 0) if found else None

    async def published(self, _: str, id: str) -> Entry | None:
        found = self.held.get(id)
        return found if found and found.order else None

    async def positions(self, _: str, entries: Sequence[Entry]) -> list[Position | None]:
        return [AT._replace(offset=it.offset) if it.offset else None for it in entries]

    async def below(self, _: str, order: int | None, limit: int) -> list[Entry]:
        orders = sorted(
            (it for it in self.held.values() if it.order), key=lambda e: -(e.order or 0)
        )
        return [it for it in orders if order is None or (it.order or 0) < order][:limit]

    async def drafts(self, _: str) -> list[Entry]:
        return [it for it in self.held.values() if not it.order and not it.deleted]


def reads(*entries: Entry) -> Reading:
    return Reading(cast(Blogs, HeldBlogs()), cast(Entries, HeldEntries(*entries)))


# -- reading


@pytest.mark.parametrize(
    ("caller", "slug"),
    [(EDITOR, "other"), (EDITOR, "../x"), (EDITOR._replace(blogs=("other",)), SLUG)],
)
async def test_blog_is_404_when_it_is_unknown_or_the_caller_is_not_bound_to_it(
    caller: Caller, slug: str
) -> None:
    assert (await reads().blog(EDITOR, SLUG)).position == AT
    with pytest.raises(Problem) as caught:
        await reads().blog(caller, slug)
    assert caught.value.status == 404


async def test_entry_is_404_when_it_is_unknown_or_another_contributors_draft() -> None:
    draft = entry(1, "draft")
    for caller, id in ((EDITOR, "e000000000009"), (EDITOR, "#blog"), (CONTRIBUTOR, draft.id)):
        with pytest.raises(Problem) as caught:
            await reads(draft).entry(caller, SLUG, id)
        assert caught.value.status == 404
    assert (await reads(draft).entry(EDITOR, SLUG, draft.id)).entry == draft


async def test_pages_of_published_entries_follow_each_other_and_end() -> None:
    entries = [entry(n, "retracted" if n == 3 else "published") for n in range(1, 6)]
    first, before, _ = await reads(*entries).published(SLUG, None, 2, ("published",))
    assert ([it.order for it in first], before) == ([5, 4], entries[3].id)
    second, end, _ = await reads(*entries).published(SLUG, before, 2, ("published",))
    assert ([it.order for it in second], end) == ([2, 1], None)


async def test_page_of_a_rare_status_is_short_when_too_many_entries_were_scanned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "SCANNED_MAX", 4)
    monkeypatch.setattr(reading, "LIST_MAX", 2)
    entries = [entry(1, "retracted"), *(entry(n) for n in range(2, 8))]
    found, before, _ = await reads(*entries).published(SLUG, None, 5, ("retracted",))
    assert (found, before) == ([], entries[3].id)
    found, before, _ = await reads(*entries).published(SLUG, before, 5, ("retracted",))
    assert ([it.id for it in found], before) == ([entries[0].id], None)


async def test_before_is_422_when_no_such_entry_is_in_the_list() -> None:
    held = reads(entry(1), entry(2, "draft"))
    for id in ("e000000000002", "e000000000009", "x"):
        with pytest.raises(Problem) as caught:
            await held.published(SLUG, id, 5, PUBLISHED)
        assert caught.value.errors[0][0] == "/before"
    with pytest.raises(Problem):
        await held.drafts_page(EDITOR, SLUG, "e000000000001", 5, "draft")


async def test_drafts_are_the_callers_own_when_the_caller_is_a_contributor() -> None:
    own = entry(4, "draft", author=CONTRIBUTOR.ident)
    held = reads(entry(1, "draft"), entry(2, "submitted"), entry(3, "draft"), own)
    assert await held.drafts(CONTRIBUTOR, SLUG) == [own]
    first, before, _ = await held.drafts_page(EDITOR, SLUG, None, 1, "draft")
    assert before == first[0].id
    second, end, _ = await held.drafts_page(EDITOR, SLUG, before, 5, "draft")
    assert ([it.id for it in [*first, *second]], end) == (
        [entry(1).id, entry(3).id, own.id],
        None,
    )


# -- results


def replay(revision: int = 1, position: Position | None = AT) -> Outcome[Entry]:
    return Outcome(status=201, id=entry(1).id, revision=revision, position=position)


@dataclass
class HeldRevisions:
    """The earlier revisions of one entry, in memory."""

    held: Sequence[Entry]

    async def entry(self, _: str, id: str, revision: int) -> Earlier[Entry] | None:
        found = (it for it in self.held if (it.id, it.revision) == (id, revision))
        return next((Earlier(it, b"raw") for it in found), None)


def results(*entries: Entry, revisions: Sequence[Entry] = ()) -> Results:
    held, earlier = HeldEntries(*entries), HeldRevisions(revisions)
    return Results(cast(Blogs, HeldBlogs()), cast(Entries, held), cast(EarlierRevisions, earlier))


async def test_result_of_a_first_call_is_the_record_that_was_stored() -> None:
    outcome = Outcome(status=201, id=entry(1).id, revision=1, position=AT, record=entry(1))
    assert await results().entry(SLUG, outcome) == EntryResult(entry(1), AT, 201)


async def test_result_of_a_repeated_call_is_the_revision_that_the_call_made() -> None:
    first, now = entry(1, body="First."), entry(1, body="Second.", revision=2)
    replayed = await results(now, revisions=[first]).entry(SLUG, replay())
    assert replayed == EntryResult(replace(first, offset=AT.offset), AT, 201, replayed=True)
    same = await results(now).entry(SLUG, replay(2))
    assert same.entry == replace(now, offset=AT.offset)


@pytest.mark.parametrize("held", [[], [entry(1, deleted=True)], [entry(1, revision=2)]])
async def test_result_of_a_repeated_call_is_410_when_its_text_is_gone(held: list[Entry]) -> None:
    with pytest.raises(Problem) as caught:
        await results(*held).entry(SLUG, replay())
    assert caught.value.status == 410


async def test_result_of_a_repeated_delete_says_whether_it_is_a_takedown_by_now() -> None:
    for takedown in (True, False):
        held = entry(1, deleted=True, takedown=takedown)
        done = await results(held).delete(SLUG, replay())
        assert (done.takedown, done.offset, done.replayed) == (takedown, AT.offset, True)
    never_published = await results(held).delete(SLUG, replay(position=None))
    assert (never_published.offset, never_published.position) == (None, None)


@pytest.mark.parametrize("revision", [0, 1])
async def test_result_of_a_repeated_edit_of_a_blog_is_the_same_revision_now(revision: int) -> None:
    outcome: Outcome[Blog] = Outcome(status=200, id="#blog", revision=revision, position=AT)
    blogs = HeldBlogs()
    assert blogs.held
    found = Results(cast(Blogs, blogs), cast(Entries, HeldEntries()), cast(EarlierRevisions, None))
    assert await found.blog(SLUG, outcome) == BlogResult(blogs.held.blog, AT, 200, replayed=True)
    blogs.held = None
    with pytest.raises(Damaged):
        await found.blog(SLUG, outcome)


# -- searches

FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@given(st.text(max_size=30), st.sampled_from(FORMS))
def test_search_compares_all_unicode_forms_and_cases_alike(text: str, form: Any) -> None:
    compared = reading.searchable(text)
    assert reading.searchable(normalize(form, text)) == compared
    assert reading.searchable(normalize("NFD", text).casefold()) == compared
    assert reading.searchable(compared) == compared


@pytest.mark.parametrize(
    ("q", "title"),
    [
        ("e\u0301lection", "\u00c9lection municipale"),
        ("\u00c9LECTION", "E\u0301lection municipale"),
        ("m\u00fcnchen", "MU\u0308NCHEN"),
        ("STRASSE", "Stra\u00dfenbahn"),
        ("stra\u1e9ee", "STRASSENBAHN"),
        ("\u03bf\u03b4\u03bf\u03c2", "\u039f\u0394\u039f\u03a3"),
        ("council", "\uff23\uff2f\uff35\uff2e\uff23\uff29\uff2c"),
        ("office", "O\ufb03ce"),
        ("\uac00", "\u1100\u1161"),
        ("two  words", "Words\u00a0and Two"),
        ("COUNCIL-2", "untitled"),
    ],
)
def test_search_finds_a_title_in_another_unicode_form(q: str, title: str) -> None:
    assert BlogSearch(q).finds(Blog(slug="council-2", title=title))
    assert not BlogSearch(f"{q} other").finds(Blog(slug="council-2", title=title))


def test_search_keeps_letters_with_other_marks_apart() -> None:
    assert not BlogSearch("e\u0300lection").finds(Blog(slug="a", title="\u00c9lection"))
    assert not BlogSearch("elected").finds(Blog(slug="a", title="\u00c9lected"))
