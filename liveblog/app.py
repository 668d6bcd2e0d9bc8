"""Compose the application: make every part, and pass to each part the parts that it needs.

Rules: composes only. No part reads `app.state`: each part gets the other parts as arguments.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from liveblog.answer import SecurityHeaders
from liveblog.clock import now_ms
from liveblog.editors import account, api, desk, kept, pasting, previews, schedule, upkeep
from liveblog.editors.bodies import all_bodies
from liveblog.editors.gate import Gate
from liveblog.editors.problems import Problems
from liveblog.editors.publishing import Publishing
from liveblog.forwarded import ForwardedHeaders, Proxies
from liveblog.html import entries, environment
from liveblog.html.pages import Pages
from liveblog.live import health
from liveblog.live import portable as sockets
from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.drain import draining_first
from liveblog.live.hub import Hub
from liveblog.live.metrics import Metrics
from liveblog.live.plain import PLAIN_MAX, ConnectionLimits, PlainConnections
from liveblog.live.shared import HubSettings
from liveblog.pages import assets, page, scripts
from liveblog.pages.assets import Assets
from liveblog.pages.errors import ErrorHandlers
from liveblog.process import Worker, collect, file_shares, first_contact
from liveblog.settings import Settings, load, log_doubts, log_ignored, static_dir
from liveblog.store.accounts import Accounts
from liveblog.store.broker import Broker
from liveblog.store.connect import connect
from liveblog.store.follow import Follower
from liveblog.store.nodes import Nodes

VERSION_DIGITS: Final = 8  # of a release's markup, styles and scripts, as open pages compare it


def create() -> ASGIApp:
    """Make the application from the environment, for any ASGI server."""
    log_ignored(os.environ)
    settings = load(os.environ)
    log_doubts(settings)
    return create_app(settings)


def create_app(settings: Settings, worker: Worker | None = None) -> ASGIApp:
    """Make the application.

    `settings.redis_url` must be set. When no store is configured, `liveblog serve` sets it to the
    address of its embedded store. `liveblog serve` passes its `worker`; None means that another
    ASGI server runs the application.
    """
    worker = worker or Worker()
    nodes = connect(settings.redis_url)
    broker = _broker(nodes, settings)
    publishing = Publishing(broker, now_ms)
    follower = Follower(nodes, broker.source.probe)
    version, files = _release()
    hub = Hub(broker.source, follower, entries, now_ms, _hub_settings(settings, version))
    door = _door(hub, settings)
    pages = Pages(files.prefix, version)
    problems = Problems(lambda: bool(broker.condition.refusal))
    direct = DirectTransport(door, Proxies(settings.forwarded_allow_ips), plain=_plain(settings))
    metrics = Metrics(door, direct.plain)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        endless = hub.run(), follower.run(hub), schedule.run(broker, publishing), direct.run()
        parts = *endless, metrics.run(), collect(), broker.sweep.run()
        lead_s, window_s = settings.drain_lead_s, settings.drain_s
        with draining_first(direct, lead_s, window_s, worker.stop_listening):
            try:
                async with worker.running(*parts):
                    if worker.replaces_another:
                        await first_contact(lambda: hub.store_seen)
                    yield {"direct": direct}  # uvicorn passes this to live/front.py
            finally:
                await hub.close()
                await nodes.aclose()

    starlette = Starlette(
        routes=[
            *sockets.routes(door),
            *page.routes(hub, settings, pages),
            *_editors_routes(settings, nodes, broker, publishing, pages, problems),
            *health.routes(hub, metrics),
            *files.routes(),
        ],
        exception_handlers=ErrorHandlers(pages, problems.response).handlers,
        lifespan=lifespan,
    )
    # pages/errors.py redirects instead: Starlette's redirect would repeat the client's Host header.
    starlette.router.redirect_slashes = False
    # Cached answers are sent before routing, with their own security headers.
    return ForwardedHeaders(page.FastPath(hub, SecurityHeaders(starlette)), direct.proxies)


def _editors_routes(
    settings: Settings,
    nodes: Nodes,
    broker: Broker,
    publishing: Publishing,
    pages: Pages,
    problems: Problems,
) -> list[BaseRoute]:
    bodies, accounts = all_bodies(), Accounts(nodes, now_ms)
    previewing = previews.Previews(publishing, broker.source.load, now_ms)
    gate = Gate(accounts, settings, pages, problems, bodies)
    return [
        *api.routes(publishing, accounts, settings, problems, bodies.editors, previewing),
        *gate.routes(),
        *account.routes(gate, accounts, settings, pages, problems),
        *pasting.routes(gate),
        *upkeep.routes(gate, publishing, pages),
        *previews.routes(gate, previewing, publishing, pages),
        *kept.routes(gate, broker.kept, publishing),
        *desk.routes(gate, publishing, settings, pages, now_ms),
    ]


def _broker(nodes: Nodes, settings: Settings) -> Broker:
    return Broker(
        nodes,
        wait_for_replica=settings.durability == "replica",
        needs_disk=settings.durability == "disk",
    )


def _release() -> tuple[str, Assets]:
    """Return the version of this release's markup, styles and scripts, and the files to serve.

    All workers of a release have the same version, whatever their settings.
    """
    static = assets.read(static_dir())
    version = assets.digest({**static, **environment.sources()})[:VERSION_DIGITS]
    return version, Assets(scripts.with_scripts(static, version))


def _hub_settings(settings: Settings, version: str) -> HubSettings:
    return HubSettings(
        heartbeat_s=settings.heartbeat_s,
        blogs_bytes_max=settings.blogs_bytes_max,
        blogs_max=settings.blogs_max,
        held_bytes_max=settings.held_bytes_max,
        base_url=settings.site_url,
        version=version,
    )


def _door(hub: Hub, settings: Settings) -> Door:
    return Door(
        hub,
        settings.site,
        settings.readers_max or file_shares().readers,
        settings.readers_per_address_max,
    )


def _plain(settings: Settings) -> PlainConnections:
    shares = file_shares()
    limits = ConnectionLimits(
        plain_max=settings.connections_max or PLAIN_MAX,
        files_max=shares.connections,
        reserve=shares.reserve,
        per_address_max=settings.connections_per_address_max,
    )
    return PlainConnections(limits)
