"""Readers' delay beside editors who type: 10,000 readers and 2 changes a second, with and without them.

Each editor has the blog's desk open and types an entry, with the requests that the desk's scripts
make: previews without a pause between them but the script's own, the server's copy of the text
after each pause in typing, the store's state each second, and, after each change that the blog's
stream brings, the page itself. The bodies are the boxes of the desk's own form.

The editors type in a process on the readers' core, so that only the server's work on their
requests is compared. Rounds with and without editors alternate.
"""

import asyncio
import json
import multiprocessing
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from kit.figure import Figure
from kit.forms import sent
from kit.raw import UPGRADE, Wire, masked, request, wire

from liveblog.clock import now_ms
from liveblog.store import embedded
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect
from measure.compare import Comparison
from measure.compare import Figure as Ratio
from measure.fanout import FanOut
from measure.subjects import WORDS, Liveblog

EDITORS: Final = 10
READERS: Final = int(os.environ.get("TYPISTS_READERS", "10000"))
ROUNDS: Final = int(os.environ.get("TYPISTS_ROUNDS", "7"))
ENTRIES: Final = 20
RATE: Final = 2  # changes a second
KEYS_PER_S: Final = 6
TYPES_S: Final = 6.0, 12.0  # the length of a run of words
PAUSES_S: Final = 1.6, 4.0  # the pause after it, longer than the script's 1.5 s
COPY_S: Final = 1.5  # from the last key to the copy of the text on the server
PREVIEW_GAP_S: Final = 0.25
STORE_S: Final = 1.0
LOAD_S: Final = 0.15  # from a change to the request for the page
LENGTH: Final = 200, 2_000  # characters of the texts when the editors start
PREVIEWS_MIN: Final = 20  # a second, of all editors: fewer would be no load
PASSWORD: Final = "correct horse battery"
SLUG: Final = "bench"  # of measure/subjects.py
DESK: Final = f"/desk/blogs/{SLUG}"
FORM: Final = "application/x-www-form-urlencoded;charset=UTF-8"


class Typist:
    """One editor's desk as a client of HTTP; `answers` counts the answers by kind and status."""

    def __init__(self, number: int, port: int, session: str, answers: Counter[str]) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._random, self._answers = random.Random(number), answers
        self._head = f"Cookie: liveblog={session}\r\nSec-Fetch-Site: same-origin\r\n"
        self._ident, self._tab = f"user:typist-{number}", f"{number:016d}"
        self._text = (WORDS * 30)[: self._random.randint(*LENGTH)]
        self._boxes: dict[str, Any] = {}
        self._types = asyncio.Event()
        self._changed = asyncio.Event()

    async def live(self) -> None:
        async with wire(self._url) as page, wire(self._url) as calls, wire(self._url) as previews:
            html = await self._ask(page, "page", DESK)
            self._boxes = sent(html.decode(), "compose")
            position = re.search(r'data-position="([^"]+)"', html.decode())
            assert position
            self._head += "Accept-Encoding: gzip, deflate, br\r\n"
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._type(calls))
                tasks.create_task(self._preview(previews))
                tasks.create_task(self._load(page))
                tasks.create_task(self._follow(position[1]))

    async def _type(self, calls: Wire) -> None:
        """Type runs of words with pauses; ask for the store's state each second."""
        while True:
            self._types.set()
            await self._watch(calls, self._random.uniform(*TYPES_S), KEYS_PER_S)
            self._types.clear()
            await self._watch(calls, COPY_S, 0)
            values = {**self._boxes, "body": self._text}
            kept = {"values": values, "base": None, "key": f"key-{self._tab}", "typed_at": now_ms()}
            path = f"{DESK}/kept/new/{self._tab}"
            body = json.dumps(kept).encode()
            await self._ask(calls, "copy", path, "PUT", body, "application/json")
            await self._watch(calls, self._random.uniform(*PAUSES_S) - COPY_S, 0)

    async def _watch(self, calls: Wire, seconds: float, keys_per_s: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, STORE_S))  # the rate is a part of what is measured
            typed = int(keys_per_s * min(left, STORE_S))
            self._text = (self._text + WORDS[:typed])[-LENGTH[1] :]
            await self._ask(calls, "store", f"{DESK}/store")

    async def _preview(self, previews: Wire) -> None:
        while True:
            await self._types.wait()
            boxes = {**self._boxes, "body": self._text, "kind": "entry"}
            boxes.pop("editor", None)
            body = urlencode(boxes, doseq=True).encode()
            loaded = self._ask(previews, "preview", f"{DESK}/preview", "POST", body, FORM)
            await asyncio.gather(loaded, asyncio.sleep(PREVIEW_GAP_S))

    async def _load(self, page: Wire) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(LOAD_S)
            self._changed.clear()
            await self._ask(page, "page", DESK)

    async def _follow(self, position: str) -> None:
        """Follow the blog's stream, as the desk does."""
        head = request(f"/blogs/{SLUG}/live?since={position}", UPGRADE)
        async with wire(self._url, head) as stream:
            await stream.head()
            while True:
                # No deadline: a stream may be silent for longer than one.
                first, size = await stream.reader.readexactly(2)
                if size > 125:
                    more = await stream.reader.readexactly(2 if size == 126 else 8)
                    size = int.from_bytes(more, "big")
                payload = await stream.reader.readexactly(size)
                if first == 0x89:
                    await stream.send(masked(0x8A, payload))
                if b'{"t":"changes"' in payload:
                    self._changed.set()

    async def _ask(
        self,
        on: Wire,
        kind: str,
        path: str,
        method: str = "GET",
        body: bytes = b"",
        type_: str = "",
    ) -> bytes:
        """Send a request, and return the answer's body."""
        made_for = f"Liveblog-Editor: {self._ident}\r\n" if kind == "copy" else ""
        length = f"Content-Type: {type_}\r\nContent-Length: {len(body)}\r\n" if body else ""
        await on.send(request(path, f"{self._head}{made_for}{length}", method) + body)
        head = (await on.head()).lower()
        self._answers[f"{kind} {head.split()[1].decode()}"] += 1
        size = re.search(rb"content-length: (\d+)", head)
        return await on.reader.readexactly(int(size[1]) if size else 0)


