"""The security headers, on every answer."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liveblog.answer import SECURITY


class SecurityHeaders:
    """Adds the security headers that an answer does not have yet.

    Wraps the whole application, since Starlette answers internal errors outside all middleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])  # this list may be shared: copy, never change
                present = {name for name, _ in own}
                message["headers"] = [*own, *(it for it in SECURITY if it[0] not in present)]
            await send(message)

        if scope["type"] == "lifespan":
            scope.setdefault("state", {})  # other servers than uvicorn may have no state
        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
