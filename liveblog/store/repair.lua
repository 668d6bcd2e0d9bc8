#!lua flags=no-writes
-- What a worker at (epoch, offset, check) lacks, or why that cannot be said.
--
-- KEYS: blog, chain, entries, changed. ARGV: epoch, offset, check, records at most.
-- Returns {"absent"} {"moved"} {"fork"} {"far"}, or {"ok", offset, checks after mine, record, record, …} ascending.
-- A fork is only in the same epoch: the worker's offset is ahead, or the history at its offset is another.

local blog = redis.call("HMGET", KEYS[1], "epoch", "offset", "header")
if not blog[1] then
  return { "absent" }
end
if blog[1] ~= ARGV[1] then
  return { "moved" }
end
local mine, head, limit = tonumber(ARGV[2]), tonumber(blog[2]), tonumber(ARGV[4])
if mine > head or redis.call("GETRANGE", KEYS[2], mine * 8 - 8, mine * 8 - 1) ~= ARGV[3] then
  return { "fork" }
end
local ids = redis.call("ZRANGE", KEYS[4], "(" .. mine, "+inf", "BYSCORE", "LIMIT", 0, limit + 1)
if #ids > limit or head - mine > limit then
  return { "far" }
end
local answer = { "ok", head, redis.call("GETRANGE", KEYS[2], mine * 8, -1) }
for i, id in ipairs(ids) do
  answer[i + 3] = id == "#blog" and blog[3] or redis.call("HGET", KEYS[3], id)
end
return answer
