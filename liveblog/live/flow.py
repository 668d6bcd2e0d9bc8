"""The flow control of an HTTP connection: pauses the reading of bodies and the writing of answers.

Rules: sets private names of uvicorn; tests/unit/test_uvicorn.py fails when one is missing.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

from liveblog.live.backlog import Backlog

_WRITABLE: Final = asyncio.Event()
_WRITABLE.set()


class Flow(FlowControl):
    """uvicorn's flow control. The application resumes reading when it takes the bytes of a body.

    An asyncio.Event takes 0.8 KB, so connections share one until the client does not read.
    """

    def __init__(self, transport: asyncio.Transport, arrived: Backlog) -> None:
        self._transport, self._arrived = transport, arrived
        self.read_paused = self.write_paused = False
        self._is_writable_event = _WRITABLE

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
        if self._arrived.total:
            self._arrived.forget(self._transport)

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event = asyncio.Event()
