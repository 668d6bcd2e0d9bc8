-- Begin a new epoch if the stored history and a worker's position (epoch, offset, check) are a fork.
--
-- They are a fork when the epoch is the same, but the worker's offset is ahead, or the stored check at its offset
-- differs.
-- A restored backup of the store can cause a fork.
-- KEYS: blog, chain, changed. ARGV: epoch, offset, check, the new epoch's name, channel, PUBLISH or SPUBLISH.
-- The rotation is one more change: the same header at the next offset. Its check is a hash of the new epoch's name
-- and the header, which may be unreadable: a worker that has an earlier header goes on with it.
-- Returns 1, or 0 when there is no fork, as after a rotation by another worker. {"forbidden", command}: the store's user
-- may not run a command of the rotation.

local blog = redis.call("HMGET", KEYS[1], "epoch", "offset", "header")
if not blog[1] or blog[1] ~= ARGV[1] then
  return 0
end
local mine, offset = tonumber(ARGV[2]), tonumber(blog[2] or "")
if not offset or redis.call("STRLEN", KEYS[2]) ~= offset * 8 then
  return redis.error_reply("BROKENCHAIN " .. KEYS[2] .. " does not have 8 characters a change")
end
if mine <= offset and redis.call("GETRANGE", KEYS[2], mine * 8 - 8, mine * 8 - 1) == ARGV[3] then
  return 0
end
local epoch, next = ARGV[4], offset + 1
local record = string.gsub(blog[3] or "", '"offset":%d+', '"offset":' .. next, 1)
local check = string.sub(redis.sha1hex(epoch .. record), 1, 8)
local commands = {
  { "ZADD", KEYS[3], next, "#blog" },
  { "HSET", KEYS[1], "epoch", epoch, "offset", next, "check", check, "base", next, "header", record },
  { "APPEND", KEYS[2], check },
  { ARGV[6], ARGV[5], string.format("%s %d %d %s %s\n", epoch, next, next, epoch, check) .. record },
}
return run_if_permitted(commands, 1)
