"""Savings and costs of compressing readers' frames, as two tables.

    PYTHONPATH=tests python -m measure.deflate

The frames are the `changes` of each entry of the demo, and the longest frame possible, with as many
entries as fit into MISSED_BYTES_MAX. Column `of plain` divides a frame's bytes on the wire by those
of the uncompressed frame: the median of all frames, then their sum. Times are CPU times of this
thread, the best of several rounds.
"""

import statistics
import time
import zlib
from collections.abc import Callable
from itertools import count, cycle

import msgspec

from liveblog.blog.fields import BlogFields, EntryFields, convert
from liveblog.blog.instant import parse_time
from liveblog.blog.model import Blog, Entry, Position
from liveblog.commands import story as demo
from liveblog.html import entries, markdown
from liveblog.live import frame as frames
from liveblog.live import rfc6455
from liveblog.live.frame import MISSED_BYTES_MAX, Frame, Piece

CHOICES = [(level, 9, 0) for level in (1, 3, 6, 9)]
CHOICES += [(6, 8, 0), (6, 5, 0), (1, 8, 0), (6, 9, zlib.Z_FILTERED), (6, 9, zlib.Z_FIXED)]
STRATEGIES = {0: "default", zlib.Z_FILTERED: "filtered", zlib.Z_FIXED: "fixed"}
ROUNDS = 7


# -- the demo's entries, as frames


def articles() -> list[tuple[Entry, str]]:
    """Return every entry of the demo's stories, as first published, with its HTML."""
    return [
        _article(step.fields, story.header, number)
        for story in demo.stories().values()
        for number, step in enumerate((s for s in story.steps if s.is_new), 2)
    ]


def _article(
    fields: dict[str, object], header: dict[str, object], number: int
) -> tuple[Entry, str]:
    convert(fields, EntryFields)  # raises for fields that the API would reject
    known = {
        name: value for name, value in fields.items() if name not in ("published_at", "status")
    }
    published = parse_time(str(fields["published_at"])) if "published_at" in fields else 0
    body = str(known.get("body") or "")
    made = {
        "id": f"e{number:012d}",
        "body_html": markdown.to_html(body) if body else None,
        "status": "published",
        "published_at": published,
        "updated_at": published,
        "offset": number,
        "order": number,
    }
    entry = msgspec.convert(known | made, Entry)
    convert(header, BlogFields)
    of_blog = {name: value for name, value in header.items() if name in _OF_BLOG}
    blog = msgspec.convert(of_blog, Blog)
    return entry, entries.entry_html(entry, blog, in_frame=True)


_OF_BLOG = ("slug", "title", "timezone", "language")


def _changes(since: int, pieces: list[Piece]) -> Frame | None:
    return frames.changes(since, Position("k3xq9a", since + len(pieces), "9f2c01ab"), pieces)


def live_frames(made: list[tuple[Entry, str]]) -> list[bytes]:
    found = (
        _changes((entry.offset or 0) - 1, [frames.put(entry, html=html)]) for entry, html in made
    )
    return [frame.json for frame in found if frame]


def longest_frame(made: list[tuple[Entry, str]]) -> bytes:
    """Return the longest frame that a reader can get; a reader who missed more gets a reset."""
    pieces, size, numbers = list[Piece](), 0, count(1)
    for entry, html in cycle(made):
        unlike = html.replace(entry.id, f"e{next(numbers):012d}")
        piece = frames.put(entry, html=unlike)
        size += len(piece.encoded(0))
        if size > MISSED_BYTES_MAX:
            break
        pieces.append(piece)
    frame = _changes(0, pieces)
    assert frame
    return frame.json


# -- measuring


def packed_by(level: int, memory: int, strategy: int) -> Callable[[bytes], bytes]:
    def packed(payload: bytes) -> bytes:
        deflater = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
        return rfc6455.text(deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)[:-4])

    return packed


def best_us(packed: Callable[[bytes], bytes], payloads: list[bytes]) -> list[float]:
    times = []
    for payload in payloads:
        rounds = []
        for _ in range(ROUNDS):
            began = time.thread_time_ns()
            packed(payload)
            rounds.append(time.thread_time_ns() - began)
        times.append(min(rounds) / 1_000)
    return times


def row(name: str, packed: Callable[[bytes], bytes], payloads: list[bytes]) -> None:
    sizes = [(len(packed(payload)), len(rfc6455.text(payload))) for payload in payloads]
    median = statistics.median(small / large for small, large in sizes)
    total = sum(small for small, _ in sizes) / sum(large for _, large in sizes)
    times = best_us(packed, payloads)
    print(
        f"| {name} | {median:.3f} | {total:.3f} | {statistics.median(times):.0f} | {max(times):.0f} |"
    )


def table(title: str, payloads: list[bytes]) -> None:
    sizes = [len(payload) for payload in payloads]
    print(
        f"\n{title}: {len(payloads)}, of {min(sizes)} to {max(sizes)} bytes, median {statistics.median(sizes):.0f}\n"
    )
    print("| level, memLevel, strategy | of plain: median | sum | us: median | us: most |")
    print("| --- | --- | --- | --- | --- |")
    row("**compressed_text**", rfc6455.compressed_text, payloads)
    for level, memory, strategy in CHOICES:
        row(
            f"{level}, {memory}, {STRATEGIES[strategy]}",
            packed_by(level, memory, strategy),
            payloads,
        )


if __name__ == "__main__":
    made = articles()
    longest = longest_frame(made)
    table("The demo's entries", live_frames(made))
    table("The longest frame", [longest])
    for kib in (64, 128):
        table(f"Its first {kib} KiB", [longest[: kib * 1024]])
