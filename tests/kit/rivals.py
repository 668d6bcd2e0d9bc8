"""Five editors who save the same entries and the same header at the desk, as its script does.

Each save is based on what its editor was shown last, which may be old. A save that replaces a text
which its editor was not shown is a silent overwrite.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx2

from kit.forms import sent
from kit.servers import Editor, Server, http
from kit.windows import PASSWORD
from liveblog.clock import now_ms
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect

RIVALS: Final = 5
ENTRIES: Final = 20
HEADER: Final = ""  # the header among the entries' ids
OWN_ONLY: Final = 0.3  # the share of conflicts in which an editor keeps only the own version
HEADERS: Final = {"accept": "application/json", "sec-fetch-site": "same-origin"}

Boxes = dict[str, Any]


class Rival:
    """One editor; `shown` has all texts that the editor was shown, by the entry's id and the box."""

    def __init__(self, client: httpx2.AsyncClient, name: str, slug: str, seed: str) -> None:
        self._client, self.name, self._path = client, name, f"/desk/blogs/{slug}"
        self._chance = random.Random(seed)
        self._forms: dict[str, Boxes] = {}
        self.shown: set[tuple[str, str, str]] = set()
        self.saved: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()

    async def open(self, id: str) -> None:
        """Open a form of the desk."""
        path = f"{self._path}/entries/{id}" if id else self._path
        page = (await self._client.get(path)).text
        boxes = sent(page, "edit" if id else "header")
        self._see(id, {name: value for name, value in boxes.items() if name != "idempotency_key"})

    async def save(self, ids: list[str], number: int) -> None:
        """Save one of the forms at random with a new mark, and merge what conflicts."""
        id = self._chance.choice(ids)
        mark = f"{self.name}-{number}"
        boxes = self._forms[id]
        box = self._chance.choice(_boxes(id))
        while True:
            base = boxes[box]
            text = mark if box == "note" else f"{base} {mark}".strip()
            answer = await self._post(id, {**boxes, box: text})
            content = answer.json()
            self.counts[str(answer.status_code)] += 1
            if answer.status_code != 412:
                break
            fresh = {it: text for it, text in content["values"].items() if _is_of_form(it)}
            merged = {**boxes, **fresh, **content["taken"], **content["both"]}
            self._see(id, merged)
            boxes = {**merged, box: base} if self._chance.random() < OWN_ONLY else merged
        assert answer.status_code == 200, answer.text
        self.saved.append((id, mark))
        self._see(id, {**boxes, **content["values"]})

    async def _post(self, id: str, boxes: Boxes) -> httpx2.Response:
        path = f"{self._path}/entries/{id}" if id else f"{self._path}/header"
        return await self._client.post(path, data=boxes, headers=HEADERS)

    def _see(self, id: str, boxes: Boxes) -> None:
        self._forms[id] = boxes
        self.shown |= {(id, box, _plain(boxes[box])) for box in _boxes(id)}


def _boxes(id: str) -> tuple[str, ...]:
    return ("body", "note") if id else ("summary",)


def _is_of_form(box: str) -> bool:
    return box == "revision" or box.endswith("_was")


def _plain(text: str | None) -> str:
    return (text or "").replace("\r\n", "\n").strip()


@asynccontextmanager
async def _rival(server: Server, slug: str, name: str, seed: int) -> AsyncIterator[Rival]:
    async with connect(server.store_url) as client:
        accounts = Accounts(client, now_ms)
        await accounts.people.add(name, PASSWORD, "editor")
        user = await accounts.people.stored(name)
        assert user
        secret = await accounts.open_session(user.caller)
    async with http(base_url=server.url, cookies={"liveblog": secret}) as calls:
        yield Rival(calls, name, slug, f"{seed} {name}")


class Contest:
    """Lets the rivals save, and judges all versions that the store keeps.

    `silent` are the versions that were replaced by an editor who was not shown them, `vanished` the
    marks that were saved and are in no version.
    """

    def __init__(self, server: Server, calls: Editor, seed: int = 0) -> None:
        self._server, self._calls, self._seed = server, calls, seed
        self.counts: Counter[str] = Counter()
        self.silent: list[str] = []
        self.vanished: list[str] = []

    async def run(self, saves: int) -> None:
        """Let each of the rivals save `saves` times, all at once."""
        slug = str((await self._calls.blog())["slug"])
        made = [await self._calls.publish(slug, f"Stored {number}.") for number in range(ENTRIES)]
        ids = [HEADER, *(it["id"] for it in made)]
        names = [f"rival{self._seed}-{number}" for number in range(RIVALS)]
        async with AsyncExitStack() as stack:
            entered = [_rival(self._server, slug, name, self._seed) for name in names]
            rivals = [await stack.enter_async_context(it) for it in entered]
            await asyncio.gather(*(self._work(it, ids, saves) for it in rivals))
        for id in ids:
            await self._judge(slug, id, {it.name: it for it in rivals})

    async def _work(self, rival: Rival, ids: list[str], saves: int) -> None:
        for id in ids:
            await rival.open(id)
        for number in range(saves):
            await rival.save(ids, number)
        self.counts.update(rival.counts)

    async def _judge(self, slug: str, id: str, rivals: dict[str, Rival]) -> None:
        versions = await self._versions(f"/{slug}/entries/{id}" if id else f"/{slug}")
        texts = [_plain(it[box]) for it in versions for box in _boxes(id)]
        for before, after in itertools.pairwise(versions):
            rival = rivals[after["author"]]
            for box in _boxes(id):
                text = _plain(before[box])
                if (id, box, text) not in rival.shown:
                    self.silent.append(f"{id or 'header'} {box}: {text!r} by {rival.name}")
        saved = [mark for it in rivals.values() for of, mark in it.saved if of == id]
        words = {word for text in texts for word in text.split()}
        self.vanished += [mark for mark in saved if mark not in words]

    async def _versions(self, path: str) -> list[Any]:
        """Return all versions of an entry or the header, the oldest first."""
        found: list[Any] = []
        query = "?limit=100"
        while True:
            page = await self._calls.ok("GET", f"{path}/revisions{query}")
            numbers = [it["revision"] for it in page["revisions"]]
            found += [await self._calls.ok("GET", f"{path}/revisions/{n}") for n in numbers]
            if page["next"] is None:
                return found[::-1]
            query = f"?limit=100&before={page['next']}"
