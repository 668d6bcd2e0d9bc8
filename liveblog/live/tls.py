"""Connections of `liveblog serve` by TLS, counted from their accept on.

An event loop with `ssl=` shows a connection to its protocol after the handshake. Until then no
limit would count the connection, and clients that never finish a handshake would take all
descriptors. So the server accepts plain connections, and `TlsFront` counts each one before it
starts TLS. After the handshake a `TlsFront` is a `Front`.

OpenSSL takes memory for a whole ClientHello when its length arrives, up to 128 KiB. So `_Hello`
reads this length first.

Rules: only for TLS; a plain connection never passes through this module.
"""

import asyncio
from collections.abc import Coroutine
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final

from liveblog.live.direct import HANDSHAKE_S, AppState
from liveblog.live.front import Front
from liveblog.live.plain import FULL

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

__all__ = ["TlsFront", "hello_length"]

# A browser's ClientHello has at most some KB, also with keys against quantum computers.
HELLO_BYTES_MAX: Final = 16_384
HEAD_BYTES: Final = 64  # in so many bytes the length must be, in one TLS record or in several
_HANDSHAKE: Final = 22  # the type of a TLS record, its first byte


class TlsFront(Front):
    """Counts a connection, performs its TLS handshake, then collects the first bytes inside TLS."""

    __slots__ = ("_context", "_handshake")

    def __init__(
        self,
        context: SSLContext,
        config: "Config",
        server_state: "ServerState",
        app_state: AppState,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._context = context
        self._handshake: Coroutine[Any, Any, asyncio.Transport | None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # loops pass a Transport; the base class's type is wider
        self._transport = transport
        if self._direct.enter(transport):
            self._direct.handshakes.note(self)
            self._start_tls(transport)
        else:
            self._direct.plain.refused[FULL] += 1
            transport.abort()  # an answer would need a handshake first

    def _start_tls(self, transport: asyncio.Transport) -> None:
        """Start the handshake in this turn of the event loop.

        A task would start in the next turn, when the client's first bytes may have come already.
        Tasks that start at once need Python 3.12. So this class runs the coroutine: `start_tls`
        waits once, for the end of the handshake.
        """
        loop = asyncio.get_running_loop()
        self._handshake = loop.start_tls(
            transport, self, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
        )
        self._handshake.send(None).add_done_callback(self._handshake_ended)
        transport.set_protocol(_Hello(transport))

    def _handshake_ended(self, _: "asyncio.Future[None]") -> None:
        secure = self._result()
        if secure is None or secure.is_closing():
            self._transport.abort()
            self.connection_lost(None)  # loops do not call this for an unfinished handshake
            return
        direct = self._direct
        direct.plain.rename(self._transport, secure)
        direct.handshakes.forget(self)
        direct.heads.note(self)
        self._transport = secure
        if self._data:
            super().data_received(b"")

    def _result(self) -> asyncio.Transport | None:
        """Return the transport inside TLS; None when the handshake failed."""
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        try:
            handshake.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # Python types it as Any
        except Exception:  # the client speaks no TLS, or has left; the loop logs other errors
            return None
        raise AssertionError("start_tls waits more than once")

    def data_received(self, data: bytes) -> None:
        if self._handshake:  # asyncio passes the first bytes on before the handshake's callback
            self._data += data
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._direct.handshakes.forget(self)
        super().connection_lost(exc)


class _Hello(asyncio.BufferedProtocol):
    """Passes bytes to the TLS of a transport until the length of the ClientHello is known.

    Aborts the transport otherwise.
    """

    __slots__ = ("_head", "_tls", "_transport", "_view")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._tls: Any = transport.get_protocol()  # a BufferedProtocol of the event loop
        self._view, self._head = memoryview(b""), b""

    def get_buffer(self, sizehint: int) -> memoryview:
        self._view = self._tls.get_buffer(sizehint)
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self._head += bytes(self._view[: min(nbytes, HEAD_BYTES - len(self._head))])
        length = hello_length(self._head)
        if (length or 0) > HELLO_BYTES_MAX or (length is None and len(self._head) == HEAD_BYTES):
            self._transport.abort()
            return
        if length is not None:
            self._transport.set_protocol(self._tls)
        self._tls.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self._tls.eof_received()  # type: ignore[no-any-return]  # a private class of the loop

    def connection_lost(self, exc: Exception | None) -> None:
        self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        self._tls.resume_writing()


def hello_length(data: bytes) -> int | None:
    """Return the length that the first message of a TLS handshake claims; None while it is unknown.

    Return 0 for bytes that are no handshake: TLS refuses them.
    """
    message, at = b"", 0
    while len(message) < 4 and at + 5 <= len(data):
        if data[at] != _HANDSHAKE:
            return 0
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        message += data[at + 5 : end]
        at = end
    return int.from_bytes(message[1:4], "big") if len(message) >= 4 else None
