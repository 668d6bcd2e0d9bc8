#!lua
-- The first part of every script that writes with more than one command: permissions come before the first write.
--
-- Redis does not roll scripts back. It keeps the writes of a script even when the script may not PUBLISH. So a script
-- collects its commands, and runs all of them or none. Each command is a table: name, key or channel, arguments.

-- Return the first command that the store's user may not run, as "NAME key" or "NAME"; nil when the user may run all.
local function forbidden(commands)
  for _, words in ipairs(commands) do
    -- A server that lacks the command raises an error.
    local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(words))
    if not (is_known and is_allowed) then
      return table.concat({ words[1], words[2] }, " ")
    end
  end
end

-- Run all commands and return `done`; run none and return {"forbidden", command} when one is forbidden.
local function run_if_permitted(commands, done)
  local refused = forbidden(commands)
  if refused then
    return { "forbidden", refused }
  end
  for _, words in ipairs(commands) do
    redis.call(unpack(words))
  end
  return done
end

