"""Readers of Server-Sent Events whose sockets this worker writes itself.

Server-Sent Events have no close codes. A stream ends with a last frame instead. The status 204
stops an EventSource from reconnecting.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from liveblog.answer import SECURITY
from liveblog.live import rfc6455
from liveblog.live.direct import RECEIVED_BYTES_MAX, AppState, DirectReader
from liveblog.live.door import EVENT_HEADERS, STAY_AWAY, STAY_AWAY_HEADERS, last_event
from liveblog.live.frame import Frame, encoding_of
from liveblog.live.head import Head
from liveblog.live.reader import ENDED

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

_CLOSING: Final = {"connection": "close"}
_CHUNKED: Final = {"transfer-encoding": "chunked", **_CLOSING}
_LAST_CHUNK: Final = b"0\r\n\r\n"


class EventReader(DirectReader):
    """A reader of Server-Sent Events, sent as chunks of one HTTP/1.1 answer.

    HTTP/1.0 has no chunks, so its readers get plain events. nginx uses HTTP/1.0 by default.
    """

    transport_name = "events"
    has_close_codes = False
    forms = encoding_of(False, "chunk"), encoding_of(False, "event")

    __slots__ = ("_default_headers", "_received_bytes")

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: AppState,
        _loop: "asyncio.AbstractEventLoop | None" = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._received_bytes = 0
        self._default_headers = server_state.default_headers

    def _answer(self, head: Head) -> bytes:
        if not head.is_old or b"host" in head.headers:
            rfc6455.need_host(head.headers)
        self.encoding = self.forms[head.is_old]
        origin = head.headers.get(b"origin", b"").decode("latin-1")
        framing = _CLOSING if head.is_old else _CHUNKED
        headers = {**EVENT_HEADERS, **self._direct.door.cors(origin), **framing}
        return _answer_head(200, self._default_headers, headers)

    def _receive(self, data: bytes) -> None:
        """Ignore later requests on this connection; abort after RECEIVED_BYTES_MAX bytes."""
        self._received_bytes += len(data)
        if self._received_bytes > RECEIVED_BYTES_MAX:
            self.abort()

    def end(self, frame: Frame | None, code: int) -> None:
        is_unanswered = self._delayed is not None and len(self._delayed) == 1  # no frame yet
        if is_unanswered and code in STAY_AWAY:
            headers = {**STAY_AWAY_HEADERS, **_CLOSING}
            self._delayed = [_answer_head(204, self._default_headers, headers)]
            code = ENDED
        else:
            frame = last_event(frame, code)
            last: bytes = frame.encoded(self.encoding) if frame else b""
            self._write(last + (_LAST_CHUNK if self.encoding.name == "chunk" else b""))
        self._leave(code)
        self.flush()
        self._transport.close()


def _answer_head(
    status: int, default_headers: list[tuple[bytes, bytes]], headers: Mapping[str, str]
) -> bytes:
    lines = [b"%b: %b\r\n" % pair for pair in (*default_headers, *SECURITY)]
    lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items()]
    return STATUS_LINE[status] + b"".join(lines) + b"\r\n"
