#!lua flags=no-writes
-- Return the changes that a worker at (epoch, offset, check) misses, or why the script cannot return them.
--
-- A damaged chain or index does not matter to a worker that has all changes; any other must load the blog.
-- KEYS: blog, chain, entries, changed. ARGV: epoch, offset, check, limit.
-- Returns {"ok", offset, checks, id, change, record, id, change, record, …} or one of the reasons below. `checks` joins
-- the checks of all changes after the worker's offset. A `change` is the offset of the record's last change; the records
-- are in the order of these offsets. A record is nil (false) when the store lacks it.
--   {"absent"}  the store has no such blog
--   {"moved"}   the blog has begun another epoch
--   {"fork"}    same epoch, but the worker's offset is ahead, or the stored check at its offset differs
--   {"far"}     the worker misses more changes than the limit, or the store lacks some: it must load the blog

local blog = redis.call("HMGET", KEYS[1], "epoch", "offset", "header", "check")
if not blog[1] and (blog[2] or blog[3]) then
  return redis.error_reply("BROKENHEADER " .. KEYS[1] .. " has no epoch")
end
if not blog[1] then
  return { "absent" }
end
if blog[1] ~= ARGV[1] then
  return { "moved" }
end
local mine, head, limit = tonumber(ARGV[2]), tonumber(blog[2] or ""), tonumber(ARGV[4])
if mine == head and blog[4] == ARGV[3] then
  return { "ok", head, "" }
end
if not head or redis.call("STRLEN", KEYS[2]) ~= head * 8 then
  return redis.error_reply("BROKENCHAIN " .. KEYS[2] .. " does not have 8 characters a change")
end
if redis.call("GETRANGE", KEYS[2], -8, -1) ~= blog[4] then
  return redis.error_reply("BROKENCHAIN " .. KEYS[2] .. " does not end in the newest check")
end
if mine > head or redis.call("GETRANGE", KEYS[2], mine * 8 - 8, mine * 8 - 1) ~= ARGV[3] then
  return { "fork" }
end
local found = redis.call("ZRANGE", KEYS[4], "(" .. mine, head, "BYSCORE", "LIMIT", 0, limit + 1, "WITHSCORES")
if #found > 2 * limit or head - mine > limit or tonumber(found[#found]) ~= head then
  return { "far" }
end
local answer = { "ok", head, redis.call("GETRANGE", KEYS[2], mine * 8, -1) }
for i = 1, #found, 2 do
  local id, change = found[i], found[i + 1]
  answer[#answer + 1] = id
  answer[#answer + 1] = change
  answer[#answer + 1] = id == "#blog" and blog[3] or redis.call("HGET", KEYS[3], id)
end
return answer
