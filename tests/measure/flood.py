"""Sign-ins of a known browser beside a flood of strangers' tries.

STRANGERS clients send wrong passwords without a pause, each try from another address and for another name: a third
without a device cookie, a third with a forged one, a third with a mark that is another user's. An editor in a known
browser signs in TIMES times. The figures are the longest of these sign-ins, and how many of them the server refused.
"""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from kit.figure import Figure
from kit.raw import request
from kit.servers import Server, serving
from kit.waiting import until

from liveblog.clock import now_ms
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect

STRANGERS: Final = 200
TIMES: Final = 20
PASSWORD: Final = "correct horse battery"
FORGED: Final = f"{'a' * 16}.1700000000.{'0' * 32}"
MUST_S: Final = 3.0


async def figures(strangers: int = STRANGERS, times: int = TIMES) -> AsyncIterator[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        log, data = Path(directory) / "log", f"{directory}/data"
        with serving(log, DATA_DIR=data) as server:
            known, others = await _marks(server, "dana", "zoe")
            async with _flood(server, strangers, ["", FORGED, others]) as answers:
                tries = [await _timed(server, "dana", known) for _ in range(times)]
    beside = f"beside {strangers} strangers"
    yield Figure(
        f"sign-ins of a known browser {beside} that were refused",
        0,
        sum(status != 303 for status, _ in tries),
    )
    yield Figure(
        f"sign-in of a known browser {beside}, at most",
        MUST_S,
        max(took for _, took in tries),
        " s",
    )
    yield Figure("strangers' tries meanwhile", 1, len(answers), at_least=True)


async def _marks(server: Server, *names: str) -> list[str]:
    """Create users; return the mark of a browser of each."""
    async with connect(server.store_url) as nodes:
        accounts = Accounts(nodes, now_ms)
        for name in names:
            await accounts.people.add(name, PASSWORD)
        return [await accounts.device_mark(name) for name in names]


@contextlib.asynccontextmanager
async def _flood(server: Server, strangers: int, marks: list[str]) -> AsyncIterator[list[int]]:
    """Let strangers try during the block; yield the statuses. At the start each was answered."""
    answers: list[int] = []
    tasks = [
        asyncio.create_task(_stranger(server, number, marks[number % len(marks)], answers))
        for number in range(strangers)
    ]
    try:
        await until(lambda: len(answers) >= strangers, 60)
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stranger(server: Server, number: int, mark: str, answers: list[int]) -> None:
    for count in itertools.count():
        address = f"127.{1 + number % 250}.{count // 250 % 250}.{1 + count % 250}"
        with contextlib.suppress(OSError):
            answers.append(
                await _sign_in(server, f"name{number}-{count}", "wrong password", mark, address)
            )


async def _timed(server: Server, name: str, mark: str) -> tuple[int, float]:
    """Return the status of a sign-in, and its time in seconds."""
    started = time.perf_counter()
    status = await _sign_in(server, name, PASSWORD, mark)
    return status, time.perf_counter() - started


async def _sign_in(
    server: Server, name: str, password: str, mark: str, address: str = "127.0.0.1"
) -> int:
    """Send a sign-in form on a new connection; return the status of the answer."""
    form = urlencode({"name": name, "password": password}).encode()
    cookie = f"Cookie: liveblog-device={mark}\r\n" if mark else ""
    head = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, local_addr=(address, 0)
    )
    with contextlib.closing(writer):
        writer.write(request("/desk/sign-in", head + cookie, "POST") + form)
        answer = await reader.read()
    return int(answer[9:12])
