-- Rebuild the damaged keys of one blog from its other keys, in one atomic step.
--
-- The records are the truth: the header in `blog`, and the entries in `entries` and `drafts`. Everything else follows:
--   changed, order, marked, due   the indexes: what each readable record says
--   epoch, offset, check, base in `blog`, and chain   the numbering: a new epoch after the highest offset of all keys
--   status in `blog`              what the header says; draft when the header is unreadable
--   empty in `blog`               names of the indexes without members, as in publish.lua
-- A key of a wrong type has nothing of ours. The script deletes it, also `entries` and `drafts`: their records are lost.
-- KEYS: the ten of NAMES below, all of one blog. ARGV: the new epoch's name, channel, PUBLISH or SPUBLISH, how many
-- seconds `rebuilt` lives, and 1 to compare the indexes with the records although none of them is known to be damaged.
-- It reads all checks: those of 4,000,000 changes, 32 MB, take 0.8 s of the store's time.
-- Returns {"ok", name, …} with the names of the rebuilt keys, or {"forbidden", command}. It never creates a blog.

local NAMES = { "blog", "chain", "entries", "changed", "order", "marked", "drafts", "due", "bin", "rebuilt" }
local TYPES = { "hash", "string", "hash", "zset", "zset", "zset", "hash", "zset", "zset", "hash" }
local STATUSES = { draft = true, upcoming = true, live = true, ended = true }
local WORDS_MAX = 1000 -- in one command; an even number, for pairs
local PADDED_MAX = 1000000 -- believe no number that is so far above the chain: it is damaged too

