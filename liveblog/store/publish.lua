-- One write of an editor in one atomic step: detect a repeated call, compare, number, store, publish.
--
-- Redis does not roll scripts back. So this script reads, checks and composes everything before its first write, and
-- permission.lua, which stands before this text, checks all permissions.
-- KEYS: the thirteen of NAMES below, all of one blog (one hash tag). ARGV: name, value, name, value, …
--   op           create: a new blog | header: a blog's new header
--                erase: of the header's revisions only; the header stays, damaged or not, and the write takes no offset
--                number: readers see this change of an entry, and it takes the next offset
--                keep: readers do not see this change of an entry, and it takes no offset
--   request      40 hex digits, a hash of the call's arguments
--   ttl_s        how many seconds the store keeps the outcome under `idem`
--   id           the id of the record
--   seen         sha1 of the record that the caller read, "" for none; the script replaces no other record
--   record       the record's JSON object without stamps, the fields that the script sets (times, offset, order)
--   rotate       1: the change begins a new epoch, as create does
--   epoch        the name of the epoch that create or rotate begins
--   fresh        1: the script refuses the write when the blog has ended
--   blog_status  the blog's status, for create and header
--   history      what to do with the revisions: push the replaced record | pop the newest | remove one | erase all | ""
--   removed      the record that remove removes
--   restored     the earlier revision that the write restores, "" for none; the script restores no erased one
--   published_at, order      the values that the entry has already, "" for new ones
--   listed, marked           1: the entry is in the index `order` (shown to readers), in `marked` (key or pinned)
--   due          when a scheduled entry is due, "" for any other entry
--   drafts_max   how many drafts a blog may have
--   bin_ms       how long the store keeps the text of a deleted entry
--   moved_max    how many old tombstones the reply has at most
--   revisions_max   how many earlier revisions of the entry or the header the store keeps
--   status, revision, erased, position   parts of the outcome under `idem`; position only for keep and erase
--   expires      the script rejects the write as stale after this time, "" for no limit (agenda.py says why)
--   rebuilt       1: rebuild.lua has rebuilt the blog for this call
--   channel      the blog's channel
--   publish      PUBLISH, or SPUBLISH in a cluster: this node has the channel, since its hash tag is the keys'
-- Returns {"ok", epoch, offset, check, record, ids}, or one of the replies below. The ids are those of old tombstones: deleted
-- drafts that an earlier version left in `drafts`. bin.py moves them into the bin.
--   {"known", outcome}   the call was made before
--   {"stale"}            `seen` is not the stored record, or `restored` is no longer among the revisions
--   {"other"}            the key was used for another request
--   {"exists"} {"absent"} {"ended"}   the state of the blog does not allow the write
--   {"full"}             the blog has drafts_max drafts
--   {"damaged", key}     rebuild.lua must rebuild this key first
--   {"forbidden", command}   the store's user may not run a command of this write

local NAMES = {
  "blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin", "rev", "idem", "binned", "kept",
}
local TYPES = {
  "hash", "string", "hash", "zset", "zset", "zset", "hash", "zset", "zset", "list", "string", "string", "set",
}

-- Keys of one record. When one has a wrong type, the script deletes the key, so that a header can be saved, and an entry
-- deleted or taken down.
local OF_ENTRY = { rev = true, binned = true, kept = true }
local STATUSES = { draft = true, upcoming = true, live = true, ended = true }
-- The indexes that may rightly have no members. The field `empty` has their names then: no other missing index is whole.
local EMPTIED = { "order", "marked", "due" }

local key, arg, has, is_wrong = {}, {}, {}, {}
local damaged -- the first key that rebuild.lua must rebuild
for i, name in ipairs(NAMES) do
  local kind = redis.call("TYPE", KEYS[i]).ok
  key[name], has[name] = KEYS[i], kind == TYPES[i]
  if kind ~= "none" and not has[name] then
    is_wrong[name] = true
    damaged = damaged or (not OF_ENTRY[name] and KEYS[i])
  end
end
if is_wrong.idem then
  return redis.error_reply("WRONGTYPE " .. key.idem)
end
for i = 1, #ARGV, 2 do
  arg[ARGV[i]] = ARGV[i + 1]
end

-- 1. A repeated call: return the first outcome. EXPIRE is a write: a replica that confirms it (WAIT) has the outcome.
local known = redis.call("GET", key.idem)
if known then
  redis.call("EXPIRE", key.idem, arg.ttl_s)
  if string.sub(known, 1, 40) ~= arg.request then
    return { "other" }
  end
  return { "known", string.sub(known, 42) }
