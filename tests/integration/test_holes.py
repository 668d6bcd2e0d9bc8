"""Blogs whose changes a repair skipped: they begin a new epoch, and all other blogs go on."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.directories import DataDirectory

from liveblog.blog.model import SYSTEM, Position
from liveblog.blog.timeline import Changes, Moved
from liveblog.editors.publishing import Publishing
from liveblog.store import directory as files
from liveblog.store import embedded
from liveblog.store.broker import Broker
from liveblog.store.codec import key
from liveblog.store.connect import connect

FLAVOURS = ("valkey",)
BLOGS = ("holed", "shortened", "whole")
Damage = Callable[[bytes], bytes]
Check = Callable[[Broker], Any]


def with_store(directory: Path, call: Check) -> Any:
    """Return the result of a coroutine function with a broker on the store of a directory."""

    async def run(url: str) -> Any:
        async with connect(url) as nodes:
            return await call(Broker(nodes))

    with embedded.own(directory) as url:
        return asyncio.run(run(url))


async def publish(broker: Broker, slug: str, text: str) -> Position:
    made = await Publishing(broker, lambda: 0).create_entry(SYSTEM, slug, {"headline": text})
    assert made.position
    return made.position


async def fill(broker: Broker) -> dict[str, Position]:
    """Publish on three blogs, and return their positions."""
    publishing = Publishing(broker, lambda: 0)
    for slug in BLOGS:
        await publishing.create_blog(SYSTEM, {"slug": slug, "title": slug, "status": "live"})
    last = [await publish(broker, slug, f"{slug} first") for slug in BLOGS]
    last[0] = await publish(broker, "holed", "holed lost")
    last[1] = await publish(broker, "shortened", "shortened lost")
    last[0] = await publish(broker, "holed", "holed last")
    last[2] = await publish(broker, "whole", "whole last")
    return dict(zip(BLOGS, last, strict=True))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Position]]:
    """A data directory of a store that was stopped, and the positions of its blogs."""
    directory = tmp_path_factory.mktemp("filled") / "data"
    return directory, with_store(directory, fill)


def of_change(text: str, data: bytes) -> tuple[int, int]:
    """Return start and end of the transaction that stores a change with a text."""
    at = data.index(text.encode())
    return data.rindex(b"*1\r\n$5\r\nMULTI", 0, at), data.index(b"EXEC\r\n", at) + 6


def break_the_record(data: bytes) -> bytes:
    for text in ("holed lost", "shortened lost"):
        at = data.rindex(b"\r\n*", 0, data.index(text.encode())) + 2
        data = data[:at] + b"XXXX" + data[at + 4 :]
    return data


def break_the_start(data: bytes) -> bytes:
    for text in ("holed lost", "shortened lost"):
        start, _ = of_change(text, data)
        data = data[:start] + b"*1\r\n$5\r\nMU\0TI" + data[start + 14 :]
    return data


def zero(data: bytes) -> bytes:
    """Leave no name of a blog in what is damaged."""
    start, end = of_change("holed lost", data)[0], of_change("shortened lost", data)[1]
    return data[:start] + bytes(end - start) + data[end:]


def remove(data: bytes) -> bytes:
    """Remove bytes from within one change to within the other."""
    start, end = of_change("holed lost", data)[0], of_change("shortened lost", data)[1]
    return data[: start + 30] + data[end - 30 :]


@pytest.mark.parametrize("damage", [break_the_record, break_the_start, zero, remove])
def test_blog_begins_a_new_epoch_when_a_repair_skipped_its_changes(
    filled: tuple[Path, dict[str, Position]], damage: Damage, tmp_path: Path
) -> None:
    store, old = DataDirectory(Path(shutil.copytree(filled[0], tmp_path / "data"))), filled[1]
    path = store.file("1.incr.aof")
    path.write_bytes(damage(path.read_bytes()))
    code, said = store.repair("--skip", "--yes")
    assert (code, "the store starts" in said) == (0, True), said
    assert "blog holed: 1 of 4 changes are lost; its readers load the page again" in said
    assert "blog whole" not in said
    is_named = "blog shortened: changes may be lost" in said
    assert is_named == (damage in (break_the_record, break_the_start))

    expected = {
        "holed": Moved("moved"),
        "shortened": Moved("moved" if is_named else "fork"),
    }

    async def check(broker: Broker) -> None:
        for slug in BLOGS:
            found = await broker.source.repair(slug, old[slug])
            assert found == expected.get(slug, found), slug
            assert isinstance(found, Changes) == (slug == "whole")
        snapshots = {slug: await broker.source.load(slug) for slug in BLOGS}
        texts = {it.headline for made in snapshots.values() if made for it in made.entries}
        assert texts == {
            "holed first",
            "holed last",
            "shortened first",
            "whole first",
            "whole last",
        }
        assert snapshots["holed"]
        assert snapshots["holed"].position.offset == old["holed"].offset + 1
        for slug in BLOGS:
            made, now = snapshots[slug], await publish(broker, slug, "later")
            assert made
            assert (now.epoch, now.offset) == (made.position.epoch, made.position.offset + 1)
            assert isinstance(await broker.source.repair(slug, made.position), Changes)

    with_store(store.directory, check)
    assert store.repair("--skip") == (0, "nothing to repair: the store starts\n")


def command(name: str, part: str, *more: str) -> Callable[[str], list[str]]:
    """Return a function that makes a command on a key of a blog."""
    return lambda slug: [name, key(slug, part), *more]


# Damages of one key of a blog with two changes, and what the repair says of it.
KEYS = [
    (command("DEL", "blog"), "its header is lost, so it is a draft"),
    (command("HDEL", "blog", "header"), "its header is lost, so it is a draft"),
    (command("HDEL", "blog", "epoch"), "its numbering is damaged"),
    (command("HSET", "blog", "offset", "x"), "its numbering is damaged"),
    (command("HSET", "blog", "offset", "9"), "7 of 9 changes are lost"),
    (command("HSET", "blog", "check", "x"), "its numbering is damaged"),
    (command("DEL", "chain"), "2 of 2 changes are lost"),
    (command("APPEND", "chain", "x"), "its numbering is damaged"),
    (command("SET", "chain", "0000"), "2 of 2 changes are lost"),
    (command("HSET", "chain", "x", "x"), "2 of 2 changes are lost"),
]
# Damages of keys that only a rebuild can repair.
BUILT = [
    (command("HSET", "blog", "offset", "9" * 15), "its numbering is damaged"),
    (command("HSET", "blog", "offset", "60000000"), "its numbering is damaged"),
    (command("HSET", "blog", "base", "99999999"), "its numbering is damaged"),
    (command("HSET", "blog", "base", "0"), "its numbering is damaged"),
    (command("SET", "blog", "x"), ":blog has a wrong type and is deleted: its title"),
    (command("SET", "chain", "wxyz" * 4), "its numbering is damaged"),
    (command("SET", "changed", "x"), "the key is built from the entries"),
    (command("SET", "order", "x"), "the key is built from the entries"),
    (command("SET", "marked", "x"), "the key is built from the entries"),
    (command("SET", "due", "x"), "the key is built from the entries"),
    (command("SET", "drafts", "x"), "its drafts are lost"),
    (command("ZADD", "changed", "inf", "x"), ":changed has offsets that no change has"),
    (command("ZADD", "changed", "-inf", "#blog"), ":changed has offsets that no change has"),
    (command("ZADD", "changed", "inf", "#blog"), ":changed has offsets that no change has"),
    (command("ZADD", "changed", "2e9", "e000000000000"), ":changed has offsets that no change"),
    (command("ZADD", "order", "inf", "e000000000000"), ":order has offsets that no change has"),
    (command("ZADD", "marked", "-1", "e000000000000"), ":marked has offsets that no change has"),
]


def test_repair_completes_the_numbering_of_blogs_with_whole_files(tmp_path: Path) -> None:
    store = DataDirectory(tmp_path / "data")
    damages = {f"blog-{n}": it for n, it in enumerate([*KEYS, *BUILT])}

    async def fill(broker: Broker) -> dict[str, Position]:
        for slug in damages:
            fields = {"slug": slug, "title": slug, "status": "live"}
            await Publishing(broker, lambda: 0).create_blog(SYSTEM, fields)
        return {slug: await publish(broker, slug, "before") for slug in damages}

    old = with_store(store.directory, fill)
    with embedded.own(store.directory) as url, redis.Redis.from_url(url) as client:
        for slug, (damage, _) in damages.items():
            if damage(slug)[:2] in (["SET", damage(slug)[1]], ["HSET", key(slug, "chain")]):
                client.delete(damage(slug)[1])
            client.execute_command(*damage(slug))
    assert store.repair(answer="n\n")[0] == 1
    code, printed = store.repair("--yes")
    assert code == 0, printed
    lines = {line.split(":")[0]: line for line in printed.splitlines()}
    for slug, (_, sentence) in damages.items():
        assert sentence in lines[f"blog {slug}"]

    async def check(broker: Broker) -> None:
        for slug, (_, said) in damages.items():
            is_moved = await broker.source.repair(slug, old[slug]) == Moved("moved")
            assert is_moved == ("readers load" in lines[f"blog {slug}"]), said
            before = await broker.source.load(slug)
            assert before
            assert [it.headline for it in before.entries] == ["before"]
            now = await publish(broker, slug, "later")
            assert now.offset == before.position.offset + 1 >= old[slug].offset + 1 + is_moved, said

    with_store(store.directory, check)
    code, printed = store.repair()
    assert (code, printed) == (0, "nothing to repair: the store starts\n"), printed


def test_repair_names_what_it_cannot_build(
    filled: tuple[Path, dict[str, Position]], tmp_path: Path
) -> None:
    store = DataDirectory(Path(shutil.copytree(filled[0], tmp_path / "data")))
    with embedded.own(store.directory) as url, redis.Redis.from_url(url) as client:
        client.set(key("holed", "entries"), "Nobody may read this")
        client.hset(key("whole", "blog"), "header", b"\xff")
    code, said = store.repair("--yes")
    assert code == 0
    assert "lb:{holed}:entries has a wrong type and is deleted: the texts of its" in said
    assert "blog whole: its header is damaged: an editor writes a new one" in said
    copies = list((store.directory / "damaged").iterdir())
    assert copies
    assert all(f"a copy is in {it}" in said for it in copies)
    assert any(b"Nobody may read this" in it.read_bytes() for it in copies)
    code, said = store.repair()
    assert (code, "blog whole: its header" in said, "holed" in said) == (0, True, False)
    assert said.endswith("nothing to repair: the store starts\n")


def test_interrupted_repair_is_completed_when_it_is_repeated(
    filled: tuple[Path, dict[str, Position]], tmp_path: Path
) -> None:
    store, old = DataDirectory(Path(shutil.copytree(filled[0], tmp_path / "data"))), filled[1]
    files.note_repair(store.directory, ["whole", "unknown"])
    code, said = store.repair("--yes")
    assert (code, "blog whole: changes may be lost; its readers" in said) == (0, True)

    async def moved(broker: Broker) -> object:
        return await broker.source.repair("whole", old["whole"])

    assert with_store(store.directory, moved) == Moved("moved")