local key, has, rebuilt, commands = {}, {}, {}, {}
local copies = {} -- ids of published entries that are also in `drafts`
local is_comparing = ARGV[5] == "1"
local function write(...)
  commands[#commands + 1] = { ... }
end
for i, name in ipairs(NAMES) do
  local kind = redis.call("TYPE", KEYS[i]).ok
  key[name], has[name] = KEYS[i], kind == TYPES[i]
  if kind ~= "none" and not has[name] then
    write("DEL", KEYS[i])
    rebuilt[name], is_comparing = true, true
  end
end
local is_blog = has.blog or has.chain or has.entries or has.changed or has.drafts
local FIELDS = { "epoch", "offset", "check", "base", "header", "status", "empty" }
local blog = has.blog and redis.call("HMGET", key.blog, unpack(FIELDS)) or {}
local chain = has.chain and redis.call("GET", key.chain) or ""
local header, empty, top = blog[5] or "", blog[7] or "", math.floor(#chain / 8)
local limit = top + PADDED_MAX
local epoch, offset, check, base = blog[1] or "", tonumber(blog[2] or ""), blog[3], tonumber(blog[4] or "")
local is_numbered = #epoch <= 16 and string.find(epoch, "^[0-9a-z]+$")
  and string.find(blog[2] or "", "^[1-9]%d*$") and #chain == offset * 8
  and check == string.sub(chain, -8) and not string.find(chain, "[^0-9a-f]")
  and string.find(blog[4] or "", "^[1-9]%d*$") and base <= offset
local is_order_lost = has.entries and not has.order and not string.find(empty, "order", 1, true)
if not is_numbered or not has.changed or is_order_lost then
  is_comparing = true
end

-- 1. The indexes by the records.
local expected = { changed = {}, order = {}, marked = {}, due = {} }
local readable = {}
if is_numbered then
  limit = offset
end

local function contains(record, text)
  -- A text with these characters does not match, since JSON escapes the quotes in a text.
  return string.find(record, text, 1, true)
end

local function is_id(member)
  return #member == 13 and string.find(member, "^e[0-9a-z]+$")
end

local function is_whole(record, id)
  return string.sub(record, 1, 1) == "{" and string.sub(record, -1) == "}" and contains(record, '"id":"' .. id .. '"')
end

local function published(id, record)
  local offset = tonumber(string.match(record, '"offset":(%d+)') or "")
  local order = tonumber(string.match(record, '"order":(%d+)') or "")
  local is_public = contains(record, '"status":"published"') or contains(record, '"status":"retracted"')
  local is_possible = offset and order and order >= 1 and order <= offset and offset <= limit
  if not (is_possible and is_public and is_whole(record, id)) then
    return
  end
  readable[id], expected.changed[id], top = true, offset, math.max(top, offset)
  if not contains(record, '"deleted":true') then
    expected.order[id] = order
    if contains(record, '"key":true') or contains(record, '"pinned":true') then
      expected.marked[id] = order
    end
  end
end

local function scheduled(id, record)
  local at = tonumber(string.match(record, '"publish_at":(%d+)') or "")
  if readable[id] then
    copies[#copies + 1] = id
  elseif is_whole(record, id) then
    readable[id] = true
    if at and contains(record, '"status":"scheduled"') and not contains(record, '"deleted":true') then
      expected.due[id] = at
    end
  end
end

local function read(name, use)
  for _, id in ipairs(has[name] and redis.call("HKEYS", key[name]) or {}) do
    if is_id(id) then
      use(id, redis.call("HGET", key[name], id))
    end
  end
end
if is_comparing then
  read("entries", published)
  read("drafts", scheduled)
  local at = tonumber(string.match(header, '"offset":(%d+)') or "")
  expected.changed["#blog"] = at and at >= 1 and at <= limit and at or nil
end

-- Return whether an unreadable record may have this offset.
local function is_possible(score)
  return score and score >= 1 and score <= top and score == math.floor(score)
end

-- Return whether some record has the newest offset. If none has it, no index could show that all changes are there.
local function has_newest()
  local rows = has.changed and redis.call("ZREVRANGEBYSCORE", key.changed, offset, offset) or {}
  for _, id in ipairs(rows) do
    if not (expected.changed[id] or readable[id]) then
      return true
    end
  end
  for _, at in pairs(expected.changed) do
    if at == offset then
      return true
    end
  end
end
local is_reset = is_blog and not (is_numbered and (not is_comparing or has_newest()))

-- 2. The numbering.
if is_reset then
  if offset and offset <= limit then
    top = math.max(top, math.floor(offset))
  end
  for _, name in ipairs({ "changed", "order" }) do
    local last = has[name] and redis.call("ZREVRANGEBYSCORE", key[name], limit, 0, "WITHSCORES", "LIMIT", 0, 1) or {}
    top = math.max(top, math.floor(tonumber(last[2] or "0")))
  end
  local is_of_chain = #chain ~= top * 8 or string.find(chain, "[^0-9a-f]")
  rebuilt[is_of_chain and "chain" or "blog"] = true
  chain = string.gsub(string.sub(chain, 1, top * 8), "[^0-9a-f]", "0")
  chain = chain .. string.rep("0", top * 8 - #chain)
  -- As in rotate.lua, the new epoch is one more change: the same header at the next offset.
  local next = top + 1
  local record, replaced = string.gsub(header, '"offset":%d+', '"offset":' .. next, 1)
  check = string.sub(redis.sha1hex(ARGV[1] .. record), 1, 8)
  write("HSET", key.blog, "epoch", ARGV[1], "offset", next, "check", check, "base", next)
  write("SET", key.chain, chain .. check)
  write("ZADD", key.changed, next, "#blog")
  expected.changed["#blog"] = nil
  if replaced == 1 then
    write("HSET", key.blog, "header", record)
    write(ARGV[3], ARGV[2], string.format("%s %d %d %s %s\n", ARGV[1], next, next, ARGV[1], check) .. record)
  end
end
if is_blog and not STATUSES[blog[6] or ""] then
  local status = string.match(header, '"status":"(%a+)"') or ""
  write("HSET", key.blog, "status", STATUSES[status] and status or "draft")
  rebuilt.blog = true
end

-- 3. The indexes. The offset, the order and the time of a readable record take the place of other scores. The member of
-- an unreadable record stays: its entry is damaged. When its score is impossible, the other index has a number for it.
local function write_all(command, name, words)
  for i = 1, #words, WORDS_MAX do
    write(command, key[name], unpack(words, i, math.min(i + WORDS_MAX - 1, #words)))
    rebuilt[name] = true
  end
end

local OTHER = { changed = "order", order = "changed", marked = "changed" }

-- Return whether the index has no member now.
local function compare(name)
  local added, removed = {}, {}
  local found = {}
  local rows = has[name] and redis.call("ZRANGE", key[name], 0, -1, "WITHSCORES") or {}
  local members = #rows / 2
  for i = 1, #rows, 2 do
    local id, score = rows[i], tonumber(rows[i + 1])
    local wanted = expected[name][id]
    if wanted then
      found[id] = score == wanted
    elseif name ~= "due" and not readable[id] and not is_possible(score) and not (is_reset and id == "#blog") then
      local other = has[OTHER[name]] and tonumber(redis.call("ZSCORE", key[OTHER[name]], id) or "")
      expected[name][id] = is_possible(other) and other or 1
    end
    local is_ours = is_id(id) or (name == "changed" and id == "#blog")
    if not is_ours then
      expected[name][id] = nil
    end
    if not is_ours or (readable[id] and not expected[name][id]) then
      removed[#removed + 1] = id
    end
  end
  for id, score in pairs(expected[name]) do
    if not found[id] then
      added[#added + 1] = string.format("%.0f", score)
      added[#added + 1] = id
    end
  end
  write_all("ZADD", name, added)
  write_all("ZREM", name, removed)
  return #added == 0 and #removed == members
end
if is_comparing then
  compare("changed")
  local names = {}
  for _, name in ipairs({ "order", "marked", "due" }) do
    if compare(name) then
      names[#names + 1] = name
    end
  end
  if is_blog and table.concat(names, " ") ~= empty then
    write("HSET", key.blog, "empty", table.concat(names, " "))
  end
end

-- 4. Write. Nothing above this line has written.
local time = redis.call("TIME")
local now = string.format("%d%03d", time[1], math.floor(time[2] / 1000))
local answer = { "ok" }
for name in pairs(rebuilt) do
  write("HSET", key.rebuilt, name, now)
  answer[#answer + 1] = name
end
if #answer > 1 then
  write("EXPIRE", key.rebuilt, ARGV[4])
end
for i = 1, #copies, WORDS_MAX do
  write("HDEL", key.drafts, unpack(copies, i, math.min(i + WORDS_MAX - 1, #copies)))
end
if #copies > 0 then
  answer[#answer + 1] = "drafts" -- nothing is lost: the desk need not name it
end
return run_if_permitted(commands, answer)
