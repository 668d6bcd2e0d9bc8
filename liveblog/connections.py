"""Connections of `liveblog serve`: a front door for each, behind which readers are direct.

uvicorn makes a `Front` for every connection (its setting `http=`). From the first bytes it tells a
reader's stream from everything else: a stream becomes a `SocketReader` or an `EventReader` there
and then, the rest is uvicorn's HTTP protocol with two limits more (`Http`). Upgrades that uvicorn
finds later, on a connection that a balancer keeps, take the same `SocketReader` (`ws=`).

Rules: decides "stream or not" and nothing else. Leans on names inside uvicorn, which pyproject.toml
bounds.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from liveblog import rfc6455
from liveblog.direct import HEAD_S, STREAM, EventReader, Lane, SocketReader

__all__ = ["Front", "Http", "SocketReader"]  # what uvicorn is given

HEAD_BYTES_MAX: Final = 8 * 1024
UNDRAINED_S: Final = 50.0  # for a buffer of HTTP; the hub's STALLED_S and its farewell come first

_STREAM_BEGIN: Final = b"GET /blogs/"

Kind = Callable[..., asyncio.Protocol]  # called as uvicorn calls its protocol classes


def _kind_of(data: bytes) -> Kind | None:
    """Say whose connection this is, from its first bytes; None while they do not tell."""
    found = STREAM.match(data)
    if not found:
        is_open = b"\r\n" not in data and data.startswith(_STREAM_BEGIN[: len(data)])
        return None if is_open else Http
    if b"\r\n\r\n" not in data:
        return None
    return SocketReader if found[2] == b"live" else EventReader


class Front(asyncio.Protocol):
    """What every connection begins as, until its first bytes say what it is."""

    __slots__ = ("_data", "_lane", "_parts", "_transport")

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._parts = config, server_state, app_state
        self._lane: Lane = app_state["lane"]
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._lane.heads.note(self)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        kind = _kind_of(self._data)
        if len(self._data) > HEAD_BYTES_MAX and _head_bytes(self._data) > HEAD_BYTES_MAX:
            self._refuse(431, _TOO_LONG)
        elif kind:
            self._lane.heads.forget(self)
            _hand_over(self._transport, kind(*self._parts), self._data)

    def head_is_late(self) -> None:
        self._refuse(408, _TOO_LATE)

    def _refuse(self, status: int, why: str) -> None:
        self._lane.heads.forget(self)
        _refuse(self._lane, self._transport, self, status, why)

    def abort(self) -> None:
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._lane.heads.forget(self)
        self._lane.closing.forget(self)


_TOO_LONG: Final = f"The request head is longer than {HEAD_BYTES_MAX} bytes."
_TOO_LATE: Final = f"The request head was not complete within {HEAD_S:g} s."


def _head_bytes(data: bytes) -> int:
    """Return the length of the head that `data` begins with, as far as it is there."""
    ends = data.find(b"\r\n\r\n")
    return len(data) if ends < 0 else ends


def _refuse(
    lane: Lane, transport: asyncio.Transport, connection: Any, status: int, why: str
) -> None:
    """Answer a head that is refused, and end the connection when that has left."""
    if not transport.is_closing():
        lane.closing.note(connection)
        transport.write(rfc6455.refusal(status, why))
        transport.close()


def _hand_over(transport: asyncio.Transport, protocol: Any, data: bytes) -> None:
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    protocol.data_received(data)


class Http(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits for request heads and for buffers that do not drain.

    It looks for streams again where a request begins: browsers open an EventSource on a connection
    they already have.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._lane: Lane = self.app_state["lane"]
        self._head_bytes = 0  # of a head that comes in pieces
        self._is_watched = False
        self._undrained: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if data.startswith(_STREAM_BEGIN) and self._is_between_requests():
            kind = _kind_of(data)
            if kind and kind is not Http:
                self._become(kind, data)
                return
        if self._is_too_long(data):
            self._refuse(431, _TOO_LONG)
            return
        super().data_received(data)
        if self._is_in_head() or self._is_watched:
            self._watch_head(data)

    # uvicorn makes a new scope when a request begins, and names its method when the head is whole.

    def _is_in_head(self) -> bool:
        return self.scope is not None and "method" not in self.scope

    def _is_between_requests(self) -> bool:
        """Say whether a request may begin here; uvicorn's own look is enough for one that did."""
        is_answered = self.cycle is None or (
            self.cycle.response_complete and not self.cycle.more_body
        )
        return is_answered and not self._is_in_head() and not self.transport.is_closing()

    def _become(self, kind: Kind, data: bytes) -> None:
        self.connections.discard(self)
        self._unset_keepalive_if_required()
        parts = self.config, self.server_state, self.app_state
        _hand_over(self.transport, kind(*parts), data)

    # -- heads

    def _is_too_long(self, data: bytes) -> bool:
        if self._is_watched or (len(data) > HEAD_BYTES_MAX and self._is_between_requests()):
            self._head_bytes += _head_bytes(data)
        return self._head_bytes > HEAD_BYTES_MAX

    def _watch_head(self, data: bytes) -> None:
        """Give a head that is not whole its time, once what came before it is answered."""
        waits = self._is_in_head() and (self.cycle is None or self.cycle.response_complete)
        if waits and not self._is_watched:
            self._lane.heads.note(self)
            self._head_bytes = len(data.rpartition(b"\r\n\r\n")[2])
        elif not waits:
            self._lane.heads.forget(self)
            self._head_bytes = 0
        self._is_watched = waits

    def head_is_late(self) -> None:
        self._refuse(408, _TOO_LATE)

    def _refuse(self, status: int, why: str) -> None:
        _refuse(self._lane, self.transport, self, status, why)

    def abort(self) -> None:
        self.transport.abort()

    # -- buffers

    def pause_writing(self) -> None:
        super().pause_writing()
        self._undrained = self.loop.call_later(UNDRAINED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_undrained()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget_undrained()
        self._lane.heads.forget(self)
        self._lane.closing.forget(self)

    def _forget_undrained(self) -> None:
        if self._undrained:
            self._undrained.cancel()
            self._undrained = None
