"""The endpoints for operators: health, readiness, version and metrics.

Rules: answers from memory; never calls the store.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from liveblog.live.hub import Hub
from liveblog.live.metrics import CONTENT_TYPE, Metrics
from liveblog.version import __version__


def routes(hub: Hub, metrics: Metrics) -> list[BaseRoute]:
    """Return the routes for operators, and the desk's route for the state of the store."""

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(_: Request) -> Response:
        # A store that becomes unreachable later causes no 503. Readers can still read, and another
        # worker could not help, since all workers have the same store.
        store = _state(hub)
        if hub.draining or not hub.store_seen:
            return _json({"status": "draining" if hub.draining else "starting", **store}, 503)
        return _json({"status": "ready" if hub.store_up else "degraded", **store})

    async def store(request: Request) -> Response:
        state, refusal = hub.store_of(request.path_params["slug"]), hub.store.refusal
        if not refusal or state != "refuses-writes":
            return _json({"store": state})
        # Anyone may ask, so the answer has none of the store's own words.
        return _json({"store": state, "cause": refusal.cause, "why": refusal.reason})

    async def version(_: Request) -> Response:
        return _json({"version": __version__})

    async def counters(_: Request) -> Response:
        headers = {"cache-control": "no-store", "content-type": CONTENT_TYPE}
        return Response(metrics.text(), headers=headers)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/desk/blogs/{slug}/store", store),
        Route("/version", version),
        Route("/metrics", counters),
    ]


def _state(hub: Hub) -> dict[str, str]:
    """Return the store's state. `why` has the reason of a refusal, or a warning."""
    state, refusal = hub.store.state, hub.store.refusal
    why = {"up": hub.store.warning, "refuses-writes": str(refusal), "down": ""}[state]
    return {"store": state, **({"why": why} if why else {})}


def _json(body: dict[str, str], status: int = 200) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})