end

-- 2. Compare the stored record with the one that the caller read, and check drafts_max.
if damaged then
  return { "damaged", damaged }
end
local blog = redis.call("HMGET", key.blog, "epoch", "offset", "header", "status", "check", "base", "empty")
local epoch, offset, header = blog[1], tonumber(blog[2] or "0"), blog[3]
local empty = arg.op == "create" and table.concat(EMPTIED, " ") or blog[7] or ""
if has.blog or has.chain or has.entries or has.changed or has.drafts then
  local is_numbered = string.find(epoch or "", "^[0-9a-z]+$") and #epoch <= 16
    and string.find(blog[2] or "", "^[1-9]%d*$") and string.find(blog[5] or "", "^[0-9a-f]+$")
    and string.find(blog[6] or "", "^[1-9]%d*$") and tonumber(blog[6]) <= offset
  if not is_numbered or not STATUSES[blog[4] or ""] then
    return { "damaged", key.blog }
  end
  if redis.call("STRLEN", key.chain) ~= offset * 8 or redis.call("GETRANGE", key.chain, -8, -1) ~= blog[5] then
    return { "damaged", key.chain }
  end
  -- The first member of an index may be the first one since the index was lost.
  local function is_lost(name, is_growing)
    return is_growing and not has[name] and arg.rebuilt ~= "1" and not string.find(empty, name, 1, true)
  end
  local lost = is_lost("changed", true) and "changed"
    or is_lost("order", has.entries and arg.listed == "1") and "order"
    or is_lost("marked", has.entries and arg.marked == "1") and "marked"
    or is_lost("due", has.drafts and arg.due ~= "") and "due"
  if lost then
    return { "damaged", key[lost] }
  end
  if arg.op == "create" then
    return { "exists" }
  end
elseif arg.op ~= "create" then
  return { "absent" }
end

local is_header = arg.op == "create" or arg.op == "header"
local is_entry = arg.op == "number" or arg.op == "keep"
local stored = header
local binned = has.binned and redis.call("GET", key.binned)
if is_entry then
  stored = redis.call("HGET", key.entries, arg.id) or redis.call("HGET", key.drafts, arg.id) or binned
end
if (stored and redis.sha1hex(stored) or "") ~= arg.seen then
  return { "stale" }
end
if arg.restored ~= "" and not (has.rev and redis.call("LPOS", key.rev, arg.restored)) then
  return { "stale" }
end
if arg.fresh == "1" and blog[4] == "ended" then
  return { "ended" }
end
local function is_deleted(entry)
  -- A text with these characters does not match, since JSON escapes the quotes in a text.
  return string.find(entry, '"deleted":true', 1, true)
