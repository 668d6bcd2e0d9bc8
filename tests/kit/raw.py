"""TCP connections for tests that send and check single bytes; every wait has a deadline."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from kit.waiting import SCALE

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
WAIT_S = 10.0


def request(path: str, headers: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()


def client_hello() -> bytes:
    """Return the first bytes of a client's TLS handshake."""
    sent = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="live.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        made.do_handshake()
    return sent.read()


def masked(first: int, payload: bytes = b"", key: bytes = b"mask") -> bytes:
    """Return a WebSocket frame as a client sends it; `payload` has at most 125 bytes."""
    body = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + key + body


class Wire:
    """One TCP connection; every wait has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        """Return the status line and the headers of the next answer."""
        async with asyncio.timeout(WAIT_S * SCALE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Return everything up to the end of the connection. Raises TimeoutError without an end."""
        async with asyncio.timeout(WAIT_S * SCALE):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame's first byte and payload."""
        async with asyncio.timeout(WAIT_S * SCALE):
            first, size = await self.reader.readexactly(2)
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first, await self.reader.readexactly(size)

    async def frame_of(self, first: int) -> bytes:
        """Return the payload of the next frame with this first byte."""
        while (frame := await self.frame())[0] != first:
            pass
        return frame[1]

    async def close_code(self) -> int:
        """Return the code in the server's close frame; the connection must end after it."""
        code = int.from_bytes((await self.frame_of(0x88))[:2], "big")
        self.writer.write(masked(0x88, code.to_bytes(2, "big")))
        assert await self.rest() == b""
        return code


@contextlib.asynccontextmanager
async def wire(url: str, first: bytes = b"", **more: Any) -> AsyncIterator[Wire]:
    """Connect to a local server, send the bytes `first`, and yield the connection."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        more["ssl"] = ssl._create_unverified_context()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, **more)
    try:
        made = Wire(reader, writer)
        await made.send(first)
        yield made
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
