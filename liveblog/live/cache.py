"""Frames, HTML and answers made from one blog's state, each made once.

Frames and answers show the top (the newest offset), so the next change evicts all of them. Encoded
changes and entry HTML stay cached until their entry changes.

Rules: no I/O. After a change, the cache returns no frame or answer of an earlier state.
"""

import logging
from collections.abc import Hashable, Iterable
from sys import getsizeof
from typing import Final, Protocol

from liveblog.answer import Answer
from liveblog.blog.instant import format_time
from liveblog.blog.model import Blog, Entry, Position
from liveblog.blog.timeline import Record, Timeline, id_of
from liveblog.live import frame as frames
from liveblog.live.budget import CacheBudget
from liveblog.live.frame import Frame, Piece
from liveblog.live.shared import HubSettings

log = logging.getLogger(__name__)

PIECES_MAX: Final = 2_800  # encoded changes of one blog
# A `hello` states the server's time. All readers who join at one position within HELLO_MS get the
# same bytes, so the stated time is at most this old.
HELLO_MS: Final = 100
ARTICLES_MAX: Final = 100  # entries of one blog whose HTML is cached: more than one page shows
TEXT_BYTES: Final = 50  # memory of a bytes object beside its bytes


class Render(Protocol):
    """Renders entries and blog headers as HTML."""

    def entry_html(self, entry: Entry, blog: Blog, *, in_frame: bool = False) -> str: ...
    def header_html(self, blog: Blog) -> str: ...


