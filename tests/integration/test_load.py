"""The programs of tests/measure count correctly. Only counts are tested, never times."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from kit.servers import free_port
from kit.waiting import until_sync
from measure.subjects import Floor, Liveblog, Readers, Subject, compiled

READERS, ENTRIES = 50, 5


@pytest.mark.parametrize("kind", [Floor, Liveblog])
@pytest.mark.parametrize("more", [[], ["-z"]], ids=["plain", "compressed"])
def test_every_reader_of_a_subject_gets_every_entry_once(
    kind: Callable[[], Subject], more: list[str]
) -> None:
    with kind() as subject, Readers(subject, READERS, "-e", ENTRIES, *more, stay_s=20) as load:
        for published in range(1, ENTRIES + 1):
            subject.publish()
            if isinstance(subject, Liveblog):  # two changes at once may reach a reader as one frame
                until_sync(partial(_are_delivered, subject, published * READERS))
        got = load.result()
    assert (got["open"], got["failed"], got["closed"]) == (READERS, 0, 0)
    assert (got["least"], got["most"], got["delivered"]) == (ENTRIES, ENTRIES, READERS * ENTRIES)
    assert (got["repeated"], got["disordered"], got["unchained"]) == (0, 0, 0)
    assert (got["compressed"] > 0) == (kind is Liveblog and bool(more))


def _are_delivered(subject: Liveblog, count: int) -> bool:
    return subject.metric("liveblog_deliveries_total") >= count


def frame(since: int, top: int, mark: int) -> bytes:
    json = b'{"t":"changes","from":%d,"position":"e.%d.x","changes":["lbns%d"]}' % (
        since,
        top,
        mark,
    )
    return b"\x81" + bytes((len(json),)) + json


STORIES = {
    "nothing wrong": ([(1, 2, 10), (2, 3, 20)], {}),
    "one twice": ([(1, 2, 10), (1, 2, 10)], {"repeated": 1, "unchained": 1}),
    "one lost": ([(1, 2, 10), (3, 4, 20)], {"unchained": 1}),
    "two the wrong way round": ([(2, 3, 20), (1, 2, 10)], {"disordered": 1, "unchained": 1}),
}


@pytest.mark.parametrize("what", STORIES)
async def test_reader_program_counts_lost_doubled_and_disordered_entries(what: str) -> None:
    story, wrong = STORIES[what]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await started.wait()
        for since, top, mark in story:
            writer.write(frame(since, top, mark))
        await writer.drain()
        await reader.read()
        writer.close()

    started, port = asyncio.Event(), free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        command = [str(compiled("fanload")), "-p", str(port), "-n", "3", "-d", "20", "-e", "2"]
        pipe = asyncio.subprocess.PIPE
        load = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        assert load.stderr
        assert b"READY open=3" in await load.stderr.readline()
        started.set()
        out = (await load.communicate())[0].decode()
    got = dict(pair.split("=") for pair in out.split() if "=" in pair)
    seen = {key: int(got[key]) for key in ("repeated", "disordered", "unchained")}
    assert seen == {"repeated": 0, "disordered": 0, "unchained": 0} | {
        key: 3 * count for key, count in wrong.items()
    }
