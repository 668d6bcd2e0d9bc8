"""The readers' pages: rendered from the timelines that this worker has, and cached.

A page shows a blog at one position. If a change is applied while older entries are read from the
store, these entries are read again. A page is rendered at most once per change. With
`at={position}` a reader gets a page that is not older than that position.

Rules: never imports the broker. A page does not depend on the reader, on the time, or on the Host
header.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from liveblog.answer import CACHED_1_S, Answer
from liveblog.blog.model import DamagedEntry, Entry, Position, is_entry_id, is_slug
from liveblog.blog.problem import Damaged, StoreDown, StoreRefuses, not_found
from liveblog.html.pages import Pages
from liveblog.live.blog import LiveBlog
from liveblog.live.hub import Hub
from liveblog.settings import Settings

log = logging.getLogger(__name__)

BLOGS: Final = "/blogs/"
PAGE_ENTRIES: Final = 20
PINNED_SHOWN: Final = 20
KEY_EVENTS_SHOWN: Final = 100
NEWER_SHOWN: Final = 4  # newer entries shown above a linked entry that is not among the newest
AT_WAIT_S: Final = 1.0  # longest wait for changes when a request's `at` is ahead of the timeline
HOME_BLOGS: Final = 50  # blogs on one page of the home page
HOME_CACHED_S: Final = 1.0
# A page that took long to read, past thousands of drafts, is cached this many times as long, up to
# HOME_CACHED_MAX_S.
HOME_CACHED_TIMES: Final = 20
HOME_CACHED_MAX_S: Final = 5.0
HOME_PAGES_MAX: Final = 20  # later pages of the home page in the cache
READ_TRIES_MAX: Final = 5  # reads for one page; a change during a read makes another read necessary


class PageKey(NamedTuple):
    """The key of a cached page: the newest entries, or those before or around the entry `id`."""

    what: Literal["newest", "before", "entry"]
    id: str = ""


NEWEST: Final = PageKey("newest")


class Window(NamedTuple):
    """The entries that a page shows, newest first.

    `before` is the entry directly above the shown entries, None if they are the newest. `older` is
    true if the blog has entries below the shown ones.
    """

    entries: list[Entry]
    before: Entry | None
    older: bool


def routes(hub: Hub, settings: Settings, pages: Pages) -> list[BaseRoute]:
    """Return the routes of the readers' pages."""
    home = _Home(hub, settings.public_url, pages)
    blogs = _BlogPages(hub, settings.public_url, pages)
    return [
        Route("/", home.answer),
        Route("/blogs/{slug}", blogs.blog),
        Route("/blogs/{slug}/entries/{id}", blogs.entry),
    ]


class _Home:
    """Answers with the pages of the home page: live blogs first, then the others.

    Each page is cached for at least HOME_CACHED_S and while the store is unreachable.
    """

    def __init__(self, hub: Hub, public_url: str, pages: Pages) -> None:
        self._hub, self._public_url, self._pages = hub, public_url, pages
        self._first: _Kept | None = None
        self._later: OrderedDict[str, _Kept] = OrderedDict()  # the least recently used first
        # Anyone may ask for pages after invented slugs; their reads must not delay the first page.
        self._first_lock, self._later_lock = asyncio.Lock(), asyncio.Lock()

    async def answer(self, request: Request) -> Answer:
        """Answer with the newest blogs, or with those after the blog `before`.

        While the store is unreachable, answer with the last page. Raises StoreDown if this worker
        has never read the page, and Problem 404 if the list has no such blog.
        """
        before = request.query_params.get("before")
        if before is not None and not is_slug(before):
            raise not_found("There is no such blog.")
        kept = self._fresh(before)
        if not kept:
            # One request reads the list, the others wait for it.
            async with self._first_lock if before is None else self._later_lock:
                kept = self._fresh(before) or await self._refresh(before)
        return kept.answer

    def _fresh(self, before: str | None) -> "_Kept | None":
        kept = self._kept(before)
        return kept if kept and self._hub.clock() < kept.fresh_until else None

    def _kept(self, before: str | None) -> "_Kept | None":
        if before is None:
            return self._first
        if before in self._later:
            self._later.move_to_end(before)
        return self._later.get(before)

    async def _refresh(self, before: str | None) -> "_Kept":
        kept, began, cached_s = self._kept(before), self._hub.clock(), HOME_CACHED_S
        try:
            answer = await self._read(before)
            took_s = self._hub.clock() - began
            cached_s = min(max(HOME_CACHED_S, HOME_CACHED_TIMES * took_s), HOME_CACHED_MAX_S)
        except StoreDown as error:
            if not kept:
                raise
            if not isinstance(error, StoreRefuses):  # live/watch.py logs it once a minute
                log.warning("home page: reading the list failed, showing the last: %s", error)
            answer = kept.answer
        # If the page has not changed, keep the old answer, which is compressed already.
        if kept and kept.answer.body == answer.body:
            answer = kept.answer
        return self._keep(before, _Kept(answer, self._hub.clock() + cached_s))

    def _keep(self, before: str | None, kept: "_Kept") -> "_Kept":
        if before is None:
            self._first = kept
        else:
            self._later[before] = kept
            if len(self._later) > HOME_PAGES_MAX:
                self._later.popitem(last=False)
        return kept

    async def _read(self, before: str | None) -> Answer:
        found = await self._hub.source.front(before, HOME_BLOGS)
        if found is None:
            raise not_found("There is no such blog.")
        blogs, older = found
        html = self._pages.home(
            blogs=blogs, before=before, older=older, public_url=self._public_url
        )
        return _answer(html)


