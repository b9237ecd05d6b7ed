package storage

import (
	"crypto/sha1"
	"encoding/hex"
)

// script is a Lua script: Redis carries it out as a whole, with nothing in
// between. All its keys are given as KEYS and live in one slot of a cluster.
type script struct{ src, sha string }

func newScript(src string) script {
	sum := sha1.Sum([]byte(src))
	return script{src: src, sha: hex.EncodeToString(sum[:])}
}

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
