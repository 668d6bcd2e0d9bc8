"""Cached answers: negotiated, compressed and revalidated."""

import asyncio
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import brotli
import pytest
from kit.waiting import until

from liveblog import answer
from liveblog.answer import CACHED_1_S, Answer, best_coding

TEXT = b"<p>The river rose above the second mark at noon.</p>\n" * 100
CODE = Path(answer.__file__).read_bytes()
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "gzip": lambda body: zlib.decompress(body, wbits=31),
    "identity": lambda body: body,
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let answers wait up to 10 s for their compression, since the machine may be busy."""
    monkeypatch.setattr(answer, "WAIT_S", 10)


class Got(NamedTuple):
    """The answer that a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def coding(self) -> str:
        return self.headers.get("content-encoding", "identity")


async def get(app: Answer, accept: str = "", has: str = "", method: str = "GET") -> Got:
    given = {"accept-encoding": accept, "if-none-match": has}
    asked = [(name.encode(), value.encode()) for name, value in given.items() if value]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("an answer reads nothing")

    await app({"type": "http", "method": method, "headers": asked}, receive, send)
    start, body = sent
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names)), "a header twice"
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Got(start["status"], headers, body["body"])


def page(body: bytes = TEXT, **more: Any) -> Answer:
    return Answer(body, "text/html; charset=utf-8", CACHED_1_S, **more)


# -- which coding


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", "identity"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("deflate", "identity"),
        ("*", "br"),
        ("br;q=0, *", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0.8,gzip;q=0.8", "br"),
        ("br ; q=0.001", "br"),
        ("gzip;Q=0.5", "gzip"),
        ("br;q=0", "identity"),
        ("br;q=0.000, gzip;q=0.", "identity"),
        ("identity", "identity"),
        ("identity, br;q=0.9", "identity"),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("*;q=0.1, identity", "identity"),
        ("*;q=0.1", "br"),
        ("*;q=0", "identity"),
        ("identity;q=0", "identity"),
        ("br;q=2, gzip;q=x, ;, br gzip, é", "identity"),
        ("x" * 10_000 + ", br", "identity"),
    ],
)
def test_best_coding_has_the_highest_weight_then_our_preference(accept: str, coding: str) -> None:
    assert best_coding(accept.encode()) == coding


async def nothing() -> Any:
    raise AssertionError("an answer reads nothing")


async def test_answer_joins_header_lines_when_there_are_several() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    lines = [(b"accept-encoding", b"br;q=0.1"), (b"accept-encoding", b"gzip")]
    await page()({"type": "http", "method": "GET", "headers": lines}, nothing, send)
    assert (b"content-encoding", b"gzip") in sent[0]["headers"]


@pytest.mark.parametrize("coding", DECODE)
async def test_answer_has_the_same_body_in_each_coding(coding: str) -> None:
    got = await get(page(), coding)
    assert (got.status, got.coding) == (200, coding)
    assert DECODE[coding](got.body) == TEXT
    assert int(got.headers["content-length"]) == len(got.body)
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert got.headers["cache-control"] == CACHED_1_S
    assert got.headers["vary"] == "Accept-Encoding"
    assert len(got.body) < len(TEXT) / 10 or coding == "identity"


async def test_answer_is_plain_when_its_body_is_small() -> None:
    small = page(b"x" * (answer.COMPRESSED_BYTES_MIN - 1))
    assert (await get(small, "br")).coding == "identity"
    assert small.bytes_max == len(small.body)
    assert (await get(page(b"x" * answer.COMPRESSED_BYTES_MIN), "br")).coding == "br"


async def test_answer_is_plain_when_compression_saves_nothing() -> None:
    noise = brotli.compress(bytes(zlib.crc32(b"%d" % n) % 256 for n in range(5_000)))
    assert len(noise) > answer.COMPRESSED_BYTES_MIN
    got = await get(page(noise), "gzip")
    assert (got.coding, got.body) == ("identity", noise)
    assert (await get(page(noise), "gzip", has=got.headers["etag"])).status == 200
    again = page(noise)
    await get(again, "gzip")
    assert (await get(again, "gzip", has=got.headers["etag"])).status == 304


# -- ETag and 304


async def test_etag_differs_when_coding_or_content_differs() -> None:
    other = page(TEXT + b".")
    tags = [(await get(app, c)).headers["etag"] for app in (page(), other) for c in DECODE]
    assert len(set(tags)) == 6
    assert all(tag[0] == tag[-1] == '"' for tag in tags)  # strong: no W/
    assert (await get(page(), "br")).headers["etag"] == tags[0]  # of the content alone


@pytest.mark.parametrize("coding", DECODE)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"a", {}', 'W/"a",W/{} , "b"', "*", " * "])
async def test_answer_is_a_304_when_the_client_has_the_body(form: str, coding: str) -> None:
    app = page(headers={"vary": "Origin", "access-control-allow-origin": "https://a.example"})
    whole = await get(app, coding)
    got = await get(app, coding, has=form.format(whole.headers["etag"]))
    assert (got.status, got.body) == (304, b"")
    for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
        assert got.headers[name] == whole.headers[name]
    assert not got.headers.keys() & {"content-type", "content-length", "content-encoding"}


