"""Keys, records and messages of a blog: decoded, or rejected as corrupt, without a store."""

import hashlib
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json as msgspec_json

from liveblog.blog.model import COUNT_MAX, Blog, DamagedEntry, Entry, Link, Position
from liveblog.store import calls, codec
from liveblog.store.calls import CallKey, blog_write, entry_write, unnumbered
from liveblog.store.codec import Damage, StoredBlog, StoredEntry, decode_message, decode_record

ENTRY = Entry(
    id="e000000000001", body="Text.", status="published", offset=3, order=2, published_at=7
)
BLOG = Blog(slug="council", title="Council", created_at=5, updated_at=9, offset=1)
CALL = CallKey("key", "f" * 40)


def encoded(record: Entry | Blog) -> bytes:
    raw = msgspec_json.encode(record)
    return raw if isinstance(record, Entry) else b'{"id":"#blog",' + raw[1:]


def chained(previous: str, *raws: bytes) -> list[str]:
    checks = []
    for raw in raws:
        previous = hashlib.sha1(previous.encode() + raw).hexdigest()[:8]
        checks.append(previous)
    return checks


# -- keys and records


def test_keys_of_a_blog_share_its_hash_tag() -> None:
    assert codec.key("council", "entries") == "lb:{council}:entries"
    assert codec.channel("council") == "lb:{council}:changes"


def test_record_is_decoded_as_a_header_only_when_its_id_is_the_headers() -> None:
    assert decode_record(encoded(BLOG)) == BLOG
    entry = Entry(id=ENTRY.id, body='{"id":"#blog"}')
    assert decode_record(encoded(entry)) == entry


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"\xff", b'{"id":"#blog"}', b'{"id":"../x"}', b"[" * 200_000]
)
def test_corrupt_record_raises_one_of_the_errors_of_decoding(raw: bytes) -> None:
    with pytest.raises(codec.DECODE_ERRORS):
        decode_record(raw)


def test_record_has_no_member_that_the_store_stamps() -> None:
    assert not codec.entry_record(ENTRY).keys() & {"offset", "order", "published_at"}
    assert not codec.blog_record(BLOG).keys() & {"offset", "updated_at"}
    assert codec.blog_record(BLOG)["created_at"] == 5
    assert "created_at" not in codec.blog_record(Blog(slug="new", title="New"))


def test_header_record_decodes_to_the_blog_with_its_links() -> None:
    blog = Blog(slug="council", title="C", successor=Link("Next", "/next"))
    assert decode_record(orjson.dumps(codec.blog_record(blog))) == blog


HASH: list[Any] = [b"k1", b"12", b"0123abcd", encoded(BLOG)]


def test_stored_blog_is_damage_when_a_field_is_missing_or_corrupt() -> None:
    position = Position("k1", 12, "0123abcd")
    assert codec.decode_stored_blog(*HASH) == StoredBlog(BLOG, position, HASH[3])
    assert codec.decode_stored_blog(None, None, None, None) is None
    for i, value in [*((i, None) for i in range(4)), (1, b"x"), (0, b"\xff"), (3, b"{")]:
        fields = [*HASH[:i], value, *HASH[i + 1 :]]
        assert isinstance(codec.decode_stored_blog(*fields), Damage)


def test_reason_of_damage_has_nothing_of_the_record() -> None:
    for fields in ({"timezone": "secret"}, {"status": "secret"}, {"title": {"secret": 1}}):
        raw = orjson.dumps({"slug": "council", "title": "C"} | fields)
        fields_of_hash: list[Any] = [*HASH[:3], raw]
        damage = codec.decode_stored_blog(*fields_of_hash)
        assert isinstance(damage, Damage)
        assert "secret" not in damage.why


def test_damaged_draft_has_its_id() -> None:
    for raw in (b"{x", b"", encoded(msgspec.structs.replace(ENTRY, id="e00000000000z"))):
        assert codec.decode_draft(raw, ENTRY.id) == DamagedEntry(id=ENTRY.id)
    published = DamagedEntry(id=ENTRY.id, differs=True)
    assert codec.decode_draft(encoded(PUBLISHED), ENTRY.id) == published
    draft = msgspec.structs.replace(ENTRY, status="draft")
    assert codec.decode_draft(encoded(draft), ENTRY.id) == draft


PUBLISHED = msgspec.structs.replace(ENTRY, status="published", offset=7, order=5)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"x":' + b"[" * 10_000,
        encoded(PUBLISHED)[:-1],
        *(
            encoded(msgspec.structs.replace(PUBLISHED, **fields))
            for fields in ({"id": "e00000000000z"}, {"offset": 8}, {"order": 7}, {"order": None})
        ),
    ],
    ids=lambda raw: repr(raw)[:30],
)
def test_published_entry_is_damaged_unless_it_fits_the_indexes(raw: bytes | None) -> None:
    damaged = DamagedEntry(id=ENTRY.id, offset=7, order=5, status="published")
    found = codec.decode_published(raw, ENTRY.id, 7, 5)
    assert msgspec.structs.replace(found, differs=False) == damaged
    assert codec.differs([found]) is (b'"offset":8' in (raw or b"") or b'"order":7' in (raw or b""))
    assert codec.decode_published(encoded(PUBLISHED), ENTRY.id, 7, 5) == PUBLISHED


