"""The sample blog: Apollo 11, published as an editor would publish it.

It exists so that whoever installs the program sees, one command later, what every feature looks
like on real coverage. `fill` publishes it with the times of 1969; `replay` publishes it live, step
by step, so that an open page has something to follow.

Rules: writes only through `publishing`, as any caller does; holds no text, which is in demo.toml.
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
from liveblog.editors.publishing import LIST_MAX, MARKS, Publishing
from liveblog.store.accounts import Accounts

MAIN: Final = "apollo-11"
USER: Final = "editor"
PASSWORD_CHARACTERS: Final = 24  # of 0-9a-z: 124 bits
REPLAYS_MAX: Final = 1_000  # numbered slugs tried before giving up

# What a step may meet in a blog others work on: it has ended, the entry is deleted, or was edited.
_OVERTAKEN: Final = (409, 410, 412)


class Step(NamedTuple):
    """One change of the story: of the entry `entry`, or of the blog's header when that is None."""

    entry: str | None  # the entry's name in the story, not its id
    is_new: bool
    revision: int | None  # which an edit expects; None: it makes no revision
    fields: dict[str, Any]  # as the API takes them


class Story(NamedTuple):
    """A blog as it begins, and everything that happens to it, in order."""

    header: dict[str, Any]
    steps: list[Step]

    @property
    def slug(self) -> str:
        return str(self.header["slug"])


# -- reading the file ------------------------------------------------------------------------------


@cache
def stories() -> dict[str, Story]:
    """Return the stories of demo.toml by slug, in the order in which they are to be published."""
    tables = tomllib.loads(Path(__file__).with_name("demo.toml").read_text("utf-8"))["blog"]
    return {table["slug"]: _story(table) for table in tables}


def _story(table: dict[str, Any]) -> Story:
    revisions: Counter[str] = Counter()
    header = {name: _field(value) for name, value in table.items() if name != "step"}
    return Story(header, [_step(step, revisions) for step in table["step"]])


def _step(table: dict[str, Any], revisions: Counter[str]) -> Step:
    """Return one step; `revisions` counts, by entry, those made so far."""
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
    """Return a value as the API's JSON has it: a time in RFC 3339, a text without outer breaks."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.strip("\n") if isinstance(value, str) else value


# -- publishing ------------------------------------------------------------------------------------


async def fill(publishing: Publishing, accounts: Accounts) -> tuple[str, str] | None:
    """Publish what is missing of the sample blogs; create the first user when there is none.

    A complete blog is left as it is, whatever editors have made of it since; one that a killed run
    left half filled is completed. Returns the new user's name and password, None when there is one.
    """
    for story in stories().values():
        await _complete(publishing, story)
    return await _first_user(accounts)


async def _first_user(accounts: Accounts) -> tuple[str, str] | None:
    if await accounts.users():
        return None
    password = new_id("", PASSWORD_CHARACTERS)
    await accounts.add_user(USER, password, "admin", [])
    return USER, password


async def _complete(publishing: Publishing, story: Story) -> None:
    """Bring a blog to the end of its story; change nothing when it is there."""
    if not await _create(publishing, story.header) and await _is_told(publishing, story.slug):
        return
    telling = _Telling(publishing, story.slug)
    await telling.recognise(story)
    for n, step in enumerate(story.steps, 1):
        await telling.perform(step, f"demo:{n}")


async def _create(publishing: Publishing, header: dict[str, Any]) -> bool:
    """Create a blog; return False when its slug is taken.

    Without a key of ours, on purpose: with one, a second run would hear that it created the blog.
    """
    try:
        await publishing.create_blog(SYSTEM, header, None)
    except Problem as problem:
        if problem.status != 409:
            raise
        return False
    return True


async def _is_told(publishing: Publishing, slug: str) -> bool:
    """Say whether a blog came to the end of its story: its last step ends it or sets the links."""
    blog = (await publishing.blog(SYSTEM, slug)).blog
    return blog.status == "ended" or bool(blog.full_coverage or blog.successor)


async def replay(
    publishing: Publishing,
    gap_s: float = 3.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    report: Callable[[str], object] = print,
) -> str:
    """Publish the coverage as if it happened now, into a new blog, a step every `gap_s` seconds.

    Returns the blog's slug. `report` gets a line for each step, after the step.
    """
    for story in stories().values():
        if story.slug != MAIN:  # the banner at the end links to it
            await _complete(publishing, story)
    story = stories()[MAIN]
    slug = await _create_numbered(publishing, story.header, f"{MAIN}-replay")
    report(f"/blogs/{slug}: {len(story.steps)} changes, one every {gap_s:g} s")
    telling = _Telling(publishing, slug)
    for n, step in enumerate(story.steps, 1):
        await sleep(gap_s)
        await telling.perform(_as_of_now(step), f"demo:{n}")
        report(_described(step))
    return slug


async def _create_numbered(publishing: Publishing, header: dict[str, Any], slug: str) -> str:
    """Create a blog under `slug`, or the first of `slug`-2, -3 … that is free; return which."""
    for taken in range(REPLAYS_MAX):
        candidate = f"{slug}-{taken + 1}" if taken else slug
        if await _create(publishing, {**header, "slug": candidate}):
            return candidate
    raise RuntimeError(f"{slug} and {REPLAYS_MAX - 1} numbered ones are all taken")


def _as_of_now(step: Step) -> Step:
    """Return a step without the stated instant, so that the store's clock dates it."""
    fields = {name: value for name, value in step.fields.items() if name != "published_at"}
    return step._replace(fields=fields)


def _described(step: Step) -> str:
    if step.entry is None:
        return f"header: {step.fields.get('status') or step.fields.get('title')}"
    if step.is_new:
        return f"entry: {step.fields.get('headline') or step.fields['body'][:60]}"
    return f"edit: {step.entry}, {', '.join(step.fields)}"


class _Telling:
    """One run of a story into a blog: knows which entry there bears which of the story's names."""

    def __init__(self, publishing: Publishing, slug: str) -> None:
        self._publishing, self._slug = publishing, slug
        self._ids: dict[str, str] = {}

    async def recognise(self, story: Story) -> None:
        """Find what an earlier run published, by its stated instants, of which no two are the same.

        Idempotency keys do for a day; this does for ever.
        """
        names = {
            parse_time(step.fields["published_at"]): step.entry
            for step in story.steps
            if step.entry and step.is_new
        }
        for status in PUBLISHED:
            found, _ = await self._publishing.entries(
                SYSTEM, self._slug, limit=LIST_MAX, status=status
            )
            for entry in (written.entry for written in found):
                if entry.published_at in names:
                    self._ids[names[entry.published_at]] = entry.id

    async def perform(self, step: Step, key: str) -> None:
        """Make one change, once under `key`; what others did to the entry meanwhile stands."""
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
