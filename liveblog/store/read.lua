#!lua flags=no-writes
-- Run reading commands in one atomic step, and return their replies in order.
--
-- KEYS: the key of each command. ARGV: for each command a JSON list with its name and the arguments after the key.

local replies = {}
for i, words in ipairs(ARGV) do
  local command = cjson.decode(words)
  replies[i] = redis.pcall(command[1], KEYS[i], unpack(command, 2))
end
return replies
