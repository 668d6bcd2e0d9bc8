"""The readers' pages, from what this worker holds; older entries come from the store.

A page is made in one `def` from what was read at the position it names: when a change is applied
while older entries are read, they are read again. It is made at most once per change.
`at={position}` asks for a page that is not older than what the reader has already seen.

Rules: never imports the broker. Nothing in a page depends on who looks, on when, or on the Host
header.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from liveblog.answer import CACHED_1_S, Answer
from liveblog.blog.model import Blog, Entry, Position, is_entry_id
from liveblog.blog.problem import Problem, StoreDown, not_found
from liveblog.html import render
from liveblog.live.blog import LiveBlog
from liveblog.live.hub import Hub
from liveblog.settings import Settings

log = logging.getLogger(__name__)

BLOGS: Final = "/blogs/"
PAGE_ENTRIES: Final = 20
PINNED_SHOWN: Final = 20
KEY_EVENTS_SHOWN: Final = 100
NEWER_SHOWN: Final = 4  # entries above a linked one that is not among the newest
AT_WAIT_S: Final = 1.0
HOME_BLOGS: Final = 50
HOME_READ: Final = 200  # of which those that readers may see are shown
HOME_KEPT_S: Final = 1.0
READ_TRIES_MAX: Final = 5


class PageKey(NamedTuple):
    """What a page in a blog's cache shows.

    The newest, what is before an entry, or the one that holds it.
    """

    what: Literal["newest", "before", "entry"]
    id: str = ""


NEWEST: Final = PageKey("newest")


class Window(NamedTuple):
    """Which entries a page shows, newest first.

    `before`: the entry just above, None when there is none.
    """

    entries: list[Entry]
    before: Entry | None
    older: bool


def routes(hub: Hub, settings: Settings) -> list[BaseRoute]:
    """Return the pages for readers."""
    pages = _Pages(hub, settings.public_url)
    return [
        Route("/", pages.home),
        Route("/blogs/{slug}", pages.blog),
        Route("/blogs/{slug}/entries/{id}", pages.entry),
    ]


class _Pages:
    def __init__(self, hub: Hub, public_url: str) -> None:
        self._hub, self._public_url = hub, public_url
        self._home: Answer | None = None
        self._home_until = 0.0
        self._home_lock = asyncio.Lock()

    async def home(self, _: Request) -> Answer:
        """Answer with the live and recent blogs.

        While the store is away, with those of last time.
        """
        if not self._home_fresh():
            async with self._home_lock:  # one asks, the others wait for what it got
                if not self._home_fresh():
                    await self._renew_home()
        if not self._home:
            raise StoreDown("the list of blogs was never read")
        return self._home

    def _home_fresh(self) -> bool:
        return self._hub.clock() < self._home_until

    async def _renew_home(self) -> None:
        try:
            found = await self._hub.source.recent(HOME_READ)
            shown = [blog for blog in found if blog.status != "draft"][:HOME_BLOGS]
            made = _answer(render.home_html(blogs=shown, public_url=self._public_url))
            if not self._home or self._home.body != made.body:  # else it is compressed already
                self._home = made
        except StoreDown as error:
            log.warning("the list of blogs stays as it was: %s", error)
        self._home_until = self._hub.clock() + HOME_KEPT_S

    async def blog(self, request: Request) -> Answer:
        """Answer with the newest entries, or with `before` the next older ones."""
        live = await self._live(request)
        before = request.query_params.get("before")
        if before is None:
            return await self._cached(live, NEWEST, lambda: _below(live, None))
        entry = await _published(live, before)
        return await self._cached(live, PageKey("before", entry.id), lambda: _below(live, entry))

    async def entry(self, request: Request) -> Answer | Response:
        """Answer with the page that holds an entry; 410 when it is deleted."""
        live = await self._live(request)
        id = request.path_params["id"]
        try:
            return await self._cached(live, PageKey("entry", id), lambda: _holding(live, id), id)
        except _Deleted:
            gone = render.message_html(status=410, blog=live.blog)
            return HTMLResponse(gone, 410, headers={"cache-control": CACHED_1_S})

    async def _live(self, request: Request) -> LiveBlog:
        """Return the blog, not older than `at` as far as the store knows that position."""
        live = await self._hub.live(request.path_params["slug"])
        if not live:
            raise not_found("There is no such blog.")
        position = Position.parse(request.query_params.get("at", ""))
        if position and _is_ahead(position, live):
            await live.confirm(AT_WAIT_S)
        return live

    async def _cached(
        self,
        live: LiveBlog,
        key: PageKey,
        read: Callable[[], Awaitable[Window]],
        permalink: str | None = None,
    ) -> Answer:
        """Return a page, kept until the next change.

        What was read belongs to the position only if no change was applied meanwhile; then it is
        read again. Raises 404 when the blog became a draft, as it may while the store was asked.
        """
        for _ in range(READ_TRIES_MAX):
            if not live.is_open:
                raise not_found("There is no such blog.")
            if kept := _kept(live, key):
                return kept
            position = live.position
            window = await read()
            if position == live.position:
                # Another may have read the same, and been faster.
                return _kept(live, key) or self._keep(live, key, window, permalink)
        raise StoreDown("the blog changes faster than its older entries can be read")

    def _keep(self, live: LiveBlog, key: PageKey, window: Window, permalink: str | None) -> Answer:
        made = _answer(self._page(live, window, permalink))
        live.keep(key, made)
        return made

    def _page(self, live: LiveBlog, window: Window, permalink: str | None) -> str:
        """Render one page from what the worker holds now."""
        timeline = live.timeline
        return render.blog_html(
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


def _kept(live: LiveBlog, key: PageKey) -> Answer | None:
    return live.kept(key)


def _is_ahead(position: Position, live: LiveBlog) -> bool:
    return position.epoch != live.timeline.epoch or position.offset > live.timeline.offset


# -- which entries ---------------------------------------------------------------------------------


def _newest_held(live: LiveBlog) -> Window | None:
    found = live.timeline.page(PAGE_ENTRIES + 1)
    return _window(found, None) if found is not None else None


async def _below(live: LiveBlog, before: Entry | None) -> Window:
    order = before.order if before else None
    found = live.timeline.page(PAGE_ENTRIES + 1, order)
    if found is None:
        read = await live.source.older(live.slug, order, PAGE_ENTRIES + 1)
        found = _as_held(live, read)
    return _window(found, before)


class _Deleted(Exception):
    """The entry was here, and is not any more."""


async def _holding(live: LiveBlog, id: str) -> Window:
    """Return the newest entries when the linked one is among them, else it and its neighbours.

    The entry is read here too, so that a page which is read again never has an older one. Raises
    _Deleted.
    """
    entry = await _published(live, id)
    if entry.deleted:
        raise _Deleted
    newest = _newest_held(live)
    if newest and any(shown.id == entry.id for shown in newest.entries):
        return newest
    order = entry.order or 0
    newer = _as_held(live, await live.source.newer(live.slug, order, NEWER_SHOWN + 1))
    above = newer[NEWER_SHOWN] if len(newer) > NEWER_SHOWN else None
    rest = await _below(live, entry)
    shown = [*reversed(newer[:NEWER_SHOWN]), entry, *rest.entries]
    return Window(shown[:PAGE_ENTRIES], above, rest.older or len(shown) > PAGE_ENTRIES)


def _window(found: list[Entry], before: Entry | None) -> Window:
    return Window(found[:PAGE_ENTRIES], before, len(found) > PAGE_ENTRIES)


def _as_held(live: LiveBlog, read: list[Entry]) -> list[Entry]:
    """Return what was read, as this worker knows it better, without what was deleted."""
    known = [(entry, live.timeline.get(entry.id)) for entry in read]
    best = [held if held and (held.offset or 0) >= (e.offset or 0) else e for e, held in known]
    return [entry for entry in best if not entry.deleted]


async def _published(live: LiveBlog, id: str) -> Entry:
    """Return an entry or tombstone by an id ever published in the blog; raise 404 for any other."""
    if not is_entry_id(id):
        raise not_found("There is no such entry.")
    entry = live.timeline.get(id) or await live.source.entry(live.slug, id)
    if not entry or entry.order is None:
        raise not_found("There is no such entry.")
    return entry


# -- answers ---------------------------------------------------------------------------------------


def _answer(html: str) -> Answer:
    return Answer(html.encode(), "text/html; charset=utf-8", CACHED_1_S)


class ShortWay:
    """Answers from memory for the newest page of a blog, and hands on whatever else comes.

    It stands in front of routing, which would cost more than the answer. What it gives is what
    `_Pages.blog` would have given: a page that is kept is the one of the present top, of a blog
    that readers may see.
    """

    def __init__(self, hub: Hub, app: ASGIApp) -> None:
        self._hub, self._app = hub, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._held(scope) or self._app)(scope, receive, send)

    def _held(self, scope: Scope) -> Answer | None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        path: str = scope["path"]
        if scope["query_string"] or not path.startswith(BLOGS):
            return None
        live = self._hub.lives.get(path[len(BLOGS) :])
        answer = _kept(live, NEWEST) if live else None
        if live and answer:
            self._hub.lives.move_to_end(live.slug)  # the most recently used
        return answer


def wants_page(request: Request) -> bool:
    """Say whether a problem with this request is shown to a person."""
    path = request.url.path
    return not path.startswith(("/api/", "/static/")) and not path.endswith(("/changes", "/events"))


def problem_page(problem: Problem | StoreDown, blog: Blog | None = None) -> Response | None:
    """Return the plain page for a problem; None when there is none for its status."""
    status = problem.status if isinstance(problem, Problem) else 503
    if status not in (404, 410, 503):
        return None
    headers = {"cache-control": "no-store"} | ({"retry-after": "2"} if status == 503 else {})
    return HTMLResponse(render.message_html(status=status, blog=blog), status, headers=headers)
