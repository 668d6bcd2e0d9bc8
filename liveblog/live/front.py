"""The first protocol of every connection of `liveblog serve`: recognises readers' streams.

uvicorn makes a `Front` for every connection (its setting `http=`), or a `TlsFront` (live/tls.py). A
`Front` recognises a reader's stream by its first bytes, and gives the connection to a
`SocketReader` or an `EventReader`. Every other connection goes to `Http` (live/connections.py).

Rules: counts and refuses through `DirectTransport` (live/direct.py), which has the limits.
"""

import asyncio
from typing import TYPE_CHECKING

from liveblog.live import rfc6455
from liveblog.live.connections import READERS, TOO_LATE, Http, hand_over
from liveblog.live.direct import AppState
from liveblog.live.head import HEAD_BYTES_MAX, OTHER, TOO_LONG, Fault, Kind, head_bytes, kind_of
from liveblog.live.plain import FULL, is_for_operators

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState


class Front(asyncio.Protocol):
    """Collects the first bytes of a connection, then passes it to the protocol for its request."""

    __slots__ = ("_data", "_direct", "_parts", "_transport")

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: AppState,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._parts = config, server_state, app_state
        self._direct = app_state["direct"]
        self._data = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # loops pass a Transport; the base class's type is wider
        self._transport = transport
        if self._direct.enter(transport):
            self._direct.heads.note(self)
        else:
            self._direct.refuse(FULL, self, transport)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        kind = kind_of(self._data)
        if len(self._data) > HEAD_BYTES_MAX and head_bytes(self._data) > HEAD_BYTES_MAX:
            self._refuse(TOO_LONG)
        elif kind and (not self._direct.plain.over or self._has_place(kind)):
            self._direct.heads.forget(self)
            protocol = READERS.get(kind, Http)(*self._parts)
            hand_over(self._transport, protocol, self._data)

    def _has_place(self, kind: Kind) -> bool:
        """Return False while the request line of a connection over a limit may still come.

        Refuse the connection when no limit leaves a place for its request. The door refuses
        streams, so that their readers get a close code.
        """
        why = self._direct.plain.over.get(self._transport)
        if why is None or kind is not OTHER:
            return True
        if b"\r\n" not in self._data:
            return False
        if why == FULL and is_for_operators(self._data):
            return True
        self._direct.heads.forget(self)
        self._direct.refuse(why, self, self._transport)
        return False

    def head_is_late(self) -> None:
        """Answer 408 to an incomplete head; close a connection on which no bytes have come.

        Browsers open such connections in advance.
        """
        if self._data:
            self._refuse(TOO_LATE)
        else:
            self._transport.abort()  # nothing is unsent, and a TLS client could delay a `close()`

    def _refuse(self, fault: Fault) -> None:
        self._direct.heads.forget(self)
        self._direct.close_with(rfc6455.refusal(*fault), self, self._transport)

    def abort(self) -> None:
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._direct.heads.forget(self)
        self._direct.closing.forget(self)
        self._direct.plain.leave(self._transport)
