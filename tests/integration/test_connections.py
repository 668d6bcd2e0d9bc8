"""Connections whose peer takes nothing any more are freed, whatever the application does."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from servers import free_port
from waiting import until

from liveblog import connections

CHUNK = b"x" * 65_536


class Running:
    """An application that sends for ever, and what it is connected to."""

    def __init__(self) -> None:
        self.port = free_port()
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        try:
            if scope["type"] == "websocket":
                await self._socket(receive, send)
            else:
                await self._stream(receive, send)
        finally:
            self.ended.append(scope["type"])

    async def _stream(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            await asyncio.sleep(0)

    async def _socket(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await send({"type": "websocket.send", "bytes": CHUNK})


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, Any]]:
    monkeypatch.setattr(connections, "UNDRAINED_S", 0.5)
    monkeypatch.setattr(connections, "CLOSING_S", 0.5)
    app = Running()
    config = uvicorn.Config(
        app,
        port=app.port,
        http=connections.Http,
        ws=connections.Socket,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment] # the tests' own
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield app, server
    server.should_exit = True
    await task


async def stalled(port: int, head: str) -> socket.socket:
    """Connect, ask, and never read."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(peer, ("127.0.0.1", port))
    await loop.sock_sendall(peer, f"GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
    return peer


UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


LONG = UPGRADE + "Cookie: " + "a" * 9_000 + "\r\n"


async def test_a_failed_handshake_is_answered_and_freed_and_does_not_break_the_end(
    running: tuple[Running, Any],
) -> None:
    app, server = running
    with contextlib.closing(await stalled(app.port, LONG)) as peer:
        async with asyncio.timeout(10):
            answer = await asyncio.get_running_loop().sock_recv(peer, 100)
            assert answer.startswith(b"HTTP/1.1 400")
            await until(lambda: not server.server_state.connections)
            await server.shutdown()


@pytest.mark.parametrize("head", ["", UPGRADE], ids=["http", "websocket"])
async def test_a_peer_that_takes_nothing_is_freed(running: tuple[Running, Any], head: str) -> None:
    app, server = running
    with contextlib.closing(await stalled(app.port, head)):
        await until(lambda: server.server_state.connections)
        await until(lambda: not server.server_state.connections)
        await until(lambda: app.ended)
