"""Compose the application: make every part, and pass to each part the parts that it needs.

Rules: composes only. No part reads `app.state`: each part gets the other parts as arguments.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.applications import Starlette
from starlette.types import ASGIApp

from liveblog.answer import SecurityHeaders
from liveblog.blog.problem import StoreDown
from liveblog.clock import now_ms
from liveblog.editors import api, desk, schedule
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.html import entries
from liveblog.html.pages import Pages
from liveblog.live import health
from liveblog.live import portable as sockets
from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.drain import draining_first
from liveblog.live.hub import Hub
from liveblog.live.metrics import Metrics
from liveblog.live.shared import HubSettings
from liveblog.pages import assets, page, scripts
from liveblog.pages.assets import Assets
from liveblog.pages.errors import ErrorHandlers
from liveblog.process import Worker, collect, first_contact, readers_max
from liveblog.settings import Settings, load, static_dir
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.connect import connect
from liveblog.store.follow import Follower

REINDEX_RETRY_S: Final = 2.0


def create() -> ASGIApp:
    """Make the application from the environment, for any ASGI server."""
    return create_app(load(os.environ))


def create_app(settings: Settings, worker: Worker | None = None) -> ASGIApp:
    """Make the application.

    `settings.redis_url` must be set. When no store is configured, `liveblog serve` sets it to the
    address of its embedded store. `liveblog serve` passes its `worker`; None means that another
    ASGI server runs the application.
    """
    worker = worker or Worker()
    nodes = connect(settings.redis_url)
    broker = Broker(nodes, wait_for_replica=settings.durability == "replica")
    accounts = Accounts(nodes, now_ms)
    publishing = Publishing(broker, now_ms)
    follower = Follower(nodes, broker.source.probe)
    hub = Hub(broker.source, follower, entries, now_ms, _hub_settings(settings))
    door = _door(hub, settings)
    files = Assets(scripts.with_scripts(assets.read(static_dir())))
    pages, problems = Pages(files.prefix), Problems()
    metrics = Metrics(door)
    direct = DirectTransport(door, settings.forwarded_allow_ips)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        endless = hub.run(), follower.run(hub), schedule.run(broker, publishing), direct.run()
        parts = *endless, metrics.run(), collect(), _reindex(broker)
        lead_s, window_s = settings.drain_lead_s, settings.drain_s
        with draining_first(direct, lead_s, window_s, worker.stop_listening):
            try:
                async with worker.running(*parts):
                    if worker.replaces_another:
                        await first_contact(lambda: hub.store_seen)
                    yield {"direct": direct}  # uvicorn passes this to live/connections.py
            finally:
                await hub.close()
                await nodes.aclose()

    starlette = Starlette(
        routes=[
            *sockets.routes(door),
            *page.routes(hub, settings, pages),
            *api.routes(publishing, accounts, settings, problems),
            *desk.routes(publishing, accounts, settings, pages, problems, now_ms),
            *health.routes(hub, metrics),
            *files.routes(),
        ],
        exception_handlers=ErrorHandlers(pages, problems.response).handlers,
        lifespan=lifespan,
    )
    # pages/errors.py redirects instead: Starlette's redirect would repeat the client's Host header.
    starlette.router.redirect_slashes = False
    # Cached answers are sent before routing, with their own security headers.
    return page.FastPath(hub, SecurityHeaders(starlette))


def _hub_settings(settings: Settings) -> HubSettings:
    return HubSettings(
        heartbeat_s=settings.heartbeat_s,
        blogs_bytes_max=settings.blogs_bytes_max,
        blogs_max=settings.blogs_max,
        held_bytes_max=settings.held_bytes_max,
        base_url=settings.site_url,
    )


def _door(hub: Hub, settings: Settings) -> Door:
    own = [settings.public_url] if settings.public_url else []
    return Door(
        hub,
        frozenset([*settings.allowed_origins, *own]),
        settings.readers_max or readers_max(),
        settings.readers_per_address_max,
    )


async def _reindex(broker: Broker) -> None:
    """Add missing blogs to the store's list of all blogs, once, as soon as the store answers.

    A crash after a blog was written can leave the blog out of that list (store/blogs.py).
    """
    while True:
        try:
            return await broker.blogs.rebuild_index()
        except StoreDown:
            await asyncio.sleep(REINDEX_RETRY_S)
