"""Sample blogs to look at and to measure: the demo, a football match, and all kinds of changes."""

import tomllib
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, get_args

from kit.servers import Editor, Server
from liveblog.clock import now_ms
from liveblog.commands.story import fill
from liveblog.editors.publishing import Publishing
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.connect import connect

Language = Literal["en", "ar"]  # one for each writing direction

LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
DEMO: Final = "/blogs/apollo-11"
SHORT: Final = "The council votes at nine, and the doors stay open until the last speaker is done."
LONG: Final = "\n\n".join([f"{SHORT} Outside the rain goes on. {SHORT}"] * 6)

# SIGHTS lists the pages that audits look at: each kind in every language. Pages outside of blogs
# are in English only.
_BLOGS: Final = ("reader page", "permalink", "upcoming", "ended")
_OTHERS: Final = {"home": "/", "desk sign-in": "/desk/sign-in"}
SIGHTS: Final[tuple[tuple[str, Language], ...]] = (
    *product(_BLOGS, LANGUAGES),
    *((kind, "en") for kind in _OTHERS),
)


async def fill_demo(server: Server) -> None:
    """Publish the blog of `liveblog demo`."""
    async with connect(server.store_url) as client:
        await fill(Publishing(Broker(client), lambda: 4_000_000_000_000), Accounts(client, now_ms))


@cache
def football() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


async def fill_football(editor: Editor, language: Language) -> dict[str, str]:
    """Publish the football match in an empty store; return the pages' paths by kind.

    All times are fixed, in 2025.
    """
    story = football()[language]
    entries = await _create_blog(editor, story, language, status="live")
    await _create_blog(editor, story["upcoming"], language, status="upcoming")
    await _create_blog(editor, story["ended"] | {"entries": story["entries"][:3]}, language)
    await editor.alter(story["ended"]["slug"], status="ended")
    page = f"/blogs/{story['slug']}"
    return _OTHERS | {
        "reader page": page,
        "permalink": f"{page}/entries/{entries[2]['id']}",
        "upcoming": f"/blogs/{story['upcoming']['slug']}",
        "ended": f"/blogs/{story['ended']['slug']}",
    }


async def _create_blog(
    editor: Editor, story: dict[str, Any], language: str, status: str = "live"
) -> list[Any]:
    fields = {n: v for n, v in story.items() if n not in ("entries", "upcoming", "ended")}
    await editor.ok("POST", "", fields | {"language": language, "status": status})
    return [await _publish(editor, story["slug"], dict(it)) for it in story.get("entries", [])]


async def _publish(editor: Editor, slug: str, fields: dict[str, Any]) -> Any:
    at: datetime = fields.pop("published_at")
    edit = fields.pop("edit", None)
    entry = await editor.publish(slug, **fields, published_at=at.isoformat())
    return await editor.edit(entry, **edit) if edit else entry


def offset_of(answer: Any) -> int:
    """Return the offset in an answer of the API."""
    return int(answer["position"].split(".")[1])


class Changes:
    """Makes changes of every kind to one blog, in the order of _CYCLE.

    A cycle publishes as many entries as it deletes. `entries` are at least 8 entries that the
    changes alter, oldest first. An object allows one caller at a time. For
    more changes at once, use several objects with different entries.
    """

    def __init__(self, editor: Editor, entries: list[Any]) -> None:
        self._editor, self._slug = editor, entries[0]["blog"]
        self.entries = [*entries]
        self._made = 0

    async def make(self) -> int:
        """Make the next change and return its offset."""
        kind = _CYCLE[self._made % len(_CYCLE)]
        self._made += 1
        return offset_of(await kind(self))

    async def make_many(self, count: int) -> int:
        """Make `count` changes one after another, and return the offset of the last."""
        return [await self.make() for _ in range(count)][-1]

    async def publish(self) -> Any:
        entry = await self._editor.publish(self._slug, SHORT, headline=f"Update {self._made}")
        self.entries.append(entry)
        return entry

    async def lengthen(self) -> Any:
        return await self._edit(-1, body=LONG)

    async def shorten(self) -> Any:
        return await self._edit(-3, body=SHORT)

    async def correct(self) -> Any:
        return await self._edit(-4, note_kind="correction", note=SHORT)

    async def retract(self) -> Any:
        return await self._edit(-5, status="retracted", note="This was another meeting.")

    async def pin(self) -> Any:
        return await self._editor.mark(self.entries[-2], pinned=True)

    async def unpin(self) -> Any:
        return await self._editor.mark(self.entries[-2], pinned=False)

    async def make_key(self) -> Any:
        return await self._editor.mark(self.entries[-3], key=True)

    async def alter_header(self) -> Any:
        summary = LONG if self._made % 2 else SHORT
        return await self._editor.alter(self._slug, dek=f"{self._made} changes.", summary=summary)

    async def delete(self) -> Any:
        return await self._editor.delete(self.entries.pop(0))

    async def _edit(self, which: int, **fields: Any) -> Any:
        self.entries[which] = await self._editor.edit(self.entries[which], **fields)
        return self.entries[which]


# Deletions remove the oldest entries, edits the newest five: no edit meets a deleted entry.
_CYCLE: Final[tuple[Callable[[Changes], Awaitable[Any]], ...]] = (
    Changes.publish,
    Changes.publish,
    Changes.lengthen,
    Changes.pin,
    Changes.make_key,
    Changes.alter_header,
    Changes.shorten,
    Changes.correct,
    Changes.unpin,
    Changes.retract,
    Changes.delete,
    Changes.delete,
    Changes.alter_header,
)
