package storage

// luaEach calls a command for all of ARGV from first on: each(command, first).
// Lua can't unpack more than 8,000 values at once.
const luaEach = `
local function each(command, first)
  local n = 0
  for i = first, #ARGV, 1000 do
    n = n + redis.call(command, KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
  return n
end
`
