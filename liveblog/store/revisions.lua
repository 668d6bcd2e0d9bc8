#!lua flags=no-writes
-- Find a record's revisions below a number, newest first, and return the newest of them.
--
-- KEYS: the list of revisions. ARGV: the number, how many records the reply may have.
-- Returns {the place of the first of them in the list, record, record, …}, {0} for a key that is no list.
--
-- Numbers in the list fall, and may have gaps. A record without a number is damaged, or a header of an earlier version,
-- whose number is 1.

local below, most = tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call("TYPE", KEYS[1]).ok ~= "list" then
  return { 0 }
end

local function number_at(place)
  return tonumber(string.match(redis.call("LINDEX", KEYS[1], place), '"revision":(%d+)'))
end

local low, high = 0, redis.call("LLEN", KEYS[1])
while low < high do
  local probe = math.floor((low + high) / 2)
  local found, first = number_at(probe), probe
  while not found and probe + 1 < high do
    probe = probe + 1
    found = number_at(probe)
  end
  if not found or found < below then
    high = first
  else
    low = probe + 1
  end
end

local records = redis.call("LRANGE", KEYS[1], low, low + most - 1)
return { low, unpack(records) }
