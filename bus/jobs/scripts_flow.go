package jobs

import "github.com/heliograph/heliograph/internal/redisio"

// luaFlow has what scripts do with flows. A flow is a hash, with fields of each job: s its
// state, n the number of jobs that it waits for and that have not ended, f how many of those
// failed, w when it begins, c the jobs that wait for it, p the letter of its priority and its
// group, m its method, r its record until it begins. Left is the number of jobs that have not
// ended.
//
// The states are b (it waits for others), e (entered into the queue), d (done), x (dead),
// c (cancelled), o (left out, since one before it failed) and u (left out, since none did).
const luaFlow = luaQueue + `
local failed = {x = true, c = true, o = true}
local flowTTL = 86400000
local function begin(flow, n)
  redis.call('HSET', flow, 's' .. n, 'e')
  local id, place = redis.call('HGET', flow, 'id') .. '.' .. n, redis.call('HGET', flow, 'p' .. n)
  local record = redis.call('HGET', flow, 'r' .. n)
  redis.call('HDEL', flow, 'r' .. n)
  if #place > 1 then redis.call('HSET', K.ingroup, id, string.sub(place, 2)) end
  enter(id, string.sub(place, 1, 1), record)
end
local function left(flow, n)
  if redis.call('HINCRBY', flow, 'left', -n) <= 0 then redis.call('PEXPIRE', flow, flowTTL) end
end
-- ended notes the end of a job that was entered, and begins or leaves out those that waited
-- for it. It does nothing when it is repeated.
local function ended(flow, n, how)
  if redis.call('HGET', flow, 's' .. n) ~= 'e' then return end
  local ends = {{n, how}}
  while #ends > 0 do
    local job = table.remove(ends)
    redis.call('HSET', flow, 's' .. job[1], job[2])
    for child in string.gmatch(redis.call('HGET', flow, 'c' .. job[1]) or '', '%d+') do
      if failed[job[2]] then redis.call('HINCRBY', flow, 'f' .. child, 1) end
      if redis.call('HINCRBY', flow, 'n' .. child, -1) == 0 and redis.call('HGET', flow, 's' .. child) == 'b' then
        local when, bad = redis.call('HGET', flow, 'w' .. child), tonumber(redis.call('HGET', flow, 'f' .. child) or '0') > 0
        if when == 'e' or (when == 'f') == bad then
          begin(flow, child)
        else
          redis.call('HDEL', flow, 'r' .. child)
          ends[#ends + 1] = {child, bad and 'o' or 'u'}
        end
      end
    end
    left(flow, 1)
  end
end
`

var (
	// luaSubmitFlow enters a flow unless the queue has it, and returns 1 if it was new.
	//
	// KEYS of the queue, flow; ARGV id, and of each job method, record, letter and group, when,
	// number of jobs that it waits for, jobs that wait for it.
	luaSubmitFlow = redisio.NewScript(luaFlow + `
local flow = KEYS[24]
if redis.call('EXISTS', flow) == 1 then return 0 end
redis.call('HSET', flow, 'id', ARGV[1], 'left', (#ARGV - 1) / 6)
for i = 2, #ARGV, 6 do
  local n = string.format('%d', (i - 2) / 6)
  redis.call('HSET', flow, 's' .. n, 'b', 'm' .. n, ARGV[i], 'r' .. n, ARGV[i + 1], 'p' .. n, ARGV[i + 2],
    'w' .. n, ARGV[i + 3], 'n' .. n, ARGV[i + 4], 'c' .. n, ARGV[i + 5])
  if ARGV[i + 4] == '0' then begin(flow, n) end
end
return 1`)

	// luaCancelFlow cancels the jobs of a flow that wait for others, and returns the numbers
	// of those that were entered and have not ended, or false if there is no such flow.
	//
	// KEYS of the queue, flow; ARGV how many jobs it may have.
	luaCancelFlow = redisio.NewScript(luaFlow + `
local flow, entered, waited = KEYS[24], {}, 0
if redis.call('EXISTS', flow) == 0 then return false end
for n = 0, tonumber(ARGV[1]) - 1 do
  local state = redis.call('HGET', flow, 's' .. n)
  if not state then break end
  if state == 'e' then entered[#entered + 1] = n end
  if state == 'b' then
    redis.call('HSET', flow, 's' .. n, 'c')
    redis.call('HDEL', flow, 'r' .. n)
    waited = waited + 1
  end
end
if waited > 0 then left(flow, waited) end
return entered`)
)
