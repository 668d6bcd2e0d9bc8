"""A load test of a running server: does each entry reach each of many readers, and how late?

The readers are WebSockets of the `websockets` client, in this process, and behave as a browser's
script does. Each knows its position, counts the offsets that a frame skips or repeats, and
reconnects after a `bye`, a `reset` or a lost connection. With a token the test publishes entries,
and each headline contains the time of its publication. Without a token the test only watches a
blog. A delay then starts at the entry's `updated_at`, so the clocks of both machines must agree.

Rules: imports nothing of the server, and uses only frames and calls that any client can use.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

OPENING_MAX: Final = 100  # concurrent handshakes
OPEN_S: Final = 30.0
CALL_S: Final = 30.0
SETTLE_S: Final = 10.0  # longest wait for the frames of the last entry
RETRY_S: Final = 10.0  # the longest random wait after a lost connection, as in the browser's script
NO_SUCH_BLOG: Final = 4006  # a page would come back in 30 s, but here the blog's name is wrong
MARK: Final = "published at "
WORDS: Final = "The river rose above the second mark at noon and the council opened the hall. "


class BenchError(Exception):
    """Raised when the test cannot measure anything; its message gives the operator the reason."""


@dataclass
class Tally:
    """Counts what the readers of one test received, as sums over all readers."""

    delivered: int = 0
    repeated: int = 0
    skipped: int = 0  # frames that left out changes after the reader's position
    resets: int = 0
    delays_ms: list[float] = field(default_factory=list)
    closes: Counter[int] = field(default_factory=Counter)
    # Readers whose last attempt to connect failed. At the end of a test: all readers not in `open`.
    failed: int = 0
    open: int = 0  # readers whose present connection has received a frame


@dataclass
class Result:
    """Holds the result of one measurement; `lost` is None when the test only watched a blog."""

    readers: int
    entries: int
    seconds: float
    tally: Tally
    lost: int | None

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the printed table: name and value."""
        tally, delays = self.tally, sorted(self.tally.delays_ms)
        closes = ", ".join(f"{code}: {count}" for code, count in sorted(tally.closes.items()))
        shown = {
            "readers": f"{self.readers:,}",
            "entries": f"{self.entries:,}",
            "delivered": f"{tally.delivered:,}",
            "lost": "not known: only watched" if self.lost is None else f"{self.lost:,}",
            "repeated": f"{tally.repeated:,}",
            "skipped": f"{tally.skipped:,}",
            "resets": f"{tally.resets:,}",
            "failed": f"{tally.failed:,}",
            "closed": closes or "none",
            "per second": f"{tally.delivered / self.seconds:,.0f}" if self.seconds else "0",
            "p50": f"{percentile(delays, 0.5):.1f} ms" if delays else "none",
            "p99": f"{percentile(delays, 0.99):.1f} ms" if delays else "none",
        }
        return list(shown.items())

    @property
    def is_whole(self) -> bool:
        return not (self.lost or self.tally.repeated or self.tally.skipped or self.tally.failed)


