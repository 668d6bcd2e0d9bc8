"""Editors who write without pause: they publish, edit, pin, delete and restore entries.

An editor repeats each call with its idempotency key until an answer confirms or refuses it. The
history gets every confirmed change. Each text starts with a mark that no other call has.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import httpx2

from kit.judge import HEADER, Deed, History, Position, mark_of
from kit.waiting import SCALE, until

CALLS: Final = ("publish",) * 5 + ("edit",) * 3 + ("pin", "delete", "restore", "summary")
TRY_S: Final = 2.0 * SCALE  # a try's deadline; a call takes 1.2 s with a latency of 300 ms
PAUSE_S: Final = 0.15  # between two tries; at the desk, the editor decides when to try again
FEW: Final = 3  # an editor with fewer entries publishes, and makes no other call

_serial = itertools.count(1)
Body = dict[str, Any]


class Held(NamedTuple):
    """An entry as its editor last saw it."""

    id: str
    order: int
    revision: int
    mark: str
    is_deleted: bool = False


class Newsroom:
    """Runs three editors of one blog. Of its entries, each editor alters only those it published.

    `unsure` counts repeated calls. `refused` lists calls that failed because the store had lost
    their entry or its revision. A `patient` newsroom repeats every failed call, for faults in which
    the store lacks the editor or the blog.
    """

    def __init__(self, urls: Sequence[str], token: str, history: History) -> None:
        self.urls = list(urls)
        self.history = history
        self.gap_s = 0.12  # an editor's mean pause between two calls
        self.text = "the council votes at nine."
        self.published = 0
        self.acknowledged: list[Position] = []
        self.unsure = 0
        self.refused: list[str] = []
        self.patient = False
        self._headers = {"authorization": f"Bearer {token}"}
        self._over = asyncio.Event()
        self._works = asyncio.Event()
        self._works.set()
        self._busy = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Newsroom":
        self._tasks = [asyncio.create_task(self._edit(number)) for number in range(3)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def rest(self) -> None:
        """Wait until every editor has finished its call; all editors pause until `resume`."""
        self._works.clear()
        await until(lambda: not self._busy, 30)

    def resume(self) -> None:
        self._works.set()

    async def close(self) -> None:
        """Stop every editor after its present call."""
        self._over.set()
        self.resume()
        await asyncio.gather(*self._tasks)

    async def _edit(self, number: int) -> None:
        transport = httpx2.AsyncHTTPTransport(verify=False)
        chance = random.Random(number)
        async with httpx2.AsyncClient(transport=transport, timeout=TRY_S) as client:
            editor = _Editor(self, client, chance)
            while not self._over.is_set():
                await self._works.wait()
                self._busy += 1
                await editor.act()
                self._busy -= 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.gap_s * chance.uniform(0.5, 1.5)):
                        await self._over.wait()

    async def certain(
        self, client: httpx2.AsyncClient, method: str, path: str, body: Body | None, **headers: str
    ) -> httpx2.Response:
        """Repeat a call until an answer confirms it, or rejects it."""
        key = f"key-{next(_serial)}-{id(self)}"
        sent = {**self._headers, **headers, "idempotency-key": key}
        self.published += 1
        for turn in itertools.count():
            url = self.urls[(turn + hash(key)) % len(self.urls)]
            with contextlib.suppress(httpx2.HTTPError, OSError):
                answer = await client.request(
                    method, f"{url}/api/blogs/{self.history.slug}{path}", json=body, headers=sent
                )
                if answer.status_code != 503 and not (self.patient and answer.is_error):
                    return answer
                assert self.patient or answer.headers["retry-after"]
            self.unsure += 1
            await asyncio.sleep(PAUSE_S)
        raise AssertionError

    def note_by_hand(self, entry: Body) -> None:
        """Note in the history an entry that the test published; `entry` is the API's answer."""
        self.published += 1
        self.note_entry(entry)

    def note_entry(self, entry: Body) -> None:
        """Add an entry's confirmed write to the history; `entry` is the API's answer."""
        self.note(entry["position"], Deed(entry["id"], entry["order"], mark_of(entry)))

    def note(self, position: str, deed: Deed) -> None:
        at = Position.of(position)
        self.history.note(at, deed)
        self.acknowledged.append(at)


class _Editor:
    def __init__(
        self, newsroom: Newsroom, client: httpx2.AsyncClient, chance: random.Random
    ) -> None:
        self._newsroom, self._client, self._chance = newsroom, client, chance
        self._held: list[Held] = []

    async def act(self) -> None:
        call = "publish" if len(self._held) < FEW else self._chance.choice(CALLS)
        await getattr(self, f"_{call}")()

    def _pick(self, *, deleted: bool = False) -> Held | None:
        chosen = [held for held in self._held if held.is_deleted is deleted]
        return self._chance.choice(chosen) if chosen else None

    def _mark(self, held: Held | None = None) -> str:
        serial = held.mark.partition("-")[0] if held else f"m{next(_serial)}"
        return f"{serial}-{held.revision + 1 if held else 1}"

    async def _call(
        self, method: str, path: str, body: Body | None, held: Held | None, **headers: str
    ) -> Body | None:
        """Call the API, return the answer; None when the store lost the entry or its revision."""
        answer = await self._newsroom.certain(self._client, method, path, body, **headers)
        if answer.is_success:
            done: Body = answer.json()
            return done
        assert held, answer.text
        assert answer.status_code in (404, 409, 410, 412), answer.text
        self._newsroom.refused.append(f"{method} {path}: {answer.text}")
        self._held.remove(held)
        return None

    def _know(self, entry: Body, was: Held | None) -> None:
        mark = mark_of(entry)
        if was:
            self._held.remove(was)
        held = Held(entry["id"], entry["order"], entry["revision"], mark)
        self._held.append(held)
        self._newsroom.note_entry(entry)

    async def _publish(self) -> None:
        mark = self._mark()
        body = {"body": f"{mark} {self._newsroom.text}"}
        done = await self._call("POST", "/entries", body, None)
        assert done
        self._know(done, None)

    async def _edit(self) -> None:
        held = self._pick()
        if not held:
            return
        mark = self._mark(held)
        body = {"body": f"{mark} {self._newsroom.text}"}
        path, seen = f"/entries/{held.id}", f'"{held.revision}"'
        if done := await self._call("PATCH", path, body, held, **{"if-match": seen}):
            self._know(done, held)

    async def _pin(self) -> None:
        held = self._pick()
        if held:
            body = {"pinned": self._chance.random() < 0.5}
            if done := await self._call("PATCH", f"/entries/{held.id}", body, held):
                self._know(done, held)

    async def _delete(self) -> None:
        held = self._pick()
        if held and (done := await self._call("DELETE", f"/entries/{held.id}", None, held)):
            self._held[self._held.index(held)] = held._replace(is_deleted=True)
            self._newsroom.note(done["position"], Deed(held.id, held.order))

    async def _restore(self) -> None:
        held = self._pick(deleted=True)
        if held:
            path = f"/entries/{held.id}/restore"
            if done := await self._call("POST", path, None, held):
                self._know(done, held)

    async def _summary(self) -> None:
        body = {"summary": f"As of {next(_serial)}."}
        done = await self._call("PATCH", "", body, None)
        assert done
        self._newsroom.note(done["position"], Deed(HEADER))
