"""Kept texts: what editors typed in forms and did not send, for another machine of the same editor.

    lb:{slug}:kept:{form}.{tab}.{editor}   STRING  JSON of a text; expires
    lb:{slug}:kept-by:{editor}             ZSET    {form}.{tab} of an editor's texts, by typed_at
    lb:{slug}:kept-of:{id}                 SET     keys of all texts kept for one entry

A form is new, header or an entry's id. The editor in a key is a hash: an `ident` may have any
character. Kept texts are no drafts and no revisions: no list of entries has them, and a takedown of
their entry erases them in its own atomic step (publish.lua).

Rules: no permissions, no HTTP. Nobody but the editor reads a kept text.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from liveblog.blog.fields import IDEMPOTENCY_KEY_MAX
from liveblog.blog.model import Count, is_entry_id
from liveblog.store import atomic, scripts
from liveblog.store.codec import DECODE_ERRORS, key
from liveblog.store.nodes import Nodes
from liveblog.store.queries import queries_store

KEPT_MAX: Final = 20  # the newest texts of one editor in one blog
KEPT_MS: Final = 7 * 24 * 3_600_000  # how long a text is kept after it was last sent
FORMS: Final = ("new", "header")
_HASH_DIGITS: Final = 32
_MEMBER: Final = re.compile(r"(?:new|header|e[0-9a-z]{12})\.[0-9a-z]{16}", re.ASCII)

# Both scripts delete an index of another type: nothing of ours is in it.
_INDEXES: Final = """
local text, by, of, entries, drafts, binned, revisions = unpack(KEYS)
local commands = {}
local function has(index, kind)
  local found = redis.call('TYPE', index).ok
  if found ~= kind and found ~= 'none' then commands[#commands + 1] = { 'DEL', index } end
  return found == kind
end
local is_indexed = has(by, 'zset')
has(of, 'set')
"""
# Keep a text, unless a newer one of the same tab is kept; return "kept", "older" or "gone". The
# keys of texts that are one too many have the hash tag of the others, so they are on this server.
# A text for a deleted entry is kept no longer than the text of the entry itself (store/bin.py).
_KEEP: Final = scripts.permitted(
    _INDEXES
    + """
local id, member, typed_at, record, ttl, most, prefix, suffix, of_prefix = unpack(ARGV)
local lives = ttl
if id ~= '' then
  local entry = redis.call('HGET', entries, id) or redis.call('HGET', drafts, id)
    or redis.call('GET', binned)
  if not entry or string.find(entry, '"takedown":true', 1, true) then return 'gone' end
  local left = redis.call('PTTL', revisions)
  if string.find(entry, '"deleted":true', 1, true) and left ~= -1 then
    if left < 1 then return 'gone' end
    lives = math.min(ttl, left)
  end
end
local known = is_indexed and redis.call('ZSCORE', by, member)
local is_there = redis.call('EXISTS', text) == 1 -- not after a takedown, or when it has expired
local is_dropped = known and tonumber(known) % 1 ~= 0
if (is_there or is_dropped) and known and tonumber(known) > tonumber(typed_at) then
  return 'older'
end
local done = 'kept'
commands[#commands + 1] = { 'SET', text, record, 'PX', lives }
commands[#commands + 1] = { 'ZADD', by, typed_at, member }
commands[#commands + 1] = { 'PEXPIRE', by, ttl }
if id ~= '' then
  commands[#commands + 1] = { 'SADD', of, text }
  commands[#commands + 1] = { 'PEXPIRE', of, ttl }
end
local members = is_indexed and redis.call('ZRANGE', by, 0, -1) or {}
local excess = #members + (known and 0 or 1) - tonumber(most)
local is_oldest = false
local function remove(is_removed)
  for i, other in ipairs(members) do
    local name = prefix .. other .. suffix
    if excess > 0 and other ~= member and is_removed(name, other) then
      excess, members[i] = excess - 1, member
      commands[#commands + 1] = { 'DEL', name }
      commands[#commands + 1] = { 'SREM', of_prefix .. (string.match(other, '^[^.]+') or ''), name }
      commands[#commands + 1] = { 'ZREM', by, other }
    end
  end
end
-- Members without a text come first: a takedown erased it, or it expired before newer ones.
remove(function(name) return redis.call('EXISTS', name) == 0 end)
-- Then the oldest: this text is one of the newest, or it is not kept.
remove(function(_, other)
  is_oldest = is_oldest or tonumber(redis.call('ZSCORE', by, other)) > tonumber(typed_at)
  return not is_oldest
end)
if is_oldest then return 'older' end
"""
)

# Drop a text, unless a newer one of the same tab is kept. The member stays, with half a millisecond
# more as the mark of a text that was dropped: the call that keeps it may arrive after the one that
# drops it, and must not bring it back. An unknown text gets a member only while there is room.
_DROP: Final = scripts.permitted(
    _INDEXES
    + """
local member, typed_at, ttl, most = unpack(ARGV)
local known, done = is_indexed and redis.call('ZSCORE', by, member), 'dropped'
if not known or tonumber(known) <= tonumber(typed_at) then
  commands[#commands + 1] = { 'DEL', text }
  commands[#commands + 1] = { 'SREM', of, text }
  if known or not is_indexed or redis.call('ZCARD', by) < tonumber(most) then
    commands[#commands + 1] = { 'ZADD', by, typed_at .. '.5', member }
    commands[#commands + 1] = { 'PEXPIRE', by, ttl }
  end
end
""",
    frees_memory=True,
)


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text in a form, as a script sent it.

    `base` is the revision that the editor edited, `key` the Idempotency-Key under which the form
    will be sent, `typed_at` the browser's time of the last input, in milliseconds since 1970.
    """

    values: dict[str, str | list[str]]
    typed_at: Count
    base: Count | None = None
    key: Annotated[str, msgspec.Meta(max_length=IDEMPOTENCY_KEY_MAX)] = ""


class Place(msgspec.Struct, frozen=True):
    """Where a text is kept: in a tab of an editor, for a form of a blog."""

    slug: str
    editor: str  # the `ident` of the Caller
    form: str
    tab: str

    @property
    def id(self) -> str:
        """The id of the form's entry, "" for another form."""
        return self.form if is_entry_id(self.form) else ""

    @property
    def member(self) -> str:
        return f"{self.form}.{self.tab}"

    def keys(self) -> tuple[str, str, str]:
        """Return the keys of the text, of the editor's texts, and of the entry's texts."""
        by = _by(self.slug, self.editor)
        of = key(self.slug, f"kept-of:{self.form}")
        return _text(self.slug, self.editor, self.member), by, of


class KeptText(msgspec.Struct, frozen=True):
    """A kept text in the list of an editor's kept texts."""

    form: str
    tab: str
    kept: Kept


@dataclass
class KeptTexts:
    """Keeps, returns and drops texts. Each method raises StoreDown."""

    nodes: Nodes

    async def keep(self, place: Place, kept: Kept) -> bool:
        """Keep a text, unless a later one of this tab is kept, or a drop of this one came first.

        A text that is older than KEPT_MAX others is not kept either. Return True in each of these
        cases. Return False, and keep nothing, for an entry that does not exist or was taken down,
        or when its text was erased BIN_MS after its deletion. At most KEPT_MAX texts of an editor
        and blog are kept: those that were typed last.
        """
        names = "entries", "drafts", f"bin:{place.form}", f"rev:{place.form}"
        entry = [key(place.slug, it) for it in names]
        prefix, suffix = _text(place.slug, place.editor, "\n").split("\n")
        record = msgspec.json.encode(kept)
        more = record, KEPT_MS, KEPT_MAX, prefix, suffix, key(place.slug, "kept-of:")
        keys = (*place.keys(), *entry)
        done = await self._run(
            place.slug, _KEEP, keys, place.id, place.member, kept.typed_at, *more
        )
        return bool(done != b"gone")

    async def drop(self, place: Place, typed_at: int) -> None:
        """Drop a text that was typed at `typed_at` or before, also one that arrives later."""
        more = typed_at, KEPT_MS, KEPT_MAX
        await self._run(place.slug, _DROP, place.keys(), place.member, *more)

    async def one(self, place: Place) -> Kept | None:
        """Return a kept text, None when there is none."""
        [found] = await self._read(place.slug, [place.keys()[0]])
        return found

    @queries_store
    async def all(self, slug: str, editor: str) -> list[KeptText]:
        """Return an editor's kept texts in a blog, the newest first."""
        by = _by(slug, editor)
        [found] = await atomic.read_each(self.nodes.at(slug), ("ZREVRANGE", by, 0, KEPT_MAX - 1))
        named = (it.decode(errors="replace") for it in atomic.or_none(found) or [])
        members = [it for it in named if _MEMBER.fullmatch(it)]
        texts = await self._read(slug, [_text(slug, editor, it) for it in members])
        pairs = ((it.split("."), kept) for it, kept in zip(members, texts, strict=True) if kept)
        return [KeptText(form, tab, kept) for (form, tab), kept in pairs]

    @queries_store
    async def _read(self, slug: str, keys: Sequence[str]) -> list[Kept | None]:
        if not keys:
            return []
        raws = await atomic.read_each(self.nodes.at(slug), *(("GET", name) for name in keys))
        return [_decoded(atomic.or_none(raw)) for raw in raws]

    @queries_store
    async def _run(
        self, slug: str, script: str, keys: Sequence[str], *arguments: str | bytes | int
    ) -> Any:
        reply = await self.nodes.at(slug).eval(script, len(keys), *keys, *arguments)
        scripts.check_permitted(reply)
        return reply


def _decoded(raw: bytes | None) -> Kept | None:
    """Return a kept text; None for a corrupt one, which must not hide the others."""
    try:
        return None if raw is None else msgspec.json.decode(raw, type=Kept)
    except DECODE_ERRORS:
        return None


def _by(slug: str, editor: str) -> str:
    return key(slug, f"kept-by:{_hashed(editor)}")


def _text(slug: str, editor: str, member: str) -> str:
    return key(slug, f"kept:{member}.{_hashed(editor)}")


def _hashed(editor: str) -> str:
    return hashlib.sha256(editor.encode()).hexdigest()[:_HASH_DIGITS]