end
local is_one_more = arg.op == "keep" and not is_deleted(arg.record) and (not stored or is_deleted(stored))
local tombstones = {}
if is_one_more and redis.call("HLEN", key.drafts) >= tonumber(arg.drafts_max) then
  local drafts, living = redis.call("HGETALL", key.drafts), 0
  for i = 1, #drafts, 2 do
    if not is_deleted(drafts[i + 1]) then
      living = living + 1
    elseif #tombstones < tonumber(arg.moved_max) then
      tombstones[#tombstones + 1] = drafts[i]
    end
  end
  if living >= tonumber(arg.drafts_max) then
    return { "full" }
  end
end

-- 3. Compose the record (stamps, then the caller's fields), the offset and the check.
local time = redis.call("TIME")
local now = string.format("%d%03d", time[1], math.floor(time[2] / 1000))
if arg.expires ~= "" and tonumber(now) > tonumber(arg.expires) then
  return { "stale" }
end
local numbered = is_header or arg.op == "number"
local rotates = arg.op == "create" or arg.rotate == "1"
local stamps = '{"updated_at":' .. now
local previous, check, order = "", "", ""

if numbered then
  previous = rotates and arg.epoch or blog[5]
  epoch = rotates and arg.epoch or epoch
  offset = offset + 1
  stamps = stamps .. ',"offset":' .. offset
  if is_header and not string.find(arg.record, '"created_at":', 1, true) then
    stamps = stamps .. ',"created_at":' .. now -- a new header, or one in the place of a damaged one
  end
  if is_entry then
    order = arg.order ~= "" and arg.order or tostring(offset)
    stamps = stamps .. ',"order":' .. order
    stamps = stamps .. ',"published_at":' .. (arg.published_at ~= "" and arg.published_at or now)
  end
end
if not string.find(arg.record, '"saved_at":', 1, true) then
  stamps = stamps .. ',"saved_at":' .. now -- a new revision
end
local record = stamps .. "," .. string.sub(arg.record, 2)
if numbered then
  check = string.sub(redis.sha1hex(previous .. record), 1, 8)
end

-- 4. Collect the commands that write.
local commands = {}
local function write(...)
  commands[#commands + 1] = { ... }
end
if is_header then
  write("HSET", key.blog, "epoch", epoch, "header", record, "status", arg.blog_status)
end
if numbered then
  write("HSET", key.blog, "offset", offset, "check", check)
end
if rotates then
  write("HSET", key.blog, "base", offset)
end
if is_entry then
  local is_in = { order = arg.listed == "1", marked = arg.marked == "1", due = arg.due ~= "" }
  local names = {}
  for _, name in ipairs(EMPTIED) do
    local is_last = has[name] and redis.call("ZCARD", key[name]) == 1 and redis.call("ZSCORE", key[name], arg.id)
    if not is_in[name] and (is_last or string.find(empty, name, 1, true)) then
      names[#names + 1] = name
    end
  end
  empty = table.concat(names, " ")
end
if empty ~= (blog[7] or "") then
  write("HSET", key.blog, "empty", empty)
end

for name in pairs(OF_ENTRY) do
  if is_wrong[name] then
    write("DEL", key[name])
  end
end
if arg.history == "push" then
  write("LPUSH", key.rev, stored)
  write("LTRIM", key.rev, 0, arg.revisions_max - 1)
elseif arg.history == "pop" then
  write("LPOP", key.rev)
elseif arg.history == "remove" then
  write("LREM", key.rev, 1, arg.removed)
elseif arg.history == "erase" then
  write("DEL", key.rev)
end
if is_entry then
  if arg.history == "erase" then
    local prefix = string.match(key.kept, "^.-}:") .. "kept:" -- store/kept.py
    for _, text in ipairs(has.kept and redis.call("SMEMBERS", key.kept) or {}) do
      if string.sub(text, 1, #prefix) == prefix then
        write("DEL", text)
      end
    end
    write("DEL", key.kept)
  end
  local was_published = order ~= "" or arg.order ~= ""
  local is_gone, was_gone = is_deleted(record), stored and is_deleted(stored)
  local goes_to_bin = not was_published and is_gone
  local is_first = is_gone and not binned and not (was_published and was_gone)
  if was_published then
    write("HSET", key.entries, arg.id, record)
  elseif not goes_to_bin then
    write("HSET", key.drafts, arg.id, record)
  elseif binned then
    write("SET", key.binned, record, "KEEPTTL")
  else
    write("SET", key.binned, record, "PX", arg.bin_ms)
  end
  -- The bin has no time to live: the sweep removes an id after it has requested a rewrite of the store's file.
  if is_first and arg.history ~= "erase" then
    write("ZADD", key.bin, now, arg.id)
    write("PERSIST", key.bin)
  elseif was_gone and (arg.history == "erase" or not is_gone) then
    write("ZREM", key.bin, arg.id)
  end
  if was_published or goes_to_bin then
    write("HDEL", key.drafts, arg.id)
  end
  if arg.due ~= "" then
    write("ZADD", key.due, arg.due, arg.id)
  else
    write("ZREM", key.due, arg.id)
  end
  if arg.listed == "1" then
    write("ZADD", key.order, order, arg.id)
  else
    write("ZREM", key.order, arg.id)
  end
  if arg.marked == "1" then
    write("ZADD", key.marked, order, arg.id)
  else
    write("ZREM", key.marked, arg.id)
  end
  -- The revisions of a deleted entry expire after 30 days, a draft's tombstone with them.
  if is_first then
    write("PEXPIRE", key.rev, arg.bin_ms)
  elseif was_gone and not is_gone then
    write("PERSIST", key.rev)
  end
  if binned and not goes_to_bin then
    write("DEL", key.binned)
  end
end

local position = numbered and string.format('"%s.%d.%s"', epoch, offset, check) or arg.position
write("SET", key.idem, arg.request .. "\n" .. string.format(
  '{"status":%s,"id":"%s","revision":%s,"position":%s,"revisions_erased":%s}',
  arg.status, arg.id, arg.revision, position, arg.erased), "EX", arg.ttl_s)
if numbered then
  write("APPEND", key.chain, check)
  write("ZADD", key.changed, offset, arg.id)
  write(arg.publish, arg.channel, string.format("%s %d %d %s %s\n", epoch, offset, offset, previous, check) .. record)
end

-- 5. Write. Nothing above this line has written.
return run_if_permitted(commands, { "ok", epoch, offset, check, record, tombstones })
