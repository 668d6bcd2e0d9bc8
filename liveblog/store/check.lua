-- Check whether the store's user may run commands, and run none of them.
--
-- ARGV: the commands, each with its words divided by spaces.
-- Returns {"ok"}, or {"forbidden", command}: the first command that the user may not run.

local commands = {}
for i, line in ipairs(ARGV) do
  commands[i] = {}
  for word in string.gmatch(line, "%S+") do
    table.insert(commands[i], word)
  end
end
local refused = forbidden(commands)
if refused then
  return { "forbidden", refused }
end
return { "ok" }
