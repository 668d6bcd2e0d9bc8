"""uvicorn's connections, with an end: one whose peer takes nothing any more is cut off.

uvicorn ends a connection with `transport.close()`, which waits for a buffer that such a peer never
drains, so the connection would stay for ever. `liveblog serve` hands these classes to uvicorn in
place of its own.

Rules: nothing of blogs or readers. Leans on names inside uvicorn, which pyproject.toml bounds.
"""

import asyncio
import os
import socket
from functools import cache
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from liveblog.settings import load

UNDRAINED_S: Final = 50.0  # longer than sockets.STALLED_S and its farewell, which then come first
CLOSING_S: Final = 5.0

_BAD_HANDSHAKE: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class _Draining(asyncio.Protocol):
    """Mixed into a protocol: aborts when the buffer was full for UNDRAINED_S."""

    transport: asyncio.Transport
    _undrained: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._undrained = loop.call_later(UNDRAINED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _forget(self) -> None:
        if self._undrained:
            self._undrained.cancel()
            self._undrained = None


class Http(_Draining, HttpToolsProtocol):
    """uvicorn's HTTP protocol; frees a stalled stream of events or page."""


class Socket(_Draining, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol.

    Frees a stalled reader, and bounds what the kernel holds for it.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _send_buffer_bytes())

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # websockets gave the handshake up; uvicorn 0.54 does not look, and would keep the
        # connection, without an answer, until its own shutdown fails on it.
        if self.conn.handshake_exc is not None and not self.close_sent:
            self.close_sent = True
            self.transport.write(_BAD_HANDSHAKE)
            self.transport.close()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        super().on_task_complete(task)
        # The application is done with it: the rest of the buffer has so long to leave.
        asyncio.get_running_loop().call_later(CLOSING_S, self.transport.abort)


@cache
def _send_buffer_bytes() -> int:
    return load(os.environ).send_buffer_bytes