def _run(pipe: Connection, port: int, sessions: list[str]) -> None:
    os.sched_setaffinity(0, {1})
    asyncio.run(_type_all(pipe, port, sessions))


async def _type_all(pipe: Connection, port: int, sessions: list[str]) -> None:
    """Let all editors type until the pipe has a message; send the counts of their answers."""
    answers: Counter[str] = Counter()
    typists = [Typist(n, port, it, answers).live() for n, it in enumerate(sessions)]
    tasks = [asyncio.create_task(it) for it in typists]
    over = asyncio.create_task(asyncio.to_thread(pipe.recv))
    await asyncio.wait([over, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = [it for it in tasks if it.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pipe.send((answers, [repr(it.exception()) for it in failed]))


class Newsroom(Liveblog):
    """A server on whose blog editors type while it is measured.

    `answers` and `typed_s` have the sums of all rounds.
    """

    answers: ClassVar[Counter[str]] = Counter()
    typed_s: ClassVar[float] = 0.0

    def start(self) -> None:
        super().start()
        sessions = asyncio.run(self._sessions())
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._typing = context.Process(target=_run, args=(theirs, self.port, sessions))
        self._began_ms = now_ms()
        self._typing.start()

    async def _sessions(self) -> list[str]:
        with embedded.use("", self.scratch / "data", must_run=True) as url:
            async with connect(url) as client:
                accounts = Accounts(client, now_ms)
                return [await self._session(accounts, f"typist-{n}") for n in range(EDITORS)]

    async def _session(self, accounts: Accounts, name: str) -> str:
        await accounts.people.add(name, PASSWORD)
        caller = await accounts.check_password(name, PASSWORD)
        assert caller
        return await accounts.open_session(caller)

    def __exit__(self, *more: object) -> None:
        if hasattr(self, "_typing"):
            self._stop()
        super().__exit__(*more)

    def _stop(self) -> None:
        with suppress(OSError):
            self._pipe.send("over")
        answers, failed = self._pipe.recv()
        self._typing.join()
        Newsroom.answers += answers
        Newsroom.typed_s += (now_ms() - self._began_ms) / 1_000
        if failed:
            raise SystemExit(f"an editor stopped typing: {failed}")


async def figures() -> AsyncIterator[Figure]:
    """Compare the readers' delay with and without editors who type."""
    fan_out = FanOut(READERS, ENTRIES, RATE)
    rounds = Comparison({"editors": Newsroom, "alone": Liveblog}, ROUNDS, fan_out.run)
    await asyncio.to_thread(rounds.run, f"{EDITORS} editors type, and nobody types")
    ratio = rounds.median_ratio(Ratio("p99", "p99_ms", 1.1), "alone")
    name = f"p99 from publish to {READERS:,} readers, {EDITORS} editors typing against none"
    yield Figure(name, 1.1, ratio)
    per_s = Newsroom.answers["preview 200"] / Newsroom.typed_s
    yield Figure("previews of these editors in a second", PREVIEWS_MIN, per_s, at_least=True)
    good = ("preview 200", "copy 204", "store 200", "page 200")
    bad = Newsroom.answers.total() - sum(Newsroom.answers[it] for it in good)
    yield Figure("calls of these editors that failed", 0, bad)
    yield Figure("rounds in which a reader lost a change", 0, len(fan_out.wrong))
