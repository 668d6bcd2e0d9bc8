"""The sample blog: Apollo 11, published as an editor would publish it.

The sample shows an operator every feature, one command after the installation. `fill` publishes the
blog with the times of 1969. `replay` publishes the blog live, step by step, so that an open page
receives changes.

Rules: writes only through `publishing`, as any caller does. All texts are in demo.toml.
"""

import asyncio
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from liveblog.blog.instant import parse_time
from liveblog.blog.model import PUBLISHED, SYSTEM, new_id
from liveblog.blog.problem import Problem
from liveblog.editors.decisions import MARKS
from liveblog.editors.publishing import Publishing
from liveblog.editors.reading import LIST_MAX
from liveblog.store.accounts import Accounts

MAIN: Final = "apollo-11"
USER: Final = "editor"
PASSWORD_CHARACTERS: Final = 24  # each is one of 36 letters and digits: 124 random bits in all
REPLAYS_MAX: Final = 1_000  # slugs that `replay` tries before it fails

# HTTP statuses of a step that an editor has made impossible: the editor ended the blog, or deleted
# or edited the entry.
_OVERTAKEN: Final = (409, 410, 412)


class Step(NamedTuple):
    """One change of the story: of an entry, or of the blog's header."""

    entry: str | None  # the entry's name in demo.toml, not its id; None: a change of the header
    is_new: bool
    # The revision that an edit replaces. None for a new entry, for the header, and for an edit of
    # only key, key_title and pinned, which makes no revision.
    revision: int | None
    fields: dict[str, Any]  # the JSON body of the API call


class Story(NamedTuple):
    """A blog's first header, and all its changes in order."""

    header: dict[str, Any]
    steps: list[Step]

    @property
    def slug(self) -> str:
        return str(self.header["slug"])


# -- reading the file ------------------------------------------------------------------------------


@cache
def stories() -> dict[str, Story]:
    """Return the stories of demo.toml by slug, in the order of their publication."""
    tables = tomllib.loads(Path(__file__).with_name("demo.toml").read_text("utf-8"))["blog"]
    return {table["slug"]: _story(table) for table in tables}


def _story(table: dict[str, Any]) -> Story:
    revisions: Counter[str] = Counter()
    header = {name: _field(value) for name, value in table.items() if name != "step"}
    return Story(header, [_step(step, revisions) for step in table["step"]])


def _step(table: dict[str, Any], revisions: Counter[str]) -> Step:
    """Return the step that one table of demo.toml describes.

    `revisions` maps an entry's name to its last revision. A step that makes a revision
    updates the map.
    """
    fields = {name: _field(value) for name, value in table.items()}
    published, edited = fields.pop("publish", None), fields.pop("edit", None)
    if published:
        revisions[published] = 1
        return Step(published, True, None, {"published_at": fields.pop("at"), **fields})
    if not edited or fields.keys() <= MARKS:
        return Step(edited, False, None, fields)
    revisions[edited] += 1
    return Step(edited, False, revisions[edited] - 1, fields)