class _Kept(NamedTuple):
    """A cached page of the home page; `fresh_until` is a time of the hub's clock."""

    answer: Answer
    fresh_until: float


class _BlogPages:
    """Answers with pages of blogs, and caches each page until its blog's next change."""

    def __init__(self, hub: Hub, public_url: str, pages: Pages) -> None:
        self._hub, self._public_url, self._pages = hub, public_url, pages

    async def blog(self, request: Request) -> Answer:
        """Answer with the newest entries, or with those before the entry in `before`."""
        live = await self._live(request)
        before = request.query_params.get("before")
        if before is None:
            return await self._page(live, NEWEST, lambda: _below(live, None))
        entry = await _published(live, before)
        return await self._page(live, PageKey("before", entry.id), lambda: _below(live, entry))

    async def entry(self, request: Request) -> Answer | Response:
        """Answer with the page that contains an entry; 410 for a deleted entry."""
        live = await self._live(request)
        id = request.path_params["id"]
        try:
            return await self._page(live, PageKey("entry", id), lambda: _around(live, id), id)
        except _Deleted:
            html = self._pages.message(status=410, blog=live.blog)
            return HTMLResponse(html, 410, headers={"cache-control": CACHED_1_S})

    async def _live(self, request: Request) -> LiveBlog:
        """Return the blog of the request. Raises Problem 404 if there is none.

        If `at` is a position that this worker has not reached, first wait until the missing changes
        have been read from the store. Raises StoreDown when this takes longer than AT_WAIT_S.
        """
        live = await self._hub.live(request.path_params["slug"])
        if not live:
            raise not_found("There is no such blog.")
        position = Position.parse(request.query_params.get("at", ""))
        if position and _is_ahead(position, live):
            await live.confirm(AT_WAIT_S)
        return live

    async def _page(
        self,
        live: LiveBlog,
        key: PageKey,
        read: Callable[[], Awaitable[Window]],
        permalink: str | None = None,
    ) -> Answer:
        """Return a page from the blog's cache, else render it from the entries that `read` returns.

        Entries that were read while a change was applied may mix two states, so they are read
        again. Raises Problem 404 if the blog becomes a draft meanwhile, and StoreDown after
        READ_TRIES_MAX reads.
        """
        for _ in range(READ_TRIES_MAX):
            if not live.is_open:
                raise not_found("There is no such blog.")
            if cached := _cached(live, key):
                return cached
            position = live.position
            window = await read()
            if position == live.position:
                # Another request may have cached the same page meanwhile.
                return _cached(live, key) or self._cache(live, key, window, permalink)
        raise StoreDown("the blog changes faster than its older entries can be read")

    def _cache(self, live: LiveBlog, key: PageKey, window: Window, permalink: str | None) -> Answer:
        answer = _answer(self._html(live, window, permalink))
        live.keep(key, answer)
        return answer

    def _html(self, live: LiveBlog, window: Window, permalink: str | None) -> str:
        """Render a page with the entries of `window`, at the blog's present position."""
        timeline = live.timeline
        return self._pages.blog(
            blog=live.blog,
            position=live.position,
            entries=window.entries,
            pinned=timeline.marked("pinned", PINNED_SHOWN),
            key_events=timeline.marked("key", KEY_EVENTS_SHOWN),
            before=window.before,
            older=window.older,
            permalink=next((e for e in window.entries if e.id == permalink), None),
            public_url=self._public_url,
            article=live.article,
        )