@pytest.mark.parametrize(
    "has", ['"{}-brx"', '"x{}-br"', "{}-br", '"{}-gzip"', '"{}"', '"other"', "W/", '"*"']
)
async def test_answer_is_whole_when_the_client_has_another_tag(has: str) -> None:
    name = (await get(page())).headers["etag"].strip('"')
    assert (await get(page(), "br", has=has.format(name))).status == 200


async def test_answer_is_a_304_without_compressing_the_body(made: list[str]) -> None:
    tag = (await get(page(), "br")).headers["etag"]
    made.clear()
    assert (await get(page(), "br", has=tag)).status == 304
    assert made == []


@pytest.mark.parametrize("coding", DECODE)
async def test_answer_to_head_has_all_headers_and_no_body(coding: str) -> None:
    app = page()
    whole, head = await get(app, coding), await get(app, coding, method="HEAD")
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")
    tag = whole.headers["etag"]
    assert (await get(app, coding, has=tag, method="HEAD")).status == 304


async def test_vary_is_completed_when_one_is_given() -> None:
    got = await get(page(headers={"vary": "Origin"}))
    assert got.headers["vary"] == "Accept-Encoding, Origin"


# -- compressed once, in another thread than the event loop's


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets each compression's coding; compressing in the main thread fails."""
    done: list[str] = []

    def noting(coding: str, compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def run(body: bytes) -> bytes:
            done.append(coding)
            assert threading.current_thread() is not threading.main_thread()
            return compress(body)

        return run

    noted = {coding: noting(coding, compress) for coding, compress in answer._COMPRESS.items()}
    monkeypatch.setattr(answer, "_COMPRESS", noted)
    return done


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return an event; every compression waits until the test sets the event."""
    opened = threading.Event()
    compress = answer._COMPRESS["br"]

    def run(body: bytes) -> bytes:
        opened.wait(10)
        return compress(body)

    monkeypatch.setattr(answer, "_COMPRESS", {"br": run})
    yield opened
    opened.set()


async def test_compression_runs_once_when_fifty_requests_come_at_once(made: list[str]) -> None:
    app = page()
    got = await asyncio.gather(*(get(app, coding) for coding in ["br", "gzip"] * 25))
    assert sorted(made) == ["br", "gzip"]
    assert len({id(it.body) for it in got}) == 2
    await get(app, "br")
    assert len(made) == 2


async def test_compression_goes_on_when_one_of_its_clients_leaves(gate: threading.Event) -> None:
    app = page()
    leaving = [asyncio.create_task(get(app, "br")) for _ in range(3)]
    staying = asyncio.create_task(get(app, "br"))
    await until(lambda: app._making)
    for task in leaving:
        task.cancel()
    await asyncio.wait(leaving)
    gate.set()
    assert (await staying).coding == "br"


async def test_compression_is_kept_when_all_its_clients_have_left(
    monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    app = page()
    task = asyncio.create_task(get(app, "br"))
    await until(lambda: app._making)
    task.cancel()
    await asyncio.wait([task])
    gate.set()
    await until(app._making["br"].done)
    monkeypatch.setattr(answer, "_COMPRESS", {})  # made again, it would fail
    assert (await get(app, "br")).coding == "br"


async def test_answer_is_plain_when_compression_takes_long(
    monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    monkeypatch.setattr(answer, "WAIT_S", 0.01)
    app = page()
    got = await get(app, "br")
    assert (got.coding, got.body) == ("identity", TEXT)
    gate.set()
    await until(app._making["br"].done)
    assert (await get(app, "br")).coding == "br"


async def test_answer_is_plain_when_compression_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: bytes) -> bytes:
        raise MemoryError

    monkeypatch.setattr(answer, "_COMPRESS", {"br": fail})
    app = page()
    for _ in range(2):
        got = await get(app, "br")
        assert (got.status, got.coding, got.body) == (200, "identity", TEXT)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("coding", ["br", "gzip"])
async def test_answer_is_smaller_when_it_is_a_file(coding: str) -> None:
    usual, file = [Answer(CODE, "text/plain", "no-cache", is_file=it) for it in (False, True)]
    got, best = await get(usual, coding), await get(file, coding)
    assert DECODE[coding](best.body) == DECODE[coding](got.body) == CODE
    assert len(best.body) < len(got.body)


async def test_answer_holds_at_most_its_stated_bytes() -> None:
    app = page()
    for coding in DECODE:
        await get(app, coding)
    assert sum(len(coded.body) for coded in app._coded.values()) <= app.bytes_max


async def test_packed_answer_has_the_same_body_in_each_coding() -> None:
    app = page()
    app.pack()  # without a gzip copy this changes nothing
    assert app.body == TEXT
    whole = await get(app, "gzip")
    app.pack()
    assert sum(len(coded.body) for coded in app._coded.values()) < len(TEXT) / 2
    assert app.bytes_likely == 2 * len(app._coded["gzip"].body)
    for coding in ("identity", "br", "gzip"):
        got = await get(app, coding)
        assert (got.coding, DECODE[coding](got.body)) == (coding, TEXT)
    assert (await get(app, "gzip")).body == whole.body


async def test_answer_that_compression_does_not_shrink_stays_plain_when_packed() -> None:
    noise = os.urandom(5_000)
    app = page(noise)
    await get(app, "gzip")
    app.pack()
    assert (await get(app, "gzip")).body == app.body == noise