def percentile(ascending: list[float], share: float) -> float:
    """Return the nearest-rank percentile; `share` is from 0 to 1.

    With a share of 0.99, at least 99 % of the values are at most the returned value.
    """
    rank = -(-len(ascending) * share // 1)
    return ascending[max(0, int(rank) - 1)]


class LoadReader:
    """One reader: applies frames to its position, and counts them in the tally."""

    def __init__(self, tally: Tally, clock: Callable[[], float] = time.time) -> None:
        self.position = ""
        self._is_failed = False
        self._tally, self._clock = tally, clock

    @property
    def offset(self) -> int:
        return int(self.position.split(".")[1]) if self.position else 0

    def connected(self, is_so: bool) -> None:
        """Count this reader in the tally's `failed` if its last attempt to connect failed.

        A reader that fails several times in a row counts once.
        """
        self._tally.failed += (not is_so) - self._is_failed
        self._is_failed = not is_so

    def receive(self, text: str) -> dict[str, Any]:
        """Apply one frame to the position and to the tally, and return the frame."""
        frame: dict[str, Any] = json.loads(text)
        if frame["t"] == "hello":
            self.position = frame["position"]
        elif frame["t"] == "changes":
            self._apply(frame)
        elif frame["t"] == "reset":
            self._tally.resets += 1
            self.position = ""
        return frame

    def _apply(self, frame: dict[str, Any]) -> None:
        at = int(frame["position"].split(".")[1])
        if at <= self.offset:
            self._tally.repeated += 1
            return
        self._tally.skipped += frame["from"] > self.offset
        self.position = frame["position"]
        new = [change for change in frame["changes"] if change["op"] == "put" and change["new"]]
        self._tally.delivered += len(new)
        now = self._clock()
        self._tally.delays_ms += [(now - _published(change["entry"])) * 1_000 for change in new]


def _published(entry: dict[str, Any]) -> float:
    """Return when an entry was published, in seconds since 1970.

    The time is in the headline of an entry of this test. Other entries have `updated_at`.
    """
    text = entry["headline"] or ""
    if text.startswith(MARK):
        return float(text[len(MARK) :])
    return datetime.fromisoformat(entry["updated_at"]).timestamp()


class Bench:
    """Measures the server at `url` once: connects the readers and counts their frames.

    `progress` is called with the name of a phase, the number of steps done, and the number of all
    steps in the phase.
    """

    def __init__(
        self, url: str, readers: int, token: str, progress: Callable[[str, int, int], None]
    ) -> None:
        self.url, self.readers = url.rstrip("/"), readers
        self.tally = Tally()
        self._token, self._progress = token, progress
        self._opening = asyncio.Semaphore(OPENING_MAX)
        self._is_over = False

    async def publish(self, blog: str, entries: int, rate: float) -> Result:
        """Publish entries into `blog`, and count the entries that every reader receives.

        When `blog` is "", publish into a new blog, and turn that blog into a draft at the end.
        """
        slug = blog or await self._new_blog()
        try:
            return await self._with_readers(slug, lambda: self._entries(slug, entries, rate))
        finally:
            if not blog:
                await self._call("PATCH", f"/api/blogs/{slug}", {"status": "draft"})

    async def watch(self, blog: str, seconds: float) -> Result:
        """Publish nothing; count the entries that editors publish and the readers receive."""
        return await self._with_readers(blog, lambda: self._wait(seconds))

    async def _with_readers(self, slug: str, work: Callable[[], Awaitable[int]]) -> Result:
        tasks = [asyncio.create_task(self._read(slug)) for _ in range(self.readers)]
        try:
            await self._until_open()
            started, before = time.monotonic(), self.tally.delivered
            entries = 0
            with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C returns the result so far
                entries = await work()
            seconds = time.monotonic() - started
            self.tally.failed = self.readers - self.tally.open
        finally:
            self._is_over = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        lost = self.readers * entries - (self.tally.delivered - before) if self._token else None
        return Result(self.readers, entries, seconds, self.tally, lost)

    async def _until_open(self) -> None:
        deadline = time.monotonic() + OPEN_S
        while (there := self.tally.open + self.tally.failed) < self.readers:
            self._progress("opening", there, self.readers)
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        self._progress("opening", there, self.readers)
        if not self.tally.open:
            closes = ", ".join(map(str, self.tally.closes)) or "no answer"
            raise BenchError(f"no reader was admitted at {self.url}: {closes}")

    async def _wait(self, seconds: float) -> int:
        for passed in range(int(seconds)):
            self._progress("watching", passed, int(seconds))
            await asyncio.sleep(1)
        return 0

    async def _entries(self, slug: str, entries: int, rate: float) -> int:
        started, done = time.monotonic(), 0
        with contextlib.suppress(asyncio.CancelledError):
            for done in range(entries):
                self._progress("publishing", done, entries)
                await asyncio.sleep(max(0.0, started + done / rate - time.monotonic()))
                entry = {"headline": f"{MARK}{time.time():.6f}", "body": WORDS * 8}
                await self._call("POST", f"/api/blogs/{slug}/entries", entry)
            done = entries
        await self._until_delivered(done)
        return done

    async def _until_delivered(self, entries: int) -> None:
        deadline = time.monotonic() + SETTLE_S
        while self.tally.delivered < self.readers * entries and time.monotonic() < deadline:
            self._progress("waiting", self.tally.delivered, self.readers * entries)
            await asyncio.sleep(0.05)

    # -- readers

    async def _read(self, slug: str) -> None:
        """Connect one reader again and again, until the server forbids the reader to reconnect."""
        reader = LoadReader(self.tally)
        wait_s: float | None = 0.0
        while wait_s is not None:
            await asyncio.sleep(wait_s)
            wait_s = await self._once(slug, reader)
        reader.connected(False)  # not connected, and not reconnecting

    async def _once(self, slug: str, reader: LoadReader) -> float | None:
        """Read one connection to its end.

        Return the seconds to wait before a reconnect; None when the server forbids a reconnect.
        """
        since = f"&since={reader.position}" if reader.position else ""
        address = f"{self.url.replace('http', 'ws', 1)}/blogs/{slug}/live?as=data{since}"
        try:
            async with self._opening:
                connection = await connect(
                    address, proxy=None, max_size=None, open_timeout=OPEN_S, ping_interval=None
                )
        except (OSError, InvalidHandshake, TimeoutError):
            reader.connected(False)
            return random.uniform(0, RETRY_S)  # noqa: S311 - spreads load
        reader.connected(True)
        try:
            return await self._follow(connection, reader)
        finally:
            with contextlib.suppress(Exception):
                await connection.close()

    async def _follow(self, connection: ClientConnection, reader: LoadReader) -> float | None:
        window: list[int] | None = [0, int(RETRY_S * 1_000)]
        is_open = False
        try:
            while True:
                frame = reader.receive(str(await connection.recv()))
                if frame["t"] in ("bye", "reset"):
                    window = frame["after_ms"]
                elif not is_open:
                    is_open = True
                    self.tally.open += 1
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            if not self._is_over:
                self.tally.closes[code] += 1
            if 4500 <= code <= 4599 or code == NO_SUCH_BLOG or window is None:
                return None
            return random.uniform(*window) / 1_000  # noqa: S311 - spreads load
        finally:
            self.tally.open -= is_open

    # -- the API

    async def _new_blog(self) -> str:
        slug = f"bench-{int(time.time())}-{random.randrange(10**6)}"  # noqa: S311 - no secret
        blog = {"slug": slug, "title": "Measuring", "status": "live"}
        await self._call("POST", "/api/blogs", blog)
        return slug

    async def _call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return await asyncio.to_thread(self._call_now, method, path, body)

    def _call_now(self, method: str, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = Request(self.url + path, json.dumps(body).encode(), headers, method=method)  # noqa: S310 - checked by checked_url
        try:
            with urlopen(request, timeout=CALL_S) as answer:  # noqa: S310 - checked by checked_url
                return json.load(answer)
        except HTTPError as error:
            problem = json.loads(error.read() or b"{}").get("detail", error.reason)
            raise BenchError(f"{method} {path} answered {error.code}: {problem}") from None
        except (URLError, OSError) as error:
            raise BenchError(f"{self.url} does not answer: {error}") from None


def checked_url(url: str) -> str:
    """Return a server's address without a slash at its end. Raises BenchError for other text."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BenchError(f"the address must be like http://127.0.0.1:8000, not {url!r}")
    return url.rstrip("/")