def _cached(live: LiveBlog, key: PageKey) -> Answer | None:
    return live.kept(key)


def _is_ahead(position: Position, live: LiveBlog) -> bool:
    return position.epoch != live.timeline.epoch or position.offset > live.timeline.offset


# -- windows: the entries of one page --------------------------------------------------------------


def _newest(live: LiveBlog) -> Window | None:
    """Return the newest entries, None if the timeline has too few of them."""
    found = live.timeline.page(PAGE_ENTRIES + 1)
    return _window(found, None) if found is not None else None


async def _below(live: LiveBlog, before: Entry | None) -> Window:
    """Return the entries below `before`; the newest entries if `before` is None.

    Entries that the timeline does not have are read from the store.
    """
    order = before.order if before else None
    found = live.timeline.page(PAGE_ENTRIES + 1, order)
    if found is None:
        read = await live.source.older(live.slug, order, PAGE_ENTRIES + 1)
        shown = _current(live, read)[:PAGE_ENTRIES]
        return Window(shown, before, len(read) > PAGE_ENTRIES)
    return _window(found, before)


class _Deleted(Exception):
    """Raised when the linked entry was deleted or taken down."""


async def _around(live: LiveBlog, id: str) -> Window:
    """Return the newest entries if the linked entry is among them, else the entries around it.

    Each call reads the linked entry again, so that a retry after a change shows the entry's
    newest state. Raises _Deleted.
    """
    entry = await _published(live, id)
    if isinstance(entry, DamagedEntry):
        raise Damaged(f"The entry {id} is damaged.")
    if entry.deleted:
        raise _Deleted
    newest = _newest(live)
    if newest and any(shown.id == entry.id for shown in newest.entries):
        return newest
    order = entry.order or 0
    newer = _current(live, await live.source.newer(live.slug, order, NEWER_SHOWN + 1))
    above = newer[NEWER_SHOWN] if len(newer) > NEWER_SHOWN else None
    rest = await _below(live, entry)
    shown = [*reversed(newer[:NEWER_SHOWN]), entry, *rest.entries]
    return Window(shown[:PAGE_ENTRIES], above, rest.older or len(shown) > PAGE_ENTRIES)


def _window(found: list[Entry], before: Entry | None) -> Window:
    return Window(found[:PAGE_ENTRIES], before, len(found) > PAGE_ENTRIES)


def _current(live: LiveBlog, read: list[Entry]) -> list[Entry]:
    """Return entries that were read from the store, without the deleted ones.

    If the timeline has an entry in a newer state, the timeline's state replaces the one from the
    store.
    """
    pairs = [(entry, live.timeline.get(entry.id)) for entry in read]
    newest = [own if own and (own.offset or 0) >= (e.offset or 0) else e for e, own in pairs]
    return [entry for entry in newest if not entry.deleted]


async def _published(live: LiveBlog, id: str) -> Entry:
    """Return an entry that was published in the blog, even if it was deleted later.

    Raises Problem 404 for any other id.
    """
    if not is_entry_id(id):
        raise not_found("There is no such entry.")
    entry = live.timeline.get(id)
    if not entry or isinstance(entry, DamagedEntry):  # the store also has a damaged one's order
        entry = await live.source.entry(live.slug, id)
    if not entry or entry.order is None:
        raise not_found("There is no such entry.")
    return entry


# -- answers ---------------------------------------------------------------------------------------


def _answer(html: str) -> Answer:
    return Answer(html.encode(), "text/html; charset=utf-8", CACHED_1_S)


class FastPath:
    """Answers a blog's newest page from its cache; every other request goes to `app`.

    It runs before routing, which would take longer than the answer. It gives the same answer as
    `_BlogPages.blog`: a cached page always shows the present position of a blog that readers may
    see.
    """

    def __init__(self, hub: Hub, app: ASGIApp) -> None:
        self._hub, self._app = hub, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._cached_answer(scope) or self._app)(scope, receive, send)

    def _cached_answer(self, scope: Scope) -> Answer | None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        path: str = scope["path"]
        if scope["query_string"] or not path.startswith(BLOGS):
            return None
        live = self._hub.held(path[len(BLOGS) :])
        return _cached(live, NEWEST) if live else None