@given(st.floats(allow_nan=False))
def test_score_of_an_index_is_a_possible_offset(score: float) -> None:
    assert 0 <= codec.index_number(score) <= COUNT_MAX


# -- messages


def message(*raws: bytes, first: int = 4, last: int | None = None, check: str = "") -> bytes:
    end = first + len(raws) - 1 if last is None else last
    checked = check or chained("abcdefgh", *raws)[-1]
    return f"k1 {first} {end} abcdefgh {checked}".encode() + b"".join(b"\n" + it for it in raws)


def test_message_carries_its_records_and_their_checks() -> None:
    raws = encoded(ENTRY), encoded(BLOG)
    changes = decode_message(message(*raws))
    assert changes
    checks = chained("abcdefgh", *raws)
    assert changes.position == Position("k1", 5, checks[-1])
    assert (changes.since, changes.previous, changes.checks) == (3, "abcdefgh", "".join(checks))
    assert changes.records == [ENTRY, BLOG]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"k1 4 4 abcdefgh",
        message(encoded(ENTRY), check="00000000"),
        message(encoded(ENTRY), last=5),
        message(encoded(ENTRY)).replace(b"Text.", b"Fake."),
        message(b"{}"),
        message(b'{"id":"#blog","x":' + b"[" * 200_000),
        b"\xff" + message(encoded(ENTRY)),
    ],
    ids=["empty", "short head", "check", "count", "text", "no entry", "nested too deep", "head"],
)
def test_message_is_dropped_when_it_is_malformed_or_fails_its_checks(raw: bytes) -> None:
    assert decode_message(raw) is None


# -- writes


def test_entry_write_is_numbered_when_readers_see_the_entry() -> None:
    stored = StoredEntry(ENTRY, encoded(ENTRY), 0)
    write = entry_write(stored, ENTRY, CALL)
    assert (write.op, write.order, write.published_at, write.listed) == ("number", 2, 7, True)
    draft = entry_write(None, Entry(id=ENTRY.id, published_at=7), CALL)
    assert (draft.op, draft.seen, draft.listed) == ("keep", None, False)
    assert draft.record["published_at"] == 7


def test_entry_write_of_a_tombstone_removes_it_from_every_index() -> None:
    tomb = Entry(id=ENTRY.id, order=2, status="published", pinned=True, deleted=True, publish_at=9)
    write = entry_write(None, tomb, CALL)
    assert (write.op, write.listed, write.marked, write.due) == ("number", False, False, None)


def test_unnumbered_write_keeps_the_entrys_numbers() -> None:
    at = Position("k1", 3, "0123abcd")
    write = unnumbered(entry_write(None, ENTRY, CALL), ENTRY, at)
    assert (write.op, write.position) == ("keep", at)
    assert (write.record["offset"], write.record["order"]) == (3, 2)


@pytest.mark.parametrize(
    ("change", "rotates"),
    [({"title": "New"}, False), ({"timezone": "Asia/Tokyo"}, True), ({"language": "de"}, True)],
)
def test_blog_write_begins_an_epoch_when_zone_or_language_change(
    change: dict[str, str], rotates: bool
) -> None:
    stored = StoredBlog(BLOG, Position("k1", 1, "0123abcd"), encoded(BLOG))
    fields: Any = {n: getattr(BLOG, n) for n in BLOG.__struct_fields__} | change
    write = blog_write("header", stored, Blog(**fields), CALL)
    assert (write.rotate, write.seen) == (rotates, stored.raw)


@pytest.mark.parametrize(("revision", "history"), [(1, ""), (2, "push")])
def test_blog_write_keeps_the_header_that_a_new_revision_replaces(
    revision: int, history: str
) -> None:
    at = Position("k1", 1, "0123abcd")
    blog = msgspec.structs.replace(BLOG, revision=revision)
    write = blog_write("header", StoredBlog(BLOG, at, encoded(BLOG)), blog, CALL)
    assert (write.history, write.revision) == (history, revision)
    fields = [b"k1", b"7", b"0123abcd", b"{"]
    damaged = codec.damaged_blog("council", fields, b"live")
    assert damaged.blog.revision == 7
    blog = msgspec.structs.replace(damaged.blog, revision=8)
    assert blog_write("header", damaged, blog, CALL).history == ""


def test_record_repeats_when_its_revision_was_saved() -> None:
    for saved_at in (None, 7):
        entry = msgspec.structs.replace(ENTRY, saved_at=saved_at)
        blog = msgspec.structs.replace(BLOG, saved_at=saved_at)
        for record in (codec.entry_record(entry), codec.blog_record(blog)):
            assert record.get("saved_at") == saved_at
            assert ("saved_at" in record) == (saved_at is not None)


def test_arguments_of_a_write_are_names_and_values_in_turn() -> None:
    arguments = entry_write(None, ENTRY, CALL).arguments("council")
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert (pairs["request"], pairs["seen"], pairs["order"]) == ("f" * 40, "", 2)
    assert (pairs["channel"], pairs["ttl_s"]) == ("lb:{council}:changes", calls.REMEMBERED_S)
    assert (pairs["due"], pairs["position"], pairs["fresh"]) == ("", "null", 0)
