"""Transports and descriptors in memory, in place of a real kernel and real clients.

A `Kernel` gives the lowest free descriptor to each connection, as a real kernel does. So a write to
a descriptor after its close reaches another connection, and a test can detect such a bug.
"""

import asyncio
import errno
import json
from enum import StrEnum
from typing import Any, Final

ENOUGH: Final = 1 << 30  # bytes that a peer reads before it stalls, by default


class Rule(StrEnum):
    """Names what must hold for every connection, whatever its peer does."""

    ORDER = "bytes reach a peer in the order in which they were written"
    STRANGER = "bytes written to a descriptor reach its own connection only"
    PLAIN = "nothing is written past TLS"
    ANSWER = "each request gets its one right answer, and nothing else"
    FRAMES = "a reader's frames are whole, and bring it to the top"
    CODE = "a reader's stream ends once, for the right reason"
    COUNT = "the door counts each reader in and out, once"
    LIMIT = "no limit is passed"
    FREED = "no connection outlives its deadline"
    QUIET = "no callback raises, and no task fails"


class Broken(AssertionError):
    """A connection breaks a `Rule`; `seen` is what the peer saw instead."""

    def __init__(self, rule: Rule, seen: object) -> None:
        super().__init__(f"{rule}: {seen!r}")
        self.rule = rule


def hold(rule: Rule, holds: bool, seen: object = None) -> None:
    if not holds:
        raise Broken(rule, seen)


class Kernel:
    """Assigns file descriptors to the connections of one process, and writes to them."""

    def __init__(self) -> None:
        self.open: dict[int, Wire] = {}

    def add(self, wire: "Wire") -> int:
        number = next(n for n in range(10, 1_000) if n not in self.open)
        self.open[number] = wire
        return number

    def write(self, number: int, data: Any) -> int:
        """Write to a descriptor, in place of os.write."""
        if number not in self.open:
            raise OSError(errno.EBADF, "bad file descriptor")
        wire = self.open[number]
        hold(Rule.PLAIN, not wire.is_tls, bytes(data)[:40])
        hold(Rule.ORDER, not wire.buffer, bytes(data)[:40])
        sent = wire.peer_takes(bytes(data))
        if not sent:
            raise BlockingIOError
        return sent


class _Socket:
    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def getpeername(self) -> Any:
        return "127.0.0.1", 1

    getsockname = getpeername


class Wire(asyncio.Transport):
    """A connection: the server's transport, and its peer, which stalls after `room` bytes."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        room: int = ENOUGH,
        is_tls: bool = False,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__()
        self.room, self.is_tls, self._address = room, is_tls, address
        self.buffer, self.received = bytearray(), bytearray()
        self.is_over = self.is_cut = self.has_eof = False
        self._kernel, self._number = kernel, kernel.add(self)
        self._is_closing = self._is_paused = self._reads_paused = False
        self._pending = b""
        self._high = 65_536
        self.protocol: Any = None

    # -- the peer

    def peer_takes(self, data: bytes) -> int:
        size = min(len(data), self.room)
        self.room -= size
        self.received += data[:size]
        return size

    def send(self, data: bytes) -> None:
        """Send bytes to the server."""
        if self._reads_paused:
            self._pending += data
        elif not self._is_closing:
            try:
                self.protocol.data_received(data)
            except Broken:
                raise
            except Exception as error:
                raise Broken(Rule.QUIET, error) from error

    def take(self, size: int = ENOUGH) -> None:
        """Let the peer read `size` more bytes."""
        self.room += size
        self._flush()

    def half_close(self) -> None:
        if not self._is_closing and not self.protocol.eof_received():
            self.close()

    def leave(self) -> None:
        """Close the connection from the peer's side; the peer discards unread bytes."""
        self.abort()

    def head(self) -> bytes:
        return bytes(self.received.partition(b"\r\n\r\n")[0])

    def body(self) -> bytes:
        return bytes(self.received.partition(b"\r\n\r\n")[2])

    def frames(self) -> list[tuple[int, bytes]]:
        """Return the first byte and payload of each complete WebSocket frame."""
        data, found = self.body(), []
        while len(data) >= 2:
            size, start = data[1], 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            if len(data) < start + size:
                break
            hold(Rule.FRAMES, data[0] in (0x81, 0xC1, 0x88, 0x89, 0x8A), data[:20])
            found.append((data[0], data[start : start + size]))
            data = data[start + size :]
        closes = [first for first, _ in found if first == 0x88]
        hold(Rule.CODE, len(closes) <= 1 and (not closes or found[-1][0] == 0x88), found)
        return found

    def json(self) -> list[dict[str, Any]]:
        texts = [payload for first, payload in self.frames() if first == 0x81]
        try:
            return [json.loads(text) for text in texts]
        except ValueError:
            raise Broken(Rule.FRAMES, texts) from None

    def kinds(self) -> list[str]:
        return [str(frame["t"]) for frame in self.json()]

    def code(self) -> int | None:
        """Return the close code that the peer received; None without one."""
        first, payload = (self.frames() or [(0, b"")])[-1]
        return int.from_bytes(payload[:2], "big") if first == 0x88 else None

    # -- the server's transport

    def write(self, data: Any) -> None:
        if self._is_closing:
            return
        whole = bytes(data)
        sent = 0 if self.buffer else self.peer_takes(whole)
        self.buffer += whole[sent:]
        if len(self.buffer) > self._high and not self._is_paused:
            self._is_paused = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def _flush(self) -> None:
        del self.buffer[: self.peer_takes(bytes(self.buffer))]
        if self.buffer or self.is_over:
            return
        if self._is_paused:
            self._is_paused = False
            self.protocol.resume_writing()
        if self._is_closing:
            self._lose_soon()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self.buffer:
                self._lose_soon()

    def abort(self) -> None:
        self._is_closing = self.is_cut = True
        self.buffer.clear()
        self._lose_soon()

    def _lose_soon(self) -> None:
        if not self.is_over:
            self.is_over = True
            asyncio.get_running_loop().call_soon(self._lose)

    def _lose(self) -> None:
        self.protocol.connection_lost(None)
        del self._kernel.open[self._number]

    def write_eof(self) -> None:
        self.has_eof = True

    def can_write_eof(self) -> bool:
        return not self.is_tls

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 65_536 if high is None else high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        found = {
            "peername": (self._address, 1),
            "socket": _Socket(self._number),
            "sslcontext": object() if self.is_tls else None,
        }
        return found.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self._reads_paused = True

    def resume_reading(self) -> None:
        self._reads_paused = False
        data, self._pending = self._pending, b""
        if data:
            asyncio.get_running_loop().call_soon(self.send, data)