def _field(value: Any) -> Any:
    """Return a value in a form for the API: a time in RFC 3339, text without outer line breaks."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.strip("\n") if isinstance(value, str) else value


# -- publishing ------------------------------------------------------------------------------------


async def fill(publishing: Publishing, accounts: Accounts) -> tuple[str, str] | None:
    """Publish the changes of demo.toml that the sample blogs lack, and create the first user.

    A complete blog stays unchanged, since editors may have edited it. A blog that a killed run left
    incomplete gets the missing entries. Return the new user's name and password; None when there
    was a user already.
    """
    for story in stories().values():
        await _complete(publishing, story)
    return await _first_user(accounts)


async def _first_user(accounts: Accounts) -> tuple[str, str] | None:
    if await accounts.users():
        return None
    password = new_id("", PASSWORD_CHARACTERS)
    await accounts.people.add(USER, password, "admin", [])
    return USER, password


async def _complete(publishing: Publishing, story: Story) -> None:
    """Publish the steps that a blog lacks; change nothing when the blog is complete."""
    if not await _create(publishing, story.header) and await _is_complete(publishing, story.slug):
        return
    run = _Run(publishing, story.slug)
    await run.recognise(story)
    for n, step in enumerate(story.steps, 1):
        await run.perform(step, f"demo:{n}")


async def _create(publishing: Publishing, header: dict[str, Any]) -> bool:
    """Create a blog; return False when its slug is taken.

    The call has no idempotency key. With a key, a second run would receive the first run's success,
    and the function would return True.
    """
    try:
        await publishing.create_blog(SYSTEM, header, None)
    except Problem as problem:
        if problem.status != 409:
            raise
        return False
    return True


async def _is_complete(publishing: Publishing, slug: str) -> bool:
    """Return whether the last step of a blog's story was published.

    The header shows this, since each story's last step ends the blog or sets a link in the header.
    """
    blog = (await publishing.blog(SYSTEM, slug)).blog
    return blog.status == "ended" or bool(blog.full_coverage or blog.successor)


async def replay(
    publishing: Publishing,
    gap_s: float = 3.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    report: Callable[[str], object] = print,
) -> str:
    """Publish the story MAIN live into a new blog, a step every `gap_s` seconds.

    Return the blog's slug. `report` gets a line for each step, after the step.
    """
    # Publish the other story first, since the last step of MAIN links to the other story's blog.
    for story in stories().values():
        if story.slug != MAIN:
            await _complete(publishing, story)
    story = stories()[MAIN]
    slug = await _create_numbered(publishing, story.header, f"{MAIN}-replay")
    report(f"/blogs/{slug}: {len(story.steps)} changes, one every {gap_s:g} s")
    run = _Run(publishing, slug)
    for n, step in enumerate(story.steps, 1):
        await sleep(gap_s)
        await run.perform(_as_of_now(step), f"demo:{n}")
        report(_described(step))
    return slug


async def _create_numbered(publishing: Publishing, header: dict[str, Any], slug: str) -> str:
    """Create a blog under the first free slug of `slug`, `slug`-2, `slug`-3 …; return that slug."""
    for taken in range(REPLAYS_MAX):
        candidate = f"{slug}-{taken + 1}" if taken else slug
        if await _create(publishing, {**header, "slug": candidate}):
            return candidate
    raise RuntimeError(f"{slug} and {REPLAYS_MAX - 1} numbered slugs are all taken")


def _as_of_now(step: Step) -> Step:
    """Return a step without the time from demo.toml, so that the store sets the present time."""
    fields = {name: value for name, value in step.fields.items() if name != "published_at"}
    return step._replace(fields=fields)


def _described(step: Step) -> str:
    if step.entry is None:
        return f"header: {step.fields.get('status') or step.fields.get('title')}"
    if step.is_new:
        return f"entry: {step.fields.get('headline') or step.fields['body'][:60]}"
    return f"edit: {step.entry}, {', '.join(step.fields)}"


class _Run:
    """Publishes a story into one blog.

    Remembers the ids of the published entries by their names in demo.toml, for later edits.
    """

    def __init__(self, publishing: Publishing, slug: str) -> None:
        self._publishing, self._slug = publishing, slug
        self._ids: dict[str, str] = {}

    async def recognise(self, story: Story) -> None:
        """Find the ids of the entries that an earlier run published.

        An entry is found by its `published_at`: no two entries of a story have the same time. The
        store forgets idempotency keys after a day, so they cannot find the entries.
        """
        names = {
            parse_time(step.fields["published_at"]): step.entry
            for step in story.steps
            if step.entry and step.is_new
        }
        for status in PUBLISHED:
            page = await self._publishing.entries(SYSTEM, self._slug, limit=LIST_MAX, status=status)
            for entry in (written.entry for written in page.entries):
                if entry.published_at in names:
                    self._ids[names[entry.published_at]] = entry.id

    async def perform(self, step: Step, key: str) -> None:
        """Make one change under an idempotency key.

        Skip the change when an editor has ended the blog, or has deleted or edited the entry.
        """
        if step.entry is None:
            await self._publishing.edit_blog(SYSTEM, self._slug, step.fields, key)
            return
        try:
            await (self._publish if step.is_new else self._edit)(step, step.entry, key)
        except Problem as problem:
            if problem.status not in _OVERTAKEN:
                raise

    async def _publish(self, step: Step, name: str, key: str) -> None:
        if name not in self._ids:
            result = await self._publishing.create_entry(SYSTEM, self._slug, step.fields, key)
            self._ids[name] = result.entry.id

    async def _edit(self, step: Step, name: str, key: str) -> None:
        if name in self._ids:
            await self._publishing.edit_entry(
                SYSTEM, self._slug, self._ids[name], step.fields, step.revision, key
            )
