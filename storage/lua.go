package storage

// luaEach calls a command for all of ARGV from first to last: each(command, first, last).
// Last defaults to the end.
// Lua can't unpack more than 8,000 values at once.
const luaEach = `
local function each(command, first, last)
  local n = 0
  last = last or #ARGV
  for i = first, last, 1000 do
    n = n + redis.call(command, KEYS[1], unpack(ARGV, i, math.min(i + 999, last)))
  end
  return n
end
`
