"""The whole program, put together: every part is made here and given what it needs.

Rules: composes only. Nothing reaches for anything through `app.state`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liveblog.answer import SECURITY
from liveblog.blog.problem import Problem, StoreDown
from liveblog.editors import api, auth, desk, schedule
from liveblog.editors.publishing import Publishing
from liveblog.html import render
from liveblog.live import portable as sockets
from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.hub import Hub, Rules
from liveblog.live.metrics import CONTENT_TYPE, Metrics
from liveblog.pages import assets, page, scripts
from liveblog.pages.assets import Assets
from liveblog.settings import Settings, load, static_dir
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.follow import Follower
from liveblog.store.nodes import connect
from liveblog.tasks import stop
from liveblog.version import __version__

log = logging.getLogger(__name__)

REINDEX_TRIES_S: Final = 2.0
YOUNG_MAX: Final = 20_000  # objects between two collections, 700 as Python has it
# Full collections: failures leave cycles that got old before they were garbage, and the collector
# comes to those by itself once in many minutes; a worker grew by 2 MB in 10 minutes of failures.
COLLECT_EVERY_S: Final = 60.0
CONTACT_EVERY_S: Final = 0.05  # between two looks for the first contact with the store
FAREWELL_S: Final = 2.0  # for the last frame and close of who was sent away last


succeeds = threading.Event()  # this process takes another's place: it waits for the store


def create() -> ASGIApp:
    """Make the application from the environment; uvicorn's factory."""
    return create_app(load(os.environ))


def create_app(settings: Settings) -> ASGIApp:
    """Make the application.

    `settings.redis_url` must be set: `liveblog serve` sets it to its embedded store.
    """
    nodes = connect(settings.redis_url)
    broker = Broker(nodes, wait_for_replica=settings.durability == "replica")
    accounts = Accounts(nodes)
    publishing = Publishing(broker, lambda: time.time_ns() // 1_000_000)
    follower = Follower(nodes, broker.probe)
    hub = Hub(broker, follower, render, _rules(settings))
    door = _door(hub, settings)
    files = Assets(scripts.with_reader(assets.read(static_dir())))
    render.link_static(files.prefix)
    metrics = Metrics(door)
    direct = DirectTransport(door, settings.forwarded_allow_ips)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        for_ever = hub.run(), follower.run(hub), schedule.run(broker, publishing), direct.run()
        parts = *for_ever, metrics.run(), _collect(), _reindex(broker)
        with _draining_first(direct, settings):
            try:
                async with _running(*parts):
                    if succeeds.is_set():
                        await _contact(hub)
                    yield {"direct": direct}  # for uvicorn's protocols
            finally:
                await hub.close()
                await nodes.aclose()

    starlette = Starlette(
        routes=[
            *sockets.routes(door),
            *page.routes(hub, settings),
            *api.routes(publishing, accounts, settings),
            *desk.routes(publishing, accounts, settings),
            *_health(hub, metrics),
            *files.routes(),
        ],
        exception_handlers={
            Problem: _on_problem,
            StoreDown: _on_problem,
            HTTPException: _on_http_error,
            Exception: _on_fault,
        },
        lifespan=lifespan,
    )
    starlette.router.redirect_slashes = False  # `_meant` does it, without the Host header
    # Outside of Starlette, so that a fault's answer has them too; what is kept has its own.
    return page.ShortWay(hub, SecurityHeaders(starlette))


@contextlib.asynccontextmanager
async def _running(*parts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run what must always run, and tell the collector that what was made so far stays.

    Not looking at it again saves each full collection 20 ms. Readers are in no cycle once they are
    gone, so the young are looked at less often.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    for task in tasks:
        task.add_done_callback(_end_if_failed)
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
    try:
        yield
    finally:
        await stop(tasks)


async def _contact(hub: Hub) -> None:
    """Wait until the store was first heard from; only in a main thread.

    The server does not listen before: there is nobody to send away, and SIGTERM ends the process at
    once. uvicorn's handler would have it wait here.
    """
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while not hub.store_seen:  # noqa: ASYNC110 - the hub tells nobody
        await asyncio.sleep(CONTACT_EVERY_S)
    signal.signal(signal.SIGTERM, before)


async def _collect() -> None:
    """Free what is in cycles, old ones too; until cancelled."""
    while True:
        await asyncio.sleep(COLLECT_EVERY_S)
        gc.collect()


def _rules(settings: Settings) -> Rules:
    return Rules(
        heartbeat_s=settings.heartbeat_s,
        blogs_max=settings.blogs_max,
        held_bytes_max=settings.held_bytes_max,
        base_url=settings.site_url,
    )


def _door(hub: Hub, settings: Settings) -> Door:
    own = [settings.public_url] if settings.public_url else []
    return Door(
        hub,
        frozenset([*settings.allowed_origins, *own]),
        settings.readers_max or _file_limit(),
        settings.readers_per_address_max,
    )


def _file_limit() -> int:
    """Return how many readers the file limit allows.

    What is left when 500 are kept for everything else.
    """
    try:
        import resource
    except ImportError:  # Windows has none
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(100, soft - 500)


failed = threading.Event()  # a part that must always run ended: `serve` exits with 1


def _end_if_failed(task: "asyncio.Task[Any]") -> None:
    """End the worker when a part that must always run has failed; it is started anew."""
    if not task.cancelled() and task.exception():
        log.critical("a part of the worker failed", exc_info=task.exception())
        failed.set()
        os.kill(os.getpid(), signal.SIGTERM)


async def _reindex(broker: Broker) -> None:
    """Bring the list of blogs up to date once, as soon as the store answers."""
    while True:
        try:
            return await broker.reindex()
        except StoreDown:
            await asyncio.sleep(REINDEX_TRIES_S)


# -- the end


@contextlib.contextmanager
def _draining_first(direct: DirectTransport, settings: Settings) -> Iterator[None]:
    """Send the readers away on the first SIGTERM or SIGINT, then let the server's handler run.

    uvicorn alone would close all WebSockets at once with 1012, and wait for ever for SSE streams,
    before the lifespan ends. A second signal goes to the server's handler at once. Only in a main
    thread, where servers have handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, hub = asyncio.get_running_loop(), direct.door.hub
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def on_signal(number: int, frame: FrameType | None) -> None:
        then = before[signal.Signals(number)]
        if hub.draining or not callable(then):
            _call(then, number, frame)
        else:
            hub.draining = True
            work = drain(
                direct,
                settings,
                lambda: _stop_listening(then),
                lambda: _call(then, number, frame),
            )
            loop.call_soon_threadsafe(hub.spawn, work)

    for number in numbers:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call(handler: Any, number: int, frame: FrameType | None) -> None:
    if callable(handler):
        handler(number, frame)


def _stop_listening(handler: Any) -> None:
    """Close the listening sockets of the uvicorn server whose method a signal handler is.

    Who is sent away and comes back finds another worker then, and not this one again.
    """
    for server in getattr(getattr(handler, "__self__", None), "servers", ()):
        server.close()


async def drain(
    direct: DirectTransport,
    settings: Settings,
    stop_listening: Callable[[], None],
    then: Callable[[], None],
) -> None:
    """Send the readers away after the lead, and call `then` when they have gone.

    Not before: the server would close them with a code of its own in place of their farewell.
    """
    try:
        await asyncio.sleep(settings.drain_lead_s)
        stop_listening()
        await direct.door.hub.drain(settings.drain_s)
        await direct.door.emptied(FAREWELL_S)
    finally:
        direct.end_all()
        then()


# -- answers that belong to no part


class SecurityHeaders:
    """Put the security headers on every answer, but for those that it has already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])  # may be shared: it is not to be changed
                present = {name for name, _ in own}
                message["headers"] = [*own, *(it for it in SECURITY if it[0] not in present)]
            await send(message)

        if scope["type"] == "lifespan":
            scope.setdefault("state", {})  # which only uvicorn's protocols need
        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem | StoreDown)
    shown = page.problem_page(error) if page.wants_page(request) else None
    return shown or auth.problem_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    place = _meant(request) if error.status_code == 404 else None
    if place:
        return RedirectResponse(place, headers={"cache-control": "no-store"})
    name = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
    answer = await _on_problem(request, Problem(error.status_code, name, error.detail))
    for header, value in (error.headers or {}).items():
        answer.headers[header] = value
    return answer