class BlogCache:
    """Makes and caches one blog's frames and HTML; caches HTTP answers that other modules make.

    `cached_bytes` counts frames, answers and entries' HTML, which `CacheBudget` limits. Encoded
    changes, the `pieces`, are limited by their number, and `pieces_bytes` adds them up.
    """

    def __init__(
        self,
        slug: str,
        timeline: Timeline,
        render: Render,
        settings: HubSettings,
        budget: CacheBudget,
    ) -> None:
        self._slug, self._timeline = slug, timeline
        self._render, self._settings, self._budget = render, settings, budget
        self.cached_bytes = 0
        self._is_closed = False
        self._hellos: dict[Position, tuple[int, Frame]] = {}  # with the time that each states
        self._frames: dict[tuple[int, bool], Frame | None] = {}
        self._answers: dict[Hashable, Answer] = {}
        self.pieces: dict[tuple[str, bool], Piece] = {}
        self._articles = _Articles()

    # -- frames and answers, which show the newest state

    def hello(self, at: Position, now_ms: int) -> Frame:
        """Return the `hello` frame for a position; `now_ms` is the server's time.

        The frame is cached for HELLO_MS, since many readers join at the newest position.
        """
        cached = self._hellos.get(at)
        if cached and 0 <= now_ms - cached[0] < HELLO_MS:  # below 0: the clock was set back
            return cached[1]
        settings = self._settings
        made = frames.hello(at, settings.heartbeat_s, format_time(now_ms), settings.version)
        # Only positions of the timeline are cached: positions that clients invent would fill the
        # cache. A frame that replaces another one has the same length, and is counted already.
        if cached or (self._timeline.standing(at) == "here" and self._count(made.bytes_max)):
            self._hellos[at] = now_ms, made
        return made

    def frame(self, since: int, as_data: bool) -> Frame | None:
        """Return the `changes` frame from offset `since` to the newest offset, encoded once.

        None when the reader must start over: too much has changed, or `since` is too old.
        """
        key = since, as_data
        if key in self._frames:
            return self._frames[key]
        made = self._make_frame(since, as_data)
        if self._count(made.bytes_max if made else 0):
            self._frames[key] = made
        return made

    def kept(self, key: Hashable) -> Answer | None:
        """Return the HTTP answer that `keep` cached under a key since the last change, or None."""
        return self._answers.get(key)

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Cache an HTTP answer until the next change, or until `CacheBudget` evicts the caches."""
        if self._count(answer.bytes_max):
            self._answers[key] = answer

    def _count(self, size: int) -> bool:
        """Count bytes that the caller is about to cache; return False when there is no room."""
        has_room = not self._is_closed and self._budget.add(self, size)
        if has_room:
            self.cached_bytes += size
        return has_room

    def _uncount(self, size: int) -> None:
        self.cached_bytes -= size
        self._budget.bytes -= size

    def settle(self) -> int:
        """Count the answers by the size that they have by now; return the growth, mostly < 0.

        Memory is short, so answers are packed, and entries' HTML that is in an answer is dropped.
        """
        before = self.cached_bytes
        for answer in self._answers.values():
            answer.pack()
        if self._answers:
            self._articles.clear()
        hellos = (hello for _, hello in self._hellos.values())
        frames_bytes = [it.bytes_max for it in (*hellos, *self._frames.values()) if it]
        answers_bytes = [it.bytes_likely for it in self._answers.values()]
        self.cached_bytes = sum(frames_bytes) + sum(answers_bytes) + self._articles.bytes
        return self.cached_bytes - before

    def pieces_bytes(self) -> int:
        """Return the bytes of the encoded changes."""
        sizes = (len(head) + len(tail) for head, _, tail in self.pieces.values())
        return sum(sizes) + 4 * TEXT_BYTES * len(self.pieces)

    # -- evicting

    def clear(self) -> None:
        """Evict all frames and answers, which a change made outdated."""
        self._hellos.clear()
        self._frames.clear()
        self._answers.clear()
        self._uncount(self.cached_bytes - self._articles.bytes)

    def evict(self) -> None:
        """Evict frames, answers and entries' HTML, because memory is short."""
        self.clear()
        self._uncount(self._articles.clear())

    def close(self) -> None:
        """Evict everything, and cache nothing more: the worker no longer holds the blog."""
        self.drop_all()
        self._is_closed = True
        self._budget.forget(self)

    def drop(self, records: Iterable[Record]) -> None:
        """Evict all frames and answers, and everything made from changed entries and headers.

        `records`: the changed entries, and the blog's header if it changed.
        """
        self.clear()
        for record in records:
            self._uncount(self._articles.drop(id_of(record)))
            for as_data in (False, True):
                self.pieces.pop(_piece_key(record, as_data), None)
        if len(self.pieces) > PIECES_MAX:
            self.pieces.clear()

    def drop_all(self) -> None:
        """Evict everything, after the timeline's state was replaced."""
        self.evict()
        self.pieces.clear()

    # -- making

    def _make_frame(self, since: int, as_data: bool) -> Frame | None:
        missed = self._timeline.changes(since)
        if missed is None:
            return None
        pieces = [self._piece(record, as_data) for record in missed]
        return frames.changes(since, self._timeline.position, pieces)

    def _piece(self, record: Record, as_data: bool) -> Piece:
        key = _piece_key(record, as_data)
        if key not in self.pieces:
            self.pieces[key] = self._encode_safely(record, as_data)
        return self.pieces[key]

    def _encode_safely(self, record: Record, as_data: bool) -> Piece:
        """Encode one change; when that fails, encode an entry as deleted, a header without content.

        So a change that cannot be rendered does not hold up the other changes.
        """
        try:
            return self._encode(record, as_data)
        except Exception:
            log.exception("blog %s: encoding a change failed: %s", self._slug, id_of(record))
            if isinstance(record, Blog):
                return frames.header(record)
            return frames.delete(record)

    def _encode(self, record: Record, as_data: bool) -> Piece:
        base_url = self._settings.base_url
        if isinstance(record, Blog):
            if as_data:
                return frames.header(
                    record, blog=frames.blog_data(record, self._at(record), base_url)
                )
            return frames.header(record, html=self._render.header_html(record))
        if record.deleted:
            return frames.delete(record)
        if as_data:
            position = self._timeline.position_of(record)
            return frames.put(
                record, entry=frames.entry_data(record, self._slug, position, base_url)
            )
        html = self._render.entry_html(record, self._timeline.blog, in_frame=True)
        return frames.put(record, html=html)

    def _at(self, blog: Blog) -> Position:
        return Position(self._timeline.epoch, blog.offset, self._timeline.check(blog.offset))

    def article(self, entry: Entry) -> str:
        """Return an entry's HTML for pages, rendered once until the entry changes.

        Only entries in the timeline are cached. Pages also show older entries, which they read from
        the store; the HTML of an older entry is rendered each time.
        """
        if self._timeline.get(entry.id) is not entry:
            return self._render.entry_html(entry, self._timeline.blog)
        html = self._articles.get(entry.id)
        if html is None:
            html = self._render.entry_html(entry, self._timeline.blog)
            if len(self._articles) >= ARTICLES_MAX:
                self._uncount(self._articles.clear())
            if self._count(getsizeof(html)):
                self._articles.keep(entry.id, html)
        return html


class _Articles:
    """The current HTML of a blog's entries for pages, by entry id; `bytes` counts all of it."""

    def __init__(self) -> None:
        self._html: dict[str, str] = {}
        self.bytes = 0

    def get(self, id: str) -> str | None:
        return self._html.get(id)

    def keep(self, id: str, html: str) -> None:
        self._html[id] = html
        self.bytes += getsizeof(html)

    def drop(self, id: str) -> int:
        """Drop an entry's HTML; return its size in bytes, 0 when there is none."""
        html = self._html.pop(id, None)
        size = 0 if html is None else getsizeof(html)
        self.bytes -= size
        return size

    def clear(self) -> int:
        """Drop all HTML; return its size in bytes."""
        self._html.clear()
        size, self.bytes = self.bytes, 0
        return size

    def __len__(self) -> int:
        return len(self._html)


def _piece_key(record: Record, as_data: bool) -> tuple[str, bool]:
    return record.id if isinstance(record, Entry) else "", as_data
