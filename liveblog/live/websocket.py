"""WebSocket readers (RFC 6455) whose sockets this worker writes itself.

Rules: live/rfc6455.py parses and makes the bytes; this module only decides when to write them.
"""

from typing import TYPE_CHECKING, Final

from liveblog.live import rfc6455
from liveblog.live.direct import RECEIVED_BYTES_MAX, AppState, DirectReader
from liveblog.live.door import GONE, SUBPROTOCOL, TOO_MUCH
from liveblog.live.frame import Frame, encoding_of
from liveblog.live.head import Head
from liveblog.live.rfc6455 import BadHandshake

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

_TOO_MUCH: Final = rfc6455.Received(
    [rfc6455.close(TOO_MUCH, "too many control frames")], TOO_MUCH, False, b""
)


class SocketReader(DirectReader):
    """A reader by WebSocket: writes frames to the socket, and answers pings and close frames."""

    transport_name = "websocket"
    has_close_codes = True
    forms = encoding_of(False, "framed"), encoding_of(False, "deflated")
    answers_pings = True

    __slots__ = (
        "_ignores_input",  # whether bytes from the reader are ignored
        "_pong",  # answers the last ping, when possible; earlier pings need no pong (section 5.5.3)
        "_received_bytes",  # how many bytes the reader has sent since the last ping
        "_rest",  # the start of an incomplete frame from the reader
    )

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: AppState,
        _loop: "asyncio.AbstractEventLoop | None" = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._received_bytes = 0
        self._ignores_input = False
        self._pong = self._rest = b""

    def _answer(self, head: Head) -> bytes:
        if head.is_old:  # HTTP/1.0 cannot open a WebSocket (RFC 6455, section 4.2.1)
            raise BadHandshake("A WebSocket needs HTTP/1.1.")
        accepted = rfc6455.accept(head.headers, SUBPROTOCOL)
        self.encoding = self.forms[accepted.deflates]
        return accepted.answer

    def _receive(self, data: bytes) -> None:
        if self._ignores_input:
            return
        if self.unheard:
            self.unheard = self._received_bytes = 0
        left = RECEIVED_BYTES_MAX - self._received_bytes
        self._received_bytes += len(data)
        received = rfc6455.receive(self._rest + data[:left], self.encoding.name == "deflated")
        self._rest = received.rest
        if received.code is not None:
            self._end_as_received(received)
        elif len(data) > left:
            self._end_as_received(_TOO_MUCH)
        elif received.replies and (self.behind or not (self.roster or self.is_ending)):
            # `_pay_pong` sends the pong later: the socket is full, or the blog is still loading.
            self._pong = received.replies[-1]
        elif received.replies:
            self._write(b"".join(received.replies))

    def _end_as_received(self, received: rfc6455.Received) -> None:
        """Close the connection after a close frame or a broken rule (RFC 6455, section 7.1.7)."""
        self._ignores_input = True
        if not self.is_ending:
            self._write(b"".join(received.replies))
            self._leave(received.code or GONE)
        self.flush()
        if received.is_close or not self._transport.can_write_eof():
            self._transport.close()
        else:
            # End only the writing side. A close with unread bytes in the kernel would reset the
            # connection, and the reader would not get the close code. The reader has CLOSING_S to
            # read the code and to close the connection.
            self._transport.write_eof()

    def flush(self) -> None:
        super().flush()
        self._pay_pong()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pay_pong()

    def _pay_pong(self) -> None:
        if self._pong and not self.is_ending and not self.behind:
            pong, self._pong = self._pong, b""
            self._transport.write(pong)

    def end(self, frame: Frame | None, code: int) -> None:
        """Write the last frame and start the closing handshake (section 7.1.2)."""
        last: bytes = frame.encoded(self.encoding) if frame else b""
        self._write(last + rfc6455.close(code))
        self._leave(code)
