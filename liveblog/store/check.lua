-- Check whether the store's user may run commands, and run none of them.
--
-- ARGV: the commands, one in each line, the words divided by spaces.
-- Returns {"ok"}, or {"forbidden", command}: the first command that the user may not run.

local commands = {}
for line in string.gmatch(ARGV[1], "[^\n]+") do
  local words = {}
  for word in string.gmatch(line, "%S+") do
    table.insert(words, word)
  end
  table.insert(commands, words)
end
local refused = forbidden(commands)
if refused then
  return { "forbidden", refused }
end
return { "ok" }