def _meant(request: Request) -> str | None:
    """Return the path on this site that is meant by one with slashes at its end, None for none."""
    path = request.scope["path"].rstrip("/")
    if path == request.scope["path"] or request.method not in ("GET", "HEAD"):
        return None
    scope = {**request.scope, "path": path}
    if not any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
        return None
    query = request.url.query
    return quote(path) + (f"?{query}" if query else "")


async def _on_fault(_: Request, __: Exception) -> Response:
    """Answer for a fault of ours; Starlette has the traceback logged by the server.

    uvicorn closes the connection then, which a caller who keeps it must be told.
    """
    answer = auth.problem_response(Problem(500, "fault", "A fault of the server's; it is logged."))
    answer.headers["connection"] = "close"
    return answer


def _health(hub: Hub, metrics: Metrics) -> list[BaseRoute]:
    async def healthz(_: Request) -> Response:
        return _now({"status": "ok"})

    async def readyz(_: Request) -> Response:
        store = "up" if hub.store_up else "down"
        if hub.draining or not hub.store_seen:
            return _now({"status": "draining" if hub.draining else "starting", "store": store}, 503)
        return _now({"status": "ready" if hub.store_up else "degraded", "store": store})

    async def store(request: Request) -> Response:
        return _now({"store": hub.store_of(request.path_params["slug"])})

    async def version(_: Request) -> Response:
        return _now({"version": __version__})

    async def counted(_: Request) -> Response:
        headers = {"cache-control": "no-store", "content-type": CONTENT_TYPE}
        return Response(metrics.text(), headers=headers)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/desk/blogs/{slug}/store", store),
        Route("/version", version),
        Route("/metrics", counted),
    ]


def _now(body: dict[str, str], status: int = 200) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})
